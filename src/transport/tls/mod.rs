//! TLS over any connector or listener, through rustls, with ALPN `h2` and nothing else.

mod accept_error;
mod apart;
mod client;
mod connector;
mod current;
mod material;
mod misread;
mod provider;
pub(super) mod rustls_error;
mod server;
mod session;
mod stats;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use rustls::{CommonState, HandshakeKind};

pub use accept_error::{AcceptError, AcceptErrorKind};
pub use client::{ClientTls, ClientTlsBuilder};
pub use connector::TlsConnector;
pub use material::TlsConfigError;
pub use provider::Provider;
pub use rustls_error::connect_error_kind;
pub use server::{ServerTls, ServerTlsBuilder, accept, accept_either};
pub use session::SessionStats;
pub use stats::{Handshakes, TlsStats};

use crate::transport::connect::TlsInfo;

/// RFC 9113 §3.2: the ALPN name of HTTP/2 over TLS.
const ALPN_H2: &[u8] = b"h2";
/// The generation of a configuration that was never replaced; 0 is none.
const FIRST_GENERATION: u64 = 1;

/// Everything except the handshake's time, which the caller measures.
fn info_of(session: &CommonState, generation: u64) -> TlsInfo {
    let certificates = session.peer_certificates().unwrap_or_default();
    let version = session.protocol_version().and_then(|version| version.as_str());
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    TlsInfo {
        generation,
        handshake: Duration::ZERO,
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        version: version.unwrap_or("unknown"),
        cipher: suite.unwrap_or("unknown"),
        alpn: session.alpn_protocol().map(Bytes::copy_from_slice),
        peer_certificates: certificates.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
    }
}
