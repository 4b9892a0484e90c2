//! Room for recursion: deep statements are read and planned on a stack of their own.

use crate::error::{Error, Result};

/// Stack of [`with_large_stack`], in bytes; only what is used becomes memory.
const STACK_BYTES: usize = 64 << 20;

/// Runs `work` in a thread with a large stack, and waits for it. What recurses over a statement's tree
/// (parsing, planning) belongs here: the user's SQL sets the depth.
///
/// Errors: those of `work`; external, if the system gives no thread.
pub fn with_large_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sql".into()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work).map_err(|e| {
            Error::external(format!("The system gives no thread to read the statement: {e}."))
        })?;
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
