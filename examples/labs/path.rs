//! A path that forgets its flows without a word, as a NAT or a load balancer does after some
//! silence: what was connected hears nothing more, who connects anew passes.

use crate::BoxError;
use std::net::SocketAddr;
use std::process::Command;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Set for this program once it stands in a network namespace of its own.
const INSIDE: &str = "FRAMEWIRE_LABS_NETNS";

/// The way to a server.
pub(crate) enum Path {
    /// A forwarder in this process. The system still acknowledges bytes on both of its sides.
    Proxy { port: u16, forget: watch::Sender<()> },
    /// Bytes of known flows are dropped by nft, as on a real path.
    Netns { port: u16 },
}

impl Path {
    /// A way to the server on that port.
    pub(crate) async fn to(server: u16, netns: bool) -> Result<Self, BoxError> {
        if netns {
            for rule in [
                "add table inet lab",
                "add chain inet lab in { type filter hook input priority 0; }",
            ] {
                tool("nft", &rule.split(' ').collect::<Vec<_>>())?;
            }
            return Ok(Self::Netns { port: server });
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (forget, forgotten) = watch::channel(());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut forgotten = forgotten.clone();
                forgotten.mark_unchanged();
                tokio::spawn(forward(near, SocketAddr::from(([127, 0, 0, 1], server)), forgotten));
            }
        });
        Ok(Self::Proxy { port, forget })
    }

    /// Where a client connects to.
    pub(crate) const fn port(&self) -> u16 {
        match self {
            Self::Proxy { port, .. } | Self::Netns { port } => *port,
        }
    }

    /// Forgets the flows there are.
    pub(crate) fn forget(&self) -> Result<(), BoxError> {
        match self {
            Self::Proxy { forget, .. } => {
                forget.send_replace(());
                Ok(())
            }
            Self::Netns { port } => {
                for flow in flows(*port)? {
                    for end in ["sport", "dport"] {
                        let rule = format!("add rule inet lab in tcp {end} {flow} drop");
                        tool("nft", &rule.split(' ').collect::<Vec<_>>())?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Forwards until the flow is forgotten; from then on both ends stay open and silent.
async fn forward(near: TcpStream, server: SocketAddr, mut forgotten: watch::Receiver<()>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let (mut near, mut far) = (near, far);
    let is_forgotten = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => false,
        told = forgotten.changed() => told.is_ok(),
    };
    // Until the lab is over.
    while is_forgotten && forgotten.changed().await.is_ok() {}
}

/// The clients' ports of the flows to a server's port.
fn flows(server: u16) -> Result<Vec<u16>, BoxError> {
    let (table, to) = (std::fs::read_to_string("/proc/net/tcp")?, format!(":{server:04X}"));
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        if let (Some(local), Some(remote), Some("01")) = (words.next(), words.next(), words.next())
            && remote.ends_with(&to)
            && let Some((_, port)) = local.rsplit_once(':')
        {
            found.push(u16::from_str_radix(port, 16)?);
        }
    }
    Ok(found)
}

fn tool(name: &str, words: &[&str]) -> Result<(), BoxError> {
    let ended = Command::new(name).args(words).output();
    match ended.map_err(|error| format!("{name}: {error}"))? {
        output if output.status.success() => Ok(()),
        output => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Puts this program into a network namespace of its own, which ends with it: does not return the
/// first time, and raises the loopback interface the second time.
///
/// # Errors
/// What is not permitted or not there: it wants Linux, root, `unshare`, `ip` and `nft`.
pub(crate) fn enter_netns() -> Result<(), BoxError> {
    if std::env::var_os(INSIDE).is_some() {
        return tool("ip", &["link", "set", "lo", "up"]);
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(std::env::current_exe()?).args(std::env::args().skip(1));
    command.env(INSIDE, "1");
    become_it(command)
}

#[cfg(unix)]
fn become_it(mut command: Command) -> Result<(), BoxError> {
    Err(format!("unshare: {}", std::os::unix::process::CommandExt::exec(&mut command)).into())
}

#[cfg(not(unix))]
fn become_it(_: Command) -> Result<(), BoxError> {
    Err("there are no network namespaces here".into())
}
