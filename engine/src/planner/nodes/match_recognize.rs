//! `Match`: MATCH_RECOGNIZE, with its expressions bound.

use crate::plan::{AfterMatchSkip, Quantifier};
use arrow::datatypes::FieldRef;
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::{Expr, LogicalPlan, SortExpr, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Rows that follow each other as a pattern says. Output: the columns of the partition, then the measures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Match {
    /// What is searched.
    pub input: LogicalPlan,
    /// PARTITION BY.
    pub partition: Vec<Column>,
    /// ORDER BY: columns of the input.
    pub order: Vec<SortExpr>,
    /// PATTERN: variables, each with its quantifier.
    pub pattern: Vec<(String, Quantifier)>,
    /// DEFINE: for each variable of the pattern its condition, if it has one.
    pub definitions: Vec<Option<MatchExpression>>,
    /// MEASURES: names and expressions.
    pub measures: Vec<(String, MatchExpression)>,
    /// AFTER MATCH SKIP; variables are indexes into `pattern`.
    pub skip: AfterMatchSkip,
    /// WITHIN, in milliseconds; 0 without it.
    pub within_ms: i64,
    schema: DFSchemaRef,
}

/// An expression over values of a match. Coerced already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MatchExpression {
    /// Over the columns of `schema`.
    pub expr: Expr,
    /// What the columns of `schema` are.
    pub values: Vec<Value>,
    /// A column for each value, named as it is written.
    pub schema: DFSchemaRef,
}

/// A value of a match; variables are indexes into the pattern, `None` for all rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// FIRST or LAST of a column, so many rows further.
    Row {
        /// Whose rows count.
        variable: Option<usize>,
        /// Column of the input.
        column: Column,
        /// FIRST rather than LAST.
        first: bool,
        /// Rows further.
        offset: usize,
    },
    /// An aggregate over columns of the input.
    Aggregate {
        /// Whose rows count.
        variable: Option<usize>,
        /// Its arguments are coerced.
        call: AggregateFunction,
    },
    /// MATCH_ROWTIME().
    Rowtime,
}

impl Value {
    /// Columns of the input that it reads.
    fn columns(&self) -> Vec<&Column> {
        match self {
            Self::Row { column, .. } => vec![column],
            Self::Aggregate { call, .. } => call.params.args.iter().flat_map(Expr::column_refs).collect(),
            Self::Rowtime => Vec::new(),
        }
    }
}

/// The clauses of a `Match` beside its input.
#[derive(Debug, Clone)]
pub struct Clauses {
    /// See [`Match`].
    pub partition: Vec<Column>,
    /// See [`Match`].
    pub order: Vec<SortExpr>,
    /// See [`Match`].
    pub pattern: Vec<(String, Quantifier)>,
    /// See [`Match`].
    pub definitions: Vec<Option<MatchExpression>>,
    /// See [`Match`], with the field of each.
    pub measures: Vec<(FieldRef, MatchExpression)>,
    /// See [`Match`].
    pub skip: AfterMatchSkip,
    /// See [`Match`].
    pub within_ms: i64,
}

impl Match {
    /// Over `input`.
    pub fn try_new(input: LogicalPlan, clauses: Clauses) -> Result<Self> {
        let Clauses { partition, order, pattern, definitions, measures, skip, within_ms } = clauses;
        let mut fields = Vec::new();
        for column in &partition {
            let index = input.schema().index_of_column(column)?;
            fields.push((None, Arc::clone(&input.schema().fields()[index])));
        }
        fields.extend(measures.iter().map(|(field, _)| (None, Arc::clone(field))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        let measures = measures.into_iter().map(|(f, e)| (f.name().clone(), e)).collect();
        Ok(Self { input, partition, order, pattern, definitions, measures, skip, within_ms, schema })
    }

    /// Columns of the output.
    pub fn output_schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// All expressions over matches.
    fn bound(&self) -> impl Iterator<Item = &MatchExpression> {
        self.measures.iter().map(|(_, e)| e).chain(self.definitions.iter().flatten())
    }
}

impl PartialOrd for Match {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Match {
    fn name(&self) -> &str {
        "Match"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.partition.iter().cloned().map(Expr::Column).collect()
    }

    /// A condition on a key of the partition takes out whole partitions; any other would change matches.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields()[self.partition.len()..].iter().map(|f| f.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let variables: Vec<&str> = self.pattern.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "Match: pattern=[{}]", variables.join(" "))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else { return plan_err!("a match needs an input") };
        Ok(Self { input, ..self.clone() })
    }

    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let values = self.bound().flat_map(|e| &e.values).flat_map(Value::columns);
        let order = self.order.iter().flat_map(|s| s.expr.column_refs());
        let read = self.partition.iter().chain(order).chain(values);
        let mut needed: Vec<usize> = read.filter_map(|c| schema.maybe_index_of_column(c)).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
