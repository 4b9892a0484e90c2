//! Rows that are written `(a, b)`: in comparisons, before IN, and as values.

use super::dialect::call;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    SelectItem, SetExpr, TableFactor, UnaryOperator, Value,
};

/// How the function of a row that was compared with a subquery's is written.
const ROW: &str = "ROW";

/// `(a, b)` as a value.
pub(super) fn row_of(items: Vec<Expr>) -> Function {
    call(Ident::with_quote('`', ROW), items)
}

/// The parts of a row that is written out.
fn parts(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(items) if items.len() > 1 => Some(items.clone()),
        Expr::Nested(inner) => parts(inner),
        Expr::Struct { values, fields } if fields.is_empty() => Some(values.clone()),
        Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case(ROW) => plain_arguments(call),
        _ => None,
    }
}

/// The arguments of a call that has nothing but values.
fn plain_arguments(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let values = list.args.iter().map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    });
    values.collect::<Option<Vec<_>>>().filter(|values| values.len() > 1)
}

/// Comparisons of rows become comparisons of their parts. Before IN with a subquery both become values of type ROW, which
/// the planner looks for.
pub(super) fn compare(expr: &mut Expr) {
    let replaced = match &*expr {
        Expr::BinaryOp { left, op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq), right } => {
            match (parts(left), parts(right)) {
                (Some(left), Some(right)) if left.len() == right.len() => {
                    let equal = all_equal(left, right);
                    Some(if *op == BinaryOperator::Eq { equal } else { not(equal) })
                }
                _ => None,
            }
        }
        Expr::InList { expr: left, list, negated } => parts(left).and_then(|left| {
            let mut any: Option<Expr> = None;
            for right in list {
                let right = parts(right).filter(|r| r.len() == left.len())?;
                let one = all_equal(left.clone(), right);
                any = Some(match any {
                    None => one,
                    Some(others) => binary(others, BinaryOperator::Or, one),
                });
            }
            let any = Expr::Nested(Box::new(any?));
            Some(if *negated { not(any) } else { any })
        }),
        Expr::InSubquery { expr: left, subquery, negated } => parts(left).and_then(|left| {
            let subquery = as_rows(subquery, left.len())?;
            let left = Box::new(Expr::Function(row_of(left)));
            Some(Expr::InSubquery { expr: left, subquery: Box::new(subquery), negated: *negated })
        }),
        _ => None,
    };
    if let Some(replaced) = replaced {
        *expr = replaced;
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn not(expr: Expr) -> Expr {
    let op = UnaryOperator::Not;
    Expr::UnaryOp { op, expr: Box::new(Expr::Nested(Box::new(expr))) }
}

fn all_equal(left: Vec<Expr>, right: Vec<Expr>) -> Expr {
    let pairs = left.into_iter().zip(right).map(|(l, r)| binary(l, BinaryOperator::Eq, r));
    let all = pairs.reduce(|a, b| binary(a, BinaryOperator::And, b));
    Expr::Nested(Box::new(all.unwrap_or(Expr::Value(Value::Boolean(true).into()))))
}

/// The subquery's columns as one ROW.
fn as_rows(subquery: &Query, width: usize) -> Option<Query> {
    if let Some(rows) = selected_as_rows(subquery, width) {
        return Some(rows);
    }
    let name = |i: usize| Ident::with_quote('`', format!("$in{i}"));
    let columns = (0..width).map(|i| format!("`$in{i}`")).collect::<Vec<_>>().join(", ");
    let mut rows = super::parse_query(&format!("SELECT 1 FROM (SELECT 1) AS `$in` ({columns})")).ok()?.ast;
    let SetExpr::Select(select) = rows.body.as_mut() else { return None };
    let row = row_of((0..width).map(|i| Expr::Identifier(name(i))).collect());
    select.projection = vec![SelectItem::UnnamedExpr(Expr::Function(row))];
    let relation = &mut select.from.first_mut()?.relation;
    let TableFactor::Derived { subquery: inner, .. } = relation else { return None };
    **inner = subquery.clone();
    Some(*rows)
}

/// The same where they are items of a SELECT, so that conditions of outer queries stay in it.
fn selected_as_rows(subquery: &Query, width: usize) -> Option<Query> {
    let ordered = subquery.order_by.is_some() || subquery.limit_clause.is_some() || subquery.fetch.is_some();
    let SetExpr::Select(select) = subquery.body.as_ref() else { return None };
    if ordered || select.distinct.is_some() || select.projection.len() != width {
        return None;
    }
    let items = select.projection.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    });
    let row = row_of(items.collect::<Option<Vec<_>>>()?);
    let mut rows = subquery.clone();
    if let SetExpr::Select(select) = rows.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(Expr::Function(row))];
    }
    Some(rows)
}
