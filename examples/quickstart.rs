//! Real RPCs over TLS between a framewire client and an embedded framewire server.
//!
//! `cargo run --release --example quickstart`

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::{Code, Method, Request, Response, Status};
use std::error::Error;
use std::time::{Duration, Instant};

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const SERVER_STREAM: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");
const CLIENT_STREAM: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ClientStream");
const BIDI: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Bidi");
const SLOW: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Slow");
const REFUSE: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Refuse");

/// A certificate for `localhost`. Its key is public: see `examples/data/README.md`.
const CERTIFICATE: &str = include_str!("data/localhost.pem");
const KEY: &str = include_str!("data/localhost.key.pem");

fn echo(payload: impl Into<bytes::Bytes>) -> EchoRequest {
    EchoRequest { payload: payload.into(), ..EchoRequest::default() }
}

fn reply(payload: bytes::Bytes) -> EchoResponse {
    EchoResponse { payload }
}

/// What the embedded server serves.
fn router() -> Router {
    Router::new()
        .unary(&UNARY, |_, request| async move { Ok(Response::new(reply(request.payload))) })
        .server_streaming(&SERVER_STREAM, |_, request, mut replies| async move {
            for _ in 0..request.count {
                replies.send(reply(request.payload.clone())).await?;
            }
            Ok(())
        })
        .client_streaming(&CLIENT_STREAM, |_, mut requests| async move {
            let mut all = Vec::new();
            while let Some(request) = requests.message().await? {
                all.extend_from_slice(&request.payload);
            }
            Ok(Response::new(reply(all.into())))
        })
        .bidi(&BIDI, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(reply(request.payload)).await?;
            }
            Ok(())
        })
        .unary(&SLOW, |_, _| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(Response::new(EchoResponse::default()))
        })
        .unary(&REFUSE, |_, _| async move {
            Err::<Response<EchoResponse>, _>(
                Status::new(Code::NotFound, "no user 42 in München")
                    .with_details(bytes::Bytes::from_static(b"\x08\x05")),
            )
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server_tls = ServerTls::builder().identity_pem(CERTIFICATE, KEY).build()?;
    let client_tls = ClientTls::builder().roots_pem(CERTIFICATE).build()?;

    let server = Server::builder(router()).tls(server_tls).bind("127.0.0.1:0".parse()?)?;
    let port = server.local_addr().ok_or("no address")?.port();
    println!("server    TLS on 127.0.0.1:{port}, our frames, our HPACK, our windows");
    let channel = Channel::builder(&format!("https://localhost:{port}")).tls(client_tls).build()?;

    let started = Instant::now();
    let (first, timeline) = channel.unary_timed(&UNARY, echo("hello")).await?;
    println!("unary     first call, dial and TLS included: {:?}", started.elapsed());
    assert_eq!(&first.into_inner().payload[..], b"hello");
    for phase in framewire::error::Phase::ALL {
        let spent = timeline.spent(phase);
        if !spent.is_zero() {
            println!("            {:>10.1?}  {}", spent, phase.words());
        }
    }
    let started = Instant::now();
    for _ in 0..1000 {
        channel.unary(&UNARY, echo("again")).await?;
    }
    println!("unary     1,000 calls one after the other: {:?} each", started.elapsed() / 1000);
    many(&channel).await?;
    streams(&channel).await?;
    endings(&channel).await;

    for connection in channel.connections() {
        let tls = connection.tls.as_ref();
        println!("client    one connection: {:?}", tls.map(|tls| &tls.version));
    }
    drop(channel);
    let report = server.shutdown(Duration::from_secs(5)).await;
    println!("server    drained {} connection(s), cut {} stream(s)", report.drained, report.forced);
    Ok(())
}

async fn many(channel: &Channel) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    channel.unary(&UNARY, echo(vec![7; 100])).await?;
                }
                Ok::<_, framewire::error::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let rate = 50_000.0 / started.elapsed().as_secs_f64();
    println!("unary     50,000 calls of 100 bytes, 100 in flight: {rate:.0} calls/s");
    Ok(())
}

async fn streams(channel: &Channel) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let request = EchoRequest { count: 2000, ..echo(vec![1; 64 * 1024]) };
    let mut stream = channel.server_streaming(&SERVER_STREAM, request)?;
    let mut bytes = 0;
    while let Some(message) = stream.message().await? {
        bytes += message.payload.len();
    }
    let rate = bytes as f64 / started.elapsed().as_secs_f64() / 1e6;
    println!("server    2,000 messages of 64 KiB streamed: {rate:.0} MB/s");

    let (mut sender, streaming) = channel.client_streaming(&CLIENT_STREAM, ())?;
    for i in 0..100u8 {
        sender.send(echo(vec![i])).await?;
    }
    sender.finish()?;
    let sum = streaming.one().await?.into_inner();
    println!("client    100 messages up, one answer of {} bytes", sum.payload.len());

    let (mut sender, mut streaming) = channel.bidi(&BIDI, ())?;
    let started = Instant::now();
    for i in 0..1000u32 {
        sender.send(echo(i.to_be_bytes().to_vec())).await?;
        let answer = streaming.message().await?.ok_or("the stream ended early")?;
        assert_eq!(answer.payload[..], i.to_be_bytes());
    }
    sender.finish()?;
    assert!(streaming.message().await?.is_none());
    println!("bidi      1,000 round trips on one stream: {:?} each", started.elapsed() / 1000);
    Ok(())
}

/// The ways a call can end that are not OK.
async fn endings(channel: &Channel) {
    let slow = Request::new(echo("")).with_timeout(Duration::from_millis(50));
    if let Err(error) = channel.unary(&SLOW, slow).await {
        println!("deadline  {error}");
    }
    if let Err(error) = channel.unary(&REFUSE, echo("")).await {
        println!("status    {error} (details: {:?})", error.status().details());
    }
}
