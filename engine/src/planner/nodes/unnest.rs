//! `Unnest`: each row of the input beside each element of an array, map or multiset.

use crate::sql::SqlType;
use arrow::datatypes::{Field, FieldRef};
use datafusion_common::{DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Output: the input's columns, then those of `elements`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unnest {
    /// What is unnested beside. A single row without columns until the join that it stands in is found.
    pub input: LogicalPlan,
    /// The array, map or multiset.
    pub expr: Expr,
    /// Columns of an element (of a map: key and value), and the ordinal number if wanted.
    pub elements: Vec<(Option<TableReference>, FieldRef)>,
    /// Whether the last column counts the elements from 1.
    pub ordinality: bool,
    /// LEFT JOIN: a row without elements comes beside NULLs.
    pub outer: bool,
    /// Of a LEFT JOIN: what must hold of row and element. Coerced already.
    pub condition: Option<Expr>,
    schema: DFSchemaRef,
}

impl Unnest {
    /// Of `expr` beside `input`.
    pub fn try_new(
        input: LogicalPlan,
        expr: Expr,
        elements: Vec<(Option<TableReference>, FieldRef)>,
        ordinality: bool,
        outer: bool,
        condition: Option<Expr>,
    ) -> Result<Self> {
        let fields = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f)));
        let fields = fields.chain(elements.iter().cloned()).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { input, expr, elements, ordinality, outer, condition, schema })
    }

    /// Number of the input's columns.
    pub fn width(&self) -> usize {
        self.input.schema().fields().len()
    }

    /// Columns of the output.
    pub fn output_schema(&self) -> &DFSchemaRef {
        &self.schema
    }
}

/// Columns of the elements of a value of `sql_type`; `None` if it has no elements.
pub fn element_fields(sql_type: &SqlType, ordinality: bool) -> Option<Vec<FieldRef>> {
    let mut fields: Vec<Field> = match sql_type {
        SqlType::Array(e) | SqlType::Multiset(e) => match &e.data_type {
            SqlType::Row(fields) => {
                fields.iter().map(|f| f.data_type.to_field(&f.name, f.nullable || e.nullable)).collect()
            }
            other => vec![other.to_field("EXPR$0", e.nullable)],
        },
        SqlType::Map(k, v) => {
            vec![k.data_type.to_field("KEY", k.nullable), v.data_type.to_field("VALUE", v.nullable)]
        }
        _ => return None,
    };
    if ordinality {
        fields.push(SqlType::Int.to_field("ORDINALITY", false));
    }
    Some(fields.into_iter().map(Arc::new).collect())
}

impl PartialOrd for Unnest {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Unnest {
    fn name(&self) -> &str {
        "Unnest"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.expr.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.elements.iter().map(|(_, f)| f.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Unnest: {}", self.expr)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(expr), Some(input)) = (exprs.into_iter().next(), inputs.into_iter().next()) else {
            return plan_err!("an unnest needs its value and an input");
        };
        Self::try_new(input, expr, self.elements.clone(), self.ordinality, self.outer, self.condition.clone())
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|i| *i < self.width()).collect();
        let read = std::iter::once(&self.expr).chain(&self.condition).flat_map(Expr::column_refs);
        needed.extend(read.filter_map(|c| schema.maybe_index_of_column(c)));
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
