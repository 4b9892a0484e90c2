//! `INSERT {INTO | OVERWRITE} t [PARTITION (…)] [(columns)] query`, and statement sets.

use super::parser::{Source, expect_end, is_query};
use super::statement::Insert;
use super::syntax::{expect, expected, identifier, list, name, take, word};
use crate::error::{Error, Result};
use datafusion_sql::sqlparser::tokenizer::Token;

/// After INSERT.
pub(super) fn parse(s: &mut Source<'_>) -> Result<Insert> {
    let overwrite = word(&mut s.p, "OVERWRITE");
    if !overwrite && !word(&mut s.p, "INTO") {
        return Err(expected(&s.p, "INTO or OVERWRITE"));
    }
    word(&mut s.p, "TABLE");
    let table = name(&mut s.p, "the table to write to", 3)?;
    let options = s.take_hint(&table);
    let partition = if word(&mut s.p, "PARTITION") { list(&mut s.p, partition_value)? } else { vec![] };
    let columns = if s.p.peek_token_ref().token == Token::LParen && !is_query(&s.p) {
        list(&mut s.p, |p| {
            let (column, place) = identifier(p, "a column's name")?;
            if take(p, &Token::Period) {
                return Err(Error::unsupported(
                    "Writing to a field of a ROW column",
                    "Name whole columns, and build the value with ROW(…).",
                )
                .at(place));
            }
            Ok((column, place))
        })?
    } else {
        vec![]
    };
    if !is_query(&s.p) {
        return Err(expected(&s.p, "SELECT or VALUES"));
    }
    let query = s.query()?;
    Ok(Insert { table, options, overwrite, partition, columns, query })
}

/// `key = literal`, the literal as its plain text.
fn partition_value(p: &mut datafusion_sql::sqlparser::parser::Parser) -> Result<(String, String)> {
    let (key, _) = identifier(p, "a partition column")?;
    expect(p, &Token::Eq)?;
    let value = match &p.peek_token_ref().token {
        Token::SingleQuotedString(s) => s.clone(),
        Token::Number(n, _) => n.clone(),
        Token::Word(w) if ["TRUE", "FALSE"].iter().any(|b| w.value.eq_ignore_ascii_case(b)) => {
            w.value.to_ascii_uppercase()
        }
        _ => return Err(expected(p, "a literal")),
    };
    p.advance_token();
    Ok((key, value))
}

/// After `BEGIN`: the INSERTs of one job, up to END.
pub(super) fn statement_set(s: &mut Source<'_>) -> Result<Vec<Insert>> {
    let mut inserts = Vec::new();
    s.semicolons();
    while !word(&mut s.p, "END") {
        word(&mut s.p, "EXECUTE");
        if !word(&mut s.p, "INSERT") {
            return Err(expected(&s.p, "INSERT or END")
                .with_hint("A statement set holds INSERT statements, each ended by `;`, then END."));
        }
        inserts.push(parse(s)?);
        if !s.semicolons() {
            return Err(expected(&s.p, "`;` after the INSERT"));
        }
    }
    expect_end(&s.p)?;
    if inserts.is_empty() {
        return Err(Error::user("The statement set holds no INSERT."));
    }
    Ok(inserts)
}
