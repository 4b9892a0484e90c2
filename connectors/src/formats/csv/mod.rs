//! `csv`: one record a line, columns by position.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

use super::{Decoder, Encoder, Format, Framing};
use crate::options::{OptionReader, option};
use arrow::datatypes::{DataType, Field, SchemaRef};
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result};

/// The format.
#[derive(Debug)]
pub struct Csv;

/// All options, read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CsvOptions {
    /// One character.
    delimiter: Vec<u8>,
    /// `None` if there are no quotes.
    quote: Option<u8>,
    escape: Option<u8>,
    allow_comments: bool,
    ignore_parse_errors: bool,
    element_delimiter: Vec<u8>,
    null_literal: Option<Vec<u8>>,
    scientific: bool,
}

impl CsvOptions {
    /// Reads `options`, without the `csv.` prefix.
    fn read(options: &Options) -> Result<Self> {
        let help = Csv.options();
        let reader = OptionReader::new("csv", options, &help)?;
        // Not `reader.get`, which trims: a tab is a delimiter.
        let text = |key: &str| options.get(key).map(|v| unescape(v));
        let ascii = |key: &str| match text(key).as_deref().map(str::as_bytes) {
            None => Ok(None),
            Some([byte]) => Ok(Some(*byte)),
            Some(_) => Err(Error::user(format!("Option 'csv.{key}' takes a single character of ASCII."))),
        };
        let delimiter = text("field-delimiter").unwrap_or_else(|| ",".to_string());
        if delimiter.chars().count() != 1 || delimiter == "\n" {
            return Err(Error::user(format!(
                "Option 'csv.field-delimiter' takes a single character, not '{delimiter}'."
            )));
        }
        let element_delimiter = text("array-element-delimiter").unwrap_or_else(|| ";".to_string());
        if element_delimiter.is_empty() {
            return Err(Error::user("Option 'csv.array-element-delimiter' must not be empty."));
        }
        let unquoted = reader.boolean("disable-quote-character")?;
        if unquoted && reader.is_set("quote-character") {
            return Err(Error::user(
                "'csv.quote-character' cannot be set where 'csv.disable-quote-character' is 'true'.",
            ));
        }
        let quote = ascii("quote-character")?.unwrap_or(b'"');
        let scientific = options
            .get("write-bigdecimal-in-scientific-notation")
            .is_none_or(|_| reader.boolean("write-bigdecimal-in-scientific-notation").unwrap_or(true));
        reader.boolean("write-bigdecimal-in-scientific-notation")?;
        Ok(Self {
            delimiter: delimiter.into_bytes(),
            quote: (!unquoted).then_some(quote),
            escape: ascii("escape-character")?,
            allow_comments: reader.boolean("allow-comments")?,
            ignore_parse_errors: reader.boolean("ignore-parse-errors")?,
            element_delimiter: element_delimiter.into_bytes(),
            null_literal: text("null-literal").map(String::into_bytes),
            scientific,
        })
    }
}

/// `\t` and the other Java escapes of one character, as Flink takes them for delimiters.
fn unescape(text: &str) -> String {
    match text {
        "\\t" => "\t".to_string(),
        "\\n" => "\n".to_string(),
        "\\r" => "\r".to_string(),
        "\\\\" => "\\".to_string(),
        _ => match text.strip_prefix("\\u").map(|hex| (hex.len(), u32::from_str_radix(hex, 16))) {
            Some((4, Ok(code))) => char::from_u32(code).map_or_else(|| text.to_string(), String::from),
            _ => text.to_string(),
        },
    }
}

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    #[rustfmt::skip]
    fn options(&self) -> Vec<OptionHelp> {
        vec![
            option("field-delimiter", Some(","), false, "Character between two fields; `\\t` is a tab."),
            option("disable-quote-character", Some("false"), false, "Whether fields are never set in quotes."),
            option("quote-character", Some("\""), false, "Character in which a field is set that holds delimiters, quotes or line ends; inside, it is written twice."),
            option("allow-comments", Some("false"), false, "Whether lines that begin with `#`, and empty ones, are left out."),
            option("ignore-parse-errors", Some("false"), false, "Whether a value that does not fit its column becomes NULL, and a record that cannot be read at all is skipped and counted; otherwise the job fails."),
            option("array-element-delimiter", Some(";"), false, "Text between two elements of an ARRAY or fields of a ROW."),
            option("escape-character", None, false, "Character that takes its meaning from the one after it."),
            option("null-literal", None, false, "Text that stands for NULL. Without it, NULL is written as an empty field."),
            option("write-bigdecimal-in-scientific-notation", Some("true"), false, "Whether a DECIMAL may be written with an exponent (`1E+2`)."),
        ]
    }

    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()> {
        CsvOptions::read(options)?;
        schema.fields().iter().try_for_each(|f| check_type(f))
    }

    fn framing(&self, options: &Options) -> Result<Framing> {
        let options = CsvOptions::read(options)?;
        Ok(match (options.quote, options.delimiter.last()) {
            (Some(quote), Some(delimiter)) => {
                Framing::QuotedLines { delimiter: *delimiter, quote, escape: options.escape }
            }
            _ => Framing::Lines,
        })
    }

    fn decoder(
        &self,
        options: &Options,
        projection: SchemaRef,
        declared: SchemaRef,
        _zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(decoder::CsvDecoder::new(CsvOptions::read(options)?, projection, &declared)?))
    }

    fn encoder(
        &self,
        options: &Options,
        schema: SchemaRef,
        _zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Encoder>> {
        schema.fields().iter().try_for_each(|f| check_type(f))?;
        Ok(Box::new(encoder::CsvEncoder::new(CsvOptions::read(options)?)))
    }
}

/// A line has room for lists and rows, but not for what is nested in them or for maps.
fn check_type(field: &Field) -> Result<()> {
    let refuse = || {
        let text = engine::functions::field::type_text(field);
        Err(Error::user(format!(
            "The format 'csv' has no text for the type {text} of column `{}`.",
            field.name()
        ))
        .with_hint("Declare the column as STRING, or use the format 'json'."))
    };
    let nested = |f: &Field| f.data_type().is_nested();
    match field.data_type() {
        DataType::Map(..) => refuse(),
        DataType::List(item) if nested(item) => refuse(),
        DataType::Struct(fields) if fields.iter().any(|f| nested(f)) => refuse(),
        _ => Ok(()),
    }
}
