//! The client's side: roots, identity, sessions, and their replacement at run time.

use std::fmt;
use std::sync::Arc;

use rustls::client::{TicketRequest, WantsClientCert};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use crate::rt::sync::{Mutex, next_id};
use crate::transport::tls::current::{Current, StorePlan};
use crate::transport::tls::material::{Material, TlsConfigError, add_roots, chain};
use crate::transport::tls::provider::Provider;
use crate::transport::tls::session::{SessionStats, SessionStore, Totals};
use crate::transport::tls::stats::{Counters, TlsStats};
use crate::transport::tls::{ALPN_H2, FIRST_GENERATION};

/// Tickets asked of a server at a full handshake, and at a resumed one (RFC 9149).
const TICKET_REQUEST: (u8, u8) = (16, 1);

/// A client's TLS configuration; clones share it, and [`ClientTls::replace`] changes all of them.
///
/// Sessions are a channel's own: each keeps those of its connections, and none is resumed by
/// another. A [`TlsConnector`](crate::transport::tls::TlsConnector) outside of a channel uses the configuration's.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) shared: Arc<Shared>,
    server_name: Option<ServerName<'static>>,
}

pub(super) struct Shared {
    id: u64,
    pub(super) current: Mutex<Current>,
    counters: Counters,
}

impl ClientTls {
    /// Mozilla's roots (feature `webpki-roots`), no identity, resumption on, early data off.
    #[must_use]
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Takes the caller's configuration as it is, but for three things: ALPN becomes `h2` alone,
    /// early data is off, and a protocol the server chose unasked is judged here, not by rustls.
    ///
    /// Outside of channels it keeps its own store of sessions; where configurations share one, rustls
    /// resumes between them only if verifier and identity are the same objects. A channel puts a
    /// store of its own instead, unless the configuration turns resumption off.
    #[must_use]
    pub fn from_rustls(config: ClientConfig) -> Self {
        let plan = StorePlan::of(&config.resumption);
        Self::with_sessions(config, plan, None)
    }

    fn with_sessions(
        mut config: ClientConfig,
        plan: StorePlan,
        own: Option<(Arc<SessionStore>, Arc<Totals>)>,
    ) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.check_selected_alpn = false;
        // A request in early data can be replayed (RFC 8446 §8).
        config.enable_early_data = false;
        let (sessions, totals) = own.unzip();
        let current = Current {
            config: Arc::new(config),
            sessions,
            plan,
            totals: totals.unwrap_or_default(),
            generation: FIRST_GENERATION,
        };
        let current = Mutex::new(current);
        let shared = Arc::new(Shared { id: next_id(), current, counters: Counters::default() });
        Self { shared, server_name: None }
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

    /// Handshakes that begin from now on, at every clone, use `other`'s identity, roots and
    /// options: a renewed certificate, another authority. Each clone keeps its server name.
    ///
    /// The first of them in each channel is a full one: no session made before is resumed, and none
    /// is shared with `other`. Open connections stay; [`TlsInfo::generation`](crate::transport::connect::TlsInfo) tells
    /// which of them are older.
    pub fn replace(&self, other: &Self) {
        let new = other.shared.current.lock().clone();
        let mut current = self.shared.current.lock();
        *current = new.renewed(current.generation + 1);
    }

    /// Unique in the process; the same for clones.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Sets the name that is checked and sent instead of the target's host.
    #[must_use]
    pub fn server_name_text(&self) -> Option<String> {
        self.server_name.as_ref().map(|name| name.to_str().into_owned())
    }

    /// Counts the configurations that this one and its clones have had: 1 at first, one more with
    /// each [`ClientTls::replace`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.current.lock().generation
    }

    /// What became of the handshakes.
    ///
    /// In TLS 1.3 a server judges a client's certificate when the client has already finished:
    /// such a refusal counts as a success here and as a failure at the server.
    #[must_use]
    pub fn stats(&self) -> TlsStats {
        self.shared.counters.read()
    }

    /// What the session stores of the present generation have seen, those of all channels and the
    /// configuration's own together; what a foreign configuration brought along is not among them.
    /// `None` while resumption is turned off.
    #[must_use]
    pub fn session_stats(&self) -> Option<SessionStats> {
        let current = self.shared.current.lock();
        current.plan.is_on().then(|| current.totals.read())
    }

    pub(super) fn current(&self) -> (Arc<ClientConfig>, u64) {
        let current = self.shared.current.lock();
        (current.config.clone(), current.generation)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(super) const fn own_server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("generation", &self.generation())
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
    #[cfg(feature = "platform-verifier")]
    platform_verifier: bool,
    identity: Option<(Material, Material)>,
    server_name: Option<String>,
    session_capacity: Option<usize>,
    ticket_request: Option<(u8, u8)>,
}

impl Default for ClientTlsBuilder {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            roots: Vec::new(),
            #[cfg(feature = "webpki-roots")]
            webpki_roots: false,
            #[cfg(feature = "platform-verifier")]
            platform_verifier: false,
            identity: None,
            server_name: None,
            session_capacity: None,
            ticket_request: Some(TICKET_REQUEST),
        }
    }
}

impl fmt::Debug for ClientTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A text that is no name may be anything.
        let named = |name: &&String| ServerName::try_from(name.as_str()).is_ok();
        f.debug_struct("ClientTlsBuilder")
            .field("provider", &self.provider)
            .field("server_name", &self.server_name.as_ref().filter(named))
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

    /// Trusts the certificates in this PEM text. Replaces Mozilla's root certificates with your own.
    #[must_use]
    pub fn roots_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots.push(Material::Pem(pem.as_ref().to_vec()));
        self
    }

    /// Trusts this certificate. Replaces Mozilla's root certificates with your own.
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

    /// Trusts what the operating system trusts, and the own roots beside it, in the place of
    /// Mozilla's. Default off.
    ///
    /// On Windows and Apple's systems their own verifiers judge, which know about revocation; on
    /// Linux the installed root certificates do, read by `build`: rebuild and
    /// [`ClientTls::replace`] after an update of them. `SSL_CERT_FILE` and `SSL_CERT_DIR` say where
    /// else to look.
    #[cfg(feature = "platform-verifier")]
    #[must_use]
    pub const fn platform_verifier(mut self) -> Self {
        self.platform_verifier = true;
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

    /// Tickets that each channel keeps, over all servers and connections. Default 64, or as many as
    /// the channel may have connections, if that is more; 0 turns resumption off.
    #[must_use]
    pub const fn session_capacity(mut self, tickets: usize) -> Self {
        self.session_capacity = Some(tickets);
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
    /// PEM or DER that is none, a key that does not fit its certificate, a name that is none, no
    /// root at all, or Mozilla's roots together with the platform's verifier, which takes none.
    pub fn build(self) -> Result<ClientTls, TlsConfigError> {
        let config = self.trusting()?;
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => config
                .with_client_auth_cert(
                    chain(std::slice::from_ref(certificates), "identity")?,
                    key.key("identity's key")?,
                )
                .map_err(|error| TlsConfigError::new("identity", error))?,
        };
        let plan = StorePlan::new(self.session_capacity);
        let totals = Arc::new(Totals::default());
        let sessions = plan.store(0, &totals);
        config.resumption = plan.resumption(&sessions);
        if plan.is_on() {
            config.send_ticket_request = self.ticket_request.map(|(new, resumed)| TicketRequest {
                new_session_count: new,
                resumption_count: resumed,
            });
        }
        let tls = ClientTls::with_sessions(config, plan, Some((sessions, totals)));
        match &self.server_name {
            Some(name) => tls.with_server_name(name),
            None => Ok(tls),
        }
    }

    /// Provider, versions and trust.
    fn trusting(&self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsConfigError> {
        let config = ClientConfig::builder_with_provider(self.provider.crypto())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsConfigError::new("provider", error))?;
        #[cfg(feature = "platform-verifier")]
        if self.platform_verifier {
            let verifier = self.platform()?;
            return Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)));
        }
        let mut roots = RootCertStore::empty();
        add_roots(&mut roots, &self.roots, "roots")?;
        #[cfg(feature = "webpki-roots")]
        if self.webpki_roots || self.roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if roots.is_empty() {
            return Err(TlsConfigError::new("roots", "there are none, and no server is trusted"));
        }
        Ok(config.with_root_certificates(roots))
    }
    #[cfg(feature = "platform-verifier")]
    fn platform(&self) -> Result<rustls_platform_verifier::Verifier, TlsConfigError> {
        #[cfg(feature = "webpki-roots")]
        if self.webpki_roots {
            let why = "the platform's verifier takes no roots of Mozilla's beside its own";
            return Err(TlsConfigError::new("roots", why));
        }
        let own = chain(&self.roots, "roots")?;
        rustls_platform_verifier::Verifier::new_with_extra_roots(own, self.provider.crypto())
            .map_err(|error| TlsConfigError::new("platform verifier", error))
    }
}
