//! Our server, a tonic client.

use super::bench::{EchoRequest, EchoResponse};
use super::peer::{self, codec, path};
use super::{
    ASKED, ASKED_BIN, DETAILS, INITIAL, LARGE, Pair, TEXT, TRAILING, bounded, echo, pair, pattern,
    reply,
};
use framewire::server::{Context, Router, Server};
use framewire::tls::ServerTls;
use framewire::{Code, Metadata, Method, Response, Status};
use std::time::{Duration, Instant};
use tonic::Request;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::tokio_stream;
use tonic::metadata::MetadataValue;

const fn method(path: &'static str) -> Method<EchoRequest, EchoResponse> {
    Method::new(path)
}

/// What the caller asked for: before the messages, behind them.
fn asked(context: &Context) -> (Metadata, Metadata) {
    let received = context.metadata();
    let (mut initial, mut trailing) = (Metadata::new(), Metadata::new());
    for value in received.get_all(ASKED) {
        initial.append(INITIAL, value).unwrap();
    }
    for value in received.get_all_bin(ASKED_BIN) {
        trailing.append_bin(TRAILING, &value.unwrap()).unwrap();
    }
    (initial, trailing)
}

fn router() -> Router {
    Router::new()
        .unary(&method("/framewire.bench.v1.Echo/Unary"), |context, request| async move {
            let (initial, trailing) = asked(&context);
            let response = Response::new(reply(request.payload));
            Ok(response.with_metadata(initial).with_trailers(trailing))
        })
        .server_streaming(
            &method("/framewire.bench.v1.Echo/ServerStream"),
            |context, request, mut replies| async move {
                let (initial, trailing) = asked(&context);
                replies.metadata(&initial)?;
                replies.trailers(&trailing)?;
                for _ in 0..request.count {
                    replies.send(reply(request.payload.clone())).await?;
                }
                if request.fail_code == 0 {
                    return Ok(());
                }
                Err(Status::new(Code::from_u32(request.fail_code), TEXT).with_details(DETAILS))
            },
        )
        .client_streaming(
            &method("/framewire.bench.v1.Echo/ClientStream"),
            |_, mut requests| async move {
                let mut all = Vec::new();
                while let Some(request) = requests.message().await? {
                    all.extend_from_slice(&request.payload);
                }
                Ok(Response::new(reply(all.into())))
            },
        )
        .bidi(&method("/framewire.bench.v1.Echo/Bidi"), |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(reply(request.payload)).await?;
            }
            Ok(())
        })
        .unary(&method("/framewire.bench.v1.Echo/Slow"), |_, _| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(Response::new(EchoResponse::default()))
        })
        .unary(&method("/framewire.bench.v1.Echo/Refuse"), |_, _| async move {
            let mut metadata = Metadata::new();
            metadata.append_bin(TRAILING, DETAILS).unwrap();
            let status = Status::new(Code::NotFound, TEXT).with_details(DETAILS);
            Err::<Response<EchoResponse>, _>(status.with_metadata(metadata))
        })
}

fn serve(tls: Option<&Pair>) -> (Server, u16) {
    let mut builder = Server::builder(router());
    if let Some(pair) = tls {
        let identity = ServerTls::builder().identity_der(pair.cert.der(), pair.key.serialize_der());
        builder = builder.tls(identity.build().unwrap());
    }
    let server = builder.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

#[tokio::test]
async fn tonic_meets_our_server_in_plaintext() {
    bounded(all(None)).await;
}

#[tokio::test]
async fn tonic_meets_our_server_over_tls() {
    bounded(async { all(Some(&pair())).await }).await;
}

async fn all(tls: Option<&Pair>) {
    let (server, port) = serve(tls);
    let mut client = peer::connect(port, tls).await;
    four_kinds(&mut client).await;
    metadata(&mut client).await;
    status(&mut client).await;
    deadline(&mut client).await;
    gzip(client.clone().send_compressed(Gzip).accept_compressed(Gzip)).await;
    large(&mut client).await;
    concurrent(&client).await;
    drop(client);
    let report = server.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.forced, 0, "{report:?}");
}

type Answer = Result<tonic::Response<EchoResponse>, tonic::Status>;

async fn unary(
    client: &mut peer::Client,
    name: &'static str,
    request: Request<EchoRequest>,
) -> Answer {
    client.ready().await.unwrap();
    client.unary(request, path(name), codec()).await
}

async fn four_kinds(client: &mut peer::Client) {
    let answer = unary(client, "Unary", Request::new(echo("one"))).await.unwrap();
    assert_eq!(answer.into_inner().payload, "one");

    client.ready().await.unwrap();
    let request = Request::new(EchoRequest { count: 50, ..echo("many") });
    let answer = client.server_streaming(request, path("ServerStream"), codec()).await.unwrap();
    let mut stream = answer.into_inner();
    for _ in 0..50 {
        assert_eq!(stream.message().await.unwrap().unwrap().payload, "many");
    }
    assert!(stream.message().await.unwrap().is_none());

    client.ready().await.unwrap();
    let requests = tokio_stream::iter((0..50u8).map(|i| echo(vec![i])));
    let answer =
        client.client_streaming(Request::new(requests), path("ClientStream"), codec()).await;
    let sum = answer.unwrap().into_inner().payload;
    assert_eq!(sum[..], (0..50).collect::<Vec<u8>>()[..]);

    client.ready().await.unwrap();
    let requests = tokio_stream::iter((0..50u8).map(|i| echo(vec![i; 5000])));
    let answer = client.streaming(Request::new(requests), path("Bidi"), codec()).await.unwrap();
    let mut stream = answer.into_inner();
    for i in 0..50u8 {
        assert_eq!(stream.message().await.unwrap().unwrap().payload, vec![i; 5000]);
    }
    assert!(stream.message().await.unwrap().is_none());
}

fn with_metadata(message: EchoRequest) -> Request<EchoRequest> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(ASKED, "a value".parse().unwrap());
    request.metadata_mut().insert_bin(ASKED_BIN, MetadataValue::from_bytes(DETAILS));
    request
}

async fn metadata(client: &mut peer::Client) {
    // tonic shows head and trailers of a unary response as one map.
    let answer = unary(client, "Unary", with_metadata(echo(""))).await.unwrap();
    assert_eq!(answer.metadata().get(INITIAL).unwrap(), "a value");
    assert_eq!(answer.metadata().get_bin(TRAILING).unwrap().to_bytes().unwrap(), DETAILS);

    for fail_code in [0, 5] {
        client.ready().await.unwrap();
        let request = with_metadata(EchoRequest { count: 1, fail_code, ..echo("x") });
        let answer = client.server_streaming(request, path("ServerStream"), codec()).await.unwrap();
        assert_eq!(answer.metadata().get(INITIAL).unwrap(), "a value");
        assert!(answer.metadata().get_bin(TRAILING).is_none());
        let mut stream = answer.into_inner();
        assert!(stream.message().await.unwrap().is_some());
        let trailers = if fail_code == 0 {
            assert!(stream.message().await.unwrap().is_none());
            stream.trailers().await.unwrap().unwrap()
        } else {
            let status = stream.message().await.unwrap_err();
            assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, TEXT));
            assert_eq!(status.details(), DETAILS);
            status.metadata().clone()
        };
        assert_eq!(trailers.get_bin(TRAILING).unwrap().to_bytes().unwrap(), DETAILS);
    }
}

async fn status(client: &mut peer::Client) {
    let status = unary(client, "Refuse", Request::new(echo(""))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, TEXT));
    assert_eq!(status.details(), DETAILS);
    assert_eq!(status.metadata().get_bin(TRAILING).unwrap().to_bytes().unwrap(), DETAILS);
    let status = unary(client, "No", Request::new(echo(""))).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

async fn deadline(client: &mut peer::Client) {
    let started = Instant::now();
    let mut request = Request::new(echo(""));
    request.set_timeout(Duration::from_millis(100));
    let status = unary(client, "Slow", request).await.unwrap_err();
    // tonic's own timer says CANCELLED, our server's answer DEADLINE_EXCEEDED; either may be first.
    let expected = [tonic::Code::Cancelled, tonic::Code::DeadlineExceeded];
    assert!(expected.contains(&status.code()), "{status:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

async fn gzip(mut client: peer::Client) {
    let bytes = b"the same again and ".repeat(1000);
    let answer = unary(&mut client, "Unary", Request::new(echo(bytes.clone()))).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().payload, bytes);

    client.ready().await.unwrap();
    let requests = tokio_stream::iter(vec![echo(bytes.clone()); 3]);
    let answer = client.streaming(Request::new(requests), path("Bidi"), codec()).await.unwrap();
    let mut stream = answer.into_inner();
    for _ in 0..3 {
        assert_eq!(stream.message().await.unwrap().unwrap().payload, bytes);
    }
    assert!(stream.message().await.unwrap().is_none());
}

async fn large(client: &mut peer::Client) {
    let bytes = pattern(LARGE);
    let answer = unary(client, "Unary", Request::new(echo(bytes.clone()))).await.unwrap();
    assert!(answer.into_inner().payload == bytes);
}

async fn concurrent(client: &peer::Client) {
    let calls: Vec<_> = (0..100u8)
        .map(|i| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let request = Request::new(echo(vec![i; 20_000]));
                let answer = unary(&mut client, "Unary", request).await.unwrap();
                assert_eq!(answer.into_inner().payload, vec![i; 20_000]);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}
