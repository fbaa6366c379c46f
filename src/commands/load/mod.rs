//! `rollbench load`: a plan of one cell, measured on a server that runs already.

mod options;
mod plan;
mod server;
mod show;

pub(crate) use options::LoadOptions;

use super::common;
use super::measure::{On, Place, measure};
use super::summarize;
use crate::error::{CommandError, Exit};
use crate::output::{self, note};
use crate::process::Interrupt;
use crate::record::record_name;
use crate::units::Mode;
use server::Server;

/// Loads the server and reports.
pub(crate) fn run(options: &LoadOptions) -> Result<Exit, CommandError> {
    let points = options.online.points().len();
    let points = u32::try_from(points).unwrap_or(u32::MAX);
    let steps = options.warmup.saturating_add(options.steps);
    common::fits(&options.spec, steps.saturating_mul(points))?;
    common::block_on(load(options))
}

async fn load(options: &LoadOptions) -> Result<Exit, CommandError> {
    let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
    let found = tokio::select! {
        biased;
        signal = interrupt.first() => {
            note("interrupted: nothing was measured");
            return Ok(Exit::Signal(signal));
        }
        found = Server::find(options) => found?,
    };
    let Server {
        target,
        model,
        version,
        engine,
    } = found;
    note(show::headline(options, &target, &model, version.as_deref()));
    let plan = plan::plan(options, &target, &model);
    let place = Place::of_run(&options.out);
    let on = On::Attached(Box::new(engine));
    let measured = measure(&plan, on, &place, options.resume, &interrupt).await?;
    let points = show::measured(options, &place.results, &plan.cells[0].settings.id)?;
    let shown = if options.json {
        show::json(options, &target, &model, &points)?
    } else {
        show::text(options, &points)
    };
    output::data(&shown)?;
    let exit = measured.exit();
    measured.closed?;
    summarize::write(&place.results)?;
    let record = record_name(&plan.cells[0].settings.id, Mode::Online);
    note(format!("record: {}", place.results.join(record).display()));
    Ok(exit)
}
