//! Calls that a connection does not carry to their end: they return to the owner, or fail.

use super::Handle;
use super::refusals::Refusal;
use crate::call::state::SharedCall;
use crate::call::state::ending::wake;
use crate::error::{Error, Kind, Processed};
use crate::grpc::Code;
use crate::rt;
use std::collections::VecDeque;
use std::sync::Arc;

/// Why calls end whose connection's task is dropped before its end.
pub(crate) fn why_dropped() -> &'static str {
    if std::thread::panicking() {
        return "the connection's task panicked, which is a bug of framewire";
    }
    "the connection's task was dropped, as when its runtime ends"
}

impl Handle {
    /// Settles calls found in the mailbox of a driver that is gone. Calls that never had a stream go
    /// back to the owner; the driver has settled the others.
    pub(crate) fn settle(&self, left: VecDeque<Arc<SharedCall>>) {
        let Some(owner) = &self.owner else { return };
        for call in left {
            // Two threads may settle one call, and the first may have moved it already: the call
            // goes back with the permit for this connection, hence once.
            let permit = call.lock().detach(self.id);
            if let Some(permit) = permit {
                drop(permit);
                owner.redispatch(call);
            }
        }
    }

    /// Ends the calls that a driver had not begun when its task was dropped. There may be no runtime
    /// left to dial with, so they do not move.
    pub(crate) fn end_left(&self, left: VecDeque<Arc<SharedCall>>) {
        for call in left {
            let mut x = call.lock();
            let Some(permit) = x.detach(self.id) else { continue };
            let wakers = match x.cancel_code() {
                Some(_) => x.end_cancelled(),
                None => x.fail(self.task_ended()),
            };
            drop(x);
            drop(permit);
            wake(wakers);
        }
    }

    /// Returns the error of a call that was not sent because the connection's task was dropped.
    pub(crate) fn task_ended(&self) -> Error {
        Error::local(Kind::ConnectionLost, Code::Unavailable, why_dropped())
            .with_connection(self.facts(rt::now()))
    }

    /// Returns a call that the peer definitely did not process to the owner if it may move. A call
    /// that was cancelled, or whose request is not kept, ends here: `otherwise` says why, told whether the
    /// peer has begun to answer.
    pub(crate) fn send_back(
        self: &Arc<Self>,
        call: Arc<SharedCall>,
        may_move: bool,
        otherwise: impl FnOnce(bool) -> Error,
    ) {
        let mut x = call.lock();
        if x.is_over() || x.cancel_code().is_some() {
            let wakers = x.end_cancelled();
            drop(x);
            return wake(wakers);
        }
        let owner = self.owner.as_ref().filter(|_| may_move && x.send().is_movable());
        // While the call still has its stream, which the error names.
        let error = owner.is_none().then(|| {
            let answered = x.recv().is_head_ready();
            let error = x.located(otherwise(answered), rt::now());
            // A peer that answers a call and then disowns it has processed it all the same.
            if answered { error.with_processed(Processed::Maybe) } else { error }
        });
        let refusal = self.refusal(&mut x);
        let permit = x.sent_back(rt::now());
        let wakers = error.map(|error| x.fail(error));
        drop(x);
        match (owner, refusal) {
            (Some(owner), Some(refusal)) => {
                owner.refused(self, call, Refusal { permit, ..refusal });
            }
            (Some(owner), None) => {
                drop(permit);
                owner.redispatch(call);
            }
            (None, _) => drop(permit),
        }
        if let Some(wakers) = wakers {
            wake(wakers);
        }
    }
}
