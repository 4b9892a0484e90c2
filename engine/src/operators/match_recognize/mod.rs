//! MATCH_RECOGNIZE: rows that follow each other as a pattern says.

mod automaton;
mod finder;
mod partitions;
mod queue;
mod rows;
mod values;

use super::kept_rows;
use super::row_codec::RowCodec;
use super::rows::{inserts_only, milliseconds};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{MatchRecognizeNode, TimeAttribute};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter, StoreContext};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use finder::{Due, Finder};
use partitions::{NEVER, Partitions};
use queue::NOT_BEGUN;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Name of the state table.
const MATCHES: &str = "matches";
const PROGRESS: &str = "progress";
/// Partitions that are looked at together when time moves on.
const PARTITIONS: usize = 4096;

/// By event time rows wait for the watermark and are taken in by time; those that come behind it are late, dropped and
/// counted. By processing time they are taken in as they come, or, where rows of one millisecond have an order, when it
/// is over. State has no time to live, as in Flink: WITHIN bounds it.
pub struct MatchRecognize {
    time: TimeAttribute,
    partition: Vec<usize>,
    /// Whether rows wait until their time has come.
    waits: bool,
    within_ms: i64,
    kept: SchemaRef,
    finder: Finder,
    store: GroupStore<Partitions>,
    keys: RowCodec,
    /// When which partition, by its key, is to be looked at; each has one timer at most.
    timers: BTreeSet<(i64, Box<[u8]>)>,
    /// The watermark.
    progress: i64,
    late_rows: u64,
    null_time_rows: u64,
}

impl MatchRecognize {
    /// Columns of `output`: those of the partition, then the measures.
    ///
    /// Errors: a column of a type that cannot be kept or ordered, a pattern with too many states.
    pub fn new(node: &MatchRecognizeNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let kept = kept_rows::schema(&input, &[]);
        let types: Vec<DataType> =
            node.partition.iter().map(|c| input.field(*c).data_type().clone()).collect();
        Ok(Self {
            time: node.time,
            partition: node.partition.clone(),
            waits: node.time != TimeAttribute::Proctime || !node.order.is_empty(),
            within_ms: node.within_ms,
            finder: Finder::new(node, &kept, output)?,
            store: GroupStore::new(MATCHES, &types, Partitions::new(kept.clone()))?,
            keys: RowCodec::new(types)?,
            timers: BTreeSet::new(),
            progress: i64::MIN,
            late_rows: 0,
            null_time_rows: 0,
            kept,
        })
    }

    /// The time of each row of `records`; `None` where it is not taken in.
    fn times(&mut self, records: &RecordBatch, now_ms: i64) -> Result<Vec<Option<i64>>> {
        let TimeAttribute::Rowtime { column } = self.time else {
            return Ok(vec![Some(now_ms); records.num_rows()]);
        };
        let times = milliseconds(records.column(column))?;
        let mut on_time = Vec::with_capacity(times.len());
        for row in 0..times.len() {
            let time = times.is_valid(row).then(|| times.value(row));
            self.null_time_rows += u64::from(time.is_none());
            self.late_rows += u64::from(time.is_some_and(|t| t <= self.progress));
            on_time.push(time.filter(|t| *t > self.progress));
        }
        Ok(on_time)
    }

    /// The keys of `groups` as they stand in timers.
    fn timer_keys(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<Box<[u8]>>> {
        if keys.is_empty() {
            return Ok(vec![Box::default(); rows]);
        }
        let encoded = self.keys.encode(keys)?;
        Ok((0..rows).map(|i| encoded.row(i).data().into()).collect())
    }

    /// Ends the work on `groups`: sets their timers, and forgets those of which nothing is left.
    fn done(&mut self, mut groups: Vec<u32>, now_ms: i64) -> Result<()> {
        groups.sort_unstable();
        groups.dedup();
        let keys = self.timer_keys(&self.store.keys(&groups)?, groups.len())?;
        let mut idle = Vec::new();
        let partitions = self.store.payload_mut();
        for (group, key) in groups.iter().zip(keys) {
            let partition = partitions.get(*group);
            let mut wanted = partition.waiting.front().map_or(NEVER, |id| partitions.rows.time(*id));
            if let Some(first) = partition.runs.peek().filter(|r| self.within_ms > 0 && r.start != NOT_BEGUN)
            {
                wanted = wanted.min(first.start_ms.saturating_add(self.within_ms));
            }
            if partition.is_idle() {
                idle.push(*group);
            }
            let set = std::mem::replace(&mut partitions.get_mut(*group).timer, wanted);
            if set != wanted {
                if set != NEVER {
                    self.timers.remove(&(set, key.clone()));
                }
                if wanted != NEVER {
                    self.timers.insert((wanted, key));
                }
            }
            partitions.count(*group);
        }
        partitions.rows.tidy()?;
        self.store.remove(idle)?;
        self.store.settle(now_ms)
    }

    /// Looks at the partitions whose timers are due at `until`: takes in their rows up to then, then lets their time come
    /// to `time`.
    fn fire(&mut self, until: i64, time: i64, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        loop {
            let mut keys = Vec::new();
            while keys.len() < PARTITIONS && self.timers.first().is_some_and(|(due, _)| *due <= until) {
                keys.extend(self.timers.pop_first().map(|(_, key)| key));
            }
            if keys.is_empty() {
                return Ok(());
            }
            let columns = match self.partition.is_empty() {
                true => Vec::new(),
                false => self.keys.decode(keys.iter().map(AsRef::as_ref))?,
            };
            let mut groups = Vec::new();
            self.store.touch(&columns, keys.len(), now_ms, &mut groups)?;
            let partitions = self.store.payload_mut();
            let (mut due, mut ids) = (Vec::new(), Vec::new());
            for group in &groups {
                let time = |id: &u32| partitions.rows.time(*id);
                let count = partitions.get(*group).waiting.partition_point(|id| time(id) <= until);
                let begin = ids.len();
                let partition = partitions.get_mut(*group);
                ids.extend(partition.waiting.drain(..count));
                due.push(Due { group: *group, rows: begin..ids.len() });
                // It is gone already.
                partition.timer = NEVER;
            }
            self.finder.take_in(partitions, &due, ids, out)?;
            let mut found = Vec::new();
            for group in &groups {
                self.finder.advance(partitions, *group, time, &mut found)?;
            }
            self.finder.tell(partitions, &mut found, out)?;
            self.done(groups, now_ms)?;
        }
    }
}

impl Operator for MatchRecognize {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.open(StoreContext { ttl_ms: 0, ..context.store() });
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "MATCH_RECOGNIZE")?;
        self.progress = self.progress.max(context.watermark.0);
        let mut times = self.times(input.records(), context.now_ms)?;
        let mut records = kept_rows::records(&self.kept, input.records().columns(), input.num_rows())?;
        if times.contains(&None) {
            let on_time: BooleanArray = times.iter().map(|t| Some(t.is_some())).collect();
            records = filter_record_batch(&records, &on_time)?;
            times.retain(Option::is_some);
        }
        if records.num_rows() == 0 {
            return Ok(());
        }
        let keys: Vec<ArrayRef> = self.partition.iter().map(|c| Arc::clone(records.column(*c))).collect();
        let mut groups = Vec::new();
        self.store.touch(&keys, records.num_rows(), context.now_ms, &mut groups)?;
        let partitions = self.store.payload_mut();
        let ids = partitions.rows.add(records, &times);
        if self.waits {
            for (group, id) in groups.iter().zip(ids.into_iter().flatten()) {
                partitions.wait(*group, id);
            }
        } else {
            let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
            let mut order: Vec<u32> = Vec::new();
            for (group, id) in groups.iter().zip(ids.into_iter().flatten()) {
                let rows = of.entry(*group).or_default();
                if rows.is_empty() {
                    order.push(*group);
                }
                rows.push(id);
            }
            let (mut due, mut sorted) = (Vec::new(), Vec::new());
            for group in order {
                let begin = sorted.len();
                sorted.extend(of.remove(&group).unwrap_or_default());
                due.push(Due { group, rows: begin..sorted.len() });
            }
            self.finder.take_in(partitions, &due, sorted, out)?;
        }
        self.done(groups, context.now_ms)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if self.time == TimeAttribute::Proctime {
            return Ok(());
        }
        self.progress = self.progress.max(watermark.0);
        self.fire(self.progress, self.progress, context.now_ms, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        match self.time {
            TimeAttribute::Proctime => self.timers.first().map(|(time, _)| time.saturating_add(1)),
            TimeAttribute::Rowtime { .. } => None,
        }
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        match self.time {
            TimeAttribute::Proctime => self.fire(context.now_ms - 1, context.now_ms, context.now_ms, out),
            TimeAttribute::Rowtime { .. } => Ok(()),
        }
    }

    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        // Rows that still wait for their millisecond to be over.
        match self.time {
            TimeAttribute::Proctime if self.waits => {
                self.fire(context.now_ms, context.now_ms, context.now_ms, out)
            }
            _ => Ok(()),
        }
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.partition.len();
        let mut timers: HashMap<Box<[u8]>, i64> = HashMap::new();
        while let Some(part) = state.next_rows()? {
            self.store.restore_rows(&part)?;
            // Behind the key come the time of the last touch and then the timer.
            let columns = part.rows.columns();
            let set = columns[width + 1].as_primitive::<Int64Type>();
            let keys = self.timer_keys(&columns[..width], part.rows.num_rows())?;
            for (row, key) in keys.into_iter().enumerate() {
                let deleted = part.deleted.as_ref().is_some_and(|d| d.value(row));
                timers.insert(key, if deleted { NEVER } else { set.value(row) });
            }
        }
        let set = timers.into_iter().filter(|(_, time)| *time != NEVER);
        self.timers = set.map(|(key, time)| (time, key)).collect();
        let progress = state.values(PROGRESS);
        let progress = progress.iter().filter_map(|v| serde_json::from_slice::<i64>(v).ok()).min();
        self.progress = progress.unwrap_or(i64::MIN);
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.value(PROGRESS, self.progress.to_string());
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn status(&self) -> OperatorStatus {
        let timers: usize =
            self.timers.iter().next().map_or(0, |(_, key)| key.len() + 48) * self.timers.len();
        OperatorStatus {
            late_rows: self.late_rows,
            null_time_rows: self.null_time_rows,
            next_fire_ms: self.timers.first().map(|(time, _)| *time),
            state_bytes: (self.store.size() + timers) as u64,
            ..OperatorStatus::default()
        }
    }
}
