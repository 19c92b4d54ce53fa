//! A path forgets a connection and tells nobody. A client that writes and waits hangs until its
//! deadline, call after call; one that asks first, or asks when it begins to doubt, has its answer
//! over another connection.

use crate::echo::{self, ECHO, tonic_call};
use crate::path::Path;
use crate::svg::{Bars, Chart};
use crate::table::{Table, count, millis, time};
use crate::{BoxError, Outcome, Setting};
use framewire::Request;
use framewire::client::{Advanced, Channel, RetryPolicy};
use framewire::transport::{SocketOptions, TcpConnector};
use std::time::{Duration, Instant};

/// What our channel does; each beside its default, since a lab has no minute to wait.
const PROBE_AFTER: Duration = Duration::from_millis(200);
const DOUBT: Duration = Duration::from_millis(200);
const USER_TIMEOUT: Duration = Duration::from_millis(500);

/// Who meets the path, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Tonic,
    /// A PING before the first call after silence.
    Probe,
    /// A PING once a call has heard nothing for long.
    Doubt,
    /// The system gives up bytes that nobody acknowledges.
    UserTimeout,
}

impl Contender {
    const fn name(self) -> &'static str {
        match self {
            Self::Tonic => "tonic, keepalive off",
            Self::Probe => "our probe on reuse",
            Self::Doubt => "our PING in doubt",
            Self::UserTimeout => "our TCP_USER_TIMEOUT",
        }
    }

    /// Silence before the path forgets.
    const fn rest(self) -> Duration {
        match self {
            // The others are to be caught in the middle of their work.
            Self::Tonic | Self::Probe => Duration::from_millis(300),
            Self::Doubt | Self::UserTimeout => Duration::ZERO,
        }
    }

    /// Our channel that shows one of the three, and has the other two as by default.
    fn channel(self, port: u16) -> Result<Channel, BoxError> {
        let mut builder = Channel::builder(&echo::target(port));
        let mut sockets = SocketOptions::default();
        match self {
            Self::Tonic => {}
            Self::Probe => {
                builder = builder.advanced(Advanced::default().probe_after(PROBE_AFTER));
            }
            Self::Doubt => {
                // With a keepalive_time, an unanswered PING ends the connection.
                let often = Duration::from_secs(3600);
                builder = builder.keepalive_time(often).keepalive_timeout(DOUBT);
                builder = builder.advanced(Advanced::default().doubt(DOUBT, DOUBT));
            }
            Self::UserTimeout => sockets.user_timeout = Some(USER_TIMEOUT),
        }
        Ok(builder
            .connector(TcpConnector::with_options(sockets))
            // A call that was written may have run; an echo may run twice.
            .retry(RetryPolicy::new(2))
            .build()?)
    }
}

enum Client {
    Tonic(tonic::transport::Channel),
    Ours(Channel),
}

impl Client {
    async fn call(&self, deadline: Duration) -> Result<(), String> {
        match self {
            Self::Tonic(channel) => {
                let result = tonic_call(channel, Duration::ZERO, Some(deadline)).await;
                result.map_err(|status| format!("{:?}: {}", status.code(), status.message()))
            }
            Self::Ours(channel) => {
                let request = Request::new(echo::request(Duration::ZERO)).with_timeout(deadline);
                let result = channel.unary(&ECHO, request).await;
                result.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

/// What came of the calls after the path had forgotten.
struct Seen {
    failed: u32,
    first_error: Option<String>,
    /// Until the first answer; until the last failure if there was none.
    took: Duration,
    answered: bool,
}

/// The calls of each client.
#[derive(Clone, Copy)]
struct Plan {
    /// Made one after the other, before the client is given up.
    calls: u32,
    deadline: Duration,
}

async fn meet(
    contender: Contender,
    path: &Path,
    Plan { calls, deadline }: Plan,
) -> Result<Seen, BoxError> {
    let client = match contender {
        Contender::Tonic => Client::Tonic(echo::endpoint(path.port())?.connect().await?),
        ours => Client::Ours(ours.channel(path.port())?),
    };
    for _ in 0..5 {
        client.call(deadline).await?;
    }
    tokio::time::sleep(contender.rest()).await;
    path.forget()?;
    let began = Instant::now();
    let mut seen = Seen { failed: 0, first_error: None, took: Duration::ZERO, answered: false };
    while !seen.answered && seen.failed < calls {
        match client.call(deadline).await {
            Ok(()) => seen.answered = true,
            Err(text) => {
                seen.failed += 1;
                seen.first_error.get_or_insert(text);
            }
        }
        seen.took = began.elapsed();
    }
    Ok(seen)
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let plan = Plan {
        calls: setting.pick(3, 2),
        deadline: Duration::from_millis(setting.pick(3000, if setting.netns { 2000 } else { 900 })),
    };
    let (_server, port) = echo::serve(100)?;
    let path = Path::to(port, setting.netns).await?;
    let mut contenders = vec![Contender::Tonic, Contender::Probe, Contender::Doubt];
    if setting.netns {
        contenders.push(Contender::UserTimeout);
    }
    let mut all = Vec::new();
    for contender in &contenders {
        all.push(meet(*contender, &path, plan).await?);
    }

    let mut table = Table::new(contenders.iter().map(|contender| contender.name()));
    let answered = |seen: &Seen| if seen.answered { "yes" } else { "no" };
    table.row("an answer in the end", all.iter().map(answered));
    table.row("calls that failed before", all.iter().map(|seen| count(seen.failed)));
    let until = |seen: &Seen| match seen.answered {
        true => time(seen.took),
        false => format!("none in {}", time(seen.took)),
    };
    table.row("time to the answer", all.iter().map(until));
    for (contender, seen) in contenders.iter().zip(&all) {
        if let Some(text) = &seen.first_error {
            table.note(format!("{}: {text}", contender.name()));
        }
    }
    notes(&mut table, setting, plan);

    let series = contenders.iter().zip(&all).map(|(contender, seen)| {
        let ends = if seen.answered { "" } else { ", no answer" };
        (format!("{}{ends}", contender.name()), vec![millis(seen.took)])
    });
    let chart = Chart::Bars(Bars {
        title: "From the first call on a forgotten connection to an answer".into(),
        unit: "ms".into(),
        groups: vec![format!("given up after {} calls of {}", plan.calls, time(plan.deadline))],
        series: series.collect(),
    });
    let mut outcome = Outcome::new(
        table,
        vec![chart],
        "a connection that was silent must be proved before a call depends on it, and a call that \
         hears nothing must ask; a deadline alone only counts the failures",
    );
    for (contender, seen) in contenders.iter().zip(&all).skip(1) {
        let point = format!("{}: {} calls failed", contender.name(), seen.failed);
        outcome.check(seen.answered && seen.failed == 0, point);
    }
    Ok(outcome)
}

fn notes(table: &mut Table, setting: Setting, plan: Plan) {
    table.note(format!(
        "up to {} calls with a deadline of {}; scaled down: probe after {} of \
         silence (default 60 s), doubt after {} and as long for the answer (default 10 s each)",
        plan.calls,
        time(plan.deadline),
        time(PROBE_AFTER),
        time(DOUBT)
    ));
    table.note(
        "the probe holds the call back, so it moves unseen; in doubt it was written, and the \
         retry policy says that it may run twice",
    );
    if setting.netns {
        table.note(format!(
            "nft drops the flows in a namespace; TCP_USER_TIMEOUT of {} (default off)",
            time(USER_TIMEOUT)
        ));
    } else {
        table.note(
            "the path is a forwarder in this process, whose system acknowledges bytes: \
             TCP_USER_TIMEOUT shows only with --netns",
        );
    }
}
