//! The CSV decoder: cuts a record into fields and reads those that the projection asks for.

use super::CsvOptions;
use crate::formats::calendar::days_from_civil;
use crate::formats::column::{Column, Values, in_unit};
use crate::formats::json::TimestampFormat;
use crate::formats::values::{self, DecimalValue};
use crate::formats::{DecodeError, Decoded, Decoder, Payloads, excerpt};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use engine::error::{Error, Result};

/// Most characters of the data in an error's text.
const EXCERPT: usize = 60;

pub(super) struct CsvDecoder {
    options: CsvOptions,
    schema: SchemaRef,
    /// For each field of a record its column, if it is read.
    positions: Vec<Option<usize>>,
    columns: Vec<Column>,
    rows: usize,
    /// A field without its quotes and escapes.
    plain: Vec<u8>,
}

/// Why a record cannot be read: a sentence.
type Read<T> = std::result::Result<T, String>;

impl CsvDecoder {
    pub fn new(options: CsvOptions, projection: SchemaRef, declared: &Schema) -> Result<Self> {
        let mut columns = Vec::new();
        for field in projection.fields() {
            // Fields of a ROW go by position too, so all of them are read and the wanted ones taken.
            let whole = declared
                .fields()
                .iter()
                .find(|f| f.name() == field.name())
                .ok_or_else(|| Error::internal(format!("column `{}` is not declared", field.name())))?;
            columns.push(Column::new(whole)?);
        }
        let position = |name: &str| projection.index_of(name).ok();
        Ok(Self {
            positions: declared.fields().iter().map(|f| position(f.name())).collect(),
            schema: projection,
            options,
            columns,
            rows: 0,
            plain: Vec::new(),
        })
    }

    /// Reads one record. False if it is a comment.
    fn record(&mut self, record: &[u8]) -> Read<bool> {
        if self.options.allow_comments {
            let first = record.iter().find(|b| !matches!(b, b' ' | b'\t'));
            if matches!(first, None | Some(b'#')) {
                return Ok(false);
            }
        }
        let mut rest = Some(record);
        let mut count = 0;
        while let Some(text) = rest {
            let Some(column) = self.positions.get(count) else {
                return Err(format!(
                    "the record has more than the {} fields of the table: {}.",
                    self.positions.len(),
                    excerpt(record, 0, EXCERPT)
                ));
            };
            self.plain.clear();
            let (field, after) = next_field(text, &self.options, &mut self.plain)
                .map_err(|what| format!("{what}: {}.", excerpt(record, 0, EXCERPT)))?;
            rest = after;
            count += 1;
            let field = match field {
                Some(range) => &text[range],
                None => &self.plain,
            };
            if let Some(i) = column {
                value(field, &mut self.columns[*i], &self.options)?;
            }
        }
        if count < self.positions.len() && !self.options.ignore_parse_errors {
            return Err(format!(
                "the table has {} columns, but the record only {count} fields: {}.",
                self.positions.len(),
                excerpt(record, 0, EXCERPT)
            ));
        }
        for i in self.positions[count..].iter().flatten() {
            null(&mut self.columns[*i])?;
        }
        self.rows += 1;
        Ok(true)
    }

    fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let mut arrays = Vec::new();
        for (column, field) in self.columns.iter_mut().zip(self.schema.fields()) {
            let array = column.finish()?;
            arrays.push(if array.data_type() == field.data_type() {
                array
            } else {
                arrow::compute::cast(&array, field.data_type())?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError> {
        self.truncate(0);
        // A character cut by the border of two payloads would pass here, so those are looked at themselves.
        let bytes = payloads.buffer();
        let cut = (0..payloads.len()).any(|i| payloads.get(i).first().is_some_and(|b| b & 0xc0 == 0x80));
        let all_text = !cut && simdutf8::basic::from_utf8(bytes).is_ok();
        let mut origin: Option<Vec<u32>> = None;
        let mut skipped = 0;
        for payload in 0..payloads.len() {
            let record = payloads.get(payload);
            let before = self.rows;
            let read = if all_text || simdutf8::basic::from_utf8(record).is_ok() {
                self.record(record)
            } else {
                Err(format!("it is not UTF-8: {}.", excerpt(record, 0, EXCERPT)))
            };
            if let Err(message) = read {
                self.truncate(before);
                if !self.options.ignore_parse_errors {
                    self.truncate(0);
                    return Err(DecodeError { payload, message });
                }
                skipped += 1;
            }
            if self.rows != before + 1 {
                origin.get_or_insert_with(|| (0..before as u32).collect());
            } else if let Some(origin) = &mut origin {
                origin.push(payload as u32);
            }
        }
        let batch = self.batch().map_err(|e| DecodeError { payload: 0, message: e.to_string() })?;
        Ok(Decoded { batch, kinds: None, origin, skipped })
    }
}

type Field<'a> = (Option<std::ops::Range<usize>>, Option<&'a [u8]>);

/// The first field of `text` and what is behind its delimiter. The field is a stretch of `text`, or in `plain` where
/// quotes or escapes had to be taken out.
fn next_field<'a>(
    text: &'a [u8],
    options: &CsvOptions,
    plain: &mut Vec<u8>,
) -> std::result::Result<Field<'a>, &'static str> {
    let delimiter = &options.delimiter;
    if let (Some(quote), true) = (options.quote, !text.is_empty() && text.first() == options.quote.as_ref()) {
        let escape = options.escape.unwrap_or(quote);
        let mut at = 1;
        loop {
            let Some(n) = memchr::memchr2(quote, escape, &text[at..]) else {
                return Err("the closing quote of a field is missing");
            };
            plain.extend_from_slice(&text[at..at + n]);
            at += n + 1;
            if text[at - 1] == escape && escape != quote {
                plain.extend(text.get(at));
                at += 1;
                if at > text.len() {
                    return Err("an escape is at the end of the record");
                }
            } else if text.get(at) == Some(&quote) {
                plain.push(quote);
                at += 1;
            } else {
                break;
            }
        }
        // Blanks may stand behind a closing quote, unless one of them is the delimiter.
        while matches!(text.get(at), Some(b' ' | b'\t')) && !text[at..].starts_with(delimiter) {
            at += 1;
        }
        return match &text[at..] {
            [] => Ok((None, None)),
            rest if rest.starts_with(delimiter) => Ok((None, Some(&rest[delimiter.len()..]))),
            _ => Err("after a closing quote there should be a delimiter"),
        };
    }
    let Some(escape) = options.escape else {
        return Ok(match find(text, delimiter) {
            Some(n) => (Some(0..n), Some(&text[n + delimiter.len()..])),
            None => (Some(0..text.len()), None),
        });
    };
    let mut at = 0;
    while at < text.len() && !text[at..].starts_with(delimiter) {
        if text[at] == escape {
            at += 1;
            if at == text.len() {
                return Err("an escape is at the end of the record");
            }
        }
        plain.push(text[at]);
        at += 1;
    }
    Ok((None, text.get(at + delimiter.len()..).filter(|_| at < text.len())))
}

fn find(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    match delimiter {
        [byte] => memchr::memchr(*byte, text),
        _ => memchr::memmem::find(text, delimiter),
    }
}

fn null(column: &mut Column) -> Read<()> {
    if !column.field.is_nullable() {
        return Err(format!(
            "column `{}` is NOT NULL, but the record has no value for it.",
            column.field.name()
        ));
    }
    column.push_null();
    Ok(())
}

/// Reads a field into its column.
fn value(text: &[u8], column: &mut Column, options: &CsvOptions) -> Read<()> {
    let is_null = |text: &[u8]| options.null_literal.as_deref().is_some_and(|n| n == text);
    match &mut column.values {
        Values::List { item, ends } => {
            let mut rest = (!text.is_empty()).then_some(text);
            while let Some(element) = rest {
                let (first, after) = split(element, &options.element_delimiter);
                scalar(first, item, options, is_null(first))?;
                rest = after;
            }
            ends.push(
                i32::try_from(item.len).map_err(|_| "the lists of one batch are too long.".to_string())?,
            );
            column.pushed();
            Ok(())
        }
        Values::Row(row) => {
            if text.is_empty() {
                return null(column);
            }
            row.begin();
            let mut rest = Some(text);
            let total = row.columns.len();
            for (i, field) in row.columns.iter_mut().enumerate() {
                match rest {
                    Some(element) => {
                        let (first, after) = split(element, &options.element_delimiter);
                        scalar(first, field, options, is_null(first))?;
                        rest = after;
                    }
                    None if options.ignore_parse_errors => null(field)?,
                    None => {
                        return Err(format!(
                            "column `{}` has {total} fields, but the record only {i}: {}.",
                            column.field.name(),
                            excerpt(text, 0, EXCERPT)
                        ));
                    }
                }
            }
            if rest.is_some() && !options.ignore_parse_errors {
                return Err(format!(
                    "column `{}` has {total} fields, but the record more: {}.",
                    column.field.name(),
                    excerpt(text, 0, EXCERPT)
                ));
            }
            column.pushed();
            Ok(())
        }
        _ => scalar(text, column, options, is_null(text)),
    }
}

fn split<'a>(text: &'a [u8], delimiter: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    match find(text, delimiter) {
        Some(n) => (&text[..n], Some(&text[n + delimiter.len()..])),
        None => (text, None),
    }
}

fn scalar(text: &[u8], column: &mut Column, options: &CsvOptions, is_null: bool) -> Read<()> {
    if is_null {
        return null(column);
    }
    let trimmed = values::trim(text);
    let integer = |most: i64| values::integer(trimmed).filter(|v| (-most - 1..=most).contains(v));
    macro_rules! put {
        ($values:expr, $value:expr) => {
            match $value {
                Some(value) => $values.push(value),
                None => return misfit(text, column, options),
            }
        };
    }
    match &mut column.values {
        Values::Boolean(values) => values.push(trimmed.eq_ignore_ascii_case(b"true")),
        Values::Int8(values) => put!(values, integer(i64::from(i8::MAX)).map(|v| v as i8)),
        Values::Int16(values) => put!(values, integer(i64::from(i16::MAX)).map(|v| v as i16)),
        Values::Int32(values) | Values::YearMonth(values) => {
            put!(values, integer(i64::from(i32::MAX)).map(|v| v as i32));
        }
        Values::Int64(values) | Values::DayTime(values) => put!(values, integer(i64::MAX)),
        Values::Float32(values) => put!(values, values::double(text).map(|v| v as f32)),
        Values::Float64(values) => put!(values, values::double(text)),
        Values::Decimal { precision, scale, values } => match values::decimal(text, *precision, *scale) {
            DecimalValue::Value(value) => values.push(value),
            DecimalValue::Overflow => return null(column),
            DecimalValue::Invalid => return misfit(text, column, options),
        },
        Values::Text(bytes) => {
            bytes.bytes.extend_from_slice(text);
            if !bytes.close() {
                return Err(
                    "the records of one batch hold more than 2 GiB of text in one column.".to_string()
                );
            }
        }
        Values::Binary(bytes) => match values::base64(trimmed) {
            Some(value) => {
                bytes.bytes.extend_from_slice(&value);
                if !bytes.close() {
                    return Err("the records of one batch hold more than 2 GiB in one column.".to_string());
                }
            }
            None => return misfit(text, column, options),
        },
        Values::Date(values) => put!(values, date(text)),
        Values::Time(values) => put!(values, values::time(trimmed, true).map(|s| (s * 1000) as i32)),
        Values::Timestamp { unit, ltz, minute, values } => {
            let value = values::timestamp(trimmed, TimestampFormat::Sql, *ltz, minute);
            put!(values, value.and_then(|(seconds, nanos)| in_unit(seconds, nanos, *unit)));
        }
        Values::Null | Values::List { .. } | Values::Map { .. } | Values::Row(_) => {
            return misfit(text, column, options);
        }
    }
    column.pushed();
    Ok(())
}

#[cold]
fn misfit(text: &[u8], column: &mut Column, options: &CsvOptions) -> Read<()> {
    if options.ignore_parse_errors {
        return null(column);
    }
    Err(format!(
        "column `{}`: '{}' is no {}.",
        column.field.name(),
        excerpt(text, 0, EXCERPT),
        engine::functions::field::type_text(&column.field)
    ))
}

/// As Java's `Date.valueOf`: month and day may have one digit, and a 31 February is the 3 March.
fn date(text: &[u8]) -> Option<i32> {
    let mut parts = std::str::from_utf8(text).ok()?.split('-');
    let mut part = |most: usize| {
        let part = parts
            .next()
            .filter(|p| (1..=most).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u32>().ok()
    };
    let (year, month, day) =
        (text.iter().position(|b| *b == b'-').filter(|n| *n == 4).and(part(4))?, part(2)?, part(2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    i32::try_from(days_from_civil(i64::from(year), month, 1) + i64::from(day) - 1).ok()
}
