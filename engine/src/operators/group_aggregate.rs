//! Aggregation without windows: a changelog of each group's value.

use super::aggregates::{self, Accumulators, Aggregates};
use super::rows::{MAX_BATCH_ROWS, batch};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::GroupAggregateNode;
use crate::state::accumulator::Changes;
use crate::state::{GroupStore, Payload, SnapshotProgress, StateReader, StateWriter, StoreContext};
use arrow::array::make_comparator;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{SortOptions, concat, take};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::collections::HashMap;
use std::sync::Arc;

/// Counts and aggregates rows by key, for as long as the job runs. As Flink does without mini-batches, each row
/// tells its own change: `+I` for the first row of a key, then `-U` and `+U` where a value has changed, and `-D`
/// when the last row of a key is taken back. A row taken back of a key that is not known is dropped.
///
/// The rows of a batch are still worked off column by column: each aggregate gives the values before and after
/// every row, and from these two columns the changes are picked.
pub struct GroupAggregate {
    keys: Vec<usize>,
    aggregates: Arc<Aggregates>,
    retracts: bool,
    update_before: bool,
    at_end_only: bool,
    in_batches: bool,
    output: SchemaRef,
    store: GroupStore<Groups>,
    ttl_ms: Option<u64>,
    groups: Vec<u32>,
}

/// The state of all groups.
struct Groups {
    /// Rows of each group.
    counts: Vec<i64>,
    accumulators: Accumulators,
    aggregates: Arc<Aggregates>,
}

impl Groups {
    fn new(aggregates: &Arc<Aggregates>) -> Result<Self> {
        Ok(Self { counts: Vec::new(), accumulators: aggregates.make()?, aggregates: Arc::clone(aggregates) })
    }
}

impl Payload for Groups {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        aggregates::resize(&mut self.accumulators, groups);
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = groups.iter().map(|g| self.counts[*g as usize]);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(counts))];
        for accumulator in &self.accumulators {
            columns.extend(accumulator.state(groups)?);
        }
        Ok(columns)
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let counts = columns[0].as_primitive::<Int64Type>().values();
        groups.iter().zip(counts).for_each(|(g, count)| self.counts[*g as usize] += count);
        let mut rest = &columns[1..];
        for accumulator in &mut self.accumulators {
            let (own, others) = rest.split_at(accumulator.state(&[])?.len());
            accumulator.merge(own, groups)?;
            rest = others;
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.counts[group as usize] = 0;
        self.accumulators.iter_mut().for_each(|a| a.clear(group));
    }

    fn size(&self) -> usize {
        self.counts.len() * 8 + aggregates::size(&self.accumulators)
    }

    fn fresh(&self) -> Result<Self> {
        Self::new(&self.aggregates)
    }
}

impl GroupAggregate {
    /// Columns of `output`: keys, then aggregates.
    ///
    /// Errors: an aggregate, or a key's type, that cannot be run.
    pub fn new(node: &GroupAggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let aggregates = Arc::new(Aggregates::new(&node.aggregates, &input, node.retracts)?);
        let types: Vec<_> = node.keys.iter().map(|k| input.field(*k).data_type().clone()).collect();
        Ok(Self {
            keys: node.keys.clone(),
            store: GroupStore::new("groups", &types, Groups::new(&aggregates)?)?,
            aggregates,
            retracts: node.retracts,
            update_before: node.update_before,
            at_end_only: node.at_end_only,
            in_batches: node.mini_batch.is_some(),
            output,
            ttl_ms: node.ttl_ms,
            groups: Vec::new(),
        })
    }

    /// What each row does to its group's count. Rows taken back of unknown keys do nothing.
    fn count(&mut self, input: &ChangeBatch) -> Counted {
        let rows = input.num_rows();
        let mut counted =
            Counted { signs: vec![1; rows], clears: Vec::new(), first: Vec::with_capacity(rows) };
        let kinds = input.kinds().filter(|_| self.retracts);
        let counts = &mut self.store.payload_mut().counts;
        for (row, group) in self.groups.iter().enumerate() {
            let count = &mut counts[*group as usize];
            counted.first.push(*count == 0);
            if kinds.is_none_or(|k| k[row].is_addition()) {
                *count += 1;
            } else if *count == 0 {
                counted.signs[row] = 0;
            } else {
                *count -= 1;
                counted.signs[row] = -1;
                if *count == 0 {
                    counted.clears.resize(rows, false);
                    counted.clears[row] = true;
                }
            }
        }
        counted
    }

    /// Which rows of two arrays differ in any column.
    fn changed(values: &[(ArrayRef, ArrayRef)], rows: usize) -> Result<BooleanBuffer> {
        let mut changed = BooleanBuffer::new_unset(rows);
        for (before, after) in values {
            let differs = if before.data_type().is_nested() {
                let compare = make_comparator(before, after, SortOptions::default());
                // Values that cannot be compared are told again rather than kept back.
                compare.map_or_else(
                    |_| BooleanBuffer::new_set(rows),
                    |compare| BooleanBuffer::collect_bool(rows, |row| compare(row, row).is_ne()),
                )
            } else {
                distinct(before, after)?.values().clone()
            };
            changed = &changed | &differs;
        }
        Ok(changed)
    }

    fn emit_changes(
        &self,
        input: &ChangeBatch,
        counted: &Counted,
        values: &[(ArrayRef, ArrayRef)],
        out: &mut dyn Collector,
    ) -> Result<()> {
        let rows = input.num_rows();
        let changed = if self.store.has_ttl() {
            // As Flink: what comes later may have a time to live too, and is kept alive.
            BooleanBuffer::new_set(rows)
        } else {
            let told = self.aggregates.told_anyway(&self.store.payload().accumulators, input.records())?;
            &Self::changed(values, rows)? | &told
        };
        // Row `r` of the values before is `r` here, of the values after `rows + r`.
        let mut picks: Vec<u32> = Vec::with_capacity(rows);
        let mut kinds: Vec<RowKind> = Vec::with_capacity(rows);
        for (row, sign) in counted.signs.iter().enumerate() {
            let (before, after) = (row as u32, (rows + row) as u32);
            if *sign == 0 {
                continue;
            }
            if counted.clears.get(row) == Some(&true) {
                picks.push(before);
                kinds.push(RowKind::Delete);
            } else if counted.first[row] {
                picks.push(after);
                kinds.push(RowKind::Insert);
            } else if changed.value(row) {
                if self.update_before {
                    picks.push(before);
                    kinds.push(RowKind::UpdateBefore);
                }
                picks.push(after);
                kinds.push(RowKind::UpdateAfter);
            }
        }
        if picks.is_empty() {
            return Ok(());
        }
        let key_rows = UInt32Array::from_iter_values(picks.iter().map(|p| p % rows as u32));
        let picks = UInt32Array::from(picks);
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for key in &self.keys {
            columns.push(take(input.records().column(*key), &key_rows, None)?);
        }
        for (before, after) in values {
            columns.push(take(&concat(&[before.as_ref(), after.as_ref()])?, &picks, None)?);
        }
        let records = batch(&self.output, columns, kinds.len())?;
        out.emit(ChangeBatch::new(records, kinds))
    }

    /// Takes a mini-batch in and tells one change of each of its groups, as Flink's.
    fn tell_batch(&mut self, input: &ChangeBatch, counted: &Counted, out: &mut dyn Collector) -> Result<()> {
        // The groups of the batch in order of first sight, whether each was there before, and its place here.
        let mut groups: Vec<u32> = Vec::new();
        let mut known: Vec<bool> = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        let told_rows = self.aggregates.told_anyway(&self.store.payload().accumulators, input.records())?;
        let mut told: Vec<bool> = Vec::new();
        for (row, group) in self.groups.iter().enumerate().filter(|(row, _)| counted.signs[*row] != 0) {
            let place = *places.entry(*group).or_insert_with(|| {
                groups.push(*group);
                known.push(!counted.first[row]);
                told.push(false);
                groups.len() - 1
            });
            told[place] |= told_rows.value(row);
        }
        let before = aggregates::evaluate(&self.store.payload().accumulators, &groups)?;
        let payload = self.store.payload_mut();
        self.aggregates.apply_signs(
            &mut payload.accumulators,
            input.records(),
            &self.groups,
            &counted.signs,
        )?;
        let after = aggregates::evaluate(&payload.accumulators, &groups)?;
        let counts: Vec<i64> = groups.iter().map(|g| payload.counts[*g as usize]).collect();
        let values: Vec<(ArrayRef, ArrayRef)> = before.into_iter().zip(after).collect();
        let changed = Self::changed(&values, groups.len())?;
        let (mut picks, mut kinds) = (Vec::new(), Vec::new());
        for (place, count) in counts.iter().enumerate() {
            let (old, new) = (place as u32, (groups.len() + place) as u32);
            match (known[place], *count != 0) {
                (true, false) => {
                    picks.push(old);
                    kinds.push(RowKind::Delete);
                }
                (false, true) => {
                    picks.push(new);
                    kinds.push(RowKind::Insert);
                }
                (true, true) if changed.value(place) || told[place] => {
                    if self.update_before {
                        picks.push(old);
                        kinds.push(RowKind::UpdateBefore);
                    }
                    picks.push(new);
                    kinds.push(RowKind::UpdateAfter);
                }
                _ => {}
            }
        }
        if !picks.is_empty() {
            let of = picks.iter().map(|p| groups[*p as usize % groups.len()]).collect::<Vec<u32>>();
            let mut columns = self.store.keys(&of)?;
            let picks = UInt32Array::from(picks);
            for (before, after) in &values {
                columns.push(take(&concat(&[before.as_ref(), after.as_ref()])?, &picks, None)?);
            }
            out.emit(ChangeBatch::new(batch(&self.output, columns, kinds.len())?, kinds))?;
        }
        let gone: Vec<u32> = groups.iter().zip(&counts).filter(|(_, n)| **n == 0).map(|(g, _)| *g).collect();
        // Rows taken back of unknown keys have made groups too.
        let strays = self.groups.iter().copied().filter(|g| !places.contains_key(g));
        let gone: Vec<u32> = gone.into_iter().chain(strays).collect();
        self.store.remove(gone)
    }

    fn emit_all(&self, groups: &[u32], out: &mut dyn Collector) -> Result<()> {
        for groups in groups.chunks(MAX_BATCH_ROWS) {
            let mut columns = self.store.keys(groups)?;
            columns.extend(aggregates::evaluate(&self.store.payload().accumulators, groups)?);
            out.emit(ChangeBatch::inserts(batch(&self.output, columns, groups.len())?))?;
        }
        Ok(())
    }
}

/// What the rows of a batch do to their groups.
struct Counted {
    signs: Vec<i8>,
    /// Whether the row was its group's last. Empty if no row was.
    clears: Vec<bool>,
    /// Whether the group had no rows before.
    first: Vec<bool>,
}

impl Operator for GroupAggregate {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        let store = context.store();
        self.store.open(StoreContext { ttl_ms: self.ttl_ms.unwrap_or(store.ttl_ms), ..store });
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        self.store.restore(state)
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
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
        let rows = input.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if !self.retracts {
            super::rows::inserts_only(&input, "An aggregate that was planned for inserts")?;
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(input.records().column(*k))).collect();
        self.store.touch(&keys, rows, context.now_ms, &mut self.groups)?;
        let counted = self.count(&input);
        if self.at_end_only && input.kinds().is_none() {
            let accumulators = &mut self.store.payload_mut().accumulators;
            self.aggregates.update(accumulators, input.records(), &self.groups)?;
            return self.store.settle(context.now_ms);
        }
        if self.in_batches && !self.at_end_only {
            self.tell_batch(&input, &counted, out)?;
            return self.store.settle(context.now_ms);
        }
        let tells_all = self.store.has_ttl() || self.aggregates.counts_all();
        if tells_all && !self.retracts && !self.update_before && !self.at_end_only {
            // Each row tells the values after it, and nothing else is told.
            let accumulators = &mut self.store.payload_mut().accumulators;
            let values = self.aggregates.advance(accumulators, input.records(), &self.groups)?;
            let kind = |first: &bool| if *first { RowKind::Insert } else { RowKind::UpdateAfter };
            let kinds: Vec<RowKind> = counted.first.iter().map(kind).collect();
            out.emit(ChangeBatch::new(batch(&self.output, [keys, values].concat(), rows)?, kinds))?;
            return self.store.settle(context.now_ms);
        }
        let accumulators = &mut self.store.payload_mut().accumulators;
        let changes = Changes { signs: &counted.signs, clears: &counted.clears };
        let values = self.aggregates.change(accumulators, input.records(), &self.groups, changes)?;
        if !self.at_end_only {
            self.emit_changes(&input, &counted, &values, out)?;
        }
        if self.retracts {
            let counts = &self.store.payload().counts;
            let gone: Vec<u32> = self.groups.iter().copied().filter(|g| counts[*g as usize] == 0).collect();
            self.store.remove(gone)?;
        }
        self.store.settle(context.now_ms)
    }

    fn emits_at_end(&self) -> bool {
        self.at_end_only
    }

    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        if !self.at_end_only {
            return Ok(());
        }
        if self.keys.is_empty() && self.store.is_empty() {
            // The aggregate of no rows is a row.
            self.store.touch(&[], 1, context.now_ms, &mut self.groups)?;
        }
        while let Some(groups) = self.store.drain()? {
            self.emit_all(&groups, out)?;
        }
        Ok(())
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: self.store.size() as u64, ..OperatorStatus::default() }
    }
}
