//! Gives CAST, LIKE and comparisons with texts Flink's meaning, before DataFusion's analyzer adds its own casts.

use crate::functions;
use crate::planner::expressions::{coerce, field_of};
use crate::sql::SqlType;
use arrow::datatypes::{DataType, Field};
use chrono_tz::Tz;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, GroupingSet, LogicalPlan, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use std::sync::Arc;

/// The same plan with our functions in every expression; `zone` is the session's.
pub fn apply(plan: LogicalPlan, zone: Tz) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&node);
        let one = |expr: Expr| {
            let name = names.save(&expr);
            Ok(name.restore(expression(expr, &schema, zone)?))
        };
        let node = node.map_expressions(|expr| {
            Ok(Transformed::yes(match expr {
                // Each key has a name of its own, the list of sets has none.
                Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                    let keys = |set: Vec<Expr>| set.into_iter().map(one).collect::<Result<Vec<_>>>();
                    let sets = sets.into_iter().map(keys).collect::<Result<Vec<_>>>()?;
                    Expr::GroupingSet(GroupingSet::GroupingSets(sets))
                }
                expr => one(expr)?,
            }))
        })?;
        node.data.recompute_schema().map(Transformed::yes)
    })?;
    Ok(replaced.data)
}

/// One expression over `schema`.
pub fn expression(expr: Expr, schema: &DFSchema, zone: Tz) -> Result<Expr> {
    let compared = expr.transform_up(|e| times_with_texts(e, schema, zone))?.data;
    let replaced = functions::replace(compared, zone)?.data;
    Ok(replaced.transform_up(|e| typeof_known(e, schema, zone))?.data)
}

/// `TYPEOF(x)` of the type as it was bound: a folded constant has lost it.
fn typeof_known(expr: Expr, schema: &DFSchema, zone: Tz) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    let Some(value) = call.args.first().filter(|_| call.func.name() == "typeof") else {
        return Ok(Transformed::no(expr));
    };
    // The branches of a CASE get their common type only now.
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let coerced = ExprSimplifier::new(context).coerce(value.clone(), schema)?;
    let sql_type = SqlType::of(&field_of(&coerced, schema, None)?);
    let nullable = is_nullable(&coerced, schema)?;
    Ok(Transformed::yes(functions::type_text_expr(&sql_type, nullable, zone)))
}

/// Whether Flink takes the value for nullable. Ours is wider: a DECIMAL that does not fit its type is NULL.
fn is_nullable(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let field = field_of(expr, schema, None)?;
    let Expr::ScalarFunction(call) = expr else { return Ok(field.is_nullable()) };
    match call.func.name() {
        "+" | "-" | "*" | "/" | "%" | "mod" | "cast" => {
            call.args.iter().try_fold(false, |found, arg| Ok(found || is_nullable(arg, schema)?))
        }
        "nullif" if expr.column_refs().is_empty() => {
            Ok(!matches!(coerce(expr.clone(), schema)?, Expr::Literal(value, _) if !value.is_null()))
        }
        _ => Ok(field.is_nullable()),
    }
}

/// Whether a timestamp is one with local time zone.
fn is_local(data_type: &arrow::datatypes::DataType) -> Option<bool> {
    match data_type {
        arrow::datatypes::DataType::Timestamp(_, zone) => Some(zone.is_some()),
        _ => None,
    }
}

/// `ts > '2020-01-01 00:00:00'`: the text is read as the time's type, in the session's zone.
fn times_with_texts(expr: Expr, schema: &DFSchema, zone: Tz) -> Result<Transformed<Expr>> {
    let is_text = |e: &Expr| e.get_type(schema).is_ok_and(|t| t == DataType::Utf8);
    // As in Flink: what is only asked to be equal may be no time.
    let equality = matches!(&expr, Expr::BinaryExpr(b) if matches!(b.op, Operator::Eq | Operator::NotEq));
    let as_other = |text: &Expr, other: &Expr| -> Result<Option<Expr>> {
        let field = other.to_field(schema)?.1;
        let temporal = field.data_type().is_temporal() && !matches!(field.data_type(), DataType::Interval(_));
        let other = field.data_type().is_numeric() || field.data_type() == &DataType::Boolean;
        let try_ = equality && !matches!(text, Expr::Literal(..));
        Ok((temporal || other && !equality).then(|| functions::cast_expr(text.clone(), &field, try_, zone)))
    };
    let mut expr = expr;
    let mut changed = false;
    match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            let (l, r) = (left.to_field(schema)?.1, right.to_field(schema)?.1);
            // A TIMESTAMP beside a TIMESTAMP_LTZ is a time in the session's zone.
            match (is_local(l.data_type()), is_local(r.data_type())) {
                (Some(true), Some(false)) => {
                    (**right, changed) =
                        (functions::cast_expr(right.as_ref().clone(), &l, false, zone), true);
                }
                (Some(false), Some(true)) => {
                    (**left, changed) = (functions::cast_expr(left.as_ref().clone(), &r, false, zone), true);
                }
                _ => {}
            }
            // A DECIMAL beside a FLOAT or DOUBLE is compared as DOUBLE, never the other way round: 1e30 is no DECIMAL.
            {
                let double = |e: &Expr| -> Expr {
                    functions::cast_expr(e.clone(), &Field::new("", DataType::Float64, true), false, zone)
                };
                let decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
                if (decimal(l.data_type()) && r.data_type().is_floating())
                    || (decimal(r.data_type()) && l.data_type().is_floating())
                {
                    (**left, **right, changed) = (double(left), double(right), true);
                }
            }
            if is_text(right)
                && let Some(typed) = as_other(right, left)?
            {
                (**right, changed) = (typed, true);
            } else if is_text(left)
                && let Some(typed) = as_other(left, right)?
            {
                (**left, changed) = (typed, true);
            }
        }
        Expr::Between(between) => {
            for side in [&mut between.low, &mut between.high] {
                if is_text(side)
                    && let Some(typed) = as_other(side, &between.expr)?
                {
                    (**side, changed) = (typed, true);
                }
            }
        }
        Expr::InList(list) => {
            let wanted = list.expr.get_type(schema)?;
            for value in &mut list.list {
                if wanted.is_floating() && matches!(value.get_type(schema)?, DataType::Decimal128(..)) {
                    let float = Field::new("", wanted.clone(), true);
                    (*value, changed) = (functions::cast_expr(value.clone(), &float, false, zone), true);
                }
                if is_text(value)
                    && let Some(typed) = as_other(value, &list.expr)?
                {
                    (*value, changed) = (typed, true);
                }
                if is_text(&list.expr) && value.get_type(schema)?.is_numeric() {
                    let text = Field::new("", DataType::Utf8, true);
                    (*value, changed) = (functions::cast_expr(value.clone(), &text, false, zone), true);
                }
            }
        }
        _ => {}
    }
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}
