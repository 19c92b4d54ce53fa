//! The TLS configuration of a client: roots, identity, sessions, and their replacement at run time.

use std::fmt;
use std::sync::Arc;

use rustls::client::{TicketRequest, WantsClientCert};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder};

use crate::rt::sync::{Mutex, next_id};
use crate::transport::tls::current::{Current, StorePlan};
use crate::transport::tls::material::{Material, TlsConfigError, identity, roots};
use crate::transport::tls::provider::Provider;
use crate::transport::tls::session::{SessionStats, SessionStore, Totals};
use crate::transport::tls::stats::{Counters, TlsStats};
use crate::transport::tls::{ALPN_H2, FIRST_GENERATION};

/// The number of tickets requested at a full handshake, and at a resumed one (RFC 9149).
const TICKET_REQUEST: (u8, u8) = (16, 1);

/// The TLS configuration of a client.
///
/// Clones share it, and [`ClientTls::replace`] changes all of them. Each channel has its own store of TLS
/// sessions and resumes no session of another channel. A
/// [`TlsConnector`](crate::transport::tls::TlsConnector) without a channel uses the store of the
/// configuration.
///
/// ```
/// use framewire::tls::ClientTls;
///
/// # let root = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()])?.cert.pem();
/// // Trust one root instead of the default ones; `root` is a PEM text.
/// let tls = ClientTls::builder().roots_pem(root).server_name("users.internal").build()?;
/// assert_eq!(tls.server_name_text().as_deref(), Some("users.internal"));
/// assert_eq!(tls.generation(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Returns a builder with the defaults: Mozilla's roots (feature `webpki-roots`), no client
    /// certificate, session resumption on, early data off.
    #[must_use]
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Wraps a rustls configuration, with three changes: ALPN is `h2` only, early data is off, and this
    /// crate instead of rustls rejects a protocol that was not offered.
    ///
    /// A channel replaces the session store of `config` by its own, unless `config` disables resumption.
    /// Without a channel, the store of `config` is used. If several configurations share a store, rustls
    /// resumes a session only if verifier and identity are the same objects.
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

    /// Sets the name that certificates are checked against and that is sent as SNI. Default: the
    /// target's host.
    ///
    /// # Errors
    ///
    /// If `name` is neither a DNS name nor an IP address.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, TlsConfigError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| TlsConfigError::new("server name", error))?;
        self.server_name = Some(name);
        Ok(self)
    }

    /// Replaces identity, roots and options by those of `other`, for new handshakes of all clones.
    ///
    /// Use it for a renewed certificate or another certificate authority. Each clone keeps its server
    /// name. No earlier session is resumed, and none is shared with `other`. Open connections stay;
    /// [`TlsInfo::generation`](crate::transport::TlsInfo) tells which of them are older.
    ///
    /// ```
    /// use framewire::tls::ClientTls;
    ///
    /// # let root = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()])?.cert.pem();
    /// let tls = ClientTls::builder().roots_pem(&root).build()?;
    /// let renewed = ClientTls::builder().roots_pem(&root).build()?;
    /// tls.replace(&renewed);
    /// assert_eq!(tls.generation(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace(&self, other: &Self) {
        let new = other.shared.current.lock().clone();
        let mut current = self.shared.current.lock();
        let new = new.renewed(current.generation + 1);
        let before = std::mem::replace(&mut *current, new);
        drop(current);
        // Its verifier may be the user's.
        drop(before);
    }

    /// Returns a number that is unique in the process and the same for all clones.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Returns the name that replaces the target's host, if one was set.
    #[must_use]
    pub fn server_name_text(&self) -> Option<String> {
        self.server_name.as_ref().map(|name| name.to_str().into_owned())
    }

    /// Returns the generation: 1 at first, one more after each [`ClientTls::replace`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.current.lock().generation
    }

    /// Returns the handshakes of all clones, by outcome.
    ///
    /// In TLS 1.3, a server checks the client's certificate after the client has finished. Such a refusal
    /// counts as a success here and as a failure at the server.
    #[must_use]
    pub fn stats(&self) -> TlsStats {
        self.shared.counters.read()
    }

    /// Returns the tickets of all session stores of the current generation together; `None` if
    /// resumption is off. The store of a configuration from [`ClientTls::from_rustls`] does not count.
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

/// A builder for [`ClientTls`]. Only [`ClientTlsBuilder::build`] reads and checks the values.
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
        // A text that is not a name may be a secret.
        let named = |name: &&String| ServerName::try_from(name.as_str()).is_ok();
        f.debug_struct("ClientTlsBuilder")
            .field("provider", &self.provider)
            .field("server_name", &self.server_name.as_ref().filter(named))
            .finish_non_exhaustive()
    }
}

impl ClientTlsBuilder {
    /// Sets the cryptography. Default: ring if the feature `tls-ring` is on, else aws-lc-rs.
    #[must_use]
    pub const fn provider(mut self, provider: Provider) -> Self {
        self.provider = provider;
        self
    }

    /// Adds all certificates in a PEM text as roots. Your own roots replace the default ones.
    #[must_use]
    pub fn roots_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots.push(Material::Pem(pem.as_ref().to_vec()));
        self
    }

    /// Adds one DER certificate as a root. Your own roots replace the default ones.
    #[must_use]
    pub fn root_der(mut self, der: impl AsRef<[u8]>) -> Self {
        self.roots.push(Material::Der(der.as_ref().to_vec()));
        self
    }

    /// Trusts Mozilla's roots in addition to your own.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub const fn with_webpki_roots(mut self) -> Self {
        self.webpki_roots = true;
        self
    }

    /// Trusts the operating system's roots, and your own in addition, instead of Mozilla's. Default: off.
    ///
    /// Windows and Apple's systems verify certificates themselves, including revocation. On Linux,
    /// `build` reads the installed root certificates; build again and use [`ClientTls::replace`] after
    /// they were updated. `SSL_CERT_FILE` and `SSL_CERT_DIR` change where they are read from.
    #[cfg(feature = "platform-verifier")]
    #[must_use]
    pub const fn platform_verifier(mut self) -> Self {
        self.platform_verifier = true;
        self
    }

    /// Sets the client certificate, as PEM texts: the chain, with the client's certificate first, and its
    /// key. Default: none. It is sent to servers that request one.
    #[must_use]
    pub fn identity_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let chain = Material::Pem(chain.as_ref().to_vec());
        self.identity = Some((chain, Material::Pem(key.as_ref().to_vec())));
        self
    }

    /// Sets the client certificate, as DER: one certificate and its key. Default: none.
    #[must_use]
    pub fn identity_der(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let certificate = Material::Der(certificate.as_ref().to_vec());
        self.identity = Some((certificate, Material::Der(key.as_ref().to_vec())));
        self
    }

    /// Sets the name to verify and to send as SNI. Default: the target's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets the number of tickets that each channel keeps, for all servers together. Default: 64, or the
    /// channel's connection limit if that is larger. Zero turns resumption off.
    #[must_use]
    pub const fn session_capacity(mut self, tickets: usize) -> Self {
        self.session_capacity = Some(tickets);
        self
    }

    /// Sets the number of tickets to request at a full and at a resumed handshake (RFC 9149). Default: 16
    /// and 1; `None` requests none. A server that does not know RFC 9149 sends its own number.
    #[must_use]
    pub const fn ticket_request(mut self, request: Option<(u8, u8)>) -> Self {
        self.ticket_request = request;
        self
    }

    /// Checks the values and builds the configuration.
    ///
    /// # Errors
    ///
    /// If a PEM or DER value is malformed, a key does not fit its certificate, the server name is invalid,
    /// there is no root at all, or Mozilla's roots are combined with the platform verifier.
    ///
    /// ```
    /// use framewire::tls::ClientTls;
    ///
    /// let error = ClientTls::builder().roots_pem("not a certificate").build().unwrap_err();
    /// let text = "TLS configuration: roots: the PEM text has no section; \
    ///             a line -----BEGIN CERTIFICATE----- is expected";
    /// assert_eq!(error.to_string(), text);
    /// ```
    pub fn build(self) -> Result<ClientTls, TlsConfigError> {
        let config = self.trusting()?;
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => {
                let identity = identity(certificates, key, config.crypto_provider())?;
                config.with_client_cert_resolver(identity)
            }
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

    /// Sets provider, protocol versions and roots.
    fn trusting(&self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsConfigError> {
        let config = ClientConfig::builder_with_provider(self.provider.crypto())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsConfigError::new("provider", error))?;
        #[cfg(feature = "platform-verifier")]
        if self.platform_verifier {
            let verifier = self.platform()?;
            return Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)));
        }
        let (mut store, _) = roots(&self.roots, "roots")?;
        #[cfg(feature = "webpki-roots")]
        if self.webpki_roots || self.roots.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if store.is_empty() {
            return Err(TlsConfigError::new(
                "roots",
                "there are none; add roots, or enable the feature webpki-roots",
            ));
        }
        Ok(config.with_root_certificates(store))
    }

    #[cfg(feature = "platform-verifier")]
    fn platform(&self) -> Result<rustls_platform_verifier::Verifier, TlsConfigError> {
        #[cfg(feature = "webpki-roots")]
        if self.webpki_roots {
            let why =
                "the platform verifier cannot be combined with Mozilla's roots; use one of them";
            return Err(TlsConfigError::new("roots", why));
        }
        let (_, own) = roots(&self.roots, "roots")?;
        rustls_platform_verifier::Verifier::new_with_extra_roots(own, self.provider.crypto())
            .map_err(|error| TlsConfigError::new("platform verifier", error))
    }
}
