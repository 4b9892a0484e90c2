//! Window functions without an aggregate: each row with its windows.

use super::local_time::LocalTime;
use super::rows::{Gather, MAX_BATCH_ROWS, batch, inserts_only, milliseconds};
use super::sessions::{Assigned, Session, Sessions};
use super::snapshots::{PART_ROWS, Progress, state_rows, times, unknown_table, write_progress};
use super::window_aggregate::timestamps;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{TimeAttribute, WindowTableNode};
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::time::{Watermark, WindowSpec};
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use std::collections::VecDeque;
use std::sync::Arc;

/// Adds `window_start`, `window_end` and `window_time` to the rows. TUMBLE, HOP and CUMULATE give a row for each
/// window at once, HOP the latest first: nothing waits, nothing is late. SESSION gives the rows of a session
/// when it closes. Rows whose time is NULL are dropped and counted.
pub struct WindowTable {
    windows: Windows,
    null_time_rows: u64,
}

enum Windows {
    Aligned(Aligned),
    Session(Box<SessionRows>),
}

impl WindowTable {
    /// Columns of `output`: those of `input`, `window_start`, `window_end`, `window_time`.
    ///
    /// Errors: a session key of a type that cannot be a key.
    pub fn new(node: &WindowTableNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let local = LocalTime::new(node.zone);
        let windows = match node.window {
            WindowSpec::Session { gap } => {
                let types: Vec<_> = node.keys.iter().map(|k| input.field(*k).data_type().clone()).collect();
                Windows::Session(Box::new(SessionRows {
                    time: node.time,
                    local,
                    keys: node.keys.clone(),
                    output,
                    table: KeyTable::new(&types)?,
                    sessions: Sessions::new(gap, local),
                    rows: Vec::new(),
                    batches: Batches::default(),
                    late_rows: 0,
                    scratch: Vec::new(),
                    context: None,
                    input,
                    unsaved: Unsaved::default(),
                }))
            }
            window => Windows::Aligned(Aligned { window, time: node.time, local, output }),
        };
        Ok(Self { windows, null_time_rows: 0 })
    }
}

/// The columns that tell windows, of the types at the end of `output`.
fn window_columns(windows: &[(i64, i64)], output: &SchemaRef, local: LocalTime) -> Vec<ArrayRef> {
    use arrow::datatypes::DataType;
    let width = output.fields().len();
    let column = |from_end: usize, of: &dyn Fn(&(i64, i64)) -> i64| {
        timestamps(windows.iter().map(of).collect(), output.field(width - from_end).data_type())
    };
    let time_is_instant = matches!(output.field(width - 1).data_type(), DataType::Timestamp(_, Some(_)));
    let time = |window: &(i64, i64)| if time_is_instant { local.instant(window.1 - 1) } else { window.1 - 1 };
    vec![column(3, &|w| w.0), column(2, &|w| w.1), column(1, &time)]
}

/// Windows that are known from the row alone.
struct Aligned {
    window: WindowSpec,
    time: TimeAttribute,
    local: LocalTime,
    output: SchemaRef,
}

impl Aligned {
    /// Emits `input` with windows; gives the number of rows dropped.
    fn process(&self, input: &ChangeBatch, now_ms: i64, out: &mut dyn Collector) -> Result<u64> {
        let rows = input.num_rows();
        let times = match self.time {
            TimeAttribute::Rowtime { column } => milliseconds(input.records().column(column))?,
            TimeAttribute::Proctime => Int64Array::from_value(now_ms, rows),
        };
        let walls = self.local.wall_column(&times);
        // Window columns are most often those of the row before.
        let mut known: (i64, i64, Vec<(i64, i64)>) = (0, 0, Vec::new());
        let mut picks: Vec<u32> = Vec::with_capacity(rows);
        let mut windows: Vec<(i64, i64)> = Vec::with_capacity(rows);
        for (row, time) in walls.iter().enumerate() {
            let Some(time) = time else { continue };
            if !(known.0 <= time && time < known.1) {
                let start = self.window.slice_start(time).unwrap_or(time);
                let end = start.saturating_add(self.window.slice().unwrap_or(1));
                known = (start, end, self.window.windows(time));
            }
            picks.extend(std::iter::repeat_n(row as u32, known.2.len()));
            windows.extend_from_slice(&known.2);
            if picks.len() >= MAX_BATCH_ROWS {
                self.emit(input, &picks, &windows, out)?;
                picks.clear();
                windows.clear();
            }
        }
        self.emit(input, &picks, &windows, out)?;
        Ok(walls.null_count() as u64)
    }

    fn emit(
        &self,
        input: &ChangeBatch,
        picks: &[u32],
        windows: &[(i64, i64)],
        out: &mut dyn Collector,
    ) -> Result<()> {
        if picks.is_empty() {
            return Ok(());
        }
        let all = picks.len() == input.num_rows()
            && picks.iter().enumerate().all(|(row, pick)| row as u32 == *pick);
        let rows = if all { input.clone() } else { input.take(&UInt32Array::from(picks.to_vec()))? };
        let mut columns = rows.records().columns().to_vec();
        columns.extend(window_columns(windows, &self.output, self.local));
        let records = batch(&self.output, columns, windows.len())?;
        out.emit(rows.with_records(records))
    }
}

/// The rows of open sessions.
struct SessionRows {
    time: TimeAttribute,
    local: LocalTime,
    keys: Vec<usize>,
    output: SchemaRef,
    table: KeyTable,
    sessions: Sessions,
    /// By slot: batch and row of each row, in order of arrival.
    rows: Vec<Vec<(usize, usize)>>,
    batches: Batches,
    late_rows: u64,
    scratch: Vec<u32>,
    context: Option<OpenContext>,
    input: SchemaRef,
    unsaved: Unsaved,
}

/// State table of rows: start and end of the session, then the row. Written in full each time.
const ROWS: &str = "rows";

/// What the snapshot at hand still wants: batches never change and are shared, the lists of rows are copied.
#[derive(Default)]
struct Unsaved {
    sessions: VecDeque<(Session, Vec<(usize, usize)>)>,
    batches: Batches,
}

/// Batches that hold rows of open sessions, each kept until its last row is gone.
#[derive(Default, Clone)]
struct Batches {
    held: Vec<Option<(RecordBatch, usize)>>,
    /// Index of the first of `held`: indexes grow for ever, so that they tell the order of arrival.
    first: usize,
}

impl Batches {
    fn add(&mut self, batch: RecordBatch, rows: usize) -> usize {
        self.held.push(Some((batch, rows)));
        self.first + self.held.len() - 1
    }

    fn get(&self, index: usize) -> Option<&RecordBatch> {
        self.held[index - self.first].as_ref().map(|(batch, _)| batch)
    }

    /// One row of a batch is not needed any more.
    fn release(&mut self, index: usize) {
        let held = &mut self.held[index - self.first];
        if let Some((_, rows)) = held {
            *rows -= 1;
            if *rows == 0 {
                *held = None;
            }
        }
    }

    fn pack(&mut self) {
        let gone = self.held.iter().take_while(|b| b.is_none()).count();
        self.held.drain(..gone);
        self.first += gone;
    }

    fn size(&self) -> usize {
        self.held.iter().flatten().map(|(batch, _)| batch.get_array_memory_size()).sum()
    }
}

impl SessionRows {
    /// Takes `records` in; gives the number of rows without a time.
    fn process(
        &mut self,
        records: &RecordBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<u64> {
        let rows = records.num_rows();
        let times = match self.time {
            TimeAttribute::Rowtime { column } => {
                self.sessions.progress = self.sessions.progress.max(context.watermark.0);
                milliseconds(records.column(column))?
            }
            TimeAttribute::Proctime => {
                self.advance(context.now_ms.saturating_sub(1), out)?;
                Int64Array::from_value(context.now_ms.max(self.sessions.progress.saturating_add(1)), rows)
            }
        };
        let walls = self.local.wall_column(&times);
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
        self.table.intern(&keys, rows, &mut self.scratch)?;
        let mut assigned = Assigned::default();
        for (row, (key, time)) in self.scratch.iter().zip(&walls).enumerate() {
            if let Some(time) = time {
                let taken = self.sessions.assign(row as u32, *key, time, &mut assigned);
                self.late_rows += u64::from(!taken);
            }
        }
        self.rows.resize_with(self.sessions.slots(), Vec::new);
        for (from, into) in &assigned.merges {
            let moved = std::mem::take(&mut self.rows[*from as usize]);
            self.rows[*into as usize].extend(moved);
            self.rows[*into as usize].sort_unstable();
        }
        self.sessions.release(&assigned.merges);
        let (taken, slots) = assigned.resolve();
        if !taken.is_empty() {
            // Only the rows taken are kept, also where `records` is a part of a larger batch.
            let kept = take_record_batch(records, &UInt32Array::from(taken))?;
            let index = self.batches.add(kept, slots.len());
            slots.iter().enumerate().for_each(|(row, slot)| self.rows[*slot as usize].push((index, row)));
        }
        let idle: Vec<u32> = self.scratch.iter().copied().filter(|k| self.sessions.is_idle(*k)).collect();
        self.table.remove(idle);
        self.sessions.settle();
        Ok(walls.null_count() as u64)
    }

    /// Emits the rows of the sessions that are past at `progress`.
    fn advance(&mut self, progress: i64, out: &mut dyn Collector) -> Result<()> {
        self.sessions.progress = self.sessions.progress.max(progress);
        let closed = self.sessions.close();
        let mut gather = Gather::new(&self.output, out);
        for slot in &closed {
            let Session { start, end, .. } = self.sessions.session(*slot);
            let rows = std::mem::take(&mut self.rows[*slot as usize]);
            for rows in rows.chunks(MAX_BATCH_ROWS) {
                let (batches, picks) = self.batches.gather(rows);
                let records = interleave_record_batch(&batches, &picks)?;
                let mut columns = records.columns().to_vec();
                columns.extend(window_columns(&vec![(start, end); rows.len()], &self.output, self.local));
                gather.add(columns, rows.len())?;
            }
            rows.iter().for_each(|(batch, _)| self.batches.release(*batch));
        }
        gather.flush()?;
        self.batches.pack();
        let idle = self.sessions.forget(&closed);
        self.table.remove(idle);
        self.sessions.settle();
        Ok(())
    }
}

impl SessionRows {
    fn start_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let Some(context) = &self.context else { return Ok(SnapshotProgress::Done) };
        out.full();
        write_progress(out, context, self.sessions.progress)?;
        let session = |slot: u32| (self.sessions.session(slot), self.rows[slot as usize].clone());
        self.unsaved = Unsaved {
            sessions: self.sessions.open_slots().map(session).collect(),
            batches: self.batches.clone(),
        };
        self.continue_snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let groups = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let (mut starts, mut ends, mut picked) = (Vec::new(), Vec::new(), Vec::new());
        while picked.len() < PART_ROWS
            && let Some((session, mut rows)) = self.unsaved.sessions.pop_front()
        {
            let later = rows.split_off(rows.len().min(PART_ROWS));
            starts.extend(std::iter::repeat_n(session.start, rows.len()));
            ends.extend(std::iter::repeat_n(session.end, rows.len()));
            picked.extend(rows);
            if !later.is_empty() {
                self.unsaved.sessions.push_front((session, later));
            }
        }
        if !picked.is_empty() {
            let (batches, picks) = self.unsaved.batches.gather(&picked);
            let records = interleave_record_batch(&batches, &picks)?;
            let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
            let mut columns: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(starts)), Arc::new(Int64Array::from(ends))];
            let width = keys.len();
            columns.extend(keys);
            columns.extend_from_slice(records.columns());
            out.rows(state_rows(ROWS, columns, 2..2 + width, 2, groups)?);
        }
        if self.unsaved.sessions.is_empty() {
            self.unsaved = Unsaved::default();
            return Ok(SnapshotProgress::Done);
        }
        Ok(SnapshotProgress::More)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let told = Progress::read(state)?;
        while let Some(rows) = state.next_rows()? {
            self.take_back(&rows)?;
        }
        self.sessions.progress = told.last();
        Ok(())
    }

    fn take_back(&mut self, rows: &StateRows) -> Result<()> {
        let records = &rows.rows;
        if records.num_rows() == 0 {
            return Ok(());
        }
        let first = 2 + self.keys.len();
        let columns = records.columns().get(first..).unwrap_or_default();
        let fits = columns.len() == self.input.fields().len()
            && columns.iter().zip(self.input.fields()).all(|(c, f)| c.data_type() == f.data_type());
        if rows.table != ROWS || !fits {
            return Err(unknown_table(&rows.table, "a session window over these columns"));
        }
        let (starts, ends) = (times(records, 0)?, times(records, 1)?);
        self.table.intern(&records.columns()[2..first], records.num_rows(), &mut self.scratch)?;
        let index =
            self.batches.add(RecordBatch::try_new(self.input.clone(), columns.to_vec())?, records.num_rows());
        for (row, key) in self.scratch.iter().enumerate() {
            let session = Session { start: starts.value(row), end: ends.value(row), key: *key };
            let known = self.sessions.of_key(*key).iter().find(|s| self.sessions.session(**s) == session);
            let slot = match known.copied() {
                Some(slot) => slot,
                None => self.sessions.put_back(session, &mut Vec::new()),
            };
            self.rows.resize_with(self.sessions.slots(), Vec::new);
            self.rows[slot as usize].push((index, row));
        }
        Ok(())
    }
}

impl Batches {
    /// The batches of `rows`, each once, and `rows` by position in them.
    fn gather(&self, rows: &[(usize, usize)]) -> (Vec<&RecordBatch>, Vec<(usize, usize)>) {
        let mut batches = Vec::new();
        let mut last = None;
        let mut picks = Vec::with_capacity(rows.len());
        for (index, row) in rows {
            if last != Some(*index) {
                last = Some(*index);
                batches.extend(self.get(*index));
            }
            picks.push((batches.len() - 1, *row));
        }
        (batches, picks)
    }
}

impl Operator for WindowTable {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        if let Windows::Session(sessions) = &mut self.windows {
            sessions.context = Some(context.clone());
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        match &mut self.windows {
            Windows::Aligned(_) => Ok(()),
            Windows::Session(sessions) => sessions.restore(state),
        }
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        match &mut self.windows {
            Windows::Aligned(_) => Ok(SnapshotProgress::Done),
            Windows::Session(sessions) => sessions.start_snapshot(out),
        }
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        match &mut self.windows {
            Windows::Aligned(_) => Ok(SnapshotProgress::Done),
            Windows::Session(sessions) => sessions.continue_snapshot(out),
        }
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.null_time_rows += match &mut self.windows {
            Windows::Aligned(aligned) => aligned.process(&input, context.now_ms, out)?,
            Windows::Session(sessions) => {
                inserts_only(&input, "A session window")?;
                sessions.process(input.records(), context, out)?
            }
        };
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        match &mut self.windows {
            Windows::Session(s) if s.time != TimeAttribute::Proctime => s.advance(watermark.0, out),
            _ => Ok(()),
        }
    }

    fn next_timer_ms(&self) -> Option<i64> {
        match &self.windows {
            Windows::Session(s) if s.time == TimeAttribute::Proctime => {
                s.sessions.next_past().map(|past| past.saturating_add(1))
            }
            _ => None,
        }
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        match &mut self.windows {
            Windows::Session(s) if s.time == TimeAttribute::Proctime => {
                s.advance(context.now_ms.saturating_sub(1), out)
            }
            _ => Ok(()),
        }
    }

    fn status(&self) -> OperatorStatus {
        let counters = OperatorStatus { null_time_rows: self.null_time_rows, ..OperatorStatus::default() };
        match &self.windows {
            Windows::Aligned(_) => counters,
            Windows::Session(s) => OperatorStatus {
                late_rows: s.late_rows,
                open_windows: s.sessions.len() as u64,
                next_fire_ms: s.sessions.next_past(),
                state_bytes: (s.table.size() + s.sessions.size() + s.batches.size()) as u64,
                ..counters
            },
        }
    }
}
