//! The static table (RFC 7541 Appendix A) and its look-up by name.

use crate::http2::hpack::hash;

/// Entries of the static table; the dynamic table's indices follow (RFC 7541 §2.3.3).
pub(super) const STATIC_LEN: usize = 61;

// RFC 7541 §A: index 1 is the first row.
#[rustfmt::skip]
static ENTRIES: [(&[u8], &[u8]); STATIC_LEN] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

const SLOTS: usize = 256;

// Open addressing by the name's hash; holds the index of the first entry of a name, 0 when free.
static BY_NAME: [u8; SLOTS] = by_name();

// How many entries have the name of this one, from it on.
static RUNS: [u8; STATIC_LEN] = runs();

const fn runs() -> [u8; STATIC_LEN] {
    let mut runs = [1; STATIC_LEN];
    let mut at = STATIC_LEN - 1;
    while at > 0 {
        at -= 1;
        if same(ENTRIES[at].0, ENTRIES[at + 1].0) {
            runs[at] = runs[at + 1] + 1;
        }
    }
    runs
}

const fn by_name() -> [u8; SLOTS] {
    let mut slots = [0; SLOTS];
    let mut at = 0;
    while at < STATIC_LEN {
        let name = ENTRIES[at].0;
        if at == 0 || !same(name, ENTRIES[at - 1].0) {
            let mut slot = hash::name(name) as usize % SLOTS;
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = at as u8 + 1;
        }
        at += 1;
    }
    slots
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The entry at `index`, counted from 1.
#[inline]
pub(super) fn get(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    ENTRIES.get(index.wrapping_sub(1)).copied()
}

/// What the static table knows of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Name and value at this index.
    Field(usize),
    /// Only the name, at this index.
    Name(usize),
    /// Nothing.
    None,
}

/// Looks a field up; `name_hash` is [`hash::name`] of its name.
#[inline]
pub(super) fn find(name_hash: u32, name: &[u8], value: &[u8]) -> Match {
    let mut slot = name_hash as usize % SLOTS;
    loop {
        let first = BY_NAME[slot] as usize;
        if first == 0 {
            return Match::None;
        }
        if ENTRIES[first - 1].0 == name {
            return find_value(first, value);
        }
        slot = (slot + 1) % SLOTS;
    }
}

#[inline]
fn find_value(first: usize, value: &[u8]) -> Match {
    // Entries with the same name are adjacent.
    let last = first + RUNS[first - 1] as usize;
    for index in first..last {
        if ENTRIES[index - 1].1 == value {
            return Match::Field(index);
        }
    }
    Match::Name(first)
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::static_table::*;

    #[test]
    fn finds_every_entry_and_every_name() {
        for (at, (name, value)) in ENTRIES.iter().enumerate() {
            assert_eq!(find(hash::name(name), name, value), Match::Field(at + 1));
            let first = ENTRIES.iter().position(|e| e.0 == *name).unwrap() + 1;
            assert_eq!(find(hash::name(name), name, b"no such value"), Match::Name(first));
            assert_eq!(get(at + 1), Some((*name, *value)));
        }
        assert_eq!(find(hash::name(b"grpc-status"), b"grpc-status", b"0"), Match::None);
        assert_eq!((get(0), get(STATIC_LEN + 1)), (None, None));
    }

    #[test]
    fn is_the_table_of_the_appendix() {
        // RFC 7541 §A: the corners of the table.
        assert_eq!(get(1), Some((&b":authority"[..], &b""[..])));
        assert_eq!(get(16), Some((&b"accept-encoding"[..], &b"gzip, deflate"[..])));
        assert_eq!(get(61), Some((&b"www-authenticate"[..], &b""[..])));
    }
}
