//! `json`: one JSON object a record, by column names; a top-level array is a row for each element.

mod cursor;
mod decoder;
mod encoder;
mod keys;
mod scan;
#[cfg(test)]
mod tests;

pub(super) use encoder::write_timestamp;
pub(super) use keys::KeyOrder;

use super::{Decoder, Encoder, Format};
use crate::options::option;
use arrow::datatypes::{DataType, Field, SchemaRef};
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result};

/// The format.
#[derive(Debug)]
pub struct Json;

/// How timestamps are written, `timestamp-format.standard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampFormat {
    /// `2020-01-01 00:00:00.1`, with `Z` for TIMESTAMP_LTZ.
    Sql,
    /// `2020-01-01T00:00:00.1`, with `Z` for TIMESTAMP_LTZ.
    Iso8601,
}

/// What a map's NULL key becomes, `map-null-key.mode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MapNullKey {
    /// An error.
    Fail,
    /// The entry is left out.
    Drop,
    /// This text.
    Literal(String),
}

/// All options, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonOptions {
    pub fail_on_missing_field: bool,
    pub ignore_parse_errors: bool,
    pub timestamps: TimestampFormat,
    pub map_null_key: MapNullKey,
    pub plain_decimals: bool,
    pub ignore_null_fields: bool,
}

impl JsonOptions {
    /// Reads `options`, without the `json.` prefix.
    pub fn read(options: &Options) -> Result<Self> {
        let help = Json.options();
        let reader = crate::options::OptionReader::new("json", options, &help)?;
        let timestamps = match reader.choice("timestamp-format.standard", &["SQL", "ISO-8601"])? {
            Some(1) => TimestampFormat::Iso8601,
            _ => TimestampFormat::Sql,
        };
        let map_null_key = match reader.choice("map-null-key.mode", &["FAIL", "DROP", "LITERAL"])? {
            Some(1) => MapNullKey::Drop,
            Some(2) => MapNullKey::Literal(reader.get("map-null-key.literal").unwrap_or("null").to_string()),
            _ => MapNullKey::Fail,
        };
        reader.boolean("decode.json-parser.enabled")?;
        let read = Self {
            fail_on_missing_field: reader.boolean("fail-on-missing-field")?,
            ignore_parse_errors: reader.boolean("ignore-parse-errors")?,
            timestamps,
            map_null_key,
            plain_decimals: reader.boolean("encode.decimal-as-plain-number")?,
            ignore_null_fields: reader.boolean("encode.ignore-null-fields")?,
        };
        if read.fail_on_missing_field && read.ignore_parse_errors {
            return Err(Error::user(
                "'json.fail-on-missing-field' and 'json.ignore-parse-errors' cannot both be true.",
            )
            .with_hint("Leave one of them out."));
        }
        Ok(read)
    }
}

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn options(&self) -> Vec<OptionHelp> {
        vec![
            option(
                "fail-on-missing-field",
                Some("false"),
                false,
                "Whether a record without one of the columns is an error; otherwise the column is NULL.",
            ),
            option(
                "ignore-parse-errors",
                Some("false"),
                false,
                "Whether a value that does not fit its column becomes NULL, and a record that is not JSON is skipped and counted; otherwise the job fails.",
            ),
            option(
                "timestamp-format.standard",
                Some("SQL"),
                false,
                "`SQL` (`2020-01-01 12:00:00.123`) or `ISO-8601` (`2020-01-01T12:00:00.123`); TIMESTAMP_LTZ has a `Z` at the end.",
            ),
            option(
                "map-null-key.mode",
                Some("FAIL"),
                false,
                "What writing a map with a NULL key does: `FAIL`, `DROP` (leaves the entry out) or `LITERAL` (writes `map-null-key.literal`).",
            ),
            option(
                "map-null-key.literal",
                Some("null"),
                false,
                "The key written for NULL when `map-null-key.mode` is `LITERAL`.",
            ),
            option(
                "encode.decimal-as-plain-number",
                Some("false"),
                false,
                "Whether DECIMAL is never written with an exponent.",
            ),
            option(
                "encode.ignore-null-fields",
                Some("false"),
                false,
                "Whether columns that are NULL are left out when writing.",
            ),
            option(
                "decode.json-parser.enabled",
                Some("true"),
                false,
                "Accepted for Flink's sake, without effect: there is one decoder, and it reads only the columns that the query needs.",
            ),
        ]
    }

    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()> {
        JsonOptions::read(options)?;
        schema.fields().iter().try_for_each(|f| check_type(f))
    }

    fn decoder(
        &self,
        options: &Options,
        projection: SchemaRef,
        _declared: SchemaRef,
        _zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(decoder::JsonDecoder::new(&JsonOptions::read(options)?, projection)?))
    }

    fn encoder(
        &self,
        options: &Options,
        schema: SchemaRef,
        _zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(encoder::JsonEncoder::new(JsonOptions::read(options)?, schema)))
    }
}

/// JSON objects have text keys only.
fn check_type(field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::Map(entries, _) => {
            if let DataType::Struct(pair) = entries.data_type() {
                if pair[0].data_type() != &DataType::Utf8 {
                    return Err(Error::user(format!(
                        "The format 'json' takes maps with text keys only; those of column `{}` are not.",
                        field.name()
                    ))
                    .with_hint("Declare the column as MAP<STRING, …>, which reads the keys as text."));
                }
                check_type(&pair[1])?;
            }
            Ok(())
        }
        DataType::List(item) => check_type(item),
        DataType::Struct(fields) => fields.iter().try_for_each(|f| check_type(f)),
        _ => Ok(()),
    }
}
