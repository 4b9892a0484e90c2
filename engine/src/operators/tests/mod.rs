//! Tests that need several operators' worth of space; each file is named after what it tests.

mod group_aggregate;
mod lookup_join;
mod match_recognize;
mod ordered;
mod ordered_disk;
mod regular_join;
mod regular_join_disk;
mod simple;
mod ttl;
mod window_aggregate;
mod window_model;
mod window_table;
