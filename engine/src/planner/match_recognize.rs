//! Binds MATCH_RECOGNIZE: the pattern, and expressions over rows of its variables. What Flink refuses is refused, mostly
//! in its words.

mod pattern;
mod values;

use super::diagnostics::{carry, did_you_mean, span};
use super::nodes::{Clauses, Match};
use super::relations::interval_ms;
use crate::error::{Error, Span};
use crate::plan::AfterMatchSkip;
use arrow::datatypes::{DataType, FieldRef};
use chrono_tz::Tz;
use datafusion_common::{DFSchema, Result};
use datafusion_expr::planner::RelationPlannerContext;
use datafusion_expr::{Expr, Extension, LogicalPlan, SortExpr};
use datafusion_sql::sqlparser::ast::{
    self, Ident, Measure, RowsPerMatch, Spanned, SymbolDefinition, TableFactor,
};
use pattern::Variable;
use std::collections::HashMap;
use std::sync::Arc;
use values::{Binder, Clause};

/// Under this name the token pass puts WITHIN among the definitions.
const WITHIN: &str = "__WITHIN";

fn refuse<T>(error: Error) -> Result<T> {
    Err(carry(error))
}

/// Plans `factor`, if it is MATCH_RECOGNIZE; `zone` is the session's. The alias is the caller's.
pub(super) fn plan(
    factor: TableFactor,
    zone: Tz,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let TableFactor::MatchRecognize {
        table,
        partition_by,
        order_by,
        measures,
        rows_per_match,
        after_match_skip,
        pattern,
        symbols,
        alias: _,
    } = factor
    else {
        return refuse(Error::internal("MATCH_RECOGNIZE was expected."));
    };
    let at = span(pattern.span()).or_else(|| span(table.span()));
    let variables = pattern::variables(&pattern).map_err(|e| carry(e.at(at)))?;
    if let Some(RowsPerMatch::AllRows(_)) = rows_per_match {
        return refuse(
            Error::user("All rows per match mode is not supported yet.")
                .with_hint("Write ONE ROW PER MATCH, and what you need of the rows as MEASURES.")
                .at(at),
        );
    }
    let input = context.plan(*table)?;
    let schema = Arc::clone(input.schema());
    let mut partition = Vec::new();
    for key in partition_by {
        let at = span(key.span());
        match context.sql_to_expr(key, &schema)? {
            Expr::Column(column) => partition.push(column),
            _ => {
                return refuse(
                    Error::user("PARTITION BY of MATCH_RECOGNIZE takes columns, not expressions.")
                        .with_hint("Compute it before: FROM (SELECT *, UPPER(k) AS u FROM t) MATCH_RECOGNIZE (PARTITION BY u …).")
                        .at(at),
                );
            }
        }
    }
    let order = order(order_by, &schema, context, at)?;
    let (definitions, within_ms) = definitions(symbols, context)?;
    let skip = skip(after_match_skip, &variables)?;
    let mut binder = Binder::new(&variables, &schema, zone, context);
    let mut bound = vec![None; variables.len()];
    for (name, definition) in definitions {
        // As in Flink, what is not in the pattern does not matter.
        let Some(variable) = variables.iter().position(|v| v.name.value == name) else { continue };
        let at = span(definition.span());
        let expression = binder.expression(definition, Clause::Define(variable))?;
        let field = super::expressions::field_of(&expression.expr, &expression.schema, None)?;
        if *field.data_type() != DataType::Boolean {
            return refuse(
                Error::user("DEFINE clause must be a condition.")
                    .with_hint(format!("Compare it: {name} AS {name}.price > 10."))
                    .at(at),
            );
        }
        bound[variable] = Some(expression);
    }
    let measures = measured(measures, &partition, &mut binder, at)?;
    let clauses = Clauses {
        partition,
        order,
        pattern: variables.iter().map(|v| (v.name.value.clone(), v.quantifier)).collect(),
        definitions: bound,
        measures,
        skip,
        within_ms,
    };
    let node = Match::try_new(input, clauses)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// ORDER BY: columns. Whether they suit is seen when the plan is lowered.
fn order(
    order_by: Vec<ast::OrderByExpr>,
    schema: &DFSchema,
    context: &mut dyn RelationPlannerContext,
    at: Option<Span>,
) -> Result<Vec<SortExpr>> {
    if order_by.is_empty() {
        return refuse(
            Error::user("You must specify either rowtime or proctime for order by.")
                .with_hint("Write ORDER BY ts before MEASURES, with the event time of the table (WATERMARK FOR ts …).")
                .at(at),
        );
    }
    let mut order = Vec::new();
    for by in order_by {
        let at = span(by.expr.span());
        let asc = by.options.asc.unwrap_or(true);
        let expr = context.sql_to_expr(by.expr, schema)?;
        if !matches!(expr, Expr::Column(_)) {
            return refuse(
                Error::user("ORDER BY of MATCH_RECOGNIZE takes columns, not expressions.")
                    .with_hint("Compute it in a subquery before MATCH_RECOGNIZE.")
                    .at(at),
            );
        }
        // NULLs come first where the order ascends, as everywhere in Flink.
        order.push(SortExpr::new(expr, asc, by.options.nulls_first.unwrap_or(asc)));
    }
    Ok(order)
}

/// DEFINE by variable, and WITHIN in milliseconds.
fn definitions(
    symbols: Vec<SymbolDefinition>,
    context: &mut dyn RelationPlannerContext,
) -> Result<(Vec<(String, ast::Expr)>, i64)> {
    let mut within = 0;
    let mut known: HashMap<String, Span> = HashMap::new();
    let mut definitions = Vec::new();
    for SymbolDefinition { symbol, definition } in symbols {
        if symbol.value == WITHIN {
            let at = span(definition.span()).or_else(|| span(symbol.span));
            let expr = context.sql_to_expr(definition, &DFSchema::empty())?;
            within = match interval_ms(&expr) {
                Ok(ms) if ms >= 0 => ms,
                _ => {
                    return refuse(
                        Error::user(
                            "Only constant intervals with millisecond resolution are supported as time constraints of patterns.",
                        )
                        .with_hint("Write WITHIN INTERVAL '1' HOUR; months and years have no fixed length.")
                        .at(at),
                    );
                }
            };
            continue;
        }
        let at = span(symbol.span);
        if let Some(place) = at
            && known.insert(symbol.value.clone(), place).is_some()
        {
            return refuse(
                Error::user(format!("Pattern variable '{}' has already been defined.", symbol.value))
                    .with_hint("Join the conditions with AND.")
                    .at(at),
            );
        }
        definitions.push((symbol.value, definition));
    }
    Ok((definitions, within))
}

fn skip(after: Option<ast::AfterMatchSkip>, variables: &[Variable]) -> Result<AfterMatchSkip> {
    let place = |variable: Ident| match variables.iter().position(|v| v.name.value == variable.value) {
        Some(index) => Ok(index),
        None => {
            let names: Vec<&str> = variables.iter().map(|v| v.name.value.as_str()).collect();
            refuse(
                Error::user(format!("Unknown pattern '{}'.", variable.value))
                    .with_hint(match did_you_mean(&variable.value, &names) {
                        hint if hint.is_empty() => format!("The pattern has {}.", names.join(", ")),
                        hint => hint,
                    })
                    .at(span(variable.span)),
            )
        }
    };
    Ok(match after {
        // Flink's documents say PAST LAST ROW, Flink does this.
        None | Some(ast::AfterMatchSkip::ToNextRow) => AfterMatchSkip::ToNextRow,
        Some(ast::AfterMatchSkip::PastLastRow) => AfterMatchSkip::PastLastRow,
        Some(ast::AfterMatchSkip::ToFirst(variable)) => AfterMatchSkip::ToFirst(place(variable)?),
        Some(ast::AfterMatchSkip::ToLast(variable)) => AfterMatchSkip::ToLast(place(variable)?),
    })
}

/// MEASURES, bound, with the fields of the output.
fn measured(
    measures: Vec<Measure>,
    partition: &[datafusion_common::Column],
    binder: &mut Binder<'_>,
    at: Option<Span>,
) -> Result<Vec<(FieldRef, super::nodes::MatchExpression)>> {
    if measures.is_empty() {
        return refuse(
            Error::user("MATCH_RECOGNIZE without MEASURES tells nothing of a match.")
                .with_hint("Write MEASURES A.price AS price before PATTERN.")
                .at(at),
        );
    }
    let mut names: Vec<String> = partition.iter().map(|c| c.name.clone()).collect();
    let mut bound = Vec::new();
    for Measure { expr, alias } in measures {
        if names.contains(&alias.value) {
            return refuse(
                Error::user(format!("Columns ambiguously defined: {{{}}}", alias.value))
                    .with_hint("The columns of PARTITION BY come first in the result: give the measure another name.")
                    .at(span(alias.span)),
            );
        }
        let expression = binder.expression(expr, Clause::Measures)?;
        let field = super::expressions::field_of(&expression.expr, &expression.schema, None)?;
        bound.push((Arc::new(field.with_name(&alias.value)) as FieldRef, expression));
        names.push(alias.value);
    }
    Ok(bound)
}
