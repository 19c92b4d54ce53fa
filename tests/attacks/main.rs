//! What a hostile client may try, each row once: the reaction asked for, the handlers bounded, and
//! an honest request answered afterwards. Everything is written as raw bytes in virtual time.

#[cfg(test)]
mod control_floods;
#[cfg(test)]
mod field_blocks;
#[cfg(test)]
mod held_open;
#[cfg(test)]
mod hpack;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod resets;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;

/// Whatever became of the attacker, the next connection is served.
#[cfg(test)]
async fn honest_request_on_a_new_connection() {
    let mut peer = support::served().await;
    peer.expect_serves(1).await;
}
