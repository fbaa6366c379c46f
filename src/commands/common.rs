//! What several commands do first: the runtime, the settings, the plan, the engine.

use std::borrow::Cow;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit};

use crate::checkpoint::{HubCache, Location, Shape};
use crate::config::{self, LoadRequest, Python, Settings};
use crate::device;
use crate::error::{CommandError, Exit};
use crate::output;
use crate::plan::{self, Cached, Plan};
use crate::process::{Interrupt, program};
use crate::setup::{self, DemoCheckpoint, Paths, Show};
use crate::units::Bytes;
use crate::workload::{self, WorkloadSpec};

/// Runs a command to its end on a runtime of one thread. What still runs beside it then (a name that is being looked up)
/// is left behind.
pub(crate) fn block_on<T>(
    command: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    enough_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CommandError::environment(format!("cannot start the event loop: {error}"))
        })?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// Below this not even the event loop and its signals have the descriptors that they need.
const FEWEST_FILES: u64 = 32;

fn enough_files() -> Result<(), CommandError> {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft < FEWEST_FILES => Err(CommandError::environment(format!(
            "a process may open {soft} files here, and rollbench needs {FEWEST_FILES} at least"
        ))
        .hint("raise the limit: `ulimit -n 1024`, or the container's --ulimit nofile=1024")),
        _ => Ok(()),
    }
}

/// Resolves the settings; every mistake is shown with its line before this returns.
pub(crate) fn settings(request: &LoadRequest) -> Result<Settings, CommandError> {
    let settings = config::load(request).map_err(|errors| {
        output::rendered(format_args!("{}\n", errors.render(output::styled())));
        let mistakes = match errors.diagnostics().len() {
            1 => "1 mistake".to_owned(),
            n => format!("{n} mistakes"),
        };
        CommandError::usage(format!("{mistakes} in the configuration; nothing was run"))
    })?;
    fits(&settings.workload, settings.run.steps_of_a_start())?;
    Ok(settings)
}

/// Refuses a workload that the memory at hand does not hold: it would be found out by who is killed.
pub(crate) fn fits(workload: &WorkloadSpec, steps: u32) -> Result<(), CommandError> {
    let needed = workload::bytes(workload, steps);
    match device::memory_left() {
        Some((left, whose)) if needed > left => {
            let words = format!(
                "the requests and records of {steps} steps take about {} of memory, and {whose} {}",
                Bytes(needed),
                Bytes(left)
            );
            let hint = "lower the prompts, the samples, the prompt length or the steps";
            Err(CommandError::usage(words).hint(hint))
        }
        _ => Ok(()),
    }
}

/// With the lengths that were to be counted, if there are any.
pub(crate) fn counted<'a>(
    settings: Settings,
    request: &'a LoadRequest,
    python: &std::path::Path,
) -> Result<(Settings, Cow<'a, LoadRequest>), CommandError> {
    let Some(lengths) = super::lengths::count(&settings, request, python)? else {
        return Ok((settings, Cow::Borrowed(request)));
    };
    let mut request = request.clone();
    request.lengths = Some(lengths);
    let settings = self::settings(&request)?;
    Ok((settings, Cow::Owned(request)))
}

/// The interpreter as a path: absolute, or found in `PATH`.
pub(crate) fn interpreter(name: &std::path::Path) -> Result<PathBuf, CommandError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = match name.components().count() {
        1 => program(name, &path),
        _ => std::path::absolute(name)
            .ok()
            .and_then(|name| program(name, &path)),
    };
    found.ok_or_else(|| no_python(name))
}

fn no_python(name: &std::path::Path) -> CommandError {
    CommandError::new(Exit::Environment, anyhow::anyhow!("there is no Python at {}", name.display()))
        .hint("name the interpreter that has vLLM with --python or [engine] python; `managed` makes one for CPU")
}

/// The interpreter of `settings`, if it is there: nothing is made.
pub(crate) fn existing_python(settings: &Settings) -> Result<PathBuf, CommandError> {
    match &settings.python.value {
        Python::Interpreter(name) => interpreter(name),
        Python::Managed => managed_python(),
    }
}

/// The interpreter of a `--python`: a name, a path, or `managed`.
pub(crate) fn python_named(name: &str) -> Result<PathBuf, CommandError> {
    match name {
        "managed" => managed_python(),
        name => interpreter(name.as_ref()),
    }
}

fn managed_python() -> Result<PathBuf, CommandError> {
    let python = Paths::from_env()?.python();
    if python.exists() {
        Ok(python)
    } else {
        Err(
            CommandError::environment("the managed engine is not made yet").hint(
                "`rollbench setup` makes it; --python names another interpreter that has vLLM",
            ),
        )
    }
}

/// Makes the folders of shapes that are selected. What cannot be made is for the plan to say.
fn make_shapes(settings: &Settings) -> Result<(), CommandError> {
    for cell in &settings.cells {
        let location = cell.checkpoint.as_ref().map(|c| c.value.location.as_str());
        if let Some(Location::Shape { of, scheme }) = location.map(Location::parse)
            && let Ok(shape) = Shape::of(of, scheme, settings.platform)
        {
            let made = shape.make(&Paths::from_env()?.shapes());
            made.map_err(|error| CommandError::new(Exit::Environment, error))?;
        }
    }
    Ok(())
}

/// The interpreter that runs the engine. The managed environment, demo checkpoints and shapes are made where they are
/// missing; absent if a signal ended that.
pub(crate) async fn engine_python(
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<Option<PathBuf>, CommandError> {
    make_shapes(settings)?;
    let mut kinds = Vec::new();
    for cell in &settings.cells {
        let platform = settings.platform.to_string();
        let location = cell
            .checkpoint
            .as_ref()
            .map(|c| Location::parse(&c.value.location));
        if let Some(Location::Managed(name)) = location
            && !cell.unsupported.contains_key(&platform)
        {
            kinds.push(DemoCheckpoint::from_name(name)?);
        }
    }
    let interpreter = match &settings.python.value {
        Python::Managed => None,
        Python::Interpreter(name) => Some(interpreter(name)?),
    };
    match interpreter {
        Some(python) if kinds.is_empty() => return Ok(Some(python)),
        _ => {}
    }
    let paths = Paths::from_env()?;
    let mut show = Show::default();
    tokio::select! {
        made = setup::ensure(&paths, &kinds, |event| show.event(&event)) => {
            Ok(Some(interpreter.unwrap_or(made?.python)))
        }
        _ = interrupt.first() => Ok(None),
    }
}

/// Decides what is run.
pub(crate) fn plan(settings: Settings, request: &LoadRequest) -> Result<Plan, CommandError> {
    let hub = HubCache::from_env(&request.env);
    let cache = |made: Cached<'_>| {
        let folder = match made {
            Cached::Demo(name) => setup::checkpoint_dir(name),
            Cached::Shape(folder) => Paths::from_env().map(|paths| paths.shapes().join(folder)),
        };
        folder.map_err(|error| error.to_string())
    };
    plan::make(settings, &hub, &cache).map_err(CommandError::from)
}
