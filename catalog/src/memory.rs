//! A catalog that lives as long as the process.

use crate::{
    Catalog, CatalogError, DEFAULT_DATABASE, DatabaseDefinition, FunctionDefinition, Object, ObjectKind,
    ObjectName, Result,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Databases = BTreeMap<String, (DatabaseDefinition, BTreeMap<String, Object>)>;
type Functions = BTreeMap<(String, String), FunctionDefinition>;

/// Keeps everything in memory; starts with the default database.
#[derive(Debug)]
pub struct MemoryCatalog {
    name: String,
    databases: Mutex<Databases>,
    /// By database and name.
    functions: Mutex<Functions>,
}

impl MemoryCatalog {
    /// An empty catalog called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_database(name, DEFAULT_DATABASE)
    }

    /// As [`Self::new`], with another database to begin with.
    pub fn with_database(name: impl Into<String>, database: &str) -> Self {
        let databases = BTreeMap::from([(database.to_string(), Default::default())]);
        Self { name: name.into(), databases: Mutex::new(databases), functions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Databases> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_functions(&self) -> MutexGuard<'_, Functions> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_database(&self, name: &str) -> CatalogError {
        CatalogError::NotFound { kind: ObjectKind::Database, name: format!("{}.{name}", self.name) }
    }

    fn full(&self, database: &str, name: &str) -> String {
        ObjectName::new(&self.name, database, name).to_string()
    }
}

impl Catalog for MemoryCatalog {
    fn databases(&self) -> Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }

    fn database(&self, name: &str) -> Result<DatabaseDefinition> {
        self.lock().get(name).map(|d| d.0.clone()).ok_or_else(|| self.no_database(name))
    }

    fn create_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()> {
        let mut databases = self.lock();
        if databases.contains_key(name) {
            let name = format!("{}.{name}", self.name);
            return Err(CatalogError::AlreadyExists { kind: ObjectKind::Database, name });
        }
        databases.insert(name.to_string(), (definition, BTreeMap::new()));
        Ok(())
    }

    fn alter_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()> {
        self.lock().get_mut(name).ok_or_else(|| self.no_database(name))?.0 = definition;
        Ok(())
    }

    fn drop_database(&self, name: &str, cascade: bool) -> Result<()> {
        let mut databases = self.lock();
        let (_, objects) = databases.get(name).ok_or_else(|| self.no_database(name))?;
        if !objects.is_empty() && !cascade {
            return Err(CatalogError::NotEmpty { name: name.to_string() });
        }
        databases.remove(name);
        self.lock_functions().retain(|(database, _), _| database != name);
        Ok(())
    }

    fn objects(&self, database: &str) -> Result<Vec<(String, ObjectKind)>> {
        let databases = self.lock();
        let (_, objects) = databases.get(database).ok_or_else(|| self.no_database(database))?;
        Ok(objects.iter().map(|(n, o)| (n.clone(), o.kind())).collect())
    }

    fn object(&self, database: &str, name: &str) -> Result<Option<Object>> {
        Ok(self.lock().get(database).and_then(|(_, objects)| objects.get(name).cloned()))
    }

    fn create_object(&self, database: &str, name: &str, object: Object) -> Result<()> {
        let mut databases = self.lock();
        let (_, objects) = databases.get_mut(database).ok_or_else(|| self.no_database(database))?;
        if let Some(existing) = objects.get(name) {
            return Err(CatalogError::AlreadyExists {
                kind: existing.kind(),
                name: self.full(database, name),
            });
        }
        objects.insert(name.to_string(), object);
        Ok(())
    }

    fn replace_object(&self, database: &str, name: &str, object: Object) -> Result<()> {
        let mut databases = self.lock();
        let (_, objects) = databases.get_mut(database).ok_or_else(|| self.no_database(database))?;
        match objects.get_mut(name) {
            Some(existing) => {
                *existing = object;
                Ok(())
            }
            None => Err(CatalogError::NotFound { kind: object.kind(), name: self.full(database, name) }),
        }
    }

    fn drop_object(&self, database: &str, name: &str) -> Result<()> {
        let mut databases = self.lock();
        let (_, objects) = databases.get_mut(database).ok_or_else(|| self.no_database(database))?;
        match objects.remove(name) {
            Some(_) => Ok(()),
            None => Err(CatalogError::NotFound { kind: ObjectKind::Table, name: self.full(database, name) }),
        }
    }

    fn functions(&self, database: &str) -> Result<Vec<String>> {
        let functions = self.lock_functions();
        Ok(functions.keys().filter(|(d, _)| d == database).map(|(_, name)| name.clone()).collect())
    }

    fn function(&self, database: &str, name: &str) -> Result<Option<FunctionDefinition>> {
        Ok(self.lock_functions().get(&(database.to_string(), name.to_string())).cloned())
    }

    fn create_function(&self, database: &str, name: &str, definition: FunctionDefinition) -> Result<()> {
        self.database(database)?;
        match self.lock_functions().entry((database.to_string(), name.to_string())) {
            Entry::Occupied(_) => Err(CatalogError::AlreadyExists {
                kind: ObjectKind::Function,
                name: self.full(database, name),
            }),
            Entry::Vacant(free) => {
                free.insert(definition);
                Ok(())
            }
        }
    }

    fn drop_function(&self, database: &str, name: &str) -> Result<()> {
        match self.lock_functions().remove(&(database.to_string(), name.to_string())) {
            Some(_) => Ok(()),
            None => {
                Err(CatalogError::NotFound { kind: ObjectKind::Function, name: self.full(database, name) })
            }
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}
