//! INTERSECT and EXCEPT, which DataFusion binds as semi and anti joins: the columns get the types that both sides have in
//! common, as those of a UNION; with ALL, rows are counted on both sides and told as often as the counts say.

use crate::functions::FunctionRegistry;
use crate::planner::nodes::Unnest;
use arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, NullEquality, Result, internal_err};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::logical_plan::{Distinct, Join, JoinType};
use datafusion_expr::type_coercion::binary::type_union_coercion;
use datafusion_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use std::sync::Arc;

/// Rewrites every INTERSECT and EXCEPT of a plan that was just bound.
pub fn apply(plan: LogicalPlan, functions: &FunctionRegistry) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_set_operation(&join) => {
            let join = of_common_types(join)?;
            match join.left.as_ref() {
                // Without ALL the left side is made distinct first.
                LogicalPlan::Distinct(Distinct::All(_)) => Ok(Transformed::yes(LogicalPlan::Join(join))),
                _ => counted(&join, functions).map(Transformed::yes),
            }
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// Only set operations bind to joins that compare NULL as equal.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
}

fn of_common_types(join: Join) -> Result<Join> {
    let sides = [join.left.as_ref(), join.right.as_ref()].map(LogicalPlan::schema);
    let pairs = sides[0].fields().iter().zip(sides[1].fields());
    let common: Vec<Option<DataType>> = pairs
        .map(|(l, r)| match l.data_type() == r.data_type() {
            true => Some(l.data_type().clone()),
            false => match (l.data_type(), r.data_type()) {
                (DataType::Decimal128(..), other) | (other, DataType::Decimal128(..))
                    if other.is_floating() =>
                {
                    Some(DataType::Float64)
                }
                (left, right) => type_union_coercion(left, right),
            },
        })
        .collect();
    let Some(common) = common.into_iter().collect::<Option<Vec<DataType>>>() else { return Ok(join) };
    if common.iter().zip(sides[0].fields()).all(|(t, f)| t == f.data_type()) {
        return Ok(join);
    }
    let left = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(input)) => {
            LogicalPlan::Distinct(Distinct::All(Arc::new(cast_to(input, &common)?)))
        }
        other => cast_to(other, &common)?,
    };
    let schema = Arc::clone(left.schema());
    Ok(Join { left: Arc::new(left), schema, ..join })
}

fn cast_to(plan: &LogicalPlan, types: &[DataType]) -> Result<LogicalPlan> {
    let columns = plan.schema().iter().zip(types).map(|((qualifier, field), wanted)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match field.data_type() == wanted {
            true => column,
            false => cast(column, wanted.clone()).alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    LogicalPlanBuilder::from(plan.clone()).project(columns.collect::<Vec<_>>())?.build()
}

const LEFT: &str = "$left";
const RIGHT: &str = "$right";

fn counted(join: &Join, functions: &FunctionRegistry) -> Result<LogicalPlan> {
    let width = join.left.schema().fields().len();
    let name = |i: usize| format!("$c{i}");
    let side = |plan: &LogicalPlan, left: i64, right: i64| {
        let columns = plan.schema().iter().enumerate();
        let columns = columns.map(|(i, (q, f))| Expr::Column(Column::from((q, f))).alias(name(i)));
        let exprs: Vec<Expr> = columns.chain([lit(left).alias(LEFT), lit(right).alias(RIGHT)]).collect();
        LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build()
    };
    let (Some(sum), Some(split), Some(repeat)) =
        (functions.aggregate("sum"), functions.scalar("split"), functions.scalar("repeat"))
    else {
        return internal_err!("set operations need SUM, SPLIT and REPEAT");
    };
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let total = |of: &str| {
        Expr::AggregateFunction(AggregateFunction::new_udf(
            Arc::clone(&sum),
            vec![column(of)],
            false,
            None,
            Vec::new(),
            None,
        ))
    };
    let (lefts, rights) = (total(LEFT), total(RIGHT));
    let of = |e: &Expr| column(&e.schema_name().to_string());
    let (l, r) = (of(&lefts), of(&rights));
    let times = match join.join_type {
        JoinType::LeftAnti => l - r,
        _ => when(l.clone().lt(r.clone()), l).otherwise(r)?,
    };
    let keys: Vec<Expr> = (0..width).map(|i| column(&name(i))).collect();
    let rows = LogicalPlanBuilder::from(side(&join.left, 1, 0)?)
        .union(side(&join.right, 0, 1)?)?
        .aggregate(keys.clone(), [lefts, rights])?
        .filter(times.clone().gt(lit(0i64)))?
        .project(keys.iter().cloned().chain([times.alias("$times")]))?
        .build()?;
    // A text of n characters is split into n texts.
    let texts = repeat.call(vec![lit("x"), cast(column("$times"), DataType::Int32)]);
    let element = Arc::new(Field::new("$element", DataType::Utf8, true));
    let node =
        Unnest::try_new(rows, split.call(vec![texts, lit("")]), vec![(None, element)], false, false, None)?;
    let renamed =
        join.schema.iter().zip(&keys).map(|((q, f), key)| key.clone().alias_qualified(q.cloned(), f.name()));
    LogicalPlanBuilder::from(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
        .project(renamed)?
        .build()
}
