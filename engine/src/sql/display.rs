//! Statements as text: what is printed reads back as the same statement. Queries keep their source text, so
//! only statements without one are printed here.

use super::statement::{CreateDatabase, Drop, Like, LikeFeature, LikeMode, Name, Pattern, Show, Use};
use catalog::{ObjectKind, Options, quote_identifier};
use std::fmt::{self, Display, Formatter};

/// A text literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn with(options: &Options) -> String {
    let all: Vec<String> = options.iter().map(|(k, v)| format!("{} = {}", literal(k), literal(v))).collect();
    format!("WITH ({})", all.join(", "))
}

/// Every part in backticks.
impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(|p| quote_identifier(p)).collect();
        f.write_str(&parts.join("."))
    }
}

impl Display for Drop {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("DROP ")?;
        if self.temporary {
            f.write_str("TEMPORARY ")?;
        }
        f.write_str(match self.kind {
            ObjectKind::Table => "TABLE ",
            ObjectKind::View => "VIEW ",
            ObjectKind::Database => "DATABASE ",
            ObjectKind::Catalog => "CATALOG ",
            ObjectKind::Function => "FUNCTION ",
        })?;
        if self.if_exists {
            f.write_str("IF EXISTS ")?;
        }
        write!(f, "{}", self.name)?;
        if self.cascade { f.write_str(" CASCADE") } else { Ok(()) }
    }
}

impl Display for Use {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => write!(f, "USE {name}"),
            Self::Catalog(name) => write!(f, "USE CATALOG {name}"),
        }
    }
}

impl Display for CreateDatabase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("CREATE DATABASE ")?;
        if self.if_not_exists {
            f.write_str("IF NOT EXISTS ")?;
        }
        write!(f, "{}", self.name)?;
        if let Some(comment) = &self.comment {
            write!(f, " COMMENT {}", literal(comment))?;
        }
        if self.options.is_empty() { Ok(()) } else { write!(f, " {}", with(&self.options)) }
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let not = if self.negated { "NOT " } else { "" };
        let like = if self.ignore_case { "ILIKE" } else { "LIKE" };
        write!(f, "{not}{like} {}", literal(&self.pattern))
    }
}

impl Display for Show {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (what, from, like) = match self {
            Self::Catalogs(like) => ("CATALOGS", None, like.as_ref()),
            Self::CurrentCatalog => ("CURRENT CATALOG", None, None),
            Self::Databases(from, like) => ("DATABASES", from.as_ref(), like.as_ref()),
            Self::CurrentDatabase => ("CURRENT DATABASE", None, None),
            Self::Tables(from, like) => ("TABLES", from.as_ref(), like.as_ref()),
            Self::Views(from, like) => ("VIEWS", from.as_ref(), like.as_ref()),
            Self::Functions { user: true, like } => ("USER FUNCTIONS", None, like.as_ref()),
            Self::Functions { user: false, like } => ("FUNCTIONS", None, like.as_ref()),
            Self::Columns(table, like) => ("COLUMNS", Some(table), like.as_ref()),
            Self::Modules { full: false } => ("MODULES", None, None),
            Self::Modules { full: true } => ("FULL MODULES", None, None),
            Self::Jars => ("JARS", None, None),
            Self::Procedures(like) => ("PROCEDURES", None, like.as_ref()),
            Self::Partitions(table) => return write!(f, "SHOW PARTITIONS {table}"),
            Self::CreateTable(table) => return write!(f, "SHOW CREATE TABLE {table}"),
            Self::CreateView(view) => return write!(f, "SHOW CREATE VIEW {view}"),
        };
        write!(f, "SHOW {what}")?;
        if let Some(from) = from {
            write!(f, " FROM {from}")?;
        }
        like.map_or(Ok(()), |like| write!(f, " {like}"))
    }
}

impl Display for Like {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "LIKE {}", self.source)?;
        if self.rules.is_empty() {
            return Ok(());
        }
        let rules: Vec<String> = self
            .rules
            .iter()
            .map(|(mode, feature)| {
                let mode = match mode {
                    LikeMode::Including => "INCLUDING",
                    LikeMode::Excluding => "EXCLUDING",
                    LikeMode::Overwriting => "OVERWRITING",
                };
                let feature = match feature {
                    LikeFeature::All => "ALL",
                    LikeFeature::Constraints => "CONSTRAINTS",
                    LikeFeature::Generated => "GENERATED",
                    LikeFeature::Metadata => "METADATA",
                    LikeFeature::Options => "OPTIONS",
                    LikeFeature::Partitions => "PARTITIONS",
                    LikeFeature::Watermarks => "WATERMARKS",
                };
                format!("{mode} {feature}")
            })
            .collect();
        write!(f, " ({})", rules.join(" "))
    }
}
