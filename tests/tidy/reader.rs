//! Reads the tree for the rules of `tidy.rs`: files, lines, code without comments, `use` paths.

use std::fs;
use std::path::{Path, PathBuf};

/// One line of a file.
pub(crate) struct Line {
    /// QueuedReservation from 1.
    pub(crate) number: usize,
    /// As it stands in the file.
    pub(crate) text: String,
    /// The same with comments and the insides of literals blanked; empty outside Rust.
    pub(crate) code: String,
    /// Inside an item under `#[cfg(test)]`, or in a file of tests.
    pub(crate) test: bool,
}

/// One file, its path relative to the repository with `/` between the parts.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` (or the file itself) with one of the given extensions, sorted.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let wanted = |path: &PathBuf| {
        let extension = path.extension().map_or("", |e| e.to_str().unwrap_or(""));
        extensions.contains(&extension)
    };
    paths.into_iter().filter(wanted).filter_map(|path| read(&path)).collect()
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    const SKIPPED: [&str; 7] =
        ["target", "node_modules", "venv", "artifacts", "corpus", "coverage", "__pycache__"];
    if path.is_file() {
        found.push(path.to_owned());
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if !SKIPPED.contains(&entry.file_name().to_str().unwrap_or("")) {
            walk(&entry.path(), found);
        }
    }
}

fn read(path: &Path) -> Option<Source> {
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    let relative = path.strip_prefix(root()).ok()?.to_str()?.replace('\\', "/");
    Some(source(&relative, &text))
}

/// A `Source` made of a text; what `files` does for each file.
pub(crate) fn source(path: &str, text: &str) -> Source {
    let code = if path.ends_with(".rs") { code_only(text) } else { String::new() };
    let in_tests = path.ends_with("tests.rs") || path.contains("/tests/");
    let test = test_lines(&code);
    let mut code = code.lines();
    let lines = text
        .lines()
        .enumerate()
        .map(|(i, line)| Line {
            number: i + 1,
            text: line.to_owned(),
            code: code.next().unwrap_or("").to_owned(),
            test: in_tests || test.contains(&(i + 1)),
        })
        .collect();
    Source { path: path.to_owned(), lines }
}

/// Blanks comments and the insides of string and character literals; keeps every line break.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => line_end(&chars, i),
            '/' if chars.get(i + 1) == Some(&'*') => block_comment_end(&chars, i),
            '"' => string_end(&chars, i),
            'r' if is_raw_string(&chars, i) => raw_string_end(&chars, i),
            '\'' => char_end(&chars, i),
            _ => i,
        };
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            out.extend(chars[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

fn line_end(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0, from);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn is_raw_string(chars: &[char], from: usize) -> bool {
    let begins_word = from == 0 || !is_word(chars[from - 1]) || chars[from - 1] == 'b';
    let after = chars[from + 1..].iter().find(|&&c| c != '#');
    begins_word && after == Some(&'"')
}

fn raw_string_end(chars: &[char], from: usize) -> usize {
    let hashes = chars[from + 1..].iter().take_while(|&&c| c == '#').count();
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    let body = from + hashes + 2;
    (body..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes)
}

/// The end of a character literal; `from` itself for a lifetime.
fn char_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), Some(_)) => {
            (from + 3..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |i| i + 1)
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from,
    }
}

/// The numbers of the lines that `#[cfg(test)]` and its like cover.
fn test_lines(code: &str) -> Vec<usize> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let attribute = line.trim();
        let is_test = attribute.starts_with("#[cfg(") && has_word(attribute, "test");
        if is_test && !attribute.contains("not(test)") {
            found.extend(i + 1..=item_end(&lines, i + 1).unwrap_or(i) + 1);
        }
    }
    found
}

/// The index of the line on which the item that begins at `from` ends: its last brace, or its `;`.
pub(crate) fn item_end(lines: &[&str], from: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (i, line) in lines.iter().enumerate().skip(from) {
        for c in line.chars() {
            match c {
                '{' => braces += 1,
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 {
                        return Some(i);
                    }
                }
                ';' if braces == 0 && brackets == 0 => return Some(i),
                _ => {}
            }
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `needle` stands in `text` as whole words.
pub(crate) fn has_word(text: &str, needle: &str) -> bool {
    text.match_indices(needle).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + needle.len()..].chars().next();
        let starts = needle.starts_with(is_word);
        let ends = needle.ends_with(is_word);
        let inside = |edge: bool, next: Option<char>| edge && next.is_some_and(is_word);
        !inside(starts, before) && !inside(ends, after)
    })
}

/// One path that a source names.
pub(crate) struct Named {
    pub(crate) line: usize,
    /// Spelled out from `crate::` where it leads to a module of ours.
    pub(crate) path: String,
    /// For a `use`, the name that it brings in; empty for a path inside the code.
    pub(crate) name: String,
    /// A `pub use`, whatever its visibility.
    pub(crate) exported: bool,
}

/// Every path that the source, its tests apart, names: those of each `use`, and inside the code
/// those that begin with `crate`, `super`, a child module or a name that a `use` brought in.
pub(crate) fn names(source: &Source) -> Vec<Named> {
    let module = module(&source.path);
    let lines: Vec<&Line> = source.lines.iter().filter(|line| !line.test).collect();
    let children: Vec<&str> = lines.iter().filter_map(|line| child(&line.code)).collect();
    let mut found = Vec::new();
    let mut code = Vec::new();
    let mut i = 0;
    while i < lines.len() {
        let first = i;
        i += 1;
        let Some(visibility) = use_visibility(&lines[first].code) else {
            code.push(lines[first]);
            continue;
        };
        while i < lines.len() && !lines[i - 1].code.contains(';') {
            i += 1;
        }
        let text: Vec<&str> = lines[first..i].iter().map(|line| line.code.trim()).collect();
        let text = text.join(" ");
        let begin = text.find("use ").map_or(0, |at| at + 4);
        let end = text.find(';').unwrap_or(text.len());
        expand("", &text[begin.min(end)..end], &mut |path, name| {
            found.push(Named {
                line: lines[first].number,
                path: absolute(&module, &children, path),
                name: name.to_owned(),
                exported: !visibility.is_empty(),
            });
        });
    }
    let mut inside = Vec::new();
    for line in code {
        for path in paths_in(&line.code) {
            let (head, rest) = path.split_once("::").unwrap_or((path, ""));
            let used = found.iter().find(|named: &&Named| named.name == head);
            let path = match used {
                Some(used) => format!("{}::{rest}", used.path),
                None => absolute(&module, &children, path),
            };
            if used.is_some() || path.starts_with("crate::") {
                let name = String::new();
                inside.push(Named { line: line.number, path, name, exported: false });
            }
        }
    }
    found.extend(inside);
    found
}

/// The paths of [`names`], each with its line.
pub(crate) fn paths(source: &Source) -> Vec<(usize, String)> {
    names(source).into_iter().map(|named| (named.line, named.path)).collect()
}

/// The module of a file: `crate::http2::frame` of `src/http2/frame/mod.rs`.
pub(crate) fn module(file: &str) -> String {
    let module = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let parts = module.split('/').filter(|part| *part != "lib");
    std::iter::once("crate").chain(parts).collect::<Vec<_>>().join("::")
}

/// The name of the child module that a line declares.
fn child(code: &str) -> Option<&str> {
    let (before, name) = code.trim().strip_suffix(';')?.rsplit_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

/// What stands before the `use` that begins on this line: nothing, or `pub` in one of its forms.
fn use_visibility(code: &str) -> Option<&str> {
    let (before, _) = code.trim_start().split_once("use ")?;
    let before = before.trim_end();
    (before.is_empty() || before == "pub" || before.starts_with("pub(")).then_some(before)
}

/// Every path of two or more parts on a line.
fn paths_in(code: &str) -> Vec<&str> {
    let inside = |c: char| is_word(c) || c == ':';
    let tokens = code.split(|c| !inside(c)).map(|token| token.trim_end_matches(':'));
    tokens.filter(|token| token.contains("::") && token.starts_with(is_word)).collect()
}

/// Spells out one `use` tree, each path with the name that it brings in: `a::{b, c::{d as x, e}}`
/// gives `a::b` as `b`, `a::c::d` as `x`, `a::c::e` as `e`.
pub(crate) fn expand(prefix: &str, tree: &str, found: &mut dyn FnMut(&str, &str)) {
    let (mut depth, mut begin) = (0, 0);
    let mut parts = Vec::new();
    for (i, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[begin..i]);
                begin = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[begin..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        if let Some((head, rest)) = part.split_once('{') {
            let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
            expand(&format!("{prefix}{}", head.trim()), inside, found);
        } else {
            let (path, alias) = part.split_once(" as ").unwrap_or((part, ""));
            let path = format!("{prefix}{}", path.trim());
            let path = path.strip_suffix("::self").unwrap_or(&path);
            let last = path.rsplit("::").next().unwrap_or(path);
            found(path, if alias.is_empty() { last } else { alias.trim() });
        }
    }
}

/// A path spelled out from `crate::`; paths into other crates stay as they are.
fn absolute(module: &str, children: &[&str], path: &str) -> String {
    if path == "crate" || path.starts_with("crate::") {
        return path.to_owned();
    }
    let mut base: Vec<&str> = module.split("::").collect();
    let mut rest = path.strip_prefix("self::").unwrap_or(path);
    let own = children.contains(&rest.split("::").next().unwrap_or(rest));
    if rest == path && !rest.starts_with("super::") && !own {
        return path.to_owned();
    }
    while let Some(inner) = rest.strip_prefix("super::") {
        base.pop();
        rest = inner;
    }
    base.push(rest);
    base.join("::")
}
