//! Plans as text, in Flink's form.

use super::Planned;
use super::nodes::{Match, Window};
use crate::plan::{AggregateCall, FrameBound, NodeId, NodeKind, StreamNode, StreamPlan};
use crate::time::WindowSpec;
use datafusion_expr::LogicalPlan;
use std::fmt::Write;

/// The kind of an operator, in one word.
pub(super) fn label(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Source(_) => "Source",
        NodeKind::Values(_) => "Values",
        NodeKind::Calc(_) => "Calc",
        NodeKind::Union => "Union",
        NodeKind::WindowTable(_) => "WindowTableFunction",
        NodeKind::WindowAggregate(_) => "WindowAggregate",
        NodeKind::Expand(_) => "Expand",
        NodeKind::GroupAggregate(_) => "GroupAggregate",
        NodeKind::WindowJoin(_) => "WindowJoin",
        NodeKind::Unnest(_) => "Correlate",
        NodeKind::TemporalJoin(_) => "TemporalJoin",
        NodeKind::LookupJoin(_) => "LookupJoin",
        NodeKind::RegularJoin(_) => "Join",
        NodeKind::IntervalJoin(_) => "IntervalJoin",
        NodeKind::Limit(_) => "Limit",
        NodeKind::TopN(_) => "Rank",
        NodeKind::Deduplicate(_) => "Deduplicate",
        NodeKind::WindowTopN(_) => "WindowRank",
        NodeKind::Sort(_) => "Sort",
        NodeKind::Over(_) => "OverAggregate",
        NodeKind::MatchRecognize(_) => "Match",
        NodeKind::ChangelogNormalize(_) => "ChangelogNormalize",
        NodeKind::DropUpdateBefore(_) => "DropUpdateBefore",
        NodeKind::UpsertMaterialize(_) => "SinkUpsertMaterialize",
        NodeKind::Sink(_) => "Sink",
        #[allow(unreachable_patterns, reason = "other rooms add operators")]
        _ => "Operator",
    }
}

/// `a + 1 AS b`, or `a` where the name is the text.
pub(super) fn aliased(text: &str, name: &str) -> String {
    if text == name { name.to_string() } else { format!("{text} AS {name}") }
}

/// `a AS b`, or `a`.
pub(super) fn renamed(from: &str, to: &str) -> String {
    aliased(from, to)
}

/// Separates the parts of a `Calc`'s selection, so that they can be told apart again.
const SEPARATOR: &str = ", ";

/// `Calc(select=[…], where=[…])`.
pub(super) fn calc(select: Vec<String>, condition: Option<String>) -> String {
    let select = select.join(SEPARATOR);
    match condition {
        None => format!("Calc(select=[{select}])"),
        Some(condition) => format!("Calc(select=[{select}], where=[{condition}])"),
    }
}

/// The condition in a `Calc`'s name.
pub(super) fn condition(name: &str) -> Option<String> {
    let at = name.rfind("], where=[")?;
    Some(name[at + "], where=[".len()..name.len() - "])".len()].to_string())
}

/// The name of a `Calc` whose columns are now `columns` of it, called `names`.
pub(super) fn reselect(name: &str, columns: &[usize], names: &[String]) -> String {
    let condition = condition(name);
    let end = name.rfind("], where=[").unwrap_or(name.len() - "])".len());
    let parts = split(&name["Calc(select=[".len()..end]);
    let select = columns
        .iter()
        .zip(names)
        .map(|(column, name)| {
            let text = parts.get(*column).map_or("?", String::as_str);
            let bare =
                text.rsplit_once(" AS ").filter(|(_, n)| !n.contains([')', ' '])).map_or(text, |(t, _)| t);
            aliased(bare, name)
        })
        .collect();
    calc(select, condition)
}

/// Parts between commas outside parentheses, brackets and quotes.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0usize, false);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.into_iter().map(|p| p.trim().to_string()).collect()
}

/// A window with its columns: `TUMBLE(time_col=[ts], size=[10 s])`.
pub(super) fn window(spec: &WindowSpec, columns: &str) -> String {
    let text = spec.to_string();
    match text.split_once('(') {
        Some((name, rest)) => format!("{name}({columns}, {rest}"),
        None => text,
    }
}

/// The bound plan: `LogicalProject(a=[a], b=[b + 1])`, inputs indented.
pub(super) fn logical(plan: &LogicalPlan) -> String {
    let mut out = String::new();
    write_logical(plan, 0, &mut out);
    out
}

fn write_logical(plan: &LogicalPlan, depth: usize, out: &mut String) {
    use super::expressions::text;
    let list = |exprs: &[datafusion_expr::Expr]| exprs.iter().map(text).collect::<Vec<_>>().join(", ");
    let line = match plan {
        LogicalPlan::Projection(p) => {
            let named =
                p.expr.iter().zip(p.schema.fields()).map(|(e, f)| format!("{}=[{}]", f.name(), text(e)));
            format!("LogicalProject({})", named.collect::<Vec<_>>().join(", "))
        }
        LogicalPlan::Filter(f) => format!("LogicalFilter(condition=[{}])", text(&f.predicate)),
        LogicalPlan::Aggregate(a) => {
            format!("LogicalAggregate(group=[{}], calls=[{}])", list(&a.group_expr), list(&a.aggr_expr))
        }
        LogicalPlan::TableScan(s) => {
            let columns: Vec<&str> = s.projected_schema.fields().iter().map(|f| f.name().as_str()).collect();
            format!("LogicalTableScan(table=[[{}]], fields=[{}])", s.table_name, columns.join(", "))
        }
        LogicalPlan::SubqueryAlias(a) => format!("LogicalAlias(name=[{}])", a.alias),
        LogicalPlan::Join(j) => {
            let mut on: Vec<String> =
                j.on.iter().map(|(a, b)| format!("{} = {}", text(a), text(b))).collect();
            on.extend(j.filter.iter().map(text));
            format!("LogicalJoin(type=[{}], condition=[{}])", j.join_type, on.join(" AND "))
        }
        LogicalPlan::Union(_) => "LogicalUnion(all=[true])".to_string(),
        LogicalPlan::Distinct(_) => "LogicalDistinct".to_string(),
        LogicalPlan::Values(v) => format!("LogicalValues(rows=[{}])", v.values.len()),
        LogicalPlan::EmptyRelation(_) => "LogicalValues(tuples=[[{ 0 }]])".to_string(),
        LogicalPlan::Limit(l) => {
            let part = |e: &Option<Box<datafusion_expr::Expr>>| e.as_deref().map_or_else(String::new, text);
            format!("LogicalLimit(offset=[{}], fetch=[{}])", part(&l.skip), part(&l.fetch))
        }
        LogicalPlan::Sort(s) => {
            format!(
                "LogicalSort(by=[{}])",
                s.expr.iter().map(|e| text(&e.expr)).collect::<Vec<_>>().join(", ")
            )
        }
        LogicalPlan::Extension(e) => match e.node.as_any().downcast_ref::<Window>() {
            Some(w) => {
                let columns = format!("time_col=[{}]", w.columns[0].name);
                format!("LogicalTableFunctionScan(window=[{}])", window(&w.spec, &columns))
            }
            None => match e.node.as_any().downcast_ref::<Match>() {
                Some(m) => {
                    let keys: Vec<&str> = m.partition.iter().map(|c| c.name.as_str()).collect();
                    let pattern: Vec<&str> = m.pattern.iter().map(|(name, _)| name.as_str()).collect();
                    format!("LogicalMatch(partition=[{}], pattern=[{}])", keys.join(", "), pattern.join(" "))
                }
                None => e.node.name().to_string(),
            },
        },
        other => other.display().to_string(),
    };
    let _ = writeln!(out, "{}{line}", "   ".repeat(depth));
    for input in plan.inputs() {
        write_logical(input, depth + 1, out);
    }
}

/// The operator graph: sinks first, inputs indented, an operator that several read printed once. With
/// `changelog_mode`, each line tells its row kinds.
pub fn stream(plan: &StreamPlan, changelog_mode: bool) -> String {
    let mut out = String::new();
    let mut readers = vec![0usize; plan.nodes.len()];
    for edge in plan.nodes.iter().flat_map(|n| &n.inputs) {
        readers[edge.from.0] += 1;
    }
    let mut printed = vec![false; plan.nodes.len()];
    for node in plan.nodes.iter().filter(|n| readers[n.id.0] == 0) {
        write_node(plan, node.id, 0, None, changelog_mode, &readers, &mut printed, &mut out);
    }
    out
}

#[allow(clippy::too_many_arguments, reason = "one recursive walk")]
fn write_node(
    plan: &StreamPlan,
    id: NodeId,
    depth: usize,
    exchange: Option<String>,
    changelog_mode: bool,
    readers: &[usize],
    printed: &mut [bool],
    out: &mut String,
) {
    let node = &plan.nodes[id.0];
    let mut depth = depth;
    if let Some(exchange) = exchange {
        let _ = writeln!(out, "{}{exchange}", "   ".repeat(depth));
        depth += 1;
    }
    let reference = if readers[id.0] > 1 { format!("(reuse_id=[{}])", id.0) } else { String::new() };
    if printed[id.0] {
        let _ = writeln!(out, "{}Reused(reference_id=[{}])", "   ".repeat(depth), id.0);
        return;
    }
    printed[id.0] = true;
    let mut line = node.name.clone();
    if changelog_mode {
        line.truncate(line.len() - usize::from(line.ends_with(')')));
        let _ = write!(line, ", changelogMode=[{}])", node.changelog.to_string().trim_matches(['[', ']']));
    }
    let grows = grows(node).map_or_else(String::new, |what| format!("  -- {what}"));
    let _ = writeln!(out, "{}{line}{reference}{grows}", "   ".repeat(depth));
    for edge in &node.inputs {
        let exchange = match &edge.partitioning {
            crate::plan::Partitioning::Forward => None,
            crate::plan::Partitioning::Hash(columns) => {
                let from = &plan.nodes[edge.from.0].schema;
                let names: Vec<&str> = columns.iter().map(|c| from.field(*c).name().as_str()).collect();
                Some(format!("Exchange(distribution=[hash[{}]])", names.join(", ")))
            }
            crate::plan::Partitioning::Single => Some("Exchange(distribution=[single])".to_string()),
            crate::plan::Partitioning::Rebalance => Some("Exchange(distribution=[rebalance])".to_string()),
        };
        write_node(plan, edge.from, depth + 1, exchange, changelog_mode, readers, printed, out);
    }
}

/// The operators as JSON, as Flink lists them.
fn json(plan: &StreamPlan) -> String {
    let ship = |edge: &crate::plan::Edge| match &edge.partitioning {
        crate::plan::Partitioning::Forward => "FORWARD",
        crate::plan::Partitioning::Hash(_) => "HASH",
        crate::plan::Partitioning::Single => "GLOBAL",
        crate::plan::Partitioning::Rebalance => "REBALANCE",
    };
    let nodes = plan.nodes.iter().map(|node| {
        let pact = match node.kind {
            NodeKind::Source(_) | NodeKind::Values(_) => "Data Source",
            NodeKind::Sink(_) => "Data Sink",
            _ => "Operator",
        };
        let predecessors = node.inputs.iter().map(
            |edge| serde_json::json!({"id": edge.from.0 + 1, "ship_strategy": ship(edge), "side": "second"}),
        );
        serde_json::json!({
            "id": node.id.0 + 1,
            "type": label(&node.kind),
            "pact": pact,
            "contents": node.name,
            "parallelism": node.parallelism,
            "predecessors": predecessors.collect::<Vec<_>>(),
        })
    });
    format!("{:#}", serde_json::json!({"nodes": nodes.collect::<Vec<_>>()}))
}

/// A sentence for each operator whose state grows without bound.
pub(super) fn unbounded(plan: &StreamPlan) -> Vec<String> {
    plan.nodes
        .iter()
        .filter_map(|node| {
            let what = grows(node)?;
            let bound = match &node.kind {
                NodeKind::MatchRecognize(_) => "WITHIN INTERVAL '…' behind PATTERN (…)",
                _ => "'table.exec.state.ttl'",
            };
            Some(format!("{} (id={}): {what}; {bound} bounds it.", label(&node.kind), node.operator_id.0))
        })
        .collect()
}

/// What grows without bound, if something does.
fn grows(node: &StreamNode) -> Option<&'static str> {
    let forgets = |ttl_ms: &Option<u64>| ttl_ms.is_some_and(|ms| ms > 0);
    match &node.kind {
        // STATE_TTL bounds them.
        NodeKind::GroupAggregate(a) if forgets(&a.ttl_ms) => None,
        NodeKind::RegularJoin(j) if j.ttl_ms.iter().all(forgets) => None,
        NodeKind::GroupAggregate(a) if !a.keys.is_empty() => Some("state grows with every new key"),
        NodeKind::TopN(n) if n.strategy == crate::plan::TopNStrategy::Retract => {
            Some("state grows with every row that is not taken back")
        }
        NodeKind::TopN(n) if !n.partition.is_empty() => Some("state grows with every new key"),
        NodeKind::Deduplicate(_) => Some("state grows with every new key"),
        NodeKind::UpsertMaterialize(_) | NodeKind::ChangelogNormalize(_) => {
            Some("state grows with every new key")
        }
        NodeKind::Sort(n) if n.time.is_none() && n.fetch.is_none() => Some("all rows are kept until the end"),
        NodeKind::GroupAggregate(a) if a.aggregates.iter().any(keeps_values) => {
            Some("state grows with every new value")
        }
        NodeKind::RegularJoin(_) => Some("state grows with every new row"),
        NodeKind::TemporalJoin(_) => Some("the last version of every key is kept"),
        NodeKind::Over(n) if n.time.is_some() => {
            if !n.partition.is_empty() {
                Some("state grows with every new key")
            } else if n.calls.iter().any(|c| c.frame.start == FrameBound::Unbounded && keeps_values(&c.call))
            {
                Some("state grows with every new value")
            } else {
                None
            }
        }
        NodeKind::MatchRecognize(n) if n.within_ms == 0 => Some("matches on their way are never given up"),
        _ => None,
    }
}

/// Whether an aggregate keeps values, not only what they come to.
fn keeps_values(call: &AggregateCall) -> bool {
    call.distinct || ["array_agg", "collect", "listagg"].contains(&call.function.as_str())
}

/// The execution plan: tasks with their operators, parallelism and operator ids.
pub fn execution(plan: &StreamPlan) -> String {
    let mut out = String::new();
    for (number, chain) in super::chaining::chains(plan).iter().enumerate() {
        let parallelism = chain.first().map_or(1, |n| plan.nodes[n.0].parallelism);
        let _ = writeln!(out, "Task {} (parallelism {parallelism})", number + 1);
        for id in chain {
            let node = &plan.nodes[id.0];
            let _ = writeln!(out, "   {}  id={}", node.name, node.operator_id.0);
        }
    }
    out
}

impl Planned {
    /// The text of EXPLAIN, in Flink's sections; with `json_plan` the operators are listed as JSON too.
    pub fn explain(&self, changelog_mode: bool, json_plan: bool) -> String {
        let optimized = if changelog_mode { stream(&self.stream, true) } else { self.optimized.clone() };
        let mut text = format!(
            "== Abstract Syntax Tree ==\n{}\n== Optimized Physical Plan ==\n{optimized}\n== Optimized Execution Plan ==\n{}",
            self.bound,
            execution(&self.stream)
        );
        if json_plan {
            let _ = writeln!(text, "\n== Physical Execution Plan ==\n{}", json(&self.stream));
        }
        if !self.unbounded.is_empty() {
            text.push_str("\n== Unbounded State ==\n");
            self.unbounded.iter().for_each(|line| {
                let _ = writeln!(text, "{line}");
            });
        }
        text
    }
}
