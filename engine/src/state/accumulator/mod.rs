//! Aggregates of many groups at once, with Flink's types and rules.
//!
//! An accumulator holds one aggregate's state for groups `0..n` as arrays. It can take rows in, take them
//! back, hand its state out as columns and take such columns in again: merging slices and sessions, partial
//! aggregation and checkpoints all go that one way.

mod average;
mod collect;
mod count;
mod distinct;
mod extremum;
mod first_last;
mod fold;
mod single;
mod sum;
mod value;
mod variance;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::plan::AggregateCall;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{self as types, DataType};
pub(crate) use fold::selection;

use fold::Folding;
use value::{Bytes, Fixed};

/// What each row of a batch does to its group, in order.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// 1 takes the row in, -1 takes it back, 0 leaves it out.
    pub signs: &'a [i8],
    /// Whether the group is forgotten after the row. Empty if none is.
    pub clears: &'a [bool],
}

/// One aggregate of many groups. Groups are those of a `KeyTable`; `resize` comes before a new group's rows.
///
/// `values` are the argument columns, `groups` has the group of each row, and only rows for which `filter` is
/// true (and not NULL) count. Rows with a NULL argument are left out by the accumulators that must.
pub trait Accumulator: Send {
    /// Makes room for groups `0..groups`; new ones are empty.
    fn resize(&mut self, groups: usize);

    /// Takes rows in.
    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()>;

    /// Takes rows in or back one after the other, and tells each row's group's value before and after it.
    /// An accumulator made with `retracts` set to false sees no sign of -1 and no `clears`.
    fn change(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        changes: Changes<'_>,
        filter: Option<&BooleanArray>,
    ) -> Result<(ArrayRef, ArrayRef)>;

    /// Takes rows in one after the other, and tells each row's group's value after it.
    fn advance(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<ArrayRef> {
        let changes = Changes { signs: &vec![1; groups.len()], clears: &[] };
        Ok(self.change(values, groups, changes, filter)?.1)
    }

    /// Takes each row in where its sign is 1, back where it is -1. As `change`, without telling.
    fn apply(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        signs: &[i8],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        self.change(values, groups, Changes { signs, clears: &[] }, filter).map(drop)
    }

    /// The values of `groups`.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The state of `groups`, as columns with a row for each.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Adds the state in row `i` of `states`, made by `state` of the same kind of accumulator, to group
    /// `groups[i]`.
    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()>;

    /// Makes `group` empty.
    fn clear(&mut self, group: u32);

    /// Whether rows with a NULL argument are left out.
    fn skips_nulls(&self) -> bool;

    /// Whether states must be merged in the order of time. Others are merged as Flink does, for texts to be the
    /// same: the slices of a hopping window from the latest to the earliest.
    fn merges_in_time_order(&self) -> bool {
        false
    }

    /// Whether every row that counts is told as a change, even where the value stays the same: Flink's planner
    /// writes some aggregates as several sums, and compares these.
    fn tells_every_row(&self) -> bool {
        false
    }

    /// Bytes held, estimated.
    fn size(&self) -> usize;
}

/// Whether `function` (lower case) is an aggregate that the operators can run.
pub fn is_supported(function: &str) -> bool {
    matches!(
        function,
        "count"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "first_value"
            | "last_value"
            | "single_value"
            | "listagg"
            | "collect"
            | "array_agg"
            | "stddev"
            | "stddev_pop"
            | "stddev_samp"
            | "var_pop"
            | "var_samp"
            | "variance"
    )
}

/// The accumulator for `call`, over argument columns of `argument_types`. `retracts` says whether rows may be
/// taken back: MIN, MAX, FIRST_VALUE, LAST_VALUE and LISTAGG must then keep all values.
///
/// Errors: an aggregate, or an argument type, that cannot be run.
pub fn accumulator(
    call: &AggregateCall,
    argument_types: &[DataType],
    retracts: bool,
) -> Result<Box<dyn Accumulator>> {
    // MIN and MAX are the same over distinct values, unless values come and go.
    let distinct = call.distinct && (retracts || !matches!(&*call.function, "min" | "max"));
    let inner = plain(call, argument_types, retracts)?;
    Ok(if distinct { Box::new(distinct::Distinct::new(inner, argument_types, retracts)?) } else { inner })
}

fn plain(call: &AggregateCall, arguments: &[DataType], retracts: bool) -> Result<Box<dyn Accumulator>> {
    let function = &*call.function;
    let unsupported = || {
        let types: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Err(Error::unsupported(
            format!("The aggregate {}({})", function.to_uppercase(), types.join(", ")),
            "CAST the argument to a numeric type or to STRING, or use COUNT, SUM, AVG, MIN or MAX.",
        ))
    };
    if function == "count" {
        return Ok(Box::new(Folding(count::Count::default())));
    }
    let Some(argument) = arguments.first() else { return unsupported() };
    Ok(match function {
        "sum" => match argument {
            DataType::Int8 => Box::new(Folding(sum::Sum::<types::Int8Type>::default())),
            DataType::Int16 => Box::new(Folding(sum::Sum::<types::Int16Type>::default())),
            DataType::Int32 => Box::new(Folding(sum::Sum::<types::Int32Type>::default())),
            DataType::Int64 => Box::new(Folding(sum::Sum::<types::Int64Type>::default())),
            DataType::Float32 => Box::new(Folding(sum::Sum::<types::Float32Type>::default())),
            DataType::Float64 => Box::new(Folding(sum::Sum::<types::Float64Type>::default())),
            DataType::Decimal128(_, scale) => Box::new(Folding(sum::DecimalSum::new(*scale))),
            _ => return unsupported(),
        },
        "avg" => match argument {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Box::new(Folding(average::IntegerAverage::new(argument.clone())))
            }
            DataType::Float32 | DataType::Float64 => {
                Box::new(Folding(average::FloatAverage::new(argument.clone())))
            }
            DataType::Decimal128(_, scale) => Box::new(Folding(average::DecimalAverage::new(*scale))),
            _ => return unsupported(),
        },
        "min" => extremum::<false>(argument, retracts)?,
        "max" => extremum::<true>(argument, retracts)?,
        "first_value" => first_last::<false>(argument, retracts)?,
        "last_value" => first_last::<true>(argument, retracts)?,
        "single_value" => by_value(argument, Collection::Single)?,
        "collect" => by_value(argument, Collection::Multiset)?,
        "array_agg" => by_value(argument, Collection::Array)?,
        "listagg" => match (argument, arguments.get(1)) {
            (DataType::Utf8, None | Some(DataType::Utf8)) if retracts => {
                Box::new(Folding(collect::RetractableListAgg::default()))
            }
            (DataType::Utf8, None | Some(DataType::Utf8)) => Box::new(Folding(collect::ListAgg::default())),
            _ => return unsupported(),
        },
        "stddev" | "stddev_samp" | "stddev_pop" | "var_pop" | "var_samp" | "variance" => {
            let root = function.starts_with("stddev");
            let sample = !function.ends_with("_pop");
            match argument {
                DataType::Int8 => Box::new(Folding(variance::Variance::<types::Int8Type>::new(root, sample))),
                DataType::Int16 => {
                    Box::new(Folding(variance::Variance::<types::Int16Type>::new(root, sample)))
                }
                DataType::Decimal128(precision, scale) => {
                    Box::new(Folding(variance::DecimalVariance::new(root, sample, (*precision, *scale))))
                }
                DataType::Int32 => {
                    Box::new(Folding(variance::Variance::<types::Int32Type>::new(root, sample)))
                }
                DataType::Int64 => {
                    Box::new(Folding(variance::Variance::<types::Int64Type>::new(root, sample)))
                }
                DataType::Float32 => {
                    Box::new(Folding(variance::Variance::<types::Float32Type>::new(root, sample)))
                }
                DataType::Float64 => {
                    Box::new(Folding(variance::Variance::<types::Float64Type>::new(root, sample)))
                }
                _ => return unsupported(),
            }
        }
        _ => return unsupported(),
    })
}

macro_rules! for_physical {
    ($codec:expr, $V:ident => $make:expr) => {{
        use super::column::Physical;
        let boxed: Box<dyn Accumulator> = match $codec.physical() {
            Physical::I32 => {
                type $V = Fixed<types::Int32Type>;
                Box::new(Folding($make))
            }
            Physical::I64 => {
                type $V = Fixed<types::Int64Type>;
                Box::new(Folding($make))
            }
            Physical::F32 => {
                type $V = Fixed<types::Float32Type>;
                Box::new(Folding($make))
            }
            Physical::F64 => {
                type $V = Fixed<types::Float64Type>;
                Box::new(Folding($make))
            }
            Physical::I128 => {
                type $V = Fixed<types::Decimal128Type>;
                Box::new(Folding($make))
            }
            Physical::Bytes => {
                type $V = Bytes;
                Box::new(Folding($make))
            }
        };
        boxed
    }};
}

fn extremum<const MAX: bool>(argument: &DataType, retracts: bool) -> Result<Box<dyn Accumulator>> {
    let codec = super::column::Codec::new(argument)?;
    Ok(if retracts {
        for_physical!(codec, V => extremum::RetractableExtremum::<V, MAX>::new(codec))
    } else {
        for_physical!(codec, V => extremum::Extremum::<V, MAX>::new(codec))
    })
}

fn first_last<const LAST: bool>(argument: &DataType, retracts: bool) -> Result<Box<dyn Accumulator>> {
    let codec = super::column::Codec::new(argument)?;
    Ok(if retracts {
        for_physical!(codec, V => first_last::RetractableFirstLast::<V, LAST>::new(codec))
    } else {
        for_physical!(codec, V => first_last::FirstLast::<V, LAST>::new(codec))
    })
}

enum Collection {
    Multiset,
    Array,
    Single,
}

fn by_value(argument: &DataType, collection: Collection) -> Result<Box<dyn Accumulator>> {
    let codec = super::column::Codec::new(argument)?;
    Ok(match collection {
        Collection::Multiset => for_physical!(codec, V => collect::Collect::<V>::new(codec)),
        Collection::Array => for_physical!(codec, V => collect::ArrayAgg::<V>::new(codec)),
        Collection::Single => for_physical!(codec, V => single::SingleValue::<V>::new(codec)),
    })
}
