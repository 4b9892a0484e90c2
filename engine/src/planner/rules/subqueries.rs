//! Subqueries in predicates and SELECT lists: what DataFusion's decorrelation leaves to be done around it.

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result, internal_err};
use datafusion_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion_expr::logical_plan::{Aggregate, Filter, Join, Projection};
use datafusion_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// Subqueries in GROUP BY become columns of a projection below, for only there and in filters are they decorrelated.
#[derive(Debug)]
pub struct GroupedSubqueries;

impl OptimizerRule for GroupedSubqueries {
    fn name(&self) -> &str {
        "grouped_subqueries"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let holds = |e: &Expr| e.exists(|e| Ok(is_subquery(e))).unwrap_or(false);
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        if !aggregate.group_expr.iter().any(holds) {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let mut columns: Vec<Expr> =
            aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
        let mut keys = Vec::with_capacity(aggregate.group_expr.len());
        for (index, key) in aggregate.group_expr.into_iter().enumerate() {
            if !holds(&key) {
                keys.push(key);
                continue;
            }
            let name = format!("$g{index}");
            let (qualifier, field) = aggregate.schema.qualified_field(index);
            let column = Expr::Column(Column::new_unqualified(&name));
            keys.push(column.alias_qualified(qualifier.cloned(), field.name()));
            columns.push(key.alias(name));
        }
        let input = LogicalPlan::Projection(Projection::try_new(columns, aggregate.input)?);
        let plan = Aggregate::try_new(Arc::new(input), keys, aggregate.aggr_expr)?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(plan)))
    }

    fn supports_rewrite(&self) -> bool {
        true
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_))
}

/// `x IN (…)` that is a whole conjunct of WHERE becomes a semi or anti join. Elsewhere its NULL matters: there it becomes
/// `x = ANY (…)`, whose three values DataFusion spells out. And `= ANY` that is a whole conjunct becomes IN.
#[derive(Debug)]
pub struct QuantifiedPredicates;

impl OptimizerRule for QuantifiedPredicates {
    fn name(&self) -> &str {
        "quantified_predicates"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        rewritten(plan)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }
}

fn rewritten(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.map_subqueries(|q| q.transform_down(rewritten))?;
    let changed = plan.transformed;
    match plan.data {
        LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => {
            let mut parts = Vec::new();
            for part in split_conjunction_owned(filter.predicate) {
                parts.push(whole_conjunct(part)?);
            }
            let Some(predicate) = conjunction(parts) else {
                return internal_err!("a filter without a predicate");
            };
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        LogicalPlan::Projection(projection) if projection.expr.iter().any(has_subquery) => {
            let exprs = projection.expr.into_iter().map(embedded_named).collect::<Result<_>>()?;
            Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?)))
        }
        other => Ok(Transformed::new_transformed(other, changed)),
    }
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_))))
        .unwrap_or(false)
}

fn whole_conjunct(part: Expr) -> Result<Expr> {
    match part {
        Expr::SetComparison(SetComparison {
            expr,
            subquery,
            op: Operator::Eq,
            quantifier: SetQuantifier::Any,
        }) => Ok(Expr::InSubquery(InSubquery { expr, subquery, negated: false })),
        whole @ (Expr::InSubquery(_) | Expr::Exists(_)) => Ok(whole),
        Expr::Not(inner) if matches!(*inner, Expr::InSubquery(_) | Expr::Exists(_)) => Ok(Expr::Not(inner)),
        other => embedded(other),
    }
}

fn embedded_named(expr: Expr) -> Result<Expr> {
    if !has_subquery(&expr) {
        return Ok(expr);
    }
    let name = expr.schema_name().to_string();
    match embedded(expr)? {
        alias @ Expr::Alias(_) => Ok(alias),
        other => Ok(other.alias(name)),
    }
}

fn embedded(expr: Expr) -> Result<Expr> {
    let rewritten = expr.transform_up(|e| {
        Ok(match e {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let any = Expr::SetComparison(SetComparison {
                    expr,
                    subquery,
                    op: Operator::Eq,
                    quantifier: SetQuantifier::Any,
                });
                Transformed::yes(if negated { Expr::Not(Box::new(any)) } else { any })
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(rewritten.data)
}

/// EXISTS in a SELECT list becomes the mark of a join, as DataFusion does in WHERE.
#[derive(Debug)]
pub struct SelectedExists;

impl OptimizerRule for SelectedExists {
    fn name(&self) -> &str {
        "selected_exists"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = plan else { return Ok(Transformed::no(plan)) };
        let exists = |e: &Expr| e.exists(|e| Ok(matches!(e, Expr::Exists(_)))).unwrap_or(false);
        if !projection.expr.iter().any(exists) {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        }
        let mut input = projection.input;
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in projection.expr {
            if !exists(&expr) {
                exprs.push(expr);
                continue;
            }
            let name = expr.schema_name().to_string();
            let marked = expr.transform_up(|e| {
                if !matches!(e, Expr::Exists(_)) {
                    return Ok(Transformed::no(e));
                }
                let (joined, mark) = mark(&input, e, config)?;
                input = joined;
                Ok(Transformed::yes(mark))
            })?;
            exprs.push(match marked.data {
                alias @ Expr::Alias(_) => alias,
                other => other.alias(name),
            });
        }
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
    }

    fn supports_rewrite(&self) -> bool {
        true
    }
}

/// `input` joined with the subquery of `exists`, and the column that tells whether there is a row.
fn mark(
    input: &Arc<LogicalPlan>,
    exists: Expr,
    config: &dyn OptimizerConfig,
) -> Result<(Arc<LogicalPlan>, Expr)> {
    // DataFusion marks what stands below OR in a filter: we give it such a filter and take out the join.
    let filter = Filter::try_new(exists.or(lit(true)), Arc::clone(input))?;
    let rewritten = DecorrelatePredicateSubquery::new().rewrite(LogicalPlan::Filter(filter), config)?.data;
    let filter = match rewritten {
        LogicalPlan::Projection(p) => Arc::unwrap_or_clone(p.input),
        other => other,
    };
    match filter {
        LogicalPlan::Filter(Filter {
            predicate: Expr::BinaryExpr(BinaryExpr { left, .. }), input, ..
        }) => Ok((input, *left)),
        _ => internal_err!("EXISTS did not become a join"),
    }
}

/// NOT IN: an anti join whose rows also match where the comparison is NULL. And `(a = b) IS TRUE` as a join's condition is
/// `a = b`, which can be a key.
#[derive(Debug)]
pub struct NotInJoins;

impl OptimizerRule for NotInJoins {
    fn name(&self) -> &str {
        "not_in_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        let Some(filter) = &join.filter else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
        let mut parts: Vec<Expr> = split_conjunction(filter).into_iter().cloned().collect();
        let mut changed = false;
        for part in &mut parts {
            if let Expr::IsTrue(inner) = part {
                (*part, changed) = (inner.as_ref().clone(), true);
            }
        }
        if join.null_aware
            && let Some(first) = parts.first_mut()
        {
            let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = &*first else {
                return internal_err!("NOT IN without its comparison");
            };
            let mut either = vec![first.clone()];
            for side in [left, right] {
                let schema = join.left.schema().join(join.right.schema())?;
                if side.nullable(&schema)? {
                    either.push(Expr::IsNull(side.clone()));
                }
            }
            if let Some(any) = either.into_iter().reduce(Expr::or) {
                *first = any;
            }
            changed = true;
        }
        if !changed {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        Ok(Transformed::yes(LogicalPlan::Join(Join {
            filter: conjunction(parts),
            null_aware: false,
            ..join
        })))
    }

    fn supports_rewrite(&self) -> bool {
        true
    }
}
