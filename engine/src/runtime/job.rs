//! `JobHandle`: what the outside holds of a running job.

use super::coordinator::{Checkpoints, no_checkpoints};
use super::metrics::JobMetrics;
use super::shutdown::{Control, lock};
use super::{CheckpointStats, CompletedCheckpoint};
use crate::connector::SplitReading;
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::NodeId;
use crate::time::{Clock, Watermark};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
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
    /// All input has ended and was processed, or it was stopped with a savepoint.
    Finished,
    /// It has failed and waits for its next attempt.
    Restarting,
}

/// A running job. Clones refer to the same job; when the last is dropped, the job is cancelled.
#[derive(Clone)]
pub struct JobHandle(Arc<Job>);

/// Sees a job without holding it: the job goes on or ends without asking the observer.
#[derive(Clone)]
pub struct JobObserver {
    seen: Seen,
    job: Weak<Job>,
}

#[derive(Clone)]
enum Seen {
    Run(Arc<Control>),
    Supervised(Arc<dyn SupervisedJob>),
}

impl JobObserver {
    /// 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        match &self.seen {
            Seen::Run(control) => control.id(),
            Seen::Supervised(job) => job.id(),
        }
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        match &self.seen {
            Seen::Run(control) => control.name(),
            Seen::Supervised(job) => job.name(),
        }
    }

    /// Its state, also after its end.
    pub fn status(&self) -> JobStatus {
        match &self.seen {
            Seen::Run(control) => control.status(),
            Seen::Supervised(job) => job.status(),
        }
    }

    /// A handle, if anybody still holds the job.
    pub fn handle(&self) -> Option<JobHandle> {
        self.job.upgrade().map(JobHandle)
    }
}

/// One run, or a job that is run again and again.
enum Job {
    Run(Run),
    Supervised(Arc<dyn SupervisedJob>),
}

struct Run {
    control: Arc<Control>,
    metrics: Arc<JobMetrics>,
    clock: Arc<dyn Clock>,
    checkpoints: Option<Arc<Checkpoints>>,
    noticed: Mutex<Noticed>,
}

/// What the user was told of a run, in the order in which it was found.
#[derive(Default)]
struct Noticed {
    sentences: Vec<String>,
    /// Those of them that are the checkpoints'.
    of_checkpoints: usize,
    /// The operators that were told of.
    operators: Vec<NodeId>,
}

impl Run {
    fn notices(&self) -> Vec<String> {
        let mut noticed = lock(&self.noticed);
        if let Some(checkpoints) = &self.checkpoints {
            let new = checkpoints.notices().split_off(noticed.of_checkpoints);
            noticed.of_checkpoints += new.len();
            noticed.sentences.extend(new);
        }
        for (operator, sentence) in self.metrics.oversized_keys() {
            if !noticed.operators.contains(&operator) {
                noticed.operators.push(operator);
                noticed.sentences.push(sentence);
            }
        }
        noticed.sentences.clone()
    }
}

/// A job that is restarted when it fails (see `jobs`).
pub trait SupervisedJob: Send + Sync {
    /// 32 hexadecimal digits, the same in all runs.
    fn id(&self) -> &str;
    /// The name that it was given.
    fn name(&self) -> &str;
    /// Its state.
    fn status(&self) -> JobStatus;
    /// Asks it to stop.
    fn cancel(&self);
    /// Waits for its end, as [`JobHandle::wait`].
    fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>>;
    /// The run at hand, or the last one.
    fn current(&self) -> Option<JobHandle>;
    /// How often it was restarted.
    fn restarts(&self) -> u64;
    /// Why it failed last.
    fn last_failure(&self) -> Option<String>;
    /// What the user should know, in sentences, of all runs.
    fn notices(&self) -> Vec<String>;
}

impl Drop for Job {
    fn drop(&mut self) {
        match self {
            Self::Run(run) => run.control.cancel(),
            Self::Supervised(job) => job.cancel(),
        }
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id()).field("status", &self.status()).finish()
    }
}

impl JobHandle {
    pub(super) fn new(
        control: Arc<Control>,
        metrics: Arc<JobMetrics>,
        clock: Arc<dyn Clock>,
        checkpoints: Option<Arc<Checkpoints>>,
    ) -> Self {
        let noticed = Mutex::default();
        Self(Arc::new(Job::Run(Run { control, metrics, clock, checkpoints, noticed })))
    }

    /// A handle of a job that is restarted when it fails.
    pub fn supervised(job: Arc<dyn SupervisedJob>) -> Self {
        Self(Arc::new(Job::Supervised(job)))
    }

    /// Woken with the run, where this is one.
    pub(super) fn control(&self) -> Option<&Arc<Control>> {
        match self.0.as_ref() {
            Job::Run(run) => Some(&run.control),
            Job::Supervised(_) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn control_for_tests(&self) -> Arc<Control> {
        self.control().unwrap().clone()
    }

    /// 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        match self.0.as_ref() {
            Job::Run(run) => run.control.id(),
            Job::Supervised(job) => job.id(),
        }
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        match self.0.as_ref() {
            Job::Run(run) => run.control.name(),
            Job::Supervised(job) => job.name(),
        }
    }

    /// Its state.
    pub fn status(&self) -> JobStatus {
        match self.0.as_ref() {
            Job::Run(run) => run.control.status(),
            Job::Supervised(job) => job.status(),
        }
    }

    /// For lists of jobs.
    pub fn observer(&self) -> JobObserver {
        let seen = match self.0.as_ref() {
            Job::Run(run) => Seen::Run(run.control.clone()),
            Job::Supervised(job) => Seen::Supervised(job.clone()),
        };
        JobObserver { seen, job: Arc::downgrade(&self.0) }
    }

    /// Asks all tasks to stop. Returns at once; `wait` tells when they have. Does nothing to a job that has
    /// ended.
    pub fn cancel(&self) {
        match self.0.as_ref() {
            Job::Run(run) => run.control.cancel(),
            Job::Supervised(job) => job.cancel(),
        }
    }

    /// Waits for the end, at most `timeout` (`None`: as long as it takes). `None` if it still runs. A cancelled
    /// job has ended well. Threads that hang in a connector are given up five seconds after the job was stopped.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        match self.0.as_ref() {
            Job::Run(run) => run.control.wait(timeout),
            Job::Supervised(job) => job.wait(timeout),
        }
    }

    /// How far it has come, since it was started last.
    pub fn progress(&self) -> Progress {
        match self.0.as_ref() {
            Job::Run(run) => run.metrics.progress(run.clock.as_ref()),
            Job::Supervised(job) => job.current().map(|c| c.progress()).unwrap_or_default(),
        }
    }

    fn with_checkpoints<T>(&self, f: impl FnOnce(&Checkpoints) -> Result<T>) -> Result<T> {
        match self.0.as_ref() {
            Job::Run(run) => run.checkpoints.as_ref().map_or_else(|| Err(no_checkpoints()), |c| f(c)),
            Job::Supervised(job) => match job.current() {
                Some(run) => run.with_checkpoints(f),
                None => Err(Error::user("The job is being restarted.").with_hint("Try again when it runs.")),
            },
        }
    }

    /// Takes a checkpoint now, and waits until it is complete.
    ///
    /// Errors: the job takes none, has ended, or the checkpoint failed.
    pub fn checkpoint(&self) -> Result<CompletedCheckpoint> {
        self.with_checkpoints(Checkpoints::checkpoint)
    }

    /// Takes a savepoint below `directory` (`None`: `state.savepoints.dir`), and waits until it is complete. The job
    /// goes on.
    ///
    /// Errors: as [`Self::checkpoint`]; it is not known where savepoints go.
    pub fn savepoint(&self, directory: Option<&str>) -> Result<CompletedCheckpoint> {
        self.with_checkpoints(|c| c.savepoint(directory))
    }

    /// Stops the job with a savepoint, and waits until that is complete; `wait` tells when the job has ended. With
    /// `drain`, event time goes to its end first: all windows fire.
    ///
    /// Errors: as [`Self::savepoint`]. If the savepoint failed while it was taken, the job has failed, and goes on from
    /// its last checkpoint where it is restarted.
    pub fn stop(&self, drain: bool, directory: Option<&str>) -> Result<CompletedCheckpoint> {
        self.with_checkpoints(|c| c.stop(drain, directory))
    }

    /// How its checkpoints stand, since it was started last; `None` where none are taken.
    pub fn checkpoint_stats(&self) -> Option<CheckpointStats> {
        self.with_checkpoints(|c| Ok(c.stats())).ok()
    }

    /// How often it was restarted.
    pub fn restarts(&self) -> u64 {
        match self.0.as_ref() {
            Job::Run(_) => 0,
            Job::Supervised(job) => job.restarts(),
        }
    }

    /// Why it failed last, if it ever did.
    pub fn last_failure(&self) -> Option<String> {
        match self.0.as_ref() {
            Job::Run(run) => run.control.result().and_then(|r| r.err()).map(|e| e.to_string()),
            Job::Supervised(job) => job.last_failure(),
        }
    }

    /// What the user should know, in sentences, the oldest first: checkpoints that were passed over, failed ones,
    /// restarts, keys with more state than the memory budget. Grows while the job runs, up to a limit.
    pub fn notices(&self) -> Vec<String> {
        match self.0.as_ref() {
            Job::Run(run) => run.notices(),
            Job::Supervised(job) => job.notices(),
        }
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
    /// Each chain of operators that runs in tasks of its own.
    pub tasks: Vec<TaskProgress>,
    /// In sentences, what holds the output back, worst first: `partition 3 of orders has had no rows for
    /// 12 s and holds the watermark at …; 3 windows wait; the next fires at …`. Empty if nothing does.
    pub silence: Vec<String>,
}

/// What the tasks of one chain of operators have spent their time on; the rest they were busy.
#[derive(Debug, Clone, Default)]
pub struct TaskProgress {
    /// A number, unique in the job, and the first operator's name.
    pub name: String,
    /// Number of tasks.
    pub parallelism: usize,
    /// Time without anything to do, of all tasks together, since they began.
    pub idle: Duration,
    /// Time in which what comes behind took nothing more.
    pub back_pressured: Duration,
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
    /// Commits of offsets for others to see that worked.
    pub commits_succeeded: u64,
    /// Those that did not.
    pub commits_failed: u64,
    /// How far behind the end, -1 if unknown.
    pub lag: i64,
    /// Its splits, where the table has a watermark.
    pub splits: Vec<SplitProgress>,
    /// How far each split is read, where the connector tells, by its id.
    pub readings: Vec<(Arc<str>, SplitReading)>,
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
