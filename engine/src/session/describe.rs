//! `DESCRIBE` and `SHOW COLUMNS`: a table's columns as Flink shows them.

use super::show::{rows, text};
use super::{Session, planner};
use crate::error::Result;
use crate::outcome::Outcome;
use crate::sql::{self, Name, Pattern, describe_type};
use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::datatypes::Field;
use catalog::{ColumnKind, Object, TableDefinition};
use std::sync::Arc;

/// One line for each column: name, type, nullability, key, extras, watermark, and comment where there is one.
pub(super) fn describe(name: &Name, like: Option<&Pattern>, session: &Session) -> Result<Outcome> {
    let (full, object) = session.tables.get(name)?;
    let context = session.context();
    let (schema, table) = match object {
        Object::Table(table) => (planner::resolve_table(&full, &table, &context)?.schema, Some(table)),
        Object::View(_) => {
            let query = sql::parse_query(&format!("SELECT * FROM {}", full.quoted()))?;
            (planner::query_schema(&query, &context)?, None)
        }
    };
    let fields =
        schema.fields().iter().filter(|f| like.is_none_or(|l| l.matches(f.name()))).collect::<Vec<_>>();
    let column = |of: &dyn Fn(&Field) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(fields.iter().map(|f| of(f))))
    };
    let table = table.as_ref();
    let mut columns = vec![
        ("name", text(fields.iter().map(|f| f.name().clone()))),
        ("type", text(fields.iter().map(|f| type_text(f)))),
        ("null", Arc::new(BooleanArray::from_iter(fields.iter().map(|f| Some(f.is_nullable())))) as ArrayRef),
        ("key", column(&|f| table.and_then(|t| key(t, f.name())))),
        ("extras", column(&|f| table.and_then(|t| extras(t, f.name())))),
        ("watermark", column(&|f| table.and_then(|t| watermark(t, f.name())))),
    ];
    let comment = |f: &Field| table.and_then(|t| find(t, f.name())).and_then(|c| c.comment.clone());
    // A column that LIKE leaves out counts as well.
    if schema.fields().iter().any(|f| comment(f).is_some()) {
        columns.push(("comment", column(&comment)));
    }
    Ok(rows(columns))
}

fn find<'a>(table: &'a TableDefinition, name: &str) -> Option<&'a catalog::ColumnDefinition> {
    table.columns.iter().find(|c| c.name == name)
}

/// A column's type with its time attribute; nullability stands in a column of its own.
fn type_text(field: &Field) -> String {
    describe_type(&field.clone().with_nullable(true))
}

fn key(table: &TableDefinition, column: &str) -> Option<String> {
    let key = table.primary_key.as_ref()?;
    key.columns.iter().any(|c| c == column).then(|| format!("PRI({})", key.columns.join(", ")))
}

fn extras(table: &TableDefinition, column: &str) -> Option<String> {
    match &find(table, column)?.kind {
        ColumnKind::Physical { .. } => None,
        ColumnKind::Computed { expression } => Some(format!("AS {}", sql::quoted_expression(expression))),
        ColumnKind::Metadata { key, is_virtual, .. } => {
            let from = key.as_ref().map_or_else(String::new, |k| format!(" FROM '{k}'"));
            Some(format!("METADATA{from}{}", if *is_virtual { " VIRTUAL" } else { "" }))
        }
    }
}

fn watermark(table: &TableDefinition, column: &str) -> Option<String> {
    let watermark = table.watermark.as_ref().filter(|w| w.column == column)?;
    Some(sql::quoted_expression(&watermark.expression))
}
