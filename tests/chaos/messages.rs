//! What the calls say, with a codec that panics where a message asks for it.

use bytes::{Buf, Bytes};
use framewire::codec::{Decode, Encode, EncodeBuf};
use framewire::{Code, Method, Status};

pub const UNARY: Method<Ask, Answer> = Method::new("/chaos.Chaos/Unary");
pub const DOWN: Method<Ask, Answer> = Method::new("/chaos.Chaos/Down");
pub const UP: Method<Ask, Answer> = Method::new("/chaos.Chaos/Up");
pub const BIDI: Method<Ask, Answer> = Method::new("/chaos.Chaos/Bidi");

/// Where a call goes wrong, or what its handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Act {
    Fine,
    /// The handler returns UNAVAILABLE.
    Unavailable,
    HandlerPanics,
    EncodeAsk,
    DecodeAsk,
    EncodeAnswer,
    DecodeAnswer,
    InterceptorPanics,
}

impl Act {
    pub const ALL: [Self; 8] = [
        Self::Fine,
        Self::Unavailable,
        Self::HandlerPanics,
        Self::EncodeAsk,
        Self::DecodeAsk,
        Self::EncodeAnswer,
        Self::DecodeAnswer,
        Self::InterceptorPanics,
    ];

    fn of(byte: u8) -> Self {
        Self::ALL.into_iter().find(|act| *act as u8 == byte).unwrap_or(Self::Fine)
    }

    /// Whether user code panics in the course of the call.
    pub fn panics(self) -> bool {
        !matches!(self, Self::Fine | Self::Unavailable)
    }
}

/// A message of either direction: which call, what to do, how long, how many answers, and a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: u64,
    pub act: Act,
    pub milliseconds: u16,
    pub count: u16,
    pub load: Bytes,
}

/// Bytes before the load.
const HEAD: usize = 13;

impl Message {
    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&self.id.to_be_bytes());
        head[8] = self.act as u8;
        head[9..11].copy_from_slice(&self.milliseconds.to_be_bytes());
        head[11..].copy_from_slice(&self.count.to_be_bytes());
        head
    }

    pub fn read(mut from: impl Buf) -> Option<Self> {
        let id = from.try_get_u64().ok()?;
        let act = Act::of(from.try_get_u8().ok()?);
        let milliseconds = from.try_get_u16().ok()?;
        let count = from.try_get_u16().ok()?;
        let load = from.copy_to_bytes(from.remaining());
        Some(Self { id, act, milliseconds, count, load })
    }

    /// With the 5 bytes that gRPC puts before it.
    pub fn framed(&self) -> Bytes {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&((HEAD + self.load.len()) as u32).to_be_bytes());
        bytes.extend_from_slice(&self.head());
        bytes.extend_from_slice(&self.load);
        bytes.into()
    }

    fn encode(&self, out: &mut EncodeBuf<'_>, panics: bool) {
        let head = self.head();
        out.put_slice(&head[..3]);
        assert!(!panics, "chaos: in encode");
        out.put_slice(&head[3..]);
        out.put_shared(self.load.clone());
    }

    fn decode(from: impl Buf, at: Act) -> Result<Self, Status> {
        let message = Self::read(from);
        let message = message.ok_or_else(|| Status::new(Code::Internal, "a message in part"))?;
        assert!(message.act != at, "chaos: in decode");
        Ok(message)
    }
}

pub struct Ask(pub Message);

impl Encode for Ask {
    fn encoded_len(&self) -> usize {
        HEAD + self.0.load.len()
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        self.0.encode(out, self.0.act == Act::EncodeAsk);
    }
}

impl Decode for Ask {
    fn decode(payload: impl Buf) -> Result<Self, Status> {
        Message::decode(payload, Act::DecodeAsk).map(Self)
    }
}

pub struct Answer(pub Message);

impl Encode for Answer {
    fn encoded_len(&self) -> usize {
        HEAD + self.0.load.len()
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        self.0.encode(out, self.0.act == Act::EncodeAnswer);
    }
}

impl Decode for Answer {
    fn decode(payload: impl Buf) -> Result<Self, Status> {
        Message::decode(payload, Act::DecodeAnswer).map(Self)
    }
}
