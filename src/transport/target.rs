//! Where to connect to: a URI, checked once.

mod error;
mod parse;
#[cfg(test)]
mod tests;

pub use error::{TargetError, TargetErrorKind};

use crate::transport::progress::{ConnectPhase, Progress};
use parse::{join_authority, split_authority};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The scheme of a target: with TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/2 with prior knowledge over plaintext; default port 80.
    Http,
    /// HTTP/2 over TLS; default port 443.
    Https,
}

impl Scheme {
    /// Returns the value of `:scheme`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A server to connect to: scheme, host, port, and the `:authority` its requests carry.
///
/// Written `http://host:port`, `https://host:port` (port optional, IPv6 in brackets), or
/// `unix:path` and `unix:///absolute/path`, which are plaintext with the authority `localhost`.
/// A path behind the authority is refused: the method of a call is its path.
///
/// ```
/// # fn main() -> Result<(), framewire::transport::TargetError> {
/// use framewire::transport::{Scheme, Target, TargetErrorKind};
///
/// let target: Target = "https://api.example.com".parse()?;
/// assert_eq!(target.scheme(), Scheme::Https);
/// assert_eq!((target.host(), target.port()), ("api.example.com", 443));
///
/// // The name for TLS and requests stays; the address says where to dial.
/// let target = target.at("192.0.2.1:8443".parse().unwrap());
/// assert_eq!(target.authority(), "api.example.com");
///
/// let error = Target::parse("localhost:50051").unwrap_err();
/// assert_eq!(error.kind(), &TargetErrorKind::MissingScheme);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    authority: String,
    unix: Option<PathBuf>,
    address: Option<SocketAddr>,
    progress: Progress,
}

impl Target {
    /// Parses a URI. The same as `str::parse`.
    ///
    /// # Errors
    ///
    /// [`TargetError`], which says what is wrong and what to write instead.
    pub fn parse(uri: &str) -> Result<Self, TargetError> {
        parse::parse(uri).map_err(|kind| {
            let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
            TargetError::new(kind, rest)
        })
    }

    /// Returns the scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host in lower case, an IPv6 literal without brackets; `localhost` for a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, by default 80 or 443; 0 for a Unix socket.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of `:authority`: the host, and the port if it was written.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the Unix socket's path, `None` for TCP.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// Returns the address to dial; `None` leaves the choice to the connector, which resolves the
    /// name.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Sets the one address to dial. TLS and requests keep the name.
    #[must_use]
    pub const fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Sets where the dial reports its steps.
    pub(crate) fn reporting(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Reports that the dial enters `phase`, for the statistics of a channel and for the errors of
    /// its timeouts. A connector calls it at the beginning of each step; this is optional.
    pub fn enter(&self, phase: ConnectPhase) {
        self.progress.enter(phase);
    }

    /// Sets the `:authority` of requests. Dialling and TLS keep the host.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if it is not `host` or `host:port`.
    pub fn with_authority(mut self, authority: &str) -> Result<Self, TargetError> {
        let fail = |kind| TargetError::new(kind, authority);
        if authority.contains(['/', '?', '#']) {
            return Err(fail(TargetErrorKind::PathNotAllowed));
        }
        let (host, port) = split_authority(authority).map_err(fail)?;
        self.authority = join_authority(&host, port);
        Ok(self)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(uri: &str) -> Result<Self, TargetError> {
        Self::parse(uri)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.unix {
            return write!(f, "unix:{}", path.display());
        }
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}:{}", self.scheme.as_str(), self.host, self.port)?;
        match self.address {
            Some(address) => write!(f, " at {address}"),
            None => Ok(()),
        }
    }
}
