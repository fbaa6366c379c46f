//! What the traced script may do.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
    Scope,
};

use super::TraceError;
use super::recorders::Recorders;

/// The first with rules for TCP.
const NEEDED: ABI = ABI::V4;

/// The loaders of programs, which the kernel executes for them.
const LOADERS: [&str; 5] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// From here on this thread and what it starts reads files, writes only where the recorders write, and executes only what
/// the recorders need. There is no way back.
pub(super) fn this_thread(recorders: &Recorders) -> Result<(), TraceError> {
    confined(recorders).map_err(|error| TraceError::Unconfined(error.to_string()))
}

fn confined(recorders: &Recorders) -> Result<(), RulesetError> {
    let writes = AccessFs::from_write(NEEDED);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(writes | AccessFs::Execute)?
        .handle_access(AccessNet::from_all(NEEDED))?
        // Signals to others: newer kernels only, and `kill` is a recorder too.
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    let mut ruleset = ruleset;
    for folder in [recorders.scratch(), recorders.records()] {
        ruleset = allow(ruleset, &folder, writes)?;
    }
    let file = AccessFs::WriteFile | AccessFs::Truncate;
    ruleset = allow(ruleset, "/dev/null".as_ref(), file)?;
    let loaders = LOADERS.iter().map(Into::into);
    for program in recorders.executed().into_iter().chain(loaders) {
        if program.exists() {
            ruleset = allow(ruleset, &program, AccessFs::Execute.into())?;
        }
    }
    ruleset.restrict_self()?;
    Ok(())
}

fn allow(
    ruleset: RulesetCreated,
    path: &std::path::Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => ruleset.add_rule(PathBeneath::new(opened, access)),
        // What is not there needs no permission.
        Err(_) => Ok(ruleset),
    }
}
