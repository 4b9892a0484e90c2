//! Windows: which ones a timestamp belongs to, in epoch milliseconds, as Flink aligns them.

use std::fmt;

/// Shape of a window. All lengths in milliseconds and positive; offsets of any sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowSpec {
    /// Adjoining windows of `size`.
    Tumble {
        /// Length.
        size: i64,
        /// Shift of the grid.
        offset: i64,
    },
    /// A window of `size` starts every `slide`.
    Hop {
        /// Distance of starts.
        slide: i64,
        /// Length.
        size: i64,
        /// Shift of the grid.
        offset: i64,
    },
    /// Windows that share a start and grow by `step` up to `size`.
    Cumulate {
        /// Growth.
        step: i64,
        /// Greatest length.
        size: i64,
        /// Shift of the grid.
        offset: i64,
    },
    /// Windows that end after `gap` without rows.
    Session {
        /// Silence that ends a window.
        gap: i64,
    },
}

impl WindowSpec {
    /// Length of the slices of which all windows of this shape are made up; `None` for sessions.
    pub fn slice(&self) -> Option<i64> {
        match *self {
            Self::Tumble { size, .. } => Some(size),
            Self::Hop { slide, size, .. } => Some(gcd(slide, size)),
            Self::Cumulate { step, size, .. } => Some(gcd(step, size)),
            Self::Session { .. } => None,
        }
    }

    /// Start of the slice that holds `timestamp`; `None` for sessions.
    pub fn slice_start(&self, timestamp: i64) -> Option<i64> {
        let offset = match *self {
            Self::Tumble { offset, .. } | Self::Hop { offset, .. } | Self::Cumulate { offset, .. } => offset,
            Self::Session { .. } => return None,
        };
        let slice = self.slice()?;
        Some(timestamp.saturating_sub(timestamp.wrapping_sub(offset).rem_euclid(slice)))
    }

    /// The windows `[start, end)` that hold `timestamp`: HOP from the latest start to the earliest, CUMULATE
    /// from the shortest to the longest. A session's is the window of the row alone.
    pub fn windows(&self, timestamp: i64) -> Vec<(i64, i64)> {
        let floor = |step: i64, offset: i64| timestamp - timestamp.wrapping_sub(offset).rem_euclid(step);
        match *self {
            Self::Tumble { size, offset } => {
                let start = floor(size, offset);
                vec![(start, start + size)]
            }
            Self::Hop { slide, size, offset } => {
                let mut windows = Vec::new();
                let mut start = floor(slide, offset);
                while start > timestamp - size {
                    windows.push((start, start + size));
                    start -= slide;
                }
                windows
            }
            Self::Cumulate { step, size, offset } => {
                let start = floor(size, offset);
                let first = (timestamp - start) / step + 1;
                let last = size.div_euclid(step) + i64::from(size % step != 0);
                (first..=last).map(|n| (start, start + (n * step).min(size))).collect()
            }
            Self::Session { gap } => vec![(timestamp, timestamp + gap)],
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// As Flink's EXPLAIN writes it: `TUMBLE(size=[10 s])`.
impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = |f: &mut fmt::Formatter<'_>, offset: i64| match offset {
            0 => Ok(()),
            o => write!(f, ", offset=[{}]", duration(o)),
        };
        match *self {
            Self::Tumble { size, offset: o } => {
                write!(f, "TUMBLE(size=[{}]", duration(size))?;
                offset(f, o)?;
            }
            Self::Hop { slide, size, offset: o } => {
                write!(f, "HOP(size=[{}], slide=[{}]", duration(size), duration(slide))?;
                offset(f, o)?;
            }
            Self::Cumulate { step, size, offset: o } => {
                write!(f, "CUMULATE(max_size=[{}], step=[{}]", duration(size), duration(step))?;
                offset(f, o)?;
            }
            Self::Session { gap } => write!(f, "SESSION(gap=[{}]", duration(gap))?,
        }
        f.write_str(")")
    }
}

/// Milliseconds in the greatest unit that divides them: `10 min`, `90 s`, `1500 ms`.
fn duration(ms: i64) -> String {
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")] {
        if ms % unit == 0 && ms != 0 {
            return format!("{} {name}", ms / unit);
        }
    }
    format!("{ms} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000;

    #[test]
    fn tumbling_windows_align_on_the_epoch_and_the_offset() {
        let w = WindowSpec::Tumble { size: 7 * MIN, offset: 0 };
        // 2020-04-15 08:05 lies in [08:01, 08:08).
        let t = 1_586_937_900_000;
        assert_eq!(w.windows(t), [(t - 4 * MIN, t + 3 * MIN)]);
        let w = WindowSpec::Tumble { size: 10 * MIN, offset: -3 * MIN };
        assert_eq!(w.windows(t), [(t - 8 * MIN, t + 2 * MIN)]);
        assert_eq!(w.windows(-1), [(-3 * MIN, 7 * MIN)]);
    }

    #[test]
    fn hopping_windows_come_latest_first_also_when_slide_does_not_divide_size() {
        let w = WindowSpec::Hop { slide: 4, size: 10, offset: 0 };
        assert_eq!(w.windows(5), [(4, 14), (0, 10), (-4, 6)]);
        let gaps = WindowSpec::Hop { slide: 10, size: 5, offset: 0 };
        assert_eq!(gaps.windows(7), []);
        assert_eq!(gaps.windows(12), [(10, 15)]);
    }

    #[test]
    fn cumulating_windows_grow() {
        let w = WindowSpec::Cumulate { step: 2, size: 10, offset: 0 };
        assert_eq!(w.windows(5), [(0, 6), (0, 8), (0, 10)]);
        assert_eq!(w.windows(10), [(10, 12), (10, 14), (10, 16), (10, 18), (10, 20)]);
    }

    #[test]
    fn slices_make_up_windows() {
        let w = WindowSpec::Hop { slide: 4, size: 10, offset: 1 };
        assert_eq!(w.slice(), Some(2));
        assert_eq!(w.slice_start(6), Some(5));
        assert_eq!(w.slice_start(-1), Some(-1));
    }

    #[test]
    fn prints_as_flink_does() {
        let w = WindowSpec::Hop { slide: 2000, size: 10_000, offset: 0 };
        assert_eq!(w.to_string(), "HOP(size=[10 s], slide=[2 s])");
    }
}
