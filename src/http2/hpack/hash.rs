//! A hash for look-ups in the tables: constant time, computable at compile time.
//!
//! It reads at most 24 bytes of a string. Strings made to collide cost their sender little: a
//! table holds at most [`super::DEFAULT_TABLE_SIZE`] bytes, so that much is compared at worst.

const NAME: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
const VALUE: [u64; 2] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db];

/// The hash of a field name.
#[inline]
pub(super) const fn name(name: &[u8]) -> u32 {
    let (a, b) = sample(name);
    fold(a ^ NAME[0], b ^ NAME[1])
}

/// The hash of a whole field, from [`name`] of its name and its value.
#[inline]
pub(super) const fn field(name: u32, value: &[u8]) -> u32 {
    let (a, b) = sample(value);
    fold(a ^ VALUE[0] ^ name as u64, b ^ VALUE[1] ^ value.len() as u64)
}

#[inline]
const fn fold(a: u64, b: u64) -> u32 {
    let product = a as u128 * b as u128;
    let folded = product as u64 ^ (product >> 64) as u64;
    (folded ^ folded >> 32) as u32
}

/// All bytes of a string of up to 16; the first, middle and last eight of a longer one.
#[inline]
const fn sample(string: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (string.first_chunk::<8>(), string.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        let middle = match string.split_at(string.len() / 2 - 4).1.first_chunk::<8>() {
            Some(middle) => u64::from_le_bytes(*middle),
            None => 0,
        };
        return (first ^ middle.rotate_left(29), last.wrapping_add(middle));
    }
    if let (Some(first), Some(last)) = (string.first_chunk::<4>(), string.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return ((first as u64) << 32 | last as u64, string.len() as u64);
    }
    match string {
        [] => (0, 0),
        [a, ..] => {
            let middle = string[string.len() / 2] as u64;
            let last = string[string.len() - 1] as u64;
            ((*a as u64) << 16 | middle << 8 | last, string.len() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::hash::*;

    #[test]
    fn short_strings_of_equal_ends_differ() {
        let hashes: std::collections::HashSet<u32> =
            (0..1000).map(|n| name(format!("x-{n}").as_bytes())).collect();
        assert_eq!(hashes.len(), 1000);
        assert_ne!(name(b"a"), name(b"aa"));
        assert_ne!(field(name(b"a"), b"b"), field(name(b"b"), b"a"));
        assert_ne!(field(1, b""), field(2, b""));
    }
}
