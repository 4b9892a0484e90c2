//! What is written out before a query is bound, for the binder knows it not: a second `*` (`SELECT *, *`), `r.*` of a column of
//! type ROW, and PIVOT. Each needs the columns of relations in FROM.

use crate::error::{Error, Result};
use crate::planner::diagnostics::span;
use crate::sql::{SqlType, relation_name};
use arrow::datatypes::{Field, SchemaRef};
use datafusion_sql::sqlparser::ast::{
    self, Expr, ExprWithAlias, GroupByExpr, Ident, PivotValueSource, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableAlias, TableFactor, VisitMut, VisitorMut, With,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Gives the columns of a relation in FROM, where the subqueries of WITH are in scope.
pub type SchemaOf<'a> = &'a dyn Fn(&TableFactor, Option<With>) -> Result<SchemaRef>;

/// Writes all of them out in the query and its subqueries.
///
/// Errors: a PIVOT whose table cannot be told, or whose values are no list.
pub fn rewrite(query: &mut Query, schema: SchemaOf<'_>) -> Result<()> {
    struct Stars<'a> {
        schema: SchemaOf<'a>,
        scopes: Vec<With>,
    }
    impl Stars<'_> {
        fn scope(&self) -> Option<With> {
            let mut all = self.scopes.first()?.clone();
            all.cte_tables = self.scopes.iter().flat_map(|with| with.cte_tables.clone()).collect();
            Some(all)
        }
    }
    impl VisitorMut for Stars<'_> {
        type Break = Error;
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            self.scopes.extend(query.with.clone());
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            self.scopes.truncate(self.scopes.len() - usize::from(query.with.is_some()));
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            if matches!(factor, TableFactor::Pivot { .. })
                && let Err(e) = pivot(factor, &|f| (self.schema)(f, self.scope()))
            {
                return ControlFlow::Break(e);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            rows(select, &|f| (self.schema)(f, self.scope()));
            repeated(select, &|f| (self.schema)(f, self.scope()));
            ControlFlow::Continue(())
        }
    }
    match query.visit(&mut Stars { schema, scopes: Vec::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

type Columns<'a> = &'a dyn Fn(&TableFactor) -> Result<SchemaRef>;

fn quoted(name: &str) -> Ident {
    Ident::with_quote('`', name)
}

fn relations(select: &Select) -> Vec<TableFactor> {
    let of = |from: &ast::TableWithJoins| {
        std::iter::once(from.relation.clone())
            .chain(from.joins.iter().map(|j| j.relation.clone()))
            .collect::<Vec<_>>()
    };
    select.from.iter().flat_map(of).collect()
}

/// The parts of the name before `.*`.
fn qualifier(item: &SelectItem) -> Option<Vec<Ident>> {
    let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item else {
        return None;
    };
    name.0.iter().map(|part| part.as_ident().cloned()).collect()
}

/// `r.*` and `t.r.*`: the fields of the column `r`.
fn rows(select: &mut Select, columns: Columns<'_>) {
    let all = relations(select);
    let names: HashSet<String> = all.iter().filter_map(relation_name).collect();
    let is_relation = |parts: &[Ident]| parts.last().is_some_and(|last| names.contains(&last.value));
    let wanted = |item: &SelectItem| qualifier(item).filter(|parts| !is_relation(parts));
    if !select.projection.iter().any(|item| wanted(item).is_some()) {
        return;
    }
    let items = std::mem::take(&mut select.projection);
    select.projection = items
        .into_iter()
        .flat_map(|item| match wanted(&item).and_then(|parts| fields(&parts, &all, columns)) {
            Some(fields) => {
                fields.into_iter().map(|f| SelectItem::UnnamedExpr(Expr::CompoundIdentifier(f))).collect()
            }
            None => vec![item],
        })
        .collect();
}

/// The fields of the ROW that `parts` name, as names.
fn fields(parts: &[Ident], all: &[TableFactor], columns: Columns<'_>) -> Option<Vec<Vec<Ident>>> {
    let (table, column) = match parts {
        [column] => (None, column),
        [table, column] => (Some(&table.value), column),
        _ => return None,
    };
    for relation in all {
        if table.is_some_and(|t| relation_name(relation).as_ref() != Some(t)) {
            continue;
        }
        let Ok(schema) = columns(relation) else { continue };
        let Some(SqlType::Row(fields)) = schema.field_with_name(&column.value).ok().map(SqlType::of) else {
            continue;
        };
        let named = |name: &str| parts.iter().cloned().chain([quoted(name)]).collect();
        return Some(fields.iter().map(|f| named(&f.name)).collect());
    }
    None
}

/// A `*` whose columns another one holds already becomes a list of them.
fn repeated(select: &mut Select, columns: Columns<'_>) {
    let stars = select.projection.iter().filter(|i| is_star(i)).count();
    if stars < 2 {
        return;
    }
    let mut told: HashSet<String> = HashSet::new();
    let all = relations(select);
    let items = std::mem::take(&mut select.projection);
    select.projection = items
        .into_iter()
        .flat_map(|item| {
            let of: Vec<&TableFactor> = match (&item, qualifier(&item)) {
                (SelectItem::Wildcard(_), _) => all.iter().collect(),
                (_, Some(parts)) => {
                    let last = parts.last().map(|p| p.value.clone());
                    all.iter().filter(|r| relation_name(r) == last).collect()
                }
                _ => return vec![item],
            };
            let names: Option<Vec<String>> = of.iter().map(|r| relation_name(r)).collect();
            let Some(names) = names else { return vec![item] };
            let before = names.iter().any(|n| told.contains(n));
            told.extend(names.iter().cloned());
            if !before {
                return vec![item];
            }
            let listed = of.iter().zip(&names).map(|(relation, name)| {
                let schema = columns(relation)?;
                let item = |f: &std::sync::Arc<Field>| SelectItem::ExprWithAlias {
                    expr: Expr::CompoundIdentifier(vec![quoted(name), quoted(f.name())]),
                    alias: quoted(f.name()),
                };
                Ok(schema.fields().iter().map(item).collect::<Vec<_>>())
            });
            match listed.collect::<Result<Vec<_>>>() {
                Ok(items) => items.concat(),
                Err(_) => vec![item],
            }
        })
        .collect();
}

fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// `t PIVOT (SUM(v) AS s FOR k IN ('a' AS x, 'b'))`: an aggregate with a filter for each value, grouped by the columns that
/// are named nowhere in it.
fn pivot(factor: &mut TableFactor, columns: Columns<'_>) -> Result<()> {
    let TableFactor::Pivot { table, aggregate_functions, value_column, value_source, default_on_null, alias } =
        factor
    else {
        return Ok(());
    };
    let at = span(table.span());
    let wrong = |what: &str| {
        Error::unsupported(format!("PIVOT {what}"), "Write PIVOT (SUM(x) FOR k IN ('a', 'b')).").at(at)
    };
    let PivotValueSource::List(values) = value_source else { return Err(wrong("of a query")) };
    if default_on_null.is_some() {
        return Err(wrong("with DEFAULT ON NULL"));
    }
    let keys: Vec<Expr> = match &value_column[..] {
        [Expr::Tuple(keys)] => keys.clone(),
        keys => keys.to_vec(),
    };
    let mut used = Names::default();
    for expr in aggregate_functions.iter().map(|a| &a.expr).chain(&keys) {
        let _ = expr.clone().visit(&mut used);
    }
    let schema = columns(table)?;
    let group: Vec<Expr> = schema
        .fields()
        .iter()
        .filter(|f| !used.0.contains(f.name()))
        .map(|f| Expr::Identifier(quoted(f.name())))
        .collect();
    let mut items: Vec<SelectItem> = group.iter().cloned().map(SelectItem::UnnamedExpr).collect();
    for value in values.iter() {
        let constants: Vec<Expr> = match &value.expr {
            Expr::Tuple(constants) => constants.clone(),
            constant => vec![constant.clone()],
        };
        if constants.len() != keys.len() {
            return Err(wrong("with values of another number than the columns after FOR"));
        }
        let is = keys.iter().zip(constants).map(|(key, constant)| Expr::BinaryOp {
            left: Box::new(key.clone()),
            op: ast::BinaryOperator::Eq,
            right: Box::new(constant),
        });
        let Some(filter) = is.reduce(|a, b| Expr::BinaryOp {
            left: Box::new(a),
            op: ast::BinaryOperator::And,
            right: Box::new(b),
        }) else {
            return Err(wrong("without a column after FOR"));
        };
        let name = value.alias.as_ref().map_or_else(|| value.expr.to_string(), |a| a.value.clone());
        for ExprWithAlias { expr, alias } in aggregate_functions.iter() {
            let Expr::Function(mut call) = expr.clone() else { return Err(wrong("without an aggregate")) };
            call.filter = Some(Box::new(filter.clone()));
            let name = alias.as_ref().map_or_else(|| name.clone(), |a| format!("{name}_{}", a.value));
            items.push(SelectItem::ExprWithAlias { expr: Expr::Function(call), alias: quoted(&name) });
        }
    }
    let mut inner = crate::sql::parse_query("SELECT 1 FROM t")?.ast;
    if let SetExpr::Select(select) = inner.body.as_mut()
        && let Some(from) = select.from.first_mut()
    {
        from.relation = table.as_ref().clone();
        select.projection = items;
        select.group_by = GroupByExpr::Expressions(group, vec![]);
    }
    let alias = alias.take().or_else(|| {
        let name = relation_name(table)?;
        Some(TableAlias { explicit: true, name: quoted(&name), columns: vec![], at: None })
    });
    *factor = TableFactor::Derived { lateral: false, subquery: inner, alias, sample: None };
    Ok(())
}

/// Names of columns in an expression.
#[derive(Default)]
struct Names(HashSet<String>);

impl VisitorMut for Names {
    type Break = ();
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.0.extend([ident.value.clone()]),
            Expr::CompoundIdentifier(idents) => self.0.extend(idents.last().map(|i| i.value.clone())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
