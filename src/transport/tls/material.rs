//! Certificates and keys, as PEM or DER.

use std::error::Error;
use std::fmt;

use crate::transport::tls::misread::{CERTIFICATE, KEY, Misread};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The error of a TLS configuration that cannot be built. `Display` names the part and the reason.
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

/// Bytes given to a builder; `build` parses them.
#[derive(Clone)]
pub(super) enum Material {
    Pem(Vec<u8>),
    Der(Vec<u8>),
}

impl Material {
    /// Returns all certificates, at least one.
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
                // The parser's error repeats the line, which may be a private key.
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
