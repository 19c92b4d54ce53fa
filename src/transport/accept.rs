//! Accepting connections: errors that pass neither end the listener nor make it spin.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::rt;
use crate::rt::contain::{Panicked, contain_future};
use crate::transport::connect::Connected;

/// The first pause after an error.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Errors of single connections that are skipped in a row before a pause is taken all the same.
const SKIPPED_IN_A_ROW: u32 = 64;

/// The future of one accepted connection. Cancel safe: dropping it loses no connection.
pub type AcceptFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send + 'a>>;

/// A source of incoming connections: TCP, Unix sockets, memory, or your own.
///
/// An acceptor that serves the first `left` connections of another one:
///
/// ```
/// # fn main() {
/// use framewire::transport::{Accept, AcceptFuture};
/// use std::io;
///
/// struct AtMost<A> {
///     inner: A,
///     left: usize,
/// }
///
/// impl<A: Accept> Accept for AtMost<A> {
///     fn accept(&mut self) -> AcceptFuture<'_> {
///         Box::pin(async move {
///             if self.left == 0 {
///                 return Err(io::Error::other("the number of connections is reached"));
///             }
///             // Cancel safe: counts after the only await.
///             let connected = self.inner.accept().await?;
///             self.left -= 1;
///             Ok(connected)
///         })
///     }
/// }
/// # let (_, listener) = framewire::transport::in_memory(1024);
/// # let _ = AtMost { inner: listener, left: 3 };
/// # }
/// ```
pub trait Accept: Send + 'static {
    /// Waits for the next connection. The future must be cancel safe: a server drops it on
    /// shutdown.
    ///
    /// # Errors
    ///
    /// An error is final: the server stops accepting. Kind `UnexpectedEof` is an orderly end: nobody can
    /// connect any more. Any other one is logged as an error. An implementation waits out what passes by
    /// itself, such as exhausted descriptors or a peer that left early.
    fn accept(&mut self) -> AcceptFuture<'_>;
}

/// The system call behind [`accept_with_backoff`].
pub(crate) trait AcceptSource {
    type Connection;
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;
}

/// What an accept loop remembers between connections, so that a dropped future forgets no pause.
#[derive(Debug)]
pub(crate) struct AcceptBackoff {
    pause: Duration,
    skipped: u32,
    resume_at: Option<Instant>,
    errors: u64,
}

impl AcceptBackoff {
    pub(crate) const fn new() -> Self {
        Self { pause: BACKOFF_FIRST, skipped: 0, resume_at: None, errors: 0 }
    }

    /// Errors met so far, skipped connections included.
    pub(crate) const fn errors(&self) -> u64 {
        self.errors
    }

    fn succeeded(&mut self) {
        self.pause = BACKOFF_FIRST;
        self.skipped = 0;
    }

    /// Notes an error and sets the pause it calls for; returns it if the listener is lost.
    fn failed(&mut self, error: io::Error) -> io::Result<()> {
        self.errors = self.errors.saturating_add(1);
        match severity(&error) {
            Severity::Fatal => return Err(error),
            Severity::OneConnection if self.skipped < SKIPPED_IN_A_ROW => self.skipped += 1,
            Severity::OneConnection | Severity::Exhausted => {
                crate::rt::log!(warn, %error, pause = ?self.pause, "accepting pauses");
                self.resume_at = Some(rt::now() + self.pause);
                self.pause = (self.pause * 2).min(BACKOFF_MAX);
            }
        }
        Ok(())
    }
}

enum Severity {
    /// That connection is gone; the next one may be fine.
    OneConnection,
    /// The process or the machine lacks something that comes back.
    Exhausted,
    /// The listener itself is wrong.
    Fatal,
}

fn severity(error: &io::Error) -> Severity {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::ConnectionAborted
        | Io::ConnectionReset
        | Io::Interrupted
        | Io::TimedOut
        | Io::HostUnreachable
        | Io::NetworkUnreachable
        | Io::NetworkDown => Severity::OneConnection,
        Io::InvalidInput | Io::Unsupported | Io::NotConnected => Severity::Fatal,
        // EBADF and ENOTSOCK, which have no kind of their own.
        _ if cfg!(unix) && matches!(error.raw_os_error(), Some(9 | 88)) => Severity::Fatal,
        _ => Severity::Exhausted,
    }
}

/// Waits for the next connection. After a panic, an acceptor is asked again, after pauses that double.
pub(crate) async fn accept_contained(acceptor: &mut Box<dyn Accept>) -> io::Result<Connected> {
    let mut pause = BACKOFF_FIRST;
    loop {
        match contain_future(async { acceptor.accept().await }).await {
            Ok(accepted) => return accepted,
            Err(Panicked) => {
                crate::rt::log!(error, ?pause, "the listener panicked; accepting pauses");
                rt::sleep(pause).await;
                pause = (pause * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Accepts one connection, pausing 10 ms to 1 s (doubled each time, reset by success) on errors
/// like EMFILE, and stepping over connections that ended before they were accepted.
pub(crate) async fn accept_with_backoff<S: AcceptSource>(
    source: &mut S,
    backoff: &mut AcceptBackoff,
) -> io::Result<S::Connection> {
    loop {
        if let Some(at) = backoff.resume_at {
            rt::sleep_until(at).await;
            backoff.resume_at = None;
        }
        match poll_fn(|cx| source.poll_accept(cx)).await {
            Ok(connection) => {
                backoff.succeeded();
                return Ok(connection);
            }
            Err(error) => backoff.failed(error)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use crate::transport::accept::*;

    const ECONNABORTED: i32 = 103;
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const EBADF: i32 = 9;

    /// Plays back results and notes when it was asked.
    struct Script {
        results: VecDeque<Result<u32, i32>>,
        asked_at: Vec<Instant>,
    }

    impl Script {
        fn new(results: impl IntoIterator<Item = Result<u32, i32>>) -> Self {
            Self { results: results.into_iter().collect(), asked_at: Vec::new() }
        }

        fn pauses(&self) -> Vec<u128> {
            self.asked_at.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect()
        }
    }

    impl AcceptSource for Script {
        type Connection = u32;
        fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<u32>> {
            self.asked_at.push(rt::now());
            match self.results.pop_front() {
                Some(result) => Poll::Ready(result.map_err(io::Error::from_raw_os_error)),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn exhausted_descriptors_are_waited_out() {
        let errors = (0..9).map(|n| Err(if n % 2 == 0 { EMFILE } else { ENFILE }));
        let mut script = Script::new(errors.chain([Ok(1), Err(EMFILE), Ok(2)]));
        let mut backoff = AcceptBackoff::new();
        assert_eq!(accept_with_backoff(&mut script, &mut backoff).await.unwrap(), 1);
        // The clock of tokio has a grain of 1 ms.
        let want = [10, 20, 40, 80, 160, 320, 640, 1000, 1000];
        for (got, want) in script.pauses().iter().zip(want) {
            assert!((want..=want + 1).contains(got), "{:?}", script.pauses());
        }
        assert_eq!(script.pauses().len(), want.len());
        // Success reset the pause.
        assert_eq!(accept_with_backoff(&mut script, &mut backoff).await.unwrap(), 2);
        assert!((10..=11).contains(script.pauses().last().unwrap()));
        assert_eq!(backoff.errors(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_left_is_stepped_over_but_never_in_a_spin() {
        let mut script = Script::new([Err(ECONNABORTED), Err(ECONNABORTED), Ok(1)]);
        let mut backoff = AcceptBackoff::new();
        assert_eq!(accept_with_backoff(&mut script, &mut backoff).await.unwrap(), 1);
        assert_eq!(script.pauses(), [0, 0]);

        let many = SKIPPED_IN_A_ROW as usize + 3;
        let mut script = Script::new((0..many).map(|_| Err(ECONNABORTED)).chain([Ok(1)]));
        accept_with_backoff(&mut script, &mut backoff).await.unwrap();
        assert_eq!(script.pauses().iter().filter(|&&ms| ms > 0).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_accept_does_not_shorten_the_pause() {
        let mut script = Script::new([Err(EMFILE), Err(EMFILE), Err(EMFILE), Ok(1)]);
        let mut backoff = AcceptBackoff::new();
        let start = rt::now();
        loop {
            let accept = accept_with_backoff(&mut script, &mut backoff);
            if rt::timeout(Duration::from_millis(1), accept).await.is_ok() {
                break;
            }
        }
        assert!(rt::now() - start >= Duration::from_millis(70));
        assert_eq!(script.asked_at.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_listener_is_an_error() {
        let mut script = Script::new([Err(EBADF)]);
        let error = accept_with_backoff(&mut script, &mut AcceptBackoff::new()).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EBADF));
    }
}
