//! Tableau: exactly the text of Flink's SQL client, for streams (fixed widths, op column) and for finished
//! tables (widths from the content).

use super::ResultWriter;
use super::cells::{self, cut, push_right, width};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use chrono_tz::Tz;
use engine::message::ChangeBatch;
use engine::sql::SqlType;
use std::io::{self, Write};

/// Widest column of a finished table whose values are no longer (SHOW, DESCRIBE), in terminal columns.
const WIDEST_STATIC: usize = 10_000;

/// A stream's tableau.
pub struct Tableau<W> {
    out: W,
    schema: SchemaRef,
    zone: Tz,
    widths: Vec<usize>,
    bounded: Vec<bool>,
    rows: u64,
}

impl<W: Write> Tableau<W> {
    /// `max_width` bounds columns of types without a greatest length.
    pub fn new(out: W, schema: SchemaRef, zone: Tz, max_width: usize) -> Self {
        let (widths, bounded) = schema.fields().iter().map(|f| column_width(f, max_width)).unzip();
        Self { out, schema, zone, widths, bounded, rows: 0 }
    }

    fn border(&self) -> String {
        let all = std::iter::once(OP_WIDTH).chain(self.widths.iter().copied());
        border(all)
    }
}

const OP_WIDTH: usize = 2;

impl<W: Write> ResultWriter for Tableau<W> {
    fn begin(&mut self) -> io::Result<()> {
        let border = self.border();
        let names = self.schema.fields().iter().map(|f| f.name().as_str());
        let widths = std::iter::once(OP_WIDTH).chain(self.widths.iter().copied());
        let header = line(std::iter::once("op").chain(names).zip(widths));
        write!(self.out, "{border}\n{header}\n{border}\n")?;
        self.out.flush()
    }

    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()> {
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            let cells = cells::row(batch.records(), &self.schema, row, self.zone);
            let cells = cells
                .into_iter()
                .enumerate()
                .map(|(i, c)| if self.bounded[i] { c } else { cut(&c, self.widths[i]) });
            let all = std::iter::once(batch.kind(row).short().to_string()).chain(cells).collect::<Vec<_>>();
            let widths = std::iter::once(OP_WIDTH).chain(self.widths.iter().copied());
            text.push_str(&line(all.iter().map(String::as_str).zip(widths)));
            text.push('\n');
        }
        self.rows += batch.num_rows() as u64;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, interrupted: bool) -> io::Result<()> {
        let rows = self.rows;
        let s = if rows > 1 { "s" } else { "" };
        if interrupted {
            writeln!(self.out, "Query terminated, received a total of {rows} row{s}")?;
        } else {
            writeln!(self.out, "{}\nReceived a total of {rows} row{s}", self.border())?;
        }
        self.out.flush()
    }
}

/// Width of a stream's column, and whether its values can never be longer.
fn column_width(field: &Field, max_width: usize) -> (usize, bool) {
    let (by_type, bounded) = match SqlType::of(field) {
        SqlType::Boolean => (5, true),
        SqlType::TinyInt => (4, true),
        SqlType::SmallInt => (6, true),
        SqlType::Int => (11, true),
        SqlType::BigInt => (20, true),
        SqlType::Decimal(precision, _) => (usize::from(precision) + 2, true),
        SqlType::Date => (10, true),
        SqlType::Time(0) => (8, true),
        SqlType::Time(precision) => (usize::from(precision) + 9, true),
        SqlType::Timestamp(0) | SqlType::TimestampLtz(0) => (19, true),
        SqlType::Timestamp(precision) | SqlType::TimestampLtz(precision) => {
            (usize::from(precision) + 20, true)
        }
        _ => (max_width, false),
    };
    let by_type = if field.is_nullable() { by_type.max(cells::NULL.len()) } else { by_type };
    (by_type.max(width(field.name())), bounded)
}

fn border(widths: impl Iterator<Item = usize>) -> String {
    let mut text = String::from("+");
    for w in widths {
        text.extend(std::iter::repeat_n('-', w + 2));
        text.push('+');
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut text = String::from("|");
    for (cell, width) in cells {
        text.push(' ');
        push_right(&mut text, cell, width);
        text.push_str(" |");
    }
    text
}

/// A line whose cells are cut to their widths.
fn fitted(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths).map(|(c, w)| cut(c, *w)).collect::<Vec<_>>();
    line(cells.iter().map(String::as_str).zip(widths.iter().copied()))
}

/// A finished table: widths from the content, at most `max_width`.
pub fn finished(rows: &[Vec<String>], names: &[String], max_width: usize) -> String {
    let mut widths = names.iter().map(|n| width(n)).collect::<Vec<_>>();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    widths.iter_mut().for_each(|w| *w = (*w).min(max_width));
    let border = border(widths.iter().copied());
    let mut text = format!("{border}\n{}\n{border}\n", fitted(names, &widths));
    for row in rows {
        text.push_str(&fitted(row, &widths));
        text.push('\n');
    }
    text.push_str(&border);
    text.push('\n');
    text
}

/// The footer of a finished table: `Empty set`, `1 row in set`, `N rows in set`.
pub fn footer(rows: usize) -> String {
    match rows {
        0 => "Empty set".to_string(),
        1 => "1 row in set".to_string(),
        n => format!("{n} rows in set"),
    }
}

/// A finished table of a statement (SHOW, DESCRIBE, EXPLAIN, SET) as Flink's client prints it: one text that
/// has several lines comes as it is.
pub fn statement(schema: &SchemaRef, batches: &[RecordBatch], zone: Tz) -> String {
    let rows = all_rows(schema, batches, zone);
    if let ([row], [field]) = (rows.as_slice(), schema.fields().iter().as_slice())
        && field.name() == "result"
    {
        return format!("{}\n", row[0].trim_end());
    }
    if rows.is_empty() {
        return format!("{}\n", footer(0));
    }
    let names = schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    format!("{}{}\n", finished(&rows, &names, WIDEST_STATIC), footer(rows.len()))
}

/// The cells of all rows.
pub fn all_rows(schema: &SchemaRef, batches: &[RecordBatch], zone: Tz) -> Vec<Vec<String>> {
    batches.iter().flat_map(|b| (0..b.num_rows()).map(move |r| cells::row(b, schema, r, zone))).collect()
}

/// A batch query's tableau: printed whole at the end.
pub struct BatchTableau<W> {
    out: W,
    schema: SchemaRef,
    zone: Tz,
    max_width: usize,
    rows: Vec<Vec<String>>,
    max_rows: usize,
    dropped: usize,
}

impl<W: Write> BatchTableau<W> {
    /// Keeps at most `max_rows` rows, the first.
    pub fn new(out: W, schema: SchemaRef, zone: Tz, max_width: usize, max_rows: usize) -> Self {
        Self { out, schema, zone, max_width, rows: Vec::new(), max_rows, dropped: 0 }
    }
}

impl<W: Write> ResultWriter for BatchTableau<W> {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()> {
        for row in 0..batch.num_rows() {
            if self.rows.len() < self.max_rows {
                self.rows.push(cells::row(batch.records(), &self.schema, row, self.zone));
            } else {
                self.dropped += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, interrupted: bool) -> io::Result<()> {
        if !self.rows.is_empty() {
            let names = self.schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
            self.out.write_all(finished(&self.rows, &names, self.max_width).as_bytes())?;
        }
        writeln!(self.out, "{}", footer(self.rows.len()))?;
        if self.dropped > 0 {
            writeln!(self.out, "({} more rows are not shown)", self.dropped)?;
        }
        if interrupted {
            writeln!(self.out, "Query terminated")?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use arrow::datatypes::{DataType, Schema};
    use engine::message::RowKind;
    use std::sync::Arc;

    fn batch() -> (SchemaRef, RecordBatch) {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("text", DataType::Utf8, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, -2])),
            Arc::new(StringArray::from(vec![Some("abcdefghijklmnop"), None])),
        ];
        (schema.clone(), RecordBatch::try_new(schema, columns).unwrap())
    }

    #[test]
    fn a_stream_has_fixed_widths_and_ops() {
        let (schema, records) = batch();
        let mut out = Vec::new();
        let mut tableau = Tableau::new(&mut out, schema, chrono_tz::UTC, 10);
        tableau.begin().unwrap();
        tableau.batch(&ChangeBatch::new(records, vec![RowKind::Insert, RowKind::Delete])).unwrap();
        tableau.end(false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
+----+-------------+------------+
| op |          id |       text |
+----+-------------+------------+
| +I |           1 | abcdefg... |
| -D |          -2 |     <NULL> |
+----+-------------+------------+
Received a total of 2 rows
"
        );
    }

    #[test]
    fn a_finished_table_fits_its_content() {
        let (schema, records) = batch();
        assert_eq!(
            statement(&schema, &[records], chrono_tz::UTC),
            "\
+----+------------------+
| id |             text |
+----+------------------+
|  1 | abcdefghijklmnop |
| -2 |           <NULL> |
+----+------------------+
2 rows in set
"
        );
        assert_eq!(statement(&schema, &[], chrono_tz::UTC), "Empty set\n");
    }
}
