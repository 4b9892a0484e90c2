//! `CREATE | ALTER | DROP FUNCTION`: user-defined functions in SQL and WebAssembly.

use super::parser::{Source, if_not_exists};
use super::statement::{CreateFunction, DropFunction};
use super::syntax::{
    expect, expect_words, expected, here, identifier, last, name, peek_words, string, take, word, words,
};
use super::type_parser::parse_type;
use crate::error::{Error, Result};
use catalog::{FunctionDefinition, FunctionLanguage};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// Most parameters of a function.
const MOST_PARAMETERS: usize = 64;
const FORM: &str = "Write CREATE FUNCTION f(a BIGINT, b STRING) RETURNS BIGINT RETURN a + CHAR_LENGTH(b); or \
                    … RETURNS BIGINT LANGUAGE WASM AS 'module.wasm#export'.";

/// Whether `[TEMPORARY [SYSTEM]] FUNCTION` comes next, and which.
pub(super) fn peek(p: &Parser) -> bool {
    ["FUNCTION", "TEMPORARY FUNCTION", "TEMPORARY SYSTEM FUNCTION"].iter().any(|w| peek_words(p, w))
}

fn kind(p: &mut Parser) -> Result<(bool, bool)> {
    let temporary = word(p, "TEMPORARY");
    let system = temporary && word(p, "SYSTEM");
    expect_words(p, "FUNCTION")?;
    Ok((temporary, system))
}

/// After CREATE or ALTER.
pub(super) fn parse(s: &mut Source<'_>, alters: bool) -> Result<CreateFunction> {
    let (temporary, system) = kind(&mut s.p)?;
    let if_not_exists = if alters { false } else { if_not_exists(&mut s.p)? };
    let if_exists = alters && words(&mut s.p, "IF EXISTS");
    let name = name(&mut s.p, "the function's name", if system { 1 } else { 3 })?;
    if peek_words(&s.p, "AS") {
        return Err(Error::unsupported(
            "A function of a Java, Scala or Python class",
            format!("Runnel runs SQL and WebAssembly, no classes. {FORM}"),
        )
        .at(here(&s.p)));
    }
    let parameters = parameters(&mut s.p)?;
    expect_words(&mut s.p, "RETURNS").map_err(|e| e.with_hint(FORM))?;
    let returns = data_type(&mut s.p)?;
    let (language, body) = body(s)?;
    let definition = FunctionDefinition { parameters, returns, language, body };
    Ok(CreateFunction { name, temporary, system, alters, if_not_exists, if_exists, definition })
}

fn parameters(p: &mut Parser) -> Result<Vec<(String, String)>> {
    expect(p, &Token::LParen).map_err(|e| e.with_hint(FORM))?;
    let mut all: Vec<(String, String)> = Vec::new();
    if take(p, &Token::RParen) {
        return Ok(all);
    }
    loop {
        let (parameter, place) = identifier(p, "a parameter's name")?;
        if all.iter().any(|(known, _)| *known == parameter) {
            return Err(Error::user(format!("The function has two parameters `{parameter}`.")).at(place));
        }
        if all.len() == MOST_PARAMETERS {
            return Err(
                Error::user(format!("A function has at most {MOST_PARAMETERS} parameters.")).at(place)
            );
        }
        all.push((parameter, data_type(p)?));
        if !take(p, &Token::Comma) {
            expect(p, &Token::RParen)?;
            return Ok(all);
        }
    }
}

fn data_type(p: &mut Parser) -> Result<String> {
    let (sql_type, mut nullable) = parse_type(p)?;
    if words(p, "NOT NULL") {
        nullable = false;
    }
    Ok(format!("{}{}", sql_type.ddl(), if nullable { "" } else { " NOT NULL" }))
}

fn body(s: &mut Source<'_>) -> Result<(FunctionLanguage, String)> {
    let written = word(&mut s.p, "LANGUAGE");
    let wasm = written && (word(&mut s.p, "WASM") || word(&mut s.p, "WEBASSEMBLY"));
    if written && !wasm && !word(&mut s.p, "SQL") {
        return Err(expected(&s.p, "SQL or WASM").with_hint(FORM));
    }
    if wasm {
        expect_words(&mut s.p, "AS")?;
        let place = here(&s.p);
        let body = string(&mut s.p, "the module and its export in single quotes: 'module.wasm#export'")?;
        if !body.split_once('#').is_some_and(|(path, export)| !path.is_empty() && !export.is_empty()) {
            return Err(Error::user(format!("'{body}' does not name an export of a module."))
                .with_hint("Write 'path/to/module.wasm#export'.")
                .at(place));
        }
        return Ok((FunctionLanguage::Wasm, body));
    }
    expect_words(&mut s.p, "RETURN").map_err(|e| e.with_hint(FORM))?;
    let from = here(&s.p);
    s.p.parse_expr()?;
    let text = s.text_since(from);
    if text.trim().is_empty() {
        return Err(expected(&s.p, "an expression after RETURN").at(last(&s.p)));
    }
    Ok((FunctionLanguage::Sql, text))
}

/// After DROP.
pub(super) fn parse_drop(p: &mut Parser) -> Result<DropFunction> {
    let (temporary, system) = kind(p)?;
    let if_exists = words(p, "IF EXISTS");
    let name = name(p, "the function's name", if system { 1 } else { 3 })?;
    Ok(DropFunction { name, temporary, system, if_exists })
}
