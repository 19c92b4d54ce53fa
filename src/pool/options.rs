//! What a pool may do: every bound, its default and its reason.

use crate::advisor::sizing::ControllerOptions;
use crate::connection::engine::Engine;
use crate::connection::keepalive::Preset;
use crate::connection::options::{ConnectionOptions, SharedOptions};
use crate::pool::balance::Balance;
use crate::pool::cap::Cap;
use crate::rt::executor::Executor;
use std::sync::Arc;
use std::time::Duration;

/// The most connections to one endpoint: more than a host has ports.
#[cfg(feature = "client")]
const CONNECTIONS_MAX: u32 = 1 << 20;

/// How connections are made, how many, and how long they live.
///
/// Internal: `client::ChannelBuilder` builds it from its setters and `client::Advanced`.
/// [`check`](crate::pool::check()) finds contradictions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolOptions {
    /// How each connection behaves.
    pub driver: SharedOptions,
    /// Where the pool's tasks run. Default the runtime of the thread that starts one.
    pub executor: Executor,
    /// What speaks HTTP/2. Default the crate's own engine.
    pub engine: Engine,
    /// Connections kept to each endpoint once the channel has been used; re-dialled after a loss.
    /// Default 0: a channel that nobody uses holds nothing.
    pub min_connections: u32,
    /// Connections that take calls or are being dialled, to each endpoint. Default 4, at least 1: a
    /// channel with 0 is not built. Connections that drain, finishing their calls, do not count: only
    /// `cap` bounds them.
    pub max_connections: u32,
    /// Calls that a connection carries at a time, if its peer allows more or names no limit. Further calls
    /// wait. Default 16,384.
    pub max_calls: u32,
    /// The share of the peer's stream limit up to which a connection is filled before the next one
    /// is used, in percent. Default 75.
    pub fill_percent: u32,
    /// Bytes waiting to be written above which a connection counts as full. Default 64 KiB.
    pub write_queue_bytes: u32,
    /// A call's wait for a connection's driver above which that connection counts as full.
    /// Default 1 ms.
    pub pick_wait: Duration,
    /// Calls that may wait for a place on a connection; the next one is refused at once. Default
    /// 10,000.
    pub max_waiting: u32,
    /// Time without calls after which a connection beyond the first is closed. Default 60 s.
    pub shrink_after: Duration,
    /// Time without calls after which the last one is closed too, down to `min_connections`.
    /// Default 30 min, as gRPC's other stacks.
    pub idle_time: Duration,
    /// Idle time after which the path is known to drop a connection: probes come before it, whatever was
    /// survived. Default unknown.
    pub path_limit: Option<Duration>,
    /// Age after which a connection is replaced: the new one is ready before the old one takes no
    /// more calls. Give or take a tenth. Off by default.
    pub max_age: Option<Duration>,
    /// Time for a dial: name, socket, TLS, and the peer's SETTINGS. Default 20 s.
    pub dial_time: Duration,
    /// First back-off after a failed dial; then times 1.6 up to `backoff_max`, give or take a
    /// fifth. The second value stands for three dials: 1, 1.6, 1.6, 1.6, 2.6 s and so on. Default
    /// 1 s.
    pub backoff: Duration,
    /// Default 120 s.
    pub backoff_max: Duration,
    /// Times that a call is written to peers that refuse its stream (REFUSED_STREAM). Default 3.
    pub attempts: u32,
    /// Bytes that a stream has sent and keeps until the response begins, so that the call can move
    /// to another connection: what the peer definitely did not process, or what a retry policy covers. A
    /// stream that sends more moves no longer. Default 256 KiB; 0 keeps none.
    pub keep_bytes: u32,
    /// The same for all calls of a channel together; whole requests of more than 64 KiB count, too,
    /// up to the beginning of their response. A request for which no room is left does not move once
    /// it was written. Default 16 MiB.
    pub keep_total_bytes: u32,
    /// How calls are spread over the endpoints. Default the first that answers.
    pub balance: Balance,
    /// Whether calls leave before the peer's SETTINGS, up to `Limits::streams_before_settings` on a
    /// connection, if no other one is ready. Default off: they wait in the pool.
    pub early_calls: bool,
    /// Least time between two resolutions of the target's name. Default 30 s.
    pub resolve_interval: Duration,
    /// Bounds shared with other channels: sockets and dials per second. The process's by default.
    pub cap: Option<Arc<Cap>>,
    /// Follows the load: connections are dialled before calls wait and drained when fewer would do,
    /// within `min_connections..=max_connections`, by [`sizing::Controller`](crate::advisor::sizing::Controller).
    /// Default off: the pool grows when connections are full and shrinks when they rest.
    pub sizing: Option<ControllerOptions>,
    /// Same seed, same jitter; drawn at random by default.
    pub seed: Option<u64>,
}

impl PoolOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            driver: ConnectionOptions::new(crate::http2::Role::Client).into(),
            executor: Executor::current(),
            engine: Engine::builtin(),
            min_connections: 0,
            max_connections: 4,
            max_calls: 16_384,
            fill_percent: 75,
            write_queue_bytes: 64 * 1024,
            pick_wait: Duration::from_millis(1),
            max_waiting: 10_000,
            shrink_after: Duration::from_secs(60),
            idle_time: Duration::from_secs(30 * 60),
            path_limit: None,
            max_age: None,
            dial_time: Duration::from_secs(20),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(120),
            attempts: 3,
            keep_bytes: 256 * 1024,
            keep_total_bytes: 16 * 1024 * 1024,
            balance: Balance::PickFirst,
            early_calls: false,
            resolve_interval: Duration::from_secs(30),
            cap: None,
            sizing: None,
            seed: None,
        }
    }

    /// Takes the times from a preset: [`ConnectionOptions::liveness`], and `idle_time` so that the
    /// channel closes a connection without calls before the path forgets it: 300 s on a plain path
    /// and in Kubernetes, 339.5 s behind AWS NLB, 54 s behind AWS ALB, at most the limit less 6 s or
    /// 3 % elsewhere. `shrink_after` is shortened to it if it is longer.
    #[must_use]
    pub fn liveness(mut self, preset: &Preset) -> Self {
        self.driver = (*self.driver).clone().liveness(preset).into();
        self.idle_time = preset.close_idle;
        self.path_limit = preset.path_limit;
        self.shrink_after = self.shrink_after.min(preset.close_idle);
        self
    }

    /// Reduces values that overflow when they are added or multiplied: times to ten years,
    /// connections to [`CONNECTIONS_MAX`].
    #[cfg(feature = "client")]
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        self.driver = (*self.driver).clone().bounded().into();
        let times = [
            &mut self.pick_wait,
            &mut self.shrink_after,
            &mut self.idle_time,
            &mut self.dial_time,
            &mut self.backoff,
            &mut self.backoff_max,
            &mut self.resolve_interval,
        ];
        for time in times.into_iter().chain(self.max_age.as_mut()) {
            *time = (*time).min(crate::connection::options::TIME_MAX);
        }
        self.max_connections = self.max_connections.min(CONNECTIONS_MAX);
        self
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use crate::pool::options::*;

    #[test]
    fn presets_bring_the_numbers_that_are_documented() {
        let numbers = |preset: &Preset| {
            let options = PoolOptions::new().liveness(preset);
            let driver = &options.driver;
            let seconds = |time: Duration| time.as_millis() as f64 / 1000.0;
            assert!(!driver.keepalive_without_calls);
            assert!(options.shrink_after <= options.idle_time);
            let keepalive = driver.keepalive.map(seconds);
            let probe = driver.probe_after.map(seconds);
            (seconds(options.idle_time), keepalive, seconds(driver.doubt.answer), probe)
        };
        assert_eq!(numbers(&Preset::plain()), (300.0, None, 10.0, Some(60.0)));
        assert_eq!(numbers(&Preset::kubernetes()), (300.0, None, 10.0, Some(60.0)));
        assert_eq!(numbers(&Preset::aws_nlb()), (339.5, Some(320.0), 10.0, Some(60.0)));
        assert_eq!(numbers(&Preset::aws_alb()), (54.0, None, 10.0, Some(45.0)));
        let azure = Preset::cloud(Duration::from_secs(240));
        assert_eq!(numbers(&azure), (232.8, None, 10.0, Some(60.0)));
    }
}
