//! CSV: a header, then a line for each row; an `op` column first when the result is not append-only.

use super::ResultWriter;
use super::cells;
use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use engine::functions::text;
use engine::message::ChangeBatch;
use std::io::{self, Write};

/// Writes RFC 4180 lines; NULL is empty, an empty text is `""`.
pub struct Csv<W> {
    out: W,
    schema: SchemaRef,
    zone: Tz,
    with_op: bool,
}

impl<W: Write> Csv<W> {
    /// `with_op` adds the op column.
    pub fn new(out: W, schema: SchemaRef, zone: Tz, with_op: bool) -> Self {
        Self { out, schema, zone, with_op }
    }
}

fn push(line: &mut String, cell: &str) {
    if cell.is_empty() || cell.contains([',', '"', '\n', '\r']) {
        line.push('"');
        line.push_str(&cell.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(cell);
    }
}

impl<W: Write> ResultWriter for Csv<W> {
    fn begin(&mut self) -> io::Result<()> {
        let mut line = String::new();
        if self.with_op {
            line.push_str("op,");
        }
        for (i, field) in self.schema.fields().iter().enumerate() {
            if i > 0 {
                line.push(',');
            }
            push(&mut line, field.name());
        }
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()> {
        let mut lines = String::new();
        let mut cell = String::new();
        for row in 0..batch.num_rows() {
            if self.with_op {
                lines.push_str(batch.kind(row).short());
                lines.push(',');
            }
            for (i, (field, array)) in self.schema.fields().iter().zip(batch.records().columns()).enumerate()
            {
                if i > 0 {
                    lines.push(',');
                }
                if !cells::is_null(array.as_ref(), row) {
                    cell.clear();
                    text::write_value(&mut cell, array.as_ref(), row, field, self.zone);
                    push(&mut lines, &cell);
                }
            }
            lines.push('\n');
        }
        self.out.write_all(lines.as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, _interrupted: bool) -> io::Result<()> {
        self.out.flush()
    }
}

/// A finished table as CSV.
pub fn finished(rows: &[Vec<String>], names: &[String]) -> String {
    let mut text = String::new();
    for row in std::iter::once(names).chain(rows.iter().map(Vec::as_slice)) {
        for (i, cell) in row.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            push(&mut text, if cell == cells::NULL { "" } else { cell });
        }
        text.push('\n');
    }
    text
}
