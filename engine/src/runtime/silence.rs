//! Why a query has no output: from a snapshot of its counters to sentences, worst first. Pure.

use crate::time::Watermark;

/// A split without rows for less than this is not blamed.
const BLAME_AFTER_MS: i64 = 2_000;
/// Idle timeout that the advice names.
const ADVISED_TIMEOUT: &str = "10 s";

/// What the tasks of a job last told.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) sources: Vec<SourceSnapshot>,
    pub(super) rows_out: u64,
    pub(super) late_rows: u64,
    pub(super) skipped_rows: u64,
    pub(super) null_time_rows: u64,
    pub(super) open_windows: u64,
    pub(super) next_fire: Option<Watermark>,
    /// Event time at the windows, or at the sinks if there are none.
    pub(super) watermark: Option<Watermark>,
}

/// One source.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceSnapshot {
    pub(super) table: String,
    pub(super) rows: u64,
    pub(super) has_watermark: bool,
    pub(super) idle_timeout_ms: Option<u64>,
    pub(super) ended: bool,
    pub(super) waits_for: Option<String>,
    pub(super) splits: Vec<SplitSnapshot>,
}

/// One split of a source.
#[derive(Debug, Clone, Default)]
pub(super) struct SplitSnapshot {
    pub(super) split: String,
    pub(super) watermark: Option<Watermark>,
    pub(super) idle: bool,
    /// Processing time since its last row, or since it was assigned.
    pub(super) silent_ms: i64,
}

/// What holds the output back, in sentences, worst first. Empty if nothing does.
pub(super) fn explain(job: &Snapshot) -> Vec<String> {
    let mut reasons = Vec::new();
    for source in &job.sources {
        reasons.extend(no_rows(source));
    }
    let windows = job.open_windows > 0;
    // Windows without such a time wait for the clock, which needs no explanation.
    let time_matters = windows && job.next_fire.is_some();
    if time_matters {
        for source in job.sources.iter().filter(|s| s.rows > 0 && !s.ended) {
            reasons.extend(no_time(source));
        }
        reasons.push(waiting_windows(job));
    }
    let read: u64 = job.sources.iter().map(|s| s.rows).sum();
    if read > 0 && job.rows_out == 0 && !windows {
        let lost = job.late_rows + job.null_time_rows;
        if lost == 0 {
            reasons.push(format!(
                "{} read, and none has come through the query's filters and joins.",
                were(read, "row")
            ));
        }
    }
    if job.late_rows > 0 {
        reasons.push(format!(
            "{} dropped as late: the windows had fired. A greater delay in WATERMARK FOR … AS … - INTERVAL lets them in.",
            were(job.late_rows, "row")
        ));
    }
    if job.null_time_rows > 0 {
        reasons.push(format!("{} dropped because the event time is NULL.", were(job.null_time_rows, "row")));
    }
    if job.skipped_rows > 0 {
        reasons.push(format!(
            "{} skipped: not readable in the table's format.",
            were(job.skipped_rows, "record")
        ));
    }
    reasons
}

fn no_rows(source: &SourceSnapshot) -> Option<String> {
    if source.rows > 0 {
        return None;
    }
    let table = &source.table;
    if source.ended {
        return Some(format!("{table} has reached its end and had no rows."));
    }
    Some(match &source.waits_for {
        Some(what) => format!("No rows have come from {table} yet: {what}."),
        None => format!("No rows have come from {table} yet."),
    })
}

/// Why event time does not move on in `source`, whose rows windows wait for.
fn no_time(source: &SourceSnapshot) -> Option<String> {
    let table = &source.table;
    if !source.has_watermark {
        return Some(format!(
            "{table} declares no watermark, so event time stands still until it ends. Add WATERMARK FOR … to its columns."
        ));
    }
    let holder = source.splits.iter().filter(|s| !s.idle).min_by_key(|s| (s.watermark, -s.silent_ms));
    let Some(holder) = holder else {
        let furthest = source.splits.iter().filter_map(|s| s.watermark).max()?;
        return Some(format!(
            "All splits of {table} are idle, so event time stands still at {furthest} until rows come: idleness lets \
             other tables go on, it does not make time."
        ));
    };
    if holder.silent_ms < BLAME_AFTER_MS {
        return None;
    }
    let split = format!("Split {} of {table}", holder.split);
    let silence = duration(holder.silent_ms);
    let held = match holder.watermark {
        Some(watermark) => {
            format!("{split} has had no rows for {silence} and holds the watermark at {watermark}.")
        }
        None => format!("{split} has had no rows at all for {silence}, so there is no watermark."),
    };
    let advice = match source.idle_timeout_ms {
        Some(timeout) => {
            format!("It is left out as idle in {}.", duration((timeout as i64 - holder.silent_ms).max(0)))
        }
        None if source.splits.len() == 1 => "Event time moves on with the next row.".to_string(),
        None => {
            format!("SET 'table.exec.source.idle-timeout' = '{ADVISED_TIMEOUT}' leaves silent splits out.")
        }
    };
    Some(format!("{held} {advice}"))
}

fn waiting_windows(job: &Snapshot) -> String {
    let (noun, verb) = if job.open_windows == 1 { ("window", "waits") } else { ("windows", "wait") };
    let mut text = format!("{} {noun} {verb}", job.open_windows);
    match (job.next_fire, job.watermark) {
        (Some(fire), Some(now)) => {
            text += &format!("; the next fires when the watermark reaches {fire}, it is at {now}.");
        }
        (Some(fire), None) => {
            text += &format!("; the next fires when the watermark reaches {fire}, there is none yet.");
        }
        (None, _) => {}
    }
    text
}

/// `1 row was`, `41 rows were`.
fn were(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun} was") } else { format!("{n} {noun}s were") }
}

/// `800 ms`, `12 s`, `3 min 5 s`, `2 h 10 min`.
fn duration(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=59 => format!("{seconds} s"),
        60..=3599 if seconds % 60 == 0 => format!("{} min", seconds / 60),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn orders(splits: Vec<SplitSnapshot>) -> SourceSnapshot {
        SourceSnapshot { table: "orders".into(), rows: 99, has_watermark: true, splits, ..Default::default() }
    }

    fn split(name: &str, watermark: Option<i64>, silent_ms: i64, idle: bool) -> SplitSnapshot {
        SplitSnapshot { split: name.into(), watermark: watermark.map(Watermark), idle, silent_ms }
    }

    fn check(job: &Snapshot, expected: Expect) {
        expected.assert_eq(&explain(job).join("\n"));
    }

    fn windows(source: SourceSnapshot) -> Snapshot {
        Snapshot {
            sources: vec![source],
            open_windows: 3,
            next_fire: Some(Watermark(1_577_872_859_999)),
            watermark: Some(Watermark(1_577_872_805_000)),
            ..Default::default()
        }
    }

    const AT: i64 = 1_577_872_805_000;

    #[test]
    fn a_flowing_query_has_nothing_to_explain() {
        let job = Snapshot {
            sources: vec![orders(vec![split("0", Some(1), 9_000, false)])],
            rows_out: 4,
            ..Default::default()
        };
        check(&job, expect![[""]]);
    }

    #[test]
    fn the_split_that_holds_time_is_named() {
        let splits = vec![
            split("orders-1", Some(AT + 50_000), 100, false),
            split("orders-3", Some(AT), 12_000, false),
        ];
        check(
            &windows(orders(splits.clone())),
            expect![[r#"
            Split orders-3 of orders has had no rows for 12 s and holds the watermark at 2020-01-01 10:00:05.000. SET 'table.exec.source.idle-timeout' = '10 s' leaves silent splits out.
            3 windows wait; the next fires when the watermark reaches 2020-01-01 10:00:59.999, it is at 2020-01-01 10:00:05.000."#]],
        );
        let with_timeout = SourceSnapshot { idle_timeout_ms: Some(15_000), ..orders(splits) };
        check(
            &windows(with_timeout),
            expect![[r#"
            Split orders-3 of orders has had no rows for 12 s and holds the watermark at 2020-01-01 10:00:05.000. It is left out as idle in 3 s.
            3 windows wait; the next fires when the watermark reaches 2020-01-01 10:00:59.999, it is at 2020-01-01 10:00:05.000."#]],
        );
    }

    #[test]
    fn a_split_without_any_row_is_worse_than_a_slow_one() {
        let splits = vec![split("a", Some(AT), 60_000, false), split("b", None, 185_000, false)];
        let job = Snapshot { watermark: None, open_windows: 1, ..windows(orders(splits)) };
        check(
            &job,
            expect![[r#"
            Split b of orders has had no rows at all for 3 min 5 s, so there is no watermark. SET 'table.exec.source.idle-timeout' = '10 s' leaves silent splits out.
            1 window waits; the next fires when the watermark reaches 2020-01-01 10:00:59.999, there is none yet."#]],
        );
    }

    #[test]
    fn the_only_split_needs_rows_not_a_setting() {
        check(
            &windows(orders(vec![split("f", Some(AT), 7_200_000, false)])),
            expect![[r#"
            Split f of orders has had no rows for 2 h 0 min and holds the watermark at 2020-01-01 10:00:05.000. Event time moves on with the next row.
            3 windows wait; the next fires when the watermark reaches 2020-01-01 10:00:59.999, it is at 2020-01-01 10:00:05.000."#]],
        );
    }

    #[test]
    fn all_idle_and_no_watermark_at_all() {
        check(
            &windows(orders(vec![split("f", Some(AT), 20_000, true)])),
            expect![[r#"
            All splits of orders are idle, so event time stands still at 2020-01-01 10:00:05.000 until rows come: idleness lets other tables go on, it does not make time.
            3 windows wait; the next fires when the watermark reaches 2020-01-01 10:00:59.999, it is at 2020-01-01 10:00:05.000."#]],
        );
        let job = windows(SourceSnapshot { has_watermark: false, ..orders(vec![]) });
        assert!(explain(&job)[0].starts_with("orders declares no watermark"));
    }

    #[test]
    fn windows_of_processing_time_wait_for_the_clock() {
        let job = Snapshot { next_fire: None, ..windows(orders(vec![split("f", None, 60_000, false)])) };
        check(&job, expect![[""]]);
    }

    #[test]
    fn no_rows_late_rows_and_broken_rows() {
        let silent = SourceSnapshot {
            rows: 0,
            waits_for: Some("partition 3 of t: at its end".into()),
            ..orders(vec![])
        };
        let ended = SourceSnapshot { rows: 0, ended: true, table: "rates".into(), ..Default::default() };
        let job = Snapshot {
            sources: vec![silent, ended],
            late_rows: 41,
            skipped_rows: 1,
            null_time_rows: 2,
            ..Default::default()
        };
        check(
            &job,
            expect![[r#"
            No rows have come from orders yet: partition 3 of t: at its end.
            rates has reached its end and had no rows.
            41 rows were dropped as late: the windows had fired. A greater delay in WATERMARK FOR … AS … - INTERVAL lets them in.
            2 rows were dropped because the event time is NULL.
            1 record was skipped: not readable in the table's format."#]],
        );
        let filtered = Snapshot { sources: vec![orders(vec![])], ..Default::default() };
        check(
            &filtered,
            expect!["99 rows were read, and none has come through the query's filters and joins."],
        );
    }
}
