//! Sorting: by event time as the watermark comes, or all rows at the end of input.

use super::kept_rows::{self, ROWS, key_rows};
use super::row_codec::{RowBytes, RowChanges, RowCodec, SortCodec};
use super::rows::{MAX_BATCH_ROWS, inserts_only, milliseconds};
use super::sorted_runs::{SavedRows, Sorted, SortedRuns};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{SortNode, TimeAttribute};
use crate::state::{Share, SnapshotProgress, StateReader, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const SEQUENCE: &str = "$sequence";
const PROGRESS: &str = "progress";

/// Keeps rows until nothing can come before them. By event time these are the rows up to the watermark; a row at or
/// before the last one that was emitted is late, dropped and counted. By processing time rows of one millisecond are
/// put in order; otherwise all rows wait for the end, and those that were taken back by then do not come. What has no
/// room in memory waits on disk, in order.
pub struct Sort {
    node: SortNode,
    input: SchemaRef,
    output: SchemaRef,
    rows: RowCodec,
    sort: SortCodec,
    /// By event time (or time of arrival), then sort key and sequence.
    waiting: Sorted,
    runs: SortedRuns,
    /// What is held of the memory budget.
    share: Option<Share>,
    /// What the snapshot at hand still wants.
    saving: VecDeque<SavedRows>,
    sequence: u64,
    /// Event time of the last row emitted.
    emitted: i64,
    skipped: u64,
    taken: u64,
    late_rows: u64,
    null_time_rows: u64,
    bytes: usize,
    /// Batch mode, over rows that may be taken back: how often each must not come out.
    taken_back: HashMap<RowBytes, u64>,
}

impl Sort {
    /// `output` has the columns of `input`.
    ///
    /// Errors: a column of a type that cannot be kept or ordered.
    pub fn new(node: &SortNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        // Processing time is not looked at: it is that of arrival.
        let order = match node.time {
            Some(TimeAttribute::Proctime) => &node.order[1.min(node.order.len())..],
            _ => &node.order,
        };
        Ok(Self {
            rows: RowCodec::of_schema(&input)?,
            sort: SortCodec::new(order, &input)?,
            waiting: Sorted::new(),
            runs: SortedRuns::default(),
            share: None,
            saving: VecDeque::new(),
            sequence: 0,
            emitted: i64::MIN,
            skipped: 0,
            taken: 0,
            late_rows: 0,
            null_time_rows: 0,
            bytes: 0,
            taken_back: HashMap::new(),
            node: node.clone(),
            input,
            output,
        })
    }

    fn add(&mut self, records: &RecordBatch, now_ms: i64, sequences: Option<&Int64Array>) -> Result<()> {
        let times = match self.node.time {
            Some(TimeAttribute::Rowtime { column }) => Some(milliseconds(records.column(column))?),
            _ => None,
        };
        let sort = self.sort.encode(records)?;
        let encoded = self.rows.encode(records.columns())?;
        for row in 0..records.num_rows() {
            let time = match (&times, self.node.time) {
                (Some(times), _) if times.is_null(row) => {
                    self.null_time_rows += 1;
                    continue;
                }
                (Some(times), _) => times.value(row),
                (None, Some(_)) => now_ms,
                (None, None) => 0,
            };
            if times.is_some() && time <= self.emitted {
                self.late_rows += 1;
                continue;
            }
            let sequence = sequences.map_or(self.sequence + 1, |s| s.value(row) as u64);
            self.sequence = self.sequence.max(sequence);
            let sort = sort.get(row);
            let mut key = Vec::with_capacity(sort.len() + 8);
            key.extend_from_slice(sort);
            key.extend_from_slice(&sequence.to_be_bytes());
            let bytes: RowBytes = Arc::from(encoded.row(row).data());
            self.bytes += key.len() + bytes.len() + 48;
            self.waiting.insert((time, key.into()), bytes);
            if let (None, Some(fetch)) = (self.node.time, self.node.fetch)
                && self.waiting.len() as u64 > self.node.skip.saturating_add(fetch)
                && let Some(((_, key), row)) = self.waiting.pop_last()
            {
                self.bytes = self.bytes.saturating_sub(key.len() + row.len() + 48);
            }
        }
        self.make_room()
    }

    /// Tells the budget what is held, and moves all rows that wait to disk where that is too much.
    fn make_room(&mut self) -> Result<()> {
        let Some(share) = &mut self.share else { return Ok(()) };
        let over = share.hold(self.bytes);
        // The first rows of all are no more than are wanted.
        let few = self.node.time.is_none() && self.node.fetch.is_some();
        if over == 0 || few || self.waiting.is_empty() {
            return Ok(());
        }
        let rows: usize = self.waiting.iter().map(|((_, key), row)| key.len() + row.len() + 48).sum();
        self.runs.put_down(&mut self.waiting, share)?;
        self.bytes = self.bytes.saturating_sub(rows);
        share.hold(self.bytes);
        Ok(())
    }

    /// The first of all rows that wait, if its time is not after `until`.
    fn next(&mut self, until: i64) -> Result<Option<((i64, Box<[u8]>), RowBytes)>> {
        if !self.runs.is_empty() {
            let after = (until.saturating_add(1), Box::default());
            let first = self.waiting.first_key_value().map_or(&after, |(place, _)| place.min(&after));
            let first = (first.0, first.1.as_ref());
            // At the end of time nothing comes after.
            let first = Some(first).filter(|_| until < i64::MAX || !self.waiting.is_empty());
            if let Some(row) = self.runs.pop_before(first)? {
                return Ok(Some(row));
            }
        }
        let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= until) else {
            return Ok(None);
        };
        let ((time, key), row) = first.remove_entry();
        self.bytes = self.bytes.saturating_sub(key.len() + row.len() + 48);
        Ok(Some(((time, key), row)))
    }

    /// Rows as rows of the state table: their keys, which end with the sequence, and their bytes.
    fn save(&self, keys: &BinaryArray, rows: &BinaryArray, out: &mut StateWriter) -> Result<()> {
        let schema = kept_rows::schema(&self.input, &[SEQUENCE]);
        let mut columns = self.rows.decode((0..rows.len()).map(|row| rows.value(row)))?;
        let sequence = |k: &[u8]| k.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b) as i64);
        let sequences = (0..keys.len()).map(|row| sequence(keys.value(row)));
        columns.push(Arc::new(Int64Array::from_iter_values(sequences)));
        let records = kept_rows::records(&schema, &columns, rows.len())?;
        out.rows(key_rows(ROWS, records, &[], 1)?);
        Ok(())
    }

    /// Emits rows up to `time`.
    fn emit_until(&mut self, time: i64, out: &mut dyn Collector) -> Result<()> {
        let mut changes = RowChanges::default();
        while let Some(((time, _), row)) = self.next(time)? {
            self.emitted = self.emitted.max(time);
            if let Some(times) = self.taken_back.get_mut(&row)
                && *times > 0
            {
                *times -= 1;
                continue;
            }
            if self.skipped < self.node.skip {
                self.skipped += 1;
                continue;
            }
            if self.node.fetch.is_some_and(|fetch| self.taken >= fetch) {
                continue;
            }
            self.taken += 1;
            changes.push(RowKind::Insert, &row, 0);
            if changes.kinds.len() >= MAX_BATCH_ROWS
                && let Some(batch) = changes.take(&self.rows, &self.output, false)?
            {
                out.emit(batch)?;
            }
        }
        match changes.take(&self.rows, &self.output, false)? {
            Some(batch) => out.emit(batch),
            None => Ok(()),
        }
    }
}

impl Operator for Sort {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.share = Some(Share::new(context.memory.clone()));
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        let all_at_the_end = self.node.time.is_none() && self.node.fetch.is_none();
        let Some(kinds) = batch.kinds().filter(|_| all_at_the_end) else {
            inserts_only(&batch, "ORDER BY")?;
            return self.add(batch.records(), context.now_ms, None);
        };
        let adds: BooleanArray = kinds.iter().map(|kind| Some(kind.is_addition())).collect();
        let retracted = filter_record_batch(batch.records(), &not(&adds)?)?;
        let encoded = self.rows.encode(retracted.columns())?;
        for row in 0..retracted.num_rows() {
            let bytes: RowBytes = Arc::from(encoded.row(row).data());
            self.bytes += bytes.len() + 48;
            *self.taken_back.entry(bytes).or_default() += 1;
        }
        self.add(&filter_record_batch(batch.records(), &adds)?, context.now_ms, None)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        match self.node.time {
            Some(TimeAttribute::Rowtime { .. }) => self.emit_until(watermark.0, out),
            _ => Ok(()),
        }
    }

    fn next_timer_ms(&self) -> Option<i64> {
        match self.node.time {
            Some(TimeAttribute::Proctime) => {
                let waiting = self.waiting.keys().next().map(|(time, _)| *time);
                waiting.into_iter().chain(self.runs.first_time()).min().map(|time| time + 1)
            }
            _ => None,
        }
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.emit_until(context.now_ms - 1, out)
    }

    fn emits_at_end(&self) -> bool {
        self.node.time.is_none()
    }

    fn finish(&mut self, _: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.emit_until(i64::MAX, out)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, ROWS, width + 1)?;
            let schema = kept_rows::schema(&self.input, &[]);
            let records = kept_rows::records(&schema, &columns[..width], part.rows.num_rows())?;
            let sequences = columns[width].as_primitive::<Int64Type>().clone();
            self.add(&records, 0, Some(&sequences))?;
        }
        for value in state.values(PROGRESS) {
            if let Ok((emitted, skipped, taken)) = serde_json::from_slice::<(i64, u64, u64)>(value) {
                self.emitted = self.emitted.max(emitted);
                self.skipped = self.skipped.max(skipped);
                self.taken = self.taken.max(taken);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        out.value(PROGRESS, format!("[{},{},{}]", self.emitted, self.skipped, self.taken));
        self.saving.clear();
        let all: Vec<(&Box<[u8]>, &RowBytes)> = self.waiting.iter().map(|((_, k), r)| (k, r)).collect();
        for part in all.chunks(MAX_BATCH_ROWS) {
            let keys = BinaryArray::from_iter_values(part.iter().map(|(key, _)| key));
            let rows = BinaryArray::from_iter_values(part.iter().map(|(_, row)| row));
            self.saving.push_back(SavedRows::Memory(Box::new((keys, rows))));
        }
        self.saving.extend(self.runs.saved());
        self.continue_snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        if let Some(part) = self.saving.pop_front() {
            let (keys, rows) = part.read()?;
            self.save(&keys, &rows, out)?;
        }
        Ok(if self.saving.is_empty() { SnapshotProgress::Done } else { SnapshotProgress::More })
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            state_bytes: self.bytes as u64,
            ..OperatorStatus::default()
        }
    }
}
