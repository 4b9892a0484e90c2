//! Rows as Java's `Row.toString` writes them: `+I[1, x, null, 2020-01-01T00:00]`.

use crate::formats::calendar::{DAY_SECONDS, padded, write_date};
use crate::formats::java::{DecimalText, write_decimal, write_double, write_float};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use engine::message::RowKind;
use std::io::Write;

/// Appends row `row` of `columns`.
pub(super) fn write_row(out: &mut Vec<u8>, kind: RowKind, columns: &[ArrayRef], row: usize) {
    out.extend_from_slice(kind.short().as_bytes());
    out.push(b'[');
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write_value(out, column, row);
    }
    out.push(b']');
}

fn write_value(out: &mut Vec<u8>, array: &dyn Array, row: usize) {
    if array.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    let integer = |out: &mut Vec<u8>, n: i64| {
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    };
    match array.data_type() {
        DataType::Boolean => {
            out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" });
        }
        DataType::Int8 => integer(out, i64::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::Int16 => integer(out, i64::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => integer(out, i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => integer(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => write_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => write_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            write_decimal(out, value, *scale, false, DecimalText::Scientific);
        }
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Utf8View => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => {
            write_list(out, array.as_binary::<i32>().value(row).iter(), |out, b| {
                integer(out, i64::from(*b as i8));
            });
        }
        DataType::Date32 => write_date(out, i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Time32(_) => {
            let ms = i64::from(array.as_primitive::<Time32MillisecondType>().value(row));
            write_time(out, ms / 1000, ms % 1000 * 1_000_000, false);
        }
        DataType::Timestamp(unit, zone) => {
            let (value, per_second) = timestamp(array, row, *unit);
            let (seconds, rest) = (value.div_euclid(per_second), value.rem_euclid(per_second));
            write_date(out, seconds.div_euclid(DAY_SECONDS));
            out.push(b'T');
            let nanos = rest * (1_000_000_000 / per_second);
            write_time(out, seconds.rem_euclid(DAY_SECONDS), nanos, zone.is_some());
            if zone.is_some() {
                out.push(b'Z');
            }
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            write_period(out, months);
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            let ms = i64::from(value.days) * DAY_SECONDS * 1000 + i64::from(value.milliseconds);
            write_duration(out, ms);
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            write_list(out, 0..values.len(), |out, i| write_value(out, &values, i));
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            out.push(b'{');
            for i in 0..entries.len() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write_value(out, entries.column(0), i);
                out.push(b'=');
                write_value(out, entries.column(1), i);
            }
            out.push(b'}');
        }
        DataType::Struct(_) => write_row(out, RowKind::Insert, array.as_struct().columns(), row),
        other => {
            // No SQL type maps to anything else; its name is better than a panic.
            let _ = write!(out, "<{other}>");
        }
    }
}

fn write_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write(out, item);
    }
    out.push(b']');
}

/// A timestamp's value and how many of its units make a second.
fn timestamp(array: &dyn Array, row: usize, unit: TimeUnit) -> (i64, i64) {
    match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1),
        TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1000),
        TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000),
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
    }
}

/// `LocalTime.toString`: seconds only where they or the fraction are not zero, or always; the fraction in
/// groups of three digits.
fn write_time(out: &mut Vec<u8>, second: i64, nanos: i64, always_seconds: bool) {
    padded(out, (second / 3600) as u64, 2);
    out.push(b':');
    padded(out, (second / 60 % 60) as u64, 2);
    if always_seconds || second % 60 != 0 || nanos != 0 {
        out.push(b':');
        padded(out, (second % 60) as u64, 2);
    }
    if nanos != 0 {
        out.push(b'.');
        match nanos {
            n if n % 1_000_000 == 0 => padded(out, (n / 1_000_000) as u64, 3),
            n if n % 1000 == 0 => padded(out, (n / 1000) as u64, 6),
            n => padded(out, n as u64, 9),
        }
    }
}

/// `Period.toString`: `P1Y2M`.
fn write_period(out: &mut Vec<u8>, months: i32) {
    let (years, months) = (months / 12, months % 12);
    out.push(b'P');
    for (n, unit) in [(years, 'Y'), (months, 'M')] {
        if n != 0 {
            let _ = write!(out, "{n}{unit}");
        }
    }
    if years == 0 && months == 0 {
        out.extend_from_slice(b"0D");
    }
}

/// `Duration.toString`: `PT26H3M4.5S`.
fn write_duration(out: &mut Vec<u8>, ms: i64) {
    if ms == 0 {
        return out.extend_from_slice(b"PT0S");
    }
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    out.extend_from_slice(b"PT");
    for (n, unit) in [(hours, 'H'), (minutes, 'M')] {
        if n != 0 {
            let _ = write!(out, "{n}{unit}");
        }
    }
    if rest != 0 {
        if rest < 0 {
            out.push(b'-');
        }
        let _ = write!(out, "{}", (rest / 1000).abs());
        crate::formats::calendar::write_fraction(out, (rest % 1000).abs() * 1_000_000);
        out.push(b'S');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, StringArray,
        StructArray, Time32MillisecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray,
    };
    use arrow::datatypes::Field;
    use std::sync::Arc;

    fn line(columns: &[ArrayRef]) -> String {
        let mut out = Vec::new();
        write_row(&mut out, RowKind::Insert, columns, 0);
        String::from_utf8(out).unwrap()
    }

    /// The expected texts were printed by Flink 1.20.
    #[test]
    fn values_are_written_as_flink_prints_them() {
        let ms = |v| Arc::new(TimestampMillisecondArray::from(vec![v])) as ArrayRef;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1])),
            Arc::new(StringArray::from(vec!["x"])),
            Arc::new(TimestampSecondArray::from(vec![1_577_836_800])),
            ms(1_577_882_096_100),
            Arc::new(TimestampNanosecondArray::from(vec![1_577_836_801_123_456_789])),
            Arc::new(TimestampMillisecondArray::from(vec![1_577_836_800_120]).with_timezone("UTC")),
            Arc::new(TimestampMillisecondArray::from(vec![1_577_836_800_000]).with_timezone("UTC")),
            Arc::new(Date32Array::from(vec![18_263])),
            Arc::new(Time32MillisecondArray::from(vec![0])),
            Arc::new(Time32MillisecondArray::from(vec![36_672_000])),
            Arc::new(BinaryArray::from(vec![&[1u8, 255, 128][..]])),
            Arc::new(Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2).unwrap()),
            Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(20, 10).unwrap()),
            Arc::new(Float64Array::from(vec![1e10])),
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(StringArray::from(vec![None::<&str>])),
        ];
        assert_eq!(
            line(&columns),
            "+I[1, x, 2020-01-01T00:00, 2020-01-01T12:34:56.100, 2020-01-01T00:00:01.123456789, \
             2020-01-01T00:00:00.120Z, 2020-01-01T00:00:00Z, 2020-01-02, 00:00, 10:11:12, [1, -1, -128], \
             1.50, 1E-10, 1.0E10, true, null]"
        );
    }

    #[test]
    fn nested_rows_carry_their_kind() {
        let row = StructArray::from(vec![
            (
                Arc::new(Field::new("x", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("y", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec![None::<&str>])),
            ),
        ]);
        assert_eq!(line(&[Arc::new(row)]), "+I[+I[1, null]]");
    }
}
