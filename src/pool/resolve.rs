//! From a target to the addresses behind it.

use crate::error::Error;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Shared, connect_error};
use crate::rt;
use crate::rt::sync::Ordering;
use crate::transport::connect::{ConnectError, ConnectErrorKind, ConnectPhase, Target};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A question that was put off waits up to twice as long beyond its time.
const SPREAD: Duration = Duration::from_millis(500);

/// The addresses, or why there are none.
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Finds the addresses of a target. Asked when the first call comes, and again after a connection
/// was lost or a dial failed, at most once in `Advanced::resolve_interval`: earlier
/// questions are put off. A question that fails is asked again after a back-off. One that has no
/// answer within `ChannelBuilder::connect_timeout` has failed.
///
/// Connections to addresses that are no longer named finish their calls and close. While it
/// fails, the addresses named last stay in use.
pub trait Resolve: Send + Sync + 'static {
    /// Looks once.
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

/// How the questions stand.
#[derive(Debug, Default)]
pub(super) struct Resolving {
    asked: bool,
    last: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    /// When a question that was put off is to be asked.
    again: Option<Instant>,
    /// What went wrong, while it does.
    pub(super) error: Option<Error>,
}

impl Resolving {
    /// What callers are told until the question may be asked again.
    pub(super) fn told(&self, now: Instant) -> Option<Error> {
        self.retry_at.filter(|at| now < *at).and_then(|_| self.error.clone())
    }
}

/// A question under way. Dropped, as when a runtime ends, it has failed.
struct Asking {
    shared: Arc<Shared>,
    over: bool,
}

impl Asking {
    /// The answer is there: who takes it says that the question is over.
    fn end(mut self) {
        self.over = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.over {
            let text = "the runtime on which the resolver was asked has ended";
            let error = io::Error::new(io::ErrorKind::Interrupted, text);
            self.shared.unresolved(error, rt::now());
            self.shared.news.notify_one();
        }
    }
}

impl Shared {
    /// Asks the resolver, one question at a time and not more often than allowed: what comes too
    /// early is put off.
    pub(super) fn resolve(&self) {
        let Some(resolver) = self.resolver.clone() else { return };
        let Some(me) = self.me.upgrade() else { return };
        let now = rt::now();
        {
            let mut resolving = self.resolving.lock();
            if resolving.asked || self.shutdown.load(Ordering::Acquire) {
                return;
            }
            let least = resolving.last.map(|at| at + self.options.resolve_interval);
            let least = least.filter(|_| !self.endpoints().is_empty());
            let early = least.max(resolving.retry_at).filter(|at| now < *at);
            if let Some(at) = early {
                if resolving.again.is_none() {
                    // So that channels that lost a server together do not ask together.
                    resolving.again = Some(at + self.jitter(SPREAD, 1.0));
                    self.news.notify_one();
                }
                return;
            }
            resolving.asked = true;
            resolving.again = None;
        }
        let asking = Asking { shared: me, over: false };
        rt::spawn(async move {
            let me = Arc::clone(&asking.shared);
            let answer = resolver.resolve(me.target.clone());
            let answer = match rt::timeout(me.options.dial_time, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in dial_time")),
            };
            asking.end();
            me.resolved(answer);
        });
    }

    /// Asks what was put off; returns when to look again.
    pub(super) fn ask_again(&self, now: Instant) -> Option<Instant> {
        let again = self.resolving.lock().again?;
        if now < again {
            return Some(again);
        }
        self.resolving.lock().again = None;
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
                {
                    let mut resolving = self.resolving.lock();
                    resolving.asked = false;
                    resolving.last = Some(now);
                    resolving.failures = 0;
                    resolving.retry_at = None;
                    resolving.error = None;
                }
                self.name_endpoints(&addresses);
                self.publish();
                self.serve(now);
                if !self.waiting.is_empty() {
                    self.grow();
                }
            }
            Err(error) => self.unresolved(error, now),
        }
        self.news.notify_one();
    }

    /// The last good addresses stay; without any, calls that have no patience are told.
    fn unresolved(&self, error: io::Error, now: Instant) {
        let kind = ConnectErrorKind::Resolve;
        let error = ConnectError::new(kind, ConnectPhase::Resolve, &self.target).with_source(error);
        let error = connect_error(&error);
        let pause = {
            let failures = self.resolving.lock().failures;
            let factor = 1.6f64.powi(failures.min(32) as i32);
            let base = self.options.backoff.mul_f64(factor).min(self.options.backoff_max);
            self.jitter(base, 0.2)
        };
        {
            let mut resolving = self.resolving.lock();
            resolving.asked = false;
            resolving.last = Some(now);
            resolving.failures = resolving.failures.saturating_add(1);
            resolving.retry_at = Some(now + pause);
            resolving.again = resolving.retry_at;
            resolving.error = Some(error.clone());
        }
        if self.endpoints().is_empty() {
            self.publish();
            self.fail_waiting(|call| !call.lock().spec().wait_for_ready, &error);
        }
    }

    /// Tells the connector how many connections there may be.
    pub(super) fn provide(&self) {
        let endpoints = u32::try_from(self.endpoints().len().max(1)).unwrap_or(u32::MAX);
        let most = self.options.max_connections.max(1).saturating_mul(endpoints);
        self.connector.provide_for(most.min(self.cap.most()));
    }

    /// Keeps the endpoints that are still named, adds new ones, lets the others go.
    fn name_endpoints(&self, addresses: &[SocketAddr]) {
        let before = self.endpoints();
        let mut after: Vec<Arc<Endpoint>> = Vec::with_capacity(addresses.len());
        for address in addresses {
            if after.iter().any(|endpoint| endpoint.target.address() == Some(*address)) {
                continue;
            }
            let kept = before.iter().find(|e| e.target.address() == Some(*address));
            after.push(match kept {
                Some(endpoint) => {
                    endpoint.cold.lock().removed = false;
                    Arc::clone(endpoint)
                }
                None => Endpoint::new(self.target.clone().at(*address), &self.options),
            });
        }
        let gone = before.iter().filter(|old| !after.iter().any(|new| new.id == old.id));
        let gone: Vec<_> = gone.cloned().collect();
        *self.endpoints.write() = after.into();
        self.provide();
        for endpoint in gone {
            endpoint.cold.lock().removed = true;
            for member in endpoint.members() {
                endpoint.remove(&member);
                member.goodbye();
            }
        }
    }
}
