//! `filesystem`: files of lines, read and written.

#[cfg(test)]
mod crash_tests;
mod path;
mod pending;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use crate::formats::select;
use crate::lookup;
use crate::options::{OptionReader, idle_timeout_option, option};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use engine::connector::{Connector, Lookup, OptionHelp, Sink, Source, TableContext};
use engine::error::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// The connector.
#[derive(Debug)]
pub struct Filesystem;

const DEFAULT_PARTITION: &str = "__DEFAULT_PARTITION__";

#[rustfmt::skip]
fn own_options() -> Vec<OptionHelp> {
    let mut options = vec![
        option("path", None, true, "Directory of the table's files, or for reading one file: a path or a `file:` URL. All files below it are read, those whose names begin with `.` or `_` excepted."),
        option("source.monitor-interval", None, false, "How often the directory is looked through for new files; without it, the table ends when all files there were at the start are read."),
        option("source.path.regex-pattern", None, false, "Regular expression that the absolute path of a file must match as a whole to be read."),
        option("scan.parallelism", None, false, "Number of parallel readers."),
        idle_timeout_option(),
        option("partition.default-name", Some(DEFAULT_PARTITION), false, "Folder for rows whose partition column is NULL or empty."),
        option("sink.rolling-policy.file-size", Some("128MB"), false, "Size at which a file is finished and the next begun."),
        option("sink.rolling-policy.rollover-interval", Some("30 min"), false, "Age at which a file is finished."),
        option("sink.rolling-policy.inactivity-interval", Some("30 min"), false, "Time without rows after which a file is finished."),
        option("sink.rolling-policy.check-interval", Some("1 min"), false, "Accepted for Flink's sake: files are checked whenever rows come, and every second."),
        option("sink.partition-commit.policy.kind", None, false, "`success-file` puts an empty file into each partition folder when the job has ended."),
        option("sink.partition-commit.success-file.name", Some("_SUCCESS"), false, "Name of that file."),
        option("sink.partition-commit.trigger", Some("process-time"), false, "Only `process-time`: partitions are committed when the job has ended."),
        option("sink.partition-commit.delay", Some("0 s"), false, "Accepted for Flink's sake, see `sink.partition-commit.trigger`."),
        option("auto-compaction", Some("false"), false, "Only `false`: files are not merged."),
        option("sink.shuffle-by-partition.enable", Some("false"), false, "Accepted for Flink's sake, without effect."),
        option("sink.parallelism", None, false, "Number of parallel writers."),
        option("lookup.cache", Some("FULL"), false, "Only `FULL`: a table that is looked up is read as a whole by each task, and kept."),
    ];
    options.extend(lookup::full_options());
    options
}

impl Connector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn options(&self) -> Vec<OptionHelp> {
        let mut help = own_options();
        help.push(option("format", None, true, "Format of the files."));
        help.extend(select::all_help(""));
        help
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(self.reading(table)?))
    }

    fn lookup(&self, table: &TableContext) -> Result<Option<Lookup>> {
        // A table that is looked up is read to its end, again and again.
        let source = source::FilesystemSource { monitor: None, ..self.reading(table)? };
        if !source.changelog().is_append() {
            return Err(Error::unsupported(
                format!("Looking up a table with 'format' = '{}'", source.format.name()),
                "Use a format of inserts: json or csv.",
            ));
        }
        let help = self.help(table)?;
        let reload = lookup::reload(&OptionReader::new(self.name(), &table.options, &help)?, table)?;
        Ok(Some(Lookup::Full { table: Arc::new(source), reload }))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        self.writing(table)
    }
}

impl Filesystem {
    /// All options of the table, its format's included.
    fn help(&self, table: &TableContext) -> Result<Vec<OptionHelp>> {
        let mut help = own_options();
        help.extend(select::require(self.name(), &table.options, &["format"])?.help());
        Ok(help)
    }

    fn reading(&self, table: &TableContext) -> Result<source::FilesystemSource> {
        let format = select::require(self.name(), &table.options, &["format"])?;
        let mut help = own_options();
        help.extend(format.help());
        let options = OptionReader::new(self.name(), &table.options, &help)?;
        check_sink(&options)?;
        check_lookup(&options)?;
        let stored = stored_columns(table)?;
        format.check(&stored)?;
        let pattern = options.get("source.path.regex-pattern").map(|text| {
            // Java's `matches` wants the whole path.
            regex::Regex::new(&format!("^(?:{text})$")).map_err(|e| {
                Error::user(format!("Option 'source.path.regex-pattern' is no regular expression: {e}."))
            })
        });
        let monitor = options.duration_ms("source.monitor-interval")?;
        if monitor == Some(0) {
            return Err(Error::user("Option 'source.monitor-interval' must be longer than 0.")
                .with_hint("Leave it out to read the files that are there and end."));
        }
        Ok(source::FilesystemSource {
            path: path::local(options.required("path")?)?,
            pattern: pattern.transpose()?,
            monitor: monitor.map(Duration::from_millis),
            parallelism: options.parallelism("scan.parallelism")?,
            default_partition: options.get("partition.default-name").unwrap_or(DEFAULT_PARTITION).to_string(),
            format,
            stored,
            partitioned_by: table.partitioned_by.clone(),
            metadata: table.metadata.clone(),
            zone: table.zone,
        })
    }

    fn writing(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        let format = select::require(self.name(), &table.options, &["format"])?;
        let mut help = own_options();
        help.extend(format.help());
        let options = OptionReader::new(self.name(), &table.options, &help)?;
        let stored = stored_columns(table)?;
        format.check(&stored)?;
        let success_file = check_sink(&options)?;
        Ok(Arc::new(sink::FilesystemSink {
            path: path::local(options.required("path")?)?,
            format,
            stored,
            partitioned_by: table.partitioned_by.clone(),
            default_partition: options.get("partition.default-name").unwrap_or(DEFAULT_PARTITION).to_string(),
            zone: table.zone,
            rolling: sink::Rolling {
                bytes: options.bytes("sink.rolling-policy.file-size")?.unwrap_or(u64::MAX).max(1),
                age_ms: interval(&options, "sink.rolling-policy.rollover-interval")?,
                silence_ms: interval(&options, "sink.rolling-policy.inactivity-interval")?,
            },
            success_file,
            parallelism: options.parallelism("sink.parallelism")?,
            lineage: Default::default(),
        }))
    }
}

/// Only the whole table is kept.
fn check_lookup(options: &OptionReader) -> Result<()> {
    match options.choice("lookup.cache", &["FULL", "NONE", "PARTIAL"])? {
        Some(1 | 2) => Err(Error::unsupported(
            "'lookup.cache' = 'NONE' or 'PARTIAL' of a 'filesystem' table",
            "Leave it out: files are read as a whole, and kept.",
        )),
        _ => Ok(()),
    }
}

fn interval(options: &OptionReader, key: &str) -> Result<i64> {
    Ok(options.duration_ms(key)?.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(i64::MAX))
}

/// Reads the options of the sink that are not simply values. Gives the name of the success file, if one is wanted.
fn check_sink(options: &OptionReader) -> Result<Option<String>> {
    if options.boolean("auto-compaction")? {
        return Err(Error::unsupported(
            "'auto-compaction' = 'true'",
            "Leave it out; 'sink.rolling-policy.file-size' sets how large files become.",
        ));
    }
    if options.choice("sink.partition-commit.trigger", &["process-time", "partition-time"])? == Some(1) {
        return Err(Error::unsupported(
            "'sink.partition-commit.trigger' = 'partition-time'",
            "Leave it out; partitions are committed when the job has ended.",
        ));
    }
    options.duration_ms("sink.partition-commit.delay")?;
    options.duration_ms("sink.rolling-policy.check-interval")?;
    options.boolean("sink.shuffle-by-partition.enable")?;
    match options.get("sink.partition-commit.policy.kind") {
        None => Ok(None),
        Some("success-file") => Ok(options.get("sink.partition-commit.success-file.name").map(String::from)),
        Some(other) => Err(Error::unsupported(
            format!("'sink.partition-commit.policy.kind' = '{other}'"),
            "There is: success-file.",
        )),
    }
}

/// The physical columns that are in the files: all but the partition columns, whose values are in the folders' names.
fn stored_columns(table: &TableContext) -> Result<SchemaRef> {
    for name in &table.partitioned_by {
        if table.physical.index_of(name).is_err() {
            return Err(Error::user(format!(
                "PARTITIONED BY names `{name}`, which is no column of the table."
            )));
        }
    }
    let fields = table.physical.fields().iter().filter(|f| !table.partitioned_by.contains(f.name()));
    Ok(Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>())))
}

/// Metadata keys that can be read.
fn metadata() -> Vec<(String, FieldRef)> {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    [
        ("file.path", DataType::Utf8),
        ("file.name", DataType::Utf8),
        ("file.size", DataType::Int64),
        ("file.modification-time", time),
    ]
    .into_iter()
    .map(|(key, t)| (key.to_string(), Arc::new(Field::new(key, t, false))))
    .collect()
}
