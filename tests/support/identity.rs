//! Certificates made for a test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A root that signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key.
pub struct Leaf {
    pub pem: String,
    pub key: KeyPair,
}

impl Authority {
    /// Roots of one name would be mistaken for each other until a signature is checked.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names, changed before it is signed.
    pub fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        Leaf { pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key }
    }
}

/// A root, and a certificate of it for one name.
pub struct Identity {
    pub root: String,
    pub chain: String,
    key: KeyPair,
}

impl Identity {
    pub fn new(name: &str) -> Self {
        let authority = Authority::new(&format!("the root of {name}"));
        let Leaf { pem: chain, key } = authority.sign(&[name], |_| {});
        Self { root: authority.pem, chain, key }
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
