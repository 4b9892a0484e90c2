//! `SHOW …` and `SET;`: finished tables of text.

use super::{Session, describe};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::sql::{self, Pattern, Show};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use catalog::{Object, ObjectKind};
use std::sync::Arc;

pub(super) fn show(show: &Show, session: &Session) -> Result<Outcome> {
    let tables = &session.tables;
    let (catalog, database) = tables.current();
    Ok(match show {
        Show::Catalogs(like) => {
            let mut names = tables.catalogs().map(String::from).collect::<Vec<_>>();
            names.sort();
            text_rows("catalog name", filtered(names, like.as_ref()))
        }
        Show::CurrentCatalog => text_rows("current catalog name", [catalog.to_string()]),
        Show::CurrentDatabase => text_rows("current database name", [database.to_string()]),
        Show::Databases(from, like) => {
            let catalog = from.as_ref().map_or(catalog.to_string(), |n| n.parts.join("."));
            let names = tables
                .catalog(&catalog)
                .map_err(|e| e.at(from.as_ref().and_then(|n| n.span)))?
                .databases()?;
            text_rows("database name", filtered(names, like.as_ref()))
        }
        Show::Tables(from, like) => {
            text_rows("table name", filtered(objects(session, from.as_ref(), None)?, like.as_ref()))
        }
        Show::Views(from, like) => text_rows(
            "view name",
            filtered(objects(session, from.as_ref(), Some(ObjectKind::View))?, like.as_ref()),
        ),
        Show::Functions { user: true, like } => {
            text_rows("function name", filtered(tables.function_names(), like.as_ref()))
        }
        Show::Functions { user: false, like } => {
            text_rows("function name", filtered(session.functions(), like.as_ref()))
        }
        Show::Modules { full } => session.modules.show(*full),
        Show::Partitions(name) => match tables.get(name)? {
            // As in Flink's catalog in memory, which knows of no partitions that a connector has made.
            (_, Object::Table(table)) if !table.partitioned_by.is_empty() => text_rows("partition name", []),
            (full, _) => {
                return Err(Error::user(format!("Table {full} is not partitioned."))
                    .with_hint("PARTITIONED BY (…) in CREATE TABLE names the columns.")
                    .at(name.span));
            }
        },
        Show::Jars => text_rows("jars", []),
        Show::Procedures(_) => text_rows("procedure name", []),
        Show::Columns(name, like) => describe::describe(name, like.as_ref(), session)?,
        Show::CreateTable(name) => match tables.get(name)? {
            (full, Object::Table(table)) => {
                text_rows("result", [sql::create_table_text(&full, &table, tables.is_temporary(&full))])
            }
            (full, Object::View(_)) => {
                return Err(Error::user(format!("SHOW CREATE TABLE is for tables, but {full} is a view."))
                    .with_hint("Write SHOW CREATE VIEW.")
                    .at(name.span));
            }
        },
        Show::CreateView(name) => match tables.get(name)? {
            (full, Object::View(view)) => {
                text_rows("result", [sql::create_view_text(&full, &view, tables.is_temporary(&full))])
            }
            (full, Object::Table(_)) => {
                return Err(Error::user(format!("SHOW CREATE VIEW is for views, but {full} is a table."))
                    .with_hint("Write SHOW CREATE TABLE.")
                    .at(name.span));
            }
        },
    })
}

fn objects(session: &Session, from: Option<&sql::Name>, kind: Option<ObjectKind>) -> Result<Vec<String>> {
    let (catalog, database) = match from {
        Some(name) => session.tables.database_name(name)?,
        None => {
            let (c, d) = session.tables.current();
            (c.to_string(), d.to_string())
        }
    };
    let objects = session.tables.objects(&catalog, &database).map_err(|e| e.at(from.and_then(|n| n.span)))?;
    Ok(objects.into_iter().filter(|(_, k)| kind.is_none_or(|kind| *k == kind)).map(|(n, _)| n).collect())
}

/// All settings that were changed, secrets hidden.
pub(super) fn settings(config: &Config) -> Outcome {
    let shown = |k: &str, v: &str| if catalog::is_secret(k) { "******".to_string() } else { v.to_string() };
    let (keys, values): (Vec<_>, Vec<_>) =
        config.entries().map(|(k, v)| (k.to_string(), shown(k, v))).unzip();
    rows(vec![("key", text(keys)), ("value", text(values))])
}

/// The entries that match a `LIKE`.
pub(super) fn filtered(names: Vec<String>, like: Option<&Pattern>) -> Vec<String> {
    names.into_iter().filter(|n| like.is_none_or(|l| l.matches(n))).collect()
}

/// A finished table of one text column.
pub(super) fn text_rows(column: &str, values: impl IntoIterator<Item = String>) -> Outcome {
    rows(vec![(column, text(values))])
}

/// A column of text.
pub(super) fn text(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A finished table.
pub(super) fn rows(columns: Vec<(&str, ArrayRef)>) -> Outcome {
    let fields = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect::<Vec<_>>();
    debug_assert!(fields.iter().all(|f| matches!(f.data_type(), DataType::Utf8 | DataType::Boolean)));
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|(_, a)| a).collect::<Vec<_>>();
    let batches = RecordBatch::try_new(schema.clone(), columns).into_iter().collect();
    Outcome::Rows { schema, batches }
}
