//! Datagen, driven by hand with a mock clock.

use super::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, Schema, TimestampMillisecondType};
use catalog::ObjectName;
use engine::time::MockClock;

fn table(fields: Vec<Field>, options: &[(&str, &str)]) -> TableContext {
    TableContext {
        name: ObjectName::new("c", "d", "t"),
        options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        physical: Arc::new(Schema::new(fields)),
        metadata: Vec::new(),
        partitioned_by: Vec::new(),
        primary_key: Vec::new(),
        zone: chrono_tz::UTC,
        clock: Arc::new(MockClock::at(0)),
    }
}

fn reader(table: &TableContext, clock: &MockClock, parallelism: usize) -> Box<dyn Reader> {
    let source = Datagen.source(table).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap().handle().clone();
    let context = SourceContext { runtime: runtime.clone(), clock: Arc::new(clock.clone()), parallelism };
    let splits = source.enumerator(&context).unwrap().discover().unwrap().splits;
    let mut reader = source
        .reader(ReaderContext {
            projection: table.physical.clone(),
            batch_rows: 1000,
            runtime,
            clock: Arc::new(clock.clone()),
            task: 0,
            parallelism,
            metrics: Arc::default(),
        })
        .unwrap();
    reader.assign(splits).unwrap();
    reader
}

fn read_all(reader: &mut dyn Reader, clock: &MockClock) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for _ in 0..10_000 {
        match reader.poll(Duration::ZERO).unwrap() {
            Poll::Rows { batch, .. } => batches.push(batch),
            Poll::Pending if reader.snapshot().is_empty() => return batches,
            Poll::Pending => clock.advance(50),
            Poll::Finished(_) => {}
        }
    }
    panic!("no end");
}

fn all_types() -> Vec<Field> {
    let text = |name: &str, sql: &str| {
        Field::new(name, DataType::Utf8, true)
            .with_metadata([("runnel.type".to_string(), sql.to_string())].into())
    };
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int32, true),
    ]);
    let row =
        Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)]);
    vec![
        Field::new("i", DataType::Int32, true),
        Field::new("b", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
        text("v", "VARCHAR(5)"),
        text("c", "CHAR(3)"),
        Field::new("o", DataType::Boolean, true),
        Field::new("d", DataType::Decimal128(5, 2), true),
        Field::new("f", DataType::Float32, true),
        Field::new("g", DataType::Float64, true),
        Field::new("t", DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None), true),
        Field::new("da", DataType::Date32, true),
        Field::new("ti", DataType::Time32(arrow::datatypes::TimeUnit::Millisecond), true),
        Field::new("by", DataType::Binary, true),
        Field::new_list("a", Field::new("item", DataType::Int32, true), true),
        Field::new(
            "m",
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false),
            true,
        ),
        Field::new("r", DataType::Struct(row), true),
    ]
}

#[test]
fn every_type_within_its_bounds() {
    let table = table(
        all_types(),
        &[
            ("connector", "datagen"),
            ("number-of-rows", "500"),
            ("fields.i.min", "5"),
            ("fields.i.max", "6"),
            ("fields.s.length", "4"),
            ("fields.a.length", "2"),
            ("fields.a.element.min", "1"),
            ("fields.a.element.max", "3"),
            ("fields.r.y.length", "2"),
            ("fields.t.max-past", "10 s"),
            ("fields.o.null-rate", "0.5"),
        ],
    );
    let clock = MockClock::at(1_000_000);
    let batches = read_all(&mut *reader(&table, &clock, 1), &clock);
    let batch = arrow::compute::concat_batches(&table.physical, &batches).unwrap();
    assert_eq!(batch.num_rows(), 500);
    let column = |name: &str| batch.column_by_name(name).unwrap();
    assert!(column("i").as_primitive::<Int32Type>().iter().all(|v| matches!(v, Some(5 | 6))));
    assert!(column("s").as_string::<i32>().iter().all(|v| v.unwrap().len() == 4));
    assert!(column("v").as_string::<i32>().iter().all(|v| v.unwrap().len() == 5));
    assert!(column("c").as_string::<i32>().iter().all(|v| v.unwrap().len() == 3));
    assert_eq!(column("a").as_list::<i32>().values().len(), 1000);
    assert!((150..350).contains(&column("o").null_count()), "{}", column("o").null_count());
    let times = column("t").as_primitive::<TimestampMillisecondType>();
    assert!(times.iter().all(|t| (990_000..=1_010_000).contains(&t.unwrap())));
    assert_eq!(column("r").as_struct().column(1).as_string::<i32>().value(0).len(), 2);
}

#[test]
fn sequences_bound_the_table_and_are_spread_over_readers() {
    let fields = vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)];
    let table = table(
        fields,
        &[
            ("fields.n.kind", "sequence"),
            ("fields.n.start", "1"),
            ("fields.n.end", "100"),
            ("fields.s.kind", "sequence"),
            ("fields.s.start", "11"),
            ("fields.s.end", "17"),
        ],
    );
    assert_eq!(Datagen.source(&table).unwrap().boundedness(), Boundedness::Bounded);
    let clock = MockClock::at(0);
    let batches = read_all(&mut *reader(&table, &clock, 3), &clock);
    let batch = arrow::compute::concat_batches(&table.physical, &batches).unwrap();
    let mut numbers = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_rate_is_kept_and_a_restart_goes_on_where_it_was() {
    let table = table(vec![Field::new("n", DataType::Int64, true)], &[("rows-per-second", "100")]);
    let clock = MockClock::at(0);
    let mut first = reader(&table, &clock, 1);
    let mut rows = Vec::new();
    let mut position = Vec::new();
    for _ in 0..200 {
        if let Poll::Rows { batch, .. } = first.poll(Duration::ZERO).unwrap() {
            rows.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        if clock.now_ms() == 500 {
            position = first.snapshot();
        }
        clock.advance(10);
    }
    assert!((195..=210).contains(&rows.len()), "{} rows in two seconds", rows.len());

    let source = Datagen.source(&table).unwrap();
    let mut second = source
        .reader(ReaderContext {
            projection: table.physical.clone(),
            batch_rows: 7,
            runtime: tokio::runtime::Runtime::new().unwrap().handle().clone(),
            clock: Arc::new(clock.clone()),
            task: 0,
            parallelism: 1,
            metrics: Arc::default(),
        })
        .unwrap();
    let made = serde_json::from_str::<Position>(&position[0].position).unwrap().made as usize;
    second.assign(position).unwrap();
    let Poll::Rows { batch, .. } = second.poll(Duration::ZERO).unwrap() else { panic!("no rows") };
    let again = batch.column(0).as_primitive::<Int64Type>().values();
    assert_eq!(again, &rows[made..made + again.len()]);
}

#[test]
fn wrong_options_are_named() {
    let field = || vec![Field::new("i", DataType::Int32, true), Field::new("o", DataType::Boolean, true)];
    let error = |options: &[(&str, &str)]| Datagen.source(&table(field(), options)).unwrap_err();
    let e = error(&[("fields.i.mni", "1")]);
    assert!(e.message().contains("fields.i.mni"), "{e}");
    assert_eq!(e.hint(), Some("Did you mean 'fields.i.min'?"));
    assert!(error(&[("fields.i.min", "9"), ("fields.i.max", "1")]).message().contains("must not be greater"));
    assert!(error(&[("fields.i.max", "3000000000")]).message().contains("2147483647"));
    assert!(error(&[("fields.i.kind", "sequence")]).message().contains("fields.i.start"));
    assert!(error(&[("fields.o.min", "1")]).message().contains("fields.o.min"));
    assert!(error(&[("rows-per-second", "0")]).message().contains("at least 1"));
}
