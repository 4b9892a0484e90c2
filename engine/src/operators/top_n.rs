//! Top-N: the first rows of each partition in an order, as a changelog.

use super::kept_groups::{
    Bytes, KeptGroup, KeptGroups, KeptTable, NUMBERS, key_types, put_back, put_bytes, put_number,
};
use super::row_codec::{RowBytes, RowChanges, RowCodec, SortCodec};
use super::rows::MAX_BATCH_ROWS;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{RankEnd, TopNNode, TopNStrategy};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Numbers beside a row in checkpoints: when it came, and the last rank of its partition where rows tell it.
const SEQUENCE: &str = "$sequence";
const END: &str = "$end";

/// Ranks the rows of each partition. Rows that are equal in the order rank as they came. Every row tells its own
/// changes, in the order in which Flink tells them:
///
/// - with the rank in the output (or an offset), all rows whose rank moves are told by `-U` and `+U`;
/// - without it, `-D` tells the row that leaves and `+I` the one that enters;
/// - of a single row with rank 1, `-U` and `+U` tell its change, unless rows may be taken back.
pub struct TopN {
    partition: Vec<usize>,
    start: u64,
    end: RankEnd,
    rank_number: bool,
    strategy: TopNStrategy,
    update_before: bool,
    output: SchemaRef,
    rows: RowCodec,
    sort: SortCodec,
    keys: Option<RowCodec>,
    store: GroupStore<KeptGroups<Partition>>,
    groups: Vec<u32>,
    sequence: u64,
    changes: RowChanges,
}

/// Rows of a partition by sort key and sequence.
#[derive(Debug, Default)]
struct Partition {
    rows: BTreeMap<Box<[u8]>, RowBytes>,
    /// Place of each row by its key, where rows of a key take each other's place.
    places: HashMap<Box<[u8]>, Box<[u8]>>,
    /// Last rank, once a row has told it.
    end: Option<u64>,
}

impl KeptGroup for Partition {
    const MANY: bool = true;

    fn size(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(key, row)| Self::size_of(key, row)).sum();
        rows + self.places.iter().map(|(key, place)| Self::size_of_place(key, place)).sum::<usize>()
    }

    fn write(&self, into: &mut Vec<u8>) {
        put_number(into, self.end.map_or(-1, |end| end as i64));
        put_number(into, self.rows.len() as i64);
        for (key, row) in &self.rows {
            put_bytes(into, key);
            put_bytes(into, row);
        }
        for (key, place) in &self.places {
            put_bytes(into, key);
            put_bytes(into, place);
        }
    }

    fn read(from: &mut Bytes<'_>) -> Option<Self> {
        let mut read = Self { end: u64::try_from(from.number()?).ok(), ..Self::default() };
        for _ in 0..from.number()? {
            read.rows.insert(from.bytes()?.into(), Arc::from(from.bytes()?));
        }
        while !from.0.is_empty() {
            read.places.insert(from.bytes()?.into(), from.bytes()?.into());
        }
        Some(read)
    }

    fn rows<'a>(&'a self, found: &mut dyn FnMut(&'a [u8], [Option<i64>; NUMBERS])) {
        let end = self.end.map(|e| e as i64);
        self.rows.iter().for_each(|(key, row)| found(row, [Some(sequence_of(key) as i64), end]));
    }
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

impl TopN {
    /// Columns of `output`: the input's, then the rank where it is wanted.
    ///
    /// Errors: a column of a type that cannot be kept or ordered.
    pub fn new(node: &TopNNode, input: SchemaRef, output: SchemaRef, update_before: bool) -> Result<Self> {
        let types = key_types(&input, &node.partition);
        let table = KeptTable::new(&input, &node.partition, &[SEQUENCE, END])?;
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
            store: GroupStore::new(table.name, &types, KeptGroups::new(table))?,
            groups: Vec::new(),
            sequence: 0,
            changes: RowChanges::default(),
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

    fn size_of_place(key: &[u8], place: &[u8]) -> usize {
        key.len() + place.len() + 48
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
            self.places.retain(|key, place| {
                let stays = *place != gone;
                grown -= if stays { 0 } else { Self::size_of_place(key, place) as isize };
                stays
            });
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

impl Operator for TopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().open(context);
        self.store.open(context.store());
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
        // Of partitions with many rows on disk, fewer are brought back together.
        let most = self.store.rows_at_once();
        if rows > most {
            let mut parts = (0..rows).step_by(most).map(|at| batch.slice(at, most.min(rows - at)));
            return parts.try_for_each(|part| self.process(0, part, context, out));
        }
        if self.strategy == TopNStrategy::AppendFast {
            super::rows::inserts_only(&batch, "A Top-N that was planned for inserts")?;
        }
        let records = batch.records();
        let columns = self.partition_columns(records);
        let mut groups = std::mem::take(&mut self.groups);
        self.store.enter(&columns, rows, context.now_ms, &mut groups)?;
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
        for (row, group) in groups.iter().enumerate() {
            let partition = &mut self.store.payload_mut().groups[*group as usize];
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
                        partition.take_back(sort_key, &bytes, numbered, teller)
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
                                let mut grown = partition.add_kept(key, &bytes, numbered, teller);
                                if partition.rows.contains_key(&place) {
                                    grown += Partition::size_of_place(row_key, &place) as isize;
                                    partition.places.insert(row_key.into(), place);
                                }
                                grown
                            }
                        }
                    }
                    None => partition.add_kept(key, &bytes, numbered, teller),
                }
            };
            self.store.payload_mut().grew(grown);
            self.store.change(*group, context.now_ms);
            if self.changes.kinds.len() >= MAX_BATCH_ROWS {
                self.flush(out)?;
            }
        }
        let kept = &self.store.payload().groups;
        // A last rank that was told stays, unless all rows were taken back.
        let retracts = self.strategy == TopNStrategy::Retract;
        let is_empty = |p: &Partition| p.rows.is_empty() && (retracts || p.end.is_none());
        let empty: Vec<u32> = groups.iter().copied().filter(|g| is_empty(&kept[*g as usize])).collect();
        self.store.remove(empty)?;
        self.store.settle(context.now_ms)?;
        self.groups = groups;
        self.flush(out)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        while let Some(part) = state.next_rows()? {
            let Some(back) = put_back(&mut self.store, &part)? else { continue };
            let records = back.records;
            let [sequences, ends] = &back.numbers[..] else {
                return Err(Error::internal("A Top-N's state has no numbers."));
            };
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
            for (row, group) in back.groups.iter().enumerate() {
                let all = self.store.payload_mut();
                let partition = &mut all.groups[*group as usize];
                let sequence = sequences.value(row) as u64;
                self.sequence = self.sequence.max(sequence);
                let key = place(sort.get(row), sequence);
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                if ends.is_valid(row) {
                    partition.end = Some(ends.value(row) as u64);
                }
                let mut grown = Partition::size_of(&key, &bytes);
                if let Some(row_keys) = &row_keys {
                    let row_key = row_keys.row(row).data();
                    grown += Partition::size_of_place(row_key, &key);
                    partition.places.insert(row_key.into(), key.clone());
                }
                partition.rows.insert(key, bytes);
                all.grew(grown as isize);
            }
            self.store.settle_put_back(&[])?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn finish(&mut self, _: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.flush(out)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: self.store.size() as u64, ..OperatorStatus::default() }
    }
}
