//! What a call may choose while it runs: encodings message by message, trailers, its own end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::{Buf, Bytes};
use framewire::client::{BuildError, Channel, HttpRequest};
use framewire::codec::{Decode, Encode, EncodeBuf};
use framewire::error::{Initiator, Kind};
use framewire::server::{HttpReply, Router, Server};
use framewire::unstable::grpc::{Code, Encoding, Metadata, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::ErrorCode;
use std::time::Duration;

const UNARY: Method<Raw, Raw> = Method::new("/calls.Calls/Unary");
const BIDI: Method<Raw, Raw> = Method::new("/calls.Calls/Bidi");
const FAIL: Method<Raw, Raw> = Method::new("/calls.Calls/Fail");

fn raw(text: &'static str) -> Raw {
    Raw(Bytes::from_static(text.as_bytes()))
}

fn trailing() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.append("x-behind", "the messages").unwrap();
    metadata
}

/// A server whose answers say how each request came, in the encoding that the request names.
fn serve() -> (Server, Channel) {
    let wanted = |message: &Raw| match &message.0[..] {
        b"gzip" => Encoding::Gzip,
        _ => Encoding::Identity,
    };
    let router = Router::new()
        .http("/authority", |request| async move {
            HttpReply::new(200).with_body(request.head.authority().to_vec())
        })
        .unary(&UNARY, move |context, request: Raw| async move {
            let came = Raw(context.encoding().name().into());
            let response = Response::new(came);
            Ok(if request == raw("as it came") {
                response
            } else {
                response.with_encoding(wanted(&request))
            })
        })
        .bidi(&BIDI, move |_, mut requests, mut replies| async move {
            replies.set_encoding(Encoding::Gzip);
            replies.metadata(&Metadata::new())?;
            replies.trailers(&trailing())?;
            while let Some(request) = requests.message().await? {
                replies.set_encoding(wanted(&request));
                replies.send(Raw(requests.encoding().name().into())).await?;
            }
            Ok(())
        })
        .bidi(&FAIL, |_, mut requests, mut replies| async move {
            replies.trailers(&trailing())?;
            if let Some(message) = requests.message().await? {
                replies.send(message).await?;
            }
            Err(Status::new(Code::DataLoss, "on purpose"))
        });
    let server = Server::builder(router).bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = server.local_addr().unwrap().port();
    let channel = Channel::builder(&format!("http://127.0.0.1:{port}")).build().unwrap();
    (server, channel)
}

#[tokio::test]
async fn unary_responses_choose_their_encoding() {
    let (_server, channel) = serve();
    let (gzip, identity) = (Encoding::Gzip, Encoding::Identity);
    for (asked, sent, came) in [
        ("gzip", identity, gzip),
        ("identity", identity, identity),
        ("as it came", identity, identity),
        ("gzip", gzip, gzip),
        ("identity", gzip, identity),
        ("as it came", gzip, gzip),
    ] {
        let request = Request::new(raw(asked)).with_encoding(sent);
        let response = channel.unary(&UNARY, request).await.unwrap();
        assert_eq!(response.encoding(), Some(came), "{asked}, sent as {sent:?}");
        assert_eq!(response.into_inner().0, sent.name());
    }
}

#[tokio::test]
async fn each_message_of_a_stream_chooses_its_encoding() {
    let (_server, channel) = serve();
    let request = Request::new(()).with_encoding(Encoding::Gzip);
    let (mut sender, mut streaming) = channel.bidi(&BIDI, request).unwrap();
    for (sent, asked) in [
        (Encoding::Gzip, Encoding::Identity),
        (Encoding::Identity, Encoding::Gzip),
        (Encoding::Gzip, Encoding::Gzip),
        (Encoding::Identity, Encoding::Identity),
    ] {
        sender.set_encoding(sent);
        sender.send(raw(asked.name())).await.unwrap();
        let answer = streaming.message().await.unwrap().unwrap();
        assert_eq!(answer.0, sent.name());
        assert_eq!(streaming.encoding(), asked);
    }
    sender.finish().unwrap();
    assert!(streaming.message().await.unwrap().is_none());
    assert_eq!(streaming.trailers().get("x-behind"), Some("the messages"));
}

#[tokio::test]
async fn an_encoding_that_was_not_announced_is_not_used() {
    let (_server, channel) = serve();
    let (mut sender, mut streaming) = channel.bidi(&BIDI, ()).unwrap();
    sender.set_encoding(Encoding::Gzip);
    sender.send(raw("identity")).await.unwrap();
    assert_eq!(streaming.message().await.unwrap().unwrap().0, "identity");
}

#[tokio::test]
async fn trailers_go_with_a_status_too() {
    let (_server, channel) = serve();
    for messages in [0, 1] {
        let (mut sender, mut streaming) = channel.bidi(&FAIL, ()).unwrap();
        for _ in 0..messages {
            sender.send(raw("x")).await.unwrap();
            assert!(streaming.message().await.unwrap().is_some());
        }
        let _ = sender.finish();
        let error = streaming.message().await.unwrap_err();
        assert_eq!((error.code(), error.status().message()), (Code::DataLoss, "on purpose"));
        assert_eq!(error.status().metadata().get("x-behind"), Some("the messages"));
    }
}

/// The reading half waits in a task of its own when the sending half gives up.
async fn given_up(end: impl FnOnce(framewire::client::Sender<Raw>)) {
    let (_server, channel) = serve();
    let (mut sender, mut streaming) = channel.bidi(&BIDI, ()).unwrap();
    sender.send(raw("identity")).await.unwrap();
    assert!(streaming.message().await.unwrap().is_some());
    let reading = tokio::spawn(async move { streaming.message().await });
    tokio::task::yield_now().await;
    end(sender);
    let ended = tokio::time::timeout(Duration::from_secs(10), reading).await;
    let error = ended.expect("the reader waits for ever").unwrap().unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::Cancelled, Kind::Cancelled));
    assert_eq!(error.initiator(), Initiator::Local);
}

#[tokio::test]
async fn a_cancelled_call_tells_its_reader() {
    given_up(|sender| sender.cancel(ErrorCode::CANCEL)).await;
    given_up(drop).await;
}

#[tokio::test]
async fn authority_is_what_was_asked_for() {
    let (server, _) = serve();
    let port = server.local_addr().unwrap().port();
    let builder = Channel::builder(&format!("http://127.0.0.1:{port}"));
    let channel = builder.authority("foo.test:99").build().unwrap();
    let response = channel.http(HttpRequest::new("GET", "/authority")).await.unwrap();
    assert_eq!(response.body, "foo.test:99");
    let wrong = Channel::builder("http://127.0.0.1:1").authority("a/b").build();
    assert!(matches!(wrong, Err(BuildError::Target(_))));
}

/// A runtime that ends takes its connections along: the call that was under way ends with an error,
/// and nothing panics.
#[test]
fn a_dropped_runtime_ends_its_calls() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (servers, clients) = (runtime(), runtime());
    let address = servers.block_on(async {
        let router = Router::new().unary(&UNARY, |_, _: Raw| async move {
            std::future::pending::<Result<Response<Raw>, Status>>().await
        });
        Server::builder(router).bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap()
    });
    let serving = std::thread::spawn(move || {
        servers.block_on(async { tokio::time::sleep(Duration::from_millis(300)).await });
    });
    let channel = Channel::builder(&format!("http://{address}")).build().unwrap();
    let mut call = Box::pin(channel.unary(&UNARY, raw("never answered")));
    clients.block_on(async {
        let sent = tokio::time::timeout(Duration::from_millis(100), &mut call).await;
        assert!(sent.is_err(), "it hangs");
    });
    drop(clients);
    let error = runtime().block_on(call).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    serving.join().unwrap();
}

/// Writes `ab`, whatever length it announced.
struct Announced(usize);

impl Encode for Announced {
    fn encoded_len(&self) -> usize {
        self.0
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        out.put_slice(b"ab");
    }
}

impl Decode for Announced {
    fn decode(payload: impl Buf) -> Result<Self, Status> {
        Ok(Self(payload.remaining()))
    }
}

/// More or fewer bytes than announced end the call with INTERNAL on both sides. The connection and
/// the call's other messages are not affected.
#[tokio::test]
async fn a_codec_that_announces_another_length_ends_its_own_call() {
    const LENGTH: Method<Announced, Raw> = Method::new("/calls.Calls/Length");
    const ANSWER: Method<Raw, Announced> = Method::new("/calls.Calls/Answer");
    const STREAM: Method<Announced, Announced> = Method::new("/calls.Calls/Stream");
    let router = Router::new()
        .unary(&LENGTH, |_, request: Announced| async move {
            Ok(Response::new(Raw(request.0.to_string().into())))
        })
        .unary(
            &ANSWER,
            |_, request: Raw| async move { Ok(Response::new(Announced(request.0.len()))) },
        )
        .bidi(&STREAM, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(request).await?;
            }
            Ok(())
        });
    let server = Server::builder(router).bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = server.local_addr().unwrap().port();
    let channel = Channel::builder(&format!("http://127.0.0.1:{port}")).build().unwrap();
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        for (announced, code) in [(1, Some(Code::Internal)), (2, None), (3, Some(Code::Internal))] {
            let request = Request::new(Announced(announced)).with_encoding(encoding);
            let asked = channel.unary(&LENGTH, request).await;
            assert_eq!(asked.err().map(|error| error.code()), code, "{announced}");
            let request = Request::new(Raw(vec![0; announced].into())).with_encoding(encoding);
            let answered = channel.unary(&ANSWER, request).await;
            assert_eq!(answered.err().map(|error| error.code()), code, "{announced}");
        }
    }
    let (mut sender, mut responses) = channel.bidi(&STREAM, ()).unwrap();
    sender.send(Announced(2)).await.unwrap();
    assert_eq!(responses.message().await.unwrap().unwrap().0, 2);
    let error = sender.send(Announced(3)).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
}
