//! What a target makes of the fuzzer's bytes, as libFuzzer's own macro does it.

use arbitrary::{Arbitrary, Unstructured};

/// The input that the bytes stand for, if they are enough for one.
pub(crate) fn read<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.len() < T::size_hint(0).0 {
        return None;
    }
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}
