//! `KafkaOptions`: `WITH ('connector' = 'kafka', …)`, read and checked without the network.

use super::properties::Properties;
use super::upsert::BufferFlush;
use crate::formats::select::{ChosenFormat, all_help, choose, require};
use crate::options::{OptionReader, option};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use engine::connector::{DeliveryGuarantee, OptionHelp, TableContext};
use engine::error::{Error, Result, nearest};
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Which of the two connectors a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    /// `kafka`: rows are appended.
    Append,
    /// `upsert-kafka`: rows replace each other by key.
    Upsert,
}

impl Flavor {
    /// Value of `'connector'`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Append => "kafka",
            Self::Upsert => "upsert-kafka",
        }
    }
}

/// Options of `kafka` that `upsert-kafka` does not have: the primary key says what the key is, and reading begins at
/// the first record.
const APPEND_ONLY: [&str; 10] = [
    "format",
    "key.fields",
    "scan.startup.mode",
    "scan.startup.specific-offsets",
    "scan.startup.timestamp-millis",
    "scan.watermark.emit.on-event.gap",
    "sink.partitioner",
    "sink.semantic",
    "topic-pattern",
    "property-version",
];

/// Most tasks that `scan.parallelism` and `sink.parallelism` may ask for.
const MAX_PARALLELISM: usize = 1024;

/// Which topics a table stands for.
#[derive(Debug, Clone)]
pub(super) enum Topics {
    /// `topic`.
    List(Vec<String>),
    /// `topic-pattern`, which must match the whole name.
    Pattern(Regex),
}

/// A point in every partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Point {
    /// The oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// What the group has committed.
    Group,
    /// The first record with at least this timestamp, in milliseconds.
    Timestamp(i64),
    /// Given offsets by partition.
    Offsets(BTreeMap<i32, i64>),
}

/// `sink.partitioner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partitioner {
    /// By the hash of the key; without a key, spread.
    Default,
    /// Each writer has one partition.
    Fixed,
    /// Spread.
    RoundRobin,
}

/// The key's part of a table.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Its format.
    pub format: ChosenFormat,
    /// Physical columns that make the key, in the order of `key.fields`.
    pub columns: Vec<String>,
    /// The same as the format sees them: without `key.fields-prefix`.
    pub schema: SchemaRef,
}

/// All options of one table.
#[derive(Debug, Clone)]
pub(super) struct KafkaOptions {
    pub topics: Topics,
    pub properties: Properties,
    pub value: ChosenFormat,
    /// Physical columns that are in the value.
    pub value_schema: SchemaRef,
    pub key: Option<Key>,
    pub startup: Point,
    /// `None`: unbounded.
    pub bounded: Option<Point>,
    /// `None`: partitions are looked for once.
    pub discovery: Option<Duration>,
    pub scan_parallelism: Option<usize>,
    pub sink_parallelism: Option<usize>,
    pub partitioner: Partitioner,
    pub flavor: Flavor,
    /// `sink.buffer-flush.*` of `upsert-kafka`.
    pub buffer_flush: Option<BufferFlush>,
    pub guarantee: DeliveryGuarantee,
    /// `sink.transactional-id-prefix`; not empty with exactly-once.
    pub id_prefix: String,
    /// `sink.ignore-expired-transactions`.
    pub ignore_expired: bool,
}

const STARTUP: [&str; 5] =
    ["earliest-offset", "latest-offset", "group-offsets", "timestamp", "specific-offsets"];
const BOUNDED: [&str; 5] = ["unbounded", "latest-offset", "group-offsets", "timestamp", "specific-offsets"];

/// Options of the connector alone.
pub(super) fn help() -> Vec<OptionHelp> {
    vec![
        option(
            "topic",
            None,
            false,
            "Topics to read, separated by `;`; as a sink the topic to write. One of this and `topic-pattern`.",
        ),
        option("topic-pattern", None, false, "Regular expression that the whole name of a topic must match."),
        option(
            "properties.bootstrap.servers",
            None,
            true,
            "Brokers to begin with: `host:port`, separated by commas.",
        ),
        option(
            "properties.group.id",
            Some("KafkaSource-<table>"),
            false,
            "Consumer group whose offsets are read and committed.",
        ),
        option(
            "properties.*",
            None,
            false,
            "Any setting of the Kafka client, under its Java or librdkafka name.",
        ),
        option(
            "format",
            None,
            false,
            "Format of the value; the same as `value.format`, one of them is required.",
        ),
        option("value.format", None, false, "Format of the value."),
        option("key.format", None, false, "Format of the key; needs `key.fields`."),
        option("key.fields", None, false, "Physical columns that make the key, separated by `;`."),
        option(
            "key.fields-prefix",
            None,
            false,
            "What the names of the key's columns begin with in the table, to keep them apart from the value's.",
        ),
        option(
            "value.fields-include",
            Some("ALL"),
            false,
            "Whether the value holds the key's columns: `ALL` or `EXCEPT_KEY`.",
        ),
        option(
            "scan.startup.mode",
            Some("group-offsets"),
            false,
            "Where to begin: `earliest-offset`, `latest-offset`, `group-offsets`, `timestamp` or `specific-offsets`.",
        ),
        option(
            "scan.startup.specific-offsets",
            None,
            false,
            "Offsets by partition: `partition:0,offset:42;partition:1,offset:300`.",
        ),
        option(
            "scan.startup.timestamp-millis",
            None,
            false,
            "Begin with the first record of at least this time, in milliseconds since 1970.",
        ),
        option(
            "scan.bounded.mode",
            Some("unbounded"),
            false,
            "Where to end, judged at the start: `unbounded`, `latest-offset`, `group-offsets`, `timestamp` or `specific-offsets`.",
        ),
        option(
            "scan.bounded.specific-offsets",
            None,
            false,
            "End before these offsets: `partition:0,offset:42;partition:1,offset:300`.",
        ),
        option(
            "scan.bounded.timestamp-millis",
            None,
            false,
            "End before the first record of at least this time, in milliseconds since 1970.",
        ),
        option(
            "scan.topic-partition-discovery.interval",
            Some("5 min"),
            false,
            "How often new partitions and topics are looked for; `0` for never.",
        ),
        option("scan.parallelism", None, false, "Number of readers."),
        option(
            "scan.watermark.emit.strategy",
            Some("on-periodic"),
            false,
            "When watermarks are emitted: `on-periodic` or `on-event`.",
        ),
        option(
            "scan.watermark.emit.on-event.gap",
            Some("1"),
            false,
            "Number of rows between watermarks that are emitted `on-event`.",
        ),
        option(
            "scan.watermark.idle-timeout",
            None,
            false,
            "A partition silent for this long does not hold back the watermark.",
        ),
        option(
            "scan.watermark.alignment.group",
            None,
            false,
            "Sources that keep their watermarks close to each other.",
        ),
        option(
            "scan.watermark.alignment.max-drift",
            None,
            false,
            "How far a source of the group may run ahead.",
        ),
        option(
            "scan.watermark.alignment.update-interval",
            Some("1 s"),
            false,
            "How often the group's watermark is made.",
        ),
        option(
            "sink.partitioner",
            Some("default"),
            false,
            "Which partition a record goes to: `default` (hash of the key), `fixed` (one for each writer) or `round-robin`.",
        ),
        option(
            "sink.delivery-guarantee",
            Some("at-least-once"),
            false,
            "`at-least-once` waits for acknowledgements, `none` does not; `exactly-once` writes transactions that are committed with their checkpoint.",
        ),
        option("sink.semantic", None, false, "Older name of `sink.delivery-guarantee`."),
        option(
            "sink.transactional-id-prefix",
            None,
            false,
            "What transactional ids begin with; needed by `exactly-once`, and different for every job.",
        ),
        option(
            "sink.ignore-expired-transactions",
            Some("false"),
            false,
            "Whether a job is restored although a transaction of its checkpoint expired, and its records are lost.",
        ),
        option("sink.parallelism", None, false, "Number of writers."),
        option("property-version", Some("1"), false, "Version of these options; `1` is the only one."),
    ]
}

/// Options of `upsert-kafka` alone.
fn upsert_help() -> Vec<OptionHelp> {
    let mut all = help();
    all.retain(|o| !APPEND_ONLY.contains(&o.key.as_str()));
    for option in &mut all {
        option.required |= matches!(option.key.as_str(), "topic" | "key.format" | "value.format");
        match option.key.as_str() {
            "topic" => option.description = "Topic to read and to write.".to_string(),
            "key.format" => {
                option.description =
                    "Format of the key, whose columns are those of the PRIMARY KEY.".to_string()
            }
            "value.format" => {
                option.description = "Format of the value; a format without changes of its own.".to_string()
            }
            _ => {}
        }
    }
    all.push(option(
        "sink.buffer-flush.max-rows",
        Some("0"),
        false,
        "Rows after which buffered changes are written, the last of each key; `0` for no buffer.",
    ));
    all.push(option(
        "sink.buffer-flush.interval",
        Some("0"),
        false,
        "Time after which buffered changes are written; `0` for no buffer.",
    ));
    all
}

/// Options of a connector and of all formats, under the keys for value and key.
pub(super) fn help_for(flavor: Flavor) -> Vec<OptionHelp> {
    let (mut all, slots) = match flavor {
        Flavor::Append => (help(), ["", "value.", "key."].as_slice()),
        Flavor::Upsert => (upsert_help(), ["value.", "key."].as_slice()),
    };
    slots.iter().for_each(|slot| all.extend(all_help(slot)));
    all
}

impl KafkaOptions {
    /// Reads the options of `table`.
    ///
    /// Errors: unknown, missing and contradicting options, each as a sentence.
    pub(super) fn new(table: &TableContext, flavor: Flavor) -> Result<Self> {
        let given = &table.options;
        let name = flavor.name();
        let (value, mut known) = match flavor {
            Flavor::Append => (require(name, given, &["value.format", "format"])?, help()),
            Flavor::Upsert => (require(name, given, &["value.format"])?, upsert_help()),
        };
        let key_format = choose(name, given, &["key.format"])?;
        // The keys that name the formats are in both lists.
        let of_format =
            |format: &ChosenFormat| format.help().into_iter().filter(|o| !o.key.ends_with("format"));
        known.extend(of_format(&value));
        known.extend(key_format.iter().flat_map(of_format));
        let reader = OptionReader::new(name, given, &known)?;

        if flavor == Flavor::Upsert {
            check_upsert(&reader, table, &value)?;
        }
        let fields = match flavor {
            Flavor::Append => reader.list("key.fields"),
            Flavor::Upsert => table.primary_key.iter().map(String::as_str).collect(),
        };
        let (value_schema, key) = key(&reader, table, key_format, fields)?;
        value.check(&value_schema)?;
        if let Some(key) = &key {
            key.format.check(&key.schema)?;
        }
        if flavor == Flavor::Append && !table.primary_key.is_empty() && value.format().changelog().is_append()
        {
            return Err(Error::user(format!(
                "The Kafka table '{}' with '{}' format doesn't support defining PRIMARY KEY constraint on the table, \
                 because it can't guarantee the semantic of primary key.",
                table.name, value.name()
            ))
            .with_hint("Remove the PRIMARY KEY from the table."));
        }
        let topics = topics(&reader)?;
        let properties = properties(&reader, table)?;
        let startup = match flavor {
            Flavor::Upsert => Point::Earliest,
            Flavor::Append => point(&reader, "scan.startup", &STARTUP, &topics)?.unwrap_or(Point::Group),
        };
        let bounded = point(&reader, "scan.bounded", &BOUNDED, &topics)?;
        let discovery = match (&bounded, reader.duration_ms("scan.topic-partition-discovery.interval")?) {
            (None, Some(ms)) if ms > 0 => Some(Duration::from_millis(ms)),
            _ => None,
        };
        let has_key = key.is_some();
        let guarantee = guarantee(&reader)?;
        let id_prefix = reader.get("sink.transactional-id-prefix").unwrap_or("").to_string();
        if guarantee == DeliveryGuarantee::ExactlyOnce && id_prefix.is_empty() {
            return Err(Error::user(
                "sink.transactional-id-prefix must be specified when using DeliveryGuarantee.EXACTLY_ONCE.",
            )
            .with_hint("Add 'sink.transactional-id-prefix' = '…' with a name that no other job uses."));
        }
        Ok(Self {
            topics,
            properties,
            value,
            value_schema,
            key,
            startup,
            bounded,
            discovery,
            scan_parallelism: parallelism(&reader, "scan.parallelism")?,
            sink_parallelism: parallelism(&reader, "sink.parallelism")?,
            partitioner: partitioner(&reader, has_key)?,
            flavor,
            buffer_flush: if flavor == Flavor::Upsert { buffer_flush(&reader)? } else { None },
            guarantee,
            id_prefix,
            ignore_expired: reader.boolean("sink.ignore-expired-transactions")?,
        })
    }

    /// Topics for messages and EXPLAIN: `topic=[a, b]` or `topic-pattern=[a.*]`.
    pub(super) fn topic_text(&self) -> String {
        match &self.topics {
            Topics::List(names) => format!("topic=[{}]", names.join(", ")),
            Topics::Pattern(pattern) => format!("topic-pattern=[{}]", plain(pattern)),
        }
    }
}

/// The pattern as written.
pub(super) fn plain(pattern: &Regex) -> &str {
    pattern.as_str().strip_prefix("^(?:").and_then(|p| p.strip_suffix(")$")).unwrap_or(pattern.as_str())
}

fn topics(reader: &OptionReader<'_>) -> Result<Topics> {
    match (reader.list("topic"), reader.get("topic-pattern")) {
        (names, None) if !names.is_empty() => Ok(Topics::List(names.into_iter().map(String::from).collect())),
        (names, Some(pattern)) if names.is_empty() => Regex::new(&format!("^(?:{pattern})$"))
            .map(Topics::Pattern)
            .map_err(|_| Error::user(format!("'topic-pattern' = '{pattern}' is not a regular expression."))),
        (_, Some(_)) => Err(Error::user("Option 'topic' and 'topic-pattern' shouldn't be set together.")),
        (_, None) => Err(Error::user("Either 'topic' or 'topic-pattern' must be set.")
            .with_hint("Add 'topic' = '…' to WITH.")),
    }
}

fn properties(reader: &OptionReader<'_>, table: &TableContext) -> Result<Properties> {
    let group = format!("KafkaSource-{}.{}.{}", table.name.catalog, table.name.database, table.name.object);
    Properties::new(&reader.prefixed("properties."), &group)
}

/// Schema of the value, and the key.
fn key(
    reader: &OptionReader<'_>,
    table: &TableContext,
    format: Option<ChosenFormat>,
    fields: Vec<&str>,
) -> Result<(SchemaRef, Option<Key>)> {
    let prefix = reader.get("key.fields-prefix").unwrap_or("");
    let include = reader.choice("value.fields-include", &["ALL", "EXCEPT_KEY"])?.unwrap_or(0) == 0;
    let Some(format) = format else {
        if !fields.is_empty() {
            return Err(Error::user(
                "The option 'key.fields' can only be declared if a key format is defined using 'key.format'.",
            )
            .with_hint("Add 'key.format' = '…' (the same as 'format' is usual)."));
        }
        return Ok((table.physical.clone(), None));
    };
    if fields.is_empty() {
        return Err(Error::user(
            "A key format 'key.format' requires the declaration of one or more of key fields using 'key.fields'.",
        ));
    }
    if include && !prefix.is_empty() {
        return Err(Error::user(
            "A key prefix is not allowed when option 'value.fields-include' is set to 'ALL'. Set it to 'EXCEPT_KEY' \
             instead to avoid field overlaps.",
        ));
    }
    let mut columns = Vec::with_capacity(fields.len());
    let mut key_fields: Vec<FieldRef> = Vec::with_capacity(fields.len());
    for field in fields {
        let Ok(column) = table.physical.field_with_name(field) else {
            let names = table.physical.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
            return Err(Error::user(format!(
                "Could not find the field '{field}' in the table schema for usage in the key format. A key field must \
                 be a regular, physical column. The following columns can be selected in the 'key.fields' option: [{}].",
                names.join(", ")
            ))
            .with_hint(nearest(field, names).map_or_else(String::new, |n| format!("Did you mean '{n}'?"))));
        };
        let Some(bare) = field.strip_prefix(prefix) else {
            return Err(Error::user(format!(
                "All fields in 'key.fields' must be prefixed with '{prefix}' when option 'key.fields-prefix' is set \
                 but field '{field}' is not prefixed."
            )));
        };
        columns.push(field.to_string());
        key_fields.push(Arc::new(Field::clone(column).with_name(bare)));
    }
    let value_schema = if include {
        table.physical.clone()
    } else {
        let rest = table.physical.fields().iter().filter(|f| !columns.contains(f.name())).cloned();
        Arc::new(Schema::new(rest.collect::<Vec<_>>()))
    };
    Ok((value_schema, Some(Key { format, columns, schema: Arc::new(Schema::new(key_fields)) })))
}

/// `scan.startup.*` or `scan.bounded.*`; `None` for unbounded.
fn point(reader: &OptionReader<'_>, prefix: &str, modes: &[&str], topics: &Topics) -> Result<Option<Point>> {
    let mode = modes[reader.choice(&format!("{prefix}.mode"), modes)?.unwrap_or(0)];
    let which = if prefix.ends_with("startup") { "startup" } else { "bounded" };
    let needed = |key: &str| {
        reader
            .get(key)
            .filter(|v| !v.is_empty())
            .ok_or_else(|| Error::user(format!("'{key}' is required in '{mode}' {which} mode but missing.")))
    };
    Ok(Some(match mode {
        "unbounded" => return Ok(None),
        "earliest-offset" => Point::Earliest,
        "latest-offset" => Point::Latest,
        "group-offsets" => Point::Group,
        "timestamp" => {
            let key = format!("{prefix}.timestamp-millis");
            needed(&key)?;
            Point::Timestamp(reader.number(&key)?.unwrap_or(0))
        }
        _ => {
            let key = format!("{prefix}.specific-offsets");
            let text = needed(&key)?;
            if !matches!(topics, Topics::List(names) if names.len() == 1) {
                return Err(Error::user(
                    "Currently Kafka source only supports specific offset for single topic.",
                )
                .with_hint(format!("Name one topic in 'topic', or use another '{prefix}.mode'.")));
            }
            Point::Offsets(offsets(text).ok_or_else(|| {
                Error::user(format!(
                    "Invalid properties '{key}' should follow the format \
                     'partition:0,offset:42;partition:1,offset:300', but is '{text}'."
                ))
            })?)
        }
    }))
}

fn offsets(text: &str) -> Option<BTreeMap<i32, i64>> {
    let entries = text.split(';').map(str::trim).filter(|e| !e.is_empty());
    let map = entries
        .map(|entry| {
            let (partition, offset) = entry.split_once(',')?;
            let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
            let offset: i64 = offset.trim().strip_prefix("offset:")?.trim().parse().ok()?;
            (partition >= 0 && offset >= 0).then_some((partition, offset))
        })
        .collect::<Option<BTreeMap<_, _>>>()?;
    (!map.is_empty()).then_some(map)
}

fn parallelism(reader: &OptionReader<'_>, key: &str) -> Result<Option<usize>> {
    match reader.number::<usize>(key)? {
        Some(n) if n == 0 || n > MAX_PARALLELISM => {
            Err(Error::user(format!("Option '{key}' takes a number from 1 to {MAX_PARALLELISM}, not {n}.")))
        }
        n => Ok(n),
    }
}

fn partitioner(reader: &OptionReader<'_>, has_key: bool) -> Result<Partitioner> {
    match reader.get("sink.partitioner").unwrap_or("default") {
        "default" => Ok(Partitioner::Default),
        "fixed" => Ok(Partitioner::Fixed),
        "round-robin" if has_key => Err(Error::user(
            "Currently 'round-robin' partitioner only works when option 'key.fields' is not specified.",
        )),
        "round-robin" => Ok(Partitioner::RoundRobin),
        other => {
            Err(Error::user(format!("There is no partitioner '{other}': Runnel cannot load Java classes."))
                .with_hint("Use 'sink.partitioner' = 'default', 'fixed' or 'round-robin'."))
        }
    }
}

/// What only a table of `upsert-kafka` must have.
fn check_upsert(reader: &OptionReader<'_>, table: &TableContext, value: &ChosenFormat) -> Result<()> {
    reader.required("key.format")?;
    if table.primary_key.is_empty() {
        return Err(Error::user(
            "'upsert-kafka' tables require to define a PRIMARY KEY constraint. The PRIMARY KEY specifies which columns \
             should be read from or write to the Kafka message key. The PRIMARY KEY also defines records in the \
             'upsert-kafka' table should update or delete by which keys.",
        )
        .with_hint("Add `PRIMARY KEY (…) NOT ENFORCED` to the columns."));
    }
    if !value.format().changelog().is_append() {
        let name = value.name();
        return Err(Error::user(format!(
            "'upsert-kafka' connector doesn't support '{name}' as value format, because {name} is not in insert-only \
             mode."
        )));
    }
    Ok(())
}

fn buffer_flush(reader: &OptionReader<'_>) -> Result<Option<BufferFlush>> {
    let max_rows = reader.number::<usize>("sink.buffer-flush.max-rows")?.unwrap_or(0);
    let interval_ms = reader.duration_ms("sink.buffer-flush.interval")?.unwrap_or(0);
    match (max_rows, interval_ms) {
        (0, 0) => Ok(None),
        (0, _) | (_, 0) => Err(Error::user(
            "'sink.buffer-flush.max-rows' and 'sink.buffer-flush.interval' must be set to be greater than zero together \
             to enable sink buffer flushing.",
        )),
        (max_rows, interval_ms) => Ok(Some(BufferFlush { max_rows, interval_ms })),
    }
}

fn guarantee(reader: &OptionReader<'_>) -> Result<DeliveryGuarantee> {
    let key = if reader.get("sink.semantic").is_some() { "sink.semantic" } else { "sink.delivery-guarantee" };
    Ok(match reader.choice(key, &["none", "at-least-once", "exactly-once"])? {
        Some(0) => DeliveryGuarantee::None,
        Some(2) => DeliveryGuarantee::ExactlyOnce,
        _ => DeliveryGuarantee::AtLeastOnce,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_flink_writes_them() {
        assert_eq!(
            offsets("partition:0,offset:42;partition:1,offset:300"),
            Some(BTreeMap::from([(0, 42), (1, 300)]))
        );
        assert_eq!(offsets("partition:0, offset:1;"), Some(BTreeMap::from([(0, 1)])));
        for wrong in ["", "0:42", "partition:0", "partition:x,offset:1", "partition:0,offset:-1"] {
            assert_eq!(offsets(wrong), None, "{wrong}");
        }
    }
}
