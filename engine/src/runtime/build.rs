//! From nodes to tasks: which nodes share a task, which channels join tasks, and the operator of each node.

use super::chain::{Chain, Link, PassOn};
use super::channel::Mailbox;
use super::coordinator::{Checkpoints, Coordinator, Instance, Poke, Recovery, Setup};
use super::enumerator::{EnumeratorTask, SplitBoard};
use super::exchange::{Exchange, Port};
use super::metrics::{JobMetrics, OperatorMetrics, SourceMetrics, TaskMetrics};
use super::restore::Restored;
use super::shutdown::Control;
use super::sink_task::SinkOperator;
use super::snapshot::{TaskCheckpoints, Writers, start_writers};
use super::source_task::{SourceSetup, SourceTask};
use super::task::{OperatorTask, TaskContext};
use super::values::ValuesTask;
use super::wait_time::WaitTime;
use super::{JobHandle, JobOptions};
use crate::connector::{LookupContext, Metrics, ReaderContext, RecoverContext, SourceContext, WriterContext};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::operators::{
    Calc, ChangelogNormalize, Deduplicate, DropUpdateBefore, Expand, GroupAggregate, IntervalJoin, Limit,
    LookupJoin, MatchRecognize, MiniBatch, OpenContext, Operator, RegularJoin, Sort, TemporalJoin, TopN,
    Union, Unnest, UpsertMaterialize, Values, WindowAggregate, WindowJoin, WindowTable, WindowTopN, over,
};
use crate::plan::{Edge, NodeKind, Partitioning, StreamNode, StreamPlan};
use crate::time::Watermark;
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// Makes the operator of a node that does not touch the outside, from the schemas of its inputs.
pub(super) type OperatorFactory = dyn Fn(&StreamNode, &[SchemaRef]) -> Result<Box<dyn Operator>>;

/// The operator of `node`.
///
/// Errors: the node is a source or sink or looks up rows, or its operator refuses it.
pub(super) fn operator(node: &StreamNode, inputs: &[SchemaRef]) -> Result<Box<dyn Operator>> {
    let output = node.schema.clone();
    let input = || match inputs {
        [input] => Ok(input.clone()),
        _ => Err(Error::internal(format!("{} has {} inputs instead of one.", node.name, inputs.len()))),
    };
    Ok(match &node.kind {
        NodeKind::Calc(n) => Box::new(Calc::new(n, input()?, output)?),
        NodeKind::Union => Box::new(Union::new(inputs, output)?),
        NodeKind::WindowTable(n) => Box::new(WindowTable::new(n, input()?, output)?),
        NodeKind::WindowAggregate(n) => Box::new(WindowAggregate::new(n, input()?, output)?),
        NodeKind::Expand(n) => Box::new(Expand::new(n, input()?, output)?),
        NodeKind::GroupAggregate(n) => {
            let aggregate = Box::new(GroupAggregate::new(n, input()?, output)?);
            match n.mini_batch {
                Some(size) => Box::new(MiniBatch::new(aggregate, size, &n.keys, input()?)),
                None => aggregate,
            }
        }
        NodeKind::WindowJoin(n) => Box::new(WindowJoin::new(n, inputs, output)?),
        NodeKind::RegularJoin(n) => Box::new(RegularJoin::new(n, inputs, output)?),
        NodeKind::IntervalJoin(n) => Box::new(IntervalJoin::new(n, inputs, output)?),
        NodeKind::Unnest(n) => Box::new(Unnest::new(n, input()?, output)?),
        NodeKind::TemporalJoin(n) => Box::new(TemporalJoin::new(n, inputs, output)?),
        NodeKind::Limit(n) => Box::new(Limit::new(n, input()?, output)?),
        NodeKind::TopN(n) => Box::new(TopN::new(n, input()?, output, node.changelog.update_before)?),
        NodeKind::Deduplicate(n) => {
            Box::new(Deduplicate::new(n, input()?, output, node.changelog.update_before)?)
        }
        NodeKind::WindowTopN(n) => Box::new(WindowTopN::new(n, input()?, output)?),
        NodeKind::Sort(n) => Box::new(Sort::new(n, input()?, output)?),
        NodeKind::DropUpdateBefore(n) => Box::new(DropUpdateBefore::new(n)),
        NodeKind::Over(n) => over(n, input()?, output)?,
        NodeKind::MatchRecognize(n) => Box::new(MatchRecognize::new(n, input()?, output)?),
        NodeKind::ChangelogNormalize(n) => {
            Box::new(ChangelogNormalize::new(n, input()?, output, node.changelog.update_before)?)
        }
        NodeKind::UpsertMaterialize(n) => Box::new(UpsertMaterialize::new(n, input()?, output)?),
        NodeKind::Source(_) | NodeKind::Values(_) | NodeKind::Sink(_) | NodeKind::LookupJoin(_) => {
            return Err(Error::internal(format!("{} is no operator.", node.name)));
        }
    })
}

/// Starts the tasks of `plan`; operators are made by `factory`.
pub(super) fn start(plan: StreamPlan, options: JobOptions, factory: &OperatorFactory) -> Result<JobHandle> {
    let layout = Layout::new(&plan)?;
    let restored = match &options.restore {
        Some(restore) => {
            failpoint::hit("restore.latest")?;
            Some(Restored::new(restore, &plan, options.max_parallelism)?)
        }
        None => None,
    };
    let id = options.job_id.clone().unwrap_or_else(|| super::job_id(options.clock.as_ref()));
    let checkpoints = checkpoints(&layout, &options, &id, restored.as_ref());
    let threads = layout.threads() + usize::from(checkpoints.is_some());
    let control = Control::new(id, options.name.clone(), threads);
    let recoveries = match &checkpoints {
        Some(_) => recoveries(&plan, &options, restored.as_ref())?,
        None => Vec::new(),
    };
    let writers = checkpoints.as_ref().filter(|c| c.is_on()).map(start_writers).unwrap_or_default();
    let mut builder = Builder {
        layout: &layout,
        options: &options,
        factory,
        context: TaskContext { control: control.clone(), clock: options.clock.clone() },
        metrics: JobMetrics { memory: Some(options.memory.clone()), ..JobMetrics::default() },
        sinks: HashMap::new(),
        restored: restored.as_ref(),
        checkpoints: checkpoints.clone(),
        writers,
        full: Vec::new(),
    };
    let mut starters: Vec<Starter> = Vec::new();
    for head in layout.heads() {
        builder.head(head, &mut starters)?;
    }
    let metrics = Arc::new(builder.metrics);
    for mailbox in layout.mailboxes.iter().flatten() {
        control.register(mailbox);
    }
    if let Some(checkpoints) = &checkpoints {
        control.register(checkpoints);
        for mailbox in layout.mailboxes.iter().flatten() {
            let sleeper = Arc::downgrade(mailbox);
            let sleeper: Weak<dyn Poke> = sleeper;
            checkpoints.register(sleeper);
        }
    }
    let handle = JobHandle::new(control.clone(), metrics, options.clock.clone(), checkpoints.clone());
    starters.into_iter().for_each(|start| start());
    if let Some(checkpoints) = checkpoints {
        Coordinator::new(checkpoints, control, recoveries).start();
    }
    Ok(handle)
}

type Starter = Box<dyn FnOnce()>;

/// What coordinates checkpoints, where any are taken or one is restored.
fn checkpoints(
    layout: &Layout,
    options: &JobOptions,
    job_id: &str,
    restored: Option<&Restored>,
) -> Option<Arc<Checkpoints>> {
    if options.checkpointing.is_none() && restored.is_none() {
        return None;
    }
    let instances = layout.plan.nodes.iter().flat_map(|node| {
        (0..node.parallelism).map(|task| Instance {
            operator_id: node.operator_id.clone(),
            name: node.name.clone(),
            task,
        })
    });
    let setup = Setup {
        job_id: job_id.to_string(),
        job_name: options.name.clone(),
        max_parallelism: options.max_parallelism,
        clock: options.clock.clone(),
        runtime: options.runtime.clone(),
        instances: instances.collect(),
        tasks: layout.heads().map(|n| layout.plan.nodes[n].parallelism).sum(),
        restored: restored.map(|r| (r.checkpoint_id, r.uri.clone())),
        notices: restored.map_or_else(Vec::new, |r| r.notices.clone()),
    };
    Some(Checkpoints::new(setup, options.checkpointing.clone()))
}

/// The sinks, with what their writers had prepared.
fn recoveries(plan: &StreamPlan, options: &JobOptions, restored: Option<&Restored>) -> Result<Vec<Recovery>> {
    let mut all = Vec::new();
    for node in &plan.nodes {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        all.push(Recovery {
            name: node.name.clone(),
            sink: sink.sink.clone(),
            context: RecoverContext {
                runtime: options.runtime.clone(),
                operator_id: node.operator_id.0.clone(),
                parallelism: node.parallelism,
                checkpoint_id: restored.map(|r| r.checkpoint_id),
            },
            prepared: restored.map_or(Ok(Vec::new()), |r| r.prepared(&node.operator_id))?,
        });
    }
    Ok(all)
}

/// Which nodes are chained, and who sends to whom.
struct Layout<'a> {
    plan: &'a StreamPlan,
    /// For each node, those that read it, as (node, number of their input).
    consumers: Vec<Vec<(usize, usize)>>,
    /// For each node that starts a task and has inputs, the mailboxes of its tasks; empty for all others.
    mailboxes: Vec<Vec<Arc<Mailbox>>>,
}

impl<'a> Layout<'a> {
    fn new(plan: &'a StreamPlan) -> Result<Self> {
        let mut consumers = vec![Vec::new(); plan.nodes.len()];
        for (index, node) in plan.nodes.iter().enumerate() {
            check(plan, index, node)?;
            for (input, edge) in node.inputs.iter().enumerate() {
                consumers[edge.from.0].push((index, input));
            }
        }
        let mut layout = Self { plan, consumers, mailboxes: Vec::new() };
        layout.mailboxes = (0..plan.nodes.len()).map(|node| layout.make_mailboxes(node)).collect();
        Ok(layout)
    }

    fn make_mailboxes(&self, node: usize) -> Vec<Arc<Mailbox>> {
        if self.plan.nodes[node].inputs.is_empty() || self.is_chained(node) {
            return Vec::new();
        }
        let channels = self.inputs(node).len();
        (0..self.plan.nodes[node].parallelism).map(|_| Mailbox::new(channels)).collect()
    }

    /// Whether a node runs in the task of the node before it.
    fn is_chained(&self, node: usize) -> bool {
        match self.plan.nodes[node].inputs.as_slice() {
            [edge] => edge.partitioning == Partitioning::Forward,
            _ => false,
        }
    }

    /// The nodes that start tasks.
    fn heads(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.plan.nodes.len()).filter(|n| !self.is_chained(*n))
    }

    /// Tasks and enumerators.
    fn threads(&self) -> usize {
        let threads = |n: usize| {
            let node = &self.plan.nodes[n];
            node.parallelism + usize::from(matches!(node.kind, NodeKind::Source(_)))
        };
        self.heads().map(threads).sum()
    }

    /// For each channel of a task of `node`, which input it is.
    fn inputs(&self, node: usize) -> Vec<usize> {
        let edges = self.plan.nodes[node].inputs.iter().enumerate();
        edges.flat_map(|(input, edge)| std::iter::repeat_n(input, self.senders(edge))).collect()
    }

    /// Number of channels that `edge` gives each task of its target.
    fn senders(&self, edge: &Edge) -> usize {
        match edge.partitioning {
            Partitioning::Forward => 1,
            _ => self.plan.nodes[edge.from.0].parallelism,
        }
    }

    /// The sending side of input `input` of `node`, for the task `task` of the node before it.
    fn exchange(&self, node: usize, input: usize, task: usize, max_parallelism: usize) -> Exchange {
        let edges = &self.plan.nodes[node].inputs;
        let before: usize = edges[..input].iter().map(|e| self.senders(e)).sum();
        let mailboxes = &self.mailboxes[node];
        let ports = match edges[input].partitioning {
            Partitioning::Forward => vec![Port::new(mailboxes[task].clone(), before)],
            _ => mailboxes.iter().map(|m| Port::new(m.clone(), before + task)).collect(),
        };
        Exchange::new(edges[input].partitioning.clone(), ports, max_parallelism)
    }
}

/// What the planner promises of each node.
fn check(plan: &StreamPlan, index: usize, node: &StreamNode) -> Result<()> {
    let wrong = |what: &str| Err(Error::internal(format!("{}: {what}", node.name)));
    if node.id.0 != index || node.parallelism == 0 {
        return wrong("its id or parallelism is wrong in the plan.");
    }
    let is_source = matches!(node.kind, NodeKind::Source(_) | NodeKind::Values(_));
    if is_source != node.inputs.is_empty() {
        return wrong("the plan gives it a wrong number of inputs.");
    }
    if matches!(node.kind, NodeKind::Values(_)) && node.parallelism != 1 {
        return wrong("VALUES cannot run in parallel.");
    }
    for edge in &node.inputs {
        if edge.from.0 >= index {
            return wrong("it comes before its input in the plan.");
        }
        let from = &plan.nodes[edge.from.0];
        match &edge.partitioning {
            Partitioning::Forward if from.parallelism != node.parallelism => {
                return wrong("a forward edge joins different parallelisms.");
            }
            Partitioning::Single if node.parallelism != 1 => {
                return wrong("all rows shall go to one task of several.");
            }
            Partitioning::Hash(columns) if columns.iter().any(|c| *c >= from.schema.fields().len()) => {
                return wrong("it is partitioned by a column that does not exist.");
            }
            _ => {}
        }
    }
    Ok(())
}

struct Builder<'a> {
    layout: &'a Layout<'a>,
    options: &'a JobOptions,
    factory: &'a OperatorFactory,
    context: TaskContext,
    metrics: JobMetrics,
    /// Counters of each sink node, shared by its tasks.
    sinks: HashMap<usize, Arc<Metrics>>,
    restored: Option<&'a Restored>,
    checkpoints: Option<Arc<Checkpoints>>,
    writers: Vec<Writers>,
    /// Where the chain that is being built waits for room.
    full: Vec<Arc<WaitTime>>,
}

impl Builder<'_> {
    /// What one task takes part in.
    fn task_checkpoints(&self) -> Option<TaskCheckpoints> {
        Some(TaskCheckpoints::new(self.checkpoints.clone()?, self.writers.clone()))
    }

    fn is_checkpointing(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|c| c.is_on())
    }

    /// The number of a node's task among all instances.
    fn instance(&self, node: usize, task: usize) -> usize {
        self.layout.plan.nodes[..node].iter().map(|n| n.parallelism).sum::<usize>() + task
    }

    /// All tasks of the chain that starts with node `head`.
    fn head(&mut self, head: usize, starters: &mut Vec<Starter>) -> Result<()> {
        let node = &self.layout.plan.nodes[head];
        let thread = |task: usize| format!("{head}.{task} {}", node.name);
        let context = self.context.clone();
        let mut of_source = None;
        match &node.kind {
            NodeKind::Source(source) => {
                let timeout = source.watermark.as_ref().map(|w| w.idle_timeout_ms);
                let metrics = SourceMetrics::new(source.table.clone(), timeout, node.parallelism);
                self.metrics.sources.push(metrics.clone());
                of_source = Some(metrics.clone());
                let restored = match self.restored {
                    Some(restored) => restored.source(&node.operator_id, node.parallelism)?,
                    None => None,
                };
                let board = match &restored {
                    Some(r) => SplitBoard::restored(&r.splits, &r.finished),
                    None => SplitBoard::new(node.parallelism),
                };
                context.control.register(&board);
                let enumerator = EnumeratorTask {
                    name: node.name.clone(),
                    source: source.source.clone(),
                    source_context: SourceContext {
                        runtime: self.options.runtime.clone(),
                        clock: self.options.clock.clone(),
                        parallelism: node.parallelism,
                    },
                    context: context.clone(),
                    board: board.clone(),
                    restored: restored.as_ref().map(|r| (r.splits.concat(), r.finished.clone())),
                };
                starters.push(Box::new(move || enumerator.start(format!("{head} splits"))));
                for task in 0..node.parallelism {
                    let reader_context = ReaderContext {
                        projection: source.projection.clone(),
                        batch_rows: self.options.batch_rows,
                        runtime: self.options.runtime.clone(),
                        clock: self.options.clock.clone(),
                        task,
                        parallelism: node.parallelism,
                        metrics: metrics.connector.clone(),
                    };
                    let (mut told, mut watermarks, mut finished) =
                        (Watermark::MIN, BTreeMap::new(), Vec::new());
                    if let Some(restored) = &restored {
                        told = restored.told[task];
                        watermarks = restored.watermarks.clone();
                        if task == 0 {
                            finished = restored.finished.clone();
                        }
                    }
                    let task_of_source = SourceTask::new(
                        context.clone(),
                        self.chain(head, task)?,
                        (source.clone(), node.schema.clone()),
                        reader_context,
                        board.clone(),
                        metrics.clone(),
                        SourceSetup {
                            checkpoints: self.task_checkpoints(),
                            watermarks,
                            told,
                            finished,
                            gate: self.options.gate.clone(),
                        },
                    );
                    let name = thread(task);
                    starters.push(Box::new(move || task_of_source.start(name)));
                }
            }
            NodeKind::Values(values) => {
                let values = Values::new(values, node.schema.clone()).map_err(|e| e.within(&node.name))?;
                let emitted = self.restored.map_or(Ok(0), |r| r.emitted(&node.operator_id))?;
                let (checkpoints, gate) = (self.task_checkpoints(), self.options.gate.clone());
                let task = ValuesTask::new(context, self.chain(head, 0)?, values, emitted, checkpoints, gate);
                let name = thread(0);
                starters.push(Box::new(move || task.start(name)));
            }
            _ => {
                for (number, mailbox) in self.layout.mailboxes[head].iter().enumerate() {
                    let chain = self.chain(head, number)?;
                    let inputs = self.layout.inputs(head);
                    let task = OperatorTask::new(
                        context.clone(),
                        chain,
                        mailbox.clone(),
                        inputs,
                        self.task_checkpoints(),
                    );
                    let name = thread(number);
                    starters.push(Box::new(move || task.start(name)));
                }
            }
        }
        self.metrics.tasks.push(TaskMetrics {
            name: format!("{head}: {}", node.name.split('(').next().unwrap_or_default()),
            parallelism: node.parallelism,
            idle: self.layout.mailboxes[head].iter().map(|m| m.idle().clone()).collect(),
            source: of_source,
            full: std::mem::take(&mut self.full),
        });
        Ok(())
    }

    fn chain(&mut self, head: usize, task: usize) -> Result<Chain> {
        let mut chain = Chain::new(self.link(head, task)?);
        self.extend(&mut chain, 0, head, task)?;
        Ok(chain)
    }

    /// Adds what follows `node`, which is operator `index` of the chain.
    fn extend(&mut self, chain: &mut Chain, index: usize, node: usize, task: usize) -> Result<()> {
        for (consumer, input) in self.layout.consumers[node].clone() {
            if self.layout.is_chained(consumer) {
                let next = chain.add(index, self.link(consumer, task)?);
                self.extend(chain, next, consumer, task)?;
            } else {
                let exchange = self.layout.exchange(consumer, input, task, self.options.max_parallelism);
                self.full.extend(exchange.full());
                chain.connect(index, exchange);
            }
        }
        Ok(())
    }

    fn link(&mut self, index: usize, task: usize) -> Result<Link> {
        let plan = self.layout.plan;
        let node = &plan.nodes[index];
        let operator: Box<dyn Operator> = match &node.kind {
            NodeKind::Source(_) | NodeKind::Values(_) => Box::new(PassOn),
            NodeKind::Sink(sink) => {
                let metrics = self.sinks.entry(index).or_default().clone();
                let context = WriterContext {
                    schema: node.schema.clone(),
                    runtime: self.options.runtime.clone(),
                    clock: self.options.clock.clone(),
                    task,
                    parallelism: node.parallelism,
                    operator_id: node.operator_id.0.clone(),
                    checkpointing: self.is_checkpointing(),
                    restored_from: self.restored.map(|r| r.checkpoint_id),
                    metrics,
                };
                Box::new(SinkOperator::new(sink.clone(), context, self.metrics.rows_out.clone()))
            }
            NodeKind::LookupJoin(join) => {
                let Some(edge) = node.inputs.first() else {
                    return Err(Error::internal(format!("{} has no input.", node.name)));
                };
                let context = LookupContext {
                    projection: join.projection.clone(),
                    keys: join.keys.iter().map(|k| k.column).collect(),
                    runtime: self.options.runtime.clone(),
                    clock: self.options.clock.clone(),
                    task,
                    parallelism: node.parallelism,
                };
                let input = plan.nodes[edge.from.0].schema.clone();
                let made = LookupJoin::new(join, input, node.schema.clone(), context);
                Box::new(made.map_err(|e| e.within(&node.name))?)
            }
            _ => {
                let inputs: Vec<_> =
                    node.inputs.iter().map(|e| plan.nodes[e.from.0].schema.clone()).collect();
                (self.factory)(node, &inputs).map_err(|e| e.within(&node.name))?
            }
        };
        let metrics = OperatorMetrics::new(node.id, &node.name, matches!(node.kind, NodeKind::Sink(_)));
        self.metrics.operators.push(metrics.clone());
        let open = OpenContext {
            task,
            parallelism: node.parallelism,
            max_parallelism: self.options.max_parallelism,
            memory: self.options.memory.clone(),
            state_ttl_ms: self.options.state_ttl_ms,
            name: format!("{}-{task}", node.operator_id.0),
            checkpointing: self.is_checkpointing(),
            oversized_key: metrics.oversized_key.clone(),
        };
        let is_sink = matches!(node.kind, NodeKind::Sink(_) | NodeKind::Source(_) | NodeKind::Values(_));
        let restored = self.restored.filter(|_| !is_sink).and_then(|r| r.operator(&node.operator_id));
        Ok(Link::new(node, operator, open, metrics).with_state(self.instance(index, task), restored))
    }
}
