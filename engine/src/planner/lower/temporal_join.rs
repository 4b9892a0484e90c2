//! Joins with a table as of a time.

use super::join::JoinInputs;
use super::scan::table_of;
use super::{Graph, Lowered};
use crate::error::{Error, Result};
use crate::plan::{JoinType, NodeKind, TemporalJoinNode};
use crate::planner::changelog::upsert_keys;
use crate::planner::diagnostics::translate;
use crate::planner::expressions::unalias;
use crate::planner::nodes::{AS_OF, Versioned};
use crate::planner::rules::temporal::{ONLY_LEFT_TIME, versioned};
use crate::sql::data_type::{TimeKind, time_attribute};
use arrow::datatypes::FieldRef;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, TableReference};
use datafusion_expr::logical_plan::Join;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The arguments of the mark of a temporal join, if `expr` is that.
pub(super) fn as_of(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == AS_OF => Some(&call.args),
        _ => None,
    }
}

/// Whether the join is with a table as of a time.
pub(super) fn is_temporal(join: &Join) -> bool {
    join.filter.iter().flat_map(split_conjunction).any(|e| as_of(e).is_some())
}

/// The right side of a temporal join, seen through: filters over the table as of a time hold of the version that is found,
/// not of the versions that there are.
struct Versions<'a> {
    input: &'a LogicalPlan,
    /// For each column of the side, the table's column.
    columns: Vec<usize>,
    /// Over the table's columns, called `VERSION`.
    filters: Vec<Expr>,
}

/// Qualifier of the table's columns in filters.
const VERSION: &str = "__version";

fn versions(plan: &LogicalPlan) -> Result<Versions<'_>> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => versions(&alias.input),
        LogicalPlan::Filter(filter) => {
            let mut below = versions(&filter.input)?;
            let schema = filter.input.schema();
            let moved = filter.predicate.clone().transform_up(|e| {
                let index = match &e {
                    Expr::Column(c) => schema.maybe_index_of_column(c),
                    _ => None,
                };
                Ok(match index.and_then(|i| below.columns.get(i)) {
                    Some(at) => {
                        let name = below.input.schema().field(*at).name();
                        Transformed::yes(Expr::Column(Column::new(Some(VERSION), name)))
                    }
                    None => Transformed::no(e),
                })
            });
            below.filters.push(moved.map_err(|e| translate(e, &[]))?.data);
            Ok(below)
        }
        LogicalPlan::Projection(projection) => {
            let mut below = versions(&projection.input)?;
            let schema = projection.input.schema();
            let column = |e: &Expr| match unalias(e) {
                Expr::Column(c) => {
                    schema.maybe_index_of_column(c).and_then(|i| below.columns.get(i).copied())
                }
                _ => None,
            };
            let columns: Option<Vec<usize>> = projection.expr.iter().map(column).collect();
            below.columns =
                columns.ok_or_else(|| Error::internal("a computed column of a table as of a time"))?;
            Ok(below)
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Versioned>() {
            Some(versioned) => Ok(Versions {
                input: &versioned.input,
                columns: (0..versioned.input.schema().fields().len()).collect(),
                filters: Vec::new(),
            }),
            None => Err(Error::internal("a temporal join with something that is no table")),
        },
        _ => Err(Error::internal("a temporal join with something that is no table")),
    }
}

impl Graph<'_> {
    /// The right side of a temporal join with the columns that its filters read, its schema, and those filters.
    pub(super) fn versions(&mut self, plan: &LogicalPlan) -> Result<(Lowered, DFSchema, Vec<Expr>)> {
        let versions = versions(plan)?;
        let table = self.lower(versions.input, &[])?;
        let mut picks = versions.columns.clone();
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            plan.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        if !versions.filters.is_empty() {
            let all = versions.input.schema().fields();
            picks.extend(0..all.len());
            fields.extend(all.iter().map(|f| (Some(TableReference::bare(VERSION)), Arc::clone(f))));
        }
        let schema =
            DFSchema::new_with_metadata(fields, Default::default()).map_err(|e| translate(e, &[]))?;
        let named = |i: usize| {
            let field = table.fields[picks[i]].as_ref().clone();
            Arc::new(field.with_name(schema.field(i).name()))
        };
        let right = Lowered {
            node: table.node,
            columns: picks.iter().map(|i| table.columns[*i]).collect(),
            fields: (0..picks.len()).map(named).collect(),
            windowed: None,
        };
        Ok((right, schema, versions.filters))
    }
}

impl Graph<'_> {
    /// The join on event time, if it is one.
    ///
    /// Errors: a versioned table without what it needs, in Flink's words.
    pub(super) fn temporal_join(
        &mut self,
        join: &Join,
        inputs: &JoinInputs,
        join_type: JoinType,
    ) -> Result<Option<Lowered>> {
        let Some(mark) = inputs.conditions.iter().find_map(as_of) else { return Ok(None) };
        let [left_width, _] = inputs.widths();
        let index = |e: Option<&Expr>| match e {
            Some(Expr::Column(c)) => inputs.schema.maybe_index_of_column(c),
            _ => None,
        };
        let Some(left_time) = index(mark.first()) else {
            return Err(Error::internal("a temporal join without its time"));
        };
        let left_kind = inputs.left.fields.get(left_time).and_then(|f| time_attribute(f));
        if left_kind.is_none() {
            return Err(Error::user(ONLY_LEFT_TIME)
                .with_hint("Write l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k, where ts is the column of l's WATERMARK or PROCTIME().")
                .at(self.join_place));
        }
        if left_kind != Some(TimeKind::Rowtime) {
            return Err(self.refuse_join(
                "FOR SYSTEM_TIME AS OF processing time on a table that cannot be looked up",
                "Use the left table's event time, or a table whose connector can be looked up.",
            ));
        }
        let declared = versioned(&join.right).map(|v| primary_key(&v.input)).transpose()?.flatten();
        // A view keeps the last row of each key where it is a deduplication, an aggregate, ….
        let found = upsert_keys(&self.nodes, inputs.nodes[1]);
        if declared.is_none() && found.is_empty() {
            return Err(Error::user(
                "Temporal Table Join requires primary key in versioned table, but no primary key can be found.",
            )
            .with_hint("Declare PRIMARY KEY (k) NOT ENFORCED in the table's CREATE TABLE.")
            .at(self.join_place));
        }
        let Some(right_time) = index(mark.get(1)).and_then(|i| i.checked_sub(left_width)) else {
            return Err(Error::user(
                "Event-Time Temporal Table Join requires both primary key and row time attribute in versioned table, but \
                 no row time attribute can be found.",
            )
            .with_hint("Declare WATERMARK FOR ts AS … in the table's CREATE TABLE.")
            .at(self.join_place));
        };
        if inputs.keys.is_empty() {
            return Err(Error::user("Currently the join key in Temporal Table Join can not be empty.")
                .with_hint("Compare the table's primary key with `=`.")
                .at(self.join_place));
        }
        let equal: Vec<&str> = inputs
            .keys
            .iter()
            .filter_map(|k| inputs.right.fields.get(k.right).map(|f| f.name().as_str()))
            .collect();
        let on: BTreeSet<usize> = inputs.keys.iter().map(|k| k.right).collect();
        let covered = match &declared {
            Some(key) => key.iter().all(|k| equal.contains(&k.as_str())),
            None => found.iter().any(|k| k.is_subset(&on)),
        };
        if !covered {
            let key = declared.unwrap_or_default();
            return Err(Error::user(format!(
                "Temporal table's primary key [{}] must be included in the equivalence condition of temporal join, but \
                 current temporal join condition is [{}].",
                key.join(", "),
                inputs.without_marks().text(self)
            ))
            .with_hint("Compare all of the key's columns with `=` in ON.")
            .at(self.join_place));
        }
        let rest = inputs.without_marks();
        let name = format!(
            "TemporalJoin(joinType=[{}], where=[{}], select=[{}])",
            join_type.name(),
            rest.text(self),
            self.joined_names(inputs, join_type).join(", "),
        );
        let changelog = self.node(inputs.nodes[0]).changelog;
        let kind = NodeKind::TemporalJoin(TemporalJoinNode {
            join_type,
            keys: inputs.keys.clone(),
            left_time,
            right_time,
            condition: rest.condition(self)?,
        });
        let fields = self.joined_fields(inputs, join_type, true);
        let mut joined = self.join_node(&rest, kind, name, fields, join_type, changelog)?;
        let width = join.schema.fields().len();
        joined.columns.truncate(width);
        joined.fields.truncate(width);
        Ok(Some(joined))
    }
}

/// Names of the primary key's columns of the table that `plan` reads, as `plan` calls them; `None` without one.
fn primary_key(plan: &LogicalPlan) -> Result<Option<Vec<String>>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let (table, _) = table_of(scan)?;
            let key = table.definition.primary_key.as_ref().map(|k| k.columns.clone());
            Ok(key.filter(|k| !k.is_empty()))
        }
        LogicalPlan::SubqueryAlias(alias) => primary_key(&alias.input),
        LogicalPlan::Filter(filter) => primary_key(&filter.input),
        LogicalPlan::Projection(projection) => {
            let Some(key) = primary_key(&projection.input)? else { return Ok(None) };
            let renamed = key.iter().map(|k| {
                let at = projection.expr.iter().position(
                    |e| matches!(crate::planner::expressions::unalias(e), Expr::Column(c) if c.name == *k),
                )?;
                Some(projection.schema.field(at).name().clone())
            });
            Ok(renamed.collect())
        }
        _ => Ok(None),
    }
}

/// So that the rule's mark may be dropped from a condition.
impl JoinInputs {
    pub(super) fn without_marks(&self) -> Self {
        let kept = self.conditions.iter().filter(|e| as_of(e).is_none()).cloned().collect();
        self.with_conditions(kept)
    }
}
