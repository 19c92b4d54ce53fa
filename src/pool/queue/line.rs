//! One line of calls that wait: in FIFO order and bounded.

use crate::call::state::SharedCall;
use crate::error::{Error, Kind, Phase};
use crate::grpc::status::Code;
use std::collections::VecDeque;
use std::sync::Arc;

/// Why a call does not join: as many as allowed wait already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full(pub(crate) u32);

impl Full {
    /// The error of the refused call, which may have a tenant.
    pub(crate) fn error(self, tenant: Option<&str>) -> Error {
        let Self(before) = self;
        let text = match tenant {
            Some(tenant) => {
                format!("{before} calls of tenant {tenant:?} wait already (Share::max_waiting)")
            }
            None => format!(
                "{before} calls wait for a connection already (ChannelBuilder::max_queued_calls)"
            ),
        };
        Error::local(Kind::Limit, Code::ResourceExhausted, text).with_phase(Phase::PoolWait)
    }
}

/// How a call comes to the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// From its caller: it waits behind the others, if fewer than allowed do.
    New,
    /// From a connection that could not carry it: it has waited its turn before. It goes first, and
    /// does not count for the bound.
    Returned,
}

/// Calls in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Line {
    returned: VecDeque<Arc<SharedCall>>,
    calls: VecDeque<Arc<SharedCall>>,
}

impl Line {
    pub(crate) fn len(&self) -> u32 {
        (self.returned.len() + self.calls.len()) as u32
    }

    /// The call joins: a new one if fewer than `most` wait.
    pub(crate) fn join(
        &mut self,
        call: Arc<SharedCall>,
        arrival: Arrival,
        most: u32,
    ) -> Result<(), (Full, Arc<SharedCall>)> {
        match arrival {
            Arrival::Returned => self.returned.push_back(call),
            Arrival::New if self.len() >= most => return Err((Full(self.len()), call)),
            Arrival::New => self.calls.push_back(call),
        }
        Ok(())
    }

    /// Takes out the call that has waited longest and has not ended, and counts it for its tenant. Those
    /// that have ended go to `over`.
    pub(crate) fn pop(&mut self, over: &mut Vec<Arc<SharedCall>>) -> Option<Arc<SharedCall>> {
        while let Some(call) = self.returned.pop_front().or_else(|| self.calls.pop_front()) {
            let mut x = call.lock();
            if !x.is_over() {
                x.take_tenant_turn();
                drop(x);
                return Some(call);
            }
            drop(x);
            over.push(call);
        }
        None
    }

    /// Takes those out for which `which` holds.
    pub(crate) fn take_if(
        &mut self,
        which: impl Fn(&Arc<SharedCall>) -> bool,
        taken: &mut Vec<Arc<SharedCall>>,
    ) {
        for calls in [&mut self.returned, &mut self.calls] {
            take_if(calls, &which, |call| taken.push(call));
        }
    }

    /// Takes one out; `false` if it is not there.
    pub(crate) fn remove(&mut self, call: &Arc<SharedCall>) -> bool {
        [&mut self.returned, &mut self.calls].into_iter().any(|calls| {
            let found = calls.iter().position(|other| Arc::ptr_eq(other, call));
            found.and_then(|at| calls.remove(at)).is_some()
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SharedCall>> {
        self.returned.iter().chain(&self.calls)
    }
}

/// Moves those for which `which` holds to `taken`, in their order.
pub(super) fn take_if<T>(
    calls: &mut VecDeque<T>,
    which: impl Fn(&T) -> bool,
    mut taken: impl FnMut(T),
) {
    if calls.is_empty() {
        return;
    }
    for call in std::mem::take(calls) {
        if which(&call) {
            taken(call);
        } else {
            calls.push_back(call);
        }
    }
}
