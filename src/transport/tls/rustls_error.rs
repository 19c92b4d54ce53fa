//! Maps errors of rustls to kinds of connect errors.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::transport::connect_error_kind::ConnectErrorKind;

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
    use AlertDescription as Alert;
    match alert {
        Alert::NoApplicationProtocol => ConnectErrorKind::AlpnRefused,
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => ConnectErrorKind::ClientCertificate,
        _ => ConnectErrorKind::Tls,
    }
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
        _ => ConnectErrorKind::Tls,
    }
}
