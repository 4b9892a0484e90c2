//! MATCH_RECOGNIZE: rows that follow each other as a pattern says.

use super::rank::sort_text;
use super::{Graph, Lowered, NewNode, check_aggregate};
use crate::error::{Error, Result};
use crate::plan::{
    AfterMatchSkip, AggregateCall, ChangelogMode, MatchExpressions, MatchRecognizeNode, MatchValue, NodeKind,
    PatternVariable, Quantifier, SortColumn, TimeAttribute,
};
use crate::planner::expressions::{columns_read, counts_rows, first_span, physical, text};
use crate::planner::nodes::{Match, MatchExpression, Value};
use crate::sql::data_type::{TimeKind, time_attribute, without_time_attribute};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{Expr, SortExpr};
use std::sync::Arc;

impl Graph<'_> {
    /// Rows that follow each other as a pattern says.
    ///
    /// Errors: an order that is not by time, an input with updates.
    pub(super) fn match_recognize(&mut self, node: &Match) -> Result<Lowered> {
        let below = self.lower(&node.input, &[])?;
        self.only_inserts(
            below.node,
            "Match Recognize",
            "Search rows as they come, before they are aggregated, or aggregate them in windows.",
        )?;
        let schema = node.input.schema();
        let (time, order) = self.match_order(&node.order, schema, &below)?;
        let names: Vec<String> = below.fields.iter().map(|f| f.name().clone()).collect();
        let input = self.exact(&below, &names)?;
        let index = |column: &Column| {
            let found = schema.maybe_index_of_column(column);
            found.ok_or_else(|| Error::internal(format!("MATCH_RECOGNIZE without its column {column}")))
        };
        let partition = node.partition.iter().map(index).collect::<Result<Vec<_>>>()?;
        let mut pattern = Vec::new();
        for (variable, ((name, quantifier), definition)) in
            node.pattern.iter().zip(&node.definitions).enumerate()
        {
            let (row_condition, match_condition) = match definition {
                Some(definition) => conditions(variable, definition, schema)?,
                None => (None, None),
            };
            pattern.push(PatternVariable {
                name: name.clone(),
                quantifier: *quantifier,
                row_condition,
                match_condition,
            });
        }
        let measures: Vec<&MatchExpression> = node.measures.iter().map(|(_, m)| m).collect();
        let measures = expressions(&measures, schema)?;
        let mut fields: Vec<Field> =
            partition.iter().map(|c| without_proctime(below.fields[*c].as_ref().clone())).collect();
        let width = node.output_schema().fields().len() - node.measures.len();
        fields.extend(
            (width..width + node.measures.len()).map(|i| node.output_schema().field(i).as_ref().clone()),
        );
        let volatile = node.measures.iter().map(|(_, m)| m).chain(node.definitions.iter().flatten());
        let volatile = volatile.into_iter().any(|e| e.expr.is_volatile());
        let text = match_text(node, &partition, &order, &names);
        let (edge, parallelism) = self.keyed(input, partition.clone());
        let id = self.add(NewNode {
            kind: NodeKind::MatchRecognize(MatchRecognizeNode {
                partition,
                time,
                order: order.into_iter().skip(1).collect(),
                pattern,
                skip: node.skip,
                within_ms: node.within_ms,
                measures,
            }),
            name: text,
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog: ChangelogMode::APPEND,
            shared: !volatile && time != TimeAttribute::Proctime,
        });
        let columns = (0..fields.len()).collect();
        Ok(Lowered { node: id, columns, fields: fields.into_iter().map(Arc::new).collect(), windowed: None })
    }

    /// The time attribute that the order begins with, and the whole order.
    fn match_order(
        &self,
        order: &[SortExpr],
        schema: &DFSchema,
        input: &Lowered,
    ) -> Result<(TimeAttribute, Vec<SortColumn>)> {
        let mut columns = Vec::new();
        for by in order {
            let index = match &by.expr {
                Expr::Column(column) => schema.maybe_index_of_column(column),
                _ => None,
            };
            let Some(column) = index else {
                return Err(Error::internal("MATCH_RECOGNIZE without a column of its order"));
            };
            columns.push(SortColumn { column, descending: !by.asc, nulls_first: by.nulls_first });
        }
        let at = order.first().and_then(|by| first_span(&by.expr));
        let Some(first) = columns.first() else {
            return Err(Error::internal("MATCH_RECOGNIZE without an order"));
        };
        let field = &input.fields[first.column];
        let time = match time_attribute(field) {
            Some(TimeKind::Rowtime) => TimeAttribute::Rowtime { column: first.column },
            Some(TimeKind::Proctime) => TimeAttribute::Proctime,
            // Bounded input needs no watermark: all rows are taken in at the end.
            None if self.context.config.is_batch()
                && matches!(field.data_type(), DataType::Timestamp(..)) =>
            {
                TimeAttribute::Rowtime { column: first.column }
            }
            None => {
                return Err(Error::user(
                    "You must specify either rowtime or proctime for order by as the first one.",
                )
                .with_hint(
                    "ORDER BY the event time (WATERMARK FOR ts … in CREATE TABLE) or a column p AS PROCTIME() first.",
                )
                .at(at));
            }
        };
        if first.descending {
            return Err(Error::user("Primary sort order of a streaming table must be ascending on time.")
                .with_hint("Leave out DESC.")
                .at(at));
        }
        Ok((time, columns))
    }
}

/// Processing time of the input is no time of matches.
fn without_proctime(field: Field) -> Field {
    match time_attribute(&field) {
        Some(TimeKind::Proctime) => without_time_attribute(field),
        _ => field,
    }
}

type RowCondition = Option<Arc<dyn datafusion_physical_expr::PhysicalExpr>>;

/// The condition of variable `variable`, parted into what is of the row alone and what looks at rows before.
fn conditions(
    variable: usize,
    definition: &MatchExpression,
    input: &DFSchema,
) -> Result<(RowCondition, Option<MatchExpressions>)> {
    let of_row = |value: &Value| match value {
        Value::Row { variable: of, column, first: false, offset: 0 } if of.is_none_or(|v| v == variable) => {
            input.maybe_index_of_column(column)
        }
        _ => None,
    };
    // For each value the column that it is in the row at hand.
    let columns: Vec<Option<usize>> = definition.values.iter().map(of_row).collect();
    let alone = |e: &Expr| columns_read([e], &definition.schema).iter().all(|i| columns[*i].is_some());
    let (row, others): (Vec<Expr>, Vec<Expr>) =
        split_conjunction(&definition.expr).into_iter().cloned().partition(|e| alone(e));
    let row = match conjunction(row) {
        Some(condition) => {
            let places: Vec<usize> = columns.iter().map(|c| c.unwrap_or_default()).collect();
            Some(physical(&condition, &definition.schema, &places)?)
        }
        None => None,
    };
    let others = match conjunction(others) {
        Some(expr) => {
            let rest = MatchExpression { expr, ..definition.clone() };
            Some(expressions(&[&rest], input)?)
        }
        None => None,
    };
    Ok((row, others))
}

/// The expressions with all values that they read, each once.
fn expressions(all: &[&MatchExpression], input: &DFSchema) -> Result<MatchExpressions> {
    let mut known: Vec<&Value> = Vec::new();
    let (mut values, mut fields, mut bound) = (Vec::new(), Vec::<Field>::new(), Vec::new());
    for expression in all {
        let read = columns_read([&expression.expr], &expression.schema);
        let mut places = Vec::new();
        for (index, value) in expression.values.iter().enumerate() {
            if !read.contains(&index) {
                places.push(0);
                continue;
            }
            let place = match known.iter().position(|k| *k == value) {
                Some(place) => place,
                None => {
                    known.push(value);
                    let field = expression.schema.field(index).as_ref().clone();
                    values.push(lowered(value, &field, input)?);
                    fields.push(field);
                    known.len() - 1
                }
            };
            places.push(place);
        }
        bound.push(physical(&expression.expr, &expression.schema, &places)?);
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    Ok(MatchExpressions { values, schema, expressions: bound })
}

fn lowered(value: &Value, field: &Field, input: &DFSchema) -> Result<MatchValue> {
    Ok(match value {
        Value::Row { variable, column, first, offset } => {
            let Some(column) = input.maybe_index_of_column(column) else {
                return Err(Error::internal(format!("MATCH_RECOGNIZE without its column {column}")));
            };
            MatchValue::Row { variable: *variable, column, first: *first, offset: *offset }
        }
        Value::Aggregate { variable, call } => {
            let function = call.func.name().to_lowercase();
            let at = call.params.args.iter().find_map(first_span);
            check_aggregate(&function, &call.params.args, !call.params.order_by.is_empty(), at)?;
            let all: Vec<usize> = (0..input.fields().len()).collect();
            let arguments = match counts_rows(call) {
                true => Vec::new(),
                false => {
                    call.params.args.iter().map(|a| physical(a, input, &all)).collect::<Result<Vec<_>>>()?
                }
            };
            MatchValue::Aggregate {
                variable: *variable,
                call: AggregateCall {
                    function,
                    arguments: (0..arguments.len()).collect(),
                    distinct: false,
                    filter: None,
                    monotone: false,
                    data_type: field.data_type().clone(),
                    name: field.name().clone(),
                },
                arguments,
            }
        }
        Value::Rowtime => MatchValue::Rowtime,
    })
}

/// The line of EXPLAIN.
fn match_text(node: &Match, partition: &[usize], order: &[SortColumn], names: &[String]) -> String {
    let mut parts = Vec::new();
    if !partition.is_empty() {
        let keys: Vec<&str> = partition.iter().map(|c| names[*c].as_str()).collect();
        parts.push(format!("partitionBy=[{}]", keys.join(", ")));
    }
    parts.push(format!("orderBy=[{}]", sort_text(order, names)));
    let measures: Vec<String> =
        node.measures.iter().map(|(name, m)| format!("FINAL({}) AS {name}", text(&m.expr))).collect();
    parts.push(format!("measures=[{}]", measures.join(", ")));
    parts.push("rowsPerMatch=[ONE ROW PER MATCH]".into());
    let variable = |index: usize| node.pattern[index].0.as_str();
    let skip = match node.skip {
        AfterMatchSkip::PastLastRow => "SKIP PAST LAST ROW".to_string(),
        AfterMatchSkip::ToNextRow => "SKIP TO NEXT ROW".to_string(),
        AfterMatchSkip::ToFirst(v) => format!("SKIP TO FIRST {}", variable(v)),
        AfterMatchSkip::ToLast(v) => format!("SKIP TO LAST {}", variable(v)),
    };
    parts.push(format!("after=[{skip}]"));
    let pattern: Vec<String> =
        node.pattern.iter().map(|(n, q)| format!("{n}{}", quantifier_text(*q))).collect();
    parts.push(format!("pattern=[({})]", pattern.join(" ")));
    if node.within_ms > 0 {
        parts.push(format!("within=[{}:INTERVAL]", node.within_ms));
    }
    let define: Vec<String> = node
        .pattern
        .iter()
        .zip(&node.definitions)
        .filter_map(|((name, _), d)| d.as_ref().map(|d| format!("{name}={}", text(&d.expr))))
        .collect();
    parts.push(format!("define=[{{{}}}]", define.join(", ")));
    format!("Match({})", parts.join(", "))
}

fn quantifier_text(quantifier: Quantifier) -> String {
    let Quantifier { min, max, greedy } = quantifier;
    let times = match (min, max) {
        (1, Some(1)) => return String::new(),
        (0, Some(1)) => return "?".into(),
        (0, None) => "*".to_string(),
        (1, None) => "+".to_string(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) if min == max => return format!("{{{min}}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    };
    times + if greedy { "" } else { "?" }
}
