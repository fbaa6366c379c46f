//! The orchestrator's line to an interpreter that forks engines: orders go with descriptors over a socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::wire::{line, take_line};

/// Why nothing was forked.
pub(super) const GONE: &str = "the warm interpreter has ended";
/// An interpreter that rests answers at once. One that does not is in the middle of something that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// rollbench's end. `warm.py` holds the other.
#[derive(Debug)]
pub(super) struct Interpreter {
    orders: UnixStream,
    buffer: Vec<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reply {
    pid: Option<u32>,
    reason: Option<String>,
    spawned: Vec<String>,
}

impl Interpreter {
    /// The environment variable that tells the interpreter its end's number.
    pub(super) const VARIABLE: &str = "ROLLBENCH_WARM_FD";

    /// Both ends.
    pub(super) fn open() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let interpreter = Self {
            orders: UnixStream::from_std(ours)?,
            buffer: Vec::new(),
        };
        Ok((interpreter, theirs.into()))
    }

    /// Has it fork a leader; its pid, or why not. The order waits in the socket until vLLM is imported.
    pub(super) async fn lead(
        &mut self,
        script: &Path,
        log: BorrowedFd<'_>,
        fds: &[(String, OwnedFd)],
    ) -> Result<u32, String> {
        let variables: Vec<&str> = fds.iter().map(|(name, _)| name.as_str()).collect();
        let handed: Vec<RawFd> = std::iter::once(log.as_raw_fd())
            .chain(fds.iter().map(|(_, fd)| fd.as_raw_fd()))
            .collect();
        let order = json!({ "lead": script, "variables": variables });
        self.send(&order, &handed)
            .map_err(|error| error.to_string())?;
        let answer = self.answer().await.ok_or(GONE)?;
        answer
            .pid
            .ok_or_else(|| answer.reason.unwrap_or_else(|| GONE.to_owned()))
    }

    /// Waits until everything that it was asked for is forked; what of the last start was not, and why. Absent if it
    /// does not answer.
    pub(super) async fn rests(&mut self) -> Option<Vec<String>> {
        self.send(&json!({ "rests": true }), &[]).ok()?;
        let answer = tokio::time::timeout(PATIENCE, self.answer()).await.ok()??;
        Some(answer.spawned)
    }

    fn send(&self, order: &Value, fds: &[RawFd]) -> io::Result<()> {
        let order = line(order);
        let passed = [ControlMessage::ScmRights(fds)];
        let passed = if fds.is_empty() { &[] } else { &passed[..] };
        // Orders are short and few: the socket takes them at once.
        sendmsg::<()>(
            self.orders.as_raw_fd(),
            &[IoSlice::new(&order)],
            passed,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }

    /// The next answer; absent once it is gone.
    async fn answer(&mut self) -> Option<Reply> {
        loop {
            if let Some(answer) = take_line(&mut self.buffer) {
                return answer.ok();
            }
            match self.orders.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
