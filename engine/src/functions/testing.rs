//! Evaluates SQL expressions for tests, as a query would: parsed, bound, replaced, folded, computed.

use super::{FunctionRegistry, evaluation_error, field, replace, text};
use crate::error::Error;
use crate::sql::SqlType;
use crate::time::MockClock;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use chrono_tz::Tz;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, Result, ScalarValue, TableReference, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{
    AggregateUDF, ColumnarValue, Expr, ExprSchemable, HigherOrderUDF, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, TableSource, WindowUDF,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::create_physical_expr;
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast;
use std::sync::Arc;

/// The clock of tests: 2020-01-02 03:04:05.678 UTC.
pub(super) const NOW: i64 = 1_577_934_245_678;

struct Names {
    functions: FunctionRegistry,
    options: ConfigOptions,
}

#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        match SqlType::of_ast(sql_type) {
            Ok((t, _)) => Ok(Some(Arc::new(t.to_field("", true)))),
            Err(e) => Err(super::carry(e)),
        }
    }
}

impl ContextProvider for Names {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("no table {name}")
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.functions.expr_planners()
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar(name)
    }
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate(name)
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window(name)
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Type and text of the expression's value, in `zone`.
fn value(sql: &str, zone: Tz, fold: bool) -> std::result::Result<(String, String), Error> {
    let functions = FunctionRegistry::new(Arc::new(MockClock::at(NOW)), zone);
    let names = Names { functions, options: ConfigOptions::default() };
    let mut parsed = crate::sql::parse_expression(sql)?;
    crate::sql::desugar_expression(&mut parsed)?;
    let options = ParserOptions {
        enable_ident_normalization: false,
        map_string_types_to_utf8view: false,
        parse_float_as_decimal: true,
        ..ParserOptions::default()
    };
    let compute = || -> Result<(String, String)> {
        let schema = DFSchema::empty();
        let bound = SqlToRel::new_with_options(&names, options).sql_to_expr(
            parsed.clone(),
            &schema,
            &mut PlannerContext::new(),
        )?;
        let expr: Expr = replace(bound, zone)?.data;
        let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
        let simplifier = ExprSimplifier::new(context);
        let mut expr = simplifier.coerce(expr, &schema)?;
        let (_, out) = expr.to_field(&schema)?;
        if fold {
            expr = simplifier.simplify(expr)?;
        }
        let physical = create_physical_expr(
            &expr,
            &schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one)?;
        let array = physical.evaluate(&batch)?.into_array(1)?;
        assert!(
            array.is_valid(0) || array.data_type().is_null() || out.is_nullable(),
            "{sql}: NULL, but {out:?}"
        );
        assert_eq!(array.data_type(), out.data_type(), "{sql}");
        let mut shown = String::new();
        text::write_value(&mut shown, &array, 0, &out, zone);
        Ok((field::type_text(&out), shown))
    };
    compute().map_err(evaluation_error)
}

/// The text of the expression's value.
pub(super) fn eval(sql: &str) -> String {
    eval_in(sql, Tz::UTC)
}

/// As [`eval`], in a session zone.
pub(super) fn eval_in(sql: &str, zone: Tz) -> String {
    let folded = value(sql, zone, true).map_or_else(|e| format!("!! {}", e.message()), |v| v.1);
    let computed = value(sql, zone, false).map_or_else(|e| format!("!! {}", e.message()), |v| v.1);
    if !["RAND", "UUID"].iter().any(|f| sql.contains(f)) {
        assert_eq!(folded, computed, "{sql}: folding changes the value");
    }
    folded
}

/// The SQL type of the expression.
pub(super) fn type_of(sql: &str) -> String {
    value(sql, Tz::UTC, false).map_or_else(|e| format!("!! {}", e.message()), |v| v.0)
}

/// Compares a table `expression => text` with what comes out; all differences are shown at once.
pub(super) fn check(table: &str) {
    check_with(table, eval);
}

/// Compares a table `expression => type`.
pub(super) fn check_types(table: &str) {
    check_with(table, type_of);
}

fn check_with(table: &str, compute: fn(&str) -> String) {
    let mut wrong = String::new();
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (sql, want) = line.split_once("=>").unwrap_or_else(|| panic!("no => in {line}"));
        let (sql, want) = (sql.trim(), want.trim());
        let got = compute(sql);
        if got.trim() != want {
            wrong.push_str(&format!("{sql}\n   want {want}\n   got  {got}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The values of function `name` over columns and constants of `rows` rows.
pub(super) fn over_columns(name: &str, args: Vec<ColumnarValue>, rows: usize) -> ArrayRef {
    let functions = FunctionRegistry::new(Arc::new(MockClock::at(NOW)), Tz::UTC);
    let function = functions.scalar(name).unwrap();
    let arg_fields: Vec<FieldRef> =
        args.iter().map(|a| Arc::new(Field::new("", a.data_type(), true))).collect();
    let constants: Vec<Option<&ScalarValue>> = args
        .iter()
        .map(|a| match a {
            ColumnarValue::Scalar(s) => Some(s),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    let bound = ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &constants };
    let return_field = function.return_field_from_args(bound).unwrap();
    let config_options = Arc::new(ConfigOptions::default());
    let call = ScalarFunctionArgs { args, arg_fields, number_rows: rows, return_field, config_options };
    function.invoke_with_args(call).unwrap().into_array(rows).unwrap()
}
