//! Why a server's handshake fails.

use std::error::Error;
use std::fmt;

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
    /// The client ended the handshake with an alert. Most likely it does not trust the server's
    /// certificate.
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
            Kind::RefusedByClient => "the client rejected it; it may not trust this server's certificate",
            Kind::Closed => "the client closed the connection",
            Kind::Tls => "client and server have no version or cipher suite in common, or the client broke TLS",
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
