//! How the rooms' errors end a command: with which exit code, and with what advice.

use crate::device::DeviceError;
use crate::error::{CommandError, Exit, PathError};
use crate::execute::ExecuteError;
use crate::process::RunDirError;
use crate::record::StoreError;

impl From<PathError> for CommandError {
    fn from(error: PathError) -> Self {
        Self::new(Exit::Environment, error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Path(_) | StoreError::Busy { .. } => Exit::Environment,
            StoreError::Changed { .. }
            | StoreError::OtherEngine { .. }
            | StoreError::Unreadable { .. } => Exit::Usage,
            StoreError::Unknown(_) => Exit::Internal,
        };
        let hint = error.hint();
        let error = Self::new(exit, error);
        hint.into_iter().fold(error, Self::hint)
    }
}

impl From<ExecuteError> for CommandError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Store(error) => error.into(),
            ExecuteError::Requests(_) | ExecuteError::Fidelity(_) => Self::new(Exit::Usage, error),
        }
    }
}

impl From<RunDirError> for CommandError {
    fn from(error: RunDirError) -> Self {
        Self::new(Exit::Environment, error)
    }
}

impl From<DeviceError> for CommandError {
    fn from(error: DeviceError) -> Self {
        Self::new(Exit::Environment, error)
            .hint("`nvidia-smi` or `npu-smi info` shows what the driver says; check the *_VISIBLE_DEVICES variables")
    }
}
