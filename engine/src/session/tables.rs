//! `Tables`: names to tables and views, over the session's catalogs and its temporary objects.

use super::catalogs::Declared;
use super::functions::TemporaryFunctions;
use super::kind_word;
use crate::error::{Error, Result, nearest};
use crate::planner::TableLookup;
use crate::sql::{CreateDatabase, Drop, Name};
use catalog::{Catalog, CatalogError, DatabaseDefinition, Object, ObjectKind, ObjectName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The session's catalogs, its current database and its temporary objects.
pub(super) struct Tables {
    catalogs: Vec<Arc<dyn Catalog>>,
    /// Those of [`Self::catalogs`] that were made by statements.
    declared: BTreeMap<String, Declared>,
    temporary: BTreeMap<ObjectName, Object>,
    pub(super) functions: TemporaryFunctions,
    catalog: String,
    database: String,
}

impl Tables {
    /// The first of `catalogs` is current.
    pub(super) fn new(catalogs: Vec<Arc<dyn Catalog>>) -> Self {
        let catalog = catalogs.first().map_or_else(String::new, |c| c.name().to_string());
        let database = catalog::DEFAULT_DATABASE.to_string();
        Self {
            catalogs,
            declared: BTreeMap::new(),
            temporary: BTreeMap::new(),
            functions: TemporaryFunctions::default(),
            catalog,
            database,
        }
    }

    /// Current catalog and database.
    pub(super) fn current(&self) -> (&str, &str) {
        (&self.catalog, &self.database)
    }

    pub(super) fn catalogs(&self) -> impl Iterator<Item = &str> {
        self.catalogs.iter().map(|c| c.name())
    }

    pub(super) fn add_catalog(&mut self, catalog: Arc<dyn Catalog>, declared: Declared) {
        self.declared.insert(catalog.name().to_string(), declared);
        self.catalogs.push(catalog);
    }

    pub(super) fn remove_catalog(&mut self, name: &str) {
        self.declared.remove(name);
        self.catalogs.retain(|c| c.name() != name);
        self.temporary.retain(|full, _| full.catalog != name);
    }

    pub(super) fn declared_catalog(&mut self, name: &str) -> Option<&mut Declared> {
        self.declared.get_mut(name)
    }

    pub(super) fn resolve(&self, name: &Name) -> Result<ObjectName> {
        ObjectName::resolve(&name.parts, &self.catalog, &self.database).ok_or_else(|| {
            Error::user(format!("`{}` has more than three parts.", name.parts.join(".")))
                .with_hint("A name is catalog.database.table; put a name with dots in backticks.")
                .at(name.span)
        })
    }

    /// The catalog called `name`.
    pub(super) fn catalog(&self, name: &str) -> Result<&Arc<dyn Catalog>> {
        self.catalogs.iter().find(|c| c.name() == name).ok_or_else(|| {
            let known = self.catalogs().collect::<Vec<_>>().join(", ");
            Error::user(format!("A catalog with name [{name}] does not exist."))
                .with_hint(format!("There are: {known}."))
        })
    }

    /// The object called `name`.
    pub(super) fn get(&self, name: &Name) -> Result<(ObjectName, Object)> {
        self.find(&name.parts)?.ok_or_else(|| self.missing(name, ObjectKind::Table))
    }

    fn missing(&self, name: &Name, kind: ObjectKind) -> Error {
        let full = self.resolve(name).map_or_else(|_| name.parts.join("."), |n| n.to_string());
        let names = self.names();
        let word = name.parts.last().map_or("", String::as_str);
        let hint = nearest(word, names.iter().map(|n| n.object.as_str()));
        let hint = hint
            .map_or_else(|| "SHOW TABLES lists what there is.".into(), |n| format!("Did you mean `{n}`?"));
        Error::user(format!("{} with identifier '{full}' does not exist.", kind_word(kind)))
            .with_hint(hint)
            .at(name.span)
    }

    pub(super) fn create(
        &mut self,
        name: &Name,
        temporary: bool,
        if_not_exists: bool,
        object: Object,
    ) -> Result<()> {
        let full = self.resolve(name)?;
        let catalog = self.catalog(&full.catalog).map_err(|e| e.at(name.span))?.clone();
        if temporary {
            if self.temporary.contains_key(&full) {
                return if if_not_exists {
                    Ok(())
                } else {
                    Err(Error::user(format!(
                        "Temporary {} '{full}' already exists.",
                        kind_word(object.kind()).to_lowercase()
                    ))
                    .at(name.span))
                };
            }
            self.temporary.insert(full, object);
            return Ok(());
        }
        match catalog.create_object(&full.database, &full.object, object) {
            Err(CatalogError::AlreadyExists { .. }) if if_not_exists => Ok(()),
            Err(CatalogError::AlreadyExists { .. }) => Err(Error::user(format!(
                "Table (or view) {}.{} already exists in Catalog {}.",
                full.database, full.object, full.catalog
            ))
            .with_hint("Drop it first, or write CREATE … IF NOT EXISTS.")
            .at(name.span)),
            Err(CatalogError::NotFound { .. }) => {
                Err(self.no_database(&full.catalog, &full.database).at(name.span))
            }
            other => other.map_err(|e| Error::from(e).at(name.span)),
        }
    }

    fn no_database(&self, catalog: &str, database: &str) -> Error {
        let known = self.catalog(catalog).ok().and_then(|c| c.databases().ok()).unwrap_or_default();
        let hint = nearest(database, known.iter().map(String::as_str));
        let hint = hint
            .map_or_else(|| format!("There are: {}.", known.join(", ")), |n| format!("Did you mean `{n}`?"));
        Error::user(format!("A database with name [{database}] does not exist in the catalog: [{catalog}]."))
            .with_hint(hint)
    }

    pub(super) fn create_database(&self, create: &CreateDatabase) -> Result<()> {
        let (catalog, database) = self.database_name(&create.name)?;
        let definition =
            DatabaseDefinition { comment: create.comment.clone(), options: create.options.clone() };
        match self
            .catalog(&catalog)
            .map_err(|e| e.at(create.name.span))?
            .create_database(&database, definition)
        {
            Err(CatalogError::AlreadyExists { .. }) if create.if_not_exists => Ok(()),
            Err(CatalogError::AlreadyExists { .. }) => {
                Err(Error::user(format!("Database {database} already exists in catalog {catalog}."))
                    .at(create.name.span))
            }
            other => other.map_err(|e| Error::from(e).at(create.name.span)),
        }
    }

    /// `ALTER DATABASE d SET (…)`: adds to its properties, or changes them.
    pub(super) fn alter_database(&self, name: &Name, options: &catalog::Options) -> Result<()> {
        let (catalog, database) = self.database_name(name)?;
        let stored = self.catalog(&catalog).map_err(|e| e.at(name.span))?;
        let mut definition = match stored.database(&database) {
            Err(CatalogError::NotFound { .. }) => {
                return Err(self.no_database(&catalog, &database).at(name.span));
            }
            other => other?,
        };
        definition.options.extend(options.clone());
        Ok(stored.alter_database(&database, definition)?)
    }

    /// Catalog and database of a name of one or two parts.
    pub(super) fn database_name(&self, name: &Name) -> Result<(String, String)> {
        match name.parts.as_slice() {
            [database] => Ok((self.catalog.clone(), database.clone())),
            [catalog, database] => Ok((catalog.clone(), database.clone())),
            _ => Err(Error::user("A database's name is `database` or `catalog.database`.").at(name.span)),
        }
    }

    pub(super) fn drop(&mut self, drop: &Drop) -> Result<()> {
        match drop.kind {
            ObjectKind::Database => return self.drop_database(drop),
            ObjectKind::Catalog | ObjectKind::Table | ObjectKind::View | ObjectKind::Function => {}
        }
        let full = self.resolve(&drop.name)?;
        let word = kind_word(drop.kind);
        let temporary = self.temporary.get(&full).map(Object::kind);
        if drop.temporary {
            return match temporary {
                Some(kind) if kind == drop.kind => {
                    self.temporary.remove(&full);
                    Ok(())
                }
                _ if drop.if_exists => Ok(()),
                _ => Err(Error::user(format!(
                    "Temporary {} with identifier '{full}' does not exist.",
                    word.to_lowercase()
                ))
                .at(drop.name.span)),
            };
        }
        if temporary.is_some() {
            return Err(Error::user(format!(
                "Temporary {} with identifier '{full}' exists. Drop it first before removing the permanent {}.",
                word.to_lowercase(),
                word.to_lowercase()
            ))
            .with_hint(format!("Write DROP TEMPORARY {} …", word.to_uppercase()))
            .at(drop.name.span));
        }
        let catalog = match self.catalog(&full.catalog) {
            Ok(catalog) => catalog,
            Err(_) if drop.if_exists => return Ok(()),
            Err(e) => return Err(e.at(drop.name.span)),
        };
        match catalog.object(&full.database, &full.object)? {
            Some(object) if object.kind() == drop.kind => {
                Ok(catalog.drop_object(&full.database, &full.object)?)
            }
            Some(other) => Err(Error::user(format!("{full} is a {}.", other.kind()))
                .with_hint(format!("Write DROP {} …", kind_word(other.kind()).to_uppercase()))
                .at(drop.name.span)),
            None if drop.if_exists => Ok(()),
            None => Err(self.missing(&drop.name, drop.kind)),
        }
    }

    fn drop_database(&mut self, drop: &Drop) -> Result<()> {
        let (catalog, database) = self.database_name(&drop.name)?;
        if (catalog.as_str(), database.as_str()) == self.current() {
            return Err(Error::user(format!(
                "Cannot drop database [{database}] while it is the current one."
            ))
            .with_hint("USE another database first.")
            .at(drop.name.span));
        }
        match self.catalog(&catalog).map_err(|e| e.at(drop.name.span))?.drop_database(&database, drop.cascade)
        {
            Err(CatalogError::NotFound { .. }) if drop.if_exists => Ok(()),
            Err(CatalogError::NotFound { .. }) => {
                Err(self.no_database(&catalog, &database).at(drop.name.span))
            }
            other => other.map_err(|e| Error::from(e).at(drop.name.span)),
        }
    }

    pub(super) fn use_catalog(&mut self, name: &Name) -> Result<()> {
        let word = name.parts.join(".");
        self.catalog = self.catalog(&word).map_err(|e| e.at(name.span))?.name().to_string();
        let first = self.declared.get(&self.catalog).map(Declared::first_database);
        self.database = first.unwrap_or(catalog::DEFAULT_DATABASE).to_string();
        Ok(())
    }

    pub(super) fn use_database(&mut self, name: &Name) -> Result<()> {
        let (catalog, database) = self.database_name(name)?;
        if self.catalog(&catalog).map_err(|e| e.at(name.span))?.database(&database).is_err() {
            return Err(self.no_database(&catalog, &database).at(name.span));
        }
        (self.catalog, self.database) = (catalog, database);
        Ok(())
    }

    /// Tables and views of a database, temporary ones included, sorted.
    pub(super) fn objects(&self, catalog: &str, database: &str) -> Result<Vec<(String, ObjectKind)>> {
        let stored = self.catalog(catalog)?.objects(database);
        let mut objects: BTreeMap<String, ObjectKind> =
            stored.map_err(|_| self.no_database(catalog, database))?.into_iter().collect();
        for (name, object) in &self.temporary {
            if name.catalog == catalog && name.database == database {
                objects.insert(name.object.clone(), object.kind());
            }
        }
        Ok(objects.into_iter().collect())
    }

    /// Whether `name` is a temporary object.
    pub(super) fn is_temporary(&self, name: &ObjectName) -> bool {
        self.temporary.contains_key(name)
    }
}

impl TableLookup for Tables {
    fn database(&self) -> &str {
        &self.database
    }

    fn find(&self, parts: &[String]) -> Result<Option<(ObjectName, Object)>> {
        let Some(name) = ObjectName::resolve(parts, &self.catalog, &self.database) else { return Ok(None) };
        if let Some(object) = self.temporary.get(&name) {
            return Ok(Some((name, object.clone())));
        }
        let Ok(catalog) = self.catalog(&name.catalog) else { return Ok(None) };
        let object = catalog.object(&name.database, &name.object)?;
        Ok(object.map(|o| (name, o)))
    }

    fn function(&self, parts: &[String]) -> Result<Option<catalog::FunctionDefinition>> {
        self.find_function(parts)
    }

    fn is_system_function(&self, name: &str) -> bool {
        self.functions.has_system(name)
    }

    fn names(&self) -> Vec<ObjectName> {
        let mut names: Vec<ObjectName> = self.temporary.keys().cloned().collect();
        for catalog in &self.catalogs {
            for database in catalog.databases().unwrap_or_default() {
                for (object, _) in catalog.objects(&database).unwrap_or_default() {
                    names.push(ObjectName::new(catalog.name(), &database, object));
                }
            }
        }
        names.sort();
        names.dedup();
        names
    }
}
