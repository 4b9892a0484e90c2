//! `CREATE DATABASE [IF NOT EXISTS] d [COMMENT '…'] [WITH (…)]`.

use super::parser::{comment, if_not_exists};
use super::statement::CreateDatabase;
use super::syntax::{name, options, word};
use crate::error::Result;
use datafusion_sql::sqlparser::parser::Parser;

/// After `DATABASE`.
pub(super) fn parse(p: &mut Parser) -> Result<CreateDatabase> {
    let if_not_exists = if_not_exists(p)?;
    let name = name(p, "the database's name", 2)?;
    let comment = comment(p)?;
    let options = if word(p, "WITH") { options(p)?.0 } else { Default::default() };
    Ok(CreateDatabase { name, if_not_exists, comment, options })
}
