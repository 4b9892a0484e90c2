//! Top-N, deduplication and sorting: `ROW_NUMBER() … <= N`, `ORDER BY`, `ORDER BY … LIMIT`.

use super::{Graph, Lowered, NewNode, Windowed};
use crate::error::{Error, Result};
use crate::plan::{
    ChangelogMode, DeduplicateNode, NodeId, NodeKind, RankEnd, SortColumn, SortNode, TimeAttribute, TopNNode,
    TopNStrategy, WindowTopNNode,
};
use crate::planner::changelog::{self, Course, Key};
use crate::planner::diagnostics::translate;
use crate::planner::explain;
use crate::planner::expressions::{field_of, first_span, physical, text, unalias};
use crate::sql::data_type::{TimeKind, time_attribute};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{DFSchemaRef, ScalarValue};
use datafusion_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion_expr::logical_plan::{Limit, Sort, Window};
use datafusion_expr::{BinaryExpr, Expr, LogicalPlan, Operator, WindowFunctionDefinition};
use std::sync::Arc;

/// Ranks that a condition lets pass.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u64,
    end: Option<RankEnd>,
}

/// A condition with the schema that its columns are of.
pub(super) type Condition<'p> = (Expr, &'p DFSchemaRef);

/// Rows with what they are ordered by among their columns.
pub(super) struct Ordered {
    pub input: Lowered,
    pub partition: Vec<usize>,
    pub order: Vec<SortColumn>,
    /// Places of the further expressions that were asked for.
    pub more: Vec<usize>,
}

impl Graph<'_> {
    /// Lowers what is below `filters`, and what is left of them. A window function whose rank they bound becomes a
    /// Top-N; `reads` tells whether a column of `base` is read further up.
    pub(super) fn peeled<'p>(
        &mut self,
        filters: Vec<(&'p Expr, &'p DFSchemaRef)>,
        base: &'p LogicalPlan,
        names: &[Option<String>],
        reads: &dyn Fn(usize) -> bool,
    ) -> Result<(Lowered, Vec<Condition<'p>>)> {
        let filters: Vec<Condition<'p>> = filters.into_iter().map(|(e, s)| (e.clone(), s)).collect();
        if filters.is_empty() || self.context.config.is_batch() {
            return Ok((self.lower(base, names)?, filters));
        }
        let Some((window, sources)) = window_below(base) else {
            return Ok((self.lower(base, names)?, filters));
        };
        let (lowered, rest) = self.ranked(window, &sources, filters, reads)?;
        let windowed = lowered.windowed.as_ref().map(|w| {
            let sources: Vec<Option<usize>> = sources.iter().copied().map(Some).collect();
            w.through(&sources)
        });
        let field = |(i, source): (usize, &usize)| {
            let name = base.schema().field(i).name();
            Arc::new(lowered.fields[*source].as_ref().clone().with_name(name))
        };
        let fields = sources.iter().enumerate().map(field).collect();
        let columns = sources.iter().map(|s| lowered.columns[*s]).collect();
        Ok((Lowered { node: lowered.node, columns, fields, windowed }, rest))
    }

    fn ranked<'p>(
        &mut self,
        window: &'p Window,
        sources: &[usize],
        filters: Vec<Condition<'p>>,
        reads: &dyn Fn(usize) -> bool,
    ) -> Result<(Lowered, Vec<Condition<'p>>)> {
        let width = window.input.schema().fields().len();
        let Some((call, ranking)) = rank_call(window) else {
            return Ok((self.over(window)?, filters));
        };
        // Conditions are over the window's columns, under whatever names.
        let mut range = Range { start: 1, end: None };
        let mut rest: Vec<Condition<'p>> = Vec::new();
        let mut from_below = false;
        for (filter, schema) in filters {
            for part in datafusion_expr::utils::split_conjunction_owned(filter) {
                let column = |e: &Expr| match bare(e) {
                    Expr::Column(c) => schema.maybe_index_of_column(c).and_then(|i| sources.get(i)).copied(),
                    _ => None,
                };
                match bound(&part, &column, width) {
                    Some(Bound::From(n)) => {
                        range.start = range.start.max(n.max(1) as u64);
                        from_below = true;
                    }
                    Some(Bound::To(n)) => {
                        let end = n.max(0) as u64;
                        range.end = Some(match range.end {
                            Some(RankEnd::Constant(known)) => RankEnd::Constant(known.min(end)),
                            _ => RankEnd::Constant(end),
                        });
                    }
                    Some(Bound::Is(n)) => {
                        range.start = range.start.max(n.max(1) as u64);
                        range.end = Some(RankEnd::Constant(n.max(0) as u64));
                    }
                    Some(Bound::ToColumn(c)) if range.end.is_none() => range.end = Some(RankEnd::Column(c)),
                    _ => rest.push((part, schema)),
                }
            }
        }
        let at = call.params.order_by.iter().find_map(|s| first_span(&s.expr));
        let Some(end) = range.end else {
            if from_below {
                return Err(Error::user(
                    "Rank end is not specified. Currently rank only support TopN, which means the rank end must be specified.",
                )
                .with_hint("Bound the rank from above too: WHERE rn BETWEEN 2 AND 10.")
                .at(at));
            }
            return Ok((self.over(window)?, rest));
        };
        if let RankEnd::Constant(end) = end
            && (end == 0 || end < range.start)
        {
            return Err(Error::user(format!(
                "Rank end should not less than zero, but now is {}",
                if end == 0 { 0 } else { end }
            ))
            .with_hint("Ranks count from 1.")
            .at(at));
        }
        if call.params.order_by.is_empty() {
            return Err(no_order(at));
        }
        let is_rank = |i: &usize| sources.get(*i) == Some(&width);
        let rank_number = (0..sources.len()).any(|i| is_rank(&i) && reads(i))
            || rest
                .iter()
                .any(|(e, s)| crate::planner::expressions::columns_read([e], s).iter().any(is_rank));
        let lowered = self.rank_node(window, call, ranking, (range.start, end), rank_number)?;
        Ok((lowered, rest))
    }

    fn rank_node(
        &mut self,
        window: &Window,
        call: &WindowFunction,
        ranking: &str,
        (start, end): (u64, RankEnd),
        rank_number: bool,
    ) -> Result<Lowered> {
        let width = window.input.schema().fields().len();
        if rank_number && end == RankEnd::Constant(start) {
            // The rank can only be that one.
            let ranked = self.rank_node(window, call, ranking, (start, end), false)?;
            return Ok(self.with_constant_rank(ranked, start));
        }
        let windowed_input = self.lower(&window.input, &[])?;
        let windowed_input = self.with_upsert_key(windowed_input);
        let at = call.params.order_by.iter().find_map(|s| first_span(&s.expr));
        let Ordered { input, partition, order, .. } = self.ordered(
            windowed_input,
            window.input.schema(),
            &call.params.partition_by,
            &call.params.order_by,
        )?;
        let time = match order.as_slice() {
            [one] => time_attribute(&input.fields[one.column]).map(|kind| (kind, one.descending)),
            _ => None,
        };
        let window_bounds = input.windowed.as_ref().and_then(|w| {
            let find =
                |set: &std::collections::BTreeSet<usize>| partition.iter().copied().find(|p| set.contains(p));
            Some((find(&w.start)?, find(&w.end)?, w.origin?))
        });
        let append = self.node(input.node).changelog.is_append();
        let rank_field = Field::new(window.schema.field(width).name(), DataType::Int64, false);
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        if rank_number {
            fields.push(rank_field.clone());
        }
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let list =
            |columns: &[usize]| columns.iter().map(|c| names[*c].as_str()).collect::<Vec<_>>().join(", ");
        let order_text = sort_text(&order, &names);
        let mut select = names.join(", ");
        if rank_number {
            select.push_str(", w0$o0");
        }
        let range_text = match end {
            RankEnd::Constant(end) => format!("rankStart={start}, rankEnd={end}"),
            RankEnd::Column(c) => format!("rankEnd={}", names[c]),
        };
        let by = if partition.is_empty() {
            String::new()
        } else {
            format!("partitionBy=[{}], ", list(&partition))
        };
        let (edge, parallelism) = self.keyed(input.node, partition.clone());
        let (kind, name, changelog) = match (window_bounds, end) {
            (Some((start_column, end_column, origin)), RankEnd::Constant(end)) if append => {
                if ranking != "row_number" {
                    return Err(Error::user(format!(
                        "{}() function is not supported on Window TopN currently, only ROW_NUMBER() is supported.",
                        ranking.to_uppercase()
                    ))
                    .with_hint("Write ROW_NUMBER().")
                    .at(at));
                }
                if origin.proctime {
                    return Err(Error::user("Processing time Window TopN is not supported yet.")
                        .with_hint("Use an event-time window (WATERMARK FOR …).")
                        .at(at));
                }
                let shape = explain::window(
                    &origin.spec,
                    &format!("win_start=[{}], win_end=[{}]", names[start_column], names[end_column]),
                );
                let keys: Vec<usize> =
                    partition.iter().copied().filter(|c| ![start_column, end_column].contains(c)).collect();
                let by = if keys.is_empty() {
                    String::new()
                } else {
                    format!("partitionKeys=[{}], ", list(&keys))
                };
                let first_or_last = time.filter(|_| start == 1 && end == 1);
                let name = match first_or_last {
                    Some((_, last)) => format!(
                        "WindowDeduplicate(window=[{shape}], keep=[{}], {by}orderKey=[{}], order=[{}])",
                        if last { "LastRow" } else { "FirstRow" },
                        list(&[order[0].column]),
                        if time.is_some_and(|(k, _)| k == TimeKind::Proctime) {
                            "PROCTIME"
                        } else {
                            "ROWTIME"
                        }
                    ),
                    None => format!(
                        "WindowRank(window=[{shape}], rankType=[ROW_NUMBER], rankRange=[{range_text}], {by}orderBy=[{order_text}], select=[{select}])"
                    ),
                };
                let node = WindowTopNNode {
                    window_end: end_column,
                    zone: origin.zone,
                    partition,
                    order,
                    start,
                    end,
                    rank_number,
                    last_of_equals: first_or_last.is_some_and(|(_, last)| last),
                };
                (NodeKind::WindowTopN(node), name, ChangelogMode::APPEND)
            }
            _ => {
                if ranking != "row_number" {
                    return Err(Error::user(format!(
                        "{}() on streaming table is not supported currently",
                        ranking.to_uppercase()
                    ))
                    .with_hint("Write ROW_NUMBER(): rows that are equal in the order rank as they come.")
                    .at(at));
                }
                let single = start == 1 && end == RankEnd::Constant(1);
                match time {
                    Some((kind, keep_last)) if single && append => {
                        return self.deduplicate(
                            input,
                            edge,
                            parallelism,
                            partition,
                            &order,
                            kind,
                            keep_last,
                            width,
                            rank_field,
                        );
                    }
                    _ => {}
                }
                // Processing time has no value to compare: rows come in its order.
                let order = match time {
                    Some((TimeKind::Proctime, _)) => Vec::new(),
                    _ => order,
                };
                let strategy = self.strategy(input.node, &partition, &order);
                let text = strategy_text(&strategy, &names);
                let name = format!(
                    "Rank(strategy=[{text}], rankType=[ROW_NUMBER], rankRange=[{range_text}], {by}orderBy=[{order_text}], select=[{select}])"
                );
                let node = TopNNode { partition, order, start, end, rank_number, strategy };
                (NodeKind::TopN(node), name, ChangelogMode::RETRACT)
            }
        };
        let schema = Arc::new(Schema::new(fields.clone()));
        let node = self.add(NewNode {
            kind,
            name,
            inputs: vec![edge],
            schema,
            parallelism,
            changelog,
            shared: true,
        });
        Ok(self.ranked_output(node, &input, width, rank_number, rank_field))
    }

    /// The window's columns out of the operator's: the input's first, the rank last.
    fn ranked_output(
        &self,
        node: NodeId,
        input: &Lowered,
        width: usize,
        rank_number: bool,
        rank_field: Field,
    ) -> Lowered {
        let last = self.node(node).schema.fields().len() - 1;
        let mut columns: Vec<usize> = (0..width).collect();
        // A rank that nobody reads has no column: any stands for it.
        columns.push(if rank_number { last } else { 0 });
        let mut fields: Vec<FieldRef> = input.fields[..width].to_vec();
        fields.push(Arc::new(rank_field));
        Lowered { node, columns, fields, windowed: input.windowed.clone() }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one node, found by its only caller")]
    fn deduplicate(
        &mut self,
        input: Lowered,
        edge: crate::plan::Edge,
        parallelism: usize,
        keys: Vec<usize>,
        order: &[SortColumn],
        kind: TimeKind,
        keep_last: bool,
        width: usize,
        rank_field: Field,
    ) -> Result<Lowered> {
        let names: Vec<&str> = input.fields.iter().map(|f| f.name().as_str()).collect();
        let key_names: Vec<&str> = keys.iter().map(|k| names[*k]).collect();
        let name = format!(
            "Deduplicate(keep=[{}], key=[{}], order=[{}])",
            if keep_last { "LastRow" } else { "FirstRow" },
            key_names.join(", "),
            if kind == TimeKind::Rowtime { "ROWTIME" } else { "PROCTIME" }
        );
        let time = match kind {
            TimeKind::Rowtime => TimeAttribute::Rowtime { column: order[0].column },
            TimeKind::Proctime => TimeAttribute::Proctime,
        };
        let changelog = match (kind, keep_last) {
            (TimeKind::Proctime, false) => ChangelogMode::APPEND,
            _ => ChangelogMode::RETRACT,
        };
        let schema = Schema::new(input.fields.clone());
        let is_clock = |f: &FieldRef| time_attribute(f) == Some(TimeKind::Proctime);
        let compared = (0..input.fields.len()).filter(|i| !is_clock(&input.fields[*i])).collect();
        let node = self.add(NewNode {
            kind: NodeKind::Deduplicate(DeduplicateNode { keys, time, keep_last, compared }),
            name,
            inputs: vec![edge],
            schema: Arc::new(schema),
            parallelism,
            changelog,
            shared: true,
        });
        Ok(self.ranked_output(node, &input, width, false, rank_field))
    }

    /// `ranked`, whose last column, the rank, has no values, with `rank` in it.
    fn with_constant_rank(&mut self, ranked: Lowered, rank: u64) -> Lowered {
        let Some((rank_field, fields)) = ranked.fields.split_last() else { return ranked };
        let rank = i64::try_from(rank).unwrap_or(i64::MAX);
        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        let mut exprs: Vec<Arc<dyn datafusion_physical_expr::PhysicalExpr>> = names
            .iter()
            .zip(&ranked.columns)
            .map(|(name, column)| crate::planner::expressions::physical_column(name, *column))
            .collect();
        exprs.push(Arc::new(datafusion_physical_expr::expressions::Literal::new(ScalarValue::Int64(Some(
            rank,
        )))));
        let mut texts: Vec<String> = names.iter().map(ToString::to_string).collect();
        texts.push(format!("{rank} AS {}", rank_field.name()));
        let all: Vec<Field> = ranked.fields.iter().map(|f| f.as_ref().clone()).collect();
        let (edge, _) = self.forward(ranked.node);
        let columns = (0..all.len()).collect();
        let node = self.calc_node(edge, None, exprs, all, explain::calc(texts, None), true);
        Lowered { node, columns, ..ranked }
    }

    /// `input` with a key that tells its changes apart, which nobody further up reads: it comes as columns behind the
    /// others. With it a Top-N knows which of its rows is updated.
    fn with_upsert_key(&mut self, input: Lowered) -> Lowered {
        let node = self.node(input.node);
        if node.changelog.is_append() {
            return input;
        }
        let mut lowered = input;
        let mut keys = changelog::upsert_keys(&self.nodes, lowered.node);
        if keys.is_empty()
            && let NodeKind::Calc(calc) = &node.kind
            && lowered.node.0 + 1 == self.nodes.len()
            && let Some(edge) = node.inputs.first().cloned()
            && let Some(key) = changelog::upsert_keys(&self.nodes, edge.from).into_iter().next()
        {
            // The last projection has left it out.
            let (filter, mut projection) = (calc.filter.clone(), calc.projection.clone());
            let condition = explain::condition(&node.name);
            let mut all: Vec<Field> = node.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
            let below = Arc::clone(&self.node(edge.from).schema);
            for column in key {
                projection
                    .push(crate::planner::expressions::physical_column(below.field(column).name(), column));
                all.push(below.field(column).clone());
            }
            let texts = all.iter().map(|f| f.name().clone()).collect();
            self.take_back(lowered.node);
            lowered.node =
                self.calc_node(edge, filter, projection, all, explain::calc(texts, condition), true);
            keys = changelog::upsert_keys(&self.nodes, lowered.node);
        }
        let schema = Arc::clone(&self.node(lowered.node).schema);
        for column in keys.into_iter().next().unwrap_or_default() {
            if !lowered.columns.contains(&column) {
                lowered.columns.push(column);
                lowered.fields.push(Arc::new(schema.field(column).clone()));
            }
        }
        lowered
    }

    /// What a Top-N over `input` may count on.
    fn strategy(&self, input: NodeId, partition: &[usize], order: &[SortColumn]) -> TopNStrategy {
        if self.node(input).changelog.is_append() {
            return TopNStrategy::AppendFast;
        }
        let partition: Key = partition.iter().copied().collect();
        let keys = changelog::keys_with(changelog::upsert_keys(&self.nodes, input), &partition);
        let courses = changelog::courses(&self.nodes, input);
        let (Some(key), Some(courses), false) = (keys.into_iter().next(), courses, order.is_empty()) else {
            return TopNStrategy::Retract;
        };
        let improves = order.iter().all(|o| match courses.get(o.column) {
            Some(Course::Constant) => true,
            Some(Course::Grows) => o.descending,
            Some(Course::Falls) => !o.descending,
            _ => false,
        });
        if improves {
            TopNStrategy::UpdateFast { keys: key.into_iter().collect() }
        } else {
            TopNStrategy::Retract
        }
    }

    fn ordered(
        &mut self,
        input: Lowered,
        schema: &DFSchemaRef,
        partition: &[Expr],
        order: &[SortExpr],
    ) -> Result<Ordered> {
        self.ordered_with(input, schema, partition, order, &[])
    }

    /// `input` as an operator whose columns are the logical ones, with the partition, the order and `further` among
    /// them. Where they are expressions, columns are added at the end.
    pub(super) fn ordered_with(
        &mut self,
        input: Lowered,
        schema: &DFSchemaRef,
        partition: &[Expr],
        order: &[SortExpr],
        further: &[Expr],
    ) -> Result<Ordered> {
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        let width = fields.len();
        let mut more: Vec<Expr> = Vec::new();
        let mut place = |expr: &Expr| -> Result<usize> {
            let expr = unalias(expr);
            if let Expr::Column(c) = expr
                && let Some(index) = schema.maybe_index_of_column(c)
            {
                return Ok(index);
            }
            let known = more.iter().position(|e| e == expr);
            if let Some(known) = known {
                return Ok(width + known);
            }
            let field = field_of(expr, schema, Some(&input.fields)).map_err(|e| translate(e, &[]))?;
            fields.push(field.with_name(format!("$f{}", width + more.len())));
            more.push(expr.clone());
            Ok(width + more.len() - 1)
        };
        // Constants neither part nor order rows.
        let constant = |e: &&Expr| !matches!(unalias(e), Expr::Literal(..));
        let mut columns: Vec<usize> = Vec::new();
        for expr in partition.iter().filter(constant) {
            let column = place(expr)?;
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let mut sort: Vec<SortColumn> = Vec::new();
        for by in order.iter().filter(|s| constant(&&s.expr)) {
            let column = place(&by.expr)?;
            if sort.iter().all(|s| s.column != column) {
                sort.push(SortColumn { column, descending: !by.asc, nulls_first: by.nulls_first });
            }
        }
        let further = further.iter().map(&mut place).collect::<Result<Vec<_>>>()?;
        let input = if more.is_empty() {
            let names: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
            let node = self.exact(&input, &names)?;
            Lowered { node, columns: (0..width).collect(), ..input }
        } else {
            let windowed: Option<Windowed> = input.windowed.clone();
            let mut exprs: Vec<_> = input
                .columns
                .iter()
                .zip(&fields)
                .map(|(c, f)| crate::planner::expressions::physical_column(f.name(), *c))
                .collect();
            for expr in &more {
                exprs.push(physical(expr, schema, &input.columns)?);
            }
            let mut texts: Vec<String> = fields[..width].iter().map(|f| f.name().clone()).collect();
            texts
                .extend(more.iter().zip(&fields[width..]).map(|(e, f)| explain::aliased(&text(e), f.name())));
            let volatile = more.iter().any(Expr::is_volatile);
            let lowered = self.calc(&input, &[], exprs, fields, texts, !volatile)?;
            Lowered { windowed, ..lowered }
        };
        Ok(Ordered { input, partition: columns, order: sort, more: further })
    }

    /// `ORDER BY … LIMIT n`: a Top-N over all rows, or in batch mode a sort that ends early.
    pub(super) fn sort_limit(&mut self, sort: &Sort, skip: u64, fetch: Option<u64>) -> Result<Lowered> {
        if self.context.config.is_batch() {
            return self.sort(sort, skip, fetch);
        }
        let at = sort.expr.iter().find_map(|s| first_span(&s.expr));
        let Some(fetch) = fetch else {
            return Err(Error::user("FETCH is missed, which on streaming table is not supported currently.")
                .with_hint("Write LIMIT n with OFFSET.")
                .at(at));
        };
        let below = self.lower(&sort.input, &[])?;
        let below = self.with_upsert_key(below);
        let ordered = self.ordered(below, sort.input.schema(), &[], &sort.expr)?;
        self.limited(ordered.input, ordered.order, skip, fetch, sort.input.schema().fields().len())
    }

    /// The first `fetch` rows behind `skip` in `order`, whatever becomes of them.
    pub(super) fn limited(
        &mut self,
        input: Lowered,
        order: Vec<SortColumn>,
        skip: u64,
        fetch: u64,
        width: usize,
    ) -> Result<Lowered> {
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let strategy = self.strategy(input.node, &[], &order);
        let text = strategy_text(&strategy, &names);
        let end = skip.saturating_add(fetch);
        let name = match order.is_empty() {
            true => format!("Limit(offset=[{skip}], fetch=[{fetch}])"),
            false => format!(
                "SortLimit(orderBy=[{}], offset=[{skip}], fetch=[{fetch}], strategy=[{text}])",
                sort_text(&order, &names)
            ),
        };
        let changelog = ChangelogMode::RETRACT;
        let kind = NodeKind::TopN(TopNNode {
            partition: Vec::new(),
            order,
            start: skip.saturating_add(1),
            end: RankEnd::Constant(end),
            rank_number: false,
            strategy,
        });
        let edge = self.single(input.node);
        let schema = Arc::clone(&self.node(input.node).schema);
        let node = self.add(NewNode {
            kind,
            name,
            inputs: vec![edge],
            schema,
            parallelism: 1,
            changelog,
            shared: true,
        });
        Ok(Lowered { node, columns: (0..width).collect(), fields: input.fields[..width].to_vec(), ..input })
    }

    /// `ORDER BY`: by a time attribute as time passes, or in batch mode by anything at the end.
    ///
    /// Errors: a stream that would never be sorted.
    pub(super) fn sort(&mut self, sort: &Sort, skip: u64, fetch: Option<u64>) -> Result<Lowered> {
        let batch = self.context.config.is_batch();
        let at = sort.expr.iter().find_map(|s| first_span(&s.expr));
        let below = self.lower(&sort.input, &[])?;
        let width = sort.input.schema().fields().len();
        let Ordered { input, order, .. } = self.ordered(below, sort.input.schema(), &[], &sort.expr)?;
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let time = if batch {
            None
        } else {
            let first = order.first().filter(|o| !o.descending);
            let kind = first.and_then(|o| time_attribute(&input.fields[o.column]).map(|k| (k, o.column)));
            match kind {
                Some((TimeKind::Rowtime, column)) => Some(TimeAttribute::Rowtime { column }),
                Some((TimeKind::Proctime, _)) => Some(TimeAttribute::Proctime),
                None => {
                    return Err(Error::user("Sort on a non-time-attribute field is not supported.")
                        .with_hint(
                            "A stream has no end to sort before. ORDER BY an event time ascending comes as the watermark \
                             passes; ORDER BY … LIMIT n keeps the first n; SET 'execution.runtime-mode' = 'batch' sorts \
                             bounded input.",
                        )
                        .at(at));
                }
            }
        };
        self.only_inserts(input.node, "StreamPhysicalTemporalSort", "Sort below the aggregate.")?;
        let label = if batch { "Sort" } else { "TemporalSort" };
        let name = format!("{label}(orderBy=[{}])", sort_text(&order, &names));
        let edge = self.single(input.node);
        let schema = Arc::clone(&self.node(input.node).schema);
        let node = self.add(NewNode {
            kind: NodeKind::Sort(SortNode { order, time, skip, fetch }),
            name,
            inputs: vec![edge],
            schema,
            parallelism: 1,
            changelog: ChangelogMode::APPEND,
            shared: true,
        });
        Ok(Lowered { node, columns: (0..width).collect(), fields: input.fields[..width].to_vec(), ..input })
    }

    /// In batch mode only the rows that are there at the end: a join that gave rows and took them back holds all back
    /// until then.
    pub(super) fn final_rows(&mut self, input: Lowered) -> Lowered {
        if !self.context.config.is_batch() || self.node(input.node).changelog.is_append() {
            return input;
        }
        let (edge, parallelism) = self.forward(input.node);
        let schema = Arc::clone(&self.node(input.node).schema);
        let node = self.add(NewNode {
            kind: NodeKind::Sort(SortNode { order: Vec::new(), time: None, skip: 0, fetch: None }),
            name: "FinalRows".into(),
            inputs: vec![edge],
            schema,
            parallelism,
            changelog: ChangelogMode::APPEND,
            shared: true,
        });
        Lowered { node, ..input }
    }

    /// LIMIT over a sort, perhaps with a projection between them.
    pub(super) fn limit_over_sort(
        &mut self,
        limit: &Limit,
        skip: u64,
        fetch: Option<u64>,
    ) -> Result<Option<Lowered>> {
        match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => self.sort_limit(sort, skip, fetch).map(Some),
            LogicalPlan::Projection(projection) if sorts(&projection.input) => {
                let limited = Limit { input: Arc::clone(&projection.input), ..limit.clone() };
                let mut projection = projection.clone();
                projection.input = Arc::new(LogicalPlan::Limit(limited));
                self.projection(&projection, &[]).map(Some)
            }
            LogicalPlan::SubqueryAlias(alias) if sorts(&alias.input) => {
                let limited = Limit { input: Arc::clone(&alias.input), ..limit.clone() };
                self.limit(&limited).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn sorts(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(p) => sorts(&p.input),
        LogicalPlan::SubqueryAlias(a) => sorts(&a.input),
        _ => false,
    }
}

/// The plan without a sort at its top, whose order means nothing in a subquery.
pub(super) fn unsorted(plan: &LogicalPlan) -> Option<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Some(sort.input.as_ref().clone()),
        LogicalPlan::Projection(p) => {
            let input = unsorted(&p.input)?;
            let mut p = p.clone();
            p.input = Arc::new(input);
            Some(LogicalPlan::Projection(p))
        }
        _ => None,
    }
}

pub(super) fn no_order(at: Option<crate::error::Span>) -> Error {
    Error::user(
        "Over Agg: The window rank function requires order by clause with non-constant fields. please re-check the over window statement.",
    )
    .with_hint("Write ROW_NUMBER() OVER (PARTITION BY … ORDER BY …).")
    .at(at)
}

/// The window function below projections of plain columns, and which of its columns each column of `plan` is.
fn window_below(plan: &LogicalPlan) -> Option<(&Window, Vec<usize>)> {
    match plan {
        LogicalPlan::Window(window) => Some((window, (0..window.schema.fields().len()).collect())),
        LogicalPlan::SubqueryAlias(alias) => window_below(&alias.input),
        LogicalPlan::Projection(projection) => {
            let (window, below) = window_below(&projection.input)?;
            let schema = projection.input.schema();
            let source = |e: &Expr| match unalias(e) {
                Expr::Column(c) => below.get(schema.maybe_index_of_column(c)?).copied(),
                _ => None,
            };
            Some((window, projection.expr.iter().map(source).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The only function of the window, if it is one that ranks.
fn rank_call(window: &Window) -> Option<(&WindowFunction, &'static str)> {
    let [expr] = window.window_expr.as_slice() else { return None };
    let Expr::WindowFunction(call) = unalias(expr) else { return None };
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
    let name = function.name().to_ascii_lowercase();
    let ranking = ["row_number", "rank", "dense_rank"].into_iter().find(|r| *r == name)?;
    Some((call, ranking))
}

/// What a condition says of the rank.
enum Bound {
    From(i64),
    To(i64),
    Is(i64),
    ToColumn(usize),
}

fn bound(condition: &Expr, column: &dyn Fn(&Expr) -> Option<usize>, rank: usize) -> Option<Bound> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (other, op) = if column(left) == Some(rank) {
        (right.as_ref(), *op)
    } else if column(right) == Some(rank) {
        (left.as_ref(), op.swap()?)
    } else {
        return None;
    };
    if let Some(index) = column(other) {
        return (op == Operator::LtEq && index < rank).then_some(Bound::ToColumn(index));
    }
    let n = integer(other)?;
    match op {
        Operator::Lt => Some(Bound::To(n - 1)),
        Operator::LtEq => Some(Bound::To(n)),
        Operator::Gt => Some(Bound::From(n + 1)),
        Operator::GtEq => Some(Bound::From(n)),
        Operator::Eq => Some(Bound::Is(n)),
        _ => None,
    }
}

/// The expression without aliases and widening casts.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        Expr::Cast(cast) => bare(&cast.expr),
        other => other,
    }
}

fn integer(expr: &Expr) -> Option<i64> {
    match bare(expr) {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(n) => n,
            _ => None,
        },
        _ => None,
    }
}

/// `a ASC, b DESC`.
pub(super) fn sort_text(order: &[SortColumn], names: &[String]) -> String {
    let one = |o: &SortColumn| format!("{} {}", names[o.column], if o.descending { "DESC" } else { "ASC" });
    order.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn strategy_text(strategy: &TopNStrategy, names: &[String]) -> String {
    match strategy {
        TopNStrategy::AppendFast => "AppendFastStrategy".into(),
        TopNStrategy::Retract => "RetractStrategy".into(),
        TopNStrategy::UpdateFast { keys } => {
            let keys: Vec<&str> = keys.iter().map(|k| names[*k].as_str()).collect();
            format!("UpdateFastStrategy[{}]", keys.join(","))
        }
    }
}
