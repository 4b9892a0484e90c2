//! MATCH_RECOGNIZE beside twins that are restored after every step, also at other parallelisms, and must tell the same.

use crate::operators::testing::{Harness, schema};
use crate::operators::{MatchRecognize, OpenContext};
use crate::plan::{
    AfterMatchSkip, AggregateCall, MatchExpressions, MatchRecognizeNode, MatchValue, PatternVariable,
    Quantifier, SortColumn, TimeAttribute,
};
use crate::state::MemoryBudget;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};
use expect_test::expect;
use std::sync::Arc;

const ONE: Quantifier = Quantifier { min: 1, max: Some(1), greedy: false };
const SOME: Quantifier = Quantifier { min: 1, max: None, greedy: true };
const FEW: Quantifier = Quantifier { min: 1, max: None, greedy: false };

fn column(index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new("", index))
}

fn compare(left: Arc<dyn PhysicalExpr>, op: Op, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, op, right))
}

fn number(value: i32) -> Arc<dyn PhysicalExpr> {
    Arc::new(Literal::new(ScalarValue::Int32(Some(value))))
}

fn input() -> SchemaRef {
    schema("k STRING, ts TIMESTAMP, v INT, s STRING")
}

fn variable(name: &str, quantifier: Quantifier, row: Option<Arc<dyn PhysicalExpr>>) -> PatternVariable {
    PatternVariable { name: name.into(), quantifier, row_condition: row, match_condition: None }
}

/// `LAST(v, 1) < v`, of the rows of the variable.
fn rises(variable: usize) -> MatchExpressions {
    let value = |offset| MatchValue::Row { variable: Some(variable), column: 2, first: false, offset };
    let first = compare(column(0), Op::Lt, column(1));
    let none: Arc<dyn PhysicalExpr> =
        Arc::new(datafusion_physical_expr::expressions::IsNullExpr::new(column(0)));
    MatchExpressions {
        values: vec![value(1), value(0)],
        schema: schema("a INT, b INT"),
        expressions: vec![compare(none, Op::Or, first)],
    }
}

/// For each of `variables` LISTAGG(s), then MATCH_ROWTIME().
fn measures(variables: usize) -> MatchExpressions {
    let list = |variable| MatchValue::Aggregate {
        variable: Some(variable),
        call: AggregateCall {
            function: "listagg".into(),
            arguments: vec![0],
            distinct: false,
            filter: None,
            monotone: false,
            data_type: DataType::Utf8,
            name: "l".into(),
        },
        arguments: vec![Arc::new(Column::new("s", 3))],
    };
    let mut values: Vec<MatchValue> = (0..variables).map(list).collect();
    values.push(MatchValue::Rowtime);
    let mut columns: Vec<String> = (0..variables).map(|i| format!("m{i} STRING")).collect();
    columns.push("t TIMESTAMP".into());
    MatchExpressions {
        values,
        schema: schema(&columns.join(", ")),
        expressions: (0..=variables).map(column).collect(),
    }
}

fn node(pattern: Vec<PatternVariable>, skip: AfterMatchSkip, within_ms: i64) -> MatchRecognizeNode {
    MatchRecognizeNode {
        partition: vec![0],
        time: TimeAttribute::Rowtime { column: 1 },
        order: Vec::new(),
        measures: measures(pattern.len()),
        pattern,
        skip,
        within_ms,
    }
}

fn output(node: &MatchRecognizeNode) -> SchemaRef {
    let mut columns = vec!["k STRING".to_string(); node.partition.len()];
    columns.extend((0..node.pattern.len()).map(|i| format!("m{i} STRING")));
    columns.push("t TIMESTAMP".into());
    schema(&columns.join(", "))
}

fn harness(node: MatchRecognizeNode) -> Harness {
    let keys: &[usize] = if node.partition.is_empty() { &[] } else { &[0] };
    let output = output(&node);
    let make = move || MatchRecognize::new(&node, input(), output.clone()).unwrap();
    Harness::restoring(make, &[input()], &[keys])
}

/// Rising values, then one above 5 that is told apart.
fn rising_then(skip: AfterMatchSkip, within_ms: i64) -> MatchRecognizeNode {
    let mut first = variable("A", SOME, Some(compare(column(2), Op::Lt, number(6))));
    first.match_condition = Some(rises(0));
    let last = variable("B", ONE, Some(compare(column(2), Op::GtEq, number(6))));
    node(vec![first, last], skip, within_ms)
}

#[test]
fn rows_wait_for_the_watermark_and_are_taken_in_by_time() {
    let mut h = harness(rising_then(AfterMatchSkip::PastLastRow, 0));
    h.rows("a 00:03 3 c\n a 00:01 1 a\n b 00:01 9 x\n a 00:02 2 b").watermark("00:02");
    h.rows("a 00:02 9 late\n a 00:04 7 d\n b 00:05 1 y\n b NULL 1 n").watermark("00:04").rows("b 00:06 8 z");
    h.end();
    expect![[r#"
        +I a a,b,c d 00:04:00
        +I b y z 00:06:00
    "#]]
    .assert_eq(&h.take());
    let status = h.status();
    assert_eq!((status.late_rows, status.null_time_rows), (1, 1));
    // Nothing is left of partitions whose matches are over.
    assert_eq!(status.next_fire_ms, None);
}

#[test]
fn after_a_match_the_search_goes_on_where_it_is_told() {
    let rows = "a 00:01 1 a\n a 00:02 2 b\n a 00:03 3 c\n a 00:04 9 d\n a 00:05 1 e\n a 00:06 9 f";
    let told = |skip| {
        let mut h = harness(rising_then(skip, 0));
        // Restored after each row, while matches are on their way.
        for row in rows.lines() {
            h.rows(row).watermark(row.split_whitespace().nth(1).unwrap());
        }
        h.end();
        h.take()
    };
    expect![[r#"
        +I a a,b,c d 00:04:00
        +I a e f 00:06:00
    "#]]
    .assert_eq(&told(AfterMatchSkip::PastLastRow));
    expect![[r#"
        +I a a,b,c d 00:04:00
        +I a b,c d 00:04:00
        +I a c d 00:04:00
        +I a e f 00:06:00
    "#]]
    .assert_eq(&told(AfterMatchSkip::ToNextRow));
    expect![[r#"
        +I a a,b,c d 00:04:00
        +I a e f 00:06:00
    "#]]
    .assert_eq(&told(AfterMatchSkip::ToFirst(1)));
    let mut h = harness(rising_then(AfterMatchSkip::ToLast(0), 0));
    h.rows("a 00:01 1 a\n a 00:02 2 b\n a 00:03 9 c");
    h.watermark("00:02");
    assert!(h.take().is_empty());
}

#[test]
fn a_match_that_takes_too_long_is_given_up_and_sets_others_free() {
    // A takes 1 and 2, B+ any small row, C a 3 after a 2.
    let a = variable("A", ONE, Some(compare(column(2), Op::LtEq, number(2))));
    let b = variable("B", FEW, Some(compare(column(2), Op::Lt, number(5))));
    let mut c = variable("C", ONE, None);
    let first = MatchValue::Row { variable: Some(0), column: 2, first: true, offset: 0 };
    let own = MatchValue::Row { variable: Some(2), column: 2, first: false, offset: 0 };
    let both = compare(compare(column(0), Op::Eq, number(2)), Op::And, compare(column(1), Op::Eq, number(3)));
    c.match_condition = Some(MatchExpressions {
        values: vec![first, own],
        schema: schema("a INT, b INT"),
        expressions: vec![both],
    });
    let mut h = harness(node(vec![a, b, c], AfterMatchSkip::PastLastRow, 10 * 60_000));
    h.rows("a 00:00 1 r0\n a 00:02 2 r1\n a 00:03 4 r2\n a 00:04 3 r3").watermark("00:09");
    assert!(h.take().is_empty(), "it waits for the match that began with r0");
    assert_eq!(h.status().next_fire_ms, Some(600_000));
    h.watermark("00:30");
    expect![[r#"
        +I a r1 r2 r3 00:10:00
    "#]]
    .assert_eq(&h.take());
    h.end();
    assert!(h.take().is_empty());
}

#[test]
fn rows_of_the_same_time_are_taken_in_by_the_rest_of_the_order() {
    let mut of = rising_then(AfterMatchSkip::PastLastRow, 0);
    of.order = vec![SortColumn { column: 2, descending: false, nulls_first: true }];
    let mut h = harness(of);
    h.rows("a 00:01 9 d\n a 00:01 2 b\n a 00:01 1 a\n a 00:01 NULL n\n a 00:01 3 c").end();
    expect![[r#"
        +I a a,b,c d 00:01:00
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn by_the_clock_rows_are_taken_in_as_they_come() {
    let mut of = rising_then(AfterMatchSkip::PastLastRow, 60_000);
    (of.time, of.partition) = (TimeAttribute::Proctime, Vec::new());
    let mut h = harness(of);
    h.clock("00:01").rows("a NULL 1 a\n b NULL 2 b").rows("a 00:01 7 c");
    h.clock("00:02").rows("a NULL 1 d").clock("00:03").rows("a NULL 8 e");
    expect![[r#"
        +I a,b c 00:01:00
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn too_many_matches_on_their_way_are_an_error() {
    let all = variable("A", FEW, None);
    let never = variable("B", ONE, Some(compare(column(2), Op::Gt, number(100))));
    let of = node(vec![all, never], AfterMatchSkip::ToNextRow, 0);
    let output = output(&of);
    let mut clocked = of.clone();
    clocked.time = TimeAttribute::Proctime;
    let mut h = Harness::new(MatchRecognize::new(&clocked, input(), output).unwrap(), &[input()]);
    h.open(&OpenContext::for_tests());
    let rows: String = (0..30).map(|i| format!("a 00:01 {i} r{i}\n")).collect();
    let error = h.refuse(&rows);
    assert!(error.contains("more than 20 partial matches"), "{error}");
}

#[test]
fn skipping_to_where_the_match_began_is_an_error() {
    let mut of = rising_then(AfterMatchSkip::ToFirst(0), 0);
    of.time = TimeAttribute::Proctime;
    let output = output(&of);
    let mut h = Harness::new(MatchRecognize::new(&of, input(), output).unwrap(), &[input()]);
    h.open(&OpenContext::for_tests());
    assert!(h.refuse("a 00:01 1 a\n a 00:01 7 b").contains("Could not skip to first element of a match"));
}

#[test]
fn matches_of_many_partitions_are_found_with_little_memory() {
    let of = rising_then(AfterMatchSkip::PastLastRow, 0);
    let told = |memory: Arc<MemoryBudget>| {
        let mut h = Harness::new(MatchRecognize::new(&of, input(), output(&of)).unwrap(), &[input()]);
        h.open(&OpenContext { memory, ..OpenContext::for_tests() });
        for step in 1..=5 {
            let value = if step == 5 { 9 } else { step };
            let rows: String = (0..200).map(|k| format!("k{k} 00:0{step} {value} r{step}\n")).collect();
            h.rows(&rows).watermark(&format!("00:0{step}"));
        }
        let told = h.take();
        let mut told: Vec<&str> = told.lines().collect();
        told.sort_unstable();
        told.join("\n")
    };
    let dir = tempfile::tempdir().unwrap();
    let small = MemoryBudget::new(4 << 10, dir.path().to_path_buf());
    let all = told(MemoryBudget::unlimited());
    assert_eq!(all.lines().count(), 200);
    assert!(all.lines().all(|line| line.ends_with("r1,r2,r3,r4 r5 00:05:00")), "{all}");
    assert_eq!(told(Arc::clone(&small)), all);
}
