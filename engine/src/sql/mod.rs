//! Text to `Statement`. Knows sqlparser, not DataFusion's plans.
//!
//! Road of a text: [`split`] cuts it into tokens and statements (`splitter`), a token pass refuses and rewrites
//! what sqlparser would misread (`tokens`), the first words choose one of the statement files or
//! `Parser::parse_query` (`parser`). `data_type` is the only table of types, `type_parser` reads them.
//! [`desugar`] rewrites a query into forms that DataFusion binds to Flink's meaning.

mod alter;
mod catalogs;
mod create_database;
mod create_table;
mod create_view;
pub mod data_type;
mod describe;
mod desugar;
mod dialect;
mod display;
mod distances;
mod drop;
mod explain;
mod function;
mod hints;
mod insert;
mod interval;
mod job;
mod like;
mod modules;
mod names;
mod parser;
mod refused;
mod rows;
mod set;
mod show;
mod splitter;
mod stack;
mod statement;
mod syntax;
#[cfg(test)]
mod tests;
mod tokens;
mod type_parser;
mod unparse;
mod use_statement;

pub use alter::renamed;
pub use create_table::create_table_text;
pub use create_view::create_view_text;
pub use data_type::{
    Element, RowField, SqlType, TIME_KEY, TYPE_KEY, TimeKind, describe_type, time_attribute,
    with_time_attribute, without_time_attribute,
};
pub use desugar::{desugar, desugar_expression};
pub use dialect::FlinkDialect;
pub use hints::{LookupHint, QueryHints, RelationHints, query_hints};
pub use like::merge_like;
pub use names::{mark_beside_stars, relation_name, unique, written};
pub use parser::{KEYWORDS, MAX_DEPTH, parse, parse_expression, parse_query};
pub use splitter::{Piece, is_finished, split};
pub use stack::with_large_stack;
pub use statement::*;
pub use unparse::quoted_expression;
