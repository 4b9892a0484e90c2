//! `Session`: the façade for shell, server and tests. One statement in, one outcome out.

mod alter;
mod catalogs;
mod describe;
mod functions;
mod jobs;
mod modules;
mod show;
mod tables;

use crate::config::Config;
use crate::connector::{ConnectorRegistry, Sink};
use crate::error::{Error, Result};
use crate::functions::FunctionRegistry;
use crate::jobs::{CheckpointSettings, Launch, RestartStrategy, supervise};
use crate::outcome::{Outcome, Query as RunningQuery};
use crate::plan::StreamPlan;
use crate::planner::{self, Planned, PlannerContext, TableLookup};
use crate::runtime::{self, JobHandle, JobOptions};
use crate::sql::{self, CreateTable, CreateView, Explain, Insert, Piece, Query, Statement, Use};
use crate::state::MemoryBudget;
use crate::time::Clock;
use arrow::datatypes::SchemaRef;
use catalog::{Catalog, Object, ObjectKind, ObjectName, ViewDefinition};
pub use jobs::{JobHost, JobLine};
use std::sync::Arc;

use jobs::Jobs;
use tables::Tables;

/// What a session is made of.
#[derive(Clone)]
pub struct SessionOptions {
    /// The catalogs, at least one; the first is current.
    pub catalogs: Vec<Arc<dyn Catalog>>,
    /// The connectors.
    pub connectors: ConnectorRegistry,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// For connectors over asynchronous clients.
    pub runtime: tokio::runtime::Handle,
}

/// One user's session: settings, current database, temporary objects.
pub struct Session {
    tables: Tables,
    connectors: ConnectorRegistry,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
    config: Config,
    memory: Arc<MemoryBudget>,
    jobs: Jobs,
    modules: modules::LoadedModules,
}

impl Session {
    /// A session with default settings.
    pub fn new(options: SessionOptions) -> Self {
        Self {
            tables: Tables::new(options.catalogs),
            connectors: options.connectors,
            clock: options.clock,
            runtime: options.runtime,
            config: Config::default(),
            memory: MemoryBudget::of_process(usize::MAX),
            jobs: Jobs::default(),
            modules: Default::default(),
        }
    }

    /// Executes one statement. A query or INSERT is started, not waited for.
    ///
    /// Errors: what the parser, the planner, a catalog or a connector refuses.
    pub fn execute(&mut self, piece: &Piece) -> Result<Outcome> {
        match sql::parse(piece)? {
            Statement::Query(query) => self.select(&query),
            Statement::Insert(insert) => self.insert(&[insert]),
            Statement::StatementSet(inserts) => self.insert(&inserts),
            Statement::CreateTable(create) => self.create_table(&create),
            Statement::CreateView(create) => self.create_view(&create),
            Statement::CreateFunction(create) => functions::create(self, &create),
            Statement::DropFunction(drop) => functions::drop(self, &drop),
            Statement::Alter(alter) => alter::alter(self, &alter),
            Statement::Catalog(statement) => catalogs::execute(&mut self.tables, &statement),
            Statement::CreateDatabase(create) => self.tables.create_database(&create).map(|()| Outcome::Done),
            Statement::Drop(drop) => self.tables.drop(&drop).map(|()| Outcome::Done),
            Statement::Use(Use::Catalog(name)) => self.tables.use_catalog(&name).map(|()| Outcome::Done),
            Statement::Use(Use::Database(name)) => self.tables.use_database(&name).map(|()| Outcome::Done),
            Statement::Modules(change) => self.modules.change(&change),
            Statement::Show(show) => show::show(&show, self),
            Statement::Describe(name) => describe::describe(&name, None, self),
            Statement::Set(None) => Ok(show::settings(&self.config)),
            Statement::Set(Some((key, value))) => {
                self.config.set(&key, &value)?;
                Ok(match Config::misspelt(&key) {
                    Some(near) => show::text_rows(
                        "note",
                        [format!("'{key}' is set, but Runnel does not read it. Did you mean '{near}'?")],
                    ),
                    None => Outcome::Done,
                })
            }
            Statement::Reset(None) => {
                self.config.reset_all();
                Ok(Outcome::Done)
            }
            Statement::Reset(Some(key)) => {
                self.config.reset(&key);
                Ok(Outcome::Done)
            }
            Statement::Explain(explain) => self.explain(&explain),
            Statement::Job(job) => self.jobs.execute(&job, self.config.zone()),
        }
    }

    fn select(&self, query: &Query) -> Result<Outcome> {
        let (sink, collected) = runtime::collect();
        let planned = planner::plan_query(query, &self.context(), sink)?;
        let Planned { schema, changelog, bounded, .. } = planned;
        let job = self.start(planned.stream, "collect")?;
        let batch = self.config.is_batch();
        Ok(Outcome::Query(RunningQuery {
            schema,
            changelog,
            bounded,
            batch,
            results: collected.results(job),
        }))
    }

    fn insert(&self, inserts: &[Insert]) -> Result<Outcome> {
        let planned = planner::plan_inserts(inserts, &self.context())?;
        let full = |i: &Insert| self.tables.resolve(&i.table).map(|name| name.to_string());
        let targets = inserts.iter().map(full).collect::<Result<Vec<_>>>()?;
        self.start_job(planned.stream, &format!("insert-into_{}", targets.join(","))).map(Outcome::Job)
    }

    /// Executes several INSERTs (or statement sets) as one job.
    ///
    /// Errors: a statement that is none of these, and what the planner refuses.
    pub fn execute_together(&mut self, pieces: &[Piece]) -> Result<Outcome> {
        self.insert(&inserts_of(pieces)?)
    }

    /// Plans several INSERTs as one job without starting it: what EXPLAIN prints.
    ///
    /// Errors: as [`Session::execute_together`].
    pub fn plan_together(&self, pieces: &[Piece]) -> Result<String> {
        Ok(planner::plan_inserts(&inserts_of(pieces)?, &self.context())?.explain(false, false))
    }

    /// Starts a query whose rows are shown: it takes no checkpoints and is not restarted, since rows that were shown
    /// cannot be taken back.
    fn start(&self, plan: StreamPlan, default_name: &str) -> Result<JobHandle> {
        let job = runtime::start(plan, self.job_options(default_name))?;
        self.jobs.started(&job, self.clock.now_ms());
        Ok(job)
    }

    /// Starts a job that writes: with checkpoints and restarts, as it is set.
    fn start_job(&self, plan: StreamPlan, default_name: &str) -> Result<JobHandle> {
        let options = self.job_options(default_name);
        let drawn = runtime::job_id(self.clock.as_ref());
        let mut checkpoints = CheckpointSettings::new(&self.config, drawn, &self.runtime)?;
        if self.config.is_batch() {
            // As in Flink: what a batch job holds back until its end is no state that could be kept.
            checkpoints.options = None;
        }
        let strategy = RestartStrategy::new(&self.config, checkpoints.options.is_some());
        let job = supervise(Launch { plan, options, checkpoints, strategy })?;
        self.jobs.started(&job, self.clock.now_ms());
        Ok(job)
    }

    fn job_options(&self, default_name: &str) -> JobOptions {
        // One budget for all jobs of the session; the setting may change between them.
        let managed = self.config.bytes("taskmanager.memory.managed.size");
        self.memory.set_total(usize::try_from(managed).unwrap_or(usize::MAX));
        let name = self.config.get("pipeline.name").unwrap_or(default_name);
        JobOptions {
            max_parallelism: self.config.max_parallelism(),
            state_ttl_ms: self.config.duration_ms("table.exec.state.ttl"),
            memory: self.memory.clone(),
            ..JobOptions::new(name, self.clock.clone(), self.runtime.clone())
        }
    }

    /// Plans a query whose rows go to `sink`, for a caller that runs it itself (`runtime::start`). Gives the plan and
    /// the columns of the result.
    ///
    /// Errors: what the parser or the planner refuses; a statement that is no query.
    pub fn plan_into(&self, piece: &Piece, sink: Arc<dyn Sink>) -> Result<(StreamPlan, SchemaRef)> {
        match sql::parse(piece)? {
            Statement::Query(query) => {
                let planned = planner::plan_query(&query, &self.context(), sink)?;
                Ok((planned.stream, planned.schema))
            }
            _ => Err(Error::user("Only a query has rows that can go to a sink.").with_hint("Write SELECT …")),
        }
    }

    fn create_table(&mut self, create: &CreateTable) -> Result<Outcome> {
        if let Some(query) = &create.query {
            return alter::create_table_as(self, create, query);
        }
        let name = self.tables.resolve(&create.name)?;
        let definition = if let Some(like) = &create.like {
            let (source_name, source) = self.tables.get(&like.source)?;
            let Object::Table(source) = source else {
                return Err(Error::user(format!("{source_name} is a view; LIKE copies tables only."))
                    .at(like.source.span));
            };
            sql::merge_like(create.definition()?, &source, &like.rules)?
        } else {
            create.definition()?
        };
        self.check_table(&name, &definition, create)?;
        self.tables.create(
            &create.name,
            create.temporary,
            create.if_not_exists,
            Object::Table(definition),
        )?;
        Ok(Outcome::Done)
    }

    /// Checks what CREATE TABLE declares.
    fn check_table(
        &self,
        name: &ObjectName,
        definition: &catalog::TableDefinition,
        create: &CreateTable,
    ) -> Result<()> {
        if !definition.options.contains_key("connector") && !has_catalog_properties(&definition.options) {
            let known = self.connectors.names().collect::<Vec<_>>().join(", ");
            return Err(Error::user(format!(
                "Table options do not contain an option key 'connector', so it is unknown where {name} is."
            ))
            .with_hint(format!("Add WITH ('connector' = '…'); there are: {known}."))
            .at(create.name.span));
        }
        planner::resolve_table(name, definition, &self.context()).map_err(|e| {
            // Its place, if it has one, lies in an expression's own text.
            let named = |c: &&sql::ColumnSyntax| e.message().contains(&format!("'{}'", c.name));
            let column = create.columns.iter().find(named).and_then(|c| c.span);
            e.without_span().at(column).at(create.name.span)
        })?;
        Ok(())
    }

    fn create_view(&mut self, create: &CreateView) -> Result<Outcome> {
        let schema = planner::query_schema(&create.query, &self.context())?;
        if !create.columns.is_empty() && create.columns.len() != schema.fields().len() {
            return Err(Error::user(format!(
                "The view names {} columns but its query gives {}.",
                create.columns.len(),
                schema.fields().len()
            ))
            .at(create.name.span));
        }
        let (catalog, database) = self.tables.current();
        let columns = if create.columns.is_empty() {
            schema.fields().iter().map(|f| (f.name().clone(), None)).collect()
        } else {
            create.columns.clone()
        };
        let view = ViewDefinition {
            query: create.query.text.clone(),
            columns,
            comment: create.comment.clone(),
            catalog: catalog.to_string(),
            database: database.to_string(),
        };
        self.tables.create(&create.name, create.temporary, create.if_not_exists, Object::View(view))?;
        Ok(Outcome::Done)
    }

    fn explain(&self, explain: &Explain) -> Result<Outcome> {
        let context = self.context();
        let planned = match explain.statement.as_ref() {
            Statement::Query(query) => planner::plan_query(query, &context, runtime::collect().0)?,
            Statement::Insert(insert) => planner::plan_inserts(std::slice::from_ref(insert), &context)?,
            Statement::StatementSet(inserts) => planner::plan_inserts(inserts, &context)?,
            _ => {
                return Err(Error::user("EXPLAIN takes a query, an INSERT or a STATEMENT SET.")
                    .with_hint("Write EXPLAIN SELECT …"));
            }
        };
        Ok(show::text_rows("result", [planned.explain(explain.changelog_mode, explain.json_plan)]))
    }

    fn context(&self) -> PlannerContext<'_> {
        PlannerContext {
            tables: &self.tables,
            connectors: &self.connectors,
            config: &self.config,
            clock: self.clock.clone(),
        }
    }

    /// Statements about jobs see those of `host` too.
    pub fn set_job_host(&mut self, host: Arc<dyn JobHost>) {
        self.jobs.set_host(host);
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings, to be changed.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Names that completion offers: tables and views of the current database.
    pub fn tables(&self) -> Vec<String> {
        let (catalog, database) = self.tables.current();
        let here = |n: &ObjectName| n.catalog == catalog && n.database == database;
        self.tables.names().into_iter().filter(here).map(|n| n.object).collect()
    }

    /// Column names of a table, for completion; empty if there is none of that name.
    pub fn columns(&self, table: &str) -> Vec<String> {
        match self.tables.find(&[table.to_string()]) {
            Ok(Some((_, Object::Table(t)))) => t.columns.into_iter().map(|c| c.name).collect(),
            Ok(Some((_, Object::View(v)))) => v.columns.into_iter().map(|c| c.0).collect(),
            _ => Vec::new(),
        }
    }

    /// Value of a table's option `key`, if there is such a table and it has one.
    pub fn table_option(&self, table: &[String], key: &str) -> Option<String> {
        match self.tables.find(table) {
            Ok(Some((_, Object::Table(t)))) => t.options.get(key).cloned(),
            _ => None,
        }
    }

    /// The connectors, for completion of options.
    pub fn connectors(&self) -> &ConnectorRegistry {
        &self.connectors
    }

    /// Names of all functions, for completion.
    pub fn functions(&self) -> Vec<String> {
        let registry = FunctionRegistry::new(self.clock.clone(), self.config.zone());
        let mut names: Vec<String> = registry.names().iter().map(|n| n.to_string()).collect();
        names.extend(self.tables.function_names());
        names
    }
}

/// All INSERTs of several statements.
fn inserts_of(pieces: &[Piece]) -> Result<Vec<Insert>> {
    let mut inserts = Vec::new();
    for piece in pieces {
        match sql::parse(piece)? {
            Statement::Insert(insert) => inserts.push(insert),
            Statement::StatementSet(all) => inserts.extend(all),
            _ => {
                return Err(Error::user("Only INSERT statements can be one job.")
                    .with_hint("Write INSERT INTO, or EXECUTE STATEMENT SET BEGIN … END.")
                    .at(piece.span));
            }
        }
    }
    Ok(inserts)
}

/// Whether the options are those of a table written by Glue's own tools rather than by DDL.
fn has_catalog_properties(options: &catalog::Options) -> bool {
    options.keys().any(|k| k == "flink.connector" || k.starts_with("managed-flink."))
}

/// Words for an object's kind in messages.
fn kind_word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::View => "View",
        _ => "Table",
    }
}
