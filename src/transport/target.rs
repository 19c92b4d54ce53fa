//! Where to connect to: a URI, checked once.

use crate::transport::progress::Progress;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What stands before `://`: with TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/2 with prior knowledge over plaintext; default port 80.
    Http,
    /// HTTP/2 over TLS; default port 443.
    Https,
}

impl Scheme {
    /// The value of `:scheme`.
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
    /// Reads a URI. The same as `str::parse`.
    ///
    /// # Errors
    ///
    /// [`TargetError`], which says what is wrong and what to write in its place.
    pub fn parse(uri: &str) -> Result<Self, TargetError> {
        parse(uri).map_err(|kind| {
            let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
            TargetError::new(kind, rest)
        })
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case, an IPv6 literal without brackets; `localhost` for a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, by default 80 or 443; 0 for a Unix socket.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of `:authority`: the host, and the port if it was written.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The Unix socket's path, `None` for TCP.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// The one address behind the name that is to be dialled; `None` leaves the choice to the
    /// connector.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The same target, to be dialled at one address. TLS and requests keep the name.
    #[must_use]
    pub const fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The same target, whose dial tells `progress` how far it has come.
    #[must_use]
    pub fn reporting(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Where a connector says how far it has come; optional, for those who look at a channel.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Requests will carry this `:authority` instead. Dialling and TLS keep the host.
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

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetErrorKind {
    /// Nothing was given.
    Empty,
    /// `host:port` alone: with TLS or without is for the caller to say.
    MissingScheme,
    /// A scheme other than `http`, `https` and `unix`. It is named if it is well known.
    UnsupportedScheme(Option<&'static str>),
    /// No host behind the scheme, or no path behind `unix:`.
    MissingHost,
    /// A user name or password before the host.
    UserInfo,
    /// A path, query or fragment behind the authority.
    PathNotAllowed,
    /// An byte that no host name has.
    InvalidHost,
    /// A colon in the host, and no brackets round it.
    UnbracketedIpv6,
    /// What stands in the brackets is no IPv6 address, or has a zone.
    InvalidIpv6,
    /// Not a number of 1–65535.
    InvalidPort,
}

/// A target that was refused. `Display` says what to write instead.
///
/// It keeps host and port at most. The rest of what was given may hold credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError {
    kind: TargetErrorKind,
    /// Host and port, where they could be told from everything else.
    place: Option<String>,
}

impl TargetError {
    /// `rest` is what stands behind the scheme.
    fn new(kind: TargetErrorKind, rest: &str) -> Self {
        // What stands before an @ may be credentials, slashes included, and before // a scheme.
        let unclear = rest.contains('@') || rest.contains("//");
        let clean = !unclear && kind != TargetErrorKind::MissingHost;
        let authority = rest.split(['/', '?', '#']).next().filter(|_| clean).unwrap_or_default();
        let place = split_authority(authority).ok();
        Self { kind, place: place.map(|(host, port)| join_authority(&host, port)) }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> &TargetErrorKind {
        &self.kind
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "invalid target for {place}: ")?,
            None => f.write_str("invalid target: ")?,
        }
        match &self.kind {
            TargetErrorKind::Empty => f.write_str("it is empty; write http://host:port"),
            TargetErrorKind::MissingScheme => {
                let place = self.place.as_deref().unwrap_or("host:port");
                write!(
                    f,
                    "the scheme is missing; write \"https://{place}\" for TLS or \
                     \"http://{place}\" for plaintext"
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

fn parse(uri: &str) -> Result<Target, TargetErrorKind> {
    if uri.is_empty() {
        return Err(TargetErrorKind::Empty);
    }
    if let Some(path) = strip_prefix_ignoring_case(uri, "unix:") {
        return parse_unix(path);
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(without_slashes(uri));
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "" => return Err(TargetErrorKind::MissingScheme),
        other => return Err(TargetErrorKind::UnsupportedScheme(well_known(other))),
    };
    let authority = match rest.find(['/', '?', '#']) {
        None => rest,
        Some(at) if &rest[at..] == "/" => &rest[..at],
        Some(_) => return Err(TargetErrorKind::PathNotAllowed),
    };
    let (host, port) = split_authority(authority)?;
    let authority = join_authority(&host, port);
    Ok(Target {
        scheme,
        host,
        port: port.unwrap_or_else(|| scheme.default_port()),
        authority,
        unix: None,
        address: None,
        progress: Progress::default(),
    })
}

/// `dns:name` has a scheme that we lack; `name:50051` and `name` have none.
fn without_slashes(uri: &str) -> TargetErrorKind {
    let scheme = uri.split_once(':').and_then(|(scheme, _)| well_known(scheme));
    match scheme.filter(|scheme| RESOLVED.contains(scheme)) {
        Some(scheme) => TargetErrorKind::UnsupportedScheme(Some(scheme)),
        None => TargetErrorKind::MissingScheme,
    }
}

/// Schemes of gRPC's resolvers, written without slashes, too.
const RESOLVED: [&str; 6] = ["dns", "ipv4", "ipv6", "xds", "vsock", "unix-abstract"];

/// Other schemes that are given by mistake.
const MISTAKEN: [&str; 11] =
    ["grpc", "grpcs", "grpc+tls", "h2", "h2c", "http2", "passthrough", "tcp", "tls", "ws", "wss"];

/// The scheme, if errors may name it: what is unknown may be a secret in the wrong place.
fn well_known(scheme: &str) -> Option<&'static str> {
    RESOLVED.into_iter().chain(MISTAKEN).find(|known| *known == scheme)
}

fn parse_unix(path: &str) -> Result<Target, TargetErrorKind> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('\0') {
        return Err(TargetErrorKind::MissingHost);
    }
    Ok(Target {
        scheme: Scheme::Http,
        host: "localhost".to_owned(),
        port: 0,
        authority: "localhost".to_owned(),
        unix: Some(PathBuf::from(path)),
        address: None,
        progress: Progress::default(),
    })
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { text.get(prefix.len()..) } else { None }
}

/// The host without brackets and in lower case, and the port if one was written.
fn split_authority(authority: &str) -> Result<(String, Option<u16>), TargetErrorKind> {
    if authority.contains('@') {
        return Err(TargetErrorKind::UserInfo);
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((literal, port)) = rest.split_once(']') else {
            return Err(TargetErrorKind::InvalidIpv6);
        };
        let ip: Ipv6Addr = literal.parse().map_err(|_| TargetErrorKind::InvalidIpv6)?;
        let port = match port.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if port.is_empty() => None,
            None => return Err(TargetErrorKind::InvalidPort),
        };
        return Ok((ip.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err(TargetErrorKind::UnbracketedIpv6),
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(TargetErrorKind::MissingHost);
    }
    check_host(host)?;
    Ok((host.to_ascii_lowercase(), port))
}

fn check_host(host: &str) -> Result<(), TargetErrorKind> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let numeric = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    if !host.bytes().all(allowed) {
        return Err(TargetErrorKind::InvalidHost);
    }
    // A name never ends in a number: 10.0.0.256 is a mistake, not a name to look up.
    let last_label = host.rsplit('.').next().unwrap_or_default();
    if numeric(last_label) && host.parse::<Ipv4Addr>().is_err() {
        return Err(TargetErrorKind::InvalidHost);
    }
    Ok(())
}

/// An empty port is the default one (RFC 3986 §3.2.3).
fn parse_port(digits: &str) -> Result<Option<u16>, TargetErrorKind> {
    if digits.is_empty() {
        return Ok(None);
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TargetErrorKind::InvalidPort);
    }
    match digits.parse::<u16>() {
        Ok(0) | Err(_) => Err(TargetErrorKind::InvalidPort),
        Ok(port) => Ok(Some(port)),
    }
}

fn join_authority(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::target::TargetErrorKind as Kind;
    use crate::transport::target::*;

    #[test]
    fn accepted() {
        let table: &[(&str, Scheme, &str, u16, &str)] = &[
            ("http://a.example", Scheme::Http, "a.example", 80, "a.example"),
            ("https://a.example/", Scheme::Https, "a.example", 443, "a.example"),
            ("HTTPS://A.Example:8443", Scheme::Https, "a.example", 8443, "a.example:8443"),
            ("https://a.example:443", Scheme::Https, "a.example", 443, "a.example:443"),
            ("http://a.example:", Scheme::Http, "a.example", 80, "a.example"),
            ("http://127.0.0.1:50051", Scheme::Http, "127.0.0.1", 50051, "127.0.0.1:50051"),
            ("http://[::1]", Scheme::Http, "::1", 80, "[::1]"),
            ("http://[2001:DB8::1]:1/", Scheme::Http, "2001:db8::1", 1, "[2001:db8::1]:1"),
            (
                "http://my_service.ns:65535",
                Scheme::Http,
                "my_service.ns",
                65535,
                "my_service.ns:65535",
            ),
            ("http://a.example.:80", Scheme::Http, "a.example.", 80, "a.example.:80"),
        ];
        for &(uri, scheme, host, port, authority) in table {
            let target = Target::parse(uri).unwrap_or_else(|e| panic!("{e}"));
            let got = (target.scheme(), target.host(), target.port(), target.authority());
            assert_eq!(got, (scheme, host, port, authority), "{uri}");
            assert_eq!(target.unix_path(), None);
            // What is displayed can be read again and means the same place.
            let again: Target = target.to_string().parse().unwrap();
            assert_eq!((again.host(), again.port()), (host, port), "{uri}");
        }
    }

    #[test]
    fn unix() {
        for (uri, path) in [
            ("unix:/run/a.sock", "/run/a.sock"),
            ("unix:///run/a.sock", "/run/a.sock"),
            ("unix:rel/a.sock", "rel/a.sock"),
        ] {
            let target = Target::parse(uri).unwrap();
            assert_eq!(target.unix_path(), Some(Path::new(path)), "{uri}");
            assert_eq!((target.scheme(), target.authority()), (Scheme::Http, "localhost"));
        }
        assert_eq!(Target::parse("unix:").unwrap_err().kind(), &Kind::MissingHost);
        assert_eq!(Target::parse("unix://").unwrap_err().kind(), &Kind::MissingHost);
    }

    #[test]
    fn refused() {
        let table: &[(&str, Kind)] = &[
            ("", Kind::Empty),
            ("localhost:50051", Kind::MissingScheme),
            ("a.example", Kind::MissingScheme),
            ("[::1]:50051", Kind::MissingScheme),
            ("://a", Kind::MissingScheme),
            ("dns:a.example", Kind::UnsupportedScheme(Some("dns"))),
            ("dns:///a.example", Kind::UnsupportedScheme(Some("dns"))),
            ("grpc://a", Kind::UnsupportedScheme(Some("grpc"))),
            ("hunter2://a", Kind::UnsupportedScheme(None)),
            ("http://", Kind::MissingHost),
            ("http://:80", Kind::MissingHost),
            ("https:///", Kind::MissingHost),
            ("http://user:pw@a", Kind::UserInfo),
            ("http://a/b", Kind::PathNotAllowed),
            ("http://a?b", Kind::PathNotAllowed),
            ("http://a/#b", Kind::PathNotAllowed),
            ("http://a b", Kind::InvalidHost),
            ("http://ä.example", Kind::InvalidHost),
            ("http://a%41", Kind::InvalidHost),
            ("http://10.0.0.256", Kind::InvalidHost),
            ("http://::1", Kind::UnbracketedIpv6),
            ("http://fe80::1:80", Kind::UnbracketedIpv6),
            ("http://[::1", Kind::InvalidIpv6),
            ("http://[fe80::1%eth0]", Kind::InvalidIpv6),
            ("http://[1.2.3.4]", Kind::InvalidIpv6),
            ("http://[::1]80", Kind::InvalidPort),
            ("http://a:0", Kind::InvalidPort),
            ("http://a:65536", Kind::InvalidPort),
            ("http://a:+80", Kind::InvalidPort),
            ("http://a:80x", Kind::InvalidPort),
        ];
        for (uri, kind) in table {
            match Target::parse(uri) {
                Err(error) => assert_eq!(error.kind(), kind, "{uri}"),
                Ok(target) => panic!("{uri} gave {target:?}"),
            }
        }
    }

    #[test]
    fn a_bare_address_is_told_what_to_write() {
        assert_eq!(
            Target::parse("localhost:50051").unwrap_err().to_string(),
            "invalid target for localhost:50051: the scheme is missing; write \
             \"https://localhost:50051\" for TLS or \"http://localhost:50051\" for plaintext"
        );
    }

    #[test]
    fn the_authority_can_be_replaced() {
        let target = Target::parse("http://10.0.0.1:80").unwrap();
        let named = target.clone().with_authority("Svc.example:9").unwrap();
        assert_eq!((named.host(), named.authority()), ("10.0.0.1", "svc.example:9"));
        assert!(target.clone().with_authority("a/b").is_err());
        assert!(target.with_authority("").is_err());
    }
}
