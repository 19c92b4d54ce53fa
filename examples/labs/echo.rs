//! The service that labs call, and the two clients that call it: ours and tonic's.

use crate::BoxError;
use crate::bench::{EchoRequest, EchoResponse};
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::{Method, Response};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

/// An echo, after [`EchoRequest::delay_ms`].
pub(crate) const ECHO: Method<EchoRequest, EchoResponse> = Method::new(PATH);
const PATH: &str = "/framewire.bench.v1.Echo/Unary";

/// What every server of a lab serves.
pub(crate) fn router() -> Router {
    Router::new().unary(&ECHO, |_, request| async move {
        if request.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(request.delay_ms.into())).await;
        }
        Ok(Response::new(EchoResponse { payload: request.payload }))
    })
}

/// A server on a port of its own that allows so many calls on a connection at a time.
pub(crate) fn serve(streams: u32) -> Result<(Server, u16), BoxError> {
    // The acceptor sets TCP_NODELAY, reads it back, and refuses a socket without it.
    let server = Server::builder(router())
        .max_concurrent_streams(streams)
        .bind(([127, 0, 0, 1], 0).into())?;
    let port = server.local_addr().ok_or("no address")?.port();
    Ok((server, port))
}

/// A small request that the server answers after `delay`, in whole milliseconds.
pub(crate) fn request(delay: Duration) -> EchoRequest {
    let delay_ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
    EchoRequest { payload: vec![7; 100].into(), delay_ms, ..EchoRequest::default() }
}

/// The target of a channel of ours.
pub(crate) fn target(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// One echo on a channel of ours.
pub(crate) async fn call(channel: &Channel, delay: Duration) -> Result<(), BoxError> {
    channel.unary(&ECHO, request(delay)).await?;
    Ok(())
}

/// tonic's endpoint for the same server, with TCP_NODELAY as ours.
pub(crate) fn endpoint(port: u16) -> Result<Endpoint, BoxError> {
    let endpoint = Endpoint::from_shared(target(port))?.tcp_nodelay(true);
    // Its connector does not show the socket; what it was told is all there is to see.
    if !endpoint.get_tcp_nodelay() {
        return Err("tonic's client would not set TCP_NODELAY".into());
    }
    Ok(endpoint)
}

/// One echo on a channel of tonic's: what its code generator would write.
pub(crate) async fn tonic_call(
    channel: &tonic::transport::Channel,
    delay: Duration,
    deadline: Option<Duration>,
) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(channel.clone());
    let mut message = tonic::Request::new(request(delay));
    if let Some(deadline) = deadline {
        message.set_timeout(deadline);
    }
    let unready = |error: tonic::transport::Error| tonic::Status::unavailable(chain(&error));
    grpc.ready().await.map_err(unready)?;
    let path = PathAndQuery::from_static(PATH);
    let codec = ProstCodec::<EchoRequest, EchoResponse>::default();
    grpc.unary(message, path, codec).await.map(|_| ())
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
