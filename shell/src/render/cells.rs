//! Cells: the texts of values, their widths on a terminal, and cutting them to a width.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use chrono_tz::Tz;
use engine::functions::text;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Flink's text of a top-level NULL.
pub const NULL: &str = "<NULL>";

/// The cells of one row. `schema` gives the SQL types.
pub fn row(batch: &RecordBatch, schema: &SchemaRef, row: usize, zone: Tz) -> Vec<String> {
    schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| {
            let mut cell = String::new();
            if is_null(array.as_ref(), row) {
                cell.push_str(NULL);
            } else {
                text::write_value(&mut cell, array.as_ref(), row, field, zone);
            }
            cell
        })
        .collect()
}

/// Whether a value is NULL, also in a column that has no other type than NULL.
pub fn is_null(array: &dyn Array, row: usize) -> bool {
    array.is_null(row) || array.data_type() == &DataType::Null
}

/// Columns that `text` takes on a terminal; full-width characters take two.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` cut to `width` columns, the last three of them dots, if it is longer.
pub fn cut(text: &str, width: usize) -> String {
    if self::width(text) <= width {
        return text.to_string();
    }
    let room = width.saturating_sub(3);
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > room {
            break;
        }
        used += w;
        cut.push(c);
    }
    cut.push_str("...");
    cut
}

/// Appends `text` right-aligned in `width` columns.
pub fn push_right(out: &mut String, text: &str, width: usize) {
    for _ in self::width(text)..width {
        out.push(' ');
    }
    out.push_str(text);
}

/// `text` for one line of a terminal: control characters, which could move the cursor, become blanks.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A count with separators: `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本語日本語", 8), "日本...");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc...");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
