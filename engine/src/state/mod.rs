//! Keyed state in batches: keys to group indexes, accumulators as columns.

pub mod accumulator;
mod column;
mod hash;
pub mod key_group;
mod key_table;

pub use key_table::KeyTable;
