//! What stands in FROM beyond plain tables: windowing table functions, MATCH_RECOGNIZE and OPTIONS hints. And our types in casts.

use super::diagnostics::{carry, span};
use super::nodes::{Hinted, Unnest, Versioned, Window, WindowColumns, element_fields};
use super::resolver::HINT_MARK;
use crate::error::{Error, Location};
use crate::sql::{QueryHints, RelationHints, SqlType};
use crate::time::WindowSpec;
use arrow::datatypes::{DataType, FieldRef};
use catalog::Options;
use chrono_tz::Tz;
use datafusion_common::{Column, DFSchema, DataFusionError, ExprSchema, Result, ScalarValue, TableReference};
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning, TypePlanner,
};
use datafusion_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, TableFactor,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Plans table functions, MATCH_RECOGNIZE, and tables with hints.
#[derive(Debug)]
pub(super) struct Relations {
    hints: HashMap<Location, Options>,
    query_hints: QueryHints,
    /// Where the table stands whose own plan is being made: its hints are seen to.
    hinted: Mutex<Option<Location>>,
    /// Set while the next subquery is left to DataFusion.
    passes: AtomicBool,
    zone: Tz,
}

impl Relations {
    /// With the OPTIONS hints of a query's tables, by the place of the table name's last part, and those of its SELECTs. `zone`
    /// is the session's.
    pub fn new(hints: HashMap<Location, Options>, query_hints: QueryHints, zone: Tz) -> Self {
        Self { hints, query_hints, hinted: Mutex::default(), passes: AtomicBool::new(false), zone }
    }

    /// What hints after SELECT say of `relation`, and its place.
    fn of(&self, relation: &TableFactor) -> Option<(Location, &RelationHints)> {
        if self.query_hints.is_empty() {
            return None;
        }
        let ident = match relation {
            TableFactor::Table { name, .. } => name.0.last()?.as_ident()?,
            TableFactor::Derived { alias, .. } | TableFactor::TableFunction { alias, .. } => {
                &alias.as_ref()?.name
            }
            _ => return None,
        };
        let start = ident.span.start;
        let place = Location { line: start.line as u32, column: start.column as u32 };
        Some((place, self.query_hints.get(&place)?))
    }

    /// `relation` marked with the time to live that a hint sets, unless none does.
    fn marked(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> std::result::Result<Result<RelationPlanning>, Box<TableFactor>> {
        let found = self.of(&relation).and_then(|(place, h)| Some((place, h.name.clone(), h.ttl_ms?)));
        let mut seen = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((place, name, ttl_ms)) = found.filter(|f| *seen != Some(f.0)) else {
            return Err(Box::new(relation));
        };
        let before = seen.replace(place);
        drop(seen);
        let alias = match &mut relation {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. } => alias.clone(),
            _ => None,
        };
        if let TableFactor::Table { alias, .. } = &mut relation {
            *alias = None;
        }
        let planned = context.plan(relation);
        *self.hinted.lock().unwrap_or_else(PoisonError::into_inner) = before;
        Ok(planned.map(|input| {
            let node = Hinted { input, name, ttl_ms };
            let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
            RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias)))
        }))
    }

    fn hint(&self, name: &ast::ObjectName) -> Option<&Options> {
        let start = name.0.last()?.as_ident()?.span.start;
        self.hints.get(&Location { line: start.line as u32, column: start.column as u32 })
    }
}

/// Our types, wherever SQL names one.
#[derive(Debug)]
pub(super) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let (ours, _) = SqlType::of_ast(sql_type).map_err(carry)?;
        // A name marks the field as a full description; without one DataFusion would keep the source's metadata.
        Ok(Some(Arc::new(ours.to_field("cast", true))))
    }
}

impl RelationPlanner for Relations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let relation = match self.marked(relation, context) {
            Ok(planned) => return planned,
            Err(relation) => *relation,
        };
        let lookup = self.of(&relation).and_then(|(_, h)| h.lookup.clone()).unwrap_or_default();
        match relation {
            TableFactor::Derived { lateral: false, subquery, alias, sample: None }
                if !self.passes.swap(false, Ordering::Relaxed) =>
            {
                self.passes.store(true, Ordering::Relaxed);
                let inner = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
                let plan = with_unique_names(context.plan(inner)?)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::TableFunction { expr: ast::Expr::Function(call), alias } => {
                let plan = window(&call, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: Some(ast::TableVersion::ForSystemTimeAsOf(at)),
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let table = TableFactor::Table {
                    name,
                    alias: None,
                    args: None,
                    with_hints,
                    version: None,
                    with_ordinality,
                    partitions,
                    json_path,
                    sample,
                    index_hints,
                };
                let input = context.plan(table)?;
                // As in Flink, a time that is written out chooses no version.
                if is_constant(&at) {
                    return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(input, alias))));
                }
                let node = Versioned { input, at: as_of_column(&at), lookup };
                let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
                let plan = unnest(array_exprs, with_ordinality, context)?;
                let alias = alias.map(|alias| column_of(alias, &plan));
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::MatchRecognize { ref alias, .. } => {
                let alias = alias.clone();
                let plan = super::match_recognize::plan(relation, self.zone, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            TableFactor::Table { name, alias, args: None, .. } if self.hint(&name).is_some() => {
                let options = self.hint(&name).cloned().unwrap_or_default();
                let reference = context.object_name_to_table_reference(name)?;
                let json =
                    serde_json::to_string(&options).map_err(|e| carry(Error::internal(e.to_string())))?;
                let marked = format!("{}{HINT_MARK}{json}", reference.table());
                let hinted = match reference.clone() {
                    TableReference::Bare { .. } => TableReference::bare(marked),
                    TableReference::Partial { schema, .. } => TableReference::partial(schema, marked),
                    TableReference::Full { catalog, schema, .. } => {
                        TableReference::full(catalog, schema, marked)
                    }
                };
                let source = context.context_provider().get_table_source(hinted)?;
                let plan = LogicalPlanBuilder::scan(reference, source, None)?.build()?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

/// A subquery whose columns have names of their own, as Flink gives them.
fn with_unique_names(plan: LogicalPlan) -> Result<LogicalPlan> {
    let names = crate::sql::unique(plan.schema().fields().iter().map(|f| f.name().as_str()));
    let columns = plan.schema().columns();
    if columns.iter().zip(&names).all(|(column, name)| column.name == *name) {
        return Ok(plan);
    }
    let renamed = columns.into_iter().zip(names).map(|(column, name)| Expr::Column(column).alias(name));
    LogicalPlanBuilder::from(plan).project(renamed)?.build()
}

/// `UNNEST(a) AS t` without names of columns: the only column is called `t` too.
fn column_of(mut alias: ast::TableAlias, plan: &LogicalPlan) -> ast::TableAlias {
    if let ([only], true) = (plan.schema().fields().as_ref(), alias.columns.is_empty())
        && only.name() == "EXPR$0"
    {
        alias.columns = vec![ast::TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
    }
    alias
}

/// Whether a time is written out.
fn is_constant(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::TypedString(_) | ast::Expr::Value(_) => true,
        ast::Expr::Cast { expr, .. } | ast::Expr::Nested(expr) => is_constant(expr),
        _ => false,
    }
}

/// The column that FOR SYSTEM_TIME AS OF names; `None` if it is no name.
fn as_of_column(expr: &ast::Expr) -> Option<Column> {
    match expr {
        ast::Expr::Identifier(name) => Some(Column::new_unqualified(&name.value)),
        ast::Expr::CompoundIdentifier(names) => {
            let (column, table) = names.split_last()?;
            let table: Vec<&str> = table.iter().map(|i| i.value.as_str()).collect();
            let relation = match table.as_slice() {
                [t] => TableReference::bare(*t),
                [s, t] => TableReference::partial(*s, *t),
                [c, s, t] => TableReference::full(*c, *s, *t),
                _ => return None,
            };
            Some(Column::new(Some(relation), &column.value))
        }
        ast::Expr::Nested(inner) => as_of_column(inner),
        _ => None,
    }
}

/// What UNNEST takes its elements from. DataFusion does not see fields of the columns of tables before it (`t.r.a`): each
/// way to read them is tried.
fn value_of(expr: ast::Expr, context: &mut dyn RelationPlannerContext) -> Result<Expr> {
    let planned = context.sql_to_expr(expr.clone(), &DFSchema::empty());
    let (Err(_), ast::Expr::CompoundIdentifier(parts)) = (&planned, expr) else { return planned };
    for split in (1..parts.len()).rev() {
        let (root, fields) = parts.split_at(split);
        let root = match root {
            [one] => ast::Expr::Identifier(one.clone()),
            many => ast::Expr::CompoundIdentifier(many.to_vec()),
        };
        let Ok(mut value) = context.sql_to_expr(root, &DFSchema::empty()) else { continue };
        for field in fields {
            let name = Expr::Literal(ScalarValue::from(field.value.as_str()), None);
            value = datafusion_functions::core::get_field().call(vec![value, name]);
        }
        return Ok(value);
    }
    planned
}

/// UNNEST, which may read the tables before it in FROM; a rule puts it beside them.
fn unnest(
    mut exprs: Vec<ast::Expr>,
    ordinality: bool,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let at = exprs.first().and_then(|e| span(e.span()));
    let (Some(expr), true) = (exprs.pop(), exprs.is_empty()) else {
        return refuse(Error::unsupported("UNNEST of several values", "Write one UNNEST for each.").at(at));
    };
    let expr = value_of(expr, context)?;
    let field = super::expressions::field_of(&expr, &DFSchema::empty(), None)?;
    let sql_type = SqlType::of(&field);
    let Some(elements) = element_fields(&sql_type, ordinality) else {
        return refuse(
            Error::user(format!("Cannot apply 'UNNEST' to arguments of type 'UNNEST(<{sql_type}>)'."))
                .with_hint("Supported forms: UNNEST(<ARRAY>), UNNEST(<MAP>), UNNEST(<MULTISET>).")
                .at(at),
        );
    };
    let input = LogicalPlanBuilder::empty(true).build()?;
    let elements = elements.into_iter().map(|f| (None, f)).collect();
    let node = Unnest::try_new(input, expr, elements, ordinality, false, None)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

fn refuse<T>(error: Error) -> Result<T> {
    Err(carry(error))
}

/// The arguments of a window function in the order of its signature.
struct Arguments {
    name: String,
    values: Vec<Option<ast::Expr>>,
    span: Option<crate::error::Span>,
}

/// Parameter names in positional order; the last of TUMBLE, HOP and CUMULATE may be left out.
fn parameters(function: &str) -> Option<&'static [&'static str]> {
    Some(match function {
        "TUMBLE" => &["DATA", "TIMECOL", "SIZE", "OFFSET"],
        "HOP" => &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
        "CUMULATE" => &["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"],
        "SESSION" => &["DATA", "TIMECOL", "GAP"],
        _ => return None,
    })
}

fn signature(function: &str) -> &'static str {
    match function {
        "TUMBLE" => "TUMBLE(TABLE table_name, DESCRIPTOR(timecol), size [, offset])",
        "HOP" => "HOP(TABLE table_name, DESCRIPTOR(timecol), slide, size [, offset])",
        "CUMULATE" => "CUMULATE(TABLE table_name, DESCRIPTOR(timecol), step, size [, offset])",
        _ => "SESSION(TABLE table_name [PARTITION BY key, …], DESCRIPTOR(timecol), gap)",
    }
}

fn arguments(call: &ast::Function) -> Result<Arguments> {
    let at = span(call.span());
    let name = call.name.to_string().to_uppercase();
    let Some(names) = parameters(&name) else {
        return refuse(
            Error::user(format!("No match found for table function {name}."))
                .with_hint("There are TUMBLE, HOP, CUMULATE and SESSION.")
                .at(at),
        );
    };
    let wrong = || {
        Error::user(format!("Invalid arguments of {name}."))
            .with_hint(format!("Write {}.", signature(&name)))
            .at(at)
    };
    let FunctionArguments::List(list) = &call.args else { return refuse(wrong()) };
    let mut values: Vec<Option<ast::Expr>> = vec![None; names.len()];
    for (position, argument) in list.args.iter().enumerate() {
        let (index, value) = match argument {
            FunctionArg::Unnamed(value) => (Some(position), value),
            FunctionArg::Named { name, arg, .. } => (position_of(names, &name.value), arg),
            FunctionArg::ExprNamed { name: ast::Expr::Identifier(name), arg, .. } => {
                (position_of(names, &name.value), arg)
            }
            FunctionArg::ExprNamed { arg, .. } => (None, arg),
        };
        match (index.and_then(|i| values.get_mut(i)), value) {
            (Some(slot @ None), FunctionArgExpr::Expr(expr)) => *slot = Some(expr.clone()),
            _ => return refuse(wrong()),
        }
    }
    let required = names.len() - usize::from(names.last() == Some(&"OFFSET"));
    if values[..required].iter().any(Option::is_none) {
        return refuse(wrong());
    }
    Ok(Arguments { name, values, span: at })
}

fn position_of(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|n| n.eq_ignore_ascii_case(name))
}

fn window(call: &ast::Function, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let mut arguments = arguments(call)?;
    let at = arguments.span;
    let name = arguments.name.clone();
    let mut take = |i: usize| arguments.values.get_mut(i).and_then(Option::take);
    let wrong = |what: &str| {
        carry(
            Error::user(format!("{what} of {name} is wrong."))
                .with_hint(format!("Write {}.", signature(&name)))
                .at(at),
        )
    };
    let (factor, partition) = data(take(0)).ok_or_else(|| wrong("The first argument"))?;
    let input = context.plan(factor)?;
    let time = time_column(take(1), &name, input.schema(), context).map_err(|e| match e {
        TimeColumn::Wrong => wrong("The DESCRIPTOR"),
        TimeColumn::Error(e) => e,
    })?;
    let mut lengths = Vec::new();
    for index in 2..5 {
        if let Some(expr) = take(index) {
            let place = span(expr.span()).or(at);
            let expr = context.sql_to_expr(expr, &DFSchema::empty())?;
            match interval_ms(&expr) {
                Ok(ms) => lengths.push((ms, place)),
                Err(problem) => {
                    let error =
                        Error::user(format!("Cannot apply '{name}' to arguments of this type: {problem}."));
                    return refuse(
                        error.with_hint(format!("Supported form: {}.", signature(&name))).at(place),
                    );
                }
            }
        }
    }
    let spec = spec(&name, &lengths).map_err(|e| carry(e.at(at)))?;
    let mut columns = vec![time];
    for key in partition {
        match context.sql_to_expr(key, input.schema())? {
            Expr::Column(column) => columns.push(column),
            _ => return Err(wrong("PARTITION BY takes column names; that")),
        }
    }
    if columns.len() > 1 && !matches!(spec, WindowSpec::Session { .. }) {
        return refuse(
            Error::user(format!("{name} takes no PARTITION BY."))
                .with_hint("Group by the columns instead.")
                .at(at),
        );
    }
    let node = Window::try_new(spec, columns, WindowColumns::table_function(), false, input)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// The input of a window function, with its `PARTITION BY`.
fn data(expr: Option<ast::Expr>) -> Option<(TableFactor, Vec<ast::Expr>)> {
    match expr? {
        ast::Expr::Subquery(subquery) => {
            Some((TableFactor::Derived { lateral: false, subquery, alias: None, sample: None }, Vec::new()))
        }
        ast::Expr::Nested(inner) => data(Some(*inner)),
        ast::Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("TABLE") => {
            let partition = match &call.over {
                Some(ast::WindowType::WindowSpec(over)) => over.partition_by.clone(),
                _ => Vec::new(),
            };
            if let FunctionArguments::Subquery(subquery) = call.args {
                return Some((
                    TableFactor::Derived { lateral: false, subquery, alias: None, sample: None },
                    partition,
                ));
            }
            let FunctionArguments::List(list) = call.args else { return None };
            let name = match list.args.into_iter().next()? {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(name))) => vec![name],
                FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::CompoundIdentifier(names))) => names,
                _ => return None,
            };
            let factor = TableFactor::Table {
                name: ast::ObjectName::from(name),
                alias: None,
                args: None,
                with_hints: Vec::new(),
                version: None,
                with_ordinality: false,
                partitions: Vec::new(),
                json_path: None,
                sample: None,
                index_hints: Vec::new(),
            };
            Some((factor, partition))
        }
        _ => None,
    }
}

enum TimeColumn {
    Wrong,
    Error(DataFusionError),
}

fn time_column(
    expr: Option<ast::Expr>,
    function: &str,
    schema: &DFSchema,
    context: &mut dyn RelationPlannerContext,
) -> std::result::Result<Column, TimeColumn> {
    let Some(ast::Expr::Function(call)) = expr else { return Err(TimeColumn::Wrong) };
    if !call.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") {
        return Err(TimeColumn::Wrong);
    }
    let FunctionArguments::List(list) = call.args else { return Err(TimeColumn::Wrong) };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(name))] = list.args.as_slice() else {
        return Err(TimeColumn::Wrong);
    };
    let place = span(name.span());
    let Expr::Column(column) = context.sql_to_expr(name.clone(), schema).map_err(TimeColumn::Error)? else {
        return Err(TimeColumn::Wrong);
    };
    let field = schema.field_from_column(&column).map_err(TimeColumn::Error)?;
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        let error = Error::user(format!(
            "The window function {function}(TABLE table_name, DESCRIPTOR(timecol), datetime interval) requires the \
             timecol to be TIMESTAMP or TIMESTAMP_LTZ, but is {}.",
            SqlType::of(field)
        ));
        let hint = format!(
            "Declare an event time: `ts AS TO_TIMESTAMP_LTZ({0}, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND` in CREATE TABLE.",
            column.name
        );
        return Err(TimeColumn::Error(carry(error.with_hint(hint).at(place))));
    }
    Ok(column)
}

/// Milliseconds of an interval literal; what is wrong where it is none.
pub(super) fn interval_ms(expr: &Expr) -> std::result::Result<i64, String> {
    match expr {
        Expr::Alias(alias) => interval_ms(&alias.expr),
        Expr::Negative(inner) => interval_ms(inner).map(|ms| -ms),
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) if v.months == 0 => {
            Ok(i64::from(v.days) * MS_PER_DAY + v.nanoseconds / 1_000_000)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(v)), _) => {
            Ok(i64::from(v.days) * MS_PER_DAY + i64::from(v.milliseconds))
        }
        Expr::Literal(ScalarValue::IntervalMonthDayNano(_) | ScalarValue::IntervalYearMonth(_), _) => {
            Err("months and years are of no fixed length; write the window's length in days, hours, minutes or seconds".into())
        }
        Expr::Cast(cast) => interval_ms(&cast.expr),
        other => Err(format!("`{}` is no interval, such as INTERVAL '5' MINUTE", super::expressions::text(other))),
    }
}

const MS_PER_DAY: i64 = 86_400_000;

/// The window of a table function, from its lengths in order.
fn spec(
    function: &str,
    lengths: &[(i64, Option<crate::error::Span>)],
) -> std::result::Result<WindowSpec, Error> {
    let required = if matches!(function, "HOP" | "CUMULATE") { 2 } else { 1 };
    for (ms, place) in lengths.iter().take(required) {
        if *ms <= 0 {
            return Err(
                Error::user(format!("{function} takes lengths greater than 0, but got {ms} ms.")).at(*place)
            );
        }
    }
    let offset = |i: usize| lengths.get(i).map_or(0, |(ms, _)| *ms);
    let first = offset(0);
    Ok(match function {
        "TUMBLE" => WindowSpec::Tumble { size: first, offset: offset(1) },
        "HOP" => WindowSpec::Hop { slide: first, size: offset(1), offset: offset(2) },
        "CUMULATE" => WindowSpec::Cumulate { step: first, size: offset(1), offset: offset(2) },
        _ => WindowSpec::Session { gap: first },
    })
}

/// Flink's condition on the windows of a table function that is aggregated.
pub(super) fn check_aggregated(spec: &WindowSpec) -> std::result::Result<(), Error> {
    match *spec {
        WindowSpec::Hop { slide, size, .. } if size % slide != 0 => {
            let error = Error::user(format!(
                "HOP table function based aggregate requires size must be an integral multiple of slide, but got size \
                 {size} ms and slide {slide} ms"
            ));
            Err(error.with_hint(if slide > size {
                "The slide comes before the size: HOP(TABLE t, DESCRIPTOR(ts), slide, size). Were they swapped?"
            } else {
                "Choose a size that is a multiple of the slide, or write GROUP BY HOP(ts, slide, size)."
            }))
        }
        WindowSpec::Cumulate { step, size, .. } if size % step != 0 => {
            let error = Error::user(format!(
                "CUMULATE table function based aggregate requires maxSize must be an integral multiple of step, but got \
                 maxSize {size} ms and step {step} ms"
            ));
            Err(error.with_hint(if step > size {
                "The step comes before the size: CUMULATE(TABLE t, DESCRIPTOR(ts), step, size). Were they swapped?"
            } else {
                "Choose a size that is a multiple of the step."
            }))
        }
        _ => Ok(()),
    }
}
