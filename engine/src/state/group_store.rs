//! `GroupStore`: keyed state that knows what has changed, is given to checkpoints in parts, forgets what is too
//! old, and keeps to its share of the memory budget.

use super::bits::Bits;
use super::budget::MemoryBudget;
use super::key_group;
use super::key_table::KeyTable;
use super::snapshot::{SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
use super::spill::{Header, Loaded, Spill, SpillReader, can_spill};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of state that a part of a snapshot is made of: about a millisecond's work.
const PART_BYTES: usize = 512 << 10;
/// Fewest and most groups in a part.
const PART_GROUPS: (usize, usize) = (64, 8192);
/// Most keys taken away since the last snapshot that are remembered one by one; beyond, the next snapshot is full.
const MAX_DELETED: usize = 1 << 20;
/// Groups that are looked at for their age with each batch, in memory and on disk.
const SWEEP_GROUPS: (usize, usize) = (256, 32);
/// Most groups, and bytes of state about, that are moved to disk at once.
const SPILL_GROUPS: usize = 4096;
const SPILL_BYTES: usize = 4 << 20;
/// Bytes of state, about, that a batch may bring back from disk: see `rows_at_once`.
const LOAD_BYTES: u64 = 16 << 20;
/// Groups that are woken at once.
const WAKE_GROUPS: usize = 4096;
/// Groups that are read back from disk at once when all are wanted.
const DRAIN_GROUPS: usize = 8192;
/// Bytes of freed places that are not worth moving all groups for.
const SPARE_BYTES: usize = 1 << 20;
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

    /// Those of `size` that new groups take before there are more, where `free` of `groups` places are free.
    fn spare(&self, free: usize, groups: usize) -> usize {
        (self.size() as u128 * free as u128).checked_div(groups as u128).unwrap_or(0) as usize
    }

    /// An empty one of the same kind.
    fn fresh(&self) -> Result<Self>
    where
        Self: Sized;

    /// Takes over what `old` holds beside its groups, which have been moved here.
    fn inherit(&mut self, old: &mut Self) {
        let _ = old;
    }

    /// When something is to be done with `group` though no row of its key comes, beside what [`GroupStore::wake_at`]
    /// was told; only asked when it goes to disk. `i64::MAX`: never.
    fn due(&self, group: u32) -> i64 {
        let _ = group;
        i64::MAX
    }

    /// Whether `group` is kept though its time to live is over.
    fn is_pinned(&self, group: u32) -> bool {
        let _ = group;
        false
    }

    /// What a snapshot holds of `groups`, whose keys are `keys`; of a delta at least what has changed since the last
    /// snapshot. `None`: one row for each group, made of `state`.
    fn rows(&self, groups: &[u32], keys: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        let _ = (groups, keys, kind);
        Ok(None)
    }

    /// What a delta holds of groups that are gone, whose keys are `keys`. `None`: a deleted row for each.
    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        let _ = keys;
        Ok(None)
    }

    /// What a delta holds of rows that were taken away from groups since the last snapshot. Called once at each
    /// barrier, for full snapshots too.
    fn removed(&mut self) -> Result<Vec<StateRows>> {
        Ok(Vec::new())
    }

    /// A snapshot holds all of `groups`.
    fn saved(&mut self, groups: &[u32]) {
        let _ = groups;
    }
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
/// 2. The payload of these groups, and no other, may be changed. Where most rows change nothing,
///    [`GroupStore::enter`] gives the groups, and [`GroupStore::change`] tells those that are changed.
/// 3. [`GroupStore::remove`] takes away groups that have become empty.
/// 4. [`GroupStore::settle`] ends the batch: what is too much for the memory leaves it.
///
/// Group indexes mean nothing after `settle`. Groups that are to be looked at when a time has come are told to
/// [`GroupStore::wake_at`], and asked for by [`GroupStore::wake`].
pub struct GroupStore<P> {
    name: String,
    context: StoreContext,
    table: KeyTable,
    payload: P,
    schema: SchemaRef,
    /// Groups that are not in memory.
    spill: Option<Spill>,
    /// Groups that were used since the search for groups to spill last came by.
    recent: Bits,
    spill_hand: u32,
    /// How far the search for old groups on disk has come.
    disk_hand: Vec<u8>,
    /// All groups are being taken out.
    draining: Option<Option<SpillReader>>,
    /// Number of snapshots begun, plus one: the time of changes.
    epoch: u32,
    /// When each group was last touched. Empty without a time to live.
    touched: Vec<i64>,
    /// When groups in memory want to be woken: by time, and the time of each group (`i64::MAX`: never).
    dues: BTreeSet<(i64, u32)>,
    due: Vec<i64>,
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
    /// Bytes told to the budget, in memory and on disk.
    accounted: usize,
    accounted_disk: u64,
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
    /// The groups on disk at the barrier.
    spilled: Option<SpillReader>,
    /// The epoch that the barrier has ended.
    epoch: u32,
    kind: SnapshotKind,
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
            spill: None,
            recent: Bits::default(),
            spill_hand: 0,
            disk_hand: Vec::new(),
            draining: None,
            epoch: 1,
            touched: Vec::new(),
            dues: BTreeSet::new(),
            due: Vec::new(),
            dirty: Bits::default(),
            persisted: Bits::default(),
            wants_full: true,
            giving: None,
            hand: 0,
            accounted: 0,
            accounted_disk: 0,
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
        self.table.is_empty() && self.spill.as_ref().is_none_or(|s| s.len() == 0)
    }

    /// How many rows should be touched together: fewer where many bytes are on disk for each key. Never 0.
    pub fn rows_at_once(&self) -> usize {
        let Some(spill) = self.spill.as_ref().filter(|s| s.len() > 0) else { return usize::MAX };
        usize::try_from(LOAD_BYTES * spill.len() / spill.bytes().max(1)).unwrap_or(usize::MAX).max(1)
    }

    /// The keys of `groups` as columns.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.table.keys(groups)
    }

    /// Takes all groups out, some with each call: they can be read until the next one. `None` at the end. Nothing
    /// else may be done with the store afterwards.
    pub fn drain(&mut self) -> Result<Option<Vec<u32>>> {
        let groups: Vec<u32> = self.table.groups().collect();
        let Some(mut reader) = self.draining.take() else {
            self.draining = Some(self.spill.as_ref().map(|s| s.reader(None)));
            return Ok(Some(groups));
        };
        self.save(&groups)?;
        self.forget(&groups);
        let loaded = match (&self.spill, &mut reader) {
            (Some(spill), Some(reader)) => spill.read(reader, DRAIN_GROUPS)?,
            _ => None,
        };
        self.draining = Some(reader);
        let Some(loaded) = loaded else { return Ok(None) };
        let mut groups = Vec::new();
        self.intern(&loaded.keys, loaded.headers.len(), &mut groups)?;
        self.payload.merge(&loaded.states, &groups)?;
        Ok(Some(groups))
    }

    /// The group of each of `rows` rows of `keys` into `groups` (cleared first), to be changed at `now_ms`.
    pub fn touch(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        now_ms: i64,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.enter(keys, rows, now_ms, groups)?;
        groups.iter().for_each(|g| self.change(*g, now_ms));
        Ok(())
    }

    /// As `touch`, but only those groups count as changed that `change` is called for. New groups that nothing was
    /// put into are to be removed.
    pub fn enter(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        now_ms: i64,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.intern(keys, rows, groups)?;
        if self.has_ttl() {
            self.table.added().iter().for_each(|g| self.touched[*g as usize] = now_ms);
        }
        self.load()?;
        groups.iter().for_each(|g| {
            self.recent.insert(*g);
        });
        if self.has_ttl() {
            self.expire(groups, now_ms)?;
        }
        self.save(groups)
    }

    /// The payload of `group`, which was entered, is changed at `now_ms`.
    #[inline]
    pub fn change(&mut self, group: u32, now_ms: i64) {
        if self.context.ttl_ms > 0 {
            self.touched[group as usize] = now_ms;
        }
        if self.context.tracks {
            self.dirty.insert(group);
        }
    }

    /// The groups of keys, in memory; new ones are empty, also where there is something on disk.
    fn intern(&mut self, keys: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        self.table.intern(keys, rows, groups)?;
        self.payload.resize(self.table.slots());
        if self.has_ttl() {
            self.touched.resize(self.table.slots(), UNKNOWN_TIME);
        }
        Ok(())
    }

    /// `group`, which was touched, is to be woken at `time`, and at no other; `i64::MAX`: never.
    pub fn wake_at(&mut self, group: u32, time: i64) {
        let at = group as usize;
        if at >= self.due.len() {
            self.due.resize(self.table.slots(), i64::MAX);
        }
        let old = std::mem::replace(&mut self.due[at], time);
        if old == time {
            return;
        }
        if old < i64::MAX {
            self.dues.remove(&(old, group));
        }
        if time < i64::MAX {
            self.dues.insert((time, group));
        }
    }

    /// When `group` is woken.
    pub fn wakes_at(&self, group: u32) -> i64 {
        self.due.get(group as usize).copied().unwrap_or(i64::MAX)
    }

    /// No group is to be woken before this time.
    pub fn next_wake(&self) -> Option<i64> {
        let memory = self.dues.first().map_or(i64::MAX, |(time, _)| *time);
        let disk = self.spill.as_ref().map_or(i64::MAX, Spill::earliest);
        Some(memory.min(disk)).filter(|time| *time < i64::MAX)
    }

    /// Groups whose time is not after `until`, some of them with each call; empty at the end. They are not woken
    /// again unless `wake_at` says so.
    ///
    /// Errors: groups cannot be read back from disk.
    pub fn wake(&mut self, until: i64) -> Result<Vec<u32>> {
        let mut groups = Vec::new();
        while groups.len() < WAKE_GROUPS
            && let Some((time, group)) = self.dues.first().copied().filter(|(time, _)| *time <= until)
        {
            self.dues.remove(&(time, group));
            self.due[group as usize] = i64::MAX;
            groups.push(group);
        }
        if groups.is_empty()
            && let Some(spill) = self.spill.as_mut().filter(|s| s.earliest() <= until)
            && let Some((keys, rows)) = spill.due(until, WAKE_GROUPS)?
        {
            let found: Vec<u32> = self.find_spilled(&keys, rows)?.into_iter().flatten().collect();
            for group in &found {
                self.wake_at(*group, i64::MAX);
            }
            groups = found;
        }
        Ok(groups)
    }

    /// Brings those of the groups just added that are on disk into memory. Tells which.
    fn load(&mut self) -> Result<Vec<u32>> {
        let Some(spill) = &mut self.spill else { return Ok(Vec::new()) };
        let added = self.table.added();
        let hashes = self.table.hashes(added);
        let (groups, hashes): (Vec<u32>, Vec<u64>) =
            added.iter().copied().zip(hashes).filter(|(_, hash)| spill.may_hold(*hash)).unzip();
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let (rows, loaded) = spill.take(&hashes, &self.table.keys(&groups)?)?;
        let groups: Vec<u32> = rows.iter().map(|row| groups[*row as usize]).collect();
        self.payload.merge(&loaded.states, &groups)?;
        for (group, header) in groups.iter().zip(&loaded.headers) {
            if self.context.ttl_ms > 0 {
                self.touched[*group as usize] = header.touched;
            }
            if self.context.tracks {
                if header.epoch == self.epoch {
                    self.dirty.insert(*group);
                }
                if self.is_persisted(header) {
                    self.persisted.insert(*group);
                }
            }
        }
        for (group, header) in groups.iter().zip(&loaded.headers) {
            // What the payload knows of itself need not be remembered.
            if header.due < i64::MAX && header.due < self.payload.due(*group) {
                self.wake_at(*group, header.due);
            }
        }
        let unchanged = |(_, header): &(&u32, &Header)| header.epoch != self.epoch;
        let saved: Vec<u32> =
            groups.iter().zip(&loaded.headers).filter(unchanged).map(|(group, _)| *group).collect();
        self.payload.saved(&saved);
        Ok(groups)
    }

    /// Whether a snapshot holds the spilled group: at the latest the one that has ended the epoch of its change.
    fn is_persisted(&self, header: &Header) -> bool {
        header.persisted || header.epoch < self.epoch
    }

    /// The group of each of `rows` rows of `keys`, to be read: `None` for keys that are not there, or too old.
    pub fn find(&mut self, keys: &[ArrayRef], rows: usize, now_ms: i64) -> Result<Vec<Option<u32>>> {
        let mut groups = match self.spill.as_ref().is_some_and(|s| s.len() > 0) {
            false => self.table.find(keys, rows)?,
            true => self.find_spilled(keys, rows)?,
        };
        if self.has_ttl() {
            groups.iter_mut().for_each(|g| *g = g.filter(|g| !self.is_old(*g, now_ms)));
        }
        groups.iter().flatten().for_each(|g| {
            self.recent.insert(*g);
        });
        Ok(groups)
    }

    fn find_spilled(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<Option<u32>>> {
        let mut groups = Vec::new();
        self.intern(keys, rows, &mut groups)?;
        let mut unknown = Bits::default();
        self.table.added().to_vec().into_iter().for_each(|g| {
            unknown.insert(g);
        });
        self.load()?.into_iter().for_each(|g| {
            unknown.remove(g);
        });
        let gone: Vec<u32> = unknown.iter_from(0).collect();
        self.forget(&gone);
        Ok(groups.into_iter().map(|g| (!unknown.contains(g)).then_some(g)).collect())
    }

    /// Groups that were found are going to be changed at `now_ms`.
    pub fn mark(&mut self, groups: &[u32], now_ms: i64) -> Result<()> {
        self.save(groups)?;
        for group in groups {
            self.recent.insert(*group);
            self.change(*group, now_ms);
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
        for group in old {
            self.payload.clear(group);
            if self.context.tracks {
                self.dirty.insert(group);
            }
        }
        Ok(())
    }

    fn is_old(&self, group: u32, now_ms: i64) -> bool {
        let touched = self.touched[group as usize];
        touched.saturating_add(i64::try_from(self.context.ttl_ms).unwrap_or(i64::MAX)) <= now_ms
            && !self.payload.is_pinned(group)
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
        let known: Vec<u32> = gone.iter().copied().filter(|g| self.persisted.contains(*g)).collect();
        if self.remembers(known.len()) {
            self.deleted.intern_table(&self.table, &known, &mut Vec::new());
        }
        self.forget(&gone);
        Ok(())
    }

    /// Whether `more` keys that are taken away are to be remembered. If they would be too many, the next snapshot
    /// is full instead.
    fn remembers(&mut self, more: usize) -> bool {
        if self.context.tracks && self.deleted.len() + more > MAX_DELETED {
            self.deleted = self.deleted.new_like();
            self.wants_full = true;
        }
        self.context.tracks && !self.wants_full
    }

    /// Drops `groups`, which are in use, from memory.
    fn forget(&mut self, groups: &[u32]) {
        for group in groups {
            self.payload.clear(*group);
            self.dirty.remove(*group);
            self.persisted.remove(*group);
            self.recent.remove(*group);
            if self.due.get(*group as usize).is_some_and(|due| *due < i64::MAX) {
                self.wake_at(*group, i64::MAX);
            }
        }
        self.table.remove(groups.iter().copied());
    }

    /// The batch is done.
    ///
    /// Errors: state that has no room in memory cannot be put on disk.
    pub fn settle(&mut self, now_ms: i64) -> Result<()> {
        if self.has_ttl() {
            self.sweep(now_ms)?;
        }
        self.make_room()
    }

    /// Tells the budget what is held, and spills what it wants to have back.
    fn make_room(&mut self) -> Result<()> {
        let held = self.held();
        let over = self.context.memory.account(self.accounted, held);
        self.accounted = held;
        self.tell_disk();
        if over == 0 || self.table.width() == 0 {
            return Ok(());
        }
        let live = self.table.len();
        let share = (live as u128 * over as u128).div_ceil(held.max(1) as u128) as usize;
        // A little more, so that not every batch has to spill.
        self.evict((share + (live / 64).min(SPILL_GROUPS)).min(live))?;
        if self.giving.is_none() && self.spare_bytes() > SPARE_BYTES.max(self.groups_bytes() / 2) {
            self.compact()?;
        }
        let held = self.held();
        self.context.memory.account(self.accounted, held);
        self.accounted = held;
        self.tell_disk();
        Ok(())
    }

    fn tell_disk(&mut self) {
        let spilled = self.spilled_bytes();
        self.context.memory.account_spilled(self.accounted_disk, spilled);
        self.accounted_disk = spilled;
    }

    /// Bytes of all places for groups, in use or free.
    fn groups_bytes(&self) -> usize {
        self.table.size() + self.payload.size()
    }

    /// Bytes of free places.
    fn spare_bytes(&self) -> usize {
        let slots = self.table.slots();
        let free = slots - self.table.len();
        let table = (self.table.size() as u128 * free as u128).checked_div(slots as u128).unwrap_or(0);
        table as usize + self.payload.spare(free, slots)
    }

    /// Bytes in use: free places are taken by new groups before there are more.
    fn held(&self) -> usize {
        self.size().saturating_sub(self.spare_bytes())
    }

    /// Moves `count` groups to disk: those that were not used for longest, about (second chance).
    fn evict(&mut self, count: usize) -> Result<()> {
        if !can_spill(self.schema.fields().iter().map(|f| f.data_type())) {
            return Ok(());
        }
        let slots = self.table.slots() as u32;
        let mut victims = Bits::default();
        let mut found = 0;
        for _ in 0..2 * u64::from(slots) {
            if found == count {
                break;
            }
            let group = self.spill_hand;
            self.spill_hand = if group + 1 >= slots { 0 } else { group + 1 };
            if self.table.live().contains(group) && !self.recent.remove(group) && victims.insert(group) {
                found += 1;
            }
        }
        let victims: Vec<u32> = victims.iter_from(0).collect();
        let each = self.held() / self.table.len().max(1);
        let most = (SPILL_BYTES / each.max(1)).clamp(1, SPILL_GROUPS);
        victims.chunks(most).try_for_each(|groups| self.spill(groups))
    }

    fn spill(&mut self, groups: &[u32]) -> Result<()> {
        self.save(groups)?;
        let hashes: Vec<u64> = self.table.hashes(groups).collect();
        let touched = |g: &u32| match self.payload.is_pinned(*g) {
            true => UNKNOWN_TIME,
            false => self.touched.get(*g as usize).copied().unwrap_or(UNKNOWN_TIME),
        };
        let header = |g: &u32| Header {
            epoch: if self.dirty.contains(*g) { self.epoch } else { 0 },
            persisted: self.persisted.contains(*g),
            touched: touched(g),
            due: self.payload.due(*g).min(self.wakes_at(*g)),
        };
        let headers: Vec<Header> = groups.iter().map(header).collect();
        let (keys, states) = (self.table.keys(groups)?, self.payload.state(groups)?);
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => {
                let types: Vec<DataType> =
                    self.schema.fields().iter().map(|f| f.data_type().clone()).collect();
                let (key_types, state_types) = types.split_at(self.table.width());
                let memory = &self.context.memory;
                let disk = memory.disk()?;
                none.insert(Spill::new(disk, &self.name, key_types, &state_types[1..], memory.total())?)
            }
        };
        let mut refused = spill.put(&hashes, &keys, &states, &headers)?.into_iter().peekable();
        let spilled = groups.iter().enumerate().filter(|(row, _)| refused.next_if_eq(row).is_none());
        let spilled: Vec<u32> = spilled.map(|(_, g)| *g).collect();
        self.forget(&spilled);
        Ok(())
    }

    /// Moves all groups together, so that free places give their memory back.
    fn compact(&mut self) -> Result<()> {
        let (mut table, mut payload) = (self.table.new_like(), self.payload.fresh()?);
        let (mut dirty, mut persisted, mut recent) = (Bits::default(), Bits::default(), Bits::default());
        let mut touched = Vec::new();
        let (mut dues, mut due) = (BTreeSet::new(), Vec::new());
        let mut into = Vec::new();
        let groups: Vec<u32> = self.table.groups().collect();
        for groups in groups.chunks(SPILL_GROUPS) {
            table.intern_table(&self.table, groups, &mut into);
            payload.resize(table.slots());
            payload.merge(&self.payload.state(groups)?, &into)?;
            for (from, to) in groups.iter().zip(&into) {
                self.payload.clear(*from);
                for (old, new) in [
                    (&self.dirty, &mut dirty),
                    (&self.persisted, &mut persisted),
                    (&self.recent, &mut recent),
                ] {
                    if old.contains(*from) {
                        new.insert(*to);
                    }
                }
                if let Some(time) = self.touched.get(*from as usize) {
                    touched.resize(table.slots(), UNKNOWN_TIME);
                    touched[*to as usize] = *time;
                }
                if let Some(time) = self.due.get(*from as usize).filter(|time| **time < i64::MAX) {
                    due.resize(table.slots(), i64::MAX);
                    due[*to as usize] = *time;
                    dues.insert((*time, *to));
                }
            }
        }
        payload.inherit(&mut self.payload);
        (self.table, self.payload, self.touched) = (table, payload, touched);
        (self.dirty, self.persisted, self.recent) = (dirty, persisted, recent);
        (self.dues, self.due) = (dues, due);
        (self.hand, self.spill_hand) = (0, 0);
        Ok(())
    }

    /// Takes old groups away, some of them each time.
    fn sweep(&mut self, now_ms: i64) -> Result<()> {
        let slots = self.table.slots() as u32;
        let end = self.hand.saturating_add(SWEEP_GROUPS.0 as u32).min(slots);
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
        self.remove(old)?;
        self.sweep_disk(now_ms)
    }

    fn sweep_disk(&mut self, now_ms: i64) -> Result<()> {
        let Some(spill) = self.spill.as_mut().filter(|s| s.len() > 0) else { return Ok(()) };
        let mut reader = spill.reader_from(std::mem::take(&mut self.disk_hand));
        let read = spill.read(&mut reader, SWEEP_GROUPS.1)?;
        self.disk_hand = reader.into_next();
        let Some(Loaded { headers, keys, .. }) = read else { return Ok(()) };
        let ttl = i64::try_from(self.context.ttl_ms).unwrap_or(i64::MAX);
        let old = |h: &Header| h.touched.saturating_add(ttl) <= now_ms;
        let rows: Vec<u32> = (0..headers.len() as u32).filter(|row| old(&headers[*row as usize])).collect();
        if rows.is_empty() {
            return Ok(());
        }
        // They are loaded and taken away as any other: so the next snapshot knows.
        let rows = UInt32Array::from(rows);
        let keys = keys.iter().map(|k| Ok(take(k, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let groups = self.find_spilled(&keys, rows.len())?;
        self.remove(groups.into_iter().flatten())
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
            + self.due.len() * 8
            + self.dues.len() * 24
            + self.dirty.size()
            + self.persisted.size()
            + self.recent.size()
            + self.deleted.size()
            + self.spill.as_ref().map_or(0, Spill::size)
            + giving
    }

    /// Bytes of state on disk, before compression.
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.as_ref().map_or(0, Spill::bytes)
    }

    /// Keeps the state of those `groups` that the snapshot at hand has still to give, before they change.
    fn save(&mut self, groups: &[u32]) -> Result<()> {
        let Some(giving) = &mut self.giving else { return Ok(()) };
        let changed: Vec<u32> = groups.iter().copied().filter(|g| giving.pending.remove(*g)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let kind = giving.kind;
        let rows = self.rows(&changed, kind)?;
        self.payload.saved(&changed);
        if let Some(giving) = &mut self.giving {
            giving.saved.extend(rows);
        }
        Ok(())
    }

    /// `groups` as rows of a snapshot.
    fn rows(&self, groups: &[u32], kind: SnapshotKind) -> Result<Vec<StateRows>> {
        let mut columns = self.table.keys(groups)?;
        if let Some(rows) = self.payload.rows(groups, &columns, kind)? {
            return Ok(rows);
        }
        let time = |g: &u32| self.touched.get(*g as usize).copied().filter(|t| *t != UNKNOWN_TIME);
        columns.push(Arc::new(Int64Array::from_iter(groups.iter().map(time))));
        columns.extend(self.payload.state(groups)?);
        Ok(vec![self.state_rows(columns, &self.table, groups, None)?])
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
        let abandoned = self.giving.take();
        if let (Some(abandoned), Some(spill)) = (&abandoned, &self.spill) {
            spill.forget_changes(abandoned.epoch)?;
        }
        if abandoned.is_some() || self.wants_full || !self.context.tracks {
            out.full();
        }
        let deleted = std::mem::replace(&mut self.deleted, self.table.new_like());
        let dirty = std::mem::take(&mut self.dirty);
        let full = out.kind() == SnapshotKind::Full;
        let removed = self.payload.removed()?;
        self.giving = Some(Giving {
            pending: if full { self.table.live().clone() } else { dirty },
            next: 0,
            saved: if full { Vec::new() } else { removed },
            deleted: if full { self.table.new_like() } else { deleted },
            deleted_given: 0,
            spilled: self.spill.as_ref().map(|s| s.reader((!full).then_some(self.epoch))),
            epoch: self.epoch,
            kind: out.kind(),
        });
        if self.context.tracks {
            self.epoch += 1;
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

    fn give(&mut self, giving: &mut Giving, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let part = (self.part_bytes / (self.size() / self.table.slots().max(1)).max(1))
            .clamp(PART_GROUPS.0, PART_GROUPS.1);
        // First, as a key may have come again before the barrier.
        if giving.deleted_given < giving.deleted.len() {
            let first = giving.deleted_given as u32;
            let last = giving.deleted.len().min(giving.deleted_given + part) as u32;
            let groups: Vec<u32> = (first..last).collect();
            giving.deleted_given = last as usize;
            self.deleted_rows(&giving.deleted, &groups)?.into_iter().for_each(|rows| out.rows(rows));
            return Ok(SnapshotProgress::More);
        }
        std::mem::take(&mut giving.saved).into_iter().for_each(|rows| out.rows(rows));
        let groups: Vec<u32> = giving.pending.iter_from(giving.next).take(part).collect();
        if let Some(last) = groups.last() {
            giving.next = last + 1;
            groups.iter().for_each(|g| {
                giving.pending.remove(*g);
            });
            self.rows(&groups, giving.kind)?.into_iter().for_each(|rows| out.rows(rows));
            self.payload.saved(&groups);
        }
        if groups.len() == part {
            return Ok(SnapshotProgress::More);
        }
        let (Some(spill), Some(reader)) = (&self.spill, &mut giving.spilled) else {
            return Ok(SnapshotProgress::Done);
        };
        Ok(match spill.read(reader, part)? {
            None => {
                if self.context.tracks {
                    spill.forget_changes(giving.epoch)?;
                }
                SnapshotProgress::Done
            }
            Some(loaded) => {
                self.spilled_rows(loaded, giving.kind)?.into_iter().for_each(|rows| out.rows(rows));
                SnapshotProgress::More
            }
        })
    }

    fn spilled_rows(&self, loaded: Loaded, kind: SnapshotKind) -> Result<Vec<StateRows>> {
        let Loaded { headers, keys, states } = loaded;
        if self.payload.rows(&[], &[], kind)?.is_some() {
            let groups: Vec<u32> = (0..headers.len() as u32).collect();
            let mut payload = self.payload.fresh()?;
            payload.resize(groups.len());
            payload.merge(&states, &groups)?;
            return Ok(payload.rows(&groups, &keys, kind)?.unwrap_or_default());
        }
        let mut key_groups = Vec::new();
        key_group::key_groups(&keys, self.context.max_parallelism, &mut key_groups)?;
        let mut columns = keys;
        let times = headers.iter().map(|h| Some(h.touched).filter(|t| *t != UNKNOWN_TIME));
        columns.push(Arc::new(Int64Array::from_iter(times)));
        columns.extend(states);
        Ok(vec![StateRows {
            table: self.name.clone(),
            key_groups: Some(key_groups),
            rows: RecordBatch::try_new(self.schema.clone(), columns)?,
            deleted: None,
        }])
    }

    fn deleted_rows(&self, deleted: &KeyTable, groups: &[u32]) -> Result<Vec<StateRows>> {
        let mut columns = deleted.keys(groups)?;
        if let Some(rows) = self.payload.deleted(&columns)? {
            return Ok(rows);
        }
        let rest = self.schema.fields()[columns.len()..].iter();
        columns.extend(rest.map(|f| new_null_array(f.data_type(), groups.len())));
        let all = BooleanBuffer::new_set(groups.len());
        Ok(vec![self.state_rows(columns, deleted, groups, Some(all))?])
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

    /// The groups of keys of a checkpoint, whose rows the operator puts back itself: into `groups` (cleared first).
    /// Tells whether all of them are new, each once.
    pub fn put_back(&mut self, keys: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<bool> {
        self.intern(keys, rows, groups)?;
        let all_new = self.table.added().len() == rows;
        // Older rows of the same keys.
        Ok(self.load()?.is_empty() && all_new)
    }

    /// Rows of a checkpoint have been put back, and `empty` groups are none. The next snapshot will be full.
    pub fn settle_put_back(&mut self, empty: &[u32]) -> Result<()> {
        let empty: Vec<u32> = empty.iter().copied().filter(|g| self.table.live().contains(*g)).collect();
        self.forget(&empty);
        self.wants_full = true;
        self.make_room()
    }

    /// The next snapshot will be full.
    pub fn want_full(&mut self) {
        self.wants_full = true;
    }

    /// Takes rows of a checkpoint back. The next snapshot will be full.
    ///
    /// Errors: the rows are not of this store.
    pub fn restore_rows(&mut self, rows: &StateRows) -> Result<()> {
        self.check(rows)?;
        let records = &rows.rows;
        let width = self.table.width();
        let mut groups = Vec::new();
        let all_new = self.put_back(&records.columns()[..width], records.num_rows(), &mut groups)?;
        let mut last: Vec<u32> = (0..groups.len() as u32).collect();
        if !all_new {
            // Of rows with the same key, the last counts.
            let mut seen = Bits::default();
            last = last.into_iter().rev().filter(|row| seen.insert(groups[*row as usize])).collect();
            last.reverse();
            groups.iter().for_each(|g| self.payload.clear(*g));
        }
        let is_deleted = |row: u32| rows.deleted.as_ref().is_some_and(|d| d.value(row as usize));
        let (gone, kept): (Vec<u32>, Vec<u32>) = last.into_iter().partition(|row| is_deleted(*row));
        let into: Vec<u32> = kept.iter().map(|row| groups[*row as usize]).collect();
        let records = match kept.len() == records.num_rows() {
            true => records.clone(),
            false => take_record_batch(records, &UInt32Array::from(kept))?,
        };
        self.payload.merge(&records.columns()[width + 1..], &into)?;
        if self.has_ttl() {
            let times = records.column(width).as_primitive::<Int64Type>();
            for (time, group) in times.iter().zip(&into) {
                self.touched[*group as usize] = time.unwrap_or(UNKNOWN_TIME);
            }
        }
        let gone: Vec<u32> = gone.iter().map(|row| groups[*row as usize]).collect();
        self.settle_put_back(&gone)
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
        self.context.memory.account_spilled(self.accounted_disk, 0);
    }
}
