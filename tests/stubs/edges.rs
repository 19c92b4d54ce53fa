//! Requests and bodies at the edge of what HTTP allows, through stubs' transport and mounted services.

use crate::{bounded, channel, serve, tonic_channel};
use bytes::Bytes;
use framewire::client::{Channel, ErrorMode, ResponseBody};
use framewire::server::{Router, ServerBody};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tower::ServiceExt;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a body does when it is polled.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Data(&'static str),
    Trailer(&'static str, &'static str),
    /// Pending, and polled again.
    Again,
    /// Pending, and never woken.
    Never,
    /// Empty frames, five million of them.
    Empties,
    Fail,
    Panic,
    PanicWhenDropped,
}
use Step::{Again, Data, Empties, Fail, Never, Panic, PanicWhenDropped, Trailer};

/// A body that does step by step what it is told; then it ends.
struct Scripted {
    steps: VecDeque<Step>,
    empties: u32,
    drops: Arc<AtomicUsize>,
}

fn scripted(steps: &[Step]) -> Scripted {
    Scripted { steps: steps.iter().copied().collect(), empties: 0, drops: Arc::default() }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        assert!(!self.steps.contains(&PanicWhenDropped), "on purpose");
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.front().copied() {
            None | Some(PanicWhenDropped) => return Poll::Ready(None),
            Some(Never) => return Poll::Pending,
            Some(Empties) if self.empties < 5_000_000 => {
                self.empties += 1;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            }
            Some(_) => {}
        }
        Poll::Ready(match self.steps.pop_front() {
            Some(Data(bytes)) => Some(Ok(Frame::data(bytes.into()))),
            Some(Trailer(name, value)) => {
                let trailers = [(name.parse().unwrap(), value.parse().unwrap())];
                Some(Ok(Frame::trailers(trailers.into_iter().collect())))
            }
            Some(Fail) => Some(Err("the disk is gone".into())),
            Some(Panic) => panic!("on purpose"),
            _ => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }
}

fn post<B>(path: &str, grpc: bool, body: B) -> http::Request<B> {
    let mut request = http::Request::post(path);
    if grpc {
        request = request.header("content-type", "application/grpc");
    }
    request.body(body).unwrap()
}

/// A response as text: its status, its headers, its body, its trailers.
async fn text(response: http::Response<ResponseBody>) -> String {
    let (parts, body) = response.into_parts();
    let (status, headers) = (parts.status.as_u16(), parts.headers);
    match body.collect().await {
        Ok(all) => {
            let trailers = all.trailers().cloned().unwrap_or_default();
            let bytes = all.to_bytes();
            format!("{status} {headers:?} {} {trailers:?}", String::from_utf8_lossy(&bytes))
        }
        Err(error) => format!("{status} {headers:?} cut: {error}"),
    }
}

/// A service that answers with what it got.
fn mirror() -> Router {
    Router::new().tower(
        "/",
        tower::service_fn(|request: http::Request<ServerBody>| async move {
            let (parts, body) = request.into_parts();
            let all = body.collect().await?;
            let trailers = all.trailers().cloned().unwrap_or_default();
            let (method, uri, headers) = (parts.method, parts.uri, parts.headers);
            let bytes = all.to_bytes();
            let body = String::from_utf8_lossy(&bytes);
            let text = format!("{method} {uri} {headers:?} body={body} {trailers:?}");
            Ok::<_, framewire::Error>(http::Response::new(Full::new(Bytes::from(text))))
        }),
    )
}

async fn idle(channel: &Channel) {
    while channel.stats().connections.iter().any(|connection| connection.calls > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Frames arrive as they are sent, and no call or body is left behind one that fails.
#[tokio::test]
async fn request_bodies_of_all_forms() {
    bounded(async {
        let (_server, target) = serve(mirror());
        let channel = channel(&target);
        for (steps, seen) in [
            (vec![], "body= {}"),
            (vec![Data(""), Data("a"), Data(""), Again, Data(""), Data("b")], "body=ab {}"),
            (vec![Trailer("x-end", "1")], "body= {\"x-end\": \"1\"}"),
            (vec![Again, Trailer("x-end", "1")], "body= {\"x-end\": \"1\"}"),
            (vec![Data("a"), Trailer("x-end", "1"), Data("late")], "body=a {\"x-end\": \"1\"}"),
            (vec![Again, Data("a"), Again], "body=a {}"),
            (vec![Fail], "the disk is gone; not processed, a retry is safe"),
            (vec![Data("a"), Fail], "the disk is gone; not processed, a retry is safe"),
            (vec![Panic], "panicked; nothing was sent"),
            (vec![Again, Data("a"), Again, Fail], "the disk is gone"),
            (vec![Again, Data("a"), Again, Panic], "panicked"),
        ] {
            let body = scripted(&steps);
            let drops = Arc::clone(&body.drops);
            let answer = match channel.clone().oneshot(post("/x", false, body)).await {
                Ok(response) => text(response).await,
                Err(error) => error.to_string(),
            };
            assert!(answer.contains(seen), "{seen}: {answer}");
            idle(&channel).await;
            while drops.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await;
}

/// A response ends with what its body says, and with an error where the body fails, also in its drop.
#[tokio::test]
async fn response_bodies_of_all_forms() {
    let cases = [
        (vec![Data("a"), Data(""), Again, Data("b")], "200 {} ab {}"),
        (vec![Trailer("x-end", "1")], "200 {}  {\"x-end\": \"1\"}"),
        (vec![Again, Trailer("x-end", "1")], "200 {}  {\"x-end\": \"1\"}"),
        (vec![Data("a"), Trailer("x-end", "1"), Data("b")], "200 {} a {\"x-end\": \"1\"}"),
        (vec![Data("a"), PanicWhenDropped], "200 {} a {}"),
        (vec![Again, Data("a"), PanicWhenDropped], "200 {} a {}"),
        (vec![Panic], "500 {}  {}"),
        (vec![Data("a"), Panic], "500 {}  {}"),
        (vec![Data("a"), Fail], "INTERNAL_ERROR"),
        (vec![Again, Data("a"), Again, Fail], "INTERNAL_ERROR"),
        (vec![Again, Data("a"), Again, Panic], "INTERNAL_ERROR"),
    ];
    let scripts = cases.clone();
    let service = tower::service_fn(move |request: http::Request<ServerBody>| {
        let case: usize = request.uri().path()[1..].parse().unwrap();
        ready(Ok::<_, Infallible>(http::Response::new(scripted(&scripts[case].0))))
    });
    bounded(async {
        let (_server, target) = serve(Router::new().tower("/", service));
        let channel = channel(&target);
        for (case, (_, seen)) in cases.iter().enumerate() {
            let request = post(&format!("/{case}"), false, Empty::<Bytes>::new());
            let answer = match channel.clone().oneshot(request).await {
                Ok(response) => text(response).await,
                Err(error) => error.to_string(),
            };
            assert!(answer.contains(seen), "{seen}: {answer}");
            idle(&channel).await;
        }
    })
    .await;
}

/// A body of nothing but empty frames keeps no other call waiting, and ends with its call.
#[tokio::test]
async fn empty_frames_without_end() {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&drops);
    let service = tower::service_fn(move |request: http::Request<ServerBody>| {
        let endless = request.uri().path() == "/endless";
        let mut body = scripted(if endless { &[Empties] } else { &[] });
        body.drops = Arc::clone(&count);
        async move {
            if request.headers().contains_key("x-wait") {
                request.into_body().collect().await?;
            }
            Ok::<_, framewire::Error>(http::Response::new(body))
        }
    });
    bounded(async {
        let (_server, target) = serve(Router::new().tower("/", service));
        let channel = channel(&target);
        let other = || channel.clone().oneshot(post("/", false, Empty::<Bytes>::new()));
        let endless = post("/endless", false, Empty::<Bytes>::new());
        let mut response = channel.clone().oneshot(endless).await.unwrap();
        other().await.unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        let frame = tokio::time::timeout(Duration::from_millis(20), response.body_mut().frame());
        assert!(frame.await.is_err(), "the body has ended");
        drop(response);
        while drops.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let mut endless = post("/", false, scripted(&[Empties]));
        endless.headers_mut().insert("x-wait", "1".parse().unwrap());
        let sent = Arc::clone(&endless.body().drops);
        let call = tokio::spawn(channel.clone().oneshot(endless));
        other().await.unwrap();
        assert!(!call.is_finished() && sent.load(Ordering::SeqCst) == 0);
        call.abort();
        while sent.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The service at `/` gets every request, also what has no path.
#[tokio::test]
async fn requests_without_a_path() {
    bounded(async {
        let (_server, target) = serve(mirror());
        let channel = channel(&target);
        for (method, uri, seen) in [
            ("OPTIONS", "*", "OPTIONS http://127.0.0.1:"),
            ("CONNECT", "db.example:5432", "CONNECT db.example:5432 {}"),
            ("GET", "http://user:secret@a.example/x?y", "GET http://a.example/x?y {}"),
            ("GET", "http://a.example", "GET http://a.example/ {}"),
        ] {
            let request = http::Request::builder().method(method).uri(uri);
            let request = request.body(Full::new(Bytes::from("a"))).unwrap();
            let answer = text(channel.clone().oneshot(request).await.unwrap()).await;
            assert!(answer.contains(seen), "{answer}");
        }
    })
    .await;
}

/// Headers that an HTTP/2 message cannot have are left out, or refused here and not by the peer.
#[tokio::test]
async fn headers_that_http2_does_not_have() {
    bounded(async {
        let (_server, target) = serve(mirror());
        let channel = channel(&target);
        let send = |name: &'static str, value: &'static str| {
            let request = http::Request::get("/x").header(name, value).header("x-named", "1");
            channel.clone().oneshot(request.body(Empty::<Bytes>::new()).unwrap())
        };
        for (name, value, seen) in [
            ("host", "a.example", "http://a.example/x {\"x-named\": \"1\"}"),
            ("host", "user:secret@a.example", "http://a.example/x {\"x-named\": \"1\"}"),
            ("connection", "close, X-Named", "/x {} "),
            ("x-padded", " \tpadded ", "\"padded\""),
            ("te", "gzip", "/x {\"x-named\": \"1\"}"),
        ] {
            let answer = text(send(name, value).await.unwrap()).await;
            assert!(answer.contains(seen), "{name}: {answer}");
        }
        let error = send("host", "not a host").await.unwrap_err();
        assert_eq!(error.kind(), framewire::error::Kind::Misuse, "{error}");
        assert!(!error.to_string().contains("not a host") && error.connection().is_none());
    })
    .await;
}

/// A task that reads a request learns that it was cut, however that came about.
#[tokio::test]
async fn a_request_that_is_cut_never_ends_well() {
    bounded(async {
        for how in ["drain", "cancel", "close", "deadline", "failure"] {
            let (told, mut end) = mpsc::unbounded_channel();
            let service = tower::service_fn(move |request: http::Request<ServerBody>| {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    told.send(body.frame().await.map(|frame| frame.is_ok())).unwrap();
                    told.send(body.frame().await.map(|frame| frame.is_ok())).unwrap();
                });
                std::future::pending::<Result<http::Response<Empty<Bytes>>, Infallible>>()
            });
            let (server, target) = serve(Router::new().tower("/", service));
            let channel = channel(&target);
            let (frames, body) = mpsc::unbounded_channel::<Result<Frame<Bytes>, BoxError>>();
            frames.send(Ok(Frame::data("a".into()))).unwrap();
            let body = StreamBody::new(UnboundedReceiverStream::new(body));
            let mut request = post("/a.B/C", true, body);
            if how == "deadline" {
                request.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
            }
            let call = tokio::spawn(channel.clone().oneshot(request));
            assert_eq!(end.recv().await.unwrap(), Some(true), "{how}");
            match how {
                "drain" => assert_eq!(server.shutdown(Duration::from_millis(50)).await.forced, 1),
                "cancel" => call.abort(),
                "close" => drop(channel.close(Duration::ZERO).await),
                "failure" => frames.send(Err("the disk is gone".into())).unwrap(),
                _ => {}
            }
            assert_eq!(end.recv().await.unwrap(), Some(false), "{how}");
        }
    })
    .await;
}

/// An answer before the request has ended is the answer, and ends the request.
#[tokio::test]
async fn an_answer_ahead_of_the_end_of_its_request() {
    let service = tower::service_fn(|request: http::Request<ServerBody>| {
        let head = http::Response::builder().status(413);
        let head = match request.headers().get("content-type") {
            Some(kind) => head.status(200).header("content-type", kind).header("grpc-status", "8"),
            None => head,
        };
        ready(Ok::<_, Infallible>(head.body(Empty::<Bytes>::new()).unwrap()))
    });
    bounded(async {
        let (_server, target) = serve(Router::new().tower("/", service));
        let (channel, other) = (channel(&target), tonic_channel(&target).await);
        for grpc in [true, false] {
            let body = scripted(&[Data("a"), Never]);
            let drops = Arc::clone(&body.drops);
            let answer = channel.clone().oneshot(post("/a.B/C", grpc, body)).await.unwrap();
            assert_eq!(answer.headers().contains_key("grpc-status"), grpc);
            drop(answer);
            while drops.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let large = Full::new(Bytes::from(vec![1; 20 << 20]));
            let service = channel.http_service(ErrorMode::Err);
            let answer = service.oneshot(post("/a.B/C", grpc, large.clone())).await.unwrap();
            assert_eq!(answer.status(), if grpc { 200 } else { 413 });
            let large = tonic::body::Body::new(large);
            let answer = other.clone().oneshot(post("/a.B/C", grpc, large)).await.unwrap();
            assert_eq!(answer.status(), if grpc { 200 } else { 413 });
            idle(&channel).await;
        }
    })
    .await;
}
