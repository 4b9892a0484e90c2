//! UNION ALL and LIMIT.

use super::{Graph, Lowered, NewNode};
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, Edge, LimitNode, NodeId, NodeKind, Partitioning};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{common_text, retype};
use crate::sql::SqlType;
use crate::sql::data_type::{time_attribute, without_time_attribute};
use arrow::datatypes::{Field, Schema};
use datafusion_expr::logical_plan::{FetchType, Limit, SkipType, Union};
use std::sync::Arc;

impl Graph<'_> {
    pub(super) fn union(&mut self, union: &Union) -> Result<Lowered> {
        let inputs = union.inputs.iter().map(|i| self.lower(i, &[])).collect::<Result<Vec<_>>>()?;
        let Some(first) = inputs.first() else { return Err(Error::internal("a union of nothing")) };
        let mut fields = Vec::new();
        for (index, bound) in union.schema.fields().iter().enumerate() {
            let same = |other: &Lowered| {
                time_attribute(&other.fields[index]) == time_attribute(&first.fields[index])
            };
            let types: Vec<SqlType> = inputs.iter().map(|i| SqlType::of(&i.fields[index])).collect();
            let nullable = inputs.iter().any(|i| i.fields[index].is_nullable());
            let mut field =
                first.fields[index].as_ref().clone().with_nullable(nullable).with_name(bound.name());
            if !inputs.iter().all(same) {
                field = without_time_attribute(field);
            }
            if field.data_type() != bound.data_type() {
                field = Field::new(bound.name(), bound.data_type().clone(), nullable);
            }
            if types.iter().any(|t| *t != types[0]) {
                field = match common_text(&types) {
                    Some(text) => retype(field, Some(text)),
                    None => retype(field.clone(), Some(SqlType::from_arrow(field.data_type()))),
                };
            }
            fields.push(field);
        }
        let names: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        let mut nodes = Vec::new();
        for input in inputs {
            // Types agree by now; marks and lengths of texts become those of the union.
            let input = Lowered { fields: fields.iter().map(|f| Arc::new(f.clone())).collect(), ..input };
            nodes.push(self.exact(&input, &names)?);
        }
        let changelog = nodes.iter().fold(ChangelogMode::APPEND, |all, n| {
            let one = self.node(*n).changelog;
            ChangelogMode {
                update_before: all.update_before || one.update_before,
                update_after: all.update_after || one.update_after,
                delete: all.delete || one.delete,
            }
        });
        let widths: Vec<usize> = nodes.iter().map(|n| self.node(*n).parallelism).collect();
        let alike = widths.iter().all(|w| *w == widths[0]);
        // Changes of one row must stay in order, so unequal updating inputs meet in one task.
        let parallelism = match (alike, changelog.is_append()) {
            (true, _) => widths[0],
            (false, true) => widths.iter().copied().max().unwrap_or(1),
            (false, false) => 1,
        };
        let edges = nodes
            .iter()
            .zip(&widths)
            .map(|(from, width)| Edge { from: *from, partitioning: spread(*width, parallelism) })
            .collect();
        let node = self.add(NewNode {
            kind: NodeKind::Union,
            name: format!("Union(all=[true], union=[{}])", names.join(", ")),
            inputs: edges,
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog,
            shared: true,
        });
        Ok(Lowered {
            node,
            columns: (0..fields.len()).collect(),
            fields: fields.into_iter().map(Arc::new).collect(),
            windowed: None,
        })
    }

    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Lowered> {
        let constant = || Error::user("LIMIT and OFFSET take whole numbers.");
        let skip = match limit.get_skip_type().map_err(|e| translate(e, &[]))? {
            SkipType::Literal(n) => n as u64,
            SkipType::UnsupportedExpr => return Err(constant()),
        };
        let fetch = match limit.get_fetch_type().map_err(|e| translate(e, &[]))? {
            FetchType::Literal(n) => n.map(|n| n as u64),
            FetchType::UnsupportedExpr => return Err(constant()),
        };
        if let Some(sorted) = self.limit_over_sort(limit, skip, fetch)? {
            return Ok(sorted);
        }
        if fetch.is_none() && !self.context.config.is_batch() {
            return Err(Error::user("FETCH is missed, which on streaming table is not supported currently.")
                .with_hint("Write LIMIT n with OFFSET."));
        }
        let input = self.lower(&limit.input, &[])?;
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let below = self.exact(&input, &names)?;
        if !self.node(below).changelog.is_append() {
            // A row taken away lets the next one in, so all are kept.
            let width = names.len();
            let input = Lowered { node: below, columns: (0..width).collect(), ..input };
            return self.limited(input, Vec::new(), skip, fetch.unwrap_or(u64::MAX), width);
        }
        let node = self.add(NewNode {
            kind: NodeKind::Limit(LimitNode { skip, fetch }),
            name: match fetch {
                Some(n) => format!("Limit(offset=[{skip}], fetch=[{n}])"),
                None => format!("Limit(offset=[{skip}])"),
            },
            inputs: vec![self.single(below)],
            schema: Arc::clone(&self.node(below).schema),
            parallelism: 1,
            changelog: ChangelogMode::APPEND,
            shared: false,
        });
        Ok(Lowered { node, columns: (0..names.len()).collect(), ..input })
    }

    /// All rows of `from` to one task.
    pub(super) fn single(&self, from: NodeId) -> Edge {
        Edge { from, partitioning: spread(self.node(from).parallelism, 1) }
    }
}

/// How rows of `from` tasks come to `to` tasks where no key matters.
pub(super) fn spread(from: usize, to: usize) -> Partitioning {
    match (from, to) {
        (a, b) if a == b => Partitioning::Forward,
        (_, 1) => Partitioning::Single,
        _ => Partitioning::Rebalance,
    }
}
