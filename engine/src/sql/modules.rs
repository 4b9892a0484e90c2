//! `LOAD MODULE`, `UNLOAD MODULE`, `USE MODULES`.

use super::statement::{Modules, Name};
use super::syntax::{name, options, take, word, words};
use crate::error::Result;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

const WHAT: &str = "the module's name";

/// The statement, if it is one about modules.
pub(super) fn parse(p: &mut Parser) -> Result<Option<Modules>> {
    Ok(Some(if words(p, "LOAD MODULE") {
        let name = name(p, WHAT, 1)?;
        let options = if word(p, "WITH") { options(p)?.0 } else { Default::default() };
        Modules::Load { name, options }
    } else if words(p, "UNLOAD MODULE") {
        Modules::Unload(name(p, WHAT, 1)?)
    } else if words(p, "USE MODULES") {
        let mut names: Vec<Name> = vec![name(p, WHAT, 1)?];
        while take(p, &Token::Comma) {
            names.push(name(p, WHAT, 1)?);
        }
        Modules::Use(names)
    } else {
        return Ok(None);
    }))
}
