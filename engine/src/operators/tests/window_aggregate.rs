//! Window aggregates: Flink's cases, late rows, zones, processing time.

use crate::operators::WindowAggregate;
use crate::operators::testing::{Harness, calls, schema};
use crate::plan::{TimeAttribute, WindowAggregateNode, WindowInput, WindowProperty};
use crate::time::WindowSpec;
use chrono_tz::Tz;
use expect_test::{Expect, expect};

const MIN: i64 = 60_000;

/// The bids of Flink's documentation, with a watermark of 1 s behind after each row.
const BIDS: &str = "
    08:05 4 C s1
    08:07 2 A s1
    08:09 5 D s2
    08:11 3 B s2
    08:13 1 E s1
    08:17 6 F s2";

fn assign(window: WindowSpec) -> WindowInput {
    WindowInput::Assign { window, time: TimeAttribute::Rowtime { column: 0 }, zone: None }
}

fn harness(input: &str, windows: WindowInput, keys: &[usize], output: &str, aggregates: &str) -> Harness {
    changing(input, windows, keys, output, aggregates, false)
}

/// As `harness`, over rows that may be taken back if `retracts`.
fn changing(
    input: &str,
    windows: WindowInput,
    keys: &[usize],
    output: &str,
    aggregates: &str,
    retracts: bool,
) -> Harness {
    let (input, output) = (schema(input), schema(output));
    let node = WindowAggregateNode {
        input: windows,
        keys: keys.to_vec(),
        aggregates: calls(aggregates, &output, keys.len()),
        properties: vec![WindowProperty::Start, WindowProperty::End],
        retracts,
    };
    let make = {
        let input = input.clone();
        move || WindowAggregate::new(&node, input.clone(), output.clone()).unwrap()
    };
    Harness::restoring(make, &[input], &[keys])
}

/// Sums of the bids' prices, watermarks row by row.
fn bids(window: WindowSpec, expected: Expect) {
    let output = "s INT, start TIMESTAMP, end TIMESTAMP";
    let mut h =
        harness("ts TIMESTAMP, price INT, item STRING, sid STRING", assign(window), &[], output, "sum(1)");
    per_row(&mut h, BIDS, 1000);
    expected.assert_eq(&h.end().take());
}

fn per_row(h: &mut Harness, rows: &str, delay: i64) {
    let mut watermark = i64::MIN;
    for row in rows.trim().lines() {
        h.rows(row);
        let time = crate::operators::testing::ms(row.split_whitespace().next().unwrap());
        watermark = watermark.max(time - delay);
        h.watermark_ms(watermark);
    }
}

#[test]
fn tumble() {
    bids(
        WindowSpec::Tumble { size: 10 * MIN, offset: 0 },
        expect![[r#"
        +I 11 08:00:00 08:10:00
        +I 10 08:10:00 08:20:00
    "#]],
    );
    bids(
        WindowSpec::Tumble { size: 7 * MIN, offset: 0 },
        expect![[r#"
            +I 11 08:03:00 08:10:00
            +I 4 08:10:00 08:17:00
            +I 6 08:17:00 08:24:00
        "#]],
    );
    bids(
        WindowSpec::Tumble { size: 10 * MIN, offset: 3 * MIN },
        expect![[r#"
        +I 14 08:03:00 08:13:00
        +I 7 08:13:00 08:23:00
    "#]],
    );
    bids(
        WindowSpec::Tumble { size: 10 * MIN, offset: -3 * MIN },
        expect![[r#"
        +I 4 07:57:00 08:07:00
        +I 11 08:07:00 08:17:00
        +I 6 08:17:00 08:27:00
    "#]],
    );
}

#[test]
fn hop() {
    bids(
        WindowSpec::Hop { slide: 5 * MIN, size: 10 * MIN, offset: 0 },
        expect![[r#"
        +I 11 08:00:00 08:10:00
        +I 15 08:05:00 08:15:00
        +I 10 08:10:00 08:20:00
        +I 6 08:15:00 08:25:00
    "#]],
    );
    bids(
        WindowSpec::Hop { slide: 4 * MIN, size: 10 * MIN, offset: 0 },
        expect![[r#"
        +I 4 07:56:00 08:06:00
        +I 11 08:00:00 08:10:00
        +I 15 08:04:00 08:14:00
        +I 15 08:08:00 08:18:00
        +I 7 08:12:00 08:22:00
        +I 6 08:16:00 08:26:00
    "#]],
    );
    bids(
        WindowSpec::Hop { slide: 10 * MIN, size: 5 * MIN, offset: 0 },
        expect![[r#"
        +I 4 08:10:00 08:15:00
    "#]],
    );
}

#[test]
fn cumulate_tells_every_step_after_the_first_row() {
    bids(
        WindowSpec::Cumulate { step: 2 * MIN, size: 10 * MIN, offset: 0 },
        expect![[r#"
        +I 4 08:00:00 08:06:00
        +I 6 08:00:00 08:08:00
        +I 11 08:00:00 08:10:00
        +I 3 08:10:00 08:12:00
        +I 4 08:10:00 08:14:00
        +I 4 08:10:00 08:16:00
        +I 10 08:10:00 08:18:00
        +I 10 08:10:00 08:20:00
    "#]],
    );
}

#[test]
fn session() {
    bids(
        WindowSpec::Session { gap: 3 * MIN },
        expect![[r#"
        +I 15 08:05:00 08:16:00
        +I 6 08:17:00 08:20:00
    "#]],
    );
    let output = "sid STRING, n BIGINT, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Session { gap: 3 * MIN });
    let mut h = harness("ts TIMESTAMP, price INT, item STRING, sid STRING", windows, &[3], output, "count()");
    per_row(&mut h, BIDS, 1000);
    expect![[r#"
        +I s1 2 08:05:00 08:10:00
        +I s2 2 08:09:00 08:14:00
        +I s1 1 08:13:00 08:16:00
        +I s2 1 08:17:00 08:20:00
    "#]]
    .assert_eq(&h.end().take());
}

#[test]
fn sessions_that_touch_are_one() {
    let output = "u STRING, n BIGINT, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Session { gap: 5000 });
    let mut h = harness("ts TIMESTAMP, u STRING", windows, &[1], output, "count()");
    per_row(&mut h, "00:00:00 u1\n 00:00:05 u1\n 00:00:10 u1\n 00:00:15.001 u1\n 00:00:16 u2", 0);
    expect![[r#"
        +I u1 3 00:00:00 00:00:15
        +I u1 1 00:00:15.001 00:00:20.001
        +I u2 1 00:00:16 00:00:21
    "#]]
    .assert_eq(&h.end().take());
}

fn sessions() -> Harness {
    let output = "u STRING, n BIGINT, s INT, max INT, d BIGINT, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Session { gap: 5000 });
    harness(
        "ts TIMESTAMP, u STRING, v INT",
        windows,
        &[1],
        output,
        "count(), sum(2), max(2), count(distinct 2)",
    )
}

#[test]
fn a_row_out_of_order_bridges_two_sessions() {
    let mut h = sessions();
    h.rows("00:00:10 a 1\n 00:00:20 a 1\n 00:00:10 b 9").rows("00:00:11 a 2\n 00:00:15 a 3\n 00:00:21 a 4");
    assert_eq!(h.status().open_windows, 2);
    expect![[r#"
        +I b 1 9 9 1 00:00:10 00:00:15
        +I a 5 11 4 4 00:00:10 00:00:26
    "#]]
    .assert_eq(&h.end().take());
    assert_eq!(h.status().open_windows, 0);
}

#[test]
fn two_bridges_in_one_batch() {
    let mut h = sessions();
    h.rows("00:00:10 a 1\n 00:00:20 a 2\n 00:00:30 a 3");
    assert_eq!(h.status().open_windows, 3);
    h.rows("00:00:25 a 4\n 00:00:15 a 5");
    assert_eq!(h.status().open_windows, 1);
    assert_eq!(h.end().take(), "+I a 5 15 5 5 00:00:10 00:00:35\n");
}

#[test]
fn a_row_is_late_only_after_merging() {
    let mut h = sessions();
    h.rows("00:00:10 a 1").watermark("00:00:14");
    // 00:00:08 alone would be past at 00:00:12.999, but it joins an open session; for b it is late.
    h.rows("00:00:08 a 1\n 00:00:08 b 1\n NULL b 1");
    assert_eq!((h.status().late_rows, h.status().null_time_rows), (1, 1));
    assert_eq!(h.status().next_fire_ms, Some(14_999));
    expect![[r#"
        +I a 2 2 1 1 00:00:08 00:00:15
    "#]]
    .assert_eq(&h.watermark("00:00:14.999").take());
    h.rows("00:00:10 a 1");
    assert_eq!(h.status().late_rows, 2);
    assert_eq!(h.end().take(), "");
}

/// Rows of `L` in flink-sql.md §8: watermark 2 s behind.
const LATE: &str = "
    00:00:01 a 1
    00:00:04 b 2
    00:00:11 c 3
    00:00:09 d 4
    00:00:12 e 5
    00:00:08 f 6
    00:00:13 g 7
    00:00:12 h 8";

#[test]
fn rows_are_late_when_all_their_windows_have_been_told() {
    let output = "n BIGINT, ids STRING, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Tumble { size: 10_000, offset: 0 });
    let mut h = harness("ts TIMESTAMP, id STRING, v INT", windows, &[], output, "count(), listagg(1)");
    per_row(&mut h, LATE, 2000);
    assert_eq!(h.status().late_rows, 1);
    expect![[r#"
        +I 3 a,b,d 00:00:00 00:00:10
        +I 4 c,e,g,h 00:00:10 00:00:20
    "#]]
    .assert_eq(&h.end().take());
}

#[test]
fn rows_late_for_some_windows_count_in_the_others() {
    let output = "n BIGINT, ids STRING, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Hop { slide: 5000, size: 10_000, offset: 0 });
    let mut h = harness("ts TIMESTAMP, id STRING, v INT", windows, &[], output, "count(), listagg(1)");
    per_row(&mut h, LATE, 2000);
    assert_eq!(h.status().late_rows, 0);
    expect![[r#"
        +I 2 a,b -00:00:05 00:00:05
        +I 3 d,a,b 00:00:00 00:00:10
        +I 6 c,e,g,h,d,f 00:00:05 00:00:15
        +I 4 c,e,g,h 00:00:10 00:00:20
    "#]]
    .assert_eq(&h.end().take().replace("1969-12-31T23:59:55", "-00:00:05"));
    let output = "n BIGINT, ids STRING, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Cumulate { step: 5000, size: 15_000, offset: 0 });
    let mut h = harness("ts TIMESTAMP, id STRING, v INT", windows, &[], output, "count(), listagg(1)");
    per_row(&mut h, LATE, 2000);
    assert_eq!(h.status().late_rows, 0);
    expect![[r#"
        +I 2 a,b 00:00:00 00:00:05
        +I 3 a,b,d 00:00:00 00:00:10
        +I 8 a,b,d,f,c,e,g,h 00:00:00 00:00:15
    "#]]
    .assert_eq(&h.end().take());
}

#[test]
fn first_and_last_values_of_slices_are_those_of_time() {
    let output = "first STRING, last STRING, start TIMESTAMP, end TIMESTAMP";
    let windows = assign(WindowSpec::Hop { slide: 5000, size: 15_000, offset: 0 });
    let mut h = harness("ts TIMESTAMP, id STRING", windows, &[], output, "first_value(1), last_value(1)");
    h.rows("00:00:11 c\n 00:00:01 a\n 00:00:06 b").watermark("00:00:14.998");
    h.take();
    assert_eq!(h.watermark("00:00:14.999").take(), "+I a c 00:00:00 00:00:15\n");
}

#[test]
fn windows_that_rows_carry() {
    let windows = WindowInput::Attached { start: 1, end: 2, zone: None };
    let output = "k STRING, n BIGINT, start TIMESTAMP, end TIMESTAMP";
    let mut h = harness("k STRING, ws TIMESTAMP, we TIMESTAMP", windows, &[0], output, "count()");
    h.rows("ä 00:00 00:10\n NULL 00:05 00:15\n ä 00:00 00:10\n ä 00:05 00:15\n a NULL 00:10\n a 00:00 NULL");
    assert_eq!(h.status().null_time_rows, 2);
    assert_eq!(h.watermark("00:09:59.998").take(), "");
    assert_eq!(h.watermark("00:09:59.999").take(), "+I ä 2 00:00:00 00:10:00\n");
    h.rows("ä 00:00 00:10\n ä 00:02 00:12");
    assert_eq!((h.status().late_rows, h.status().open_windows), (1, 2));
    expect![[r#"
        +I ä 1 00:02:00 00:12:00
        +I NULL 1 00:05:00 00:15:00
        +I ä 1 00:05:00 00:15:00
    "#]]
    .assert_eq(&h.end().take());
}

fn zoned(window: WindowSpec, zone: Tz) -> Harness {
    let (input, output) =
        (schema("ts TIMESTAMP_LTZ"), schema("n BIGINT, start TIMESTAMP, end TIMESTAMP, t TIMESTAMP_LTZ"));
    let node = WindowAggregateNode {
        input: WindowInput::Assign { window, time: TimeAttribute::Rowtime { column: 0 }, zone: Some(zone) },
        keys: vec![],
        aggregates: calls("count()", &output, 0),
        properties: vec![WindowProperty::Start, WindowProperty::End, WindowProperty::Rowtime],
        retracts: false,
    };
    let make = {
        let input = input.clone();
        move || WindowAggregate::new(&node, input.clone(), output.clone()).unwrap()
    };
    Harness::restoring(make, &[input], &[&[]])
}

#[test]
fn days_begin_at_midnight_of_the_zone() {
    let mut h = zoned(WindowSpec::Tumble { size: 24 * 60 * MIN, offset: 0 }, Tz::Asia__Shanghai);
    h.rows("00:00\n 20:00");
    expect![[r#"
        +I 1 00:00:00 1970-01-02T00:00:00 15:59:59.999
        +I 1 1970-01-02T00:00:00 1970-01-03T00:00:00 1970-01-02T15:59:59.999
    "#]]
    .assert_eq(&h.end().take());
}

// Flink with table.local-time-zone = America/Los_Angeles.
#[test]
fn summer_time_comes_and_goes() {
    let spring = "2021-03-14T08:30\n 2021-03-14T09:30\n 2021-03-14T10:30\n 2021-03-14T11:30";
    let autumn =
        "2021-11-07T07:30\n 2021-11-07T08:30\n 2021-11-07T09:30\n 2021-11-07T10:30\n 2021-11-07T11:30";
    let mut h = zoned(WindowSpec::Tumble { size: 60 * MIN, offset: 0 }, Tz::America__Los_Angeles);
    h.rows(spring).rows(autumn);
    // 01:00 to 02:00 is over when it is for the second time.
    h.watermark("2021-11-07T08:59:59.999");
    expect![[r#"
        +I 1 2021-03-14T00:00:00 2021-03-14T01:00:00 2021-03-14T08:59:59.999
        +I 1 2021-03-14T01:00:00 2021-03-14T02:00:00 2021-03-14T09:59:59.999
        +I 1 2021-03-14T03:00:00 2021-03-14T04:00:00 2021-03-14T10:59:59.999
        +I 1 2021-03-14T04:00:00 2021-03-14T05:00:00 2021-03-14T11:59:59.999
        +I 1 2021-11-07T00:00:00 2021-11-07T01:00:00 2021-11-07T07:59:59.999
    "#]]
    .assert_eq(&h.take());
    expect![[r#"
        +I 2 2021-11-07T01:00:00 2021-11-07T02:00:00 2021-11-07T08:59:59.999
        +I 1 2021-11-07T02:00:00 2021-11-07T03:00:00 2021-11-07T10:59:59.999
        +I 1 2021-11-07T03:00:00 2021-11-07T04:00:00 2021-11-07T11:59:59.999
    "#]]
    .assert_eq(&h.end().take());
    let mut h = zoned(WindowSpec::Session { gap: 70 * MIN }, Tz::America__Los_Angeles);
    expect![[r#"
        +I 2 2021-03-14T00:30:00 2021-03-14T02:40:00 2021-03-14T10:39:59.999
        +I 2 2021-03-14T03:30:00 2021-03-14T05:40:00 2021-03-14T12:39:59.999
        +I 5 2021-11-07T00:30:00 2021-11-07T04:40:00 2021-11-07T12:39:59.999
    "#]]
    .assert_eq(&h.rows(spring).rows(autumn).end().take());
}

fn proctime(window: WindowSpec) -> Harness {
    let windows = WindowInput::Assign { window, time: TimeAttribute::Proctime, zone: None };
    let output = "n BIGINT, s INT, start TIMESTAMP, end TIMESTAMP";
    harness("v INT", windows, &[], output, "count(), sum(0)")
}

#[test]
fn processing_time_windows_follow_the_clock_and_not_the_end_of_input() {
    let mut h = proctime(WindowSpec::Tumble { size: 10_000, offset: 0 });
    h.clock("00:00:03").rows("1\n 2").clock("00:00:09.999").rows("3");
    assert_eq!(h.take(), "");
    assert_eq!(h.clock("00:00:10").take(), "+I 3 6 00:00:00 00:00:10\n");
    h.rows("4");
    assert_eq!(h.end().take(), "");

    let mut h = proctime(WindowSpec::Hop { slide: 5000, size: 10_000, offset: 0 });
    h.clock("00:00:06").rows("1").clock("00:00:12").rows("2").clock("00:01:00");
    expect![[r#"
        +I 1 1 00:00:00 00:00:10
        +I 2 3 00:00:05 00:00:15
        +I 1 2 00:00:10 00:00:20
    "#]]
    .assert_eq(&h.take());

    let mut h = proctime(WindowSpec::Session { gap: 5000 });
    h.clock("00:00:01").rows("1").clock("00:00:06").rows("2").clock("00:00:20").rows("3").end();
    expect![[r#"
        +I 1 1 00:00:01 00:00:06
        +I 1 2 00:00:06 00:00:11
    "#]]
    .assert_eq(&h.take());
    assert_eq!(h.clock("00:00:30").take(), "+I 1 3 00:00:20 00:00:25\n");
}

#[test]
fn a_clock_that_goes_back_does_not_open_told_windows() {
    let mut h = proctime(WindowSpec::Tumble { size: 10_000, offset: 0 });
    h.clock("00:00:03").rows("1").clock("00:00:12").rows("2");
    h.clock("00:00:05").rows("3").clock("00:00:30");
    expect![[r#"
        +I 1 1 00:00:00 00:00:10
        +I 2 5 00:00:10 00:00:20
    "#]]
    .assert_eq(&h.take());
}

#[test]
fn changes_are_refused() {
    let windows = assign(WindowSpec::Tumble { size: 10_000, offset: 0 });
    let mut h = harness("ts TIMESTAMP", windows, &[], "n BIGINT, start TIMESTAMP, end TIMESTAMP", "count()");
    assert!(h.refuse("-D 00:00").contains("A window aggregate over an input with updates or deletes"));
}

#[test]
fn open_windows_are_counted() {
    let open = |window: WindowSpec, rows: &str| {
        let output = "n BIGINT, start TIMESTAMP, end TIMESTAMP";
        let mut h = harness("ts TIMESTAMP", assign(window), &[], output, "count()");
        h.rows(rows);
        let before = h.status().open_windows;
        let told = h.end().take().lines().count() as u64;
        assert_eq!(before, told, "{window}");
        assert_eq!((h.status().open_windows, h.status().next_fire_ms), (0, None));
        before
    };
    assert_eq!(open(WindowSpec::Tumble { size: 10, offset: 0 }, "00:00:00.001\n 00:00:00.011"), 2);
    assert_eq!(
        open(WindowSpec::Hop { slide: 5, size: 10, offset: 0 }, "00:00:00.001\n 00:00:00.011\n 00:00:07"),
        6
    );
    assert_eq!(
        open(WindowSpec::Hop { slide: 4, size: 10, offset: 1 }, "00:00:00.003\n 00:00:00.011\n 00:00:07"),
        6
    );
    assert_eq!(
        open(WindowSpec::Cumulate { step: 2, size: 10, offset: 0 }, "00:00:00.003\n 00:00:00.007\n 00:00:07"),
        9
    );
    assert_eq!(open(WindowSpec::Session { gap: 10 }, "00:00:00.003\n 00:00:07"), 2);
}

#[test]
fn rows_taken_back_leave_their_windows_and_windows_without_rows_are_not_told() {
    let output = "k STRING, n BIGINT, max INT, d BIGINT, last INT, start TIMESTAMP, end TIMESTAMP";
    let specs = [
        WindowSpec::Tumble { size: 10 * MIN, offset: 0 },
        WindowSpec::Hop { slide: 5 * MIN, size: 10 * MIN, offset: 0 },
        WindowSpec::Cumulate { step: 5 * MIN, size: 10 * MIN, offset: 0 },
        WindowSpec::Session { gap: 4 * MIN },
    ];
    let mut told = String::new();
    for spec in specs {
        let mut h = changing(
            "ts TIMESTAMP, k STRING, v INT",
            assign(spec),
            &[1],
            output,
            "count(), max(2), count(distinct 2), last_value(2)",
            true,
        );
        h.rows("00:01 a 5\n 00:02 b 1\n -U 00:01 a 5\n +U 00:06 a 7\n 00:07 a 7\n 00:07 a 9");
        h.rows("-D 00:02 b 1\n 00:08 c NULL\n -U 00:07 a 9\n +U 00:07 a 2").watermark("00:04:59.999");
        h.rows("-D 00:01 a 5\n -D 00:06 a 7").watermark("00:09:59.999");
        told.push_str(&format!("{spec}\n{}", h.end().take()));
        assert_eq!(h.status().open_windows, 0);
    }
    expect![[r#"
        TUMBLE(size=[10 min])
        +I a 1 7 2 2 00:00:00 00:10:00
        +I c 1 NULL 0 NULL 00:00:00 00:10:00
        HOP(size=[10 min], slide=[5 min])
        +I a 1 7 2 2 00:00:00 00:10:00
        +I c 1 NULL 0 NULL 00:00:00 00:10:00
        +I a 2 7 2 2 00:05:00 00:15:00
        +I c 1 NULL 0 NULL 00:05:00 00:15:00
        CUMULATE(max_size=[10 min], step=[5 min])
        +I a 1 7 2 2 00:00:00 00:10:00
        +I c 1 NULL 0 NULL 00:00:00 00:10:00
        SESSION(gap=[4 min])
        +I a 2 7 2 2 00:06:00 00:11:00
        +I c 1 NULL 0 NULL 00:08:00 00:12:00
    "#]]
    .assert_eq(&told);
}
