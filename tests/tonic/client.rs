//! Our client, a tonic server.

use super::bench::{EchoRequest, EchoResponse};
use super::{
    ASKED, ASKED_BIN, DETAILS, INITIAL, LARGE, Pair, TEXT, TRAILING, bounded, echo, pair, pattern,
    peer,
};
use framewire::client::Channel;
use framewire::tls::ClientTls;
use framewire::{Code, Encoding, Metadata, Method, Request};
use std::time::{Duration, Instant};

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const MANY: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");
const SUM: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/ClientStream");
const BIDI: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Bidi");
const SLOW: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Slow");
const REFUSE: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Refuse");

fn channel(port: u16, tls: Option<&Pair>) -> Channel {
    let Some(pair) = tls else {
        return Channel::builder(&format!("http://127.0.0.1:{port}")).build().unwrap();
    };
    let tls = ClientTls::builder().root_der(pair.cert.der()).build().unwrap();
    Channel::builder(&format!("https://localhost:{port}")).tls(tls).build().unwrap()
}

#[tokio::test]
async fn our_client_meets_tonic_in_plaintext() {
    bounded(async { all(channel(peer::serve(None).await, None)).await }).await;
}

#[tokio::test]
async fn our_client_meets_tonic_over_tls() {
    bounded(async {
        let pair = pair();
        all(channel(peer::serve(Some(&pair)).await, Some(&pair))).await;
    })
    .await;
}

async fn all(channel: Channel) {
    four_kinds(&channel).await;
    metadata(&channel).await;
    status(&channel).await;
    deadline(&channel).await;
    gzip(&channel).await;
    large(&channel).await;
    concurrent(&channel).await;
}

async fn four_kinds(channel: &Channel) {
    let answer = channel.unary(&UNARY, echo("one")).await.unwrap();
    assert_eq!(answer.into_inner().payload, "one");

    let request = EchoRequest { count: 50, ..echo("many") };
    let mut stream = channel.server_streaming(&MANY, request).unwrap();
    for _ in 0..50 {
        assert_eq!(stream.message().await.unwrap().unwrap().payload, "many");
    }
    assert!(stream.message().await.unwrap().is_none());

    let (mut sender, streaming) = channel.client_streaming(&SUM, ()).unwrap();
    for i in 0..50u8 {
        sender.send(echo(vec![i])).await.unwrap();
    }
    sender.finish().unwrap();
    let sum = streaming.one().await.unwrap().into_inner();
    assert_eq!(sum.payload[..], (0..50).collect::<Vec<u8>>()[..]);

    let (mut sender, mut streaming) = channel.bidi(&BIDI, ()).unwrap();
    for i in 0..50u8 {
        sender.send(echo(vec![i; 5000])).await.unwrap();
        assert_eq!(streaming.message().await.unwrap().unwrap().payload, vec![i; 5000]);
    }
    sender.finish().unwrap();
    assert!(streaming.message().await.unwrap().is_none());
}

async fn metadata(channel: &Channel) {
    let mut metadata = Metadata::new();
    metadata.append(ASKED, "a value").unwrap();
    metadata.append_bin(ASKED_BIN, DETAILS).unwrap();
    let request = Request::new(echo("")).with_metadata(metadata);
    let answer = channel.unary(&UNARY, request).await.unwrap();
    assert_eq!(answer.metadata().get(INITIAL), Some("a value"));
    // tonic's unary responses have no trailers of their own: it came with the head.
    assert_eq!(answer.metadata().get_bin(TRAILING).unwrap().unwrap(), DETAILS);
}

async fn status(channel: &Channel) {
    let error = channel.unary(&REFUSE, echo("")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.status().message(), TEXT);
    assert_eq!(error.status().details(), DETAILS);
    assert_eq!(error.status().metadata().get_bin(TRAILING).unwrap().unwrap(), DETAILS);
    let nothing: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/No");
    let error = channel.unary(&nothing, echo("")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

async fn deadline(channel: &Channel) {
    let started = Instant::now();
    let request = Request::new(echo("")).with_timeout(Duration::from_millis(100));
    let error = channel.unary(&SLOW, request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(started.elapsed() < Duration::from_secs(10));
}

async fn gzip(channel: &Channel) {
    let bytes = b"the same again and ".repeat(1000);
    let request = Request::new(echo(bytes.clone())).with_encoding(Encoding::Gzip);
    let answer = channel.unary(&UNARY, request).await.unwrap();
    assert_eq!(answer.encoding(), Some(Encoding::Gzip));
    assert_eq!(answer.into_inner().payload, bytes);

    let request = Request::new(()).with_encoding(Encoding::Gzip);
    let (mut sender, mut streaming) = channel.bidi(&BIDI, request).unwrap();
    for encoding in [Encoding::Gzip, Encoding::Identity, Encoding::Gzip] {
        sender.set_encoding(encoding);
        sender.send(echo(bytes.clone())).await.unwrap();
        assert_eq!(streaming.message().await.unwrap().unwrap().payload, bytes);
        assert_eq!(streaming.encoding(), Encoding::Gzip);
    }
    sender.finish().unwrap();
    assert!(streaming.message().await.unwrap().is_none());
}

async fn large(channel: &Channel) {
    let bytes = pattern(LARGE);
    let answer = channel.unary(&UNARY, echo(bytes.clone())).await.unwrap();
    assert!(answer.into_inner().payload == bytes);
}

async fn concurrent(channel: &Channel) {
    let calls: Vec<_> = (0..100u8)
        .map(|i| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let answer = channel.unary(&UNARY, echo(vec![i; 20_000])).await.unwrap();
                assert_eq!(answer.into_inner().payload, vec![i; 20_000]);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}
