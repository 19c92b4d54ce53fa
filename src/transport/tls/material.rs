//! Certificates and keys as users have them: PEM or DER.

use std::error::Error;
use std::fmt;

use crate::transport::tls::misread::{CERTIFICATE, KEY, Misread};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A TLS configuration that cannot be used. `Display` says which part and why.
#[derive(Debug)]
pub struct TlsConfigError {
    what: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl TlsConfigError {
    pub(super) fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, source: source.into() }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS configuration: {}: {}", self.what, self.source)
    }
}

impl Error for TlsConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Bytes given to a builder, read when it builds.
#[derive(Clone)]
pub(super) enum Material {
    Pem(Vec<u8>),
    Der(Vec<u8>),
}

impl Material {
    /// Every certificate in it, at least one.
    pub(super) fn certificates(
        &self,
        what: &'static str,
    ) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let certificates = match self {
            Self::Der(der) => vec![CertificateDer::from(der.clone())],
            Self::Pem(pem) => CertificateDer::pem_slice_iter(pem)
                .collect::<Result<Vec<_>, _>>()
                .ok()
                .filter(|certificates| !certificates.is_empty())
                // The reader's own error repeats the line, which may be a whole key.
                .ok_or_else(|| TlsConfigError::new(what, Misread::find(pem, CERTIFICATE)))?,
        };
        Ok(certificates)
    }

    pub(super) fn key(&self, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
        match self {
            Self::Der(der) => PrivateKeyDer::try_from(der.clone())
                .map_err(|error| TlsConfigError::new(what, error)),
            Self::Pem(pem) => PrivateKeyDer::from_pem_slice(pem)
                .map_err(|_| TlsConfigError::new(what, Misread::find(pem, KEY))),
        }
    }
}

pub(super) fn chain(
    parts: &[Material],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(part.certificates(what)?);
    }
    Ok(all)
}

pub(super) fn add_roots(
    store: &mut RootCertStore,
    parts: &[Material],
    what: &'static str,
) -> Result<(), TlsConfigError> {
    for root in chain(parts, what)? {
        store.add(root).map_err(|error| TlsConfigError::new(what, error))?;
    }
    Ok(())
}
