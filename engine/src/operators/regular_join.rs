//! Join of two changelogs, kept for as long as the job runs: inner, outer, semi, anti and mark.

use super::join_condition::JoinCondition;
use super::join_rows::{JoinRows, NONE};
use super::join_state::JoinState;
use super::rows::{MAX_BATCH_ROWS, batch};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{JoinType, RegularJoinNode};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter, StoreContext};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// Pairs of rows that are looked at together; a row with more partners is looked at with all of them.
const MAX_PAIRS: usize = 1 << 16;
/// Bytes, about, that are told together: fewer rows where they are large.
const TOLD_BYTES: usize = 8 << 20;

/// Joins row by row as Flink does without mini-batches: each row of an input meets the rows of the other input that
/// have come before it. Rows of both sides are kept as distinct rows with a count, by join key
/// (where they are only added: as they came); of rows that may be
/// told without a partner also the number of partners, so that the row with NULLs comes and goes (`+I`, `-D`) with
/// the first and the last of them. Rows with NULL in a key that NULL does not match are never kept.
///
/// The pairs of a batch are found and tested in columns; only the bookkeeping goes row by row.
pub struct RegularJoin {
    join_type: JoinType,
    /// The rows of both sides by join key.
    store: GroupStore<JoinState>,
    /// For each key column, whether NULL equals NULL.
    null_safe: Vec<bool>,
    condition: Option<JoinCondition>,
    output: SchemaRef,
    ttl_ms: [Option<u64>; 2],
    /// Whether rows of the left and the right side are kept as they came: they are only added.
    only_added: [bool; 2],
    next_sweep_ms: Option<i64>,
    groups: Vec<u32>,
    slots: Vec<u32>,
}

/// The partners of a run of rows: those of row `first + i` are `slots[bounds[i]..bounds[i + 1]]`.
struct Matches {
    bounds: Vec<usize>,
    slots: Vec<u32>,
}

impl RegularJoin {
    /// Columns of `output`: left columns, then right columns; of a semi or anti join left columns only, of a mark
    /// join left columns and the mark.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub fn new(node: &RegularJoinNode, inputs: &[SchemaRef], output: SchemaRef) -> Result<Self> {
        let [left, right] = inputs else {
            return Err(Error::internal("A join has two inputs."));
        };
        let key_types: Vec<DataType> =
            node.keys.iter().map(|k| left.field(k.left).data_type().clone()).collect();
        let sides = [
            JoinRows::new("left", left.clone(), node.keys.iter().map(|k| k.left).collect())?,
            JoinRows::new("right", right.clone(), node.keys.iter().map(|k| k.right).collect())?,
        ];
        Ok(Self {
            join_type: node.join_type,
            condition: node.condition.as_ref().map(|c| JoinCondition::new(c, [left, right])).transpose()?,
            store: GroupStore::new("rows", &key_types, JoinState { sides })?,
            null_safe: node.keys.iter().map(|k| k.null_safe).collect(),
            output,
            ttl_ms: node.ttl_ms,
            only_added: node.insert_only.map(|only| only && node.join_type == JoinType::Inner),
            next_sweep_ms: None,
            groups: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// The join key of each row; `NONE` where NULL keeps it from matching.
    fn groups(&mut self, input: usize, records: &RecordBatch, now_ms: i64) -> Result<Vec<u32>> {
        let keys = self.sides()[input].keys(records);
        let mut groups = std::mem::take(&mut self.groups);
        self.store.touch(&keys, records.num_rows(), now_ms, &mut groups)?;
        Ok(groups)
    }

    fn sides(&self) -> &[JoinRows; 2] {
        &self.store.payload().sides
    }

    /// Which rows can match nothing, for NULL in a key.
    fn unmatchable(&self, input: usize, records: &RecordBatch) -> Option<BooleanArray> {
        let keys = self.sides()[input].keys(records);
        let strict = keys.iter().zip(&self.null_safe).filter(|(_, safe)| !**safe);
        let nulls: Vec<_> =
            strict.filter_map(|(k, _)| k.logical_nulls()).filter(|n| n.null_count() > 0).collect();
        if nulls.is_empty() {
            return None;
        }
        let any = |row: usize| nulls.iter().any(|n| n.is_null(row));
        Some(BooleanArray::from_iter((0..records.num_rows()).map(|row| Some(any(row)))))
    }

    /// The partners of the rows from `first` on, as many as are looked at together.
    fn matches(
        &self,
        input: usize,
        records: &RecordBatch,
        groups: &[u32],
        first: usize,
        now_ms: i64,
    ) -> Result<Matches> {
        let other = &self.sides()[1 - input];
        let mut found = Matches { bounds: vec![0], slots: Vec::new() };
        let mut rows: Vec<u32> = Vec::new();
        let mut row = first;
        while row < groups.len() && found.slots.len() < MAX_PAIRS {
            if groups[row] != NONE {
                other.walk(groups[row], now_ms, |slot| found.slots.push(slot));
            }
            if self.condition.is_some() {
                rows.resize(found.slots.len(), row as u32);
            }
            found.bounds.push(found.slots.len());
            row += 1;
        }
        match &self.condition {
            Some(condition) if !found.slots.is_empty() => {
                self.tested(condition, input, records, &rows, found)
            }
            _ => Ok(found),
        }
    }

    /// Those of `found` for which the condition is true.
    fn tested(
        &self,
        condition: &JoinCondition,
        input: usize,
        records: &RecordBatch,
        rows: &[u32],
        found: Matches,
    ) -> Result<Matches> {
        let mut kept = vec![false; found.slots.len()];
        for start in (0..found.slots.len()).step_by(MAX_BATCH_ROWS) {
            let end = (start + MAX_BATCH_ROWS).min(found.slots.len());
            let picks = UInt32Array::from(rows[start..end].to_vec());
            let own: Vec<ArrayRef> = condition
                .columns(input)
                .iter()
                .map(|c| Ok(take(records.column(*c), &picks, None)?))
                .collect::<Result<_>>()?;
            let other =
                self.sides()[1 - input].take(&found.slots[start..end], condition.columns(1 - input))?;
            let mask = condition.test(input, own, other, end - start)?;
            for (at, kept) in kept[start..end].iter_mut().enumerate() {
                *kept = mask.value(at);
            }
        }
        let mut left = Matches { bounds: Vec::with_capacity(found.bounds.len()), slots: Vec::new() };
        left.bounds.push(0);
        for bounds in found.bounds.windows(2) {
            left.slots.extend((bounds[0]..bounds[1]).filter(|i| kept[*i]).map(|i| found.slots[i]));
            left.bounds.push(left.slots.len());
        }
        Ok(left)
    }

    /// Takes up one row of `input`: `slot` is its own, `partners` those of the other side.
    fn join_row(
        &mut self,
        told: &mut Told<'_>,
        row: u32,
        slot: u32,
        group: u32,
        partners: &[u32],
        kind: RowKind,
        now_ms: i64,
    ) -> Result<()> {
        let (own_outer, other_outer) = self.join_type.outer(told.input);
        let [left, right] = &mut self.store.payload_mut().sides;
        let (own, other) = if told.input == 0 { (left, right) } else { (right, left) };
        let adds = kind.is_addition();
        if !adds && group != NONE {
            own.retract(slot, now_ms);
        }
        if partners.is_empty() {
            if own_outer {
                told.pad_own(row, if adds { RowKind::Insert } else { RowKind::Delete });
            }
        } else {
            let pair_kind = match (adds, own_outer, other_outer) {
                (true, false, false) | (false, false, _) => kind,
                (true, ..) => RowKind::Insert,
                (false, true, _) => RowKind::Delete,
            };
            for partner in partners {
                let before = other.associations(*partner);
                if adds && other_outer {
                    if before == 0 {
                        told.pad_other(*partner, other.count(*partner), RowKind::Delete);
                    }
                    other.set_associations(*partner, before + 1, now_ms);
                }
                told.pair(row, *partner, other.count(*partner), pair_kind);
                if !adds && other_outer {
                    if before == 1 {
                        told.pad_other(*partner, other.count(*partner), RowKind::Insert);
                    }
                    other.set_associations(*partner, before.saturating_sub(1), now_ms);
                }
            }
        }
        if adds && group != NONE {
            let associations = if own_outer { partners.iter().map(|p| other.count(*p)).sum() } else { 0 };
            own.add(slot, group, associations, now_ms);
        }
        Ok(())
    }

    /// As `join_row`, for joins that tell rows of the left side only.
    fn exists_row(
        &mut self,
        told: &mut Told<'_>,
        row: u32,
        slot: u32,
        group: u32,
        partners: &[u32],
        kind: RowKind,
        now_ms: i64,
    ) {
        let [left, right] = &mut self.store.payload_mut().sides;
        let adds = kind.is_addition();
        if told.input == 0 {
            match self.join_type {
                JoinType::Mark => told.mark_own(row, !partners.is_empty(), kind),
                anti => {
                    if partners.is_empty() == (anti == JoinType::Anti) {
                        told.pad_own(row, kind);
                    }
                }
            }
            if group == NONE {
                return;
            }
            if adds {
                left.add(slot, group, partners.iter().map(|p| right.count(*p)).sum(), now_ms);
            } else {
                left.retract(slot, now_ms);
            }
            return;
        }
        if group == NONE {
            return;
        }
        if adds {
            right.add(slot, group, 0, now_ms);
        } else {
            right.retract(slot, now_ms);
        }
        for partner in partners {
            let (before, count) = (left.associations(*partner), left.count(*partner));
            if before == u32::from(!adds) {
                match self.join_type {
                    JoinType::Mark => {
                        told.mark_other(*partner, count, !adds, RowKind::Delete);
                        told.mark_other(*partner, count, adds, RowKind::Insert);
                    }
                    JoinType::Anti => {
                        told.pad_other(*partner, count, if adds { RowKind::Delete } else { RowKind::Insert });
                    }
                    _ => told.pad_other(*partner, count, kind),
                }
            }
            let after = if adds { before + 1 } else { before.saturating_sub(1) };
            left.set_associations(*partner, after, now_ms);
        }
    }

    /// Forgets join keys that no side has rows of.
    fn release_groups(&mut self, groups: impl IntoIterator<Item = u32>) -> Result<()> {
        let [left, right] = self.sides();
        let mut unused: Vec<u32> =
            groups.into_iter().filter(|g| *g != NONE && !left.has_rows(*g) && !right.has_rows(*g)).collect();
        unused.sort_unstable();
        unused.dedup();
        self.store.remove(unused)
    }

    /// Forgets those rows of join keys whose time is over.
    fn expire(&mut self, mut groups: Vec<u32>, now_ms: i64) -> Result<()> {
        groups.sort_unstable();
        groups.dedup();
        self.store.mark(&groups, now_ms)?;
        for side in &mut self.store.payload_mut().sides {
            side.expire(&groups, now_ms)?;
        }
        self.release_groups(groups)?;
        self.settle(now_ms)
    }

    /// A batch is done.
    fn settle(&mut self, now_ms: i64) -> Result<()> {
        if self.store.payload_mut().sides.iter_mut().any(JoinRows::take_overflow) {
            self.store.want_full();
        }
        self.store.settle(now_ms)
    }

    /// The shortest time to live of a side, in milliseconds.
    fn shortest_ttl(&self) -> Option<i64> {
        self.sides().iter().map(JoinRows::ttl_ms).filter(|t| *t > 0).min()
    }
}

/// What the rows at hand have told so far, as picks from the input and from the other side's slots.
struct Told<'a> {
    input: usize,
    join_type: JoinType,
    records: &'a RecordBatch,
    output: &'a SchemaRef,
    /// Rows that are told together.
    most: usize,
    kinds: Vec<RowKind>,
    /// Rows of the input; `NONE` for NULLs.
    own: Vec<u32>,
    /// Slots of the other side; `NONE` for NULLs.
    other: Vec<u32>,
    marks: Vec<bool>,
}

impl Told<'_> {
    fn push(&mut self, own: u32, other: u32, kind: RowKind) {
        self.own.push(own);
        self.other.push(other);
        self.kinds.push(kind);
    }

    fn pad_own(&mut self, row: u32, kind: RowKind) {
        self.push(row, NONE, kind);
    }

    fn pad_other(&mut self, slot: u32, times: u32, kind: RowKind) {
        (0..times).for_each(|_| self.push(NONE, slot, kind));
    }

    fn pair(&mut self, row: u32, slot: u32, times: u32, kind: RowKind) {
        (0..times).for_each(|_| self.push(row, slot, kind));
    }

    fn mark_own(&mut self, row: u32, mark: bool, kind: RowKind) {
        self.push(row, NONE, kind);
        self.marks.push(mark);
    }

    fn mark_other(&mut self, slot: u32, times: u32, mark: bool, kind: RowKind) {
        for _ in 0..times {
            self.push(NONE, slot, kind);
            self.marks.push(mark);
        }
    }

    fn is_full(&self) -> bool {
        self.kinds.len() >= self.most
    }

    /// Passes on what was told.
    fn flush(&mut self, other: &JoinRows, out: &mut dyn Collector) -> Result<()> {
        let kinds = std::mem::take(&mut self.kinds);
        if kinds.is_empty() {
            return Ok(());
        }
        let (own, others) = (std::mem::take(&mut self.own), std::mem::take(&mut self.other));
        let marks = std::mem::take(&mut self.marks);
        let one_sided = self.join_type.is_one_sided();
        let picks = UInt32Array::from_iter(own.iter().map(|r| (*r != NONE).then_some(*r)));
        let take_own = |columns: &[ArrayRef], picks: &UInt32Array| -> Result<Vec<ArrayRef>> {
            columns.iter().map(|c| Ok(take(c, picks, None)?)).collect()
        };
        let slots: Vec<u32> = others.iter().copied().filter(|s| *s != NONE).collect();
        let all: Vec<usize> = (0..other.schema().fields().len()).collect();
        let mut columns = if one_sided && self.input == 0 {
            take_own(self.records.columns(), &picks)?
        } else {
            let mut theirs = other.take(&slots, &all)?;
            if slots.len() < others.len() {
                let mut at = 0;
                let spread = UInt32Array::from_iter(others.iter().map(|s| {
                    (*s != NONE).then(|| {
                        at += 1;
                        at - 1
                    })
                }));
                theirs = take_own(&theirs, &spread)?;
            }
            match (one_sided, self.input) {
                (true, _) => theirs,
                (false, 0) => [take_own(self.records.columns(), &picks)?, theirs].concat(),
                (false, _) => [theirs, take_own(self.records.columns(), &picks)?].concat(),
            }
        };
        if self.join_type == JoinType::Mark {
            columns.push(Arc::new(BooleanArray::from(marks)));
        }
        let records = batch(self.output, columns, kinds.len())?;
        out.emit(ChangeBatch::new(records, kinds))
    }
}

impl Operator for RegularJoin {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        for (number, side) in self.store.payload_mut().sides.iter_mut().enumerate() {
            let ttl_ms = self.ttl_ms[number].unwrap_or(context.state_ttl_ms);
            side.open(ttl_ms, context.checkpointing, context.max_parallelism, self.only_added[number]);
        }
        // Each row has its own time to live.
        self.store.open(StoreContext { ttl_ms: 0, ..context.store() });
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let mut groups = Vec::new();
        while let Some(rows) = state.next_rows()? {
            let Some(side) = self.sides().iter().position(|side| side.is_own(&rows.table)) else {
                return Err(Error::internal(format!("A join has no state '{}'.", rows.table)));
            };
            let own = &self.sides()[side];
            let records = own.own_rows(&rows)?;
            let keys = own.keys(&records);
            self.store.put_back(&keys, records.num_rows(), &mut groups)?;
            self.store.payload_mut().sides[side].restore(&rows, &records, &groups)?;
            let [left, right] = self.sides();
            groups.retain(|g| !left.has_rows(*g) && !right.has_rows(*g));
            groups.sort_unstable();
            groups.dedup();
            self.store.settle_put_back(&groups)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn process(
        &mut self,
        input: usize,
        input_batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let rows = input_batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        // Of join keys with many rows on disk, fewer are brought back together.
        let most = self.store.rows_at_once();
        if rows > most {
            let mut parts = (0..rows).step_by(most).map(|at| input_batch.slice(at, most.min(rows - at)));
            return parts.try_for_each(|part| self.process(input, part, context, out));
        }
        let now_ms = context.now_ms;
        // Inputs may differ in names and metadata, not in values.
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = input_batch.records().columns().to_vec();
        let records =
            RecordBatch::try_new_with_options(self.sides()[input].schema().clone(), columns, &options)?;
        let mut groups = self.groups(input, &records, now_ms)?;
        let interned = groups.clone();
        if let Some(without) = self.unmatchable(input, &records) {
            groups.iter_mut().enumerate().filter(|(row, _)| without.value(*row)).for_each(|(_, g)| *g = NONE);
        }
        let mut slots = std::mem::take(&mut self.slots);
        let own = &mut self.store.payload_mut().sides[input];
        if input_batch.kinds().is_some_and(|kinds| kinds.iter().any(|k| !k.is_addition())) {
            own.make_distinct()?;
        }
        own.slots(&records, &mut slots)?;
        let output = Arc::clone(&self.output);
        let row_bytes = records.get_array_memory_size() / rows + self.sides()[1 - input].row_bytes();
        let mut told = Told {
            input,
            join_type: self.join_type,
            records: &records,
            output: &output,
            most: (TOLD_BYTES / row_bytes.max(1)).clamp(1, MAX_BATCH_ROWS),
            kinds: Vec::new(),
            own: Vec::new(),
            other: Vec::new(),
            marks: Vec::new(),
        };
        let mut first = 0;
        while first < rows {
            let matches = self.matches(input, &records, &groups, first, now_ms)?;
            for bounds in matches.bounds.windows(2) {
                let partners = &matches.slots[bounds[0]..bounds[1]];
                let (slot, group, kind) = (slots[first], groups[first], input_batch.kind(first));
                if self.join_type.is_one_sided() {
                    self.exists_row(&mut told, first as u32, slot, group, partners, kind, now_ms);
                } else {
                    self.join_row(&mut told, first as u32, slot, group, partners, kind, now_ms)?;
                }
                if told.is_full() {
                    told.flush(&self.sides()[1 - input], out)?;
                }
                first += 1;
            }
        }
        told.flush(&self.sides()[1 - input], out)?;
        self.store.payload_mut().sides[input].release(slots.iter().copied())?;
        self.release_groups(interned.iter().copied())?;
        (self.slots, self.groups) = (slots, interned);
        if self.next_sweep_ms.is_none() {
            self.next_sweep_ms = self.shortest_ttl().map(|t| now_ms.saturating_add(t));
        }
        self.settle(now_ms)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.next_sweep_ms
    }

    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        let now_ms = context.now_ms;
        let groups = self.sides().iter().filter(|s| s.ttl_ms() > 0).flat_map(|s| s.groups_over(now_ms));
        self.expire(groups.collect(), now_ms)?;
        // Those on disk.
        loop {
            let groups = self.store.wake(now_ms)?;
            if groups.is_empty() {
                break;
            }
            self.expire(groups, now_ms)?;
        }
        let shortest = self.shortest_ttl().filter(|_| !self.store.is_empty());
        self.next_sweep_ms = shortest.map(|t| now_ms.saturating_add(t.max(1)));
        Ok(())
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: self.store.size() as u64, ..OperatorStatus::default() }
    }
}
