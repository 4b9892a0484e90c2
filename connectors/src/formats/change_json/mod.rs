//! Changes of a database's tables as JSON: `debezium-json` and `ogg-json`, with the row before and the row after;
//! `canal-json` and `maxwell-json`, with the row after and what the change has overwritten.

mod before_after;
mod data_old;
mod encoder;
#[cfg(test)]
mod tests;

use super::json::Json;
use super::{DecodeError, Decoded, Decoder, Encoder, Format};
use crate::options::{OptionReader, option};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result};
use engine::message::RowKind;
use engine::plan::ChangelogMode;
use std::sync::Arc;

/// A kind of envelope around the rows of a change.
#[derive(Debug)]
pub struct ChangeJson {
    name: &'static str,
    layout: Layout,
    ops: Ops,
}

/// Where the rows stand in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `before` and `after`; in `{"schema": …, "payload": …}` if the option says so.
    BeforeAfter {
        /// Whether there is that option.
        has_schema: bool,
    },
    /// `data`, and in `old` the columns that an update has overwritten.
    DataOld,
    /// The same, each a list: a record tells the changes of several rows.
    DataOldLists,
}

/// How a record tells the kind of a change.
#[derive(Debug, Clone, Copy)]
struct Ops {
    /// Its key.
    key: &'static str,
    inserts: &'static [&'static str],
    updates: &'static [&'static str],
    deletes: &'static [&'static str],
    /// Changes of the table itself, which are passed over.
    definitions: &'static [&'static str],
}

/// What Debezium writes: `op` is `c` (create), `r` (read), `u` (update) or `d` (delete).
pub const DEBEZIUM: ChangeJson = ChangeJson {
    name: "debezium-json",
    layout: Layout::BeforeAfter { has_schema: true },
    ops: Ops { key: "op", inserts: &["c", "r"], updates: &["u"], deletes: &["d"], definitions: &[] },
};

/// What Oracle GoldenGate writes: `op_type` is `I`, `U` or `D`.
pub const OGG: ChangeJson = ChangeJson {
    name: "ogg-json",
    layout: Layout::BeforeAfter { has_schema: false },
    ops: Ops { key: "op_type", inserts: &["I"], updates: &["U"], deletes: &["D"], definitions: &[] },
};

/// What Alibaba's Canal writes.
pub const CANAL: ChangeJson = ChangeJson {
    name: "canal-json",
    layout: Layout::DataOldLists,
    ops: Ops {
        key: "type",
        inserts: &["INSERT"],
        updates: &["UPDATE"],
        deletes: &["DELETE"],
        definitions: &["CREATE"],
    },
};

/// What Maxwell's daemon writes.
pub const MAXWELL: ChangeJson = ChangeJson {
    name: "maxwell-json",
    layout: Layout::DataOld,
    ops: Ops {
        key: "type",
        inserts: &["insert"],
        updates: &["update"],
        deletes: &["delete"],
        definitions: &[],
    },
};

const SCHEMA_INCLUDE: &str = "schema-include";
const DATABASE_INCLUDE: &str = "database.include";
const TABLE_INCLUDE: &str = "table.include";

/// Options that the rows' JSON does not know.
const OWN: [&str; 3] = [SCHEMA_INCLUDE, DATABASE_INCLUDE, TABLE_INCLUDE];

impl ChangeJson {
    /// The options of the rows' JSON: all but our own.
    fn inner(options: &Options) -> Options {
        let inner = options.iter().filter(|(k, _)| !OWN.contains(&k.as_str()));
        inner.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Whether records come in `{"schema": …, "payload": …}`.
    fn is_wrapped(&self, options: &Options) -> Result<bool> {
        let help = self.options();
        let reader = OptionReader::new(self.name, options, &help)?;
        match self.layout {
            Layout::BeforeAfter { has_schema: true } => reader.boolean(SCHEMA_INCLUDE),
            _ => Ok(false),
        }
    }

    /// Which databases and tables are read: the whole name must match.
    fn include(&self, options: &Options, key: &str) -> Result<Option<regex::Regex>> {
        let Some(text) = options.get(key) else { return Ok(None) };
        let pattern = regex::Regex::new(&format!("^(?:{text})$"));
        pattern.map(Some).map_err(|_| {
            Error::user(format!("The option '{}.{key}' is no regular expression: '{text}'.", self.name))
                .with_hint("Write names, or patterns such as 'orders|customers' or 'orders_.*'.")
        })
    }
}

/// The rows' columns, each of which may be missing.
fn row_type(row: &Fields) -> DataType {
    DataType::Struct(row.iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect())
}

impl Format for ChangeJson {
    fn name(&self) -> &'static str {
        self.name
    }

    fn options(&self) -> Vec<OptionHelp> {
        let mut options: Vec<OptionHelp> =
            Json.options().into_iter().filter(|o| o.key != "fail-on-missing-field").collect();
        match self.layout {
            Layout::BeforeAfter { has_schema: true } => options.push(option(
                SCHEMA_INCLUDE,
                Some("false"),
                false,
                "Whether records come with their schema: `{\"schema\": …, \"payload\": …}` (Kafka Connect's `value.converter.schemas.enable`).",
            )),
            Layout::DataOldLists => options.extend([
                option(
                    DATABASE_INCLUDE,
                    None,
                    false,
                    "Regular expression: only changes of databases whose whole name it matches are read.",
                ),
                option(
                    TABLE_INCLUDE,
                    None,
                    false,
                    "Regular expression: only changes of tables whose whole name it matches are read.",
                ),
            ]),
            _ => {}
        }
        options
    }

    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()> {
        self.is_wrapped(options)?;
        self.include(options, DATABASE_INCLUDE)?;
        self.include(options, TABLE_INCLUDE)?;
        Json.check(&Self::inner(options), schema)
    }

    fn changelog(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn decoder(
        &self,
        options: &Options,
        projection: SchemaRef,
        _: SchemaRef,
        zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>> {
        match self.layout {
            Layout::BeforeAfter { .. } => {
                let wrapped = self.is_wrapped(options)?;
                before_after::decoder(self, &Self::inner(options), wrapped, projection, zone)
            }
            Layout::DataOld | Layout::DataOldLists => {
                let include =
                    [self.include(options, DATABASE_INCLUDE)?, self.include(options, TABLE_INCLUDE)?];
                data_old::decoder(self, &Self::inner(options), include, projection, zone)
            }
        }
    }

    fn encoder(&self, options: &Options, schema: SchemaRef, zone: chrono_tz::Tz) -> Result<Box<dyn Encoder>> {
        encoder::encoder(self, &Self::inner(options), &schema, zone)
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Insert,
    Update,
    Delete,
    /// Nothing about rows.
    None,
}

/// How the records of a batch are read, whatever their layout.
#[derive(Debug, Clone, Copy)]
struct Reading {
    ops: Ops,
    name: &'static str,
    /// Whether a record that is no change is skipped; otherwise the job fails.
    ignore: bool,
}

impl Reading {
    fn new(format: &ChangeJson, inner: &Options) -> Self {
        let ignore = inner.get("ignore-parse-errors").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        Self { ops: format.ops, name: format.name, ignore }
    }

    /// The change of `record`, whose text is `payload`. An empty record is a tombstone that follows a delete.
    fn change(
        &self,
        ops: &StringArray,
        record: usize,
        payload: &[u8],
    ) -> std::result::Result<Change, String> {
        let op = if ops.is_valid(record) { ops.value(record) } else { "" };
        let found = |list: &[&str]| list.contains(&op);
        if found(self.ops.inserts) {
            Ok(Change::Insert)
        } else if found(self.ops.updates) {
            Ok(Change::Update)
        } else if found(self.ops.deletes) {
            Ok(Change::Delete)
        } else if payload.is_empty() || found(self.ops.definitions) {
            Ok(Change::None)
        } else {
            Err(format!("Unknown kind of change \"{op}\" in a record of '{}'.", self.name))
        }
    }
}

/// Rows of a batch as they are found.
#[derive(Debug, Default)]
struct Found {
    kinds: Vec<RowKind>,
    origin: Vec<u32>,
    skipped: usize,
}

impl Found {
    /// With the values of the rows in `columns`.
    fn decoded(
        self,
        schema: &SchemaRef,
        columns: Vec<ArrayRef>,
    ) -> std::result::Result<Decoded, arrow::error::ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.kinds.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let kinds = self.kinds.iter().any(|k| *k != RowKind::Insert).then(|| Arc::from(self.kinds));
        Ok(Decoded { batch, kinds, origin: Some(self.origin), skipped: self.skipped })
    }
}

fn internal(error: arrow::error::ArrowError) -> DecodeError {
    DecodeError { payload: 0, message: error.to_string() }
}
