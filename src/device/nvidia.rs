//! NVIDIA devices, through the driver's management library (NVML), which is loaded at run time.

use std::sync::OnceLock;

use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::reading::{DeviceError, DeviceProcess, Reading, selection};
use crate::record::DeviceInfo;

const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// Whether the library loads and knows a device.
pub(super) fn is_there() -> bool {
    library().is_some_and(|nvml| nvml.device_count().is_ok_and(|count| count > 0))
}

/// Loaded once: that takes tens of milliseconds.
fn library() -> Option<&'static Nvml> {
    static LIBRARY: OnceLock<Option<Nvml>> = OnceLock::new();
    LIBRARY.get_or_init(|| Nvml::init().ok()).as_ref()
}

/// The devices in the order of `CUDA_VISIBLE_DEVICES`, else of the PCI bus. (CUDA's own order is by speed unless
/// `CUDA_DEVICE_ORDER=PCI_BUS_ID`; among equal devices it is the same.)
pub(super) fn read() -> Result<Vec<Reading>, DeviceError> {
    let nvml = library().ok_or(NvmlError::LibraryNotFound)?;
    let driver = nvml.sys_driver_version().ok();
    let devices = match selection(VARIABLE) {
        None => (0..nvml.device_count()?)
            .map(|index| nvml.device_by_index(index))
            .collect::<Result<Vec<_>, _>>()?,
        Some(entries) => entries
            .iter()
            .map(|entry| {
                select(nvml, entry).ok_or_else(|| DeviceError::NoSuchDevice {
                    variable: VARIABLE,
                    entry: entry.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?,
    };
    devices
        .iter()
        .enumerate()
        .map(|(place, device)| Ok(reading(device, place, driver.clone())?))
        .collect()
}

/// By index, or by the beginning of a UUID.
fn select<'a>(nvml: &'a Nvml, entry: &str) -> Option<Device<'a>> {
    if let Ok(index) = entry.parse() {
        return nvml.device_by_index(index).ok();
    }
    nvml.device_by_uuid(entry).ok().or_else(|| {
        (0..nvml.device_count().ok()?)
            .filter_map(|index| nvml.device_by_index(index).ok())
            .find(|device| device.uuid().is_ok_and(|uuid| uuid.starts_with(entry)))
    })
}

fn reading(
    device: &Device<'_>,
    place: usize,
    driver: Option<String>,
) -> Result<Reading, NvmlError> {
    let memory = device.memory_info()?;
    // A part of a device (MIG) has no index of its own.
    let index = device
        .index()
        .unwrap_or_else(|_| u32::try_from(place).unwrap_or(u32::MAX));
    let processes = device
        .running_compute_processes()
        .unwrap_or_default()
        .into_iter()
        .map(|process| DeviceProcess {
            pid: process.pid,
            memory_bytes: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
        })
        .collect();
    Ok(Reading {
        info: DeviceInfo {
            index,
            name: device.name()?,
            uuid: device.uuid().ok(),
            memory_bytes: memory.total,
            driver,
            power_limit_w: device
                .enforced_power_limit()
                .ok()
                .map(|milliwatts| f64::from(milliwatts) / 1000.0),
            clock_mhz: device.clock_info(Clock::SM).ok(),
        },
        // What the driver keeps for itself cannot be had either.
        used_bytes: memory.total - memory.free.min(memory.total),
        processes,
    })
}
