//! Functions of dates and times.

use super::calendar::{
    DAY_MS, DAY_SECONDS, add_months, civil_from_days, offset_at, wall_to_instant, wall_to_later_instant,
};
use super::cast::join;
use super::field;
use super::java_format::{Pattern, Read, Unit};
use super::operators::{Span, shift_time, spans};
use super::parse;
use super::scalar::{Binding, Call, Function, Kind, Texts, result, user};
use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::*;
use chrono_tz::Tz;
use datafusion_common::{Result, ScalarValue};
use std::collections::HashMap;

const T: Kind = Kind::Text;
const TIME: Kind = Kind::Temporal;
const DAY: Kind = Kind::Day;

macro_rules! part {
    ($name:literal, $kind:expr, $unit:ident) => {
        Function::new($name, &[$kind], result::long, |c| part(c, 0, Unit::$unit))
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("EXTRACT", &[T, Kind::Any], extract_type, extract),
    part!("YEAR", DAY, Year),
    part!("QUARTER", DAY, Quarter),
    part!("MONTH", DAY, Month),
    part!("WEEK", DAY, Week),
    part!("DAYOFYEAR", DAY, DayOfYear),
    part!("DAYOFMONTH", DAY, Day),
    part!("DAYOFWEEK", DAY, DayOfWeek),
    part!("HOUR", TIME, Hour),
    part!("MINUTE", TIME, Minute),
    part!("SECOND", TIME, Second),
    Function::new("TIMESTAMPADD", &[T, Kind::Integer, TIME], add_type, timestamp_add),
    Function::new("TIMESTAMPDIFF", &[T, DAY, DAY], diff_type, timestamp_diff),
    // What `(a - b) DAY` is bound to.
    Function::new("minus_date", &[T, DAY, DAY], minus_type, minus),
    Function::new("DATE_FORMAT", &[Kind::TimestampOrText, T], result::nullable_text, date_format),
    Function::new("TO_TIMESTAMP", &[T, T], to_timestamp_type, to_timestamp).optional(1),
    Function::new("TO_TIMESTAMP_LTZ", &[Kind::Number, Kind::Integer], to_ltz_type, to_timestamp_ltz),
    Function::new("TO_DATE", &[T, T], to_date_type, to_date).optional(1),
    Function::new("FROM_UNIXTIME", &[Kind::Integer, T], result::nullable_text, from_unixtime).optional(1),
    Function::new("UNIX_TIMESTAMP", &[T, T], unix_type, unix_timestamp).optional(2).volatile(),
    Function::new("CONVERT_TZ", &[T, T, T], result::nullable_text, convert_tz),
];

/// Times of an argument as wall time in the session's zone: seconds since 1970-01-01 00:00, and nanoseconds.
pub(super) fn walls(call: &Call<'_>, i: usize) -> Result<Box<dyn Fn(usize) -> Option<(i64, u32)>>> {
    walls_in(call, i, call.env.zone)
}

/// As [`walls`], where clocks in `zone` show TIMESTAMP_LTZ.
fn walls_in(call: &Call<'_>, i: usize, zone: Tz) -> Result<Box<dyn Fn(usize) -> Option<(i64, u32)>>> {
    let (array, constant) = call.column(i)?;
    let at = move |row: usize| if constant { 0 } else { row };
    Ok(match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().clone();
            Box::new(move |row| {
                days.is_valid(at(row)).then(|| (i64::from(days.value(at(row))) * DAY_SECONDS, 0))
            })
        }
        DataType::Time32(_) => {
            let ms = cast(&cast(&array, &DataType::Time32(TimeUnit::Millisecond))?, &DataType::Int32)?;
            let ms = ms.as_primitive::<Int32Type>().clone();
            Box::new(move |row| {
                let row = at(row);
                ms.is_valid(row).then(|| {
                    let ms = i64::from(ms.value(row));
                    (ms.div_euclid(1000), ms.rem_euclid(1000) as u32 * 1_000_000)
                })
            })
        }
        DataType::Timestamp(unit, ltz) => {
            let per_second: i64 = match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => 1_000_000_000,
            };
            let ltz = ltz.is_some();
            let values = cast(&array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>().clone();
            Box::new(move |row| {
                let row = at(row);
                values.is_valid(row).then(|| {
                    let v = values.value(row);
                    let mut seconds = v.div_euclid(per_second);
                    if ltz {
                        seconds += offset_at(zone, seconds);
                    }
                    (seconds, (v.rem_euclid(per_second) * (1_000_000_000 / per_second)) as u32)
                })
            })
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>().clone();
            Box::new(move |row| {
                let row = at(row);
                if texts.is_valid(row) { parse::timestamp(texts.value(row)) } else { None }
            })
        }
        _ => Box::new(|_| None),
    })
}

/// Times of the result's type, from wall times.
pub(super) fn times(
    call: &Call<'_>,
    mut wall: impl FnMut(usize) -> Result<Option<(i64, u32)>>,
) -> Result<ArrayRef> {
    let beyond = || user("The time is beyond what its type can hold.");
    let to = call.field.data_type();
    let ltz = field::is_ltz(to);
    let numbers = call.numbers_plain(|row| {
        let Some((mut seconds, nanos)) = wall(row)? else { return Ok(None) };
        if ltz {
            seconds = wall_to_instant(call.env.zone, seconds);
        }
        let value = match to {
            DataType::Date32 => Some(seconds.div_euclid(DAY_SECONDS)).filter(|d| i32::try_from(*d).is_ok()),
            DataType::Time32(_) => {
                Some(seconds.rem_euclid(DAY_SECONDS) * 1000 + i64::from(nanos / 1_000_000))
            }
            DataType::Timestamp(unit, _) => join(seconds, nanos, *unit),
            _ => None,
        };
        match value {
            Some(v) => Ok(Some(v)),
            None => beyond(),
        }
    })?;
    match to {
        DataType::Timestamp(..) => Ok(cast(&numbers, to)?),
        _ => Ok(cast(&cast(&numbers, &DataType::Int32)?, to)?),
    }
}

/// The unit that a constant first argument names.
fn unit(b: &Binding<'_>, i: usize) -> Result<Unit> {
    match b.constants.get(i) {
        Some(Some(ScalarValue::Utf8(Some(name)))) => Unit::parse(name),
        _ => user(format!("{} needs a unit such as DAY or HOUR.", b.name)),
    }
}

fn unit_of(texts: &Texts) -> Result<Unit> {
    Unit::parse(texts.get(0).unwrap_or_default())
}

fn extract_type(b: &Binding<'_>) -> Result<Field> {
    unit(b, 0)?;
    match b.data_type(1) {
        DataType::Date32
        | DataType::Time32(_)
        | DataType::Timestamp(..)
        | DataType::Interval(_)
        | DataType::Null => result::long(b),
        _ => b.refuse("EXTRACT takes parts of dates, times and intervals."),
    }
}

fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(&call.text(0)?)?;
    if !matches!(call.fields[1].data_type(), DataType::Interval(_)) {
        return part(call, 1, unit);
    }
    let (array, constant) = call.column(1)?;
    let span = spans(&array);
    call.numbers::<Int64Type>(|row| {
        let Some(s) = span(if constant { 0 } else { row }) else { return Ok(None) };
        Ok(Some(match unit {
            Unit::Year => s.months / 12,
            Unit::Month => s.months % 12,
            Unit::Quarter => s.months % 12 / 3 + 1,
            Unit::Day => s.ms / DAY_MS,
            Unit::Hour => s.ms % DAY_MS / 3_600_000,
            Unit::Minute => s.ms % 3_600_000 / 60_000,
            Unit::Second => s.ms % 60_000 / 1000,
            Unit::Millisecond => s.ms % 1000,
            Unit::Epoch => s.ms / 1000,
            _ => return user("This part cannot be taken of an INTERVAL."),
        }))
    })
}

fn part(call: &Call<'_>, i: usize, unit: Unit) -> Result<ArrayRef> {
    let wall = walls(call, i)?;
    // As in Flink, EPOCH too is of the wall.
    call.numbers::<Int64Type>(|row| Ok(wall(row).map(|(seconds, nanos)| unit.extract(seconds, nanos))))
}

/// FLOOR and CEIL of a time to a unit: the second argument.
pub(super) fn round_type(b: &Binding<'_>) -> Result<Field> {
    unit(b, 1)?;
    if !Kind::Temporal.admits(b.data_type(0)) {
        return b.refuse("only a DATE, TIME or TIMESTAMP is rounded to a unit.");
    }
    result::first(b)
}

/// Evaluates FLOOR and CEIL of a time to a unit.
pub(super) fn round(call: &Call<'_>, up: bool) -> Result<ArrayRef> {
    let unit = unit_of(&call.text(1)?)?;
    let wall = walls(call, 0)?;
    // A TIME knows no days: it stays.
    let is_time = matches!(call.fields[0].data_type(), DataType::Time32(_));
    if is_time
        && !matches!(unit, Unit::Hour | Unit::Minute | Unit::Second | Unit::Millisecond | Unit::Microsecond)
    {
        return call.array(0);
    }
    times(call, |row| {
        let Some((seconds, nanos)) = wall(row) else { return Ok(None) };
        // Digits below a millisecond do not count, as in Flink.
        let nanos = if up { nanos - nanos % 1_000_000 } else { nanos };
        let Some(floor) = unit.floor(seconds, nanos) else {
            return user("FLOOR and CEIL do not know this unit.");
        };
        if up && floor != (seconds, nanos) { Ok(unit.next(floor.0, floor.1)) } else { Ok(Some(floor)) }
    })
}

fn add_type(b: &Binding<'_>) -> Result<Field> {
    let unit = unit(b, 0)?;
    let below_day =
        matches!(unit, Unit::Hour | Unit::Minute | Unit::Second | Unit::Millisecond | Unit::Microsecond);
    if matches!(b.data_type(2), DataType::Date32) && below_day {
        return Ok(field::timestamp(6, false, b.nullable()));
    }
    Ok(field::like(&b.fields[2], b.nullable()))
}

fn timestamp_add(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(&call.text(0)?)?;
    let n = call.long(1)?;
    let (array, constant) = call.column(2)?;
    let array = if array.data_type() == call.field.data_type() {
        array
    } else {
        cast(&array, call.field.data_type())?
    };
    let span = |row: usize| -> Option<Span> {
        let n = n.get(row)?;
        let months =
            |per: i64| Span { months: n.saturating_mul(per).clamp(-10_000_000, 10_000_000), ms: 0, nanos: 0 };
        let ms =
            |per: i64| Span { months: 0, ms: n.saturating_mul(per).clamp(-(1 << 60), 1 << 60), nanos: 0 };
        Some(match unit {
            Unit::Year => months(12),
            Unit::Quarter => months(3),
            Unit::Month => months(1),
            Unit::Week => ms(7 * DAY_MS),
            Unit::Day => ms(DAY_MS),
            Unit::Hour => ms(3_600_000),
            Unit::Minute => ms(60_000),
            Unit::Second => ms(1000),
            Unit::Microsecond => Span { months: 0, ms: n.div_euclid(1000), nanos: n.rem_euclid(1000) * 1000 },
            _ => ms(1),
        })
    };
    shift_time(&array, constant, call.rows, 1, &span)
}

fn diff_type(b: &Binding<'_>) -> Result<Field> {
    unit(b, 0)?;
    result::int(b)
}

/// From the second to the third argument, in whole units towards zero.
fn timestamp_diff(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(&call.text(0)?)?;
    // Between two TIMESTAMP_LTZ the time that passed counts, also where clocks were put on or back.
    let instants = (1..=2).all(|i| field::is_ltz(call.fields[i].data_type()));
    let zone = if instants { Tz::UTC } else { call.env.zone };
    let (from, to) = (walls_in(call, 1, zone)?, walls_in(call, 2, zone)?);
    call.numbers::<Int32Type>(|row| {
        let (Some(a), Some(b)) = (from(row), to(row)) else { return Ok(None) };
        let ms = |(seconds, nanos): (i64, u32)| i128::from(seconds) * 1000 + i128::from(nanos / 1_000_000);
        let between = ms(b) - ms(a);
        let value = match unit {
            Unit::Year => i128::from(months_between(b, a) / 12),
            Unit::Quarter => i128::from(months_between(b, a) / 3),
            Unit::Month => i128::from(months_between(b, a)),
            Unit::Week => between / (7 * i128::from(DAY_MS)),
            Unit::Day => between / i128::from(DAY_MS),
            Unit::Hour => between / 3_600_000,
            Unit::Minute => between / 60_000,
            Unit::Second => between / 1000,
            Unit::Microsecond => between * 1000,
            _ => between,
        };
        // As in Java, an INT that is too small wraps.
        Ok(Some(value as i32))
    })
}

/// Whether an interval of the unit is one of months.
fn of_months(unit: Unit) -> bool {
    matches!(unit, Unit::Year | Unit::Quarter | Unit::Month)
}

fn minus_type(b: &Binding<'_>) -> Result<Field> {
    let is_ltz = |i: usize| field::is_ltz(b.data_type(i));
    if is_ltz(1) != is_ltz(2) {
        return b.refuse("TIMESTAMP_LTZ only supports diff between the same type.");
    }
    let is_date = |i: usize| b.data_type(i) == &DataType::Date32;
    if is_date(1) != is_date(2) {
        return b.refuse("a DATE and a TIMESTAMP are not of one type; CAST one of them.");
    }
    let unit = if of_months(unit(b, 0)?) { IntervalUnit::YearMonth } else { IntervalUnit::DayTime };
    Ok(b.strict(DataType::Interval(unit)))
}

/// The second argument less the third, as an interval.
fn minus(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(&call.text(0)?)?;
    let zone = if field::is_ltz(call.fields[1].data_type()) { Tz::UTC } else { call.env.zone };
    let (to, from) = (walls_in(call, 1, zone)?, walls_in(call, 2, zone)?);
    if of_months(unit) {
        return call.numbers::<IntervalYearMonthType>(|row| {
            let (Some(a), Some(b)) = (to(row), from(row)) else { return Ok(None) };
            Ok(i32::try_from(months_between(a, b)).ok())
        });
    }
    call.numbers::<IntervalDayTimeType>(|row| {
        let (Some(a), Some(b)) = (to(row), from(row)) else { return Ok(None) };
        let ms = |(seconds, nanos): (i64, u32)| seconds * 1000 + i64::from(nanos / 1_000_000);
        let between = ms(a) - ms(b);
        let days = i32::try_from(between / DAY_MS).ok();
        Ok(days.map(|days| arrow::datatypes::IntervalDayTime::new(days, (between % DAY_MS) as i32)))
    })
}

/// Whole months from `b` to `a`, as Calcite counts them.
fn months_between(a: (i64, u32), b: (i64, u32)) -> i64 {
    let (da, db) = (a.0.div_euclid(DAY_SECONDS), b.0.div_euclid(DAY_SECONDS));
    let (ta, tb) = ((a.0.rem_euclid(DAY_SECONDS), a.1), (b.0.rem_euclid(DAY_SECONDS), b.1));
    let months = days_to_months(da, db);
    // The time of day counts only where the months end on the very day.
    if ta < tb && add_months(db, months) == Some(da) { months - 1 } else { months }
}

fn days_to_months(a: i64, b: i64) -> i64 {
    if a < b {
        return -days_to_months(b, a);
    }
    let mut m = (a - b) / 31;
    loop {
        let (Some(here), Some(next)) = (add_months(b, m), add_months(b, m + 1)) else { return m };
        if here >= a || next > a {
            return m;
        }
        m += 1;
    }
}

/// Patterns that one batch keeps, where they differ from row to row.
const MAX_PATTERNS: usize = 256;

/// Patterns of one of Java's two kinds.
struct Patterns {
    known: HashMap<String, Pattern>,
    parse: fn(&str) -> Result<Pattern>,
    /// For years of two digits.
    this_year: i64,
}

impl Patterns {
    /// Of SimpleDateFormat.
    fn simple(call: &Call<'_>) -> Self {
        let today = call.env.clock.now_ms().div_euclid(DAY_MS);
        Self { known: HashMap::new(), parse: Pattern::simple, this_year: civil_from_days(today).year }
    }

    /// Of DateTimeFormatter.
    fn formatter() -> Self {
        Self { known: HashMap::new(), parse: Pattern::parse, this_year: 2000 }
    }

    fn read<'t>(&mut self, pattern: &str, text: &'t str) -> Result<Option<Read<'t>>> {
        let this_year = self.this_year;
        Ok(self.get(pattern)?.read(text, this_year))
    }

    fn get(&mut self, pattern: &str) -> Result<&Pattern> {
        if !self.known.contains_key(pattern) {
            if self.known.len() >= MAX_PATTERNS {
                self.known.clear();
            }
            self.known.insert(pattern.to_string(), (self.parse)(pattern)?);
        }
        match self.known.get(pattern) {
            Some(p) => Ok(p),
            None => user("The pattern was lost."),
        }
    }
}

fn date_format(call: &Call<'_>) -> Result<ArrayRef> {
    let pattern = call.text(1)?;
    if matches!(call.fields[0].data_type(), DataType::Utf8) {
        let text = call.text(0)?;
        let mut patterns = Patterns::simple(call);
        return call.texts(|row, out| {
            let (Some(text), Some(pattern)) = (text.get(row), pattern.get(row)) else { return Ok(false) };
            let Some(wall) = patterns.read(DEFAULT, text)? else { return Ok(false) };
            patterns.get(pattern)?.write(out, wall.seconds, wall.nanos, Some(call.env.zone))?;
            Ok(true)
        });
    }
    let wall = walls(call, 0)?;
    let mut patterns = Patterns::formatter();
    if let Some(pattern) = pattern.constant() {
        // Rows of a stream mostly have the day, the minute of the row before.
        let pattern = patterns.get(pattern)?;
        if let Some(stretch) = pattern.stretch() {
            let (mut last, mut text) = (None, String::new());
            return call.texts(|row, out| {
                let Some((seconds, nanos)) = wall(row) else { return Ok(false) };
                let now = Some(seconds.div_euclid(stretch));
                if now != last {
                    text.clear();
                    pattern.write(&mut text, seconds, nanos, None)?;
                    last = now;
                }
                out.push_str(&text);
                Ok(true)
            });
        }
    }
    call.texts(|row, out| {
        let Some(pattern) = pattern.get(row) else { return Ok(false) };
        let pattern = patterns.get(pattern)?;
        let Some((seconds, nanos)) = wall(row) else { return Ok(false) };
        pattern.write(out, seconds, nanos, None)?;
        Ok(true)
    })
}

const DEFAULT: &str = "yyyy-MM-dd HH:mm:ss";

fn to_timestamp_type(_: &Binding<'_>) -> Result<Field> {
    Ok(field::timestamp(3, false, true))
}

fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let pattern = if call.len() > 1 { Some(call.text(1)?) } else { None };
    let mut patterns = Patterns::formatter();
    times(call, |row| {
        let Some(text) = text.get(row) else { return Ok(None) };
        match &pattern {
            None => Ok(parse::timestamp(text)),
            Some(p) => match p.get(row) {
                None => Ok(None),
                Some(p) => Ok(match patterns.read(p, text)? {
                    Some(read) => Some((read.seconds, read.nanos)),
                    None => parse::rolling_timestamp(text),
                }),
            },
        }
    })
}

fn to_ltz_type(b: &Binding<'_>) -> Result<Field> {
    if let Some(Some(p)) = b.constants.get(1)
        && let Ok(ScalarValue::Int64(Some(p))) = p.cast_to(&DataType::Int64)
    {
        check_precision(p)?;
    }
    Ok(field::timestamp(3, true, true))
}

fn check_precision(p: i64) -> Result<()> {
    if p == 0 || p == 3 {
        return Ok(());
    }
    user(format!(
        "The precision value '{p}' for function TO_TIMESTAMP_LTZ(numeric, precision) is unsupported, the supported \
         value is '0' for second or '3' for millisecond."
    ))
}

/// First and last millisecond that Flink's TO_TIMESTAMP_LTZ gives: years 0 to 9999.
const LTZ_RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

fn to_timestamp_ltz(call: &Call<'_>) -> Result<ArrayRef> {
    let precision = call.long(1)?;
    let whole = call.fields[0].data_type().is_signed_integer();
    let (longs, doubles) = if whole { (Some(call.long(0)?), None) } else { (None, Some(call.double(0)?)) };
    call.numbers::<TimestampMillisecondType>(|row| {
        let n = match (&longs, &doubles) {
            (Some(l), _) => l.get(row),
            (_, Some(d)) => d.get(row).map(|d| d as i64),
            _ => None,
        };
        let (Some(n), Some(p)) = (n, precision.get(row)) else { return Ok(None) };
        check_precision(p)?;
        let ms = if p == 0 { n.checked_mul(1000) } else { Some(n) };
        Ok(ms.filter(|ms| LTZ_RANGE.contains(ms)))
    })
}

fn to_date_type(_: &Binding<'_>) -> Result<Field> {
    Ok(Field::new("", DataType::Date32, true))
}

fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let pattern = if call.len() > 1 { Some(call.text(1)?) } else { None };
    let mut patterns = Patterns::simple(call);
    call.numbers::<Date32Type>(|row| {
        let Some(text) = text.get(row) else { return Ok(None) };
        match &pattern {
            None => Ok(parse::date(text)),
            Some(p) => match p.get(row) {
                None => Ok(None),
                Some(p) => Ok(patterns.read(p, text)?.and_then(|read| {
                    let zone = read.zone.and_then(Zone::read);
                    let seconds = zone.map_or(read.seconds, |z| z.to_instant(read.seconds));
                    i32::try_from(seconds.div_euclid(DAY_SECONDS)).ok()
                })),
            },
        }
    })
}

fn from_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let seconds = call.long(0)?;
    let pattern = if call.len() > 1 { Some(call.text(1)?) } else { None };
    let mut patterns = Patterns::simple(call);
    call.texts(|row, out| {
        let Some(pattern) = pattern.as_ref().map_or(Some(DEFAULT), |p| p.get(row)) else { return Ok(false) };
        let Some(seconds) = seconds.get(row) else { return Ok(false) };
        // Milliseconds of later years do not fit Java's long either.
        if seconds.unsigned_abs() > (i64::MAX / 1000) as u64 {
            return user(format!("FROM_UNIXTIME: {seconds} seconds are beyond all calendars."));
        }
        let zone = call.env.zone;
        patterns.get(pattern)?.write(out, seconds + offset_at(zone, seconds), 0, Some(zone))?;
        Ok(true)
    })
}

fn unix_type(b: &Binding<'_>) -> Result<Field> {
    Ok(b.strict(DataType::Int64))
}

/// Seconds since 1970; what cannot be read is BIGINT's least, as in Flink.
fn unix_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    if call.len() == 0 {
        let now = call.env.clock.now_ms().div_euclid(1000);
        return call.numbers::<Int64Type>(|_| Ok(Some(now)));
    }
    let text = call.text(0)?;
    let pattern = if call.len() > 1 { Some(call.text(1)?) } else { None };
    let mut patterns = Patterns::simple(call);
    call.numbers::<Int64Type>(|row| {
        let pattern = pattern.as_ref().map_or(Some(DEFAULT), |p| p.get(row));
        let (Some(text), Some(pattern)) = (text.get(row), pattern) else { return Ok(None) };
        let Some(read) = patterns.read(pattern, text)? else { return Ok(Some(i64::MIN)) };
        Ok(Some(match read.zone.and_then(Zone::read) {
            Some(zone) => zone.to_instant(read.seconds),
            None => wall_to_later_instant(call.env.zone, read.seconds),
        }))
    })
}

/// A zone as Java's TimeZone names it; what is unknown is GMT.
enum Zone {
    Named(Tz),
    Fixed(i64),
}

impl Zone {
    fn parse(name: &str) -> Self {
        let short = [
            ("PST", Tz::America__Los_Angeles),
            ("EST", Tz::EST),
            ("CST", Tz::America__Chicago),
            ("JST", Tz::Asia__Tokyo),
        ];
        if let Some((_, zone)) = short.iter().find(|(n, _)| *n == name) {
            return Self::Named(*zone);
        }
        if let Some(offset) = name.strip_prefix("GMT").filter(|o| !o.is_empty()) {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let digits = offset.trim_start_matches(['+', '-']);
            let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
            if let (Ok(h @ 0..=23), Ok(m @ 0..=59)) = (hours.parse::<i64>(), minutes.parse::<i64>()) {
                return Self::Fixed(sign * (h * 3600 + m * 60));
            }
        }
        name.parse().map_or(Self::Fixed(0), Self::Named)
    }

    /// A zone in a text: `Z`, `+01:00`, `+0100`, `UTC`, `Europe/Berlin`.
    fn read(text: &str) -> Option<Self> {
        if text == "Z" {
            return Some(Self::Fixed(0));
        }
        let Some(digits) = text.strip_prefix(['+', '-']) else { return Some(Self::parse(text)) };
        let digits = digits.replace(':', "");
        let number =
            |range: std::ops::Range<usize>| digits.get(range).map_or(Some(0), |d| d.parse::<i64>().ok());
        let offset = number(0..2)? * 3600 + number(2..4)? * 60;
        Some(Self::Fixed(if text.starts_with('-') { -offset } else { offset }))
    }

    fn to_instant(&self, wall: i64) -> i64 {
        match self {
            Self::Named(zone) => wall_to_instant(*zone, wall),
            Self::Fixed(offset) => wall - offset,
        }
    }

    fn to_wall(&self, instant: i64) -> i64 {
        match self {
            Self::Named(zone) => instant + offset_at(*zone, instant),
            Self::Fixed(offset) => instant + offset,
        }
    }
}

fn convert_tz(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let pattern = Pattern::simple(DEFAULT)?;
    let mut zones: HashMap<String, Zone> = HashMap::new();
    call.texts(|row, out| {
        let (Some(text), Some(from), Some(to)) = (text.get(row), from.get(row), to.get(row)) else {
            return Ok(false);
        };
        let Some(Read { seconds: wall, .. }) = pattern.read(text, 2000) else { return Ok(false) };
        if zones.len() > MAX_PATTERNS {
            zones.clear();
        }
        for name in [from, to] {
            if !zones.contains_key(name) {
                zones.insert(name.to_string(), Zone::parse(name));
            }
        }
        let (Some(from), Some(to)) = (zones.get(from), zones.get(to)) else { return Ok(false) };
        pattern.write(out, to.to_wall(from.to_instant(wall)), 0, None)?;
        Ok(true)
    })
}
