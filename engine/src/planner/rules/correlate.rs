//! A join with UNNEST becomes an unnest beside the join's left side.

use crate::planner::expressions::{coerce, unalias};
use crate::planner::nodes::Unnest;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, Result};
use datafusion_expr::logical_plan::{Filter, Join, JoinType, Projection};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Extension, LogicalPlan};
use datafusion_sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableFactor, VisitMut, VisitorMut};
use std::ops::ControlFlow;
use std::sync::Arc;

/// `UNNEST(…)` in FROM, which parses as a table function by that name.
pub fn name_unnests(query: &mut ast::Query) {
    struct Names;
    impl VisitorMut for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor else {
                return ControlFlow::Continue(());
            };
            if !name.to_string().eq_ignore_ascii_case("UNNEST") {
                return ControlFlow::Continue(());
            }
            let exprs = args.args.iter().filter_map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                _ => None,
            });
            *factor = TableFactor::UNNEST {
                alias: alias.take(),
                array_exprs: exprs.collect(),
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: *with_ordinality,
            };
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Names);
}

/// Rewrites every join whose right side is an UNNEST.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            match unnest(&join.right) {
                Some(unnest) => correlated(&join, unnest).map(Transformed::yes),
                None => Ok(match lateral(&join)? {
                    Some(plan) => Transformed::yes(plan),
                    None => Transformed::no(LogicalPlan::Join(join)),
                }),
            }
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// The UNNEST that `plan` is, through aliases of it and its columns.
fn unnest(plan: &LogicalPlan) -> Option<&Unnest> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => unnest(&alias.input),
        LogicalPlan::Subquery(subquery) => unnest(&subquery.subquery),
        LogicalPlan::Projection(p) if p.expr.iter().all(|e| matches!(unalias(e), Expr::Column(_))) => {
            unnest(&p.input)
        }
        LogicalPlan::Extension(extension) => extension
            .node
            .as_any()
            .downcast_ref::<Unnest>()
            .filter(|u| matches!(u.input, LogicalPlan::EmptyRelation(_))),
        _ => None,
    }
}

/// An UNNEST in a lateral subquery of filters and expressions.
struct Lateral<'a> {
    unnest: &'a Unnest,
    /// What the subquery's columns are, over the outer columns and [`element`]s.
    columns: Vec<Expr>,
    /// What must hold, over the same.
    conditions: Vec<Expr>,
}

/// What the columns of elements are called until the subquery's own names are given.
const ELEMENTS: &str = "$elements";

fn element(i: usize) -> Column {
    Column::new(Some(ELEMENTS), format!("$e{i}"))
}

fn taken_apart(plan: &LogicalPlan) -> Option<Lateral<'_>> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => taken_apart(&alias.input),
        LogicalPlan::Subquery(subquery) => taken_apart(&subquery.subquery),
        LogicalPlan::Projection(p) => {
            let inner = taken_apart(&p.input)?;
            let columns = p.expr.iter().map(|e| inner.placed(unalias(e), &p.input));
            let columns = columns.collect::<Option<_>>()?;
            Some(Lateral { columns, ..inner })
        }
        LogicalPlan::Filter(f) => {
            let mut inner = taken_apart(&f.input)?;
            let condition = inner.placed(&f.predicate, &f.input)?;
            inner.conditions.push(condition);
            Some(inner)
        }
        LogicalPlan::Extension(_) => {
            let unnest = unnest(plan)?;
            let columns = (0..unnest.elements.len()).map(|i| Expr::Column(element(i))).collect();
            Some(Lateral { unnest, columns, conditions: Vec::new() })
        }
        _ => None,
    }
}

impl Lateral<'_> {
    /// `expr` over `input`, over what this is of.
    fn placed(&self, expr: &Expr, input: &LogicalPlan) -> Option<Expr> {
        let inner =
            expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))));
        if inner.unwrap_or(true) {
            return None;
        }
        let placed = expr.clone().transform_down(|e| {
            Ok(match e {
                Expr::OuterReferenceColumn(_, column) => {
                    Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump)
                }
                Expr::Column(column) => {
                    let index = input.schema().index_of_column(&column)?;
                    Transformed::new(self.columns[index].clone(), true, TreeNodeRecursion::Jump)
                }
                other => Transformed::no(other),
            })
        });
        placed.ok().map(|p| p.data)
    }
}

/// A join with a lateral subquery over UNNEST, as an unnest beside the left side with the subquery's conditions and
/// expressions over it. A LEFT JOIN only where the subquery's columns are elements.
fn lateral(join: &Join) -> Result<Option<LogicalPlan>> {
    let Some(inner) = taken_apart(&join.right) else { return Ok(None) };
    let outer = join.join_type == JoinType::Left;
    if outer && !inner.columns.iter().all(|c| matches!(c, Expr::Column(_))) {
        return Ok(None);
    }
    let left = Arc::unwrap_or_clone(Arc::clone(&join.left));
    let width = left.schema().fields().len();
    let over = left.schema().columns().into_iter().map(Expr::Column);
    let named = join.schema.iter().skip(width).zip(inner.columns.iter());
    let named = named.map(|((q, f), e)| e.clone().alias_qualified(q.cloned(), f.name()));
    let columns: Vec<Expr> = over.chain(named).collect();
    let elements = inner.unnest.elements.iter().enumerate().map(|(i, (_, field))| {
        let column = element(i);
        let nullable = outer || field.is_nullable();
        (column.relation, Arc::new(field.as_ref().clone().with_name(column.name).with_nullable(nullable)))
    });
    let elements = elements.collect();
    let expr = inner.unnest.expr.clone().transform_up(outer_as_column)?.data;
    let ordinality = inner.unnest.ordinality;
    let mut conditions = inner.conditions.clone();
    if let (true, Some(filter)) = (outer, &join.filter) {
        let over_right = filter.clone().transform_down(|e| {
            Ok(match e {
                Expr::Column(column) => match join.schema.index_of_column(&column)?.checked_sub(width) {
                    Some(i) => Transformed::new(inner.columns[i].clone(), true, TreeNodeRecursion::Jump),
                    None => Transformed::no(Expr::Column(column)),
                },
                other => Transformed::no(other),
            })
        })?;
        conditions.push(over_right.data);
    }
    let condition = conjunction(conditions);
    let plain = Unnest::try_new(left.clone(), expr.clone(), Vec::clone(&elements), ordinality, outer, None)?;
    let mut plan = match condition {
        Some(condition) if outer => {
            let condition = coerce(condition, plain.output_schema())?;
            let node = Unnest::try_new(left, expr, elements, ordinality, outer, Some(condition))?;
            LogicalPlan::Extension(Extension { node: Arc::new(node) })
        }
        Some(condition) => {
            let unnested = LogicalPlan::Extension(Extension { node: Arc::new(plain) });
            LogicalPlan::Filter(Filter::try_new(condition, Arc::new(unnested))?)
        }
        None => LogicalPlan::Extension(Extension { node: Arc::new(plain) }),
    };
    plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
    match &join.filter {
        Some(filter) if !outer => {
            Ok(Some(LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?)))
        }
        _ => Ok(Some(plan)),
    }
}

fn outer_as_column(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
        other => Transformed::no(other),
    })
}

fn correlated(join: &Join, unnest: &Unnest) -> Result<LogicalPlan> {
    let expr = unnest.expr.clone().transform_up(outer_as_column)?;
    let left = Arc::unwrap_or_clone(Arc::clone(&join.left));
    let width = left.schema().fields().len();
    let outer = join.join_type == JoinType::Left;
    let elements = join.schema.iter().skip(width).map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    let condition = match &join.filter {
        Some(filter) if outer => Some(coerce(filter.clone(), &join.schema)?),
        _ => None,
    };
    let node = Unnest::try_new(left, expr.data, elements, unnest.ordinality, outer, condition)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    match &join.filter {
        Some(filter) if !outer => Ok(LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?)),
        _ => Ok(plan),
    }
}
