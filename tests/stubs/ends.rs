//! How calls under tonic's stubs end: errors of this side, deadlines, cancellation, hostile peers, backpressure.

use crate::{channel, ours, serve, service, tonic_channel};
use bytes::Bytes;
use framewire::client::{Channel, ErrorMode, RetryPolicy};
use framewire::server::Router;
use http_body_util::{BodyExt, Empty};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use stub_tests::pb::echo_client::EchoClient;
use stub_tests::{EchoRequest, echo};
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::{Code, Request};
use tower::{Service, ServiceExt};

/// A port at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn grpc(path: &str) -> http::Request<Empty<Bytes>> {
    let request = http::Request::post(path).header("content-type", "application/grpc");
    request.body(Empty::new()).unwrap()
}

#[tokio::test]
async fn an_unreachable_server_is_a_status() {
    let channel = channel(&nobody().await);
    let status = EchoClient::new(channel.clone()).unary(echo("a")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("refused"), "{status}");

    let response = channel.clone().oneshot(grpc("/a.B/C")).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    let error = response.extensions().get::<framewire::Error>().unwrap();
    assert!(error.is_retry_safe(), "{error}");

    let mut service = channel.http_service(ErrorMode::Err);
    let error = service.call(grpc("/a.B/C")).await.unwrap_err();
    assert_eq!(error.code(), framewire::Code::Unavailable);
    // Plain HTTP has no status of gRPC.
    let request = http::Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    channel.clone().oneshot(request).await.unwrap_err();
}

#[tokio::test]
async fn a_deadline_covers_the_wait_for_a_connection() {
    // It accepts, and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(&format!("http://{}", listener.local_addr().unwrap()));
    let mut request = Request::new(echo("a"));
    request.set_timeout(Duration::from_millis(200));
    let began = Instant::now();
    let status = EchoClient::new(channel).unary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

/// Counts its drops.
#[derive(Clone, Default)]
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let late = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < late, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A service whose calls never end, and how many of its futures were dropped.
fn endless() -> (Router, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let service = tower::service_fn(move |_: http::Request<framewire::server::ServerBody>| {
        let guard = Dropped(Arc::clone(&count));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    (Router::new().tower("/", service), dropped)
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    let (router, dropped) = endless();
    let (_server, target) = serve(router);
    for ours in [true, false] {
        let mut request = Request::new(echo("a"));
        request.set_timeout(Duration::from_millis(100));
        let status = if ours {
            EchoClient::new(channel(&target)).unary(request).await.unwrap_err()
        } else {
            EchoClient::new(tonic_channel(&target).await).unary(request).await.unwrap_err()
        };
        let code = status.code();
        assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{status}");
        assert!(!ours || code == Code::DeadlineExceeded, "{status}");
    }
    until("both futures are dropped", || dropped.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_dropped_future_or_body_cancels_the_call() {
    let (router, dropped) = endless();
    let (_server, target) = serve(router);
    let mut client = EchoClient::new(channel(&target));
    let call = tokio::time::timeout(Duration::from_millis(100), client.unary(echo("a")));
    call.await.unwrap_err();
    until("the future is dropped", || dropped.load(Ordering::SeqCst) == 1).await;

    let (_server, target) = ours();
    let channel = channel(&target);
    let mut client = EchoClient::new(channel.clone());
    let wanted =
        EchoRequest { count: u32::MAX, payload: vec![0; 1000].into(), ..EchoRequest::default() };
    let mut replies = client.server_stream(wanted).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    assert_eq!(channel.stats().connections[0].calls, 1);
    drop(replies);
    until("the call ends", || channel.stats().connections[0].calls == 0).await;
}

/// Sends one kind of response to every request.
async fn hostile(
    respond: impl Fn(h2::server::SendResponse<Bytes>) + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(socket).await.unwrap();
            while let Some(Ok((_, answer))) = connection.accept().await {
                respond(answer);
            }
        }
    });
    target
}

/// tonic panics where the details of a status are not base64.
#[tokio::test]
async fn broken_binary_fields_do_not_reach_the_stub() {
    for trailers_only in [true, false] {
        let target = hostile(move |mut answer| {
            let head = http::Response::builder().header("content-type", "application/grpc");
            let fields = [
                ("grpc-status", "5"),
                ("grpc-message", "gone%20%FF%zz"),
                ("grpc-status-details-bin", "*not base64*"),
                ("x-broken-bin", "***"),
            ];
            if trailers_only {
                let head =
                    fields.iter().fold(head, |head, (name, value)| head.header(*name, *value));
                answer.send_response(head.body(()).unwrap(), true).unwrap();
                return;
            }
            let mut body = answer.send_response(head.body(()).unwrap(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            for (name, value) in fields {
                trailers.insert(name, value.parse().unwrap());
            }
            body.send_trailers(trailers).unwrap();
        })
        .await;
        let status = EchoClient::new(channel(&target)).unary(echo("a")).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.details().is_empty() && status.metadata().get_bin("x-broken-bin").is_none());
    }
}

/// What the peer does wrong has a code and a text.
#[tokio::test]
async fn what_is_not_a_grpc_response_has_a_status() {
    let page = |status: u16| {
        hostile(move |mut answer| {
            let head = http::Response::builder().status(status).header("content-type", "text/html");
            let mut body = answer.send_response(head.body(()).unwrap(), false).unwrap();
            body.send_data("<html>".into(), true).unwrap();
        })
    };
    for (status, code) in
        [(503, Code::Unavailable), (401, Code::Unauthenticated), (200, Code::Unknown)]
    {
        let target = page(status).await;
        let seen = EchoClient::new(channel(&target)).unary(echo("a")).await.unwrap_err();
        assert_eq!(seen.code(), code, "{seen}");
        assert!(seen.message().contains(&status.to_string()), "{seen}");
    }
    // No status behind the messages.
    let target = hostile(|mut answer| {
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut body = answer.send_response(head.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    })
    .await;
    let seen = EchoClient::new(channel(&target)).unary(echo("a")).await.unwrap_err();
    assert_ne!(seen.code(), Code::Ok, "{seen}");
    // The connection is cut in the middle of a message.
    let target = hostile(|mut answer| {
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut body = answer.send_response(head.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false).unwrap();
        body.send_reset(h2::Reason::INTERNAL_ERROR);
    })
    .await;
    let seen = EchoClient::new(channel(&target)).unary(echo("a")).await.unwrap_err();
    assert_eq!(seen.code(), Code::Internal, "{seen}");
}

/// Counts what is taken of it.
struct Counted(Arc<AtomicUsize>);

impl Stream for Counted {
    type Item = EchoRequest;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<EchoRequest>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(echo(vec![0; 10_000])))
    }
}

/// A side that does not read stops the one that sends.
#[tokio::test]
async fn bodies_wait_for_their_readers() {
    let (router, _) = endless();
    let (_server, target) = serve(router);
    for ours in [true, false] {
        let taken = Arc::new(AtomicUsize::new(0));
        let requests = Counted(Arc::clone(&taken));
        let transport = tonic_channel(&target).await;
        let channel = channel(&target);
        let call = tokio::spawn(async move {
            if ours {
                drop(EchoClient::new(channel).client_stream(requests).await);
            } else {
                drop(EchoClient::new(transport).client_stream(requests).await);
            }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = taken.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(before > 0 && taken.load(Ordering::SeqCst) == before, "{before}");
        // 10 kB each: what the windows and the queues hold.
        assert!(before < 1000, "{before}");
        call.abort();
    }

    let (_server, target) = ours();
    let mut client = EchoClient::new(channel(&target));
    let wanted =
        EchoRequest { count: 20_000, payload: vec![0; 10_000].into(), ..EchoRequest::default() };
    let mut replies = client.server_stream(wanted).await.unwrap().into_inner();
    // Another call passes although this one is not read; then all of it arrives.
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.unary(echo("b")).await.unwrap();
    let mut count = 0;
    while replies.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 20_000);
}

#[tokio::test]
async fn a_retry_policy_applies_to_stubs() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let mut echo_service = service();
    let flaky = tower::service_fn(move |request: http::Request<framewire::server::ServerBody>| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let inner = echo_service.call(request);
        async move {
            if first {
                let answer = tonic::Status::unavailable("not yet").into_http::<tonic::body::Body>();
                return Ok(answer);
            }
            inner.await
        }
    });
    let (_server, target) = serve(Router::new().tower("/", flaky));
    let policy = RetryPolicy::new(3);
    let channel =
        Channel::builder(&target).retry_for("/framewire.bench.v1.Echo/", policy).build().unwrap();
    let response = EchoClient::new(channel).unary(echo("a")).await.unwrap();
    assert_eq!(response.into_inner().payload, "a");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// The error of a stub's own request stream ends the call as such.
#[tokio::test]
async fn a_request_stream_that_fails_ends_the_call() {
    let (_server, target) = ours();
    let body = http_body_util::StreamBody::new(tokio_stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(&[0; 5]))),
        Err(tonic::Status::data_loss("the disk is gone")),
    ]));
    let request = http::Request::post("/framewire.bench.v1.Echo/ClientStream")
        .header("content-type", "application/grpc");
    let error = channel(&target)
        .http_service(ErrorMode::Err)
        .oneshot(request.body(body).unwrap())
        .await
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    let status = source.downcast_ref::<tonic::Status>().unwrap();
    assert_eq!(status.code(), Code::DataLoss);
}

/// The service is ready at any time, and a response body is read to its end by hand.
#[tokio::test]
async fn plain_http_streams_through_the_service() {
    let app = axum::Router::new()
        .route("/echo", axum::routing::post(|body: Bytes| async move { body }))
        .route("/large", axum::routing::get(|| async { vec![7u8; 3 << 20] }));
    let (_server, target) = serve(Router::new().tower("/", app));
    let mut channel = channel(&target);
    poll_fn(|cx| Service::<http::Request<Empty<Bytes>>>::poll_ready(&mut channel, cx))
        .await
        .unwrap();
    let request = http::Request::get("/large").body(Empty::<Bytes>::new()).unwrap();
    let response = channel.call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(3 << 20));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 3 << 20);
    let request =
        http::Request::post("/echo").body(http_body_util::Full::new(Bytes::from("x"))).unwrap();
    let response = channel.call(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
    let request = http::Request::get("/none").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(channel.call(request).await.unwrap().status(), 404);
}
