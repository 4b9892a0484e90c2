//! `CREATE | ALTER | DROP | DESCRIBE CATALOG` and `SHOW CREATE CATALOG`.

use super::parser::{comment, if_not_exists};
use super::statement::{CatalogChange, CatalogStatement};
use super::syntax::{expect, expect_words, expected, name, options, string, take, word, words};
use crate::error::Result;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

const WHAT: &str = "the catalog's name";

/// The statement, if it is one about catalogs.
pub(super) fn parse(p: &mut Parser) -> Result<Option<CatalogStatement>> {
    Ok(Some(if words(p, "CREATE CATALOG") {
        let if_not_exists = if_not_exists(p)?;
        let (name, comment) = (name(p, WHAT, 1)?, comment(p)?);
        let options = if word(p, "WITH") { options(p)?.0 } else { Default::default() };
        CatalogStatement::Create { name, if_not_exists, comment, options }
    } else if words(p, "DROP CATALOG") {
        let if_exists = word(p, "IF");
        if if_exists {
            expect_words(p, "EXISTS")?;
        }
        CatalogStatement::Drop { name: name(p, WHAT, 1)?, if_exists }
    } else if words(p, "ALTER CATALOG") {
        let name = name(p, WHAT, 1)?;
        CatalogStatement::Alter { name, change: change(p)? }
    } else if words(p, "DESCRIBE CATALOG") || words(p, "DESC CATALOG") {
        let extended = word(p, "EXTENDED");
        CatalogStatement::Describe { name: name(p, WHAT, 1)?, extended }
    } else if words(p, "SHOW CREATE CATALOG") {
        CatalogStatement::ShowCreate(name(p, WHAT, 1)?)
    } else {
        return Ok(None);
    }))
}

fn change(p: &mut Parser) -> Result<CatalogChange> {
    if let Some(comment) = comment(p)? {
        return Ok(CatalogChange::Comment(comment));
    }
    if word(p, "SET") {
        return Ok(CatalogChange::Set(options(p)?.0));
    }
    if !word(p, "RESET") {
        return Err(expected(p, "SET, RESET or COMMENT"));
    }
    expect(p, &Token::LParen)?;
    let mut keys = vec![string(p, "an option's key in single quotes")?];
    while take(p, &Token::Comma) {
        keys.push(string(p, "an option's key in single quotes")?);
    }
    expect(p, &Token::RParen)?;
    Ok(CatalogChange::Reset(keys))
}
