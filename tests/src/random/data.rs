//! Random tables: their rows, and how those came to be.

use super::Generator;
use rand::Rng;
use rand::prelude::IndexedRandom;

/// Texts that meet in joins and groups.
pub(super) const TEXTS: [&str; 5] = ["", "a", "b", "été", "B"];

/// Most rows that a table ever holds.
const MOST_ROWS: usize = 40;

/// Names of the tables that only grow.
pub const APPENDED: [&str; 3] = ["t0", "t1", "t2"];
/// Names of the tables whose rows change; the first has `id` for its primary key, the second has no key.
pub const CHANGED: [&str; 2] = ["d0", "d1"];

/// One row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `id BIGINT`, unique.
    pub id: i64,
    /// `k BIGINT`
    pub k: Option<i64>,
    /// `a BIGINT`
    pub a: Option<i64>,
    /// `s STRING`
    pub s: Option<&'static str>,
    /// `ts TIMESTAMP(3)`, as milliseconds since the epoch; unique in a table that only grows.
    pub ts: i64,
}

/// A change of a table, as Debezium tells it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The row before; `None` for an insert.
    pub before: Option<Row>,
    /// The row after; `None` for a delete.
    pub after: Option<Row>,
}

/// A table: how it came to be.
#[derive(Debug, Clone)]
pub struct Table {
    /// One of [`APPENDED`] and [`CHANGED`].
    pub name: &'static str,
    /// In order.
    pub changes: Vec<Change>,
}

impl Table {
    /// Whether rows only come.
    pub fn is_appended(&self) -> bool {
        APPENDED.contains(&self.name)
    }

    /// Whether `id` is its primary key.
    pub fn has_key(&self) -> bool {
        self.name == CHANGED[0]
    }

    /// What it holds in the end.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for Change { before, after } in &self.changes {
            match (before.as_ref().and_then(|b| rows.iter().position(|r| r == b)), after) {
                (Some(at), Some(row)) => rows[at] = row.clone(),
                (Some(at), None) => drop(rows.remove(at)),
                (None, after) => rows.extend(after.clone()),
            }
        }
        rows
    }
}

impl Generator {
    /// All tables.
    pub fn tables(&mut self) -> Vec<Table> {
        let mut tables: Vec<Table> =
            APPENDED.iter().map(|name| Table { name, changes: self.appended() }).collect();
        tables.extend(CHANGED.iter().map(|name| Table { name, changes: self.changed() }));
        tables
    }

    fn row(&mut self, id: i64, ts: i64) -> Row {
        Row {
            id,
            k: (!self.chance(10)).then(|| self.random.random_range(0..6)),
            a: (!self.chance(15)).then(|| self.random.random_range(-20..20)),
            s: (!self.chance(15)).then(|| *TEXTS.choose(&mut self.random).unwrap()),
            ts,
        }
    }

    fn appended(&mut self) -> Vec<Change> {
        let rows = if self.chance(5) { 0 } else { self.below(MOST_ROWS) + 1 };
        let mut ts = 1_700_000_000_000;
        (0..rows)
            .map(|id| {
                ts += i64::from(self.random.random_range(1..8_000));
                Change { before: None, after: Some(self.row(id as i64, ts)) }
            })
            .collect()
    }

    fn changed(&mut self) -> Vec<Change> {
        let changes = if self.chance(5) { 0 } else { self.below(MOST_ROWS * 2) + 1 };
        let mut rows: Vec<Row> = Vec::new();
        let mut all = Vec::new();
        for id in 0..changes as i64 {
            let ts = 1_700_000_000_000 + i64::from(self.random.random_range(0..200_000));
            let old = if rows.is_empty() { None } else { Some(self.below(rows.len())) };
            match (self.below(10), old) {
                (0..=3, Some(at)) => {
                    let mut row = self.row(rows[at].id, ts);
                    // Often only one column changes.
                    if self.chance(60) {
                        row = Row { a: row.a, ..rows[at].clone() };
                    }
                    let before = std::mem::replace(&mut rows[at], row.clone());
                    all.push(Change { before: Some(before), after: Some(row) });
                }
                (4..=5, Some(at)) => all.push(Change { before: Some(rows.remove(at)), after: None }),
                _ => {
                    let row = self.row(id, ts);
                    rows.push(row.clone());
                    all.push(Change { before: None, after: Some(row) });
                }
            }
        }
        all
    }
}
