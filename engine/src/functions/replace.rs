//! What DataFusion binds with its own meaning, replaced by ours: casts, LIKE, SIMILAR TO.

use super::cast::cast_expr;
use super::families;
use super::scalar::Environment;
use chrono_tz::Tz;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::{Like, ScalarFunction};
use datafusion_expr::{Expr, lit};
use std::sync::Arc;

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
        other => Transformed::no(other),
    }
}

fn pattern(name: &'static str, like: Like, zone: Tz) -> Expr {
    let Some(function) = families().find(|f| f.name == name) else { return Expr::Like(like) };
    let env = Environment::new(Arc::new(crate::time::MockClock::at(0)), zone);
    let mut args = vec![*like.expr, *like.pattern];
    if let Some(c) = like.escape_char {
        args.push(lit(ScalarValue::Utf8(Some(c.to_string()))));
    }
    let call = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function.udf(&env)), args));
    if like.negated { Expr::Not(Box::new(call)) } else { call }
}
