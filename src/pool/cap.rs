//! Limits that several channels share: open sockets, and dials per second.

use crate::rt::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Connections of a process, all channels together. Every one is a descriptor here and a socket,
/// perhaps a TLS session, at the server.
const SOCKETS: u32 = 1024;
/// Dials that come back in a second, once as many as there may be sockets have begun at once.
const DIALS: u32 = 256;

/// A limit on connections and on the rate of dials.
///
/// Caps nest: a dial under one made by [`Cap::inside`] takes a socket of it and of each cap around it,
/// or of none. So a channel's share is limited within a shard's, and all of them within the
/// process's.
///
/// A connection holds its socket until it closes: no connection is closed for another channel. A
/// channel that finds no socket looks again every 100 ms. Connections that are kept open
/// (`ChannelBuilder::min_connections`, `Channel::warm`) are not available to others.
#[derive(Debug)]
pub struct Cap {
    name: &'static str,
    parent: Option<Arc<Self>>,
    sockets: u32,
    dials: u32,
    open: AtomicU32,
    refused: AtomicU64,
    begun: AtomicU64,
    bucket: Mutex<Option<(f64, Instant)>>,
}

/// Why no dial may begin now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capped {
    /// The bound that refused.
    pub(super) by: &'static str,
    /// Too many dials began in the last second: one may begin after this time. `None`: as many
    /// connections as allowed are open.
    pub(super) wait: Option<Duration>,
}

impl Cap {
    /// At most `sockets` connections at a time; `dials` begun in a second, after `sockets` at once.
    /// Zero counts as one: a pool that may not connect is an error, not a bound.
    ///
    /// It stands alone: what is dialled under it does not count for [`Cap::process`]. It is for a
    /// whole of its own, as a test is; a part of the process is `Cap::inside(&Cap::process(), ..)`.
    #[must_use]
    pub fn new(sockets: u32, dials: u32) -> Arc<Self> {
        Self::build("own", None, sockets, dials)
    }

    /// As [`Cap::new`], within `parent`: a dial needs a socket and a token of both, and takes them of
    /// both or of none. What is open here is open there. `sockets` and `dials` above the parent's
    /// are allowed and never reached.
    #[must_use]
    pub fn inside(parent: &Arc<Self>, sockets: u32, dials: u32) -> Arc<Self> {
        Self::build("shard", Some(Arc::clone(parent)), sockets, dials)
    }

    fn build(name: &'static str, parent: Option<Arc<Self>>, sockets: u32, dials: u32) -> Arc<Self> {
        Arc::new(Self {
            name,
            parent,
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
        Arc::clone(PROCESS.get_or_init(|| Self::build("process", None, SOCKETS, DIALS)))
    }

    /// Its level, as statistics name it: `process`, `shard` for one inside another, `own` for one
    /// that stands alone.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The bound round this one.
    #[must_use]
    pub const fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
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

    /// Returns the dials that this cap delayed; a cap around it counts its own.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// This bound, then each round it, up to the whole.
    pub(super) fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |cap| cap.parent.as_deref())
    }

    /// Most connections open at a time that every level allows.
    pub(super) fn most(&self) -> u32 {
        self.levels().map(Self::sockets).min().unwrap_or(self.sockets)
    }

    /// Whether `other` is this bound or one round it.
    #[must_use]
    pub fn is_inside(&self, other: &Arc<Self>) -> bool {
        self.levels().any(|cap| std::ptr::eq(cap, Arc::as_ptr(other)))
    }

    /// Takes a socket for one more connection and a token to dial now, on every level or on none.
    pub(super) fn dial(self: &Arc<Self>, now: Instant) -> Result<Socket, Capped> {
        for (taken, cap) in self.levels().enumerate() {
            let next = |open: u32| (open < cap.sockets).then_some(open + 1);
            if cap.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next).is_err() {
                self.close(taken);
                return Err(cap.refuse(None));
            }
        }
        let socket = Socket(Arc::clone(self));
        for (spent, cap) in self.levels().enumerate() {
            if let Err(wait) = cap.spend(now) {
                self.levels().take(spent).for_each(Self::refund);
                return Err(cap.refuse(Some(wait)));
            }
        }
        for cap in self.levels() {
            cap.begun.fetch_add(1, Ordering::Relaxed);
        }
        Ok(socket)
    }

    fn refuse(&self, wait: Option<Duration>) -> Capped {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Capped { by: self.name, wait }
    }

    /// Returns the sockets of the first `levels` levels.
    fn close(&self, levels: usize) {
        for cap in self.levels().take(levels) {
            cap.open.fetch_sub(1, Ordering::AcqRel);
        }
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

    /// Returns a token that an outer level made useless.
    fn refund(&self) {
        if let Some((tokens, _)) = &mut *self.bucket.lock() {
            *tokens = (*tokens + 1.0).min(f64::from(self.sockets));
        }
    }
}

/// The socket of one connection on every level, from its dial to its end.
#[derive(Debug)]
pub(super) struct Socket(Arc<Cap>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.close(usize::MAX);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::pool::cap::*;

    #[test]
    fn sockets_and_dials_are_bounded() {
        let cap = Cap::new(3, 2);
        let now = Instant::now();
        let first = cap.dial(now).unwrap();
        let _second = cap.dial(now).unwrap();
        drop(cap.dial(now).unwrap());
        let refused = cap.dial(now).unwrap_err();
        assert_eq!(refused, Capped { by: "own", wait: Some(Duration::from_millis(500)) });
        assert_eq!(cap.open(), 2, "a refused dial holds nothing");
        let later = now + Duration::from_secs(5);
        let _third = cap.dial(later).unwrap();
        assert_eq!(cap.dial(later).unwrap_err(), Capped { by: "own", wait: None });
        drop(first);
        assert!(cap.dial(later).is_ok());
        assert_eq!((cap.dials(), cap.refused()), (5, 2));
    }

    #[test]
    fn nothing_is_not_a_bound() {
        assert!(Cap::new(0, 0).dial(Instant::now()).is_ok());
    }

    #[test]
    fn a_dial_takes_a_socket_on_every_level_or_on_none() {
        let now = Instant::now();
        let whole = Cap::new(3, 100);
        let [a, b] = [Cap::inside(&whole, 2, 100), Cap::inside(&whole, 2, 100)];
        let first = a.dial(now).unwrap();
        let _second = a.dial(now).unwrap();
        assert_eq!(a.dial(now).unwrap_err(), Capped { by: "shard", wait: None });
        let third = b.dial(now).unwrap();
        assert_eq!(b.dial(now).unwrap_err(), Capped { by: "own", wait: None });
        assert_eq!((whole.open(), a.open(), b.open()), (3, 2, 1));
        // Each refusal counts where it was made.
        assert_eq!((whole.refused(), a.refused(), b.refused()), (1, 1, 0));
        drop(first);
        let _fourth = b.dial(now + Duration::from_secs(1)).unwrap();
        drop(third);
        assert_eq!((whole.open(), a.open(), b.open()), (2, 1, 1));
        assert_eq!((whole.dials(), a.dials(), b.dials()), (4, 2, 2));
        assert!(a.is_inside(&whole) && a.is_inside(&a) && !a.is_inside(&b));
        assert!(!whole.is_inside(&a));
    }

    /// A dial that an outer level refuses costs an inner level neither socket nor token.
    #[test]
    fn tokens_of_a_refused_dial_come_back() {
        let now = Instant::now();
        let whole = Cap::new(2, 1);
        let inner = Cap::inside(&whole, 5, 1);
        for _ in 0..2 {
            drop(inner.dial(now).unwrap());
        }
        for _ in 0..10 {
            let refused = inner.dial(now).unwrap_err();
            assert_eq!(refused, Capped { by: "own", wait: Some(Duration::from_secs(1)) });
        }
        assert_eq!((whole.open(), inner.open()), (0, 0));
        // Three are left inside, and more never were.
        drop(Cap::inside(&whole, 1, 1).dial(now + Duration::from_secs(60)).unwrap());
        assert_eq!(inner.bucket.lock().unwrap().0, 3.0);
    }
}
