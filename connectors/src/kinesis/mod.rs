//! `'connector' = 'kinesis'`: Amazon Kinesis Data Streams, read by polling and written with PutRecords.

mod aggregated;
mod client;
mod enumerator;
mod fetch;
mod options;
mod partition_key;
mod position;
mod reader;
mod shards;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use engine::connector::{Connector, OptionHelp, Sink, Source, TableContext};
use engine::error::Result;
use std::sync::Arc;

/// The connector `kinesis`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kinesis;

impl Connector for Kinesis {
    fn name(&self) -> &'static str {
        "kinesis"
    }

    fn options(&self) -> Vec<OptionHelp> {
        options::help()
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::KinesisSource::new(table)?))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(sink::KinesisSink::new(table)?))
    }
}
