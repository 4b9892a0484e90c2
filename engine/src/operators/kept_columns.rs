//! Whole rows by key as the columns in which they came, as the payload of a `GroupStore`: what Top-N and deduplication
//! keep of inserts.
//!
//! Nothing is copied on the way in: rows stay in their batches. What goes to disk or into a checkpoint is gathered.

use super::kept_rows::KeptTable;
use super::rows::MAX_BATCH_ROWS;
use super::segments::{RowRef, Segments};
use crate::error::{Error, Result};
use crate::state::{GroupStore, Payload, SnapshotKind, StateReader, StateRows};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// Which rows a key has, and what the operator knows of them beside their columns.
pub(super) trait RowIndex: Send + Sized {
    /// Whether a key may have more than one row.
    const MANY: bool;
    /// What is known of the rows of a batch.
    type Beside;

    /// An empty one of the same kind.
    fn fresh(&self) -> Self;

    /// Makes room for `groups`.
    fn resize(&mut self, groups: usize);

    /// What is to be known of rows that come back.
    fn beside(&self, records: &RecordBatch) -> Result<Self::Beside>;

    /// Row `at` of the batch that `beside` is of comes back, as the last of its group. Gives the row whose place it
    /// takes.
    fn put(&mut self, group: u32, row: RowRef, beside: &Self::Beside, at: usize) -> Option<RowRef>;

    /// The rows of a group, in order.
    fn rows(&self, group: u32) -> impl Iterator<Item = RowRef>;

    /// All rows.
    fn rows_mut(&mut self) -> impl Iterator<Item = &mut RowRef>;

    /// Makes a group empty. Gives the rows that it had.
    fn clear(&mut self, group: u32) -> impl Iterator<Item = RowRef> + use<Self>;

    /// Bytes held beside the columns of `rows` rows, estimated.
    fn size(&self, rows: usize) -> usize;

    /// Bytes of a group without rows.
    fn group_size(&self) -> usize;
}

/// The rows of an operator's keys.
pub(super) struct KeptColumns<I> {
    pub(super) index: I,
    pub(super) rows: Segments,
    pub(super) table: KeptTable,
}

impl<I: RowIndex> KeptColumns<I> {
    /// No rows of `input`.
    pub(super) fn new(input: &SchemaRef, table: KeptTable, index: I) -> Self {
        Self { index, rows: Segments::new(input.clone()), table }
    }

    /// Moves the rows together where batches are kept for a few of their rows.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let Self { index, rows, .. } = self;
        rows.pack(false, || index.rows_mut())
    }

    /// All columns of rows.
    pub(super) fn take(&self, rows: &[RowRef]) -> Result<Vec<ArrayRef>> {
        let all: Vec<usize> = (0..self.rows.schema().fields().len()).collect();
        self.rows.take(rows, &all)
    }

    /// Rows come back: row `i` goes to `groups[i]`.
    pub(super) fn put_back(&mut self, records: RecordBatch, groups: impl Iterator<Item = u32>) -> Result<()> {
        if records.num_rows() == 0 {
            return Ok(());
        }
        let beside = self.index.beside(&records)?;
        let segment = self.rows.add(records);
        for (at, group) in groups.enumerate() {
            if let Some(gone) = self.index.put(group, segment.row(at), &beside, at) {
                self.rows.release(gone);
            }
        }
        Ok(())
    }
}

/// Takes back all rows of a checkpoint, those of a group in order: for an operator with this store alone.
///
/// Errors: the rows are of another table.
pub(super) fn restore<I: RowIndex>(
    store: &mut GroupStore<KeptColumns<I>>,
    state: &mut dyn StateReader,
) -> Result<()> {
    let table = store.payload().table.clone();
    while let Some(part) = state.next_rows()? {
        if let Some(back) = table.put_back(store, &part)? {
            store.payload_mut().put_back(back.records, back.groups.into_iter())?;
            store.settle_put_back(&[])?;
        }
    }
    Ok(())
}

impl<I: RowIndex> Payload for KeptColumns<I> {
    fn resize(&mut self, groups: usize) {
        self.index.resize(groups);
    }

    /// The columns of each group's row; of many rows, a list of them.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let (mut rows, mut lengths) = (Vec::new(), Vec::with_capacity(groups.len()));
        for group in groups {
            let before = rows.len();
            rows.extend(self.index.rows(*group));
            lengths.push(rows.len() - before);
        }
        let columns = self.take(&rows)?;
        if !I::MANY {
            return Ok(columns);
        }
        let fields = self.rows.schema().fields().clone();
        let rows = StructArray::try_new_with_length(fields, columns, None, rows.len())?;
        let item = Arc::new(Field::new_list_field(rows.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(vec![Arc::new(ListArray::try_new(item, offsets, Arc::new(rows), None)?)])
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let schema = self.rows.schema().clone();
        if !I::MANY {
            return self.put_back(RecordBatch::try_new(schema, columns.to_vec())?, groups.iter().copied());
        }
        let lists = columns.first().and_then(|c| c.as_list_opt::<i32>());
        let Some(lists) = lists else { return Err(Error::internal("Kept rows are not a list.")) };
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[groups.len()] as usize);
        let rows = lists.values().as_struct().slice(first, last - first);
        let lengths = offsets.windows(2).map(|o| (o[1] - o[0]) as usize);
        let groups = groups.iter().zip(lengths).flat_map(|(group, rows)| std::iter::repeat_n(*group, rows));
        self.put_back(RecordBatch::try_new(schema, rows.columns().to_vec())?, groups)
    }

    fn clear(&mut self, group: u32) {
        for row in self.index.clear(group) {
            self.rows.release(row);
        }
    }

    fn size(&self) -> usize {
        self.rows.size() + self.index.size(self.rows.live_rows())
    }

    fn spare(&self, free: usize, _: usize) -> usize {
        free * self.index.group_size()
    }

    fn pack(&mut self) -> Result<()> {
        let Self { index, rows, .. } = self;
        rows.pack(true, || index.rows_mut())
    }

    fn fresh(&self) -> Result<Self> {
        Ok(Self::new(self.rows.schema(), self.table.clone(), self.index.fresh()))
    }

    /// The number beside a row is its place in the group.
    fn rows(&self, groups: &[u32], keys: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        let mut out = Vec::new();
        if groups.is_empty() {
            return Ok(Some(out));
        }
        if I::MANY && kind == SnapshotKind::Delta {
            // What an earlier snapshot holds of them gives way as a whole.
            out.push(self.table.deleted(keys)?);
        }
        let numbered = |group: &u32| self.index.rows(*group).zip(0..);
        let rows: Vec<(RowRef, i64)> = groups.iter().flat_map(numbered).collect();
        for part in rows.chunks(MAX_BATCH_ROWS) {
            let refs: Vec<RowRef> = part.iter().map(|(row, _)| *row).collect();
            let mut columns = self.take(&refs)?;
            for number in 0..self.table.numbers() {
                let place = |(_, place): &(RowRef, i64)| Some(*place).filter(|_| number == 0);
                columns.push(Arc::new(part.iter().map(place).collect::<Int64Array>()));
            }
            out.push(self.table.rows(&columns, part.len())?);
        }
        Ok(Some(out))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        Ok(Some(vec![self.table.deleted(keys)?]))
    }
}
