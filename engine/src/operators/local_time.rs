//! Between instants and the wall time of a zone, as Flink does for windows over TIMESTAMP_LTZ and processing
//! time. Both are milliseconds since the epoch; wall time counts as if it were UTC.

use arrow::array::{Array, Int64Array};
use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Stretch of time for which an offset is remembered.
const BUCKET: i64 = HOUR / 4;

/// The wall clock of a zone, or of UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalTime {
    zone: Option<Tz>,
}

impl LocalTime {
    /// Of `zone`; `None` for UTC, where wall time is the instant.
    pub(super) fn new(zone: Option<Tz>) -> Self {
        Self { zone: zone.filter(|z| *z != Tz::UTC) }
    }

    /// Whether wall time is the instant.
    pub(super) fn is_utc(&self) -> bool {
        self.zone.is_none()
    }

    /// Wall time at `instant`.
    pub(super) fn wall(&self, instant: i64) -> i64 {
        match self.zone {
            None => instant,
            Some(zone) => instant.saturating_add(offset(zone, instant)),
        }
    }

    /// Wall times at `instants`.
    pub(super) fn wall_column(&self, instants: &Int64Array) -> Int64Array {
        let Some(zone) = self.zone else { return instants.clone() };
        let mut known = (i64::MAX, 0);
        let wall = |instant: &i64| {
            let bucket = instant.div_euclid(BUCKET);
            if bucket == known.0 {
                return instant.saturating_add(known.1);
            }
            let first = bucket.saturating_mul(BUCKET);
            let at = offset(zone, *instant);
            if offset(zone, first) == offset(zone, first.saturating_add(BUCKET - 1)) {
                known = (bucket, at);
            }
            instant.saturating_add(at)
        };
        let walls: Vec<i64> = instants.values().iter().map(wall).collect();
        Int64Array::new(walls.into(), instants.nulls().cloned())
    }

    /// The instant at which clocks show `wall`: the earlier of two; where clocks skip it, as much later as they
    /// skip.
    pub(super) fn instant(&self, wall: i64) -> i64 {
        let Some((zone, naive)) = self.zone.and_then(|z| Some((z, naive(wall)?))) else { return wall };
        match zone.from_local_datetime(&naive) {
            MappedLocalTime::Single(t) | MappedLocalTime::Ambiguous(t, _) => t.timestamp_millis(),
            MappedLocalTime::None => wall - offset(zone, wall - DAY),
        }
    }

    /// The instant whose watermark says that `wall` has passed: the later of two; where clocks skip it, the
    /// moment of the skip.
    pub(super) fn passed(&self, wall: i64) -> i64 {
        if self.is_utc() {
            return wall;
        }
        let (at, hour_later) = (self.instant(wall), self.instant(wall.saturating_add(HOUR)));
        match hour_later - at {
            0 => at - at % HOUR,
            more if more > HOUR => hour_later - HOUR,
            _ => at,
        }
    }
}

fn naive(ms: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(ms).map(|t| t.naive_utc())
}

/// How far wall time is ahead of UTC at `instant`, in milliseconds. Beyond the calendar, as UTC.
fn offset(zone: Tz, instant: i64) -> i64 {
    naive(instant).map_or(0, |t| i64::from(zone.offset_from_utc_datetime(&t).fix().local_minus_utc()) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc().timestamp_millis()
    }

    // Los Angeles skips 02:00 to 03:00 on 2021-03-14 (10:00 UTC), and has 01:00 to 02:00 twice on 2021-11-07.
    fn los_angeles() -> LocalTime {
        LocalTime::new(Some(Tz::America__Los_Angeles))
    }

    #[test]
    fn skipped_times_are_later_and_have_passed_when_clocks_jump() {
        let t = los_angeles();
        assert_eq!(t.instant(at("2021-03-14 02:39:59.999")), at("2021-03-14 10:39:59.999"));
        assert_eq!(t.wall(at("2021-03-14 10:39:59.999")), at("2021-03-14 03:39:59.999"));
        assert_eq!(t.passed(at("2021-03-14 02:39:59.999")), at("2021-03-14 10:00:00"));
        assert_eq!(t.passed(at("2021-03-14 01:59:59.999")), at("2021-03-14 09:59:59.999"));
    }

    #[test]
    fn repeated_times_are_the_first_and_have_passed_with_the_second() {
        let t = los_angeles();
        assert_eq!(t.instant(at("2021-11-07 01:59:59.999")), at("2021-11-07 08:59:59.999"));
        assert_eq!(t.passed(at("2021-11-07 01:59:59.999")), at("2021-11-07 09:59:59.999"));
        assert_eq!(t.passed(at("2021-11-07 00:59:59.999")), at("2021-11-07 07:59:59.999"));
    }

    #[test]
    fn columns_agree_with_single_times() {
        let t = los_angeles();
        let instants =
            Int64Array::from_iter_values((0..200).map(|n| at("2021-11-06 20:00:00") + n * 7 * 60_000));
        let walls = t.wall_column(&instants);
        assert!(instants.values().iter().zip(walls.values()).all(|(i, w)| t.wall(*i) == *w));
        assert!(walls.values().windows(2).any(|w| w[0] > w[1]));
    }
}
