//! Which cryptography rustls uses. It is always named: with two in one build there is no default.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

/// A source of cryptography. With both features on, ring is the default.
///
/// Either offers TLS 1.3 and TLS 1.2, the latter with ECDHE and AEAD suites only, so none of those
/// that RFC 9113 §9.2.2 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// The ring crate (feature `tls-ring`).
    #[cfg(feature = "tls-ring")]
    Ring,
    /// The aws-lc-rs crate (feature `tls-aws-lc`).
    #[cfg(feature = "tls-aws-lc")]
    AwsLc,
}

impl Default for Provider {
    fn default() -> Self {
        #[cfg(feature = "tls-ring")]
        return Self::Ring;
        #[cfg(not(feature = "tls-ring"))]
        return Self::AwsLc;
    }
}

impl Provider {
    pub(super) fn crypto(self) -> Arc<CryptoProvider> {
        Arc::new(match self {
            #[cfg(feature = "tls-ring")]
            Self::Ring => rustls::crypto::ring::default_provider(),
            #[cfg(feature = "tls-aws-lc")]
            Self::AwsLc => rustls::crypto::aws_lc_rs::default_provider(),
        })
    }

    /// Tickets under a key that changes every six hours; the one before is still read.
    pub(super) fn ticketer(self) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        match self {
            #[cfg(feature = "tls-ring")]
            Self::Ring => rustls::crypto::ring::Ticketer::new(),
            #[cfg(feature = "tls-aws-lc")]
            Self::AwsLc => rustls::crypto::aws_lc_rs::Ticketer::new(),
        }
    }
}
