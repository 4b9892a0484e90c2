//! The registry: which jobs there are, whether they shall run, and what they started from, on embedded SQLite.

use crate::model::{Checkpoint, Definition, Failure, Happened, JobState};
use engine::{Error, Result};
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Version of the file's layout, kept in SQLite's `user_version`.
const LAYOUT_VERSION: i64 = 1;
/// Most entries of a job's history; the oldest go.
pub const HISTORY_ENTRIES: usize = 200;

/// A job as it is remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What.
    pub definition: Definition,
    /// 1 at first, one more with every update.
    pub version: u64,
    /// Whether it shall run.
    pub wanted: bool,
    /// How it stood when that was last written.
    pub status: JobState,
    /// When it was started last by hand, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Under which id the engine runs it: 32 hexadecimal digits. It goes on from the latest checkpoint of this run;
    /// empty where the next start is another run.
    pub run: String,
    /// Restarts since then.
    pub restarts: u64,
    /// What it starts from when there is no checkpoint since it was started.
    pub restore: Option<String>,
    /// The last complete checkpoint since it was started.
    pub checkpoint: Option<Checkpoint>,
    /// The last savepoint.
    pub savepoint: Option<String>,
    /// Why it failed last.
    pub failure: Option<Failure>,
}

impl Entry {
    /// What the next process starts from, as far as the server knows.
    pub fn resume(&self) -> Option<String> {
        self.checkpoint.as_ref().map(|c| c.path.clone()).or_else(|| self.restore.clone())
    }
}

/// The file of all jobs. Every change is on disk when the call returns.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Registry {
    /// Opens the registry in `path`, made where missing.
    ///
    /// Errors: the file cannot be used, or a newer Runnel wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e: rusqlite::Error| damaged(path, &e);
        let connection = Connection::open(path).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        let layout: i64 =
            connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(failed)?;
        if layout > LAYOUT_VERSION {
            return Err(Error::user(format!(
                "{} was written by a newer Runnel (layout {layout}, this one reads up to {LAYOUT_VERSION}).",
                path.display()
            ))
            .with_hint("Use that version, or another --dir."));
        }
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS jobs (
                     id TEXT PRIMARY KEY,
                     name TEXT NOT NULL UNIQUE,
                     definition TEXT NOT NULL,
                     version INTEGER NOT NULL,
                     wanted INTEGER NOT NULL,
                     status TEXT NOT NULL,
                     start_ms INTEGER NOT NULL,
                     restarts INTEGER NOT NULL,
                     run TEXT NOT NULL,
                     restore TEXT,
                     checkpoint TEXT,
                     savepoint TEXT,
                     failure TEXT) STRICT;
                 CREATE TABLE IF NOT EXISTS history (
                     job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
                     at_ms INTEGER NOT NULL,
                     what TEXT NOT NULL) STRICT;
                 CREATE INDEX IF NOT EXISTS history_of_a_job ON history (job);
                 PRAGMA user_version = {LAYOUT_VERSION};
                 COMMIT;"
            ))
            .map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, e: &rusqlite::Error) -> Error {
        damaged(&self.path, e)
    }

    /// All jobs, by name.
    ///
    /// Errors: the file cannot be read.
    pub fn all(&self) -> Result<Vec<Entry>> {
        let connection = self.lock();
        let failed = |e| self.failed(&e);
        let mut query = connection.prepare("SELECT * FROM jobs ORDER BY name").map_err(failed)?;
        let rows = query.query_map([], entry).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Writes a job, new or old.
    ///
    /// Errors: the file cannot be written.
    pub fn save(&self, entry: &Entry) -> Result<()> {
        let text = params![
            entry.id,
            entry.definition.name,
            json(&entry.definition)?,
            entry.version as i64,
            entry.wanted,
            entry.status.word(),
            entry.start_ms,
            entry.restarts as i64,
            entry.run,
            entry.restore,
            entry.checkpoint.as_ref().map(json).transpose()?,
            entry.savepoint,
            entry.failure.as_ref().map(json).transpose()?,
        ];
        let sql = "INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
            ON CONFLICT (id) DO UPDATE SET name = ?2, definition = ?3, version = ?4, wanted = ?5, status = ?6,
            start_ms = ?7, restarts = ?8, run = ?9, restore = ?10, checkpoint = ?11, savepoint = ?12,
            failure = ?13";
        let connection = self.lock();
        let mut statement = connection.prepare(sql).map_err(|e| self.failed(&e))?;
        statement.execute(text).map(drop).map_err(|e| self.failed(&e))
    }

    /// Forgets a job and its history.
    ///
    /// Errors: the file cannot be written.
    pub fn delete(&self, id: &str) -> Result<()> {
        self.lock().execute("DELETE FROM jobs WHERE id = ?1", [id]).map(drop).map_err(|e| self.failed(&e))
    }

    /// Remembers that something happened to a job.
    ///
    /// Errors: the file cannot be written.
    pub fn happened(&self, id: &str, event: &Happened) -> Result<()> {
        let mut connection = self.lock();
        let mut write = || {
            let transaction = connection.transaction()?;
            transaction
                .execute("INSERT INTO history VALUES (?1, ?2, ?3)", params![id, event.at_ms, event.what])?;
            transaction.execute(
                "DELETE FROM history WHERE job = ?1 AND rowid NOT IN
                 (SELECT rowid FROM history WHERE job = ?1 ORDER BY rowid DESC LIMIT ?2)",
                params![id, HISTORY_ENTRIES as i64],
            )?;
            transaction.commit()
        };
        write().map_err(|e| self.failed(&e))
    }

    /// What has happened to a job, the newest last.
    ///
    /// Errors: the file cannot be read.
    pub fn history(&self, id: &str) -> Result<Vec<Happened>> {
        let connection = self.lock();
        let failed = |e| self.failed(&e);
        let sql = "SELECT at_ms, what FROM history WHERE job = ?1 ORDER BY rowid";
        let mut query = connection.prepare(sql).map_err(failed)?;
        let happened = |r: &Row<'_>| Ok(Happened { at_ms: r.get(0)?, what: r.get(1)? });
        query.query_map([id], happened).map_err(failed)?.collect::<rusqlite::Result<_>>().map_err(failed)
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let status: String = row.get(5)?;
    Ok(Entry {
        id: row.get(0)?,
        definition: parsed(2, &row.get::<_, String>(2)?)?,
        version: row.get::<_, i64>(3)? as u64,
        wanted: row.get(4)?,
        status: JobState::parse(&status).unwrap_or(JobState::Suspended),
        start_ms: row.get(6)?,
        restarts: row.get::<_, i64>(7)? as u64,
        run: row.get(8)?,
        restore: row.get(9)?,
        checkpoint: row.get::<_, Option<String>>(10)?.map(|t| parsed(10, &t)).transpose()?,
        savepoint: row.get(11)?,
        failure: row.get::<_, Option<String>>(12)?.map(|t| parsed(12, &t)).transpose()?,
    })
}

fn parsed<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    let wrong =
        |e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(text).map_err(wrong)
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(format!("{e}.")))
}

fn damaged(path: &Path, e: &rusqlite::Error) -> Error {
    Error::external(format!("The registry {} cannot be used: {e}.", path.display()))
        .with_hint("Check free space and the file's owner, or name another folder with --dir.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, name: &str) -> Entry {
        Entry {
            id: id.into(),
            definition: Definition { name: name.into(), ..Definition::default() },
            version: 1,
            wanted: true,
            status: JobState::Running,
            start_ms: 5,
            restarts: 2,
            run: "7".into(),
            restore: Some("s".into()),
            checkpoint: None,
            savepoint: None,
            failure: None,
        }
    }

    #[test]
    fn jobs_outlive_the_process() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("registry.db");
        let mut b = job("2", "b");
        {
            let registry = Registry::open(&path).unwrap();
            registry.save(&b).unwrap();
            registry.save(&job("1", "c")).unwrap();
            b.checkpoint = Some(Checkpoint { id: 3, path: "chk".into(), ..Checkpoint::default() });
            b.failure = Some(Failure { message: "no".into(), place: Some((1, 2)), ..Failure::default() });
            registry.save(&b).unwrap();
            assert!(registry.save(&job("3", "b")).is_err(), "names are unique");
        }
        let registry = Registry::open(&path).unwrap();
        assert_eq!(registry.all().unwrap(), [b.clone(), job("1", "c")]);
        assert_eq!((b.resume().as_deref(), job("1", "c").resume().as_deref()), (Some("chk"), Some("s")));
        registry.delete("2").unwrap();
        assert_eq!(registry.all().unwrap(), [job("1", "c")]);
    }

    #[test]
    fn history_is_bounded() {
        let temp = tempfile::tempdir().unwrap();
        let registry = Registry::open(&temp.path().join("registry.db")).unwrap();
        registry.save(&job("1", "a")).unwrap();
        for n in 0..HISTORY_ENTRIES as i64 + 5 {
            registry.happened("1", &Happened { at_ms: n, what: "x".into() }).unwrap();
        }
        let history = registry.history("1").unwrap();
        assert_eq!((history.len(), history[0].at_ms), (HISTORY_ENTRIES, 5));
        registry.delete("1").unwrap();
        assert!(registry.history("1").unwrap().is_empty());
    }

    #[test]
    fn a_newer_or_damaged_file_is_refused_with_its_path() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("registry.db");
        drop(Registry::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Registry::open(&path).unwrap_err();
        assert!(error.message().contains("newer Runnel (layout 99"), "{error}");
        std::fs::write(&path, "no database at all ".repeat(100)).unwrap();
        assert!(Registry::open(&path).unwrap_err().message().contains("registry.db"));
    }
}
