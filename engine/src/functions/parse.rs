//! Texts to values, as Flink's CAST and TO_TIMESTAMP read them. `None` or `Err` is "no such value".

use super::calendar::{DAY_SECONDS, days_from_civil, month_length};

/// Why a text is no integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotANumber {
    /// A character that is no digit, or no digit at all.
    Invalid,
    /// Beyond the type's range.
    Overflow,
}

/// An integer: blanks around it are dropped, and so is what follows a point (`1.9` is 1).
pub(super) fn integer(text: &str, min: i64, max: i64) -> Result<i64, NotANumber> {
    let bytes = trim(text).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(NotANumber::Invalid);
    }
    let mut value = 0_i64;
    let mut overflow = false;
    let mut digits = digits.iter();
    for b in digits.by_ref() {
        match b {
            b'0'..=b'9' => {
                let digit = i64::from(b - b'0');
                // Counted downwards, since i64::MIN has no positive twin.
                match value.checked_mul(10).and_then(|v| v.checked_sub(digit)) {
                    Some(v) => value = v,
                    None => overflow = true,
                }
            }
            b'.' => break,
            _ => return Err(NotANumber::Invalid),
        }
    }
    if !digits.all(u8::is_ascii_digit) {
        return Err(NotANumber::Invalid);
    }
    let value = if negative { Some(value) } else { value.checked_neg() };
    match value {
        Some(v) if !overflow && (min..=max).contains(&v) => Ok(v),
        _ => Err(NotANumber::Overflow),
    }
}

/// A number as `Double.parseDouble` reads it (without the hexadecimal form).
pub(super) fn double(text: &str) -> Option<f64> {
    let text = trim(text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let body = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    if !body.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    body.parse().ok()
}

/// A truth value; no blanks around it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    if is(&["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is(&["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Without the blanks that Java's `trim` drops.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Reads digits and separators from the front of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let n = self.0.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        if n < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(n);
        self.0 = rest;
        Some(digits.iter().fold(0, |v, b| v * 10 + u32::from(b - b'0')))
    }

    fn skip(&mut self, byte: u8) -> bool {
        match self.0 {
            [b, rest @ ..] if *b == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Digits after a point as nanoseconds: up to nine.
    fn nanos(&mut self) -> Option<u32> {
        let before = self.0.len();
        let value = self.number(1, 9)?;
        Some(value * 10_u32.pow(9 - (before - self.0.len()) as u32))
    }

    fn done(&self) -> bool {
        self.0.is_empty()
    }
}

/// A DATE: `yyyy[-M[-d]]`, a time after it is ignored. Days since 1970-01-01.
pub(super) fn date(text: &str) -> Option<i32> {
    let text = trim(text);
    let text = text.split_once(' ').map_or(text, |(d, _)| d);
    let mut c = Cursor(text.as_bytes());
    let year = c.number(1, 4)?;
    let month = if c.skip(b'-') { c.number(1, 2)? } else { 1 };
    let day = if c.skip(b'-') { c.number(1, 2)? } else { 1 };
    let real = (1..=12).contains(&month) && day >= 1 && day <= month_length(year.into(), month) && year >= 1;
    (c.done() && real).then(|| days_from_civil(year.into(), month, day) as i32)
}

/// A TIME: `H[:m[:s[.fraction]]]`. Milliseconds of the day, whole seconds.
pub(super) fn time(text: &str) -> Option<i32> {
    let mut c = Cursor(trim(text).as_bytes());
    let hour = c.number(1, 2)?;
    let minute = if c.skip(b':') { c.number(1, 2)? } else { 0 };
    let second = if c.skip(b':') { c.number(1, 2)? } else { 0 };
    if c.skip(b'.') {
        c.nanos()?;
    }
    let real = c.done() && hour < 24 && minute < 60 && second < 60;
    real.then(|| ((hour * 60 + minute) * 60 + second) as i32 * 1000)
}

/// A TIMESTAMP: `yyyy-M-d[ H:m:s[.fraction]]`. Seconds since 1970-01-01 00:00 on the wall, and nanoseconds. A
/// day that the month does not have (but some month has) is the month's last, as Java's resolver has it.
pub(super) fn timestamp(text: &str) -> Option<(i64, u32)> {
    let mut c = Cursor(text.as_bytes());
    let year = i64::from(c.number(4, 4)?);
    let month = c.skip(b'-').then(|| c.number(1, 2))??;
    let day = c.skip(b'-').then(|| c.number(1, 2))??;
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day.min(month_length(year, month)));
    if c.done() {
        return Some((days * DAY_SECONDS, 0));
    }
    let hour = c.skip(b' ').then(|| c.number(1, 2))??;
    let minute = c.skip(b':').then(|| c.number(1, 2))??;
    let second = c.skip(b':').then(|| c.number(1, 2))??;
    let nanos = if c.skip(b'.') { c.nanos()? } else { 0 };
    // 24:00:00 is the next day's begin.
    let midnight = hour == 24 && (minute, second, nanos) == (0, 0, 0);
    if !c.done() || hour > 23 && !midnight || minute > 59 || second > 59 {
        return None;
    }
    Some((days * DAY_SECONDS + i64::from((hour * 60 + minute) * 60 + second), nanos))
}

/// As Java's `Timestamp.valueOf` and `Date.valueOf`: what Flink falls back on where a text is not in the form of a
/// pattern. Days and hours beyond their ends go on.
pub(super) fn rolling_timestamp(text: &str) -> Option<(i64, u32)> {
    let text = text.trim();
    let mut c = Cursor(text.as_bytes());
    let year = i64::from(c.number(4, 4)?);
    let month = c.skip(b'-').then(|| c.number(1, 2))??;
    let day = c.skip(b'-').then(|| c.number(1, 2))??;
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, 1) + i64::from(day) - 1;
    if c.done() {
        return Some((days * DAY_SECONDS, 0));
    }
    let hour = c.skip(b' ').then(|| c.number(1, 9))??;
    let minute = c.skip(b':').then(|| c.number(1, 9))??;
    let second = c.skip(b':').then(|| c.number(1, 9))??;
    let nanos = if c.skip(b'.') { c.nanos()? } else { 0 };
    let time = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    c.done().then_some((days * DAY_SECONDS + time, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_flink_reads_them() {
        let int = |t| integer(t, i32::MIN.into(), i32::MAX.into());
        for (text, want) in [
            ("1.9", Ok(1)),
            ("-1.9", Ok(-1)),
            (" 12 ", Ok(12)),
            ("+5", Ok(5)),
            (".5", Ok(0)),
            ("5.", Ok(5)),
            (".", Ok(0)),
            ("1e3", Err(NotANumber::Invalid)),
            ("", Err(NotANumber::Invalid)),
            ("-", Err(NotANumber::Invalid)),
            ("--5", Err(NotANumber::Invalid)),
            ("1 2", Err(NotANumber::Invalid)),
            ("1.a", Err(NotANumber::Invalid)),
            ("2147483648", Err(NotANumber::Overflow)),
            ("-2147483648", Ok(-2_147_483_648)),
        ] {
            assert_eq!(int(text), want, "{text}");
        }
        assert_eq!(integer("-9223372036854775808", i64::MIN, i64::MAX), Ok(i64::MIN));
        assert_eq!(integer("9223372036854775808", i64::MIN, i64::MAX), Err(NotANumber::Overflow));
    }

    #[test]
    fn times_as_flink_reads_them() {
        let day = |t: &str| date(t).map(i64::from);
        assert_eq!(day("2020-02-30"), None);
        assert_eq!(day("2020"), Some(days_from_civil(2020, 1, 1)));
        assert_eq!(day("2020-02"), Some(days_from_civil(2020, 2, 1)));
        assert_eq!(day(" 2020-02-03 "), Some(days_from_civil(2020, 2, 3)));
        assert_eq!(day("2020-1-2"), Some(days_from_civil(2020, 1, 2)));
        assert_eq!(day("-2020-02-03"), None);
        assert_eq!(day("12020-02-03"), None);
        assert_eq!(time("1:2"), Some(3_720_000));
        assert_eq!(time("01:02:03.4"), Some(3_723_000));
        assert_eq!(time("24:00:00"), None);
        assert_eq!(timestamp("2020-02-30 00:00:00"), timestamp("2020-02-29"));
        assert_eq!(timestamp("2020-2-3 1:2:3"), timestamp("2020-02-03 01:02:03"));
        for bad in
            ["2020-02-03T01:02:03", "2020-01-02 03:04", " 2020-02-03 01:02:03", "2020-02-03 01:02:03Z", "abc"]
        {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn doubles_and_booleans() {
        assert_eq!(double(" 1.5d "), Some(1.5));
        assert_eq!(double("inf"), None);
        assert_eq!(double("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(double("1e400"), Some(f64::INFINITY));
        assert_eq!(double(""), None);
        assert_eq!(boolean("T"), Some(true));
        assert_eq!(boolean(" true "), None);
    }
}
