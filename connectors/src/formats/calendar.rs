//! Days and seconds to calendar fields and back: the proleptic Gregorian calendar of `java.time`.

/// Seconds in a day.
pub const DAY_SECONDS: i64 = 86_400;

/// Year, month (1 to 12) and day (1 to 31) of a day since 1970-01-01.
pub fn civil(days: i64) -> (i64, u32, u32) {
    // Counts in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a calendar date that exists.
pub fn days(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from((month + 9) % 12);
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Number of days of a month.
pub fn month_days(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Appends `n` in decimal, with zeros in front up to `width`.
pub fn padded(out: &mut Vec<u8>, n: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// Appends `yyyy-MM-dd` as `java.time.LocalDate` writes it.
pub fn write_date(out: &mut Vec<u8>, date: i64) {
    let (year, month, day) = civil(date);
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    padded(out, year.unsigned_abs(), 4);
    out.push(b'-');
    padded(out, u64::from(month), 2);
    out.push(b'-');
    padded(out, u64::from(day), 2);
}

/// Appends `HH:mm:ss` of a second of the day.
pub fn write_clock(out: &mut Vec<u8>, second: i64) {
    padded(out, (second / 3600) as u64, 2);
    out.push(b':');
    padded(out, (second / 60 % 60) as u64, 2);
    out.push(b':');
    padded(out, (second % 60) as u64, 2);
}

/// Appends `.` and the digits of `nanos` up to the last that is not zero; nothing for zero.
pub fn write_fraction(out: &mut Vec<u8>, nanos: i64) {
    if nanos != 0 {
        out.push(b'.');
        padded(out, nanos as u64, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_over_eight_hundred_years() {
        let mut day = days(1600, 1, 1);
        for year in 1600..2400 {
            for month in 1..=12 {
                for d in 1..=month_days(year, month) {
                    assert_eq!(days(year, month, d), day);
                    assert_eq!(civil(day), (year, month, d));
                    day += 1;
                }
            }
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(days(-1, 3, 1)), (-1, 3, 1));
    }
}
