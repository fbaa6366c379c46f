//! One thread with an event loop serves all connections.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rollbench::testing::clock::mono_ns;

use super::connection::{Connection, Next};
use super::truth::Truth;

const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// A server that streams what vLLM would.
pub(crate) struct Server {
    listener: TcpListener,
    epoll: Epoll,
    timer: TimerFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When each connection has to do something, with the count of its actions so that old entries are known.
    due: BinaryHeap<Reverse<(u64, usize, u64)>>,
    truth: Truth,
}

impl Server {
    /// At a free port of this host.
    pub(crate) fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXALLOWABLE)?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            listener,
            epoll,
            timer,
            connections: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            truth: Truth::default(),
        })
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Until something fails.
    pub(crate) fn serve(mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); 1024];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept()?,
                    TIMER => {
                        let _ = self.timer.wait();
                    }
                    slot => self.act(slot as usize, Connection::ready),
                }
            }
            while let Some(Reverse((at_ns, slot, action))) = self.due.peek().copied() {
                if at_ns > mono_ns() {
                    break;
                }
                self.due.pop();
                let current = self.connections[slot]
                    .as_ref()
                    .is_some_and(|c| c.action == action);
                if current {
                    self.act(slot, Connection::due);
                }
            }
            if let Some(Reverse((at_ns, ..))) = self.due.peek() {
                let at = TimeSpec::from_duration(Duration::from_nanos(*at_ns));
                self.timer.set(
                    Expiration::OneShot(at),
                    TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                )?;
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.epoll
                .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
            self.connections[slot] = Some(Connection::new(stream));
        }
    }

    fn act(
        &mut self,
        slot: usize,
        action: impl FnOnce(&mut Connection, &mut Truth) -> io::Result<Next>,
    ) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.action += 1;
        match action(connection, &mut self.truth) {
            Ok(Next::At(at_ns)) => {
                self.due.push(Reverse((at_ns, slot, connection.action)));
            }
            Ok(Next::Idle) => {}
            // The client went away, or this was meant to break.
            Ok(Next::Close) | Err(_) => {
                if let Some(mut gone) = self.connections[slot].take() {
                    gone.abandon(&mut self.truth);
                }
                self.free.push(slot);
            }
        }
    }
}
