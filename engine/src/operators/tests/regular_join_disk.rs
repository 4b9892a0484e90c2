//! Joins whose rows are on disk, beside the same joins in memory: random changes, times to live, snapshots of changes.

use crate::operators::testing::{Emitted, rows, schema, text};
use crate::operators::{OpenContext, Operator, OperatorContext, RegularJoin};
use crate::plan::{JoinKey, JoinType, RegularJoinNode};
use crate::state::testing::Kept;
use crate::state::{MemoryBudget, SnapshotKind, SnapshotProgress, StateWriter};
use crate::time::Watermark;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

const TTL_MS: [u64; 2] = [500, 900];

fn join(join_type: JoinType, ttl: bool, memory: Arc<MemoryBudget>) -> RegularJoin {
    let (left, right) = (schema("k STRING, v INT"), schema("k STRING, w INT"));
    let output = match join_type {
        JoinType::Semi | JoinType::Anti => schema("k STRING, v INT"),
        JoinType::Mark => schema("k STRING, v INT, mark BOOLEAN"),
        _ => schema("k STRING, v INT, k0 STRING, w INT"),
    };
    let node = RegularJoinNode {
        join_type,
        keys: vec![JoinKey { left: 0, right: 0, null_safe: false }],
        condition: None,
        ttl_ms: if ttl { TTL_MS.map(Some) } else { [None, None] },
        insert_only: [true, true],
    };
    let mut join = RegularJoin::new(&node, &[left, right], output).unwrap();
    join.open(&OpenContext { memory, ..OpenContext::for_tests() }).unwrap();
    join
}

/// Gives rows to a join, after the timers up to then.
fn step(join: &mut RegularJoin, input: usize, lines: &str, now_ms: i64) -> String {
    let context = OperatorContext { now_ms, watermark: Watermark::MIN };
    let mut out = Emitted::default();
    if join.next_timer_ms().is_some_and(|at| at <= now_ms) {
        join.on_timer(&context, &mut out).unwrap();
    }
    let schema = schema(["k STRING, v INT", "k STRING, w INT"][input]);
    join.process(input, rows(&schema, lines), &context, &mut out).unwrap();
    out.0.iter().map(text).collect()
}

/// A restore may change the order of a key's rows.
fn sorted(told: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    lines
}

/// Rows are taken back from step `taken_back_from` on.
fn run(seed: u64, join_type: JoinType, ttl: bool, taken_back_from: u64) {
    let disk = tempfile::tempdir().unwrap();
    let nothing = MemoryBudget::new(1, disk.path().join("state"));
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut plain = join(join_type, ttl, MemoryBudget::unlimited());
    let mut spilled = join(join_type, ttl, nothing.clone());
    let mut kept = Kept::default();
    let (mut now_ms, mut most) = (1_000, 0);
    // What is there, so that rows are taken back that were added.
    let mut there: [Vec<String>; 2] = Default::default();
    for number in 0..60 {
        now_ms += rng.random_range(0..120);
        let input = rng.random_range(0..2);
        let mut lines = String::new();
        for _ in 0..rng.random_range(1..8) {
            let known = there[input].len();
            if known > 0 && number >= taken_back_from && rng.random_bool(0.4) {
                let row = there[input].swap_remove(rng.random_range(0..known));
                lines += &format!("-D {row}\n");
            } else {
                let key = rng.random_range(0..6);
                let key = if key == 0 { "NULL".to_owned() } else { format!("key{key}") };
                let row = format!("{key} {}", rng.random_range(0..3));
                lines += &format!("+I {row}\n");
                there[input].push(row);
            }
        }
        // A snapshot is taken in parts, with the rows between.
        let kind = if number % 7 == 0 { SnapshotKind::Full } else { SnapshotKind::Delta };
        let mut out = StateWriter::new(kind);
        let mut progress = SnapshotProgress::Done;
        if number % 3 == 0 {
            progress = spilled.snapshot(number, &mut out).unwrap();
            kept.add(&mut out, true);
        }
        let (wanted, told) =
            (step(&mut plain, input, &lines, now_ms), step(&mut spilled, input, &lines, now_ms));
        assert_eq!(sorted(&told), sorted(&wanted), "seed {seed}, {join_type:?}, step {number}: {lines}");
        while progress == SnapshotProgress::More {
            progress = spilled.continue_snapshot(&mut out).unwrap();
            kept.add(&mut out, false);
        }
        most = most.max(nothing.spilled());
        if number % 12 == 0 {
            // It goes on as it was at the barrier, with the rows since.
            let mut restored = join(join_type, ttl, nothing.clone());
            restored.restore(&mut kept.reader(0, 1, 128)).unwrap();
            step(&mut restored, input, &lines, now_ms);
            spilled = restored;
        }
    }
    assert!(most > 0, "nothing was on disk");
}

#[test]
fn joins_on_disk_tell_what_joins_in_memory_tell() {
    for (number, join_type) in
        [JoinType::Inner, JoinType::Left, JoinType::Full, JoinType::Semi, JoinType::Anti, JoinType::Mark]
            .into_iter()
            .enumerate()
    {
        run(number as u64, join_type, false, 0);
        run(100 + number as u64, join_type, true, 0);
    }
}

#[test]
fn rows_on_disk_as_they_came_are_counted_once_one_is_taken_back() {
    for seed in 0..6 {
        run(200 + seed, JoinType::Inner, false, 10 + 8 * seed);
    }
}

#[test]
fn old_rows_on_disk_go_though_nobody_asks_for_them() {
    let disk = tempfile::tempdir().unwrap();
    let nothing = MemoryBudget::new(1, disk.path().join("state"));
    let mut join = join(JoinType::Inner, true, nothing.clone());
    step(&mut join, 0, "a 1\n b 2", 1_000);
    step(&mut join, 1, "a 3\n c 4", 1_000);
    assert!(nothing.spilled() > 0);
    // The left rows have gone, the right ones have not.
    step(&mut join, 0, "a 5\n c 6", 1_600);
    assert_eq!(step(&mut join, 1, "b 7", 1_600), "");
    assert_eq!(step(&mut join, 0, "a 8", 1_650), "+I a 8 a 3\n");
    let context = OperatorContext { now_ms: 9_000, watermark: Watermark::MIN };
    join.on_timer(&context, &mut Emitted::default()).unwrap();
    assert_eq!((nothing.spilled(), join.next_timer_ms()), (0, None));
}
