//! grpc.testing.TestService, as the description of the interop tests has it.
use crate::proto::test_service_server::{TestService, TestServiceServer};
use crate::proto::*;
use crate::{zeros, ECHO_INITIAL, ECHO_TRAILING};
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

type Replies = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

struct Service;

fn check(status: &Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(wanted) if wanted.code != 0 => {
            Err(Status::new(Code::from_i32(wanted.code), wanted.message.clone()))
        }
        _ => Ok(()),
    }
}

fn echo_initial<T>(asked: &MetadataMap, response: &mut Response<T>) {
    if let Some(value) = asked.get(ECHO_INITIAL) {
        response.metadata_mut().insert(ECHO_INITIAL, value.clone());
    }
}

/// tonic lets a service set trailers only by a status: a stream can end with
/// one that is OK.
fn trailers(asked: &MetadataMap) -> Option<Status> {
    let value = asked.get_bin(ECHO_TRAILING)?;
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(ECHO_TRAILING, value.clone());
    Some(Status::with_metadata(Code::Ok, "", metadata))
}

fn replies(
    mut messages: impl Stream<Item = Result<StreamingOutputCallRequest, Status>> + Send + Unpin + 'static,
    end: Option<Status>,
) -> Replies {
    let (send, receive) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let Ok(message) = message else { return };
            if let Err(status) = check(&message.response_status) {
                let _ = send.send(Err(status)).await;
                return;
            }
            for wanted in message.response_parameters {
                if wanted.interval_us > 0 {
                    tokio::time::sleep(Duration::from_micros(wanted.interval_us as u64)).await;
                }
                let reply = StreamingOutputCallResponse { payload: zeros(wanted.size as usize) };
                if send.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
        }
        if let Some(status) = end {
            let _ = send.send(Err(status)).await;
        }
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receive))
}

#[tonic::async_trait]
impl TestService for Service {
    type StreamingOutputCallStream = Replies;
    type FullDuplexCallStream = Replies;
    type HalfDuplexCallStream = Replies;

    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        let asked = request.metadata().clone();
        let request = request.into_inner();
        check(&request.response_status)?;
        let mut response = Response::new(SimpleResponse {
            payload: zeros(request.response_size as usize),
            server_id: if request.fill_server_id {
                format!("tonic-{}", std::process::id())
            } else {
                String::new()
            },
            ..Default::default()
        });
        echo_initial(&asked, &mut response);
        Ok(response)
    }

    async fn cacheable_unary_call(
        &self,
        _: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        Err(Status::unimplemented("no GET here"))
    }

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Replies>, Status> {
        let asked = request.metadata().clone();
        let one = tokio_stream::once(Ok(request.into_inner()));
        let mut response = Response::new(replies(one, trailers(&asked)));
        echo_initial(&asked, &mut response);
        Ok(response)
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let mut messages = request.into_inner();
        let mut size = 0;
        while let Some(message) = messages.message().await? {
            size += message.payload.map_or(0, |payload| payload.body.len());
        }
        Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size: size as i32 }))
    }

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let asked = request.metadata().clone();
        let mut response = Response::new(replies(request.into_inner(), trailers(&asked)));
        echo_initial(&asked, &mut response);
        Ok(response)
    }

    async fn half_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let mut messages = request.into_inner();
        let mut all = Vec::new();
        while let Some(message) = messages.message().await? {
            all.push(Ok(message));
        }
        Ok(Response::new(replies(tokio_stream::iter(all), None)))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("on purpose"))
    }
}

pub async fn serve(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    tonic::transport::Server::builder()
        .add_service(TestServiceServer::new(Service))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
        .await?;
    Ok(())
}
