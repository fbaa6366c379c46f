//! Limits of this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files as far as the hard one allows, and returns what it is then. Every stream of the
/// online mode is a descriptor; the usual soft limit is 1024.
pub fn raise_open_files() -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = raise_open_files().expect("allowed");
        let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("readable");
        assert_eq!(limits, (raised, raised));
    }
}
