//! Calls that a peer refused twice. Each is sent again on another endpoint that has capacity, or on the
//! one that refused it last when a call there has ended or its limit has risen. It fails when neither can
//! be: nothing is in flight there.

use crate::call::state::SharedCall;
use crate::pool::queue::line::take_if;
use std::collections::VecDeque;
use std::sync::Arc;

/// The calls, in the order in which they were refused, each with its connection.
#[derive(Debug, Default)]
pub(crate) struct RefusedCalls(VecDeque<(u64, Arc<SharedCall>)>);

impl RefusedCalls {
    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub(crate) fn push(&mut self, connection: u64, call: Arc<SharedCall>) {
        self.0.push_back((connection, call));
    }

    /// Whether a call waits for this connection.
    pub(crate) fn has(&self, connection: u64) -> bool {
        self.0.iter().any(|(of, _)| *of == connection)
    }

    /// The connections that calls wait for.
    pub(crate) fn connections(&self) -> Vec<u64> {
        let mut connections: Vec<_> = self.0.iter().map(|(of, _)| *of).collect();
        connections.sort_unstable();
        connections.dedup();
        connections
    }

    /// Takes out the first call that waits for this connection. Those that have ended go to `over`.
    pub(crate) fn pop(
        &mut self,
        connection: u64,
        over: &mut Vec<Arc<SharedCall>>,
    ) -> Option<Arc<SharedCall>> {
        loop {
            let at = self.0.iter().position(|(of, _)| *of == connection)?;
            let (_, call) = self.0.remove(at)?;
            if !call.lock().is_over() {
                return Some(call);
            }
            over.push(call);
        }
    }

    /// Takes those out for which `which` holds.
    pub(crate) fn take_if(
        &mut self,
        which: impl Fn(u64, &Arc<SharedCall>) -> bool,
        taken: &mut Vec<Arc<SharedCall>>,
    ) {
        take_if(&mut self.0, |(of, call)| which(*of, call), |(_, call)| taken.push(call));
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, call: &Arc<SharedCall>) {
        self.0.retain(|(_, other)| !Arc::ptr_eq(other, call));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SharedCall>> {
        self.0.iter().map(|(_, call)| call)
    }
}
