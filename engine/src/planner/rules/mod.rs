//! Rewrites and checks of the bound plan, one per file, in the order in which they run.

pub(super) mod correlate;
pub(super) mod correlated;
pub(super) mod fetch;
pub(super) mod frames;
pub(super) mod group_windows;
pub(super) mod grouping_sets;
pub(super) mod literal_types;
pub(super) mod meaning;
pub(super) mod optimize;
pub(super) mod row_subqueries;
pub(super) mod set_operations;
pub(super) mod stars;
pub(super) mod strict_types;
pub(super) mod subqueries;
pub(super) mod subquery_order;
pub(super) mod temporal;
pub(super) mod unions;
pub(super) mod unique_aggregates;
pub(super) mod unsupported;
pub(super) mod using;
pub(super) mod value_subqueries;
pub(super) mod values;

pub(super) use literal_types::typed;
