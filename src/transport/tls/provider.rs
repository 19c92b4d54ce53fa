//! The cryptography that rustls uses. It is always named, because rustls has no default if a build has
//! two.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

/// The cryptography for TLS. With both features on, ring is the default.
///
/// Both support TLS 1.3 and TLS 1.2. For TLS 1.2 they have ECDHE and AEAD suites only, and none that
/// RFC 9113 §9.2.2 prohibits.
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

    /// Creates a ticketer whose key changes every six hours; it also accepts the previous key.
    pub(super) fn ticketer(self) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        match self {
            #[cfg(feature = "tls-ring")]
            Self::Ring => rustls::crypto::ring::Ticketer::new(),
            #[cfg(feature = "tls-aws-lc")]
            Self::AwsLc => rustls::crypto::aws_lc_rs::Ticketer::new(),
        }
    }
}
