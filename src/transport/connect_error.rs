//! Why a dial failed, and which side has to act.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use crate::transport::connect_error_kind::ConnectErrorKind;
pub(crate) use crate::transport::progress::ConnectPhase;
use crate::transport::target::Target;

/// The side that has to act on a failed dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// This side: its configuration, its credentials or its machine.
    Client,
    /// The other side.
    Server,
    /// The network between them, or the cause is unknown.
    Network,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Network => "network",
        })
    }
}

/// The error of a failed dial.
///
/// `Display` is one line: target, step, reason, the side that has to act, cause. The cause is also
/// `source()`.
#[derive(Debug)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    phase: ConnectPhase,
    target: String,
    detail: Option<String>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ConnectError {
    /// Returns an error without a cause.
    #[must_use]
    pub fn new(kind: ConnectErrorKind, phase: ConnectPhase, target: &Target) -> Self {
        Self { kind, phase, target: target.to_string(), detail: None, source: None }
    }

    /// Sets the cause, which becomes `source()`.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Sets a clause of the message that replaces the text of the cause.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Returns the error of a dial that was abandoned after `limit`.
    #[must_use]
    pub fn timed_out(phase: ConnectPhase, target: &Target, limit: Duration) -> Self {
        Self::new(ConnectErrorKind::TimedOut, phase, target)
            .with_detail(format!("given up after {limit:?}"))
    }

    /// Returns the error of a socket that could not be opened or that failed. A TLS error inside
    /// `error` decides the kind.
    #[must_use]
    pub fn from_io(phase: ConnectPhase, target: &Target, error: io::Error) -> Self {
        Self::from_shared(phase, target, Arc::new(error))
    }

    /// As [`ConnectError::from_io`], of an error that others hold as well.
    pub(crate) fn from_shared(phase: ConnectPhase, target: &Target, error: Arc<io::Error>) -> Self {
        let (kind, detail) = (kind_of(&error), detail_of(&error));
        Self { detail, source: Some(error), ..Self::new(kind, phase, target) }
    }

    /// Returns what failed.
    #[must_use]
    pub const fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// Returns whether the server speaks no HTTP/2: [`ConnectErrorKind::is_not_http2`].
    #[must_use]
    pub const fn is_not_http2(&self) -> bool {
        self.kind.is_not_http2()
    }

    /// Returns the step that failed.
    #[must_use]
    pub const fn phase(&self) -> ConnectPhase {
        self.phase
    }

    /// Returns the target as `Display` prints it.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the side that has to act.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        use ConnectErrorKind as Kind;
        match self.kind {
            Kind::Local | Kind::Unsupported | Kind::Resolve | Kind::ClientCertificate => {
                Fault::Client
            }
            Kind::Unreachable | Kind::TimedOut | Kind::Closed | Kind::Other => Fault::Network,
            Kind::Refused
            | Kind::Tls
            | Kind::NotTls
            | Kind::AlpnHttp11
            | Kind::AlpnNone
            | Kind::AlpnRefused
            | Kind::AlpnOther
            | Kind::Http1
            | Kind::NotHttp2
            | Kind::BrokenHttp2
            | Kind::CertificateName
            | Kind::CertificateInvalid
            | Kind::CertificateExpired => Fault::Server,
            // Either the chain is wrong or the roots are; the roots are ours to look at first.
            Kind::CertificateUntrusted | Kind::NotPlaintext => Fault::Client,
        }
    }

    /// Whether it may pass by itself. Wrong certificates, wrong protocols and wrong targets do not:
    /// somebody has to change a configuration.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        use ConnectErrorKind as Kind;
        matches!(
            self.kind,
            Kind::Resolve
                | Kind::Refused
                | Kind::Unreachable
                | Kind::TimedOut
                | Kind::Closed
                | Kind::Local
                | Kind::Other
        )
    }

    /// The reason and its cause.
    pub(crate) fn cause(&self) -> String {
        let reason = Self::reason_of(self.kind);
        match (&self.detail, &self.source) {
            (Some(detail), _) => format!("{reason}: {detail}"),
            (None, Some(source)) => format!("{reason}: {}", source),
            (None, None) => reason.to_owned(),
        }
    }

    const fn reason_of(kind: ConnectErrorKind) -> &'static str {
        use ConnectErrorKind as Kind;
        match kind {
            Kind::Resolve => "the name could not be resolved",
            Kind::Refused => "connection refused, nothing listens there",
            Kind::Unreachable => "there is no route to the host",
            Kind::TimedOut => "no answer in time",
            Kind::Closed => "the peer closed the connection",
            Kind::Local => "this machine could not open a socket",
            Kind::Unsupported => "this connector cannot dial such a target",
            Kind::Tls => "TLS failed",
            Kind::NotTls => {
                "the server does not speak TLS on this port; use http:// if it is a plaintext \
                 server"
            }
            Kind::AlpnHttp11 => {
                "the server chose http/1.1 by ALPN; gRPC needs HTTP/2, enable h2 on the server"
            }
            Kind::AlpnNone => {
                "the server chose no protocol by ALPN; gRPC needs HTTP/2, enable ALPN h2 on the \
                 server"
            }
            Kind::AlpnRefused => {
                "the server refused ALPN h2 (alert 120, no_application_protocol); gRPC needs \
                 HTTP/2, enable h2 on the server"
            }
            Kind::AlpnOther => "the server chose a protocol by ALPN that was not offered",
            Kind::NotPlaintext => {
                "the server speaks TLS on this port; use https:// if it is a TLS server"
            }
            Kind::Http1 => "the server answered in HTTP/1; gRPC needs HTTP/2",
            Kind::NotHttp2 => "the server's first bytes are not HTTP/2",
            Kind::BrokenHttp2 => "the server's first frames are not allowed",
            Kind::CertificateName => "the server's certificate is not valid for this name",
            Kind::CertificateUntrusted => {
                "the server's certificate is not signed by a trusted root; add its root to the \
                 client's if it is right"
            }
            Kind::CertificateExpired => "the server's certificate is not valid at this time",
            Kind::CertificateInvalid => "the server's certificate cannot be used",
            Kind::ClientCertificate => {
                "the server did not accept the client's certificate, or got none"
            }
            Kind::Other => "the connection failed",
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to {} ({}): {}", self.target, self.phase, self.cause())?;
        write!(f, " [fault: {}]", self.fault())
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Returns why a server refused this client's certificate, if that is what `error` says.
///
/// A server may send SETTINGS before it looks at the certificate, so that its alert reaches a connection
/// that is in use.
pub(crate) fn refusal_of(error: &io::Error) -> Option<String> {
    if kind_of(error) != ConnectErrorKind::ClientCertificate {
        return None;
    }
    let reason = ConnectError::reason_of(ConnectErrorKind::ClientCertificate);
    Some(detail_of(error).map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}")))
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn detail_of(error: &io::Error) -> Option<String> {
    crate::transport::tls::rustls_error::connect_error_detail(error)
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
const fn detail_of(_: &io::Error) -> Option<String> {
    None
}

fn kind_of(error: &io::Error) -> ConnectErrorKind {
    use io::ErrorKind as Io;
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    if let Some(kind) = crate::transport::tls::rustls_error::connect_error_kind(error) {
        return kind;
    }
    match error.kind() {
        Io::ConnectionRefused => ConnectErrorKind::Refused,
        // A Unix socket's path that does not exist is a server that does not run.
        Io::NotFound => ConnectErrorKind::Refused,
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => {
            ConnectErrorKind::Unreachable
        }
        Io::TimedOut => ConnectErrorKind::TimedOut,
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => {
            ConnectErrorKind::Closed
        }
        Io::PermissionDenied
        | Io::AddrInUse
        | Io::AddrNotAvailable
        | Io::OutOfMemory
        | Io::ResourceBusy => ConnectErrorKind::Local,
        // EMFILE and ENFILE have no kind of their own; the numbers are the same on every Unix.
        _ if cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24)) => ConnectErrorKind::Local,
        _ => ConnectErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::connect_error::ConnectErrorKind as Kind;
    use crate::transport::connect_error::*;

    fn target() -> Target {
        Target::parse("https://a.example").unwrap()
    }

    /// Every kind's line, word for word: users search for these.
    const GOLDEN: &[(Kind, ConnectPhase, &str)] = &[
        (
            Kind::Resolve,
            ConnectPhase::Resolve,
            "cannot connect to https://a.example:443 (resolving the name): the name could not be resolved: cause [fault: client]",
        ),
        (
            Kind::Refused,
            ConnectPhase::Socket,
            "cannot connect to https://a.example:443 (opening the socket): connection refused, nothing listens there: cause [fault: server]",
        ),
        (
            Kind::Unreachable,
            ConnectPhase::Socket,
            "cannot connect to https://a.example:443 (opening the socket): there is no route to the host: cause [fault: network]",
        ),
        (
            Kind::TimedOut,
            ConnectPhase::Http2,
            "cannot connect to https://a.example:443 (waiting for the first SETTINGS): no answer in time: cause [fault: network]",
        ),
        (
            Kind::Closed,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the peer closed the connection: cause [fault: network]",
        ),
        (
            Kind::Local,
            ConnectPhase::Socket,
            "cannot connect to https://a.example:443 (opening the socket): this machine could not open a socket: cause [fault: client]",
        ),
        (
            Kind::Unsupported,
            ConnectPhase::Socket,
            "cannot connect to https://a.example:443 (opening the socket): this connector cannot dial such a target: cause [fault: client]",
        ),
        (
            Kind::Tls,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): TLS failed: cause [fault: server]",
        ),
        (
            Kind::NotTls,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server does not speak TLS on this port; use http:// if it is a plaintext server: cause [fault: server]",
        ),
        (
            Kind::AlpnHttp11,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server chose http/1.1 by ALPN; gRPC needs HTTP/2, enable h2 on the server: cause [fault: server]",
        ),
        (
            Kind::AlpnNone,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server chose no protocol by ALPN; gRPC needs HTTP/2, enable ALPN h2 on the server: cause [fault: server]",
        ),
        (
            Kind::AlpnRefused,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server refused ALPN h2 (alert 120, no_application_protocol); gRPC needs HTTP/2, enable h2 on the server: cause [fault: server]",
        ),
        (
            Kind::AlpnOther,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server chose a protocol by ALPN that was not offered: cause [fault: server]",
        ),
        (
            Kind::NotPlaintext,
            ConnectPhase::Http2,
            "cannot connect to https://a.example:443 (waiting for the first SETTINGS): the server speaks TLS on this port; use https:// if it is a TLS server: cause [fault: client]",
        ),
        (
            Kind::Http1,
            ConnectPhase::Http2,
            "cannot connect to https://a.example:443 (waiting for the first SETTINGS): the server answered in HTTP/1; gRPC needs HTTP/2: cause [fault: server]",
        ),
        (
            Kind::NotHttp2,
            ConnectPhase::Http2,
            "cannot connect to https://a.example:443 (waiting for the first SETTINGS): the server's first bytes are not HTTP/2: cause [fault: server]",
        ),
        (
            Kind::CertificateName,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server's certificate is not valid for this name: cause [fault: server]",
        ),
        (
            Kind::CertificateUntrusted,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server's certificate is not signed by a trusted root; add its root to the client's if it is right: cause [fault: client]",
        ),
        (
            Kind::CertificateExpired,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server's certificate is not valid at this time: cause [fault: server]",
        ),
        (
            Kind::CertificateInvalid,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server's certificate cannot be used: cause [fault: server]",
        ),
        (
            Kind::ClientCertificate,
            ConnectPhase::Tls,
            "cannot connect to https://a.example:443 (the TLS handshake): the server did not accept the client's certificate, or got none: cause [fault: client]",
        ),
        (
            Kind::Other,
            ConnectPhase::Socket,
            "cannot connect to https://a.example:443 (opening the socket): the connection failed: cause [fault: network]",
        ),
    ];

    #[test]
    fn golden_messages() {
        for &(kind, phase, line) in GOLDEN {
            let error = ConnectError::new(kind, phase, &target()).with_source("cause");
            assert_eq!(error.to_string(), line);
            assert_eq!(error.source().unwrap().to_string(), "cause");
        }
    }

    #[test]
    fn no_http2_is_one_event_of_six_kinds() {
        let all = GOLDEN.iter().map(|(kind, ..)| *kind);
        let kinds: Vec<Kind> = all.filter(|kind| kind.is_not_http2()).collect();
        let alpn = [Kind::AlpnHttp11, Kind::AlpnNone, Kind::AlpnRefused, Kind::AlpnOther];
        assert_eq!(kinds[..4], alpn);
        assert_eq!(kinds[4..], [Kind::Http1, Kind::NotHttp2]);
        for kind in kinds {
            let error = ConnectError::new(kind, ConnectPhase::Tls, &target());
            assert!(error.is_not_http2() && !error.is_transient());
            assert_eq!(error.fault(), Fault::Server);
        }
    }

    #[test]
    fn a_deadline_says_how_long() {
        let error =
            ConnectError::timed_out(ConnectPhase::Http2, &target(), Duration::from_secs(20));
        assert_eq!(
            error.to_string(),
            "cannot connect to https://a.example:443 (waiting for the first SETTINGS): no answer \
             in time: given up after 20s [fault: network]"
        );
        assert!(error.is_transient());
    }

    #[test]
    fn kinds_of_system_errors() {
        let table = [
            (io::Error::from(io::ErrorKind::ConnectionRefused), Kind::Refused),
            (io::Error::from(io::ErrorKind::HostUnreachable), Kind::Unreachable),
            (io::Error::from(io::ErrorKind::TimedOut), Kind::TimedOut),
            (io::Error::from(io::ErrorKind::ConnectionReset), Kind::Closed),
            (io::Error::from(io::ErrorKind::PermissionDenied), Kind::Local),
            #[cfg(unix)]
            (io::Error::from_raw_os_error(24), Kind::Local),
            (io::Error::other("?"), Kind::Other),
        ];
        for (error, kind) in table {
            let text = error.to_string();
            let error = ConnectError::from_io(ConnectPhase::Socket, &target(), error);
            assert_eq!(error.kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_wrong_configuration_does_not_pass_by_itself() {
        for kind in [Kind::AlpnHttp11, Kind::CertificateName, Kind::Unsupported, Kind::NotTls] {
            assert!(!ConnectError::new(kind, ConnectPhase::Tls, &target()).is_transient());
        }
    }
}
