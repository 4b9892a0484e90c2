//! Days, years and zones as numbers: the proleptic Gregorian calendar without limits, and a zone's offset.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};

/// Seconds of a day.
pub const DAY_SECONDS: i64 = 86_400;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// A day of the calendar; month and day from 1, years before 1 are 0, -1, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day of the month, 1 to 31.
    pub day: u32,
}

/// The calendar day that is `days` after 1970-01-01.
pub fn civil_from_days(days: i64) -> Civil {
    // Eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    Civil { year: yoe + era * 400 + i64::from(month <= 2), month, day }
}

/// Days from 1970-01-01 to the day given. The day of the month may be beyond the month's end.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(month) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Whether the year has a 29 February.
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Number of days of the month.
pub fn month_length(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day `months` later; a day that the month does not have becomes its last. `None` beyond what i64 holds.
pub fn add_months(days: i64, months: i64) -> Option<i64> {
    let c = civil_from_days(days);
    let total = c.year.checked_mul(12)?.checked_add(i64::from(c.month) - 1)?.checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    Some(days_from_civil(year, month, c.day.min(month_length(year, month))))
}

/// Weekday, Sunday = 0 … Saturday = 6.
pub fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// ISO week-year and week of a day.
pub fn iso_week(days: i64) -> (i64, i64) {
    // The Thursday of the week decides its year.
    let monday = days - (weekday(days) + 6) % 7;
    let thursday = monday + 3;
    let year = civil_from_days(thursday).year;
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// Seconds that wall clocks in `zone` are ahead of UTC at the instant.
pub fn offset_at(zone: Tz, epoch_seconds: i64) -> i64 {
    if zone == Tz::UTC {
        return 0;
    }
    match DateTime::from_timestamp(epoch_seconds, 0) {
        Some(at) => i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()),
        None => 0,
    }
}

/// The zone's short name at the instant: `UTC`, `EST`, `EDT`.
pub fn zone_name(zone: Tz, epoch_seconds: i64) -> String {
    let name = DateTime::from_timestamp(epoch_seconds, 0)
        .and_then(|at| zone.offset_from_utc_datetime(&at.naive_utc()).abbreviation().map(str::to_string));
    name.unwrap_or_else(|| zone.name().to_string())
}

/// The instant at which wall clocks in `zone` show `wall_seconds` (seconds since 1970-01-01 00:00 there). Of
/// two such instants the earlier; a time that clocks leap over is moved on by the leap, as in Java.
pub fn wall_to_instant(zone: Tz, wall_seconds: i64) -> i64 {
    if zone == Tz::UTC {
        return wall_seconds;
    }
    let Some(wall) = naive(wall_seconds) else { return wall_seconds };
    match zone.offset_from_local_datetime(&wall) {
        LocalResult::Single(o) | LocalResult::Ambiguous(o, _) => {
            wall_seconds - i64::from(o.fix().local_minus_utc())
        }
        // In a gap the offset before it holds.
        LocalResult::None => {
            wall_seconds - offset_at(zone, wall_seconds - offset_at(zone, wall_seconds) - 10_800)
        }
    }
}

/// As [`wall_to_instant`], of two such instants the later: what Java's older classes give.
pub fn wall_to_later_instant(zone: Tz, wall_seconds: i64) -> i64 {
    match naive(wall_seconds).map(|wall| zone.offset_from_local_datetime(&wall)) {
        Some(LocalResult::Ambiguous(_, o)) => wall_seconds - i64::from(o.fix().local_minus_utc()),
        _ => wall_to_instant(zone, wall_seconds),
    }
}

fn naive(seconds: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp(seconds, 0).map(|t| t.naive_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_back() {
        for days in [-1_000_000, -719_528, -1, 0, 1, 59, 60, 11_016, 18_321, 2_932_896, 2_932_897] {
            let c = civil_from_days(days);
            assert_eq!(days_from_civil(c.year, c.month, c.day), days);
        }
        assert_eq!(civil_from_days(18_321), Civil { year: 2020, month: 2, day: 29 });
        assert_eq!(civil_from_days(-719_528), Civil { year: 0, month: 1, day: 1 });
    }

    #[test]
    fn months_clamp() {
        assert_eq!(add_months(days_from_civil(2020, 1, 31), 1), Some(days_from_civil(2020, 2, 29)));
        assert_eq!(add_months(days_from_civil(2020, 3, 31), -13), Some(days_from_civil(2019, 2, 28)));
        assert_eq!(add_months(0, i64::MAX), None);
    }

    #[test]
    fn weeks() {
        assert_eq!(weekday(days_from_civil(2024, 1, 7)), 0);
        assert_eq!(iso_week(days_from_civil(2024, 12, 30)), (2025, 1));
        assert_eq!(iso_week(days_from_civil(2021, 1, 3)), (2020, 53));
    }

    #[test]
    fn zones() {
        let berlin = Tz::Europe__Berlin;
        assert_eq!(offset_at(berlin, 0), 3600);
        // 2024-03-31 02:30 does not exist in Berlin; Java makes it 03:30 (+02:00).
        let gap = days_from_civil(2024, 3, 31) * DAY_SECONDS + 9000;
        assert_eq!(wall_to_instant(berlin, gap), gap - 3600);
        assert_eq!(offset_at(berlin, wall_to_instant(berlin, gap)), 7200);
        // 2024-10-27 02:30 comes twice; the first is at +02:00.
        let twice = days_from_civil(2024, 10, 27) * DAY_SECONDS + 9000;
        assert_eq!(wall_to_instant(berlin, twice), twice - 7200);
    }
}
