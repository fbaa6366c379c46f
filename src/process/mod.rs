//! Supervision: every process that rollbench starts is ended and accounted for. The only room with `unsafe`; knows nothing of vLLM.
