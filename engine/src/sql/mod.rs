//! Text to `Statement`. Knows sqlparser, not DataFusion's plans.
//!
//! Road of a text: [`split`] cuts it into tokens and statements (`splitter`), a token pass refuses and rewrites
//! what sqlparser would misread (`tokens`), the first words choose one of the statement files or
//! `Parser::parse_query` (`parser`). `data_type` is the only table of types.

mod splitter;
mod statement;

pub use splitter::{Piece, is_finished, split};
pub use statement::*;
