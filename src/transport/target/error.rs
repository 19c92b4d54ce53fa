//! Why a target is refused.

use crate::transport::target::parse::{join_authority, split_authority};
use std::fmt;

/// Why a target was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetErrorKind {
    /// Nothing was given.
    Empty,
    /// `host:port` alone: the caller has to choose between TLS and plaintext.
    MissingScheme,
    /// A scheme other than `http`, `https` and `unix`. The name is kept if it is well known.
    UnsupportedScheme(Option<&'static str>),
    /// No host behind the scheme, or no path behind `unix:`.
    MissingHost,
    /// A user name or password before the host.
    UserInfo,
    /// A path, query or fragment behind the authority.
    PathNotAllowed,
    /// A character that no host name contains.
    InvalidHost,
    /// An IPv6 address without brackets.
    UnbracketedIpv6,
    /// The text in brackets is not an IPv6 address, or has a zone.
    InvalidIpv6,
    /// The port is not a number from 1 to 65535.
    InvalidPort,
}

/// The error of an invalid target. `Display` says what to write instead.
///
/// It keeps at most host and port: the rest of the input may contain credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError {
    kind: TargetErrorKind,
    /// Host and port, if they can be separated from everything else.
    authority: Option<String>,
}

impl TargetError {
    /// `rest` is the text behind the scheme.
    pub(super) fn new(kind: TargetErrorKind, rest: &str) -> Self {
        // Text before an @ may be credentials, slashes included; text before // may be a scheme; a word
        // without scheme and port may be a token.
        let unclear = rest.contains('@') || rest.contains("//");
        let clean = !unclear && kind != TargetErrorKind::MissingHost;
        let authority = rest.split(['/', '?', '#']).next().filter(|_| clean).unwrap_or_default();
        let bare = kind == TargetErrorKind::MissingScheme;
        let parts = split_authority(authority).ok().filter(|(_, port)| !bare || port.is_some());
        Self { kind, authority: parts.map(|(host, port)| join_authority(&host, port)) }
    }

    /// Returns why the target was refused.
    #[must_use]
    pub const fn kind(&self) -> &TargetErrorKind {
        &self.kind
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.authority {
            Some(authority) => write!(f, "invalid target for {authority}: ")?,
            None => f.write_str("invalid target: ")?,
        }
        match &self.kind {
            TargetErrorKind::Empty => f.write_str("it is empty; write http://host:port"),
            TargetErrorKind::MissingScheme => {
                let authority = self.authority.as_deref().unwrap_or("host:port");
                write!(
                    f,
                    "the scheme is missing; write \"https://{authority}\" for TLS or \
                     \"http://{authority}\" for plaintext"
                )
            }
            TargetErrorKind::UnsupportedScheme(Some(scheme)) => {
                write!(f, "the scheme {scheme:?} is not supported; use http, https or unix")
            }
            TargetErrorKind::UnsupportedScheme(None) => {
                f.write_str("the scheme is not supported; use http, https or unix")
            }
            TargetErrorKind::MissingHost => f.write_str("nothing stands behind the scheme"),
            TargetErrorKind::UserInfo => f.write_str(
                "credentials before the host are refused; send them as authorization metadata",
            ),
            TargetErrorKind::PathNotAllowed => f.write_str(
                "nothing may stand behind the port; the path of a request is its method",
            ),
            TargetErrorKind::InvalidHost => f.write_str(
                "the host has a character no host name has; write an international name in its \
                 ASCII (xn--) form",
            ),
            TargetErrorKind::UnbracketedIpv6 => {
                f.write_str("an IPv6 address stands in brackets, as in http://[::1]:50051")
            }
            TargetErrorKind::InvalidIpv6 => {
                f.write_str("what stands in brackets is not an IPv6 address without zone")
            }
            TargetErrorKind::InvalidPort => f.write_str("the port is not a number of 1 to 65535"),
        }
    }
}

impl std::error::Error for TargetError {}
