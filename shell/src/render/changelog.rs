//! Changelog: each change on a line, aligned by type, without borders.

use super::ResultWriter;
use super::cells;
use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use engine::message::ChangeBatch;
use std::io::{self, Write};

/// Writes `+I[1, a]`-like lines, as the print connector does, NULL as in tableau.
pub struct Changelog<W> {
    out: W,
    schema: SchemaRef,
    zone: Tz,
    rows: u64,
}

impl<W: Write> Changelog<W> {
    /// A writer of `schema`'s rows.
    pub fn new(out: W, schema: SchemaRef, zone: Tz) -> Self {
        Self { out, schema, zone, rows: 0 }
    }
}

impl<W: Write> ResultWriter for Changelog<W> {
    fn begin(&mut self) -> io::Result<()> {
        let names = self.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
        writeln!(self.out, "op[{}]", names.join(", "))?;
        self.out.flush()
    }

    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()> {
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            text.push_str(batch.kind(row).short());
            text.push('[');
            text.push_str(&cells::row(batch.records(), &self.schema, row, self.zone).join(", "));
            text.push_str("]\n");
        }
        self.rows += batch.num_rows() as u64;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, interrupted: bool) -> io::Result<()> {
        let end = if interrupted { "Query terminated, received" } else { "Received" };
        writeln!(self.out, "{end} a total of {} changes", self.rows)?;
        self.out.flush()
    }
}
