//! Studio's paragraphs: `%flink.ssql(type=update, …)` headers before SQL, as notebooks have them.

use engine::Error;
use engine::error::{Location, Result, Span};

/// A stretch of SQL and the properties of its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Paragraph {
    /// The interpreter, for example `flink.ssql`; `None` without a header.
    pub interpreter: Option<String>,
    /// The header's line, or the first line without one; from 1.
    pub line: u32,
    /// What the header says.
    pub properties: Properties,
    /// The SQL, padded with blank lines so that places in it are places in the whole text.
    pub sql: String,
}

/// How results appear in Studio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultType {
    /// The table is redrawn, sorted by its first column.
    Update,
    /// Like `Update`, of the last part of the time in the first column.
    Append,
    /// One row through a template.
    Single,
    /// Without a header: as the shell shows tables.
    #[default]
    Shell,
}

/// A header's local properties.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// `type`.
    pub result_type: ResultType,
    /// `parallelism`.
    pub parallelism: Option<usize>,
    /// `refreshInterval`, in milliseconds.
    pub refresh_interval_ms: Option<u64>,
    /// `template` of `type=single`.
    pub template: Option<String>,
    /// `threshold` of `type=append`, in milliseconds.
    pub threshold_ms: Option<u64>,
    /// `%flink.bsql`: batch mode.
    pub batch: bool,
    /// `enabled=false`: not to be run.
    pub disabled: bool,
}

/// Least `refreshInterval`, in milliseconds (the guide's advice).
pub const LEAST_REFRESH_MS: u64 = 1000;

impl Paragraph {
    /// Whether there is nothing to execute: `%md`, disabled and empty ones.
    pub fn is_skipped(&self) -> bool {
        self.properties.disabled || self.interpreter.as_deref() == Some("md") || self.sql.trim().is_empty()
    }
}

/// Cuts a text at lines that begin with `%`.
///
/// Errors: an interpreter that is none of ours, a property that is none, each with its place.
pub fn paragraphs(text: &str) -> Result<Vec<Paragraph>> {
    let mut paragraphs = Vec::new();
    let mut current =
        Paragraph { interpreter: None, line: 1, properties: Properties::default(), sql: String::new() };
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if !line.trim_start().starts_with('%') {
            current.sql.push_str(line);
            current.sql.push('\n');
            continue;
        }
        // A header may run over several lines, and its closing parenthesis may be missing.
        let mut header = line.trim().to_string();
        let mut last = number;
        while header.contains('(') && !closes(&header) {
            match lines.next() {
                Some((n, more)) if !is_sql(more) => {
                    header.push(' ');
                    header.push_str(more.trim());
                    last = n;
                }
                Some((n, more)) => {
                    paragraphs.push(std::mem::replace(&mut current, parse(&header, number)?));
                    current.sql = "\n".repeat(n);
                    current.sql.push_str(more);
                    current.sql.push('\n');
                    header.clear();
                    break;
                }
                None => break,
            }
        }
        if header.is_empty() {
            continue;
        }
        let (header, rest) = cut_rest(&header);
        paragraphs.push(std::mem::replace(&mut current, parse(header, number)?));
        current.sql = "\n".repeat(if rest.is_empty() { last + 1 } else { last });
        if !rest.is_empty() {
            // Columns on the header's own line are kept where the header is one line.
            current.sql.push_str(&" ".repeat(header.chars().count()));
            current.sql.push_str(rest);
            current.sql.push('\n');
        }
    }
    paragraphs.push(current);
    paragraphs.retain(|p| p.interpreter.is_some() || !p.sql.trim().is_empty());
    Ok(paragraphs)
}

/// SQL on the header's line, after the closing parenthesis or the first blank.
fn cut_rest(header: &str) -> (&str, &str) {
    let open = header.find('(').filter(|open| !header[..*open].trim().contains(char::is_whitespace));
    let end = match open {
        Some(open) => closing(header, open).map_or(header.len(), |close| close + 1),
        None => header.find(char::is_whitespace).unwrap_or(header.len()),
    };
    header.split_at(end)
}

/// Where the parenthesis at `open` is closed.
fn closing(header: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in header[open..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + i);
        }
    }
    None
}

fn closes(header: &str) -> bool {
    header.find('(').is_none_or(|open| closing(header, open).is_some())
}

fn is_sql(line: &str) -> bool {
    let first = line.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    line.trim_start().starts_with("--")
        || [
            "SELECT", "INSERT", "CREATE", "WITH", "SET", "USE", "DROP", "SHOW", "EXECUTE", "EXPLAIN",
            "DESCRIBE",
        ]
        .iter()
        .any(|w| w.eq_ignore_ascii_case(first))
}

fn parse(header: &str, line: usize) -> Result<Paragraph> {
    let start = Location { line: line as u32 + 1, column: 1 };
    let end = Location { line: line as u32 + 1, column: header.chars().count() as u32 + 1 };
    let wrong =
        |message: String, hint: &str| Err(Error::user(message).with_hint(hint).at(Span { start, end }));
    let (name, arguments) = header.split_once('(').unwrap_or((header, ""));
    let name = name.trim().trim_start_matches('%').trim();
    let arguments = arguments.trim().strip_suffix(')').unwrap_or(arguments.trim());
    let disabled = assignments(arguments).contains(&("enabled", "false"));
    let mut properties = Properties { disabled, ..Properties::default() };
    let line = start.line;
    if disabled {
        return Ok(Paragraph { interpreter: Some(name.to_string()), line, properties, sql: String::new() });
    }
    match name {
        "flink.ssql" => properties.result_type = ResultType::Update,
        "flink.bsql" => properties.batch = true,
        "md" => {}
        "flink" | "flink.pyflink" | "flink.ipyflink" => {
            return wrong(
                format!("A %{name} paragraph holds Scala or Python; Runnel runs SQL only."),
                "Write the query in SQL under %flink.ssql.",
            );
        }
        "flinkssql" | "flink.sql" | "flink. ssql" | "flink. ssl" | "flink.ssl" | "ssql" | "sql" => {
            return wrong(format!("%{name} is no interpreter."), "Did you mean %flink.ssql?");
        }
        "flinkbsql" | "bsql" => {
            return wrong(format!("%{name} is no interpreter."), "Did you mean %flink.bsql?");
        }
        _ => {
            return wrong(
                format!("%{name} is no interpreter."),
                "There are %flink.ssql, %flink.bsql and %md.",
            );
        }
    }
    for (key, value) in assignments(arguments) {
        let number = || value.parse::<u64>().ok().filter(|n| *n > 0);
        match key {
            "type" => match value {
                "update" => properties.result_type = ResultType::Update,
                "append" => properties.result_type = ResultType::Append,
                "single" => properties.result_type = ResultType::Single,
                _ => return wrong(format!("type={value} is none."), "type is update, append or single."),
            },
            "parallelism" => match number() {
                Some(n) => properties.parallelism = Some(n as usize),
                None => return wrong(format!("parallelism={value} is none."), "Write parallelism=2."),
            },
            "refreshInterval" => match number() {
                Some(n) => properties.refresh_interval_ms = Some(n.max(LEAST_REFRESH_MS)),
                None => {
                    return wrong(format!("refreshInterval={value} is none."), "Write milliseconds: 1000.");
                }
            },
            "threshold" => match number() {
                Some(n) => properties.threshold_ms = Some(n),
                None => return wrong(format!("threshold={value} is none."), "Write milliseconds: 3600000."),
            },
            "template" => properties.template = Some(value.to_string()),
            "enabled" if value == "true" => {}
            "enabled" => return wrong(format!("enabled={value} is none."), "Write enabled=false."),
            // Known to Studio, without effect here.
            "maxParallelism"
            | "jobName"
            | "runAsOne"
            | "savepointDir"
            | "execution.savepoint.path"
            | "resumeFromSavepoint"
            | "resumeFromLatestCheckpoint" => {}
            _ => {
                return wrong(
                    format!("`{key}` is no property of a paragraph."),
                    "There are type, parallelism, refreshInterval, template, threshold and enabled.",
                );
            }
        }
    }
    Ok(Paragraph { interpreter: Some(name.to_string()), line, properties, sql: String::new() })
}

/// `k=v, k=v`, where a value may hold commas: an entry begins only at a known-looking `key=`.
fn assignments(text: &str) -> Vec<(&str, &str)> {
    let mut starts = Vec::new();
    let mut from = 0;
    for part in text.split_inclusive(',') {
        let word = part.trim_start();
        let key = word.split('=').next().unwrap_or("");
        let is_key = word.contains('=')
            && !key.trim().is_empty()
            && key.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        if is_key {
            starts.push(from);
        }
        from += part.len();
    }
    starts.push(text.len());
    starts
        .windows(2)
        .filter_map(|w| text[w[0]..w[1]].trim().trim_end_matches(',').split_once('='))
        .map(|(k, v)| (k.trim(), v.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Paragraph {
        let mut all = paragraphs(text).unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn plain_sql_is_one_paragraph() {
        assert_eq!(one("SELECT 1;\nSELECT 2 % 3").properties, Properties::default());
    }

    #[test]
    fn the_guides_headers() {
        let p = one("%flink.ssql(type=update, parallelism=4, refreshInterval=1000)\nSELECT 1");
        assert_eq!(p.properties.result_type, ResultType::Update);
        assert_eq!((p.properties.parallelism, p.properties.refresh_interval_ms), (Some(4), Some(1000)));
        assert_eq!(p.sql, "\nSELECT 1\n");

        let p = one(
            "%flink.ssql(type=single, parallelism=4, refreshInterval=1000, template=<h1>{2}</h1> records, seen until \
             <h1>Processing\nTime: {1}</h1>)\n-- text\nSELECT MAX(`et`)",
        );
        assert_eq!(p.properties.result_type, ResultType::Single);
        let template = "<h1>{2}</h1> records, seen until <h1>Processing Time: {1}</h1>";
        assert_eq!(p.properties.template.as_deref(), Some(template));
        assert_eq!(p.sql, "\n\n-- text\nSELECT MAX(`et`)\n");
    }

    #[test]
    fn a_missing_parenthesis_and_sql_on_the_headers_line() {
        let p = one("%flink.ssql(parallelism=2\nINSERT INTO t SELECT 1");
        assert_eq!(p.properties.parallelism, Some(2));
        assert_eq!(p.sql, "\nINSERT INTO t SELECT 1\n");
        assert_eq!(one("%flink.ssql(type=append) SELECT f(1)").sql.trim(), "SELECT f(1)");
        assert_eq!(one("%flink.ssql SELECT f(1)").sql.trim(), "SELECT f(1)");
    }

    #[test]
    fn several_paragraphs_and_markdown() {
        let all = paragraphs("%md\n# Title\n%flink.ssql\nSELECT 1\n\n%flink.bsql\nSELECT 2\n").unwrap();
        assert_eq!(all.iter().map(Paragraph::is_skipped).collect::<Vec<_>>(), [true, false, false]);
        assert!(all[2].properties.batch);
        assert_eq!(all[2].sql.lines().count(), 7);
    }

    #[test]
    fn damaged_spellings_get_the_right_one() {
        let error = paragraphs("\n%flinkssql(type=update)\nSELECT 1").unwrap_err();
        assert_eq!(error.hint(), Some("Did you mean %flink.ssql?"));
        assert_eq!(error.span().unwrap().start.line, 2);
        assert!(paragraphs("%flink.ssql(typ=update)\nSELECT 1").is_err());
        assert!(paragraphs("%flink.pyflink\nprint(1)").is_err());
    }
}
