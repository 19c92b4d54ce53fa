//! Retries by policy (gRFC A6): opt-in, bounded, throttled, and never once a response has begun.
//!
//! Calls that the peer surely did not process are moved by the pool whatever the policy says; this is
//! for those it may have seen, when the caller has said that running twice does no harm.

use crate::call::attempt::{Attempt, Mark, Pushback};
use crate::call::state::{Again, SharedCall};
use crate::client::channel::{Channel, Inner};
use crate::client::policy::RetryPolicy;
use crate::http2::Fields;
use crate::rt;
use crate::rt::sync::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A call's attempts by policy: kept in its call.
#[derive(Debug)]
pub(super) struct Retrying {
    channel: Weak<Inner>,
    call: Weak<SharedCall>,
    policy: RetryPolicy,
    /// Where the first attempt's fields end.
    mark: Mark,
    /// Attempts begun, and the time between them.
    made: Mutex<(u32, Duration)>,
}

impl Retrying {
    pub(super) fn start(
        channel: &Channel,
        call: &Arc<SharedCall>,
        policy: &RetryPolicy,
    ) -> Arc<Self> {
        Arc::new(Self {
            channel: Arc::downgrade(&channel.inner),
            call: Arc::downgrade(call),
            policy: policy.clone(),
            mark: call.lock().send.extra.mark(),
            made: Mutex::new((1, Duration::ZERO)),
        })
    }
}

impl Again for Retrying {
    fn after(&self, attempt: &Attempt, extra: &mut Fields) -> Option<Duration> {
        // Not the last owner: the call holds its channel until it is over.
        let channel = self.channel.upgrade()?;
        let error = attempt.result.as_ref().err();
        let covered = error.is_some_and(|error| self.policy.covers(error));
        let refused = error.is_some() && attempt.pushback == Some(Pushback::Never);
        let allowed = channel.retries.as_ref()?.note(covered || refused);
        let mut made = self.made.lock();
        let may = covered && allowed && !refused && attempt.is_movable;
        if !may || made.0 >= self.policy.attempts() {
            return None;
        }
        let pause = match attempt.pushback {
            Some(Pushback::After(time)) => time,
            _ => channel.pool.jitter(self.policy.pause(made.0 + 1), 0.2),
        };
        if attempt.deadline.is_some_and(|at| rt::now() + pause >= at) {
            return None;
        }
        extra.rewind(self.mark);
        announce_previous(extra, made.0);
        made.0 += 1;
        made.1 += pause;
        Some(pause)
    }

    fn call(&self) -> Option<Arc<SharedCall>> {
        self.call.upgrade()
    }

    fn submit(&self, call: Arc<SharedCall>) -> bool {
        let Some(channel) = self.channel.upgrade() else { return false };
        channel.pool.submit(call);
        true
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        let (made, paused) = *self.made.lock();
        if let (true, Some(channel)) = (made > 1, self.channel.upgrade()) {
            channel.pool.note_attempts(false, made - 1, paused);
        }
    }
}

// gRFC A6: the server sees which attempt this is
pub(super) fn announce_previous(extra: &mut Fields, previous: u32) {
    if previous > 0 {
        extra.push("grpc-previous-rpc-attempts", previous.to_string());
    }
}
