//! The kinds of failed dials.

/// What went wrong with a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The name has no address, or the resolver failed.
    Resolve,
    /// The host answered that nothing listens on the port.
    Refused,
    /// There is no route to the host.
    Unreachable,
    /// Nothing answered in time.
    TimedOut,
    /// The peer closed or reset the stream before it was ready.
    Closed,
    /// This machine could not open a socket: descriptors, ports, permission.
    Local,
    /// The connector cannot dial such a target.
    Unsupported,
    /// The TLS handshake failed for a reason without a kind of its own.
    Tls,
    /// What answered the ClientHello is not TLS: a plaintext listener, most likely.
    NotTls,
    /// The server chose `http/1.1` (ALPN).
    AlpnHttp11,
    /// The server chose no protocol: it ignored ALPN.
    AlpnNone,
    /// The server refused ALPN `h2` with alert 120, no_application_protocol.
    AlpnRefused,
    /// The server chose a protocol that is neither `h2` nor `http/1.1`.
    AlpnOther,
    /// The server's certificate is for another name.
    CertificateName,
    /// The server's certificate is signed by nobody we trust.
    CertificateUntrusted,
    /// The server's certificate is expired, not yet valid, or revoked.
    CertificateExpired,
    /// The server wants a client certificate that it did not get or does not accept.
    ClientCertificate,
    /// An error of a kind this list does not have; the source says more.
    Other,
}

impl ConnectErrorKind {
    /// Whether the target speaks TLS and no HTTP/2, in whichever way it said so: it chose
    /// `http/1.1`, something else or nothing by ALPN, or refused with alert 120.
    ///
    /// One event for a pool: connections that are open go on, another dial will not help until
    /// somebody changes the server. A plaintext listener is [`ConnectErrorKind::NotTls`].
    #[must_use]
    pub const fn is_not_http2(self) -> bool {
        matches!(self, Self::AlpnHttp11 | Self::AlpnNone | Self::AlpnRefused | Self::AlpnOther)
    }
}
