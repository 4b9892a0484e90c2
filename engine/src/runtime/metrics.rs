//! What the tasks of a job count, and `Progress` made of it.

use super::shutdown::lock;
use super::silence::{self, Snapshot, SourceSnapshot, SplitSnapshot};
use super::wait_time::WaitTime;
use super::{Progress, SourceProgress, SplitProgress, TaskProgress};
use crate::connector::Metrics;
use crate::operators::OperatorStatus;
use crate::plan::NodeId;
use crate::state::MemoryBudget;
use crate::time::{Clock, SplitView, Watermark};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Counters of one job. Filled while it is built.
#[derive(Debug, Default)]
pub(super) struct JobMetrics {
    pub(super) sources: Vec<Arc<SourceMetrics>>,
    /// Rows given to all sinks.
    pub(super) rows_out: Arc<AtomicU64>,
    pub(super) operators: Vec<Arc<OperatorMetrics>>,
    pub(super) tasks: Vec<TaskMetrics>,
    /// The budget of the job's state.
    pub(super) memory: Option<Arc<MemoryBudget>>,
}

/// The tasks of one chain of operators.
#[derive(Debug)]
pub(super) struct TaskMetrics {
    pub(super) name: String,
    pub(super) parallelism: usize,
    /// Their waits for input; a source's are told by its connector.
    pub(super) idle: Vec<Arc<WaitTime>>,
    pub(super) source: Option<Arc<SourceMetrics>>,
    /// Their waits for room in the channels that they send to.
    pub(super) full: Vec<Arc<WaitTime>>,
}

impl TaskMetrics {
    fn progress(&self) -> TaskProgress {
        let sum = |waits: &[Arc<WaitTime>]| waits.iter().map(|w| w.so_far()).sum();
        let waited = self.source.as_ref().map(|s| s.connector.waited_us.load(Ordering::Relaxed));
        TaskProgress {
            name: self.name.clone(),
            parallelism: self.parallelism,
            idle: sum(&self.idle) + waited.map_or(Duration::ZERO, Duration::from_micros),
            back_pressured: sum(&self.full),
        }
    }
}

/// One operator in one task.
#[derive(Debug)]
pub(super) struct OperatorMetrics {
    node: NodeId,
    name: String,
    is_sink: bool,
    /// Bytes of the largest key, where they alone are more than the memory budget.
    pub(super) oversized_key: Arc<AtomicU64>,
    status: Mutex<OperatorStatus>,
    watermark: AtomicI64,
}

impl OperatorMetrics {
    /// Nothing yet.
    pub(super) fn new(node: NodeId, name: &str, is_sink: bool) -> Arc<Self> {
        Arc::new(Self {
            node,
            name: name.to_string(),
            is_sink,
            oversized_key: Arc::default(),
            status: Mutex::default(),
            watermark: AtomicI64::new(Watermark::MIN.0),
        })
    }

    /// How it stands now.
    pub(super) fn set(&self, status: OperatorStatus, watermark: Watermark) {
        *lock(&self.status) = status;
        self.watermark.store(watermark.0, Ordering::Relaxed);
    }
}

/// One source, over all its tasks.
#[derive(Debug)]
pub(super) struct SourceMetrics {
    table: String,
    has_watermark: bool,
    idle_timeout_ms: Option<u64>,
    /// What the connector counts.
    pub(super) connector: Arc<Metrics>,
    /// Rows read.
    pub(super) rows: AtomicU64,
    tasks: Mutex<Vec<SourceTaskState>>,
}

/// How one task of a source stands.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceTaskState {
    /// Its splits that are not finished.
    pub(super) splits: Vec<SplitView>,
    /// Whether it has read all it ever will.
    pub(super) ended: bool,
    /// What its reader waits for.
    pub(super) waits_for: Option<String>,
}

impl SourceMetrics {
    /// Nothing yet.
    pub(super) fn new(table: String, watermark: Option<Option<u64>>, tasks: usize) -> Arc<Self> {
        let connector = Arc::new(Metrics::default());
        connector.lag.store(-1, Ordering::Relaxed);
        Arc::new(Self {
            table,
            has_watermark: watermark.is_some(),
            idle_timeout_ms: watermark.flatten(),
            connector,
            rows: AtomicU64::new(0),
            tasks: Mutex::new(vec![SourceTaskState::default(); tasks]),
        })
    }

    /// How task `task` stands now.
    pub(super) fn set(&self, task: usize, state: SourceTaskState) {
        lock(&self.tasks)[task] = state;
    }

    fn snapshot(&self, now_ms: i64) -> SourceSnapshot {
        let tasks = lock(&self.tasks);
        let mut splits: Vec<_> = tasks
            .iter()
            .flat_map(|t| &t.splits)
            .map(|s| SplitSnapshot {
                split: s.split.to_string(),
                watermark: Some(s.watermark).filter(|w| *w > Watermark::MIN),
                idle: s.idle,
                silent_ms: now_ms.saturating_sub(s.last_row_ms).max(0),
            })
            .collect();
        splits.sort_by(|a, b| a.split.cmp(&b.split));
        SourceSnapshot {
            table: self.table.clone(),
            rows: self.rows.load(Ordering::Relaxed),
            has_watermark: self.has_watermark,
            idle_timeout_ms: self.idle_timeout_ms,
            ended: tasks.iter().all(|t| t.ended),
            waits_for: tasks.iter().find_map(|t| t.waits_for.clone()),
            splits,
        }
    }
}

impl JobMetrics {
    /// Operators with a key whose state alone is more than the memory budget, and a sentence about each.
    pub(super) fn oversized_keys(&self) -> Vec<(NodeId, String)> {
        let total = self.memory.as_ref().map_or(0, |memory| memory.total()) as u64;
        let mut told: Vec<(NodeId, String)> = Vec::new();
        for operator in &self.operators {
            let bytes = operator.oversized_key.load(Ordering::Relaxed);
            if bytes > 0 && told.iter().all(|(node, _)| *node != operator.node) {
                told.push((operator.node, oversized_key(&operator.name, bytes, total)));
            }
        }
        told
    }

    /// All of it, for the status line.
    pub(super) fn progress(&self, clock: &dyn Clock) -> Progress {
        let now_ms = clock.now_ms();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut progress = Progress::default();
        let mut snapshot = Snapshot::default();
        for source in &self.sources {
            let state = source.snapshot(now_ms);
            progress.rows_in += state.rows;
            progress.skipped_rows += load(&source.connector.skipped);
            progress.late_rows += load(&source.connector.late);
            progress.sources.push(SourceProgress {
                table: state.table.clone(),
                rows: state.rows,
                bytes: load(&source.connector.bytes),
                commits_succeeded: load(&source.connector.commits_succeeded),
                commits_failed: load(&source.connector.commits_failed),
                lag: source.connector.lag.load(Ordering::Relaxed),
                splits: if state.has_watermark {
                    state.splits.iter().map(split_progress).collect()
                } else {
                    Vec::new()
                },
                readings: source.connector.splits(),
            });
            snapshot.sources.push(state);
        }
        progress.tasks = self.tasks.iter().map(TaskMetrics::progress).collect();
        let mut sink_watermark: Option<Watermark> = None;
        let mut windows: Vec<(NodeId, Watermark)> = Vec::new();
        for operator in &self.operators {
            let status = *lock(&operator.status);
            let watermark = Watermark(operator.watermark.load(Ordering::Relaxed));
            progress.late_rows += status.late_rows;
            progress.open_windows += status.open_windows;
            progress.state_bytes += status.state_bytes;
            progress.null_time_rows += status.null_time_rows;
            if let Some(fire) = status.next_fire_ms {
                progress.next_fire = progress.next_fire.into_iter().chain([Watermark(fire)]).min();
            }
            if status.open_windows > 0 {
                windows.push((operator.node, watermark));
            }
            if operator.is_sink {
                sink_watermark = sink_watermark.into_iter().chain([watermark]).min();
            }
        }
        if let Some(memory) = &self.memory {
            progress.memory_used = memory.used() as u64;
            progress.memory_total = Some(memory.total()).filter(|t| *t != usize::MAX).unwrap_or(0) as u64;
            progress.spilled_bytes = memory.spilled();
        }
        progress.watermark = sink_watermark.filter(|w| *w > Watermark::MIN);
        progress.rows_out = load(&self.rows_out);
        snapshot.rows_out = progress.rows_out;
        snapshot.late_rows = progress.late_rows;
        snapshot.null_time_rows = progress.null_time_rows;
        snapshot.skipped_rows = progress.skipped_rows;
        snapshot.open_windows = progress.open_windows;
        snapshot.next_fire = progress.next_fire;
        snapshot.watermark =
            windows.iter().map(|(_, w)| *w).min().or(sink_watermark).filter(|w| *w > Watermark::MIN);
        progress.silence = silence::explain(&snapshot);
        progress
    }
}

fn oversized_key(operator: &str, bytes: u64, budget: u64) -> String {
    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
    format!(
        "{operator} has {} MB of state for a single key, more than the memory budget of {} MB. The state of a key is in \
         memory as a whole, so the process takes more than the budget. Raise 'taskmanager.memory.managed.size' \
         (--memory), or use a key with more values.",
        mb(bytes),
        mb(budget)
    )
}

fn split_progress(split: &SplitSnapshot) -> SplitProgress {
    SplitProgress { split: split.split.clone(), watermark: split.watermark, idle: split.idle }
}
