//! Sinks: the last operator of each query and INSERT.

use super::set::spread;
use super::{Graph, Lowered, NewNode, changes};
use crate::connector::Sink;
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, Edge, NodeId, NodeKind, SinkNode, UpsertMaterializeNode};
use crate::planner::changelog;
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
    /// Columns of the table's primary key, as indexes of `fields`; empty without one.
    pub primary_key: Vec<usize>,
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
        let accepts = target.sink.accepts();
        let made = self.node(below).changelog;
        // Whether `-U` comes is settled when the graph is complete.
        if (made.update_after && !accepts.update_after) || (made.delete && !accepts.delete) {
            return Err(self.refuse_changes(below, &target));
        }
        let below = self.upsert_materialized(below, accepts, &target);
        let changelog = self.node(below).changelog;
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
            kind: NodeKind::Sink(SinkNode {
                table: target.table,
                sink: target.sink,
                primary_key: target.primary_key,
                not_null,
                drop_nulls,
            }),
            inputs: vec![Edge { from: below, partitioning: spread(from, parallelism) }],
            schema,
            parallelism,
            changelog,
            shared: false,
        }))
    }

    /// `below`, with an operator behind it that keeps all rows of each key of the sink where the changes have another
    /// key: else an update of one row could delete another.
    fn upsert_materialized(&mut self, below: NodeId, accepts: ChangelogMode, target: &SinkTarget) -> NodeId {
        if !target.is_table || target.primary_key.is_empty() {
            return below;
        }
        let choice = self.context.config.get("table.exec.sink.upsert-materialize").unwrap_or("AUTO");
        let keys = changelog::upsert_keys(&self.nodes, below);
        let primary: changelog::Key = target.primary_key.iter().copied().collect();
        let wanted = match choice.to_ascii_uppercase().as_str() {
            "FORCE" => true,
            "NONE" => false,
            _ => {
                !accepts.is_append()
                    && !self.node(below).changelog.is_append()
                    && !keys.iter().any(|k| k.is_subset(&primary))
            }
        };
        if !wanted {
            return below;
        }
        let upsert_key = keys.into_iter().next().map(|k| k.into_iter().collect()).unwrap_or_default();
        let node = UpsertMaterializeNode { keys: target.primary_key.clone(), upsert_key };
        let (edge, parallelism) = self.keyed(below, target.primary_key.clone());
        let names: Vec<&str> = target.primary_key.iter().map(|k| target.fields[*k].name().as_str()).collect();
        self.add(NewNode {
            name: format!("SinkUpsertMaterialize(key=[{}])", names.join(", ")),
            kind: NodeKind::UpsertMaterialize(node),
            inputs: vec![edge],
            schema: Arc::clone(&self.node(below).schema),
            parallelism,
            changelog: ChangelogMode::UPSERT,
            shared: false,
        })
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
