//! Top-N over changes, and of many ranks: the rows of each partition in trees.

use super::kept_groups::{Bytes, KeptGroup, KeptGroups, put_bytes, put_number};
use super::kept_rows::{KeptTable, ROWS};
use super::row_codec::{RowBytes, RowChanges, RowCodec, SortCodec};
use super::rows::{MAX_BATCH_ROWS, inserts_only, parts};
use super::top_n::NUMBERS;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{RankEnd, TopNNode, TopNStrategy};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::row::Rows;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Stands for the key of rows of which there is at most one: as NULL.
const NO_KEY: DataType = DataType::Boolean;

/// See `TopN`.
pub(super) struct TreeTopN {
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
        let table = KeptTable::new(&input, &node.partition, &NUMBERS);
        let keys = match &node.strategy {
            TopNStrategy::UpdateFast { keys } if keys.is_empty() => Some(RowCodec::new([NO_KEY])?),
            TopNStrategy::UpdateFast { keys } => {
                Some(RowCodec::new(keys.iter().map(|k| input.field(*k).data_type().clone()))?)
            }
            _ => None,
        };
        Ok(Self {
            start: node.start,
            end: node.end,
            rank_number: node.rank_number,
            strategy: node.strategy.clone(),
            update_before,
            rows: RowCodec::of_schema(&input)?,
            sort: SortCodec::new(&node.order, &input)?,
            keys,
            store: GroupStore::new(ROWS, &table.key_types(), KeptGroups::new(&input, table)?)?,
            groups: Vec::new(),
            sequence: 0,
            changes: RowChanges::default(),
            output,
        })
    }

    fn is_first_only(&self) -> bool {
        self.start == 1 && self.end == RankEnd::Constant(1) && self.strategy != TopNStrategy::Retract
    }

    /// The keys of rows that take each other's place.
    fn row_keys(&self, records: &RecordBatch) -> Result<Option<Rows>> {
        let (Some(codec), TopNStrategy::UpdateFast { keys }) = (&self.keys, &self.strategy) else {
            return Ok(None);
        };
        if self.is_first_only() {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
        if columns.is_empty() {
            columns.push(new_null_array(&NO_KEY, records.num_rows()));
        }
        codec.encode(&columns).map(Some)
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

impl KeptGroup for Partition {
    const MANY: bool = true;

    fn size(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(key, row)| Self::size_of(key, row)).sum();
        rows + self.places.iter().map(|(key, place)| Self::size_of_place(key, place)).sum::<usize>()
    }

    fn write(&self, into: &mut Vec<u8>) {
        put_number(into, self.end.map_or(-1, |end| end as i64));
        put_number(into, self.rows.len() as i64);
        for (place, row) in &self.rows {
            put_bytes(into, place);
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

    fn rows<'a>(&'a self, found: &mut dyn FnMut(&'a [u8], [Option<i64>; NUMBERS.len()])) {
        let end = self.end.map(|end| end as i64);
        self.rows.iter().for_each(|(place, row)| found(row, [Some(sequence_of(place) as i64), end]));
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

    fn size_of_place(row_key: &[u8], place: &[u8]) -> usize {
        row_key.len() + place.len() + 64
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
            self.places.retain(|row_key, place| {
                let stays = *place != gone;
                if !stays {
                    grown -= Self::size_of_place(row_key, place) as isize;
                }
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
        // The place is kept twice.
        let longer = new.len() as isize - old.len() as isize;
        let grown = row.len() as isize - before.len() as isize + 2 * longer;
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

impl TreeTopN {
    /// Takes changes in, and tells what they change.
    fn add(&mut self, batch: &ChangeBatch, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let records = batch.records();
        let mut groups = std::mem::take(&mut self.groups);
        let keys = self.store.payload().table.key_columns(records);
        self.store.enter(&keys, batch.num_rows(), now_ms, &mut groups)?;
        let sort = self.sort.encode(records)?;
        let encoded = self.rows.encode(records.columns())?;
        let ends = self.ends(records)?;
        let row_keys = self.row_keys(records)?;
        let first_only = self.is_first_only();
        let numbered = self.rank_number || self.start > 1;
        let mut emptied = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            let all = self.store.payload_mut();
            let partition = &mut all.groups[*group as usize];
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
                        let grown = Partition::size_of(&key, &bytes) as isize
                            - Partition::size_of(&best, &old) as isize;
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
            all.grew(grown);
            self.store.change(*group, now_ms);
            if self.changes.kinds.len() >= MAX_BATCH_ROWS {
                self.flush(out)?;
            }
        }
        let kept = &self.store.payload().groups;
        emptied.retain(|g| kept[*g as usize].rows.is_empty());
        self.store.remove(emptied)?;
        self.groups = groups;
        self.flush(out)?;
        self.store.settle(now_ms)
    }
}

impl Operator for TreeTopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().table.open(context);
        self.store.open(context.store());
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if self.strategy == TopNStrategy::AppendFast {
            inserts_only(&input, "A Top-N that was planned for inserts")?;
        }
        let most = self.store.rows_at_once();
        parts(&input, most, |part| self.add(part, context.now_ms, out))
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let table = self.store.payload().table.clone();
        while let Some(part) = state.next_rows()? {
            let Some(back) = table.put_back(&mut self.store, &part)? else { continue };
            let records = &back.records;
            let sort = self.sort.encode(records)?;
            let encoded = self.rows.encode(records.columns())?;
            let row_keys = self.row_keys(records)?;
            let (sequences, ends) = (&back.numbers[0], &back.numbers[1]);
            for (row, group) in back.groups.iter().enumerate() {
                let sequence = sequences.value(row) as u64;
                self.sequence = self.sequence.max(sequence);
                let key = place(sort.get(row), sequence);
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                let all = self.store.payload_mut();
                let partition = &mut all.groups[*group as usize];
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
