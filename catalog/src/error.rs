//! What can go wrong in a catalog, with the kind and name of the object it is about.

use std::fmt;

/// Result of a catalog call.
pub type Result<T> = std::result::Result<T, CatalogError>;

/// The kinds of object that a catalog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A catalog itself.
    Catalog,
    /// A database.
    Database,
    /// A table.
    Table,
    /// A view.
    View,
    /// A user-defined function.
    Function,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Catalog => "catalog",
            Self::Database => "database",
            Self::Table => "table",
            Self::View => "view",
            Self::Function => "function",
        })
    }
}

/// Why a catalog call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogError {
    /// There is no such object.
    NotFound {
        /// What was looked for.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// There is one already.
    AlreadyExists {
        /// What exists.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// The database still holds objects.
    NotEmpty {
        /// Its name.
        name: String,
    },
    /// The catalog cannot do this.
    Unsupported(String),
    /// The store failed or holds something unreadable.
    Storage(String),
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { kind, name } => write!(f, "There is no {kind} `{name}`."),
            Self::AlreadyExists { kind, name } => write!(f, "A {kind} `{name}` exists already."),
            Self::NotEmpty { name } => {
                write!(
                    f,
                    "Database `{name}` is not empty; DROP DATABASE {name} CASCADE drops its tables too."
                )
            }
            Self::Unsupported(what) => write!(f, "The catalog cannot {what}."),
            Self::Storage(what) => write!(f, "The catalog's store failed: {what}"),
        }
    }
}

impl std::error::Error for CatalogError {}
