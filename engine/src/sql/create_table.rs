//! `CREATE TABLE`: its parser, its definition for the catalog, and the text that SHOW CREATE TABLE prints.

use super::data_type::SqlType;
use super::parser::{Source, comment, if_not_exists};
use super::statement::{ColumnSyntax, CreateTable, Like, LikeFeature, LikeMode, Name, Replace};
use super::syntax::{
    between, expect_words, expected, found, here, identifier, last, list, name, options, peek_word,
    peek_words, string, take, word, words,
};
use super::type_parser::parse_type;
use super::unparse::unparse;
use crate::error::{Error, Result, Span};
use catalog::{
    ColumnDefinition, ColumnKind, ObjectName, PrimaryKey, TableDefinition, WatermarkDefinition, is_secret,
    quote_identifier,
};
use datafusion_sql::sqlparser::tokenizer::Token;

/// What is printed in place of a secret.
const MASK: &str = "******";

/// After `TABLE`.
pub(super) fn parse(s: &mut Source<'_>, temporary: bool) -> Result<CreateTable> {
    let if_not_exists = if_not_exists(&mut s.p)?;
    let name = name(&mut s.p, "the table's name", 3)?;
    let mut table = CreateTable { name, temporary, if_not_exists, ..empty_table() };
    if take(&mut s.p, &Token::LParen) {
        elements(s, &mut table)?;
    }
    clauses(s, &mut table)?;
    Ok(table)
}

/// After `[CREATE OR] REPLACE TABLE`: only with a query, as in Flink.
pub(super) fn parse_replace(s: &mut Source<'_>, replace: Replace) -> Result<CreateTable> {
    let place = last(&s.p);
    let table = parse(s, false)?;
    if table.query.is_none() {
        return Err(Error::user("REPLACE TABLE needs a query: its result is the table.")
            .with_hint(
                "Write REPLACE TABLE t WITH (…) AS SELECT …; or DROP TABLE IF EXISTS, then CREATE TABLE.",
            )
            .at(place));
    }
    Ok(CreateTable { replace: Some(replace), ..table })
}

/// A table without a name or anything else.
pub(super) fn empty_table() -> CreateTable {
    CreateTable {
        name: Name { parts: vec![], span: None },
        temporary: false,
        if_not_exists: false,
        replace: None,
        columns: vec![],
        watermark: None,
        primary_key: None,
        comment: None,
        partitioned_by: vec![],
        options: Default::default(),
        option_spans: Default::default(),
        like: None,
        query: None,
    }
}

fn elements(s: &mut Source<'_>, table: &mut CreateTable) -> Result<()> {
    loop {
        if matches!(s.p.peek_token_ref().token, Token::RParen) && table.columns.is_empty() {
            return Err(expected(&s.p, "a column"));
        }
        element(s, table)?;
        if take(&mut s.p, &Token::Comma) {
            if matches!(s.p.peek_token_ref().token, Token::RParen) {
                return Err(Error::user("A comma stands before `)`.")
                    .with_hint("Leave out the comma after the last column.")
                    .at(last(&s.p)));
            }
            continue;
        }
        if take(&mut s.p, &Token::RParen) {
            return Ok(());
        }
        return Err(after_column(s));
    }
}

/// The error for what follows a column but may not.
fn after_column(s: &Source<'_>) -> Error {
    let next = s.p.peek_token_ref();
    let place = super::syntax::span(next.span);
    match &next.token {
        Token::Word(w) if w.keyword_is("DEFAULT") => {
            Error::unsupported("DEFAULT of a column", "Leave it out; write the value in the INSERT's SELECT.")
                .at(place)
        }
        Token::Word(w) if w.keyword_is("UNIQUE") || w.keyword_is("CHECK") || w.keyword_is("REFERENCES") => {
            Error::unsupported(
                format!("The constraint {}", w.value.to_uppercase()),
                "Flink has PRIMARY KEY (…) NOT ENFORCED only.",
            )
            .at(place)
        }
        // A column follows without comma.
        Token::Word(_) if matches!(s.p.peek_nth_token_ref(1).token, Token::Word(_)) => {
            Error::user(format!("A comma is missing before {}.", found(next)))
                .with_hint("Columns are separated by commas.")
                .at(place)
        }
        _ => expected(&s.p, "`,` or `)` after a column"),
    }
}

/// Compares a word of the text with a keyword.
trait KeywordIs {
    fn keyword_is(&self, s: &str) -> bool;
}

impl KeywordIs for datafusion_sql::sqlparser::tokenizer::Word {
    fn keyword_is(&self, s: &str) -> bool {
        self.quote_style.is_none() && self.value.eq_ignore_ascii_case(s)
    }
}

/// One column, constraint or watermark.
pub(super) fn element(s: &mut Source<'_>, table: &mut CreateTable) -> Result<()> {
    let place = here(&s.p);
    if peek_word(&s.p, "WATERMARK")
        && matches!(&s.p.peek_nth_token_ref(1).token, Token::Word(w) if !w.value.eq_ignore_ascii_case("FOR"))
        && super::syntax::is_word(s.p.peek_nth_token_ref(2), "AS")
    {
        s.p.advance_token();
        return Err(expected(&s.p, "FOR").with_hint("Write WATERMARK FOR ts AS ts - INTERVAL '5' SECOND."));
    }
    if peek_words(&s.p, "WATERMARK FOR") {
        s.p.advance_token();
        s.p.advance_token();
        return watermark(s, table, place);
    }
    let constraint = if peek_word(&s.p, "CONSTRAINT") {
        s.p.advance_token();
        Some(identifier(&mut s.p, "the constraint's name")?.0)
    } else {
        None
    };
    if constraint.is_some() && !peek_words(&s.p, "PRIMARY KEY") {
        return Err(constraint_error(s));
    }
    if peek_words(&s.p, "PRIMARY KEY") {
        s.p.advance_token();
        s.p.advance_token();
        if s.p.peek_token_ref().token == Token::LParen {
            let columns = list(&mut s.p, |p| identifier(p, "a key's column"))?;
            not_enforced(s, place)?;
            return set_key(table, constraint, columns.into_iter().map(|(c, _)| c).collect(), place);
        }
        return Err(expected(&s.p, "the key's columns in parentheses"));
    }
    for kind in ["UNIQUE", "FOREIGN KEY", "CHECK"] {
        if peek_words(&s.p, kind)
            && matches!(s.p.peek_nth_token_ref(kind.split(' ').count()).token, Token::LParen)
        {
            return Err(constraint_error(s));
        }
    }
    column(s, table)
}

fn constraint_error(s: &Source<'_>) -> Error {
    let next = s.p.peek_token_ref();
    Error::unsupported(
        format!("The constraint {}", found(next).trim_matches('`').to_uppercase()),
        "Flink has PRIMARY KEY (…) NOT ENFORCED only.",
    )
    .at(super::syntax::span(next.span))
}

fn watermark(s: &mut Source<'_>, table: &mut CreateTable, place: Option<Span>) -> Result<()> {
    let (mut column, _) = identifier(&mut s.p, "the watermark's column")?;
    while take(&mut s.p, &Token::Period) {
        column = format!("{column}.{}", identifier(&mut s.p, "a field")?.0);
    }
    expect_words(&mut s.p, "AS")?;
    let (text, span) = expression(s)?;
    if table.watermark.is_some() {
        return Err(Error::user("Multiple WATERMARK statements is not supported yet.")
            .with_hint("A table has one event time: keep one WATERMARK.")
            .at(place));
    }
    table.watermark = Some((column, text, span));
    Ok(())
}

/// An expression, kept as Flink prints it; as written where we cannot print it.
fn expression(s: &mut Source<'_>) -> Result<(String, Option<Span>)> {
    let from = here(&s.p);
    let parsed = s.p.parse_expr()?;
    let written = s.text_since(from);
    let place = between(from, last(&s.p));
    if written.to_ascii_uppercase().contains("SELECT") && contains_query(parsed.clone()) {
        return Err(Error::user("A computed column or watermark cannot contain a subquery.")
            .with_hint("Join with the other table in a query or view instead.")
            .at(place));
    }
    Ok((unparse(&parsed).unwrap_or(written), place))
}

fn contains_query(mut expr: datafusion_sql::sqlparser::ast::Expr) -> bool {
    use datafusion_sql::sqlparser::ast::{Query, VisitMut, VisitorMut};
    struct Found;
    impl VisitorMut for Found {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut Query) -> std::ops::ControlFlow<()> {
            std::ops::ControlFlow::Break(())
        }
    }
    expr.visit(&mut Found).is_break()
}

fn not_enforced(s: &mut Source<'_>, place: Option<Span>) -> Result<()> {
    if words(&mut s.p, "NOT ENFORCED") {
        return Ok(());
    }
    Err(Error::user(
        "Flink doesn't support ENFORCED mode for PRIMARY KEY constraint. ENFORCED/NOT ENFORCED controls if the \
         constraint checks are performed on the incoming/outgoing data. Flink does not own the data therefore \
         the only supported mode is the NOT ENFORCED mode",
    )
    .with_hint("Write PRIMARY KEY (…) NOT ENFORCED.")
    .at(between(place, last(&s.p))))
}

fn set_key(
    table: &mut CreateTable,
    name: Option<String>,
    columns: Vec<String>,
    place: Option<Span>,
) -> Result<()> {
    if table.primary_key.is_some() {
        return Err(Error::user("Duplicate primary key definition")
            .with_hint("A table has one key; name all its columns: PRIMARY KEY (a, b) NOT ENFORCED.")
            .at(place));
    }
    table.primary_key = Some((name, columns));
    Ok(())
}

fn column(s: &mut Source<'_>, table: &mut CreateTable) -> Result<()> {
    let next = s.p.peek_token_ref();
    if let Token::SingleQuotedString(written) = &next.token {
        return Err(Error::user(format!("'{written}' is a text, not a column's name."))
            .with_hint(format!("Names are quoted with backticks: write {}.", quote_identifier(written)))
            .at(super::syntax::span(next.span)));
    }
    let (name, span) = identifier(&mut s.p, "a column's name")?;
    if word(&mut s.p, "AS") {
        let (expression, _) = expression(s)?;
        let comment = comment(&mut s.p)?;
        table.columns.push(ColumnSyntax { name, kind: ColumnKind::Computed { expression }, comment, span });
        return Ok(());
    }
    let place = here(&s.p);
    let (data_type, mut nullable) = parse_type(&mut s.p)?;
    if matches!(data_type, SqlType::Null | SqlType::IntervalDayTime | SqlType::IntervalYearMonth) {
        return Err(Error::user(format!("A column cannot be of type {data_type}."))
            .with_hint("Intervals and NULL are values of expressions only; store a BIGINT.")
            .at(between(place, last(&s.p))));
    }
    let data_type = data_type.declared();
    let (mut metadata, mut text) = (None, None);
    loop {
        let place = here(&s.p);
        if words(&mut s.p, "NOT NULL") {
            nullable = false;
        } else if word(&mut s.p, "NULL") {
        } else if peek_word(&s.p, "CONSTRAINT") || peek_words(&s.p, "PRIMARY KEY") {
            let constraint = if word(&mut s.p, "CONSTRAINT") {
                Some(identifier(&mut s.p, "the constraint's name")?.0)
            } else {
                None
            };
            expect_words(&mut s.p, "PRIMARY KEY")?;
            not_enforced(s, place)?;
            set_key(table, constraint, vec![name.clone()], place)?;
        } else if word(&mut s.p, "METADATA") {
            let key = if word(&mut s.p, "FROM") {
                Some(string(&mut s.p, "the metadata key in single quotes")?)
            } else {
                None
            };
            metadata = Some((key, word(&mut s.p, "VIRTUAL")));
        } else if peek_word(&s.p, "COMMENT") {
            text = comment(&mut s.p)?;
        } else {
            break;
        }
    }
    let data_type = format!("{}{}", data_type.ddl(), if nullable { "" } else { " NOT NULL" });
    let kind = match metadata {
        None => ColumnKind::Physical { data_type },
        Some((key, is_virtual)) => ColumnKind::Metadata { data_type, key, is_virtual },
    };
    table.columns.push(ColumnSyntax { name, kind, comment: text, span });
    Ok(())
}

/// What follows the columns, in Flink's order.
fn clauses(s: &mut Source<'_>, table: &mut CreateTable) -> Result<()> {
    table.comment = comment(&mut s.p)?;
    if peek_word(&s.p, "DISTRIBUTED") {
        return Err(Error::unsupported(
            "DISTRIBUTED BY",
            "Leave it out; the key of a Kafka record is set with 'key.fields'.",
        )
        .at(here(&s.p)));
    }
    if words(&mut s.p, "PARTITIONED BY") {
        let columns = list(&mut s.p, |p| identifier(p, "a partition column"))?;
        table.partitioned_by = columns.into_iter().map(|(c, _)| c).collect();
    }
    if word(&mut s.p, "WITH") {
        (table.options, table.option_spans) = options(&mut s.p)?;
    }
    if word(&mut s.p, "LIKE") {
        table.like = Some(like(s)?);
    }
    if peek_word(&s.p, "AS") {
        let place = here(&s.p);
        s.p.advance_token();
        return as_select(s, table, place);
    }
    if s.p.peek_token_ref().token == Token::EOF {
        return Ok(());
    }
    // The classics: clauses in the wrong order, or options without WITH.
    let place = here(&s.p);
    for clause in ["COMMENT", "PARTITIONED BY", "WITH"] {
        if peek_words(&s.p, clause) {
            return Err(Error::user(format!("{clause} stands in the wrong place, or twice."))
                .with_hint("The order is: columns, COMMENT, PARTITIONED BY, WITH, LIKE.")
                .at(place));
        }
    }
    if s.p.peek_token_ref().token == Token::LParen && table.options.is_empty() {
        return Err(Error::user("WITH is missing before the options.")
            .with_hint("Write WITH ('connector' = '…', …).")
            .at(place));
    }
    Err(expected(&s.p, "WITH (…) or the end of the statement"))
}

/// After `AS`: the query whose result is the table. Refused with what Flink refuses.
fn as_select(s: &mut Source<'_>, table: &mut CreateTable, place: Option<Span>) -> Result<()> {
    let refused = [
        (table.temporary, "create temporary table"),
        (!table.columns.is_empty(), "specify explicit columns"),
        (table.watermark.is_some(), "specify explicit watermark"),
        (table.primary_key.is_some(), "specify primary key constraints"),
        (!table.partitioned_by.is_empty(), "create partitioned table"),
        (table.like.is_some(), "LIKE"),
    ];
    if let Some((_, what)) = refused.iter().find(|(refused, _)| *refused) {
        return Err(Error::user(format!("CREATE TABLE AS SELECT syntax does not support to {what} yet."))
            .with_hint("Write CREATE TABLE with all that, then INSERT INTO it SELECT ….")
            .at(place));
    }
    table.query = Some(s.query()?);
    Ok(())
}

fn like(s: &mut Source<'_>) -> Result<Like> {
    const FEATURES: &[(&str, LikeFeature)] = &[
        ("ALL", LikeFeature::All),
        ("CONSTRAINTS", LikeFeature::Constraints),
        ("GENERATED", LikeFeature::Generated),
        ("METADATA", LikeFeature::Metadata),
        ("OPTIONS", LikeFeature::Options),
        ("PARTITIONS", LikeFeature::Partitions),
        ("WATERMARKS", LikeFeature::Watermarks),
    ];
    let source = name(&mut s.p, "the table to copy from", 3)?;
    let mut rules: Vec<(LikeMode, LikeFeature)> = Vec::new();
    if !take(&mut s.p, &Token::LParen) {
        return Ok(Like { source, rules });
    }
    while !take(&mut s.p, &Token::RParen) {
        let from = here(&s.p);
        let (mode, mode_name) = if word(&mut s.p, "INCLUDING") {
            (LikeMode::Including, "INCLUDING")
        } else if word(&mut s.p, "EXCLUDING") {
            (LikeMode::Excluding, "EXCLUDING")
        } else if word(&mut s.p, "OVERWRITING") {
            (LikeMode::Overwriting, "OVERWRITING")
        } else {
            return Err(expected(&s.p, "INCLUDING, EXCLUDING, OVERWRITING or `)`"));
        };
        if word(&mut s.p, "DISTRIBUTION") {
            // Tables here have none, so there is nothing to copy or to leave out.
            continue;
        }
        let Some((feature_name, feature)) = FEATURES.iter().find(|(f, _)| word(&mut s.p, f)) else {
            let names: Vec<&str> = FEATURES.iter().map(|(f, _)| *f).collect();
            return Err(expected(&s.p, &format!("one of {}", names.join(", "))));
        };
        let place = between(from, last(&s.p));
        let copies_only =
            matches!(feature, LikeFeature::All | LikeFeature::Constraints | LikeFeature::Partitions);
        if mode == LikeMode::Overwriting && copies_only {
            return Err(Error::user(format!(
                "Illegal merging strategy '{mode_name}' for '{feature_name}' option."
            ))
            .with_hint("OVERWRITING is possible for GENERATED, METADATA, OPTIONS and WATERMARKS.")
            .at(place));
        }
        if rules.iter().any(|(_, f)| f == feature) {
            return Err(Error::user("Each like option feature can be declared only once.").at(place));
        }
        rules.push((mode, *feature));
        take(&mut s.p, &Token::Comma);
    }
    Ok(Like { source, rules })
}

impl CreateTable {
    /// What the catalog stores, without what LIKE adds (see [`super::merge_like`]).
    ///
    /// Errors, in Flink's words: columns of one name; a key, partition or watermark column that is not
    /// there; a key over a computed column.
    pub fn definition(&self) -> Result<TableDefinition> {
        let definition = self.unchecked();
        // With LIKE, names may be those of the source: checked when merged.
        if self.like.is_none() {
            check(&definition, &|column| self.place_of(column))?;
        }
        Ok(definition)
    }

    /// Place of the declaration of `column`.
    pub(super) fn place_of(&self, column: &str) -> Option<Span> {
        self.columns.iter().rev().find(|c| c.name == column).and_then(|c| c.span)
    }

    pub(super) fn unchecked(&self) -> TableDefinition {
        TableDefinition {
            columns: self
                .columns
                .iter()
                .map(|c| ColumnDefinition {
                    name: c.name.clone(),
                    kind: c.kind.clone(),
                    comment: c.comment.clone(),
                })
                .collect(),
            watermark: self.watermark.as_ref().map(|(column, expression, _)| WatermarkDefinition {
                column: column.clone(),
                expression: expression.clone(),
            }),
            primary_key: self.primary_key.as_ref().map(|(name, columns)| match name {
                Some(name) => PrimaryKey { name: name.clone(), columns: columns.clone() },
                None => PrimaryKey::unnamed(columns.clone()),
            }),
            comment: self.comment.clone(),
            partitioned_by: self.partitioned_by.clone(),
            options: self.options.clone(),
        }
    }
}

/// Names of the columns that an expression reads.
///
/// Errors: it is no expression.
pub(super) fn referenced_columns(expression: &str) -> Result<Vec<String>> {
    use datafusion_sql::sqlparser::ast::{Expr, Visit, Visitor};
    struct Names(Vec<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> std::ops::ControlFlow<()> {
            match expr {
                Expr::Identifier(name) => self.0.push(name.value.clone()),
                Expr::CompoundIdentifier(names) => self.0.extend(names.first().map(|n| n.value.clone())),
                _ => {}
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    let _ = super::parser::parse_expression(expression)?.visit(&mut names);
    Ok(names.0)
}

/// Checks names among columns, key, partitions and watermark; makes nothing of types.
pub(super) fn check(definition: &TableDefinition, place_of: &dyn Fn(&str) -> Option<Span>) -> Result<()> {
    let columns = &definition.columns;
    let find = |name: &str| columns.iter().find(|c| c.name == name);
    for (i, column) in columns.iter().enumerate() {
        if let Some(before) = columns[..i].iter().find(|c| c.name == column.name) {
            return Err(duplicate(before, column).at(place_of(&column.name)));
        }
    }
    if let Some(key) = &definition.primary_key {
        for name in &key.columns {
            match find(name) {
                None => {
                    return Err(Error::user(format!(
                        "Primary key column '{name}' is not defined in the schema"
                    ))
                    .with_hint(available(columns, name)));
                }
                Some(ColumnDefinition { kind: ColumnKind::Physical { .. }, .. }) => {}
                Some(_) => {
                    return Err(Error::user(format!(
                        "Could not create a PRIMARY KEY with column '{name}'."
                    ))
                    .with_hint(
                        "A PRIMARY KEY constraint must be declared on physical columns, not on computed or metadata ones.",
                    ));
                }
            }
        }
    }
    for name in &definition.partitioned_by {
        if find(name).is_none() {
            let all: Vec<String> = columns.iter().map(|c| format!("'{}'", c.name)).collect();
            return Err(Error::user(format!(
                "Partition column '{name}' not defined in the table schema. Available columns: [{}]",
                all.join(", ")
            ))
            .with_hint(available(columns, name)));
        }
    }
    if let Some(watermark) = &definition.watermark
        && find(&watermark.column).is_none()
    {
        let name = &watermark.column;
        let all: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        return Err(Error::user(format!(
            "Invalid column name '{name}' for rowtime attribute in watermark declaration. Available columns are: [{}]",
            all.join(", ")
        ))
        .with_hint(match name.contains('.') {
            true => "Declare a top-level column, for example ts AS r.ts, and the watermark for it.".to_owned(),
            false => available(columns, name),
        }));
    }
    Ok(())
}

fn available(columns: &[ColumnDefinition], name: &str) -> String {
    match crate::error::nearest(name, columns.iter().map(|c| c.name.as_str())) {
        Some(near) => format!("Did you mean {}?", quote_identifier(near)),
        None => String::new(),
    }
}

pub(super) fn duplicate(before: &ColumnDefinition, column: &ColumnDefinition) -> Error {
    let kind = |c: &ColumnDefinition| match c.kind {
        ColumnKind::Physical { .. } => "regular",
        ColumnKind::Metadata { .. } => "metadata",
        ColumnKind::Computed { .. } => "compute",
    };
    let (one, other) = (kind(before), kind(column));
    let name = &column.name;
    let text = if one == other {
        let kind = match one {
            "regular" => "regular Column",
            "metadata" => "metadata column",
            _ => "generated column",
        };
        format!("A {kind} named '{name}' already exists in the table.")
    } else {
        // Flink names the kind that is not regular first.
        let (first, second) = if one == "regular" { (other, one) } else { (one, other) };
        format!(
            "A column named '{name}' already exists in the table. Duplicate columns exist in the {first} column and {second} column."
        )
    };
    Error::user(text).with_hint("Rename one of the two columns.")
}

/// The text that SHOW CREATE TABLE prints, as Flink 1.20's but with options sorted by key and secrets masked.
pub fn create_table_text(name: &ObjectName, definition: &TableDefinition, temporary: bool) -> String {
    let mut lines: Vec<String> = definition.columns.iter().map(|c| column_text(c, definition)).collect();
    if let Some(watermark) = &definition.watermark {
        lines.push(format!(
            "  WATERMARK FOR {} AS {}",
            quote_identifier(&watermark.column),
            watermark.expression
        ));
    }
    if let Some(key) = &definition.primary_key {
        lines.push(format!(
            "  CONSTRAINT {} PRIMARY KEY ({}) NOT ENFORCED",
            quote_identifier(&key.name),
            quoted(&key.columns)
        ));
    }
    let mut text = format!(
        "CREATE {}TABLE {} (\n{}\n) ",
        if temporary { "TEMPORARY " } else { "" },
        name.quoted(),
        lines.join(",\n")
    );
    if let Some(comment) = definition.comment.as_ref().filter(|c| !c.is_empty()) {
        text.push_str(&format!("COMMENT {}\n", literal(comment)));
    }
    if !definition.partitioned_by.is_empty() {
        text.push_str(&format!("PARTITIONED BY ({})\n", quoted(&definition.partitioned_by)));
    }
    if !definition.options.is_empty() {
        let options: Vec<String> = definition
            .options
            .iter()
            .map(|(key, value)| {
                let value = if is_secret(key) { MASK } else { value };
                format!("  {} = {}", literal(key), literal(value))
            })
            .collect();
        text.push_str(&format!("WITH (\n{}\n)\n", options.join(",\n")));
    }
    text
}

fn column_text(column: &ColumnDefinition, definition: &TableDefinition) -> String {
    let name = quote_identifier(&column.name);
    let in_key = definition.primary_key.as_ref().is_some_and(|k| k.columns.contains(&column.name));
    let typed = |data_type: &str| match SqlType::parse(data_type) {
        // A key's columns are NOT NULL, declared or not.
        Ok((t, nullable)) => format!("{}{}", t.ddl(), if nullable && !in_key { "" } else { " NOT NULL" }),
        Err(_) => data_type.to_owned(),
    };
    let mut text = match &column.kind {
        ColumnKind::Physical { data_type } => format!("  {name} {}", typed(data_type)),
        ColumnKind::Metadata { data_type, key, is_virtual } => {
            let from = key.as_ref().map(|k| format!(" FROM {}", literal(k))).unwrap_or_default();
            let virtual_ = if *is_virtual { " VIRTUAL" } else { "" };
            format!("  {name} {} METADATA{from}{virtual_}", typed(data_type))
        }
        ColumnKind::Computed { expression } => format!("  {name} AS {expression}"),
    };
    if let Some(comment) = column.comment.as_ref().filter(|c| !c.is_empty()) {
        text.push_str(&format!(" COMMENT {}", literal(comment)));
    }
    text
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|n| quote_identifier(n)).collect::<Vec<_>>().join(", ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
