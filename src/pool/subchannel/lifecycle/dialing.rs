//! The dial in flight of a subchannel, at most one.

use crate::connection::handle::Handle;
use crate::error::Error;
use crate::pool::cap::{Cap, Capped, Socket};
use crate::pool::subchannel::lifecycle::{DRAINING, Lifecycle};
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
    began: Option<Instant>,
    /// The level of the cap that delays it.
    pub(super) capped: Option<&'static str>,
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

    /// A dial is in flight and does not wait because the last one failed.
    pub(crate) fn is_connecting(&self) -> bool {
        let waits = self.backoff.is_failing() && self.backoff.retry_at().is_some();
        self.dial.is_some() && (!waits || self.dial_began().is_some())
    }

    pub(crate) const fn is_dialing(&self) -> bool {
        self.dial.is_some()
    }

    /// Claims the one dial that may be in flight, and returns its identifier. `None` if there is one, or
    /// no connection more is allowed.
    pub(crate) fn request_dial(&mut self, now: Instant) -> Option<u64> {
        if let Some(dial) = &mut self.dial {
            dial.asked = now;
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
        self.dial = Some(Dial { id, asked: now, began, capped, early });
        self.apply(Event::ConnectRequested);
        Some(id)
    }

    /// Begins to connect: takes a socket from the cap. `Err(None)` if no connection more is allowed.
    pub(crate) fn begin_dial(
        &mut self,
        cap: &Arc<Cap>,
        now: Instant,
    ) -> Result<Socket, Option<Capped>> {
        let (open, beyond) = (self.count(), self.replacing || self.probing);
        // Calls that end late must not block new ones while a server is reachable.
        let draining = if open == 0 { self.max.saturating_mul(DRAINING) } else { self.max };
        if self.connections.len() as u32 - open > draining || open >= self.max + u32::from(beyond) {
            return Err(None);
        }
        let Some(dial) = &mut self.dial else { return Err(None) };
        let dialed = cap.dial(now);
        dial.capped = dialed.as_ref().err().map(|capped| capped.by);
        let socket = dialed?;
        dial.began = Some(now);
        self.backoff.attempt();
        self.apply(Event::BackoffElapsed);
        Ok(socket)
    }

    /// The dial in flight failed. It may try again after the backoff.
    pub(crate) fn dial_failed(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        if let Some(dial) = &mut self.dial {
            dial.began = None;
        }
        self.back_off(now, error, delay);
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

    /// The next dial waits. Notes a connection that failed, as it counts as a failed dial.
    pub(crate) fn back_off(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        self.backoff.fail(now, error, delay);
        self.attempt_ended();
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
