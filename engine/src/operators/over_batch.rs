//! OVER in batch mode: all rows are sorted at the end of input, then each partition is walked once.

use super::aggregates::{Aggregates, resize};
use super::kept_rows;
use super::over::neighbours;
use super::row_codec::{RowBytes, RowCodec, SortCodec};
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::{AggregateCall, Frame, FrameBound, OverCall, OverNode, SortColumn};
use crate::state::Share;
use crate::state::accumulator::Changes;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, UInt32Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use std::ops::Range;
use std::sync::Arc;

/// Rows with the bytes of their partition and of their order.
type Kept = (Box<[u8]>, Box<[u8]>, RowBytes);

/// Keeps all rows until the end.
pub(super) struct OverBatch {
    node: OverNode,
    input: SchemaRef,
    output: SchemaRef,
    rows: RowCodec,
    partition: SortCodec,
    order: SortCodec,
    kept: Vec<Kept>,
    bytes: usize,
    /// What is held of the memory budget: other operators make room for it.
    share: Option<Share>,
}

impl OverBatch {
    /// Columns of `output`: the input's, then a column for each call.
    pub(super) fn new(node: &OverNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let by: Vec<SortColumn> = node
            .partition
            .iter()
            .map(|column| SortColumn { column: *column, descending: false, nulls_first: true })
            .collect();
        Ok(Self {
            rows: RowCodec::of_schema(&input)?,
            partition: SortCodec::new(&by, &input)?,
            order: SortCodec::new(&node.order, &input)?,
            kept: Vec::new(),
            bytes: 0,
            share: None,
            node: node.clone(),
            input,
            output,
        })
    }

    /// Whole partitions, at least one.
    fn emit(&self, partitions: &[Range<usize>], out: &mut dyn Collector) -> Result<()> {
        let (Some(first), Some(last)) = (partitions.first(), partitions.last()) else { return Ok(()) };
        let all = first.start..last.end;
        let rows: Vec<&RowBytes> = self.kept[all.clone()].iter().map(|(_, _, r)| r).collect();
        let columns = self.rows.decode(rows.iter().map(|r| r.as_ref()))?;
        let records = kept_rows::records(&kept_rows::schema(&self.input, &[]), &columns, rows.len())?;
        let mut output = columns;
        for call in &self.node.calls {
            output.push(self.values(call, partitions, first.start, &rows, &records)?);
        }
        let records = batch(&self.output, output, rows.len())?;
        for start in (0..rows.len()).step_by(MAX_BATCH_ROWS) {
            let length = MAX_BATCH_ROWS.min(rows.len() - start);
            out.emit(ChangeBatch::inserts(records.slice(start, length)))?;
        }
        Ok(())
    }

    fn values(
        &self,
        over: &OverCall,
        partitions: &[Range<usize>],
        base: usize,
        rows: &[&RowBytes],
        records: &arrow::array::RecordBatch,
    ) -> Result<ArrayRef> {
        let call = &over.call;
        let ranks = |of: &dyn Fn(Place) -> i64| -> ArrayRef {
            Arc::new(self.places(partitions).into_iter().map(of).collect::<Int64Array>())
        };
        let shares = |of: &dyn Fn(Place) -> f64| -> ArrayRef {
            Arc::new(self.places(partitions).into_iter().map(|p| Some(of(p))).collect::<Float64Array>())
        };
        Ok(match call.function.as_str() {
            "row_number" => ranks(&|p| p.row as i64 + 1),
            "rank" => ranks(&|p| p.peers.start as i64 + 1),
            "dense_rank" => ranks(&|p| p.dense as i64),
            "percent_rank" => shares(&|p| match p.size {
                0 | 1 => 0.0,
                size => p.peers.start as f64 / (size - 1) as f64,
            }),
            "cume_dist" => shares(&|p| p.peers.end as f64 / p.size as f64),
            "ntile" => {
                let tiles = over.offset.max(1) as usize;
                ranks(&|p| {
                    let (small, more) = (p.size / tiles, p.size % tiles);
                    let tile = match p.row < more * (small + 1) {
                        true => p.row / (small + 1),
                        false => more + (p.row - more * (small + 1)) / small.max(1),
                    };
                    tile as i64 + 1
                })
            }
            "lag" | "lead" => {
                let Some(column) = call.arguments.first() else {
                    return Err(Error::internal("LAG or LEAD without an argument."));
                };
                let mut others: Vec<Option<&RowBytes>> = Vec::with_capacity(rows.len());
                for range in partitions {
                    for row in 0..range.len() {
                        let other = match call.function.as_str() {
                            "lag" => row.checked_sub(over.offset as usize),
                            _ => Some(row + over.offset as usize).filter(|r| *r < range.len()),
                        };
                        others.push(other.map(|o| rows[range.start - base + o]));
                    }
                }
                let own = rows.iter().copied();
                neighbours(&self.rows, own, &others, *column, call.arguments.get(1).copied())?
            }
            _ => self.aggregate(call, over.frame, partitions, base, records)?,
        })
    }

    /// Where each row of the partitions stands.
    fn places(&self, partitions: &[Range<usize>]) -> Vec<Place> {
        let mut places = Vec::new();
        for range in partitions {
            let rows = &self.kept[range.clone()];
            let (mut start, mut dense) = (0, 0);
            while start < rows.len() {
                let end = start + rows[start..].iter().take_while(|r| r.1 == rows[start].1).count();
                dense += 1;
                for row in start..end {
                    places.push(Place { row, peers: start..end, dense, size: rows.len() });
                }
                start = end;
            }
        }
        places
    }

    /// An aggregate over the frame of each row. Frames move on with the rows, so each row is taken in and back once.
    fn aggregate(
        &self,
        call: &AggregateCall,
        frame: Frame,
        partitions: &[Range<usize>],
        base: usize,
        records: &arrow::array::RecordBatch,
    ) -> Result<ArrayRef> {
        let retracts = frame.start != FrameBound::Unbounded;
        let aggregates = Aggregates::new(std::slice::from_ref(call), &self.input, retracts)?;
        let mut accumulators = aggregates.make()?;
        resize(&mut accumulators, partitions.len() + 1);
        let order = match self.node.order.as_slice() {
            [one] if !frame.rows => Some(numbers(records.column(one.column), one.descending)?),
            _ => None,
        };
        let (mut picks, mut groups, mut signs): (Vec<u32>, Vec<u32>, Vec<i8>) = Default::default();
        let mut results: Vec<Option<u32>> = Vec::new();
        let places = self.places(partitions);
        let mut place = places.iter();
        for (group, range) in partitions.iter().enumerate() {
            let offset = range.start - base;
            let (mut low, mut high) = (0usize, 0usize);
            let mut last = None;
            for _ in range.clone() {
                let Some(at) = place.next() else { break };
                let bounds = frame_of(frame, at, offset, order.as_ref());
                // Rows are taken in before others leave, as far as they are in the frame at all.
                let end = bounds.end.max(high);
                for row in high..end {
                    picks.push((offset + row) as u32);
                    groups.push(group as u32);
                    signs.push(1);
                    last = Some(picks.len() as u32 - 1);
                }
                high = end;
                for row in low..bounds.start.min(high) {
                    picks.push((offset + row) as u32);
                    groups.push(group as u32);
                    signs.push(-1);
                    last = Some(picks.len() as u32 - 1);
                }
                low = low.max(bounds.start.min(high));
                results.push(last);
            }
        }
        let empty = accumulators[0].evaluate(&[partitions.len() as u32])?;
        let records = arrow::compute::take_record_batch(records, &UInt32Array::from(picks))?;
        let changes = Changes { signs: &signs, clears: &[] };
        let values = aggregates.change(&mut accumulators, &records, &groups, changes)?;
        let Some((_, after)) = values.first() else {
            return Err(Error::internal("an aggregate without a value"));
        };
        let nothing = after.len() as u32;
        let picks = UInt32Array::from_iter_values(results.iter().map(|r| r.unwrap_or(nothing)));
        Ok(take(&concat(&[after.as_ref(), empty.as_ref()])?, &picks, None)?)
    }
}

/// Where a row stands in its partition.
struct Place {
    row: usize,
    peers: Range<usize>,
    /// Number of different places in the order up to this row.
    dense: usize,
    size: usize,
}

/// The values of the ORDER BY column, falling ones negated, and which are NULL.
fn numbers(column: &ArrayRef, descending: bool) -> Result<Float64Array> {
    let plain: ArrayRef = match column.data_type() {
        DataType::Timestamp(..) => Arc::new(super::rows::milliseconds(column)?),
        DataType::Date32 => {
            let days = cast(column, &DataType::Int32)?;
            let days = cast(&days, &DataType::Float64)?;
            let days = days.as_primitive::<Float64Type>();
            return Ok(days.unary(|d| d * 86_400_000.0 * if descending { -1.0 } else { 1.0 }));
        }
        t if t.is_numeric() => Arc::clone(column),
        // No distances: only rows that are equal in the order count as near.
        _ => Arc::new(Int64Array::from(vec![0; column.len()])),
    };
    let plain = cast(&plain, &DataType::Float64)?;
    let plain = plain.as_primitive::<Float64Type>().clone();
    Ok(if descending { plain.unary(|v| -v) } else { plain })
}

/// The frame of a row as a range of its partition.
fn frame_of(frame: Frame, at: &Place, offset: usize, order: Option<&Float64Array>) -> Range<usize> {
    let size = at.size as i64;
    if frame.rows {
        let start = match frame.start {
            FrameBound::Unbounded => 0,
            FrameBound::Preceding(n) => (at.row as i64 - n).clamp(0, size),
        };
        let end = match frame.end {
            FrameBound::Unbounded => size,
            FrameBound::Preceding(n) => (at.row as i64 - n + 1).clamp(0, size),
        };
        return start as usize..end.max(start) as usize;
    }
    let value = |row: usize| order.filter(|o| o.is_valid(offset + row)).map(|o| o.value(offset + row));
    let own = value(at.row);
    let start = match (frame.start, own) {
        (FrameBound::Unbounded, _) => 0,
        (FrameBound::Preceding(0), _) | (_, None) => at.peers.start,
        (FrameBound::Preceding(n), Some(own)) => {
            let from = own - n as f64;
            (0..at.size).find(|r| value(*r).is_some_and(|v| v >= from)).unwrap_or(at.size)
        }
    };
    let end = match (frame.end, own) {
        (FrameBound::Unbounded, _) => at.size,
        (FrameBound::Preceding(0), _) | (_, None) => at.peers.end,
        (FrameBound::Preceding(n), Some(own)) => {
            let to = own - n as f64;
            (0..at.size).rev().find(|r| value(*r).is_some_and(|v| v <= to)).map_or(0, |r| r + 1)
        }
    };
    start..end.max(start)
}

impl Operator for OverBatch {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.share = Some(Share::new(context.memory.clone()));
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "OVER")?;
        let records = input.records();
        let (partition, order) = (self.partition.encode(records)?, self.order.encode(records)?);
        let rows = self.rows.encode(records.columns())?;
        for row in 0..records.num_rows() {
            let kept: Kept =
                (partition.get(row).into(), order.get(row).into(), Arc::from(rows.row(row).data()));
            self.bytes += kept.0.len() + kept.1.len() + kept.2.len() + size_of::<Kept>();
            self.kept.push(kept);
        }
        if let Some(share) = &mut self.share {
            share.hold(self.bytes);
        }
        Ok(())
    }

    fn emits_at_end(&self) -> bool {
        true
    }

    fn finish(&mut self, _: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        // Stable: rows that are equal in the order stay as they came.
        self.kept.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let mut partitions: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        while start < self.kept.len() {
            let key = &self.kept[start].0;
            let end = start + self.kept[start..].iter().take_while(|r| r.0 == *key).count();
            partitions.push(start..end);
            start = end;
            let first = partitions.first().map_or(start, |p| p.start);
            if start - first >= MAX_BATCH_ROWS {
                self.emit(&partitions, out)?;
                partitions.clear();
            }
        }
        self.emit(&partitions, out)?;
        self.kept.clear();
        self.bytes = 0;
        self.share = None;
        Ok(())
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: self.bytes as u64, ..OperatorStatus::default() }
    }
}
