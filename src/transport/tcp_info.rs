//! What the system knows about a TCP connection (TCP_INFO), and how far apart it retransmits.
//!
//! The only file with `unsafe` code: two system calls that no dependency offers safely. Each passes
//! plain integers. Other systems than Linux know nothing and take no option.

use std::time::Duration;

#[cfg(unix)]
use std::os::fd::AsFd as AsSystemSocket;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSystemSocket;

/// The longest time between two retransmissions or window probes of our sockets. A dead path is noticed
/// in a few of them, and a path that works again is used at once.
const RTO_MAX: Duration = Duration::from_secs(3);

/// The state of a TCP connection at one time. A field that the system does not report is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Both sides have sent FIN and this side's was acknowledged, or the connection was reset.
    pub(crate) closed: bool,
    /// This side's FIN was acknowledged (FIN_WAIT2, or a state after it).
    pub(crate) fin_acknowledged: bool,
    /// Consecutive retransmissions of the same bytes.
    pub(crate) retransmits: u8,
    /// Consecutive unanswered probes of a closed window, or of keepalive.
    pub(crate) probes: u8,
    /// Segments that were sent and not acknowledged, FIN included.
    pub(crate) unacked: u32,
    /// Time since the last segment with data arrived.
    pub(crate) last_data_recv: Duration,
    /// Time since the last acknowledgement arrived.
    pub(crate) last_ack_recv: Duration,
    /// Bytes that were written and not sent yet.
    pub(crate) notsent: Option<u32>,
    /// Bytes that were sent and not acknowledged.
    pub(crate) in_flight: Option<u64>,
    /// Bytes that the peer's window allows.
    pub(crate) send_window: Option<u32>,
}

impl TcpInfo {
    /// Returns the bytes that were written and not acknowledged. Without the system's counts, one byte
    /// for each segment.
    pub(crate) fn outstanding(&self) -> u64 {
        if self.fin_acknowledged {
            return 0;
        }
        let unsent = u64::from(self.notsent.unwrap_or(0));
        unsent.saturating_add(self.in_flight.unwrap_or_else(|| self.unacked.into()))
    }

    /// Returns whether anything waits for the peer's acknowledgement or window.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unacked > 0 || self.notsent.is_some_and(|bytes| bytes > 0)
    }
}

/// Reads the state of the connection. `None` if the system does not report it, or if it is no TCP socket.
#[cfg(target_os = "linux")]
pub(crate) fn read(socket: &impl AsSystemSocket) -> Option<TcpInfo> {
    linux::Raw::of(socket.as_fd()).map(|raw| raw.info())
}

/// Reads nothing: the system is not asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_: &impl AsSystemSocket) -> Option<TcpInfo> {
    None
}

/// Bounds the time between two retransmissions by [`RTO_MAX`]. Set it before `connect`, and on listeners.
/// Systems without the option keep their own bound (120 s on Linux before 6.15).
pub(crate) fn bound_retransmission(socket: &impl AsSystemSocket) {
    #[cfg(target_os = "linux")]
    linux::set_rto_max(socket.as_fd(), RTO_MAX);
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, RTO_MAX);
}

#[cfg(target_os = "linux")]
mod linux {
    use super::TcpInfo;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::time::Duration;

    /// TCP_RTO_MAX_MS, in milliseconds, since Linux 6.15.
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    const WORDS: usize = 64;
    /// States of a connection, from include/net/tcp_states.h.
    const FIN_WAIT2: u8 = 5;
    const TIME_WAIT: u8 = 6;
    const CLOSE: u8 = 7;

    /// `struct tcp_info` as words of 32 bits, as far as the kernel has filled it. The offsets are the
    /// kernel's stable interface (include/uapi/linux/tcp.h); later kernels only append fields.
    pub(super) struct Raw {
        words: [u32; WORDS],
        len: usize,
    }

    impl Raw {
        #[expect(unsafe_code, reason = "no dependency reads TCP_INFO safely")]
        pub(super) fn of(socket: BorrowedFd<'_>) -> Option<Self> {
            let mut words = [0u32; WORDS];
            let mut len = size_of_val(&words) as libc::socklen_t;
            // SAFETY: `socket` is open during the call. `words` is writable for `len` bytes, the kernel
            // writes at most that many and sets `len` to their number. Every bit pattern is a valid `u32`.
            let failed = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_INFO,
                    words.as_mut_ptr().cast(),
                    &raw mut len,
                )
            };
            (failed == 0).then_some(Self { words, len: len as usize })
        }

        fn u8(&self, at: usize) -> u8 {
            let word = self.u32(at / 4 * 4).unwrap_or(0).to_ne_bytes();
            word.get(at % 4).copied().unwrap_or(0)
        }

        fn u32(&self, at: usize) -> Option<u32> {
            self.words.get(at / 4).copied().filter(|_| at + 4 <= self.len)
        }

        fn u64(&self, at: usize) -> Option<u64> {
            let [a, b, c, d] = self.u32(at)?.to_ne_bytes();
            let [e, f, g, h] = self.u32(at + 4)?.to_ne_bytes();
            Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
        }

        fn milliseconds(&self, at: usize) -> Duration {
            Duration::from_millis(self.u32(at).unwrap_or(0).into())
        }

        pub(super) fn info(&self) -> TcpInfo {
            let state = self.u8(0);
            // SYN and FIN count as acknowledged bytes, but not as sent ones.
            let left = |sent: u64, again: u64, acknowledged: u64| {
                sent.saturating_sub(again).saturating_sub(acknowledged)
            };
            let unacked = self.u32(24).unwrap_or(0);
            let in_flight = match (self.u64(200), self.u64(208), self.u64(120)) {
                (Some(sent), Some(again), Some(acknowledged)) => {
                    Some(left(sent, again, acknowledged).max(unacked.into()))
                }
                _ => None,
            };
            TcpInfo {
                closed: matches!(state, TIME_WAIT | CLOSE),
                fin_acknowledged: matches!(state, FIN_WAIT2 | TIME_WAIT),
                retransmits: self.u8(2),
                probes: self.u8(3),
                unacked,
                last_data_recv: self.milliseconds(52),
                last_ack_recv: self.milliseconds(56),
                notsent: self.u32(144),
                in_flight,
                send_window: self.u32(228),
            }
        }
    }

    #[expect(unsafe_code, reason = "no dependency sets TCP_RTO_MAX_MS")]
    pub(super) fn set_rto_max(socket: BorrowedFd<'_>, time: Duration) {
        let milliseconds = time.as_millis() as libc::c_int;
        // SAFETY: `socket` is open during the call, and the kernel reads one `c_int` from the pointer.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                TCP_RTO_MAX_MS,
                (&raw const milliseconds).cast(),
                size_of_val(&milliseconds) as libc::socklen_t,
            )
        };
        // ENOPROTOOPT on kernels without the option, which keep their own bound.
        let _ = failed;
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn fields_beyond_what_the_kernel_returned_are_absent() {
            let raw = Raw { words: [7; WORDS], len: 104 };
            let info = raw.info();
            assert_eq!((info.unacked, info.notsent), (7, None), "linux 2.6.37 has 104 bytes");
            assert_eq!((info.in_flight, info.send_window), (None, None));
            assert_eq!(info.last_ack_recv, Duration::from_millis(7));
            let whole = Raw { words: [7; WORDS], len: 248 }.info();
            assert_eq!((whole.notsent, whole.send_window), (Some(7), Some(7)));
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::transport::tcp_info::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Instant;

    /// Reads until `done`, for ten seconds at most.
    fn until(socket: &TcpStream, done: impl Fn(&TcpInfo) -> bool) -> TcpInfo {
        let late = Instant::now() + Duration::from_secs(10);
        loop {
            let info = read(socket).unwrap_or_default();
            if done(&info) {
                return info;
            }
            assert!(Instant::now() < late, "{info:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn unread_bytes_are_outstanding_until_the_peer_reads_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        bound_retransmission(&listener);
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert!(!read(&near).unwrap().is_waiting());
        near.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(n) = near.write(&[0; 64 * 1024]) {
            sent += n;
        }
        let full = until(&near, |info| info.notsent > Some(0));
        assert!(full.is_waiting() && full.outstanding() > 0, "{full:?}");
        assert!(full.outstanding() < sent as u64, "some of it was acknowledged");
        near.shutdown(Shutdown::Write).unwrap();
        let mut read_all = Vec::new();
        far.read_to_end(&mut read_all).unwrap();
        assert_eq!(read_all.len(), sent);
        let done = until(&near, |info| info.fin_acknowledged);
        assert_eq!((done.outstanding(), done.closed), (0, false));
        drop(far);
        until(&near, |info| info.closed && info.outstanding() == 0);
    }

    #[test]
    fn other_sockets_have_none() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(read(&near), None);
    }
}
