//! A client and a server of ours in one process, joined in memory, each on the engine that a test
//! names.

use super::h2_driver::H2Engine;
use super::link::{Faults, FaultyConnector};
use framewire::client::{Cap, Channel, ChannelBuilder};
use framewire::server::{Router, Server, ServerBuilder};
use framewire::transport::in_memory;
use framewire::transport::{MemoryConnector, MemoryListener};
use framewire::unstable::connection::engine;
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::Raw;
use framewire::unstable::grpc::{Method, Response};
use framewire::unstable::http2::Role;
use framewire::unstable::pool::PoolOptions;

pub type RawMethod = Method<Raw, Raw>;

pub const UNARY: RawMethod = Method::new("/test.Echo/Unary");
pub const DOWN: RawMethod = Method::new("/test.Echo/Down");
pub const UP: RawMethod = Method::new("/test.Echo/Up");
pub const BIDI: RawMethod = Method::new("/test.Echo/Bidi");
/// Never answers.
pub const SILENT: RawMethod = Method::new("/test.Echo/Silent");

/// Bytes that the memory link holds in each direction.
const BUFFER: usize = 64 * 1024;

pub fn raw(bytes: impl AsRef<[u8]>) -> Raw {
    Raw(bytes::Bytes::copy_from_slice(bytes.as_ref()))
}

/// The four kinds as echoes, and a method that never answers. `DOWN` repeats its request as often
/// as its first byte says.
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
            while let Some(Raw(bytes)) = requests.message().await? {
                all.extend_from_slice(&bytes);
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

/// Which side stands on the `h2` crate; what does not stands on this crate's own driver.
#[derive(Clone, Copy, Debug)]
pub struct On {
    client: bool,
    server: bool,
}

impl On {
    pub const FRAMEWIRE: Self = Self { client: false, server: false };
    pub const H2_CLIENT: Self = Self { client: true, server: false };
    pub const H2_SERVER: Self = Self { client: false, server: true };

    /// Options for a channel on this side.
    pub fn client_options(self, mut options: PoolOptions) -> PoolOptions {
        // What others in this process dial does not count.
        options.cap.get_or_insert_with(|| Cap::new(1024, 1 << 20));
        if self.client {
            options.engine = engine::custom(H2Engine);
        }
        options
    }

    /// A channel that is still to be given its connector.
    pub fn channel(self) -> ChannelBuilder {
        Channel::builder("http://test").unstable_pool(self.client_options(PoolOptions::new()))
    }

    pub fn server(self, router: Router) -> ServerBuilder {
        let builder = Server::builder(router);
        if self.server { builder.engine(engine::custom(H2Engine)) } else { builder }
    }

    pub fn setup(self, router: Router) -> Setup {
        let mut client = PoolOptions::new();
        client.seed = Some(7);
        client.max_connections = 1;
        let server = ConnectionOptions::new(Role::Server);
        Setup { on: self, router, client, server, faults: Faults::default() }
    }

    /// The echoes over a link without faults.
    pub fn pair(self) -> Pair {
        self.setup(router()).start()
    }

    /// A channel of one connection at a time, which somebody else accepts.
    pub fn lone_channel(
        self,
        mut options: PoolOptions,
        faults: Faults,
    ) -> (Channel, MemoryListener) {
        options.max_connections = 1;
        let (connector, listener) = in_memory(BUFFER);
        let connector = FaultyConnector::new(connector, faults);
        let channel =
            self.channel().unstable_pool(self.client_options(options)).connector(connector);
        (channel.build().unwrap(), listener)
    }
}

/// How a pair is to be.
pub struct Setup {
    on: On,
    pub router: Router,
    pub client: PoolOptions,
    pub server: ConnectionOptions,
    pub faults: Faults,
}

impl Setup {
    /// Both sides on this crate's own driver.
    pub fn new(router: Router) -> Self {
        On::FRAMEWIRE.setup(router)
    }

    pub fn start(self) -> Pair {
        self.start_with(|builder| builder)
    }

    pub fn start_with(self, with: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> Pair {
        let Self { on, router, client, server, faults } = self;
        let (connector, listener) = in_memory(BUFFER);
        let server = on.server(router).unstable_connection(server).serve(listener).unwrap();
        let near = FaultyConnector::new(connector.clone(), faults);
        let builder = on.channel().connector(near).unstable_pool(on.client_options(client));
        Pair { channel: with(builder).build().unwrap(), server, connector }
    }
}

/// A channel and the server it reaches.
pub struct Pair {
    pub channel: Channel,
    pub server: Server,
    pub connector: MemoryConnector,
}

/// A channel on this crate's own driver, whose connections somebody else accepts.
pub fn lone_channel(options: PoolOptions, faults: Faults) -> (Channel, MemoryListener) {
    On::FRAMEWIRE.lone_channel(options, faults)
}
