//! The storm in a network namespace whose packets get lost.

use std::io::Write;
use std::process::Command;

/// Of a thousand packets so many are lost.
const LOST: u32 = 10;

/// A namespace; it goes with it.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn tool(words: &[&str]) {
    let said = Command::new(words[0]).args(&words[1..]).output();
    let said = said.unwrap_or_else(|error| panic!("{} does not run: {error}", words[0]));
    assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// Runs the storm there; whether it passed. Without `FRAMEWIRE_NETNS=1` nothing is done.
pub fn run() -> bool {
    if std::env::var("FRAMEWIRE_NETNS").as_deref() != Ok("1") {
        let line =
            "chaos: loss skipped; FRAMEWIRE_NETNS=1 runs it, as root, in a network namespace";
        let _ = writeln!(std::io::stderr(), "{line}");
        return true;
    }
    let name = format!("fwchaos{}", std::process::id());
    tool(&["ip", "netns", "add", &name]);
    let namespace = Namespace(name);
    let name = &namespace.0;
    tool(&["ip", "-n", name, "link", "set", "lo", "up"]);
    let lose = format!(
        "add table inet fw; add chain inet fw in {{ type filter hook input priority 0; }}; \
         add rule inet fw in numgen random mod 1000 < {LOST} drop"
    );
    tool(&["ip", "netns", "exec", name, "nft", &lose]);
    crate::child::apart(&["ip", "netns", "exec", name])
}
