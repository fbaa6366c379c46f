//! One run of one client, as a process of its own: what it said, what the server did, what it cost.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use rollbench::testing::clock::mono_ns;
use rollbench::testing::stats::quantile;

use super::client::{Client, Load, Said};
use super::truth::{Mock, Truth};

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) said: Said,
    true_ttft_ms: f64,
    true_itl_p99_ms: f64,
    true_tokens_per_s: f64,
    /// Chunks that the server wrote.
    pub(crate) events: usize,
    /// Most responses that were open at once, as the server saw it.
    pub(crate) streams_at_once: u32,
    pub(crate) cpu_s: f64,
    pub(crate) memory_mb: f64,
    pub(crate) first_request_s: f64,
}

impl Run {
    /// # Errors
    /// If the client fails, or did not do what it was asked.
    pub(crate) fn of(client: &Client, mock: &Mock, load: Load) -> Result<Self, String> {
        let url = format!(
            "http://127.0.0.1:{}/ttft={},itl={}",
            mock.port, load.ttft_ms, load.itl_ms
        );
        let out = tempfile::tempdir().expect("a folder");
        let mut command = client.command(&url, load, out.path());
        let log = std::fs::File::create(out.path().join("stderr")).expect("a file");
        mock.truth();
        let cpu_before = children_cpu();
        let begin_ns = mono_ns();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let pid = child.id();
        let watcher = std::thread::spawn(move || peak_memory(pid));
        let mut stdout = child.stdout.take().expect("piped");
        let mut text = String::new();
        stdout
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        let status = child.wait().expect("ours");
        let cpu_s = children_cpu().saturating_sub(cpu_before).as_secs_f64();
        let memory_mb = watcher.join().expect("no panic") as f64 / 1e6;
        if !status.success() {
            let log = std::fs::read_to_string(out.path().join("stderr")).unwrap_or_default();
            let last = log.lines().rev().find(|l| !l.trim().is_empty());
            return Err(format!("{status}: {}", last.unwrap_or("")));
        }
        let said = client.said(&text, out.path())?;
        let mut truth = mock.truth();
        truth.requests.sort_by_key(|r| r.received_ns);
        let first = truth.requests.first().ok_or("it sent nothing")?;
        let first_request_s = (first.received_ns - begin_ns) as f64 / 1e9;
        // Probes and test requests before the run came alone: the run is what came last.
        let before = truth.requests.len().checked_sub(load.streams as usize);
        truth
            .requests
            .drain(..before.ok_or("it sent too few requests")?);
        let true_times = TrueTimes::of(&truth);
        if true_times.events < load.streams as usize * load.tokens as usize {
            return Err(format!("the server wrote {} tokens", true_times.events));
        }
        Ok(Self {
            said,
            true_ttft_ms: true_times.ttft_ms,
            true_itl_p99_ms: true_times.itl_p99_ms,
            true_tokens_per_s: true_times.events as f64 / true_times.span_s,
            events: true_times.events,
            streams_at_once: truth.peak,
            cpu_s,
            memory_mb,
            first_request_s,
        })
    }

    pub(crate) fn ttft_error_ms(&self) -> f64 {
        self.said.ttft_ms - self.true_ttft_ms
    }

    pub(crate) fn itl_p99_error_ms(&self) -> f64 {
        self.said.itl_p99_ms - self.true_itl_p99_ms
    }

    /// In per cent of what the server delivered.
    pub(crate) fn throughput_error(&self) -> f64 {
        (self.said.tokens_per_s / self.true_tokens_per_s - 1.0) * 100.0
    }

    pub(crate) fn true_tokens_per_s(&self) -> f64 {
        self.true_tokens_per_s
    }
}

/// The server's side of it.
struct TrueTimes {
    ttft_ms: f64,
    itl_p99_ms: f64,
    /// From the first request to the last chunk.
    span_s: f64,
    events: usize,
}

impl TrueTimes {
    fn of(truth: &Truth) -> Self {
        let (mut gaps, mut waits) = (Vec::new(), Vec::new());
        let (mut begin_ns, mut end_ns, mut events) = (u64::MAX, 0, 0);
        for request in &truth.requests {
            let writes = request.write_ns.first().map_or(&[][..], Vec::as_slice);
            let (Some(first), Some(last)) = (writes.first(), writes.last()) else {
                continue;
            };
            waits.push((first - request.received_ns) as f64 / 1e6);
            gaps.extend(writes.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6));
            begin_ns = begin_ns.min(request.received_ns);
            end_ns = end_ns.max(*last);
            events += writes.len();
        }
        gaps.sort_unstable_by(f64::total_cmp);
        Self {
            ttft_ms: waits.iter().sum::<f64>() / waits.len() as f64,
            itl_p99_ms: quantile(&gaps, 0.99).unwrap_or(f64::NAN),
            span_s: end_ns.saturating_sub(begin_ns) as f64 / 1e9,
            events,
        }
    }
}

/// Processor time of all children that have ended.
fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("always allowed");
    let duration = |time: TimeVal| {
        Duration::from_micros(
            u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0),
        )
    };
    duration(usage.user_time()) + duration(usage.system_time())
}

/// The most memory that the process had, in bytes, looked at until it ends.
fn peak_memory(pid: u32) -> u64 {
    let mut peak = 0;
    while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let kib = status.lines().find_map(|line| {
            let rest = line.strip_prefix("VmHWM:")?;
            rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        match kib {
            Some(kib) => peak = peak.max(kib * 1024),
            // Ended, and not yet waited for.
            None => break,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    peak
}
