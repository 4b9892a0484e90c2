//! How rows make, prolong and complete matches.

use super::automaton::{Automaton, FINAL, Take};
use super::partitions::Partitions;
use super::queue::{NOT_BEGUN, Queue, Run};
use super::rows::{NONE, Nodes, Rows};
use super::values::{Subject, Values};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::operators::Collector;
use crate::operators::row_codec::SortCodec;
use crate::operators::rows::{MAX_BATCH_ROWS, batch, evaluate_mask};
use crate::plan::{AfterMatchSkip, MatchRecognizeNode, PatternVariable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::ops::Range;

/// Most matches of one partition that may be on their way at a time.
const MAX_PARTIAL_MATCHES: usize = if cfg!(test) { 20 } else { 100_000 };

/// Finds matches as Flink's CEP library does: all that a row makes possible are followed at once, and when some are
/// complete, the one that began first is told, and takes away those that `AFTER MATCH SKIP` forbids.
pub(super) struct Finder {
    node: MatchRecognizeNode,
    automaton: Automaton,
    /// For each variable its condition that looks at rows before, if it has one.
    conditions: Vec<Option<Values>>,
    measures: Values,
    order: SortCodec,
    output: SchemaRef,
}

/// Rows of one partition that are due, in the order in which they came: a range of their ids.
pub(super) struct Due {
    pub group: u32,
    pub rows: Range<usize>,
}

/// A match that is to be told.
pub(super) struct Found {
    node: u32,
    time: i64,
}

/// For each match on its way and each variable, whether the row at hand could be the variable's; `None` where that was
/// not found out.
#[derive(Default)]
struct Verdicts {
    width: usize,
    known: Vec<Option<bool>>,
}

/// A row that matches are tried with.
#[derive(Clone, Copy)]
struct Trial<'a> {
    id: u32,
    time: i64,
    /// The batch that it is in, and its place there.
    records: &'a RecordBatch,
    place: usize,
}

impl Finder {
    /// Over rows of `kept`; columns of `output` are those of the partition, then the measures.
    ///
    /// Errors: a column of a type that cannot be ordered, an aggregate that cannot be run, too many states.
    pub(super) fn new(node: &MatchRecognizeNode, kept: &SchemaRef, output: SchemaRef) -> Result<Self> {
        let condition =
            |v: &PatternVariable| v.match_condition.as_ref().map(|c| Values::new(c, kept)).transpose();
        Ok(Self {
            automaton: Automaton::new(&node.pattern)?,
            conditions: node.pattern.iter().map(condition).collect::<Result<_>>()?,
            measures: Values::new(&node.measures, kept)?,
            order: SortCodec::new(&node.order, kept)?,
            output,
            node: node.clone(),
        })
    }

    /// Takes in rows that are due. They are held as rows that wait, and are let go of.
    pub(super) fn take_in(
        &self,
        partitions: &mut Partitions,
        due: &[Due],
        mut ids: Vec<u32>,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.put_in_order(&partitions.rows, due, &mut ids)?;
        let mut found = Vec::new();
        let (mut chunk, mut begin) = (Vec::new(), 0);
        for part in due {
            let mut rows = part.rows.clone();
            while !rows.is_empty() {
                let end = rows.end.min(begin + MAX_BATCH_ROWS);
                chunk.push(Due { group: part.group, rows: rows.start..end });
                rows.start = end;
                if end == begin + MAX_BATCH_ROWS {
                    self.take_in_chunk(partitions, &chunk, &ids, begin..end, &mut found, out)?;
                    chunk.clear();
                    begin = end;
                }
            }
        }
        self.take_in_chunk(partitions, &chunk, &ids, begin..ids.len(), &mut found, out)?;
        self.tell(partitions, &mut found, out)
    }

    /// Puts rows of the same partition and time in order.
    fn put_in_order(&self, rows: &Rows, due: &[Due], ids: &mut [u32]) -> Result<()> {
        if self.node.order.is_empty() || ids.is_empty() {
            return Ok(());
        }
        let keys = self.order.encode(&rows.records(ids)?)?;
        let mut places: Vec<usize> = (0..ids.len()).collect();
        for part in due {
            places[part.rows.clone()].sort_by(|a, b| {
                rows.time(ids[*a]).cmp(&rows.time(ids[*b])).then_with(|| keys.get(*a).cmp(keys.get(*b)))
            });
        }
        let sorted: Vec<u32> = places.into_iter().map(|p| ids[p]).collect();
        ids.copy_from_slice(&sorted);
        Ok(())
    }

    /// Takes in the rows `range` of `ids`, row by row of each partition, and those of all partitions together.
    fn take_in_chunk(
        &self,
        partitions: &mut Partitions,
        due: &[Due],
        ids: &[u32],
        range: Range<usize>,
        found: &mut Vec<Found>,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let first = range.start;
        let records = partitions.rows.records(&ids[range])?;
        // A condition that fails for some row may never be asked of that row: then it is asked row by row.
        let mask = |v: &PatternVariable| {
            v.row_condition.as_ref().and_then(|condition| evaluate_mask(condition, &records).ok())
        };
        let masks: Vec<Option<BooleanArray>> = self.node.pattern.iter().map(mask).collect();
        let mut verdicts = Verdicts::default();
        let mut rows: Vec<(u32, Trial<'_>)> = Vec::new();
        let mut active: Vec<&Due> = due.iter().collect();
        for round in 0.. {
            active.retain(|part| round < part.rows.len());
            if active.is_empty() {
                break;
            }
            rows.clear();
            for part in &active {
                let at = part.rows.start + round;
                let (id, place) = (ids[at], at - first);
                let time = partitions.rows.time(id);
                self.advance(partitions, part.group, time, found)?;
                rows.push((part.group, Trial { id, time, records: &records, place }));
            }
            self.judge(partitions, &rows, &masks, &mut verdicts);
            let mut run = 0;
            for (group, row) in &rows {
                run = self.take_row(partitions, *group, *row, run, &mut verdicts, found)?;
                partitions.rows.release(row.id);
            }
            if found.len() >= MAX_BATCH_ROWS {
                self.tell(partitions, found, out)?;
            }
        }
        Ok(())
    }

    /// Finds out for all matches on their way which variables could take their rows.
    fn judge(
        &self,
        partitions: &mut Partitions,
        rows: &[(u32, Trial<'_>)],
        masks: &[Option<BooleanArray>],
        verdicts: &mut Verdicts,
    ) {
        let width = self.node.pattern.len();
        verdicts.width = width;
        verdicts.known.clear();
        let mut asked: Vec<(Vec<usize>, Vec<Subject>)> = vec![Default::default(); width];
        let start = Run { state: self.automaton.start(), node: NONE, start: NOT_BEGUN, start_ms: 0 };
        let mut run_number = 0;
        for (group, row) in rows {
            let partition = partitions.get_mut(*group);
            if partition.runs.is_empty() {
                partition.runs.push(start);
            }
            for run in partition.runs.iter() {
                verdicts.known.resize((run_number + 1) * width, None);
                for variable in self.automaton.asks(run.state) {
                    let by_row = match (&masks[*variable], &self.node.pattern[*variable].row_condition) {
                        (Some(mask), _) => Some(mask.value(row.place)),
                        (None, Some(_)) => None,
                        (None, None) => Some(true),
                    };
                    match (by_row, &self.conditions[*variable]) {
                        (Some(true), Some(_)) => {
                            let (of, subjects) = &mut asked[*variable];
                            of.push(run_number);
                            subjects.push(Subject {
                                node: run.node,
                                next: Some((*variable, row.id)),
                                time: row.time,
                            });
                        }
                        (known, _) => verdicts.known[run_number * width + variable] = known,
                    }
                }
                run_number += 1;
            }
        }
        for (variable, (of, subjects)) in asked.into_iter().enumerate() {
            let Some(condition) = &self.conditions[variable] else { continue };
            for (of, subjects) in of.chunks(MAX_BATCH_ROWS).zip(subjects.chunks(MAX_BATCH_ROWS)) {
                // Where it fails, those that need it ask again.
                let Ok(truths) = truths(condition, subjects, partitions) else { continue };
                for (run, truth) in of.iter().zip(truths) {
                    verdicts.known[run * width + variable] = Some(truth);
                }
            }
        }
    }

    /// Whether `row` could be one of `variable` in the match `run`.
    fn holds(&self, partitions: &Partitions, run: &Run, row: Trial<'_>, variable: usize) -> Result<bool> {
        if let Some(condition) = &self.node.pattern[variable].row_condition
            && !evaluate_mask(condition, &row.records.slice(row.place, 1))?.value(0)
        {
            return Ok(false);
        }
        let Some(condition) = &self.conditions[variable] else { return Ok(true) };
        let subject = Subject { node: run.node, next: Some((variable, row.id)), time: row.time };
        Ok(truths(condition, &[subject], partitions)?.first().copied().unwrap_or(false))
    }

    /// What `row` does to the matches of its partition, of which `run` is the number of the first one in `verdicts`.
    /// Gives the number of the next partition's first one.
    fn take_row(
        &self,
        partitions: &mut Partitions,
        group: u32,
        row: Trial<'_>,
        mut run_number: usize,
        verdicts: &mut Verdicts,
        found: &mut Vec<Found>,
    ) -> Result<usize> {
        let partition = partitions.get_mut(group);
        let number = partition.next;
        partition.next += 1;
        let before = std::mem::take(&mut partition.runs);
        let mut complete = std::mem::take(&mut partition.complete);
        partitions.rows.set_number(row.id, number);
        let (mut runs, mut completed) = (Queue::default(), Queue::default());
        let mut takes: Vec<Take> = Vec::new();
        for run in before.iter() {
            takes.clear();
            let known = &mut verdicts.known[run_number * verdicts.width..][..verdicts.width];
            run_number += 1;
            let mut holds = |variable: usize| {
                if let Some(known) = known[variable] {
                    return Ok(known);
                }
                let holds = self.holds(partitions, run, row, variable)?;
                known[variable] = Some(holds);
                Ok(holds)
            };
            self.automaton.step(run.state, &mut holds, &mut takes)?;
            for take in &takes {
                let node = partitions.nodes.add(run.node, take.variable, row.id, &mut partitions.rows);
                let begins = run.start == NOT_BEGUN;
                let next = Run {
                    state: take.to,
                    node,
                    start: if begins { number } else { run.start },
                    start_ms: if begins { row.time } else { run.start_ms },
                };
                if take.completes {
                    partitions.nodes.hold(node);
                    completed.push(Run { state: FINAL, ..next });
                }
                if take.to == FINAL { completed.push(next) } else { runs.push(next) }
            }
            if run.start == NOT_BEGUN {
                runs.push(*run);
            } else {
                partitions.nodes.release(run.node, &mut partitions.rows);
            }
        }
        completed.iter().for_each(|run| complete.push(*run));
        if runs.len() > MAX_PARTIAL_MATCHES {
            return Err(too_many());
        }
        self.settle(partitions, &mut runs, &mut complete, &|_| row.time, found)?;
        let partition = partitions.get_mut(group);
        (partition.runs, partition.complete) = (runs, complete);
        Ok(run_number)
    }

    /// Time comes to `time`: gives up matches that take too long. Complete ones that have waited for them are told, with
    /// the time at which the last of those was over: unlike Flink's watermark of that moment it is the same in every run.
    pub(super) fn advance(
        &self,
        partitions: &mut Partitions,
        group: u32,
        time: i64,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let within = self.node.within_ms;
        let late = |run: &Run| run.start != NOT_BEGUN && time.saturating_sub(run.start_ms) >= within;
        let partition = partitions.get_mut(group);
        if within <= 0 || !partition.runs.peek().is_some_and(late) {
            return Ok(());
        }
        let before = std::mem::take(&mut partition.runs);
        let mut complete = std::mem::take(&mut partition.complete);
        let mut runs: Queue = before.iter().filter(|run| !late(run)).copied().collect();
        let gone: Vec<Run> = before.iter().filter(|run| late(run)).copied().collect();
        gone.iter().for_each(|run| partitions.nodes.release(run.node, &mut partitions.rows));
        let over = |start: u64| {
            let earlier = gone.iter().filter(|run| run.start < start).map(|run| run.start_ms).max();
            earlier.map_or(time, |begun| begun.saturating_add(within))
        };
        self.settle(partitions, &mut runs, &mut complete, &over, found)?;
        let partition = partitions.get_mut(group);
        (partition.runs, partition.complete) = (runs, complete);
        Ok(())
    }

    /// Takes the complete matches out that no match on its way is before, and what they forbid. `time` is that of a match
    /// that began with the row of this number.
    fn settle(
        &self,
        partitions: &mut Partitions,
        runs: &mut Queue,
        complete: &mut Queue,
        time: &dyn Fn(u64) -> i64,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let Partitions { rows, nodes, .. } = partitions;
        while let Some(first) = complete.peek().copied()
            && runs.peek().is_none_or(|run| first.start <= run.start)
        {
            complete.pop();
            let (last, inclusive) = self.skipped(first.node, rows, nodes)?;
            let goes =
                |run: &Run| run.start != NOT_BEGUN && (run.start < last || inclusive && run.start == last);
            for gone in runs.take_out(goes).into_iter().chain(complete.take_out(goes)) {
                nodes.release(gone.node, rows);
            }
            found.push(Found { node: first.node, time: time(first.start) });
        }
        Ok(())
    }

    /// Which matches may not be any more after the match `node`: those that begin before the row of this number, or with
    /// it too.
    ///
    /// Errors: there is no row to go on at, or it is the match's first.
    fn skipped(&self, node: u32, rows: &Rows, nodes: &Nodes) -> Result<(u64, bool)> {
        let first = rows.number(nodes.origin(node));
        let (variable, row) = match self.node.skip {
            AfterMatchSkip::PastLastRow => return Ok((rows.number(nodes.get(node).row), true)),
            AfterMatchSkip::ToNextRow => return Ok((first, true)),
            AfterMatchSkip::ToFirst(v) => (v, nodes.row(node, Some(v), true, 0, None)),
            AfterMatchSkip::ToLast(v) => (v, nodes.row(node, Some(v), false, 0, None)),
        };
        if row == NONE {
            let name = &self.node.pattern[variable].name;
            return Err(Error::user(format!("Could not skip to {name}. No such element in the found match."))
                .with_hint(format!(
                    "{name} need not have a row: AFTER MATCH SKIP TO a variable that always has one, or PAST LAST ROW."
                )));
        }
        let number = rows.number(row);
        if number == first {
            return Err(Error::user("Could not skip to first element of a match.").with_hint(
                "The same match would be found for ever: AFTER MATCH SKIP TO NEXT ROW, or to a later variable.",
            ));
        }
        Ok((number, false))
    }

    /// Emits matches, in the order of time.
    pub(super) fn tell(
        &self,
        partitions: &mut Partitions,
        found: &mut Vec<Found>,
        out: &mut dyn Collector,
    ) -> Result<()> {
        found.sort_by_key(|f| f.time);
        for part in found.chunks(MAX_BATCH_ROWS) {
            let subjects: Vec<Subject> =
                part.iter().map(|f| Subject { node: f.node, next: None, time: f.time }).collect();
            let Partitions { rows, nodes, .. } = partitions;
            let origins: Vec<u32> = part.iter().map(|f| nodes.origin(f.node)).collect();
            let partition = self.node.partition.iter().map(|c| rows.column(&origins, *c));
            let mut columns = partition.collect::<Result<Vec<ArrayRef>>>()?;
            columns.extend(self.measures.evaluate(&subjects, rows, nodes)?);
            part.iter().for_each(|f| nodes.release(f.node, rows));
            out.emit(ChangeBatch::inserts(batch(&self.output, columns, part.len())?))?;
        }
        found.clear();
        Ok(())
    }
}

/// For each of `subjects` whether `condition` is true.
fn truths(condition: &Values, subjects: &[Subject], partitions: &Partitions) -> Result<Vec<bool>> {
    let values = condition.evaluate(subjects, &partitions.rows, &partitions.nodes)?;
    let Some(values) = values.first().and_then(|v| v.as_boolean_opt()) else {
        return Err(Error::internal("A condition of DEFINE is not BOOLEAN."));
    };
    Ok(values.iter().map(|v| v == Some(true)).collect())
}

fn too_many() -> Error {
    Error::user(format!(
        "MATCH_RECOGNIZE follows more than {MAX_PARTIAL_MATCHES} partial matches of one partition at once."
    ))
    .with_hint(
        "Let matches end: add WITHIN INTERVAL '1' HOUR behind PATTERN (…), PARTITION BY a key, AFTER MATCH SKIP PAST LAST \
         ROW, or conditions in DEFINE that fewer rows fulfil.",
    )
}
