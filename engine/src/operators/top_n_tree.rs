//! Top-N over changes, and of many ranks: the rows of each partition in trees.

use super::kept_rows::{self, KeptRows};
use super::row_codec::{RowBytes, RowChanges, RowCodec, SortCodec};
use super::rows::MAX_BATCH_ROWS;
use super::top_n::{END, ROWS, SEQUENCE};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{RankEnd, TopNNode, TopNStrategy};
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// See `TopN`.
pub(super) struct TreeTopN {
    partition: Vec<usize>,
    start: u64,
    end: RankEnd,
    rank_number: bool,
    strategy: TopNStrategy,
    update_before: bool,
    input: SchemaRef,
    output: SchemaRef,
    rows: RowCodec,
    sort: SortCodec,
    keys: Option<RowCodec>,
    table: KeyTable,
    partitions: Vec<Partition>,
    groups: Vec<u32>,
    sequence: u64,
    bytes: usize,
    changes: RowChanges,
    kept: KeptRows,
}

/// Rows of a partition by sort key and sequence.
#[derive(Debug, Default)]
struct Partition {
    rows: BTreeMap<Box<[u8]>, RowBytes>,
    /// Place of each row by its key, where rows of a key take each other's place.
    places: HashMap<Box<[u8]>, Box<[u8]>>,
    /// Last rank, once a row has told it.
    end: Option<u64>,
    touched_ms: i64,
}

/// The sort key with a sequence number behind it.
fn place(sort: &[u8], sequence: u64) -> Box<[u8]> {
    let mut key = Vec::with_capacity(sort.len() + 8);
    key.extend_from_slice(sort);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.into()
}

fn sort_of(place: &[u8]) -> &[u8] {
    &place[..place.len().saturating_sub(8)]
}

fn sequence_of(place: &[u8]) -> u64 {
    place.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b))
}

impl TreeTopN {
    /// As `TopN::new`.
    pub(super) fn new(
        node: &TopNNode,
        input: SchemaRef,
        output: SchemaRef,
        update_before: bool,
    ) -> Result<Self> {
        let types: Vec<DataType> =
            node.partition.iter().map(|c| input.field(*c).data_type().clone()).collect();
        let keys = match &node.strategy {
            TopNStrategy::UpdateFast { keys } => {
                Some(RowCodec::new(keys.iter().map(|k| input.field(*k).data_type().clone()))?)
            }
            _ => None,
        };
        Ok(Self {
            partition: node.partition.clone(),
            start: node.start,
            end: node.end,
            rank_number: node.rank_number,
            strategy: node.strategy.clone(),
            update_before,
            rows: RowCodec::of_schema(&input)?,
            sort: SortCodec::new(&node.order, &input)?,
            keys,
            table: KeyTable::new(&types)?,
            partitions: Vec::new(),
            groups: Vec::new(),
            sequence: 0,
            bytes: 0,
            changes: RowChanges::default(),
            kept: KeptRows::default(),
            input,
            output,
        })
    }

    fn is_first_only(&self) -> bool {
        self.start == 1 && self.end == RankEnd::Constant(1) && self.strategy != TopNStrategy::Retract
    }

    fn partition_columns(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.partition.iter().map(|c| Arc::clone(records.column(*c))).collect()
    }

    fn ends(&self, records: &RecordBatch) -> Result<Option<ArrayRef>> {
        match self.end {
            RankEnd::Constant(_) => Ok(None),
            RankEnd::Column(c) => Ok(Some(cast(records.column(c), &DataType::Int64)?)),
        }
    }

    fn flush(&mut self, out: &mut dyn Collector) -> Result<()> {
        match self.changes.take(&self.rows, &self.output, self.rank_number)? {
            Some(batch) => out.emit(batch),
            None => Ok(()),
        }
    }
}

/// Collects changes within the ranks that are emitted.
struct Teller<'a> {
    changes: &'a mut RowChanges,
    start: u64,
    end: u64,
    update_before: bool,
}

impl Teller<'_> {
    fn tell(&mut self, kind: RowKind, row: &RowBytes, rank: u64) {
        if (self.start..=self.end).contains(&rank) {
            self.changes.push(kind, row, rank as i64);
        }
    }

    fn update(&mut self, before: &RowBytes, after: &RowBytes, rank: u64) {
        if self.update_before {
            self.tell(RowKind::UpdateBefore, before, rank);
        }
        self.tell(RowKind::UpdateAfter, after, rank);
    }
}

impl Partition {
    /// Number of rows before `key`, counted no further than `most`.
    fn rank_before(&self, key: &[u8], most: u64) -> u64 {
        self.rows.keys().take(most as usize).take_while(|k| k.as_ref() < key).count() as u64
    }

    fn size_of(key: &[u8], row: &[u8]) -> usize {
        // The map's node and the counters of the row's bytes.
        key.len() + row.len() + 64
    }

    /// A new row of an input of inserts, or a row with a new key.
    fn add_kept(&mut self, key: Box<[u8]>, row: &RowBytes, numbered: bool, teller: &mut Teller<'_>) -> isize {
        let end = teller.end;
        if self.rows.len() as u64 >= end {
            let worst = self.rows.last_key_value();
            if worst.is_none_or(|(worst, _)| sort_of(&key) >= sort_of(worst)) {
                return 0;
            }
        }
        let mut grown = Self::size_of(&key, row) as isize;
        if numbered {
            self.shift_down(&key, row, teller);
        }
        self.rows.insert(key, Arc::clone(row));
        if self.rows.len() as u64 > end
            && let Some((gone, last)) = self.rows.pop_last()
        {
            grown -= Self::size_of(&gone, &last) as isize;
            self.places.retain(|_, place| *place != gone);
            if !numbered {
                if last == *row {
                    return grown;
                }
                teller.tell(RowKind::Delete, &last, end);
            }
        }
        if !numbered {
            teller.tell(RowKind::Insert, row, end);
        }
        grown
    }

    /// Tells the ranks that move when `row` comes to `key`, which is not there yet.
    fn shift_down(&self, key: &[u8], row: &RowBytes, teller: &mut Teller<'_>) {
        let mut rank = self.rank_before(key, teller.end) + 1;
        if rank > teller.end {
            return;
        }
        let mut current = Arc::clone(row);
        let from = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        for (_, next) in self.rows.range::<[u8], _>(from) {
            if rank > teller.end {
                return;
            }
            teller.update(next, &current, rank);
            current = Arc::clone(next);
            rank += 1;
        }
        if rank <= teller.end {
            teller.tell(RowKind::Insert, &current, rank);
        }
    }

    /// A row that takes the place of one with the same key, and ranks no lower.
    fn replace(
        &mut self,
        row_key: &[u8],
        old: Box<[u8]>,
        new: Box<[u8]>,
        row: &RowBytes,
        numbered: bool,
        teller: &mut Teller<'_>,
    ) -> isize {
        let same_rank = sort_of(&old) == sort_of(&new);
        let new = if same_rank { old.clone() } else { new };
        let old_rank = self.rank_before(&old, teller.end) + 1;
        let Some(before) = self.rows.remove(&old) else { return 0 };
        let grown = row.len() as isize - before.len() as isize;
        if !numbered {
            teller.update(&before, row, teller.end);
        } else {
            let mut rank = self.rank_before(&new, teller.end) + 1;
            let mut current = Arc::clone(row);
            if !same_rank {
                let from = (std::ops::Bound::Excluded(new.as_ref()), std::ops::Bound::Unbounded);
                for (_, next) in self.rows.range::<[u8], _>(from) {
                    if rank >= old_rank {
                        break;
                    }
                    teller.update(next, &current, rank);
                    current = Arc::clone(next);
                    rank += 1;
                }
            }
            if teller.update_before {
                teller.tell(RowKind::UpdateBefore, &before, old_rank);
            }
            teller.tell(RowKind::UpdateAfter, &current, rank);
        }
        self.rows.insert(new.clone(), Arc::clone(row));
        self.places.insert(row_key.into(), new);
        grown
    }

    /// A new row where all are kept.
    fn add(&mut self, key: Box<[u8]>, row: &RowBytes, numbered: bool, teller: &mut Teller<'_>) -> isize {
        if numbered {
            self.shift_down(&key, row, teller);
        } else {
            let rank = self.rank_before(&key, teller.end) + 1;
            if rank <= teller.end {
                let leaves = (self.rows.len() as u64 >= teller.end)
                    .then(|| self.rows.values().nth(teller.end as usize - 1))
                    .flatten();
                if let Some(leaves) = leaves {
                    teller.tell(RowKind::Delete, leaves, teller.end);
                }
                teller.tell(RowKind::Insert, row, rank);
            }
        }
        let grown = Self::size_of(&key, row) as isize;
        self.rows.insert(key, Arc::clone(row));
        grown
    }

    /// A row taken back where all are kept. One that is not there is passed over.
    fn take_back(&mut self, sort: &[u8], row: &RowBytes, numbered: bool, teller: &mut Teller<'_>) -> isize {
        let (from, to) = (place(sort, 0), place(sort, u64::MAX));
        let Some(key) = self.rows.range(from..=to).find(|(_, r)| *r == row).map(|(k, _)| k.clone()) else {
            return 0;
        };
        let mut rank = self.rank_before(&key, teller.end) + 1;
        if numbered && rank <= teller.end {
            let mut gone = Arc::clone(row);
            let from = (std::ops::Bound::Excluded(key.as_ref()), std::ops::Bound::Unbounded);
            for (_, next) in self.rows.range::<[u8], _>(from) {
                if rank > teller.end {
                    break;
                }
                teller.update(&gone, next, rank);
                gone = Arc::clone(next);
                rank += 1;
            }
            if rank <= teller.end {
                teller.tell(RowKind::Delete, &gone, rank);
            }
        }
        self.rows.remove(&key);
        if !numbered && rank <= teller.end {
            teller.tell(RowKind::Delete, row, rank);
            if let Some(enters) = self.rows.values().nth(teller.end as usize - 1) {
                teller.tell(RowKind::Insert, enters, teller.end);
            }
        }
        -(Self::size_of(&key, row) as isize)
    }
}

impl Operator for TreeTopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.kept.open(context);
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if self.strategy == TopNStrategy::AppendFast {
            super::rows::inserts_only(&batch, "A Top-N that was planned for inserts")?;
        }
        let records = batch.records();
        let columns = self.partition_columns(records);
        let mut groups = std::mem::take(&mut self.groups);
        self.table.intern(&columns, rows, &mut groups)?;
        self.partitions.resize_with(self.table.slots(), Partition::default);
        let sort = self.sort.encode(records)?;
        let encoded = self.rows.encode(records.columns())?;
        let ends = self.ends(records)?;
        let row_keys = match (&self.keys, &self.strategy) {
            (Some(codec), TopNStrategy::UpdateFast { keys }) => {
                let columns: Vec<ArrayRef> = keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
                Some(codec.encode(&columns)?)
            }
            _ => None,
        };
        let first_only = self.is_first_only();
        let numbered = self.rank_number || self.start > 1;
        let mut emptied = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            let partition = &mut self.partitions[*group as usize];
            if self.kept.expired(partition.touched_ms, context.now_ms) {
                *partition = Partition::default();
            }
            let end = match (self.end, partition.end) {
                (RankEnd::Constant(end), _) => end,
                (_, Some(end)) => end,
                (RankEnd::Column(_), None) => {
                    let ends = ends.as_ref().map(|e| e.as_primitive::<Int64Type>());
                    let end = ends.filter(|e| e.is_valid(row)).map_or(0, |e| e.value(row).max(0) as u64);
                    partition.end = Some(end);
                    end
                }
            };
            let kind = batch.kind(row);
            let sort_key = sort.get(row);
            if self.strategy == TopNStrategy::AppendFast && partition.rows.len() as u64 >= end {
                // Most rows of a long stream rank too low: they cost no copy.
                let worst = partition.rows.last_key_value();
                if worst.is_none_or(|(worst, _)| sort_key >= sort_of(worst)) {
                    continue;
                }
            }
            self.sequence += 1;
            let key = place(sort_key, self.sequence);
            let bytes: RowBytes = Arc::from(encoded.row(row).data());
            let teller = &mut Teller {
                changes: &mut self.changes,
                start: self.start,
                end,
                update_before: self.update_before,
            };
            partition.touched_ms = context.now_ms;
            let grown = if first_only {
                match partition.rows.pop_first() {
                    None => {
                        teller.tell(RowKind::Insert, &bytes, 1);
                        let size = Partition::size_of(&key, &bytes) as isize;
                        partition.rows.insert(key, bytes);
                        size
                    }
                    Some((best, old)) if sort_of(&key) < sort_of(&best) => {
                        teller.update(&old, &bytes, 1);
                        let grown = bytes.len() as isize - old.len() as isize;
                        partition.rows.insert(key, bytes);
                        grown
                    }
                    Some((best, old)) => {
                        partition.rows.insert(best, old);
                        0
                    }
                }
            } else {
                match &row_keys {
                    _ if self.strategy == TopNStrategy::Retract && !kind.is_addition() => {
                        let grown = partition.take_back(sort_key, &bytes, numbered, teller);
                        if partition.rows.is_empty() {
                            emptied.push(*group);
                        }
                        grown
                    }
                    _ if self.strategy == TopNStrategy::Retract => {
                        partition.add(key, &bytes, numbered, teller)
                    }
                    Some(row_keys) => {
                        let row_key = row_keys.row(row).data();
                        match partition.places.get(row_key).cloned() {
                            Some(old) => partition.replace(row_key, old, key, &bytes, numbered, teller),
                            None => {
                                let place = key.clone();
                                let grown = partition.add_kept(key, &bytes, numbered, teller);
                                if partition.rows.contains_key(&place) {
                                    partition.places.insert(row_key.into(), place);
                                }
                                grown
                            }
                        }
                    }
                    None => partition.add_kept(key, &bytes, numbered, teller),
                }
            };
            self.bytes = self.bytes.saturating_add_signed(grown);
            if self.changes.kinds.len() >= MAX_BATCH_ROWS {
                self.flush(out)?;
            }
        }
        emptied.retain(|g| self.partitions[*g as usize].rows.is_empty());
        for group in &emptied {
            self.partitions[*group as usize] = Partition::default();
        }
        self.table.remove(emptied);
        self.groups = groups;
        self.flush(out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.kept.next_sweep_ms()
    }

    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        if self.kept.sweep_is_due(context.now_ms) {
            let old: Vec<u32> = self
                .table
                .groups()
                .filter(|g| self.kept.expired(self.partitions[*g as usize].touched_ms, context.now_ms))
                .collect();
            for group in &old {
                let gone = std::mem::take(&mut self.partitions[*group as usize]);
                let size: usize = gone.rows.iter().map(|(k, r)| Partition::size_of(k, r)).sum();
                self.bytes = self.bytes.saturating_sub(size);
            }
            self.table.remove(old);
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, ROWS, width + 2)?;
            let records = kept_rows::records(&self.input, &columns[..width], part.rows.num_rows())?;
            let sequences = columns[width].as_primitive::<Int64Type>();
            let ends = columns[width + 1].as_primitive::<Int64Type>();
            let keys = self.partition_columns(&records);
            self.table.intern(&keys, records.num_rows(), &mut self.groups)?;
            self.partitions.resize_with(self.table.slots(), Partition::default);
            let sort = self.sort.encode(&records)?;
            let encoded = self.rows.encode(records.columns())?;
            let row_keys = match (&self.keys, &self.strategy) {
                (Some(codec), TopNStrategy::UpdateFast { keys }) => {
                    let columns: Vec<ArrayRef> =
                        keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
                    Some(codec.encode(&columns)?)
                }
                _ => None,
            };
            for row in 0..records.num_rows() {
                let partition = &mut self.partitions[self.groups[row] as usize];
                let sequence = sequences.value(row) as u64;
                self.sequence = self.sequence.max(sequence);
                let key = place(sort.get(row), sequence);
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                if ends.is_valid(row) {
                    partition.end = Some(ends.value(row) as u64);
                }
                partition.touched_ms = self.kept.opened_ms();
                self.bytes += Partition::size_of(&key, &bytes);
                if let Some(row_keys) = &row_keys {
                    partition.places.insert(row_keys.row(row).data().into(), key.clone());
                }
                partition.rows.insert(key, bytes);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let schema = kept_rows::schema(&self.input, &[SEQUENCE, END]);
        let mut rows: Vec<(RowBytes, i64, Option<i64>)> = Vec::new();
        let groups: Vec<u32> = self.table.groups().collect();
        for (at, group) in groups.iter().enumerate() {
            let partition = &self.partitions[*group as usize];
            let end = partition.end.map(|e| e as i64);
            rows.extend(partition.rows.iter().map(|(k, r)| (Arc::clone(r), sequence_of(k) as i64, end)));
            if rows.len() >= MAX_BATCH_ROWS || at + 1 == groups.len() {
                let part = std::mem::take(&mut rows);
                if part.is_empty() {
                    continue;
                }
                let mut columns = self.rows.decode(part.iter().map(|(r, ..)| r.as_ref()))?;
                columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, s, _)| *s))));
                columns.push(Arc::new(part.iter().map(|(_, _, e)| *e).collect::<Int64Array>()));
                let records = kept_rows::records(&schema, &columns, part.len())?;
                out.rows(self.kept.state_rows(ROWS, records, &self.partition)?);
            }
        }
        Ok(SnapshotProgress::Done)
    }

    fn finish(&mut self, _: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.flush(out)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: (self.bytes + self.table.size()) as u64, ..OperatorStatus::default() }
    }
}
