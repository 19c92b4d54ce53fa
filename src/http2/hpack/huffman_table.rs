//! The Huffman code of RFC 7541 Appendix B, as constants.
//!
//! The code is canonical: codes of one length are consecutive in symbol order, and the first code of
//! a length follows the last of the length before. So the 257 lengths say everything, and the
//! tables below are computed from them when the crate is compiled.

/// The end-of-string symbol.
pub(super) const EOS: u16 = 256;

/// The longest code, in bits.
pub(super) const LEN_MAX: usize = 30;

/// Bits looked up at once by the decoder: two codes of six bits, as digits and most letters have.
pub(super) const FAST_BITS: u32 = 12;

const SYMBOLS: usize = 257;

// RFC 7541 §B: the length in bits of the code of each byte, and of EOS.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // EOS
];

/// Code and length in bits of each byte.
pub(super) const CODES: [(u32, u8); 256] = codes();

/// What the decoder's slow path knows of the codes of one length.
#[derive(Clone, Copy)]
pub(super) struct Group {
    /// The lowest code of this length.
    pub(super) first_code: u32,
    /// How many codes have this length.
    pub(super) count: u32,
    /// Where their symbols start in [`SORTED`].
    pub(super) first_symbol: u32,
}

/// The groups by code length.
pub(super) const GROUPS: [Group; LEN_MAX + 1] = groups();

/// The symbols in the order of their codes.
pub(super) const SORTED: [u16; SYMBOLS] = sorted();

/// What the next [`FAST_BITS`] bits hold: one symbol or two.
#[derive(Clone, Copy)]
pub(super) struct Fast {
    /// The symbols; the second is of no meaning when there is one.
    pub(super) symbols: [u8; 2],
    /// The length of the first code in bits, 0 when it is longer than [`FAST_BITS`].
    pub(super) first_len: u8,
    // Bits 0 to 3: the length of all codes; bits 4 and 5: how many there are.
    all: u8,
}

impl Fast {
    /// The length of all codes, in bits.
    #[inline]
    pub(super) const fn len(self) -> u32 {
        (self.all & 0x0f) as u32
    }

    /// How many symbols there are.
    #[inline]
    pub(super) const fn count(self) -> usize {
        (self.all >> 4) as usize
    }
}

/// By the next [`FAST_BITS`] bits.
pub(super) static FAST: [Fast; 1 << FAST_BITS] = fast();

const fn groups() -> [Group; LEN_MAX + 1] {
    let mut groups = [Group { first_code: 0, count: 0, first_symbol: 0 }; LEN_MAX + 1];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        groups[LENGTHS[symbol] as usize].count += 1;
        symbol += 1;
    }
    let mut len = 1;
    while len <= LEN_MAX {
        let shorter = groups[len - 1];
        groups[len].first_code = (shorter.first_code + shorter.count) << 1;
        groups[len].first_symbol = shorter.first_symbol + shorter.count;
        len += 1;
    }
    groups
}

const fn sorted() -> [u16; SYMBOLS] {
    let mut next = GROUPS;
    let mut sorted = [0; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let group = &mut next[LENGTHS[symbol] as usize];
        sorted[group.first_symbol as usize] = symbol as u16;
        group.first_symbol += 1;
        symbol += 1;
    }
    sorted
}

const fn codes() -> [(u32, u8); 256] {
    let mut next = GROUPS;
    let mut codes = [(0, 0); 256];
    let mut symbol = 0;
    while symbol < 256 {
        let group = &mut next[LENGTHS[symbol] as usize];
        codes[symbol] = (group.first_code, LENGTHS[symbol]);
        group.first_code += 1;
        symbol += 1;
    }
    codes
}

const fn fast() -> [Fast; 1 << FAST_BITS] {
    let mut fast = [Fast { symbols: [0, 0], first_len: 0, all: 0 }; 1 << FAST_BITS];
    let mut symbol = 0;
    while symbol < 256 {
        let (code, len) = CODES[symbol];
        if len as u32 <= FAST_BITS {
            let spare = FAST_BITS - len as u32;
            let mut tail = 0;
            while tail < 1 << spare {
                fast[(code << spare | tail) as usize] =
                    Fast { symbols: [symbol as u8, 0], first_len: len, all: 0x10 | len };
                tail += 1;
            }
        }
        symbol += 1;
    }
    let single = fast;
    let mut bits = 0;
    while bits < 1 << FAST_BITS {
        let first = &mut fast[bits];
        let second = single[bits << first.first_len & ((1 << FAST_BITS) - 1)];
        let len = first.first_len + second.first_len;
        if first.first_len > 0 && second.first_len > 0 && len as u32 <= FAST_BITS {
            first.symbols[1] = second.symbols[0];
            first.all = 0x20 | len;
        }
        bits += 1;
    }
    fast
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::huffman_table::*;

    #[test]
    fn canonical_codes_are_those_of_the_appendix() {
        // RFC 7541 §B: one row of each kind, and the highest codes.
        let rows = [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'!', 0x3f8, 10),
            (b'+', 0x7fb, 11),
            (b'#', 0xffa, 12),
            (b'~', 0x1ffd, 13),
            (b'{', 0x7ffe, 15),
            (b'\\', 0x7fff0, 19),
            (0, 0x1ff8, 13),
            (22, 0x3fff_fffe, 30),
            (127, 0xfff_fffc, 28),
            (255, 0x3ff_ffee, 26),
        ];
        for (symbol, code, len) in rows {
            assert_eq!(CODES[symbol as usize], (code, len), "symbol {symbol}");
        }
        let last = GROUPS[LEN_MAX];
        assert_eq!(last.first_code + last.count - 1, 0x3fff_ffff);
        assert_eq!(SORTED[SYMBOLS - 1], EOS);
    }
}
