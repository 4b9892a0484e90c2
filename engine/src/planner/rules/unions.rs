//! UNION of columns whose common type is not what DataFusion takes: a DECIMAL beside a DOUBLE is a DOUBLE; ROWs of unlike names.

use crate::functions::{cast_expr, common_field};
use arrow::datatypes::{DataType, Field};
use chrono_tz::Tz;
use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::logical_plan::{Projection, Union};
use datafusion_expr::{Expr, LogicalPlan};
use std::sync::Arc;

/// Casts such columns in every UNION of a plan that was just bound; `zone` is the session's.
pub fn apply(plan: LogicalPlan, zone: Tz) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Union(union) => of_common_types(union, zone),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

fn of_common_types(union: Union, zone: Tz) -> Result<Transformed<LogicalPlan>> {
    let width = union.inputs.iter().map(|i| i.schema().fields().len()).min().unwrap_or(0);
    let targets: Vec<Option<Field>> = (0..width)
        .map(|i| {
            let fields: Vec<Field> =
                union.inputs.iter().map(|p| p.schema().field(i).as_ref().clone()).collect();
            target(&fields)
        })
        .collect();
    if targets.iter().all(Option::is_none) {
        // The type of a union within may have changed: DataFusion goes on from what it was when bound.
        let stale = union.inputs.first().is_some_and(|first| {
            let fields = union.schema.fields().iter().zip(first.schema().fields());
            fields.into_iter().any(|(told, found)| told.data_type() != found.data_type())
        });
        return match stale {
            true => Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?))),
            false => Ok(Transformed::no(LogicalPlan::Union(union))),
        };
    }
    let cast = |input: &Arc<LogicalPlan>| -> Result<Arc<LogicalPlan>> {
        let columns = input.schema().columns().into_iter().enumerate().map(|(i, column)| {
            let field = input.schema().field(i);
            match targets.get(i).and_then(Option::as_ref) {
                Some(target) if target.data_type() != field.data_type() => {
                    cast_expr(Expr::Column(column), target, false, zone).alias(field.name())
                }
                _ => Expr::Column(column),
            }
        });
        let projection = Projection::try_new(columns.collect(), Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    };
    let inputs = union.inputs.iter().map(cast).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

/// The type that a column of these fields gets; `None` where DataFusion's is right.
fn target(fields: &[Field]) -> Option<Field> {
    let is = |of: fn(&DataType) -> bool| fields.iter().any(|f| of(f.data_type()));
    let nullable = fields.iter().any(Field::is_nullable);
    if is(DataType::is_floating) && is(|t| matches!(t, DataType::Decimal128(..))) {
        return Some(Field::new("", DataType::Float64, nullable));
    }
    let first = fields.first()?.data_type();
    if is(DataType::is_nested) && fields.iter().any(|f| f.data_type() != first) {
        return common_field(fields).map(|f| f.with_nullable(nullable));
    }
    None
}
