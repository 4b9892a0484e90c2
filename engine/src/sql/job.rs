//! `SHOW JOBS`, `DESCRIBE JOB '<id>'`, `STOP JOB '<id>' [WITH SAVEPOINT [[WITH] DRAIN]]`.

use super::statement::{JobName, JobStatement};
use super::syntax::{expect_words, expected, here, string, word};
use crate::error::{Error, Result};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// After DESCRIBE JOB.
pub(super) fn parse_describe(p: &mut Parser) -> Result<JobStatement> {
    job(p).map(JobStatement::Describe)
}

/// After STOP.
pub(super) fn parse_stop(p: &mut Parser) -> Result<JobStatement> {
    expect_words(p, "JOB")?;
    let job = job(p)?;
    let (mut savepoint, mut drain) = (false, false);
    while word(p, "WITH") {
        let place = here(p);
        if !savepoint && !drain && word(p, "SAVEPOINT") {
            savepoint = true;
            drain = word(p, "DRAIN");
        } else if !drain && word(p, "DRAIN") {
            if !savepoint {
                return Err(Error::user("WITH DRAIN could only be used after WITH SAVEPOINT.")
                    .with_hint("Write STOP JOB '<id>' WITH SAVEPOINT WITH DRAIN.")
                    .at(place));
            }
            drain = true;
        } else {
            return Err(expected(p, "SAVEPOINT or DRAIN"));
        }
    }
    Ok(JobStatement::Stop { job, savepoint, drain })
}

fn job(p: &mut Parser) -> Result<JobName> {
    let quoted = matches!(p.peek_token_ref().token, Token::SingleQuotedString(_));
    let span = here(p);
    if !quoted {
        return Err(expected(p, "the job's id in single quotes").with_hint("SHOW JOBS lists the ids."));
    }
    Ok(JobName { id: string(p, "the job's id")?, span })
}
