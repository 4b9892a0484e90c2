//! How a job stops: its state, its first error, and the waking of all that blocks.

use super::JobStatus;
use crate::error::{Error, Result};
use crate::time::Stopwatch;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long a stopped job waits for threads that do not come back from a connector.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a wait looks whether patience is at its end.
const WAIT_SLICE: Duration = Duration::from_millis(100);

/// Locks, also after a panic of another holder: what we guard stays consistent between statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a sleeper is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The job is being cancelled or fails: give up.
    Stopping,
    /// All threads have ended.
    Ended,
}

/// Something that blocks threads and lets them go when the job stops.
pub(super) trait Wake: Send + Sync {
    /// Called once for each event, from any thread; must not block.
    fn wake(&self, event: Event);
}

/// State of a job, shared by its handle and its threads.
pub(super) struct Control {
    id: String,
    name: String,
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    sleepers: Mutex<Vec<Weak<dyn Wake>>>,
}

struct State {
    status: JobStatus,
    error: Option<Error>,
    /// Threads that have not opened their connector yet.
    opening: usize,
    /// Threads that have not ended.
    running: usize,
    stopping_since: Option<Stopwatch>,
}

impl Control {
    /// A job of `threads` threads, none of which runs yet.
    pub(super) fn new(id: String, name: String, threads: usize) -> Arc<Self> {
        let state = State {
            status: JobStatus::Created,
            error: None,
            opening: threads,
            running: threads,
            stopping_since: None,
        };
        Arc::new(Self {
            id,
            name,
            stopping: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
            sleepers: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn status(&self) -> JobStatus {
        lock(&self.state).status
    }

    /// Whether all must stop now.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// `sleeper` is woken when the job stops; at once if it is stopping.
    pub(super) fn register(&self, sleeper: &Arc<impl Wake + 'static>) {
        let weak = Arc::downgrade(sleeper);
        let weak: Weak<dyn Wake> = weak;
        lock(&self.sleepers).push(weak);
        if self.is_stopping() {
            sleeper.wake(Event::Stopping);
        }
        if lock(&self.state).running == 0 {
            sleeper.wake(Event::Ended);
        }
    }

    /// The user's wish to stop.
    pub(super) fn cancel(&self) {
        self.stop(JobStatus::Cancelling, None);
    }

    /// A thread has failed. Only the first error counts: those that follow come of the stopping.
    pub(super) fn fail(&self, error: Error) {
        self.stop(JobStatus::Failing, Some(error));
    }

    fn stop(&self, status: JobStatus, error: Option<Error>) {
        {
            let mut state = lock(&self.state);
            if !matches!(state.status, JobStatus::Created | JobStatus::Running) {
                return;
            }
            state.status = status;
            state.error = error;
            state.stopping_since = Some(Stopwatch::start());
            self.stopping.store(true, Ordering::Release);
        }
        self.wake_all(Event::Stopping);
        self.changed.notify_all();
    }

    /// A thread is ready for rows.
    pub(super) fn opened(&self) {
        let mut state = lock(&self.state);
        state.opening = state.opening.saturating_sub(1);
        if state.opening == 0 && state.status == JobStatus::Created {
            state.status = JobStatus::Running;
        }
    }

    /// A thread has ended, well or not.
    pub(super) fn ended(&self) {
        {
            let mut state = lock(&self.state);
            state.running = state.running.saturating_sub(1);
            if state.running > 0 {
                return;
            }
            state.status = match state.status {
                JobStatus::Failing => JobStatus::Failed,
                JobStatus::Cancelling => JobStatus::Canceled,
                _ => JobStatus::Finished,
            };
        }
        self.wake_all(Event::Ended);
        self.changed.notify_all();
    }

    fn wake_all(&self, event: Event) {
        let sleepers: Vec<_> = lock(&self.sleepers).iter().filter_map(Weak::upgrade).collect();
        for sleeper in sleepers {
            sleeper.wake(event);
        }
    }

    /// How the job ended; `None` while it runs.
    pub(super) fn result(&self) -> Option<Result<()>> {
        let state = lock(&self.state);
        let given_up = state.stopping_since.is_some_and(|s| s.elapsed() >= PATIENCE);
        (state.running == 0 || given_up).then(|| state.error.clone().map_or(Ok(()), Err))
    }

    /// Waits for the end, at most `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        let watch = Stopwatch::start();
        loop {
            if let Some(result) = self.result() {
                return Some(result);
            }
            let left = timeout.map_or(WAIT_SLICE, |t| t.saturating_sub(watch.elapsed()));
            if left.is_zero() {
                return None;
            }
            let state = lock(&self.state);
            let wait = self.changed.wait_timeout_while(state, left.min(WAIT_SLICE), |s| s.running > 0);
            drop(wait.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What a blocked call gives when its job stops. Never seen outside: the job's own error was first.
pub(super) fn stopped() -> Error {
    Error::internal("The job is being stopped.")
}
