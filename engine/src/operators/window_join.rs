//! Join of two windowed inputs, window by window.

use super::join_condition::JoinCondition;
use super::local_time::LocalTime;
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, milliseconds};
use super::snapshots::{PART_ROWS, Progress, groups_of, unknown_table, write_progress};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::{JoinType, WindowJoinNode};
use crate::state::{
    KeyTable, Piece, RunFile, Share, SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter,
    key_group,
};
use crate::time::Watermark;
use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, filter, take, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// No row: the end of a chain.
const NONE: u32 = u32::MAX;

/// Parts that the keys of a window on disk are cut into: one of them has to fit into memory. A prime, so that the keys of
/// one task are in all of them.
const PARTS: usize = if cfg!(test) { 3 } else { 61 };

/// Keeps the rows of both inputs by the end of their window, and joins those of a window when the watermark
/// comes to its end - 1 ms. Rows of windows that have been joined are late: dropped and counted. Windows that have no
/// room in memory go to disk, cut by the hash of their keys, and are joined part by part.
pub struct WindowJoin {
    inputs: [Input; 2],
    key_types: Vec<DataType>,
    /// For each key column, whether NULL equals NULL.
    null_safe: Vec<bool>,
    condition: Option<JoinCondition>,
    join_type: JoinType,
    output: SchemaRef,
    local: LocalTime,
    windows: BTreeMap<i64, Window>,
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
    bytes: usize,
    context: Option<OpenContext>,
    /// What the snapshot at hand still wants: input and rows.
    unsaved: VecDeque<(usize, Rows)>,
    /// What is held of the memory budget.
    share: Option<Share>,
}

/// Rows in memory, or on disk.
enum Rows {
    Batch(RecordBatch),
    Piece(Piece),
}

impl Rows {
    fn read(self) -> Result<RecordBatch> {
        match self {
            Self::Batch(batch) => Ok(batch),
            Self::Piece(piece) => piece.read(),
        }
    }
}

/// Names of the state tables: the rows of each input, as they came. Rows of windows that have been joined are not
/// deleted from earlier snapshots: a restore leaves them out by the progress told beside them.
const TABLES: [&str; 2] = ["left", "right"];

#[derive(Default)]
struct Window {
    rows: [Vec<RecordBatch>; 2],
    /// How many of them earlier snapshots hold.
    saved: [usize; 2],
    /// What has gone to disk.
    file: Option<RunFile>,
    spilled: Vec<Spilled>,
    /// Bytes of the rows in memory.
    bytes: usize,
}

struct Spilled {
    input: usize,
    part: usize,
    /// Whether an earlier snapshot holds it.
    saved: bool,
    piece: Piece,
}

impl Window {
    fn add(&mut self, input: usize, rows: RecordBatch) -> usize {
        let bytes = rows.get_array_memory_size();
        self.bytes += bytes;
        self.rows[input].push(rows);
        bytes
    }

    /// Moves the rows in memory to disk.
    fn spill(&mut self, inputs: &[Input; 2], share: &Share) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(share.run_file()?),
        };
        for (input, rows) in self.rows.iter_mut().enumerate() {
            let rows = std::mem::take(rows);
            let (old, new) = rows.split_at(std::mem::take(&mut self.saved[input]));
            for (rows, saved) in [(old, true), (new, false)] {
                if rows.is_empty() {
                    continue;
                }
                let all = concat_batches(&inputs[input].schema, rows)?;
                let mut parts: Vec<Vec<u32>> = vec![Vec::new(); PARTS];
                let keys = inputs[input].keys(&all);
                let mut of = vec![0; all.num_rows()];
                if !keys.is_empty() {
                    key_group::key_groups(&keys, PARTS, &mut of)?;
                }
                of.iter().zip(0..).for_each(|(part, row)| parts[*part as usize].push(row));
                let parts = parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
                let (parts, rows): (Vec<usize>, Vec<Vec<u32>>) = parts.unzip();
                let batches = rows
                    .into_iter()
                    .map(|rows| Ok(take_record_batch(&all, &UInt32Array::from(rows))?))
                    .collect::<Result<Vec<_>>>()?;
                let pieces = parts.into_iter().zip(file.append(&batches)?);
                self.spilled.extend(pieces.map(|(part, piece)| Spilled { input, part, saved, piece }));
            }
        }
        self.bytes = 0;
        Ok(())
    }
}

struct Input {
    schema: SchemaRef,
    window_end: usize,
    keys: Vec<usize>,
}

impl WindowJoin {
    /// Columns of `output`: left columns, then right columns; of semi and anti joins left columns only.
    ///
    /// Errors: a key of a type that cannot be a key.
    pub fn new(node: &WindowJoinNode, inputs: &[SchemaRef], output: SchemaRef) -> Result<Self> {
        let [left, right] = inputs else {
            return Err(Error::internal("A window join has two inputs."));
        };
        let key_types: Vec<_> = node.keys.iter().map(|k| left.field(k.left).data_type().clone()).collect();
        KeyTable::new(&key_types)?;
        Ok(Self {
            inputs: [
                Input {
                    schema: left.clone(),
                    window_end: node.window_end.0,
                    keys: node.keys.iter().map(|k| k.left).collect(),
                },
                Input {
                    schema: right.clone(),
                    window_end: node.window_end.1,
                    keys: node.keys.iter().map(|k| k.right).collect(),
                },
            ],
            key_types,
            null_safe: node.keys.iter().map(|k| k.null_safe).collect(),
            condition: node.condition.as_ref().map(|c| JoinCondition::new(c, [left, right])).transpose()?,
            join_type: node.join_type,
            output,
            local: LocalTime::new(node.zone),
            windows: BTreeMap::new(),
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            bytes: 0,
            context: None,
            unsaved: VecDeque::new(),
            share: None,
        })
    }

    /// Joins the rows of a window that is due.
    fn join_window(&self, mut window: Window, out: &mut dyn Collector) -> Result<()> {
        let Some(share) = self.share.as_ref().filter(|_| window.file.is_some()) else {
            return self.join(&window.rows, out);
        };
        window.spill(&self.inputs, share)?;
        for part in 0..PARTS {
            let mut rows = [Vec::new(), Vec::new()];
            for spilled in window.spilled.iter().filter(|s| s.part == part) {
                let records = spilled.piece.read()?;
                // As they were before they were written: with the schema of the input.
                let columns = records.columns().to_vec();
                let schema = self.inputs[spilled.input].schema.clone();
                let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
                rows[spilled.input].push(RecordBatch::try_new_with_options(schema, columns, &options)?);
            }
            self.join(&rows, out)?;
        }
        Ok(())
    }

    /// Tells the budget what is held, and moves the largest windows to disk where that is too much.
    fn make_room(&mut self) -> Result<()> {
        let Some(share) = &mut self.share else { return Ok(()) };
        let mut over = share.hold(self.bytes);
        while over > 0
            && let Some(window) = self.windows.values_mut().max_by_key(|w| w.bytes).filter(|w| w.bytes > 0)
        {
            let freed = window.bytes;
            window.spill(&self.inputs, share)?;
            self.bytes = self.bytes.saturating_sub(freed);
            share.hold(self.bytes);
            over = over.saturating_sub(freed);
        }
        Ok(())
    }

    fn join(&self, [left, right]: &[Vec<RecordBatch>; 2], out: &mut dyn Collector) -> Result<()> {
        let (left_outer, right_outer) = self.join_type.outer(0);
        let tells_left = left_outer || self.join_type == JoinType::Anti;
        if (left.is_empty() && !right_outer) || (right.is_empty() && !tells_left) {
            return Ok(());
        }
        let left = concat_batches(&self.inputs[0].schema, left)?;
        let right = concat_batches(&self.inputs[1].schema, right)?;
        let mut table = KeyTable::new(&self.key_types)?;
        let left_keys = self.inputs[0].keys(&left);
        let mut groups = Vec::new();
        table.intern(&left_keys, left.num_rows(), &mut groups)?;
        // Rows of each group as a chain, last row first; built backwards so that it is walked in order.
        let mut heads = vec![NONE; table.slots()];
        let mut next = vec![NONE; left.num_rows()];
        for row in (0..left.num_rows()).rev() {
            let strict = left_keys.iter().zip(&self.null_safe).filter(|(_, safe)| !**safe);
            if strict.into_iter().all(|(k, _)| k.is_valid(row)) {
                next[row] = std::mem::replace(&mut heads[groups[row] as usize], row as u32);
            }
        }
        let right_keys = self.inputs[1].keys(&right);
        let found = table.find(&right_keys, right.num_rows())?;
        let mut pairs = Pairs {
            sides: [&left, &right],
            picks: [Vec::new(), Vec::new()],
            joined: [vec![false; left.num_rows()], vec![false; right.num_rows()]],
        };
        for (row, group) in found.into_iter().enumerate() {
            let Some(group) = group else { continue };
            let mut at = heads[group as usize];
            while at != NONE {
                pairs.picks[0].push(at);
                pairs.picks[1].push(row as u32);
                at = next[at as usize];
                if pairs.picks[0].len() == MAX_BATCH_ROWS {
                    self.emit(&mut pairs, out)?;
                }
            }
        }
        self.emit(&mut pairs, out)?;
        let rows = |side: usize, joined: bool| -> Vec<u32> {
            let flags = pairs.joined[side].iter().enumerate();
            flags.filter(|(_, j)| **j == joined).map(|(row, _)| row as u32).collect()
        };
        match self.join_type {
            JoinType::Semi => self.emit_left(&left, rows(0, true), out),
            JoinType::Anti => self.emit_left(&left, rows(0, false), out),
            _ => {
                if left_outer {
                    self.emit_padded(&pairs, 0, rows(0, false), out)?;
                }
                if right_outer {
                    self.emit_padded(&pairs, 1, rows(1, false), out)?;
                }
                Ok(())
            }
        }
    }

    /// Tests the pairs at hand, notes which rows are joined, and passes the pairs on unless only left rows are told.
    fn emit(&self, pairs: &mut Pairs<'_>, out: &mut dyn Collector) -> Result<()> {
        let picks = std::mem::take(&mut pairs.picks);
        let rows = picks[0].len();
        if rows == 0 {
            return Ok(());
        }
        let mut picks = picks.map(UInt32Array::from);
        if let Some(condition) = &self.condition {
            let of = |side: usize| {
                let columns = condition.columns(side).iter();
                columns
                    .map(|c| Ok(take(pairs.sides[side].column(*c), &picks[side], None)?))
                    .collect::<Result<Vec<_>>>()
            };
            let mask = condition.test(0, of(0)?, of(1)?, rows)?;
            picks = [filtered(&picks[0], &mask)?, filtered(&picks[1], &mask)?];
        }
        for (joined, picks) in pairs.joined.iter_mut().zip(&picks) {
            picks.values().iter().for_each(|row| joined[*row as usize] = true);
        }
        if self.join_type.is_one_sided() || picks[0].is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.output.fields().len());
        for (side, picks) in pairs.sides.iter().zip(&picks) {
            for column in side.columns() {
                columns.push(take(column, picks, None)?);
            }
        }
        out.emit(ChangeBatch::inserts(batch(&self.output, columns, picks[0].len())?))
    }

    fn emit_left(&self, left: &RecordBatch, rows: Vec<u32>, out: &mut dyn Collector) -> Result<()> {
        for part in rows.chunks(MAX_BATCH_ROWS) {
            let records = take_record_batch(left, &UInt32Array::from(part.to_vec()))?;
            out.emit(ChangeBatch::inserts(batch(&self.output, records.columns().to_vec(), part.len())?))?;
        }
        Ok(())
    }

    /// Rows of one side beside NULLs.
    fn emit_padded(
        &self,
        pairs: &Pairs<'_>,
        side: usize,
        rows: Vec<u32>,
        out: &mut dyn Collector,
    ) -> Result<()> {
        for part in rows.chunks(MAX_BATCH_ROWS) {
            let records = take_record_batch(pairs.sides[side], &UInt32Array::from(part.to_vec()))?;
            let other = pairs.sides[1 - side].schema();
            let nulls: Vec<ArrayRef> =
                other.fields().iter().map(|f| new_null_array(f.data_type(), part.len())).collect();
            let own = records.columns().to_vec();
            let columns = if side == 0 { [own, nulls].concat() } else { [nulls, own].concat() };
            out.emit(ChangeBatch::inserts(batch(&self.output, columns, part.len())?))?;
        }
        Ok(())
    }
}

/// Pairs of a window's rows, and which rows have been joined.
struct Pairs<'a> {
    sides: [&'a RecordBatch; 2],
    picks: [Vec<u32>; 2],
    joined: [Vec<bool>; 2],
}

fn filtered(picks: &UInt32Array, mask: &BooleanArray) -> Result<UInt32Array> {
    use arrow::array::AsArray;
    Ok(filter(picks, mask)?.as_primitive::<arrow::datatypes::UInt32Type>().clone())
}

impl Input {
    fn keys(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect()
    }

    /// Rows by the end of their window, in the order of first sight; `None` for rows without one.
    fn by_window(&self, records: &RecordBatch) -> Result<Vec<(Option<i64>, RecordBatch)>> {
        let ends = milliseconds(records.column(self.window_end))?;
        let mut windows: Vec<(Option<i64>, Vec<u32>)> = Vec::new();
        for (row, end) in ends.iter().enumerate() {
            match windows.iter_mut().rev().find(|(known, _)| *known == end) {
                Some((_, rows)) => rows.push(row as u32),
                None => windows.push((end, vec![row as u32])),
            }
        }
        if let [(end, _)] = windows[..] {
            return Ok(vec![(end, records.clone())]);
        }
        let part = |(end, rows)| Ok((end, take_record_batch(records, &UInt32Array::from(rows))?));
        windows.into_iter().map(part).collect()
    }
}

impl WindowJoin {
    /// Rows of a checkpoint, of windows that are not joined yet.
    fn take_back(&mut self, rows: &StateRows, told: &Progress) -> Result<()> {
        let Some(input) = TABLES.iter().position(|table| *table == rows.table) else {
            return Err(unknown_table(&rows.table, "a window join"));
        };
        let progress = told.last();
        let schema = self.inputs[input].schema.clone();
        let fits = schema.fields().len() == rows.rows.num_columns()
            && schema.fields().iter().zip(rows.rows.columns()).all(|(f, c)| f.data_type() == c.data_type());
        if !fits {
            return Err(unknown_table(&rows.table, "a window join of other columns"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.rows.num_rows()));
        let records = RecordBatch::try_new_with_options(schema, rows.rows.columns().to_vec(), &options)?;
        for (end, rows) in self.inputs[input].by_window(&records)? {
            if let Some(end) = end.filter(|end| self.local.passed(end - 1) > progress) {
                let window = self.windows.entry(end).or_default();
                self.bytes += window.add(input, rows);
                window.saved[input] = window.rows[input].len();
            }
        }
        self.make_room()
    }
}

impl Operator for WindowJoin {
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
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let Some(context) = &self.context else { return Ok(SnapshotProgress::Done) };
        write_progress(out, context, self.progress)?;
        // Batches never change and are shared, so this is no copy of rows.
        self.unsaved.clear();
        for window in self.windows.values_mut() {
            for (input, rows) in window.rows.iter().enumerate() {
                let saved = if out.kind() == SnapshotKind::Full { 0 } else { window.saved[input] };
                self.unsaved.extend(rows[saved..].iter().map(|batch| (input, Rows::Batch(batch.clone()))));
                window.saved[input] = rows.len();
            }
            for spilled in &mut window.spilled {
                if out.kind() == SnapshotKind::Full || !spilled.saved {
                    self.unsaved.push_back((spilled.input, Rows::Piece(spilled.piece.clone())));
                }
                spilled.saved = true;
            }
        }
        self.continue_snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let groups = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let mut parts: [Vec<RecordBatch>; 2] = [Vec::new(), Vec::new()];
        let mut rows = 0;
        while rows < PART_ROWS
            && let Some((input, batch)) = self.unsaved.pop_front()
        {
            let batch = batch.read()?;
            rows += batch.num_rows();
            parts[input].push(batch);
        }
        for (input, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let rows = concat_batches(&self.inputs[input].schema, part)?;
            let key_groups = groups_of(&self.inputs[input].keys(&rows), groups)?;
            out.rows(StateRows { table: TABLES[input].to_owned(), key_groups, rows, deleted: None });
        }
        Ok(if self.unsaved.is_empty() { SnapshotProgress::Done } else { SnapshotProgress::More })
    }

    fn process(
        &mut self,
        input: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&batch, "A window join")?;
        self.progress = self.progress.max(context.watermark.0);
        // Inputs may differ in names and metadata, not in values.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = self.inputs[input].schema.clone();
        let records =
            RecordBatch::try_new_with_options(schema, batch.records().columns().to_vec(), &options)?;
        for (end, rows) in self.inputs[input].by_window(&records)? {
            match end {
                None => self.null_time_rows += rows.num_rows() as u64,
                Some(end) if self.local.passed(end - 1) <= self.progress => {
                    self.late_rows += rows.num_rows() as u64
                }
                Some(end) => self.bytes += self.windows.entry(end).or_default().add(input, rows),
            }
        }
        self.make_room()
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.progress = self.progress.max(watermark.0);
        while let Some(window) = self.windows.first_entry() {
            if self.local.passed(window.key() - 1) > self.progress {
                break;
            }
            let window = window.remove();
            self.bytes = self.bytes.saturating_sub(window.bytes);
            self.join_window(window, out)?;
        }
        self.make_room()
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            open_windows: self.windows.len() as u64,
            next_fire_ms: self.windows.keys().next().map(|end| self.local.passed(end - 1)),
            state_bytes: self.bytes as u64,
        }
    }
}
