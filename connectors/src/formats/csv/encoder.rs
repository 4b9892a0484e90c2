//! The CSV encoder. Which fields are set in quotes is decided as Jackson does for Flink, so that files are the same.

use super::CsvOptions;
use crate::formats::calendar::{DAY_SECONDS, write_clock, write_date, write_fraction};
use crate::formats::java::{DecimalText, write_decimal, write_double, write_float};
use crate::formats::json::{TimestampFormat, write_timestamp};
use crate::formats::{Encoder, Payloads};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use base64::Engine;
use engine::error::{Error, Result};
use engine::message::ChangeBatch;

/// Longer texts are quoted without being looked at.
const LONGEST_UNQUOTED: usize = 24;

pub(super) struct CsvEncoder {
    options: CsvOptions,
    /// Characters below this one call for quotes.
    least_safe: u32,
    scratch: Vec<u8>,
}

impl CsvEncoder {
    pub fn new(options: CsvOptions) -> Self {
        let delimiter = std::str::from_utf8(&options.delimiter).ok().and_then(|d| d.chars().next());
        let delimiter = delimiter.map_or(0, u32::from);
        let least_safe = delimiter.max(options.quote.map_or(0, u32::from)).max(u32::from(b'\n')) + 1;
        Self { options, least_safe, scratch: Vec::new() }
    }

    fn field(&mut self, out: &mut Vec<u8>, array: &dyn Array, row: usize) -> Result<()> {
        if array.is_null(row) {
            out.extend_from_slice(self.options.null_literal.as_deref().unwrap_or_default());
            return Ok(());
        }
        match array.data_type() {
            t if t.is_integer() || t.is_floating() || t == &DataType::Boolean => {
                write_value(out, array, row, &self.options)
            }
            DataType::Utf8 => {
                self.text(out, array.as_string::<i32>().value(row).as_bytes());
                Ok(())
            }
            _ => {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.clear();
                write_value(&mut scratch, array, row, &self.options)?;
                self.text(out, &scratch);
                self.scratch = scratch;
                Ok(())
            }
        }
    }

    /// Appends a text, in quotes where it might need them.
    fn text(&self, out: &mut Vec<u8>, text: &[u8]) {
        let escape = self.options.escape;
        let Some(quote) = self.options.quote else { return out.extend_from_slice(text) };
        if !self.wants_quotes(text) {
            return out.extend_from_slice(text);
        }
        out.push(quote);
        let mut rest = text;
        while let Some(at) = memchr::memchr2(quote, escape.unwrap_or(quote), rest) {
            out.extend_from_slice(&rest[..=at]);
            out.push(rest[at]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        out.push(quote);
    }

    fn wants_quotes(&self, text: &[u8]) -> bool {
        if text.is_ascii() {
            let calls =
                |b: &u8| u32::from(*b) < self.least_safe || *b == b'\\' || self.options.escape == Some(*b);
            return text.len() > LONGEST_UNQUOTED || text.iter().any(calls);
        }
        // In UTF-16 units, as Java counts.
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut units = 0;
        text.chars().any(|c| {
            units += c.len_utf16();
            let code = u32::from(c);
            units > LONGEST_UNQUOTED
                || code < self.least_safe
                || c == '\\'
                || self.options.escape.is_some_and(|e| code == u32::from(e))
        })
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, batch: &ChangeBatch, out: &mut Payloads) -> Result<()> {
        let columns = batch.records().columns();
        for row in 0..batch.num_rows() {
            let mut written = Ok(());
            out.extend(|bytes| {
                for (i, column) in columns.iter().enumerate() {
                    if i > 0 {
                        bytes.extend_from_slice(&self.options.delimiter);
                    }
                    written = self.field(bytes, column, row);
                    if written.is_err() {
                        break;
                    }
                }
            });
            written?;
        }
        Ok(())
    }
}

/// Appends the text of a value that is not NULL, without quotes.
fn write_value(out: &mut Vec<u8>, array: &dyn Array, row: usize, options: &CsvOptions) -> Result<()> {
    fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
    match array.data_type() {
        DataType::Boolean => {
            out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" });
        }
        DataType::Int8 => integer(out, array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => integer(out, array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => integer(out, array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => integer(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => write_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => write_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let text = if options.scientific { DecimalText::Scientific } else { DecimalText::Plain };
            write_decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale, true, text);
        }
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => {
            let text = base64::engine::general_purpose::STANDARD.encode(array.as_binary::<i32>().value(row));
            out.extend_from_slice(text.as_bytes());
        }
        DataType::Date32 => write_date(out, i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Time32(_) => {
            let ms = i64::from(array.as_primitive::<Time32MillisecondType>().value(row));
            write_clock(out, ms / 1000);
            write_fraction(out, ms % 1000 * 1_000_000);
        }
        DataType::Timestamp(unit, zone) => {
            let (value, per_second) = match unit {
                TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1),
                TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1000),
                TimeUnit::Microsecond => {
                    (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000)
                }
                TimeUnit::Nanosecond => {
                    (array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000)
                }
            };
            write_timestamp(out, value, per_second, zone.is_some(), TimestampFormat::Sql);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            integer(out, array.as_primitive::<IntervalYearMonthType>().value(row));
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            integer(out, i64::from(value.days) * DAY_SECONDS * 1000 + i64::from(value.milliseconds));
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            for i in 0..items.len() {
                element(out, &items, i, i == 0, options)?;
            }
        }
        DataType::Struct(_) => {
            for (i, field) in array.as_struct().columns().iter().enumerate() {
                element(out, field, row, i == 0, options)?;
            }
        }
        other => {
            return Err(Error::unsupported(
                format!("Writing values of {other} in the format 'csv'"),
                "CAST the column to STRING.",
            ));
        }
    }
    Ok(())
}

fn element(
    out: &mut Vec<u8>,
    array: &dyn Array,
    index: usize,
    first: bool,
    options: &CsvOptions,
) -> Result<()> {
    if !first {
        out.extend_from_slice(&options.element_delimiter);
    }
    if array.is_null(index) {
        out.extend_from_slice(options.null_literal.as_deref().unwrap_or_default());
        return Ok(());
    }
    write_value(out, array, index, options)
}
