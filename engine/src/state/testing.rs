//! Snapshots in tests: kept in memory, given back to any number of tasks.

use super::key_group::task_of;
use super::{SnapshotKind, StateReader, StateRows, StateWriter};
use crate::error::Result;
use arrow::array::UInt32Array;
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;

/// Snapshots of the tasks of one operator, in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    rows: Vec<StateRows>,
    values: Vec<(String, Vec<u8>)>,
}

impl Kept {
    /// Adds all that `writer` holds. A full snapshot of the one task there is replaces what was kept.
    pub(crate) fn add(&mut self, writer: &mut StateWriter, first: bool) {
        let (rows, values) = writer.take();
        if first {
            self.values.clear();
            if writer.kind() == SnapshotKind::Full {
                self.rows.clear();
            }
        }
        self.rows.extend(rows);
        self.values.extend(values);
    }

    /// Number of rows kept.
    pub(crate) fn num_rows(&self) -> usize {
        self.rows.iter().map(|r| r.rows.num_rows()).sum()
    }

    /// Together with the snapshots of another task.
    pub(crate) fn and(mut self, other: Kept) -> Self {
        self.rows.extend(other.rows);
        self.values.extend(other.values);
        self
    }

    /// What task `task` of `parallelism` gets, of `max_parallelism` key groups.
    pub(crate) fn reader(&self, task: usize, parallelism: usize, max_parallelism: usize) -> impl StateReader {
        let own = |rows: &StateRows| {
            let Some(groups) = &rows.key_groups else { return (task == 0).then(|| rows.clone()) };
            assert_eq!(groups.len(), rows.rows.num_rows());
            let picks: Vec<u32> = (0..groups.len() as u32)
                .filter(|row| task_of(groups[*row as usize], max_parallelism, parallelism) == task)
                .collect();
            let deleted = rows.deleted.as_ref();
            Some(StateRows {
                table: rows.table.clone(),
                key_groups: Some(picks.iter().map(|row| groups[*row as usize]).collect()),
                deleted: deleted
                    .map(|d| BooleanBuffer::from_iter(picks.iter().map(|r| d.value(*r as usize)))),
                rows: take_record_batch(&rows.rows, &UInt32Array::from(picks)).unwrap(),
            })
        };
        let rows: Vec<StateRows> = self.rows.iter().filter_map(own).collect();
        Reader { rows: rows.into_iter(), values: self.values.clone() }
    }
}

struct Reader {
    rows: std::vec::IntoIter<StateRows>,
    values: Vec<(String, Vec<u8>)>,
}

impl StateReader for Reader {
    fn next_rows(&mut self) -> Result<Option<StateRows>> {
        Ok(self.rows.next())
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.values.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect()
    }
}
