//! What may change only with a line in CHANGELOG.md: what is made of records of every kind, every help text, every key of
//! the configuration, every exit code. `ROLLBENCH_BLESS=1` writes the goldens anew; the records beside them stay.

mod exits;
mod help;
mod keys;
mod outputs;
mod recompute;
mod support;
