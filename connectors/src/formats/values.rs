//! Texts to values: what the text formats share. `None` where a text is no value of the type.

use super::calendar::{DAY_SECONDS, days_from_civil, month_length};
use super::json::TimestampFormat;
use arrow::datatypes::TimeUnit;
use base64::Engine;

/// As Java's `String.trim`: without control characters and blanks at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| *b > b' ').unwrap_or(text.len());
    let end = text.iter().rposition(|b| *b > b' ').map_or(start, |i| i + 1);
    &text[start..end]
}

/// A whole number, with an optional sign, as Java's `Long.parseLong`.
pub fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A floating point number as `Double.parseDouble` takes it, blanks around it allowed.
pub fn double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(trim(text)).ok()?;
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match unsigned {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(sign * f64::INFINITY),
        // Rust would take `inf` and `nan`, Java does not.
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            unsigned.parse::<f64>().ok().map(|v| sign * v)
        }
        _ => None,
    }
}

/// What became of a text that should be a DECIMAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalValue {
    /// The unscaled value.
    Value(i128),
    /// A number with too many digits, which Flink reads as NULL.
    Overflow,
    /// No number.
    Invalid,
}

/// A number with fraction and exponent as `BigDecimal` takes it, rounded half up to `scale`.
pub fn decimal(text: &[u8], precision: u8, scale: i8) -> DecimalValue {
    use DecimalValue::{Invalid, Overflow, Value};
    let (negative, rest) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mantissa_end = rest.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(rest.len());
    let (mantissa, exponent) = rest.split_at(mantissa_end);
    let exponent: i64 = match exponent.get(1..).map(integer) {
        None => 0,
        Some(Some(e)) => e,
        Some(None) => return Invalid,
    };
    // First the grammar, so that a malformed number is never an overflow.
    let point = mantissa.iter().position(|b| *b == b'.');
    let is_digit = |(i, b): (usize, &u8)| b.is_ascii_digit() || Some(i) == point;
    let digits = mantissa.len() - usize::from(point.is_some());
    if digits == 0 || !mantissa.iter().enumerate().all(is_digit) {
        return Invalid;
    }
    let whole = point.unwrap_or(mantissa.len()) as i64;
    let mut unscaled: i128 = 0;
    // Digits up to this place count; the one after it rounds.
    let places = whole.saturating_add(exponent).saturating_add(i64::from(scale));
    let limit = 10i128.pow(u32::from(precision.min(38)));
    let mut seen = 0;
    for digit in mantissa.iter().filter(|b| **b != b'.').map(|b| i128::from(b - b'0')) {
        if seen >= places {
            if seen == places && digit >= 5 {
                unscaled += 1;
            }
            break;
        }
        unscaled = unscaled * 10 + digit;
        if unscaled >= limit {
            return Overflow;
        }
        seen += 1;
    }
    if unscaled == 0 {
        return Value(0);
    }
    while seen < places {
        unscaled *= 10;
        if unscaled >= limit {
            return Overflow;
        }
        seen += 1;
    }
    if unscaled >= limit {
        return Overflow;
    }
    Value(if negative { -unscaled } else { unscaled })
}

fn two(text: &[u8]) -> Option<u32> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(u32::from(a - b'0') * 10 + u32::from(b - b'0')),
        _ => None,
    }
}

/// Days of `yyyy-MM-dd`. `lenient` takes a 30 February for its last day, as Flink's SQL timestamps do.
fn date_parts(text: &[u8], lenient: bool) -> Option<i64> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = i64::from(two(&text[..2])? * 100 + two(&text[2..4])?);
    let (month, day) = (two(&text[5..7])?, two(&text[8..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let last = month_length(year, month);
    if day > last && !lenient {
        return None;
    }
    Some(days_from_civil(year, month, day.min(last)))
}

/// Days since 1970-01-01 of `yyyy-MM-dd`.
pub fn date(text: &[u8]) -> Option<i32> {
    i32::try_from(date_parts(text, false)?).ok()
}

/// `.` and up to nine digits, or nothing: nanoseconds.
fn fraction(text: &[u8]) -> Option<u32> {
    let Some((b'.', digits)) = text.split_first() else { return text.is_empty().then_some(0) };
    if digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    Some(value * 10u32.pow(9 - digits.len() as u32))
}

/// Seconds of the day of `HH:mm:ss` with an optional fraction, which Flink drops; without seconds only if
/// `short`. 24:00:00 is 0.
pub fn time(text: &[u8], short: bool) -> Option<i64> {
    if text.len() < 5 || text[2] != b':' {
        return None;
    }
    let (hour, minute) = (two(&text[..2])?, two(&text[3..5])?);
    let second = match text.get(5..).filter(|rest| !rest.is_empty()) {
        None if short => 0,
        None => return None,
        Some(rest) => {
            if rest[0] != b':' || rest.len() < 3 {
                return None;
            }
            fraction(&rest[3..])?;
            two(&rest[1..3])?
        }
    };
    if (hour, minute, second) == (24, 0, 0) {
        return Some(0);
    }
    (hour < 24 && minute < 60 && second < 60)
        .then(|| i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second))
}

/// The last minute read, so that most timestamps of a stream only need their seconds read.
#[derive(Debug, Clone, Copy, Default)]
pub struct MinuteCache {
    /// `yyyy-MM-dd HH:mm`; filled by a fully checked parse only.
    text: [u8; 16],
    seconds: i64,
}

impl MinuteCache {
    /// The minute's text and its time in `unit`, where that is milliseconds.
    #[inline(always)]
    pub fn of(&self, unit: TimeUnit) -> Option<(&[u8; 16], i64)> {
        (unit == TimeUnit::Millisecond).then_some((&self.text, self.seconds * 1000))
    }
}

/// Seconds since the epoch and nanoseconds of a timestamp's text. `ltz` wants a `Z` at the end.
pub fn timestamp(
    text: &[u8],
    format: TimestampFormat,
    ltz: bool,
    cache: &mut MinuteCache,
) -> Option<(i64, u32)> {
    let text = if ltz { text.strip_suffix(b"Z")? } else { text };
    let (head, rest) = text.split_first_chunk::<16>()?;
    let minute = if *head == cache.text {
        cache.seconds
    } else {
        let sql = format == TimestampFormat::Sql;
        let separator = match head[10] {
            b' ' => sql,
            b'T' | b't' => !sql,
            _ => false,
        };
        if !separator || head[13] != b':' {
            return None;
        }
        let day = date_parts(&head[..10], sql)?;
        let (hour, minute) = (two(&head[11..13])?, two(&head[14..])?);
        if hour == 24 && sql && minute == 0 && rest.starts_with(b":00") && fraction(&rest[3..]) == Some(0) {
            return Some(((day + 1) * DAY_SECONDS, 0));
        }
        if hour > 23 || minute > 59 {
            return None;
        }
        let seconds = day * DAY_SECONDS + i64::from(hour) * 3600 + i64::from(minute) * 60;
        *cache = MinuteCache { text: *head, seconds };
        seconds
    };
    if rest.is_empty() && format == TimestampFormat::Iso8601 {
        return Some((minute, 0));
    }
    if rest.len() < 3 || rest[0] != b':' {
        return None;
    }
    let second = two(&rest[1..3]).filter(|s| *s < 60)?;
    Some((minute + i64::from(second), fraction(&rest[3..])?))
}

/// Bytes of a base64 text with padding; blanks may stand between its groups of four.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let engine = base64::engine::general_purpose::STANDARD;
    if let Ok(bytes) = engine.decode(text) {
        return Some(bytes);
    }
    let mut plain = Vec::with_capacity(text.len());
    for b in text {
        if *b > b' ' {
            plain.push(*b);
        } else if plain.len() % 4 != 0 {
            return None;
        }
    }
    engine.decode(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str, format: TimestampFormat, ltz: bool) -> Option<(i64, u32)> {
        timestamp(text.as_bytes(), format, ltz, &mut MinuteCache::default())
    }

    /// Which texts Flink 1.20 reads, and as what.
    #[test]
    fn timestamps() {
        use TimestampFormat::{Iso8601, Sql};
        let at = 1_718_204_912;
        assert_eq!(stamp("2024-06-12 15:08:32", Sql, false), Some((at, 0)));
        assert_eq!(stamp("2024-06-12 15:08:32.04800", Sql, false), Some((at, 48_000_000)));
        assert_eq!(stamp("2024-06-12T15:08:32.04800", Iso8601, false), Some((at, 48_000_000)));
        assert_eq!(stamp("2024-06-12 15:08:32.123456789", Sql, false), Some((at, 123_456_789)));
        assert_eq!(stamp("2024-06-12 15:08:32.", Sql, false), Some((at, 0)));
        assert_eq!(stamp("2024-06-12T15:08", Iso8601, false), Some((at - 32, 0)));
        assert_eq!(stamp("2024-06-12t15:08:32", Iso8601, false), Some((at, 0)));
        assert_eq!(stamp("2024-06-12 15:08:32Z", Sql, true), Some((at, 0)));
        assert_eq!(stamp("2024-06-12T15:08:32.1Z", Iso8601, true), Some((at, 100_000_000)));
        assert_eq!(stamp("2024-06-12T15:08Z", Iso8601, true), Some((at - 32, 0)));
        assert_eq!(stamp("2024-02-30 00:00:00", Sql, false), stamp("2024-02-29 00:00:00", Sql, false));
        assert_eq!(stamp("2024-06-12 24:00:00", Sql, false), stamp("2024-06-13 00:00:00", Sql, false));
        for (text, format, ltz) in [
            ("2024-06-12T15:08:32", Sql, false),
            ("2024-06-12 15:08:32", Iso8601, false),
            ("2024-06-12 15:08", Sql, false),
            ("2024-06-12", Sql, false),
            ("2024-06-12 15:08:32.1234567891", Sql, false),
            ("2024-06-12 15:08:32Z", Sql, false),
            ("2024-06-12 15:08:32", Sql, true),
            ("2024-06-12T15:08:32+02:00", Iso8601, true),
            (" 2024-06-12 15:08:32", Sql, false),
            ("2024-6-2 1:08:32", Sql, false),
            ("2024-06-12 15:08:60", Sql, false),
            ("2024-06-32 15:08:00", Sql, false),
            ("2023-02-29T00:00:00", Iso8601, false),
            ("2024-06-12T24:00:00", Iso8601, false),
            ("", Sql, false),
        ] {
            assert_eq!(stamp(text, format, ltz), None, "{text}");
        }
    }

    #[test]
    fn the_minute_cache_changes_nothing() {
        let mut cache = MinuteCache::default();
        let mut read = |text: &str| timestamp(text.as_bytes(), TimestampFormat::Sql, false, &mut cache);
        assert_eq!(read("2023-02-29 24:00:01"), None);
        let first = read("2024-06-12 15:08:32");
        assert_eq!(read("2024-06-12 15:08:33").map(|t| t.0), first.map(|t| t.0 + 1));
        assert_eq!(read("2024-06-12 15:08"), None);
        assert_eq!(read("2024-06-12 15:09:32").map(|t| t.0), first.map(|t| t.0 + 60));
    }

    #[test]
    fn decimals() {
        use DecimalValue::{Invalid, Overflow, Value};
        for (text, value) in [
            ("12.345", Value(1235)),
            ("12.344", Value(1234)),
            ("-12.345", Value(-1235)),
            ("1.005", Value(101)),
            ("1e3", Value(100_000)),
            ("1e-7", Value(0)),
            ("0.005", Value(1)),
            ("0.004", Value(0)),
            ("5e-3", Value(1)),
            ("5e-4", Value(0)),
            ("-0", Value(0)),
            ("0e400", Value(0)),
            ("99999999.994", Value(9_999_999_999)),
            ("99999999.995", Overflow),
            ("1E400", Overflow),
            ("1E999999999999999999999", Invalid),
            ("123456789012345678901234567890123456789012345", Overflow),
            ("", Invalid),
            ("-", Invalid),
            (".", Invalid),
            ("1.2.3", Invalid),
            ("1e", Invalid),
            ("NaN", Invalid),
            (" 3", Invalid),
            (".5", Value(50)),
            ("+1", Value(100)),
        ] {
            assert_eq!(decimal(text.as_bytes(), 10, 2), value, "{text}");
        }
        let most = "9".repeat(38);
        assert_eq!(decimal(most.as_bytes(), 38, 0), Value(10i128.pow(38) - 1));
    }

    #[test]
    fn numbers_dates_times_and_bytes() {
        assert_eq!(double(b" 2.5 "), Some(2.5));
        assert!(double(b"NaN").is_some_and(f64::is_nan));
        assert_eq!(double(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(double(b"inf"), None);
        assert_eq!(date(b"2024-02-29"), Some(19_782));
        assert_eq!(date(b"2024-02-31"), None);
        assert_eq!(time(b"15:08:32.123", false), Some(54_512));
        assert_eq!(time(b"24:00:00", false), Some(0));
        assert_eq!(time(b"15:08", false), None);
        assert_eq!(time(b"15:08", true), Some(54_480));
        assert_eq!(time(b"15:08:32Z", false), None);
        assert_eq!(base64(b"aGk=").as_deref(), Some(&b"hi"[..]));
        assert_eq!(base64(b"aGk=\n").as_deref(), Some(&b"hi"[..]));
        assert_eq!(base64(b"aG k="), None);
        assert_eq!(base64(b"aGk"), None);
        assert_eq!(base64(b"-_8="), None);
    }
}
