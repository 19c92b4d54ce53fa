//! Warm-up: connections before the first call.

use crate::error::Error;
use crate::pool::picker::Candidate;
use crate::pool::{Pool, Shared, connect_timeout, shut_down};
use crate::rt;
use crate::rt::sync::Ordering;
use crate::transport::connect::ConnectPhase;
use std::fmt;
use std::time::Instant;

/// The result of `Channel::warm`: what was reached, and what was not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Warmed {
    /// Connections that are ready, to all endpoints together.
    pub ready: u32,
    /// Connections that were asked for: so many to each endpoint.
    pub wanted: u32,
    /// The endpoints that have fewer than they should have, each with the reason. The channel continues
    /// to dial them.
    pub failed: Vec<(String, Error)>,
}

impl Warmed {
    /// Returns whether every connection that was asked for is ready.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

impl fmt::Display for Warmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} connections are ready", self.ready, self.wanted)?;
        for (endpoint, error) in &self.failed {
            write!(f, "; {endpoint}: {error}")?;
        }
        Ok(())
    }
}

impl Pool {
    /// Connects until `connections` to each endpoint are ready, which includes TLS, ALPN and the
    /// peer's SETTINGS, or have failed once. The pool keeps as many from then on and replaces those that
    /// are lost; 0 ends this.
    ///
    /// # Errors
    /// Returns why no endpoint is reachable. The pool continues to try.
    ///
    /// # Cancel safety
    /// The number stays when the future is dropped.
    pub async fn warm(&self, connections: u32) -> Result<Warmed, Error> {
        let shared = &self.shared;
        let connections = connections.min(shared.options.max_connections);
        shared.warm.store(connections, Ordering::Relaxed);
        if connections == 0 {
            return Ok(Warmed::default());
        }
        let mut changes = shared.changes.subscribe();
        let time = shared.options.dial_time;
        // One for the name and one for the dials, whatever else changes meanwhile.
        let (mut named, mut until) = (false, rt::now().checked_add(time));
        shared.connect();
        shared.maintenance.notify_one();
        loop {
            if shared.is_shut_down() {
                return Err(shut_down());
            }
            // The task that keeps so many connections may have ended with another runtime.
            let _ = shared.maintain();
            let now = rt::now();
            let late = |until: Option<Instant>| until.is_some_and(|until| until <= now);
            if shared.candidates().is_empty() {
                let resolving = shared.resolving.lock();
                if let Some(error) =
                    resolving.error().filter(|_| late(until) || !resolving.is_asked())
                {
                    return Err(error.clone());
                }
                if late(until) {
                    return Err(connect_timeout(&shared.target, time, ConnectPhase::Resolve));
                }
            } else {
                if !std::mem::replace(&mut named, true) {
                    until = now.checked_add(time);
                }
                // Once as much time has passed as a dial may take, what is missing is held back.
                if let Some(warmed) = shared.warmed(connections, late(until)) {
                    return warmed;
                }
            }
            let left = until.map_or(time, |until| until.saturating_duration_since(rt::now()));
            let _ = rt::timeout(left, changes.changed()).await;
        }
    }
}

impl Shared {
    /// Returns what a warm-up has reached, once every endpoint has its connections or has failed; at
    /// once if `late`.
    fn warmed(&self, connections: u32, late: bool) -> Option<Result<Warmed, Error>> {
        let mut warmed = Warmed::default();
        for Candidate { subchannel, .. } in self.candidates().iter() {
            let lifecycle = subchannel.lifecycle();
            let ready = lifecycle.count();
            warmed.ready += ready;
            warmed.wanted += connections;
            if ready >= connections {
                continue;
            }
            // The outcome of a dial that runs is waited for.
            let failed = lifecycle.backoff().is_failing() && lifecycle.dial_began().is_none();
            let error = lifecycle.backoff().error().filter(|_| failed);
            let error = match (error, late) {
                (Some(error), _) => error.clone(),
                (None, true) => {
                    let (target, time) = (&subchannel.target, self.options.dial_time);
                    let timeout = || connect_timeout(target, time, subchannel.progress.phase());
                    lifecycle.capped().map_or_else(timeout, |capped| capped.error(target, time))
                }
                (None, false) => return None,
            };
            warmed.failed.push((subchannel.target.to_string(), error));
        }
        Some(match warmed.failed.pop_if(|_| warmed.ready == 0) {
            Some((_, error)) => Err(error),
            None => Ok(warmed),
        })
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::pool::warm::Warmed;

    #[test]
    fn a_warm_up_with_a_failure_is_not_complete() {
        assert!(Warmed::default().is_complete());
        let failed = vec![("one".to_owned(), crate::pool::shut_down())];
        let warmed = Warmed { ready: 1, wanted: 2, failed };
        assert!(!warmed.is_complete());
        assert!(warmed.to_string().starts_with("1 of 2 connections are ready; one: "));
    }
}
