//! What SQL writes without naming a function (operators, EXTRACT, ARRAY[…], a[1], r.f) as calls of ours.

use super::scalar::carry;
use crate::error::Error;
use arrow::datatypes::{DataType, Field};
use datafusion_common::{Column, DFSchema, Result, ScalarValue, TableReference};
use datafusion_expr::expr::{Cast, ScalarFunction};
use datafusion_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawDictionaryExpr, RawFieldAccessExpr,
};
use datafusion_expr::sqlparser::ast::BinaryOperator;
use datafusion_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF, lit};
use std::collections::HashMap;
use std::sync::Arc;

/// Plans special syntax with the functions of a registry.
#[derive(Debug)]
pub(super) struct Syntax {
    scalars: HashMap<String, Arc<ScalarUDF>>,
}

impl Syntax {
    pub fn new(scalars: HashMap<String, Arc<ScalarUDF>>) -> Self {
        Self { scalars }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        match self.scalars.get(name) {
            Some(udf) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args))),
            None => Err(carry(Error::unsupported(name.to_uppercase(), ""))),
        }
    }

    fn planned<T>(&self, name: &str, args: Vec<Expr>) -> Result<PlannerResult<T>> {
        Ok(PlannerResult::Planned(self.call(name, args)?))
    }
}

impl ExprPlanner for Syntax {
    fn plan_binary_op(&self, raw: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let name = match raw.op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::Modulo => "%",
            BinaryOperator::StringConcat => "||",
            _ => return Ok(PlannerResult::Original(raw)),
        };
        self.planned(name, vec![raw.left, raw.right])
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let container = raw.expr.get_type(schema)?;
        match raw.field_access {
            GetFieldAccess::NamedStructField { name } if matches!(container, DataType::Struct(_)) => {
                Ok(PlannerResult::Planned(get_field(raw.expr, name)))
            }
            GetFieldAccess::NamedStructField { name } => {
                self.planned("[]", vec![raw.expr, Expr::Literal(name, None)])
            }
            GetFieldAccess::ListIndex { key } => self.planned("[]", vec![raw.expr, *key]),
            GetFieldAccess::ListRange { .. } => {
                Err(carry(Error::unsupported("a[from:to]", "Write ARRAY_SLICE(a, from, to).")))
            }
        }
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, _: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("array", exprs)
    }

    /// DataFusion leaves casts out of an aggregate's name: `SUM(x)` and `SUM(CAST(x AS DOUBLE))` would be called alike.
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        for argument in &mut raw.args {
            if let Expr::Cast(Cast { expr, field }) = &*argument {
                let name = format!("CAST({} AS {})", expr.schema_name(), field.data_type());
                *argument = argument.clone().alias(name);
            }
        }
        Ok(PlannerResult::Original(raw))
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("instr", args)
    }

    fn plan_dictionary_literal(
        &self,
        raw: RawDictionaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>> {
        let pairs = raw.keys.into_iter().zip(raw.values).flat_map(|(k, v)| [k, v]).collect();
        self.planned("map", pairs)
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("extract", args)
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("substring", args)
    }

    fn plan_struct_literal(&self, args: Vec<Expr>, named: bool) -> Result<PlannerResult<Vec<Expr>>> {
        if named {
            return Err(carry(Error::unsupported(
                "A ROW with named fields",
                "Write CAST(ROW(…) AS ROW<a INT, …>).",
            )));
        }
        self.planned("row", args)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("overlay", args)
    }

    fn plan_make_map(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("map", args)
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let column = Expr::Column(Column::from((qualifier, field)));
        let nested =
            nested_names.iter().fold(column, |expr, name| get_field(expr, ScalarValue::from(name.clone())));
        Ok(PlannerResult::Planned(nested))
    }
}

/// DataFusion's own access to a field of a ROW: its optimizer rules know it.
fn get_field(row: Expr, name: ScalarValue) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(
        datafusion_functions::core::get_field(),
        vec![row, lit(name)],
    ))
}
