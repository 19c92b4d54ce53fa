//! What the first call of a connection costs with TLS: a full handshake, a resumed one, or none,
//! because the connection was made before. And what a user sees when a server stops to speak
//! HTTP/2 for new connections, as in a roll-out that went wrong.

use crate::alpn::{self, Offer, Outage};
use crate::echo::{self, tonic_call};
use crate::svg::{Bars, Chart};
use crate::table::{Table, count, millis, quantile, time};
use crate::{BoxError, Outcome, Setting};
use framewire::client::Channel;
use framewire::server::Server;
use framewire::tls::{ClientTls, ServerTls};
use std::time::{Duration, Instant};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// Time without calls after which the server closes a connection, so that the next call dials.
const REST: Duration = Duration::from_millis(10);

/// A certificate for this run alone.
pub(crate) struct Identity {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: rcgen::KeyPair,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, BoxError> {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
        Ok(Self { certificate: issued.cert, key: issued.signing_key })
    }

    pub(crate) fn client_tls(&self) -> Result<ClientTls, BoxError> {
        let tls = ClientTls::builder().root_der(self.certificate.der());
        Ok(tls.server_name("localhost").build()?)
    }

    pub(crate) fn endpoint(&self, port: u16) -> Result<Endpoint, BoxError> {
        let root = Certificate::from_pem(self.certificate.pem());
        let tls = ClientTlsConfig::new().ca_certificate(root).domain_name("localhost");
        let endpoint = Endpoint::from_shared(target(port))?.tcp_nodelay(true);
        Ok(endpoint.tls_config(tls)?)
    }
}

pub(crate) fn target(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// A client that has not called yet.
pub(crate) enum Client {
    Tonic(tonic::transport::Channel),
    Ours(Channel),
}

impl Client {
    fn new(ours: bool, identity: &Identity, port: u16) -> Result<Self, BoxError> {
        if !ours {
            return Ok(Self::Tonic(identity.endpoint(port)?.connect_lazy()));
        }
        let tls = identity.client_tls()?;
        Ok(Self::Ours(Channel::builder(&target(port)).tls(tls).build()?))
    }

    /// The same with a connection that is there.
    async fn warm(ours: bool, identity: &Identity, port: u16) -> Result<Self, BoxError> {
        match Self::new(ours, identity, port)? {
            Self::Tonic(_) => Ok(Self::Tonic(identity.endpoint(port)?.connect().await?)),
            Self::Ours(channel) => {
                channel.warm(1).await?;
                Ok(Self::Ours(channel))
            }
        }
    }

    /// How long a call takes.
    async fn call(&self) -> Result<Duration, BoxError> {
        let from = Instant::now();
        match self {
            Self::Tonic(channel) => tonic_call(channel, Duration::ZERO, None).await?,
            Self::Ours(channel) => echo::call(channel, Duration::ZERO).await?,
        }
        Ok(from.elapsed())
    }
}

/// First calls: the middle of their times.
#[derive(Clone, Copy)]
struct First {
    full: Duration,
    resumed: Duration,
    warm: Duration,
    /// Calls for which the server made the handshake that was meant: full, resumed.
    as_meant: [usize; 2],
}

/// Ours or tonic's first calls to a server of their own.
async fn first_calls(ours: bool, identity: &Identity, n: usize) -> Result<First, BoxError> {
    let key = identity.key.serialize_der();
    let tls = ServerTls::builder().identity_der(identity.certificate.der(), key).build()?;
    let server = Server::builder(echo::router()).tls(tls.clone()).max_connection_idle(REST);
    let server = server.bind(([127, 0, 0, 1], 0).into())?;
    let port = server.local_addr().ok_or("no address")?.port();

    let (mut full, mut resumed, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    let mut as_meant = [0, 0];
    for _ in 0..n {
        let before = tls.stats().full.count;
        full.push(Client::new(ours, identity, port)?.call().await?);
        as_meant[0] += usize::from(tls.stats().full.count > before);
        rest(&server).await;
        let client = Client::warm(ours, identity, port).await?;
        // As long as the others rest, but for the server's patience.
        tokio::time::sleep(REST / 2).await;
        warm.push(client.call().await?);
        // It would connect anew, as it was told to.
        drop(client);
        rest(&server).await;
    }
    let client = Client::new(ours, identity, port)?;
    client.call().await?;
    for _ in 0..n {
        rest(&server).await;
        // It has a ticket, and dials anew.
        let before = tls.stats().resumed.count;
        resumed.push(client.call().await?);
        as_meant[1] += usize::from(tls.stats().resumed.count > before);
    }
    Ok(First {
        full: quantile(&mut full, 0.5),
        resumed: quantile(&mut resumed, 0.5),
        warm: quantile(&mut warm, 0.5),
        as_meant,
    })
}

/// Until the server has closed what rests, and both sides know.
async fn rest(server: &Server) {
    while server.handle().connections() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let identity = Identity::new()?;
    let n = setting.pick(50, 10);
    let names = ["tonic", "our channel"];
    let first = [first_calls(false, &identity, n).await?, first_calls(true, &identity, n).await?];

    let mut table = Table::new(names);
    table.row("first call, full handshake", first.map(|first| time(first.full)));
    table.row("first call, resumed session", first.map(|first| time(first.resumed)));
    table.row("first call, connected before", first.map(|first| time(first.warm)));
    table.row(
        "handshakes that were full, and resumed",
        first.map(|First { as_meant: [full, resumed], .. }| format!("{full}, {resumed} of {n}")),
    );
    table.note(format!(
        "medians of {n}; on loopback a handshake is computing alone, elsewhere it adds a round \
         trip and TCP another"
    ));

    let outages = alpn::outages(&identity).await?;
    let mut second = Table::new(names);
    for (offer, seen) in &outages {
        describe(&mut second, *offer, seen);
    }
    second.note(
        "the server takes new connections with the other ALPN while old ones go on, closes them \
         for their age, and offers h2 again; our first back-off is 100 ms here, not 1 s",
    );

    let series = names.iter().zip(&first).map(|(name, first)| {
        let times = [first.full, first.resumed, first.warm].map(millis);
        ((*name).to_owned(), times.to_vec())
    });
    let chart = Chart::Bars(Bars {
        title: format!("First call of a connection over TLS, median of {n}"),
        unit: "ms".into(),
        groups: ["full handshake", "resumed", "connected before"].map(str::to_owned).into(),
        series: series.collect(),
    });
    let mut outcome = Outcome::new(
        table,
        vec![chart],
        "connect before the first call, and prove it through ALPN and SETTINGS; when a server \
         stops to speak h2, only new connections meet it, and the error should say so",
    );
    outcome.tables.push(second);
    let ours = first[1];
    outcome.check(ours.as_meant == [n, n], "ours: a handshake was not full, or not resumed");
    for (offer, [_, ours]) in &outages {
        outcome.check(ours.before == 0, format!("ours, {}: a call failed too soon", offer.words()));
        let told = ours.error.as_deref().is_some_and(|text| text.contains("ALPN"));
        outcome.check(told, format!("ours, {}: the error does not say ALPN", offer.words()));
        let once = ours.told == Some(1);
        outcome.check(once, format!("ours, {}: not one event: {:?}", offer.words(), ours.told));
        outcome.check(ours.healed, format!("ours, {}: it does not recover", offer.words()));
    }
    Ok(outcome)
}

fn describe(table: &mut Table, offer: Offer, seen: &[Outage; 2]) {
    let counts = |part: fn(&Outage) -> u32| seen.each_ref().map(|seen| count(part(seen)));
    let calls = alpn::CALLS;
    table.row(
        format!("{}: failed while a connection was there", offer.words()),
        counts(|seen| seen.before),
    );
    table.row(format!("    failed afterwards, of {calls} calls"), counts(|seen| seen.during));
    table.row("    handshakes for them", counts(|seen| seen.handshakes));
    table.row(
        "    events that say so once",
        seen.each_ref()
            .map(|seen| seen.told.map_or_else(|| "none".into(), |told| count(told as f64))),
    );
    table.row(
        "    from h2 again to the next answer",
        seen.each_ref().map(|seen| if seen.healed { time(seen.heal) } else { "none".into() }),
    );
    for (name, seen) in ["tonic", "ours"].iter().zip(seen) {
        let text = seen.error.as_deref().unwrap_or("no error");
        table.note(format!("{name}, {}: {text}", offer.words()));
    }
}
