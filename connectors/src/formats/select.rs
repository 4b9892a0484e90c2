//! `ChosenFormat`: the format that a table's options name, with its own options cut out. For every connector that
//! reads or writes bytes.

use super::{Decoder, Encoder, FORMATS, Format, format};
use crate::options::option;
use arrow::datatypes::SchemaRef;
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result};

/// A format and the options that a table gave it.
#[derive(Clone)]
pub struct ChosenFormat {
    format: &'static dyn Format,
    options: Options,
    key: String,
    prefix: String,
}

impl std::fmt::Debug for ChosenFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChosenFormat").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// The format that the first set key of `keys` names: `["format"]`, `["value.format", "format"]` or
/// `["key.format"]`. Its options are those that start with what stands before `format` in that key, the
/// format's name and a dot: `json.…`, `value.json.…`. `None` if no key is set.
///
/// Errors: two of the keys are set; there is no such format.
pub fn choose(connector: &str, options: &Options, keys: &[&str]) -> Result<Option<ChosenFormat>> {
    let mut set = keys.iter().filter_map(|k| Some((*k, options.get(*k)?.trim())));
    let Some((key, name)) = set.next() else { return Ok(None) };
    if let Some((other, _)) = set.next() {
        return Err(Error::user(format!(
            "A '{connector}' table takes either '{key}' or '{other}', not both: they mean the same."
        )));
    }
    let format = format(name).map_err(|e| e.within(format!("'{key}'")))?;
    let slot = key.strip_suffix("format").unwrap_or_default();
    let prefix = format!("{slot}{}.", format.name());
    let own = options.iter().filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_string(), v.clone())));
    Ok(Some(ChosenFormat { format, options: own.collect(), key: key.to_string(), prefix }))
}

/// As [`choose`], where the table cannot do without.
///
/// Errors: as `choose`, and if no key is set.
pub fn require(connector: &str, options: &Options, keys: &[&str]) -> Result<ChosenFormat> {
    choose(connector, options, keys)?.ok_or_else(|| {
        let names = FORMATS.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
        let key = keys.last().copied().unwrap_or("format");
        Error::user(format!("A '{connector}' table needs the option '{key}'."))
            .with_hint(format!("Add '{key}' = 'json' to WITH. There are: {names}."))
    })
}

/// Options of all formats behind `slot` (``, `key.` or `value.`), for a connector's list of all options.
pub fn all_help(slot: &str) -> Vec<OptionHelp> {
    FORMATS.iter().flat_map(|f| prefixed(*f, &format!("{slot}{}.", f.name()))).collect()
}

fn prefixed(format: &dyn Format, prefix: &str) -> Vec<OptionHelp> {
    let own = format.options().into_iter();
    own.map(|o| OptionHelp { key: format!("{prefix}{}", o.key), required: false, ..o }).collect()
}

impl ChosenFormat {
    /// Value of the `format` option.
    pub fn name(&self) -> &'static str {
        self.format.name()
    }

    /// The format itself.
    pub fn format(&self) -> &'static dyn Format {
        self.format
    }

    /// Its options, without prefix.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The key that chose it and its options with their prefix, for the list of keys that this table knows.
    pub fn help(&self) -> Vec<OptionHelp> {
        let mut help = prefixed(self.format, &self.prefix);
        help.push(option(&self.key, None, true, "Format of the bytes."));
        help
    }

    /// Checks the options and that the format can hold the columns of `schema`.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        self.format.check(&self.options, schema)
    }

    /// How records are told apart in a file.
    pub fn framing(&self) -> Result<super::Framing> {
        self.format.framing(&self.options)
    }

    /// See [`Format::decoder`].
    pub fn decoder(
        &self,
        projection: SchemaRef,
        declared: SchemaRef,
        zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>> {
        self.format.decoder(&self.options, projection, declared, zone)
    }

    /// See [`Format::encoder`].
    pub fn encoder(&self, schema: SchemaRef, zone: chrono_tz::Tz) -> Result<Box<dyn Encoder>> {
        self.format.encoder(&self.options, schema, zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn each_slot_has_its_own_options() {
        let table = options(&[
            ("key.format", "json"),
            ("key.json.ignore-parse-errors", "true"),
            ("value.format", "json"),
            ("json.ignore-parse-errors", "no"),
        ]);
        let key = require("kafka", &table, &["key.format"]).unwrap();
        assert_eq!(key.options(), &options(&[("ignore-parse-errors", "true")]));
        let value = require("kafka", &table, &["value.format", "format"]).unwrap();
        assert!(value.options().is_empty());
        assert!(value.help().iter().any(|o| o.key == "value.json.ignore-parse-errors"));
    }

    #[test]
    fn unknown_and_missing_formats_are_told() {
        let error = require("kafka", &options(&[("format", "jsn")]), &["format"]).unwrap_err();
        assert!(error.message().contains("'jsn'"), "{error}");
        assert!(error.hint().unwrap().contains("json"));
        let error = require("kafka", &Options::new(), &["value.format", "format"]).unwrap_err();
        assert_eq!(error.message(), "A 'kafka' table needs the option 'format'.");
        let both = options(&[("format", "json"), ("value.format", "json")]);
        assert!(choose("kafka", &both, &["value.format", "format"]).is_err());
    }
}
