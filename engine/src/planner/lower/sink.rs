//! Sinks: the last operator of each query and INSERT.

use super::set::spread;
use super::{Graph, Lowered, NewNode, changes};
use crate::connector::Sink;
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, Edge, NodeId, NodeKind, SinkNode};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

/// Where rows go.
pub struct SinkTarget {
    /// Full name of the table, or what the caller is called.
    pub table: String,
    /// The connector's writing half.
    pub sink: Arc<dyn Sink>,
    /// What the sink's columns are called, with the types that it takes.
    pub fields: Vec<Field>,
    /// Whether NULL in a NOT NULL column is enforced (tables) or cannot matter (the caller).
    pub is_table: bool,
}

impl Graph<'_> {
    /// Adds a sink over `input`, whose columns are `target.fields` in order and type.
    ///
    /// Errors: the sink cannot take the row kinds that come.
    pub fn sink(&mut self, input: &Lowered, target: SinkTarget) -> Result<NodeId> {
        let names: Vec<String> = target.fields.iter().map(|f| f.name().clone()).collect();
        let below = self.exact(input, &names)?;
        let changelog = self.node(below).changelog;
        let accepts = target.sink.accepts();
        let changelog = if fits(changelog, accepts) {
            changelog
        } else {
            self.without_update_before(below, accepts, &target)?
        };
        let from = self.node(below).parallelism;
        let parallelism = match (target.is_table, target.sink.parallelism()) {
            (false, _) => 1,
            (true, None) => from,
            // Changes of one row must stay in order.
            (true, Some(n)) if changelog.is_append() || n == from => n.max(1),
            (true, Some(_)) => 1,
        };
        let not_null = match target.is_table {
            true => (0..target.fields.len()).filter(|i| !target.fields[*i].is_nullable()).collect(),
            false => Vec::new(),
        };
        let drop_nulls = self
            .context
            .config
            .get("table.exec.sink.not-null-enforcer")
            .is_some_and(|v| v.eq_ignore_ascii_case("drop"));
        let schema = if target.is_table {
            Arc::new(Schema::new(target.fields))
        } else {
            Arc::clone(&self.node(below).schema)
        };
        Ok(self.add(NewNode {
            name: format!("Sink(table=[{}], fields=[{}])", target.table, names.join(", ")),
            kind: NodeKind::Sink(SinkNode { table: target.table, sink: target.sink, not_null, drop_nulls }),
            inputs: vec![Edge { from: below, partitioning: spread(from, parallelism) }],
            schema,
            parallelism,
            changelog,
            shared: false,
        }))
    }

    /// Makes the aggregate under `below` leave out `-U`, if the sink takes all else and nothing in between needs it.
    fn without_update_before(
        &mut self,
        below: NodeId,
        accepts: ChangelogMode,
        target: &SinkTarget,
    ) -> Result<ChangelogMode> {
        let mode = self.node(below).changelog;
        let reduced = ChangelogMode { update_before: false, ..mode };
        let mut chain = vec![below];
        let reaches = loop {
            let Some(node) = chain.last().map(|n| self.node(*n)) else { break false };
            let readers = self.nodes.iter().flat_map(|n| &n.inputs).filter(|e| e.from == node.id).count();
            if readers > usize::from(chain.len() > 1) {
                break false;
            }
            match &node.kind {
                NodeKind::Calc(calc) if calc.filter.is_none() => {
                    let next = node.inputs[0].from;
                    chain.push(next);
                }
                NodeKind::GroupAggregate(_) => break true,
                _ => break false,
            }
        };
        if !reaches || !fits(reduced, accepts) {
            return Err(self.refuse_changes(below, target));
        }
        for id in chain {
            let node = &mut self.nodes[id.0];
            node.changelog = reduced;
            if let NodeKind::GroupAggregate(aggregate) = &mut node.kind {
                aggregate.update_before = false;
            }
        }
        Ok(reduced)
    }

    fn refuse_changes(&self, below: NodeId, target: &SinkTarget) -> Error {
        let mode = self.node(below).changelog;
        let producer = self.node(self.producer(below));
        Error::user(format!(
            "Table sink '{}' doesn't support consuming {} which is produced by node {}",
            target.table,
            changes(mode),
            producer.name
        ))
        .with_hint(
            "Aggregate in windows (GROUP BY window_start, window_end), whose results never change; or write to 'print', \
             or to 'kafka' with 'format' = 'debezium-json'; or SET 'execution.runtime-mode' = 'batch' for bounded input.",
        )
    }
}

fn fits(mode: ChangelogMode, accepts: ChangelogMode) -> bool {
    (!mode.update_before || accepts.update_before)
        && (!mode.update_after || accepts.update_after)
        && (!mode.delete || accepts.delete)
}
