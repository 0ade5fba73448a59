//! The cases, with what each must find.
use crate::proto::test_service_client::TestServiceClient;
use crate::proto::unimplemented_service_client::UnimplementedServiceClient;
use crate::proto::*;
use crate::{zeros, ECHO_INITIAL, ECHO_TRAILING};
use std::time::{Duration, Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{BinaryMetadataValue, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

type Outcome = Result<(), String>;
type Client = TestServiceClient<Channel>;

const WORDS: &str = "test status message";
const SPECIAL: &str =
    "\t\ntest with whitespace\r\nand Unicode BMP \u{263A} and non-BMP \u{1F608}\t\n";
const RESPONSES: [usize; 4] = [31415, 9, 2653, 58979];
const REQUESTS: [usize; 4] = [27182, 8, 1828, 45904];
const INITIAL: &str = "test_initial_metadata_value";
const TRAILING: [u8; 3] = [0xab, 0xab, 0xab];

async fn connect(port: u16) -> Result<Channel, String> {
    Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
        .unwrap()
        .connect()
        .await
        .map_err(|error| format!("cannot connect: {error:?}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{what} is {got:?}, not {wanted:?}"))
}

fn text(status: Status) -> String {
    format!("the status is {:?} {:?}", status.code(), status.message())
}

fn payload(got: Option<Payload>, size: usize) -> Outcome {
    let body = got.ok_or("there is no payload")?.body;
    same("the payload's size", body.len(), size)?;
    same("a byte that is not zero", body.iter().position(|byte| *byte != 0), None)
}

fn failed<T>(result: Result<T, Status>, code: Code, message: Option<&str>) -> Outcome {
    match result {
        Ok(_) => Err(format!("the call succeeded instead of {code:?}")),
        Err(status) => {
            same("the status", status.code(), code)?;
            message.map_or(Ok(()), |words| same("the message", status.message(), words))
        }
    }
}

fn large() -> SimpleRequest {
    SimpleRequest { response_size: 314159, payload: zeros(271828), ..Default::default() }
}

fn duplex(response: Option<usize>, size: usize) -> StreamingOutputCallRequest {
    StreamingOutputCallRequest {
        response_parameters: response
            .map(|size| ResponseParameters { size: size as i32, ..Default::default() })
            .into_iter()
            .collect(),
        payload: zeros(size),
        ..Default::default()
    }
}

fn echo_status(message: &str) -> Option<EchoStatus> {
    Some(EchoStatus { code: 2, message: message.to_string() })
}

async fn large_unary(client: &mut Client) -> Outcome {
    let response = client.unary_call(large()).await.map_err(text)?;
    payload(response.into_inner().payload, 314159)
}

async fn very_large_request(client: &mut Client) -> Outcome {
    let request =
        SimpleRequest { response_size: 10, payload: zeros(10 << 20), ..Default::default() };
    payload(client.unary_call(request).await.map_err(text)?.into_inner().payload, 10)
}

async fn client_streaming(client: &mut Client) -> Outcome {
    let messages = REQUESTS
        .map(|size| StreamingInputCallRequest { payload: zeros(size), expect_compressed: None });
    let response =
        client.streaming_input_call(tokio_stream::iter(messages)).await.map_err(text)?;
    same("aggregated_payload_size", response.into_inner().aggregated_payload_size, 74922)
}

async fn server_streaming(client: &mut Client) -> Outcome {
    let request = StreamingOutputCallRequest {
        response_parameters: RESPONSES
            .map(|size| ResponseParameters { size: size as i32, ..Default::default() })
            .to_vec(),
        ..Default::default()
    };
    let mut responses =
        client.streaming_output_call(request).await.map_err(text)?.into_inner();
    for size in RESPONSES {
        let response = responses.message().await.map_err(text)?.ok_or("a response is missing")?;
        payload(response.payload, size)?;
    }
    same("one more response", responses.message().await.map_err(text)?, None)
}

async fn ping_pong(client: &mut Client) -> Outcome {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    send.send(duplex(Some(RESPONSES[0]), REQUESTS[0])).await.unwrap();
    let call = client.full_duplex_call(ReceiverStream::new(receive));
    let mut responses = call.await.map_err(text)?.into_inner();
    for i in 0..4 {
        let response = responses.message().await.map_err(text)?.ok_or("a response is missing")?;
        payload(response.payload, RESPONSES[i])?;
        if i < 3 {
            let next = duplex(Some(RESPONSES[i + 1]), REQUESTS[i + 1]);
            send.send(next).await.map_err(|_| "the call ended early")?;
        }
    }
    drop(send);
    same("one more response", responses.message().await.map_err(text)?, None)
}

async fn empty_stream(client: &mut Client) -> Outcome {
    let call = client.full_duplex_call(tokio_stream::empty());
    let mut responses = call.await.map_err(text)?.into_inner();
    same("a response", responses.message().await.map_err(text)?, None)
}

/// tonic's own timer says CANCELLED, "Timeout expired", where the description
/// wants DEADLINE_EXCEEDED, and is now and then faster than the server's. That
/// is tonic's affair: the call is made again, until the server was faster.
async fn timeout_on_sleeping_server(client: &mut Client) -> Outcome {
    for _ in 0..200 {
        let (send, receive) = tokio::sync::mpsc::channel(1);
        send.send(duplex(None, 27182)).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(receive));
        request.set_timeout(Duration::from_millis(1));
        let result = match client.full_duplex_call(request).await {
            Ok(response) => response.into_inner().message().await.map(|_| ()),
            Err(status) => Err(status),
        };
        match &result {
            Err(own) if own.code() == Code::Cancelled && own.message() == "Timeout expired" => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            _ => return failed(result, Code::DeadlineExceeded, None),
        }
    }
    Err("tonic's timer was always faster than the server's".to_string())
}

async fn special_status_message(client: &mut Client) -> Outcome {
    let request = SimpleRequest { response_status: echo_status(SPECIAL), ..Default::default() };
    failed(client.unary_call(request).await, Code::Unknown, Some(SPECIAL))
}

async fn status_code_and_message(client: &mut Client) -> Outcome {
    let request = SimpleRequest { response_status: echo_status(WORDS), ..Default::default() };
    failed(client.unary_call(request).await, Code::Unknown, Some(WORDS))?;
    let request =
        StreamingOutputCallRequest { response_status: echo_status(WORDS), ..Default::default() };
    let result = match client.full_duplex_call(tokio_stream::once(request)).await {
        Ok(response) => response.into_inner().message().await,
        Err(status) => Err(status),
    };
    failed(result, Code::Unknown, Some(WORDS))
}

fn with_metadata<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(ECHO_INITIAL, MetadataValue::from_static(INITIAL));
    metadata.insert_bin(ECHO_TRAILING, BinaryMetadataValue::from_bytes(&TRAILING));
    request
}

fn check_initial(metadata: &MetadataMap) -> Outcome {
    let value = metadata.get(ECHO_INITIAL).ok_or("the initial metadata lacks the echo")?;
    same("the initial metadata", value.to_str().unwrap_or("?"), INITIAL)
}

fn check_trailing(metadata: &MetadataMap) -> Outcome {
    let value = metadata.get_bin(ECHO_TRAILING).ok_or("the trailers lack the echo")?;
    let value = value.to_bytes().map_err(|error| error.to_string())?;
    same("the trailing metadata", value.as_ref(), &TRAILING[..])
}

/// Of a unary call tonic merges headers and trailers into one map.
async fn custom_metadata(client: &mut Client) -> Outcome {
    let response = client.unary_call(with_metadata(large())).await.map_err(text)?;
    check_initial(response.metadata())?;
    check_trailing(response.metadata())?;
    payload(response.into_inner().payload, 314159)?;
    let messages = tokio_stream::once(duplex(Some(314159), 271828));
    let response = client.full_duplex_call(with_metadata(messages)).await.map_err(text)?;
    check_initial(response.metadata())?;
    let mut responses = response.into_inner();
    let message = responses.message().await.map_err(text)?.ok_or("there is no response")?;
    payload(message.payload, 314159)?;
    same("one more response", responses.message().await.map_err(text)?, None)?;
    check_trailing(&responses.trailers().await.map_err(text)?.ok_or("there are no trailers")?)
}

async fn pick_first_unary(client: &mut Client) -> Outcome {
    let mut first = String::new();
    for i in 0..100 {
        let request =
            SimpleRequest { response_size: 1, fill_server_id: true, ..Default::default() };
        let id = client.unary_call(request).await.map_err(text)?.into_inner().server_id;
        if i == 0 {
            first = id.clone();
        }
        same("the server_id is empty: it", id.is_empty(), false)?;
        same("the server_id", &id, &first)?;
    }
    Ok(())
}

async fn soak(client: &mut Client, port: u16, iterations: usize, anew: bool) -> Outcome {
    for i in 0..iterations {
        let began = Instant::now();
        if anew {
            *client = Client::new(connect(port).await?);
        }
        large_unary(client).await.map_err(|why| format!("iteration {i}: {why}"))?;
        same("an iteration took over 2 seconds: it", began.elapsed().as_secs() > 1, false)?;
    }
    Ok(())
}

async fn run_case(name: &str, port: u16, iterations: usize) -> Outcome {
    let channel = connect(port).await?;
    let mut other = UnimplementedServiceClient::new(channel.clone());
    let client = &mut Client::new(channel);
    match name {
        "empty_unary" => client.empty_call(Empty {}).await.map(|_| ()).map_err(text),
        "large_unary" => large_unary(client).await,
        "very_large_request" => very_large_request(client).await,
        "client_streaming" => client_streaming(client).await,
        "server_streaming" => server_streaming(client).await,
        "ping_pong" => ping_pong(client).await,
        "empty_stream" => empty_stream(client).await,
        "timeout_on_sleeping_server" => timeout_on_sleeping_server(client).await,
        "status_code_and_message" => status_code_and_message(client).await,
        "special_status_message" => special_status_message(client).await,
        "custom_metadata" => custom_metadata(client).await,
        "unimplemented_method" => {
            failed(client.unimplemented_call(Empty {}).await, Code::Unimplemented, None)
        }
        "unimplemented_service" => {
            failed(other.unimplemented_call(Empty {}).await, Code::Unimplemented, None)
        }
        "pick_first_unary" => pick_first_unary(client).await,
        "rpc_soak" => soak(client, port, iterations, false).await,
        "channel_soak" => soak(client, port, iterations, true).await,
        _ => Err("there is no such case here".to_string()),
    }
}

pub async fn run(port: u16, cases: &[String], iterations: usize) -> bool {
    let mut any = false;
    for name in cases {
        let outcome =
            tokio::time::timeout(Duration::from_secs(30), run_case(name, port, iterations))
                .await
                .unwrap_or_else(|_| Err("it took over 30 seconds".to_string()));
        any |= outcome.is_err();
        match outcome {
            Ok(()) => println!("passed {name}"),
            Err(why) => println!("FAILED {name}: {why}"),
        }
    }
    any
}
