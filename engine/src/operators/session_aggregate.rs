//! Session windows.

use super::aggregates::{self, Accumulators, Aggregates};
use super::local_time::LocalTime;
use super::rows::{Gather, MAX_BATCH_ROWS, inserts_only, milliseconds};
use super::sessions::{Assigned, Session, Sessions};
use super::snapshots::{GroupSet, PART_ROWS, Progress, TableRows, times, unknown_table, write_progress};
use super::window_aggregate::Properties;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{TimeAttribute, WindowAggregateNode};
use crate::state::{KeyTable, SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::time::Watermark;
use arrow::array::{ArrayRef, Int64Array, UInt32Array};
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
    aggregates: Aggregates,
    properties: Properties,
    output: SchemaRef,
    table: KeyTable,
    sessions: Sessions,
    accumulators: Accumulators,
    late_rows: u64,
    null_time_rows: u64,
    scratch: Vec<u32>,
    context: Option<OpenContext>,
    /// Slots with changes since the last snapshot.
    changed: GroupSet,
    /// Slots that the snapshot at hand still wants.
    unsaved: GroupSet,
    /// Rows of slots that were about to change before their turn.
    early: Vec<TableRows>,
}

/// State table of sessions: start, end, keys, states. A session takes the place of all earlier ones of its key
/// that it holds; those that closed since are left out at a restore by the progress told beside them.
const SESSIONS: &str = "sessions";

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
        let aggregates = Aggregates::new(&aggregates::in_windows(node), input, node.retracts)?;
        let types: Vec<_> = node.keys.iter().map(|k| input.field(*k).data_type().clone()).collect();
        Ok(Self {
            time,
            local,
            keys: node.keys.clone(),
            retracts: node.retracts,
            accumulators: aggregates.make()?,
            aggregates,
            properties: Properties::new(&node.properties, &output, local),
            output,
            table: KeyTable::new(&types)?,
            sessions: Sessions::new(gap, local),
            late_rows: 0,
            null_time_rows: 0,
            scratch: Vec::new(),
            context: None,
            changed: GroupSet::default(),
            unsaved: GroupSet::default(),
            early: Vec::new(),
        })
    }

    /// The sessions in `slots`, as rows of a state table.
    fn rows(&self, slots: &[u32]) -> Result<TableRows> {
        let groups = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let mut rows = TableRows::new(SESSIONS, 2, self.keys.len(), groups);
        for slots in slots.chunks(MAX_BATCH_ROWS) {
            let sessions: Vec<Session> = slots.iter().map(|slot| self.sessions.session(*slot)).collect();
            let keys: Vec<u32> = sessions.iter().map(|s| s.key).collect();
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(sessions.iter().map(|s| s.start))),
                Arc::new(Int64Array::from_iter_values(sessions.iter().map(|s| s.end))),
            ];
            columns.extend(self.table.keys(&keys)?);
            columns.extend(aggregates::states(&self.accumulators, slots)?);
            rows.add(columns);
        }
        Ok(rows)
    }

    /// Saves those of `slots` that the snapshot at hand still wants, before they change.
    fn save_early(&mut self, slots: &[u32]) -> Result<()> {
        let slots = self.unsaved.take_these(slots);
        if !slots.is_empty() {
            let rows = self.rows(&slots)?;
            self.early.push(rows);
        }
        Ok(())
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
            self.sessions.is_open_at(ends.value(row), told.of(groups.map(|g| g[row])))
        };
        let open = UInt32Array::from_iter_values((0..rows.rows.num_rows() as u32).filter(is_open));
        let rows = take_record_batch(&rows.rows, &open)?;
        let first_state = 2 + self.keys.len();
        let (Some(keys), Some(states)) =
            (rows.columns().get(2..first_state), rows.columns().get(first_state..))
        else {
            return Err(unknown_table(SESSIONS, "a session window aggregate"));
        };
        self.table.intern(keys, rows.num_rows(), &mut self.scratch)?;
        let (starts, ends) = (times(&rows, 0)?, times(&rows, 1)?);
        let mut slots = Vec::with_capacity(rows.num_rows());
        let mut held = Vec::new();
        for (row, key) in self.scratch.iter().enumerate() {
            let session = Session { start: starts.value(row), end: ends.value(row), key: *key };
            slots.push(self.sessions.put_back(session, &mut held));
        }
        aggregates::resize(&mut self.accumulators, self.sessions.slots());
        for accumulator in &mut self.accumulators {
            held.iter().for_each(|slot| accumulator.clear(*slot));
        }
        aggregates::replace(&mut self.accumulators, states, &slots)
    }

    fn fire(&mut self, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let closed = self.sessions.close();
        self.save_early(&closed)?;
        for slot in &closed {
            self.changed.remove(*slot);
        }
        let mut gather = Gather::new(&self.output, out);
        let told = match self.retracts {
            true => aggregates::with_rows(&self.accumulators, closed.clone())?,
            false => closed.clone(),
        };
        for slots in told.chunks(MAX_BATCH_ROWS) {
            let sessions: Vec<_> = slots.iter().map(|slot| self.sessions.session(*slot)).collect();
            let keys: Vec<u32> = sessions.iter().map(|s| s.key).collect();
            let mut columns = self.table.keys(&keys)?;
            let values = aggregates::evaluate(&self.accumulators, slots)?;
            columns.extend(values.into_iter().take(self.accumulators.len() - usize::from(self.retracts)));
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
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let told = Progress::read(state)?;
        while let Some(rows) = state.next_rows()? {
            self.take_back(&rows, &told)?;
        }
        self.sessions.progress = told.last();
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let Some(context) = &self.context else { return Ok(SnapshotProgress::Done) };
        if !context.checkpointing {
            out.full();
        }
        write_progress(out, context, self.sessions.progress)?;
        self.early.clear();
        let mut changed = std::mem::take(&mut self.changed);
        match out.kind() {
            SnapshotKind::Full => self.unsaved.extend(self.sessions.open_slots()),
            SnapshotKind::Delta => self.unsaved.extend(changed.take(usize::MAX)),
        }
        self.continue_snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        for mut rows in std::mem::take(&mut self.early) {
            rows.give(out)?;
        }
        let slots = self.unsaved.take(PART_ROWS);
        if slots.is_empty() {
            return Ok(SnapshotProgress::Done);
        }
        self.rows(&slots)?.give(out)?;
        Ok(if self.unsaved.is_empty() { SnapshotProgress::Done } else { SnapshotProgress::More })
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
            self.sessions.progress = self.sessions.progress.max(context.watermark.0);
        }
        let records = input.records();
        let rows = records.num_rows();
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
        self.table.intern(&keys, rows, &mut self.scratch)?;
        if !self.unsaved.is_empty() {
            let slots: Vec<u32> =
                self.scratch.iter().flat_map(|k| self.sessions.of_key(*k)).copied().collect();
            self.save_early(&slots)?;
        }
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
        if self.context.as_ref().is_some_and(|c| c.checkpointing) {
            for (from, _) in &assigned.merges {
                self.changed.remove(*from);
            }
            self.changed.extend(slots.iter().copied());
        }
        if taken.len() == rows {
            self.aggregates.apply(&mut self.accumulators, &input, &slots)?;
        } else {
            let rows = input.take(&UInt32Array::from(taken))?;
            self.aggregates.apply(&mut self.accumulators, &rows, &slots)?;
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
