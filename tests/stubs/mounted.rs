//! What is mounted on our server: tonic's services, axum, tower layers; and what they see of a request.

use crate::{channel, serve, service};
use bytes::Bytes;
use framewire::client::{Channel, HttpRequest};
use framewire::server::{Context, HttpReply, Router, ServerBody};
use framewire::transport::{ConnectionInfo, PeerAddr};
use framewire::{Method, Raw, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;
use stub_tests::pb::echo_client::EchoClient;
use stub_tests::{EchoRequest, EchoService, echo};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tower::{Service, ServiceBuilder};

fn slow(millis: u32) -> EchoRequest {
    EchoRequest { delay_ms: millis, ..echo("slow") }
}

#[tokio::test]
async fn health_reflection_and_axum_beside_a_service() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<stub_tests::pb::echo_server::EchoServer<EchoService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap();
    let routes = tonic::service::Routes::new(service()).add_service(health).add_service(reflection);
    let app = axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }));
    let router = Router::new().tower("/", routes).tower("/hello", app);
    let (_server, target) = serve(router);
    let channel = channel(&target);

    let mut client = EchoClient::new(channel.clone());
    assert_eq!(client.unary(echo("a")).await.unwrap().into_inner().payload, "a");
    let request = HealthCheckRequest { service: "framewire.bench.v1.Echo".into() };
    let health = HealthClient::new(channel.clone()).check(request).await.unwrap();
    assert_eq!(health.into_inner().status, 1);
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let requests = tonic::codegen::tokio_stream::once(list);
    let mut client = ServerReflectionClient::new(channel.clone());
    let replies = client.server_reflection_info(requests).await;
    let reply = replies.unwrap().into_inner().message().await.unwrap().unwrap();
    assert!(format!("{reply:?}").contains("grpc.health.v1.Health"));
    let page = channel.http(HttpRequest::new("GET", "/hello")).await.unwrap();
    assert_eq!((page.status, page.body), (200, "hello".into()));
}

const NATIVE: Method<Raw, Raw> = Method::new("/framewire.bench.v1.Echo/Unary");

/// A method of the router itself counts before a prefix, and a longer prefix before a shorter one.
#[tokio::test]
async fn methods_and_longer_prefixes_come_first() {
    let named = |name: &'static str| {
        tower::service_fn(move |_: http::Request<ServerBody>| {
            ready(Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(name)))))
        })
    };
    let router = Router::new()
        .unary(&NATIVE, |_, _: Raw| async { Ok(Response::new(Raw("\n\x06native".into()))) })
        .tower("/", named("all"))
        .tower("/api/", named("api"))
        .http("/api/v1/", |_| async { HttpReply::new(200).with_body("plain") });
    let (_server, target) = serve(router);
    let channel = channel(&target);
    let mut client = EchoClient::new(channel.clone());
    assert_eq!(client.unary(echo("a")).await.unwrap().into_inner().payload, "native");
    for (path, body) in [("/", "all"), ("/api/x", "api"), ("/api/v1/x", "plain")] {
        let page = channel.http(HttpRequest::new("GET", path)).await.unwrap();
        assert_eq!(page.body, body, "{path}");
    }
}

#[tokio::test]
async fn tower_layers_around_a_service() {
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, seen) = (Arc::clone(&busy), Arc::clone(&most));
    let layered = ServiceBuilder::new()
        .map_err(|error: tower::BoxError| -> framewire::Status {
            let late = error.is::<tower::timeout::error::Elapsed>();
            let code = if late { framewire::Code::Cancelled } else { framewire::Code::Internal };
            framewire::Status::new(code, error.to_string())
        })
        .layer(tower_http::trace::TraceLayer::new_for_grpc())
        .timeout(Duration::from_millis(400))
        .concurrency_limit(2)
        .map_future(move |future| {
            let (now, seen) = (Arc::clone(&now), Arc::clone(&seen));
            async move {
                seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let result = future.await;
                now.fetch_sub(1, Ordering::SeqCst);
                result
            }
        })
        .service(service());
    let (_server, target) = serve(Router::new().tower("/", layered));
    let channel = channel(&target);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move { client.unary(slow(20)).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    let status = EchoClient::new(channel).unary(slow(60_000)).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    assert!(status.message().contains("timed out"), "{status}");
}

#[tokio::test]
async fn load_shedding_fails_fast() {
    let shed = ServiceBuilder::new()
        .map_err(|error: tower::BoxError| {
            framewire::Status::new(framewire::Code::ResourceExhausted, error.to_string())
        })
        .load_shed()
        .concurrency_limit(1)
        .service(service());
    let (_server, target) = serve(Router::new().tower("/", shed));
    let channel = channel(&target);
    let mut first = EchoClient::new(channel.clone());
    let first = tokio::spawn(async move { first.unary(slow(1000)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = EchoClient::new(channel).unary(echo("b")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    first.await.unwrap().unwrap();
}

/// A service that must be asked before each call, as tower allows.
struct Strict(bool);

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<http::Request<ServerBody>> for Strict {
    type Response = http::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<ServerBody>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "called without being asked");
        ready(Ok(http::Response::new(Full::new(Bytes::from("asked")))))
    }
}

#[tokio::test]
async fn each_request_asks_its_own_clone() {
    let (_server, target) = serve(Router::new().tower("/", Strict(false)));
    let channel = channel(&target);
    for _ in 0..20 {
        let page = channel.http(HttpRequest::new("GET", "/")).await.unwrap();
        assert_eq!(page.body, "asked");
    }
}

#[tokio::test]
async fn what_a_handler_sees_of_its_connection() {
    let seen = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&seen);
    let intercepted = tonic::service::interceptor::InterceptedService::new(
        service(),
        move |request: Request<()>| {
            assert!(request.remote_addr().is_some_and(|address| address.ip().is_loopback()));
            let info = request.extensions().get::<ConnectionInfo>().unwrap();
            assert!(matches!(info.peer, Some(PeerAddr::Tcp(_))));
            let context = request.extensions().get::<Context>().unwrap();
            assert!(context.remaining().is_some());
            told.store(true, Ordering::SeqCst);
            Ok(request)
        },
    );
    let router = Router::new().tower("/", intercepted).connection_extensions(|info, extensions| {
        let tcp = |address: &Option<PeerAddr>| match address {
            Some(PeerAddr::Tcp(address)) => Some(*address),
            _ => None,
        };
        extensions
            .insert(TcpConnectInfo { local_addr: tcp(&info.local), remote_addr: tcp(&info.peer) });
    });
    let (_server, target) = serve(router);
    let mut request = Request::new(echo("a"));
    request.set_timeout(Duration::from_secs(50));
    EchoClient::new(channel(&target)).unary(request).await.unwrap();
    assert!(seen.load(Ordering::SeqCst));
}

/// A panic, an error and a failing body end their call, and nothing else.
#[tokio::test]
async fn what_fails_ends_its_call_only() {
    let faulty = tower::service_fn(|request: http::Request<ServerBody>| async move {
        match request.uri().path() {
            "/a.B/Panics" => panic!("on purpose"),
            "/a.B/Fails" => {
                Err::<http::Response<axum::body::Body>, tower::BoxError>("a secret".into())
            }
            "/a.B/Says" => {
                Err(framewire::Status::new(framewire::Code::NotFound, "no user 42").into())
            }
            _ => {
                let parts = [Ok(Bytes::from_static(&[0; 5])), Err("the disk is gone")];
                let body = axum::body::Body::from_stream(tonic::codegen::tokio_stream::iter(parts));
                let head = http::Response::builder().header("content-type", "application/grpc");
                Ok(head.body(body).unwrap())
            }
        }
    });
    let (_server, target) = serve(Router::new().tower("/", faulty));
    let channel = channel(&target);
    const PANICS: Method<Raw, Raw> = Method::new("/a.B/Panics");
    const FAILS: Method<Raw, Raw> = Method::new("/a.B/Fails");
    const SAYS: Method<Raw, Raw> = Method::new("/a.B/Says");
    const CUT: Method<Raw, Raw> = Method::new("/a.B/Cut");
    for (method, code) in [
        (PANICS, framewire::Code::Internal),
        (FAILS, framewire::Code::Internal),
        (SAYS, framewire::Code::NotFound),
        (CUT, framewire::Code::Internal),
    ] {
        let error = channel.unary(&method, Raw::default()).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for path in ["/a.B/Panics", "/a.B/Fails"] {
        let page = channel.http(HttpRequest::new("GET", path)).await.unwrap();
        assert_eq!(page.status, 500);
    }
    assert_eq!(channel.connections().len(), 1);
}

/// Unknown methods, other content, HEAD, and a deadline that is none.
#[tokio::test]
async fn requests_at_the_edge() {
    let app = axum::Router::new().route("/page", axum::routing::get(|| async { "content" }));
    let router = Router::new().tower("/", app).tower("/framewire.bench.v1.Echo/", service());
    let (_server, target) = serve(router);
    let channel = channel(&target);
    const UNKNOWN: Method<Raw, Raw> = Method::new("/framewire.bench.v1.Echo/Unknown");
    let error = channel.unary(&UNKNOWN, Raw::default()).await.unwrap_err();
    assert_eq!(error.code(), framewire::Code::Unimplemented, "{error}");
    let head = channel.http(HttpRequest::new("HEAD", "/page")).await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    let late = HttpRequest::new("POST", "/framewire.bench.v1.Echo/Unary")
        .with_field("content-type", "application/grpc")
        .with_field("te", "trailers")
        .with_field("grpc-timeout", "soon");
    let refused = channel.http(late).await.unwrap();
    assert_eq!(refused.fields.get("grpc-status"), Some(b"13".as_slice()));
}

/// A drain waits for the calls of services, streams included.
#[tokio::test]
async fn a_drain_lets_calls_end() {
    let (server, target) = serve(Router::new().tower("/", service()));
    let channel = Channel::builder(&target).build().unwrap();
    let mut client = EchoClient::new(channel.clone());
    let unary = tokio::spawn(async move { client.unary(slow(700)).await });
    let wanted = EchoRequest { count: 10, ..slow(70) };
    let mut client = EchoClient::new(channel);
    let mut replies = client.server_stream(wanted).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    let report = tokio::spawn(server.shutdown(Duration::from_secs(50)));
    let mut count = 1;
    while replies.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 10);
    unary.await.unwrap().unwrap();
    assert_eq!(report.await.unwrap().forced, 0);
}
