//! Aggregation in windows: which kind of windows, and the columns that tell a window's bounds.

use super::local_time::LocalTime;
use super::session_aggregate::SessionAggregate;
use super::slice_aggregate::SliceAggregate;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{WindowAggregateNode, WindowInput, WindowProperty};
use crate::state::{SnapshotProgress, StateReader, StateWriter};
use crate::time::{Watermark, WindowSpec};
use arrow::array::{ArrayRef, TimestampMillisecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// Aggregates rows by window and key. Each window and key gives one `+I`, when the watermark comes to the
/// window's end - 1 ms, or the clock to its end; windows in order of their ends. Event time rows all of whose
/// windows have been told are late: dropped and counted.
pub struct WindowAggregate(Box<dyn Operator>);

impl WindowAggregate {
    /// Columns of `output`: keys, aggregates, properties.
    ///
    /// Errors: an aggregate, or a key's type, that cannot be run.
    pub fn new(node: &WindowAggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        Ok(Self(match node.input {
            WindowInput::Assign { window: WindowSpec::Session { gap }, time, zone } => {
                Box::new(SessionAggregate::new(node, gap, time, zone, &input, output)?)
            }
            _ => Box::new(SliceAggregate::new(node, &input, output)?),
        }))
    }
}

impl Operator for WindowAggregate {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.0.open(context)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        self.0.restore(state)
    }

    fn snapshot(&mut self, checkpoint_id: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.0.snapshot(checkpoint_id, out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.0.continue_snapshot(out)
    }

    fn checkpoint_complete(&mut self, checkpoint_id: u64) -> Result<()> {
        self.0.checkpoint_complete(checkpoint_id)
    }

    fn process(
        &mut self,
        input: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.0.process(input, batch, context, out)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.0.on_watermark(watermark, context, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.0.next_timer_ms()
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.0.on_timer(context, out)
    }

    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.0.finish(context, out)
    }

    fn status(&self) -> OperatorStatus {
        self.0.status()
    }
}

/// A timestamp column of `data_type`, TIMESTAMP(3) or TIMESTAMP_LTZ(3).
pub(super) fn timestamps(values: Vec<i64>, data_type: &DataType) -> ArrayRef {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    Arc::new(TimestampMillisecondArray::from(values).with_timezone_opt(zone))
}

/// Makes the columns of window properties.
#[derive(Debug)]
pub(super) struct Properties {
    columns: Vec<(WindowProperty, DataType)>,
    local: LocalTime,
}

impl Properties {
    /// `properties` are the last columns of `output`; bounds are wall times of `local`.
    pub(super) fn new(properties: &[WindowProperty], output: &SchemaRef, local: LocalTime) -> Self {
        let types = output.fields().iter().rev().take(properties.len()).rev().map(|f| f.data_type().clone());
        Self { columns: properties.iter().copied().zip(types).collect(), local }
    }

    /// The columns for rows with these windows, told at processing time `now_ms`.
    pub(super) fn columns(
        &self,
        windows: impl ExactSizeIterator<Item = (i64, i64)> + Clone,
        now_ms: i64,
    ) -> impl Iterator<Item = ArrayRef> {
        self.columns.iter().map(move |(property, data_type)| {
            let is_instant = matches!(data_type, DataType::Timestamp(_, Some(_)));
            let rowtime = |end: i64| if is_instant { self.local.instant(end - 1) } else { end - 1 };
            let values = match property {
                WindowProperty::Start => windows.clone().map(|(start, _)| start).collect(),
                WindowProperty::End => windows.clone().map(|(_, end)| end).collect(),
                WindowProperty::Rowtime => {
                    let mut last = None;
                    let mut of = |end: i64| match last {
                        Some((known, time)) if known == end => time,
                        _ => last.insert((end, rowtime(end))).1,
                    };
                    windows.clone().map(|(_, end)| of(end)).collect()
                }
                WindowProperty::Proctime => vec![now_ms; windows.len()],
            };
            timestamps(values, data_type)
        })
    }
}
