//! Maps errors of rustls to kinds of connect errors.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::transport::connect_error_kind::ConnectErrorKind;
use crate::transport::tls::certificate_error::{explain, refusal};

/// Returns the rustls error inside an I/O error, if there is one.
pub(super) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Maps a TLS error to a connect error kind; `None` if the error is not from TLS.
///
/// It also serves reads after the handshake: in TLS 1.3, a server checks the client's certificate after
/// the client has finished, so its alert arrives with the first read.
#[must_use]
pub fn connect_error_kind(error: &io::Error) -> Option<ConnectErrorKind> {
    Some(match rustls_error(error)? {
        rustls::Error::AlertReceived(alert) => alert_kind(*alert),
        rustls::Error::InvalidCertificate(reason) => certificate_kind(reason),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => ConnectErrorKind::NotTls,
        _ => ConnectErrorKind::Tls,
    })
}

fn alert_kind(alert: AlertDescription) -> ConnectErrorKind {
    match alert {
        AlertDescription::NoApplicationProtocol => ConnectErrorKind::AlpnRefused,
        alert if refusal(alert).is_some() => ConnectErrorKind::ClientCertificate,
        _ => ConnectErrorKind::Tls,
    }
}

/// Returns what an error of TLS means to a client, for the text of a connect error; `None` if the text
/// of rustls, or that of the kind, says as much.
pub(crate) fn connect_error_detail(error: &io::Error) -> Option<String> {
    let error = rustls_error(error)?;
    let &rustls::Error::AlertReceived(alert) = error else { return explain(error) };
    let text = match alert {
        AlertDescription::CertificateRequired => {
            "it requires one and got none; set it with ClientTlsBuilder::identity_pem"
        }
        AlertDescription::HandshakeFailure => {
            "the server found no version, cipher suite or key exchange in common, or requires a \
             client certificate"
        }
        AlertDescription::ProtocolVersion => "the server supports neither TLS 1.3 nor TLS 1.2",
        AlertDescription::UnrecognisedName => "the server does not serve this name",
        alert => refusal(alert)?,
    };
    Some(format!("{text} (alert {alert:?})"))
}

fn certificate_kind(reason: &CertificateError) -> ConnectErrorKind {
    use CertificateError as Reason;
    match reason {
        Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
            ConnectErrorKind::CertificateName
        }
        Reason::Expired
        | Reason::ExpiredContext { .. }
        | Reason::NotValidYet
        | Reason::NotValidYetContext { .. }
        | Reason::Revoked => ConnectErrorKind::CertificateExpired,
        Reason::UnknownIssuer | Reason::BadSignature => ConnectErrorKind::CertificateUntrusted,
        // What the verifier of the application or of the system says for itself.
        Reason::ApplicationVerificationFailure => ConnectErrorKind::CertificateUntrusted,
        _ => ConnectErrorKind::CertificateInvalid,
    }
}
