//! `RowStore`: rows by key, for joins, Top-N, OVER and deduplication.

use super::group_store::{GroupStore, Payload, StoreContext};
use super::snapshot::{SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

/// No row, no group.
const NONE: u32 = u32::MAX;
/// Bytes of removed rows that are kept before the bytes of all rows are packed anew.
const GARBAGE_BYTES: usize = 1 << 16;

/// Rows by key, in the order in which they came. Equal rows of a key may be there several times. Each row carries
/// a small number that is the operator's (how many rows of the other side an outer join has found for it, say).
///
/// In memory up to the budget, on disk beyond; given to checkpoints as whole or as changes, key by key. With a
/// time to live each row has its own: it begins anew when the row is written, not when it is read.
///
/// Work on it batch by batch, and end each batch with [`RowStore::settle`].
pub struct RowStore {
    store: GroupStore<Rows>,
    schema: SchemaRef,
    ttl_ms: i64,
    groups: Vec<u32>,
}

/// Keys whose rows are being read: see [`RowStore::probe`].
#[derive(Debug)]
pub struct Probe {
    groups: Vec<u32>,
    /// Index into `groups` and the next row of its key.
    at: usize,
    row: Option<u32>,
    now_ms: i64,
}

/// Rows found.
#[derive(Debug)]
pub struct Matches {
    /// For each row, the index of the key that it was found for.
    pub probe: UInt32Array,
    /// The rows.
    pub rows: RecordBatch,
    /// Their ids, good until the store is changed.
    pub ids: Vec<u32>,
}

impl RowStore {
    /// An empty store. `name` is that of its table in checkpoints, unique in the operator and the same in every
    /// release.
    ///
    /// Errors: a key's or column's type that cannot be kept.
    pub fn new(name: &str, key_types: &[DataType], rows: SchemaRef) -> Result<Self> {
        let payload = Rows::new(rows.clone())?;
        let store = GroupStore::new(name, key_types, payload)?;
        Ok(Self { store, schema: rows, ttl_ms: 0, groups: Vec::new() })
    }

    /// To be called once, while the store is empty.
    pub fn open(&mut self, context: StoreContext) {
        self.ttl_ms = i64::try_from(context.ttl_ms).unwrap_or(i64::MAX);
        self.store.open(context);
    }

    /// Adds `rows`, each behind the earlier rows of its key, with a number each (0 without `numbers`).
    pub fn append(
        &mut self,
        keys: &[ArrayRef],
        rows: &RecordBatch,
        numbers: Option<&[i32]>,
        now_ms: i64,
    ) -> Result<()> {
        self.store.touch(keys, rows.num_rows(), now_ms, &mut self.groups)?;
        if self.ttl_ms > 0 {
            let old = now_ms.saturating_sub(self.ttl_ms);
            self.groups.iter().for_each(|g| self.store.payload_mut().drop_old(*g, old));
        }
        let times = vec![now_ms; rows.num_rows()];
        let numbers = numbers.map_or_else(|| vec![0; rows.num_rows()], <[i32]>::to_vec);
        self.store.payload_mut().append(rows.columns(), &self.groups, &numbers, &times)
    }

    /// Takes back one row that is equal to each of `rows`: the earliest. Gives its number, or `None` where there
    /// is no such row.
    pub fn retract(
        &mut self,
        keys: &[ArrayRef],
        rows: &RecordBatch,
        now_ms: i64,
    ) -> Result<Vec<Option<i32>>> {
        self.store.touch(keys, rows.num_rows(), now_ms, &mut self.groups)?;
        let old = if self.ttl_ms > 0 { now_ms.saturating_sub(self.ttl_ms) } else { i64::MIN };
        let payload = self.store.payload_mut();
        let found = payload.retract(rows.columns(), &self.groups, old)?;
        let empty: Vec<u32> =
            self.groups.iter().copied().filter(|g| payload.heads[*g as usize].first == NONE).collect();
        self.store.remove(empty)?;
        Ok(found)
    }

    /// Takes away all rows of these keys.
    pub fn clear(&mut self, keys: &[ArrayRef], rows: usize, now_ms: i64) -> Result<()> {
        self.store.touch(keys, rows, now_ms, &mut self.groups)?;
        self.store.remove(self.groups.iter().copied())
    }

    /// Begins to read the rows of each of `rows` keys.
    ///
    /// Errors: rows cannot be read back from disk.
    pub fn probe(&mut self, keys: &[ArrayRef], rows: usize, now_ms: i64) -> Result<Probe> {
        let groups = self.store.find(keys, rows, now_ms)?;
        let groups = groups.into_iter().map(|g| g.unwrap_or(NONE)).collect();
        let mut probe = Probe { groups, at: 0, row: None, now_ms };
        self.enter(&mut probe);
        Ok(probe)
    }

    /// The next rows, at most `max_rows`: key by key as they were asked for, each key's rows in the order in which
    /// they came. `None` at the end. The store must not change between the calls.
    pub fn matches(&self, probe: &mut Probe, max_rows: usize) -> Result<Option<Matches>> {
        let payload = self.store.payload();
        let (mut ids, mut found) = (Vec::new(), Vec::new());
        while let Some(row) = probe.row.filter(|_| ids.len() < max_rows) {
            let entry = &payload.entries[row as usize];
            if !self.is_old(entry.touched, probe.now_ms) {
                ids.push(row);
                found.push(probe.at as u32);
            }
            probe.row = Some(entry.after).filter(|r| *r != NONE);
            if probe.row.is_none() {
                probe.at += 1;
                self.enter(probe);
            }
        }
        if ids.is_empty() {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        let columns = payload.columns(&ids)?;
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(Some(Matches { probe: found.into(), rows, ids }))
    }

    /// Goes to the first row of the next key that has one.
    fn enter(&self, probe: &mut Probe) {
        while let Some(group) = probe.groups.get(probe.at) {
            probe.row = match *group {
                NONE => None,
                group => Some(self.store.payload().heads[group as usize].first).filter(|r| *r != NONE),
            };
            if probe.row.is_some() {
                return;
            }
            probe.at += 1;
        }
        probe.row = None;
    }

    fn is_old(&self, touched: i64, now_ms: i64) -> bool {
        self.ttl_ms > 0 && touched.saturating_add(self.ttl_ms) <= now_ms
    }

    /// The numbers of the rows `ids`.
    pub fn numbers(&self, ids: &[u32]) -> Vec<i32> {
        ids.iter().map(|id| self.store.payload().entries[*id as usize].number).collect()
    }

    /// Adds `change` to the numbers of the rows `ids`; a row that is there twice gets it twice. This writes them.
    pub fn change_numbers(&mut self, ids: &[u32], change: i32, now_ms: i64) -> Result<()> {
        let groups: Vec<u32> =
            ids.iter().map(|id| self.store.payload().entries[*id as usize].group).collect();
        self.store.mark(&groups, now_ms)?;
        for id in ids {
            let entry = &mut self.store.payload_mut().entries[*id as usize];
            entry.number = entry.number.wrapping_add(change);
            entry.touched = now_ms;
        }
        Ok(())
    }

    /// The batch is done.
    pub fn settle(&mut self, now_ms: i64) -> Result<()> {
        self.store.settle(now_ms)
    }

    /// Bytes held in memory, estimated.
    pub fn size(&self) -> usize {
        self.store.size()
    }

    /// Bytes of rows on disk, before compression.
    pub fn spilled_bytes(&self) -> u64 {
        self.store.spilled_bytes()
    }

    /// See `GroupStore::snapshot`.
    pub fn snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.snapshot(out)
    }

    /// See `GroupStore::continue_snapshot`.
    pub fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    /// See `GroupStore::restore`.
    pub fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        self.store.restore(state)
    }

    /// See `GroupStore::restore_rows`.
    pub fn restore_rows(&mut self, rows: &StateRows) -> Result<()> {
        self.store.restore_rows(rows)
    }
}

/// The rows of all keys, as bytes of arrow's row format: equal rows are equal bytes.
struct Rows {
    converter: RowConverter,
    schema: SchemaRef,
    entries: Vec<Entry>,
    free: Vec<u32>,
    heads: Vec<Head>,
    /// The earliest of equal rows of a group.
    index: HashTable<u32>,
    hasher: FixedState,
    bytes: Vec<u8>,
    garbage: usize,
}

/// First and last row of a group.
#[derive(Clone, Copy)]
struct Head {
    first: u32,
    last: u32,
}

/// One row: where its bytes are, its neighbours in its group, and the next one that is equal.
#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    touched: i64,
    start: usize,
    length: u32,
    group: u32,
    number: i32,
    before: u32,
    after: u32,
    equal: u32,
    /// Of the earliest of equal rows: the latest.
    last_equal: u32,
}

impl Rows {
    fn new(schema: SchemaRef) -> Result<Self> {
        let fields: Vec<SortField> =
            schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        if let Some(field) = schema
            .fields()
            .iter()
            .find(|f| !RowConverter::supports_fields(&[SortField::new(f.data_type().clone())]))
        {
            return Err(Error::unsupported(
                format!("Keeping the column '{}' of the type {} in state", field.name(), field.data_type()),
                "Select its fields or elements instead, or CAST it to STRING.",
            ));
        }
        Ok(Self {
            converter: RowConverter::new(fields)?,
            schema,
            entries: Vec::new(),
            free: Vec::new(),
            heads: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(0),
            bytes: Vec::new(),
            garbage: 0,
        })
    }

    fn hash(&self, group: u32, row: &[u8]) -> u64 {
        self.hasher.hash_one((group, row))
    }

    fn row(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.length as usize]
    }

    /// The earliest row of `group` that is equal to `row`.
    fn find(&self, hash: u64, group: u32, row: &[u8]) -> Option<u32> {
        let same = |id: &u32| {
            let entry = &self.entries[*id as usize];
            entry.hash == hash && entry.group == group && self.row(entry) == row
        };
        self.index.find(hash, same).copied()
    }

    fn append(&mut self, columns: &[ArrayRef], groups: &[u32], numbers: &[i32], times: &[i64]) -> Result<()> {
        let rows = self.converter.convert_columns(columns)?;
        for (i, group) in groups.iter().enumerate() {
            // Without columns all rows are equal, and none has bytes.
            let row = if columns.is_empty() { &[][..] } else { rows.row(i).data() };
            self.put(*group, row, numbers[i], times[i]);
        }
        Ok(())
    }

    fn put(&mut self, group: u32, row: &[u8], number: i32, touched: i64) {
        let hash = self.hash(group, row);
        let earliest = self.find(hash, group, row);
        let last = self.heads[group as usize].last;
        let entry = Entry {
            hash,
            touched,
            start: self.bytes.len(),
            // Arrow's own offsets keep a row below 4 GB.
            length: row.len() as u32,
            group,
            number,
            before: last,
            after: NONE,
            equal: NONE,
            last_equal: NONE,
        };
        self.bytes.extend_from_slice(row);
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        match last {
            NONE => self.heads[group as usize].first = id,
            last => self.entries[last as usize].after = id,
        }
        self.heads[group as usize].last = id;
        match earliest {
            Some(earliest) => {
                let latest = std::mem::replace(&mut self.entries[earliest as usize].last_equal, id);
                let latest = if latest == NONE { earliest } else { latest };
                self.entries[latest as usize].equal = id;
            }
            None => {
                let entries = &self.entries;
                self.index.insert_unique(hash, id, |i| entries[*i as usize].hash);
            }
        }
    }

    /// Rows whose time is not after `old` are not there.
    fn retract(&mut self, columns: &[ArrayRef], groups: &[u32], old: i64) -> Result<Vec<Option<i32>>> {
        let rows = self.converter.convert_columns(columns)?;
        let mut found = Vec::with_capacity(groups.len());
        for (i, group) in groups.iter().enumerate() {
            let row = if columns.is_empty() { &[][..] } else { rows.row(i).data() };
            let hash = self.hash(*group, row);
            let mut number = None;
            while let Some(id) = self.find(hash, *group, row).filter(|_| number.is_none()) {
                let entry = self.entries[id as usize];
                self.take_out(id);
                number = (entry.touched > old).then_some(entry.number);
            }
            found.push(number);
        }
        self.pack();
        Ok(found)
    }

    /// Takes out the earliest of equal rows.
    fn take_out(&mut self, id: u32) {
        let Entry { hash, group, before, after, equal, last_equal, length, .. } = self.entries[id as usize];
        match before {
            NONE => self.heads[group as usize].first = after,
            before => self.entries[before as usize].after = after,
        }
        match after {
            NONE => self.heads[group as usize].last = before,
            after => self.entries[after as usize].before = before,
        }
        if let Ok(mut slot) = self.index.find_entry(hash, |i| *i == id) {
            match equal {
                NONE => {
                    slot.remove();
                }
                equal => {
                    *slot.get_mut() = equal;
                    let next = &mut self.entries[equal as usize];
                    next.last_equal = if last_equal == equal { NONE } else { last_equal };
                }
            }
        }
        self.garbage += length as usize;
        self.free.push(id);
    }

    /// Drops the first rows of `group` whose time is not after `old`: what is added to for ever must not grow for
    /// ever.
    fn drop_old(&mut self, group: u32, old: i64) {
        loop {
            let first = self.heads[group as usize].first;
            if first == NONE || self.entries[first as usize].touched > old {
                return;
            }
            // The first row of all is the earliest of its equals.
            self.take_out(first);
        }
    }

    fn pack(&mut self) {
        if self.garbage < GARBAGE_BYTES.max(self.bytes.len() / 2) {
            return;
        }
        let mut packed = Vec::with_capacity(self.bytes.len() - self.garbage);
        for head in &self.heads {
            let mut next = head.first;
            while next != NONE {
                let entry = &mut self.entries[next as usize];
                let from = std::mem::replace(&mut entry.start, packed.len());
                packed.extend_from_slice(&self.bytes[from..from + entry.length as usize]);
                next = entry.after;
            }
        }
        self.bytes = packed;
        self.garbage = 0;
    }

    /// The rows `ids` as columns.
    fn columns(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.schema.fields().is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        let rows = ids.iter().map(|id| parser.parse(self.row(&self.entries[*id as usize])));
        Ok(self.converter.convert_rows(rows)?)
    }
}

impl Payload for Rows {
    fn resize(&mut self, groups: usize) {
        self.heads.resize(groups, Head { first: NONE, last: NONE });
    }

    /// Lists: the columns of the rows, their numbers, their times.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let (mut ids, mut ends) = (Vec::new(), vec![0]);
        for group in groups {
            let mut next = self.heads[*group as usize].first;
            while next != NONE {
                ids.push(next);
                next = self.entries[next as usize].after;
            }
            ends.push(ids.len() as i32);
        }
        let mut columns = self.columns(&ids)?;
        let entry = |id: &u32| &self.entries[*id as usize];
        columns.push(Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| entry(id).number))));
        columns.push(Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| entry(id).touched))));
        let offsets = OffsetBuffer::new(ends.into());
        let list = |values: ArrayRef| {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(field, offsets.clone(), values, None::<NullBuffer>)?) as ArrayRef)
        };
        columns.into_iter().map(list).collect()
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let Some(first) = columns.first().map(|c| c.as_list::<i32>()) else { return Ok(()) };
        let offsets = first.value_offsets();
        let (start, end) = (offsets[0] as usize, offsets[first.len()] as usize);
        let lengths = offsets.windows(2).map(|w| (w[1] - w[0]) as usize);
        let groups: Vec<u32> =
            groups.iter().zip(lengths).flat_map(|(g, n)| std::iter::repeat_n(*g, n)).collect();
        let mut values: Vec<ArrayRef> = columns
            .iter()
            .map(|c| {
                let list = c.as_list::<i32>();
                let first = list.value_offsets()[0] as usize;
                list.values().slice(first, end - start)
            })
            .collect();
        let (Some(times), Some(numbers)) = (values.pop(), values.pop()) else { return Ok(()) };
        let (numbers, times) = (numbers.as_primitive::<Int32Type>(), times.as_primitive::<Int64Type>());
        self.append(&values, &groups, numbers.values(), times.values())
    }

    fn clear(&mut self, group: u32) {
        let mut next = self.heads[group as usize].first;
        while next != NONE {
            let entry = self.entries[next as usize];
            if let Ok(slot) = self.index.find_entry(entry.hash, |i| *i == next) {
                slot.remove();
            }
            self.garbage += entry.length as usize;
            self.free.push(next);
            next = entry.after;
        }
        self.heads[group as usize] = Head { first: NONE, last: NONE };
        self.pack();
    }

    fn size(&self) -> usize {
        self.entries.len() * size_of::<Entry>()
            + self.free.len() * 4
            + self.heads.len() * size_of::<Head>()
            + self.index.capacity() * 6
            + self.bytes.len()
    }

    fn fresh(&self) -> Result<Self> {
        Self::new(self.schema.clone())
    }
}
