//! The stages in their order, each as cheap as it can be, the engine last.

use std::path::PathBuf;

use super::engine::{Trial, Tried};
use super::report::{Finding, Name, Report};
use super::small::shrink;
use super::vllm;
use crate::commands::{common, measure};
use crate::config::{self, LoadRequest, Settings};
use crate::device::{self, Platform};
use crate::error::{CommandError, Exit};
use crate::output::data;
use crate::plan::{Plan, PlannedCell};
use crate::process::{Interrupt, leftovers};
use crate::units::Bytes;

/// Checks what a run of `request` would need, stage by stage, with its first model at the baseline precision.
pub(crate) fn run(request: &LoadRequest, json: bool) -> Result<Exit, CommandError> {
    let interrupt_or_exit = async {
        let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
        let mut told = Told {
            report: Report::default(),
            json,
        };
        if let Some(signal) = diagnose(request, &interrupt, &mut told).await? {
            return Ok(Exit::Signal(signal));
        }
        told.end()
    };
    common::block_on(interrupt_or_exit)
}

/// What was found so far; shown as it comes, unless it is to be JSON.
struct Told {
    report: Report,
    json: bool,
}

impl Told {
    fn tell(&mut self, name: Name, finding: Finding) -> Result<(), CommandError> {
        let lines = self.report.add(name, finding);
        self.print(&lines)
    }

    /// Tells that `name` is not run, if a stage that it needs has failed.
    fn blocked(&mut self, name: Name) -> Result<bool, CommandError> {
        match self.report.blocked(name) {
            Some(finding) => self.tell(name, finding).map(|()| true),
            None => Ok(false),
        }
    }

    fn print(&self, text: &str) -> Result<(), CommandError> {
        if !self.json {
            data(text)?;
        }
        Ok(())
    }

    fn end(self) -> Result<Exit, CommandError> {
        if self.json {
            let json = self.report.json().map_err(anyhow::Error::from)?;
            data(&json)?;
        } else {
            data(self.report.sum_up())?;
        }
        Ok(self.report.exit())
    }
}

/// Returns the signal that interrupted it, if one did.
async fn diagnose(
    request: &LoadRequest,
    interrupt: &Interrupt,
    told: &mut Told,
) -> Result<Option<i32>, CommandError> {
    let (finding, settings) = configuration(request);
    told.tell(Name::Configuration, finding)?;
    let Some(settings) = settings else {
        for name in [
            Name::Checkpoint,
            Name::Vllm,
            Name::Device,
            Name::Engine,
            Name::Result,
        ] {
            told.blocked(name)?;
        }
        return Ok(None);
    };

    // Makes the managed environment and the demo checkpoint if they are asked for and missing.
    let python = match common::engine_python(&settings, interrupt).await {
        Ok(Some(python)) => Ok(python),
        Ok(None) => return Ok(interrupt.signal()),
        Err(error) => Err(error),
    };
    let platform = settings.platform;
    let (finding, plan) = checkpoint(settings, request);
    told.tell(Name::Checkpoint, finding)?;
    let finding = match &python {
        Ok(python) => vllm::check(python, plan.as_ref(), platform).await,
        Err(error) => Finding::of_error(error),
    };
    told.tell(Name::Vllm, finding)?;
    told.tell(Name::Device, devices(platform, plan.as_ref()))?;

    let cell = plan
        .as_ref()
        .and_then(|plan| Some((plan, plan.runs().next()?)));
    let (Some((plan, cell)), Ok(python)) = (cell, python) else {
        told.blocked(Name::Engine)?;
        told.blocked(Name::Result)?;
        return Ok(None);
    };
    try_out(plan, cell, python, interrupt, told).await
}

async fn try_out(
    plan: &Plan,
    cell: &PlannedCell,
    python: PathBuf,
    interrupt: &Interrupt,
    told: &mut Told,
) -> Result<Option<i32>, CommandError> {
    let trial = Trial::of(plan, cell);
    if !told.blocked(Name::Engine)? {
        match trial.run(python, interrupt).await {
            Tried::Told(finding) => told.tell(Name::Engine, finding)?,
            Tried::Interrupted(signal) => return Ok(Some(signal)),
        }
    }
    if !told.blocked(Name::Result)? {
        told.tell(Name::Result, trial.read_back())?;
    }
    Ok(None)
}

/// The settings of one small step of the first selected model at the baseline precision.
fn configuration(request: &LoadRequest) -> (Finding, Option<Settings>) {
    let wide = match config::load(request) {
        Ok(settings) => settings,
        Err(errors) => return (Finding::failed(errors.render(false)), None),
    };
    let Some(model) = wide.matrix.selected_models.first() else {
        return (Finding::failed("no model is selected"), None);
    };
    let cells = match wide.cells.len() {
        1 => "1 cell".to_owned(),
        n => format!("{n} cells"),
    };
    let finding = Finding::ok(format!(
        "{} ({}), {cells} selected",
        wide.matrix.source,
        wide.matrix.source.why()
    ))
    .also(format!("tried here: {model} at {}", wide.matrix.baseline));
    let model = model.clone();
    (finding, Some(shrink(wide, &model)))
}

/// What the checkpoint is, and whether that is what its precision says.
fn checkpoint(settings: Settings, request: &LoadRequest) -> (Finding, Option<Plan>) {
    let plan = match common::plan(settings, request) {
        Ok(plan) => plan,
        Err(error) => return (Finding::of_error(&error), None),
    };
    let Some(cell) = plan.cells.first() else {
        return (Finding::failed("no cell is selected"), None);
    };
    if let Some(skip) = &cell.skip {
        let finding = Finding::failed(skip.to_string())
            .hint("check `checkpoints` of the model, and --model-base or MODEL_BASE")
            .hint("`rollbench plan` shows the whole matrix with its paths");
        return (finding, None);
    }
    let mut finding = match &cell.checkpoint {
        None => Finding::ok("on the model hub; its files cannot be looked at yet"),
        Some(info) => {
            let format = info.format.as_deref().unwrap_or("of unknown format");
            let size = info.bytes.map(|bytes| format!(", {}", Bytes(bytes)));
            Finding::ok(format!("{format}{}", size.unwrap_or_default())).also(&info.path)
        }
    };
    for note in &plan.notes {
        finding = finding.but(note);
    }
    (finding, Some(plan))
}

/// Whether the devices answer, and who else is on them. Without a plan, one device.
fn devices(platform: Platform, plan: Option<&Plan>) -> Finding {
    let wanted = plan.map_or(1, measure::devices);
    let surveyed = device::survey(platform)
        .and_then(|infos| Ok((infos, device::neighbours(platform, wanted, None)?)));
    let (infos, neighbours) = match surveyed {
        Ok(surveyed) => surveyed,
        Err(error) => {
            return Finding::failed(error.to_string())
                .hint("check the driver and the *_VISIBLE_DEVICES variables");
        }
    };
    let mut finding = if platform == Platform::Cpu {
        let host = device::host();
        Finding::ok(format!(
            "no accelerator: {} ({} processors, {})",
            host.cpu,
            host.cpus,
            Bytes(host.memory_bytes)
        ))
    } else if infos.len() < wanted {
        Finding::failed(format!(
            "{} {platform} devices are visible, {wanted} are needed",
            infos.len()
        ))
        .hint("make more of them visible, or lower tensor_parallel_size")
    } else {
        let name = infos.first().map_or("", |info| info.name.as_str());
        Finding::ok(format!("{} x {name}, {wanted} used", infos.len()))
    };
    for neighbour in &neighbours {
        let held = neighbour
            .memory_bytes
            .map(|bytes| format!(" {}", Bytes(bytes)));
        finding = finding.but(format!(
            "device {} is also held by {} ({}){}",
            neighbour.device,
            neighbour.pid,
            neighbour.command,
            held.unwrap_or_default()
        ));
    }
    if !neighbours.is_empty() {
        finding = finding.hint(
            "what others do on the device changes the numbers: end it, or choose other devices",
        );
    }
    let dead = leftovers()
        .dead
        .iter()
        .filter(|run| !run.processes.is_empty())
        .count();
    if dead > 0 {
        finding = finding
            .but(format!("killed runs have left processes ({dead} runs)"))
            .hint("`rollbench clean` lists them, `rollbench clean --yes` ends them");
    }
    finding
}
