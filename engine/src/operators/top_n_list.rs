//! Top-N over inserts: the best rows of each partition so far as a list, the rows themselves as columns.

use super::kept_rows::{self, KeptRows};
use super::row_codec::SortCodec;
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only};
use super::segments::{RowRef, Segments};
use super::top_n::{END, ROWS, SEQUENCE};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::TopNNode;
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::sync::Arc;

/// Bytes of a sort key that need no place of their own.
const INLINE_BYTES: usize = 24;

/// See `TopN`. Rows come only, and the last rank is the same for all partitions.
pub(super) struct ListTopN {
    partition: Vec<usize>,
    start: u64,
    end: u64,
    rank_number: bool,
    update_before: bool,
    input: SchemaRef,
    output: SchemaRef,
    sort: SortCodec,
    /// Whether sort keys are of fixed width and short.
    inline: bool,
    table: KeyTable,
    partitions: Vec<Partition>,
    groups: Vec<u32>,
    rows: Segments,
    changes: Changes,
    kept: KeptRows,
}

#[derive(Default)]
struct Partition {
    /// In order; equal ones as they came.
    ranked: Vec<Ranked>,
    touched_ms: i64,
}

struct Ranked {
    key: SortKey,
    row: RowRef,
}

/// A sort key: bytes that compare like the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    /// Of a fixed width, filled up with zeros, as numbers.
    Inline([u64; INLINE_BYTES / 8]),
    Bytes(Box<[u8]>),
}

impl SortKey {
    fn new(bytes: &[u8], inline: bool) -> Self {
        if !inline {
            return Self::Bytes(bytes.into());
        }
        let mut padded = [0; INLINE_BYTES];
        let length = bytes.len().min(INLINE_BYTES);
        padded[..length].copy_from_slice(&bytes[..length]);
        let (words, _) = padded.as_chunks::<8>();
        let mut key = [0; INLINE_BYTES / 8];
        key.iter_mut().zip(words).for_each(|(k, w)| *k = u64::from_be_bytes(*w));
        Self::Inline(key)
    }
}

/// What is about to be told.
#[derive(Default)]
struct Changes {
    kinds: Vec<RowKind>,
    rows: Vec<RowRef>,
    ranks: Vec<i64>,
    /// Rows that are kept no more, once all is told.
    gone: Vec<RowRef>,
}

impl ListTopN {
    /// As `TopN::new`; `end` is the last rank.
    pub(super) fn new(
        node: &TopNNode,
        end: u64,
        input: SchemaRef,
        output: SchemaRef,
        update_before: bool,
    ) -> Result<Self> {
        let types: Vec<DataType> =
            node.partition.iter().map(|c| input.field(*c).data_type().clone()).collect();
        // In arrow's row format a number takes a byte more than it has.
        let widths = node.order.iter().map(|o| input.field(o.column).data_type().primitive_width());
        let width = widths.map(|w| w.map(|w| w + 1)).sum::<Option<usize>>();
        Ok(Self {
            partition: node.partition.clone(),
            start: node.start,
            end,
            rank_number: node.rank_number,
            update_before,
            sort: SortCodec::new(&node.order, &input)?,
            inline: width.is_some_and(|w| w <= INLINE_BYTES),
            table: KeyTable::new(&types)?,
            partitions: Vec::new(),
            groups: Vec::new(),
            rows: Segments::new(input.clone()),
            changes: Changes::default(),
            kept: KeptRows::default(),
            input,
            output,
        })
    }

    fn intern(&mut self, records: &RecordBatch) -> Result<()> {
        let columns: Vec<ArrayRef> = self.partition.iter().map(|c| Arc::clone(records.column(*c))).collect();
        self.table.intern(&columns, records.num_rows(), &mut self.groups)?;
        self.partitions.resize_with(self.table.slots(), Partition::default);
        Ok(())
    }

    fn tell(&mut self, kind: RowKind, row: RowRef, rank: u64) {
        if (self.start..=self.end).contains(&rank) {
            self.changes.kinds.push(kind);
            self.changes.rows.push(row);
            self.changes.ranks.push(rank as i64);
        }
    }

    fn update(&mut self, before: RowRef, after: RowRef, rank: u64) {
        if self.update_before {
            self.tell(RowKind::UpdateBefore, before, rank);
        }
        self.tell(RowKind::UpdateAfter, after, rank);
    }

    /// Puts a row at `at` of the list of `group`, and tells what that changes.
    fn insert(&mut self, group: u32, at: usize, key: SortKey, row: RowRef) {
        let mut ranked = std::mem::take(&mut self.partitions[group as usize].ranked);
        let full = ranked.len() as u64 >= self.end;
        if self.end == 1 && self.start == 1 {
            match ranked.first() {
                None => self.tell(RowKind::Insert, row, 1),
                Some(best) => self.update(best.row, row, 1),
            }
        } else if self.rank_number || self.start > 1 {
            let (mut rank, mut current) = (at as u64 + 1, row);
            for next in &ranked[at..] {
                if rank > self.end {
                    break;
                }
                self.update(next.row, current, rank);
                current = next.row;
                rank += 1;
            }
            if rank <= self.end {
                self.tell(RowKind::Insert, current, rank);
            }
        } else {
            if let Some(last) = ranked.last().filter(|_| full) {
                self.tell(RowKind::Delete, last.row, self.end);
            }
            self.tell(RowKind::Insert, row, self.end);
        }
        if full && let Some(last) = ranked.pop() {
            self.changes.gone.push(last.row);
        }
        ranked.insert(at, Ranked { key, row });
        self.partitions[group as usize].ranked = ranked;
    }

    /// Passes on what was told.
    fn flush(&mut self, out: &mut dyn Collector) -> Result<()> {
        let kinds = std::mem::take(&mut self.changes.kinds);
        if kinds.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.changes.rows);
        let ranks = std::mem::take(&mut self.changes.ranks);
        let all: Vec<usize> = (0..self.input.fields().len()).collect();
        let mut columns = self.rows.take(&rows, &all)?;
        if self.rank_number {
            columns.push(Arc::new(Int64Array::from(ranks)));
        }
        out.emit(ChangeBatch::new(batch(&self.output, columns, kinds.len())?, kinds))
    }

    /// Forgets the rows of partitions that are too old.
    fn clear(&mut self, group: u32) {
        for ranked in std::mem::take(&mut self.partitions[group as usize]).ranked {
            self.rows.release(ranked.row);
        }
    }

    /// Moves the kept rows together where batches are kept for a few of their rows.
    fn compact(&mut self) -> Result<()> {
        if !self.rows.is_sparse() {
            return Ok(());
        }
        let ranked = self.partitions.iter_mut().flat_map(|p| &mut p.ranked);
        self.rows.compact(ranked.map(|r| &mut r.row))
    }
}

impl Operator for ListTopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.kept.open(context);
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "A Top-N that was planned for inserts")?;
        let records = input.records();
        if records.num_rows() == 0 {
            return Ok(());
        }
        self.intern(records)?;
        let sort = self.sort.encode(records)?;
        let segment = self.rows.add(records.clone());
        let groups = std::mem::take(&mut self.groups);
        for (row, group) in groups.iter().enumerate() {
            if self.kept.expired(self.partitions[*group as usize].touched_ms, context.now_ms) {
                let gone = std::mem::take(&mut self.partitions[*group as usize]).ranked;
                self.changes.gone.extend(gone.into_iter().map(|r| r.row));
            }
            let partition = &mut self.partitions[*group as usize];
            let key = SortKey::new(sort.get(row), self.inline);
            let full = partition.ranked.len() as u64 >= self.end;
            // Most rows of a long stream rank too low.
            if full && partition.ranked.last().is_none_or(|worst| key >= worst.key) {
                self.rows.release(segment.row(row));
                continue;
            }
            partition.touched_ms = context.now_ms;
            let at = partition.ranked.partition_point(|r| r.key <= key);
            self.insert(*group, at, key, segment.row(row));
            if self.changes.kinds.len() >= MAX_BATCH_ROWS {
                self.flush(out)?;
            }
        }
        self.groups = groups;
        self.flush(out)?;
        for row in std::mem::take(&mut self.changes.gone) {
            self.rows.release(row);
        }
        self.compact()
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.kept.next_sweep_ms()
    }

    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        if self.kept.sweep_is_due(context.now_ms) {
            let expired =
                |g: &u32| self.kept.expired(self.partitions[*g as usize].touched_ms, context.now_ms);
            let old: Vec<u32> = self.table.groups().filter(expired).collect();
            old.iter().for_each(|group| self.clear(*group));
            self.table.remove(old);
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        let mut found: Vec<(u32, SortKey, i64, RowRef)> = Vec::new();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, ROWS, width + 2)?;
            let records = kept_rows::records(&self.input, &columns[..width], part.rows.num_rows())?;
            let sequences = columns[width].as_primitive::<Int64Type>();
            self.intern(&records)?;
            let sort = self.sort.encode(&records)?;
            let segment = self.rows.add(records);
            for (row, group) in self.groups.iter().enumerate() {
                let key = SortKey::new(sort.get(row), self.inline);
                found.push((*group, key, sequences.value(row), segment.row(row)));
            }
        }
        found.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
        for (group, key, _, row) in found {
            let partition = &mut self.partitions[group as usize];
            partition.touched_ms = self.kept.opened_ms();
            partition.ranked.push(Ranked { key, row });
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let schema = kept_rows::schema(&self.input, &[SEQUENCE, END]);
        let all: Vec<usize> = (0..self.input.fields().len()).collect();
        let places = |group: u32| {
            let ranked = &self.partitions[group as usize].ranked;
            ranked.iter().enumerate().map(|(place, ranked)| (ranked.row, place as i64))
        };
        let rows: Vec<(RowRef, i64)> = self.table.groups().flat_map(places).collect();
        for part in rows.chunks(MAX_BATCH_ROWS) {
            let refs: Vec<RowRef> = part.iter().map(|(row, _)| *row).collect();
            let mut columns = self.rows.take(&refs, &all)?;
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, place)| *place))));
            columns.push(Arc::new(Int64Array::new_null(part.len())));
            let records = kept_rows::records(&schema, &columns, part.len())?;
            out.rows(self.kept.state_rows(ROWS, records, &self.partition)?);
        }
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        let ranked = self.rows.live() * size_of::<Ranked>();
        let bytes = self.rows.size() + ranked + self.table.size();
        OperatorStatus { state_bytes: bytes as u64, ..OperatorStatus::default() }
    }
}
