//! One TCP connection, without blocking, whose reads tell when their bytes arrived.
//!
//! The kernel stamps every segment as it comes in (`SO_TIMESTAMPNS`), so an arrival's time does not depend on when
//! this process got round to reading it. Where the kernel does not (some sandboxes), the time of the read is taken.

use std::io::{self, IoSliceMut, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, connect,
    getsockopt, recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::clock::mono_ns;

/// The kernel stamps by `CLOCK_REALTIME`; this is what `CLOCK_MONOTONIC` is ahead of it. It is taken anew every few
/// milliseconds, so that a correction of the wall clock reaches no measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockOffset {
    ahead_ns: i128,
    taken_ns: u64,
}

/// The wall clock is corrected by half a millisecond a second at most, unless it is set; and then a stamp is off by
/// more than can be believed.
const OFFSET_LASTS_NS: u64 = 5_000_000;

impl ClockOffset {
    pub(super) fn now() -> Self {
        let wall = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, nanos);
        let taken_ns = mono_ns();
        Self {
            ahead_ns: i128::from(taken_ns) - wall,
            taken_ns,
        }
    }

    /// Takes it again if it is old.
    pub(super) fn refresh(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.taken_ns) > OFFSET_LASTS_NS {
            *self = Self::now();
        }
    }

    fn to_mono(self, wall: TimeSpec) -> u64 {
        u64::try_from(nanos(wall) + self.ahead_ns).unwrap_or(0)
    }
}

fn nanos(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}

/// Memory that reads share.
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl ReadBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; 64 << 10],
            control: nix::cmsg_space!(TimeSpec, [u64; 8]),
        }
    }
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes, now at the end of the caller's buffer.
    Bytes(Arrival),
    /// The peer has sent everything it will.
    Closed,
    /// Nothing now.
    WouldBlock,
}

/// When bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// In `CLOCK_MONOTONIC`: when the kernel had the last of them, or when they were read.
    pub(super) arrived_ns: u64,
    /// When they were read.
    pub(super) read_ns: u64,
    /// Whether the kernel told.
    pub(super) by_kernel: bool,
}

/// A connection or an attempt at one.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
}

impl Socket {
    /// Begins to connect; writable once that is decided.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        // Refused by some sandboxes; then no read carries a stamp, which is noticed at the read.
        let _ = setsockopt(&stream, sockopt::ReceiveTimestampns, &true);
        Ok(Self { stream })
    }

    /// How the attempt to connect ended, once it did.
    pub(super) fn connected(&self) -> io::Result<()> {
        match getsockopt(&self.stream, sockopt::SocketError)? {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Hands as much as possible to the kernel, without waiting.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                written => return written,
            }
        }
    }

    /// Reads once, appends to `input`, and tells when the bytes arrived. A stamp of the kernel is believed if it lies
    /// between `not_before_ns` and the read.
    pub(super) fn read(
        &mut self,
        input: &mut Vec<u8>,
        shared: &mut ReadBuffer,
        offset: ClockOffset,
        not_before_ns: u64,
    ) -> io::Result<Read> {
        let ReadBuffer { bytes, control } = shared;
        let mut slices = [IoSliceMut::new(bytes)];
        let message = loop {
            let fd = self.stream.as_raw_fd();
            match recvmsg::<()>(fd, &mut slices, Some(control), MsgFlags::empty()) {
                Ok(message) => break message,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Read::WouldBlock),
                Err(error) => return Err(error.into()),
            }
        };
        let read_ns = mono_ns();
        if message.bytes == 0 {
            return Ok(Read::Closed);
        }
        let stamp = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmTimestampns(wall) => Some(offset.to_mono(wall)),
                _ => None,
            })
        });
        let length = message.bytes;
        let stamp = stamp.filter(|at| (not_before_ns..=read_ns).contains(at));
        input.extend_from_slice(&bytes[..length]);
        Ok(Read::Bytes(Arrival {
            arrived_ns: stamp.unwrap_or(read_ns),
            read_ns,
            by_kernel: stamp.is_some(),
        }))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    /// Waits for something other than "nothing now", as epoll would.
    fn read(socket: &mut Socket, input: &mut Vec<u8>) -> Read {
        let mut shared = ReadBuffer::new();
        loop {
            let offset = ClockOffset::now();
            match socket.read(input, &mut shared, offset, 0).expect("open") {
                Read::WouldBlock => std::thread::yield_now(),
                other => return other,
            }
        }
    }

    #[test]
    fn an_arrival_is_told_however_late_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut socket = Socket::open(listener.local_addr().expect("bound")).expect("loopback");
        let (mut peer, _) = listener.accept().expect("it connects");
        socket.connected().expect("accepted");
        assert_eq!(socket.write(b"hi").expect("room"), 2);
        peer.read_exact(&mut [0; 2]).expect("they were sent");

        let before = mono_ns();
        peer.write_all(b"token").expect("open");
        let after = mono_ns();
        std::thread::sleep(Duration::from_millis(30));
        let mut input = b"kept ".to_vec();
        let Read::Bytes(arrival) = read(&mut socket, &mut input) else {
            panic!("bytes were sent");
        };
        assert_eq!(input, b"kept token");
        assert!(arrival.read_ns >= after + 30_000_000);
        if arrival.by_kernel {
            // The two clocks are read one after the other, hence the millisecond.
            let slack = 1_000_000;
            assert!(arrival.arrived_ns + slack >= before, "{arrival:?} {before}");
            assert!(arrival.arrived_ns <= after + slack, "{arrival:?} {after}");
        } else {
            assert_eq!(arrival.arrived_ns, arrival.read_ns);
        }
        drop(peer);
        assert_eq!(read(&mut socket, &mut input), Read::Closed);
    }

    #[test]
    fn a_stamp_that_cannot_be_is_not_believed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut socket = Socket::open(listener.local_addr().expect("bound")).expect("loopback");
        let (mut peer, _) = listener.accept().expect("it connects");
        peer.write_all(b"token").expect("open");
        let mut shared = ReadBuffer::new();
        let arrival = loop {
            let read = socket.read(&mut vec![], &mut shared, ClockOffset::now(), u64::MAX);
            match read.expect("open") {
                Read::Bytes(arrival) => break arrival,
                _ => std::thread::yield_now(),
            }
        };
        assert!(!arrival.by_kernel);
        assert_eq!(arrival.arrived_ns, arrival.read_ns);
    }

    #[test]
    fn a_refused_connection_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let refused = match Socket::open(address) {
            Err(error) => error,
            Ok(socket) => loop {
                if let Err(error) = socket.connected() {
                    break error;
                }
                std::thread::yield_now();
            },
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
