//! `KafkaSource`: a table read from Kafka.

use super::enumerator::KafkaEnumerator;
use super::metadata::Meta;
use super::options::{Flavor, KafkaOptions, Point};
use super::reader::KafkaReader;
use arrow::datatypes::FieldRef;
use chrono_tz::Tz;
use engine::connector::{Boundedness, Enumerator, Reader, ReaderContext, Source, SourceContext};
use engine::error::Result;
use engine::plan::ChangelogMode;
use std::sync::Arc;

/// A table read from Kafka.
#[derive(Debug)]
pub(super) struct KafkaSource {
    pub options: Arc<KafkaOptions>,
    /// Metadata key and column.
    pub metadata: Vec<(String, FieldRef)>,
    pub zone: Tz,
}

impl Source for KafkaSource {
    fn boundedness(&self) -> Boundedness {
        if self.options.bounded.is_some() { Boundedness::Bounded } else { Boundedness::Unbounded }
    }

    fn eager_watermarks(&self) -> bool {
        false
    }

    fn changelog(&self) -> ChangelogMode {
        match self.options.flavor {
            Flavor::Append => self.options.value.format().changelog(),
            Flavor::Upsert => ChangelogMode::UPSERT,
        }
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        Meta::readable()
    }

    fn describe(&self) -> String {
        let o = &self.options;
        let mut text = format!("{}({}, format=[{}]", o.flavor.name(), o.topic_text(), o.value.name());
        if let Some(key) = &o.key {
            text += &format!(", key=[{}], key-format=[{}]", key.columns.join(", "), key.format.name());
        }
        text += &format!(", startup=[{}]", point_text(&o.startup));
        if let Some(stop) = &o.bounded {
            text += &format!(", bounded=[{}]", point_text(stop));
        }
        text + ")"
    }

    fn max_parallelism(&self) -> Option<usize> {
        self.options.scan_parallelism
    }

    fn enumerator(&self, _: &SourceContext) -> Result<Box<dyn Enumerator>> {
        Ok(Box::new(KafkaEnumerator::new(self.options.clone())?))
    }

    fn reader(&self, context: ReaderContext) -> Result<Box<dyn Reader>> {
        Ok(Box::new(KafkaReader::new(self.options.clone(), &self.metadata, self.zone, context)?))
    }
}

fn point_text(point: &Point) -> String {
    match point {
        Point::Earliest => "earliest-offset".to_string(),
        Point::Latest => "latest-offset".to_string(),
        Point::Group => "group-offsets".to_string(),
        Point::Timestamp(ms) => format!("timestamp {ms}"),
        Point::Offsets(offsets) => {
            let entries = offsets.iter().map(|(p, o)| format!("{p}: {o}")).collect::<Vec<_>>();
            format!("specific-offsets {}", entries.join(", "))
        }
    }
}
