//! How the main program of an engine comes to be: by a fork of an interpreter that has imported vLLM already and
//! serves the starts of one block, or, cold, by executing Python.

mod starter;

pub(super) use starter::{Descriptors, Starter};

/// The interpreter; it documents itself.
const WARM: &str = include_str!("warm.py");
