//! Operators that take every step beside the one under test, through snapshots and restores.

use super::{Emitted, Step, text};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::operators::{OpenContext, Operator, OperatorContext};
use crate::state::key_group::{key_groups, task_of};
use crate::state::{MemoryBudget, SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
use arrow::array::{BooleanArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use std::collections::VecDeque;
use std::sync::Arc;

type Make = Box<dyn Fn() -> Box<dyn Operator>>;

const MAX_PARALLELISM: usize = 128;
/// A full snapshot every so many; the others may be deltas.
const FULL_EVERY: usize = 5;
/// How many tasks there are, step after step.
const PARALLELISM: [usize; 5] = [2, 3, 1, 4, 2];

/// What the snapshots of one task hold.
#[derive(Default, Clone)]
struct Stored {
    rows: Vec<StateRows>,
    values: Vec<(String, Vec<u8>)>,
}

impl Stored {
    fn add(&mut self, mut writer: StateWriter) {
        if writer.kind() == SnapshotKind::Full {
            self.rows.clear();
        }
        let (rows, values) = writer.take();
        self.rows.extend(rows);
        self.values = values;
    }
}

/// What the tasks of a checkpoint hold, for task `task` of `parallelism`.
struct Reader {
    rows: VecDeque<StateRows>,
    values: Vec<(String, Vec<u8>)>,
}

impl Reader {
    fn new(stored: &[Stored], task: usize, parallelism: usize) -> Self {
        let mine = |rows: &StateRows| match &rows.key_groups {
            None => Some(rows.clone()).filter(|_| task == 0),
            Some(groups) => {
                let mine = |g: &u32| task_of(*g, MAX_PARALLELISM, parallelism) == task;
                let mask = BooleanArray::from(groups.iter().map(mine).collect::<Vec<_>>());
                let kept = |bits: &BooleanBuffer| {
                    mask.values().set_indices().map(|row| bits.value(row)).collect::<BooleanBuffer>()
                };
                Some(StateRows {
                    table: rows.table.clone(),
                    key_groups: Some(groups.iter().copied().filter(mine).collect()),
                    rows: filter_record_batch(&rows.rows, &mask).unwrap(),
                    deleted: rows.deleted.as_ref().map(kept),
                })
            }
        };
        Self {
            rows: stored.iter().flat_map(|s| &s.rows).filter_map(mine).collect(),
            values: stored.iter().flat_map(|s| &s.values).cloned().collect(),
        }
    }
}

impl StateReader for Reader {
    fn next_rows(&mut self) -> Result<Option<StateRows>> {
        Ok(self.rows.pop_front())
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.values.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect()
    }
}

pub(super) struct Shadows {
    make: Make,
    keys: Vec<Vec<usize>>,
    steps: usize,
    /// One task, snapshots full and delta.
    single: Box<dyn Operator>,
    stored: Stored,
    /// Several tasks, full snapshots.
    split: Vec<Box<dyn Operator>>,
    /// What `single` may use from the first step on: nothing, so that all that can go to disk does after each batch.
    nothing: Arc<MemoryBudget>,
    _disk: tempfile::TempDir,
}

fn context(task: usize, parallelism: usize, memory: Arc<MemoryBudget>) -> OpenContext {
    OpenContext {
        task,
        parallelism,
        max_parallelism: MAX_PARALLELISM,
        name: format!("test-{task}"),
        memory,
        ..OpenContext::for_tests()
    }
}

fn run(step: &Step, operator: &mut dyn Operator, context: &OperatorContext) -> Vec<String> {
    let mut emitted = Emitted::default();
    step.run(operator, context, &mut emitted).unwrap();
    let told: String = emitted.0.iter().map(text).collect();
    sorted(&told)
}

fn sorted(told: &str) -> Vec<String> {
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

impl Shadows {
    pub(super) fn new(make: Make, keys: &[&[usize]]) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let nothing = MemoryBudget::new(1, disk.path().join("state"));
        let open = |task, parallelism, memory| {
            let mut operator = make();
            operator.open(&context(task, parallelism, memory)).unwrap();
            operator
        };
        let single = open(0, 1, nothing.clone());
        let all = MemoryBudget::unlimited();
        let split = (0..PARALLELISM[0]).map(|task| open(task, PARALLELISM[0], all.clone())).collect();
        let keys = keys.iter().map(|k| k.to_vec()).collect();
        Self { make, keys, steps: 0, single, stored: Stored::default(), split, nothing, _disk: disk }
    }

    fn restored(
        &self,
        stored: &[Stored],
        task: usize,
        parallelism: usize,
        memory: Arc<MemoryBudget>,
    ) -> Box<dyn Operator> {
        let mut operator = (self.make)();
        operator.open(&context(task, parallelism, memory)).unwrap();
        operator.restore(&mut Reader::new(stored, task, parallelism)).unwrap();
        operator
    }

    /// Takes `step`, in which `told` is what comes out.
    pub(super) fn step(&mut self, step: &Step, context: &OperatorContext, told: &str) {
        let told = sorted(told);
        self.step_single(step, context, &told);
        self.step_split(step, context, &told);
        self.steps += 1;
    }

    /// The step runs while a snapshot from before it is being taken, and again after a restore.
    fn step_single(&mut self, step: &Step, context: &OperatorContext, told: &[String]) {
        let kind =
            if self.steps.is_multiple_of(FULL_EVERY) { SnapshotKind::Full } else { SnapshotKind::Delta };
        let mut writer = StateWriter::new(kind);
        let mut progress = self.single.snapshot(self.steps as u64, &mut writer).unwrap();
        assert_eq!(run(step, &mut *self.single, context), told, "step {} during a snapshot", self.steps);
        while progress == SnapshotProgress::More {
            progress = self.single.continue_snapshot(&mut writer).unwrap();
        }
        self.stored.add(writer);
        // Those that go on have no memory, the others have enough.
        let goes_on = self.steps % 3 == 1;
        let memory = if goes_on { self.nothing.clone() } else { MemoryBudget::unlimited() };
        let mut restored = self.restored(std::slice::from_ref(&self.stored), 0, 1, memory);
        assert_eq!(run(step, &mut *restored, context), told, "step {} after a restore", self.steps);
        let (old, new) = (self.single.status(), restored.status());
        assert_eq!(
            (new.open_windows, new.next_fire_ms, restored.next_timer_ms()),
            (old.open_windows, old.next_fire_ms, self.single.next_timer_ms()),
            "after step {}",
            self.steps
        );
        // Both ways on: deltas of an operator that goes on, and of one that was restored.
        if goes_on {
            self.single = restored;
        }
    }

    fn step_split(&mut self, step: &Step, context: &OperatorContext, told: &[String]) {
        let parallelism = self.split.len();
        let mut lines = Vec::new();
        for (task, operator) in self.split.iter_mut().enumerate() {
            let mine = match step {
                Step::Rows(input, batch) => match part(&self.keys[*input], batch, task, parallelism) {
                    Some(batch) => Step::Rows(*input, batch),
                    None => continue,
                },
                other => other.clone(),
            };
            lines.extend(run(&mine, &mut **operator, context));
        }
        lines.sort();
        assert_eq!(lines, told, "step {} on {parallelism} tasks", self.steps);
        let stored: Vec<Stored> = self.split.iter_mut().map(|operator| whole(&mut **operator)).collect();
        let parallelism = PARALLELISM[(self.steps + 1) % PARALLELISM.len()];
        let all = MemoryBudget::unlimited();
        self.split =
            (0..parallelism).map(|task| self.restored(&stored, task, parallelism, all.clone())).collect();
    }
}

/// All of an operator's state.
fn whole(operator: &mut dyn Operator) -> Stored {
    let mut writer = StateWriter::new(SnapshotKind::Full);
    let mut progress = operator.snapshot(1, &mut writer).unwrap();
    while progress == SnapshotProgress::More {
        progress = operator.continue_snapshot(&mut writer).unwrap();
    }
    let mut stored = Stored::default();
    stored.add(writer);
    stored
}

/// The rows of `batch` that go to `task`; `None` where there are none.
pub(super) fn part(
    keys: &[usize],
    batch: &ChangeBatch,
    task: usize,
    parallelism: usize,
) -> Option<ChangeBatch> {
    if keys.is_empty() {
        return Some(batch.clone()).filter(|_| task == 0);
    }
    let columns: Vec<_> = keys.iter().map(|k| batch.records().column(*k).clone()).collect();
    let mut groups = Vec::new();
    key_groups(&columns, MAX_PARALLELISM, &mut groups).unwrap();
    let mine = |(_, g): &(usize, &u32)| task_of(**g, MAX_PARALLELISM, parallelism) == task;
    let rows =
        UInt32Array::from_iter_values(groups.iter().enumerate().filter(mine).map(|(row, _)| row as u32));
    Some(batch.take(&rows).unwrap()).filter(|b| b.num_rows() > 0)
}
