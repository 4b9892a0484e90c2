//! Window Top-N and window deduplication: the first rows of each window and partition, when the window ends.

use super::kept_columns::{KeptColumns, RowIndex};
use super::kept_rows::{KeptTable, ROWS};
use super::local_time::LocalTime;
use super::ranked_rows::{Lists, Ranked, SortKey};
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, milliseconds, parts};
use super::segments::RowRef;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::WindowTopNNode;
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter, StoreContext};
use crate::time::Watermark;
use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Number beside a row of the state table: its place among those of its window and partition.
const SEQUENCE: &str = "$sequence";
/// Value of a checkpoint: the event time up to which windows have fired.
const PROGRESS: &str = "progress";

/// Keeps no more than N rows of each window and partition, and emits them in their order when the watermark comes to
/// the window's end - 1 ms. Rows of windows that have fired are late: dropped and counted.
pub struct WindowTopN {
    node: WindowTopNNode,
    output: SchemaRef,
    local: LocalTime,
    /// The bounds of the window are part of the key.
    store: GroupStore<KeptColumns<Lists>>,
    groups: Vec<u32>,
    /// Ends of the windows that are open.
    windows: BTreeSet<i64>,
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
}

impl WindowTopN {
    /// Columns of `output`: the input's, then the rank where it is wanted.
    ///
    /// Errors: a column of a type that cannot be kept or ordered.
    pub fn new(node: &WindowTopNNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let table = KeptTable::new(&input, &node.partition, &[SEQUENCE]);
        let (types, index) = (table.key_types(), Lists::new(&node.order, &input)?);
        Ok(Self {
            local: LocalTime::new(node.zone),
            store: GroupStore::new(ROWS, &types, KeptColumns::new(&input, table, index))?,
            groups: Vec::new(),
            windows: BTreeSet::new(),
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            node: node.clone(),
            output,
        })
    }

    /// The watermark that fires the window that ends at `end`.
    fn fires_at(&self, end: i64) -> i64 {
        self.local.passed(end - 1)
    }

    /// Leaves out rows of windows that have fired or have no end. Gives the ends of the others.
    fn in_time(&mut self, records: &RecordBatch) -> Result<(RecordBatch, Int64Array)> {
        let ends = milliseconds(records.column(self.node.window_end))?;
        let mut picks: Vec<u32> = Vec::with_capacity(ends.len());
        let mut open = i64::MIN;
        for row in 0..ends.len() {
            let end = ends.value(row);
            if ends.is_null(row) {
                self.null_time_rows += 1;
            } else if end == open || self.fires_at(end) > self.progress {
                open = end;
                picks.push(row as u32);
            } else {
                self.late_rows += 1;
            }
        }
        if picks.len() == ends.len() {
            return Ok((records.clone(), ends));
        }
        let records = take_record_batch(records, &UInt32Array::from(picks))?;
        let ends = milliseconds(records.column(self.node.window_end))?;
        Ok((records, ends))
    }

    /// Takes rows in.
    fn add(&mut self, records: &RecordBatch, now_ms: i64) -> Result<()> {
        let (records, ends) = self.in_time(records)?;
        let mut groups = std::mem::take(&mut self.groups);
        let keys = self.store.payload().table.key_columns(&records);
        self.store.enter(&keys, records.num_rows(), now_ms, &mut groups)?;
        let kept = self.store.payload_mut();
        let (sort, inline) = (kept.index.sort.encode(&records)?, kept.index.inline);
        let segment = kept.rows.add(records);
        for (row, group) in groups.iter().enumerate() {
            let kept = self.store.payload_mut();
            let ranked = &mut kept.index.ranked[*group as usize];
            let key = SortKey::new(sort.get(row), inline);
            let full = ranked.len() as u64 >= self.node.end;
            let last_of_equals = self.node.last_of_equals;
            let ranks_before = |other: &Ranked| key < other.key || last_of_equals && key == other.key;
            if full && !ranked.last().is_some_and(ranks_before) {
                kept.rows.release(segment.row(row));
                continue;
            }
            let at = ranked.partition_point(|other| !ranks_before(other));
            let is_new = ranked.is_empty();
            if full && let Some(last) = ranked.pop() {
                kept.rows.release(last.row);
            }
            ranked.insert(at, Ranked { key, row: segment.row(row) });
            self.store.change(*group, now_ms);
            if is_new {
                self.open_window(*group, ends.value(row));
            }
        }
        self.groups = groups;
        self.store.payload_mut().tidy()?;
        self.store.settle(now_ms)
    }

    /// `group` is of the window that ends at `end`.
    fn open_window(&mut self, group: u32, end: i64) {
        self.store.wake_at(group, self.fires_at(end));
        self.windows.insert(end);
    }

    /// Emits the rows of groups.
    fn tell(&self, groups: &[u32], out: &mut dyn Collector) -> Result<()> {
        let kept = self.store.payload();
        let (first, count) = (self.node.start, self.node.end.saturating_sub(self.node.start - 1));
        let ranked = |group: &u32| {
            let rows = kept.index.rows(*group).zip(1i64..);
            rows.skip(first as usize - 1).take(count as usize)
        };
        let rows: Vec<(RowRef, i64)> = groups.iter().flat_map(ranked).collect();
        for part in rows.chunks(MAX_BATCH_ROWS) {
            let refs: Vec<RowRef> = part.iter().map(|(row, _)| *row).collect();
            let mut columns = kept.take(&refs)?;
            if self.node.rank_number {
                columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, rank)| *rank))));
            }
            out.emit(ChangeBatch::inserts(batch(&self.output, columns, part.len())?))?;
        }
        Ok(())
    }

    fn close_windows(&mut self) {
        while let Some(end) = self.windows.first().filter(|end| self.fires_at(**end) <= self.progress) {
            let end = *end;
            self.windows.remove(&end);
        }
    }
}

impl Operator for WindowTopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().table.open(context);
        self.store.open(StoreContext { ttl_ms: 0, ..context.store() });
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "A window Top-N")?;
        self.progress = self.progress.max(context.watermark.0);
        let most = self.store.rows_at_once();
        parts(&input, most, |part| self.add(part.records(), context.now_ms))
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.progress = self.progress.max(watermark.0);
        // Window by window, whether in memory or on disk.
        while let Some(time) = self.store.next_wake().filter(|time| *time <= self.progress) {
            let groups = self.store.wake(time)?;
            self.tell(&groups, out)?;
            self.store.remove(groups)?;
            self.store.payload_mut().tidy()?;
            self.store.settle(context.now_ms)?;
        }
        self.close_windows();
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let table = self.store.payload().table.clone();
        while let Some(part) = state.next_rows()? {
            let Some(back) = table.put_back(&mut self.store, &part)? else { continue };
            let ends = milliseconds(back.records.column(self.node.window_end))?;
            self.store.payload_mut().put_back(back.records, back.groups.iter().copied())?;
            for (group, end) in back.groups.iter().zip(ends.values()) {
                self.open_window(*group, *end);
            }
            self.store.settle_put_back(&[])?;
        }
        let progress = state.values(PROGRESS);
        let progress = progress.iter().filter_map(|v| serde_json::from_slice::<i64>(v).ok()).min();
        self.progress = progress.unwrap_or(i64::MIN);
        self.close_windows();
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.value(PROGRESS, self.progress.to_string());
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            open_windows: self.windows.len() as u64,
            next_fire_ms: self.store.next_wake(),
            state_bytes: self.store.size() as u64,
        }
    }
}
