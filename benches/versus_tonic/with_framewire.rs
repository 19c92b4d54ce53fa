//! The echo service on this crate.

use crate::bench::{EchoRequest, EchoResponse};
use crate::stack::{BoxError, Client, RealHead, TlsFiles, USER_AGENT};
use crate::with_tonic::{self, EchoServer};
use bytes::Bytes;
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::{Method, Request, Response};

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const SERVER_STREAM: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");
const BIDI: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Bidi");

/// Starts the server on a port of 127.0.0.1, 0 for any; returns the port.
pub fn serve(port: u16, tls: Option<&TlsFiles>) -> Result<u16, BoxError> {
    let router = Router::new()
        .unary(&UNARY, |_, request| async move {
            Ok(Response::new(EchoResponse { payload: request.payload }))
        })
        .server_streaming(&SERVER_STREAM, |_, request, mut replies| async move {
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
    serve_router(router, port, tls)
}

/// Starts tonic's service on framewire's server.
pub fn serve_stubs(port: u16, tls: Option<&TlsFiles>) -> Result<u16, BoxError> {
    serve_router(Router::new().tower("/", EchoServer), port, tls)
}

fn serve_router(router: Router, port: u16, tls: Option<&TlsFiles>) -> Result<u16, BoxError> {
    let mut server = Server::builder(router).max_concurrent_streams(crate::STREAMS);
    if let Some(files) = tls {
        let (certificate, key) = files.read()?;
        server = server.tls(ServerTls::builder().identity_pem(certificate, key).build()?);
    }
    // The acceptor reads TCP_NODELAY back from every socket and refuses one without it.
    let server = server.bind(([127, 0, 0, 1], port).into())?;
    Ok(server.local_addr().ok_or("no address")?.port())
}

/// A channel to the server, of at most so many connections.
pub fn connect(port: u16, tls: Option<&TlsFiles>, connections: u32) -> Result<Echo, BoxError> {
    Ok(Echo { channel: channel(port, tls, connections)? })
}

/// tonic's stub over such a channel.
pub fn connect_stubs(
    port: u16,
    tls: Option<&TlsFiles>,
    connections: u32,
) -> Result<with_tonic::Echo<Channel>, BoxError> {
    with_tonic::Echo::over(vec![channel(port, tls, connections)?])
}

fn channel(port: u16, tls: Option<&TlsFiles>, connections: u32) -> Result<Channel, BoxError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    // The connector, too, reads TCP_NODELAY back.
    let mut builder = Channel::builder(&format!("{scheme}://127.0.0.1:{port}"))
        // As many as tonic's.
        .max_connections(connections.max(1))
        .user_agent(USER_AGENT);
    if let Some(files) = tls {
        let (certificate, _) = files.read()?;
        let tls = ClientTls::builder().roots_pem(certificate).server_name("localhost").build()?;
        builder = builder.tls(tls);
    }
    Ok(builder.build()?)
}

#[derive(Clone)]
pub struct Echo {
    channel: Channel,
}

fn request(payload: Bytes) -> EchoRequest {
    EchoRequest { payload, ..EchoRequest::default() }
}

impl Client for Echo {
    async fn unary(&mut self, payload: Bytes, head: Option<&RealHead>) -> Result<Bytes, BoxError> {
        let mut request = Request::new(request(payload));
        if let Some(head) = head {
            request = request.with_timeout(head.timeout);
            let metadata = request.metadata_mut();
            metadata.append("authorization", &head.authorization)?;
            metadata.append("x-tenant", head.tenant)?;
            metadata.append("x-region", head.region)?;
            metadata.append("traceparent", &head.traceparent)?;
        }
        let response = self.channel.unary(&UNARY, request).await?;
        Ok(response.into_inner().payload)
    }

    async fn server_stream(
        &mut self,
        payload: Bytes,
        mut go_on: impl FnMut(usize) -> bool + Send,
    ) -> Result<(), BoxError> {
        let request = EchoRequest { count: u32::MAX, ..request(payload) };
        let mut stream = self.channel.server_streaming(&SERVER_STREAM, request)?;
        while let Some(message) = stream.message().await? {
            if !go_on(message.payload.len()) {
                return Ok(());
            }
        }
        Err("the stream ended early".into())
    }

    async fn ping_pong(
        &mut self,
        payload: Bytes,
        mut go_on: impl FnMut(usize) -> bool + Send,
    ) -> Result<(), BoxError> {
        let (mut sender, mut stream) = self.channel.bidi(&BIDI, ())?;
        loop {
            sender.send(request(payload.clone())).await?;
            let answer = stream.message().await?.ok_or("the stream ended early")?;
            if !go_on(answer.payload.len()) {
                return Ok(());
            }
        }
    }
}
