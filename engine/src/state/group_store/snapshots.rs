//! A store's snapshots: given in parts, as it was at the barrier; and taken back.

use super::{GroupStore, UNKNOWN_TIME};
use crate::error::{Error, Result};
use crate::state::bits::Bits;
use crate::state::key_group;
use crate::state::key_table::KeyTable;
use crate::state::payload::Payload;
use crate::state::snapshot::{SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::state::spill::{Loaded, SpillReader};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, Schema};
use std::sync::Arc;

/// Fewest and most groups in a part.
const PART_GROUPS: (usize, usize) = (64, 8192);

/// A snapshot of which parts are still to be given.
pub(super) struct Giving {
    /// Groups whose state of the barrier is still to be given. Those before `next` have been.
    pub(super) pending: Bits,
    next: u32,
    /// State of groups that changed before their turn came.
    pub(super) saved: Vec<StateRows>,
    pub(super) deleted: KeyTable,
    deleted_given: usize,
    /// The groups on disk at the barrier.
    spilled: Option<SpillReader>,
    /// The epoch that the barrier has ended.
    epoch: u32,
    kind: SnapshotKind,
}

impl<P: Payload> GroupStore<P> {
    /// Keeps the state of those `groups` that the snapshot at hand has still to give, before they change.
    pub(super) fn save(&mut self, groups: &[u32]) -> Result<()> {
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
