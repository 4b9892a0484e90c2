//! Tables of files, written and read back.

use super::*;
use arrow::array::{Array, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use catalog::ObjectName;
use engine::connector::{Metrics, Poll, Reader, ReaderContext, SourceContext, Split, Writer, WriterContext};
use engine::message::ChangeBatch;
use engine::time::MockClock;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn table(fields: Vec<Field>, path: &Path, more: &[(&str, &str)]) -> TableContext {
    let mut options: catalog::Options = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("connector".into(), "filesystem".into());
    options.insert("path".into(), path.to_str().unwrap().into());
    options.entry("format".into()).or_insert("json".into());
    TableContext {
        name: ObjectName::new("c", "d", "t"),
        options,
        physical: Arc::new(Schema::new(fields)),
        metadata: Vec::new(),
        partitioned_by: Vec::new(),
        primary_key: Vec::new(),
        zone: chrono_tz::UTC,
        clock: Arc::new(MockClock::at(0)),
    }
}

fn handle() -> tokio::runtime::Handle {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap()).handle().clone()
}

fn reader(source: &dyn Source, projection: SchemaRef, batch_rows: usize) -> Box<dyn Reader> {
    source
        .reader(ReaderContext {
            projection,
            batch_rows,
            runtime: handle(),
            clock: Arc::new(MockClock::at(0)),
            task: 0,
            parallelism: 1,
            metrics: Arc::default(),
        })
        .unwrap()
}

fn discover(source: &dyn Source) -> Result<Vec<Split>> {
    let context = SourceContext { runtime: handle(), clock: Arc::new(MockClock::at(0)), parallelism: 1 };
    Ok(source.enumerator(&context)?.discover()?.splits)
}

fn splits(source: &dyn Source) -> Vec<Split> {
    discover(source).unwrap()
}

/// Reads to the end. After each batch the reader is replaced by one that starts from the snapshot.
fn read_all(table: &TableContext, projection: &SchemaRef, batch_rows: usize) -> Result<RecordBatch> {
    let source = Filesystem.source(table)?;
    let mut open = reader(&*source, projection.clone(), batch_rows);
    open.assign(discover(&*source)?)?;
    let mut batches = Vec::new();
    while !open.snapshot().is_empty() {
        if let Poll::Rows { batch, .. } = open.poll(Duration::ZERO)? {
            assert!(batch.num_rows() <= batch_rows);
            batches.push(batch);
            let positions = open.snapshot();
            open = reader(&*source, projection.clone(), batch_rows);
            open.assign(positions)?;
        }
    }
    Ok(arrow::compute::concat_batches(projection, &batches)?)
}

fn writer(table: &TableContext, clock: &MockClock) -> Box<dyn Writer> {
    let sink = Filesystem.sink(table).unwrap();
    sink.writer(WriterContext {
        schema: table.physical.clone(),
        runtime: handle(),
        clock: Arc::new(clock.clone()),
        task: 0,
        parallelism: 1,
        operator_id: "sink".into(),
        checkpointing: false,
        restored_from: None,
        metrics: Arc::new(Metrics::default()),
    })
    .unwrap()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn n_and_s() -> Vec<Field> {
    vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)]
}

fn rows(from: i64, to: i64) -> ChangeBatch {
    let numbers = Int64Array::from_iter_values(from..to);
    let texts = StringArray::from_iter_values((from..to).map(|n| format!("é{n}")));
    let schema = Arc::new(Schema::new(n_and_s()));
    ChangeBatch::inserts(RecordBatch::try_new(schema, vec![Arc::new(numbers), Arc::new(texts)]).unwrap())
}

fn numbers(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn what_was_written_is_read_back_and_nothing_unfinished_is_seen() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t");
    let table = table(n_and_s(), &path, &[]);
    let clock = MockClock::at(0);
    let mut writer = writer(&table, &clock);
    writer.write(rows(0, 30_000)).unwrap();
    writer.write(rows(30_000, 50_000)).unwrap();
    writer.flush().unwrap();
    assert!(splits(&*Filesystem.source(&table).unwrap()).is_empty());
    writer.finish().unwrap();
    assert_eq!(files(&path).len(), 1);
    let name = files(&path)[0].file_name().unwrap().to_str().unwrap().to_string();
    assert!(
        regex::Regex::new("^part-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-0-0$").unwrap().is_match(&name),
        "{name}"
    );
    let batch = read_all(&table, &table.physical, 1000).unwrap();
    assert_eq!(numbers(&batch), (0..50_000).collect::<Vec<_>>());
    assert_eq!(batch.column(1).as_string::<i32>().value(49_999), "é49999");
}

#[test]
fn a_writer_that_fails_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let table = table(n_and_s(), directory.path(), &[]);
    let mut writer = writer(&table, &MockClock::at(0));
    writer.write(rows(0, 10)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    assert!(files(directory.path()).is_empty());
}

#[test]
fn files_roll_by_size_age_and_silence() {
    let directory = TempDir::new().unwrap();
    let options = [
        ("sink.rolling-policy.file-size", "1 kb"),
        ("sink.rolling-policy.rollover-interval", "10 s"),
        ("sink.rolling-policy.inactivity-interval", "3 s"),
    ];
    let table = table(n_and_s(), directory.path(), &options);
    let clock = MockClock::at(0);
    let mut writer = writer(&table, &clock);
    let visible = || splits(&*Filesystem.source(&table).unwrap()).len();
    writer.write(rows(0, 100)).unwrap();
    assert_eq!(visible(), 1);
    writer.write(rows(100, 101)).unwrap();
    clock.advance(2000);
    writer.flush().unwrap();
    assert_eq!(visible(), 1);
    clock.advance(1000);
    writer.flush().unwrap();
    assert_eq!(visible(), 2);
    for i in 0..6 {
        writer.write(rows(i, i + 1)).unwrap();
        clock.advance(2000);
        writer.flush().unwrap();
    }
    assert_eq!(visible(), 3);
}

#[test]
fn partitions_are_folders() {
    let directory = TempDir::new().unwrap();
    let fields = vec![
        Field::new("a", DataType::Int32, true),
        Field::new("k", DataType::Utf8, true),
        Field::new("d", DataType::Int32, true),
    ];
    let options = [("sink.partition-commit.policy.kind", "success-file")];
    let mut table = table(fields, directory.path(), &options);
    table.partitioned_by = vec!["k".into(), "d".into()];
    let mut writer = writer(&table, &MockClock::at(0));
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2, 3, 4])),
        Arc::new(StringArray::from(vec![Some("x"), None, Some("a/b:c=d %"), Some("")])),
        Arc::new(Int32Array::from(vec![7, 8, 9, 8])),
    ];
    let batch = RecordBatch::try_new(table.physical.clone(), columns).unwrap();
    writer.write(ChangeBatch::inserts(batch)).unwrap();
    writer.finish().unwrap();
    let mut folders = files(directory.path())
        .iter()
        .filter(|f| f.file_name().unwrap() == "_SUCCESS")
        .map(|f| f.parent().unwrap().strip_prefix(directory.path()).unwrap().to_str().unwrap().to_string())
        .collect::<Vec<_>>();
    folders.sort();
    assert_eq!(folders, ["k=__DEFAULT_PARTITION__/d=8", "k=a%2Fb%3Ac%3Dd %25/d=9", "k=x/d=7"]);
    let part = files(&directory.path().join("k=x")).pop().unwrap();
    assert_eq!(std::fs::read_to_string(part).unwrap(), "{\"a\":1}\n");

    let batch = read_all(&table, &table.physical, 10).unwrap();
    let keys = batch.column(1).as_string::<i32>();
    let read = (0..4).map(|i| {
        let number = |c: usize| batch.column(c).as_primitive::<Int32Type>().value(i);
        (number(0), keys.is_valid(i).then(|| keys.value(i).to_string()), number(2))
    });
    let mut read = read.collect::<Vec<_>>();
    read.sort();
    let some = |s: &str| Some(s.to_string());
    assert_eq!(read, [(1, some("x"), 7), (2, None, 8), (3, some("a/b:c=d %"), 9), (4, None, 8)]);
}

#[test]
fn hidden_files_are_left_out_patterns_and_metadata_are_heeded() {
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("sub/deep")).unwrap();
    std::fs::create_dir_all(root.join("_hidden")).unwrap();
    for (name, n) in
        [("a.json", 1), ("sub/deep/b.json", 2), (".c.json", 3), ("_hidden/d.json", 4), ("e.txt", 5)]
    {
        std::fs::write(root.join(name), format!("{{\"n\":{n}}}")).unwrap();
    }
    let mut table = table(n_and_s(), root, &[("source.path.regex-pattern", ".*\\.json")]);
    table.metadata = Filesystem.source(&table).unwrap().metadata();
    let mut fields = table.metadata.iter().map(|m| m.1.clone()).collect::<Vec<_>>();
    fields.insert(0, table.physical.fields()[0].clone());
    let batch = read_all(&table, &Arc::new(Schema::new(fields)), 10).unwrap();
    assert_eq!(numbers(&batch), [1, 2]);
    let path = root.join("sub/deep/b.json");
    assert_eq!(batch.column(1).as_string::<i32>().value(1), path.to_str().unwrap());
    assert_eq!(batch.column(2).as_string::<i32>().value(1), "b.json");
    assert_eq!(batch.column(3).as_primitive::<Int64Type>().value(1), 7);
}

#[test]
fn no_columns_still_count() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("a"), "{}\n{\"n\":1}\r\n\n{}").unwrap();
    let table = table(n_and_s(), directory.path(), &[]);
    assert_eq!(read_all(&table, &Arc::new(Schema::empty()), 10).unwrap().num_rows(), 3);
}

#[test]
fn several_files_are_read_in_turn() {
    let directory = TempDir::new().unwrap();
    let lines = |from: i64| (from..from + 100).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>();
    std::fs::write(directory.path().join("a"), lines(0)).unwrap();
    std::fs::write(directory.path().join("b"), lines(1000)).unwrap();
    let table = table(n_and_s(), directory.path(), &[]);
    let source = Filesystem.source(&table).unwrap();
    let mut reader = reader(&*source, table.physical.clone(), 10);
    reader.assign(splits(&*source)).unwrap();
    let mut order = Vec::new();
    for _ in 0..4 {
        if let Poll::Rows { batch, .. } = reader.poll(Duration::ZERO).unwrap() {
            order.push(numbers(&batch)[0]);
        }
    }
    assert_eq!(order, [0, 1000, 10, 1010]);
}

#[test]
fn a_watched_directory_gives_new_files_once() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("a"), "{}").unwrap();
    let table = table(n_and_s(), directory.path(), &[("source.monitor-interval", "10 ms")]);
    let source = Filesystem.source(&table).unwrap();
    assert_eq!(source.boundedness(), engine::connector::Boundedness::Unbounded);
    let context = SourceContext { runtime: handle(), clock: Arc::new(MockClock::at(0)), parallelism: 1 };
    let mut enumerator = source.enumerator(&context).unwrap();
    assert_eq!(enumerator.interval(), Some(Duration::from_millis(10)));
    let first = enumerator.discover().unwrap();
    assert_eq!((first.splits.len(), first.complete), (1, false));
    std::fs::write(directory.path().join("b"), "{}").unwrap();
    assert!(enumerator.discover().unwrap().splits[0].id.ends_with("/b"));
    assert!(enumerator.discover().unwrap().splits.is_empty());
}

#[test]
fn broken_records_are_told_with_file_and_place() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a");
    std::fs::write(&file, "{\"n\":1}\n{\"n\":\"x\"}\n").unwrap();
    let strict = table(n_and_s(), directory.path(), &[]);
    let error = read_all(&strict, &strict.physical, 10).unwrap_err();
    let wanted = format!("The record at byte 8 of {}: Column `n`: \"x\" is no BIGINT.", file.display());
    assert_eq!(error.message(), wanted);
    let lax = table(n_and_s(), directory.path(), &[("json.ignore-parse-errors", "true")]);
    assert_eq!(read_all(&lax, &lax.physical, 10).unwrap().num_rows(), 2);
}

#[test]
fn wrong_options_are_refused() {
    let directory = TempDir::new().unwrap();
    let error =
        |more: &[(&str, &str)]| Filesystem.source(&table(n_and_s(), directory.path(), more)).unwrap_err();
    assert_eq!(
        error(&[("json.ignore-parse-error", "x")]).hint(),
        Some("Did you mean 'json.ignore-parse-errors'?")
    );
    assert!(error(&[("source.path.regex-pattern", "(")]).message().contains("regular expression"));
    assert!(error(&[("format", "parquet")]).hint().unwrap().contains("json"));
    assert!(error(&[("auto-compaction", "true")]).message().contains("not supported"));
    let missing = table(n_and_s(), &directory.path().join("none"), &[]);
    let error = read_all(&missing, &missing.physical, 1).unwrap_err();
    assert!(error.message().starts_with("There is no file or directory"), "{error}");
}

#[test]
fn a_restored_reader_goes_on_in_the_middle_of_a_file_that_grew() {
    for (format, line) in [("json", "{\"n\":N,\"s\":\"x\"}\n"), ("csv", "N,\"a\nb\"\n")] {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("a");
        let lines = |range: std::ops::Range<i64>| {
            range.map(|n| line.replace('N', &n.to_string())).collect::<String>()
        };
        std::fs::write(&file, lines(0..50)).unwrap();
        let table = table(n_and_s(), directory.path(), &[("format", format)]);
        let source = Filesystem.source(&table).unwrap();
        let mut first = reader(&*source, table.physical.clone(), 7);
        first.assign(splits(&*source)).unwrap();
        let Poll::Rows { batch, .. } = first.poll(Duration::ZERO).unwrap() else { panic!() };
        let mut seen = numbers(&batch);
        let positions = first.snapshot();
        // What is read after the snapshot is read again.
        first.poll(Duration::ZERO).unwrap();
        std::fs::write(&file, lines(0..80)).unwrap();
        let mut second = reader(&*source, table.physical.clone(), 7);
        second.assign(positions.clone()).unwrap();
        while let Poll::Rows { batch, .. } = second.poll(Duration::ZERO).unwrap() {
            seen.extend(numbers(&batch));
        }
        assert_eq!(seen, (0..80).collect::<Vec<_>>(), "{format}");
        std::fs::write(&file, lines(0..1)).unwrap();
        let mut third = reader(&*source, table.physical.clone(), 7);
        third.assign(positions).unwrap();
        let error = third.poll(Duration::ZERO).unwrap_err();
        assert!(error.message().contains("it has been replaced"), "{error}");
    }
}

#[test]
fn a_restored_enumerator_hands_out_what_is_new_and_nothing_where_the_table_is_bounded() {
    let directory = TempDir::new().unwrap();
    for name in ["a", "b"] {
        std::fs::write(directory.path().join(name), "{}").unwrap();
    }
    for (more, wanted) in [(vec![("source.monitor-interval", "10 ms")], 1), (vec![], 0)] {
        let table = table(n_and_s(), directory.path(), &more);
        let source = Filesystem.source(&table).unwrap();
        let mut known = splits(&*source);
        known.retain(|s| !s.id.ends_with("/c"));
        let finished = known.pop().unwrap();
        std::fs::write(directory.path().join("c"), "{}").unwrap();
        let context = SourceContext { runtime: handle(), clock: Arc::new(MockClock::at(0)), parallelism: 1 };
        let mut enumerator = source.enumerator(&context).unwrap();
        enumerator.restore(&known, &[finished]).unwrap();
        let found = enumerator.discover().unwrap();
        assert_eq!(found.splits.len(), wanted);
        assert!(found.splits.iter().all(|s| s.id.ends_with("/c")));
        assert_eq!(found.complete, wanted == 0);
    }
}
