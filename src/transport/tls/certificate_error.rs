//! What is wrong with a certificate, in words: rustls has names for it, and passes on those of webpki.

use rustls::CertificateError;

/// Returns a clause about "it", the certificate; `None` if the text of rustls says as much.
pub(super) fn explain(error: &rustls::Error) -> Option<&'static str> {
    use CertificateError as Reason;
    let rustls::Error::InvalidCertificate(reason) = error else { return None };
    Some(match reason {
        Reason::BadEncoding => "it is not an X.509 certificate in DER",
        Reason::UnhandledCriticalExtension => {
            "it has a critical extension that is not understood here"
        }
        Reason::BadSignature => "its signature does not fit the key of its issuer",
        Reason::Revoked => "it was revoked",
        Reason::UnsupportedSignatureAlgorithmContext { .. }
        | Reason::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it or its issuer is signed with an algorithm that is not accepted, such as SHA-1"
        }
        // The type of this error is webpki's, which prints the names of its variants.
        Reason::Other(other) => return of_webpki(&other.0.to_string()),
        _ => return None,
    })
}

/// Whether a certificate has X.509 version 1.
pub(super) fn is_version_1(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if other.0.to_string() == VERSION_1)
}

const VERSION_1: &str = "UnsupportedCertVersion";

fn of_webpki(name: &str) -> Option<&'static str> {
    Some(match name {
        "CaUsedAsEndEntity" => {
            "it is the certificate of a CA (basicConstraints CA:TRUE), which may not identify a \
             peer; issue one with CA:FALSE"
        }
        "EndEntityUsedAsCa" => {
            "a certificate in its chain signed another one and is no CA (basicConstraints CA:FALSE)"
        }
        VERSION_1 => {
            "it has X.509 version 1; issue it with version 3, that is with extensions such as \
             subjectAltName"
        }
        "UnsupportedCriticalExtension" => "it has a critical extension that is not understood here",
        "NameConstraintViolation" => "a CA in its chain may not sign for its names",
        "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => "its chain is too long",
        "MaximumPathBuildCallsExceeded" | "MaximumSignatureChecksExceeded" => {
            "its chain takes too much work to verify"
        }
        _ => return None,
    })
}
