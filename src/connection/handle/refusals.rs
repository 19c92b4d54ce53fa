//! What a peer that refuses streams teaches: it carries no more calls than those that it left open.

use crate::call::Permit;
use crate::call::state::{CallState, Stage};
use crate::connection::handle::Handle;

/// The peer answered a call with REFUSED_STREAM, and the connection continues.
#[derive(Debug)]
pub struct Refusal {
    /// How often the call was refused, this time included.
    pub times: u32,
    /// No other call is in flight on the connection.
    pub alone: bool,
    /// The call's permit. The owner drops it when others may have it.
    pub permit: Option<Permit>,
}

impl Handle {
    /// Returns the refusal that sends a call back: a call with a stream comes back from a connection
    /// that takes calls for this reason only. The call still holds its permit.
    ///
    /// The first refusal of a call teaches nothing: the peer may have been busy for an instant. From the
    /// second one on, the connection's limit is what is in flight there, until calls end or SETTINGS
    /// raise it. While it is so limited, a refused call gives no capacity back.
    pub(super) fn refusal(&self, x: &mut CallState) -> Option<Refusal> {
        if !matches!(x.stage(), Stage::Open(_)) || !self.is_accepting() {
            return None;
        }
        let times = x.note_refused();
        let in_flight = self.life().read().calls.saturating_sub(1);
        if in_flight > 0 && (times > 1 || self.has_learned()) {
            self.learn(in_flight);
        }
        Some(Refusal { times, alone: in_flight == 0, permit: None })
    }
}
