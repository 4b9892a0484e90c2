//! Rows kept as the batches in which they came, each until none of its rows is needed any more.

use super::rows::MAX_BATCH_ROWS;
use crate::error::Result;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;

/// Rows that are not needed, beside half as many as are, before batches are put together anew.
const SPARSE_ROWS: usize = if cfg!(test) { 4 } else { 16 * 1024 };
/// The share of a batch's rows that are needed below which it is then put together anew; and where memory is short.
const NEEDED: f64 = 2.0 / 3.0;
const NEEDED_WHERE_SHORT: f64 = 7.0 / 8.0;

/// A kept row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowRef {
    segment: u32,
    row: u32,
}

impl RowRef {
    /// Stands for a row of NULLs.
    pub(super) const NULLS: Self = Self { segment: u32::MAX, row: 0 };
}

/// Batches with the number of their rows that are still needed.
pub(super) struct Segments {
    schema: SchemaRef,
    batches: Vec<Option<RecordBatch>>,
    live: Vec<u32>,
    free: Vec<u32>,
    bytes: usize,
    /// Rows of all batches, and those of them that are needed.
    held_rows: usize,
    live_rows: usize,
}

impl Segments {
    /// No rows.
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            batches: Vec::new(),
            live: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            held_rows: 0,
            live_rows: 0,
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Keeps all rows of `records`; row i is `segment.row(i)`.
    pub(super) fn add(&mut self, records: RecordBatch) -> Segment {
        self.bytes += records.get_array_memory_size();
        let live = records.num_rows() as u32;
        self.held_rows += live as usize;
        self.live_rows += live as usize;
        match self.free.pop() {
            Some(at) => {
                self.batches[at as usize] = Some(records);
                self.live[at as usize] = live;
                Segment(at)
            }
            None => {
                self.batches.push(Some(records));
                self.live.push(live);
                Segment(self.batches.len() as u32 - 1)
            }
        }
    }

    /// The row is not needed any more.
    pub(super) fn release(&mut self, row: RowRef) {
        let at = row.segment as usize;
        self.live[at] -= 1;
        self.live_rows -= 1;
        if self.live[at] == 0
            && let Some(batch) = self.batches[at].take()
        {
            self.bytes = self.bytes.saturating_sub(batch.get_array_memory_size());
            self.held_rows -= batch.num_rows();
            self.free.push(row.segment);
        }
    }

    /// Moves the rows that are needed together where many others are kept only for their batches' sake; where memory is
    /// `short`, sooner. `rows` gives all that are needed; those that are moved tell where they are now.
    pub(super) fn pack<'a, I: Iterator<Item = &'a mut RowRef>>(
        &mut self,
        short: bool,
        rows: impl FnOnce() -> I,
    ) -> Result<()> {
        let gone = self.held_rows - self.live_rows;
        let (wanted, needed) = match short {
            false => (SPARSE_ROWS + self.live_rows / 2, NEEDED),
            true => (self.held_rows / 4, NEEDED_WHERE_SHORT),
        };
        if gone <= wanted { Ok(()) } else { self.move_together(needed, rows()) }
    }

    /// Moves rows out of batches of which a lesser share than `needed` is needed to new batches.
    fn move_together<'a>(&mut self, needed: f64, rows: impl Iterator<Item = &'a mut RowRef>) -> Result<()> {
        let is_sparse = |(batch, live): (&Option<RecordBatch>, &u32)| {
            batch.as_ref().is_some_and(|b| f64::from(*live) < b.num_rows() as f64 * needed)
        };
        let sparse: Vec<bool> = self.batches.iter().zip(&self.live).map(is_sparse).collect();
        let mut rows: Vec<&mut RowRef> =
            rows.filter(|row| sparse.get(row.segment as usize) == Some(&true)).collect();
        // Batch by batch, so that the first are gone before the last are moved.
        rows.sort_unstable_by_key(|row| (row.segment, row.row));
        for part in rows.chunks_mut(MAX_BATCH_ROWS) {
            let old: Vec<RowRef> = part.iter().map(|row| **row).collect();
            let moved = self.rows(&old)?;
            let segment = self.add(moved);
            part.iter_mut().enumerate().for_each(|(at, row)| **row = segment.row(at));
            old.into_iter().for_each(|row| self.release(row));
        }
        Ok(())
    }

    /// Columns `columns` of `rows`, in that order.
    pub(super) fn take(&self, rows: &[RowRef], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        // Local numbers of the segments that are read.
        let mut numbers = vec![usize::MAX; self.batches.len()];
        let mut read: Vec<usize> = Vec::new();
        let mut padded = false;
        for row in rows {
            match numbers.get_mut(row.segment as usize) {
                None => padded = true,
                Some(number) if *number == usize::MAX => {
                    *number = read.len();
                    read.push(row.segment as usize);
                }
                Some(_) => {}
            }
        }
        let picks: Vec<(usize, usize)> = rows
            .iter()
            .map(|row| match numbers.get(row.segment as usize) {
                Some(number) => (*number, row.row as usize),
                None => (read.len(), 0),
            })
            .collect();
        columns
            .iter()
            .map(|column| {
                let data_type = self.schema.field(*column).data_type();
                let nulls = new_null_array(data_type, usize::from(padded));
                let mut arrays: Vec<&dyn Array> = read
                    .iter()
                    .filter_map(|s| self.batches[*s].as_ref())
                    .map(|batch| batch.column(*column).as_ref())
                    .collect();
                if padded || arrays.is_empty() {
                    arrays.push(nulls.as_ref());
                }
                Ok(interleave(&arrays, &picks)?)
            })
            .collect()
    }

    /// All columns of `rows` as a batch.
    pub(super) fn rows(&self, rows: &[RowRef]) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), self.take(rows, &all)?, &options)?)
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }

    /// Those of them that are of rows that nobody needs.
    pub(super) fn spare(&self) -> usize {
        let gone = self.held_rows - self.live_rows;
        (self.bytes as u128 * gone as u128).checked_div(self.held_rows as u128).unwrap_or(0) as usize
    }

    /// Number of rows that are needed.
    pub(super) fn live_rows(&self) -> usize {
        self.live_rows
    }
}

/// Rows that were added together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment(u32);

impl Segment {
    /// Row `row`.
    pub(super) fn row(self, row: usize) -> RowRef {
        RowRef { segment: self.0, row: row as u32 }
    }
}
