//! Whether Enter executes what is typed or goes on to the next line.

use crate::commands::Command;
use engine::sql;

/// A statement ends with `;`; commands of the shell need none.
pub fn is_complete(text: &str) -> bool {
    text.trim().is_empty() || Command::parse(text).is_some() || sql::is_finished(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement() {
        assert!(
            is_complete("SELECT 1;")
                && is_complete("quit")
                && is_complete("  ")
                && is_complete("SELECT 1; -- x")
        );
        assert!(!is_complete("SELECT 1") && !is_complete("SELECT ';") && !is_complete("SELECT 1 -- ;"));
        assert!(!is_complete("SELECT 1; SELECT 2"));
        assert!(!is_complete("EXECUTE STATEMENT SET BEGIN INSERT INTO t SELECT 1;"));
    }
}
