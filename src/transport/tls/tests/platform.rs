//! The operating system's trust.

use crate::transport::tls::tests::*;

/// Own roots make these independent of what this machine trusts, if it trusts anything.
fn client(authority: &Authority) -> ClientTls {
    authority.client().platform_verifier().build().unwrap()
}

#[tokio::test]
async fn a_self_signed_server_is_refused() {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let server = ServerTls::builder().identity_der(certificate.der(), key.serialize_der());
    let server = server.build().unwrap();
    let error = dial(&client(&Authority::new()), &server).await.0.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateUntrusted);
    // Without roots of one's own the answer is the same, or the system has none and `build` says.
    match ClientTls::builder().platform_verifier().build() {
        Ok(client) => {
            let error = dial(&client, &server).await.0.unwrap_err();
            assert_eq!(error.kind(), ConnectErrorKind::CertificateUntrusted);
        }
        Err(error) => {
            assert!(error.to_string().starts_with("TLS configuration: platform verifier: "));
        }
    }
}

#[tokio::test]
async fn own_roots_are_trusted_beside_the_systems() {
    let authority = Authority::new();
    let (client, server) = (client(&authority), authority.server());
    assert!(!resumes(&client, &server).await && resumes(&client, &server).await);
    let error = dial(&client, &Authority::new().server()).await.0.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateUntrusted);
    let leaf = authority.sign("other.example");
    let other = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap();
    let error = dial(&client, &other).await.0.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateName);
}

/// Two verifiers that trust the same are still two.
#[tokio::test]
async fn sessions_stay_apart_from_those_of_own_roots() {
    let authority = Authority::new();
    let server = authority.server();
    let client = authority.client().build().unwrap();
    assert!(!resumes(&client, &server).await);
    client.replace(&self::client(&authority));
    assert!(!resumes(&client, &server).await && resumes(&client, &server).await);
}

#[cfg(feature = "webpki-roots")]
#[test]
fn mozillas_roots_and_the_platform_exclude_each_other() {
    let error = ClientTls::builder().platform_verifier().with_webpki_roots().build().unwrap_err();
    assert!(error.to_string().starts_with("TLS configuration: roots: "), "{error}");
}
