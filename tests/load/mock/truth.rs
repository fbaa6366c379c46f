//! What the mock really did.

use serde::{Deserialize, Serialize};

/// Everything since the last time it was asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Truth {
    /// Requests in the order of their arrival.
    pub(crate) requests: Vec<TrueRequest>,
    /// Most responses that were open at once.
    pub(crate) peak: u32,
    /// Open now.
    #[serde(skip)]
    pub(crate) open: u32,
}

/// One request. Times are `CLOCK_MONOTONIC` in nanoseconds, taken just before the write.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrueRequest {
    /// The first token id of its prompt.
    pub(crate) key: u32,
    /// Token ids (or bytes of text) in its prompt.
    pub(crate) prompt: u32,
    /// When all of it was read.
    pub(crate) received_ns: u64,
    /// When the head of the response was written.
    pub(crate) head_ns: u64,
    /// Chat's role-only chunk.
    pub(crate) role_ns: Option<u64>,
    /// When each chunk of each choice was written.
    pub(crate) write_ns: Vec<Vec<u64>>,
    /// Tokens in each of them.
    pub(crate) tokens: Vec<Vec<u32>>,
    /// When the response ended; absent if it did not.
    pub(crate) end_ns: Option<u64>,
    /// `Authorization`, so that a test can see the key arrive.
    pub(crate) authorization: Option<String>,
}
