//! A table in PostgreSQL: its name and columns as SQL, and what its server says of them.

use super::client;
use super::target::Target;
use super::types::{PgType, Raw, decode, is_text};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, SchemaRef};
use engine::error::Result;
use std::sync::Arc;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

/// Where a table is.
#[derive(Debug, Clone)]
pub(super) struct RemoteTable {
    pub target: Arc<Target>,
    /// `table-name`.
    pub name: String,
}

impl RemoteTable {
    /// The table's name in SQL.
    pub fn sql(&self) -> String {
        self.name.split('.').map(quoted).collect::<Vec<_>>().join(".")
    }

    /// For EXPLAIN.
    pub fn describe(&self) -> String {
        format!("jdbc(url=[jdbc:postgresql://{}], table=[{}])", self.target.place, self.name)
    }

    /// PostgreSQL's types of columns.
    ///
    /// Errors: there is no such table or column; the server cannot be asked.
    pub async fn types(&self, client: &Client, columns: &[FieldRef]) -> Result<Vec<Type>> {
        let names: Vec<String> = columns.iter().map(|f| quoted(f.name())).collect();
        let sql = format!("SELECT {} FROM {}", names.join(", "), self.sql());
        let prepared = client
            .prepare(&sql)
            .await
            .map_err(|e| client::error(&self.target, &format!("table '{}'", self.name), &e))?;
        Ok(prepared.columns().iter().map(|c| c.type_().clone()).collect())
    }
}

/// A name in SQL. As a name without quotes, it is looked for in small letters; in double quotes it is taken as it is.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
    if name.len() > 2 && name.starts_with('"') && name.ends_with('"') {
        return name.to_string();
    }
    if name.chars().all(is_plain) {
        return format!("\"{}\"", name.to_ascii_lowercase());
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Column `name` of PostgreSQL's type `of` as the type that is read.
pub(super) fn selected(qualifier: &str, name: &str, pg: &PgType, of: &Type) -> String {
    let column = format!("{qualifier}{}", quoted(name));
    // A cast would cut the blanks of CHAR(n).
    if *pg == PgType::Text && is_text(of) { column } else { format!("{column}::{}", pg.name()) }
}

/// Columns of `rows` from their column `first` on, with `schema`.
pub(super) fn records(
    rows: &[Row],
    first: usize,
    types: &[PgType],
    schema: &SchemaRef,
    target: &Target,
) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(types.len());
    for (index, (pg, field)) in types.iter().zip(schema.fields()).enumerate() {
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            let value: Option<Raw<'_>> =
                row.try_get(first + index).map_err(|e| client::error(target, "reading", &e))?;
            values.push(value.map(|v| v.0));
        }
        columns.push(decode(pg, &values, field)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_postgresql_finds_them() {
        assert_eq!(quoted("Name"), "\"name\"");
        assert_eq!(quoted("order"), "\"order\"");
        assert_eq!(quoted("\"Name\""), "\"Name\"");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted("x\"; DROP TABLE t; --"), "\"x\"\"; DROP TABLE t; --\"");
    }
}
