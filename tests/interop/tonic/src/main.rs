//! gRPC's interop tests as tonic does them.
//!
//!     tonic_peer server PORT
//!     tonic_peer client PORT CASE...        a line a case, exit code 1 if one fails
//!     tonic_peer client PORT CASE... --soak N   so many iterations of a soak
//!
//! A cancelled call is a dropped one in tonic, which leaves no status to look
//! at: the cases cancel_after_* are not here.
mod client;
mod server;

pub mod proto {
    tonic::include_proto!("grpc.testing");
}

pub const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
pub const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

pub fn zeros(size: usize) -> Option<proto::Payload> {
    Some(proto::Payload { r#type: 0, body: vec![0; size] })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut soak = 10;
    if let Some(at) = words.iter().position(|word| word == "--soak") {
        soak = words[at + 1].parse()?;
        words.drain(at..at + 2);
    }
    let port: u16 = words[1].parse()?;
    if words[0] == "server" {
        return server::serve(port).await;
    }
    let failed = client::run(port, &words[2..], soak).await;
    std::process::exit(if failed { 1 } else { 0 });
}
