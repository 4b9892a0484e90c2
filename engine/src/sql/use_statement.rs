//! `USE [catalog.]database` and `USE CATALOG c`.

use super::statement::Use;
use super::syntax::{name, word};
use crate::error::Result;
use datafusion_sql::sqlparser::parser::Parser;

/// After USE.
pub(super) fn parse(p: &mut Parser) -> Result<Use> {
    if word(p, "CATALOG") {
        return name(p, "the catalog's name", 1).map(Use::Catalog);
    }
    name(p, "the database's name", 2).map(Use::Database)
}
