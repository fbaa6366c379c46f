//! The clocks of a measurement. Everything that is subtracted comes from `CLOCK_MONOTONIC`, which on one host is
//! the same clock as Python's `time.monotonic()`; wall time is only for people.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::record::ClockStamp;

/// `CLOCK_MONOTONIC` in nanoseconds since boot (stands still while the machine is suspended).
pub fn mono_ns() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC)
}

/// `CLOCK_BOOTTIME` in nanoseconds since boot. It runs while the machine is suspended, so its difference from
/// [`mono_ns`] grows exactly by the time spent suspended.
pub(crate) fn boot_ns() -> u64 {
    nanos(ClockId::CLOCK_BOOTTIME)
}

fn nanos(clock: ClockId) -> u64 {
    let time =
        clock_gettime(clock).expect("Linux has CLOCK_MONOTONIC and CLOCK_BOOTTIME since 2.6.39");
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// The identity of this boot; empty where `/proc` does not tell.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Now, on all clocks.
pub(crate) fn stamp() -> ClockStamp {
    ClockStamp {
        boot_id: boot_id(),
        wall: Timestamp::now(),
        mono_ns: mono_ns(),
    }
}
