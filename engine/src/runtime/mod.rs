//! `StreamPlan` to running tasks: one thread for each task, bounded channels between them.
//!
//! Reading order: `build` (plan to tasks), `task` (the loop), `source_task`, `sink_task`, `chain` (operators that
//! call each other), `channel` and `exchange` (between tasks), `enumerator` (who reads which split), `shutdown`
//! (how all of it stops), `metrics` and `silence` (what is told about it). For checkpoints: `coordinator` (triggers
//! and completes them), `alignment` (barriers), `snapshot` (a task's part), `restore` (going back to one).

mod alignment;
mod build;
mod chain;
mod channel;
mod check;
mod collect;
mod coordinator;
mod enumerator;
mod exchange;
mod job;
mod metrics;
mod options;
mod restore;
mod shutdown;
mod silence;
mod sink_task;
mod snapshot;
mod source_task;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod values;
mod wait_time;

pub use collect::{Collected, ResultStream, collect};
pub use job::{
    JobHandle, JobObserver, JobStatus, Progress, ResultEvent, SourceProgress, SplitProgress, SupervisedJob,
    TaskProgress,
};
pub use options::{
    BATCH_ROWS, CheckpointMode, CheckpointOptions, CheckpointStats, CompletedCheckpoint, JobOptions,
    ReadGate, RestoreOptions, job_id,
};

use crate::error::Result;
use crate::plan::StreamPlan;

/// Starts a job's tasks. Connectors are opened by the tasks, so that a slow or failing one can be cancelled: what
/// goes wrong there is told by [`JobHandle::wait`] or the end of the results.
///
/// Errors: a plan that cannot be run.
pub fn start(plan: StreamPlan, options: JobOptions) -> Result<JobHandle> {
    build::start(plan, options, &build::operator)
}
