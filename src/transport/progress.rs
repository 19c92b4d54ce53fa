//! How far a dial has come: connectors say it as they go, whoever looks at the channel sees it.

use crate::rt::sync::{AtomicU8, Ordering};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The step of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectPhase {
    /// Name to addresses.
    Resolve,
    /// Opening the socket.
    Socket,
    /// The TLS handshake.
    Tls,
    /// Preface and first SETTINGS.
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

/// The step of a dial. Clones tell of the same dial; the default tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<Arc<AtomicU8>>);

impl Progress {
    /// Somebody watches.
    #[must_use]
    pub fn watched() -> Self {
        Self(Some(Arc::new(AtomicU8::new(ConnectPhase::Resolve as u8))))
    }

    /// The dial is at this step now.
    pub fn enter(&self, phase: ConnectPhase) {
        if let Some(said) = &self.0 {
            said.store(phase as u8, Ordering::Relaxed);
        }
    }

    /// The step that was said last; the first one before that.
    #[must_use]
    pub fn phase(&self) -> ConnectPhase {
        let said = self.0.as_ref().map(|said| said.load(Ordering::Relaxed));
        let all = [ConnectPhase::Socket, ConnectPhase::Tls, ConnectPhase::Http2];
        all.into_iter().find(|phase| Some(*phase as u8) == said).unwrap_or(ConnectPhase::Resolve)
    }
}

/// All are alike: what is dialled does not depend on who watches.
impl PartialEq for Progress {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Progress {}

impl Hash for Progress {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
