//! Table scans: one source for all that read the same table, with the columns that they read together.

use super::{Graph, Lowered, NewNode};
use crate::connector::Source;
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, NodeId, NodeKind, SourceNode, WatermarkStrategy};
use crate::planner::diagnostics::{carry, translate};
use crate::planner::expressions::{columns_read, physical, physical_column};
use crate::planner::table::{Kind, Table, unqualified};
use arrow::datatypes::{FieldRef, Schema};
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_expr::logical_plan::TableScan;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, TableSource};
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A source of the graph.
#[derive(Clone)]
pub(super) struct Scan {
    node: NodeId,
    /// Index in the node's output, by index in the table.
    columns: HashMap<usize, usize>,
}

fn table(source: &Arc<dyn TableSource>) -> Result<&Table> {
    let any: &dyn Any = source.as_ref();
    any.downcast_ref::<Table>().ok_or_else(|| Error::internal("a scan of something that is no table"))
}

fn projected(scan: &TableScan, table: &Table) -> Vec<usize> {
    scan.projection.clone().unwrap_or_else(|| (0..table.columns.len()).collect())
}

/// Columns that all scans of each table read together.
pub(super) fn needs(plans: &[&LogicalPlan]) -> Result<HashMap<String, BTreeSet<usize>>> {
    let mut needs: HashMap<String, BTreeSet<usize>> = HashMap::new();
    for plan in plans {
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let table = table(&scan.source).map_err(carry)?;
                needs.entry(table.identity()).or_default().extend(projected(scan, table));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|e| translate(e, &[]))?;
    }
    Ok(needs)
}

impl Graph<'_> {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Lowered> {
        let table = table(&scan.source)?;
        let identity = table.identity();
        let wanted = projected(scan, table);
        let built = match self.scans.get(&identity) {
            Some(built) => built.clone(),
            None => {
                let mut needed = self.needs.get(&identity).cloned().unwrap_or_default();
                needed.extend(wanted.iter().copied());
                let built = self.source(table, &needed)?;
                self.scans.insert(identity, built.clone());
                built
            }
        };
        let column = |i: &usize| {
            built
                .columns
                .get(i)
                .copied()
                .ok_or_else(|| Error::internal("a scan without a column that it needs"))
        };
        Ok(Lowered {
            node: built.node,
            columns: wanted.iter().map(column).collect::<Result<_>>()?,
            fields: wanted.iter().map(|i| Arc::clone(&table.columns[*i].field)).collect(),
            windowed: None,
        })
    }

    fn source(&mut self, table: &Table, needed: &BTreeSet<usize>) -> Result<Scan> {
        let (source, keys) = table.source(self.context)?;
        let all: Vec<FieldRef> = table.columns.iter().map(|c| Arc::clone(&c.field)).collect();
        let all_schema = unqualified(&all)?;
        let mut output = needed.clone();
        if let Some(watermark) = &table.watermark {
            output.extend(all.iter().position(|f| *f.name() == watermark.column));
            output.extend(columns_read([&watermark.expression], &all_schema));
        }
        let stored: Vec<usize> =
            (0..all.len()).filter(|i| !matches!(table.columns[*i].kind, Kind::Computed(_))).collect();
        let base: Vec<FieldRef> = stored.iter().map(|i| Arc::clone(&all[*i])).collect();
        let base_schema = unqualified(&base)?;
        let mut read: BTreeSet<usize> = BTreeSet::new();
        for index in &output {
            match &table.columns[*index].kind {
                Kind::Computed(expr) => {
                    read.extend(columns_read([expr], &base_schema).iter().map(|i| stored[*i]))
                }
                _ => {
                    read.insert(*index);
                }
            }
        }
        let read: Vec<usize> = read.into_iter().collect();
        let projection: Vec<FieldRef> =
            read.iter().map(|i| connector_field(table, *i, &keys)).collect::<Result<_>>()?;
        let output: Vec<usize> = output.into_iter().collect();
        let fields: Vec<FieldRef> = output.iter().map(|i| Arc::clone(&all[*i])).collect();
        let computed = (read != output
            || projection.iter().zip(&fields).any(|(a, b)| a.data_type() != b.data_type()))
        .then(|| self.computed(table, &output, &read, &projection, &base_schema, &stored))
        .transpose()?;
        let place: HashMap<usize, usize> = output.iter().enumerate().map(|(at, i)| (*i, at)).collect();
        let watermark = match &table.watermark {
            None => None,
            Some(watermark) => {
                let columns: Vec<usize> =
                    (0..all.len()).map(|i| place.get(&i).copied().unwrap_or(usize::MAX)).collect();
                Some(WatermarkStrategy {
                    expression: physical(&watermark.expression, &all_schema, &columns)?,
                    idle_timeout_ms: table.idle_timeout_ms(self.context)?,
                    interval_ms: self.context.config.watermark_interval_ms(),
                })
            }
        };
        let changelog = source.changelog();
        refuse_upserts(table, changelog)?;
        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        let declared = match &table.definition.watermark {
            Some(w) => format!(", watermark=[{}]", w.expression),
            None => String::new(),
        };
        let name = format!(
            "TableSourceScan(table=[[{}, {}, {}]]{declared}, fields=[{}])",
            table.name.catalog,
            table.name.database,
            table.name.object,
            names.join(", ")
        );
        let parallelism = parallelism(source.as_ref(), self.context.config.parallelism());
        let node = self.add(NewNode {
            kind: NodeKind::Source(SourceNode {
                table: table.name.to_string(),
                source,
                projection: Arc::new(Schema::new(projection)),
                computed,
                watermark,
            }),
            name,
            inputs: Vec::new(),
            schema: Arc::new(Schema::new(fields)),
            parallelism,
            changelog,
            shared: false,
        });
        Ok(Scan { node, columns: place })
    }

    /// The node's columns as expressions over what the reader produces.
    fn computed(
        &self,
        table: &Table,
        output: &[usize],
        read: &[usize],
        projection: &[FieldRef],
        base_schema: &datafusion_common::DFSchema,
        stored: &[usize],
    ) -> Result<Vec<Arc<dyn datafusion_physical_expr::PhysicalExpr>>> {
        let reader = unqualified(projection)?;
        let at = |index: usize| read.iter().position(|r| *r == index);
        let columns: Vec<usize> = stored.iter().map(|i| at(*i).unwrap_or(usize::MAX)).collect();
        output
            .iter()
            .map(|index| {
                let column = &table.columns[*index];
                if let Kind::Computed(expr) = &column.kind {
                    // Metadata comes in the connector's type, so it is cast before it is computed with.
                    let expr = cast_metadata(expr.clone(), table, base_schema, &reader)?;
                    return physical(&expr, base_schema, &columns);
                }
                let Some(position) = at(*index) else {
                    return Err(Error::internal("a column that is not read"));
                };
                let field = &projection[position];
                if field.data_type() == column.field.data_type() {
                    return Ok(physical_column(field.name(), position));
                }
                let expr = Expr::Column(datafusion_common::Column::new_unqualified(field.name()));
                let cast = expr.cast_to(column.field.data_type(), &reader).map_err(|e| translate(e, &[]))?;
                physical(&cast, &reader, &(0..projection.len()).collect::<Vec<_>>())
            })
            .collect()
    }
}

/// Errors if a computed column reads metadata whose type the connector gives differently.
fn cast_metadata(
    expr: Expr,
    table: &Table,
    base: &datafusion_common::DFSchema,
    reader: &datafusion_common::DFSchema,
) -> Result<Expr> {
    for column in expr.column_refs() {
        let (Ok(declared), Ok(given)) = (base.field_from(column), reader.field_from(column)) else {
            continue;
        };
        if declared != given {
            return Err(Error::unsupported(
                format!(
                    "A computed column of table '{}' over metadata column '{}', which the connector gives as {given}",
                    table.name, column.name
                ),
                "Declare the metadata column with the connector's own type, or compute in the query.",
            ));
        }
    }
    Ok(expr)
}

trait FieldFrom {
    fn field_from(&self, column: &datafusion_common::Column) -> Result<crate::sql::SqlType>;
}

impl FieldFrom for datafusion_common::DFSchema {
    fn field_from(&self, column: &datafusion_common::Column) -> Result<crate::sql::SqlType> {
        use datafusion_common::ExprSchema;
        let field = self.field_from_column(column).map_err(|e| translate(e, &[]))?;
        Ok(crate::sql::SqlType::from_arrow(field.data_type()))
    }
}

/// Column `index` of the table as the connector gives it.
fn connector_field(table: &Table, index: usize, keys: &[(String, FieldRef)]) -> Result<FieldRef> {
    let column = &table.columns[index];
    match &column.kind {
        Kind::Metadata { key, .. } => {
            let Some((_, given)) = keys.iter().find(|(k, _)| k == key) else {
                return Err(Error::internal(format!("metadata key {key} without a type")));
            };
            Ok(Arc::new(given.as_ref().clone().with_name(column.field.name())))
        }
        _ => Ok(Arc::new(crate::sql::data_type::without_time_attribute(column.field.as_ref().clone()))),
    }
}

fn parallelism(source: &dyn Source, default: usize) -> usize {
    source.max_parallelism().map_or(default, |most| default.min(most.max(1)))
}

fn refuse_upserts(table: &Table, changelog: ChangelogMode) -> Result<()> {
    if changelog.update_after && !changelog.update_before {
        return Err(Error::unsupported(
            format!("Reading table '{}' as updates by key (upserts)", table.name),
            "Read the topic with an append-only connector and a format that holds whole rows.",
        ));
    }
    Ok(())
}
