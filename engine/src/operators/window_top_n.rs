//! Window Top-N and window deduplication: the first rows of each window and partition, when the window ends.

use super::kept_rows::{self, ROWS, key_rows};
use super::local_time::LocalTime;
use super::row_codec::{RowBytes, RowChanges, RowCodec, SortCodec};
use super::rows::{MAX_BATCH_ROWS, inserts_only, milliseconds};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::WindowTopNNode;
use crate::state::{KeyTable, Share, SnapshotProgress, StateReader, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

const SEQUENCE: &str = "$sequence";
/// Value of a checkpoint: the event time up to which windows have fired.
const PROGRESS: &str = "progress";

/// Keeps no more than N rows of each window and partition, and emits them in their order when the watermark comes to
/// the window's end - 1 ms. Rows of windows that have fired are late: dropped and counted.
pub struct WindowTopN {
    node: WindowTopNNode,
    input: SchemaRef,
    output: SchemaRef,
    local: LocalTime,
    rows: RowCodec,
    sort: SortCodec,
    empty: KeyTable,
    windows: BTreeMap<i64, Window>,
    sequence: u64,
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
    bytes: usize,
    max_parallelism: usize,
    /// What is held of the memory budget: other operators make room for it.
    share: Option<Share>,
}

struct Window {
    table: KeyTable,
    /// Rows by sort key and sequence, for each partition.
    partitions: Vec<BTreeMap<Box<[u8]>, RowBytes>>,
}

impl WindowTopN {
    /// Columns of `output`: the input's, then the rank where it is wanted.
    ///
    /// Errors: a column of a type that cannot be kept or ordered.
    pub fn new(node: &WindowTopNNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let types: Vec<_> = node.partition.iter().map(|c| input.field(*c).data_type().clone()).collect();
        Ok(Self {
            local: LocalTime::new(node.zone),
            rows: RowCodec::of_schema(&input)?,
            sort: SortCodec::new(&node.order, &input)?,
            empty: KeyTable::new(&types)?,
            windows: BTreeMap::new(),
            sequence: 0,
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            bytes: 0,
            max_parallelism: 1,
            share: None,
            node: node.clone(),
            input,
            output,
        })
    }

    fn hold(&mut self) {
        if let Some(share) = &mut self.share {
            share.hold(self.bytes);
        }
    }

    /// Takes rows in; `sequences` are theirs, or new ones are given.
    fn add(&mut self, records: &RecordBatch, sequences: Option<&Int64Array>) -> Result<()> {
        let ends = milliseconds(records.column(self.node.window_end))?;
        let sort = self.sort.encode(records)?;
        let encoded = self.rows.encode(records.columns())?;
        let keys: Vec<ArrayRef> =
            self.node.partition.iter().map(|c| Arc::clone(records.column(*c))).collect();
        let mut by_window: Vec<(i64, Vec<u32>)> = Vec::new();
        for row in 0..records.num_rows() {
            if ends.is_null(row) {
                self.null_time_rows += 1;
                continue;
            }
            let end = ends.value(row);
            if self.local.passed(end - 1) <= self.progress {
                self.late_rows += 1;
                continue;
            }
            match by_window.iter_mut().rev().find(|(known, _)| *known == end) {
                Some((_, rows)) => rows.push(row as u32),
                None => by_window.push((end, vec![row as u32])),
            }
        }
        let mut groups = Vec::new();
        for (end, picks) in by_window {
            let window = self
                .windows
                .entry(end)
                .or_insert_with(|| Window { table: self.empty.new_like(), partitions: Vec::new() });
            let indices = arrow::array::UInt32Array::from(picks.clone());
            let keys = keys
                .iter()
                .map(|k| Ok(arrow::compute::take(k, &indices, None)?))
                .collect::<Result<Vec<_>>>()?;
            window.table.intern(&keys, picks.len(), &mut groups)?;
            window.partitions.resize_with(window.table.slots(), BTreeMap::new);
            for (row, group) in picks.into_iter().zip(&groups) {
                let row = row as usize;
                let top = &mut window.partitions[*group as usize];
                let sequence = match sequences {
                    Some(known) => known.value(row) as u64,
                    None => self.sequence + 1,
                };
                self.sequence = self.sequence.max(sequence);
                let place = if self.node.last_of_equals { u64::MAX - sequence } else { sequence };
                let sort = sort.get(row);
                let mut key = Vec::with_capacity(sort.len() + 8);
                key.extend_from_slice(sort);
                key.extend_from_slice(&place.to_be_bytes());
                if top.len() as u64 >= self.node.end {
                    if top.last_key_value().is_none_or(|(worst, _)| key.as_slice() >= worst.as_ref()) {
                        continue;
                    }
                    if let Some((key, row)) = top.pop_last() {
                        self.bytes = self.bytes.saturating_sub(key.len() + row.len());
                    }
                }
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                self.bytes += key.len() + bytes.len();
                top.insert(key.into(), bytes);
            }
        }
        Ok(())
    }

    fn fire(&mut self, window: &Window, out: &mut dyn Collector) -> Result<()> {
        let mut changes = RowChanges::default();
        for group in window.table.groups() {
            let top = &window.partitions[group as usize];
            self.bytes = self.bytes.saturating_sub(top.iter().map(|(k, r)| k.len() + r.len()).sum());
            for (rank, row) in (1u64..).zip(top.values()) {
                if (self.node.start..=self.node.end).contains(&rank) {
                    changes.push(RowKind::Insert, row, rank as i64);
                }
            }
            if changes.kinds.len() >= MAX_BATCH_ROWS
                && let Some(batch) = changes.take(&self.rows, &self.output, self.node.rank_number)?
            {
                out.emit(batch)?;
            }
        }
        match changes.take(&self.rows, &self.output, self.node.rank_number)? {
            Some(batch) => out.emit(batch),
            None => Ok(()),
        }
    }
}

impl Operator for WindowTopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.max_parallelism = context.max_parallelism;
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
        inserts_only(&batch, "A window Top-N")?;
        self.progress = self.progress.max(context.watermark.0);
        self.add(batch.records(), None)?;
        self.hold();
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.progress = self.progress.max(watermark.0);
        while let Some(window) = self.windows.first_entry() {
            if self.local.passed(window.key() - 1) > self.progress {
                break;
            }
            let window = window.remove();
            self.fire(&window, out)?;
        }
        self.hold();
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, ROWS, width + 1)?;
            let schema = kept_rows::schema(&self.input, &[]);
            let records = kept_rows::records(&schema, &columns[..width], part.rows.num_rows())?;
            let sequences = columns[width].as_primitive::<Int64Type>().clone();
            self.add(&records, Some(&sequences))?;
        }
        let progress = state.values(PROGRESS);
        let progress = progress.iter().filter_map(|v| serde_json::from_slice::<i64>(v).ok()).min();
        self.progress = progress.unwrap_or(i64::MIN);
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        out.value(PROGRESS, self.progress.to_string());
        let schema = kept_rows::schema(&self.input, &[SEQUENCE]);
        let mut rows: Vec<(RowBytes, i64)> = Vec::new();
        let mut write = |rows: &mut Vec<(RowBytes, i64)>| -> Result<()> {
            let part = std::mem::take(rows);
            if part.is_empty() {
                return Ok(());
            }
            let mut columns = self.rows.decode(part.iter().map(|(r, _)| r.as_ref()))?;
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, s)| *s))));
            let records = kept_rows::records(&schema, &columns, part.len())?;
            out.rows(key_rows(ROWS, records, &self.node.partition, self.max_parallelism)?);
            Ok(())
        };
        for window in self.windows.values() {
            for group in window.table.groups() {
                for (key, row) in &window.partitions[group as usize] {
                    let place = key.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
                    let sequence = if self.node.last_of_equals { u64::MAX - place } else { place };
                    rows.push((Arc::clone(row), sequence as i64));
                }
                if rows.len() >= MAX_BATCH_ROWS {
                    write(&mut rows)?;
                }
            }
        }
        write(&mut rows)?;
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            open_windows: self.windows.len() as u64,
            next_fire_ms: self.windows.keys().next().map(|end| self.local.passed(end - 1)),
            state_bytes: self.bytes as u64,
        }
    }
}
