//! The certificates and keys of a PEM text, or why it cannot be read. No section is skipped unless its
//! label says that it holds neither. The error repeats nothing of the text: it may be a private key.

use std::error::Error;
use std::fmt;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The label of a certificate.
const CERTIFICATE: &str = "CERTIFICATE";
/// The usual label of a private key.
const KEY: &str = "PRIVATE KEY";

/// The labels of keys that can be parsed.
const KEYS: [&str; 3] = [KEY, "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The other labels that may stand beside certificates: they hold none.
const BESIDE: [&str; 6] = [
    "ENCRYPTED PRIVATE KEY",
    "CERTIFICATE REQUEST",
    "PUBLIC KEY",
    "X509 CRL",
    "DH PARAMETERS",
    "EC PARAMETERS",
];

/// Labels of certificates in forms that are not read.
const OTHER_FORMS: [&str; 3] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE", "PKCS7"];

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
pub(super) const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the certificates of a text, at least one, each with the number of its first line.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<(usize, CertificateDer<'static>)>, PemError> {
    let sections = sections(pem, CERTIFICATE)?;
    let mut found = Vec::new();
    for section in &sections {
        match section.label {
            Some(CERTIFICATE) => found.push((section.line, section.parse(CERTIFICATE)?)),
            Some(label) if KEYS.contains(&label) || BESIDE.contains(&label) => {}
            _ => return Err(section.unexpected(CERTIFICATE)),
        }
    }
    match sections.first() {
        Some(first) if found.is_empty() => Err(first.unexpected(CERTIFICATE)),
        _ => Ok(found),
    }
}

/// Returns the first private key of a text.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let sections = sections(pem, KEY)?;
    let is_key = |section: &&Section<'_>| section.label.is_some_and(|label| KEYS.contains(&label));
    match (sections.iter().find(is_key), sections.first()) {
        (Some(section), _) => section.parse(KEY),
        (None, Some(first)) => Err(first.unexpected(KEY)),
        (None, None) => Err(PemError { wanted: KEY, line: 1, problem: Problem::NoSection }),
    }
}

/// What is wrong with a PEM text: the number of the line, counted from 1, and the expected label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PemError {
    wanted: &'static str,
    line: usize,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// No section begins anywhere.
    NoSection,
    /// The bytes are DER or PKCS #12.
    Binary,
    /// The text is UTF-16.
    Wide,
    /// A line with BEGIN or END has more text.
    LineBreaksLost,
    /// A section has another label; `None` if errors may not name it.
    OtherSection(Option<&'static str>),
    /// The section has the header lines of an encrypted key.
    Encrypted,
    /// A character is not base64.
    NotBase64,
    /// The section has no END line of its label.
    NoEnd(Option<&'static str>),
    /// The base64 text is empty or has an impossible length or end.
    Truncated,
}

/// A section whose BEGIN line was read.
struct Section<'a> {
    /// `None` if errors may not name it.
    label: Option<&'static str>,
    line: usize,
    /// From the BEGIN line to the END line.
    text: &'a [u8],
    characters: usize,
    padding: usize,
}

impl Section<'_> {
    fn parse<T: PemObject>(&self, wanted: &'static str) -> Result<T, PemError> {
        // The parser's error repeats the line, which may be a private key.
        T::from_pem_slice(self.text).map_err(|_| self.error(wanted, Problem::Truncated))
    }

    const fn error(&self, wanted: &'static str, problem: Problem) -> PemError {
        PemError { wanted, line: self.line, problem }
    }

    const fn unexpected(&self, wanted: &'static str) -> PemError {
        self.error(wanted, Problem::OtherSection(self.label))
    }

    /// Takes one line of base64, or returns what is wrong with it.
    fn take(&mut self, line: &[u8]) -> Option<Problem> {
        if contains(line, END) {
            return Some(Problem::LineBreaksLost);
        }
        self.label?;
        // RFC 1421 §4.6.1.1: the header of an encrypted section
        if line.starts_with(b"Proc-Type:") {
            return Some(Problem::Encrypted);
        }
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

/// Returns all sections of a text, in order.
fn sections<'a>(pem: &'a [u8], wanted: &'static str) -> Result<Vec<Section<'a>>, PemError> {
    let fail = |line, problem| Err(PemError { wanted, line, problem });
    let mut found = Vec::new();
    let mut open: Option<Section<'a>> = None;
    for (number, at, line) in lines(pem) {
        if let Some(label) = line.strip_prefix(BEGIN) {
            let label = match label.strip_suffix(DASHES) {
                Some(label) if !contains(label, DASHES) => known(label),
                _ => return fail(number, Problem::LineBreaksLost),
            };
            if let Some(section) = open {
                return fail(section.line, Problem::NoEnd(section.label));
            }
            let text = pem.get(at..).unwrap_or_default();
            open = Some(Section { label, line: number, text, characters: 0, padding: 0 });
        } else if contains(line, BEGIN) {
            return fail(number, Problem::LineBreaksLost);
        } else if let Some(section) = &mut open {
            let Some(end) = line.strip_prefix(END) else {
                if let Some(problem) = section.take(line) {
                    return fail(number, problem);
                }
                continue;
            };
            let label = match end.strip_suffix(DASHES) {
                Some(label) if !contains(label, DASHES) => known(label),
                _ => return fail(number, Problem::LineBreaksLost),
            };
            if label != section.label {
                return fail(section.line, Problem::NoEnd(section.label));
            }
            if section.is_cut() && label.is_some() {
                return fail(section.line, Problem::Truncated);
            }
            let length =
                at.saturating_add(line.len()).saturating_sub(pem.len() - section.text.len());
            section.text = section.text.get(..length).unwrap_or_default();
            found.extend(open.take());
        }
    }
    match open {
        Some(section) => fail(section.line, Problem::NoEnd(section.label)),
        None if found.is_empty() => fail(1, without_section(pem)),
        None => Ok(found),
    }
}

/// What a text without a section is, by its first bytes.
fn without_section(pem: &[u8]) -> Problem {
    match pem {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, ..] => Problem::Wide,
        // X.690 §8.1.3.5: a SEQUENCE whose length has the long form
        [0x30, 0x80..=0xff, ..] => Problem::Binary,
        _ => Problem::NoSection,
    }
}

/// Returns the label if errors may name it: another may be a misplaced secret.
fn known(label: &[u8]) -> Option<&'static str> {
    let labels = [CERTIFICATE].into_iter().chain(KEYS).chain(BESIDE).chain(OTHER_FORMS);
    labels.into_iter().find(|known| known.as_bytes() == label)
}

/// Returns each line without blanks at its end, its number and its position. Lines end in LF, CR LF or
/// CR (RFC 7468 §3).
fn lines(pem: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut at = 0;
    let mut number = 0;
    std::iter::from_fn(move || {
        let rest = pem.get(at..)?;
        // Files that begin with one may have been joined.
        at += if rest.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let rest = pem.get(at..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (line, after) = rest.split_at(length.unwrap_or(rest.len()));
        let begin = at;
        number += 1;
        at += line.len() + if after.starts_with(b"\r\n") { 2 } else { 1 };
        Some((number, begin, line.trim_ascii_end()))
    })
}

/// Returns whether `line` contains `part`, which is not empty.
pub(super) fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, line, problem } = self;
        let name = |label: &Option<&'static str>| label.unwrap_or("a section of another kind");
        match problem {
            Problem::NoSection => write!(
                f,
                "the PEM text has no section; a line -----BEGIN {wanted}----- is expected"
            ),
            Problem::Binary => f.write_str(
                "the bytes are DER or PKCS #12, and PEM text is expected; convert them with \
                 openssl, or use the setter for DER",
            ),
            Problem::Wide => f.write_str("the PEM text is UTF-16; save it as ASCII or UTF-8"),
            Problem::LineBreaksLost => write!(
                f,
                "line {line} of the PEM text holds more than a BEGIN or END line; each is expected \
                 on a line of its own, without indentation, so line breaks may have been lost"
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
                write!(f, "line {line} of the PEM text begins {}; ", name(label))?;
                write!(f, "a {wanted} is expected")?;
                f.write_str(match label {
                    Some("TRUSTED CERTIFICATE" | "X509 CERTIFICATE") => {
                        "; convert it with openssl x509 -in FILE -out FILE"
                    }
                    Some("PKCS7") => "; convert it with openssl pkcs7 -print_certs",
                    Some("ENCRYPTED PRIVATE KEY") => "; decrypt it with openssl pkey",
                    _ => "",
                })
            }
            Problem::Encrypted => write!(
                f,
                "line {line} of the PEM text says that the key is encrypted; decrypt it with \
                 openssl pkey"
            ),
            Problem::NotBase64 => {
                write!(f, "line {line} of the PEM text is not base64, which is expected there")
            }
            Problem::NoEnd(label) => write!(
                f,
                "the section that line {line} of the PEM text begins ({}) has no END line with the \
                 same label",
                name(label)
            ),
            Problem::Truncated => write!(
                f,
                "the base64 of the section that line {line} of the PEM text begins is not complete"
            ),
        }
    }
}

impl Error for PemError {}
