//! Fakes for the runtime's tests: a source that is fed by hand, a slow or failing sink, plans, operators.

use super::build;
use super::shutdown::lock;
use super::{Collected, JobHandle, JobOptions, ResultEvent, ResultStream, collect};
use crate::connector::{
    Assignment, Boundedness, Enumerator, Poll, Reader, ReaderContext, Sink, Source, SourceContext, Split,
    Writer, WriterContext,
};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::operators::{Collector, Operator, OperatorContext};
use crate::plan::{
    AggregateCall, CalcNode, ChangelogMode, Edge, LimitNode, NodeId, NodeKind, OperatorId, Partitioning,
    SinkNode, SourceNode, StreamNode, StreamPlan, TimeAttribute, WatermarkStrategy, WindowAggregateNode,
    WindowInput, WindowProperty,
};
use crate::time::{Clock, SystemClock, Watermark, WindowSpec};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_expr::Operator as BinaryOperator;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, lit};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

/// Longest that any test waits.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// `ts TIMESTAMP(3)` (event time), `v BIGINT`.
pub(super) fn schema() -> SchemaRef {
    let rowtime = [("runnel.time".to_string(), "rowtime".to_string())].into();
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true).with_metadata(rowtime),
        Field::new("v", DataType::Int64, true),
    ]))
}

/// Rows of [`schema`].
pub(super) fn rows(values: &[(i64, i64)]) -> RecordBatch {
    let ts: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(values.iter().map(|r| r.0)));
    let v: ArrayRef = Arc::new(Int64Array::from_iter_values(values.iter().map(|r| r.1)));
    RecordBatch::try_new(schema(), vec![ts, v]).unwrap()
}

/// The first BIGINT column.
pub(super) fn values(batch: &ChangeBatch) -> Vec<i64> {
    let column = batch.records().columns().iter().find_map(|c| c.as_primitive_opt::<Int64Type>());
    column.unwrap().values().to_vec()
}

/// `WATERMARK FOR ts AS ts - delay ms`.
pub(super) fn watermark(delay: i64, idle_timeout_ms: Option<u64>, interval_ms: u64) -> WatermarkStrategy {
    let ts: Arc<Column> = Arc::new(Column::new("ts", 0));
    let delay = lit(datafusion_common::ScalarValue::new_interval_mdn(0, 0, delay * 1_000_000));
    let expression = Arc::new(BinaryExpr::new(ts, BinaryOperator::Minus, delay));
    WatermarkStrategy { expression, idle_timeout_ms, interval_ms, tells_each: false }
}

/// A source whose splits are fed by the test.
#[derive(Debug, Clone)]
pub(super) struct FakeSource(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    splits: Mutex<BTreeMap<String, VecDeque<Option<RecordBatch>>>>,
    changed: Condvar,
    bounded: bool,
    /// Makes the reader fail after so many batches.
    fail_after: usize,
    polls: AtomicUsize,
    /// For each split, those that must be finished before it.
    parents: Vec<Vec<usize>>,
}

impl FakeSource {
    /// `splits` splits called `s00`, `s01`, …
    pub(super) fn new(splits: usize, bounded: bool) -> Self {
        Self::failing(splits, bounded, usize::MAX)
    }

    pub(super) fn failing(splits: usize, bounded: bool, fail_after: usize) -> Self {
        Self::make(vec![vec![]; splits], bounded, fail_after)
    }

    /// Endless, with splits that come only after others.
    pub(super) fn with_children(parents: Vec<Vec<usize>>) -> Self {
        Self::make(parents, false, usize::MAX)
    }

    fn make(parents: Vec<Vec<usize>>, bounded: bool, fail_after: usize) -> Self {
        let splits = parents.len();
        let splits = (0..splits).map(|n| (format!("s{n:02}"), VecDeque::new())).collect();
        Self(Arc::new(Feed {
            splits: Mutex::new(splits),
            changed: Condvar::new(),
            bounded,
            fail_after,
            polls: AtomicUsize::new(0),
            parents,
        }))
    }

    /// Each split has these rows, then ends.
    pub(super) fn of(splits: Vec<Vec<RecordBatch>>) -> Self {
        let source = Self::new(splits.len(), true);
        for (n, batches) in splits.into_iter().enumerate() {
            batches.into_iter().for_each(|b| source.push(n, b));
            source.finish(n);
        }
        source
    }

    pub(super) fn push(&self, split: usize, batch: RecordBatch) {
        self.put(split, Some(batch));
    }

    pub(super) fn finish(&self, split: usize) {
        self.put(split, None);
    }

    fn put(&self, split: usize, item: Option<RecordBatch>) {
        lock(&self.0.splits).get_mut(&format!("s{split:02}")).unwrap().push_back(item);
        self.0.changed.notify_all();
    }

    /// Batches that readers have taken.
    pub(super) fn taken(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }
}

impl Source for FakeSource {
    fn boundedness(&self) -> Boundedness {
        if self.0.bounded { Boundedness::Bounded } else { Boundedness::Unbounded }
    }

    fn eager_watermarks(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn enumerator(&self, _context: &SourceContext) -> Result<Box<dyn Enumerator>> {
        let waiting = (0..self.0.parents.len()).collect();
        Ok(Box::new(FakeEnumerator { source: self.clone(), waiting, finished: Vec::new() }))
    }

    fn reader(&self, _context: ReaderContext) -> Result<Box<dyn Reader>> {
        Ok(Box::new(FakeReader { source: self.clone(), splits: VecDeque::new() }))
    }
}

struct FakeEnumerator {
    source: FakeSource,
    waiting: Vec<usize>,
    finished: Vec<usize>,
}

impl Enumerator for FakeEnumerator {
    fn restore(&mut self, _known: &[Split], _finished: &[Split]) -> Result<()> {
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        let (parents, finished) = (&self.source.0.parents, &self.finished);
        let ready = self.waiting.extract_if(.., |n| parents[*n].iter().all(|p| finished.contains(p)));
        let splits = ready.map(|n| Split { id: format!("s{n:02}"), position: String::new() }).collect();
        Ok(Assignment { splits, complete: self.source.0.bounded })
    }

    fn finished(&mut self, split: &Split) -> Result<()> {
        // Long enough for a watermark that does not wait to run away.
        thread::sleep(Duration::from_millis(20));
        self.finished.push(split.id[1..].parse().unwrap());
        Ok(())
    }
}

struct FakeReader {
    source: FakeSource,
    splits: VecDeque<Arc<str>>,
}

impl Reader for FakeReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        self.splits.extend(splits.into_iter().map(|s| Arc::from(s.id)));
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Poll> {
        let feed = &self.source.0;
        let mut all = lock(&feed.splits);
        for round in 0..2 {
            for _ in 0..self.splits.len() {
                self.splits.rotate_left(1);
                let split = self.splits[0].clone();
                match all.get_mut(split.as_ref()).unwrap().pop_front() {
                    Some(Some(batch)) => {
                        if feed.polls.fetch_add(1, Ordering::SeqCst) >= feed.fail_after {
                            return Err(Error::external("The fake broker is gone."));
                        }
                        return Ok(Poll::Rows { split, batch, kinds: None });
                    }
                    Some(None) => {
                        self.splits.pop_front();
                        return Ok(Poll::Finished(split));
                    }
                    None => {}
                }
            }
            if round == 0 {
                all = feed.changed.wait_timeout(all, timeout).unwrap().0;
            }
        }
        Ok(Poll::Pending)
    }

    fn snapshot(&self) -> Vec<Split> {
        Vec::new()
    }

    fn status(&self) -> Option<String> {
        Some("the test feeds it by hand".into())
    }
}

/// A sink that counts, sleeps, and may fail.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeSink {
    pub(super) delay: Duration,
    pub(super) fail: bool,
    pub(super) rows: Arc<AtomicUsize>,
    pub(super) flushes: Arc<AtomicUsize>,
    pub(super) finished: Arc<AtomicUsize>,
}

impl Sink for FakeSink {
    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn writer(&self, _context: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer for FakeSink {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        thread::sleep(self.delay);
        if self.fail {
            return Err(Error::external("The fake disk is full."));
        }
        self.rows.fetch_add(batch.num_rows(), Ordering::SeqCst);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        Some(20)
    }

    fn finish(&mut self) -> Result<()> {
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Writes plans node by node.
#[derive(Default)]
pub(super) struct PlanBuilder(StreamPlan);

impl PlanBuilder {
    fn add(&mut self, name: &str, kind: NodeKind, inputs: Vec<Edge>, parallelism: usize) -> NodeId {
        let id = NodeId(self.0.nodes.len());
        self.0.nodes.push(StreamNode {
            id,
            operator_id: OperatorId(format!("{}", id.0)),
            name: name.into(),
            kind,
            inputs,
            schema: schema(),
            parallelism,
            changelog: ChangelogMode::APPEND,
        });
        id
    }

    pub(super) fn source(
        &mut self,
        source: &FakeSource,
        watermark: Option<WatermarkStrategy>,
        tasks: usize,
    ) -> NodeId {
        let node = SourceNode {
            table: "orders".into(),
            source: Arc::new(source.clone()),
            projection: schema(),
            computed: None,
            primary_key: vec![],
            watermark,
        };
        self.add("Source(orders)", NodeKind::Source(node), vec![], tasks)
    }

    pub(super) fn last(self) -> StreamNode {
        self.0.nodes.into_iter().next_back().unwrap()
    }

    /// An operator that the test's factory makes by its name.
    pub(super) fn operator(
        &mut self,
        name: &str,
        inputs: Vec<(NodeId, Partitioning)>,
        tasks: usize,
    ) -> NodeId {
        let inputs = edges(inputs);
        self.add(name, NodeKind::Calc(CalcNode { filter: None, projection: vec![] }), inputs, tasks)
    }

    pub(super) fn union(&mut self, inputs: Vec<(NodeId, Partitioning)>, tasks: usize) -> NodeId {
        let inputs = edges(inputs);
        self.add("Union", NodeKind::Union, inputs, tasks)
    }

    /// `COUNT(*)` in sessions over all rows.
    pub(super) fn sessions(&mut self, gap: i64, from: NodeId) -> NodeId {
        let count = AggregateCall {
            function: "count".into(),
            arguments: vec![],
            distinct: false,
            filter: None,
            data_type: DataType::Int64,
            name: "c".into(),
            monotone: false,
        };
        let time = TimeAttribute::Rowtime { column: 0 };
        let node = WindowAggregateNode {
            input: WindowInput::Assign { window: WindowSpec::Session { gap }, time, zone: None },
            keys: vec![],
            aggregates: vec![count],
            properties: vec![WindowProperty::End],
            retracts: false,
        };
        let inputs = edges(vec![(from, Partitioning::Single)]);
        let id = self.add("Sessions", NodeKind::WindowAggregate(node), inputs, 1);
        self.0.nodes[id.0].schema = Arc::new(Schema::new(vec![
            Field::new("c", DataType::Int64, false),
            Field::new("e", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        ]));
        id
    }

    /// An operator that passes on the columns of `from`.
    pub(super) fn watch(&mut self, name: &str, from: NodeId) -> NodeId {
        let schema = self.0.nodes[from.0].schema.clone();
        let tasks = self.0.nodes[from.0].parallelism;
        let id = self.operator(name, vec![(from, Partitioning::Forward)], tasks);
        self.0.nodes[id.0].schema = schema;
        id
    }

    pub(super) fn limit(&mut self, fetch: u64, from: NodeId) -> NodeId {
        let node = LimitNode { skip: 0, fetch: Some(fetch) };
        self.add("Limit", NodeKind::Limit(node), edges(vec![(from, Partitioning::Single)]), 1)
    }

    pub(super) fn sink(
        &mut self,
        sink: Arc<dyn Sink>,
        from: NodeId,
        partitioning: Partitioning,
        tasks: usize,
    ) {
        let node =
            SinkNode { table: "out".into(), sink, primary_key: vec![], not_null: vec![], drop_nulls: false };
        let inputs = edges(vec![(from, partitioning)]);
        self.add("Sink(out)", NodeKind::Sink(node), inputs, tasks);
    }

    pub(super) fn start(self, clock: Arc<dyn Clock>, operators: &Operators) -> JobHandle {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().unwrap());
        let options = JobOptions::new("test", clock, runtime.handle().clone());
        let operators = operators.clone();
        build::start(self.0, options, &move |node, inputs| match operators.0.get(node.name.as_str()) {
            Some(make) => Ok(make()),
            None => build::operator(node, inputs),
        })
        .unwrap()
    }
}

fn edges(inputs: Vec<(NodeId, Partitioning)>) -> Vec<Edge> {
    inputs.into_iter().map(|(from, partitioning)| Edge { from, partitioning }).collect()
}

/// Operators by the name of their node.
#[derive(Clone, Default)]
pub(super) struct Operators(HashMap<&'static str, Rc<dyn Fn() -> Box<dyn Operator>>>);

impl Operators {
    pub(super) fn with<O: Operator + 'static>(
        mut self,
        name: &'static str,
        make: impl Fn() -> O + 'static,
    ) -> Self {
        self.0.insert(name, Rc::new(move || Box::new(make())));
        self
    }
}

/// What came to an operator: sorted `v`s of rows, and watermarks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Rows(Vec<i64>),
    Watermark(i64),
}

/// Writes down what comes, and passes it on.
#[derive(Clone, Default)]
pub(super) struct Recorder(pub(super) Arc<Mutex<Vec<Seen>>>);

impl Recorder {
    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.0).clone()
    }

    /// The watermarks, without the last of all.
    pub(super) fn watermarks(&self) -> Vec<i64> {
        let seen = self.seen().into_iter().filter_map(|s| match s {
            Seen::Watermark(w) if w < i64::MAX => Some(w),
            _ => None,
        });
        seen.collect()
    }
}

impl Operator for Recorder {
    fn process(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        lock(&self.0).push(Seen::Rows(values(&batch)));
        out.emit(batch)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        lock(&self.0).push(Seen::Watermark(watermark.0));
        Ok(())
    }
}

/// Runs a function on each batch.
pub(super) struct Each<F>(pub(super) F);

impl<F: FnMut(ChangeBatch) -> Result<ChangeBatch> + Send> Operator for Each<F> {
    fn process(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let batch = (self.0)(batch)?;
        out.emit(batch)
    }
}

/// Sums `v` by `ts`, and emits the sums at the end.
#[derive(Default)]
pub(super) struct SumAtEnd(BTreeMap<i64, i64>);

impl Operator for SumAtEnd {
    fn process(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        let keys = batch.records().column(0);
        let keys = arrow::compute::cast(keys, &DataType::Int64)?;
        for (key, value) in keys.as_primitive::<Int64Type>().values().iter().zip(values(&batch)) {
            *self.0.entry(*key).or_default() += value;
        }
        Ok(())
    }

    fn finish(&mut self, _: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        let sums: Vec<_> = std::mem::take(&mut self.0).into_iter().collect();
        out.emit(ChangeBatch::inserts(rows(&sums)))
    }
}

/// A job whose only sink is read by the test.
pub(super) struct Running {
    pub(super) results: ResultStream,
}

impl Running {
    pub(super) fn new(plan: PlanBuilder, collected: Collected, operators: &Operators) -> Self {
        let job = plan.start(Arc::new(SystemClock), operators);
        Self { results: collected.results(job) }
    }

    /// All rows' `v`, in order of arrival, and how the job ended.
    pub(super) fn drain(mut self) -> (Vec<i64>, Result<()>) {
        let mut all = Vec::new();
        loop {
            match self.results.next(TEST_TIMEOUT) {
                ResultEvent::Batch(batch) => all.extend(values(&batch)),
                ResultEvent::End(result) => return (all, result),
                ResultEvent::Pending => panic!("the job hangs: {:?}", self.results.job().progress()),
            }
        }
    }
}

/// Builds, runs to the end, and gives all `v`s and the result.
pub(super) fn run(
    operators: &Operators,
    build: impl FnOnce(&mut PlanBuilder, Arc<dyn Sink>),
) -> (Vec<i64>, Result<()>) {
    let (sink, collected) = collect();
    let mut plan = PlanBuilder::default();
    build(&mut plan, sink);
    Running::new(plan, collected, operators).drain()
}

/// Waits until `condition` holds.
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..TEST_TIMEOUT.as_millis() {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("waited in vain for: {what}");
}
