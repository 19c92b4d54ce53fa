//! Why a server's handshake fails.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;

use crate::transport::sniff;
use crate::transport::tls::certificate_error::{explain, refusal};
use crate::transport::tls::rustls_error::rustls_error;

/// The reason why a handshake with a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptErrorKind {
    /// The client sent the HTTP/2 preface in plaintext.
    PlaintextHttp2,
    /// The client sent an HTTP/1 request in plaintext.
    PlaintextHttp1,
    /// The client sent bytes that are neither TLS nor HTTP.
    NotTls,
    /// The client offered no ALPN (RFC 9113 §3.2).
    AlpnMissing,
    /// The client offered ALPN without `h2` (RFC 9113 §3.2).
    AlpnMismatch,
    /// The client sent no certificate, and one is required.
    ClientCertificateMissing,
    /// The client's certificate is not valid here.
    ClientCertificateInvalid,
    /// The session was resumed, and the client's certificate is no longer valid here.
    ResumedIdentityInvalid,
    /// The client did not accept the server's certificate.
    RefusedServerCertificate,
    /// The client ended the handshake with another alert.
    RefusedByClient,
    /// The client closed the connection.
    Closed,
    /// The handshake failed for another reason.
    Tls,
}

/// The error of a failed handshake. `Display` prints one line with reason and source.
#[derive(Debug)]
pub struct AcceptError {
    kind: AcceptErrorKind,
    /// Replaces the text of `source`.
    detail: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl AcceptError {
    pub(super) const fn new(kind: AcceptErrorKind) -> Self {
        Self { kind, detail: None, source: None }
    }

    pub(super) fn caused(kind: AcceptErrorKind, error: rustls::Error) -> Self {
        Self { kind, detail: detail_of(&error), source: Some(error.into()) }
    }

    /// The error of a stream that failed; `head` is what the client sent first.
    pub(super) fn from_io(error: io::Error, head: &[u8]) -> Self {
        let kind = kind_of(&error, head);
        Self { kind, detail: rustls_error(&error).and_then(detail_of), source: Some(error.into()) }
    }

    /// Returns the reason.
    #[must_use]
    pub const fn kind(&self) -> AcceptErrorKind {
        self.kind
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AcceptErrorKind as Kind;
        f.write_str("TLS handshake failed: ")?;
        f.write_str(match self.kind {
            Kind::PlaintextHttp2 => {
                "the client sent plaintext HTTP/2 to a TLS listener; it should use https://"
            }
            Kind::PlaintextHttp1 => "the client sent plaintext HTTP/1 to a TLS listener; it should use https:// and HTTP/2",
            Kind::NotTls => "the client sent bytes that are neither TLS nor HTTP; check its target",
            Kind::AlpnMissing => "the client offered no ALPN protocol; it must offer h2",
            Kind::AlpnMismatch => "the client offered ALPN protocols without h2; it must offer h2",
            Kind::ClientCertificateMissing => "the client sent no certificate, and this server requires one",
            Kind::ClientCertificateInvalid => "the client's certificate is not valid here",
            Kind::ResumedIdentityInvalid => {
                "the certificate of the resumed client is no longer valid here"
            }
            Kind::RefusedByClient => "the client ended it with an alert",
            Kind::RefusedServerCertificate => "the client did not accept this server's certificate",
            Kind::Closed => "the client closed the connection",
            Kind::Tls => "client and server have no version or cipher suite in common, or the client broke TLS",
        })?;
        match (&self.detail, &self.source) {
            (Some(detail), _) => write!(f, ": {detail}"),
            (None, Some(source)) => write!(f, ": {source}"),
            (None, None) => Ok(()),
        }
    }
}

impl Error for AcceptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn detail_of(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::AlertReceived(alert) => {
            refusal(*alert).map(|text| format!("{text} (alert {alert:?})"))
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("none of the client roots has signed it".to_owned())
        }
        error => explain(error),
    }
}

fn kind_of(error: &io::Error, head: &[u8]) -> AcceptErrorKind {
    match rustls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) if sniff::looks_like_http2_preface(head) => {
            AcceptErrorKind::PlaintextHttp2
        }
        Some(rustls::Error::InvalidMessage(_)) if sniff::looks_like_http1(head) => {
            AcceptErrorKind::PlaintextHttp1
        }
        Some(rustls::Error::InvalidMessage(_)) if !sniff::looks_like_tls_client_hello(head) => {
            AcceptErrorKind::NotTls
        }
        Some(rustls::Error::NoApplicationProtocol) => AcceptErrorKind::AlpnMismatch,
        Some(rustls::Error::NoCertificatesPresented) => AcceptErrorKind::ClientCertificateMissing,
        Some(rustls::Error::InvalidCertificate(_)) => AcceptErrorKind::ClientCertificateInvalid,
        Some(rustls::Error::AlertReceived(alert)) if refusal(*alert).is_some() => {
            AcceptErrorKind::RefusedServerCertificate
        }
        Some(rustls::Error::AlertReceived(_)) => AcceptErrorKind::RefusedByClient,
        Some(_) => AcceptErrorKind::Tls,
        None => AcceptErrorKind::Closed,
    }
}
