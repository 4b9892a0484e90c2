//! The rows that one side of a regular join keeps: by join key, with how often each came and how many rows of the
//! other side it is joined with.

use super::arrived_rows::ArrivedRows;
use super::kept_groups::{Bytes, put_bytes, put_number};
use super::row_codec::RowCodec;
use super::rows::MAX_BATCH_ROWS;
use crate::error::{Error, Result};
use crate::state::{KeyTable, StateRows, key_group};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::Rows;
use std::ops::Range;
use std::sync::Arc;

/// No slot, or no group.
pub(super) const NONE: u32 = u32::MAX;
/// The next slot of one that is not in use, where rows are kept as they came.
const UNUSED: u32 = u32::MAX - 1;
/// Behind a side's name: the state table of rows as they came.
const ARRIVED: &str = "-rows";

/// A snapshot, or one before it, may hold the slot's row.
const KNOWN: u8 = 1;
/// The slot has changed since the last snapshot.
const CHANGED: u8 = 2;
/// Most rows taken away since the last snapshot that are remembered; beyond, the next snapshot is to be full.
const MAX_GONE: usize = 1 << 20;

/// Distinct rows in slots; those of one join key are a chain in the order in which they came. Where rows are only ever
/// added, each stays in a slot of its own as it came, until one is taken back after all.
pub(super) struct JoinRows {
    name: &'static str,
    schema: SchemaRef,
    /// Join key columns of the row.
    keys: Vec<usize>,
    rows: KeyTable,
    /// The rows instead of `rows`, each there once, where none is taken back.
    arrived: Option<ArrivedRows>,
    /// How often the row has come; 0 in a slot that is not in use.
    counts: Vec<u32>,
    /// Rows of the other side that the row is joined with (kept only where somebody asks).
    associations: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    group_of: Vec<u32>,
    /// First and last slot of each join key.
    heads: Vec<u32>,
    tails: Vec<u32>,
    /// When each slot was last written, where rows have a time to live.
    written_ms: Vec<i64>,
    ttl_ms: i64,
    tracking: bool,
    /// `KNOWN` and `CHANGED` of each slot, where changes are tracked.
    flags: Vec<u8>,
    /// Rows that an earlier snapshot may hold and that are gone now; their number, and whether they were too many.
    gone: Vec<Vec<ArrayRef>>,
    gone_rows: usize,
    gone_overflow: bool,
    codec: Arc<RowCodec>,
    max_parallelism: usize,
}

/// Rows on their way to disk.
pub(super) struct Encoded {
    slots: Vec<u32>,
    /// Those of the n-th group are `slots[bounds[n]..bounds[n + 1]]`.
    bounds: Vec<usize>,
    rows: Option<Rows>,
}

/// Rows on their way back from disk.
#[derive(Default)]
pub(super) struct Returned<'a> {
    rows: Vec<&'a [u8]>,
    kept: Vec<Kept>,
}

struct Kept {
    group: u32,
    count: u32,
    associations: u32,
    written_ms: i64,
    flags: u8,
}

impl JoinRows {
    /// No rows. `name` is that of the state table.
    ///
    /// Errors: a column whose type cannot be kept.
    pub(super) fn new(name: &'static str, schema: SchemaRef, keys: Vec<usize>) -> Result<Self> {
        let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let codec = Arc::new(RowCodec::of_schema(&schema)?);
        Ok(Self::with(name, schema, keys, KeyTable::new(&types)?, codec))
    }

    /// An empty one for the same rows.
    pub(super) fn fresh(&self) -> Self {
        let rows = self.rows.new_like();
        let mut fresh =
            Self::with(self.name, self.schema.clone(), self.keys.clone(), rows, self.codec.clone());
        (fresh.ttl_ms, fresh.tracking, fresh.max_parallelism) =
            (self.ttl_ms, self.tracking, self.max_parallelism);
        fresh.arrived = self.arrived.as_ref().map(|_| ArrivedRows::new(self.schema.clone()));
        fresh
    }

    /// Takes over the rows that are gone.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        self.gone = std::mem::take(&mut old.gone);
        (self.gone_rows, self.gone_overflow) = (old.gone_rows, old.gone_overflow);
    }

    fn with(
        name: &'static str,
        schema: SchemaRef,
        keys: Vec<usize>,
        rows: KeyTable,
        codec: Arc<RowCodec>,
    ) -> Self {
        Self {
            name,
            schema,
            keys,
            rows,
            arrived: None,
            counts: Vec::new(),
            associations: Vec::new(),
            next: Vec::new(),
            previous: Vec::new(),
            group_of: Vec::new(),
            heads: Vec::new(),
            tails: Vec::new(),
            written_ms: Vec::new(),
            ttl_ms: 0,
            tracking: false,
            flags: Vec::new(),
            gone: Vec::new(),
            gone_rows: 0,
            gone_overflow: false,
            codec,
            max_parallelism: 1,
        }
    }

    /// Rows that were not written for `ttl_ms` are forgotten (0: never); changes are told apart if `tracking`. `only_added`:
    /// rows are not expected to be taken back, and nobody asks for their associations.
    pub(super) fn open(&mut self, ttl_ms: u64, tracking: bool, max_parallelism: usize, only_added: bool) {
        self.ttl_ms = i64::try_from(ttl_ms).unwrap_or(i64::MAX);
        self.tracking = tracking;
        self.max_parallelism = max_parallelism;
        self.arrived = (only_added && ttl_ms == 0).then(|| ArrivedRows::new(self.schema.clone()));
    }

    /// From here on rows are kept as distinct rows with counts: some are going to be taken back.
    pub(super) fn make_distinct(&mut self) -> Result<()> {
        let Some(mut arrived) = self.arrived.take() else { return Ok(()) };
        let mut chains: Vec<(u32, u32)> = Vec::with_capacity(arrived.len());
        for group in 0..self.heads.len() as u32 {
            self.chain(group, |slot| chains.push((slot, group)));
        }
        let flags = std::mem::take(&mut self.flags);
        self.next = Vec::new();
        self.heads.fill(NONE);
        self.tails.fill(NONE);
        let all = self.all_columns();
        let mut slots = Vec::new();
        for part in chains.chunks(MAX_BATCH_ROWS) {
            let old: Vec<u32> = part.iter().map(|(slot, _)| *slot).collect();
            self.rows.intern(&arrived.take(&old, &all)?, old.len(), &mut slots)?;
            arrived.release(old);
            self.grow();
            for (slot, (old, group)) in slots.iter().zip(part) {
                let at = *slot as usize;
                self.count_in(*slot, *group, 1);
                if self.tracking {
                    self.flags[at] |= flags.get(*old as usize).copied().unwrap_or(0);
                }
            }
        }
        Ok(())
    }

    /// A row is there `count` times more, or for the first time.
    fn count_in(&mut self, slot: u32, group: u32, count: u32) {
        if self.counts[slot as usize] == 0 {
            self.link(slot, group);
        }
        self.counts[slot as usize] += count;
    }

    fn all_columns(&self) -> Vec<usize> {
        (0..self.schema.fields().len()).collect()
    }

    /// All columns of the rows in `slots`.
    fn records(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.arrived {
            Some(arrived) => arrived.take(slots, &self.all_columns()),
            None => self.rows.keys(slots),
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The join key columns of rows.
    pub(super) fn keys(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect()
    }

    /// Makes room for join keys up to `groups`.
    pub(super) fn resize_groups(&mut self, groups: usize) {
        if groups > self.heads.len() {
            self.heads.resize(groups, NONE);
            self.tails.resize(groups, NONE);
        }
    }

    /// Whether a join key has rows.
    pub(super) fn has_rows(&self, group: u32) -> bool {
        self.heads.get(group as usize).is_some_and(|h| *h != NONE)
    }

    /// The slot of each row, in use or not. What is not added by then is to be given back with `release`.
    pub(super) fn slots(&mut self, records: &RecordBatch, slots: &mut Vec<u32>) -> Result<()> {
        if let Some(arrived) = &mut self.arrived {
            arrived.add(records, slots)?;
            self.next.resize(arrived.slots(), UNUSED);
            if self.tracking {
                self.flags.resize(arrived.slots(), 0);
            }
            return Ok(());
        }
        self.rows.intern(records.columns(), records.num_rows(), slots)?;
        self.grow();
        Ok(())
    }

    fn grow(&mut self) {
        let all = self.rows.slots();
        if all > self.counts.len() {
            self.counts.resize(all, 0);
            self.associations.resize(all, 0);
            self.next.resize(all, NONE);
            self.previous.resize(all, NONE);
            self.group_of.resize(all, NONE);
            if self.ttl_ms > 0 {
                self.written_ms.resize(all, 0);
            }
            if self.tracking {
                self.flags.resize(all, 0);
            }
        }
    }

    fn written(&mut self, slot: u32, now_ms: i64) {
        let at = slot as usize;
        if self.ttl_ms > 0 {
            self.written_ms[at] = now_ms;
        }
        if self.tracking {
            self.flags[at] |= CHANGED;
        }
    }

    fn expired(&self, slot: u32, now_ms: i64) -> bool {
        self.ttl_ms > 0 && self.written_ms[slot as usize].saturating_add(self.ttl_ms) <= now_ms
    }

    /// The row came once more; it is joined with `associations` rows.
    pub(super) fn add(&mut self, slot: u32, group: u32, associations: u32, now_ms: i64) {
        let at = slot as usize;
        if self.arrived.is_some() {
            self.append(slot, group);
            return self.written(slot, now_ms);
        }
        if self.counts[at] > 0 && self.expired(slot, now_ms) {
            self.counts[at] = 0;
            self.unlink(slot);
        }
        if self.counts[at] == 0 {
            self.link(slot, group);
        }
        self.counts[at] += 1;
        self.associations[at] = associations;
        self.written(slot, now_ms);
    }

    /// The row is taken back once. One that is not there is ignored.
    pub(super) fn retract(&mut self, slot: u32, now_ms: i64) {
        let at = slot as usize;
        if self.counts[at] == 0 {
            return;
        }
        // Of a row whose time is over, nothing is left that could be taken back once.
        self.counts[at] = if self.expired(slot, now_ms) { 0 } else { self.counts[at] - 1 };
        if self.counts[at] == 0 {
            self.unlink(slot);
        } else {
            self.written(slot, now_ms);
        }
    }

    fn link(&mut self, slot: u32, group: u32) {
        self.group_of[slot as usize] = group;
        self.previous[slot as usize] = self.tails[group as usize];
        self.append(slot, group);
    }

    /// Puts the slot at the end of its join key's chain.
    fn append(&mut self, slot: u32, group: u32) {
        let key = group as usize;
        self.next[slot as usize] = NONE;
        match self.tails[key] {
            NONE => self.heads[key] = slot,
            tail => self.next[tail as usize] = slot,
        }
        self.tails[key] = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let at = slot as usize;
        let (previous, next, key) = (self.previous[at], self.next[at], self.group_of[at] as usize);
        match previous {
            NONE => self.heads[key] = next,
            p => self.next[p as usize] = next,
        }
        match next {
            NONE => self.tails[key] = previous,
            n => self.previous[n as usize] = previous,
        }
    }

    /// Gives back those of `slots` that are not in use.
    pub(super) fn release(&mut self, slots: impl IntoIterator<Item = u32>) -> Result<()> {
        if let Some(arrived) = &mut self.arrived {
            arrived.release(slots.into_iter().filter(|s| self.next[*s as usize] == UNUSED));
            return arrived.pack(false);
        }
        let mut unused: Vec<u32> = slots.into_iter().filter(|s| self.counts[*s as usize] == 0).collect();
        unused.sort_unstable();
        unused.dedup();
        if self.tracking {
            // A row that an earlier snapshot may hold must be deleted in the next one.
            let flags = &mut self.flags;
            let taken = |s: &u32| std::mem::replace(&mut flags[*s as usize], 0) & KNOWN != 0;
            let known: Vec<u32> = unused.iter().copied().filter(taken).collect();
            if !known.is_empty() {
                self.gone_rows += known.len();
                self.gone.push(self.rows.keys(&known)?);
            }
            if self.gone_rows > MAX_GONE {
                (self.gone, self.gone_rows, self.gone_overflow) = (Vec::new(), 0, true);
            }
        }
        self.rows.remove(unused);
        Ok(())
    }

    /// Calls `found` with the slot of each row of a join key.
    pub(super) fn walk(&self, group: u32, now_ms: i64, mut found: impl FnMut(u32)) {
        let mut slot = self.heads.get(group as usize).copied().unwrap_or(NONE);
        while slot != NONE {
            if !self.expired(slot, now_ms) {
                found(slot);
            }
            slot = self.next[slot as usize];
        }
    }

    /// How often the row has come.
    pub(super) fn count(&self, slot: u32) -> u32 {
        self.counts.get(slot as usize).copied().unwrap_or(1)
    }

    /// How many rows of the other side it is joined with.
    pub(super) fn associations(&self, slot: u32) -> u32 {
        self.associations.get(slot as usize).copied().unwrap_or(0)
    }

    pub(super) fn set_associations(&mut self, slot: u32, associations: u32, now_ms: i64) {
        self.associations[slot as usize] = associations;
        self.written(slot, now_ms);
    }

    /// Columns `columns` of the rows in `slots`.
    pub(super) fn take(&self, slots: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        match &self.arrived {
            Some(arrived) => arrived.take(slots, columns),
            None => self.rows.columns(slots, columns),
        }
    }

    /// Whether more rows were taken away than a delta can tell of, since this was last asked.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.gone_overflow)
    }

    /// The join keys of rows in memory whose time is over.
    pub(super) fn groups_over(&self, now_ms: i64) -> Vec<u32> {
        let over = self.rows.groups().filter(|s| self.counts[*s as usize] > 0 && self.expired(*s, now_ms));
        over.map(|slot| self.group_of[slot as usize]).collect()
    }

    /// Forgets those rows of join keys whose time is over.
    pub(super) fn expire(&mut self, groups: &[u32], now_ms: i64) -> Result<()> {
        let mut over = Vec::new();
        for group in groups {
            self.chain(*group, |slot| {
                if self.expired(slot, now_ms) {
                    over.push(slot);
                }
            });
        }
        for slot in &over {
            self.counts[*slot as usize] = 0;
            self.unlink(*slot);
        }
        self.release(over)
    }

    /// When the first row of a join key is over.
    pub(super) fn due(&self, group: u32) -> i64 {
        let mut due = i64::MAX;
        if self.ttl_ms > 0 {
            self.chain(group, |s| due = due.min(self.written_ms[s as usize].saturating_add(self.ttl_ms)));
        }
        due
    }

    /// Calls `found` with each row of a join key, its time over or not.
    fn chain(&self, group: u32, mut found: impl FnMut(u32)) {
        let mut slot = self.heads.get(group as usize).copied().unwrap_or(NONE);
        while slot != NONE {
            found(slot);
            slot = self.next[slot as usize];
        }
    }

    /// The rows of join keys, for the disk.
    pub(super) fn encode(&self, groups: &[u32]) -> Result<Encoded> {
        let (mut slots, mut bounds) = (Vec::new(), vec![0]);
        for group in groups {
            self.chain(*group, |slot| slots.push(slot));
            bounds.push(slots.len());
        }
        // Without columns all rows are equal, and none has bytes.
        let rows = (!self.schema.fields().is_empty()).then(|| self.codec.encode(&self.records(&slots)?));
        Ok(Encoded { slots, bounds, rows: rows.transpose()? })
    }

    /// Adds the rows of the `number`th join key of `encoded`.
    pub(super) fn write_group(&self, encoded: &Encoded, number: usize, into: &mut Vec<u8>) {
        let own: Range<usize> = encoded.bounds[number]..encoded.bounds[number + 1];
        put_number(into, own.len() as i64);
        for at in own {
            let slot = encoded.slots[at];
            put_number(into, i64::from(self.count(slot)));
            put_number(into, i64::from(self.associations(slot)));
            let slot = slot as usize;
            put_number(into, self.written_ms.get(slot).copied().unwrap_or(0));
            put_number(into, i64::from(self.flags.get(slot).copied().unwrap_or(0)));
            put_bytes(into, encoded.rows.as_ref().map_or(&[][..], |rows| rows.row(at).data()));
        }
    }

    /// What `write_group` has written, of join key `group`.
    pub(super) fn read_group<'a>(from: &mut Bytes<'a>, group: u32, into: &mut Returned<'a>) -> Option<()> {
        for _ in 0..from.number()? {
            into.kept.push(Kept {
                group,
                count: from.number()? as u32,
                associations: from.number()? as u32,
                written_ms: from.number()?,
                flags: from.number()? as u8,
            });
            into.rows.push(from.bytes()?);
        }
        Some(())
    }

    /// Takes rows back, each behind the earlier rows of its join key. Rows of the join keys are not there; one that went as
    /// it came may come back more than once.
    pub(super) fn put_back(&mut self, returned: Returned<'_>) -> Result<()> {
        let rows = returned.rows.len();
        let columns = match self.schema.fields().is_empty() {
            true => Vec::new(),
            false => self.codec.decode(returned.rows)?,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let records = RecordBatch::try_new_with_options(self.row_schema(), columns, &options)?;
        let mut slots = Vec::new();
        self.slots(&records, &mut slots)?;
        for (slot, kept) in slots.into_iter().zip(returned.kept) {
            let at = slot as usize;
            match self.arrived {
                Some(_) => self.append(slot, kept.group),
                None => {
                    self.count_in(slot, kept.group, kept.count);
                    self.associations[at] = kept.associations;
                }
            }
            if self.ttl_ms > 0 {
                self.written_ms[at] = kept.written_ms;
            }
            if self.tracking {
                self.flags[at] |= kept.flags;
            }
        }
        Ok(())
    }

    /// Drops the rows of a join key from memory: they are on disk, or nowhere.
    pub(super) fn clear(&mut self, group: u32) {
        let mut slots = Vec::new();
        self.chain(group, |slot| slots.push(slot));
        if slots.is_empty() {
            return;
        }
        for slot in &slots {
            if let Some(count) = self.counts.get_mut(*slot as usize) {
                *count = 0;
            }
            if let Some(flags) = self.flags.get_mut(*slot as usize) {
                *flags = 0;
            }
        }
        (self.heads[group as usize], self.tails[group as usize]) = (NONE, NONE);
        match &mut self.arrived {
            Some(arrived) => {
                slots.iter().for_each(|slot| self.next[*slot as usize] = UNUSED);
                arrived.release(slots);
            }
            None => self.rows.remove(slots),
        }
    }

    /// See `Payload::pack`.
    pub(super) fn pack(&mut self) -> Result<()> {
        self.arrived.as_mut().map_or(Ok(()), |arrived| arrived.pack(true))
    }

    /// A snapshot holds the rows of join keys.
    pub(super) fn saved(&mut self, groups: &[u32]) {
        if !self.tracking {
            return;
        }
        for group in groups {
            let mut slot = self.heads.get(*group as usize).copied().unwrap_or(NONE);
            while slot != NONE {
                self.flags[slot as usize] = KNOWN;
                slot = self.next[slot as usize];
            }
        }
    }

    /// Milliseconds that a row is kept after it was written; 0 for ever.
    pub(super) fn ttl_ms(&self) -> i64 {
        self.ttl_ms
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        let slots = match &self.arrived {
            Some(arrived) => arrived.size() + arrived.slots() * self.slot_bytes(),
            None => self.rows.size() + self.counts.len() * self.slot_bytes(),
        };
        slots + self.heads.len() * 8
    }

    /// Bytes of a row, on average.
    pub(super) fn row_bytes(&self) -> usize {
        match &self.arrived {
            Some(arrived) => arrived.row_bytes() / arrived.len().max(1),
            None => self.rows.size() / self.rows.len().max(1),
        }
    }

    /// Bytes beside each row.
    fn slot_bytes(&self) -> usize {
        let linked = if self.arrived.is_some() { 4 } else { 20 };
        linked + if self.ttl_ms > 0 { 8 } else { 0 } + usize::from(self.tracking)
    }

    /// Those of `size` that new rows take before there are more.
    pub(super) fn spare(&self) -> usize {
        if let Some(arrived) = &self.arrived {
            return arrived.spare() + (arrived.slots() - arrived.len()) * self.slot_bytes();
        }
        let (slots, free) = (self.rows.slots(), self.rows.slots() - self.rows.len());
        let bytes = self.rows.size() + self.counts.len() * self.slot_bytes();
        (bytes as u128 * free as u128).checked_div(slots as u128).unwrap_or(0) as usize
    }

    /// The rows' columns as they stand in state: without the names and metadata of the query.
    fn row_schema(&self) -> SchemaRef {
        let fields = self.schema.fields().iter().enumerate();
        Arc::new(Schema::new(
            fields.map(|(i, f)| Field::new(format!("{i}"), f.data_type().clone(), true)).collect::<Vec<_>>(),
        ))
    }

    /// Columns of the state table: the row's, then what is kept of it.
    fn state_schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = self.row_schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(["count", "associations", "written"].map(|n| Field::new(n, DataType::Int64, false)));
        Arc::new(Schema::new(fields))
    }

    /// The rows of join keys for a snapshot: all, or those that have changed since the last one.
    pub(super) fn snapshot(&self, groups: &[u32], full: bool, out: &mut Vec<StateRows>) -> Result<()> {
        let mut wanted = Vec::new();
        for group in groups {
            self.chain(*group, |slot| {
                if full || self.flags.get(slot as usize).is_none_or(|flags| flags & CHANGED != 0) {
                    wanted.push(slot);
                }
            });
        }
        for slots in wanted.chunks(MAX_BATCH_ROWS) {
            let column = |value: &dyn Fn(usize) -> i64| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(slots.iter().map(|s| value(*s as usize))))
            };
            let kept = [
                column(&|s| i64::from(self.count(s as u32))),
                column(&|s| i64::from(self.associations(s as u32))),
                column(&|s| self.written_ms.get(s).copied().unwrap_or(0)),
            ];
            let mut rows = self.state_rows(self.records(slots)?, kept, false)?;
            if self.arrived.is_some() {
                rows.table += ARRIVED;
            }
            out.push(rows);
        }
        Ok(())
    }

    /// The rows that were taken away since the last snapshot, as deletions of a delta.
    pub(super) fn take_gone(&mut self, out: &mut Vec<StateRows>) -> Result<()> {
        self.gone_rows = 0;
        for columns in std::mem::take(&mut self.gone) {
            let rows = columns.first().map_or(0, |c| c.len());
            let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
            out.push(self.state_rows(columns, [zeros.clone(), zeros.clone(), zeros], true)?);
        }
        Ok(())
    }

    fn state_rows(&self, columns: Vec<ArrayRef>, kept: [ArrayRef; 3], deleted: bool) -> Result<StateRows> {
        let rows = kept[0].len();
        let key_groups = if self.keys.is_empty() {
            None
        } else {
            let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(&columns[*k])).collect();
            let mut groups = Vec::new();
            key_group::key_groups(&keys, self.max_parallelism, &mut groups)?;
            Some(groups)
        };
        let columns = columns.into_iter().chain(kept).collect();
        Ok(StateRows {
            table: self.name.to_string(),
            key_groups,
            rows: RecordBatch::try_new(self.state_schema(), columns)?,
            deleted: deleted.then(|| BooleanBuffer::new_set(rows)),
        })
    }

    /// The rows themselves in rows of a snapshot.
    ///
    /// Errors: they are of another table.
    pub(super) fn own_rows(&self, state: &StateRows) -> Result<RecordBatch> {
        let width = self.schema.fields().len();
        let (rows, columns) = (state.rows.num_rows(), state.rows.columns());
        if columns.len() != width + 3 {
            return Err(Error::internal(format!(
                "A join's state has {} columns instead of {}.",
                columns.len(),
                width + 3
            )));
        }
        let mut own = Vec::with_capacity(width);
        for (column, field) in columns.iter().zip(self.schema.fields()) {
            own.push(if column.data_type() == field.data_type() {
                Arc::clone(column)
            } else {
                arrow::compute::cast(column, field.data_type())?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.row_schema(), own, &options)?)
    }

    /// Whether rows of the state table `table` are these.
    pub(super) fn is_own(&self, table: &str) -> bool {
        table.strip_suffix(ARRIVED).unwrap_or(table) == self.name
    }

    /// Takes back rows of a snapshot: `records` are `own_rows` of `state`, of the join keys `groups`.
    pub(super) fn restore(&mut self, state: &StateRows, records: &RecordBatch, groups: &[u32]) -> Result<()> {
        if state.table.ends_with(ARRIVED) {
            return self.restore_arrived(records, groups);
        }
        self.make_distinct()?;
        let width = self.schema.fields().len();
        let number = |i: usize| state.rows.column(width + i).as_primitive::<Int64Type>();
        let (counts, associations, written) = (number(0), number(1), number(2));
        let mut slots = Vec::new();
        self.slots(records, &mut slots)?;
        for (row, slot) in slots.iter().enumerate() {
            let at = *slot as usize;
            let deleted = state.deleted.as_ref().is_some_and(|d| d.value(row));
            match (self.counts[at] > 0, deleted) {
                (true, true) => {
                    self.counts[at] = 0;
                    self.unlink(*slot);
                }
                (false, false) => self.link(*slot, groups[row]),
                _ => {}
            }
            if !deleted {
                if self.tracking {
                    self.flags[at] = KNOWN;
                }
                self.counts[at] = counts.value(row) as u32;
                self.associations[at] = associations.value(row) as u32;
                if self.ttl_ms > 0 {
                    self.written_ms[at] = written.value(row);
                }
            }
        }
        let tracking = std::mem::replace(&mut self.tracking, false);
        let released = self.release(slots);
        self.tracking = tracking;
        released
    }

    /// As `restore`, of rows as they came: each is there once more.
    fn restore_arrived(&mut self, records: &RecordBatch, groups: &[u32]) -> Result<()> {
        let mut slots = Vec::new();
        self.slots(records, &mut slots)?;
        for (slot, group) in slots.into_iter().zip(groups) {
            match self.arrived {
                Some(_) => self.append(slot, *group),
                None => self.count_in(slot, *group, 1),
            }
            if self.tracking {
                self.flags[slot as usize] |= KNOWN;
            }
        }
        Ok(())
    }
}
