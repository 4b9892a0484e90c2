//! The JSON decoder: one pass from bytes to columns, reading only what the projection asks for.

use super::cursor::Cursor;
use super::scan::{Fault, FaultKind, Scan, Token, compact, unescape};
use super::{JsonOptions, TimestampFormat};
use crate::formats::column::{Column, Row, Values, in_unit};
use crate::formats::values::{self, DecimalValue};
use crate::formats::{DecodeError, Decoded, Decoder, PADDING_BYTES, Payloads, excerpt};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, SchemaRef};
use engine::error::Result;
use std::ops::Range;

/// Most characters of the data in an error's text.
const EXCERPT: usize = 60;

pub(super) struct JsonDecoder {
    schema: SchemaRef,
    reader: Reader,
    row: Row,
    rows: usize,
}

/// How values are read: the options.
#[derive(Debug, Clone, Copy)]
struct Reader {
    ignore: bool,
    fail_on_missing: bool,
    timestamps: TimestampFormat,
}

impl JsonDecoder {
    pub fn new(options: &JsonOptions, schema: SchemaRef) -> Result<Self> {
        let reader = Reader {
            ignore: options.ignore_parse_errors,
            fail_on_missing: options.fail_on_missing_field,
            timestamps: options.timestamps,
        };
        Ok(Self { row: Row::new(schema.fields())?, schema, reader, rows: 0 })
    }

    /// Reads the record at hand: no row for an empty one, one for an object, one for each element of an array. May come
    /// to a place behind the record, in which case it is to be read again `alone`.
    fn record(&mut self, cursor: &mut Cursor<'_>) -> Scan<()> {
        if cursor.peek() != b'{' {
            cursor.word(b"\xef\xbb\xbf");
            cursor.blanks();
        }
        match cursor.peek() {
            b'{' => self.top(cursor),
            b'[' => {
                cursor.bump();
                cursor.blanks();
                if cursor.peek() == b']' {
                    cursor.bump();
                    return Ok(());
                }
                loop {
                    if cursor.peek() != b'{' {
                        return cursor.fault("an object");
                    }
                    self.top(cursor)?;
                    cursor.blanks();
                    match cursor.peek() {
                        b',' => cursor.bump(),
                        b']' => {
                            cursor.bump();
                            return Ok(());
                        }
                        _ => return cursor.fault("',' or ']'"),
                    }
                    cursor.blanks();
                }
            }
            _ if cursor.is_at_end() => Ok(()),
            _ => cursor.fault("an object"),
        }
    }

    /// Reads the record at `span` of `bytes` as if nothing came after it.
    #[cold]
    fn alone(&mut self, bytes: &[u8], span: Range<usize>) -> Scan<()> {
        let text = &bytes[span.clone()];
        let padded = [text, &[0; PADDING_BYTES]].concat();
        let Some(mut cursor) = Cursor::new(&padded, text.len()) else { return Ok(()) };
        self.record(&mut cursor).map_err(|fault| Box::new(Fault { at: fault.at + span.start, ..*fault }))
    }

    fn top(&mut self, cursor: &mut Cursor<'_>) -> Scan<()> {
        self.reader.object(cursor, &mut self.row, self.rows)?;
        self.rows += 1;
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let columns = self.row.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>();
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns?, &options)?)
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError> {
        if !payloads.is_padded() {
            let mut padded = payloads.clone();
            padded.pad();
            return self.decode(&padded);
        }
        self.row.truncate(0);
        self.rows = 0;
        let bytes = payloads.buffer();
        let Some(mut cursor) = Cursor::new(bytes, payloads.num_bytes()) else {
            return Err(DecodeError { payload: 0, message: "The records are not padded.".to_string() });
        };
        // Once for all is nearly free. A character cut by the border of two payloads passes, but can only stand
        // where the grammar does not let it.
        let all_text = simdutf8::basic::from_utf8(bytes).is_ok();
        let mut origin: Option<Vec<u32>> = None;
        let mut skipped = 0;
        for payload in 0..payloads.len() {
            let span = payloads.span(payload);
            let before = self.rows;
            let read = match all_text {
                true => {
                    cursor = cursor.moved(span.start);
                    let read = self.record(&mut cursor);
                    // What lies behind a record may have been taken for a part of it.
                    if read.is_err() || cursor.at() > span.end {
                        self.rows = before;
                        self.row.truncate(before);
                        self.alone(bytes, span.clone())
                    } else {
                        read
                    }
                }
                false => match simdutf8::compat::from_utf8(&bytes[span.clone()]) {
                    Ok(_) => self.alone(bytes, span.clone()),
                    Err(e) => Err(Box::new(Fault {
                        at: span.start + e.valid_up_to(),
                        kind: FaultKind::Syntax("UTF-8"),
                    })),
                },
            };
            if let Err(fault) = read {
                self.rows = before;
                self.row.truncate(before);
                if !self.reader.ignore {
                    self.row.truncate(0);
                    self.rows = 0;
                    let message = describe(&fault, &bytes[span.clone()], span.start);
                    return Err(DecodeError { payload, message });
                }
                skipped += 1;
            }
            if self.rows != before + 1 {
                origin.get_or_insert_with(|| (0..before as u32).collect());
            }
            if let Some(origin) = &mut origin {
                origin.extend(std::iter::repeat_n(payload as u32, self.rows - before));
            }
        }
        let batch = self.batch().map_err(|e| DecodeError { payload: 0, message: e.to_string() })?;
        Ok(Decoded { batch, kinds: None, origin, skipped })
    }
}

/// A sentence about a fault in `record`, which begins at `start` of the buffer.
#[cold]
fn describe(fault: &Fault, record: &[u8], start: usize) -> String {
    let at = fault.at.saturating_sub(start).min(record.len());
    match &fault.kind {
        FaultKind::Value(message) => message.clone(),
        FaultKind::Syntax("UTF-8") => {
            format!("The record is not UTF-8 at byte {at}: {}.", excerpt(record, at, EXCERPT))
        }
        FaultKind::Syntax(expected) => {
            let what = if at == record.len() { "ends" } else { "goes on otherwise" };
            format!(
                "The record is not JSON as wanted: at byte {at} there should be {expected}, but it {what}: {}.",
                excerpt(record, at, EXCERPT)
            )
        }
    }
}

/// The value at `token`, for an error's text.
fn shown(cursor: &Cursor<'_>, token: Token) -> String {
    let (start, end) = match token {
        Token::Null => return "null".to_string(),
        Token::True => return "true".to_string(),
        Token::False => return "false".to_string(),
        Token::Number { start, end } | Token::Object { start, end } | Token::Array { start, end } => {
            (start, end)
        }
        Token::String { start, end, .. } => (start - 1, end + 1),
    };
    excerpt(cursor.slice(start, end), 0, EXCERPT)
}

impl Reader {
    /// Reads the object at hand as value `row` of all columns.
    #[inline]
    fn object(&self, cursor: &mut Cursor<'_>, object: &mut Row, row: usize) -> Scan<()> {
        let mut read = 0;
        cursor.bump();
        cursor.blanks();
        if cursor.peek() == b'}' {
            cursor.bump();
        } else {
            let mut prediction = object.keys.begin();
            loop {
                let column = object.keys.next(cursor, &mut prediction)?;
                cursor.blanks();
                match column {
                    None => drop(cursor.value()?),
                    Some(i) => {
                        let column = &mut object.columns[i];
                        if column.len > row {
                            column.truncate(row);
                            read -= 1;
                        }
                        self.value(cursor, column)?;
                        read += 1;
                    }
                }
                cursor.blanks();
                match cursor.peek() {
                    b',' => {
                        cursor.bump();
                        cursor.blanks();
                    }
                    b'}' => {
                        cursor.bump();
                        break;
                    }
                    _ => return cursor.fault("',' or '}'"),
                }
            }
        }
        if read < object.columns.len() {
            for column in &mut object.columns {
                if column.len == row {
                    self.missing(cursor, column)?;
                }
            }
        }
        Ok(())
    }

    fn missing(&self, cursor: &Cursor<'_>, column: &mut Column) -> Scan<()> {
        if self.fail_on_missing {
            let message = format!("The record has no field `{}`.", column.field.name());
            return Err(Box::new(Fault { at: cursor.at(), kind: FaultKind::Value(message) }));
        }
        self.null(cursor, column)
    }

    #[inline]
    fn null(&self, cursor: &Cursor<'_>, column: &mut Column) -> Scan<()> {
        if !column.field.is_nullable() {
            let message =
                format!("Column `{}` is NOT NULL, but the record has no value for it.", column.field.name());
            return Err(Box::new(Fault { at: cursor.at(), kind: FaultKind::Value(message) }));
        }
        column.push_null();
        Ok(())
    }

    /// The value at `token` does not fit the column: NULL, or the end of the record.
    #[cold]
    fn misfit(&self, cursor: &Cursor<'_>, token: Token, column: &mut Column) -> Scan<()> {
        if self.ignore {
            return self.null(cursor, column);
        }
        let field: &Field = &column.field;
        let message = format!(
            "Column `{}`: {} is no {}.",
            field.name(),
            shown(cursor, token),
            engine::functions::field::type_text(field)
        );
        Err(Box::new(Fault { at: cursor.at(), kind: FaultKind::Value(message) }))
    }

    /// Reads the value at hand into `column`.
    #[inline]
    fn value(&self, cursor: &mut Cursor<'_>, column: &mut Column) -> Scan<()> {
        match &mut column.values {
            Values::Int64(values) => {
                if let Some(value) = cursor.plain_integer() {
                    values.push(value);
                    column.pushed();
                    return Ok(());
                }
            }
            Values::Int32(values) => {
                let before = *cursor;
                if let Some(value) = cursor.plain_integer() {
                    if let Ok(value) = i32::try_from(value) {
                        values.push(value);
                        column.pushed();
                        return Ok(());
                    }
                    *cursor = before;
                }
            }
            Values::Text(text) if cursor.peek() == b'"' => {
                let before = *cursor;
                cursor.bump();
                if cursor.copy_to_special(&mut text.bytes) == b'"' {
                    cursor.bump();
                } else {
                    text.forget_open();
                    *cursor = before;
                    let (start, end, _) = cursor.string()?;
                    unescape(&mut text.bytes, cursor.slice(start, end));
                }
                if !text.close() {
                    return too_much(cursor);
                }
                column.pushed();
                return Ok(());
            }
            Values::Timestamp { unit, ltz, minute, values } if cursor.peek() == b'"' => {
                if let Some(value) = minute.of(*unit).and_then(|m| Some(m.1 + cursor.milliseconds_of(m.0)?)) {
                    values.push(value);
                    column.pushed();
                    return Ok(());
                }
                let (start, end, escaped) = cursor.string()?;
                let text = cursor.slice(start, end);
                let value = values::timestamp(text, self.timestamps, *ltz, minute);
                match value.and_then(|(seconds, nanos)| in_unit(seconds, nanos, *unit)) {
                    Some(value) if !escaped => {
                        values.push(value);
                        column.pushed();
                        return Ok(());
                    }
                    _ => return self.scalar(cursor, Token::String { start, end, escaped }, column),
                }
            }
            Values::Row(row) if cursor.peek() == b'{' => {
                row.begin();
                self.object(cursor, row, column.len)?;
                column.pushed();
                return Ok(());
            }
            Values::List { .. } if cursor.peek() == b'[' => return self.list(cursor, column),
            Values::Map { .. } if cursor.peek() == b'{' => return self.map(cursor, column),
            _ => {}
        }
        if cursor.peek() == b'n' {
            cursor.whole_word(b"null")?;
            return self.null(cursor, column);
        }
        let token = cursor.value()?;
        self.scalar(cursor, token, column)
    }

    /// Reads a value that was passed already: all conversions, none of them fast.
    fn scalar(&self, cursor: &Cursor<'_>, token: Token, column: &mut Column) -> Scan<()> {
        let mut unescaped = Vec::new();
        let (text, kind): (&[u8], Kind) = match token {
            Token::Null => return self.null(cursor, column),
            Token::True => (b"true", Kind::Word),
            Token::False => (b"false", Kind::Word),
            Token::Number { start, end } => (cursor.slice(start, end), Kind::Number),
            Token::String { start, end, escaped: false } => (cursor.slice(start, end), Kind::String),
            Token::String { start, end, escaped: true } => {
                unescape(&mut unescaped, cursor.slice(start, end));
                (&unescaped, Kind::String)
            }
            Token::Object { start, end } | Token::Array { start, end } => {
                (cursor.slice(start, end), Kind::Container)
            }
        };
        let small = |most: i64| {
            let value = if kind == Kind::Container { None } else { values::integer(values::trim(text)) };
            value.filter(|v| (-most - 1..=most).contains(v))
        };
        let large = |most: i64| {
            match kind {
                Kind::Number => match values::integer(text) {
                    Some(value) => Some(value),
                    // A fraction is cut off, as Java's cast does.
                    None => values::double(text).filter(|v| v.abs() < 9.3e18).map(|v| v as i64),
                },
                Kind::String => values::integer(values::trim(text)),
                _ => None,
            }
            .filter(|v| (-most - 1..=most).contains(v))
        };
        let string = || (kind == Kind::String).then_some(text);
        let double =
            || (kind == Kind::Number || kind == Kind::String).then(|| values::double(text)).flatten();
        macro_rules! put {
            ($values:expr, $value:expr) => {
                match $value {
                    Some(value) => $values.push(value),
                    None => return self.misfit(cursor, token, column),
                }
            };
        }
        match &mut column.values {
            Values::Boolean(values) => match kind {
                Kind::Word => values.push(text == b"true"),
                Kind::Number => values.push(false),
                // Flink gives NULL here with ignore-parse-errors, and FALSE without.
                Kind::String if text.is_empty() && self.ignore => return self.null(cursor, column),
                Kind::String => values.push(values::trim(text).eq_ignore_ascii_case(b"true")),
                Kind::Container => return self.misfit(cursor, token, column),
            },
            Values::Int8(values) => put!(values, small(i64::from(i8::MAX)).map(|v| v as i8)),
            Values::Int16(values) => put!(values, small(i64::from(i16::MAX)).map(|v| v as i16)),
            Values::Int32(values) | Values::YearMonth(values) => {
                put!(values, large(i64::from(i32::MAX)).map(|v| v as i32));
            }
            Values::Int64(values) | Values::DayTime(values) => put!(values, large(i64::MAX)),
            Values::Float32(values) => put!(values, double().map(|v| v as f32)),
            Values::Float64(values) => put!(values, double()),
            Values::Decimal { precision, scale, values } => {
                let value = match kind {
                    Kind::Number | Kind::String => values::decimal(values::trim(text), *precision, *scale),
                    _ => DecimalValue::Invalid,
                };
                match value {
                    DecimalValue::Value(value) => values.push(value),
                    DecimalValue::Overflow => return self.null(cursor, column),
                    DecimalValue::Invalid => return self.misfit(cursor, token, column),
                }
            }
            Values::Text(bytes) => {
                if kind == Kind::Container {
                    compact(&mut bytes.bytes, text);
                } else {
                    bytes.bytes.extend_from_slice(text);
                }
                if !bytes.close() {
                    return too_much(cursor);
                }
            }
            Values::Binary(bytes) => match string().and_then(values::base64) {
                Some(value) => {
                    bytes.bytes.extend_from_slice(&value);
                    if !bytes.close() {
                        return too_much(cursor);
                    }
                }
                None => return self.misfit(cursor, token, column),
            },
            Values::Date(values) => put!(values, string().and_then(values::date)),
            Values::Time(values) => {
                let seconds = string().and_then(|t| values::time(t, false));
                put!(values, seconds.map(|s| (s * 1000) as i32));
            }
            Values::Timestamp { unit, ltz, minute, values } => {
                let value = string().and_then(|t| values::timestamp(t, self.timestamps, *ltz, minute));
                put!(values, value.and_then(|(seconds, nanos)| in_unit(seconds, nanos, *unit)));
            }
            Values::Null | Values::List { .. } | Values::Map { .. } | Values::Row(_) => {
                return self.misfit(cursor, token, column);
            }
        }
        column.pushed();
        Ok(())
    }

    fn list(&self, cursor: &mut Cursor<'_>, column: &mut Column) -> Scan<()> {
        let Values::List { item, ends } = &mut column.values else { return cursor.fault("a list") };
        cursor.bump();
        cursor.blanks();
        if cursor.peek() == b']' {
            cursor.bump();
        } else {
            loop {
                self.value(cursor, item)?;
                cursor.blanks();
                match cursor.peek() {
                    b',' => cursor.bump(),
                    b']' => {
                        cursor.bump();
                        break;
                    }
                    _ => return cursor.fault("',' or ']'"),
                }
                cursor.blanks();
            }
        }
        match i32::try_from(item.len) {
            Ok(end) => ends.push(end),
            Err(_) => return too_much(cursor),
        }
        column.pushed();
        Ok(())
    }

    fn map(&self, cursor: &mut Cursor<'_>, column: &mut Column) -> Scan<()> {
        let Values::Map { keys, value, ends, dropped } = &mut column.values else {
            return cursor.fault("a map");
        };
        let first = keys.len();
        cursor.bump();
        cursor.blanks();
        if cursor.peek() == b'}' {
            cursor.bump();
        } else {
            loop {
                if cursor.peek() != b'"' {
                    return cursor.fault("a key in double quotes");
                }
                let (start, end, escaped) = cursor.string()?;
                if escaped {
                    unescape(&mut keys.bytes, cursor.slice(start, end));
                } else {
                    keys.bytes.extend_from_slice(cursor.slice(start, end));
                }
                if !keys.close() {
                    return too_much(cursor);
                }
                cursor.blanks();
                cursor.expect(b':', "':' after a key")?;
                cursor.blanks();
                self.value(cursor, value)?;
                cursor.blanks();
                match cursor.peek() {
                    b',' => cursor.bump(),
                    b'}' => {
                        cursor.bump();
                        break;
                    }
                    _ => return cursor.fault("',' or '}'"),
                }
                cursor.blanks();
            }
        }
        if keys.len() > first + 1 {
            let mut seen = std::collections::HashSet::with_capacity(keys.len() - first);
            // From the last on: the last value of a key counts.
            dropped
                .extend((first..keys.len()).rev().filter(|i| !seen.insert(keys.get(*i))).map(|i| i as u32));
        }
        match i32::try_from(keys.len()) {
            Ok(end) => ends.push(end),
            Err(_) => return too_much(cursor),
        }
        column.pushed();
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    String,
    Container,
}

#[cold]
fn too_much(cursor: &Cursor<'_>) -> Scan<()> {
    let message = "The records of one batch hold more than 2 GiB of text in one column.".to_string();
    Err(Box::new(Fault { at: cursor.at(), kind: FaultKind::Value(message) }))
}
