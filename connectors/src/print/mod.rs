//! `print`: writes each row as a line to standard output, `+I[1, x]`, as Flink's print table does.

mod text;

use crate::options::{OptionReader, option};
use engine::connector::{Connector, Metrics, OptionHelp, Sink, Source, TableContext, Writer, WriterContext};
use engine::error::{Error, Result};
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use std::io::Write;
use std::sync::Arc;

/// The connector.
#[derive(Debug)]
pub struct Print;

impl Connector for Print {
    fn name(&self) -> &'static str {
        "print"
    }

    fn options(&self) -> Vec<OptionHelp> {
        vec![
            option("print-identifier", None, false, "Text before each line: `name> +I[…]`."),
            option(
                "standard-error",
                Some("false"),
                false,
                "Whether lines go to standard error instead of standard output.",
            ),
            option("sink.parallelism", None, false, "Number of parallel writers."),
        ]
    }

    fn source(&self, _table: &TableContext) -> Result<Arc<dyn Source>> {
        Err(Error::user("A 'print' table cannot be read: it only writes.").with_hint(
            "SELECT from the table that feeds it, or use 'connector' = 'filesystem' to keep rows.",
        ))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        let help = self.options();
        let options = OptionReader::new(self.name(), &table.options, &help)?;
        Ok(Arc::new(PrintSink {
            identifier: options.get("print-identifier").unwrap_or_default().to_string(),
            to_error: options.boolean("standard-error")?,
            parallelism: options.parallelism("sink.parallelism")?,
        }))
    }
}

#[derive(Debug)]
struct PrintSink {
    identifier: String,
    to_error: bool,
    parallelism: Option<usize>,
}

impl Sink for PrintSink {
    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn describe(&self) -> String {
        format!("print(to=[{}])", if self.to_error { "stderr" } else { "stdout" })
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(PrintWriter {
            prefix: prefix(&self.identifier, context.task, context.parallelism),
            to_error: self.to_error,
            lines: Vec::new(),
            metrics: context.metrics,
        }))
    }
}

/// `id> `, `id:2> `, `2> ` or nothing: the task's number, from 1, is told only where there are several.
fn prefix(identifier: &str, task: usize, parallelism: usize) -> String {
    match (identifier, parallelism) {
        ("", 0 | 1) => String::new(),
        ("", _) => format!("{}> ", task + 1),
        (id, 0 | 1) => format!("{id}> "),
        (id, _) => format!("{id}:{}> ", task + 1),
    }
}

struct PrintWriter {
    prefix: String,
    to_error: bool,
    lines: Vec<u8>,
    metrics: Arc<Metrics>,
}

impl Writer for PrintWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        self.lines.clear();
        for row in 0..batch.num_rows() {
            self.lines.extend_from_slice(self.prefix.as_bytes());
            text::write_row(&mut self.lines, batch.kind(row), batch.records().columns(), row);
            self.lines.push(b'\n');
        }
        let written = if self.to_error {
            std::io::stderr().lock().write_all(&self.lines)
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(&self.lines).and_then(|()| out.flush())
        };
        Metrics::add(&self.metrics.records, batch.num_rows());
        Metrics::add(&self.metrics.bytes, self.lines.len());
        written.map_err(|e| Error::external(format!("Printing failed: {e}.")).permanent())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_flinks() {
        assert_eq!(prefix("", 0, 1), "");
        assert_eq!(prefix("", 0, 2), "1> ");
        assert_eq!(prefix("id", 0, 1), "id> ");
        assert_eq!(prefix("id", 1, 2), "id:2> ");
    }
}
