//! Subqueries that stand for a value: one that may give several rows is aggregated with SINGLE_VALUE, which fails on a second
//! row, as in Flink; and one in ORDER BY becomes a column of a projection below.

use crate::functions::FunctionRegistry;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::logical_plan::{Limit, Projection, Sort, Subquery};
use datafusion_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, SortExpr};
use std::sync::Arc;

/// Rewrites every such subquery of a plan that was just bound.
pub fn apply(plan: LogicalPlan, functions: &FunctionRegistry) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(sorted)?.data;
    let Some(single) = functions.aggregate("single_value") else { return Ok(plan) };
    let rewritten = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|e| match e {
                Expr::ScalarSubquery(subquery) if may_have_more(&subquery) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(aggregated(subquery, &single)?)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(rewritten.data)
}

/// Whether the subquery may give more than one row. Of a correlated one only what joins and filters is looked at: grouped by
/// hand it gives one row for each outer row.
fn may_have_more(subquery: &Subquery) -> bool {
    let plain = |plan: &LogicalPlan| {
        let other = plan.exists(|node| {
            Ok(!matches!(
                node,
                LogicalPlan::Projection(_)
                    | LogicalPlan::Filter(_)
                    | LogicalPlan::Join(_)
                    | LogicalPlan::Distinct(_)
                    | LogicalPlan::SubqueryAlias(_)
                    | LogicalPlan::TableScan(_)
                    | LogicalPlan::Values(_)
            ))
        });
        !other.unwrap_or(true)
    };
    subquery.subquery.max_rows().is_none_or(|most| most > 1)
        && (subquery.outer_ref_columns.is_empty() || plain(&subquery.subquery))
}

/// What the only column is called, unlike any other.
const VALUE: &str = "$value";

fn aggregated(subquery: Subquery, single: &Arc<AggregateUDF>) -> Result<Subquery> {
    let plan = Arc::unwrap_or_clone(subquery.subquery);
    let Some(value) = plan.schema().columns().into_iter().next() else {
        return Ok(Subquery { subquery: Arc::new(plan), ..subquery });
    };
    let call = AggregateFunction::new_udf(
        Arc::clone(single),
        vec![Expr::Column(value)],
        false,
        None,
        Vec::new(),
        None,
    );
    let call = Expr::AggregateFunction(call);
    let column = Column::new_unqualified(call.schema_name().to_string());
    let plan = LogicalPlanBuilder::from(plan)
        .aggregate(Vec::<Expr>::new(), vec![call])?
        .project(vec![Expr::Column(column).alias(VALUE)])?
        .build()?;
    Ok(Subquery { subquery: Arc::new(plan), ..subquery })
}

fn sorted(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Limit(limit) => match limit.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.expr.iter().any(has_subquery) => {
                let (input, columns) = with_columns(sort)?;
                let plan = LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit });
                Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
            }
            _ => Ok(Transformed::no(LogicalPlan::Limit(limit))),
        },
        LogicalPlan::Sort(sort) if sort.expr.iter().any(has_subquery) => {
            let (plan, columns) = with_columns(&sort)?;
            Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn has_subquery(sort: &SortExpr) -> bool {
    sort.expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_)))).unwrap_or(false)
}

/// The sort with its subqueries as columns below, and the columns that it had.
fn with_columns(sort: &Sort) -> Result<(LogicalPlan, Vec<Expr>)> {
    let columns: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut below = columns.clone();
    let mut order = Vec::with_capacity(sort.expr.len());
    for (i, item) in sort.expr.iter().enumerate() {
        if !has_subquery(item) {
            order.push(item.clone());
            continue;
        }
        let name = format!("$order{i}");
        below.push(item.expr.clone().alias(&name));
        order.push(SortExpr { expr: Expr::Column(Column::new_unqualified(name)), ..item.clone() });
    }
    let input = Projection::try_new(below, Arc::clone(&sort.input))?;
    let input = Arc::new(LogicalPlan::Projection(input));
    Ok((LogicalPlan::Sort(Sort { expr: order, input, fetch: sort.fetch }), columns))
}
