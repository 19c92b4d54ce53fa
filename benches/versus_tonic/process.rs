//! The processes of a run: one server, one client, each on a core of its own.

use crate::cases::Case;
use crate::load::Seen;
use crate::stack::{BoxError, TlsFiles};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is the same for all runs of a comparison.
#[derive(Clone, Debug)]
pub struct Setting {
    pub multi: bool,
    pub connections: u32,
    pub warm: Duration,
    pub measure: Duration,
    pub tls: TlsFiles,
    /// `taskset` is there, and the machine has two cores to give.
    pub pin: bool,
}

/// Ends its process, whatever happens.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let there = Command::new("taskset").arg("-V").stdout(Stdio::null()).status();
    cores >= 2 && there.is_ok_and(|status| status.success())
}

/// This program again; pinned only on one thread, which is what pinning would leave it with.
fn myself(core: u32, setting: &Setting) -> Result<Command, BoxError> {
    let exe = std::env::current_exe()?;
    let mut command = if setting.pin && !setting.multi {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(exe);
        command
    } else {
        Command::new(exe)
    };
    if setting.multi {
        command.arg("--multi");
    }
    command.args(["--tls-cert", &setting.tls.certificate, "--tls-key", &setting.tls.key]);
    Ok(command)
}

/// One run with a fresh server.
pub fn run(stack: &str, case: &Case, setting: &Setting) -> Result<Seen, BoxError> {
    let mut command = myself(0, setting)?;
    command.args(["--role", "server", "--stack", stack]);
    if case.tls {
        command.arg("--tls");
    }
    // The server ends when its standard input does, so it does not outlive us.
    let mut server = Guard(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    let stdout = server.0.stdout.take().ok_or("no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let port = line.trim().strip_prefix("port ").ok_or("the server did not start")?;

    let mut command = myself(1, setting)?;
    command.args(["--role", "client", "--stack", stack, "--case", case.name, "--port", port]);
    command.args(["--server-pid", &server.0.id().to_string()]);
    command.args(["--warm-ms", &setting.warm.as_millis().to_string()]);
    command.args(["--measure-ms", &setting.measure.as_millis().to_string()]);
    command.args(["--connections", &setting.connections.to_string()]);
    let mut client = Guard(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut text = String::new();
    client.0.stdout.take().ok_or("no output")?.read_to_string(&mut text)?;
    if !client.0.wait()?.success() {
        return Err(format!("the client of {stack}, {}, failed", case.name).into());
    }
    parse(&text)
}

/// How a client tells what it saw.
pub fn print(seen: &Seen) {
    let Seen { per_second, p50, p99, p999, client_cpu, server_cpu } = seen;
    println!("seen {per_second} {p50} {p99} {p999} {client_cpu} {server_cpu}");
}

fn parse(text: &str) -> Result<Seen, BoxError> {
    let line = text.lines().find_map(|line| line.strip_prefix("seen ")).ok_or("no result")?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let &[per_second, p50, p99, p999, client_cpu, server_cpu] = numbers.as_slice() else {
        return Err("a result of another shape".into());
    };
    Ok(Seen { per_second, p50, p99, p999, client_cpu, server_cpu })
}
