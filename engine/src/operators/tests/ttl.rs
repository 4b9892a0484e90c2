//! State that is too old (`table.exec.state.ttl`) is forgotten by operators that go by event time.

use crate::operators::testing::{Harness, calls, schema};
use crate::operators::{OpenContext, TemporalJoin, over};
use crate::plan::{
    Frame, FrameBound, JoinKey, JoinType, OverCall, OverNode, SortColumn, TemporalJoinNode, TimeAttribute,
};

fn a_second() -> OpenContext {
    OpenContext { state_ttl_ms: 1000, ..OpenContext::for_tests() }
}

#[test]
fn over_counts_anew_when_a_partition_was_silent_for_too_long() {
    let input = schema("k STRING, ts TIMESTAMP, v INT");
    let output = schema("k STRING, ts TIMESTAMP, v INT, n BIGINT, m BIGINT");
    let call = |text: &str, rows: i64| OverCall {
        call: calls(text, &output, 3).remove(0),
        frame: Frame {
            rows: true,
            start: if rows == 0 { FrameBound::Unbounded } else { FrameBound::Preceding(rows) },
            end: FrameBound::Preceding(0),
        },
        offset: 0,
    };
    let node = OverNode {
        partition: vec![0],
        order: vec![SortColumn { column: 1, descending: false, nulls_first: true }],
        time: Some(TimeAttribute::Rowtime { column: 1 }),
        calls: vec![call("count()", 0), call("count()", 0)],
    };
    let mut h = Harness::boxed(over(&node, input.clone(), output.clone()).unwrap(), &[input]);
    h.open(&a_second());
    h.clock_ms(10_000).rows("a 00:01 1\n b 00:01 1").watermark("00:01");
    h.clock_ms(10_900).rows("a 00:02 2").watermark("00:02");
    // b goes, a stays; a row that waits for event time keeps its partition.
    h.clock_ms(11_500).rows("a 00:03 3\n b 00:03 3").watermark("00:03");
    let told = h.take();
    assert!(told.contains("+I a 00:03:00 3 3 3\n") && told.contains("+I b 00:03:00 3 1 1\n"), "{told}");
    h.clock_ms(30_000).rows("a 00:04 4").watermark("00:04");
    assert_eq!(h.take(), "+I a 00:04:00 4 1 1\n");
}

#[test]
fn a_temporal_join_forgets_versions_of_keys_that_were_silent_for_too_long() {
    let left = schema("k STRING, ts TIMESTAMP");
    let right = schema("k STRING, ts TIMESTAMP, v INT");
    let output = schema("k STRING, ts TIMESTAMP, k0 STRING, ts0 TIMESTAMP, v INT");
    let node = TemporalJoinNode {
        join_type: JoinType::Left,
        keys: vec![JoinKey { left: 0, right: 0, null_safe: false }],
        left_time: 1,
        right_time: 1,
        condition: None,
    };
    let inputs = [left, right];
    let join = TemporalJoin::new(&node, &inputs, output).unwrap();
    let mut h = Harness::new(join, &inputs);
    h.open(&a_second());
    h.clock_ms(10_000).rows_of(1, "a 00:00 1\n b 00:00 2").watermark("00:01");
    h.clock_ms(10_800).rows_of(0, "a 00:02").watermark("00:02");
    h.clock_ms(11_400).rows_of(0, "a 00:03\n b 00:03").watermark("00:03");
    assert_eq!(
        h.take(),
        "+I a 00:02:00 a 00:00:00 1\n+I a 00:03:00 a 00:00:00 1\n+I b 00:03:00 NULL NULL NULL\n"
    );
}
