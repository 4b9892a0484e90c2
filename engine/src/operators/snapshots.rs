//! What operators share for their snapshots: sets of groups, rows of state tables, and what was told before.

use super::OpenContext;
use super::rows::MAX_BATCH_ROWS;
use crate::error::{Error, Result};
use crate::state::key_group::{key_groups, task_of};
use crate::state::{StateReader, StateRows, StateWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat;
use arrow::datatypes::{Field, Int64Type, Schema};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// Groups or rows that one call of `snapshot` or `continue_snapshot` gives: a few milliseconds' work.
pub(super) const PART_ROWS: usize = if cfg!(test) { 3 } else { 16 * 1024 };

const BITS: usize = u64::BITS as usize;

/// A set of group indexes, dense.
#[derive(Debug, Default)]
pub(super) struct GroupSet {
    words: Vec<u64>,
    count: usize,
    /// No word before this one has a bit.
    first: usize,
}

impl GroupSet {
    /// Whether no group is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds `group`.
    #[inline]
    pub(super) fn insert(&mut self, group: u32) {
        let (word, bit) = (group as usize / BITS, 1 << (group as usize % BITS));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.count += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.first = self.first.min(word);
    }

    /// Takes `group` out; tells whether it was in.
    #[inline]
    pub(super) fn remove(&mut self, group: u32) -> bool {
        let (word, bit) = (group as usize / BITS, 1 << (group as usize % BITS));
        let held = self.words.get(word).is_some_and(|w| w & bit != 0);
        if held {
            self.words[word] &= !bit;
            self.count -= 1;
        }
        held
    }

    /// Takes the first groups out, ascending, at most `most`.
    pub(super) fn take(&mut self, most: usize) -> Vec<u32> {
        let mut taken = Vec::with_capacity(most.min(self.count));
        while taken.len() < most && self.count > 0 {
            match self.words.get_mut(self.first) {
                Some(0) => self.first += 1,
                Some(word) => {
                    let bit = word.trailing_zeros();
                    *word &= *word - 1;
                    self.count -= 1;
                    taken.push((self.first * BITS) as u32 + bit);
                }
                None => break,
            }
        }
        taken
    }

    /// Takes those of `groups` out that are in it, each once.
    pub(super) fn take_these(&mut self, groups: &[u32]) -> Vec<u32> {
        if self.count == 0 {
            return Vec::new();
        }
        groups.iter().copied().filter(|group| self.remove(*group)).collect()
    }

    /// Adds all of `groups`.
    pub(super) fn extend(&mut self, groups: impl IntoIterator<Item = u32>) {
        groups.into_iter().for_each(|group| self.insert(group));
    }
}

/// Gathers rows of one state table into few batches. Columns: `bounds` times, then keys, then the rest.
#[derive(Debug)]
pub(super) struct TableRows {
    table: &'static str,
    bounds: usize,
    keys: usize,
    max_parallelism: usize,
    parts: Vec<Vec<ArrayRef>>,
    rows: usize,
}

impl TableRows {
    /// For `table`, whose first `bounds` columns are times and the next `keys` columns the key.
    pub(super) fn new(table: &'static str, bounds: usize, keys: usize, max_parallelism: usize) -> Self {
        Self { table, bounds, keys, max_parallelism, parts: Vec::new(), rows: 0 }
    }

    /// Rows gathered.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Adds rows.
    pub(super) fn add(&mut self, columns: Vec<ArrayRef>) {
        self.rows += columns.first().map_or(0, |c| c.len());
        self.parts.push(columns);
    }

    /// Gives what was gathered to `out`.
    pub(super) fn give(&mut self, out: &mut StateWriter) -> Result<()> {
        if let Some(rows) = self.finish()? {
            out.rows(rows);
        }
        Ok(())
    }

    /// What was gathered.
    pub(super) fn finish(&mut self) -> Result<Option<StateRows>> {
        self.rows = 0;
        let parts = std::mem::take(&mut self.parts);
        let Some(first) = parts.first() else { return Ok(None) };
        let column = |i: usize| {
            let arrays: Vec<&dyn Array> = parts.iter().map(|p| p[i].as_ref()).collect();
            Ok(if let [only] = &parts[..] { Arc::clone(&only[i]) } else { concat(&arrays)? })
        };
        let columns = (0..first.len()).map(column).collect::<Result<Vec<_>>>()?;
        let keys = self.bounds..self.bounds + self.keys;
        state_rows(self.table, columns, keys, self.bounds, self.max_parallelism).map(Some)
    }
}

/// Rows of a state table out of columns of which `keys` decide the key group.
pub(super) fn state_rows(
    table: &str,
    columns: Vec<ArrayRef>,
    keys: Range<usize>,
    bounds: usize,
    max_parallelism: usize,
) -> Result<StateRows> {
    let name = |i: usize| match i {
        i if i < bounds => ["start", "end"].get(i).map_or_else(|| format!("time{i}"), ToString::to_string),
        i if keys.contains(&i) => format!("key{}", i - keys.start),
        i => format!("state{}", i - keys.end),
    };
    let field = |(i, c): (usize, &ArrayRef)| Field::new(name(i), c.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
    let groups = groups_of(&columns[keys], max_parallelism)?;
    let rows = columns.first().map_or(0, |c| c.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
    Ok(StateRows { table: table.to_owned(), key_groups: groups, rows, deleted: None })
}

/// The key group of each row; `None` without keys.
pub(super) fn groups_of(keys: &[ArrayRef], max_parallelism: usize) -> Result<Option<Vec<u32>>> {
    if keys.is_empty() {
        return Ok(None);
    }
    let mut groups = Vec::new();
    key_groups(keys, max_parallelism, &mut groups)?;
    Ok(Some(groups))
}

/// Column `index` of rows that come back, as times.
pub(super) fn times(rows: &RecordBatch, index: usize) -> Result<Int64Array> {
    let column = rows.columns().get(index).and_then(|c| c.as_primitive_opt::<Int64Type>());
    column.cloned().ok_or_else(|| {
        Error::user("The checkpoint's rows are not of this operator.").with_hint(
            "Restore into the query that wrote it, or drop the state with execution.savepoint.ignore-unclaimed-state.",
        )
    })
}

/// The error for a state table that an operator does not know.
pub(super) fn unknown_table(table: &str, operator: &str) -> Error {
    Error::user(format!("The checkpoint has a state table '{table}', which {operator} does not know.")).with_hint(
        "Restore into the query that wrote it; a checkpoint of a later release cannot be restored by an earlier one.",
    )
}

/// How far a task had told its windows, in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    task: usize,
    parallelism: usize,
    max_parallelism: usize,
    progress: i64,
}

const PROGRESS: &str = "progress";

/// Writes how far windows were told.
pub(super) fn write_progress(out: &mut StateWriter, context: &OpenContext, progress: i64) -> Result<()> {
    let told = Told {
        task: context.task,
        parallelism: context.parallelism,
        max_parallelism: context.max_parallelism,
        progress,
    };
    let text = serde_json::to_vec(&told).map_err(|e| Error::internal(e.to_string()))?;
    out.value(PROGRESS, text);
    Ok(())
}

/// How far the tasks of a checkpoint had told their windows.
#[derive(Debug)]
pub(super) struct Progress(Vec<Told>);

impl Progress {
    /// As `write_progress` wrote it, of all tasks.
    pub(super) fn read(state: &dyn StateReader) -> Result<Self> {
        let read = |text: &[u8]| {
            serde_json::from_slice(text).map_err(|e| {
                Error::user(format!("The checkpoint's progress of windows cannot be read: {e}."))
                    .with_hint("Restore from another checkpoint.")
            })
        };
        state.values(PROGRESS).into_iter().map(read).collect::<Result<_>>().map(Self)
    }

    /// The farthest of all tasks.
    pub(super) fn last(&self) -> i64 {
        self.0.iter().map(|told| told.progress).max().unwrap_or(i64::MIN)
    }

    /// Of the task that held `key_group`. Tasks differ only where windows follow the clock.
    pub(super) fn of(&self, key_group: Option<u32>) -> i64 {
        let holder = |told: &&Told| {
            key_group.is_none_or(|g| task_of(g, told.max_parallelism, told.parallelism) == told.task)
        };
        self.0.iter().find(holder).map_or_else(|| self.last(), |told| told.progress)
    }

    /// Rows next to each other with the same `bounds` and progress: bounds, progress, rows.
    pub(super) fn runs(&self, rows: &StateRows) -> Result<Vec<((i64, i64), i64, Range<usize>)>> {
        let (starts, ends) = (times(&rows.rows, 0)?, times(&rows.rows, 1)?);
        let mut runs: Vec<((i64, i64), i64, Range<usize>)> = Vec::new();
        for (row, bounds) in starts.values().iter().copied().zip(ends.values().iter().copied()).enumerate() {
            let progress = self.of(rows.key_groups.as_ref().map(|groups| groups[row]));
            match runs.last_mut() {
                Some((b, p, range)) if (*b, *p) == (bounds, progress) && range.len() < MAX_BATCH_ROWS => {
                    range.end += 1;
                }
                _ => runs.push((bounds, progress, row..row + 1)),
            }
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_groups_give_each_group_once() {
        let mut set = GroupSet::default();
        set.extend([3, 200, 64, 3]);
        assert_eq!(set.take_these(&[64, 5, 64]), [64]);
        assert_eq!(set.take(1), [3]);
        set.insert(0);
        assert!(!set.is_empty());
        assert_eq!(set.take(9), [0, 200]);
        assert!(set.is_empty() && set.take(9).is_empty());
    }
}
