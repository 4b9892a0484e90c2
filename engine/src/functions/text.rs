//! Flink's text of a value: what CAST to STRING gives, and what tableau, print and changelog output show.

use super::calendar::{civil_from_days, offset_at};
use super::field::precision;
use super::java_double::{self, Digits};
use arrow::array::{Array, AsArray};
use arrow::datatypes::*;
use chrono_tz::Tz;
use std::fmt::Write;

/// Writes the text of the non-null value `array[row]` of type `field`, as Flink's client prints it. NULL, also
/// a nested one, is `NULL`; `zone` is the session's, in which TIMESTAMP_LTZ is shown.
pub fn write_value(out: &mut String, array: &dyn Array, row: usize, field: &Field, zone: Tz) {
    write(out, array, row, field, zone, Bytes::Hex);
}

/// As [`write_value`], but bytes are read as UTF-8, as CAST to STRING does.
pub fn write_cast(out: &mut String, array: &dyn Array, row: usize, field: &Field, zone: Tz) {
    write(out, array, row, field, zone, Bytes::Utf8);
}

/// How bytes are written.
#[derive(Clone, Copy)]
enum Bytes {
    Hex,
    Utf8,
}

fn write(out: &mut String, array: &dyn Array, row: usize, field: &Field, zone: Tz, bytes: Bytes) {
    if array.is_null(row) {
        out.push_str("NULL");
        return;
    }
    match array.data_type() {
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::Int8 => integer(out, array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => integer(out, array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => integer(out, array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => integer(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => java_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => java_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "TRUE" } else { "FALSE" }),
        DataType::Decimal128(_, scale) => {
            decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Binary => write_bytes(out, array.as_binary::<i32>().value(row), bytes),
        DataType::LargeBinary => write_bytes(out, array.as_binary::<i64>().value(row), bytes),
        DataType::BinaryView => write_bytes(out, array.as_binary_view().value(row), bytes),
        DataType::Date32 => date(out, array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time32(TimeUnit::Millisecond) => {
            time(out, array.as_primitive::<Time32MillisecondType>().value(row).into(), precision(field))
        }
        DataType::Timestamp(unit, ltz) => {
            let (value, per_second) = match unit {
                TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1),
                TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1_000),
                TimeUnit::Microsecond => {
                    (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000)
                }
                TimeUnit::Nanosecond => {
                    (array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000)
                }
            };
            let mut seconds = value.div_euclid(per_second);
            let nanos = (value.rem_euclid(per_second) * (1_000_000_000 / per_second)) as u32;
            if ltz.is_some() {
                seconds += offset_at(zone, seconds);
            }
            timestamp(out, seconds, nanos, precision(field));
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            year_month(out, array.as_primitive::<IntervalYearMonthType>().value(row).into())
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let v = array.as_primitive::<IntervalDayTimeType>().value(row);
            day_time(out, i64::from(v.days) * 86_400_000 + i64::from(v.milliseconds));
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let v = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            if v.months != 0 && v.days == 0 && v.nanoseconds == 0 {
                year_month(out, v.months.into());
            } else {
                day_time(out, i64::from(v.days) * 86_400_000 + v.nanoseconds / 1_000_000);
            }
        }
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for i in 0..items.len() {
                separate(out, i);
                write(out, &items, i, item, zone, bytes);
            }
            out.push(']');
        }
        DataType::Map(entries, _) => {
            let map = array.as_map().value(row);
            let DataType::Struct(fields) = entries.data_type() else { return };
            out.push('{');
            for i in 0..map.len() {
                separate(out, i);
                write(out, map.column(0), i, &fields[0], zone, bytes);
                out.push('=');
                write(out, map.column(1), i, &fields[1], zone, bytes);
            }
            out.push('}');
        }
        DataType::Struct(fields) => {
            let row_value = array.as_struct();
            out.push('(');
            for (i, f) in fields.iter().enumerate() {
                separate(out, i);
                write(out, row_value.column(i), row, f, zone, bytes);
            }
            out.push(')');
        }
        DataType::Null => out.push_str("NULL"),
        // Not a type of ours; Arrow's text is better than none.
        _ => match arrow::util::display::array_value_to_string(array, row) {
            Ok(text) => out.push_str(&text),
            Err(_) => out.push('?'),
        },
    }
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}

fn write_bytes(out: &mut String, value: &[u8], bytes: Bytes) {
    match bytes {
        Bytes::Utf8 => out.push_str(&String::from_utf8_lossy(value)),
        Bytes::Hex => {
            out.push_str("x'");
            hex_lower(out, value);
            out.push('\'');
        }
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hex_lower(out: &mut String, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(value.len() * 2);
    for b in value {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
}

/// Writes an integer.
pub fn integer(out: &mut String, value: i64) {
    if value < 0 {
        out.push('-');
    }
    unsigned(out, value.unsigned_abs(), 1);
}

/// Writes at least `width` digits, zeros in front.
fn unsigned(out: &mut String, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let at = at.min(digits.len() - width.min(digits.len()));
    out.extend(digits[at..].iter().map(|d| char::from(*d)));
}

/// Writes a DECIMAL of the unscaled `value` with exactly `scale` digits after the point.
pub fn decimal(out: &mut String, value: i128, scale: i8) {
    if value < 0 {
        out.push('-');
    }
    let magnitude = value.unsigned_abs();
    if scale <= 0 {
        let _ = write!(out, "{magnitude}");
        if magnitude != 0 {
            out.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
        }
        return;
    }
    let scale = scale as usize;
    match u64::try_from(magnitude) {
        Ok(small) if scale <= 19 => {
            let unit = 10_u64.pow(scale as u32);
            unsigned(out, small / unit, 1);
            out.push('.');
            unsigned(out, small % unit, scale);
        }
        _ => {
            let digits = format!("{magnitude:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let _ = write!(out, "{whole}.{fraction}");
        }
    }
}

/// Writes a DOUBLE as the `Double.toString` of Java before 19 does: `1.0`, `1.0E10`, `NaN`.
pub fn java_double(out: &mut String, value: f64) {
    if value.is_finite() && value != 0.0 {
        if value.fract() == 0.0 && value.abs() < 1e7 {
            integer(out, value as i64);
            out.push_str(".0");
            return;
        }
        lay_out(out, value < 0.0, &java_double::of_double(value.abs()));
    } else {
        special(out, value);
    }
}

/// Writes a FLOAT as Java's `Float.toString` does.
pub fn java_float(out: &mut String, value: f32) {
    if value.is_finite() && value != 0.0 {
        if value.fract() == 0.0 && value.abs() < 1e7 {
            integer(out, value as i64);
            out.push_str(".0");
            return;
        }
        lay_out(out, value < 0.0, &java_double::of_float(value.abs()));
    } else {
        special(out, value.into());
    }
}

fn special(out: &mut String, value: f64) {
    out.push_str(if value.is_nan() {
        "NaN"
    } else if value == 0.0 {
        if value.is_sign_negative() { "-0.0" } else { "0.0" }
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    });
}

/// Lays digits out as Java does: plain from 1e-3 up to 1e7, else with an exponent.
fn lay_out(out: &mut String, negative: bool, number: &Digits) {
    let digits = number.as_bytes();
    let mut push = |bytes: &[u8]| out.extend(bytes.iter().map(|b| char::from(*b)));
    if negative {
        push(b"-");
    }
    match number.point {
        1..=7 => {
            let whole = number.point as usize;
            if digits.len() <= whole {
                push(digits);
                push(&b"000000"[..whole - digits.len()]);
                push(b".0");
            } else {
                push(&digits[..whole]);
                push(b".");
                push(&digits[whole..]);
            }
        }
        -2..=0 => {
            push(&b"0.00"[..2 + number.point.unsigned_abs() as usize]);
            push(digits);
        }
        _ => {
            push(&digits[..1]);
            push(b".");
            push(if digits.len() > 1 { &digits[1..] } else { b"0" });
            push(b"E");
            integer(out, i64::from(number.point) - 1);
        }
    }
}

/// Writes the day that is `days` after 1970-01-01 as `yyyy-MM-dd`.
pub fn date(out: &mut String, days: i64) {
    let c = civil_from_days(days);
    if c.year < 0 {
        out.push('-');
    }
    unsigned(out, c.year.unsigned_abs(), 4);
    out.push('-');
    unsigned(out, c.month.into(), 2);
    out.push('-');
    unsigned(out, c.day.into(), 2);
}

/// Writes a time of day, in milliseconds, as `HH:mm:ss` and `precision` digits.
pub fn time(out: &mut String, ms: i64, precision: usize) {
    let ms = ms.rem_euclid(86_400_000);
    clock(out, ms / 1000);
    fraction(out, (ms % 1000) as u32 * 1_000_000, precision);
}

/// Writes a timestamp, `seconds` since 1970-01-01 00:00 on the wall clock, with exactly `precision` digits.
pub fn timestamp(out: &mut String, seconds: i64, nanos: u32, precision: usize) {
    date(out, seconds.div_euclid(86_400));
    out.push(' ');
    clock(out, seconds.rem_euclid(86_400));
    fraction(out, nanos, precision);
}

fn clock(out: &mut String, seconds: i64) {
    unsigned(out, (seconds / 3600) as u64, 2);
    out.push(':');
    unsigned(out, (seconds / 60 % 60) as u64, 2);
    out.push(':');
    unsigned(out, (seconds % 60) as u64, 2);
}

fn fraction(out: &mut String, nanos: u32, precision: usize) {
    if precision > 0 {
        let p = precision.min(9);
        out.push('.');
        unsigned(out, u64::from(nanos) / 10_u64.pow(9 - p as u32), p);
    }
}

/// Writes an INTERVAL YEAR TO MONTH: `+1-02`.
pub fn year_month(out: &mut String, months: i64) {
    out.push(if months < 0 { '-' } else { '+' });
    let months = months.unsigned_abs();
    unsigned(out, months / 12, 1);
    out.push('-');
    unsigned(out, months % 12, 2);
}

/// Writes an INTERVAL DAY TO SECOND: `+1 02:03:04.500`.
pub fn day_time(out: &mut String, ms: i64) {
    out.push(if ms < 0 { '-' } else { '+' });
    let ms = ms.unsigned_abs();
    unsigned(out, ms / 86_400_000, 1);
    out.push(' ');
    clock(out, (ms / 1000 % 86_400) as i64);
    out.push('.');
    unsigned(out, ms % 1000, 3);
}

#[cfg(test)]
mod tests {
    use super::super::field;
    use super::*;
    use arrow::array::*;
    use std::sync::Arc;

    fn text(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn doubles_as_java() {
        // Confirmed on Flink 1.20.
        for (value, want) in [
            (100.0, "100.0"),
            (1e10, "1.0E10"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (1e-5, "1.0E-5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123_456_789.125, "1.23456789125E8"),
            (9_007_199_254_740_992.0, "9.007199254740992E15"),
            (f64::MAX, "1.7976931348623157E308"),
            (5e-324, "4.9E-324"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (-2.5, "-2.5"),
            (0.5, "0.5"),
            (0.0123, "0.0123"),
            (1_234_567.5, "1234567.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|o| java_double(o, value)), want);
        }
        assert_eq!(text(|o| java_float(o, 1.1)), "1.1");
        assert_eq!(text(|o| java_float(o, 16_777_216.0)), "1.6777216E7");
        assert_eq!(text(|o| java_float(o, -2_147_483_648.0)), "-2.14748365E9");
        assert_eq!(text(|o| java_float(o, f32::MAX)), "3.4028235E38");
    }

    #[test]
    fn decimals() {
        for (value, scale, want) in [
            (1230, 2, "12.30"),
            (-5, 2, "-0.05"),
            (0, 3, "0.000"),
            (7, 0, "7"),
            (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
            (12_345_678_901_234_567_890_123, 4, "1234567890123456789.0123"),
            (3, -2, "300"),
        ] {
            assert_eq!(text(|o| decimal(o, value, scale)), want);
        }
    }

    #[test]
    fn times() {
        assert_eq!(text(|o| timestamp(o, 1_577_934_245, 600_000_000, 3)), "2020-01-02 03:04:05.600");
        assert_eq!(text(|o| timestamp(o, 0, 123_456_789, 0)), "1970-01-01 00:00:00");
        assert_eq!(text(|o| timestamp(o, -1, 5, 9)), "1969-12-31 23:59:59.000000005");
        assert_eq!(text(|o| time(o, 3_723_456, 0)), "01:02:03");
        assert_eq!(text(|o| time(o, 3_723_456, 3)), "01:02:03.456");
        assert_eq!(text(|o| year_month(o, 14)), "+1-02");
        assert_eq!(text(|o| year_month(o, -14)), "-1-02");
        assert_eq!(text(|o| day_time(o, 93_784_500)), "+1 02:03:04.500");
        assert_eq!(text(|o| day_time(o, -300_000)), "-0 00:05:00.000");
        assert_eq!(text(|o| day_time(o, i64::MIN)).len(), "-106751991167 07:12:55.808".len());
    }

    #[test]
    fn nested_and_bytes() {
        let items = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)])]);
        let f = Field::new("a", items.data_type().clone(), true);
        assert_eq!(text(|o| write_value(o, &items, 0, &f, Tz::UTC)), "[1, NULL, 3]");
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("a");
        map.values().append_value(1);
        map.keys().append_value("b");
        map.values().append_null();
        map.append(true).unwrap();
        let map = map.finish();
        let f = Field::new("m", map.data_type().clone(), true);
        assert_eq!(text(|o| write_value(o, &map, 0, &f, Tz::UTC)), "{a=1, b=NULL}");
        let bytes = BinaryArray::from(vec![&b"\x0a\xff"[..]]);
        let f = Field::new("b", DataType::Binary, true);
        assert_eq!(text(|o| write_value(o, &bytes, 0, &f, Tz::UTC)), "x'0aff'");
        let row = StructArray::from(vec![
            (
                Arc::new(Field::new("a", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            ),
            (Arc::new(Field::new("b", DataType::Boolean, true)), Arc::new(BooleanArray::from(vec![true]))),
            (
                Arc::new(Field::new("c", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec![None::<&str>])),
            ),
        ]);
        let f = Field::new("r", row.data_type().clone(), true);
        assert_eq!(text(|o| write_value(o, &row, 0, &f, Tz::UTC)), "(1, TRUE, NULL)");
    }

    #[test]
    fn ltz_in_the_session_zone() {
        let at = TimestampMillisecondArray::from(vec![0]).with_timezone("UTC");
        let f = field::timestamp(3, true, true);
        assert_eq!(text(|o| write_value(o, &at, 0, &f, Tz::Asia__Shanghai)), "1970-01-01 08:00:00.000");
        let f = field::timestamp(1, true, true);
        assert_eq!(text(|o| write_value(o, &at, 0, &f, Tz::UTC)), "1970-01-01 00:00:00.0");
    }
}
