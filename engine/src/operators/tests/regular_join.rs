//! Joins of changelogs: what is told, and when.

use crate::operators::testing::{Harness, schema};
use crate::operators::{OpenContext, RegularJoin};
use crate::plan::{JoinKey, JoinType, RegularJoinNode};
use crate::state::SnapshotKind;
use crate::state::testing::Kept;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use expect_test::expect;
use std::sync::Arc;

fn harness(join_type: JoinType, condition: Option<Arc<dyn PhysicalExpr>>) -> Harness {
    let (left, right) = (schema("k STRING, v INT"), schema("k STRING, w INT"));
    let output = match join_type {
        JoinType::Semi | JoinType::Anti => schema("k STRING, v INT"),
        JoinType::Mark => schema("k STRING, v INT, mark BOOLEAN"),
        _ => schema("k STRING, v INT, k0 STRING, w INT"),
    };
    let node = RegularJoinNode {
        join_type,
        keys: vec![JoinKey { left: 0, right: 0, null_safe: false }],
        condition,
        ttl_ms: [None, None],
        insert_only: [true, true],
    };
    Harness::new(RegularJoin::new(&node, &[left.clone(), right.clone()], output).unwrap(), &[left, right])
}

fn v_less_than_w() -> Option<Arc<dyn PhysicalExpr>> {
    let (v, w) = (Arc::new(Column::new("v", 1)), Arc::new(Column::new("w", 3)));
    Some(Arc::new(BinaryExpr::new(v, Operator::Lt, w)))
}

#[test]
fn inner_joins_pass_row_kinds_on() {
    let mut h = harness(JoinType::Inner, None);
    h.rows_of(0, "a 1\n a 1\n b 2\n NULL 3").rows_of(1, "a 10\n NULL 3\n c 4");
    h.rows_of(1, "-U a 10\n +U a 11").rows_of(0, "-D a 1\n +I c 7");
    expect![[r#"
        +I a 1 a 10
        +I a 1 a 10
        -U a 1 a 10
        -U a 1 a 10
        +U a 1 a 11
        +U a 1 a 11
        -D a 1 a 11
        +I c 7 c 4
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn left_joins_tell_rows_beside_nulls_until_the_first_partner_comes() {
    let mut h = harness(JoinType::Left, None);
    h.rows_of(0, "a 1\n NULL 2")
        .rows_of(1, "a 10\n a 20")
        .rows_of(1, "-U a 10\n -D a 20")
        .rows_of(0, "-D a 1\n -D NULL 2");
    expect![[r#"
        +I a 1 NULL NULL
        +I NULL 2 NULL NULL
        -D a 1 NULL NULL
        +I a 1 a 10
        +I a 1 a 20
        -U a 1 a 10
        -D a 1 a 20
        +I a 1 NULL NULL
        -D a 1 NULL NULL
        -D NULL 2 NULL NULL
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn full_joins_with_a_condition() {
    let mut h = harness(JoinType::Full, v_less_than_w());
    h.rows_of(0, "a 5").rows_of(1, "a 3\n a 9").rows_of(0, "a 1").rows_of(0, "-D a 5");
    expect![[r#"
        +I a 5 NULL NULL
        +I NULL NULL a 3
        -D a 5 NULL NULL
        +I a 5 a 9
        -D NULL NULL a 3
        +I a 1 a 3
        +I a 1 a 9
        -D a 5 a 9
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn semi_anti_and_mark_joins_tell_left_rows() {
    let run = |join_type| {
        let mut h = harness(join_type, None);
        h.rows_of(0, "a 1\n b 2\n NULL 3")
            .rows_of(1, "a 10\n a 11")
            .rows_of(1, "-D a 10\n -D a 11")
            .rows_of(0, "-D b 2");
        h.take()
    };
    expect![[r#"
        +I a 1
        -D a 1
    "#]]
    .assert_eq(&run(JoinType::Semi));
    expect![[r#"
        +I a 1
        +I b 2
        +I NULL 3
        -D a 1
        +I a 1
        -D b 2
    "#]]
    .assert_eq(&run(JoinType::Anti));
    expect![[r#"
        +I a 1 false
        +I b 2 false
        +I NULL 3 false
        -D a 1 false
        +I a 1 true
        -D a 1 true
        +I a 1 false
        -D b 2 false
    "#]]
    .assert_eq(&run(JoinType::Mark));
}

#[test]
fn state_comes_back_from_changes_at_another_parallelism() {
    let mut kept = Kept::default();
    let mut h = harness(JoinType::Left, None);
    h.open(&OpenContext::for_tests());
    h.rows_of(0, "a 1\n b 2\n b 2\n c 3").rows_of(1, "a 10").snapshot(SnapshotKind::Full, &mut kept);
    h.rows_of(0, "-D c 3\n -D b 2").rows_of(1, "b 20\n -D a 10").snapshot(SnapshotKind::Delta, &mut kept);
    let mut told = String::new();
    for task in 0..2 {
        let mut h = harness(JoinType::Left, None);
        h.open(&OpenContext::for_tests()).restore(&kept, task, 2);
        // The rows of the other task's keys find nothing here.
        h.rows_of(1, "-D b 20").rows_of(1, "a 30").rows_of(1, "c 40");
        told += &h.take();
    }
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["+I a 1 a 30", "+I b 2 NULL NULL", "-D a 1 NULL NULL", "-D b 2 b 20"]);
}
