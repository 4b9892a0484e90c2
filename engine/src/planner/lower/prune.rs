//! Which fields of ROW columns a job reads, so that decoders skip the rest.

use super::scan::table_of;
use crate::error::Result;
use crate::planner::diagnostics::{carry, translate};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::{Expr, LogicalPlan};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is read of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it.
    Whole,
    /// These fields of a ROW.
    Fields(BTreeSet<String>),
}

/// What is read of each column of a table, by index.
pub(super) type Reads = BTreeMap<usize, Read>;

/// Notes that column `index` is read as `read`.
pub(super) fn note(reads: &mut Reads, index: usize, read: Read) {
    match (reads.get_mut(&index), read) {
        (None, read) => drop(reads.insert(index, read)),
        (Some(Read::Whole), _) => {}
        (Some(Read::Fields(known)), Read::Fields(more)) => known.extend(more),
        (Some(known), Read::Whole) => *known = Read::Whole,
    }
}

/// Notes what `expr` reads; `indexes` gives the table's column for each column of `schema`.
pub(super) fn note_expression(reads: &mut Reads, expr: &Expr, schema: &DFSchema, indexes: &[usize]) {
    let column = |e: &Expr| match e {
        Expr::Column(c) => schema.maybe_index_of_column(c).and_then(|i| indexes.get(i)).copied(),
        _ => None,
    };
    let _ = expr.apply(|e| {
        if let Expr::ScalarFunction(call) = e
            && call.func.name() == "get_field"
            && let [row, Expr::Literal(ScalarValue::Utf8(Some(field)), _), ..] = call.args.as_slice()
            && let Some(index) = column(row)
        {
            note(reads, index, Read::Fields([field.clone()].into()));
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Some(index) = column(e) {
            note(reads, index, Read::Whole);
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// What all scans of each table read together, by the table's identity.
pub(super) fn reads(plans: &[&LogicalPlan]) -> Result<HashMap<String, Reads>> {
    let mut all: HashMap<String, Reads> = HashMap::new();
    for plan in plans {
        let mut narrow: BTreeMap<usize, usize> = BTreeMap::new();
        let mut visits: BTreeMap<usize, usize> = BTreeMap::new();
        // First, scans whose columns go no further than one projection or aggregate: only their expressions count.
        plan.apply_with_subqueries(|node| {
            let input = match node {
                LogicalPlan::Projection(p) => &p.input,
                LogicalPlan::Aggregate(a) => &a.input,
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            let (filters, base) = super::calc::peel(input);
            let LogicalPlan::TableScan(scan) = base else { return Ok(TreeNodeRecursion::Continue) };
            let (table, indexes) = table_of(scan).map_err(carry)?;
            let reads = all.entry(table.identity()).or_default();
            for expr in node.expressions() {
                note_expression(reads, &expr, input.schema(), &indexes);
            }
            for (expr, schema) in filters {
                note_expression(reads, expr, schema, &indexes);
            }
            *narrow.entry(std::ptr::from_ref(scan) as usize).or_default() += 1;
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|e| translate(e, &[]))?;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                *visits.entry(std::ptr::from_ref(scan) as usize).or_default() += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|e| translate(e, &[]))?;
        // Then all other scans, also those that something else reads as well: their rows go on as they are.
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let (table, indexes) = table_of(scan).map_err(carry)?;
                let reads = all.entry(table.identity()).or_default();
                let place = std::ptr::from_ref(scan) as usize;
                if narrow.get(&place) != visits.get(&place) {
                    indexes.iter().for_each(|i| note(reads, *i, Read::Whole));
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|e| translate(e, &[]))?;
    }
    Ok(all)
}

/// The field with only what is read of it.
pub(super) fn narrowed(field: &FieldRef, read: Option<&Read>) -> FieldRef {
    let (Some(Read::Fields(names)), DataType::Struct(fields)) = (read, field.data_type()) else {
        return Arc::clone(field);
    };
    let kept: Fields = fields.iter().filter(|f| names.contains(f.name())).cloned().collect();
    if kept.is_empty() || kept.len() == fields.len() {
        return Arc::clone(field);
    }
    // The SQL type's text would tell of fields that are gone.
    Arc::new(Field::new(field.name(), DataType::Struct(kept), field.is_nullable()))
}
