//! The rows that one side of a regular join keeps: by join key, with how often each came and how many rows of the
//! other side it is joined with.

use super::rows::MAX_BATCH_ROWS;
use super::segments::{RowRef, Segments};
use crate::error::{Error, Result};
use crate::state::{KeyTable, SnapshotKind, StateRows, StateWriter, key_group};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

/// No slot, or no group.
pub(super) const NONE: u32 = u32::MAX;
/// The next slot of one that is not in use.
const UNUSED: u32 = u32::MAX - 1;
/// Behind a side's name: the state table of rows as they came.
const AS_THEY_CAME: &str = "-rows";

/// A snapshot, or one before it, may hold the slot's row.
const KNOWN: u8 = 1;
/// The slot has changed since the last snapshot.
const CHANGED: u8 = 2;

/// Distinct rows in slots; those of one join key are a chain in the order in which they came. Rows of an inner join are
/// kept as they came, each in its own slot, until one is taken back: that costs neither a copy nor a look-up.
pub(super) struct JoinRows {
    name: &'static str,
    schema: SchemaRef,
    /// Join key columns of the row.
    keys: Vec<usize>,
    rows: KeyTable,
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
    gone: Vec<Vec<ArrayRef>>,
    as_they_came: Option<AsTheyCame>,
    /// Whether the next snapshot must be full.
    wants_full: bool,
}

/// Rows in the batches in which they came, by slot.
struct AsTheyCame {
    batches: Segments,
    rows: Vec<RowRef>,
    free: Vec<u32>,
    /// Slots that no snapshot holds yet, where changes are tracked.
    fresh: Vec<u32>,
}

impl JoinRows {
    /// No rows. `name` is that of the state table.
    ///
    /// Errors: a column whose type cannot be kept.
    pub(super) fn new(name: &'static str, schema: SchemaRef, keys: Vec<usize>) -> Result<Self> {
        let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
        Ok(Self {
            name,
            schema,
            keys,
            rows: KeyTable::new(&types)?,
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
            as_they_came: None,
            wants_full: false,
        })
    }

    /// Rows that were not written for `ttl_ms` are forgotten (0: never); changes are told apart if `tracking`. Nobody
    /// asks for associations if `inner`.
    pub(super) fn open(&mut self, ttl_ms: u64, tracking: bool, inner: bool) {
        self.ttl_ms = i64::try_from(ttl_ms).unwrap_or(i64::MAX);
        self.tracking = tracking;
        self.as_they_came = (inner && ttl_ms == 0).then(|| AsTheyCame {
            batches: Segments::new(Arc::clone(&self.schema)),
            rows: Vec::new(),
            free: Vec::new(),
            fresh: Vec::new(),
        });
    }

    /// Columns as a batch of rows.
    fn records(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let fields = self.state_schema().fields()[..columns.len()].to_vec();
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    /// The slots in use, key by key, with their groups.
    fn chains(&self) -> Vec<(u32, u32)> {
        let mut slots = Vec::new();
        for group in 0..self.heads.len() as u32 {
            self.walk(group, 0, |slot| slots.push((slot, group)));
        }
        slots
    }

    /// From here on the rows are distinct, with counts: some are going to be taken back.
    pub(super) fn make_distinct(&mut self) -> Result<()> {
        if self.as_they_came.is_none() {
            return Ok(());
        }
        let chains = self.chains();
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let Some(AsTheyCame { batches, rows, .. }) = self.as_they_came.take() else { return Ok(()) };
        self.next.clear();
        self.heads.fill(NONE);
        self.tails.fill(NONE);
        // What snapshots hold of them is of another form.
        self.wants_full = true;
        let mut slots = Vec::new();
        for part in chains.chunks(MAX_BATCH_ROWS) {
            let refs: Vec<RowRef> = part.iter().map(|(slot, _)| rows[*slot as usize]).collect();
            let records = self.records(batches.take(&refs, &all)?, refs.len())?;
            self.slots(&records, &mut slots)?;
            for (slot, (_, group)) in slots.iter().zip(part) {
                self.add(*slot, *group, 0, 0);
            }
        }
        Ok(())
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
        if let Some(came) = &mut self.as_they_came {
            let segment = came.batches.add(records.clone());
            slots.clear();
            for row in 0..records.num_rows() {
                let slot = came.free.pop().unwrap_or_else(|| {
                    came.rows.push(RowRef::NULLS);
                    came.rows.len() as u32 - 1
                });
                came.rows[slot as usize] = segment.row(row);
                slots.push(slot);
            }
            self.next.resize(came.rows.len(), UNUSED);
            return Ok(());
        }
        self.rows.intern(records.columns(), records.num_rows(), slots)?;
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
        Ok(())
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
        if let Some(came) = &mut self.as_they_came {
            if self.tracking {
                came.fresh.push(slot);
            }
            self.chain(slot, group);
            return;
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
        self.counts[at] -= 1;
        if self.counts[at] == 0 {
            self.unlink(slot);
        } else {
            self.written(slot, now_ms);
        }
    }

    fn link(&mut self, slot: u32, group: u32) {
        self.group_of[slot as usize] = group;
        self.previous[slot as usize] = self.tails[group as usize];
        self.chain(slot, group);
    }

    /// Puts the slot at the end of its join key's chain.
    fn chain(&mut self, slot: u32, group: u32) {
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
        if let Some(came) = &mut self.as_they_came {
            for slot in slots.into_iter().filter(|s| self.next[*s as usize] == UNUSED) {
                came.batches.release(came.rows[slot as usize]);
                came.free.push(slot);
            }
            return Ok(());
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
                self.gone.push(self.rows.keys(&known)?);
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
        if self.as_they_came.is_some() { 1 } else { self.counts[slot as usize] }
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
        match &self.as_they_came {
            Some(came) => {
                let rows: Vec<RowRef> = slots.iter().map(|s| came.rows[*s as usize]).collect();
                came.batches.take(&rows, columns)
            }
            None => self.rows.columns(slots, columns),
        }
    }

    /// Forgets the rows whose time is over, and gives the join keys that may have lost their last.
    pub(super) fn expire(&mut self, now_ms: i64) -> Result<Vec<u32>> {
        let over: Vec<u32> =
            self.rows.groups().filter(|s| self.counts[*s as usize] > 0 && self.expired(*s, now_ms)).collect();
        let mut groups = Vec::with_capacity(over.len());
        for slot in &over {
            groups.push(self.group_of[*slot as usize]);
            self.counts[*slot as usize] = 0;
            self.unlink(*slot);
        }
        self.release(over)?;
        Ok(groups)
    }

    /// Milliseconds that a row is kept after it was written; 0 for ever.
    pub(super) fn ttl_ms(&self) -> i64 {
        self.ttl_ms
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        let came = self.as_they_came.as_ref();
        came.map_or(0, |c| c.batches.size() + c.rows.len() * (size_of::<RowRef>() + size_of::<u32>()))
            + self.rows.size()
            + self.counts.capacity() * 20
            + self.heads.capacity() * 8
            + self.written_ms.capacity() * 8
    }

    /// Columns of the state table: the row's, then what is kept of it.
    fn state_schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, f)| Field::new(format!("{i}"), f.data_type().clone(), true))
            .collect();
        fields.extend(["count", "associations", "written"].map(|n| Field::new(n, DataType::Int64, false)));
        Arc::new(Schema::new(fields))
    }

    /// Gives all rows, or those that have changed.
    pub(super) fn snapshot(&mut self, out: &mut StateWriter, max_parallelism: usize) -> Result<()> {
        let schema = self.state_schema();
        if !self.tracking || std::mem::take(&mut self.wants_full) {
            out.full();
        }
        let full = out.kind() == SnapshotKind::Full;
        if let Some(came) = &mut self.as_they_came {
            let fresh = std::mem::take(&mut came.fresh);
            let wanted = if full { self.chains().into_iter().map(|(slot, _)| slot).collect() } else { fresh };
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            for slots in wanted.chunks(MAX_BATCH_ROWS) {
                let column = |value| Arc::new(Int64Array::from(vec![value; slots.len()])) as ArrayRef;
                let kept = [column(1), column(0), column(0)];
                let table = format!("{}{AS_THEY_CAME}", self.name);
                self.write(
                    out,
                    (table.as_str(), &schema),
                    self.take(slots, &all)?,
                    kept,
                    false,
                    max_parallelism,
                )?;
            }
            return Ok(());
        }
        let gone = std::mem::take(&mut self.gone);
        if !full {
            for columns in gone {
                let rows = columns.first().map_or(0, |c| c.len());
                let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
                self.write(
                    out,
                    (self.name, &schema),
                    columns,
                    [zeros.clone(), zeros.clone(), zeros],
                    true,
                    max_parallelism,
                )?;
            }
        }
        let wanted: Vec<u32> = self
            .rows
            .groups()
            .filter(|s| self.counts[*s as usize] > 0 && (full || self.flags[*s as usize] & CHANGED != 0))
            .collect();
        for slots in wanted.chunks(MAX_BATCH_ROWS) {
            let column = |value: &dyn Fn(usize) -> i64| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(slots.iter().map(|s| value(*s as usize))))
            };
            let kept = [
                column(&|s| i64::from(self.counts[s])),
                column(&|s| i64::from(self.associations[s])),
                column(&|s| self.written_ms.get(s).copied().unwrap_or(0)),
            ];
            self.write(out, (self.name, &schema), self.rows.keys(slots)?, kept, false, max_parallelism)?;
        }
        for slot in wanted {
            if let Some(flags) = self.flags.get_mut(slot as usize) {
                *flags = KNOWN;
            }
        }
        Ok(())
    }

    fn write(
        &self,
        out: &mut StateWriter,
        (table, schema): (&str, &SchemaRef),
        columns: Vec<ArrayRef>,
        kept: [ArrayRef; 3],
        deleted: bool,
        max_parallelism: usize,
    ) -> Result<()> {
        let rows = kept[0].len();
        let key_groups = if self.keys.is_empty() {
            None
        } else {
            let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(&columns[*k])).collect();
            let mut groups = Vec::new();
            key_group::key_groups(&keys, max_parallelism, &mut groups)?;
            Some(groups)
        };
        let columns = columns.into_iter().chain(kept).collect();
        out.rows(StateRows {
            table: table.to_string(),
            key_groups,
            rows: RecordBatch::try_new(Arc::clone(schema), columns)?,
            deleted: deleted.then(|| BooleanBuffer::new_set(rows)),
        });
        Ok(())
    }

    /// Whether the rows of a snapshot are of this side.
    pub(super) fn owns(&self, table: &str) -> bool {
        table.strip_prefix(self.name).is_some_and(|rest| rest.is_empty() || rest == AS_THEY_CAME)
    }

    /// Takes back rows of a snapshot, whose join keys `groups` gives to key columns.
    pub(super) fn restore(
        &mut self,
        state: &StateRows,
        groups: impl FnOnce(&[ArrayRef], usize) -> Result<Vec<u32>>,
    ) -> Result<()> {
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
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(&own[*k])).collect();
        let groups = groups(&keys, rows)?;
        self.resize_groups(groups.iter().map(|g| *g as usize + 1).max().unwrap_or(0));
        let number = |i: usize| columns[width + i].as_primitive::<Int64Type>();
        let (counts, associations, written) = (number(0), number(1), number(2));
        let records = self.records(own, rows)?;
        let as_they_came = state.table != self.name;
        if !as_they_came {
            self.make_distinct()?;
        }
        let mut slots = Vec::new();
        self.slots(&records, &mut slots)?;
        if as_they_came {
            // Each is a row more, and none is ever written again.
            for (slot, group) in slots.iter().zip(&groups) {
                self.add(*slot, *group, 0, 0);
            }
            if let Some(came) = &mut self.as_they_came {
                came.fresh.clear();
            } else {
                self.wants_full = true;
            }
            return Ok(());
        }
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
}
