//! Requests that are not served, and responses that cannot be sent as they are: a gRPC client always reads a
//! status, a plain one an HTTP status.

use crate::memory_pair::{On, UNARY, raw, router};
use crate::peer::{Frame, Peer, request};
use framewire::client::HttpRequest;
use framewire::server::{HttpReply, Replies, Router};
use framewire::transport::MemoryConnector;
use framewire::unstable::grpc::{Code, Metadata, Method, Raw, Response, Status};
use framewire::unstable::http2::frame::FrameType;

const ECHO: &str = "/test.Echo/Unary";

/// The fields of a gRPC request; `changes` replace or follow them.
fn head(path: &str, changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut head = request(path, &[]);
    for (name, value) in changes {
        match head.iter_mut().find(|(other, _)| other == name) {
            Some(field) => (*value).clone_into(&mut field.1),
            None => head.push(((*name).to_owned(), (*value).to_owned())),
        }
    }
    head
}

async fn answer(connector: &MemoryConnector, head: &[(String, String)]) -> Frame {
    let mut peer = Peer::dial(connector).await;
    peer.headers(1, true, head).await;
    let answer = peer.next(FrameType::Headers).await;
    assert!(answer.ends(), "{answer:?}");
    answer
}

pub async fn a_grpc_client_reads_a_status(on: On) {
    let pair = on.setup(router().http("/", |_| async { HttpReply::new(204) })).start();
    for (path, changes, code) in [
        (ECHO, &[(":method", "GET")][..], "13"),
        (ECHO, &[("grpc-timeout", "soon")], "13"),
        (ECHO, &[("grpc-encoding", "snappy")], "12"),
        ("/test.Echo/None", &[], "12"),
        ("/test.Echo/None", &[("content-type", "Application/gRPC+proto")], "12"),
        ("/", &[(":method", "GET")], "13"),
    ] {
        let answer = answer(&pair.connector, &head(path, changes)).await;
        let fields = [":status", "content-type", "grpc-status"].map(|name| answer.field(name));
        let want = [Some("200"), Some("application/grpc"), Some(code)];
        assert_eq!(fields, want, "{path} {changes:?}: {answer:?}");
    }
}

/// What this crate's engine finds before there is a plan.
pub async fn a_grpc_client_reads_a_status_for_what_is_malformed(on: On) {
    let pair = on.setup(router()).start();
    let long = "v".repeat(17_000);
    let mut late = head(ECHO, &[("content-type", "x"), ("x-long", &long)]);
    late.retain(|(name, _)| name != "content-type");
    late.push(("content-type".to_owned(), "application/grpc".to_owned()));
    for (head, code) in [
        (head(ECHO, &[("x-long", &long)]), "8"),
        (late, "8"),
        (head(ECHO, &[("host", "elsewhere")]), "13"),
    ] {
        let answer = answer(&pair.connector, &head).await;
        let fields = [":status", "content-type", "grpc-status"].map(|name| answer.field(name));
        assert_eq!(fields, [Some("200"), Some("application/grpc"), Some(code)], "{answer:?}");
    }
}

pub async fn another_client_reads_an_http_status(on: On) {
    let pair = on.setup(router()).start();
    for (path, changes, status) in [
        (ECHO, &[("content-type", "text/plain")][..], "415"),
        (ECHO, &[("content-type", "application/grpc-web")], "415"),
        (ECHO, &[("content-type", "text/plain"), (":method", "GET")], "405"),
        ("/none", &[("content-type", "text/plain"), (":method", "GET")], "404"),
    ] {
        let answer = answer(&pair.connector, &head(path, changes)).await;
        assert_eq!(answer.fields, [(":status".to_owned(), status.to_owned())], "{changes:?}");
    }
}

fn plain(connector: &MemoryConnector, method: &str, path: &str) -> impl Future<Output = Frame> {
    let head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "test")];
    let head = head.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let connector = connector.clone();
    async move {
        let mut peer = Peer::dial(&connector).await;
        peer.headers(1, true, &head).await;
        peer.next(FrameType::Headers).await
    }
}

pub async fn no_content_where_there_can_be_none(on: On) {
    let router = Router::new().http("/", |request| async move {
        let path = String::from_utf8_lossy(request.head.path()).into_owned();
        let mut reply = HttpReply::new(path[1..].parse().unwrap()).with_body("a page");
        reply.trailers.push("x-behind", "it");
        reply
    });
    let pair = on.setup(router).start();
    for (method, path, ends, length) in [
        ("GET", "/200", false, None),
        ("HEAD", "/200", true, Some("6")),
        ("GET", "/204", true, None),
        ("POST", "/204", true, None),
        ("GET", "/304", true, None),
    ] {
        let head = plain(&pair.connector, method, path).await;
        assert_eq!(head.field(":status"), Some(&path[1..]), "{method} {path}");
        let found = (head.ends(), head.field("content-length"));
        assert_eq!(found, (ends, length), "{method} {path}: {head:?}");
    }
    // Both sides agree.
    let response = pair.channel.http(HttpRequest::new("HEAD", "/200")).await.unwrap();
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(response.fields.get("content-length"), Some(b"6".as_slice()));
}

pub async fn a_status_that_cannot_be_sent_is_500(on: On) {
    let router = Router::new().http("/", |request| async move {
        let path = String::from_utf8_lossy(request.head.path()).into_owned();
        HttpReply::new(path[1..].parse().unwrap()).with_body("a page")
    });
    let pair = on.setup(router).start();
    for status in [0, 42, 100, 103, 199, 600, 999, 1000, u16::MAX] {
        let head = plain(&pair.connector, "GET", &format!("/{status}")).await;
        assert_eq!(head.field(":status"), Some("500"), "{status}: {head:?}");
    }
    assert_eq!(plain(&pair.connector, "GET", "/599").await.field(":status"), Some("599"));
}

/// A server whose methods fail with details of so many bytes, before and after the head of the response.
fn failing(details: usize) -> Router {
    let status = move || {
        let mut metadata = Metadata::new();
        metadata.append("x-kept", "it").unwrap();
        Status::new(Code::NotFound, "no such user")
            .with_details(vec![7; details])
            .with_metadata(metadata)
    };
    Router::new()
        .unary(&UNARY, move |_, _: Raw| async move { Err::<Response<Raw>, _>(status()) })
        .server_streaming(&DOWN, move |_, request: Raw, mut replies: Replies<Raw>| async move {
            replies.send(request).await?;
            Err(status())
        })
}

const DOWN: Method<Raw, Raw> = Method::new("/test.Echo/Down");

/// The client announces 16 KiB.
pub async fn details_are_sent_up_to_the_clients_limit_or_said_to_be_dropped(on: On) {
    let dropped = "no such user [details dropped: over the peer's limit for header lists]";
    for (details, message) in [(7_000, "no such user"), (11_000, "no such user"), (20_000, dropped)]
    {
        let pair = on.setup(failing(details)).start();
        let unary = pair.channel.unary(&UNARY, raw("x")).await.unwrap_err();
        let mut down = pair.channel.server_streaming(&DOWN, raw("x")).unwrap();
        assert_eq!(down.message().await.unwrap(), Some(raw("x")));
        let streaming = down.message().await.unwrap_err();
        for error in [unary, streaming] {
            let status = error.status();
            assert_eq!((status.code(), status.message()), (Code::NotFound, message), "{details}");
            let kept = if details > 16_000 { 0 } else { details };
            assert_eq!(status.details(), vec![7; kept], "{details}");
            assert_eq!(status.metadata().get("x-kept"), Some("it"), "{details}");
        }
    }
}

/// A caller that holds its body back is told to send it, unless the request is refused.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_held_back_is_asked_for() {
    let pair = On::FRAMEWIRE
        .setup(
            router()
                .max_http_body(10)
                .http("/", |request| async move { HttpReply::new(200).with_body(request.body) }),
        )
        .start();
    let post = |length: &str| {
        let mut fields =
            head("/page", &[("content-type", "text/plain"), ("expect", "100-Continue")]);
        fields.push(("content-length".to_owned(), length.to_owned()));
        fields
    };
    let mut peer = Peer::dial(&pair.connector).await;
    peer.headers(1, false, &post("5")).await;
    let interim = peer.next(FrameType::Headers).await;
    assert_eq!((interim.field(":status"), interim.ends()), (Some("100"), false));
    peer.data(1, b"hello", true).await;
    let answer = peer.next(FrameType::Headers).await;
    assert_eq!(answer.field(":status"), Some("200"));
    peer.headers(3, false, &post("11")).await;
    let refused = peer.next(FrameType::Headers).await;
    assert_eq!(refused.field(":status"), Some("413"));
}

/// What a plain request cannot say is an error of the caller, and nothing is sent.
#[tokio::test(start_paused = true)]
async fn a_malformed_plain_request_is_not_sent() {
    let pair = On::FRAMEWIRE.pair();
    for (method, path) in [
        ("GET", ""),
        ("GET", "plain"),
        ("GET", "/a b"),
        ("GET", "/\u{e9}"),
        ("GET", "http://other/x"),
        ("GET", "*"),
        ("B AD", "/"),
        ("", "/"),
        ("CONNECT", "/"),
    ] {
        let error = pair.channel.http(HttpRequest::new(method, path)).await.unwrap_err();
        assert_eq!(error.kind(), framewire::error::Kind::Misuse, "{method} {path}: {error}");
    }
    assert_eq!(pair.channel.connections().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_length_that_is_not_that_of_the_body_is_500() {
    let pair = On::FRAMEWIRE
        .setup(router().http("/", |request: framewire::server::HttpRequest| async move {
            let length = if request.head.path() == b"/right" { "1" } else { "100" };
            HttpReply::new(200).with_field("content-length", length).with_body("b")
        }))
        .start();
    for (path, status) in [("/right", 200), ("/wrong", 500)] {
        let page = pair.channel.http(HttpRequest::new("GET", path)).await.unwrap();
        assert_eq!(page.status, status);
    }
    let answer = answer(&pair.connector, &head("/test.Echo/Unary?x=1", &[])).await;
    assert!(answer.field("grpc-message").unwrap().contains("with a query"), "{answer:?}");
}
