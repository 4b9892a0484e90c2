//! Reads a type, in any of Flink's spellings, off sqlparser's `Parser`.

use super::data_type::{Element, MAX_LENGTH, MAX_TIME_PRECISION, RowField, SqlType, decimal};
use super::syntax::{
    between, expect, expect_words, expected, found, here, identifier, last, peek_word, take, word, words,
};
use crate::error::{Error, Result, nearest};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// Types may be nested this deep.
const MAX_TYPE_DEPTH: usize = 64;

/// Names of types, for "did you mean".
const NAMES: &[&str] = &[
    "CHAR",
    "CHARACTER",
    "VARCHAR",
    "STRING",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "FLOAT",
    "DOUBLE",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "INTERVAL",
    "ARRAY",
    "MAP",
    "MULTISET",
    "ROW",
    "NULL",
];

/// Units of intervals, largest first; those before index 2 are of the year-month kind.
const UNITS: &[(&str, &str)] = &[
    ("YEAR", "YEARS"),
    ("MONTH", "MONTHS"),
    ("DAY", "DAYS"),
    ("HOUR", "HOURS"),
    ("MINUTE", "MINUTES"),
    ("SECOND", "SECONDS"),
];

/// Takes a type with its suffixes: `T`, `T ARRAY`, `T MULTISET`, each with `[NOT] NULL`. The flag is false for
/// NOT NULL.
pub(super) fn parse_type(p: &mut Parser) -> Result<(SqlType, bool)> {
    nested(p, 0)
}

fn nested(p: &mut Parser, depth: usize) -> Result<(SqlType, bool)> {
    if depth > MAX_TYPE_DEPTH {
        return Err(Error::user("The type is nested too deeply.").at(here(p)));
    }
    let mut data_type = base(p, depth)?;
    let mut nullable = nullability(p);
    for suffixes in depth.. {
        let of = |data_type, nullable| Box::new(Element { data_type, nullable });
        if word(p, "ARRAY") {
            data_type = SqlType::Array(of(data_type, nullable));
        } else if word(p, "MULTISET") {
            data_type = SqlType::Multiset(of(data_type, nullable));
        } else {
            break;
        }
        if suffixes > MAX_TYPE_DEPTH {
            return Err(Error::user("The type is nested too deeply.").at(here(p)));
        }
        nullable = nullability(p);
    }
    Ok((data_type, nullable))
}

fn nullability(p: &mut Parser) -> bool {
    if words(p, "NOT NULL") {
        return false;
    }
    word(p, "NULL");
    true
}

fn base(p: &mut Parser, depth: usize) -> Result<SqlType> {
    let place = here(p);
    let name = match &p.peek_token_ref().token {
        Token::Word(w) if w.quote_style.is_none() => w.value.to_ascii_uppercase(),
        Token::Word(w) => {
            return Err(Error::user(format!(
                "User-defined type {} is not supported yet.",
                catalog::quote_identifier(&w.value)
            ))
            .with_hint("Write a ROW<…> type with the same fields.")
            .at(place));
        }
        _ => return Err(expected(p, "a type")),
    };
    if !NAMES.contains(&name.as_str()) {
        return Err(unknown(&name, &found(p.peek_token_ref())).at(place));
    }
    p.advance_token();
    let fixed = match name.as_str() {
        "CHAR" | "CHARACTER" => {
            if word(p, "VARYING") {
                return Ok(SqlType::Varchar(text_length(p)?.unwrap_or(MAX_LENGTH)));
            }
            return Ok(SqlType::Char(text_length(p)?.unwrap_or(1)));
        }
        "VARCHAR" => return Ok(SqlType::Varchar(text_length(p)?.unwrap_or(MAX_LENGTH))),
        "BINARY" => {
            if word(p, "VARYING") {
                return Ok(SqlType::Varbinary(text_length(p)?.unwrap_or(MAX_LENGTH)));
            }
            return Ok(SqlType::Binary(text_length(p)?.unwrap_or(1)));
        }
        "VARBINARY" => return Ok(SqlType::Varbinary(text_length(p)?.unwrap_or(MAX_LENGTH))),
        "DECIMAL" | "DEC" | "NUMERIC" => {
            let (precision, scale) = if take(p, &Token::LParen) {
                let precision = number(p)?;
                let scale = if take(p, &Token::Comma) { number(p)? } else { 0 };
                expect(p, &Token::RParen)?;
                (precision, scale)
            } else {
                (10, 0)
            };
            return decimal(precision, scale).map_err(|e| e.at(place));
        }
        "DOUBLE" => {
            word(p, "PRECISION");
            SqlType::Double
        }
        "TIME" => {
            let precision = time_precision(p)?.unwrap_or(0);
            if words(p, "WITH LOCAL TIME ZONE") || words(p, "WITH TIME ZONE") {
                return Err(Error::user("TIME with a time zone does not exist in Flink SQL.")
                    .with_hint("Write TIME, or TIMESTAMP_LTZ(3) for a point in time.")
                    .at(place));
            }
            without_zone(p)?;
            SqlType::Time(precision)
        }
        "TIMESTAMP" => {
            let precision = time_precision(p)?.unwrap_or(6);
            let zone = here(p);
            if word(p, "WITH") {
                if word(p, "LOCAL") {
                    expect_words(p, "TIME ZONE")?;
                    return Ok(SqlType::TimestampLtz(precision));
                }
                expect_words(p, "TIME ZONE")?;
                return Err(Error::unsupported(
                    "TIMESTAMP WITH TIME ZONE",
                    "Flink has no such type either: write TIMESTAMP_LTZ(3), a point in time shown in the session's zone.",
                )
                .at(zone));
            }
            without_zone(p)?;
            SqlType::Timestamp(precision)
        }
        "TIMESTAMP_LTZ" => SqlType::TimestampLtz(time_precision(p)?.unwrap_or(6)),
        "INTERVAL" => interval(p)?,
        "ARRAY" => SqlType::Array(Box::new(single_argument(p, depth)?)),
        "MULTISET" => SqlType::Multiset(Box::new(single_argument(p, depth)?)),
        "MAP" => {
            expect(p, &Token::Lt)?;
            let key = element(p, depth)?;
            expect(p, &Token::Comma)?;
            let value = element(p, depth)?;
            expect(p, &Token::Gt)?;
            SqlType::Map(Box::new(key), Box::new(value))
        }
        "ROW" => row(p, depth)?,
        "STRING" => SqlType::STRING,
        "BYTES" => SqlType::BYTES,
        "BOOLEAN" => SqlType::Boolean,
        "TINYINT" => SqlType::TinyInt,
        "SMALLINT" => SqlType::SmallInt,
        "INT" | "INTEGER" => SqlType::Int,
        "BIGINT" => SqlType::BigInt,
        "FLOAT" => SqlType::Float,
        "DATE" => SqlType::Date,
        _ => SqlType::Null,
    };
    Ok(fixed)
}

fn unknown(name: &str, found: &str) -> Error {
    let hint = match name {
        "TEXT" | "CLOB" | "NVARCHAR" | "LONGTEXT" => "Write STRING.".to_owned(),
        "DATETIME" => "Write TIMESTAMP(3).".to_owned(),
        "TIMESTAMPTZ" | "TIMESTAMP_TZ" => "Write TIMESTAMP_LTZ(3).".to_owned(),
        "LONG" | "INT8" | "INT64" => "Write BIGINT.".to_owned(),
        "INT32" | "INT4" => "Write INT.".to_owned(),
        "SHORT" | "INT16" | "INT2" => "Write SMALLINT.".to_owned(),
        "BYTE" => "Write TINYINT.".to_owned(),
        "BOOL" => "Write BOOLEAN.".to_owned(),
        "FLOAT8" | "FLOAT64" | "NUMBER" => "Write DOUBLE, or DECIMAL(p, s).".to_owned(),
        "REAL" | "FLOAT4" => "Write FLOAT.".to_owned(),
        "BLOB" | "BYTEA" => "Write BYTES.".to_owned(),
        "JSON" | "JSONB" | "VARIANT" => {
            "Write STRING and read it with JSON_VALUE, or declare a ROW<…>.".to_owned()
        }
        "STRUCT" => "Write ROW<name type, …>.".to_owned(),
        "LIST" => "Write ARRAY<type>.".to_owned(),
        "RAW" => "Runnel runs no Java classes; write BYTES.".to_owned(),
        _ => match nearest(name, NAMES.iter().copied()) {
            Some(near) => format!("Did you mean {near}?"),
            None => "Types are STRING, INT, BIGINT, DOUBLE, DECIMAL(p, s), BOOLEAN, DATE, TIMESTAMP(3), \
                     TIMESTAMP_LTZ(3), ARRAY<…>, MAP<…>, ROW<…> and others."
                .to_owned(),
        },
    };
    Error::user(format!("There is no type {found}.")).with_hint(hint)
}

fn without_zone(p: &mut Parser) -> Result<()> {
    if word(p, "WITHOUT") {
        expect_words(p, "TIME ZONE")?;
    }
    Ok(())
}

fn single_argument(p: &mut Parser, depth: usize) -> Result<Element> {
    expect(p, &Token::Lt)?;
    let element = element(p, depth)?;
    expect(p, &Token::Gt)?;
    Ok(element)
}

fn element(p: &mut Parser, depth: usize) -> Result<Element> {
    let (data_type, nullable) = nested(p, depth + 1)?;
    Ok(Element { data_type, nullable })
}

/// `ROW<a T 'comment', …>`, `ROW(a T, …)`, `ROW<>`. Comments of fields are read and dropped, as in Flink.
fn row(p: &mut Parser, depth: usize) -> Result<SqlType> {
    // The tokenizer reads `<>` as one sign.
    if take(p, &Token::Neq) {
        return Ok(SqlType::Row(vec![]));
    }
    let close = if take(p, &Token::Lt) {
        Token::Gt
    } else if take(p, &Token::LParen) {
        Token::RParen
    } else {
        return Err(expected(p, "`<` or `(` after ROW"));
    };
    let mut fields: Vec<RowField> = Vec::new();
    if take(p, &close) {
        return Ok(SqlType::Row(fields));
    }
    loop {
        let (name, place) = identifier(p, "the name of a ROW's field")?;
        if fields.iter().any(|f| f.name == name) {
            return Err(
                Error::user(format!("Field names must be unique. Found duplicates: [{name}]")).at(place)
            );
        }
        let (data_type, nullable) = nested(p, depth + 1)?;
        fields.push(RowField { name, data_type, nullable });
        if matches!(p.peek_token_ref().token, Token::SingleQuotedString(_)) {
            p.advance_token();
        }
        if !take(p, &Token::Comma) {
            break;
        }
    }
    expect(p, &close)?;
    Ok(SqlType::Row(fields))
}

fn length(p: &mut Parser) -> Result<Option<u32>> {
    if !take(p, &Token::LParen) {
        return Ok(None);
    }
    let place = here(p);
    let n = number(p)?;
    let n = u32::try_from(n).ok().filter(|n| *n <= MAX_LENGTH).ok_or_else(|| {
        Error::user(format!("{n} is too large: at most {MAX_LENGTH} is possible here.")).at(place)
    })?;
    expect(p, &Token::RParen)?;
    Ok(Some(n))
}

/// A length of texts or bytes, which Flink wants to be at least 1.
fn text_length(p: &mut Parser) -> Result<Option<u32>> {
    let place = here(p);
    match length(p)? {
        Some(0) => {
            Err(Error::user(format!("The length must be between 1 and {MAX_LENGTH} (both inclusive)."))
                .at(between(place, last(p))))
        }
        length => Ok(length),
    }
}

fn time_precision(p: &mut Parser) -> Result<Option<u8>> {
    Ok(length(p)?.map(|n| n.min(u32::from(MAX_TIME_PRECISION)) as u8))
}

fn number(p: &mut Parser) -> Result<u64> {
    if let Token::Number(text, false) = &p.peek_token_ref().token
        && let Ok(n) = text.parse()
    {
        p.advance_token();
        return Ok(n);
    }
    Err(expected(p, "a whole number"))
}

/// `YEAR(p) TO MONTH`, `DAY TO SECOND(f)`, `SECOND(p, f)`, …
fn interval(p: &mut Parser) -> Result<SqlType> {
    let first = unit(p)?;
    if take(p, &Token::LParen) {
        number(p)?;
        if take(p, &Token::Comma) {
            number(p)?;
        }
        expect(p, &Token::RParen)?;
    }
    let kind = |from: usize, to: usize, at| {
        let (months_from, months_to) = (from < 2, to < 2);
        if months_from != months_to || from > to {
            let message = format!("INTERVAL cannot go from {} to {}.", UNITS[from].0, UNITS[to].0);
            return Err(Error::user(message).at(at));
        }
        Ok(if months_from { SqlType::IntervalYearMonth } else { SqlType::IntervalDayTime })
    };
    if !peek_word(p, "TO") {
        return kind(first, first, None);
    }
    p.advance_token();
    let place = here(p);
    let last = unit(p)?;
    let data_type = kind(first, last, place)?;
    if take(p, &Token::LParen) {
        number(p)?;
        expect(p, &Token::RParen)?;
    }
    Ok(data_type)
}

fn unit(p: &mut Parser) -> Result<usize> {
    let hit = UNITS.iter().position(|(one, many)| peek_word(p, one) || peek_word(p, many));
    match hit {
        Some(i) => {
            p.advance_token();
            Ok(i)
        }
        None => Err(expected(p, "YEAR, MONTH, DAY, HOUR, MINUTE or SECOND")),
    }
}
