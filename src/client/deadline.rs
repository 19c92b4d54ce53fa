//! How a caller ends its own call: at the deadline, or with an error of this side.

use crate::call::deadline::poll_deadline;
use crate::client::call::Call;
use crate::error::Error;
use crate::http2::ErrorCode;
use crate::rt;
use crate::rt::Sleep;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

impl Call {
    /// Waits until the call has ended, at its deadline at the latest.
    ///
    /// # Errors
    /// The call has a deadline, and there is no timer for it.
    pub(super) fn poll_end(
        &self,
        timer: Pin<&mut Option<Sleep>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let Some(shared) = self.shared() else { return Poll::Ready(Ok(())) };
        let mut x = shared.lock();
        if x.end().is_some() {
            return Poll::Ready(Ok(()));
        }
        let (deadline, before) = (x.deadline(), x.wait_read(cx));
        drop(x);
        drop(before);
        let Some(deadline) = deadline else { return Poll::Pending };
        ready!(poll_deadline(timer, deadline, cx))?;
        self.expire();
        Poll::Ready(Ok(()))
    }

    /// The deadline has passed: the call ends, whatever its connection does.
    pub(super) fn expire(&self) {
        let Some(shared) = self.shared() else { return };
        let inner = &self.channel().inner;
        let unassigned = shared.lock().permit().is_none();
        let error = unassigned.then(|| inner.pool.deadline_error(shared));
        let stopped = shared.lock().expire(error, rt::now());
        if stopped.finish(shared) {
            inner.pool.note_expired();
            inner.pool.forget(shared, inner.tenant.as_ref());
        }
    }

    /// Ends the call with an error of this side; the connection resets its stream.
    pub(super) fn stop(&self, code: ErrorCode, error: Error) {
        let Some(shared) = self.shared() else { return };
        let stopped = shared.lock().stop(code, error);
        stopped.finish(shared);
    }
}
