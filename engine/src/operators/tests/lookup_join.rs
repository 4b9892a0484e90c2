//! `LookupJoin` over a table that tells what it was asked, and that answers when it is told to.

use crate::connector::{Found, KeyedReader, KeyedTable, Lookup, LookupContext, LookupRequest, PartialCache};
use crate::error::Result;
use crate::operators::testing::{Harness, schema};
use crate::operators::{LookupJoin, OpenContext};
use crate::plan::{AsyncLookup, JoinType, LookupJoinNode, LookupKey, LookupRetry};
use crate::state::SnapshotKind;
use crate::state::testing::Kept;
use crate::time::SystemClock;
use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, lit};
use expect_test::expect;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Rows by key, and all that was asked.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<(&'static str, i32)>,
    asked: Vec<String>,
    /// Whether requests wait for `answer`.
    holds: bool,
    held: VecDeque<oneshot::Sender<()>>,
}

#[derive(Debug, Clone)]
struct Table {
    rows: Arc<Mutex<Rows>>,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Table {
    fn new(rows: &[(&'static str, i32)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
        let rows = Rows { rows: rows.to_vec(), ..Rows::default() };
        Self { rows: Arc::new(Mutex::new(rows)), runtime: Arc::new(runtime.unwrap()) }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.rows.lock().unwrap().asked)
    }

    /// Lets the held request `n` be answered.
    fn answer(&self, n: usize) {
        self.rows.lock().unwrap().held.remove(n).unwrap().send(()).unwrap();
    }
}

impl KeyedTable for Table {
    fn describe(&self) -> String {
        "table".into()
    }

    fn reader(&self, context: LookupContext) -> Result<Box<dyn KeyedReader>> {
        Ok(Box::new(Reader { table: self.clone(), schema: context.projection }))
    }
}

struct Reader {
    table: Table,
    schema: SchemaRef,
}

impl KeyedReader for Reader {
    fn ask(&mut self, keys: RecordBatch, _: Duration) -> Result<LookupRequest> {
        let keys: Vec<String> =
            keys.column(0).as_string::<i32>().iter().flatten().map(String::from).collect();
        let mut rows = self.table.rows.lock().unwrap();
        rows.asked.push(keys.join(" "));
        let (send, receive) = oneshot::channel();
        if rows.holds {
            rows.held.push_back(send);
        } else {
            send.send(()).unwrap();
        }
        let (all, schema) = (Arc::clone(&self.table.rows), self.schema.clone());
        Ok(LookupRequest::spawn(self.table.runtime.handle(), async move {
            receive.await.unwrap();
            let all = all.lock().unwrap();
            let mut found: Vec<(u32, &str, i32)> = Vec::new();
            for (number, key) in keys.iter().enumerate() {
                found.extend(all.rows.iter().filter(|r| r.0 == key).map(|r| (number as u32, r.0, r.1)));
            }
            let columns: Vec<Arc<dyn Array>> = vec![
                Arc::new(StringArray::from_iter_values(found.iter().map(|f| f.1))),
                Arc::new(Int32Array::from_iter_values(found.iter().map(|f| f.2))),
            ];
            let rows = RecordBatch::try_new(schema, columns).unwrap();
            Ok(Found { rows, keys: found.iter().map(|f| f.0).collect() })
        }))
    }
}

fn node(table: &Table) -> LookupJoinNode {
    let column = |name: &str, index: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(name, index)) };
    LookupJoinNode {
        table: "d".into(),
        lookup: Lookup::ByKey { table: Arc::new(table.clone()), cache: None },
        join_type: JoinType::Left,
        keys: vec![LookupKey { column: 0, value: column("k", 0) }],
        is_unique: false,
        projection: schema("k STRING, w INT"),
        filter: None,
        columns: vec![column("w", 1)],
        condition: None,
        asynchronous: None,
        timeout_ms: 60_000,
        retry: None,
    }
}

fn harness(node: &LookupJoinNode, table: &Table) -> Harness {
    let (input, output) = (schema("k STRING, v INT"), schema("k STRING, v INT, w INT"));
    let context = LookupContext {
        projection: node.projection.clone(),
        keys: vec![0],
        runtime: table.runtime.handle().clone(),
        clock: Arc::new(SystemClock),
        task: 0,
        parallelism: 1,
    };
    let operator = LookupJoin::new(node, input.clone(), output, context).unwrap();
    let mut harness = Harness::new(operator, &[input]);
    harness.open(&OpenContext::for_tests());
    harness
}

/// `v < w`, over the output.
fn smaller() -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(Arc::new(Column::new("v", 1)), Op::Lt, Arc::new(Column::new("w", 2))))
}

/// Steps of the clock until something was emitted.
fn wait(harness: &mut Harness, from_ms: i64) -> String {
    for ms in 0..10_000 {
        let told = harness.clock_ms(from_ms + ms).take();
        if !told.is_empty() {
            return told;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("nothing comes");
}

#[test]
fn each_key_is_asked_for_once_and_rows_keep_their_kinds() {
    let table = Table::new(&[("a", 1), ("a", 2), ("b", 3)]);
    let mut join = harness(&node(&table), &table);
    expect![[r#"
        +I a 1 1
        +I a 1 2
        -U b 2 3
        +U c 3 NULL
        -D NULL 4 NULL
        +I a 5 1
        +I a 5 2
    "#]]
    .assert_eq(&join.rows("a 1\n -U b 2\n +U c 3\n -D NULL 4\n a 5").take());
    assert_eq!(table.asked(), ["a b c"]);
    let inner = LookupJoinNode { join_type: JoinType::Inner, ..node(&table) };
    expect![[r#"
        +I b 1 3
    "#]]
    .assert_eq(&harness(&inner, &table).rows("b 1\n c 1\n NULL 1").take());
    harness(&inner, &table).rows("NULL 1");
    assert_eq!(table.asked(), ["b c"], "a key that is NULL has no rows");
}

#[test]
fn rows_that_do_not_fit_are_as_none() {
    let table = Table::new(&[("a", 1), ("a", 2), ("b", 3)]);
    let mut join = harness(&LookupJoinNode { condition: Some(smaller()), ..node(&table) }, &table);
    expect![[r#"
        +I a 1 2
        +I a 2 NULL
        +I b 0 3
    "#]]
    .assert_eq(&join.rows("a 1\n a 2\n b 0").take());
    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("w", 1));
    let filter: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(column, Op::Gt, lit(1_i32)));
    let mut join = harness(&LookupJoinNode { filter: Some(filter), ..node(&table) }, &table);
    expect![[r#"
        +I a 1 2
        +I c 1 NULL
    "#]]
    .assert_eq(&join.rows("a 1\n c 1").take());
}

#[test]
fn what_is_in_the_cache_is_not_asked_for() {
    let table = Table::new(&[("a", 1), ("b", 3)]);
    let limits = PartialCache {
        max_keys: Some(10),
        expire_after_write_ms: Some(100),
        expire_after_access_ms: None,
        missing_keys: true,
    };
    let lookup = Lookup::ByKey { table: Arc::new(table.clone()), cache: Some(limits) };
    let mut join = harness(&LookupJoinNode { lookup, ..node(&table) }, &table);
    join.clock_ms(1000).rows("a 1\n c 1");
    expect![[r#"
        +I a 1 1
        +I c 1 NULL
        +I a 2 1
        +I b 2 3
        +I c 2 NULL
    "#]]
    .assert_eq(&join.clock_ms(1099).rows("a 2\n b 2\n c 2").take());
    assert_eq!(table.asked(), ["a c", "b"]);
    join.clock_ms(1100).rows("a 3\n b 3\n c 3");
    assert_eq!(table.asked(), ["a c"]);
}

#[test]
fn rows_go_on_coming_while_requests_are_on_their_way() {
    let table = Table::new(&[("a", 1), ("b", 3)]);
    table.rows.lock().unwrap().holds = true;
    let asynchronous = Some(AsyncLookup { ordered: true, capacity: 10 });
    let mut join = harness(&LookupJoinNode { asynchronous, ..node(&table) }, &table);
    assert_eq!(join.rows("a 1").rows("b 2").take(), "");
    assert_eq!(table.asked(), ["a", "b"]);
    table.answer(1);
    assert_eq!(join.clock_ms(50).take(), "", "what came later waits for what came before");
    table.answer(0);
    let mut told = wait(&mut join, 51);
    while told.lines().count() < 2 {
        told += &wait(&mut join, 100);
    }
    expect![[r#"
        +I a 1 1
        +I b 2 3
    "#]]
    .assert_eq(&told);
}

#[test]
fn answers_may_overtake_each_other_if_that_is_allowed_but_not_changes() {
    let table = Table::new(&[("a", 1), ("b", 3)]);
    table.rows.lock().unwrap().holds = true;
    let asynchronous = Some(AsyncLookup { ordered: false, capacity: 10 });
    let mut join = harness(&LookupJoinNode { asynchronous, ..node(&table) }, &table);
    join.rows("a 1").rows("b 2");
    table.answer(1);
    assert_eq!(wait(&mut join, 0), "+I b 2 3\n");
    join.rows("-D b 2");
    table.answer(1);
    std::thread::park_timeout(Duration::from_millis(20));
    assert_eq!(join.clock_ms(20_000).take(), "", "a row that is taken back comes in its turn");
    table.answer(0);
    let mut told = wait(&mut join, 20_001);
    while told.lines().count() < 2 {
        told += &wait(&mut join, 40_000);
    }
    assert_eq!(told, "+I a 1 1\n-D b 2 3\n");
}

#[test]
fn no_more_requests_than_allowed_are_on_their_way() {
    let table = Table::new(&[("a", 1)]);
    let asynchronous = Some(AsyncLookup { ordered: true, capacity: 1 });
    let mut join = harness(&LookupJoinNode { asynchronous, ..node(&table) }, &table);
    // The second request waits for the first.
    join.rows("a 1").rows("b 2");
    let told = join.take();
    assert!(told.starts_with("+I a 1 1\n"), "{told}");
    assert_eq!(told + &join.watermark_ms(5).take(), "+I a 1 1\n+I b 2 NULL\n");
}

#[test]
fn a_checkpoint_holds_the_rows_that_wait() {
    let table = Table::new(&[("a", 1), ("b", 3)]);
    table.rows.lock().unwrap().holds = true;
    let asynchronous = Some(AsyncLookup { ordered: true, capacity: 10 });
    let node = LookupJoinNode { asynchronous, ..node(&table) };
    let mut kept = Kept::default();
    harness(&node, &table).rows("a 1\n b 1").rows("+U b 2").snapshot(SnapshotKind::Full, &mut kept);
    table.rows.lock().unwrap().holds = false;
    let mut restored = harness(&node, &table);
    restored.restore(&kept, 0, 1);
    expect![[r#"
        +I a 1 1
        +I b 1 3
        +U b 2 3
    "#]]
    .assert_eq(&restored.end().take());
}

#[test]
fn keys_without_rows_are_asked_for_again() {
    let table = Table::new(&[("a", 1)]);
    let retry = Some(LookupRetry { delay_ms: 1, max_attempts: 2 });
    let mut join = harness(&LookupJoinNode { retry, ..node(&table) }, &table);
    expect![[r#"
        +I a 1 1
        +I b 1 NULL
        +I c 1 NULL
    "#]]
    .assert_eq(&join.rows("a 1\n b 1\n c 1").take());
    assert_eq!(table.asked(), ["a b c", "b c", "b c"]);
    table.rows.lock().unwrap().holds = true;
    let asynchronous = Some(AsyncLookup { ordered: true, capacity: 10 });
    let mut join = harness(&LookupJoinNode { retry, asynchronous, ..node(&table) }, &table);
    join.rows("b 1\n c 1");
    table.answer(0);
    for ms in 1.. {
        assert_eq!(join.clock_ms(ms).take(), "");
        if !table.rows.lock().unwrap().held.is_empty() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    table.rows.lock().unwrap().rows.push(("c", 7));
    table.rows.lock().unwrap().holds = false;
    table.answer(0);
    expect![[r#"
        +I b 1 NULL
        +I c 1 7
    "#]]
    .assert_eq(&join.end().take());
}

#[test]
fn an_answer_that_does_not_come_is_an_error() {
    let table = Table::new(&[]);
    table.rows.lock().unwrap().holds = true;
    let mut join = harness(&LookupJoinNode { timeout_ms: 10, ..node(&table) }, &table);
    assert_eq!(join.refuse("a 1"), "A lookup in 'd' had no answer within 10 ms.");
}
