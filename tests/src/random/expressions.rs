//! Random expressions, predicates and aggregate calls over the columns of relations.

use super::data::TEXTS;
use super::{Expr, Generator, Relation, Type, both};
use rand::Rng;
use rand::prelude::IndexedRandom;

impl Generator {
    pub(super) fn columns(&self, relation: &Relation, alias: &str, of: Type) -> Vec<Expr> {
        let types = relation.types.iter().enumerate().filter(|(_, t)| **t == of);
        types.map(|(n, _)| Expr::same(format!("{alias}.c{n}"))).collect()
    }

    /// An expression of type `of` over the columns in `scope`.
    pub(super) fn expr(&mut self, scope: &[(&Relation, &str)], of: Type, depth: usize) -> Expr {
        let columns: Vec<Expr> = scope.iter().flat_map(|(r, alias)| self.columns(r, alias, of)).collect();
        if depth == 0 || self.chance(35) {
            if let Some(column) = columns.choose(&mut self.random).cloned()
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
                both(["COALESCE({}, {})", "NULLIF({}, {})"][usize::from(self.chance(30))], &[&l, &r])
            }
            (of, _) => {
                let condition = self.predicate(scope, depth - 1);
                let (l, r) = (sub(self, of), sub(self, of));
                both("CASE WHEN {} THEN {} ELSE {} END", &[&condition, &l, &r])
            }
        }
    }

    pub(super) fn predicate(&mut self, scope: &[(&Relation, &str)], depth: usize) -> Expr {
        let of = if self.chance(70) { Type::Int } else { Type::Text };
        if depth > 0 && self.chance(40) {
            let (l, r) = (self.predicate(scope, depth - 1), self.predicate(scope, depth - 1));
            return match self.below(3) {
                0 => both("({} AND {})", &[&l, &r]),
                1 => both("({} OR {})", &[&l, &r]),
                _ => both("(NOT {})", &[&l]),
            };
        }
        // Not deeper than the predicate: with CASE it would have no end.
        let deep = depth.min(1);
        let left = self.expr(scope, of, deep);
        match self.below(9) {
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
            4 => {
                let right = self.expr(scope, of, deep);
                let (flink, sqlite) = match self.chance(50) {
                    true => ("({} IS DISTINCT FROM {})", "({} IS NOT {})"),
                    false => ("({} IS NOT DISTINCT FROM {})", "({} IS {})"),
                };
                let parts = [&left, &right];
                Expr { flink: both(flink, &parts).flink, sqlite: both(sqlite, &parts).sqlite }
            }
            _ => {
                let op = *["=", "<>", "<", "<=", ">", ">="].choose(&mut self.random).unwrap();
                let right = self.expr(scope, of, deep);
                both(&format!("({{}} {op} {{}})"), &[&left, &right])
            }
        }
    }

    /// A call that gives one value for a group, and its type.
    pub(super) fn aggregate_call(&mut self, scope: &[(&Relation, &str)]) -> (Expr, Type) {
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
            1 => {
                let of = if self.chance(70) { None } else { Some(self.expr(scope, Type::Text, 0)) };
                let argument = of.filter(|e| e.flink.contains(".c")).unwrap_or(argument);
                (argument.wrap(&format!("COUNT({distinct}"), ")"), Type::Int)
            }
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

    /// `l = r` of two columns.
    pub(super) fn equal(&mut self, left: (&Relation, &str), right: (&Relation, &str)) -> Option<Expr> {
        let of = if self.chance(80) { Type::Int } else { Type::Text };
        let (l, r) = (self.columns(left.0, left.1, of), self.columns(right.0, right.1, of));
        let (l, r) = (l.choose(&mut self.random)?.clone(), r.choose(&mut self.random)?.clone());
        Some(both("{} = {}", &[&l, &r]))
    }
}
