//! What DataFusion binds with its own meaning, replaced by ours: casts, LIKE, SIMILAR TO.

use super::cast::cast_expr;
use super::families;
use super::scalar::Environment;
use arrow::datatypes::IntervalMonthDayNano;
use chrono_tz::Tz;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::{Case, Like, ScalarFunction};
use datafusion_expr::{Expr, lit};
use std::sync::Arc;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// The expression with Flink's meaning of CAST, TRY_CAST, LIKE and SIMILAR TO at every level. Call it on bound
/// expressions before DataFusion's analyzer adds casts of its own. It does not go into subqueries: transform
/// the expressions of their plans, too. Names of output columns may change; keep them with `NamePreserver`.
pub fn replace(expr: Expr, zone: Tz) -> Result<Transformed<Expr>> {
    expr.transform_up(|e| Ok(replace_one(e, zone)))
}

/// As [`replace`], for one node: its arguments are left alone.
pub fn replace_one(expr: Expr, zone: Tz) -> Transformed<Expr> {
    match expr {
        Expr::Cast(c) => Transformed::yes(cast_expr(*c.expr, &c.field, false, zone)),
        Expr::TryCast(c) => Transformed::yes(cast_expr(*c.expr, &c.field, true, zone)),
        Expr::Like(like) if !like.case_insensitive => Transformed::yes(pattern("like ", like, zone)),
        Expr::SimilarTo(like) => Transformed::yes(pattern("similar ", like, zone)),
        // 24 hours are a day.
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), metadata)
            if v.months == 0 && v.nanoseconds.unsigned_abs() >= DAY_NANOS.unsigned_abs() =>
        {
            let nanos = i128::from(v.days) * i128::from(DAY_NANOS) + i128::from(v.nanoseconds);
            let days = nanos / i128::from(DAY_NANOS);
            let rest = (nanos % i128::from(DAY_NANOS)) as i64;
            match i32::try_from(days) {
                Ok(days) => {
                    let value = IntervalMonthDayNano::new(0, days, rest);
                    Transformed::yes(Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), metadata))
                }
                Err(_) => {
                    Transformed::no(Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), metadata))
                }
            }
        }
        // An interval of years and months has a type of its own.
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), metadata)
            if v.months != 0 && v.days == 0 && v.nanoseconds == 0 =>
        {
            Transformed::yes(Expr::Literal(ScalarValue::IntervalYearMonth(Some(v.months)), metadata))
        }
        Expr::Negative(inner) => match negated(&inner) {
            Some(literal) => Transformed::yes(literal),
            None => Transformed::no(Expr::Negative(inner)),
        },
        Expr::ScalarFunction(call) => match call.func.name() {
            // The type of a rounded DECIMAL follows from a constant; it must not change when one is folded later.
            "round" if !digits_known(&call.args) => Transformed::yes(renamed("round ", call.args, zone)),
            "truncate" if !digits_known(&call.args) => {
                Transformed::yes(renamed("truncate ", call.args, zone))
            }
            // Only the branch that is taken is computed.
            "if" => Transformed::yes(case(call)),
            _ => Transformed::no(Expr::ScalarFunction(call)),
        },
        other => Transformed::no(other),
    }
}

/// `-2` as a literal.
fn negated(expr: &Expr) -> Option<Expr> {
    let Expr::Literal(value, None) = expr else { return None };
    let value = match value {
        ScalarValue::Int32(Some(v)) => ScalarValue::Int32(Some(v.checked_neg()?)),
        ScalarValue::Int64(Some(v)) => ScalarValue::Int64(Some(v.checked_neg()?)),
        ScalarValue::Decimal128(Some(v), p, s) => ScalarValue::Decimal128(Some(v.checked_neg()?), *p, *s),
        ScalarValue::Float64(Some(v)) => ScalarValue::Float64(Some(-v)),
        _ => return None,
    };
    Some(Expr::Literal(value, None))
}

/// TYPEOF of a value whose type is known: its text.
pub fn type_text_expr(sql_type: &crate::sql::SqlType, nullable: bool, zone: Tz) -> Expr {
    let not_null = if nullable || *sql_type == crate::sql::SqlType::Null { "" } else { " NOT NULL" };
    renamed("typeof ", vec![lit(format!("{sql_type}{not_null}"))], zone)
}

fn digits_known(args: &[Expr]) -> bool {
    args.get(1).is_none_or(|d| matches!(d, Expr::Literal(..)))
}

fn case(call: ScalarFunction) -> Expr {
    match <[Expr; 3]>::try_from(call.args) {
        Ok([condition, yes, no]) => Expr::Case(Case {
            expr: None,
            when_then_expr: vec![(Box::new(condition), Box::new(yes))],
            else_expr: Some(Box::new(no)),
        }),
        Err(args) => Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args)),
    }
}

fn renamed(name: &'static str, args: Vec<Expr>, zone: Tz) -> Expr {
    let env = Environment::new(Arc::new(crate::time::MockClock::at(0)), zone);
    let function = families().find(|f| f.name == name);
    match function {
        Some(f) => Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(f.udf(&env)), args)),
        // Unreachable: the names are those of our own tables.
        None => Expr::Literal(ScalarValue::Null, None),
    }
}

fn pattern(name: &'static str, like: Like, zone: Tz) -> Expr {
    let mut args = vec![*like.expr, *like.pattern];
    if let Some(c) = like.escape_char {
        args.push(lit(ScalarValue::Utf8(Some(c.to_string()))));
    }
    let call = renamed(name, args, zone);
    if like.negated { Expr::Not(Box::new(call)) } else { call }
}
