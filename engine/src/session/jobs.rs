//! `SHOW JOBS`, `DESCRIBE JOB`, `STOP JOB`: the jobs of this session, and those of a server where there is one.

use super::show::{rows, text};
use crate::error::{Error, Result, nearest};
use crate::outcome::Outcome;
use crate::runtime::{JobHandle, JobObserver, JobStatus};
use crate::sql::{JobName, JobStatement};
use chrono::{DateTime, Utc};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most jobs of a session that are remembered; the oldest that have ended go first.
const MAX_REMEMBERED: usize = 100;
/// How long a job that was stopped may take to end, in seconds.
const STOP_PATIENCE_SECONDS: u64 = 30;

/// Jobs that live outside of the session: those of a server.
pub trait JobHost: Send + Sync {
    /// All of them.
    ///
    /// Errors: the server cannot be asked.
    fn jobs(&self) -> Result<Vec<JobLine>>;

    /// Stops one, by its id; with a savepoint, its path is returned.
    ///
    /// Errors: it does not run, or the savepoint could not be taken.
    fn stop(&self, id: &str, savepoint: bool, drain: bool) -> Result<Option<String>>;
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLine {
    /// 32 hexadecimal digits.
    pub id: String,
    /// As it was given.
    pub name: String,
    /// Flink's word.
    pub status: String,
    /// In milliseconds since the epoch.
    pub start_ms: i64,
}

/// The jobs that a session knows of.
#[derive(Default)]
pub(super) struct Jobs {
    own: Mutex<VecDeque<Own>>,
    host: Option<Arc<dyn JobHost>>,
}

struct Own {
    job: JobObserver,
    start_ms: i64,
}

impl Jobs {
    pub(super) fn set_host(&mut self, host: Arc<dyn JobHost>) {
        self.host = Some(host);
    }

    fn own(&self) -> MutexGuard<'_, VecDeque<Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a job that was started at `start_ms`.
    pub(super) fn started(&self, job: &JobHandle, start_ms: i64) {
        let mut own = self.own();
        if own.len() >= MAX_REMEMBERED {
            let ended = own.iter().position(|o| has_ended(o.job.status()));
            own.remove(ended.unwrap_or(0));
        }
        own.push_back(Own { job: job.observer(), start_ms });
    }

    /// Executes a statement about jobs.
    ///
    /// Errors: there is no such job, or it cannot be stopped as asked.
    pub(super) fn execute(&self, statement: &JobStatement, zone: chrono_tz::Tz) -> Result<Outcome> {
        match statement {
            JobStatement::Show => Ok(table(&self.lines()?, zone)),
            JobStatement::Describe(job) => {
                let line = self.lines()?.into_iter().find(|l| l.id == job.id);
                let Some(line) = line else {
                    let message = format!("Described job {} does not exist in the cluster.", job.id);
                    return Err(self.unknown(message, job));
                };
                Ok(table(&[line], zone))
            }
            JobStatement::Stop { job, savepoint, drain } => {
                let path = self.stop(job, *savepoint, *drain).map_err(|e| e.at(job.span))?;
                Ok(path.map_or(Outcome::Done, |path| rows(vec![("savepoint path", text([path]))])))
            }
        }
    }

    /// The session's jobs, then the server's.
    fn lines(&self) -> Result<Vec<JobLine>> {
        let mut lines: Vec<JobLine> = self
            .own()
            .iter()
            .map(|own| JobLine {
                id: own.job.id().to_string(),
                name: own.job.name().to_string(),
                status: format!("{:?}", own.job.status()).to_uppercase(),
                start_ms: own.start_ms,
            })
            .collect();
        if let Some(host) = &self.host {
            lines.extend(host.jobs()?);
        }
        Ok(lines)
    }

    fn unknown(&self, message: String, job: &JobName) -> Error {
        let lines = self.lines().unwrap_or_default();
        let by_name = lines.iter().find(|l| l.name == job.id).map(|l| l.id.as_str());
        let hint = match by_name.or_else(|| nearest(&job.id, lines.iter().map(|l| l.id.as_str()))) {
            Some(near) => format!("Did you mean '{near}'?"),
            None => "SHOW JOBS lists the ids.".to_string(),
        };
        Error::user(message).with_hint(hint).at(job.span)
    }

    fn stop(&self, job: &JobName, savepoint: bool, drain: bool) -> Result<Option<String>> {
        let own = self.own().iter().find(|o| o.job.id() == job.id).map(|o| o.job.clone());
        let Some(own) = own else {
            let hosted = self.lines()?.into_iter().any(|l| l.id == job.id);
            return match &self.host {
                Some(host) if hosted => host.stop(&job.id, savepoint, drain),
                _ => Err(self.unknown(format!("There is no job {}.", job.id), job)),
            };
        };
        let Some(handle) = own.handle().filter(|_| !has_ended(own.status())) else {
            let status = format!("{:?}", own.status()).to_uppercase();
            return Err(Error::user(format!("Job {} has ended: it is {status}.", job.id)));
        };
        let path = if savepoint {
            Some(handle.stop(drain, None)?.path)
        } else {
            handle.cancel();
            None
        };
        // How it ended is told where the job was started.
        let _ = handle.wait(Some(Duration::from_secs(STOP_PATIENCE_SECONDS)));
        Ok(path)
    }
}

fn has_ended(status: JobStatus) -> bool {
    matches!(status, JobStatus::Failed | JobStatus::Canceled | JobStatus::Finished)
}

fn table(lines: &[JobLine], zone: chrono_tz::Tz) -> Outcome {
    let time = |ms: i64| {
        let time = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
        time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    };
    rows(vec![
        ("job id", text(lines.iter().map(|l| l.id.clone()))),
        ("job name", text(lines.iter().map(|l| l.name.clone()))),
        ("status", text(lines.iter().map(|l| l.status.clone()))),
        ("start time", text(lines.iter().map(|l| time(l.start_ms)))),
    ])
}
