//! Catalogs that are made in the session: they live in memory, as long as it does.

use super::show::{rows, text, text_rows};
use super::tables::Tables;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::sql::{CatalogChange, CatalogStatement, Name};
use catalog::{DEFAULT_DATABASE, MemoryCatalog, Options, quote_identifier};
use std::sync::Arc;

/// The only type of catalog that a statement makes.
const IN_MEMORY: &str = "generic_in_memory";
/// The option that names the database which is there from the start.
const FIRST_DATABASE: &str = "default-database";

/// What CREATE CATALOG declared.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    options: Options,
    comment: Option<String>,
}

impl Declared {
    /// The database that USE CATALOG chooses.
    pub(super) fn first_database(&self) -> &str {
        self.options.get(FIRST_DATABASE).map_or(DEFAULT_DATABASE, String::as_str)
    }
}

pub(super) fn execute(tables: &mut Tables, statement: &CatalogStatement) -> Result<Outcome> {
    match statement {
        CatalogStatement::Create { name, if_not_exists, comment, options } => {
            let word = name.parts.join(".");
            if tables.catalogs().any(|c| c == word) {
                return match if_not_exists {
                    true => Ok(Outcome::Done),
                    false => Err(Error::user(format!("Catalog {word} already exists."))
                        .with_hint("Write CREATE CATALOG IF NOT EXISTS, or another name.")
                        .at(name.span)),
                };
            }
            check(options).map_err(|e| e.at(name.span))?;
            let declared = Declared { options: options.clone(), comment: comment.clone() };
            let made = MemoryCatalog::with_database(word, declared.first_database());
            tables.add_catalog(Arc::new(made), declared);
            Ok(Outcome::Done)
        }
        CatalogStatement::Drop { name, if_exists } => {
            let word = name.parts.join(".");
            if *if_exists && !tables.catalogs().any(|c| c == word) {
                return Ok(Outcome::Done);
            }
            declared(tables, name)?;
            if tables.current().0 == word {
                return Err(Error::user("Cannot drop a catalog which is currently in use.")
                    .with_hint("Write USE CATALOG default_catalog first.")
                    .at(name.span));
            }
            tables.remove_catalog(&word);
            Ok(Outcome::Done)
        }
        CatalogStatement::Alter { name, change } => {
            let declared = declared(tables, name)?;
            let mut changed = declared.clone();
            match change {
                CatalogChange::Set(options) => changed.options.extend(options.clone()),
                CatalogChange::Comment(comment) => changed.comment = Some(comment.clone()),
                CatalogChange::Reset(keys) => {
                    if keys.iter().any(|k| k == "type") {
                        return Err(
                            Error::user("ALTER CATALOG RESET does not support changing 'type'").at(name.span)
                        );
                    }
                    changed.options.retain(|k, _| !keys.contains(k));
                }
            }
            check(&changed.options).map_err(|e| e.at(name.span))?;
            *declared = changed;
            Ok(Outcome::Done)
        }
        CatalogStatement::Describe { name, extended } => {
            let word = name.parts.join(".");
            let declared = declared(tables, name)?;
            let mut lines = vec![
                ("name".to_string(), Some(word)),
                ("type".to_string(), Some(IN_MEMORY.to_string())),
                ("comment".to_string(), declared.comment.clone()),
            ];
            let others = declared.options.iter().filter(|(k, _)| *extended && *k != "type");
            lines.extend(others.map(|(k, v)| (format!("option:{k}"), Some(v.clone()))));
            let (names, values): (Vec<_>, Vec<Option<String>>) = lines.into_iter().unzip();
            let values = std::sync::Arc::new(arrow::array::StringArray::from(values));
            Ok(rows(vec![("info name", text(names)), ("info value", values)]))
        }
        CatalogStatement::ShowCreate(name) => {
            let quoted = quote_identifier(&name.parts.join("."));
            let declared = declared(tables, name)?;
            let comment = declared.comment.as_ref();
            let comment =
                comment.map_or_else(String::new, |c| format!(" COMMENT '{}'", c.replace('\'', "''")));
            let options: Vec<String> =
                declared.options.iter().map(|(k, v)| format!("  '{k}' = '{v}'")).collect();
            let made = format!("CREATE CATALOG {quoted}{comment} WITH (\n{}\n)\n", options.join(",\n"));
            Ok(text_rows("result", [made]))
        }
    }
}

/// What the catalog was made with.
///
/// Errors: there is none of that name, or it is one that Runnel was started with.
fn declared<'t>(tables: &'t mut Tables, name: &Name) -> Result<&'t mut Declared> {
    let word = name.parts.join(".");
    tables.catalog(&word).map_err(|e| e.at(name.span))?;
    tables.declared_catalog(&word).ok_or_else(|| {
        Error::user(format!("Catalog {word} was not made by CREATE CATALOG: Runnel started with it."))
            .with_hint("Only catalogs of this session can be described, altered and dropped.")
            .at(name.span)
    })
}

fn check(options: &Options) -> Result<()> {
    let way = "Write WITH ('type' = 'generic_in_memory').";
    match options.get("type").map(String::as_str) {
        Some(IN_MEMORY) => {}
        Some(other) => {
            return Err(Error::user(format!(
                "There is no catalog of type '{other}' that a statement can make."
            ))
            .with_hint(format!("{way} Catalogs that last, such as Glue's, are chosen when Runnel starts.")));
        }
        None => {
            return Err(Error::user(
                "Catalog options do not contain an option key 'type' for discovering a catalog.",
            )
            .with_hint(way));
        }
    }
    let known = ["type", FIRST_DATABASE, "property-version"];
    match options.keys().find(|k| !known.contains(&k.as_str())) {
        Some(wrong) => Err(Error::user(format!(
            "Unsupported options found for '{IN_MEMORY}'. Unsupported options: {wrong}. Supported options: {FIRST_DATABASE}, property-version."
        ))),
        None => Ok(()),
    }
}
