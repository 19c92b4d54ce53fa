//! Fields as the `http` crate has them, for the stubs and services of the tower ecosystem.

use crate::grpc::metadata::{decode_bin, encode_bin, split_bin};
use crate::grpc::percent;
use crate::http2::{FieldRef, Fields};
use http::Method;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::request::Parts;
use http::uri::{Authority, InvalidUri};

/// Returns received fields without pseudo-header fields.
///
/// Left out are `-bin` fields whose values are not base64, since stubs may panic at them, and what a
/// [`HeaderMap`] cannot hold: its 32,768th field and those that follow.
#[must_use]
pub fn received(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in fields.iter().filter(|field| field.name.first() != Some(&b':')) {
        let Ok(name) = HeaderName::from_bytes(field.name) else { continue };
        let Some(mut value) = value(field) else { continue };
        value.set_sensitive(field.sensitive);
        if map.try_append(name, value).is_err() {
            break;
        }
    }
    map
}

fn value(field: FieldRef<'_>) -> Option<HeaderValue> {
    if field.name == b"grpc-message" {
        // Escapes that are broken, or no UTF-8, would hide the status from stubs.
        let message = percent::decode(field.value);
        return HeaderValue::from_bytes(&percent::encode(&message, usize::MAX)).ok();
    }
    if !field.name.ends_with(b"-bin") {
        return HeaderValue::from_bytes(field.value).ok();
    }
    if field.name == b"grpc-status-details-bin" {
        // Exactly one value is allowed, and in one form everybody reads it.
        return HeaderValue::try_from(encode_bin(&decode_bin(field.value).ok()?)).ok();
    }
    let valid = split_bin(field.value).all(|value| decode_bin(value).is_ok());
    valid.then(|| HeaderValue::from_bytes(field.value).ok()).flatten()
}

/// Returns the pseudo-header fields of a request whose URI may lack scheme and authority.
///
/// # Errors
/// `host` stands for the authority, and is none.
pub fn pseudo_fields(parts: &Parts, scheme: &str, authority: &str) -> Result<Fields, InvalidUri> {
    let mut fields = Fields::new();
    fields.push(":method", parts.method.as_str());
    // RFC 9113 §8.5: CONNECT has neither
    if parts.method != Method::CONNECT {
        fields.push(":scheme", parts.uri.scheme_str().unwrap_or(scheme));
        fields.push(":path", parts.uri.path_and_query().map_or("/", |path| path.as_str()));
    }
    // RFC 9113 §8.3.1: `host` becomes :authority, and userinfo is no part of it
    match (parts.uri.authority(), parts.headers.get(HOST)) {
        (Some(named), _) => fields.push(":authority", without_userinfo(named)),
        (None, Some(host)) => {
            let host = Authority::try_from(host.as_bytes())?;
            fields.push(":authority", without_userinfo(&host));
        }
        (None, None) => fields.push(":authority", authority),
    }
    Ok(fields)
}

fn without_userinfo(authority: &Authority) -> &str {
    let all = authority.as_str();
    all.rsplit_once('@').map_or(all, |(_, host)| host)
}

/// Appends headers to fields that will be sent.
///
/// Left out are those that HTTP/2 does not have (RFC 9113 §8.2.2), those that `connection` names, and `host`,
/// whose place is `:authority`. Whitespace around a value is no part of it (RFC 9110 §5.5), and is left out too.
pub fn append_to(headers: &HeaderMap, fields: &mut Fields) {
    let (before, mut connection) = (fields.mark(), false);
    for (name, value) in headers {
        if is_absent(name.as_str(), value.as_bytes()) {
            connection |= name == CONNECTION;
        } else {
            append(name, value, fields);
        }
    }
    if connection {
        fields.rewind(before);
        append_unnamed(headers, fields);
    }
}

// RFC 9110 §7.6.1: what `connection` names concerns one connection; te: trailers stands for itself
#[cold]
fn append_unnamed(headers: &HeaderMap, fields: &mut Fields) {
    let named = |name: &HeaderName| {
        let options =
            headers.get_all(CONNECTION).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
        let mut options = options.map(<[u8]>::trim_ascii);
        *name != TE && options.any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    for (name, value) in headers {
        if !is_absent(name.as_str(), value.as_bytes()) && !named(name) {
            append(name, value, fields);
        }
    }
}

fn append(name: &HeaderName, value: &HeaderValue, fields: &mut Fields) {
    let bytes = value.as_bytes().trim_ascii();
    if value.is_sensitive() {
        fields.push_sensitive(name, bytes);
    } else {
        fields.push(name, bytes);
    }
}

// RFC 9113 §8.2.2: connection-specific fields do not exist, and te is "trailers" or absent
fn is_absent(name: &str, value: &[u8]) -> bool {
    match name {
        "connection" | "host" | "keep-alive" | "proxy-connection" | "transfer-encoding"
        | "upgrade" => true,
        "te" => value != b"trailers",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::grpc::header_map::*;

    #[test]
    fn what_a_stub_cannot_read_is_left_out() {
        let mut fields = Fields::new();
        for (name, value) in [
            (":status", "200"),
            ("x-one", "a"),
            ("x-one", "b"),
            ("grpc-status-details-bin", "****"),
            ("x-broken-bin", "AA==,*"),
            ("x-good-bin", "AA==,AAE"),
        ] {
            fields.push(name, value);
        }
        fields.push_sensitive("authorization", "secret");
        let map = received(&fields);
        assert_eq!(map.get_all("x-one").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(map.get("x-good-bin").unwrap(), "AA==,AAE");
        assert!(map.get("authorization").unwrap().is_sensitive());
        assert_eq!(map.len(), 4);
    }

    #[test]
    fn details_are_passed_on_in_one_form() {
        for (sent, seen) in [("AAE=", "AAE"), (" AAE", "AAE"), ("AAF=", "AAE"), ("", "")] {
            let mut fields = Fields::new();
            fields.push("grpc-status-details-bin", sent);
            assert_eq!(received(&fields).get("grpc-status-details-bin").unwrap(), seen);
        }
    }

    #[test]
    fn messages_are_passed_on_in_one_form() {
        for (sent, seen) in [("a%20b", "a b"), ("%C3%BC", "%C3%BC"), ("%zz%FF", "%25zz%EF%BF%BD")] {
            let mut fields = Fields::new();
            fields.push("grpc-message", sent);
            assert_eq!(received(&fields).get("grpc-message").unwrap(), seen);
        }
    }

    #[test]
    fn more_fields_than_a_map_holds_do_not_panic() {
        let mut fields = Fields::new();
        (0..40_000).for_each(|n| fields.push(format!("x-{n}"), ""));
        assert!(received(&fields).len() > 20_000);
    }

    #[test]
    fn what_http2_does_not_have_is_not_sent() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close"),
            ("host", "a"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers.append("te", "trailers".parse().unwrap());
        headers.append("connection", "te,  X-Named ,".parse().unwrap());
        headers.append("x-named", "1".parse().unwrap());
        let mut fields = Fields::new();
        append_to(&headers, &mut fields);
        let sent: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
        let (te, kept): (&[u8], &[u8]) = (b"te", b"x-kept");
        assert_eq!(sent.len(), 2);
        assert!(sent.contains(&(te, b"trailers")) && sent.contains(&(kept, b"1")));
    }
}
