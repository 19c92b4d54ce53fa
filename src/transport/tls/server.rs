//! The TLS configuration of a server: identity, client roots, tickets.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::rt::sync::Mutex;
use crate::transport::tls::material::{Material, TlsConfigError, identity, roots};
use crate::transport::tls::provider::Provider;
use crate::transport::tls::stats::{Counters, TlsStats};
use crate::transport::tls::{ALPN_H2, FIRST_GENERATION};

/// The number of TLS 1.3 tickets sent to a client, or the limit if the client requests a number.
const TICKETS: usize = 16;
/// More cannot be requested (RFC 9149 §3), and a handshake sends them all.
const TICKETS_MAX: usize = 255;

/// The TLS configuration of a server.
///
/// Clones share it, and [`ServerTls::replace`] changes all of them.
///
/// ```
/// use framewire::tls::ServerTls;
///
/// # let own = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()])?;
/// # let (chain, key, clients) = (own.cert.pem(), own.signing_key.serialize_pem(), own.cert.pem());
/// // PEM texts: chain and key of this server, and the roots of its clients.
/// let tls = ServerTls::builder().identity_pem(&chain, &key).client_roots_pem(&clients).build()?;
///
/// // Later, with a renewed certificate:
/// tls.replace(&ServerTls::builder().identity_pem(&chain, &key).client_roots_pem(&clients).build()?);
/// assert_eq!(tls.generation(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerTls {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) current: Mutex<Current>,
    pub(super) counters: Counters,
}

#[derive(Clone)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    /// Checks the certificate of a resumed client again.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) generation: u64,
}

impl ServerTls {
    /// Returns a builder. It needs a certificate chain and a key; by default, clients need no certificate.
    #[must_use]
    pub fn builder() -> ServerTlsBuilder {
        ServerTlsBuilder::default()
    }

    /// Wraps a rustls configuration, with three changes: ALPN is `h2` only, and early data and half-RTT data
    /// are off.
    ///
    /// rustls takes the certificate of a resumed client from the ticket and does not verify it again.
    /// [`ServerTls::with_client_verifier`] adds that check.
    #[must_use]
    pub fn from_rustls(config: ServerConfig) -> Self {
        // Whether a client certificate is asked for, rustls does not tell.
        Self::new(config, None, false)
    }

    fn new(
        mut config: ServerConfig,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        speaks_first: bool,
    ) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        // A request in early data can be replayed (RFC 8446 §8).
        config.max_early_data_size = 0;
        // The server may speak in the flight of its Finished only if it asks for no client certificate.
        config.send_half_rtt_data = speaks_first;
        let (config, generation) = (Arc::new(config), FIRST_GENERATION);
        let current = Mutex::new(Current { config, verifier, generation });
        Self { shared: Arc::new(Shared { current, counters: Counters::default() }) }
    }

    /// Verifies the certificates of resumed clients with `verifier`, usually the one of the configuration.
    ///
    /// The result shares nothing with earlier clones.
    #[must_use]
    pub fn with_client_verifier(self, verifier: Arc<dyn ClientCertVerifier>) -> Self {
        let config = self.shared.current.lock().config.clone();
        Self::new(ServerConfig::clone(&config), Some(verifier), false)
    }

    /// Replaces the configuration by `other`, for new handshakes of all clones.
    ///
    /// Use it for a renewed certificate or new client roots. Open connections stay;
    /// [`TlsInfo::generation`](crate::transport::TlsInfo) tells which of them are older. Tickets of the old configuration are not
    /// accepted, unless both were created by `from_rustls` with the same ticketer; even then, the new
    /// verifier checks the certificate of a resumed client.
    pub fn replace(&self, other: &Self) {
        let new = other.shared.current.lock().clone();
        let mut current = self.shared.current.lock();
        let generation = current.generation + 1;
        let before = std::mem::replace(&mut *current, Current { generation, ..new });
        drop(current);
        // Its verifier may be the user's.
        drop(before);
    }

    /// Returns the generation: 1 at first, one more after each [`ServerTls::replace`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.current.lock().generation
    }

    /// Returns the handshakes of all clones, by outcome.
    #[must_use]
    pub fn stats(&self) -> TlsStats {
        self.shared.counters.read()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("generation", &self.generation())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    Optional,
    Required,
}

/// A builder for [`ServerTls`]. Only [`ServerTlsBuilder::build`] reads and checks the values.
#[derive(Clone)]
pub struct ServerTlsBuilder {
    provider: Provider,
    identity: Option<(Material, Material)>,
    client_roots: Vec<Material>,
    client_auth: ClientAuth,
    tickets: usize,
}

impl Default for ServerTlsBuilder {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            identity: None,
            client_roots: Vec::new(),
            client_auth: ClientAuth::Required,
            tickets: TICKETS,
        }
    }
}

impl fmt::Debug for ServerTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTlsBuilder")
            .field("provider", &self.provider)
            .field("tickets", &self.tickets)
            .finish_non_exhaustive()
    }
}

impl ServerTlsBuilder {
    /// Sets the cryptography. Default: ring if the feature `tls-ring` is on, else aws-lc-rs.
    #[must_use]
    pub const fn provider(mut self, provider: Provider) -> Self {
        self.provider = provider;
        self
    }

    /// Sets the identity, as PEM texts: the chain, with the server's certificate first, and its key.
    #[must_use]
    pub fn identity_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let chain = Material::Pem(chain.as_ref().to_vec());
        self.identity = Some((chain, Material::Pem(key.as_ref().to_vec())));
        self
    }

    /// Sets the identity, as DER: one certificate and its key.
    #[must_use]
    pub fn identity_der(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let certificate = Material::Der(certificate.as_ref().to_vec());
        self.identity = Some((certificate, Material::Der(key.as_ref().to_vec())));
        self
    }

    /// Requires a client certificate that chains to one of these roots, a PEM text. Default: none needed.
    ///
    /// [`client_certificate_optional`](Self::client_certificate_optional) also serves clients without one.
    #[must_use]
    pub fn client_roots_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.client_roots.push(Material::Pem(pem.as_ref().to_vec()));
        self
    }

    /// Requires a client certificate that chains to this root, one DER certificate.
    #[must_use]
    pub fn client_root_der(mut self, der: impl AsRef<[u8]>) -> Self {
        self.client_roots.push(Material::Der(der.as_ref().to_vec()));
        self
    }

    /// Serves clients without a certificate as well. A certificate that is sent must still be valid.
    #[must_use]
    pub const fn client_certificate_optional(mut self) -> Self {
        self.client_auth = ClientAuth::Optional;
        self
    }

    /// Sets the number of TLS 1.3 tickets for each client. Default: 16. Zero turns resumption off.
    ///
    /// For a client that requests a number (RFC 9149), it is the limit. More than 255 counts as 255.
    #[must_use]
    pub const fn max_tls13_tickets(mut self, tickets: usize) -> Self {
        self.tickets = if tickets > TICKETS_MAX { TICKETS_MAX } else { tickets };
        self
    }

    /// Checks the values and builds the configuration.
    ///
    /// # Errors
    ///
    /// If a PEM or DER value is malformed, there is no identity, or the key does not fit the certificate.
    ///
    /// ```
    /// use framewire::tls::ServerTls;
    ///
    /// let error = ServerTls::builder().build().unwrap_err();
    /// assert!(error.to_string().contains("identity: a server needs a certificate and a key"));
    /// ```
    pub fn build(self) -> Result<ServerTls, TlsConfigError> {
        let Some((certificates, key)) = &self.identity else {
            return Err(TlsConfigError::new(
                "identity",
                "a server needs a certificate and a key; set them with identity_pem or identity_der",
            ));
        };
        let verifier = self.verifier()?;
        let identity = identity(certificates, key, &self.provider.crypto())?;
        let config = ServerConfig::builder_with_provider(self.provider.crypto())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsConfigError::new("provider", error))?;
        let config = match &verifier {
            Some(verifier) => config.with_client_cert_verifier(verifier.clone()),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(identity);
        config.send_tls13_tickets = self.tickets;
        config.max_tls13_tickets = self.tickets;
        if self.tickets == 0 {
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        } else {
            config.ticketer = self
                .provider
                .ticketer()
                .map_err(|error| TlsConfigError::new("session tickets", error))?;
        }
        let speaks_first = verifier.is_none();
        Ok(ServerTls::new(config, verifier, speaks_first))
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsConfigError> {
        if self.client_roots.is_empty() {
            return Ok(None);
        }
        let (roots, _) = roots(&self.client_roots, "client roots")?;
        let crypto = self.provider.crypto();
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
        if self.client_auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map(Some).map_err(|error| TlsConfigError::new("client roots", error))
    }
}
