//! Tumbling, hopping and cumulating windows, and windows that the rows carry: state by slice.

mod spilled;

use self::spilled::{PARTS, PutDown, Spilled, gathered};
use super::aggregates::{self, Accumulators, Aggregates};
use super::local_time::LocalTime;
use super::rows::{Gather, MAX_BATCH_ROWS, inserts_only, milliseconds};
use super::snapshots::{GroupSet, PART_ROWS, Progress, TableRows, unknown_table, write_progress};
use super::window_aggregate::Properties;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{TimeAttribute, WindowAggregateNode, WindowInput};
use crate::state::{KeyTable, Share, SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::time::{Watermark, WindowSpec};
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A slice, or a window: `[start, end)` in wall time.
type Bounds = (i64, i64);

/// Folds each row once, into the slice of time that holds it: the greatest stretch that no window cuts. Each
/// slice has its own key table and accumulators. When a window is due, its slices are merged and told; a slice
/// goes when its last window has. So a row that is late for some of its windows still counts in the others.
pub(super) struct SliceAggregate {
    assign: Assign,
    local: LocalTime,
    keys: Vec<usize>,
    retracts: bool,
    aggregates: Aggregates,
    properties: Properties,
    output: SchemaRef,
    /// Empty; others are made like it.
    table: KeyTable,
    slices: BTreeMap<Bounds, Slice>,
    /// Windows that are not told yet, by (end, start): of each slice at least the first. When one is told, it
    /// makes way for the next.
    open: BTreeSet<Bounds>,
    /// CUMULATE: what the windows told so far hold together, by start.
    cumulated: BTreeMap<i64, Slice>,
    /// Windows that end up to here have been told: the watermark, or one before the clock.
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
    scratch: Vec<u32>,
    context: Option<OpenContext>,
    saving: Saving,
    /// What is held of the memory budget.
    share: Option<Share>,
}

/// The snapshot at hand.
#[derive(Default)]
struct Saving {
    /// Rows of groups that were about to change before their turn.
    early: Vec<TableRows>,
    /// Slices that went before their turn.
    gone: Vec<(Bounds, Slice)>,
    /// What slices had on disk at the barrier.
    spilled: VecDeque<SavedDisk>,
}

/// What a slice had on disk at the barrier, part after part.
struct SavedDisk {
    table: &'static str,
    bounds: Bounds,
    rows: Vec<PutDown>,
    next: usize,
}

/// State table of slices: start, end, keys, states. Slices whose windows have all been told are not deleted from
/// earlier snapshots: a restore leaves them out by the progress told beside them.
const SLICES: &str = "slices";
/// State table of what the told windows of CUMULATE hold: start, start, keys, states.
const CUMULATED: &str = "cumulated";

/// How a row finds its slice.
enum Assign {
    /// By event time.
    Rowtime { window: WindowSpec, column: usize },
    /// By the clock.
    Proctime { window: WindowSpec },
    /// The row carries its window, which is one slice.
    Attached { start: usize, end: usize },
}

impl Assign {
    fn window(&self) -> Option<&WindowSpec> {
        match self {
            Self::Rowtime { window, .. } | Self::Proctime { window } => Some(window),
            Self::Attached { .. } => None,
        }
    }

    /// The slice that holds `time`.
    fn slice(window: &WindowSpec, time: i64) -> Bounds {
        let start = window.slice_start(time).unwrap_or(time);
        (start, start.saturating_add(window.slice().unwrap_or(1)))
    }

    /// The windows that `slice` is part of.
    fn windows(&self, slice: Bounds) -> Vec<Bounds> {
        self.window().map_or_else(|| vec![slice], |window| window.windows(slice.0))
    }

    /// The window that comes after `window` and may share slices with it.
    fn next_window(&self, window: Bounds) -> Option<Bounds> {
        match *self.window()? {
            WindowSpec::Hop { slide, .. } => {
                Some((window.0.saturating_add(slide), window.1.saturating_add(slide)))
            }
            WindowSpec::Cumulate { step, size, .. } => {
                let last = window.0.saturating_add(size);
                (window.1 < last).then(|| (window.0, last.min(window.1.saturating_add(step))))
            }
            WindowSpec::Tumble { .. } | WindowSpec::Session { .. } => None,
        }
    }
}

/// Keys and their accumulators.
struct Slice {
    table: KeyTable,
    accumulators: Accumulators,
    /// Groups with changes since the last snapshot.
    changed: GroupSet,
    /// Groups that the snapshot at hand still wants.
    unsaved: GroupSet,
    /// What has gone to disk.
    spilled: Option<Box<Spilled>>,
    /// Bytes in memory, estimated, as of the last batch.
    bytes: usize,
}

impl Slice {
    /// Says what a snapshot of `kind` wants.
    fn mark(&mut self, kind: SnapshotKind) {
        let changed = std::mem::take(&mut self.changed);
        match kind {
            SnapshotKind::Full => self.unsaved.extend(self.table.groups()),
            SnapshotKind::Delta => {
                let mut changed = changed;
                self.unsaved.extend(changed.take(usize::MAX));
            }
        }
    }

    /// Adds `groups` as rows of `bounds`.
    fn save(&self, bounds: Bounds, groups: &[u32], rows: &mut TableRows) -> Result<()> {
        let times = |time| Arc::new(Int64Array::from_value(time, groups.len())) as ArrayRef;
        let mut columns = vec![times(bounds.0), times(bounds.1)];
        columns.extend(self.table.keys(groups)?);
        columns.extend(aggregates::states(&self.accumulators, groups)?);
        rows.add(columns);
        Ok(())
    }

    /// Adds what is still wanted as rows of `bounds`, until there are `PART_ROWS`.
    fn save_part(&mut self, bounds: Bounds, rows: &mut TableRows) -> Result<()> {
        while !self.unsaved.is_empty() && rows.len() < PART_ROWS {
            let groups = self.unsaved.take((PART_ROWS - rows.len()).min(MAX_BATCH_ROWS));
            self.save(bounds, &groups, rows)?;
        }
        Ok(())
    }

    /// Adds `others`, which are in the order of time.
    fn merge(&mut self, others: &[&Slice]) -> Result<()> {
        let mut parts: Vec<(&Slice, Vec<u32>, Vec<u32>)> = Vec::with_capacity(others.len());
        for other in others.iter().rev() {
            let from: Vec<u32> = other.table.groups().collect();
            let mut into = Vec::new();
            self.table.intern_table(&other.table, &from, &mut into);
            parts.push((other, from, into));
        }
        aggregates::resize(&mut self.accumulators, self.table.slots());
        for (call, mine) in self.accumulators.iter_mut().enumerate() {
            let mut merge = |(other, from, into): &(&Slice, Vec<u32>, Vec<u32>)| -> Result<()> {
                for (from, into) in from.chunks(MAX_BATCH_ROWS).zip(into.chunks(MAX_BATCH_ROWS)) {
                    mine.merge(&other.accumulators[call].state(from)?, into)?;
                }
                Ok(())
            };
            match others.first().is_some_and(|o| o.accumulators[call].merges_in_time_order()) {
                true => parts.iter().rev().try_for_each(&mut merge)?,
                false => parts.iter().try_for_each(&mut merge)?,
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.table.size() + aggregates::size(&self.accumulators)
    }
}

impl SliceAggregate {
    pub(super) fn new(node: &WindowAggregateNode, input: &Schema, output: SchemaRef) -> Result<Self> {
        let (assign, zone) = match node.input {
            WindowInput::Assign { window, time: TimeAttribute::Rowtime { column }, zone } => {
                (Assign::Rowtime { window, column }, zone)
            }
            WindowInput::Assign { window, time: TimeAttribute::Proctime, zone } => {
                (Assign::Proctime { window }, zone)
            }
            WindowInput::Attached { start, end, zone } => (Assign::Attached { start, end }, zone),
        };
        let local = LocalTime::new(zone);
        let types: Vec<_> = node.keys.iter().map(|k| input.field(*k).data_type().clone()).collect();
        Ok(Self {
            assign,
            local,
            keys: node.keys.clone(),
            retracts: node.retracts,
            aggregates: Aggregates::new(&aggregates::in_windows(node), input, node.retracts)?,
            properties: Properties::new(&node.properties, &output, local),
            output,
            table: KeyTable::new(&types)?,
            slices: BTreeMap::new(),
            open: BTreeSet::new(),
            cumulated: BTreeMap::new(),
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            scratch: Vec::new(),
            context: None,
            saving: Saving::default(),
            share: None,
        })
    }

    fn is_proctime(&self) -> bool {
        matches!(self.assign, Assign::Proctime { .. })
    }

    /// The slice of each row; `None` where its time is NULL.
    fn runs(&self, records: &RecordBatch, now_ms: i64) -> Result<Vec<Run>> {
        let mut runs = Runs::default();
        match &self.assign {
            Assign::Proctime { window } => {
                let slice = Assign::slice(window, self.local.wall(now_ms));
                return Ok(vec![Run { slice: Some(slice), start: 0, length: records.num_rows() }]);
            }
            Assign::Rowtime { window, column } => {
                let times = milliseconds(records.column(*column))?;
                let times = self.local.wall_column(&times);
                each(&times, |row, time| {
                    // Rows mostly stay in the slice of the row before.
                    let slice = match (time, runs.last()) {
                        (None, _) => None,
                        (Some(t), Some(last)) if last.0 <= t && t < last.1 => Some(last),
                        (Some(t), _) => Some(Assign::slice(window, t)),
                    };
                    runs.push(row, slice);
                });
            }
            Assign::Attached { start, end } => {
                let starts = milliseconds(records.column(*start))?;
                let ends = milliseconds(records.column(*end))?;
                each(&starts, |row, start| {
                    let end = ends.is_valid(row).then(|| ends.value(row));
                    runs.push(row, start.zip(end));
                });
            }
        }
        Ok(runs.0)
    }

    /// Folds rows that are all of `slice`.
    fn fold(&mut self, slice: Bounds, rows: &ChangeBatch) -> Result<()> {
        let records = rows.records();
        if !self.slices.contains_key(&slice) {
            let windows = self.assign.windows(slice);
            let Some((start, end)) = self.first_open(slice, self.progress) else {
                // Rows between hopping windows that leave gaps belong to none and are not late.
                self.late_rows += if windows.is_empty() { 0 } else { records.num_rows() as u64 };
                return Ok(());
            };
            self.open.insert((end, start));
        }
        let held = match self.slices.entry(slice) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(new) => new.insert(empty(&self.table, &self.aggregates)?),
        };
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
        held.table.intern(&keys, records.num_rows(), &mut self.scratch)?;
        let early = held.unsaved.take_these(&self.scratch);
        if !early.is_empty() {
            let mut rows = TableRows::new(SLICES, 2, self.keys.len(), max_parallelism(&self.context));
            held.save(slice, &early, &mut rows)?;
            self.saving.early.push(rows);
        }
        if self.context.as_ref().is_some_and(|c| c.checkpointing) {
            held.changed.extend(self.scratch.iter().copied());
        }
        aggregates::resize(&mut held.accumulators, held.table.slots());
        self.aggregates.apply(&mut held.accumulators, rows, &self.scratch)?;
        held.bytes = held.size();
        if let Some(spilled) = &mut held.spilled {
            spilled.changed = true;
        }
        Ok(())
    }

    fn remove(&mut self, slice: Bounds) {
        if let Some(held) = self.slices.remove(&slice).filter(|s| !s.unsaved.is_empty()) {
            self.saving.gone.push((slice, held));
        }
    }

    /// The first window of `slice` that is not told at `progress`.
    fn first_open(&self, slice: Bounds, progress: i64) -> Option<Bounds> {
        let windows = self.assign.windows(slice);
        let due = windows.into_iter().filter(|(_, end)| self.local.passed(*end - 1) > progress);
        due.min_by_key(|(_, end)| *end)
    }

    /// The next rows of the snapshot: what was on disk, then what is in memory.
    fn save_part(&mut self) -> Result<Option<TableRows>> {
        while let Some(saved) = self.saving.spilled.front_mut() {
            let mut rows = TableRows::new(saved.table, 2, self.keys.len(), max_parallelism(&self.context));
            let kind = spilled::Kind { table: &self.table, aggregates: &self.aggregates };
            let whole = gathered(&saved.rows, saved.next, kind)?;
            let groups: Vec<u32> = whole.table.groups().collect();
            for groups in groups.chunks(MAX_BATCH_ROWS) {
                whole.save(saved.bounds, groups, &mut rows)?;
            }
            saved.next += 1;
            if saved.next == PARTS {
                self.saving.spilled.pop_front();
            }
            if rows.len() > 0 {
                return Ok(Some(rows));
            }
        }
        self.save_part_in_memory()
    }

    /// The next rows of the snapshot: slices that went, then those that are there.
    fn save_part_in_memory(&mut self) -> Result<Option<TableRows>> {
        let table = |name| TableRows::new(name, 2, self.keys.len(), max_parallelism(&self.context));
        let mut rows = table(SLICES);
        while let Some((bounds, slice)) = self.saving.gone.last_mut() {
            slice.save_part(*bounds, &mut rows)?;
            if !slice.unsaved.is_empty() {
                return Ok(Some(rows));
            }
            self.saving.gone.pop();
        }
        for (bounds, slice) in &mut self.slices {
            slice.save_part(*bounds, &mut rows)?;
            if rows.len() >= PART_ROWS {
                return Ok(Some(rows));
            }
        }
        if rows.len() > 0 {
            return Ok(Some(rows));
        }
        let mut rows = table(CUMULATED);
        for (start, slice) in &mut self.cumulated {
            slice.save_part((*start, *start), &mut rows)?;
            if rows.len() >= PART_ROWS {
                break;
            }
        }
        Ok(Some(rows).filter(|r| r.len() > 0))
    }

    /// Rows of a checkpoint.
    fn take_back(&mut self, rows: &StateRows, told: &Progress) -> Result<()> {
        let first_state = 2 + self.keys.len();
        for (bounds, progress, range) in told.runs(rows)? {
            // Of windows that are all told, rows may be there from before they were.
            let Some((start, end)) = self.first_open(bounds, progress) else { continue };
            self.open.insert((end, start));
            let part = rows.rows.slice(range.start, range.len());
            let known = match &*rows.table {
                SLICES => self.slices.entry(bounds).or_insert(empty(&self.table, &self.aggregates)?),
                CUMULATED => self.cumulated.entry(bounds.0).or_insert(empty(&self.table, &self.aggregates)?),
                other => return Err(unknown_table(other, "a window aggregate")),
            };
            let (Some(keys), Some(states)) =
                (part.columns().get(2..first_state), part.columns().get(first_state..))
            else {
                return Err(unknown_table(&rows.table, "a window aggregate"));
            };
            known.table.intern(keys, part.num_rows(), &mut self.scratch)?;
            aggregates::resize(&mut known.accumulators, known.table.slots());
            aggregates::replace(&mut known.accumulators, states, &self.scratch)?;
            known.bytes = known.size();
        }
        self.make_room(true)
    }

    /// Tells the windows that are due.
    fn fire(&mut self, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let output = self.output.clone();
        let mut gather = Gather::new(&output, out);
        while let Some((end, start)) = self.open.first().copied() {
            if self.local.passed(end - 1) > self.progress {
                break;
            }
            self.open.pop_first();
            self.tell((start, end), now_ms, &mut gather)?;
        }
        gather.flush()?;
        self.make_room(false)
    }

    fn tell(&mut self, window: Bounds, now_ms: i64, gather: &mut Gather<'_>) -> Result<()> {
        let next = self.assign.next_window(window);
        if let Some(WindowSpec::Cumulate { .. }) = self.assign.window() {
            // Slices are about to be put together, and the snapshot wants them as they were.
            while let Some(rows) = self.save_part_in_memory()? {
                self.saving.early.push(rows);
            }
            let mut whole = self.cumulate(window)?;
            whole.bytes = whole.size();
            self.emit_whole(window, &[&whole], now_ms, gather)?;
            if let Some((start, end)) = next {
                self.cumulated.insert(window.0, whole);
                self.open.insert((end, start));
            }
            return Ok(());
        }
        let slices: Vec<&Slice> = match self.assign {
            Assign::Attached { .. } => self.slices.range(window..=window).map(|(_, s)| s).collect(),
            _ => self.slices.range((window.0, i64::MIN)..(window.1, i64::MIN)).map(|(_, s)| s).collect(),
        };
        self.emit_whole(window, &slices, now_ms, gather)?;
        if let Assign::Attached { .. } = self.assign {
            self.remove(window);
            return Ok(());
        }
        let needed = next.map_or(window.1, |(start, _)| start);
        while let Some(slice) = self.slices.keys().next().copied().filter(|s| s.0 < needed) {
            self.remove(slice);
        }
        if let Some((start, end)) =
            next.filter(|n| self.slices.range((n.0, i64::MIN)..(n.1, i64::MIN)).next().is_some())
        {
            self.open.insert((end, start));
        }
        Ok(())
    }

    /// Moves the slices of `window` into what the windows before it, with the same start, hold.
    fn cumulate(&mut self, window: Bounds) -> Result<Slice> {
        let mut whole = self.cumulated.remove(&window.0);
        loop {
            let next = self.slices.range((window.0, i64::MIN)..(window.1, i64::MIN)).next().map(|(s, _)| *s);
            let Some(slice) = next.and_then(|s| self.slices.remove(&s)) else { break };
            match (&mut whole, &self.share) {
                (None, _) => whole = Some(slice),
                (Some(whole), Some(share)) if whole.spilled.is_some() || slice.spilled.is_some() => {
                    let mut slice = slice;
                    whole.spill(self.kind(), share, false)?;
                    slice.spill(self.kind(), share, false)?;
                    whole.absorb(slice);
                }
                (Some(whole), _) => whole.merge(&[&slice])?,
            }
        }
        match whole {
            Some(whole) => Ok(whole),
            None => empty(&self.table, &self.aggregates),
        }
    }

    /// Tells what `slices`, which are in the order of time, hold together.
    fn emit_whole(
        &self,
        window: Bounds,
        slices: &[&Slice],
        now_ms: i64,
        gather: &mut Gather<'_>,
    ) -> Result<()> {
        if slices.iter().any(|s| s.spilled.is_some()) {
            for part in 0..PARTS {
                let parts: Vec<Slice> =
                    slices.iter().map(|s| s.part(part, self.kind())).collect::<Result<_>>()?;
                let parts: Vec<&Slice> = parts.iter().collect();
                self.emit_merged(window, &parts, now_ms, gather)?;
            }
            return Ok(());
        }
        self.emit_merged(window, slices, now_ms, gather)
    }

    fn emit_merged(
        &self,
        window: Bounds,
        slices: &[&Slice],
        now_ms: i64,
        gather: &mut Gather<'_>,
    ) -> Result<()> {
        match slices {
            [] => Ok(()),
            [only] => self.emit(window, only, now_ms, gather),
            _ => {
                let mut whole = empty(&self.table, &self.aggregates)?;
                whole.merge(slices)?;
                self.emit(window, &whole, now_ms, gather)
            }
        }
    }

    fn emit(&self, window: Bounds, slice: &Slice, now_ms: i64, gather: &mut Gather<'_>) -> Result<()> {
        let mut groups: Vec<u32> = slice.table.groups().collect();
        if self.retracts {
            groups = aggregates::with_rows(&slice.accumulators, groups)?;
        }
        for groups in groups.chunks(MAX_BATCH_ROWS) {
            let mut columns = slice.table.keys(groups)?;
            let values = aggregates::evaluate(&slice.accumulators, groups)?;
            columns.extend(values.into_iter().take(slice.accumulators.len() - usize::from(self.retracts)));
            columns.extend(self.properties.columns(std::iter::repeat_n(window, groups.len()), now_ms));
            gather.add(columns, groups.len())?;
        }
        Ok(())
    }
}

/// A slice like `table`.
fn empty(table: &KeyTable, aggregates: &Aggregates) -> Result<Slice> {
    Ok(Slice {
        table: table.new_like(),
        accumulators: aggregates.make()?,
        changed: GroupSet::default(),
        unsaved: GroupSet::default(),
        spilled: None,
        bytes: 0,
    })
}

fn max_parallelism(context: &Option<OpenContext>) -> usize {
    context.as_ref().map_or(1, |c| c.max_parallelism)
}

/// Calls `with` for each row and its value.
fn each(values: &Int64Array, mut with: impl FnMut(usize, Option<i64>)) {
    match values.nulls().filter(|n| n.null_count() > 0) {
        None => values.values().iter().enumerate().for_each(|(row, value)| with(row, Some(*value))),
        Some(_) => values.iter().enumerate().for_each(|(row, value)| with(row, value)),
    }
}

/// Rows next to each other of one slice; `None` for rows without a time.
struct Run {
    slice: Option<Bounds>,
    start: usize,
    length: usize,
}

#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    #[inline]
    fn last(&self) -> Option<Bounds> {
        self.0.last().and_then(|run| run.slice)
    }

    #[inline]
    fn push(&mut self, row: usize, slice: Option<Bounds>) {
        match self.0.last_mut() {
            Some(run) if run.slice == slice => run.length += 1,
            _ => self.0.push(Run { slice, start: row, length: 1 }),
        }
    }
}

/// The rows of each slice together, slices in order of first sight. Rows keep their order in each.
fn by_slice(runs: &[Run], rows: &ChangeBatch) -> Result<Vec<(Bounds, ChangeBatch)>> {
    let mut order: HashMap<Bounds, usize> = HashMap::new();
    let mut slices: Vec<(Bounds, Vec<&Run>)> = Vec::new();
    for run in runs {
        let Some(slice) = run.slice else { continue };
        let at = *order.entry(slice).or_insert_with(|| {
            slices.push((slice, Vec::new()));
            slices.len() - 1
        });
        slices[at].1.push(run);
    }
    let gather = |(slice, runs): (Bounds, Vec<&Run>)| {
        let part = match runs[..] {
            [run] if run.length == rows.num_rows() => rows.clone(),
            [run] => rows.slice(run.start, run.length),
            _ => {
                let picks = runs.iter().flat_map(|run| run.start..run.start + run.length);
                rows.take(&UInt32Array::from_iter_values(picks.map(|row| row as u32)))?
            }
        };
        Ok((slice, part))
    };
    slices.into_iter().map(gather).collect()
}

impl Operator for SliceAggregate {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.context = Some(context.clone());
        self.share = Some(Share::new(context.memory.clone()));
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let told = Progress::read(state)?;
        while let Some(rows) = state.next_rows()? {
            self.take_back(&rows, &told)?;
        }
        self.progress = told.last();
        self.end_restore()
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let Some(context) = &self.context else { return Ok(SnapshotProgress::Done) };
        let cumulates = matches!(self.assign.window(), Some(WindowSpec::Cumulate { .. }));
        if cumulates || !context.checkpointing {
            // What CUMULATE has put together cannot be told from slices of late rows.
            out.full();
        }
        write_progress(out, context, self.progress)?;
        self.saving = Saving::default();
        let kind = out.kind();
        let made_of = spilled::Kind { table: &self.table, aggregates: &self.aggregates };
        let slices = self.slices.iter_mut().map(|(bounds, slice)| (SLICES, *bounds, slice));
        let cumulated = self.cumulated.iter_mut().map(|(at, slice)| (CUMULATED, (*at, *at), slice));
        for (table, bounds, slice) in slices.chain(cumulated) {
            let has_changed = slice.spilled.as_ref().map(|s| s.changed || kind == SnapshotKind::Full);
            match (has_changed, &self.share) {
                (Some(true), Some(share)) => {
                    // What it holds at the barrier is then what it has on disk now.
                    slice.spill(made_of, share, false)?;
                    if let Some(spilled) = &mut slice.spilled {
                        spilled.changed = false;
                        let rows = spilled.rows.clone();
                        self.saving.spilled.push_back(SavedDisk { table, bounds, rows, next: 0 });
                    }
                }
                (Some(_), _) => {}
                (None, _) => slice.mark(kind),
            }
        }
        self.continue_snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        for mut rows in std::mem::take(&mut self.saving.early) {
            rows.give(out)?;
        }
        match self.save_part()? {
            Some(mut rows) => rows.give(out).map(|()| SnapshotProgress::More),
            None => Ok(SnapshotProgress::Done),
        }
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
            self.progress = self.progress.max(context.watermark.0);
        }
        let records = input.records();
        if records.num_rows() == 0 {
            return Ok(());
        }
        let runs = self.runs(records, context.now_ms.max(self.now()))?;
        let timeless = runs.iter().filter(|run| run.slice.is_none()).map(|run| run.length as u64);
        self.null_time_rows += timeless.sum::<u64>();
        for (slice, part) in by_slice(&runs, &input)? {
            self.fold(slice, &part)?;
        }
        self.make_room(false)
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
        self.progress = self.progress.max(watermark.0);
        self.fire(context.now_ms, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let (end, _) = self.open.first().filter(|_| self.is_proctime())?;
        Some(self.local.passed(end - 1).saturating_add(1))
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        if !self.is_proctime() {
            return Ok(());
        }
        self.progress = self.progress.max(context.now_ms.saturating_sub(1));
        self.fire(context.now_ms, out)
    }

    fn status(&self) -> OperatorStatus {
        let slices = self.slices.values().chain(self.cumulated.values());
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            open_windows: self.open_windows(),
            next_fire_ms: self.open.first().map(|(end, _)| self.local.passed(end - 1)),
            state_bytes: slices.map(Slice::size).sum::<usize>() as u64,
        }
    }
}

impl SliceAggregate {
    /// The latest time that the clock is known to have shown: it may go back, windows do not.
    fn now(&self) -> i64 {
        self.progress.saturating_add(1)
    }

    /// Windows with rows that are not told yet.
    fn open_windows(&self) -> u64 {
        let Some((_, first_start)) = self.open.first().copied() else { return 0 };
        match self.assign.window() {
            Some(WindowSpec::Hop { slide, size, .. }) => {
                // Windows of each slice that the slices before it do not share.
                let (mut windows, mut told) = (0, first_start - slide);
                for slice in self.slices.keys() {
                    let last = slice.0 - (slice.0 - first_start).rem_euclid(*slide);
                    let before = last - (last - (slice.0 - size)).div_euclid(*slide) * slide;
                    windows += ((last - told.max(before)) / slide).max(0);
                    told = told.max(last);
                }
                windows as u64
            }
            Some(WindowSpec::Cumulate { step, size, .. }) => {
                let mut nearest = BTreeMap::new();
                for (end, start) in self.open.iter().rev() {
                    nearest.insert(start, end);
                }
                nearest.iter().map(|(start, end)| ((*start + size - *end) / step + 1) as u64).sum()
            }
            _ => self.open.len() as u64,
        }
    }
}
