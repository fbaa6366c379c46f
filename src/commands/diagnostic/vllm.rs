//! Is there a vLLM in this Python, does it see the device, and does it know the configured arguments?

use std::collections::BTreeMap;
use std::path::Path;

use super::report::Finding;
use crate::device::Platform;
use crate::engine::{Probe, probe};
use crate::plan::{Plan, PlannedCell};
use crate::setup::Paths;

/// Asks `python`, which a run of `plan` on `platform` would use. Without a plan (the checkpoint is no good), only what
/// does not depend on one.
pub(crate) async fn check(python: &Path, plan: Option<&Plan>, platform: Platform) -> Finding {
    let cell = plan.and_then(|plan| plan.cells.first());
    let env: BTreeMap<String, String> = cell
        .map(|cell| &cell.settings.env)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect();
    let cache = match Paths::from_env() {
        Ok(paths) => paths.probes(),
        Err(error) => return Finding::of_error(&error.into()),
    };
    match probe(python, &env, &cache).await {
        Ok(probe) => judge(&probe, platform, cell).also(python.display().to_string()),
        Err(error) => {
            let finding = Finding::failed(error.to_string());
            match error.hint() {
                Some(hint) => finding.hint(hint),
                None => finding,
            }
        }
    }
}

fn judge(probe: &Probe, platform: Platform, cell: Option<&PlannedCell>) -> Finding {
    let versions: Vec<String> = ["vllm", "vllm-ascend", "torch", "python"]
        .into_iter()
        .filter_map(|name| Some(format!("{name} {}", probe.versions.get(name)?)))
        .collect();
    let mut finding = Finding::ok(versions.join(", "));
    let names = cell.iter().flat_map(|cell| cell.args.keys());
    for (name, near) in probe.unknown(names.map(String::as_str)) {
        finding = finding.fails(format!("this vLLM has no engine argument `{name}`"));
        if !near.is_empty() {
            finding = finding.hint(format!("near names: {}", near.join(", ")));
        }
    }
    let expected = platform.to_string();
    if probe.platform.is_empty() {
        return finding
            .fails("vLLM finds no platform that it could run on")
            .hint("install the vLLM (and vllm-ascend) that is built for this device");
    }
    if probe.platform != expected {
        return finding
            .but(format!(
                "this machine is `{expected}`, but vLLM would run on `{}`",
                probe.platform
            ))
            .hint("name the interpreter whose vLLM is built for the device: --python");
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn of(platform: &str) -> Probe {
        let versions = [("vllm", "0.32.0+cpu"), ("python", "3.11.7")];
        Probe {
            versions: versions.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            platform: platform.to_owned(),
            arguments: vec!["dtype".to_owned(), "model".to_owned()],
        }
    }

    #[test]
    fn the_build_must_fit_the_device() {
        let fits = judge(&of("cpu"), Platform::Cpu, None);
        assert_eq!(fits, Finding::ok("vllm 0.32.0+cpu, python 3.11.7"));
        let other = judge(&of("cpu"), Platform::Cuda, None);
        assert_eq!(other.verdict, Verdict::Warning);
        let none = judge(&of(""), Platform::Npu, None);
        assert_eq!(none.verdict, Verdict::Failed);
    }
}
