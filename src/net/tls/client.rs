//! The client's side: roots, identity, sessions, the handshake and its verdict on ALPN.

use std::fmt;
use std::sync::Arc;

use rustls::client::{Resumption, TicketRequest};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::material::{Material, TlsConfigError, add_roots, chain};
use super::provider::Provider;
use super::session::{SessionStats, SessionStore};
use super::{ALPN_H2, info_of};
use crate::net::connect::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Connected, Scheme, Target,
};
use crate::net::env;

/// Tickets kept for all connections of one configuration.
const SESSION_CAPACITY: usize = 64;
/// Tickets asked of a server at a full handshake, and at a resumed one (RFC 9149).
const TICKET_REQUEST: (u8, u8) = (16, 1);

/// A client's TLS configuration; clones share it and its sessions.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    sessions: Option<Arc<SessionStore>>,
}

impl ClientTls {
    /// Mozilla's roots (feature `webpki-roots`), no identity, resumption on, early data off.
    #[must_use]
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Takes the caller's configuration as it is, but for three things: ALPN becomes `h2` alone,
    /// early data is off, and a protocol the server chose unasked is judged here, not by rustls.
    #[must_use]
    pub fn from_rustls(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.check_selected_alpn = false;
        // A request in early data can be replayed (RFC 8446 §8).
        config.enable_early_data = false;
        Self { config: Arc::new(config), server_name: None, sessions: None }
    }

    /// Checks certificates against `name` instead of the target's host, and sends it as SNI.
    ///
    /// # Errors
    ///
    /// If it is neither a DNS name nor an IP address.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, TlsConfigError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| TlsConfigError::new("server name", error))?;
        self.server_name = Some(name);
        Ok(self)
    }

    /// What the session store has seen; `None` for a configuration made `from_rustls`.
    #[must_use]
    pub fn session_stats(&self) -> Option<SessionStats> {
        self.sessions.as_deref().map(SessionStore::stats)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("sessions", &self.session_stats())
            .finish_non_exhaustive()
    }
}

/// Builds a [`ClientTls`]. What is given is read and checked by `build`.
#[derive(Clone)]
pub struct ClientTlsBuilder {
    provider: Provider,
    roots: Vec<Material>,
    #[cfg(feature = "webpki-roots")]
    webpki_roots: bool,
    identity: Option<(Material, Material)>,
    server_name: Option<String>,
    session_capacity: usize,
    ticket_request: Option<(u8, u8)>,
}

impl Default for ClientTlsBuilder {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            roots: Vec::new(),
            #[cfg(feature = "webpki-roots")]
            webpki_roots: false,
            identity: None,
            server_name: None,
            session_capacity: SESSION_CAPACITY,
            ticket_request: Some(TICKET_REQUEST),
        }
    }
}

impl fmt::Debug for ClientTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsBuilder")
            .field("provider", &self.provider)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl ClientTlsBuilder {
    /// Which cryptography; by default ring if it is built in.
    #[must_use]
    pub const fn provider(mut self, provider: Provider) -> Self {
        self.provider = provider;
        self
    }

    /// Trusts the certificates in this PEM text. Own roots stand in the place of Mozilla's.
    #[must_use]
    pub fn roots_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots.push(Material::Pem(pem.as_ref().to_vec()));
        self
    }

    /// Trusts this certificate. Own roots stand in the place of Mozilla's.
    #[must_use]
    pub fn root_der(mut self, der: impl AsRef<[u8]>) -> Self {
        self.roots.push(Material::Der(der.as_ref().to_vec()));
        self
    }

    /// Trusts Mozilla's roots beside the own ones.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub const fn with_webpki_roots(mut self) -> Self {
        self.webpki_roots = true;
        self
    }

    /// Shows this chain to servers that ask for one; PEM texts, the own certificate first.
    #[must_use]
    pub fn identity_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let chain = Material::Pem(chain.as_ref().to_vec());
        self.identity = Some((chain, Material::Pem(key.as_ref().to_vec())));
        self
    }

    /// Shows this one certificate to servers that ask for one.
    #[must_use]
    pub fn identity_der(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let certificate = Material::Der(certificate.as_ref().to_vec());
        self.identity = Some((certificate, Material::Der(key.as_ref().to_vec())));
        self
    }

    /// See [`ClientTls::with_server_name`].
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Tickets kept, over all servers and connections. Default 64; 0 turns resumption off.
    #[must_use]
    pub const fn session_capacity(mut self, tickets: usize) -> Self {
        self.session_capacity = tickets;
        self
    }

    /// Tickets asked of the server at a full and at a resumed handshake (RFC 9149). Default 16 and
    /// 1; `None` does not ask. Servers that do not know the wish send what they like.
    #[must_use]
    pub const fn ticket_request(mut self, request: Option<(u8, u8)>) -> Self {
        self.ticket_request = request;
        self
    }

    /// Reads what was given.
    ///
    /// # Errors
    ///
    /// PEM or DER that is none, a key that does not fit its certificate, a name that is none, or no
    /// root at all.
    pub fn build(self) -> Result<ClientTls, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        add_roots(&mut roots, &self.roots, "roots")?;
        #[cfg(feature = "webpki-roots")]
        if self.webpki_roots || self.roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if roots.is_empty() {
            return Err(TlsConfigError::new("roots", "there are none, and no server is trusted"));
        }
        let config = ClientConfig::builder_with_provider(self.provider.crypto())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsConfigError::new("provider", error))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => config
                .with_client_auth_cert(
                    chain(std::slice::from_ref(certificates), "identity")?,
                    key.key("identity's key")?,
                )
                .map_err(|error| TlsConfigError::new("identity", error))?,
        };
        let sessions = Arc::new(SessionStore::new(self.session_capacity));
        if self.session_capacity == 0 {
            config.resumption = Resumption::disabled();
        } else {
            config.resumption = Resumption::store(sessions.clone());
            config.send_ticket_request = self.ticket_request.map(|(new, resumed)| TicketRequest {
                new_session_count: new,
                resumption_count: resumed,
            });
        }
        let tls = ClientTls { sessions: Some(sessions), ..ClientTls::from_rustls(config) };
        match &self.server_name {
            Some(name) => tls.with_server_name(name),
            None => Ok(tls),
        }
    }
}

/// Dials with another connector, then shakes hands. No octet of a request leaves before the
/// certificate fits the name and ALPN chose `h2`.
#[derive(Clone, Debug)]
pub struct TlsConnector<C> {
    inner: C,
    tls: ClientTls,
}

impl<C: Connect> TlsConnector<C> {
    /// TLS as `tls` says, over what `inner` opens.
    pub const fn new(inner: C, tls: ClientTls) -> Self {
        Self { inner, tls }
    }
}

impl<C: Connect> Connect for TlsConnector<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        // Whoever configured TLS and wrote http:// must not be served plaintext in silence.
        if target.scheme() == Scheme::Http && target.unix_path().is_none() {
            let kind = ConnectErrorKind::Unsupported;
            let error = ConnectError::new(kind, ConnectPhase::Tls, &target)
                .with_detail("TLS is configured and the target says http://; write https://");
            return Box::pin(async { Err(error) });
        }
        let dial = self.inner.connect(target.clone());
        let tls = self.tls.clone();
        Box::pin(async move { handshake(dial.await?, &tls, &target).await })
    }
}

fn server_name(tls: &ClientTls, target: &Target) -> Result<ServerName<'static>, ConnectError> {
    if let Some(name) = &tls.server_name {
        return Ok(name.clone());
    }
    // RFC 6066 §3: the name is sent without a trailing dot.
    let host = target.host().strip_suffix('.').unwrap_or_else(|| target.host());
    ServerName::try_from(host.to_owned()).map_err(|error| {
        ConnectError::new(ConnectErrorKind::Unsupported, ConnectPhase::Tls, target)
            .with_source(error)
    })
}

async fn handshake(
    connected: Connected,
    tls: &ClientTls,
    target: &Target,
) -> Result<Connected, ConnectError> {
    let name = server_name(tls, target)?;
    let start = env::now();
    let Connected { io, mut info } = connected;
    let stream = tokio_rustls::TlsConnector::from(tls.config.clone())
        .connect(name, io)
        .await
        .map_err(|error| ConnectError::from_io(ConnectPhase::Tls, target, error))?;
    let session = info_of(stream.get_ref().1);
    // RFC 9113 §3.2: over TLS, HTTP/2 is agreed on by ALPN and by nothing else.
    let kind = match session.alpn.as_deref() {
        Some(ALPN_H2) => None,
        Some(b"http/1.1") => Some(ConnectErrorKind::AlpnHttp11),
        Some(_) => Some(ConnectErrorKind::AlpnOther),
        None => Some(ConnectErrorKind::AlpnNone),
    };
    if let Some(kind) = kind {
        return Err(ConnectError::new(kind, ConnectPhase::Tls, target));
    }
    info.timings.tls = env::now().saturating_duration_since(start);
    info.tls = Some(session);
    Ok(Connected { io: Box::new(stream), info })
}
