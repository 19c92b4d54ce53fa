//! Reads `tests/mutants/list.txt`, as `tests/mutants/run` does.

use crate::reader::{code_only, has_word, root};
use std::fs;

/// A small bug, and the test that must notice it.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) breaks: String,
    pub(crate) file: String,
    /// Target and whole name.
    pub(crate) test: String,
    hunk: Vec<String>,
}

pub(crate) fn mutants() -> Vec<Mutant> {
    let list = fs::read_to_string(root().join("tests/mutants/list.txt")).unwrap_or_default();
    let mut found: Vec<Mutant> = Vec::new();
    for line in list.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            let (name, none) = (name.to_owned(), String::new);
            found.push(Mutant { name, breaks: none(), file: none(), test: none(), hunk: vec![] });
        } else if let Some(last) = found.last_mut() {
            match line.split_once(": ") {
                _ if line.starts_with([' ', '-', '+']) => last.hunk.push(line.to_owned()),
                Some(("breaks", text)) => last.breaks = text.to_owned(),
                Some(("file", text)) => last.file = text.to_owned(),
                Some(("test", text)) => last.test = text.to_owned(),
                _ => {}
            }
        }
    }
    found
}

impl Mutant {
    fn side(&self, sign: char) -> String {
        let lines = self.hunk.iter().filter(|line| line.starts_with([' ', sign]));
        lines.map(|line| format!("{}\n", &line[1..])).collect()
    }

    /// Whether it can still be applied and its test still exists.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (old, new) = (self.side('-'), self.side('+'));
        let text = fs::read_to_string(root().join(&self.file)).unwrap_or_default();
        let times = format!("\n{text}").matches(&format!("\n{old}")).count();
        if old.is_empty() || old == new || times != 1 {
            return Err(format!("its text occurs {times} times in {}", self.file));
        }
        let Some((target, test)) = self.test.split_once(' ') else {
            return Err("test: <target> <whole name>".to_owned());
        };
        let name = test.rsplit("::").next().unwrap_or(test);
        let modules = test.strip_suffix(name).unwrap_or("").trim_end_matches("::");
        let modules = modules.trim_end_matches("::tests");
        if target == "lib" && !test.starts_with(lib_prefix(modules)) {
            return Err(format!("write unstable::{test}, as the run names it"));
        }
        let modules = modules.trim_start_matches("unstable::").replace("::", "/");
        let base = if target == "lib" { "src".to_owned() } else { format!("tests/{target}") };
        let whole = if modules.is_empty() { base.clone() } else { format!("{base}/{modules}") };
        let places = ["", "/mod", "/tests"].map(|end| format!("{whole}{end}.rs"));
        let stands = places.iter().any(|place| {
            let text = fs::read_to_string(root().join(place)).unwrap_or_default();
            has_word(&code_only(&text), &format!("fn {name}"))
        });
        if stands { Ok(()) } else { Err(format!("no test {}", self.test)) }
    }
}

/// What the name of a unit test begins with: `unstable::` for the layers that `src/unstable.rs`
/// declares, which lie directly in `src/`.
fn lib_prefix(modules: &str) -> &'static str {
    let layer = modules.trim_start_matches("unstable::").split("::").next().unwrap_or(modules);
    let text = fs::read_to_string(root().join("src/unstable.rs")).unwrap_or_default();
    if text.contains(&format!("pub mod {layer};")) { "unstable::" } else { "" }
}
