//! Slices that have no room in memory. What a slice holds goes to disk as a whole, cut by the hash of its keys, and the
//! slice begins anew; what was put down at different times is put together when its window is due, or a checkpoint
//! wants it, one part of the keys after the other.

use super::{Slice, SliceAggregate, empty};
use crate::error::Result;
use crate::operators::aggregates::{self, Aggregates};
use crate::operators::rows::MAX_BATCH_ROWS;
use crate::state::{KeyTable, Piece, RunFile, Share};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

/// Parts that the keys of a slice are cut into: one of them has to fit into memory.
pub(super) const PARTS: usize = if cfg!(test) { 3 } else { 64 };
/// Bytes that are written at once, about.
const WRITE_BYTES: usize = 1 << 20;

/// What an operator's slices are made of.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    pub(super) table: &'a KeyTable,
    pub(super) aggregates: &'a Aggregates,
}

/// Rows on disk: keys, then states.
#[derive(Clone)]
pub(super) struct PutDown {
    part: usize,
    /// They take the place of what was there before of their keys in the same `source`, and are not added to it.
    replaces: bool,
    /// Number of the slice that they were of before it was taken in by this one.
    source: usize,
    piece: Piece,
}

/// What a slice has on disk, from the oldest to the newest.
pub(super) struct Spilled {
    files: Vec<RunFile>,
    pub(super) rows: Vec<PutDown>,
    /// Whether rows came since the last snapshot.
    pub(super) changed: bool,
}

fn part_of(hash: u64) -> usize {
    // Other bits than those that choose the task.
    (hash >> 8) as usize % PARTS
}

impl Slice {
    /// Moves what is in memory to disk.
    pub(super) fn spill(&mut self, kind: Kind<'_>, share: &Share, replaces: bool) -> Result<()> {
        let groups: Vec<u32> = self.table.groups().collect();
        if groups.is_empty() {
            return Ok(());
        }
        let mut parts: Vec<Vec<u32>> = vec![Vec::new(); PARTS];
        for (group, hash) in groups.iter().zip(self.table.hashes(&groups)) {
            parts[part_of(hash)].push(*group);
        }
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Box::new(Spilled {
                files: vec![share.run_file()?],
                rows: Vec::new(),
                changed: true,
            })),
        };
        if spilled.files.is_empty() {
            spilled.files.push(share.run_file()?);
        }
        let source = spilled.rows.last().map_or(0, |down| down.source);
        let mut file =
            RunWriter { spilled, replaces, source, batches: Vec::new(), parts: Vec::new(), bytes: 0 };
        for (part, groups) in parts.iter().enumerate() {
            for groups in groups.chunks(MAX_BATCH_ROWS) {
                let mut columns = self.table.keys(groups)?;
                columns.extend(aggregates::states(&self.accumulators, groups)?);
                let field = |(i, c): (usize, &arrow::array::ArrayRef)| {
                    Field::new(i.to_string(), c.data_type().clone(), true)
                };
                let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
                let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
                file.add(part, batch)?;
            }
        }
        file.write()?;
        let spilled = self.spilled.take();
        *self = empty(kind.table, kind.aggregates)?;
        self.spilled = spilled;
        Ok(())
    }

    /// All that the slice holds of one part of the keys.
    pub(super) fn part(&self, part: usize, kind: Kind<'_>) -> Result<Slice> {
        let mut whole = match &self.spilled {
            Some(spilled) => gathered(&spilled.rows, part, kind)?,
            None => empty(kind.table, kind.aggregates)?,
        };
        let all: Vec<u32> = self.table.groups().collect();
        let own = all.iter().zip(self.table.hashes(&all)).filter(|(_, hash)| part_of(*hash) == part);
        let own: Vec<u32> = own.map(|(group, _)| *group).collect();
        let mut into = Vec::new();
        for groups in own.chunks(MAX_BATCH_ROWS) {
            whole.table.intern_table(&self.table, groups, &mut into);
            aggregates::resize(&mut whole.accumulators, whole.table.slots());
            for (mine, theirs) in whole.accumulators.iter_mut().zip(&self.accumulators) {
                mine.merge(&theirs.state(groups)?, &into)?;
            }
        }
        Ok(whole)
    }

    /// Takes over what `later` has on disk, behind what this one has. Neither holds anything in memory.
    pub(super) fn absorb(&mut self, later: Slice) {
        match (&mut self.spilled, later.spilled) {
            (Some(mine), Some(theirs)) => {
                let first = mine.rows.last().map_or(0, |down| down.source + 1);
                let moved = |down: PutDown| PutDown { source: first + down.source, ..down };
                mine.rows.extend(theirs.rows.into_iter().map(moved));
                // What is added goes into a file of our own, which may as well be the last.
                mine.files.extend(theirs.files);
                mine.changed = true;
            }
            (mine, theirs) if mine.is_none() => *mine = theirs,
            _ => {}
        }
    }
}

/// Gathers batches, so that not each of them is written alone.
struct RunWriter<'a> {
    spilled: &'a mut Spilled,
    replaces: bool,
    source: usize,
    batches: Vec<RecordBatch>,
    parts: Vec<usize>,
    bytes: usize,
}

impl RunWriter<'_> {
    fn add(&mut self, part: usize, batch: RecordBatch) -> Result<()> {
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        self.parts.push(part);
        if self.bytes >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let Some(file) = self.spilled.files.last_mut() else { return Ok(()) };
        self.bytes = 0;
        let pieces = file.append(&std::mem::take(&mut self.batches))?;
        let (replaces, source) = (self.replaces, self.source);
        let parts = std::mem::take(&mut self.parts).into_iter();
        let down = |(part, piece)| PutDown { part, replaces, source, piece };
        self.spilled.rows.extend(parts.zip(pieces).map(down));
        Ok(())
    }
}

/// What `rows` hold of one part of the keys.
pub(super) fn gathered(rows: &[PutDown], part: usize, kind: Kind<'_>) -> Result<Slice> {
    let mut whole = empty(kind.table, kind.aggregates)?;
    let rows: Vec<&PutDown> = rows.iter().filter(|down| down.part == part).collect();
    let sources: Vec<&[&PutDown]> = rows.chunk_by(|a, b| a.source == b.source).collect();
    if let [only] = sources[..] {
        add(&mut whole, only, kind)?;
        return Ok(whole);
    }
    for source in sources {
        let mut own = empty(kind.table, kind.aggregates)?;
        add(&mut own, source, kind)?;
        whole.merge(&[&own])?;
    }
    Ok(whole)
}

/// Adds `rows`, which are of one source.
fn add(whole: &mut Slice, rows: &[&PutDown], kind: Kind<'_>) -> Result<()> {
    let width = kind.table.width();
    let mut groups = Vec::new();
    for down in rows {
        let batch = down.piece.read()?;
        let (keys, states) = batch.columns().split_at(width);
        whole.table.intern(keys, batch.num_rows(), &mut groups)?;
        aggregates::resize(&mut whole.accumulators, whole.table.slots());
        if down.replaces {
            aggregates::replace(&mut whole.accumulators, states, &groups)?;
        } else {
            aggregates::merge(&mut whole.accumulators, states, &groups)?;
        }
    }
    Ok(())
}

impl SliceAggregate {
    /// What slices are made of.
    pub(super) fn kind(&self) -> Kind<'_> {
        Kind { table: &self.table, aggregates: &self.aggregates }
    }

    /// Tells the budget what is held, and moves the largest slices to disk where that is too much. A restored
    /// slice's rows take the place of older ones.
    pub(super) fn make_room(&mut self, restoring: bool) -> Result<()> {
        let Some(share) = &mut self.share else { return Ok(()) };
        let slices = || self.slices.values().chain(self.cumulated.values());
        let over = share.hold(slices().map(|s| s.bytes).sum());
        // One group is no matter; and what is taken back needs to know what there is.
        if over == 0 || self.keys.is_empty() || self.retracts {
            return Ok(());
        }
        let mut sizes: Vec<usize> = slices().filter(|s| s.unsaved.is_empty()).map(|s| s.bytes).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        // A little more than must be, so that not every batch has to.
        let (mut freed, mut least) = (0, usize::MAX);
        for size in sizes.into_iter().filter(|size| *size > 0) {
            if freed >= over {
                break;
            }
            (freed, least) = (freed + size, size);
        }
        let kind = Kind { table: &self.table, aggregates: &self.aggregates };
        for slice in self.slices.values_mut().chain(self.cumulated.values_mut()) {
            if slice.bytes >= least && slice.unsaved.is_empty() {
                slice.spill(kind, share, restoring)?;
            }
        }
        share.hold(self.slices.values().chain(self.cumulated.values()).map(|s| s.bytes).sum());
        Ok(())
    }

    /// A restore is done: what follows is added to what was restored.
    pub(super) fn end_restore(&mut self) -> Result<()> {
        let Some(share) = &self.share else { return Ok(()) };
        let kind = Kind { table: &self.table, aggregates: &self.aggregates };
        let slices = self.slices.values_mut().chain(self.cumulated.values_mut());
        slices.filter(|s| s.spilled.is_some()).try_for_each(|s| s.spill(kind, share, true))
    }
}
