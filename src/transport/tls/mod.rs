//! TLS on rustls, over any connector or listener. ALPN is always `h2` (RFC 9113 §3.2).
//!
//! [`ClientTls`] is for channels and [`ServerTls`] for servers:
//!
//! ```
//! # #[cfg(all(feature = "client", feature = "server"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use framewire::{Method, Raw, Response, server::Router, transport::in_memory};
//! # const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
//! # let router = Router::new().unary(&ECHO, |_context, request| async { Ok(Response::new(request)) });
//! # let own = rcgen::generate_simple_self_signed(vec!["echo.local".to_owned()])?;
//! # let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
//! use framewire::client::Channel;
//! use framewire::server::Server;
//! use framewire::tls::{ClientTls, ServerTls};
//!
//! // `chain` and `key` are PEM texts of a certificate for `echo.local`.
//! let server_tls = ServerTls::builder().identity_pem(&chain, &key).build()?;
//! let client_tls = ClientTls::builder().roots_pem(&chain).build()?;
//!
//! let (connector, listener) = in_memory(64 * 1024);
//! let server = Server::builder(router).tls(server_tls).serve(listener)?;
//! let channel = Channel::builder("https://echo.local")
//!     .connector(connector)
//!     .tls(client_tls.clone())
//!     .build()?;
//! let response = channel.unary(&ECHO, Raw(b"hello".as_slice().into())).await?;
//! assert_eq!(response.into_inner().0, b"hello".as_slice());
//! assert_eq!(client_tls.stats().full.count, 1);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "client", feature = "server")))]
//! # fn main() {}
//! ```

mod accept;
mod accept_error;
mod apart;
mod certificate_error;
mod client;
mod connector;
mod current;
mod material;
mod pem;

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

pub(crate) use accept::{FirstByte, Rejected, Secured, accept_speaking, read_kind};
pub use accept::{accept, accept_either};
pub use accept_error::{AcceptError, AcceptErrorKind};
pub use client::{ClientTls, ClientTlsBuilder};
pub use connector::TlsConnector;
pub use material::TlsConfigError;
pub use provider::Provider;
pub use rustls_error::connect_error_kind;
pub use server::{ServerTls, ServerTlsBuilder};
pub use session::SessionStats;
pub use stats::{Handshakes, TlsStats};

use crate::transport::info::TlsInfo;

/// The ALPN name of HTTP/2 over TLS (RFC 9113 §3.2).
const ALPN_H2: &[u8] = b"h2";
/// The generation of a configuration that was never replaced; 0 means no TLS.
const FIRST_GENERATION: u64 = 1;

/// Returns the facts of a finished handshake except its duration, which the caller measures.
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
