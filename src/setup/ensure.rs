//! Makes what is missing, and only that.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::PathError;
use crate::units::Bytes;

use super::child::Runner;
use super::installer::Installer;
use super::lock::Lock;
use super::paths::{DemoCheckpoint, Paths};
use super::python::Search;
use super::status::{engine_is_ready, is_finished};
use super::{SetupError, checkpoints, disk, engine};

/// What was set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Managed {
    /// The interpreter that has vLLM.
    pub python: PathBuf,
    /// The folders of the checkpoints that were asked for.
    pub checkpoints: BTreeMap<DemoCheckpoint, PathBuf>,
}

/// How a set-up is coming along. There is none if nothing is missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SetupEvent {
    /// Somebody else is setting up.
    Waiting {
        /// Who, in words.
        holder: String,
    },
    /// Something is missing and will be made.
    Begun {
        /// Below this folder.
        cache: PathBuf,
        /// Room that it will take at most, downloads included.
        needed: Bytes,
    },
    /// A stage begins.
    Stage {
        /// Counted from 1.
        number: usize,
        /// Of this many.
        of: usize,
        /// What is being done.
        text: String,
    },
    /// Twice a second within a stage.
    Working {
        /// Since the process began.
        elapsed: Duration,
        /// The last line that it wrote.
        detail: Option<String>,
    },
    /// All is made.
    Finished,
}

/// Room for the managed environment (6.2 GB) and what the installer keeps of its downloads; uv links it.
const ENGINE_UV: Bytes = Bytes(7_000_000_000);
const ENGINE_PIP: Bytes = Bytes(10_000_000_000);
/// Room for one checkpoint and what it is made from.
const CHECKPOINT: Bytes = Bytes(300_000_000);

/// Makes the managed environment and the demo checkpoints `kinds`, as far as they are missing. Dropping the future
/// ends what it started; what is unfinished then is made anew next time.
pub(crate) async fn ensure(
    paths: &Paths,
    kinds: &[DemoCheckpoint],
    mut on_event: impl FnMut(SetupEvent),
) -> Result<Managed, SetupError> {
    make_missing(paths, kinds, &Search::from_env(), &mut on_event).await?;
    Ok(Managed {
        python: paths.python(),
        checkpoints: kinds
            .iter()
            .map(|&kind| (kind, paths.checkpoint(kind)))
            .collect(),
    })
}

async fn make_missing(
    paths: &Paths,
    kinds: &[DemoCheckpoint],
    search: &Search,
    emit: &mut dyn FnMut(SetupEvent),
) -> Result<(), SetupError> {
    if Missing::find(paths, kinds).is_none() {
        return Ok(());
    }
    fs::create_dir_all(paths.root()).map_err(PathError::on("create", paths.root()))?;
    let lock = Lock::take(&paths.lock(), |holder| emit(SetupEvent::Waiting { holder })).await?;
    // Whoever had the lock may have made it.
    let Some(missing) = Missing::find(paths, kinds) else {
        return Ok(());
    };

    let installer = Installer::find(search);
    let base = if missing.engine {
        search.interpreter(installer != Installer::Pip).await?
    } else {
        None
    };
    let needed = missing.needs(&installer);
    disk::check(missing.in_words(), paths.root(), needed)?;
    emit(SetupEvent::Begun {
        cache: paths.root().to_owned(),
        needed,
    });

    let log = paths.log();
    File::create(&log).map_err(PathError::on("write", &log))?;
    let scratch = Scratch::make(paths.scratch())?;
    let mut runner = Runner {
        lock: &lock,
        log,
        scratch: scratch.0.clone(),
        emit,
        number: 0,
        of: missing.stages(&installer),
    };
    if missing.engine {
        engine::make(paths, &installer, base.as_deref(), &mut runner).await?;
    }
    checkpoints::make(paths, &installer, &missing.checkpoints, &mut runner).await?;
    emit(SetupEvent::Finished);
    Ok(())
}

/// What is to be made.
struct Missing {
    engine: bool,
    /// In the order in which they are made.
    checkpoints: Vec<DemoCheckpoint>,
}

impl Missing {
    /// `None` if nothing is.
    fn find(paths: &Paths, kinds: &[DemoCheckpoint]) -> Option<Self> {
        let mut checkpoints: Vec<DemoCheckpoint> = DemoCheckpoint::ALL
            .into_iter()
            .filter(|kind| kinds.contains(kind) && !is_finished(&paths.checkpoint(*kind)))
            .collect();
        let bf16 = DemoCheckpoint::Bf16;
        if !checkpoints.is_empty()
            && !checkpoints.contains(&bf16)
            && !is_finished(&paths.checkpoint(bf16))
        {
            checkpoints.insert(0, bf16);
        }
        let engine = !engine_is_ready(paths);
        (engine || !checkpoints.is_empty()).then_some(Self {
            engine,
            checkpoints,
        })
    }

    fn stages(&self, installer: &Installer) -> usize {
        let engine = if self.engine {
            engine::stages(installer)
        } else {
            0
        };
        engine + checkpoints::stages(&self.checkpoints)
    }

    fn needs(&self, installer: &Installer) -> Bytes {
        let engine = match (self.engine, installer) {
            (false, _) => 0,
            (true, Installer::Uv(_)) => ENGINE_UV.0,
            (true, Installer::Pip) => ENGINE_PIP.0,
        };
        Bytes(engine + CHECKPOINT.0 * self.checkpoints.len() as u64)
    }

    fn in_words(&self) -> &'static str {
        match (self.engine, self.checkpoints.is_empty()) {
            (true, true) => "the managed vLLM environment",
            (true, false) => "the managed vLLM environment and the demo checkpoints",
            (false, _) => "the demo checkpoints",
        }
    }
}

/// A folder that goes away again.
struct Scratch(PathBuf);

impl Scratch {
    /// Empty, whatever a killed set-up left in it.
    fn make(path: PathBuf) -> Result<Self, PathError> {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(PathError::on("remove", &path))?;
        }
        fs::create_dir_all(&path).map_err(PathError::on("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is removed by the next set-up.
        let _ = fs::remove_dir_all(&self.0);
    }
}
