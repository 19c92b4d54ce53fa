//! The step that a dial is at: connectors report it, statistics read it.

use crate::rt::sync::{AtomicU8, Ordering};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A step of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectPhase {
    /// Resolving the name to addresses.
    Resolve,
    /// Opening the socket.
    Socket,
    /// The TLS handshake.
    Tls,
    /// Waiting for the peer's first SETTINGS.
    Http2,
}

impl fmt::Display for ConnectPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Socket => "opening the socket",
            Self::Tls => "the TLS handshake",
            Self::Http2 => "waiting for the first SETTINGS",
        })
    }
}

/// The step that a dial is at. Clones refer to the same dial; the default is not read by anyone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Option<Arc<AtomicU8>>);

impl Progress {
    /// Returns a value that can be read.
    pub(crate) fn watched() -> Self {
        Self(Some(Arc::new(AtomicU8::new(ConnectPhase::Resolve as u8))))
    }

    /// Notes the step that begins.
    pub(crate) fn enter(&self, phase: ConnectPhase) {
        if let Some(step) = &self.0 {
            step.store(phase as u8, Ordering::Relaxed);
        }
    }

    /// Returns the step that began last; before that, the first one.
    pub(crate) fn phase(&self) -> ConnectPhase {
        let now = self.0.as_ref().map(|step| step.load(Ordering::Relaxed));
        let all = [ConnectPhase::Socket, ConnectPhase::Tls, ConnectPhase::Http2];
        all.into_iter().find(|phase| Some(*phase as u8) == now).unwrap_or(ConnectPhase::Resolve)
    }
}

/// All are equal: two targets are the same whether or not their dials are watched.
impl PartialEq for Progress {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Progress {}

impl Hash for Progress {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
