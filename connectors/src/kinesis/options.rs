//! Options of `'connector' = 'kinesis'`, of both generations of Flink's connector: `stream` with `scan.stream.*`,
//! and `stream.arn` with `source.*`.

use crate::aws::{self, AwsOptions};
use crate::formats::select::{self, ChosenFormat};
use crate::options::{OptionReader, option};
use catalog::Options;
use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use engine::connector::{OptionHelp, TableContext};
use engine::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most records that GetRecords gives at once; the service's limit.
const MAX_GET_RECORDS: i32 = 10_000;
/// Most records that PutRecords takes at once; the service's limit.
pub(super) const MAX_PUT_RECORDS: usize = 500;
/// Most bytes (data and partition keys) that PutRecords takes at once; the service's limit.
pub(super) const MAX_PUT_BYTES: usize = 5 * 1024 * 1024;
/// Longest name of a stream, in characters; the service's limit.
const MAX_STREAM_NAME_CHARS: usize = 128;

/// Where reading begins when there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Start {
    /// With what is written after the start.
    Latest,
    /// With the oldest record that the stream still has.
    TrimHorizon,
    /// With records that arrived at or after this time, in milliseconds since the epoch.
    AtTimestamp(i64),
}

/// A stream by name or by ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamId {
    /// In the account of the credentials.
    Name(String),
    /// In the account of the ARN.
    Arn(String),
}

/// How the sink chooses partition keys of tables without PARTITIONED BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// Another for each row.
    Random,
    /// The same for all rows of one writer.
    Fixed,
}

/// All that the options of one table say.
#[derive(Debug, Clone)]
pub struct KinesisOptions {
    /// Which stream.
    pub stream: StreamId,
    /// Where and as whom.
    pub aws: AwsOptions,
    /// `format` and its options.
    pub format: ChosenFormat,
    /// `scan.*` and `source.*`.
    pub scan: ScanOptions,
    /// `sink.*`.
    pub sink: SinkOptions,
}

/// Options of reading.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// `scan.stream.initpos`
    pub start: Start,
    /// `scan.shard.getrecords.maxrecordcount`
    pub max_records: i32,
    /// `scan.shard.getrecords.intervalmillis`, for each shard.
    pub interval_ms: u64,
    /// `scan.shard.adaptivereads`
    pub adaptive: bool,
    /// `scan.shard.getrecords.backoff.base`
    pub backoff_base_ms: u64,
    /// `scan.shard.getrecords.backoff.max`
    pub backoff_max_ms: u64,
    /// `scan.shard.discovery.intervalmillis`
    pub discovery_interval_ms: u64,
    /// `scan.parallelism`
    pub parallelism: Option<usize>,
}

/// Options of writing.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// `sink.partitioner`
    pub partitioner: Partitioner,
    /// `sink.partitioner-field-delimiter`
    pub delimiter: String,
    /// `sink.batch.max-size`, in records.
    pub batch_records: usize,
    /// `sink.flush-buffer.size`, in bytes.
    pub batch_bytes: usize,
    /// `sink.flush-buffer.timeout`
    pub flush_interval_ms: u64,
    /// `sink.requests.max-inflight`
    pub max_in_flight: usize,
    /// `sink.requests.max-buffered`, in records.
    pub max_buffered: usize,
    /// `sink.fail-on-error`
    pub fail_on_error: bool,
    /// `sink.parallelism`
    pub parallelism: Option<usize>,
}

impl StreamId {
    /// Its name, without the ARN round it.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => arn.rsplit_once('/').map_or(arn, |(_, name)| name),
        }
    }

    /// For a request's StreamName.
    pub fn request_name(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.clone()),
            Self::Arn(_) => None,
        }
    }

    /// For a request's StreamARN.
    pub fn request_arn(&self) -> Option<String> {
        match self {
            Self::Name(_) => None,
            Self::Arn(arn) => Some(arn.clone()),
        }
    }

    fn parse(key: &str, text: &str) -> Result<Self> {
        let wrong = |what: &str, hint: &str| {
            Err(Error::user(format!("'{text}' ('{key}') is no {what}.")).with_hint(hint.to_string()))
        };
        let is_name = |name: &str| {
            (1..=MAX_STREAM_NAME_CHARS).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if text.starts_with("arn:") || key == "stream.arn" {
            let parts = text.splitn(6, ':').collect::<Vec<_>>();
            return match parts[..] {
                ["arn", _, "kinesis", region, _, resource]
                    if !region.is_empty() && resource.strip_prefix("stream/").is_some_and(is_name) =>
                {
                    Ok(Self::Arn(text.to_string()))
                }
                _ => wrong(
                    "ARN of a stream",
                    "It looks like arn:aws:kinesis:us-east-1:123456789012:stream/my-stream.",
                ),
            };
        }
        if is_name(text) {
            return Ok(Self::Name(text.to_string()));
        }
        wrong("name of a stream", "A name has 1 to 128 letters, digits, '_', '.' and '-'.")
    }

    fn region(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Arn(arn) => arn.split(':').nth(3),
        }
    }
}

impl KinesisOptions {
    /// Reads the options of `table`, source and sink together: one definition may be used as both.
    ///
    /// Errors: unknown, missing, wrong or contradicting options.
    pub fn read(table: &TableContext) -> Result<Self> {
        let format = select::require("kinesis", &table.options, &["format"]);
        let help = help();
        let options = OptionReader::new("kinesis", &table.options, &help)?;
        let format = format?;
        format.check(&table.physical)?;
        let stream = match either(&table.options, "stream.arn", "stream")? {
            Some((key, text)) => StreamId::parse(key, text)?,
            None => {
                return Err(Error::user("A 'kinesis' table needs the option 'stream' (or 'stream.arn').")
                    .with_hint("Add 'stream' = '…' to WITH."));
            }
        };
        let aws = AwsOptions::read(&options, stream.region())?;
        let scan = ScanOptions::read(&options, table)?;
        let sink = SinkOptions::read(&options, table)?;
        Ok(Self { stream, aws, format, scan, sink })
    }
}

/// The key and value that is set: an option under its `new` or its `old` name.
///
/// Errors: both are set, to different values.
fn either<'a>(
    options: &'a Options,
    new: &'static str,
    old: &'static str,
) -> Result<Option<(&'static str, &'a str)>> {
    match (options.get(new).map(|v| v.trim()), options.get(old).map(|v| v.trim())) {
        (Some(a), Some(b)) if a != b => {
            Err(Error::user(format!("'{new}' = '{a}' and '{old}' = '{b}' mean the same option."))
                .with_hint(format!("Leave one of them out; '{old}' is its older name.")))
        }
        (Some(v), _) => Ok(Some((new, v))),
        (None, Some(v)) => Ok(Some((old, v))),
        (None, None) => Ok(None),
    }
}

/// The value of `key`, at least `least`.
fn at_least<T>(options: &OptionReader<'_>, key: &str, least: T, default: T) -> Result<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    match options.number::<T>(key)? {
        Some(n) if n < least => {
            Err(Error::user(format!("Option '{key}' of a 'kinesis' table is at least {least}, not {n}.")))
        }
        Some(n) => Ok(n),
        None => Ok(default),
    }
}

impl ScanOptions {
    fn read(options: &OptionReader<'_>, table: &TableContext) -> Result<Self> {
        if let Some((key, kind)) =
            either(&table.options, "source.reader.type", "scan.stream.recordpublisher")?
        {
            match kind.to_ascii_uppercase().as_str() {
                "POLLING" => {}
                "EFO" => {
                    return Err(Error::unsupported(
                        format!("Enhanced fan-out ('{key}' = 'EFO')"),
                        format!("Write '{key}' = 'POLLING', or leave it out."),
                    ));
                }
                _ => return Err(Error::user(format!("'{key}' is POLLING or EFO, not '{kind}'."))),
            }
        }
        let count_key = match options.is_set("source.shard.get-records.max-record-count") {
            true => "source.shard.get-records.max-record-count",
            false => "scan.shard.getrecords.maxrecordcount",
        };
        let max_records = at_least(options, count_key, 1, MAX_GET_RECORDS)?;
        if max_records > MAX_GET_RECORDS {
            return Err(Error::user(format!(
                "Option '{count_key}' of a 'kinesis' table is at most {MAX_GET_RECORDS}, not {max_records}."
            )));
        }
        let interval_ms = match options.is_set("source.shard.get-records.interval") {
            true => options.duration_ms("source.shard.get-records.interval")?.unwrap_or(200),
            false => at_least(options, "scan.shard.getrecords.intervalmillis", 0, 200)?,
        };
        let discovery_interval_ms = match options.is_set("source.shard.discovery.interval") {
            true => options.duration_ms("source.shard.discovery.interval")?.unwrap_or(10_000),
            false => at_least(options, "scan.shard.discovery.intervalmillis", 1, 10_000)?,
        };
        let backoff_base_ms = at_least(options, "scan.shard.getrecords.backoff.base", 1, 300)?;
        Ok(Self {
            start: start(options, table)?,
            max_records,
            interval_ms,
            adaptive: options.boolean("scan.shard.adaptivereads")?,
            backoff_base_ms,
            backoff_max_ms: at_least(options, "scan.shard.getrecords.backoff.max", 1, 1000)?
                .max(backoff_base_ms),
            discovery_interval_ms: discovery_interval_ms.max(1),
            parallelism: parallelism(options, "scan.parallelism")?,
        })
    }
}

fn parallelism(options: &OptionReader<'_>, key: &str) -> Result<Option<usize>> {
    Ok(if options.is_set(key) { Some(at_least(options, key, 1, 1)?) } else { None })
}

fn start(options: &OptionReader<'_>, table: &TableContext) -> Result<Start> {
    let Some((key, word)) = either(&table.options, "source.init.position", "scan.stream.initpos")? else {
        return Ok(Start::Latest);
    };
    match options.choice(key, &["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"])? {
        Some(1) => Ok(Start::TrimHorizon),
        Some(2) => {
            let (time_key, format_key) = match key {
                "source.init.position" => ("source.init.timestamp", "source.init.timestamp.format"),
                _ => ("scan.stream.initpos-timestamp", "scan.stream.initpos-timestamp-format"),
            };
            let either_time =
                either(&table.options, "source.init.timestamp", "scan.stream.initpos-timestamp")?;
            let Some((_, text)) = either_time else {
                return Err(Error::user(format!("'{key}' = '{word}' needs the option '{time_key}'."))
                    .with_hint(format!("Add '{time_key}' = '2026-01-31T10:00:00.000Z' to WITH.")));
            };
            let format = either(
                &table.options,
                "source.init.timestamp.format",
                "scan.stream.initpos-timestamp-format",
            )?
            .map_or(DEFAULT_TIMESTAMP_FORMAT, |(_, f)| f);
            parse_timestamp(text, format, table.zone).map(Start::AtTimestamp).ok_or_else(|| {
                Error::user(format!("'{time_key}' = '{text}' is no time of the form {format}."))
                    .with_hint(format!("Write it so, or as seconds since 1970, or set '{format_key}'."))
            })
        }
        _ => Ok(Start::Latest),
    }
}

const DEFAULT_TIMESTAMP_FORMAT: &str = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX";

/// Milliseconds since the epoch of `text`, which follows a Java date pattern, or is a number of seconds.
fn parse_timestamp(text: &str, pattern: &str, zone: chrono_tz::Tz) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (0.0..1e11).contains(&seconds).then_some((seconds * 1000.0).round() as i64);
    }
    let (format, zoned) = chrono_format(pattern)?;
    if zoned {
        // Java's X takes Z for +00:00, which chrono's offsets do not.
        let text = text.strip_suffix('Z').map_or_else(|| text.to_string(), |t| format!("{t}+00:00"));
        return DateTime::parse_from_str(&text, &format).ok().map(|t| t.timestamp_millis());
    }
    let local = NaiveDateTime::parse_from_str(text, &format)
        .ok()
        .or_else(|| chrono::NaiveDate::parse_from_str(text, &format).ok()?.and_hms_opt(0, 0, 0))?;
    zone.from_local_datetime(&local).earliest().map(|t| t.with_timezone(&Utc).timestamp_millis())
}

/// A Java date pattern in chrono's words, and whether it has a zone.
fn chrono_format(pattern: &str) -> Option<(String, bool)> {
    let mut out = String::new();
    let mut zoned = false;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let end = quoted.find('\'')?;
            out.push_str(if end == 0 { "'" } else { &quoted[..end] });
            rest = &quoted[end + 1..];
            continue;
        }
        let run = rest.len() - rest.trim_start_matches(first).len();
        match (first, run) {
            ('y' | 'u', _) => out.push_str("%Y"),
            ('M', 1 | 2) => out.push_str("%m"),
            ('d', _) => out.push_str("%d"),
            ('H', _) => out.push_str("%H"),
            ('m', _) => out.push_str("%M"),
            ('s', _) => out.push_str("%S"),
            ('S', 3) => out.push_str("%3f"),
            ('S', 6) => out.push_str("%6f"),
            ('S', 9) => out.push_str("%9f"),
            ('X' | 'Z', _) => {
                out.push_str("%z");
                zoned = true;
            }
            ('%', _) => out.push_str(&"%%".repeat(run)),
            (c, _) if c.is_ascii_alphabetic() => return None,
            (c, _) => out.extend(std::iter::repeat_n(c, run)),
        }
        rest = &rest[first.len_utf8() * run..];
    }
    Some((out, zoned))
}

impl SinkOptions {
    fn read(options: &OptionReader<'_>, table: &TableContext) -> Result<Self> {
        let partitioner = match options.get("sink.partitioner") {
            Some(name) if name.eq_ignore_ascii_case("fixed") => Partitioner::Fixed,
            Some(name) if !name.eq_ignore_ascii_case("random") => {
                return Err(Error::unsupported(
                    format!("The partitioner class '{name}' ('sink.partitioner')"),
                    "Use 'random' or 'fixed', or PARTITIONED BY (…) for keys from columns.",
                ));
            }
            _ => Partitioner::Random,
        };
        if options.is_set("sink.partitioner") && !table.partitioned_by.is_empty() {
            return Err(Error::user("'sink.partitioner' and PARTITIONED BY both tell the partition key.")
                .with_hint("Leave out 'sink.partitioner', or PARTITIONED BY."));
        }
        let new_or = |new: &'static str, old: &'static str| {
            Ok::<_, Error>(either(&table.options, new, old)?.map_or(new, |(key, _)| key))
        };
        let batch_key = new_or("sink.batch.max-size", "sink.producer.collection-max-count")?;
        let batch_records = at_least(options, batch_key, 1, MAX_PUT_RECORDS)?;
        if batch_records > MAX_PUT_RECORDS && batch_key == "sink.batch.max-size" {
            return Err(Error::user(format!(
                "Option '{batch_key}' of a 'kinesis' table is at most {MAX_PUT_RECORDS}, not {batch_records}."
            )));
        }
        let bytes_key = new_or("sink.flush-buffer.size", "sink.producer.collection-max-size")?;
        let timeout_key = new_or("sink.flush-buffer.timeout", "sink.producer.record-max-buffered-time")?;
        let fail_key = new_or("sink.fail-on-error", "sink.producer.fail-on-error")?;
        let max_buffered = at_least(options, "sink.requests.max-buffered", 1, 10_000)?;
        Ok(Self {
            partitioner,
            delimiter: table.options.get("sink.partitioner-field-delimiter").map_or("|", |d| d).to_string(),
            batch_records: batch_records.min(MAX_PUT_RECORDS).min(max_buffered),
            batch_bytes: at_least(options, bytes_key, 1, MAX_PUT_BYTES)?.min(MAX_PUT_BYTES),
            flush_interval_ms: at_least(options, timeout_key, 1, 5000)?,
            max_in_flight: at_least(options, "sink.requests.max-inflight", 1, 16)?,
            max_buffered,
            fail_on_error: options.boolean(fail_key)?,
            parallelism: parallelism(options, "sink.parallelism")?,
        })
    }
}

/// All options of `'connector' = 'kinesis'`.
pub fn help() -> Vec<OptionHelp> {
    let mut all = vec![
        option("stream", None, false, "Name (or ARN) of the stream. Needed, unless `stream.arn` is set."),
        option("stream.arn", None, false, "ARN of the stream, also of another account's."),
        option("format", None, true, "Format of the records, for example `json`."),
    ];
    all.extend(aws::help());
    let start = "`LATEST`, `TRIM_HORIZON` (the oldest record) or `AT_TIMESTAMP`: where reading begins without a checkpoint.";
    for (key, default, text) in [
        ("scan.stream.initpos", Some("LATEST"), start),
        ("scan.stream.initpos-timestamp", None, "Time of `AT_TIMESTAMP`, or seconds since 1970."),
        (
            "scan.stream.initpos-timestamp-format",
            Some(DEFAULT_TIMESTAMP_FORMAT),
            "Java date pattern of that time; without a zone in it, the session's holds.",
        ),
        (
            "scan.stream.recordpublisher",
            Some("POLLING"),
            "`POLLING`; `EFO` (enhanced fan-out) is not supported yet.",
        ),
        (
            "scan.shard.discovery.intervalmillis",
            Some("10000"),
            "Milliseconds between two looks for new shards.",
        ),
        (
            "scan.shard.getrecords.maxrecordcount",
            Some("10000"),
            "Most records of one GetRecords call, up to 10000.",
        ),
        (
            "scan.shard.getrecords.intervalmillis",
            Some("200"),
            "Milliseconds between two GetRecords calls to one shard; the service allows five calls a second.",
        ),
        (
            "scan.shard.getrecords.backoff.base",
            Some("300"),
            "Milliseconds of the first wait after a refused call; it doubles each time.",
        ),
        ("scan.shard.getrecords.backoff.max", Some("1000"), "Milliseconds of the longest such wait."),
        (
            "scan.shard.adaptivereads",
            Some("false"),
            "Asks for as many records a call as 2 MB a second and shard allow.",
        ),
        ("scan.parallelism", None, "Number of readers."),
        (
            "scan.watermark.idle-timeout",
            None,
            "A shard without rows for this long no longer holds back the watermark.",
        ),
        ("source.init.position", Some("LATEST"), "As `scan.stream.initpos`."),
        ("source.init.timestamp", None, "As `scan.stream.initpos-timestamp`."),
        (
            "source.init.timestamp.format",
            Some(DEFAULT_TIMESTAMP_FORMAT),
            "As `scan.stream.initpos-timestamp-format`.",
        ),
        ("source.reader.type", Some("POLLING"), "As `scan.stream.recordpublisher`."),
        (
            "source.shard.discovery.interval",
            Some("10 s"),
            "As `scan.shard.discovery.intervalmillis`, but a duration.",
        ),
        (
            "source.shard.get-records.max-record-count",
            Some("10000"),
            "As `scan.shard.getrecords.maxrecordcount`.",
        ),
        (
            "source.shard.get-records.interval",
            Some("200 ms"),
            "As `scan.shard.getrecords.intervalmillis`, but a duration.",
        ),
        (
            "sink.partitioner",
            Some("random"),
            "Partition key of tables without PARTITIONED BY: `random`, or `fixed` (one for each writer).",
        ),
        (
            "sink.partitioner-field-delimiter",
            Some("|"),
            "Stands between the values of PARTITIONED BY columns in the partition key.",
        ),
        ("sink.batch.max-size", Some("500"), "Most records of one PutRecords call, up to 500."),
        ("sink.flush-buffer.size", Some("5242880"), "Most bytes of one PutRecords call, up to 5 MiB."),
        ("sink.flush-buffer.timeout", Some("5000"), "Milliseconds after which buffered records are written."),
        ("sink.requests.max-inflight", Some("16"), "Most PutRecords calls at a time."),
        ("sink.requests.max-buffered", Some("10000"), "Most records that wait; then writing waits."),
        (
            "sink.fail-on-error",
            Some("false"),
            "Whether a refused record ends the job at once; otherwise it is tried again for five minutes.",
        ),
        ("sink.parallelism", None, "Number of writers."),
        ("sink.producer.collection-max-count", None, "Older name of `sink.batch.max-size`."),
        ("sink.producer.collection-max-size", None, "Older name of `sink.flush-buffer.size`."),
        ("sink.producer.record-max-buffered-time", None, "Older name of `sink.flush-buffer.timeout`."),
        ("sink.producer.fail-on-error", None, "Older name of `sink.fail-on-error`."),
        ("sink.producer.aggregation-enabled", None, "Taken, without effect: records are never aggregated."),
    ] {
        all.push(option(key, default, false, text));
    }
    all.extend(
        without_effect()
            .into_iter()
            .map(|key| option(&key, None, false, "Taken, without effect: it tunes Flink's own client.")),
    );
    all.extend(select::all_help(""));
    all
}

/// Keys of Flink that mean nothing here.
fn without_effect() -> Vec<String> {
    let mut keys = Vec::new();
    for group in [
        "scan.stream.describe",
        "scan.list.shards",
        "scan.stream.registerstreamconsumer",
        "scan.stream.deregisterstreamconsumer",
        "scan.stream.describestreamconsumer",
        "scan.shard.subscribetoshard",
        "scan.shard.getiterator",
    ] {
        keys.extend(
            ["maxretries", "backoff.base", "backoff.max", "backoff.expconst"].map(|k| format!("{group}.{k}")),
        );
    }
    keys.extend(
        [
            "scan.stream.registerstreamconsumer.timeout",
            "scan.stream.deregisterstreamconsumer.timeout",
            "scan.shard.getrecords.maxretries",
            "scan.shard.getrecords.backoff.expconst",
            "scan.shard-assigner",
            "scan.shard.idle.interval",
            "scan.watermark.sync.interval",
            "scan.watermark.lookahead.millis",
            "scan.watermark.sync.queue.capacity",
            "scan.stream.efo.consumername",
            "scan.stream.efo.registration",
            "scan.stream.efo.consumerarn*",
            "scan.stream.efo.http-client.max-concurrency",
            "scan.stream.efo.http-client.read-timeout",
            "source.efo.consumer.name",
            "source.efo.lifecycle",
            "source.efo.subscription.timeout",
            "source.efo.deregister.timeout",
            "source.efo.describe.retry-strategy.attempts.max",
            "source.efo.describe.retry-strategy.delay.min",
            "source.efo.describe.retry-strategy.delay.max",
            "source.shard.get-records.idle-source-interval",
            "shard.consumer.error.recoverable*",
            "sink.http-client.max-concurrency",
            "sink.http-client.read-timeout",
            "sink.http-client.protocol.version",
            "sink.producer.*",
        ]
        .map(String::from),
    );
    keys
}
