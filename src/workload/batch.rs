//! The requests of one step, as token ids.

/// The token ids that prompts may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Ids are below this.
    pub size: u32,
    /// Special tokens, sorted: never drawn.
    pub special: Vec<u32>,
}

/// The requests of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// One prompt a group, as token ids.
    pub prompts: Vec<Vec<u32>>,
    /// One row a sequence, group by group.
    pub samples: Vec<Sample>,
}

/// One sequence to be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Index into [`Batch::prompts`].
    pub group: u32,
    /// Which of the prompt's samples.
    pub sample: u32,
    /// Exact response length.
    pub output_tokens: u32,
}
