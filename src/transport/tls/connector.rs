//! TLS over another connector, and the check of ALPN after the handshake.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::transport::connect::{
    AddressesFuture, Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase,
    Connected, Target,
};
use crate::transport::info::TlsInfo;
use crate::transport::target::Scheme;
use crate::transport::tls::apart::Apart;
use crate::transport::tls::client::ClientTls;
use crate::transport::tls::{ALPN_H2, info_of};

/// A connector that adds TLS to another connector.
///
/// It sends no byte of a request before the certificate is verified and ALPN has chosen `h2`
/// (RFC 9113 §3.2).
#[derive(Clone, Debug)]
pub struct TlsConnector<C> {
    inner: C,
    tls: ClientTls,
    /// The session store of a channel.
    apart: Option<Arc<Apart>>,
}

impl<C: Connect> TlsConnector<C> {
    /// Creates a connector that adds TLS to `inner` and uses the session store of `tls`.
    pub const fn new(inner: C, tls: ClientTls) -> Self {
        Self { inner, tls, apart: None }
    }

    /// Creates a connector with a session store of its own, shared by its clones only, as channels do.
    ///
    /// The store is empty for each generation; [`Connect::provide_for`] sets its size.
    pub fn apart(inner: C, tls: ClientTls) -> Self {
        let apart = Some(Arc::new(Apart::new(tls.clone())));
        Self { inner, tls, apart }
    }
}

impl<C: Connect> Connect for TlsConnector<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        // TLS is configured: http:// is a mistake, and must not silently mean plaintext.
        if target.scheme() == Scheme::Http && target.unix_path().is_none() {
            let kind = ConnectErrorKind::Unsupported;
            let error = ConnectError::new(kind, ConnectPhase::Tls, &target).with_detail(
                "TLS is configured, but the target begins with http://; write https://",
            );
            return Box::pin(async { Err(error) });
        }
        let dial = self.inner.connect(target.clone());
        let (tls, apart) = (self.tls.clone(), self.apart.clone());
        Box::pin(async move { secure(dial.await?, &tls, apart.as_deref(), &target).await })
    }

    fn addresses(&self, target: &Target) -> Option<AddressesFuture> {
        self.inner.addresses(target)
    }

    fn tls_generation(&self) -> Option<u64> {
        Some(self.tls.generation())
    }

    fn provide_for(&self, connections: u32) {
        if let Some(apart) = &self.apart {
            apart.provide_for(connections as usize);
        }
        self.inner.provide_for(connections);
    }
}

fn server_name(tls: &ClientTls, target: &Target) -> Result<ServerName<'static>, ConnectError> {
    if let Some(name) = tls.own_server_name() {
        return Ok(name.clone());
    }
    // RFC 6066 §3: the name is sent without a trailing dot.
    let host = target.host().strip_suffix('.').unwrap_or_else(|| target.host());
    ServerName::try_from(host.to_owned()).map_err(|error| {
        ConnectError::new(ConnectErrorKind::Unsupported, ConnectPhase::Tls, target)
            .with_source(error)
    })
}

async fn secure(
    connected: Connected,
    tls: &ClientTls,
    apart: Option<&Apart>,
    target: &Target,
) -> Result<Connected, ConnectError> {
    let attempt = tls.counters().begin();
    target.enter(ConnectPhase::Tls);
    match handshake(connected, tls, apart, target).await {
        Ok((mut connected, mut session)) => {
            session.handshake = attempt.succeeded(session.resumed);
            connected.info.timings.tls = session.handshake;
            connected.info.tls = Some(session);
            Ok(connected)
        }
        Err(error) => {
            attempt.failed();
            Err(error)
        }
    }
}

async fn handshake(
    connected: Connected,
    tls: &ClientTls,
    apart: Option<&Apart>,
    target: &Target,
) -> Result<(Connected, TlsInfo), ConnectError> {
    let name = server_name(tls, target)?;
    let (config, generation) = apart.map_or_else(|| tls.current(), Apart::current);
    let (io, parts) = connected.into_parts();
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, io)
        .await
        .map_err(|error| ConnectError::from_io(ConnectPhase::Tls, target, error))?;
    let session = info_of(stream.get_ref().1, generation);
    // RFC 9113 §3.2: over TLS, HTTP/2 is agreed on by ALPN and by nothing else.
    let kind = match session.alpn.as_deref() {
        Some(ALPN_H2) => None,
        Some(b"http/1.1") => Some(ConnectErrorKind::AlpnHttp11),
        Some(_) => Some(ConnectErrorKind::AlpnOther),
        None => Some(ConnectErrorKind::AlpnNone),
    };
    match kind {
        Some(kind) => Err(ConnectError::new(kind, ConnectPhase::Tls, target)),
        None => Ok((Connected::from_parts(Box::new(stream), parts), session)),
    }
}
