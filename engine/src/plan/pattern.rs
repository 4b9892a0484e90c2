//! MATCH_RECOGNIZE: the pattern, what its variables stand for, and what is told of a match.

use super::graph::{AggregateCall, TimeAttribute};
use super::ordered::SortColumn;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Rows of each partition that follow each other as a pattern says, a row for each match. Output columns: those of the
/// partition, then the measures. Takes inserts only.
#[derive(Debug, Clone)]
pub struct MatchRecognizeNode {
    /// Columns of the partition; empty for one over all rows.
    pub partition: Vec<usize>,
    /// The time attribute that rows are taken in by.
    pub time: TimeAttribute,
    /// Order of rows of the same time; rows that are equal in it stay as they come.
    pub order: Vec<SortColumn>,
    /// The pattern: one variable after the other.
    pub pattern: Vec<PatternVariable>,
    /// Where the search goes on after a match.
    pub skip: AfterMatchSkip,
    /// `WITHIN`: the last row of a match comes less than so many milliseconds after the first one. 0 is no limit.
    pub within_ms: i64,
    /// What is told of a match.
    pub measures: MatchExpressions,
}

/// A variable of a pattern.
#[derive(Debug, Clone)]
pub struct PatternVariable {
    /// As written.
    pub name: String,
    /// How many rows it stands for.
    pub quantifier: Quantifier,
    /// `DEFINE`, as conditions that must all be true: those on the row alone, bound to the input's columns.
    pub row_condition: Option<Arc<dyn PhysicalExpr>>,
    /// And those that look at rows before it: one expression, which is BOOLEAN.
    pub match_condition: Option<MatchExpressions>,
}

/// How many rows a variable stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quantifier {
    /// Fewest rows.
    pub min: u32,
    /// Most rows; `None` for any number.
    pub max: Option<u32>,
    /// Whether a row goes to this variable rather than to the next one where both take it. `A`, `A?` and `A{n}` are
    /// never greedy.
    pub greedy: bool,
}

/// Where the search goes on after a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterMatchSkip {
    /// Behind its last row.
    PastLastRow,
    /// Behind its first row.
    ToNextRow,
    /// At the first row of this variable of the pattern.
    ToFirst(usize),
    /// At the last row of this variable of the pattern.
    ToLast(usize),
}

/// Expressions over values that are found in a match.
#[derive(Debug, Clone)]
pub struct MatchExpressions {
    /// The values, as columns of `schema`.
    pub values: Vec<MatchValue>,
    /// A column for each value.
    pub schema: SchemaRef,
    /// The expressions, bound to `schema`.
    pub expressions: Vec<Arc<dyn PhysicalExpr>>,
}

/// A value of the rows that a match has, or has so far.
#[derive(Debug, Clone)]
pub enum MatchValue {
    /// `FIRST(v.c, offset)` or `LAST(v.c, offset)`; NULL where there is no such row.
    Row {
        /// The variable whose rows count; `None` for all rows.
        variable: Option<usize>,
        /// Column of the input.
        column: usize,
        /// Counted from the first row, or else from the last one back.
        first: bool,
        /// How many rows further.
        offset: usize,
    },
    /// An aggregate.
    Aggregate {
        /// The variable whose rows count; `None` for all rows.
        variable: Option<usize>,
        /// The aggregate; its arguments are indexes into `arguments`.
        call: AggregateCall,
        /// Bound to the input's columns.
        arguments: Vec<Arc<dyn PhysicalExpr>>,
    },
    /// `MATCH_ROWTIME()`: the time at which the match is told, or that of the row at hand.
    Rowtime,
}
