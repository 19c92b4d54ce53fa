//! tonic by hand: a client and a server of the Echo service, without generated glue.

use super::bench::{EchoRequest, EchoResponse};
use super::{ASKED, ASKED_BIN, DETAILS, INITIAL, Pair, TEXT, TRAILING, reply};
use http::uri::PathAndQuery;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::metadata::MetadataValue;
use tonic::server::NamedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

type Codec<T, U> = tonic_prost::ProstCodec<T, U>;

pub(crate) type Client = tonic::client::Grpc<Channel>;

/// A tonic channel to our server.
pub(crate) async fn connect(port: u16, tls: Option<&Pair>) -> Client {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Channel::from_shared(format!("{scheme}://localhost:{port}")).unwrap();
    if let Some(pair) = tls {
        let root = Certificate::from_pem(pair.cert.pem());
        let tls = ClientTlsConfig::new().ca_certificate(root).domain_name("localhost");
        endpoint = endpoint.tls_config(tls).unwrap();
    }
    tonic::client::Grpc::new(endpoint.connect().await.unwrap())
}

pub(crate) fn codec() -> Codec<EchoRequest, EchoResponse> {
    Codec::default()
}

pub(crate) fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_maybe_shared(format!("/framewire.bench.v1.Echo/{method}")).unwrap()
}

/// A tonic server of Echo; its port.
pub(crate) async fn serve(tls: Option<&Pair>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let mut builder = Server::builder();
    if let Some(pair) = tls {
        let identity = Identity::from_pem(pair.cert.pem(), pair.key.serialize_pem());
        builder = builder.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    }
    tokio::spawn(builder.add_service(Echo).serve_with_incoming(incoming));
    port
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
            let gzip = request.headers().contains_key("grpc-encoding");
            let codec = Codec::<EchoResponse, EchoRequest>::default();
            let mut grpc = tonic::server::Grpc::new(codec).accept_compressed(Gzip);
            if gzip {
                grpc = grpc.send_compressed(Gzip);
            }
            let path = request.uri().path().to_owned();
            Ok(match path.rsplit('/').next() {
                Some("Unary") => grpc.unary(Handler(unary), request).await,
                Some("Slow") => grpc.unary(Handler(slow), request).await,
                Some("Refuse") => grpc.unary(Handler(refuse), request).await,
                Some("ServerStream") => grpc.server_streaming(Handler(many), request).await,
                Some("ClientStream") => grpc.client_streaming(Handler(sum), request).await,
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
    let asked = request.metadata().get(ASKED).cloned();
    let asked_bin = request.metadata().get_bin(ASKED_BIN).map(|v| v.to_bytes().unwrap());
    let mut response = Response::new(reply(request.into_inner().payload));
    if let Some(value) = asked {
        response.metadata_mut().insert(INITIAL, value);
    }
    if let Some(value) = asked_bin {
        response.metadata_mut().insert_bin(TRAILING, MetadataValue::from_bytes(&value));
    }
    Ok(response)
}

async fn slow(_: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(Response::new(EchoResponse::default()))
}

async fn refuse(_: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert_bin(TRAILING, MetadataValue::from_bytes(DETAILS));
    Err(Status::with_details_and_metadata(
        Code::NotFound,
        TEXT,
        bytes::Bytes::from_static(DETAILS),
        metadata,
    ))
}

async fn many(request: Request<EchoRequest>) -> Result<Response<BoxStream<EchoResponse>>, Status> {
    let request = request.into_inner();
    let answers = (0..request.count).map(move |_| Ok(reply(request.payload.clone())));
    let answers: Vec<_> = answers.collect();
    Ok(Response::new(Box::pin(tonic::codegen::tokio_stream::iter(answers))))
}

async fn sum(request: Request<Streaming<EchoRequest>>) -> Result<Response<EchoResponse>, Status> {
    let mut requests = request.into_inner();
    let mut all = Vec::new();
    while let Some(request) = requests.message().await? {
        all.extend_from_slice(&request.payload);
    }
    Ok(Response::new(reply(all.into())))
}

async fn bidi(
    request: Request<Streaming<EchoRequest>>,
) -> Result<Response<BoxStream<EchoResponse>>, Status> {
    use tonic::codegen::tokio_stream::StreamExt;
    let answers = request.into_inner().map(|request| Ok(reply(request?.payload)));
    Ok(Response::new(Box::pin(answers)))
}
