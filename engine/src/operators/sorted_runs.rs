//! Sorted rows that have no room in memory: runs on disk, each in order, read from their beginnings.

use super::row_codec::RowBytes;
use super::rows::MAX_BATCH_ROWS;
use crate::error::{Error, Result};
use crate::state::{Piece, RunFile, Share};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most runs; beyond, they are merged into one. Of each, one batch is in memory while rows are taken.
const MAX_RUNS: usize = 32;

/// Rows by time, sort key and sequence.
pub(super) type Sorted = BTreeMap<(i64, Box<[u8]>), RowBytes>;

/// Runs of rows.
#[derive(Default)]
pub(super) struct SortedRuns {
    runs: Vec<Run>,
}

/// One run: what is still to be taken of it.
struct Run {
    pieces: VecDeque<Piece>,
    head: Option<Head>,
    /// Time of its first row as it was written.
    from: i64,
}

/// A batch of a run and the next of its rows.
struct Head {
    times: Int64Array,
    keys: BinaryArray,
    rows: BinaryArray,
    next: usize,
}

impl Head {
    fn read(piece: &Piece) -> Result<Self> {
        let batch = piece.read()?;
        let columns = (
            batch.column(0).as_primitive_opt::<Int64Type>(),
            batch.column(1).as_binary_opt::<i32>(),
            batch.column(2).as_binary_opt::<i32>(),
        );
        let (Some(times), Some(keys), Some(rows)) = columns else {
            return Err(Error::internal("A run of sorted rows has other columns."));
        };
        Ok(Self { times: times.clone(), keys: keys.clone(), rows: rows.clone(), next: 0 })
    }

    fn place(&self) -> (i64, &[u8]) {
        (self.times.value(self.next), self.keys.value(self.next))
    }
}

impl Run {
    fn new(pieces: Vec<Piece>, from: i64) -> Self {
        Self { pieces: pieces.into(), head: None, from }
    }

    /// The place of its first row.
    fn first(&mut self) -> Result<Option<(i64, &[u8])>> {
        if self.head.as_ref().is_none_or(|head| head.next == head.times.len()) {
            self.head = self.pieces.pop_front().map(|piece| Head::read(&piece)).transpose()?;
        }
        Ok(self.head.as_ref().map(Head::place))
    }
}

fn batch(rows: &[((i64, Box<[u8]>), RowBytes)]) -> Result<RecordBatch> {
    let times = Int64Array::from_iter_values(rows.iter().map(|((time, _), _)| *time));
    let keys = BinaryArray::from_iter_values(rows.iter().map(|((_, key), _)| key));
    let bytes = BinaryArray::from_iter_values(rows.iter().map(|(_, row)| row));
    let columns: [(&str, ArrayRef); 3] =
        [("time", Arc::new(times)), ("key", Arc::new(keys)), ("row", Arc::new(bytes))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn write(file: &mut RunFile, pieces: &mut Vec<Piece>, rows: &[((i64, Box<[u8]>), RowBytes)]) -> Result<()> {
    for part in rows.chunks(MAX_BATCH_ROWS) {
        pieces.extend(file.append(&[batch(part)?])?);
    }
    Ok(())
}

impl SortedRuns {
    /// Whether nothing is on disk.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// No row has an earlier time.
    pub(super) fn first_time(&self) -> Option<i64> {
        let of = |run: &Run| match &run.head {
            Some(head) if head.next < head.times.len() => head.place().0,
            _ => run.from,
        };
        self.runs.iter().map(of).min()
    }

    /// Moves all of `rows` to disk.
    pub(super) fn put_down(&mut self, rows: &mut Sorted, share: &Share) -> Result<()> {
        let Some(((from, _), _)) = rows.first_key_value() else { return Ok(()) };
        let from = *from;
        let mut file = share.run_file()?;
        let mut pieces = Vec::new();
        let mut part = Vec::with_capacity(MAX_BATCH_ROWS);
        while let Some(row) = rows.pop_first() {
            part.push(row);
            if part.len() == MAX_BATCH_ROWS {
                write(&mut file, &mut pieces, &part)?;
                part.clear();
            }
        }
        write(&mut file, &mut pieces, &part)?;
        self.runs.push(Run::new(pieces, from));
        if self.runs.len() > MAX_RUNS {
            self.merge(share)?;
        }
        Ok(())
    }

    /// Makes one run of all.
    fn merge(&mut self, share: &Share) -> Result<()> {
        let from = self.first_time().unwrap_or(i64::MIN);
        let mut file = share.run_file()?;
        let mut pieces = Vec::new();
        let mut part = Vec::with_capacity(MAX_BATCH_ROWS);
        while let Some(row) = self.pop_before(None)? {
            part.push(row);
            if part.len() == MAX_BATCH_ROWS {
                write(&mut file, &mut pieces, &part)?;
                part.clear();
            }
        }
        write(&mut file, &mut pieces, &part)?;
        self.runs = vec![Run::new(pieces, from)];
        Ok(())
    }

    /// Takes out the first row of all runs if it comes before `place`.
    pub(super) fn pop_before(
        &mut self,
        place: Option<(i64, &[u8])>,
    ) -> Result<Option<((i64, Box<[u8]>), RowBytes)>> {
        let mut least: Option<(usize, i64, Vec<u8>)> = None;
        let mut at = 0;
        while at < self.runs.len() {
            let Some((time, key)) = self.runs[at].first()? else {
                self.runs.swap_remove(at);
                continue;
            };
            let known = least.as_ref().map(|(_, time, key)| (*time, key.as_slice())).or(place);
            if known.is_none_or(|known| (time, key) < known) {
                let key = key.to_vec();
                least = Some((at, time, key));
            }
            at += 1;
        }
        let Some((run, time, key)) = least else { return Ok(None) };
        let Some(head) = &mut self.runs[run].head else { return Ok(None) };
        let row = Arc::from(head.rows.value(head.next));
        head.next += 1;
        Ok(Some(((time, key.into()), row)))
    }

    /// What is on disk, for a snapshot: batches, and how many rows of each are gone already.
    pub(super) fn saved(&self) -> Vec<SavedRows> {
        let mut saved = Vec::new();
        for run in &self.runs {
            if let Some(head) = &run.head {
                let rest = |length: usize| (head.next, length - head.next);
                let (offset, length) = rest(head.rows.len());
                let rows = (head.keys.slice(offset, length), head.rows.slice(offset, length));
                saved.push(SavedRows::Memory(Box::new(rows)));
            }
            saved.extend(run.pieces.iter().cloned().map(SavedRows::Disk));
        }
        saved
    }
}

/// Rows of a run that a snapshot still wants.
pub(super) enum SavedRows {
    Memory(Box<(BinaryArray, BinaryArray)>),
    Disk(Piece),
}

impl SavedRows {
    /// Their keys and bytes.
    pub(super) fn read(&self) -> Result<(BinaryArray, BinaryArray)> {
        match self {
            Self::Memory(rows) => Ok(rows.as_ref().clone()),
            Self::Disk(piece) => Head::read(piece).map(|head| (head.keys, head.rows)),
        }
    }
}
