//! Correlated subqueries that aggregate, in the shapes that DataFusion's decorrelation takes: it groups by the inner column
//! of `inner = outer`, and knows no other way through an aggregate.
//!
//! Where something else compares, the values of the outer columns are joined into the subquery, and compared with `=`:
//! `(SELECT MAX(w) FROM b WHERE b.id < a.id)` becomes `(SELECT MAX(w) FROM (SELECT DISTINCT id FROM a) v, b WHERE b.id <
//! v.id AND v.id = a.id)`.

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result};
use datafusion_expr::logical_plan::{Aggregate, Join, JoinType, Subquery, SubqueryAlias};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator};
use std::sync::Arc;

/// Rewrites the subqueries of a plan that was just bound.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut number = 0;
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            lateral(join, &mut number)
        }
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) => {
            let Some(input) = node.inputs().first().map(|i| (*i).clone()) else {
                return Ok(Transformed::no(node));
            };
            node.map_expressions(|expr| {
                expr.transform_up(|e| match e {
                    Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => {
                        let inner = subquery.subquery.as_ref().clone();
                        let plan = rewrite(inner, &input, false, &mut number)?;
                        let changed = plan.transformed;
                        let subquery = Subquery { subquery: Arc::new(plan.data), ..subquery };
                        Ok(Transformed::new_transformed(Expr::ScalarSubquery(subquery), changed))
                    }
                    other => Ok(Transformed::no(other)),
                })
            })
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// A join with LATERAL. As in Flink, an inner one has no row for a row of the left side that no row of the subquery's
/// input belongs to, though an aggregate without GROUP BY has one for no rows.
fn lateral(join: Join, number: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let inner = join.join_type == JoinType::Inner;
    let changed = match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => {
            let plan = rewrite(subquery.subquery.as_ref().clone(), &join.left, inner, number)?;
            plan.transformed.then(|| with_plan(subquery, plan.data))
        }
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => {
                let plan = rewrite(subquery.subquery.as_ref().clone(), &join.left, inner, number)?;
                match plan.transformed {
                    true => {
                        let input = Arc::new(with_plan(subquery, plan.data));
                        Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(input, alias.alias.clone())?))
                    }
                    false => None,
                }
            }
            _ => None,
        },
        _ => None,
    };
    Ok(match changed {
        Some(right) => Transformed::yes(LogicalPlan::Join(Join { right: Arc::new(right), ..join })),
        None => Transformed::no(LogicalPlan::Join(join)),
    })
}

fn with_plan(subquery: &Subquery, plan: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Subquery(Subquery { subquery: Arc::new(plan), ..subquery.clone() })
}

/// The subquery's plan, correlated with `outer`. With `grouped`, aggregates of all rows are grouped by what they are
/// correlated by.
fn rewrite(
    plan: LogicalPlan,
    outer: &LogicalPlan,
    grouped: bool,
    number: &mut usize,
) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down(|node| match node {
        LogicalPlan::Aggregate(aggregate) => correlated_by_values(aggregate, outer, grouped, number),
        other => Ok(Transformed::no(other)),
    })
}

fn correlated_by_values(
    aggregate: Aggregate,
    outer: &LogicalPlan,
    grouped: bool,
    number: &mut usize,
) -> Result<Transformed<LogicalPlan>> {
    let (input, conditions): (&LogicalPlan, Vec<Expr>) = match aggregate.input.as_ref() {
        LogicalPlan::Filter(filter) => {
            (&filter.input, split_conjunction(&filter.predicate).into_iter().cloned().collect())
        }
        other => (other, Vec::new()),
    };
    let mut references: Vec<Expr> = Vec::new();
    let in_aggregate = aggregate.aggr_expr.iter().chain(&aggregate.group_expr);
    let other_ways = conditions.iter().filter(|c| c.contains_outer() && inner_key(c).is_none());
    for expr in other_ways.chain(in_aggregate) {
        collect(expr, &mut references);
    }
    let known = |e: &Expr| matches!(e, Expr::OuterReferenceColumn(_, c) if outer.schema().has_column(c));
    if !references.iter().all(known) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let keys: Vec<Expr> = match grouped && aggregate.group_expr.is_empty() {
        true => conditions.iter().filter_map(inner_key).collect(),
        false => Vec::new(),
    };
    if references.is_empty() && keys.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let mut input = input.clone();
    let (mut conditions, mut keys) = (conditions, keys);
    let mut replace: Vec<(Expr, Expr)> = Vec::new();
    if !references.is_empty() {
        *number += 1;
        let values = format!("$values{number}");
        let columns = references.iter().enumerate().filter_map(|(i, e)| match e {
            Expr::OuterReferenceColumn(_, c) => Some(Expr::Column(c.clone()).alias(format!("$v{i}"))),
            _ => None,
        });
        let distinct = LogicalPlanBuilder::from(outer.clone())
            .project(columns)?
            .distinct()?
            .alias(values.as_str())?
            .build()?;
        for (i, reference) in references.iter().enumerate() {
            let column = Expr::Column(Column::new(Some(values.as_str()), format!("$v{i}")));
            replace.push((reference.clone(), column));
        }
        input = LogicalPlanBuilder::from(distinct).cross_join(input)?.build()?;
        // What was compared with `=` goes on being so.
        for condition in &mut conditions {
            if inner_key(condition).is_none() {
                *condition = replaced(condition.clone(), &replace)?;
            }
        }
        conditions.extend(replace.iter().map(|(reference, column)| column.clone().eq(reference.clone())));
        if grouped && aggregate.group_expr.is_empty() {
            keys.extend(replace.iter().map(|(_, column)| column.clone()));
        }
    }
    let mut builder = LogicalPlanBuilder::from(input);
    if let Some(predicate) = conjunction(conditions) {
        builder = builder.filter(predicate)?;
    }
    let group = aggregate.group_expr.iter().map(|e| replaced(e.clone(), &replace));
    let group = group.chain(keys.into_iter().map(Ok)).collect::<Result<Vec<_>>>()?;
    let calls = aggregate.aggr_expr.iter().map(|e| {
        let name = e.schema_name().to_string();
        let call = replaced(e.clone(), &replace)?;
        Ok(if call.schema_name().to_string() == name { call } else { call.alias(name) })
    });
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(builder.build()?), group, calls)?);
    Ok(Transformed::new(plan, true, datafusion_common::tree_node::TreeNodeRecursion::Jump))
}

fn collect(expr: &Expr, references: &mut Vec<Expr>) {
    let _ = expr.apply(|e| {
        if matches!(e, Expr::OuterReferenceColumn(..)) && !references.contains(e) {
            references.push(e.clone());
        }
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
}

fn replaced(expr: Expr, by: &[(Expr, Expr)]) -> Result<Expr> {
    if by.is_empty() {
        return Ok(expr);
    }
    let done = expr.transform_up(|e| match by.iter().find(|(from, _)| *from == e) {
        Some((_, to)) => Ok(Transformed::yes(to.clone())),
        None => Ok(Transformed::no(e)),
    })?;
    Ok(done.data)
}

/// The inner column of `column = what the outer row gives`.
fn inner_key(condition: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let is_given = |e: &Expr| e.contains_outer() && !e.any_column_refs();
    match (left.as_ref(), right.as_ref()) {
        (column @ Expr::Column(_), given) | (given, column @ Expr::Column(_)) if is_given(given) => {
            Some(column.clone())
        }
        _ => None,
    }
}
