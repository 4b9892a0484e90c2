//! `ObjectName`: the full name of a table or view, and how identifiers are quoted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A resolved three-part name. Parts are plain text, case-sensitive, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// Catalog, for example `default_catalog`.
    pub catalog: String,
    /// Database, for example `default_database`.
    pub database: String,
    /// Table, view or function.
    pub object: String,
}

impl ObjectName {
    /// A name from its three parts.
    pub fn new(catalog: impl Into<String>, database: impl Into<String>, object: impl Into<String>) -> Self {
        Self { catalog: catalog.into(), database: database.into(), object: object.into() }
    }

    /// Resolves one to three `parts` against the current catalog and database.
    /// `None` if there are no parts or more than three.
    pub fn resolve(parts: &[String], catalog: &str, database: &str) -> Option<Self> {
        match parts {
            [o] => Some(Self::new(catalog, database, o)),
            [d, o] => Some(Self::new(catalog, d, o)),
            [c, d, o] => Some(Self::new(c, d, o)),
            _ => None,
        }
    }

    /// The name as Flink writes it in DDL: every part in backticks.
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}.{}",
            quote_identifier(&self.catalog),
            quote_identifier(&self.database),
            quote_identifier(&self.object)
        )
    }
}

/// Plain and dotted, as Flink's error texts write it.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.database, self.object)
    }
}

/// `name` in backticks, inner backticks doubled.
pub fn quote_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_against_the_current_database() {
        let parts = |s: &str| s.split('.').map(String::from).collect::<Vec<_>>();
        assert_eq!(ObjectName::resolve(&parts("t"), "c", "d").unwrap().to_string(), "c.d.t");
        assert_eq!(ObjectName::resolve(&parts("e.t"), "c", "d").unwrap().to_string(), "c.e.t");
        assert_eq!(ObjectName::resolve(&parts("b.e.t"), "c", "d").unwrap().to_string(), "b.e.t");
        assert_eq!(ObjectName::resolve(&parts("a.b.c.d"), "c", "d"), None);
        assert_eq!(ObjectName::resolve(&[], "c", "d"), None);
    }

    #[test]
    fn quotes_with_backticks() {
        assert_eq!(ObjectName::new("c", "d", "key-`s").quoted(), "`c`.`d`.`key-``s`");
    }
}
