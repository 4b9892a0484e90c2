//! Join of each row with the version of a table that held at the row's event time.

use super::join_condition::JoinCondition;
use super::rows::{MAX_BATCH_ROWS, batch, milliseconds};
use super::segments::RowRef;
use super::snapshots::unknown_table;
use super::temporal_state::{TABLES, TemporalState, Version, Waiting, kind_of};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{JoinType, TemporalJoinNode};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int8Type, Int64Type, SchemaRef};

/// Keeps rows of both sides until event time has come to them: then each left row, in the order of arrival, is told with
/// the latest version of its key that is not younger than the row. Of older versions than the watermark only the latest is
/// kept. A version that was deleted joins with nothing. Versions replace each other, so `-U` says nothing.
pub struct TemporalJoin {
    outer: bool,
    store: GroupStore<TemporalState>,
    times: [usize; 2],
    null_safe: Vec<bool>,
    condition: Option<JoinCondition>,
    output: SchemaRef,
    arrivals: u64,
    null_time_rows: u64,
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
        let key_columns =
            [node.keys.iter().map(|k| k.left).collect(), node.keys.iter().map(|k| k.right).collect()];
        Ok(Self {
            outer: node.join_type == JoinType::Left,
            store: GroupStore::new("rows", &types, TemporalState::new([left, right], key_columns)?)?,
            times: [node.left_time, node.right_time],
            null_safe: node.keys.iter().map(|k| k.null_safe).collect(),
            condition: node.condition.as_ref().map(|c| JoinCondition::new(c, [left, right])).transpose()?,
            output,
            arrivals: 0,
            null_time_rows: 0,
        })
    }

    /// `group` is to be looked at when event time comes to `time`.
    fn wake_at(&mut self, group: u32, time: i64) {
        if self.store.wakes_at(group) > time {
            self.store.wake_at(group, time);
        }
    }

    fn wait(&mut self, group: u32, waiting: Waiting) {
        self.store.payload_mut().groups[group as usize].waiting.push(waiting);
        self.wake_at(group, waiting.time);
    }

    /// Adds a version; one of the same time is replaced.
    fn version(&mut self, group: u32, version: Version) {
        let state = self.store.payload_mut();
        let versions = &mut state.groups[group as usize].versions;
        match versions.binary_search_by_key(&version.time, |v| v.time) {
            Ok(at) => {
                let old = std::mem::replace(&mut versions[at], version);
                state.sides[1].release(old.row);
            }
            Err(at) => versions.insert(at, version),
        }
        self.wake_at(group, version.time);
    }

    /// Rows of a key whose time has come, and versions that no row will ask for.
    fn due(&mut self, group: u32, watermark: i64, found: &mut Vec<Found>, gone: &mut Vec<RowRef>) {
        let state = &mut self.store.payload_mut().groups[group as usize];
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
                let own = self.store.payload().sides[0].take(&left, condition.columns(0))?;
                let other = self.store.payload().sides[1].take(&right, condition.columns(1))?;
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
            for (side, rows) in self.store.payload().sides.iter().zip([left, right]) {
                let all: Vec<usize> = (0..side.schema().fields().len()).collect();
                columns.extend(side.take(&rows, &all)?);
            }
            let records = batch(&self.output, columns, part.len())?;
            let kinds: Vec<RowKind> = part.iter().map(|f| f.waiting.kind).collect();
            out.emit(ChangeBatch::new(records, kinds))?;
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

impl Operator for TemporalJoin {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().max_parallelism = context.max_parallelism;
        self.store.open(context.store());
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
        let schema = self.store.payload().sides[input].schema().clone();
        let columns = input_batch.records().columns().to_vec();
        let records = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let times = milliseconds(records.column(self.times[input]))?;
        let keys = self.store.payload().keys(input, &records);
        let mut groups = Vec::new();
        self.store.touch(&keys, rows, context.now_ms, &mut groups)?;
        let matching = self.matching(&keys, rows);
        let segment = self.store.payload_mut().sides[input].add(records);
        for (row, group) in groups.iter().copied().enumerate() {
            let kind = input_batch.kind(row);
            let kept = segment.row(row);
            if times.is_null(row) {
                self.null_time_rows += 1;
                self.store.payload_mut().sides[input].release(kept);
            } else if input == 0 {
                let (time, arrival, matches) = (times.value(row), self.arrivals, matching[row]);
                self.arrivals += 1;
                self.wait(group, Waiting { time, arrival, row: kept, kind, matches });
            } else if kind == RowKind::UpdateBefore || !matching[row] {
                self.store.payload_mut().sides[input].release(kept);
            } else {
                let version = Version { time: times.value(row), row: kept, holds: kind.is_addition() };
                self.version(group, version);
            }
        }
        self.release(groups)?;
        self.store.settle(context.now_ms)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        loop {
            let groups = self.store.wake(watermark.0)?;
            if groups.is_empty() {
                return Ok(());
            }
            self.store.mark(&groups, context.now_ms)?;
            let (mut found, mut gone) = (Vec::new(), Vec::new());
            groups.iter().for_each(|group| self.due(*group, watermark.0, &mut found, &mut gone));
            found.sort_by_key(|f| f.waiting.arrival);
            self.emit(&mut found, out)?;
            let [left, right] = &mut self.store.payload_mut().sides;
            found.iter().for_each(|f| left.release(f.waiting.row));
            gone.into_iter().for_each(|row| right.release(row));
            self.release(groups)?;
            self.store.settle(context.now_ms)?;
        }
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        while let Some(found) = state.next_rows()? {
            let Some(side) = TABLES.iter().position(|n| *n == found.table) else {
                return Err(unknown_table(&found.table, "A temporal join"));
            };
            let schema = self.store.payload().sides[side].schema().clone();
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
            let keys = self.store.payload().keys(side, &records);
            let mut groups = Vec::new();
            self.store.put_back(&keys, rows, &mut groups)?;
            if found.deleted.is_some() {
                self.store.settle_put_back(&groups)?;
                continue;
            }
            let matching = self.matching(&keys, rows);
            let segment = self.store.payload_mut().sides[side].add(records);
            for (at, group) in groups.into_iter().enumerate() {
                let (time, row) = (times.value(at), segment.row(at));
                let kind = kind_of(i64::from(kinds.value(at)));
                if side == 0 {
                    let arrival = arrivals.value(at) as u64;
                    self.arrivals = self.arrivals.max(arrival + 1);
                    self.wait(group, Waiting { time, arrival, row, kind, matches: matching[at] });
                } else {
                    self.version(group, Version { time, row, holds: kind.is_addition() });
                }
            }
            self.store.settle_put_back(&[])?;
        }
        Ok(())
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            state_bytes: self.store.size() as u64,
            null_time_rows: self.null_time_rows,
            ..OperatorStatus::default()
        }
    }
}

impl TemporalJoin {
    /// Forgets keys that nothing is kept of.
    fn release(&mut self, groups: Vec<u32>) -> Result<()> {
        let kept = &self.store.payload().groups;
        let unused: Vec<u32> = groups.into_iter().filter(|g| kept[*g as usize].is_empty()).collect();
        self.store.remove(unused)
    }
}
