//! `StreamPlan` to running tasks: one thread for each task, bounded channels between them.
//!
//! Reading order: `build` (plan to tasks), `task` (the loop), `source_task`, `sink_task`, `chain` (operators that
//! call each other), `channel` and `exchange` (between tasks), `enumerator` (who reads which split), `shutdown`
//! (how all of it stops), `metrics` and `silence` (what is told about it).

mod alignment;
mod build;
mod chain;
mod channel;
mod check;
mod collect;
mod enumerator;
mod exchange;
mod job;
mod metrics;
mod shutdown;
mod silence;
mod sink_task;
mod source_task;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod values;

pub use collect::{Collected, ResultStream, collect};
pub use job::{JobHandle, JobStatus, Progress, ResultEvent, SourceProgress, SplitProgress};

use crate::error::Result;
use crate::plan::StreamPlan;
use crate::state::MemoryBudget;
use crate::time::Clock;
use std::sync::Arc;

/// Most rows in a batch of a reader, unless told otherwise.
pub const BATCH_ROWS: usize = 8192;

/// What a job needs besides its plan.
#[derive(Debug, Clone)]
pub struct JobOptions {
    /// For lists and logs.
    pub name: String,
    /// Tells processing time.
    pub clock: Arc<dyn Clock>,
    /// For connectors over asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// Number of key groups.
    pub max_parallelism: usize,
    /// For keyed state.
    pub memory: Arc<MemoryBudget>,
    /// `table.exec.state.ttl` in milliseconds; 0 keeps state for ever.
    pub state_ttl_ms: u64,
    /// Most rows in a batch of a reader.
    pub batch_rows: usize,
}

impl JobOptions {
    /// Options that suit most jobs: 128 key groups, memory without limit, no time to live.
    pub fn new(name: impl Into<String>, clock: Arc<dyn Clock>, runtime: tokio::runtime::Handle) -> Self {
        let memory = MemoryBudget::unlimited();
        let (max_parallelism, state_ttl_ms, batch_rows) = (128, 0, BATCH_ROWS);
        Self { name: name.into(), clock, runtime, max_parallelism, memory, state_ttl_ms, batch_rows }
    }
}

/// Starts a job's tasks. Connectors are opened by the tasks, so that a slow or failing one can be cancelled: what
/// goes wrong there is told by [`JobHandle::wait`] or the end of the results.
///
/// Errors: a plan that cannot be run.
pub fn start(plan: StreamPlan, options: JobOptions) -> Result<JobHandle> {
    build::start(plan, options, &build::operator)
}
