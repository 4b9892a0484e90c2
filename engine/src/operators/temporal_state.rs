//! What a temporal join keeps of each key, as the payload of a `GroupStore`.

use super::kept_groups::{Bytes, put_bytes, put_number};
use super::row_codec::RowCodec;
use super::rows::MAX_BATCH_ROWS;
use super::segments::{RowRef, Segments};
use super::snapshots::groups_of;
use crate::error::{Error, Result};
use crate::message::RowKind;
use crate::state::{Payload, SnapshotKind, StateRows};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Int8Array, Int64Array, RecordBatch, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// State tables of left rows that wait, and of versions: the row, its time, when it came, its kind.
pub(super) const TABLES: [&str; 2] = ["left", "versions"];

/// What is kept of a key.
#[derive(Default)]
pub(super) struct Group {
    /// Left rows, in the order of arrival.
    pub(super) waiting: Vec<Waiting>,
    /// Versions, by time; one at a time.
    pub(super) versions: Vec<Version>,
}

impl Group {
    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.versions.is_empty()
    }
}

/// A left row whose time has not come.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) time: i64,
    pub(super) arrival: u64,
    pub(super) row: RowRef,
    pub(super) kind: RowKind,
    pub(super) matches: bool,
}

/// A version of the right side, from its time on.
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) time: i64,
    pub(super) row: RowRef,
    pub(super) holds: bool,
}

impl Version {
    fn kind(&self) -> RowKind {
        if self.holds { RowKind::Insert } else { RowKind::Delete }
    }
}

/// The kind with this number in a state table.
pub(super) fn kind_of(number: i64) -> RowKind {
    match number {
        1 => RowKind::UpdateBefore,
        2 => RowKind::UpdateAfter,
        3 => RowKind::Delete,
        _ => RowKind::Insert,
    }
}

/// Rows of both sides by key.
pub(super) struct TemporalState {
    pub(super) sides: [Segments; 2],
    pub(super) groups: Vec<Group>,
    key_columns: [Vec<usize>; 2],
    codecs: [Arc<RowCodec>; 2],
    pub(super) max_parallelism: usize,
}

impl TemporalState {
    /// Nothing kept. `key_columns` are those of both sides.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub(super) fn new(schemas: [&SchemaRef; 2], key_columns: [Vec<usize>; 2]) -> Result<Self> {
        let [left, right] = schemas;
        Ok(Self {
            sides: [Segments::new(left.clone()), Segments::new(right.clone())],
            groups: Vec::new(),
            key_columns,
            codecs: [Arc::new(RowCodec::of_schema(left)?), Arc::new(RowCodec::of_schema(right)?)],
            max_parallelism: 1,
        })
    }

    /// The key columns of rows of side `input`.
    pub(super) fn keys(&self, input: usize, records: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns[input].iter().map(|k| Arc::clone(records.column(*k))).collect()
    }

    fn state_schema(&self, side: usize) -> SchemaRef {
        let fields = self.sides[side].schema().fields().iter().enumerate();
        let mut fields: Vec<Field> =
            fields.map(|(i, f)| Field::new(format!("{i}"), f.data_type().clone(), true)).collect();
        fields.push(Field::new("time", DataType::Int64, false));
        fields.push(Field::new("arrival", DataType::Int64, false));
        fields.push(Field::new("kind", DataType::Int8, false));
        Arc::new(Schema::new(fields))
    }

    fn write(
        &self,
        side: usize,
        kept: &[(RowRef, i64, u64, RowKind)],
        out: &mut Vec<StateRows>,
    ) -> Result<()> {
        for part in kept.chunks(MAX_BATCH_ROWS) {
            let rows: Vec<RowRef> = part.iter().map(|k| k.0).collect();
            let mut columns = self.sides[side].rows(&rows)?.columns().to_vec();
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|k| k.1))));
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|k| k.2 as i64))));
            columns.push(Arc::new(Int8Array::from_iter_values(part.iter().map(|k| k.3 as i8))));
            let rows = RecordBatch::try_new(self.state_schema(side), columns)?;
            let key_groups = groups_of(&self.keys(side, &rows), self.max_parallelism)?;
            out.push(StateRows { table: TABLES[side].into(), key_groups, rows, deleted: None });
        }
        Ok(())
    }

    fn encoded(&self, side: usize, rows: &[RowRef]) -> Result<arrow::row::Rows> {
        self.codecs[side].encode(self.sides[side].rows(rows)?.columns())
    }

    /// Rows out of bytes, kept anew.
    fn returned(&mut self, side: usize, rows: Vec<&[u8]>) -> Result<Vec<RowRef>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let count = rows.len();
        let columns = self.codecs[side].decode(rows)?;
        let records = RecordBatch::try_new(self.sides[side].schema().clone(), columns)?;
        let segment = self.sides[side].add(records);
        Ok((0..count).map(|row| segment.row(row)).collect())
    }
}

impl Payload for TemporalState {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Group::default);
    }

    /// The bytes of each key.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let of = |group: &u32| &self.groups[*group as usize];
        let waiting: Vec<RowRef> = groups.iter().flat_map(|g| of(g).waiting.iter().map(|w| w.row)).collect();
        let versions: Vec<RowRef> =
            groups.iter().flat_map(|g| of(g).versions.iter().map(|v| v.row)).collect();
        let (left, right) = (self.encoded(0, &waiting)?, self.encoded(1, &versions)?);
        let (mut left, mut right) = (left.iter(), right.iter());
        let mut column = BinaryBuilder::new();
        let mut bytes = Vec::new();
        for group in groups {
            bytes.clear();
            let group = of(group);
            put_number(&mut bytes, group.waiting.len() as i64);
            for (waiting, row) in group.waiting.iter().zip(&mut left) {
                put_number(&mut bytes, waiting.time);
                put_number(&mut bytes, waiting.arrival as i64);
                put_number(&mut bytes, waiting.kind as i64);
                put_number(&mut bytes, i64::from(waiting.matches));
                put_bytes(&mut bytes, row.data());
            }
            for (version, row) in group.versions.iter().zip(&mut right) {
                put_number(&mut bytes, version.time);
                put_number(&mut bytes, i64::from(version.holds));
                put_bytes(&mut bytes, row.data());
            }
            column.append_value(&bytes);
        }
        Ok(vec![Arc::new(column.finish())])
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let column = columns.first().and_then(|c| c.as_binary_opt::<i32>());
        let Some(column) = column else { return Err(Error::internal("Kept rows are not bytes.")) };
        let (mut waiting, mut lefts) = (Vec::new(), Vec::new());
        let (mut versions, mut rights) = (Vec::new(), Vec::new());
        let mut read = |bytes: &mut Bytes<'_>, group: u32| -> Option<()> {
            for _ in 0..bytes.number()? {
                let (time, arrival) = (bytes.number()?, bytes.number()? as u64);
                let (kind, matches) = (kind_of(bytes.number()?), bytes.number()? != 0);
                let row = RowRef::NULLS;
                waiting.push((group, Waiting { time, arrival, row, kind, matches }));
                lefts.push(bytes.bytes()?.to_vec());
            }
            while !bytes.0.is_empty() {
                let (time, holds) = (bytes.number()?, bytes.number()? != 0);
                versions.push((group, Version { time, row: RowRef::NULLS, holds }));
                rights.push(bytes.bytes()?.to_vec());
            }
            Some(())
        };
        for (row, group) in groups.iter().enumerate() {
            if read(&mut Bytes(column.value(row)), *group).is_none() {
                return Err(Error::internal("Kept rows cannot be read back."));
            }
        }
        let rows = self.returned(0, lefts.iter().map(Vec::as_slice).collect())?;
        for ((group, waiting), row) in waiting.into_iter().zip(rows) {
            self.groups[group as usize].waiting.push(Waiting { row, ..waiting });
        }
        let rows = self.returned(1, rights.iter().map(Vec::as_slice).collect())?;
        for ((group, version), row) in versions.into_iter().zip(rows) {
            self.groups[group as usize].versions.push(Version { row, ..version });
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        let gone = std::mem::take(&mut self.groups[group as usize]);
        gone.waiting.iter().for_each(|w| self.sides[0].release(w.row));
        gone.versions.iter().for_each(|v| self.sides[1].release(v.row));
    }

    fn size(&self) -> usize {
        let rows = size_of::<Waiting>();
        self.sides.iter().map(|side| side.size() + side.live_rows() * rows).sum::<usize>()
            + self.groups.len() * size_of::<Group>()
    }

    fn spare(&self, free: usize, _: usize) -> usize {
        self.sides.iter().map(Segments::spare).sum::<usize>() + free * size_of::<Group>()
    }

    fn fresh(&self) -> Result<Self> {
        let [left, right] = &self.sides;
        let mut fresh = Self::new([left.schema(), right.schema()], self.key_columns.clone())?;
        fresh.max_parallelism = self.max_parallelism;
        Ok(fresh)
    }

    fn is_pinned(&self, group: u32) -> bool {
        !self.groups[group as usize].waiting.is_empty()
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
        let (mut waiting, mut versions) = (Vec::new(), Vec::new());
        for group in groups {
            let state = &self.groups[*group as usize];
            waiting.extend(state.waiting.iter().map(|w| (w.row, w.time, w.arrival, w.kind)));
            versions.extend(state.versions.iter().map(|v| (v.row, v.time, 0, v.kind())));
        }
        self.write(0, &waiting, &mut out)?;
        self.write(1, &versions, &mut out)?;
        Ok(Some(out))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        let schema = self.state_schema(0);
        let rows = keys.first().map_or(1, |k| k.len());
        let column = |(at, field): (usize, &Arc<Field>)| -> ArrayRef {
            match self.key_columns[0].iter().position(|key| *key == at) {
                Some(key) => Arc::clone(&keys[key]),
                None if field.is_nullable() => new_null_array(field.data_type(), rows),
                None if *field.data_type() == DataType::Int8 => Arc::new(Int8Array::from(vec![0; rows])),
                None => Arc::new(Int64Array::from(vec![0; rows])),
            }
        };
        let columns: Vec<ArrayRef> = schema.fields().iter().enumerate().map(column).collect();
        let rows = RecordBatch::try_new(schema, columns)?;
        let key_groups = groups_of(&self.keys(0, &rows), self.max_parallelism)?;
        let deleted = Some(BooleanBuffer::new_set(rows.num_rows()));
        Ok(Some(vec![StateRows { table: TABLES[0].into(), key_groups, rows, deleted }]))
    }
}
