//! `Statement`: what the parser makes of one statement. Queries stay sqlparser's AST; the rest is ours.

use crate::error::Span;
use catalog::{ColumnKind, Options};
use datafusion_sql::sqlparser::ast;
use std::collections::HashMap;

use crate::error::Location;

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `[EXECUTE] SELECT …`, `WITH …`, `VALUES …`.
    Query(Query),
    /// `[EXECUTE] INSERT INTO …`.
    Insert(Insert),
    /// `EXECUTE STATEMENT SET BEGIN … END`: one job.
    StatementSet(Vec<Insert>),
    /// `CREATE TABLE`.
    CreateTable(Box<CreateTable>),
    /// `CREATE VIEW`.
    CreateView(CreateView),
    /// `CREATE DATABASE`.
    CreateDatabase(CreateDatabase),
    /// `CREATE | ALTER | DROP | DESCRIBE CATALOG`, `SHOW CREATE CATALOG`.
    Catalog(CatalogStatement),
    /// `ALTER TABLE | VIEW | DATABASE`.
    Alter(Alter),
    /// `CREATE FUNCTION`, `ALTER FUNCTION`.
    CreateFunction(CreateFunction),
    /// `DROP FUNCTION`.
    DropFunction(DropFunction),
    /// `DROP TABLE | VIEW | DATABASE`.
    Drop(Drop),
    /// `USE [CATALOG]`.
    Use(Use),
    /// `LOAD MODULE`, `UNLOAD MODULE`, `USE MODULES`.
    Modules(Modules),
    /// `SHOW …`.
    Show(Show),
    /// `DESCRIBE t`.
    Describe(Name),
    /// `SET 'k' = 'v'`, or all settings.
    Set(Option<(String, String)>),
    /// `RESET 'k'`, or all.
    Reset(Option<String>),
    /// `EXPLAIN …`.
    Explain(Explain),
    /// `SHOW JOBS`, `DESCRIBE JOB`, `STOP JOB`.
    Job(JobStatement),
}

/// A statement about catalogs.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogStatement {
    /// `CREATE CATALOG [IF NOT EXISTS] c [COMMENT '…'] WITH (…)`.
    Create {
        /// Its name, of one part.
        name: Name,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// `COMMENT`.
        comment: Option<String>,
        /// `WITH`.
        options: Options,
    },
    /// `DROP CATALOG [IF EXISTS] c`.
    Drop {
        /// Which.
        name: Name,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `ALTER CATALOG c …`.
    Alter {
        /// Which.
        name: Name,
        /// What changes.
        change: CatalogChange,
    },
    /// `DESCRIBE CATALOG [EXTENDED] c`.
    Describe {
        /// Which.
        name: Name,
        /// With its options.
        extended: bool,
    },
    /// `SHOW CREATE CATALOG c`.
    ShowCreate(Name),
}

/// What ALTER CATALOG changes.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogChange {
    /// `SET ('k' = 'v', …)`.
    Set(Options),
    /// `RESET ('k', …)`.
    Reset(Vec<String>),
    /// `COMMENT '…'`.
    Comment(String),
}

/// A statement about running jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatement {
    /// `SHOW JOBS`.
    Show,
    /// `DESCRIBE JOB '<id>'`.
    Describe(JobName),
    /// `STOP JOB '<id>' [WITH SAVEPOINT] [WITH DRAIN]`.
    Stop {
        /// Which.
        job: JobName,
        /// `WITH SAVEPOINT`.
        savepoint: bool,
        /// `WITH DRAIN`: all windows fire before.
        drain: bool,
    },
}

/// A job's id as written, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// 32 hexadecimal digits, if it is one.
    pub id: String,
    /// Its place.
    pub span: Option<Span>,
}

/// A name as written, one to three parts, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Without quotes.
    pub parts: Vec<String>,
    /// Place of all parts.
    pub span: Option<Span>,
}

/// Hints after table names, `/*+ OPTIONS('k' = 'v') */`, by the place of the name's last part.
pub type TableHints = HashMap<Location, Options>;

/// A query: sqlparser's AST after the token pass, and the text it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Spans are places in the whole text that was split, not in `text`.
    pub ast: Box<ast::Query>,
    /// As the user wrote it, without the statement's first words and the closing `;`.
    pub text: String,
    /// `OPTIONS` hints of its tables.
    pub hints: TableHints,
}

/// `INSERT {INTO | OVERWRITE} t [PARTITION (…)] [(columns)] query`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// Where to.
    pub table: Name,
    /// `OPTIONS` hint of the target.
    pub options: Options,
    /// `OVERWRITE`.
    pub overwrite: bool,
    /// Static partition values, as literals' text.
    pub partition: Vec<(String, String)>,
    /// Column list; empty means all.
    pub columns: Vec<(String, Option<Span>)>,
    /// What.
    pub query: Query,
}

/// `CREATE [TEMPORARY] TABLE [IF NOT EXISTS] …`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    /// Its name.
    pub name: Name,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// In order.
    pub columns: Vec<ColumnSyntax>,
    /// `WATERMARK FOR column AS expression`: column, expression text, place.
    pub watermark: Option<(String, String, Option<Span>)>,
    /// `[CONSTRAINT name] PRIMARY KEY (…) NOT ENFORCED`, in table or column form: name, columns.
    pub primary_key: Option<(Option<String>, Vec<String>)>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `PARTITIONED BY (…)`.
    pub partitioned_by: Vec<String>,
    /// `WITH (…)`.
    pub options: Options,
    /// Places of the option keys, for errors.
    pub option_spans: HashMap<String, Span>,
    /// `LIKE source (…)`.
    pub like: Option<Like>,
    /// `[CREATE OR] REPLACE TABLE`.
    pub replace: Option<Replace>,
    /// `AS SELECT …`.
    pub query: Option<Query>,
}

/// How a table that exists is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// `REPLACE TABLE`: it must exist.
    Existing,
    /// `CREATE OR REPLACE TABLE`.
    OrCreate,
}

/// `ALTER …`.
#[derive(Debug, Clone, PartialEq)]
pub enum Alter {
    /// `ALTER TABLE [IF EXISTS] t …`.
    Table {
        /// The table.
        name: Name,
        /// `IF EXISTS`.
        if_exists: bool,
        /// What is changed.
        change: AlterTable,
    },
    /// `ALTER VIEW v RENAME TO w`.
    RenameView(Name, Name),
    /// `ALTER VIEW v AS query`.
    View(Name, Query),
    /// `ALTER DATABASE d SET (…)`.
    Database(Name, Options),
}

/// What ALTER TABLE changes.
#[derive(Debug, Clone, PartialEq)]
pub enum AlterTable {
    /// `RENAME TO t2`.
    Rename(Name),
    /// `RENAME a TO b`.
    RenameColumn {
        /// The column.
        from: (String, Option<Span>),
        /// Its new name.
        to: (String, Option<Span>),
    },
    /// `SET ('k' = 'v')`.
    Set(Options),
    /// `RESET ('k')`.
    Reset(Vec<String>),
    /// `ADD …`: columns with their places, a key, a watermark.
    Add {
        /// What is added.
        table: Box<CreateTable>,
        /// One for each column.
        places: Vec<ColumnPlace>,
    },
    /// `MODIFY …`.
    Modify {
        /// What takes the place of what is there.
        table: Box<CreateTable>,
        /// One for each column.
        places: Vec<ColumnPlace>,
    },
    /// `DROP a`, `DROP (a, b)`.
    DropColumns(Vec<(String, Option<Span>)>),
    /// `DROP PRIMARY KEY`, `DROP CONSTRAINT c`.
    DropKey(Option<(String, Option<Span>)>),
    /// `DROP WATERMARK`.
    DropWatermark,
}

/// Where an added or modified column stands.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnPlace {
    /// Where it was; a new one last.
    Same,
    /// `FIRST`.
    First,
    /// `AFTER c`.
    After((String, Option<Span>)),
}

/// One column in CREATE TABLE. Types and expressions are text; types are normalized by `data_type`.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSyntax {
    /// Without quotes.
    pub name: String,
    /// Physical, metadata or computed.
    pub kind: ColumnKind,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// Place of the name.
    pub span: Option<Span>,
}

/// `LIKE source (INCLUDING … EXCLUDING …)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    /// The table copied from.
    pub source: Name,
    /// In order.
    pub rules: Vec<(LikeMode, LikeFeature)>,
}

/// How LIKE treats a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeMode {
    /// Copy it; a clash is an error.
    Including,
    /// Leave it out.
    Excluding,
    /// Copy it; the new table's own wins.
    Overwriting,
}

/// What LIKE may copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeFeature {
    /// Everything.
    All,
    /// The primary key.
    Constraints,
    /// Computed columns.
    Generated,
    /// Metadata columns.
    Metadata,
    /// `WITH` options.
    Options,
    /// `PARTITIONED BY`.
    Partitions,
    /// The watermark.
    Watermarks,
}

/// `CREATE [TEMPORARY] VIEW [IF NOT EXISTS] v [(a, b)] [COMMENT '…'] AS query`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Column names with comments; empty means the query's own.
    pub columns: Vec<(String, Option<String>)>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// What it stands for.
    pub query: Query,
}

/// `CREATE DATABASE [IF NOT EXISTS] d [COMMENT '…'] [WITH (…)]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateDatabase {
    /// One or two parts.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `WITH (…)`.
    pub options: Options,
}

/// `CREATE | ALTER [TEMPORARY [SYSTEM]] FUNCTION f(a INT, …) RETURNS type {RETURN expression | LANGUAGE WASM AS '…'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateFunction {
    /// Its name.
    pub name: Name,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `SYSTEM`: found in every database, before the built-in ones.
    pub system: bool,
    /// ALTER: it must be there.
    pub alters: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `IF EXISTS`, of ALTER.
    pub if_exists: bool,
    /// What it does.
    pub definition: catalog::FunctionDefinition,
}

/// `DROP [TEMPORARY [SYSTEM]] FUNCTION [IF EXISTS] f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropFunction {
    /// Its name.
    pub name: Name,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `SYSTEM`.
    pub system: bool,
    /// `IF EXISTS`.
    pub if_exists: bool,
}

/// `DROP [TEMPORARY] TABLE | VIEW | DATABASE [IF EXISTS] n [CASCADE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    /// What kind of object.
    pub kind: catalog::ObjectKind,
    /// Its name.
    pub name: Name,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `IF EXISTS`.
    pub if_exists: bool,
    /// `CASCADE`, databases only.
    pub cascade: bool,
}

/// `USE [c.]d` or `USE CATALOG c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// A database of the current or the named catalog.
    Database(Name),
    /// A catalog.
    Catalog(Name),
}

/// A statement about modules.
#[derive(Debug, Clone, PartialEq)]
pub enum Modules {
    /// `LOAD MODULE m [WITH (…)]`.
    Load {
        /// Its name, of one part.
        name: Name,
        /// `WITH`.
        options: Options,
    },
    /// `UNLOAD MODULE m`.
    Unload(Name),
    /// `USE MODULES m, …`.
    Use(Vec<Name>),
}

/// `SHOW …`, each with its filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Show {
    /// `SHOW CATALOGS`.
    Catalogs(Option<Pattern>),
    /// `SHOW CURRENT CATALOG`.
    CurrentCatalog,
    /// `SHOW DATABASES [FROM c]`.
    Databases(Option<Name>, Option<Pattern>),
    /// `SHOW CURRENT DATABASE`.
    CurrentDatabase,
    /// `SHOW TABLES [FROM d]`.
    Tables(Option<Name>, Option<Pattern>),
    /// `SHOW VIEWS [FROM d]`.
    Views(Option<Name>, Option<Pattern>),
    /// `SHOW [USER] FUNCTIONS`.
    Functions {
        /// `USER`.
        user: bool,
        /// Filter.
        like: Option<Pattern>,
    },
    /// `SHOW COLUMNS FROM t`.
    Columns(Name, Option<Pattern>),
    /// `SHOW CREATE TABLE t`.
    CreateTable(Name),
    /// `SHOW CREATE VIEW v`.
    CreateView(Name),
    /// `SHOW [FULL] MODULES`.
    Modules {
        /// `FULL`.
        full: bool,
    },
    /// `SHOW PARTITIONS t`.
    Partitions(Name),
    /// `SHOW JARS`.
    Jars,
    /// `SHOW PROCEDURES`.
    Procedures(Option<Pattern>),
}

/// `[NOT] LIKE | ILIKE 'pattern'` of a SHOW statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// `NOT`.
    pub negated: bool,
    /// `ILIKE`.
    pub ignore_case: bool,
    /// With `%`, `_` and `\` as escape.
    pub pattern: String,
}

/// `EXPLAIN [PLAN FOR | details] statement`.
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    /// `CHANGELOG_MODE`.
    pub changelog_mode: bool,
    /// `JSON_EXECUTION_PLAN`.
    pub json_plan: bool,
    /// What is explained. `ESTIMATED_COST` and `PLAN_ADVICE` are accepted, without effect: plans need no statistics.
    pub statement: Box<Statement>,
}
