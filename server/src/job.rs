//! One job on the server: its supervisor, and what may be asked of it.

use crate::folder::JobFolder;
use crate::host::{Host, new_id};
use crate::log::{self, Level, Log};
use crate::model::{
    Checkpoints, Deploy, Detail, Failure, Happened, JobState, Progress, Start, Stop, Summary, Taken,
};
use crate::process::{Control, Outlets, Process};
use crate::protocol::{Command, Event, Task};
use crate::registry::Entry;
use crate::restart::Restarts;
use engine::time::{Clock, SystemClock};
use engine::{Error, Result};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a savepoint may take, in seconds: as long as a checkpoint of a deployed job.
pub const SAVEPOINT_PATIENCE_SECONDS: u64 = 3600;
/// How long a job that is being started may take before it can be asked for a savepoint, in seconds.
const STARTING_PATIENCE_SECONDS: u64 = 15;
/// How long a job may take to stop before its process is ended by force, in seconds.
const STOP_PATIENCE_SECONDS: u64 = 15;

/// One job: all that the server holds of it.
#[derive(Debug)]
pub struct Job {
    id: String,
    folder: JobFolder,
    outlets: Outlets,
    live: Mutex<Live>,
    changed: Condvar,
    /// Held by whoever changes it, so that two clients do not stop it at once.
    operation: Mutex<()>,
}

#[derive(Debug)]
struct Live {
    entry: Entry,
    restarts: Restarts,
    /// Whether its supervisor runs.
    supervised: bool,
    control: Option<Control>,
    progress: Progress,
    checkpoints: Checkpoints,
    /// Since when it runs without a break, in milliseconds since the epoch.
    running_since_ms: Option<i64>,
    /// Since when it is down after a failure.
    down_since_ms: Option<i64>,
    /// Answer to the savepoint asked for.
    savepoint: Option<std::result::Result<String, Failure>>,
    /// Whether the savepoint asked for ends the job.
    stopping: bool,
}

/// How a child ended.
struct Exit {
    status: JobState,
    failure: Option<Failure>,
    retry: bool,
}

impl Job {
    /// The job that `entry` remembers. It does not run yet.
    ///
    /// Errors: settings that cannot be read.
    pub(crate) fn new(folder: JobFolder, entry: Entry) -> Result<Arc<Self>> {
        let restarts = Restarts::new(&entry.definition.effective, seed(&entry.id))?;
        let outlets = Outlets {
            log: Arc::new(Log::new(folder.log(), log::JSON)),
            out: Arc::new(Log::new(folder.log(), log::OUT)),
        };
        let checkpoints = Checkpoints { last: entry.checkpoint.clone(), ..Checkpoints::default() };
        let live = Live {
            entry,
            restarts,
            supervised: false,
            control: None,
            progress: Progress::default(),
            checkpoints,
            running_since_ms: None,
            down_since_ms: None,
            savepoint: None,
            stopping: false,
        };
        Ok(Arc::new(Self {
            id: live.entry.id.clone(),
            folder,
            outlets,
            live: Mutex::new(live),
            changed: Condvar::new(),
            operation: Mutex::default(),
        }))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn name(&self) -> String {
        self.live().entry.definition.name.clone()
    }

    pub(crate) fn status(&self) -> JobState {
        self.live().entry.status
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operation(&self) -> MutexGuard<'_, ()> {
        self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most until `deadline`; false when that has passed.
    fn wait<'a>(&'a self, live: MutexGuard<'a, Live>, deadline: Instant) -> (MutexGuard<'a, Live>, bool) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (live, false);
        }
        let (live, _) = self.changed.wait_timeout(live, left).unwrap_or_else(PoisonError::into_inner);
        (live, true)
    }

    /// Writes to the job's log, the server's log and the job's history.
    pub(crate) fn tell(&self, host: &Host, level: Level, what: &str) {
        let (name, version) = {
            let live = self.live();
            (live.entry.definition.name.clone(), live.entry.version.to_string())
        };
        let extra = [
            ("application", name.as_str()),
            ("applicationVersionId", version.as_str()),
            ("jobId", self.id()),
        ];
        self.outlets.log.write(level, "runnel.server", "supervisor", what, &extra);
        host.log.write(level, "runnel.server", "supervisor", &format!("Job {name}: {what}"), &extra);
        let happened = Happened { at_ms: SystemClock.now_ms(), what: what.to_string() };
        if let Err(e) = host.registry.happened(&self.id, &happened) {
            host.log.write(Level::Error, "runnel.server", "registry", e.message(), &extra);
        }
    }

    /// Writes the entry; what cannot be written is told, and tried again with the next change.
    fn save(&self, host: &Host, entry: &Entry) {
        if let Err(e) = host.registry.save(entry) {
            host.log.write(Level::Error, "runnel.server", "registry", e.message(), &[("jobId", &self.id)]);
        }
    }

    fn set_status(&self, host: &Host, status: JobState) {
        let now = SystemClock.now_ms();
        let (before, entry) = {
            let mut live = self.live();
            let before = std::mem::replace(&mut live.entry.status, status);
            match status {
                JobState::Running => {
                    live.running_since_ms.get_or_insert(now);
                    live.down_since_ms = None;
                }
                JobState::Created | JobState::Initializing => {}
                _ => live.running_since_ms = None,
            }
            (before, live.entry.clone())
        };
        self.changed.notify_all();
        if before == status {
            return;
        }
        self.save(host, &entry);
        let level =
            if matches!(status, JobState::Failed | JobState::Restarting) { Level::Warn } else { Level::Info };
        let what = format!("{} ({}) switched from {before} to {status}.", entry.definition.name, self.id);
        self.tell(host, level, &what);
    }

    /// Starts the supervisor.
    pub(crate) fn begin(self: &Arc<Self>, host: &Arc<Host>) -> Result<()> {
        self.live().supervised = true;
        let (job, host) = (self.clone(), host.clone());
        let spawned = std::thread::Builder::new().name(format!("job {}", self.id)).spawn(move || {
            job.supervise(&host);
            job.live().supervised = false;
            job.changed.notify_all();
        });
        if let Err(e) = spawned {
            self.live().supervised = false;
            return Err(Error::external(format!("A thread cannot be started: {e}.")));
        }
        Ok(())
    }

    /// Child after child, until the job has ended, is stopped, or the server goes.
    fn supervise(&self, host: &Host) {
        loop {
            if host.is_stopping() {
                return self.set_status(host, JobState::Suspended);
            }
            self.set_status(host, JobState::Initializing);
            let exit = self.run_child(host);
            let now = SystemClock.now_ms();
            if let Some(failure) = &exit.failure {
                self.live().entry.failure = Some(failure.clone());
            }
            if host.is_stopping() && exit.status != JobState::Finished {
                return self.set_status(host, JobState::Suspended);
            }
            if !self.live().entry.wanted || matches!(exit.status, JobState::Finished | JobState::Canceled) {
                {
                    let mut live = self.live();
                    if live.entry.wanted && exit.status == JobState::Finished && !live.stopping {
                        // All input was read: another start reads it again.
                        live.entry.run = String::new();
                        (live.entry.restore, live.entry.checkpoint) = (None, None);
                    }
                    live.entry.wanted = false;
                }
                let status = if exit.status == JobState::Failed { JobState::Canceled } else { exit.status };
                return self.set_status(host, status);
            }
            let message = exit.failure.as_ref().map_or("", |f| f.message.as_str());
            self.tell(host, Level::Error, &format!("It failed: {message}"));
            let delay = if exit.retry { self.live().restarts.after_failure(now) } else { None };
            let Some(delay_ms) = delay else {
                self.live().entry.wanted = false;
                return self.set_status(host, JobState::Failed);
            };
            {
                let mut live = self.live();
                live.entry.restarts += 1;
                live.down_since_ms.get_or_insert(now);
            }
            self.set_status(host, JobState::Restarting);
            let deadline = Instant::now() + Duration::from_millis(delay_ms);
            let mut live = self.live();
            let mut waiting = true;
            while waiting && live.entry.wanted && !host.is_stopping() {
                (live, waiting) = self.wait(live, deadline);
            }
            if !live.entry.wanted {
                drop(live);
                return self.set_status(host, JobState::Canceled);
            }
        }
    }

    /// One child, from its start to its end.
    fn run_child(&self, host: &Host) -> Exit {
        let task = {
            let mut live = self.live();
            live.stopping = false;
            let entry = &live.entry;
            Task {
                run: entry.run.clone(),
                definition: entry.definition.clone(),
                folder: self.folder.path().display().to_string(),
                checkpoints: self.folder.checkpoints().display().to_string(),
                savepoints: host.folder.savepoints(&entry.definition.name).display().to_string(),
                checkpoint: entry.checkpoint.as_ref().map(|c| c.path.clone()),
                restore: entry.restore.clone(),
            }
        };
        let started = self.folder.create().and_then(|()| Process::start(&host.binary, &task, &self.outlets));
        let mut process = match started {
            Ok(process) => process,
            Err(e) => {
                let failure = Failure {
                    at_ms: SystemClock.now_ms(),
                    message: e.message().to_string(),
                    hint: e.hint().map(String::from),
                    place: None,
                };
                return Exit { status: JobState::Failed, failure: Some(failure), retry: true };
            }
        };
        self.live().control = Some(process.control());
        // A stop or shutdown that came before there was a child to tell.
        if host.is_stopping() || !self.live().entry.wanted {
            let _ = process.control().send(&Command::Cancel);
        }
        let mut last = None;
        while let Some(event) = process.hear() {
            match event {
                Event::Ended { status, failure, retry } => last = Some(Exit { status, failure, retry }),
                other => self.heard(host, other),
            }
        }
        let how = process.end(Duration::from_secs(STOP_PATIENCE_SECONDS));
        {
            let mut live = self.live();
            live.control = None;
            live.progress.rows_in_per_second = 0.0;
            live.progress.rows_out_per_second = 0.0;
            live.progress.tasks.clear();
            (live.progress.cpu_percent, live.progress.threads) = (None, None);
        }
        self.changed.notify_all();
        last.unwrap_or_else(|| Exit {
            status: JobState::Failed,
            failure: Some(Failure {
                at_ms: SystemClock.now_ms(),
                message: format!("The job has no process any more: {how}."),
                hint: Some(
                    "`runnel job logs` may say more; a job out of memory is killed by the system.".into(),
                ),
                place: None,
            }),
            retry: true,
        })
    }

    fn heard(&self, host: &Host, event: Event) {
        match event {
            Event::Status { status } => self.set_status(host, status),
            Event::Progress { progress } => {
                self.live().progress = progress;
                self.changed.notify_all();
            }
            Event::Checkpoint { count, checkpoint } => {
                let entry = {
                    let mut live = self.live();
                    live.checkpoints.completed += count;
                    live.checkpoints.last = Some(checkpoint.clone());
                    live.entry.checkpoint = Some(checkpoint.clone());
                    live.entry.clone()
                };
                self.save(host, &entry);
                self.forget_older_runs(&entry);
                let what = format!(
                    "Completed checkpoint {} ({} bytes in {} ms).",
                    checkpoint.id, checkpoint.bytes, checkpoint.duration_ms
                );
                self.outlets.log.write(
                    Level::Info,
                    "runnel.job",
                    "checkpoints",
                    &what,
                    &[("jobId", &self.id)],
                );
            }
            Event::CheckpointFailed { count, reason } => {
                {
                    let mut live = self.live();
                    live.checkpoints.failed += count;
                    live.checkpoints.failure = Some(reason.clone());
                }
                self.tell(host, Level::Warn, &format!("A checkpoint failed: {reason}"));
            }
            Event::Notice { message, warning } => {
                let level = if warning { Level::Warn } else { Level::Info };
                self.tell(host, level, &message);
            }
            Event::Savepoint { path } => {
                let entry = {
                    let mut live = self.live();
                    live.entry.savepoint = Some(path.clone());
                    if live.stopping {
                        // Written before the child ends: whatever happens next, the job goes on from here.
                        live.entry.wanted = false;
                        live.entry.restore = Some(path.clone());
                        live.entry.checkpoint = None;
                        live.entry.run = String::new();
                    }
                    live.entry.clone()
                };
                self.save(host, &entry);
                self.tell(host, Level::Info, &format!("Savepoint {path} was taken."));
                self.live().savepoint = Some(Ok(path));
                self.changed.notify_all();
            }
            Event::SavepointFailed { failure } => {
                self.tell(host, Level::Warn, &format!("No savepoint was taken: {}", failure.message));
                let mut live = self.live();
                live.stopping = false;
                live.savepoint = Some(Err(failure));
                drop(live);
                self.changed.notify_all();
            }
            Event::Ended { .. } => {}
        }
    }

    /// Removes checkpoints of earlier runs, which nothing starts from any more.
    fn forget_older_runs(&self, entry: &Entry) {
        for old in std::fs::read_dir(self.folder.checkpoints()).into_iter().flatten().flatten() {
            let path = old.path();
            let needed =
                entry.restore.as_deref().is_some_and(|restore| Path::new(restore).starts_with(&path));
            if old.file_name().to_str() != Some(entry.run.as_str()) && !needed {
                // What cannot be removed now is tried again with the next checkpoint.
                let _ = std::fs::remove_dir_all(path);
            }
        }
    }

    /// The child that can be asked for a savepoint, once it runs.
    fn running(&self) -> Result<Control> {
        let deadline = Instant::now() + Duration::from_secs(STARTING_PATIENCE_SECONDS);
        let mut live = self.live();
        let mut waiting = true;
        while waiting
            && live.supervised
            && matches!(live.entry.status, JobState::Initializing | JobState::Created)
        {
            (live, waiting) = self.wait(live, deadline);
        }
        let name = &live.entry.definition.name;
        match (&live.control, live.entry.status) {
            (Some(control), JobState::Running) => Ok(control.clone()),
            (_, status) if live.supervised => Err(Error::user(format!(
                "Failed to take a savepoint of job {name} at this moment: it is {status}."
            ))
            .with_hint(format!(
                "Look at `runnel job describe {name}` for the reason and try again, or stop it with \
                 --no-savepoint: it then starts from its last checkpoint."
            ))),
            (_, status) => Err(Error::user(format!("Job {name} does not run: it is {status}."))
                .with_hint(format!("Start it: `runnel job start {name}`."))),
        }
    }

    /// Asks the child for a savepoint and waits for it.
    fn ask_for_savepoint(&self, command: &Command, stopping: bool) -> Result<String> {
        let control = self.running()?;
        {
            let mut live = self.live();
            live.savepoint = None;
            live.stopping = stopping;
        }
        control.send(command)?;
        let deadline = Instant::now() + Duration::from_secs(SAVEPOINT_PATIENCE_SECONDS);
        let mut live = self.live();
        let mut waiting = true;
        loop {
            match live.savepoint.take() {
                Some(Ok(path)) => return Ok(path),
                Some(Err(failure)) => {
                    return Err(Error::external(failure.message).with_hint(failure.hint.unwrap_or_default()));
                }
                None if live.control.as_ref().is_none_or(|c| c.pid() != control.pid()) => {
                    return Err(Error::external("The job's process ended before the savepoint was taken.")
                        .with_hint("The job goes on from its last checkpoint; try again."));
                }
                None if !waiting => {
                    return Err(Error::external(format!(
                        "The savepoint took longer than {SAVEPOINT_PATIENCE_SECONDS} s."
                    )));
                }
                None => (live, waiting) = self.wait(live, deadline),
            }
        }
    }

    pub(crate) fn savepoint(&self, _host: &Host, directory: Option<String>) -> Result<Taken> {
        let _operation = self.operation();
        let savepoint = self.ask_for_savepoint(&Command::Savepoint { directory }, false)?;
        Ok(Taken { savepoint: Some(savepoint) })
    }

    pub(crate) fn stop(&self, host: &Host, stop: &Stop) -> Result<Taken> {
        let _operation = self.operation();
        self.stop_now(host, stop)
    }

    fn stop_now(&self, host: &Host, stop: &Stop) -> Result<Taken> {
        if stop.savepoint {
            let command = Command::Stop { directory: stop.directory.clone(), drain: stop.drain };
            let savepoint = self.ask_for_savepoint(&command, true)?;
            self.wait_until_idle();
            return Ok(Taken { savepoint: Some(savepoint) });
        }
        let entry = {
            let mut live = self.live();
            if !live.supervised {
                let (name, status) = (&live.entry.definition.name, live.entry.status);
                return Err(Error::user(format!("Job {name} does not run: it is {status}."))
                    .with_hint(format!("Start it: `runnel job start {name}`.")));
            }
            live.entry.wanted = false;
            live.entry.clone()
        };
        self.save(host, &entry);
        self.cancel(host);
        Ok(Taken { savepoint: None })
    }

    /// Tells the child to end and waits for it.
    fn cancel(&self, host: &Host) {
        let control = self.live().control.clone();
        if let Some(control) = control {
            self.set_status(host, JobState::Cancelling);
            // One that is gone already has ended.
            let _ = control.send(&Command::Cancel);
        }
        self.changed.notify_all();
        self.wait_until_idle();
    }

    /// Tells the child to end because the server does; the job stays wanted.
    pub(crate) fn suspend(&self) {
        if let Some(control) = self.live().control.clone() {
            let _ = control.send(&Command::Cancel);
        }
        self.changed.notify_all();
    }

    /// Waits until no supervisor runs, at most as long as stopping may take.
    pub(crate) fn wait_until_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(2 * STOP_PATIENCE_SECONDS);
        let mut live = self.live();
        let mut waiting = true;
        while waiting && live.supervised {
            (live, waiting) = self.wait(live, deadline);
        }
    }

    pub(crate) fn start(self: &Arc<Self>, host: &Arc<Host>, start: Start) -> Result<()> {
        let _operation = self.operation();
        {
            let mut live = self.live();
            if live.supervised {
                let (name, status) = (&live.entry.definition.name, live.entry.status);
                return Err(Error::user(format!("Job {name} runs already: it is {status}."))
                    .with_hint(format!("Stop it first: `runnel job stop {name}`.")));
            }
            begin_from(&mut live.entry, start.from_savepoint, start.fresh)?;
        }
        self.tell(host, Level::Info, "It was started.");
        self.launch(host)
    }

    /// A new life with the entry as it stands.
    fn launch(self: &Arc<Self>, host: &Arc<Host>) -> Result<()> {
        let entry = {
            let mut live = self.live();
            live.restarts = Restarts::new(&live.entry.definition.effective, seed(&live.entry.id))?;
            live.entry.wanted = true;
            live.entry.restarts = 0;
            live.entry.start_ms = SystemClock.now_ms();
            live.entry.failure = None;
            live.checkpoints = Checkpoints { last: live.entry.checkpoint.clone(), ..Checkpoints::default() };
            live.progress = Progress::default();
            live.down_since_ms = None;
            live.entry.clone()
        };
        host.registry.save(&entry)?;
        // Before the answer: whoever asks next must not see how the job ended before.
        self.set_status(host, JobState::Initializing);
        self.begin(host)
    }

    /// Replaces the script. A running job is stopped with a savepoint first; its path is returned.
    pub(crate) fn replace(self: &Arc<Self>, host: &Arc<Host>, deploy: Deploy) -> Result<Option<String>> {
        let _operation = self.operation();
        let mut taken = None;
        let supervised = self.live().supervised;
        if supervised {
            let savepoint = !deploy.fresh && deploy.from_savepoint.is_none();
            taken = self.stop_now(host, &Stop { savepoint, ..Stop::default() })?.savepoint;
        }
        {
            let mut live = self.live();
            begin_from(&mut live.entry, deploy.from_savepoint, deploy.fresh)?;
            live.entry.definition = deploy.definition;
            live.entry.version += 1;
        }
        self.tell(host, Level::Info, "Its script was replaced.");
        self.launch(host)?;
        Ok(taken)
    }

    /// Makes sure that it does not run and never will.
    pub(crate) fn retire(&self) -> Result<()> {
        let _operation = self.operation();
        let live = self.live();
        if live.supervised {
            let (name, status) = (&live.entry.definition.name, live.entry.status);
            return Err(Error::user(format!("Job {name} cannot be deleted: it is {status}."))
                .with_hint(format!("Stop it first: `runnel job stop {name}`.")));
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> Summary {
        let live = self.live();
        let now = SystemClock.now_ms();
        Summary {
            id: self.id.clone(),
            name: live.entry.definition.name.clone(),
            status: live.entry.status,
            start_ms: live.entry.start_ms,
            uptime_ms: live.running_since_ms.map_or(-1, |since| now - since),
            downtime_ms: match live.down_since_ms {
                _ if live.entry.status.is_final() => -1,
                Some(since) => now - since,
                None => 0,
            },
            restarts: live.entry.restarts,
            progress: live.progress.clone(),
            checkpoints: live.checkpoints.clone(),
        }
    }

    pub(crate) fn detail(&self, history: Vec<Happened>) -> Result<Detail> {
        let summary = self.summary();
        let live = self.live();
        let definition = &live.entry.definition;
        Ok(Detail {
            summary,
            origin: definition.origin.clone(),
            version: live.entry.version,
            pid: live.control.as_ref().map(Control::pid),
            parallelism: definition.parallelism,
            memory: definition.memory,
            restart_strategy: live.restarts.describe(),
            restored_from: live.entry.resume(),
            savepoint: live.entry.savepoint.clone(),
            failure: live.entry.failure.clone(),
            history,
            folder: self.folder.path().display().to_string(),
        })
    }
}

/// Chooses what an entry starts from: a savepoint, nothing, or else its latest state. A run goes on from its own latest
/// checkpoint, so that another beginning is another run.
fn begin_from(entry: &mut Entry, savepoint: Option<String>, fresh: bool) -> Result<()> {
    if fresh || savepoint.is_some() {
        entry.restore = savepoint;
    } else if !entry.run.is_empty() {
        return Ok(());
    }
    entry.run = new_id()?;
    entry.checkpoint = None;
    Ok(())
}

/// What a job's chance begins with.
fn seed(id: &str) -> u64 {
    u64::from_str_radix(id.get(..16).unwrap_or_default(), 16).unwrap_or_default()
}
