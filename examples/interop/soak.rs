//! Cases that make many calls.

use super::cases::{Outcome, large, large_unary};
use super::shared::{Flags, UNARY_CALL};
use framewire::Request;
use framewire::client::Channel;
use std::time::{Duration, Instant};

/// Large calls at once on one channel.
pub(crate) async fn concurrent(channel: &Channel, calls: u64) -> Outcome {
    let tasks: Vec<_> = (0..calls)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { large_unary(&channel).await })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Large calls one after the other, each on the channel that `channel` gives.
pub(crate) async fn rpc(channel: impl Fn() -> Result<Channel, String>, flags: &Flags) -> Outcome {
    let iterations = flags.number("soak_iterations", 20)?;
    let patience = flags.number("soak_per_iteration_max_acceptable_latency_ms", 2000)?;
    let failures_allowed = flags.number("soak_max_failures", 0)?;
    let overall = Duration::from_secs(flags.number("soak_overall_timeout_seconds", 30)?);
    let started = Instant::now();
    let mut failures = Vec::new();
    for i in 0..iterations {
        if started.elapsed() > overall {
            return Err(format!("{i} of {iterations} calls were made in {overall:?}"));
        }
        let begun = Instant::now();
        let request = Request::new(large()).with_timeout(overall);
        let result = channel()?.unary(&UNARY_CALL, request).await;
        let spent = begun.elapsed();
        match result {
            Err(error) => failures.push(format!("call {i}: {error}")),
            Ok(_) if spent > Duration::from_millis(patience) => {
                failures.push(format!("call {i} took {spent:?}"));
            }
            Ok(_) => {}
        }
    }
    if failures.len() as u64 > failures_allowed {
        return Err(failures.join("; "));
    }
    Ok(())
}
