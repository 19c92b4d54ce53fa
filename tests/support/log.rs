//! What is logged on the thread of a test.
#![allow(unreachable_pub, reason = "tests")]

use std::sync::{Arc, Mutex};
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

/// Everything that is logged on this thread while it lives.
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn new() -> Self {
        let text = Arc::default();
        let lines = Lines(Arc::clone(&text));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || lines.clone())
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Everything, one event a line.
    pub fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// The lines of a level and those above it.
    pub fn above(&self, level: Level) -> Vec<String> {
        let text = self.text();
        let of = |line: &&str| {
            let word = line.split_whitespace().next().unwrap_or_default();
            word.parse::<Level>().is_ok_and(|found| found <= level)
        };
        text.lines().filter(of).map(str::to_owned).collect()
    }

    pub fn has(&self, words: &str) -> bool {
        self.text().contains(words)
    }
}
