//! Reads a URI.

use crate::transport::progress::Progress;
use crate::transport::target::{Scheme, Target, TargetErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

pub(super) fn parse(uri: &str) -> Result<Target, TargetErrorKind> {
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

/// `dns:name` has an unsupported scheme; `name:50051` and `name` have none.
fn without_slashes(uri: &str) -> TargetErrorKind {
    let scheme = uri.split_once(':').and_then(|(scheme, _)| well_known(scheme));
    match scheme.filter(|scheme| RESOLVED.contains(scheme)) {
        Some(scheme) => TargetErrorKind::UnsupportedScheme(Some(scheme)),
        None => TargetErrorKind::MissingScheme,
    }
}

/// Schemes of gRPC's resolvers, written without slashes, too.
const RESOLVED: [&str; 6] = ["dns", "ipv4", "ipv6", "xds", "vsock", "unix-abstract"];

/// Other schemes that people write by mistake.
const MISTAKEN: [&str; 11] =
    ["grpc", "grpcs", "grpc+tls", "h2", "h2c", "http2", "passthrough", "tcp", "tls", "ws", "wss"];

/// Returns the scheme if errors may name it: an unknown one may be a misplaced secret.
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
pub(super) fn split_authority(authority: &str) -> Result<(String, Option<u16>), TargetErrorKind> {
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

pub(super) fn join_authority(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}
