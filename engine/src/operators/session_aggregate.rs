//! Session windows.

use super::aggregates::{self, Accumulators, Aggregates};
use super::local_time::LocalTime;
use super::rows::{Gather, MAX_BATCH_ROWS, inserts_only, milliseconds};
use super::sessions::{Assigned, Sessions};
use super::window_aggregate::Properties;
use super::{Collector, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{TimeAttribute, WindowAggregateNode};
use crate::state::KeyTable;
use crate::time::Watermark;
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use chrono_tz::Tz;
use std::sync::Arc;

/// Aggregates the rows of each key session by session. Rows that touch or overlap are of one session; a row may
/// bridge two. One set of accumulators holds all sessions.
pub(super) struct SessionAggregate {
    time: TimeAttribute,
    local: LocalTime,
    keys: Vec<usize>,
    aggregates: Aggregates,
    properties: Properties,
    output: SchemaRef,
    table: KeyTable,
    sessions: Sessions,
    accumulators: Accumulators,
    late_rows: u64,
    null_time_rows: u64,
    scratch: Vec<u32>,
}

impl SessionAggregate {
    pub(super) fn new(
        node: &WindowAggregateNode,
        gap: i64,
        time: TimeAttribute,
        zone: Option<Tz>,
        input: &Schema,
        output: SchemaRef,
    ) -> Result<Self> {
        let local = LocalTime::new(zone);
        let aggregates = Aggregates::new(&node.aggregates, input, false)?;
        let types: Vec<_> = node.keys.iter().map(|k| input.field(*k).data_type().clone()).collect();
        Ok(Self {
            time,
            local,
            keys: node.keys.clone(),
            accumulators: aggregates.make()?,
            aggregates,
            properties: Properties::new(&node.properties, &output, local),
            output,
            table: KeyTable::new(&types)?,
            sessions: Sessions::new(gap, local),
            late_rows: 0,
            null_time_rows: 0,
            scratch: Vec::new(),
        })
    }

    fn fire(&mut self, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let closed = self.sessions.close();
        let mut gather = Gather::new(&self.output, out);
        for slots in closed.chunks(MAX_BATCH_ROWS) {
            let sessions: Vec<_> = slots.iter().map(|slot| self.sessions.session(*slot)).collect();
            let keys: Vec<u32> = sessions.iter().map(|s| s.key).collect();
            let mut columns = self.table.keys(&keys)?;
            columns.extend(aggregates::evaluate(&self.accumulators, slots)?);
            columns.extend(self.properties.columns(sessions.iter().map(|s| (s.start, s.end)), now_ms));
            gather.add(columns, slots.len())?;
        }
        gather.flush()?;
        for accumulator in &mut self.accumulators {
            closed.iter().for_each(|slot| accumulator.clear(*slot));
        }
        let idle = self.sessions.forget(&closed);
        self.table.remove(idle);
        self.sessions.settle();
        Ok(())
    }

    fn is_proctime(&self) -> bool {
        self.time == TimeAttribute::Proctime
    }
}

impl Operator for SessionAggregate {
    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "A window aggregate")?;
        if self.is_proctime() {
            self.on_timer(context, out)?;
        } else {
            self.sessions.progress = self.sessions.progress.max(context.watermark.0);
        }
        let records = input.records();
        let rows = records.num_rows();
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
        self.table.intern(&keys, rows, &mut self.scratch)?;
        let mut assigned = Assigned::default();
        match self.time {
            TimeAttribute::Rowtime { column } => {
                let times = self.local.wall_column(&milliseconds(records.column(column))?);
                for (row, (key, time)) in self.scratch.iter().zip(&times).enumerate() {
                    match time {
                        None => self.null_time_rows += 1,
                        Some(time) => {
                            let taken = self.sessions.assign(row as u32, *key, time, &mut assigned);
                            self.late_rows += u64::from(!taken);
                        }
                    }
                }
            }
            TimeAttribute::Proctime => {
                let now = context.now_ms.max(self.sessions.progress.saturating_add(1));
                let time = self.local.wall(now);
                for (row, key) in self.scratch.iter().enumerate() {
                    self.sessions.assign(row as u32, *key, time, &mut assigned);
                }
            }
        }
        aggregates::resize(&mut self.accumulators, self.sessions.slots());
        for (from, into) in &assigned.merges {
            for accumulator in &mut self.accumulators {
                let state = accumulator.state(&[*from])?;
                accumulator.merge(&state, &[*into])?;
                accumulator.clear(*from);
            }
        }
        self.sessions.release(&assigned.merges);
        let (taken, slots) = assigned.resolve();
        if taken.len() == rows {
            self.aggregates.update(&mut self.accumulators, records, &slots)?;
        } else {
            let records = take_record_batch(records, &UInt32Array::from(taken))?;
            self.aggregates.update(&mut self.accumulators, &records, &slots)?;
            // Keys of late rows alone have no session.
            let idle: Vec<u32> = self.scratch.iter().copied().filter(|k| self.sessions.is_idle(*k)).collect();
            self.table.remove(idle);
        }
        self.sessions.settle();
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if self.is_proctime() {
            return Ok(());
        }
        self.sessions.progress = self.sessions.progress.max(watermark.0);
        self.fire(context.now_ms, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.sessions.next_past().filter(|_| self.is_proctime()).map(|past| past.saturating_add(1))
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        if !self.is_proctime() {
            return Ok(());
        }
        self.sessions.progress = self.sessions.progress.max(context.now_ms.saturating_sub(1));
        self.fire(context.now_ms, out)
    }

    fn status(&self) -> OperatorStatus {
        let bytes = self.table.size() + self.sessions.size() + aggregates::size(&self.accumulators);
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            open_windows: self.sessions.len() as u64,
            next_fire_ms: self.sessions.next_past(),
            state_bytes: bytes as u64,
        }
    }
}
