//! Why a PEM text cannot be parsed. The error repeats nothing of the text: it may be a private key.

use std::error::Error;
use std::fmt;

/// The label of a certificate.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";
/// The usual label of a private key.
pub(super) const KEY: &str = "PRIVATE KEY";

/// The labels of keys that can be parsed.
const KEYS: [&str; 3] = [KEY, "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The labels that errors may name; other labels are not repeated.
const KNOWN: [&str; 9] = [
    CERTIFICATE,
    KEY,
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "TRUSTED CERTIFICATE",
    "CERTIFICATE REQUEST",
    "PUBLIC KEY",
    "X509 CRL",
];

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// What is wrong with a PEM text: the number of the line, counted from 1, and the expected label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misread {
    wanted: &'static str,
    line: usize,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// No section begins anywhere.
    NoSection,
    /// A line with BEGIN or END has more text.
    LineBreaksLost,
    /// The first section has another label; `None` if it is not in `KNOWN`.
    OtherSection(Option<&'static str>),
    /// A character is not base64.
    NotBase64,
    /// The section has no END line of its label.
    NoEnd(Option<&'static str>),
    /// The length of the base64 text is impossible.
    Truncated,
}

impl Misread {
    /// Finds the reason why `pem` has no valid section `wanted`.
    pub(super) fn find(pem: &[u8], wanted: &'static str) -> Self {
        let mut open: Option<Section> = None;
        let mut other = None;
        let at = |line, problem| Self { wanted, line, problem };
        let is_wanted = |label| label == wanted || (wanted == KEY && KEYS.contains(&label));
        for (index, line) in lines(pem).enumerate() {
            let number = index + 1;
            if let Some(label) = line.strip_prefix(BEGIN) {
                match label.strip_suffix(DASHES) {
                    Some(label) if !contains(label, DASHES) => {
                        open = Some(Section::new(known(label), number));
                    }
                    _ => return at(number, Problem::LineBreaksLost),
                }
            } else if contains(line, BEGIN) {
                return at(number, Problem::LineBreaksLost);
            } else if let Some(section) = &mut open {
                let Some(label) = line.strip_prefix(END) else {
                    if let Some(problem) = section.take(line) {
                        return at(number, problem);
                    }
                    continue;
                };
                let end = position(label, DASHES).map(|end| &label[..end]);
                if end.map(known) != Some(section.label) {
                    return at(section.begin, Problem::NoEnd(section.label));
                }
                let (kind, begin, cut) = (section.label, section.begin, section.is_cut());
                open = None;
                if cut && kind.is_some() {
                    return at(begin, Problem::Truncated);
                }
                other.get_or_insert((begin, kind));
            }
        }
        match (open, other) {
            (Some(section), _) => at(section.begin, Problem::NoEnd(section.label)),
            (None, Some((begin, Some(label)))) if is_wanted(label) => at(begin, Problem::Truncated),
            (None, Some((begin, label))) => at(begin, Problem::OtherSection(label)),
            (None, None) => at(1, Problem::NoSection),
        }
    }
}

/// A section whose BEGIN line was read.
struct Section {
    label: Option<&'static str>,
    begin: usize,
    characters: usize,
    padding: usize,
}

impl Section {
    const fn new(label: Option<&'static str>, begin: usize) -> Self {
        Self { label, begin, characters: 0, padding: 0 }
    }

    /// Takes one line of base64, or returns what is wrong with it.
    fn take(&mut self, line: &[u8]) -> Option<Problem> {
        if contains(line, END) {
            return Some(Problem::LineBreaksLost);
        }
        self.label?;
        for byte in line.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            match byte {
                b'=' => self.padding += 1,
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => self.characters += 1,
                _ => return Some(Problem::NotBase64),
            }
        }
        None
    }

    const fn is_cut(&self) -> bool {
        self.characters == 0 || !(self.characters + self.padding).is_multiple_of(4)
    }
}

fn known(label: &[u8]) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| known.as_bytes() == label)
}

fn lines(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = if pem.contains(&b'\n') { b'\n' } else { b'\r' };
    pem.split(move |byte| *byte == end).map(<[u8]>::trim_ascii_end)
}

fn position(line: &[u8], part: &[u8]) -> Option<usize> {
    line.windows(part.len()).position(|window| window == part)
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    position(line, part).is_some()
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, line, problem } = self;
        let unknown = "a section of another kind";
        match problem {
            Problem::NoSection => write!(
                f,
                "the PEM text has no section; a line -----BEGIN {wanted}----- is expected"
            ),
            Problem::LineBreaksLost => write!(
                f,
                "line {line} of the PEM text holds more than a BEGIN or END line; each is expected \
                 on a line of its own, so line breaks may have been lost"
            ),
            Problem::OtherSection(Some(label))
                if *wanted == CERTIFICATE && KEYS.contains(label) =>
            {
                write!(
                    f,
                    "line {line} of the PEM text begins a private key; a {wanted} is expected, so \
                     chain and key may have been swapped"
                )
            }
            Problem::OtherSection(label) => {
                let label = label.unwrap_or(unknown);
                write!(f, "line {line} of the PEM text begins {label}; a {wanted} is expected")?;
                match label {
                    "TRUSTED CERTIFICATE" => {
                        f.write_str("; convert it with openssl x509 -in FILE -out FILE")
                    }
                    "ENCRYPTED PRIVATE KEY" => f.write_str("; decrypt it with openssl pkey"),
                    _ => Ok(()),
                }
            }
            Problem::NotBase64 => {
                write!(f, "line {line} of the PEM text is not base64, which is expected there")
            }
            Problem::NoEnd(label) => {
                let label = label.unwrap_or(unknown);
                write!(
                    f,
                    "the section that line {line} of the PEM text begins ({label}) has no END line \
                     with the same label"
                )
            }
            Problem::Truncated => write!(
                f,
                "the base64 of the section that line {line} of the PEM text begins is not complete"
            ),
        }
    }
}

impl Error for Misread {}
