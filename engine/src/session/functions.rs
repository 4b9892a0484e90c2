//! User-defined functions: `CREATE | ALTER | DROP FUNCTION`, and where they are found.

use super::Session;
use super::tables::Tables;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::planner;
use crate::sql::{CreateFunction, DropFunction, Name};
use catalog::{CatalogError, FunctionDefinition, ObjectName};
use std::collections::BTreeMap;

/// Functions that live as long as the session. Names are in lower case.
#[derive(Default)]
pub(super) struct TemporaryFunctions {
    system: BTreeMap<String, FunctionDefinition>,
    of_databases: BTreeMap<ObjectName, FunctionDefinition>,
}

impl TemporaryFunctions {
    /// Whether there is a temporary system function of that name.
    pub(super) fn has_system(&self, name: &str) -> bool {
        self.system.contains_key(&name.to_lowercase())
    }
}

/// A function's full name; the names of functions are in lower case.
fn resolve(tables: &Tables, name: &Name) -> Result<ObjectName> {
    let full = tables.resolve(name)?;
    Ok(ObjectName::new(&full.catalog, &full.database, full.object.to_lowercase()))
}

impl Tables {
    /// The function that a call of `parts` means: temporary ones first. `None` for built-in and unknown names.
    pub(super) fn find_function(&self, parts: &[String]) -> Result<Option<FunctionDefinition>> {
        if let [name] = parts
            && let Some(found) = self.functions.system.get(&name.to_lowercase())
        {
            return Ok(Some(found.clone()));
        }
        let (catalog, database) = self.current();
        let Some(name) = ObjectName::resolve(parts, catalog, database) else { return Ok(None) };
        let name = ObjectName::new(&name.catalog, &name.database, name.object.to_lowercase());
        if let Some(found) = self.functions.of_databases.get(&name) {
            return Ok(Some(found.clone()));
        }
        match self.catalog(&name.catalog) {
            Ok(catalog) => Ok(catalog.function(&name.database, &name.object)?),
            Err(_) => Ok(None),
        }
    }

    /// Names of all functions that the current database's calls find, sorted.
    pub(super) fn function_names(&self) -> Vec<String> {
        let (catalog, database) = self.current();
        let here = |n: &&ObjectName| n.catalog == catalog && n.database == database;
        let mut names: Vec<String> = self.functions.system.keys().cloned().collect();
        names.extend(self.functions.of_databases.keys().filter(here).map(|n| n.object.clone()));
        if let Ok(catalog) = self.catalog(catalog) {
            names.extend(catalog.functions(database).unwrap_or_default());
        }
        names.sort();
        names.dedup();
        names
    }
}

pub(super) fn create(session: &mut Session, create: &CreateFunction) -> Result<Outcome> {
    let definition = &create.definition;
    let written = create.name.parts.join(".");
    planner::check_function(&written, definition, &session.context())
        .map_err(|e| e.without_span().at(create.name.span))?;
    let exists = |name: &str| {
        Error::user(format!("Function '{name}' already exists."))
            .with_hint("Drop it first, write ALTER FUNCTION, or CREATE FUNCTION IF NOT EXISTS.")
            .at(create.name.span)
    };
    let missing = |name: &str| {
        Error::user(format!("Function '{name}' does not exist."))
            .with_hint("Write CREATE FUNCTION.")
            .at(create.name.span)
    };
    let functions = &mut session.tables.functions;
    if create.system {
        let name = written.to_lowercase();
        return match (functions.system.contains_key(&name), create.alters) {
            (true, false) if create.if_not_exists => Ok(Outcome::Done),
            (true, false) => Err(exists(&name)),
            (false, true) if create.if_exists => Ok(Outcome::Done),
            (false, true) => Err(missing(&name)),
            _ => {
                functions.system.insert(name, definition.clone());
                Ok(Outcome::Done)
            }
        };
    }
    let full = resolve(&session.tables, &create.name)?;
    if create.temporary {
        let functions = &mut session.tables.functions.of_databases;
        return match (functions.contains_key(&full), create.alters) {
            (true, false) if create.if_not_exists => Ok(Outcome::Done),
            (true, false) => Err(exists(&full.to_string())),
            (false, true) if create.if_exists => Ok(Outcome::Done),
            (false, true) => Err(missing(&full.to_string())),
            _ => {
                functions.insert(full, definition.clone());
                Ok(Outcome::Done)
            }
        };
    }
    let catalog = session.tables.catalog(&full.catalog).map_err(|e| e.at(create.name.span))?.clone();
    if create.alters {
        if catalog.function(&full.database, &full.object)?.is_none() {
            return if create.if_exists { Ok(Outcome::Done) } else { Err(missing(&full.to_string())) };
        }
        catalog.drop_function(&full.database, &full.object)?;
    }
    match catalog.create_function(&full.database, &full.object, definition.clone()) {
        Err(CatalogError::AlreadyExists { .. }) if create.if_not_exists => Ok(Outcome::Done),
        Err(CatalogError::AlreadyExists { .. }) => Err(exists(&full.to_string())),
        other => other.map(|()| Outcome::Done).map_err(|e| Error::from(e).at(create.name.span)),
    }
}

pub(super) fn drop(session: &mut Session, drop: &DropFunction) -> Result<Outcome> {
    let written = drop.name.parts.join(".");
    if drop.system {
        let found = session.tables.functions.system.remove(&written.to_lowercase()).is_some();
        return if found || drop.if_exists {
            Ok(Outcome::Done)
        } else {
            Err(Error::user(format!(
                "Could not drop temporary system function. A function named '{written}' doesn't exist."
            ))
            .with_hint("SHOW USER FUNCTIONS lists what there is.")
            .at(drop.name.span))
        };
    }
    let full = resolve(&session.tables, &drop.name)?;
    let missing = || {
        Error::user(format!(
            "Function {}.{} does not exist in Catalog {}.",
            full.database, full.object, full.catalog
        ))
        .with_hint("SHOW USER FUNCTIONS lists what there is.")
        .at(drop.name.span)
    };
    if drop.temporary {
        let found = session.tables.functions.of_databases.remove(&full).is_some();
        return if found || drop.if_exists { Ok(Outcome::Done) } else { Err(missing()) };
    }
    let catalog = session.tables.catalog(&full.catalog).map_err(|e| e.at(drop.name.span))?;
    match catalog.drop_function(&full.database, &full.object) {
        Err(CatalogError::NotFound { .. }) if drop.if_exists => Ok(Outcome::Done),
        Err(CatalogError::NotFound { .. }) => Err(missing()),
        other => other.map(|()| Outcome::Done).map_err(|e| Error::from(e).at(drop.name.span)),
    }
}
