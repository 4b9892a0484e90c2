//! `KinesisSource`: a stream as a table to read.

use super::client::SharedClient;
use super::enumerator::KinesisEnumerator;
use super::fetch::{Fetching, Lags};
use super::options::{KinesisOptions, Start};
use super::reader::{KinesisReader, MetadataKey};
use arrow::datatypes::FieldRef;
use engine::connector::{
    Boundedness, Enumerator, Reader, ReaderContext, Source, SourceContext, TableContext,
};
use engine::error::Result;
use engine::plan::ChangelogMode;
use std::sync::Arc;
use std::time::Duration;

/// A stream as a table to read.
#[derive(Debug)]
pub struct KinesisSource {
    table: TableContext,
    options: KinesisOptions,
    lags: Arc<Lags>,
    client: SharedClient,
}

impl KinesisSource {
    /// Reads the options; makes no request.
    pub fn new(table: &TableContext) -> Result<Self> {
        let options = KinesisOptions::read(table)?;
        Ok(Self { table: table.clone(), options, lags: Arc::default(), client: SharedClient::default() })
    }
}

impl Source for KinesisSource {
    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn eager_watermarks(&self) -> bool {
        false
    }

    fn changelog(&self) -> ChangelogMode {
        self.options.format.format().changelog()
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        MetadataKey::ALL.into_iter().map(|key| (key.name().to_string(), key.field())).collect()
    }

    fn describe(&self) -> String {
        let options = &self.options;
        let start = match options.scan.start {
            Start::Latest => "LATEST".to_string(),
            Start::TrimHorizon => "TRIM_HORIZON".to_string(),
            Start::AtTimestamp(ms) => format!("AT_TIMESTAMP {ms} ms"),
        };
        let place = match options.aws.describe() {
            place if place.is_empty() => place,
            place => format!(", {place}"),
        };
        format!(
            "kinesis(stream=[{}], start=[{start}], format=[{}]{place})",
            options.stream.name(),
            options.format.name()
        )
    }

    fn max_parallelism(&self) -> Option<usize> {
        self.options.scan.parallelism
    }

    fn enumerator(&self, context: &SourceContext) -> Result<Box<dyn Enumerator>> {
        let scan = &self.options.scan;
        let client = self.client.get(&context.runtime, &self.options.aws, &self.options.stream)?;
        let interval = Duration::from_millis(scan.discovery_interval_ms);
        Ok(Box::new(KinesisEnumerator::new(client, context.runtime.clone(), scan.start, interval)))
    }

    fn reader(&self, context: ReaderContext) -> Result<Box<dyn Reader>> {
        let client = self.client.get(&context.runtime, &self.options.aws, &self.options.stream)?;
        let (lags, metrics) = (self.lags.clone(), context.metrics.clone());
        let fetching = Fetching::new(client, self.options.scan.clone(), lags, metrics);
        Ok(Box::new(KinesisReader::new(&self.table, &self.options.format, context, fetching)?))
    }
}
