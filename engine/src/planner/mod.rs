//! `Statement` to `LogicalPlan` to `StreamPlan`. Each stage is kept so that EXPLAIN can show it.

use crate::config::Config;
use crate::connector::{ConnectorRegistry, Sink};
use crate::error::Result;
use crate::plan::{ChangelogMode, StreamPlan};
use crate::sql::{Insert, Query};
use crate::time::Clock;
use arrow::datatypes::SchemaRef;
use catalog::{Object, ObjectName, TableDefinition};
use std::sync::Arc;

/// Finds tables and views, temporary ones first.
pub trait TableLookup: Sync {
    /// The object that the name `parts` (one to three, as written) means, with its full name.
    fn find(&self, parts: &[String]) -> Result<Option<(ObjectName, Object)>>;
    /// Full names of all tables and views that can be named, for "did you mean".
    fn names(&self) -> Vec<ObjectName>;
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

/// Plans a SELECT whose rows go to `sink`.
pub fn plan_query(query: &Query, context: &PlannerContext<'_>, sink: Arc<dyn Sink>) -> Result<Planned> {
    let _ = (query, context, sink);
    Err(crate::Error::internal("not written"))
}

/// Plans one or more INSERTs as one job; scans of the same table are shared.
pub fn plan_inserts(inserts: &[Insert], context: &PlannerContext<'_>) -> Result<Planned> {
    let _ = (inserts, context);
    Err(crate::Error::internal("not written"))
}

/// Columns of a query's result, for CREATE VIEW.
pub fn query_schema(query: &Query, context: &PlannerContext<'_>) -> Result<SchemaRef> {
    let _ = (query, context);
    Err(crate::Error::internal("not written"))
}

/// Checks a table's definition and gives its columns, for CREATE TABLE and DESCRIBE. Looks at no options.
pub fn resolve_table(
    name: &ObjectName,
    definition: &TableDefinition,
    context: &PlannerContext<'_>,
) -> Result<ResolvedTable> {
    let _ = (name, definition, context);
    Err(crate::Error::internal("not written"))
}
