//! The JSON encoder: batch by batch, names and types looked up once a batch, escapes on a cold path.

use super::{JsonOptions, MapNullKey, TimestampFormat};
use crate::formats::calendar::{DAY_SECONDS, write_clock, write_date, write_fraction};
use crate::formats::java::{DecimalText, write_decimal, write_double, write_float};
use crate::formats::{Encoder, Payloads};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray,
    PrimitiveArray, StringArray, StructArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalUnit, IntervalYearMonthType, SchemaRef, Time32MillisecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use base64::Engine;
use engine::error::{Error, Result};
use engine::message::ChangeBatch;

pub(super) struct JsonEncoder {
    options: JsonOptions,
    schema: SchemaRef,
}

impl JsonEncoder {
    pub fn new(options: JsonOptions, schema: SchemaRef) -> Self {
        Self { options, schema }
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, batch: &ChangeBatch, out: &mut Payloads) -> Result<()> {
        let records = batch.records();
        let names = self.schema.fields().iter().map(|f| f.name().as_str());
        let object = Object::new(names, records.columns())?;
        let mut failed = None;
        for row in 0..records.num_rows() {
            out.extend(|bytes| failed = object.write(bytes, row, &self.options).err());
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// An object's members: `,"name":` and the values.
struct Object<'a>(Vec<(Vec<u8>, Values<'a>)>);

/// A column, its type looked up.
enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time32MillisecondType>),
    Timestamp { array: &'a dyn Array, values: &'a [i64], per_second: i64, ltz: bool },
    YearMonth(&'a PrimitiveArray<IntervalYearMonthType>),
    DayTime(&'a PrimitiveArray<IntervalDayTimeType>),
    List(&'a ListArray, Box<Values<'a>>),
    Map { array: &'a MapArray, keys: &'a StringArray, values: Box<Values<'a>> },
    Row(&'a StructArray, Object<'a>),
}

impl<'a> Object<'a> {
    fn new(names: impl Iterator<Item = &'a str>, columns: &'a [ArrayRef]) -> Result<Self> {
        let members = names.zip(columns).map(|(name, column)| {
            let mut prefix = vec![b','];
            write_string(&mut prefix, name.as_bytes());
            prefix.push(b':');
            Ok((prefix, Values::new(column)?))
        });
        Ok(Self(members.collect::<Result<_>>()?))
    }

    fn write(&self, out: &mut Vec<u8>, row: usize, options: &JsonOptions) -> Result<()> {
        let start = out.len();
        for (prefix, values) in &self.0 {
            if options.ignore_null_fields && values.is_null(row) {
                continue;
            }
            out.extend_from_slice(prefix);
            values.write(out, row, options)?;
        }
        // The first comma is where the brace belongs.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        Ok(())
    }
}

impl<'a> Values<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::Int8(array.as_primitive()),
            DataType::Int16 => Self::Int16(array.as_primitive()),
            DataType::Int32 => Self::Int32(array.as_primitive()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive(), *scale),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Binary => Self::Binary(array.as_binary()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Time32(TimeUnit::Millisecond) => Self::Time(array.as_primitive()),
            DataType::Timestamp(unit, zone) => {
                let (values, per_second) = match unit {
                    TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().values(), 1),
                    TimeUnit::Millisecond => {
                        (array.as_primitive::<TimestampMillisecondType>().values(), 1000)
                    }
                    TimeUnit::Microsecond => {
                        (array.as_primitive::<TimestampMicrosecondType>().values(), 1_000_000)
                    }
                    TimeUnit::Nanosecond => {
                        (array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000_000)
                    }
                };
                Self::Timestamp { array, values, per_second, ltz: zone.is_some() }
            }
            DataType::Interval(IntervalUnit::YearMonth) => Self::YearMonth(array.as_primitive()),
            DataType::Interval(IntervalUnit::DayTime) => Self::DayTime(array.as_primitive()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list, Box::new(Self::new(list.values())?))
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                let keys = map.keys().as_string_opt().ok_or_else(|| {
                    Error::user("The format 'json' writes maps with text keys only.")
                        .with_hint("CAST the map to MAP<STRING, …>.")
                })?;
                Self::Map { array: map, keys, values: Box::new(Self::new(map.values())?) }
            }
            DataType::Struct(fields) => {
                let row = array.as_struct();
                let names = fields.iter().map(|f| f.name().as_str());
                Self::Row(row, Object::new(names, row.columns())?)
            }
            other => {
                return Err(Error::unsupported(
                    format!("Writing values of {other} in the format 'json'"),
                    "CAST the column to STRING.",
                ));
            }
        })
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Boolean(a) => a.is_null(row),
            Self::Int8(a) => a.is_null(row),
            Self::Int16(a) => a.is_null(row),
            Self::Int32(a) => a.is_null(row),
            Self::Int64(a) => a.is_null(row),
            Self::Float32(a) => a.is_null(row),
            Self::Float64(a) => a.is_null(row),
            Self::Decimal(a, _) => a.is_null(row),
            Self::Text(a) => a.is_null(row),
            Self::Binary(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Timestamp { array, .. } => array.is_null(row),
            Self::YearMonth(a) => a.is_null(row),
            Self::DayTime(a) => a.is_null(row),
            Self::List(a, _) => a.is_null(row),
            Self::Map { array, .. } => array.is_null(row),
            Self::Row(a, _) => a.is_null(row),
        }
    }

    fn write(&self, out: &mut Vec<u8>, row: usize, options: &JsonOptions) -> Result<()> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
            Self::Int8(a) => integer(out, a.value(row)),
            Self::Int16(a) => integer(out, a.value(row)),
            Self::Int32(a) => integer(out, a.value(row)),
            Self::Int64(a) => integer(out, a.value(row)),
            // JSON has no word for these, so they become texts, as with Jackson.
            Self::Float32(a) if !a.value(row).is_finite() => {
                out.push(b'"');
                write_float(out, a.value(row));
                out.push(b'"');
            }
            Self::Float64(a) if !a.value(row).is_finite() => {
                out.push(b'"');
                write_double(out, a.value(row));
                out.push(b'"');
            }
            Self::Float32(a) => write_float(out, a.value(row)),
            Self::Float64(a) => write_double(out, a.value(row)),
            Self::Decimal(a, scale) => {
                let text = if options.plain_decimals { DecimalText::Plain } else { DecimalText::Scientific };
                write_decimal(out, a.value(row), *scale, true, text);
            }
            Self::Text(a) => write_string(out, a.value(row).as_bytes()),
            Self::Binary(a) => {
                out.push(b'"');
                let text = base64::engine::general_purpose::STANDARD.encode(a.value(row));
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            Self::Date(a) => {
                out.push(b'"');
                write_date(out, i64::from(a.value(row)));
                out.push(b'"');
            }
            Self::Time(a) => {
                let ms = i64::from(a.value(row));
                out.push(b'"');
                write_clock(out, ms / 1000);
                write_fraction(out, ms % 1000 * 1_000_000);
                out.push(b'"');
            }
            Self::Timestamp { values, per_second, ltz, .. } => {
                out.push(b'"');
                write_timestamp(out, values[row], *per_second, *ltz, options.timestamps);
                out.push(b'"');
            }
            Self::YearMonth(a) => integer(out, a.value(row)),
            Self::DayTime(a) => {
                let value = a.value(row);
                integer(out, i64::from(value.days) * DAY_SECONDS * 1000 + i64::from(value.milliseconds));
            }
            Self::List(list, values) => {
                let offsets = list.value_offsets();
                out.push(b'[');
                for i in offsets[row]..offsets[row + 1] {
                    if i > offsets[row] {
                        out.push(b',');
                    }
                    values.write(out, i as usize, options)?;
                }
                out.push(b']');
            }
            Self::Map { array, keys, values } => {
                let offsets = array.value_offsets();
                out.push(b'{');
                let mut first = true;
                for i in offsets[row] as usize..offsets[row + 1] as usize {
                    let key = match &options.map_null_key {
                        _ if keys.is_valid(i) => keys.value(i),
                        MapNullKey::Literal(text) => text,
                        MapNullKey::Drop => continue,
                        MapNullKey::Fail => {
                            return Err(Error::user("A map with a NULL key cannot be written as JSON.")
                                .with_hint("Set 'json.map-null-key.mode' to 'DROP' or 'LITERAL'."));
                        }
                    };
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    write_string(out, key.as_bytes());
                    out.push(b':');
                    values.write(out, i, options)?;
                }
                out.push(b'}');
            }
            Self::Row(_, object) => object.write(out, row, options)?,
        }
        Ok(())
    }
}

#[inline]
fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A timestamp as the text formats write it: without the zeros at the end of its fraction.
pub(in crate::formats) fn write_timestamp(
    out: &mut Vec<u8>,
    value: i64,
    per_second: i64,
    ltz: bool,
    format: TimestampFormat,
) {
    let (seconds, rest) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    write_date(out, seconds.div_euclid(DAY_SECONDS));
    out.push(if format == TimestampFormat::Sql { b' ' } else { b'T' });
    write_clock(out, seconds.rem_euclid(DAY_SECONDS));
    write_fraction(out, rest * (1_000_000_000 / per_second));
    if ltz {
        out.push(b'Z');
    }
}

/// A string in quotes, with the escapes that Jackson writes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = first_special(rest) {
        out.extend_from_slice(&rest[..at]);
        write_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The first byte that cannot stand in a string as it is.
#[inline]
fn first_special(text: &[u8]) -> Option<usize> {
    // Eight bytes a step. Each term's lowest high bit marks its first match exactly; only bits above it may be wrong.
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (chunks, tail) = text.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let eight = u64::from_le_bytes(*chunk);
        let quote = eight ^ (ONES * b'"' as u64);
        let backslash = eight ^ (ONES * b'\\' as u64);
        let found = eight.wrapping_sub(ONES * 0x20) & !eight
            | quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash;
        if found & HIGH != 0 {
            return Some(8 * i + (found & HIGH).trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')?;
    Some(text.len() - tail.len() + at)
}

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        8 => b'b',
        12 => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            return out.push(HEX[usize::from(byte & 15)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
