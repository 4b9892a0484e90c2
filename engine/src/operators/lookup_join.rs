//! Join of each row with the rows that a connector finds for its key now.

use super::join_condition::JoinCondition;
use super::kept_rows;
use super::lookup_cache::LookupCache;
use super::lookup_rows::LookupRows;
use super::lookup_table::LookupTable;
use super::rows::{MAX_BATCH_ROWS, batch, evaluate};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::connector::{Found, KeyedReader, KeyedTable, Lookup, LookupContext, LookupRequest};
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{AsyncLookup, JoinType, LookupJoinNode, LookupRetry};
use crate::state::key_group::groups_of;
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::time::{Stopwatch, Watermark};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter, filter_record_batch, interleave, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Most rows whose keys are asked for together.
const REQUEST_ROWS: usize = 1024;
/// Processing time between two looks at requests that are on their way, in milliseconds.
const POLL_MS: i64 = 1;

/// Asks for the distinct keys of a batch at once, and tells each row with each of the rows found, and with the row's own
/// kind: what was told of a row is taken back with what is found then. Asynchronous, rows go on coming while requests are
/// on their way; a watermark waits for all that came before it, a checkpoint holds the rows that wait.
pub struct LookupJoin {
    table: String,
    outer: bool,
    key_values: Vec<Arc<dyn PhysicalExpr>>,
    key_schema: SchemaRef,
    shape: LookupRows,
    condition: Option<JoinCondition>,
    input: SchemaRef,
    output: SchemaRef,
    context: LookupContext,
    finder: Finder,
    asynchronous: Option<AsyncLookup>,
    timeout: Duration,
    retry: Option<LookupRetry>,
    waiting: VecDeque<Waiting>,
    now_ms: i64,
    open: Option<OpenContext>,
}

/// Who finds rows.
enum Finder {
    Keyed { table: Arc<dyn KeyedTable>, reader: Option<Box<dyn KeyedReader>>, cache: Option<LookupCache> },
    Whole(LookupTable),
}

/// Rows that wait for an answer.
struct Waiting {
    rows: ChangeBatch,
    /// For each row, its key among the distinct ones; `None` where a NULL keeps it from having rows.
    key_of: Vec<Option<u32>>,
    answers: Answers,
    request: Option<Asked>,
    since: Stopwatch,
}

/// A request, and the keys that it asks for.
struct Asked {
    request: LookupRequest,
    keys: Vec<ArrayRef>,
    /// The number of each key among the distinct ones.
    numbers: Vec<u32>,
    attempts: u32,
}

/// What was found for distinct keys.
#[derive(Default)]
struct Answers {
    batches: Vec<RecordBatch>,
    /// Places of rows: batch and row.
    places: Vec<(usize, usize)>,
    /// For each key, where its places begin and end.
    ranges: Vec<(usize, usize)>,
}

impl Answers {
    fn of(&self, key: Option<u32>) -> &[(usize, usize)] {
        let (from, to) = key.map_or((0, 0), |k| self.ranges[k as usize]);
        &self.places[from..to]
    }

    /// Adds `rows`, of which row i belongs to key `numbers[key_of[i]]`.
    fn add(&mut self, rows: RecordBatch, key_of: &[u32], numbers: &[u32]) {
        let mut next: Vec<usize> = vec![0; numbers.len()];
        key_of.iter().for_each(|k| next[*k as usize] += 1);
        let mut from = self.places.len();
        for (count, number) in next.iter_mut().zip(numbers) {
            let to = from + *count;
            self.ranges[*number as usize] = (from, to);
            *count = from;
            from = to;
        }
        self.places.resize(from, (self.batches.len(), 0));
        for (row, key) in key_of.iter().enumerate() {
            let at = &mut next[*key as usize];
            self.places[*at].1 = row;
            *at += 1;
        }
        self.batches.push(rows);
    }
}

impl LookupJoin {
    /// Columns of `output`: the input's, then those of what was found. `context` serves the connector.
    ///
    /// Errors: a key of a type that cannot be a key.
    pub fn new(
        node: &LookupJoinNode,
        input: SchemaRef,
        output: SchemaRef,
        context: LookupContext,
    ) -> Result<Self> {
        let width = input.fields().len();
        let right = |padded: bool| {
            let fields = output.fields()[width..].iter();
            let fields = fields.map(|f| f.as_ref().clone().with_nullable(f.is_nullable() || padded));
            Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
        };
        let types: Vec<DataType> =
            node.keys.iter().map(|k| node.projection.field(k.column).data_type().clone()).collect();
        let names = node.keys.iter().map(|k| node.projection.field(k.column).name());
        let key_fields: Vec<Field> =
            names.zip(&types).map(|(n, t)| Field::new(n, t.clone(), false)).collect();
        // A row that was not found is padded; one that was found has NULL where its table says so.
        let shape = LookupRows::new(node.filter.clone(), node.columns.clone(), right(true));
        let finder = match &node.lookup {
            Lookup::ByKey { table, cache } => Finder::Keyed {
                table: Arc::clone(table),
                reader: None,
                cache: cache
                    .map(|limits| LookupCache::new(limits, &types, Arc::clone(shape.schema())))
                    .transpose()?,
            },
            Lookup::Full { table, reload } => {
                Finder::Whole(LookupTable::new(Arc::clone(table), *reload, context.clone(), types.clone()))
            }
        };
        KeyTable::new(&types)?;
        let condition =
            node.condition.as_ref().map(|c| JoinCondition::new(c, [&input, &right(false)])).transpose()?;
        Ok(Self {
            table: node.table.clone(),
            outer: node.join_type == JoinType::Left,
            key_values: node.keys.iter().map(|k| Arc::clone(&k.value)).collect(),
            key_schema: Arc::new(Schema::new(key_fields)),
            shape,
            condition,
            input,
            output,
            context,
            finder,
            asynchronous: node.asynchronous,
            timeout: Duration::from_millis(node.timeout_ms),
            retry: node.retry,
            waiting: VecDeque::new(),
            now_ms: 0,
            open: None,
        })
    }

    /// Looks up the keys of `rows`: what is not known is asked for.
    fn begin(&mut self, rows: ChangeBatch, now_ms: i64) -> Result<Waiting> {
        let count = rows.num_rows();
        let values =
            self.key_values.iter().map(|k| evaluate(k, rows.records())).collect::<Result<Vec<ArrayRef>>>()?;
        let mut is_whole = vec![true; count];
        for nulls in values.iter().filter_map(|v| v.logical_nulls()) {
            is_whole.iter_mut().enumerate().for_each(|(row, whole)| *whole &= nulls.is_valid(row));
        }
        let types: Vec<DataType> = self.key_schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let mut distinct = KeyTable::new(&types)?;
        let mut groups = Vec::new();
        distinct.intern(&values, count, &mut groups)?;
        let mut asked = vec![false; distinct.slots()];
        let key_of: Vec<Option<u32>> =
            groups.iter().zip(&is_whole).map(|(g, whole)| whole.then_some(*g)).collect();
        key_of.iter().flatten().for_each(|g| asked[*g as usize] = true);
        let mut answers = Answers { ranges: vec![(0, 0); distinct.slots()], ..Answers::default() };
        let mut numbers: Vec<u32> = (0..asked.len() as u32).filter(|g| asked[*g as usize]).collect();
        let mut keys = distinct.keys(&numbers)?;
        let since = Stopwatch::start();
        let (reader, cache) = match &mut self.finder {
            Finder::Whole(table) => {
                let found = table.find(&keys, numbers.len())?;
                for (number, rows) in numbers.iter().zip(found) {
                    let from = answers.places.len();
                    answers.places.extend(rows.iter().map(|row| (0, *row)));
                    answers.ranges[*number as usize] = (from, answers.places.len());
                }
                answers.batches.extend(table.records().cloned());
                return Ok(Waiting { rows, key_of, answers, request: None, since });
            }
            Finder::Keyed { reader, cache, .. } => (reader, cache),
        };
        if let Some(cache) = cache {
            let known = cache.get(&keys, numbers.len(), now_ms)?;
            let mut unknown = Vec::new();
            for (at, (number, range)) in numbers.iter().zip(&known.ranges).enumerate() {
                match range {
                    Some((from, to)) => {
                        answers.ranges[*number as usize] = (*from, *to);
                    }
                    None => unknown.push(at as u32),
                }
            }
            answers.places = (0..known.rows.num_rows()).map(|row| (0, row)).collect();
            answers.batches.push(known.rows);
            let picks = UInt32Array::from(unknown);
            keys = keys.iter().map(|k| Ok(take(k, &picks, None)?)).collect::<Result<_>>()?;
            numbers = picks.values().iter().map(|at| numbers[*at as usize]).collect();
        }
        let request = match (numbers.is_empty(), reader) {
            (true, _) => None,
            (false, None) => return Err(Error::internal("A lookup before its table was opened.")),
            (false, Some(reader)) => {
                let records = RecordBatch::try_new(Arc::clone(&self.key_schema), keys.clone())?;
                let request = reader.ask(records, Duration::ZERO)?;
                Some(Asked { request, keys, numbers, attempts: 0 })
            }
        };
        Ok(Waiting { rows, key_of, answers, request, since })
    }

    /// Whether all answers for `waiting` have come; waits for them if `blocks`.
    fn settle(&mut self, waiting: &mut Waiting, blocks: bool) -> Result<bool> {
        while let Some(asked) = &mut waiting.request {
            let left = self.timeout.saturating_sub(waiting.since.elapsed());
            let found = asked.request.wait(if blocks { left } else { Duration::ZERO })?;
            let Some(found) = found else {
                if left.is_zero() {
                    return Err(self.timed_out());
                }
                if blocks {
                    continue;
                }
                return Ok(false);
            };
            let Some(asked) = waiting.request.take() else { break };
            waiting.request = self.take_in(asked, found, &mut waiting.answers)?;
        }
        Ok(true)
    }

    /// Takes an answer in. Gives the request that asks again for keys that had no rows.
    fn take_in(&mut self, mut asked: Asked, found: Found, answers: &mut Answers) -> Result<Option<Asked>> {
        let Finder::Keyed { reader: Some(reader), cache, .. } = &mut self.finder else {
            return Err(Error::internal("An answer that nobody asked for."));
        };
        let mut has_rows = vec![false; asked.numbers.len()];
        found.keys.iter().for_each(|k| has_rows[*k as usize] = true);
        let retry = self.retry.filter(|r| asked.attempts < r.max_attempts && !has_rows.iter().all(|h| *h));
        let mut key_of = found.keys;
        let mut rows = found.rows;
        if let Some(mask) = self.shape.mask(&rows)? {
            let kept = filter(&UInt32Array::from(key_of), &mask)?;
            key_of = kept.as_primitive::<arrow::datatypes::UInt32Type>().values().to_vec();
            rows = filter_record_batch(&rows, &mask)?;
        }
        let rows = self.shape.shaped(&rows)?;
        let again = match retry {
            None => None,
            Some(retry) => {
                let (missed, settled): (Vec<u32>, Vec<u32>) =
                    (0..has_rows.len() as u32).partition(|k| !has_rows[*k as usize]);
                let pick = |numbers: &[u32]| {
                    let picks = UInt32Array::from(numbers.to_vec());
                    asked.keys.iter().map(|k| Ok(take(k, &picks, None)?)).collect::<Result<Vec<_>>>()
                };
                let number = |keys: &[u32]| keys.iter().map(|k| asked.numbers[*k as usize]).collect();
                let keys = pick(&missed)?;
                let records = RecordBatch::try_new(Arc::clone(&self.key_schema), keys.clone())?;
                let request = reader.ask(records, Duration::from_millis(retry.delay_ms))?;
                let again = Asked { request, keys, numbers: number(&missed), attempts: asked.attempts + 1 };
                let mut moved = vec![0; has_rows.len()];
                settled.iter().enumerate().for_each(|(to, from)| moved[*from as usize] = to as u32);
                key_of.iter_mut().for_each(|k| *k = moved[*k as usize]);
                (asked.keys, asked.numbers) = (pick(&settled)?, number(&settled));
                Some(again)
            }
        };
        if let Some(cache) = cache {
            cache.put(&asked.keys, asked.numbers.len(), &rows, &key_of, self.now_ms)?;
        }
        answers.add(rows, &key_of, &asked.numbers);
        Ok(again)
    }

    fn timed_out(&self) -> Error {
        let ms = self.timeout.as_millis();
        Error::external(format!("A lookup in '{}' had no answer within {ms} ms.", self.table)).with_hint(
            "'table.exec.async-lookup.timeout', or 'timeout' in the hint LOOKUP, says how long is waited.",
        )
    }

    /// Emits what is complete, oldest first; with `at_most`, waits until no more than so many requests are left.
    fn drain(&mut self, at_most: Option<usize>, out: &mut dyn Collector) -> Result<()> {
        let ordered = self.asynchronous.is_none_or(|a| a.ordered);
        let mut at = 0;
        while at < self.waiting.len() {
            // A row that is taken back comes after it was told.
            let in_order = ordered || self.waiting[at].rows.kinds().is_some();
            if in_order && at > 0 {
                break;
            }
            let blocks = at_most.is_some_and(|most| self.waiting.len() > most);
            let Some(mut waiting) = self.waiting.remove(at) else { break };
            if self.settle(&mut waiting, blocks)? {
                self.emit(&waiting, out)?;
                continue;
            }
            self.waiting.insert(at, waiting);
            if in_order {
                break;
            }
            at += 1;
        }
        Ok(())
    }

    /// Tells the rows with what was found for them.
    fn emit(&self, waiting: &Waiting, out: &mut dyn Collector) -> Result<()> {
        let input = &waiting.rows;
        let answers = &waiting.answers;
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for (row, key) in waiting.key_of.iter().enumerate() {
            for place in answers.of(*key) {
                rows.push(row as u32);
                places.push(*place);
            }
        }
        if let Some(condition) = &self.condition {
            let mut kept = Vec::with_capacity(rows.len());
            for (rows, places) in rows.chunks(MAX_BATCH_ROWS).zip(places.chunks(MAX_BATCH_ROWS)) {
                let picks = UInt32Array::from(rows.to_vec());
                let own = condition.columns(0).iter();
                let own = own.map(|c| Ok(take(input.records().column(*c), &picks, None)?));
                let other = condition.columns(1).iter().map(|c| self.found(answers, places, *c));
                let (own, other) = (own.collect::<Result<_>>()?, other.collect::<Result<_>>()?);
                let mask = condition.test(0, own, other, rows.len())?;
                kept.extend(mask.iter().map(|m| m == Some(true)));
            }
            let mut keep = kept.iter();
            rows.retain(|_| keep.next() == Some(&true));
            let mut keep = kept.iter();
            places.retain(|_| keep.next() == Some(&true));
        }
        if self.outer {
            (rows, places) = padded(input.num_rows(), &rows, &places, answers.batches.len());
        }
        for (rows, places) in rows.chunks(MAX_BATCH_ROWS).zip(places.chunks(MAX_BATCH_ROWS)) {
            let picks = UInt32Array::from(rows.to_vec());
            let mut columns = Vec::with_capacity(self.output.fields().len());
            for column in input.records().columns() {
                columns.push(take(column, &picks, None)?);
            }
            for column in 0..self.shape.schema().fields().len() {
                columns.push(self.found(answers, places, column)?);
            }
            let records = batch(&self.output, columns, rows.len())?;
            out.emit(match input.kinds() {
                None => ChangeBatch::inserts(records),
                Some(kinds) => {
                    ChangeBatch::new(records, rows.iter().map(|r| kinds[*r as usize]).collect::<Vec<_>>())
                }
            })?;
        }
        Ok(())
    }

    /// Column `column` of the rows at `places`; a place behind the last batch is a row of NULLs.
    fn found(&self, answers: &Answers, places: &[(usize, usize)], column: usize) -> Result<ArrayRef> {
        let nulls = new_null_array(self.shape.schema().field(column).data_type(), 1);
        let mut arrays: Vec<&dyn Array> = answers.batches.iter().map(|b| b.column(column).as_ref()).collect();
        arrays.push(nulls.as_ref());
        Ok(interleave(&arrays, places)?)
    }

    fn add(&mut self, rows: &ChangeBatch, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let most = self.asynchronous.map_or(0, |a| a.capacity.max(1));
        for from in (0..rows.num_rows()).step_by(REQUEST_ROWS) {
            let part = rows.slice(from, REQUEST_ROWS.min(rows.num_rows() - from));
            let waiting = self.begin(part, now_ms)?;
            self.waiting.push_back(waiting);
            self.drain(Some(most), out)?;
        }
        Ok(())
    }

    fn refresh(&mut self, now_ms: i64) -> Result<()> {
        self.now_ms = now_ms;
        match &mut self.finder {
            Finder::Whole(table) => table.refresh(now_ms, &self.shape),
            Finder::Keyed { .. } => Ok(()),
        }
    }
}

/// Rows and places with a row of NULLs for each of `count` rows that has none.
fn padded(
    count: usize,
    rows: &[u32],
    places: &[(usize, usize)],
    nulls: usize,
) -> (Vec<u32>, Vec<(usize, usize)>) {
    let (mut all_rows, mut all_places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut at = 0;
    for row in 0..count as u32 {
        let from = at;
        while rows.get(at) == Some(&row) {
            all_rows.push(row);
            all_places.push(places[at]);
            at += 1;
        }
        if at == from {
            all_rows.push(row);
            all_places.push((nulls, 0));
        }
    }
    (all_rows, all_places)
}

/// State table of rows that wait, and its column of row kinds.
const WAITING: &str = "waiting";
const KIND: &str = "kind";

impl Operator for LookupJoin {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.open = Some(context.clone());
        match &mut self.finder {
            Finder::Keyed { table, reader, .. } => *reader = Some(table.reader(self.context.clone())?),
            Finder::Whole(table) => table.open(context.memory.total(), &self.shape)?,
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let schema = kept_rows::schema(&self.input, &[KIND]);
        let width = self.input.fields().len();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, WAITING, schema.fields().len())?;
            let kinds = columns[width].as_primitive::<Int64Type>().values();
            let kinds: Vec<RowKind> = kinds
                .iter()
                .map(|kind| match kind {
                    1 => RowKind::UpdateBefore,
                    2 => RowKind::UpdateAfter,
                    3 => RowKind::Delete,
                    _ => RowKind::Insert,
                })
                .collect();
            let records = batch(&self.input, columns[..width].to_vec(), kinds.len())?;
            let waiting = self.begin(ChangeBatch::new(records, kinds), self.now_ms)?;
            self.waiting.push_back(waiting);
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let Some(open) = &self.open else { return Ok(SnapshotProgress::Done) };
        // Rows come back to this task, so that they stay before those that follow them.
        let own = groups_of(open.task, open.max_parallelism, open.parallelism).start;
        let schema = kept_rows::schema(&self.input, &[KIND]);
        for waiting in &self.waiting {
            let rows = waiting.rows.num_rows();
            let mut columns = waiting.rows.records().columns().to_vec();
            let kinds = (0..rows).map(|row| waiting.rows.kind(row) as i64);
            columns.push(Arc::new(Int64Array::from_iter_values(kinds)));
            let records = kept_rows::records(&schema, &columns, rows)?;
            let key_groups = Some(vec![own; rows]);
            out.rows(StateRows { table: WAITING.into(), key_groups, rows: records, deleted: None });
        }
        Ok(SnapshotProgress::Done)
    }

    fn process(
        &mut self,
        _: usize,
        rows: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.refresh(context.now_ms)?;
        self.add(&rows, context.now_ms, out)
    }

    fn on_watermark(
        &mut self,
        _: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.now_ms = context.now_ms;
        self.drain(Some(0), out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let requests = (!self.waiting.is_empty()).then(|| self.now_ms + POLL_MS);
        let reload = match &self.finder {
            Finder::Whole(table) => table.next_ms(),
            Finder::Keyed { .. } => None,
        };
        requests.into_iter().chain(reload).min()
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.refresh(context.now_ms)?;
        self.drain(None, out)
    }

    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.now_ms = context.now_ms;
        self.drain(Some(0), out)
    }

    fn status(&self) -> OperatorStatus {
        let kept = match &self.finder {
            Finder::Keyed { cache, .. } => cache.as_ref().map_or(0, LookupCache::size),
            Finder::Whole(table) => table.size(),
        };
        let waiting: usize = self.waiting.iter().map(|w| w.rows.num_bytes()).sum();
        OperatorStatus { state_bytes: (kept + waiting) as u64, ..OperatorStatus::default() }
    }
}
