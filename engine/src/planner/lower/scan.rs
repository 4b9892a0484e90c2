//! Table scans: one source for all that read the same table, with the columns that they read together.

use super::prune::{Read, Reads, narrowed, note, note_expression};
use super::{Graph, Lowered, NewNode};
use crate::connector::Source;
use crate::error::{Error, Result};
use crate::functions::cast_expr;
use crate::plan::{ChangelogMode, ChangelogNormalizeNode, NodeId, NodeKind, SourceNode, WatermarkStrategy};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{physical, physical_column};
use crate::planner::table::{Kind, Table, unqualified};
use arrow::datatypes::{FieldRef, Schema};
use datafusion_common::Column;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::Expr;
use datafusion_expr::logical_plan::TableScan;
use datafusion_physical_expr::PhysicalExpr;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

/// A source of the graph.
#[derive(Clone)]
pub(super) struct Scan {
    node: NodeId,
    /// Index in the node's output, by index in the table.
    columns: HashMap<usize, usize>,
}

/// The table of a scan, and the indexes of the columns that it gives.
pub(super) fn table_of(scan: &TableScan) -> Result<(&Table, Vec<usize>)> {
    let any: &dyn Any = scan.source.as_ref();
    let table =
        any.downcast_ref::<Table>().ok_or_else(|| Error::internal("a scan of something that is no table"))?;
    let columns = scan.projection.clone().unwrap_or_else(|| (0..table.columns.len()).collect());
    Ok((table, columns))
}

impl Graph<'_> {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Lowered> {
        let (table, wanted) = table_of(scan)?;
        let identity = table.identity();
        let built = match self.scans.get(&identity) {
            Some(built) => built.clone(),
            None => {
                let mut needed = self.needs.get(&identity).cloned().unwrap_or_default();
                wanted
                    .iter()
                    .filter(|i| !needed.contains_key(i))
                    .copied()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|i| note(&mut needed, i, Read::Whole));
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
            fields: wanted
                .iter()
                .map(|i| Ok(Arc::clone(&self.node(built.node).schema.fields()[column(i)?])))
                .collect::<Result<_>>()?,
            windowed: None,
        })
    }

    fn source(&mut self, table: &Table, needed: &Reads) -> Result<Scan> {
        let (source, keys) = table.source(self.context)?;
        let all: Vec<FieldRef> = table.columns.iter().map(|c| Arc::clone(&c.field)).collect();
        let all_schema = unqualified(&all)?;
        let mut output = needed.clone();
        let from_connector = source.changelog();
        if !from_connector.is_append() {
            // Changes are told apart by the key.
            let key = table.definition.primary_key.as_ref().map(|k| k.columns.as_slice()).unwrap_or_default();
            let indexes = key.iter().filter_map(|name| all.iter().position(|f| f.name() == name));
            indexes.for_each(|index| note(&mut output, index, Read::Whole));
        }
        if let Some(watermark) = &table.watermark {
            if let Some(index) = all.iter().position(|f| *f.name() == watermark.column) {
                note(&mut output, index, Read::Whole);
            }
            let indexes: Vec<usize> = (0..all.len()).collect();
            note_expression(&mut output, &watermark.expression, &all_schema, &indexes);
        }
        let stored: Vec<usize> =
            (0..all.len()).filter(|i| !matches!(table.columns[*i].kind, Kind::Computed(_))).collect();
        let base: Vec<FieldRef> = stored.iter().map(|i| Arc::clone(&all[*i])).collect();
        let base_schema = unqualified(&base)?;
        let mut read = Reads::new();
        for (index, how) in &output {
            match &table.columns[*index].kind {
                Kind::Computed(expr) => note_expression(&mut read, expr, &base_schema, &stored),
                _ => note(&mut read, *index, how.clone()),
            }
        }
        let projection: Vec<FieldRef> =
            read.iter().map(|(i, how)| connector_field(table, *i, how, &keys)).collect::<Result<_>>()?;
        let output: Vec<usize> = output.into_keys().collect();
        let fields: Vec<FieldRef> = output.iter().map(|i| narrowed(&all[*i], read.get(i))).collect();
        let read: Vec<usize> = read.into_keys().collect();
        let computed = (read != output
            || projection.iter().zip(&fields).any(|(a, b)| a.data_type() != b.data_type()))
        .then(|| self.computed(table, (&output, &fields), &read, &projection))
        .transpose()?;
        let place: HashMap<usize, usize> = output.iter().enumerate().map(|(at, i)| (*i, at)).collect();
        let watermark = match &table.watermark {
            None => None,
            // Batch: time passes only at the end of input, and so nothing is late.
            Some(_) if self.context.config.is_batch() => None,
            Some(watermark) => {
                let columns: Vec<usize> =
                    (0..all.len()).map(|i| place.get(&i).copied().unwrap_or(usize::MAX)).collect();
                Some(WatermarkStrategy {
                    expression: physical(&watermark.expression, &all_schema, &columns)?,
                    idle_timeout_ms: table.idle_timeout_ms(self.context)?,
                    interval_ms: self.context.config.watermark_interval_ms(),
                    tells_each: false,
                })
            }
        };
        let changelog = source.changelog();
        let key = table.definition.primary_key.as_ref().map(|k| k.columns.as_slice()).unwrap_or_default();
        let key: Option<Vec<usize>> =
            key.iter().map(|name| fields.iter().position(|f| f.name() == name)).collect();
        let primary_key = key.unwrap_or_default();
        let upserts = changelog.update_after && !changelog.update_before;
        let repeats = !changelog.is_append()
            && !primary_key.is_empty()
            && !self.context.config.is_batch()
            && self.context.config.boolean("table.exec.source.cdc-events-duplicate");
        if upserts && primary_key.is_empty() {
            return Err(Error::user(format!(
                "Table '{}' gives updates by key, but has no PRIMARY KEY.",
                table.name
            ))
            .with_hint("Declare PRIMARY KEY (…) NOT ENFORCED."));
        }
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
                primary_key: primary_key.clone(),
                watermark,
            }),
            name,
            inputs: Vec::new(),
            schema: Arc::new(Schema::new(fields)),
            parallelism,
            changelog,
            shared: false,
        });
        let node = if upserts || repeats { self.normalized(node, primary_key) } else { node };
        Ok(Scan { node, columns: place })
    }

    /// Updates by key, or repeated changes, of a source as a changelog with whole rows.
    fn normalized(&mut self, source: NodeId, keys: Vec<usize>) -> NodeId {
        let schema = Arc::clone(&self.node(source).schema);
        let names: Vec<&str> = keys.iter().map(|k| schema.field(*k).name().as_str()).collect();
        let name = format!("ChangelogNormalize(key=[{}])", names.join(", "));
        let (edge, parallelism) = self.keyed(source, keys.clone());
        self.add(NewNode {
            kind: NodeKind::ChangelogNormalize(ChangelogNormalizeNode { keys }),
            name,
            inputs: vec![edge],
            schema,
            parallelism,
            changelog: ChangelogMode::RETRACT,
            shared: true,
        })
    }

    /// The node's columns as expressions over what the reader produces.
    fn computed(
        &self,
        table: &Table,
        (output, fields): (&[usize], &[FieldRef]),
        read: &[usize],
        projection: &[FieldRef],
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let zone = self.context.config.zone();
        let reader = unqualified(projection)?;
        let columns: Vec<usize> = (0..projection.len()).collect();
        // Metadata comes in the connector's type, and is cast to the declared one before all else.
        let declared: HashMap<&str, &FieldRef> = table
            .columns
            .iter()
            .filter(|c| matches!(c.kind, Kind::Metadata { .. }))
            .filter(|c| {
                let given = projection.iter().find(|p| p.name() == c.field.name());
                given.is_some_and(|g| g.data_type() != c.field.data_type())
            })
            .map(|c| (c.field.name().as_str(), &c.field))
            .collect();
        let cast = |expr: Expr| {
            let cast = expr.transform_up(|e| {
                Ok(match &e {
                    Expr::Column(c) => match declared.get(c.name.as_str()) {
                        Some(field) => Transformed::yes(cast_expr(e, field, false, zone)),
                        None => Transformed::no(e),
                    },
                    _ => Transformed::no(e),
                })
            });
            cast.map(|t| t.data).map_err(|e| translate(e, &[]))
        };
        output
            .iter()
            .zip(fields)
            .map(|(index, field)| {
                let expr = match &table.columns[*index].kind {
                    Kind::Computed(expr) => expr.clone(),
                    _ if !declared.contains_key(field.name().as_str()) => {
                        let Some(position) = read.iter().position(|r| r == index) else {
                            return Err(Error::internal("a column that is not read"));
                        };
                        return Ok(physical_column(field.name(), position));
                    }
                    _ => Expr::Column(Column::new_unqualified(field.name())),
                };
                physical(&cast(expr)?, &reader, &columns)
            })
            .collect()
    }
}

/// Column `index` of the table as the connector gives it.
fn connector_field(
    table: &Table,
    index: usize,
    read: &Read,
    keys: &[(String, FieldRef)],
) -> Result<FieldRef> {
    let column = &table.columns[index];
    match &column.kind {
        Kind::Metadata { key, .. } => {
            let Some((_, given)) = keys.iter().find(|(k, _)| k == key) else {
                return Err(Error::internal(format!("metadata key {key} without a type")));
            };
            Ok(Arc::new(given.as_ref().clone().with_name(column.field.name())))
        }
        _ => {
            let field = narrowed(&column.field, Some(read));
            Ok(Arc::new(crate::sql::data_type::without_time_attribute(field.as_ref().clone())))
        }
    }
}

fn parallelism(source: &dyn Source, default: usize) -> usize {
    source.max_parallelism().map_or(default, |most| default.min(most.max(1)))
}
