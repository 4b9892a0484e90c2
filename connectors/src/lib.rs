//! The connectors and formats that Runnel has. [`registry`] is the only list of connectors.

#[cfg(feature = "kinesis")]
mod aws;
mod blackhole;
mod datagen;
mod filesystem;
pub mod formats;
#[cfg(feature = "jdbc")]
mod jdbc;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
mod lookup;
mod options;
mod print;

use engine::connector::ConnectorRegistry;
use std::sync::Arc;

/// All connectors of this build.
pub fn registry() -> ConnectorRegistry {
    let mut registry = ConnectorRegistry::default();
    registry.add(Arc::new(blackhole::Blackhole));
    registry.add(Arc::new(datagen::Datagen));
    registry.add(Arc::new(filesystem::Filesystem));
    #[cfg(feature = "jdbc")]
    registry.add(Arc::new(jdbc::Jdbc));
    #[cfg(feature = "kafka")]
    registry.add(Arc::new(kafka::Kafka));
    #[cfg(feature = "kafka")]
    registry.add(Arc::new(kafka::UpsertKafka));
    #[cfg(feature = "kinesis")]
    registry.add(Arc::new(kinesis::Kinesis));
    registry.add(Arc::new(print::Print));
    registry
}
