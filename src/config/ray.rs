//! Ray is refused unless asked for: its workers are children of Ray's own daemons, not of the engine, so rollbench can
//! neither end them nor prove that they are gone.

use std::ops::Range;

use super::context::Context;
use super::declared::ALLOW_RAY;
use super::diagnostic::Diagnostics;
use super::{CellSettings, Origin};
use crate::device::Platform;

/// The engine arguments that hand workers to Ray when they say `ray`.
const ARGUMENTS: [&str; 2] = ["distributed_executor_backend", "data_parallel_backend"];

/// Notes every place from which a cell that runs here would get Ray, once.
pub(super) fn refuse(
    context: &Context<'_>,
    platform: Platform,
    cells: &[CellSettings],
    found: &mut Diagnostics,
) {
    if context.values.get(&ALLOW_RAY) {
        return;
    }
    let platform = platform.to_string();
    let mut seen: Vec<&Origin> = Vec::new();
    for cell in cells {
        if cell.unsupported.contains_key(&platform) {
            continue;
        }
        for name in ARGUMENTS {
            let Some(said) = cell.args.get(name).filter(|said| said.value == "ray") else {
                continue;
            };
            if seen.contains(&&said.origin) {
                continue;
            }
            seen.push(&said.origin);
            let message = format!("{name} = \"ray\" takes the engine's workers out of reach");
            match place(context, name, &said.origin) {
                Some(span) => found.at(&span, message).label(
                    "Ray starts them: rollbench can neither end them nor prove that they are gone",
                ),
                None => found.plain(message),
            }
            .help("use \"mp\" on one machine")
            .help(format!(
                "or say {} = true in [engine], and look after them yourself",
                ALLOW_RAY.declaration.last_key()
            ));
        }
    }
}

/// Where the file says it.
fn place(context: &Context<'_>, name: &str, origin: &Origin) -> Option<Range<usize>> {
    context
        .raw
        .layers()
        .flat_map(|layer| &layer.args)
        .filter(|(said, value)| said == name && value.value == "ray")
        .map(|(_, value)| value.span.clone())
        .find(|span| context.document.origin(span) == *origin)
}
