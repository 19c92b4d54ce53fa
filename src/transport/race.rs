//! Several attempts to connect: the next one begins when the others are silent, or as soon as one has
//! failed (RFC 8305 §5). The first success wins, and the others are dropped.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

struct Attempt<K, F> {
    of: K,
    future: Pin<Box<F>>,
}

/// Tries each of `all` in this order: `begin` makes an attempt, `silence` ends when those in flight have
/// been silent for long.
///
/// # Errors
/// All have failed: each error, in the order of the failures.
pub(crate) async fn race<K, T, E, F, S>(
    all: Vec<K>,
    begin: impl Fn(K) -> F,
    silence: impl Fn() -> S,
) -> Result<T, Vec<(K, E)>>
where
    K: Clone,
    F: Future<Output = Result<T, E>>,
    S: Future<Output = ()>,
{
    let mut left = all.into_iter();
    let mut running = Vec::new();
    let mut failures = Vec::new();
    loop {
        if let Some(of) = left.next() {
            let future = Box::pin(begin(of.clone()));
            running.push(Attempt { of, future });
        } else if running.is_empty() {
            return Err(failures);
        }
        let more = !left.as_slice().is_empty();
        tokio::select! {
            biased;
            won = poll_fn(|cx| poll_all(&mut running, &mut failures, cx)) => {
                if let Some(won) = won {
                    return Ok(won);
                }
            }
            () = silence(), if more => {}
        }
    }
}

/// Polls every attempt once: a success ends the race, a failure is noted.
fn poll_all<K: Clone, T, E, F: Future<Output = Result<T, E>>>(
    running: &mut Vec<Attempt<K, F>>,
    failures: &mut Vec<(K, E)>,
    cx: &mut Context<'_>,
) -> Poll<Option<T>> {
    let before = running.len();
    let mut won = None;
    running.retain_mut(|attempt| {
        if won.is_some() {
            return false;
        }
        match attempt.future.as_mut().poll(cx) {
            Poll::Pending => return true,
            Poll::Ready(Ok(success)) => won = Some(success),
            Poll::Ready(Err(error)) => failures.push((attempt.of.clone(), error)),
        }
        false
    });
    match won {
        None if running.len() == before => Poll::Pending,
        won => Poll::Ready(won),
    }
}
