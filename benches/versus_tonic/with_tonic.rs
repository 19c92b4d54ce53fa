//! The echo service on tonic: what its code generator would write, by hand.

use crate::bench::{EchoRequest, EchoResponse};
use crate::stack::{BoxError, Client, RealHead, TlsFiles, USER_AGENT};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::client::{Grpc as ClientGrpc, GrpcService};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{Stream, StreamExt as _, iter, wrappers::ReceiverStream};
use tonic::codegen::{Body as HttpBody, BoxFuture, BoxStream, Service, http};
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const UNARY: &str = "/framewire.bench.v1.Echo/Unary";
const SERVER_STREAM: &str = "/framewire.bench.v1.Echo/ServerStream";
const BIDI: &str = "/framewire.bench.v1.Echo/Bidi";

/// The service, for both transports.
#[derive(Clone)]
pub struct EchoServer;

struct Unary;
impl UnaryService<EchoRequest> for Unary {
    type Response = EchoResponse;
    type Future = BoxFuture<Response<EchoResponse>, Status>;
    fn call(&mut self, request: Request<EchoRequest>) -> Self::Future {
        Box::pin(async move {
            Ok(Response::new(EchoResponse { payload: request.into_inner().payload }))
        })
    }
}

struct Many;
impl ServerStreamingService<EchoRequest> for Many {
    type Response = EchoResponse;
    type ResponseStream = BoxStream<EchoResponse>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;
    fn call(&mut self, request: Request<EchoRequest>) -> Self::Future {
        Box::pin(async move {
            let request = request.into_inner();
            let payload = request.payload;
            let replies =
                iter(0..request.count).map(move |_| Ok(EchoResponse { payload: payload.clone() }));
            Ok(Response::new(Box::pin(replies) as Self::ResponseStream))
        })
    }
}

struct Bidi;
impl StreamingService<EchoRequest> for Bidi {
    type Response = EchoResponse;
    type ResponseStream = BoxStream<EchoResponse>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;
    fn call(&mut self, request: Request<Streaming<EchoRequest>>) -> Self::Future {
        Box::pin(async move {
            let replies = request
                .into_inner()
                .map(|request| request.map(|r| EchoResponse { payload: r.payload }));
            Ok(Response::new(Box::pin(replies) as Self::ResponseStream))
        })
    }
}

impl<B> Service<http::Request<B>> for EchoServer
where
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let mut grpc = Grpc::new(ProstCodec::<EchoResponse, EchoRequest>::default());
        match request.uri().path() {
            UNARY => Box::pin(async move { Ok(grpc.unary(Unary, request).await) }),
            SERVER_STREAM => {
                Box::pin(async move { Ok(grpc.server_streaming(Many, request).await) })
            }
            BIDI => Box::pin(async move { Ok(grpc.streaming(Bidi, request).await) }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

/// Checks what [`TcpIncoming`] was asked to set: without TCP_NODELAY the figures mean nothing.
struct NoDelay(TcpIncoming);

impl Stream for NoDelay {
    type Item = std::io::Result<tokio::net::TcpStream>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = std::task::ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(accepted.map(|accepted| {
            let stream = accepted?;
            if stream.nodelay()? {
                return Ok(stream);
            }
            eprintln!("tonic's server socket has no TCP_NODELAY");
            std::process::exit(3)
        }))
    }
}

/// Starts the server on a port of 127.0.0.1, 0 for any; returns the port.
pub fn serve(port: u16, tls: Option<&TlsFiles>) -> Result<u16, BoxError> {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], port).into())?.with_nodelay(Some(true));
    let port = incoming.local_addr()?.port();
    let mut server = Server::builder().max_concurrent_streams(crate::STREAMS);
    if let Some(files) = tls {
        let (certificate, key) = files.read()?;
        let identity = Identity::from_pem(certificate, key);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(EchoServer, NoDelay(incoming)).await {
            eprintln!("tonic's server: {error}");
        }
    });
    Ok(port)
}

/// So many channels to the server; each clone takes the next one.
pub async fn connect(
    port: u16,
    tls: Option<&TlsFiles>,
    connections: u32,
) -> Result<Echo<Channel>, BoxError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://127.0.0.1:{port}"))?
        .user_agent(USER_AGENT)?
        .tcp_nodelay(true);
    if let Some(files) = tls {
        let (certificate, _) = files.read()?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(certificate))
            .domain_name("localhost");
        endpoint = endpoint.tls_config(tls)?;
    }
    // Its connector does not show the socket; what it was told is all there is to see.
    if !endpoint.get_tcp_nodelay() {
        return Err("tonic's client would not set TCP_NODELAY".into());
    }
    let mut all = Vec::new();
    for _ in 0..connections.max(1) {
        all.push(endpoint.connect().await?);
    }
    Echo::over(all)
}

/// tonic's stub over one of several transports.
pub struct Echo<T> {
    grpc: ClientGrpc<T>,
    all: Arc<[ClientGrpc<T>]>,
    next: Arc<AtomicUsize>,
}

impl<T: Clone> Echo<T> {
    pub fn over(transports: Vec<T>) -> Result<Self, BoxError> {
        let all: Arc<[_]> = transports.into_iter().map(ClientGrpc::new).collect();
        let grpc = all.first().ok_or("no channel")?.clone();
        Ok(Self { grpc, all, next: Arc::default() })
    }
}

impl<T: Clone> Clone for Echo<T> {
    fn clone(&self) -> Self {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let grpc = self.all[at].clone();
        Self { grpc, all: Arc::clone(&self.all), next: Arc::clone(&self.next) }
    }
}

type Codec = ProstCodec<EchoRequest, EchoResponse>;

fn request(payload: Bytes) -> EchoRequest {
    EchoRequest { payload, ..EchoRequest::default() }
}

impl<T> Client for Echo<T>
where
    T: GrpcService<Body> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<BoxError> + Send,
{
    async fn unary(&mut self, payload: Bytes, head: Option<&RealHead>) -> Result<Bytes, BoxError> {
        let mut request = Request::new(request(payload));
        if let Some(head) = head {
            request.set_timeout(head.timeout);
            let metadata = request.metadata_mut();
            metadata.insert("authorization", head.authorization.parse()?);
            metadata.insert("x-tenant", head.tenant.parse()?);
            metadata.insert("x-region", head.region.parse()?);
            metadata.insert("traceparent", head.traceparent.parse()?);
        }
        self.grpc.ready().await.map_err(Into::into)?;
        let path = PathAndQuery::from_static(UNARY);
        let response = self.grpc.unary(request, path, Codec::default()).await?;
        Ok(response.into_inner().payload)
    }

    async fn server_stream(
        &mut self,
        payload: Bytes,
        mut go_on: impl FnMut(usize) -> bool + Send,
    ) -> Result<(), BoxError> {
        let request = EchoRequest { count: u32::MAX, ..request(payload) };
        self.grpc.ready().await.map_err(Into::into)?;
        let path = PathAndQuery::from_static(SERVER_STREAM);
        let answer =
            self.grpc.server_streaming(Request::new(request), path, Codec::default()).await?;
        let mut stream = answer.into_inner();
        while let Some(message) = stream.message().await? {
            if !go_on(message.payload.len()) {
                return Ok(());
            }
        }
        Err("the stream ended early".into())
    }

    async fn ping_pong(
        &mut self,
        payload: Bytes,
        mut go_on: impl FnMut(usize) -> bool + Send,
    ) -> Result<(), BoxError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        self.grpc.ready().await.map_err(Into::into)?;
        let path = PathAndQuery::from_static(BIDI);
        let requests = Request::new(ReceiverStream::new(receiver));
        sender.send(request(payload.clone())).await?;
        let answer = self.grpc.streaming(requests, path, Codec::default()).await?;
        let mut stream = answer.into_inner();
        loop {
            let answer = stream.message().await?.ok_or("the stream ended early")?;
            if !go_on(answer.payload.len()) {
                return Ok(());
            }
            sender.send(request(payload.clone())).await?;
        }
    }
}
