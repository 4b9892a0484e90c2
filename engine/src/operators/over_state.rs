//! What OVER keeps of each partition, as the payload of a `GroupStore`.

use super::aggregates::{self, Accumulators, Aggregates};
use super::kept_groups::{Bytes, put_bytes, put_number};
use super::kept_rows::{self, key_rows};
use super::row_codec::{RowBytes, RowCodec};
use super::rows::MAX_BATCH_ROWS;
use crate::error::{Error, Result};
use crate::plan::Frame;
use crate::state::{Payload, SnapshotKind, StateRows};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows that wait for the watermark.
pub(super) const PENDING: &str = "pending";
/// Rows that frames and LAG look back at.
pub(super) const RETAINED: &str = "retained";
/// Counters and accumulators of each partition.
pub(super) const PARTITIONS: &str = "partitions";
/// Columns beside a row in checkpoints: its number, or when it came, and its time.
const NUMBERS: [&str; 2] = ["$sequence", "$time"];

/// Bytes that a kept row takes beside its own.
const BESIDE_BYTES: usize = size_of::<(i64, u64, RowBytes)>() + 16;

/// Aggregates over one frame.
pub(super) struct FrameCalls {
    pub(super) frame: Frame,
    pub(super) aggregates: Arc<Aggregates>,
    pub(super) accumulators: Accumulators,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Partition {
    /// Rows that wait for the watermark: time, when it came, row.
    pub(super) pending: Vec<(i64, u64, RowBytes)>,
    /// Rows that have been emitted and may be looked at again, oldest first.
    pub(super) retained: VecDeque<(i64, RowBytes)>,
    /// Number of the oldest retained row.
    pub(super) first: u64,
    /// Rows so far: the number of the next one.
    pub(super) next: u64,
    /// Time of the last row.
    pub(super) last_time: Option<i64>,
    /// For each frame the number of its first row.
    pub(super) starts: Vec<u64>,
}

impl Partition {
    /// Whether nothing was ever emitted and nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 0 && self.pending.is_empty()
    }

    fn size(&self) -> usize {
        let rows = self.pending.iter().map(|(_, _, row)| row).chain(self.retained.iter().map(|(_, row)| row));
        rows.map(|row| row.len() + BESIDE_BYTES).sum()
    }

    fn write(&self, into: &mut Vec<u8>) {
        for number in [self.first as i64, self.next as i64, self.last_time.unwrap_or(i64::MIN)] {
            put_number(into, number);
        }
        self.starts.iter().for_each(|start| put_number(into, *start as i64));
        put_number(into, self.pending.len() as i64);
        for (time, sequence, row) in &self.pending {
            put_number(into, *time);
            put_number(into, *sequence as i64);
            put_bytes(into, row);
        }
        for (time, row) in &self.retained {
            put_number(into, *time);
            put_bytes(into, row);
        }
    }

    fn read(from: &mut Bytes<'_>, frames: usize) -> Option<Self> {
        let (first, next) = (from.number()? as u64, from.number()? as u64);
        let last_time = Some(from.number()?).filter(|t| *t > i64::MIN);
        let starts = (0..frames).map(|_| from.number().map(|n| n as u64)).collect::<Option<_>>()?;
        let (mut pending, mut retained) = (Vec::new(), VecDeque::new());
        for _ in 0..from.number()? {
            pending.push((from.number()?, from.number()? as u64, Arc::from(from.bytes()?)));
        }
        while !from.0.is_empty() {
            retained.push_back((from.number()?, Arc::from(from.bytes()?)));
        }
        Some(Self { pending, retained, first, next, last_time, starts })
    }
}

/// Partitions and the accumulators of all frames.
pub(super) struct OverState {
    pub(super) partitions: Vec<Partition>,
    pub(super) frames: Vec<FrameCalls>,
    bytes: usize,
    input: SchemaRef,
    partition: Vec<usize>,
    codec: Arc<RowCodec>,
    pub(super) max_parallelism: usize,
}

impl OverState {
    /// No partitions, which are by the columns `partition` of `input`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub(super) fn new(frames: Vec<FrameCalls>, input: &SchemaRef, partition: &[usize]) -> Result<Self> {
        Ok(Self {
            partitions: Vec::new(),
            frames,
            bytes: 0,
            input: input.clone(),
            partition: partition.to_vec(),
            codec: Arc::new(RowCodec::of_schema(input)?),
            max_parallelism: 1,
        })
    }

    /// A row is kept.
    pub(super) fn kept(&mut self, row: &RowBytes) {
        self.bytes += row.len() + BESIDE_BYTES;
    }

    /// A row that was kept is not any more.
    pub(super) fn gone(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes + BESIDE_BYTES);
    }

    fn write_rows(
        &self,
        table: &str,
        rows: &[(&RowBytes, i64, i64)],
        out: &mut Vec<StateRows>,
    ) -> Result<()> {
        let schema = kept_rows::schema(&self.input, &NUMBERS);
        for part in rows.chunks(MAX_BATCH_ROWS) {
            let mut columns = self.codec.decode(part.iter().map(|(r, ..)| r.as_ref()))?;
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, s, _)| *s))));
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, _, t)| *t))));
            let records = kept_rows::records(&schema, &columns, part.len())?;
            out.push(key_rows(table, records, &self.partition, self.max_parallelism)?);
        }
        Ok(())
    }

    /// The rest of the columns of table `PARTITIONS`, behind the keys.
    fn counters(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        let partitions: Vec<&Partition> = groups.iter().map(|g| &self.partitions[*g as usize]).collect();
        let mut numbers = |of: &dyn Fn(&Partition) -> Option<i64>| {
            columns.push(Arc::new(partitions.iter().map(|p| of(p)).collect::<Int64Array>()) as ArrayRef);
        };
        numbers(&|p| Some(p.first as i64));
        numbers(&|p| Some(p.next as i64));
        numbers(&|p| p.last_time);
        for index in 0..self.frames.len() {
            numbers(&|p| p.starts.get(index).map(|s| *s as i64));
        }
        for frame in &self.frames {
            columns.extend(aggregates::states(&frame.accumulators, groups)?);
        }
        Ok(columns)
    }

    fn of_partitions(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<StateRows> {
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true))
            .collect();
        let records = kept_rows::records(&Arc::new(Schema::new(fields)), &columns, rows)?;
        let keys: Vec<usize> = (0..self.partition.len()).collect();
        key_rows(PARTITIONS, records, &keys, self.max_parallelism)
    }

    /// Takes back columns made by `counters`.
    ///
    /// Errors: there are too few.
    pub(super) fn put_back(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let few = || Error::internal("OVER: state with too few columns.");
        let counters = columns.get(..3 + self.frames.len()).ok_or_else(few)?;
        let number = |i: usize, row: usize| {
            let column = counters[i].as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        for (row, group) in groups.iter().enumerate() {
            let partition = &mut self.partitions[*group as usize];
            partition.first = number(0, row).unwrap_or(0) as u64;
            partition.next = number(1, row).unwrap_or(0) as u64;
            partition.last_time = number(2, row);
            for (index, start) in partition.starts.iter_mut().enumerate() {
                *start = number(3 + index, row).unwrap_or(0) as u64;
            }
        }
        self.merge_frames(&columns[3 + self.frames.len()..], groups)
    }

    fn merge_frames(&mut self, mut states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        for frame in &mut self.frames {
            for accumulator in &mut frame.accumulators {
                let width = accumulator.state(&[])?.len();
                let Some((own, rest)) = states.split_at_checked(width) else {
                    return Err(Error::internal("OVER: state with too few columns."));
                };
                accumulator.merge(own, groups)?;
                states = rest;
            }
        }
        Ok(())
    }
}

impl Payload for OverState {
    fn resize(&mut self, groups: usize) {
        let fresh = Partition { starts: vec![0; self.frames.len()], ..Partition::default() };
        self.partitions.resize(groups, fresh);
        for frame in &mut self.frames {
            aggregates::resize(&mut frame.accumulators, groups);
        }
    }

    /// The bytes of each partition, then the states of the accumulators.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let bytes = groups.iter().map(|group| {
            let mut bytes = Vec::new();
            self.partitions[*group as usize].write(&mut bytes);
            bytes
        });
        let mut columns: Vec<ArrayRef> = vec![Arc::new(BinaryArray::from_iter_values(bytes))];
        for frame in &self.frames {
            columns.extend(aggregates::states(&frame.accumulators, groups)?);
        }
        Ok(columns)
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let Some((Some(bytes), states)) = columns.split_first().map(|(c, s)| (c.as_binary_opt::<i32>(), s))
        else {
            return Err(Error::internal("Kept rows are not bytes."));
        };
        for (row, group) in groups.iter().enumerate() {
            let Some(read) = Partition::read(&mut Bytes(bytes.value(row)), self.frames.len()) else {
                return Err(Error::internal("Kept rows cannot be read back."));
            };
            self.bytes += read.size();
            self.partitions[*group as usize] = read;
        }
        self.merge_frames(states, groups)
    }

    fn clear(&mut self, group: u32) {
        let fresh = Partition { starts: vec![0; self.frames.len()], ..Partition::default() };
        let gone = std::mem::replace(&mut self.partitions[group as usize], fresh);
        self.bytes = self.bytes.saturating_sub(gone.size());
        for frame in &mut self.frames {
            frame.accumulators.iter_mut().for_each(|a| a.clear(group));
        }
    }

    fn size(&self) -> usize {
        let accumulators: usize = self.frames.iter().map(|f| aggregates::size(&f.accumulators)).sum();
        self.bytes + accumulators + self.partitions.len() * (size_of::<Partition>() + self.frames.len() * 8)
    }

    fn spare(&self, free: usize, groups: usize) -> usize {
        ((self.size() - self.bytes) as u128 * free as u128).checked_div(groups as u128).unwrap_or(0) as usize
    }

    fn fresh(&self) -> Result<Self> {
        let frame = |f: &FrameCalls| {
            let (aggregates, accumulators) = (f.aggregates.clone(), f.aggregates.make()?);
            Ok(FrameCalls { frame: f.frame, aggregates, accumulators })
        };
        let frames = self.frames.iter().map(frame).collect::<Result<_>>()?;
        let mut fresh = Self::new(frames, &self.input, &self.partition)?;
        fresh.max_parallelism = self.max_parallelism;
        Ok(fresh)
    }

    fn is_pinned(&self, group: u32) -> bool {
        !self.partitions[group as usize].pending.is_empty()
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
        let (mut pending, mut retained) = (Vec::new(), Vec::new());
        for group in groups {
            let partition = &self.partitions[*group as usize];
            pending.extend(partition.pending.iter().map(|(time, at, row)| (row, *at as i64, *time)));
            let rows = partition.retained.iter().zip(partition.first..);
            retained.extend(rows.map(|((time, row), number)| (row, number as i64, *time)));
        }
        self.write_rows(PENDING, &pending, &mut out)?;
        self.write_rows(RETAINED, &retained, &mut out)?;
        let columns = keys.iter().cloned().chain(self.counters(groups)?).collect();
        out.push(self.of_partitions(columns, groups.len())?);
        Ok(Some(out))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        let rows = keys.first().map_or(1, |k| k.len());
        let nulls = self.counters(&[])?.into_iter().map(|c| new_null_array(c.data_type(), rows));
        let mut deleted = self.of_partitions(keys.iter().cloned().chain(nulls).collect(), rows)?;
        deleted.deleted = Some(BooleanBuffer::new_set(rows));
        Ok(Some(vec![deleted]))
    }
}
