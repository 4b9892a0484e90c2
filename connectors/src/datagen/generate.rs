//! Columns of made-up values. Each cell has its own small random generator, seeded by split, column path and row
//! number, so that a row is the same however the rows are cut into batches, and after a restart.

use crate::formats::java::{DecimalText, write_decimal};
use crate::options::OptionReader;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanArray, Decimal128Array, Float32Array, Float64Array,
    ListArray, MapArray, NullArray, PrimitiveArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTime,
    IntervalDayTimeType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use engine::error::{Error, Result};
use std::sync::Arc;

const DEFAULT_LENGTH: usize = 100;
/// Entries of an ARRAY, MAP or MULTISET without a `length`, as Flink has it.
const DEFAULT_ELEMENTS: usize = 3;
/// The most characters, bytes or elements that a generated value may have.
pub(super) const MAX_LENGTH: usize = 1_000_000;

/// Makes the values of one field, nested ones included.
#[derive(Debug, Clone)]
pub(super) struct Generator {
    field: FieldRef,
    kind: Kind,
    null_rate: f64,
    seed: u64,
}

#[derive(Debug, Clone)]
enum Kind {
    Integer { min: i64, max: i64 },
    Decimal { min: i128, max: i128 },
    Float { min: f64, max: f64 },
    Boolean,
    Text { length: usize, var_len: bool },
    Bytes { length: usize, var_len: bool },
    Time { max_past_ms: i64 },
    List { length: usize, var_len: bool, item: Box<Generator> },
    Map { length: usize, var_len: bool, key: Box<Generator>, value: Box<Generator> },
    Row(Vec<Generator>),
    Sequence { start: i64, end: i64 },
    Null,
}

/// A field's option: suffix and meaning.
pub(super) const FIELD_OPTIONS: &[(&str, &str)] = &[
    ("kind", "`random` or `sequence`; a sequence ends, and makes the table bounded."),
    ("min", "Least random number."),
    ("max", "Greatest random number."),
    ("max-past", "How far before now a random timestamp may lie."),
    ("length", "Characters of a text, bytes of BYTES, elements of a collection."),
    ("var-len", "Whether `length` is only the most, and lengths vary."),
    ("null-rate", "Share of NULLs, from 0 to 1."),
    ("start", "First number of a sequence."),
    ("end", "Last number of a sequence."),
];

/// The keys that can be set for `field` and what is nested in it, `prefix` being its path.
pub(super) fn keys(field: &Field, prefix: &str, keys: &mut Vec<String>) {
    let mut add = |suffixes: &[&str]| keys.extend(suffixes.iter().map(|s| format!("{prefix}.{s}")));
    const SEQUENCE: &[&str] = &["kind", "null-rate", "start", "end"];
    match field.data_type() {
        t if t.is_integer() || t.is_floating() || matches!(t, DataType::Decimal128(..)) => {
            add(SEQUENCE);
            add(&["min", "max"]);
        }
        DataType::Utf8 => {
            add(SEQUENCE);
            add(&["length", "var-len"]);
        }
        DataType::Binary => add(&["kind", "null-rate", "length", "var-len"]),
        DataType::Timestamp(..) => add(&["kind", "null-rate", "max-past"]),
        DataType::List(item) => {
            add(&["kind", "null-rate", "length", "var-len"]);
            self::keys(item, &format!("{prefix}.element"), keys);
        }
        DataType::Map(entries, _) => {
            add(&["kind", "null-rate", "length", "var-len"]);
            if let DataType::Struct(pair) = entries.data_type() {
                self::keys(&pair[0], &format!("{prefix}.key"), keys);
                self::keys(&pair[1], &format!("{prefix}.value"), keys);
            }
        }
        DataType::Struct(fields) => {
            add(&["null-rate"]);
            fields.iter().for_each(|f| self::keys(f, &format!("{prefix}.{}", f.name()), keys));
        }
        DataType::Interval(_) => add(&["kind", "null-rate", "min", "max"]),
        _ => add(&["kind", "null-rate"]),
    }
}

/// The length in a declared type such as `VARCHAR(5)`; `None` for STRING and BYTES.
fn declared_length(field: &Field) -> Option<(bool, usize)> {
    let text = field.metadata().get("runnel.type")?;
    let (name, rest) = text.split_once('(')?;
    let length = rest.strip_suffix(')')?.parse().ok()?;
    Some((matches!(name, "CHAR" | "BINARY"), length))
}

impl Generator {
    /// The generator of `field` with the options that start with `prefix` (`fields.a.b`).
    ///
    /// Errors: an option that the field's type does not take or cannot hold.
    pub fn new(field: &FieldRef, prefix: &str, options: &OptionReader) -> Result<Self> {
        let key = |suffix: &str| format!("{prefix}.{suffix}");
        let null_rate = options.number::<f64>(&key("null-rate"))?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&null_rate) {
            return Err(Error::user(format!(
                "Option '{}' takes a number from 0 to 1, not {null_rate}.",
                key("null-rate")
            )));
        }
        let sequence = options.choice(&key("kind"), &["random", "sequence"])? == Some(1);
        let kind = if sequence {
            Self::sequence(field, prefix, options)?
        } else {
            Self::random(field, prefix, options)?
        };
        Ok(Self { field: field.clone(), kind, null_rate, seed: hash(prefix.as_bytes()) })
    }

    fn sequence(field: &FieldRef, prefix: &str, options: &OptionReader) -> Result<Kind> {
        let bound = |suffix: &str| {
            let key = format!("{prefix}.{suffix}");
            options.number::<i64>(&key)?.ok_or_else(|| {
                Error::user(format!("A sequence needs the option '{key}'."))
                    .with_hint(format!("Add '{key}' = '1' to WITH, or leave 'kind' out for random values."))
            })
        };
        let numeric = field.data_type().is_numeric() || field.data_type() == &DataType::Utf8;
        if !numeric {
            return Err(Error::user(format!(
                "Column `{}` cannot be a sequence: only numbers and STRING can.",
                field.name()
            )));
        }
        let (start, end) = (bound("start")?, bound("end")?);
        if start > end {
            return Err(Error::user(format!(
                "Option '{prefix}.start' ({start}) must not be greater than '{prefix}.end' ({end})."
            )));
        }
        if let Some((least, most)) = integer_range(field.data_type()).filter(|(l, m)| start < *l || end > *m)
        {
            return Err(Error::user(format!(
                "The sequence of column `{}` goes from {start} to {end}, but its type holds {least} to {most}.",
                field.name()
            )));
        }
        Ok(Kind::Sequence { start, end })
    }

    fn random(field: &FieldRef, prefix: &str, options: &OptionReader) -> Result<Kind> {
        let key = |suffix: &str| format!("{prefix}.{suffix}");
        let length = |default: usize| -> Result<usize> {
            match options.number::<usize>(&key("length"))? {
                Some(n) if n > MAX_LENGTH => Err(Error::user(format!(
                    "Option '{}' takes at most {MAX_LENGTH}, not {n}.",
                    key("length")
                ))),
                n => Ok(n.unwrap_or(default)),
            }
        };
        let var_len = || options.boolean(&key("var-len"));
        let ordered = |fits: bool| match fits {
            true => Ok(()),
            false => Err(Error::user(format!(
                "Option '{}' must not be greater than '{}'.",
                key("min"),
                key("max")
            ))),
        };
        Ok(match field.data_type() {
            t if t.is_integer() || matches!(t, DataType::Interval(_)) => {
                let (least, most) = integer_range(t).unwrap_or((0, 1000));
                let min = options.number::<i64>(&key("min"))?.unwrap_or(least);
                let max = options.number::<i64>(&key("max"))?.unwrap_or(most);
                ordered(min <= max)?;
                if integer_range(t).is_some_and(|(l, m)| min < l || max > m) {
                    return Err(Error::user(format!(
                        "'{}' and '{}' must lie from {least} to {most}, which is what the type of column `{}` holds.",
                        key("min"),
                        key("max"),
                        field.name()
                    )));
                }
                Kind::Integer { min, max }
            }
            t if t.is_floating() => {
                let greatest = if t == &DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
                let min = options.number::<f64>(&key("min"))?.unwrap_or(0.0);
                let max = options.number::<f64>(&key("max"))?.unwrap_or(greatest);
                ordered(min <= max)?;
                Kind::Float { min, max }
            }
            DataType::Decimal128(precision, scale) => {
                let most = 10i128.pow(u32::from(*precision)) - 1;
                let bound = |suffix: &str, default: i128| -> Result<i128> {
                    let Some(value) = options.number::<f64>(&key(suffix))? else { return Ok(default) };
                    let unscaled = (value * 10f64.powi(i32::from(*scale))).round();
                    if unscaled.abs() > most as f64 {
                        let mut text = Vec::new();
                        write_decimal(&mut text, most, *scale, false, DecimalText::Plain);
                        return Err(Error::user(format!(
                            "Option '{}' is {value}, but the type of column `{}` holds at most {}.",
                            key(suffix),
                            field.name(),
                            String::from_utf8_lossy(&text)
                        )));
                    }
                    Ok(unscaled as i128)
                };
                let (min, max) = (bound("min", 0)?, bound("max", most)?);
                ordered(min <= max)?;
                Kind::Decimal { min, max }
            }
            DataType::Boolean => Kind::Boolean,
            DataType::Utf8 | DataType::Binary => {
                let (fixed, declared) = declared_length(field).unwrap_or((false, usize::MAX));
                let length = length(declared.min(if fixed { usize::MAX } else { DEFAULT_LENGTH }))?;
                if length > declared {
                    return Err(Error::user(format!(
                        "Option '{}' is {length}, but the type of column `{}` holds at most {declared}.",
                        key("length"),
                        field.name()
                    )));
                }
                let var_len = !fixed && var_len()?;
                if field.data_type() == &DataType::Utf8 {
                    Kind::Text { length, var_len }
                } else {
                    Kind::Bytes { length, var_len }
                }
            }
            DataType::Timestamp(..) => {
                let past = options.duration_ms(&key("max-past"))?.unwrap_or(0);
                Kind::Time { max_past_ms: i64::try_from(past).unwrap_or(i64::MAX) }
            }
            DataType::Date32 | DataType::Time32(_) => Kind::Time { max_past_ms: 0 },
            DataType::List(item) => Kind::List {
                length: length(DEFAULT_ELEMENTS)?,
                var_len: var_len()?,
                item: Box::new(Self::new(item, &key("element"), options)?),
            },
            DataType::Map(entries, _) => {
                let DataType::Struct(pair) = entries.data_type() else {
                    return Err(Error::internal("a map without entries"));
                };
                Kind::Map {
                    length: length(DEFAULT_ELEMENTS)?,
                    var_len: var_len()?,
                    key: Box::new(Self::new(&pair[0], &key("key"), options)?),
                    value: Box::new(Self::new(&pair[1], &key("value"), options)?),
                }
            }
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|f| Self::new(f, &key(f.name()), options));
                Kind::Row(fields.collect::<Result<_>>()?)
            }
            DataType::Null => Kind::Null,
            other => {
                return Err(Error::unsupported(
                    format!("Generating values of {other} for column `{}`", field.name()),
                    "Leave the column out of the datagen table and compute it in the query.",
                ));
            }
        })
    }

    /// Number of rows after which a sequence in it is over; `None` without one.
    pub fn rows(&self) -> Option<u64> {
        match &self.kind {
            Kind::Sequence { start, end } => Some((*end as i128 - *start as i128 + 1) as u64),
            Kind::Row(fields) => fields.iter().filter_map(Self::rows).min(),
            _ => None,
        }
    }

    /// The same for fewer fields: what of it `wanted` asks for.
    pub fn project(&self, wanted: &FieldRef) -> Self {
        let kind = match (&self.kind, wanted.data_type()) {
            (Kind::Row(all), DataType::Struct(fields)) => Kind::Row(
                fields
                    .iter()
                    .filter_map(|f| Some(all.iter().find(|g| g.field.name() == f.name())?.project(f)))
                    .collect(),
            ),
            (kind, _) => kind.clone(),
        };
        Self { field: wanted.clone(), kind, ..self.clone() }
    }

    /// Values of `rows`, which are row numbers of the whole table. `salt` tells splits apart.
    pub fn generate(&self, rows: &[u64], salt: u64, now_ms: i64) -> ArrayRef {
        let seed = mix(self.seed ^ salt);
        let cell = |row: u64| Cell(mix(seed ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let null = |row: u64| self.null_rate > 0.0 && Cell(mix(!seed ^ row)).unit() < self.null_rate;
        let nulls = (self.null_rate > 0.0 && self.field.is_nullable())
            .then(|| NullBuffer::from_iter(rows.iter().map(|r| !null(*r))));
        let each = || rows.iter().map(|r| cell(*r));
        match (&self.kind, self.field.data_type()) {
            (Kind::Sequence { start, .. }, DataType::Utf8) => {
                let mut values = StringBuilder::new();
                for (i, row) in rows.iter().enumerate() {
                    let value = start.wrapping_add(*row as i64);
                    values.append_option(valid(&nulls, i).then(|| value.to_string()));
                }
                Arc::new(values.finish())
            }
            (Kind::Sequence { start, .. }, _) => {
                self.integers(rows.iter().map(|r| start.wrapping_add(*r as i64)), nulls)
            }
            (Kind::Integer { min, max }, _) => {
                self.integers(each().map(|mut c| c.between(*min, *max)), nulls)
            }
            (Kind::Decimal { min, max }, t) => {
                let values = each().map(|mut c| {
                    let span = (max - min) as u128 + 1;
                    let draw = (u128::from(c.next()) << 64) | u128::from(c.next());
                    min + (draw % span) as i128
                });
                let values = PrimitiveArray::new(values.collect(), nulls);
                Arc::new(with_decimal_type(values, t))
            }
            (Kind::Float { min, max }, t) => {
                let values = each().map(|mut c| {
                    let share = c.unit();
                    min * (1.0 - share) + max * share
                });
                match t {
                    DataType::Float32 => {
                        Arc::new(Float32Array::new(values.map(|v| v as f32).collect(), nulls))
                    }
                    _ => Arc::new(Float64Array::new(values.collect(), nulls)),
                }
            }
            (Kind::Boolean, _) => {
                Arc::new(BooleanArray::new(each().map(|mut c| c.next() & 1 == 1).collect(), nulls))
            }
            (Kind::Text { length, var_len }, _) => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let mut values = StringBuilder::new();
                let mut text = String::new();
                for (i, mut cell) in each().enumerate() {
                    text.clear();
                    let length = cell.length(*length, *var_len);
                    while text.len() < length {
                        let draw = cell.next();
                        let digits = (length - text.len()).min(16);
                        text.extend((0..digits).map(|d| char::from(HEX[(draw >> (4 * d)) as usize & 15])));
                    }
                    values.append_option(valid(&nulls, i).then_some(&text));
                }
                Arc::new(values.finish())
            }
            (Kind::Bytes { length, var_len }, _) => {
                let mut values = BinaryBuilder::new();
                for (i, mut cell) in each().enumerate() {
                    let length = cell.length(*length, *var_len);
                    let bytes = (0..length).map(|_| cell.next() as u8).collect::<Vec<_>>();
                    values.append_option(valid(&nulls, i).then_some(bytes));
                }
                Arc::new(values.finish())
            }
            (Kind::Time { max_past_ms }, t) => {
                let times = each().map(|mut c| match *max_past_ms {
                    0 => now_ms,
                    past => now_ms.saturating_sub(c.between(0, past)),
                });
                self.times(t, times, nulls)
            }
            (Kind::List { length, var_len, item }, DataType::List(field)) => {
                let (offsets, inner) = nested_rows(rows, each(), *length, *var_len);
                let values = item.generate(&inner, salt, now_ms);
                Arc::new(ListArray::new(field.clone(), offsets, values, nulls))
            }
            (Kind::Map { length, var_len, key, value }, DataType::Map(entries, sorted)) => {
                let (offsets, inner) = nested_rows(rows, each(), *length, *var_len);
                let DataType::Struct(pair) = entries.data_type() else { return self.all_null(rows.len()) };
                let columns = vec![key.generate(&inner, salt, now_ms), value.generate(&inner, salt, now_ms)];
                let values = StructArray::new(pair.clone(), columns, None);
                Arc::new(MapArray::new(entries.clone(), offsets, values, nulls, *sorted))
            }
            (Kind::Row(generators), DataType::Struct(fields)) => {
                let columns = generators.iter().map(|g| g.generate(rows, salt, now_ms)).collect::<Vec<_>>();
                match StructArray::try_new_with_length(fields.clone(), columns, nulls, rows.len()) {
                    Ok(array) => Arc::new(array),
                    Err(_) => self.all_null(rows.len()),
                }
            }
            _ => self.all_null(rows.len()),
        }
    }

    fn all_null(&self, rows: usize) -> ArrayRef {
        match self.field.data_type() {
            DataType::Null => Arc::new(NullArray::new(rows)),
            t => arrow::array::new_null_array(t, rows),
        }
    }

    fn integers(&self, values: impl Iterator<Item = i64>, nulls: Option<NullBuffer>) -> ArrayRef {
        fn of<T: ArrowPrimitiveType>(
            values: impl Iterator<Item = T::Native>,
            nulls: Option<NullBuffer>,
        ) -> ArrayRef {
            Arc::new(PrimitiveArray::<T>::new(values.collect(), nulls))
        }
        match self.field.data_type() {
            DataType::Int8 => of::<Int8Type>(values.map(|v| v as i8), nulls),
            DataType::Int16 => of::<Int16Type>(values.map(|v| v as i16), nulls),
            DataType::Int32 => of::<Int32Type>(values.map(|v| v as i32), nulls),
            DataType::Float32 => Arc::new(Float32Array::new(values.map(|v| v as f32).collect(), nulls)),
            DataType::Float64 => Arc::new(Float64Array::new(values.map(|v| v as f64).collect(), nulls)),
            DataType::Decimal128(_, scale) => {
                let factor = 10i128.pow(u32::from(scale.unsigned_abs()));
                let values = values.map(|v| i128::from(v) * factor);
                let values = PrimitiveArray::new(values.collect(), nulls);
                Arc::new(with_decimal_type(values, self.field.data_type()))
            }
            DataType::Interval(IntervalUnit::YearMonth) => {
                of::<IntervalYearMonthType>(values.map(|v| v as i32), nulls)
            }
            DataType::Interval(IntervalUnit::DayTime) => {
                let days = |v: i64| IntervalDayTime::new((v / 86_400_000) as i32, (v % 86_400_000) as i32);
                of::<IntervalDayTimeType>(values.map(days), nulls)
            }
            _ => of::<Int64Type>(values, nulls),
        }
    }

    fn times(&self, t: &DataType, ms: impl Iterator<Item = i64>, nulls: Option<NullBuffer>) -> ArrayRef {
        fn of<T>(
            values: impl Iterator<Item = i64>,
            nulls: Option<NullBuffer>,
            zone: Option<Arc<str>>,
        ) -> ArrayRef
        where
            T: ArrowPrimitiveType<Native = i64> + arrow::datatypes::ArrowTimestampType,
        {
            Arc::new(PrimitiveArray::<T>::new(values.collect(), nulls).with_timezone_opt(zone))
        }
        match t {
            DataType::Date32 => {
                let values = ms.map(|v| v.div_euclid(86_400_000) as i32);
                Arc::new(PrimitiveArray::<Date32Type>::new(values.collect(), nulls))
            }
            DataType::Timestamp(unit, zone) => match unit {
                TimeUnit::Second => {
                    of::<TimestampSecondType>(ms.map(|v| v.div_euclid(1000)), nulls, zone.clone())
                }
                TimeUnit::Millisecond => of::<TimestampMillisecondType>(ms, nulls, zone.clone()),
                TimeUnit::Microsecond => {
                    of::<TimestampMicrosecondType>(ms.map(|v| v.saturating_mul(1000)), nulls, zone.clone())
                }
                TimeUnit::Nanosecond => of::<TimestampNanosecondType>(
                    ms.map(|v| v.saturating_mul(1_000_000)),
                    nulls,
                    zone.clone(),
                ),
            },
            _ => {
                let values = ms.map(|v| v.rem_euclid(86_400_000) as i32);
                Arc::new(PrimitiveArray::<Time32MillisecondType>::new(values.collect(), nulls))
            }
        }
    }
}

fn valid(nulls: &Option<NullBuffer>, row: usize) -> bool {
    nulls.as_ref().is_none_or(|n| n.is_valid(row))
}

fn with_decimal_type(values: Decimal128Array, t: &DataType) -> Decimal128Array {
    values.with_data_type(t.clone())
}

/// Offsets of the elements of each row, and a number for each element that tells it from all others.
fn nested_rows(
    rows: &[u64],
    cells: impl Iterator<Item = Cell>,
    length: usize,
    var_len: bool,
) -> (OffsetBuffer<i32>, Vec<u64>) {
    let mut inner = Vec::new();
    let mut lengths = Vec::with_capacity(rows.len());
    for (row, mut cell) in rows.iter().zip(cells) {
        let n = cell.length(length, var_len);
        lengths.push(n);
        inner.extend((0..n as u64).map(|i| row.wrapping_mul(MAX_LENGTH as u64).wrapping_add(i)));
    }
    (OffsetBuffer::from_lengths(lengths), inner)
}

fn integer_range(t: &DataType) -> Option<(i64, i64)> {
    Some(match t {
        DataType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DataType::Int64 => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

/// FNV-1a, for seeds from names.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// SplitMix64: the random numbers of one cell.
struct Cell(u64);

impl Cell {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, min: i64, max: i64) -> i64 {
        let span = (max as i128 - min as i128 + 1) as u128;
        (min as i128 + ((u128::from(self.next()) * span) >> 64) as i128) as i64
    }

    fn length(&mut self, most: usize, vary: bool) -> usize {
        if vary && most > 1 { self.between(1, most as i64) as usize } else { most }
    }
}
