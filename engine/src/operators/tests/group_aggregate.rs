//! Changelogs of `GroupAggregate`, compared with Flink 1.20's.

use crate::operators::GroupAggregate;
use crate::operators::testing::{Emitted, Harness, calls, rows, schema, text};
use crate::operators::{OpenContext, Operator, OperatorContext};
use crate::plan::GroupAggregateNode;
use crate::state::SnapshotKind;
use crate::state::testing::Kept;
use crate::time::Watermark;
use expect_test::expect;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

struct Setup {
    input: &'static str,
    output: &'static str,
    keys: usize,
    calls: &'static str,
    retracts: bool,
    update_before: bool,
    at_end_only: bool,
    ttl_ms: Option<u64>,
}

const COUNT: Setup = Setup {
    input: "id INT, v INT",
    output: "id INT, n BIGINT",
    keys: 1,
    calls: "count()",
    retracts: false,
    update_before: true,
    at_end_only: false,
    ttl_ms: None,
};

impl Setup {
    fn operator(&self) -> GroupAggregate {
        let (input, output) = (schema(self.input), schema(self.output));
        let node = GroupAggregateNode {
            keys: (0..self.keys).collect(),
            aggregates: calls(self.calls, &output, self.keys),
            retracts: self.retracts,
            update_before: self.update_before,
            at_end_only: self.at_end_only,
            mini_batch: None,
            ttl_ms: self.ttl_ms,
        };
        GroupAggregate::new(&node, input, output).unwrap()
    }

    fn harness(&self) -> Harness {
        Harness::new(self.operator(), &[schema(self.input)])
    }
}

#[test]
fn each_row_tells_its_change() {
    expect![[r#"
        +I 1 1
        +I 2 1
        -U 2 1
        +U 2 2
    "#]]
    .assert_eq(&COUNT.harness().rows("1 5\n 2 5\n 2 5").take());
    expect![[r#"
        +I 1 1
        +I 2 1
        +U 2 2
    "#]]
    .assert_eq(&Setup { update_before: false, ..COUNT }.harness().rows("1 5\n 2 5\n 2 5").take());
}

#[test]
fn values_that_stay_the_same_are_not_told() {
    let max = Setup { calls: "max(1)", output: "id INT, m INT", ..COUNT };
    expect![[r#"
        +I 1 NULL
        -U 1 NULL
        +U 1 5
        -U 1 5
        +U 1 7
    "#]]
    .assert_eq(&max.harness().rows("1 NULL\n 1 5\n 1 3\n 1 NULL\n 1 7\n 1 7").take());
    let distinct = Setup { keys: 2, calls: "", output: "id INT, v INT", ..COUNT };
    expect![[r#"
        +I 1 1
        +I NULL 1
        +I NULL NULL
    "#]]
    .assert_eq(&distinct.harness().rows("1 1\n NULL 1\n 1 1\n NULL NULL\n NULL 1\n NULL NULL").take());
}

#[test]
fn the_last_row_taken_back_deletes_and_a_new_one_inserts() {
    let setup = Setup {
        retracts: true,
        calls: "count(), sum(1), max(1), count(distinct 1)",
        output: "id INT, n BIGINT, s INT, m INT, d BIGINT",
        ..COUNT
    };
    let mut h = setup.harness();
    // -D 9: nothing is known of it.
    h.rows("1 5\n 1 9\n 1 5\n -D 9 1\n -U 1 9\n -D 1 5\n -U 1 5\n +U 1 2\n -D 1 2\n -D 1 2\n 1 NULL");
    expect![[r#"
        +I 1 1 5 5 1
        -U 1 1 5 5 1
        +U 1 2 14 9 2
        -U 1 2 14 9 2
        +U 1 3 19 9 2
        -U 1 3 19 9 2
        +U 1 2 10 5 1
        -U 1 2 10 5 1
        +U 1 1 5 5 1
        -D 1 1 5 5 1
        +I 1 1 2 2 1
        -D 1 1 2 2 1
        +I 1 1 NULL NULL 0
    "#]]
    .assert_eq(&h.take());
    h.rows("-D 1 NULL\n");
    expect![[r#"
        -D 1 1 NULL NULL 0
    "#]]
    .assert_eq(&h.take());
}

// Flink, over the changelog of COUNT(*) by k of (1,1)(1,2)(2,1)(2,5)(1,1):
//   SELECT n, COUNT(*), SUM(n), MIN(k), MAX(k), FIRST_VALUE(k), LAST_VALUE(k), COUNT(DISTINCT n) … GROUP BY n
#[test]
fn aggregates_over_a_changelog_are_those_of_flink() {
    let setup = Setup {
        input: "n BIGINT, k INT",
        output: "n BIGINT, c BIGINT, s BIGINT, min INT, max INT, first INT, last INT, d BIGINT",
        calls: "count(), sum(0), min(1), max(1), first_value(1), last_value(1), count(distinct 0)",
        retracts: true,
        ..COUNT
    };
    let changes = "1 1\n -U 1 1\n +U 2 1\n 1 2\n -U 1 2\n +U 2 2\n -U 2 1\n +U 3 1";
    expect![[r#"
        +I 1 1 1 1 1 1 1 1
        -D 1 1 1 1 1 1 1 1
        +I 2 1 2 1 1 1 1 1
        +I 1 1 1 2 2 2 2 1
        -D 1 1 1 2 2 2 2 1
        -U 2 1 2 1 1 1 1 1
        +U 2 2 4 1 2 1 2 1
        -U 2 2 4 1 2 1 2 1
        +U 2 1 2 2 2 2 2 1
        +I 3 1 3 1 1 1 1 1
    "#]]
    .assert_eq(&setup.harness().rows(changes).take());
}

// Flink: SELECT LISTAGG(s), COLLECT(k), ARRAY_AGG(k), AVG(c) over a changelog.
#[test]
fn lists_over_a_changelog_are_those_of_flink() {
    let setup = Setup {
        input: "s STRING, k INT, c INT",
        output: "s STRING, a INT",
        keys: 0,
        calls: "listagg(0), avg(2)",
        retracts: true,
        ..COUNT
    };
    let changes =
        "1:1 1 1\n -U 1:1 1 1\n +U 1:3 1 3\n 2:1 2 1\n -U 2:1 2 1\n +U 2:6 2 6\n -U 1:3 1 3\n +U 1:4 1 4";
    expect![[r#"
        +I 1:1 1
        -D 1:1 1
        +I 1:3 3
        -U 1:3 3
        +U 1:3,2:1 2
        -U 1:3,2:1 2
        +U 1:3 3
        -U 1:3 3
        +U 1:3,2:6 4
        -U 1:3,2:6 4
        +U 2:6 6
        -U 2:6 6
        +U 2:6,1:4 5
    "#]]
    .assert_eq(&setup.harness().rows(changes).take());
}

// Flink: SELECT SUM(c) FILTER (WHERE c > 2), COUNT(DISTINCT c) over a changelog.
#[test]
fn filters_count_the_row_and_not_its_value() {
    let setup = Setup {
        input: "c INT, p BOOLEAN",
        output: "s INT, d BIGINT",
        keys: 0,
        calls: "sum(0) filter 1, count(distinct 0)",
        retracts: true,
        ..COUNT
    };
    let changes =
        "1 false\n -U 1 false\n +U 3 true\n 1 NULL\n -U 1 false\n +U 6 true\n -U 3 true\n +U 4 true";
    expect![[r#"
        +I NULL 1
        -D NULL 1
        +I 3 1
        -U 3 1
        +U 3 2
        -U 3 2
        +U 3 1
        -U 3 1
        +U 9 2
        -U 9 2
        +U 6 1
        -U 6 1
        +U 10 2
    "#]]
    .assert_eq(&setup.harness().rows(changes).take());
}

#[test]
fn at_the_end_only_the_result_is_told_and_a_global_one_always() {
    let setup = Setup { at_end_only: true, ..COUNT };
    let mut h = setup.harness();
    h.rows("1 1\n 2 1\n 1 2");
    assert_eq!(h.take(), "");
    expect![[r#"
        +I 1 2
        +I 2 1
    "#]]
    .assert_eq(&h.end().take());
    assert_eq!(setup.harness().end().take(), "");
    let global = Setup { keys: 0, output: "n BIGINT, s INT", calls: "count(), sum(1)", ..setup };
    assert_eq!(global.harness().end().take(), "+I 0 NULL\n");
    assert_eq!(Setup { at_end_only: false, ..global }.harness().end().take(), "");
    let changed = Setup { retracts: true, at_end_only: true, ..COUNT };
    assert_eq!(changed.harness().rows("1 1\n 2 1\n -D 1 1\n 2 2").end().take(), "+I 2 2\n");
}

#[test]
fn changes_are_refused_where_inserts_were_planned() {
    let error = COUNT.harness().refuse("-D 1 1");
    assert!(error.contains("with updates or deletes"), "{error}");
}

/// How a stream is cut into batches changes nothing, and folding the changelog gives the final values.
#[test]
fn batches_do_not_matter() {
    let mut rng = SmallRng::seed_from_u64(3);
    let setup = Setup {
        input: "k STRING, v INT",
        output: "k STRING, n BIGINT, s INT, min INT, max INT, d BIGINT, a INT",
        calls: "count(), sum(1), min(1), max(1), count(distinct 1), avg(1)",
        retracts: true,
        ..COUNT
    };
    let input = schema(setup.input);
    for _ in 0..30 {
        let mut live: Vec<String> = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        for _ in 0..rng.random_range(1..120) {
            if !live.is_empty() && rng.random_bool(0.4) {
                let row = live.swap_remove(rng.random_range(0..live.len()));
                lines.push(format!("{} {row}", ["-U", "-D"][rng.random_range(0..2)]));
            } else {
                let key = ["a", "ß", "NULL", "кот"][rng.random_range(0..4)];
                let value = if rng.random_bool(0.2) {
                    "NULL".to_owned()
                } else {
                    rng.random_range(-2..3).to_string()
                };
                live.push(format!("{key} {value}"));
                lines.push(format!("{} {key} {value}", ["+I", "+U"][rng.random_range(0..2)]));
            }
        }
        let run = |cuts: &mut dyn FnMut() -> usize| {
            let (mut operator, mut out) = (setup.operator(), Emitted::default());
            let context = OperatorContext { now_ms: 0, watermark: Watermark::MIN };
            let mut rest = &lines[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts().clamp(1, rest.len()));
                operator.process(0, rows(&input, &now.join("\n")), &context, &mut out).unwrap();
                rest = later;
            }
            out.0.iter().map(text).collect::<String>()
        };
        let whole = run(&mut || usize::MAX);
        assert_eq!(whole, run(&mut || 1));
        assert_eq!(whole, run(&mut || rng.random_range(1..9)));

        // The rows that the changelog leaves are those of an aggregate of the live rows alone.
        let mut left: Vec<&str> = Vec::new();
        for line in whole.lines() {
            let (kind, row) = line.split_at(3);
            if matches!(kind, "+I " | "+U ") {
                left.push(row);
            } else {
                let at =
                    left.iter().position(|r| *r == row).unwrap_or_else(|| panic!("{row} was never told"));
                left.remove(at);
            }
        }
        left.sort_unstable();
        let mut fresh = Setup { at_end_only: true, ..setup }.harness();
        if !live.is_empty() {
            fresh.rows(&live.join("\n"));
        }
        let fresh = fresh.end().take();
        let mut expected: Vec<&str> = fresh.lines().map(|line| &line[3..]).collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}

/// Killed and restored at any moment, at any parallelism, the changelog goes on as if nothing had been.
#[test]
fn a_restored_aggregate_goes_on_where_it_was() {
    let mut rng = SmallRng::seed_from_u64(5);
    let setup = Setup {
        input: "k STRING, v INT, t STRING",
        output: "k STRING, n BIGINT, s INT, min INT, max INT, d BIGINT, a INT, l STRING, first INT, var INT",
        calls: "count(), sum(1), min(1), max(1), count(distinct 1), avg(1), listagg(2), first_value(1), var_pop(1)",
        retracts: true,
        ..COUNT
    };
    for _ in 0..10 {
        let open = OpenContext::for_tests();
        let mut straight = setup.harness();
        let mut broken = setup.harness();
        straight.open(&open);
        broken.open(&open);
        let mut kept = Kept::default();
        let mut live: Vec<String> = Vec::new();
        for _ in 0..40 {
            let mut lines = Vec::new();
            for _ in 0..rng.random_range(1..20) {
                if !live.is_empty() && rng.random_bool(0.45) {
                    lines.push(format!("-D {}", live.swap_remove(rng.random_range(0..live.len()))));
                } else {
                    let value = ["NULL", "1", "2", "3"][rng.random_range(0..4)];
                    live.push(format!("k{} {value} t{}", rng.random_range(0..9), rng.random_range(0..3)));
                    lines.push(live[live.len() - 1].clone());
                }
            }
            let batch = lines.join("\n");
            let expected = straight.rows(&batch).take();
            assert_eq!(broken.rows(&batch).take(), expected);
            if rng.random_bool(0.3) {
                broken.snapshot(SnapshotKind::Delta, &mut kept);
                // Through two tasks and back to one.
                let mut both = Kept::default();
                for task in 0..2 {
                    let mut half = setup.harness();
                    let mut part = Kept::default();
                    half.open(&open).restore(&kept, task, 2).snapshot(SnapshotKind::Full, &mut part);
                    both = both.and(part);
                }
                kept = both;
                broken = setup.harness();
                broken.open(&open).restore(&kept, 0, 1);
            } else if rng.random_bool(0.3) {
                broken.snapshot(SnapshotKind::Delta, &mut kept);
            }
        }
    }
}

#[test]
fn a_hint_sets_another_time_to_live() {
    for (hint, setting, told) in
        [(Some(1_000), 0, "+I 1 1\n+I 1 1\n"), (Some(0), 1_000, "+I 1 1\n-U 1 1\n+U 1 2\n")]
    {
        let mut h = Setup { ttl_ms: hint, ..COUNT }.harness();
        h.open(&OpenContext { state_ttl_ms: setting, ..OpenContext::for_tests() });
        assert_eq!(h.clock_ms(10_000).rows("1 5").clock_ms(12_000).rows("1 5").take(), told);
    }
}

// Flink 1.20 with 'table.exec.state.ttl': values are told again, and a group that is too old starts from nothing.
#[test]
fn a_time_to_live_forgets_groups_that_were_not_touched() {
    let mut h = Setup { retracts: true, ..COUNT }.harness();
    h.open(&OpenContext { state_ttl_ms: 1_000, ..OpenContext::for_tests() });
    h.clock_ms(10_000).rows("1 5\n 2 5").clock_ms(10_900).rows("1 5").clock_ms(11_100).rows("1 5\n 2 5");
    expect![[r#"
        +I 1 1
        +I 2 1
        -U 1 1
        +U 1 2
        -U 1 2
        +U 1 3
        +I 2 1
    "#]]
    .assert_eq(&h.take());
    // What is taken back of a group that was forgotten is dropped.
    assert_eq!(h.clock_ms(13_000).rows("-D 1 5").take(), "");
    let max = Setup { calls: "max(1)", output: "id INT, m INT", ..COUNT };
    let mut h = max.harness();
    h.open(&OpenContext { state_ttl_ms: 1_000, ..OpenContext::for_tests() });
    assert_eq!(h.rows("1 5\n 1 3").take(), "+I 1 5\n-U 1 5\n+U 1 5\n");
}
