//! The coordinator of checkpoints: triggers them, gathers what the tasks have written, writes the manifest last, and
//! tells the tasks that a checkpoint is complete. One thread for each job that takes checkpoints or is restored.

use super::shutdown::{Control, Event, Wake, lock};
use super::task::spawn;
use super::{CheckpointMode, CheckpointOptions, CheckpointStats, CompletedCheckpoint};
use crate::checkpoint::{
    CheckpointKind, CheckpointStorage, FORMAT_VERSION, InstanceState, Manifest, OperatorEntry, StateFile,
};
use crate::connector::{Committable, RecoverContext, Sink};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::message::{Barrier, BarrierKind};
use crate::plan::OperatorId;
use crate::state::SnapshotKind;
use crate::time::{Clock, Stopwatch};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Longest sleep of the coordinator, so that it looks round now and then.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Most requests (of users) for checkpoints and savepoints that wait.
const MAX_REQUESTS: usize = 16;
/// Most sentences kept for the user; later ones are dropped.
const MAX_NOTICES: usize = 100;
/// A chain of changes is written anew when it has this many files, however small they are.
const MAX_CHAIN_FILES: usize = 64;

/// One task of one operator, as the manifest lists it.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) operator_id: OperatorId,
    pub(super) name: String,
    pub(super) task: usize,
}

/// What an instance has written for a checkpoint.
#[derive(Debug)]
pub(super) struct Ack {
    /// `None`: it has nothing.
    pub(super) file: Option<StateFile>,
    /// Whether the file stands for itself.
    pub(super) kind: SnapshotKind,
    pub(super) stages: Stages,
}

/// How long a task took, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stages {
    /// From the first barrier to the last.
    pub(super) alignment_ms: u64,
    /// In which the task did nothing else.
    pub(super) sync_ms: u64,
    /// From then until all was written.
    pub(super) async_ms: u64,
}

/// A sink that is to be recovered before its writers are opened.
pub(super) struct Recovery {
    pub(super) name: String,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) context: RecoverContext,
    pub(super) prepared: Vec<Committable>,
}

/// Something that sleeps and is to look round when a checkpoint is complete.
pub(super) trait Poke: Send + Sync {
    /// Must not block.
    fn poke(&self);
}

/// What a user asks for.
struct Request {
    kind: RequestKind,
    reply: SyncSender<Result<CompletedCheckpoint>>,
}

enum RequestKind {
    Checkpoint,
    /// The directory, unless it is the one of the options.
    Savepoint(Option<String>),
    Stop {
        drain: bool,
        directory: Option<String>,
    },
}

/// Between the coordinator, the tasks, and the threads that write.
pub(super) struct Checkpoints {
    job_id: String,
    job_name: String,
    max_parallelism: usize,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
    /// `None`: none are taken, the job is only restored.
    options: Option<CheckpointOptions>,
    instances: Vec<Instance>,
    /// Id of the last barrier for sources, and for tasks that have ended.
    triggered: AtomicU64,
    /// Id of the last complete checkpoint whose sinks may publish.
    completed: AtomicU64,
    /// The last checkpoint is complete: tasks that have ended may go.
    dismissed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    sleepers: Mutex<Vec<Weak<dyn Poke>>>,
}

struct State {
    /// Sinks are recovered: tasks may open their connectors.
    started: bool,
    barrier: Option<Barrier>,
    drain: bool,
    next_id: u64,
    /// Tasks that have not gone.
    tasks: usize,
    /// Those of them that have nothing more to process.
    ended: usize,
    pending: Option<Pending>,
    requests: VecDeque<Request>,
    stopping: bool,
    over: bool,
    stats: CheckpointStats,
    notices: Vec<String>,
}

/// A checkpoint that is being taken.
struct Pending {
    barrier: Barrier,
    storage: CheckpointStorage,
    acks: Vec<Option<Ack>>,
    outstanding: usize,
    failure: Option<Error>,
    watch: Stopwatch,
    last: bool,
    reply: Option<SyncSender<Result<CompletedCheckpoint>>>,
}

/// What the coordinator is made of besides its options.
pub(super) struct Setup {
    pub(super) job_id: String,
    pub(super) job_name: String,
    pub(super) max_parallelism: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) instances: Vec<Instance>,
    pub(super) tasks: usize,
    /// The checkpoint that the job starts from, and where it is.
    pub(super) restored: Option<(u64, String)>,
    pub(super) notices: Vec<String>,
}

impl Checkpoints {
    /// Nothing taken yet.
    pub(super) fn new(setup: Setup, options: Option<CheckpointOptions>) -> Arc<Self> {
        let restored_id = setup.restored.as_ref().map_or(0, |r| r.0);
        let stats = CheckpointStats { restored_from: setup.restored, ..CheckpointStats::default() };
        let state = State {
            started: false,
            barrier: None,
            drain: false,
            next_id: restored_id + 1,
            tasks: setup.tasks,
            ended: 0,
            pending: None,
            requests: VecDeque::new(),
            stopping: false,
            over: false,
            stats,
            notices: setup.notices,
        };
        Arc::new(Self {
            job_id: setup.job_id,
            job_name: setup.job_name,
            max_parallelism: setup.max_parallelism,
            clock: setup.clock,
            runtime: setup.runtime,
            options,
            instances: setup.instances,
            triggered: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            dismissed: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
            sleepers: Mutex::new(Vec::new()),
        })
    }

    /// Whether checkpoints are taken.
    pub(super) fn is_on(&self) -> bool {
        self.options.is_some()
    }

    /// Whether channels that have their barrier are set aside until all have it.
    pub(super) fn blocks(&self) -> bool {
        self.options.as_ref().is_none_or(|o| o.mode == CheckpointMode::ExactlyOnce)
    }

    /// `sleeper` is poked when a checkpoint is complete.
    pub(super) fn register(&self, sleeper: Weak<dyn Poke>) {
        lock(&self.sleepers).push(sleeper);
    }

    /// Waits until tasks may open their connectors. `false`: the job is being stopped.
    pub(super) fn wait_for_start(&self) -> bool {
        let waits = |s: &mut State| !s.started && !s.stopping;
        let wait = self.changed.wait_while(lock(&self.state), waits);
        !wait.unwrap_or_else(PoisonError::into_inner).stopping
    }

    /// The barrier that sources and ended tasks are to inject, if it is newer than `seen`; and whether the last
    /// watermark comes before it.
    pub(super) fn due(&self, seen: u64) -> Option<(Barrier, bool)> {
        if self.triggered.load(Ordering::Acquire) <= seen {
            return None;
        }
        let state = lock(&self.state);
        state.barrier.map(|b| (b, state.drain))
    }

    /// The complete checkpoint that sinks may publish, if it is newer than `seen`.
    pub(super) fn completed(&self, seen: u64) -> Option<u64> {
        Some(self.completed.load(Ordering::Acquire)).filter(|id| *id > seen)
    }

    /// Whether tasks that have ended may go.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Acquire)
    }

    /// Sleeps a moment, until something changes.
    pub(super) fn doze(&self, longest: Duration) {
        drop(self.changed.wait_timeout(lock(&self.state), longest).unwrap_or_else(PoisonError::into_inner));
    }

    /// Where the state of checkpoint `id` goes; `None` if it is no longer wanted.
    pub(super) fn storage(&self, id: u64) -> Option<(CheckpointStorage, u64)> {
        let state = lock(&self.state);
        let attempt = self.options.as_ref().map_or(0, |o| o.attempt);
        let pending = state.pending.as_ref().filter(|p| p.barrier.checkpoint_id == id)?;
        Some((pending.storage.clone(), attempt))
    }

    /// The operator of `instance`.
    pub(super) fn instance(&self, instance: usize) -> Option<&Instance> {
        self.instances.get(instance)
    }

    /// `instance` has written its part of checkpoint `id`.
    pub(super) fn acknowledge(&self, id: u64, instance: usize, ack: Ack) {
        let mut state = lock(&self.state);
        if let Some(pending) = state.pending.as_mut().filter(|p| p.barrier.checkpoint_id == id)
            && let Some(slot @ None) = pending.acks.get_mut(instance)
        {
            *slot = Some(ack);
            pending.outstanding -= 1;
            if pending.outstanding == 0 {
                drop(state);
                self.changed.notify_all();
            }
        }
    }

    /// Checkpoint `id` cannot be completed.
    pub(super) fn decline(&self, id: u64, error: Error) {
        let mut state = lock(&self.state);
        if let Some(pending) = state.pending.as_mut().filter(|p| p.barrier.checkpoint_id == id) {
            pending.failure.get_or_insert(error);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// A task has nothing more to process and waits for the last checkpoint.
    pub(super) fn task_ended(&self) {
        lock(&self.state).ended += 1;
        self.changed.notify_all();
    }

    /// A task's thread has gone; whether it had told its end before.
    pub(super) fn task_gone(&self, had_ended: bool) {
        let mut state = lock(&self.state);
        state.tasks = state.tasks.saturating_sub(1);
        if had_ended {
            state.ended = state.ended.saturating_sub(1);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn notice(&self, sentence: String) {
        let mut state = lock(&self.state);
        if state.notices.len() < MAX_NOTICES {
            state.notices.push(sentence);
        }
    }

    /// What the user should know, in sentences.
    pub(super) fn notices(&self) -> Vec<String> {
        lock(&self.state).notices.clone()
    }

    /// How checkpoints stand.
    pub(super) fn stats(&self) -> CheckpointStats {
        lock(&self.state).stats.clone()
    }

    /// Asks for a checkpoint and waits for it.
    pub(super) fn checkpoint(&self) -> Result<CompletedCheckpoint> {
        self.ask(RequestKind::Checkpoint)
    }

    /// Asks for a savepoint and waits for it.
    pub(super) fn savepoint(&self, directory: Option<&str>) -> Result<CompletedCheckpoint> {
        self.ask(RequestKind::Savepoint(directory.map(str::to_string)))
    }

    /// Asks for a savepoint with which the job stops, and waits for it.
    pub(super) fn stop(&self, drain: bool, directory: Option<&str>) -> Result<CompletedCheckpoint> {
        self.ask(RequestKind::Stop { drain, directory: directory.map(str::to_string) })
    }

    fn ask(&self, kind: RequestKind) -> Result<CompletedCheckpoint> {
        if !self.is_on() {
            return Err(no_checkpoints());
        }
        let answer = {
            let mut state = lock(&self.state);
            if state.stopping || state.over {
                return Err(ended(&self.job_name));
            }
            if state.requests.len() >= MAX_REQUESTS {
                return Err(Error::external("Too many checkpoints and savepoints are waiting already.")
                    .with_hint("Wait until one of them is complete."));
            }
            let (reply, answer): (_, Receiver<_>) = sync_channel(1);
            state.requests.push_back(Request { kind, reply });
            answer
        };
        self.changed.notify_all();
        answer.recv().unwrap_or_else(|_| Err(ended(&self.job_name)))
    }

    fn poke_all(&self) {
        self.changed.notify_all();
        let sleepers: Vec<_> = lock(&self.sleepers).iter().filter_map(Weak::upgrade).collect();
        sleepers.iter().for_each(|s| s.poke());
    }
}

impl Wake for Checkpoints {
    fn wake(&self, event: Event) {
        if event == Event::Stopping {
            lock(&self.state).stopping = true;
        }
        self.changed.notify_all();
    }
}

/// What is told where checkpoints are off.
pub(super) fn no_checkpoints() -> Error {
    Error::user("The job takes no checkpoints, so no savepoint can be taken either.")
        .with_hint("SET 'execution.checkpointing.interval' = '1 min' before starting it.")
}

fn ended(name: &str) -> Error {
    Error::user(format!("The job {name} has ended or is being stopped."))
        .with_hint("Only a running job can be asked for a checkpoint.")
}

/// The thread of the coordinator.
pub(super) struct Coordinator {
    shared: Arc<Checkpoints>,
    control: Arc<Control>,
    recoveries: Vec<Recovery>,
    /// The files that each instance's state is made of, up to the last complete checkpoint.
    chains: Vec<Vec<StateFile>>,
    next_full: bool,
    failures_in_row: u64,
    /// Since the last checkpoint was triggered, and since the last ended.
    since_trigger: Stopwatch,
    since_end: Option<Stopwatch>,
}

impl Coordinator {
    /// Recovers the sinks first.
    pub(super) fn new(shared: Arc<Checkpoints>, control: Arc<Control>, recoveries: Vec<Recovery>) -> Self {
        let chains = vec![Vec::new(); shared.instances.len()];
        Self {
            shared,
            control,
            recoveries,
            chains,
            next_full: true,
            failures_in_row: 0,
            since_trigger: Stopwatch::start(),
            since_end: None,
        }
    }

    /// Starts it.
    pub(super) fn start(self) {
        let control = self.control.clone();
        spawn(&control, "checkpoints".to_string(), self, Self::run, |_| "Checkpoints".to_string());
    }

    fn run(&mut self) -> Result<()> {
        let result = self.coordinate();
        let mut state = lock(&self.shared.state);
        state.over = true;
        state.requests.clear();
        state.pending = None;
        drop(state);
        self.shared.changed.notify_all();
        result
    }

    fn coordinate(&mut self) -> Result<()> {
        for recovery in std::mem::take(&mut self.recoveries) {
            failpoint::hit("restore.sink-recover")?;
            recovery
                .sink
                .recover(&recovery.context, &recovery.prepared)
                .map_err(|e| e.within(&recovery.name))?;
        }
        if let Some(options) = self.shared.options.clone() {
            let next = options.storage.next_checkpoint_id()?;
            let mut state = lock(&self.shared.state);
            state.next_id = state.next_id.max(next);
        }
        self.control.opened();
        lock(&self.shared.state).started = true;
        self.shared.changed.notify_all();
        let Some(options) = self.shared.options.clone() else { return Ok(()) };
        self.since_trigger = Stopwatch::start();
        while self.step(&options)? {}
        Ok(())
    }

    /// One look round. `false`: there is nothing left to do.
    fn step(&mut self, options: &CheckpointOptions) -> Result<bool> {
        let mut state = lock(&self.shared.state);
        if state.stopping || state.tasks == 0 {
            return Ok(false);
        }
        let timeout = Duration::from_millis(options.timeout_ms);
        if let Some(pending) = &mut state.pending {
            if pending.outstanding == 0 && pending.failure.is_none() {
                let pending = state.pending.take();
                drop(state);
                return pending.map_or(Ok(()), |p| self.complete(p, options)).map(|()| true);
            }
            if pending.failure.is_none() && pending.watch.elapsed() >= timeout {
                let laggard =
                    pending.acks.iter().position(Option::is_none).and_then(|n| self.shared.instance(n));
                let waited =
                    laggard.map_or(String::new(), |i| format!(" waiting for {} (task {})", i.name, i.task));
                pending.failure = Some(
                    Error::external(format!(
                        "Checkpoint {} expired before completing: {} ms passed{waited}.",
                        pending.barrier.checkpoint_id, options.timeout_ms
                    ))
                    .with_hint(
                        "Raise 'execution.checkpointing.timeout', or the parallelism of the slow operator.",
                    ),
                );
            }
            if let Some(error) = pending.failure.take() {
                let pending = state.pending.take();
                drop(state);
                return pending.map_or(Ok(()), |p| self.failed(p, error, options)).map(|()| true);
            }
        } else if self.shared.is_dismissed() {
            // Tasks are going; those who ask now are told so.
            state.requests.clear();
        } else if self.control.status() == super::JobStatus::Running {
            let request = state.requests.pop_front();
            let all_ended = state.ended == state.tasks;
            if request.is_some() || all_ended || self.is_due(options) {
                drop(state);
                let last = all_ended && request.is_none();
                self.trigger(request, last, options)?;
                return Ok(true);
            }
        }
        let wait = self.shared.changed.wait_timeout(state, self.pause(options));
        drop(wait.unwrap_or_else(PoisonError::into_inner));
        Ok(true)
    }

    /// Whether the interval and the pause are over.
    fn is_due(&self, options: &CheckpointOptions) -> bool {
        options.interval_ms > 0
            && self.since_trigger.elapsed() >= Duration::from_millis(options.interval_ms)
            && self.since_end.is_none_or(|s| s.elapsed() >= Duration::from_millis(options.min_pause_ms))
    }

    fn pause(&self, options: &CheckpointOptions) -> Duration {
        let left = |since: Stopwatch, ms: u64| Duration::from_millis(ms).saturating_sub(since.elapsed());
        if options.interval_ms == 0 {
            return LONGEST_WAIT;
        }
        let pause = self.since_end.map_or(Duration::ZERO, |s| left(s, options.min_pause_ms));
        left(self.since_trigger, options.interval_ms).max(pause).clamp(Duration::from_millis(1), LONGEST_WAIT)
    }

    fn trigger(&mut self, request: Option<Request>, last: bool, options: &CheckpointOptions) -> Result<()> {
        failpoint::hit("checkpoint.trigger")?;
        self.since_trigger = Stopwatch::start();
        let (wanted, reply) = match request {
            None => (RequestKind::Checkpoint, None),
            Some(request) => (request.kind, Some(request.reply)),
        };
        let (kind, drain, directory) = match wanted {
            RequestKind::Checkpoint => (BarrierKind::Checkpoint { full: self.next_full }, false, None),
            RequestKind::Savepoint(directory) => (BarrierKind::Savepoint, false, Some(directory)),
            RequestKind::Stop { drain, directory } => (BarrierKind::Stop, drain, Some(directory)),
        };
        let storage = match directory {
            None => options.storage.clone(),
            Some(directory) => match self.savepoint_storage(directory, options) {
                Ok(storage) => storage,
                Err(error) => {
                    reply.map(|r| r.try_send(Err(error)));
                    return Ok(());
                }
            },
        };
        if kind.is_full() {
            // Only once all have written everything may they write changes again.
            self.next_full = true;
        }
        let mut state = lock(&self.shared.state);
        let id = state.next_id;
        state.next_id += 1;
        let barrier = Barrier { checkpoint_id: id, triggered_at_ms: self.shared.clock.now_ms(), kind };
        let instances = self.shared.instances.len();
        state.pending = Some(Pending {
            barrier,
            storage,
            acks: (0..instances).map(|_| None).collect(),
            outstanding: instances,
            failure: None,
            watch: Stopwatch::start(),
            last: last || kind == BarrierKind::Stop,
            reply,
        });
        state.barrier = Some(barrier);
        state.drain = drain;
        state.stats.in_progress = Some(id);
        self.shared.triggered.store(id, Ordering::Release);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn savepoint_storage(
        &self,
        directory: Option<String>,
        options: &CheckpointOptions,
    ) -> Result<CheckpointStorage> {
        let directory = directory.or_else(|| options.savepoint_dir.clone()).ok_or_else(|| {
            Error::user("It is not known where savepoints are to be kept.")
                .with_hint("SET 'state.savepoints.dir' = '/path', or name a directory.")
        })?;
        CheckpointStorage::savepoint(&directory, &self.shared.job_id, &self.shared.runtime)
    }

    /// All parts are there.
    fn complete(&mut self, mut pending: Pending, options: &CheckpointOptions) -> Result<()> {
        let barrier = pending.barrier;
        let is_checkpoint = matches!(barrier.kind, BarrierKind::Checkpoint { .. });
        let acks: Vec<Ack> = std::mem::take(&mut pending.acks).into_iter().flatten().collect();
        let chains: Vec<Vec<StateFile>> =
            acks.iter().enumerate().map(|(instance, ack)| self.chain(instance, ack, is_checkpoint)).collect();
        let manifest = self.manifest(&barrier, is_checkpoint, &chains);
        let bytes = manifest.bytes();
        let written = failpoint::hit("checkpoint.before-manifest").and_then(|()| {
            if self.control.is_stopping() {
                return Err(ended(&self.shared.job_name));
            }
            pending.storage.write_manifest(&manifest)
        });
        if let Err(error) = written {
            return self.failed(pending, error, options);
        }
        failpoint::hit("checkpoint.after-manifest")?;
        if is_checkpoint {
            self.chains = chains;
        }
        self.next_full = !is_checkpoint || self.is_chain_long();
        self.failures_in_row = 0;
        self.since_end = Some(Stopwatch::start());
        let most = |f: fn(&Stages) -> u64| acks.iter().map(|a| f(&a.stages)).max().unwrap_or(0);
        let done = CompletedCheckpoint {
            id: barrier.checkpoint_id,
            is_savepoint: !is_checkpoint,
            path: pending.storage.checkpoint_uri(barrier.checkpoint_id),
            bytes,
            written_bytes: acks.iter().filter_map(|a| a.file.as_ref()).map(|f| f.bytes).sum(),
            triggered_at_ms: barrier.triggered_at_ms,
            duration_ms: pending.watch.elapsed().as_millis() as u64,
            alignment_ms: most(|s| s.alignment_ms),
            sync_ms: most(|s| s.sync_ms),
            async_ms: most(|s| s.async_ms),
        };
        failpoint::hit("commit.before")?;
        {
            let mut state = lock(&self.shared.state);
            state.stats.completed += 1;
            state.stats.in_progress = None;
            state.stats.last = Some(done.clone());
            if !is_checkpoint {
                state.stats.last_savepoint = Some(done.path.clone());
            }
        }
        // A savepoint with which the job goes on publishes nothing: the next checkpoint does it with its own.
        if barrier.kind != BarrierKind::Savepoint {
            self.shared.completed.store(barrier.checkpoint_id, Ordering::Release);
        }
        if pending.last {
            self.shared.dismissed.store(true, Ordering::Release);
        }
        self.shared.poke_all();
        pending.reply.map(|r| r.try_send(Ok(done)));
        if is_checkpoint && let Err(error) = options.storage.retain(options.retained) {
            self.shared.notice(format!("Old checkpoints could not be removed: {error}"));
        }
        Ok(())
    }

    /// The files of `instance` with its new one.
    fn chain(&self, instance: usize, ack: &Ack, is_checkpoint: bool) -> Vec<StateFile> {
        let base = match ack.kind {
            SnapshotKind::Delta if is_checkpoint => self.chains.get(instance).cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        base.into_iter().chain(ack.file.clone()).collect()
    }

    /// Whether it takes longer to read the changes than to write everything anew.
    fn is_chain_long(&self) -> bool {
        let bytes = |f: &[StateFile]| f.iter().map(|f| f.bytes).sum::<u64>();
        let base: u64 = self.chains.iter().map(|c| bytes(&c[..c.len().min(1)])).sum();
        let changes: u64 = self.chains.iter().map(|c| bytes(&c[c.len().min(1)..])).sum();
        changes > base || self.chains.iter().any(|c| c.len() >= MAX_CHAIN_FILES)
    }

    fn manifest(&self, barrier: &Barrier, is_checkpoint: bool, chains: &[Vec<StateFile>]) -> Manifest {
        let mut operators: BTreeMap<&OperatorId, OperatorEntry> = BTreeMap::new();
        for (instance, files) in self.shared.instances.iter().zip(chains) {
            let entry = operators.entry(&instance.operator_id).or_insert_with(|| OperatorEntry {
                operator_id: instance.operator_id.0.clone(),
                name: instance.name.clone(),
                parallelism: 0,
                instances: Vec::new(),
            });
            entry.parallelism = entry.parallelism.max(instance.task + 1);
            entry.instances.resize(entry.parallelism, InstanceState::default());
            entry.instances[instance.task] = InstanceState { files: files.clone() };
        }
        let has_state = |o: &OperatorEntry| o.instances.iter().any(|i| !i.files.is_empty());
        Manifest {
            format_version: FORMAT_VERSION,
            runnel_version: env!("CARGO_PKG_VERSION").to_string(),
            checkpoint_id: barrier.checkpoint_id,
            kind: if is_checkpoint { CheckpointKind::Checkpoint } else { CheckpointKind::Savepoint },
            job_id: self.shared.job_id.clone(),
            job_name: self.shared.job_name.clone(),
            triggered_at_ms: barrier.triggered_at_ms,
            completed_at_ms: self.shared.clock.now_ms(),
            max_parallelism: self.shared.max_parallelism,
            operators: operators.into_values().filter(has_state).collect(),
        }
    }

    /// A checkpoint has failed: the next one writes everything, and too many of them fail the job.
    fn failed(&mut self, pending: Pending, error: Error, options: &CheckpointOptions) -> Result<()> {
        let id = pending.barrier.checkpoint_id;
        self.next_full = true;
        self.since_end = Some(Stopwatch::start());
        let sentence = format!("Checkpoint {id} has failed: {error}");
        self.shared.notice(sentence.clone());
        {
            let mut state = lock(&self.shared.state);
            state.stats.failed += 1;
            state.stats.in_progress = None;
            state.stats.last_failure = Some(sentence);
        }
        pending.reply.map(|r| r.try_send(Err(error.clone())));
        if pending.barrier.kind == BarrierKind::Stop {
            // Sources have stopped reading: only a restart makes them go on.
            return Err(error.within("The job could not be stopped with a savepoint"));
        }
        if pending.barrier.kind == BarrierKind::Savepoint {
            return Ok(());
        }
        self.failures_in_row += 1;
        if self.failures_in_row > options.tolerable_failed {
            return Err(error.within("Exceeded checkpoint tolerable failure threshold"));
        }
        Ok(())
    }
}
