//! `ALTER TABLE | VIEW | DATABASE …`: its parser, and what it makes of a table's definition.

use super::create_table::{element, empty_table, referenced_columns};
use super::parser::Source;
use super::statement::{Alter, AlterTable, ColumnPlace, CreateTable, Name};
use super::syntax::{
    expect, expect_words, expected, here, identifier, list, name, options, peek_words, take, word, words,
};
use crate::error::{Error, Result, Span, nearest};
use catalog::{
    ColumnDefinition, ColumnKind, PrimaryKey, TableDefinition, WatermarkDefinition, quote_identifier,
};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// After ALTER.
pub(super) fn parse(s: &mut Source<'_>) -> Result<Alter> {
    if word(&mut s.p, "TABLE") {
        let if_exists = if_exists(&mut s.p)?;
        let table = name(&mut s.p, "the table's name", 3)?;
        let change = alter_table(s)?;
        return Ok(Alter::Table { name: table, if_exists, change });
    }
    if word(&mut s.p, "VIEW") {
        let view = name(&mut s.p, "the view's name", 3)?;
        if words(&mut s.p, "RENAME TO") {
            return Ok(Alter::RenameView(view, name(&mut s.p, "the view's new name", 3)?));
        }
        if word(&mut s.p, "AS") {
            return Ok(Alter::View(view, s.query()?));
        }
        return Err(expected(&s.p, "RENAME TO or AS"));
    }
    if word(&mut s.p, "DATABASE") {
        let database = name(&mut s.p, "the database's name", 2)?;
        expect_words(&mut s.p, "SET")?;
        return Ok(Alter::Database(database, options(&mut s.p)?.0));
    }
    Err(expected(&s.p, "TABLE, VIEW, DATABASE or FUNCTION"))
}

fn if_exists(p: &mut Parser) -> Result<bool> {
    let found = word(p, "IF");
    if found {
        expect_words(p, "EXISTS")?;
    }
    Ok(found)
}

fn alter_table(s: &mut Source<'_>) -> Result<AlterTable> {
    if words(&mut s.p, "RENAME TO") {
        return Ok(AlterTable::Rename(name(&mut s.p, "the table's new name", 3)?));
    }
    if word(&mut s.p, "RENAME") {
        let from = identifier(&mut s.p, "the column's name")?;
        expect_words(&mut s.p, "TO")?;
        return Ok(AlterTable::RenameColumn { from, to: identifier(&mut s.p, "the column's new name")? });
    }
    if word(&mut s.p, "SET") {
        return Ok(AlterTable::Set(options(&mut s.p)?.0));
    }
    if word(&mut s.p, "RESET") {
        expect(&mut s.p, &Token::LParen)?;
        if s.p.peek_token_ref().token == Token::RParen {
            return Err(Error::user("ALTER TABLE RESET does not support empty key")
                .with_hint("Name the options: RESET ('key', …).")
                .at(here(&s.p)));
        }
        let mut keys = vec![super::syntax::string(&mut s.p, "an option's key in single quotes")?];
        while take(&mut s.p, &Token::Comma) {
            keys.push(super::syntax::string(&mut s.p, "an option's key in single quotes")?);
        }
        expect(&mut s.p, &Token::RParen)?;
        return Ok(AlterTable::Reset(keys));
    }
    for what in ["ADD PARTITION", "ADD IF NOT EXISTS PARTITION", "DROP PARTITION", "DROP IF EXISTS PARTITION"]
    {
        if peek_words(&s.p, what) {
            return Err(Error::unsupported(
                format!("ALTER TABLE … {what}"),
                "Partitions belong to the external system: add or remove their files there.",
            )
            .at(here(&s.p)));
        }
    }
    let modify = word(&mut s.p, "MODIFY");
    if modify || word(&mut s.p, "ADD") {
        return components(s, modify);
    }
    if word(&mut s.p, "DROP") {
        return drop_component(&mut s.p);
    }
    Err(expected(&s.p, "ADD, MODIFY, DROP, RENAME, SET or RESET"))
}

fn components(s: &mut Source<'_>, modify: bool) -> Result<AlterTable> {
    let mut table = empty_table();
    let mut places = Vec::new();
    if super::syntax::is_word(s.p.peek_token_ref(), "COLUMN")
        && matches!(&s.p.peek_nth_token_ref(2).token, Token::Word(_))
    {
        return Err(Error::user("Flink's ALTER TABLE has no word COLUMN.")
            .with_hint("Leave it out: ALTER TABLE t ADD x INT.")
            .at(here(&s.p)));
    }
    if take(&mut s.p, &Token::LParen) {
        loop {
            component(s, &mut table, &mut places)?;
            if !take(&mut s.p, &Token::Comma) {
                break;
            }
        }
        expect(&mut s.p, &Token::RParen)?;
    } else {
        component(s, &mut table, &mut places)?;
    }
    let table = Box::new(table);
    Ok(if modify { AlterTable::Modify { table, places } } else { AlterTable::Add { table, places } })
}

fn component(s: &mut Source<'_>, table: &mut CreateTable, places: &mut Vec<ColumnPlace>) -> Result<()> {
    let before = table.columns.len();
    element(s, table)?;
    if table.columns.len() > before {
        places.push(if word(&mut s.p, "FIRST") {
            ColumnPlace::First
        } else if word(&mut s.p, "AFTER") {
            ColumnPlace::After(identifier(&mut s.p, "a column's name")?)
        } else {
            ColumnPlace::Same
        });
    }
    Ok(())
}

fn drop_component(p: &mut Parser) -> Result<AlterTable> {
    if words(p, "PRIMARY KEY") {
        return Ok(AlterTable::DropKey(None));
    }
    if word(p, "CONSTRAINT") {
        return Ok(AlterTable::DropKey(Some(identifier(p, "the constraint's name")?)));
    }
    if word(p, "WATERMARK") {
        return Ok(AlterTable::DropWatermark);
    }
    if p.peek_token_ref().token == Token::LParen {
        return Ok(AlterTable::DropColumns(list(p, |p| identifier(p, "a column's name"))?));
    }
    Ok(AlterTable::DropColumns(vec![identifier(p, "a column's name")?]))
}

/// A name with its place.
type Placed = (String, Option<Span>);

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::user(format!("Failed to execute ALTER TABLE statement. {cause}"))
}

impl AlterTable {
    /// What becomes of `table`. Names are checked here; types and expressions by whoever resolves the table.
    ///
    /// Errors, with Flink's causes: a column that is not there or is there already, or that a key, a watermark, a
    /// partition or a computed column needs; a key or watermark that is there already, or not; an option that
    /// cannot change.
    pub fn apply(&self, mut table: TableDefinition) -> Result<TableDefinition> {
        match self {
            Self::Rename(_) => {}
            Self::RenameColumn { from, to } => rename(&mut table, from, to)?,
            Self::Set(options) => {
                fixed(options.keys(), "SET")?;
                table.options.extend(options.clone());
            }
            Self::Reset(keys) => {
                fixed(keys, "RESET")?;
                table.options.retain(|key, _| !keys.contains(key));
            }
            Self::Add { table: added, places } => {
                for (column, place) in added.columns.iter().zip(places) {
                    if table.columns.iter().any(|c| c.name == column.name) {
                        return Err(failed(format!(
                            "Try to add a column `{}` which already exists in the table.",
                            column.name
                        ))
                        .with_hint("Write MODIFY to change it.")
                        .at(column.span));
                    }
                    let at = match place {
                        ColumnPlace::Same => table.columns.len(),
                        _ => position(&table, place)?,
                    };
                    let column = ColumnDefinition {
                        name: column.name.clone(),
                        kind: column.kind.clone(),
                        comment: column.comment.clone(),
                    };
                    table.columns.insert(at, column);
                }
                let there = |what: &str, name: &str| {
                    failed(format!(
                        "The base table has already defined the {what} {name}. You might want to drop it before adding a new one."
                    ))
                };
                if let Some(key) = key(added) {
                    if let Some(known) = &table.primary_key {
                        let known = format!("constraint [{}]", known.columns.join(", "));
                        return Err(there("primary key", &known).with_hint("Write MODIFY to replace it."));
                    }
                    table.primary_key = Some(key);
                }
                if let Some(watermark) = watermark(added) {
                    if let Some(known) = &table.watermark {
                        let known = format!("strategy [`{}` AS {}]", known.column, known.expression);
                        return Err(there("watermark", &known).with_hint("Write MODIFY to replace it."));
                    }
                    table.watermark = Some(watermark);
                }
            }
            Self::Modify { table: changed, places } => modify(&mut table, changed, places)?,
            Self::DropColumns(columns) => drop_columns(&mut table, columns)?,
            Self::DropKey(constraint) => {
                let Some(key) = &table.primary_key else {
                    return Err(failed("The base table does not define any primary key."));
                };
                if let Some((name, place)) = constraint
                    && *name != key.name
                {
                    return Err(failed(format!(
                        "The base table does not define a primary key constraint named '{name}'. Available constraint name: ['{}'].",
                        key.name
                    ))
                    .at(*place));
                }
                // As in Flink, the columns stay NOT NULL.
                let columns = table.primary_key.take().map(|key| key.columns).unwrap_or_default();
                for column in table.columns.iter_mut().filter(|c| columns.contains(&c.name)) {
                    if let ColumnKind::Physical { data_type } = &mut column.kind
                        && !data_type.ends_with(" NOT NULL")
                    {
                        data_type.push_str(" NOT NULL");
                    }
                }
            }
            Self::DropWatermark => {
                if table.watermark.take().is_none() {
                    return Err(failed("The base table does not define any watermark strategy."));
                }
            }
        }
        let place_of = |_: &str| None;
        super::create_table::check(&table, &place_of)?;
        Ok(table)
    }
}

fn fixed<'a>(keys: impl IntoIterator<Item = &'a String>, what: &str) -> Result<()> {
    match keys.into_iter().find(|k| *k == "connector") {
        Some(_) => Err(Error::user(format!("ALTER TABLE {what} does not support changing 'connector'"))
            .with_hint("Drop the table and create it with the other connector.")),
        None => Ok(()),
    }
}

fn key(table: &CreateTable) -> Option<PrimaryKey> {
    table.unchecked().primary_key
}

fn watermark(table: &CreateTable) -> Option<WatermarkDefinition> {
    table.unchecked().watermark
}

fn find(table: &TableDefinition, (name, place): &Placed) -> Result<usize> {
    table.columns.iter().position(|c| c.name == *name).ok_or_else(|| {
        let near = nearest(name, table.columns.iter().map(|c| c.name.as_str()));
        failed(format!("The column `{name}` does not exist in the base table."))
            .with_hint(near.map_or(String::new(), |n| format!("Did you mean {}?", quote_identifier(n))))
            .at(*place)
    })
}

/// Where a column goes.
fn position(table: &TableDefinition, place: &ColumnPlace) -> Result<usize> {
    match place {
        ColumnPlace::First => Ok(0),
        ColumnPlace::Same => Ok(table.columns.len()),
        ColumnPlace::After(column) => find(table, column).map(|at| at + 1),
    }
}

fn modify(table: &mut TableDefinition, changed: &CreateTable, places: &[ColumnPlace]) -> Result<()> {
    for (column, place) in changed.columns.iter().zip(places) {
        let at = find(table, &(column.name.clone(), column.span))?;
        let old = table.columns.remove(at);
        let comment = column.comment.clone().or(old.comment);
        let at = match place {
            ColumnPlace::Same => at,
            _ => position(table, place)?,
        };
        table.columns.insert(at, ColumnDefinition { name: old.name, kind: column.kind.clone(), comment });
    }
    if let Some(key) = key(changed) {
        if table.primary_key.is_none() {
            return Err(failed(
                "The base table does not define any primary key constraint. You might want to add a new one.",
            )
            .with_hint("Write ADD PRIMARY KEY (…) NOT ENFORCED."));
        }
        table.primary_key = Some(key);
    }
    if let Some(watermark) = watermark(changed) {
        if table.watermark.is_none() {
            return Err(failed(
                "The base table does not define any watermark. You might want to add a new one.",
            )
            .with_hint("Write ADD WATERMARK FOR … AS …."));
        }
        table.watermark = Some(watermark);
    }
    Ok(())
}

/// What of the table needs `column`: for messages.
fn needed_by(table: &TableDefinition, column: &str, besides: &[Placed]) -> Result<Option<String>> {
    if table.primary_key.as_ref().is_some_and(|k| k.columns.iter().any(|c| c == column)) {
        return Ok(Some("is used as the primary key".to_string()));
    }
    if table.partitioned_by.iter().any(|c| c == column) {
        return Ok(Some("is used as the partition keys".to_string()));
    }
    if let Some(watermark) = &table.watermark
        && (watermark.column == column
            || referenced_columns(&watermark.expression)?.iter().any(|c| c == column))
    {
        return Ok(Some("is referenced by watermark expression".to_string()));
    }
    for other in table.columns.iter().filter(|c| !besides.iter().any(|(name, _)| *name == c.name)) {
        if let ColumnKind::Computed { expression } = &other.kind
            && referenced_columns(expression)?.iter().any(|c| c == column)
        {
            return Ok(Some(format!("is referenced by computed column `{}`", other.name)));
        }
    }
    Ok(None)
}

fn rename(table: &mut TableDefinition, from: &Placed, to: &Placed) -> Result<()> {
    let at = find(table, from)?;
    if table.columns.iter().any(|c| c.name == to.0) {
        return Err(failed(format!("The column `{}` already existed in table schema.", to.0)).at(to.1));
    }
    let in_expressions = TableDefinition { primary_key: None, ..table.clone() };
    if let Some(why) = needed_by(&in_expressions, &from.0, &[])? {
        return Err(failed(format!("The column `{}` {why}.", from.0)).at(from.1));
    }
    table.columns[at].name.clone_from(&to.0);
    if let Some(key) = &mut table.primary_key {
        key.columns.iter_mut().filter(|c| **c == from.0).for_each(|c| c.clone_from(&to.0));
    }
    Ok(())
}

fn drop_columns(table: &mut TableDefinition, columns: &[Placed]) -> Result<()> {
    for (n, column) in columns.iter().enumerate() {
        find(table, column)?;
        if columns[..n].iter().any(|(name, _)| *name == column.0) {
            return Err(failed(format!("Duplicate column `{}`.", column.0)).at(column.1));
        }
        if let Some(why) = needed_by(table, &column.0, columns)? {
            return Err(failed(format!("The column `{}` {why}.", column.0)).at(column.1));
        }
    }
    table.columns.retain(|c| !columns.iter().any(|(name, _)| *name == c.name));
    if table.columns.iter().all(|c| matches!(c.kind, ColumnKind::Computed { .. })) {
        return Err(failed("The table must keep a column that is not computed."));
    }
    Ok(())
}

/// The name that a table or view is renamed to, in the database of the old one where it has one part.
pub fn renamed(old: &catalog::ObjectName, new: &Name) -> catalog::ObjectName {
    let resolved = catalog::ObjectName::resolve(&new.parts, &old.catalog, &old.database);
    resolved.unwrap_or_else(|| old.clone())
}
