//! INSERT: the query's columns to the sink's, by position, with implicit casts only.

use super::PlannerContext;
use super::diagnostics::{did_you_mean, translate};
use super::lower::SinkTarget;
use super::resolver::Resolver;
use super::rules;
use super::table::{Kind, Table};
use crate::error::{Error, Result};
use crate::functions::cast_expr;
use crate::sql::data_type::describe_type;
use crate::sql::{Insert, SqlType};
use arrow::datatypes::Field;
use catalog::{Object, ObjectName};
use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};

/// A bound INSERT: the plan gives the sink's columns.
pub(super) struct Bound {
    pub plan: LogicalPlan,
    pub table: ObjectName,
    pub target: SinkTarget,
}

/// What a column of the sink gets.
enum Given {
    /// Column of the query.
    Query(usize),
    /// Value of `PARTITION (k = v)`, as the literal's text.
    Static(String),
    /// Nothing: NULL.
    Nothing,
}

/// Binds `insert`.
///
/// Errors: no such table, a view, columns that do not match, with Flink's words.
pub(super) fn bind(insert: &Insert, context: &PlannerContext<'_>) -> Result<Bound> {
    let at = insert.table.span;
    let (name, definition) = match context.tables.find(&insert.table.parts)? {
        Some((name, Object::Table(definition))) => (name, definition),
        Some((name, Object::View(_))) => {
            return Err(Error::user(format!("'{name}' is a view: INSERT needs a table.")).at(at));
        }
        None => {
            let wanted = insert.table.parts.join(".");
            let names = context.tables.names();
            let names: Vec<&str> = names.iter().map(|n| n.object.as_str()).collect();
            let word = insert.table.parts.last().map(String::as_str).unwrap_or_default();
            return Err(Error::user(format!("Cannot find table '{wanted}' in any of the catalogs."))
                .with_hint(did_you_mean(word, &names))
                .at(at));
        }
    };
    if insert.overwrite && !context.config.is_batch() {
        return Err(Error::user("INSERT OVERWRITE requires batch mode; streaming mode cannot overwrite.")
            .with_hint("Write INSERT INTO, or SET 'execution.runtime-mode' = 'batch'.")
            .at(at));
    }
    if insert.overwrite {
        return Err(Error::unsupported(
            "INSERT OVERWRITE",
            "Empty the target yourself and write INSERT INTO.",
        )
        .at(at));
    }
    let hints = (!insert.options.is_empty()).then_some(&insert.options);
    if hints.is_some() && !context.config.boolean("table.dynamic-table-options.enabled") {
        return Err(Error::user(
            "The OPTIONS hint is allowed only when 'table.dynamic-table-options.enabled' is true.",
        )
        .at(at));
    }
    let table = Table::resolve(&name, &definition, hints, context).map_err(|e| e.at(at))?;
    let resolver = Resolver::for_query(context, &insert.query)?;
    let query = resolver.query(&insert.query)?;
    let query = rules::typed(query).map_err(|e| translate(e, &[]))?;
    // In the order of declaration: physical columns and metadata that is not virtual.
    let columns: Vec<&super::table::Column> = table
        .columns
        .iter()
        .filter(|c| matches!(c.kind, Kind::Physical | Kind::Metadata { is_virtual: false, .. }))
        .collect();
    let given = assign(insert, &name, &columns, &query)?;
    let (sink, keys) = table.sink(context).map_err(|e| e.at(at))?;
    check_types(insert, &name, &columns, &given, &query)?;
    // The sink takes physical columns first, then metadata in the connector's types.
    let order = (0..columns.len()).filter(|i| matches!(columns[*i].kind, Kind::Physical));
    let order: Vec<usize> = order
        .chain((0..columns.len()).filter(|i| matches!(columns[*i].kind, Kind::Metadata { .. })))
        .collect();
    let zone = context.config.zone();
    let mut exprs = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    for index in order {
        let column = columns[index];
        let field = crate::sql::data_type::without_time_attribute(column.field.as_ref().clone());
        let target = match &column.kind {
            Kind::Metadata { key, .. } => match keys.iter().find(|(k, _)| k == key) {
                Some((_, given)) => {
                    given.as_ref().clone().with_name(field.name()).with_nullable(field.is_nullable())
                }
                None => field.clone(),
            },
            _ => field.clone(),
        };
        let expr = match &given[index] {
            Given::Query(i) => {
                let column = Expr::Column(query.schema().columns()[*i].clone());
                let have = column.get_type(query.schema()).map_err(|e| translate(e, &[]))?;
                let through =
                    if have == *field.data_type() { column } else { cast_expr(column, &field, false, zone) };
                if field.data_type() == target.data_type() {
                    through
                } else {
                    cast_expr(through, &target, false, zone)
                }
            }
            Given::Static(value) => {
                cast_expr(Expr::Literal(ScalarValue::Utf8(Some(value.clone())), None), &target, false, zone)
            }
            Given::Nothing => cast(Expr::Literal(ScalarValue::Null, None), target.data_type().clone()),
        };
        exprs.push(expr.alias(field.name()));
        fields.push(target);
    }
    let plan = LogicalPlanBuilder::from(query)
        .project(exprs)
        .and_then(|b| b.build())
        .map_err(|e| translate(e, &[]))?;
    let key = table.definition.primary_key.as_ref().map(|k| k.columns.as_slice()).unwrap_or_default();
    let primary_key = key.iter().filter_map(|k| fields.iter().position(|f| f.name() == k)).collect();
    let target = SinkTarget { table: name.to_string(), sink, fields, primary_key, is_table: true };
    Ok(Bound { plan, table: name, target })
}

/// What each column of the sink gets.
fn assign(
    insert: &Insert,
    name: &ObjectName,
    columns: &[&super::table::Column],
    query: &LogicalPlan,
) -> Result<Vec<Given>> {
    let position = |wanted: &str, span: Option<crate::error::Span>| {
        columns.iter().position(|c| c.field.name() == wanted).ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|c| c.field.name().as_str()).collect();
            Error::user(format!("Unknown target column '{wanted}' of table '{name}'."))
                .with_hint(did_you_mean(wanted, &names))
                .at(span)
        })
    };
    let mut given: Vec<Given> = columns.iter().map(|_| Given::Nothing).collect();
    for (key, value) in &insert.partition {
        given[position(key, insert.table.span)?] = Given::Static(unquoted(value));
    }
    let targets: Vec<usize> = if insert.columns.is_empty() {
        (0..columns.len()).filter(|i| !matches!(given[*i], Given::Static(_))).collect()
    } else {
        let mut targets = Vec::new();
        for (column, span) in &insert.columns {
            let index = position(column, *span)?;
            if targets.contains(&index) {
                return Err(
                    Error::user(format!("Target column '{column}' is assigned more than once.")).at(*span)
                );
            }
            targets.push(index);
        }
        targets
    };
    if query.schema().fields().len() != targets.len() {
        let sink: Vec<&Field> = targets.iter().map(|i| columns[*i].field.as_ref()).collect();
        return Err(mismatch(name, "Different number of columns.", query, &sink).at(insert.table.span));
    }
    for (source, target) in targets.into_iter().enumerate() {
        given[target] = Given::Query(source);
    }
    for (column, given) in columns.iter().zip(&given) {
        if matches!(given, Given::Nothing) && !column.field.is_nullable() {
            return Err(Error::user(format!(
                "Column '{}' of table '{name}' is NOT NULL, but INSERT gives it no value.",
                column.field.name()
            ))
            .with_hint("Name it in the column list, or declare it without NOT NULL.")
            .at(insert.table.span));
        }
    }
    Ok(given)
}

fn check_types(
    insert: &Insert,
    name: &ObjectName,
    columns: &[&super::table::Column],
    given: &[Given],
    query: &LogicalPlan,
) -> Result<()> {
    let targets: Vec<(usize, usize)> = given
        .iter()
        .enumerate()
        .filter_map(|(i, g)| match g {
            Given::Query(q) => Some((*q, i)),
            _ => None,
        })
        .collect();
    for (source, target) in &targets {
        let (have, want) = (query.schema().field(*source), &columns[*target].field);
        let (from, to) = (SqlType::of(have), SqlType::of(want));
        if !from.casts_implicitly_to(&to) {
            let cause = format!("Incompatible types for sink column '{}' at position {source}.", want.name());
            let mut by_source = targets.clone();
            by_source.sort_unstable();
            let sink: Vec<&Field> = by_source.iter().map(|(_, t)| columns[*t].field.as_ref()).collect();
            let hint = format!("Write CAST({} AS {to}).", catalog::quote_identifier(have.name()));
            return Err(mismatch(name, &cause, query, &sink).with_hint(hint).at(insert.table.span));
        }
    }
    Ok(())
}

/// Flink's text for columns that do not match.
fn mismatch(name: &ObjectName, cause: &str, query: &LogicalPlan, sink: &[&Field]) -> Error {
    let list = |fields: &mut dyn Iterator<Item = &Field>| {
        fields.map(|f| format!("{}: {}", f.name(), plain_type(f))).collect::<Vec<_>>().join(", ")
    };
    Error::user(format!(
        "Column types of query result and sink for '{name}' do not match.\nCause: {cause}\n\nQuery schema: [{}]\nSink schema:  [{}]",
        list(&mut query.schema().fields().iter().map(AsRef::as_ref)),
        list(&mut sink.iter().copied())
    ))
}

fn plain_type(field: &Field) -> String {
    describe_type(&crate::sql::data_type::without_time_attribute(field.clone()))
}

/// The value of a literal's text.
fn unquoted(literal: &str) -> String {
    match literal.strip_prefix('\'').and_then(|l| l.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => literal.to_string(),
    }
}
