//! The deadlines of a client's calls that nobody polls. A caller that polls keeps its deadline itself
//! (`call/deadline.rs`), so the connection looks at its calls at most once a second.

use crate::call::deadline::deadline_error;
use crate::call::state::SharedCall;
use crate::connection::driver::Core;
use crate::connection::driver::timers::Timers;
use crate::error::Processed;
use crate::http2::ErrorCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after its deadline at which a client's call is ended that nobody polls.
const LATE: Duration = Duration::from_secs(1);

impl Timers {
    /// Notes the deadline of a client's call. Its caller keeps it; this is for one that is not polled.
    pub(super) fn late(&mut self, deadline: Instant) {
        let at = deadline.checked_add(LATE);
        self.late = [self.late, at].into_iter().flatten().min();
    }
}

impl Core {
    /// Ends a client's calls that are past their deadline because nobody polls them.
    pub(super) fn expire_late(&mut self) {
        self.timers.late = None;
        let now = self.now;
        for key in self.conn.keys() {
            let call = self.conn.user(key).and_then(|entry| entry.call.as_ref());
            match call.and_then(|call| call.lock().deadline()) {
                Some(at) if at <= now => {
                    let error = deadline_error(Processed::Maybe);
                    self.fail_stream(key, error, ErrorCode::CANCEL);
                }
                Some(at) => self.timers.late(at),
                None => {}
            }
        }
        for _ in 0..self.waiting.len() {
            let Some(call) = self.waiting.pop_front() else { break };
            let (deadline, over) = {
                let x = call.lock();
                (x.deadline(), x.is_over())
            };
            match deadline {
                _ if over => {}
                Some(at) if at <= now => self.expire_unsent(&call),
                Some(at) => {
                    self.timers.late(at);
                    self.waiting.push_back(call);
                }
                None => self.waiting.push_back(call),
            }
        }
    }

    pub(super) fn expire_unsent(&mut self, call: &Arc<SharedCall>) {
        let phase = call.lock().timeline().phase();
        self.fail_call(call, deadline_error(Processed::No).with_phase(phase));
    }
}
