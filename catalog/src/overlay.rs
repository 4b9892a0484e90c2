//! A catalog over another: definitions are made and dropped above, what lies below is only read.

use crate::{
    Catalog, CatalogError, DatabaseDefinition, FunctionDefinition, MemoryCatalog, Object, ObjectKind,
    ObjectName, Result,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps what is made in memory and reads the rest from the catalog below, which never changes. A name that is made
/// above goes before the same name below. Remembers which objects of the catalog below were used.
#[derive(Debug)]
pub struct OverlayCatalog {
    above: MemoryCatalog,
    below: Arc<dyn Catalog>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Objects of the catalog below that were dropped here.
    dropped: BTreeSet<(String, String)>,
    /// Functions of the catalog below that were dropped here.
    dropped_functions: BTreeSet<(String, String)>,
    /// Databases of the catalog below that were dropped here.
    dropped_databases: BTreeSet<String>,
    /// Objects of the catalog below that were read.
    used: BTreeMap<(String, String), Object>,
}

impl OverlayCatalog {
    /// An empty layer over `below`, under the same name.
    pub fn new(below: Arc<dyn Catalog>) -> Self {
        Self { above: MemoryCatalog::new(below.name()), below, state: Mutex::default() }
    }

    /// The objects of the catalog below that were read so far: database, name, definition.
    pub fn used(&self) -> Vec<(String, String, Object)> {
        self.lock().used.iter().map(|((d, n), o)| (d.clone(), n.clone(), o.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_above(&self, database: &str) -> Result<bool> {
        Ok(self.above.databases()?.iter().any(|d| d == database))
    }

    fn is_below(&self, database: &str) -> Result<bool> {
        Ok(!self.lock().dropped_databases.contains(database)
            && self.below.databases()?.iter().any(|d| d == database))
    }

    /// The object below, unless it was dropped here.
    fn object_below(&self, database: &str, name: &str) -> Result<Option<Object>> {
        let key = (database.to_string(), name.to_string());
        if self.lock().dropped.contains(&key) || !self.is_below(database)? {
            return Ok(None);
        }
        self.below.object(database, name)
    }

    /// Makes a database of the catalog below known above, so that objects can be made in it.
    fn lift(&self, database: &str) -> Result<()> {
        if !self.is_above(database)? && self.is_below(database)? {
            self.above.create_database(database, self.below.database(database)?)?;
        }
        Ok(())
    }
}

impl Catalog for OverlayCatalog {
    fn databases(&self) -> Result<Vec<String>> {
        let mut names: BTreeSet<String> = self.above.databases()?.into_iter().collect();
        let below = self.below.databases()?;
        let state = self.lock();
        names.extend(below.into_iter().filter(|d| !state.dropped_databases.contains(d)));
        Ok(names.into_iter().collect())
    }

    fn database(&self, name: &str) -> Result<DatabaseDefinition> {
        if !self.is_above(name)? && self.is_below(name)? {
            return self.below.database(name);
        }
        self.above.database(name)
    }

    fn create_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()> {
        if self.is_below(name)? {
            let name = format!("{}.{name}", self.name());
            return Err(CatalogError::AlreadyExists { kind: ObjectKind::Database, name });
        }
        self.above.create_database(name, definition)
    }

    fn alter_database(&self, name: &str, definition: DatabaseDefinition) -> Result<()> {
        self.lift(name)?;
        self.above.alter_database(name, definition)
    }

    fn drop_database(&self, name: &str, cascade: bool) -> Result<()> {
        if !self.objects(name)?.is_empty() && !cascade {
            return Err(CatalogError::NotEmpty { name: name.to_string() });
        }
        if self.is_above(name)? {
            self.above.drop_database(name, true)?;
        }
        self.lock().dropped_databases.insert(name.to_string());
        Ok(())
    }

    fn objects(&self, database: &str) -> Result<Vec<(String, ObjectKind)>> {
        let mut objects = BTreeMap::new();
        if self.is_below(database)? {
            let below = self.below.objects(database)?;
            let state = self.lock();
            objects.extend(
                below.into_iter().filter(|(n, _)| !state.dropped.contains(&(database.into(), n.clone()))),
            );
        }
        if self.is_above(database)? || !self.is_below(database)? {
            objects.extend(self.above.objects(database)?);
        }
        Ok(objects.into_iter().collect())
    }

    fn object(&self, database: &str, name: &str) -> Result<Option<Object>> {
        if let Some(object) = self.above.object(database, name)? {
            return Ok(Some(object));
        }
        let object = self.object_below(database, name)?;
        if let Some(object) = &object {
            self.lock().used.insert((database.to_string(), name.to_string()), object.clone());
        }
        Ok(object)
    }

    fn create_object(&self, database: &str, name: &str, object: Object) -> Result<()> {
        self.lift(database)?;
        self.above.create_object(database, name, object)
    }

    fn replace_object(&self, database: &str, name: &str, object: Object) -> Result<()> {
        if self.above.object(database, name)?.is_none() && self.object_below(database, name)?.is_some() {
            return self.create_object(database, name, object);
        }
        self.above.replace_object(database, name, object)
    }

    fn drop_object(&self, database: &str, name: &str) -> Result<()> {
        let below = self.object_below(database, name)?.is_some();
        let above = self.above.object(database, name)?.is_some();
        if above {
            self.above.drop_object(database, name)?;
        }
        if below {
            self.lock().dropped.insert((database.to_string(), name.to_string()));
        }
        if above || below {
            return Ok(());
        }
        let name = ObjectName::new(self.name(), database, name).to_string();
        Err(CatalogError::NotFound { kind: ObjectKind::Table, name })
    }

    fn functions(&self, database: &str) -> Result<Vec<String>> {
        let mut names: BTreeSet<String> = self.above.functions(database)?.into_iter().collect();
        if self.is_below(database)? {
            let dropped =
                |name: &String| self.lock().dropped_functions.contains(&(database.to_string(), name.clone()));
            names.extend(self.below.functions(database)?.into_iter().filter(|name| !dropped(name)));
        }
        Ok(names.into_iter().collect())
    }

    fn function(&self, database: &str, name: &str) -> Result<Option<FunctionDefinition>> {
        if let Some(found) = self.above.function(database, name)? {
            return Ok(Some(found));
        }
        let dropped = self.lock().dropped_functions.contains(&(database.to_string(), name.to_string()));
        if dropped || !self.is_below(database)? { Ok(None) } else { self.below.function(database, name) }
    }

    fn create_function(&self, database: &str, name: &str, definition: FunctionDefinition) -> Result<()> {
        if self.function(database, name)?.is_some() {
            let name = ObjectName::new(self.name(), database, name).to_string();
            return Err(CatalogError::AlreadyExists { kind: ObjectKind::Function, name });
        }
        self.lift(database)?;
        self.above.create_function(database, name, definition)
    }

    fn drop_function(&self, database: &str, name: &str) -> Result<()> {
        if self.above.function(database, name)?.is_some() {
            return self.above.drop_function(database, name);
        }
        if self.function(database, name)?.is_none() {
            let name = ObjectName::new(self.name(), database, name).to_string();
            return Err(CatalogError::NotFound { kind: ObjectKind::Function, name });
        }
        self.lock().dropped_functions.insert((database.to_string(), name.to_string()));
        Ok(())
    }

    fn name(&self) -> &str {
        self.below.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DEFAULT_DATABASE, TableDefinition};

    fn table(comment: &str) -> Object {
        Object::Table(TableDefinition { comment: Some(comment.into()), ..TableDefinition::default() })
    }

    #[test]
    fn what_is_made_above_goes_before_and_below_stays_as_it_is() {
        let below = Arc::new(MemoryCatalog::new("c"));
        below.create_database("d", DatabaseDefinition::default()).unwrap();
        for name in ["x", "y"] {
            below.create_object("d", name, table("below")).unwrap();
        }
        let over = OverlayCatalog::new(below.clone());
        assert_eq!(over.databases().unwrap(), ["d", DEFAULT_DATABASE]);
        over.create_object("d", "x", table("above")).unwrap();
        assert_eq!(over.object("d", "x").unwrap(), Some(table("above")));
        assert!(over.used().is_empty());
        assert_eq!(over.object("d", "y").unwrap(), Some(table("below")));
        assert_eq!(over.used(), [("d".into(), "y".into(), table("below"))]);
        assert!(over.create_object("d", "x", table("again")).is_err());
        over.drop_object("d", "x").unwrap();
        over.drop_object("d", "y").unwrap();
        assert!(over.drop_object("d", "y").is_err());
        assert!(over.objects("d").unwrap().is_empty());
        assert_eq!(below.objects("d").unwrap().len(), 2);
    }
}
