//! Aggregate and window functions as the binder sees them: names, and Flink's result types. What runs them is
//! `state::accumulator`.

use super::field;
use super::scalar::{user, user_hint};
use arrow::datatypes::*;
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, PartitionEvaluator, Signature, Volatility, WindowUDF,
    WindowUDFImpl,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

type Rule = fn(&str, &[FieldRef]) -> Result<Field>;

/// Every aggregate: Flink's name and its result.
const AGGREGATES: &[(&str, Rule)] = &[
    ("COUNT", count),
    ("SUM", sum),
    ("SUM0", sum),
    ("AVG", avg),
    ("MIN", comparable),
    ("MAX", comparable),
    ("FIRST_VALUE", same),
    ("LAST_VALUE", same),
    ("SINGLE_VALUE", same),
    ("LISTAGG", listagg),
    ("COLLECT", collect),
    ("ARRAY_AGG", array_agg),
    ("STDDEV_POP", spread),
    ("STDDEV_SAMP", spread),
    ("STDDEV", spread),
    ("VAR_POP", spread),
    ("VAR_SAMP", spread),
    ("VARIANCE", spread),
    ("GROUPING", grouping),
    ("GROUPING_ID", grouping),
    ("GROUP_ID", grouping),
];

/// Every pure window function: name, and its result over the fields of its arguments.
const WINDOWS: &[(&str, Rule)] = &[
    ("ROW_NUMBER", position),
    ("RANK", position),
    ("DENSE_RANK", position),
    ("NTILE", position),
    ("PERCENT_RANK", share),
    ("CUME_DIST", share),
    ("LAG", neighbour),
    ("LEAD", neighbour),
    ("NTH_VALUE", neighbour),
    ("FIRST_VALUE", same),
    ("LAST_VALUE", same),
];

/// All aggregates, by Flink's name.
pub(super) fn aggregates() -> impl Iterator<Item = (&'static str, AggregateUDF)> {
    AGGREGATES.iter().map(|(name, rule)| (*name, AggregateUDF::from(Binder::new(name, *rule))))
}

/// All window functions, by Flink's name.
pub(super) fn windows() -> impl Iterator<Item = (&'static str, WindowUDF)> {
    WINDOWS.iter().map(|(name, rule)| (*name, WindowUDF::from(Binder::new(name, *rule))))
}

/// A function that is bound here and run elsewhere.
#[derive(Debug)]
struct Binder {
    name: String,
    rule: Rule,
    signature: Signature,
}

impl Binder {
    fn new(name: &str, rule: Rule) -> Self {
        Self {
            name: name.to_ascii_lowercase(),
            rule,
            signature: match name {
                "GROUP_ID" => Signature::nullary(Volatility::Immutable),
                _ => Signature::user_defined(Volatility::Immutable),
            },
        }
    }
}

impl PartialEq for Binder {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Binder {}

impl Hash for Binder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Binder {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> =
            arg_types.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        Ok((self.rule)(&self.name, &fields)?.data_type().clone())
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new((self.rule)(&self.name, arg_fields)?.with_name(&self.name)))
    }

    fn is_nullable(&self) -> bool {
        !matches!(self.name.as_str(), "count" | "grouping" | "grouping_id" | "group_id")
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        if self.name == "count" {
            return Ok(ScalarValue::Int64(Some(0)));
        }
        ScalarValue::try_from(data_type)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        plan_err!("{} runs in Runnel's own accumulators", self.name)
    }
}

impl WindowUDFImpl for Binder {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        plan_err!("{} runs in Runnel's own operators", self.name)
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new((self.rule)(&self.name, args.input_fields())?.with_name(args.name())))
    }
}

fn one<'a>(name: &str, fields: &'a [FieldRef]) -> Result<&'a FieldRef> {
    match fields {
        [f] => Ok(f),
        _ => user(format!("{} takes 1 argument, but {} were given.", name.to_uppercase(), fields.len())),
    }
}

fn numeric<'a>(name: &str, fields: &'a [FieldRef]) -> Result<&'a FieldRef> {
    let f = one(name, fields)?;
    if f.data_type().is_numeric() || f.data_type().is_null() {
        return Ok(f);
    }
    user(format!("{} needs a number, not {}.", name.to_uppercase(), field::type_text(f)))
}

fn count(_: &str, _: &[FieldRef]) -> Result<Field> {
    Ok(Field::new("", DataType::Int64, false))
}

/// GROUPING and its like stand for the grouping set; a rule of the planner replaces them.
fn grouping(_: &str, _: &[FieldRef]) -> Result<Field> {
    Ok(Field::new("", DataType::Int64, false))
}

fn sum(name: &str, fields: &[FieldRef]) -> Result<Field> {
    let t = match numeric(name, fields)?.data_type() {
        DataType::Decimal128(_, s) => DataType::Decimal128(38, *s),
        DataType::Null => DataType::Int32,
        other => other.clone(),
    };
    Ok(Field::new("", t, true))
}

fn avg(name: &str, fields: &[FieldRef]) -> Result<Field> {
    let t = match numeric(name, fields)?.data_type() {
        DataType::Decimal128(_, s) => DataType::Decimal128(38, (*s).max(6)),
        DataType::Null => DataType::Int32,
        other => other.clone(),
    };
    Ok(Field::new("", t, true))
}

fn spread(name: &str, fields: &[FieldRef]) -> Result<Field> {
    avg(name, fields)
}

fn comparable(name: &str, fields: &[FieldRef]) -> Result<Field> {
    let f = one(name, fields)?;
    match f.data_type() {
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => user(format!(
            "{} cannot compare values of type {}.",
            name.to_uppercase(),
            field::type_text(&field::like(f, true))
        )),
        _ => Ok(field::like(f, true)),
    }
}

fn same(name: &str, fields: &[FieldRef]) -> Result<Field> {
    Ok(field::like(one(name, fields)?, true))
}

fn listagg(_: &str, fields: &[FieldRef]) -> Result<Field> {
    match fields {
        [_] | [_, _] if fields.iter().all(|f| matches!(f.data_type(), DataType::Utf8 | DataType::Null)) => {
            Ok(Field::new("", DataType::Utf8, true))
        }
        _ => user_hint(
            "LISTAGG takes a STRING and, if wanted, a separator.",
            "Write LISTAGG(CAST(x AS STRING), ',').",
        ),
    }
}

fn collect(name: &str, fields: &[FieldRef]) -> Result<Field> {
    let f = one(name, fields)?;
    let entries = Fields::from(vec![
        field::like(f, false).with_name("key"),
        Field::new("value", DataType::Int32, false),
    ]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    let element = field::type_text(f);
    Ok(field::declare(map, true, format!("MULTISET<{element}>")))
}

fn array_agg(name: &str, fields: &[FieldRef]) -> Result<Field> {
    let f = one(name, fields)?;
    Ok(Field::new("", DataType::List(field::item(f, true)), true))
}

fn position(_: &str, _: &[FieldRef]) -> Result<Field> {
    Ok(Field::new("", DataType::Int64, false))
}

fn share(_: &str, _: &[FieldRef]) -> Result<Field> {
    Ok(Field::new("", DataType::Float64, false))
}

fn neighbour(name: &str, fields: &[FieldRef]) -> Result<Field> {
    match fields.first() {
        Some(f) => Ok(field::like(f, true)),
        None => user(format!("{} takes at least 1 argument.", name.to_uppercase())),
    }
}
