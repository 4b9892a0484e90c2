//! Random tables and queries, from a seed: the same query in Flink's dialect and in SQLite's, whose plain batch
//! evaluation says what the streaming result, folded to a table, must be.
//!
//! Values are BIGINT and STRING with NULLs and duplicates, few enough to meet in joins and groups; event time is
//! unique in a table that only grows, and its watermark late enough that no row is late.

mod data;
mod expressions;
mod relational;
mod timed;

pub use data::{APPENDED, CHANGED, Change, Row, Table};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// BIGINT
    Int,
    /// STRING
    Text,
}

/// A query in both dialects, and what it is made of.
#[derive(Debug, Clone)]
pub struct Query {
    /// In Flink's dialect.
    pub flink: String,
    /// In SQLite's.
    pub sqlite: String,
    /// Its shapes, for counting what was covered.
    pub shapes: Vec<&'static str>,
}

/// Makes tables and queries.
pub struct Generator {
    random: SmallRng,
    aliases: usize,
    shapes: Vec<&'static str>,
}

/// A relation: its text in both dialects, columns `c0…`.
#[derive(Debug, Clone)]
struct Relation {
    flink: String,
    sqlite: String,
    types: Vec<Type>,
}

impl Relation {
    /// The text in both dialects.
    fn text(&self) -> Expr {
        Expr { flink: self.flink.clone(), sqlite: self.sqlite.clone() }
    }

    fn new(text: Expr, types: Vec<Type>) -> Self {
        Self { flink: text.flink, sqlite: text.sqlite, types }
    }

    /// `c0, c1 …`
    fn names(&self) -> String {
        (0..self.types.len()).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ")
    }
}

/// A relation in FROM, its alias, and for all but the first the word before it and the condition behind it.
type Joined<'a> = (&'a Relation, &'a str, Option<(&'a str, Option<&'a Expr>)>);

/// An expression, or any piece of text, in both dialects.
#[derive(Debug, Clone)]
struct Expr {
    flink: String,
    sqlite: String,
}

impl Expr {
    fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { flink: text.clone(), sqlite: text }
    }

    fn new(flink: impl Into<String>, sqlite: impl Into<String>) -> Self {
        Self { flink: flink.into(), sqlite: sqlite.into() }
    }

    fn join(parts: &[Self], separator: &str) -> Self {
        let join = |of: fn(&Self) -> &str| parts.iter().map(of).collect::<Vec<_>>().join(separator);
        Self { flink: join(|e| &e.flink), sqlite: join(|e| &e.sqlite) }
    }

    fn wrap(&self, before: &str, after: &str) -> Self {
        let wrap = |text: &str| format!("{before}{text}{after}");
        Self { flink: wrap(&self.flink), sqlite: wrap(&self.sqlite) }
    }
}

/// Formats both dialects at once: `{}` stands for the parts in order.
fn both(template: &str, parts: &[&Expr]) -> Expr {
    let fill = |of: fn(&Expr) -> &str| {
        let mut out = String::new();
        let mut parts = parts.iter();
        let mut pieces = template.split("{}");
        out.push_str(pieces.next().unwrap());
        for piece in pieces {
            out.push_str(of(parts.next().unwrap()));
            out.push_str(piece);
        }
        assert!(parts.next().is_none(), "{template}");
        out
    };
    Expr { flink: fill(|e| &e.flink), sqlite: fill(|e| &e.sqlite) }
}

/// `items AS c0, …`
fn named(items: &[Expr]) -> Expr {
    let named: Vec<Expr> = items.iter().enumerate().map(|(n, e)| e.wrap("", &format!(" AS c{n}"))).collect();
    Expr::join(&named, ", ")
}

impl Generator {
    /// The same seed gives the same tables and queries.
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), aliases: 0, shapes: Vec::new() }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    /// True so often in a hundred times.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// A query.
    pub fn query(&mut self) -> Query {
        self.shapes.clear();
        let depth = 1 + self.below(3);
        let relation = self.relation(depth);
        Query { flink: relation.flink, sqlite: relation.sqlite, shapes: std::mem::take(&mut self.shapes) }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn relation(&mut self, depth: usize) -> Relation {
        if depth == 0 {
            return self.table();
        }
        match self.below(40) {
            0..=5 => self.select(depth),
            6..=11 => self.aggregate(depth),
            12..=13 => self.grouping_sets(depth),
            14..=18 => self.join(depth),
            19 => self.distinct(depth),
            20..=22 => self.set(depth),
            23..=24 => self.semi(depth),
            25..=26 => self.scalar(depth),
            27..=28 => self.top_n(depth),
            29 => self.limit(depth),
            30..=32 => self.window(),
            33 => self.window_join(),
            34 => self.window_top_n(),
            35 => self.interval_join(),
            36 => self.temporal_join(),
            37 => self.deduplicate(),
            _ => self.over(),
        }
    }

    fn table(&mut self) -> Relation {
        if self.chance(35) {
            self.shapes.push("changed table");
            let table = CHANGED[self.below(CHANGED.len())];
            if self.chance(50) {
                let text = Expr::same(format!("SELECT id AS c0, a AS c1, s AS c2 FROM {table}"));
                return Relation::new(text, vec![Type::Int, Type::Int, Type::Text]);
            }
            let text = Expr::same(format!("SELECT k AS c0, a AS c1, s AS c2 FROM {table}"));
            return Relation::new(text, vec![Type::Int, Type::Int, Type::Text]);
        }
        let table = APPENDED[self.below(APPENDED.len())];
        let text = Expr::same(format!("SELECT k AS c0, a AS c1, s AS c2 FROM {table}"));
        Relation::new(text, vec![Type::Int, Type::Int, Type::Text])
    }

    /// `SELECT items FROM … WHERE … rest`.
    fn build(
        &self,
        items: &[Expr],
        from: &[Joined<'_>],
        wants: Option<&Expr>,
        rest: &str,
        types: Vec<Type>,
    ) -> Relation {
        let mut text = named(items).wrap("SELECT ", " FROM ");
        for (relation, alias, join) in from {
            let word = join.map_or(String::new(), |(word, _)| format!(" {word} "));
            text = both(&format!("{{}}{word}({{}}) AS {alias}"), &[&text, &relation.text()]);
            if let Some((_, Some(on))) = join {
                text = both("{} ON {}", &[&text, on]);
            }
        }
        if let Some(wants) = wants {
            text = both("{} WHERE {}", &[&text, wants]);
        }
        let _ = write!(text.flink, "{rest}");
        let _ = write!(text.sqlite, "{rest}");
        Relation::new(text, types)
    }
}
