//! One line of calls that wait: in FIFO order and bounded. It refuses a call whose deadline is too
//! near.

use crate::call::state::SharedCall;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a call does not join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// As many as allowed wait already.
    Full(u32),
    /// So many wait before it that its deadline passes first.
    Hopeless { before: u32, wait: Duration },
}

impl Refusal {
    /// The error of the refused call, which may have a tenant.
    pub(crate) fn error(
        self,
        tenant: Option<&str>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Error {
        match self {
            Self::Full(before) => {
                let text = match tenant {
                    Some(tenant) => format!(
                        "{before} calls of tenant {tenant:?} wait already (Share::max_waiting)"
                    ),
                    None => format!(
                        "{before} calls wait for a connection already (ChannelBuilder::max_queued_calls)"
                    ),
                };
                Error::local(Kind::Limit, Code::ResourceExhausted, text)
            }
            Self::Hopeless { before, wait } => {
                let left = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                let (whose, setters) = match tenant {
                    Some(tenant) => {
                        (format!(" of tenant {tenant:?}"), " (Share::max_calls, Share::weight)")
                    }
                    None => (String::new(), ""),
                };
                let text = format!(
                    "refused immediately: {before} calls{whose} wait before it, for about {wait:.1?}, \
                     and its deadline leaves {left:.1?}{setters}"
                );
                let status = Status::new(Code::DeadlineExceeded, text);
                Error::new(Kind::Deadline, status, Initiator::Local, Processed::No)
            }
        }
        .with_phase(Phase::PoolWait)
    }
}

/// Calls in the order in which they came, and how fast they leave.
#[derive(Debug, Default)]
pub(crate) struct Line {
    calls: VecDeque<Arc<SharedCall>>,
    /// When the last call got a permit, while others waited.
    last: Option<Instant>,
    /// Smoothed time between two of them.
    interval: Option<Duration>,
}

impl Line {
    pub(crate) fn len(&self) -> u32 {
        self.calls.len() as u32
    }

    /// The call joins, if fewer than `most` wait and its deadline leaves the time.
    pub(crate) fn join(
        &mut self,
        call: Arc<SharedCall>,
        most: u32,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<(), (Refusal, Arc<SharedCall>)> {
        let before = self.len();
        if before >= most {
            return Err((Refusal::Full(before), call));
        }
        if let (Some(deadline), Some(interval)) = (deadline, self.interval) {
            let wait = interval.saturating_mul(before);
            if now + wait > deadline {
                return Err((Refusal::Hopeless { before, wait }, call));
            }
        }
        self.calls.push_back(call);
        Ok(())
    }

    /// Takes out the call that has waited longest and has not ended, and counts it for its tenant.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Arc<SharedCall>> {
        while let Some(call) = self.calls.pop_front() {
            {
                let mut x = call.lock();
                if x.is_over() {
                    continue;
                }
                x.take_tenant_turn();
            }
            let empty = self.calls.is_empty();
            let passed = self.last.map(|last| now.saturating_duration_since(last));
            self.last = (!empty).then_some(now);
            if let Some(passed) = passed {
                let smooth = |old: Duration| (old * 7 + passed) / 8;
                self.interval = Some(self.interval.map_or(passed, smooth));
            }
            if empty {
                self.interval = None;
            }
            return Some(call);
        }
        (self.last, self.interval) = (None, None);
        None
    }

    /// Forgets how fast calls left: the time until the next call joins is no service time.
    fn forget_rate_if_empty(&mut self) {
        if self.calls.is_empty() {
            (self.last, self.interval) = (None, None);
        }
    }

    /// Takes those out for which `which` holds.
    pub(crate) fn take_if(
        &mut self,
        which: impl Fn(&Arc<SharedCall>) -> bool,
        taken: &mut Vec<Arc<SharedCall>>,
    ) {
        if self.calls.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.calls);
        for call in all {
            if which(&call) {
                taken.push(call);
            } else {
                self.calls.push_back(call);
            }
        }
        self.forget_rate_if_empty();
    }

    /// Takes one out; `false` if it is not there.
    pub(crate) fn remove(&mut self, call: &Arc<SharedCall>) -> bool {
        let found = self.calls.iter().position(|other| Arc::ptr_eq(other, call));
        let removed = found.and_then(|at| self.calls.remove(at)).is_some();
        self.forget_rate_if_empty();
        removed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SharedCall>> {
        self.calls.iter()
    }
}
