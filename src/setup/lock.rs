//! One set-up at a time, across processes.
//!
//! Installers inherit the locked file, and it is closed rather than unlocked: so the lock outlives a rollbench that was
//! killed or interrupted until the last of its installers has ended too, and nobody makes anew what one still writes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::error::PathError;

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Waits for it. `waiting` is called once, with the holder in words, if it is not free.
    pub(crate) async fn take(path: &Path, waiting: impl FnOnce(String)) -> Result<Self, PathError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(PathError::on("open", path))?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => {
                    sign(&mut file).map_err(PathError::on("write", path))?;
                    return Ok(Self(file));
                }
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting(holder(&mut file));
                    }
                    // The kernel can tell us when it is free only by blocking a thread that nothing can stop.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(TryLockError::Error(error)) => return Err(PathError::on("lock", path)(error)),
            }
        }
    }

    /// What an installer inherits, and the variable that tells it the number (none of them asks).
    pub(crate) fn pass(&self) -> std::io::Result<(String, OwnedFd)> {
        Ok((
            "ROLLBENCH_SETUP_LOCK".to_owned(),
            self.0.try_clone()?.into(),
        ))
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) if Path::new(&format!("/proc/{pid}")).exists() => {
            format!("the rollbench with pid {pid}, which is setting up")
        }
        (Ok(_), Ok(pid)) => format!("an installer that rollbench (pid {pid}) left when it died"),
        _ => "another rollbench, which is setting up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn the_second_waits_and_says_for_whom() {
        let dir = tempfile::tempdir().expect("temporary");
        let path = dir.path().join("lock");
        runtime().block_on(async {
            let first = Lock::take(&path, |_| panic!("free")).await.expect("taken");
            let (said, heard) = tokio::sync::oneshot::channel();
            let second = Lock::take(&path, |holder| said.send(holder).expect("listening"));
            let release = async {
                let holder = heard.await.expect("told");
                drop(first);
                holder
            };
            let (second, holder) = tokio::join!(second, release);
            second.expect("taken after the first");
            let pid = std::process::id();
            assert_eq!(
                holder,
                format!("the rollbench with pid {pid}, which is setting up")
            );
        });
    }
}
