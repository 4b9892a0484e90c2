//! `datagen`: rows of random values and sequences, at a given rate.

mod generate;

use crate::options::{OptionReader, idle_timeout_option, option};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use engine::connector::{
    Assignment, Boundedness, Connector, Enumerator, Metrics, OptionHelp, Poll, Reader, ReaderContext, Sink,
    Source, SourceContext, Split, TableContext,
};
use engine::error::{Error, Result};
use engine::time::Clock;
use generate::{FIELD_OPTIONS, Generator};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Rows are given out at most this often, so that a batch is worth its cost.
const TICK_MS: u64 = 50;
/// A reader that was held up catches up with at most the rows of this time.
const MAX_CATCH_UP_MS: i64 = 1000;

/// The connector.
#[derive(Debug)]
pub struct Datagen;

fn common_options() -> Vec<OptionHelp> {
    vec![
        option("rows-per-second", Some("10000"), false, "Rows a second, of all tasks together."),
        option(
            "number-of-rows",
            None,
            false,
            "Number of rows after which the table ends; without it, it goes on until stopped.",
        ),
        option("scan.parallelism", None, false, "Number of parallel readers."),
        idle_timeout_option(),
    ]
}

impl Connector for Datagen {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn options(&self) -> Vec<OptionHelp> {
        let mut all = common_options();
        let text = FIELD_OPTIONS.iter().map(|(k, d)| format!("`fields.<column>.{k}`: {d}"));
        let text = text.collect::<Vec<_>>().join(" ");
        let text = format!(
            "Values of one column; nested as `fields.a.b.min`, collections as `fields.a.element.min`. {text}"
        );
        all.push(option("fields.*", None, false, &text));
        all
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        let mut help = common_options();
        let mut keys = Vec::new();
        for field in table.physical.fields() {
            generate::keys(field, &format!("fields.{}", field.name()), &mut keys);
        }
        help.extend(keys.iter().map(|k| option(k, None, false, "")));
        let options = OptionReader::new(self.name(), &table.options, &help)?;
        let fields = table.physical.fields().iter();
        let generators = fields
            .map(|f| Generator::new(f, &format!("fields.{}", f.name()), &options))
            .collect::<Result<Vec<_>>>()?;
        let rows_per_second = options.number::<u64>("rows-per-second")?.unwrap_or(10_000);
        if rows_per_second == 0 {
            return Err(Error::user("Option 'rows-per-second' must be at least 1."));
        }
        let rows = generators.iter().filter_map(Generator::rows);
        let rows = rows.chain(options.number::<u64>("number-of-rows")?).min();
        Ok(Arc::new(DatagenSource {
            schema: table.physical.clone(),
            generators,
            rows_per_second,
            rows,
            parallelism: options.parallelism("scan.parallelism")?,
        }))
    }

    fn sink(&self, _table: &TableContext) -> Result<Arc<dyn Sink>> {
        Err(Error::user("A 'datagen' table cannot be written: it makes rows up.")
            .with_hint("Write to 'connector' = 'print' or 'blackhole' instead."))
    }
}

#[derive(Debug)]
struct DatagenSource {
    schema: SchemaRef,
    generators: Vec<Generator>,
    rows_per_second: u64,
    rows: Option<u64>,
    parallelism: Option<usize>,
}

impl Source for DatagenSource {
    fn boundedness(&self) -> Boundedness {
        if self.rows.is_some() { Boundedness::Bounded } else { Boundedness::Unbounded }
    }

    fn describe(&self) -> String {
        let rows = self.rows.map_or_else(String::new, |n| format!(", number-of-rows=[{n}]"));
        format!("datagen(rows-per-second=[{}]{rows})", self.rows_per_second)
    }

    fn max_parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn enumerator(&self, context: &SourceContext) -> Result<Box<dyn Enumerator>> {
        Ok(Box::new(DatagenEnumerator { of: context.parallelism.max(1) as u64, known: false }))
    }

    fn reader(&self, context: ReaderContext) -> Result<Box<dyn Reader>> {
        let generators = context.projection.fields().iter().map(|f| {
            let i = self
                .schema
                .index_of(f.name())
                .map_err(|_| Error::internal(format!("datagen has no column `{}`", f.name())))?;
            Ok(self.generators[i].project(f))
        });
        Ok(Box::new(DatagenReader {
            generators: generators.collect::<Result<_>>()?,
            schema: context.projection,
            batch_rows: context.batch_rows.max(1) as u64,
            rows_per_second: self.rows_per_second,
            rows: self.rows,
            clock: context.clock,
            metrics: context.metrics,
            splits: Vec::new(),
            next: 0,
        }))
    }
}

/// Where a split stands: it makes the rows `index`, `index + of`, `index + 2 of`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    index: u64,
    of: u64,
    /// Rows made so far.
    made: u64,
}

struct DatagenEnumerator {
    of: u64,
    known: bool,
}

impl Enumerator for DatagenEnumerator {
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()> {
        self.known = !known.is_empty() || !finished.is_empty();
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        if std::mem::replace(&mut self.known, true) {
            return Ok(Assignment { splits: Vec::new(), complete: true });
        }
        let splits = (0..self.of).map(|index| split(Position { index, of: self.of, made: 0 }));
        Ok(Assignment { splits: splits.collect(), complete: true })
    }
}

fn split(position: Position) -> Split {
    let text = serde_json::json!({"index": position.index, "of": position.of, "made": position.made});
    Split { id: format!("datagen-{}", position.index), position: text.to_string() }
}

struct Active {
    id: Arc<str>,
    position: Position,
    /// When it began, and how many rows it had made then.
    began: Option<(i64, u64)>,
}

struct DatagenReader {
    schema: SchemaRef,
    generators: Vec<Generator>,
    batch_rows: u64,
    rows_per_second: u64,
    rows: Option<u64>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    splits: Vec<Active>,
    next: usize,
}

impl DatagenReader {
    /// How many rows split `i` may make now.
    fn allowed(&mut self, i: usize, now_ms: i64) -> u64 {
        let rate = self.rows_per_second;
        let active = &mut self.splits[i];
        let Position { of, made, .. } = active.position;
        let tick_ms = TICK_MS.max(1000 * of / rate);
        let due = |elapsed_ms: i64| {
            // The rows of a tick are given out at its beginning.
            let ms = (elapsed_ms.max(0) as u64 / tick_ms + 1) * tick_ms;
            (u128::from(ms) * u128::from(rate) / (1000 * u128::from(of))) as u64
        };
        let (mut start, mut before) = *active.began.get_or_insert((now_ms, made));
        if due(now_ms - start - MAX_CATCH_UP_MS) > made - before && now_ms - start > MAX_CATCH_UP_MS {
            (start, before) = (now_ms - MAX_CATCH_UP_MS, made);
            active.began = Some((start, before));
        }
        due(now_ms - start).saturating_sub(made - before)
    }

    fn make(&mut self, i: usize, rows: u64, now_ms: i64) -> Result<Poll> {
        let active = &mut self.splits[i];
        let Position { index, of, made } = active.position;
        let numbers = (made..made + rows).map(|n| index + n * of).collect::<Vec<_>>();
        active.position.made += rows;
        // Rows are told apart by their numbers, so all splits may share one seed.
        let columns = self.generators.iter().map(|g| g.generate(&numbers, 0, now_ms)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Metrics::add(&self.metrics.records, batch.num_rows());
        Ok(Poll::Rows { split: active.id.clone(), batch, kinds: None })
    }

    /// Rows that split `i` will ever make.
    fn total(&self, i: usize) -> Option<u64> {
        let Position { index, of, .. } = self.splits[i].position;
        self.rows.map(|rows| rows.saturating_sub(index).div_ceil(of))
    }
}

impl Reader for DatagenReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        for split in splits {
            let position = serde_json::from_str(&split.position)
                .map_err(|e| Error::internal(format!("position of {}: {e}", split.id)))?;
            self.splits.push(Active { id: split.id.into(), position, began: None });
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Poll> {
        let now_ms = self.clock.now_ms();
        for _ in 0..self.splits.len() {
            let i = self.next % self.splits.len();
            let left = self.total(i).map(|t| t.saturating_sub(self.splits[i].position.made));
            if left == Some(0) {
                return Ok(Poll::Finished(self.splits.swap_remove(i).id));
            }
            self.next = i + 1;
            let rows = self.allowed(i, now_ms).min(self.batch_rows).min(left.unwrap_or(u64::MAX));
            if rows > 0 {
                return self.make(i, rows, now_ms);
            }
        }
        self.metrics.waiting(|| std::thread::sleep(timeout.min(Duration::from_millis(TICK_MS / 5))));
        Ok(Poll::Pending)
    }

    fn snapshot(&self) -> Vec<Split> {
        self.splits.iter().map(|a| split(a.position)).collect()
    }
}

#[cfg(test)]
mod tests;
