//! `DESCRIBE t`, `DESC t`.

use super::statement::Name;
use super::syntax::{name, word};
use crate::error::Result;
use datafusion_sql::sqlparser::parser::Parser;

/// After DESCRIBE.
pub(super) fn parse(p: &mut Parser) -> Result<Name> {
    // `DESCRIBE TABLE t` and `DESCRIBE EXTENDED t` are accepted by Flink as well.
    word(p, "TABLE");
    word(p, "EXTENDED");
    name(p, "the table's name", 3)
}
