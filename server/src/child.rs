//! The child's side: runs one job, tells its server about it, and ends when the server is gone.

use crate::folder::{JobFolder, Lock};
use crate::model::{Checkpoint, Failure, JobState, Progress, Source, SourceSplit};
use crate::protocol::{self, Command, Event, Task};
use crate::usage::{Usage, task_times};
use engine::connector::SplitReading;
use engine::jobs::{JOB_ID, LATEST_CHECKPOINT};
use engine::runtime::{JobHandle, JobStatus, TaskProgress};
use engine::sql;
use engine::time::{Clock, Stopwatch, SystemClock};
use engine::{Error, Outcome, Result, Session};
use std::io::BufReader;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the job is looked at, in milliseconds.
const TICK_MS: u64 = 20;
/// How often progress is told, in milliseconds.
const PROGRESS_MS: u64 = 1000;
/// Commands that may wait.
const COMMANDS: usize = 16;
/// How long an earlier process of the same job may take to go, in seconds.
const LOCK_PATIENCE_SECONDS: u64 = 30;
/// How long a cancelled job may take to stop before the process ends without it, in milliseconds.
const STOP_PATIENCE_MS: u64 = 10_000;
/// How long the process may take to end once its server is gone, in seconds.
const EXIT_PATIENCE_SECONDS: u64 = 2;
/// Exit code when the server is gone.
const EXIT_ORPHAN: i32 = 3;

/// Settings of a deployed job unless its script says otherwise, as the Studio guide gives them.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("execution.checkpointing.interval", "60 s"),
    ("execution.checkpointing.min-pause", "5 s"),
    ("execution.checkpointing.timeout", "60 min"),
    ("execution.checkpointing.num-retained", "1"),
];

/// Runs the job that the server on the other end of standard input asks for, until it ends.
///
/// Errors: no server on the other end. What goes wrong with the job is told to the server.
pub fn run(make: impl FnOnce(&Task) -> Result<Session>) -> Result<()> {
    let lost = |e: std::io::Error| {
        Error::user(format!("`runnel run-job` is started by `runnel server`, not by hand ({e})."))
            .with_hint("Write `runnel deploy FILE.sql`.")
    };
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(lost)?);
    socket.peer_addr().map_err(lost)?;
    let mut input = BufReader::new(socket.try_clone().map_err(lost)?);
    let task: Task = match protocol::receive(&mut input) {
        Ok(Some(task)) => task,
        Ok(None) => return Ok(()),
        Err(e) => return Err(lost(e)),
    };
    let (sender, commands) = sync_channel(COMMANDS);
    std::thread::Builder::new()
        .name("commands".into())
        .spawn(move || listen(input, &sender))
        .map_err(|e| Error::external(format!("A thread cannot be started: {e}.")))?;
    let server = Server(Arc::new(Mutex::new(socket)));
    let ended = match Runner::start(&task, &server, make) {
        Ok(mut runner) => runner.run(&commands),
        // What fails before the job runs fails again: the script, not the weather.
        Err(e) => Event::Ended { status: JobState::Failed, retry: e.retry(), failure: Some(failure(&e)) },
    };
    server.tell(&ended);
    Ok(())
}

/// Passes commands on. When the server is gone the process ends at once: the server that comes next starts the job
/// again, and it must not run twice.
fn listen(mut input: BufReader<UnixStream>, commands: &SyncSender<Command>) {
    while let Ok(Some(command)) = protocol::receive(&mut input) {
        if commands.send(command).is_err() {
            return;
        }
    }
    // Exit handlers of libraries may hang; nothing may keep this process.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(EXIT_PATIENCE_SECONDS));
        std::process::abort();
    });
    std::process::exit(EXIT_ORPHAN);
}

/// The server, as the child sees it.
#[derive(Clone)]
struct Server(Arc<Mutex<UnixStream>>);

impl Server {
    /// Tells it. One that is gone is noticed by the thread that listens.
    fn tell(&self, event: &Event) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = protocol::send(&mut *socket, event);
    }
}

struct Runner {
    job: JobHandle,
    server: Server,
    session: Session,
    /// Held as long as the job runs.
    _lock: Lock,
    told: Option<JobState>,
    last: Progress,
    since: Stopwatch,
    rates: (u64, u64),
    tasks: Vec<TaskProgress>,
    cpu: Duration,
    /// Complete and failed checkpoints, and notices, that were told.
    checkpoints: (u64, u64),
    notices: usize,
    restored_told: bool,
    /// Savepoints that are being taken.
    taking: Vec<JoinHandle<()>>,
}

impl Runner {
    fn start(task: &Task, server: &Server, make: impl FnOnce(&Task) -> Result<Session>) -> Result<Self> {
        let folder = JobFolder::at(&task.folder);
        let lock = take_lock(&folder)?;
        let mut session = make(task)?;
        prepare(&mut session, task)?;
        let job = submit(&mut session, task)?;
        Ok(Self {
            job,
            server: server.clone(),
            session,
            _lock: lock,
            told: None,
            last: Progress::default(),
            since: Stopwatch::start(),
            rates: (0, 0),
            tasks: Vec::new(),
            cpu: Duration::ZERO,
            checkpoints: (0, 0),
            notices: 0,
            restored_told: false,
            taking: Vec::new(),
        })
    }

    /// Until the job ends.
    fn run(&mut self, commands: &Receiver<Command>) -> Event {
        let mut cancelled: Option<Stopwatch> = None;
        let mut progress_due = Stopwatch::start();
        self.tell_progress();
        loop {
            // What it starts from is told before it runs.
            self.tell_checkpoints();
            self.tell_status();
            if let Some(result) = self.job.wait(Some(Duration::ZERO)) {
                // A job that was stopped has its savepoint; that is told before its end.
                for taking in std::mem::take(&mut self.taking) {
                    let _ = taking.join();
                }
                self.tell_checkpoints();
                self.tell_progress();
                return ended(self.job.status(), result);
            }
            if cancelled.is_some_and(|since| since.elapsed() > Duration::from_millis(STOP_PATIENCE_MS)) {
                self.notice("The job does not stop; its process ends without it.", true);
                return Event::Ended { status: JobState::Canceled, failure: None, retry: false };
            }
            if progress_due.elapsed() >= Duration::from_millis(PROGRESS_MS) {
                progress_due = Stopwatch::start();
                self.tell_progress();
            }
            match commands.recv_timeout(Duration::from_millis(TICK_MS)) {
                Ok(Command::Cancel) => {
                    self.job.cancel();
                    cancelled.get_or_insert_with(Stopwatch::start);
                }
                Ok(Command::Savepoint { directory }) => self.savepoint(directory, None),
                Ok(Command::Stop { directory, drain }) => self.savepoint(directory, Some(drain)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// Takes a savepoint beside the loop; `stop` ends the job with it.
    fn savepoint(&mut self, directory: Option<String>, stop: Option<bool>) {
        let (job, server) = (self.job.clone(), self.server.clone());
        let taking = std::thread::spawn(move || {
            server.tell(&match take_savepoint(&job, directory.as_deref(), stop) {
                Ok(path) => Event::Savepoint { path },
                Err(e) => Event::SavepointFailed { failure: failure(&e) },
            });
        });
        self.taking.retain(|t| !t.is_finished());
        self.taking.push(taking);
    }

    fn notice(&self, message: &str, warning: bool) {
        self.server.tell(&Event::Notice { message: message.to_string(), warning });
    }

    fn tell_status(&mut self) {
        let status = state(self.job.status());
        if self.told != Some(status) && !status.is_final() {
            self.told = Some(status);
            self.server.tell(&Event::Status { status });
        }
    }

    /// Tells of checkpoints that are new, and of what this run began with.
    fn tell_checkpoints(&mut self) {
        let Some(stats) = self.job.checkpoint_stats() else { return };
        if !std::mem::replace(&mut self.restored_told, true)
            && let Some((id, path)) = &stats.restored_from
        {
            self.notice(&format!("It starts from checkpoint {id}: {path}"), false);
        }
        let (completed, failed) = std::mem::replace(&mut self.checkpoints, (stats.completed, stats.failed));
        if stats.failed > failed {
            let reason = stats.last_failure.unwrap_or_default();
            self.server.tell(&Event::CheckpointFailed { count: stats.failed - failed, reason });
        }
        if let Some(last) = stats.last.filter(|last| stats.completed > completed && !last.is_savepoint) {
            let checkpoint = Checkpoint {
                id: last.id,
                path: last.path,
                at_ms: last.triggered_at_ms + last.duration_ms as i64,
                duration_ms: last.duration_ms,
                bytes: last.bytes,
            };
            self.server.tell(&Event::Checkpoint { count: stats.completed - completed, checkpoint });
        }
    }

    fn tell_progress(&mut self) {
        let notices = self.job.notices();
        for notice in notices.get(self.notices..).unwrap_or_default() {
            self.notice(notice, true);
        }
        self.notices = notices.len();
        let progress = self.job.progress();
        let seconds =
            std::mem::replace(&mut self.since, Stopwatch::start()).elapsed().as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let (rows_in, rows_out) = (progress.rows_in, progress.rows_out);
        let (rows_in_per_second, rows_out_per_second) =
            (rate(rows_in, self.rates.0), rate(rows_out, self.rates.1));
        self.rates = (rows_in, rows_out);
        let usage = Usage::now();
        self.last = Progress {
            at_ms: SystemClock.now_ms(),
            rows_in,
            rows_out,
            rows_in_per_second,
            rows_out_per_second,
            late_rows: progress.late_rows,
            null_time_rows: progress.null_time_rows,
            skipped_rows: progress.skipped_rows,
            watermark_ms: progress.watermark.map(|w| w.0),
            open_windows: progress.open_windows,
            memory_used: progress.memory_used,
            memory_total: progress.memory_total,
            sources: progress.sources.iter().map(|s| self.source(s, seconds)).collect(),
            tasks: task_times(&progress.tasks, &self.tasks, seconds),
            cpu_percent: usage.map(|u| u.cpu.saturating_sub(self.cpu).as_secs_f64() / seconds * 100.0),
            threads: usage.map(|u| u.threads),
            silence: progress.silence,
        };
        self.tasks = progress.tasks;
        self.cpu = usage.map_or(Duration::ZERO, |u| u.cpu);
        self.server.tell(&Event::Progress { progress: self.last.clone() });
    }

    /// `seconds` have passed since this was last told.
    fn source(&self, source: &engine::runtime::SourceProgress, seconds: f64) -> Source {
        let before = self.last.sources.iter().find(|s| s.table == source.table);
        let rate = |now: u64, before: Option<u64>| now.saturating_sub(before.unwrap_or(0)) as f64 / seconds;
        let parts: Vec<String> = source.table.split('.').map(String::from).collect();
        Source {
            table: source.table.clone(),
            connector: self.session.table_option(&parts, "connector").unwrap_or_default(),
            rows: source.rows,
            bytes: source.bytes,
            commits_succeeded: source.commits_succeeded,
            commits_failed: source.commits_failed,
            lag: source.lag,
            watermark_ms: source.splits.iter().filter_map(|s| s.watermark).min().map(|w| w.0),
            bytes_per_second: rate(source.bytes, before.map(|s| s.bytes)),
            rows_per_second: rate(source.rows, before.map(|s| s.rows)),
            splits: source.readings.iter().map(split).collect(),
        }
    }
}

fn split((split, reading): &(Arc<str>, SplitReading)) -> SourceSplit {
    SourceSplit {
        split: split.to_string(),
        current_offset: reading.current_offset,
        committed_offset: reading.committed_offset,
        lag: reading.lag,
    }
}

/// Waits for an earlier process of the same job to be gone.
fn take_lock(folder: &JobFolder) -> Result<Lock> {
    let since = Stopwatch::start();
    loop {
        if let Some(lock) = Lock::take(&folder.lock())? {
            return Ok(lock);
        }
        if since.elapsed() > Duration::from_secs(LOCK_PATIENCE_SECONDS) {
            return Err(Error::external(format!(
                "An earlier process of this job still holds {}.",
                folder.lock().display()
            ))
            .with_hint("End that process; the job then starts by itself."));
        }
        std::thread::sleep(Duration::from_millis(TICK_MS));
    }
}

/// Settings and definitions before the job.
fn prepare(session: &mut Session, task: &Task) -> Result<()> {
    let definition = &task.definition;
    for (key, value) in DEFAULTS {
        session.config_mut().set(key, value)?;
    }
    session.config_mut().set("state.checkpoints.dir", &task.checkpoints)?;
    session.config_mut().set("state.savepoints.dir", &task.savepoints)?;
    for (key, value) in &definition.settings {
        session.config_mut().set(key, value)?;
    }
    for statement in &definition.statements {
        for piece in sql::split(&statement.in_place())? {
            session.execute(&piece)?;
        }
    }
    // One process is one attempt: the server starts the next, by the strategy that the script asks for.
    session.config_mut().set("restart-strategy.type", "none")?;
    session.config_mut().set("pipeline.name", &definition.name)?;
    if let Some(parallelism) = definition.parallelism {
        session.config_mut().set("parallelism.default", &parallelism.to_string())?;
    }
    if let Some(bytes) = definition.memory {
        session.config_mut().set("taskmanager.memory.managed.size", &bytes.to_string())?;
    }
    session.config_mut().set(JOB_ID, &task.run)?;
    if let Some(path) = &task.checkpoint {
        session.config_mut().set(LATEST_CHECKPOINT, path)?;
    }
    if let Some(path) = &task.restore {
        session.config_mut().set("execution.savepoint.path", path)?;
    }
    Ok(())
}

/// Starts the script's INSERTs as one job.
fn submit(session: &mut Session, task: &Task) -> Result<JobHandle> {
    let mut pieces = Vec::new();
    for statement in &task.definition.inserts {
        pieces.extend(sql::split(&statement.in_place())?);
    }
    match session.execute_together(&pieces)? {
        Outcome::Job(job) => Ok(job),
        _ => Err(Error::internal("The script's INSERTs gave no job.")),
    }
}

/// The savepoint's path. `stop` ends the job with it, and says whether to drain it.
fn take_savepoint(job: &JobHandle, directory: Option<&str>, stop: Option<bool>) -> Result<String> {
    let taken = match stop {
        None => job.savepoint(directory)?,
        Some(drain) => job.stop(drain, directory)?,
    };
    Ok(taken.path)
}

fn state(status: JobStatus) -> JobState {
    match status {
        JobStatus::Created => JobState::Created,
        JobStatus::Running => JobState::Running,
        JobStatus::Failing => JobState::Failing,
        JobStatus::Failed => JobState::Failed,
        JobStatus::Cancelling => JobState::Cancelling,
        JobStatus::Canceled => JobState::Canceled,
        JobStatus::Finished => JobState::Finished,
        JobStatus::Restarting => JobState::Restarting,
    }
}

fn ended(status: JobStatus, result: Result<()>) -> Event {
    match result {
        Ok(()) if status == JobStatus::Canceled => {
            Event::Ended { status: JobState::Canceled, failure: None, retry: false }
        }
        Ok(()) => Event::Ended { status: JobState::Finished, failure: None, retry: false },
        Err(e) => Event::Ended { status: JobState::Failed, failure: Some(failure(&e)), retry: true },
    }
}

fn failure(e: &Error) -> Failure {
    Failure {
        at_ms: SystemClock.now_ms(),
        message: e.message().to_string(),
        hint: e.hint().map(String::from),
        place: e.span().map(|s| (s.start.line, s.start.column)),
    }
}
