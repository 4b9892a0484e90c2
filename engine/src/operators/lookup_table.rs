//! `lookup.cache` = `FULL`: a table that is read as a whole, kept, and read again now and then.

use super::lookup_rows::LookupRows;
use crate::connector::{LookupContext, Reload, Source, TableLoad};
use crate::error::Result;
use crate::state::KeyTable;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use std::sync::Arc;
use std::time::Duration;

/// Processing time between two looks at whether the table has been read anew, in milliseconds.
const POLL_MS: i64 = 100;

/// All rows of a table by key. While it is read again, the old rows are found.
pub(super) struct LookupTable {
    source: Arc<dyn Source>,
    context: LookupContext,
    reload: Reload,
    max_bytes: usize,
    types: Vec<DataType>,
    index: Option<Index>,
    loading: Option<(TableLoad, i64)>,
    /// When it is to be read again.
    due_ms: Option<i64>,
    looked_ms: i64,
}

/// The rows, and where those of each key are.
struct Index {
    keys: KeyTable,
    /// For each group, where its rows begin and end in `rows`.
    ranges: Vec<(usize, usize)>,
    rows: Vec<usize>,
    records: RecordBatch,
}

impl LookupTable {
    /// Keys of `types`.
    pub(super) fn new(
        source: Arc<dyn Source>,
        reload: Reload,
        context: LookupContext,
        types: Vec<DataType>,
    ) -> Self {
        Self {
            source,
            context,
            reload,
            max_bytes: usize::MAX,
            types,
            index: None,
            loading: None,
            due_ms: None,
            looked_ms: 0,
        }
    }

    /// Reads the table, at most `max_bytes`.
    pub(super) fn open(&mut self, max_bytes: usize, shape: &LookupRows) -> Result<()> {
        self.max_bytes = max_bytes;
        let load = TableLoad::start(&self.source, &self.context, max_bytes);
        loop {
            if let Some(rows) = load.wait(Duration::from_millis(POLL_MS as u64))? {
                self.index = Some(self.indexed(&rows, shape)?);
                return Ok(());
            }
        }
    }

    /// Takes what was read anew, or begins to read where the time has come.
    pub(super) fn refresh(&mut self, now_ms: i64, shape: &LookupRows) -> Result<()> {
        self.looked_ms = now_ms;
        if let Some((load, started_ms)) = self.loading.take() {
            match load.wait(Duration::ZERO)? {
                Some(rows) => {
                    self.index = Some(self.indexed(&rows, shape)?);
                    self.due_ms = self.reload.next_ms(started_ms, now_ms);
                }
                None => self.loading = Some((load, started_ms)),
            }
            return Ok(());
        }
        match self.due_ms {
            // The first time counts from the first look.
            None => self.due_ms = self.reload.next_ms(now_ms, now_ms),
            Some(due) if due <= now_ms => {
                let load = TableLoad::start(&self.source, &self.context, self.max_bytes);
                self.loading = Some((load, now_ms));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// When `refresh` wants to be called, in milliseconds since the epoch.
    pub(super) fn next_ms(&self) -> Option<i64> {
        match &self.loading {
            Some(_) => Some(self.looked_ms + POLL_MS),
            None => self.due_ms,
        }
    }

    /// For each of `count` keys, the rows of [`Self::records`] that are its.
    pub(super) fn find(&self, keys: &[ArrayRef], count: usize) -> Result<Vec<&[usize]>> {
        let Some(index) = &self.index else { return Ok(vec![&[]; count]) };
        let groups = index.keys.find(keys, count)?;
        let rows = |group: Option<u32>| {
            let (from, to) = group.map_or((0, 0), |g| index.ranges[g as usize]);
            &index.rows[from..to]
        };
        Ok(groups.into_iter().map(rows).collect())
    }

    /// All rows.
    pub(super) fn records(&self) -> Option<&RecordBatch> {
        self.index.as_ref().map(|i| &i.records)
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        self.index.as_ref().map_or(0, |i| {
            i.records.get_array_memory_size() + i.keys.size() + i.rows.capacity() * size_of::<usize>()
        })
    }

    fn indexed(&self, read: &[RecordBatch], shape: &LookupRows) -> Result<Index> {
        let mut keys = KeyTable::new(&self.types)?;
        let (mut parts, mut group_of): (Vec<RecordBatch>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut groups = Vec::new();
        for records in read {
            let kept = shape.passing(records)?;
            let key_columns: Vec<ArrayRef> =
                self.context.keys.iter().map(|k| Arc::clone(kept.column(*k))).collect();
            keys.intern(&key_columns, kept.num_rows(), &mut groups)?;
            group_of.extend_from_slice(&groups);
            parts.push(shape.shaped(&kept)?);
        }
        let records = concat_batches(shape.schema(), &parts)?;
        let mut ranges = vec![(0, 0); keys.slots()];
        group_of.iter().for_each(|g| ranges[*g as usize].1 += 1);
        let mut from = 0;
        for range in &mut ranges {
            let count = range.1;
            *range = (from, from);
            from += count;
        }
        let mut rows = vec![0; group_of.len()];
        for (row, group) in group_of.iter().enumerate() {
            let range = &mut ranges[*group as usize];
            rows[range.1] = row;
            range.1 += 1;
        }
        Ok(Index { keys, ranges, rows, records })
    }
}
