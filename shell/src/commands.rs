//! The shell's own commands: HELP, QUIT, EXIT, CLEAR and their short forms. One table feeds parsing and help.

/// A command that is no SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Lists commands and statements.
    Help,
    /// Leaves the shell.
    Quit,
    /// Clears the screen.
    Clear,
    /// Lists the INSERT jobs that run behind the shell.
    Jobs,
    /// Stops all of them.
    Stop,
}

/// Words, command, meaning.
pub const COMMANDS: &[(&[&str], Command, &str)] = &[
    (&["HELP", "\\?", "\\h", "?"], Command::Help, "this text"),
    (&["QUIT", "EXIT", "\\q"], Command::Quit, "leave the shell (so does Ctrl-D)"),
    (&["CLEAR"], Command::Clear, "clear the screen"),
    (&["\\jobs"], Command::Jobs, "list the INSERT jobs that run behind the shell, and how far they are"),
    (&["\\stop"], Command::Stop, "stop all of them"),
];

impl Command {
    /// The command that `line` is, with or without a closing `;`.
    pub fn parse(line: &str) -> Option<Self> {
        let word = line.trim().trim_end_matches(';').trim_end();
        COMMANDS
            .iter()
            .find(|(words, ..)| words.iter().any(|w| w.eq_ignore_ascii_case(word)))
            .map(|(_, command, _)| *command)
    }
}

/// What HELP prints.
pub fn help() -> String {
    let mut text = String::from("The shell's own commands:\n");
    for (words, _, meaning) in COMMANDS {
        text.push_str(&format!("  {:<22}{meaning}\n", words.join(", ")));
    }
    text.push_str(
        "\nSQL, each statement ended by `;`:\n\
         \x20 CREATE TABLE … WITH ('connector' = '…', …)   a table over Kafka, Kinesis, files, …\n\
         \x20 SELECT …                                     a live table; q returns to the prompt\n\
         \x20 INSERT INTO t SELECT …                       a job behind the shell\n\
         \x20 CREATE VIEW, DROP, USE, DESCRIBE t, SHOW TABLES, SHOW CREATE TABLE t, EXPLAIN SELECT …\n\
         \x20 SHOW JOBS, DESCRIBE JOB '<id>',\n\
         \x20 STOP JOB '<id>' [WITH SAVEPOINT]             jobs of this shell and of the server (runnel deploy)\n\
         \x20 SET 'key' = 'value', SET, RESET              settings\n\n\
         Tab completes keywords, tables, columns and option keys. Ctrl-C drops what is typed or stops the query.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_any_case_with_or_without_semicolon() {
        assert_eq!(Command::parse(" quit; "), Some(Command::Quit));
        assert_eq!(Command::parse("\\?"), Some(Command::Help));
        assert_eq!(Command::parse("quit now"), None);
        assert_eq!(Command::parse(""), None);
    }
}
