//! The kinesis connector against a real local service; faults that it cannot play come from a proxy before it.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimestampMillisecondType};
use catalog::ObjectName;
use engine::connector::{
    Connector, Enumerator, Metrics, Poll, Reader, ReaderContext, Sink, Source, SourceContext, Split,
    TableContext, WriterContext,
};
use engine::error::Error;
use engine::message::ChangeBatch;
use engine::time::{Clock, SystemClock};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tests::kinesis::Stream;
use tests::kinesis_proxy::{Fault, Proxy};
use tests::services;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

fn physical() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// A table over `stream` with `options` added to the usual ones.
fn table(stream: &str, options: &[(&str, &str)]) -> TableContext {
    let endpoint = services::kinesis();
    let mut all = BTreeMap::new();
    for (key, value) in [
        ("connector", "kinesis"),
        ("stream", stream),
        ("aws.region", "us-east-1"),
        ("aws.endpoint", &endpoint),
        ("scan.stream.initpos", "TRIM_HORIZON"),
        ("scan.shard.discovery.intervalmillis", "300"),
        ("format", "json"),
    ]
    .iter()
    .chain(options)
    {
        all.insert(key.to_string(), value.to_string());
    }
    all.retain(|_, value| !value.is_empty());
    let metadata = |key: &str, column: &str, data_type: DataType| {
        (key.to_string(), Arc::new(Field::new(column, data_type, false)) as FieldRef)
    };
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into()));
    TableContext {
        name: ObjectName {
            catalog: "default_catalog".into(),
            database: "default_database".into(),
            object: "t".into(),
        },
        options: all,
        physical: physical(),
        metadata: vec![
            metadata("shard-id", "shard", DataType::Utf8),
            metadata("sequence-number", "seq", DataType::Utf8),
            metadata("timestamp", "ts", time),
        ],
        partitioned_by: Vec::new(),
        primary_key: Vec::new(),
        zone: "UTC".parse().unwrap(),
        clock: Arc::new(SystemClock),
    }
}

fn connector() -> Arc<dyn Connector> {
    connectors::registry().get("kinesis").unwrap().clone()
}

fn source(table: &TableContext) -> Arc<dyn Source> {
    connector().source(table).unwrap()
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    shard: String,
    seq: String,
    ts: i64,
}

/// Plays the runtime: an enumerator and readers, and what came.
struct Run {
    enumerator: Box<dyn Enumerator>,
    readers: Vec<Box<dyn Reader>>,
    metrics: Arc<Metrics>,
    assigned: usize,
    due: Instant,
    rows: Vec<Row>,
    finished: Vec<Split>,
}

impl Run {
    fn start(source: &Arc<dyn Source>, parallelism: usize) -> Self {
        Self::restore(source, parallelism, &[], &[])
    }

    fn restore(source: &Arc<dyn Source>, parallelism: usize, known: &[Split], finished: &[Split]) -> Self {
        Self::try_restore(source, parallelism, known, finished).unwrap()
    }

    fn try_restore(
        source: &Arc<dyn Source>,
        parallelism: usize,
        known: &[Split],
        finished: &[Split],
    ) -> Result<Self, Error> {
        let runtime = RUNTIME.handle().clone();
        let clock = Arc::new(SystemClock);
        let context = SourceContext { runtime: runtime.clone(), clock: clock.clone(), parallelism };
        let mut enumerator = source.enumerator(&context)?;
        if !known.is_empty() || !finished.is_empty() {
            enumerator.restore(known, finished)?;
        }
        let metrics = Arc::new(Metrics::default());
        let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into()));
        let projection = Arc::new(Schema::new(vec![
            Field::new("shard", DataType::Utf8, false),
            Field::new("id", DataType::Int64, true),
            Field::new("seq", DataType::Utf8, false),
            Field::new("ts", time, false),
        ]));
        let reader = |task| {
            source.reader(ReaderContext {
                projection: projection.clone(),
                batch_rows: 300,
                runtime: runtime.clone(),
                clock: clock.clone(),
                task,
                parallelism,
                metrics: metrics.clone(),
            })
        };
        let readers = (0..parallelism).map(reader).collect::<Result<Vec<_>, _>>()?;
        let mut run = Self {
            enumerator,
            readers,
            metrics,
            assigned: 0,
            due: Instant::now(),
            rows: Vec::new(),
            finished: finished.to_vec(),
        };
        run.assign(known.to_vec())?;
        run.discover()?;
        Ok(run)
    }

    fn assign(&mut self, splits: Vec<Split>) -> Result<(), Error> {
        for split in splits {
            let reader = self.assigned % self.readers.len();
            self.readers[reader].assign(vec![split])?;
            self.assigned += 1;
        }
        Ok(())
    }

    fn discover(&mut self) -> Result<(), Error> {
        let assignment = self.enumerator.discover()?;
        assert!(!assignment.complete, "a stream never ends by itself");
        self.assign(assignment.splits)?;
        self.due = Instant::now() + self.enumerator.interval().unwrap();
        Ok(())
    }

    fn step(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.due {
            self.discover()?;
        }
        for i in 0..self.readers.len() {
            match self.readers[i].poll(Duration::from_millis(10))? {
                Poll::Pending => {}
                Poll::Rows { split, batch, kinds } => {
                    assert!(kinds.is_none());
                    assert!(batch.num_rows() <= 300);
                    self.take(&split, &batch);
                }
                Poll::Finished(shard) => {
                    let split = Split { id: shard.to_string(), position: "{}".into() };
                    self.enumerator.finished(&split)?;
                    self.finished.push(split);
                    self.discover()?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, split: &str, batch: &RecordBatch) {
        let (shards, seqs) = (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
        let ids = batch.column(1).as_primitive::<Int64Type>();
        let times = batch.column(3).as_primitive::<TimestampMillisecondType>();
        for row in 0..batch.num_rows() {
            assert_eq!(shards.value(row), split);
            assert!(ids.is_valid(row));
            self.rows.push(Row {
                id: ids.value(row),
                shard: split.to_string(),
                seq: seqs.value(row).to_string(),
                ts: times.value(row),
            });
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < PATIENCE, "waited for {what}; there are {} rows", self.rows.len());
            self.step().unwrap();
        }
    }

    fn until_rows(&mut self, rows: usize) {
        self.until(&format!("{rows} rows"), |run| run.rows.len() >= rows);
    }

    /// A while longer, for rows that must not come.
    fn linger(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(900) {
            self.step().unwrap();
        }
    }

    fn until_caught_up(&mut self) {
        let at_end = |r: &dyn Reader| r.status().is_some_and(|s| s.contains("at its end"));
        self.until("all shards to be at their ends", |run| run.readers.iter().all(|r| at_end(r.as_ref())));
    }

    fn ids(&self) -> Vec<i64> {
        let mut ids = self.rows.iter().map(|r| r.id).collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    }

    fn snapshot(&self) -> Vec<Split> {
        self.readers.iter().flat_map(|r| r.snapshot()).collect()
    }

    fn assert_in_order(&self) {
        let mut last: BTreeMap<&str, u128> = BTreeMap::new();
        for row in &self.rows {
            // The front of a number is the shard's; what grows fits in the last 30 digits.
            let seq = row.seq[row.seq.len() - 30..].parse::<u128>().unwrap();
            if let Some(before) = last.insert(&row.shard, seq) {
                assert!(before < seq, "{} after {before} in {}", row.seq, row.shard);
            }
        }
    }
}

#[test]
fn trim_horizon_gives_every_record_of_four_shards_once_and_in_order() {
    let stream = Stream::new(4);
    stream.put_ids(0..3000);
    let before = Instant::now();
    let mut run = Run::start(&source(&table(&stream.name, &[])), 2);
    run.until_rows(3000);
    run.linger();
    assert_eq!(run.ids(), (0..3000).collect::<Vec<_>>());
    run.assert_in_order();
    let shards = run.rows.iter().map(|r| &r.shard).collect::<BTreeSet<_>>();
    assert_eq!(shards.len(), 4);
    let now = SystemClock.now_ms();
    assert!(run.rows.iter().all(|r| r.ts <= now && r.ts > now - 600_000), "arrival times are of this run");
    assert_eq!(run.metrics.records.load(Ordering::SeqCst), 3000);
    assert!(before.elapsed() < PATIENCE);
}

#[test]
fn latest_gives_only_what_comes_after_the_start() {
    let stream = Stream::new(2);
    stream.put_ids(0..50);
    let mut run = Run::start(&source(&table(&stream.name, &[("scan.stream.initpos", "")])), 1);
    run.until_caught_up();
    stream.put_ids(50..120);
    run.until_rows(70);
    run.linger();
    assert_eq!(run.ids(), (50..120).collect::<Vec<_>>());
}

#[test]
fn a_snapshot_of_a_silent_latest_start_loses_nothing_that_comes_while_stopped() {
    let stream = Stream::new(1);
    stream.put_ids(0..10);
    std::thread::sleep(Duration::from_millis(20));
    let source = source(&table(&stream.name, &[("scan.stream.initpos", "LATEST")]));
    let mut run = Run::start(&source, 1);
    run.until_caught_up();
    let snapshot = run.snapshot();
    drop(run);
    stream.put_ids(10..20);
    let mut run = Run::restore(&source, 1, &snapshot, &[]);
    run.until_rows(10);
    run.linger();
    assert_eq!(run.ids(), (10..20).collect::<Vec<_>>());
}

#[test]
fn at_timestamp_gives_what_arrived_since() {
    let stream = Stream::new(2);
    stream.put_ids(0..40);
    std::thread::sleep(Duration::from_millis(300));
    let since = chrono::DateTime::from_timestamp_millis(SystemClock.now_ms()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    stream.put_ids(40..100);
    let text = since.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let by_text = [("scan.stream.initpos", "AT_TIMESTAMP"), ("scan.stream.initpos-timestamp", text.as_str())];
    let seconds = format!("{}", since.timestamp_millis() as f64 / 1000.0);
    let arn = stream.arn();
    let newer = [
        ("scan.stream.initpos", ""),
        ("stream", ""),
        ("stream.arn", arn.as_str()),
        ("source.init.position", "AT_TIMESTAMP"),
        ("source.init.timestamp", seconds.as_str()),
    ];
    for options in [&by_text[..], &newer[..]] {
        let mut run = Run::start(&source(&table(&stream.name, options)), 1);
        run.until_rows(60);
        run.linger();
        assert_eq!(run.ids(), (40..100).collect::<Vec<_>>());
    }
}

/// Index of the first and last row of each shard.
fn extents(rows: &[Row]) -> BTreeMap<String, (usize, usize)> {
    let mut extents = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        extents.entry(row.shard.clone()).or_insert((i, i)).1 = i;
    }
    extents
}

fn assert_parents_before_children(stream: &Stream, rows: &[Row]) {
    let extents = extents(rows);
    let listing = RUNTIME.block_on(stream.client.list_shards().stream_name(&stream.name).send()).unwrap();
    let mut checked = 0;
    for shard in listing.shards.unwrap() {
        for parent in [shard.parent_shard_id, shard.adjacent_parent_shard_id].into_iter().flatten() {
            if let (Some(parent), Some(child)) = (extents.get(&parent), extents.get(&shard.shard_id)) {
                assert!(parent.1 < child.0, "{} began before its parent was read", shard.shard_id);
                checked += 1;
            }
        }
    }
    assert!(checked >= 4, "a split and a merge give four pairs, not {checked}");
}

#[test]
fn a_split_and_a_merge_during_the_run_lose_and_double_nothing() {
    let stream = Stream::new(3);
    let source = source(&table(&stream.name, &[]));
    stream.put_ids(0..300);
    let mut run = Run::start(&source, 2);
    run.until_rows(100);
    stream.split();
    stream.put_ids(300..700);
    run.until_rows(500);
    stream.merge();
    stream.put_ids(700..1200);
    run.until_rows(1200);
    run.linger();
    assert_eq!(run.ids(), (0..1200).collect::<Vec<_>>());
    run.assert_in_order();
    assert_parents_before_children(&stream, &run.rows);
    assert_eq!(run.finished.len(), 3, "one shard was split, two were merged");

    // The whole history at once: closed shards are read too, before their children.
    let mut run = Run::start(&source, 1);
    run.until_rows(1200);
    run.linger();
    assert_eq!(run.ids(), (0..1200).collect::<Vec<_>>());
    assert_parents_before_children(&stream, &run.rows);
}

#[test]
fn a_restored_run_goes_on_after_its_last_record() {
    let stream = Stream::new(2);
    let source = source(&table(&stream.name, &[]));
    stream.put_ids(0..1000);
    let mut run = Run::start(&source, 2);
    run.until_rows(400);
    let (snapshot, finished) = (run.snapshot(), run.finished.clone());
    let mut rows = std::mem::take(&mut run.rows);
    assert!(rows.len() < 1000, "the snapshot is in the middle");
    drop(run);
    assert!(snapshot.iter().any(|s| s.position.starts_with(r#"{"after":""#)), "{snapshot:?}");

    // Stopped while a shard is split, with rows before and after, and restored with fewer readers.
    stream.split();
    stream.put_ids(1000..1300);
    let mut run = Run::restore(&source, 1, &snapshot, &finished);
    run.until_rows(1300 - rows.len());
    run.linger();
    rows.append(&mut run.rows);
    let mut ids = rows.iter().map(|r| r.id).collect::<Vec<_>>();
    ids.sort_unstable();
    assert_eq!(ids, (0..1300).collect::<Vec<_>>());

    // And again after the closed shard was read to its end: it is not read again.
    let (snapshot, finished) = (run.snapshot(), run.finished.clone());
    assert_eq!(finished.len(), 1);
    drop(run);
    stream.put_ids(1300..1310);
    let mut run = Run::restore(&source, 1, &snapshot, &finished);
    run.until_rows(10);
    run.linger();
    assert_eq!(run.ids(), (1300..1310).collect::<Vec<_>>());
}

#[test]
fn a_broken_record_is_named_and_can_be_skipped() {
    let stream = Stream::new(1);
    stream.put_ids(0..3);
    stream.put([("k".to_string(), br#"{"id": 3, "na"#.to_vec())]);
    stream.put_ids(4..6);
    let mut run = Run::start(&source(&table(&stream.name, &[])), 1);
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = run.step() {
            break error;
        }
        assert!(begin.elapsed() < PATIENCE);
    };
    let text = error.message();
    assert!(text.contains("shardId-000000000000") && text.contains(&stream.name), "{text}");
    assert!(text.starts_with("Record 49"), "{text}");
    assert!(error.hint().unwrap().contains("json.ignore-parse-errors"));

    let mut run = Run::start(&source(&table(&stream.name, &[("json.ignore-parse-errors", "true")])), 1);
    run.until_rows(5);
    assert_eq!(run.ids(), [0, 1, 2, 4, 5]);
    assert_eq!(run.metrics.skipped.load(Ordering::SeqCst), 1);
}

fn writer(table: &TableContext) -> (Box<dyn engine::connector::Writer>, Arc<Metrics>) {
    let sink: Arc<dyn Sink> = connector().sink(table).unwrap();
    let metrics = Arc::new(Metrics::default());
    let context = WriterContext {
        schema: physical(),
        runtime: RUNTIME.handle().clone(),
        clock: Arc::new(SystemClock),
        task: 0,
        parallelism: 1,
        operator_id: "sink".into(),
        checkpointing: false,
        restored_from: None,
        metrics: metrics.clone(),
    };
    (sink.writer(context).unwrap(), metrics)
}

fn rows(ids: std::ops::Range<i64>) -> ChangeBatch {
    let names = StringArray::from_iter_values(ids.clone().map(|id| format!("n{}", id % 7)));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(names)];
    ChangeBatch::inserts(RecordBatch::try_new(physical(), columns).unwrap())
}

fn written_ids(contents: &[(String, Vec<u8>)]) -> Vec<i64> {
    let id = |data: &Vec<u8>| serde_json::from_slice::<Value>(data).unwrap()["id"].as_i64().unwrap();
    let mut ids = contents.iter().map(|(_, data)| id(data)).collect::<Vec<_>>();
    ids.sort_unstable();
    ids
}

#[test]
fn the_sink_writes_keys_from_columns() {
    let stream = Stream::new(2);
    let mut table = table(
        &stream.name,
        &[("sink.partitioner-field-delimiter", ";"), ("sink.producer.collection-max-count", "100")],
    );
    table.partitioned_by = vec!["name".into(), "id".into()];
    let (mut writer, metrics) = writer(&table);
    writer.write(rows(0..450)).unwrap();
    writer.flush().unwrap();
    let contents = stream.contents();
    assert_eq!(written_ids(&contents), (0..450).collect::<Vec<_>>());
    for (key, data) in &contents {
        let row = serde_json::from_slice::<Value>(data).unwrap();
        assert_eq!(*key, format!("{};{}", row["name"].as_str().unwrap(), row["id"]));
    }
    assert_eq!(metrics.records.load(Ordering::SeqCst), 450);
}

#[test]
fn the_sink_spreads_rows_without_keys() {
    let stream = Stream::new(2);
    let (mut writer, _) = writer(&table(&stream.name, &[]));
    writer.write(rows(0..200)).unwrap();
    writer.flush().unwrap();
    writer.flush().unwrap();
    let keys = stream.contents().into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>();
    assert_eq!(keys.len(), 200);
}

#[test]
fn a_row_too_large_for_a_record_is_refused_by_size() {
    let stream = Stream::new(1);
    let (mut writer, _) = writer(&table(&stream.name, &[]));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]))];
    let batch = ChangeBatch::inserts(RecordBatch::try_new(physical(), columns).unwrap());
    let error = writer.write(batch).unwrap_err();
    assert!(error.message().contains("1048576 (1 MiB)"), "{error}");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringArray::from(vec!["x".repeat((1 << 20) - 200)])),
    ];
    writer.write(ChangeBatch::inserts(RecordBatch::try_new(physical(), columns).unwrap())).unwrap();
    writer.flush().unwrap();
    assert_eq!(stream.contents().len(), 1, "one just under the limit is taken, by the service too");
}

#[test]
fn expired_iterators_throttling_and_bad_moments_lose_and_double_nothing() {
    let stream = Stream::new(2);
    stream.put_ids(0..400);
    let proxy = Proxy::new(|operation, count| match (operation, count % 5) {
        ("GetRecords", 1) => Fault::Error(400, "ExpiredIteratorException"),
        ("GetRecords", 2) => Fault::Error(400, "ProvisionedThroughputExceededException"),
        ("GetRecords", 3) => Fault::Error(500, "InternalFailure"),
        ("GetShardIterator", 2) => Fault::Error(400, "LimitExceededException"),
        ("ListShards", 1) => Fault::Error(400, "LimitExceededException"),
        _ => Fault::Pass,
    });
    let options = [
        ("aws.endpoint", proxy.url.as_str()),
        ("scan.shard.getrecords.intervalmillis", "10"),
        ("scan.shard.getrecords.backoff.base", "10"),
        ("scan.shard.getrecords.maxrecordcount", "37"),
        ("scan.shard.adaptivereads", "true"),
    ];
    let mut run = Run::start(&source(&table(&stream.name, &options)), 2);
    run.until_rows(400);
    run.linger();
    assert_eq!(run.ids(), (0..400).collect::<Vec<_>>());
    run.assert_in_order();
    assert!(run.metrics.throttled.load(Ordering::SeqCst) >= 2);
    assert!(run.readers.iter().any(|r| r.status().is_some_and(|s| s.contains("throttled"))));
}

#[test]
fn an_expired_iterator_of_a_silent_latest_start_loses_nothing() {
    let stream = Stream::new(1);
    stream.put_ids(0..5);
    std::thread::sleep(Duration::from_millis(20));
    let broken = Arc::new(AtomicUsize::new(0));
    let state = broken.clone();
    let proxy = Proxy::new(move |operation, _| match (operation, state.load(Ordering::SeqCst)) {
        ("GetRecords", 1) => Fault::Error(400, "ExpiredIteratorException"),
        _ => Fault::Pass,
    });
    let options = [("aws.endpoint", proxy.url.as_str()), ("scan.stream.initpos", "LATEST")];
    let mut run = Run::start(&source(&table(&stream.name, &options)), 1);
    run.until_caught_up();
    broken.store(1, Ordering::SeqCst);
    stream.put_ids(5..15);
    std::thread::sleep(Duration::from_millis(500));
    broken.store(0, Ordering::SeqCst);
    run.until_rows(10);
    run.linger();
    assert_eq!(run.ids(), (5..15).collect::<Vec<_>>());
}

#[test]
fn a_lost_service_ends_the_job_with_a_sentence() {
    let stream = Stream::new(1);
    stream.put_ids(0..5);
    let proxy = Proxy::new(|operation, count| match operation {
        "GetRecords" if count > 1 => Fault::Error(400, "AccessDeniedException"),
        _ => Fault::Pass,
    });
    let mut run = Run::start(&source(&table(&stream.name, &[("aws.endpoint", &proxy.url)])), 1);
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = run.step() {
            break error;
        }
        assert!(begin.elapsed() < PATIENCE);
    };
    assert_eq!(run.ids(), (0..5).collect::<Vec<_>>(), "what was read before comes first");
    assert!(error.message().contains("reading shard shardId-000000000000"), "{error}");
    assert!(error.hint().unwrap().contains("kinesis:ListShards"), "{:?}", error.hint());
}

#[test]
fn refused_records_are_written_again_and_nothing_else() {
    let stream = Stream::new(2);
    let proxy = Proxy::new(|operation, count| match (operation, count % 4) {
        ("PutRecords", 1) => Fault::RefuseEvery(3),
        ("PutRecords", 2) => Fault::Error(400, "ProvisionedThroughputExceededException"),
        ("PutRecords", 3) => Fault::Error(503, "ServiceUnavailable"),
        _ => Fault::Pass,
    });
    let options = [("aws.endpoint", proxy.url.as_str()), ("sink.batch.max-size", "50")];
    let (mut writer, metrics) = writer(&table(&stream.name, &options));
    writer.write(rows(0..300)).unwrap();
    writer.write(rows(300..500)).unwrap();
    writer.flush().unwrap();
    assert_eq!(written_ids(&stream.contents()), (0..500).collect::<Vec<_>>());
    assert_eq!(metrics.records.load(Ordering::SeqCst), 500);
    assert!(metrics.throttled.load(Ordering::SeqCst) >= 16);
}

#[test]
fn a_barrier_passes_only_when_all_refused_records_were_taken() {
    let stream = Stream::new(2);
    let proxy = Proxy::new(|operation, count| match (operation, count) {
        ("PutRecords", 1..=3) => Fault::RefuseEvery(2),
        ("PutRecords", 4) => Fault::Error(500, "InternalFailure"),
        _ => Fault::Pass,
    });
    let options = [("aws.endpoint", proxy.url.as_str()), ("sink.batch.max-size", "100")];
    let (mut writer, _) = writer(&table(&stream.name, &options));
    writer.write(rows(0..150)).unwrap();
    assert!(writer.prepare_commit(1).unwrap().is_empty(), "nothing is left to be published");
    // What the checkpoint counts is in the stream: a kill from here on loses none of it.
    assert_eq!(written_ids(&stream.contents()), (0..150).collect::<Vec<_>>());
    writer.commit(1).unwrap();
    assert!(proxy.count("PutRecords") > 4, "some were refused");
}

#[test]
fn refused_records_end_the_job_where_the_table_says_so() {
    let stream = Stream::new(1);
    let proxy = Proxy::new(|operation, _| match operation {
        "PutRecords" => Fault::RefuseEvery(2),
        _ => Fault::Pass,
    });
    let options = [("aws.endpoint", proxy.url.as_str()), ("sink.fail-on-error", "true")];
    let (mut writer, _) = writer(&table(&stream.name, &options));
    writer.write(rows(0..10)).unwrap();
    let error = writer.flush().unwrap_err();
    assert!(error.message().contains("refused 5 of 10 records"), "{error}");
    assert!(error.message().contains("ProvisionedThroughputExceededException"), "{error}");
    assert_eq!(proxy.count("PutRecords"), 1);
}

#[test]
fn a_missing_stream_is_told_with_those_that_are_there() {
    let stream = Stream::new(1);
    let missing = format!("{}x", stream.name);
    let error = Run::try_restore(&source(&table(&missing, &[])), 1, &[], &[]).err().unwrap();
    let text = error.message();
    assert!(
        text.contains(&format!("There is no Kinesis stream '{missing}' (region us-east-1, endpoint http")),
        "{text}"
    );
    assert!(text.contains("Streams there: "), "{text}");
    let (mut writer, _) = writer(&table(&missing, &[]));
    writer.write(rows(0..1)).unwrap();
    assert!(writer.flush().unwrap_err().message().contains("There is no Kinesis stream"));
}

#[test]
fn an_unreachable_endpoint_is_told_with_region_and_what_to_check() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let begin = Instant::now();
    let options = [
        ("aws.endpoint", closed.as_str()),
        ("aws.credentials.basic.accesskeyid", "AKIDVISIBLE"),
        ("aws.credentials.basic.secretkey", "hushhush"),
    ];
    let source = source(&table("s", &options));
    let error = Run::try_restore(&source, 1, &[], &[]).err().unwrap();
    let text = format!("{error} {} {source:?} {}", error.hint().unwrap(), source.describe());
    assert!(text.contains(&format!("no connection (region us-east-1, endpoint {closed})")), "{text}");
    assert!(text.contains("'aws.region' and 'aws.endpoint'"), "{text}");
    assert!(error.retry());
    assert!(begin.elapsed() < Duration::from_secs(20));
    let described = format!("{} {}", source.describe(), error);
    assert!(!described.contains("hushhush"), "{described}");
}

#[test]
fn an_endpoint_that_is_not_kinesis_is_told() {
    let proxy = Proxy::new(|_, _| Fault::Page(404));
    let error =
        Run::try_restore(&source(&table("s", &[("aws.endpoint", &proxy.url)])), 1, &[], &[]).err().unwrap();
    assert!(error.message().contains("404"), "{error}");
    assert!(error.hint().unwrap().contains("aws.endpoint"), "{:?}", error.hint());
}

#[test]
fn a_region_that_does_not_exist_is_told_with_the_nearest() {
    let options = [
        ("aws.endpoint", ""),
        ("aws.region", "us-esat-1"),
        ("aws.credentials.basic.accesskeyid", "a"),
        ("aws.credentials.basic.secretkey", "hushhush"),
    ];
    let error = Run::try_restore(&source(&table("s", &options)), 1, &[], &[]).err().unwrap();
    let text = error.message();
    assert!(text.contains("region us-esat-1, endpoint https://kinesis.us-esat-1.amazonaws.com"), "{text}");
    assert!(error.hint().unwrap().contains("Did you mean region 'us-east-1'?"), "{:?}", error.hint());
}

#[test]
fn refused_credentials_are_told_with_their_provider() {
    let proxy = Proxy::new(|_, _| Fault::Error(400, "UnrecognizedClientException"));
    let options = [
        ("aws.endpoint", proxy.url.as_str()),
        ("aws.credentials.basic.accesskeyid", "a"),
        ("aws.credentials.basic.secretkey", "hushhush"),
    ];
    let error = Run::try_restore(&source(&table("s", &options)), 1, &[], &[]).err().unwrap();
    assert!(error.message().contains("UnrecognizedClientException: said the proxy"), "{error}");
    assert!(error.hint().unwrap().contains("BASIC"), "{:?}", error.hint());
    assert!(!format!("{error:?}").contains("hushhush"));
    assert_eq!(proxy.count("ListShards"), 1, "no retry helps");
}

#[test]
fn a_role_is_assumed_and_its_keys_are_used() {
    let moto = services::moto();
    let stream = Stream::new(1);
    stream.put_ids(0..5);
    let proxy = Proxy::new(|_, _| Fault::Pass);
    let mut options = vec![
        ("aws.endpoint", proxy.url.as_str()),
        ("aws.credentials.provider", "ASSUME_ROLE"),
        ("aws.credentials.role.arn", "arn:aws:iam::123456789012:role/stream-reader"),
        ("aws.credentials.role.sessionName", "runnel-test"),
        ("aws.credentials.role.externalId", "outside"),
        ("aws.credentials.role.stsEndpoint", moto.as_str()),
        ("aws.credentials.role.provider", "BASIC"),
        ("aws.credentials.role.provider.basic.accesskeyid", "AKIDBASE"),
        ("aws.credentials.role.provider.basic.secretkey", "hushhush"),
    ];
    let mut run = Run::start(&source(&table(&stream.name, &options)), 1);
    run.until_rows(5);
    let log = proxy.requests();
    assert!(!log.is_empty());
    for (operation, authorization) in log {
        assert!(authorization.contains("Credential=ASIA"), "{operation} was signed with {authorization}");
    }

    options[5].1 = "http://127.0.0.1:9";
    let error = Run::try_restore(&source(&table(&stream.name, &options)), 1, &[], &[]).err().unwrap();
    assert!(error.message().starts_with("No usable AWS credentials while listing the shards"), "{error}");
    assert!(error.hint().unwrap().contains("ASSUME_ROLE"), "{:?}", error.hint());
    assert!(!format!("{error:?}").contains("hushhush"));
}
