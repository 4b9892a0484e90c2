//! Options of tables that are looked up: what is kept of answers, and when a table that is kept as a whole is read again.

use crate::options::{OptionReader, option};
use chrono::{DateTime, FixedOffset, NaiveTime, Offset, TimeZone, Timelike};
use engine::connector::{OptionHelp, PartialCache, Reload, TableContext};
use engine::error::{Error, Result};

const RELOAD_STRATEGY: &str = "lookup.full-cache.reload-strategy";
const INTERVAL: &str = "lookup.full-cache.periodic-reload.interval";
const SCHEDULE: &str = "lookup.full-cache.periodic-reload.schedule-mode";
const ISO_TIME: &str = "lookup.full-cache.timed-reload.iso-time";
const DAYS: &str = "lookup.full-cache.timed-reload.interval-in-days";

/// Options of `lookup.cache` = `FULL`.
#[rustfmt::skip]
pub fn full_options() -> Vec<OptionHelp> {
    vec![
        option(RELOAD_STRATEGY, Some("PERIODIC"), false, "When a table that is kept as a whole is read again: `PERIODIC` or `TIMED`."),
        option(INTERVAL, None, false, "`PERIODIC`: time between two readings; without it the table is read once."),
        option(SCHEDULE, Some("FIXED_DELAY"), false, "`PERIODIC`: whether the interval counts from the end (`FIXED_DELAY`) or the start (`FIXED_RATE`) of a reading."),
        option(ISO_TIME, None, false, "`TIMED`: time of day of a reading, such as `10:15`, `10:15:00Z` or `10:15+07:00`; without an offset in `table.local-time-zone`."),
        option(DAYS, Some("1"), false, "`TIMED`: days between two readings."),
    ]
}

/// Options of `lookup.cache` = `PARTIAL`.
#[rustfmt::skip]
pub fn partial_options() -> Vec<OptionHelp> {
    vec![
        option("lookup.partial-cache.max-rows", None, false, "`PARTIAL`: most keys whose rows each task keeps; the one that was not used for longest goes first."),
        option("lookup.partial-cache.expire-after-write", None, false, "`PARTIAL`: time after which a key is asked for again."),
        option("lookup.partial-cache.expire-after-access", None, false, "`PARTIAL`: time without use after which a key is forgotten."),
        option("lookup.partial-cache.cache-missing-key", Some("true"), false, "`PARTIAL`: whether it is kept too that a key has no rows."),
    ]
}

/// When the table is read again.
///
/// Errors: values that are none; options of the other strategy alone.
pub fn reload(options: &OptionReader, table: &TableContext) -> Result<Reload> {
    let days: i64 = options.number(DAYS)?.unwrap_or(1);
    let at = options.get(ISO_TIME).map(|text| time_of_day(text, table)).transpose()?;
    let interval = options.duration_ms(INTERVAL)?;
    let fixed_rate = options.choice(SCHEDULE, &["FIXED_DELAY", "FIXED_RATE"])? == Some(1);
    if options.choice(RELOAD_STRATEGY, &["PERIODIC", "TIMED"])? == Some(1) {
        let Some(at_ms) = at else {
            return Err(Error::user(format!("'{RELOAD_STRATEGY}' = 'TIMED' needs '{ISO_TIME}'."))
                .with_hint(format!("Add '{ISO_TIME}' = '03:00' to WITH.")));
        };
        if days < 1 {
            return Err(Error::user(format!("Option '{DAYS}' must be at least 1, not {days}.")));
        }
        return Ok(Reload::Daily { at_ms, days });
    }
    match interval {
        None => Ok(Reload::Never),
        Some(0) => Err(Error::user(format!("Option '{INTERVAL}' must be longer than 0."))
            .with_hint("Leave it out to read the table once.")),
        Some(ms) => Ok(Reload::Every { interval_ms: i64::try_from(ms).unwrap_or(i64::MAX), fixed_rate }),
    }
}

/// What is kept of answers.
///
/// Errors: values that are none; no limit at all, in Flink's words.
pub fn partial(options: &OptionReader) -> Result<PartialCache> {
    let cache = PartialCache {
        max_keys: options.number("lookup.partial-cache.max-rows")?,
        expire_after_write_ms: options.duration_ms("lookup.partial-cache.expire-after-write")?,
        expire_after_access_ms: options.duration_ms("lookup.partial-cache.expire-after-access")?,
        missing_keys: options.boolean("lookup.partial-cache.cache-missing-key")?,
    };
    let limits = [cache.max_keys, cache.expire_after_write_ms, cache.expire_after_access_ms];
    if limits.iter().all(Option::is_none) {
        return Err(Error::user(
            "Missing 'lookup.partial-cache.expire-after-access', 'lookup.partial-cache.expire-after-write' or \
             'lookup.partial-cache.max-rows' in the configuration. The cache will not have evictions under this \
             configuration and could lead to potential memory issues as the cache size may grow indefinitely.",
        )
        .with_hint("Add 'lookup.partial-cache.max-rows' = '10000' to WITH."));
    }
    Ok(cache)
}

/// Milliseconds after midnight UTC of `10:15`, `10:15:30`, `10:15Z`, `10:15+07:00`.
fn time_of_day(text: &str, table: &TableContext) -> Result<i64> {
    let wrong = || {
        Error::user(format!("Option '{ISO_TIME}' is no time of day: '{text}'."))
            .with_hint("Write '10:15', '10:15:00Z' or '10:15+07:00'.")
    };
    let zone_at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (time, zone) = text.split_at(zone_at);
    let time = NaiveTime::parse_from_str(time, "%H:%M:%S")
        .or_else(|_| NaiveTime::parse_from_str(time, "%H:%M"))
        .map_err(|_| wrong())?;
    let offset_seconds = match zone {
        "" => {
            let now = DateTime::from_timestamp_millis(table.clock.now_ms()).ok_or_else(wrong)?;
            table.zone.offset_from_utc_datetime(&now.naive_utc()).fix().local_minus_utc()
        }
        "Z" | "z" => 0,
        offset => offset.parse::<FixedOffset>().map_err(|_| wrong())?.local_minus_utc(),
    };
    let seconds = i64::from(time.num_seconds_from_midnight()) - i64::from(offset_seconds);
    Ok(seconds.rem_euclid(86_400) * 1000)
}
