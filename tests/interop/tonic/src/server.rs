//! grpc.testing.TestService, as the description of the interop tests has it.
use crate::proto::test_service_server::{TestService, TestServiceServer};
use crate::proto::*;
use crate::{zeros, ECHO_INITIAL, ECHO_TRAILING};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use std::future::Future;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};
use tower_service::Service as TowerService;

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

fn replies(
    mut messages: impl Stream<Item = Result<StreamingOutputCallRequest, Status>> + Send + Unpin + 'static,
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
        let request = request.into_inner();
        check(&request.response_status)?;
        Ok(Response::new(SimpleResponse {
            payload: zeros(request.response_size as usize),
            server_id: if request.fill_server_id {
                format!("tonic-{}", std::process::id())
            } else {
                String::new()
            },
            ..Default::default()
        }))
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
        Ok(Response::new(replies(tokio_stream::once(Ok(request.into_inner())))))
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
        Ok(Response::new(replies(request.into_inner())))
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
        Ok(Response::new(replies(tokio_stream::iter(all))))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("on purpose"))
    }
}

/// Echo Metadata. tonic's services have no say over the trailers of a success,
/// so this stands around them.
#[derive(Clone)]
struct Echo<S>(S);

struct EchoBody<B> {
    body: B,
    trailer: Option<HeaderValue>,
}

impl<B: Body + Unpin> Body for EchoBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut next = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut next {
            if let Some(trailers) = frame.trailers_mut() {
                echo(trailers, ECHO_TRAILING, self.trailer.take());
            }
        }
        Poll::Ready(next)
    }

    /// A failure has no body: its headers must stay the trailers.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn echo(into: &mut HeaderMap, key: &'static str, value: Option<HeaderValue>) {
    if let Some(value) = value {
        into.insert(HeaderName::from_static(key), value);
    }
}

impl<S, I, B> TowerService<http::Request<I>> for Echo<S>
where
    S: TowerService<http::Request<I>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<EchoBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<I>) -> Self::Future {
        let initial = request.headers().get(ECHO_INITIAL).cloned();
        let trailer = request.headers().get(ECHO_TRAILING).cloned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            echo(response.headers_mut(), ECHO_INITIAL, initial);
            Ok(response.map(|body| EchoBody { body, trailer }))
        })
    }
}

pub async fn serve(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    tonic::transport::Server::builder()
        .layer(tower_layer::layer_fn(Echo))
        .add_service(TestServiceServer::new(Service).max_decoding_message_size(16 << 20))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
        .await?;
    Ok(())
}
