//! Java's date and time patterns (`yyyy-MM-dd HH:mm:ss.SSS`): written and read.

use super::calendar::{
    DAY_SECONDS, civil_from_days, days_from_civil, iso_week, month_length, offset_at, wall_to_instant,
    weekday, zone_name,
};
use super::scalar::{user, user_hint};
use chrono_tz::Tz;
use datafusion_common::Result;
use std::fmt::Write;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    items: Vec<Item>,
    /// Java's SimpleDateFormat, else its DateTimeFormatter.
    simple: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Literal(String),
    Field(char, usize),
    /// So many items that follow may be missing in a text.
    Optional(usize),
}

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Read<'t> {
    /// Seconds since 1970-01-01 00:00 on the wall clock.
    pub seconds: i64,
    pub nanos: u32,
    /// The zone of that clock, if one is named.
    pub zone: Option<&'t str>,
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
    /// Reads a pattern of Java's DateTimeFormatter. Letters that Java does not know are errors.
    pub fn parse(pattern: &str) -> Result<Self> {
        Self::read_pattern(pattern, false)
    }

    /// Reads a pattern of Java's SimpleDateFormat.
    pub fn simple(pattern: &str) -> Result<Self> {
        Self::read_pattern(pattern, true)
    }

    fn read_pattern(pattern: &str, simple: bool) -> Result<Self> {
        let mut items = Vec::new();
        let mut open = Vec::new();
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
                    let letters =
                        if simple { "GyYMLwWDdFEuaHkKhmsSzZX" } else { "GyuYMLwWDdFEecaHkKhmsSnAQqzZXxVO" };
                    if !letters.contains(c) {
                        return user(format!("Unknown pattern letter: {c}"));
                    }
                    items.push(Item::Field(c, n));
                }
                '{' | '}' | '#' if !simple => {
                    return user(format!("Pattern includes reserved character: '{c}'"));
                }
                '[' if !simple => {
                    open.push(items.len());
                    items.push(Item::Optional(0));
                }
                ']' if !simple => {
                    let Some(at) = open.pop() else {
                        return user("Pattern invalid as it contains ] without previous [");
                    };
                    items[at] = Item::Optional(items.len() - at - 1);
                }
                c => items.push(Item::Literal(c.to_string())),
            }
        }
        // A part that is never closed ends with the pattern.
        for at in open {
            items[at] = Item::Optional(items.len() - at - 1);
        }
        Ok(Self { items, simple })
    }

    /// Seconds of the longest stretches, counted from 1970-01-01 00:00, in which all times are written alike; `None` if
    /// there are none.
    pub fn stretch(&self) -> Option<i64> {
        let mut letters = self.items.iter().map(|item| match item {
            Item::Literal(_) | Item::Optional(_) => Some(DAY_SECONDS),
            Item::Field(letter, _) => match letter {
                'S' | 'n' | 'A' => None,
                's' => Some(1),
                'm' => Some(60),
                'H' | 'h' | 'k' | 'K' | 'a' => Some(3600),
                _ => Some(DAY_SECONDS),
            },
        });
        letters.try_fold(DAY_SECONDS, |shortest, stretch| Some(shortest.min(stretch?)))
    }

    /// Writes a wall time: seconds since 1970-01-01 00:00, and nanoseconds; `zone` is that of the clock.
    ///
    /// Errors: the pattern asks for a zone, and there is none.
    pub fn write(&self, out: &mut String, seconds: i64, nanos: u32, zone: Option<Tz>) -> Result<()> {
        let days = seconds.div_euclid(DAY_SECONDS);
        let time = seconds.rem_euclid(DAY_SECONDS);
        let c = civil_from_days(days);
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let day_of_year = days - days_from_civil(c.year, 1, 1) + 1;
        let dow = weekday(days);
        for item in &self.items {
            let (letter, n) = match item {
                Item::Literal(t) => {
                    out.push_str(t);
                    continue;
                }
                Item::Optional(_) => continue,
                Item::Field(letter, n) => (*letter, *n),
            };
            if "zZXxVO".contains(letter) {
                write_zone(out, letter, n, seconds, zone)?;
                continue;
            }
            let mut number = |v: i64| {
                let _ = write!(out, "{v:0n$}");
            };
            let quarter = (i64::from(c.month) - 1) / 3 + 1;
            match letter {
                'u' if self.simple => number((dow + 6) % 7 + 1),
                'S' if self.simple => number((nanos / 1_000_000).into()),
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
        Ok(())
    }

    /// Reads a text. SimpleDateFormat takes any number of digits, lets days roll over and does not look at the
    /// text's end; `this_year` tells it the century of a year of two digits.
    pub fn read<'t>(&self, text: &'t str, this_year: i64) -> Option<Read<'t>> {
        let mut reader = Reader::new(text, self.simple, this_year);
        reader.items(&self.items)?;
        reader.finish(self.items.iter().any(|i| matches!(i, Item::Field('D', _))))
    }
}

/// A text being read.
#[derive(Debug, Clone)]
struct Reader<'t> {
    rest: &'t str,
    simple: bool,
    this_year: i64,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    pm: Option<bool>,
    half_day: bool,
    zone: Option<&'t str>,
}

/// Fields that hold a number.
fn is_number(item: Option<&Item>) -> bool {
    matches!(item, Some(Item::Field(l, n)) if !("aEGzZXxVO".contains(*l) || matches!(l, 'M' | 'L') && *n >= 3))
}

impl<'t> Reader<'t> {
    fn new(rest: &'t str, simple: bool, this_year: i64) -> Self {
        let (year, month, day) = (1970, 1, 1);
        Self {
            rest,
            simple,
            this_year,
            year,
            month,
            day,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            pm: None,
            half_day: false,
            zone: None,
        }
    }

    fn items(&mut self, items: &[Item]) -> Option<()> {
        let mut at = 0;
        while let Some(item) = items.get(at) {
            at += 1;
            match item {
                Item::Literal(t) => self.rest = self.rest.strip_prefix(t.as_str())?,
                Item::Optional(n) => {
                    let mut tried = self.clone();
                    if tried.items(&items[at..at + n]).is_some() {
                        *self = tried;
                    }
                    at += n;
                }
                Item::Field(letter, n) => self.field(*letter, *n, is_number(items.get(at)))?,
            }
        }
        Some(())
    }

    /// Takes the longest of `names` that the text begins with; `None` if there is none.
    fn name(&mut self, names: &[&str]) -> Option<usize> {
        let begins = |name: &str| {
            self.rest
                .get(..name.len())
                .is_some_and(|r| if self.simple { r.eq_ignore_ascii_case(name) } else { r == name })
        };
        let at = (0..names.len()).filter(|i| begins(names[*i])).max_by_key(|i| names[*i].len())?;
        self.rest = &self.rest[names[at].len()..];
        Some(at)
    }

    fn field(&mut self, letter: char, n: usize, adjacent: bool) -> Option<()> {
        let short = |names: &[&'static str]| names.iter().map(|m| &m[..3]).collect::<Vec<&str>>();
        match letter {
            'a' => self.pm = Some(self.name(&["AM", "PM"])? == 1),
            'G' => {
                self.name(&["AD", "BC"])?;
            }
            'M' | 'L' if n >= 3 => {
                let mut names = if n == 3 || self.simple { short(&MONTHS) } else { Vec::new() };
                if n > 3 || self.simple {
                    names.extend(MONTHS);
                }
                self.month = self.name(&names)? as i64 % 12 + 1;
            }
            'E' => {
                let mut names = if n <= 3 || self.simple { short(&DAYS) } else { Vec::new() };
                if n > 3 || self.simple {
                    names.extend(DAYS);
                }
                self.name(&names)?;
            }
            'z' | 'Z' | 'X' | 'x' | 'V' | 'O' => {
                let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-:/_".contains(c)));
                let (zone, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                if zone.is_empty() {
                    return None;
                }
                (self.zone, self.rest) = (Some(zone), rest);
            }
            _ => {
                let (value, digits) = if self.simple {
                    self.lenient_number(n, adjacent)?
                } else {
                    self.number(letter, n, adjacent)?
                };
                self.set(letter, n, value, digits)?;
            }
        }
        Some(())
    }

    /// Digits as DateTimeFormatter wants them: their value and count.
    fn number(&mut self, letter: char, n: usize, adjacent: bool) -> Option<(i64, usize)> {
        let (least, most) = match letter {
            _ if adjacent || letter == 'S' => (n, n),
            _ if n == 1 => (1, 18),
            'y' | 'u' if n >= 4 => (n, 9),
            _ => (n, n),
        };
        let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        Some((number.parse().ok()?, digits))
    }

    /// Digits as SimpleDateFormat takes them: after blanks, perhaps with a sign, and as many as there are unless
    /// another number follows at once.
    fn lenient_number(&mut self, n: usize, adjacent: bool) -> Option<(i64, usize)> {
        let text = self.rest.trim_start_matches([' ', '\t']);
        let most = if adjacent { n } else { 18 };
        let sign = usize::from(text.starts_with('-') && most > 1);
        let digits = text.bytes().skip(sign).take(most - sign).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let (number, rest) = text.split_at(sign + digits);
        self.rest = rest;
        Some((number.parse().ok()?, digits))
    }

    fn set(&mut self, letter: char, n: usize, value: i64, digits: usize) -> Option<()> {
        match letter {
            'y' if self.simple && n <= 2 && digits == 2 && value >= 0 => {
                // From 80 years ago to 20 years from now.
                let year = self.this_year.div_euclid(100) * 100 + value;
                self.year = match year - self.this_year {
                    21.. => year - 100,
                    ..-80 => year + 100,
                    _ => year,
                };
            }
            // The number of a day of the week says nothing beside a date.
            'u' if self.simple => {}
            'y' | 'u' if n == 2 && !self.simple => self.year = if value < 100 { 2000 + value } else { value },
            'y' | 'u' => self.year = value,
            'M' | 'L' => self.month = value,
            'd' => self.day = value,
            'H' => self.hour = value,
            'k' => self.hour = value % 24,
            'h' => {
                self.half_day = true;
                self.hour = value % 12;
            }
            'K' => {
                self.half_day = true;
                self.hour = value;
            }
            'm' => self.minute = value,
            's' => self.second = value,
            'S' if self.simple => {
                self.second += value.div_euclid(1000);
                self.nanos = value.rem_euclid(1000) as u32 * 1_000_000;
            }
            'S' => {
                let unit = 10_u32.checked_pow(9_u32.checked_sub(n as u32)?)?;
                self.nanos = u32::try_from(value).ok()?.checked_mul(unit)?;
            }
            'D' => {
                self.month = 1;
                self.day = value;
            }
            _ => return None,
        }
        Some(())
    }

    fn finish(mut self, by_year: bool) -> Option<Read<'t>> {
        if self.half_day && self.pm == Some(true) {
            self.hour += 12;
        }
        let (year, month, day) = (self.year, self.month, self.day);
        if [year, month].iter().any(|v| v.abs() > MOST_YEARS)
            || [day, self.hour, self.minute, self.second].iter().any(|v| v.abs() > MOST_SECONDS)
        {
            return None;
        }
        let days = if self.simple {
            let months = year * 12 + month - 1;
            days_from_civil(months.div_euclid(12), months.rem_euclid(12) as u32 + 1, 1) + day - 1
        } else {
            let fits = self.rest.is_empty()
                && (1..=12).contains(&month)
                && (1..=366).contains(&day)
                && (0..24).contains(&self.hour)
                && (0..60).contains(&self.minute)
                && (0..60).contains(&self.second);
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
        let seconds = days * DAY_SECONDS + self.hour * 3600 + self.minute * 60 + self.second;
        Some(Read { seconds, nanos: self.nanos, zone: self.zone })
    }
}

/// Years and months that a text may name.
const MOST_YEARS: i64 = 400_000_000;
/// Days, hours, minutes and seconds that a text may name.
const MOST_SECONDS: i64 = 10_000_000_000_000;

fn write_zone(out: &mut String, letter: char, n: usize, wall: i64, zone: Option<Tz>) -> Result<()> {
    let Some(zone) = zone else {
        return user_hint(
            format!("The pattern has the zone letter {letter}, but a TIMESTAMP has no zone."),
            "Write the zone as text in quotes, for example 'Z' as ''Z''.",
        );
    };
    let instant = wall_to_instant(zone, wall);
    let offset = offset_at(zone, instant);
    if letter == 'z' || letter == 'V' {
        out.push_str(&if letter == 'z' { zone_name(zone, instant) } else { zone.name().to_string() });
        return Ok(());
    }
    if letter == 'X' && offset == 0 {
        out.push('Z');
        return Ok(());
    }
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    let _ = match (letter, n) {
        ('X' | 'x', 1) if minutes == 0 => write!(out, "{sign}{hours:02}"),
        ('X' | 'x', 3..) => write!(out, "{sign}{hours:02}:{minutes:02}"),
        _ => write!(out, "{sign}{hours:02}{minutes:02}"),
    };
    Ok(())
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
