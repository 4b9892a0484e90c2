//! `LogicalPlan` to `StreamPlan`: the graph being built, and what is known of each part of it.

mod aggregate;
mod calc;
mod expand;
mod identity;
mod interval_join;
mod join;
mod lookup_join;
mod match_recognize;
mod over;
mod prune;
mod rank;
mod scan;
mod set;
mod sink;
mod temporal_join;
mod unnest;
mod values;
mod window;
mod window_join;

pub(super) use sink::SinkTarget;

use super::expressions::physical_column;
use super::nodes::{Expand, Hinted, Match, Unnest, Versioned, Window};
use super::{PlannerContext, explain};
use crate::error::{Error, Result, Span};
use crate::plan::{
    CalcNode, ChangelogMode, Edge, NodeId, NodeKind, OperatorId, Partitioning, StreamNode, StreamPlan,
};
use crate::time::WindowSpec;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion_expr::LogicalPlan;
use datafusion_physical_expr::PhysicalExpr;
use scan::Scan;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The operator graph while it is built.
pub(super) struct Graph<'a> {
    context: &'a PlannerContext<'a>,
    nodes: Vec<StreamNode>,
    /// Equal operators over equal inputs are one.
    known: HashMap<String, NodeId>,
    /// Columns that all scans of a table read together, by the table's identity.
    needs: HashMap<String, prune::Reads>,
    scans: HashMap<String, Scan>,
    /// Place of the query's first join, for refusals.
    join_place: Option<Span>,
}

/// A part of the logical plan as operators.
#[derive(Debug, Clone)]
pub(super) struct Lowered {
    /// The operator whose output holds the columns.
    pub node: NodeId,
    /// For each logical column, its index in the operator's output.
    pub columns: Vec<usize>,
    /// For each logical column, its type, nullability and mark as a time attribute.
    pub fields: Vec<FieldRef>,
    /// Set if the rows belong to windows.
    pub windowed: Option<Windowed>,
}

/// The windows that rows belong to, and which logical columns tell them.
#[derive(Debug, Clone, Default)]
pub(super) struct Windowed {
    /// Columns equal to `window_start`.
    pub start: BTreeSet<usize>,
    /// Columns equal to `window_end`.
    pub end: BTreeSet<usize>,
    /// What made the windows.
    pub origin: Option<Origin>,
}

/// What made windows: equal origins make equal windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Size, slide, gap, …
    pub spec: WindowSpec,
    /// Whether processing time decides.
    pub proctime: bool,
    /// Zone of the window columns; `None` for TIMESTAMP.
    pub zone: Option<chrono_tz::Tz>,
}

impl Windowed {
    /// The windows as seen through a projection, whose column i is column `sources[i]` of the input.
    fn through(&self, sources: &[Option<usize>]) -> Self {
        let map = |set: &BTreeSet<usize>| {
            let hits = sources.iter().enumerate().filter(|(_, s)| s.is_some_and(|s| set.contains(&s)));
            hits.map(|(i, _)| i).collect()
        };
        Self { start: map(&self.start), end: map(&self.end), origin: self.origin }
    }
}

impl<'a> Graph<'a> {
    /// An empty graph for jobs that read what `plans` read.
    pub fn new(
        context: &'a PlannerContext<'a>,
        plans: &[&LogicalPlan],
        join_place: Option<Span>,
    ) -> Result<Self> {
        Ok(Self {
            context,
            nodes: Vec::new(),
            known: HashMap::new(),
            needs: prune::reads(plans)?,
            scans: HashMap::new(),
            join_place,
        })
    }

    /// The finished graph.
    pub fn finish(mut self) -> StreamPlan {
        crate::planner::changelog::infer(&mut self.nodes);
        tell_each_watermark(&mut self.nodes);
        identity::assign(&mut self.nodes);
        StreamPlan { nodes: self.nodes }
    }

    /// Lowers `plan`. `names` are what its columns will be called, where known: only for texts.
    pub fn lower(&mut self, plan: &LogicalPlan, names: &[Option<String>]) -> Result<Lowered> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => match rank::unsorted(&alias.input) {
                // The order of a subquery's rows means nothing.
                Some(input) => self.lower(&input, names),
                None => self.lower(&alias.input, names),
            },
            LogicalPlan::Projection(projection) => self.projection(projection, names),
            LogicalPlan::Filter(filter) => self.filter(filter, names),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, names),
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(window) = node.downcast_ref::<Window>() {
                    self.window_table(window)
                } else if let Some(expand) = node.downcast_ref::<Expand>() {
                    self.expand(expand)
                } else if let Some(unnest) = node.downcast_ref::<Unnest>() {
                    self.unnest(unnest)
                } else if let Some(found) = node.downcast_ref::<Match>() {
                    self.match_recognize(found)
                } else if let Some(versioned) = node.downcast_ref::<Versioned>() {
                    self.lower(&versioned.input, names)
                } else if let Some(hinted) = node.downcast_ref::<Hinted>() {
                    self.lower(&hinted.input, names)
                } else {
                    Err(Error::internal(format!("no lowering for {}", extension.node.name())))
                }
            }
            LogicalPlan::Join(join) => {
                let joined = self.join(join)?;
                Ok(self.final_rows(joined))
            }
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => self.empty_relation(empty),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Sort(sort) => self.sort(sort, 0, None),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Subquery(_) => Err(scalar_subquery()),
            LogicalPlan::Unnest(_) => {
                Err(Error::unsupported("UNNEST", "Take single elements: a[1] is the first of the array a."))
            }
            other => Err(Error::unsupported(
                format!("This query ({})", other.display()),
                "Write it with WHERE, GROUP BY, windows and UNION ALL.",
            )),
        }
    }

    pub fn node(&self, id: NodeId) -> &StreamNode {
        &self.nodes[id.0]
    }

    /// Adds an operator, or gives the equal one that is there already if `shared`.
    fn add(&mut self, new: NewNode) -> NodeId {
        let NewNode { kind, name, inputs, schema, parallelism, changelog, shared } = new;
        let signature = shared.then(|| format!("{name}\n{inputs:?}\n{kind:?}\n{schema:?}\n{parallelism}"));
        if let Some(id) = signature.as_ref().and_then(|s| self.known.get(s)) {
            return *id;
        }
        let id = NodeId(self.nodes.len());
        // Ids are given when the graph is finished.
        let operator_id = OperatorId(String::new());
        let node = StreamNode { id, operator_id, name, kind, inputs, schema, parallelism, changelog };
        self.nodes.push(node);
        if let Some(signature) = signature {
            self.known.insert(signature, id);
        }
        id
    }

    /// Takes out the operator that was added last, which nothing reads yet.
    fn take_back(&mut self, id: NodeId) {
        self.nodes.pop();
        self.known.retain(|_, known| *known != id);
    }

    /// Rows of `from` task by task to an operator of the same parallelism.
    fn forward(&self, from: NodeId) -> (Edge, usize) {
        (Edge { from, partitioning: Partitioning::Forward }, self.node(from).parallelism)
    }

    /// Rows of `from` spread by `keys` (indexes of its output), with the parallelism of the receiver.
    fn keyed(&self, from: NodeId, keys: Vec<usize>) -> (Edge, usize) {
        let parallelism = if keys.is_empty() { 1 } else { self.context.config.parallelism() };
        let partitioning = match self.node(from).parallelism {
            // One task to one task: nothing to spread, so the two can be chained.
            1 if parallelism == 1 => Partitioning::Forward,
            _ if keys.is_empty() => Partitioning::Single,
            _ => Partitioning::Hash(keys),
        };
        (Edge { from, partitioning }, parallelism)
    }

    /// An operator whose output is exactly the logical columns, called `names`.
    pub fn exact(&mut self, lowered: &Lowered, names: &[String]) -> Result<NodeId> {
        let node = self.node(lowered.node);
        let fits = node.schema.fields().len() == lowered.columns.len()
            && lowered.columns.iter().enumerate().all(|(i, c)| i == *c)
            && node.schema.fields().iter().zip(names).zip(&lowered.fields).all(|((have, name), want)| {
                have.name() == name
                    && have.data_type() == want.data_type()
                    && have.metadata() == want.metadata()
            });
        if fits {
            return Ok(lowered.node);
        }
        let fields: Vec<Field> =
            lowered.fields.iter().zip(names).map(|(f, n)| f.as_ref().clone().with_name(n)).collect();
        // A projection that nothing else reads takes the new shape itself.
        if let (Some(top), true) = (self.nodes.last(), lowered.node.0 + 1 == self.nodes.len())
            && let NodeKind::Calc(calc) = &top.kind
        {
            let projection =
                lowered.columns.iter().map(|c| Arc::clone(&calc.projection[*c])).collect::<Vec<_>>();
            let (filter, input) = (calc.filter.clone(), top.inputs[0].clone());
            let texts = explain::reselect(&top.name, &lowered.columns, names);
            self.take_back(lowered.node);
            return Ok(self.calc_node(input, filter, projection, fields, texts, true));
        }
        let projection = lowered
            .columns
            .iter()
            .map(|c| physical_column(self.node(lowered.node).schema.field(*c).name(), *c))
            .collect();
        let have = Arc::clone(&self.node(lowered.node).schema);
        let texts = lowered
            .columns
            .iter()
            .zip(names)
            .map(|(c, n)| explain::renamed(have.field(*c).name(), n))
            .collect();
        let name = explain::calc(texts, None);
        let (edge, _) = self.forward(lowered.node);
        Ok(self.calc_node(edge, None, projection, fields, name, true))
    }

    fn calc_node(
        &mut self,
        input: Edge,
        filter: Option<Arc<dyn PhysicalExpr>>,
        projection: Vec<Arc<dyn PhysicalExpr>>,
        fields: Vec<Field>,
        name: String,
        shared: bool,
    ) -> NodeId {
        let from = self.node(input.from);
        let (parallelism, changelog) = (from.parallelism, from.changelog);
        self.add(NewNode {
            kind: NodeKind::Calc(CalcNode { filter, projection }),
            name,
            inputs: vec![input],
            schema: Arc::new(Schema::new(fields)),
            parallelism,
            changelog,
            shared,
        })
    }

    /// Errors unless the rows of `node` are inserts only.
    fn only_inserts(&self, node: NodeId, consumer: &str, hint: &str) -> Result<()> {
        let changelog = self.node(node).changelog;
        if changelog.is_append() {
            return Ok(());
        }
        let producer = self.producer(node);
        Err(Error::user(format!(
            "{consumer} doesn't support consuming {} which is produced by node {}",
            changes(changelog),
            self.node(producer).name
        ))
        .with_hint(hint))
    }

    /// The operator that makes the updates which `node` passes on.
    fn producer(&self, node: NodeId) -> NodeId {
        let this = self.node(node);
        match &this.kind {
            NodeKind::Calc(_)
            | NodeKind::Expand(_)
            | NodeKind::Union
            | NodeKind::Limit(_)
            | NodeKind::LookupJoin(_) => this
                .inputs
                .iter()
                .map(|e| e.from)
                .find(|n| !self.node(*n).changelog.is_append())
                .map_or(node, |n| self.producer(n)),
            _ => node,
        }
    }
}

/// Where rows are taken back from windows, and where a query asks for the watermark, sources tell each one.
fn tell_each_watermark(nodes: &mut [StreamNode]) {
    let asks = |n: &StreamNode| match &n.kind {
        NodeKind::WindowAggregate(a) => a.retracts,
        NodeKind::Calc(c) => c.filter.iter().chain(&c.projection).any(asks_for_watermark),
        _ => false,
    };
    if !nodes.iter().any(asks) {
        return;
    }
    for node in nodes {
        if let NodeKind::Source(source) = &mut node.kind
            && let Some(watermark) = &mut source.watermark
        {
            watermark.tells_each = true;
        }
    }
}

fn asks_for_watermark(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let call = expr.downcast_ref::<datafusion_physical_expr::ScalarFunctionExpr>();
    call.is_some_and(|c| c.name().eq_ignore_ascii_case("current_watermark"))
        || expr.children().into_iter().any(asks_for_watermark)
}

/// What `Graph::add` needs.
struct NewNode {
    kind: NodeKind,
    name: String,
    inputs: Vec<Edge>,
    schema: SchemaRef,
    parallelism: usize,
    changelog: ChangelogMode,
    /// Whether an equal operator may stand for it: not if its expressions give something else each time.
    shared: bool,
}

/// Flink's words for the changes of a mode.
fn changes(mode: ChangelogMode) -> &'static str {
    match (mode.update_after, mode.delete) {
        (true, false) => "update changes",
        (true, true) => "update and delete changes",
        _ => "delete changes",
    }
}

fn scalar_subquery() -> Error {
    Error::unsupported(
        "A subquery as a value",
        "Aggregate both in windows and join them on the window's bounds.",
    )
}

/// Aggregates that the runtime can compute.
const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "collect",
    "count",
    "first_value",
    "last_value",
    "listagg",
    "max",
    "min",
    "single_value",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Errors if the runtime has no accumulator for the call.
fn refuse_unknown_aggregate(call: &datafusion_expr::expr::AggregateFunction) -> Result<()> {
    let name = call.func.name().to_lowercase();
    let at = call.params.args.iter().find_map(super::expressions::first_span);
    check_aggregate(&name, &call.params.args, !call.params.order_by.is_empty(), at)
}

/// Errors if the runtime has no accumulator for the aggregate `name` (lower case) of `args`.
fn check_aggregate(
    name: &str,
    args: &[datafusion_expr::Expr],
    ordered: bool,
    at: Option<Span>,
) -> Result<()> {
    let shown = name.to_uppercase();
    if !AGGREGATES.contains(&name) {
        return Err(Error::unsupported(
            format!("The aggregate {shown}"),
            format!("There are {}.", AGGREGATES.join(", ").to_uppercase()),
        )
        .at(at));
    }
    if ordered {
        return Err(Error::unsupported(format!("{shown} with ORDER BY"), "Leave the order out.").at(at));
    }
    if args.len() > 1 && name != "listagg" {
        return Err(Error::unsupported(
            format!("{shown} of several columns"),
            format!("Join them: {shown}(a || '|' || b)."),
        )
        .at(at));
    }
    Ok(())
}
