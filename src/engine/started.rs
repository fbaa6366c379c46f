//! What was launched, whichever way it is then driven: its processes, how far it came, how it ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::failure::{Witness, describe};
use super::kernels::{kernels, weights};
use super::log::EngineLog;
use super::oom::OomWatch;
use super::said::fallbacks;
use super::session::{Launch, Urgency};
use super::surroundings::{Surroundings, shown};
use super::warm::{Descriptors, Starter};
use super::watch::{Watch, lost};
use crate::clock;
use crate::error::chain;
use crate::event::EventSink;
use crate::process::Guard;
use crate::record::{
    Difference, EngineFacts, ExitStatus, Failure, FailureKind, Phase, Role, StartKind, Starting,
    Stop, redact,
};

/// How the engine is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Offline,
    Server,
}

impl Kind {
    /// As the record names it.
    fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Server => "server",
        }
    }

    /// As a sentence names it.
    fn noun(self) -> &'static str {
        match self {
            Self::Offline => "engine",
            Self::Server => "server",
        }
    }
}

/// A launch whose files are being laid out: what fails now fails with the words and the log of this launch.
pub(super) struct Launching {
    kind: Kind,
    pub(super) launch: Launch,
    pub(super) env: BTreeMap<OsString, OsString>,
    witness: Witness,
    begin_ns: u64,
}

impl Launching {
    pub(super) fn begin(kind: Kind, surroundings: &Surroundings, mut launch: Launch) -> Self {
        let begin_ns = clock::mono_ns();
        // A checkpoint's own sampling defaults would make cells differ.
        launch
            .args
            .entry("generation_config".to_owned())
            .or_insert_with(|| "vllm".into());
        let env = surroundings.environment(&launch);
        for (name, value) in &env {
            redact::learn(&name.to_string_lossy(), &value.to_string_lossy());
        }
        for (name, value) in &launch.args {
            redact::learn_value(name, value);
        }
        let witness = Witness {
            log: EngineLog::new(&launch.log),
            oom: OomWatch::begin(),
        };
        Self {
            kind,
            launch,
            env,
            witness,
            begin_ns,
        }
    }

    pub(super) fn failure(&self, message: &str) -> Failure {
        self.witness
            .failure(Phase::Launch, FailureKind::Spawn, message, None, None)
    }

    /// Starts the Python file `program`; `open` makes what it inherits, and rollbench's ends of that.
    pub(super) async fn start<T>(
        self,
        starter: &Starter,
        program: PathBuf,
        open: impl Fn() -> io::Result<(Descriptors, T)>,
    ) -> Result<(Started, T), Failure> {
        let begun = starter
            .start(&self.launch, &program, &self.env, open)
            .await
            .map_err(|error| self.failure(&chain(&error)))?;
        let started = Started {
            kind: self.kind,
            watch: Watch::new(&self.witness.log, begun.guard.guard()),
            guard: begun.guard,
            refusal: begun.refusal,
            witness: self.witness,
            launch: self.launch,
            env: self.env,
            begin_ns: self.begin_ns,
            phase: Phase::Launch,
            exit: None,
            stop_began_ns: 0,
            stop: None,
        };
        Ok((started, begun.ours))
    }
}

/// Processes that were launched, below their guard.
#[derive(Debug)]
pub(super) struct Started {
    kind: Kind,
    pub(super) guard: Guard,
    /// Why the leader was not forked although that was asked for.
    refusal: Option<String>,
    witness: Witness,
    watch: Watch,
    pub(super) launch: Launch,
    pub(super) env: BTreeMap<OsString, OsString>,
    begin_ns: u64,
    /// How far it came; what a failure names.
    pub(super) phase: Phase,
    /// How the leader ended; absent while it lives, as far as is known.
    pub(super) exit: Option<ExitStatus>,
    stop_began_ns: u64,
    /// Absent until nothing is left.
    stop: Option<Stop>,
}

impl Started {
    /// The process id of the leader.
    pub(super) fn leader(&self) -> u32 {
        self.guard.leader()
    }

    /// A step with this role begins.
    pub(super) fn enter_step(&mut self, role: Role) {
        self.phase = match role {
            Role::Warmup => Phase::Warmup,
            Role::Measured => Phase::Measure,
            Role::Profiled => Phase::Profile,
        };
    }

    /// Waits for the leader's end. To be dropped and called again at will.
    pub(super) async fn leader_exit(&mut self) -> ExitStatus {
        if let Some(exit) = self.exit {
            return exit;
        }
        let exit = self.guard.leader_exit().await;
        self.exit = Some(exit);
        exit
    }

    /// Tells `events` what it is doing while it loads, and takes what they are told for its progress.
    pub(super) fn tell(&mut self, events: &EventSink) {
        self.watch.tell(events);
    }

    /// Waits for the end that nobody asked for: the leader's, or that of an engine that failed and lives on, which is a
    /// failure. To be dropped and called again at will.
    pub(super) async fn ends(&mut self) -> Result<ExitStatus, Failure> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        tokio::select! {
            biased;
            exit = self.guard.leader_exit() => {
                self.exit = Some(exit);
                Ok(exit)
            }
            () = self.watch.until_lost() => Err(self.fail(FailureKind::Engine, &lost())),
        }
    }

    /// Whether the leader ends within `limit`, or has.
    pub(super) async fn exits_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.leader_exit())
            .await
            .is_ok()
    }

    pub(super) fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        self.fail_with(kind, message, None)
    }

    /// `victim` is how another process than the leader ended, whose death is the cause.
    pub(super) fn fail_with(
        &self,
        kind: FailureKind,
        message: &str,
        victim: Option<ExitStatus>,
    ) -> Failure {
        self.guard.settle_log();
        self.witness
            .failure(self.phase, kind, message, self.exit, victim)
    }

    /// The leader ended though nobody asked it to.
    pub(super) fn exited(&self, exit: ExitStatus) -> Failure {
        let message = format!(
            "the {} ended by itself ({}) during {}",
            self.kind.noun(),
            describe(exit),
            self.phase
        );
        self.fail(FailureKind::Exited, &message)
    }

    /// How long SIGTERM is given: 5 s of the usual 15 s to stop.
    pub(super) fn grace(&self) -> Duration {
        self.launch.limits.stop / 3
    }

    pub(super) fn terminate_leader(&self) {
        self.guard.signal_leader(Signal::SIGTERM);
    }

    /// Begins to stop, unless it has stopped before: then how.
    pub(super) fn begin_stop(&mut self) -> Option<Stop> {
        if self.stop.is_none() {
            self.phase = Phase::Stop;
            self.stop_began_ns = clock::mono_ns();
        }
        self.stop.clone()
    }

    /// How it can be ended, if it is to be ended like this: one that is lost does not hear.
    pub(super) fn urgency(&self, wished: Urgency) -> Urgency {
        if self.watch.is_lost() {
            Urgency::Now
        } else {
            wished
        }
    }

    /// Ends what is left: `Urgency::Now` at once, else with a grace. `polite` says whether the leader ended as it was
    /// asked to.
    pub(super) async fn sweep(&mut self, urgency: Urgency, polite: bool) -> Stop {
        let report = match urgency {
            Urgency::Now => self.guard.sweep().await,
            Urgency::Polite => {
                self.guard.signal_group(Signal::SIGTERM);
                self.guard.sweep_after(self.grace()).await
            }
        };
        self.exit = self.exit.or(report.exit);
        let stop = Stop {
            polite,
            ms: (clock::mono_ns() - self.stop_began_ns) / 1_000_000,
            leaks: report.leaks,
        };
        self.stop = Some(stop.clone());
        stop
    }

    /// How the processes of an engine that is ready came to be.
    async fn starting(&mut self) -> Starting {
        let spawned = self.guard.spawned().await;
        let (kind, reason) = match spawned {
            _ if !self.guard.is_forked() => (StartKind::Cold, self.refusal.clone()),
            Some(spawned) if spawned.is_empty() => (StartKind::Warm, None),
            Some(spawned) => (StartKind::Mixed, Some(spawned.join("; "))),
            None => {
                let reason = "the warm interpreter ended during the start";
                (StartKind::Mixed, Some(reason.to_owned()))
            }
        };
        Starting { kind, reason }
    }

    /// What is known of an engine that is ready: what it told, and what its log says.
    pub(super) async fn facts(&mut self, told: Told) -> EngineFacts {
        let load_s = (clock::mono_ns() - self.begin_ns) as f64 / 1e9;
        let starting = self.starting().await;
        self.guard.settle_log();
        let log = self.witness.log.text();
        let redacted = |args: &IndexMap<String, Value>| {
            args.iter()
                .map(|(name, value)| (name.clone(), shown(name, value)))
                .collect()
        };
        EngineFacts {
            kind: self.kind.word().to_owned(),
            platform: told.platform,
            versions: told.versions,
            requested: redacted(&self.launch.args),
            effective: redacted(&told.effective),
            difference: told
                .difference
                .into_iter()
                .map(|(name, difference)| {
                    let requested = shown(&name, &difference.requested);
                    let effective = shown(&name, &difference.effective);
                    let difference = Difference {
                        requested,
                        effective,
                    };
                    (name, difference)
                })
                .collect(),
            kernels: kernels(&log),
            fallbacks: fallbacks(&log),
            kv_tokens: told.kv_tokens,
            weights_bytes: weights(&log).map(|bytes| bytes.0),
            import_s: told.import_s,
            starting: Some(starting),
            load_s,
        }
    }
}

/// What an engine tells of itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Told {
    /// vLLM's name of it; empty if it found none.
    pub(super) platform: String,
    /// By package name.
    pub(super) versions: BTreeMap<String, String>,
    pub(super) import_s: f64,
    /// By the names of the engine arguments; what vLLM resolved to None is left out.
    #[serde(default)]
    pub(super) effective: IndexMap<String, Value>,
    #[serde(default)]
    pub(super) difference: IndexMap<String, Difference>,
    #[serde(default)]
    pub(super) kv_tokens: Option<u64>,
}
