//! Top-N and deduplication of many keys: with memory for some of them, and what their snapshots hold.

use super::ordered::by;
use crate::operators::testing::{Harness, rows, schema};
use crate::operators::{Deduplicate, OpenContext, Operator, TopN, WindowTopN};
use crate::plan::{DeduplicateNode, RankEnd, TimeAttribute, TopNNode, TopNStrategy, WindowTopNNode};
use crate::state::testing::Kept;
use crate::state::{MemoryBudget, SnapshotKind, StateRows, StateWriter};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

type Make = Box<dyn Fn() -> Box<dyn Operator>>;

fn input() -> SchemaRef {
    schema("k STRING, id STRING, v INT, ts TIMESTAMP")
}

fn top_n(end: u64, rank_number: bool, strategy: TopNStrategy) -> Make {
    let order = vec![by(2, true)];
    let end = RankEnd::Constant(end);
    let node = TopNNode { partition: vec![0], order, start: 1, end, rank_number, strategy };
    let output = match rank_number {
        true => schema("k STRING, id STRING, v INT, ts TIMESTAMP, rn BIGINT"),
        false => input(),
    };
    Box::new(move || Box::new(TopN::new(&node, input(), output.clone(), true).unwrap()))
}

fn by_text() -> Make {
    let (order, end) = (vec![by(1, false), by(2, true)], RankEnd::Constant(3));
    let strategy = TopNStrategy::AppendFast;
    let node = TopNNode { partition: vec![0], order, start: 1, end, rank_number: false, strategy };
    Box::new(move || Box::new(TopN::new(&node, input(), input(), true).unwrap()))
}

fn deduplicate(time: TimeAttribute, keep_last: bool, update_before: bool) -> Make {
    let node = DeduplicateNode { keys: vec![0], time, keep_last, compared: vec![0, 1, 2] };
    Box::new(move || Box::new(Deduplicate::new(&node, input(), input(), update_before).unwrap()))
}

/// All that keep rows of inserts.
fn of_inserts() -> Vec<Make> {
    let rowtime = TimeAttribute::Rowtime { column: 3 };
    vec![
        top_n(1, false, TopNStrategy::AppendFast),
        top_n(3, false, TopNStrategy::AppendFast),
        top_n(4, true, TopNStrategy::AppendFast),
        // Too many ranks for a list.
        top_n(2000, true, TopNStrategy::AppendFast),
        top_n(2, true, TopNStrategy::Retract),
        by_text(),
        deduplicate(rowtime, true, true),
        deduplicate(rowtime, true, false),
        deduplicate(rowtime, false, true),
        deduplicate(TimeAttribute::Proctime, true, true),
        deduplicate(TimeAttribute::Proctime, false, true),
    ]
}

/// Rows of random keys out of `keys`.
fn some_rows(rng: &mut SmallRng, count: usize, keys: u32) -> String {
    let row = |rng: &mut SmallRng| {
        let key = match rng.random_range(0..keys + 1) {
            0 => "NULL".to_string(),
            key => format!("key{key}"),
        };
        let (id, v, second) = (rng.random_range(0..5), rng.random_range(0..9), rng.random_range(0..60));
        format!("{key} id{id} {v} 00:00:{second:02}\n")
    };
    (0..count).map(|_| row(rng)).collect()
}

fn limited(bytes: usize) -> (OpenContext, Arc<MemoryBudget>, tempfile::TempDir) {
    let disk = tempfile::tempdir().unwrap();
    let memory = MemoryBudget::new(bytes, disk.path().join("state"));
    (OpenContext { memory: memory.clone(), ..OpenContext::for_tests() }, memory, disk)
}

#[test]
fn random_rows_through_restores_and_the_disk() {
    for make in of_inserts() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut h = Harness::restoring_boxed(make, &[input()], &[&[0]]);
        for _ in 0..30 {
            let count = rng.random_range(1..8);
            h.rows(&some_rows(&mut rng, count, 6));
        }
    }
}

fn window_top_n(end: u64, last_of_equals: bool) -> (Make, SchemaRef) {
    let input = schema("k STRING, we TIMESTAMP, v INT, id STRING");
    let output = schema("k STRING, we TIMESTAMP, v INT, id STRING, rn BIGINT");
    let node = WindowTopNNode {
        window_end: 1,
        zone: None,
        partition: vec![1, 0],
        order: vec![by(2, true)],
        start: 1,
        end,
        rank_number: true,
        last_of_equals,
    };
    let own = input.clone();
    (Box::new(move || Box::new(WindowTopN::new(&node, own.clone(), output.clone()).unwrap())), input)
}

/// Rows of windows of ten minutes from minute `from` on, in which some come late.
fn windowed_rows(rng: &mut SmallRng, count: usize, keys: u32, from: u32) -> String {
    let row = |rng: &mut SmallRng| {
        let end = (from + rng.random_range(0..30)) / 10 * 10;
        let (key, v, id) = (rng.random_range(0..keys), rng.random_range(0..6), rng.random_range(0..999));
        format!("key{key} {:02}:{:02} {v} id{id}\n", end / 60, end % 60)
    };
    (0..count).map(|_| row(rng)).collect()
}

#[test]
fn windows_through_restores_and_the_disk() {
    for (end, last_of_equals) in [(1, false), (1, true), (3, false)] {
        let (make, input) = window_top_n(end, last_of_equals);
        let mut rng = SmallRng::seed_from_u64(5);
        let mut h = Harness::restoring_boxed(make, &[input], &[&[1, 0]]);
        for step in 0..40 {
            let count = rng.random_range(1..8);
            h.rows(&windowed_rows(&mut rng, count, 4, step * 4));
            if step % 3 == 2 {
                h.watermark_ms(i64::from(step) * 4 * 60_000);
            }
        }
        h.end();
        assert_eq!(h.status().open_windows, 0);
    }
}

#[test]
fn windows_leave_memory_and_are_told_one_after_the_other() {
    let (make, input) = window_top_n(2, false);
    let mut rng = SmallRng::seed_from_u64(9);
    let mut plenty = Harness::boxed(make(), std::slice::from_ref(&input));
    plenty.open(&OpenContext::for_tests());
    let mut little = Harness::boxed(make(), std::slice::from_ref(&input));
    let (context, memory, _disk) = limited(30_000);
    little.open(&context);
    let mut kept = Kept::default();
    for step in 0..60 {
        let rows = windowed_rows(&mut rng, 60, 400, step * 4);
        plenty.rows(&rows);
        little.rows(&rows);
        if step % 5 == 4 {
            little.snapshot(SnapshotKind::Delta, &mut kept);
            plenty.watermark_ms(i64::from(step) * 4 * 60_000);
            little.watermark_ms(i64::from(step) * 4 * 60_000);
            let (told, wanted) = (little.take(), plenty.take());
            let ends = |told: &str| -> Vec<String> {
                told.lines().map(|l| l.split(' ').nth(2).unwrap().to_string()).collect()
            };
            assert!(ends(&told).is_sorted(), "{told}");
            let sorted = |told: &str| {
                let mut lines: Vec<String> = told.lines().map(str::to_string).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&told), sorted(&wanted), "step {step}");
        }
    }
    assert!(memory.spilled() > 0);
    assert_eq!(little.status().late_rows, plenty.status().late_rows);
    little.snapshot(SnapshotKind::Delta, &mut kept);
    let mut delta = Kept::default();
    little.rows("new 20:00 1 id1").snapshot(SnapshotKind::Delta, &mut delta);
    // The key's rows give way as a whole, then come.
    assert_eq!(delta.num_rows(), 2);
    // What was told is in no checkpoint any more.
    let mut restored = Harness::boxed(make(), &[input]);
    restored.open(&OpenContext::for_tests()).restore(&kept, 0, 1);
    assert_eq!(restored.status().open_windows, plenty.status().open_windows);
    little.take();
    restored.rows("new 20:00 1 id1").end();
    little.end();
    let mut lines =
        [little.take(), restored.take()].map(|t| t.lines().map(str::to_string).collect::<Vec<_>>());
    lines.iter_mut().for_each(|l| l.sort());
    assert_eq!(lines[0], lines[1]);
}

#[test]
fn keys_leave_memory_and_come_back() {
    for (number, make) in of_inserts().into_iter().enumerate() {
        let mut rng = SmallRng::seed_from_u64(11);
        let mut plenty = Harness::boxed(make(), &[input()]);
        plenty.open(&OpenContext::for_tests());
        let mut little = Harness::boxed(make(), &[input()]);
        // Some of the keys have room, not all.
        let (context, memory, _disk) = limited(12_000);
        little.open(&context);
        let mut kept = Kept::default();
        for step in 0..120 {
            let rows = some_rows(&mut rng, 40, 600);
            plenty.rows(&rows);
            little.rows(&rows);
            assert_eq!(little.take(), plenty.take(), "operator {number}, step {step}");
            if step % 10 == 3 {
                little.snapshot(SnapshotKind::Delta, &mut kept);
            }
        }
        assert!(memory.spilled() > 0, "operator {number}");
        little.snapshot(SnapshotKind::Delta, &mut kept);
        // Another parallelism: each row to the task of its key.
        for parallelism in [1, 3] {
            let rows = some_rows(&mut rng, 200, 600);
            let mut whole = Harness::boxed(make(), &[input()]);
            whole.open(&OpenContext::for_tests()).restore(&kept, 0, 1);
            whole.rows(&rows);
            let mut told: Vec<String> = Vec::new();
            for task in 0..parallelism {
                let (context, _memory, _disk) = limited(20_000);
                let mut part = Harness::boxed(make(), &[input()]);
                part.open(&OpenContext { task, parallelism, ..context });
                part.restore(&kept, task, parallelism).rows_of_task(&rows, &[0], task, parallelism);
                told.extend(part.take().lines().map(str::to_string));
            }
            let mut wanted: Vec<String> = whole.take().lines().map(str::to_string).collect();
            told.sort();
            wanted.sort();
            assert_eq!(told, wanted, "operator {number} on {parallelism} tasks");
        }
    }
}

#[test]
fn a_delta_holds_the_keys_that_changed() {
    for (number, make) in of_inserts().into_iter().enumerate() {
        let mut h = Harness::boxed(make(), &[input()]);
        h.open(&OpenContext::for_tests());
        let many: String = (0..500).map(|key| format!("key{key} id1 5 00:00:30\n")).collect();
        h.rows(&many);
        let mut full = Kept::default();
        h.snapshot(SnapshotKind::Delta, &mut full);
        // The first snapshot is full whatever is asked for.
        assert_eq!(full.num_rows(), 500, "operator {number}");
        h.rows("new id0 9 00:00:10\n key7 id0 9 00:00:20");
        let mut delta = Kept::default();
        h.snapshot(SnapshotKind::Delta, &mut delta);
        let held = delta.num_rows();
        assert!((1..=5).contains(&held), "operator {number}: {held} rows");
        let mut nothing = Kept::default();
        h.snapshot(SnapshotKind::Delta, &mut nothing);
        assert_eq!(nothing.num_rows(), 0, "operator {number}");
    }
}

/// A snapshot as release 0.1.0 began to write it: all rows, then numbers.
fn stored(columns: RecordBatch, more: &[(&str, Vec<Option<i64>>)]) -> Kept {
    let mut fields: Vec<Field> =
        columns.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let mut arrays: Vec<ArrayRef> = columns.columns().to_vec();
    for (name, numbers) in more {
        fields.push(Field::new(*name, DataType::Int64, true));
        arrays.push(Arc::new(Int64Array::from(numbers.clone())));
    }
    let mut groups = Vec::new();
    crate::state::key_group::key_groups(&arrays[..1], 128, &mut groups).unwrap();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut writer = StateWriter::new(SnapshotKind::Full);
    writer.rows(StateRows { table: "rows".into(), key_groups: Some(groups), rows, deleted: None });
    let mut kept = Kept::default();
    kept.add(&mut writer, true);
    kept
}

#[test]
fn earlier_checkpoints_come_back() {
    let own = rows(&input(), "a x 9 00:00:01\n b x 4 00:00:01\n a y 7 00:00:02").records().clone();
    let numbers = [("$sequence", vec![Some(0), Some(0), Some(1)]), ("$end", vec![None; 3])];
    for (strategy, update) in
        [(TopNStrategy::AppendFast, "+I"), (TopNStrategy::Retract, "+I"), (TopNStrategy::Retract, "-D")]
    {
        let mut h = Harness::boxed(top_n(2, true, strategy)(), &[input()]);
        h.open(&OpenContext::for_tests()).restore(&stored(own.clone(), &numbers), 0, 1);
        if update == "+I" {
            h.rows("a z 8 00:00:03");
            assert_eq!(h.take(), "-U a y 7 00:00:02 2\n+U a z 8 00:00:03 2\n");
        } else {
            h.rows("-D a x 9 00:00:01");
            assert_eq!(h.take(), "-U a x 9 00:00:01 1\n+U a y 7 00:00:02 1\n-D a y 7 00:00:02 2\n");
        }
    }
    let last = rows(&input(), "a x 9 00:00:05\n b x 4 00:00:01").records().clone();
    let rowtime = TimeAttribute::Rowtime { column: 3 };
    let mut h = Harness::boxed(deduplicate(rowtime, true, true)(), &[input()]);
    h.open(&OpenContext::for_tests()).restore(&stored(last.clone(), &[]), 0, 1);
    h.rows("a z 8 00:00:03\n a z 8 00:00:06\n c z 1 00:00:01");
    assert_eq!(h.take(), "-U a x 9 00:00:05\n+U a z 8 00:00:06\n+I c z 1 00:00:01\n");
    let keys = last.project(&[0]).unwrap();
    let mut h = Harness::boxed(deduplicate(TimeAttribute::Proctime, false, true)(), &[input()]);
    h.open(&OpenContext::for_tests()).restore(&stored(keys, &[]), 0, 1);
    h.rows("a z 8 00:00:03\n c z 1 00:00:01");
    assert_eq!(h.take(), "+I c z 1 00:00:01\n");
}

#[test]
fn a_key_that_does_not_fit_is_told_of() {
    let (context, memory, _disk) = limited(3000);
    let mut h = Harness::boxed(top_n(500, false, TopNStrategy::AppendFast)(), &[input()]);
    h.open(&context);
    for step in 0..20 {
        let rows: String = (0..40).map(|row| format!("a id{row} {} 00:00:01\n", step * 40 + row)).collect();
        h.rows(&rows);
    }
    h.rows(&some_rows(&mut SmallRng::seed_from_u64(3), 40, 40));
    let told = context.oversized_key.load(std::sync::atomic::Ordering::Relaxed);
    assert!(told > memory.total() as u64, "{told}");
    let (context, ..) = limited(100_000);
    let mut h = Harness::boxed(top_n(500, false, TopNStrategy::AppendFast)(), &[input()]);
    h.open(&context).rows(&some_rows(&mut SmallRng::seed_from_u64(3), 4000, 2000));
    assert_eq!(context.oversized_key.load(std::sync::atomic::Ordering::Relaxed), 0);
}
