//! What errors and logs may repeat of a peer's fields: names of protocols and methods, not what may be
//! a credential in the wrong place.

/// Bytes of the longest name that is repeated.
const NAME: usize = 64;
/// Bytes of the longest path that is repeated.
#[cfg(feature = "server")]
const PATH: usize = 200;

/// Returns the name in a `content-type` or `grpc-encoding`, without parameters; of any other value only
/// the length.
pub(crate) fn name(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    // RFC 6838 §4.2: the characters of a media type
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"/+-._!#$&^".contains(byte);
    match str::from_utf8(name) {
        Ok(text) if !text.is_empty() && text.len() <= NAME && name.iter().all(allowed) => {
            text.to_owned()
        }
        _ => format!("of {} bytes", value.len()),
    }
}

/// Returns a path without its query, escaped; a long one only in part.
#[cfg(feature = "server")]
pub(crate) fn path(path: &[u8]) -> String {
    let path = path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let shown = path.get(..PATH).unwrap_or(path);
    let more = if shown.len() < path.len() { "..." } else { "" };
    format!("{}{more}", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use crate::grpc::shown::*;

    #[test]
    fn names_and_nothing_else() {
        assert_eq!(name(b"text/html; charset=utf-8"), "text/html");
        assert_eq!(name(b"application/grpc+proto"), "application/grpc+proto");
        assert_eq!(name(b"br"), "br");
        for value in [&b""[..], b"Bearer hunter2", b"user:pw", b"a=b", &[b'a'; 65], b"\xff", b";a"]
        {
            assert_eq!(name(value), format!("of {} bytes", value.len()));
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn paths_without_query() {
        assert_eq!(path(b"/a/b?token=x"), "/a/b");
        assert_eq!(path(b"/a\r\n#x"), "/a\\r\\n");
        let long = format!("{}...", "a".repeat(200));
        assert_eq!(path(&[b'a'; 201]), long);
        assert_eq!(path(&[b'a'; 200]), "a".repeat(200));
    }
}
