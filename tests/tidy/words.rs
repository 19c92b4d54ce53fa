//! Words that the writing rules replace by the field's own terms, and how often each still occurs.

use crate::reader::Source;

/// Word, occurrences allowed, what to write instead. The count is exact, so that it only shrinks:
/// who removes a word lowers its number. A space in a word also matches `_`.
pub(crate) const WORDS: &[(&str, usize, &str)] = &[
    ("at rest", 0, "idle"),
    ("door", 0, "the name of the API"),
    ("floor", 0, "layer"),
    ("for ever", 1, "until what ends it"),
    ("home", 2, "owner"),
    ("house", 0, "structure or module"),
    ("in vain", 2, "why it fails"),
    ("let go", 1, "release, drop or close"),
    ("octet", 0, "byte"),
    ("patience", 0, "deadline or timeout"),
    ("riddle", 0, "the fact"),
    ("room", 9, "capacity or space"),
    ("seat", 10, "permit"),
    ("stir", 0, "wake"),
    ("stranger", 9, "unknown peer"),
    ("surely", 1, "definitely"),
    ("their rest", 0, "idle"),
    ("under way", 11, "in flight"),
    ("whoever", 3, "who: the caller, the peer, the pool"),
];

/// Occurrences of a word in a line, in any case, in the plural, and as a part of an identifier.
pub(crate) fn occurrences(text: &str, word: &str) -> usize {
    let lower = text.to_ascii_lowercase().replace('_', " ");
    let bytes = text.as_bytes();
    let letter =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).filter(|b| b.is_ascii_alphabetic());
    // `windowOctets` and `OctetCount` hold the word, `roommate` does not hold `room`.
    let begins = |at: usize| {
        letter(at.checked_sub(1))
            .is_none_or(|b| b.is_ascii_lowercase() && bytes[at].is_ascii_uppercase())
    };
    let ends = |at: usize| letter(Some(at)).is_none_or(u8::is_ascii_uppercase);
    lower
        .match_indices(word)
        .filter(|(at, _)| {
            let end = at + word.len();
            begins(*at) && (ends(end) || (lower[end..].starts_with('s') && ends(end + 1)))
        })
        .count()
}

/// Every occurrence of a word in the texts, as path and line; a quotation (`> …` in a note) may
/// have it.
pub(crate) fn find(texts: &[&Source], word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in texts {
        let quoted = |text: &str| source.path.ends_with(".md") && text.starts_with('>');
        for line in source.lines.iter().filter(|line| !quoted(&line.text)) {
            let count = occurrences(&line.text, word);
            found.extend((0..count).map(|_| format!("{}:{}", source.path, line.number)));
        }
    }
    found
}
