//! Flink's types as PostgreSQL's: how columns are named in SQL, sent, and read.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, ListArray, StringArray, Time32MillisecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, TimeUnit, TimestampMicrosecondType,
};
use bytes::{BufMut, BytesMut};
use engine::error::{Error, Result};
use engine::sql::SqlType;
use std::error::Error as StdError;
use std::sync::Arc;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// Days, and microseconds, from Unix' epoch to PostgreSQL's, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// How a column travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Array(Box<PgType>),
}

impl PgType {
    /// For a column of a table.
    ///
    /// Errors: types that PostgreSQL's tables have not, in Flink's words.
    pub fn of(field: &Field) -> Result<Self> {
        let sql_type = SqlType::of(field);
        let too_fine = |p: u8| {
            Error::user(format!(
                "The precision of field '{}' is out of the TIMESTAMP precision range [1, 6] supported by PostgreSQL \
                 dialect.",
                field.name()
            ))
            .with_hint(format!("Declare it with 6 digits instead of {p}."))
        };
        Ok(match &sql_type {
            SqlType::Boolean => Self::Bool,
            SqlType::SmallInt => Self::Int2,
            SqlType::Int => Self::Int4,
            SqlType::BigInt => Self::Int8,
            SqlType::Float => Self::Float4,
            SqlType::Double => Self::Float8,
            SqlType::Decimal(..) => Self::Numeric,
            SqlType::Char(_) | SqlType::Varchar(_) => Self::Text,
            SqlType::Binary(_) | SqlType::Varbinary(_) => Self::Bytea,
            SqlType::Date => Self::Date,
            SqlType::Time(_) => Self::Time,
            SqlType::Timestamp(p) | SqlType::TimestampLtz(p) if *p > 6 => return Err(too_fine(*p)),
            SqlType::Timestamp(_) => Self::Timestamp,
            SqlType::TimestampLtz(_) => Self::TimestampTz,
            SqlType::Array(element) => {
                let inner = Self::of(&element.data_type.to_field(field.name(), true))?;
                if matches!(inner, Self::Array(_)) {
                    return Err(Error::unsupported(
                        "An array of arrays in a 'jdbc' table",
                        "Leave the column out.",
                    ));
                }
                Self::Array(Box::new(inner))
            }
            other => {
                return Err(Error::user(format!("The PostgreSQL dialect doesn't support type: {other}."))
                    .with_hint(format!(
                        "Declare column '{}' with a type that PostgreSQL has, or leave it out.",
                        field.name()
                    )));
            }
        })
    }

    /// PostgreSQL's name.
    pub fn name(&self) -> String {
        match self {
            Self::Bool => "boolean".into(),
            Self::Int2 => "smallint".into(),
            Self::Int4 => "integer".into(),
            Self::Int8 => "bigint".into(),
            Self::Float4 => "real".into(),
            Self::Float8 => "double precision".into(),
            Self::Numeric => "numeric".into(),
            Self::Text => "text".into(),
            Self::Bytea => "bytea".into(),
            Self::Date => "date".into(),
            Self::Time => "time".into(),
            Self::Timestamp => "timestamp".into(),
            Self::TimestampTz => "timestamptz".into(),
            Self::Array(inner) => format!("{}[]", inner.name()),
        }
    }

    /// The type as which columns of it are sent: an array's elements as a text.
    fn sent(&self) -> Self {
        match self {
            Self::Array(_) => Self::Text,
            other => other.clone(),
        }
    }

    /// The parameter for a whole column, `$n::type[]`.
    pub fn parameter(&self, number: usize) -> String {
        format!("${number}::{}[]", self.sent().name())
    }

    fn oid(&self) -> u32 {
        match self {
            Self::Bool => Type::BOOL.oid(),
            Self::Int2 => Type::INT2.oid(),
            Self::Int4 => Type::INT4.oid(),
            Self::Int8 => Type::INT8.oid(),
            Self::Float4 => Type::FLOAT4.oid(),
            Self::Float8 => Type::FLOAT8.oid(),
            Self::Numeric => Type::NUMERIC.oid(),
            Self::Text | Self::Array(_) => Type::TEXT.oid(),
            Self::Bytea => Type::BYTEA.oid(),
            Self::Date => Type::DATE.oid(),
            Self::Time => Type::TIME.oid(),
            Self::Timestamp => Type::TIMESTAMP.oid(),
            Self::TimestampTz => Type::TIMESTAMPTZ.oid(),
        }
    }
}

/// Whether PostgreSQL sends values of `of` as their plain text.
pub(super) fn is_text(of: &Type) -> bool {
    matches!(*of, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::XML)
        || matches!(of.kind(), tokio_postgres::types::Kind::Enum(_))
}

/// A value's bytes as they come.
pub(super) struct Raw<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A column of values of type `pg` as `field` has them.
///
/// Errors: values that Flink's type has not: NaN, infinity, arrays in arrays.
pub(super) fn decode(pg: &PgType, values: &[Option<&[u8]>], field: &Field) -> Result<ArrayRef> {
    fn fixed<T, const N: usize>(
        values: &[Option<&[u8]>],
        field: &Field,
        read: impl Fn([u8; N]) -> Result<T>,
    ) -> Result<Vec<Option<T>>> {
        let one = |v: &Option<&[u8]>| match v {
            None => Ok(None),
            Some(bytes) => <[u8; N]>::try_from(*bytes).map_err(|_| broken(field)).and_then(&read).map(Some),
        };
        values.iter().map(one).collect()
    }
    let infinite = || {
        Error::user(format!("Column '{}' holds infinity, which no time of Flink is.", field.name()))
            .with_hint("Read a view that maps it to a date.")
    };
    let time = |bytes: [u8; 8]| {
        let micros = i64::from_be_bytes(bytes);
        micros
            .checked_add(EPOCH_MICROS)
            .filter(|_| micros != i64::MAX && micros != i64::MIN)
            .ok_or_else(infinite)
    };
    let array: ArrayRef = match pg {
        PgType::Bool => Arc::new(BooleanArray::from(fixed(values, field, |[b]: [u8; 1]| Ok(b != 0))?)),
        PgType::Int2 => Arc::new(Int16Array::from(fixed(values, field, |b| Ok(i16::from_be_bytes(b)))?)),
        PgType::Int4 => Arc::new(Int32Array::from(fixed(values, field, |b| Ok(i32::from_be_bytes(b)))?)),
        PgType::Int8 => Arc::new(Int64Array::from(fixed(values, field, |b| Ok(i64::from_be_bytes(b)))?)),
        PgType::Float4 => Arc::new(Float32Array::from(fixed(values, field, |b| Ok(f32::from_be_bytes(b)))?)),
        PgType::Float8 => Arc::new(Float64Array::from(fixed(values, field, |b| Ok(f64::from_be_bytes(b)))?)),
        PgType::Numeric => {
            let DataType::Decimal128(precision, scale) = field.data_type() else { return Err(broken(field)) };
            let most = 10_i128.pow(u32::from(*precision)) - 1;
            let one = |v: &Option<&[u8]>| match v {
                None => Ok(None),
                // Flink: what is too large for the type is NULL.
                Some(bytes) => Ok(numeric(bytes, *scale, field)?.filter(|n| n.abs() <= most)),
            };
            let all = values.iter().map(one).collect::<Result<Vec<_>>>()?;
            Arc::new(Decimal128Array::from(all).with_precision_and_scale(*precision, *scale)?)
        }
        PgType::Text => {
            let mut texts: Vec<Option<&str>> = Vec::with_capacity(values.len());
            for value in values {
                texts.push(match value {
                    None => None,
                    Some(bytes) => Some(simdutf8::basic::from_utf8(bytes).map_err(|_| broken(field))?),
                });
            }
            Arc::new(StringArray::from(texts))
        }
        PgType::Bytea => Arc::new(BinaryArray::from(values.to_vec())),
        PgType::Date => Arc::new(Date32Array::from(fixed(values, field, |b| {
            let days = i32::from_be_bytes(b);
            days.checked_add(EPOCH_DAYS).filter(|_| days != i32::MIN).ok_or_else(infinite)
        })?)),
        PgType::Time => Arc::new(Time32MillisecondArray::from(fixed(values, field, |b| {
            Ok((i64::from_be_bytes(b) / 1000) as i32)
        })?)),
        PgType::Timestamp => Arc::new(TimestampMicrosecondArray::from(fixed(values, field, time)?)),
        PgType::TimestampTz => {
            Arc::new(TimestampMicrosecondArray::from(fixed(values, field, time)?).with_timezone("UTC"))
        }
        PgType::Array(inner) => return lists(inner, values, field),
    };
    if array.data_type() == field.data_type() { Ok(array) } else { Ok(cast(&array, field.data_type())?) }
}

fn broken(field: &Field) -> Error {
    Error::external(format!("A value of column '{}' came in a form that is not its type's.", field.name()))
}

fn lists(inner: &PgType, values: &[Option<&[u8]>], field: &Field) -> Result<ArrayRef> {
    let DataType::List(element) = field.data_type() else { return Err(broken(field)) };
    let mut elements: Vec<Option<&[u8]>> = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for value in values {
        let before = elements.len();
        if let Some(mut bytes) = *value {
            let mut int = || -> Result<i32> {
                let (first, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| broken(field))?;
                bytes = rest;
                Ok(i32::from_be_bytes(*first))
            };
            let dimensions = int()?;
            let (_, _) = (int()?, int()?);
            if dimensions > 1 {
                return Err(Error::user(format!("Column '{}' holds an array of arrays.", field.name()))
                    .with_hint("Read a view in which it is an array of values."));
            }
            let count = if dimensions == 0 { 0 } else { (int()?, int()?).0 };
            for _ in 0..count {
                let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| broken(field))?;
                let length = i32::from_be_bytes(*length);
                bytes = rest;
                if length < 0 {
                    elements.push(None);
                    continue;
                }
                let (value, rest) = bytes.split_at_checked(length as usize).ok_or_else(|| broken(field))?;
                bytes = rest;
                elements.push(Some(value));
            }
        }
        lengths.push(elements.len() - before);
    }
    let items = decode(inner, &elements, element)?;
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, items, Some(nulls))?))
}

/// A numeric with `scale` digits behind the point, the rest rounded half up; `None` if it is too large.
fn numeric(bytes: &[u8], scale: i8, field: &Field) -> Result<Option<i128>> {
    let mut words = bytes.chunks_exact(2).map(|w| i16::from_be_bytes([w[0], w[1]]));
    let mut next = || words.next().ok_or_else(|| broken(field));
    let (count, weight, sign, _) = (next()?, next()?, next()? as u16, next()?);
    if sign & 0xC000 == 0xC000 {
        return Err(Error::user(format!(
            "Column '{}' holds NaN or infinity, which no DECIMAL is.",
            field.name()
        ))
        .with_hint("Declare the column as DOUBLE."));
    }
    let mut sum = Some(0_i128);
    let mut rounds_up = false;
    for index in 0..i32::from(count) {
        let digit = i128::from(next()?);
        // The digit stands for four decimal ones, of which the last has this place; 0 is the last that is kept.
        let place = (i32::from(weight) - index) * 4 + i32::from(scale);
        let part = match place {
            0.. => 10_i128.checked_pow(place as u32).and_then(|p| p.checked_mul(digit)),
            -4..=-1 => {
                let power = 10_i128.pow(place.unsigned_abs());
                rounds_up = digit / (power / 10) % 10 >= 5;
                Some(digit / power)
            }
            _ => Some(0),
        };
        // Zero digits of a large place do no harm.
        let part = if digit == 0 { Some(0) } else { part };
        sum = sum.zip(part).and_then(|(sum, part)| sum.checked_add(part));
    }
    let sum = sum.map(|s| s + i128::from(rounds_up));
    Ok(sum.map(|s| if sign == 0x4000 { -s } else { s }))
}

/// A column as one parameter, an array.
#[derive(Debug)]
pub(super) struct ColumnParam {
    pg: PgType,
    column: ArrayRef,
}

impl ColumnParam {
    /// `column` of type `pg`.
    pub fn new(pg: &PgType, column: &ArrayRef) -> Result<Self> {
        let column = match pg {
            PgType::Timestamp => cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
            PgType::TimestampTz => {
                cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?
            }
            PgType::Array(inner) => Arc::new(array_texts(inner, column)?),
            _ => Arc::clone(column),
        };
        Ok(Self { pg: pg.sent(), column })
    }
}

impl ToSql for ColumnParam {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let rows = self.column.len();
        out.put_i32(1);
        out.put_i32(i32::from(self.column.null_count() > 0));
        out.put_u32(self.pg.oid());
        out.put_i32(i32::try_from(rows)?);
        out.put_i32(1);
        for row in 0..rows {
            if self.column.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            let at = out.len();
            out.put_i32(0);
            put(&self.pg, &self.column, row, out);
            let length = i32::try_from(out.len() - at - 4)?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The value of `row`, which is not NULL.
fn put(pg: &PgType, column: &ArrayRef, row: usize, out: &mut BytesMut) {
    match pg {
        PgType::Bool => out.put_u8(u8::from(column.as_boolean().value(row))),
        PgType::Int2 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        PgType::Int4 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        PgType::Int8 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        PgType::Float4 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        PgType::Float8 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        PgType::Numeric => {
            let column = column.as_primitive::<Decimal128Type>();
            put_numeric(column.value(row), column.scale(), out);
        }
        PgType::Text | PgType::Array(_) => out.put_slice(column.as_string::<i32>().value(row).as_bytes()),
        PgType::Bytea => out.put_slice(column.as_binary::<i32>().value(row)),
        PgType::Date => out.put_i32(column.as_primitive::<Date32Type>().value(row) - EPOCH_DAYS),
        PgType::Time => {
            out.put_i64(i64::from(column.as_primitive::<Time32MillisecondType>().value(row)) * 1000);
        }
        PgType::Timestamp | PgType::TimestampTz => {
            out.put_i64(column.as_primitive::<TimestampMicrosecondType>().value(row) - EPOCH_MICROS);
        }
    }
}

fn put_numeric(value: i128, scale: i8, out: &mut BytesMut) {
    let scale = usize::try_from(scale).unwrap_or_default();
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let whole = format!("{whole:0>width$}", width = whole.len().div_ceil(4) * 4);
    let fraction = format!("{fraction:0<width$}", width = fraction.len().div_ceil(4) * 4);
    let mut words: Vec<i16> = whole
        .as_bytes()
        .chunks(4)
        .chain(fraction.as_bytes().chunks(4))
        .map(|four| four.iter().fold(0, |n, d| n * 10 + i16::from(d - b'0')))
        .collect();
    let mut weight = (whole.len() / 4) as i16 - 1;
    let leading = words.iter().take_while(|w| **w == 0).count();
    words.drain(..leading);
    weight -= leading as i16;
    while words.last() == Some(&0) {
        words.pop();
    }
    if words.is_empty() {
        weight = 0;
    }
    out.put_i16(words.len() as i16);
    out.put_i16(weight);
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_i16(scale as i16);
    words.into_iter().for_each(|w| out.put_i16(w));
}

/// Arrays as PostgreSQL writes them: `{1,NULL,"a b"}`.
fn array_texts(inner: &PgType, column: &ArrayRef) -> Result<StringArray> {
    if *inner == PgType::Bytea {
        return Err(Error::unsupported(
            "Writing an array of BYTES to a 'jdbc' table",
            "Leave the column out.",
        ));
    }
    let texts = |row: usize| -> Result<Option<String>> {
        if column.is_null(row) {
            return Ok(None);
        }
        let items = column.as_list::<i32>().value(row);
        let items = cast(&items, &DataType::Utf8)?;
        let quoted = |item: Option<&str>| match item {
            None => "NULL".to_string(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        let items: Vec<String> = items.as_string::<i32>().iter().map(quoted).collect();
        Ok(Some(format!("{{{}}}", items.join(","))))
    };
    Ok(StringArray::from((0..column.len()).map(texts).collect::<Result<Vec<_>>>()?))
}

/// The types of `fields`.
///
/// Errors: as [`PgType::of`].
pub(super) fn types_of(fields: &[FieldRef]) -> Result<Vec<PgType>> {
    fields.iter().map(|f| PgType::of(f)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes decimals and reads them again, with another scale.
    fn there_and_back(value: i128, scale: i8, into: i8) -> Option<i128> {
        let mut out = BytesMut::new();
        put_numeric(value, scale, &mut out);
        numeric(&out, into, &Field::new("n", DataType::Decimal128(38, into), true)).unwrap()
    }

    #[test]
    fn decimals_keep_their_digits() {
        for value in [0, 1, -1, 9999, 10_000, 123_456_789, -100_000_000, 5, 12_340_000, 10_i128.pow(37)] {
            for scale in [0, 1, 2, 3, 4, 5, 10] {
                assert_eq!(there_and_back(value, scale, scale), Some(value), "{value} of scale {scale}");
            }
        }
    }

    #[test]
    fn digits_beyond_the_scale_are_rounded_half_up() {
        assert_eq!(there_and_back(12_345, 3, 2), Some(1_235));
        assert_eq!(there_and_back(-12_345, 3, 2), Some(-1_235));
        assert_eq!(there_and_back(12_344, 3, 2), Some(1_234));
        assert_eq!(there_and_back(5, 1, 0), Some(1));
        assert_eq!(there_and_back(4_999_999, 7, 0), Some(0));
        assert_eq!(there_and_back(99_995, 5, 4), Some(10_000));
        assert_eq!(there_and_back(1, 0, 5), Some(100_000));
        assert_eq!(there_and_back(10_i128.pow(37), 0, 10), None);
    }

    #[test]
    fn arrays_are_written_as_texts() {
        let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        list.append_value([Some("a \"b\""), None, Some("c\\")]);
        list.append_null();
        list.append_value([] as [Option<&str>; 0]);
        let column: ArrayRef = Arc::new(list.finish());
        let texts = array_texts(&PgType::Text, &column).unwrap();
        let texts: Vec<_> = texts.iter().collect();
        assert_eq!(texts, [Some(r#"{"a \"b\"",NULL,"c\\"}"#), None, Some("{}")]);
    }
}
