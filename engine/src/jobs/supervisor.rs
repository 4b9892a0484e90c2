//! The supervisor of a job: runs it, and when it fails runs it again from its latest complete checkpoint, as its
//! restart strategy says. One thread for each job.

use super::restart::{RestartStrategy, Restarts};
use super::settings::CheckpointSettings;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::plan::StreamPlan;
use crate::runtime::{self, JobHandle, JobOptions, JobStatus, SupervisedJob};
use crate::time::Stopwatch;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often the supervisor looks whether its job is to be cancelled.
const LOOK_ROUND: Duration = Duration::from_millis(50);
/// Most sentences kept for the user; later ones are dropped.
const MAX_NOTICES: usize = 200;

/// What a job is started with.
#[derive(Debug)]
pub struct Launch {
    /// The operators; sources and sinks are opened anew in each run.
    pub plan: StreamPlan,
    /// All but checkpoints and what to start from.
    pub options: JobOptions,
    /// Those.
    pub checkpoints: CheckpointSettings,
    /// What happens when it fails.
    pub strategy: RestartStrategy,
}

/// Starts a job that is restarted when it fails.
///
/// Errors: it cannot be started at all: a plan that cannot be run, a savepoint that cannot be restored.
pub fn supervise(mut launch: Launch) -> Result<JobHandle> {
    let run = launch.run(0)?;
    let shared = Arc::new(Shared {
        id: launch.checkpoints.job_id.clone(),
        name: launch.options.name.clone(),
        state: Mutex::new(State {
            current: Some(run),
            status: None,
            cancelled: false,
            restarts: 0,
            last_failure: None,
            notices: Vec::new(),
            result: None,
        }),
        changed: Condvar::new(),
    });
    let seed = u64::from_str_radix(shared.id.get(..16).unwrap_or_default(), 16).unwrap_or_default();
    let restarts = Restarts::new(launch.strategy.clone(), seed);
    let supervisor = Supervisor { shared: shared.clone(), launch, restarts, since: Stopwatch::start() };
    thread::Builder::new()
        .name("supervisor".to_string())
        .spawn(move || supervisor.run())
        .map_err(|e| Error::external(format!("A thread could not be started: {e}.")))?;
    Ok(JobHandle::supervised(shared))
}

impl Launch {
    fn run(&mut self, attempt: u64) -> Result<JobHandle> {
        let mut options = self.options.clone();
        options.job_id = Some(self.checkpoints.job_id.clone());
        options.checkpointing = self.checkpoints.options.clone();
        if let Some(checkpointing) = &mut options.checkpointing {
            checkpointing.attempt = attempt;
        }
        options.restore = self.checkpoints.restore(attempt)?;
        let run = runtime::start(self.plan.clone(), options)?;
        failpoint::hit("restore.running")?;
        Ok(run)
    }
}

/// A job over all its runs.
struct Shared {
    id: String,
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The run at hand, or the last one.
    current: Option<JobHandle>,
    /// `None`: that of the run.
    status: Option<JobStatus>,
    cancelled: bool,
    restarts: u64,
    last_failure: Option<String>,
    /// Of the runs before the one at hand, and of the supervisor.
    notices: Vec<String>,
    result: Option<Result<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn notice(&mut self, sentences: impl IntoIterator<Item = String>) {
        let room = MAX_NOTICES.saturating_sub(self.notices.len());
        self.notices.extend(sentences.into_iter().take(room));
    }
}

impl SupervisedJob for Shared {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn status(&self) -> JobStatus {
        let state = self.lock();
        match (state.status, &state.current) {
            (Some(status), _) => status,
            // What it comes to is the supervisor's to say.
            (None, Some(run)) => match run.status() {
                JobStatus::Failed | JobStatus::Failing => JobStatus::Restarting,
                status => status,
            },
            (None, None) => JobStatus::Restarting,
        }
    }

    fn cancel(&self) {
        let current = {
            let mut state = self.lock();
            state.cancelled = true;
            state.current.clone()
        };
        self.changed.notify_all();
        if let Some(run) = current {
            run.cancel();
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        let waits = |s: &mut State| s.result.is_none();
        let state = match timeout {
            None => self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner),
            Some(t) => {
                let wait = self.changed.wait_timeout_while(self.lock(), t, waits);
                wait.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.result.clone()
    }

    fn current(&self) -> Option<JobHandle> {
        self.lock().current.clone()
    }

    fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    fn last_failure(&self) -> Option<String> {
        self.lock().last_failure.clone()
    }

    fn notices(&self) -> Vec<String> {
        let state = self.lock();
        let mut all = state.notices.clone();
        if state.result.is_none() {
            all.extend(state.current.as_ref().map_or_else(Vec::new, JobHandle::notices));
        }
        all
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    launch: Launch,
    restarts: Restarts,
    since: Stopwatch,
}

impl Supervisor {
    fn run(mut self) {
        let mut attempt = 0;
        loop {
            let run = self.shared.current();
            let result = match &run {
                Some(run) => self.wait(run),
                None => Ok(()),
            };
            if let Some(run) = &run {
                let notices = run.notices();
                self.shared.lock().notice(notices);
                let last = run.checkpoint_stats().and_then(|stats| stats.last);
                if let Some(checkpoint) = last.filter(|last| !last.is_savepoint) {
                    self.launch.checkpoints.note(checkpoint.path);
                }
            }
            let Err(error) = result else {
                return self.end(run.map_or(JobStatus::Finished, |r| r.status()), Ok(()));
            };
            drop(run);
            let mut failure = error;
            // Starting again may fail too, while the place of checkpoints cannot be reached.
            loop {
                if !self.pause(&failure) {
                    return;
                }
                attempt += 1;
                match self.launch.run(attempt) {
                    Ok(run) => {
                        let mut state = self.shared.lock();
                        state.restarts += 1;
                        state.status = None;
                        let cancelled = state.cancelled;
                        state.current = Some(run.clone());
                        drop(state);
                        if cancelled {
                            run.cancel();
                        }
                        break;
                    }
                    Err(error) => failure = error,
                }
            }
        }
    }

    /// Waits for a run's end.
    fn wait(&self, run: &JobHandle) -> Result<()> {
        loop {
            if let Some(result) = run.wait(Some(LOOK_ROUND)) {
                return result;
            }
        }
    }

    /// The job has failed: waits as its strategy says. `false`: it will not run again.
    fn pause(&mut self, failure: &Error) -> bool {
        let delay = self.restarts.failed(self.since.elapsed());
        let mut state = self.shared.lock();
        state.last_failure = Some(failure.to_string());
        let Some(delay) = delay.filter(|_| !state.cancelled) else {
            let cancelled = state.cancelled;
            drop(state);
            if cancelled {
                self.end(JobStatus::Canceled, Ok(()));
            } else {
                self.end(JobStatus::Failed, Err(failure.clone()));
            }
            return false;
        };
        state.status = Some(JobStatus::Restarting);
        state.notice([format!("The job is restarted in {} ms: {failure}", delay.as_millis())]);
        let waits = |s: &mut State| !s.cancelled;
        let wait = self.shared.changed.wait_timeout_while(state, delay, waits);
        let cancelled = wait.unwrap_or_else(PoisonError::into_inner).0.cancelled;
        if cancelled {
            self.end(JobStatus::Canceled, Ok(()));
        }
        !cancelled
    }

    fn end(&self, status: JobStatus, result: Result<()>) {
        let mut state = self.shared.lock();
        state.status = Some(status);
        state.result = Some(result);
        drop(state);
        self.shared.changed.notify_all();
    }
}
