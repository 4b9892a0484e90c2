//! Expressions: their SQL types, their text in Flink's form, and their way to DataFusion's physical expressions.

use super::diagnostics::translate;
use crate::error::Result;
use crate::functions::Pick;
use crate::sql::SqlType;
use crate::sql::data_type::{
    TYPE_KEY, TimeKind, time_attribute, with_time_attribute, without_time_attribute,
};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::Column as PhysicalColumn;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The output field of `expr` over `schema`, with our type metadata. A time attribute stays one only where the
/// expression is the column itself (or PROCTIME()). `inputs` are the fields of `schema` where they are known better.
pub(super) fn field_of(expr: &Expr, schema: &DFSchema, inputs: Option<&[FieldRef]>) -> DfResult<Field> {
    Ok(match expr {
        Expr::Alias(alias) => field_of(&alias.expr, schema, inputs)?.with_name(&alias.name),
        Expr::Column(column) => {
            let index = schema.index_of_column(column)?;
            match inputs.and_then(|i| i.get(index)) {
                Some(field) => field.as_ref().clone().with_name(&column.name),
                None => schema.field(index).as_ref().clone(),
            }
        }
        Expr::ScalarFunction(call) if call.func.name().eq_ignore_ascii_case("proctime") => {
            let field =
                Field::new("proctime", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false);
            with_time_attribute(field, TimeKind::Proctime)
        }
        Expr::Case(case) => {
            let (_, field) = expr.to_field(schema)?;
            let branches = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
            let types = branches
                .map(|b| Ok(SqlType::of(&field_of(b, schema, inputs)?)))
                .collect::<DfResult<Vec<_>>>()?;
            retype(field.as_ref().clone(), common_text(&types))
        }
        Expr::Literal(ScalarValue::Utf8(Some(text)), None) => {
            let (_, field) = expr.to_field(schema)?;
            retype(field.as_ref().clone(), Some(SqlType::Char(text.encode_utf16().count() as u32)))
        }
        Expr::BinaryExpr(BinaryExpr {
            op: Operator::IsDistinctFrom | Operator::IsNotDistinctFrom, ..
        }) => expr.to_field(schema)?.1.as_ref().clone().with_nullable(false),
        other => without_time_attribute(other.to_field(schema)?.1.as_ref().clone()),
    })
}

/// `field` with `sql_type` in its metadata, if that is a type of the same layout.
pub(super) fn retype(field: Field, sql_type: Option<SqlType>) -> Field {
    let Some(sql_type) = sql_type else { return field };
    if sql_type.to_arrow() != *field.data_type() {
        return field;
    }
    let typed = sql_type.to_field(field.name(), field.is_nullable());
    let kept = time_attribute(&field);
    match kept {
        Some(kind) => with_time_attribute(typed, kind),
        None => typed,
    }
}

/// The type of texts that holds them all: CHAR(n) where all have one length, else the longest VARCHAR. `None` where
/// they are no texts.
pub(super) fn common_text(types: &[SqlType]) -> Option<SqlType> {
    let mut longest = 0;
    let mut same = None;
    let mut all_char = true;
    for sql_type in types {
        let length = match sql_type {
            SqlType::Null => continue,
            SqlType::Char(n) => *n,
            SqlType::Varchar(n) => {
                all_char = false;
                *n
            }
            _ => return None,
        };
        all_char &= same.is_none_or(|s| s == length);
        same = Some(length);
        longest = longest.max(length);
    }
    same?;
    Some(if all_char { SqlType::Char(longest) } else { SqlType::Varchar(longest) })
}

/// Casts the arguments of operators and functions to the types that they are evaluated with, and folds constants.
pub(super) fn coerce(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(expr, schema)?;
    // What has columns is computed as Java does when it runs; until then the planner still looks at comparisons.
    let constant = coerced.column_refs().is_empty();
    simplifier.simplify(if constant { crate::functions::as_java(coerced, schema)? } else { coerced })
}

/// The physical expression of a coerced `expr` over `schema`, of which column i is column `columns[i]` of the input.
pub(super) fn physical(expr: &Expr, schema: &DFSchema, columns: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let expr = crate::functions::as_java(expr.clone(), schema).map_err(|e| translate(e, &[]))?;
    let built =
        create_physical_expr(&expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
            .map_err(|e| translate(e, &[]))?;
    let built = built.transform_down(|e| {
        Ok(match Pick::of(&e, schema.as_arrow()) {
            Some(pick) => Transformed::yes(Arc::new(pick) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(e),
        })
    });
    let built = built.map_err(|e| translate(e, &[]))?.data;
    let identity = columns.iter().enumerate().all(|(i, c)| i == *c);
    if identity {
        return Ok(built);
    }
    let moved = built.transform_up(|e| {
        Ok(match e.downcast_ref::<PhysicalColumn>() {
            Some(column) => {
                let index = columns.get(column.index()).copied().unwrap_or(column.index());
                let moved: Arc<dyn PhysicalExpr> = Arc::new(PhysicalColumn::new(column.name(), index));
                Transformed::yes(moved)
            }
            None => Transformed::no(e),
        })
    });
    Ok(moved.map_err(|e| translate(e, &[]))?.data)
}

/// Column `index` as a physical expression.
pub(super) fn physical_column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(PhysicalColumn::new(name, index))
}

/// The value of an expression without columns, as an array of one row.
pub(super) fn constant(expr: &Expr) -> Result<ArrayRef> {
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one)?;
    let physical = physical(expr, &DFSchema::empty(), &[])?;
    physical.evaluate(&batch).and_then(|v| v.into_array(1)).map_err(|e| translate(e, &[]))
}

/// Indexes of the columns of `schema` that `exprs` read.
pub(super) fn columns_read<'a>(
    exprs: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for expr in exprs {
        for column in expr.column_refs() {
            found.extend(schema.maybe_index_of_column(column));
        }
    }
    found
}

/// Without its alias.
pub(super) fn unalias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unalias(&alias.expr),
        other => other,
    }
}

/// Place in the SQL of the first column that the expression reads.
pub(super) fn first_span(expr: &Expr) -> Option<crate::error::Span> {
    let mut found = None;
    let _ = expr.apply(|e| {
        if let Expr::Column(column) = e
            && let Some(span) = column.spans.first()
        {
            found = Some(crate::error::Span {
                start: crate::error::Location {
                    line: span.start.line as u32,
                    column: span.start.column as u32,
                },
                end: crate::error::Location { line: span.end.line as u32, column: span.end.column as u32 },
            });
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The expression as Flink's plans write it, columns without their tables.
pub(super) fn text(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) => text(&alias.expr),
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(value, _) => literal(value),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let side = |e: &Expr| match e {
                Expr::BinaryExpr(inner) if inner.op != *op || !matches!(op, Operator::And | Operator::Or) => {
                    format!("({})", text(e))
                }
                _ => text(e),
            };
            let op = match op {
                Operator::NotEq => "<>".to_string(),
                Operator::StringConcat => "||".to_string(),
                other => other.to_string().to_uppercase(),
            };
            format!("{} {op} {}", side(left), side(right))
        }
        Expr::Not(inner) => format!("NOT({})", text(inner)),
        Expr::Negative(inner) => format!("-({})", text(inner)),
        Expr::IsNull(inner) => format!("{} IS NULL", text(inner)),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", text(inner)),
        Expr::IsTrue(inner) => format!("{} IS TRUE", text(inner)),
        Expr::IsFalse(inner) => format!("{} IS FALSE", text(inner)),
        Expr::Cast(cast) if matches!(unalias(&cast.expr), Expr::Literal(v, _) if v.data_type().is_numeric()) => {
            text(&cast.expr)
        }
        Expr::Cast(cast) => format!("CAST({} AS {})", text(&cast.expr), type_name(&cast.field)),
        Expr::TryCast(cast) => format!("TRY_CAST({} AS {})", text(&cast.expr), type_name(&cast.field)),
        Expr::Case(case) => {
            let mut out = String::from("CASE");
            if let Some(operand) = &case.expr {
                out.push_str(&format!(" {}", text(operand)));
            }
            for (when, then) in &case.when_then_expr {
                out.push_str(&format!(" WHEN {} THEN {}", text(when), text(then)));
            }
            if let Some(other) = &case.else_expr {
                out.push_str(&format!(" ELSE {}", text(other)));
            }
            out + " END"
        }
        Expr::Between(b) => {
            let not = if b.negated { " NOT" } else { "" };
            format!("{}{not} BETWEEN {} AND {}", text(&b.expr), text(&b.low), text(&b.high))
        }
        Expr::InList(list) => {
            let not = if list.negated { " NOT" } else { "" };
            let values: Vec<String> = list.list.iter().map(text).collect();
            format!("{}{not} IN ({})", text(&list.expr), values.join(", "))
        }
        Expr::Like(like) => {
            let not = if like.negated { " NOT" } else { "" };
            format!("{}{not} LIKE {}", text(&like.expr), text(&like.pattern))
        }
        Expr::ScalarFunction(call) if is_operator(call.func.name()) && call.args.len() == 2 => {
            let side = |e: &Expr| match e {
                Expr::BinaryExpr(_) => format!("({})", text(e)),
                Expr::ScalarFunction(inner) if is_operator(inner.func.name()) => format!("({})", text(e)),
                _ => text(e),
            };
            format!("{} {} {}", side(&call.args[0]), call.func.name(), side(&call.args[1]))
        }
        Expr::ScalarFunction(call)
            if matches!(call.func.name(), "cast" | "try_cast") && call.args.len() == 1 =>
        {
            let inner = text(&call.args[0]);
            if matches!(unalias(&call.args[0]), Expr::Literal(v, _) if v.data_type().is_numeric()) {
                return inner;
            }
            let whole = expr.schema_name().to_string();
            let target = whole.rsplit_once(" AS ").map_or("?", |(_, t)| t.strip_suffix(')').unwrap_or(t));
            format!("{}({inner} AS {target})", call.func.name().to_uppercase())
        }
        Expr::ScalarFunction(call) if call.func.name() == "get_field" && call.args.len() == 2 => match &call
            .args[1]
        {
            Expr::Literal(ScalarValue::Utf8(Some(field)), _) => format!("{}.{field}", text(&call.args[0])),
            other => format!("{}[{}]", text(&call.args[0]), text(other)),
        },
        Expr::ScalarFunction(call) => {
            let arguments: Vec<String> = call.args.iter().map(text).collect();
            format!("{}({})", call.func.name().to_uppercase(), arguments.join(", "))
        }
        Expr::AggregateFunction(call) => {
            let mut arguments: Vec<String> = call.params.args.iter().map(text).collect();
            if counts_rows(call) {
                arguments = vec!["*".into()];
            }
            let distinct = if call.params.distinct { "DISTINCT " } else { "" };
            let filter =
                call.params.filter.as_ref().map_or_else(String::new, |f| format!(" FILTER {}", text(f)));
            format!("{}({distinct}{}){filter}", call.func.name().to_uppercase(), arguments.join(", "))
        }
        other => other.to_string(),
    }
}

/// Operators are functions of ours.
fn is_operator(name: &str) -> bool {
    matches!(name, "+" | "-" | "*" | "/" | "%" | "||")
}

/// Whether the call is COUNT(*): DataFusion counts a constant.
pub(super) fn counts_rows(call: &datafusion_expr::expr::AggregateFunction) -> bool {
    call.func.name().eq_ignore_ascii_case("count") && counts_rows_of(&call.params.args, call.params.distinct)
}

/// Whether COUNT of `args` counts rows.
pub(super) fn counts_rows_of(args: &[Expr], distinct: bool) -> bool {
    match args {
        [] => true,
        #[expect(deprecated, reason = "how DataFusion binds COUNT(*) OVER")]
        [Expr::Wildcard { .. }] => true,
        [Expr::Literal(value, _)] => !value.is_null() && !distinct,
        _ => false,
    }
}

fn type_name(field: &Field) -> String {
    SqlType::of(field).to_string()
}

fn literal(value: &ScalarValue) -> String {
    match value {
        v if v.is_null() => "null".to_string(),
        ScalarValue::Utf8(Some(s)) | ScalarValue::LargeUtf8(Some(s)) | ScalarValue::Utf8View(Some(s)) => {
            format!("'{}'", s.replace('\'', "''"))
        }
        ScalarValue::Boolean(Some(b)) => b.to_string(),
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 => {
            format!("{}:INTERVAL", i64::from(v.days) * 86_400_000 + v.nanoseconds / 1_000_000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            format!("{}:INTERVAL", i64::from(v.days) * 86_400_000 + i64::from(v.milliseconds))
        }
        ScalarValue::Decimal128(Some(unscaled), _, scale) if *scale > 0 => {
            let scale = *scale as usize;
            let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
            let sign = if *unscaled < 0 { "-" } else { "" };
            format!("{sign}{}.{}", &digits[..digits.len() - scale], &digits[digits.len() - scale..])
        }
        other => other.to_string(),
    }
}

/// The metadata that gives a literal its SQL type where Arrow's type is wider.
pub(super) fn type_metadata(sql_type: &SqlType) -> datafusion_expr::expr::FieldMetadata {
    datafusion_expr::expr::FieldMetadata::new(
        std::iter::once((TYPE_KEY.to_string(), sql_type.to_string())).collect(),
    )
}
