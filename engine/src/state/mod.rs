//! Keyed state in batches: keys to group indexes, accumulators as columns.
