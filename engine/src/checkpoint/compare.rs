//! What becomes of a checkpoint's state in a plan: kept, new, or dropped with a reason.

use super::manifest::{Manifest, OperatorEntry};
use crate::error::{Error, Result};
use crate::plan::{NodeKind, StreamNode, StreamPlan};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Operators whose entries hold nothing that a result depends on.
const STATELESS: &[&str] = &["calc", "union"];

/// An operator with its id, as EXPLAIN shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOwner {
    /// `OperatorId` of the plan or the checkpoint.
    pub operator_id: String,
    /// Its name in EXPLAIN.
    pub name: String,
}

/// How the state of a checkpoint fits a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateDiff {
    /// Operators that go on with their state.
    pub kept: Vec<StateOwner>,
    /// Operators that start without state.
    pub new: Vec<StateOwner>,
    /// Operators of the checkpoint whose state nobody claims, each with the reason as a clause.
    pub dropped: Vec<(StateOwner, String)>,
}

/// Compares the operators of `manifest` with those of `plan`, by their ids.
pub fn compare(manifest: &Manifest, plan: &StreamPlan) -> StateDiff {
    let entries: HashMap<&str, &OperatorEntry> =
        manifest.operators.iter().map(|o| (o.operator_id.as_str(), o)).collect();
    let ids: HashSet<&str> = plan.nodes.iter().map(|n| n.operator_id.0.as_str()).collect();
    let mut diff = StateDiff::default();
    let mut new: Vec<&StreamNode> = Vec::new();
    for node in &plan.nodes {
        if entries.contains_key(node.operator_id.0.as_str()) {
            diff.kept.push(owner(node));
        } else if starts_with_state(&node.kind) {
            diff.new.push(owner(node));
            new.push(node);
        }
    }
    for entry in &manifest.operators {
        if ids.contains(entry.operator_id.as_str()) || STATELESS.contains(&label(&entry.operator_id)) {
            continue;
        }
        // Each new operator explains one that is gone.
        let heir = new.iter().position(|n| label(&n.operator_id.0) == label(&entry.operator_id));
        let heir = heir.map(|i| new.remove(i));
        let reason = match (label(&entry.operator_id), heir) {
            ("source", _) => "the query does not read this table any more".to_string(),
            ("sink", _) => "the query does not write to this table any more".to_string(),
            (_, Some(now)) => {
                format!(
                    "its keys, aggregates, window, columns or inputs have changed; it is now {}",
                    now.name
                )
            }
            (_, None) => "the query has no such operator any more".to_string(),
        };
        let owner = StateOwner { operator_id: entry.operator_id.clone(), name: entry.name.clone() };
        diff.dropped.push((owner, reason));
    }
    diff
}

impl StateDiff {
    /// Errors if state would be dropped and `ignore_unclaimed` (`execution.savepoint.ignore-unclaimed-state`) does not
    /// allow it. `uri` is where the state is.
    pub fn check(&self, uri: &str, ignore_unclaimed: bool) -> Result<()> {
        if self.dropped.is_empty() || ignore_unclaimed {
            return Ok(());
        }
        let dropped: Vec<String> =
            self.dropped.iter().map(|(o, reason)| format!("{} ({reason})", o.name)).collect();
        Err(Error::user(format!(
            "The state at {uri} does not fit the query: nothing claims that of {}.",
            dropped.join("; ")
        ))
        .with_hint(
            "SET 'execution.savepoint.ignore-unclaimed-state' = 'true' drops it; or start the query that it was taken \
             from.",
        ))
    }

    /// A sentence for each operator.
    pub fn sentences(&self) -> Vec<String> {
        let line = |o: &StateOwner| format!("{} ({})", o.name, o.operator_id);
        let kept = self.kept.iter().map(|o| format!("State kept: {}.", line(o)));
        let new = self.new.iter().map(|o| format!("State new, starts with nothing: {}.", line(o)));
        let dropped = self.dropped.iter().map(|(o, reason)| format!("State dropped: {}: {reason}.", line(o)));
        kept.chain(new).chain(dropped).collect()
    }
}

/// A line for each operator.
impl fmt::Display for StateDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentences().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn owner(node: &StreamNode) -> StateOwner {
    StateOwner { operator_id: node.operator_id.0.clone(), name: node.name.clone() }
}

/// The kind of operator that an id tells.
fn label(operator_id: &str) -> &str {
    operator_id.split('-').next().unwrap_or_default()
}

/// Whether it matters that an operator of this kind finds no state.
fn starts_with_state(kind: &NodeKind) -> bool {
    !matches!(kind, NodeKind::Calc(_) | NodeKind::Union | NodeKind::Values(_) | NodeKind::Sink(_))
}
