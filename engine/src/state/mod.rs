//! Keyed state in batches: keys to group indexes, accumulators as columns; what goes into checkpoints.

pub mod accumulator;
mod bits;
mod budget;
mod column;
mod disk;
mod group_store;
#[cfg(test)]
mod group_store_tests;
mod hash;
pub mod key_group;
mod key_table;
mod payload;
mod run_file;
mod snapshot;
mod spill;
#[cfg(test)]
pub(crate) mod testing;

pub use budget::MemoryBudget;
pub use group_store::{GroupStore, StoreContext};
pub use key_table::KeyTable;
pub use payload::Payload;
pub use run_file::{Piece, RunFile, Share};
pub use snapshot::{SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter};
