//! Expressions of DEFINE and MEASURES: what they read of rows becomes columns, over which they are bound.

use super::pattern::Variable;
use crate::error::{Error, Span};
use crate::planner::diagnostics::{carry, did_you_mean, span};
use crate::planner::expressions::{coerce, field_of};
use crate::planner::nodes::{MatchExpression, Value};
use crate::planner::rules;
use crate::sql::SqlType;
use crate::sql::data_type::{TimeKind, time_attribute, with_time_attribute, without_time_attribute};
use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono_tz::Tz;
use datafusion_common::{Column, DFSchema, Result};
use datafusion_expr::Expr;
use datafusion_expr::planner::RelationPlannerContext;
use datafusion_sql::sqlparser::ast::{
    self, AccessExpr, DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    Spanned, Subscript, Value as Literal, VisitMut, VisitorMut,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Marks names that stand for values: no text that can be read has them, as double quotes are refused.
const MARK: char = '"';

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    Measures,
    /// Of this variable.
    Define(usize),
}

/// Binds expressions over the rows of a pattern's variables.
pub(super) struct Binder<'a> {
    variables: &'a [Variable],
    input: &'a DFSchema,
    zone: Tz,
    context: &'a mut dyn RelationPlannerContext,
}

impl<'a> Binder<'a> {
    pub(super) fn new(
        variables: &'a [Variable],
        input: &'a DFSchema,
        zone: Tz,
        context: &'a mut dyn RelationPlannerContext,
    ) -> Self {
        Self { variables, input, zone, context }
    }

    /// `expr` of `clause`.
    pub(super) fn expression(&mut self, mut expr: ast::Expr, clause: Clause) -> Result<MatchExpression> {
        let mut rewrite = Rewrite {
            binder: self,
            clause,
            navigation: None,
            aggregated: false,
            seen: BTreeSet::new(),
            found: Vec::new(),
        };
        if let ControlFlow::Break(error) = expr.visit(&mut rewrite) {
            return Err(error);
        }
        let (values, fields): (Vec<Value>, Vec<Field>) = rewrite.found.into_iter().unzip();
        let schema = DFSchema::from_unqualified_fields(fields.into(), Default::default())?;
        let bound = self.context.sql_to_expr(expr, &schema)?;
        rules::strict_types::check_expression(&bound, &schema).map_err(carry)?;
        let bound = rules::meaning::expression(bound, &schema, self.zone)?;
        Ok(MatchExpression { expr: coerce(bound, &schema)?, values, schema: Arc::new(schema) })
    }

    fn variable(&self, name: &Ident) -> Option<usize> {
        self.variables.iter().position(|v| v.name.value == name.value)
    }

    fn not_found(&self, name: &Ident) -> Error {
        let names: Vec<&str> = self.variables.iter().map(|v| v.name.value.as_str()).collect();
        Error::user(format!("Table '{}' not found.", name.value))
            .with_hint(match did_you_mean(&name.value, &names) {
                hint if hint.is_empty() => {
                    format!("Columns are written variable.column; the pattern has {}.", names.join(", "))
                }
                hint => hint,
            })
            .at(span(name.span))
    }

    /// The column `name` of the input, with its field.
    fn column(&self, name: &Ident, variable: Option<usize>) -> std::result::Result<(Column, Field), Error> {
        let mut found = self.input.iter().filter(|(_, f)| *f.name() == name.value);
        let Some((qualifier, field)) = found.next() else {
            if variable.is_none() && self.variable(name).is_some() {
                return Err(Error::user(format!(
                    "'{}' is a variable of the pattern, not a column.",
                    name.value
                ))
                .with_hint(format!("Write {}.column, or COUNT(*) for the number of all rows.", name.value))
                .at(span(name.span)));
            }
            let names: Vec<&str> = self.input.fields().iter().map(|f| f.name().as_str()).collect();
            let place = variable.map_or_else(
                || "any table".to_string(),
                |v| format!("table '{}'", self.variables[v].name.value),
            );
            return Err(Error::user(format!("Column '{}' not found in {place}.", name.value))
                .with_hint(match did_you_mean(&name.value, &names) {
                    hint if hint.is_empty() => format!("There are: {}.", names.join(", ")),
                    hint => hint,
                })
                .at(span(name.span)));
        };
        if found.next().is_some() {
            return Err(Error::user(format!("Column '{}' is ambiguous.", name.value))
                .with_hint("Rename one in a subquery before MATCH_RECOGNIZE.")
                .at(span(name.span)));
        }
        Ok((Column::new(qualifier.cloned(), name.value.clone()), field.as_ref().clone()))
    }
}

/// Replaces what an expression reads of rows by names of values.
struct Rewrite<'b, 'a> {
    binder: &'b mut Binder<'a>,
    clause: Clause,
    /// Inside FIRST (true) or LAST, with the offset.
    navigation: Option<(bool, usize)>,
    /// Inside an aggregate: columns stay columns.
    aggregated: bool,
    /// Variables that were read; `None` for columns without one.
    seen: BTreeSet<Option<usize>>,
    found: Vec<(Value, Field)>,
}

type Flow<T = ()> = ControlFlow<datafusion_common::DataFusionError, T>;

fn stop<T>(error: Error) -> Flow<T> {
    ControlFlow::Break(carry(error))
}

fn given<T>(result: std::result::Result<T, Error>) -> Flow<T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(error) => stop(error),
    }
}

fn bound<T>(result: Result<T>) -> Flow<T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(error) => ControlFlow::Break(error),
    }
}

fn is_marked(ident: &Ident) -> bool {
    ident.quote_style == Some(MARK)
}

fn mark(name: &str, place: ast::Ident) -> Ident {
    Ident { value: name.to_string(), quote_style: Some(MARK), span: place.span }
}

impl VisitorMut for Rewrite<'_, '_> {
    type Break = datafusion_common::DataFusionError;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> Flow {
        stop(
            Error::unsupported(
                "A subquery in MATCH_RECOGNIZE",
                "Join before it, or compare with a constant.",
            )
            .at(span(query.span())),
        )
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> Flow {
        match expr {
            ast::Expr::Identifier(name) if !is_marked(name) => {
                let name = name.clone();
                *expr = ast::Expr::Identifier(self.value(None, &name)?);
            }
            ast::Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|p| !is_marked(p)) => {
                let (name, rest) = self.compound(parts)?;
                *expr = match rest {
                    rest if rest.is_empty() => ast::Expr::Identifier(name),
                    rest => ast::Expr::CompoundIdentifier(std::iter::once(name).chain(rest).collect()),
                };
            }
            ast::Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain)?,
            ast::Expr::Function(call) => {
                if let Some(replaced) = self.call(call)? {
                    *expr = replaced;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewrite<'_, '_> {
    /// The name for column `name` of the row that is meant.
    fn value(&mut self, variable: Option<usize>, name: &Ident) -> Flow<Ident> {
        let (column, field) = given(self.binder.column(name, variable))?;
        self.seen.insert(variable);
        if self.aggregated {
            return ControlFlow::Continue(mark(&name.value, name.clone()));
        }
        let (first, offset) = self.navigation.unwrap_or((false, 0));
        let read = match variable {
            Some(v) => format!("{}.{}", self.binder.variables[v].name.value, name.value),
            None => name.value.clone(),
        };
        let text = match (first, offset) {
            (false, 0) => read,
            (true, offset) => format!("FIRST({read}, {offset})"),
            (false, offset) => format!("LAST({read}, {offset})"),
        };
        let field = without_time_attribute(field).with_nullable(true).with_name(&text);
        let value = Value::Row { variable, column, first, offset };
        ControlFlow::Continue(mark(&self.add(value, field), name.clone()))
    }

    /// The name of the column that `value` has.
    fn add(&mut self, value: Value, field: Field) -> String {
        if let Some((_, known)) = self.found.iter().find(|(v, _)| *v == value) {
            return known.name().clone();
        }
        // Names of other values could be the same: `A.b` of the variable `A`, and of a column that is called so.
        let mut name = field.name().clone();
        while self.found.iter().any(|(_, f)| *f.name() == name) {
            name.push('\'');
        }
        self.found.push((value, field.with_name(&name)));
        name
    }

    /// `A.price`, `price.field`, `A.row.field`: the value, and the fields of it.
    fn compound(&mut self, parts: &[Ident]) -> Flow<(Ident, Vec<Ident>)> {
        let marked = |fields: &[Ident]| fields.iter().map(|f| mark(&f.value, f.clone())).collect();
        let Some((first, rest)) = parts.split_first() else {
            return stop(Error::internal("a name without parts"));
        };
        if let (Some(variable), Some((column, fields))) = (self.binder.variable(first), rest.split_first()) {
            // Flink's validator looks for the column in the wrong place.
            if !fields.is_empty() {
                let hint = "Read the field in a subquery before MATCH_RECOGNIZE.";
                let error = Error::unsupported("A field of a ROW behind a variable", hint);
                return stop(error.at(span(column.span)));
            }
            return ControlFlow::Continue((self.value(Some(variable), column)?, marked(fields)));
        }
        if self.binder.input.fields().iter().any(|f| *f.name() == first.value) {
            return ControlFlow::Continue((self.value(None, first)?, marked(rest)));
        }
        stop(self.binder.not_found(first))
    }

    /// `A.list[1]`, `list[1].field`.
    fn access(&mut self, root: &mut Box<ast::Expr>, chain: &mut Vec<AccessExpr>) -> Flow {
        let mut parts = match root.as_ref() {
            ast::Expr::Identifier(name) if !is_marked(name) => vec![name.clone()],
            ast::Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|p| !is_marked(p)) => {
                parts.clone()
            }
            _ => Vec::new(),
        };
        if !parts.is_empty() {
            while let Some(AccessExpr::Dot(ast::Expr::Identifier(field))) = chain.first() {
                parts.push(field.clone());
                chain.remove(0);
            }
            let (name, fields) = self.compound(&parts)?;
            let dots = fields.into_iter().map(|f| AccessExpr::Dot(ast::Expr::Identifier(f)));
            chain.splice(0..0, dots);
            **root = ast::Expr::Identifier(name);
        }
        for access in chain {
            match access {
                AccessExpr::Dot(ast::Expr::Identifier(field)) => *field = mark(&field.value, field.clone()),
                AccessExpr::Subscript(Subscript::Index { index }) => index.visit(self)?,
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// What a call becomes, if it is one of this clause's own.
    fn call(&mut self, call: &mut Function) -> Flow<Option<ast::Expr>> {
        let at = span(call.name.span()).or_else(|| span(call.span()));
        let name = call.name.to_string().to_uppercase();
        if call.over.is_some() {
            return stop(
                Error::unsupported("OVER in MATCH_RECOGNIZE", "Compute it in a subquery before or after it.")
                    .at(at),
            );
        }
        match name.as_str() {
            "FIRST" | "LAST" | "PREV" | "NEXT" => ControlFlow::Continue(Some(self.navigate(&name, call, at)?)),
            "MATCH_ROWTIME" => ControlFlow::Continue(Some(self.rowtime(call, at)?)),
            "MATCH_PROCTIME" => {
                let inner = bound(crate::sql::parse_expression("PROCTIME()").map_err(carry))?;
                ControlFlow::Continue(Some(inner))
            }
            "CLASSIFIER" | "MATCH_NUMBER" => stop(
                Error::unsupported(
                    format!("{name}() in MATCH_RECOGNIZE"),
                    "Flink has it neither: write CASE WHEN COUNT(B.x) > 0 THEN 'B' ELSE 'A' END, or count matches later.",
                )
                .at(at),
            ),
            "FINAL" | "RUNNING" => {
                let inner = match arguments(call).as_deref() {
                    Some([one]) => one.clone(),
                    _ => return ControlFlow::Continue(None),
                };
                if self.clause != Clause::Measures {
                    return stop(
                        Error::user("Cannot use RUNNING/FINAL in DEFINE.")
                            .with_hint(format!("Leave out {name}: a condition sees the rows up to its own."))
                            .at(at),
                    );
                }
                if name == "RUNNING" {
                    return stop(
                        Error::unsupported("RUNNING in MEASURES", "Leave it out: of one row per match, values are FINAL.")
                            .at(at),
                    );
                }
                let mut inner = inner;
                inner.visit(self)?;
                ControlFlow::Continue(Some(inner))
            }
            _ => {
                let is_aggregate =
                    self.binder.context.context_provider().get_aggregate_meta(&name.to_lowercase()).is_some();
                ControlFlow::Continue(if is_aggregate { Some(self.aggregate(call, &name, at)?) } else { None })
            }
        }
    }

    /// FIRST, LAST, PREV and NEXT.
    fn navigate(&mut self, name: &str, call: &Function, at: Option<Span>) -> Flow<ast::Expr> {
        let args = arguments(call).unwrap_or_default();
        let (mut inner, offset) = match args.as_slice() {
            [inner] => (inner.clone(), usize::from(matches!(name, "PREV" | "NEXT"))),
            [inner, offset] => match whole(offset) {
                Some(offset) => (inner.clone(), offset),
                None => {
                    return stop(
                        Error::user(format!("The offset of {name} is a whole number that is not negative."))
                            .with_hint(format!("Write {name}(A.price, 1)."))
                            .at(span(offset.span()).or(at)),
                    );
                }
            },
            _ => {
                return stop(
                    Error::user(format!("Invalid number of arguments to function '{name}'."))
                        .with_hint(format!("Write {name}(A.price) or {name}(A.price, 1)."))
                        .at(at),
                );
            }
        };
        if self.aggregated {
            return stop(
                Error::unsupported(
                    format!("{name} in an aggregate"),
                    "Write the column alone: an aggregate is over all rows of the variable.",
                )
                .at(at),
            );
        }
        if self.navigation.is_some() {
            return stop(
                Error::user(format!("Cannot nest PREV/NEXT under LAST/FIRST '{call}'."))
                    .with_hint("Add the offsets up: LAST(A.price, 2).")
                    .at(at),
            );
        }
        let physical = matches!(name, "PREV" | "NEXT");
        if physical && self.clause == Clause::Measures {
            return stop(
                Error::user(format!("Cannot use PREV/NEXT in MEASURE '{call}'."))
                    .with_hint("LAST(A.price, 1) is the row of A before its last one.")
                    .at(at),
            );
        }
        if physical && offset > 0 {
            return stop(
                Error::user("Flink does not support physical offsets within partition.")
                    .with_hint(
                        "LAST(price, 1) is the row before the current one among those of the match, LAST(A.price, 1) among \
                         those of A.",
                    )
                    .at(at),
            );
        }
        let outside = std::mem::take(&mut self.seen);
        self.navigation = Some((name == "FIRST", offset));
        inner.visit(self)?;
        self.navigation = None;
        let inside = std::mem::replace(&mut self.seen, outside);
        self.one_variable(&inside, &format!("{call}"), at)?;
        self.seen.extend(inside);
        ControlFlow::Continue(ast::Expr::Nested(Box::new(inner)))
    }

    fn one_variable(&self, seen: &BTreeSet<Option<usize>>, call: &str, at: Option<Span>) -> Flow {
        if seen.len() > 1 {
            return stop(
                Error::user(format!("Multiple pattern variables in '{call}'."))
                    .with_hint("Its value is computed of single rows: name the columns of one variable only.")
                    .at(at),
            );
        }
        if seen.is_empty() {
            return stop(
                Error::user(format!("Null parameters in '{call}'."))
                    .with_hint("Name a column in it: COUNT(*) counts rows.")
                    .at(at),
            );
        }
        ControlFlow::Continue(())
    }

    /// An aggregate over the rows of a variable.
    fn aggregate(&mut self, call: &Function, name: &str, at: Option<Span>) -> Flow<ast::Expr> {
        if self.navigation.is_some() {
            return stop(
                Error::user(format!("Cannot use aggregation in navigation '{call}'."))
                    .with_hint("Write the aggregate alone: it has one value for all rows.")
                    .at(at),
            );
        }
        if self.aggregated {
            return stop(
                Error::user("Aggregate expressions cannot be nested.")
                    .with_hint("Write one of them alone.")
                    .at(at),
            );
        }
        if call.filter.is_some() {
            return stop(
                Error::unsupported(
                    "FILTER in MATCH_RECOGNIZE",
                    format!("Write {name}(CASE WHEN … THEN A.x END)."),
                )
                .at(at),
            );
        }
        let text = call.to_string();
        let mut call = call.clone();
        let FunctionArguments::List(list) = &mut call.args else {
            return ControlFlow::Continue(ast::Expr::Function(call));
        };
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            return stop(
                Error::user(format!("DISTINCT/ALL not allowed with {text} function."))
                    .with_hint("MATCH_RECOGNIZE has no distinct aggregates, as in Flink.")
                    .at(at),
            );
        }
        let outside = std::mem::take(&mut self.seen);
        self.aggregated = true;
        let mut counts_rows = false;
        for argument in &mut list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) => inner.visit(self)?,
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => counts_rows = true,
                _ => {
                    return stop(
                        Error::user("Unknown field '*'.")
                            .with_hint("Write COUNT(A.x) with a column that is never NULL, or COUNT(*) for all rows.")
                            .at(at),
                    );
                }
            }
        }
        self.aggregated = false;
        let inside = std::mem::replace(&mut self.seen, outside);
        let variable = match counts_rows {
            true => None,
            false => {
                self.one_variable(&inside, &text, at)?;
                inside.into_iter().next().flatten()
            }
        };
        let input = self.binder.input;
        let planned = bound(self.binder.context.sql_to_expr(ast::Expr::Function(call.clone()), input))?;
        bound(rules::strict_types::check_expression(&planned, input).map_err(|e| carry(e.at(at))))?;
        let planned = bound(rules::meaning::expression(planned, input, self.binder.zone))?;
        let planned = bound(coerce(planned, input))?;
        let field = without_time_attribute(bound(field_of(&planned, input, None))?).with_name(&text);
        let Expr::AggregateFunction(planned) = crate::planner::expressions::unalias(&planned).clone() else {
            return stop(Error::internal(format!("an aggregate that is {planned}")));
        };
        self.seen.insert(variable);
        let name = self.add(Value::Aggregate { variable, call: planned }, field);
        ControlFlow::Continue(ast::Expr::Identifier(Ident {
            value: name,
            quote_style: Some(MARK),
            span: call.name.span(),
        }))
    }

    /// MATCH_ROWTIME().
    fn rowtime(&mut self, call: &Function, at: Option<Span>) -> Flow<ast::Expr> {
        let args = arguments(call).unwrap_or_default();
        let field = match args.as_slice() {
            [] => Field::new("MATCH_ROWTIME()", DataType::Timestamp(TimeUnit::Millisecond, None), false),
            [argument] => {
                let column = match argument {
                    ast::Expr::Identifier(name) => Some(name),
                    ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                        [variable, name] if self.binder.variable(variable).is_some() => Some(name),
                        _ => None,
                    },
                    _ => None,
                };
                let field = match column {
                    Some(name) => Some(given(self.binder.column(name, None))?.1),
                    None => None,
                };
                match field {
                    Some(field) if time_attribute(&field) == Some(TimeKind::Rowtime) => {
                        Field::new(format!("{call}"), field.data_type().clone(), true)
                    }
                    other => {
                        let found =
                            other.map_or("no column".to_string(), |f| format!("'{}'", SqlType::of(&f)));
                        return stop(
                            Error::user(format!(
                                "The function MATCH_ROWTIME requires argument to be a row time attribute type, but is {found}."
                            ))
                            .with_hint("Write MATCH_ROWTIME() for the time of the match.")
                            .at(span(argument.span()).or(at)),
                        );
                    }
                }
            }
            _ => {
                return stop(
                    Error::user("Invalid number of arguments to function 'MATCH_ROWTIME'.")
                        .with_hint("Write MATCH_ROWTIME() for the time of the match.")
                        .at(at),
                );
            }
        };
        let name = self.add(Value::Rowtime, with_time_attribute(field, TimeKind::Rowtime));
        let place = call.name.span();
        ControlFlow::Continue(ast::Expr::Identifier(Ident {
            value: name,
            quote_style: Some(MARK),
            span: place,
        }))
    }
}

/// The unnamed arguments of a call; `None` if it has others.
fn arguments(call: &Function) -> Option<Vec<ast::Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    list.args
        .iter()
        .map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
            _ => None,
        })
        .collect()
}

/// A literal whole number.
fn whole(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Cast { expr, .. } | ast::Expr::Nested(expr) => whole(expr),
        ast::Expr::Value(value) => match &value.value {
            Literal::Number(n, _) => n.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
