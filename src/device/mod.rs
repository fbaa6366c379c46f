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

pub use gate::{Demand, Gate};
pub use host::host;
pub use platform::Platform;
pub use reading::{DeviceError, neighbours, survey};
