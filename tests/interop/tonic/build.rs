// The services of Debian's grpc-proto; peers.py says where they are.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = std::env::var("GRPC_PROTO")
        .unwrap_or_else(|_| "/usr/share/grpc-proto".to_string());
    println!("cargo:rerun-if-env-changed=GRPC_PROTO");
    tonic_prost_build::configure().compile_protos(
        &[format!("{protos}/grpc/testing/test.proto")],
        &[protos],
    )?;
    Ok(())
}
