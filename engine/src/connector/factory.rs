//! `Connector`: the factory behind `'connector' = '…'`.

use super::{Lookup, Sink, Source};
use crate::error::Result;
use crate::time::Clock;
use arrow::datatypes::{FieldRef, SchemaRef};
use catalog::{ObjectName, Options};
use std::sync::Arc;

/// One kind of external system. `name` is the value of `'connector'`.
pub trait Connector: Send + Sync {
    /// Value of the `connector` option, for example `kafka`.
    fn name(&self) -> &'static str;

    /// All options of source and sink, its formats' included, for help, completion and "did you mean".
    fn options(&self) -> Vec<OptionHelp>;

    /// The table as a source. Checks all options without touching the network.
    ///
    /// Errors: unknown, missing or contradicting options; a connector that cannot be read.
    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>>;

    /// The table as a sink. Checks all options without touching the network.
    ///
    /// Errors: as `source`; a connector that cannot be written.
    fn sink(&self, table: &TableContext) -> Result<Arc<dyn Sink>>;

    /// The table as one that is looked up; `None` if this connector's tables cannot be. Checks all options without
    /// touching the network.
    ///
    /// Errors: as `source`.
    fn lookup(&self, table: &TableContext) -> Result<Option<Lookup>> {
        let _ = table;
        Ok(None)
    }
}

/// An option of a connector, as shown by completion and docs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionHelp {
    /// Key in `WITH (…)`. A trailing `*` stands for any suffix (`properties.*`).
    pub key: String,
    /// Default value as text; `None` if there is none.
    pub default: Option<String>,
    /// Whether a table without it is refused.
    pub required: bool,
    /// One sentence.
    pub description: String,
}

/// A table as a connector sees it: names and types resolved, options as written.
#[derive(Debug, Clone)]
pub struct TableContext {
    /// Full name, for messages and default group ids.
    pub name: ObjectName,
    /// `WITH (…)` with hints applied; `connector` included.
    pub options: Options,
    /// Physical columns, in declaration order: what the format reads and writes.
    pub physical: SchemaRef,
    /// Metadata columns: key and column (of the type that the connector gave for that key). As a sink,
    /// virtual ones are absent.
    pub metadata: Vec<(String, FieldRef)>,
    /// `PARTITIONED BY`, names of physical columns.
    pub partitioned_by: Vec<String>,
    /// Names of the primary key's columns; empty without one.
    pub primary_key: Vec<String>,
    /// `table.local-time-zone`.
    pub zone: chrono_tz::Tz,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
}
