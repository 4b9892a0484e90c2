//! OVER in a stream: functions over the rows before each row, by event time or as rows come.

use super::aggregates::{self, Accumulators, Aggregates};
use super::kept_rows::{self, KeptRows};
use super::over_batch::OverBatch;
use super::row_codec::{RowBytes, RowCodec};
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, milliseconds};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::{AggregateCall, Frame, FrameBound, OverNode, TimeAttribute};
use crate::state::accumulator::Changes;
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

/// Rows that wait for the watermark.
const PENDING: &str = "pending";
/// Rows that frames and LAG look back at.
const RETAINED: &str = "retained";
/// Counters and accumulators of each partition.
const PARTITIONS: &str = "partitions";
const SEQUENCE: &str = "$sequence";

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
    table: KeyTable,
    partitions: Vec<Partition>,
    frames: Vec<FrameCalls>,
    /// For each call of the node, where its value comes from.
    values: Vec<Value>,
    /// Most rows that LAG looks back.
    most_lag: u64,
    /// Whether all frames end their beginning somewhere.
    bounded: bool,
    pending: BTreeMap<(i64, u64), (u32, RowBytes)>,
    sequence: u64,
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
    bytes: usize,
    common: KeptRows,
}

/// Aggregates over one frame.
struct FrameCalls {
    frame: Frame,
    aggregates: Aggregates,
    accumulators: Accumulators,
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

#[derive(Debug, Clone, Default)]
struct Partition {
    /// Rows that have been emitted and may be looked at again, oldest first.
    retained: VecDeque<(i64, RowBytes)>,
    /// Number of the oldest retained row.
    first: u64,
    /// Rows so far: the number of the next one.
    next: u64,
    /// Time of the last row.
    last_time: Option<i64>,
    /// For each frame the number of its first row.
    starts: Vec<u64>,
    touched_ms: i64,
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
                Ok(FrameCalls { frame, accumulators: aggregates.make()?, aggregates })
            })
            .collect::<Result<_>>()?;
        let types: Vec<DataType> =
            node.partition.iter().map(|c| input.field(*c).data_type().clone()).collect();
        let bounded = !frames.is_empty() && frames.iter().all(|f| f.frame.start != FrameBound::Unbounded);
        Ok(Self {
            time,
            partition: node.partition.clone(),
            rows: RowCodec::of_schema(&input)?,
            table: KeyTable::new(&types)?,
            partitions: Vec::new(),
            frames,
            values,
            most_lag,
            bounded,
            pending: BTreeMap::new(),
            sequence: 0,
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            bytes: 0,
            common: KeptRows::default(),
            input,
            output,
        })
    }

    fn intern(&mut self, records: &RecordBatch) -> Result<Vec<u32>> {
        let keys: Vec<ArrayRef> = self.partition.iter().map(|c| Arc::clone(records.column(*c))).collect();
        let mut groups = Vec::new();
        self.table.intern(&keys, records.num_rows(), &mut groups)?;
        let fresh = Partition { starts: vec![0; self.frames.len()], ..Partition::default() };
        self.partitions.resize(self.table.slots(), fresh);
        for frame in &mut self.frames {
            aggregates::resize(&mut frame.accumulators, self.table.slots());
        }
        Ok(groups)
    }

    /// Emits `due`, which is in order.
    fn emit(&mut self, due: &[Due], now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        for part in chunks_of_times(due) {
            let columns = self.values_of(part, now_ms)?;
            let mut all = self.rows.decode(part.iter().map(|d| d.row.as_ref()))?;
            all.extend(columns);
            out.emit(ChangeBatch::inserts(batch(&self.output, all, part.len())?))?;
        }
        Ok(())
    }

    /// A column for each call. `due` holds all rows of each time that it holds.
    fn values_of(&mut self, due: &[Due], now_ms: i64) -> Result<Vec<ArrayRef>> {
        let mut row_numbers = Vec::with_capacity(due.len());
        for row in due {
            let partition = &mut self.partitions[row.group as usize];
            self.bytes += row.row.len();
            partition.retained.push_back((row.time, Arc::clone(&row.row)));
            partition.next += 1;
            partition.last_time = Some(row.time);
            partition.touched_ms = now_ms;
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
        for index in 0..self.frames.len() {
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
                        let partition = &self.partitions[d.group as usize];
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
        let frame = self.frames[index].frame;
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
                let partition = &mut self.partitions[*group as usize];
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
        let calls = &mut self.frames[index];
        let changes = Changes { signs: &signs, clears: &[] };
        let values = calls.aggregates.change(&mut calls.accumulators, &records, &groups, changes)?;
        let results = UInt32Array::from(results);
        values.iter().map(|(_, after)| Ok(take(after, &results, None)?)).collect()
    }

    /// Lets go of rows that no frame and no LAG looks at any more.
    fn forget(&mut self, due: &[Due]) {
        for row in due {
            let partition = &mut self.partitions[row.group as usize];
            let mut needed = partition.next.saturating_sub(self.most_lag);
            for (frame, start) in self.frames.iter().zip(&partition.starts) {
                if frame.frame.start != FrameBound::Unbounded {
                    needed = needed.min(*start);
                }
            }
            while partition.first < needed {
                match partition.retained.pop_front() {
                    Some((_, row)) => self.bytes = self.bytes.saturating_sub(row.len()),
                    None => break,
                }
                partition.first += 1;
            }
        }
    }

    fn is_late(&self, group: u32, time: i64) -> bool {
        if self.bounded {
            self.partitions[group as usize].last_time.is_some_and(|last| time <= last)
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
        self.common.open(context);
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
        let groups = self.intern(records)?;
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
            return self.emit(&due, context.now_ms, out);
        };
        let times = milliseconds(records.column(column))?;
        for (row, group) in groups.into_iter().enumerate() {
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
            self.bytes += bytes.len() + size_of::<(i64, u64, u32, RowBytes)>();
            self.pending.insert((time, self.sequence), (group, bytes));
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.progress = self.progress.max(watermark.0);
        let mut due = Vec::new();
        while let Some(first) = self.pending.first_entry() {
            if first.key().0 > self.progress {
                break;
            }
            let ((time, _), (group, row)) = first.remove_entry();
            self.bytes = self.bytes.saturating_sub(row.len() + size_of::<(i64, u64, u32, RowBytes)>());
            due.push(Due { group, time, row });
        }
        self.emit(&due, context.now_ms, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.common.next_sweep_ms()
    }

    /// Forgets partitions that had no row for as long as state lives.
    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        if !self.common.sweep_is_due(context.now_ms) {
            return Ok(());
        }
        let waiting: HashSet<u32> = self.pending.values().map(|(group, _)| *group).collect();
        let is_old = |g: &u32| {
            !waiting.contains(g)
                && self.common.expired(self.partitions[*g as usize].touched_ms, context.now_ms)
        };
        let old: Vec<u32> = self.table.groups().filter(is_old).collect();
        for group in &old {
            let fresh = Partition { starts: vec![0; self.frames.len()], ..Partition::default() };
            let gone = std::mem::replace(&mut self.partitions[*group as usize], fresh);
            let bytes: usize = gone.retained.iter().map(|(_, row)| row.len()).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
            for accumulator in self.frames.iter_mut().flat_map(|f| &mut f.accumulators) {
                accumulator.clear(*group);
            }
        }
        self.table.remove(old);
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        let schema = kept_rows::schema(&self.input, &[]);
        let keys = self.partition.len();
        let mut retained: Vec<(u32, u64, RowBytes, i64)> = Vec::new();
        while let Some(part) = state.next_rows()? {
            let rows = part.rows.num_rows();
            if part.table == PARTITIONS {
                let columns = part.rows.columns().to_vec();
                let mut groups = Vec::new();
                self.table.intern(&columns[..keys], rows, &mut groups)?;
                let fresh = Partition { starts: vec![0; self.frames.len()], ..Partition::default() };
                self.partitions.resize(self.table.slots(), fresh);
                let number = |i: usize, row: usize| {
                    let column = columns[keys + i].as_primitive::<Int64Type>();
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
                let mut at = keys + 3 + self.frames.len();
                for frame in &mut self.frames {
                    aggregates::resize(&mut frame.accumulators, self.table.slots());
                    for accumulator in &mut frame.accumulators {
                        let width = accumulator.state(&[])?.len();
                        let Some(states) = columns.get(at..at + width) else {
                            return Err(Error::internal("OVER: state with too few columns."));
                        };
                        accumulator.merge(states, &groups)?;
                        at += width;
                    }
                }
                continue;
            }
            let table = if part.table == PENDING { PENDING } else { RETAINED };
            let columns = kept_rows::columns(&part, table, width + 2)?;
            let records = kept_rows::records(&schema, &columns[..width], rows)?;
            let groups = self.intern(&records)?;
            let encoded = self.rows.encode(records.columns())?;
            let sequences = columns[width].as_primitive::<Int64Type>();
            let times = columns[width + 1].as_primitive::<Int64Type>();
            for (row, group) in groups.into_iter().enumerate() {
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                let (sequence, time) = (sequences.value(row) as u64, times.value(row));
                self.bytes += bytes.len();
                if table == PENDING {
                    self.sequence = self.sequence.max(sequence);
                    self.pending.insert((time, sequence), (group, bytes));
                } else {
                    retained.push((group, sequence, bytes, time));
                }
            }
        }
        retained.sort_by_key(|(_, number, ..)| *number);
        for (group, _, bytes, time) in retained {
            self.partitions[group as usize].retained.push_back((time, bytes));
        }
        let progress = state.values("progress");
        let progress = progress.iter().filter_map(|v| serde_json::from_slice::<i64>(v).ok()).min();
        self.progress = progress.unwrap_or(i64::MIN);
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        out.value("progress", self.progress.to_string());
        let schema = kept_rows::schema(&self.input, &[SEQUENCE, "$time"]);
        let mut write = |table: &str, rows: &[(RowBytes, i64, i64)]| -> Result<()> {
            for part in rows.chunks(MAX_BATCH_ROWS) {
                let mut columns = self.rows.decode(part.iter().map(|(r, ..)| r.as_ref()))?;
                columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, s, _)| *s))));
                columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, _, t)| *t))));
                let records = kept_rows::records(&schema, &columns, part.len())?;
                out.rows(self.common.state_rows(table, records, &self.partition)?);
            }
            Ok(())
        };
        let pending: Vec<_> = self
            .pending
            .iter()
            .map(|((time, sequence), (_, row))| (Arc::clone(row), *sequence as i64, *time))
            .collect();
        write(PENDING, &pending)?;
        let groups: Vec<u32> = self.table.groups().collect();
        let mut retained: Vec<(RowBytes, i64, i64)> = Vec::new();
        for group in &groups {
            let partition = &self.partitions[*group as usize];
            let rows = partition.retained.iter().zip(partition.first..);
            retained.extend(rows.map(|((time, row), number)| (Arc::clone(row), number as i64, *time)));
        }
        write(RETAINED, &retained)?;
        for groups in groups.chunks(MAX_BATCH_ROWS) {
            let mut columns = self.table.keys(groups)?;
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
                for accumulator in &frame.accumulators {
                    columns.extend(accumulator.state(groups)?);
                }
            }
            let fields: Vec<arrow::datatypes::Field> = columns
                .iter()
                .enumerate()
                .map(|(i, c)| arrow::datatypes::Field::new(format!("c{i}"), c.data_type().clone(), true))
                .collect();
            let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields));
            let records = kept_rows::records(&schema, &columns, groups.len())?;
            let keys: Vec<usize> = (0..self.partition.len()).collect();
            out.rows(self.common.state_rows(PARTITIONS, records, &keys)?);
        }
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        let accumulators: usize = self.frames.iter().map(|f| aggregates::size(&f.accumulators)).sum();
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            state_bytes: (self.bytes + self.table.size() + accumulators) as u64,
            next_fire_ms: self.pending.keys().next().map(|(time, _)| *time),
            ..OperatorStatus::default()
        }
    }
}
