//! `jdbc`: tables of PostgreSQL, read, looked up and written, with the options of Flink's connector of that name.

mod client;
mod lookup;
mod scan;
mod sink;
mod table;
mod target;
mod tls;
mod types;

use crate::lookup as cache;
use crate::options::{OptionReader, idle_timeout_option, option};
use engine::connector::{Connector, Lookup, OptionHelp, PartialCache, Sink, Source, TableContext};
use engine::error::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use table::RemoteTable;

/// The connector.
#[derive(Debug)]
pub struct Jdbc;

const PARTITION: [&str; 4] = [
    "scan.partition.column",
    "scan.partition.num",
    "scan.partition.lower-bound",
    "scan.partition.upper-bound",
];

#[rustfmt::skip]
fn options() -> Vec<OptionHelp> {
    let mut all = vec![
        option("url", None, true, "`jdbc:postgresql://host:5432/database`, with parameters such as `?sslmode=verify-full`."),
        option("table-name", None, true, "Name of the table in the database, perhaps with its schema: `schema.table`."),
        option("driver", None, false, "Accepted for Flink's sake: only `org.postgresql.Driver`."),
        option("username", None, false, "User of the database."),
        option("password", None, false, "Password; shown nowhere."),
        option("connection.max-retry-timeout", Some("60 s"), false, "Longest time that connecting takes."),
        option("scan.partition.column", None, false, "A number by whose values the table is read in parts. Rows beyond the bounds are not read."),
        option("scan.partition.num", None, false, "Number of parts."),
        option("scan.partition.lower-bound", None, false, "Least value of the first part."),
        option("scan.partition.upper-bound", None, false, "Greatest value of the last part."),
        option("scan.fetch-size", Some("0"), false, "Accepted for Flink's sake: rows are streamed, and no more than a batch is held."),
        option("scan.auto-commit", Some("true"), false, "Accepted for Flink's sake, see `scan.fetch-size`."),
        idle_timeout_option(),
        option("lookup.cache", Some("NONE"), false, "What is kept of rows that are looked up: `NONE`, `PARTIAL` (by key) or `FULL` (the whole table)."),
        option("lookup.max-retries", Some("3"), false, "How often a lookup is tried again when the connection fails."),
    ];
    all.extend(cache::partial_options());
    all.extend(cache::full_options());
    all.extend([
        option("lookup.cache.max-rows", None, false, "Flink's old name: with `lookup.cache.ttl`, `PARTIAL` with `lookup.partial-cache.max-rows`."),
        option("lookup.cache.ttl", None, false, "Flink's old name of `lookup.partial-cache.expire-after-write`."),
        option("lookup.cache.caching-missing-key", Some("true"), false, "Flink's old name of `lookup.partial-cache.cache-missing-key`."),
        option("sink.buffer-flush.max-rows", Some("100"), false, "Rows that are written together; `0` sets no number."),
        option("sink.buffer-flush.interval", Some("1 s"), false, "Longest time that rows wait; `0` waits for a checkpoint."),
        option("sink.max-retries", Some("3"), false, "How often writing is tried again when the connection fails."),
        option("sink.parallelism", None, false, "Number of parallel writers."),
    ]);
    all
}

impl Connector for Jdbc {
    fn name(&self) -> &'static str {
        "jdbc"
    }

    fn options(&self) -> Vec<OptionHelp> {
        options()
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        let help = options();
        let options = self.checked(table, &help)?;
        Ok(Arc::new(scan_of(&options, table)?))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        let help = options();
        let options = self.checked(table, &help)?;
        Ok(Arc::new(sink::JdbcSink {
            table: remote(&options)?,
            primary_key: table.primary_key.clone(),
            max_rows: options.number("sink.buffer-flush.max-rows")?.unwrap_or(100),
            interval_ms: options.duration_ms("sink.buffer-flush.interval")?.unwrap_or(1000),
            max_retries: retries(&options, "sink.max-retries")?,
            parallelism: options.parallelism("sink.parallelism")?,
        }))
    }

    fn lookup(&self, table: &TableContext) -> Result<Option<Lookup>> {
        let help = options();
        let options = self.checked(table, &help)?;
        let kept = match options.choice("lookup.cache", &["NONE", "PARTIAL", "FULL"])? {
            Some(1) => Some(cache::partial(&options)?),
            Some(2) => {
                let reload = cache::reload(&options, table)?;
                return Ok(Some(Lookup::Full { table: Arc::new(scan_of(&options, table)?), reload }));
            }
            _ => old_cache(&options)?,
        };
        let by_key = lookup::JdbcLookup {
            table: remote(&options)?,
            max_retries: retries(&options, "lookup.max-retries")?,
        };
        Ok(Some(Lookup::ByKey { table: Arc::new(by_key), cache: kept }))
    }
}

impl Jdbc {
    /// The options of `table`, of which those that hold together are checked together.
    fn checked<'a>(&'a self, table: &'a TableContext, help: &'a [OptionHelp]) -> Result<OptionReader<'a>> {
        let options = OptionReader::new(self.name(), &table.options, help)?;
        if let Some(driver) = options.get("driver")
            && driver != "org.postgresql.Driver"
        {
            return Err(Error::unsupported(
                format!("'driver' = '{driver}'"),
                "Leave it out: a 'jdbc' table is one of PostgreSQL, and needs no Java.",
            ));
        }
        together(&options, &["username", "password"])?;
        together(&options, &PARTITION)?;
        together(&options, &["lookup.cache.max-rows", "lookup.cache.ttl"])?;
        remote(&options)?;
        retries(&options, "sink.max-retries")?;
        retries(&options, "lookup.max-retries")?;
        options.number::<u32>("scan.fetch-size")?;
        options.boolean("scan.auto-commit")?;
        types::types_of(table.physical.fields())?;
        if let Some((key, _)) = table.metadata.first() {
            return Err(Error::user(format!("A 'jdbc' table has no metadata key '{key}'."))
                .with_hint("Leave the METADATA column out."));
        }
        Ok(options)
    }
}

/// Errors unless all or none of `keys` are set.
fn together(options: &OptionReader, keys: &[&str]) -> Result<()> {
    let set = keys.iter().filter(|k| options.is_set(k)).count();
    if set == 0 || set == keys.len() {
        return Ok(());
    }
    let missing: Vec<&str> = keys.iter().filter(|k| !options.is_set(k)).copied().collect();
    Err(Error::user(format!(
        "Either all or none of the following options should be provided: {}.",
        keys.join(", ")
    ))
    .with_hint(format!("Add {} to WITH.", missing.join(", "))))
}

fn retries(options: &OptionReader, key: &str) -> Result<u32> {
    let number: i64 = options.number(key)?.unwrap_or(3);
    u32::try_from(number).map_err(|_| {
        Error::user(format!("The value of '{key}' option shouldn't be negative, but is {number}."))
            .with_hint("0 does not try again.")
    })
}

fn remote(options: &OptionReader) -> Result<RemoteTable> {
    let timeout =
        Duration::from_millis(options.duration_ms("connection.max-retry-timeout")?.unwrap_or(60_000));
    let target =
        target::parse(options.required("url")?, options.get("username"), options.get("password"), timeout)?;
    Ok(RemoteTable { target: Arc::new(target), name: options.required("table-name")?.to_string() })
}

fn scan_of(options: &OptionReader, table: &TableContext) -> Result<scan::JdbcSource> {
    let number = |key: &str| Ok::<i64, Error>(options.number(key)?.unwrap_or_default());
    let partitions = match options.get("scan.partition.column") {
        None => None,
        Some(column) => {
            let [_, count, lower, upper] = PARTITION;
            let parts = scan::Partitions {
                column: column.to_string(),
                count: number(count)?,
                lower: number(lower)?,
                upper: number(upper)?,
            };
            if parts.lower > parts.upper {
                return Err(Error::user(format!(
                    "'scan.partition.lower-bound'='{}' must not be larger than 'scan.partition.upper-bound'='{}'.",
                    parts.lower, parts.upper
                )));
            }
            if parts.count < 1 {
                return Err(Error::user("'scan.partition.num' must be at least 1."));
            }
            Some(parts)
        }
    };
    Ok(scan::JdbcSource { table: remote(options)?, primary_key: table.primary_key.clone(), partitions })
}

/// The cache under Flink's old names.
fn old_cache(options: &OptionReader) -> Result<Option<PartialCache>> {
    let (Some(max), Some(ttl)) =
        (options.number("lookup.cache.max-rows")?, options.duration_ms("lookup.cache.ttl")?)
    else {
        return Ok(None);
    };
    Ok(Some(PartialCache {
        max_keys: Some(max),
        expire_after_write_ms: Some(ttl),
        expire_after_access_ms: None,
        missing_keys: options.boolean("lookup.cache.caching-missing-key")?,
    }))
}
