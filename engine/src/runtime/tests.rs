//! Whole jobs over fakes: results, backpressure, errors, cancellation, event time.

use super::channel::CHANNEL_ROWS;
use super::testing::*;
use super::{JobStatus, ResultEvent, collect};
use crate::error::{Error, ErrorKind};
use crate::plan::Partitioning::{Forward, Hash, Rebalance, Single};
use crate::time::{MockClock, SystemClock, Watermark};
use arrow::array::RecordBatch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

fn sorted(mut values: Vec<i64>) -> Vec<i64> {
    values.sort_unstable();
    values
}

/// `batches` batches of 100 rows with keys 0..10 and values 1.
fn ones(batches: i64) -> Vec<RecordBatch> {
    (0..batches).map(|_| rows(&(0..100).map(|n| (n % 10, 1)).collect::<Vec<_>>())).collect()
}

#[test]
fn rows_of_all_splits_come_out_before_the_end() {
    let source =
        FakeSource::of(vec![vec![rows(&[(1, 1), (2, 2)])], vec![], vec![rows(&[(3, 3)]), rows(&[(4, 4)])]]);
    let (got, result) = run(&Operators::default(), |plan, sink| {
        let source = plan.source(&source, None, 2);
        plan.sink(sink, source, Single, 1);
    });
    assert_eq!((sorted(got), result), (vec![1, 2, 3, 4], Ok(())));
}

#[test]
fn totals_do_not_depend_on_parallelism() {
    for (tasks, sources) in [(1, 1), (2, 3), (3, 2), (4, 4)] {
        let source = FakeSource::of((0..5).map(|_| ones(20)).collect());
        let operators = Operators::default().with("sum", SumAtEnd::default);
        let (got, result) = run(&operators, |plan, sink| {
            let source = plan.source(&source, None, sources);
            let sum = plan.operator("sum", vec![(source, Hash(vec![0]))], tasks);
            plan.sink(sink, sum, Single, 1);
        });
        assert_eq!((got, result), (vec![1000; 10], Ok(())), "{tasks} tasks");
    }
}

#[test]
fn a_statement_set_reads_once_and_a_diamond_doubles() {
    let source = FakeSource::of(vec![ones(10)]);
    let other = FakeSink::default();
    let (got, result) = run(&Operators::default(), |plan, sink| {
        let source = plan.source(&source, None, 1);
        let union = plan.union(vec![(source, Forward), (source, Forward), (source, Rebalance)], 1);
        plan.sink(sink, union, Forward, 1);
        plan.sink(Arc::new(other.clone()), source, Forward, 1);
    });
    assert_eq!((got.len(), result), (3000, Ok(())));
    assert_eq!(other.rows.load(Ordering::SeqCst), 1000);
    assert_eq!(other.finished.load(Ordering::SeqCst), 1);
    assert_eq!(source.taken(), 10);
}

#[test]
fn many_batches_through_many_tasks_finish() {
    let source = FakeSource::of((0..8).map(|_| ones(500)).collect());
    let operators = Operators::default().with("a", Recorder::default).with("b", SumAtEnd::default);
    let (got, result) = run(&operators, |plan, sink| {
        let source = plan.source(&source, Some(watermark(0, None, 0)), 4);
        let a = plan.operator("a", vec![(source, Rebalance)], 3);
        let union = plan.union(vec![(a, Forward), (source, Rebalance)], 3);
        let b = plan.operator("b", vec![(union, Hash(vec![0]))], 4);
        plan.sink(sink, b, Single, 1);
    });
    assert_eq!((got, result), (vec![80_000; 10], Ok(())));
}

#[test]
fn a_slow_sink_holds_the_source_back() {
    let source = FakeSource::new(1, true);
    let batch = rows(&vec![(1, 1); 1000]);
    (0..400).for_each(|_| source.push(0, batch.clone()));
    source.finish(0);
    let sink = FakeSink { delay: Duration::from_millis(1), ..FakeSink::default() };
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, None, 1);
    plan.sink(Arc::new(sink.clone()), from, Rebalance, 1);
    let job = plan.start(Arc::new(SystemClock), &Operators::default());
    while job.wait(Some(Duration::from_millis(1))).is_none() {
        let waiting = source.taken() * 1000 - sink.rows.load(Ordering::SeqCst);
        assert!(waiting <= CHANNEL_ROWS + 3000, "{waiting} rows are waiting");
    }
    assert_eq!(job.wait(None), Some(Ok(())));
    assert_eq!(job.status(), JobStatus::Finished);
    assert_eq!(sink.rows.load(Ordering::SeqCst), 400_000);
    assert!(sink.flushes.load(Ordering::SeqCst) > 5);
    assert_eq!(job.progress().rows_out, 400_000);
}

#[test]
fn an_unread_result_holds_the_job_back_and_cancel_frees_it() {
    let source = FakeSource::new(1, false);
    let batch = rows(&vec![(1, 1); 10_000]);
    (0..100).for_each(|_| source.push(0, batch.clone()));
    let (sink, collected) = collect();
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, None, 1);
    plan.sink(sink, from, Rebalance, 1);
    let mut running = Running::new(plan, collected, &Operators::default());
    until("a full buffer", || source.taken() >= 7);
    thread::sleep(Duration::from_millis(30));
    assert!(source.taken() < 12, "{}", source.taken());
    let started = Instant::now();
    let job = running.results.job().clone();
    job.cancel();
    assert_eq!(job.wait(Some(TEST_TIMEOUT)), Some(Ok(())));
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!(job.status(), JobStatus::Canceled);
    // What was there already is still to be had, then the end.
    assert!(matches!(running.results.next(TEST_TIMEOUT), ResultEvent::Batch(_)));
    assert_eq!(running.drain().1, Ok(()));
}

#[test]
fn dropping_the_last_handle_or_the_results_cancels() {
    for drop_results in [false, true] {
        let source = FakeSource::new(2, false);
        let (sink, collected) = collect();
        let mut plan = PlanBuilder::default();
        let from = plan.source(&source, None, 2);
        plan.sink(sink, from, Single, 1);
        let running = Running::new(plan, collected, &Operators::default());
        let control = running.results.job().control_for_tests();
        let kept = drop_results.then(|| running.results.job().clone());
        until("running", || control.status() == JobStatus::Running);
        drop(running);
        assert_eq!(control.wait(Some(TEST_TIMEOUT)), Some(Ok(())));
        assert_eq!(control.status(), JobStatus::Canceled);
        drop(kept);
    }
}

#[test]
fn cancel_at_any_moment_ends_all_threads() {
    for micros in (0..4000).step_by(250) {
        let source = FakeSource::new(4, false);
        (0..400).for_each(|n| source.push(n % 4, rows(&vec![(1, 1); 500])));
        let operators = Operators::default().with("sum", SumAtEnd::default);
        let mut plan = PlanBuilder::default();
        let from = plan.source(&source, Some(watermark(0, None, 200)), 2);
        let sum = plan.operator("sum", vec![(from, Hash(vec![0]))], 3);
        plan.sink(
            Arc::new(FakeSink { delay: Duration::from_millis(1), ..FakeSink::default() }),
            sum,
            Rebalance,
            2,
        );
        let job = plan.start(Arc::new(SystemClock), &operators);
        thread::sleep(Duration::from_micros(micros));
        job.cancel();
        assert_eq!(job.wait(Some(TEST_TIMEOUT)), Some(Ok(())));
        assert_eq!(job.status(), JobStatus::Canceled);
    }
}

fn fails(operators: &Operators, source: &FakeSource, sink: FakeSink) -> Error {
    let mut plan = PlanBuilder::default();
    let from = plan.source(source, None, 2);
    let op = plan.operator("Op", vec![(from, Forward)], 2);
    let op = plan.operator("pass", vec![(op, Hash(vec![0]))], 3);
    plan.sink(Arc::new(sink), op, Forward, 3);
    let operators = operators.clone().with("pass", Recorder::default);
    let job = plan.start(Arc::new(SystemClock), &operators);
    let error = job.wait(Some(TEST_TIMEOUT)).expect("it ends").unwrap_err();
    assert_eq!(job.status(), JobStatus::Failed);
    error
}

#[test]
fn the_first_error_wins_and_names_its_operator() {
    let endless = |fail_after| {
        let source = FakeSource::failing(2, false, fail_after);
        (0..200).for_each(|n| source.push(n % 2, rows(&[(n as i64, 1)])));
        source
    };
    let pass = Operators::default().with("Op", Recorder::default);
    let error = fails(&pass, &endless(50), FakeSink::default());
    assert_eq!(error.message(), "Source(orders): The fake broker is gone.");
    assert_eq!(error.kind(), ErrorKind::External);

    let error = fails(&pass, &endless(usize::MAX), FakeSink { fail: true, ..FakeSink::default() });
    assert_eq!(error.message(), "Sink(out): The fake disk is full.");

    let bad = Operators::default().with("Op", || {
        Each(|batch| if values(&batch)[0] == 1 { Err(Error::user("Division by zero.")) } else { Ok(batch) })
    });
    let error = fails(&bad, &endless(usize::MAX), FakeSink::default());
    assert_eq!((error.message(), error.kind()), ("Op: Division by zero.", ErrorKind::User));

    let panics = Operators::default().with("Op", || Each(|_| panic!("index out of range")));
    let error = fails(&panics, &endless(usize::MAX), FakeSink::default());
    assert_eq!((error.message(), error.kind()), ("Op: panicked: index out of range", ErrorKind::Internal));
}

#[test]
fn limit_ends_an_unbounded_source() {
    let source = FakeSource::new(2, false);
    (0..100).for_each(|n| source.push(n % 2, rows(&[(0, n as i64), (0, n as i64)])));
    let (sink, collected) = collect();
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, None, 2);
    let limit = plan.limit(5, from);
    plan.sink(sink, limit, Forward, 1);
    let (got, result) = Running::new(plan, collected, &Operators::default()).drain();
    assert_eq!((got.len(), result), (5, Ok(())));
}

#[test]
fn late_rows_are_told_apart_when_watermarks_come_with_every_row() {
    let recorder = Recorder::default();
    let operators = Operators::default().with("seen", {
        let r = recorder.clone();
        move || r.clone()
    });
    let source = FakeSource::of(vec![vec![rows(&[
        (1000, 1),
        (4000, 2),
        (11_000, 3),
        (9000, 4),
        (12_000, 5),
        (8000, 6),
    ])]]);
    let (_, result) = run(&operators, |plan, sink| {
        let source = plan.source(&source, Some(watermark(2000, None, 0)), 1);
        let seen = plan.operator("seen", vec![(source, Forward)], 1);
        plan.sink(sink, seen, Forward, 1);
    });
    assert_eq!(result, Ok(()));
    use Seen::{Rows, Watermark as W};
    let expected = [Rows(vec![1, 2, 3]), W(9000), Rows(vec![4, 5]), W(10_000), Rows(vec![6]), W(i64::MAX)];
    assert_eq!(recorder.seen(), expected);
}

#[test]
fn periodic_watermarks_follow_the_clock() {
    let recorder = Recorder::default();
    let operators = Operators::default().with("seen", {
        let r = recorder.clone();
        move || r.clone()
    });
    let clock = MockClock::at(0);
    let source = FakeSource::new(1, true);
    let sink = FakeSink::default();
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, Some(watermark(0, None, 200)), 1);
    let seen = plan.operator("seen", vec![(from, Forward)], 1);
    plan.sink(Arc::new(sink.clone()), seen, Forward, 1);
    let job = plan.start(Arc::new(clock.clone()), &operators);
    until("running", || job.status() == JobStatus::Running);
    thread::sleep(Duration::from_millis(5));
    source.push(0, rows(&[(1, 1), (100, 2)]));
    source.push(0, rows(&[(50, 3)]));
    until("rows", || sink.rows.load(Ordering::SeqCst) == 3);
    assert!(recorder.watermarks().is_empty());
    clock.set(200);
    until("a watermark", || recorder.watermarks() == [100]);
    source.push(0, rows(&[(300, 4)]));
    source.finish(0);
    assert_eq!(job.wait(Some(TEST_TIMEOUT)), Some(Ok(())));
    assert_eq!(recorder.seen().last(), Some(&Seen::Watermark(i64::MAX)));
    assert_eq!(recorder.watermarks(), [100]);
}

/// The guide's example of idle shards: 16 shards, 8 events, parallelism 8, watermarks = event time - 1 ms.
/// What came behind the sessions.
fn shards(idle_timeout_ms: Option<u64>) -> Vec<Seen> {
    const START: i64 = 1_000_000;
    const EVENTS: [(usize, i64); 8] = [
        (1, 1648030822428),
        (10, 1648030809282),
        (14, 1648030797697),
        (14, 1648030810871),
        (8, 1648030834105),
        (12, 1648030794441),
        (12, 1648030796122),
        (12, 1648030887171),
    ];
    let (recorder, arrivals) = (Recorder::default(), Recorder::default());
    let operators = Operators::default()
        .with("before", {
            let arrivals = arrivals.clone();
            move || arrivals.clone()
        })
        .with("behind", {
            let recorder = recorder.clone();
            move || recorder.clone()
        });
    let clock = MockClock::at(START);
    let source = FakeSource::new(16, false);
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, Some(watermark(1, idle_timeout_ms, 200)), 8);
    let before = plan.operator("before", vec![(from, Single)], 1);
    let sessions = plan.sessions(10_000, before);
    let behind = plan.watch("behind", sessions);
    plan.sink(Arc::new(FakeSink::default()), behind, Forward, 1);
    let job = plan.start(Arc::new(clock.clone()), &operators);
    let splits = || job.progress().sources.remove(0).splits;
    until("16 shards", || splits().len() == 16);
    for (n, (shard, time)) in EVENTS.into_iter().enumerate() {
        clock.advance(300);
        source.push(shard, rows(&[(time, n as i64)]));
        until("the event", || {
            arrivals.seen().iter().filter(|s| matches!(s, Seen::Rows(_))).count() == n + 1
                && splits()
                    .iter()
                    .any(|s| s.split == format!("s{shard:02}") && s.watermark == Some(Watermark(time - 1)))
        });
    }
    let now = START + 300 * EVENTS.len() as i64;
    for ms in (now - now % 100..now + 20_000).step_by(100) {
        clock.set(ms);
        if let Some(timeout) = idle_timeout_ms {
            // Each shard became idle when it should, and its task has told it.
            let last_row = |shard: usize| {
                EVENTS.iter().rposition(|e| e.0 == shard).map_or(START, |n| START + 300 * (n as i64 + 1))
            };
            until("idle shards", || {
                splits().iter().enumerate().all(|(n, s)| s.idle || ms - last_row(n) < timeout as i64 + 200)
            });
        }
    }
    thread::sleep(Duration::from_millis(20));
    job.cancel();
    recorder.seen()
}

#[test]
fn idle_shards_as_in_the_guide() {
    assert!(shards(None).is_empty());
    let seen = shards(Some(15_000));
    // Each session comes before the watermark that fired it. That of event 8 never fires.
    let (mut fired, mut waiting) = (Vec::new(), Vec::new());
    for event in &seen {
        match event {
            Seen::Rows(counts) => waiting.extend(counts),
            Seen::Watermark(w) => fired.extend(waiting.drain(..).map(|count: &i64| (*count, *w))),
        }
    }
    let expected = [(3, 1648030809281), (2, 1648030834104), (1, 1648030834104), (1, 1648030887170)];
    assert_eq!(fired, expected, "{seen:?}");
}

#[test]
fn progress_tells_why_there_is_no_output() {
    let source = FakeSource::new(2, false);
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, Some(watermark(0, None, 200)), 1);
    plan.sink(Arc::new(FakeSink::default()), from, Forward, 1);
    let job = plan.start(Arc::new(SystemClock), &Operators::default());
    until("a status", || {
        job.progress().silence == ["No rows have come from orders yet: the test feeds it by hand."]
    });
    source.push(0, rows(&[(5, 5)]));
    until("a row", || job.progress().rows_in == 1 && job.progress().rows_out == 1);
    assert_eq!(job.progress().watermark, None);
    source.push(1, rows(&[(3, 5)]));
    until("a watermark", || job.progress().watermark == Some(Watermark(3)));
    assert_eq!(job.progress().silence, [""; 0]);
    assert_eq!(job.id().len(), 32);
}

#[test]
fn an_open_window_says_what_it_waits_for() {
    let source = FakeSource::new(1, false);
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, Some(watermark(0, None, 200)), 1);
    let sessions = plan.sessions(10_000, from);
    plan.sink(Arc::new(FakeSink::default()), sessions, Forward, 1);
    let job = plan.start(Arc::new(SystemClock), &Operators::default());
    source.push(0, rows(&[(5000, 1)]));
    until("an open window", || job.progress().open_windows == 1 && job.progress().watermark.is_some());
    let progress = job.progress();
    assert_eq!((progress.next_fire, progress.watermark), (Some(Watermark(14_999)), Some(Watermark(5000))));
    assert_eq!(
        progress.silence,
        ["1 window waits; the next fires when the watermark reaches 1970-01-01 00:00:14.999, it is at \
          1970-01-01 00:00:05.000."]
    );
    source.push(0, rows(&[(20_000, 2)]));
    source.push(0, rows(&[(1000, 2)]));
    until("a result", || job.progress().rows_out == 1);
}

#[test]
fn children_of_a_closed_split_are_known_before_time_moves_on() {
    // Split 0 ends and split 2 follows it, while split 1 is far ahead.
    let source = FakeSource::with_children(vec![vec![], vec![], vec![0]]);
    let recorder = Recorder::default();
    let operators = Operators::default().with("seen", {
        let recorder = recorder.clone();
        move || recorder.clone()
    });
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, Some(watermark(0, None, 0)), 1);
    let seen = plan.operator("seen", vec![(from, Forward)], 1);
    plan.sink(Arc::new(FakeSink::default()), seen, Forward, 1);
    source.push(1, rows(&[(9000, 1)]));
    source.push(0, rows(&[(10, 2)]));
    source.finish(0);
    source.push(2, rows(&[(20, 3)]));
    let job = plan.start(Arc::new(SystemClock), &operators);
    until("the child's rows", || recorder.watermarks().last() == Some(&20));
    assert_eq!(recorder.watermarks(), [10, 20]);
    source.finish(2);
    until("the other split", || recorder.watermarks().last() == Some(&9000));
    job.cancel();
    assert_eq!(job.wait(Some(TEST_TIMEOUT)), Some(Ok(())));
}

#[test]
fn a_split_that_cannot_be_read_for_backpressure_is_not_idle() {
    let clock = MockClock::at(0);
    let source = FakeSource::new(2, false);
    let mut plan = PlanBuilder::default();
    let from = plan.source(&source, Some(watermark(0, Some(1000), 200)), 1);
    // Each batch takes a minute downstream.
    let op = plan.operator("slow", vec![(from, Forward)], 1);
    let seen = plan.operator("seen", vec![(op, Forward)], 1);
    plan.sink(Arc::new(FakeSink::default()), seen, Forward, 1);
    let recorder = Recorder::default();
    let operators = Operators::default()
        .with("slow", {
            let clock = clock.clone();
            move || {
                let clock = clock.clone();
                Each(move |batch| {
                    clock.advance(60_000);
                    Ok(batch)
                })
            }
        })
        .with("seen", {
            let recorder = recorder.clone();
            move || recorder.clone()
        });
    (0..5).for_each(|n| source.push(0, rows(&[(n, 1)])));
    let job = plan.start(Arc::new(clock.clone()), &operators);
    until("the rows", || job.progress().rows_out == 5);
    thread::sleep(Duration::from_millis(10));
    assert!(recorder.watermarks().is_empty());
    clock.advance(1000);
    until("idleness", || recorder.watermarks() == [4]);
}
