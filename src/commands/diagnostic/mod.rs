//! `rollbench diagnostic`: would a run work here, and if not, why?

mod engine;
mod report;
mod small;
mod stages;
mod vllm;

pub(crate) use stages::run;
