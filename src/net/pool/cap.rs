//! Bounds that several channels share: sockets open at a time, dials begun in a second.

use crate::net::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Connections of a process, all channels together. Every one is a descriptor here and a socket,
/// perhaps a TLS session, at the server.
const SOCKETS: u32 = 1024;
/// Dials that come back in a second, once as many as there may be sockets have begun at once.
const DIALS: u32 = 256;

/// A bound on connections and on the rate of dials. There is none that bounds nothing.
#[derive(Debug)]
pub struct Cap {
    sockets: u32,
    dials: u32,
    open: AtomicU32,
    refused: AtomicU64,
    begun: AtomicU64,
    bucket: Mutex<Option<(f64, Instant)>>,
}

/// Why no dial may begin now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Capped {
    /// As many connections as allowed are open.
    Sockets,
    /// Too many dials began in the last second; one may begin after this time.
    Rate(Duration),
}

impl Cap {
    /// At most `sockets` connections at a time; `dials` begun in a second, after `sockets` at once. Zero counts as one: a pool that may not connect is an error, not a bound.
    #[must_use]
    pub fn new(sockets: u32, dials: u32) -> Arc<Self> {
        Arc::new(Self {
            sockets: sockets.max(1),
            dials: dials.max(1),
            open: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            bucket: Mutex::new(None),
        })
    }

    /// The process's: 1024 connections, 256 dials a second.
    #[must_use]
    pub fn process() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Cap>> = OnceLock::new();
        Arc::clone(PROCESS.get_or_init(|| Self::new(SOCKETS, DIALS)))
    }

    /// Connections open or being dialled.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Most connections open at a time.
    #[must_use]
    pub const fn sockets(&self) -> u32 {
        self.sockets
    }

    /// Dials begun so far.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Dials that this bound put off.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A place for one more connection, and leave to dial it now.
    pub(super) fn dial(self: &Arc<Self>, now: Instant) -> Result<Socket, Capped> {
        let room = |open: u32| (open < self.sockets).then_some(open + 1);
        if self.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Capped::Sockets);
        }
        let socket = Socket(Arc::clone(self));
        if let Err(wait) = self.spend(now) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Capped::Rate(wait));
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(socket)
    }

    /// One token of a bucket that fills evenly.
    fn spend(&self, now: Instant) -> Result<(), Duration> {
        let (most, rate) = (f64::from(self.sockets), f64::from(self.dials));
        let mut bucket = self.bucket.lock();
        let (tokens, since) = bucket.unwrap_or((most, now));
        let passed = now.saturating_duration_since(since).as_secs_f64();
        let tokens = (tokens + passed * rate).min(most);
        if tokens < 1.0 {
            *bucket = Some((tokens, now));
            return Err(Duration::from_secs_f64((1.0 - tokens) / rate));
        }
        *bucket = Some((tokens - 1.0, now));
        Ok(())
    }
}

/// One connection's place, from its dial to its end.
#[derive(Debug)]
pub(super) struct Socket(Arc<Cap>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_dials_are_bounded() {
        let cap = Cap::new(3, 2);
        let now = Instant::now();
        let first = cap.dial(now).unwrap();
        let _second = cap.dial(now).unwrap();
        drop(cap.dial(now).unwrap());
        assert_eq!(cap.dial(now).unwrap_err(), Capped::Rate(Duration::from_millis(500)));
        assert_eq!(cap.open(), 2, "a refused dial holds nothing");
        let later = now + Duration::from_secs(5);
        let _third = cap.dial(later).unwrap();
        assert_eq!(cap.dial(later).unwrap_err(), Capped::Sockets);
        drop(first);
        assert!(cap.dial(later).is_ok());
        assert_eq!((cap.dials(), cap.refused()), (5, 2));
    }

    #[test]
    fn nothing_is_not_a_bound() {
        assert!(Cap::new(0, 0).dial(Instant::now()).is_ok());
    }
}
