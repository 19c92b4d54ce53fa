//! Certificates and keys, as PEM or DER.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::transport::tls::certificate_error::{explain, is_version_1};
use crate::transport::tls::pem;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// The error of a TLS configuration that cannot be built. `Display` names the part and the reason.
///
/// Of certificates and keys it has numbers only, such as those of lines: nothing of their text.
#[derive(Debug)]
pub struct TlsConfigError {
    what: &'static str,
    /// Which of several values, counted from 1; 0 if there is one.
    value: usize,
    source: Box<dyn Error + Send + Sync>,
}

impl TlsConfigError {
    pub(super) fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, value: 0, source: source.into() }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS configuration: {}", self.what)?;
        if self.value > 0 {
            write!(f, ", value {}", self.value)?;
        }
        write!(f, ": {}", self.source)
    }
}

impl Error for TlsConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// A certificate that cannot be used.
#[derive(Debug)]
struct BadCertificate {
    /// The number in its value, counted from 1.
    number: usize,
    /// The line of its value; `None` for DER.
    line: Option<usize>,
    is_pem: bool,
    source: rustls::Error,
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {}", self.number)?;
        if let Some(line) = self.line {
            write!(f, " (line {line} of the PEM text)")?;
        }
        f.write_str(" cannot be used: ")?;
        match explain(&self.source) {
            _ if self.is_pem => f.write_str(PEM_AS_DER),
            Some(reason) => f.write_str(&reason),
            None => write!(f, "{}", self.source),
        }
    }
}

impl Error for BadCertificate {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

const NO_KEY: &str = "it is not an RSA, ECDSA or Ed25519 key that the provider supports";
const PEM_AS_DER: &str = "it is PEM text, and DER is expected; use the setter for PEM";

/// Bytes given to a builder; `build` parses them.
#[derive(Clone)]
pub(super) enum Material {
    Pem(Vec<u8>),
    Der(Vec<u8>),
}

impl Material {
    /// Returns all certificates, at least one, that `check` accepts.
    fn certificates(
        &self,
        mut check: impl FnMut(usize, &CertificateDer<'static>) -> Result<(), rustls::Error>,
    ) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error + Send + Sync>> {
        let found = match self {
            Self::Der(der) => vec![(0, CertificateDer::from(der.clone()))],
            Self::Pem(text) => pem::certificates(text)?,
        };
        for (index, (line, certificate)) in found.iter().enumerate() {
            check(index, certificate).map_err(|source| BadCertificate {
                number: index + 1,
                line: Some(*line).filter(|line| *line > 0),
                is_pem: *line == 0 && pem::contains(certificate, pem::DASHES),
                source,
            })?;
        }
        Ok(found.into_iter().map(|(_, certificate)| certificate).collect())
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Box<dyn Error + Send + Sync>> {
        match self {
            Self::Der(der) if pem::contains(der, pem::DASHES) => Err(PEM_AS_DER.into()),
            Self::Der(der) => Ok(PrivateKeyDer::try_from(der.clone())?),
            Self::Pem(text) => Ok(pem::key(text)?),
        }
    }
}

/// Reads a chain, with the owner's certificate first, and its key, and checks that they fit.
pub(super) fn identity(
    certificates: &Material,
    key: &Material,
    crypto: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, TlsConfigError> {
    let parse = |index, certificate: &CertificateDer<'_>| {
        match ParsedCertificate::try_from(certificate) {
            // Clients other than rustls accept a version 1 root at the end of a chain.
            Err(error) if index == 0 || !is_version_1(&error) => Err(error),
            _ => Ok(()),
        }
    };
    let chain = certificates
        .certificates(parse)
        .map_err(|source| TlsConfigError::new("identity", source))?;
    let key = key.key().map_err(|source| TlsConfigError::new("identity's key", source))?;
    let signer = crypto
        .key_provider
        .load_private_key(key)
        .map_err(|_| TlsConfigError::new("identity's key", NO_KEY))?;
    let fits = |certificate: &CertificateDer<'_>| {
        let parsed = ParsedCertificate::try_from(certificate);
        // A provider that does not tell the public key is trusted to have the right one.
        signer.public_key().is_none_or(|public| {
            parsed.is_ok_and(|parsed| parsed.subject_public_key_info() == public)
        })
    };
    match chain.iter().position(fits) {
        Some(0) => Ok(Arc::new(CertifiedKey::new(chain, signer).into())),
        Some(index) => Err(TlsConfigError::new("identity", KeyMismatch::Order(index + 1))),
        None => Err(TlsConfigError::new("identity", KeyMismatch::Other(chain.len()))),
    }
}

/// A key that is not that of the first certificate.
#[derive(Clone, Copy, Debug)]
enum KeyMismatch {
    /// It is the key of the certificate with this number.
    Order(usize),
    /// It is the key of none of so many.
    Other(usize),
}

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(number) => write!(
                f,
                "the key belongs to certificate {number} of the chain; that certificate must be \
                 the first"
            ),
            Self::Other(1) => f.write_str("the key does not belong to the certificate"),
            Self::Other(all) => {
                write!(f, "the key does not belong to any of the {all} certificates of the chain")
            }
        }
    }
}

impl Error for KeyMismatch {}

/// Reads the certificates of all values and hands each to `check`.
fn each(
    parts: &[Material],
    what: &'static str,
    mut check: impl FnMut(usize, &CertificateDer<'static>) -> Result<(), rustls::Error>,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let mut all = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let value = if parts.len() > 1 { index + 1 } else { 0 };
        let found = part.certificates(&mut check);
        all.extend(found.map_err(|source| TlsConfigError { what, value, source })?);
    }
    Ok(all)
}

/// Reads roots that rustls can use.
pub(super) fn roots(
    parts: &[Material],
    what: &'static str,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsConfigError> {
    let mut store = RootCertStore::empty();
    let all = each(parts, what, |_, root| store.add(root.clone()))?;
    Ok((store, all))
}
