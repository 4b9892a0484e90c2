//! Which operators run in one task: neighbours joined by a forward edge, where nothing else reads or feeds them.

use crate::plan::{NodeId, Partitioning, StreamPlan};

/// The chains of the plan, each from its first operator on, in topological order.
pub fn chains(plan: &StreamPlan) -> Vec<Vec<NodeId>> {
    let mut readers = vec![0usize; plan.nodes.len()];
    for edge in plan.nodes.iter().flat_map(|n| &n.inputs) {
        readers[edge.from.0] += 1;
    }
    let mut chains: Vec<Vec<NodeId>> = Vec::new();
    for node in &plan.nodes {
        let joins = match node.inputs.as_slice() {
            [edge] if edge.partitioning == Partitioning::Forward && readers[edge.from.0] == 1 => {
                Some(edge.from)
            }
            _ => None,
        };
        match joins.and_then(|from| chains.iter_mut().find(|c| c.last() == Some(&from))) {
            Some(chain) => chain.push(node.id),
            None => chains.push(vec![node.id]),
        }
    }
    chains
}
