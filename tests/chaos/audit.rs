//! What must hold at the end.

use crate::calls::Ended;
use crate::child;
use crate::proxies::Proxy;
use crate::storm::{DYING, FAIR, HANG, Record, answers_arrive};
use crate::world::{Life, Policy};
use framewire::Code;
use framewire::error::{Initiator, Kind, Processed};
use std::collections::{BTreeMap, HashMap};

/// What did not hold: by kind, how often, and the first few.
#[derive(Default)]
pub struct Findings(BTreeMap<&'static str, (usize, Vec<String>)>);

impl Findings {
    pub fn add(&mut self, kind: &'static str, what: String) {
        let (count, first) = self.0.entry(kind).or_default();
        *count += 1;
        if first.len() < 5 {
            first.push(what);
        }
    }

    pub fn expect(&mut self, holds: bool, kind: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.add(kind, what());
        }
    }

    /// All of them, if any.
    pub fn report(&self) -> Option<String> {
        let lines = self.0.iter().map(|(kind, (count, first))| {
            format!("{count} × {kind}:\n    {}\n", first.join("\n    "))
        });
        (!self.0.is_empty()).then(|| lines.collect())
    }
}

/// How often each call ran and was done, over all lives.
pub type Runs = HashMap<u64, (u32, u32)>;

pub fn runs(lives: &[Life]) -> Runs {
    let mut all = Runs::new();
    for life in lives {
        for (id, (ran, done)) in child::read(&life.log) {
            let entry = all.entry(id).or_default();
            *entry = (entry.0 + ran, entry.1 + done);
        }
    }
    all
}

/// What is true of each call by itself. Behind a proxy a response may end in the middle of a message.
pub fn calls(records: &[Record], runs: &Runs, proxy: Option<&Proxy>, findings: &mut Findings) {
    // A call of which such a proxy says that it was not processed may have run, and is sent once more.
    let refuses_late = proxy.is_some_and(|proxy| proxy.refuses_late);
    for record in records {
        let (ran, _) = runs.get(&record.spec.id).copied().unwrap_or_default();
        let what = || format!("{record:?}, ran {ran} times");
        let most = record.policy.most() * if refuses_late { 2 } else { 1 };
        findings.expect(ran <= most, "a call ran more often than its policy allows", what);
        let late = record.spec.timeout.is_some_and(|timeout| record.took > timeout + HANG);
        findings.expect(!late, "a call ended late", what);
        match &record.ended {
            Ended::Well => findings.expect(ran > 0, "a call that did not run ended well", what),
            Ended::Hung => findings.add("a call hung", what()),
            Ended::Wrong(_) => findings.add("a wrong answer", what()),
            Ended::Panicked => findings.add("a panic reached a caller", what()),
            Ended::Error(error) => {
                let never = error.processed() == Processed::No && record.policy == Policy::None;
                let never = never && !refuses_late;
                findings.expect(!never || ran == 0, "a call ran that was said not to have", what);
                let ours = error.kind() == Kind::Deadline && error.initiator() == Initiator::Local;
                let early = record.spec.timeout.is_none_or(|timeout| record.took < timeout);
                findings.expect(!(ours && early), "a deadline before its time", what);
                let said =
                    !error.status().message().is_empty() || error.initiator() == Initiator::Remote;
                findings.expect(said, "an error without a word", what);
                let misuse = error.kind() == Kind::Misuse;
                findings.expect(!misuse, "a caller is blamed that did nothing wrong", what);
                let internal = error.code() == Code::Internal && !record.spec.act.panics();
                let ours = error.initiator() == Initiator::Local;
                let ours = ours && !(proxy.is_some() && error.kind() == Kind::Protocol);
                findings.expect(!(internal && ours), "an internal error of this side", what);
            }
            Ended::Cancelled | Ended::Dropped => {}
        }
    }
}

/// Servers that drained in peace answered what they had done.
pub fn answers(records: &[Record], lives: &[Life], findings: &mut Findings) {
    let mut arrived = 0;
    let by_id: HashMap<u64, &Record> =
        records.iter().map(|record| (record.spec.id, record)).collect();
    for life in lives.iter().filter(|life| !life.harmed && answers_arrive(life.server)) {
        let Some(end) = &life.end else { continue };
        if end[0] > 0 {
            continue;
        }
        for (id, (_, done)) in child::read(&life.log) {
            let kept = done > 0 && !(DYING..FAIR).contains(&id);
            let Some(record) = by_id.get(&id).filter(|_| kept) else { continue };
            arrived += usize::from(matches!(record.ended, Ended::Well));
            if let (Ended::Error(error), Policy::None) = (&record.ended, record.policy) {
                // What a peer cuts at its limit, it says.
                let said = error.debug_text().is_some();
                let lost = !said && [Kind::ConnectionLost, Kind::GoAway].contains(&error.kind());
                let what = || format!("server {}: {record:?}", life.server);
                findings.expect(!lost, "an answer was lost in a drain", what);
            }
        }
    }
    println!("{arrived} answers of servers that drained in peace arrived");
}

/// Servers leave nothing behind: no handler, task, descriptor or byte of the budget.
pub fn ends(lives: &[Life], findings: &mut Findings) {
    for life in lives {
        let Some(end) = &life.end else { continue };
        let what = || {
            let [forced, running, tasks, sockets, bytes] = end[..] else {
                return format!("{end:?}");
            };
            format!(
                "server {}: {forced} streams cut; {running} handlers, {tasks} tasks, \
                 {sockets} descriptors, {bytes} bytes left",
                life.server
            )
        };
        findings.expect(end[1..].iter().all(|n| *n == 0), "a server left something behind", what);
    }
}
