//! OVER: functions over the neighbours of each row.

use super::rank::{Ordered, no_order, sort_text};
use super::{Graph, Lowered, NewNode, check_aggregate};
use crate::error::{Error, Result};
use crate::plan::{
    AggregateCall, ChangelogMode, Frame, FrameBound, NodeKind, OverCall, OverNode, SortColumn, TimeAttribute,
};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{constant, counts_rows_of, first_span, text, unalias};
use crate::planner::relations::interval_ms;
use crate::sql::data_type::{TimeKind, time_attribute, without_time_attribute};
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::logical_plan::Window;
use datafusion_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use std::sync::Arc;

const NOT_THE_SAME: &str = "Over Agg: Unsupported use of OVER windows. All aggregates must be computed on the same window. please re-check the over window statement.";

/// Functions that take the order but no frame.
const RANKING: [&str; 8] =
    ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"];

impl Graph<'_> {
    /// Functions over the neighbours of each row.
    ///
    /// Errors: what Flink refuses in a stream, in its words.
    pub(super) fn over(&mut self, window: &Window) -> Result<Lowered> {
        let batch = self.context.config.is_batch();
        let calls = window
            .window_expr
            .iter()
            .map(|e| match unalias(e) {
                Expr::WindowFunction(call) => Ok(call.as_ref()),
                other => Err(Error::internal(format!("a window function that is {other}"))),
            })
            .collect::<Result<Vec<&WindowFunction>>>()?;
        let Some(first) = calls.first() else { return Err(Error::internal("a window without functions")) };
        let at = window.window_expr.iter().find_map(first_span);
        for call in &calls {
            check(call, batch).map_err(|e| e.at(at))?;
        }
        if !batch {
            if matches!(window.input.as_ref(), LogicalPlan::Window(_)) {
                return Err(same_window(at));
            }
            let frames = calls.iter().map(|c| plain_frame(c)).collect::<Vec<_>>();
            if frames.iter().any(|f| *f != frames[0]) {
                return Err(same_window(at));
            }
        }
        let schema = window.input.schema();
        let below = self.lower(&window.input, &[])?;
        let width = schema.fields().len();
        // Arguments that are expressions become columns behind those of the input.
        let mut more: Vec<Expr> = Vec::new();
        let mut extra = |expr: &Expr| {
            let expr = unalias(expr);
            if !matches!(expr, Expr::Column(_)) && !more.contains(expr) {
                more.push(expr.clone());
            }
        };
        for call in &calls {
            for argument in arguments(call) {
                extra(argument);
            }
            if let Some(filter) = &call.params.filter {
                extra(filter);
            }
        }
        let Ordered { input, partition, order, more: places } =
            self.ordered_with(below, schema, &first.params.partition_by, &first.params.order_by, &more)?;
        let column = |expr: &Expr| -> Result<usize> {
            let expr = unalias(expr);
            match expr {
                Expr::Column(c) => schema
                    .maybe_index_of_column(c)
                    .ok_or_else(|| Error::internal(format!("OVER without its column {c}"))),
                other => more
                    .iter()
                    .position(|m| m == other)
                    .map(|i| places[i])
                    .ok_or_else(|| Error::internal(format!("OVER without its argument {other}"))),
            }
        };
        let time = if batch { None } else { Some(self.over_time(&input, &order, first, at)?) };
        let mut over_calls = Vec::new();
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        for (index, call) in calls.iter().enumerate() {
            let field = window.schema.field(width + index);
            let name = format!("w0$o{index}");
            over_calls.push(OverCall {
                call: AggregateCall {
                    function: function(call),
                    arguments: arguments(call).into_iter().map(column).collect::<Result<_>>()?,
                    distinct: call.params.distinct,
                    filter: call.params.filter.as_deref().map(column).transpose()?,
                    data_type: field.data_type().clone(),
                    name: name.clone(),
                    monotone: false,
                },
                frame: frame(call, batch, order.is_empty()).map_err(|e| e.at(at))?,
                offset: offset(call).map_err(|e| e.at(at))?,
            });
            fields.push(without_time_attribute(field.as_ref().clone()).with_name(name).with_nullable(true));
        }
        self.only_inserts(input.node, "StreamPhysicalOverAggregate", "Put OVER below the aggregate.")?;
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let mut parts = Vec::new();
        if !partition.is_empty() {
            let keys: Vec<&str> = partition.iter().map(|c| names[*c].as_str()).collect();
            parts.push(format!("partitionBy=[{}]", keys.join(", ")));
        }
        if !order.is_empty() {
            parts.push(format!("orderBy=[{}]", sort_text(&order, &names)));
        }
        parts.push(format!("window=[ {}]", frame_text(over_calls[0].frame)));
        let mut select = names.clone();
        select.extend(calls.iter().enumerate().map(|(i, call)| format!("{} AS w0$o{i}", call_text(call))));
        parts.push(format!("select=[{}]", select.join(", ")));
        let (edge, parallelism) = self.keyed(input.node, partition.clone());
        let node = self.add(NewNode {
            kind: NodeKind::Over(OverNode { partition, order, time, calls: over_calls }),
            name: format!("OverAggregate({})", parts.join(", ")),
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog: ChangelogMode::APPEND,
            shared: time != Some(TimeAttribute::Proctime),
        });
        let inner = input.fields.len();
        let columns: Vec<usize> = (0..width).chain(inner..inner + calls.len()).collect();
        let fields = columns.iter().map(|c| Arc::new(fields[*c].clone())).collect();
        Ok(Lowered { node, columns, fields, windowed: input.windowed })
    }

    /// The time attribute that the order is by.
    fn over_time(
        &self,
        input: &Lowered,
        order: &[SortColumn],
        call: &WindowFunction,
        at: Option<crate::error::Span>,
    ) -> Result<TimeAttribute> {
        if function(call) == "row_number" && order.is_empty() {
            return Err(no_order(at));
        }
        let [by] = order else {
            return Err(Error::user("The window can only be ordered by a single time column.")
                .with_hint("Write OVER (PARTITION BY … ORDER BY ts) with the event time of the table.")
                .at(at));
        };
        if by.descending {
            return Err(Error::user("The window can only be ordered in ASCENDING mode.")
                .with_hint(
                    "Bound the rank for a Top-N: SELECT … FROM (SELECT *, ROW_NUMBER() OVER (… ORDER BY x DESC) AS rn FROM t) \
                     WHERE rn <= 10.",
                )
                .at(at));
        }
        match time_attribute(&input.fields[by.column]) {
            Some(TimeKind::Rowtime) => Ok(TimeAttribute::Rowtime { column: by.column }),
            Some(TimeKind::Proctime) => Ok(TimeAttribute::Proctime),
            None => Err(Error::user(
                "OVER windows' ordering in stream mode must be defined on a time attribute.",
            )
            .with_hint(
                "ORDER BY the event time (WATERMARK FOR ts …) or PROCTIME(); bound ROW_NUMBER() for a Top-N (WHERE rn <= 10).",
            )
            .at(at)),
        }
    }
}

fn same_window(at: Option<crate::error::Span>) -> Error {
    Error::user(NOT_THE_SAME)
        .with_hint(
            "Give all OVERs of a SELECT the same PARTITION BY, ORDER BY and frame, or nest the SELECTs.",
        )
        .at(at)
}

/// Lower-case name.
fn function(call: &WindowFunction) -> String {
    match &call.fun {
        WindowFunctionDefinition::AggregateUDF(f) => f.name().to_ascii_lowercase(),
        WindowFunctionDefinition::WindowUDF(f) => f.name().to_ascii_lowercase(),
    }
}

/// Arguments that are columns for the operator: not the offset of LAG and LEAD, nor the number of NTILE.
fn arguments(call: &WindowFunction) -> Vec<&Expr> {
    let args = &call.params.args;
    match function(call).as_str() {
        "lag" | "lead" => args.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, e)| e).collect(),
        "ntile" => Vec::new(),
        "count" if counts_rows_of(args, call.params.distinct) => Vec::new(),
        _ => args.iter().collect(),
    }
}

/// The offset of LAG and LEAD, the number of NTILE.
fn offset(call: &WindowFunction) -> Result<u64> {
    let name = function(call);
    let given = match name.as_str() {
        "lag" | "lead" => call.params.args.get(1),
        "ntile" => call.params.args.first(),
        _ => return Ok(0),
    };
    let Some(expr) = given else { return Ok(1) };
    let value = cast(&constant(expr)?, &DataType::Int64)?;
    let value = value.as_primitive::<Int64Type>();
    match value.iter().next().flatten() {
        Some(n) if n >= 0 => Ok(n as u64),
        _ => Err(Error::user(format!("{} takes a whole number that is not negative.", name.to_uppercase()))),
    }
}

fn check(call: &WindowFunction, batch: bool) -> Result<()> {
    let name = function(call);
    let shown = name.to_uppercase();
    if RANKING.contains(&name.as_str()) {
        let only_batch = ["ntile", "lead", "percent_rank", "cume_dist"];
        if !batch && only_batch.contains(&name.as_str()) {
            return Err(Error::user(format!("{shown} Function is not supported in stream mode.")).with_hint(
                "It needs rows that come later; SET 'execution.runtime-mode' = 'batch' for bounded input.",
            ));
        }
        if call.params.order_by.is_empty() {
            return Err(no_order(None));
        }
        return Ok(());
    }
    if call.params.filter.is_some() {
        return Err(Error::user("OVER must be applied to aggregate function")
            .with_hint("FILTER and OVER do not go together: write SUM(CASE WHEN … THEN x END) OVER (…)."));
    }
    check_aggregate(
        &name,
        &call.params.args,
        false,
        first_span(&Expr::WindowFunction(Box::new(call.clone()))),
    )
}

/// The frame that Flink computes a call on, to tell whether all are the same.
fn plain_frame(call: &WindowFunction) -> (bool, String) {
    match function(call).as_str() {
        "row_number" => (true, "UNBOUNDED PRECEDING".into()),
        name if RANKING.contains(&name) => (false, "UNBOUNDED PRECEDING".into()),
        _ => {
            let frame = &call.params.window_frame;
            let start = match &frame.start_bound {
                WindowFrameBound::Preceding(v) if v.is_null() => "UNBOUNDED PRECEDING".to_string(),
                bound => format!("{bound:?}"),
            };
            (frame.units == WindowFrameUnits::Rows, start)
        }
    }
}

fn frame(call: &WindowFunction, batch: bool, unordered: bool) -> Result<Frame> {
    let whole = Frame { rows: false, start: FrameBound::Unbounded, end: FrameBound::Preceding(0) };
    if RANKING.contains(&function(call).as_str()) {
        return Ok(whole);
    }
    let given: &WindowFrame = &call.params.window_frame;
    let rows = match given.units {
        WindowFrameUnits::Rows => true,
        WindowFrameUnits::Range => false,
        WindowFrameUnits::Groups => {
            return Err(Error::user("GROUPS frames are not supported.").with_hint("Write ROWS or RANGE."));
        }
    };
    if batch && unordered && !rows {
        return Ok(Frame { rows, start: FrameBound::Unbounded, end: FrameBound::Unbounded });
    }
    let start = bound(&given.start_bound, rows)?;
    let end = bound(&given.end_bound, rows)?;
    if !batch && end != FrameBound::Preceding(0) {
        return Err(Error::user("OVER RANGE FOLLOWING windows are not supported yet.").with_hint(
            "In a stream the frame ends with the current row: ROWS BETWEEN n PRECEDING AND CURRENT ROW.",
        ));
    }
    Ok(Frame { rows, start, end })
}

fn bound(bound: &WindowFrameBound, rows: bool) -> Result<FrameBound> {
    Ok(match bound {
        WindowFrameBound::CurrentRow => FrameBound::Preceding(0),
        WindowFrameBound::Preceding(value) => match distance(value, rows)? {
            None => FrameBound::Unbounded,
            Some(n) => FrameBound::Preceding(n),
        },
        WindowFrameBound::Following(value) => match distance(value, rows)? {
            None => FrameBound::Unbounded,
            Some(n) => FrameBound::Preceding(-n),
        },
    })
}

/// Rows, milliseconds or units; `None` for UNBOUNDED.
fn distance(value: &ScalarValue, rows: bool) -> Result<Option<i64>> {
    if value.is_null() {
        return Ok(None);
    }
    let expr = Expr::Literal(value.clone(), None);
    if !rows && matches!(value.data_type(), DataType::Interval(_) | DataType::Duration(_)) {
        return interval_ms(&expr).map(Some).map_err(|problem| {
            Error::user(format!("The frame of OVER is wrong: {problem}."))
                .with_hint("Write RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW.")
        });
    }
    let wrong = || {
        Error::user(format!("The frame of OVER is wrong: {value} is no whole number."))
            .with_hint("Write ROWS BETWEEN 2 PRECEDING AND CURRENT ROW.")
    };
    match value {
        ScalarValue::Utf8(Some(text)) => text.trim().parse().map(Some).map_err(|_| wrong()),
        other => match other.cast_to(&DataType::Int64).map_err(|e| translate(e, &[]))? {
            ScalarValue::Int64(Some(n)) => Ok(Some(n)),
            _ => Err(wrong()),
        },
    }
}

fn frame_text(frame: Frame) -> String {
    let side = |bound: FrameBound, unbounded: &str| match bound {
        FrameBound::Unbounded => unbounded.to_string(),
        FrameBound::Preceding(0) => "CURRENT ROW".into(),
        FrameBound::Preceding(n) if n > 0 => format!("{n} PRECEDING"),
        FrameBound::Preceding(n) => format!("{} FOLLOWING", -n),
    };
    format!(
        "{} BETWEEN {} AND {}",
        // Flink's plans spell it so.
        if frame.rows { "ROWS" } else { "RANG" },
        side(frame.start, "UNBOUNDED PRECEDING"),
        side(frame.end, "UNBOUNDED FOLLOWING")
    )
}

fn call_text(call: &WindowFunction) -> String {
    let arguments: Vec<String> =
        match counts_rows_of(&call.params.args, call.params.distinct) && function(call) == "count" {
            true => vec!["*".into()],
            false => call.params.args.iter().map(text).collect(),
        };
    let distinct = if call.params.distinct { "DISTINCT " } else { "" };
    format!("{}({distinct}{})", function(call).to_uppercase(), arguments.join(", "))
}
