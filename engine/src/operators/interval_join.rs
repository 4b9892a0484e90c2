//! Join of rows whose times lie within a distance of each other, inner and outer.

use super::interval_state::{Entries, IntervalState, Side, TABLES};
use super::join_condition::JoinCondition;
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, milliseconds};
use super::segments::RowRef;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::{IntervalJoinNode, JoinType, TimeAttribute};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter, StoreContext};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, SchemaRef};

/// Joins left rows with right rows whose time is not further away than the bounds say. Each row meets the kept rows of
/// the other side and is kept itself until no row that is on time could meet it; a row that comes later than that still
/// meets what is kept, but is not kept. An outer side's row without a partner is told with NULLs when it is given up.
///
/// As in Flink, rows of a key are given up by a timer of the key, set for the first row that is kept, or when a row of the
/// other side looks at them. Downstream event time is held back by the larger of the two bounds.
pub struct IntervalJoin {
    join_type: JoinType,
    store: GroupStore<IntervalState>,
    /// The time column of each side.
    times: [Option<usize>; 2],
    /// Rows of each side up to this time may have been given up already, of any key.
    expirations: [i64; 2],
    /// For each key column, whether NULL equals NULL.
    null_safe: Vec<bool>,
    condition: Option<JoinCondition>,
    output: SchemaRef,
    by_clock: bool,
    /// Most milliseconds that a row of the other side may be later than a row of the side that is kept.
    ahead: [i64; 2],
    min_cleanup_ms: i64,
    null_time_rows: u64,
}

/// What a row of a batch does, in order.
enum Step {
    /// It may join with this kept row.
    Pair(u32),
    /// This kept row of the other side is given up.
    GiveUp(u32),
    /// It is kept as this entry.
    Keep(u32),
    /// It is not kept.
    Pass,
}

impl IntervalJoin {
    /// Columns of `output`: left columns, then right columns.
    ///
    /// Errors: a key of a type that cannot be a key.
    pub fn new(node: &IntervalJoinNode, inputs: &[SchemaRef], output: SchemaRef) -> Result<Self> {
        let [left, right] = inputs else {
            return Err(Error::internal("An interval join has two inputs."));
        };
        let key_types: Vec<_> = node.keys.iter().map(|k| left.field(k.left).data_type().clone()).collect();
        let time = |time: TimeAttribute| match time {
            TimeAttribute::Rowtime { column } => Some(column),
            TimeAttribute::Proctime => None,
        };
        let sides = [
            Side::new(left, node.keys.iter().map(|k| k.left).collect())?,
            Side::new(right, node.keys.iter().map(|k| k.right).collect())?,
        ];
        let state = IntervalState { sides, entries: Entries::default(), max_parallelism: 1 };
        Ok(Self {
            join_type: node.join_type,
            store: GroupStore::new("rows", &key_types, state)?,
            times: [time(node.time.0), time(node.time.1)],
            expirations: [0; 2],
            null_safe: node.keys.iter().map(|k| k.null_safe).collect(),
            condition: node.condition.as_ref().map(|c| JoinCondition::new(c, [left, right])).transpose()?,
            output,
            by_clock: node.time.0 == TimeAttribute::Proctime,
            ahead: [node.lower_ms.saturating_neg(), node.upper_ms],
            min_cleanup_ms: node.min_cleanup_ms,
            null_time_rows: 0,
        })
    }

    /// The operator's time: that of the clock or of the watermark.
    fn time(&self, context: &OperatorContext) -> i64 {
        if self.by_clock { context.now_ms } else { context.watermark.0 }
    }

    /// Up to which time rows of side `side` are not needed any more.
    fn expiration(&self, side: usize, now: i64) -> i64 {
        if now == i64::MAX { i64::MAX } else { now.saturating_sub(self.ahead[side]).saturating_sub(1) }
    }

    fn set_timer(&mut self, group: u32, side: usize, time: i64) {
        let at = time.saturating_add(self.ahead[side]).saturating_add(self.min_cleanup_ms).saturating_add(1);
        self.store.payload_mut().sides[side].timers[group as usize] = Some(at);
        if self.store.wakes_at(group) > at {
            self.store.wake_at(group, at);
        }
    }

    /// Whether rows of `side` are told without a partner.
    fn is_outer(&self, side: usize) -> bool {
        self.join_type.outer(side).0
    }

    /// Steps of one row of side `input` and time `time`; kept rows that it looks at may be given up.
    fn step(
        &mut self,
        input: usize,
        row: usize,
        group: u32,
        time: i64,
        now: i64,
        matches: bool,
        plan: &mut Plan,
    ) {
        let other = 1 - input;
        let lowest = time.saturating_sub(self.ahead[other]);
        let highest = time.saturating_add(self.ahead[input]);
        plan.begin(row);
        if self.expirations[other] < highest {
            let expiration = self.expiration(other, now);
            self.expirations[other] = expiration;
            let kept = &mut self.store.payload_mut().sides[other].kept[group as usize];
            if matches {
                let first = kept.partition_point(|k| k.time < lowest);
                for k in kept.range(first..).take_while(|k| k.time <= highest) {
                    plan.steps.push(Step::Pair(k.entry));
                }
            }
            while kept.front().is_some_and(|k| k.time <= expiration) {
                if let Some(k) = kept.pop_front() {
                    plan.steps.push(Step::GiveUp(k.entry));
                }
            }
        }
        if now < highest {
            let state = self.store.payload_mut();
            let entry = state.entries.add(RowRef::NULLS, false);
            state.sides[input].keep(group, time, entry);
            plan.steps.push(Step::Keep(entry));
            if state.sides[input].timers[group as usize].is_none() {
                self.set_timer(group, input, time);
            }
        } else {
            plan.steps.push(Step::Pass);
        }
    }

    /// Which of the pairs hold.
    fn tested(&self, input: usize, records: &RecordBatch, plan: &Plan) -> Result<Vec<bool>> {
        let pairs: Vec<(u32, u32)> = plan.pairs().collect();
        let Some(condition) = &self.condition else { return Ok(vec![true; pairs.len()]) };
        let mut held = Vec::with_capacity(pairs.len());
        for part in pairs.chunks(MAX_BATCH_ROWS) {
            let picks = arrow::array::UInt32Array::from_iter_values(part.iter().map(|(row, _)| *row));
            let own = condition
                .columns(input)
                .iter()
                .map(|c| Ok(arrow::compute::take(records.column(*c), &picks, None)?))
                .collect::<Result<Vec<ArrayRef>>>()?;
            let state = self.store.payload();
            let rows: Vec<RowRef> = part.iter().map(|(_, e)| state.entries.rows[*e as usize]).collect();
            let other = state.sides[1 - input].rows.take(&rows, condition.columns(1 - input))?;
            let mask = condition.test(input, own, other, part.len())?;
            held.extend((0..part.len()).map(|i| mask.value(i)));
        }
        Ok(held)
    }

    /// Passes on pairs of rows of the left and the right side.
    fn emit(&self, pairs: &[(RowRef, RowRef)], out: &mut dyn Collector) -> Result<()> {
        for part in pairs.chunks(MAX_BATCH_ROWS) {
            let mut columns = Vec::with_capacity(self.output.fields().len());
            for (number, side) in self.store.payload().sides.iter().enumerate() {
                let rows: Vec<RowRef> = part.iter().map(|p| if number == 0 { p.0 } else { p.1 }).collect();
                let all: Vec<usize> = (0..side.rows.schema().fields().len()).collect();
                columns.extend(side.rows.take(&rows, &all)?);
            }
            out.emit(ChangeBatch::inserts(batch(&self.output, columns, part.len())?))?;
        }
        Ok(())
    }

    /// Gives up the rows of a key whose time is over.
    fn expire(
        &mut self,
        group: u32,
        side: usize,
        now: i64,
        told: &mut Vec<(RowRef, RowRef)>,
        gone: &mut Vec<RowRef>,
    ) {
        let expiration = self.expiration(side, now);
        self.expirations[side] = expiration;
        let outer = self.is_outer(side);
        let IntervalState { sides, entries, .. } = self.store.payload_mut();
        let kept = &mut sides[side].kept[group as usize];
        while kept.front().is_some_and(|k| k.time <= expiration) {
            let Some(k) = kept.pop_front() else { break };
            let row = entries.rows[k.entry as usize];
            if outer && !entries.joined[k.entry as usize] {
                told.push(if side == 0 { (row, RowRef::NULLS) } else { (RowRef::NULLS, row) });
            }
            gone.push(row);
            entries.free.push(k.entry);
        }
        let earliest = kept.front().map(|k| k.time);
        sides[side].timers[group as usize] = None;
        if let Some(time) = earliest {
            self.set_timer(group, side, time);
        }
    }

    /// Runs the timers up to `now`.
    fn fire(&mut self, now: i64, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        loop {
            let groups = self.store.wake(now)?;
            if groups.is_empty() {
                return Ok(());
            }
            self.store.mark(&groups, now_ms)?;
            let (mut told, mut gone) = (Vec::new(), [Vec::new(), Vec::new()]);
            for group in &groups {
                let timer = |join: &Self, side: usize| {
                    join.store.payload().sides[side].timers[*group as usize].unwrap_or(i64::MAX)
                };
                let mut due = [(timer(self, 0), 0), (timer(self, 1), 1)];
                due.sort_unstable();
                for (time, side) in due {
                    if time <= now {
                        self.expire(*group, side, now, &mut told, &mut gone[side]);
                    }
                }
                // One of them may be due later, or was set anew.
                let next = timer(self, 0).min(timer(self, 1));
                self.store.wake_at(*group, next);
            }
            self.emit(&told, out)?;
            for (side, rows) in self.store.payload_mut().sides.iter_mut().zip(gone) {
                rows.into_iter().for_each(|r| side.rows.release(r));
            }
            self.release(groups)?;
            self.store.settle(now_ms)?;
        }
    }

    /// Forgets keys that nothing is kept of.
    fn release(&mut self, groups: Vec<u32>) -> Result<()> {
        let sides = &self.store.payload().sides;
        let unused =
            |g: &u32| sides.iter().all(|s| s.kept[*g as usize].is_empty() && s.timers[*g as usize].is_none());
        let groups: Vec<u32> = groups.into_iter().filter(unused).collect();
        self.store.remove(groups)
    }

    /// For each row whether NULL in a key keeps it from matching.
    fn matching(&self, keys: &[ArrayRef], rows: usize) -> Vec<bool> {
        let mut matching = vec![true; rows];
        for (key, _) in keys.iter().zip(&self.null_safe).filter(|(_, safe)| !**safe) {
            if let Some(nulls) = key.logical_nulls() {
                matching.iter_mut().enumerate().for_each(|(row, m)| *m &= nulls.is_valid(row));
            }
        }
        matching
    }
}

/// Steps of the rows of a batch.
struct Plan {
    rows: Vec<(u32, usize)>,
    steps: Vec<Step>,
}

impl Plan {
    fn begin(&mut self, row: usize) {
        self.rows.push((row as u32, self.steps.len()));
    }

    fn of(&self) -> impl Iterator<Item = (u32, &[Step])> {
        self.rows.iter().enumerate().map(|(i, (row, first))| {
            let end = self.rows.get(i + 1).map_or(self.steps.len(), |(_, next)| *next);
            (*row, &self.steps[*first..end])
        })
    }

    fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.of().flat_map(|(row, steps)| {
            steps.iter().filter_map(move |s| match s {
                Step::Pair(entry) => Some((row, *entry)),
                _ => None,
            })
        })
    }
}

impl Operator for IntervalJoin {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().max_parallelism = context.max_parallelism;
        // Rows go by time.
        self.store.open(StoreContext { ttl_ms: 0, ..context.store() });
        Ok(())
    }

    fn process(
        &mut self,
        input: usize,
        input_batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input_batch, "An interval join")?;
        let rows = input_batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let now = self.time(context);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let own = &self.store.payload().sides[input];
        let schema = own.rows.schema().clone();
        let records =
            RecordBatch::try_new_with_options(schema, input_batch.records().columns().to_vec(), &options)?;
        let times = self.times[input].map(|t| milliseconds(records.column(t))).transpose()?;
        let keys = own.keys(&records);
        let mut groups = Vec::new();
        self.store.touch(&keys, rows, context.now_ms, &mut groups)?;
        let matching = self.matching(&keys, rows);
        let mut plan = Plan { rows: Vec::with_capacity(rows), steps: Vec::with_capacity(rows * 2) };
        for row in 0..rows {
            let time = match &times {
                None => now,
                Some(times) if times.is_null(row) => {
                    self.null_time_rows += 1;
                    continue;
                }
                Some(times) => times.value(row),
            };
            self.step(input, row, groups[row], time, now, matching[row], &mut plan);
        }
        let held = self.tested(input, &records, &plan)?;
        // Rows that are told or kept go into a segment; those only told leave it again.
        let IntervalState { sides, entries, .. } = self.store.payload_mut();
        let segment = sides[input].rows.add(records);
        let pair = |own: RowRef, other: RowRef| if input == 0 { (own, other) } else { (other, own) };
        let (outer, other_outer) = self.join_type.outer(input);
        let (mut told, mut own_gone, mut other_gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut stays = vec![false; rows];
        // Keys of which nothing may be kept any more.
        let mut left = Vec::new();
        let mut held = held.into_iter();
        for (row, steps) in plan.of() {
            let own = segment.row(row as usize);
            let mut joined = false;
            for step in steps {
                match step {
                    Step::Pair(entry) => {
                        if held.next() == Some(true) {
                            joined = true;
                            entries.joined[*entry as usize] = true;
                            told.push(pair(own, entries.rows[*entry as usize]));
                        }
                    }
                    Step::GiveUp(entry) => {
                        let other = entries.rows[*entry as usize];
                        if other_outer && !entries.joined[*entry as usize] {
                            told.push(pair(RowRef::NULLS, other));
                        }
                        other_gone.push(other);
                        entries.free.push(*entry);
                        left.push(groups[row as usize]);
                    }
                    Step::Keep(entry) => {
                        entries.rows[*entry as usize] = own;
                        entries.joined[*entry as usize] = joined;
                        stays[row as usize] = true;
                    }
                    Step::Pass => {
                        left.push(groups[row as usize]);
                        if outer && !joined {
                            told.push(pair(own, RowRef::NULLS));
                        }
                    }
                }
            }
        }
        own_gone.extend((0..rows).filter(|r| !stays[*r]).map(|r| segment.row(r)));
        self.emit(&told, out)?;
        let sides = &mut self.store.payload_mut().sides;
        own_gone.into_iter().for_each(|r| sides[input].rows.release(r));
        other_gone.into_iter().for_each(|r| sides[1 - input].rows.release(r));
        if self.null_time_rows > 0 {
            // A row without a time has made a key and no step.
            left = groups;
        }
        self.release(left)?;
        self.store.settle(context.now_ms)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if self.by_clock { Ok(()) } else { self.fire(watermark.0, context.now_ms, out) }
    }

    fn watermark_out(&self, watermark: Watermark) -> Watermark {
        let delay = self.ahead[0].max(self.ahead[1]).max(0);
        if self.by_clock || watermark == Watermark::MAX || watermark == Watermark::MIN {
            return watermark;
        }
        Watermark(watermark.0.saturating_sub(delay))
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.store.next_wake().filter(|_| self.by_clock)
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.fire(context.now_ms, context.now_ms, out)
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        while let Some(found) = state.next_rows()? {
            let Some(side) = TABLES.iter().position(|n| *n == found.table) else {
                return Err(Error::internal(format!("An interval join has no state '{}'.", found.table)));
            };
            let own = &self.store.payload().sides[side];
            let schema = own.rows.schema().clone();
            let width = schema.fields().len();
            let rows = found.rows.num_rows();
            if found.rows.num_columns() != width + 2 {
                return Err(Error::internal("An interval join's state has other columns than its input."));
            }
            let columns = found.rows.columns()[..width].to_vec();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let records = RecordBatch::try_new_with_options(schema, columns, &options)?;
            let times = found.rows.column(width).as_primitive::<Int64Type>();
            let joined = found.rows.column(width + 1).as_boolean();
            let keys = own.keys(&records);
            let mut groups = Vec::new();
            self.store.put_back(&keys, rows, &mut groups)?;
            if found.deleted.is_some() {
                self.store.settle_put_back(&groups)?;
                continue;
            }
            let segment = self.store.payload_mut().sides[side].rows.add(records);
            for (row, group) in groups.iter().enumerate() {
                let state = self.store.payload_mut();
                let entry = state.entries.add(segment.row(row), joined.value(row));
                let time = times.value(row);
                state.sides[side].keep(*group, time, entry);
                if state.sides[side].timers[*group as usize].is_none() {
                    self.set_timer(*group, side, time);
                }
            }
            self.store.settle_put_back(&[])?;
        }
        Ok(())
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            state_bytes: self.store.size() as u64,
            null_time_rows: self.null_time_rows,
            ..OperatorStatus::default()
        }
    }
}
