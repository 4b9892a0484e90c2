//! `ALTER …`, and tables whose columns come from a query: `CREATE TABLE … AS`, `REPLACE TABLE … AS`.

use super::{Session, kind_word};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::planner;
use crate::sql::{self, Alter, AlterTable, CreateTable, Insert, Name, Query, Replace, SqlType};
use catalog::{Catalog, ColumnDefinition, ColumnKind, Object, ObjectKind, ObjectName, ViewDefinition};
use std::sync::Arc;

/// A table or view of a catalog that is to be altered.
struct Altered {
    catalog: Arc<dyn Catalog>,
    name: ObjectName,
    object: Object,
}

pub(super) fn alter(session: &mut Session, alter: &Alter) -> Result<Outcome> {
    match alter {
        Alter::Table { name, if_exists, change } => {
            let Some(table) = find(session, name, ObjectKind::Table, *if_exists)? else {
                return Ok(Outcome::Done);
            };
            alter_table(session, name, table, change)?;
        }
        Alter::RenameView(name, new) => {
            if let Some(view) = find(session, name, ObjectKind::View, false)? {
                rename(session, view, new)?;
            }
        }
        Alter::View(name, query) => {
            if let Some(view) = find(session, name, ObjectKind::View, false)? {
                alter_view(session, view, query)?;
            }
        }
        Alter::Database(name, options) => session.tables.alter_database(name, options)?,
    }
    Ok(Outcome::Done)
}

/// The object called `name`, which must be of `kind` and no temporary one.
fn find(session: &Session, name: &Name, kind: ObjectKind, if_exists: bool) -> Result<Option<Altered>> {
    let full = session.tables.resolve(name)?;
    let word = kind_word(kind);
    let missing = || {
        Error::user(format!(
            "{word} {} doesn't exist or is a temporary {}.",
            full.quoted(),
            word.to_lowercase()
        ))
        .with_hint("Temporary objects are dropped and created again; SHOW TABLES lists what there is.")
        .at(name.span)
    };
    let stored = match session.tables.is_temporary(&full) {
        true => None,
        false => match session.tables.catalog(&full.catalog) {
            Ok(catalog) => catalog.object(&full.database, &full.object)?.map(|o| (catalog.clone(), o)),
            Err(_) => None,
        },
    };
    match stored {
        Some((catalog, object)) if object.kind() == kind => Ok(Some(Altered { catalog, name: full, object })),
        Some(_) if kind == ObjectKind::Table => Err(Error::user("ALTER TABLE for a view is not allowed")
            .with_hint("Write ALTER VIEW.")
            .at(name.span)),
        Some(_) => Err(Error::user("ALTER VIEW for a table is not allowed")
            .with_hint("Write ALTER TABLE.")
            .at(name.span)),
        None if if_exists => Ok(None),
        None => Err(missing()),
    }
}

fn alter_table(session: &Session, written: &Name, table: Altered, change: &AlterTable) -> Result<()> {
    if let AlterTable::Rename(new) = change {
        return rename(session, table, new);
    }
    let Altered { catalog, name, object: Object::Table(definition) } = table else {
        return Err(Error::internal("A table that is no table is altered."));
    };
    let definition = change.apply(definition)?;
    planner::resolve_table(&name, &definition, &session.context())
        .map_err(|e| e.without_span().at(written.span))?;
    Ok(catalog.replace_object(&name.database, &name.object, Object::Table(definition))?)
}

fn rename(session: &Session, altered: Altered, new: &Name) -> Result<()> {
    let to = sql::renamed(&altered.name, new);
    if to.catalog != altered.name.catalog {
        return Err(Error::user("An object cannot be renamed into another catalog.").at(new.span));
    }
    let catalog = altered.catalog;
    if session.tables.is_temporary(&to) || catalog.object(&to.database, &to.object)?.is_some() {
        return Err(Error::user(format!(
            "Table (or view) {}.{} already exists in Catalog {}.",
            to.database, to.object, to.catalog
        ))
        .with_hint("Choose another name, or drop that one first.")
        .at(new.span));
    }
    catalog
        .create_object(&to.database, &to.object, altered.object)
        .map_err(|e| Error::from(e).at(new.span))?;
    Ok(catalog.drop_object(&altered.name.database, &altered.name.object)?)
}

fn alter_view(session: &Session, view: Altered, query: &Query) -> Result<()> {
    let schema = planner::query_schema(query, &session.context())?;
    let (catalog, database) = session.tables.current();
    let comment = match view.object {
        Object::View(old) => old.comment,
        Object::Table(_) => None,
    };
    let definition = ViewDefinition {
        query: query.text.clone(),
        columns: schema.fields().iter().map(|f| (f.name().clone(), None)).collect(),
        comment,
        catalog: catalog.to_string(),
        database: database.to_string(),
    };
    Ok(view.catalog.replace_object(&view.name.database, &view.name.object, Object::View(definition))?)
}

/// `CREATE TABLE t WITH (…) AS query` and `[CREATE OR] REPLACE TABLE t WITH (…) AS query`: makes the table with the
/// query's columns, then starts the query into it.
pub(super) fn create_table_as(session: &mut Session, create: &CreateTable, query: &Query) -> Result<Outcome> {
    let mut definition = create.definition()?;
    let schema = planner::query_schema(query, &session.context())?;
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        let data_type = format!("{}{not_null}", SqlType::of(field).ddl());
        ColumnDefinition {
            name: field.name().clone(),
            kind: ColumnKind::Physical { data_type },
            comment: None,
        }
    };
    definition.columns = schema.fields().iter().map(column).collect();
    let name = session.tables.resolve(&create.name)?;
    session.check_table(&name, &definition, create)?;
    let exists = match session.tables.catalog(&name.catalog) {
        Ok(catalog) => catalog.object(&name.database, &name.object)?.is_some(),
        Err(_) => false,
    };
    match create.replace {
        Some(Replace::Existing) if !exists => {
            return Err(Error::user(format!("The table {} to be replaced doesn't exist.", name.quoted()))
                .with_hint("Write CREATE TABLE … AS or CREATE OR REPLACE TABLE … AS.")
                .at(create.name.span));
        }
        Some(_) if exists => {
            let catalog = session.tables.catalog(&name.catalog)?.clone();
            catalog.replace_object(&name.database, &name.object, Object::Table(definition))?;
        }
        _ if exists && create.if_not_exists => return Ok(Outcome::Done),
        _ => session.tables.create(&create.name, false, create.if_not_exists, Object::Table(definition))?,
    }
    session.insert(&[Insert {
        table: create.name.clone(),
        options: Default::default(),
        overwrite: false,
        partition: vec![],
        columns: vec![],
        query: query.clone(),
    }])
}
