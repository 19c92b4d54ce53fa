//! A field block encoder of a dozen lines (RFC 7541 §6.2.2: literals without indexing), and the
//! representations that the tests of errors need.

/// Fields as the tests write and read them.
pub(crate) type Fields = Vec<(String, String)>;

fn integer(out: &mut Vec<u8>, first: u8, prefix_bits: u8, value: usize) {
    let most = (1usize << prefix_bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// A literal with a new name, not indexed; any bytes.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0x00];
    string(&mut out, name);
    string(&mut out, value);
    out
}

/// A literal with a new name that enters the dynamic table.
pub(crate) fn entered(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = literal(name, value);
    out[0] = 0x40;
    out
}

/// A field by its index in the static and dynamic tables; 62 is the newest entry.
pub(crate) fn indexed(index: usize) -> Vec<u8> {
    let mut out = Vec::new();
    integer(&mut out, 0x80, 7, index);
    out
}

/// A change of the dynamic table's size.
pub(crate) fn table_size(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    integer(&mut out, 0x20, 5, bytes);
    out
}

/// A block of literals.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(n, v)| literal(n.as_bytes(), v.as_bytes())).collect()
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
    ]);
    out.extend(block(more));
    out
}

/// The field block of a GET.
pub(crate) fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    request("GET", path, more)
}

/// The field block of a POST.
pub(crate) fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    request("POST", path, more)
}

/// The field block of a response.
pub(crate) fn response(status: u16, more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block(&[(":status", &status.to_string())]);
    out.extend(block(more));
    out
}
