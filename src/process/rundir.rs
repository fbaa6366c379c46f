//! The folder of one run: proof that rollbench lives (a lock and the lease), what identifies it, and a place for the
//! engine's temporary files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};
use serde::{Deserialize, Serialize};

use super::procfs::Stat;
use crate::error::PathError;
use crate::record::redact;

/// The environment variable that marks every process of a run with the run's id.
pub(crate) const RUN_VARIABLE: &str = "ROLLBENCH_RUN";
/// The environment variable that names the lease of a run, a FIFO in the run's folder.
pub(crate) const LEASE_VARIABLE: &str = "ROLLBENCH_LEASE";
/// The Python module that holds the lease. Its text is to be written beside the engine's main module, under
/// [`LEASE_MODULE`], and to be imported there at module level.
pub(crate) const LEASE_PY: &str = include_str!("lease.py");
/// The file name of [`LEASE_PY`].
pub(crate) const LEASE_MODULE: &str = "rollbench_lease.py";

/// Unix socket names hold 107 bytes; vLLM and multiprocessing append up to 40, our own part is about 35.
const LONGEST_TMPDIR: usize = 30;

/// What a run says of itself to those who find its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunInfo {
    /// Random, unique; the value of [`RUN_VARIABLE`].
    pub id: String,
    /// The boot in which `pid` and `start_ticks` mean something.
    pub boot_id: String,
    /// rollbench itself.
    pub pid: u32,
    /// When it was started, in clock ticks since boot: nothing older can be its descendant.
    pub start_ticks: u64,
    /// When the run began.
    pub started: Timestamp,
    /// The command line, secrets redacted.
    pub argv: Vec<String>,
    /// Where its results go.
    pub results: PathBuf,
    /// The engine's `TMPDIR`.
    pub scratch: PathBuf,
}

/// A run's folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The system refused.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Somebody else's folder is where ours should be.
    #[error("{} is not a folder that belongs to this user alone", .0.display())]
    NotPrivate(PathBuf),
}

/// The folder of this run. While it exists, it is locked; dropping it removes it.
#[derive(Debug)]
pub struct RunDir {
    info: RunInfo,
    path: PathBuf,
    /// Held for their effect alone. On the folders themselves, which also keeps systemd-tmpfiles away from them.
    locks: Vec<Flock<File>>,
    /// The only writer of the lease, and a reader, so that an engine that ends does not change who is left.
    _lease: File,
}

impl RunDir {
    /// Makes the folder of a run whose results go to `results`.
    pub fn create(results: &Path) -> Result<Self, RunDirError> {
        let id = format!("{:012x}", rand::random::<u64>() >> 16);
        let root = first_root()?;
        let scratch = temporary_root()?.join(&id);
        // Complete before it has its name: nobody may find it without its lock.
        let pid = std::process::id();
        let start_ticks = Stat::of(pid).map_or(0, |me| me.start_ticks);
        let draft = root.join(draft_name(&id, pid, start_ticks));
        make_private(&draft)?;
        let folder_lock = lock_for_long(&draft)?;
        let lease = draft.join("lease");
        mkfifo(&lease, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(io::Error::from)
            .map_err(PathError::on("create", &lease))?;
        let lease = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&lease)
            .map_err(PathError::on("open", &lease))?;
        let info = RunInfo {
            id,
            boot_id: crate::clock::boot_id(),
            pid,
            start_ticks,
            started: Timestamp::now(),
            argv: redact::own_argv(),
            results: std::path::absolute(results).unwrap_or_else(|_| results.to_owned()),
            scratch,
        };
        let file = draft.join("info");
        let text = serde_json::to_vec(&info).expect("plain data serialises");
        fs::write(&file, text).map_err(PathError::on("write", &file))?;
        let path = root.join(&info.id);
        fs::rename(&draft, &path).map_err(PathError::on("rename", &draft))?;
        let mut run = Self {
            info,
            path,
            locks: vec![folder_lock],
            _lease: lease,
        };
        // Last: whoever finds the folder of a run that was killed in here knows what else there can be.
        make_private(run.scratch())?;
        run.locks.push(lock_for_long(run.scratch())?);
        Ok(run)
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// The folder, mode 0700.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for temporary files, mode 0700; its path is short.
    pub fn scratch(&self) -> &Path {
        &self.info.scratch
    }

    /// What supervision adds to an engine's environment. Of the cache folders, only those that `inherited` (the
    /// environment it is added to) does not set.
    pub fn hygiene_env(
        &self,
        inherited: &BTreeMap<OsString, OsString>,
    ) -> BTreeMap<OsString, OsString> {
        let scratch = self.scratch().as_os_str();
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::from([
            // setproctitle writes over the environment, and with it over our mark, unless it is told not to.
            ("SPT_NOENV".into(), "1".into()),
            (RUN_VARIABLE.into(), self.id().into()),
            (LEASE_VARIABLE.into(), self.path.join("lease").into()),
            ("TMPDIR".into(), scratch.into()),
            ("VLLM_RPC_BASE_PATH".into(), scratch.into()),
        ]);
        // Their defaults lie under TMPDIR: each start would compile anew.
        let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::home_dir()) {
            (Some(cache), _) if Path::new(&cache).is_absolute() => PathBuf::from(cache),
            (_, Some(home)) => home.join(".cache"),
            (_, None) => return env,
        };
        for (variable, folder) in [
            ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
            ("TRITON_CACHE_DIR", "triton"),
        ] {
            if !inherited.contains_key(std::ffi::OsStr::new(variable)) {
                env.insert(variable.into(), cache.join("rollbench").join(folder).into());
            }
        }
        env
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        remove(&self.path, Some(&self.info));
    }
}

/// Every folder that can hold runs of this user, whether it exists or not: `clean` may run in another environment than
/// the run did.
pub(super) fn roots() -> Vec<PathBuf> {
    if let Some(root) = chosen_root() {
        return vec![root];
    }
    let mut roots = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{}", Uid::effective()));
    for base in runtime.into_iter().chain([usual]) {
        let root = base.join("rollbench");
        if is_private(&base) && !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots.push(private_in(Path::new("/tmp")).join("runs"));
    roots
}

/// A draft says who makes it, because for an instant it has no lock yet.
fn draft_name(id: &str, pid: u32, start_ticks: u64) -> String {
    format!(".{id}.{pid}.{start_ticks}")
}

/// The run that a folder's name tells, and whether it is a draft whose maker still lives.
pub(super) fn read_name(name: &str) -> (&str, bool) {
    let Some(draft) = name.strip_prefix('.') else {
        return (name, false);
    };
    let mut parts = draft.split('.');
    let id = parts.next().unwrap_or_default();
    let pid = parts.next().and_then(|pid| pid.parse().ok());
    let start_ticks = parts.next().and_then(|ticks| ticks.parse().ok());
    let maker = pid.and_then(Stat::of).filter(|maker| !maker.is_dead());
    let in_the_making = maker.is_some_and(|maker| Some(maker.start_ticks) == start_ticks);
    (id, in_the_making)
}

/// Whether the run in `folder` is dead: nobody holds its lock.
pub(super) fn is_dead(folder: &Path) -> bool {
    lock(folder, FlockArg::LockSharedNonblock).is_ok()
}

/// What the run in `folder` said of itself.
pub(super) fn read_info(folder: &Path) -> Option<RunInfo> {
    serde_json::from_slice(&fs::read(folder.join("info")).ok()?).ok()
}

/// Removes what a run leaves on disk: its folder, its temporary files, its shared memory. Best effort: what cannot be
/// removed is found by `clean`.
pub(super) fn remove(folder: &Path, info: Option<&RunInfo>) {
    if let Some(info) = info {
        for segment in shared_memory(&info.id) {
            let _ = fs::remove_file(segment);
        }
        if info.scratch.ends_with(&info.id) {
            let _ = fs::remove_dir_all(&info.scratch);
        }
    }
    let _ = fs::remove_dir_all(folder);
}

/// The shared memory that bears a run's name (see `lease.py`). The id is random: nobody else's does.
pub(super) fn shared_memory(id: &str) -> Vec<PathBuf> {
    let ours = [format!("rollbench-{id}-"), format!("sem.rollbench-{id}-")];
    fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix)))
        })
        .collect()
}

/// `ROLLBENCH_RUNTIME_DIR`, for machines on which neither place is right; then the only one.
fn chosen_root() -> Option<PathBuf> {
    std::env::var_os("ROLLBENCH_RUNTIME_DIR").map(PathBuf::from)
}

fn first_root() -> Result<PathBuf, RunDirError> {
    if let Some(root) = chosen_root() {
        make_private(&root)?;
        return Ok(root);
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(root) = runtime
        .filter(|base| is_private(base))
        .map(|base| base.join("rollbench"))
        && make_private(&root).is_ok()
    {
        return Ok(root);
    }
    let base = private_in(Path::new("/tmp"));
    make_private(&base)?;
    let root = base.join("runs");
    make_private(&root)?;
    Ok(root)
}

/// Not under `XDG_RUNTIME_DIR`: that is small, in memory, and can forbid execution.
fn temporary_root() -> Result<PathBuf, RunDirError> {
    let chosen = std::env::var_os("TMPDIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.as_os_str().len() <= LONGEST_TMPDIR)
        .map(|dir| private_in(&dir))
        .filter(|dir| make_private(dir).is_ok());
    if let Some(root) = chosen {
        return Ok(root);
    }
    let root = private_in(Path::new("/tmp"));
    make_private(&root)?;
    Ok(root)
}

fn private_in(shared: &Path) -> PathBuf {
    shared.join(format!("rollbench-{}", Uid::effective()))
}

/// Makes a folder that only this user can enter, or finds that it is one.
fn make_private(path: &Path) -> Result<(), RunDirError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_private(path) {
                Ok(())
            } else {
                Err(RunDirError::NotPrivate(path.to_owned()))
            }
        }
        Err(error) => Err(PathError::on("create", path)(error).into()),
    }
}

/// A folder, not a link to one, that belongs to this user and that no other can write to or look into.
fn is_private(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| {
        // No permission bit of group or others.
        meta.is_dir()
            && meta.uid() == Uid::effective().as_raw()
            && meta.mode().trailing_zeros() >= 6
    })
}

/// Waits: one who looks whether a run is dead holds its lock for an instant.
fn lock_for_long(folder: &Path) -> Result<Flock<File>, PathError> {
    lock(folder, FlockArg::LockExclusive)
}

fn lock(folder: &Path, how: FlockArg) -> Result<Flock<File>, PathError> {
    let file = File::open(folder).map_err(PathError::on("open", folder))?;
    Flock::lock(file, how)
        .map_err(|(_, errno)| errno.into())
        .map_err(PathError::on("lock", folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn it_stands_locked_while_the_run_lives_and_goes_with_it() {
        let run = RunDir::create(Path::new("results")).expect("made");
        let (path, scratch) = (run.path().to_owned(), run.scratch().to_owned());
        assert!(roots().iter().any(|root| path.starts_with(root)));
        assert!(!is_dead(&path));
        assert!(scratch.as_os_str().len() < 107 - 41);
        for folder in [&path, &scratch] {
            let mode = fs::metadata(folder).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let info = read_info(&path).expect("readable");
        assert_eq!((&info, info.pid), (&run.info, std::process::id()));
        let segment = PathBuf::from(format!("/dev/shm/rollbench-{}-0a", run.id()));
        let stranger = PathBuf::from(format!("/dev/shm/psm_{}", run.id()));
        fs::write(&segment, "").expect("shm");
        fs::write(&stranger, "").expect("shm");

        drop(run);
        assert!(!path.exists() && !scratch.exists() && !segment.exists());
        assert!(stranger.exists());
        fs::remove_file(stranger).expect("ours");
    }

    #[test]
    fn a_draft_is_in_the_making_while_the_very_process_that_makes_it_lives() {
        let me = Stat::of(std::process::id()).expect("alive");
        let mine = draft_name("5af0", me.pid, me.start_ticks);
        assert_eq!(read_name(&mine), ("5af0", true));
        let reused = draft_name("5af0", me.pid, me.start_ticks + 1);
        for abandoned in [reused.as_str(), ".5af0.4294967295.7", ".5af0", ".5af0.x.y"] {
            assert_eq!(read_name(abandoned), ("5af0", false));
        }
        assert_eq!(read_name("5af0"), ("5af0", false));
    }

    #[test]
    fn an_engine_gets_its_marks_and_the_users_caches_are_left_alone() {
        let run = RunDir::create(Path::new("results")).expect("made");
        let theirs = BTreeMap::from([("TRITON_CACHE_DIR".into(), "/big/disk".into())]);
        let env = run.hygiene_env(&theirs);
        let get = |name: &str| env.get(std::ffi::OsStr::new(name));
        assert_eq!(get("ROLLBENCH_RUN"), Some(&run.id().into()));
        assert_eq!(get("SPT_NOENV"), Some(&"1".into()));
        assert_eq!(get("TMPDIR"), get("VLLM_RPC_BASE_PATH"));
        assert_eq!(get("TRITON_CACHE_DIR"), None);
    }

    #[test]
    fn a_folder_that_others_can_enter_or_a_link_is_not_private() {
        let dir = tempfile::tempdir().expect("tempdir");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).expect("ours");
        let link = dir.path().join("link");
        let private = dir.path().join("private");
        make_private(&private).expect("made");
        symlink(&private, &link).expect("made");
        assert!(make_private(&private).is_ok());
        for bad in [open, link] {
            assert!(matches!(
                make_private(&bad),
                Err(RunDirError::NotPrivate(path)) if path == bad
            ));
        }
    }
}
