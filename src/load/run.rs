//! The loop that drives a run: one thread, one epoll, no task per request. It sends what is due, reads what has
//! arrived, and only then looks at what it was.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::connections::{Connections, InFlight, Seen, Slot, TIMER};
use super::exchange::{Answer, Exchange, Progress};
use super::facts::Meter;
use super::limits::{Timeouts, TooManyStreams, allow_streams};
use super::moderation::{Moderation, REST};
use super::outcome::Outcome;
use super::pacing::{Limit, Pacing, PacingError};
use super::request::Request;
use super::target::Target;
use super::turns::Turns;
use crate::clock::mono_ns;

/// One run against one server.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where it goes.
    pub target: Target,
    /// When requests are meant to be sent.
    pub pacing: Pacing,
    /// When no further one is.
    pub limit: Limit,
    /// Requests in flight at most; a request waits for a free place, and the wait is recorded apart.
    pub max_concurrency: Option<u32>,
    /// Time limits of each request.
    pub timeouts: Timeouts,
    /// Seed of the schedule.
    pub seed: u64,
}

impl Load {
    /// Connections that it needs at once, as far as that is known beforehand, and requests that it needs at once.
    pub(crate) fn streams_at_once(&self) -> u64 {
        let count = match self.limit {
            Limit::Count(count) => Some(count),
            Limit::Duration(_) => None,
        };
        match (self.max_concurrency, self.pacing, count) {
            (Some(limit), _, Some(count)) => count.min(u64::from(limit)),
            (Some(limit), _, None) => u64::from(limit),
            (None, Pacing::AllAtOnce, Some(count)) => count,
            (None, _, count) => count.unwrap_or(u64::MAX).min(SPARES as u64),
        }
    }
}

/// Looks into a run, and ends it, from another thread.
#[derive(Debug, Default)]
pub struct Watch {
    /// Sequences that are over.
    pub finished: AtomicU64,
    /// Chunks that have come: about as many tokens.
    pub chunks: AtomicU64,
    /// Set to end the run: what is in flight is dropped, and the run returns [`LoadError::Stopped`].
    pub stop: AtomicBool,
}

/// Why there is no outcome. A request that fails is part of an outcome, not one of these.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No address of the server takes connections.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last one tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The schedule cannot be followed.
    #[error(transparent)]
    Pacing(#[from] PacingError),
    /// The limit on open files is too low.
    #[error(transparent)]
    Streams(#[from] TooManyStreams),
    /// All at once, for some time, with no bound on concurrency.
    #[error(
        "all at once for a duration needs a concurrency limit or a rate: it would send without end"
    )]
    Endless,
    /// A limit of zero.
    #[error("nothing to send: {0}")]
    Nothing(&'static str),
    /// [`Watch::stop`] was set.
    #[error("stopped")]
    Stopped,
    /// The kernel refused something basic.
    #[error("the load client's event loop failed: {0}")]
    Io(#[from] io::Error),
}

/// Sent in one go before arrivals are looked at again.
const SENDS_IN_ONE_GO: usize = 64;
/// Requests encoded ahead, at least.
const LOOK_AHEAD: usize = 256;
/// Requests encoded in one go while the clock runs.
const ENCODED_PER_TURN: usize = 8;
/// Connections held ready for an open loop, whose concurrency is not known beforehand.
const SPARES: usize = 64;
/// Connections begun in one go: below the backlog of every server.
const CONNECTS_AT_ONCE: usize = 128;
/// How often time limits and idle connections are looked at.
const TICK: Duration = Duration::from_millis(100);
/// A look that comes so late means that this process did not run (Ctrl-Z, a frozen container). Time limits then begin
/// anew: what has arrived meanwhile is still to be read, and the server may have stood still too.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Runs `load` with `requests`, in their order, on the calling thread, which it occupies until the end. They are
/// taken a little ahead of being due; with [`Limit::Duration`] there have to be enough of them.
pub fn run(
    load: &Load,
    requests: impl Iterator<Item = Request>,
    watch: &Watch,
) -> Result<Outcome, LoadError> {
    Runner::new(load, requests, watch)?.run()
}

struct Runner<'a, R> {
    load: &'a Load,
    watch: &'a Watch,
    connections: Connections,
    timer: TimerFd,
    requests: R,
    ahead: VecDeque<Request>,
    ahead_wanted: usize,
    schedule: Schedule,
    /// Of the requests that were never sent.
    unsent_scheduled_ns: Vec<u64>,
    /// When each free place under the concurrency limit became free; absent without a limit.
    places: Option<VecDeque<u64>>,
    begin_ns: u64,
    /// The end of the last standstill; 0 before one.
    resumed_ns: u64,
    sent: usize,
    in_flight: usize,
    turns: Turns,
    answers: Vec<(usize, Answer)>,
    /// Since the watch was told.
    chunks: u64,
    meter: Meter,
    moderation: Moderation,
    tick: Duration,
}

/// Intended send times, relative to the begin.
enum Schedule {
    /// All due at the begin; so many are left, or as many as the duration allows.
    AtOnce(Option<u64>),
    Scheduled(std::vec::IntoIter<u64>),
}

impl Schedule {
    fn peek(&self) -> Option<u64> {
        match self {
            Self::AtOnce(Some(0)) => None,
            Self::AtOnce(_) => Some(0),
            Self::Scheduled(times) => times.as_slice().first().copied(),
        }
    }

    fn advance(&mut self) {
        match self {
            Self::AtOnce(Some(left)) => *left = left.saturating_sub(1),
            Self::AtOnce(None) => {}
            Self::Scheduled(times) => {
                times.next();
            }
        }
    }

    /// Ends it; the times that were left.
    fn end(&mut self) -> Vec<u64> {
        match std::mem::replace(self, Self::AtOnce(Some(0))) {
            Self::AtOnce(_) => Vec::new(),
            Self::Scheduled(times) => times.collect(),
        }
    }
}

impl<'a, R: Iterator<Item = Request>> Runner<'a, R> {
    fn new(load: &'a Load, mut requests: R, watch: &'a Watch) -> Result<Self, LoadError> {
        let count = match load.limit {
            Limit::Count(0) => return Err(LoadError::Nothing("a count of 0")),
            Limit::Duration(Duration::ZERO) => return Err(LoadError::Nothing("a duration of 0")),
            Limit::Count(count) => Some(count),
            Limit::Duration(_) => None,
        };
        if load.max_concurrency == Some(0) {
            return Err(LoadError::Nothing("a concurrency of 0"));
        }
        let schedule = match load.pacing.schedule(load.limit, load.seed)? {
            Some(times) => Schedule::Scheduled(times.into_iter()),
            None if count.is_none() && load.max_concurrency.is_none() => {
                return Err(LoadError::Endless);
            }
            None => Schedule::AtOnce(count),
        };
        let at_once = load.streams_at_once();
        allow_streams(at_once)?;
        let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
        let ahead_wanted = at_once.max(LOOK_AHEAD);
        let ahead: VecDeque<Request> = requests.by_ref().take(ahead_wanted).collect();
        if ahead.is_empty() {
            return Err(LoadError::Nothing("no requests"));
        }
        let shortest = load.timeouts.shortest() / 4;
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(io::Error::from)?;
        let connections = connect_ahead(load, at_once.min(ahead.len()))?;
        connections
            .epoll
            .add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))
            .map_err(io::Error::from)?;
        Ok(Self {
            load,
            watch,
            connections,
            timer,
            requests,
            ahead,
            ahead_wanted,
            schedule,
            unsent_scheduled_ns: Vec::new(),
            places: load
                .max_concurrency
                .map(|limit| VecDeque::from(vec![0; limit as usize])),
            begin_ns: 0,
            resumed_ns: 0,
            sent: 0,
            in_flight: 0,
            turns: Turns::default(),
            answers: Vec::new(),
            chunks: 0,
            meter: Meter::start(),
            moderation: Moderation::default(),
            tick: TICK.min(shortest.max(Duration::from_millis(1))),
        })
    }

    fn run(mut self) -> Result<Outcome, LoadError> {
        let mut seen = Vec::new();
        self.meter = Meter::start();
        self.begin_ns = mono_ns();
        let mut next_tick_ns = self.begin_ns;
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(LoadError::Stopped);
            }
            let next = self.send_due();
            if self.in_flight == 0 && matches!(next, NextSend::Never) {
                break;
            }
            let more_to_encode = self.encode_ahead();
            if self.moderation.rests() && !more_to_encode && !next.is_within(REST) {
                std::thread::sleep(REST);
            }
            let timeout = self.wait_for(next, more_to_encode)?;
            let (woke_ns, timer) = self.connections.poll(timeout, &mut seen)?;
            if timer {
                // Fails only if it was disarmed meanwhile.
                let _ = self.timer.wait();
            }
            let stamped = seen.iter().filter(|(_, found)| found.is_stamped());
            self.moderation.looked(stamped.count(), woke_ns);
            for (slot, found) in seen.drain(..) {
                self.settle(slot, found, woke_ns);
            }
            if woke_ns >= next_tick_ns {
                if woke_ns - next_tick_ns > nanos(STANDSTILL) {
                    self.resumed_ns = woke_ns;
                }
                let chunks = std::mem::take(&mut self.chunks);
                self.watch.chunks.fetch_add(chunks, Ordering::Relaxed);
                self.keep_limits(woke_ns);
                next_tick_ns = woke_ns + nanos(self.tick);
            }
        }
        let Self {
            load,
            mut answers,
            begin_ns,
            meter,
            unsent_scheduled_ns,
            ..
        } = self;
        answers.sort_unstable_by_key(|(index, _)| *index);
        let answers = answers.into_iter().map(|(_, answer)| answer).collect();
        let mut outcome = Outcome::new(load, begin_ns, answers, meter.stop());
        outcome.arrivals.unsent = unsent_scheduled_ns.len() as u64;
        outcome.arrivals.offered += outcome.arrivals.unsent;
        outcome.arrivals.unsent_scheduled_ns = unsent_scheduled_ns;
        Ok(outcome)
    }

    /// Sends what is due, a bounded number at a time, and tells when to come back.
    fn send_due(&mut self) -> NextSend {
        for sent in 0..SENDS_IN_ONE_GO {
            let Some(scheduled) = self.schedule.peek() else {
                return NextSend::Never;
            };
            let now_ns = mono_ns();
            let scheduled_ns = self.begin_ns + scheduled;
            if scheduled_ns > now_ns {
                return NextSend::At(scheduled_ns);
            }
            let free_since_ns = match &self.places {
                None => 0,
                Some(places) => places.front().copied().unwrap_or(now_ns),
            };
            // What was due before the end is sent, however late this look is.
            let due_ns = scheduled_ns.max(free_since_ns);
            if let Limit::Duration(duration) = self.load.limit
                && due_ns - self.begin_ns >= nanos(duration)
            {
                self.unsent_scheduled_ns = self.schedule.end();
                return NextSend::Never;
            }
            if let Some(places) = &mut self.places
                && places.pop_front().is_none()
            {
                return NextSend::AfterAnother;
            }
            let Some(request) = self.ahead.pop_front().or_else(|| self.requests.next()) else {
                self.unsent_scheduled_ns = self.schedule.end();
                return NextSend::Never;
            };
            self.schedule.advance();
            // A closed loop without end has no schedule: each request is due when a place is free.
            let scheduled_ns = match (&self.schedule, self.load.limit) {
                (Schedule::AtOnce(_), Limit::Duration(_)) => due_ns,
                _ => scheduled_ns,
            };
            self.turns.offer_after(sent);
            self.send(request, scheduled_ns, due_ns, now_ns);
        }
        NextSend::At(0)
    }

    fn send(&mut self, request: Request, scheduled_ns: u64, due_ns: u64, now_ns: u64) {
        let in_flight = InFlight {
            index: self.sent,
            exchange: Exchange::new(request, scheduled_ns, due_ns),
        };
        self.sent += 1;
        self.in_flight += 1;
        if let Some(slot) = self.connections.take_idle(now_ns) {
            if let Some(connection) = self.connections.get_mut(slot) {
                let mut in_flight = in_flight;
                in_flight.exchange.answer.connected_ns = connection.connected_ns;
                connection.in_flight = Some(in_flight);
                self.write(slot, now_ns);
            }
            return;
        }
        if let Err((Some(mut in_flight), error)) = self.connections.connect(Some(in_flight)) {
            let error = self.cannot_connect(&error);
            in_flight.exchange.fail(error, now_ns);
            self.over(in_flight, now_ns);
        }
    }

    fn write(&mut self, slot: Slot, now_ns: u64) {
        if let Err(error) = self.connections.write(slot) {
            // A refusal may stand in the socket before the request was all sent: let the read find it.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.give_up(slot, format!("cannot send: {error}"), now_ns);
            }
        }
    }

    /// Deals with what a look at a socket found.
    fn settle(&mut self, slot: Slot, found: Seen, woke_ns: u64) {
        if let Seen::Bytes(arrival) = &found {
            self.meter.read(arrival, woke_ns);
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(in_flight) = &mut connection.in_flight else {
            // A spare that became open stays; one that says or ends something without being asked goes.
            if !matches!(found, Seen::Writable) {
                self.connections.close(slot);
            }
            return;
        };
        let exchange = &mut in_flight.exchange;
        let progress = match found {
            Seen::Nothing => return,
            Seen::Writable => {
                exchange.answer.connected_ns = connection.connected_ns;
                self.write(slot, woke_ns);
                return;
            }
            Seen::Bytes(arrival) => {
                let chunks = exchange.answer.chunks();
                let progress = exchange.read(&mut connection.input, arrival.arrived_ns);
                self.chunks += (exchange.answer.chunks() - chunks) as u64;
                progress
            }
            Seen::Closed => exchange.closed(woke_ns),
            Seen::Failed(error) if connection.connected_ns.is_none() => {
                let address = self.load.target.host.clone();
                exchange.fail(format!("cannot connect to {address}: {error}"), woke_ns)
            }
            Seen::Failed(error) => {
                let after = match exchange.answer.chunks() {
                    0 => "before the first token".to_owned(),
                    chunks => format!("after {chunks} chunks"),
                };
                exchange.fail(format!("the connection broke {after}: {error}"), woke_ns)
            }
        };
        if let Progress::Over { reusable } = progress
            && let Some(in_flight) = connection.in_flight.take()
        {
            if reusable {
                self.connections.release(slot, woke_ns);
            } else {
                self.connections.close(slot);
            }
            self.over(in_flight, woke_ns);
        }
    }

    fn give_up(&mut self, slot: Slot, error: String, now_ns: u64) {
        let in_flight = self
            .connections
            .get_mut(slot)
            .and_then(|c| c.in_flight.take());
        self.connections.close(slot);
        if let Some(mut in_flight) = in_flight {
            in_flight.exchange.fail(error, now_ns);
            self.over(in_flight, now_ns);
        }
    }

    fn over(&mut self, in_flight: InFlight, now_ns: u64) {
        let answer = in_flight.exchange.answer;
        self.in_flight -= 1;
        if let Some(places) = &mut self.places {
            places.push_back(answer.close_ns.unwrap_or(now_ns));
        }
        let sequences = answer.choices.len() as u64;
        self.watch.finished.fetch_add(sequences, Ordering::Relaxed);
        self.answers.push((in_flight.index, answer));
    }

    fn cannot_connect(&self, error: &io::Error) -> String {
        format!("cannot connect to {}: {error}", self.connections.address())
    }

    /// Encodes a few more requests; whether there is more to do.
    fn encode_ahead(&mut self) -> bool {
        let missing = self.ahead_wanted.saturating_sub(self.ahead.len());
        let before = self.ahead.len();
        self.ahead
            .extend(self.requests.by_ref().take(missing.min(ENCODED_PER_TURN)));
        missing > ENCODED_PER_TURN && self.ahead.len() > before
    }

    /// How long to wait for events; with an exact time to come back at, the timer is armed.
    fn wait_for(&self, next: NextSend, more_to_encode: bool) -> io::Result<EpollTimeout> {
        if let NextSend::At(at_ns) = next {
            if at_ns <= mono_ns() {
                return Ok(EpollTimeout::ZERO);
            }
            let at = TimeSpec::from_duration(Duration::from_nanos(at_ns));
            self.timer.set(
                Expiration::OneShot(at),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?;
        }
        if more_to_encode {
            return Ok(EpollTimeout::ZERO);
        }
        Ok(EpollTimeout::try_from(self.tick).unwrap_or(EpollTimeout::ZERO))
    }

    /// Fails requests that are beyond a time limit, and keeps spare connections for an open loop.
    fn keep_limits(&mut self, now_ns: u64) {
        let late: Vec<(Slot, String)> = self
            .connections
            .slots()
            .filter_map(|(slot, connection)| {
                let over = |since_ns: u64, limit: Duration, what: &str| {
                    let since_ns = since_ns.max(self.resumed_ns);
                    (now_ns.saturating_sub(since_ns) > nanos(limit))
                        .then(|| format!("{what} within {limit:?}"))
                };
                let timeouts = &self.load.timeouts;
                let unconnected = connection.connected_ns.is_none();
                if unconnected
                    && let Some(late) =
                        over(connection.opened_ns, timeouts.connect, "no connection")
                {
                    return Some((slot, late));
                }
                let answer = &connection.in_flight.as_ref()?.exchange.answer;
                let waits = match (answer.sent_ns, answer.chunks(), answer.last_chunk_ns) {
                    (Some(sent), 0, _) => over(sent, timeouts.first_token, "no token"),
                    (_, 1.., Some(last)) => over(last, timeouts.between_tokens, "no further token"),
                    _ => None,
                };
                let waits =
                    waits.or_else(|| over(answer.due_ns, timeouts.total, "not complete"))?;
                Some((slot, waits))
            })
            .collect();
        for (slot, error) in late {
            self.give_up(slot, error, now_ns);
        }
        self.connections.close_stale(now_ns);
        if self.places.is_none() && matches!(self.schedule, Schedule::Scheduled(_)) {
            let left = match &self.schedule {
                Schedule::Scheduled(times) => times.len(),
                Schedule::AtOnce(_) => 0,
            };
            let ready = self.connections.idle() + self.connections.connecting();
            for _ in ready..SPARES.min(left) {
                // A spare that cannot be had is no failure: the request that needs one will say so.
                if self.connections.connect(None).is_err() {
                    break;
                }
            }
        }
    }
}

/// When the loop has to send again.
#[derive(Clone, Copy)]
enum NextSend {
    /// At this time.
    At(u64),
    /// When a request in flight is over.
    AfterAnother,
    /// All is sent.
    Never,
}

impl NextSend {
    fn is_within(self, time: Duration) -> bool {
        matches!(self, Self::At(at_ns) if at_ns < mono_ns() + nanos(time))
    }
}

/// Opens `wanted` connections before the clock starts. At least one has to succeed.
fn connect_ahead(load: &Load, wanted: usize) -> Result<Connections, LoadError> {
    let mut last = None;
    for address in &load.target.addresses {
        let mut connections = Connections::new(*address)?;
        match open(&mut connections, 1, load.timeouts.connect) {
            None => {
                open(&mut connections, wanted, load.timeouts.connect);
                return Ok(connections);
            }
            Some(source) => last = Some((*address, source)),
        }
    }
    Err(match last {
        Some((address, source)) => LoadError::Connect { address, source },
        None => LoadError::Io(io::Error::other("the server's name has no address")),
    })
}

/// Opens connections until `wanted` are idle or one fails, and says why it failed.
fn open(connections: &mut Connections, wanted: usize, limit: Duration) -> Option<io::Error> {
    let end_ns = mono_ns() + nanos(limit);
    let mut seen = Vec::new();
    while connections.idle() < wanted {
        while connections.connecting() < CONNECTS_AT_ONCE
            && connections.idle() + connections.connecting() < wanted
        {
            if let Err((_, error)) = connections.connect(None) {
                return Some(error);
            }
        }
        if mono_ns() > end_ns {
            return Some(io::ErrorKind::TimedOut.into());
        }
        match connections.poll(EpollTimeout::from(50_u8), &mut seen) {
            Ok(_) => {}
            Err(error) => return Some(error),
        }
        for (slot, found) in seen.drain(..) {
            match found {
                Seen::Failed(error) => {
                    connections.close(slot);
                    return Some(error);
                }
                Seen::Closed | Seen::Bytes(_) => connections.close(slot),
                Seen::Nothing | Seen::Writable => {}
            }
        }
    }
    None
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
