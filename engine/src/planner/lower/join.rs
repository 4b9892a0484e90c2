//! Joins: two windowed inputs, window by window. Other joins are refused.

use super::{Graph, Lowered, NewNode, Windowed};
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, Edge, NodeKind, Partitioning, WindowJoinNode};
use crate::planner::expressions::{physical, text, unalias};
use crate::sql::data_type::without_time_attribute;
use arrow::datatypes::{Field, Schema};
use datafusion_common::{DFSchema, JoinType, NullEquality};
use datafusion_expr::logical_plan::Join;
use datafusion_expr::{Expr, binary_expr};
use datafusion_physical_expr::conjunction;
use std::sync::Arc;

impl Graph<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Lowered> {
        if join.join_type != JoinType::Inner {
            return Err(self.refuse_join(&format!("{} JOIN", join.join_type.to_string().to_uppercase())));
        }
        let left = self.lower(&join.left, &[])?;
        let right = self.lower(&join.right, &[])?;
        let (Some(l), Some(r)) = (left.windowed.clone(), right.windowed.clone()) else {
            return Err(self.refuse_join("A join of tables that are not both windowed"));
        };
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let mut keys: Vec<(usize, usize)> = Vec::new();
        let mut others: Vec<Expr> = Vec::new();
        for (a, b) in &join.on {
            match (index(a, left_schema), index(b, right_schema)) {
                (Some(a), Some(b)) => keys.push((a, b)),
                _ => others.push(binary_expr(a.clone(), datafusion_expr::Operator::Eq, b.clone())),
            }
        }
        let bound = |a: &std::collections::BTreeSet<usize>, b: &std::collections::BTreeSet<usize>| {
            keys.iter().copied().find(|(x, y)| a.contains(x) && b.contains(y))
        };
        let (Some(_), Some(end)) = (bound(&l.start, &r.start), bound(&l.end, &r.end)) else {
            return Err(self.refuse_join("A join that is not on the bounds of the same windows"));
        };
        if join.null_equality == NullEquality::NullEqualsNull {
            return Err(self.refuse_join("A window join on IS NOT DISTINCT FROM"));
        }
        let Some(origin) = l.origin.filter(|o| r.origin == Some(*o)) else {
            return Err(self.refuse_join("A join of different windows"));
        };
        if origin.proctime {
            return Err(self.refuse_join("A join of processing-time windows"));
        }
        let names = |lowered: &Lowered| lowered.fields.iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let (left_names, right_names) = (names(&left), names(&right));
        let left_node = self.exact(&left, &left_names)?;
        let right_node = self.exact(&right, &right_names)?;
        for node in [left_node, right_node] {
            self.only_inserts(
                node,
                "WindowJoin",
                "Aggregate in windows below the join, not with GROUP BY alone.",
            )?;
        }
        let conditions: Vec<Expr> = others.into_iter().chain(join.filter.clone()).collect();
        let columns: Vec<usize> = (0..join.schema.fields().len()).collect();
        let physical_conditions =
            conditions.iter().map(|e| physical(e, &join.schema, &columns)).collect::<Result<Vec<_>>>()?;
        let fields: Vec<Field> = left
            .fields
            .iter()
            .chain(&right.fields)
            .map(|f| without_time_attribute(f.as_ref().clone()))
            .collect();
        let mut on: Vec<String> =
            keys.iter().map(|(a, b)| format!("{} = {}", left_names[*a], right_names[*b])).collect();
        on.extend(conditions.iter().map(text));
        let name = format!(
            "WindowJoin(leftWindow=[{0}], rightWindow=[{0}], joinType=[InnerJoin], where=[{1}], select=[{2}])",
            origin.spec,
            on.join(" AND "),
            fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
        );
        let parallelism = self.context.config.parallelism();
        let edge = |graph: &Self, from, columns: Vec<usize>| {
            let partitioning = match graph.node(from).parallelism {
                1 if parallelism == 1 => Partitioning::Forward,
                _ => Partitioning::Hash(columns),
            };
            Edge { from, partitioning }
        };
        let inputs = vec![
            edge(self, left_node, keys.iter().map(|(a, _)| *a).collect()),
            edge(self, right_node, keys.iter().map(|(_, b)| *b).collect()),
        ];
        let node = self.add(NewNode {
            kind: NodeKind::WindowJoin(WindowJoinNode {
                window_end: end,
                zone: origin.zone,
                keys,
                condition: (!physical_conditions.is_empty()).then(|| conjunction(physical_conditions)),
            }),
            name,
            inputs,
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog: ChangelogMode::APPEND,
            shared: true,
        });
        let width = left.fields.len();
        let both = |a: &std::collections::BTreeSet<usize>, b: &std::collections::BTreeSet<usize>| {
            a.iter().copied().chain(b.iter().map(|i| i + width)).collect()
        };
        let windowed =
            Windowed { start: both(&l.start, &r.start), end: both(&l.end, &r.end), origin: Some(origin) };
        Ok(Lowered {
            node,
            columns: (0..fields.len()).collect(),
            fields: fields.into_iter().map(Arc::new).collect(),
            windowed: Some(windowed),
        })
    }

    fn refuse_join(&self, what: &str) -> Error {
        Error::unsupported(
            what,
            "Runnel joins windows of two tables: aggregate or window both in the same way, then JOIN … ON \
             l.window_start = r.window_start AND l.window_end = r.window_end.",
        )
        .at(self.join_place)
    }
}

fn index(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match unalias(expr) {
        Expr::Column(c) => schema.maybe_index_of_column(c),
        _ => None,
    }
}
