//! Aggregates: in windows where the window's bounds are group keys, else as a changelog.

use super::calc::{named, peel};
use super::window::{bound_field, index_of};
use super::{Graph, Lowered, NewNode, Origin, Windowed, refuse_unknown_aggregate};
use crate::error::{Error, Result};
use crate::plan::{
    AggregateCall, ChangelogMode, GroupAggregateNode, MiniBatchNode, NodeId, NodeKind, TimeAttribute,
    WindowAggregateNode, WindowInput, WindowProperty,
};
use crate::planner::changelog::{self, Course};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{counts_rows, field_of, first_span, physical, text, unalias};
use crate::planner::nodes::Window;
use crate::planner::{explain, relations};
use crate::sql::data_type::{TimeKind, without_time_attribute};
use crate::time::WindowSpec;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, LogicalPlan};
use std::sync::Arc;

/// A group key: a column of the input, or a bound of the window.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Key {
    Column(usize),
    Property(WindowProperty),
}

/// An aggregate over a window function, seen through the projections and filters between them.
struct OverWindow<'p> {
    window: &'p Window,
    groups: Vec<Expr>,
    calls: Vec<AggregateFunction>,
    /// Conditions on rows, over the window's input.
    row_filters: Vec<Expr>,
    /// Conditions on windows alone, over the window's output.
    window_filters: Vec<Expr>,
}

impl Graph<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, names: &[Option<String>]) -> Result<Lowered> {
        let calls = aggregate.aggr_expr.iter().map(call).collect::<Result<Vec<_>>>()?;
        if let Some(over) = over_window(aggregate, &calls)? {
            return self.window_aggregate(aggregate, over, names);
        }
        let (filters, base) = peel(&aggregate.input);
        let schema = aggregate.input.schema();
        let used: Vec<&Expr> = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).collect();
        let read = crate::planner::expressions::columns_read(used, schema);
        let (input, filters) = self.peeled(filters, base, &[], &|c| read.contains(&c))?;
        let filters: Vec<(&Expr, &datafusion_common::DFSchemaRef)> =
            filters.iter().map(|(e, s)| (e, *s)).collect();
        let input = if filters.is_empty() { input } else { self.filtered(input, &filters)? };
        if let Some(windowed) = &input.windowed
            && let Some(origin) = windowed.origin
        {
            let bound = |set: &std::collections::BTreeSet<usize>| {
                aggregate.group_expr.iter().find_map(|e| column(e, schema).filter(|i| set.contains(i)))
            };
            if let (Some(start), Some(end)) = (bound(&windowed.start), bound(&windowed.end)) {
                let windowed = windowed.clone();
                return self.attached_aggregate(
                    aggregate,
                    &calls,
                    input,
                    (start, end),
                    &windowed,
                    origin,
                    names,
                );
            }
        }
        self.group_aggregate(aggregate, &calls, input, names)
    }

    fn window_aggregate(
        &mut self,
        aggregate: &Aggregate,
        over: OverWindow<'_>,
        names: &[Option<String>],
    ) -> Result<Lowered> {
        let window = over.window;
        if !window.from_group_by {
            relations::check_aggregated(&window.spec)
                .map_err(|e| e.at(first_span(&Expr::Column(window.columns[0].clone()))))?;
        }
        let input = self.lower(&window.input, &[])?;
        let time = self.window_time(window, &input)?;
        let schema = window.input.schema();
        let time_field = Arc::clone(&input.fields[time.column]);
        let mut slots = Slots::new(schema, &input);
        let mut keys = Vec::new();
        for group in &over.groups {
            keys.push(match property(group, window, time.kind) {
                Some(property) => Key::Property(property),
                None => Key::Column(slots.add(group)?),
            });
        }
        let (calls, texts) = slots.calls(&over.calls, aggregate, names)?;
        let attribute = match time.kind {
            TimeKind::Rowtime => {
                let name = Expr::Column(window.columns[0].clone());
                let column = slots.add(&milliseconds(name, &time_field))?;
                TimeAttribute::Rowtime { column }
            }
            TimeKind::Proctime => TimeAttribute::Proctime,
        };
        let filters: Vec<(&Expr, &DFSchemaRef)> = over.row_filters.iter().map(|e| (e, schema)).collect();
        let (node, places) = self.slots(slots, &input, &filters)?;
        let attribute = match attribute {
            TimeAttribute::Rowtime { column } => TimeAttribute::Rowtime { column: places[column] },
            TimeAttribute::Proctime => TimeAttribute::Proctime,
        };
        let time_name = time_field.name().clone();
        let origin = Origin { spec: window.spec, proctime: time.kind == TimeKind::Proctime, zone: time.zone };
        let shape = explain::window(&window.spec, &format!("time_col=[{time_name}]"));
        let input = WindowInput::Assign { window: window.spec, time: attribute, zone: time.zone };
        let fields = [
            bound_field(&window.names.start),
            bound_field(&window.names.end),
            time.field(&window.names.time, &time_field)
                .with_nullable(window.from_group_by && time.kind == TimeKind::Rowtime),
        ];
        let lowered = self.windowed_node(
            aggregate, input, &shape, origin, keys, calls, texts, node, &places, fields, names,
        )?;
        if over.window_filters.is_empty() {
            return Ok(lowered);
        }
        // The window's bounds are group keys, so conditions on them hold for results as they do for rows.
        let mut columns = vec![usize::MAX; window.schema_width()];
        for (index, group) in over.groups.iter().enumerate() {
            if let Some(position) = column(group, window.output_schema()) {
                columns[position] = index;
            }
        }
        let result = aggregate.schema.clone();
        let conditions = over
            .window_filters
            .iter()
            .map(|e| {
                replace(e.clone(), window.output_schema(), |i| {
                    columns
                        .get(i)
                        .filter(|c| **c != usize::MAX)
                        .map(|c| Expr::Column(result.columns()[*c].clone()))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let filters: Vec<(&Expr, &DFSchemaRef)> = conditions.iter().map(|e| (e, &aggregate.schema)).collect();
        self.filtered(lowered, &filters)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one node, found by its only caller")]
    fn attached_aggregate(
        &mut self,
        aggregate: &Aggregate,
        calls: &[AggregateFunction],
        input: Lowered,
        (start, end): (usize, usize),
        windowed: &Windowed,
        origin: Origin,
        names: &[Option<String>],
    ) -> Result<Lowered> {
        if origin.proctime {
            return Err(Error::unsupported(
                "Aggregating the windows of a processing-time window again",
                "Use an event-time window (WATERMARK FOR …), or aggregate once.",
            ));
        }
        let schema = aggregate.input.schema();
        let names_in: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let mut slots = Slots::new(schema, &input);
        let mut keys = Vec::new();
        for group in &aggregate.group_expr {
            let index = column(group, schema);
            keys.push(match index {
                Some(i) if windowed.start.contains(&i) => Key::Property(WindowProperty::Start),
                Some(i) if windowed.end.contains(&i) => Key::Property(WindowProperty::End),
                Some(i)
                    if crate::sql::data_type::time_attribute(&input.fields[i]) == Some(TimeKind::Rowtime) =>
                {
                    Key::Property(WindowProperty::Rowtime)
                }
                _ => Key::Column(slots.add(group)?),
            });
        }
        let time = aggregate.group_expr.iter().find_map(|g| {
            column(g, schema).filter(|i| {
                crate::sql::data_type::time_attribute(&input.fields[*i]) == Some(TimeKind::Rowtime)
            })
        });
        let (calls, texts) = slots.calls(calls, aggregate, names)?;
        let all = schema.columns();
        let (start_slot, end_slot) =
            (slots.add(&Expr::Column(all[start].clone()))?, slots.add(&Expr::Column(all[end].clone()))?);
        let time_field = match time {
            Some(i) => input.fields[i].as_ref().clone(),
            None => bound_field("window_time"),
        };
        let (node, places) = self.slots(slots, &input, &[])?;
        let shape = explain::window(
            &origin.spec,
            &format!("win_start=[{}], win_end=[{}]", names_in[start], names_in[end]),
        );
        let attached =
            WindowInput::Attached { start: places[start_slot], end: places[end_slot], zone: origin.zone };
        let fields = [bound_field(&names_in[start]), bound_field(&names_in[end]), time_field];
        self.windowed_node(
            aggregate, attached, &shape, origin, keys, calls, texts, node, &places, fields, names,
        )
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one node, found by two callers in two ways")]
    fn windowed_node(
        &mut self,
        aggregate: &Aggregate,
        input: WindowInput,
        shape: &str,
        origin: Origin,
        keys: Vec<Key>,
        calls: Vec<AggregateCall>,
        call_texts: Vec<String>,
        below: crate::plan::NodeId,
        places: &[usize],
        bounds: [Field; 3],
        names: &[Option<String>],
    ) -> Result<Lowered> {
        let below_schema = Arc::clone(&self.node(below).schema);
        let mut key_columns: Vec<usize> = Vec::new();
        let mut properties: Vec<WindowProperty> = Vec::new();
        for key in &keys {
            match key {
                Key::Column(slot) => {
                    if !key_columns.contains(&places[*slot]) {
                        key_columns.push(places[*slot]);
                    }
                }
                Key::Property(p) => {
                    if !properties.contains(p) {
                        properties.push(*p);
                    }
                }
            }
        }
        let calls: Vec<AggregateCall> = calls.into_iter().map(|c| at(c, places)).collect();
        let property_field = |p: &WindowProperty| match p {
            WindowProperty::Start => bounds[0].clone(),
            WindowProperty::End => bounds[1].clone(),
            WindowProperty::Rowtime | WindowProperty::Proctime => bounds[2].clone(),
        };
        // Physical order: keys, aggregates, properties. Logical order: as the aggregate lists them.
        let (n_keys, n_calls) = (key_columns.len(), calls.len());
        let mut columns = Vec::new();
        let mut windowed = Windowed { origin: Some(origin), ..Windowed::default() };
        for (index, key) in keys.iter().enumerate() {
            columns.push(match key {
                Key::Column(slot) => key_columns.iter().position(|k| *k == places[*slot]).unwrap_or_default(),
                Key::Property(p) => {
                    match p {
                        WindowProperty::Start => drop(windowed.start.insert(index)),
                        WindowProperty::End => drop(windowed.end.insert(index)),
                        _ => {}
                    }
                    n_keys + n_calls + properties.iter().position(|x| x == p).unwrap_or_default()
                }
            });
        }
        columns.extend(n_keys..n_keys + n_calls);
        let mut physical_fields: Vec<Field> =
            key_columns.iter().map(|k| without_time_attribute(below_schema.field(*k).clone())).collect();
        for (index, call) in calls.iter().enumerate() {
            let field = aggregate.schema.field(keys.len() + index);
            physical_fields.push(result_field(field).with_name(&call.name));
        }
        physical_fields.extend(properties.iter().map(property_field));
        // Outputs are called as the query calls them, so that no projection is needed only to rename.
        for (logical, physical) in columns.iter().enumerate() {
            if let Some(Some(name)) = names.get(logical) {
                physical_fields[*physical].set_name(name);
            }
        }
        let fields = columns.iter().map(|c| Arc::new(physical_fields[*c].clone())).collect();
        let key_names: Vec<&str> =
            key_columns.iter().map(|k| below_schema.field(*k).name().as_str()).collect();
        let mut select: Vec<String> = key_names.iter().map(ToString::to_string).collect();
        select.extend(call_texts);
        for (index, property) in properties.iter().enumerate() {
            let what = match property {
                WindowProperty::Start => "start('w$)",
                WindowProperty::End => "end('w$)",
                WindowProperty::Rowtime => "rowtime('w$)",
                WindowProperty::Proctime => "proctime('w$)",
            };
            select.push(format!("{what} AS {}", physical_fields[n_keys + n_calls + index].name()));
        }
        let group = if key_names.is_empty() {
            String::new()
        } else {
            format!("groupBy=[{}], ", key_names.join(", "))
        };
        let name = format!("WindowAggregate({group}window=[{shape}], select=[{}])", select.join(", "));
        let retracts = !self.node(below).changelog.is_append();
        let (edge, parallelism) = self.keyed(below, key_columns.clone());
        let node = self.add(NewNode {
            kind: NodeKind::WindowAggregate(WindowAggregateNode {
                input,
                keys: key_columns,
                aggregates: calls,
                properties,
                retracts,
            }),
            name,
            inputs: vec![edge],
            schema: Arc::new(Schema::new(physical_fields)),
            parallelism,
            changelog: ChangelogMode::APPEND,
            shared: !origin.proctime,
        });
        Ok(Lowered { node, columns, fields, windowed: Some(windowed) })
    }

    fn group_aggregate(
        &mut self,
        aggregate: &Aggregate,
        calls: &[AggregateFunction],
        input: Lowered,
        names: &[Option<String>],
    ) -> Result<Lowered> {
        let schema = aggregate.input.schema();
        let mut slots = Slots::new(schema, &input);
        let keys = aggregate.group_expr.iter().map(|g| slots.add(g)).collect::<Result<Vec<_>>>()?;
        let (calls, call_texts) = slots.calls(calls, aggregate, names)?;
        let (below, places) = self.slots(slots, &input, &[])?;
        let below_schema = Arc::clone(&self.node(below).schema);
        let mut calls: Vec<AggregateCall> = calls.into_iter().map(|c| at(c, &places)).collect();
        let mut key_columns: Vec<usize> = Vec::new();
        let mut columns = Vec::new();
        for key in &keys {
            let place = places[*key];
            columns.push(key_columns.iter().position(|k| *k == place).unwrap_or_else(|| {
                key_columns.push(place);
                key_columns.len() - 1
            }));
        }
        columns.extend(key_columns.len()..key_columns.len() + calls.len());
        let mut fields: Vec<Field> = key_columns.iter().map(|k| key_field(below_schema.field(*k))).collect();
        for (index, call) in calls.iter().enumerate() {
            fields.push(result_field(aggregate.schema.field(keys.len() + index)).with_name(&call.name));
        }
        for (logical, physical) in columns.iter().enumerate() {
            if let Some(Some(name)) = names.get(logical) {
                fields[*physical].set_name(name);
            }
        }
        let batch = self.context.config.is_batch();
        let changed = self.node(below).changelog;
        if !changed.is_append() {
            self.mark_monotone(&mut calls, below, &key_columns);
        }
        let changelog = if batch || (calls.is_empty() && changed.is_append()) {
            ChangelogMode::APPEND
        } else if changed.is_append() {
            ChangelogMode { update_before: true, update_after: true, delete: false }
        } else {
            ChangelogMode::RETRACT
        };
        let key_names: Vec<&str> =
            key_columns.iter().map(|k| below_schema.field(*k).name().as_str()).collect();
        let mut select: Vec<String> = key_names.iter().map(ToString::to_string).collect();
        select.extend(call_texts);
        let group = if key_names.is_empty() {
            String::new()
        } else {
            format!("groupBy=[{}], ", key_names.join(", "))
        };
        let name = format!("GroupAggregate({group}select=[{}])", select.join(", "));
        let (edge, parallelism) = self.keyed(below, key_columns.clone());
        let node = self.add(NewNode {
            kind: NodeKind::GroupAggregate(GroupAggregateNode {
                keys: key_columns,
                aggregates: calls,
                retracts: !changed.is_append(),
                update_before: true,
                at_end_only: batch,
                mini_batch: self.mini_batch()?,
                ttl_ms: crate::planner::nodes::state_ttl(&aggregate.input),
            }),
            name,
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog,
            shared: true,
        });
        let fields = columns.iter().map(|c| Arc::new(fields[*c].clone())).collect();
        Ok(Lowered { node, columns, fields, windowed: None })
    }

    /// As Flink's planner: where no row is deleted and no key changes, the maximum of what grows takes nothing back.
    fn mark_monotone(&self, calls: &mut [AggregateCall], below: NodeId, keys: &[usize]) {
        let Some(courses) = changelog::courses(&self.nodes, below) else { return };
        let course = |column: &usize| courses.get(*column).copied().unwrap_or(Course::Any);
        if keys.iter().any(|k| course(k) != Course::Constant) {
            return;
        }
        for call in calls {
            let [argument] = call.arguments[..] else { continue };
            call.monotone = match call.function.as_str() {
                "max" => course(&argument) == Course::Grows,
                "min" => course(&argument) == Course::Falls,
                _ => false,
            };
        }
    }

    /// The mini-batches that are set.
    ///
    /// Errors: a size or a latency that is missing.
    fn mini_batch(&self) -> Result<Option<MiniBatchNode>> {
        let config = self.context.config;
        if !config.boolean("table.exec.mini-batch.enabled") || config.is_batch() {
            return Ok(None);
        }
        let (size, latency_ms) = (
            config.integer("table.exec.mini-batch.size"),
            config.duration_ms("table.exec.mini-batch.allow-latency"),
        );
        if size == 0 {
            return Err(Error::user("table.exec.mini-batch.size must be > 0.")
                .with_hint("SET 'table.exec.mini-batch.size' = '5000';"));
        }
        if latency_ms == 0 {
            return Err(Error::user("table.exec.mini-batch.allow-latency must be greater than 0.")
                .with_hint("SET 'table.exec.mini-batch.allow-latency' = '1 s';"));
        }
        Ok(Some(MiniBatchNode { size, latency_ms }))
    }

    /// The operator that gives the slots, and each slot's index in its output.
    fn slots(
        &mut self,
        slots: Slots<'_>,
        input: &Lowered,
        filters: &[(&Expr, &DFSchemaRef)],
    ) -> Result<(crate::plan::NodeId, Vec<usize>)> {
        let plain: Vec<Option<usize>> = slots.exprs.iter().map(|e| column(e, slots.schema)).collect();
        if filters.is_empty() && plain.iter().all(Option::is_some) {
            return Ok((input.node, plain.into_iter().flatten().map(|i| input.columns[i]).collect()));
        }
        let exprs = slots
            .exprs
            .iter()
            .map(|e| physical(e, slots.schema, &input.columns))
            .collect::<Result<Vec<_>>>()?;
        let texts = slots
            .exprs
            .iter()
            .zip(&slots.fields)
            .map(|(e, f)| explain::aliased(&text(&named(e, slots.schema, input)), f.name()))
            .collect();
        let volatile = slots.exprs.iter().chain(filters.iter().map(|(e, _)| *e)).any(Expr::is_volatile);
        let below = self.calc(input, filters, exprs, slots.fields, texts, !volatile)?;
        Ok((below.node, below.columns))
    }
}

/// The columns that an aggregate needs below it, each once.
struct Slots<'s> {
    schema: &'s DFSchema,
    inputs: Vec<arrow::datatypes::FieldRef>,
    exprs: Vec<Expr>,
    fields: Vec<Field>,
}

impl<'s> Slots<'s> {
    fn new(schema: &'s DFSchema, input: &Lowered) -> Self {
        Self { schema, inputs: input.fields.clone(), exprs: Vec::new(), fields: Vec::new() }
    }

    fn add(&mut self, expr: &Expr) -> Result<usize> {
        let bare = unalias(expr);
        if let Some(known) = self.exprs.iter().position(|e| e == bare)
            && !bare.is_volatile()
        {
            return Ok(known);
        }
        let field = field_of(bare, self.schema, Some(&self.inputs)).map_err(|e| translate(e, &[]))?;
        let field = match bare {
            Expr::Column(_) => match column(bare, self.schema).and_then(|i| self.inputs.get(i)) {
                Some(input) => field.with_name(input.name()),
                None => field,
            },
            _ => field.with_name(format!("$f{}", self.exprs.len())),
        };
        self.exprs.push(bare.clone());
        self.fields.push(field);
        Ok(self.exprs.len() - 1)
    }

    /// The expression with columns called as the operator below calls them.
    fn named(&self, expr: &Expr) -> Expr {
        let input = Lowered {
            node: crate::plan::NodeId(0),
            columns: Vec::new(),
            fields: self.inputs.clone(),
            windowed: None,
        };
        named(expr, self.schema, &input)
    }

    /// The calls over slots, and their texts.
    fn calls(
        &mut self,
        calls: &[AggregateFunction],
        aggregate: &Aggregate,
        names: &[Option<String>],
    ) -> Result<(Vec<AggregateCall>, Vec<String>)> {
        let groups = aggregate.group_expr.len();
        let mut texts = Vec::new();
        let mut result = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let plain = text(&self.named(&Expr::AggregateFunction(call.clone())));
            let name = match names.get(groups + index) {
                Some(Some(name)) => name.clone(),
                _ => format!("EXPR${}", groups + index),
            };
            refuse_unknown_aggregate(call)?;
            let arguments = match counts_rows(call) {
                true => Vec::new(),
                false => call.params.args.iter().map(|a| self.add(a)).collect::<Result<_>>()?,
            };
            let filter = call.params.filter.as_deref().map(|f| self.add(f)).transpose()?;
            texts.push(explain::aliased(&plain, &name));
            result.push(AggregateCall {
                function: call.func.name().to_lowercase(),
                arguments,
                distinct: call.params.distinct,
                filter,
                data_type: aggregate.schema.field(groups + index).data_type().clone(),
                name,
                monotone: false,
            });
        }
        Ok((result, texts))
    }
}

/// The call with slots replaced by their places.
fn at(call: AggregateCall, places: &[usize]) -> AggregateCall {
    AggregateCall {
        arguments: call.arguments.iter().map(|a| places[*a]).collect(),
        filter: call.filter.map(|f| places[f]),
        ..call
    }
}

/// The field of a group key: event time stays event time, as in Flink.
fn key_field(field: &Field) -> Field {
    match crate::sql::data_type::time_attribute(field) {
        Some(TimeKind::Rowtime) => field.clone(),
        _ => without_time_attribute(field.clone()),
    }
}

/// The field of an aggregate's result.
fn result_field(field: &Field) -> Field {
    without_time_attribute(field.clone())
}

fn call(expr: &Expr) -> Result<AggregateFunction> {
    match unalias(expr) {
        Expr::AggregateFunction(call) => Ok(call.clone()),
        other => Err(Error::internal(format!("an aggregate that is {other}"))),
    }
}

/// Index of the column that the expression is.
fn column(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match unalias(expr) {
        Expr::Column(c) => schema.maybe_index_of_column(c),
        _ => None,
    }
}

/// The window's property that the group key is.
fn property(group: &Expr, window: &Window, kind: TimeKind) -> Option<WindowProperty> {
    let index = column(group, window.output_schema())?.checked_sub(window.width())?;
    Some(match (index, kind) {
        (0, _) => WindowProperty::Start,
        (1, _) => WindowProperty::End,
        (_, TimeKind::Rowtime) => WindowProperty::Rowtime,
        (_, TimeKind::Proctime) => WindowProperty::Proctime,
    })
}

/// A time column as TIMESTAMP(3), as operators read event time.
fn milliseconds(expr: Expr, field: &Field) -> Expr {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => expr,
        DataType::Timestamp(_, zone) => {
            datafusion_expr::cast(expr, DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
        }
        _ => expr,
    }
}

/// `expr` over another schema: column i of `schema` becomes `by(i)`.
fn replace(expr: Expr, schema: &DFSchema, by: impl Fn(usize) -> Option<Expr>) -> Result<Expr> {
    let replaced = expr.transform_up(|e| {
        Ok(match &e {
            Expr::Column(c) => match schema.maybe_index_of_column(c).and_then(&by) {
                Some(other) => Transformed::yes(other),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    });
    replaced.map(|t| t.data).map_err(|e| translate(e, &[]))
}

/// The aggregate as one over the window function below it, if nothing between them needs the windows row by row.
fn over_window<'p>(aggregate: &'p Aggregate, calls: &[AggregateFunction]) -> Result<Option<OverWindow<'p>>> {
    let mut groups: Vec<Expr> = aggregate.group_expr.iter().map(|e| unalias(e).clone()).collect();
    let mut calls = calls.to_vec();
    let mut filters: Vec<Expr> = Vec::new();
    let mut plan: &LogicalPlan = &aggregate.input;
    let window = loop {
        let rewritten: Box<dyn Fn(usize) -> Option<Expr>>;
        let (schema, next): (&DFSchemaRef, &LogicalPlan) = match plan {
            LogicalPlan::SubqueryAlias(alias) => {
                let columns = alias.input.schema().columns();
                rewritten = Box::new(move |i| columns.get(i).cloned().map(Expr::Column));
                (&alias.schema, &alias.input)
            }
            LogicalPlan::Projection(projection) => {
                if projection.expr.iter().any(Expr::is_volatile) {
                    return Ok(None);
                }
                rewritten = Box::new(move |i| projection.expr.get(i).map(|e| unalias(e).clone()));
                (&projection.schema, &projection.input)
            }
            LogicalPlan::Filter(filter) => {
                filters.push(filter.predicate.clone());
                plan = &filter.input;
                continue;
            }
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Window>() {
                Some(window) => break window,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        for expr in groups.iter_mut().chain(&mut filters) {
            *expr =
                replace(std::mem::replace(expr, Expr::Literal(ScalarValue::Null, None)), schema, &rewritten)?;
        }
        for call in &mut calls {
            for argument in &mut call.params.args {
                *argument = replace(argument.clone(), schema, &rewritten)?;
            }
            if let Some(filter) = &mut call.params.filter {
                **filter = replace(filter.as_ref().clone(), schema, &rewritten)?;
            }
        }
        plan = next;
    };
    let schema = window.output_schema();
    let width = window.width();
    let reads_window =
        |e: &Expr| crate::planner::expressions::columns_read([e], schema).iter().any(|i| *i >= width);
    let only_window =
        |e: &Expr| crate::planner::expressions::columns_read([e], schema).iter().all(|i| *i >= width);
    let positions: Vec<Option<usize>> = groups.iter().map(|g| column(g, schema)).collect();
    let has = |i: usize| positions.contains(&Some(i));
    if !has(width) || !has(width + 1) {
        return Ok(None);
    }
    let plain_key = |(g, p): (&Expr, &Option<usize>)| p.is_some_and(|p| p >= width) || !reads_window(g);
    let arguments = calls.iter().flat_map(|c| c.params.args.iter().chain(c.params.filter.as_deref()));
    if !groups.iter().zip(&positions).all(plain_key) || arguments.into_iter().any(reads_window) {
        return Ok(None);
    }
    let (window_filters, row_filters): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(reads_window);
    let known = |e: &Expr| crate::planner::expressions::columns_read([e], schema).iter().all(|i| has(*i));
    if !window_filters.iter().all(|f| only_window(f) && known(f)) {
        return Ok(None);
    }
    if let (WindowSpec::Session { .. }, false) = (window.spec, window.from_group_by) {
        // Sessions are per PARTITION BY key; only where these are the group keys do both count the same.
        let mut partition =
            window.columns[1..].iter().map(|c| index_of(window, c)).collect::<Result<Vec<_>>>()?;
        let mut keys: Vec<usize> = positions.iter().flatten().copied().filter(|p| *p < width).collect();
        let computed = positions.iter().any(Option::is_none);
        partition.sort_unstable();
        keys.sort_unstable();
        if computed || partition != keys || !row_filters.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(OverWindow { window, groups, calls, row_filters, window_filters }))
}
