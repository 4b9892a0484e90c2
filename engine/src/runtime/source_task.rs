//! The loop of a task that reads: reader, computed columns, watermarks per split, then the chain.

use super::ReadGate;
use super::chain::Chain;
use super::enumerator::{News, SplitBoard};
use super::metrics::{SourceMetrics, SourceTaskState};
use super::restore::{SPLITS, SourceState, SplitState};
use super::snapshot::TaskCheckpoints;
use super::task::{ReportTimer, TaskContext, end, spawn, wait};
use crate::connector::{Metrics, Poll, Reader, ReaderContext, Split};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::message::{Barrier, BarrierKind, ChangeBatch, RowKind};
use crate::operators::rows::{batch, evaluate};
use crate::plan::{SourceNode, WatermarkStrategy};
use crate::time::{MergeChange, SplitWatermarks, Watermark};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef, TimeUnit, TimestampMillisecondType};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::utils::collect_columns;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// Longest sleep of a source in a job with checkpoints, whose barriers nobody can wake it for.
const BARRIER_WAIT: Duration = Duration::from_millis(10);
/// Sleep of a source that is held back.
const HELD_BACK: Duration = Duration::from_millis(1);
/// Checkpoints whose positions are remembered until they are complete.
const MAX_POSITIONS: usize = 16;

/// What a source task takes part in besides reading.
pub(super) struct SourceSetup {
    pub(super) checkpoints: Option<TaskCheckpoints>,
    /// Watermarks of splits from a checkpoint.
    pub(super) watermarks: BTreeMap<String, Watermark>,
    /// The last watermark that was told before the job was restored.
    pub(super) told: Watermark,
    /// Splits that were read to their end before that.
    pub(super) finished: Vec<Split>,
    pub(super) gate: Option<ReadGate>,
}

/// A task of a source.
pub(super) struct SourceTask {
    context: TaskContext,
    chain: Chain,
    node: SourceNode,
    schema: SchemaRef,
    reader_context: ReaderContext,
    board: Arc<SplitBoard>,
    metrics: Arc<SourceMetrics>,
    watermarks: Option<Watermarks>,
    setup: SourceSetup,
    /// Where reading was at checkpoints that are not complete yet.
    positions: Vec<(u64, Vec<Split>)>,
}

/// The source's watermark declaration at work.
struct Watermarks {
    strategy: WatermarkStrategy,
    splits: SplitWatermarks,
    /// Index of the time attribute, where watermarks are told between rows.
    eager_column: Option<usize>,
    told_at_ms: Option<i64>,
}

/// Splits being read, and those finished whose successors are not known yet.
#[derive(Default)]
struct Reading {
    splits: HashMap<Arc<str>, Split>,
    finished: Vec<(Arc<str>, u64)>,
}

impl SourceTask {
    /// A reader of `node`, whose rows have `schema`, before `chain`.
    pub(super) fn new(
        context: TaskContext,
        chain: Chain,
        (node, schema): (SourceNode, SchemaRef),
        reader_context: ReaderContext,
        board: Arc<SplitBoard>,
        metrics: Arc<SourceMetrics>,
        setup: SourceSetup,
    ) -> Self {
        let watermarks = node.watermark.clone().map(|strategy| Watermarks {
            splits: SplitWatermarks::new(strategy.idle_timeout_ms),
            eager_column: (strategy.interval_ms == 0 || node.source.eager_watermarks())
                .then(|| rowtime_column(&schema, &strategy))
                .flatten(),
            strategy,
            told_at_ms: None,
        });
        let positions = Vec::new();
        Self { context, chain, node, schema, reader_context, board, metrics, watermarks, setup, positions }
    }

    /// Starts its thread.
    pub(super) fn start(self, thread_name: String) {
        let control = self.context.control.clone();
        spawn(&control, thread_name, self, Self::run, |task| task.chain.running().to_string());
    }

    fn run(&mut self) -> Result<()> {
        let result = self.read();
        self.board.leave(self.reader_context.task);
        result
    }

    fn read(&mut self) -> Result<()> {
        let TaskContext { control, clock } = self.context.clone();
        let task = self.reader_context.task;
        let name = self.chain.name().to_string();
        if self.setup.checkpoints.as_ref().is_some_and(|c| !c.wait_for_start()) {
            return Ok(());
        }
        self.chain.open()?;
        let mut reader = self.node.source.reader(self.reader_context.clone()).map_err(|e| e.within(&name))?;
        control.opened();
        let mut reading = Reading::default();
        let mut reports = ReportTimer::default();
        self.tell_restored(clock.now_ms())?;
        let mut stopped = false;
        while !control.is_stopping() && !self.chain.is_done() && !stopped {
            let now_ms = clock.now_ms();
            let news = self.board.news(task);
            let (discovered, complete) = (news.discovered, news.complete);
            self.take(news, &mut reading, reader.as_mut(), now_ms).map_err(|e| e.within(&name))?;
            if complete && reading.splits.is_empty() {
                break;
            }
            self.chain.fire_timers(now_ms)?;
            if discovered {
                self.tell_watermark(now_ms)?;
            }
            if reports.is_due(now_ms) {
                self.report(reader.as_ref(), false);
            }
            let mut wait = wait(self.next_due_ms(), now_ms, clock.as_ref());
            if self.setup.checkpoints.is_some() {
                self.tell_completed(reader.as_mut()).map_err(|e| e.within(&name))?;
                if self.progress()? {
                    wait = wait.min(HELD_BACK);
                }
                // Where reading starts must be known before it can be kept.
                let due =
                    self.setup.checkpoints.as_ref().filter(|_| discovered).and_then(TaskCheckpoints::due);
                if let Some((barrier, drain)) = due {
                    self.barrier(barrier, drain, reader.as_ref())?;
                    stopped = barrier.kind == BarrierKind::Stop;
                    continue;
                }
                wait = wait.min(BARRIER_WAIT);
            }
            let rows = || self.metrics.rows.load(Ordering::Relaxed);
            if self.setup.gate.as_ref().is_some_and(|g| g.is_closed(rows())) {
                thread::sleep(HELD_BACK);
                continue;
            }
            if reading.splits.is_empty() {
                self.metrics.connector.waiting(|| self.board.wait_for_news(task, wait));
                self.report(reader.as_ref(), false);
                continue;
            }
            match reader.poll(wait).map_err(|e| e.within(&name))? {
                Poll::Rows { split, batch, kinds } => {
                    let before_ms = clock.now_ms();
                    self.rows(&split, batch, kinds, before_ms)?;
                    // While downstream held us up, we could not read: that is not idleness.
                    let held_ms = clock.now_ms().saturating_sub(before_ms);
                    if let Some(watermarks) = self.watermarks.as_mut().filter(|_| held_ms > 0) {
                        watermarks.splits.forgive(held_ms);
                    }
                }
                Poll::Pending => self.report(reader.as_ref(), false),
                Poll::Finished(id) => {
                    let Some(split) = reading.splits.remove(&id) else {
                        return Err(Error::internal(format!("Split {id} ended twice.")).within(&name));
                    };
                    if self.setup.checkpoints.is_some() {
                        self.setup.finished.push(split.clone());
                    }
                    reading.finished.push((id, self.board.finish(task, split)));
                }
            }
        }
        if control.is_stopping() {
            return Ok(());
        }
        self.board.leave(task);
        self.report(reader.as_ref(), true);
        let state = self.state(reader.snapshot())?;
        // Without checkpoints nobody needs the reader any more.
        let mut reader = Some(reader).filter(|_| self.setup.checkpoints.is_some());
        if !stopped {
            self.chain.end(clock.now_ms())?;
        }
        self.chain.report();
        let last = reader.as_ref().map_or_else(Vec::new, |r| r.snapshot());
        let Self { chain, setup, positions, .. } = self;
        end(chain, setup.checkpoints.as_mut(), &control, &[state], |id| match &mut reader {
            Some(reader) => {
                let at = positions.iter().position(|(of, _)| *of == id);
                let splits = at.map_or_else(|| last.clone(), |at| positions.remove(at).1);
                reader.checkpointed(&splits).map_err(|e| e.within(&name))
            }
            None => Ok(()),
        })
    }

    /// How far event time had come before the job was restored is told before the first row: so it is the same rows
    /// that are late.
    fn tell_restored(&mut self, now_ms: i64) -> Result<()> {
        let told = self.setup.told;
        match &mut self.watermarks {
            Some(watermarks) if told > Watermark::MIN => {
                watermarks.splits.tell(told);
                self.chain.watermark(told, now_ms)
            }
            _ => self.chain.tell_restored(),
        }
    }

    fn progress(&mut self) -> Result<bool> {
        match &mut self.setup.checkpoints {
            Some(checkpoints) => checkpoints.progress(&mut self.chain),
            None => Ok(false),
        }
    }

    fn tell_completed(&mut self, reader: &mut dyn Reader) -> Result<()> {
        let Some(checkpoints) = &mut self.setup.checkpoints else { return Ok(()) };
        let Some(id) = checkpoints.tell_completed(&mut self.chain)? else { return Ok(()) };
        failpoint::hit("commit.source")?;
        let at = self.positions.iter().position(|(of, _)| *of == id);
        self.positions.retain(|(of, _)| *of >= id);
        match at {
            None => Ok(()),
            Some(_) => reader.checkpointed(&self.positions.remove(0).1),
        }
    }

    /// The barrier goes into the stream here, between two batches.
    fn barrier(&mut self, barrier: Barrier, drain: bool, reader: &dyn Reader) -> Result<()> {
        let TaskContext { control, clock } = self.context.clone();
        failpoint::hit("checkpoint.source-snapshot")?;
        if drain {
            self.chain.watermark(Watermark::MAX, clock.now_ms())?;
        }
        let splits = reader.snapshot();
        let state = self.state(splits.clone())?;
        if self.positions.len() == MAX_POSITIONS {
            self.positions.remove(0);
        }
        self.positions.push((barrier.checkpoint_id, splits));
        let Some(checkpoints) = &mut self.setup.checkpoints else { return Ok(()) };
        checkpoints.settle(&mut self.chain, &control)?;
        self.chain.barrier(barrier, 0, clock.now_ms(), Some(checkpoints), vec![state])
    }

    /// What a checkpoint keeps of this task.
    fn state(&self, splits: Vec<Split>) -> Result<(String, Vec<u8>)> {
        let watermark = |id: &str| {
            let watermark = self.watermarks.as_ref().and_then(|w| w.splits.of(id));
            watermark.filter(|w| *w > Watermark::MIN).map(|w| w.0)
        };
        let splits =
            splits.into_iter().map(|split| SplitState { watermark: watermark(&split.id), split }).collect();
        let told = self.watermarks.as_ref().map(|w| w.splits.current()).filter(|w| *w > Watermark::MIN);
        let state = SourceState { splits, finished: self.setup.finished.clone(), told: told.map(|w| w.0) };
        let bytes = serde_json::to_vec(&state).map_err(|e| Error::internal(e.to_string()))?;
        Ok((SPLITS.to_string(), bytes))
    }

    /// New splits come under the watermark; finished ones leave it when their successors are known, so that
    /// time does not run away between a closed shard and its children.
    fn take(
        &mut self,
        news: News,
        reading: &mut Reading,
        reader: &mut dyn Reader,
        now_ms: i64,
    ) -> Result<()> {
        if !news.splits.is_empty() {
            for split in &news.splits {
                let id: Arc<str> = split.id.as_str().into();
                if let Some(watermarks) = &mut self.watermarks {
                    watermarks.splits.add(id.clone(), now_ms);
                    if let Some(watermark) = self.setup.watermarks.remove(&split.id) {
                        watermarks.splits.observe(&id, watermark, now_ms);
                    }
                }
                reading.splits.insert(id, split.clone());
            }
            reader.assign(news.splits)?;
        }
        reading.finished.retain(|(id, number)| {
            let known = news.complete || *number <= news.answered;
            if let Some(watermarks) = self.watermarks.as_mut().filter(|_| known) {
                watermarks.splits.finish(id);
                watermarks.told_at_ms = None;
            }
            !known
        });
        Ok(())
    }

    fn rows(
        &mut self,
        split: &str,
        batch: RecordBatch,
        kinds: Option<Arc<[RowKind]>>,
        now_ms: i64,
    ) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        Metrics::add(&self.metrics.rows, rows);
        let name = self.chain.name().to_string();
        let records =
            compute(batch, self.node.computed.as_deref(), &self.schema).map_err(|e| e.within(&name))?;
        let Some(watermarks) = &mut self.watermarks else {
            return self.chain.process(0, change_batch(records, kinds), now_ms);
        };
        let times =
            watermark_values(&watermarks.strategy.expression, &records).map_err(|e| e.within(&name))?;
        let row_times = watermarks.eager_column.map(|c| millis(records.column(c))).transpose()?;
        let batch = change_batch(records, kinds);
        let Some(row_times) = row_times else {
            let greatest = arrow::compute::max(times.as_primitive::<Int64Type>());
            watermarks.splits.observe(split, greatest.map_or(Watermark::MIN, Watermark), now_ms);
            return self.chain.process(0, batch, now_ms);
        };
        let slices = watermarks.cut(split, times.as_ref(), row_times.as_ref());
        watermarks.splits.observe(split, slices.greatest, now_ms);
        let mut start = 0;
        for (end, watermark) in slices.cuts {
            if end > start {
                let part = if end - start == rows { batch.clone() } else { batch.slice(start, end - start) };
                self.chain.process(0, part, now_ms)?;
                start = end;
            }
            if let Some(watermarks) = self.watermarks.as_mut().filter(|_| watermark > Watermark::MIN)
                && watermarks.splits.tell(watermark)
            {
                self.chain.watermark(watermark, now_ms)?;
            }
        }
        Ok(())
    }

    fn tell_watermark(&mut self, now_ms: i64) -> Result<()> {
        let Some(watermarks) = &mut self.watermarks else { return Ok(()) };
        let interval = watermarks.strategy.interval_ms as i64;
        if watermarks.told_at_ms.is_some_and(|told| now_ms.saturating_sub(told) < interval) {
            return Ok(());
        }
        watermarks.told_at_ms = Some(now_ms);
        // Twice: the watermark, and the idleness that may follow it.
        for _ in 0..2 {
            match self.watermarks.as_mut().and_then(|w| w.splits.poll(now_ms)) {
                None => break,
                Some(MergeChange::Watermark(watermark)) => self.chain.watermark(watermark, now_ms)?,
                Some(MergeChange::Idle) => self.chain.idle()?,
            }
        }
        Ok(())
    }

    /// When something other than rows is due.
    fn next_due_ms(&self) -> Option<i64> {
        let tell = self.watermarks.as_ref().and_then(|w| match w.strategy.interval_ms {
            0 => None,
            interval => w.told_at_ms.map(|told| told.saturating_add_unsigned(interval)),
        });
        [self.chain.next_timer_ms(), tell].into_iter().flatten().min()
    }

    fn report(&self, reader: &dyn Reader, ended: bool) {
        let splits = self.watermarks.as_ref().map_or_else(Vec::new, |w| w.splits.splits().collect());
        let state = SourceTaskState { splits, ended, waits_for: reader.status() };
        self.metrics.set(self.reader_context.task, state);
        self.chain.report();
    }
}

/// Where a batch is cut: rows up to `end`, then that watermark (`MIN` for none).
struct Slices {
    cuts: Vec<(usize, Watermark)>,
    greatest: Watermark,
}

impl Watermarks {
    /// Flink tells a watermark after each row that moves event time on by more than the interval. Only those
    /// matter that come before a row at or before them (it may be late), or one just behind them (a session
    /// that has fired is no longer there to be joined): the batch is cut before such rows only, unless all are
    /// wanted.
    fn cut(&self, split: &str, watermarks: &dyn Array, times: &dyn Array) -> Slices {
        let interval = self.strategy.interval_ms as i64;
        let others = self.splits.others(split).unwrap_or(Watermark::MAX).0;
        let mut running = self.splits.of(split).unwrap_or(Watermark::MIN).0;
        let mut told = self.splits.current().0;
        let mut out = told;
        let (watermarks, times) = (watermarks.as_primitive::<Int64Type>(), times.as_primitive::<Int64Type>());
        let mut cuts = Vec::new();
        for row in 0..watermarks.len() {
            let matters =
                self.strategy.tells_each || times.is_valid(row) && times.value(row) <= told.saturating_add(1);
            if told > out && matters {
                cuts.push((row, Watermark(told)));
                out = told;
            }
            if watermarks.is_valid(row) {
                running = running.max(watermarks.value(row));
                let candidate = running.min(others);
                if candidate > told && candidate.saturating_sub(told) > interval {
                    told = candidate;
                }
            }
        }
        cuts.push((watermarks.len(), if told > out { Watermark(told) } else { Watermark::MIN }));
        Slices { cuts, greatest: Watermark(running) }
    }
}

fn change_batch(records: RecordBatch, kinds: Option<Arc<[RowKind]>>) -> ChangeBatch {
    match kinds {
        None => ChangeBatch::inserts(records),
        Some(kinds) => ChangeBatch::new(records, kinds),
    }
}

/// Index of the event-time attribute: the column marked so, or the one that watermarks are made of.
fn rowtime_column(schema: &SchemaRef, strategy: &WatermarkStrategy) -> Option<usize> {
    let is_time = |f: &Field| matches!(f.data_type(), DataType::Timestamp(..));
    let marked = |f: &Field| f.metadata().get("runnel.time").is_some_and(|kind| kind == "rowtime");
    let read = || collect_columns(&strategy.expression).into_iter().map(|c| c.index());
    let only = || read().next().filter(|_| read().count() == 1);
    let index = schema.fields().iter().position(|f| marked(f)).or_else(only);
    index.filter(|i| schema.fields().get(*i).is_some_and(|f| is_time(f)))
}

/// The node's columns from the reader's.
fn compute(
    records: RecordBatch,
    computed: Option<&[Arc<dyn PhysicalExpr>]>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let rows = records.num_rows();
    let columns = match computed {
        None => records.columns().to_vec(),
        Some(expressions) => expressions.iter().map(|e| evaluate(e, &records)).collect::<Result<Vec<_>>>()?,
    };
    batch(schema, columns, rows)
}

/// Each row's watermark in milliseconds.
fn watermark_values(expression: &Arc<dyn PhysicalExpr>, records: &RecordBatch) -> Result<ArrayRef> {
    millis(&evaluate(expression, records)?)
}

/// Timestamps of any unit as Int64 milliseconds, rounded down.
fn millis(times: &ArrayRef) -> Result<ArrayRef> {
    Ok(match times.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let times = times.as_primitive::<TimestampMillisecondType>();
            Arc::new(times.reinterpret_cast::<Int64Type>())
        }
        DataType::Timestamp(unit, _) => {
            let raw = cast(times, &DataType::Int64)?;
            let raw = raw.as_primitive::<Int64Type>();
            let scaled: arrow::array::Int64Array = match unit {
                TimeUnit::Second => raw.unary(|t| t.saturating_mul(1000)),
                TimeUnit::Microsecond => raw.unary(|t| t.div_euclid(1000)),
                _ => raw.unary(|t| t.div_euclid(1_000_000)),
            };
            Arc::new(scaled)
        }
        DataType::Null => Arc::new(arrow::array::Int64Array::new_null(times.len())),
        other => return Err(Error::internal(format!("A watermark of type {other} is no time."))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use datafusion_physical_expr::expressions::Column;

    fn watermarks(interval_ms: u64) -> Watermarks {
        let expression = Arc::new(Column::new("ts", 0));
        let strategy =
            WatermarkStrategy { expression, idle_timeout_ms: None, interval_ms, tells_each: false };
        let mut splits = SplitWatermarks::new(None);
        splits.add("a".into(), 0);
        Watermarks { strategy, splits, eager_column: Some(0), told_at_ms: None }
    }

    fn cuts(w: &Watermarks, delay: i64, times: &[i64]) -> Vec<(usize, i64)> {
        let times = Int64Array::from(times.to_vec());
        let marks: Int64Array = times.unary(|t| t - delay);
        w.cut("a", &marks, &times).cuts.into_iter().map(|(end, w)| (end, w.0)).collect()
    }

    #[test]
    fn batches_are_cut_only_before_rows_that_may_be_late() {
        let w = watermarks(0);
        assert_eq!(cuts(&w, 0, &[1, 5, 9]), [(3, 9)]);
        // 3 is late after 9; 4 after it as well, but nothing new is told before it.
        assert_eq!(cuts(&w, 0, &[1, 9, 3, 4, 20]), [(2, 9), (5, 20)]);
        // A row that touches the watermark.
        assert_eq!(cuts(&w, 0, &[9, 10, 12]), [(1, 9), (3, 12)]);
        // Within the declared delay nothing is late.
        assert_eq!(cuts(&w, 5, &[10, 7, 12, 9, 11]), [(5, 7)]);
    }

    #[test]
    fn eagerness_waits_for_more_than_the_interval() {
        let w = watermarks(200);
        assert_eq!(cuts(&w, 0, &[1000, 1100, 1050, 1400, 1300]), [(4, 1400), (5, i64::MIN)]);
    }

    #[test]
    fn another_split_holds_time() {
        let mut w = watermarks(0);
        w.splits.add("b".into(), 0);
        assert_eq!(cuts(&w, 0, &[1, 9, 3]), [(3, i64::MIN)]);
        w.splits.observe("b", Watermark(4), 0);
        assert_eq!(cuts(&w, 0, &[1, 9, 3]), [(2, 4), (3, i64::MIN)]);
        assert_eq!(cuts(&w, 0, &[1, 9, 6]), [(3, 4)]);
    }

    #[test]
    fn null_watermarks_do_not_count_and_units_are_converted() {
        let w = watermarks(0);
        let marks = Int64Array::from(vec![Some(5), None, Some(7)]);
        let slices = w.cut("a", &marks, &marks);
        assert_eq!((slices.cuts, slices.greatest), (vec![(3, Watermark(7))], Watermark(7)));
        let micros: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1999, -1]));
        assert_eq!(millis(&micros).unwrap().as_primitive::<Int64Type>().values().to_vec(), [1, -1]);
    }
}
