//! `StreamPlan` to running tasks: one thread for each task, bounded channels between them.

mod job;

pub use job::{JobHandle, JobStatus, Progress, ResultEvent, ResultStream, SourceProgress, SplitProgress};

use crate::connector::Sink;
use crate::error::Result;
use crate::plan::StreamPlan;
use crate::time::Clock;
use std::sync::Arc;

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
}

/// Starts a job's tasks.
///
/// Errors: a source or sink that cannot be opened.
pub fn start(plan: StreamPlan, options: JobOptions) -> Result<JobHandle> {
    let _ = (plan, options);
    Err(crate::Error::internal("not written"))
}

/// A sink whose rows are read by [`Collected::results`], for SELECT.
pub fn collect() -> (Arc<dyn Sink>, Collected) {
    unimplemented!()
}

/// The reading end of [`collect`].
#[derive(Debug)]
pub struct Collected {}

impl Collected {
    /// The rows of `job`, whose plan writes to the sink made with this.
    pub fn results(self, job: JobHandle) -> ResultStream {
        let _ = job;
        unimplemented!()
    }
}
