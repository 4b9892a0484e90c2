//! Options of the connector, through its public face and through the option reader.

use super::Kinesis;
use super::options::{KinesisOptions, Partitioner, Start, help};
use arrow::datatypes::{DataType, Field, Schema};
use catalog::ObjectName;
use engine::connector::{Connector, TableContext};
use engine::error::Error;
use engine::time::MockClock;
use std::sync::Arc;

fn table(options: &[(&str, &str)]) -> TableContext {
    let name = |s: &str| s.to_string();
    TableContext {
        name: ObjectName { catalog: name("c"), database: name("d"), object: name("t") },
        options: options.iter().map(|(k, v)| (name(k), name(v))).collect(),
        physical: Arc::new(Schema::new(vec![
            Field::new("ticker", DataType::Utf8, true),
            Field::new("price", DataType::Float64, true),
        ])),
        metadata: Vec::new(),
        partitioned_by: Vec::new(),
        primary_key: Vec::new(),
        zone: chrono_tz::Europe::Berlin,
        clock: Arc::new(MockClock::at(0)),
    }
}

const LEAST: [(&str, &str); 4] =
    [("connector", "kinesis"), ("stream", "s"), ("aws.region", "us-east-1"), ("format", "json")];

fn with(more: &[(&str, &str)]) -> TableContext {
    table(&[&LEAST[..], more].concat())
}

fn read(more: &[(&str, &str)]) -> KinesisOptions {
    KinesisOptions::read(&with(more)).unwrap()
}

fn refusal(error: Error) -> String {
    format!("{error} {}", error.hint().unwrap_or_default())
}

fn refused(more: &[(&str, &str)]) -> String {
    refusal(KinesisOptions::read(&with(more)).unwrap_err())
}

#[test]
fn one_definition_is_source_and_sink() {
    // The guide's table of the Python chapter.
    let mut table = with(&[
        ("scan.stream.initpos", "TRIM_HORIZON"),
        ("sink.partitioner-field-delimiter", ";"),
        ("sink.producer.collection-max-count", "100"),
        ("json.timestamp-format.standard", "ISO-8601"),
    ]);
    table.partitioned_by = vec!["ticker".into()];
    let source = Kinesis.source(&table).unwrap();
    assert_eq!(
        source.describe(),
        "kinesis(stream=[s], start=[TRIM_HORIZON], format=[json], region=us-east-1)"
    );
    let sink = Kinesis.sink(&table).unwrap();
    assert_eq!(
        sink.describe(),
        "kinesis(stream=[s], format=[json], partitioned by=[ticker], region=us-east-1)"
    );
    let options = KinesisOptions::read(&table).unwrap();
    assert_eq!((options.sink.batch_records, options.sink.delimiter.as_str()), (100, ";"));
    table.partitioned_by = vec!["tikcer".into()];
    assert!(refusal(Kinesis.sink(&table).unwrap_err()).contains("'tikcer'"));
}

#[test]
fn defaults_are_those_of_flink() {
    let options = read(&[]);
    assert_eq!(options.scan.start, Start::Latest);
    assert_eq!((options.scan.max_records, options.scan.interval_ms), (10_000, 200));
    assert_eq!(options.scan.discovery_interval_ms, 10_000);
    let sink = &options.sink;
    assert_eq!((sink.batch_records, sink.batch_bytes, sink.flush_interval_ms), (500, 5_242_880, 5000));
    assert_eq!((sink.max_in_flight, sink.max_buffered, sink.fail_on_error), (16, 10_000, false));
    assert_eq!((sink.partitioner, sink.delimiter.as_str()), (Partitioner::Random, "|"));
}

#[test]
fn both_generations_of_names_are_taken() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    let newer = table(&[
        ("stream.arn", arn),
        ("format", "json"),
        ("source.init.position", "TRIM_HORIZON"),
        ("source.shard.discovery.interval", "2 s"),
        ("source.shard.get-records.max-record-count", "500"),
        ("source.shard.get-records.interval", "1 s"),
        ("source.reader.type", "POLLING"),
        ("source.efo.lifecycle", "JOB_MANAGED"),
    ]);
    let options = KinesisOptions::read(&newer).unwrap();
    assert_eq!(options.stream.name(), "orders");
    assert_eq!(options.stream.request_arn().as_deref(), Some(arn));
    assert_eq!(options.aws.describe(), "region=eu-west-1", "the ARN tells the region");
    assert_eq!(options.scan.start, Start::TrimHorizon);
    assert_eq!(options.scan.discovery_interval_ms, 2000);
    assert_eq!((options.scan.max_records, options.scan.interval_ms), (500, 1000));
    let mixed = table(&[("stream", arn), ("format", "json")]);
    assert_eq!(KinesisOptions::read(&mixed).unwrap().stream.request_arn().as_deref(), Some(arn));
    assert!(refused(&[("stream.arn", arn)]).contains("mean the same option"));
    assert!(
        refused(&[("scan.stream.initpos", "LATEST"), ("source.init.position", "TRIM_HORIZON")])
            .contains("mean the same option")
    );
}

#[test]
fn tuning_of_flinks_own_client_is_taken_without_effect() {
    read(&[
        ("scan.list.shards.maxretries", "3"),
        ("scan.shard.getiterator.backoff.base", "300"),
        ("scan.shard-assigner", "uniform"),
        ("scan.shard.idle.interval", "-1"),
        ("scan.stream.recordpublisher", "POLLING"),
        ("scan.stream.efo.consumerarn.s", "arn:x"),
        ("sink.http-client.protocol.version", "HTTP2"),
        ("sink.producer.aggregation-enabled", "false"),
        ("sink.producer.RecordTtl", "1"),
        ("shard.consumer.error.recoverable[0].exception", "java.net.UnknownHostException"),
    ]);
}

#[test]
fn start_times_follow_their_pattern_or_count_seconds() {
    let at = |text: &str, more: &[(&str, &str)]| {
        let start = [("scan.stream.initpos", "AT_TIMESTAMP"), ("scan.stream.initpos-timestamp", text)];
        read(&[&start[..], more].concat()).scan.start
    };
    let expected = Start::AtTimestamp(1_459_799_926_480);
    assert_eq!(at("2016-04-04T19:58:46.480-00:00", &[]), expected);
    assert_eq!(at("2016-04-04T19:58:46.480Z", &[]), expected);
    assert_eq!(at("2016-04-04T21:58:46.480+02:00", &[]), expected);
    assert_eq!(at("1459799926.480", &[]), expected);
    let pattern = |p: &'static str| [("scan.stream.initpos-timestamp-format", p)];
    assert_eq!(
        at("2016-04-04 21:58:46", &pattern("yyyy-MM-dd HH:mm:ss")),
        Start::AtTimestamp(1_459_799_926_000),
        "without a zone the session's holds, Berlin here"
    );
    assert_eq!(at("2016-04-04", &pattern("yyyy-MM-dd")), Start::AtTimestamp(1_459_720_800_000));
    let start = ("scan.stream.initpos", "AT_TIMESTAMP");
    assert!(refused(&[start]).contains("'scan.stream.initpos-timestamp'"));
    assert!(refused(&[start, ("scan.stream.initpos-timestamp", "yesterday")]).contains("'yesterday'"));
}

#[test]
fn wrong_options_are_told() {
    let typo = refused(&[("sink.partition-field-delimiter", ";")]);
    assert!(typo.contains("Did you mean 'sink.partitioner-field-delimiter'?"), "{typo}");
    assert!(refused(&[("fmat", "json")]).contains("Did you mean 'format'?"));
    assert!(refused(&[("scan.stream.initpos", "EARLIEST")]).contains("LATEST, TRIM_HORIZON, AT_TIMESTAMP"));
    assert!(refused(&[("scan.stream.recordpublisher", "EFO")]).contains("Enhanced fan-out"));
    assert!(refused(&[("source.reader.type", "EFO")]).contains("Enhanced fan-out"));
    assert!(refused(&[("scan.shard.getrecords.maxrecordcount", "10001")]).contains("at most 10000"));
    assert!(refused(&[("scan.shard.getrecords.maxrecordcount", "0")]).contains("at least 1"));
    assert!(refused(&[("sink.batch.max-size", "501")]).contains("at most 500"));
    assert!(refused(&[("sink.partitioner", "com.example.Mine")]).contains("com.example.Mine"));
    let missing = |options: &[(&str, &str)]| refusal(KinesisOptions::read(&table(options)).unwrap_err());
    assert!(missing(&[("format", "json")]).contains("'stream'"));
    assert!(missing(&[("stream", "s")]).contains("'format'"));
    assert!(missing(&[("stream", "my stream"), ("format", "json")]).contains("no name of a stream"));
    assert!(missing(&[("stream.arn", "s"), ("format", "json")]).contains("no ARN of a stream"));
    let mut keyed = with(&[("sink.partitioner", "random")]);
    keyed.partitioned_by = vec!["ticker".into()];
    assert!(refusal(KinesisOptions::read(&keyed).unwrap_err()).contains("PARTITIONED BY"));
}

#[test]
fn no_key_is_listed_twice() {
    let mut keys = help().into_iter().map(|o| o.key).collect::<Vec<_>>();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

/// The generated part of the connector's page.
fn documented_options() -> String {
    let formats = crate::formats::select::all_help("").into_iter().map(|o| o.key).collect::<Vec<_>>();
    let (idle, used) = help()
        .into_iter()
        .filter(|o| !formats.contains(&o.key))
        .partition::<Vec<_>, _>(|o| o.description.contains("it tunes Flink's own client"));
    let mut text = "| Option | Default | |\n| --- | --- | --- |\n".to_string();
    for option in used {
        let default = match &option.default {
            Some(default) => format!("`{}`", default.replace('|', "\\|")),
            None if option.required => "required".to_string(),
            None => String::new(),
        };
        text.push_str(&format!("| `{}` | {default} | {} |\n", option.key, option.description));
    }
    let keys = idle.iter().map(|o| format!("`{}`", o.key)).collect::<Vec<_>>();
    text.push_str(&format!(
        "\nTaken, but without effect, since they tune Flink's own client: {}.\n",
        keys.join(", ")
    ));
    text
}

#[test]
fn the_page_lists_the_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connectors/kinesis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- options -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /options -->\n").unwrap();
    let expected = format!("{before}<!-- options -->\n{}<!-- /options -->\n{after}", documented_options());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &expected).unwrap();
        return;
    }
    assert!(page == expected, "docs/connectors/kinesis.md is out of date: run the test with UPDATE_EXPECT=1");
}
