//! A server whose TLS stops to offer `h2`, and offers it again.

use crate::tls::{Client, Identity, target};
use crate::{BoxError, echo};
use framewire::client::{Channel, Count};
use framewire::server::Server;
use framewire::transport::Connected;
use framewire::transport::{Accept, AcceptFuture};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Calls while no connection can be made, and the time between two.
pub(crate) const CALLS: u32 = 20;
const TICK: Duration = Duration::from_millis(5);
/// Age at which the server closes a connection, give or take a tenth.
const AGE: Duration = Duration::from_millis(500);
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(120);

/// What the server offers in the meantime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/1.1 alone: it refuses a client that wants h2 by an alert.
    Http1,
    /// No ALPN: the handshake succeeds, and nothing was agreed on.
    Nothing,
}

impl Offer {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1 alone",
            Self::Nothing => "no ALPN",
        }
    }
}

/// What a client saw of it.
#[derive(Default)]
pub(crate) struct Outage {
    /// Failed calls while the old connection was there.
    pub(crate) before: u32,
    /// Failed calls when it was gone.
    pub(crate) during: u32,
    /// Handshakes that the server met for them.
    pub(crate) handshakes: u32,
    pub(crate) error: Option<String>,
    /// How often the channel told the operator; tonic tells nobody.
    pub(crate) told: Option<u64>,
    pub(crate) healed: bool,
    pub(crate) heal: Duration,
}

/// What the lab turns while the server runs.
#[derive(Default)]
struct Switch {
    away: AtomicBool,
    handshakes: AtomicU32,
}

/// Accepts TCP and speaks TLS: as usual, or with the other offer.
struct Changing {
    listener: TcpListener,
    usual: TlsAcceptor,
    other: TlsAcceptor,
    switch: Arc<Switch>,
}

impl Accept for Changing {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async move {
            loop {
                let (socket, _) = self.listener.accept().await?;
                socket.set_nodelay(true)?;
                self.switch.handshakes.fetch_add(1, Ordering::Relaxed);
                let away = self.switch.away.load(Ordering::Relaxed);
                let tls = if away { &self.other } else { &self.usual };
                // One handshake at a time is enough for a lab.
                if let Ok(stream) = tls.accept(socket).await {
                    return Ok(Connected::new(stream));
                }
            }
        })
    }
}

fn acceptor(identity: &Identity, offered: &[&[u8]]) -> Result<TlsAcceptor, BoxError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.der().clone()], key)?;
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Client {
    /// How a call failed, if it did.
    async fn failure(&self) -> Option<String> {
        match self {
            Self::Tonic(channel) => {
                let status = echo::tonic_call(channel, Duration::ZERO, None).await.err()?;
                let text = format!("{:?}: {}", status.code(), status.message());
                let cause = std::error::Error::source(&status).map(echo::chain);
                Some(cause.map_or_else(|| text.clone(), |cause| format!("{text} ({cause})")))
            }
            Self::Ours(channel) => {
                let request = echo::request(Duration::ZERO);
                channel.unary(&echo::ECHO, request).await.err().map(|error| error.to_string())
            }
        }
    }
}

/// Both clients through both outages, all of them at once: nothing here is judged by its speed.
pub(crate) async fn outages(identity: &Identity) -> Result<Vec<(Offer, [Outage; 2])>, BoxError> {
    let [a, b] = [Offer::Http1, Offer::Nothing];
    let (a_tonic, a_ours, b_tonic, b_ours) = tokio::try_join!(
        outage(a, false, identity),
        outage(a, true, identity),
        outage(b, false, identity),
        outage(b, true, identity),
    )?;
    Ok(vec![(a, [a_tonic, a_ours]), (b, [b_tonic, b_ours])])
}

async fn outage(offer: Offer, ours: bool, identity: &Identity) -> Result<Outage, BoxError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let switch = Arc::new(Switch::default());
    let others: &[&[u8]] = match offer {
        Offer::Http1 => &[b"http/1.1"],
        Offer::Nothing => &[],
    };
    let (usual, other) = (acceptor(identity, &[b"h2"])?, acceptor(identity, others)?);
    let server = Server::builder(echo::router()).max_connection_age(AGE);
    let server = server.serve(Changing { listener, usual, other, switch: Arc::clone(&switch) })?;

    let client = if ours {
        let channel = Channel::builder(&target(port)).tls(identity.client_tls()?);
        Client::Ours(channel.backoff(BACKOFF, BACKOFF_MAX).build()?)
    } else {
        Client::Tonic(identity.endpoint(port)?.connect_lazy())
    };
    if let Some(text) = client.failure().await {
        return Err(format!("before the outage: {text}").into());
    }
    let mut seen = Outage::default();
    switch.away.store(true, Ordering::Relaxed);
    // The connection is there, and too young to go.
    for _ in 0..5 {
        seen.before += u32::from(client.failure().await.is_some());
    }
    let connections = server.handle();
    while connections.connections() > 0 {
        tokio::time::sleep(TICK).await;
    }
    switch.handshakes.store(0, Ordering::Relaxed);
    for _ in 0..CALLS {
        if let Some(text) = client.failure().await {
            seen.during += 1;
            seen.error.get_or_insert(text);
        }
        tokio::time::sleep(TICK).await;
    }
    seen.handshakes = switch.handshakes.load(Ordering::Relaxed);
    if let Client::Ours(channel) = &client {
        seen.told = Some(channel.stats().counted(Count::LostHttp2));
    }
    switch.away.store(false, Ordering::Relaxed);
    let began = Instant::now();
    while !seen.healed && began.elapsed() < Duration::from_secs(3) {
        seen.healed = client.failure().await.is_none();
        seen.heal = began.elapsed();
        tokio::time::sleep(TICK).await;
    }
    Ok(seen)
}
