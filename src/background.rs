//! Long work beside the event loop, which meanwhile hears signals.

/// Runs `work` on a thread of its own. Whoever drops the future waits for nothing: the thread ends when its work does, or
/// with the process.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Nobody aborts it, so that it can only have panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
