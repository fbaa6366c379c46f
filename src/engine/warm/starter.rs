//! Starts main programs, and keeps what the next start of a block can use.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Mutex;

use super::WARM;
use crate::engine::Launch;
use crate::engine::started::Started;
use crate::engine::surroundings::{Surroundings, write_private};
use crate::error::{PathError, chain};
use crate::process::{Guard, GuardedCommand, LEASE_MODULE, LEASE_PY, RunDir, SpawnError};
use crate::record::Leak;

/// The environment of a program, and the descriptors that it inherits, by the variables that tell it their numbers.
type Environment = BTreeMap<OsString, OsString>;
pub(in crate::engine) type Descriptors = Vec<(String, OwnedFd)>;

/// Starts the main programs of a run's engines.
#[derive(Debug)]
pub(in crate::engine) struct Starter {
    pub(in crate::engine) surroundings: Surroundings,
    /// What a warm interpreter imports: `driver` or `server`.
    role: &'static str,
    folder: PathBuf,
    made: AtomicU32,
    pool: Mutex<Pool>,
}

/// What rests between two starts.
#[derive(Debug, Default)]
struct Pool {
    interpreters: Vec<Warm>,
    /// Why a new interpreter forked nothing: the next would not either.
    refusal: Option<String>,
}

#[derive(Debug)]
struct Warm {
    python: PathBuf,
    env: Environment,
    guard: Guard,
    folder: PathBuf,
}

/// A main program that runs.
pub(in crate::engine) struct Begun<T> {
    pub(in crate::engine) guard: Guard,
    /// rollbench's ends of what it inherits.
    pub(in crate::engine) ours: T,
    /// Why it was not forked although that was asked for.
    pub(in crate::engine) refusal: Option<String>,
}

/// A main program could not be started.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum StartError {
    #[error("cannot open pipes")]
    Pipes(#[from] io::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Starter {
    pub(in crate::engine) fn new(run: &RunDir, role: &'static str) -> Self {
        Self {
            surroundings: Surroundings::of(run),
            role,
            folder: run.scratch().to_owned(),
            made: AtomicU32::new(0),
            pool: Mutex::default(),
        }
    }

    /// Starts the Python file `script`; `open` makes what it inherits.
    ///
    /// Dropped half-way, the interpreter stays here in an unknown state, to be ended by [`end`](Self::end).
    pub(in crate::engine) async fn start<T>(
        &self,
        launch: &Launch,
        script: &Path,
        env: &Environment,
        open: impl Fn() -> io::Result<(Descriptors, T)>,
    ) -> Result<Begun<T>, StartError> {
        let mut refusal = None;
        if launch.warm {
            let (theirs, ours) = open()?;
            match self.fork(launch, script, env, &theirs).await {
                Ok(guard) => {
                    return Ok(Begun {
                        guard,
                        ours,
                        refusal: None,
                    });
                }
                Err(reason) => refusal = Some(reason),
            }
        }
        let (pass_fds, ours) = open()?;
        let guard = Guard::spawn_with(
            &self.surroundings.rollbench,
            GuardedCommand {
                program: launch.python.clone(),
                args: vec![script.into()],
                env: env.clone(),
                cwd: None,
                log: launch.log.clone(),
                pass_fds,
            },
        )?;
        Ok(Begun {
            guard,
            ours,
            refusal,
        })
    }

    /// By the interpreter of this environment, which is made if there is none; else the reason why not.
    async fn fork(
        &self,
        launch: &Launch,
        script: &Path,
        env: &Environment,
        theirs: &Descriptors,
    ) -> Result<Guard, String> {
        let mut pool = self.pool.lock().await;
        if let Some(refusal) = &pool.refusal {
            return Err(refusal.clone());
        }
        loop {
            let fits = |warm: &Warm| warm.python == launch.python && warm.env == *env;
            let rested = pool.interpreters.iter().position(fits);
            let at = rested.unwrap_or(pool.interpreters.len());
            if rested.is_none() {
                let warm = self.make(launch, env);
                let warm = warm.map_err(|error| chain(error.as_ref()))?;
                pool.interpreters.push(warm);
            }
            let forked = pool.interpreters[at]
                .guard
                .lead(script, &launch.log, theirs);
            let forked = tokio::time::timeout(launch.limits.start, forked).await;
            let forked = forked.unwrap_or_else(|_| Err("importing vLLM takes too long".to_owned()));
            let mut warm = pool.interpreters.swap_remove(at);
            let Err(reason) = forked else {
                return Ok(warm.guard);
            };
            let _ = warm.guard.end().await;
            // One that was ended while it rested (by anyone) is no reason against another.
            if rested.is_none() {
                let reason = warm.last_words(reason);
                return Err(pool.refusal.insert(reason).clone());
            }
        }
    }

    fn make(&self, launch: &Launch, env: &Environment) -> Result<Warm, Box<dyn std::error::Error>> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("w{number}"));
        std::fs::create_dir(&folder).map_err(PathError::on("create", &folder))?;
        let program = folder.join("warm.py");
        write_private(&program, WARM)?;
        write_private(&folder.join(LEASE_MODULE), LEASE_PY)?;
        let guard = Guard::spawn_interpreter(
            &self.surroundings.rollbench,
            GuardedCommand {
                program: launch.python.clone(),
                args: vec![program.into(), self.role.into(), folder.clone().into()],
                env: env.clone(),
                cwd: None,
                log: folder.join("log"),
                pass_fds: Vec::new(),
            },
        )?;
        Ok(Warm {
            python: launch.python.clone(),
            env: env.clone(),
            guard,
            folder,
        })
    }

    /// Takes back a start that is over. Where nothing rests under its guard, that is the end of it.
    pub(in crate::engine) async fn keep(&self, started: Started) {
        if started.guard.rests() {
            self.pool.lock().await.interpreters.push(Warm {
                python: started.launch.python,
                env: started.env,
                guard: started.guard,
                folder: PathBuf::new(),
            });
        }
    }

    /// Ends the interpreters; what could not be ended of them.
    pub(in crate::engine) async fn end(&self) -> Vec<Leak> {
        let mut pool = self.pool.lock().await;
        let mut leaks = Vec::new();
        for warm in &mut pool.interpreters {
            let report = warm.guard.end().await;
            leaks.extend(report.leaks.into_iter().filter(|leak| !leak.ended));
        }
        pool.interpreters.clear();
        leaks
    }
}

impl Warm {
    /// `reason`, with the last line of its log.
    fn last_words(&self, reason: String) -> String {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        match log.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => format!("{reason}: {}", line.trim()),
            None => reason,
        }
    }
}
