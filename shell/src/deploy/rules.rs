//! The rules that a script must keep to be deployed, those of the Studio guide. Each is an error with its own name
//! and the place in the script.

use crate::paragraph::{self, Paragraph};
use engine::error::{Location, Span};
use engine::sql::{self, Piece, Statement};
use engine::{Error, Result};

/// What a script is when it keeps the rules.
#[derive(Debug, Default)]
pub struct Script {
    /// Definitions and settings, in order.
    pub definitions: Vec<Piece>,
    /// The INSERTs that are the job.
    pub inserts: Vec<Piece>,
    /// What was left out, in sentences, each with its line.
    pub notices: Vec<String>,
}

/// A rule that a script can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Only interpreters that can be deployed.
    Interpreter,
    /// No `${…}` forms.
    DynamicForm,
    /// No SELECT outside of INSERT, under `--strict`.
    PlainSelect,
    /// Definitions before INSERTs in a paragraph.
    DefinitionsFirst,
    /// INSERTs in one paragraph only.
    SingleJob,
    /// No CREATE TABLE AS: it is definition and job at once.
    CreateAs,
    /// At least one INSERT.
    NoJob,
    /// At least one paragraph with source code that is not disabled.
    NothingEnabled,
}

impl Rule {
    /// Its name in errors and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::DynamicForm => "dynamic-form",
            Self::PlainSelect => "plain-select",
            Self::DefinitionsFirst => "definitions-first",
            Self::SingleJob => "single-job",
            Self::CreateAs => "create-as",
            Self::NoJob => "no-job",
            Self::NothingEnabled => "nothing-enabled",
        }
    }

    fn error(self, message: String, hint: &str, place: Option<Span>) -> Error {
        Error::user(format!("{message} (deploy rule `{}`)", self.name())).with_hint(hint).at(place)
    }
}

/// Reads a script by the rules. `strict` refuses what is otherwise left out with a notice.
///
/// Errors: a rule that is broken, or text that is no SQL, each with its place in `text`.
pub fn check(text: &str, strict: bool) -> Result<Script> {
    let paragraphs = paragraph::paragraphs(text)?;
    let mut script = Script::default();
    let mut enabled = false;
    let mut insert_paragraph: Option<u32> = None;
    for paragraph in &paragraphs {
        if paragraph.is_skipped() {
            let interpreter = paragraph.interpreter.as_deref();
            if paragraph.properties.disabled
                && let Some(name) = interpreter
            {
                let line = paragraph.line;
                script.notices.push(format!("line {line}: the disabled paragraph %{name} is left out."));
            }
            continue;
        }
        check_interpreter(paragraph)?;
        check_forms(paragraph)?;
        let pieces = sql::split(&paragraph.sql)?;
        enabled |= !pieces.is_empty();
        if paragraph.properties.parallelism.is_some() {
            script.notices.push(format!(
                "line {}: the paragraph's parallelism is ignored when deployed; give the job one with --parallelism.",
                paragraph.line
            ));
        }
        let mut has_insert = false;
        for piece in pieces {
            let line = piece.span.start.line;
            match sql::parse(&piece)? {
                Statement::Insert(_) | Statement::StatementSet(_) => {
                    if let Some(first) = insert_paragraph.filter(|first| *first != paragraph.line) {
                        return Err(Rule::SingleJob.error(
                            format!("A deployed script is one job, but the paragraph of line {first} holds INSERTs too."),
                            "Put all INSERTs into one paragraph; they run as one job.",
                            Some(first_words(&piece)),
                        ));
                    }
                    insert_paragraph = Some(paragraph.line);
                    has_insert = true;
                    script.inserts.push(piece);
                }
                Statement::Query(_) if strict => {
                    return Err(Rule::PlainSelect.error(
                        "A deployed job has no screen: a SELECT has nowhere to go.".to_string(),
                        "Write INSERT INTO a table before it, or deploy without --strict to leave it out.",
                        Some(first_words(&piece)),
                    ));
                }
                Statement::Query(_) => script.notices.push(format!(
                    "line {line}: the SELECT is left out: a deployed job has no screen (deploy rule `{}`).",
                    Rule::PlainSelect.name()
                )),
                Statement::CreateTable(create) if create.query.is_some() => {
                    return Err(Rule::CreateAs.error(
                        "A deployed script defines its table first and fills it then, not with one statement."
                            .to_string(),
                        "Write CREATE TABLE with its columns, then INSERT INTO it.",
                        Some(first_words(&piece)),
                    ));
                }
                other if defines(&other) => {
                    if has_insert {
                        return Err(Rule::DefinitionsFirst.error(
                            "Definitions and settings must stand before the INSERTs of their paragraph."
                                .to_string(),
                            "Move this statement up, before the first INSERT.",
                            Some(first_words(&piece)),
                        ));
                    }
                    script.definitions.push(piece);
                }
                _ => script
                    .notices
                    .push(format!("line {line}: the statement only shows something; it is left out.")),
            }
        }
    }
    if !enabled {
        return Err(Rule::NothingEnabled.error(
            "There is nothing to deploy: no enabled paragraph holds SQL.".to_string(),
            "Write CREATE TABLE … and INSERT INTO … SELECT ….",
            None,
        ));
    }
    if script.inserts.is_empty() {
        return Err(Rule::NoJob.error(
            "There is nothing to deploy: the script holds no INSERT.".to_string(),
            "A deployed job writes its result into a table: INSERT INTO t SELECT ….",
            None,
        ));
    }
    Ok(script)
}

/// Whether a statement changes what the INSERTs mean: USE, CREATE, ALTER, DROP, SET, RESET.
fn defines(statement: &Statement) -> bool {
    !matches!(
        statement,
        Statement::Show(_)
            | Statement::Job(_)
            | Statement::Describe(_)
            | Statement::Explain(_)
            | Statement::Set(None)
    )
}

fn check_interpreter(paragraph: &Paragraph) -> Result<()> {
    match paragraph.interpreter.as_deref() {
        None | Some("flink.ssql") => Ok(()),
        Some(other) => Err(Rule::Interpreter.error(
            format!("A %{other} paragraph cannot be deployed."),
            "Deployed are %flink.ssql paragraphs; %md is skipped. For a batch job SET 'execution.runtime-mode' = \
             'batch' in %flink.ssql, or disable the paragraph: (enabled=false).",
            Some(line_span(paragraph.line, other.chars().count() as u32 + 1)),
        )),
    }
}

/// Zeppelin's dynamic forms: `${name}`, `${name=default}`, `$${name}`.
fn check_forms(paragraph: &Paragraph) -> Result<()> {
    for (number, line) in paragraph.sql.lines().enumerate() {
        let Some(at) = line.find("${") else { continue };
        let form = line[at..].find('}').map_or(&line[at..], |end| &line[at..=at + end]);
        let column = line[..at].chars().count() as u32 + 1;
        let start = Location { line: number as u32 + 1, column };
        let end = Location { column: column + form.chars().count() as u32, ..start };
        return Err(Rule::DynamicForm.error(
            format!("Nobody is there to fill in the form {form}."),
            "Give it a value: -D name=value, or write the value itself.",
            Some(Span { start, end }),
        ));
    }
    Ok(())
}

/// The place of a statement's first two words.
fn first_words(piece: &Piece) -> Span {
    let start = piece.span.start;
    let words: usize = piece.text.split_whitespace().take(2).map(|w| w.chars().count() + 1).sum();
    let first_line = piece.text.lines().next().unwrap_or_default().chars().count();
    let length = words.saturating_sub(1).clamp(1, first_line.max(1));
    Span { start, end: Location { column: start.column + length as u32, ..start } }
}

fn line_span(line: u32, length: u32) -> Span {
    let start = Location { line, column: 1 };
    Span { start, end: Location { line, column: 1 + length } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "CREATE TABLE a (x INT) WITH ('connector' = 'datagen');\n\
                          CREATE TABLE b (x INT) WITH ('connector' = 'blackhole');\n";

    fn refused(text: &str, strict: bool) -> (String, u32) {
        let e = check(text, strict).unwrap_err();
        (e.message().to_string(), e.span().map_or(0, |s| s.start.line))
    }

    #[test]
    fn a_plain_script_is_one_paragraph() {
        let script =
            check(&format!("{TABLES}SET 'a' = 'b';\nINSERT INTO b SELECT x FROM a;\n"), true).unwrap();
        assert_eq!((script.definitions.len(), script.inserts.len()), (3, 1));
        assert_eq!(script.inserts[0].span.start.line, 4);
        assert!(script.notices.is_empty());
    }

    #[test]
    fn the_guides_mixed_note() {
        let note = format!(
            "%md\n# A note\n%flink.ssql\n{TABLES}\n%flink.ssql(parallelism=1)\n-- forward data\n\
             INSERT INTO b SELECT * FROM a\n\n%flink.ssql(type=update, parallelism=1, refreshInterval=1000)\n\
             -- ignored when deployed as application\nSELECT * FROM a\n"
        );
        let script = check(&note, false).unwrap();
        assert_eq!((script.definitions.len(), script.inserts.len()), (2, 1));
        assert_eq!(
            script.notices,
            [
                "line 7: the paragraph's parallelism is ignored when deployed; give the job one with --parallelism.",
                "line 11: the paragraph's parallelism is ignored when deployed; give the job one with --parallelism.",
                "line 13: the SELECT is left out: a deployed job has no screen (deploy rule `plain-select`).",
            ]
        );
        assert_eq!(
            refused(&note, true),
            (
                "A deployed job has no screen: a SELECT has nowhere to go. (deploy rule `plain-select`)"
                    .into(),
                13
            )
        );
    }

    #[test]
    fn one_paragraph_holds_all_inserts() {
        let one = format!("%flink.ssql\n{TABLES}INSERT INTO b SELECT 1; INSERT INTO b SELECT 2;");
        assert_eq!(check(&one, false).unwrap().inserts.len(), 2);
        let two = format!("{one}\n%flink.ssql\nINSERT INTO b SELECT 3");
        assert_eq!(
            refused(&two, false),
            (
                "A deployed script is one job, but the paragraph of line 1 holds INSERTs too. (deploy rule \
                 `single-job`)"
                    .into(),
                6
            )
        );
        let set = format!("{TABLES}EXECUTE STATEMENT SET BEGIN INSERT INTO b SELECT 1; END;");
        assert_eq!(check(&set, false).unwrap().inserts.len(), 1);
    }

    #[test]
    fn definitions_stand_before_inserts() {
        for late in [
            "USE x",
            "CREATE VIEW v AS SELECT 1",
            "DROP TABLE a",
            "SET 'a' = 'b'",
            "RESET 'a'",
            "CREATE TABLE c (x INT) WITH ('connector' = 'print')",
        ] {
            assert_eq!(
                refused(&format!("{TABLES}INSERT INTO b SELECT 1;\n{late};"), false),
                (
                    "Definitions and settings must stand before the INSERTs of their paragraph. (deploy rule \
                     `definitions-first`)"
                        .into(),
                    4
                ),
                "{late}"
            );
        }
        // The rule is one of a paragraph, not of the note.
        let note = format!("%flink.ssql\n{TABLES}INSERT INTO b SELECT 1\n%flink.ssql\nDROP TABLE a");
        assert!(check(&note, false).is_ok());
    }

    #[test]
    fn only_streaming_sql_is_deployed() {
        assert_eq!(
            refused("%flink.ssql\nSELECT 1\n%flink.bsql\nINSERT INTO b SELECT 1", false),
            ("A %flink.bsql paragraph cannot be deployed. (deploy rule `interpreter`)".into(), 3)
        );
        let (message, line) = refused("%flink.ssql\nSELECT 1\n%flink.pyflink\nprint(1)", false);
        assert!(message.starts_with("A %flink.pyflink paragraph holds Scala or Python"), "{message}");
        assert_eq!(line, 3);
    }

    #[test]
    fn disabled_paragraphs_are_skipped_whatever_they_hold() {
        let note = format!(
            "%flink.pyflink(enabled=false)\nprint(1)\n%flink.bsql(enabled=false)\nINSERT INTO b SELECT 0\n\
             %flink.ssql\n{TABLES}INSERT INTO b SELECT 1"
        );
        let script = check(&note, true).unwrap();
        assert_eq!(script.inserts.len(), 1);
        assert_eq!(script.notices[0], "line 1: the disabled paragraph %flink.pyflink is left out.");
        assert_eq!(
            refused("%flink.ssql(enabled=false)\nSELECT 1\n%md\nx", false),
            (
                "There is nothing to deploy: no enabled paragraph holds SQL. (deploy rule `nothing-enabled`)"
                    .into(),
                0
            )
        );
    }

    #[test]
    fn forms_have_nobody_to_fill_them_in() {
        let (message, line) = refused(&format!("{TABLES}INSERT INTO b\nSELECT ${{n=1}} FROM a"), false);
        assert_eq!(message, "Nobody is there to fill in the form ${n=1}. (deploy rule `dynamic-form`)");
        assert_eq!(line, 4);
        assert!(check(&format!("%md\n${{x}}\n%flink.ssql\n{TABLES}INSERT INTO b SELECT 1"), false).is_ok());
    }

    #[test]
    fn there_must_be_a_job() {
        for text in ["SELECT 1;", "SHOW TABLES; SET;", TABLES] {
            assert_eq!(
                refused(text, false).0,
                "There is nothing to deploy: the script holds no INSERT. (deploy rule `no-job`)"
            );
        }
        assert!(refused("", false).0.contains("nothing-enabled"));
        assert!(refused("-- only a comment\n", false).0.contains("nothing-enabled"));
    }

    #[test]
    fn a_table_is_not_made_and_filled_at_once() {
        let text = format!("{TABLES}CREATE TABLE c WITH ('connector' = 'print') AS SELECT x FROM a;");
        let (message, line) = refused(&text, false);
        assert!(message.ends_with("(deploy rule `create-as`)"), "{message}");
        assert_eq!(line, 3);
    }

    #[test]
    fn errors_of_the_text_keep_their_place() {
        assert_eq!(refused(&format!("{TABLES}INSERT INTO b SELEC 1;"), false).1, 3);
    }
}
