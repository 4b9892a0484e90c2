//! USING and NATURAL of RIGHT and FULL JOIN: the common column is the left side's value, or the right side's where the left
//! has none. DataFusion always takes the left one's, so the join is written out with ON.

use crate::error::{Error, Result};
use crate::planner::diagnostics::span;
use crate::sql::relation_name;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, TableFactor, TableWithJoins, Value,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use std::ops::ControlFlow;

/// Gives the names of a relation's columns.
pub type ColumnsOf<'a> = &'a dyn Fn(&TableFactor) -> Result<Vec<String>>;

/// Writes out the joins of the query and its subqueries.
///
/// Errors: a side that has no name, or whose columns cannot be told.
pub fn rewrite(query: &mut Query, columns: ColumnsOf<'_>) -> Result<()> {
    struct Joins<'a>(ColumnsOf<'a>);
    impl VisitorMut for Joins<'_> {
        type Break = Error;
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            match write_out(select, self.0) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match query.visit(&mut Joins(columns)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The constraint of a join, and whether its right side is kept whole.
fn constraint(join: &JoinOperator) -> Option<(&JoinConstraint, bool)> {
    Some(match join {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c) => (c, false),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) | JoinOperator::FullOuter(c) => (c, true),
        _ => return None,
    })
}

fn is_common(constraint: &JoinConstraint) -> bool {
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

fn needs(from: &TableWithJoins) -> bool {
    from.joins.iter().filter_map(|j| constraint(&j.join_operator)).any(|(c, right)| right && is_common(c))
}

/// One relation of a FROM: its name, and the common columns that a `*` does not tell again.
struct Side {
    name: Ident,
    common: Vec<String>,
}

/// The columns of one item of FROM.
struct Columns {
    /// Common columns in order, and what they are.
    common: Vec<(String, Expr)>,
    sides: Vec<Side>,
}

fn write_out(select: &mut Select, columns: ColumnsOf<'_>) -> Result<()> {
    if !select.from.iter().any(needs) {
        return Ok(());
    }
    let mut all = Vec::new();
    for from in &mut select.from {
        all.push(match needs(from) {
            true => join(from, columns)?,
            false => Columns { common: Vec::new(), sides: plain_sides(from)? },
        });
    }
    let mut items = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(_) => all.iter().for_each(|columns| star(columns, &mut items)),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => match value(&all, &name.value) {
                Some(expr) => items.push(SelectItem::ExprWithAlias { expr, alias: name }),
                None => items.push(SelectItem::UnnamedExpr(Expr::Identifier(name))),
            },
            other => items.push(other),
        }
    }
    let mut names = Names { all: &all, depth: 0 };
    let _ = items.visit(&mut names);
    let _ = select.selection.visit(&mut names);
    let _ = select.having.visit(&mut names);
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        let _ = keys.visit(&mut names);
    }
    select.projection = items;
    Ok(())
}

fn side(factor: &TableFactor) -> Result<Side> {
    let Some(name) = relation_name(factor) else {
        let error = Error::unsupported(
            "USING or NATURAL beside a RIGHT or FULL JOIN of something without a name",
            "Give it an alias, or write ON l.k = r.k.",
        );
        return Err(error.at(span(factor.span())));
    };
    Ok(Side { name: Ident::with_quote('`', name), common: Vec::new() })
}

fn plain_sides(from: &TableWithJoins) -> Result<Vec<Side>> {
    std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)).map(side).collect()
}

fn join(from: &mut TableWithJoins, columns: ColumnsOf<'_>) -> Result<Columns> {
    let mut known = Columns { common: Vec::new(), sides: vec![side(&from.relation)?] };
    let mut left_factors = vec![from.relation.clone()];
    for join in &mut from.joins {
        let mut right = side(&join.relation)?;
        let factor = join.relation.clone();
        let names: Option<Vec<String>> = match constraint(&join.join_operator) {
            Some((JoinConstraint::Using(names), _)) => Some(names.iter().filter_map(last_word).collect()),
            Some((JoinConstraint::Natural, _)) => {
                let of_right = columns(&factor)?;
                let mut names: Vec<String> = Vec::new();
                for name in known.common.iter().map(|(name, _)| name.clone()) {
                    names.push(name);
                }
                for left in &left_factors {
                    for name in columns(left)? {
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                }
                Some(names.into_iter().filter(|n| of_right.contains(n)).collect())
            }
            _ => None,
        };
        if let Some(names) = names {
            let keeps_right = constraint(&join.join_operator).is_some_and(|(_, right)| right);
            let mut condition: Option<Expr> = None;
            for name in names {
                let mine = column(&right.name, &name);
                let left = match known.common.iter().find(|(common, _)| *common == name) {
                    Some((_, expr)) => expr.clone(),
                    None => {
                        let at = owner(&left_factors, &name, columns)?;
                        known.sides[at].common.push(name.clone());
                        column(&known.sides[at].name, &name)
                    }
                };
                let equal = binary(left.clone(), BinaryOperator::Eq, mine.clone());
                condition = Some(match condition {
                    None => equal,
                    Some(others) => binary(others, BinaryOperator::And, equal),
                });
                let value = if keeps_right { coalesce(left, mine)? } else { left };
                match known.common.iter_mut().find(|(common, _)| *common == name) {
                    Some((_, expr)) => *expr = value,
                    None => known.common.push((name.clone(), value)),
                }
                right.common.push(name);
            }
            let on = condition.unwrap_or(Expr::Value(Value::Boolean(true).into()));
            let on = JoinConstraint::On(on);
            join.join_operator = match &join.join_operator {
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => JoinOperator::Left(on),
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => JoinOperator::Right(on),
                JoinOperator::FullOuter(_) => JoinOperator::FullOuter(on),
                _ => JoinOperator::Inner(on),
            };
        }
        known.sides.push(right);
        left_factors.push(factor);
    }
    Ok(known)
}

fn last_word(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone())
}

/// Which of the relations has the column `name`.
fn owner(factors: &[TableFactor], name: &str, columns: ColumnsOf<'_>) -> Result<usize> {
    if factors.len() == 1 {
        return Ok(0);
    }
    for (index, factor) in factors.iter().enumerate() {
        if columns(factor)?.iter().any(|c| c == name) {
            return Ok(index);
        }
    }
    Err(Error::user(format!("Column '{name}' not found in any table.")))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn column(table: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![table.clone(), Ident::with_quote('`', name)])
}

fn coalesce(left: Expr, right: Expr) -> Result<Expr> {
    let mut call = crate::sql::parse_expression("COALESCE(1, 2)")?;
    if let Expr::Function(function) = &mut call
        && let datafusion_sql::sqlparser::ast::FunctionArguments::List(list) = &mut function.args
    {
        use datafusion_sql::sqlparser::ast::{FunctionArg, FunctionArgExpr};
        list.args = [left, right].map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).into();
    }
    Ok(call)
}

/// The items that `*` stands for: the common columns first.
fn star(columns: &Columns, items: &mut Vec<SelectItem>) {
    for (name, expr) in &columns.common {
        items.push(SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('`', name) });
    }
    for side in &columns.sides {
        let table = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![side.name.clone()]));
        let excluded: Vec<ObjectName> =
            side.common.iter().map(|c| ObjectName::from(vec![Ident::with_quote('`', c)])).collect();
        let options = WildcardAdditionalOptions {
            opt_exclude: (!excluded.is_empty()).then_some(ExcludeSelectItem::Multiple(excluded)),
            ..WildcardAdditionalOptions::default()
        };
        items.push(SelectItem::QualifiedWildcard(table, options));
    }
}

fn value(all: &[Columns], name: &str) -> Option<Expr> {
    let mut common = all.iter().flat_map(|columns| &columns.common);
    common.find(|(common, _)| common == name).map(|(_, expr)| expr.clone())
}

/// Puts the common columns' values for their names, but in subqueries.
struct Names<'a> {
    all: &'a [Columns],
    depth: usize,
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let (0, Expr::Identifier(name)) = (self.depth, &*expr)
            && let Some(value) = value(self.all, &name.value)
        {
            *expr = value;
        }
        ControlFlow::Continue(())
    }
}
