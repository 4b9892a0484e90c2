//! `DROP [TEMPORARY] TABLE | VIEW | DATABASE [IF EXISTS] n [RESTRICT | CASCADE]`.

use super::statement::Drop;
use super::syntax::{expect_words, expected, name, word};
use crate::error::Result;
use catalog::ObjectKind;
use datafusion_sql::sqlparser::parser::Parser;

/// After DROP.
pub(super) fn parse(p: &mut Parser) -> Result<Drop> {
    let temporary = word(p, "TEMPORARY");
    let (kind, parts) = if word(p, "TABLE") {
        (ObjectKind::Table, 3)
    } else if word(p, "VIEW") {
        (ObjectKind::View, 3)
    } else if !temporary && word(p, "DATABASE") {
        (ObjectKind::Database, 2)
    } else {
        return Err(expected(p, if temporary { "TABLE or VIEW" } else { "TABLE, VIEW or DATABASE" }));
    };
    let if_exists = word(p, "IF");
    if if_exists {
        expect_words(p, "EXISTS")?;
    }
    let name = name(p, &format!("the {kind}'s name"), parts)?;
    let cascade = kind == ObjectKind::Database && !word(p, "RESTRICT") && word(p, "CASCADE");
    Ok(Drop { kind, name, temporary, if_exists, cascade })
}
