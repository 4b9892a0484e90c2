//! Keyed state under load. `cargo bench --bench state` after `cargo build --workspace --release`:
//!
//! - `spill`: an aggregation and a join over ten times their memory budget, beside the same without a limit, as a
//!   process: time, CPU time, peak memory, and the answer, which is checked. `BUDGET_MB=64`.
//! - `checkpoint`: what a checkpoint of `STATE_MB=1024` of state adds to the time of the batches that pass, how long
//!   restoring it takes, and what a checkpoint of changes writes after 1 % of the keys were touched. One operator on
//!   one thread, with the parts of its snapshot written to local files by another, as in a task.
//!
//! `CASES=spill,checkpoint`. `RUNNEL=path` measures another binary.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use benches::{binary, numbers, setting};
use engine::checkpoint::{CheckpointStorage, InstanceState, OperatorEntry, StateFile};
use engine::message::ChangeBatch;
use engine::operators::{Collector, GroupAggregate, OpenContext, Operator, OperatorContext};
use engine::plan::{AggregateCall, GroupAggregateNode, OperatorId};
use engine::state::{MemoryBudget, SnapshotKind, SnapshotProgress, StateRows, StateWriter};
use engine::time::Watermark;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::error::Error;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{TrySendError, sync_channel};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rows of a batch.
const BATCH: i64 = 1_000;
/// Batches that are measured without a checkpoint.
const QUIET_BATCHES: usize = 3_000;
/// Parts of a snapshot that wait for being written.
const WAITING_PARTS: usize = 16;
/// Key groups.
const MAX_PARALLELISM: usize = 128;
/// Bytes that a group of the `spill` case takes, measured.
const GROUP_BYTES: u64 = 120;
/// Bytes that a key of the `spill` join takes on both sides together, measured.
const JOIN_KEY_BYTES: u64 = 400;
/// By which the second side of the join goes through the keys: a prime.
const FACTOR: u64 = 7919;

fn main() -> ExitCode {
    let cases = setting("CASES", "spill,checkpoint");
    let run = || -> Result<()> {
        if cases.contains("spill") {
            let budget_mb = numbers("BUDGET_MB", "64")?[0];
            let bytes = (budget_mb * 10) << 20;
            Spill::aggregation(bytes).run(budget_mb)?;
            Spill::join(bytes).run(budget_mb)?;
        }
        if cases.contains("checkpoint") {
            checkpoint(numbers("STATE_MB", "1024")?[0] << 20)?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// A query whose state is ten times its budget, over the rows 0 to `rows` - 1 of `numbers`.
struct Spill {
    name: &'static str,
    keys: u64,
    rows: u64,
    query: String,
    /// The answer.
    expected: String,
}

impl Spill {
    /// Keys come round after round, so that beyond the budget each one has just left memory when it comes again.
    fn aggregation(bytes: u64) -> Self {
        let keys = bytes / GROUP_BYTES;
        let rows = keys * 3;
        let sum = rows * (rows - 1) / 2;
        Self {
            name: "aggregation",
            keys,
            rows,
            query: format!(
                "SELECT n, COUNT(*), SUM(s) FROM (SELECT MOD(id, {keys}) AS k, COUNT(*) AS n, SUM(id) AS s, \
                 MAX(CAST(id AS STRING)) AS m FROM numbers GROUP BY MOD(id, {keys})) GROUP BY n"
            ),
            expected: format!("3,{keys},{sum}"),
        }
    }

    /// Both sides have each key once, in another order, so that partners come at any distance.
    fn join(bytes: u64) -> Self {
        // No multiple of the factor: then it takes every key to another one.
        let keys = bytes / JOIN_KEY_BYTES / FACTOR * FACTOR + 1;
        Self {
            name: "join",
            keys,
            rows: keys,
            query: format!(
                "SELECT COUNT(*), SUM(a.id + b.id) FROM \
                 (SELECT id, id AS k, LPAD(CAST(id AS STRING), 50, 'x') AS m FROM numbers) AS a JOIN \
                 (SELECT id, MOD(id * {FACTOR}, {keys}) AS k, LPAD(CAST(id AS STRING), 50, 'y') AS m FROM numbers) AS b \
                 ON a.k = b.k WHERE a.m <> b.m"
            ),
            expected: format!("{keys},{}", keys * (keys - 1)),
        }
    }

    fn run(&self, budget_mb: u64) -> Result<()> {
        let Self { name: case, keys, rows, .. } = self;
        let sql = format!(
            "CREATE TEMPORARY TABLE numbers (id BIGINT) WITH ('connector' = 'datagen', \
             'rows-per-second' = '1000000000', 'fields.id.kind' = 'sequence', 'fields.id.start' = '0', \
             'fields.id.end' = '{}'); {};",
            rows - 1,
            self.query
        );
        let mut quick = (Duration::ZERO, 0.0);
        for (name, memory) in [("unlimited", budget_mb * 100), ("budget", budget_mb)] {
            let mut command = Command::new(binary());
            command.args(["--memory", &format!("{memory}mb"), "--catalog", "memory", "--output", "csv"]);
            command.args(["-D", "execution.runtime-mode=batch", "-e", &sql]);
            let started = Instant::now();
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
            let peak = Peak::of(child.id());
            let output = child.wait_with_output()?;
            let wall = started.elapsed();
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            if !answer.contains(&self.expected) {
                return Err(format!("wrong answer of the {case} with {memory} MB: {answer}").into());
            }
            let (peak_kb, cpu) = peak.end();
            let peak_mb = peak_kb >> 10;
            println!(
                "spill {case} {name}: {keys} keys, {rows} rows, budget {memory} MB, peak memory {peak_mb} MB, {:.1} s, {cpu:.1} s of CPU, {:.0} rows/s",
                wall.as_secs_f64(),
                *rows as f64 / wall.as_secs_f64()
            );
            if name == "unlimited" {
                quick = (wall, cpu);
                continue;
            }
            println!(
                "spill {case}: {:.1} times slower, {:.1} times the CPU",
                wall.as_secs_f64() / quick.0.as_secs_f64(),
                cpu / quick.1
            );
            if peak_mb > budget_mb + 200 {
                return Err(format!("peak memory of {peak_mb} MB is beyond the budget + 200 MB").into());
            }
        }
        Ok(())
    }
}

/// Watches a process's resident memory and CPU time.
struct Peak {
    thread: std::thread::JoinHandle<(u64, f64)>,
}

impl Peak {
    fn of(pid: u32) -> Self {
        let [status, stat] = ["status", "stat"].map(|name| format!("/proc/{pid}/{name}"));
        let read = move || {
            let (mut most, mut cpu) = (0, 0.0);
            // VmHWM is gone once the process has ended and waits for being reaped.
            while let Some(now) = std::fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
                most = now.max(most);
                cpu = std::fs::read_to_string(&stat).ok().as_deref().and_then(cpu_seconds).unwrap_or(cpu);
                std::thread::sleep(Duration::from_millis(20));
            }
            (most, cpu)
        };
        Self { thread: std::thread::spawn(read) }
    }

    /// Memory in KB, CPU time in seconds.
    fn end(self) -> (u64, f64) {
        self.thread.join().unwrap_or_default()
    }
}

/// Time in user mode and in the kernel, which is told in hundredths of a second.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// CPU time of this process so far.
fn own_cpu() -> f64 {
    std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds).unwrap_or_default()
}

fn high_water(status: &str) -> Option<u64> {
    status.lines().find(|l| l.starts_with("VmHWM"))?.split_whitespace().nth(1)?.parse().ok()
}

fn schemas() -> (SchemaRef, SchemaRef) {
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let input = Schema::new(vec![long("k"), long("v"), text("s")]);
    let output = Schema::new(vec![long("k"), long("n"), long("sum"), text("max")]);
    (Arc::new(input), Arc::new(output))
}

fn operator() -> Result<GroupAggregate> {
    let (input, output) = schemas();
    let call = |function: &str, arguments: &[usize], data_type: DataType| AggregateCall {
        function: function.into(),
        arguments: arguments.to_vec(),
        distinct: false,
        filter: None,
        data_type,
        name: function.into(),
        monotone: false,
    };
    let node = GroupAggregateNode {
        keys: vec![0],
        aggregates: vec![
            call("count", &[], DataType::Int64),
            call("sum", &[1], DataType::Int64),
            call("max", &[2], DataType::Utf8),
        ],
        retracts: false,
        update_before: false,
        at_end_only: false,
        mini_batch: None,
        ttl_ms: None,
    };
    let mut operator = GroupAggregate::new(&node, input, output)?;
    operator.open(&OpenContext {
        task: 0,
        parallelism: 1,
        max_parallelism: MAX_PARALLELISM,
        memory: MemoryBudget::unlimited(),
        state_ttl_ms: 0,
        name: "bench-0".into(),
        checkpointing: true,
        oversized_key: Arc::default(),
    })?;
    Ok(operator)
}

fn batch(keys: Vec<i64>) -> Result<ChangeBatch> {
    let texts = StringArray::from_iter_values(keys.iter().map(|k| format!("a text of some length {k:020}")));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(keys.clone())), Arc::new(Int64Array::from(keys)), Arc::new(texts)];
    Ok(ChangeBatch::inserts(RecordBatch::try_new(schemas().0, columns)?))
}

struct Discard;

impl Collector for Discard {
    fn emit(&mut self, _: ChangeBatch) -> engine::error::Result<()> {
        Ok(())
    }
}

fn process(operator: &mut GroupAggregate, batch: ChangeBatch) -> Result<()> {
    let context = OperatorContext { now_ms: 0, watermark: Watermark::MIN };
    Ok(operator.process(0, batch, &context, &mut Discard)?)
}

fn p99(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    (at(99).copied().unwrap_or_default(), at(100).copied().unwrap_or_default())
}

fn checkpoint(bytes: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = std::env::temp_dir().join(format!("runnel-bench-state-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure_checkpoint(bytes, &folder, &runtime);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure_checkpoint(bytes: u64, folder: &std::path::Path, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut running = operator()?;
    let mut keys = 0;
    while running.status().state_bytes < bytes {
        process(&mut running, batch((keys..keys + 8 * BATCH).collect())?)?;
        keys += 8 * BATCH;
    }
    let mut random = |most: i64| (0..BATCH).map(|_| rng.random_range(0..most)).collect::<Vec<i64>>();
    let mut quiet = Vec::new();
    for _ in 0..QUIET_BATCHES {
        let rows = batch(random(keys))?;
        let started = Instant::now();
        process(&mut running, rows)?;
        quiet.push(started.elapsed());
    }
    let quiet = p99(quiet);
    println!("checkpoint: {keys} keys, {} MB of state", running.status().state_bytes >> 20);

    let storage = CheckpointStorage::open(&folder.display().to_string(), runtime.handle())?;
    let mut take = |running: &mut GroupAggregate,
                    id: u64,
                    kind: SnapshotKind|
     -> Result<(StateFile, Vec<Duration>, Duration)> {
        let mut times = Vec::new();
        let begun = Instant::now();
        let mut out = StateWriter::new(kind);
        let mut progress = running.snapshot(id, &mut out)?;
        times.push(begun.elapsed());
        let kind = out.kind();
        let (sender, parts) = sync_channel::<Vec<StateRows>>(WAITING_PARTS);
        let own = storage.clone();
        let writer = std::thread::spawn(move || -> engine::error::Result<StateFile> {
            let mut file = own.state_file(id, &OperatorId("bench".into()), 0, 0, kind)?;
            for rows in parts.iter().flatten() {
                file.rows(&rows)?;
            }
            file.finish(&[])
        });
        let mut waiting = Some(out.take().0);
        while progress == SnapshotProgress::More || waiting.is_some() {
            let rows = batch(random(keys))?;
            let started = Instant::now();
            process(running, rows)?;
            if let Some(part) = waiting.take() {
                match sender.try_send(part) {
                    Ok(()) => {}
                    Err(TrySendError::Full(part)) => waiting = Some(part),
                    Err(TrySendError::Disconnected(_)) => return Err("the writer has died".into()),
                }
            }
            if waiting.is_none() && progress == SnapshotProgress::More {
                progress = running.continue_snapshot(&mut out)?;
                waiting = Some(out.take().0);
            }
            times.push(started.elapsed());
        }
        drop(sender);
        let file = writer.join().map_err(|_| io::Error::other("the writer has panicked"))??;
        Ok((file, times, begun.elapsed()))
    };
    let (full, times, wall) = take(&mut running, 1, SnapshotKind::Full)?;
    let first = times[0];
    let busy = p99(times);
    println!(
        "checkpoint full: {} MB written in {:.1} s; the barrier itself took {:.1} ms",
        full.bytes >> 20,
        wall.as_secs_f64(),
        first.as_secs_f64() * 1e3
    );
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    println!(
        "checkpoint latency of a batch of {BATCH} rows: p99 {:.2} ms (most {:.2}) without, p99 {:.2} ms (most {:.2}) with; p99 added {:.2} ms",
        ms(quiet.0),
        ms(quiet.1),
        ms(busy.0),
        ms(busy.1),
        ms(busy.0.saturating_sub(quiet.0))
    );
    // What the batches beside the checkpoint have changed goes first, so that 1 % is 1 %.
    let (between, ..) = take(&mut running, 2, SnapshotKind::Delta)?;
    let (rest, ..) = take(&mut running, 3, SnapshotKind::Delta)?;
    let share = keys / 100;
    for first in (0..share).step_by(BATCH as usize) {
        process(&mut running, batch((first..first + BATCH).collect())?)?;
    }
    let (delta, _, wall) = take(&mut running, 4, SnapshotKind::Delta)?;
    println!(
        "checkpoint changes after touching 1 % of the keys: {:.1} MB ({:.1} % of the full one) in {:.2} s",
        delta.bytes as f64 / 1048576.0,
        delta.bytes as f64 * 100.0 / full.bytes as f64,
        wall.as_secs_f64()
    );
    drop(running);
    let entry = OperatorEntry {
        operator_id: "bench".into(),
        name: "GroupAggregate".into(),
        parallelism: 1,
        instances: vec![InstanceState { files: vec![full, between, rest, delta] }],
    };
    let (started, cpu) = (Instant::now(), own_cpu());
    let mut restored = operator()?;
    let mut reader = storage.reader(&entry, 0..MAX_PARALLELISM as u32, 0, 1)?;
    restored.restore(reader.as_mut())?;
    println!(
        "restore: {} MB of state in {:.1} s, {:.1} s of CPU",
        restored.status().state_bytes >> 20,
        started.elapsed().as_secs_f64(),
        own_cpu() - cpu
    );
    Ok(())
}
