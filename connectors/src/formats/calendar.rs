//! Texts of dates and times, piece by piece, as the formats and the print table write them.

pub use engine::functions::calendar::{DAY_SECONDS, civil_from_days, days_from_civil, month_length};

/// Appends `n` in decimal, with zeros in front up to `width`.
pub fn padded(out: &mut Vec<u8>, n: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// Appends `yyyy-MM-dd` as `java.time.LocalDate` writes it.
pub fn write_date(out: &mut Vec<u8>, date: i64) {
    let day = civil_from_days(date);
    let year = day.year;
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    padded(out, year.unsigned_abs(), 4);
    out.push(b'-');
    padded(out, u64::from(day.month), 2);
    out.push(b'-');
    padded(out, u64::from(day.day), 2);
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
