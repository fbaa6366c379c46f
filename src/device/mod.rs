//! Accelerators: what is there, how much memory is in use, who holds it. Knows nothing of engines.

mod ascend;
mod cpu;
mod gate;
mod host;
mod npu_smi;
mod nvidia;
mod platform;
mod processes;
mod reading;

pub(crate) use gate::{Demand, Gate};
pub(crate) use host::{host, memory_left};
pub(crate) use platform::Platform;
pub(crate) use reading::{DeviceError, neighbours, survey};
