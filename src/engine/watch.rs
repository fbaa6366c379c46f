//! Watches an engine's log as it grows: for what the engine is doing, and for an engine that has failed and does not
//! die. (A CUDA error in one worker can leave all processes alive, waiting for each other for ever.)

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use super::log::{EngineLog, clean, parse_line};
use super::said::stage;
use super::surroundings::seconds;
use super::traceback::is_fatal;
use crate::event::{Event, EventSink};
use crate::process::{Patience, Snapshot};

/// Between two looks at the log.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An engine that said that it failed and then does nothing for so long is ended.
const QUIET: Duration = Duration::from_secs(10);
/// Processes that only wait for each other use less of a processor than this, in percent: some of them poll.
const IDLE_PERCENT: u32 = 5;

/// What the log has told so far.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    /// Up to here it was read.
    read: u64,
    /// A line without its end.
    rest: Vec<u8>,
    /// Who is told of the stages of loading; absent: nobody.
    events: Option<EventSink>,
    doing: Option<String>,
    /// The engine's processes are below it.
    guard: u32,
    /// How many events there had been at the last look: progress is one.
    told: u64,
    /// Since vLLM said that the engine or a worker is lost.
    silence: Option<Silence>,
    lost: bool,
}

/// Since when nothing happens.
#[derive(Debug)]
struct Silence {
    patience: Patience,
    cpu: Duration,
}

/// The words for an engine that is lost.
pub(super) fn lost() -> String {
    format!(
        "the engine's log says that it failed, and then its processes lived on without doing anything for {}",
        seconds(QUIET)
    )
}

impl Watch {
    pub(super) fn new(log: &EngineLog, guard: u32) -> Self {
        Self {
            path: log.path().to_owned(),
            read: log.begin(),
            rest: Vec::new(),
            events: None,
            doing: None,
            guard,
            told: 0,
            silence: None,
            lost: false,
        }
    }

    /// Tells `events` of the stages of loading from now on, and takes what they are told for progress.
    pub(super) fn tell(&mut self, events: &EventSink) {
        self.events = Some(events.clone());
    }

    /// Whether the wait for it came to its end.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Waits until the engine has said that it is lost and has then done nothing, for [`QUIET`]: no line, no progress,
    /// no work. May be dropped and begun again.
    pub(super) async fn until_lost(&mut self) {
        while !self.lost {
            self.look();
            match &mut self.silence {
                None => tokio::time::sleep(LOOK_EVERY).await,
                Some(silence) => {
                    let over = tokio::time::timeout(LOOK_EVERY, silence.patience.over());
                    self.lost = over.await.is_ok();
                }
            }
        }
    }

    fn look(&mut self) {
        // A log that cannot be read tells nothing; the time limits remain.
        let new = self.new_text().unwrap_or_default();
        let text = clean(&new);
        let lines = || text.lines().map(parse_line);
        let fatal = lines().any(|line| is_fatal(line.message) && !line.is_harmless());
        let told = self.events.as_ref().map_or(0, EventSink::count);
        let stirred = std::mem::replace(&mut self.told, told) != told || !new.is_empty();
        if fatal || (self.silence.is_some() && (stirred || self.works())) {
            self.silence = Some(Silence {
                patience: Patience::new(QUIET),
                cpu: cpu(self.guard),
            });
        }
        let doing = lines().rev().find_map(|line| stage(&line));
        if let Some(doing) = doing
            && self.doing.as_ref() != Some(&doing)
        {
            self.doing = Some(doing.clone());
            if let Some(events) = &self.events {
                events.emit(Event::Doing { doing });
            }
        }
    }

    /// Whether the processes have used more of a processor, since the silence began, than waiting takes.
    fn works(&self) -> bool {
        let before = self.silence.as_ref().map_or(Duration::ZERO, |s| s.cpu);
        cpu(self.guard).saturating_sub(before) > QUIET * IDLE_PERCENT / 100
    }

    /// What was logged since the last look, up to the last whole line. Progress bars end theirs by going back.
    fn new_text(&mut self) -> io::Result<String> {
        const MOST: u64 = 1 << 20;
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        // Of a flood only the end: what is looked for is followed by silence.
        if end > self.read + MOST {
            self.read = end - MOST;
            self.rest.clear();
        }
        file.seek(SeekFrom::Start(self.read))?;
        let got = file.take(MOST).read_to_end(&mut self.rest)?;
        self.read += got as u64;
        let whole = self.rest.iter().rposition(|b| matches!(b, b'\n' | b'\r'));
        let text = match whole {
            Some(last) => String::from_utf8_lossy(&self.rest[..=last]).replace('\r', "\n"),
            None => return Ok(String::new()),
        };
        self.rest.drain(..=whole.unwrap_or_default());
        Ok(text)
    }
}

/// The processor time that the processes below `guard` have used.
fn cpu(guard: u32) -> Duration {
    let snapshot = Snapshot::take();
    let below = snapshot.descendants(guard, &[]);
    below.iter().map(|process| process.cpu_time()).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn stages_are_told_once_and_lines_come_in_parts() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("engine.log");
        let mut file = File::create(&path).expect("a log");
        let log = EngineLog::new(&path);
        let mut watch = Watch::new(&log, std::process::id());
        let (events, mut stream) = EventSink::channel();
        watch.tell(&events);
        let mut say = |text: &str| {
            file.write_all(text.as_bytes()).expect("written");
            watch.look();
            watch.silence.is_some()
        };
        assert!(!say("INFO 11-24 12:00:00 [x.py:1] Starting to lo"));
        assert!(!say(
            "ad model /m\nTraceback (most recent call last):\nValueError: handled\n"
        ));
        assert!(!say(
            "Loading safetensors checkpoint shards: 50% | 1/2 [\rLoading safetensors checkpoint shards: 100% | 2/2 [\r"
        ));
        assert!(say(
            "(Worker_TP0 pid=708) ERROR 11-27 21:27:35 [m.py:1007] WorkerProc hit an exception.\n"
        ));
        let mut told = Vec::new();
        while let Ok(envelope) = stream.try_recv() {
            let Event::Doing { doing } = envelope.event else {
                panic!("only stages")
            };
            told.push(doing);
        }
        assert_eq!(told, ["loading weights", "loading weights, 2 of 2 files"]);
    }
}
