//! Random queries that know no time: selections, aggregates, joins, sets, subqueries, ranks.

use super::{Expr, Generator, Relation, Type, both, named};
use rand::prelude::IndexedRandom;

impl Generator {
    pub(super) fn select(&mut self, depth: usize) -> Relation {
        self.shapes.push("select");
        let (from, alias) = (self.relation(depth - 1), self.alias());
        let scope: &[(&Relation, &str)] = &[(&from, &alias)];
        let types: Vec<Type> =
            (0..1 + self.below(3)).map(|_| if self.chance(70) { Type::Int } else { Type::Text }).collect();
        let items: Vec<Expr> = types.iter().map(|t| self.expr(scope, *t, 2)).collect();
        let wants = if self.chance(70) { Some(self.predicate(scope, 2)) } else { None };
        self.build(&items, &[(&from, &alias, None)], wants.as_ref(), "", types)
    }

    pub(super) fn aggregate(&mut self, depth: usize) -> Relation {
        self.shapes.push("aggregate");
        let (from, alias) = (self.relation(depth - 1), self.alias());
        let scope: &[(&Relation, &str)] = &[(&from, &alias)];
        let keys: Vec<usize> = (0..from.types.len()).filter(|_| self.chance(40)).collect();
        let mut items: Vec<Expr> = keys.iter().map(|k| Expr::same(format!("{alias}.c{k}"))).collect();
        let mut types: Vec<Type> = keys.iter().map(|k| from.types[*k]).collect();
        for _ in 0..1 + self.below(3) {
            let (call, of) = self.aggregate_call(scope);
            items.push(call);
            types.push(of);
        }
        let mut rest = String::new();
        if !keys.is_empty() {
            let names: Vec<String> = keys.iter().map(|k| format!("{alias}.c{k}")).collect();
            rest = format!(" GROUP BY {}", names.join(", "));
            if self.chance(25) {
                self.shapes.push("having");
                rest.push_str(&format!(" HAVING COUNT(*) > {}", self.below(4)));
            }
        }
        let wants = if self.chance(30) { Some(self.predicate(scope, 1)) } else { None };
        let mut built = self.build(&items, &[(&from, &alias, None)], wants.as_ref(), &rest, types);
        if keys.is_empty() {
            // The global aggregate of no rows is no row in a stream.
            built.sqlite.push_str(" HAVING COUNT(*) > 0");
        }
        built
    }

    /// GROUPING SETS, ROLLUP and CUBE; for SQLite each set is a query of its own.
    pub(super) fn grouping_sets(&mut self, depth: usize) -> Relation {
        let (from, alias) = (self.relation(depth - 1), self.alias());
        let mut keys: Vec<usize> = (0..from.types.len()).filter(|_| self.chance(60)).collect();
        keys.truncate(2);
        if keys.is_empty() {
            keys.push(0);
        }
        let key = |k: &usize| format!("{alias}.c{k}");
        let names: Vec<String> = keys.iter().map(key).collect();
        let names = names.join(", ");
        let subsets: Vec<Vec<usize>> = match keys[..] {
            [a] => vec![vec![a], vec![]],
            [a, b] => vec![vec![a, b], vec![a], vec![b], vec![]],
            _ => unreachable!("at most two"),
        };
        let (word, sets) = match self.below(3) {
            0 => (
                format!("ROLLUP ({names})"),
                subsets.into_iter().filter(|s| s.len() != 1 || s[0] == keys[0]).collect(),
            ),
            1 => (format!("CUBE ({names})"), subsets),
            _ => {
                let sets: Vec<Vec<usize>> = subsets.into_iter().filter(|s| !s.is_empty()).collect();
                let texts: Vec<String> = sets
                    .iter()
                    .map(|s| format!("({})", s.iter().map(key).collect::<Vec<_>>().join(", ")))
                    .collect();
                (format!("GROUPING SETS ({})", texts.join(", ")), sets)
            }
        };
        self.shapes.push("grouping sets");
        let scope: &[(&Relation, &str)] = &[(&from, &alias)];
        let (call, of) = self.aggregate_call(scope);
        let wants = if self.chance(30) { Some(self.predicate(scope, 1)) } else { None };
        let wants = wants.map_or(Expr::same(""), |w| w.wrap(" WHERE ", ""));
        let mut types: Vec<Type> = keys.iter().map(|k| from.types[*k]).collect();
        types.extend([of, Type::Int]);
        let mut items: Vec<Expr> = keys.iter().map(|k| Expr::same(key(k))).collect();
        items.extend([call.clone(), Expr::same(format!("GROUPING({})", key(&keys[0])))]);
        let flink = format!(
            "SELECT {} FROM ({}) AS {alias}{} GROUP BY {word}",
            named(&items).flink,
            from.flink,
            wants.flink
        );
        let one = |set: &Vec<usize>| {
            let mut items: Vec<String> =
                keys.iter().map(|k| if set.contains(k) { key(k) } else { "NULL".to_string() }).collect();
            items.extend([call.sqlite.clone(), i32::from(!set.contains(&keys[0])).to_string()]);
            let items: Vec<Expr> = items.into_iter().map(Expr::same).collect();
            let rest = if set.is_empty() {
                "HAVING COUNT(*) > 0".to_string()
            } else {
                format!("GROUP BY {}", set.iter().map(key).collect::<Vec<_>>().join(", "))
            };
            format!(
                "SELECT {} FROM ({}) AS {alias}{} {rest}",
                named(&items).sqlite,
                from.sqlite,
                wants.sqlite
            )
        };
        let sqlite = sets.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        // SQLite takes a compound as a part of another only in parentheses of a FROM.
        Relation { flink, sqlite: format!("SELECT * FROM ({sqlite})"), types }
    }

    pub(super) fn join(&mut self, depth: usize) -> Relation {
        let left = self.relation(depth - 1);
        let (l, r) = (self.alias(), self.alias());
        // The same query on both sides shares its tasks.
        let right = if self.chance(15) { left.clone() } else { self.relation(depth.saturating_sub(2)) };
        if depth == 1 && self.chance(12) {
            return self.theta(&left, &l, &right, &r);
        }
        let word =
            *["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"].choose(&mut self.random).unwrap();
        let Some(mut on) = self.equal((&left, &l), (&right, &r)) else { return left };
        self.shapes.push(match word {
            "JOIN" => "inner join",
            "LEFT JOIN" => "left join",
            "RIGHT JOIN" => "right join",
            _ => "full join",
        });
        let scope: &[(&Relation, &str)] = &[(&left, &l), (&right, &r)];
        if self.chance(20)
            && let Some(more) = self.equal((&left, &l), (&right, &r))
        {
            on = both("{} AND {}", &[&on, &more]);
        }
        if self.chance(30) {
            let more = self.predicate(scope, 0);
            on = both("{} AND {}", &[&on, &more]);
        }
        let (items, types) = self.all_of(scope);
        let wants = if self.chance(30) { Some(self.predicate(scope, 1)) } else { None };
        self.build(
            &items,
            &[(&left, &l, None), (&right, &r, Some((word, Some(&on))))],
            wants.as_ref(),
            "",
            types,
        )
    }

    /// A join without equal keys.
    fn theta(&mut self, left: &Relation, l: &str, right: &Relation, r: &str) -> Relation {
        let scope: &[(&Relation, &str)] = &[(left, l), (right, r)];
        let (items, types) = self.all_of(scope);
        if self.chance(50) {
            self.shapes.push("cross join");
            let wants = if self.chance(50) { Some(self.predicate(scope, 1)) } else { None };
            let from = [(left, l, None), (right, r, Some(("CROSS JOIN", None)))];
            return self.build(&items, &from, wants.as_ref(), "", types);
        }
        self.shapes.push("theta join");
        let word = *["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"].choose(&mut self.random).unwrap();
        let on = self.predicate(scope, 1);
        self.build(&items, &[(left, l, None), (right, r, Some((word, Some(&on))))], None, "", types)
    }

    /// The first four columns of relations.
    pub(super) fn all_of(&self, scope: &[(&Relation, &str)]) -> (Vec<Expr>, Vec<Type>) {
        let columns = scope.iter().flat_map(|(relation, alias)| {
            relation.types.iter().enumerate().map(move |(n, of)| (Expr::same(format!("{alias}.c{n}")), *of))
        });
        columns.take(4).unzip()
    }

    pub(super) fn distinct(&mut self, depth: usize) -> Relation {
        self.shapes.push("distinct");
        let (relation, alias) = (self.relation(depth - 1), self.alias());
        let names = relation.names();
        let text = both(&format!("SELECT DISTINCT {names} FROM ({{}}) AS {alias}"), &[&relation.text()]);
        Relation::new(text, relation.types)
    }

    /// `relation` with columns of `types`.
    fn shaped(&mut self, relation: &Relation, types: &[Type]) -> Relation {
        let alias = self.alias();
        let scope: &[(&Relation, &str)] = &[(relation, &alias)];
        let items: Vec<Expr> = types.iter().map(|t| self.expr(scope, *t, 0)).collect();
        self.build(&items, &[(relation, &alias, None)], None, "", types.to_vec())
    }

    pub(super) fn set(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth - 1), self.relation(depth.saturating_sub(2)));
        let types: Vec<Type> = left.types.iter().copied().take(2).collect();
        let (left, right) = (self.shaped(&left, &types), self.shaped(&right, &types));
        let words = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"];
        let word = *words.choose(&mut self.random).unwrap();
        self.shapes.push(match word {
            "UNION ALL" => "union all",
            "UNION" => "union",
            "INTERSECT" => "intersect",
            "EXCEPT" => "except",
            "INTERSECT ALL" => "intersect all",
            _ => "except all",
        });
        let names = left.names();
        let (a, b, c) = (self.alias(), self.alias(), self.alias());
        let text = |word: &str, side: &dyn Fn(&Relation, &str) -> String| {
            format!("SELECT {names} FROM ({} {word} {}) AS {c}", side(&left, &a), side(&right, &b))
        };
        let flink = |r: &Relation, alias: &str| format!("SELECT {names} FROM ({}) AS {alias}", r.flink);
        let plain = |r: &Relation, alias: &str| format!("SELECT {names} FROM ({}) AS {alias}", r.sqlite);
        // SQLite has no ALL here: equal rows are numbered, which makes them different.
        let numbered = |r: &Relation, alias: &str| {
            format!(
                "SELECT {names}, ROW_NUMBER() OVER (PARTITION BY {names} ORDER BY 1) AS n FROM ({}) AS {alias}",
                r.sqlite
            )
        };
        let sqlite = match word {
            "INTERSECT ALL" => text("INTERSECT", &numbered),
            "EXCEPT ALL" => text("EXCEPT", &numbered),
            word => text(word, &plain),
        };
        Relation { flink: text(word, &flink), sqlite, types }
    }

    /// EXISTS, IN, ANY and ALL.
    pub(super) fn semi(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth - 1), self.relation(depth.saturating_sub(2)));
        let (l, r) = (self.alias(), self.alias());
        let negated = self.chance(40);
        let not = if negated { "NOT " } else { "" };
        let inner = right.text();
        let condition = if self.chance(45) {
            let Some(mut on) = self.equal((&left, &l), (&right, &r)) else { return left };
            if self.chance(30) {
                let more = self.predicate(&[(&left, &l), (&right, &r)], 0);
                on = both("{} AND {}", &[&on, &more]);
            }
            self.shapes.push(if negated { "not exists" } else { "exists" });
            both(&format!("{not}EXISTS (SELECT 1 FROM ({{}}) AS {r} WHERE {{}})"), &[&inner, &on])
        } else {
            let (ls, rs) = (self.columns(&left, &l, Type::Int), self.columns(&right, &r, Type::Int));
            let (Some(a), Some(b)) = (ls.choose(&mut self.random), rs.choose(&mut self.random)) else {
                return left;
            };
            if self.chance(25) {
                self.shapes.push(if negated { "all" } else { "any" });
                let op = *["<", "<=", ">", ">="].choose(&mut self.random).unwrap();
                let (word, no, test) = if negated {
                    ("ALL", "NOT ", format!("NOT COALESCE({} {op} {}, 0)", a.sqlite, b.sqlite))
                } else {
                    ("ANY", "", format!("{} {op} {}", a.sqlite, b.sqlite))
                };
                Expr::new(
                    format!("{} {op} {word} (SELECT {} FROM ({}) AS {r})", a.flink, b.flink, inner.flink),
                    format!("{no}EXISTS (SELECT 1 FROM ({}) AS {r} WHERE {test})", inner.sqlite),
                )
            } else {
                self.shapes.push(if negated { "not in" } else { "in" });
                both(&format!("{{}} {not}IN (SELECT {{}} FROM ({{}}) AS {r})"), &[a, b, &inner])
            }
        };
        let (items, types) = self.all_of(&[(&left, &l)]);
        self.build(&items, &[(&left, &l, None)], Some(&condition), "", types)
    }

    /// A subquery as a value, in WHERE or in SELECT, correlated or not.
    pub(super) fn scalar(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth - 1), self.relation(depth.saturating_sub(2)));
        let (l, r) = (self.alias(), self.alias());
        let column = self.expr(&[(&right, &r)], Type::Int, 0);
        let on = if self.chance(60) { self.equal((&left, &l), (&right, &r)) } else { None };
        // An uncorrelated COUNT of no rows is no row, and so NULL.
        let words: &[&str] =
            if on.is_some() { &["SUM", "MIN", "MAX", "COUNT"] } else { &["SUM", "MIN", "MAX"] };
        let call = column.wrap(&format!("{}(", words.choose(&mut self.random).unwrap()), ")");
        self.shapes.push(if on.is_some() { "correlated value" } else { "value" });
        let wants = on.map_or(Expr::same(""), |on| on.wrap(" WHERE ", ""));
        let value = both(&format!("(SELECT {{}} FROM ({{}}) AS {r}{{}})"), &[&call, &right.text(), &wants]);
        let (mut items, mut types) = self.all_of(&[(&left, &l)]);
        items.truncate(2);
        types.truncate(2);
        if self.chance(50) {
            items.push(value);
            types.push(Type::Int);
            return self.build(&items, &[(&left, &l, None)], None, "", types);
        }
        let op = *["=", "<", ">="].choose(&mut self.random).unwrap();
        let other = self.expr(&[(&left, &l)], Type::Int, 1);
        let wants = both(&format!("{{}} {op} {{}}"), &[&other, &value]);
        self.build(&items, &[(&left, &l, None)], Some(&wants), "", types)
    }

    /// All columns, so that only rows that are alike are tied.
    fn order(&mut self, relation: &Relation) -> String {
        let order: Vec<String> = (0..relation.types.len())
            .map(|n| format!("c{n}{}", if self.chance(30) { " DESC" } else { "" }))
            .collect();
        order.join(", ")
    }

    pub(super) fn top_n(&mut self, depth: usize) -> Relation {
        let relation = self.relation(depth - 1);
        let (a, b) = (self.alias(), self.alias());
        let partition = if self.chance(70) {
            format!("PARTITION BY c{} ", self.below(relation.types.len()))
        } else {
            String::new()
        };
        let (order, names, n) = (self.order(&relation), relation.names(), 1 + self.below(4));
        let mut types = relation.types.clone();
        let with_rank = self.chance(40);
        self.shapes.push(if with_rank { "top-n with rank" } else { "top-n" });
        let rank = if with_rank {
            types.push(Type::Int);
            format!(", rn AS c{}", relation.types.len())
        } else {
            String::new()
        };
        let range = match self.below(4) {
            0 => format!("rn BETWEEN {n} AND {}", n + 2),
            1 => format!("rn = {n}"),
            _ => format!("rn <= {n}"),
        };
        let template = format!(
            "SELECT {names}{rank} FROM (SELECT {names}, ROW_NUMBER() OVER ({partition}ORDER BY {order}) AS rn \
             FROM ({{}}) AS {a}) AS {b} WHERE {range}"
        );
        Relation::new(both(&template, &[&relation.text()]), types)
    }

    pub(super) fn limit(&mut self, depth: usize) -> Relation {
        self.shapes.push("limit");
        let (relation, a, b) = (self.relation(depth - 1), self.alias(), self.alias());
        let (order, names, n) = (self.order(&relation), relation.names(), 1 + self.below(6));
        let offset = if self.chance(30) { format!(" OFFSET {}", self.below(4)) } else { String::new() };
        let template = format!(
            "SELECT {names} FROM (SELECT {names} FROM ({{}}) AS {a} ORDER BY {order} LIMIT {n}{offset}) AS {b}"
        );
        Relation::new(both(&template, &[&relation.text()]), relation.types)
    }
}
