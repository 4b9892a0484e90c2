//! `OptionReader`: the options of `WITH (…)`, read key by key; what nobody reads is an error with the nearest
//! right key.

use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result, nearest};

/// Reads the options of one table. `help` is the list of all keys that its connector and formats know.
#[derive(Debug)]
pub struct OptionReader<'a> {
    connector: &'a str,
    options: &'a Options,
    help: &'a [OptionHelp],
}

impl<'a> OptionReader<'a> {
    /// Checks that every key is known and every required one is there.
    ///
    /// Errors: an unknown key (with the nearest right one and the list of all), a missing required key.
    pub fn new(connector: &'a str, options: &'a Options, help: &'a [OptionHelp]) -> Result<Self> {
        let known = |key: &str| {
            help.iter().any(|o| match o.key.strip_suffix('*') {
                Some(prefix) => key.starts_with(prefix) && key.len() > prefix.len(),
                None => o.key == key,
            })
        };
        if let Some(key) = options.keys().find(|k| *k != "connector" && !known(k)) {
            let mut keys = help.iter().map(|o| o.key.as_str()).collect::<Vec<_>>();
            keys.sort_unstable();
            let hint = nearest(key, keys.iter().copied())
                .map_or_else(String::new, |n| format!("Did you mean '{n}'?"));
            return Err(Error::user(format!(
                "Unsupported options found for '{connector}'. Unsupported options: {key}. Supported options: {}.",
                keys.join(", ")
            ))
            .with_hint(hint));
        }
        let reader = Self { connector, options, help };
        for option in help.iter().filter(|o| o.required) {
            reader.required(&option.key)?;
        }
        Ok(reader)
    }

    /// The value of `key`, or its default.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.options
            .get(key)
            .map(|v| v.trim())
            .or_else(|| self.help.iter().find(|o| o.key == key).and_then(|o| o.default.as_deref()))
    }

    /// Whether the table itself sets `key`, so that its value is no default.
    pub fn is_set(&self, key: &str) -> bool {
        self.options.contains_key(key)
    }

    /// The value of `key`, which must be set.
    pub fn required(&self, key: &str) -> Result<&'a str> {
        self.get(key).filter(|v| !v.is_empty()).ok_or_else(|| {
            Error::user(format!("A '{}' table needs the option '{key}'.", self.connector))
                .with_hint(format!("Add '{key}' = '…' to WITH."))
        })
    }

    /// A list separated by `;`, without empty entries.
    pub fn list(&self, key: &str) -> Vec<&'a str> {
        let entries = self.get(key).into_iter().flat_map(|v| v.split(';'));
        entries.map(str::trim).filter(|s| !s.is_empty()).collect()
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(v) if v.eq_ignore_ascii_case("true") => Ok(true),
            Some(v) if v.eq_ignore_ascii_case("false") => Ok(false),
            Some(v) => Err(self.wrong(key, v, "true or false")),
        }
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.parse().map(Some).map_err(|_| self.wrong(key, v, "a number")),
        }
    }

    /// A number of parallel tasks, at least 1.
    pub fn parallelism(&self, key: &str) -> Result<Option<usize>> {
        match self.number(key)? {
            Some(0) => Err(self.wrong(key, "0", "a number of at least 1")),
            n => Ok(n),
        }
    }

    /// A duration in milliseconds.
    pub fn duration_ms(&self, key: &str) -> Result<Option<u64>> {
        self.get(key).map(|v| engine::config::parse_duration_ms(v).map_err(|e| e.within(key))).transpose()
    }

    /// A number of bytes: `128 mb`, `1g`, `4096`.
    pub fn bytes(&self, key: &str) -> Result<Option<u64>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" | "bytes" => Some(0),
            "k" | "kb" | "kibibytes" => Some(10),
            "m" | "mb" | "mebibytes" => Some(20),
            "g" | "gb" | "gibibytes" => Some(30),
            "t" | "tb" | "tebibytes" => Some(40),
            _ => None,
        };
        let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
        bytes.map(Some).ok_or_else(|| self.wrong(key, text, "a number of bytes such as '128 mb'"))
    }

    /// One of `words`, in any case; gives its index.
    pub fn choice(&self, key: &str, words: &[&str]) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => words
                .iter()
                .position(|w| w.eq_ignore_ascii_case(v))
                .map(Some)
                .ok_or_else(|| self.wrong(key, v, &format!("one of {}", words.join(", ")))),
        }
    }

    /// All options that start with `prefix`, without it.
    pub fn prefixed(&self, prefix: &str) -> Options {
        self.options
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_string(), v.clone())))
            .collect()
    }

    fn wrong(&self, key: &str, value: &str, wants: &str) -> Error {
        let shown = if catalog::is_secret(key) { "******" } else { value };
        Error::user(format!("Option '{key}' of a '{}' table takes {wants}, not '{shown}'.", self.connector))
    }
}

/// An entry of a connector's option list.
pub fn option(key: &str, default: Option<&str>, required: bool, description: &str) -> OptionHelp {
    OptionHelp {
        key: key.to_string(),
        default: default.map(String::from),
        required,
        description: description.to_string(),
    }
}

/// The option that every source with a watermark takes; the planner reads it.
pub fn idle_timeout_option() -> OptionHelp {
    option(
        "scan.watermark.idle-timeout",
        None,
        false,
        "Time without rows after which a part of the source no longer holds back the watermark.",
    )
}
