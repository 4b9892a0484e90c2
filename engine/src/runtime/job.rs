//! `JobHandle`: what the outside holds of a running job.

use super::metrics::JobMetrics;
use super::shutdown::Control;
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::time::{Clock, Watermark};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// State of a job, Flink's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Tasks are being started.
    Created,
    /// All tasks run.
    Running,
    /// A task has failed; the others are being stopped.
    Failing,
    /// It has failed.
    Failed,
    /// `cancel` was called; tasks are being stopped.
    Cancelling,
    /// It was cancelled.
    Canceled,
    /// All input has ended and was processed.
    Finished,
}

/// A running job. Clones refer to the same job; when the last is dropped, the job is cancelled.
#[derive(Clone)]
pub struct JobHandle(Arc<Job>);

struct Job {
    control: Arc<Control>,
    metrics: Arc<JobMetrics>,
    clock: Arc<dyn Clock>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.control.cancel();
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id()).field("status", &self.status()).finish()
    }
}

impl JobHandle {
    pub(super) fn new(control: Arc<Control>, metrics: Arc<JobMetrics>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Job { control, metrics, clock }))
    }

    pub(super) fn control(&self) -> &Control {
        &self.0.control
    }

    #[cfg(test)]
    pub(super) fn control_for_tests(&self) -> Arc<Control> {
        self.0.control.clone()
    }

    /// 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.0.control.id()
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        self.0.control.name()
    }

    /// Its state.
    pub fn status(&self) -> JobStatus {
        self.0.control.status()
    }

    /// Asks all tasks to stop. Returns at once; `wait` tells when they have. Does nothing to a job that has
    /// ended.
    pub fn cancel(&self) {
        self.0.control.cancel();
    }

    /// Waits for the end, at most `timeout` (`None`: as long as it takes). `None` if it still runs. A cancelled
    /// job has ended well. Threads that hang in a connector are given up five seconds after the job was stopped.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        self.0.control.wait(timeout)
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.0.metrics.progress(self.0.clock.as_ref())
    }
}

/// How far a job has come, for the status line, and why it is silent.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Rows read by all sources.
    pub rows_in: u64,
    /// Rows given to all sinks.
    pub rows_out: u64,
    /// Rows dropped because their windows had fired.
    pub late_rows: u64,
    /// Rows dropped because their event time was NULL.
    pub null_time_rows: u64,
    /// Records that did not decode and were skipped.
    pub skipped_rows: u64,
    /// The least watermark of all sinks' inputs; `None` where there is none yet.
    pub watermark: Option<Watermark>,
    /// Windows that are open.
    pub open_windows: u64,
    /// The watermark that fires the next window.
    pub next_fire: Option<Watermark>,
    /// Bytes of state that the job's operators hold in memory.
    pub state_bytes: u64,
    /// Bytes of keyed state in memory of all jobs that share the budget; its limit in bytes, 0 without one; bytes
    /// of state that are on disk for want of room.
    pub memory_used: u64,
    /// See `memory_used`.
    pub memory_total: u64,
    /// See `memory_used`.
    pub spilled_bytes: u64,
    /// Each source.
    pub sources: Vec<SourceProgress>,
    /// In sentences, what holds the output back, worst first: `partition 3 of orders has had no rows for
    /// 12 s and holds the watermark at …; 3 windows wait; the next fires at …`. Empty if nothing does.
    pub silence: Vec<String>,
}

/// How far one source has come.
#[derive(Debug, Clone, Default)]
pub struct SourceProgress {
    /// Full name of the table.
    pub table: String,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How far behind the end, -1 if unknown.
    pub lag: i64,
    /// Its splits, where the table has a watermark.
    pub splits: Vec<SplitProgress>,
}

/// How far one split has come.
#[derive(Debug, Clone)]
pub struct SplitProgress {
    /// Its id.
    pub split: String,
    /// Its watermark; `None` before the first row.
    pub watermark: Option<Watermark>,
    /// Whether it is left out as idle.
    pub idle: bool,
}

/// What a [`ResultStream`](super::ResultStream) has.
#[derive(Debug)]
pub enum ResultEvent {
    /// Rows.
    Batch(ChangeBatch),
    /// Nothing came within the time given.
    Pending,
    /// The job has ended; nothing more comes.
    End(Result<()>),
}
