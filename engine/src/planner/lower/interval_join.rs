//! Joins of rows whose times are close to each other.

use super::join::JoinInputs;
use super::{Graph, Lowered};
use crate::error::Result;
use crate::plan::{ChangelogMode, IntervalJoinNode, JoinType, NodeKind, TimeAttribute};
use crate::planner::expressions::unalias;
use crate::planner::relations::interval_ms;
use crate::sql::data_type::{TimeKind, time_attribute};
use datafusion_expr::{BinaryExpr, Expr, Operator};

/// A time attribute of one side, and what is added to it.
#[derive(Debug, Clone, Copy)]
struct Linear {
    side: usize,
    column: usize,
    kind: TimeKind,
    plus_ms: i64,
}

/// What a comparison says of left time minus right time.
enum Bound {
    Lower(i64),
    Upper(i64),
}

impl Graph<'_> {
    /// The join as an interval join, if its conditions keep the times of both sides close to each other.
    ///
    /// Errors: inputs that change.
    pub(super) fn interval_join(
        &mut self,
        inputs: &JoinInputs,
        join_type: JoinType,
    ) -> Result<Option<Lowered>> {
        if join_type.is_one_sided() {
            return Ok(None);
        }
        let mut lower = Vec::new();
        let mut upper = Vec::new();
        let mut columns = None;
        let mut conditions = Vec::new();
        for condition in &inputs.conditions {
            let Some((times, bound)) = bound(condition, inputs) else {
                conditions.push(condition.clone());
                continue;
            };
            if columns.is_some_and(|c: ([usize; 2], TimeKind)| c != times) {
                return Ok(None);
            }
            columns = Some(times);
            match bound {
                Bound::Lower(ms) => lower.push(ms),
                Bound::Upper(ms) => upper.push(ms),
            }
        }
        for key in inputs.keys.iter().filter(|k| !k.null_safe) {
            let of = |side: usize, column: usize| attribute(inputs, side, column);
            if let (Some(l), Some(r)) = (of(0, key.left), of(1, key.right))
                && l == r
                && columns.is_none()
            {
                columns = Some(([key.left, key.right], l));
                (lower, upper) = (vec![0], vec![0]);
            }
        }
        let (Some((columns, kind)), [lower_ms], [upper_ms]) = (columns, lower.as_slice(), upper.as_slice())
        else {
            return Ok(None);
        };
        for node in inputs.nodes {
            self.only_inserts(
                node,
                "IntervalJoin",
                "Join without the condition on times, or aggregate after the join.",
            )?;
        }
        let time = |column: usize| match kind {
            TimeKind::Rowtime => TimeAttribute::Rowtime { column },
            TimeKind::Proctime => TimeAttribute::Proctime,
        };
        let name = format!(
            "IntervalJoin(joinType=[{}], windowBounds=[isRowTime={}, leftLowerBound={lower_ms}, leftUpperBound={upper_ms}, \
             leftTimeIndex={}, rightTimeIndex={}], where=[{}], select=[{}])",
            join_type.name(),
            kind == TimeKind::Rowtime,
            columns[0],
            columns[1],
            inputs.text(self),
            self.joined_names(inputs, join_type).join(", "),
        );
        let min_cleanup_ms = self.context.config.duration_ms("table.exec.interval-join.min-cleanup-interval");
        let rest = inputs.with_conditions(conditions);
        let kind = NodeKind::IntervalJoin(IntervalJoinNode {
            join_type,
            keys: inputs.keys.clone(),
            time: (time(columns[0]), time(columns[1])),
            lower_ms: *lower_ms,
            upper_ms: *upper_ms,
            condition: rest.condition(self)?,
            min_cleanup_ms: min_cleanup_ms as i64,
        });
        let fields = self.joined_fields(inputs, join_type, true);
        self.join_node(&rest, kind, name, fields, join_type, ChangelogMode::APPEND).map(Some)
    }
}

fn attribute(inputs: &JoinInputs, side: usize, column: usize) -> Option<TimeKind> {
    let fields = if side == 0 { &inputs.left.fields } else { &inputs.right.fields };
    fields.get(column).and_then(|f| time_attribute(f))
}

/// The time columns that a comparison reads, left one first, and what it says of their difference.
fn bound(expr: &Expr, inputs: &JoinInputs) -> Option<(([usize; 2], TimeKind), Bound)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (a, b) = (linear(left, inputs)?, linear(right, inputs)?);
    if a.side == b.side || a.kind != b.kind {
        return None;
    }
    let (l, r, op) = if a.side == 0 { (a, b, *op) } else { (b, a, op.swap()?) };
    let difference = r.plus_ms.checked_sub(l.plus_ms)?;
    let bound = match op {
        Operator::Gt => Bound::Lower(difference.checked_add(1)?),
        Operator::GtEq => Bound::Lower(difference),
        Operator::Lt => Bound::Upper(difference.checked_sub(1)?),
        Operator::LtEq => Bound::Upper(difference),
        _ => return None,
    };
    Some((([l.column, r.column], l.kind), bound))
}

/// A time attribute plus or minus constants.
fn linear(expr: &Expr, inputs: &JoinInputs) -> Option<Linear> {
    match unalias(expr) {
        Expr::Column(column) => {
            let index = inputs.schema.maybe_index_of_column(column)?;
            let width = inputs.left.fields.len();
            let (side, column) = if index < width { (0, index) } else { (1, index - width) };
            Some(Linear { side, column, kind: attribute(inputs, side, column)?, plus_ms: 0 })
        }
        Expr::ScalarFunction(call) if call.args.len() == 2 && matches!(call.func.name(), "+" | "-") => {
            let (a, b) = (&call.args[0], &call.args[1]);
            let minus = call.func.name() == "-";
            if let Ok(ms) = interval_ms(b) {
                let time = linear(a, inputs)?;
                let plus_ms =
                    if minus { time.plus_ms.checked_sub(ms)? } else { time.plus_ms.checked_add(ms)? };
                return Some(Linear { plus_ms, ..time });
            }
            let (ms, time) = (interval_ms(a).ok().filter(|_| !minus)?, linear(b, inputs)?);
            Some(Linear { plus_ms: time.plus_ms.checked_add(ms)?, ..time })
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
            let (ms, time) = (interval_ms(right).ok()?, linear(left, inputs)?);
            let ms = if *op == Operator::Minus { ms.checked_neg()? } else { ms };
            Some(Linear { plus_ms: time.plus_ms.checked_add(ms)?, ..time })
        }
        _ => None,
    }
}
