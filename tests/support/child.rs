//! This test's binary, run again in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child as System, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// What a busy machine may need to start a process, or to end one.
const PATIENT: Duration = Duration::from_secs(60);

/// A process. Dropped, it is killed; its input ends with the parent.
pub struct Child {
    system: System,
    lines: Lines<BufReader<ChildStdout>>,
    input: ChildStdin,
    /// Where it says that it listens.
    pub address: SocketAddr,
}

impl Child {
    /// Runs `test` with these variables, and waits until it says `listens on` and where. `before` are a
    /// command and its arguments that run it.
    pub async fn start(before: &[&str], test: &str, variables: &[(&str, &str)]) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = match before {
            [] => Command::new(&this),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&this);
                command
            }
        };
        command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut system = command.spawn().unwrap();
        let lines = BufReader::new(system.stdout.take().unwrap()).lines();
        let input = system.stdin.take().unwrap();
        let mut child = Self { system, lines, input, address: ([0, 0, 0, 0], 0).into() };
        child.address = child.line("listens on ").await.parse().unwrap();
        child
    }

    /// What stands behind these words in the next line that begins with them.
    pub async fn line(&mut self, words: &str) -> String {
        let search = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                if let Some(rest) = line.strip_prefix(words) {
                    return rest.to_owned();
                }
            }
            panic!("a process ended without saying {words:?}")
        };
        timeout(PATIENT, search).await.unwrap_or_else(|_| panic!("no {words:?} in {PATIENT:?}"))
    }

    /// Says a line to it.
    pub async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Its identifier, until it has been waited for.
    pub fn id(&self) -> Option<String> {
        self.system.id().map(|id| id.to_string())
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`, `CONT`. After `STOP` it has stopped.
    pub async fn signal(&self, name: &str) {
        let Some(id) = self.id() else { return };
        let sent = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &id]).status();
        assert!(sent.await.unwrap().success(), "no signal could be sent");
        while name == "STOP" && !is_stopped(&id) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for its end, after a signal or its last line; whether it ended well.
    pub async fn ended(&mut self) -> bool {
        let status = timeout(PATIENT, self.system.wait()).await;
        status.expect("a process does not end").unwrap().success()
    }
}

/// Whether all threads of a process stand still.
fn is_stopped(id: &str) -> bool {
    // One that has ended stands still too.
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return true };
    let mut states = threads.flatten().map(|thread| {
        let state = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before the state stands in parentheses and may hold anything.
        state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    });
    states.all(|stopped| stopped)
}
