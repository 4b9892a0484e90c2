//! Random queries on event time: windows, windows over windows, window joins and ranks, OVER, interval and temporal
//! joins, the first and last row of each key.

use super::{APPENDED, CHANGED, Expr, Generator, Relation, Type, both};
use rand::Rng;
use rand::prelude::IndexedRandom;

/// Columns `k`, `a`, `s` and the time attribute `ts` (SQLite: milliseconds), under a name.
struct Timed {
    /// `WITH … AS (…) `, or nothing.
    with: Expr,
    name: String,
    /// Rows only come.
    is_appended: bool,
}

/// Rows in their windows: columns `c0`, `c1`, `c2`, `ts`, and the window.
struct Windowed {
    with: Expr,
    /// Flink: with `window_start`, `window_end`, `window_time`; SQLite: with `ws` and `we`, milliseconds.
    rows: Expr,
    /// Sessions are parted by `c0`.
    by_key: bool,
}

/// Types of `c0`, `c1`, `c2`.
const TYPES: [Type; 3] = [Type::Int, Type::Int, Type::Text];

/// A window, for many inputs alike.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Seconds.
    Tumble(i64),
    /// Slide and size in seconds.
    Hop(i64, i64),
    /// Step and size in seconds.
    Cumulate(i64, i64),
    /// Gap in seconds; parted by key or not.
    Session(i64, bool),
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Tumble(_) => "tumble",
            Self::Hop(..) => "hop",
            Self::Cumulate(..) => "cumulate",
            Self::Session(..) => "session",
        }
    }

    fn over(self, timed: &Timed) -> Windowed {
        let name = &timed.name;
        let seconds = |n: i64| format!("INTERVAL '{n}' SECOND");
        let (call, by_key) = match self {
            Self::Tumble(size) => (format!("TUMBLE(TABLE {name}, DESCRIPTOR(ts), {})", seconds(size)), false),
            Self::Hop(slide, size) => {
                (format!("HOP(TABLE {name}, DESCRIPTOR(ts), {}, {})", seconds(slide), seconds(size)), false)
            }
            Self::Cumulate(step, size) => (
                format!("CUMULATE(TABLE {name}, DESCRIPTOR(ts), {}, {})", seconds(step), seconds(size)),
                false,
            ),
            Self::Session(gap, by_key) => {
                let partition = if by_key { " PARTITION BY k" } else { "" };
                (format!("SESSION(TABLE {name}{partition}, DESCRIPTOR(ts), {})", seconds(gap)), by_key)
            }
        };
        let numbers = |from: i64, to: i64| {
            (from..to).map(|n| format!("SELECT {n} AS i")).collect::<Vec<_>>().join(" UNION ALL ")
        };
        let columns = "k AS c0, a AS c1, s AS c2, ts";
        let sqlite = match self {
            Self::Tumble(size) => {
                let size = size * 1000;
                format!(
                    "SELECT {columns}, ts / {size} * {size} AS ws, ts / {size} * {size} + {size} AS we FROM {name}"
                )
            }
            Self::Hop(slide, size) => {
                let (n, slide, size) = (size / slide, slide * 1000, size * 1000);
                let start = format!("(ts / {slide} - i) * {slide}");
                format!(
                    "SELECT {columns}, {start} AS ws, {start} + {size} AS we FROM {name}, ({})",
                    numbers(0, n)
                )
            }
            Self::Cumulate(step, size) => {
                let (n, step, size) = (size / step, step * 1000, size * 1000);
                let start = format!("ts / {size} * {size}");
                format!(
                    "SELECT {columns}, {start} AS ws, {start} + i * {step} AS we FROM {name}, ({}) \
                     WHERE {start} + i * {step} > ts",
                    numbers(1, n + 1)
                )
            }
            Self::Session(gap, by_key) => {
                let (gap, key) = (gap * 1000, if by_key { "PARTITION BY k " } else { "" });
                let group = if by_key { "k, g" } else { "g" };
                format!(
                    "SELECT {columns}, MIN(ts) OVER (PARTITION BY {group}) AS ws, \
                     MAX(ts) OVER (PARTITION BY {group}) + {gap} AS we FROM (SELECT k, a, s, ts, \
                     SUM(n) OVER ({key}ORDER BY ts) AS g FROM (SELECT k, a, s, ts, \
                     CASE WHEN ts - LAG(ts) OVER ({key}ORDER BY ts) > {gap} THEN 1 ELSE 0 END AS n FROM {name}))"
                )
            }
        };
        let flink = format!("SELECT {columns}, window_start, window_end, window_time FROM TABLE({call})");
        Windowed { with: timed.with.clone(), rows: Expr { flink, sqlite }, by_key }
    }
}

/// Seconds since the epoch of a time, as BIGINT; SQLite has milliseconds.
fn epoch(flink: &str, sqlite: &str) -> Expr {
    Expr::new(
        format!("CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', {flink}) AS BIGINT)"),
        format!("({sqlite} / 1000)"),
    )
}

fn columns() -> Relation {
    Relation::new(Expr::same(""), TYPES.to_vec())
}

impl Generator {
    fn shape(&mut self, with_sessions: bool) -> Shape {
        let unit = [1, 5, 10][self.below(3)];
        match self.below(if with_sessions { 4 } else { 3 }) {
            0 => Shape::Tumble(unit * [1, 6][self.below(2)]),
            1 => Shape::Hop(unit, unit * (1 + self.below(4) as i64)),
            2 => Shape::Cumulate(unit, unit * (1 + self.below(4) as i64)),
            _ => Shape::Session(unit, self.chance(60)),
        }
    }

    /// Rows with event time: a table, part of one, two together, or the results of windows.
    fn timed(&mut self, appended: bool, depth: usize) -> Timed {
        let plain = Expr::same("");
        let table = APPENDED[self.below(APPENDED.len())].to_string();
        match self.below(10) {
            0..=1 if !appended => {
                self.shapes.push("windows over changes");
                let name = CHANGED[self.below(CHANGED.len())].to_string();
                Timed { with: plain, name, is_appended: false }
            }
            2..=3 => {
                let name = self.alias();
                let wants = both(" WHERE {}", &[&self.predicate_on_table(&table)]);
                let body = wants.wrap(&format!("SELECT k, a, s, ts FROM {table}"), "");
                Timed { with: body.wrap(&format!("WITH {name} AS ("), ") "), name, is_appended: true }
            }
            4 => {
                self.shapes.push("union of times");
                let (name, other) = (self.alias(), APPENDED[self.below(APPENDED.len())]);
                let body = Expr::same(format!(
                    "SELECT k, a, s, ts FROM {table} UNION ALL SELECT k, a, s, ts FROM {other}"
                ));
                Timed { with: body.wrap(&format!("WITH {name} AS ("), ") "), name, is_appended: true }
            }
            5..=6 if depth > 0 => {
                self.shapes.push("windows over windows");
                let inner = self.timed(true, 0);
                let windowed = self.shape(true).over(&inner);
                let (name, alias) = (self.alias(), self.alias());
                let body = Expr::new(
                    format!(
                        "SELECT {alias}.c0 AS k, SUM({alias}.c1) AS a, MIN({alias}.c2) AS s, window_time AS ts \
                         FROM ({}) AS {alias} GROUP BY {alias}.c0, window_start, window_end, window_time",
                        windowed.rows.flink
                    ),
                    format!(
                        "SELECT {alias}.c0 AS k, SUM({alias}.c1) AS a, MIN({alias}.c2) AS s, we - 1 AS ts \
                         FROM ({}) AS {alias} GROUP BY {alias}.c0, ws, we",
                        windowed.rows.sqlite
                    ),
                );
                let separator = |text: &str| {
                    if text.is_empty() { "WITH ".to_string() } else { format!("{}, ", text.trim_end()) }
                };
                let before = Expr::new(separator(&windowed.with.flink), separator(&windowed.with.sqlite));
                let with = both(&format!("{{}}{name} AS ({{}}) "), &[&before, &body]);
                Timed { with, name, is_appended: true }
            }
            _ => Timed { with: plain, name: table, is_appended: true },
        }
    }

    fn predicate_on_table(&mut self, table: &str) -> Expr {
        match self.below(3) {
            0 => Expr::same(format!("{table}.a > {}", self.random.random_range(-15..5))),
            1 => Expr::same(format!("{table}.k IS NOT NULL")),
            _ => Expr::same(format!("{table}.k <> {}", self.below(6))),
        }
    }

    fn windowed(&mut self, with_sessions: bool) -> Windowed {
        let timed = self.timed(false, 1);
        let shape = self.shape(with_sessions && timed.is_appended);
        self.shapes.push(shape.name());
        shape.over(&timed)
    }

    /// Aggregates of windows.
    pub(super) fn window(&mut self) -> Relation {
        let windowed = self.windowed(true);
        let r = self.alias();
        let scope = columns();
        let scope: &[(&Relation, &str)] = &[(&scope, &r)];
        let by_key = windowed.by_key || self.chance(60);
        let (mut items, mut types) = (vec![epoch("window_start", "ws")], vec![Type::Int]);
        if by_key {
            items.push(Expr::same(format!("{r}.c0")));
            types.push(Type::Int);
        }
        if self.chance(40) {
            items.push(epoch("window_end", "we"));
            types.push(Type::Int);
        }
        for _ in 0..1 + self.below(2) {
            let (call, of) = self.aggregate_call(scope);
            items.push(call);
            types.push(of);
        }
        let key = if by_key { format!("{r}.c0, ") } else { String::new() };
        let group = Expr::new(format!("{key}window_start, window_end"), format!("{key}ws, we"));
        let having =
            if self.chance(20) { format!(" HAVING COUNT(*) > {}", self.below(3)) } else { String::new() };
        let text = both(
            &format!("{{}}SELECT {{}} FROM ({{}}) AS {r} GROUP BY {{}}{having}"),
            &[&windowed.with, &super::named(&items), &windowed.rows, &group],
        );
        self.nested(text, types)
    }

    /// A query that begins with WITH, as one that can stand anywhere.
    fn nested(&mut self, text: Expr, types: Vec<Type>) -> Relation {
        let (alias, relation) = (self.alias(), Relation::new(text, types));
        let names = relation.names();
        let text = both(&format!("SELECT {names} FROM ({{}}) AS {alias}"), &[&relation.text()]);
        Relation::new(text, relation.types)
    }

    /// Two inputs in the same windows, joined.
    pub(super) fn window_join(&mut self) -> Relation {
        let shape = self.shape(false);
        let (left, right) = (self.timed(true, 0), self.timed(true, 0));
        let (l, r) = (self.alias(), self.alias());
        let (left, right) = (shape.over(&left), shape.over(&right));
        let second = |with: &str| with.strip_prefix("WITH ").map(String::from);
        let with = |a: &str, b: &str| match (a.is_empty(), second(b)) {
            (_, None) => a.to_string(),
            (true, Some(_)) => b.to_string(),
            (false, Some(b)) => format!("{}, {b}", a.trim_end()),
        };
        let with =
            Expr::new(with(&left.with.flink, &right.with.flink), with(&left.with.sqlite, &right.with.sqlite));
        let on = Expr::new(
            format!(
                "{l}.window_start = {r}.window_start AND {l}.window_end = {r}.window_end AND {l}.c0 = {r}.c0"
            ),
            format!("{l}.ws = {r}.ws AND {l}.we = {r}.we AND {l}.c0 = {r}.c0"),
        );
        let items = [Expr::same(format!("{l}.c0")), Expr::same(format!("{l}.c1"))];
        if self.chance(35) {
            let negated = self.chance(50);
            self.shapes.push(if negated { "window anti join" } else { "window semi join" });
            let not = if negated { "NOT " } else { "" };
            let text = both(
                &format!(
                    "{{}}SELECT {{}} FROM ({{}}) AS {l} WHERE {not}EXISTS (SELECT * FROM ({{}}) AS {r} WHERE {{}})"
                ),
                &[&with, &super::named(&items), &left.rows, &right.rows, &on],
            );
            return self.nested(text, vec![Type::Int; 2]);
        }
        let word = *["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"].choose(&mut self.random).unwrap();
        self.shapes.push("window join");
        let items = [&items[..], &[Expr::same(format!("{r}.c1")), Expr::same(format!("{r}.c2"))]].concat();
        let text = both(
            &format!("{{}}SELECT {{}} FROM ({{}}) AS {l} {word} ({{}}) AS {r} ON {{}}"),
            &[&with, &super::named(&items), &left.rows, &right.rows, &on],
        );
        self.nested(text, vec![Type::Int, Type::Int, Type::Int, Type::Text])
    }

    /// The first rows of each window, in some order or in that of time.
    pub(super) fn window_top_n(&mut self) -> Relation {
        let shape = self.shape(false);
        let table = APPENDED[self.below(APPENDED.len())].to_string();
        let windowed = shape.over(&Timed { with: Expr::same(""), name: table, is_appended: true });
        let (a, b) = (self.alias(), self.alias());
        let key = if self.chance(50) { ", c0" } else { "" };
        let by_time = self.chance(40);
        self.shapes.push(if by_time { "window deduplication" } else { "window top-n" });
        let (order, n) = if by_time {
            (["ts", "ts DESC"][self.below(2)], 1)
        } else {
            (["c1, c2, c0", "c2 DESC, c1, c0", "c1 DESC, c0 DESC, c2"][self.below(3)], 1 + self.below(3))
        };
        let text = |start: &str, end: &str, rows: &str, time: String| {
            format!(
                "SELECT c0, c1, c2, {time} AS c3 FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {start}, {end}{key} \
                 ORDER BY {order}) AS rn FROM ({rows}) AS {a}) AS {b} WHERE rn <= {n}"
            )
        };
        let time = epoch("window_start", "ws");
        Relation {
            flink: text("window_start", "window_end", &windowed.rows.flink, time.flink),
            sqlite: text("ws", "we", &windowed.rows.sqlite, time.sqlite),
            types: vec![Type::Int, Type::Int, Type::Text, Type::Int],
        }
    }

    pub(super) fn interval_join(&mut self) -> Relation {
        let (left, right) = (APPENDED[self.below(3)], APPENDED[self.below(3)]);
        let (l, r) = (self.alias(), self.alias());
        let (before, after) = (self.below(20), self.below(20));
        let word = *["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"].choose(&mut self.random).unwrap();
        self.shapes.push("interval join");
        let more = if self.chance(30) { format!(" AND {l}.a < {r}.a") } else { String::new() };
        let text = |bounds: String| {
            format!(
                "SELECT {l}.k AS c0, {l}.a AS c1, {r}.a AS c2, {r}.s AS c3 FROM {left} AS {l} {word} {right} AS {r} \
                 ON {l}.k = {r}.k AND {r}.ts BETWEEN {bounds}{more}"
            )
        };
        Relation {
            flink: text(format!(
                "{l}.ts - INTERVAL '{before}' SECOND AND {l}.ts + INTERVAL '{after}' SECOND"
            )),
            sqlite: text(format!("{l}.ts - {} AND {l}.ts + {}", before * 1000, after * 1000)),
            types: vec![Type::Int, Type::Int, Type::Int, Type::Text],
        }
    }

    /// Each row with the version of its key that held at its time; the versions are views `v0…` over the tables.
    pub(super) fn temporal_join(&mut self) -> Relation {
        let (left, right) = (self.below(3), self.below(3));
        let (l, r) = (self.alias(), self.alias());
        let word = *["JOIN", "LEFT JOIN"].choose(&mut self.random).unwrap();
        self.shapes.push("temporal join");
        let columns = format!("{l}.k AS c0, {l}.a AS c1, {r}.a AS c2, {r}.s AS c3");
        Relation {
            flink: format!(
                "SELECT {columns} FROM t{left} AS {l} {word} v{right} FOR SYSTEM_TIME AS OF {l}.ts AS {r} ON {l}.k = {r}.k"
            ),
            sqlite: format!(
                "SELECT {columns} FROM t{left} AS {l} {word} t{right} AS {r} ON {l}.k = {r}.k AND {r}.ts = \
                 (SELECT MAX(x.ts) FROM t{right} AS x WHERE x.k = {l}.k AND x.ts <= {l}.ts)"
            ),
            types: vec![Type::Int, Type::Int, Type::Int, Type::Text],
        }
    }

    /// The first or last row of each key.
    pub(super) fn deduplicate(&mut self) -> Relation {
        let table = APPENDED[self.below(APPENDED.len())];
        let alias = self.alias();
        let key = ["k", "s", "k, s"][self.below(3)];
        let order = if self.chance(50) { " DESC" } else { "" };
        self.shapes.push(if order.is_empty() { "first row" } else { "last row" });
        let text = format!(
            "SELECT c0, c1, c2 FROM (SELECT k AS c0, a AS c1, s AS c2, ROW_NUMBER() OVER (PARTITION BY {key} \
             ORDER BY ts{order}) AS rn FROM {table}) AS {alias} WHERE rn = 1"
        );
        Relation::new(Expr::same(text), TYPES.to_vec())
    }

    pub(super) fn over(&mut self) -> Relation {
        self.shapes.push("over");
        let table = APPENDED[self.below(APPENDED.len())];
        let partition = ["PARTITION BY k ", "PARTITION BY k ", "PARTITION BY s ", ""][self.below(4)];
        let (flink, sqlite) = match self.below(4) {
            0 => ("ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_string(), None),
            1 => ("RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_string(), None),
            2 => {
                let n = 1 + self.below(30);
                (
                    format!("RANGE BETWEEN INTERVAL '{n}' SECOND PRECEDING AND CURRENT ROW"),
                    Some(format!("RANGE BETWEEN {} PRECEDING AND CURRENT ROW", n * 1000)),
                )
            }
            _ => (format!("ROWS BETWEEN {} PRECEDING AND CURRENT ROW", 1 + self.below(4)), None),
        };
        let sqlite = sqlite.unwrap_or_else(|| flink.clone());
        let calls = [
            "COUNT(*)",
            "SUM(a)",
            "MIN(a)",
            "MAX(a)",
            "COUNT(a)",
            "FIRST_VALUE(COALESCE(a, 0))",
            "LAST_VALUE(COALESCE(a, 0))",
        ];
        let (one, two) = (calls[self.below(calls.len())], calls[self.below(calls.len())]);
        let text = |frame: &str| {
            format!(
                "SELECT k AS c0, a AS c1, {one} OVER ({partition}ORDER BY ts {frame}) AS c2, \
                 {two} OVER ({partition}ORDER BY ts {frame}) AS c3 FROM {table}"
            )
        };
        Relation { flink: text(&flink), sqlite: text(&sqlite), types: vec![Type::Int; 4] }
    }
}
