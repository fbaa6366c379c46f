//! The connections of a run: opened ahead, kept alive, each with at most one request on it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::exchange::Exchange;
use super::socket::{Arrival, ClockOffset, Read, ReadBuffer, Socket};
use crate::clock::mono_ns;

/// A connection that has carried a request is not used again after so long without one: servers close idle ones
/// (uvicorn, and so vLLM, after 5 s), and a request that crosses that on its way is lost.
const MAX_IDLE: Duration = Duration::from_secs(3);

/// The request on a connection.
pub(super) struct InFlight {
    /// Its place in the order of sending.
    pub(super) index: usize,
    pub(super) exchange: Exchange,
}

/// What the last look at a socket found; dealt with after all sockets were looked at.
#[derive(Debug)]
pub(super) enum Seen {
    Nothing,
    Bytes(Arrival),
    Closed,
    Failed(io::Error),
    Writable,
}

impl Seen {
    /// Whether bytes came, and the kernel told when.
    pub(super) fn is_stamped(&self) -> bool {
        matches!(self, Self::Bytes(arrival) if arrival.by_kernel)
    }
}

pub(super) struct Connection {
    socket: Socket,
    pub(super) opened_ns: u64,
    pub(super) connected_ns: Option<u64>,
    /// When it became idle, if it has carried a request.
    used_until_ns: Option<u64>,
    /// Arrived and not yet consumed.
    pub(super) input: Vec<u8>,
    last_arrival_ns: u64,
    pub(super) in_flight: Option<InFlight>,
    waits_to_write: bool,
}

/// Identifies a connection as long as it is open.
pub(super) type Slot = usize;

const WHEN_IDLE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP);
const WHEN_WRITING: EpollFlags = WHEN_IDLE.union(EpollFlags::EPOLLOUT);

/// The event of something that is no connection.
pub(super) const TIMER: u64 = u64::MAX;

pub(super) struct Connections {
    pub(super) epoll: Epoll,
    events: Vec<EpollEvent>,
    shared: ReadBuffer,
    offset: ClockOffset,
    address: SocketAddr,
    open: Vec<Option<Connection>>,
    free: Vec<Slot>,
    idle: Vec<Slot>,
    connecting: usize,
}

impl Connections {
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); 1024],
            shared: ReadBuffer::new(),
            offset: ClockOffset::now(),
            address,
            open: Vec::new(),
            free: Vec::new(),
            idle: Vec::new(),
            connecting: 0,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Connections that are not decided yet.
    pub(super) fn connecting(&self) -> usize {
        self.connecting
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.open.get_mut(slot)?.as_mut()
    }

    /// All open connections.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Connection)> {
        self.open
            .iter()
            .enumerate()
            .filter_map(|(slot, c)| Some((slot, c.as_ref()?)))
    }

    /// Begins a connection, with a request on it or as a spare.
    pub(super) fn connect(
        &mut self,
        in_flight: Option<InFlight>,
    ) -> Result<Slot, (Option<InFlight>, io::Error)> {
        let slot = self.free.pop().unwrap_or(self.open.len());
        let opened = Socket::open(self.address).and_then(|socket| {
            self.epoll
                .add(&socket, EpollEvent::new(WHEN_WRITING, slot as u64))?;
            Ok(socket)
        });
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => {
                if slot < self.open.len() {
                    self.free.push(slot);
                }
                return Err((in_flight, error));
            }
        };
        let connection = Connection {
            socket,
            opened_ns: mono_ns(),
            connected_ns: None,
            used_until_ns: None,
            input: Vec::new(),
            last_arrival_ns: 0,
            in_flight,
            waits_to_write: true,
        };
        if slot == self.open.len() {
            self.open.push(Some(connection));
        } else {
            self.open[slot] = Some(connection);
        }
        self.connecting += 1;
        Ok(slot)
    }

    /// The connection that was idle for the shortest time, and is fit to be used.
    pub(super) fn take_idle(&mut self, now_ns: u64) -> Option<Slot> {
        while let Some(slot) = self.idle.pop() {
            match self.get_mut(slot) {
                Some(connection) if !connection.is_stale(now_ns) => return Some(slot),
                Some(_) => self.close(slot),
                None => {}
            }
        }
        None
    }

    /// Closes idle connections that the server is about to close itself.
    pub(super) fn close_stale(&mut self, now_ns: u64) {
        let (stale, fresh) = std::mem::take(&mut self.idle)
            .into_iter()
            .partition(|slot| self.get_mut(*slot).is_none_or(|c| c.is_stale(now_ns)));
        self.idle = fresh;
        let stale: Vec<Slot> = stale;
        for slot in stale {
            self.close(slot);
        }
    }

    /// Its request is over and another can follow.
    pub(super) fn release(&mut self, slot: Slot, now_ns: u64) {
        if let Some(connection) = self.get_mut(slot) {
            connection.used_until_ns = Some(now_ns);
            // Nobody asked for anything yet: what came behind the answer cannot be trusted.
            if connection.input.is_empty() {
                self.idle.push(slot);
            } else {
                self.close(slot);
            }
        }
    }

    /// Closes a connection; what was on it is the caller's.
    pub(super) fn close(&mut self, slot: Slot) {
        if let Some(connection) = self.open.get_mut(slot).and_then(Option::take) {
            self.connecting -= usize::from(connection.connected_ns.is_none());
            self.idle.retain(|other| *other != slot);
            self.free.push(slot);
            // Closing the socket removes it from epoll.
        }
    }

    /// Waits for events, then looks at every socket that has one, so that no arrival's time depends on what another
    /// connection's bytes meant. Returns when the wait ended, and whether the timer fired.
    pub(super) fn poll(
        &mut self,
        timeout: EpollTimeout,
        seen: &mut Vec<(Slot, Seen)>,
    ) -> io::Result<(u64, bool)> {
        let count = loop {
            match self.epoll.wait(&mut self.events, timeout) {
                Ok(count) => break count,
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let woke_ns = mono_ns();
        let mut timer = false;
        if count == 0 {
            return Ok((woke_ns, timer));
        }
        self.offset.refresh(woke_ns);
        let offset = self.offset;
        for event in &self.events[..count] {
            if event.data() == TIMER {
                timer = true;
                continue;
            }
            let Ok(slot) = usize::try_from(event.data()) else {
                continue;
            };
            let Some(Some(connection)) = self.open.get_mut(slot) else {
                continue;
            };
            let found = connection.look(event.events(), &mut self.shared, offset);
            if connection.connected_ns.is_none() && matches!(found, Seen::Writable) {
                connection.connected_ns = Some(mono_ns());
                self.connecting -= 1;
                if connection.in_flight.is_none() {
                    // It stays writable: to be told that again and again would cost a processor.
                    connection.waits_to_write = false;
                    let mut event = EpollEvent::new(WHEN_IDLE, event.data());
                    self.epoll.modify(&connection.socket, &mut event)?;
                    self.idle.push(slot);
                }
            }
            if !matches!(found, Seen::Nothing) {
                seen.push((slot, found));
            }
        }
        Ok((woke_ns, timer))
    }

    /// Writes what can be written of the request on `slot`, and waits for room if it does not fit.
    pub(super) fn write(&mut self, slot: Slot) -> io::Result<()> {
        let Some(Some(connection)) = self.open.get_mut(slot) else {
            return Ok(());
        };
        let mut waits = false;
        if let Some(in_flight) = &mut connection.in_flight {
            let exchange = &mut in_flight.exchange;
            while !exchange.unsent().is_empty() {
                // Before the write: the server can have the request, and this thread lose the processor, before the
                // write returns.
                let now_ns = mono_ns();
                match connection.socket.write(exchange.unsent())? {
                    0 => {
                        waits = true;
                        break;
                    }
                    written => exchange.wrote(written, now_ns),
                }
            }
        }
        if waits != connection.waits_to_write {
            connection.waits_to_write = waits;
            let flags = if waits { WHEN_WRITING } else { WHEN_IDLE };
            let mut event = EpollEvent::new(flags, slot as u64);
            self.epoll.modify(&connection.socket, &mut event)?;
        }
        Ok(())
    }
}

impl Connection {
    fn is_stale(&self, now_ns: u64) -> bool {
        self.used_until_ns
            .is_some_and(|since| Duration::from_nanos(now_ns.saturating_sub(since)) > MAX_IDLE)
    }

    fn look(&mut self, flags: EpollFlags, shared: &mut ReadBuffer, offset: ClockOffset) -> Seen {
        if self.connected_ns.is_none() {
            return match self.socket.connected() {
                Err(error) => Seen::Failed(error),
                Ok(()) if flags.contains(EpollFlags::EPOLLOUT) => Seen::Writable,
                Ok(()) => Seen::Nothing,
            };
        }
        let readable = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLHUP
            | EpollFlags::EPOLLERR;
        if flags.intersects(readable) {
            let not_before = self.last_arrival_ns.max(self.opened_ns);
            match self
                .socket
                .read(&mut self.input, shared, offset, not_before)
            {
                Ok(Read::Bytes(arrival)) => {
                    self.last_arrival_ns = arrival.arrived_ns;
                    return Seen::Bytes(arrival);
                }
                Ok(Read::Closed) => return Seen::Closed,
                Ok(Read::WouldBlock) => {}
                Err(error) => return Seen::Failed(error),
            }
        }
        if flags.contains(EpollFlags::EPOLLOUT) {
            Seen::Writable
        } else {
            Seen::Nothing
        }
    }
}
