//! The rows that an interval join keeps of each key, as the payload of a `GroupStore`.

use super::kept_groups::{Bytes, put_bytes, put_number};
use super::row_codec::RowCodec;
use super::rows::MAX_BATCH_ROWS;
use super::segments::{RowRef, Segments};
use super::snapshots::groups_of;
use crate::error::{Error, Result};
use crate::state::{Payload, SnapshotKind, StateRows};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Int64Array, RecordBatch, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::VecDeque;
use std::sync::Arc;

/// State tables of both sides: the row, its time, whether it was joined.
pub(super) const TABLES: [&str; 2] = ["left", "right"];

/// One side.
pub(super) struct Side {
    pub(super) rows: Segments,
    pub(super) keys: Vec<usize>,
    /// Kept rows of each key, by time.
    pub(super) kept: Vec<VecDeque<Kept>>,
    /// When rows of each key are given up.
    pub(super) timers: Vec<Option<i64>>,
    codec: Arc<RowCodec>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) time: i64,
    pub(super) entry: u32,
}

/// Kept rows of both sides.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) rows: Vec<RowRef>,
    pub(super) joined: Vec<bool>,
    pub(super) free: Vec<u32>,
}

impl Entries {
    /// A place for a row.
    pub(super) fn add(&mut self, row: RowRef, joined: bool) -> u32 {
        match self.free.pop() {
            Some(at) => {
                (self.rows[at as usize], self.joined[at as usize]) = (row, joined);
                at
            }
            None => {
                self.rows.push(row);
                self.joined.push(joined);
                self.rows.len() as u32 - 1
            }
        }
    }
}

/// Rows of both sides by key.
pub(super) struct IntervalState {
    pub(super) sides: [Side; 2],
    pub(super) entries: Entries,
    pub(super) max_parallelism: usize,
}

impl Side {
    /// No rows. `keys` are the key columns.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub(super) fn new(schema: &SchemaRef, keys: Vec<usize>) -> Result<Self> {
        let codec = Arc::new(RowCodec::of_schema(schema)?);
        Ok(Self { rows: Segments::new(schema.clone()), keys, kept: Vec::new(), timers: Vec::new(), codec })
    }

    /// The key columns of rows.
    pub(super) fn keys(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect()
    }

    /// Keeps a row as `entry`, behind the rows of its time.
    pub(super) fn keep(&mut self, group: u32, time: i64, entry: u32) {
        let kept = &mut self.kept[group as usize];
        let at = kept.partition_point(|k| k.time <= time);
        kept.insert(at, Kept { time, entry });
    }

    fn state_schema(&self) -> SchemaRef {
        let fields = self.rows.schema().fields().iter().enumerate();
        let mut fields: Vec<Field> =
            fields.map(|(i, f)| Field::new(format!("{i}"), f.data_type().clone(), true)).collect();
        fields.push(Field::new("time", DataType::Int64, false));
        fields.push(Field::new("joined", DataType::Boolean, false));
        Arc::new(Schema::new(fields))
    }
}

impl IntervalState {
    /// The kept rows of `side` of `groups`, one group after the other.
    fn kept<'a>(&'a self, side: usize, groups: &'a [u32]) -> impl Iterator<Item = Kept> + 'a {
        groups.iter().flat_map(move |g| self.sides[side].kept[*g as usize].iter().copied())
    }

    fn encoded(&self, side: usize, groups: &[u32]) -> Result<arrow::row::Rows> {
        let rows: Vec<RowRef> =
            self.kept(side, groups).map(|k| self.entries.rows[k.entry as usize]).collect();
        self.sides[side].codec.encode(self.sides[side].rows.rows(&rows)?.columns())
    }
}

impl Payload for IntervalState {
    fn resize(&mut self, groups: usize) {
        for side in &mut self.sides {
            if groups > side.kept.len() {
                side.kept.resize_with(groups, VecDeque::new);
                side.timers.resize(groups, None);
            }
        }
    }

    /// The bytes of each key: of each side its timer and its rows.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let encoded = [self.encoded(0, groups)?, self.encoded(1, groups)?];
        let [left, right] = &encoded;
        let mut encoded = [left.iter(), right.iter()];
        let mut column = BinaryBuilder::new();
        let mut bytes = Vec::new();
        for group in groups {
            bytes.clear();
            for (side, rows) in self.sides.iter().zip(&mut encoded) {
                let kept = &side.kept[*group as usize];
                put_number(&mut bytes, side.timers[*group as usize].unwrap_or(i64::MAX));
                put_number(&mut bytes, kept.len() as i64);
                for (kept, row) in kept.iter().zip(rows) {
                    put_number(&mut bytes, kept.time);
                    put_number(&mut bytes, i64::from(self.entries.joined[kept.entry as usize]));
                    put_bytes(&mut bytes, row.data());
                }
            }
            column.append_value(&bytes);
        }
        Ok(vec![Arc::new(column.finish())])
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let column = columns.first().and_then(|c| c.as_binary_opt::<i32>());
        let Some(column) = column else { return Err(Error::internal("Kept rows are not bytes.")) };
        let mut kept: [Vec<(u32, i64, bool)>; 2] = Default::default();
        let mut rows: [Vec<&[u8]>; 2] = Default::default();
        for (row, group) in groups.iter().enumerate() {
            let mut bytes = Bytes(column.value(row));
            let mut read = || -> Option<()> {
                for number in 0..2 {
                    let timer = bytes.number()?;
                    self.sides[number].timers[*group as usize] = Some(timer).filter(|t| *t < i64::MAX);
                    for _ in 0..bytes.number()? {
                        kept[number].push((*group, bytes.number()?, bytes.number()? != 0));
                        rows[number].push(bytes.bytes()?);
                    }
                }
                Some(())
            };
            if read().is_none() {
                return Err(Error::internal("Kept rows cannot be read back."));
            }
        }
        for ((side, kept), rows) in self.sides.iter_mut().zip(kept).zip(rows) {
            if rows.is_empty() {
                continue;
            }
            let columns = side.codec.decode(rows)?;
            let segment = side.rows.add(RecordBatch::try_new(side.rows.schema().clone(), columns)?);
            for (row, (group, time, joined)) in kept.into_iter().enumerate() {
                let entry = self.entries.add(segment.row(row), joined);
                side.kept[group as usize].push_back(Kept { time, entry });
            }
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        for side in &mut self.sides {
            side.timers[group as usize] = None;
            for kept in std::mem::take(&mut side.kept[group as usize]) {
                side.rows.release(self.entries.rows[kept.entry as usize]);
                self.entries.free.push(kept.entry);
            }
        }
    }

    fn size(&self) -> usize {
        let sides = self.sides.iter();
        let held = sides.map(|s| s.rows.size() + s.rows.live_rows() * size_of::<Kept>() + s.kept.len() * 48);
        held.sum::<usize>() + self.entries.rows.len() * 13
    }

    fn spare(&self, free: usize, _: usize) -> usize {
        let sides = self.sides.iter().map(|s| s.rows.spare()).sum::<usize>();
        sides + free * 96 + self.entries.free.len() * 9
    }

    fn fresh(&self) -> Result<Self> {
        let fresh = |side: &Side| Side::new(side.rows.schema(), side.keys.clone());
        let [left, right] = &self.sides;
        Ok(Self {
            sides: [fresh(left)?, fresh(right)?],
            entries: Entries::default(),
            max_parallelism: self.max_parallelism,
        })
    }

    fn rows(&self, groups: &[u32], keys: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        let mut out = Vec::new();
        if groups.is_empty() {
            return Ok(Some(out));
        }
        if kind == SnapshotKind::Delta {
            // What an earlier snapshot holds of them gives way as a whole.
            out.extend(self.deleted(keys)?.unwrap_or_default());
        }
        for (number, side) in self.sides.iter().enumerate() {
            let kept: Vec<Kept> = self.kept(number, groups).collect();
            for part in kept.chunks(MAX_BATCH_ROWS) {
                let rows: Vec<RowRef> = part.iter().map(|k| self.entries.rows[k.entry as usize]).collect();
                let mut columns = side.rows.rows(&rows)?.columns().to_vec();
                columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|k| k.time))));
                let joined = part.iter().map(|k| Some(self.entries.joined[k.entry as usize]));
                columns.push(Arc::new(BooleanArray::from_iter(joined)));
                let rows = RecordBatch::try_new(side.state_schema(), columns)?;
                let key_groups = groups_of(&side.keys(&rows), self.max_parallelism)?;
                out.push(StateRows { table: TABLES[number].into(), key_groups, rows, deleted: None });
            }
        }
        Ok(Some(out))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        let side = &self.sides[0];
        let schema = side.state_schema();
        let rows = keys.first().map_or(1, |k| k.len());
        let column = |(at, field): (usize, &Arc<Field>)| -> ArrayRef {
            match side.keys.iter().position(|key| *key == at) {
                Some(key) => Arc::clone(&keys[key]),
                None if field.is_nullable() => new_null_array(field.data_type(), rows),
                None if *field.data_type() == DataType::Boolean => {
                    Arc::new(BooleanArray::from(vec![false; rows]))
                }
                None => Arc::new(Int64Array::from(vec![0; rows])),
            }
        };
        let columns: Vec<ArrayRef> = schema.fields().iter().enumerate().map(column).collect();
        let rows = RecordBatch::try_new(schema, columns)?;
        let key_groups = groups_of(&side.keys(&rows), self.max_parallelism)?;
        let deleted = Some(BooleanBuffer::new_set(rows.num_rows()));
        Ok(Some(vec![StateRows { table: TABLES[0].into(), key_groups, rows, deleted }]))
    }
}
