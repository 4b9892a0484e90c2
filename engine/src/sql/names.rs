//! Names of the items of SELECT: `EXPR$i` for what has none, and a number behind a name that comes twice.

use super::desugar::is_unknown;
use datafusion_sql::sqlparser::ast::{
    self, Expr, Ident, Query, Select, SelectItem, TableFactor, VisitMut, VisitorMut,
};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Stands behind a name that was made up so as to be unlike any other, before a number; [`written`] takes both off.
const MARK: char = '\u{2}';

/// The name as the user sees it.
pub fn written(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

/// Names as Flink gives them to the columns of a query: a name that was there before gets a number.
pub fn unique<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut used = HashSet::new();
    let mut unique = |name: &str| {
        let mut candidate = name.to_string();
        let mut number = 0;
        while !used.insert(candidate.clone()) {
            candidate = format!("{name}{number}");
            number += 1;
        }
        candidate
    };
    names.into_iter().map(|name| unique(written(name))).collect()
}

/// Makes up a name for each item beside a `*`, whose columns are known only when it is bound: what they are called then
/// must be sorted out with [`unique`].
pub fn mark_beside_stars(query: &mut Query) {
    struct Marks;
    impl VisitorMut for Marks {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            if select.projection.iter().any(is_star) {
                (0..select.projection.len()).for_each(|i| mark(&mut select.projection, i));
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Marks);
}

fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// Gives item `i` a name unlike any other.
fn mark(items: &mut [SelectItem], i: usize) {
    let name = match &items[i] {
        SelectItem::ExprWithAlias { alias, .. } => written(&alias.value).to_string(),
        SelectItem::UnnamedExpr(expr) => {
            natural_name(expr).map_or_else(|| format!("EXPR${i}"), |(name, _)| name)
        }
        _ => return,
    };
    let alias = Ident::with_quote('`', format!("{name}{MARK}{i}"));
    match &mut items[i] {
        SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
        item => {
            if let SelectItem::UnnamedExpr(expr) = item {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
    }
}

/// Gives the items of SELECT Flink's names: `EXPR$i` to what has none, `k0` to a second `k`.
pub(super) fn name_items(select: &mut Select) {
    let stars = select.projection.iter().any(is_star);
    let beside = in_stars(select);
    let wanted: Vec<Option<(String, bool)>> = select
        .projection
        .iter()
        .enumerate()
        .map(|(i, item)| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some((alias.value.clone(), true)),
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) if is_unknown(ident) => {
                Some((format!("EXPR${i}"), false))
            }
            SelectItem::UnnamedExpr(expr) => {
                Some(natural_name(expr).unwrap_or_else(|| (format!("EXPR${i}"), false)))
            }
            // Their names are known when they are bound.
            _ => None,
        })
        .collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (name, _) in wanted.iter().flatten() {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    let mut used = HashSet::new();
    for (i, wanted) in wanted.iter().enumerate() {
        let Some((name, own)) = wanted else { continue };
        if stars && (beside.contains(&i) || counts[name.as_str()] > 1) {
            mark(&mut select.projection, i);
            continue;
        }
        let mut candidate = name.clone();
        let mut number = 0;
        while !used.insert(candidate.clone()) {
            candidate = format!("{name}{number}");
            number += 1;
        }
        if *own && candidate == *name {
            continue;
        }
        let alias = Ident::with_quote('`', candidate);
        match &mut select.projection[i] {
            SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
            item => {
                if let SelectItem::UnnamedExpr(expr) = item {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
    }
}

/// The items that are columns which a `*` beside them holds already.
fn in_stars(select: &Select) -> HashSet<usize> {
    let everything = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let all_of = |table: &Ident| {
        select.projection.iter().any(|item| match item {
            SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                name.0.last().and_then(|n| n.as_ident()).is_some_and(|n| n.value == table.value)
            }
            _ => false,
        })
    };
    let relations: HashSet<String> = select
        .from
        .iter()
        .flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)))
        .filter_map(relation_name)
        .collect();
    let is_beside = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_)) => everything,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => match &parts[..] {
            [table, _] => everything && relations.contains(&table.value) || all_of(table),
            _ => false,
        },
        _ => false,
    };
    select.projection.iter().enumerate().filter(|(_, item)| is_beside(item)).map(|(i, _)| i).collect()
}

/// What the columns of a table in FROM are called by.
pub fn relation_name(relation: &TableFactor) -> Option<String> {
    match relation {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.value.clone())
        }
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().map(|n| n.value.clone()),
        _ => None,
    }
}

/// The name that a column has by itself, and whether DataFusion gives it the same.
fn natural_name(expr: &Expr) -> Option<(String, bool)> {
    match expr {
        Expr::Identifier(ident) => Some((ident.value.clone(), true)),
        // `t.k` is called k by both; of `t.r.f` only we know that it is called f.
        Expr::CompoundIdentifier(parts) => Some((parts.last()?.value.clone(), false)),
        Expr::Nested(inner) => natural_name(inner).map(|(name, _)| (name, false)),
        _ => None,
    }
}
