//! Certificates made for a test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A root, and a certificate of it for one name.
pub struct Identity {
    pub root: String,
    pub chain: String,
    key: KeyPair,
}

impl Identity {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Roots of one name would be mistaken for each other until the signature is checked.
        params.distinguished_name.push(DnType::CommonName, format!("the root of {name}"));
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Self { root, chain: leaf.signed_by(&key, &issuer).unwrap().pem(), key }
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// For a configuration of rustls' own.
    pub fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap();
        (vec![chain], PrivateKeyDer::try_from(self.key.serialize_der()).unwrap())
    }
}
