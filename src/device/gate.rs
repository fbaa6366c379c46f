//! The gate before and after each cell: device memory must be back where it was, or the next engine would measure
//! somebody else's leftovers, or die of them.

use std::time::Duration;

use tokio::time::Instant;

use super::Platform;
use super::cpu::HostMemory;
use super::processes::{biggest, holder};
use super::reading::{DeviceError, Reading, read};
use crate::record::{GateReading, Holder};
use crate::units::Bytes;

/// Memory in use moves a little by itself (other contexts come and go).
const TOLERANCE: u64 = 512 << 20;
/// How many processes are named when the host's memory does not suffice.
const NAMED: usize = 5;

/// What the next engine needs beside the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Demand {
    /// The share of all memory that vLLM will ask to be free (`gpu_memory_utilization`); absent if it will not ask (its
    /// cache's size is given in bytes), or nothing is to be started.
    pub share: Option<f64>,
}

/// The devices of a session and how much of each was in use at its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    platform: Platform,
    baseline: Vec<u64>,
}

/// The memory at one moment: per device, or of the host.
struct Memory {
    used: Vec<u64>,
    total: Vec<u64>,
    readings: Vec<Reading>,
}

impl Gate {
    /// Takes the memory now in use on the first `devices` visible devices (as many as an engine uses) as the baseline.
    /// Blocks shortly; to be called when nothing of the session has been started yet.
    pub(crate) fn baseline(platform: Platform, devices: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            platform,
            baseline: Memory::read(platform, devices)?.used,
        })
    }

    /// Polls until the memory is back at the baseline and the demand can be met, at most for `timeout`. Polls at least
    /// once. The reading says whether it passed, and if not, who holds what; `run` is the id of this run.
    pub(crate) async fn wait(
        &self,
        demand: Demand,
        timeout: Duration,
        run: Option<&str>,
    ) -> Result<GateReading, DeviceError> {
        let begun = Instant::now();
        // npu-smi takes a second of a processor each time.
        let pause = match self.platform {
            Platform::Npu => Duration::from_secs(1),
            Platform::Cpu | Platform::Cuda => Duration::from_millis(50),
        };
        loop {
            let (platform, devices) = (self.platform, self.baseline.len());
            let memory = tokio::task::spawn_blocking(move || Memory::read(platform, devices))
                .await
                .map_err(std::io::Error::other)??;
            let passed = self.passes(&memory, demand);
            if passed || begun.elapsed() >= timeout {
                let holders = if passed {
                    Vec::new()
                } else {
                    self.holders(&memory, run)
                };
                return Ok(GateReading {
                    waited_ns: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
                    passed,
                    used_bytes: memory.used,
                    baseline_bytes: self.baseline.clone(),
                    holders,
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What to say of a reading that did not pass.
    pub(crate) fn explain(&self, reading: &GateReading, demand: Demand) -> String {
        let used: u64 = reading.used_bytes.iter().sum();
        let baseline: u64 = reading.baseline_bytes.iter().sum();
        let waited = Duration::from_nanos(reading.waited_ns).as_secs();
        let what = match (self.platform, demand.share) {
            (Platform::Cpu, Some(share)) => format!(
                "the host has less memory free than vLLM will ask for (gpu_memory_utilization = {share} of all memory): {} are in use after {waited} s",
                Bytes(used)
            ),
            _ => format!(
                "device memory is not free: {} in use after {waited} s, {} when the session began",
                Bytes(used),
                Bytes(baseline)
            ),
        };
        let holders: Vec<String> = reading.holders.iter().map(named).collect();
        let whose = match self.platform {
            Platform::Cpu => "the largest processes are",
            Platform::Cuda | Platform::Npu => "it is held by",
        };
        match holders.as_slice() {
            [] => what,
            holders => format!("{what}; {whose} {}", holders.join(", ")),
        }
    }

    fn passes(&self, memory: &Memory, demand: Demand) -> bool {
        let room = || {
            let share = demand.share.unwrap_or(0.0);
            memory
                .used
                .iter()
                .zip(&memory.total)
                .all(|(&used, &total)| {
                    // vLLM counts a little less as the total than the device does; a refusal must be certain.
                    total.saturating_sub(used) as f64 >= share * total as f64 * 0.98
                })
        };
        let back = || {
            memory
                .used
                .iter()
                .zip(&self.baseline)
                .zip(&memory.total)
                .all(|((&used, &baseline), &total)| used <= baseline + TOLERANCE.max(total / 100))
        };
        match self.platform {
            // Whatever else runs on the host moves its memory; only the demand counts.
            Platform::Cpu => room(),
            Platform::Cuda => back() && room(),
            // npu-smi counts the firmware's own memory as used, which vLLM does not ask for.
            Platform::Npu => back(),
        }
    }

    fn holders(&self, memory: &Memory, run: Option<&str>) -> Vec<Holder> {
        if self.platform == Platform::Cpu {
            return biggest(NAMED)
                .into_iter()
                .map(|(pid, bytes)| holder(self.platform, pid, Some(bytes), run))
                .collect();
        }
        let on_devices = memory.readings.iter().flat_map(|r| &r.processes);
        on_devices
            .map(|process| holder(self.platform, process.pid, process.memory_bytes, run))
            .collect()
    }
}

/// `4711 (alice, python train.py, 3.2 GB, since 2026-01-01T00:00:00Z)`.
fn named(holder: &Holder) -> String {
    const LONGEST: usize = 80;
    let command = holder.command.as_ref();
    let known = [
        holder.user.clone(),
        command.map(|command| command.chars().take(LONGEST).collect()),
        holder.memory_bytes.map(|bytes| Bytes(bytes).to_string()),
        holder.since.map(|since| format!("since {since:.0}")),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    match known.as_slice() {
        [] => format!("process {}, which is not visible from here", holder.pid),
        known => format!("{} ({})", holder.pid, known.join(", ")),
    }
}

impl Memory {
    fn read(platform: Platform, devices: usize) -> Result<Self, DeviceError> {
        if platform == Platform::Cpu {
            let host = HostMemory::read().ok_or(DeviceError::HostMemory)?;
            return Ok(Self {
                used: vec![host.used()],
                total: vec![host.total],
                readings: Vec::new(),
            });
        }
        let mut readings = read(platform)?;
        readings.truncate(devices);
        Ok(Self {
            used: readings.iter().map(|r| r.used_bytes).collect(),
            total: readings.iter().map(|r| r.info.memory_bytes).collect(),
            readings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn memory(used: &[u64]) -> Memory {
        Memory {
            used: used.iter().map(|gib| gib * GIB).collect(),
            total: vec![80 * GIB; used.len()],
            readings: Vec::new(),
        }
    }

    fn gate(platform: Platform) -> Gate {
        Gate {
            platform,
            baseline: vec![3 * GIB, GIB],
        }
    }

    #[test]
    fn a_device_passes_when_all_its_memory_is_back_and_the_share_is_free() {
        let gate = gate(Platform::Cuda);
        let share = |share| Demand { share: Some(share) };
        assert!(gate.passes(&memory(&[3, 1]), Demand::default()));
        assert!(!gate.passes(&memory(&[3, 2]), Demand::default()));
        assert!(gate.passes(&memory(&[3, 1]), share(0.9)));
        // The baseline itself, a neighbour's, leaves too little.
        assert!(!gate.passes(&memory(&[3, 1]), share(0.99)));
    }

    #[test]
    fn a_holder_is_named_by_all_that_is_known_of_it() {
        let mut holder = Holder {
            pid: 4711,
            user: Some("alice".to_owned()),
            command: Some("python train.py".to_owned()),
            since: "2026-01-01T00:00:00.25Z".parse().ok(),
            memory_bytes: Some(3_200_000_000),
            ours: false,
        };
        assert_eq!(
            named(&holder),
            "4711 (alice, python train.py, 3.20 GB, since 2026-01-01T00:00:00Z)"
        );
        (holder.user, holder.command, holder.since) = (None, None, None);
        holder.memory_bytes = None;
        assert_eq!(
            named(&holder),
            "process 4711, which is not visible from here"
        );
    }

    #[test]
    fn an_npu_is_judged_by_its_baseline_and_a_host_by_the_demand() {
        let demand = Demand { share: Some(0.97) };
        assert!(gate(Platform::Npu).passes(&memory(&[3, 1]), demand));
        let demand = Demand { share: Some(0.5) };
        assert!(gate(Platform::Cpu).passes(&memory(&[30]), demand));
        assert!(!gate(Platform::Cpu).passes(&memory(&[60]), demand));
    }

    #[tokio::test]
    async fn a_host_without_enough_memory_is_reported_with_its_biggest_processes() {
        let gate = Gate::baseline(Platform::Cpu, 1).expect("memory is readable");
        let demand = Demand { share: Some(1.5) };
        let reading = gate
            .wait(demand, Duration::from_millis(120), None)
            .await
            .expect("memory is readable");
        assert!(!reading.passed && reading.waited_ns >= 120_000_000);
        // This process at least; a container may run few others.
        assert!((1..=NAMED).contains(&reading.holders.len()));
        assert!(
            reading
                .holders
                .iter()
                .all(|holder| holder.command.is_some())
        );
        let told = gate.explain(&reading, demand);
        assert!(told.starts_with("the host has less memory free"), "{told}");
        let first = named(&reading.holders[0]);
        assert!(
            told.contains(&format!("the largest processes are {first}")),
            "{told}"
        );

        let demand = Demand { share: Some(0.01) };
        let reading = gate
            .wait(demand, Duration::ZERO, None)
            .await
            .expect("readable");
        assert!(reading.passed && reading.holders.is_empty());
    }
}
