//! `EXPLAIN [PLAN FOR | details] [EXECUTE] {query | INSERT | STATEMENT SET}`.

use super::insert;
use super::parser::{Source, is_query};
use super::statement::{Explain, Statement};
use super::syntax::{expect_words, expected, take, word, words};
use crate::error::Result;
use datafusion_sql::sqlparser::tokenizer::Token;

/// After EXPLAIN.
pub(super) fn parse(s: &mut Source<'_>) -> Result<Explain> {
    let (mut changelog_mode, mut json_plan) = (false, false);
    if !words(&mut s.p, "PLAN FOR") {
        let mut more = true;
        let mut any = false;
        while more {
            if word(&mut s.p, "CHANGELOG_MODE") {
                changelog_mode = true;
            } else if word(&mut s.p, "JSON_EXECUTION_PLAN") {
                json_plan = true;
            } else if !word(&mut s.p, "ESTIMATED_COST") && !word(&mut s.p, "PLAN_ADVICE") {
                if any {
                    return Err(expected(
                        &s.p,
                        "CHANGELOG_MODE, JSON_EXECUTION_PLAN, ESTIMATED_COST or PLAN_ADVICE",
                    ));
                }
                break;
            }
            any = true;
            more = take(&mut s.p, &Token::Comma);
        }
    }
    word(&mut s.p, "EXECUTE");
    let statement = if words(&mut s.p, "STATEMENT SET") {
        expect_words(&mut s.p, "BEGIN")?;
        Statement::StatementSet(insert::statement_set(s)?)
    } else if word(&mut s.p, "INSERT") {
        Statement::Insert(insert::parse(s)?)
    } else if is_query(&s.p) {
        Statement::Query(s.query()?)
    } else {
        return Err(expected(&s.p, "a query, INSERT or STATEMENT SET to explain"));
    };
    Ok(Explain { changelog_mode, json_plan, statement: Box::new(statement) })
}
