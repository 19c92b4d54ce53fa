//! A field section in one flat buffer, without an object per field.

use std::fmt;

/// The bytes that each field counts in addition to its name and value (RFC 9113 §10.5.1).
pub const FIELD_OVERHEAD: usize = 32;

const HEADER: usize = 9;
const SENSITIVE: u8 = 1;

/// An ordered list of header fields in one allocation.
///
/// The caller passes names in lower case (RFC 9113 §8.2); this type does not check them. A cleared list
/// keeps its memory.
///
/// ```
/// # #[cfg(feature = "server")]
/// # {
/// use framewire::server::HttpReply;
///
/// let reply = HttpReply::new(200).with_field("content-type", "text/plain");
/// assert_eq!(reply.fields.get("content-type"), Some(b"text/plain".as_slice()));
/// assert_eq!(reply.fields.len(), 1);
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    // Per field: flags (1), name length (4, LE), value length (4, LE), name, value.
    buf: Vec<u8>,
    count: usize,
}

/// A position in a [`Fields`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    count: usize,
}

/// A borrowed field line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// The name, lower case.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Whether the field is a secret: never logged, never indexed by HPACK (RFC 7541 §7.1.3).
    pub sensitive: bool,
}

impl Fields {
    /// Creates an empty list; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { buf: Vec::new(), count: 0 }
    }

    /// Appends a field line.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push_ref(FieldRef { name: name.as_ref(), value: value.as_ref(), sensitive: false });
    }

    /// Appends a field line that is never indexed by HPACK (RFC 7541 §7.1.3).
    pub fn push_sensitive(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push_ref(FieldRef { name: name.as_ref(), value: value.as_ref(), sensitive: true });
    }

    /// Appends a borrowed field line.
    pub fn push_ref(&mut self, field: FieldRef<'_>) {
        let flags = if field.sensitive { SENSITIVE } else { 0 };
        self.buf.reserve(HEADER + field.name.len() + field.value.len());
        self.buf.push(flags);
        self.buf.extend_from_slice(&(field.name.len() as u32).to_le_bytes());
        self.buf.extend_from_slice(&(field.value.len() as u32).to_le_bytes());
        self.buf.extend_from_slice(field.name);
        self.buf.extend_from_slice(field.value);
        self.count += 1;
    }

    /// Appends every field of `other`.
    pub fn extend_from(&mut self, other: &Self) {
        self.buf.extend_from_slice(&other.buf);
        self.count += other.count;
    }

    /// Returns the number of field lines.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Returns whether the list has no field line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Removes all field lines and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.count = 0;
    }

    /// Frees the memory of a list whose capacity is above `kept` bytes, and all its fields with it.
    pub fn shrink(&mut self, kept: usize) {
        if self.buf.capacity() > kept {
            *self = Self::new();
        }
    }

    /// Returns the end of the list, for [`Fields::rewind`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.buf.len(), count: self.count }
    }

    /// Removes every field line appended since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.buf.truncate(mark.bytes);
        self.count = self.count.min(mark.count);
    }

    /// Returns the bytes of memory held, used or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Returns the size in bytes as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 §10.5.1).
    #[must_use]
    pub fn list_size(&self) -> usize {
        self.buf.len() + self.count * (FIELD_OVERHEAD - HEADER)
    }

    /// Iterates over the field lines in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.buf }
    }

    /// Returns the first value of `name`.
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        self.iter().find(|f| f.name == name).map(|f| f.value)
    }

    /// Returns all values of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.iter().filter(move |f| f.name == name.as_bytes()).map(|f| f.value)
    }
}

/// Iterator over the field lines of a [`Fields`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = FieldRef<'a>;

    fn next(&mut self) -> Option<FieldRef<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<HEADER>()?;
        let name_len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let value_len = u32::from_le_bytes([head[5], head[6], head[7], head[8]]) as usize;
        let (name, rest) = rest.split_at(name_len);
        let (value, rest) = rest.split_at(value_len);
        self.rest = rest;
        Some(FieldRef { name, value, sensitive: head[0] & SENSITIVE != 0 })
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = FieldRef<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Prints the name and the length of the value. Any value may be a secret, marked or not,
/// except what the protocol itself defines.
impl fmt::Debug for FieldRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        // RFC 9110 §5.6.2: what is no token is no name, but a value in the wrong place
        let is_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(byte);
        let name = match self.name.iter().all(is_name) {
            true => self.name.escape_ascii().to_string(),
            false => format!("<a name of {} bytes>", self.name.len()),
        };
        if self.sensitive {
            write!(f, "{name}: <sensitive>")
        } else if is_of_the_protocol(self.name, value) {
            write!(f, "{name}: {}", value.escape_ascii())
        } else {
            write!(f, "{name}: <{} bytes>", value.len())
        }
    }
}

/// Whether a value is one that its field is defined to have, so that it is no secret in the wrong place.
fn is_of_the_protocol(name: &[u8], value: &[u8]) -> bool {
    match name {
        b":method" => value.len() <= 16 && value.iter().all(u8::is_ascii_uppercase),
        b":scheme" => matches!(value, b"http" | b"https"),
        b":status" | b"content-length" => value.iter().all(u8::is_ascii_digit),
        b"te" => value == b"trailers",
        b"content-type" => [&b"application/"[..], b"text/"].iter().any(|of| value.starts_with(of)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::fields::*;

    #[test]
    fn keeps_order_values_and_marks() {
        let mut fields = Fields::new();
        fields.push("a", "1");
        fields.push_sensitive("b", "");
        fields.push("a", "2");
        assert_eq!(fields.len(), 3);
        assert_eq!(fields.get("a"), Some(&b"1"[..]));
        assert_eq!(fields.get_all("a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.iter().filter(|f| f.sensitive).count(), 1);
        assert_eq!(fields.list_size(), 3 * 32 + 5);
        assert_eq!(format!("{fields:?}"), "[a: <1 bytes>, b: <sensitive>, a: <1 bytes>]");
        fields.clear();
        assert!(fields.is_empty() && fields.iter().next().is_none());
    }
}
