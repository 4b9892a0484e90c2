//! `GroupStore`: keyed state that knows what has changed, is given to checkpoints in parts, forgets what is too
//! old, and keeps to its share of the memory budget.

use super::bits::Bits;
use super::budget::MemoryBudget;
use super::key_group;
use super::key_table::KeyTable;
use super::snapshot::{SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

/// Bytes of state that a part of a snapshot is made of: about a millisecond's work.
const PART_BYTES: usize = 512 << 10;
/// Fewest and most groups in a part.
const PART_GROUPS: (usize, usize) = (64, 8192);
/// Most keys taken away since the last snapshot that are remembered one by one; beyond, the next snapshot is full.
const MAX_DELETED: usize = 1 << 20;
/// Groups that are looked at for their age with each batch.
const SWEEP_GROUPS: usize = 256;
/// The time of a group that was restored without one: it counts as touched when time is next known.
const UNKNOWN_TIME: i64 = i64::MAX;
/// Name of the column of times.
const TOUCHED: &str = "touched";

/// What is kept for each group beside its key. Groups are those of a `KeyTable`; `resize` comes before a new
/// group's rows. Every accumulator is one, and so are several together.
pub trait Payload: Send {
    /// Makes room for groups `0..groups`; new ones are empty.
    fn resize(&mut self, groups: usize);

    /// The state of `groups`, as columns with a row for each. Their types do not depend on `groups`.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Adds the state in row `i` of `columns`, made by `state`, to group `groups[i]`.
    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()>;

    /// Makes `group` empty.
    fn clear(&mut self, group: u32);

    /// Bytes held, estimated.
    fn size(&self) -> usize;
}

/// What a store needs to know of its operator.
#[derive(Debug, Clone)]
pub struct StoreContext {
    /// A name for files that no other operator instance of the job has.
    pub owner: String,
    /// Number of key groups.
    pub max_parallelism: usize,
    /// The budget of the process.
    pub memory: Arc<MemoryBudget>,
    /// Milliseconds of processing time after which a group that was not touched is forgotten; 0 for never.
    pub ttl_ms: u64,
    /// Whether changes are kept track of, for snapshots that hold these only.
    pub tracks: bool,
}

impl Default for StoreContext {
    /// Memory without limit, nothing is tracked.
    fn default() -> Self {
        Self {
            owner: String::new(),
            max_parallelism: 1,
            memory: MemoryBudget::unlimited(),
            ttl_ms: 0,
            tracks: false,
        }
    }
}

/// Keys with a payload each. An operator works on it batch by batch:
///
/// 1. [`GroupStore::touch`] gives the group of each row; new keys get new groups with an empty payload.
/// 2. The payload of these groups, and no other, may be changed.
/// 3. [`GroupStore::remove`] takes away groups that have become empty.
/// 4. [`GroupStore::settle`] ends the batch: what is too much for the memory leaves it.
///
/// Group indexes mean nothing after `settle`.
pub struct GroupStore<P> {
    name: String,
    context: StoreContext,
    table: KeyTable,
    payload: P,
    schema: SchemaRef,
    /// When each group was last touched. Empty without a time to live.
    touched: Vec<i64>,
    /// Groups that were touched since the last snapshot.
    dirty: Bits,
    /// Groups that an earlier snapshot holds.
    persisted: Bits,
    /// Keys that an earlier snapshot holds and that are gone now.
    deleted: KeyTable,
    /// Whether the next snapshot must be full.
    wants_full: bool,
    giving: Option<Giving>,
    /// Where the next look for old groups begins.
    hand: u32,
    /// Bytes told to the budget.
    accounted: usize,
    /// Bytes of a part of a snapshot.
    part_bytes: usize,
}

/// A snapshot of which parts are still to be given.
struct Giving {
    /// Groups whose state of the barrier is still to be given. Those before `next` have been.
    pending: Bits,
    next: u32,
    /// State of groups that changed before their turn came.
    saved: Vec<StateRows>,
    deleted: KeyTable,
    deleted_given: usize,
}

impl<P: Payload> GroupStore<P> {
    /// An empty store for keys with columns of these types. `name` is that of its table in checkpoints, unique in
    /// the operator and the same in every release.
    ///
    /// Errors: a type that cannot be a key.
    pub fn new(name: &str, key_types: &[DataType], payload: P) -> Result<Self> {
        let table = KeyTable::new(key_types)?;
        let mut fields: Vec<Field> = key_types
            .iter()
            .enumerate()
            .map(|(i, data_type)| Field::new(format!("key_{i}"), data_type.clone(), true))
            .collect();
        fields.push(Field::new(TOUCHED, DataType::Int64, true));
        let states = payload.state(&[])?;
        fields.extend(
            states
                .iter()
                .enumerate()
                .map(|(i, column)| Field::new(format!("state_{i}"), column.data_type().clone(), true)),
        );
        Ok(Self {
            name: name.to_string(),
            context: StoreContext::default(),
            deleted: table.new_like(),
            table,
            payload,
            schema: Arc::new(Schema::new(fields)),
            touched: Vec::new(),
            dirty: Bits::default(),
            persisted: Bits::default(),
            wants_full: true,
            giving: None,
            hand: 0,
            accounted: 0,
            part_bytes: PART_BYTES,
        })
    }

    /// To be called once, while the store is empty.
    pub fn open(&mut self, context: StoreContext) {
        self.context = context;
    }

    /// Smaller parts of snapshots than usual.
    #[cfg(test)]
    pub(super) fn set_part_bytes(&mut self, bytes: usize) {
        self.part_bytes = bytes;
    }

    /// What is kept for each group.
    pub fn payload(&self) -> &P {
        &self.payload
    }

    /// What is kept for each group, to be changed for groups that were touched.
    pub fn payload_mut(&mut self) -> &mut P {
        &mut self.payload
    }

    /// Whether a time to live is set.
    pub fn has_ttl(&self) -> bool {
        self.context.ttl_ms > 0
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The keys of `groups` as columns.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.table.keys(groups)
    }

    /// Group indexes in use.
    pub fn groups(&self) -> Vec<u32> {
        self.table.groups().collect()
    }

    /// The group of each of `rows` rows of `keys` into `groups` (cleared first), to be changed at `now_ms`.
    pub fn touch(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        now_ms: i64,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.table.intern(keys, rows, groups)?;
        self.payload.resize(self.table.slots());
        if self.has_ttl() {
            self.touched.resize(self.table.slots(), UNKNOWN_TIME);
            self.table.added().iter().for_each(|g| self.touched[*g as usize] = now_ms);
            self.expire(groups, now_ms)?;
        }
        self.mark(groups, now_ms)
    }

    /// The group of each of `rows` rows of `keys`, to be read: `None` for keys that are not there, or too old.
    pub fn find(&mut self, keys: &[ArrayRef], rows: usize, now_ms: i64) -> Result<Vec<Option<u32>>> {
        let mut groups = self.table.find(keys, rows)?;
        if self.has_ttl() {
            groups.iter_mut().for_each(|g| *g = g.filter(|g| !self.is_old(*g, now_ms)));
        }
        Ok(groups)
    }

    /// Groups that were found are going to be changed at `now_ms`.
    pub fn mark(&mut self, groups: &[u32], now_ms: i64) -> Result<()> {
        self.save(groups)?;
        if self.has_ttl() {
            groups.iter().for_each(|g| self.touched[*g as usize] = now_ms);
        }
        if self.context.tracks {
            groups.iter().for_each(|g| {
                self.dirty.insert(*g);
            });
        }
        Ok(())
    }

    /// Makes those of `groups` empty that were touched too long ago.
    fn expire(&mut self, groups: &[u32], now_ms: i64) -> Result<()> {
        let old: Vec<u32> = groups.iter().copied().filter(|g| self.is_old(*g, now_ms)).collect();
        if old.is_empty() {
            return Ok(());
        }
        self.save(&old)?;
        old.iter().for_each(|g| self.payload.clear(*g));
        Ok(())
    }

    fn is_old(&self, group: u32, now_ms: i64) -> bool {
        let touched = self.touched[group as usize];
        touched.saturating_add(i64::try_from(self.context.ttl_ms).unwrap_or(i64::MAX)) <= now_ms
    }

    /// Takes `groups` away. Those that are not in use are ignored, as are doubles.
    pub fn remove(&mut self, groups: impl IntoIterator<Item = u32>) -> Result<()> {
        let mut gone: Vec<u32> = groups.into_iter().filter(|g| self.table.live().contains(*g)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        gone.sort_unstable();
        gone.dedup();
        self.save(&gone)?;
        if self.context.tracks {
            let known: Vec<u32> = gone.iter().copied().filter(|g| self.persisted.contains(*g)).collect();
            if self.deleted.len() + known.len() > MAX_DELETED {
                self.deleted = self.deleted.new_like();
                self.wants_full = true;
            } else if !self.wants_full {
                let mut scratch = Vec::new();
                self.deleted.intern_table(&self.table, &known, &mut scratch);
            }
        }
        self.forget(&gone);
        Ok(())
    }

    /// Drops `groups`, which are in use, from memory.
    fn forget(&mut self, groups: &[u32]) {
        for group in groups {
            self.payload.clear(*group);
            self.dirty.remove(*group);
            self.persisted.remove(*group);
        }
        self.table.remove(groups.iter().copied());
    }

    /// The batch is done.
    pub fn settle(&mut self, now_ms: i64) -> Result<()> {
        if self.has_ttl() {
            self.sweep(now_ms)?;
        }
        let size = self.size();
        self.context.memory.account(self.accounted, size);
        self.accounted = size;
        Ok(())
    }

    /// Takes old groups away, some of them each time.
    fn sweep(&mut self, now_ms: i64) -> Result<()> {
        let slots = self.table.slots() as u32;
        let end = self.hand.saturating_add(SWEEP_GROUPS as u32).min(slots);
        let mut old = Vec::new();
        for group in self.hand..end {
            if !self.table.live().contains(group) {
                continue;
            }
            if self.touched[group as usize] == UNKNOWN_TIME {
                // A restored group's time runs from the first time that is known.
                self.touched[group as usize] = now_ms;
            } else if self.is_old(group, now_ms) {
                old.push(group);
            }
        }
        self.hand = if end == slots { 0 } else { end };
        self.remove(old)
    }

    /// Bytes held in memory, estimated.
    pub fn size(&self) -> usize {
        let giving = self.giving.as_ref().map_or(0, |g| {
            let saved: usize = g.saved.iter().map(|s| s.rows.get_array_memory_size()).sum();
            saved + g.deleted.size() + g.pending.size()
        });
        self.table.size()
            + self.payload.size()
            + self.touched.len() * 8
            + self.dirty.size()
            + self.persisted.size()
            + self.deleted.size()
            + giving
    }

    /// Keeps the state of those `groups` that the snapshot at hand has still to give, before they change.
    fn save(&mut self, groups: &[u32]) -> Result<()> {
        let Some(giving) = &mut self.giving else { return Ok(()) };
        let changed: Vec<u32> = groups.iter().copied().filter(|g| giving.pending.remove(*g)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let rows = self.rows(&changed)?;
        if let Some(giving) = &mut self.giving {
            giving.saved.push(rows);
        }
        Ok(())
    }

    /// `groups` as rows of a snapshot.
    fn rows(&self, groups: &[u32]) -> Result<StateRows> {
        let mut columns = self.table.keys(groups)?;
        let time = |g: &u32| self.touched.get(*g as usize).copied().filter(|t| *t != UNKNOWN_TIME);
        columns.push(Arc::new(Int64Array::from_iter(groups.iter().map(time))));
        columns.extend(self.payload.state(groups)?);
        self.state_rows(columns, &self.table, groups, None)
    }

    fn state_rows(
        &self,
        columns: Vec<ArrayRef>,
        table: &KeyTable,
        groups: &[u32],
        deleted: Option<BooleanBuffer>,
    ) -> Result<StateRows> {
        let key_groups = table.hashes(groups).map(|h| key_group::of_hash(h, self.context.max_parallelism));
        Ok(StateRows {
            table: self.name.clone(),
            key_groups: (table.width() > 0).then(|| key_groups.collect()),
            rows: RecordBatch::try_new(self.schema.clone(), columns)?,
            deleted,
        })
    }

    /// A barrier has come: begins a snapshot and gives its first part.
    pub fn snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        // One that was never given to its end has left out changes that no later one would hold.
        let full = self.giving.take().is_some() || self.wants_full || !self.context.tracks;
        if full {
            out.full();
        }
        let deleted = std::mem::replace(&mut self.deleted, self.table.new_like());
        let dirty = std::mem::take(&mut self.dirty);
        let full = out.kind() == SnapshotKind::Full;
        self.giving = Some(Giving {
            pending: if full { self.table.live().clone() } else { dirty },
            next: 0,
            saved: Vec::new(),
            deleted: if full { self.table.new_like() } else { deleted },
            deleted_given: 0,
        });
        if self.context.tracks {
            self.persisted = self.table.live().clone();
            self.wants_full = false;
        }
        self.continue_snapshot(out)
    }

    /// Gives the next part of the snapshot at hand.
    pub fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let Some(mut giving) = self.giving.take() else { return Ok(SnapshotProgress::Done) };
        let progress = self.give(&mut giving, out)?;
        if progress == SnapshotProgress::More {
            self.giving = Some(giving);
        }
        Ok(progress)
    }

    fn give(&self, giving: &mut Giving, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let part = (self.part_bytes / (self.size() / self.table.slots().max(1)).max(1))
            .clamp(PART_GROUPS.0, PART_GROUPS.1);
        // First, as a key may have come again before the barrier.
        if giving.deleted_given < giving.deleted.len() {
            let first = giving.deleted_given as u32;
            let last = giving.deleted.len().min(giving.deleted_given + part) as u32;
            let groups: Vec<u32> = (first..last).collect();
            giving.deleted_given = last as usize;
            out.rows(self.deleted_rows(&giving.deleted, &groups)?);
            return Ok(SnapshotProgress::More);
        }
        std::mem::take(&mut giving.saved).into_iter().for_each(|rows| out.rows(rows));
        let groups: Vec<u32> = giving.pending.iter_from(giving.next).take(part).collect();
        if let Some(last) = groups.last() {
            giving.next = last + 1;
            groups.iter().for_each(|g| {
                giving.pending.remove(*g);
            });
            out.rows(self.rows(&groups)?);
        }
        Ok(if groups.len() < part { SnapshotProgress::Done } else { SnapshotProgress::More })
    }

    fn deleted_rows(&self, deleted: &KeyTable, groups: &[u32]) -> Result<StateRows> {
        let mut columns = deleted.keys(groups)?;
        let rest = self.schema.fields()[columns.len()..].iter();
        columns.extend(rest.map(|f| new_null_array(f.data_type(), groups.len())));
        self.state_rows(columns, deleted, groups, Some(BooleanBuffer::new_set(groups.len())))
    }

    /// Takes back all rows of a checkpoint: for an operator with this store alone.
    ///
    /// Errors: the rows are not of this store.
    pub fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        while let Some(rows) = state.next_rows()? {
            self.restore_rows(&rows)?;
        }
        Ok(())
    }

    /// Takes rows of a checkpoint back. The next snapshot will be full.
    ///
    /// Errors: the rows are not of this store.
    pub fn restore_rows(&mut self, rows: &StateRows) -> Result<()> {
        self.check(rows)?;
        let records = &rows.rows;
        let width = self.table.width();
        let mut groups = Vec::new();
        self.table.intern(&records.columns()[..width], records.num_rows(), &mut groups)?;
        self.payload.resize(self.table.slots());
        // Of rows with the same key, the last counts.
        let mut seen = Bits::default();
        let mut last: Vec<u32> =
            (0..groups.len() as u32).rev().filter(|row| seen.insert(groups[*row as usize])).collect();
        last.reverse();
        groups.iter().for_each(|g| self.payload.clear(*g));
        let is_deleted = |row: u32| rows.deleted.as_ref().is_some_and(|d| d.value(row as usize));
        let (gone, kept): (Vec<u32>, Vec<u32>) = last.into_iter().partition(|row| is_deleted(*row));
        let into: Vec<u32> = kept.iter().map(|row| groups[*row as usize]).collect();
        let records = match kept.len() == records.num_rows() {
            true => records.clone(),
            false => take_record_batch(records, &UInt32Array::from(kept))?,
        };
        self.payload.merge(&records.columns()[width + 1..], &into)?;
        if self.has_ttl() {
            self.touched.resize(self.table.slots(), UNKNOWN_TIME);
            let times = records.column(width).as_primitive::<Int64Type>();
            for (time, group) in times.iter().zip(&into) {
                self.touched[*group as usize] = time.unwrap_or(UNKNOWN_TIME);
            }
        }
        let gone: Vec<u32> = gone.iter().map(|row| groups[*row as usize]).collect();
        self.forget(&gone);
        self.wants_full = true;
        let size = self.size();
        self.context.memory.account(self.accounted, size);
        self.accounted = size;
        Ok(())
    }

    fn check(&self, rows: &StateRows) -> Result<()> {
        let types =
            |schema: &Schema| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        if rows.table == self.name && types(&rows.rows.schema()) == types(&self.schema) {
            return Ok(());
        }
        Err(Error::user(format!(
            "The checkpoint's state '{}' does not fit this query: it has the columns ({}), and '{}' with ({}) is wanted.",
            rows.table,
            columns_text(&rows.rows.schema()),
            self.name,
            columns_text(&self.schema),
        ))
        .with_hint("Start from a checkpoint of the same query, or without one."))
    }
}

fn columns_text(schema: &Schema) -> String {
    let texts: Vec<String> =
        schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    texts.join(", ")
}

impl<P> Drop for GroupStore<P> {
    fn drop(&mut self) {
        self.context.memory.account(self.accounted, 0);
    }
}
