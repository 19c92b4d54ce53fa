//! What the errors of rustls mean for a dial.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::transport::connect_error_kind::ConnectErrorKind;

/// The rustls error inside an I/O error, if one is there.
pub(super) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What a TLS error met while dialling means; `None` if it is not one of TLS.
///
/// Also for reads after the handshake: in TLS 1.3 a server judges the client's certificate when the
/// client has already finished, and its alert comes with the first read.
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
