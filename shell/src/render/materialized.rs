//! `Materialized`: a changelog folded to the table that it describes, bounded, in arrival order.

use engine::message::RowKind;
use std::collections::{HashMap, VecDeque};

/// A row's texts.
pub type Row = Vec<String>;

/// The table so far. A row that is updated keeps its place.
#[derive(Debug, Default)]
pub struct Materialized {
    /// Rows by arrival; `None` where one was taken away.
    slots: VecDeque<Option<Row>>,
    /// Number of slots dropped at the front.
    base: usize,
    /// Places of each row, the latest last.
    places: HashMap<Row, Vec<usize>>,
    /// Places freed by `-U`, for the `+U` that follows.
    freed: Vec<usize>,
    rows: usize,
    max_rows: usize,
    evicted: u64,
}

impl Materialized {
    /// Keeps at most `max_rows` rows; the oldest go first.
    pub fn new(max_rows: usize) -> Self {
        Self { max_rows: max_rows.max(1), ..Self::default() }
    }

    /// Applies one change.
    pub fn apply(&mut self, kind: RowKind, row: Row) {
        if kind.is_addition() {
            let freed = if kind == RowKind::UpdateAfter { self.freed.pop() } else { None };
            let place = match freed.filter(|p| *p >= self.base) {
                Some(place) => place,
                None => {
                    self.slots.push_back(None);
                    self.base + self.slots.len() - 1
                }
            };
            self.slots[place - self.base] = Some(row.clone());
            self.places.entry(row).or_default().push(place);
            self.rows += 1;
            self.evict();
            return;
        }
        if let Some(places) = self.places.get_mut(&row) {
            let place = places.pop();
            if places.is_empty() {
                self.places.remove(&row);
            }
            if let Some(place) = place {
                self.slots[place - self.base] = None;
                self.rows -= 1;
                if kind == RowKind::UpdateBefore {
                    self.freed.push(place);
                }
            }
        }
        self.trim();
    }

    /// Whether a `-U` still waits for its `+U`: the table should not be shown now.
    pub fn is_torn(&self) -> bool {
        !self.freed.is_empty()
    }

    /// No `+U` will come for the `-U`s so far (the update left the filter).
    pub fn settle(&mut self) {
        self.freed.clear();
        self.trim();
    }

    fn evict(&mut self) {
        while self.rows > self.max_rows {
            if let Some(row) = self.slots.pop_front().flatten() {
                let place = self.base;
                if let Some(places) = self.places.get_mut(&row) {
                    places.retain(|p| *p != place);
                    if places.is_empty() {
                        self.places.remove(&row);
                    }
                }
                self.rows -= 1;
                self.evicted += 1;
            }
            self.base += 1;
        }
    }

    /// Gives back the memory of freed places: at the front at once, elsewhere when they are most.
    fn trim(&mut self) {
        if self.freed.is_empty() && self.slots.len() > 2 * self.rows + 1024 {
            let rows: Vec<Row> = self.slots.drain(..).flatten().collect();
            self.base = 0;
            self.places.clear();
            for (place, row) in rows.into_iter().enumerate() {
                self.places.entry(row.clone()).or_default().push(place);
                self.slots.push_back(Some(row));
            }
        }
    }

    /// All rows by arrival.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.slots.iter().flatten()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Rows dropped because there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        vec![text.to_string()]
    }

    fn texts(table: &Materialized) -> Vec<&str> {
        table.rows().map(|r| r[0].as_str()).collect()
    }

    #[test]
    fn updates_keep_their_place() {
        let mut table = Materialized::new(10);
        for t in ["a1", "b1", "c1"] {
            table.apply(RowKind::Insert, row(t));
        }
        table.apply(RowKind::UpdateBefore, row("b1"));
        assert!(table.is_torn());
        table.apply(RowKind::UpdateAfter, row("b2"));
        assert_eq!(texts(&table), ["a1", "b2", "c1"]);
        table.apply(RowKind::Delete, row("a1"));
        table.apply(RowKind::Delete, row("unknown"));
        assert_eq!(texts(&table), ["b2", "c1"]);
    }

    #[test]
    fn of_equal_rows_the_last_goes() {
        let mut table = Materialized::new(10);
        for t in ["x", "y", "x"] {
            table.apply(RowKind::Insert, row(t));
        }
        table.apply(RowKind::Delete, row("x"));
        assert_eq!(texts(&table), ["x", "y"]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut table = Materialized::new(2);
        for t in ["a", "b", "c"] {
            table.apply(RowKind::Insert, row(t));
        }
        assert_eq!((texts(&table), table.evicted()), (vec!["b", "c"], 1));
        table.apply(RowKind::Delete, row("a"));
        assert_eq!(texts(&table), ["b", "c"]);
    }

    #[test]
    fn churn_does_not_grow() {
        let mut table = Materialized::new(10);
        table.apply(RowKind::Insert, row("stays"));
        for i in 0..100_000 {
            table.apply(RowKind::Insert, row(&i.to_string()));
            table.apply(RowKind::Delete, row(&i.to_string()));
        }
        assert_eq!(texts(&table), ["stays"]);
        assert!(table.slots.len() < 2000);
    }
}
