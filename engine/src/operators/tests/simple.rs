//! Calc, Union, Limit, Values and WindowJoin.

use crate::message::ChangeBatch;
use crate::operators::testing::{Emitted, Harness, calls, rows, schema, text};
use crate::operators::{
    Calc, Expand, GroupAggregate, Limit, MiniBatch, OpenContext, Operator, OperatorContext, Union, Values,
    WindowJoin,
};
use crate::plan::{
    CalcNode, ExpandNode, GroupAggregateNode, JoinKey, JoinType, LimitNode, MiniBatchNode, ValuesNode,
    WindowJoinNode,
};
use crate::state::testing::Kept;
use crate::state::{SnapshotKind, SnapshotProgress, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};
use expect_test::expect;
use std::sync::Arc;

fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, index))
}

fn more_than(index: usize, value: i32) -> Arc<dyn PhysicalExpr> {
    let value = Arc::new(Literal::new(ScalarValue::Int32(Some(value))));
    Arc::new(BinaryExpr::new(column("v", index), Op::Gt, value))
}

#[test]
fn calc_keeps_what_is_true_and_judges_each_half_of_an_update() {
    let input = schema("k STRING, v INT");
    let node = CalcNode { filter: Some(more_than(1, 3)), projection: vec![column("v", 1), column("k", 0)] };
    let calc = Calc::new(&node, input.clone(), schema("v INT, k STRING")).unwrap();
    expect![[r#"
        +I 4 a
        -U 5 ß
    "#]]
    .assert_eq(&Harness::new(calc, &[input]).rows("a 4\n b NULL\n c 3\n -U ß 5\n +U ß 1").take());
}

#[test]
fn calc_without_columns_keeps_the_number_of_rows() {
    let input = schema("v INT");
    let node = CalcNode { filter: Some(more_than(0, 3)), projection: vec![] };
    let calc = Calc::new(&node, input.clone(), schema("")).unwrap();
    assert_eq!(Harness::new(calc, &[input]).rows("4\n 5\n 1").take(), "+I\n+I\n");
}

#[test]
fn union_passes_all_inputs_on_under_its_own_names() {
    let inputs = [schema("a INT"), schema("b INT")];
    let mut h = Harness::new(Union::new(&inputs, schema("x INT")).unwrap(), &inputs);
    h.rows_of(1, "1\n -D 2").rows_of(0, "3");
    assert_eq!(h.take(), "+I 1\n-D 2\n+I 3\n");
}

#[test]
fn limit_counts_over_batches_and_is_done() {
    let input = schema("v INT");
    let limit = LimitNode { skip: 2, fetch: Some(3) };
    let make = {
        let input = input.clone();
        move || Limit::new(&limit, input.clone(), input.clone()).unwrap()
    };
    let mut h = Harness::restoring(make, std::slice::from_ref(&input), &[&[]]);
    h.rows("1").rows("2\n 3\n 4");
    assert!(!h.is_done());
    h.rows("5\n 6\n 7");
    assert!(h.is_done());
    assert_eq!(h.take(), "+I 3\n+I 4\n+I 5\n");
    let offset = LimitNode { skip: 1, fetch: None };
    let mut h = Harness::new(Limit::new(&offset, input.clone(), input.clone()).unwrap(), &[input]);
    assert_eq!(h.rows("1\n 2\n 3").take(), "+I 2\n+I 3\n");
    assert!(!h.is_done());
}

#[test]
fn values_are_batches_of_the_output() {
    let batches = vec![
        rows(&schema("a INT"), "1\n 2").records().clone(),
        rows(&schema("a INT"), "3").records().clone(),
    ];
    let values: Vec<_> = Values::new(&ValuesNode { batches }, schema("b INT")).unwrap().collect();
    assert_eq!(values.iter().map(text).collect::<String>(), "+I 1\n+I 2\n+I 3\n");
    assert_eq!(values[0].records().schema().field(0).name(), "b");
    assert_eq!(values[0].records().column(0).len(), 2);
}

fn join(condition: Option<Arc<dyn PhysicalExpr>>) -> Harness {
    let inputs = [schema("k STRING, v INT, e TIMESTAMP"), schema("e TIMESTAMP, k STRING, w INT")];
    let node = WindowJoinNode {
        join_type: JoinType::Inner,
        window_end: (2, 0),
        zone: None,
        keys: [(2, 0), (0, 1)].map(|(left, right)| JoinKey { left, right, null_safe: false }).to_vec(),
        condition,
    };
    let output = schema("k STRING, v INT, e TIMESTAMP, e2 TIMESTAMP, k2 STRING, w INT");
    let make = {
        let inputs = inputs.clone();
        move || WindowJoin::new(&node, &inputs, output.clone()).unwrap()
    };
    Harness::restoring(make, &inputs, &[&[2, 0], &[0, 1]])
}

#[test]
fn window_joins_wait_for_the_watermark_and_drop_late_rows() {
    let mut h = join(None);
    h.rows_of(0, "a 1 00:10\n b 2 00:10\n a 3 00:20\n NULL 4 00:10\n a 5 00:10\n a 6 NULL");
    h.rows_of(1, "00:10 a 7\n 00:10 NULL 8\n 00:20 b 9\n 00:10 a 10");
    assert_eq!(h.watermark("00:09:59.998").take(), "");
    expect![[r#"
        +I a 1 00:10:00 00:10:00 a 7
        +I a 5 00:10:00 00:10:00 a 7
        +I a 1 00:10:00 00:10:00 a 10
        +I a 5 00:10:00 00:10:00 a 10
    "#]]
    .assert_eq(&h.watermark("00:09:59.999").take());
    h.rows_of(1, "00:10 b 11\n 00:20 a 12");
    assert_eq!((h.status().late_rows, h.status().null_time_rows, h.status().open_windows), (1, 1, 1));
    assert_eq!(h.end().take(), "+I a 3 00:20:00 00:20:00 a 12\n");
    assert_eq!(h.status().open_windows, 0);
}

#[test]
fn window_joins_check_their_condition() {
    let mut h = join(Some(more_than(5, 8)));
    h.rows_of(0, "a 1 00:10").rows_of(1, "00:10 a 7\n 00:10 a 9");
    assert_eq!(h.end().take(), "+I a 1 00:10:00 00:10:00 a 9\n");
}

#[test]
fn rows_come_once_for_each_set_with_their_kinds() {
    let input = schema("k STRING, v INT");
    let sets = vec![vec![true, true], vec![true, false], vec![false, false]];
    let node = ExpandNode { keys: vec![column("k", 0), column("v", 1)], sets };
    let output = schema("k STRING, v INT, key STRING, value INT, set BIGINT");
    let mut h = Harness::new(Expand::new(&node, input.clone(), output).unwrap(), &[input]);
    expect![[r#"
        +I a 1 a 1 0
        +I a 1 a NULL 1
        +I a 1 NULL NULL 2
        -D NULL 2 NULL 2 0
        -D NULL 2 NULL NULL 1
        -D NULL 2 NULL NULL 2
    "#]]
    .assert_eq(&h.rows("a 1\n -D NULL 2").take());
}

#[test]
fn mini_batches_tell_one_change_of_a_group_and_wait_no_longer_than_they_may() {
    let (input, output) = (schema("k STRING, v INT"), schema("k STRING, n BIGINT, s INT, max INT"));
    let node = GroupAggregateNode {
        keys: vec![0],
        aggregates: calls("count(), sum(1), max(1)", &output, 1),
        retracts: true,
        update_before: true,
        at_end_only: false,
        mini_batch: Some(MiniBatchNode { size: 3, latency_ms: 1000 }),
        ttl_ms: None,
    };
    let make = {
        let input = input.clone();
        move || {
            let aggregate = GroupAggregate::new(&node, input.clone(), output.clone()).unwrap();
            MiniBatch::new(Box::new(aggregate), node.mini_batch.unwrap(), &node.keys, input.clone())
        }
    };
    let mut h = Harness::restoring(make, &[input], &[&[]]);
    h.clock_ms(100).rows("a 1\n a 2");
    assert_eq!(h.take(), "");
    h.rows("b 3\n a 5\n -D b 3");
    assert_eq!(h.take(), "+I a 2 3 2\n+I b 1 3 3\n");
    h.clock_ms(1099);
    assert_eq!(h.take(), "");
    expect![[r#"
        -U a 2 3 2
        +U a 3 8 5
        -D b 1 3 3
    "#]]
    .assert_eq(&h.clock_ms(1100).take());
    h.rows("c 1\n -D c 1\n -D d 1\n a 0\n -D a 0\n b 1");
    assert_eq!(h.take(), "+I b 1 1 1\n");
    assert_eq!(h.rows("-U b 1\n +U b 2").watermark_ms(5).take(), "-U b 1 1 1\n+U b 1 2 2\n");
    assert_eq!(h.rows("b 1").end().take(), "-U b 1 2 2\n+U b 2 3 2\n");
}

#[test]
fn rows_without_columns_that_wait_for_their_mini_batch_are_restored() {
    let (input, output) = (Arc::new(Schema::empty()), schema("n BIGINT"));
    let node = GroupAggregateNode {
        keys: vec![],
        aggregates: calls("count()", &output, 0),
        retracts: false,
        update_before: true,
        at_end_only: false,
        mini_batch: Some(MiniBatchNode { size: 9, latency_ms: 1000 }),
        ttl_ms: None,
    };
    let make = || {
        let aggregate = GroupAggregate::new(&node, input.clone(), output.clone()).unwrap();
        let mut made =
            MiniBatch::new(Box::new(aggregate), node.mini_batch.unwrap(), &node.keys, input.clone());
        made.open(&OpenContext::for_tests()).unwrap();
        made
    };
    let context = OperatorContext { now_ms: 0, watermark: Watermark::MIN };
    let (mut before, mut out) = (make(), Emitted::default());
    for rows in [2, 3] {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let records = RecordBatch::try_new_with_options(input.clone(), Vec::new(), &options).unwrap();
        before.process(0, ChangeBatch::inserts(records), &context, &mut out).unwrap();
    }
    let (mut kept, mut writer) = (Kept::default(), StateWriter::new(SnapshotKind::Full));
    assert_eq!(before.snapshot(7, &mut writer).unwrap(), SnapshotProgress::Done);
    kept.add(&mut writer, true);
    let mut after = make();
    after.restore(&mut kept.reader(0, 1, 128)).unwrap();
    after.finish(&context, &mut out).unwrap();
    assert_eq!(out.0.iter().map(text).collect::<String>(), "+I 5\n");
}
