//! Settings: the keys of `SET`, their defaults, types and meaning. A value handed down, never a global.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A setting that Runnel reads.
#[derive(Debug, Clone, Copy)]
pub struct ConfigOption {
    /// Key in `SET 'key' = 'value'`, Flink's where Flink has it.
    pub key: &'static str,
    /// Default as text; empty where there is none.
    pub default: &'static str,
    /// How its value is read.
    pub kind: ConfigKind,
    /// One sentence.
    pub description: &'static str,
}

/// How a setting's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number, at least the one given.
    Integer(u64),
    /// `10 s`, `5 min`, `1 h`; a bare number is milliseconds.
    Duration,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A time zone: a region id such as `Europe/Berlin`, or `UTC`, or `GMT+08:00`.
    Zone,
    /// A number of at least 0, perhaps with a fraction.
    Number,
    /// `512 mb`, `2g`; a bare number is bytes.
    Memory,
    /// Any text.
    Text,
}

use ConfigKind::{Boolean, Choice, Duration, Integer, Memory, Number, Text, Zone};

macro_rules! options {
    ($($key:literal = $default:literal, $kind:expr, $description:literal;)*) => {
        /// Every setting that Runnel reads, sorted by key.
        pub const OPTIONS: &[ConfigOption] = &[
            $(ConfigOption { key: $key, default: $default, kind: $kind, description: $description }),*
        ];
    };
}

options! {
    "$internal.execution.latest-checkpoint" = "", Text, "The latest checkpoint of the next job, where it is known; without any, it does not begin from nothing.";
    "$internal.pipeline.job-id" = "", Text, "Id of the next job, 32 hexadecimal digits; it goes on from its latest checkpoint.";
    "execution.checkpointing.interval" = "0 ms", Duration, "Time between the starts of two checkpoints; 0 takes none.";
    "execution.checkpointing.min-pause" = "0 ms", Duration, "Least time between the end of a checkpoint and the start of the next.";
    "execution.checkpointing.mode" = "EXACTLY_ONCE", Choice(&["EXACTLY_ONCE", "AT_LEAST_ONCE"]), "Whether barriers of all inputs are waited for.";
    "execution.checkpointing.num-retained" = "1", Integer(1), "Number of complete checkpoints that are kept.";
    "execution.checkpointing.timeout" = "10 min", Duration, "A checkpoint that takes longer is given up.";
    "execution.checkpointing.tolerable-failed-checkpoints" = "0", Integer(0), "Failed checkpoints in a row that do not fail the job.";
    "execution.runtime-mode" = "streaming", Choice(&["streaming", "batch"]), "Whether results are a changelog, or once at the end of bounded input.";
    "execution.savepoint.ignore-unclaimed-state" = "false", Boolean, "Whether state of the savepoint that no operator claims may be dropped.";
    "execution.savepoint.path" = "", Text, "Savepoint or checkpoint that the next job starts from.";
    "parallelism.default" = "1", Integer(1), "Number of parallel tasks of each operator.";
    "pipeline.auto-watermark-interval" = "200 ms", Duration, "How often sources tell watermarks; 0 tells one with every row.";
    "pipeline.max-parallelism" = "128", Integer(1), "Number of key groups: the most tasks that keyed state can be spread over.";
    "pipeline.name" = "", Text, "Name of the jobs that follow.";
    "restart-strategy.exponential-delay.attempts-before-reset-backoff" = "2147483647", Integer(1), "Restarts before the job fails for good.";
    "restart-strategy.exponential-delay.backoff-multiplier" = "1.5", Number, "The delay grows by this factor with every restart.";
    "restart-strategy.exponential-delay.initial-backoff" = "1 s", Duration, "Delay before the first restart.";
    "restart-strategy.exponential-delay.jitter-factor" = "0.1", Number, "Share of the delay that is added or taken away at random.";
    "restart-strategy.exponential-delay.max-backoff" = "1 min", Duration, "Longest delay before a restart.";
    "restart-strategy.exponential-delay.reset-backoff-threshold" = "1 h", Duration, "Time without a failure after which the delay is the initial one again.";
    "restart-strategy.failure-rate.delay" = "1 s", Duration, "Delay before a restart.";
    "restart-strategy.failure-rate.failure-rate-interval" = "1 min", Duration, "Time in which failures are counted.";
    "restart-strategy.failure-rate.max-failures-per-interval" = "1", Integer(1), "Failures in that time that do not fail the job for good.";
    "restart-strategy.fixed-delay.attempts" = "1", Integer(0), "Restarts before the job fails for good.";
    "restart-strategy.fixed-delay.delay" = "1 s", Duration, "Delay before a restart.";
    "restart-strategy.type" = "", Choice(&["", "none", "off", "disable", "fixed-delay", "fixeddelay", "failure-rate", "failurerate", "exponential-delay", "exponentialdelay"]), "What happens when a job fails; exponential-delay where checkpoints are taken, else none.";
    "sql-client.display.max-column-width" = "30", Integer(4), "Widest column of text in streaming results.";
    "sql-client.execution.max-table-result.rows" = "1000000", Integer(1), "Most rows that a live table keeps; the oldest go first.";
    "sql-client.execution.result-mode" = "table", Choice(&["table", "changelog", "tableau"]), "How results are shown.";
    "state.checkpoints.dir" = "", Text, "Where checkpoints are kept: a directory, file:///… or s3://bucket/….";
    "state.savepoints.dir" = "", Text, "Where savepoints are kept.";
    "table.display.max-column-width" = "30", Integer(4), "Widest column of text in batch results.";
    "table.dml-sync" = "false", Boolean, "Whether INSERT waits for the job's end.";
    "table.dynamic-table-options.enabled" = "true", Boolean, "Whether the OPTIONS hint may be used.";
    "table.exec.async-lookup.buffer-capacity" = "100", Integer(1), "Most requests of an asynchronous lookup that are on their way, of each task.";
    "table.exec.async-lookup.output-mode" = "ORDERED", Choice(&["ORDERED", "ALLOW_UNORDERED"]), "Whether rows of an asynchronous lookup go on in the order in which they came.";
    "table.exec.async-lookup.timeout" = "3 min", Duration, "Longest time that a lookup waits for its answer.";
    "table.exec.mini-batch.allow-latency" = "0 ms", Duration, "Longest time that rows wait for a mini-batch.";
    "table.exec.mini-batch.enabled" = "false", Boolean, "Whether unwindowed aggregates tell changes batch by batch instead of row by row.";
    "table.exec.mini-batch.size" = "-1", Text, "Most rows in a mini-batch.";
    "table.exec.sink.not-null-enforcer" = "error", Choice(&["error", "drop"]), "What a NULL in a NOT NULL column of a sink does.";
    "table.exec.sink.upsert-materialize" = "AUTO", Choice(&["AUTO", "FORCE", "NONE"]), "Whether a sink whose key is not that of the changes gets the last row of each key.";
    "table.exec.source.cdc-events-duplicate" = "false", Boolean, "Whether sources of changes with a primary key may tell a change twice.";
    "table.exec.source.idle-timeout" = "0 ms", Duration, "A split without rows for this long no longer holds back watermarks; 0 is off.";
    "table.exec.state.ttl" = "0 ms", Duration, "Keyed state that was not touched for this long may be forgotten; 0 keeps it.";
    "table.local-time-zone" = "UTC", Zone, "Zone of TIMESTAMP_LTZ values in texts, casts and windows.";
    "table.optimizer.non-deterministic-update.strategy" = "IGNORE", Choice(&["IGNORE", "TRY_RESOLVE"]), "Whether a lookup for updates may find other rows for what is taken back.";
    "taskmanager.memory.managed.size" = "800 mb", Memory, "Memory for keyed state; what is beyond it goes to local disk.";
}

/// Flink's other names of settings: older ones, and the newer ones of 1.20.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("execution.checkpointing.dir", "state.checkpoints.dir"),
    ("execution.checkpointing.savepoint-dir", "state.savepoints.dir"),
    ("execution.state-recovery.ignore-unclaimed-state", "execution.savepoint.ignore-unclaimed-state"),
    ("execution.state-recovery.path", "execution.savepoint.path"),
    ("restart-strategy", "restart-strategy.type"),
    ("state.checkpoints.num-retained", "execution.checkpointing.num-retained"),
];

/// The name under which Runnel knows `key`.
fn canonical(key: &str) -> &str {
    OTHER_NAMES.iter().find(|(other, _)| *other == key).map_or(key, |(_, name)| name)
}

/// The settings of a session: what was set, over the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<String, String>,
}

impl Config {
    /// Sets `key`, which may be another of Flink's names of a setting. A key that Runnel does not read is kept and
    /// has no effect (see [`Config::is_known`]).
    ///
    /// Errors: the value does not suit the key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let key = canonical(key);
        if let Some(option) = option(key) {
            option.check(value)?;
        }
        self.values.insert(key.to_string(), value.to_string());
        Ok(())
    }

    /// Back to the default.
    pub fn reset(&mut self, key: &str) {
        self.values.remove(canonical(key));
    }

    /// All back to their defaults.
    pub fn reset_all(&mut self) {
        self.values.clear();
    }

    /// The setting that `key`, which Runnel does not read, is most likely meant to be: at most two letters differ.
    pub fn misspelt(key: &str) -> Option<&'static str> {
        const MOST_LETTERS: usize = 2;
        let near = OPTIONS.iter().map(|o| (strsim::damerau_levenshtein(key, o.key), o.key)).min()?;
        (1..=MOST_LETTERS).contains(&near.0).then_some(near.1)
    }

    /// Whether Runnel reads `key`.
    pub fn is_known(key: &str) -> bool {
        option(canonical(key)).is_some()
    }

    /// The value set for `key`, or its default; `None` if it is neither set nor known, or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        let key = canonical(key);
        let value = self.values.get(key).map(String::as_str).or_else(|| option(key).map(|o| o.default));
        value.filter(|v| !v.is_empty())
    }

    /// All that was set, sorted by key.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// `parallelism.default`.
    pub fn parallelism(&self) -> usize {
        self.integer("parallelism.default") as usize
    }

    /// `pipeline.max-parallelism`.
    pub fn max_parallelism(&self) -> usize {
        self.integer("pipeline.max-parallelism") as usize
    }

    /// `execution.runtime-mode` is `batch`.
    pub fn is_batch(&self) -> bool {
        self.get("execution.runtime-mode").is_some_and(|v| v.eq_ignore_ascii_case("batch"))
    }

    /// `table.local-time-zone`.
    pub fn zone(&self) -> chrono_tz::Tz {
        self.get("table.local-time-zone").and_then(|v| parse_zone(v).ok()).unwrap_or(chrono_tz::UTC)
    }

    /// `table.exec.source.idle-timeout` in milliseconds; `None` is off.
    pub fn idle_timeout_ms(&self) -> Option<u64> {
        Some(self.duration_ms("table.exec.source.idle-timeout")).filter(|ms| *ms > 0)
    }

    /// `pipeline.auto-watermark-interval` in milliseconds.
    pub fn watermark_interval_ms(&self) -> u64 {
        self.duration_ms("pipeline.auto-watermark-interval")
    }

    /// The value of a known integer key.
    pub fn integer(&self, key: &str) -> u64 {
        self.get(key).and_then(|v| v.trim().parse().ok()).unwrap_or_default()
    }

    /// The value of a known boolean key.
    pub fn boolean(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
    }

    /// The value of a known key for a size of memory, in bytes.
    pub fn bytes(&self, key: &str) -> u64 {
        self.get(key).and_then(|v| parse_bytes(v).ok()).unwrap_or_default()
    }

    /// The value of a known key for a number.
    pub fn number(&self, key: &str) -> f64 {
        self.get(key).and_then(|v| v.trim().parse().ok()).unwrap_or_default()
    }

    /// The value of a known duration key, in milliseconds.
    pub fn duration_ms(&self, key: &str) -> u64 {
        self.get(key).and_then(|v| parse_duration_ms(v).ok()).unwrap_or_default()
    }
}

fn option(key: &str) -> Option<&'static ConfigOption> {
    OPTIONS.iter().find(|o| o.key == key)
}

impl ConfigOption {
    fn check(&self, value: &str) -> Result<()> {
        let v = value.trim();
        let wants = match self.kind {
            Boolean if v.eq_ignore_ascii_case("true") || v.eq_ignore_ascii_case("false") => return Ok(()),
            Boolean => "`true` or `false`".to_string(),
            Integer(least) if v.parse::<u64>().is_ok_and(|n| n >= least) => return Ok(()),
            Integer(least) => format!("a whole number of at least {least}"),
            Duration => return parse_duration_ms(v).map(drop).map_err(|e| e.within(self.key)),
            Choice(words) if words.iter().any(|w| w.eq_ignore_ascii_case(v)) => return Ok(()),
            Choice(words) => format!("one of {}", words.join(", ")),
            Zone => return parse_zone(v).map(drop).map_err(|e| e.within(self.key)),
            Number if v.parse::<f64>().is_ok_and(|n| n.is_finite() && n >= 0.0) => return Ok(()),
            Number => "a number of at least 0".to_string(),
            Memory => return parse_bytes(v).map(drop).map_err(|e| e.within(self.key)),
            Text => return Ok(()),
        };
        Err(Error::user(format!("'{}' takes {wants}, not '{value}'.", self.key)))
    }
}

/// Reads `10 s`, `5 min`, `1h`, `200`, as Flink does; a bare number is milliseconds.
///
/// Errors: no number, or a unit that is none.
pub fn parse_duration_ms(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || {
        Error::user(format!("'{text}' is no duration."))
            .with_hint("Write a number and a unit: 500 ms, 10 s, 5 min, 1 h, 1 d.")
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads `512 mb`, `2g`, `1024`, as Flink does: units are powers of 1024, a bare number is bytes.
///
/// Errors: no number, or a unit that is none.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || {
        Error::user(format!("'{text}' is no size of memory."))
            .with_hint("Write a number and a unit: 512 mb, 2 g.")
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 1,
        "k" | "kb" | "kibibytes" => 1 << 10,
        "m" | "mb" | "mebibytes" => 1 << 20,
        "g" | "gb" | "gibibytes" => 1 << 30,
        "t" | "tb" | "tebibytes" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads a region id, `UTC`, `default`, or `GMT+08:00` with whole hours.
///
/// Errors: no such zone.
pub fn parse_zone(text: &str) -> Result<chrono_tz::Tz> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("default") || text.eq_ignore_ascii_case("Z") {
        return Ok(chrono_tz::UTC);
    }
    let wrong = || {
        Error::user(format!("'{text}' is no time zone that Runnel knows.")).with_hint(
            "Write a region such as 'America/Los_Angeles', 'UTC', or an offset such as 'GMT-08:00'.",
        )
    };
    if let Some(offset) = text.strip_prefix("GMT").filter(|o| !o.is_empty()) {
        let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
        let hours: i32 = hours.parse().map_err(|_| wrong())?;
        if minutes != "00" || hours.abs() > 14 {
            return Err(wrong());
        }
        // The Etc zones have their signs the other way round.
        return format!("Etc/GMT{:+}", -hours).parse().map_err(|_| wrong());
    }
    text.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_are_known_by_two_letters() {
        assert_eq!(Config::misspelt("parallelism.defualt"), Some("parallelism.default"));
        assert_eq!(Config::misspelt("table.exec.state.tll"), Some("table.exec.state.ttl"));
        assert_eq!(Config::misspelt("parallelism.default"), None);
        assert_eq!(Config::misspelt("table.optimizer.join-reorder-enabled"), None);
    }

    #[test]
    fn flinks_other_names_mean_the_same_setting() {
        let mut config = Config::default();
        config.set("restart-strategy", "fixed-delay").unwrap();
        config.set("state.checkpoints.num-retained", "3").unwrap();
        assert_eq!(config.get("restart-strategy.type"), Some("fixed-delay"));
        assert_eq!(config.integer("execution.checkpointing.num-retained"), 3);
        assert!(config.set("state.checkpoints.num-retained", "0").is_err(), "checked like the other name");
        assert!(Config::is_known("execution.state-recovery.path"));
        config.reset("restart-strategy");
        assert_eq!(config.get("restart-strategy.type"), None);
        for (other, name) in OTHER_NAMES {
            assert!(option(name).is_some() && option(other).is_none(), "{other}");
        }
    }

    #[test]
    fn keys_are_sorted_and_defaults_are_valid() {
        assert!(OPTIONS.is_sorted_by_key(|o| o.key));
        for option in OPTIONS.iter().filter(|o| !o.default.is_empty()) {
            option.check(option.default).unwrap();
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("1min", 60_000), ("10 s", 10_000), ("250", 250), ("1 d", 86_400_000)] {
            assert_eq!(parse_duration_ms(text).unwrap(), ms, "{text}");
        }
        for text in ["", "s", "-1 s", "1 fortnight", "99999999999999999 d"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512mb", 512 << 20), ("2 g", 2 << 30), ("77", 77), ("1 kb", 1024)] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        assert!(parse_bytes("many").is_err() && parse_bytes("1 tub").is_err());
    }

    #[test]
    fn zones() {
        assert_eq!(parse_zone("Asia/Shanghai").unwrap(), chrono_tz::Asia::Shanghai);
        assert_eq!(parse_zone("GMT+08:00").unwrap(), chrono_tz::Etc::GMTMinus8);
        assert!(parse_zone("UTC+8").is_err());
    }

    #[test]
    fn wrong_values_say_what_is_wanted() {
        let error = Config::default().set("parallelism.default", "0").unwrap_err();
        assert_eq!(error.message(), "'parallelism.default' takes a whole number of at least 1, not '0'.");
    }
}
