//! The aggregate calls of an operator, over one set of groups.

use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::{AggregateCall, WindowAggregateNode};
use crate::state::accumulator::{Accumulator, Changes, accumulator, selection};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int64Type, Schema};
use std::borrow::Cow;
use std::sync::Arc;

/// What is needed to make and feed accumulators: bound once, used for every slice.
pub(super) struct Aggregates {
    calls: Vec<Call>,
    retracts: bool,
}

struct Call {
    call: AggregateCall,
    types: Vec<DataType>,
}

/// One accumulator for each call.
pub(super) type Accumulators = Vec<Box<dyn Accumulator>>;

impl Aggregates {
    /// Binds `calls` to the columns of `input`.
    ///
    /// Errors: an aggregate that cannot be run.
    pub(super) fn new(calls: &[AggregateCall], input: &Schema, retracts: bool) -> Result<Self> {
        let bind = |call: &AggregateCall| {
            let types = call.arguments.iter().map(|i| input.field(*i).data_type().clone()).collect();
            Call { call: call.clone(), types }
        };
        let bound = Self { calls: calls.iter().map(bind).collect(), retracts };
        bound.make()?;
        Ok(bound)
    }

    /// Fresh accumulators.
    pub(super) fn make(&self) -> Result<Accumulators> {
        self.calls.iter().map(|c| accumulator(&c.call, &c.types, self.retracts && !c.call.monotone)).collect()
    }

    /// Takes the rows of `input` in.
    pub(super) fn update(&self, into: &mut Accumulators, input: &RecordBatch, groups: &[u32]) -> Result<()> {
        for (call, accumulator) in self.calls.iter().zip(into) {
            accumulator.update(&call.arguments(input), groups, call.filter(input)?)?;
        }
        Ok(())
    }

    /// Takes the rows of `input` in, or back, by their kinds.
    pub(super) fn apply(&self, into: &mut Accumulators, input: &ChangeBatch, groups: &[u32]) -> Result<()> {
        let Some(kinds) = input.kinds() else { return self.update(into, input.records(), groups) };
        let signs: Vec<i8> = kinds.iter().map(|k| if k.is_addition() { 1 } else { -1 }).collect();
        self.apply_signs(into, input.records(), groups, &signs)
    }

    /// Takes each row of `input` in where its sign is 1, back where it is -1.
    pub(super) fn apply_signs(
        &self,
        into: &mut Accumulators,
        input: &RecordBatch,
        groups: &[u32],
        signs: &[i8],
    ) -> Result<()> {
        for (call, accumulator) in self.calls.iter().zip(into) {
            let signs = call.signs(signs);
            accumulator.apply(&call.arguments(input), groups, &signs, call.filter(input)?)?;
        }
        Ok(())
    }

    /// Rows that are told as changes even where all values stay the same.
    pub(super) fn told_anyway(&self, of: &Accumulators, input: &RecordBatch) -> Result<BooleanBuffer> {
        let mut told = BooleanBuffer::new_unset(input.num_rows());
        for (call, _) in self.calls.iter().zip(of).filter(|(_, a)| a.tells_every_row()) {
            let counts = selection(&call.arguments(input), call.filter(input)?, true);
            told = &told | &counts.unwrap_or_else(|| BooleanBuffer::new_set(input.num_rows()));
        }
        Ok(told)
    }

    /// Whether every row that comes changes a value: rows are counted.
    pub(super) fn counts_all(&self) -> bool {
        self.calls.iter().any(|c| {
            let call = &c.call;
            call.function == "count" && call.arguments.is_empty() && call.filter.is_none() && !call.distinct
        })
    }

    /// Takes the rows of `input` in; for each call, each row's value after it.
    pub(super) fn advance(
        &self,
        into: &mut Accumulators,
        input: &RecordBatch,
        groups: &[u32],
    ) -> Result<Vec<ArrayRef>> {
        let one = |(call, accumulator): (&Call, &mut Box<dyn Accumulator>)| {
            accumulator.advance(&call.arguments(input), groups, call.filter(input)?)
        };
        self.calls.iter().zip(into).map(one).collect()
    }

    /// Takes the rows of `input` in or back; for each call, each row's value before and after.
    pub(super) fn change(
        &self,
        into: &mut Accumulators,
        input: &RecordBatch,
        groups: &[u32],
        changes: Changes<'_>,
    ) -> Result<Vec<(ArrayRef, ArrayRef)>> {
        let one = |(call, accumulator): (&Call, &mut Box<dyn Accumulator>)| {
            let signs = call.signs(changes.signs);
            let changes = Changes { signs: &signs, ..changes };
            accumulator.change(&call.arguments(input), groups, changes, call.filter(input)?)
        };
        self.calls.iter().zip(into).map(one).collect()
    }
}

impl Call {
    /// `signs`, without the rows that this call does not take back.
    fn signs<'a>(&self, signs: &'a [i8]) -> Cow<'a, [i8]> {
        match self.call.monotone {
            true => signs.iter().map(|s| (*s).max(0)).collect(),
            false => Cow::Borrowed(signs),
        }
    }

    fn arguments(&self, input: &RecordBatch) -> Vec<ArrayRef> {
        self.call.arguments.iter().map(|i| Arc::clone(input.column(*i))).collect()
    }

    fn filter<'a>(&self, input: &'a RecordBatch) -> Result<Option<&'a BooleanArray>> {
        let Some(column) = self.call.filter else { return Ok(None) };
        match input.column(column).as_boolean_opt() {
            Some(filter) => Ok(Some(filter)),
            None => Err(Error::internal(format!("The FILTER of {} is not BOOLEAN.", self.call.name))),
        }
    }
}

/// Makes room for groups `0..slots` in all of them.
pub(super) fn resize(accumulators: &mut Accumulators, slots: usize) {
    accumulators.iter_mut().for_each(|a| a.resize(slots));
}

/// The values of `groups`, a column for each.
pub(super) fn evaluate(accumulators: &Accumulators, groups: &[u32]) -> Result<Vec<ArrayRef>> {
    accumulators.iter().map(|a| a.evaluate(groups)).collect()
}

/// The calls of a window aggregate. Where rows may be taken back, the last one counts them: a window without rows
/// is not told.
pub(super) fn in_windows(node: &WindowAggregateNode) -> Vec<AggregateCall> {
    let count = AggregateCall {
        function: "count".into(),
        arguments: Vec::new(),
        distinct: false,
        filter: None,
        data_type: DataType::Int64,
        name: "count1$".into(),
        monotone: false,
    };
    node.aggregates.iter().cloned().chain(node.retracts.then_some(count)).collect()
}

/// Those of `groups` that have rows, by the count that `in_windows` adds.
pub(super) fn with_rows(accumulators: &Accumulators, groups: Vec<u32>) -> Result<Vec<u32>> {
    let Some(count) = accumulators.last() else { return Ok(groups) };
    let counts = count.evaluate(&groups)?;
    let counts = counts.as_primitive::<Int64Type>();
    Ok(groups.into_iter().zip(counts.values()).filter(|(_, n)| **n != 0).map(|(g, _)| g).collect())
}

/// The states of `groups`, as columns: those of each accumulator one after the other.
pub(super) fn states(accumulators: &Accumulators, groups: &[u32]) -> Result<Vec<ArrayRef>> {
    let mut columns = Vec::new();
    for accumulator in accumulators {
        columns.extend(accumulator.state(groups)?);
    }
    Ok(columns)
}

/// Puts states made by `states` in place of those of `groups`.
///
/// Errors: columns that are not of these accumulators.
pub(super) fn replace(accumulators: &mut Accumulators, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
    for accumulator in accumulators.iter_mut() {
        groups.iter().for_each(|group| accumulator.clear(*group));
    }
    merge(accumulators, states, groups)
}

/// Adds states made by `states` to those of `groups`.
///
/// Errors: columns that are not of these accumulators.
pub(super) fn merge(accumulators: &mut Accumulators, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
    let mut first = 0;
    for accumulator in accumulators.iter_mut() {
        let shape = accumulator.state(&[])?;
        let mine = states.get(first..first + shape.len()).unwrap_or_default();
        let fits = mine.iter().zip(&shape).all(|(have, want)| have.data_type() == want.data_type());
        if mine.len() != shape.len() || !fits {
            return Err(not_these());
        }
        first += shape.len();
        accumulator.merge(mine, groups)?;
    }
    if first == states.len() { Ok(()) } else { Err(not_these()) }
}

fn not_these() -> Error {
    Error::user("The checkpoint holds the state of other aggregates than the query has.")
        .with_hint("Restore into the query that wrote it, or start without the checkpoint.")
}

/// Bytes held, estimated.
pub(super) fn size(accumulators: &Accumulators) -> usize {
    accumulators.iter().map(|a| a.size()).sum()
}
