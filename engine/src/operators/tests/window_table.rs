//! Window functions without an aggregate.

use crate::operators::WindowTable;
use crate::operators::testing::{Harness, schema};
use crate::plan::{TimeAttribute, WindowTableNode};
use crate::time::WindowSpec;
use chrono_tz::Tz;
use expect_test::expect;

const MIN: i64 = 60_000;

fn harness(window: WindowSpec, time: TimeAttribute, zone: Option<Tz>, keys: &[usize]) -> Harness {
    let ltz = if zone.is_some() { "TIMESTAMP_LTZ" } else { "TIMESTAMP" };
    let input = schema(&format!("ts {ltz}, k STRING"));
    let output = schema(&format!("ts {ltz}, k STRING, ws TIMESTAMP, we TIMESTAMP, wt {ltz}"));
    let node = WindowTableNode { window, time, keys: keys.to_vec(), zone };
    let make = {
        let input = input.clone();
        move || WindowTable::new(&node, input.clone(), output.clone()).unwrap()
    };
    Harness::restoring(make, &[input], &[keys])
}

const ROWTIME: TimeAttribute = TimeAttribute::Rowtime { column: 0 };

#[test]
fn a_row_for_each_window_the_latest_first_and_never_late() {
    let mut h = harness(WindowSpec::Hop { slide: 4 * MIN, size: 10 * MIN, offset: 0 }, ROWTIME, None, &[]);
    h.watermark("09:00").rows("08:05 C\n NULL D\n 08:07 é");
    expect![[r#"
        +I 08:05:00 C 08:04:00 08:14:00 08:13:59.999
        +I 08:05:00 C 08:00:00 08:10:00 08:09:59.999
        +I 08:05:00 C 07:56:00 08:06:00 08:05:59.999
        +I 08:07:00 é 08:04:00 08:14:00 08:13:59.999
        +I 08:07:00 é 08:00:00 08:10:00 08:09:59.999
    "#]]
    .assert_eq(&h.take());
    assert_eq!(h.status().null_time_rows, 1);
}

#[test]
fn row_kinds_stay() {
    let mut h = harness(WindowSpec::Tumble { size: 10 * MIN, offset: 0 }, ROWTIME, None, &[]);
    expect![[r#"
        +I 08:05:00 a 08:00:00 08:10:00 08:09:59.999
        -D 08:15:00 b 08:10:00 08:20:00 08:19:59.999
    "#]]
    .assert_eq(&h.rows("08:05 a\n -D 08:15 b").take());
}

#[test]
fn cumulating_windows_come_from_the_shortest() {
    let mut h =
        harness(WindowSpec::Cumulate { step: 4 * MIN, size: 12 * MIN, offset: 0 }, ROWTIME, None, &[]);
    expect![[r#"
        +I 00:05:00 a 00:00:00 00:08:00 00:07:59.999
        +I 00:05:00 a 00:00:00 00:12:00 00:11:59.999
    "#]]
    .assert_eq(&h.rows("00:05 a").take());
}

#[test]
fn processing_time_is_the_clock() {
    let tokyo = Some(Tz::Asia__Tokyo);
    let mut h =
        harness(WindowSpec::Tumble { size: 24 * 60 * MIN, offset: 0 }, TimeAttribute::Proctime, tokyo, &[]);
    h.clock("20:00").rows("NULL a");
    expect![[r#"
        +I NULL a 1970-01-02T00:00:00 1970-01-03T00:00:00 1970-01-02T14:59:59.999
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn sessions_give_their_rows_when_they_close() {
    let mut h = harness(WindowSpec::Session { gap: 5000 }, ROWTIME, None, &[1]);
    h.rows("00:00:01 a\n 00:00:09 a\n 00:00:02 b\n NULL a").watermark("00:00:03");
    h.rows("00:00:05 a\n 00:00:03 b");
    assert_eq!(h.take(), "");
    expect![[r#"
        +I 00:00:02 b 00:00:02 00:00:08 00:00:07.999
        +I 00:00:03 b 00:00:02 00:00:08 00:00:07.999
    "#]]
    .assert_eq(&h.watermark("00:00:08").take());
    h.rows("00:00:02 b");
    assert_eq!((h.status().late_rows, h.status().null_time_rows, h.status().open_windows), (1, 1, 1));
    expect![[r#"
        +I 00:00:01 a 00:00:01 00:00:14 00:00:13.999
        +I 00:00:09 a 00:00:01 00:00:14 00:00:13.999
        +I 00:00:05 a 00:00:01 00:00:14 00:00:13.999
    "#]]
    .assert_eq(&h.end().take());
    assert_eq!(h.status().open_windows, 0);
}
