//! `+ - * / %` with Flink's types and results, for numbers, times and intervals.

use super::calendar::{DAY_MS, add_months};
use super::decimal::{self, Shape};
use super::field;
use super::scalar::{Binding, Call, Function, Kind, user};
use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, kernels::numeric as kernels};
use arrow::datatypes::*;
use datafusion_common::Result;
use std::sync::Arc;

const TWO: &[Kind] = &[Kind::Any, Kind::Any];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("+", TWO, |b| result(b, Op::Plus), |c| eval(c, Op::Plus)),
    Function::new("-", TWO, |b| result(b, Op::Minus), |c| eval(c, Op::Minus)),
    Function::new("*", TWO, |b| result(b, Op::Times), |c| eval(c, Op::Times)),
    Function::new("/", TWO, |b| result(b, Op::Divide), |c| eval(c, Op::Divide)),
    Function::new("%", TWO, |b| result(b, Op::Modulo), |c| eval(c, Op::Modulo)),
    Function::new("MOD", &[Kind::Number, Kind::Number], |b| result(b, Op::Modulo), |c| eval(c, Op::Modulo)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
}

fn is_interval(t: &DataType) -> bool {
    matches!(t, DataType::Interval(_))
}

fn is_time(t: &DataType) -> bool {
    matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Time32(_))
}

/// A DECIMAL that holds the exact number type.
pub(super) fn shape(t: &DataType) -> Option<Shape> {
    match t {
        DataType::Decimal128(p, s) => Some((*p, *s)),
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        _ => None,
    }
}

/// The number type that both become, if there is one: the wider integer, a DECIMAL for both, FLOAT beside
/// integers, DOUBLE beside anything else approximate, but of FLOAT and DOUBLE the first, as in Flink.
pub(super) fn common_number(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match (a, b) {
        (D::Null, t) | (t, D::Null) => t.clone(),
        (D::Float32, D::Float64) => D::Float32,
        (D::Float64, t) | (t, D::Float64) if t.is_numeric() => D::Float64,
        (D::Float32, D::Decimal128(..)) | (D::Decimal128(..), D::Float32) => D::Float64,
        (D::Float32, t) | (t, D::Float32) if t.is_numeric() => D::Float32,
        (D::Decimal128(..), _) | (_, D::Decimal128(..)) => {
            let (p, s) = decimal::common(shape(a)?, shape(b)?);
            D::Decimal128(p, s)
        }
        _ if a.is_signed_integer() && b.is_signed_integer() => {
            if shape(a)?.0 >= shape(b)?.0 {
                a.clone()
            } else {
                b.clone()
            }
        }
        _ => return None,
    })
}

fn result(b: &Binding<'_>, op: Op) -> Result<Field> {
    let (x, y) = (b.data_type(0), b.data_type(1));
    if is_time(x) || is_time(y) || is_interval(x) || is_interval(y) {
        return time_result(b, op);
    }
    if !(x.is_numeric() || x.is_null()) || !(y.is_numeric() || y.is_null()) {
        return b.refuse("both sides must be numbers, or a time and an interval.");
    }
    let decimals = matches!(x, DataType::Decimal128(..)) || matches!(y, DataType::Decimal128(..));
    if decimals && let (Some(x), Some(y)) = (shape(x), shape(y)) {
        let (p, s) = match op {
            Op::Plus | Op::Minus => decimal::plus(x, y),
            Op::Times => decimal::times(x, y),
            Op::Divide => decimal::divide(x, y),
            Op::Modulo => decimal::modulo(x, y),
        };
        // A value that does not fit becomes NULL, and so may NOT NULL arguments.
        let fits = p < decimal::MAX_PRECISION;
        return Ok(Field::new("", DataType::Decimal128(p, s), b.nullable() || !fits));
    }
    // As in Flink, a remainder has the type of the divisor.
    let t = if op == Op::Modulo && x.is_signed_integer() && y.is_signed_integer() {
        Some(y.clone())
    } else {
        common_number(x, y)
    };
    match t {
        Some(DataType::Null) => Ok(Field::new("", DataType::Int32, true)),
        Some(t) => Ok(b.strict(t)),
        None => b.refuse("there is no type for both."),
    }
}

fn time_result(b: &Binding<'_>, op: Op) -> Result<Field> {
    let (x, y) = (b.data_type(0), b.data_type(1));
    let interval = |t: &DataType| {
        Field::new(
            "",
            DataType::Interval(if is_months(t) { IntervalUnit::YearMonth } else { IntervalUnit::DayTime }),
            b.nullable(),
        )
    };
    match op {
        Op::Plus | Op::Minus if is_time(x) && (is_interval(y) || y.is_null()) => {
            Ok(field::like(&b.fields[0], b.nullable()))
        }
        Op::Plus if is_interval(x) && is_time(y) => Ok(field::like(&b.fields[1], b.nullable())),
        Op::Plus | Op::Minus if is_interval(x) && is_interval(y) => match (x, y) {
            (DataType::Interval(IntervalUnit::MonthDayNano), _)
            | (_, DataType::Interval(IntervalUnit::MonthDayNano)) => {
                Ok(b.strict(DataType::Interval(IntervalUnit::MonthDayNano)))
            }
            _ => Ok(interval(x)),
        },
        Op::Minus if matches!((x, y), (DataType::Timestamp(..), DataType::Timestamp(..))) => {
            Ok(b.strict(DataType::Interval(IntervalUnit::DayTime)))
        }
        Op::Times if is_interval(x) && y.is_numeric() => Ok(field::like(&b.fields[0], b.nullable())),
        Op::Times if is_interval(y) && x.is_numeric() => Ok(field::like(&b.fields[1], b.nullable())),
        Op::Divide if is_interval(x) && y.is_numeric() => Ok(field::like(&b.fields[0], b.nullable())),
        _ => b.refuse("a time goes with an interval; for the time between two times write TIMESTAMPDIFF."),
    }
}

fn is_months(t: &DataType) -> bool {
    matches!(t, DataType::Interval(IntervalUnit::YearMonth))
}

fn eval(call: &Call<'_>, op: Op) -> Result<ArrayRef> {
    let (x, y) = (call.fields[0].data_type(), call.fields[1].data_type());
    let target = call.field.data_type();
    if is_interval(target) || is_time(target) {
        return time_eval(call, op);
    }
    if let DataType::Decimal128(p, s) = target {
        return decimals(call, op, x, y, (*p, *s));
    }
    let (a, a_constant) = call.column(0)?;
    let (b, b_constant) = call.column(1)?;
    // A remainder has the divisor's type, but is computed in the wider one.
    let work = common_number(x, y).filter(|t| !t.is_null()).unwrap_or(DataType::Int32);
    let a = to(&a, &work)?;
    let b = to(&b, &work)?;
    let left: &dyn Datum = if a_constant { &Scalar::new(Arc::clone(&a)) } else { &a };
    let right: &dyn Datum = if b_constant { &Scalar::new(Arc::clone(&b)) } else { &b };
    let out = match op {
        Op::Plus => kernels::add_wrapping(left, right)?,
        Op::Minus => kernels::sub_wrapping(left, right)?,
        Op::Times => kernels::mul_wrapping(left, right)?,
        Op::Divide | Op::Modulo if work.is_floating() => {
            if op == Op::Divide {
                kernels::div(left, right)?
            } else {
                kernels::rem(left, right)?
            }
        }
        Op::Divide | Op::Modulo => integer_division(call, op)?,
    };
    // Two constants give one row; the caller made rows 1 then.
    to(&out, target)
}

fn to(array: &ArrayRef, t: &DataType) -> Result<ArrayRef> {
    Ok(match (array.data_type(), t) {
        (from, to) if from == to => Arc::clone(array),
        // Arrow's own cast rounds twice.
        (DataType::Decimal128(_, scale), DataType::Float64) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            Arc::new(decimals.unary::<_, Float64Type>(|v| super::cast::decimal_to_double(v, *scale)))
        }
        _ => cast(array, t)?,
    })
}

/// Division as in Java: towards zero, wrapping, and an error for zero.
fn integer_division(call: &Call<'_>, op: Op) -> Result<ArrayRef> {
    let (a, b) = (call.long(0)?, call.long(1)?);
    let narrow = common_number(call.fields[0].data_type(), call.fields[1].data_type());
    let out = call.numbers::<Int64Type>(|row| match (a.get(row), b.get(row)) {
        (Some(_), Some(0)) => user("Division by zero."),
        (Some(a), Some(b)) => Ok(Some(if op == Op::Divide { a.wrapping_div(b) } else { a.wrapping_rem(b) })),
        _ => Ok(None),
    })?;
    // MIN / -1 of a narrow type wraps within it.
    let out = out.as_primitive::<Int64Type>();
    Ok(match narrow {
        Some(DataType::Int8) => Arc::new(out.unary::<_, Int8Type>(|v| v as i8)),
        Some(DataType::Int16) => Arc::new(out.unary::<_, Int16Type>(|v| v as i16)),
        Some(DataType::Int32) => Arc::new(out.unary::<_, Int32Type>(|v| v as i32)),
        _ => Arc::new(out.clone()),
    })
}

fn decimals(call: &Call<'_>, op: Op, x: &DataType, y: &DataType, (p, s): Shape) -> Result<ArrayRef> {
    let shape_of = |t: &DataType| shape(t).unwrap_or((1, 0));
    let ((xp, xs), (yp, ys)) = (shape_of(x), shape_of(y));
    let read = |i: usize, shape: Shape| -> Result<(Decimal128Array, bool)> {
        let (array, constant) = call.column(i)?;
        let array = to(&array, &DataType::Decimal128(shape.0, shape.1))?;
        Ok((array.as_primitive::<Decimal128Type>().clone(), constant))
    };
    let ((a, a_constant), (b, b_constant)) = (read(0, (xp, xs))?, read(1, (yp, ys))?);
    let get = |array: &Decimal128Array, constant: bool, row: usize| {
        let row = if constant { 0 } else { row };
        array.is_valid(row).then(|| array.value(row))
    };
    let (xs, ys, s32) = (i32::from(xs), i32::from(ys), i32::from(s));
    // A product that has room for all digits of both sides needs no test.
    if op == Op::Times && xs + ys == s32 && xp + yp <= p {
        let (rows, t) = (call.rows, call.field.data_type());
        return Ok(exact_products(&a, a_constant, &b, b_constant, rows, t));
    }
    let out = call.numbers::<Decimal128Type>(|row| {
        let (Some(a), Some(b)) = (get(&a, a_constant, row), get(&b, b_constant, row)) else {
            return Ok(None);
        };
        let value = match op {
            Op::Plus | Op::Minus => {
                let common = xs.max(ys);
                let (a, b) = (decimal::rescale(a, xs, common), decimal::rescale(b, ys, common));
                match (a, b, op) {
                    (Some(a), Some(b), Op::Plus) => a.checked_add(b),
                    (Some(a), Some(b), _) => a.checked_sub(b),
                    _ => None,
                }
                .and_then(|v| decimal::rescale(v, common, s32))
            }
            Op::Times => decimal::product(a, b, xs + ys - s32),
            Op::Divide if b == 0 => return user("Division by zero."),
            Op::Divide => decimal::quotient(a, s32 + ys - xs, b),
            Op::Modulo if b == 0 => return user("Division by zero."),
            Op::Modulo => {
                let common = xs.max(ys);
                match (decimal::rescale(a, xs, common), decimal::rescale(b, ys, common)) {
                    (Some(a), Some(b)) => decimal::rescale(a.wrapping_rem(b), common, s32),
                    _ => None,
                }
            }
        };
        Ok(value.and_then(|v| decimal::checked(v, p)))
    })?;
    Ok(out)
}

/// Products of unscaled values, none of which can overflow.
fn exact_products(
    a: &Decimal128Array,
    a_constant: bool,
    b: &Decimal128Array,
    b_constant: bool,
    rows: usize,
    data_type: &DataType,
) -> ArrayRef {
    let (x, y) = (a.values(), b.values());
    if (a_constant && a.is_null(0)) || (b_constant && b.is_null(0)) {
        return new_null_array(data_type, rows);
    }
    // Under a NULL may lie anything.
    let values: Vec<i128> = match (a_constant, b_constant) {
        (true, true) => vec![x[0].wrapping_mul(y[0]); rows],
        (true, false) => y.iter().map(|y| x[0].wrapping_mul(*y)).collect(),
        (false, true) => x.iter().map(|x| x.wrapping_mul(y[0])).collect(),
        (false, false) => x.iter().zip(y).map(|(x, y)| x.wrapping_mul(*y)).collect(),
    };
    let nulls = NullBuffer::union(a.nulls().filter(|_| !a_constant), b.nulls().filter(|_| !b_constant));
    Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(data_type.clone()))
}

/// An interval: months, and milliseconds beside them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub months: i64,
    pub ms: i64,
    /// Nanoseconds below the millisecond.
    pub nanos: i64,
}

/// The intervals of an array.
pub(super) fn spans(array: &ArrayRef) -> Box<dyn Fn(usize) -> Option<Span> + '_> {
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let a = array.as_primitive::<IntervalYearMonthType>();
            Box::new(move |i| a.is_valid(i).then(|| Span { months: a.value(i).into(), ms: 0, nanos: 0 }))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let a = array.as_primitive::<IntervalDayTimeType>();
            Box::new(move |i| {
                a.is_valid(i).then(|| {
                    let v = a.value(i);
                    Span { months: 0, ms: i64::from(v.days) * DAY_MS + i64::from(v.milliseconds), nanos: 0 }
                })
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let a = array.as_primitive::<IntervalMonthDayNanoType>();
            Box::new(move |i| {
                a.is_valid(i).then(|| {
                    let v = a.value(i);
                    Span {
                        months: v.months.into(),
                        ms: i64::from(v.days) * DAY_MS + v.nanoseconds.div_euclid(1_000_000),
                        nanos: v.nanoseconds.rem_euclid(1_000_000),
                    }
                })
            })
        }
        _ => Box::new(|_| None),
    }
}

const NOT_HELD: &str = "The time is beyond what its type can hold.";

/// `time + sign * span`, row by row, in the type of `time`.
pub(super) fn shift_time(
    time: &ArrayRef,
    time_constant: bool,
    rows: usize,
    sign: i64,
    span: &dyn Fn(usize) -> Option<Span>,
) -> Result<ArrayRef> {
    let at = |row| if time_constant { 0 } else { row };
    match time.data_type() {
        DataType::Date32 => {
            let a = time.as_primitive::<Date32Type>();
            let mut out = Date32Builder::with_capacity(rows);
            for row in 0..rows {
                let (true, Some(s)) = (a.is_valid(at(row)), span(row)) else {
                    out.append_null();
                    continue;
                };
                let day = add_months(a.value(at(row)).into(), sign * s.months)
                    // Whole days only, counted towards zero as in Flink.
                    .and_then(|d| d.checked_add(sign * s.ms / DAY_MS))
                    .and_then(|d| i32::try_from(d).ok());
                match day {
                    Some(d) => out.append_value(d),
                    None => return user(NOT_HELD),
                }
            }
            Ok(Arc::new(out.finish()))
        }
        DataType::Time32(_) => {
            let a = to(time, &DataType::Time32(TimeUnit::Millisecond))?;
            let a = a.as_primitive::<Time32MillisecondType>();
            let mut out = Time32MillisecondBuilder::with_capacity(rows);
            for row in 0..rows {
                match (a.is_valid(at(row)), span(row)) {
                    (true, Some(s)) => {
                        let ms = i64::from(a.value(at(row))).wrapping_add(sign.wrapping_mul(s.ms));
                        out.append_value(ms.rem_euclid(DAY_MS) as i32);
                    }
                    _ => out.append_null(),
                }
            }
            Ok(Arc::new(out.finish()))
        }
        DataType::Timestamp(unit, _) => {
            let per_second: i64 = match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => 1_000_000_000,
            };
            let per_day = per_second * 86_400;
            let a = cast(time, &DataType::Int64)?;
            let a = a.as_primitive::<Int64Type>();
            let mut out = Int64Builder::with_capacity(rows);
            for row in 0..rows {
                let (true, Some(s)) = (a.is_valid(at(row)), span(row)) else {
                    out.append_null();
                    continue;
                };
                let value = a.value(at(row));
                let moved = if s.months == 0 {
                    Some(value)
                } else {
                    add_months(value.div_euclid(per_day), sign * s.months)
                        .and_then(|d| d.checked_mul(per_day))
                        .and_then(|d| d.checked_add(value.rem_euclid(per_day)))
                };
                let by = i128::from(s.ms) * 1_000_000 + i128::from(s.nanos);
                let by = i128::from(sign) * by * i128::from(per_second) / 1_000_000_000;
                match moved.and_then(|v| i64::try_from(i128::from(v) + by).ok()) {
                    Some(v) => out.append_value(v),
                    None => return user(NOT_HELD),
                }
            }
            Ok(cast(&out.finish(), time.data_type())?)
        }
        other => user(format!("{} is no time.", field::type_name(other))),
    }
}

/// All `times` moved by the same number of milliseconds; `None` for times that have no milliseconds.
fn shift_timestamps(times: &ArrayRef, ms: i64) -> Result<Option<ArrayRef>> {
    let per_ms = match times.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
        _ => return Ok(None),
    };
    let Some(by) = ms.checked_mul(per_ms) else { return Ok(None) };
    let moved = cast(times, &DataType::Int64)?;
    let moved =
        moved.as_primitive::<Int64Type>().try_unary::<_, Int64Type, ()>(|t| t.checked_add(by).ok_or(()));
    match moved {
        Ok(moved) => Ok(Some(cast(&moved, times.data_type())?)),
        Err(()) => user(NOT_HELD),
    }
}

fn time_eval(call: &Call<'_>, op: Op) -> Result<ArrayRef> {
    let (x, y) = (call.fields[0].data_type().clone(), call.fields[1].data_type().clone());
    let (a, a_constant) = call.column(0)?;
    let (b, b_constant) = call.column(1)?;
    let at = |constant: bool, row: usize| if constant { 0 } else { row };
    if is_time(&x) && !is_time(&y) {
        let sign = if op == Op::Minus { -1 } else { 1 };
        let span = spans(&b);
        if b_constant
            && !a_constant
            && let Some(Span { months: 0, ms, nanos: 0 }) = span(0)
            && let Some(moved) = shift_timestamps(&a, sign * ms)?
        {
            return Ok(moved);
        }
        return shift_time(&a, a_constant, call.rows, sign, &|row| span(at(b_constant, row)));
    }
    if is_interval(&x) && is_time(&y) {
        let span = spans(&a);
        return shift_time(&b, b_constant, call.rows, 1, &|row| span(at(a_constant, row)));
    }
    if is_time(&x) && is_time(&y) {
        let millis = |array: &ArrayRef| -> Result<ArrayRef> {
            let tz = match array.data_type() {
                DataType::Timestamp(_, tz) => tz.clone(),
                _ => None,
            };
            Ok(cast(&cast(array, &DataType::Timestamp(TimeUnit::Millisecond, tz))?, &DataType::Int64)?)
        };
        let (a, b) = (millis(&a)?, millis(&b)?);
        let (a, b) = (a.as_primitive::<Int64Type>(), b.as_primitive::<Int64Type>());
        return intervals(call, |row| {
            let (i, j) = (at(a_constant, row), at(b_constant, row));
            Ok((a.is_valid(i) && b.is_valid(j)).then(|| Span {
                months: 0,
                ms: a.value(i).wrapping_sub(b.value(j)),
                nanos: 0,
            }))
        });
    }
    if is_interval(&x) && is_interval(&y) {
        let (left, right) = (spans(&a), spans(&b));
        let sign = if op == Op::Minus { -1 } else { 1 };
        return intervals(call, |row| {
            Ok(match (left(at(a_constant, row)), right(at(b_constant, row))) {
                (Some(l), Some(r)) => Some(Span {
                    months: l.months + sign * r.months,
                    ms: l.ms.saturating_add(sign * r.ms),
                    nanos: l.nanos + sign * r.nanos,
                }),
                _ => None,
            })
        });
    }
    let (span_array, span_constant, number) =
        if is_interval(&x) { (a, a_constant, call.double(1)?) } else { (b, b_constant, call.double(0)?) };
    let span = spans(&span_array);
    intervals(call, |row| {
        let (Some(s), Some(n)) = (span(at(span_constant, row)), number.get(row)) else { return Ok(None) };
        if op == Op::Divide && n == 0.0 {
            return user("Division by zero.");
        }
        let scale = |v: i64| if op == Op::Divide { (v as f64 / n) as i64 } else { (v as f64 * n) as i64 };
        Ok(Some(Span { months: scale(s.months), ms: scale(s.ms), nanos: 0 }))
    })
}

/// Intervals of the result's type, row by row.
fn intervals(call: &Call<'_>, mut value: impl FnMut(usize) -> Result<Option<Span>>) -> Result<ArrayRef> {
    let narrow =
        |v: i64| i32::try_from(v).or_else(|_| user("The interval is beyond what its type can hold."));
    match call.field.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            call.numbers::<IntervalYearMonthType>(|row| value(row)?.map(|s| narrow(s.months)).transpose())
        }
        DataType::Interval(IntervalUnit::DayTime) => call.numbers::<IntervalDayTimeType>(|row| {
            value(row)?
                .map(|s| Ok(IntervalDayTime::new(narrow(s.ms / DAY_MS)?, narrow(s.ms % DAY_MS)?)))
                .transpose()
        }),
        _ => call.numbers::<IntervalMonthDayNanoType>(|row| {
            value(row)?
                .map(|s| {
                    let nanos = (s.ms % DAY_MS) * 1_000_000 + s.nanos;
                    Ok(IntervalMonthDayNano::new(narrow(s.months)?, narrow(s.ms / DAY_MS)?, nanos))
                })
                .transpose()
        }),
    }
}
