//! What a catalog stores: databases, tables (columns, watermark, key, options) and views.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `WITH (…)` properties: plain strings, sorted by key.
pub type Options = BTreeMap<String, String>;

/// A database and its properties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseDefinition {
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `WITH (…)`.
    pub options: Options,
}

/// What a name in a database stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Object {
    /// A table with a connector.
    Table(TableDefinition),
    /// A named query.
    View(ViewDefinition),
}

/// A table as `CREATE TABLE` declared it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// In declaration order.
    pub columns: Vec<ColumnDefinition>,
    /// At most one.
    pub watermark: Option<WatermarkDefinition>,
    /// `PRIMARY KEY (…) NOT ENFORCED`.
    pub primary_key: Option<PrimaryKey>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `PARTITIONED BY (…)`.
    pub partitioned_by: Vec<String>,
    /// `WITH (…)`, `connector` included.
    pub options: Options,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Plain, case-sensitive.
    pub name: String,
    /// Where its values come from.
    pub kind: ColumnKind,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
}

/// Where the values of a column come from. Types are SQL text as Flink writes it,
/// for example `TIMESTAMP(3) NOT NULL`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ColumnKind {
    /// Stored in the external system.
    Physical {
        /// SQL type, `NOT NULL` included.
        data_type: String,
    },
    /// Read from (and unless virtual, written to) the connector's metadata.
    Metadata {
        /// SQL type, `NOT NULL` included.
        data_type: String,
        /// Metadata key where it differs from the column's name.
        key: Option<String>,
        /// `VIRTUAL`: readable only, no part of the sink's schema.
        is_virtual: bool,
    },
    /// Computed from other columns, never stored.
    Computed {
        /// SQL expression.
        expression: String,
    },
}

/// `WATERMARK FOR column AS expression`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkDefinition {
    /// Name of a top-level column.
    pub column: String,
    /// SQL expression.
    pub expression: String,
}

/// `[CONSTRAINT name] PRIMARY KEY (columns) NOT ENFORCED`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// Given, or `PK_<col>_<col>`.
    pub name: String,
    /// In declaration order.
    pub columns: Vec<String>,
}

/// A view: its query as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDefinition {
    /// Text after `AS`.
    pub query: String,
    /// Names given in `CREATE VIEW v (a, b)`, with their comments; empty means the query's own.
    pub columns: Vec<(String, Option<String>)>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// Catalog and database against which names in `query` resolve.
    pub catalog: String,
    /// See `catalog`.
    pub database: String,
}

/// A user-defined function as `CREATE FUNCTION` declared it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionDefinition {
    /// Name and SQL type of each parameter.
    pub parameters: Vec<(String, String)>,
    /// SQL type of the result, `NOT NULL` included.
    pub returns: String,
    /// What `body` is.
    pub language: FunctionLanguage,
    /// An SQL expression over the parameters; or `path#export` of a WebAssembly module.
    pub body: String,
}

/// What a function is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionLanguage {
    /// SQL.
    Sql,
    /// WebAssembly.
    Wasm,
}

/// Whether the value of option `key` must never be printed: passwords, secret keys, tokens, JAAS texts.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "jaas", "passwd", "apikey", "api-key", "credentials.basic", "private"]
        .iter()
        .any(|s| key.contains(s))
        && !key.ends_with(".location")
        && !key.ends_with("token.file")
        && !key.contains("token.endpoint")
}

impl Object {
    /// Whether this is a table or a view.
    pub fn kind(&self) -> crate::ObjectKind {
        match self {
            Self::Table(_) => crate::ObjectKind::Table,
            Self::View(_) => crate::ObjectKind::View,
        }
    }
}

impl PrimaryKey {
    /// A key with Flink's default name, `PK_<col>_<col>`.
    pub fn unnamed(columns: Vec<String>) -> Self {
        Self { name: format!("PK_{}", columns.join("_")), columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised_by_key() {
        for key in [
            "properties.sasl.jaas.config",
            "properties.ssl.truststore.password",
            "aws.credentials.basic.secretkey",
            "properties.ssl.key.password",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["properties.bootstrap.servers", "topic", "properties.ssl.truststore.location"] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
