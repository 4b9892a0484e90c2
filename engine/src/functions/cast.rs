//! CAST and TRY_CAST as Flink's: wrapping numbers, its own reading of texts, the session's zone.

use super::calendar::{DAY_SECONDS, offset_at, wall_to_instant};
use super::field::{self, Length, length, precision};
use super::scalar::{carry, user, user_hint};
use super::{decimal, parse, text};
use crate::error::Error;
use arrow::array::*;
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::*;
use chrono_tz::Tz;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `CAST(expr AS target)`, or TRY_CAST, with Flink's meaning. `target` is a field of the SQL type (its name and
/// nullability do not matter, its metadata does); `zone` is the session's. Use it instead of DataFusion's
/// `Expr::Cast` for every cast that the user wrote or that an INSERT needs; see also [`super::replace`].
pub fn cast_expr(expr: Expr, target: &Field, try_: bool, zone: Tz) -> Expr {
    if let Some(literal) = cast_literal(&expr, target) {
        return literal;
    }
    let target = field::like(target, true);
    let udf = ScalarUDF::from(Cast {
        target: Arc::new(target),
        try_,
        zone,
        signature: Signature::user_defined(Volatility::Immutable),
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), vec![expr]))
}

/// Integer literals change their type here and now, so that plans stay readable.
fn cast_literal(expr: &Expr, target: &Field) -> Option<Expr> {
    let Expr::Literal(ScalarValue::Int64(Some(v)), None) = expr else { return None };
    let value = match target.data_type() {
        DataType::Int8 => ScalarValue::Int8(Some(i8::try_from(*v).ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(*v).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(*v).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(*v)),
        _ => return None,
    };
    Some(Expr::Literal(value, None))
}

/// Casts an array of type `from` to `to`. A value that cannot be cast is an error, or NULL if `try_`. `zone` is
/// the session's.
pub fn cast_array(array: &ArrayRef, from: &Field, to: &Field, try_: bool, zone: Tz) -> Result<ArrayRef> {
    Caster { try_, zone }.cast(array, from, to)
}

#[derive(Debug)]
struct Cast {
    target: FieldRef,
    try_: bool,
    zone: Tz,
    signature: Signature,
}

impl PartialEq for Cast {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && self.try_ == other.try_ && self.zone == other.zone
    }
}

impl Eq for Cast {}

impl Hash for Cast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.data_type().hash(state);
        self.try_.hash(state);
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        if self.try_ { "try_cast" } else { "cast" }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let arg = args.first().map(|a| a.schema_name().to_string()).unwrap_or_default();
        Ok(format!("{}({arg} AS {})", self.name().to_uppercase(), field::type_text(&self.target)))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.target.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [from] = args.arg_fields else {
            return Err(carry(Error::internal("CAST takes one value")));
        };
        check(from, &self.target)?;
        let nullable =
            self.try_ || from.is_nullable() || from.data_type().is_null() || may_be_null(from, &self.target);
        Ok(Arc::new(field::like(&self.target, nullable).with_name(self.name())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = &args.args[..] else {
            return Err(carry(Error::internal("CAST takes one value")));
        };
        let from = &args.arg_fields[0];
        match value {
            ColumnarValue::Array(a) => {
                Ok(ColumnarValue::Array(cast_array(a, from, &self.target, self.try_, self.zone)?))
            }
            // Flink's planner makes a constant no longer than it is.
            ColumnarValue::Scalar(ScalarValue::Binary(value))
                if self.target.data_type() == &DataType::Binary =>
            {
                let one: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![value.as_deref()]));
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                    &fit_bytes(&one, length(&self.target)),
                    0,
                )?))
            }
            ColumnarValue::Scalar(s) => {
                let one = cast_array(&s.to_array()?, from, &self.target, self.try_, self.zone)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?))
            }
        }
    }
}

/// Whether a non-null value can become NULL: a DECIMAL that does not fit.
fn may_be_null(from: &Field, to: &Field) -> bool {
    match (from.data_type(), to.data_type()) {
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            i32::from(*p1) - i32::from(*s1) + i32::from(s1 > s2) > i32::from(*p2) - i32::from(*s2)
        }
        (t, DataType::Decimal128(p, s)) if t.is_signed_integer() => super::operators::shape(t)
            .is_some_and(|(digits, _)| i32::from(digits) > i32::from(*p) - i32::from(*s)),
        (t, DataType::Decimal128(..)) => t.is_floating(),
        _ => false,
    }
}

/// Refuses casts that Flink refuses, in its words.
fn check(from: &Field, to: &Field) -> Result<()> {
    use DataType as D;
    let (a, b) = (from.data_type(), to.data_type());
    let temporal = |t: &D| matches!(t, D::Timestamp(..));
    if a.is_numeric() && temporal(b) {
        return user_hint(
            format!("The cast from NUMERIC type to {} type is not allowed.", kind(b)),
            if field::is_ltz(b) {
                "Write TO_TIMESTAMP_LTZ(number, 3) for milliseconds, (number, 0) for seconds."
            } else {
                "Write TO_TIMESTAMP(FROM_UNIXTIME(seconds)), or CAST(TO_TIMESTAMP_LTZ(ms, 3) AS TIMESTAMP(3))."
            },
        );
    }
    if temporal(a) && b.is_numeric() {
        return user_hint(
            format!("The cast from {} type to NUMERIC type is not allowed.", kind(a)),
            "Write UNIX_TIMESTAMP(CAST(t AS STRING)).",
        );
    }
    let fine = match (a, b) {
        _ if a == b || a.is_null() => true,
        (_, D::Utf8) => true,
        (D::Utf8, _) => !b.is_nested() && !matches!(b, D::Interval(_)),
        (D::Binary, D::Binary) => true,
        (D::Boolean, t) => t.is_numeric() || matches!(t, D::Boolean),
        (s, D::Boolean) if s.is_numeric() => true,
        (s, t) if s.is_numeric() && t.is_numeric() => true,
        (D::Date32, D::Timestamp(..)) | (D::Timestamp(..), D::Date32 | D::Time32(_) | D::Timestamp(..)) => {
            true
        }
        (D::Time32(_), D::Time32(_) | D::Timestamp(..)) => true,
        (D::Interval(_), D::Interval(_)) => true,
        // A number of milliseconds, or of months.
        (t, D::Interval(_)) if t.is_signed_integer() => true,
        (D::List(x), D::List(y)) => return check(x, y),
        (D::Map(x, _), D::Map(y, _)) => return check(x, y),
        (D::Struct(x), D::Struct(y)) if x.len() == y.len() => {
            return x.iter().zip(y).try_for_each(|(x, y)| check(x, y));
        }
        _ => false,
    };
    if fine {
        return Ok(());
    }
    user(format!(
        "Cast function cannot convert value of type {} to type {}.",
        field::type_text(&field::like(from, true)),
        field::type_text(&field::like(to, true))
    ))
}

fn kind(t: &DataType) -> &'static str {
    if field::is_ltz(t) { "TIMESTAMP_LTZ" } else { "TIMESTAMP" }
}

struct Caster {
    try_: bool,
    zone: Tz,
}

impl Caster {
    fn cast(&self, array: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef> {
        use DataType as D;
        let (a, b) = (array.data_type(), to.data_type());
        if a.is_null() {
            return Ok(new_null_array(b, array.len()));
        }
        match (a, b) {
            (D::Utf8, D::Utf8) => Ok(fit_texts(array, length(to))),
            (D::Binary, D::Binary) => {
                // As Flink, which makes as many bytes as the target has wherever the source may have more.
                let to = match (length(from), length(to)) {
                    (Length::Unlimited, Length::AtMost(n)) => Length::Exactly(n),
                    (Length::AtMost(m) | Length::Exactly(m), Length::AtMost(n)) if m > n => {
                        Length::Exactly(n)
                    }
                    (_, to) => to,
                };
                Ok(fit_bytes(array, to))
            }
            (D::Binary, D::Utf8) => {
                let bytes = array.as_binary::<i32>();
                let texts: StringArray = bytes.iter().map(|b| b.map(String::from_utf8_lossy)).collect();
                Ok(fit_texts(&(Arc::new(texts) as ArrayRef), length(to)))
            }
            (D::Utf8, D::Binary) => {
                let texts = array.as_string::<i32>();
                let bytes: BinaryArray = texts.iter().map(|t| t.map(str::as_bytes)).collect();
                Ok(fit_bytes(&(Arc::new(bytes) as ArrayRef), length(to)))
            }
            (_, D::Utf8) => Ok(fit_texts(&self.write(array, from), length(to))),
            (D::Utf8, _) => self.read(array.as_string::<i32>(), to),
            (D::Boolean, D::Boolean) => Ok(Arc::clone(array)),
            (D::Boolean, D::Decimal128(p, s)) => {
                let unit = decimal::power(s.unsigned_abs().into()).and_then(|u| decimal::checked(u, *p));
                let flags = array.as_boolean();
                let out: Decimal128Array =
                    flags.iter().map(|f| f.and_then(|f| if f { unit } else { Some(0) })).collect();
                Ok(Arc::new(out.with_data_type(b.clone())))
            }
            (D::Boolean, _) if b.is_numeric() => Ok(arrow_cast(array, b)?),
            (_, D::Boolean) if a.is_numeric() => {
                let numbers = arrow_cast(array, &D::Float64)?;
                let out: BooleanArray =
                    numbers.as_primitive::<Float64Type>().iter().map(|v| v.map(|v| v != 0.0)).collect();
                Ok(Arc::new(out))
            }
            (_, D::Decimal128(p, s)) if a.is_numeric() => self.to_decimal(array, *p, *s),
            (D::Decimal128(_, s), _) if b.is_numeric() => from_decimal(array, *s, b),
            _ if a.is_numeric() && b.is_numeric() => number(array, b),
            (D::List(x), D::List(y)) => {
                let list = array.as_list::<i32>();
                let values = self.cast(list.values(), x, y)?;
                Ok(Arc::new(ListArray::try_new(
                    Arc::clone(y),
                    list.offsets().clone(),
                    values,
                    list.nulls().cloned(),
                )?))
            }
            (D::Map(x, _), D::Map(y, sorted)) => {
                let map = array.as_map();
                let entries: ArrayRef = Arc::new(map.entries().clone());
                let entries = self.cast(&entries, x, y)?;
                Ok(Arc::new(MapArray::try_new(
                    Arc::clone(y),
                    map.offsets().clone(),
                    entries.as_struct().clone(),
                    map.nulls().cloned(),
                    *sorted,
                )?))
            }
            (D::Struct(x), D::Struct(y)) if x.len() == y.len() => {
                let rows = array.as_struct();
                let columns = rows
                    .columns()
                    .iter()
                    .zip(x.iter().zip(y))
                    .map(|(c, (x, y))| self.cast(c, x, y))
                    .collect::<Result<Vec<_>>>()?;
                if columns.is_empty() {
                    return Ok(Arc::clone(array));
                }
                Ok(Arc::new(StructArray::try_new(y.clone(), columns, rows.nulls().cloned())?))
            }
            (D::Interval(_), D::Interval(_)) => interval(array, b),
            (_, D::Interval(unit)) if a.is_signed_integer() => number_of(array, *unit),
            _ if is_temporal(a) && is_temporal(b) => self.temporal(array, from, to),
            _ if a == b => Ok(Arc::clone(array)),
            _ => {
                check(from, to)?;
                Err(carry(Error::internal(format!("no cast from {a} to {b}"))))
            }
        }
    }

    /// A value that cannot be: NULL or an error.
    fn fail<T>(&self, error: impl FnOnce() -> Error) -> Result<Option<T>> {
        if self.try_ { Ok(None) } else { Err(carry(error())) }
    }

    fn write(&self, array: &ArrayRef, from: &Field) -> ArrayRef {
        let mut out = StringBuilder::with_capacity(array.len(), array.len() * 12);
        let mut buffer = String::new();
        for row in 0..array.len() {
            if array.is_null(row) {
                out.append_null();
            } else {
                buffer.clear();
                text::write_cast(&mut buffer, array, row, from, self.zone);
                out.append_value(&buffer);
            }
        }
        Arc::new(out.finish())
    }

    fn read(&self, texts: &StringArray, to: &Field) -> Result<ArrayRef> {
        use DataType as D;
        match to.data_type() {
            D::Int8 => self.read_integers::<Int8Type>(texts, i8::MIN.into(), i8::MAX.into(), |v| v as i8),
            D::Int16 => {
                self.read_integers::<Int16Type>(texts, i16::MIN.into(), i16::MAX.into(), |v| v as i16)
            }
            D::Int32 => {
                self.read_integers::<Int32Type>(texts, i32::MIN.into(), i32::MAX.into(), |v| v as i32)
            }
            D::Int64 => self.read_integers::<Int64Type>(texts, i64::MIN, i64::MAX, |v| v),
            D::Float32 => self.read_each::<Float32Type>(texts, |t| {
                parse::double(t).map_or_else(|| Err(bad_double(t)), |v| Ok(v as f32))
            }),
            D::Float64 => self
                .read_each::<Float64Type>(texts, |t| parse::double(t).map_or_else(|| Err(bad_double(t)), Ok)),
            D::Decimal128(p, s) => {
                let read = |t: &str| match decimal::parse(parse::trim(t), (*s).into()) {
                    Err(decimal::NoNumber) => {
                        Err(Error::user(format!("For input string: '{t}'. Invalid character found.")))
                    }
                    Ok(v) => v
                        .and_then(|v| decimal::checked(v, *p))
                        .ok_or_else(|| Error::user(format!("For input string: '{t}'. Overflow."))),
                };
                Ok(Arc::new(
                    self.read_each::<Decimal128Type>(texts, read)?
                        .as_primitive::<Decimal128Type>()
                        .clone()
                        .with_data_type(to.data_type().clone()),
                ))
            }
            D::Boolean => {
                let mut out = BooleanBuilder::with_capacity(texts.len());
                for t in texts {
                    out.append_option(match t.map(|t| (t, parse::boolean(t))) {
                        Some((t, None)) => {
                            self.fail(|| Error::user(format!("Cannot parse '{t}' as BOOLEAN.")))?
                        }
                        other => other.and_then(|(_, v)| v),
                    });
                }
                Ok(Arc::new(out.finish()))
            }
            D::Date32 => self.read_each::<Date32Type>(texts, |t| {
                parse::date(t).ok_or_else(|| bad_time(t, "DATE", "yyyy-MM-dd"))
            }),
            D::Time32(_) => self.read_each::<Time32MillisecondType>(texts, |t| {
                parse::time(t).ok_or_else(|| bad_time(t, "TIME", "HH:mm:ss"))
            }),
            D::Timestamp(unit, ltz) => {
                let (ltz, digits) = (ltz.is_some(), precision(to));
                let read = |t: &str| {
                    let (seconds, nanos) = parse::timestamp(t)
                        .ok_or_else(|| bad_time(t, "TIMESTAMP", "yyyy-MM-dd HH:mm:ss[.SSS]"))?;
                    let seconds = if ltz { wall_to_instant(self.zone, seconds) } else { seconds };
                    join(seconds, cut(nanos, digits), *unit).ok_or_else(beyond)
                };
                let numbers = self.read_each::<Int64Type>(texts, read)?;
                Ok(arrow_cast(&numbers, to.data_type())?)
            }
            other => user(format!("A STRING cannot be cast to {}.", field::type_name(other))),
        }
    }

    fn read_integers<T: ArrowPrimitiveType>(
        &self,
        texts: &StringArray,
        min: i64,
        max: i64,
        narrow: impl Fn(i64) -> T::Native,
    ) -> Result<ArrayRef> {
        self.read_each::<T>(texts, |t| match parse::integer(t, min, max) {
            Ok(v) => Ok(narrow(v)),
            Err(parse::NotANumber::Invalid) => {
                Err(Error::user(format!("For input string: '{t}'. Invalid character found.")))
            }
            Err(parse::NotANumber::Overflow) => {
                Err(Error::user(format!("For input string: '{t}'. Overflow.")))
            }
        })
    }

    fn read_each<T: ArrowPrimitiveType>(
        &self,
        texts: &StringArray,
        read: impl Fn(&str) -> std::result::Result<T::Native, Error>,
    ) -> Result<ArrayRef> {
        let mut out = PrimitiveBuilder::<T>::with_capacity(texts.len());
        for t in texts {
            match t.map(&read) {
                Some(Ok(v)) => out.append_value(v),
                Some(Err(e)) => out.append_option(self.fail(|| e.with_hint(TRY_HINT))?),
                None => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }

    /// Numbers as DECIMAL; one that does not fit is NULL.
    fn to_decimal(&self, array: &ArrayRef, p: u8, s: i8) -> Result<ArrayRef> {
        let scale = i32::from(s);
        let out: Decimal128Array = match array.data_type() {
            DataType::Decimal128(_, from) => {
                let from = i32::from(*from);
                let values = array.as_primitive::<Decimal128Type>();
                values
                    .iter()
                    .map(|v| v.and_then(|v| decimal::checked(decimal::rescale(v, from, scale)?, p)))
                    .collect()
            }
            t if t.is_floating() => {
                // Through the shortest digits, as BigDecimal.valueOf does: 1.005 is 1.005, not 1.00499….
                let mut digits = String::new();
                let mut value = |v: f64, single: bool| {
                    digits.clear();
                    let _ = if single { write!(digits, "{:e}", v as f32) } else { write!(digits, "{v:e}") };
                    decimal::checked(decimal::parse(&digits, scale).ok()??, p)
                };
                let single = t == &DataType::Float32;
                let values = arrow_cast(array, &DataType::Float64)?;
                values
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|v| v.and_then(|v| value(v, single)))
                    .collect()
            }
            _ => {
                let values = arrow_cast(array, &DataType::Int64)?;
                values
                    .as_primitive::<Int64Type>()
                    .iter()
                    .map(|v| v.and_then(|v| decimal::checked(decimal::rescale(v.into(), 0, scale)?, p)))
                    .collect()
            }
        };
        Ok(Arc::new(out.with_data_type(DataType::Decimal128(p, s))))
    }

    /// DATE, TIME, TIMESTAMP and TIMESTAMP_LTZ into each other.
    fn temporal(&self, array: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef> {
        let (a, b) = (array.data_type(), to.data_type());
        if a == b && precision(from) <= precision(to) {
            return Ok(Arc::clone(array));
        }
        let numbers = arrow_cast(&arrow_cast(array, &wide(a))?, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let was_ltz = field::is_ltz(a);
        let is_ltz = field::is_ltz(b);
        let per_second = per_second(a);
        let digits = precision(to);
        let mut out = Int64Builder::with_capacity(numbers.len());
        for v in numbers {
            let Some(v) = v else {
                out.append_null();
                continue;
            };
            let (mut seconds, nanos) = match a {
                DataType::Date32 => (v * DAY_SECONDS, 0),
                _ => {
                    let nanos = v.rem_euclid(per_second) * (1_000_000_000 / per_second);
                    (v.div_euclid(per_second), nanos as u32)
                }
            };
            match (was_ltz, is_ltz) {
                (true, false) => seconds += offset_at(self.zone, seconds),
                (false, true) => seconds = wall_to_instant(self.zone, seconds),
                _ => {}
            }
            let value = match b {
                DataType::Date32 => Some(seconds.div_euclid(DAY_SECONDS)),
                DataType::Time32(_) => {
                    let ms =
                        seconds.rem_euclid(DAY_SECONDS) * 1000 + i64::from(cut(nanos, digits) / 1_000_000);
                    Some(ms)
                }
                DataType::Timestamp(unit, _) => join(seconds, cut(nanos, digits), *unit),
                _ => None,
            };
            match value {
                Some(v) => out.append_value(v),
                None => out.append_option(self.fail(beyond)?),
            }
        }
        let numbers = out.finish();
        match b {
            DataType::Timestamp(..) => Ok(arrow_cast(&numbers, b)?),
            _ => {
                let narrow = arrow_cast(&numbers, &DataType::Int32)?;
                Ok(arrow_cast(&narrow, b)?)
            }
        }
    }
}

const TRY_HINT: &str = "TRY_CAST gives NULL for such values.";

fn bad_double(t: &str) -> Error {
    Error::user(format!("For input string: \"{t}\""))
}

fn bad_time(t: &str, what: &str, form: &str) -> Error {
    Error::user(format!("Text '{t}' could not be parsed as {what}: its form is {form}."))
}

fn beyond() -> Error {
    Error::user("The time is beyond what its type can hold.")
}

fn is_temporal(t: &DataType) -> bool {
    matches!(t, DataType::Date32 | DataType::Time32(_) | DataType::Timestamp(..))
}

/// The integer type below a time.
fn wide(t: &DataType) -> DataType {
    if matches!(t, DataType::Timestamp(..)) { DataType::Int64 } else { DataType::Int32 }
}

fn per_second(t: &DataType) -> i64 {
    match t {
        DataType::Timestamp(TimeUnit::Second, _) => 1,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
        _ => 1_000,
    }
}

/// Nanoseconds with `digits` digits kept.
fn cut(nanos: u32, digits: usize) -> u32 {
    let unit = 10_u32.pow(9 - digits.min(9) as u32);
    nanos / unit * unit
}

/// Seconds and nanoseconds as a number of `unit`; `None` if it does not fit.
pub(super) fn join(seconds: i64, nanos: u32, unit: TimeUnit) -> Option<i64> {
    let (per_second, below) = match unit {
        TimeUnit::Second => (1, 1_000_000_000),
        TimeUnit::Millisecond => (1_000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1_000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    };
    seconds.checked_mul(per_second)?.checked_add(i64::from(nanos / below))
}

/// Whole numbers wrap; fractions are cut; a FLOAT or DOUBLE beyond INT or BIGINT is its end, as in Java.
fn number(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    use DataType as D;
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    if to.is_floating() || (from.is_signed_integer() && matches!(to, D::Int64)) {
        return Ok(arrow_cast(array, to)?);
    }
    if from.is_floating() {
        let v = arrow_cast(array, &D::Float64)?;
        let v = v.as_primitive::<Float64Type>();
        return Ok(match to {
            D::Int8 => Arc::new(v.unary::<_, Int8Type>(|v| v as i32 as i8)),
            D::Int16 => Arc::new(v.unary::<_, Int16Type>(|v| v as i32 as i16)),
            D::Int32 => Arc::new(v.unary::<_, Int32Type>(|v| v as i32)),
            _ => Arc::new(v.unary::<_, Int64Type>(|v| v as i64)),
        });
    }
    Ok(narrow(arrow_cast(array, &D::Int64)?.as_primitive::<Int64Type>(), to))
}

fn narrow(v: &Int64Array, to: &DataType) -> ArrayRef {
    match to {
        DataType::Int8 => Arc::new(v.unary::<_, Int8Type>(|v| v as i8)),
        DataType::Int16 => Arc::new(v.unary::<_, Int16Type>(|v| v as i16)),
        DataType::Int32 => Arc::new(v.unary::<_, Int32Type>(|v| v as i32)),
        _ => Arc::new(v.clone()),
    }
}

fn from_decimal(array: &ArrayRef, scale: i8, to: &DataType) -> Result<ArrayRef> {
    let v = array.as_primitive::<Decimal128Type>();
    let unit = decimal::power(scale.unsigned_abs().into()).unwrap_or(i128::MAX);
    if to.is_floating() {
        let floats: Float64Array = v.unary(|v| decimal_to_double(v, scale));
        return Ok(arrow_cast(&floats, to)?);
    }
    Ok(narrow(&v.unary::<_, Int64Type>(|v| (v / unit) as i64), to))
}

/// The DOUBLE nearest to a DECIMAL.
pub(super) fn decimal_to_double(value: i128, scale: i8) -> f64 {
    // Both are exact as doubles, so that one division rounds once.
    if value.unsigned_abs() < 1 << 53 && (0..=22).contains(&scale) {
        return value as f64 / 10_f64.powi(scale.into());
    }
    let mut digits = String::new();
    text::decimal(&mut digits, value, scale);
    digits.parse().unwrap_or(f64::NAN)
}

/// Literals are made of months, days and nanoseconds; columns are one or the other.
/// Numbers of milliseconds or months as intervals.
fn number_of(array: &ArrayRef, unit: IntervalUnit) -> Result<ArrayRef> {
    const DAY_MS: i64 = 86_400_000;
    let numbers = arrow_cast(array, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    Ok(match unit {
        // As in Java, an INT that is too small wraps.
        IntervalUnit::YearMonth => {
            Arc::new(numbers.iter().map(|n| n.map(|n| n as i32)).collect::<IntervalYearMonthArray>())
        }
        _ => Arc::new(
            numbers
                .iter()
                .map(|n| n.map(|n| IntervalDayTime::new((n / DAY_MS) as i32, (n % DAY_MS) as i32)))
                .collect::<IntervalDayTimeArray>(),
        ),
    })
}

fn interval(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let spans = super::operators::spans(array);
    let each = (0..array.len()).map(spans);
    Ok(match to {
        DataType::Interval(IntervalUnit::YearMonth) => {
            Arc::new(each.map(|s| s.map(|s| s.months as i32)).collect::<IntervalYearMonthArray>())
        }
        DataType::Interval(IntervalUnit::DayTime) => Arc::new(
            each.map(|s| {
                s.map(|s| IntervalDayTime::new((s.ms / 86_400_000) as i32, (s.ms % 86_400_000) as i32))
            })
            .collect::<IntervalDayTimeArray>(),
        ),
        _ => Arc::new(
            each.map(|s| {
                s.map(|s| {
                    let nanos = s.ms % 86_400_000 * 1_000_000 + s.nanos;
                    IntervalMonthDayNano::new(s.months as i32, (s.ms / 86_400_000) as i32, nanos)
                })
            })
            .collect::<IntervalMonthDayNanoArray>(),
        ),
    })
}

/// Cuts or pads strings to their type's length in characters.
fn fit_texts(array: &ArrayRef, to: Length) -> ArrayRef {
    let (n, pad) = match to {
        Length::Unlimited => return Arc::clone(array),
        Length::AtMost(n) => (n, false),
        Length::Exactly(n) => (n, true),
    };
    let texts = array.as_string::<i32>();
    let mut out = StringBuilder::with_capacity(texts.len(), texts.values().len());
    let mut buffer = String::new();
    for t in texts {
        let Some(t) = t else {
            out.append_null();
            continue;
        };
        match t.char_indices().nth(n) {
            Some((end, _)) => out.append_value(&t[..end]),
            None if pad => {
                buffer.clear();
                buffer.push_str(t);
                // A CHAR longer than this would be made of blanks alone.
                let missing = n.saturating_sub(t.chars().count()).min(MAX_PADDING);
                buffer.extend(std::iter::repeat_n(' ', missing));
                out.append_value(&buffer);
            }
            None => out.append_value(t),
        }
    }
    Arc::new(out.finish())
}

/// Blanks or zeros that CAST to CHAR(n) or BINARY(n) adds at most.
const MAX_PADDING: usize = 1 << 20;

fn fit_bytes(array: &ArrayRef, to: Length) -> ArrayRef {
    let (n, pad) = match to {
        Length::Unlimited => return Arc::clone(array),
        Length::AtMost(n) => (n, false),
        Length::Exactly(n) => (n, true),
    };
    let bytes = array.as_binary::<i32>();
    let mut out = BinaryBuilder::with_capacity(bytes.len(), bytes.values().len());
    for b in bytes {
        match b {
            None => out.append_null(),
            Some(b) if b.len() >= n => out.append_value(&b[..n]),
            Some(b) if pad => {
                let mut padded = b.to_vec();
                padded.resize(n.min(b.len() + MAX_PADDING), 0);
                out.append_value(padded);
            }
            Some(b) => out.append_value(b),
        }
    }
    Arc::new(out.finish())
}
