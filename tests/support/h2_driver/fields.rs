//! Field lists of this crate and of the `http` crate, into each other.

use framewire::unstable::call::state::SendState;
use framewire::unstable::http2::{Fields, Head};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};

/// Why a list cannot be sent.
#[derive(Debug)]
pub(super) struct Unsendable(pub(super) String);

impl<E: std::error::Error> From<E> for Unsendable {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The whole head: stable fields, then further ones.
fn head(out: &SendState) -> Fields {
    let mut all = Fields::new();
    if let Some(template) = out.template() {
        all.extend_from(template.fields());
    }
    all.extend_from(out.extra());
    all
}

/// The fields that are not pseudo-header fields.
pub(super) fn map(fields: &Fields) -> Result<HeaderMap, Unsendable> {
    let mut map = HeaderMap::new();
    for field in fields {
        if field.name.starts_with(b":") {
            continue;
        }
        let mut value = HeaderValue::from_bytes(field.value)?;
        value.set_sensitive(field.sensitive);
        map.append(HeaderName::from_bytes(field.name)?, value);
    }
    Ok(map)
}

pub(super) fn list(map: &HeaderMap, into: &mut Fields) {
    for (name, value) in map {
        if value.is_sensitive() {
            into.push_sensitive(name, value);
        } else {
            into.push(name, value);
        }
    }
}

pub(super) fn request(out: &SendState, timeout: Option<&[u8]>) -> Result<Request<()>, Unsendable> {
    let mut fields = head(out);
    if let Some(timeout) = timeout {
        fields.push("grpc-timeout", timeout);
    }
    let part = |name: &str| fields.get(name).unwrap_or_default();
    let mut uri = Uri::builder().path_and_query(part(":path"));
    if !part(":authority").is_empty() {
        uri = uri.scheme(part(":scheme")).authority(part(":authority"));
    }
    let mut request = Request::builder().method(part(":method")).uri(uri.build()?).body(())?;
    *request.headers_mut() = map(&fields)?;
    Ok(request)
}

pub(super) fn response(out: &SendState) -> Result<Response<()>, Unsendable> {
    let fields = head(out);
    let mut response =
        Response::builder().status(fields.get(":status").unwrap_or_default()).body(())?;
    *response.headers_mut() = map(&fields)?;
    Ok(response)
}

pub(super) fn request_head(request: &http::request::Parts) -> Option<Head> {
    let mut fields = Fields::new();
    let uri = &request.uri;
    fields.push(":method", request.method.as_str());
    fields.push(":scheme", uri.scheme_str().unwrap_or("http"));
    fields.push(":path", uri.path_and_query().map_or("/", |path| path.as_str()));
    if let Some(authority) = uri.authority() {
        fields.push(":authority", authority.as_str());
    }
    list(&request.headers, &mut fields);
    Head::request(&fields).ok()
}

pub(super) fn response_head(response: &http::response::Parts) -> Option<Head> {
    let mut fields = Fields::new();
    fields.push(":status", response.status.as_str());
    list(&response.headers, &mut fields);
    Head::response(&fields).ok()
}
