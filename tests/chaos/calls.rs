//! One call: what it is to do, how it is made, and how it ended.

use crate::messages::{Act, Answer, Ask, BIDI, DOWN, Message, UNARY, UP};
use crate::seed::Rng;
use bytes::Bytes;
use framewire::client::{Channel, Sender, Streaming};
use framewire::{Encoding, Error, Metadata, Request};
use std::time::Duration;

/// Metadata at which the interceptor of a channel panics.
pub const PANICS: &str = "x-chaos-panics";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unary,
    Down,
    Up,
    /// One message, one answer.
    PingPong,
    /// Both directions at once.
    Bidi,
}

/// What a call is to do.
#[derive(Clone, Debug)]
pub struct Spec {
    pub id: u64,
    pub kind: Kind,
    pub act: Act,
    pub milliseconds: u16,
    pub count: u16,
    pub load: usize,
    pub timeout: Option<Duration>,
    pub wait_for_ready: bool,
    /// After so long the caller drops it.
    pub cancel: Option<Duration>,
    pub gzip: bool,
}

impl Spec {
    pub fn draw(id: u64, rng: &mut Rng) -> Self {
        let kind = match rng.range(0, 9) {
            0..5 => Kind::Unary,
            5 => Kind::Down,
            6 => Kind::Up,
            7 => Kind::PingPong,
            _ => Kind::Bidi,
        };
        let act = match rng.range(0, 199) {
            n @ 2..8 => Act::ALL[n as usize],
            8..20 => Act::Unavailable,
            _ => Act::Fine,
        };
        let timeout = match rng.range(0, 9) {
            0 => None,
            1 => Some(Duration::from_millis(rng.range(1, 50))),
            2..5 => Some(Duration::from_millis(rng.range(50, 1000))),
            _ => Some(Duration::from_millis(rng.range(1000, 6000))),
        };
        let slow = rng.pick(&[0, 0, 0, 1, 5, 20, 100]);
        Self {
            id,
            kind,
            act,
            milliseconds: if kind == Kind::Unary { slow } else { slow.min(5) },
            count: rng.pick(&[1, 2, 5, 20]),
            load: rng.pick(&[0, 10, 10, 300, 300, 5000, 5000, 100_000]),
            timeout,
            wait_for_ready: rng.per_mille(400),
            cancel: rng.per_mille(60).then(|| Duration::from_millis(rng.range(0, 300))),
            gzip: rng.per_mille(100),
        }
    }

    /// As `draw`, of a call that nothing stands against.
    pub fn fair(id: u64, rng: &mut Rng) -> Self {
        let timeout = Some(Duration::from_secs(20));
        let drawn = Self::draw(id, rng);
        Self { act: Act::Fine, timeout, wait_for_ready: true, cancel: None, gzip: false, ..drawn }
    }

    fn message(&self) -> Message {
        let load = Bytes::from(vec![self.id as u8; self.load]);
        let (milliseconds, count) = (self.milliseconds, self.count);
        Message { id: self.id, act: self.act, milliseconds, count, load }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message).with_wait_for_ready(self.wait_for_ready);
        if let Some(timeout) = self.timeout {
            request = request.with_timeout(timeout);
        }
        if self.gzip {
            request = request.with_encoding(Encoding::Gzip);
        }
        if self.act == Act::InterceptorPanics {
            let mut metadata = Metadata::new();
            metadata.insert(PANICS, "1").unwrap();
            request = request.with_metadata(metadata);
        }
        request
    }
}

/// How a call ended, as its caller saw it.
#[derive(Debug)]
pub enum Ended {
    Well,
    Error(Error),
    /// With an answer that it must not have.
    Wrong(String),
    /// The caller dropped it.
    Cancelled,
    /// A panic came out of it.
    Panicked,
    /// Its runtime was shut down.
    Dropped,
    /// It did not end.
    Hung,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Makes the call.
pub async fn make(channel: &Channel, spec: &Spec) -> Ended {
    let cancelled = async {
        match spec.cancel {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let call = async {
        match spec.kind {
            Kind::Unary => unary(channel, spec).await,
            Kind::Down => down(channel, spec).await,
            Kind::Up => up(channel, spec).await,
            Kind::PingPong => ping_pong(channel, spec).await,
            Kind::Bidi => bidi(channel, spec).await,
        }
    };
    let ended = tokio::select! {
        ended = call => ended.unwrap_or_else(|ended| ended),
        () = cancelled => Ended::Cancelled,
    };
    match ended {
        Ended::Well if spec.act != Act::Fine => Ended::Wrong(format!("OK after {:?}", spec.act)),
        other => other,
    }
}

/// Compares an answer with what it must be.
fn check(spec: &Spec, answer: &Answer, count: u16) -> Result<(), Ended> {
    let wanted = Message { count, ..spec.message() };
    if answer.0 == wanted {
        return Ok(());
    }
    let Message { id, count: n, ref load, .. } = answer.0;
    Err(Ended::Wrong(format!("answer {id}, {n}, {} bytes; wanted {count}", load.len())))
}

async fn unary(channel: &Channel, spec: &Spec) -> Result<Ended, Ended> {
    let answer = channel.unary(&UNARY, spec.request(Ask(spec.message()))).await?;
    check(spec, &answer.into_inner(), spec.count)?;
    Ok(Ended::Well)
}

async fn down(channel: &Channel, spec: &Spec) -> Result<Ended, Ended> {
    let mut down = channel.server_streaming(&DOWN, spec.request(Ask(spec.message())))?;
    for count in 0..spec.count {
        one(spec, &mut down, count).await?;
    }
    end(&mut down).await
}

/// The next answer, which there must be.
async fn one(spec: &Spec, down: &mut Streaming<Answer>, count: u16) -> Result<(), Ended> {
    match down.message().await? {
        Some(answer) => check(spec, &answer, count),
        None => Err(Ended::Wrong(format!("OK before answer {count}"))),
    }
}

/// No further answer.
async fn end(down: &mut Streaming<Answer>) -> Result<Ended, Ended> {
    match down.message().await? {
        Some(_) => Err(Ended::Wrong("an answer too many".to_owned())),
        None => Ok(Ended::Well),
    }
}

async fn up(channel: &Channel, spec: &Spec) -> Result<Ended, Ended> {
    let (up, down) = channel.client_streaming(&UP, spec.request(()))?;
    let sent = send_all(spec, up).await;
    // The status says more than the sender knows.
    let answer = down.one().await?;
    sent?;
    check(spec, &answer.into_inner(), spec.count)?;
    Ok(Ended::Well)
}

async fn send_all(spec: &Spec, mut up: Sender<Ask>) -> Result<(), Error> {
    for _ in 0..spec.count {
        up.send(Ask(spec.message())).await?;
    }
    up.finish()
}

async fn ping_pong(channel: &Channel, spec: &Spec) -> Result<Ended, Ended> {
    let (mut up, mut down) = channel.bidi(&BIDI, spec.request(()))?;
    for _ in 0..spec.count {
        let sent = up.send(Ask(spec.message())).await;
        one(spec, &mut down, spec.count).await?;
        sent?;
    }
    let finished = up.finish();
    let ended = end(&mut down).await?;
    finished?;
    Ok(ended)
}

async fn bidi(channel: &Channel, spec: &Spec) -> Result<Ended, Ended> {
    let (up, mut down) = channel.bidi(&BIDI, spec.request(()))?;
    let receive = async {
        for _ in 0..spec.count {
            one(spec, &mut down, spec.count).await?;
        }
        end(&mut down).await
    };
    let (sent, received) = tokio::join!(send_all(spec, up), receive);
    let ended = received?;
    sent?;
    Ok(ended)
}
