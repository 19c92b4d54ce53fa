//! Why a server's handshake fails.

use std::error::Error;
use std::fmt;

/// Why a server's TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptErrorKind {
    /// It sent the HTTP/2 preface in plaintext.
    PlaintextHttp2,
    /// It sent an HTTP/1 request in plaintext.
    PlaintextHttp1,
    /// It sent something that is neither TLS nor HTTP.
    NotTls,
    /// It offered no ALPN.
    AlpnMissing,
    /// It offered ALPN without `h2`.
    AlpnMismatch,
    /// It showed no certificate, and one is required.
    ClientCertificateMissing,
    /// Its certificate is not valid here.
    ClientCertificateInvalid,
    /// Its session was resumed, and its certificate is not valid here any more.
    ResumedIdentityInvalid,
    /// It ended the handshake with an alert: it does not trust our certificate, most likely.
    RefusedByClient,
    /// It closed the connection.
    Closed,
    /// The handshake failed for another reason.
    Tls,
}

/// The error of a failed handshake on a server. `Display` is one line and includes the cause.
#[derive(Debug)]
pub struct AcceptError {
    kind: AcceptErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl AcceptError {
    pub(super) const fn new(kind: AcceptErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn caused(
        kind: AcceptErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// Returns why the handshake failed.
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
            Kind::PlaintextHttp1 => "the client sent plaintext HTTP/1 to a TLS listener",
            Kind::NotTls => "the client does not speak TLS",
            Kind::AlpnMissing => "the client offered no ALPN; gRPC over TLS needs h2",
            Kind::AlpnMismatch => "the client's ALPN offer lacks h2",
            Kind::ClientCertificateMissing => "the client showed no certificate, one is required",
            Kind::ClientCertificateInvalid => "the client's certificate is not valid here",
            Kind::ResumedIdentityInvalid => {
                "the resumed client's certificate is not valid here any more"
            }
            Kind::RefusedByClient => "the client ended it, this server's certificate may be why",
            Kind::Closed => "the client left",
            Kind::Tls => "the client and this server could not agree",
        })?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for AcceptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
