//! Operators in tests: rows in as text, changelog out as text; and, with `Harness::restoring`, the same through
//! snapshots and restores before every step (see `testing/shadows.rs`).
//!
//! Schemas are `k STRING, ts TIMESTAMP, v INT`. Rows are lines of cells with blanks between, with a row kind
//! before them where it is not `+I`; `NULL` is NULL. Times are `HH:MM`, `HH:MM:SS` or `HH:MM:SS.mmm` on
//! 1970-01-01, with `yyyy-mm-ddT` before for other days, and are written the same way.

mod shadows;

use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::AggregateCall;
use crate::state::testing::Kept;
use crate::state::{SnapshotKind, SnapshotProgress, StateWriter};
use crate::time::Watermark;
use arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, NaiveDateTime};
use shadows::Shadows;
use std::sync::Arc;

/// A schema out of `name TYPE, …`.
pub(super) fn schema(text: &str) -> SchemaRef {
    let field = |column: &str| {
        let (name, type_name) = column.trim().split_once(' ').unwrap();
        let data_type = match type_name {
            "STRING" => DataType::Utf8,
            "BOOLEAN" => DataType::Boolean,
            "INT" => DataType::Int32,
            "BIGINT" => DataType::Int64,
            "DOUBLE" => DataType::Float64,
            "DECIMAL" => DataType::Decimal128(38, 2),
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Millisecond, None),
            "TIMESTAMP_LTZ" => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            other => panic!("no type {other}"),
        };
        Field::new(name, data_type, true)
    };
    Arc::new(Schema::new(text.split(',').filter(|c| !c.trim().is_empty()).map(field).collect::<Vec<_>>()))
}

/// Milliseconds of `HH:MM[:SS[.mmm]]`, of another day with `yyyy-mm-ddT` before.
pub(super) fn ms(text: &str) -> i64 {
    let (day, time) = text.split_once('T').unwrap_or(("1970-01-01", text));
    let time = if time.matches(':').count() == 1 { format!("{time}:00") } else { time.to_owned() };
    let parsed = NaiveDateTime::parse_from_str(&format!("{day}T{time}"), "%Y-%m-%dT%H:%M:%S%.f");
    parsed.unwrap_or_else(|_| panic!("no time {text}")).and_utc().timestamp_millis()
}

/// The inverse of `ms`.
pub(super) fn time_text(ms: i64) -> String {
    let Some(t) = DateTime::from_timestamp_millis(ms) else { return ms.to_string() };
    let day = t.format("%Y-%m-%dT").to_string();
    let day = if day == "1970-01-01T" { "" } else { &day };
    let fraction = if ms.rem_euclid(1000) == 0 { "" } else { "%.3f" };
    format!("{day}{}", t.format(&format!("%H:%M:%S{fraction}")))
}

/// Rows of `schema` out of text.
pub(super) fn rows(schema: &SchemaRef, text: &str) -> ChangeBatch {
    let mut kinds = Vec::new();
    let mut cells: Vec<Vec<Option<&str>>> = vec![Vec::new(); schema.fields().len()];
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.split_whitespace().peekable();
        let kind = [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete]
            .into_iter()
            .find(|k| words.peek() == Some(&k.short()));
        if kind.is_some() {
            words.next();
        }
        kinds.push(kind.unwrap_or(RowKind::Insert));
        for column in &mut cells {
            column.push(
                Some(words.next().unwrap_or_else(|| panic!("too few cells: {line}")))
                    .filter(|w| *w != "NULL"),
            );
        }
        assert_eq!(words.next(), None, "too many cells: {line}");
    }
    let column = |(field, cells): (&Arc<Field>, Vec<Option<&str>>)| -> ArrayRef {
        match field.data_type() {
            DataType::Timestamp(_, zone) => {
                let times = TimestampMillisecondArray::from_iter(cells.into_iter().map(|c| c.map(ms)));
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            other => cast(&StringArray::from(cells), other).unwrap(),
        }
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().zip(cells).map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(kinds.len()));
    let records = RecordBatch::try_new_with_options(schema.clone(), columns, &options).unwrap();
    ChangeBatch::new(records, kinds)
}

/// A batch as lines of cells, each with its row kind.
pub(super) fn text(batch: &ChangeBatch) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = String::new();
    for row in 0..batch.num_rows() {
        lines.push_str(batch.kind(row).short());
        for column in batch.records().columns() {
            lines.push(' ');
            if let (DataType::Timestamp(..), true) = (column.data_type(), column.is_valid(row)) {
                let times = super::rows::milliseconds(column).unwrap();
                lines.push_str(&time_text(times.value(row)));
            } else {
                let cell = ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
                lines.push_str(if cell.is_empty() { "''" } else { &cell });
            }
        }
        lines.push('\n');
    }
    lines
}

/// What an operator has emitted.
#[derive(Default)]
pub(super) struct Emitted(pub Vec<ChangeBatch>);

impl Collector for Emitted {
    fn emit(&mut self, batch: ChangeBatch) -> Result<()> {
        self.0.push(batch);
        Ok(())
    }
}

/// One operator, driven as a task drives it.
pub(super) struct Harness {
    operator: Box<dyn Operator>,
    inputs: Vec<SchemaRef>,
    context: OperatorContext,
    emitted: Emitted,
    shadows: Option<Shadows>,
}

/// What a task makes an operator do.
#[derive(Clone)]
pub(super) enum Step {
    Rows(usize, ChangeBatch),
    Watermark(i64),
    Timer,
    Finish,
}

impl Step {
    fn run(
        &self,
        operator: &mut dyn Operator,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        match self {
            Self::Rows(input, batch) => operator.process(*input, batch.clone(), context, out),
            Self::Watermark(ms) => operator.on_watermark(Watermark(*ms), context, out),
            Self::Timer => operator.on_timer(context, out),
            Self::Finish => operator.finish(context, out),
        }
    }
}

impl Harness {
    pub(super) fn new(operator: impl Operator + 'static, inputs: &[SchemaRef]) -> Self {
        Self::boxed(Box::new(operator), inputs)
    }

    pub(super) fn boxed(operator: Box<dyn Operator>, inputs: &[SchemaRef]) -> Self {
        Self {
            operator,
            inputs: inputs.to_vec(),
            context: OperatorContext { now_ms: 0, watermark: Watermark::MIN },
            emitted: Emitted::default(),
            shadows: None,
        }
    }

    /// As `new`, and beside it operators that are restored again and again, and split over tasks by `keys` (key
    /// columns of each input; empty for what is never spread). All must emit the same rows in each step.
    pub(super) fn restoring<O: Operator + 'static>(
        make: impl Fn() -> O + 'static,
        inputs: &[SchemaRef],
        keys: &[&[usize]],
    ) -> Self {
        Self::restoring_boxed(Box::new(move || Box::new(make())), inputs, keys)
    }

    /// As `restoring`.
    pub(super) fn restoring_boxed(
        make: Box<dyn Fn() -> Box<dyn Operator>>,
        inputs: &[SchemaRef],
        keys: &[&[usize]],
    ) -> Self {
        let mut harness = Self::boxed(make(), inputs);
        harness.open(&OpenContext::for_tests());
        harness.shadows = Some(Shadows::new(make, keys));
        harness
    }

    fn step(&mut self, step: Step) {
        let before = self.emitted.0.len();
        step.run(&mut *self.operator, &self.context, &mut self.emitted).unwrap();
        if let Some(shadows) = &mut self.shadows {
            let told: String = self.emitted.0[before..].iter().map(text).collect();
            shadows.step(&step, &self.context, &told);
        }
    }

    /// Opens the operator, as the task does before anything else; a harness may do without where that changes
    /// nothing.
    pub(super) fn open(&mut self, context: &OpenContext) -> &mut Self {
        self.operator.open(context).unwrap();
        self
    }

    /// Takes back what was kept of earlier snapshots, as task `task` of `parallelism`.
    pub(super) fn restore(&mut self, kept: &Kept, task: usize, parallelism: usize) -> &mut Self {
        self.operator.restore(&mut kept.reader(task, parallelism, 128)).unwrap();
        self
    }

    /// A barrier of `kind` comes: adds all of the operator's snapshot to `kept`.
    pub(super) fn snapshot(&mut self, kind: SnapshotKind, kept: &mut Kept) -> &mut Self {
        let mut out = StateWriter::new(kind);
        let mut progress = self.operator.snapshot(1, &mut out).unwrap();
        kept.add(&mut out, true);
        while progress == SnapshotProgress::More {
            progress = self.operator.continue_snapshot(&mut out).unwrap();
            kept.add(&mut out, false);
        }
        self
    }

    /// Rows of the first input, in one batch.
    pub(super) fn rows(&mut self, text: &str) -> &mut Self {
        self.rows_of(0, text)
    }

    /// Rows of input `input`, in one batch.
    pub(super) fn rows_of(&mut self, input: usize, text: &str) -> &mut Self {
        let batch = rows(&self.inputs[input], text);
        self.batch(input, batch)
    }

    /// Those rows of the first input that go to task `task` of `parallelism`, by `keys`.
    pub(super) fn rows_of_task(
        &mut self,
        text: &str,
        keys: &[usize],
        task: usize,
        parallelism: usize,
    ) -> &mut Self {
        let batch = rows(&self.inputs[0], text);
        match shadows::part(keys, &batch, task, parallelism) {
            Some(batch) => self.batch(0, batch),
            None => self,
        }
    }

    pub(super) fn batch(&mut self, input: usize, batch: ChangeBatch) -> &mut Self {
        self.step(Step::Rows(input, batch));
        self
    }

    /// The error of rows that are refused.
    pub(super) fn refuse(&mut self, text: &str) -> String {
        let batch = rows(&self.inputs[0], text);
        self.operator.process(0, batch, &self.context, &mut self.emitted).unwrap_err().to_string()
    }

    /// Event time comes to `ms`.
    pub(super) fn watermark_ms(&mut self, ms: i64) -> &mut Self {
        self.step(Step::Watermark(ms));
        self.context.watermark = Watermark(ms);
        self
    }

    /// Event time comes to `time`.
    pub(super) fn watermark(&mut self, time: &str) -> &mut Self {
        self.watermark_ms(ms(time))
    }

    /// The clock comes to `ms`: timers that are due run, each at its time.
    pub(super) fn clock_ms(&mut self, ms: i64) -> &mut Self {
        while let Some(timer) = self.operator.next_timer_ms().filter(|t| *t <= ms) {
            self.context.now_ms = timer.max(self.context.now_ms);
            self.step(Step::Timer);
            assert!(
                self.operator.next_timer_ms().is_none_or(|next| next > timer),
                "a timer that does not move"
            );
        }
        self.context.now_ms = ms;
        self
    }

    /// The clock comes to `time`.
    pub(super) fn clock(&mut self, time: &str) -> &mut Self {
        self.clock_ms(ms(time))
    }

    /// All input has ended.
    pub(super) fn end(&mut self) -> &mut Self {
        self.watermark_ms(i64::MAX);
        self.step(Step::Finish);
        self
    }

    /// What was emitted since the last call.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.emitted).0.iter().map(text).collect()
    }

    pub(super) fn status(&self) -> OperatorStatus {
        self.operator.status()
    }

    pub(super) fn is_done(&self) -> bool {
        self.operator.is_done()
    }
}

/// Aggregate calls out of `sum(2), count() filter 3, count(distinct 1)`: arguments and filters are columns.
pub(super) fn calls(text: &str, output: &SchemaRef, first: usize) -> Vec<AggregateCall> {
    let call = |(i, call): (usize, &str)| {
        let (function, rest) = call.trim().split_once('(').unwrap();
        let (arguments, filter) = rest.split_once(')').unwrap();
        let distinct = arguments.starts_with("distinct ");
        let arguments = arguments.trim_start_matches("distinct ").split_whitespace();
        AggregateCall {
            function: function.to_owned(),
            arguments: arguments.map(|a| a.parse().unwrap()).collect(),
            distinct,
            filter: filter.trim().strip_prefix("filter ").map(|f| f.parse().unwrap()),
            data_type: output.field(first + i).data_type().clone(),
            name: output.field(first + i).name().clone(),
            monotone: false,
        }
    };
    text.split(',').filter(|c| !c.trim().is_empty()).enumerate().map(call).collect()
}
