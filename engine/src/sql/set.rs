//! `SET ['k' = 'v']`, `RESET ['k']`.

use super::syntax::{expect, expected, here, string};
use crate::error::{Error, Result};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// After SET.
pub(super) fn parse_set(p: &mut Parser) -> Result<Option<(String, String)>> {
    if p.peek_token_ref().token == Token::EOF {
        return Ok(None);
    }
    let place = here(p);
    let quoted = "Write SET 'key' = 'value'; with both in single quotes.";
    let key = string(p, "the setting's key in single quotes").map_err(|e| e.with_hint(quoted))?;
    expect(p, &Token::Eq).map_err(|e| e.with_hint(quoted))?;
    let value = string(p, "the setting's value in single quotes").map_err(|e| e.with_hint(quoted))?;
    if key.trim().is_empty() {
        return Err(Error::user("The setting's key is empty.").at(place));
    }
    Ok(Some((key.trim().to_owned(), value.trim().to_owned())))
}

/// After RESET.
pub(super) fn parse_reset(p: &mut Parser) -> Result<Option<String>> {
    if p.peek_token_ref().token == Token::EOF {
        return Ok(None);
    }
    if !matches!(p.peek_token_ref().token, Token::SingleQuotedString(_)) {
        return Err(
            expected(p, "the setting's key in single quotes").with_hint("Write RESET 'key'; or RESET;")
        );
    }
    string(p, "the setting's key").map(|key| Some(key.trim().to_owned()))
}
