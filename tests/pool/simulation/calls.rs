//! Calls of every shape, the service that answers them, and what must be true of how each ended.

use crate::{Journal, WORK, ms, raw};
use framewire::client::Channel;
use framewire::error::{Error, Processed};
use framewire::server::Router;
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response};
use framewire::unstable::rt::Random;
use std::time::Duration;

const UP: Method<Raw, Raw> = Method::new("/test.Work/Up");
const DOWN: Method<Raw, Raw> = Method::new("/test.Work/Down");
const BOTH: Method<Raw, Raw> = Method::new("/test.Work/Both");

/// Messages of a stream.
const MESSAGES: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Unary,
    Up,
    Down,
    Both,
}

/// A call: its first message names it, and says how many times 10 ms the server works on it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub id: u32,
    pub shape: Shape,
    tens: u8,
    timeout: Option<Duration>,
    waits: bool,
    /// Between two messages.
    pause: Duration,
}

impl Call {
    pub fn draw(id: u32, random: &mut Random) -> Self {
        Self {
            id,
            shape: match random.below(8) {
                0 => Shape::Up,
                1 => Shape::Down,
                2 => Shape::Both,
                _ => Shape::Unary,
            },
            tens: random.below(4) as u8,
            timeout: (random.below(5) == 0).then(|| Duration::from_millis(1 + random.below(80))),
            waits: random.below(2) == 0,
            pause: Duration::from_micros(random.below(2) * random.below(9000)),
        }
    }

    fn message(&self, n: u8) -> Raw {
        let mut bytes = vec![self.tens];
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.push(n);
        raw(bytes)
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let request = Request::new(message).with_wait_for_ready(self.waits);
        match self.timeout {
            Some(time) => request.with_timeout(time),
            None => request,
        }
    }

    /// Makes the call and looks at every byte of its answer.
    pub async fn make(self, channel: Channel) -> Result<(), Error> {
        let all = (0..MESSAGES).map(|n| self.message(n));
        match self.shape {
            Shape::Unary => {
                let answer = channel.unary(&WORK, self.request(self.message(0))).await?;
                assert_eq!(answer.into_inner(), self.message(0));
            }
            Shape::Up => {
                let (mut up, down) = channel.client_streaming(&UP, self.request(()))?;
                for message in all.clone() {
                    // How the call ended is read below.
                    if up.send(message).await.is_err() {
                        break;
                    }
                    self.pause().await;
                }
                let _ = up.finish();
                let wanted: Vec<u8> = all.flat_map(|Raw(bytes)| bytes).collect();
                assert_eq!(down.one().await?.into_inner(), raw(wanted), "in order, once each");
            }
            Shape::Down => {
                let mut down = channel.server_streaming(&DOWN, self.request(self.message(0)))?;
                for message in all {
                    self.pause().await;
                    assert_eq!(down.message().await?, Some(message));
                }
                assert_eq!(down.message().await?, None);
            }
            Shape::Both => {
                let (mut up, mut down) = channel.bidi(&BOTH, self.request(()))?;
                for message in all {
                    self.pause().await;
                    if up.send(message.clone()).await.is_err() {
                        break;
                    }
                    assert_eq!(down.message().await?, Some(message));
                }
                let _ = up.finish();
                assert_eq!(down.message().await?, None);
            }
        }
        Ok(())
    }

    async fn pause(&self) {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
    }

    /// What must be true of a call that the servers ran so many times, when its policy allows so
    /// many attempts; `None` if it was given up.
    pub fn judge(&self, end: Option<&Result<(), Error>>, ran: usize, attempts: usize) {
        match end {
            Some(Ok(())) => assert!(ran >= 1, "{self:?} was answered by nobody"),
            Some(Err(error)) => {
                let known = [Code::Unavailable, Code::DeadlineExceeded];
                assert!(known.contains(&error.code()), "{self:?}: {error}");
                let unseen = error.processed() == Processed::No;
                assert!(!unseen || ran == 0, "{self:?} ran {ran} times: {error}");
            }
            None => {}
        }
        assert!(ran <= attempts, "{self:?} ran {ran} times of {attempts}: {end:?}");
    }
}

/// The call that a first message names.
pub fn id_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[1..5].try_into().unwrap())
}

async fn work(message: &Raw) {
    ms(u64::from(message.0[0]) * 10).await;
}

/// Notes each call's first message, and answers.
pub fn router(journal: &Journal) -> Router {
    let (up, down, both) = (journal.clone(), journal.clone(), journal.clone());
    crate::router(journal)
        .client_streaming(&UP, move |_, mut requests| {
            let journal = up.clone();
            async move {
                let mut all = Vec::new();
                while let Some(message) = requests.message().await? {
                    if all.is_empty() {
                        journal.note(&message.0);
                        work(&message).await;
                    }
                    all.extend_from_slice(&message.0);
                }
                Ok(Response::new(raw(all)))
            }
        })
        .server_streaming(&DOWN, move |_, request: Raw, mut replies| {
            let journal = down.clone();
            async move {
                journal.note(&request.0);
                for n in 0..MESSAGES {
                    work(&request).await;
                    let mut bytes = request.0.to_vec();
                    bytes[5] = n;
                    replies.send(raw(bytes)).await?;
                }
                Ok(())
            }
        })
        .bidi(&BOTH, move |_, mut requests, mut replies| {
            let journal = both.clone();
            async move {
                let mut first = true;
                while let Some(message) = requests.message().await? {
                    if std::mem::take(&mut first) {
                        journal.note(&message.0);
                        work(&message).await;
                    }
                    replies.send(message).await?;
                }
                Ok(())
            }
        })
}
