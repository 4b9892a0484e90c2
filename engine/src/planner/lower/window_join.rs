//! Joins of two windowed inputs, window by window.

use super::join::JoinInputs;
use super::{Graph, Lowered, Windowed};
use crate::error::Result;
use crate::plan::{ChangelogMode, JoinType, NodeKind, WindowJoinNode};
use std::collections::BTreeSet;

impl Graph<'_> {
    /// The join as a window join, if both inputs belong to windows and the join is on their bounds.
    ///
    /// Errors: windows that cannot be joined so.
    pub(super) fn window_join(
        &mut self,
        inputs: &JoinInputs,
        join_type: JoinType,
    ) -> Result<Option<Lowered>> {
        let (Some(l), Some(r)) = (inputs.left.windowed.clone(), inputs.right.windowed.clone()) else {
            return Ok(None);
        };
        let bound = |a: &BTreeSet<usize>, b: &BTreeSet<usize>| {
            inputs
                .keys
                .iter()
                .find(|k| !k.null_safe && a.contains(&k.left) && b.contains(&k.right))
                .map(|k| (k.left, k.right))
        };
        let (Some(_), Some(end)) = (bound(&l.start, &r.start), bound(&l.end, &r.end)) else {
            return Ok(None);
        };
        let hint = "Join on window_start and window_end of the same window function.";
        let Some(origin) = l.origin.filter(|o| r.origin == Some(*o)) else {
            return Err(self.refuse_join("A join of different windows", hint));
        };
        if origin.proctime {
            return Err(self.refuse_join("A join of processing-time windows", hint));
        }
        if join_type == JoinType::Mark {
            return Ok(None);
        }
        for node in inputs.nodes {
            self.only_inserts(
                node,
                "WindowJoin",
                "Aggregate in windows below the join, not with GROUP BY alone.",
            )?;
        }
        let fields = self.joined_fields(inputs, join_type, false);
        let name = format!(
            "WindowJoin(leftWindow=[{0}], rightWindow=[{0}], joinType=[{3}], where=[{1}], select=[{2}])",
            origin.spec,
            inputs.text(self),
            self.joined_names(inputs, join_type).join(", "),
            join_type.name(),
        );
        let kind = NodeKind::WindowJoin(WindowJoinNode {
            window_end: end,
            zone: origin.zone,
            join_type,
            keys: inputs.keys.clone(),
            condition: inputs.condition(self)?,
        });
        let lowered = self.join_node(inputs, kind, name, fields, join_type, ChangelogMode::APPEND)?;
        let width = inputs.left.fields.len();
        // A bound that may be NULL tells no window.
        let (left_outer, right_outer) = join_type.outer(0);
        let both = |a: &BTreeSet<usize>, b: &BTreeSet<usize>| {
            let a = a.iter().copied().filter(|_| !right_outer);
            let b = b.iter().map(|i| i + width).filter(|_| !left_outer && !join_type.is_one_sided());
            a.chain(b).collect()
        };
        let windowed =
            Windowed { start: both(&l.start, &r.start), end: both(&l.end, &r.end), origin: Some(origin) };
        Ok(Some(Lowered { windowed: Some(windowed), ..lowered }))
    }
}
