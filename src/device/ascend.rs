//! Ascend devices, through `npu-smi`.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::npu_smi::{self, Chip, ChipProcess, Tables};
use super::reading::{DeviceError, DeviceProcess, Reading, selection};
use crate::process::program;
use crate::record::DeviceInfo;

const VARIABLE: &str = "ASCEND_RT_VISIBLE_DEVICES";
const MIB: u64 = 1 << 20;
/// It takes about a second with a healthy driver, and for ever with a sick one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The tool's path, looked up in `PATH` and where drivers put it; absent if it is nowhere.
pub(super) fn tool() -> Option<PathBuf> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/bin:/usr/local/sbin:/usr/local/Ascend/driver/tools");
    program("npu-smi", &path)
}

/// The devices in the order of `ASCEND_RT_VISIBLE_DEVICES`, else of their logical numbers.
pub(super) fn read() -> Result<Vec<Reading>, DeviceError> {
    let text = run(&["info"])?;
    let tables = npu_smi::parse(&text);
    if tables.chips.is_empty() {
        return Err(DeviceError::NpuSmiTable(why(&text)));
    }
    // Only where the table does not say it itself: not every release knows this view.
    let map = if tables.chips.iter().any(|chip| chip.logical.is_none()) {
        run(&["info", "-m"])
            .map(|text| npu_smi::parse_map(&text))
            .unwrap_or_default()
    } else {
        Vec::new()
    };
    choose(readings(&tables, &map), selection(VARIABLE))
}

/// The line that says why there is no table, and what its code means: the first is about a log level as a rule.
fn why(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let with_code = lines().find(|line| line.contains("ret is -") || line.contains("error code"));
    let failed = || lines().rfind(|line| line.to_lowercase().contains("fail"));
    let line = with_code
        .or_else(failed)
        .or_else(|| lines().next())
        .unwrap_or("nothing");
    let meaning = if line.contains("-8005") || line.contains("-8020") {
        "; most often another container holds the device (give it to one container alone, or start this one with --privileged), else the driver's files are not all mounted"
    } else {
        ""
    };
    let line: String = line.chars().take(200).collect();
    format!("{line}{meaning}")
}

fn readings(tables: &Tables, map: &[(u32, u32, u32)]) -> Vec<Reading> {
    let logical = |chip: &Chip| {
        let mapped = map
            .iter()
            .find(|&&(npu, c, _)| (npu, c) == (chip.npu, chip.number));
        chip.logical
            .or(mapped.map(|&(_, _, logical)| logical))
            .unwrap_or(chip.npu)
    };
    let on = |chip: &Chip, process: &&ChipProcess| {
        (process.npu, process.chip) == (chip.npu, chip.number)
    };
    let mut readings: Vec<Reading> = tables
        .chips
        .iter()
        .map(|chip| Reading {
            info: DeviceInfo {
                index: logical(chip),
                name: chip.name.clone(),
                uuid: chip.bus.clone(),
                memory_bytes: chip.total_mib * MIB,
                driver: tables.version.clone(),
                power_limit_w: None,
                clock_mhz: None,
            },
            used_bytes: chip.used_mib * MIB,
            processes: tables
                .processes
                .iter()
                .filter(|process| on(chip, process))
                .map(|process| DeviceProcess {
                    pid: process.pid,
                    memory_bytes: process.memory_mib.map(|mib| mib * MIB),
                })
                .collect(),
        })
        .collect();
    readings.sort_by_key(|reading| reading.info.index);
    readings
}

fn choose(
    readings: Vec<Reading>,
    selected: Option<Vec<String>>,
) -> Result<Vec<Reading>, DeviceError> {
    let Some(selected) = selected else {
        return Ok(readings);
    };
    selected
        .into_iter()
        .map(|entry| {
            let index = entry.parse().ok();
            readings
                .iter()
                .find(|reading| Some(reading.info.index) == index)
                .cloned()
                .ok_or(DeviceError::NoSuchDevice {
                    variable: VARIABLE,
                    entry,
                })
        })
        .collect()
}

fn run(args: &[&str]) -> Result<String, DeviceError> {
    let tool = tool().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let mut command = Command::new(tool);
    command.args(args);
    output_within(command, PATIENCE)
}

/// The output of a command that may hang.
fn output_within(mut command: Command, patience: Duration) -> Result<String, DeviceError> {
    let begun = Instant::now();
    // Why there is no table it says on either.
    let (mut output, said) = std::io::pipe()?;
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()?;
    // It holds the pipe's other ends, which would hide its end.
    drop(command);
    let (sender, receiver) = mpsc::channel();
    // On a thread, for reading a pipe has no time limit; it ends with the pipe.
    std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let result = output.read_to_end(&mut bytes);
        let _ = sender.send((result, bytes));
    })?;
    let Ok((result, bytes)) = receiver.recv_timeout(patience) else {
        // In the kernel's hands it may not die; it is not waited for either.
        let _ = child.kill();
        let _ = child.try_wait();
        return Err(DeviceError::NpuSmiHangs(begun.elapsed().as_secs()));
    };
    let _ = child.wait();
    result?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let chip = |npu, used_mib| Chip {
            npu,
            number: 0,
            logical: None,
            name: "910B3".into(),
            bus: None,
            used_mib,
            total_mib: 65536,
        };
        Tables {
            version: Some("1.2".into()),
            chips: vec![chip(5, 7), chip(4, 9)],
            processes: vec![ChipProcess {
                npu: 5,
                chip: 0,
                pid: 88,
                memory_mib: Some(1),
            }],
        }
    }

    #[test]
    fn devices_are_counted_logically_and_chosen_as_the_user_says() {
        let indexes = |readings: &[Reading]| -> Vec<u32> {
            readings.iter().map(|reading| reading.info.index).collect()
        };
        let plain = readings(&tables(), &[]);
        assert_eq!(indexes(&plain), [4, 5]);
        let mapped = readings(&tables(), &[(4, 0, 0), (5, 0, 1)]);
        assert_eq!(indexes(&mapped), [0, 1]);
        assert_eq!(mapped[1].processes.len(), 1);
        assert_eq!(mapped[1].used_bytes, 7 * MIB);

        let chosen =
            choose(mapped.clone(), Some(vec!["1".into(), "0".into()])).expect("both there");
        assert_eq!(indexes(&chosen), [1, 0]);
        let error = choose(mapped, Some(vec!["9".into()])).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "ASCEND_RT_VISIBLE_DEVICES names `9`, and there is no such device"
        );
    }

    #[test]
    fn a_tool_that_hangs_is_given_up() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec sleep 60"]);
        let begun = Instant::now();
        let error = output_within(command, Duration::from_millis(200)).expect_err("it hangs");
        assert!(matches!(error, DeviceError::NpuSmiHangs(_)));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_line_that_says_why_is_quoted_from_either_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)'; echo 'dcmi module initialize failed. ret is -8005' >&2"]);
        let text = output_within(command, PATIENCE).expect("it ends");
        let said = why(&text);
        assert!(
            said.starts_with(
                "dcmi module initialize failed. ret is -8005; most often another container"
            ),
            "{said}"
        );
        assert_eq!(why("\n no driver\n"), "no driver");
        assert_eq!(why(""), "nothing");
    }

    #[test]
    fn more_output_than_a_pipe_holds_arrives() {
        let mut command = Command::new("sh");
        command.args(["-c", "yes $LC_ALL | head -c 300000"]);
        let text = output_within(command, Duration::from_secs(30)).expect("it ends");
        assert_eq!((text.len(), &text[..4]), (300_000, "C\nC\n"));
    }
}
