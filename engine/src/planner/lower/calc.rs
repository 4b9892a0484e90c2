//! Projections and filters: one `Calc` for each run of them.

use super::{Graph, Lowered};
use crate::error::Result;
use crate::planner::diagnostics::translate;
use crate::planner::explain;
use crate::planner::expressions::{field_of, physical, physical_column, text, unalias};
use arrow::datatypes::{Field, FieldRef};
use datafusion_common::DFSchemaRef;
use datafusion_expr::logical_plan::{Filter, Projection};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::{PhysicalExpr, conjunction};
use std::sync::Arc;

/// The filters under a node, through aliases, and what is below them.
pub(super) fn peel(mut plan: &LogicalPlan) -> (Vec<(&Expr, &DFSchemaRef)>, &LogicalPlan) {
    let mut filters = Vec::new();
    loop {
        plan = match plan {
            LogicalPlan::SubqueryAlias(alias) if !matches!(alias.input.as_ref(), LogicalPlan::Sort(_)) => &alias.input,
            LogicalPlan::Filter(filter) => {
                filters.push((&filter.predicate, filter.input.schema()));
                &filter.input
            }
            other => return (filters, other),
        };
    }
}

impl Graph<'_> {
    pub(super) fn projection(&mut self, projection: &Projection) -> Result<Lowered> {
        let (filters, base) = peel(&projection.input);
        let schema = projection.input.schema();
        let sources: Vec<Option<usize>> = projection
            .expr
            .iter()
            .map(|e| match unalias(e) {
                Expr::Column(c) => schema.maybe_index_of_column(c),
                _ => None,
            })
            .collect();
        let mut names = vec![None; schema.fields().len()];
        for (output, source) in sources.iter().enumerate() {
            if let Some(slot) = source.and_then(|s| names.get_mut(s)) {
                *slot = Some(projection.schema.field(output).name().clone());
            }
        }
        let input = self.lower(base, &names)?;
        let fields = projection
            .expr
            .iter()
            .enumerate()
            .map(|(i, e)| {
                let field = field_of(e, schema, Some(&input.fields)).map_err(|e| translate(e, &[]))?;
                Ok(typed_as(field, projection.schema.field(i)))
            })
            .collect::<Result<Vec<Field>>>()?;
        let windowed = input.windowed.as_ref().map(|w| w.through(&sources));
        if filters.is_empty() && sources.iter().all(Option::is_some) {
            let columns = sources.iter().flatten().map(|s| input.columns[*s]).collect();
            return Ok(Lowered { node: input.node, columns, fields: fields.into_iter().map(Arc::new).collect(), windowed });
        }
        let exprs = projection
            .expr
            .iter()
            .map(|e| physical(e, schema, &input.columns))
            .collect::<Result<Vec<_>>>()?;
        let texts = projection.expr.iter().zip(&fields).map(|(e, f)| explain::aliased(&text(e), f.name())).collect();
        let volatile = projection.expr.iter().chain(filters.iter().map(|(e, _)| *e)).any(Expr::is_volatile);
        self.calc(&input, &filters, exprs, fields, texts, !volatile).map(|l| Lowered { windowed, ..l })
    }

    pub(super) fn filter(&mut self, filter: &Filter, names: &[Option<String>]) -> Result<Lowered> {
        let (inner, base) = peel(&filter.input);
        let mut filters = vec![(&filter.predicate, filter.input.schema())];
        filters.extend(inner);
        let input = self.lower(base, names)?;
        self.filtered(input, &filters)
    }

    /// The rows of `input` for which all `filters` are true.
    pub(super) fn filtered(&mut self, input: Lowered, filters: &[(&Expr, &DFSchemaRef)]) -> Result<Lowered> {
        let fields: Vec<Field> = input.fields.iter().map(|f: &FieldRef| f.as_ref().clone()).collect();
        let exprs = input.columns.iter().zip(&fields).map(|(c, f)| physical_column(f.name(), *c)).collect();
        let texts = fields.iter().map(|f| f.name().clone()).collect();
        let volatile = filters.iter().any(|(e, _)| e.is_volatile());
        let windowed = input.windowed.clone();
        self.calc(&input, filters, exprs, fields, texts, !volatile).map(|l| Lowered { windowed, ..l })
    }

    /// A `Calc` over `input`; its output is exactly `fields`.
    pub(super) fn calc(
        &mut self,
        input: &Lowered,
        filters: &[(&Expr, &DFSchemaRef)],
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        fields: Vec<Field>,
        texts: Vec<String>,
        shared: bool,
    ) -> Result<Lowered> {
        let conditions =
            filters.iter().map(|(e, schema)| physical(e, schema, &input.columns)).collect::<Result<Vec<_>>>()?;
        let filter = (!conditions.is_empty()).then(|| conjunction(conditions));
        let condition = (!filters.is_empty())
            .then(|| filters.iter().map(|(e, _)| text(e)).collect::<Vec<_>>().join(" AND "));
        let name = explain::calc(texts, condition);
        let (edge, _) = self.forward(input.node);
        let node = self.calc_node(edge, filter, exprs, fields.clone(), name, shared);
        Ok(Lowered {
            node,
            columns: (0..fields.len()).collect(),
            fields: fields.into_iter().map(Arc::new).collect(),
            windowed: None,
        })
    }
}

/// `field` with the SQL type that binding gave the column, which optimized expressions may have lost.
fn typed_as(field: Field, bound: &Field) -> Field {
    let field = field.with_name(bound.name());
    let sql_type = crate::sql::SqlType::of(bound);
    if crate::sql::SqlType::of(&field) == sql_type {
        return field;
    }
    crate::planner::expressions::retype(field, Some(sql_type))
}
