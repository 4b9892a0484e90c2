//! Java's date and time patterns (`yyyy-MM-dd HH:mm:ss.SSS`): written and read.

use super::calendar::{DAY_SECONDS, civil_from_days, days_from_civil, iso_week, month_length, weekday};
use super::scalar::{user, user_hint};
use datafusion_common::Result;
use std::fmt::Write;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Item>);

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Literal(String),
    Field(char, usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Pattern {
    /// Reads a pattern. Letters that Java does not know, and those of zones, are errors.
    pub fn parse(pattern: &str) -> Result<Self> {
        let mut items = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\'' => {
                    let mut text = String::new();
                    if chars.next_if_eq(&'\'').is_some() {
                        text.push('\'');
                    } else {
                        loop {
                            match chars.next() {
                                None => {
                                    return user(format!(
                                        "Pattern ends with an incomplete string literal: {pattern}"
                                    ));
                                }
                                Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
                                Some('\'') => break,
                                Some(c) => text.push(c),
                            }
                        }
                    }
                    items.push(Item::Literal(text));
                }
                c if c.is_ascii_alphabetic() => {
                    let mut n = 1;
                    while chars.next_if_eq(&c).is_some() {
                        n += 1;
                    }
                    match c {
                        'y' | 'u' | 'Y' | 'M' | 'L' | 'd' | 'D' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' | 'S'
                        | 'n' | 'A' | 'a' | 'E' | 'e' | 'c' | 'w' | 'W' | 'Q' | 'q' | 'G' | 'F' => {}
                        'z' | 'Z' | 'X' | 'x' | 'V' | 'O' => {
                            return user_hint(
                                format!(
                                    "The pattern '{pattern}' has the zone letter {c}, but a TIMESTAMP has no zone."
                                ),
                                "Write the zone as text in quotes, for example 'Z' as ''Z''.",
                            );
                        }
                        _ => return user(format!("Unknown pattern letter: {c}")),
                    }
                    items.push(Item::Field(c, n));
                }
                '{' | '}' | '#' => return user(format!("Pattern includes reserved character: '{c}'")),
                // An optional part is written always, and read as if it were not optional.
                '[' | ']' => {}
                c => items.push(Item::Literal(c.to_string())),
            }
        }
        Ok(Self(items))
    }

    /// Seconds of the longest stretches, counted from 1970-01-01 00:00, in which all times are written alike; `None` if
    /// there are none.
    pub fn stretch(&self) -> Option<i64> {
        let letters = self.0.iter().map(|item| match item {
            Item::Literal(_) => Some(DAY_SECONDS),
            Item::Field(letter, _) => match letter {
                'S' | 'n' | 'A' => None,
                's' => Some(1),
                'm' => Some(60),
                'H' | 'h' | 'k' | 'K' | 'a' => Some(3600),
                _ => Some(DAY_SECONDS),
            },
        });
        letters.fold(Some(DAY_SECONDS), |shortest, stretch| Some(shortest?.min(stretch?)))
    }

    /// Writes a wall time: seconds since 1970-01-01 00:00, and nanoseconds.
    pub fn write(&self, out: &mut String, seconds: i64, nanos: u32) {
        let days = seconds.div_euclid(DAY_SECONDS);
        let time = seconds.rem_euclid(DAY_SECONDS);
        let c = civil_from_days(days);
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let day_of_year = days - days_from_civil(c.year, 1, 1) + 1;
        let dow = weekday(days);
        for item in &self.0 {
            let (letter, n) = match item {
                Item::Literal(t) => {
                    out.push_str(t);
                    continue;
                }
                Item::Field(letter, n) => (*letter, *n),
            };
            let mut number = |v: i64| {
                let _ = write!(out, "{v:0n$}");
            };
            let quarter = (i64::from(c.month) - 1) / 3 + 1;
            match letter {
                'y' | 'u' if n == 2 => number(c.year.rem_euclid(100)),
                'y' | 'u' => number(c.year),
                'Y' => {
                    let year = us_week(days).0;
                    number(if n == 2 { year.rem_euclid(100) } else { year });
                }
                'M' | 'L' | 'E' if n >= 3 || letter == 'E' => {
                    let name = if letter == 'E' { DAYS[dow as usize] } else { MONTHS[c.month as usize - 1] };
                    out.push_str(match n {
                        4 => name,
                        5 => &name[..1],
                        _ => &name[..3],
                    });
                }
                'M' | 'L' => number(c.month.into()),
                'd' => number(c.day.into()),
                'D' => number(day_of_year),
                'H' => number(hour),
                'h' => number((hour + 11) % 12 + 1),
                'k' => number((hour + 23) % 24 + 1),
                'K' => number(hour % 12),
                'm' => number(minute),
                's' => number(second),
                'S' => {
                    let digits = format!("{nanos:09}");
                    let _ = write!(out, "{:0<n$}", &digits[..n.min(9)]);
                }
                'n' => number(nanos.into()),
                'A' => number(time * 1000 + i64::from(nanos / 1_000_000)),
                'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                'e' | 'c' => number(dow + 1),
                'w' => number(us_week(days).1),
                'W' => {
                    let first = weekday(days - i64::from(c.day) + 1);
                    number((i64::from(c.day) + first - 1) / 7 + 1);
                }
                'F' => number((i64::from(c.day) - 1) % 7 + 1),
                'Q' | 'q' => match n {
                    1 | 2 => number(quarter),
                    3 => {
                        let _ = write!(out, "Q{quarter}");
                    }
                    _ => out.push_str(["1st", "2nd", "3rd", "4th"][quarter as usize - 1].trim_end()),
                },
                _ => out.push_str(if c.year > 0 { "AD" } else { "BC" }),
            }
            if matches!(letter, 'Q' | 'q') && n > 3 {
                out.push_str(" quarter");
            }
        }
    }

    /// Reads a text: wall seconds and nanoseconds. `lenient` is SimpleDateFormat's way: any number of digits,
    /// days that roll over, and an end that is not looked at.
    pub fn read(&self, text: &str, lenient: bool) -> Option<(i64, u32)> {
        let mut rest = text;
        let (mut year, mut month, mut day) = (1970_i64, 1_i64, 1_i64);
        let (mut hour, mut minute, mut second, mut nanos) = (0_i64, 0_i64, 0_i64, 0_u32);
        let mut pm = None;
        let mut half_day = false;
        for (i, item) in self.0.iter().enumerate() {
            let (letter, n) = match item {
                Item::Literal(t) => {
                    rest = rest.strip_prefix(t.as_str())?;
                    continue;
                }
                Item::Field(letter, n) => (*letter, *n),
            };
            if letter == 'a' {
                let word = rest.get(..2)?;
                pm = Some(match word.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                rest = &rest[2..];
                continue;
            }
            if matches!(letter, 'M' | 'L') && n >= 3 {
                let at = MONTHS.iter().position(|m| {
                    let name = if n == 3 { &m[..3] } else { m };
                    rest.get(..name.len())
                        .is_some_and(|r| if lenient { r.eq_ignore_ascii_case(name) } else { r == name })
                })?;
                month = at as i64 + 1;
                rest = &rest[if n == 3 { 3 } else { MONTHS[at].len() }..];
                continue;
            }
            if letter == 'E' {
                let at = DAYS.iter().position(|d| rest.starts_with(if n == 4 { d } else { &d[..3] }))?;
                rest = &rest[if n == 4 { DAYS[at].len() } else { 3 }..];
                continue;
            }
            let adjacent = matches!(self.0.get(i + 1), Some(Item::Field(l, n)) if !(matches!(l, 'a' | 'E' | 'G') || matches!(l, 'M' | 'L') && *n >= 3))
                || (letter == 'S' && !lenient);
            let (least, most) = match () {
                () if adjacent => (n, n),
                () if lenient => (1, 18),
                () if letter == 'S' => (n, n),
                () if n == 1 => (1, 18),
                () if matches!(letter, 'y' | 'u') && n >= 4 => (n, 9),
                () => (n, n),
            };
            let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
            if digits < least {
                return None;
            }
            let value: i64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            match letter {
                'y' | 'u' if n == 2 => year = if value < 100 { 2000 + value } else { value },
                'y' | 'u' => year = value,
                'M' | 'L' => month = value,
                'd' => day = value,
                'H' => hour = value,
                'k' => hour = value % 24,
                'h' => {
                    half_day = true;
                    hour = value % 12;
                }
                'K' => {
                    half_day = true;
                    hour = value;
                }
                'm' => minute = value,
                's' => second = value,
                'S' if lenient => nanos = u32::try_from(value.checked_mul(1_000_000)?).ok()?,
                'S' => {
                    nanos = u32::try_from(value)
                        .ok()?
                        .checked_mul(10_u32.checked_pow(9_u32.checked_sub(n as u32)?)?)?
                }
                'D' => {
                    month = 1;
                    day = value;
                }
                _ => return None,
            }
        }
        if half_day && pm == Some(true) {
            hour += 12;
        }
        let limit = 400_000_000;
        if [year, month, day, hour, minute, second].iter().any(|v| v.abs() > limit) {
            return None;
        }
        let days = if lenient {
            let months = year * 12 + month - 1;
            days_from_civil(months.div_euclid(12), months.rem_euclid(12) as u32 + 1, 1) + day - 1
        } else {
            let fits = rest.is_empty()
                && (1..=12).contains(&month)
                && (1..=366).contains(&day)
                && (0..24).contains(&hour)
                && (0..60).contains(&minute)
                && (0..60).contains(&second);
            let by_year = self.0.iter().any(|i| matches!(i, Item::Field('D', _)));
            if !fits || (day > 31 && !by_year) {
                return None;
            }
            if by_year {
                days_from_civil(year, 1, 1) + day - 1
            } else {
                let month = month as u32;
                days_from_civil(year, month, (day as u32).min(month_length(year, month)))
            }
        };
        Some((days * DAY_SECONDS + hour * 3600 + minute * 60 + second, nanos))
    }
}

/// Week-year and week as in the US: weeks begin on Sunday, and the first is that of 1 January.
fn us_week(days: i64) -> (i64, i64) {
    let year = civil_from_days(days).year;
    let start = |year: i64| {
        let first = days_from_civil(year, 1, 1);
        first - weekday(first)
    };
    if days >= start(year + 1) {
        return (year + 1, (days - start(year + 1)) / 7 + 1);
    }
    (year, (days - start(year)) / 7 + 1)
}

/// A part of a time as EXTRACT names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millennium,
    Century,
    Decade,
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    DayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    IsoYear,
    Epoch,
}

impl Unit {
    /// The unit of that name, in singular or plural.
    pub fn parse(name: &str) -> Result<Self> {
        let upper = name.trim().to_ascii_uppercase();
        let upper = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        Ok(match upper {
            "MILLENNIUM" => Self::Millennium,
            "CENTURY" => Self::Century,
            "DECADE" | "DECADES" => Self::Decade,
            "YEAR" | "YEARS" => Self::Year,
            "QUARTER" | "QUARTERS" => Self::Quarter,
            "MONTH" | "MONTHS" => Self::Month,
            "WEEK" | "WEEKS" => Self::Week,
            "DAY" | "DAYS" => Self::Day,
            "HOUR" | "HOURS" => Self::Hour,
            "MINUTE" | "MINUTES" => Self::Minute,
            "SECOND" | "SECONDS" => Self::Second,
            "MILLISECOND" | "MILLISECONDS" => Self::Millisecond,
            "MICROSECOND" | "MICROSECONDS" | "FRAC_SECOND" => Self::Microsecond,
            "NANOSECOND" | "NANOSECONDS" => Self::Nanosecond,
            "DOY" => Self::DayOfYear,
            "DOW" => Self::DayOfWeek,
            "ISODOW" => Self::IsoDayOfWeek,
            "ISOYEAR" => Self::IsoYear,
            "EPOCH" => Self::Epoch,
            _ => return user(format!("'{name}' is no unit of time.")),
        })
    }

    /// That part of a wall time.
    pub fn extract(self, seconds: i64, nanos: u32) -> i64 {
        let days = seconds.div_euclid(DAY_SECONDS);
        let time = seconds.rem_euclid(DAY_SECONDS);
        let c = civil_from_days(days);
        match self {
            Self::Millennium => (c.year + 999).div_euclid(1000),
            Self::Century => (c.year + 99).div_euclid(100),
            Self::Decade => c.year.div_euclid(10),
            Self::Year => c.year,
            Self::Quarter => (i64::from(c.month) - 1) / 3 + 1,
            Self::Month => c.month.into(),
            Self::Week => iso_week(days).1,
            Self::Day => c.day.into(),
            Self::Hour => time / 3600,
            Self::Minute => time / 60 % 60,
            Self::Second => time % 60,
            Self::Millisecond => i64::from(nanos / 1_000_000),
            Self::Microsecond => i64::from(nanos / 1_000),
            Self::Nanosecond => nanos.into(),
            Self::DayOfYear => days - days_from_civil(c.year, 1, 1) + 1,
            Self::DayOfWeek => weekday(days) + 1,
            Self::IsoDayOfWeek => (weekday(days) + 6) % 7 + 1,
            Self::IsoYear => iso_week(days).0,
            Self::Epoch => seconds,
        }
    }

    /// The start of the unit in which a wall time lies; `None` for units that have none.
    pub fn floor(self, seconds: i64, nanos: u32) -> Option<(i64, u32)> {
        let days = seconds.div_euclid(DAY_SECONDS);
        let c = civil_from_days(days);
        let year = |y: i64| Some((days_from_civil(y, 1, 1) * DAY_SECONDS, 0));
        match self {
            Self::Millennium => year((c.year - 1).div_euclid(1000) * 1000 + 1),
            Self::Century => year((c.year - 1).div_euclid(100) * 100 + 1),
            Self::Decade => year(c.year.div_euclid(10) * 10),
            Self::Year => year(c.year),
            Self::Quarter => Some((days_from_civil(c.year, (c.month - 1) / 3 * 3 + 1, 1) * DAY_SECONDS, 0)),
            Self::Month => Some((days_from_civil(c.year, c.month, 1) * DAY_SECONDS, 0)),
            Self::Week => Some(((days - weekday(days)) * DAY_SECONDS, 0)),
            Self::Day => Some((days * DAY_SECONDS, 0)),
            Self::Hour => Some((seconds.div_euclid(3600) * 3600, 0)),
            Self::Minute => Some((seconds.div_euclid(60) * 60, 0)),
            Self::Second => Some((seconds, 0)),
            Self::Millisecond => Some((seconds, nanos / 1_000_000 * 1_000_000)),
            Self::Microsecond => Some((seconds, nanos / 1_000 * 1_000)),
            Self::Nanosecond => Some((seconds, nanos)),
            _ => None,
        }
    }

    /// The start of the unit after the one that starts at `seconds`.
    pub fn next(self, seconds: i64, nanos: u32) -> Option<(i64, u32)> {
        let months = |n: i64| {
            let day = super::calendar::add_months(seconds.div_euclid(DAY_SECONDS), n)?;
            Some((day.checked_mul(DAY_SECONDS)?, 0))
        };
        let later = |unit: u32| {
            let n = nanos + unit;
            (seconds + i64::from(n / 1_000_000_000), n % 1_000_000_000)
        };
        match self {
            Self::Millennium => months(12_000),
            Self::Century => months(1_200),
            Self::Decade => months(120),
            Self::Year => months(12),
            Self::Quarter => months(3),
            Self::Month => months(1),
            Self::Week => Some((seconds + 7 * DAY_SECONDS, 0)),
            Self::Day => Some((seconds + DAY_SECONDS, 0)),
            Self::Hour => Some((seconds + 3600, 0)),
            Self::Minute => Some((seconds + 60, 0)),
            Self::Second => Some((seconds + 1, 0)),
            Self::Millisecond => Some(later(1_000_000)),
            Self::Microsecond => Some(later(1_000)),
            _ => Some((seconds, nanos)),
        }
    }
}
