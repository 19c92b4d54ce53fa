//! framewire's side of the comparison.

use super::bench::{EchoRequest, EchoResponse};
use super::measure::Stack;
use super::{Args, Failure};
use bytes::Bytes;
use framewire::client::{Channel, PoolOptions};
use framewire::grpc::{Metadata, Method, Request, Response};
use framewire::net::handoff::Policy;
use framewire::net::tls::{ClientTls, ServerTls};
use framewire::server::{Router, Server};
use std::time::Duration;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const STREAM: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");
const BIDI: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Bidi");

fn policy(args: &Args) -> Policy {
    match args.stack.as_str() {
        "framewire-lockfree" => Policy::LockFree,
        "framewire-mutex" => Policy::ShortMutex,
        _ => Policy::default(),
    }
}

pub(crate) fn serve(args: &Args) -> Result<u16, Failure> {
    let router = Router::new()
        .unary(&UNARY, |_, request| async move {
            Ok(Response::new(EchoResponse { payload: request.payload }))
        })
        .server_streaming(&STREAM, |_, request, mut replies| async move {
            for _ in 0..request.count {
                replies.send(EchoResponse { payload: request.payload.clone() }).await?;
            }
            Ok(())
        })
        .bidi(&BIDI, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(EchoResponse { payload: request.payload }).await?;
            }
            Ok(())
        });
    let mut builder = Server::builder(router).handoff(policy(args));
    if args.tls {
        let cert = std::fs::read(args.certs.join("cert.pem"))?;
        let key = std::fs::read(args.certs.join("key.pem"))?;
        builder = builder.tls(ServerTls::builder().identity_pem(cert, key).build()?);
    }
    let server = builder.bind("127.0.0.1:0".parse()?)?;
    Ok(server.local_addr().ok_or("no address")?.port())
}

pub(crate) fn connect(args: &Args) -> Result<Ours, Failure> {
    let scheme = if args.tls { "https" } else { "http" };
    let mut options = PoolOptions::new();
    options.handoff = policy(args);
    let mut builder =
        Channel::builder(&format!("{scheme}://localhost:{}", args.port)).options(options);
    if args.tls {
        let cert = std::fs::read(args.certs.join("cert.pem"))?;
        builder = builder.tls(ClientTls::builder().roots_pem(cert).build()?);
    }
    let mut metadata = Metadata::new();
    metadata.append("authorization", &format!("Bearer {}", "x".repeat(693)))?;
    metadata.append("x-tenant", "a-tenant-name")?;
    metadata.append("x-request-source", "bench")?;
    Ok(Ours { channel: builder.build()?, metadata })
}

#[derive(Clone)]
pub(crate) struct Ours {
    channel: Channel,
    metadata: Metadata,
}

impl Stack for Ours {
    async fn unary(&self, payload: Bytes, realistic: bool) -> Result<(), Failure> {
        let mut request = Request::new(EchoRequest { payload, ..EchoRequest::default() });
        if realistic {
            let mut metadata = self.metadata.clone();
            metadata.append("traceparent", &super::theirs::traceparent())?;
            request = request.with_metadata(metadata).with_timeout(Duration::from_secs(5));
        }
        let response = self.channel.unary(&UNARY, request).await?;
        std::hint::black_box(response.into_inner());
        Ok(())
    }

    async fn stream(&self, octets: usize, count: u32) -> Result<u64, Failure> {
        let payload = Bytes::from(vec![7; octets]);
        let request = EchoRequest { payload, count, ..EchoRequest::default() };
        let mut stream = self.channel.server_streaming(&STREAM, request)?;
        let mut messages = 0;
        while let Some(message) = stream.message().await? {
            std::hint::black_box(message);
            messages += 1;
        }
        Ok(messages)
    }

    async fn ping_pong(&self, rounds: u32) -> Result<(), Failure> {
        let (mut sender, mut streaming) = self.channel.bidi(&BIDI, ())?;
        for _ in 0..rounds {
            let payload = Bytes::from_static(&[7; 100]);
            sender.send(EchoRequest { payload, ..EchoRequest::default() }).await?;
            streaming.message().await?.ok_or("the stream ended early")?;
        }
        sender.finish()?;
        while streaming.message().await?.is_some() {}
        Ok(())
    }
}
