//! `(a, b) IN (SELECT x, y …)`, which is bound as a comparison of ROWs, becomes EXISTS with a condition for each part.

use crate::planner::expressions::unalias;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, ExprSchema, Result, ScalarValue};
use datafusion_expr::expr::{Exists, InSubquery};
use datafusion_expr::logical_plan::{Filter, Projection, Subquery};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit, when};
use std::sync::Arc;

/// Rewrites every such predicate of a plan that was just bound.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        if !node.expressions().iter().any(has_row_in) {
            return Ok(Transformed::no(node));
        }
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        match node {
            LogicalPlan::Filter(filter) => {
                let parts = split_conjunction_owned(filter.predicate).into_iter();
                let parts = parts.map(|part| whole_conjunct(part, &schema)).collect::<Result<Vec<_>>>()?;
                let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
                Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
            }
            other => other.map_expressions(|expr| Ok(Transformed::yes(embedded(expr, &schema)?))),
        }
    })?;
    Ok(rewritten.data)
}

fn has_row_in(expr: &Expr) -> bool {
    let is_row_in = |e: &Expr| matches!(e, Expr::InSubquery(i) if row(&i.expr).is_some());
    expr.exists(|e| Ok(is_row_in(e))).unwrap_or(false)
}

/// The parts of a ROW that is written out.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match unalias(expr) {
        Expr::ScalarFunction(call) if call.name() == "row" => Some(&call.args),
        _ => None,
    }
}

/// A predicate that is all of WHERE, or stands beside AND: FALSE and NULL are alike.
fn whole_conjunct(part: Expr, schema: &DFSchema) -> Result<Expr> {
    match part {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if row(&expr).is_some() => {
            exists(&expr, &subquery, negated, negated, schema)
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) if row(&expr).is_some() => {
                exists(&expr, &subquery, !negated, !negated, schema)
            }
            other => embedded(Expr::Not(Box::new(other)), schema),
        },
        other => embedded(other, schema),
    }
}

/// Elsewhere: TRUE, FALSE or NULL.
fn embedded(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewritten = expr.transform_up(|e| match e {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if row(&expr).is_some() => {
            let surely = exists(&expr, &subquery, false, false, schema)?;
            let perhaps = exists(&expr, &subquery, true, false, schema)?;
            let value = when(surely, lit(!negated))
                .when(perhaps, Expr::Literal(ScalarValue::Boolean(None), None))
                .otherwise(lit(negated))?;
            Ok(Transformed::yes(value))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// Whether the subquery has a row equal to `left`; with `perhaps` one of which it cannot be said that it is not.
fn exists(left: &Expr, subquery: &Subquery, perhaps: bool, negated: bool, schema: &DFSchema) -> Result<Expr> {
    let lefts = row(left).unwrap_or_default();
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else {
        return datafusion_common::plan_err!("IN of a ROW and a subquery of other columns");
    };
    let rights = projection.expr.first().and_then(row).unwrap_or_default();
    let mut outer = subquery.outer_ref_columns.clone();
    // Without an alias, columns of the same table outside would be taken for these.
    let (input, rights) = match outer.is_empty() {
        true => aliased(projection, rights)?,
        false => (projection.input.as_ref().clone(), rights.to_vec()),
    };
    let mut conditions: Vec<Expr> = Vec::new();
    for (left, right) in lefts.iter().zip(&rights) {
        let left = from_inside(left.clone(), schema, &mut outer)?;
        let mut condition = left.clone().eq(right.clone());
        if perhaps {
            if right.nullable(input.schema())? {
                condition = condition.or(right.clone().is_null());
            }
            condition = condition.or(left.is_null());
        }
        conditions.push(condition);
    }
    // One filter, for DataFusion loses track of what two of them read.
    let input = match input {
        LogicalPlan::Filter(filter) => {
            conditions.insert(0, filter.predicate);
            Arc::unwrap_or_clone(filter.input)
        }
        other => other,
    };
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
    let subquery =
        Subquery { subquery: Arc::new(plan), outer_ref_columns: outer, spans: subquery.spans.clone() };
    Ok(Expr::Exists(Exists { subquery, negated }))
}

/// The subquery's rows under a name of their own, and the columns that the parts of its ROW are then.
fn aliased(projection: &Projection, rights: &[Expr]) -> Result<(LogicalPlan, Vec<Expr>)> {
    let name = |i: usize| format!("$part{i}");
    let parts = rights.iter().enumerate().map(|(i, e)| e.clone().alias(name(i)));
    let plan =
        LogicalPlanBuilder::from(projection.input.as_ref().clone()).project(parts)?.alias(ROWS)?.build()?;
    let columns = (0..rights.len()).map(|i| Expr::Column(Column::new(Some(ROWS), name(i)))).collect();
    Ok((plan, columns))
}

/// The alias of a subquery's rows.
const ROWS: &str = "$rows";

/// `expr` as a subquery sees it.
fn from_inside(expr: Expr, schema: &DFSchema, outer: &mut Vec<Expr>) -> Result<Expr> {
    let seen = expr.transform_up(|e| match e {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            let reference = Expr::OuterReferenceColumn(field, column);
            if !outer.contains(&reference) {
                outer.push(reference.clone());
            }
            Ok(Transformed::yes(reference))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(seen.data)
}
