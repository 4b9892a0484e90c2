//! Flink's type rules on the bound plan, before DataFusion's wider coercion could hide a mistake.

use crate::error::{Error, Result};
use crate::functions;
use crate::planner::diagnostics::{carry, translate};
use crate::planner::expressions::{field_of, first_span, text};
use crate::sql::SqlType;
use arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit, when};
use datafusion_sql::sqlparser::ast::BinaryOperator;

/// Checks every expression of the plan.
///
/// Errors: operands that Flink does not take together, in Flink's words, with the CAST to write.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        check_node(node).map_err(carry)?;
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
    .map_err(|e| translate(e, &[]))
}

fn check_node(node: &LogicalPlan) -> Result<()> {
    if let LogicalPlan::Union(union) = node {
        return check_union(union);
    }
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    if let LogicalPlan::Values(values) = node {
        check_values(values)?;
    }
    if let LogicalPlan::Aggregate(aggregate) = node {
        for key in &aggregate.group_expr {
            if key.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false) {
                return Err(Error::user("Aggregate expression is illegal in GROUP BY clause.").with_hint(
                    "Group by columns; group a second time in an outer query to group by a count.",
                ));
            }
        }
    }
    for expr in node.expressions() {
        check_expression(&expr, &schema)?;
    }
    if let LogicalPlan::Projection(projection) = node {
        for expr in &projection.expr {
            refuse_untyped_null(expr, &schema)?;
        }
    }
    Ok(())
}

fn refuse_untyped_null(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let bare = super::super::expressions::unalias(expr);
    if matches!(bare, Expr::Column(_)) || kind(bare, schema).ok().map(|(k, _)| k) != Some(Kind::Null) {
        return Ok(());
    }
    Err(Error::user("Illegal use of 'NULL': its type is unknown.")
        .with_hint("Write CAST(NULL AS INT), or another type."))
}

/// What operators see of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Text,
    Binary,
    Number,
    Boolean,
    Date,
    Time,
    Timestamp,
    TimestampLtz,
    Interval,
    Other,
}

fn kind_of(sql_type: &SqlType) -> Kind {
    match sql_type {
        SqlType::Null => Kind::Null,
        SqlType::Char(_) | SqlType::Varchar(_) => Kind::Text,
        SqlType::Binary(_) | SqlType::Varbinary(_) => Kind::Binary,
        SqlType::Boolean => Kind::Boolean,
        SqlType::Date => Kind::Date,
        SqlType::Time(_) => Kind::Time,
        SqlType::Timestamp(_) => Kind::Timestamp,
        SqlType::TimestampLtz(_) => Kind::TimestampLtz,
        SqlType::IntervalYearMonth | SqlType::IntervalDayTime => Kind::Interval,
        SqlType::Array(_) | SqlType::Map(..) | SqlType::Multiset(_) | SqlType::Row(_) => Kind::Other,
        _ => Kind::Number,
    }
}

fn kind(expr: &Expr, schema: &DFSchema) -> Result<(Kind, SqlType)> {
    let sql_type = SqlType::of(&field_of(expr, schema, None).map_err(|e| translate(e, &[]))?);
    Ok((kind_of(&sql_type), sql_type))
}

/// Checks one expression over `schema`.
///
/// Errors: as [`check`].
pub fn check_expression(expr: &Expr, schema: &DFSchema) -> Result<()> {
    expr.apply(|e| {
        check_one(e, schema).map_err(|error| carry(error.at(first_span(e).or_else(|| first_span(expr)))))?;
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
    .map_err(|e| translate(e, &[]))
}

fn check_one(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::BinaryExpr(binary) => check_binary(binary, schema),
        Expr::Between(between) => {
            comparable(">=", &between.expr, &between.low, schema)?;
            comparable("<=", &between.expr, &between.high, schema)
        }
        Expr::InList(list) => {
            let kinds = list.list.iter().map(|v| kind(v, schema).map(|k| k.0)).collect::<Result<Vec<_>>>()?;
            // A list of one kind is cast as a whole.
            let known = kinds.iter().find(|k| **k != Kind::Null);
            let of_one_kind = kinds.iter().all(|k| *k == Kind::Null || Some(k) == known);
            for value in &list.list {
                let (a, b) = (kind(&list.expr, schema)?, kind(value, schema)?);
                if !(compatible(a.0, b.0) || of_one_kind && listed(a.0, b.0)) {
                    return Err(Error::user("Values in expression list must have compatible types.")
                        .with_hint(format!(
                            "{} is {}, but {} is {}: write CAST({} AS {}).",
                            text(&list.expr),
                            a.1,
                            text(value),
                            b.1,
                            text(value),
                            a.1
                        )));
                }
            }
            Ok(())
        }
        Expr::Case(case) => {
            let branches: Vec<&Expr> = case
                .when_then_expr
                .iter()
                .map(|(_, then)| then.as_ref())
                .chain(case.else_expr.as_deref())
                .collect();
            let mut first: Option<(Kind, SqlType)> = None;
            for branch in branches {
                let found = kind(branch, schema)?;
                match &first {
                    _ if found.0 == Kind::Null => {}
                    None => first = Some(found),
                    Some(known) if known.0 == found.0 => {}
                    Some(known) => {
                        return Err(Error::user("Illegal mixing of types in CASE or COALESCE statement.")
                            .with_hint(format!(
                                "One branch is {}, another {}: CAST one of them.",
                                known.1, found.1
                            )));
                    }
                }
            }
            if case.expr.is_none() {
                for (when, _) in &case.when_then_expr {
                    let (found, sql_type) = kind(when, schema)?;
                    if !matches!(found, Kind::Boolean | Kind::Null) {
                        return Err(Error::user(format!(
                            "Expected a boolean type after WHEN, but {} is {sql_type}.",
                            text(when)
                        ))
                        .with_hint(format!(
                            "Write CASE {} WHEN value THEN …, or a comparison after WHEN.",
                            text(when)
                        )));
                    }
                }
            }
            if let Some(operand) = &case.expr {
                for (when, _) in &case.when_then_expr {
                    comparable("=", operand, when, schema)?;
                }
            }
            Ok(())
        }
        Expr::ScalarFunction(call) if call.func.name().eq_ignore_ascii_case("coalesce") => {
            let kinds = call.args.iter().map(|a| kind(a, schema)).collect::<Result<Vec<_>>>()?;
            let mut known = kinds.iter().filter(|k| k.0 != Kind::Null);
            if let Some(first) = known.next()
                && let Some(other) = known.find(|k| k.0 != first.0 && !(is_day(k.0) && is_day(first.0)))
            {
                return Err(Error::user("Illegal mixing of types in CASE or COALESCE statement.")
                    .with_hint(format!("One value is {}, another {}: CAST one of them.", first.1, other.1)));
            }
            Ok(())
        }
        Expr::AggregateFunction(call) if matches!(call.func.name(), "sum" | "avg") => {
            let Some(argument) = call.params.args.first() else { return Ok(()) };
            let (found, sql_type) = kind(argument, schema)?;
            if matches!(found, Kind::Number | Kind::Null) {
                return Ok(());
            }
            let name = call.func.name().to_uppercase();
            Err(Error::user(format!(
                "Cannot apply '{name}' to arguments of type '{name}(<{sql_type}>)'. Supported form(s): '{name}(<NUMERIC>)'"
            ))
            .with_hint(format!("Write {name}(CAST({} AS DOUBLE)).", text(argument))))
        }
        _ => Ok(()),
    }
}

/// Whether an interval is one of months; a literal has no type of its own that tells.
fn of_months(interval: &Expr, sql_type: &SqlType) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => value.months != 0,
        _ => *sql_type == SqlType::IntervalYearMonth,
    }
}

/// DATE, TIMESTAMP and TIMESTAMP_LTZ.
fn is_day(kind: Kind) -> bool {
    matches!(kind, Kind::Date | Kind::Timestamp | Kind::TimestampLtz)
}

/// Whether Flink takes values of the second kind in a list behind IN, which it casts to the first.
fn listed(left: Kind, value: Kind) -> bool {
    use Kind::{Boolean, Number, Text};
    matches!((left, value), (Number | Boolean, Text) | (Text, Number))
}

/// Whether Flink compares the two with `op`, though they are unlike: a text is read as a number where it is asked to be
/// less or greater, as a BOOLEAN too, and equals none.
fn unlike(op: &str, a: Kind, b: Kind) -> bool {
    use Kind::{Boolean, Number, Text};
    match (a, b) {
        (Number, Text) | (Text, Number) => matches!(op, "<" | "<=" | ">" | ">="),
        (Boolean, Text) | (Text, Boolean) => matches!(op, "<" | "<=" | ">" | ">="),
        _ => false,
    }
}

/// Whether Flink compares the two; a text may stand for a time.
fn compatible(a: Kind, b: Kind) -> bool {
    use Kind::{Date, Null, Text, Time, Timestamp, TimestampLtz};
    if a == b || a == Null || b == Null {
        return true;
    }
    matches!(
        (a, b),
        (Date | Time | Timestamp | TimestampLtz, Text)
            | (Text, Date | Time | Timestamp | TimestampLtz)
            | (Timestamp, TimestampLtz)
            | (TimestampLtz, Timestamp)
    )
}

fn comparable(op: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    let (a, b) = (kind(left, schema)?, kind(right, schema)?);
    let (mut a_side, mut b_side) = ((left, a), (right, b));
    if matches!(left, Expr::Literal(..)) {
        std::mem::swap(&mut a_side, &mut b_side);
    }
    let ((left, a), (right, b)) = (a_side, b_side);
    if compatible(a.0, b.0) || unlike(op, a.0, b.0) {
        return Ok(());
    }
    let error = match (a.0, b.0) {
        (Kind::Boolean | Kind::Other | Kind::Date | Kind::Time | Kind::Timestamp | Kind::TimestampLtz, _)
        | (_, Kind::Boolean | Kind::Other | Kind::Date | Kind::Time | Kind::Timestamp | Kind::TimestampLtz) => {
            Error::user(format!(
                "Cannot apply '{op}' to arguments of type '<{}> {op} <{}>'. Supported form(s): '<COMPARABLE_TYPE> {op} \
             <COMPARABLE_TYPE>'",
                a.1, b.1
            ))
        }
        _ => {
            Error::user(format!("implicit type conversion between {} and {} is not supported now", a.1, b.1))
        }
    };
    Err(error.with_hint(cast_hint(left, &a.1, right, &b.1)))
}

/// The CAST that makes both sides one type.
fn cast_hint(left: &Expr, a: &SqlType, right: &Expr, b: &SqlType) -> String {
    match (kind_of(a), kind_of(b)) {
        (Kind::Text, Kind::Number) if !matches!(left, Expr::Literal(..)) => {
            format!("Write CAST({} AS {b}), or compare with a text: '{}'.", text(left), text(right))
        }
        (Kind::Number, Kind::Text) => match right {
            Expr::Literal(..) => {
                format!("Write the value without quotes, or CAST({} AS STRING).", text(left))
            }
            _ => format!("Write CAST({} AS {a}).", text(right)),
        },
        _ => format!("Write CAST({} AS {a}).", text(right)),
    }
}

fn check_binary(binary: &BinaryExpr, schema: &DFSchema) -> Result<()> {
    use Kind::{Date, Interval, Null, Number, Text, Time, Timestamp, TimestampLtz};
    let BinaryExpr { left, op, right } = binary;
    match op {
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => {
            let symbol = if *op == Operator::NotEq { "<>".to_string() } else { op.to_string() };
            comparable(&symbol, left, right, schema)
        }
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
            let (a, b) = (kind(left, schema)?, kind(right, schema)?);
            let fine = match (a.0, b.0) {
                (Null, _) | (_, Null) | (Number, Number) => true,
                (Date | Time | Timestamp | TimestampLtz, Interval) => {
                    matches!(op, Operator::Plus | Operator::Minus)
                }
                (Interval, Date | Time | Timestamp | TimestampLtz) => matches!(op, Operator::Plus),
                (Interval, Interval) => {
                    matches!(op, Operator::Plus | Operator::Minus)
                        && of_months(left, &a.1) == of_months(right, &b.1)
                }
                (Interval, Number) | (Number, Interval) => *op == Operator::Multiply,
                _ => false,
            };
            if fine {
                return Ok(());
            }
            let hint = match (a.0, b.0) {
                (Text, Number) if *op == Operator::Plus => {
                    format!(
                        "Write CAST({} AS {}) to add, or {} || CAST({} AS STRING) to join texts.",
                        text(left),
                        b.1,
                        text(left),
                        text(right)
                    )
                }
                (Number, Text) => format!("Write CAST({} AS {}).", text(right), a.1),
                (Text, Text) if *op == Operator::Plus => "Texts are joined by `||`.".to_string(),
                (Date | Timestamp | TimestampLtz, Date | Timestamp | TimestampLtz) => {
                    format!("TIMESTAMPDIFF(SECOND, {}, {}) gives the distance.", text(right), text(left))
                }
                (Date | Timestamp | TimestampLtz, Number) => {
                    format!("Write {} {op} INTERVAL '{}' DAY (or another unit).", text(left), text(right))
                }
                _ => cast_hint(left, &a.1, right, &b.1),
            };
            Err(Error::user(format!(
                "Cannot apply '{op}' to arguments of type '<{}> {op} <{}>'. Supported form(s): '<NUMERIC> {op} <NUMERIC>'",
                a.1, b.1
            ))
            .with_hint(hint))
        }
        Operator::And | Operator::Or => {
            let (a, b) = (kind(left, schema)?, kind(right, schema)?);
            let fine = |k: Kind| matches!(k, Kind::Boolean | Null);
            if fine(a.0) && fine(b.0) {
                return Ok(());
            }
            let wrong = if fine(a.0) { right } else { left };
            Err(Error::user(format!(
                "Cannot apply '{op}' to arguments of type '<{}> {op} <{}>'. Supported form(s): '<BOOLEAN> {op} <BOOLEAN>'",
                a.1, b.1
            ))
            .with_hint(format!("Compare the value: {} <> 0, or {} IS NOT NULL.", text(wrong), text(wrong))))
        }
        Operator::StringConcat => {
            let (a, b) = (kind(left, schema)?, kind(right, schema)?);
            let fine = |k: Kind| matches!(k, Text | Null);
            if (fine(a.0) && fine(b.0)) || (a.0 == Kind::Binary && b.0 == Kind::Binary) {
                return Ok(());
            }
            let wrong = if fine(a.0) { right } else { left };
            Err(Error::user(format!(
                "Cannot apply '||' to arguments of type '<{}> || <{}>'. Supported form(s): '<STRING> || <STRING>'",
                a.1, b.1
            ))
            .with_hint(format!("Write CAST({} AS STRING).", text(wrong))))
        }
        _ => Ok(()),
    }
}

/// Checks operands while they are bound, where their places are still known.
#[derive(Debug)]
pub struct Operands;

impl ExprPlanner for Operands {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let op = match raw.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::StringConcat => Operator::StringConcat,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            BinaryOperator::And => Operator::And,
            BinaryOperator::Or => Operator::Or,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let binary = BinaryExpr::new(Box::new(raw.left.clone()), op, Box::new(raw.right.clone()));
        if let Some(compared) = boolean_with_text(&binary, schema) {
            return Ok(PlannerResult::Planned(compared?));
        }
        check_binary(&binary, schema)
            .map_err(|e| carry(e.at(first_span(&raw.left).or_else(|| first_span(&raw.right)))))?;
        Ok(PlannerResult::Original(raw))
    }
}

/// `flag = 'true'`: as in Flink, a BOOLEAN and a text are never equal. Where one is asked to be less, the text is read.
fn boolean_with_text(binary: &BinaryExpr, schema: &DFSchema) -> Option<DfResult<Expr>> {
    let (left, right) = (&binary.left, &binary.right);
    let kinds = (kind(left, schema).ok()?.0, kind(right, schema).ok()?.0);
    if !matches!(kinds, (Kind::Boolean, Kind::Text) | (Kind::Text, Kind::Boolean)) {
        return None;
    }
    let unequal = match binary.op {
        Operator::Eq => false,
        Operator::NotEq => true,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
            // No zone is asked for.
            let flag = Field::new("", DataType::Boolean, true);
            let read = |e: &Expr| Box::new(functions::cast_expr(e.clone(), &flag, false, chrono_tz::UTC));
            let (left, right) = match kinds.0 {
                Kind::Text => (read(left), right.clone()),
                _ => (left.clone(), read(right)),
            };
            return Some(Ok(Expr::BinaryExpr(BinaryExpr::new(left, binary.op, right))));
        }
        _ => return None,
    };
    let unknown = left.as_ref().clone().is_null().or(right.as_ref().clone().is_null());
    Some(when(unknown, lit(ScalarValue::Boolean(None))).otherwise(lit(unequal)))
}

fn check_union(union: &datafusion_expr::logical_plan::Union) -> Result<()> {
    let Some(first) = union.inputs.first() else { return Ok(()) };
    for input in &union.inputs[1..] {
        for (index, (a, b)) in first.schema().fields().iter().zip(input.schema().fields()).enumerate() {
            let (a, b) = (SqlType::of(a), SqlType::of(b));
            let (ka, kb) = (kind_of(&a), kind_of(&b));
            if ka != kb && ka != Kind::Null && kb != Kind::Null {
                return Err(Error::user(format!(
                    "Type mismatch in column {} of UNION ALL: {a} and {b}.",
                    index + 1
                ))
                .with_hint("CAST one of them."));
            }
        }
    }
    Ok(())
}

fn check_values(values: &datafusion_expr::logical_plan::Values) -> Result<()> {
    let empty = DFSchema::empty();
    let Some(first) = values.values.first() else { return Ok(()) };
    for column in 0..first.len() {
        let mut known: Option<(Kind, SqlType)> = None;
        for row in &values.values {
            let Some(expr) = row.get(column) else { continue };
            let found = kind(expr, &empty)?;
            match &known {
                _ if found.0 == Kind::Null => {}
                None => known = Some(found),
                Some(k) if k.0 == found.0 => {}
                Some(k) => {
                    return Err(Error::user(format!(
                        "Values passed to VALUES operator must have compatible types: {} and {}.",
                        k.1, found.1
                    ))
                    .with_hint("CAST one of them."));
                }
            }
        }
    }
    Ok(())
}
