//! `'connector' = 'upsert-kafka'`: a topic as a table with a primary key. The record's key is the table's, a record
//! replaces the one with the same key before it, and a NULL value deletes.

use super::options::{Flavor, KafkaOptions, help_for};
use super::{check_metadata, metadata::Meta, sink, source};
use engine::connector::{Connector, OptionHelp, Sink, Source, TableContext};
use engine::error::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// The `upsert-kafka` connector.
#[derive(Debug, Default)]
pub struct UpsertKafka;

impl Connector for UpsertKafka {
    fn name(&self) -> &'static str {
        Flavor::Upsert.name()
    }

    fn options(&self) -> Vec<OptionHelp> {
        help_for(Flavor::Upsert)
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        let options = KafkaOptions::new(table, Flavor::Upsert)?;
        check_metadata(table, &Meta::readable().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), "read")?;
        Ok(Arc::new(source::KafkaSource {
            options: Arc::new(options),
            metadata: table.metadata.clone(),
            zone: table.zone,
        }))
    }

    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>> {
        let options = KafkaOptions::new(table, Flavor::Upsert)?;
        let writable = Meta::writable().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        check_metadata(table, &writable, "written")?;
        sink::check(&options, table)?;
        Ok(Arc::new(sink::KafkaSink {
            options: Arc::new(options),
            metadata: table.metadata.clone(),
            zone: table.zone,
        }))
    }
}

/// `sink.buffer-flush.*`: of the changes of one key only the last is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BufferFlush {
    /// Changes after which all is written.
    pub max_rows: usize,
    /// Milliseconds after which all is written.
    pub interval_ms: u64,
}

/// A record to be written.
#[derive(Debug)]
pub(super) struct Change {
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
    pub timestamp: Option<i64>,
}

/// The newest change of each key.
#[derive(Debug)]
pub(super) struct Buffer {
    pub flush: BufferFlush,
    changes: HashMap<Vec<u8>, Change>,
    /// Changes taken since the last flush, those of one key counted each.
    taken: usize,
}

impl Buffer {
    pub(super) fn new(flush: BufferFlush) -> Self {
        Self { flush, changes: HashMap::new(), taken: 0 }
    }

    /// Takes a change. `true`: it is time to write all.
    pub(super) fn push(&mut self, key: &[u8], change: Change) -> bool {
        self.changes.insert(key.to_vec(), change);
        self.taken += 1;
        self.taken >= self.flush.max_rows
    }

    /// All that is to be written.
    pub(super) fn take(&mut self) -> HashMap<Vec<u8>, Change> {
        self.taken = 0;
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_key_the_last_change_is_kept() {
        let mut buffer = Buffer::new(BufferFlush { max_rows: 3, interval_ms: 1000 });
        let change = |text: &str| Change { value: Some(text.into()), timestamp: None };
        assert!(!buffer.push(b"a", change("1")));
        assert!(!buffer.push(b"b", change("2")));
        assert!(buffer.push(b"a", Change { value: None, timestamp: None }));
        let all = buffer.take();
        assert_eq!(all.len(), 2);
        assert!(all[b"a".as_slice()].value.is_none());
        assert!(!buffer.push(b"a", change("3")));
    }
}
