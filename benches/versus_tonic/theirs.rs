//! tonic's side of the comparison, without generated glue. TCP_NODELAY is on at both ends: without
//! it the other side would be flattered several times over.

use super::bench::{EchoRequest, EchoResponse};
use super::measure::Stack;
use super::{Args, Failure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::tokio_stream::StreamExt;
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// A fresh `traceparent`, the same for both stacks.
pub(crate) fn traceparent() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let n = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("00-{n:016x}{n:016x}-{n:016x}-01")
}

pub(crate) async fn serve(args: &Args) -> Result<u16, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut builder = Server::builder();
    if args.tls {
        let cert = std::fs::read(args.certs.join("cert.pem"))?;
        let key = std::fs::read(args.certs.join("key.pem"))?;
        let identity = Identity::from_pem(cert, key);
        builder = builder.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    tokio::spawn(builder.add_service(Echo).serve_with_incoming(incoming));
    Ok(port)
}

pub(crate) async fn connect(args: &Args) -> Result<Theirs, Failure> {
    let scheme = if args.tls { "https" } else { "http" };
    let uri = format!("{scheme}://localhost:{}", args.port);
    let mut endpoint = Channel::from_shared(uri)?.tcp_nodelay(true);
    if args.tls {
        let cert = std::fs::read(args.certs.join("cert.pem"))?;
        let root = Certificate::from_pem(cert);
        endpoint = endpoint
            .tls_config(ClientTlsConfig::new().ca_certificate(root).domain_name("localhost"))?;
    }
    let metadata = vec![
        ("authorization", format!("Bearer {}", "x".repeat(693))),
        ("x-tenant", "a-tenant-name".to_owned()),
        ("x-request-source", "bench".to_owned()),
    ];
    Ok(Theirs { channel: endpoint.connect().await?, metadata })
}

#[derive(Clone)]
pub(crate) struct Theirs {
    channel: Channel,
    metadata: Vec<(&'static str, String)>,
}

type Codec<T, U> = tonic_prost::ProstCodec<T, U>;

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

impl Stack for Theirs {
    async fn unary(&self, payload: Bytes, realistic: bool) -> Result<(), Failure> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let mut request = Request::new(EchoRequest { payload, ..EchoRequest::default() });
        if realistic {
            for (name, value) in &self.metadata {
                request.metadata_mut().insert(*name, value.parse()?);
            }
            request.metadata_mut().insert("traceparent", traceparent().parse()?);
            request.set_timeout(Duration::from_secs(5));
        }
        grpc.ready().await?;
        let codec = Codec::<EchoRequest, EchoResponse>::default();
        let path = path("/framewire.bench.v1.Echo/Unary");
        let response = grpc.unary(request, path, codec).await?;
        std::hint::black_box(response.into_inner());
        Ok(())
    }

    async fn stream(&self, octets: usize, count: u32) -> Result<u64, Failure> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let payload = Bytes::from(vec![7; octets]);
        let request = Request::new(EchoRequest { payload, count, ..EchoRequest::default() });
        grpc.ready().await?;
        let codec = Codec::<EchoRequest, EchoResponse>::default();
        let path = path("/framewire.bench.v1.Echo/ServerStream");
        let mut stream = grpc.server_streaming(request, path, codec).await?.into_inner();
        let mut messages = 0;
        while let Some(message) = stream.message().await? {
            std::hint::black_box(message);
            messages += 1;
        }
        Ok(messages)
    }

    async fn ping_pong(&self, rounds: u32) -> Result<(), Failure> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let requests = futures(receiver);
        grpc.ready().await?;
        let codec = Codec::<EchoRequest, EchoResponse>::default();
        let path = path("/framewire.bench.v1.Echo/Bidi");
        let mut stream = grpc.streaming(Request::new(requests), path, codec).await?.into_inner();
        for _ in 0..rounds {
            let payload = Bytes::from_static(&[7; 100]);
            sender.send(EchoRequest { payload, ..EchoRequest::default() }).await?;
            stream.message().await?.ok_or("the stream ended early")?;
        }
        drop(sender);
        while stream.message().await?.is_some() {}
        Ok(())
    }
}

/// A channel's receiver as a stream.
struct Received(tokio::sync::mpsc::Receiver<EchoRequest>);

fn futures(receiver: tokio::sync::mpsc::Receiver<EchoRequest>) -> Received {
    Received(receiver)
}

impl tonic::codegen::tokio_stream::Stream for Received {
    type Item = EchoRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EchoRequest>> {
        self.0.poll_recv(cx)
    }
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "framewire.bench.v1.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = Codec::<EchoResponse, EchoRequest>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            let path = request.uri().path().to_owned();
            Ok(match path.rsplit('/').next() {
                Some("Unary") => grpc.unary(Handler(unary), request).await,
                Some("ServerStream") => grpc.server_streaming(Handler(many), request).await,
                Some("Bidi") => grpc.streaming(Handler(bidi), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// A function as tonic's service.
struct Handler<F>(F);

impl<F, Req, Res, Fut> Service<Request<Req>> for Handler<F>
where
    F: FnMut(Request<Req>) -> Fut,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    type Response = Response<Res>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Res>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

async fn unary(request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
    Ok(Response::new(EchoResponse { payload: request.into_inner().payload }))
}

async fn many(request: Request<EchoRequest>) -> Result<Response<BoxStream<EchoResponse>>, Status> {
    let EchoRequest { payload, count, .. } = request.into_inner();
    let answers = (0..count).map(move |_| Ok(EchoResponse { payload: payload.clone() }));
    Ok(Response::new(Box::pin(tonic::codegen::tokio_stream::iter(answers))))
}

async fn bidi(
    request: Request<Streaming<EchoRequest>>,
) -> Result<Response<BoxStream<EchoResponse>>, Status> {
    let answers =
        request.into_inner().map(|request| Ok(EchoResponse { payload: request?.payload }));
    Ok(Response::new(Box::pin(answers)))
}
