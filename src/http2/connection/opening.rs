//! What an endpoint says first: the preface, its SETTINGS and the window of the connection.

use crate::http2::connection::{PREFACE, Role};
use crate::http2::flow::RecvWindow;
use crate::http2::frame::write;
use crate::http2::limits::Limits;
use crate::http2::settings::{DEFAULT_WINDOW, Settings};
use crate::http2::stream_id::StreamId;

/// Returns the first bytes of a server with these limits, for a transport that sends them before the
/// connection exists. What [`Connection::start`](super::Connection::start) then writes is discarded.
#[must_use]
pub fn server_opening(limits: &Limits) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(Role::Server, limits, &mut bytes);
    bytes
}

/// Returns the settings that an endpoint with these limits announces (RFC 9113 §6.5.2).
pub(super) fn settings(role: Role, limits: &Limits) -> Settings {
    let server = role == Role::Server;
    Settings {
        header_table_size: limits.header_table_bytes as u32,
        // RFC 9113 §6.5.2: a client switches push off, a server must not name it on
        enable_push: server,
        max_concurrent_streams: server.then_some(limits.concurrent_streams),
        initial_window_size: limits.stream_window,
        max_frame_size: limits.frame_bytes,
        max_header_list_size: Some(limits.header_list_bytes as u32),
    }
}

/// Writes the preface, the SETTINGS and the window of the connection (RFC 9113 §3.4), and returns that
/// window.
pub(super) fn write(role: Role, limits: &Limits, into: &mut Vec<u8>) -> RecvWindow {
    if role == Role::Client {
        into.extend_from_slice(PREFACE);
    }
    write::settings(into, settings(role, limits).entries());
    let mut window = RecvWindow::new(DEFAULT_WINDOW);
    // RFC 9113 §6.9.2: only WINDOW_UPDATE changes the connection's window
    window.grow(limits.connection_window);
    let increment = window.flush();
    if increment > 0 {
        write::window_update(into, StreamId::CONNECTION, increment);
    }
    window
}
