//! What a scripted peer says and waits for: prefaces, errors with exact codes, messages.

use std::time::Duration;

use super::frame::*;
use super::hpack::{Fields, get, response};
use super::raw::{Frame, Heard, Message, PATIENCE, RawPeer};

/// How long a close may linger after its GOAWAY.
const LINGER: Duration = Duration::from_secs(9);

impl RawPeer {
    /// Both prefaces and both acknowledgements, with our settings.
    pub(crate) async fn handshake_with(&mut self, ours: &[(u16, u32)]) {
        self.begin_with(ours).await;
        self.expect_settings_ack().await;
    }

    /// As [`Self::handshake_with`], without waiting for the subject's acknowledgement.
    pub(crate) async fn begin_with(&mut self, ours: &[(u16, u32)]) {
        if self.is_client {
            let mut first = PREFACE.to_vec();
            first.extend(settings(ours).bytes());
            self.send_bytes(&first).await;
        } else {
            self.expect_preface().await;
            self.send(settings(ours)).await;
        }
        self.begun = true;
        self.expect_settings().await;
    }

    pub(crate) async fn handshake(&mut self) {
        self.handshake_with(&[]).await;
    }

    /// The 24 bytes a client begins with.
    pub(crate) async fn expect_preface(&mut self) {
        if self.fill(PREFACE.len(), PATIENCE).await.is_some() {
            self.fail("a client preface", "less than 24 bytes");
        }
        let got: Vec<u8> = self.unread.drain(..PREFACE.len()).collect();
        assert_eq!(got, PREFACE, "§3.4: the client preface");
    }

    /// The subject's first frame: SETTINGS without ACK.
    pub(crate) async fn expect_settings(&mut self) -> Frame {
        match self.hear(PATIENCE).await {
            Heard::Frame(frame) if frame.kind == SETTINGS && frame.flags & ACK == 0 => frame,
            other => self.fail("SETTINGS as first frame", &format!("{other:?}")),
        }
    }

    pub(crate) async fn expect_settings_ack(&mut self) -> Frame {
        let ack = self.find("SETTINGS ACK", |f| f.kind == SETTINGS && f.flags & ACK != 0).await;
        assert!(ack.payload.is_empty(), "§6.5: an acknowledgement has no payload");
        ack
    }

    /// A round trip. The first two are PINGs, the others SETTINGS: a server may well count PINGs.
    pub(crate) async fn expect_alive(&mut self) {
        self.pings += 1;
        if self.pings > 2 {
            self.send(settings(&[])).await;
            self.expect_settings_ack().await;
            return;
        }
        let opaque = [b'a', b'l', b'i', b'v', b'e', 0, 0, self.pings];
        self.send(ping(opaque)).await;
        self.find("a PING acknowledgement (the connection alive)", |f| {
            f.kind == PING && f.flags & ACK != 0 && f.payload == opaque
        })
        .await;
    }

    /// GOAWAY with this code; its last stream identifier.
    pub(crate) async fn expect_goaway(&mut self, code: u32) -> u32 {
        let wanted = format!("GOAWAY with code {code:#x}");
        let frame = self.find(&wanted, |f| f.kind == GOAWAY && f.word(4) == code).await;
        assert_eq!(frame.stream, 0, "§6.8: GOAWAY is sent on stream 0");
        frame.word(0)
    }

    /// The end of the subject's bytes, whatever came before it.
    pub(crate) async fn expect_eof(&mut self) {
        loop {
            match self.hear(LINGER).await {
                Heard::Eof => return,
                Heard::Silence => self.fail("the connection closed", "silence"),
                Heard::Frame(_) => {}
            }
        }
    }

    /// A connection error (RFC 9113 §5.4.1): GOAWAY with exactly this code, then the end.
    pub(crate) async fn expect_connection_error(&mut self, code: u32) -> u32 {
        let last = self.expect_goaway(code).await;
        self.expect_eof().await;
        last
    }

    /// A stream error (RFC 9113 §5.4.2): RST_STREAM with exactly this code.
    pub(crate) async fn expect_reset(&mut self, stream: u32, code: u32) {
        let wanted = format!("RST_STREAM on {stream} with code {code:#x}");
        let rst = self.find(&wanted, |f| f.kind == RST_STREAM && f.stream == stream).await;
        assert_eq!(rst.payload.len(), 4, "§6.4: four bytes");
        if rst.word(0) != code {
            self.fail(&wanted, &format!("code {:#x}", rst.word(0)));
        }
    }

    /// A stream error, or the same as a connection error where the RFC leaves the choice.
    pub(crate) async fn expect_error(&mut self, stream: u32, code: u32) {
        let wanted = format!("an error {code:#x} on stream {stream} or the connection");
        let fits = |f: &Frame| {
            (f.kind == RST_STREAM && f.stream == stream)
                || (f.kind == GOAWAY && f.word(4) != NO_ERROR)
        };
        let frame = self.find(&wanted, fits).await;
        let got = frame.word(if frame.kind == GOAWAY { 4 } else { 0 });
        if got != code {
            self.fail(&wanted, &format!("code {got:#x}"));
        }
    }

    /// A malformed message (RFC 9113 §8.1.1), and a connection that goes on.
    pub(crate) async fn expect_malformed(&mut self, stream: u32) {
        self.expect_reset(stream, PROTOCOL_ERROR).await;
        self.expect_alive().await;
    }

    /// The whole message of a stream, interim responses skipped.
    pub(crate) async fn expect_message(&mut self, stream: u32) -> Message {
        let mut message = Message::default();
        let wanted = format!("the message of stream {stream}");
        loop {
            let frame = self
                .find(&wanted, |f| {
                    f.stream == stream && matches!(f.kind, HEADERS | DATA | RST_STREAM)
                })
                .await;
            let ends = frame.ends_stream();
            match (frame.kind, frame.fields) {
                (RST_STREAM, _) => self.fail(&wanted, "RST_STREAM"),
                (DATA, _) => message.body.extend(frame.payload),
                (_, None) => continue,
                (_, Some(fields)) if message.fields.is_empty() => {
                    let interim = fields.iter().any(|(n, v)| n == ":status" && v.starts_with('1'));
                    if !interim {
                        message.fields = fields;
                    }
                }
                (_, Some(fields)) => message.trailers = Some(fields),
            }
            if ends {
                return message;
            }
        }
    }

    /// A complete response with status 200.
    pub(crate) async fn expect_response(&mut self, stream: u32) -> Message {
        let message = self.expect_message(stream).await;
        assert_eq!(message.status(), "200", "status of stream {stream}");
        message
    }

    /// An honest request, answered: the connection and its HPACK state are whole.
    pub(crate) async fn expect_serves(&mut self, stream: u32) {
        self.send(headers(stream, WHOLE, get("/ok", &[]))).await;
        self.expect_response(stream).await;
    }

    /// As server: the head of the next request and its stream.
    pub(crate) async fn expect_request(&mut self) -> (u32, Fields) {
        let frame = self.find("a request", |f| f.kind == HEADERS && f.fields.is_some()).await;
        (frame.stream, frame.fields.expect("fields"))
    }

    /// As server: a complete answer.
    pub(crate) async fn respond(&mut self, stream: u32, body: &[u8]) {
        let head = response(200, &[]);
        self.send_all(&[headers(stream, END_HEADERS, head), data(stream, END_STREAM, body)]).await;
    }
}
