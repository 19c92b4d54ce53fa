//! From a target to the addresses behind it.

use crate::error::Error;
use crate::pool::backoff::Backoff;
use crate::pool::subchannel::Subchannel;
use crate::pool::{ChannelState, Shared, connect_error};
use crate::rt;
use crate::rt::contain::{Panicked, contain, contain_future};
use crate::transport::connect::{ConnectError, ConnectErrorKind, ConnectPhase, Target};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A postponed resolution waits a random time of up to twice this beyond its time.
const SPREAD: Duration = Duration::from_millis(500);

/// The addresses, or why there are none.
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Finds the addresses of a target. The pool resolves when the first call comes, and again after a
/// connection was lost or a dial failed, at most once in
/// `Advanced::resolve_interval`: earlier requests are postponed. A resolution that
/// fails is repeated after a backoff. One without an answer within
/// `ChannelBuilder::connect_timeout` has failed.
///
/// Connections to addresses that are no longer named finish their calls and close. While
/// resolution fails, the last addresses stay in use.
pub trait Resolve: Send + Sync + 'static {
    /// Resolves the target once.
    fn resolve(&self, target: Target) -> ResolveFuture;
}

/// The system's resolver: what `getaddrinfo` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns;

impl Resolve for Dns {
    fn resolve(&self, target: Target) -> ResolveFuture {
        Box::pin(async move { rt::resolve(target.host(), target.port()).await })
    }
}

/// A list that never changes.
#[derive(Clone, Debug)]
pub struct Static(pub Vec<SocketAddr>);

impl Resolve for Static {
    fn resolve(&self, _: Target) -> ResolveFuture {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// The state of the resolution.
#[derive(Debug)]
pub(super) struct Resolving {
    /// A resolution is in flight.
    asked: bool,
    last: Option<Instant>,
    /// When a postponed resolution begins.
    postponed: Option<Instant>,
    /// When a call or a user last needed the addresses.
    wanted: Option<Instant>,
    backoff: Backoff,
}

impl Resolving {
    pub(super) const fn new() -> Self {
        Self { asked: false, last: None, postponed: None, wanted: None, backoff: Backoff::new() }
    }

    /// The error of the last resolution, if it failed.
    pub(super) const fn error(&self) -> Option<&Error> {
        self.backoff.error()
    }

    /// The error of the last resolution, if it failed and the next one is in flight or to come. One
    /// that is overdue does not come: nobody has needed it for long.
    pub(super) fn failed(&self, now: Instant) -> Option<Error> {
        let to_come = |at: Instant| now.saturating_duration_since(at) < SPREAD * 2;
        let goes_on = self.asked || self.postponed.is_some_and(to_come);
        self.backoff.error().filter(|_| self.backoff.is_failing() && goes_on).cloned()
    }

    /// The state of a channel without endpoints.
    pub(super) const fn state(&self) -> ChannelState {
        match (self.backoff.error(), self.asked) {
            (Some(_), _) => ChannelState::TransientFailure,
            (None, true) => ChannelState::Connecting,
            (None, false) => ChannelState::Idle,
        }
    }

    /// Whether a resolution is in flight.
    pub(super) const fn is_asked(&self) -> bool {
        self.asked
    }

    /// Notes that the addresses are needed.
    pub(super) const fn want(&mut self, now: Instant) {
        self.wanted = Some(now);
    }

    /// Whether a failed resolution is tried again by itself: its addresses were needed within `time`.
    pub(super) fn goes_on(&self, time: Duration, now: Instant) -> bool {
        let wanted = |at: Instant| now.saturating_duration_since(at) < time;
        self.postponed.is_some() && self.backoff.is_failing() && self.wanted.is_some_and(wanted)
    }

    /// The next resolution may begin at once.
    pub(super) fn reset_backoff(&mut self, now: Instant) {
        self.backoff.reset();
        self.postponed = self.postponed.map(|at| at.min(now));
    }
}

/// A resolution in flight. Dropped before its end, as when a runtime ends, it has no answer, and the
/// maintenance task or the next call asks again.
struct Asking {
    shared: Arc<Shared>,
    over: bool,
}

impl Asking {
    /// The answer has arrived.
    fn end(mut self) {
        self.over = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.over {
            self.shared.resolving.lock().asked = false;
            self.shared.publish();
            self.shared.maintenance.notify_one();
        }
    }
}

impl Shared {
    /// Starts a resolution unless one is in flight. One that comes too early is postponed.
    pub(super) fn resolve(&self) {
        let Some(resolver) = self.resolver.clone() else { return };
        let Some(me) = self.me.upgrade() else { return };
        let now = rt::now();
        let runtime = {
            let mut resolving = self.resolving.lock();
            if resolving.asked || self.is_shut_down() {
                return;
            }
            let least = resolving.last.map(|at| at + self.options.resolve_interval);
            let least = least.filter(|_| !self.candidates().is_empty());
            let early = least.max(resolving.backoff.retry_at()).filter(|at| now < *at);
            if let Some(at) = early {
                if resolving.postponed.is_none() {
                    // So that channels that lost a server together do not resolve together.
                    resolving.postponed = Some(at + self.jitter(SPREAD, 1.0));
                    self.maintenance.notify_one();
                }
                return;
            }
            let Ok(runtime) = self.options.executor.runtime() else {
                // The maintenance task may run elsewhere, and asks there.
                resolving.postponed = Some(now);
                self.maintenance.notify_one();
                return;
            };
            resolving.asked = true;
            resolving.postponed = None;
            runtime
        };
        let asking = Asking { shared: me, over: false };
        if self.candidates().is_empty() {
            self.publish();
        }
        runtime.spawn(async move {
            let me = Arc::clone(&asking.shared);
            let mut state = me.watch.subscribe();
            let (time, target) = (me.options.dial_time, me.target.clone());
            let answer = contain_future(async move { resolver.resolve(target).await });
            let answer = tokio::select! {
                answer = rt::timeout(time, answer) => answer,
                _ = state.wait_for(|state| *state == ChannelState::Shutdown) => return asking.end(),
            };
            me.resolved(match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(Panicked)) => Err(io::Error::other("the resolver panicked")),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in dial_time")),
            });
            asking.end();
        });
    }

    /// Starts a postponed resolution that is due; returns when to look again.
    pub(super) fn resolve_postponed(&self, now: Instant) -> Option<Instant> {
        let at = self.resolving.lock().postponed?;
        if now < at {
            return Some(at);
        }
        self.resolving.lock().postponed = None;
        self.resolve();
        None
    }

    fn resolved(&self, answer: io::Result<Vec<SocketAddr>>) {
        let now = rt::now();
        let answer = answer.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(addresses),
        });
        match answer {
            Ok(addresses) => {
                let (wanted, before) = {
                    let mut resolving = self.resolving.lock();
                    resolving.asked = false;
                    resolving.last = Some(now);
                    let before = std::mem::replace(&mut resolving.backoff, Backoff::new());
                    (resolving.wanted.take(), before)
                };
                // An error's drop may be the user's code.
                drop(before);
                self.name_endpoints(&addresses);
                self.serve_or_grow(now);
                // Somebody asked for a connection, not only for the addresses.
                if wanted.is_some() && !self.is_connected() {
                    self.grow();
                }
            }
            Err(error) => self.unresolved(error, now),
        }
        self.maintenance.notify_one();
    }

    /// The last addresses stay. Without any, the calls that wait fail, except those with
    /// `wait_for_ready`.
    fn unresolved(&self, error: io::Error, now: Instant) {
        let kind = ConnectErrorKind::Resolve;
        let error = ConnectError::new(kind, ConnectPhase::Resolve, &self.target).with_source(error);
        let error = connect_error(error);
        let before = {
            let mut resolving = self.resolving.lock();
            resolving.asked = false;
            resolving.last = Some(now);
            let delay = |failures| self.backoff_delay(failures);
            let before = resolving.backoff.fail(now, error.clone(), delay);
            resolving.postponed = resolving.backoff.retry_at();
            before
        };
        drop(before);
        if self.candidates().is_empty() {
            self.publish();
            self.fail_fast(&error);
        }
    }

    /// Tells the connector how many connections there may be.
    pub(super) fn provide(&self) {
        let endpoints = u32::try_from(self.candidates().len().max(1)).unwrap_or(u32::MAX);
        let most = self.options.max_connections.max(1).saturating_mul(endpoints);
        let most = most.min(self.cap.most());
        // A hint: if the connector panics on it, the channel goes on.
        let _ = contain(|| self.connector.provide_for(most));
    }

    /// Keeps the subchannels of addresses that are still named, adds those of new ones, and shuts the
    /// others down.
    fn name_endpoints(&self, addresses: &[SocketAddr]) {
        let before = self.candidates();
        let before = before.iter().map(|one| &one.subchannel);
        let mut after: Vec<Arc<Subchannel>> = Vec::with_capacity(addresses.len());
        for address in addresses {
            let same = |one: &&Arc<Subchannel>| one.target.address() == Some(*address);
            if after.iter().any(|one| same(&one)) {
                continue;
            }
            let kept = before.clone().find(same).cloned();
            after.push(kept.unwrap_or_else(|| {
                Subchannel::new(self.target.clone().at(*address), &self.options)
            }));
        }
        let gone = |one: &&Arc<Subchannel>| !after.iter().any(|new| new.id() == one.id());
        let gone: Vec<_> = before.filter(gone).cloned().collect();
        self.picker.replace(after);
        self.provide();
        let closing: Vec<_> = gone.iter().flat_map(|one| one.shut_down()).collect();
        self.publish();
        closing.iter().for_each(|connection| connection.goodbye());
    }
}
