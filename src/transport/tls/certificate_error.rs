//! What is wrong with a certificate, in words: rustls has names for it, and passes on those of webpki.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

/// Returns a clause about "it", the certificate; `None` if the text of rustls says as much.
pub(super) fn explain(error: &rustls::Error) -> Option<String> {
    use CertificateError as Reason;
    let rustls::Error::InvalidCertificate(reason) = error else { return None };
    let text = match reason {
        Reason::BadEncoding => "it is not an X.509 certificate in DER",
        Reason::UnhandledCriticalExtension => UNKNOWN_EXTENSION,
        Reason::BadSignature => "its signature does not fit the key of its issuer",
        Reason::Revoked => "it was revoked",
        Reason::UnsupportedSignatureAlgorithmContext { .. }
        | Reason::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it or its issuer is signed with an algorithm that is not accepted, such as SHA-1"
        }
        Reason::ExpiredContext { time, not_after } => {
            return Some(format!("it expired {} ago, {CLOCK}", span(*not_after, *time)));
        }
        Reason::NotValidYetContext { time, not_before } => {
            return Some(format!("it becomes valid in {}, {CLOCK}", span(*time, *not_before)));
        }
        // The type of this error is webpki's, which prints the names of its variants.
        Reason::Other(other) => of_webpki(&other.0.to_string())?,
        _ => return None,
    };
    Some(text.to_owned())
}

const CLOCK: &str = "by the clock of this machine";
const UNKNOWN_EXTENSION: &str = "it has a critical extension that is not understood here";

fn span(from: UnixTime, to: UnixTime) -> String {
    let hours = to.as_secs().saturating_sub(from.as_secs()).div_ceil(3600);
    if hours < 72 { format!("{hours} h") } else { format!("{} days", hours / 24) }
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
        "UnsupportedCriticalExtension" => UNKNOWN_EXTENSION,
        "NameConstraintViolation" => "a CA in its chain may not sign for its names",
        "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => "its chain is too long",
        "MaximumPathBuildCallsExceeded" | "MaximumSignatureChecksExceeded" => {
            "its chain takes too much work to verify"
        }
        _ => return None,
    })
}

/// Returns what an alert says of the certificate of the side that receives it, as a clause that follows
/// "the peer did not accept the certificate of this side"; `None` if it is no alert about certificates
/// (RFC 8446 §6.2).
pub(super) const fn refusal(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Alert;
    Some(match alert {
        Alert::CertificateRequired => "it requires one and got none",
        Alert::UnknownCA => "it does not trust the CA that signed it",
        Alert::CertificateExpired => "it is not valid at this time, by the peer's clock",
        Alert::CertificateRevoked => "it was revoked",
        Alert::UnsupportedCertificate => "it is of a type or for a purpose that is not accepted",
        Alert::BadCertificate => "it is malformed, for another name, or was not sent",
        Alert::CertificateUnknown => "the log of the peer may say why",
        Alert::AccessDenied => "it is valid, and its owner has no access",
        _ => return None,
    })
}
