//! Statements and what they say: each `statements/*.sql` is run statement by statement, errors do not end it, and the
//! transcript must be what stands in the `.txt` beside it (`UPDATE_EXPECT=1` writes it anew; read the difference).

use engine::{Error, sql};
use expect_test::expect_file;
use std::fmt::Write as _;
use std::path::Path;
use tests::{Answer, Runner};

fn transcript(text: &str) -> String {
    let mut runner = Runner::new();
    let mut out = String::new();
    // Each on its own, so that a text that cannot be cut into statements is told like any other error.
    for written in text.split_inclusive(";\n") {
        let piece = match sql::split(written) {
            Ok(pieces) if pieces.len() == 1 => pieces.into_iter().next().unwrap(),
            Ok(pieces) => panic!("{} statements in {written}", pieces.len()),
            Err(e) => {
                writeln!(out, "> {}", written.trim_end().replace('\n', "\n> ")).unwrap();
                error(&e, &mut out);
                out.push('\n');
                continue;
            }
        };
        let statement = piece.text.trim();
        // Comments between statements belong to the file, not to the transcript.
        let statement =
            statement.lines().skip_while(|l| l.trim_start().starts_with("--")).collect::<Vec<_>>();
        writeln!(out, "> {}", statement.join("\n> ")).unwrap();
        for answer in runner.run(&piece.text) {
            match answer {
                Ok(answer) => table(&answer, &mut out),
                Err(e) => error(&e, &mut out),
            }
        }
        out.push('\n');
    }
    out
}

fn table(answer: &Answer, out: &mut String) {
    writeln!(out, "| {} |", answer.names.join(" | ")).unwrap();
    for (kind, cells) in &answer.changes {
        let kind = if answer.changes.iter().all(|c| c.0.is_addition()) { "" } else { kind.short() };
        writeln!(out, "{kind}| {} |", cells.join(" | ")).unwrap();
    }
}

fn error(e: &Error, out: &mut String) {
    let place = e.span().map_or(String::new(), |s| format!("{}:{}: ", s.start.line, s.start.column));
    writeln!(out, "! {place}{}", e.message()).unwrap();
    if let Some(hint) = e.hint() {
        writeln!(out, "! hint: {hint}").unwrap();
    }
}

#[test]
fn statements_say_what_is_written_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("statements");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "sql"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        expect_file![file.with_extension("txt")].assert_eq(&transcript(&text));
    }
}
