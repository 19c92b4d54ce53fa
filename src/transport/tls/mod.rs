//! TLS over any connector or listener, through rustls, with ALPN `h2` and nothing else.

mod apart;
mod client;
mod connector;
mod material;
mod misread;
mod provider;
mod server;
mod session;
mod stats;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rustls::{AlertDescription, CertificateError, CommonState, HandshakeKind, InvalidMessage};

pub use client::{ClientTls, ClientTlsBuilder};
pub use connector::TlsConnector;
pub use material::TlsConfigError;
pub use provider::Provider;
pub use server::{
    AcceptError, AcceptErrorKind, ServerTls, ServerTlsBuilder, accept, accept_either,
};
pub use session::SessionStats;
pub use stats::{Handshakes, TlsStats};

use crate::transport::connect::{ConnectErrorKind, TlsInfo};

/// RFC 9113 §3.2: the ALPN name of HTTP/2 over TLS.
const ALPN_H2: &[u8] = b"h2";
/// The generation of a configuration that was never replaced; 0 is none.
const FIRST_GENERATION: u64 = 1;

/// All but the handshake's time, which whoever counts it knows.
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

/// The rustls error inside an I/O error, if one is there.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What a TLS error met while dialling means; `None` if it is not one of TLS.
///
/// Also for reads after the handshake: in TLS 1.3 a server judges the client's certificate when the
/// client has already finished, and its alert comes with the first read.
#[must_use]
pub fn connect_error_kind(error: &io::Error) -> Option<ConnectErrorKind> {
    Some(match rustls_error(error)? {
        rustls::Error::AlertReceived(alert) => alert_kind(*alert),
        rustls::Error::InvalidCertificate(reason) => certificate_kind(reason),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => ConnectErrorKind::NotTls,
        _ => ConnectErrorKind::Tls,
    })
}

fn alert_kind(alert: AlertDescription) -> ConnectErrorKind {
    use AlertDescription as Alert;
    match alert {
        Alert::NoApplicationProtocol => ConnectErrorKind::AlpnRefused,
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => ConnectErrorKind::ClientCertificate,
        _ => ConnectErrorKind::Tls,
    }
}

fn certificate_kind(reason: &CertificateError) -> ConnectErrorKind {
    use CertificateError as Reason;
    match reason {
        Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
            ConnectErrorKind::CertificateName
        }
        Reason::Expired
        | Reason::ExpiredContext { .. }
        | Reason::NotValidYet
        | Reason::NotValidYetContext { .. }
        | Reason::Revoked => ConnectErrorKind::CertificateExpired,
        Reason::UnknownIssuer | Reason::BadSignature => ConnectErrorKind::CertificateUntrusted,
        _ => ConnectErrorKind::Tls,
    }
}
