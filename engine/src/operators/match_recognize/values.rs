//! Expressions over the rows of matches: values of single rows, aggregates, and what is computed of them.

use super::rows::{Nodes, Rows};
use crate::error::Result;
use crate::operators::rows::{batch, evaluate, expression_error};
use crate::plan::{AggregateCall, MatchExpressions, MatchValue};
use crate::state::accumulator::accumulator;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use std::sync::Arc;

/// A match that expressions are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    /// The match so far.
    pub node: u32,
    /// A row that would come next, and the variable that would take it.
    pub next: Option<(usize, u32)>,
    /// What MATCH_ROWTIME tells.
    pub time: i64,
}

impl Subject {
    /// The next row, if it is one of `variable`.
    fn next_of(&self, variable: Option<usize>) -> Option<u32> {
        self.next.filter(|(v, _)| variable.is_none_or(|wanted| wanted == *v)).map(|(_, row)| row)
    }
}

/// Expressions over matches.
pub(super) struct Values {
    values: Vec<Value>,
    schema: SchemaRef,
    expressions: Vec<Arc<dyn PhysicalExpr>>,
}

enum Value {
    Row { variable: Option<usize>, column: usize, first: bool, offset: usize },
    Aggregate(Aggregate),
    Rowtime,
}

/// An aggregate over rows of a match, moved to the columns that it reads.
struct Aggregate {
    variable: Option<usize>,
    call: AggregateCall,
    types: Vec<DataType>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Values {
    /// `expressions` over rows of `input`.
    ///
    /// Errors: an aggregate that cannot be run.
    pub(super) fn new(expressions: &MatchExpressions, input: &SchemaRef) -> Result<Self> {
        let value = |value: &MatchValue| {
            Ok(match value {
                MatchValue::Row { variable, column, first, offset } => {
                    Value::Row { variable: *variable, column: *column, first: *first, offset: *offset }
                }
                MatchValue::Aggregate { variable, call, arguments } => {
                    Value::Aggregate(Aggregate::new(*variable, call, arguments, input)?)
                }
                MatchValue::Rowtime => Value::Rowtime,
            })
        };
        Ok(Self {
            values: expressions.values.iter().map(value).collect::<Result<_>>()?,
            schema: expressions.schema.clone(),
            expressions: expressions.expressions.clone(),
        })
    }

    /// A column for each expression, a row for each of `subjects`.
    pub(super) fn evaluate(&self, subjects: &[Subject], rows: &Rows, nodes: &Nodes) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::with_capacity(self.values.len());
        for (value, field) in self.values.iter().zip(self.schema.fields()) {
            columns.push(match value {
                Value::Row { variable, column, first, offset } => {
                    let row =
                        |s: &Subject| nodes.row(s.node, *variable, *first, *offset, s.next_of(*variable));
                    rows.column(&subjects.iter().map(row).collect::<Vec<_>>(), *column)?
                }
                Value::Aggregate(aggregate) => aggregate.evaluate(subjects, rows, nodes)?,
                Value::Rowtime => {
                    let times = TimestampMillisecondArray::from_iter_values(subjects.iter().map(|s| s.time));
                    let zone = match field.data_type() {
                        DataType::Timestamp(_, zone) => zone.clone(),
                        _ => None,
                    };
                    Arc::new(times.with_timezone_opt(zone))
                }
            });
        }
        let records = batch(&self.schema, columns, subjects.len())?;
        self.expressions.iter().map(|e| evaluate(e, &records)).collect()
    }
}

impl Aggregate {
    fn new(
        variable: Option<usize>,
        call: &AggregateCall,
        arguments: &[Arc<dyn PhysicalExpr>],
        input: &SchemaRef,
    ) -> Result<Self> {
        let mut columns: Vec<usize> = arguments
            .iter()
            .flat_map(|a| collect_columns(a).into_iter().map(|c| c.index()).collect::<Vec<_>>())
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let fields: Vec<_> = columns.iter().map(|c| input.field(*c).clone()).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let moved = |argument: &Arc<dyn PhysicalExpr>| {
            let moved = Arc::clone(argument).transform_up(|e| {
                Ok(match e.downcast_ref::<Column>() {
                    Some(column) => {
                        let at = columns.iter().position(|c| *c == column.index()).unwrap_or(column.index());
                        let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), at));
                        Transformed::yes(moved)
                    }
                    None => Transformed::no(e),
                })
            });
            Ok(moved.map_err(expression_error)?.data)
        };
        let arguments = arguments.iter().map(moved).collect::<Result<Vec<_>>>()?;
        let types = arguments.iter().map(|a| a.data_type(&schema).map_err(expression_error));
        let types = types.collect::<Result<Vec<_>>>()?;
        accumulator(call, &types, false)?;
        Ok(Self { variable, call: call.clone(), types, arguments, columns, schema })
    }

    fn evaluate(&self, subjects: &[Subject], rows: &Rows, nodes: &Nodes) -> Result<ArrayRef> {
        let (mut ids, mut groups) = (Vec::new(), Vec::new());
        for (group, subject) in subjects.iter().enumerate() {
            let begin = ids.len();
            nodes.rows(subject.node, self.variable, subject.next_of(self.variable), &mut ids);
            groups.extend(std::iter::repeat_n(group as u32, ids.len() - begin));
        }
        let mut accumulator = accumulator(&self.call, &self.types, false)?;
        accumulator.resize(subjects.len());
        if !ids.is_empty() {
            let columns = self.columns.iter().map(|c| rows.column(&ids, *c)).collect::<Result<_>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
            let records = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
            let arguments =
                self.arguments.iter().map(|a| evaluate(a, &records)).collect::<Result<Vec<_>>>()?;
            accumulator.update(&arguments, &groups, None)?;
        }
        accumulator.evaluate(&(0..subjects.len() as u32).collect::<Vec<_>>())
    }
}
