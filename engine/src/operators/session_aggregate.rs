//! Session windows.

use super::aggregates::{self, Aggregates};
use super::local_time::LocalTime;
use super::rows::{Gather, MAX_BATCH_ROWS, inserts_only, milliseconds};
use super::session_state::{SESSIONS, SessionState};
use super::sessions::{Assigned, Session};
use super::snapshots::{Progress, times, unknown_table, write_progress};
use super::window_aggregate::Properties;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{TimeAttribute, WindowAggregateNode};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateRows, StateWriter, StoreContext};
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
    retracts: bool,
    aggregates: Arc<Aggregates>,
    properties: Properties,
    output: SchemaRef,
    store: GroupStore<SessionState>,
    late_rows: u64,
    null_time_rows: u64,
    scratch: Vec<u32>,
    context: Option<OpenContext>,
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
        let aggregates = Arc::new(Aggregates::new(&aggregates::in_windows(node), input, node.retracts)?);
        let state = SessionState::new(gap, local, aggregates.clone())?;
        let types: Vec<_> = node.keys.iter().map(|k| input.field(*k).data_type().clone()).collect();
        Ok(Self {
            time,
            local,
            keys: node.keys.clone(),
            retracts: node.retracts,
            aggregates,
            properties: Properties::new(&node.properties, &output, local),
            output,
            store: GroupStore::new(SESSIONS, &types, state)?,
            late_rows: 0,
            null_time_rows: 0,
            scratch: Vec::new(),
            context: None,
        })
    }

    /// Rows of a checkpoint.
    fn take_back(&mut self, rows: &StateRows, told: &Progress) -> Result<()> {
        if rows.table != SESSIONS {
            return Err(unknown_table(&rows.table, "a session window aggregate"));
        }
        let groups = rows.key_groups.as_ref();
        let ends = times(&rows.rows, 1)?;
        let is_open = |row: &u32| {
            let row = *row as usize;
            self.store.payload().sessions.is_open_at(ends.value(row), told.of(groups.map(|g| g[row])))
        };
        let open = UInt32Array::from_iter_values((0..rows.rows.num_rows() as u32).filter(is_open));
        let rows = take_record_batch(&rows.rows, &open)?;
        let first_state = 2 + self.keys.len();
        let (Some(keys), Some(states)) =
            (rows.columns().get(2..first_state), rows.columns().get(first_state..))
        else {
            return Err(unknown_table(SESSIONS, "a session window aggregate"));
        };
        self.store.put_back(keys, rows.num_rows(), &mut self.scratch)?;
        let (starts, ends) = (times(&rows, 0)?, times(&rows, 1)?);
        let mut slots = Vec::with_capacity(rows.num_rows());
        let mut held = Vec::new();
        let SessionState { sessions, accumulators, .. } = self.store.payload_mut();
        for (row, key) in self.scratch.iter().enumerate() {
            let session = Session { start: starts.value(row), end: ends.value(row), key: *key };
            slots.push(sessions.put_back(session, &mut held));
        }
        aggregates::resize(accumulators, sessions.slots());
        for accumulator in accumulators.iter_mut() {
            held.iter().for_each(|slot| accumulator.clear(*slot));
        }
        aggregates::replace(accumulators, states, &slots)?;
        self.store.settle_put_back(&[])?;
        self.store.payload_mut().sessions.settle();
        Ok(())
    }

    fn fire(&mut self, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let output = self.output.clone();
        let mut gather = Gather::new(&output, out);
        loop {
            let progress = self.store.payload().sessions.progress;
            let woken = self.store.wake(progress)?;
            self.close(now_ms, &mut gather)?;
            if woken.is_empty() {
                break;
            }
        }
        gather.flush()
    }

    /// Tells the sessions in memory that are past.
    fn close(&mut self, now_ms: i64, gather: &mut Gather<'_>) -> Result<()> {
        let closed = self.store.payload_mut().sessions.close();
        let keys: Vec<u32> =
            closed.iter().map(|slot| self.store.payload().sessions.session(*slot).key).collect();
        self.store.mark(&keys, now_ms)?;
        let SessionState { sessions, accumulators, .. } = self.store.payload();
        let told = match self.retracts {
            true => aggregates::with_rows(accumulators, closed.clone())?,
            false => closed.clone(),
        };
        for slots in told.chunks(MAX_BATCH_ROWS) {
            let closing: Vec<_> = slots.iter().map(|slot| sessions.session(*slot)).collect();
            let keys: Vec<u32> = closing.iter().map(|s| s.key).collect();
            let mut columns = self.store.keys(&keys)?;
            let values = aggregates::evaluate(accumulators, slots)?;
            columns.extend(values.into_iter().take(accumulators.len() - usize::from(self.retracts)));
            columns.extend(self.properties.columns(closing.iter().map(|s| (s.start, s.end)), now_ms));
            gather.add(columns, slots.len())?;
        }
        let SessionState { sessions, accumulators, .. } = self.store.payload_mut();
        for accumulator in accumulators {
            closed.iter().for_each(|slot| accumulator.clear(*slot));
        }
        let idle = sessions.forget(&closed);
        self.store.remove(idle)?;
        self.settle(now_ms)
    }

    /// A batch is done.
    fn settle(&mut self, now_ms: i64) -> Result<()> {
        self.store.settle(now_ms)?;
        self.store.payload_mut().sessions.settle();
        Ok(())
    }

    fn is_proctime(&self) -> bool {
        self.time == TimeAttribute::Proctime
    }
}

impl Operator for SessionAggregate {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.context = Some(context.clone());
        self.store.payload_mut().max_parallelism = context.max_parallelism;
        // Sessions go by event time.
        self.store.open(StoreContext { ttl_ms: 0, ..context.store() });
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let told = Progress::read(state)?;
        while let Some(rows) = state.next_rows()? {
            self.take_back(&rows, &told)?;
        }
        self.store.payload_mut().sessions.progress = told.last();
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let Some(context) = &self.context else { return Ok(SnapshotProgress::Done) };
        write_progress(out, context, self.store.payload().sessions.progress)?;
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if !self.retracts {
            inserts_only(&input, "A window aggregate")?;
        }
        if self.is_proctime() {
            self.on_timer(context, out)?;
        } else {
            let progress = &mut self.store.payload_mut().sessions.progress;
            *progress = (*progress).max(context.watermark.0);
        }
        let records = input.records();
        let rows = records.num_rows();
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
        self.store.touch(&keys, rows, context.now_ms, &mut self.scratch)?;
        let SessionState { sessions, accumulators, .. } = self.store.payload_mut();
        let mut assigned = Assigned::default();
        match self.time {
            TimeAttribute::Rowtime { column } => {
                let times = self.local.wall_column(&milliseconds(records.column(column))?);
                for (row, (key, time)) in self.scratch.iter().zip(&times).enumerate() {
                    match time {
                        None => self.null_time_rows += 1,
                        Some(time) => {
                            let taken = sessions.assign(row as u32, *key, time, &mut assigned);
                            self.late_rows += u64::from(!taken);
                        }
                    }
                }
            }
            TimeAttribute::Proctime => {
                let now = context.now_ms.max(sessions.progress.saturating_add(1));
                let time = self.local.wall(now);
                for (row, key) in self.scratch.iter().enumerate() {
                    sessions.assign(row as u32, *key, time, &mut assigned);
                }
            }
        }
        aggregates::resize(accumulators, sessions.slots());
        for (from, into) in &assigned.merges {
            for accumulator in accumulators.iter_mut() {
                let state = accumulator.state(&[*from])?;
                accumulator.merge(&state, &[*into])?;
                accumulator.clear(*from);
            }
        }
        sessions.release(&assigned.merges);
        let (taken, slots) = assigned.resolve();
        let all = taken.len() == rows;
        if all {
            self.aggregates.apply(accumulators, &input, &slots)?;
        } else {
            let rows = input.take(&UInt32Array::from(taken))?;
            self.aggregates.apply(accumulators, &rows, &slots)?;
        }
        if !all {
            // Keys of late rows alone have no session.
            let idle: Vec<u32> = self.scratch.iter().copied().filter(|k| sessions.is_idle(*k)).collect();
            self.store.remove(idle)?;
        }
        self.settle(context.now_ms)
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
        let progress = &mut self.store.payload_mut().sessions.progress;
        *progress = (*progress).max(watermark.0);
        self.fire(context.now_ms, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.next_past().filter(|_| self.is_proctime()).map(|past| past.saturating_add(1))
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        if !self.is_proctime() {
            return Ok(());
        }
        let progress = &mut self.store.payload_mut().sessions.progress;
        *progress = (*progress).max(context.now_ms.saturating_sub(1));
        self.fire(context.now_ms, out)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            open_windows: self.store.payload().open(),
            next_fire_ms: self.next_past(),
            state_bytes: self.store.size() as u64,
        }
    }
}

impl SessionAggregate {
    /// The instant at which the next session is past, or an earlier one.
    fn next_past(&self) -> Option<i64> {
        let memory = self.store.payload().sessions.next_past();
        memory.into_iter().chain(self.store.next_wake()).min()
    }
}
