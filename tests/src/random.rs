//! Random tables and queries, from a seed: the same query in Flink's dialect and in SQLite's, whose plain batch
//! evaluation says what the streaming result, folded to a table, must be.
//!
//! Values are BIGINT and STRING with NULLs and duplicates, few enough to meet in joins and groups; event time is
//! unique in a table, and its watermark late enough that no row is late.

use rand::prelude::IndexedRandom;
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

/// Whose SQL is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Runnel's.
    Flink,
    /// The oracle's.
    Sqlite,
}

/// One row of a table: key, number, text, event time in milliseconds.
#[derive(Debug, Clone)]
pub struct Row {
    /// `k BIGINT`
    pub k: Option<i64>,
    /// `a BIGINT`
    pub a: Option<i64>,
    /// `s STRING`
    pub s: Option<&'static str>,
    /// `ts TIMESTAMP(3)`, as milliseconds since the epoch.
    pub ts: i64,
}

/// Names of the tables.
pub const TABLES: [&str; 3] = ["t0", "t1", "t2"];

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

/// An expression in both dialects.
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
        out
    };
    Expr { flink: fill(|e| &e.flink), sqlite: fill(|e| &e.sqlite) }
}

const TEXTS: [&str; 5] = ["", "a", "b", "été", "B"];

impl Generator {
    /// The same seed gives the same tables and queries.
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), aliases: 0, shapes: Vec::new() }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// Rows of one table.
    pub fn rows(&mut self) -> Vec<Row> {
        let rows = if self.chance(5) { 0 } else { self.below(40) + 1 };
        let mut ts = 1_700_000_000_000;
        (0..rows)
            .map(|_| {
                ts += i64::from(self.random.random_range(1..8_000));
                Row {
                    k: (!self.chance(10)).then(|| self.random.random_range(0..6)),
                    a: (!self.chance(15)).then(|| self.random.random_range(-20..20)),
                    s: (!self.chance(15)).then(|| *TEXTS.choose(&mut self.random).unwrap()),
                    ts,
                }
            })
            .collect()
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
        match self.below(20) {
            0..=3 => self.select(depth),
            4..=8 => self.aggregate(depth),
            9..=12 => self.join(depth),
            13 => self.distinct(depth),
            14..=15 => self.set(depth),
            16 => self.semi(depth),
            17 => self.top_n(depth),
            18 => self.window(),
            _ => self.over(),
        }
    }

    fn table(&mut self) -> Relation {
        let table = TABLES[self.below(TABLES.len())];
        let text = format!("SELECT k AS c0, a AS c1, s AS c2 FROM {table}");
        Relation { flink: text.clone(), sqlite: text, types: vec![Type::Int, Type::Int, Type::Text] }
    }

    fn columns(&self, relation: &Relation, alias: &str, of: Type) -> Vec<Expr> {
        let types = relation.types.iter().enumerate().filter(|(_, t)| **t == of);
        types.map(|(n, _)| Expr::same(format!("{alias}.c{n}"))).collect()
    }

    /// An expression of type `of` over the columns in `scope`.
    fn expr(&mut self, scope: &[(&Relation, &str)], of: Type, depth: usize) -> Expr {
        let columns: Vec<Expr> = scope.iter().flat_map(|(r, alias)| self.columns(r, alias, of)).collect();
        if depth == 0 || self.chance(35) {
            if let Some(column) = columns.choose(&mut self.random).filter(|_| true).cloned()
                && !self.chance(15)
            {
                return column;
            }
            return match of {
                Type::Int => {
                    both("CAST({} AS BIGINT)", &[&Expr::same(self.random.random_range(-9..9).to_string())])
                }
                Type::Text => {
                    let text = *TEXTS.choose(&mut self.random).unwrap();
                    let literal = Expr::same(format!("'{text}'"));
                    Expr { flink: format!("CAST({} AS STRING)", literal.flink), sqlite: literal.sqlite }
                }
            };
        }
        let sub = |this: &mut Self, of| this.expr(scope, of, depth - 1);
        match (of, self.below(5)) {
            (Type::Int, 0) => {
                let op = *["+", "-", "*"].choose(&mut self.random).unwrap();
                let (l, r) = (sub(self, Type::Int), sub(self, Type::Int));
                both(&format!("({{}} {op} {{}})"), &[&l, &r])
            }
            (Type::Int, 1) => {
                let text = sub(self, Type::Text);
                Expr {
                    flink: format!("CAST(CHAR_LENGTH({}) AS BIGINT)", text.flink),
                    sqlite: format!("length({})", text.sqlite),
                }
            }
            (Type::Int, 2) => both("ABS({})", &[&sub(self, Type::Int)]),
            (Type::Text, 0) => {
                let (l, r) = (sub(self, Type::Text), sub(self, Type::Text));
                both("({} || {})", &[&l, &r])
            }
            (of, 3) => {
                let (l, r) = (sub(self, of), sub(self, of));
                both("COALESCE({}, {})", &[&l, &r])
            }
            (of, _) => {
                let condition = self.predicate(scope, 1);
                let (l, r) = (sub(self, of), sub(self, of));
                both("CASE WHEN {} THEN {} ELSE {} END", &[&condition, &l, &r])
            }
        }
    }

    fn predicate(&mut self, scope: &[(&Relation, &str)], depth: usize) -> Expr {
        let of = if self.chance(70) { Type::Int } else { Type::Text };
        if depth > 0 && self.chance(40) {
            let (l, r) = (self.predicate(scope, depth - 1), self.predicate(scope, depth - 1));
            return match self.below(3) {
                0 => both("({} AND {})", &[&l, &r]),
                1 => both("({} OR {})", &[&l, &r]),
                _ => both("(NOT {})", &[&l]),
            };
        }
        let left = self.expr(scope, of, 1);
        match self.below(8) {
            0 => both("({} IS NULL)", &[&left]),
            1 => both("({} IS NOT NULL)", &[&left]),
            2 if of == Type::Int => {
                let (low, high) = (self.random.random_range(-20..5), self.random.random_range(-5..20));
                both(&format!("({{}} BETWEEN {low} AND {high})"), &[&left])
            }
            3 => {
                let list: Vec<Expr> = (0..2).map(|_| self.expr(&[], of, 0)).collect();
                both("({} IN ({}))", &[&left, &Expr::join(&list, ", ")])
            }
            _ => {
                let op = *["=", "<>", "<", "<=", ">", ">="].choose(&mut self.random).unwrap();
                let right = self.expr(scope, of, 1);
                both(&format!("({{}} {op} {{}})"), &[&left, &right])
            }
        }
    }

    fn select(&mut self, depth: usize) -> Relation {
        self.shapes.push("select");
        let (from, alias) = (self.relation(depth - 1), self.alias());
        let scope: &[(&Relation, &str)] = &[(&from, &alias)];
        let types: Vec<Type> =
            (0..1 + self.below(3)).map(|_| if self.chance(70) { Type::Int } else { Type::Text }).collect();
        let items: Vec<Expr> = types.iter().map(|t| self.expr(scope, *t, 2)).collect();
        let wants = if self.chance(70) { Some(self.predicate(scope, 2)) } else { None };
        self.build(&items, &[(from.clone(), alias.clone(), None)], wants.as_ref(), "", types)
    }

    /// `SELECT items FROM … WHERE … rest`.
    fn build(
        &mut self,
        items: &[Expr],
        from: &[(Relation, String, Option<(&str, Expr)>)],
        wants: Option<&Expr>,
        rest: &str,
        types: Vec<Type>,
    ) -> Relation {
        let render = |dialect: Dialect| {
            let of = |e: &Expr| match dialect {
                Dialect::Flink => e.flink.clone(),
                Dialect::Sqlite => e.sqlite.clone(),
            };
            let mut text = "SELECT ".to_string();
            let names: Vec<String> =
                items.iter().enumerate().map(|(n, e)| format!("{} AS c{n}", of(e))).collect();
            text.push_str(&names.join(", "));
            for (n, (relation, alias, condition)) in from.iter().enumerate() {
                let inner = match dialect {
                    Dialect::Flink => &relation.flink,
                    Dialect::Sqlite => &relation.sqlite,
                };
                let word = if n == 0 { "FROM" } else { condition.as_ref().map_or("CROSS JOIN", |c| c.0) };
                write!(text, " {word} ({inner}) AS {alias}").unwrap();
                if let Some((_, on)) = condition {
                    write!(text, " ON {}", of(on)).unwrap();
                }
            }
            if let Some(wants) = wants {
                write!(text, " WHERE {}", of(wants)).unwrap();
            }
            text.push_str(rest);
            text
        };
        Relation { flink: render(Dialect::Flink), sqlite: render(Dialect::Sqlite), types }
    }

    fn aggregate_call(&mut self, scope: &[(&Relation, &str)]) -> (Expr, Type) {
        let filter = if self.chance(20) { Some(self.predicate(scope, 1)) } else { None };
        let distinct = if self.chance(20) { "DISTINCT " } else { "" };
        let mut argument = self.expr(scope, Type::Int, 1);
        // A constant is what DataFusion takes COUNT(*) for (docs/divergences.md).
        if !argument.flink.contains(".c") {
            let columns = scope.iter().flat_map(|(r, alias)| self.columns(r, alias, Type::Int));
            argument = columns.collect::<Vec<_>>().choose(&mut self.random).cloned().unwrap_or(argument);
        }
        let (call, of) = match if argument.flink.contains(".c") { self.below(6) } else { 0 } {
            0 => (Expr::same("COUNT(*)"), Type::Int),
            1 => (argument.wrap(&format!("COUNT({distinct}"), ")"), Type::Int),
            2 => (argument.wrap(&format!("SUM({distinct}"), ")"), Type::Int),
            3 => {
                let of = if self.chance(50) { Type::Int } else { Type::Text };
                (self.expr(scope, of, 1).wrap("MIN(", ")"), of)
            }
            4 => {
                let of = if self.chance(50) { Type::Int } else { Type::Text };
                (self.expr(scope, of, 1).wrap("MAX(", ")"), of)
            }
            // Integers divide to integers in both; SQLite's AVG is a float.
            _ => {
                let Expr { flink, sqlite } = argument;
                let of = |f: Option<&str>| f.map_or(String::new(), |f| format!(" FILTER (WHERE {f})"));
                let (mine, theirs) =
                    (of(filter.as_ref().map(|f| &*f.flink)), of(filter.as_ref().map(|f| &*f.sqlite)));
                let call = Expr {
                    flink: format!("AVG({distinct}{flink}){mine}"),
                    sqlite: format!("(SUM({distinct}{sqlite}){theirs} / COUNT({distinct}{sqlite}){theirs})"),
                };
                return (call, Type::Int);
            }
        };
        match filter {
            None => (call, of),
            Some(filter) => (both("{} FILTER (WHERE {})", &[&call, &filter]), of),
        }
    }

    fn aggregate(&mut self, depth: usize) -> Relation {
        self.shapes.push("aggregate");
        let (from, alias) = (self.relation(depth - 1), self.alias());
        let scope: &[(&Relation, &str)] = &[(&from, &alias)];
        let keys: Vec<usize> = (0..from.types.len()).filter(|_| self.chance(40)).collect();
        let mut items: Vec<Expr> = keys.iter().map(|k| Expr::same(format!("{alias}.c{k}"))).collect();
        let mut types: Vec<Type> = keys.iter().map(|k| from.types[*k]).collect();
        let mut having = String::new();
        for _ in 0..1 + self.below(3) {
            let (call, of) = self.aggregate_call(scope);
            items.push(call);
            types.push(of);
        }
        let mut rest = String::new();
        if !keys.is_empty() {
            let names: Vec<String> = keys.iter().map(|k| format!("{alias}.c{k}")).collect();
            write!(rest, " GROUP BY {}", names.join(", ")).unwrap();
            if self.chance(25) {
                self.shapes.push("having");
                write!(having, " HAVING COUNT(*) > {}", self.below(4)).unwrap();
            }
        }
        rest.push_str(&having);
        let no_rows = keys.is_empty();
        let wants = if self.chance(30) { Some(self.predicate(scope, 1)) } else { None };
        let mut built =
            self.build(&items, &[(from.clone(), alias.clone(), None)], wants.as_ref(), &rest, types);
        if no_rows {
            // The global aggregate of no rows is no row in a stream.
            built.sqlite.push_str(" HAVING COUNT(*) > 0");
        }
        built
    }

    fn equal(&mut self, left: (&Relation, &str), right: (&Relation, &str)) -> Option<Expr> {
        let of = if self.chance(80) { Type::Int } else { Type::Text };
        let (l, r) = (self.columns(left.0, left.1, of), self.columns(right.0, right.1, of));
        let (l, r) = (l.choose(&mut self.random)?.clone(), r.choose(&mut self.random)?.clone());
        Some(both("{} = {}", &[&l, &r]))
    }

    fn join(&mut self, depth: usize) -> Relation {
        let word =
            *["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"].choose(&mut self.random).unwrap();
        let (left, right) = (self.relation(depth - 1), self.relation(depth.saturating_sub(2)));
        let (l, r) = (self.alias(), self.alias());
        let Some(mut on) = self.equal((&left, &l), (&right, &r)) else { return left };
        self.shapes.push(match word {
            "JOIN" => "inner join",
            "LEFT JOIN" => "left join",
            "RIGHT JOIN" => "right join",
            _ => "full join",
        });
        if self.chance(30) {
            let more = self.predicate(&[(&left, &l), (&right, &r)], 0);
            on = both("{} AND {}", &[&on, &more]);
        }
        let scope: &[(&Relation, &str)] = &[(&left, &l), (&right, &r)];
        let mut items: Vec<(Expr, Type)> = Vec::new();
        for (relation, alias) in scope {
            for (n, of) in relation.types.iter().enumerate() {
                if items.len() < 4 {
                    items.push((Expr::same(format!("{alias}.c{n}")), *of));
                }
            }
        }
        let (items, types): (Vec<Expr>, Vec<Type>) = items.into_iter().unzip();
        let wants = if self.chance(30) { Some(self.predicate(scope, 1)) } else { None };
        let from = [(left.clone(), l.clone(), None), (right.clone(), r.clone(), Some((word, on)))];
        self.build(&items, &from, wants.as_ref(), "", types)
    }

    fn distinct(&mut self, depth: usize) -> Relation {
        self.shapes.push("distinct");
        let relation = self.relation(depth - 1);
        let alias = self.alias();
        let names: Vec<String> = (0..relation.types.len()).map(|n| format!("{alias}.c{n} AS c{n}")).collect();
        let text = |inner: &str| format!("SELECT DISTINCT {} FROM ({inner}) AS {alias}", names.join(", "));
        Relation { flink: text(&relation.flink), sqlite: text(&relation.sqlite), types: relation.types }
    }

    /// `relation` with columns of `types`.
    fn shaped(&mut self, relation: Relation, types: &[Type]) -> Relation {
        let alias = self.alias();
        let scope: &[(&Relation, &str)] = &[(&relation, &alias)];
        let items: Vec<Expr> = types.iter().map(|t| self.expr(scope, *t, 0)).collect();
        self.build(&items, &[(relation.clone(), alias.clone(), None)], None, "", types.to_vec())
    }

    fn set(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth - 1), self.relation(depth.saturating_sub(2)));
        let types: Vec<Type> = left.types.iter().copied().take(2).collect();
        let (left, right) = (self.shaped(left, &types), self.shaped(right, &types));
        let word = *["UNION ALL", "UNION", "INTERSECT", "EXCEPT"].choose(&mut self.random).unwrap();
        self.shapes.push(match word {
            "UNION ALL" => "union all",
            "UNION" => "union",
            "INTERSECT" => "intersect",
            _ => "except",
        });
        let names: Vec<String> = (0..types.len()).map(|n| format!("c{n}")).collect();
        let (a, b, c) = (self.alias(), self.alias(), self.alias());
        let names = names.join(", ");
        let text = |l: &str, r: &str| {
            format!(
                "SELECT {names} FROM (SELECT {names} FROM ({l}) AS {a} {word} SELECT {names} FROM ({r}) AS {b}) AS {c}"
            )
        };
        Relation { flink: text(&left.flink, &right.flink), sqlite: text(&left.sqlite, &right.sqlite), types }
    }

    fn semi(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth - 1), self.relation(depth.saturating_sub(2)));
        let (l, r) = (self.alias(), self.alias());
        let not = if self.chance(40) { "NOT " } else { "" };
        let exists = self.chance(50);
        let condition = if exists {
            let Some(on) = self.equal((&left, &l), (&right, &r)) else { return left };
            self.shapes.push(if not.is_empty() { "exists" } else { "not exists" });
            let text =
                |inner: &str, on: &str| format!("{not}EXISTS (SELECT 1 FROM ({inner}) AS {r} WHERE {on})");
            Expr { flink: text(&right.flink, &on.flink), sqlite: text(&right.sqlite, &on.sqlite) }
        } else {
            let (ls, rs) = (self.columns(&left, &l, Type::Int), self.columns(&right, &r, Type::Int));
            let (Some(a), Some(b)) = (ls.first(), rs.first()) else { return left };
            self.shapes.push(if not.is_empty() { "in" } else { "not in" });
            let text =
                |a: &str, b: &str, inner: &str| format!("{a} {not}IN (SELECT {b} FROM ({inner}) AS {r})");
            Expr {
                flink: text(&a.flink, &b.flink, &right.flink),
                sqlite: text(&a.sqlite, &b.sqlite, &right.sqlite),
            }
        };
        let items: Vec<Expr> = (0..left.types.len()).map(|n| Expr::same(format!("{l}.c{n}"))).collect();
        let types = left.types.clone();
        self.build(&items, &[(left, l.clone(), None)], Some(&condition), "", types)
    }

    fn top_n(&mut self, depth: usize) -> Relation {
        self.shapes.push("top-n");
        let relation = self.relation(depth - 1);
        let (a, b) = (self.alias(), self.alias());
        let partition = if self.chance(70) {
            format!("PARTITION BY {a}.c{} ", self.below(relation.types.len()))
        } else {
            String::new()
        };
        // All columns, so that only rows that are alike are tied.
        let order: Vec<String> = (0..relation.types.len())
            .map(|n| format!("{a}.c{n}{}", if self.chance(30) { " DESC" } else { "" }))
            .collect();
        let names: Vec<String> = (0..relation.types.len()).map(|n| format!("c{n}")).collect();
        let n = 1 + self.below(4);
        let text = |inner: &str| {
            format!(
                "SELECT {} FROM (SELECT {}, ROW_NUMBER() OVER ({partition}ORDER BY {}) AS rn FROM ({inner}) AS {a}) AS {b} \
                 WHERE rn <= {n}",
                names.join(", "),
                names.iter().map(|c| format!("{a}.{c}")).collect::<Vec<_>>().join(", "),
                order.join(", ")
            )
        };
        Relation { flink: text(&relation.flink), sqlite: text(&relation.sqlite), types: relation.types }
    }

    fn window(&mut self) -> Relation {
        self.shapes.push("window");
        let table = TABLES[self.below(TABLES.len())];
        let seconds = [1, 5, 10, 60][self.below(4)];
        let by_key = self.chance(70);
        let key = if by_key { "k, " } else { "" };
        let call = ["COUNT(*)", "SUM(a)", "MIN(a)", "MAX(s)", "COUNT(DISTINCT a)"][self.below(5)];
        let of = if call.contains("(s)") { Type::Text } else { Type::Int };
        let size = seconds * 1000;
        let names = if by_key { "k AS c0, w AS c1, x AS c2" } else { "w AS c0, x AS c1" };
        let flink = format!(
            "SELECT {names} FROM (SELECT {key}DATE_FORMAT(window_start, 'yyyy-MM-dd HH:mm:ss') AS w, {call} AS x FROM \
             TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '{seconds}' SECOND)) GROUP BY {key}window_start, window_end)"
        );
        let sqlite = format!(
            "SELECT {names} FROM (SELECT {key}strftime('%Y-%m-%d %H:%M:%S', ts / {size} * {seconds}, 'unixepoch') AS w, \
             {call} AS x FROM {table} GROUP BY {key}ts / {size})"
        );
        let types = if by_key { vec![Type::Int, Type::Text, of] } else { vec![Type::Text, of] };
        Relation { flink, sqlite, types }
    }

    fn over(&mut self) -> Relation {
        self.shapes.push("over");
        let table = TABLES[self.below(TABLES.len())];
        let frame = match self.below(3) {
            0 => "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_string(),
            _ => format!("ROWS BETWEEN {} PRECEDING AND CURRENT ROW", 1 + self.below(4)),
        };
        let call = ["COUNT(*)", "SUM(a)", "MIN(a)", "MAX(a)", "COUNT(a)"][self.below(5)];
        let text = format!(
            "SELECT k AS c0, a AS c1, {call} OVER (PARTITION BY k ORDER BY ts {frame}) AS c2 FROM {table}"
        );
        Relation { flink: text.clone(), sqlite: text, types: vec![Type::Int; 3] }
    }
}
