//! `Expand`: each row once for each grouping set, with NULL for the keys that are not of the set.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Output: the input's columns, a column for each key (NULL where the set has none of it), and `$e`, the number of
/// the set. A row's sets come one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Expand {
    /// The keys that not all sets have.
    pub keys: Vec<Expr>,
    /// For each set, whether it has the key.
    pub sets: Vec<Vec<bool>>,
    /// What is expanded.
    pub input: LogicalPlan,
    schema: DFSchemaRef,
}

impl Expand {
    /// Name of the column with the number of the set.
    pub const SET: &'static str = "$e";

    /// Name of the column of key `index`.
    pub fn key_name(index: usize) -> String {
        format!("$k{index}")
    }

    /// `input` for `sets` of `keys`.
    pub fn try_new(keys: Vec<Expr>, sets: Vec<Vec<bool>>, input: LogicalPlan) -> Result<Self> {
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        for (index, key) in keys.iter().enumerate() {
            let (_, field) = key.to_field(input.schema())?;
            let field = field.as_ref().clone().with_name(Self::key_name(index)).with_nullable(true);
            fields.push((None, Arc::new(field)));
        }
        fields.push((None, Arc::new(Field::new(Self::SET, DataType::Int64, false))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { keys, sets, input, schema })
    }

    /// Number of the input's columns.
    pub fn width(&self) -> usize {
        self.input.schema().fields().len()
    }
}

impl PartialOrd for Expand {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Expand {
    fn name(&self) -> &str {
        "Expand"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "Expand: keys=[{}] sets={}", keys.join(", "), self.sets.len())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else { return plan_err!("Expand needs an input") };
        Self::try_new(exprs, self.sets.clone(), input)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|i| *i < self.width()).collect();
        for key in &self.keys {
            needed.extend(key.column_refs().iter().filter_map(|c| schema.maybe_index_of_column(c)));
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
