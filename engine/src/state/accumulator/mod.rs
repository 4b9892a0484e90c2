//! Aggregates of many groups at once.

/// Whether `function` (lower case) is an aggregate that the operators can run.
pub fn is_supported(function: &str) -> bool {
    matches!(
        function,
        "count"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "first_value"
            | "last_value"
            | "listagg"
            | "collect"
            | "array_agg"
            | "stddev_pop"
            | "stddev_samp"
            | "stddev"
            | "var_pop"
            | "var_samp"
            | "variance"
    )
}
