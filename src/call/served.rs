//! A call of a server, as its handler holds it.

use crate::call::reader::Reader;
use crate::call::state::{RecvState, SendEnd, SendState, SharedCall};
use crate::call::writer::{Closed, Writer};
use crate::error::Error;
use crate::http2::Head;
use crate::http2::hpack::Template;
use crate::memory::inflated::InflatedReservation;
use crate::rt::sync::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// One request as a handler holds it. Dropped before the answer was finished, it resets the
/// stream.
#[derive(Debug)]
pub struct ServerCall {
    call: Arc<SharedCall>,
    /// It was answered in one piece: nothing is unfinished.
    answered: AtomicBool,
    /// The charge for a whole request that was inflated, as long as its handler runs.
    inflated: OnceLock<InflatedReservation>,
}

impl ServerCall {
    /// Creates the handler's view of a call whose request head has come.
    #[must_use]
    pub fn new(call: Arc<SharedCall>) -> Self {
        Self { call, answered: AtomicBool::new(false), inflated: OnceLock::new() }
    }

    /// Reads the request's head.
    pub fn with_head<R>(&self, f: impl FnOnce(&mut Head) -> R) -> R {
        f(self.call.lock().recv_mut().head_mut())
    }

    /// Returns the deadline of the call.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.lock().deadline()
    }

    /// Sees the whole request at once; for handlers that asked for it.
    pub fn with_whole<R>(&self, f: impl FnOnce(&mut RecvState) -> R) -> R {
        f(self.call.lock().recv_mut())
    }

    /// Inflates something: `f` gets what asks the connection's budget for memory. The memory is charged
    /// until this is dropped.
    pub(crate) fn inflate<R>(&self, f: impl FnOnce(&mut dyn FnMut(usize) -> bool) -> R) -> R {
        let mut inflated = self.call.lock().inflated();
        let result = f(&mut |bytes| inflated.grow_to(bytes));
        // A handler has one whole request.
        let _ = self.inflated.set(inflated);
        result
    }

    /// Waits until the caller has given up, its deadline has passed or the connection is lost.
    pub async fn cancelled(&self) -> Error {
        self.reader().failed().await
    }

    /// The reading end.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.call))
    }

    /// The writing end.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(Arc::clone(&self.call))
    }

    /// The call itself.
    #[must_use]
    pub const fn call(&self) -> &Arc<SharedCall> {
        &self.call
    }

    /// Lends the empty buffer that [`SendState::tail`] gives, so that an
    /// answer is encoded with no lock held; `f` sees the request. To be given back by
    /// [`ServerCall::answer`], or dropped.
    pub fn lend_body<R>(&self, f: impl FnOnce(&RecvState) -> R) -> (R, Vec<u8>) {
        let mut x = self.call.lock();
        let tail = x.send_mut().tail();
        let body = if tail.is_empty() { std::mem::take(tail) } else { Vec::new() };
        (f(x.recv()), body)
    }

    /// Answers in one piece: head, body written by `body`, and the end. One lock, one notice.
    /// `body` runs under the lock: no user code.
    ///
    /// # Errors
    /// The exchange is over, or something was written before.
    pub fn answer(
        &self,
        template: Arc<Template>,
        end: SendEnd,
        body: impl FnOnce(&mut SendState),
    ) -> Result<(), Closed> {
        let mut x = self.call.lock();
        if !x.answer(template, end, body) {
            return Err(Closed);
        }
        self.answered.store(true, Ordering::Relaxed);
        self.call.tell(x);
        Ok(())
    }
}

impl Drop for ServerCall {
    fn drop(&mut self) {
        if self.answered.load(Ordering::Relaxed) {
            return;
        }
        let mut x = self.call.lock();
        if !x.abandon_answer() {
            return;
        }
        self.call.tell(x);
    }
}
