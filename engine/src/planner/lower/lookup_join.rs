//! Joins with a table as of processing time: its connector looks rows up by key.

use super::join::{field_type, null_safe_pair};
use super::scan::table_of;
use super::{Graph, Lowered, NewNode};
use crate::error::{Error, Result};
use crate::plan::{AsyncLookup, JoinType, LookupJoinNode, LookupKey, LookupRetry, NodeKind};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{columns_read, field_of, physical, physical_column, text, unalias};
use crate::planner::nodes::{AS_OF_PROCTIME, Hinted, Versioned};
use crate::planner::rules::temporal::versioned;
use crate::planner::table::{Kind, Table, unqualified};
use crate::sql::LookupHint;
use crate::sql::data_type::without_time_attribute;
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, NullEquality};
use datafusion_expr::logical_plan::{Join, TableScan};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{BinaryExpr, Expr, LogicalPlan, Operator, binary_expr};
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Whether the join is with a table as of processing time.
pub(super) fn is_lookup(join: &Join) -> bool {
    join.filter.iter().flat_map(split_conjunction).any(is_mark)
}

fn is_mark(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == AS_OF_PROCTIME)
}

/// What the right side of such a join is: columns and filters of a table.
struct Shape<'a> {
    scan: &'a TableScan,
    /// For each column of the side, what it is of the scan's columns.
    columns: Vec<Expr>,
    /// What must hold of the scan's columns.
    filters: Vec<Expr>,
}

fn shape(plan: &LogicalPlan) -> Result<Shape<'_>> {
    let other = || {
        Error::unsupported(
            "FOR SYSTEM_TIME AS OF processing time on something other than columns and rows of one table",
            "Name the table itself, or a view that only selects from it.",
        )
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let columns = scan.projected_schema.columns().into_iter().map(Expr::Column).collect();
            Ok(Shape { scan, columns, filters: scan.filters.clone() })
        }
        LogicalPlan::SubqueryAlias(alias) => shape(&alias.input),
        LogicalPlan::Filter(filter) => {
            let mut below = shape(&filter.input)?;
            for part in split_conjunction(&filter.predicate) {
                below.filters.push(replaced(part, filter.input.schema(), &below.columns)?);
            }
            Ok(below)
        }
        LogicalPlan::Projection(projection) => {
            let below = shape(&projection.input)?;
            let schema = projection.input.schema();
            let columns = projection.expr.iter().map(|e| replaced(unalias(e), schema, &below.columns));
            Ok(Shape { columns: columns.collect::<Result<_>>()?, ..below })
        }
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            match (node.downcast_ref::<Versioned>(), node.downcast_ref::<Hinted>()) {
                (Some(versioned), _) => shape(&versioned.input),
                (None, Some(hinted)) => shape(&hinted.input),
                (None, None) => Err(other()),
            }
        }
        _ => Err(other()),
    }
}

/// `expr` over `schema` with each of its columns as `columns` says.
fn replaced(expr: &Expr, schema: &DFSchema, columns: &[Expr]) -> Result<Expr> {
    let replaced = expr.clone().transform_up(|e| {
        let index = match &e {
            Expr::Column(c) => schema.maybe_index_of_column(c),
            _ => None,
        };
        Ok(match index.and_then(|i| columns.get(i)) {
            Some(column) => Transformed::yes(column.clone()),
            None => Transformed::no(e),
        })
    });
    Ok(replaced.map_err(|e| translate(e, &[]))?.data)
}

/// The stored columns of a looked-up table, over which all is computed that is read of it.
struct Stored {
    /// Indexes in the table.
    columns: Vec<usize>,
    schema: DFSchema,
    /// For each column of the scan, what it is of the stored ones.
    of_scan: Vec<Expr>,
}

impl Stored {
    fn new(table: &Table, scanned: &[usize]) -> Result<Self> {
        let columns: Vec<usize> =
            (0..table.columns.len()).filter(|i| matches!(table.columns[*i].kind, Kind::Physical)).collect();
        let fields: Vec<FieldRef> = columns
            .iter()
            .map(|i| Arc::new(without_time_attribute(table.columns[*i].field.as_ref().clone())))
            .collect();
        let of_scan = scanned.iter().map(|i| match &table.columns[*i].kind {
            Kind::Physical => Ok(Expr::Column(Column::new_unqualified(table.columns[*i].field.name()))),
            Kind::Computed(expr) => Ok(expr.clone()),
            Kind::Metadata { key, .. } => Err(Error::unsupported(
                format!("The metadata column '{key}' of a table that is looked up"),
                "Leave it out.",
            )),
        });
        Ok(Self { columns, schema: unqualified(&fields)?, of_scan: of_scan.collect::<Result<_>>()? })
    }

    /// The stored column, by its index in `schema`, that `expr` over it is.
    fn column(&self, expr: &Expr) -> Option<usize> {
        match unalias(expr) {
            Expr::Column(column) => self.schema.maybe_index_of_column(column),
            _ => None,
        }
    }
}

/// What a stored column is compared with.
enum Value {
    Left(Expr),
    Constant(Expr),
}

/// A stored column that is equal to a constant.
fn constant_key(filter: &Expr, stored: &Stored) -> Result<Option<(usize, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return Ok(None) };
    for (column, value) in [(left, right), (right, left)] {
        if let (Some(index), Expr::Literal(scalar, _)) = (stored.column(column), unalias(value))
            && !scalar.is_null()
            && scalar.data_type() == *stored.schema.field(index).data_type()
        {
            return Ok(Some((index, unalias(value).clone())));
        }
    }
    Ok(None)
}

impl Graph<'_> {
    /// The join with the rows that the right table's connector finds.
    ///
    /// Errors: a table that cannot be looked up, or no key to look up, in Flink's words.
    pub(super) fn lookup_join(&mut self, join: &Join, left: Lowered, join_type: JoinType) -> Result<Lowered> {
        let right = shape(&join.right).map_err(|e| e.at(self.join_place))?;
        let (table, scanned) = table_of(right.scan)?;
        let Some(lookup) = table.lookup(self.context)? else {
            return Err(self.refuse_join(
                "FOR SYSTEM_TIME AS OF processing time on a table that cannot be looked up",
                "Use the left table's event time, or a table whose connector can be looked up: filesystem, jdbc.",
            ));
        };
        let stored = Stored::new(table, &scanned).map_err(|e| e.at(self.join_place))?;
        let scan_schema = right.scan.projected_schema.as_ref();
        let over_stored = |e: &Expr| replaced(e, scan_schema, &stored.of_scan);
        let columns = right.columns.iter().map(over_stored).collect::<Result<Vec<_>>>()?;
        let mut keys: Vec<(usize, Value)> = Vec::new();
        let mut filters = Vec::new();
        for filter in right.filters.iter().flat_map(split_conjunction).map(over_stored) {
            let filter = filter?;
            match constant_key(&filter, &stored)? {
                Some((column, value)) if keys.iter().all(|k| k.0 != column) => {
                    keys.push((column, Value::Constant(value)));
                }
                _ => filters.push(filter),
            }
        }
        let conditions = self.lookup_keys(join, &stored, &columns, &mut keys)?;
        if keys.is_empty() {
            return Err(Error::user(format!(
                "Temporal table join requires an equality condition on fields of table [{}].",
                table.name
            ))
            .with_hint("Compare a column of the table itself with `=`: ON l.k = d.id.")
            .at(self.join_place));
        }
        keys.sort_by_key(|k| k.0);
        // The left side with what its keys are computed to.
        let schema = join.left.schema();
        let width = left.fields.len();
        let mut added: Vec<Expr> = Vec::new();
        let mut places = Vec::new();
        for (_, value) in &keys {
            places.push(match value {
                Value::Constant(_) => None,
                Value::Left(expr) => Some(super::join::key_column(expr.clone(), schema, &mut added)),
            });
        }
        let from = self.with_columns(&left, schema, &added)?;
        let input = Arc::clone(&self.node(from).schema);
        // The table's columns that are read.
        let mut read: Vec<usize> =
            columns_read(columns.iter().chain(&filters), &stored.schema).into_iter().collect();
        read.extend(keys.iter().map(|k| k.0));
        read.sort_unstable();
        read.dedup();
        let place_of: Vec<usize> = (0..stored.columns.len())
            .map(|i| read.iter().position(|r| *r == i).unwrap_or(usize::MAX))
            .collect();
        let over_projection = |e: &Expr| physical(e, &stored.schema, &place_of);
        let projection: Vec<FieldRef> =
            read.iter().map(|i| Arc::clone(&stored.schema.fields()[*i])).collect();
        let mut lookup_keys = Vec::new();
        let mut key_texts = Vec::new();
        for ((column, value), place) in keys.iter().zip(&places) {
            let name = stored.schema.field(*column).name();
            let (value, with) = match (value, place) {
                (Value::Left(_), Some(place)) => {
                    let name = input.field(*place).name();
                    (physical_column(name, *place), name.clone())
                }
                (Value::Constant(e) | Value::Left(e), _) => (physical(e, &DFSchema::empty(), &[])?, text(e)),
            };
            key_texts.push(format!("{name}={with}"));
            lookup_keys.push(LookupKey { column: place_of[*column], value });
        }
        let is_unique = table.definition.primary_key.as_ref().is_some_and(|key| {
            let compared = |c: &String| keys.iter().any(|k| stored.schema.field(k.0).name() == c);
            !key.columns.is_empty() && key.columns.iter().all(compared)
        });
        let mut fields: Vec<Field> = input.fields().iter().map(|f| f.as_ref().clone()).collect();
        for (index, column) in columns.iter().enumerate() {
            let bound = join.right.schema().field(index);
            let field = field_of(column, &stored.schema, None).map_err(|e| translate(e, &[]))?;
            let nullable = field.is_nullable() || join_type == JoinType::Left;
            fields.push(without_time_attribute(field).with_name(bound.name()).with_nullable(nullable));
        }
        let joined = schema.join(join.right.schema()).map_err(|e| translate(e, &[]))?;
        let output: Vec<usize> =
            (0..width).chain((0..columns.len()).map(|i| input.fields().len() + i)).collect();
        let condition = conjunction(conditions.iter().cloned());
        let hint = versioned(&join.right).map(|v| v.lookup.clone()).unwrap_or_default();
        let settings = self.lookup_settings(&hint, &lookup)?;
        let changelog = self.node(from).changelog;
        self.refuse_resolving(changelog)?;
        let mut parts = vec![
            format!("table=[{}]", table.name),
            format!("joinType=[{}]", join_type.name()),
            format!("lookup=[{}]", key_texts.join(", ")),
        ];
        let list = |exprs: &[Expr]| exprs.iter().map(text).collect::<Vec<_>>().join(" AND ");
        if !filters.is_empty() {
            parts.push(format!("where=[{}]", list(&filters)));
        }
        if !conditions.is_empty() {
            parts.push(format!("joinCondition=[{}]", list(&conditions)));
        }
        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        parts.push(format!("select=[{}]", names.join(", ")));
        if let Some(asynchronous) = settings.asynchronous {
            let order = if asynchronous.ordered { "ORDERED" } else { "UNORDERED" };
            parts.push(format!("async=[{order}, {}ms, {}]", settings.timeout_ms, asynchronous.capacity));
        }
        if let Some(retry) = settings.retry {
            parts.push(format!(
                "retry=[lookup_miss, FIXED_DELAY, {}ms, {}]",
                retry.delay_ms, retry.max_attempts
            ));
        }
        let (edge, parallelism) = self.forward(from);
        let node = NodeKind::LookupJoin(LookupJoinNode {
            table: table.name.to_string(),
            lookup,
            join_type,
            keys: lookup_keys,
            is_unique,
            projection: Arc::new(Schema::new(projection)),
            filter: conjunction(filters).map(|f| over_projection(&f)).transpose()?,
            columns: columns.iter().map(over_projection).collect::<Result<Vec<Arc<dyn PhysicalExpr>>>>()?,
            condition: condition.map(|c| physical(&c, &joined, &output)).transpose()?,
            asynchronous: settings.asynchronous,
            timeout_ms: settings.timeout_ms,
            retry: settings.retry,
        });
        let node = self.add(NewNode {
            kind: node,
            name: format!("LookupJoin({})", parts.join(", ")),
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog,
            shared: !conditions.iter().any(Expr::is_volatile),
        });
        let fields = output.iter().map(|c| Arc::new(fields[*c].clone())).collect();
        Ok(Lowered { node, columns: output, fields, windowed: left.windowed })
    }

    /// Adds the keys that compare stored columns with the left side; gives what else must hold of a pair.
    fn lookup_keys(
        &self,
        join: &Join,
        stored: &Stored,
        columns: &[Expr],
        keys: &mut Vec<(usize, Value)>,
    ) -> Result<Vec<Expr>> {
        let schemas = [join.left.schema().as_ref(), join.right.schema().as_ref()];
        let null_safe = join.null_equality == NullEquality::NullEqualsNull;
        let mut pairs: Vec<(Expr, Expr, bool)> =
            join.on.iter().map(|(a, b)| (a.clone(), b.clone(), null_safe)).collect();
        let mut conditions = Vec::new();
        for part in join.filter.iter().flat_map(split_conjunction).filter(|e| !is_mark(e)) {
            match null_safe_pair(part, schemas) {
                Some((a, b)) => pairs.push((a, b, true)),
                None => conditions.push(part.clone()),
            }
        }
        for (a, b, null_safe) in pairs {
            let on_table = match unalias(&b) {
                Expr::Column(c) => {
                    schemas[1].maybe_index_of_column(c).and_then(|i| stored.column(&columns[i]))
                }
                _ => None,
            };
            let is_key = field_type(&a, schemas[0])? == field_type(&b, schemas[1])? && !a.is_volatile();
            match on_table.filter(|c| is_key && keys.iter().all(|k| k.0 != *c)) {
                Some(column) => {
                    if null_safe && stored.schema.field(column).is_nullable() {
                        return Err(Error::user(format!(
                            "LookupJoin doesn't support join condition contains 'a IS NOT DISTINCT FROM b' (or \
                             alternative '(a = b) or (a IS NULL AND b IS NULL)'), the join condition is '{} IS NOT \
                             DISTINCT FROM {}'.",
                            text(&a),
                            text(&b)
                        ))
                        .with_hint("Compare with `=`: a key that is NULL finds no row.")
                        .at(self.join_place));
                    }
                    keys.push((column, Value::Left(a)));
                }
                None => {
                    let op = if null_safe { Operator::IsNotDistinctFrom } else { Operator::Eq };
                    conditions.push(binary_expr(a, op, b));
                }
            }
        }
        Ok(conditions)
    }

    /// What settings and hint say of how it is looked up.
    fn lookup_settings(&self, hint: &LookupHint, lookup: &crate::connector::Lookup) -> Result<Settings> {
        let config = self.context.config;
        let by_key = matches!(lookup, crate::connector::Lookup::ByKey { .. });
        let mode = config.get("table.exec.async-lookup.output-mode").unwrap_or_default();
        let capacity =
            hint.capacity.unwrap_or_else(|| config.integer("table.exec.async-lookup.buffer-capacity"));
        let asynchronous = AsyncLookup {
            ordered: hint.ordered.unwrap_or_else(|| !mode.eq_ignore_ascii_case("ALLOW_UNORDERED")),
            capacity: usize::try_from(capacity).unwrap_or(usize::MAX).max(1),
        };
        let timeout =
            hint.timeout_ms.unwrap_or_else(|| config.duration_ms("table.exec.async-lookup.timeout"));
        let retry = hint.retry.map(|(delay_ms, max_attempts)| LookupRetry { delay_ms, max_attempts });
        Ok(Settings {
            asynchronous: (by_key && hint.asynchronous == Some(true)).then_some(asynchronous),
            timeout_ms: timeout,
            retry: retry.filter(|_| by_key),
        })
    }

    /// Errors where rows that are taken back would have to be found as they were.
    fn refuse_resolving(&self, changelog: crate::plan::ChangelogMode) -> Result<()> {
        let strategy = self.context.config.get("table.optimizer.non-deterministic-update.strategy");
        if changelog.is_append() || !strategy.is_some_and(|s| s.eq_ignore_ascii_case("TRY_RESOLVE")) {
            return Ok(());
        }
        Err(self.refuse_join(
            "A lookup for updates with 'table.optimizer.non-deterministic-update.strategy' = 'TRY_RESOLVE'",
            "SET it to 'IGNORE': what is taken back is then what the table holds at that time.",
        ))
    }
}

struct Settings {
    asynchronous: Option<AsyncLookup>,
    timeout_ms: u64,
    retry: Option<LookupRetry>,
}
