//! The state of all devices at one moment, the same for every platform.

use super::processes::Resident;
use super::{Platform, ascend, nvidia};
use crate::record::{DeviceInfo, Neighbour};

/// The devices could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// NVIDIA's management library.
    #[error("cannot read the NVIDIA devices: {0}")]
    Nvidia(#[from] nvml_wrapper::error::NvmlError),
    /// `npu-smi` is not there, or did not run.
    #[error("cannot run npu-smi: {0}")]
    NpuSmi(#[from] std::io::Error),
    /// `npu-smi` did not answer: it hangs with a sick driver.
    #[error("npu-smi did not answer within {0} s")]
    NpuSmiHangs(u64),
    /// `npu-smi` printed no table that we know.
    #[error("npu-smi printed no device table: {0}")]
    NpuSmiTable(String),
    /// A selection names a device that is not there.
    #[error("{variable} names `{entry}`, and there is no such device")]
    NoSuchDevice {
        /// `CUDA_VISIBLE_DEVICES` or `ASCEND_RT_VISIBLE_DEVICES`.
        variable: &'static str,
        /// Its entry.
        entry: String,
    },
    /// `/proc` or `/sys` says nothing of the memory.
    #[error("cannot read how much memory the host has")]
    HostMemory,
}

/// One device at one moment.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) info: DeviceInfo,
    pub(super) used_bytes: u64,
    pub(super) processes: Vec<DeviceProcess>,
}

/// A process on a device, as the device's tool reports it: in a container the number may be the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceProcess {
    pub(super) pid: u32,
    pub(super) memory_bytes: Option<u64>,
}

/// The devices that are visible to an engine, in the order in which it counts them. Blocks: with a sick driver up to
/// ten seconds.
pub(super) fn read(platform: Platform) -> Result<Vec<Reading>, DeviceError> {
    match platform {
        Platform::Cpu => Ok(Vec::new()),
        Platform::Cuda => nvidia::read(),
        Platform::Npu => ascend::read(),
    }
}

/// What the visible devices are; empty on CPU.
pub(crate) fn survey(platform: Platform) -> Result<Vec<DeviceInfo>, DeviceError> {
    Ok(read(platform)?.into_iter().map(|r| r.info).collect())
}

/// Processes on the first `devices` visible devices that do not belong to the run with the id `ours`.
pub(crate) fn neighbours(
    platform: Platform,
    devices: usize,
    ours: Option<&str>,
) -> Result<Vec<Neighbour>, DeviceError> {
    let mut neighbours = Vec::new();
    for reading in read(platform)?.iter().take(devices) {
        for process in &reading.processes {
            let resident = Resident::find(platform, process.pid);
            if resident.as_ref().is_some_and(|r| r.belongs_to(ours)) {
                continue;
            }
            neighbours.push(Neighbour {
                device: reading.info.index,
                pid: process.pid,
                command: resident.map(|r| r.command()).unwrap_or_default(),
                memory_bytes: process.memory_bytes,
            });
        }
    }
    Ok(neighbours)
}

/// The entries of a device selection in the environment; absent if there is none. An empty one selects no device.
pub(super) fn selection(variable: &'static str) -> Option<Vec<String>> {
    let value = std::env::var_os(variable)?;
    Some(entries(&value.to_string_lossy()))
}

/// As CUDA reads it: a negative entry ends the list.
fn entries(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .take_while(|entry| !entry.is_empty() && !entry.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_ends_at_a_negative_entry_and_may_be_empty() {
        assert_eq!(entries("2, 0"), ["2", "0"]);
        assert_eq!(entries("1,-1,0"), ["1"]);
        assert_eq!(entries(""), [""; 0]);
        assert_eq!(entries("GPU-12ab,3"), ["GPU-12ab", "3"]);
    }

    #[test]
    fn what_this_machine_has_can_be_surveyed() {
        let platform = Platform::detect();
        let devices = survey(platform).expect("its devices answer");
        println!("{platform}: {devices:#?}");
        assert_eq!(devices.is_empty(), platform == Platform::Cpu);
        for device in devices {
            assert!(!device.name.is_empty() && device.memory_bytes > 1 << 30);
        }
    }
}
