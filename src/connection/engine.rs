//! The interface for another HTTP/2 engine: what drives a connection instead of this crate's driver.
//!
//! Calls cross it as calls and nothing else does: an engine takes calls from its [`Intake`], reads
//! what callers wrote to [`CallState::send`](crate::call::state::CallState::send), makes the transitions of
//! [`carrier`](crate::call::state::carrier), wakes readers and writers, and ends each call once, with
//! [`CallState::complete`](crate::call::state::CallState::complete),
//! [`CallState::fail`](crate::call::state::CallState::fail) or [`Intake::send_back`].
//! `spec-notes/decisions/0006-engine-seam.md` lists what an engine owes.
//!
//! The crate's own driver does not pass through here: who configures no engine pays one check a
//! connection.

use crate::call::state::SharedCall;
use crate::connection::dispatch::Dispatch;
use crate::connection::driver::{Delivered, Drain};
use crate::connection::handle::{ConnectionEvent, DisconnectReason, Handle};
use crate::connection::options::ConnectionOptions;
use crate::error::Error;
use crate::transport::io::BoxedIo;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The task of one connection. It ends when the connection is over; dropped before, it closes the
/// connection.
pub type EngineTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The HTTP/2 implementation of a channel or server.
///
/// Default [`Engine::builtin`]. Other implementations come from crates or features that provide
/// one; the trait behind it is not stable.
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use framewire::Engine;
/// use framewire::client::Channel;
///
/// let channel = Channel::builder("http://echo.local").engine(Engine::builtin()).build()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug, Default)]
pub struct Engine(Option<Arc<dyn ConnectionEngine>>);

impl Engine {
    /// Returns this crate's own engine.
    #[must_use]
    pub const fn builtin() -> Self {
        Self(None)
    }

    /// Returns the other implementation, if it is not the crate's own.
    pub(crate) const fn foreign(&self) -> Option<&Arc<dyn ConnectionEngine>> {
        self.0.as_ref()
    }
}

/// Returns an [`Engine`] that drives connections with `engine`.
#[must_use]
pub fn custom(engine: impl ConnectionEngine) -> Engine {
    Engine(Some(Arc::new(engine)))
}

/// Speaks HTTP/2 on the connections of a channel or of a server.
pub trait ConnectionEngine: fmt::Debug + Send + Sync + 'static {
    /// Drives a connection that a channel has dialled.
    fn client(&self, io: BoxedIo, intake: Intake, options: ConnectionOptions) -> EngineTask;

    /// Drives a connection that a server has accepted; `dispatch` says who serves a request.
    fn server(
        &self,
        io: BoxedIo,
        intake: Intake,
        options: ConnectionOptions,
        dispatch: Arc<dyn Dispatch>,
    ) -> EngineTask;
}

/// An engine's end of one connection: calls come out of it, and go back.
///
/// Dropped before [`Intake::close`], as when a runtime ends, it ends the calls that no engine has
/// taken; those that were taken are the engine's.
#[derive(Debug)]
pub struct Intake {
    handle: Arc<Handle>,
    drain: Option<Arc<Drain>>,
    inbox: VecDeque<Arc<SharedCall>>,
    over: bool,
}

impl Intake {
    pub(crate) fn new(handle: Arc<Handle>, drain: Option<Arc<Drain>>) -> Self {
        if let Some(drain) = &drain {
            drain.join(&handle);
        }
        Self { handle, drain, inbox: VecDeque::new(), over: false }
    }

    /// The connection as its callers see it.
    #[must_use]
    pub const fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The next call with news: a call to be begun, more to send, bytes read, a call cancelled.
    /// A call that the engine knows is told apart by its address, which is its own as long as
    /// the engine holds it. Pending also covers [`Intake::is_goodbye`] and [`Intake::grace`]:
    /// their change wakes.
    pub fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Arc<SharedCall>> {
        self.handle.mailbox().unpark();
        loop {
            while let Some(call) = self.inbox.pop_front() {
                let id = self.handle.id();
                let mut x = call.lock();
                x.taken(id);
                let (over, ours) = (x.is_over(), x.is_carried_by(id));
                let permit = if over { x.take_counted() } else { None };
                drop(x);
                drop(permit);
                if ours && !over {
                    return Poll::Ready(call);
                }
            }
            self.handle.mailbox().drain(&mut self.inbox);
            if self.inbox.is_empty() && self.handle.mailbox().park(cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// The peer's SETTINGS have come. To be said once. Calls that are more than the peer allows wait
    /// with the engine.
    pub fn ready(&self) {
        self.handle.set_limit(None);
        self.handle.set_ready();
        self.tell_owner(ConnectionEvent::Ready);
    }

    /// The connection takes no new calls: GOAWAY came, or identifiers run out. Calls that come all the same
    /// are sent back.
    pub fn draining(&self) {
        self.handle.stop_accepting();
        self.tell_owner(ConnectionEvent::Draining);
    }

    /// Streams at work, for those who look at the handle.
    pub fn set_streams(&self, streams: u32) {
        self.handle.set_streams(streams);
    }

    /// Sets whether readers report every byte that they read. Otherwise a reader reports once an eighth
    /// of a stream window, at most 32 KiB, is read: too late where the connection's window is
    /// smaller than what all streams may hold back.
    pub fn set_report_at_once(&self, at_once: bool) {
        self.handle.set_report_at_once(at_once);
    }

    /// Whether the channel is gone: the connection closes once its last call has ended.
    #[must_use]
    pub fn is_goodbye(&self) -> bool {
        self.handle.is_goodbye()
    }

    /// Whether the calls that are left are cut: they fail with
    /// [`Kind::Shutdown`](crate::error::Kind::Shutdown), their streams are reset with CANCEL. Its change
    /// wakes.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.handle.is_cut()
    }

    /// When a server that drains cuts what is left; `None` while it does not drain.
    #[must_use]
    pub fn grace(&self) -> Option<Instant> {
        self.drain.as_ref()?.wanted().map(|(_, hard)| hard)
    }

    /// Streams that were cut because the grace had ended.
    pub fn cut(&self, streams: usize) {
        if let Some(drain) = &self.drain {
            drain.cut(streams);
        }
    }

    /// Sends a call that the peer has surely not processed to where it came from; there it finds
    /// another connection. If its request is not kept, it fails with `otherwise`.
    pub fn send_back(&self, call: Arc<SharedCall>, otherwise: Error) {
        self.handle.send_back(call, true, |_| otherwise);
    }

    /// The connection is over, and every call that was taken has been let go. Calls that were not
    /// taken find another connection.
    pub fn close(mut self, error: Option<Error>) {
        self.over = true;
        self.handle.stop_accepting();
        let mut left = std::mem::take(&mut self.inbox);
        left.append(&mut self.handle.mailbox().close());
        self.handle.settle(left);
        self.leave(error);
    }

    fn leave(&self, error: Option<Error>) {
        if let Some(drain) = &self.drain {
            drain.leave(&self.handle, Delivered::All);
        }
        let ending =
            if error.is_some() { DisconnectReason::Aborted } else { DisconnectReason::Shutdown };
        self.tell_owner(ConnectionEvent::Closed(error, ending));
        self.tell_owner(ConnectionEvent::SocketClosed);
    }

    fn tell_owner(&self, change: ConnectionEvent) {
        if let Some(home) = self.handle.owner() {
            home.changed(&self.handle, change);
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.handle.stop_accepting();
        let mut left = std::mem::take(&mut self.inbox);
        left.append(&mut self.handle.mailbox().close());
        self.handle.end_left(left);
        self.leave(Some(self.handle.task_ended()));
    }
}
