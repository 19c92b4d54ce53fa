//! What messages under assembly and streams that do not move may hold: credit runs ahead of a
//! reader as far as the budget grants it, and with the budget spent one message at a time.

use crate::call::state::Credit;
use crate::connection::driver::flush::OUT_FULL;
use crate::connection::driver::{Core, Entry};
use crate::connection::handle::Handle;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::settings::DEFAULT_WINDOW;
use crate::http2::{Blocked, Connection, ErrorCode, Limits, StreamKey};
use crate::memory::budget::{Budget, Reservation, Waiter};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::{Duration, Instant};

/// Time without progress after which a stalled stream may be let go while the budget is tight.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Bytes charged for each call that is served: its call, its task, and what is too little to be
/// counted one by one.
const SERVED: u64 = 8 * 1024;
/// How often stalled streams are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What one stream holds of the budget.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Bytes of the message under assembly, held or announced: they are charged.
    charged: u64,
    /// While some are charged, when the last of them came or were announced.
    gathered: Option<Instant>,
    /// Bytes of it for which the budget had no room: their credit waits.
    withheld: u32,
    /// Bytes announced ahead of the message and not yet come.
    expanded: u32,
    /// A handler is at work on it: [`SERVED`] is charged.
    served: bool,
    /// Bytes to send that a closed window holds back, and since when none of them moved.
    stalled: Option<(Instant, usize)>,
}

/// What one connection holds of the budget.
#[derive(Debug)]
pub(super) struct Memory {
    reservation: Reservation,
    /// Bytes charged for the connection's receive window; nothing while it is quiet.
    window: Option<u64>,
    /// The stream whose message goes on although the budget is spent.
    exempt: Option<StreamKey>,
    /// Streams with withheld credit, in the order in which they will have it.
    starved: VecDeque<StreamKey>,
    /// Streams with [`Holding::stalled`].
    stalled: usize,
    /// Streams with [`Holding::gathered`].
    gathering: usize,
    /// When both are looked at next.
    look: Option<Instant>,
    /// Wakes this connection when bytes come back to the budget; made when it is first needed.
    waiter: Option<Arc<Waiter>>,
}

impl Memory {
    pub(super) const fn new(budget: Arc<Budget>) -> Self {
        Self {
            reservation: Reservation::new(budget),
            window: None,
            exempt: None,
            starved: VecDeque::new(),
            stalled: 0,
            gathering: 0,
            look: None,
            waiter: None,
        }
    }

    /// Whether messages that stand still may be let go of.
    pub(super) fn is_watched(&self) -> bool {
        self.gathering > 0 && self.reservation.budget().is_tight()
    }

    /// Whether credit is withheld for want of budget.
    pub(super) fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Whether calls must be refused for want of memory: it is noted.
    pub(super) fn is_overdrawn(&self) -> bool {
        let budget = self.reservation.budget();
        let overdrawn = budget.is_overdrawn();
        if overdrawn {
            budget.note_refused();
        }
        overdrawn
    }

    /// Bytes in the outgoing buffer above which nothing more is produced.
    pub(super) fn out_full(&self) -> usize {
        if self.reservation.budget().is_spent() { OUT_FULL / 8 } else { OUT_FULL }
    }

    const fn unstalled(&mut self) {
        self.stalled -= 1;
        self.settle_look();
    }

    /// Something has changed in what is charged for a stream's message.
    fn moved(&mut self, holding: &mut Holding, now: Instant) {
        match (holding.charged > 0, holding.gathered) {
            (true, Some(_)) => holding.gathered = Some(now),
            (true, None) => {
                holding.gathered = Some(now);
                self.gathering += 1;
                self.look.get_or_insert(now + LOOK);
            }
            (false, Some(_)) => {
                holding.gathered = None;
                self.ungathered();
            }
            (false, None) => {}
        }
    }

    const fn ungathered(&mut self) {
        self.gathering -= 1;
        self.settle_look();
    }

    const fn settle_look(&mut self) {
        if self.stalled == 0 && self.gathering == 0 {
            self.look = None;
        }
    }

    /// When stalled streams want to be looked at.
    pub(super) const fn next_look(&self) -> Option<Instant> {
        self.look
    }

    /// The connection has no streams: what it holds for them goes back.
    pub(super) fn rest(&mut self) {
        if let Some(window) = self.window.take() {
            self.reservation.give(window);
        }
        self.starved = VecDeque::new();
        self.reservation.rest();
    }
}

/// The windows that a connection begins with: the smallest that HTTP/2 knows while the budget has
/// no room for larger ones.
pub(super) fn initial_windows(limits: &mut Limits, budget: &Budget) {
    if !budget.has_room(u64::from(limits.connection_window.saturating_sub(DEFAULT_WINDOW))) {
        limits.connection_window = limits.connection_window.min(DEFAULT_WINDOW);
        limits.stream_window = limits.stream_window.min(DEFAULT_WINDOW);
    }
}

/// Rings a connection's mailbox; holds nothing alive.
struct Bell(Weak<Handle>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(handle) = self.0.upgrade() {
            handle.mailbox().wake();
        }
    }
}

fn waiter(handle: &Arc<Handle>) -> Arc<Waiter> {
    Waiter::new(Arc::new(Bell(Arc::downgrade(handle))).into())
}

fn beyond_default(conn: &Connection<Entry>) -> u64 {
    u64::from(conn.recv_window_bytes().saturating_sub(DEFAULT_WINDOW))
}

impl Core {
    /// Charges the connection's window while it has streams. It was announced, so it is not asked.
    pub(super) fn charge_window(&mut self) {
        if self.memory.window.is_none() && self.conn.streams() > 0 {
            let window = beyond_default(&self.conn);
            self.memory.reservation.force(window);
            self.memory.window = Some(window);
        }
    }

    /// Lets the windows grow by as much as the path asks for, if the budget grants it.
    pub(super) fn grow(&mut self, bytes: u32) {
        self.charge_window();
        if self.memory.window.is_none() || !self.memory.reservation.ask(u64::from(bytes)) {
            return;
        }
        self.conn.grow(&mut self.out, bytes);
        let (charged, window) = (u64::from(bytes), beyond_default(&self.conn));
        let before = self.memory.window.replace(window).unwrap_or_default();
        // The window's maximum may have cut the growth short.
        self.memory.reservation.give((before + charged).saturating_sub(window));
    }

    /// A reader reports what it has done with bytes that were handed to it.
    pub(super) fn credit(&mut self, key: StreamKey, credit: Credit) {
        if credit.consumed > 0 {
            self.conn.release(&mut self.out, key, credit.consumed, self.now);
        }
        // The reader reports in this order within a message: gathered, then delivered.
        if credit.gathered > 0 {
            self.gathered(key, credit.gathered);
        }
        if credit.delivered > 0 {
            self.delivered(key, credit.delivered);
        }
        if credit.expected > 0 && credit.delivered == 0 {
            self.expand(key, credit.expected);
        }
    }

    /// Bytes have moved into the assembly of a message that somebody waits for.
    pub(super) fn gathered(&mut self, key: StreamKey, bytes: u32) {
        let bytes = self.conn.gather(&mut self.out, key, bytes);
        let Self { conn, memory, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        let holding = &mut entry.holding;
        // What was announced ahead is charged, and not credited twice.
        let ahead = bytes.min(holding.expanded);
        holding.expanded -= ahead;
        let bytes = bytes - ahead;
        holding.charged += u64::from(bytes);
        memory.moved(holding, self.now);
        if bytes == 0 {
            return;
        }
        let exempt = memory.exempt == Some(key);
        if holding.withheld == 0 && !exempt && memory.reservation.ask(bytes.into()) {
            return self.conn.credit(&mut self.out, key, bytes, self.now);
        }
        // They are held, whatever the budget says; what it may withhold is credit for more.
        memory.reservation.force(bytes.into());
        if holding.withheld == 0 {
            // One message of each connection goes on.
            if exempt || memory.exempt.is_none() {
                memory.exempt = Some(key);
                return self.conn.credit(&mut self.out, key, bytes, self.now);
            }
            memory.starved.push_back(key);
        }
        holding.withheld += bytes;
        self.feed();
    }

    /// Announces the rest of a large message at once, if the budget has room for it.
    pub(super) fn expand(&mut self, key: StreamKey, expected: usize) {
        let lacking = self.conn.lacking(key, expected);
        if lacking == 0 {
            return;
        }
        let Self { conn, memory, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        if entry.holding.withheld > 0 || !memory.reservation.ask(lacking.into()) {
            return;
        }
        entry.holding.charged += u64::from(lacking);
        entry.holding.expanded += lacking;
        memory.moved(&mut entry.holding, self.now);
        self.conn.expand(&mut self.out, key, lacking);
    }

    /// A message left its assembly with the bytes that were reported as gathered.
    fn delivered(&mut self, key: StreamKey, bytes: u32) {
        let Self { conn, memory, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        let holding = &mut entry.holding;
        let withheld = holding.withheld.min(bytes);
        holding.withheld -= withheld;
        let held = holding.charged.saturating_sub(holding.expanded.into());
        let charged = u64::from(bytes).min(held);
        holding.charged -= charged;
        memory.moved(holding, self.now);
        memory.reservation.give(charged);
        if memory.exempt == Some(key) {
            memory.exempt = None;
        }
        self.conn.credit(&mut self.out, key, withheld, self.now);
        self.feed();
    }

    /// The whole of a request is in the hands of its handler.
    pub(super) fn handed_over(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        let charged = entry.holding.charged;
        if charged > 0 || self.memory.exempt == Some(key) {
            entry.holding.expanded = 0;
            self.delivered(key, u32::try_from(charged).unwrap_or(u32::MAX));
        }
    }

    /// Gives starved streams their credit, in order: one always, more as the budget has room.
    pub(super) fn feed(&mut self) {
        let mut waits = false;
        while let Some(key) = self.memory.starved.front().copied() {
            let Self { conn, memory, .. } = self;
            let Some(entry) = conn.user_mut(key).filter(|e| e.holding.withheld > 0) else {
                memory.starved.pop_front();
                continue;
            };
            let bytes = entry.holding.withheld;
            if memory.exempt.is_none() {
                memory.exempt = Some(key);
            } else if !memory.reservation.budget().is_spent() {
                // They are charged: the budget has room for them by now.
            } else if waits {
                return;
            } else {
                // Bytes that come back from now on ring; for those that just came, ask again.
                waits = true;
                let waiter = memory.waiter.get_or_insert_with(|| waiter(&self.handle));
                memory.reservation.budget().wait(waiter);
                continue;
            }
            memory.starved.pop_front();
            entry.holding.withheld = 0;
            self.conn.credit(&mut self.out, key, bytes, self.now);
        }
    }

    /// A stream has ended: what it held goes back.
    pub(super) fn let_go(&mut self, key: StreamKey, holding: &Holding) {
        if holding.charged > 0 {
            self.memory.reservation.give(holding.charged);
        }
        if holding.gathered.is_some() {
            self.memory.ungathered();
        }
        if holding.served {
            self.memory.reservation.give(SERVED);
        }
        if holding.stalled.is_some() {
            self.memory.unstalled();
        }
        if self.memory.exempt == Some(key) {
            self.memory.exempt = None;
        }
        if !self.memory.starved.is_empty() {
            self.feed();
        }
    }

    /// Notes since when nothing of what a closed window holds back moves.
    pub(super) fn note_stall(&mut self, key: StreamKey, blocked: Blocked, pending: usize) {
        let Self { conn, memory, now, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        let stalled = matches!(blocked, Blocked::StreamWindow | Blocked::ConnectionWindow);
        let before = entry.holding.stalled;
        if !stalled || pending == 0 {
            if entry.holding.stalled.take().is_some() {
                memory.unstalled();
            }
            return;
        }
        let since = match before {
            Some((since, bytes)) if pending >= bytes => since,
            _ => *now,
        };
        entry.holding.stalled = Some((since, pending));
        if before.is_none() {
            memory.stalled += 1;
            memory.look.get_or_insert(*now + LOOK);
        }
    }

    /// A handler begins its work.
    pub(super) fn charge_served(&mut self, key: StreamKey) {
        if let Some(entry) = self.conn.user_mut(key)
            && !std::mem::replace(&mut entry.holding.served, true)
        {
            self.memory.reservation.force(SERVED);
        }
    }

    /// Lets go of the stream that has not moved for longest: after the caller's own limit, if there is
    /// one for what its peer does not take, or after a minute while the budget is tight. A closed
    /// window alone is no reason.
    pub(super) fn check_stalls(&mut self) {
        if self.memory.look.is_none_or(|at| self.now < at) {
            return;
        }
        self.memory.look = Some(self.now + LOOK);
        self.memory.settle_look();
        if self.memory.reservation.budget().is_tight() {
            self.memory.reservation.rest();
        }
        let tight = self.memory.reservation.budget().is_tight();
        let patience = tight.then_some(STALL_MAX);
        let for_sending = self.options.stream_stall_time.into_iter().chain(patience).min();
        if for_sending.is_none() {
            return;
        }
        let due = |holding: &Holding| {
            let sending = holding.stalled.and_then(|(since, _)| Some(since + for_sending?));
            let receiving = holding.gathered.and_then(|since| Some(since + patience?));
            sending.into_iter().chain(receiving).min()
        };
        let stalls = self.conn.keys().into_iter();
        let stalls = stalls.filter_map(|key| Some((due(&self.conn.user(key)?.holding)?, key)));
        let longest = stalls.min_by_key(|(due, _)| *due).filter(|(due, _)| *due <= self.now);
        if let Some((_, key)) = longest {
            self.fail_stalled(key);
        }
    }

    fn fail_stalled(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user(key) else { return };
        let seconds = |since: Instant| self.now.saturating_duration_since(since).as_secs();
        let text = match (entry.holding.stalled, entry.holding.gathered) {
            (Some((since, bytes)), _) => format!(
                "the peer took none of {bytes} bytes for {} s while this side was short of \
                 memory or had set stream_stall_time",
                seconds(since)
            ),
            (None, Some(since)) => format!(
                "the peer sent no more of a message for {} s while this side kept {} bytes for it \
                 and was short of memory",
                seconds(since),
                entry.holding.charged
            ),
            (None, None) => return,
        };
        let Some(call) = entry.call.clone() else { return };
        let status = Status::new(Code::ResourceExhausted, text);
        let error = Error::new(Kind::Limit, status, Initiator::Remote, Processed::Maybe);
        let error = self.located(key, &mut call.lock(), error);
        self.fail_stream(key, error, ErrorCode::CANCEL);
    }
}
