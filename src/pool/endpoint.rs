//! One address and the connections to it: which one a call takes, and when more are wanted.
//!
//! hot: a short shared lock over a list of a few connections, one read-modify-write for the place.

use crate::call::Permit;
use crate::connection::handle::Handle;
use crate::error::Error;
use crate::pool::cap::{Cap, Capped, Socket};
use crate::pool::options::PoolOptions;
use crate::rt::sync::{ArrayQueue, AtomicBool, AtomicU32, Mutex, Ordering, RwLock, fence, next_id};
use crate::transport::connect::{Progress, Target};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Times `max_connections` that may be draining while no other connection is left.
const LEAVING: u32 = 4;

/// What came of looking for a place.
#[derive(Debug)]
pub(super) enum Pick {
    /// A place on a connection that has room to spare.
    Place(Permit),
    /// A place, but every connection is full to its soft target.
    Pressed(Permit),
    /// Every connection has as many calls as its peer allows.
    Full,
    /// No connection takes calls.
    None,
}

/// One address.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) id: u64,
    pub(super) target: Target,
    most: u32,
    fill_percent: u64,
    queue_bytes: u32,
    pick_wait: Duration,
    /// Connections that take calls, oldest first.
    members: RwLock<Vec<Arc<Handle>>>,
    /// Connections without calls, each once: popped by who wants one and by who closes them.
    resting: ArrayQueue<Arc<Handle>>,
    /// Connections that take calls or are being dialled.
    open: AtomicU32,
    /// Connections that take no more calls and are not closed.
    leaving: AtomicU32,
    /// The oldest connection's turns when all were found pressed, plus one; zero when not.
    pressed_at: AtomicU32,
    /// A connection has grown old: one more than the bound may be dialled.
    pub(super) replacing: AtomicBool,
    /// Calls wait behind a PING on one of its connections: one more may be dialled beside it.
    pub(super) probing: AtomicBool,
    /// Such a PING was answered.
    answered: Notify,
    /// How far the dial under way has come.
    pub(super) progress: Progress,
    pub(super) cold: Mutex<Cold>,
}

/// Touched when connections come and go.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// One dial in flight.
    pub(super) dialing: bool,
    /// The level of the Cap that puts it off.
    pub(super) capped: Option<&'static str>,
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    pub(super) last_error: Option<Error>,
    /// Young connections in a row that the peer ended with an error.
    pub(super) scolded: u32,
    /// The resolver no longer names it.
    pub(super) removed: bool,
    /// When the dial under way began.
    pub(super) began: Option<Instant>,
    /// Whether it spoke HTTP/2 the last time; `None` before it was known.
    pub(super) http2: Option<bool>,
}

impl Endpoint {
    pub(super) fn new(target: Target, options: &PoolOptions) -> Arc<Self> {
        let most = options.max_connections.max(1);
        Arc::new(Self {
            id: next_id(),
            target,
            most,
            fill_percent: u64::from(options.fill_percent.clamp(1, 100)),
            queue_bytes: options.write_queue_bytes,
            pick_wait: options.pick_wait,
            members: RwLock::new(Vec::new()),
            // Those that left stand in it until they are popped.
            resting: ArrayQueue::new(most as usize * 2),
            open: AtomicU32::new(0),
            leaving: AtomicU32::new(0),
            pressed_at: AtomicU32::new(0),
            replacing: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            answered: Notify::new(),
            progress: Progress::watched(),
            cold: Mutex::new(Cold::default()),
        })
    }

    /// A place for a call: on the oldest connection that is not full to its soft target, else on
    /// one that rests, else wherever one is left.
    pub(super) fn pick(&self) -> Pick {
        let members = self.members.read();
        if members.is_empty() {
            return Pick::None;
        }
        let mut best: Option<(u32, &Arc<Handle>)> = None;
        for (i, member) in members.iter().enumerate() {
            let reading = member.life().read();
            // The oldest may rest; others that do are found below, the longest-resting first.
            if !reading.open || (reading.calls == 0 && i > 0) || member.is_unproved() {
                continue;
            }
            if !self.is_pressed(member, reading.calls)
                && let Ok(permit) = member.reserve()
            {
                return self.eased(permit);
            }
            if best.is_none_or(|(calls, _)| reading.calls < calls) {
                best = Some((reading.calls, member));
            }
        }
        while let Some(member) = self.resting.pop() {
            member.leave_idle();
            if let Ok(permit) = member.reserve() {
                return self.eased(permit);
            }
        }
        if let Some((_, member)) = best
            && let Ok(permit) = member.reserve()
        {
            return Pick::Pressed(permit);
        }
        // The one with the fewest calls was full, or has just filled up.
        let left = members.iter().find_map(|member| member.reserve().ok());
        left.map_or(Pick::Full, Pick::Pressed)
    }

    fn eased(&self, permit: Permit) -> Pick {
        if self.pressed_at.load(Ordering::Relaxed) != 0 {
            self.pressed_at.store(0, Ordering::Relaxed);
        }
        Pick::Place(permit)
    }

    /// Calls up to which a connection is filled before another one is wanted.
    pub(super) fn soft_target(&self, member: &Handle) -> u32 {
        let soft = (u64::from(member.limit()) * self.fill_percent).div_ceil(100);
        u32::try_from(soft).unwrap_or(u32::MAX).max(1)
    }

    /// Full to the soft target: by calls, by bytes that wait, or by the time calls waited.
    pub(super) fn is_pressed(&self, member: &Handle, calls: u32) -> bool {
        calls >= self.soft_target(member)
            || (calls > 0 && member.queued() > self.queue_bytes)
            || (calls > 1 && member.lag() > self.pick_wait)
    }

    /// Whether all connections have been pressed for two turns of the oldest one's driver.
    pub(super) fn stays_pressed(&self) -> bool {
        let Some(turns) = self.members.read().first().map(|oldest| oldest.turns()) else {
            return true;
        };
        let now = turns.wrapping_add(1).max(1);
        let since = self.pressed_at.load(Ordering::Relaxed);
        if since == 0 {
            self.pressed_at.store(now, Ordering::Relaxed);
            return false;
        }
        now.wrapping_sub(since) >= 2
    }

    /// Takes the right to one more connection; the bounds are steps on counters, so they hold at
    /// every instant.
    pub(super) fn open_one(
        &self,
        cap: &Arc<Cap>,
        now: Instant,
        replacing: bool,
    ) -> Result<Socket, Option<Capped>> {
        let most = self.most + u32::from(replacing);
        // Calls that end late must not keep those that come from a server that is there.
        let none = self.open.load(Ordering::Acquire) == 0;
        let leaving = if none { self.most.saturating_mul(LEAVING) } else { self.most };
        if self.leaving.load(Ordering::Acquire) > leaving {
            return Err(None);
        }
        let room = |open: u32| (open < most).then_some(open + 1);
        if self.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_err() {
            return Err(None);
        }
        cap.dial(now).map_err(|capped| {
            self.open.fetch_sub(1, Ordering::AcqRel);
            Some(capped)
        })
    }

    /// A dial came to nothing.
    pub(super) fn not_opened(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// A connection takes calls from now on.
    pub(super) fn add(&self, member: Arc<Handle>) {
        self.members.write().push(member);
    }

    /// A connection takes no more calls; `true` the first time that it is said.
    pub(super) fn remove(&self, member: &Handle) -> bool {
        let mut members = self.members.write();
        let before = members.len();
        members.retain(|other| other.id() != member.id());
        let was = members.len() < before;
        drop(members);
        if was {
            self.open.fetch_sub(1, Ordering::AcqRel);
            self.leaving.fetch_add(1, Ordering::AcqRel);
        }
        was
    }

    /// A connection that had left is closed. It holds its endpoint, so it must not stay here.
    pub(super) fn left(&self, member: &Handle) {
        self.leaving.fetch_sub(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if !member.claim_idle() {
            self.sweep();
        }
    }

    /// A connection has no calls: whoever wants one finds it.
    pub(super) fn rest(&self, member: &Arc<Handle>) {
        if !member.claim_idle() {
            return;
        }
        if let Err(member) = self.resting.push(Arc::clone(member)) {
            self.sweep();
            if self.resting.push(Arc::clone(&member)).is_err() {
                member.leave_idle();
            }
        }
        // It may have closed meanwhile, and nobody throws it out after that.
        fence(Ordering::SeqCst);
        if !member.is_accepting() {
            self.sweep();
        }
    }

    /// Throws those out that take no more calls.
    fn sweep(&self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            for _ in 0..self.resting.len() {
                let Some(other) = self.resting.pop() else { break };
                if !other.is_accepting() || self.resting.push(Arc::clone(&other)).is_err() {
                    other.leave_idle();
                    continue;
                }
                // Who closed it meanwhile did not find it here.
                fence(Ordering::SeqCst);
                again |= !other.is_accepting();
            }
        }
    }

    /// The connections that take calls, oldest first.
    pub(super) fn members(&self) -> Vec<Arc<Handle>> {
        self.members.read().clone()
    }

    /// The most connections that take calls or are being dialled.
    pub(super) const fn most(&self) -> u32 {
        self.most
    }

    pub(super) fn is_connected(&self) -> bool {
        self.members.read().iter().any(|member| member.is_accepting())
    }

    /// Whether a connection has had its peer's SETTINGS.
    pub(super) fn is_ready(&self) -> bool {
        self.members.read().iter().any(|member| member.is_accepting() && member.is_ready())
    }

    /// One connection more than the bound may be dialled: it takes another one's place.
    pub(super) fn may_exceed(&self) -> bool {
        self.replacing.load(Ordering::Acquire) || self.probing.load(Ordering::Acquire)
    }

    /// A PING was answered: a dial that went on beside it may be needless.
    pub(super) fn proved(&self) {
        self.probing.store(false, Ordering::Release);
        self.answered.notify_waiters();
    }

    /// Completes when a dial that began beside a PING is needless because that was answered.
    pub(super) async fn answered(&self) {
        self.answered.notified().await;
    }

    /// A connection has come: calls that are held back on others move there.
    pub(super) fn relieve(&self) {
        if self.probing.swap(false, Ordering::AcqRel) {
            for member in self.members.read().iter().filter(|member| member.is_unproved()) {
                member.move_held_calls();
            }
        }
    }

    /// Calls under way on all its connections.
    pub(super) fn calls(&self) -> u64 {
        self.members.read().iter().map(|member| u64::from(member.life().read().calls)).sum()
    }

    /// Connections that take calls or are being dialled, and those that are leaving.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.open.load(Ordering::Relaxed), self.leaving.load(Ordering::Relaxed))
    }
}
