//! What a job needs besides its plan, and what is told of its checkpoints.

use crate::checkpoint::{CheckpointStorage, Manifest};
use crate::state::MemoryBudget;
use crate::time::Clock;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most rows in a batch of a reader, unless told otherwise.
pub const BATCH_ROWS: usize = 8192;

/// What a job needs besides its plan.
#[derive(Debug, Clone)]
pub struct JobOptions {
    /// For lists and logs.
    pub name: String,
    /// 32 hexadecimal digits, the same over restarts; `None` draws one.
    pub job_id: Option<String>,
    /// Tells processing time.
    pub clock: Arc<dyn Clock>,
    /// For connectors over asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// Number of key groups.
    pub max_parallelism: usize,
    /// For keyed state.
    pub memory: Arc<MemoryBudget>,
    /// `table.exec.state.ttl` in milliseconds; 0 keeps state for ever.
    pub state_ttl_ms: u64,
    /// Most rows in a batch of a reader.
    pub batch_rows: usize,
    /// How checkpoints are taken; `None` takes none.
    pub checkpointing: Option<CheckpointOptions>,
    /// What the job starts from; `None` is nothing.
    pub restore: Option<RestoreOptions>,
    /// Holds sources back, so that a test can look at a job in the middle.
    pub gate: Option<ReadGate>,
}

impl JobOptions {
    /// Options that suit most jobs: 128 key groups, memory without limit, no time to live, no checkpoints.
    pub fn new(name: impl Into<String>, clock: Arc<dyn Clock>, runtime: tokio::runtime::Handle) -> Self {
        Self {
            name: name.into(),
            job_id: None,
            clock,
            runtime,
            max_parallelism: 128,
            memory: MemoryBudget::unlimited(),
            state_ttl_ms: 0,
            batch_rows: BATCH_ROWS,
            checkpointing: None,
            restore: None,
            gate: None,
        }
    }
}

/// What is promised of state when a job is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointMode {
    /// Each row counts once: channels that have their barrier wait for the others.
    #[default]
    ExactlyOnce,
    /// Rows may count twice; nothing waits.
    AtLeastOnce,
}

/// How checkpoints are taken.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// Milliseconds between the starts of two; 0 takes them on request only.
    pub interval_ms: u64,
    /// Least milliseconds between the end of one and the start of the next.
    pub min_pause_ms: u64,
    /// One that takes longer is given up, in milliseconds.
    pub timeout_ms: u64,
    /// Failed ones in a row that do not fail the job.
    pub tolerable_failed: u64,
    /// What is promised.
    pub mode: CheckpointMode,
    /// Where they are kept: a place of this job only.
    pub storage: CheckpointStorage,
    /// Where savepoints are kept, unless told otherwise.
    pub savepoint_dir: Option<String>,
    /// Complete ones that are kept.
    pub retained: usize,
    /// Tells the runs of a job within this process apart.
    pub attempt: u64,
}

impl CheckpointOptions {
    /// Flink's defaults, on request only.
    pub fn new(storage: CheckpointStorage) -> Self {
        Self {
            interval_ms: 0,
            min_pause_ms: 0,
            timeout_ms: 600_000,
            tolerable_failed: 0,
            mode: CheckpointMode::ExactlyOnce,
            storage,
            savepoint_dir: None,
            retained: 1,
            attempt: 0,
        }
    }
}

/// The checkpoint or savepoint that a job starts from.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// What it holds, verified.
    pub manifest: Manifest,
    /// Where its files are.
    pub storage: CheckpointStorage,
    /// Whether state that no operator claims is dropped; else it is an error.
    pub ignore_unclaimed: bool,
    /// What the user should know of how it was found.
    pub notices: Vec<String>,
}

/// A complete checkpoint or savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedCheckpoint {
    /// Its id, growing in a job.
    pub id: u64,
    /// Whether it is a savepoint.
    pub is_savepoint: bool,
    /// Where it is: what `execution.savepoint.path` takes.
    pub path: String,
    /// Bytes of all state in it.
    pub bytes: u64,
    /// Bytes that were written for it: less, where only changes were.
    pub written_bytes: u64,
    /// When it was triggered, in milliseconds since the epoch.
    pub triggered_at_ms: i64,
    /// From the trigger until it was complete, in milliseconds.
    pub duration_ms: u64,
    /// Longest time between a task's first barrier and its last, in milliseconds.
    pub alignment_ms: u64,
    /// Longest time in which a task did nothing but its snapshot, in milliseconds.
    pub sync_ms: u64,
    /// Longest time from then until a task's part was written, in milliseconds.
    pub async_ms: u64,
}

/// How a job's checkpoints stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointStats {
    /// Complete ones, savepoints included.
    pub completed: u64,
    /// Failed ones.
    pub failed: u64,
    /// Id of the one being taken.
    pub in_progress: Option<u64>,
    /// The last complete one.
    pub last: Option<CompletedCheckpoint>,
    /// Where the last savepoint is.
    pub last_savepoint: Option<String>,
    /// Why the last failed one failed, in a sentence.
    pub last_failure: Option<String>,
    /// Id and place of the one that this run started from.
    pub restored_from: Option<(u64, String)>,
}

/// Holds a job's sources back: they read so many rows, and go on when it is opened. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct ReadGate(Arc<AtomicU64>);

impl ReadGate {
    /// All sources together stop after `rows` rows (in whole batches).
    pub fn after(rows: u64) -> Self {
        Self(Arc::new(AtomicU64::new(rows)))
    }

    /// Lets all through.
    pub fn open(&self) {
        self.move_to(u64::MAX);
    }

    /// From now on sources stop after `rows` rows of all that they read.
    pub fn move_to(&self, rows: u64) {
        self.0.store(rows, Ordering::Release);
    }

    /// Whether no more is to be read after `rows` rows.
    pub fn is_closed(&self, rows: u64) -> bool {
        rows >= self.0.load(Ordering::Acquire)
    }
}

/// 32 hexadecimal digits that no other job of this machine has.
pub fn job_id(clock: &dyn Clock) -> String {
    static JOBS: AtomicU64 = AtomicU64::new(0);
    let job = JOBS.fetch_add(1, Ordering::Relaxed);
    let hash = |seed: u64| {
        foldhash::quality::FixedState::with_seed(seed).hash_one((clock.now_ms(), std::process::id(), job))
    };
    format!("{:016x}{:016x}", hash(1), hash(2))
}
