//! A pool's handles to the recorder. The recorder is user code: nothing here calls it under a lock, and
//! its panics are contained.

use crate::pool::counters::{Count, Counts};
use crate::pool::metrics::{DISCONNECT, RESULT, RESUMED, published};
use crate::rt::contain::contain;
use crate::rt::sync::{AtomicI64, AtomicU64, Mutex, Ordering};
use crate::transport::connect::ConnectErrorKind;
use metrics::{Counter, Gauge, Histogram, SharedString};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// The gauges without a label of their own, and the states of `framewire.connections`.
const GAUGES: [&str; 4] = [
    "framewire.calls.active",
    "framewire.calls.waiting",
    "framewire.places",
    "grpc.subchannel.open_connections",
];
const STATES: [&str; 4] = ["dialing", "handshaking", "active", "draining"];
const LEVELS: usize = GAUGES.len() + STATES.len();

/// What a pool shows of the present instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) active: u64,
    pub(crate) waiting: u32,
    pub(crate) capacity: u64,
    pub(crate) dialing: u32,
    pub(crate) handshaking: usize,
    pub(crate) ready: usize,
    pub(crate) draining: usize,
}

impl Levels {
    /// In the order of the gauges.
    fn values(&self) -> [i64; LEVELS] {
        let Self { active, waiting, capacity, dialing, handshaking, ready, draining } = *self;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let count = |n: usize| number(n as u64);
        let open = count(handshaking + ready + draining);
        [
            number(active),
            waiting.into(),
            number(capacity),
            open,
            dialing.into(),
            count(handshaking),
            count(ready),
            count(draining),
        ]
    }
}

/// The sums of the gauges over the channels of one target.
#[derive(Debug, Default)]
struct Totals([AtomicI64; LEVELS]);

impl Totals {
    /// Those of a target. They last while a channel to it does.
    fn of(target: &str) -> Arc<Self> {
        static TARGETS: OnceLock<Mutex<HashMap<String, Weak<Totals>>>> = OnceLock::new();
        let mut targets = TARGETS.get_or_init(Mutex::default).lock();
        if let Some(totals) = targets.get(target).and_then(Weak::upgrade) {
            return totals;
        }
        targets.retain(|_, totals| totals.strong_count() > 0);
        let totals = Arc::new(Self::default());
        targets.insert(target.to_owned(), Arc::downgrade(&totals));
        totals
    }
}

/// A gauge, and what this pool counts in it.
struct Level {
    gauge: Gauge,
    shown: AtomicI64,
}

impl Level {
    fn new(gauge: Gauge) -> Self {
        Self { gauge, shown: AtomicI64::new(0) }
    }

    /// Shows this value of the pool, added to those of the others.
    fn set(&self, total: &AtomicI64, value: i64) {
        let before = self.shown.swap(value, Ordering::AcqRel);
        if value != before {
            total.fetch_add(value.wrapping_sub(before), Ordering::AcqRel);
        }
        // Of two threads, the one that sets last has seen the last sum.
        loop {
            let sum = total.load(Ordering::SeqCst);
            self.gauge.set(sum as f64);
            if total.load(Ordering::SeqCst) == sum {
                return;
            }
        }
    }
}

/// A counter, and how much of it was published.
struct Sum {
    counter: Counter,
    told: AtomicU64,
}

/// A pool's handles.
pub(crate) struct Meter {
    target: SharedString,
    /// In the order of [`Count::ALL`], those that are published here.
    counters: Box<[Sum]>,
    levels: Box<[Level]>,
    totals: Arc<Totals>,
    wait: Histogram,
}

impl Meter {
    /// Registers the handles. If the recorder panics, they are handles to nothing.
    pub(crate) fn new(target: &str) -> Self {
        let target: SharedString = target.to_owned().into();
        let totals = Totals::of(&target);
        contain(|| Self::register(&target, &totals)).unwrap_or_else(|_| {
            let levels = std::iter::repeat_with(|| Level::new(Gauge::noop()));
            Self {
                counters: Box::default(),
                levels: levels.take(LEVELS).collect(),
                totals: Arc::clone(&totals),
                wait: Histogram::noop(),
                target: target.clone(),
            }
        })
    }

    fn register(target: &SharedString, totals: &Arc<Totals>) -> Self {
        let counters = Count::ALL.into_iter().filter_map(|count| {
            let (name, label) = published(count)?;
            let mut labels = vec![metrics::Label::new("grpc.target", target.clone())];
            labels.extend(label.map(|(key, value)| metrics::Label::new(key, value)));
            Some(Sum { counter: metrics::counter!(name, labels), told: AtomicU64::new(0) })
        });
        let gauge = |name: &'static str| metrics::gauge!(name, "grpc.target" => target.clone());
        let state = |state: &'static str| {
            let target = target.clone();
            metrics::gauge!("framewire.connections", "grpc.target" => target, "state" => state)
        };
        let gauges = GAUGES.into_iter().map(gauge).chain(STATES.into_iter().map(state));
        Self {
            counters: counters.collect(),
            levels: gauges.map(Level::new).collect(),
            totals: Arc::clone(totals),
            wait: metrics::histogram!("framewire.calls.wait", "grpc.target" => target.clone()),
            target: target.clone(),
        }
    }

    /// Publishes what has changed since the last time.
    pub(crate) fn publish(&self, counts: &Counts, levels: &Levels) {
        let values = counts.iter().filter(|(count, _)| published(*count).is_some());
        for (Sum { counter, told }, (_, n)) in self.counters.iter().zip(values) {
            let new = n.saturating_sub(told.fetch_max(n, Ordering::AcqRel));
            if new > 0 {
                let _ = contain(|| counter.increment(new));
            }
        }
        self.show(levels);
    }

    fn show(&self, levels: &Levels) {
        let levels = self.levels.iter().zip(levels.values());
        for ((level, value), total) in levels.zip(&self.totals.0) {
            let _ = contain(|| level.set(total, value));
        }
    }

    /// A call that waited has a permit.
    pub(crate) fn waited(&self, time: Duration) {
        let _ = contain(|| self.wait.record(time));
    }

    pub(crate) fn dialed(&self, took: Duration) {
        let _ = contain(|| {
            let target = self.target.clone();
            metrics::histogram!("framewire.dials.duration", "grpc.target" => target).record(took);
        });
    }

    pub(crate) fn disconnected(&self, why: String) {
        let _ = contain(|| {
            let target = self.target.clone();
            metrics::counter!(
                "grpc.subchannel.disconnections", "grpc.target" => target, DISCONNECT => why
            )
            .increment(1);
        });
    }

    pub(crate) fn handshake(&self, resumed: bool, took: Duration) {
        let kind = if resumed { "RESUMED_HANDSHAKE" } else { "FULL_HANDSHAKE" };
        self.count_handshake("SUCCESS", kind);
        let _ = contain(|| {
            let target = self.target.clone();
            metrics::histogram!(
                "framewire.tls.handshakes.duration", "grpc.target" => target, RESUMED => kind
            )
            .record(took);
        });
    }

    pub(crate) fn handshake_failed(&self, kind: ConnectErrorKind) {
        let result = match kind {
            ConnectErrorKind::AlpnHttp11
            | ConnectErrorKind::AlpnNone
            | ConnectErrorKind::AlpnOther
            | ConnectErrorKind::AlpnRefused => "NO_APPLICATION_PROTOCOL",
            ConnectErrorKind::CertificateExpired => "CERTIFICATE_EXPIRED",
            ConnectErrorKind::CertificateName | ConnectErrorKind::CertificateInvalid => {
                "BAD_CERTIFICATE"
            }
            ConnectErrorKind::CertificateUntrusted => "UNKNOWN_CA",
            ConnectErrorKind::ClientCertificate => "CERTIFICATE_REQUIRED",
            ConnectErrorKind::TimedOut => "HANDSHAKE_TIMEOUT",
            ConnectErrorKind::Closed => "CONNECTION_CLOSED",
            _ => "UNKNOWN",
        };
        self.count_handshake(result, "FULL_HANDSHAKE");
    }

    fn count_handshake(&self, result: &'static str, resumed: &'static str) {
        let _ = contain(|| {
            let target = self.target.clone();
            metrics::counter!(
                "grpc.client.tls.handshakes", "grpc.target" => target, RESULT => result,
                RESUMED => resumed
            )
            .increment(1);
        });
    }

    /// A call has ended that its policy tried more than once.
    pub(crate) fn attempts(&self, hedged: bool, further: u32, paused: Duration) {
        let name = if hedged { "grpc.client.call.hedges" } else { "grpc.client.call.retries" };
        let _ = contain(|| {
            let target = self.target.clone();
            metrics::histogram!(name, "grpc.target" => target.clone()).record(f64::from(further));
            if !hedged {
                metrics::histogram!("grpc.client.call.retry_delay", "grpc.target" => target)
                    .record(paused);
            }
        });
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.show(&Levels::default());
    }
}
