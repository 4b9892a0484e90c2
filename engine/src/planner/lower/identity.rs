//! Operator ids: what makes an operator the same in two plans, so that its state can be restored.
//!
//! An id is the operator's kind and a hash of its identity. The identity of a source or sink is its table; that of an
//! operator with state is what its state depends on: its kind, keys, aggregates and windows, told by where columns
//! come from instead of by their numbers, and the identity of what it reads. Operators without state are seen
//! through. Parallelism, filters, and columns that are not part of the state change nothing. Where two operators of a
//! plan are the same, the second gets `-2`. See docs/decisions/0006-operator-ids.md.

use crate::plan::{
    AggregateCall, NodeId, NodeKind, OperatorId, StreamNode, TimeAttribute, WindowInput, WindowProperty,
};
use crate::planner::explain;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest text of an expression; of a longer one only the hash counts.
const MAX_TEXT: usize = 1024;

/// Gives every operator its id. Inputs come before their readers.
pub(super) fn assign(nodes: &mut [StreamNode]) {
    let mut identities: Vec<String> = Vec::with_capacity(nodes.len());
    let mut twins: HashMap<String, usize> = HashMap::new();
    for index in 0..nodes.len() {
        let identity = Identity { nodes, identities: &identities }.of(&nodes[index]);
        let label = explain::label(&nodes[index].kind).to_lowercase();
        let base = format!("{label}-{:016x}", fnv(format!("{label}\n{}", identity.own).as_bytes()));
        let count = twins.entry(base.clone()).or_insert(0);
        *count += 1;
        let id = if *count == 1 { base } else { format!("{base}-{count}") };
        // What reads an operator with state depends on which of its twins it reads.
        identities.push(if identity.is_seen_through { identity.own } else { id.clone() });
        nodes[index].operator_id = OperatorId(id);
    }
}

/// What an operator is.
struct Own {
    own: String,
    /// Whether its readers see its inputs instead of it.
    is_seen_through: bool,
}

/// The plan up to an operator.
struct Identity<'a> {
    nodes: &'a [StreamNode],
    identities: &'a [String],
}

impl Identity<'_> {
    fn of(&self, node: &StreamNode) -> Own {
        let inputs: Vec<&str> = node.inputs.iter().map(|e| self.identities[e.from.0].as_str()).collect();
        let inputs = inputs.join(", ");
        let stateful = |what: String| Own { own: format!("{what} of ({inputs})"), is_seen_through: false };
        let list = |columns: &[usize]| self.columns(node, columns);
        match &node.kind {
            NodeKind::Source(source) => Own { own: source.table.clone(), is_seen_through: false },
            NodeKind::Sink(sink) => Own { own: sink.table.clone(), is_seen_through: false },
            NodeKind::Values(_) => Own { own: String::new(), is_seen_through: false },
            NodeKind::Calc(_) | NodeKind::Union | NodeKind::DropUpdateBefore(_) => {
                Own { own: inputs, is_seen_through: true }
            }
            NodeKind::Limit(limit) => stateful(format!("{limit:?}")),
            NodeKind::GroupAggregate(a) => stateful(format!(
                "keys [{}], aggregates [{}], retracts {}",
                list(&a.keys),
                self.calls(node, &a.aggregates),
                a.retracts
            )),
            NodeKind::WindowAggregate(a) => {
                let windows = match &a.input {
                    WindowInput::Assign { window, time, zone } => {
                        format!("{window} on {} in {zone:?}", self.time(node, *time))
                    }
                    WindowInput::Attached { start, end, zone } => {
                        format!("{} to {} in {zone:?}", list(&[*start]), list(&[*end]))
                    }
                };
                stateful(format!(
                    "windows [{windows}], keys [{}], aggregates [{}]{}",
                    list(&a.keys),
                    self.calls(node, &a.aggregates),
                    if a.retracts { ", retracts" } else { "" }
                ))
            }
            NodeKind::WindowTable(t) => stateful(format!(
                "windows [{} on {} in {:?}], keys [{}], rows [{}]",
                t.window,
                self.time(node, t.time),
                t.zone,
                list(&t.keys),
                self.rows(node)
            )),
            // Its state is rows that wait for an answer: hints and settings change nothing.
            NodeKind::LookupJoin(join) => stateful(format!(
                "lookup in {}, {:?}, rows [{}]",
                join.table,
                join.join_type,
                self.rows(node)
            )),
            // Their state is the rows that come in.
            _ => stateful(format!("{}, rows [{}]", node.name, self.rows(node))),
        }
    }

    fn time(&self, node: &StreamNode, time: TimeAttribute) -> String {
        match time {
            TimeAttribute::Rowtime { column } => self.columns(node, &[column]),
            TimeAttribute::Proctime => "PROCTIME".to_string(),
        }
    }

    /// Columns of the only input, with their types.
    fn columns(&self, node: &StreamNode, columns: &[usize]) -> String {
        let Some(from) = node.inputs.first().map(|e| e.from) else { return String::new() };
        let texts = columns.iter().map(|c| {
            let schema = &self.nodes[from.0].schema;
            let data_type = schema.fields().get(*c).map(|f| f.data_type().to_string());
            format!("{} {}", self.origin(from, *c), data_type.unwrap_or_default())
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    fn calls(&self, node: &StreamNode, calls: &[AggregateCall]) -> String {
        let texts = calls.iter().map(|call| {
            format!(
                "{}({}{}) {}{}",
                call.function,
                if call.distinct { "DISTINCT " } else { "" },
                self.columns(node, &call.arguments),
                call.data_type,
                call.filter.map_or_else(String::new, |f| format!(" FILTER {}", self.columns(node, &[f])))
            )
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// All columns that come in.
    fn rows(&self, node: &StreamNode) -> String {
        let texts = node.inputs.iter().map(|edge| {
            let fields = self.nodes[edge.from.0].schema.fields().iter().enumerate();
            fields
                .map(|(i, f)| format!("{} {}", self.origin(edge.from, i), f.data_type()))
                .collect::<Vec<_>>()
                .join(", ")
        });
        texts.collect::<Vec<_>>().join(" | ")
    }

    /// Where a column comes from: a table's column, an expression over such, or an operator's result.
    fn origin(&self, from: NodeId, column: usize) -> String {
        let node = &self.nodes[from.0];
        let name = || node.schema.fields().get(column).map_or_else(String::new, |f| f.name().clone());
        let input = |i: usize, column: usize| match node.inputs.get(i) {
            Some(edge) => self.origin(edge.from, column),
            None => name(),
        };
        match &node.kind {
            NodeKind::Calc(calc) => match calc.projection.get(column) {
                Some(expr) => self.expression(expr, node),
                None => name(),
            },
            NodeKind::Union => {
                let inputs: Vec<String> = (0..node.inputs.len()).map(|i| input(i, column)).collect();
                match inputs.windows(2).all(|w| w[0] == w[1]) {
                    true => inputs.into_iter().next().unwrap_or_default(),
                    false => format!("({})", inputs.join(" | ")),
                }
            }
            NodeKind::Limit(_) => input(0, column),
            NodeKind::GroupAggregate(a) => match a.keys.get(column) {
                Some(key) => input(0, *key),
                None => match a.aggregates.get(column - a.keys.len()) {
                    Some(call) => self.calls(node, std::slice::from_ref(call)),
                    None => name(),
                },
            },
            NodeKind::WindowAggregate(a) => match a.keys.get(column) {
                Some(key) => input(0, *key),
                None => {
                    let rest = column - a.keys.len();
                    match (a.aggregates.get(rest), a.properties.get(rest.saturating_sub(a.aggregates.len())))
                    {
                        (Some(call), _) => self.calls(node, std::slice::from_ref(call)),
                        (None, Some(property)) => property_name(*property).to_string(),
                        (None, None) => name(),
                    }
                }
            },
            NodeKind::WindowTable(_) | NodeKind::Expand(_) | NodeKind::LookupJoin(_) => {
                let width = node.inputs.first().map_or(0, |e| self.nodes[e.from.0].schema.fields().len());
                if column < width { input(0, column) } else { name() }
            }
            _ => name(),
        }
    }

    fn expression(&self, expr: &Arc<dyn PhysicalExpr>, node: &StreamNode) -> String {
        let Some(from) = node.inputs.first().map(|e| e.from) else { return expr.to_string() };
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.origin(from, column.index());
        }
        let traced = Arc::clone(expr).transform_up(|e| {
            Ok(match e.downcast_ref::<Column>().map(Column::index) {
                Some(index) => {
                    let traced: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&self.origin(from, index), 0));
                    Transformed::yes(traced)
                }
                None => Transformed::no(e),
            })
        });
        // A column prints its number behind its name: here always the same.
        let text = traced.map_or_else(|_| expr.to_string(), |t| t.data.to_string());
        if text.len() > MAX_TEXT { format!("#{:016x}", fnv(text.as_bytes())) } else { text }
    }
}

/// As in SQL.
fn property_name(property: WindowProperty) -> &'static str {
    match property {
        WindowProperty::Start => "window_start",
        WindowProperty::End => "window_end",
        WindowProperty::Rowtime | WindowProperty::Proctime => "window_time",
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
