//! `Versioned`: a table as of a time (`FOR SYSTEM_TIME AS OF`), until the join that it stands in is lowered.

use crate::sql::LookupHint;
use arrow::datatypes::DataType;
use datafusion_common::{Column, DFSchemaRef, Result, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    UserDefinedLogicalNodeCore, Volatility,
};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The input, whose versions are joined: no condition on its columns may go below.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Versioned {
    /// The table.
    pub input: LogicalPlan,
    /// The time, as written: a column of the join's left side. `None` if it is no column.
    pub at: Option<Column>,
    /// The hint LOOKUP.
    pub lookup: LookupHint,
}

impl PartialOrd for Versioned {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Versioned {
    fn name(&self) -> &str {
        "Versioned"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.input.schema().fields().iter().map(|f| f.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Versioned")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else { return plan_err!("a version needs its table") };
        Ok(Self { input, at: self.at.clone(), lookup: self.lookup.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// Name of the function that stands in a temporal join's condition: its arguments are the left side's time and, if it
/// has one, the right side's. It keeps both columns alive until the join is lowered.
pub const AS_OF: &str = "__as_of";

/// Name of the function that stands in the condition of a join as of processing time. Its arguments, a column of each side,
/// only keep it in the join.
pub const AS_OF_PROCTIME: &str = "__as_of_proctime";

/// A call of [`AS_OF`].
pub fn as_of(arguments: Vec<Expr>) -> Expr {
    call(AS_OF, arguments)
}

/// A call of [`AS_OF_PROCTIME`].
pub fn as_of_proctime(arguments: Vec<Expr>) -> Expr {
    call(AS_OF_PROCTIME, arguments)
}

fn call(name: &'static str, arguments: Vec<Expr>) -> Expr {
    let signature = Signature::variadic_any(Volatility::Stable);
    Arc::new(ScalarUDF::new_from_impl(AsOf { name, signature })).call(arguments)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOf {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for AsOf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("FOR SYSTEM_TIME AS OF only stands in joins")
    }
}
