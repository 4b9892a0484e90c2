//! Which row kinds go from operator to operator: whether `-U` is told or left out, the keys of updates, and what of
//! an updated row can only grow. The rules are those of Flink's planner.
//!
//! Each operator is lowered as if it told all it can. When the graph is complete, [`infer`] walks it from the sinks
//! down: where nobody needs `-U`, nobody makes it.

use crate::plan::{
    ChangelogMode, DropUpdateBeforeNode, Edge, JoinKey, JoinType, LookupJoinNode, NodeId, NodeKind,
    OperatorId, Partitioning, RankEnd, StreamNode, TopNStrategy,
};
use datafusion_physical_expr::expressions::Column as PhysicalColumn;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Columns that together tell which row is updated.
pub(super) type Key = BTreeSet<usize>;

/// The keys of the rows that `id` emits: a change with the same values in a key concerns the same row. None for rows
/// that have no identity.
pub(super) fn upsert_keys(nodes: &[StreamNode], id: NodeId) -> Vec<Key> {
    let node = &nodes[id.0];
    let input = |i: usize| node.inputs.get(i).map_or_else(Vec::new, |e| upsert_keys(nodes, e.from));
    match &node.kind {
        NodeKind::Source(source) if !source.primary_key.is_empty() => {
            vec![source.primary_key.iter().copied().collect()]
        }
        NodeKind::Calc(calc) => {
            let sources: Vec<Option<usize>> = calc
                .projection
                .iter()
                .map(|e| e.downcast_ref::<PhysicalColumn>().map(PhysicalColumn::index))
                .collect();
            let place = |column: &usize| sources.iter().position(|s| *s == Some(*column));
            input(0).iter().filter_map(|key| key.iter().map(place).collect()).collect()
        }
        NodeKind::GroupAggregate(aggregate) => vec![(0..aggregate.keys.len()).collect()],
        NodeKind::Deduplicate(d) => vec![d.keys.iter().copied().collect()],
        NodeKind::ChangelogNormalize(n) => vec![n.keys.iter().copied().collect()],
        NodeKind::UpsertMaterialize(n) => vec![n.keys.iter().copied().collect()],
        NodeKind::TopN(top) => {
            let partition: Key = top.partition.iter().copied().collect();
            if top.start == 1 && top.end == RankEnd::Constant(1) {
                return vec![partition];
            }
            let mut keys = keys_with(input(0), &partition);
            if top.rank_number {
                let mut ranked = partition;
                ranked.insert(node.schema.fields().len() - 1);
                keys.push(ranked);
            }
            keys
        }
        NodeKind::RegularJoin(join) => {
            let on = |side: fn(&JoinKey) -> usize| join.keys.iter().map(side).collect::<Key>();
            let (left_on, right_on) = (on(|k| k.left), on(|k| k.right));
            let left = keys_with(input(0), &left_on);
            if join.join_type.is_one_sided() {
                return left;
            }
            let Some(edge) = node.inputs.first() else { return Vec::new() };
            let width = nodes[edge.from.0].schema.fields().len();
            let right = keys_with(input(1), &right_on);
            // Where a side is joined by its whole key, a row of the other side has at most one partner.
            let (left_one, right_one) = (left.contains(&left_on), right.contains(&right_on));
            let moved: Vec<Key> = right.iter().map(|k| k.iter().map(|c| c + width).collect()).collect();
            let mut keys: Vec<Key> = Vec::new();
            for l in &left {
                keys.extend(moved.iter().map(|r| l.union(r).copied().collect::<Key>()));
            }
            if right_one && matches!(join.join_type, JoinType::Inner | JoinType::Left) {
                keys.extend(left.iter().cloned());
            }
            if left_one && matches!(join.join_type, JoinType::Inner | JoinType::Right) {
                keys.extend(moved.iter().cloned());
            }
            keys
        }
        // A row of a key that has at most one partner stays one row.
        NodeKind::LookupJoin(join) if !join.is_unique => Vec::new(),
        NodeKind::Limit(_)
        | NodeKind::Sort(_)
        | NodeKind::DropUpdateBefore(_)
        | NodeKind::LookupJoin(_)
        | NodeKind::TemporalJoin(_)
        | NodeKind::Sink(_) => input(0),
        _ => Vec::new(),
    }
}

/// The keys that hold all columns of `columns`: those whose changes stay in order where rows are spread by them.
pub(super) fn keys_with(keys: Vec<Key>, columns: &Key) -> Vec<Key> {
    keys.into_iter().filter(|k| columns.is_subset(k)).collect()
}

/// How a column of an updated row may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Never.
    Constant,
    /// Only up.
    Grows,
    /// Only down.
    Falls,
    /// In any way.
    Any,
}

/// How each column of the rows of `id` may change from update to update; `None` where rows may also be deleted, or
/// nothing is known.
pub(super) fn courses(nodes: &[StreamNode], id: NodeId) -> Option<Vec<Course>> {
    let node = &nodes[id.0];
    let input = node.inputs.first().map(|e| e.from);
    match &node.kind {
        NodeKind::Calc(calc) => {
            let below = courses(nodes, input?)?;
            let course = |e: &Arc<dyn datafusion_physical_expr::PhysicalExpr>| {
                let column = e.downcast_ref::<PhysicalColumn>().map(PhysicalColumn::index);
                column.and_then(|c| below.get(c)).copied().unwrap_or(Course::Any)
            };
            Some(calc.projection.iter().map(course).collect())
        }
        NodeKind::GroupAggregate(aggregate) if nodes[input?.0].changelog.is_append() => {
            let calls = aggregate.aggregates.iter().map(|call| match call.function.as_str() {
                "count" | "max" => Course::Grows,
                "min" => Course::Falls,
                _ => Course::Any,
            });
            Some(aggregate.keys.iter().map(|_| Course::Constant).chain(calls).collect())
        }
        NodeKind::TopN(top) => {
            let below = match nodes[input?.0].changelog.is_append() {
                true => vec![Course::Constant; nodes[input?.0].schema.fields().len()],
                false => courses(nodes, input?)?,
            };
            if top.partition.iter().any(|c| below.get(*c) != Some(&Course::Constant)) {
                return None;
            }
            let mut all = vec![Course::Any; node.schema.fields().len()];
            for column in &top.partition {
                all[*column] = Course::Constant;
            }
            if top.rank_number
                && let Some(rank) = all.last_mut()
            {
                *rank = Course::Constant;
            }
            if let Some(first) = top.order.first() {
                all[first.column] = if first.descending { Course::Grows } else { Course::Falls };
            }
            Some(all)
        }
        _ => None,
    }
}

/// Leaves `-U` out wherever nobody needs it, and fits sources and sinks to that.
pub(super) fn infer(nodes: &mut Vec<StreamNode>) {
    let mut needed = vec![false; nodes.len()];
    for index in (0..nodes.len()).rev() {
        let node = &nodes[index];
        let own = needed[index];
        let wants = match &node.kind {
            NodeKind::Sink(_) => sink_wants(nodes, index),
            NodeKind::Calc(calc) => own || calc.filter.is_some(),
            NodeKind::Unnest(unnest) => own || unnest.condition.is_some(),
            NodeKind::LookupJoin(join) => own || !keeps_each_row(join),
            NodeKind::Union | NodeKind::Expand(_) | NodeKind::DropUpdateBefore(_) => own,
            NodeKind::ChangelogNormalize(_) => false,
            NodeKind::TopN(top) if matches!(top.strategy, TopNStrategy::UpdateFast { .. }) => {
                let can = node.inputs.iter().all(|e| can_leave_out(nodes, e.from));
                if !can && let NodeKind::TopN(top) = &mut nodes[index].kind {
                    top.strategy = TopNStrategy::Retract;
                }
                !can
            }
            _ => true,
        };
        for edge in nodes[index].inputs.clone() {
            needed[edge.from.0] |= wants;
        }
    }
    for index in 0..nodes.len() {
        let inputs = nodes[index].inputs.iter().map(|e| nodes[e.from.0].changelog);
        let passed = inputs.fold(ChangelogMode::APPEND, union);
        let node = &mut nodes[index];
        match &mut node.kind {
            NodeKind::Calc(_)
            | NodeKind::Union
            | NodeKind::Expand(_)
            | NodeKind::Unnest(_)
            | NodeKind::LookupJoin(_)
            | NodeKind::Sink(_) => {
                node.changelog = passed;
            }
            NodeKind::Source(_) | NodeKind::Limit(_) | NodeKind::Sort(_) => {}
            // They pass on what comes.
            NodeKind::DropUpdateBefore(_) | NodeKind::RegularJoin(_) | NodeKind::TemporalJoin(_) => {}
            NodeKind::GroupAggregate(aggregate) => {
                node.changelog.update_before &= needed[index];
                aggregate.update_before = node.changelog.update_before;
            }
            _ => node.changelog.update_before &= needed[index],
        }
    }
    fit_sources(nodes, &needed);
    fit_sinks(nodes);
}

/// The kinds of both.
pub(super) fn union(a: ChangelogMode, b: ChangelogMode) -> ChangelogMode {
    ChangelogMode {
        update_before: a.update_before || b.update_before,
        update_after: a.update_after || b.update_after,
        delete: a.delete || b.delete,
    }
}

/// Whether a sink must be told `-U`.
fn sink_wants(nodes: &[StreamNode], index: usize) -> bool {
    let node = &nodes[index];
    let (NodeKind::Sink(sink), Some(edge)) = (&node.kind, node.inputs.first()) else { return true };
    if sink.sink.accepts().update_before {
        return true;
    }
    let key: Key = sink.primary_key.iter().copied().collect();
    let same_key = key.is_empty() || upsert_keys(nodes, edge.from).contains(&key);
    !(same_key && can_leave_out(nodes, edge.from))
}

/// Whether each row is told exactly once, so that an update takes the place of the row before it.
fn keeps_each_row(join: &LookupJoinNode) -> bool {
    join.join_type == JoinType::Left && join.is_unique
}

/// Whether `-U` can be left out of what `id` emits without harm: not where a filter may let only half of a pair pass.
fn can_leave_out(nodes: &[StreamNode], id: NodeId) -> bool {
    let node = &nodes[id.0];
    if !node.changelog.update_after {
        return true;
    }
    match &node.kind {
        NodeKind::Calc(calc) if calc.filter.is_some() => false,
        NodeKind::Calc(_) | NodeKind::Union | NodeKind::Expand(_) => {
            node.inputs.iter().all(|e| can_leave_out(nodes, e.from))
        }
        NodeKind::LookupJoin(join) => {
            keeps_each_row(join) && node.inputs.iter().all(|e| can_leave_out(nodes, e.from))
        }
        NodeKind::Limit(_) | NodeKind::Sort(_) => false,
        // A row may be joined by what is updated: the old row's pairs are taken back one by one.
        NodeKind::RegularJoin(_) | NodeKind::TemporalJoin(_) | NodeKind::Unnest(_) => false,
        _ => true,
    }
}

/// A source tells what its format holds; where nobody needs its `-U`, it is dropped behind it.
fn fit_sources(nodes: &mut Vec<StreamNode>, needed: &[bool]) {
    let drop: Vec<NodeId> = nodes
        .iter()
        .filter(|n| matches!(n.kind, NodeKind::Source(_)) && n.changelog.update_before && !needed[n.id.0])
        .map(|n| n.id)
        .collect();
    for id in drop.into_iter().rev() {
        let from = nodes[id.0].clone();
        let node = StreamNode {
            id: NodeId(id.0 + 1),
            operator_id: OperatorId(format!("drop-update-before-{}", from.operator_id.0)),
            name: "DropUpdateBefore()".into(),
            kind: NodeKind::DropUpdateBefore(DropUpdateBeforeNode { as_delete: false }),
            inputs: vec![Edge { from: id, partitioning: Partitioning::Forward }],
            schema: Arc::clone(&from.schema),
            parallelism: from.parallelism,
            changelog: ChangelogMode { update_before: false, ..from.changelog },
        };
        insert_after(nodes, id, node);
        // Modes of what only passes rows on.
        for index in id.0 + 2..nodes.len() {
            let inputs = nodes[index].inputs.iter().map(|e| nodes[e.from.0].changelog);
            let passed = inputs.fold(ChangelogMode::APPEND, union);
            let passes_on = matches!(
                nodes[index].kind,
                NodeKind::Calc(_)
                    | NodeKind::Union
                    | NodeKind::Expand(_)
                    | NodeKind::LookupJoin(_)
                    | NodeKind::Sink(_)
            );
            if passes_on {
                nodes[index].changelog = passed;
            }
        }
    }
}

/// A sink that goes by key is told `-D` where it would have to be told `-U`.
fn fit_sinks(nodes: &mut Vec<StreamNode>) {
    let sinks: Vec<NodeId> = nodes
        .iter()
        .filter(|n| match &n.kind {
            NodeKind::Sink(sink) => n.changelog.update_before && !sink.sink.accepts().update_before,
            _ => false,
        })
        .map(|n| n.id)
        .collect();
    for id in sinks.into_iter().rev() {
        let sink = nodes[id.0].clone();
        let Some(edge) = sink.inputs.first().cloned() else { continue };
        let from = nodes[edge.from.0].clone();
        let changelog = ChangelogMode { update_before: false, delete: true, ..from.changelog };
        let node = StreamNode {
            id: NodeId(edge.from.0 + 1),
            operator_id: OperatorId(format!("update-before-as-delete-{}", sink.operator_id.0)),
            name: "UpdateBeforeAsDelete()".into(),
            kind: NodeKind::DropUpdateBefore(DropUpdateBeforeNode { as_delete: true }),
            inputs: vec![Edge { from: edge.from, partitioning: Partitioning::Forward }],
            schema: Arc::clone(&from.schema),
            parallelism: from.parallelism,
            changelog,
        };
        // Only this sink reads it.
        let readers: Vec<NodeId> = nodes
            .iter()
            .filter(|n| n.id != id && n.inputs.iter().any(|e| e.from == edge.from))
            .map(|n| n.id)
            .collect();
        insert_after(nodes, edge.from, node);
        for reader in readers {
            for input in &mut nodes[reader.0 + 1].inputs {
                if input.from == NodeId(edge.from.0 + 1) {
                    input.from = edge.from;
                }
            }
        }
        nodes[id.0 + 1].changelog = changelog;
    }
}

/// Puts `node` behind `id`: all that read `id` read `node`.
fn insert_after(nodes: &mut Vec<StreamNode>, id: NodeId, node: StreamNode) {
    nodes.insert(id.0 + 1, node);
    for (index, other) in nodes.iter_mut().enumerate() {
        other.id = NodeId(index);
        if index <= id.0 + 1 {
            continue;
        }
        for edge in &mut other.inputs {
            if edge.from.0 >= id.0 {
                edge.from = NodeId(edge.from.0 + 1);
            }
        }
    }
}
