//! Join of each row with the version of a table that held at the row's event time.

use super::join_condition::JoinCondition;
use super::kept_rows::KeptRows;
use super::rows::{MAX_BATCH_ROWS, batch, milliseconds};
use super::segments::{RowRef, Segments};
use super::snapshots::{groups_of, unknown_table};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{JoinType, TemporalJoinNode};
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keeps rows of both sides until event time has come to them: then each left row, in the order of arrival, is told with
/// the latest version of its key that is not younger than the row. Of older versions than the watermark only the latest is
/// kept. A version that was deleted joins with nothing. Versions replace each other, so `-U` says nothing.
pub struct TemporalJoin {
    outer: bool,
    sides: [Segments; 2],
    key_columns: [Vec<usize>; 2],
    times: [usize; 2],
    keys: KeyTable,
    null_safe: Vec<bool>,
    condition: Option<JoinCondition>,
    output: SchemaRef,
    groups: Vec<Group>,
    /// The least time of each key that something is to be done at.
    timers: BTreeSet<(i64, u32)>,
    arrivals: u64,
    max_parallelism: usize,
    null_time_rows: u64,
    common: KeptRows,
}

/// What is kept of a key.
#[derive(Default)]
struct Group {
    /// Left rows, in the order of arrival.
    waiting: Vec<Waiting>,
    /// Versions, by time; one at a time.
    versions: Vec<Version>,
    timer: Option<i64>,
    /// Processing time of its last row of either side.
    touched_ms: i64,
}

#[derive(Clone, Copy)]
struct Waiting {
    time: i64,
    arrival: u64,
    row: RowRef,
    kind: RowKind,
    matches: bool,
}

#[derive(Clone, Copy)]
struct Version {
    time: i64,
    row: RowRef,
    holds: bool,
}

/// A left row and the version that was found for it.
struct Found {
    waiting: Waiting,
    version: Option<RowRef>,
}

impl TemporalJoin {
    /// Columns of `output`: left columns, then right columns.
    ///
    /// Errors: a key of a type that cannot be a key.
    pub fn new(node: &TemporalJoinNode, inputs: &[SchemaRef], output: SchemaRef) -> Result<Self> {
        let [left, right] = inputs else {
            return Err(Error::internal("A temporal join has two inputs."));
        };
        let types: Vec<_> = node.keys.iter().map(|k| left.field(k.left).data_type().clone()).collect();
        Ok(Self {
            outer: node.join_type == JoinType::Left,
            sides: [Segments::new(left.clone()), Segments::new(right.clone())],
            key_columns: [
                node.keys.iter().map(|k| k.left).collect(),
                node.keys.iter().map(|k| k.right).collect(),
            ],
            times: [node.left_time, node.right_time],
            keys: KeyTable::new(&types)?,
            null_safe: node.keys.iter().map(|k| k.null_safe).collect(),
            condition: node.condition.as_ref().map(|c| JoinCondition::new(c, [left, right])).transpose()?,
            output,
            groups: Vec::new(),
            timers: BTreeSet::new(),
            arrivals: 0,
            max_parallelism: 1,
            null_time_rows: 0,
            common: KeptRows::default(),
        })
    }

    fn key_columns(&self, input: usize, records: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns[input].iter().map(|k| Arc::clone(records.column(*k))).collect()
    }

    fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let mut groups = Vec::new();
        self.keys.intern(keys, rows, &mut groups)?;
        if self.keys.slots() > self.groups.len() {
            self.groups.resize_with(self.keys.slots(), Group::default);
        }
        Ok(groups)
    }

    fn wake_at(&mut self, group: u32, time: i64) {
        let timer = &mut self.groups[group as usize].timer;
        if timer.is_some_and(|t| t <= time) {
            return;
        }
        if let Some(old) = timer.replace(time) {
            self.timers.remove(&(old, group));
        }
        self.timers.insert((time, group));
    }

    fn wait(&mut self, group: u32, waiting: Waiting) {
        self.groups[group as usize].waiting.push(waiting);
        self.wake_at(group, waiting.time);
    }

    /// Adds a version; one of the same time is replaced.
    fn version(&mut self, group: u32, version: Version) {
        let versions = &mut self.groups[group as usize].versions;
        match versions.binary_search_by_key(&version.time, |v| v.time) {
            Ok(at) => {
                let old = std::mem::replace(&mut versions[at], version);
                self.sides[1].release(old.row);
            }
            Err(at) => versions.insert(at, version),
        }
        self.wake_at(group, version.time);
    }

    /// Rows of a key whose time has come, and versions that no row will ask for.
    fn due(&mut self, group: u32, watermark: i64, found: &mut Vec<Found>, gone: &mut Vec<RowRef>) {
        let state = &mut self.groups[group as usize];
        state.timer = None;
        let mut left = i64::MAX;
        state.waiting.retain(|waiting| {
            if waiting.time > watermark {
                left = left.min(waiting.time);
                return true;
            }
            let at = state.versions.partition_point(|v| v.time <= waiting.time);
            let version = at.checked_sub(1).map(|i| state.versions[i]);
            let version = version.filter(|v| v.holds && waiting.matches).map(|v| v.row);
            found.push(Found { waiting: *waiting, version });
            false
        });
        let passed = state.versions.partition_point(|v| v.time <= watermark);
        if passed > 1 {
            gone.extend(state.versions.drain(..passed - 1).map(|v| v.row));
        }
        if left < i64::MAX {
            self.wake_at(group, left);
        }
    }

    /// Tests the condition and passes on what was found.
    fn emit(&self, found: &mut [Found], out: &mut dyn Collector) -> Result<()> {
        if let Some(condition) = &self.condition {
            let pairs: Vec<usize> = (0..found.len()).filter(|i| found[*i].version.is_some()).collect();
            for part in pairs.chunks(MAX_BATCH_ROWS) {
                let left: Vec<RowRef> = part.iter().map(|i| found[*i].waiting.row).collect();
                let right: Vec<RowRef> = part.iter().filter_map(|i| found[*i].version).collect();
                let own = self.sides[0].take(&left, condition.columns(0))?;
                let other = self.sides[1].take(&right, condition.columns(1))?;
                let mask = condition.test(0, own, other, part.len())?;
                for (at, i) in part.iter().enumerate() {
                    if !mask.value(at) {
                        found[*i].version = None;
                    }
                }
            }
        }
        let told: Vec<&Found> = found.iter().filter(|f| self.outer || f.version.is_some()).collect();
        for part in told.chunks(MAX_BATCH_ROWS) {
            let left: Vec<RowRef> = part.iter().map(|f| f.waiting.row).collect();
            let right: Vec<RowRef> = part.iter().map(|f| f.version.unwrap_or(RowRef::NULLS)).collect();
            let mut columns = Vec::with_capacity(self.output.fields().len());
            for (side, rows) in self.sides.iter().zip([left, right]) {
                let all: Vec<usize> = (0..side.schema().fields().len()).collect();
                columns.extend(side.take(&rows, &all)?);
            }
            let records = batch(&self.output, columns, part.len())?;
            let kinds: Vec<RowKind> = part.iter().map(|f| f.waiting.kind).collect();
            out.emit(ChangeBatch::new(records, kinds))?;
        }
        Ok(())
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

    fn write(&self, side: usize, kept: &[(RowRef, i64, u64, RowKind)], out: &mut StateWriter) -> Result<()> {
        let schema = self.state_schema(side);
        for part in kept.chunks(MAX_BATCH_ROWS) {
            let rows: Vec<RowRef> = part.iter().map(|k| k.0).collect();
            let records = self.sides[side].rows(&rows)?;
            let key_groups = groups_of(&self.key_columns(side, &records), self.max_parallelism)?;
            let mut columns = records.columns().to_vec();
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|k| k.1))));
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|k| k.2 as i64))));
            columns.push(Arc::new(Int8Array::from_iter_values(part.iter().map(|k| k.3 as i8))));
            let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
            out.rows(StateRows { table: TABLES[side].into(), key_groups, rows, deleted: None });
        }
        Ok(())
    }

    /// For each row whether no NULL in a key keeps it from matching.
    fn matching(&self, keys: &[ArrayRef], rows: usize) -> Vec<bool> {
        let mut matching = vec![true; rows];
        for (key, _) in keys.iter().zip(&self.null_safe).filter(|(_, safe)| !**safe) {
            if let Some(nulls) = key.logical_nulls() {
                matching.iter_mut().enumerate().for_each(|(row, m)| *m &= nulls.is_valid(row));
            }
        }
        matching
    }
}

const TABLES: [&str; 2] = ["left", "versions"];

impl Operator for TemporalJoin {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.max_parallelism = context.max_parallelism;
        self.common.open(context);
        Ok(())
    }

    fn process(
        &mut self,
        input: usize,
        input_batch: ChangeBatch,
        context: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        let rows = input_batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = self.sides[input].schema().clone();
        let columns = input_batch.records().columns().to_vec();
        let records = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let times = milliseconds(records.column(self.times[input]))?;
        let keys = self.key_columns(input, &records);
        let groups = self.intern(&keys, rows)?;
        let matching = self.matching(&keys, rows);
        let segment = self.sides[input].add(records);
        for (row, group) in groups.into_iter().enumerate() {
            let kind = input_batch.kind(row);
            let kept = segment.row(row);
            self.groups[group as usize].touched_ms = context.now_ms;
            if times.is_null(row) {
                self.null_time_rows += 1;
                self.sides[input].release(kept);
            } else if input == 0 {
                let (time, arrival, matches) = (times.value(row), self.arrivals, matching[row]);
                self.arrivals += 1;
                self.wait(group, Waiting { time, arrival, row: kept, kind, matches });
            } else if kind == RowKind::UpdateBefore || !matching[row] {
                self.sides[input].release(kept);
            } else {
                let version = Version { time: times.value(row), row: kept, holds: kind.is_addition() };
                self.version(group, version);
            }
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let (mut found, mut gone, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        while let Some((time, group)) = self.timers.first().copied().filter(|t| t.0 <= watermark.0) {
            self.timers.remove(&(time, group));
            self.due(group, watermark.0, &mut found, &mut gone);
            groups.push(group);
        }
        found.sort_by_key(|f| f.waiting.arrival);
        self.emit(&mut found, out)?;
        found.iter().for_each(|f| self.sides[0].release(f.waiting.row));
        gone.into_iter().for_each(|row| self.sides[1].release(row));
        let unused = |g: &u32| {
            let state = &self.groups[*g as usize];
            state.waiting.is_empty() && state.versions.is_empty()
        };
        let groups: Vec<u32> = groups.into_iter().filter(unused).collect();
        self.keys.remove(groups);
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.common.next_sweep_ms()
    }

    /// Forgets the versions of keys that had no row for as long as state lives.
    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        if !self.common.sweep_is_due(context.now_ms) {
            return Ok(());
        }
        let is_old = |g: &u32| {
            let state = &self.groups[*g as usize];
            state.waiting.is_empty() && self.common.expired(state.touched_ms, context.now_ms)
        };
        let old: Vec<u32> = self.keys.groups().filter(is_old).collect();
        for group in &old {
            let gone = std::mem::take(&mut self.groups[*group as usize]);
            if let Some(time) = gone.timer {
                self.timers.remove(&(time, *group));
            }
            gone.versions.into_iter().for_each(|version| self.sides[1].release(version.row));
        }
        self.keys.remove(old);
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let (mut waiting, mut versions) = (Vec::new(), Vec::new());
        for group in self.keys.groups() {
            let state = &self.groups[group as usize];
            waiting.extend(state.waiting.iter().map(|w| (w.row, w.time, w.arrival, w.kind)));
            let kind = |v: &Version| if v.holds { RowKind::Insert } else { RowKind::Delete };
            versions.extend(state.versions.iter().map(|v| (v.row, v.time, 0, kind(v))));
        }
        waiting.sort_by_key(|w| w.2);
        self.write(0, &waiting, out)?;
        self.write(1, &versions, out)?;
        Ok(SnapshotProgress::Done)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        while let Some(found) = state.next_rows()? {
            let Some(side) = TABLES.iter().position(|n| *n == found.table) else {
                return Err(unknown_table(&found.table, "A temporal join"));
            };
            let schema = self.sides[side].schema().clone();
            let (width, rows) = (schema.fields().len(), found.rows.num_rows());
            if found.rows.num_columns() != width + 3 {
                return Err(Error::internal("A temporal join's state has other columns than its input."));
            }
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let columns = found.rows.columns()[..width].to_vec();
            let records = RecordBatch::try_new_with_options(schema, columns, &options)?;
            let times = found.rows.column(width).as_primitive::<Int64Type>();
            let arrivals = found.rows.column(width + 1).as_primitive::<Int64Type>();
            let kinds = found.rows.column(width + 2).as_primitive::<Int8Type>();
            let keys = self.key_columns(side, &records);
            let groups = self.intern(&keys, rows)?;
            let matching = self.matching(&keys, rows);
            let segment = self.sides[side].add(records);
            for (at, group) in groups.into_iter().enumerate() {
                let (time, row) = (times.value(at), segment.row(at));
                let kind = match kinds.value(at) {
                    1 => RowKind::UpdateBefore,
                    2 => RowKind::UpdateAfter,
                    3 => RowKind::Delete,
                    _ => RowKind::Insert,
                };
                if side == 0 {
                    let arrival = arrivals.value(at) as u64;
                    self.arrivals = self.arrivals.max(arrival + 1);
                    self.wait(group, Waiting { time, arrival, row, kind, matches: matching[at] });
                } else {
                    self.version(group, Version { time, row, holds: kind.is_addition() });
                }
            }
        }
        Ok(())
    }

    fn status(&self) -> OperatorStatus {
        let rows: usize = self.sides.iter().map(Segments::size).sum();
        OperatorStatus {
            state_bytes: (rows + self.keys.size() + self.groups.capacity() * size_of::<Group>()) as u64,
            null_time_rows: self.null_time_rows,
            ..OperatorStatus::default()
        }
    }
}
