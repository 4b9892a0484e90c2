//! The embedded catalog: one SQLite file, definitions as JSON, safe under several processes.

use crate::{
    Catalog, CatalogError, DEFAULT_DATABASE, DatabaseDefinition, FunctionDefinition, Object, ObjectKind,
    ObjectName, Result,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Version of the file's layout, kept in SQLite's `user_version`.
const LAYOUT_VERSION: i64 = 2;
/// How long a call waits for another process that holds the file, in seconds.
const BUSY_TIMEOUT_SECONDS: u64 = 5;

/// Keeps definitions in a file that outlives the process.
#[derive(Debug)]
pub struct SqliteCatalog {
    name: String,
    connection: Mutex<Connection>,
}

impl SqliteCatalog {
    /// Opens the catalog in `path`, made with its folders where missing.
    ///
    /// Errors: the path cannot be written, the file is no catalog, or a newer Runnel wrote it.
    pub fn open(name: impl Into<String>, path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| CatalogError::Storage(format!("{} cannot be made: {e}.", folder.display())))?;
        }
        let at =
            |e: rusqlite::Error| CatalogError::Storage(format!("{} cannot be used: {e}.", path.display()));
        let mut connection = Connection::open(path).map_err(at)?;
        connection.busy_timeout(Duration::from_secs(BUSY_TIMEOUT_SECONDS)).map_err(at)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(at)?;
        let layout: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(at)?;
        if layout > LAYOUT_VERSION {
            return Err(CatalogError::Storage(format!(
                "{} was written by a newer Runnel (layout {layout}, this one reads up to {LAYOUT_VERSION}). \
                 Use that version, or another --catalog.",
                path.display()
            )));
        }
        if layout < LAYOUT_VERSION {
            create_layout(&mut connection).map_err(at)?;
        }
        Ok(Self { name: name.into(), connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_database(&self, name: &str) -> CatalogError {
        CatalogError::NotFound { kind: ObjectKind::Database, name: format!("{}.{name}", self.name) }
    }

    fn full(&self, database: &str, name: &str) -> String {
        ObjectName::new(&self.name, database, name).to_string()
    }
}

fn create_layout(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS databases (name TEXT PRIMARY KEY, definition TEXT NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS objects (
             database TEXT NOT NULL REFERENCES databases(name) ON DELETE CASCADE,
             name TEXT NOT NULL,
             definition TEXT NOT NULL,
             PRIMARY KEY (database, name)) STRICT;
         CREATE TABLE IF NOT EXISTS functions (
             database TEXT NOT NULL REFERENCES databases(name) ON DELETE CASCADE,
             name TEXT NOT NULL,
             definition TEXT NOT NULL,
             PRIMARY KEY (database, name)) STRICT;",
    )?;
    transaction.execute(
        "INSERT OR IGNORE INTO databases VALUES (?1, ?2)",
        params![DEFAULT_DATABASE, r#"{"comment":null,"options":{}}"#],
    )?;
    transaction.pragma_update(None, "user_version", LAYOUT_VERSION)?;
    transaction.commit()
}

fn failed(e: rusqlite::Error) -> CatalogError {
    CatalogError::Storage(format!("{e}."))
}

fn write<T: Serialize>(definition: &T) -> Result<String> {
    serde_json::to_string(definition).map_err(|e| CatalogError::Storage(format!("{e}.")))
}

fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| CatalogError::Storage(format!("the definition of `{name}` is unreadable: {e}.")))
}

fn find_database(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT definition FROM databases WHERE name = ?1", [name], |r| r.get(0)).optional()
}

fn find_object(connection: &Connection, database: &str, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT definition FROM objects WHERE database = ?1 AND name = ?2",
            [database, name],
            |r| r.get(0),
        )
        .optional()
}

impl Catalog for SqliteCatalog {
    fn databases(&self) -> Result<Vec<String>> {
        let connection = self.lock();
        let mut query = connection.prepare("SELECT name FROM databases ORDER BY name").map_err(failed)?;
        query.query_map([], |r| r.get(0)).map_err(failed)?.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    fn database(&self, name: &str) -> Result<DatabaseDefinition> {
        let text = find_database(&self.lock(), name).map_err(failed)?;
        read(name, &text.ok_or_else(|| self.no_database(name))?)
    }

    fn create_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()> {
        let added = self
            .lock()
            .execute("INSERT OR IGNORE INTO databases VALUES (?1, ?2)", params![name, write(&definition)?])
            .map_err(failed)?;
        if added == 0 {
            let name = format!("{}.{name}", self.name);
            return Err(CatalogError::AlreadyExists { kind: ObjectKind::Database, name });
        }
        Ok(())
    }

    fn alter_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()> {
        let changed = self
            .lock()
            .execute(
                "UPDATE databases SET definition = ?2 WHERE name = ?1",
                params![name, write(&definition)?],
            )
            .map_err(failed)?;
        if changed == 0 { Err(self.no_database(name)) } else { Ok(()) }
    }

    fn drop_database(&self, name: &str, cascade: bool) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        let objects: i64 = transaction
            .query_row("SELECT count(*) FROM objects WHERE database = ?1", [name], |r| r.get(0))
            .map_err(failed)?;
        if objects > 0 && !cascade {
            return Err(CatalogError::NotEmpty { name: name.to_string() });
        }
        if transaction.execute("DELETE FROM databases WHERE name = ?1", [name]).map_err(failed)? == 0 {
            return Err(self.no_database(name));
        }
        transaction.commit().map_err(failed)
    }

    fn objects(&self, database: &str) -> Result<Vec<(String, ObjectKind)>> {
        let connection = self.lock();
        if find_database(&connection, database).map_err(failed)?.is_none() {
            return Err(self.no_database(database));
        }
        let mut query = connection
            .prepare("SELECT name, definition FROM objects WHERE database = ?1 ORDER BY name")
            .map_err(failed)?;
        let rows = query
            .query_map([database], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))
            .map_err(failed)?;
        rows.map(|row| {
            let (name, text) = row.map_err(failed)?;
            let kind = read::<Object>(&name, &text)?.kind();
            Ok((name, kind))
        })
        .collect()
    }

    fn object(&self, database: &str, name: &str) -> Result<Option<Object>> {
        let text = find_object(&self.lock(), database, name).map_err(failed)?;
        text.map(|t| read(&self.full(database, name), &t)).transpose()
    }

    fn create_object(&self, database: &str, name: &str, object: Object) -> Result<()> {
        let connection = self.lock();
        if find_database(&connection, database).map_err(failed)?.is_none() {
            return Err(self.no_database(database));
        }
        let added = connection
            .execute(
                "INSERT OR IGNORE INTO objects VALUES (?1, ?2, ?3)",
                params![database, name, write(&object)?],
            )
            .map_err(failed)?;
        if added == 0 {
            let full = self.full(database, name);
            let text = find_object(&connection, database, name).map_err(failed)?.unwrap_or_default();
            let kind = read::<Object>(&full, &text)?.kind();
            return Err(CatalogError::AlreadyExists { kind, name: full });
        }
        Ok(())
    }

    fn replace_object(&self, database: &str, name: &str, object: Object) -> Result<()> {
        let changed = self
            .lock()
            .execute(
                "UPDATE objects SET definition = ?3 WHERE database = ?1 AND name = ?2",
                params![database, name, write(&object)?],
            )
            .map_err(failed)?;
        if changed == 0 {
            return Err(CatalogError::NotFound { kind: object.kind(), name: self.full(database, name) });
        }
        Ok(())
    }

    fn drop_object(&self, database: &str, name: &str) -> Result<()> {
        let dropped = self
            .lock()
            .execute("DELETE FROM objects WHERE database = ?1 AND name = ?2", [database, name])
            .map_err(failed)?;
        if dropped == 0 {
            let name = self.full(database, name);
            return Err(CatalogError::NotFound { kind: ObjectKind::Table, name });
        }
        Ok(())
    }

    fn functions(&self, database: &str) -> Result<Vec<String>> {
        let connection = self.lock();
        let mut rows = connection
            .prepare("SELECT name FROM functions WHERE database = ?1 ORDER BY name")
            .map_err(failed)?;
        let names = rows.query_map([database], |r| r.get(0)).map_err(failed)?;
        names.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    fn function(&self, database: &str, name: &str) -> Result<Option<FunctionDefinition>> {
        let found: Option<String> = self
            .lock()
            .query_row(
                "SELECT definition FROM functions WHERE database = ?1 AND name = ?2",
                [database, name],
                |r| r.get(0),
            )
            .optional()
            .map_err(failed)?;
        found.map(|text| read(name, &text)).transpose()
    }

    fn create_function(&self, database: &str, name: &str, definition: FunctionDefinition) -> Result<()> {
        self.database(database)?;
        let added = self
            .lock()
            .execute(
                "INSERT OR IGNORE INTO functions VALUES (?1, ?2, ?3)",
                params![database, name, write(&definition)?],
            )
            .map_err(failed)?;
        if added == 0 {
            let name = self.full(database, name);
            return Err(CatalogError::AlreadyExists { kind: ObjectKind::Function, name });
        }
        Ok(())
    }

    fn drop_function(&self, database: &str, name: &str) -> Result<()> {
        let dropped = self
            .lock()
            .execute("DELETE FROM functions WHERE database = ?1 AND name = ?2", [database, name])
            .map_err(failed)?;
        if dropped == 0 {
            let name = self.full(database, name);
            return Err(CatalogError::NotFound { kind: ObjectKind::Function, name });
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
