//! Transitions in every order: what is charged follows from what streams hold, credit is returned
//! once for each byte, and nothing stays when all streams have ended.

use crate::connection::memory::*;
use crate::http2::StreamId;
use crate::http2::stream::{Stream, StreamTable};
use crate::rt::Random;
use std::task::Waker;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
enum Op {
    Assemble(usize, u32),
    Prefetch(usize, u32),
    /// Releases what is assembled.
    Release(usize),
    ReleaseAll(usize),
    Serve(usize),
    /// Ends the stream; another one takes its index.
    End(usize),
    /// The bytes that other connections hold.
    Others(u64),
}

/// What was counted for one stream from outside.
#[derive(Clone, Copy, Debug)]
struct Account {
    key: StreamKey,
    arrived: u64,
    prefetched: u64,
    credited: u64,
}

struct Model {
    budget: Arc<Budget>,
    memory: ConnectionMemory,
    table: StreamTable<Holding>,
    accounts: Vec<Account>,
    next_id: u32,
    others: u64,
    begin: Instant,
}

impl Model {
    fn new(limit: u64, streams: usize, begin: Instant) -> Self {
        let budget = Budget::new(limit);
        let memory = ConnectionMemory::new(Arc::clone(&budget));
        let table = StreamTable::default();
        let accounts = Vec::new();
        let mut model = Self { budget, memory, table, accounts, next_id: 1, others: 0, begin };
        for _ in 0..streams {
            let account = model.open();
            model.accounts.push(account);
        }
        model
    }

    fn open(&mut self) -> Account {
        let id = StreamId::new(self.next_id);
        self.next_id += 2;
        let key = self.table.insert(Stream::new(id, 0, 0, self.begin, Holding::default()));
        Account { key, arrived: 0, prefetched: 0, credited: 0 }
    }

    fn holding(&mut self, i: usize) -> (StreamKey, &mut Holding, &mut ConnectionMemory) {
        let key = self.accounts[i].key;
        (key, &mut self.table.get_mut(key).unwrap().user, &mut self.memory)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Assemble(i, bytes) => {
                let (key, holding, memory) = self.holding(i);
                let credit = memory.assemble(key, holding, bytes);
                if credit > 0 && memory.is_spent() && !memory.reservation.is_fair() {
                    assert_eq!(memory.privileged, Some(key), "one stream exceeds the budget");
                }
                self.accounts[i].arrived += u64::from(bytes);
                self.accounts[i].credited += u64::from(credit);
            }
            Op::Prefetch(i, bytes) => {
                let (_, holding, memory) = self.holding(i);
                if memory.prefetch(holding, bytes) {
                    self.accounts[i].prefetched += u64::from(bytes);
                }
            }
            Op::Release(i) => {
                let (key, holding, memory) = self.holding(i);
                let bytes = holding.assembled as u32;
                let credit = memory.release(key, holding, bytes);
                assert_ne!(memory.privileged, Some(key), "another stream's turn");
                self.accounts[i].credited += u64::from(credit);
            }
            Op::ReleaseAll(i) => {
                let (key, holding, memory) = self.holding(i);
                let prefetched = u64::from(holding.prefetched);
                let credit = memory.release_all(key, holding).unwrap_or(0);
                assert_eq!(holding.charged(), 0);
                self.accounts[i].credited += u64::from(credit);
                self.accounts[i].prefetched -= prefetched;
            }
            Op::Serve(i) => {
                let (_, holding, memory) = self.holding(i);
                memory.serve(holding);
            }
            Op::End(i) => {
                self.end(i);
                self.accounts[i] = self.open();
            }
            Op::Others(bytes) => {
                self.budget.force(bytes);
                self.budget.give(self.others);
                self.others = bytes;
            }
        }
        self.memory.reservation.return_unused();
        self.release_pending();
    }

    fn end(&mut self, i: usize) {
        let key = self.accounts[i].key;
        let stream = self.table.remove(key).unwrap();
        self.memory.forget(key, &stream.user);
    }

    /// As the driver does it.
    fn release_pending(&mut self) {
        while let Some(key) = self.memory.first_pending() {
            let holding = self.table.get_mut(key).map(|stream| &mut stream.user);
            let Some(credit) = self.memory.release_first(key, holding) else { return };
            if let Some(account) = self.accounts.iter_mut().find(|account| account.key == key) {
                account.credited += u64::from(credit);
            }
        }
    }

    fn check(&mut self, ops: &[Op]) {
        let mut charged = 0;
        let mut any_pending = false;
        for account in &self.accounts {
            let holding = &self.table.get_mut(account.key).unwrap().user;
            charged += holding.charged() + if holding.served { SERVED } else { 0 };
            any_pending |= holding.is_pending();
            let pending = u64::from(holding.pending);
            assert!(pending <= holding.assembled, "{ops:?}: {holding:?}");
            // Credit for each byte that arrived or was prefetched has returned once, or is pending.
            let credit = account.credited + account.prefetched + pending;
            let bytes = account.arrived + u64::from(holding.prefetched);
            assert_eq!(credit, bytes, "{ops:?}: {account:?} {holding:?}");
        }
        assert_eq!(self.budget.used(), charged + self.others, "{ops:?}");
        if any_pending {
            assert!(self.memory.privileged.is_some(), "{ops:?}: no message proceeds");
            assert!(self.budget.is_spent(), "{ops:?}: credit is pending with bytes to spare");
            assert!(!self.memory.reservation.is_fair(), "{ops:?}: it has not used its share");
        }
    }

    fn finish(mut self, ops: &[Op]) {
        for i in 0..self.accounts.len() {
            self.end(i);
            self.release_pending();
        }
        assert!(self.memory.privileged.is_none(), "{ops:?}");
        assert!(!self.memory.has_pending(), "{ops:?}");
        self.memory.clear();
        assert_eq!(self.budget.used(), self.others, "{ops:?}");
    }
}

fn run(limit: u64, streams: usize, begin: Instant, ops: &[Op]) {
    let mut model = Model::new(limit, streams, begin);
    for op in ops {
        model.apply(*op);
        model.check(ops);
    }
    model.finish(ops);
}

#[test]
fn all_orders_of_five_steps_on_two_streams() {
    let mut steps = vec![Op::Others(0), Op::Others(8)];
    for i in 0..2 {
        steps.extend([Op::Assemble(i, 6), Op::Prefetch(i, 9), Op::Release(i), Op::End(i)]);
    }
    steps.push(Op::ReleaseAll(0));
    let begin = Instant::now();
    let n = steps.len();
    for mut code in 0..n.pow(5) {
        let ops: [Op; 5] = std::array::from_fn(|_| {
            let op = steps[code % n];
            code /= n;
            op
        });
        for limit in [5, 20] {
            run(limit, 2, begin, &ops);
        }
    }
}

#[test]
fn long_random_orders_on_four_streams() {
    let begin = Instant::now();
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut below = |n| random.below(n);
        let limit = [0, 100_000, 1 << 40][(seed % 3) as usize];
        let ops: Vec<Op> = (0..200)
            .map(|_| {
                let (i, bytes) = (below(4) as usize, 1 + below(60_000) as u32);
                match below(12) {
                    0..=4 => Op::Assemble(i, bytes),
                    5 | 6 => Op::Prefetch(i, bytes),
                    7 | 8 => Op::Release(i),
                    9 => [Op::ReleaseAll(i), Op::Serve(i)][below(2) as usize],
                    10 => Op::End(i),
                    _ => Op::Others(below(90_000)),
                }
            })
            .collect();
        run(limit, 4, begin, &ops);
    }
}

/// The window is charged as it is announced: growth that its maximum limits is not.
#[test]
fn a_window_is_charged_and_returned() {
    let budget = Budget::new(1250);
    let mut memory = ConnectionMemory::new(Arc::clone(&budget));
    let used = |memory: &mut ConnectionMemory| {
        memory.reservation.return_unused();
        budget.used()
    };
    assert_eq!(memory.charge_growth(100), 0, "no window is charged");
    memory.charge_window(600);
    assert_eq!(memory.charge_growth(400), 400);
    memory.window_grown(400, 700);
    assert_eq!(used(&mut memory), 700);
    assert_eq!(memory.charge_growth(301), 0, "four fifths of the budget have 300");
    memory.clear();
    assert_eq!(budget.used(), 0);
    assert!(!memory.is_window_charged());
}

/// A stream that waits asks for a wake-up; returned bytes cause it.
#[test]
fn returned_bytes_wake_a_connection_that_waits() {
    struct Count(crate::rt::sync::AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, crate::rt::sync::Ordering::SeqCst);
        }
    }
    let budget = Budget::new(10);
    let mut memory = ConnectionMemory::new(Arc::clone(&budget));
    let count = Arc::new(Count(crate::rt::sync::AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    budget.force(11);
    memory.wait(|| Waiter::new(waker));
    budget.give(11);
    assert_eq!(count.0.load(crate::rt::sync::Ordering::SeqCst), 1);
}

/// What is charged for unread bytes returns when they are read: a quiet connection holds nothing.
#[test]
fn the_charge_for_unread_bytes_returns() {
    let budget = Budget::new(64 << 20);
    let mut memory = ConnectionMemory::new(Arc::clone(&budget));
    for most in [1, UNREAD_STEP, UNREAD_STEP + 1, 5 * UNREAD_STEP] {
        let charged = memory.charge_unread(most).expect("the budget has capacity");
        assert!(charged >= most);
        assert_eq!(memory.charge_unread(0), Some(0), "{most}");
        assert_eq!(memory.charge_unread(0), None, "nothing has changed");
        memory.clear();
        assert_eq!(budget.used(), 0, "{most}");
    }
}
