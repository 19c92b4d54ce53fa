//! The dial in flight of a subchannel, at most one.

use crate::connection::handle::Handle;
use crate::error::Error;
use crate::pool::cap::{Capped, Need};
use crate::pool::subchannel::lifecycle::Lifecycle;
use crate::pool::subchannel::state::{Event, next};
use crate::rt::sync::next_id;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The dial in flight. It waits for its backoff or a cap until it begins.
#[derive(Debug)]
pub(super) struct Dial {
    id: u64,
    /// When somebody last asked for it.
    asked: Instant,
    /// Calls have asked for it, or the user.
    called: bool,
    began: Option<Instant>,
    /// While a cap delays it: which, and what the dial is needed for.
    capped: Option<(Capped, Need)>,
    /// Connections that wait for the peer's SETTINGS and take calls all the same.
    pub(super) early: Vec<Arc<Handle>>,
}

impl Lifecycle {
    pub(crate) fn dial_began(&self) -> Option<Instant> {
        self.dial.as_ref().and_then(|dial| dial.began)
    }

    /// When somebody last asked for the dial in flight.
    pub(crate) fn dial_asked(&self) -> Option<Instant> {
        self.dial.as_ref().map(|dial| dial.asked)
    }

    /// Whether calls, or the user, have asked for the dial in flight.
    pub(crate) fn is_called(&self) -> bool {
        self.dial.as_ref().is_some_and(|dial| dial.called)
    }

    /// Why the dial in flight may not begin, if a cap delays it.
    pub(crate) fn capped(&self) -> Option<Capped> {
        self.dial.as_ref().and_then(|dial| dial.capped).map(|(capped, _)| capped)
    }

    /// A cap delays the dial in flight.
    pub(crate) const fn set_capped(&mut self, capped: Capped, need: Need) {
        if let Some(dial) = &mut self.dial {
            dial.capped = Some((capped, need));
        }
    }

    /// A dial is in flight and does not wait because the last one failed.
    pub(crate) fn is_connecting(&self) -> bool {
        let waits = self.backoff.is_failing() && self.backoff.retry_at().is_some();
        self.dial.is_some() && (!waits || self.dial_began().is_some())
    }

    pub(crate) const fn is_dialing(&self) -> bool {
        self.dial.is_some()
    }

    /// Claims the one dial that may be in flight, and returns its identifier; `called` if it is for
    /// calls, or if the user asks. `None` if there is one, or no connection more is allowed.
    pub(crate) fn request_dial(&mut self, now: Instant, called: bool) -> Option<u64> {
        if let Some(dial) = &mut self.dial {
            dial.asked = now;
            dial.called |= called;
            return None;
        }
        let beyond = self.replacing || self.probing;
        if self.open() >= self.max + u32::from(beyond)
            || next(self.state, Event::ConnectRequested).is_none()
        {
            return None;
        }
        let id = next_id();
        let (began, capped, early) = (None, None, Vec::new());
        self.dial = Some(Dial { id, asked: now, called, began, capped, early });
        self.apply(Event::ConnectRequested);
        Some(id)
    }

    /// Whether the dial in flight waits in line of a cap and would come sooner if it asked again.
    pub(crate) fn is_put_back(&self) -> bool {
        let capped = self.dial.as_ref().and_then(|dial| dial.capped);
        capped.is_some_and(|(_, need)| need != Need::First)
    }

    /// Whether one connection more is allowed.
    pub(crate) fn may_begin(&self) -> bool {
        // Calls that end late must not block new ones: the cap alone bounds the connections that drain.
        self.count() < self.max + u32::from(self.replacing || self.probing)
    }

    /// Begins to connect, with a socket of the cap. Returns `false` if no connection more is allowed.
    pub(crate) fn begin_dial(&mut self, now: Instant) -> bool {
        let may = self.may_begin();
        let Some(dial) = self.dial.as_mut().filter(|_| may) else { return false };
        dial.capped = None;
        dial.began = Some(now);
        self.backoff.attempt();
        self.apply(Event::BackoffElapsed);
        true
    }

    /// A cap has delayed the dial for so long that the calls that wait fail. Returns the error before, to
    /// be dropped without a lock.
    #[must_use]
    pub(crate) fn starve(&mut self, error: Error) -> Option<Error> {
        let before = self.backoff.starve(error);
        self.apply(Event::DialFailed);
        before
    }

    /// The dial in flight failed. It may try again after the backoff. Returns the error before, to be
    /// dropped without a lock.
    #[must_use]
    pub(crate) fn dial_failed(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) -> Option<Error> {
        if let Some(dial) = &mut self.dial {
            dial.began = None;
        }
        self.back_off(now, error, delay)
    }

    /// This dial is in flight no longer. Unless `failed`, nobody needs a connection: an earlier failure
    /// does not speak for the next dial.
    pub(crate) fn drop_dial(&mut self, id: u64, failed: bool) {
        if self.dial.take_if(|dial| dial.id == id).is_some() {
            if !failed {
                self.backoff.forgive();
            }
            self.attempt_ended();
        }
    }

    /// The next dial begins at once, and its failure is the first one.
    pub(crate) const fn reset_backoff(&mut self) {
        self.backoff.reset();
        self.unused = 0;
    }

    /// The next dial waits. Notes a connection that failed, as it counts as a failed dial. Returns the
    /// error before, to be dropped without a lock.
    #[must_use]
    pub(crate) fn back_off(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) -> Option<Error> {
        let before = self.backoff.fail(now, error, delay);
        self.attempt_ended();
        before
    }

    /// Notes that the endpoint speaks no HTTP/2, and returns what was known before.
    pub(crate) const fn not_http2(&mut self) -> Option<bool> {
        self.http2.replace(false)
    }

    /// A connection takes calls before its peer's SETTINGS.
    pub(crate) fn add_early(&mut self, handle: &Arc<Handle>) {
        if let Some(dial) = &mut self.dial {
            dial.early.push(Arc::clone(handle));
        }
    }

    /// An early connection ended. Returns whether it was one.
    pub(crate) fn remove_early(&mut self, handle: &Handle) -> bool {
        let Some(dial) = &mut self.dial else { return false };
        let before = dial.early.len();
        dial.early.retain(|other| other.id() != handle.id());
        dial.early.len() < before
    }
}
