//! The JSON decoder: one pass from bytes to columns, reading only what the projection asks for.

use super::scan::{Fault, FaultKind, Scan, Scanner, Token, compact, unescape};
use super::{JsonOptions, TimestampFormat};
use crate::formats::column::{Column, Row, Values, in_unit};
use crate::formats::values::{self, DecimalValue};
use crate::formats::{DecodeError, Decoded, Decoder, Payloads, excerpt};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, SchemaRef};
use engine::error::Result;

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

    /// Reads one record: no row for an empty one, one for an object, one for each element of an array.
    fn record(&mut self, scanner: &mut Scanner) -> Scan<()> {
        if scanner.bytes[scanner.at..scanner.end].starts_with(b"\xef\xbb\xbf") {
            scanner.at += 3;
        }
        scanner.blanks();
        match scanner.peek() {
            b'{' => self.top(scanner),
            b'[' => {
                scanner.at += 1;
                scanner.blanks();
                if scanner.peek() == b']' {
                    return Ok(());
                }
                loop {
                    if scanner.peek() != b'{' {
                        return scanner.fault("an object");
                    }
                    self.top(scanner)?;
                    scanner.blanks();
                    match scanner.peek() {
                        b',' => scanner.at += 1,
                        b']' => return Ok(()),
                        _ => return scanner.fault("',' or ']'"),
                    }
                    scanner.blanks();
                }
            }
            _ if scanner.at == scanner.end => Ok(()),
            _ => scanner.fault("an object"),
        }
    }

    fn top(&mut self, scanner: &mut Scanner) -> Scan<()> {
        self.reader.object(scanner, &mut self.row, self.rows)?;
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
        // Once for all is nearly free. A character cut by the border of two payloads passes, but can only stand
        // where the grammar does not let it.
        let all_text = simdutf8::basic::from_utf8(bytes).is_ok();
        let mut origin: Option<Vec<u32>> = None;
        let mut skipped = 0;
        for payload in 0..payloads.len() {
            let span = payloads.span(payload);
            let before = self.rows;
            let mut scanner = Scanner { bytes, at: span.start, end: span.end };
            let read = match all_text {
                true => self.record(&mut scanner),
                false => match simdutf8::compat::from_utf8(&bytes[span.clone()]) {
                    Ok(_) => self.record(&mut scanner),
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
fn shown(scanner: &Scanner, token: Token) -> String {
    let (start, end) = match token {
        Token::Null => return "null".to_string(),
        Token::True => return "true".to_string(),
        Token::False => return "false".to_string(),
        Token::Number { start, end } | Token::Object { start, end } | Token::Array { start, end } => {
            (start, end)
        }
        Token::String { start, end, .. } => (start - 1, end + 1),
    };
    excerpt(&scanner.bytes[start..end], 0, EXCERPT)
}

impl Reader {
    /// Reads the object at hand as value `row` of all columns.
    #[inline]
    fn object(&self, scanner: &mut Scanner, object: &mut Row, row: usize) -> Scan<()> {
        scanner.at += 1;
        scanner.blanks();
        if scanner.peek() == b'}' {
            scanner.at += 1;
        } else {
            let mut prediction = object.keys.begin();
            loop {
                let column = object.keys.next(scanner, &mut prediction)?;
                if scanner.peek() != b':' {
                    scanner.blanks();
                }
                scanner.expect(b':', "':' after a key")?;
                scanner.blanks();
                match column {
                    None => drop(scanner.value()?),
                    Some(i) => {
                        let column = &mut object.columns[i];
                        if column.len > row {
                            column.truncate(row);
                        }
                        self.value(scanner, column)?;
                    }
                }
                scanner.blanks();
                match scanner.peek() {
                    b',' => {
                        scanner.at += 1;
                        scanner.blanks();
                    }
                    b'}' => {
                        scanner.at += 1;
                        break;
                    }
                    _ => return scanner.fault("',' or '}'"),
                }
            }
        }
        for column in &mut object.columns {
            if column.len == row {
                self.missing(scanner, column)?;
            }
        }
        Ok(())
    }

    fn missing(&self, scanner: &Scanner, column: &mut Column) -> Scan<()> {
        if self.fail_on_missing {
            let message = format!("The record has no field `{}`.", column.field.name());
            return Err(Box::new(Fault { at: scanner.at, kind: FaultKind::Value(message) }));
        }
        self.null(scanner, column)
    }

    #[inline]
    fn null(&self, scanner: &Scanner, column: &mut Column) -> Scan<()> {
        if !column.field.is_nullable() {
            let message =
                format!("Column `{}` is NOT NULL, but the record has no value for it.", column.field.name());
            return Err(Box::new(Fault { at: scanner.at, kind: FaultKind::Value(message) }));
        }
        column.push_null();
        Ok(())
    }

    /// The value at `token` does not fit the column: NULL, or the end of the record.
    #[cold]
    fn misfit(&self, scanner: &Scanner, token: Token, column: &mut Column) -> Scan<()> {
        if self.ignore {
            return self.null(scanner, column);
        }
        let field: &Field = &column.field;
        let message = format!(
            "Column `{}`: {} is no {}.",
            field.name(),
            shown(scanner, token),
            engine::functions::field::type_text(field)
        );
        Err(Box::new(Fault { at: scanner.at, kind: FaultKind::Value(message) }))
    }

    /// Reads the value at hand into `column`.
    fn value(&self, scanner: &mut Scanner, column: &mut Column) -> Scan<()> {
        if scanner.peek() == b'n' {
            scanner.word(b"null")?;
            return self.null(scanner, column);
        }
        match &mut column.values {
            Values::Int64(values) => {
                if let Some(value) = plain_integer(scanner) {
                    values.push(value);
                    column.pushed();
                    return Ok(());
                }
            }
            Values::Int32(values) => {
                let start = scanner.at;
                if let Some(value) = plain_integer(scanner) {
                    if let Ok(value) = i32::try_from(value) {
                        values.push(value);
                        column.pushed();
                        return Ok(());
                    }
                    scanner.at = start;
                }
            }
            Values::Text(text) if scanner.peek() == b'"' => {
                let (start, end, escaped) = scanner.string()?;
                if escaped {
                    unescape(&mut text.bytes, &scanner.bytes[start..end]);
                } else {
                    text.bytes.extend_from_slice(&scanner.bytes[start..end]);
                }
                if !text.close() {
                    return too_much(scanner);
                }
                column.pushed();
                return Ok(());
            }
            Values::Timestamp { unit, ltz, minute, values } if scanner.peek() == b'"' => {
                let (start, end, escaped) = scanner.string()?;
                let text = &scanner.bytes[start..end];
                let value = values::timestamp(text, self.timestamps, *ltz, minute);
                match value.and_then(|(seconds, nanos)| in_unit(seconds, nanos, *unit)) {
                    Some(value) if !escaped => {
                        values.push(value);
                        column.pushed();
                        return Ok(());
                    }
                    _ => return self.scalar(scanner, Token::String { start, end, escaped }, column),
                }
            }
            Values::Row(row) if scanner.peek() == b'{' => {
                self.object(scanner, row, column.len)?;
                column.pushed();
                return Ok(());
            }
            Values::List { .. } if scanner.peek() == b'[' => return self.list(scanner, column),
            Values::Map { .. } if scanner.peek() == b'{' => return self.map(scanner, column),
            _ => {}
        }
        let token = scanner.value()?;
        self.scalar(scanner, token, column)
    }

    /// Reads a value that was passed already: all conversions, none of them fast.
    fn scalar(&self, scanner: &Scanner, token: Token, column: &mut Column) -> Scan<()> {
        let mut unescaped = Vec::new();
        let (text, kind): (&[u8], Kind) = match token {
            Token::Null => return self.null(scanner, column),
            Token::True => (b"true", Kind::Word),
            Token::False => (b"false", Kind::Word),
            Token::Number { start, end } => (&scanner.bytes[start..end], Kind::Number),
            Token::String { start, end, escaped: false } => (&scanner.bytes[start..end], Kind::String),
            Token::String { start, end, escaped: true } => {
                unescape(&mut unescaped, &scanner.bytes[start..end]);
                (&unescaped, Kind::String)
            }
            Token::Object { start, end } | Token::Array { start, end } => {
                (&scanner.bytes[start..end], Kind::Container)
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
                    None => return self.misfit(scanner, token, column),
                }
            };
        }
        match &mut column.values {
            Values::Boolean(values) => match kind {
                Kind::Word => values.push(text == b"true"),
                Kind::Number => values.push(false),
                // Flink gives NULL here with ignore-parse-errors, and FALSE without.
                Kind::String if text.is_empty() && self.ignore => return self.null(scanner, column),
                Kind::String => values.push(values::trim(text).eq_ignore_ascii_case(b"true")),
                Kind::Container => return self.misfit(scanner, token, column),
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
                    DecimalValue::Overflow => return self.null(scanner, column),
                    DecimalValue::Invalid => return self.misfit(scanner, token, column),
                }
            }
            Values::Text(bytes) => {
                if kind == Kind::Container {
                    compact(&mut bytes.bytes, text);
                } else {
                    bytes.bytes.extend_from_slice(text);
                }
                if !bytes.close() {
                    return too_much(scanner);
                }
            }
            Values::Binary(bytes) => match string().and_then(values::base64) {
                Some(value) => {
                    bytes.bytes.extend_from_slice(&value);
                    if !bytes.close() {
                        return too_much(scanner);
                    }
                }
                None => return self.misfit(scanner, token, column),
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
                return self.misfit(scanner, token, column);
            }
        }
        column.pushed();
        Ok(())
    }

    fn list(&self, scanner: &mut Scanner, column: &mut Column) -> Scan<()> {
        let Values::List { item, ends } = &mut column.values else { return scanner.fault("a list") };
        scanner.at += 1;
        scanner.blanks();
        if scanner.peek() == b']' {
            scanner.at += 1;
        } else {
            loop {
                self.value(scanner, item)?;
                scanner.blanks();
                match scanner.peek() {
                    b',' => scanner.at += 1,
                    b']' => {
                        scanner.at += 1;
                        break;
                    }
                    _ => return scanner.fault("',' or ']'"),
                }
                scanner.blanks();
            }
        }
        match i32::try_from(item.len) {
            Ok(end) => ends.push(end),
            Err(_) => return too_much(scanner),
        }
        column.pushed();
        Ok(())
    }

    fn map(&self, scanner: &mut Scanner, column: &mut Column) -> Scan<()> {
        let Values::Map { keys, value, ends, dropped } = &mut column.values else {
            return scanner.fault("a map");
        };
        let first = keys.len();
        scanner.at += 1;
        scanner.blanks();
        if scanner.peek() == b'}' {
            scanner.at += 1;
        } else {
            loop {
                if scanner.peek() != b'"' {
                    return scanner.fault("a key in double quotes");
                }
                let (start, end, escaped) = scanner.string()?;
                if escaped {
                    unescape(&mut keys.bytes, &scanner.bytes[start..end]);
                } else {
                    keys.bytes.extend_from_slice(&scanner.bytes[start..end]);
                }
                if !keys.close() {
                    return too_much(scanner);
                }
                scanner.blanks();
                scanner.expect(b':', "':' after a key")?;
                scanner.blanks();
                self.value(scanner, value)?;
                scanner.blanks();
                match scanner.peek() {
                    b',' => scanner.at += 1,
                    b'}' => {
                        scanner.at += 1;
                        break;
                    }
                    _ => return scanner.fault("',' or '}'"),
                }
                scanner.blanks();
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
            Err(_) => return too_much(scanner),
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
fn too_much(scanner: &Scanner) -> Scan<()> {
    let message = "The records of one batch hold more than 2 GiB of text in one column.".to_string();
    Err(Box::new(Fault { at: scanner.at, kind: FaultKind::Value(message) }))
}

/// Passes an integer of at most 18 digits without fraction, exponent or leading zeros. Does not move for others.
#[inline(always)]
fn plain_integer(scanner: &mut Scanner) -> Option<i64> {
    let negative = scanner.peek() == b'-';
    let first = scanner.at + usize::from(negative);
    let mut at = first;
    let mut value: i64 = 0;
    // The padding ends the loop: it is no digit.
    while at < scanner.end && scanner.bytes[at].is_ascii_digit() && at - first < 18 {
        value = value * 10 + i64::from(scanner.bytes[at] - b'0');
        at += 1;
    }
    let leading_zero = at > first + 1 && scanner.bytes[first] == b'0';
    let next = if at < scanner.end { scanner.bytes[at] } else { 0 };
    if at == first || leading_zero || !matches!(next, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') {
        return None;
    }
    scanner.at = at;
    Some(if negative { -value } else { value })
}
