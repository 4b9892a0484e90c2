//! `Statement` to `LogicalPlan` to `StreamPlan`. Each stage is kept so that EXPLAIN can show it.
//!
//! [`resolver`](resolver::Resolver) binds a query with DataFusion, `rules` check and rewrite the bound plan, `lower`
//! turns it into operators.

mod chaining;
mod changelog;
mod diagnostics;
mod explain;
mod expressions;
mod glue_keys;
mod insert;
mod lower;
mod match_recognize;
mod nodes;
mod relations;
mod resolver;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod user_function;

pub use chaining::chains;
pub use explain::{execution as explain_execution, stream as explain_stream};
pub use user_function::check_function;

use crate::config::Config;
use crate::connector::{Boundedness, ConnectorRegistry, Sink};
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, NodeKind, StreamPlan};
use crate::sql::{Insert, Query};
use crate::time::Clock;
use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::{Object, ObjectName, TableDefinition};
use datafusion_expr::LogicalPlan;
use diagnostics::translate;
use lower::{Graph, SinkTarget};
use std::sync::Arc;

/// Finds tables and views, temporary ones first.
pub trait TableLookup: Sync {
    /// The object that the name `parts` (one to three, as written) means, with its full name.
    fn find(&self, parts: &[String]) -> Result<Option<(ObjectName, Object)>>;
    /// The user-defined function that a call of `parts` means; `None` for built-in and unknown ones.
    fn function(&self, parts: &[String]) -> Result<Option<catalog::FunctionDefinition>> {
        let _ = parts;
        Ok(None)
    }
    /// Whether a temporary system function of that name hides a built-in one.
    fn is_system_function(&self, name: &str) -> bool {
        let _ = name;
        false
    }
    /// Full names of all tables and views that can be named, for "did you mean".
    fn names(&self) -> Vec<ObjectName>;
    /// What CURRENT_DATABASE() is.
    fn database(&self) -> &str {
        "default_database"
    }
}

/// Everything that planning must know of its surroundings.
#[derive(Clone)]
pub struct PlannerContext<'a> {
    /// Tables and views.
    pub tables: &'a dyn TableLookup,
    /// Connectors.
    pub connectors: &'a ConnectorRegistry,
    /// Settings.
    pub config: &'a Config,
    /// The clock of functions such as PROCTIME().
    pub clock: Arc<dyn Clock>,
}

/// A planned job and the texts of its stages.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The bound plan, before rewrites: `== Abstract Syntax Tree ==`.
    pub bound: String,
    /// After rewrites and optimizer: `== Optimized Physical Plan ==`.
    pub optimized: String,
    /// The operator graph, chained: `== Optimized Execution Plan ==`.
    pub stream: StreamPlan,
    /// Columns of the result (for a query).
    pub schema: SchemaRef,
    /// Row kinds of the result (for a query).
    pub changelog: ChangelogMode,
    /// Whether all sources are bounded.
    pub bounded: bool,
    /// A sentence for each operator whose state grows without bound: `== Unbounded State ==`.
    pub unbounded: Vec<String>,
}

/// A table whose types, expressions and options have been checked.
#[derive(Debug, Clone)]
pub struct ResolvedTable {
    /// Full name.
    pub name: ObjectName,
    /// All columns in order: physical, metadata, computed; with our type metadata and, where they are
    /// time attributes, their marks.
    pub schema: SchemaRef,
}

/// What the caller of a SELECT is called in plans.
const CALLER: &str = "*anonymous_collect$1*";

/// Plans a SELECT whose rows go to `sink`.
pub fn plan_query(query: &Query, context: &PlannerContext<'_>, sink: Arc<dyn Sink>) -> Result<Planned> {
    deep(|| {
        let bound = resolver::Resolver::for_query(context, query)?.query(query)?;
        let text = explain::logical(&bound);
        let bound = rules::typed(bound).map_err(|e| translate(e, &[]))?;
        let names = result_names(&bound);
        let plan = optimize(bound.clone())?;
        let mut graph = Graph::new(context, &[&plan], rules::unsupported::first_join(&query.ast))?;
        let wanted: Vec<Option<String>> = names.iter().cloned().map(Some).collect();
        let mut lowered = graph.lower(&plan, &wanted)?;
        let fields: Vec<Field> = lowered
            .fields
            .iter()
            .zip(bound.schema().fields())
            .zip(&names)
            .map(|((f, b), n)| result_field(f, b).with_name(n))
            .collect();
        lowered.fields = fields.iter().cloned().map(Arc::new).collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        let target =
            SinkTarget { table: CALLER.into(), sink, fields, primary_key: Vec::new(), is_table: false };
        let id = graph.sink(&lowered, target)?;
        let changelog = graph.node(id).changelog;
        Ok(planned(text, graph.finish(), schema, changelog, context))
    })
}

/// Plans one or more INSERTs as one job; scans of the same table are shared.
pub fn plan_inserts(inserts: &[Insert], context: &PlannerContext<'_>) -> Result<Planned> {
    deep(|| {
        let mut text = String::new();
        let mut targets = Vec::new();
        for insert in inserts {
            let bound = insert::bind(insert, context)?;
            text.push_str(&format!("LogicalSink(table=[{}])\n", bound.table));
            text.extend(explain::logical(&bound.plan).lines().map(|l| format!("   {l}\n")));
            targets.push((optimize(bound.plan)?, bound.target));
        }
        let plans: Vec<&LogicalPlan> = targets.iter().map(|(plan, _)| plan).collect();
        let place = inserts.iter().find_map(|i| rules::unsupported::first_join(&i.query.ast));
        let mut graph = Graph::new(context, &plans, place)?;
        for (insert, (plan, target)) in inserts.iter().zip(&mut targets) {
            let names: Vec<Option<String>> = target.fields.iter().map(|f| Some(f.name().clone())).collect();
            let lowered = graph.lower(plan, &names)?;
            let target = SinkTarget {
                table: std::mem::take(&mut target.table),
                sink: Arc::clone(&target.sink),
                fields: std::mem::take(&mut target.fields),
                primary_key: std::mem::take(&mut target.primary_key),
                is_table: true,
            };
            let fields = lowered.fields.iter().zip(&target.fields);
            // What comes is what the sink's columns are, but for NULLs, which the sink looks for.
            let fields = fields.map(|(f, t)| Arc::new(t.clone().with_nullable(f.is_nullable()))).collect();
            graph.sink(&lower::Lowered { fields, ..lowered }, target).map_err(|e| e.at(insert.table.span))?;
        }
        Ok(planned(text, graph.finish(), Arc::new(Schema::empty()), ChangelogMode::APPEND, context))
    })
}

/// Columns of a query's result, for CREATE VIEW.
pub fn query_schema(query: &Query, context: &PlannerContext<'_>) -> Result<SchemaRef> {
    deep(|| {
        let bound = resolver::Resolver::for_query(context, query)?.query(query)?;
        let bound = rules::typed(bound).map_err(|e| translate(e, &[]))?;
        let names = result_names(&bound);
        let fields: Vec<Field> = bound
            .schema()
            .fields()
            .iter()
            .zip(&names)
            .map(|(f, n)| f.as_ref().clone().with_name(n))
            .collect();
        Ok(Arc::new(Schema::new(fields)) as SchemaRef)
    })
}

/// Checks a table's definition and gives its columns, for CREATE TABLE and DESCRIBE. Looks at no options.
pub fn resolve_table(
    name: &ObjectName,
    definition: &TableDefinition,
    context: &PlannerContext<'_>,
) -> Result<ResolvedTable> {
    deep(|| Ok(table::Table::resolve(name, definition, None, context)?.resolved()))
}

/// Checks and rewrites a bound plan.
fn optimize(bound: LogicalPlan) -> Result<LogicalPlan> {
    let bound = rules::grouping_sets::rewrite(bound).map_err(|e| translate(e, &[]))?;
    let plan = rules::group_windows::rewrite(bound).map_err(|e| translate(e, &[]))?;
    rules::optimize::optimize(plan).map_err(|e| translate(e, &[]))
}

fn planned(
    bound: String,
    stream: StreamPlan,
    schema: SchemaRef,
    changelog: ChangelogMode,
    context: &PlannerContext<'_>,
) -> Planned {
    let bounded = stream.nodes.iter().all(|n| match &n.kind {
        NodeKind::Source(s) => s.source.boundedness() == Boundedness::Bounded,
        _ => true,
    });
    let keeps_all = !bounded && context.config.duration_ms("table.exec.state.ttl") == 0;
    let unbounded = if keeps_all { explain::unbounded(&stream) } else { Vec::new() };
    Planned {
        bound,
        optimized: explain::stream(&stream, false),
        stream,
        schema,
        changelog,
        bounded,
        unbounded,
    }
}

/// Names of the result's columns: a repeated name gets a number, as in Flink.
fn result_names(plan: &LogicalPlan) -> Vec<String> {
    let is_values = is_values(plan);
    let name = |(index, field): (usize, &Arc<Field>)| match (is_values, field.name().strip_prefix("column")) {
        (true, Some(_)) => format!("EXPR${index}"),
        _ => field.name().clone(),
    };
    let names: Vec<String> = plan.schema().fields().iter().enumerate().map(name).collect();
    crate::sql::unique(names.iter().map(String::as_str))
}

/// Whether the columns are those of VALUES, which DataFusion calls `column1`, ….
fn is_values(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Values(_) => true,
        LogicalPlan::Limit(l) => is_values(&l.input),
        LogicalPlan::Distinct(datafusion_expr::Distinct::All(input)) => is_values(input),
        LogicalPlan::Union(union) => union.inputs.first().is_some_and(|first| is_values(first)),
        LogicalPlan::Join(join) if !join.join_type.is_outer() => {
            join.schema.fields().len() == join.left.schema().fields().len() && is_values(&join.left)
        }
        LogicalPlan::Projection(p) => {
            let plain = |e: &datafusion_expr::Expr| {
                let column = |e: &datafusion_expr::Expr| matches!(e, datafusion_expr::Expr::Column(_));
                match e {
                    datafusion_expr::Expr::Alias(alias) => match alias.expr.as_ref() {
                        datafusion_expr::Expr::Cast(cast) => column(&cast.expr),
                        inner => column(inner),
                    },
                    datafusion_expr::Expr::Cast(cast) => column(&cast.expr),
                    other => column(other),
                }
            };
            p.expr.iter().all(plain) && is_values(&p.input)
        }
        _ => false,
    }
}

/// A column of the result: what the operators give, with the nullability and SQL type that binding found.
fn result_field(lowered: &Field, bound: &Field) -> Field {
    let field = lowered.clone().with_nullable(bound.is_nullable());
    expressions::retype(field, Some(crate::sql::SqlType::of(bound)))
}

/// Stack for planning: the SQL's nesting sets the depth of recursion.
const STACK_BYTES: usize = 64 << 20;

/// Runs `work` on a thread with a deep stack.
fn deep<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("planner".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|e| Error::internal(format!("no thread for planning: {e}")))?;
        thread.join().unwrap_or_else(|_| {
            Err(Error::internal("Planning failed: a bug. The SQL may work if written more simply."))
        })
    })
}
