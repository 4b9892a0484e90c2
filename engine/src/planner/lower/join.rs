//! Joins: which kind of join two inputs make, their keys, and the operator.

use super::calc::named;
use super::lookup_join::is_lookup;
use super::temporal_join::is_temporal;
use super::{Graph, Lowered};
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, Edge, JoinKey, JoinType, NodeId, NodeKind, RegularJoinNode};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{field_of, physical, physical_column, text, unalias};
use crate::planner::nodes::state_ttl;
use crate::sql::data_type::without_time_attribute;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchema, NullEquality};
use datafusion_expr::logical_plan::Join;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Expr, Operator, binary_expr};
use datafusion_physical_expr::{PhysicalExpr, conjunction};
use std::sync::Arc;

/// A join with its inputs lowered: keys are columns of them.
#[derive(Clone)]
pub(super) struct JoinInputs {
    pub left: Lowered,
    pub right: Lowered,
    /// The inputs as the join reads them.
    pub nodes: [NodeId; 2],
    pub keys: Vec<JoinKey>,
    /// What else must hold, over left columns followed by right columns.
    pub conditions: Vec<Expr>,
    /// Left columns followed by right columns.
    pub schema: DFSchema,
}

impl JoinInputs {
    /// The same inputs with `conditions` beside the keys.
    pub fn with_conditions(&self, conditions: Vec<Expr>) -> Self {
        Self { conditions, ..self.clone() }
    }

    pub fn widths(&self) -> [usize; 2] {
        [self.left.fields.len(), self.right.fields.len()]
    }

    /// The conditions as one expression over the columns of both nodes.
    pub fn condition(&self, graph: &Graph<'_>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let [left, right] = self.widths();
        let first_right = graph.node(self.nodes[0]).schema.fields().len();
        let columns: Vec<usize> = (0..left).chain((0..right).map(|i| first_right + i)).collect();
        let all = self
            .conditions
            .iter()
            .map(|e| physical(e, &self.schema, &columns))
            .collect::<Result<Vec<_>>>()?;
        Ok((!all.is_empty()).then(|| conjunction(all)))
    }

    /// All conditions in Flink's form.
    pub fn text(&self, graph: &Graph<'_>) -> String {
        let name =
            |side: usize, column: usize| graph.node(self.nodes[side]).schema.field(column).name().clone();
        let mut all: Vec<String> = self
            .keys
            .iter()
            .map(|k| {
                let op = if k.null_safe { "IS NOT DISTINCT FROM" } else { "=" };
                format!("{} {op} {}", name(0, k.left), name(1, k.right))
            })
            .collect();
        all.extend(self.conditions.iter().map(text));
        if all.is_empty() { "true".into() } else { all.join(" AND ") }
    }
}

impl Graph<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Lowered> {
        let join_type = join_type(join.join_type).ok_or_else(|| {
            self.refuse_join(
                &format!("{} JOIN", join.join_type.to_string().to_uppercase()),
                "Write it as a LEFT JOIN.",
            )
        })?;
        let left = self.lower(&join.left, &[])?;
        if is_lookup(join) {
            return self.lookup_join(join, left, join_type);
        }
        if is_temporal(join) {
            let (right, schema, filters) = self.versions(&join.right)?;
            let mut inputs = self.join_inputs(join, left, (right, &schema))?;
            inputs.conditions.extend(filters);
            return match self.temporal_join(join, &inputs, join_type)? {
                Some(joined) => Ok(joined),
                None => Err(Error::internal("a temporal join without its times")),
            };
        }
        let right = self.lower(&join.right, &[])?;
        let inputs = self.join_inputs(join, left, (right, join.right.schema()))?;
        if let Some(window) = self.window_join(&inputs, join_type)? {
            return Ok(window);
        }
        if let Some(interval) = self.interval_join(&inputs, join_type)? {
            return Ok(interval);
        }
        let ttl_ms = [state_ttl(&join.left), state_ttl(&join.right)];
        self.regular_join(&inputs, join_type, ttl_ms)
    }

    fn regular_join(
        &mut self,
        inputs: &JoinInputs,
        join_type: JoinType,
        ttl_ms: [Option<u64>; 2],
    ) -> Result<Lowered> {
        let modes = inputs.nodes.map(|n| self.node(n).changelog);
        let changelog = match join_type {
            JoinType::Inner | JoinType::Semi => either(modes[0], modes[1]),
            _ => ChangelogMode::RETRACT,
        };
        let name = format!(
            "Join(joinType=[{}], where=[{}], select=[{}], leftInputSpec=[NoUniqueKey], rightInputSpec=[NoUniqueKey])",
            join_type.name(),
            inputs.text(self),
            self.joined_names(inputs, join_type).join(", "),
        );
        let kind = NodeKind::RegularJoin(RegularJoinNode {
            join_type,
            keys: inputs.keys.clone(),
            condition: inputs.condition(self)?,
            ttl_ms,
            insert_only: modes.map(ChangelogMode::is_append),
        });
        let fields = self.joined_fields(inputs, join_type, false);
        self.join_node(inputs, kind, name, fields, join_type, changelog)
    }

    /// Adds a join's operator over its inputs, spread by their keys. The logical columns are those of the inputs
    /// without what was added for keys.
    pub(super) fn join_node(
        &mut self,
        inputs: &JoinInputs,
        kind: NodeKind,
        name: String,
        fields: Vec<Field>,
        join_type: JoinType,
        changelog: ChangelogMode,
    ) -> Result<Lowered> {
        let (edges, parallelism) = self.by_keys(inputs);
        let node = self.add(super::NewNode {
            kind,
            name,
            inputs: edges,
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog,
            shared: !inputs.conditions.iter().any(Expr::is_volatile),
        });
        let [left, right] = inputs.widths();
        let [all_left, _] = inputs.nodes.map(|n| self.node(n).schema.fields().len());
        let columns: Vec<usize> = match join_type {
            JoinType::Semi | JoinType::Anti => (0..left).collect(),
            JoinType::Mark => (0..left).chain([all_left]).collect(),
            _ => (0..left).chain((0..right).map(|i| all_left + i)).collect(),
        };
        let fields = columns.iter().map(|c| Arc::new(fields[*c].clone())).collect();
        Ok(Lowered { node, columns, fields, windowed: None })
    }

    /// Both inputs spread by the join keys; all to one task where there are none.
    pub(super) fn by_keys(&self, inputs: &JoinInputs) -> (Vec<Edge>, usize) {
        let sides = [
            inputs.keys.iter().map(|k| k.left).collect::<Vec<_>>(),
            inputs.keys.iter().map(|k| k.right).collect(),
        ];
        let mut edges = Vec::new();
        let mut parallelism = 1;
        for (node, keys) in inputs.nodes.iter().zip(sides) {
            let (edge, width) = self.keyed(*node, keys);
            edges.push(edge);
            parallelism = width;
        }
        (edges, parallelism)
    }

    /// Columns of a join's output, which may be NULL where their side may be without a partner.
    pub(super) fn joined_fields(
        &self,
        inputs: &JoinInputs,
        join_type: JoinType,
        keeps_time: bool,
    ) -> Vec<Field> {
        let side = |node: NodeId, padded: bool| -> Vec<Field> {
            let fields = self.node(node).schema.fields().iter();
            let fields = fields.map(|f| {
                let field =
                    if keeps_time { f.as_ref().clone() } else { without_time_attribute(f.as_ref().clone()) };
                let nullable = field.is_nullable() || padded;
                field.with_nullable(nullable)
            });
            fields.collect()
        };
        let (left_outer, right_outer) = join_type.outer(0);
        let mut fields = side(inputs.nodes[0], right_outer);
        match join_type {
            JoinType::Semi | JoinType::Anti => {}
            JoinType::Mark => fields.push(Field::new("mark", DataType::Boolean, false)),
            _ => fields.extend(side(inputs.nodes[1], left_outer)),
        }
        fields
    }

    pub(super) fn joined_names(&self, inputs: &JoinInputs, join_type: JoinType) -> Vec<String> {
        self.joined_fields(inputs, join_type, false).iter().map(|f| f.name().clone()).collect()
    }

    /// The keys of `join`, as columns of its inputs; an expression that is a key becomes a column of its own.
    fn join_inputs(
        &mut self,
        join: &Join,
        left: Lowered,
        (right, right_schema): (Lowered, &DFSchema),
    ) -> Result<JoinInputs> {
        let schemas = [join.left.schema().as_ref(), right_schema];
        let schema = schemas[0].join(schemas[1]).map_err(|e| translate(e, &[]))?;
        let null_safe = join.null_equality == NullEquality::NullEqualsNull;
        let mut pairs: Vec<(Expr, Expr, bool)> =
            join.on.iter().map(|(a, b)| (a.clone(), b.clone(), null_safe)).collect();
        let mut conditions: Vec<Expr> = Vec::new();
        for part in join.filter.iter().flat_map(split_conjunction) {
            match null_safe_pair(part, schemas) {
                Some((a, b)) => pairs.push((a, b, true)),
                None => conditions.push(part.clone()),
            }
        }
        let mut added: [Vec<Expr>; 2] = [Vec::new(), Vec::new()];
        let mut keys = Vec::new();
        for (a, b, null_safe) in pairs {
            let types = [field_type(&a, schemas[0])?, field_type(&b, schemas[1])?];
            if types[0] != types[1] || a.is_volatile() || b.is_volatile() {
                let op = if null_safe { Operator::IsNotDistinctFrom } else { Operator::Eq };
                conditions.push(binary_expr(a, op, b));
                continue;
            }
            let [in_left, in_right] = &mut added;
            let left = key_column(a, schemas[0], in_left);
            let right = key_column(b, schemas[1], in_right);
            keys.push(JoinKey { left, right, null_safe });
        }
        let [in_left, in_right] = added;
        let nodes = [
            self.with_columns(&left, schemas[0], &in_left)?,
            self.with_columns(&right, schemas[1], &in_right)?,
        ];
        Ok(JoinInputs { left, right, nodes, keys, conditions, schema })
    }

    /// Exactly the logical columns of `input`, and after them `added`.
    pub(super) fn with_columns(
        &mut self,
        input: &Lowered,
        schema: &DFSchema,
        added: &[Expr],
    ) -> Result<NodeId> {
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        let names: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        if added.is_empty() {
            return self.exact(input, &names);
        }
        let mut exprs: Vec<Arc<dyn PhysicalExpr>> =
            input.columns.iter().zip(&names).map(|(c, n)| physical_column(n, *c)).collect();
        let mut texts = names;
        for (number, expr) in added.iter().enumerate() {
            let field = field_of(expr, schema, Some(&input.fields)).map_err(|e| translate(e, &[]))?;
            fields.push(without_time_attribute(field).with_name(format!("$f{}", texts.len())));
            exprs.push(physical(expr, schema, &input.columns)?);
            texts.push(format!("{} AS $f{}", text(&named(expr, schema, input)), input.fields.len() + number));
        }
        Ok(self.calc(input, &[], exprs, fields, texts, true)?.node)
    }

    pub(super) fn refuse_join(&self, what: &str, hint: &str) -> Error {
        Error::unsupported(what, hint).at(self.join_place)
    }
}

/// Our kind of join; `None` for those that only exist right to left.
fn join_type(of: datafusion_common::JoinType) -> Option<JoinType> {
    use datafusion_common::JoinType as D;
    Some(match of {
        D::Inner => JoinType::Inner,
        D::Left => JoinType::Left,
        D::Right => JoinType::Right,
        D::Full => JoinType::Full,
        D::LeftSemi => JoinType::Semi,
        D::LeftAnti => JoinType::Anti,
        D::LeftMark => JoinType::Mark,
        _ => return None,
    })
}

/// The changes of either.
pub(super) fn either(a: ChangelogMode, b: ChangelogMode) -> ChangelogMode {
    ChangelogMode {
        update_before: a.update_before || b.update_before,
        update_after: a.update_after || b.update_after,
        delete: a.delete || b.delete,
    }
}

/// The sides of `l IS NOT DISTINCT FROM r`, left one first, if each reads one side only.
pub(super) fn null_safe_pair(expr: &Expr, schemas: [&DFSchema; 2]) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::IsNotDistinctFrom, right }) = expr else {
        return None;
    };
    let reads = |e: &Expr, schema: &DFSchema| {
        let columns = e.column_refs();
        !columns.is_empty() && columns.iter().all(|c| schema.maybe_index_of_column(c).is_some())
    };
    if reads(left, schemas[0]) && reads(right, schemas[1]) {
        return Some((left.as_ref().clone(), right.as_ref().clone()));
    }
    (reads(right, schemas[0]) && reads(left, schemas[1]))
        .then(|| (right.as_ref().clone(), left.as_ref().clone()))
}

pub(super) fn field_type(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    Ok(field_of(expr, schema, None).map_err(|e| translate(e, &[]))?.data_type().clone())
}

/// Index of a key among the columns of its side and those `added` to it.
pub(super) fn key_column(expr: Expr, schema: &DFSchema, added: &mut Vec<Expr>) -> usize {
    if let Expr::Column(column) = unalias(&expr)
        && let Some(index) = schema.maybe_index_of_column(column)
    {
        return index;
    }
    let known = added.iter().position(|e| *e == expr);
    let at = known.unwrap_or_else(|| {
        added.push(expr);
        added.len() - 1
    });
    schema.fields().len() + at
}
