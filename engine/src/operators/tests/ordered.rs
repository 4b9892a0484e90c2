//! Top-N, deduplication, OVER, sorting and changes by key: each beside twins that are restored after every step, also at
//! other parallelisms, and must tell the same.

use crate::operators::testing::{Harness, schema};
use crate::operators::{
    ChangelogNormalize, Deduplicate, OpenContext, Sort, TopN, UpsertMaterialize, WindowTopN,
};
use crate::plan::{
    ChangelogNormalizeNode, DeduplicateNode, RankEnd, SortColumn, SortNode, TimeAttribute, TopNNode,
    TopNStrategy, UpsertMaterializeNode, WindowTopNNode,
};
use expect_test::expect;

pub(super) fn by(column: usize, descending: bool) -> SortColumn {
    SortColumn { column, descending, nulls_first: !descending }
}

fn top_n(end: RankEnd, rank_number: bool, strategy: TopNStrategy) -> Harness {
    let input = schema("k STRING, id STRING, v INT");
    let output = schema(if rank_number {
        "k STRING, id STRING, v INT, rn BIGINT"
    } else {
        "k STRING, id STRING, v INT"
    });
    let node =
        TopNNode { partition: vec![0], order: vec![by(2, true)], start: 1, end, rank_number, strategy };
    let schemas = [input.clone()];
    Harness::restoring(
        move || TopN::new(&node, input.clone(), output.clone(), true).unwrap(),
        &schemas,
        &[&[0]],
    )
}

#[test]
fn a_top_n_of_inserts_tells_who_enters_and_who_leaves() {
    let mut h = top_n(RankEnd::Constant(2), false, TopNStrategy::AppendFast);
    h.rows("a x 1\n a y 2\n b x 1\n a z 3").rows("a w NULL\n a v 3\n a u 9");
    expect![[r#"
        +I a x 1
        +I a y 2
        +I b x 1
        -D a x 1
        +I a z 3
        -D a y 2
        +I a v 3
        -D a v 3
        +I a u 9
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn a_top_n_with_ranks_tells_every_rank_that_moves() {
    let mut h = top_n(RankEnd::Constant(2), true, TopNStrategy::Retract);
    h.rows("a x 1\n a y 2\n a z 3").rows("-U a y 2\n +U a y 5").rows("-D a z 3\n -D a y 5\n -D a q 7");
    h.rows("-D a x 1").rows("a n 4");
    expect![[r#"
        +I a x 1 1
        -U a x 1 1
        +U a y 2 1
        +I a x 1 2
        -U a y 2 1
        +U a z 3 1
        -U a x 1 2
        +U a y 2 2
        -U a y 2 2
        +U a x 1 2
        -U a z 3 1
        +U a y 5 1
        -U a x 1 2
        +U a z 3 2
        -U a z 3 2
        +U a x 1 2
        -U a y 5 1
        +U a x 1 1
        -D a x 1 2
        -D a x 1 1
        +I a n 4 1
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn rows_that_only_rise_take_their_own_place() {
    let mut h = top_n(RankEnd::Constant(2), false, TopNStrategy::UpdateFast { keys: vec![0, 1] });
    h.rows("a x 1\n a y 1").rows("+U a y 2\n +U a z 2").rows("+U a x 3\n +U a x 4");
    expect![[r#"
        +I a x 1
        +I a y 1
        -U a y 1
        +U a y 2
        -D a x 1
        +I a z 2
        -D a z 2
        +I a x 3
        -U a x 3
        +U a x 4
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn the_last_row_of_a_key_by_time() {
    let input = schema("k STRING, ts TIMESTAMP, v INT");
    let node = DeduplicateNode {
        keys: vec![0],
        time: TimeAttribute::Rowtime { column: 1 },
        keep_last: true,
        compared: vec![0, 1, 2],
    };
    let (schemas, output) = ([input.clone()], input.clone());
    let make = move || Deduplicate::new(&node, input.clone(), output.clone(), true).unwrap();
    let mut h = Harness::restoring(make, &schemas, &[&[0]]);
    h.rows("a 00:05 1\n b 00:01 2").rows("a 00:04 3\n a 00:05 4\n b 00:02 5");
    expect![[r#"
        +I a 00:05:00 1
        +I b 00:01:00 2
        -U a 00:05:00 1
        +U a 00:05:00 4
        -U b 00:01:00 2
        +U b 00:02:00 5
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn the_first_row_of_a_key_as_rows_come_needs_only_the_key() {
    let input = schema("k STRING, v INT");
    let node = DeduplicateNode {
        keys: vec![0],
        time: TimeAttribute::Proctime,
        keep_last: false,
        compared: vec![0, 1],
    };
    let (schemas, output) = ([input.clone()], input.clone());
    let make = move || Deduplicate::new(&node, input.clone(), output.clone(), true).unwrap();
    let mut h = Harness::restoring(make, &schemas, &[&[0]]);
    h.rows("a 1\n a 2\n NULL 3").rows("b 1\n a 3\n NULL 4");
    expect![[r#"
        +I a 1
        +I NULL 3
        +I b 1
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn state_that_is_too_old_is_forgotten() {
    let input = schema("k STRING, v INT");
    let node = DeduplicateNode {
        keys: vec![0],
        time: TimeAttribute::Proctime,
        keep_last: false,
        compared: vec![0, 1],
    };
    let operator = Deduplicate::new(&node, input.clone(), input.clone(), true).unwrap();
    let mut h = Harness::new(operator, &[input]);
    h.open(&OpenContext { state_ttl_ms: 1000, ..OpenContext::for_tests() });
    h.clock_ms(10_000).rows("a 1").clock_ms(10_900).rows("a 2").clock_ms(11_000).rows("a 3");
    assert_eq!(h.take(), "+I a 1\n+I a 3\n");
    let held = h.status().state_bytes;
    h.clock_ms(20_000);
    assert!(h.status().state_bytes <= held);
}

#[test]
fn windows_rank_their_rows_when_they_end() {
    let input = schema("k STRING, we TIMESTAMP, v INT");
    let output = schema("k STRING, we TIMESTAMP, v INT, rn BIGINT");
    let node = WindowTopNNode {
        window_end: 1,
        zone: None,
        partition: vec![1, 0],
        order: vec![by(2, true)],
        start: 1,
        end: 2,
        rank_number: true,
        last_of_equals: false,
    };
    let schemas = [input.clone()];
    let make = move || WindowTopN::new(&node, input.clone(), output.clone()).unwrap();
    let mut h = Harness::restoring(make, &schemas, &[&[1, 0]]);
    h.rows("a 01:00 1\n a 01:00 3\n a 02:00 9").rows("a 01:00 3\n b 01:00 NULL").watermark("01:00");
    h.rows("a 01:00 7\n a 02:00 8").end();
    let mut lines: Vec<String> = h.take().lines().map(str::to_string).collect();
    lines.sort();
    assert_eq!(
        lines.join("; "),
        "+I a 01:00:00 3 1; +I a 01:00:00 3 2; +I a 02:00:00 8 2; +I a 02:00:00 9 1; +I b 01:00:00 NULL 1"
    );
    assert_eq!(h.status().late_rows, 1);
}

#[test]
fn rows_come_in_the_order_of_time() {
    let input = schema("k STRING, ts TIMESTAMP, v INT");
    let node = SortNode {
        order: vec![by(1, false), by(2, true)],
        time: Some(TimeAttribute::Rowtime { column: 1 }),
        skip: 0,
        fetch: None,
    };
    let schemas = [input.clone()];
    let make = move || Sort::new(&node, input.clone(), input.clone()).unwrap();
    let mut h = Harness::restoring(make, &schemas, &[&[]]);
    h.rows("a 00:05 1\n b 00:03 2\n c 00:05 7").watermark("00:04").rows("d 00:03 1\n e 00:04 1").end();
    expect![[r#"
        +I b 00:03:00 2
        +I e 00:04:00 1
        +I c 00:05:00 7
        +I a 00:05:00 1
    "#]]
    .assert_eq(&h.take());
    assert_eq!(h.status().late_rows, 1);
}

#[test]
fn updates_by_key_become_whole_changes() {
    let input = schema("k STRING, v INT");
    let node = ChangelogNormalizeNode { keys: vec![0] };
    let schemas = [input.clone()];
    let make = move || ChangelogNormalize::new(&node, input.clone(), input.clone(), true).unwrap();
    let mut h = Harness::restoring(make, &schemas, &[&[0]]);
    h.rows("+U a 1\n +I b 2\n +I b 2").rows("+U a 3\n -D b NULL\n -D c NULL").rows("+I b 4");
    expect![[r#"
        +I a 1
        +I b 2
        -U a 1
        +U a 3
        -D b 2
        +I b 4
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn a_sink_with_another_key_gets_the_last_row_that_is_there() {
    let input = schema("k STRING, v INT");
    let node = UpsertMaterializeNode { keys: vec![0], upsert_key: vec![] };
    let schemas = [input.clone()];
    let make = move || UpsertMaterialize::new(&node, input.clone(), input.clone()).unwrap();
    let mut h = Harness::restoring(make, &schemas, &[&[0]]);
    h.rows("a 1\n a 2").rows("-U a 1\n +U a 3").rows("-D a 3\n -D a 2\n -D a 9");
    expect![[r#"
        +I a 1
        +U a 2
        +U a 3
        +U a 2
        -D a 2
    "#]]
    .assert_eq(&h.take());
}
