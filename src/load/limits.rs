//! Time limits of a request, and the limit on open files.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How long a request may take for each of its parts. Beyond one of them it fails, with the limit named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From being sent to the first token.
    pub first_token: Duration,
    /// Between two arrivals of bytes after that.
    pub between_tokens: Duration,
    /// From being due to the end.
    pub total: Duration,
}

impl Default for Timeouts {
    /// 10 s to connect, 10 minutes for the first token (a deep queue is no fault), 2 minutes between tokens, 6 hours
    /// in all, as `vllm bench serve`.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_token: Duration::from_mins(10),
            between_tokens: Duration::from_mins(2),
            total: Duration::from_hours(6),
        }
    }
}

impl Timeouts {
    pub(super) fn shortest(&self) -> Duration {
        self.connect
            .min(self.first_token)
            .min(self.between_tokens)
            .min(self.total)
    }
}

/// More connections than this process may open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{streams} streams need {needed} open files, and the hard limit is {hard}")]
pub struct TooManyStreams {
    /// Streams asked for.
    pub streams: u64,
    /// Open files that these need, with everything else.
    pub needed: u64,
    /// `RLIMIT_NOFILE`, hard.
    pub hard: u64,
}

/// Raises the soft limit on open files, if that is needed and allowed, so that `streams` connections fit.
///
/// # Errors
/// When the hard limit is too low: better before the run than in the middle of it.
pub fn allow_streams(streams: u64) -> Result<(), TooManyStreams> {
    let open = std::fs::read_dir("/proc/self/fd").map_or(64, |fds| fds.count() as u64);
    // Some for what else the process opens during a run: metrics, records, logs.
    let needed = streams + open + 64;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    if needed <= soft {
        return Ok(());
    }
    let refused = TooManyStreams {
        streams,
        needed,
        hard,
    };
    if needed > hard {
        return Err(refused);
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_streams_than_files_are_refused_beforehand() {
        allow_streams(1).expect("one more file");
        let refused = allow_streams(1 << 40).expect_err("no system allows that");
        assert!(refused.needed > 1 << 40 && refused.hard < refused.needed);
    }
}
