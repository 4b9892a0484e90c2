//! A store's share of the memory budget: what it holds, and which groups go to disk.

use super::{GroupStore, UNKNOWN_TIME};
use crate::error::Result;
use crate::state::bits::Bits;
use crate::state::payload::Payload;
use crate::state::spill::{Header, Spill, can_spill};
use arrow::datatypes::DataType;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Most groups, and bytes of state about, that are moved to disk at once.
const SPILL_GROUPS: usize = 4096;
const SPILL_BYTES: usize = 4 << 20;
/// A key with more bytes of state than this, and than the budget, stays in memory: it would go to disk and come back with
/// each batch.
const OVERSIZED_BYTES: usize = 1 << 20;
/// Bytes of freed places that are not worth moving all groups for.
const SPARE_BYTES: usize = 1 << 20;

impl<P: Payload> GroupStore<P> {
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
            + self.stuck.size()
            + self.deleted.size()
            + self.spill.as_ref().map_or(0, Spill::size)
            + giving
    }

    /// Bytes of state on disk, before compression.
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.as_ref().map_or(0, Spill::bytes)
    }

    /// Tells the budget what is held, and spills what it wants to have back.
    pub(super) fn make_room(&mut self) -> Result<()> {
        if self.account() == 0 {
            return Ok(());
        }
        self.payload.pack()?;
        let over = self.account();
        if over == 0 {
            return Ok(());
        }
        if self.table.width() > 0 {
            let (held, live) = (self.accounted, self.table.len());
            let share = (live as u128 * over as u128).div_ceil(held.max(1) as u128) as usize;
            // A little more, so that not every batch has to spill.
            self.evict((share + (live / 64).min(SPILL_GROUPS)).min(live))?;
            self.payload.pack()?;
            if self.giving.is_none() && self.spare_bytes() > SPARE_BYTES.max(self.groups_bytes() / 2) {
                self.compact()?;
            }
            self.account();
        }
        if self.table.len() == 1 {
            self.look_at_key(self.accounted as u64);
        }
        Ok(())
    }

    /// Tells the budget what is held. Gives what it wants to have back.
    fn account(&mut self) -> usize {
        let (held, spilled) = (self.held(), self.spilled_bytes());
        let over = self.context.memory.account(self.accounted, held);
        self.context.memory.account_spilled(self.accounted_disk, spilled);
        (self.accounted, self.accounted_disk) = (held, spilled);
        over
    }

    /// Remembers that the state of a key is too large for any memory that there is.
    fn look_at_key(&self, bytes: u64) {
        if bytes > self.context.memory.total() as u64 {
            self.context.oversized_key.fetch_max(bytes, Ordering::Relaxed);
        }
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
            let may_go = self.table.live().contains(group) && !self.stuck.contains(group);
            if may_go && !self.recent.remove(group) && victims.insert(group) {
                found += 1;
            }
        }
        let victims: Vec<u32> = victims.iter_from(0).collect();
        victims.chunks(self.groups_at_once()).try_for_each(|groups| self.spill(groups))
    }

    /// How many groups are moved together.
    fn groups_at_once(&self) -> usize {
        let each = self.held() / self.table.len().max(1);
        (SPILL_BYTES / each.max(1)).clamp(1, SPILL_GROUPS)
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
        let most = self.context.memory.total().max(OVERSIZED_BYTES) as u64;
        let (refused, largest) = spill.put(&hashes, &keys, &states, &headers, most)?;
        let mut refused = refused.into_iter().peekable();
        let (spilled, stuck): (Vec<_>, Vec<_>) =
            groups.iter().enumerate().partition(|(row, _)| refused.next_if_eq(row).is_none());
        self.forget(&spilled.into_iter().map(|(_, group)| *group).collect::<Vec<_>>());
        stuck.into_iter().for_each(|(_, group)| {
            self.stuck.insert(*group);
        });
        self.look_at_key(largest);
        Ok(())
    }

    /// Moves all groups together, so that free places give their memory back.
    fn compact(&mut self) -> Result<()> {
        let (mut table, mut payload) = (self.table.new_like(), self.payload.fresh()?);
        let (mut dirty, mut persisted) = (Bits::default(), Bits::default());
        let (mut recent, mut stuck) = (Bits::default(), Bits::default());
        let mut touched = Vec::new();
        let (mut dues, mut due) = (BTreeSet::new(), Vec::new());
        let mut into = Vec::new();
        let groups: Vec<u32> = self.table.groups().collect();
        for groups in groups.chunks(self.groups_at_once()) {
            table.intern_table(&self.table, groups, &mut into);
            payload.resize(table.slots());
            payload.merge(&self.payload.state(groups)?, &into)?;
            for (from, to) in groups.iter().zip(&into) {
                self.payload.clear(*from);
                for (old, new) in [
                    (&self.dirty, &mut dirty),
                    (&self.persisted, &mut persisted),
                    (&self.recent, &mut recent),
                    (&self.stuck, &mut stuck),
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
        (self.dirty, self.persisted) = (dirty, persisted);
        (self.recent, self.stuck) = (recent, stuck);
        (self.dues, self.due) = (dues, due);
        (self.hand, self.spill_hand) = (0, 0);
        Ok(())
    }
}
