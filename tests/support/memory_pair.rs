//! A client and a server of ours in one process, joined in memory.

use super::link::{Faults, FaultyConnector};
use framewire::client::{Channel, ChannelBuilder, PoolOptions};
use framewire::grpc::Raw;
use framewire::grpc::{Method, Response};
use framewire::http2::Role;
use framewire::net::memory::{self, MemoryConnector, MemoryListener};
use framewire::server::{DriverOptions, Router, Server};

pub type RawMethod = Method<Raw, Raw>;

pub const UNARY: RawMethod = Method::new("/test.Echo/Unary");
pub const DOWN: RawMethod = Method::new("/test.Echo/Down");
pub const UP: RawMethod = Method::new("/test.Echo/Up");
pub const BIDI: RawMethod = Method::new("/test.Echo/Bidi");
/// Never answers.
pub const SILENT: RawMethod = Method::new("/test.Echo/Silent");

/// Octets that the memory link holds in each direction.
const BUFFER: usize = 64 * 1024;

pub fn raw(octets: impl AsRef<[u8]>) -> Raw {
    Raw(bytes::Bytes::copy_from_slice(octets.as_ref()))
}

/// The four kinds as echoes, and a method that never answers. `DOWN` repeats its request as often
/// as its first octet says.
pub fn router() -> Router {
    Router::new()
        .unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) })
        .server_streaming(&DOWN, |_, request: Raw, mut replies| async move {
            for _ in 0..request.0.first().copied().unwrap_or(0) {
                replies.send(request.clone()).await?;
            }
            Ok(())
        })
        .client_streaming(&UP, |_, mut requests| async move {
            let mut all = Vec::new();
            while let Some(Raw(octets)) = requests.message().await? {
                all.extend_from_slice(&octets);
            }
            Ok(Response::new(raw(all)))
        })
        .bidi(&BIDI, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(request).await?;
            }
            Ok(())
        })
        .unary(&SILENT, |_, _| std::future::pending())
}

/// How a pair is to be.
pub struct Setup {
    pub router: Router,
    pub client: PoolOptions,
    pub server: DriverOptions,
    pub faults: Faults,
}

impl Setup {
    pub fn new(router: Router) -> Self {
        let mut client = PoolOptions::new();
        client.seed = Some(7);
        client.max_connections = 1;
        let server = DriverOptions::new(Role::Server);
        Self { router, client, server, faults: Faults::default() }
    }

    pub fn start(self) -> Pair {
        self.start_with(|builder| builder)
    }

    pub fn start_with(self, with: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> Pair {
        let (connector, listener) = memory::listener(BUFFER);
        let server = Server::builder(self.router).options(self.server).serve(listener);
        let near = FaultyConnector::new(connector.clone(), self.faults);
        let builder = Channel::builder("http://test").connector(near).options(self.client);
        Pair { channel: with(builder).build().unwrap(), server, connector }
    }
}

/// A channel and the server it reaches.
pub struct Pair {
    pub channel: Channel,
    pub server: Server,
    pub connector: MemoryConnector,
}

/// The echoes over a link without faults.
pub fn pair() -> Pair {
    Setup::new(router()).start()
}

/// A channel of one connection at a time, which somebody else accepts.
pub fn lone_channel(mut options: PoolOptions, faults: Faults) -> (Channel, MemoryListener) {
    options.max_connections = 1;
    let (connector, listener) = memory::listener(BUFFER);
    let connector = FaultyConnector::new(connector, faults);
    let channel = Channel::builder("http://test").connector(connector).options(options);
    (channel.build().unwrap(), listener)
}
