//! Whatever dies, nothing that rollbench started outlives it and nothing else is touched: real processes throughout.

mod guard;
