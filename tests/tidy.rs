//! Style as a test: layers, lengths, citations and words, as `CONTRIBUTING.md` and
//! `spec-notes/README.md` describe them.
//!
//! Each rule is one test. A failure names file and line and says what to do.

#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/mutants.rs"]
mod mutants;
#[path = "tidy/notes.rs"]
mod notes;
#[path = "tidy/reader.rs"]
mod reader;
#[path = "tidy/words.rs"]
mod words;

use graph::graph;
use layers::{
    BANS, CIRCLES_LEFT, HTTP2_WORDS, LAYERS, allowed, contains, exports, is_root, layer_of,
};
use notes::{Requirement, check_place, cited, faults, invariants, requirements};
use reader::{Source, code_only, files, has_word, item_end, names, paths, source};
use std::collections::BTreeSet;
use std::fs;
use std::sync::OnceLock;
use words::{WORDS, find, occurrences};

/// Lines a source file may have, its tests apart.
const FILE_LINES: usize = 400;
/// Lines a function may have, signature and braces included.
const FUNCTION_LINES: usize = 70;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];
/// Functions that may be longer, as `path::name`, each with its reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// A MUST without code and test: rustls knows neither compression nor renegotiation.
const WITHOUT_LINKS: [&str; 1] = ["rfc9113/9.2.1-a"];

/// Fails with every finding, one a line.
fn report(findings: &[String], what_to_do: &str) {
    assert!(findings.is_empty(), "\n{}\n=> {what_to_do}\n", findings.join("\n"));
}

fn at(source: &Source, line: usize) -> String {
    format!("{}:{line}", source.path)
}

fn rust_sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    let sources = SOURCES.get_or_init(|| files("src", &["rs"]));
    assert!(sources.iter().any(|s| s.path == "src/lib.rs"), "the reader does not find the sources");
    sources
}

/// Every file that people read: code, notes, scripts, manifests.
fn all_texts() -> &'static [Source] {
    static TEXTS: OnceLock<Vec<Source>> = OnceLock::new();
    TEXTS.get_or_init(read_texts)
}

fn read_texts() -> Vec<Source> {
    let extensions = ["rs", "md", "toml", "proto", "py", "js", "sh", "json", "yml", "yaml", ""];
    let entries = fs::read_dir(reader::root()).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    assert!(names.iter().any(|name| name == "README.md"), "the reader does not find the texts");
    names.retain(|name| ![".git", "target", "Cargo.lock"].contains(&name.as_str()));
    names.iter().flat_map(|name| files(name, &extensions)).collect()
}

// ---- layers ---------------------------------------------------------------------------------

#[test]
fn imports_run_downwards_only() {
    let exports: Vec<_> = ["http2", "grpc"].iter().flat_map(|module| exports(module)).collect();
    let mut findings = Vec::new();
    for source in rust_sources() {
        let Some(layer) = layer_of(&source.path) else {
            if !is_root(&source.path) {
                findings.push(format!("{}:1 belongs to no layer in LAYERS", source.path));
            }
            continue;
        };
        for (line, path) in paths(source) {
            let Some(path) = path.strip_prefix("crate::") else { continue };
            if !allowed(path, layer.may_name, &exports) {
                let why = layer.reason;
                findings.push(format!("{} names crate::{path} ({why})", at(source, line)));
            }
        }
    }
    report(&findings, "a layer names itself and those that LAYERS lists: move the code");
}

#[test]
fn root_files_only_reexport() {
    let items = ["fn", "struct", "enum", "trait", "impl", "const", "static", "type"];
    let mut findings = Vec::new();
    for source in rust_sources().iter().filter(|source| is_root(&source.path)) {
        for line in
            source.lines.iter().filter(|line| layer_of(&source.path).is_none() && !line.test)
        {
            if items.iter().any(|item| has_word(&line.code, item)) {
                findings.push(at(source, line.number));
            }
        }
    }
    report(&findings, "a file directly in src/ re-exports; define the item in its layer");
}

#[test]
fn files_form_no_circle() {
    let graph = graph(rust_sources());
    let circles = graph.circles();
    let files = |circle: &[usize]| -> BTreeSet<&str> {
        circle.iter().map(|i| graph.files[*i].as_str()).collect()
    };
    let listed: Vec<BTreeSet<&str>> =
        CIRCLES_LEFT.iter().map(|row| row.iter().copied().collect()).collect();
    let mut findings = Vec::new();
    for circle in circles.iter().filter(|circle| !listed.contains(&files(circle))) {
        findings.push(graph.describe(circle));
    }
    for row in listed.iter().filter(|row| !circles.iter().any(|circle| files(circle) == **row)) {
        let left = circles.iter().filter(|circle| files(circle).is_subset(row));
        let left: Vec<String> = left.map(|circle| graph.row(circle)).collect();
        let left = if left.is_empty() { "nothing".to_owned() } else { left.join(" and ") };
        findings.push(format!("{row:?} is no circle any more: replace its row by {left}"));
    }
    report(
        &findings,
        "move what two files share into a third one below both; CIRCLES_LEFT only shrinks",
    );
}

#[test]
fn banned_words_stay_out() {
    let mut findings = Vec::new();
    for ban in BANS {
        let concerned = rust_sources().iter().filter(|source| {
            let within = |folders: &[&str]| folders.iter().any(|f| contains(f, &source.path));
            within(ban.folders) && !within(ban.except)
        });
        for source in concerned {
            for (line, word) in words_in(source, ban.words) {
                findings.push(format!("{} has `{word}`: {}", at(source, line), ban.reason));
            }
        }
    }
    report(&findings, "the reasons stand beside each row of BANS");
}

/// Lines outside tests whose code, or whose spelled-out `use` paths, hold one of the words.
fn words_in(source: &Source, words: &[&'static str]) -> BTreeSet<(usize, &'static str)> {
    let lines = source.lines.iter().filter(|line| !line.test);
    let code = lines.map(|line| (line.number, line.code.clone()));
    let hits = |(line, text): (usize, String)| {
        words.iter().filter(move |word| has_word(&text, word)).map(move |word| (line, *word))
    };
    code.chain(paths(source)).flat_map(hits).collect()
}

/// The one file that may say `unsafe`, and how often: two system calls on plain integers.
const UNSAFE: (&str, usize) = ("src/transport/tcp_info.rs", 2);

#[test]
fn unsafe_stands_in_one_file() {
    let mut findings = Vec::new();
    let mut audited = 0;
    for source in ["src", "examples", "fuzz"].iter().flat_map(|folder| files(folder, &["rs"])) {
        for line in source.lines.iter().filter(|line| has_word(&line.code, "unsafe")) {
            match source.path == UNSAFE.0 {
                true => audited += 1,
                false => findings.push(format!("{} says unsafe", at(&source, line.number))),
            }
        }
    }
    assert_eq!(audited, UNSAFE.1, "{} has other unsafe code than was audited", UNSAFE.0);
    report(
        &findings,
        "write it in safe Rust; an exception needs a decision in spec-notes/decisions",
    );
}

// ---- length ---------------------------------------------------------------------------------

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    for source in rust_sources() {
        let lines = source.lines.iter().filter(|line| !line.test).count();
        let listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        if lines > FILE_LINES && !listed {
            findings.push(format!("{}:1 has {lines} lines, {FILE_LINES} allowed", source.path));
        }
        if lines <= FILE_LINES && listed {
            findings.push(format!("{}:1 is short again: take it off LONG_FILES", source.path));
        }
    }
    report(&findings, "split the file by what it does, or list it in LONG_FILES with a reason");
}

/// Name, first line and number of lines of every function outside tests.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let code: Vec<&str> = source.lines.iter().map(|line| line.code.as_str()).collect();
    let mut found = Vec::new();
    for (i, line) in source.lines.iter().enumerate().filter(|(_, line)| !line.test) {
        let Some(after) = fn_name(&line.code) else { continue };
        if let Some(end) = item_end(&code, i) {
            found.push((after.to_owned(), line.number, end + 1 - i));
        }
    }
    found
}

fn fn_name(code: &str) -> Option<&str> {
    let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let (at, _) = code.match_indices("fn ").find(|(at, _)| starts(*at))?;
    let name = code[at + 3..].trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then(|| &name[..end])
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for source in rust_sources() {
        for (name, line, lines) in functions(source) {
            let key = format!("{}::{name}", source.path);
            if lines > FUNCTION_LINES && !LONG_FUNCTIONS.iter().any(|(listed, _)| *listed == key) {
                let place = at(source, line);
                findings
                    .push(format!("{place} fn {name}: {lines} lines, {FUNCTION_LINES} allowed"));
            }
        }
    }
    report(&findings, "take a step out and name it, or list it in LONG_FUNCTIONS with a reason");
}

// ---- citations and notes --------------------------------------------------------------------

#[test]
fn notes_have_their_form() {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for note in requirements() {
        let Requirement { place, folder, id, level, .. } = &note;
        if !["MUST", "SHOULD", "MAY"].contains(&level.as_str()) {
            findings.push(format!("{place} {id}: no level; write MUST, SHOULD or MAY after it"));
        }
        let letter = id.rsplit_once('-').map_or("", |(_, letter)| letter);
        if letter.is_empty() || !letter.chars().all(|c| c.is_ascii_lowercase()) {
            findings.push(format!("{place} {id}: write <section>-<letter>"));
        }
        if !seen.insert((folder.clone(), id.clone())) {
            findings.push(format!("{place} {id} stands twice: take the next letter"));
        }
        if note.code.is_empty() || note.test.is_empty() {
            findings.push(format!("{place} {id}: needs a `code: ` and a `test: ` line"));
        }
        let none = |places: &[String]| places.iter().any(|place| place == "none");
        let excused = WITHOUT_LINKS.contains(&format!("{folder}/{id}").as_str());
        if level == "MUST" && (none(&note.code) || none(&note.test)) && !excused {
            findings.push(format!("{place} {id}: a MUST without code or without a test"));
        }
    }
    report(&findings, "the form of a note is in spec-notes/README.md");
}

#[test]
fn places_in_notes_exist() {
    let mut findings = Vec::new();
    for note in requirements() {
        for (label, place) in note
            .code
            .iter()
            .map(|place| ("code", place))
            .chain(note.test.iter().map(|place| ("test", place)))
        {
            if let Err(why) = check_place(place, label == "test") {
                findings.push(format!("{} {}: {label} {place}: {why}", note.place, note.id));
            }
        }
    }
    report(&findings, "name the file (and item) that obeys or tests the requirement");
}

#[test]
fn every_fault_has_its_tests() {
    let mut findings = Vec::new();
    for (place, tests) in faults() {
        for test in tests {
            let named = test.contains("::");
            let why = if named { check_place(&test, true) } else { Err("no function".to_owned()) };
            if let Err(why) = why {
                findings.push(format!("{place} {test}: {why}"));
            }
        }
    }
    report(&findings, "name each test as `path::function` in the last column");
}

/// Each section has the sentence, what breaks it, and tests that exist; none stands twice in one.
#[test]
fn every_invariant_has_its_tests() {
    let mut findings = Vec::new();
    for section in invariants() {
        let place = &section.place;
        if !section.sentence || !section.breaks || section.tests.is_empty() {
            findings.push(format!("{place} lacks *sentence*, `What breaks it: `, or a test"));
        }
        for (i, (place, test)) in section.tests.iter().enumerate() {
            let why = match test.contains("::") {
                true => check_place(test, true).err(),
                false => Some("write - `path::function`: what it shows".to_owned()),
            };
            findings.extend(why.map(|why| format!("{place} {test}: {why}")));
            if section.tests[..i].iter().any(|(_, other)| other == test) {
                findings.push(format!("{place} {test} stands twice"));
            }
        }
    }
    report(&findings, "the form of an invariant is that of its neighbours");
}

#[test]
fn citations_have_a_note() {
    let notes = requirements();
    let mut findings = Vec::new();
    for source in rust_sources() {
        for line in &source.lines {
            for (rfc, folder) in [("9113", "rfc9113"), ("7541", "rfc7541")] {
                for section in cited(&line.text, rfc) {
                    let related = |note: &str| {
                        note == section
                            || note.starts_with(&format!("{section}."))
                            || section.starts_with(&format!("{note}."))
                    };
                    if !notes.iter().any(|n| n.folder == folder && related(n.section())) {
                        let place = at(source, line.number);
                        findings.push(format!("{place} cites RFC {rfc} §{section}: no note"));
                    }
                }
            }
        }
    }
    report(&findings, "write the requirement into the note of its section group in spec-notes");
}

#[test]
fn citations_have_one_form() {
    let strays = [" section", " Section", " sec.", ", section", ", Section", " §§", "§", "#"];
    let mut findings = Vec::new();
    for source in rust_sources() {
        for line in &source.lines {
            for rfc in ["9113", "7541"] {
                let stray = |after: &&str| line.text.contains(&format!("RFC {rfc}{after}"));
                if line.text.contains(&format!("RFC{rfc}")) || strays.iter().any(stray) {
                    findings.push(at(source, line.number));
                }
            }
        }
    }
    report(&findings, "cite as `RFC 9113 §6.9.1`, one section each");
}

#[test]
fn protocol_decisions_stay_in_http2() {
    let above = |source: &&Source| {
        !["src/http2", "src/grpc"].iter().any(|folder| contains(folder, &source.path))
    };
    let mut findings = Vec::new();
    for source in rust_sources().iter().filter(above) {
        for line in source.lines.iter().filter(|line| line.text.trim_start().starts_with("// ")) {
            for section in cited(&line.text, "9113").iter().filter(|s| !above_http2(s)) {
                findings.push(format!("{} obeys RFC 9113 §{section}", at(source, line.number)));
            }
        }
    }
    report(
        &findings,
        "of RFC 9113, layers above http2 and grpc obey only §3 and §9.2: move the check to http2",
    );
}

/// Sections that speak of connections as a transport makes them.
fn above_http2(section: &str) -> bool {
    let group = |section: &str| section == "3" || section.starts_with("3.");
    group(section) || section.starts_with("9.2")
}

// ---- mutants --------------------------------------------------------------------------------

/// Each seeded mutant still applies, its test exists, and the table in the README has its row.
#[test]
fn mutants_still_apply() {
    let readme = fs::read_to_string(reader::root().join("tests/mutants/README.md"));
    let readme = readme.unwrap_or_default();
    let mutants = mutants::mutants();
    assert!(mutants.len() >= 20, "the reader does not find the mutants");
    let mut findings = Vec::new();
    for (i, mutant) in mutants.iter().enumerate() {
        let mut wrong = |why: &str| findings.push(format!("mutant {}: {why}", mutant.name));
        if let Err(why) = mutant.check() {
            wrong(&why);
        }
        let (target, test) = mutant.test.split_once(' ').unwrap_or_default();
        let row = format!("| `{}` | {} | {target} | `{test}` |", mutant.name, mutant.breaks);
        if !readme.contains(&row) {
            wrong(&format!("the README lacks: {row}"));
        }
        if mutants[..i].iter().any(|other| other.name == mutant.name) {
            wrong("stands twice");
        }
    }
    report(&findings, "bring tests/mutants up to date, and run tests/mutants/run for what changed");
}

// ---- stray words ----------------------------------------------------------------------------

/// Joined at run time, so that these files do not find themselves.
fn joined(parts: &[(&str, &str)]) -> Vec<String> {
    parts.iter().map(|(a, b)| format!("{a}{b}")).collect()
}

fn stray<'a>(
    found: impl Fn(&str) -> bool,
    texts: impl IntoIterator<Item = &'a Source>,
) -> Vec<String> {
    let hits = |source: &Source| {
        let lines = source.lines.iter().filter(|line| found(&line.text));
        lines.map(|line| format!("{}: {}", at(source, line.number), line.text.trim())).collect()
    };
    texts.into_iter().flat_map(|source| -> Vec<String> { hits(source) }).collect()
}

#[test]
fn no_notes_to_self() {
    let needles = joined(&[("TO", "DO"), ("FIX", "ME"), ("XX", "X")]);
    let findings = stray(|text| needles.iter().any(|n| has_word(text, n)), all_texts());
    report(&findings, "do it, or say in plain words what is not done and why");
}

#[test]
fn no_test_is_switched_off() {
    let ignored = joined(&[("#[ign", "ore")]).concat();
    let findings = stray(|text| text.contains(&ignored), rust_texts());
    report(&findings, "make the test pass or take it out");
}

#[test]
fn no_dead_code_is_kept() {
    let mut findings = Vec::new();
    for source in rust_texts() {
        for (i, line) in source.lines.iter().enumerate() {
            let silenced = ["dead_code", "unused"].iter().any(|lint| line.code.contains(lint));
            // Generated messages may hold some that a test does not speak.
            let generated = source.lines[i..].iter().take(4).any(|l| l.text.contains("proto/rust"));
            if silenced && line.code.contains("allow(") && !generated {
                findings.push(at(source, line.number));
            }
        }
    }
    report(&findings, "delete what nobody calls");
}

fn rust_texts() -> impl Iterator<Item = &'static Source> {
    all_texts().iter().filter(|source| source.path.ends_with(".rs"))
}

#[test]
fn no_machine_is_spoken_of() {
    let folders =
        joined(&[("/wo", "rk/"), ("/fa", "rm/"), ("/ro", "ot/"), ("/tm", "p/"), ("/ho", "me/")]);
    let names_folder = |text: &str| {
        folders.iter().any(|folder| {
            text.match_indices(folder.as_str()).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
            })
        })
    };
    let issue = joined(&[("iss", "ue #"), ("Iss", "ue #")]);
    let names_issue = |text: &str| issue.iter().any(|needle| text.contains(needle.as_str()));
    let findings = stray(|text| names_folder(text) || names_issue(text), all_texts());
    report(
        &findings,
        "the project speaks of itself alone: no paths of one machine, no issue numbers",
    );
}

#[test]
fn words_are_the_fields_own() {
    let folders = [
        "src",
        "docs",
        "spec-notes",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    let is_text = |source: &&Source| {
        let named = folders.iter().any(|folder| contains(folder, &source.path));
        named && (source.path.ends_with(".rs") || source.path.ends_with(".md"))
    };
    let texts: Vec<&Source> = all_texts().iter().filter(is_text).collect();
    let mut findings = Vec::new();
    for (word, allowed, instead) in WORDS {
        let found = find(&texts, word);
        let count = found.len();
        if count > *allowed {
            let places =
                if count > 40 { "search your diff for it".to_owned() } else { found.join(" ") };
            findings.push(format!(
                "`{word}` occurs {count} times, {allowed} allowed; write {instead} ({places})"
            ));
        } else if count < *allowed {
            let row = format!("({word:?}, {count}, {instead:?})");
            findings.push(format!("`{word}` became rarer: its row in WORDS is now {row}"));
        }
    }
    report(&findings, "the counts in tests/tidy/words.rs only shrink: use the field's own terms");
}

// ---- the reader itself ----------------------------------------------------------------------

#[test]
fn the_reader_sees_code_only() {
    let text = "let a = \"unsafe { \\\" }\"; // unsafe\n/* x /* y */ unsafe */ b('\"', 'a, r#\"un\"safe\"#)";
    let code = code_only(text);
    assert!(!code.contains("unsafe"), "{code}");
    assert!(code.contains("let a =") && code.contains("b(") && code.contains("'a, "), "{code}");
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn the_reader_spells_paths_out() {
    let text = "use super::super::{flow, error::{self, ErrorCode as Code}};\nuse std::sync::atomic;\n\
                mod deep;\npub(super) use deep::{\n    Wide,\n};\n\
                fn f() -> crate::grpc::Status { super::g(Code::X, deep::h()) }\n\
                #[cfg(test)]\nmod tests {\nuse crate::net::x;\n}\n";
    let source = source("src/http2/frame/data.rs", text);
    let wanted = [
        "1 crate::http2::flow flow",
        "1 crate::http2::error error",
        "1 crate::http2::error::ErrorCode Code",
        "2 std::sync::atomic atomic",
        "4 crate::http2::frame::data::deep::Wide Wide, exported",
        "7 crate::grpc::Status ",
        "7 crate::http2::frame::g ",
        "7 crate::http2::error::ErrorCode::X ",
        "7 crate::http2::frame::data::deep::h ",
    ];
    let found: Vec<String> = names(&source)
        .iter()
        .map(|named| {
            let exported = if named.exported { ", exported" } else { "" };
            format!("{} {} {}{exported}", named.line, named.path, named.name)
        })
        .collect();
    assert_eq!(found, wanted);
    assert!(source.lines[9].test && !source.lines[6].test);
}

#[test]
fn the_graph_follows_reexports_and_finds_circles() {
    let sources = [
        source("src/a/mod.rs", "mod b;\nmod c;\npub use b::{Thing as B};\n"),
        source("src/a/b.rs", "use crate::a::c::{C, D};\nuse crate::d;\n"),
        source("src/a/c.rs", "fn c(b: crate::a::B) {}\n#[cfg(test)]\nuse crate::d::D;\n"),
        source("src/d.rs", "use crate::e::E;\n"),
        source("src/e.rs", "#[cfg(test)]\nmod tests { use crate::d::D; }\n"),
    ];
    let graph = graph(&sources);
    let circles = graph.circles();
    assert_eq!(circles, [[1, 2]], "a parent and its child make no circle, tests do not count");
    let told = "circle of 2 files: &[\"src/a/b.rs\", \"src/a/c.rs\"]\n    \
                src/a/b.rs -> src/a/c.rs: C (line 1), D (line 1)\n    \
                src/a/c.rs -> src/a/b.rs: Thing (line 1)";
    assert_eq!(graph.describe(&circles[0]), told);
}

#[test]
fn the_rules_find_what_they_forbid() {
    let may_name = |path: &str| layer_of(path).map_or(&[][..], |layer| layer.may_name);
    let exports = [("http2::ErrorCode".to_owned(), "http2::error::ErrorCode".to_owned())];
    let frame = may_name("src/http2/frame/data.rs");
    assert!(allowed("http2::ErrorCode", frame, &exports));
    assert!(!allowed("http2::hpack::Decoder", frame, &exports));
    assert!(!allowed("http2", may_name("src/grpc/status.rs"), &exports));
    assert!(!allowed("connection::Handle", may_name("src/call/state.rs"), &exports));
    assert!(!allowed("client", may_name("src/server/mod.rs"), &exports));
    assert!(allowed("http2::Limits::default", &[HTTP2_WORDS], &exports));
    assert!(!allowed("http2::connection", &[HTTP2_WORDS], &exports));
    assert!(layer_of("src/lib.rs").is_none() && is_root("src/tls.rs") && !is_root("src/x/y.rs"));
    assert!(layer_of("src/callers/x.rs").is_none(), "a row is a folder, not the start of a name");
    assert_eq!(LAYERS.iter().filter(|layer| layer.reason.is_empty()).count(), 0);

    let source = source(
        "src/pool/x.rs",
        "use tokio::time::{self, Instant};\nfn a(\n) {\n  time::sleep()\n}\n",
    );
    assert!(check_place("pending", true).is_err() && check_place("pending", false).is_err());
    assert_eq!(words_in(&source, &["tokio::time::sleep"]).len(), 1);
    assert_eq!(functions(&source), [("a".to_owned(), 2, 4)]);
    assert_eq!(cited("// RFC 9113 §6.9.1: x, RFC 9113 §C.2.", "9113"), ["6.9.1", "C.2"]);
}

#[test]
fn words_are_counted_in_texts_and_in_names() {
    let text = "Rooms: the room, headroom, ROOM_MAX, room_left, leftRoom, roomy, RoomKey, §roomé";
    assert_eq!(occurrences(text, "room"), 7);
    assert_eq!(occurrences("let go, let_go, outlet go, let goes", "let go"), 2);
    let note = source("docs/x.md", "> bytes of a quotation\nbytes of ours\n");
    assert_eq!(find(&[&note], "byte"), ["docs/x.md:2"]);
}
