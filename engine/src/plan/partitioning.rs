//! `Partitioning`: how rows travel from one node's tasks to the next node's.

use std::fmt;

/// How an edge spreads rows over the tasks of its target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Partitioning {
    /// Task n to task n; the parallelisms are equal. Neighbours so joined are chained.
    Forward,
    /// By the hash of these columns of the source's output, through key groups.
    Hash(Vec<usize>),
    /// All rows to one task (the target's parallelism is 1).
    Single,
    /// In turn over the target's tasks.
    Rebalance,
}

impl fmt::Display for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward"),
            Self::Hash(columns) => write!(f, "hash{columns:?}"),
            Self::Single => f.write_str("single"),
            Self::Rebalance => f.write_str("rebalance"),
        }
    }
}
