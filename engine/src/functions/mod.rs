//! SQL functions with Flink's names, types and results: ours, over those that DataFusion has.

pub mod calendar;
pub mod field;
pub mod text;
