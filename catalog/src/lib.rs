//! Names and definitions of databases, tables and views, and the `Catalog` trait that stores them.
//! A catalog knows nothing of execution: types and expressions are kept as the SQL text that declared them.

mod definition;
mod error;
mod memory;
mod name;
mod overlay;
mod sqlite;

pub use definition::{
    ColumnDefinition, ColumnKind, DatabaseDefinition, FunctionDefinition, FunctionLanguage, Object, Options,
    PrimaryKey, TableDefinition, ViewDefinition, WatermarkDefinition, is_secret,
};
pub use error::{CatalogError, ObjectKind, Result};
pub use memory::MemoryCatalog;
pub use name::{ObjectName, quote_identifier};
pub use overlay::OverlayCatalog;
pub use sqlite::SqliteCatalog;

/// The database that always exists in every catalog.
pub const DEFAULT_DATABASE: &str = "default_database";

/// Where definitions live. Calls block; a remote implementation waits inside.
///
/// Names passed in are plain (unquoted, case-sensitive). Every method answers `NotFound` or
/// `AlreadyExists` with the full name of the object that it is about.
pub trait Catalog: Send + Sync + std::fmt::Debug {
    /// Names of all databases, sorted.
    fn databases(&self) -> Result<Vec<String>>;
    /// The definition of one database.
    fn database(&self, name: &str) -> Result<DatabaseDefinition>;
    /// Adds a database; `AlreadyExists` if there is one of that name.
    fn create_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()>;
    /// Replaces the definition of a database; `NotFound` if there is none.
    fn alter_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()>;
    /// Removes a database; `NotEmpty` if it holds objects and `cascade` is false.
    fn drop_database(&self, name: &str, cascade: bool) -> Result<()>;
    /// Names of all tables and views in `database`, sorted.
    fn objects(&self, database: &str) -> Result<Vec<(String, ObjectKind)>>;
    /// The definition of a table or view, or `None` if there is none of that name.
    fn object(&self, database: &str, name: &str) -> Result<Option<Object>>;
    /// Adds a table or view; `AlreadyExists` if either exists under that name.
    fn create_object(&self, database: &str, name: &str, object: Object) -> Result<()>;
    /// Replaces the definition of an existing table or view.
    fn replace_object(&self, database: &str, name: &str, object: Object) -> Result<()>;
    /// Removes a table or view; `NotFound` if there is none.
    fn drop_object(&self, database: &str, name: &str) -> Result<()>;
    /// Names of all functions in `database`, sorted. Names of functions are in lower case.
    fn functions(&self, database: &str) -> Result<Vec<String>>;
    /// The definition of a function, or `None` if there is none of that name.
    fn function(&self, database: &str, name: &str) -> Result<Option<FunctionDefinition>>;
    /// Adds a function; `AlreadyExists` if there is one of that name.
    fn create_function(&self, database: &str, name: &str, definition: FunctionDefinition) -> Result<()>;
    /// Removes a function; `NotFound` if there is none.
    fn drop_function(&self, database: &str, name: &str) -> Result<()>;
    /// The name under which the catalog is known, for error texts and `SHOW CATALOGS`.
    fn name(&self) -> &str;
}
