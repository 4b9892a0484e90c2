//! Keyed state in batches: keys to group indexes, accumulators as columns; what goes into checkpoints.

pub mod accumulator;
mod budget;
mod column;
mod hash;
pub mod key_group;
mod key_table;
mod snapshot;

pub use budget::MemoryBudget;
pub use key_table::KeyTable;
pub use snapshot::{SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
