//! OVER in a stream: functions over the rows before each row, by event time or as rows come.

use super::aggregates::Aggregates;
use super::kept_rows;
use super::over_batch::OverBatch;
use super::over_state::{FrameCalls, OverState, PARTITIONS, PENDING, Partition, RETAINED};
use super::row_codec::{RowBytes, RowCodec};
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, milliseconds};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::{AggregateCall, Frame, FrameBound, OverNode, TimeAttribute};
use crate::state::accumulator::Changes;
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::sync::Arc;

/// The operator of `node`: in batch mode one that waits for the end.
///
/// Errors: a function or a type that cannot be run.
pub fn over(node: &OverNode, input: SchemaRef, output: SchemaRef) -> Result<Box<dyn Operator>> {
    Ok(match node.time {
        None => Box::new(OverBatch::new(node, input, output)?),
        Some(time) => Box::new(Over::new(node, time, input, output)?),
    })
}

/// Emits each row with its values: by event time when the watermark comes to it, in the order of time; by processing
/// time at once.
///
/// Late rows are dropped and counted. As in Flink, a row is late for a frame without beginning when the watermark has
/// passed it, and for a bounded one when a row of its partition at or after its time has been emitted.
struct Over {
    time: TimeAttribute,
    partition: Vec<usize>,
    input: SchemaRef,
    output: SchemaRef,
    rows: RowCodec,
    store: GroupStore<OverState>,
    /// For each call of the node, where its value comes from.
    values: Vec<Value>,
    /// Most rows that LAG looks back.
    most_lag: u64,
    /// Whether all frames end their beginning somewhere.
    bounded: bool,
    sequence: u64,
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
}

/// Where a call's value comes from.
enum Value {
    /// Aggregate `call` of `frames[frame]`.
    Aggregate { frame: usize, call: usize },
    /// The row's number.
    RowNumber,
    /// RANK and DENSE_RANK, which in a stream are both the number of the last row of the same time.
    PeerNumber,
    /// `column` of the row `offset` rows before the last one of the same time; `default` where there is none.
    Lag { column: usize, offset: u64, default: Option<usize> },
}

/// A row that is about to be emitted.
struct Due {
    group: u32,
    time: i64,
    row: RowBytes,
}

/// Whole rows before, for a frame that is bounded so.
fn bounded_rows(frame: Frame) -> Option<u64> {
    match (frame.rows, frame.start) {
        (true, FrameBound::Preceding(n)) => Some(n.max(0) as u64),
        _ => None,
    }
}

fn bounded_range(frame: Frame) -> Option<i64> {
    match (frame.rows, frame.start) {
        (false, FrameBound::Preceding(n)) => Some(n),
        _ => None,
    }
}

impl Over {
    fn new(node: &OverNode, time: TimeAttribute, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let mut frames: Vec<(Frame, Vec<AggregateCall>)> = Vec::new();
        let mut values = Vec::new();
        let mut most_lag = 0;
        for over in &node.calls {
            let call = &over.call;
            values.push(match call.function.as_str() {
                "row_number" => Value::RowNumber,
                "rank" | "dense_rank" => Value::PeerNumber,
                "lag" => {
                    let Some(column) = call.arguments.first() else {
                        return Err(Error::internal("LAG without an argument."));
                    };
                    let offset = over.offset;
                    most_lag = most_lag.max(offset);
                    Value::Lag { column: *column, offset, default: call.arguments.get(1).copied() }
                }
                "lead" | "ntile" | "percent_rank" | "cume_dist" => {
                    return Err(Error::user(format!(
                        "{} Function is not supported in stream mode.",
                        call.function.to_uppercase()
                    )));
                }
                _ => {
                    let frame = match frames.iter().position(|(f, _)| *f == over.frame) {
                        Some(known) => known,
                        None => {
                            frames.push((over.frame, Vec::new()));
                            frames.len() - 1
                        }
                    };
                    frames[frame].1.push(call.clone());
                    Value::Aggregate { frame, call: frames[frame].1.len() - 1 }
                }
            });
        }
        let frames: Vec<FrameCalls> = frames
            .into_iter()
            .map(|(frame, calls)| {
                let retracts = frame.start != FrameBound::Unbounded;
                let aggregates = Aggregates::new(&calls, &input, retracts)?;
                let accumulators = aggregates.make()?;
                Ok(FrameCalls { frame, aggregates: Arc::new(aggregates), accumulators })
            })
            .collect::<Result<_>>()?;
        let types: Vec<DataType> =
            node.partition.iter().map(|c| input.field(*c).data_type().clone()).collect();
        let bounded = !frames.is_empty() && frames.iter().all(|f| f.frame.start != FrameBound::Unbounded);
        Ok(Self {
            time,
            partition: node.partition.clone(),
            rows: RowCodec::of_schema(&input)?,
            store: GroupStore::new(PARTITIONS, &types, OverState::new(frames, &input, &node.partition)?)?,
            values,
            most_lag,
            bounded,
            sequence: 0,
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            input,
            output,
        })
    }

    fn keys(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.partition.iter().map(|c| Arc::clone(records.column(*c))).collect()
    }

    /// Emits `due`, which is in order.
    fn emit(&mut self, due: &[Due], out: &mut dyn Collector) -> Result<()> {
        for part in chunks_of_times(due) {
            let columns = self.values_of(part)?;
            let mut all = self.rows.decode(part.iter().map(|d| d.row.as_ref()))?;
            all.extend(columns);
            out.emit(ChangeBatch::inserts(batch(&self.output, all, part.len())?))?;
        }
        Ok(())
    }

    /// A column for each call. `due` holds all rows of each time that it holds.
    fn values_of(&mut self, due: &[Due]) -> Result<Vec<ArrayRef>> {
        let mut row_numbers = Vec::with_capacity(due.len());
        for row in due {
            let state = self.store.payload_mut();
            state.kept(&row.row);
            let partition = &mut state.partitions[row.group as usize];
            partition.retained.push_back((row.time, Arc::clone(&row.row)));
            partition.next += 1;
            partition.last_time = Some(row.time);
            row_numbers.push(partition.next as i64);
        }
        // By event time the rows of one time are taken in together.
        let mut peer_numbers = row_numbers.clone();
        if self.time != TimeAttribute::Proctime {
            let mut last: std::collections::HashMap<u32, (i64, i64)> = std::collections::HashMap::new();
            for (row, number) in due.iter().zip(&mut peer_numbers).rev() {
                let known = last.entry(row.group).or_insert((row.time, *number));
                if known.0 == row.time {
                    *number = known.1;
                } else {
                    *known = (row.time, *number);
                }
            }
        }
        let mut aggregated: Vec<Vec<ArrayRef>> = Vec::new();
        for index in 0..self.store.payload().frames.len() {
            aggregated.push(self.frame_values(index, due, &row_numbers)?);
        }
        let mut columns: Vec<ArrayRef> = Vec::new();
        for value in &self.values {
            columns.push(match value {
                Value::Aggregate { frame, call } => Arc::clone(&aggregated[*frame][*call]),
                Value::RowNumber => Arc::new(Int64Array::from(row_numbers.clone())),
                Value::PeerNumber => Arc::new(Int64Array::from(peer_numbers.clone())),
                Value::Lag { column, offset, default } => {
                    let rows = due.iter().zip(&peer_numbers).map(|(d, number)| {
                        let partition = &self.store.payload().partitions[d.group as usize];
                        let wanted = (*number as u64 - 1).checked_sub(*offset)?;
                        let at = wanted.checked_sub(partition.first)?;
                        partition.retained.get(at as usize).map(|(_, row)| row)
                    });
                    let rows: Vec<Option<&RowBytes>> = rows.collect();
                    neighbours(&self.rows, due.iter().map(|d| &d.row), &rows, *column, *default)?
                }
            });
        }
        self.forget(due);
        Ok(columns)
    }

    /// The values of the aggregates over frame `index`.
    fn frame_values(&mut self, index: usize, due: &[Due], numbers: &[i64]) -> Result<Vec<ArrayRef>> {
        let OverState { partitions, frames, .. } = self.store.payload_mut();
        let frame = frames[index].frame;
        let mut rows: Vec<RowBytes> = Vec::new();
        let mut groups: Vec<u32> = Vec::new();
        let mut signs: Vec<i8> = Vec::new();
        let mut results: Vec<u32> = vec![0; due.len()];
        // Takes back the rows that leave the frame of a row with this number and time.
        let leave = |partition: &mut Partition,
                     group: u32,
                     number: u64,
                     time: i64,
                     rows: &mut Vec<RowBytes>,
                     groups: &mut Vec<u32>,
                     signs: &mut Vec<i8>| {
            loop {
                let start = partition.starts[index];
                let Some((old, row)) = partition.retained.get(start.saturating_sub(partition.first) as usize)
                else {
                    return;
                };
                let leaves = match (bounded_rows(frame), bounded_range(frame)) {
                    (Some(n), _) => start + n < number,
                    (_, Some(range)) => *old < time.saturating_sub(range),
                    _ => false,
                };
                if !leaves {
                    return;
                }
                rows.push(Arc::clone(row));
                groups.push(group);
                signs.push(-1);
                partition.starts[index] += 1;
            }
        };
        let mut at = 0;
        while at < due.len() {
            // Rows of one time: by RANGE those of a partition are in the frame together.
            let together = match (frame.rows, self.time) {
                (false, TimeAttribute::Rowtime { .. }) => {
                    due[at..].iter().take_while(|d| d.time == due[at].time).count()
                }
                _ => 1,
            };
            let run = at..at + together;
            for row in run.clone() {
                let Due { group, time, row: bytes } = &due[row];
                let number = numbers[row] as u64 - 1;
                let partition = &mut partitions[*group as usize];
                leave(partition, *group, number, *time, &mut rows, &mut groups, &mut signs);
                rows.push(Arc::clone(bytes));
                groups.push(*group);
                signs.push(1);
                results[row] = (rows.len() - 1) as u32;
            }
            if together > 1 {
                let mut last: std::collections::HashMap<u32, u32> = std::collections::HashMap::new();
                for row in run.clone() {
                    last.insert(due[row].group, results[row]);
                }
                for row in run {
                    if let Some(result) = last.get(&due[row].group) {
                        results[row] = *result;
                    }
                }
            }
            at += together;
        }
        let columns = self.rows.decode(rows.iter().map(AsRef::as_ref))?;
        let records = kept_rows::records(&kept_rows::schema(&self.input, &[]), &columns, rows.len())?;
        let calls = &mut self.store.payload_mut().frames[index];
        let changes = Changes { signs: &signs, clears: &[] };
        let values = calls.aggregates.change(&mut calls.accumulators, &records, &groups, changes)?;
        let results = UInt32Array::from(results);
        values.iter().map(|(_, after)| Ok(take(after, &results, None)?)).collect()
    }

    /// Lets go of rows that no frame and no LAG looks at any more.
    fn forget(&mut self, due: &[Due]) {
        for row in due {
            let state = self.store.payload_mut();
            let partition = &mut state.partitions[row.group as usize];
            let mut needed = partition.next.saturating_sub(self.most_lag);
            for (frame, start) in state.frames.iter().zip(&partition.starts) {
                if frame.frame.start != FrameBound::Unbounded {
                    needed = needed.min(*start);
                }
            }
            let mut gone = Vec::new();
            while partition.first < needed
                && let Some((_, row)) = partition.retained.pop_front()
            {
                gone.push(row.len());
                partition.first += 1;
            }
            gone.into_iter().for_each(|bytes| state.gone(bytes));
        }
    }

    fn is_late(&self, group: u32, time: i64) -> bool {
        if self.bounded {
            self.store.payload().partitions[group as usize].last_time.is_some_and(|last| time <= last)
        } else {
            time <= self.progress
        }
    }
}

/// Parts of about a batch that hold all rows of each time.
fn chunks_of_times(due: &[Due]) -> Vec<&[Due]> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < due.len() {
        let mut end = (start + MAX_BATCH_ROWS).min(due.len());
        while end < due.len() && due[end].time == due[end - 1].time {
            end += 1;
        }
        parts.push(&due[start..end]);
        start = end;
    }
    parts
}

/// `column` of other rows; where there is none, `default` of the row itself or NULL.
pub(super) fn neighbours<'a>(
    codec: &RowCodec,
    own: impl Iterator<Item = &'a RowBytes>,
    others: &[Option<&'a RowBytes>],
    column: usize,
    default: Option<usize>,
) -> Result<ArrayRef> {
    let own: Vec<&RowBytes> = own.collect();
    let picked = own.iter().zip(others).map(|(own, other)| other.unwrap_or(own).as_ref());
    let values = codec.decode(picked)?.swap_remove(column);
    let there: BooleanArray = others.iter().map(|o| Some(o.is_some())).collect();
    let otherwise = match default {
        None => arrow::array::new_null_array(values.data_type(), values.len()),
        Some(default) => {
            let column = codec.decode(own.iter().map(|r| r.as_ref()))?.swap_remove(default);
            cast(&column, values.data_type())?
        }
    };
    Ok(arrow::compute::kernels::zip::zip(&there, &values, &otherwise)?)
}

impl Operator for Over {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().max_parallelism = context.max_parallelism;
        self.store.open(context.store());
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "OVER")?;
        let records = input.records();
        if records.num_rows() == 0 {
            return Ok(());
        }
        self.progress = self.progress.max(context.watermark.0);
        let mut groups = Vec::new();
        self.store.touch(&self.keys(records), records.num_rows(), context.now_ms, &mut groups)?;
        let encoded = self.rows.encode(records.columns())?;
        let TimeAttribute::Rowtime { column } = self.time else {
            let due: Vec<Due> = groups
                .iter()
                .enumerate()
                .map(|(row, group)| Due {
                    group: *group,
                    time: context.now_ms,
                    row: Arc::from(encoded.row(row).data()),
                })
                .collect();
            self.emit(&due, out)?;
            return self.store.settle(context.now_ms);
        };
        let times = milliseconds(records.column(column))?;
        for (row, group) in groups.iter().copied().enumerate() {
            if times.is_null(row) {
                self.null_time_rows += 1;
                continue;
            }
            let time = times.value(row);
            if self.is_late(group, time) {
                self.late_rows += 1;
                continue;
            }
            self.sequence += 1;
            let bytes: RowBytes = Arc::from(encoded.row(row).data());
            self.wait(group, (time, self.sequence, bytes));
        }
        let partitions = &self.store.payload().partitions;
        groups.retain(|g| partitions[*g as usize].is_empty());
        self.store.remove(groups)?;
        self.store.settle(context.now_ms)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.progress = self.progress.max(watermark.0);
        loop {
            let groups = self.store.wake(self.progress)?;
            if groups.is_empty() {
                return Ok(());
            }
            self.store.mark(&groups, context.now_ms)?;
            let mut due = Vec::new();
            for group in groups {
                let state = self.store.payload_mut();
                let (mut later, mut next) = (Vec::new(), i64::MAX);
                for (time, sequence, row) in std::mem::take(&mut state.partitions[group as usize].pending) {
                    if time > self.progress {
                        next = next.min(time);
                        later.push((time, sequence, row));
                    } else {
                        state.gone(row.len());
                        due.push((sequence, Due { group, time, row }));
                    }
                }
                state.partitions[group as usize].pending = later;
                self.store.wake_at(group, next);
            }
            due.sort_by_key(|(sequence, due)| (due.time, *sequence));
            let due: Vec<Due> = due.into_iter().map(|(_, due)| due).collect();
            self.emit(&due, out)?;
            self.store.settle(context.now_ms)?;
        }
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        let schema = kept_rows::schema(&self.input, &[]);
        let keys = self.partition.len();
        let mut groups = Vec::new();
        while let Some(part) = state.next_rows()? {
            let rows = part.rows.num_rows();
            if part.table == PARTITIONS {
                let columns = part.rows.columns();
                self.store.put_back(&columns[..keys], rows, &mut groups)?;
                if part.deleted.is_some() {
                    self.store.settle_put_back(&groups)?;
                    continue;
                }
                self.store.payload_mut().put_back(&columns[keys..], &groups)?;
                self.store.settle_put_back(&[])?;
                continue;
            }
            let table = if part.table == PENDING { PENDING } else { RETAINED };
            let columns = kept_rows::columns(&part, table, width + 2)?;
            let records = kept_rows::records(&schema, &columns[..width], rows)?;
            self.store.put_back(&self.keys(&records), rows, &mut groups)?;
            let encoded = self.rows.encode(records.columns())?;
            let sequences = columns[width].as_primitive::<Int64Type>();
            let times = columns[width + 1].as_primitive::<Int64Type>();
            for (row, group) in groups.iter().copied().enumerate() {
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                let (sequence, time) = (sequences.value(row) as u64, times.value(row));
                if table == PENDING {
                    self.sequence = self.sequence.max(sequence);
                    self.wait(group, (time, sequence, bytes));
                } else {
                    // They come in the order of their numbers.
                    let state = self.store.payload_mut();
                    state.kept(&bytes);
                    state.partitions[group as usize].retained.push_back((time, bytes));
                }
            }
            self.store.settle_put_back(&[])?;
        }
        let progress = state.values("progress");
        let progress = progress.iter().filter_map(|v| serde_json::from_slice::<i64>(v).ok()).min();
        self.progress = progress.unwrap_or(i64::MIN);
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.value("progress", self.progress.to_string());
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            state_bytes: self.store.size() as u64,
            next_fire_ms: self.store.next_wake(),
            ..OperatorStatus::default()
        }
    }
}

impl Over {
    /// A row waits for the watermark.
    fn wait(&mut self, group: u32, pending: (i64, u64, RowBytes)) {
        let time = pending.0;
        let state = self.store.payload_mut();
        state.kept(&pending.2);
        state.partitions[group as usize].pending.push(pending);
        if self.store.wakes_at(group) > time {
            self.store.wake_at(group, time);
        }
    }
}
