//! The kinds of failed dials.

/// Why a dial failed.
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
    /// The answer to the ClientHello is not TLS: most likely a plaintext listener.
    NotTls,
    /// The server chose `http/1.1` (ALPN).
    AlpnHttp11,
    /// The server chose no protocol: it ignored ALPN.
    AlpnNone,
    /// The server refused ALPN `h2` with alert 120, no_application_protocol.
    AlpnRefused,
    /// The server chose a protocol that is neither `h2` nor `http/1.1`.
    AlpnOther,
    /// The server speaks TLS on this port, and the target says plaintext.
    NotPlaintext,
    /// The server answered in HTTP/1.
    Http1,
    /// The server's first bytes are not HTTP/2.
    NotHttp2,
    /// The server broke a rule of HTTP/2 in its first frames.
    BrokenHttp2,
    /// The server's certificate is for another name.
    CertificateName,
    /// No trusted root signed the server's certificate.
    CertificateUntrusted,
    /// The server's certificate is expired, not yet valid, or revoked.
    CertificateExpired,
    /// The server's certificate cannot be used by a server: that of a CA, of X.509 version 1, for
    /// another purpose, or malformed.
    CertificateInvalid,
    /// The server requires a client certificate and got none, or does not accept it.
    ClientCertificate,
    /// Another error; see the source.
    Other,
}

impl ConnectErrorKind {
    /// Returns whether the server speaks no HTTP/2: it chose `http/1.1`, another protocol or none by
    /// ALPN, refused with alert 120, or its first bytes were something else.
    ///
    /// Another dial does not help until somebody changes the server; open connections are not
    /// affected. A plaintext listener is [`ConnectErrorKind::NotTls`], a TLS listener that was spoken
    /// to in plaintext is [`ConnectErrorKind::NotPlaintext`].
    #[must_use]
    pub const fn is_not_http2(self) -> bool {
        matches!(
            self,
            Self::AlpnHttp11
                | Self::AlpnNone
                | Self::AlpnRefused
                | Self::AlpnOther
                | Self::Http1
                | Self::NotHttp2
        )
    }
}
