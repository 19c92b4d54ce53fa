//! The server's handshake.

use std::io::{self, Write as _};

use rustls::pki_types::UnixTime;
use rustls::server::Acceptor;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CommonState, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;

use crate::transport::info::TlsInfo;
use crate::transport::io::BoxedIo;
use crate::transport::sniff;
use crate::transport::tls::accept_error::{AcceptError, AcceptErrorKind};
use crate::transport::tls::rustls_error::rustls_error;
use crate::transport::tls::server::{Current, ServerTls};
use crate::transport::tls::stream::{Remembering, Replaying};
use crate::transport::tls::{ALPN_H2, info_of};

/// Performs the server's handshake on `io`.
///
/// It has no time limit; to give up, drop the future, which closes the connection.
///
/// # Errors
///
/// [`AcceptError`]. The client has then been sent the TLS alert for the case, and `io` is closed: a client that
/// is still sending may see a reset before it reads the alert. [`Server`](crate::server::Server) goes on
/// reading for a while.
pub async fn accept(io: BoxedIo, tls: &ServerTls) -> Result<(BoxedIo, TlsInfo), AcceptError> {
    let secured = accept_speaking(io, tls, &[]).await.map_err(|rejected| rejected.error)?;
    let Secured { io, info, .. } = secured;
    Ok((io, info))
}

/// What a handshake with [`accept_speaking`] has led to.
pub(crate) struct Secured {
    pub(crate) io: BoxedIo,
    pub(crate) info: TlsInfo,
    /// The first bytes of this side are on their way.
    pub(crate) spoken: bool,
}

/// A handshake that failed.
pub(crate) struct Rejected {
    pub(crate) error: AcceptError,
    /// On which the alert is on its way. Closed at once, it would answer what the client still sends with RST,
    /// which may overtake the alert.
    pub(crate) io: Option<BoxedIo>,
}

impl From<AcceptError> for Rejected {
    fn from(error: AcceptError) -> Self {
        Self { error, io: None }
    }
}

/// As [`accept`], with the first bytes of this side in the flight of its Finished, so that the client has
/// them with the end of the handshake: one round trip earlier.
///
/// They are sent only to a client that offers `h2`, with TLS 1.3, and never where a client certificate may
/// be asked for: before the client's Finished, nothing is known of its identity (RFC 8446 §4.4.4).
pub(crate) async fn accept_speaking(
    io: BoxedIo,
    tls: &ServerTls,
    first: &[u8],
) -> Result<Secured, Rejected> {
    let attempt = tls.shared.counters.begin();
    let Current { config, verifier, generation } = tls.shared.current.lock().clone();
    let speaks_first = config.send_half_rtt_data;
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), Remembering::new(io));
    let failed = |error: io::Error, io: Option<Remembering>| Rejected {
        error: AcceptError::from_io(error, io.as_ref().map_or(&[], Remembering::head)),
        io: io.map(|io| -> BoxedIo { Box::new(io) }),
    };
    let start = match (&mut hello).await {
        Ok(start) => start,
        Err(error) => {
            attempt.failed();
            let mut io = hello.take_io();
            if let Some(io) = io.as_mut().filter(|io| !io.has_written()) {
                // The client may be gone: an error of the alert changes nothing.
                drop(io.write_all(alert_of(&error)).await);
            }
            return Err(failed(error, io));
        }
    };
    let offers_h2 =
        start.client_hello().alpn().is_some_and(|mut names| names.any(|n| n == ALPN_H2));
    let mut spoken = false;
    let handshake = start.into_stream_with(config, |session| {
        let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if speaks_first && offers_h2 && tls13 && !first.is_empty() {
            spoken = session.writer().write_all(first).is_ok();
        }
    });
    let mut stream = match handshake.into_fallible().await {
        Ok(stream) => stream,
        Err((error, io)) => {
            attempt.failed();
            return Err(failed(error, Some(io)));
        }
    };
    let mut info = info_of(stream.get_ref().1, generation);
    if let Err(error) = judge(stream.get_ref().1, &info, verifier.as_deref()) {
        attempt.failed();
        // The client may be gone: an error of close_notify changes nothing.
        drop(stream.shutdown().await);
        // What still comes is not decrypted: behind close_notify, rustls takes an error for a bug.
        return Err(Rejected { error, io: Some(Box::new(stream.into_inner().0)) });
    }
    info.handshake = attempt.succeeded(info.resumed);
    Ok(Secured { io: Box::new(stream), info, spoken })
}

/// Performs the server's handshake if the first byte of `io` begins TLS; else returns the plaintext
/// stream without [`TlsInfo`].
///
/// It has no time limit; to give up, drop the future, which closes the connection.
///
/// # Errors
///
/// [`AcceptError`], also if the client closes the connection before it sends a byte.
pub async fn accept_either(
    io: BoxedIo,
    tls: &ServerTls,
) -> Result<(BoxedIo, Option<TlsInfo>), AcceptError> {
    Ok(match read_kind(io).await? {
        FirstByte::Tls(io) => accept(io, tls).await.map(|(io, info)| (io, Some(info)))?,
        FirstByte::Plaintext(io) => (io, None),
    })
}

/// What the first byte of a client begins; the stream returns it again.
pub(crate) enum FirstByte {
    Tls(BoxedIo),
    Plaintext(BoxedIo),
}

/// Waits for the first byte of `io`.
pub(crate) async fn read_kind(mut io: BoxedIo) -> Result<FirstByte, AcceptError> {
    let first = io.read_u8().await;
    let first = first.map_err(|error| AcceptError::from_io(error, &[]))?;
    let io = Box::new(Replaying::new(first, io));
    Ok(if sniff::begins_tls(first) { FirstByte::Tls(io) } else { FirstByte::Plaintext(io) })
}

/// Returns the alert for a first message that rustls has refused without one (RFC 8446 §6.2).
fn alert_of(error: &io::Error) -> &'static [u8] {
    match rustls_error(error) {
        Some(rustls::Error::InappropriateMessage { .. })
        | Some(rustls::Error::InappropriateHandshakeMessage { .. }) => &[21, 3, 3, 0, 2, 2, 10],
        Some(_) => &[21, 3, 3, 0, 2, 2, 50],
        // The stream has ended.
        None => &[],
    }
}

/// Checks what rustls does not check: the ALPN protocol, and the certificate of a resumed client.
fn judge(
    session: &CommonState,
    info: &TlsInfo,
    verifier: Option<&dyn ClientCertVerifier>,
) -> Result<(), AcceptError> {
    // RFC 9113 §3.2: over TLS, HTTP/2 is agreed on by ALPN and by nothing else.
    if info.alpn.as_deref() != Some(ALPN_H2) {
        return Err(AcceptError::new(AcceptErrorKind::AlpnMissing));
    }
    let (true, Some(verifier)) = (info.resumed, verifier) else { return Ok(()) };
    let fail = AcceptErrorKind::ResumedIdentityInvalid;
    match session.peer_certificates() {
        Some([own, intermediates @ ..]) => verifier
            .verify_client_cert(own, intermediates, UnixTime::now())
            .map(drop)
            .map_err(|error| AcceptError::caused(fail, error)),
        _ if verifier.client_auth_mandatory() => Err(AcceptError::new(fail)),
        _ => Ok(()),
    }
}
