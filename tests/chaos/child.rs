//! The parts of this test's processes, what each is told, and what they write down.

use crate::again::Child;
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::sleep;

/// Set in such a process: its part, where it listens, its seed, its log, and words of its own.
const PART: &str = "FRAMEWIRE_CHAOS_PART";
const LISTEN: &str = "FRAMEWIRE_CHAOS_LISTEN";
const SEED: &str = "FRAMEWIRE_CHAOS_CHILD_SEED";
const LOG: &str = "FRAMEWIRE_CHAOS_LOG";
const MORE: &str = "FRAMEWIRE_CHAOS_MORE";

/// Runs the storm in a process of its own, since it counts descriptors and bytes; `before` are a
/// command and its arguments that run it. Whether it passed.
pub fn apart(before: &[&str]) -> bool {
    let this = std::env::current_exe().unwrap();
    let mut command = match before {
        [] => std::process::Command::new(&this),
        [program, arguments @ ..] => {
            let mut command = std::process::Command::new(program);
            command.args(arguments).arg(&this);
            command
        }
    };
    command.args(["--exact", crate::CHILD, "--nocapture"]).env(PART, crate::STORM);
    let said = command.stdin(Stdio::null()).output().unwrap();
    print!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    said.status.success()
}

/// What this process is told, if it is a child.
pub struct Told {
    pub part: String,
    pub listen: SocketAddr,
    pub seed: u64,
    pub log: PathBuf,
    pub more: String,
}

pub fn told() -> Option<Told> {
    let get = |key| std::env::var(key).unwrap_or_default();
    Some(Told {
        part: std::env::var(PART).ok()?,
        listen: get(LISTEN).parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0))),
        seed: get(SEED).parse().unwrap_or(0),
        log: get(LOG).into(),
        more: get(MORE),
    })
}

/// Says a line to the parent.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The harness may be in the middle of a line.
    let _ = writeln!(out, "\n{line}");
    let _ = out.flush();
}

/// What ran, written at once: nothing is lost with the process.
pub struct Log(Mutex<std::fs::File>);

/// In a log: the handler of this call began, or had its answer ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Note {
    Ran = b'R' as isize,
    Done = b'D' as isize,
}

impl Log {
    pub fn open(path: &Path) -> Self {
        let file = std::fs::File::options().append(true).create(true).open(path);
        Self(Mutex::new(file.unwrap()))
    }

    pub fn note(&self, id: u64, note: Note) {
        let mut line = [note as u8; 9];
        line[1..].copy_from_slice(&id.to_be_bytes());
        self.0.lock().unwrap().write_all(&line).unwrap();
    }
}

/// How often each call ran, and was done, by one process.
pub fn read(log: &Path) -> HashMap<u64, (u32, u32)> {
    let bytes = std::fs::read(log).unwrap_or_default();
    assert!(bytes.len().is_multiple_of(9), "a log ends within a line");
    let mut found: HashMap<u64, (u32, u32)> = HashMap::new();
    for line in bytes.chunks(9) {
        let entry = found.entry(u64::from_be_bytes(line[1..].try_into().unwrap())).or_default();
        match line[0] {
            b'R' => entry.0 += 1,
            _ => entry.1 += 1,
        }
    }
    found
}

/// What to start.
#[derive(Clone)]
pub struct Start {
    pub part: &'static str,
    pub listen: SocketAddr,
    pub seed: u64,
    pub log: PathBuf,
    pub more: String,
}

impl Start {
    pub async fn start(&self) -> Child {
        let (listen, seed) = (self.listen.to_string(), self.seed.to_string());
        let log = self.log.to_str().unwrap();
        let told =
            [(PART, self.part), (LISTEN, &listen), (SEED, &seed), (LOG, log), (MORE, &self.more)];
        Child::start(&[], crate::CHILD, &told).await
    }
}

/// Lines that the parent says, until it is gone; then this process ends.
pub fn told_more() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
        std::process::exit(1);
    });
    receive
}

/// Descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until it holds, at most so long.
pub async fn until(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let late = tokio::time::Instant::now() + limit;
    loop {
        if holds().await {
            return true;
        }
        if tokio::time::Instant::now() > late {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
