//! Support for the tests: a session over an in-memory catalog, and results as text.

pub mod kafka;
pub mod kinesis;
pub mod kinesis_proxy;
pub mod random;
pub mod recovery;
pub mod services;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use catalog::MemoryCatalog;
use chrono_tz::Tz;
use engine::message::RowKind;
use engine::outcome::Query;
use engine::runtime::ResultEvent;
use engine::session::SessionOptions;
use engine::sql::{self, SqlType};
use engine::time::SystemClock;
use engine::{Error, Outcome, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a bounded query or job may take before the test fails, in seconds.
pub const PATIENCE_SECONDS: u64 = 120;

/// A row of a changelog, as texts.
pub type Change = (RowKind, Vec<String>);

/// What a query gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// SQL types of the columns, `NOT NULL` included.
    pub types: Vec<String>,
    /// Names of the columns.
    pub names: Vec<String>,
    /// All changes in order.
    pub changes: Vec<Change>,
}

/// A session with the real connectors, and the runtime under it.
pub struct Runner {
    /// The session.
    pub session: Session,
    _runtime: tokio::runtime::Runtime,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl Runner {
    /// A fresh session.
    pub fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let session = Session::new(SessionOptions {
            catalogs: vec![Arc::new(MemoryCatalog::new("default_catalog"))],
            connectors: connectors::registry(),
            clock: Arc::new(SystemClock),
            runtime: runtime.handle().clone(),
        });
        Self { session, _runtime: runtime }
    }

    /// The runtime for asynchronous clients.
    pub fn handle(&self) -> &tokio::runtime::Handle {
        self._runtime.handle()
    }

    /// Executes all statements of `text` in order. Jobs are waited for; each bounded query gives an entry, each
    /// statement that fails gives its error.
    pub fn run(&mut self, text: &str) -> Vec<Result<Answer, Error>> {
        let pieces = match sql::split(text) {
            Ok(pieces) => pieces,
            Err(e) => return vec![Err(e)],
        };
        let mut answers = Vec::new();
        for piece in pieces {
            let zone = self.session.config().zone();
            match self.session.execute(&piece) {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Rows { schema, batches }) => {
                    let changes = batches
                        .iter()
                        .flat_map(|b| {
                            (0..b.num_rows()).map(|r| (RowKind::Insert, cells(b, &schema, r, zone)))
                        })
                        .collect();
                    answers.push(Ok(answer(&schema, changes)));
                }
                Ok(Outcome::Query(query)) => answers.push(drain_in(query, zone)),
                Ok(Outcome::Job(job)) => match job.wait(Some(Duration::from_secs(PATIENCE_SECONDS))) {
                    Some(Ok(())) => {}
                    Some(Err(e)) => answers.push(Err(e)),
                    None => panic!("the job did not end: {:?}\n{}", job.progress(), piece.text),
                },
                Err(e) => answers.push(Err(e)),
            }
        }
        answers
    }

    /// The answer of the only query in `text`.
    pub fn one(&mut self, text: &str) -> Answer {
        let mut answers = self.run(text);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0).unwrap_or_else(|e| panic!("{e} ({:?})\n{text}", e.hint()))
    }

    /// The error of the only failing statement in `text`.
    pub fn error(&mut self, text: &str) -> Error {
        let mut errors = self.run(text).into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert_eq!(errors.len(), 1, "{errors:?}\n{text}");
        errors.remove(0)
    }

    /// Starts the only query in `text`, which may be unbounded.
    pub fn start(&mut self, text: &str) -> Query {
        let mut query = None;
        for piece in sql::split(text).unwrap() {
            match self.session.execute(&piece).unwrap_or_else(|e| panic!("{e}\n{text}")) {
                Outcome::Query(q) => query = Some(q),
                Outcome::Done => {}
                other => panic!("{other:?}"),
            }
        }
        query.expect("a query")
    }
}

fn answer(schema: &SchemaRef, changes: Vec<Change>) -> Answer {
    let types = schema
        .fields()
        .iter()
        .map(|f| format!("{}{}", SqlType::of(f), if f.is_nullable() { "" } else { " NOT NULL" }))
        .collect();
    Answer { types, names: schema.fields().iter().map(|f| f.name().clone()).collect(), changes }
}

fn cells(batch: &RecordBatch, schema: &SchemaRef, row: usize, zone: Tz) -> Vec<String> {
    schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| {
            if array.is_null(row) {
                return "<NULL>".to_string();
            }
            let mut cell = String::new();
            engine::functions::text::write_value(&mut cell, array.as_ref(), row, field, zone);
            cell
        })
        .collect()
}

/// All rows of a bounded query.
pub fn drain(query: Query) -> Result<Answer, Error> {
    drain_in(query, Tz::UTC)
}

fn drain_in(mut query: Query, zone: Tz) -> Result<Answer, Error> {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
    let mut changes = Vec::new();
    while !take(&mut query, &mut changes, zone)? {
        assert!(Instant::now() < deadline, "the query did not end: {:?}", query.results.job().progress());
    }
    Ok(answer(&query.schema, changes))
}

/// Rows of a query until `enough` says so or the time is up; the query goes on.
pub fn take_until(query: &mut Query, seconds: u64, enough: impl Fn(&[Change]) -> bool) -> Vec<Change> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut changes = Vec::new();
    while Instant::now() < deadline && !enough(&changes) {
        if take(query, &mut changes, Tz::UTC).unwrap() {
            break;
        }
    }
    changes
}

/// Takes what is there; true at the end.
fn take(query: &mut Query, changes: &mut Vec<Change>, zone: Tz) -> Result<bool, Error> {
    match query.results.next(Duration::from_millis(100)) {
        ResultEvent::Batch(batch) => {
            for row in 0..batch.num_rows() {
                changes.push((batch.kind(row), cells(batch.records(), &query.schema, row, zone)));
            }
            Ok(false)
        }
        ResultEvent::Pending => Ok(false),
        ResultEvent::End(result) => result.map(|()| true),
    }
}

/// A changelog folded to the table that it describes, sorted.
pub fn materialized(changes: &[Change]) -> Vec<Vec<String>> {
    let mut bag = std::collections::BTreeMap::<&Vec<String>, i64>::new();
    for (kind, row) in changes {
        *bag.entry(row).or_default() += if kind.is_addition() { 1 } else { -1 };
    }
    bag.into_iter()
        .flat_map(|(row, n)| {
            assert!(n >= 0, "more deleted than inserted: {row:?}");
            std::iter::repeat_n(row.clone(), n as usize)
        })
        .collect()
}
