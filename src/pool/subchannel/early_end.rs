//! Why a connection ended before the peer's SETTINGS, as the error of a failed dial.

use crate::connection::handle::{DisconnectReason, EarlyEnd};
use crate::error::Error;
use crate::transport::connect::{ConnectError, ConnectErrorKind, ConnectPhase, Target};
use crate::transport::target::Scheme;

/// Bytes from which on the first frame was read: a frame header's.
const FRAME: usize = 9;

/// What is known of the end.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) early: EarlyEnd,
    pub(super) error: Option<Error>,
    pub(super) reason: DisconnectReason,
}

impl End {
    /// Returns it as an error of the dial to `target`.
    pub(super) fn into_error(self, target: &Target) -> ConnectError {
        let EarlyEnd { io, heard } = self.early;
        let new = |kind| ConnectError::new(kind, ConnectPhase::Http2, target);
        let text = |error: ConnectError| match &self.error {
            Some(why) => error.with_detail(why.status().message()),
            None => error,
        };
        match io {
            _ if is_tls(&heard) => new(ConnectErrorKind::NotPlaintext),
            _ if heard.starts_with(b"HTTP/1.") => new(ConnectErrorKind::Http1),
            _ if is_not_settings(&heard) => text(new(ConnectErrorKind::NotHttp2)),
            Some(error) => ConnectError::from_shared(ConnectPhase::Http2, target, error),
            None if self.error.as_ref().is_some_and(|error| error.h2_code().is_some()) => {
                text(new(ConnectErrorKind::BrokenHttp2))
            }
            None if self.reason == DisconnectReason::TimedOut => {
                text(new(ConnectErrorKind::TimedOut))
            }
            // The kind says all that the connection's error says.
            None if self.reason == DisconnectReason::Aborted
                && heard.is_empty()
                && is_plain(target) =>
            {
                new(ConnectErrorKind::Closed)
                    .with_detail("it sent nothing; if it is a TLS server, use https://")
            }
            None if self.reason == DisconnectReason::Aborted => new(ConnectErrorKind::Closed),
            None => text(new(ConnectErrorKind::Closed)),
        }
    }
}

/// Many TLS servers close a connection that begins in plaintext, without an alert.
fn is_plain(target: &Target) -> bool {
    target.scheme() == Scheme::Http && target.unix_path().is_none()
}

/// The first frame is there, and it is no SETTINGS.
fn is_not_settings(heard: &[u8]) -> bool {
    // RFC 9113 §3.4: SETTINGS is the first frame; its type, 4, is the fourth byte
    heard.len() >= FRAME && heard.get(3) != Some(&4)
}

/// A TLS record of an alert or a handshake.
fn is_tls(heard: &[u8]) -> bool {
    // RFC 8446 §5.1: content types 21 and 22, a version of major 3
    matches!(heard, [0x15 | 0x16, 0x03, ..])
}
