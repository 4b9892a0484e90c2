//! All functions by name, and what turns SQL's operators into calls of them.

use super::scalar::{Environment, Function};
use super::syntax::Syntax;
use super::{aggregate, families};
use crate::error::nearest;
use crate::time::Clock;
use chrono_tz::Tz;
use datafusion_expr::planner::ExprPlanner;
use datafusion_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use std::collections::HashMap;
use std::sync::Arc;

/// The built-in functions of a session. Names are found in any case.
#[derive(Debug, Clone)]
pub struct FunctionRegistry {
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    names: Vec<&'static str>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl FunctionRegistry {
    /// The functions, which read `clock` when evaluated (NOW(), PROCTIME(), …) and take `zone` for the
    /// session's (`table.local-time-zone`).
    pub fn new(clock: Arc<dyn Clock>, zone: Tz) -> Self {
        Self::of(&Environment::new(clock, zone))
    }

    /// As [`Self::new`], where CURRENT_DATABASE() is `database`.
    pub fn in_database(clock: Arc<dyn Clock>, zone: Tz, database: &str) -> Self {
        Self::of(&Environment { database: Arc::from(database), ..Environment::new(clock, zone) })
    }

    fn of(env: &Environment) -> Self {
        let mut scalars = HashMap::new();
        let mut names = Vec::new();
        for function in families() {
            if is_public(function) {
                names.push(function.name);
            }
            scalars.insert(function.name.to_ascii_lowercase(), Arc::new(function.udf(env)));
        }
        for (alias, name) in ALIASES {
            if let Some(function) = families().find(|f| f.name == *name) {
                names.push(alias);
                scalars.insert(alias.to_ascii_lowercase(), Arc::new(function.named(alias).udf(env)));
            }
        }
        let mut aggregates = HashMap::new();
        for (name, udaf) in aggregate::aggregates() {
            // Flink's SHOW FUNCTIONS does not list it either.
            if name != "SINGLE_VALUE" {
                names.push(name);
            }
            aggregates.insert(name.to_ascii_lowercase(), Arc::new(udaf));
        }
        let mut windows = HashMap::new();
        for (name, udwf) in aggregate::windows() {
            names.push(name);
            windows.insert(name.to_ascii_lowercase(), Arc::new(udwf));
        }
        names.sort_unstable();
        // FIRST_VALUE and the like are aggregates and window functions.
        names.dedup();
        let planners = vec![
            Arc::new(Syntax::new(scalars.clone())) as Arc<dyn ExprPlanner>,
            Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
        ];
        Self { scalars, aggregates, windows, names, planners }
    }

    /// The scalar function of that name.
    pub fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(&name.to_ascii_lowercase()).cloned()
    }

    /// The aggregate function of that name: it binds and gives types, and is run by our own accumulators.
    pub fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(&name.to_ascii_lowercase()).cloned()
    }

    /// The window function (ROW_NUMBER, …) of that name: it binds and gives types.
    pub fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(&name.to_ascii_lowercase()).cloned()
    }

    /// Names of all functions that SQL may call, in upper case, sorted.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Turn operators, literals and special syntax into calls of these functions. In the order to ask them.
    pub fn expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    /// What to write instead of the unknown function `name`.
    pub fn hint(&self, name: &str) -> Option<String> {
        let lower = name.to_ascii_lowercase();
        if let Some((_, instead)) = ELSEWHERE.iter().find(|(n, _)| *n == lower) {
            return Some(format!("Flink SQL has {instead}."));
        }
        if self.windows.contains_key(&lower) {
            return Some(format!("Write {}(…) OVER (PARTITION BY k ORDER BY ts).", name.to_uppercase()));
        }
        nearest(name, self.names.iter().copied()).map(|n| format!("Did you mean {n}?"))
    }
}

/// Operators have functions too, which no SQL can name.
fn is_public(function: &Function) -> bool {
    function.name.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Second names.
const ALIASES: &[(&str, &str)] =
    &[("CHARACTER_LENGTH", "CHAR_LENGTH"), ("CEILING", "CEIL"), ("SUBSTR", "SUBSTRING"), ("POW", "POWER")];

/// Functions of other dialects, and Flink's way.
const ELSEWHERE: &[(&str, &str)] = &[
    ("length", "CHAR_LENGTH(s)"),
    ("len", "CHAR_LENGTH(s)"),
    ("to_char", "DATE_FORMAT(t, 'yyyy-MM-dd')"),
    ("date_trunc", "FLOOR(t TO HOUR)"),
    ("date_bin", "TUMBLE windows"),
    ("date_part", "EXTRACT(HOUR FROM t)"),
    ("datediff", "TIMESTAMPDIFF(DAY, a, b)"),
    ("date_diff", "TIMESTAMPDIFF(DAY, a, b)"),
    ("date_add", "t + INTERVAL '1' DAY"),
    ("date_sub", "t - INTERVAL '1' DAY"),
    ("dateadd", "TIMESTAMPADD(DAY, 1, t)"),
    ("strpos", "POSITION(x IN s)"),
    ("charindex", "POSITION(x IN s)"),
    ("split_part", "SPLIT_INDEX(s, ',', 0), which counts from 0"),
    ("string_agg", "LISTAGG(s, ',')"),
    ("group_concat", "LISTAGG(s, ',')"),
    ("nvl", "IFNULL(a, b)"),
    ("isnull", "IFNULL(a, b) or x IS NULL"),
    ("iff", "IF(condition, a, b)"),
    ("regexp_like", "REGEXP(s, pattern)"),
    ("regexp_match", "REGEXP_EXTRACT(s, pattern, 1)"),
    ("rlike", "REGEXP(s, pattern)"),
    ("array_length", "CARDINALITY(a)"),
    ("array_size", "CARDINALITY(a)"),
    ("size", "CARDINALITY(a)"),
    ("array_to_string", "ARRAY_JOIN(a, ',')"),
    ("string_to_array", "SPLIT(s, ',')"),
    ("element_at", "a[1]"),
    ("struct", "ROW(a, b)"),
    ("named_struct", "ROW(a, b)"),
    ("arrow_typeof", "TYPEOF(x)"),
    ("pg_typeof", "TYPEOF(x)"),
    ("random", "RAND()"),
    ("trunc", "TRUNCATE(x, n)"),
    ("signum", "SIGN(x)"),
    ("btrim", "TRIM(BOTH 'x' FROM s)"),
    ("ucase", "UPPER(s)"),
    ("lcase", "LOWER(s)"),
    ("to_hex", "HEX(x)"),
    ("to_unixtime", "UNIX_TIMESTAMP(s)"),
    ("from_iso8601_timestamp", "TO_TIMESTAMP(s, 'yyyy-MM-dd''T''HH:mm:ss')"),
    ("to_timestamp_millis", "TO_TIMESTAMP_LTZ(ms, 3)"),
    ("to_timestamp_seconds", "TO_TIMESTAMP_LTZ(s, 0)"),
    ("current_time_millis", "UNIX_TIMESTAMP()"),
    ("getdate", "LOCALTIMESTAMP"),
    ("sysdate", "LOCALTIMESTAMP"),
    ("get_json_object", "JSON_VALUE(s, '$.a')"),
    ("json_extract", "JSON_VALUE(s, '$.a')"),
    ("stddev_population", "STDDEV_POP(x)"),
    ("variance_pop", "VAR_POP(x)"),
    ("any_value", "FIRST_VALUE(x)"),
    ("median", "no median; AVG(x) is the nearest"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MockClock;

    fn registry() -> FunctionRegistry {
        FunctionRegistry::new(Arc::new(MockClock::at(0)), Tz::UTC)
    }

    #[test]
    fn finds_in_any_case_and_hints() {
        let r = registry();
        assert!(r.scalar("Now").is_some());
        assert!(r.aggregate("SuM").is_some());
        assert!(r.window("row_number").is_some());
        assert!(r.scalar("length").is_none());
        assert_eq!(r.hint("LENGTH").unwrap(), "Flink SQL has CHAR_LENGTH(s).");
        assert_eq!(r.hint("COUNTT").unwrap(), "Did you mean COUNT?");
        assert_eq!(r.hint("Lag").unwrap(), "Write LAG(…) OVER (PARTITION BY k ORDER BY ts).");
        assert!(r.names().is_sorted());
        assert!(!r.names().contains(&"+"));
    }

    #[test]
    fn names_are_unique() {
        let r = registry();
        let mut names = r.names().to_vec();
        names.dedup();
        assert_eq!(names.len(), r.names().len());
    }
}
