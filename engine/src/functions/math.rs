//! Functions of numbers.

use super::cast::decimal_to_double;
use super::decimal;
use super::scalar::{Binding, Call, Function, Kind, result};
use super::temporal;
use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::*;
use datafusion_common::{Result, ScalarValue};
use std::fmt::Write;
use std::sync::Arc;

const N: &[Kind] = &[Kind::Number];
const NN: &[Kind] = &[Kind::Number, Kind::Number];
/// A number, or a time and the unit that `FLOOR(t TO unit)` names.
const WHOLE: &[Kind] = &[Kind::Any, Kind::Text];
const NI: &[Kind] = &[Kind::Number, Kind::Integer];

macro_rules! double {
    ($name:literal, $f:expr) => {
        Function::new($name, N, result::double, |c| one(c, $f))
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    double!("EXP", f64::exp),
    double!("LN", f64::ln),
    double!("LOG2", |x| x.ln() / std::f64::consts::LN_2),
    double!("LOG10", f64::log10),
    double!("SQRT", f64::sqrt),
    double!("SIN", f64::sin),
    double!("COS", f64::cos),
    double!("TAN", f64::tan),
    double!("COT", |x| 1.0 / x.tan()),
    double!("ASIN", libm::asin),
    double!("ACOS", libm::acos),
    double!("ATAN", libm::atan),
    double!("SINH", sinh),
    double!("COSH", cosh),
    double!("TANH", tanh),
    double!("DEGREES", f64::to_degrees),
    double!("RADIANS", f64::to_radians),
    Function::new("ATAN2", NN, result::double, |c| two(c, libm::atan2)),
    Function::new("POWER", NN, result::double, |c| two(c, f64::powf)),
    Function::new("LOG", NN, result::double, log).optional(1),
    Function::new("PI", &[], double_not_null, |c| {
        c.numbers::<Float64Type>(|_| Ok(Some(std::f64::consts::PI)))
    }),
    Function::new("E", &[], double_not_null, |c| c.numbers::<Float64Type>(|_| Ok(Some(std::f64::consts::E)))),
    Function::new("ABS", N, result::first, abs),
    Function::new("SIGN", N, result::first, sign),
    Function::new("CEIL", WHOLE, whole_type, |c| whole(c, true)).optional(1),
    Function::new("FLOOR", WHOLE, whole_type, |c| whole(c, false)).optional(1),
    Function::new("ROUND", NI, round_type, |c| round(c, true)).optional(1),
    Function::new("TRUNCATE", NI, round_type, |c| round(c, false)).optional(1),
    // With a count of digits that is not known when the query is bound.
    Function::new("round ", NI, result::first, |c| round(c, true)),
    Function::new("truncate ", NI, result::first, |c| round(c, false)),
];

/// Above this, e^-x is lost beside e^x in a DOUBLE.
const ONE_SIDED: f64 = 22.0;
/// Largest x whose e^x is a DOUBLE.
const LARGEST_EXPONENT: f64 = 709.782_712_893_384;

/// As fdlibm computes it, and so Java: the last digit follows from the way.
fn sinh(x: f64) -> f64 {
    let half = 0.5_f64.copysign(x);
    let a = x.abs();
    match a {
        _ if !x.is_finite() || a < 2_f64.powi(-28) => x,
        _ if a < ONE_SIDED => {
            let t = libm::expm1(a);
            half * if a < 1.0 { 2.0 * t - t * t / (t + 1.0) } else { t + t / (t + 1.0) }
        }
        _ => half * one_sided(a),
    }
}

/// As [`sinh`].
fn cosh(x: f64) -> f64 {
    let a = x.abs();
    match a {
        _ if !x.is_finite() => a,
        _ if a < 0.5 * std::f64::consts::LN_2 => {
            let t = libm::expm1(a);
            let w = 1.0 + t;
            if a < 2_f64.powi(-55) { w } else { 1.0 + t * t / (w + w) }
        }
        _ if a < ONE_SIDED => {
            let t = libm::exp(a);
            0.5 * t + 0.5 / t
        }
        _ => 0.5 * one_sided(a),
    }
}

/// e^x; where that is no DOUBLE, half of it may still be.
fn one_sided(a: f64) -> f64 {
    if a < LARGEST_EXPONENT {
        return libm::exp(a);
    }
    let w = libm::exp(0.5 * a);
    w * w
}

/// As [`sinh`].
fn tanh(x: f64) -> f64 {
    let a = x.abs();
    let z = match a {
        _ if x.is_nan() => return x,
        _ if a >= ONE_SIDED => 1.0,
        _ if a < 2_f64.powi(-55) => return x * (1.0 + x),
        _ if a >= 1.0 => 1.0 - 2.0 / (libm::expm1(2.0 * a) + 2.0),
        _ => {
            let t = libm::expm1(-2.0 * a);
            -t / (t + 2.0)
        }
    };
    z.copysign(x)
}

fn double_not_null(_: &Binding<'_>) -> Result<Field> {
    Ok(Field::new("", DataType::Float64, false))
}

fn one(call: &Call<'_>, f: fn(f64) -> f64) -> Result<ArrayRef> {
    let x = call.double(0)?;
    call.numbers::<Float64Type>(|row| Ok(x.get(row).map(f)))
}

fn two(call: &Call<'_>, f: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (x, y) = (call.double(0)?, call.double(1)?);
    call.numbers::<Float64Type>(|row| Ok(x.get(row).zip(y.get(row)).map(|(x, y)| f(x, y))))
}

/// LOG(x) is the natural logarithm; LOG(base, x) has the base first.
fn log(call: &Call<'_>) -> Result<ArrayRef> {
    if call.len() == 1 {
        return one(call, f64::ln);
    }
    two(call, |base, x| x.ln() / base.ln())
}

fn abs(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    Ok(match array.data_type() {
        DataType::Int8 => Arc::new(array.as_primitive::<Int8Type>().unary::<_, Int8Type>(i8::wrapping_abs)),
        DataType::Int16 => {
            Arc::new(array.as_primitive::<Int16Type>().unary::<_, Int16Type>(i16::wrapping_abs))
        }
        DataType::Int32 => {
            Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int32Type>(i32::wrapping_abs))
        }
        DataType::Int64 => {
            Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>(i64::wrapping_abs))
        }
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs)),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs)),
        DataType::Decimal128(..) => decimals(&array, array.data_type(), i128::wrapping_abs),
        _ => array,
    })
}

fn decimals(array: &ArrayRef, to: &DataType, f: impl Fn(i128) -> i128) -> ArrayRef {
    let out = array.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(f);
    Arc::new(out.with_data_type(to.clone()))
}

fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let float = |v: f64| if v == 0.0 || v.is_nan() { v } else { v.signum() };
    Ok(match array.data_type() {
        t if t.is_signed_integer() => {
            let signs = cast(&array, &DataType::Int64)?
                .as_primitive::<Int64Type>()
                .unary::<_, Int64Type>(i64::signum);
            cast(&signs, t)?
        }
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| float(v.into()) as f32))
        }
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(float)),
        DataType::Decimal128(_, s) => {
            let unit = decimal::power(s.unsigned_abs().into()).unwrap_or(1);
            decimals(&array, array.data_type(), |v| v.signum() * unit)
        }
        _ => array,
    })
}

fn whole_type(b: &Binding<'_>) -> Result<Field> {
    if b.fields.len() > 1 {
        return temporal::round_type(b);
    }
    if !Kind::Number.admits(b.data_type(0)) {
        return b.refuse("it takes a number, or a time and a unit: FLOOR(t TO HOUR).");
    }
    Ok(b.strict(match b.data_type(0) {
        DataType::Decimal128(p, _) => DataType::Decimal128(*p, 0),
        other => other.clone(),
    }))
}

fn whole(call: &Call<'_>, up: bool) -> Result<ArrayRef> {
    if call.len() > 1 {
        return temporal::round(call, up);
    }
    let array = call.array(0)?;
    Ok(match array.data_type() {
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(if up {
            f32::ceil
        } else {
            f32::floor
        })),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(if up {
            f64::ceil
        } else {
            f64::floor
        })),
        DataType::Decimal128(_, s) if *s > 0 => {
            let unit = decimal::power(s.unsigned_abs().into()).unwrap_or(i128::MAX);
            decimals(&array, call.field.data_type(), |v| {
                if up { -(-v).div_euclid(unit) } else { v.div_euclid(unit) }
            })
        }
        _ => array,
    })
}

/// Digits after the point that a constant second argument asks for; 0 if there is none.
fn constant_digits(b: &Binding<'_>) -> Option<i64> {
    if b.fields.len() < 2 {
        return Some(0);
    }
    match b.constants.get(1)?.as_ref()?.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(v) => v,
        _ => None,
    }
}

fn round_type(b: &Binding<'_>) -> Result<Field> {
    Ok(b.strict(match b.data_type(0) {
        DataType::Decimal128(p, s) => {
            let (p, s) = constant_digits(b).map_or((*p, *s), |d| decimal::rounded((*p, *s), d));
            DataType::Decimal128(p, s)
        }
        other => other.clone(),
    }))
}

fn round(call: &Call<'_>, half_up: bool) -> Result<ArrayRef> {
    let digits = if call.len() > 1 { Some(call.long(1)?) } else { None };
    let digits = |row| match &digits {
        None => Some(0),
        Some(d) => d.get(row).map(|d| d.clamp(-400, 400) as i32),
    };
    let t = call.fields[0].data_type();
    match t {
        DataType::Float32 | DataType::Float64 => {
            let x = call.double(0)?;
            let single = t == &DataType::Float32;
            let mut text = String::new();
            let out = call.numbers::<Float64Type>(|row| {
                Ok(x.get(row).zip(digits(row)).map(|(x, d)| {
                    // A BigDecimal has no -0.0.
                    round_double(x, d, half_up, single, &mut text) + 0.0
                }))
            })?;
            Ok(if single { cast(&out, t)? } else { out })
        }
        DataType::Decimal128(_, s) => {
            let x = call.values_as::<Decimal128Type>(0, t)?;
            let DataType::Decimal128(p, to) = call.field.data_type() else { return call.array(0) };
            let (from, to) = (i32::from(*s), i32::from(*to));
            call.numbers::<Decimal128Type>(|row| {
                let (Some(v), Some(d)) = (x.get(row), digits(row)) else { return Ok(None) };
                Ok(round_decimal(v, from, d, half_up)
                    .and_then(|v| decimal::rescale(v, from, to))
                    .and_then(|v| decimal::checked(v, *p)))
            })
        }
        _ => {
            let x = call.long(0)?;
            let out = call.numbers::<Int64Type>(|row| {
                let (Some(v), Some(d)) = (x.get(row), digits(row)) else { return Ok(None) };
                Ok(round_decimal(v.into(), 0, d, half_up).map(|v| v as i64))
            })?;
            let v = out.as_primitive::<Int64Type>();
            Ok(match t {
                DataType::Int8 => Arc::new(v.unary::<_, Int8Type>(|v| v as i8)),
                DataType::Int16 => Arc::new(v.unary::<_, Int16Type>(|v| v as i16)),
                DataType::Int32 => Arc::new(v.unary::<_, Int32Type>(|v| v as i32)),
                DataType::Null => new_null_array(call.field.data_type(), call.rows),
                _ => out,
            })
        }
    }
}

/// An unscaled value rounded to `digits` after the point, still at its own scale.
fn round_decimal(value: i128, scale: i32, digits: i32, half_up: bool) -> Option<i128> {
    if digits >= scale {
        return Some(value);
    }
    let Some(unit) = decimal::power((scale - digits).unsigned_abs()) else { return Some(0) };
    let whole = if half_up { decimal::divide_half_up(value, unit) } else { value / unit };
    whole.checked_mul(unit)
}

/// Through the shortest decimal digits, as BigDecimal.valueOf does.
fn round_double(x: f64, digits: i32, half_up: bool, single: bool, text: &mut String) -> f64 {
    if !x.is_finite() || (digits >= 0 && x.fract() == 0.0) {
        return x;
    }
    text.clear();
    let _ = if single { write!(text, "{:e}", x as f32) } else { write!(text, "{x:e}") };
    // All digits of the number, so that truncating sees them too.
    let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let scale = 17 - exponent;
    if digits >= scale {
        return x;
    }
    let Ok(Some(value)) = decimal::parse(text, scale) else { return x };
    match round_decimal(value, scale, digits, half_up) {
        Some(v) => {
            i8::try_from(scale).map_or_else(|_| if v == 0 { 0.0 } else { x }, |s| decimal_to_double(v, s))
        }
        None => x,
    }
}
