//! The parts of the data path alone, on one thread: decoding, encoding, window fold, aggregation, join. `make
//! bench-micro`, or `cargo bench --bench micro`; `CASES=decode-json,join` for some, `RUNS=21`. Printed and added to
//! `target/bench/micro.jsonl` are nanoseconds a row: the least and the middle one of all runs.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use benches::{generator, numbers, results, setting};
use connectors::formats::{Decoder, Payloads, format};
use engine::message::ChangeBatch;
use engine::operators::{
    Collector, GroupAggregate, OpenContext, Operator, OperatorContext, RegularJoin, WindowAggregate,
};
use engine::plan::{
    AggregateCall, GroupAggregateNode, JoinKey, JoinType, RegularJoinNode, TimeAttribute,
    WindowAggregateNode, WindowInput, WindowProperty,
};
use engine::state::MemoryBudget;
use engine::time::{Watermark, WindowSpec};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::error::Error;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Events that are decoded: more than caches hold.
const EVENTS: u64 = 65_536;
/// Rows of a batch.
const ROWS: usize = 8192;
/// Batches that an operator gets.
const BATCHES: usize = 32;
/// Keys of an aggregation and a join.
const KEYS: i64 = 20_000;

fn millis() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// The columns of a bid.
fn bid_fields() -> Fields {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let long = || DataType::Int64;
    let text = || DataType::Utf8;
    Fields::from(vec![
        field("auction", long()),
        field("bidder", long()),
        field("price", long()),
        field("channel", text()),
        field("url", text()),
        field("dateTime", millis()),
        field("extra", text()),
    ])
}

fn event_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_type", DataType::Int32, true),
        Field::new("bid", DataType::Struct(bid_fields()), true),
    ]))
}

fn chunks() -> Vec<Payloads> {
    let mut all = Vec::new();
    for first in (0..EVENTS).step_by(ROWS) {
        let mut chunk = Payloads::default();
        (first..first + ROWS as u64).for_each(|n| chunk.push(generator::event(n).as_bytes()));
        chunk.pad();
        all.push(chunk);
    }
    all
}

fn decoder() -> Result<Box<dyn Decoder>> {
    let options = Default::default();
    Ok(format("json")?.decoder(&options, event_schema(), event_schema(), chrono_tz::UTC)?)
}

/// Bids, without the rows of other events.
fn bids(chunks: &[Payloads]) -> Result<Vec<ChangeBatch>> {
    let mut decoder = decoder()?;
    let mut bids = Vec::new();
    for chunk in chunks {
        let decoded = decoder.decode(chunk).map_err(|e| e.message)?;
        let bid = decoded.batch.column(1).as_struct();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(bid_fields())), bid.columns().to_vec())?;
        let mask = arrow::compute::is_not_null(rows.column(0))?;
        bids.push(ChangeBatch::inserts(arrow::compute::filter_record_batch(&rows, &mask)?));
    }
    Ok(bids)
}

fn formats(bench: &Bench) -> Result<()> {
    let chunks = chunks();
    let bids = bids(&chunks)?;
    let mut json = decoder()?;
    bench.run(
        "decode-json",
        EVENTS,
        || (),
        |()| {
            for chunk in &chunks {
                black_box(json.decode(chunk).map_err(|e| e.message)?);
            }
            Ok(())
        },
    )?;
    let rows = bids.iter().map(ChangeBatch::num_rows).sum::<usize>() as u64;
    let schema = bids[0].records().schema();
    let mut out = Payloads::default();
    for name in ["json", "csv"] {
        let mut encoder = format(name)?.encoder(&Default::default(), schema.clone(), chrono_tz::UTC)?;
        bench.run(
            &format!("encode-{name}"),
            rows,
            || (),
            |()| {
                for batch in &bids {
                    out.clear();
                    encoder.encode(batch, &mut out)?;
                    black_box(out.num_bytes());
                }
                Ok(())
            },
        )?;
    }
    let mut encoder = format("csv")?.encoder(&Default::default(), schema.clone(), chrono_tz::UTC)?;
    let mut lines = Vec::new();
    for batch in &bids {
        let mut chunk = Payloads::default();
        encoder.encode(batch, &mut chunk)?;
        chunk.pad();
        lines.push(chunk);
    }
    let mut csv = format("csv")?.decoder(&Default::default(), schema.clone(), schema, chrono_tz::UTC)?;
    bench.run(
        "decode-csv",
        rows,
        || (),
        |()| {
            for chunk in &lines {
                black_box(csv.decode(chunk).map_err(|e| e.message)?);
            }
            Ok(())
        },
    )
}

struct Discard;

impl Collector for Discard {
    fn emit(&mut self, _: ChangeBatch) -> engine::error::Result<()> {
        Ok(())
    }
}

fn opened<O: Operator>(mut operator: O) -> Result<O> {
    operator.open(&OpenContext {
        task: 0,
        parallelism: 1,
        max_parallelism: 128,
        memory: MemoryBudget::unlimited(),
        state_ttl_ms: 0,
        name: "bench-0".into(),
        checkpointing: false,
        oversized_key: Arc::default(),
    })?;
    Ok(operator)
}

/// `k BIGINT, ts TIMESTAMP(3), v BIGINT`: ten rows a millisecond, keys at random.
fn keyed() -> Result<(SchemaRef, Vec<ChangeBatch>)> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("ts", millis(), true),
        Field::new("v", DataType::Int64, true),
    ]));
    let mut random = SmallRng::seed_from_u64(1);
    let mut batch = |first: usize| {
        let rows = first as i64..(first + ROWS) as i64;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.clone().map(|_| random.random_range(0..KEYS)))),
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.clone().map(|n| n / 10))),
            Arc::new(Int64Array::from_iter_values(rows)),
        ];
        Ok(ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns)?))
    };
    let batches = (0..BATCHES).map(|n| batch(n * ROWS)).collect::<Result<Vec<_>>>()?;
    Ok((schema, batches))
}

fn call(function: &str, arguments: &[usize]) -> AggregateCall {
    AggregateCall {
        function: function.into(),
        arguments: arguments.to_vec(),
        distinct: false,
        filter: None,
        data_type: DataType::Int64,
        name: function.into(),
        monotone: false,
    }
}

fn window(input: &SchemaRef, window: WindowSpec) -> Result<WindowAggregate> {
    let node = WindowAggregateNode {
        input: WindowInput::Assign { window, time: TimeAttribute::Rowtime { column: 1 }, zone: None },
        keys: vec![0],
        aggregates: vec![call("count", &[]), call("max", &[2])],
        properties: vec![WindowProperty::End],
        retracts: false,
    };
    let output = Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("count", DataType::Int64, false),
        Field::new("max", DataType::Int64, true),
        Field::new("window_end", millis(), false),
    ]);
    opened(WindowAggregate::new(&node, input.clone(), Arc::new(output))?)
}

fn group_aggregate(input: &SchemaRef) -> Result<GroupAggregate> {
    let node = GroupAggregateNode {
        keys: vec![0],
        aggregates: vec![call("count", &[]), call("max", &[2])],
        retracts: false,
        update_before: false,
        at_end_only: false,
        mini_batch: None,
        ttl_ms: None,
    };
    let output = Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("count", DataType::Int64, false),
        Field::new("max", DataType::Int64, true),
    ]);
    opened(GroupAggregate::new(&node, input.clone(), Arc::new(output))?)
}

fn join(input: &SchemaRef) -> Result<RegularJoin> {
    let node = RegularJoinNode {
        join_type: JoinType::Inner,
        keys: vec![JoinKey { left: 2, right: 2, null_safe: false }],
        condition: None,
        ttl_ms: [None, None],
        insert_only: [true, true],
    };
    let output = input.fields().iter().chain(input.fields()).cloned().collect::<Vec<_>>();
    opened(RegularJoin::new(&node, &[input.clone(), input.clone()], Arc::new(Schema::new(output)))?)
}

/// Gives the operator all batches, and the time of each as a watermark.
fn feed(operator: &mut impl Operator, inputs: usize, batches: &[ChangeBatch]) -> Result<()> {
    let mut context = OperatorContext { now_ms: 0, watermark: Watermark::MIN };
    for (n, batch) in batches.iter().enumerate() {
        for input in 0..inputs {
            operator.process(input, batch.clone(), &context, &mut Discard)?;
        }
        context.watermark = Watermark(((n + 1) * ROWS / 10) as i64 - 1);
        operator.on_watermark(context.watermark, &context, &mut Discard)?;
    }
    Ok(())
}

fn operators(bench: &Bench) -> Result<()> {
    let (schema, batches) = keyed()?;
    let rows = (BATCHES * ROWS) as u64;
    let tumble = WindowSpec::Tumble { size: 10_000, offset: 0 };
    let hop = WindowSpec::Hop { slide: 2_000, size: 10_000, offset: 0 };
    for (name, spec) in [("window-tumble", tumble), ("window-hop-5", hop)] {
        bench.run(name, rows, || window(&schema, spec), |operator| feed(&mut operator?, 1, &batches))?;
    }
    bench.run(
        "group-aggregate",
        rows,
        || group_aggregate(&schema),
        |operator| feed(&mut operator?, 1, &batches),
    )?;
    // Every row meets one of the other side; both sides count.
    bench.run("join", 2 * rows, || join(&schema), |operator| feed(&mut operator?, 2, &batches))
}

#[derive(Serialize)]
struct Line<'a> {
    bench: &'static str,
    case: &'a str,
    rows: u64,
    least_ns_per_row: f64,
    median_ns_per_row: f64,
}

struct Bench {
    runs: usize,
    cases: String,
}

impl Bench {
    /// Times `work` on `rows` rows, each time with something new from `prepare`.
    fn run<T>(
        &self,
        case: &str,
        rows: u64,
        mut prepare: impl FnMut() -> T,
        mut work: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        if !self.cases.is_empty() && !self.cases.split(',').any(|c| c.trim() == case) {
            return Ok(());
        }
        let mut times = Vec::new();
        for _ in 0..self.runs.max(1) {
            let with = prepare();
            let begin = Instant::now();
            work(with)?;
            times.push(begin.elapsed().as_nanos() as f64 / rows as f64);
        }
        times.sort_by(f64::total_cmp);
        let (least_ns_per_row, median_ns_per_row) = (times[0], times[times.len() / 2]);
        println!("{case:<18}{least_ns_per_row:>10.1}{median_ns_per_row:>10.1}");
        let line = Line { bench: "micro", case, rows, least_ns_per_row, median_ns_per_row };
        Ok(results::add("micro", &line)?)
    }
}

fn run() -> Result<()> {
    let bench = Bench { runs: numbers("RUNS", "21")?[0] as usize, cases: setting("CASES", "") };
    println!("{:<18}{:>10}{:>10}", "ns a row", "least", "median");
    formats(&bench)?;
    operators(&bench)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
