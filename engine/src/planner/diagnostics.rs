//! DataFusion's errors in our words: what is wrong, where, and what would work.

use crate::error::{Error, Location, Span, nearest};
use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::tokenizer;
use std::sync::LazyLock;

/// Our error as DataFusion's, to be found again by [`translate`].
pub(super) fn carry(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// sqlparser's span as ours; `None` where it is unknown.
pub(super) fn span(span: tokenizer::Span) -> Option<Span> {
    (span.start.line > 0).then_some(Span {
        start: Location { line: span.start.line as u32, column: span.start.column as u32 },
        end: Location { line: span.end.line as u32, column: span.end.column as u32 },
    })
}

fn place(span: datafusion_common::Span) -> Option<Span> {
    (span.start.line > 0).then_some(Span {
        start: Location { line: span.start.line as u32, column: span.start.column as u32 },
        end: Location { line: span.end.line as u32, column: span.end.column as u32 },
    })
}

/// A regular expression that is a constant of ours.
fn pattern(text: &str) -> regex::Regex {
    #[allow(clippy::expect_used, reason = "a constant, tried by the tests")]
    regex::Regex::new(text).expect("constant pattern")
}

/// The error in our words. `functions` are the names that calls could have meant.
pub(super) fn translate(error: DataFusionError, functions: &[String]) -> Error {
    let at = error.diagnostic().and_then(|d| d.span).and_then(place);
    describe(unwrap(&error), functions).at(at)
}

fn unwrap(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => unwrap(inner),
        DataFusionError::Shared(inner) => unwrap(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, unwrap),
        other => other,
    }
}

fn describe(error: &DataFusionError, functions: &[String]) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::internal(inner.to_string()),
        },
        DataFusionError::SchemaError(inner, _) => schema_error(inner),
        DataFusionError::ArrowError(inner, _) => arrow_error(inner),
        DataFusionError::Plan(message) => plan_error(message, functions),
        DataFusionError::NotImplemented(message) if message.contains("expression Wildcard") => {
            Error::user("`*` is an argument of COUNT only.").with_hint("Name a column.")
        }
        DataFusionError::NotImplemented(message) => Error::unsupported(
            clean(message).trim_end_matches(" is not supported yet.").trim_end_matches('.'),
            "Write the query without it.",
        ),
        DataFusionError::Execution(message) => plan_error(message, functions),
        other => Error::internal(clean(&other.strip_backtrace())),
    }
}

fn arrow_error(error: &arrow::error::ArrowError) -> Error {
    let text = error.to_string();
    static BAD_CAST: LazyLock<regex::Regex> =
        LazyLock::new(|| pattern("Cannot cast string '(.*)' to value of (.*) type"));
    match BAD_CAST.captures(&text) {
        Some(found) => Error::user(format!("For input string: '{}'. Invalid character found.", &found[1]))
            .with_hint("TRY_CAST gives NULL where a text is no such value."),
        None => match error {
            arrow::error::ArrowError::DivideByZero => Error::user("Division by zero."),
            other => Error::user(clean(&other.to_string())),
        },
    }
}

fn schema_error(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if let Some(table) = &field.relation
                && !valid_fields.iter().any(|f| f.relation.as_ref().is_some_and(|r| r.resolved_eq(table)))
                && valid_fields.iter().all(|f| f.relation.as_ref().is_none_or(|r| r.table() != table.table()))
            {
                let names: Vec<&str> =
                    valid_fields.iter().filter_map(|f| f.relation.as_ref()).map(|r| r.table()).collect();
                return Error::user(format!("Table '{}' not found.", table.table()))
                    .with_hint(did_you_mean(table.table(), &names));
            }
            let mut names: Vec<&str> = Vec::new();
            for field in valid_fields {
                // ORDER BY sees a column of SELECT and of FROM.
                if !names.contains(&field.name.as_str()) {
                    names.push(&field.name);
                }
            }
            let hint = match did_you_mean(&field.name, &names) {
                h if !h.is_empty() => h,
                _ if names.is_empty() => String::new(),
                _ => {
                    let mut shown: Vec<&str> = names.iter().take(MOST_NAMES_SHOWN).copied().collect();
                    if names.len() > MOST_NAMES_SHOWN {
                        shown.push("…");
                    }
                    format!("There are: {}.", shown.join(", "))
                }
            };
            Error::user(format!("Column '{}' not found in any table.", field.name)).with_hint(hint)
        }
        SchemaError::AmbiguousReference { field } => {
            Error::user(format!("Column '{}' is ambiguous.", field.name))
                .with_hint("Write the table's name or alias before it: `t.column`.")
        }
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            Error::user(format!("Column '{name}' comes twice from '{}'.", qualifier.table()))
                .with_hint("Give the tables different aliases.")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            Error::user(format!("Column '{name}' is ambiguous: it comes twice."))
                .with_hint(format!("Rename one in the subquery: SELECT {name} AS {name}1."))
        }
    }
}

/// Most column names listed in a hint.
const MOST_NAMES_SHOWN: usize = 12;

/// `Did you mean 'x'?`, or nothing.
pub(super) fn did_you_mean(word: &str, names: &[&str]) -> String {
    nearest(word, names.iter().copied()).map_or_else(String::new, |n| format!("Did you mean '{n}'?"))
}

fn plan_error(message: &str, functions: &[String]) -> Error {
    static FUNCTION: LazyLock<regex::Regex> = LazyLock::new(|| pattern(r"Invalid function '([^']*)'"));
    static GROUPED: LazyLock<regex::Regex> = LazyLock::new(|| {
        pattern(
            r#"Column in (SELECT|HAVING|ORDER BY|QUALIFY) must be in GROUP BY or an aggregate function: .*?[Ee]xpression "([^"]*)""#,
        )
    });
    static UNGROUPED: LazyLock<regex::Regex> =
        LazyLock::new(|| pattern(r#"column "([^"]*)" must appear in the GROUP BY clause"#));
    static COERCE: LazyLock<regex::Regex> = LazyLock::new(|| pattern(r"(?i)function '([^']*)'"));
    static NO_TYPES: LazyLock<regex::Regex> = LazyLock::new(|| pattern(r"call to '([^']*)' function"));
    if let Some(found) = FUNCTION.captures(message) {
        let names: Vec<&str> = functions.iter().map(String::as_str).collect();
        let hint = match nearest(&found[1].to_lowercase(), names) {
            _ if found[1].eq_ignore_ascii_case("position") => "Write POSITION(part IN text).".into(),
            Some(n) => format!("Did you mean {}?", n.to_uppercase()),
            None => "SHOW FUNCTIONS lists what there is.".into(),
        };
        return Error::user(format!("No match found for function signature {}.", found[1].to_uppercase()))
            .with_hint(hint);
    }
    if let Some(found) =
        UNGROUPED.captures(message).or_else(|| GROUPED.captures(message).filter(|f| f.len() > 2))
    {
        let name = found.get(found.len() - 1).map_or("", |m| m.as_str());
        return Error::user(format!("Expression '{}' is not being grouped.", short(name)))
            .with_hint("Add it to GROUP BY, or aggregate it, for example with MAX.");
    }
    if message.contains("Aggregate functions are not allowed in the WHERE") {
        return Error::user("Aggregate expression is illegal in WHERE clause.").with_hint("Use HAVING.");
    }
    // What a user-defined function says of its arguments.
    if let Some((_, ours)) = message.split_once("user-defined coercion failed with: External error: ") {
        let ours = ours.split(". No function matches").next().unwrap_or(ours);
        return Error::user(ours.lines().next().unwrap_or(ours));
    }
    for pattern in [&COERCE, &NO_TYPES] {
        if let Some(found) = pattern.captures(message) {
            let reason = message.lines().next().unwrap_or_default();
            return Error::user(format!(
                "{} cannot be called like this: {}",
                found[1].to_uppercase(),
                clean(reason)
            ));
        }
    }
    static FIELD: LazyLock<regex::Regex> = LazyLock::new(|| pattern(r"Field (\S+) not found in struct"));
    if let Some(found) = FIELD.captures(message) {
        return Error::user(format!("The ROW has no field '{}'.", &found[1]))
            .with_hint("DESCRIBE shows the fields of a table's ROW columns; names are case-sensitive.");
    }
    static ACCESS: LazyLock<regex::Regex> =
        LazyLock::new(|| pattern(r"Cannot access field at argument \d+: type (.*) is not Struct"));
    if let Some(found) = ACCESS.captures(message) {
        let name = sql_types(&found[1]).replace("List(", "ARRAY<").replace(')', ">");
        let name = if name.starts_with("ARRAY<") { name } else { sql_types(&found[1]) };
        return Error::user(format!("A value of type {name} has no fields."))
            .with_hint("Only a ROW has fields: r.a; an ARRAY or MAP is read by m['key'].");
    }
    static HAVING: LazyLock<regex::Regex> =
        LazyLock::new(|| pattern(r"HAVING clause references: (.*) must appear in the GROUP BY"));
    if HAVING.is_match(message) {
        return Error::user("HAVING reads a column that is neither grouped nor aggregated.")
            .with_hint("HAVING filters groups: write WHERE to filter rows, or aggregate the column, for example with MAX.");
    }
    if message.contains("Expected LIMIT to be an integer") {
        return Error::user("LIMIT takes a whole number.").with_hint("Write LIMIT 10.");
    }
    if message.contains("join condition should not be empty") {
        return Error::user("The join has no condition.")
            .with_hint("Write JOIN … ON a.k = b.k, or CROSS JOIN if every row meets every row.");
    }
    if message.contains("Too many columns! The subquery should only return one column") {
        return Error::user("A subquery that stands for a value must give one column.")
            .with_hint("SELECT only the column that is compared.");
    }
    if let Some(table) = message.trim().strip_prefix("Invalid qualifier ") {
        return Error::user(format!("Table '{}' not found.", table.trim_end_matches('.')))
            .with_hint("Before `.*` stands the name or alias of a table in FROM.");
    }
    if message.contains("non-boolean predicate") {
        return Error::user("WHERE clause must be a condition.")
            .with_hint("Compare the value: WHERE x = 1, or x IS NOT NULL.");
    }
    if message.contains("must have the same number of columns")
        || message.contains("queries have different number of columns")
    {
        return Error::user("Column count mismatch in UNION ALL.")
            .with_hint("Both queries must give as many columns.");
    }
    Error::user(clean(message))
}

/// `t.k` as `k`.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Without DataFusion's prefixes and advice.
fn clean(message: &str) -> String {
    let mut text = message.trim();
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Arrow error: ",
        "Optimizer rule ",
        "Internal error: ",
        "Cast error: ",
        "Parser error: ",
        "Invalid argument error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = text.split(" No function matches").next().unwrap_or(text);
    let text = text.split("\n\tCandidate functions").next().unwrap_or(text);
    let text = text.split("\n\nbacktrace:").next().unwrap_or(text);
    sql_types(text.trim().trim_end_matches('.')) + "."
}

/// Names of Arrow's types as SQL's.
fn sql_types(text: &str) -> String {
    static NAMES: LazyLock<regex::Regex> = LazyLock::new(|| {
        pattern(
            r"\b(Int8|Int16|Int32|Int64|Float32|Float64|Utf8|Binary|Boolean|Date32|Timestamp\(ms\)|Timestamp\(ms, .UTC.\))",
        )
    });
    let name = |found: &regex::Captures<'_>| match &found[1] {
        "Int8" => "TINYINT",
        "Int16" => "SMALLINT",
        "Int32" => "INT",
        "Int64" => "BIGINT",
        "Float32" => "FLOAT",
        "Float64" => "DOUBLE",
        "Utf8" => "STRING",
        "Binary" => "BYTES",
        "Boolean" => "BOOLEAN",
        "Date32" => "DATE",
        "Timestamp(ms)" => "TIMESTAMP(3)",
        _ => "TIMESTAMP_LTZ(3)",
    };
    NAMES.replace_all(text, name).into_owned()
}
