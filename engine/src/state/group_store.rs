//! `GroupStore`: keyed state that knows what has changed, is given to checkpoints in parts, forgets what is too
//! old, and keeps to its share of the memory budget.

mod room;
mod snapshots;

use super::bits::Bits;
use super::budget::MemoryBudget;
use super::key_table::KeyTable;
use super::payload::Payload;
use super::spill::{Header, Loaded, Spill, SpillReader};
use crate::error::Result;
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use snapshots::Giving;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Bytes of state that a part of a snapshot is made of: about a millisecond's work.
const PART_BYTES: usize = 512 << 10;
/// Most keys taken away since the last snapshot that are remembered one by one; beyond, the next snapshot is full.
const MAX_DELETED: usize = 1 << 20;
/// Groups that are looked at for their age with each batch, in memory and on disk.
const SWEEP_GROUPS: (usize, usize) = (256, 32);
/// Bytes of state, about, that a batch may bring back from disk: see `rows_at_once`.
const LOAD_BYTES: u64 = 16 << 20;
/// Fewest rows that are touched together.
const LEAST_ROWS: usize = 8;
/// Groups that are woken at once.
const WAKE_GROUPS: usize = 4096;
/// Groups that are read back from disk at once when all are wanted.
const DRAIN_GROUPS: usize = 8192;
/// The time of a group that was restored without one: it counts as touched when time is next known.
const UNKNOWN_TIME: i64 = i64::MAX;
/// Name of the column of times.
const TOUCHED: &str = "touched";

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
    /// Is told the bytes of the largest key, where they alone are more than the budget.
    pub oversized_key: Arc<AtomicU64>,
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
            oversized_key: Arc::default(),
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
    /// Groups that the disk does not take.
    stuck: Bits,
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
            stuck: Bits::default(),
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
        let Some(spill) = self.spill.as_ref().filter(|s| s.bytes() > LOAD_BYTES) else { return usize::MAX };
        usize::try_from(LOAD_BYTES * spill.len() / spill.bytes()).unwrap_or(usize::MAX).max(LEAST_ROWS)
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
        let most = self.rows_at_once().min(WAKE_GROUPS);
        if groups.is_empty()
            && let Some(spill) = self.spill.as_mut().filter(|s| s.earliest() <= until)
            && let Some((keys, rows)) = spill.due(until, most)?
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
            self.stuck.remove(*group);
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
}

impl<P> Drop for GroupStore<P> {
    fn drop(&mut self) {
        self.context.memory.account(self.accounted, 0);
        self.context.memory.account_spilled(self.accounted_disk, 0);
    }
}
