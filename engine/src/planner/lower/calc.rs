//! Projections and filters: one `Calc` for each run of them.

use super::{Graph, Lowered};
use crate::error::Result;
use crate::plan::{Edge, NodeId, NodeKind};
use crate::planner::diagnostics::translate;
use crate::planner::explain;
use crate::planner::expressions::{field_of, physical, physical_column, text, unalias};
use arrow::datatypes::{Field, FieldRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, DFSchemaRef};
use datafusion_expr::logical_plan::{Filter, Projection};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::expressions::Column as PhysicalColumn;
use datafusion_physical_expr::{PhysicalExpr, conjunction};
use std::sync::Arc;

/// The filters under a node, through aliases, and what is below them.
pub(super) fn peel(mut plan: &LogicalPlan) -> (Vec<(&Expr, &DFSchemaRef)>, &LogicalPlan) {
    let mut filters = Vec::new();
    loop {
        plan = match plan {
            LogicalPlan::SubqueryAlias(alias) if !matches!(alias.input.as_ref(), LogicalPlan::Sort(_)) => {
                &alias.input
            }
            LogicalPlan::Filter(filter) => {
                filters.push((&filter.predicate, filter.input.schema()));
                &filter.input
            }
            other => return (filters, other),
        };
    }
}

impl Graph<'_> {
    pub(super) fn projection(
        &mut self,
        projection: &Projection,
        wanted: &[Option<String>],
    ) -> Result<Lowered> {
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
                let own = projection.schema.field(output).name();
                let own = (!is_generated(own)).then(|| own.clone());
                *slot = wanted.get(output).cloned().flatten().or(own);
            }
        }
        let read = crate::planner::expressions::columns_read(&projection.expr, schema);
        let (input, filters) = self.peeled(filters, base, &names, &|c| read.contains(&c))?;
        let filters: Vec<(&Expr, &DFSchemaRef)> = filters.iter().map(|(e, s)| (e, *s)).collect();
        let fields = projection
            .expr
            .iter()
            .enumerate()
            .map(|(i, e)| {
                let field = field_of(e, schema, Some(&input.fields)).map_err(|e| translate(e, &[]))?;
                let name = match (is_generated(projection.schema.field(i).name()), sources[i]) {
                    (true, Some(source)) => input.fields[source].name().clone(),
                    _ => projection.schema.field(i).name().clone(),
                };
                Ok(typed_as(field, projection.schema.field(i)).with_name(name))
            })
            .collect::<Result<Vec<Field>>>()?;
        let windowed = input.windowed.as_ref().map(|w| w.through(&sources));
        if filters.is_empty() && sources.iter().all(Option::is_some) {
            let columns = sources.iter().flatten().map(|s| input.columns[*s]).collect();
            return Ok(Lowered {
                node: input.node,
                columns,
                fields: fields.into_iter().map(Arc::new).collect(),
                windowed,
            });
        }
        let exprs = projection
            .expr
            .iter()
            .map(|e| physical(e, schema, &input.columns))
            .collect::<Result<Vec<_>>>()?;
        let texts = projection
            .expr
            .iter()
            .zip(&fields)
            .map(|(e, f)| explain::aliased(&text(&named(e, schema, &input)), f.name()))
            .collect();
        let volatile = projection.expr.iter().chain(filters.iter().map(|(e, _)| *e)).any(Expr::is_volatile);
        self.calc(&input, &filters, exprs, fields, texts, !volatile).map(|l| Lowered { windowed, ..l })
    }

    pub(super) fn filter(&mut self, filter: &Filter, names: &[Option<String>]) -> Result<Lowered> {
        let (inner, base) = peel(&filter.input);
        let mut filters = vec![(&filter.predicate, filter.input.schema())];
        filters.extend(inner);
        let (input, filters) = self.peeled(filters, base, names, &|_| true)?;
        if filters.is_empty() {
            return Ok(input);
        }
        let filters: Vec<(&Expr, &DFSchemaRef)> = filters.iter().map(|(e, s)| (e, *s)).collect();
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

    /// What a `Calc` over `from` reads. If that is a filter of columns which nothing else reads, the new one takes its
    /// place.
    #[allow(clippy::type_complexity, reason = "the parts of one operator")]
    fn over_calc(
        &mut self,
        from: NodeId,
        filter: Option<Arc<dyn PhysicalExpr>>,
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        texts: Vec<String>,
        condition: Option<String>,
    ) -> Result<(Edge, Option<Arc<dyn PhysicalExpr>>, Vec<Arc<dyn PhysicalExpr>>, Vec<String>, Option<String>)>
    {
        let below = self.node(from);
        let (NodeKind::Calc(calc), true) = (&below.kind, from.0 + 1 == self.nodes.len()) else {
            return Ok((self.forward(from).0, filter, exprs, texts, condition));
        };
        let columns: Option<Vec<(String, usize)>> = calc
            .projection
            .iter()
            .map(|e| e.downcast_ref::<PhysicalColumn>().map(|c| (c.name().to_string(), c.index())))
            .collect();
        let Some(columns) = columns else {
            return Ok((self.forward(from).0, filter, exprs, texts, condition));
        };
        let through = |expr: Arc<dyn PhysicalExpr>| {
            let moved = expr.transform_up(|e| {
                Ok(match e.downcast_ref::<PhysicalColumn>().and_then(|c| columns.get(c.index())) {
                    Some((name, index)) => Transformed::yes(physical_column(name, *index)),
                    None => Transformed::no(e),
                })
            });
            moved.map(|t| t.data).map_err(|e| translate(e, &[]))
        };
        let exprs = exprs.into_iter().map(through).collect::<Result<Vec<_>>>()?;
        let filter = filter.map(through).transpose()?;
        let filter = match (calc.filter.clone(), filter) {
            (Some(a), Some(b)) => Some(conjunction([a, b])),
            (a, b) => a.or(b),
        };
        let condition = match (explain::condition(&below.name), condition) {
            (Some(a), Some(b)) => Some(format!("{a} AND {b}")),
            (a, b) => a.or(b),
        };
        let edge = below.inputs[0].clone();
        self.take_back(from);
        Ok((edge, filter, exprs, texts, condition))
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
        let conditions = filters
            .iter()
            .map(|(e, schema)| physical(e, schema, &input.columns))
            .collect::<Result<Vec<_>>>()?;
        let filter = (!conditions.is_empty()).then(|| conjunction(conditions));
        let condition = (!filters.is_empty()).then(|| {
            filters.iter().map(|(e, s)| text(&named(e, s, input))).collect::<Vec<_>>().join(" AND ")
        });
        let (edge, filter, exprs, texts, condition) =
            self.over_calc(input.node, filter, exprs, texts, condition)?;
        let name = explain::calc(texts, condition);
        let node = self.calc_node(edge, filter, exprs, fields.clone(), name, shared);
        Ok(Lowered {
            node,
            columns: (0..fields.len()).collect(),
            fields: fields.into_iter().map(Arc::new).collect(),
            windowed: None,
        })
    }
}

/// Whether DataFusion made the name up: that of an aggregate.
fn is_generated(name: &str) -> bool {
    name.contains('(')
}

/// The expression with columns called as the operator below calls them.
pub(super) fn named(expr: &Expr, schema: &DFSchema, input: &Lowered) -> Expr {
    let renamed = expr.clone().transform_up(|e| {
        Ok(match &e {
            Expr::Column(c) => match schema.maybe_index_of_column(c).and_then(|i| input.fields.get(i)) {
                Some(field) => Transformed::yes(Expr::Column(Column::new_unqualified(field.name()))),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    });
    renamed.map_or_else(|_| expr.clone(), |t| t.data)
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
