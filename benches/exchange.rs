//! What it costs to send rows from task to task: a job of a source, whose batches are there already, and a sink that
//! drops them, with one, two and four tasks each, rows spread by key or passed straight on. `make bench-micro`, or
//! `cargo bench --bench exchange`.
//!
//! `ROWS=20000000` `RUNS=5` `TASKS=1,2,4`. CPU time is of the whole process. Results are added to
//! `target/bench/exchange.jsonl`.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use benches::{numbers, results};
use engine::connector::{
    Assignment, Boundedness, Enumerator, Poll, Reader, ReaderContext, Sink, Source, SourceContext, Split,
    Writer, WriterContext,
};
use engine::error::{Error, Result};
use engine::message::ChangeBatch;
use engine::plan::{
    ChangelogMode, Edge, NodeId, NodeKind, OperatorId, Partitioning, SinkNode, SourceNode, StreamNode,
    StreamPlan,
};
use engine::runtime::{BATCH_ROWS, JobOptions};
use engine::time::SystemClock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Batches that a reader gives in turn.
const BATCHES: usize = 16;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]))
}

/// Gives batches that it has, `rows` rows in each split.
#[derive(Debug)]
struct Ready {
    batches: Vec<RecordBatch>,
    rows: u64,
    splits: usize,
}

#[derive(Debug)]
struct Shared(Arc<Ready>);

impl Source for Shared {
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn describe(&self) -> String {
        "ready".into()
    }

    fn enumerator(&self, _: &SourceContext) -> Result<Box<dyn Enumerator>> {
        Ok(Box::new(All(self.0.splits)))
    }

    fn reader(&self, _: ReaderContext) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Turn { ready: self.0.clone(), splits: Vec::new() }))
    }
}

struct All(usize);

impl Enumerator for All {
    fn restore(&mut self, _: &[Split], _: &[Split]) -> Result<()> {
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        let splits = (0..self.0).map(|n| Split { id: n.to_string(), position: String::new() }).collect();
        Ok(Assignment { splits, complete: true })
    }
}

struct Turn {
    ready: Arc<Ready>,
    /// Splits and the rows that they still have.
    splits: Vec<(Arc<str>, u64)>,
}

impl Reader for Turn {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        self.splits.extend(splits.into_iter().map(|s| (s.id.into(), self.ready.rows)));
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Poll> {
        let Some((id, left)) = self.splits.last_mut() else { return Ok(Poll::Pending) };
        if *left == 0 {
            let id = id.clone();
            self.splits.pop();
            return Ok(Poll::Finished(id));
        }
        let batch = self.ready.batches[(*left / BATCH_ROWS as u64) as usize % BATCHES].clone();
        *left = left.saturating_sub(batch.num_rows() as u64);
        Ok(Poll::Rows { split: id.clone(), batch, kinds: None })
    }

    fn snapshot(&self) -> Vec<Split> {
        Vec::new()
    }
}

/// Counts rows.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Sink for Count {
    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn describe(&self) -> String {
        "count".into()
    }

    fn writer(&self, _: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer for Count {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        self.0.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

fn plan(source: Shared, sink: Count, tasks: usize, partitioning: Partitioning) -> StreamPlan {
    let node = |id: usize, name: &str, kind, inputs| StreamNode {
        id: NodeId(id),
        operator_id: OperatorId(name.into()),
        name: name.into(),
        kind,
        inputs,
        schema: schema(),
        parallelism: tasks,
        changelog: ChangelogMode::APPEND,
    };
    let source = SourceNode {
        table: "ready".into(),
        source: Arc::new(source),
        projection: schema(),
        computed: None,
        primary_key: Vec::new(),
        watermark: None,
    };
    let sink = SinkNode {
        table: "count".into(),
        sink: Arc::new(sink),
        primary_key: Vec::new(),
        not_null: Vec::new(),
        drop_nulls: false,
    };
    let edge = Edge { from: NodeId(0), partitioning };
    StreamPlan {
        nodes: vec![
            node(0, "source", NodeKind::Source(source), Vec::new()),
            node(1, "sink", NodeKind::Sink(sink), vec![edge]),
        ],
    }
}

fn batches() -> Result<Vec<RecordBatch>> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut batch = || -> Result<RecordBatch> {
        let keys = (0..BATCH_ROWS).map(|_| random.random_range(0..100_000_i64)).collect::<Vec<_>>();
        let texts = StringArray::from_iter_values(keys.iter().map(|k| format!("a text of some length {k}")));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(keys.clone())), Arc::new(Int64Array::from(keys)), Arc::new(texts)];
        Ok(RecordBatch::try_new(schema(), columns)?)
    };
    (0..BATCHES).map(|_| batch()).collect()
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    // SAFETY: an all-zero rusage is a valid value of that plain struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the type that getrusage writes.
    let _ = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[derive(Serialize)]
struct Line {
    bench: &'static str,
    case: &'static str,
    tasks: usize,
    cpu_ns_per_row: f64,
    wall_ns_per_row: f64,
}

fn run() -> Result<()> {
    let outside = |e: std::io::Error| Error::external(e.to_string());
    let first = |name, default| numbers(name, default).map(|n| n.first().copied().unwrap_or_default());
    let (rows, runs) = (first("ROWS", "20000000").map_err(outside)?, first("RUNS", "5").map_err(outside)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(outside)?;
    let batches = batches()?;
    println!("{:<10}{:>7}{:>20}{:>20}", "exchange", "tasks", "CPU ns a row", "wall ns a row");
    for tasks in numbers("TASKS", "1,2,4").map_err(outside)? {
        let tasks = tasks as usize;
        for (case, partitioning) in
            [("forward", Partitioning::Forward), ("hash", Partitioning::Hash(vec![0]))]
        {
            let mut costs = Vec::new();
            for _ in 0..runs {
                let each = rows / tasks as u64 / BATCH_ROWS as u64 * BATCH_ROWS as u64;
                let source = Shared(Arc::new(Ready { batches: batches.clone(), rows: each, splits: tasks }));
                let sink = Count::default();
                let plan = plan(source, sink.clone(), tasks, partitioning.clone());
                let options = JobOptions::new("exchange", Arc::new(SystemClock), runtime.handle().clone());
                let (begin, before) = (Instant::now(), cpu());
                if let Some(ended) = engine::runtime::start(plan, options)?.wait(None) {
                    ended?;
                }
                let sent = each * tasks as u64;
                let came = sink.0.load(Ordering::Relaxed);
                if came != sent {
                    return Err(Error::internal(format!("{came} of {sent} rows came")));
                }
                let ns = |time: Duration| time.as_nanos() as f64 / sent as f64;
                costs.push((ns(cpu() - before), ns(begin.elapsed())));
            }
            costs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (cpu_ns_per_row, wall_ns_per_row) = costs[costs.len() / 2];
            println!("{case:<10}{tasks:>7}{cpu_ns_per_row:>20.1}{wall_ns_per_row:>20.1}");
            let line = Line { bench: "exchange", case, tasks, cpu_ns_per_row, wall_ns_per_row };
            results::add("exchange", &line).map_err(outside)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{}", e.message());
            ExitCode::FAILURE
        }
    }
}
