//! The graph of the files in `src/`, tests apart: an edge leads from a file to the file that
//! defines a name it uses, with re-exports followed.

use crate::reader::{Source, module, names};
use std::collections::BTreeMap;

/// Re-exports of re-exports that are followed.
const HOPS: usize = 8;

pub(crate) struct Graph {
    /// By path from the repository, sorted as the sources are.
    pub(crate) files: Vec<String>,
    /// By the file that uses and the file that defines: the names that tie them, each with a line
    /// that uses it.
    ties: BTreeMap<(usize, usize), BTreeMap<String, usize>>,
}

/// Reads the graph of the given sources.
pub(crate) fn graph(sources: &[Source]) -> Graph {
    let modules: Vec<String> = sources.iter().map(|source| module(&source.path)).collect();
    let named: Vec<_> = sources.iter().map(names).collect();
    let by_module: BTreeMap<&str, usize> =
        modules.iter().enumerate().map(|(i, module)| (module.as_str(), i)).collect();
    let mut exports: BTreeMap<(usize, &str), &str> = BTreeMap::new();
    for (i, named) in named.iter().enumerate() {
        // A private `use` counts as well: child modules may name it.
        for used in named.iter().filter(|named| !named.name.is_empty()) {
            exports.insert((i, &used.name), &used.path);
        }
    }
    let mut ties: BTreeMap<(usize, usize), BTreeMap<String, usize>> = BTreeMap::new();
    for (from, named) in named.iter().enumerate() {
        for used in named {
            let Some((to, name)) = definition(&used.path, &by_module, &exports) else { continue };
            let parent = |a: usize, b: usize| {
                modules[b].rsplit_once("::").is_some_and(|(parent, _)| parent == modules[a])
            };
            if from != to && !parent(from, to) && !parent(to, from) {
                ties.entry((from, to)).or_default().entry(name).or_insert(used.line);
            }
        }
    }
    Graph { files: sources.iter().map(|source| source.path.clone()).collect(), ties }
}

/// The file that defines what a path names, and the rest of the path below that file's module.
fn definition(
    path: &str,
    by_module: &BTreeMap<&str, usize>,
    exports: &BTreeMap<(usize, &str), &str>,
) -> Option<(usize, String)> {
    let mut path = path.to_owned();
    for _ in 0..HOPS {
        let mut end = path.len();
        let file = loop {
            match by_module.get(&path[..end]) {
                Some(file) => break *file,
                None => end = path[..end].rfind("::")?,
            }
        };
        let rest = path[end..].trim_start_matches("::");
        let (name, below) = rest.split_once("::").unwrap_or((rest, ""));
        let followed = exports.get(&(file, name)).filter(|full| full.starts_with("crate::"));
        match followed {
            Some(full) if below.is_empty() => path = (*full).to_owned(),
            Some(full) => path = format!("{full}::{below}"),
            None if rest.is_empty() => return Some((file, "the module".to_owned())),
            None => return Some((file, name.to_owned())),
        }
    }
    None
}

impl Graph {
    /// Every set of files that reach each other (strongly connected components of two or more),
    /// each sorted.
    pub(crate) fn circles(&self) -> Vec<Vec<usize>> {
        let mut next = vec![Vec::new(); self.files.len()];
        for (from, to) in self.ties.keys() {
            next[*from].push(*to);
        }
        let reach: Vec<Vec<bool>> = (0..next.len()).map(|from| reached(from, &next)).collect();
        let mut seen = vec![false; next.len()];
        let mut circles = Vec::new();
        for i in 0..next.len() {
            let circle: Vec<usize> =
                (i..next.len()).filter(|j| !seen[i] && reach[i][*j] && reach[*j][i]).collect();
            circle.iter().for_each(|j| seen[*j] = true);
            if circle.len() > 1 {
                circles.push(circle);
            }
        }
        circles
    }

    /// The files of a circle, and for each edge in it the names that tie the two files.
    pub(crate) fn describe(&self, circle: &[usize]) -> String {
        let mut text = format!("circle of {} files: {}", circle.len(), self.row(circle));
        for ((from, to), names) in &self.ties {
            if circle.contains(from) && circle.contains(to) {
                let names: Vec<String> =
                    names.iter().map(|(name, line)| format!("{name} (line {line})")).collect();
                let (from, to) = (&self.files[*from], &self.files[*to]);
                text.push_str(&format!("\n    {from} -> {to}: {}", names.join(", ")));
            }
        }
        text
    }

    /// A circle as it is written in a list of circles.
    pub(crate) fn row(&self, circle: &[usize]) -> String {
        let names: Vec<String> = circle.iter().map(|i| format!("{:?}", self.files[*i])).collect();
        format!("&[{}]", names.join(", "))
    }
}

/// Which files a path of at least one edge leads to.
fn reached(from: usize, next: &[Vec<usize>]) -> Vec<bool> {
    let mut reached = vec![false; next.len()];
    let mut open = next[from].clone();
    while let Some(file) = open.pop() {
        if !std::mem::replace(&mut reached[file], true) {
            open.extend(&next[file]);
        }
    }
    reached
}
