//! Certificates and keys that cannot be used: which one it is, and why.

use crate::transport::tls::tests::*;

/// X.509 version 1, made with OpenSSL for `localhost`; it has no extension.
const VERSION_1: &str = include_str!("data/v1.pem");
const VERSION_1_KEY: &str = include_str!("data/v1.key");

fn roots(pem: &str) -> String {
    match ClientTls::builder().roots_pem(pem).build() {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn identity(chain: &str, key: &str) -> String {
    let server = ServerTls::builder().identity_pem(chain, key).build().map(drop);
    let client = ClientTls::builder().identity_pem(chain, key).build().map(drop);
    let text = |error: TlsConfigError| error.to_string();
    assert_eq!(
        server.as_ref().map_err(TlsConfigError::to_string),
        client.as_ref().map_err(TlsConfigError::to_string)
    );
    server.map_or_else(text, |()| "accepted".to_owned())
}

/// A PEM text of bytes that are no certificate.
fn no_certificate(label: &str) -> String {
    format!("-----BEGIN {label}-----\nMAMCAQE=\n-----END {label}-----\n")
}

#[test]
fn a_bundle_with_one_bad_root_names_it() {
    let (a, b) = (Authority::new().pem, Authority::new().pem);
    let line = 1 + a.lines().count();
    let bad = format!("{a}{}{b}", no_certificate("CERTIFICATE"));
    let want = format!(
        "TLS configuration: roots: certificate 2 (line {line} of the PEM text) cannot be used: it is not an \
         X.509 certificate in DER"
    );
    assert_eq!(roots(&bad), want);
    for (label, what, advice) in [
        (
            "TRUSTED CERTIFICATE",
            "TRUSTED CERTIFICATE",
            "; convert it with openssl x509 -in FILE -out FILE",
        ),
        (
            "X509 CERTIFICATE",
            "X509 CERTIFICATE",
            "; convert it with openssl x509 -in FILE -out FILE",
        ),
        ("PKCS7", "PKCS7", "; convert it with openssl pkcs7 -print_certs"),
        ("CERTIFCATE", "a section of another kind", ""),
    ] {
        let want = format!(
            "TLS configuration: roots: line {line} of the PEM text begins {what}; a CERTIFICATE is \
             expected{advice}"
        );
        assert_eq!(roots(&format!("{a}{}{b}", no_certificate(label))), want);
    }
    // Keys, requests and lists beside certificates hold no root.
    for label in ["X509 CRL", "CERTIFICATE REQUEST", "PRIVATE KEY", "DH PARAMETERS"] {
        assert_eq!(roots(&format!("{a}{}{b}", no_certificate(label))), "accepted", "{label}");
    }
    let error = ClientTls::builder().roots_pem(&a).root_der(b"x").root_der(&b).build();
    assert_eq!(
        error.unwrap_err().to_string(),
        "TLS configuration: roots, value 2: certificate 1 cannot be used: it is not an X.509 \
         certificate in DER"
    );
    let error = ClientTls::builder().roots_pem(&a).root_der(&b).build();
    assert_eq!(
        error.unwrap_err().to_string(),
        "TLS configuration: roots, value 2: certificate 1 cannot be used: it is PEM text, and DER \
         is expected; use the setter for PEM"
    );
    let leaf = Authority::new().sign("localhost");
    let server = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem).client_roots_pem(&bad);
    let want = want.replace(": roots:", ": client roots:");
    assert_eq!(server.build().unwrap_err().to_string(), want);
}

#[test]
fn an_identity_that_cannot_be_used_is_explained() {
    let authority = Authority::new();
    let (leaf, other) = (authority.sign("localhost"), authority.sign("localhost"));
    assert_eq!(identity(&leaf.pem, &leaf.key_pem), "accepted");
    let rows = [
        (
            leaf.pem.clone(),
            &other.key_pem[..],
            "identity: the key does not belong to the certificate",
        ),
        (
            format!("{}{}", leaf.pem, authority.pem),
            &other.key_pem,
            "identity: the key does not belong to any of the 2 certificates of the chain",
        ),
        (
            format!("{}{}", authority.pem, leaf.pem),
            &leaf.key_pem,
            "identity: the key belongs to certificate 2 of the chain; that certificate must be the \
             first",
        ),
        (
            VERSION_1.to_owned(),
            VERSION_1_KEY,
            "identity: certificate 1 (line 1 of the PEM text) cannot be used: it has X.509 version \
             1; issue it with version 3, that is with extensions such as subjectAltName",
        ),
        (
            format!("{}{}", leaf.pem, no_certificate("CERTIFICATE")),
            &leaf.key_pem,
            "identity: certificate 2 (line 13 of the PEM text) cannot be used: it is not an X.509 \
             certificate in DER",
        ),
        (
            leaf.pem.clone(),
            "-----BEGIN PRIVATE KEY-----\nMAMCAQE=\n-----END PRIVATE KEY-----\n",
            "identity's key: it is not an RSA, ECDSA or Ed25519 key that the provider supports",
        ),
    ];
    for (chain, key, want) in rows {
        let line = 1 + leaf.pem.lines().count();
        let want = want.replace("line 13", &format!("line {line}"));
        assert_eq!(identity(&chain, key), format!("TLS configuration: {want}"));
    }
    // Other implementations accept a version 1 root: it may end a chain.
    assert_eq!(identity(&format!("{}{VERSION_1}", leaf.pem), &leaf.key_pem), "accepted");
    assert_eq!(roots(VERSION_1), "accepted");
}
