//! Reads the requirements of `spec-notes` and the citations that lead to them.

use crate::reader::{Line, files, has_word, root, source};
use std::fs;

/// One requirement of a note: `### 6.9.1-a MUST …` and the lines below it.
pub(crate) struct Requirement {
    pub(crate) place: String,
    pub(crate) folder: String,
    pub(crate) id: String,
    pub(crate) level: String,
    pub(crate) code: Vec<String>,
    pub(crate) test: Vec<String>,
}

impl Requirement {
    /// `6.9.1` of `6.9.1-a`.
    pub(crate) fn section(&self) -> &str {
        self.id.rsplit_once('-').map_or(&self.id, |(section, _)| section)
    }
}

pub(crate) fn requirements() -> Vec<Requirement> {
    let mut found: Vec<Requirement> = Vec::new();
    for note in files("spec-notes", &["md"]) {
        let Some(folder) = note.path.split('/').nth(1).filter(|f| !f.ends_with(".md")) else {
            continue;
        };
        if folder == "decisions" {
            continue;
        }
        for line in &note.lines {
            if let Some(heading) = line.text.strip_prefix("### ") {
                let mut words = heading.split(' ');
                found.push(Requirement {
                    place: format!("{}:{}", note.path, line.number),
                    folder: folder.to_owned(),
                    id: words.next().unwrap_or("").to_owned(),
                    level: words.next().unwrap_or("").to_owned(),
                    code: Vec::new(),
                    test: Vec::new(),
                });
            } else if let Some(last) = found.last_mut() {
                last.code.extend(listed(line, "code: "));
                last.test.extend(listed(line, "test: "));
            }
        }
    }
    assert!(found.len() > 100, "the reader does not find the notes");
    found
}

/// The places after `code: ` or `test: `, which commas part.
fn listed(line: &Line, label: &str) -> Vec<String> {
    let rest = line.text.strip_prefix(label).unwrap_or("");
    rest.split(", ").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The rows of the tables in `spec-notes/faults.md`: where each stands, and its tests.
pub(crate) fn faults() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for note in files("spec-notes/faults.md", &["md"]) {
        for line in note.lines.iter().filter(|line| line.text.starts_with("| ")) {
            let cells: Vec<&str> = line.text.trim_matches('|').split('|').collect();
            let tests = cells.get(3).map_or("", |cell| cell.trim());
            if ["test", "---"].contains(&tests) {
                continue;
            }
            let places = tests.split(", ").map(|place| place.trim_matches('`').to_owned());
            found.push((format!("{}:{}", note.path, line.number), places.collect()));
        }
    }
    assert!(found.len() >= 25, "the reader does not find the faults");
    found
}

/// A section of `spec-notes/invariants.md`: where it begins, whether it has its sentence and says
/// what breaks it, and the list of its tests, each with its place.
pub(crate) struct Invariant {
    pub(crate) place: String,
    pub(crate) sentence: bool,
    pub(crate) breaks: bool,
    pub(crate) tests: Vec<(String, String)>,
}

pub(crate) fn invariants() -> Vec<Invariant> {
    let mut found: Vec<Invariant> = Vec::new();
    for note in files("spec-notes/invariants.md", &["md"]) {
        for line in &note.lines {
            let place = format!("{}:{}", note.path, line.number);
            if line.text.starts_with("## ") {
                found.push(Invariant { place, sentence: false, breaks: false, tests: vec![] });
            } else if let Some(last) = found.last_mut() {
                last.sentence |= line.text.starts_with('*');
                last.breaks |= line.text.starts_with("What breaks it: ");
                if let Some(item) = line.text.strip_prefix("- ") {
                    let test = item.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
                    last.tests.push((place, test.map_or("", |(test, _)| test).to_owned()));
                }
            }
        }
    }
    assert!(found.len() >= 9, "the reader does not find the invariants");
    found
}

/// `path`, `path::item`, or `none`, which wants a sentence in the note and no file.
pub(crate) fn check_place(place: &str, test: bool) -> Result<(), String> {
    if place == "none" {
        return Ok(());
    }
    if place == "pending" {
        return Err("nothing may be pending: write the code and the test, or say `none`".to_owned());
    }
    let (path, item) = place.split_once("::").unwrap_or((place, ""));
    let full = root().join(path);
    if !full.exists() {
        return Err("no such file".to_owned());
    }
    if test && item.is_empty() {
        return Err("name the test: `path::function`".to_owned());
    }
    if item.is_empty() {
        return if full.is_file() { Ok(()) } else { Err("not a file".to_owned()) };
    }
    let text = fs::read_to_string(full).map_err(|error| error.to_string())?;
    let name = item.rsplit("::").next().unwrap_or(item);
    let kinds: &[&str] = if test {
        &["fn"]
    } else {
        &["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "macro_rules!"]
    };
    // A test in `src` stands under `#[cfg(test)]`, and what obeys a rule does not.
    let here = |line: &Line| path.starts_with("tests/") || line.test == test;
    let stands = source(path, &text)
        .lines
        .iter()
        .filter(|line| here(line))
        .any(|line| kinds.iter().any(|kind| has_word(&line.code, &format!("{kind} {name}"))));
    if stands { Ok(()) } else { Err(format!("the file has no {} {name}", kinds.join("/"))) }
}

/// The sections of `RFC <number>` that the line cites, without the `§`.
pub(crate) fn cited(text: &str, rfc: &str) -> Vec<String> {
    let lead = format!("RFC {rfc} §");
    let number = |piece: &str| {
        let inside = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase() || c == '.';
        let end = piece.find(|c: char| !inside(c)).unwrap_or(piece.len());
        piece[..end].trim_end_matches('.').to_owned()
    };
    text.split(&lead).skip(1).map(number).collect()
}
