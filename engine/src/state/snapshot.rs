//! What an operator gives to a checkpoint and takes back from one: rows of state tables, and small values.

use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;

/// Rows of one table of an operator's state. A table's first columns are its key; what "key" means is the
/// operator's business, as long as a later row with the same key takes the place of an earlier one.
#[derive(Debug, Clone)]
pub struct StateRows {
    /// Name of the table, unique in the operator and the same in every release: `groups`, `slices`.
    pub table: String,
    /// The key group of each row: at a restore a row goes to the task that owns its group. `None`: the rows are
    /// not keyed (a global aggregate, say) and go to task 0.
    pub key_groups: Option<Vec<u32>>,
    /// The rows. Column names and types are stored with them and checked when they come back.
    pub rows: RecordBatch,
    /// Rows whose key was taken away since the last snapshot: only their key columns count. `None`: none was.
    pub deleted: Option<BooleanBuffer>,
}

/// Whether a snapshot holds all of an operator's state or what has changed since its last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// All: stands for itself.
    Full,
    /// Changes: read after the operator's earlier snapshots up to its last full one.
    Delta,
}

/// Whether an operator has given all of its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// It has.
    Done,
    /// There is more: `Operator::continue_snapshot` wants to be called, between messages.
    More,
}

/// Receives an operator's snapshot. The task takes what is in it after each call and has it written elsewhere.
#[derive(Debug)]
pub struct StateWriter {
    kind: SnapshotKind,
    rows: Vec<StateRows>,
    values: Vec<(String, Vec<u8>)>,
}

impl StateWriter {
    /// For a snapshot that may be of `kind`.
    pub fn new(kind: SnapshotKind) -> Self {
        Self { kind, rows: Vec::new(), values: Vec::new() }
    }

    /// What is asked for. An operator that does not keep track of changes answers a `Delta` with [`Self::full`].
    pub fn kind(&self) -> SnapshotKind {
        self.kind
    }

    /// All of the state will be written, though changes alone would do.
    pub fn full(&mut self) {
        self.kind = SnapshotKind::Full;
    }

    /// Adds rows.
    pub fn rows(&mut self, rows: StateRows) {
        if rows.rows.num_rows() > 0 {
            self.rows.push(rows);
        }
    }

    /// Adds a small value of this task that is not keyed. All values are written in every snapshot, full or not.
    pub fn value(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.values.push((name.to_string(), value.into()));
    }

    /// What was added since the last call.
    pub fn take(&mut self) -> (Vec<StateRows>, Vec<(String, Vec<u8>)>) {
        (std::mem::take(&mut self.rows), std::mem::take(&mut self.values))
    }
}

/// An operator's state from a checkpoint, for one task: rows of its key groups only, values of all tasks.
pub trait StateReader {
    /// The next rows, of all tables, each operator instance's snapshots from the oldest to the newest; `None`
    /// at the end. Rows with `deleted` take away earlier ones.
    ///
    /// Errors: the checkpoint cannot be read.
    fn next_rows(&mut self) -> Result<Option<StateRows>>;

    /// The values of this name that the tasks of the checkpoint wrote, in the order of the tasks.
    fn values(&self, name: &str) -> Vec<&[u8]>;
}
