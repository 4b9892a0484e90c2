//! `blackhole`: takes all rows and does nothing with them.

use crate::options::{OptionReader, option};
use engine::connector::{Connector, Metrics, OptionHelp, Sink, Source, TableContext, Writer, WriterContext};
use engine::error::{Error, Result};
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use std::sync::Arc;

/// The connector.
#[derive(Debug)]
pub struct Blackhole;

impl Connector for Blackhole {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn options(&self) -> Vec<OptionHelp> {
        vec![option("sink.parallelism", None, false, "Number of parallel writers.")]
    }

    fn source(&self, _table: &TableContext) -> Result<Arc<dyn Source>> {
        Err(Error::user("A 'blackhole' table cannot be read: nothing comes out of it.")
            .with_hint("For made-up rows use 'connector' = 'datagen'."))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        let help = self.options();
        let options = OptionReader::new(self.name(), &table.options, &help)?;
        Ok(Arc::new(BlackholeSink { parallelism: options.parallelism("sink.parallelism")? }))
    }
}

#[derive(Debug)]
struct BlackholeSink {
    parallelism: Option<usize>,
}

impl Sink for BlackholeSink {
    fn accepts(&self) -> ChangelogMode {
        // As Flink's: all but `-U`.
        ChangelogMode::UPSERT
    }

    fn describe(&self) -> String {
        "blackhole()".to_string()
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(BlackholeWriter { metrics: context.metrics }))
    }
}

struct BlackholeWriter {
    metrics: Arc<Metrics>,
}

impl Writer for BlackholeWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        Metrics::add(&self.metrics.records, batch.num_rows());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        None
    }
}
