//! What makes a plan impossible: every reason at once.

use std::fmt;

use crate::checkpoint::CheckpointError;
use crate::error::{CommandError, Exit};
use crate::units::{CellId, ModelId};

/// One reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The folder exists and is no checkpoint.
    #[error("the checkpoint of {cell} cannot be used: {source}")]
    Checkpoint {
        /// Whose.
        cell: CellId,
        /// Why.
        source: CheckpointError,
    },
    /// `managed:NAME` without such a demo checkpoint, or no place for it.
    #[error("the checkpoint of {cell} cannot be made: {message}")]
    Managed {
        /// Whose.
        cell: CellId,
        /// Why.
        message: String,
    },
    /// Fidelity was asked for, and cannot be measured.
    #[error("no fidelity of {cell}: it {reason}")]
    Fidelity {
        /// Whose.
        cell: CellId,
        /// Why.
        reason: String,
    },
    /// The model cannot take the workload.
    #[error("{model} takes {limit} tokens (its config.json says so), and {what} is {needed}")]
    TooLong {
        /// The model.
        model: ModelId,
        /// Prompt + response that it can take.
        limit: u64,
        /// What asks for more.
        what: String,
        /// How much it asks for.
        needed: u64,
    },
}

impl PlanError {
    fn exit(&self) -> Exit {
        match self {
            Self::TooLong { .. } | Self::Fidelity { .. } => Exit::Usage,
            Self::Checkpoint { .. } | Self::Managed { .. } => Exit::Environment,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Checkpoint { cell, source } => format!(
                "{}; or leave the cell out with --models or --quants ({cell})",
                source.hint()
            ),
            Self::Managed { .. } => {
                "`rollbench setup --check` lists the demo checkpoints".to_owned()
            }
            Self::Fidelity { .. } => {
                "fidelity compares what models with real weights say: select the baseline and such cells, or leave --fidelity out".to_owned()
            }
            Self::TooLong { limit, .. } => {
                format!("--input-len plus --output-len, and max_model_len, must be at most {limit}")
            }
        }
    }
}

/// Every reason.
#[derive(Debug)]
pub(crate) struct PlanErrors(pub Vec<PlanError>);

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\nerror: ")?;
            }
            write!(f, "{error}")?;
            let mut cause = std::error::Error::source(error).and_then(|e| e.source());
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

impl From<PlanErrors> for CommandError {
    fn from(errors: PlanErrors) -> Self {
        let usage = errors.0.iter().any(|e| e.exit() == Exit::Usage);
        let mut hints: Vec<String> = Vec::new();
        for hint in errors.0.iter().map(PlanError::hint) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        let exit = if usage {
            Exit::Usage
        } else {
            Exit::Environment
        };
        Self {
            hints,
            ..Self::new(exit, errors)
        }
    }
}
