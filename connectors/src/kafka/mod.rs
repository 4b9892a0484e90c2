//! `'connector' = 'kafka'` and `'upsert-kafka'`: topics as tables, over librdkafka; records are fetched without it.

mod client;
mod enumerator;
mod fetch;
mod metadata;
mod options;
mod producer;
mod properties;
mod queue;
mod reader;
mod record;
mod sink;
mod source;
mod transactions;
mod upsert;
mod wire;

use engine::connector::{Connector, OptionHelp, Sink, Source, TableContext};
use engine::error::{Error, Result};
use metadata::Meta;
use options::{Flavor, KafkaOptions};
use std::sync::Arc;
pub use upsert::UpsertKafka;

/// The `kafka` connector.
#[derive(Debug, Default)]
pub struct Kafka;

impl Connector for Kafka {
    fn name(&self) -> &'static str {
        Flavor::Append.name()
    }

    fn options(&self) -> Vec<OptionHelp> {
        options::help_for(Flavor::Append)
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        let options = KafkaOptions::new(table, Flavor::Append)?;
        check_metadata(table, &Meta::readable().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), "read")?;
        Ok(Arc::new(source::KafkaSource {
            options: Arc::new(options),
            metadata: table.metadata.clone(),
            zone: table.zone,
        }))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        let options = KafkaOptions::new(table, Flavor::Append)?;
        check_metadata(
            table,
            &Meta::writable().into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
            "written",
        )?;
        sink::check(&options, table)?;
        Ok(Arc::new(sink::KafkaSink {
            options: Arc::new(options),
            metadata: table.metadata.clone(),
            zone: table.zone,
        }))
    }
}

fn check_metadata(table: &TableContext, known: &[String], what: &str) -> Result<()> {
    match table.metadata.iter().find(|(key, _)| !known.contains(key)) {
        None => Ok(()),
        Some((key, column)) => Err(Error::user(format!(
            "Invalid metadata key '{key}' in column '{}' of table '{}'. Metadata of a Kafka table that can be {what}: {}.",
            column.name(),
            table.name,
            known.join(", ")
        ))
        .with_hint(if what == "written" { "Declare the column as METADATA VIRTUAL, which is read only." } else { "" })),
    }
}
