//! `CREATE [TEMPORARY] VIEW [IF NOT EXISTS] v [(a, b)] [COMMENT '…'] AS query`, and its SHOW CREATE text.

use super::parser::{Source, comment, if_not_exists};
use super::statement::CreateView;
use super::syntax::{expect_words, identifier, list, name};
use crate::error::{Error, Result};
use catalog::{ObjectName, ViewDefinition, quote_identifier};
use datafusion_sql::sqlparser::tokenizer::Token;

/// After `VIEW`.
pub(super) fn parse(s: &mut Source<'_>, temporary: bool) -> Result<CreateView> {
    let p = &mut s.p;
    let if_not_exists = if_not_exists(p)?;
    let name = name(p, "the view's name", 3)?;
    let mut columns: Vec<(String, Option<String>)> = vec![];
    if p.peek_token_ref().token == Token::LParen {
        columns = list(p, |p| {
            let (column, place) = identifier(p, "a column's name")?;
            Ok(((column, comment(p)?), place))
        })?
        .into_iter()
        .try_fold(Vec::new(), |mut all: Vec<(String, Option<String>)>, (column, place)| {
            if all.iter().any(|(known, _)| *known == column.0) {
                return Err(Error::user(format!("The view has two columns `{}`.", column.0)).at(place));
            }
            all.push(column);
            Ok(all)
        })?;
    }
    let comment = comment(p)?;
    expect_words(p, "AS")?;
    let query = s.query()?;
    Ok(CreateView { name, temporary, if_not_exists, columns, comment, query })
}

/// The text that SHOW CREATE VIEW prints: the column list only if one was given, and the query as written;
/// Flink prints it with every name expanded.
pub fn create_view_text(name: &ObjectName, definition: &ViewDefinition, temporary: bool) -> String {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let columns: Vec<String> = definition
        .columns
        .iter()
        .map(|(column, comment)| match comment {
            Some(text) => format!("{} COMMENT {}", quote_identifier(column), literal(text)),
            None => quote_identifier(column),
        })
        .collect();
    let columns = if columns.is_empty() { String::new() } else { format!("({})", columns.join(", ")) };
    let comment = match &definition.comment {
        Some(text) if !text.is_empty() => format!(" COMMENT {}", literal(text)),
        _ => String::new(),
    };
    let temporary = if temporary { "TEMPORARY " } else { "" };
    format!("CREATE {temporary}VIEW {}{columns}{comment} as\n{}", name.quoted(), definition.query)
}
