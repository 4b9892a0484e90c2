//! Columns that grow value by value and can be cut back to an earlier row: a tree after the schema of the projection.

use super::json::KeyOrder;
use super::values::MinuteCache;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray, NullArray, PrimitiveArray,
    StringArray, StructArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Fields, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalDayTime, IntervalDayTimeType, IntervalUnit, IntervalYearMonthType,
    Time32MillisecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::datatypes::{Field, FieldRef};
use engine::error::{Error, Result};
use std::sync::Arc;

/// One field being filled. All its parts always hold `len` values.
#[derive(Debug)]
pub(super) struct Column {
    pub field: FieldRef,
    pub len: usize,
    /// One entry for each value, made when the first NULL comes.
    validity: Option<Vec<bool>>,
    pub values: Values,
}

/// Values by kind of type.
#[derive(Debug)]
pub(super) enum Values {
    Null,
    Boolean(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal { precision: u8, scale: i8, values: Vec<i128> },
    Text(Bytes),
    Binary(Bytes),
    Date(Vec<i32>),
    Time(Vec<i32>),
    Timestamp { unit: TimeUnit, ltz: bool, minute: MinuteCache, values: Vec<i64> },
    YearMonth(Vec<i32>),
    DayTime(Vec<i64>),
    List { item: Box<Column>, ends: Vec<i32> },
    Map { keys: Bytes, value: Box<Column>, ends: Vec<i32>, dropped: Vec<u32> },
    Row(Row),
}

/// Texts side by side.
#[derive(Debug)]
pub(super) struct Bytes {
    pub bytes: Vec<u8>,
    /// 0, then the end of each value.
    offsets: Vec<i32>,
}

/// An object: its columns, and its keys in the order in which they come.
#[derive(Debug)]
pub(super) struct Row {
    pub fields: Fields,
    pub columns: Vec<Column>,
    pub keys: KeyOrder,
    /// NULLs at the end that the columns do not have yet: most rows of a stream may be of another kind.
    owed: usize,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl Bytes {
    /// Closes a value whose bytes were appended. False if an array of this kind cannot hold that much.
    #[inline]
    #[must_use]
    pub fn close(&mut self) -> bool {
        match i32::try_from(self.bytes.len()) {
            Ok(end) => {
                self.offsets.push(end);
                true
            }
            Err(_) => false,
        }
    }

    /// Drops what was appended since the last value was closed.
    pub fn forget_open(&mut self) {
        self.bytes.truncate(self.offsets[self.len()] as usize);
    }

    pub fn get(&self, n: usize) -> &[u8] {
        &self.bytes[self.offsets[n] as usize..self.offsets[n + 1] as usize]
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn truncate(&mut self, n: usize) {
        self.offsets.truncate(n + 1);
        self.forget_open();
    }

    fn push_empty(&mut self, count: usize) {
        let end = self.offsets[self.len()];
        self.offsets.resize(self.offsets.len() + count, end);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let (bytes, offsets) = (renew(&mut self.bytes), renew(&mut self.offsets));
        self.offsets.push(0);
        (OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes))
    }
}

/// Takes the vector and leaves an empty one of the same capacity, so that the next batch does not grow it anew.
fn renew<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend(ends);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

impl Row {
    pub fn new(fields: &Fields) -> Result<Self> {
        let columns = fields.iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let keys = KeyOrder::new(fields.iter().map(|f| f.name().as_str()));
        Ok(Self { fields: fields.clone(), columns, keys, owed: 0 })
    }

    /// To be called before the columns get the values of the next row that is not NULL.
    #[inline]
    pub fn begin(&mut self) {
        if self.owed > 0 {
            let count = std::mem::take(&mut self.owed);
            self.columns.iter_mut().for_each(|c| c.push_nulls(count));
        }
    }

    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
        let have = self.columns.iter().map(|c| c.len).min().unwrap_or(rows);
        self.owed = rows.saturating_sub(have);
    }
}

impl Column {
    /// An empty column of `field`.
    ///
    /// Errors: a type that no format has.
    pub fn new(field: &FieldRef) -> Result<Self> {
        let values = match field.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal { precision: *precision, scale: *scale, values: Vec::new() }
            }
            DataType::Utf8 => Values::Text(Bytes::default()),
            DataType::Binary => Values::Binary(Bytes::default()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time32(TimeUnit::Millisecond) => Values::Time(Vec::new()),
            DataType::Timestamp(unit, zone) => Values::Timestamp {
                unit: *unit,
                ltz: zone.is_some(),
                minute: MinuteCache::default(),
                values: Vec::new(),
            },
            DataType::Interval(IntervalUnit::YearMonth) => Values::YearMonth(Vec::new()),
            DataType::Interval(IntervalUnit::DayTime) => Values::DayTime(Vec::new()),
            DataType::List(item) => Values::List { item: Box::new(Self::new(item)?), ends: Vec::new() },
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => Values::Map {
                    keys: Bytes::default(),
                    value: Box::new(Self::new(&pair[1])?),
                    ends: Vec::new(),
                    dropped: Vec::new(),
                },
                _ => return Err(unsupported(field)),
            },
            DataType::Struct(fields) => Values::Row(Row::new(fields)?),
            _ => return Err(unsupported(field)),
        };
        Ok(Self { field: field.clone(), len: 0, validity: None, values })
    }

    /// Counts a value that was appended to `values`.
    #[inline(always)]
    pub fn pushed(&mut self) {
        self.len += 1;
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// Appends NULL, also to what is nested in it: readers of a field look at its own bits.
    #[inline]
    pub fn push_null(&mut self) {
        self.push_nulls(1);
    }

    fn push_nulls(&mut self, count: usize) {
        let len = self.len + count;
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(v) => v.resize(len, false),
            Values::Int8(v) => v.resize(len, 0),
            Values::Int16(v) => v.resize(len, 0),
            Values::Int32(v) | Values::Date(v) | Values::Time(v) | Values::YearMonth(v) => v.resize(len, 0),
            Values::Int64(v) | Values::DayTime(v) | Values::Timestamp { values: v, .. } => v.resize(len, 0),
            Values::Float32(v) => v.resize(len, 0.0),
            Values::Float64(v) => v.resize(len, 0.0),
            Values::Decimal { values, .. } => values.resize(len, 0),
            Values::Text(b) | Values::Binary(b) => b.push_empty(count),
            Values::List { ends, .. } | Values::Map { ends, .. } => {
                ends.resize(len, ends.last().copied().unwrap_or(0));
            }
            Values::Row(row) => row.owed += count,
        }
        let before = self.len;
        self.validity.get_or_insert_with(|| vec![true; before]).resize(len, false);
        self.len = len;
    }

    /// Forgets all values from the `len`-th on.
    pub fn truncate(&mut self, len: usize) {
        if self.len <= len
            && !matches!(self.values, Values::List { .. } | Values::Map { .. } | Values::Row(_))
        {
            // A text may hold bytes of a value that was begun.
            if let Values::Text(b) | Values::Binary(b) = &mut self.values {
                b.truncate(self.len);
            }
            return;
        }
        let len = len.min(self.len);
        self.len = len;
        if let Some(validity) = &mut self.validity {
            validity.truncate(len);
        }
        let end = |ends: &[i32]| if len == 0 { 0 } else { ends[len - 1] as usize };
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(v) => v.truncate(len),
            Values::Int8(v) => v.truncate(len),
            Values::Int16(v) => v.truncate(len),
            Values::Int32(v) | Values::Date(v) | Values::Time(v) | Values::YearMonth(v) => v.truncate(len),
            Values::Int64(v) | Values::DayTime(v) | Values::Timestamp { values: v, .. } => v.truncate(len),
            Values::Float32(v) => v.truncate(len),
            Values::Float64(v) => v.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::Text(b) | Values::Binary(b) => b.truncate(len),
            Values::List { item, ends } => {
                item.truncate(end(ends));
                ends.truncate(len);
            }
            Values::Map { keys, value, ends, dropped } => {
                let entries = end(ends);
                keys.truncate(entries);
                value.truncate(entries);
                ends.truncate(len);
                dropped.retain(|d| (*d as usize) < entries);
            }
            Values::Row(row) => row.truncate(len),
        }
    }

    /// The array of all values; the column is empty afterwards.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let len = std::mem::take(&mut self.len);
        let nulls = self.validity.take().map(|v| NullBuffer::new(BooleanBuffer::from(v)));
        Ok(match &mut self.values {
            Values::Null => Arc::new(NullArray::new(len)),
            Values::Boolean(v) => Arc::new(BooleanArray::new(BooleanBuffer::from(renew(v)), nulls)),
            Values::Int8(v) => primitive::<Int8Type>(v, nulls),
            Values::Int16(v) => primitive::<Int16Type>(v, nulls),
            Values::Int32(v) => primitive::<Int32Type>(v, nulls),
            Values::Int64(v) => primitive::<Int64Type>(v, nulls),
            Values::Float32(v) => primitive::<Float32Type>(v, nulls),
            Values::Float64(v) => primitive::<Float64Type>(v, nulls),
            Values::Decimal { precision, scale, values } => Arc::new(
                Decimal128Array::new(renew(values).into(), nulls)
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Values::Text(b) => {
                let (offsets, bytes) = b.take();
                // SAFETY: every value is a stretch between two ASCII characters of a text checked as UTF-8, or was
                // made of `char`s and such stretches; offsets only grow.
                Arc::new(unsafe { StringArray::new_unchecked(offsets, bytes, nulls) })
            }
            Values::Binary(b) => {
                let (offsets, bytes) = b.take();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Values::Date(v) => primitive::<Date32Type>(v, nulls),
            Values::Time(v) => primitive::<Time32MillisecondType>(v, nulls),
            Values::Timestamp { unit, values, .. } => {
                let values = renew(values);
                let DataType::Timestamp(_, zone) = self.field.data_type() else {
                    return Err(Error::internal("a timestamp column of another type"));
                };
                timestamps(*unit, values, nulls, zone.clone())
            }
            Values::YearMonth(v) => primitive::<IntervalYearMonthType>(v, nulls),
            Values::DayTime(v) => {
                const DAY_MS: i64 = 86_400_000;
                let days = |ms: i64| IntervalDayTime::new((ms / DAY_MS) as i32, (ms % DAY_MS) as i32);
                let values = renew(v).into_iter().map(days).collect::<Vec<_>>();
                Arc::new(PrimitiveArray::<IntervalDayTimeType>::new(values.into(), nulls))
            }
            Values::List { item, ends } => {
                let DataType::List(field) = self.field.data_type() else {
                    return Err(Error::internal("a list column of another type"));
                };
                Arc::new(ListArray::try_new(field.clone(), offsets(renew(ends)), item.finish()?, nulls)?)
            }
            Values::Map { keys, value, ends, dropped } => {
                let DataType::Map(entries, sorted) = self.field.data_type() else {
                    return Err(Error::internal("a map column of another type"));
                };
                let (key_offsets, bytes) = keys.take();
                // SAFETY: as for texts above.
                let keys: ArrayRef =
                    Arc::new(unsafe { StringArray::new_unchecked(key_offsets, bytes, None) });
                let mut columns = vec![keys, value.finish()?];
                let mut ends = renew(ends);
                if !dropped.is_empty() {
                    columns = without(&mut ends, columns, std::mem::take(dropped))?;
                }
                let DataType::Struct(pair) = entries.data_type() else {
                    return Err(Error::internal("a map without entries"));
                };
                let pairs = StructArray::try_new(pair.clone(), columns, None)?;
                Arc::new(MapArray::try_new(entries.clone(), offsets(ends), pairs, nulls, *sorted)?)
            }
            Values::Row(row) => {
                row.begin();
                let columns = row.columns.iter_mut().map(Self::finish).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(row.fields.clone(), columns, nulls, len)?)
            }
        })
    }
}

/// The entries of maps without the `dropped` ones (keys that came again later); moves `ends` with them.
fn without(ends: &mut [i32], columns: Vec<ArrayRef>, mut dropped: Vec<u32>) -> Result<Vec<ArrayRef>> {
    dropped.sort_unstable();
    let mut gone = dropped.iter().peekable();
    let mut count = 0;
    for end in ends {
        while gone.next_if(|d| (**d as i32) < *end).is_some() {
            count += 1;
        }
        *end -= count;
    }
    let total = columns[0].len() as u32;
    let kept = (0..total).filter(|i| dropped.binary_search(i).is_err()).collect::<Vec<_>>();
    let kept = UInt32Array::from(kept);
    Ok(columns.iter().map(|c| arrow::compute::take(c, &kept, None)).collect::<std::result::Result<_, _>>()?)
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(renew(values).into(), nulls))
}

fn timestamps(
    unit: TimeUnit,
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
    zone: Option<Arc<str>>,
) -> ArrayRef {
    let values = ScalarBuffer::from(values);
    match unit {
        TimeUnit::Second => {
            Arc::new(PrimitiveArray::<TimestampSecondType>::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            Arc::new(PrimitiveArray::<TimestampMillisecondType>::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => {
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(PrimitiveArray::<TimestampNanosecondType>::new(values, nulls).with_timezone_opt(zone))
        }
    }
}

/// Seconds and nanoseconds in `unit`, cut off; `None` if it cannot hold them.
pub(super) fn in_unit(seconds: i64, nanos: u32, unit: TimeUnit) -> Option<i64> {
    let (factor, divisor) = match unit {
        TimeUnit::Second => return Some(seconds),
        TimeUnit::Millisecond => (1000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    };
    seconds.checked_mul(factor)?.checked_add(i64::from(nanos / divisor))
}

fn unsupported(field: &Field) -> Error {
    let text = engine::functions::field::type_text(field);
    Error::unsupported(
        format!("The type {text} of column `{}` in this format", field.name()),
        "Declare the column as STRING.",
    )
}
