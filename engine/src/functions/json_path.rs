//! JSON paths as Flink reads them: `lax` or `strict`, then Jayway's language (names, indexes, slices, `*`, `..`,
//! filters, functions).

use super::json_tree::{Json as Value, Number};
use regex::Regex;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Brackets and signs of a filter may be nested this deep.
const MAX_NESTING: usize = 50;

/// A path: its mode and its steps.
pub(super) struct Path {
    /// Whether a path that leads nowhere is an error.
    pub strict: bool,
    steps: Vec<Step>,
}

/// One step from values to values.
#[derive(Debug, Clone)]
enum Step {
    /// The field of that name; of several, an object of them.
    Keys(Vec<String>),
    /// Places in an array, from the end if negative.
    Indexes(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    All,
    /// The step, taken from a value and from all that it holds.
    Deep(Box<Step>),
    Filter(Filter),
    Function(Summary),
}

/// What a path's function makes of an array.
#[derive(Debug, Clone, Copy)]
enum Summary {
    Length,
    Min,
    Max,
    Avg,
    Sum,
    Keys,
    First,
    Last,
}

#[derive(Debug, Clone)]
enum Filter {
    Or(Box<Filter>, Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
    Matches(Operand, Regex),
}

#[derive(Debug, Clone)]
enum Operand {
    /// A path from the element (`@`).
    Here(Vec<Step>),
    /// A path from the root (`$`).
    Root(Vec<Step>),
    Constant(Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    NotIn,
}

impl Path {
    /// `[lax|strict] $…`. Without a word it is strict, without `$` it begins at the root, as in Flink. `None` for what is no
    /// path.
    pub fn parse(text: &str) -> Option<Self> {
        let trimmed = text.trim();
        let (strict, rest) = match trimmed.split_once(char::is_whitespace) {
            Some((mode, rest)) if mode.eq_ignore_ascii_case("lax") => (false, rest.trim()),
            Some((mode, rest)) if mode.eq_ignore_ascii_case("strict") => (true, rest.trim()),
            _ => (true, trimmed),
        };
        let from_root = if rest.starts_with('$') { rest.to_owned() } else { format!("$.{rest}") };
        let steps = Reader { rest: &from_root, depth: 0 }.whole()?;
        Some(Self { strict, steps })
    }

    /// Whether it leads to one place at most.
    pub fn definite(&self) -> bool {
        definite(&self.steps)
    }

    /// The places it leads to; `None` where it does not fit the value. As in Flink, behind the first `*`, `..` or filter
    /// what does not fit is passed over.
    pub fn find<'v>(&self, root: &'v Value) -> Option<Vec<Cow<'v, Value>>> {
        if self.steps.iter().any(|s| matches!(s, Step::Function(_))) {
            return Some(walk(&self.steps, root, root));
        }
        let mut here = root;
        for (at, step) in self.steps.iter().enumerate() {
            if !step.fits(here) {
                return None;
            }
            if !single(step) {
                return Some(walk(&self.steps[at..], here, root));
            }
            match walk(&self.steps[at..=at], here, root).pop()? {
                Cow::Borrowed(value) => here = value,
                Cow::Owned(_) => return Some(walk(&self.steps[at..], here, root)),
            }
        }
        Some(vec![Cow::Borrowed(here)])
    }
}

fn definite(steps: &[Step]) -> bool {
    if let Some(after) = steps.iter().rposition(|s| matches!(s, Step::Function(_))) {
        return steps[after + 1..].iter().all(single);
    }
    steps.iter().all(single)
}

fn single(step: &Step) -> bool {
    match step {
        Step::Keys(_) | Step::Function(_) => true,
        Step::Indexes(all) => all.len() == 1,
        Step::Slice(..) | Step::All | Step::Deep(_) | Step::Filter(_) => false,
    }
}

fn walk<'v>(steps: &[Step], from: &'v Value, root: &'v Value) -> Vec<Cow<'v, Value>> {
    let mut found = vec![Cow::Borrowed(from)];
    for (at, step) in steps.iter().enumerate() {
        if let Step::Function(summary) = step {
            let model = if definite(&steps[..at]) {
                found.into_iter().next()
            } else {
                Some(Cow::Owned(Value::Array(found.into_iter().map(Cow::into_owned).collect())))
            };
            found = model.and_then(|m| summary.of(&m)).map(Cow::Owned).into_iter().collect();
            continue;
        }
        let mut next = Vec::new();
        for value in found {
            match value {
                Cow::Borrowed(v) => step.take(v, root, &mut next),
                Cow::Owned(v) => {
                    let mut inner = Vec::new();
                    step.take(&v, root, &mut inner);
                    next.extend(inner.into_iter().map(|v| Cow::Owned(v.into_owned())));
                }
            }
        }
        found = next;
    }
    found
}

/// The place `index` in an array of `length`.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let at = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(at).ok().filter(|_| at < length)
}

impl Step {
    /// Whether the step can be taken from `value` where there is only that one.
    fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Keys(keys), Value::Object(_)) => keys.len() > 1 || value.get(&keys[0]).is_some(),
            (Self::Indexes(all), Value::Array(a)) => all.len() > 1 || place(all[0], a.len()).is_some(),
            (Self::Slice(..), Value::Array(_)) => true,
            (Self::Filter(_), _) => value.is_container(),
            (Self::All | Self::Deep(_) | Self::Function(_), _) => true,
            _ => false,
        }
    }

    fn take<'v>(&self, value: &'v Value, root: &Value, out: &mut Vec<Cow<'v, Value>>) {
        match (self, value) {
            (Self::Keys(keys), Value::Object(_)) => match &keys[..] {
                [key] => out.extend(value.get(key).map(Cow::Borrowed)),
                _ => {
                    let some = keys.iter().filter_map(|k| Some((k.clone(), value.get(k)?.clone())));
                    out.push(Cow::Owned(Value::Object(some.collect())));
                }
            },
            (Self::Indexes(all), Value::Array(a)) => {
                out.extend(all.iter().filter_map(|i| Some(Cow::Borrowed(&a[place(*i, a.len())?]))));
            }
            (Self::Slice(from, to), Value::Array(a)) => {
                let length = i64::try_from(a.len()).unwrap_or(i64::MAX);
                let at = |i: i64| if i < 0 { i.saturating_add(length) } else { i }.clamp(0, length) as usize;
                let (from, to) = (at(from.unwrap_or(0)), at(to.unwrap_or(length)));
                out.extend(a.iter().take(to).skip(from).map(Cow::Borrowed));
            }
            (Self::All, Value::Array(a)) => out.extend(a.iter().map(Cow::Borrowed)),
            (Self::All, Value::Object(o)) => out.extend(o.iter().map(|(_, v)| Cow::Borrowed(v))),
            (Self::Filter(filter), Value::Array(a)) => {
                out.extend(a.iter().filter(|v| filter.holds(v, root)).map(Cow::Borrowed));
            }
            (Self::Filter(filter), Value::Object(_)) if filter.holds(value, root) => {
                out.push(Cow::Borrowed(value));
            }
            (Self::Deep(step), _) => {
                let mut open = vec![value];
                while let Some(v) = open.pop() {
                    step.take(v, root, out);
                    match v {
                        Value::Array(a) => open.extend(a.iter().rev()),
                        Value::Object(o) => {
                            let from = open.len();
                            open.extend(o.iter().map(|(_, v)| v));
                            open[from..].reverse();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn whole(count: usize) -> Value {
    Value::Number(Number::Whole(count.to_string()))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(number.as_f64()),
        _ => None,
    }
}

impl Summary {
    fn of(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Length, Value::Array(a)) => Some(whole(a.len())),
            (Self::Length, Value::Object(o)) => Some(whole(o.len())),
            (Self::Keys, Value::Object(o)) => {
                Some(Value::Array(o.iter().map(|(k, _)| Value::String(k.clone())).collect()))
            }
            (Self::First, Value::Array(a)) => a.first().cloned(),
            (Self::Last, Value::Array(a)) => a.last().cloned(),
            (Self::Min | Self::Max | Self::Avg | Self::Sum, Value::Array(a)) => {
                let numbers: Vec<f64> = a.iter().filter_map(number).collect();
                let sum: f64 = numbers.iter().sum();
                let result = match self {
                    _ if numbers.is_empty() => return None,
                    Self::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
                    Self::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    Self::Avg => sum / numbers.len() as f64,
                    _ => sum,
                };
                Some(Value::Number(Number::Double(result)))
            }
            _ => None,
        }
    }
}

impl Filter {
    fn holds(&self, here: &Value, root: &Value) -> bool {
        match self {
            Self::Or(a, b) => a.holds(here, root) || b.holds(here, root),
            Self::And(a, b) => a.holds(here, root) && b.holds(here, root),
            Self::Not(a) => !a.holds(here, root),
            Self::Exists(operand) => operand.value(here, root).is_some(),
            Self::Matches(operand, pattern) => {
                let matches = |v: Cow<'_, Value>| matches!(&*v, Value::String(s) if pattern.is_match(s));
                operand.value(here, root).is_some_and(matches)
            }
            Self::Compare(a, how, b) => {
                let (Some(a), Some(b)) = (a.value(here, root), b.value(here, root)) else {
                    return *how == Comparison::Unequal;
                };
                how.holds(&a, &b)
            }
        }
    }
}

impl Operand {
    fn value<'v>(&'v self, here: &'v Value, root: &'v Value) -> Option<Cow<'v, Value>> {
        let (steps, from) = match self {
            Self::Constant(v) => return Some(Cow::Borrowed(v)),
            Self::Here(steps) => (steps, here),
            Self::Root(steps) => (steps, root),
        };
        let found = walk(steps, from, root);
        let all_empty = found.is_empty();
        if definite(steps) {
            return found.into_iter().next();
        }
        let all = || Cow::Owned(Value::Array(found.into_iter().map(Cow::into_owned).collect()));
        (!all_empty).then(all)
    }
}

impl Comparison {
    fn holds(self, a: &Value, b: &Value) -> bool {
        let order = match (a, b) {
            (Value::Number(x), Value::Number(y)) => x.as_f64().partial_cmp(&y.as_f64()),
            (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
            _ if a == b => Some(Ordering::Equal),
            _ => None,
        };
        let within =
            |list: &Value| matches!(list, Value::Array(all) if all.iter().any(|v| Self::Equal.holds(a, v)));
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::AtLeast => order.is_some_and(Ordering::is_ge),
            Self::In => within(b),
            Self::NotIn => !within(b),
        }
    }
}

/// Reads a path. Each part gives nothing if it is not written right.
struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn whole(&mut self) -> Option<Vec<Step>> {
        if !self.eat("$") {
            return None;
        }
        let steps = self.steps(false)?;
        self.rest.trim().is_empty().then_some(steps)
    }

    fn eat(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Steps up to the end, or in a filter to what is no step.
    fn steps(&mut self, inside: bool) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                let step = if self.rest.starts_with('[') { self.bracket()? } else { self.name(inside)? };
                steps.push(Step::Deep(Box::new(step)));
            } else if self.rest.starts_with(".[") {
                self.eat(".");
                steps.push(self.bracket()?);
            } else if self.eat(".") {
                steps.push(self.name(inside)?);
            } else if self.rest.starts_with('[') {
                steps.push(self.bracket()?);
            } else {
                return Some(steps);
            }
        }
    }

    fn name(&mut self, inside: bool) -> Option<Step> {
        if self.eat("*") {
            return Some(Step::All);
        }
        let ends = |c: char| {
            matches!(c, '.' | '[' | '(' | ' ')
                || inside && matches!(c, ')' | '=' | '<' | '>' | '!' | '&' | '|' | ',' | ']')
        };
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() {
            return None;
        }
        if !self.eat("(") {
            return Some(Step::Keys(vec![name.to_owned()]));
        }
        self.spaces();
        if !self.eat(")") {
            return None;
        }
        Some(Step::Function(match name {
            "length" | "size" => Summary::Length,
            "min" => Summary::Min,
            "max" => Summary::Max,
            "avg" => Summary::Avg,
            "sum" => Summary::Sum,
            "keys" => Summary::Keys,
            "first" => Summary::First,
            "last" => Summary::Last,
            _ => return None,
        }))
    }

    fn bracket(&mut self) -> Option<Step> {
        self.eat("[");
        self.spaces();
        let step = if self.eat("*") {
            Step::All
        } else if self.eat("?") {
            self.spaces();
            if !self.eat("(") {
                return None;
            }
            let filter = self.either()?;
            self.spaces();
            if !self.eat(")") {
                return None;
            }
            Step::Filter(filter)
        } else if self.rest.starts_with(['\'', '"']) {
            let mut keys = vec![self.quoted()?];
            self.spaces();
            while self.eat(",") {
                self.spaces();
                keys.push(self.quoted()?);
                self.spaces();
            }
            Step::Keys(keys)
        } else {
            let first = self.integer();
            self.spaces();
            if self.eat(":") {
                self.spaces();
                Step::Slice(first, self.integer())
            } else {
                let mut all = vec![first?];
                while self.eat(",") {
                    self.spaces();
                    all.push(self.integer()?);
                    self.spaces();
                }
                Step::Indexes(all)
            }
        };
        self.spaces();
        self.eat("]").then_some(step)
    }

    fn integer(&mut self) -> Option<i64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let value = digits.parse().ok()?;
        self.rest = rest;
        Some(value)
    }

    /// A text in single or double quotes; `\` takes the next character as it is.
    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[1 + at + 1..];
                return Some(text);
            }
            text.push(if c == '\\' { chars.next()?.1 } else { c });
        }
        None
    }

    fn either(&mut self) -> Option<Filter> {
        let mut left = self.both()?;
        loop {
            self.spaces();
            if !self.eat("||") {
                return Some(left);
            }
            left = Filter::Or(Box::new(left), Box::new(self.both()?));
        }
    }

    fn both(&mut self) -> Option<Filter> {
        let mut left = self.condition()?;
        loop {
            self.spaces();
            if !self.eat("&&") {
                return Some(left);
            }
            left = Filter::And(Box::new(left), Box::new(self.condition()?));
        }
    }

    fn condition(&mut self) -> Option<Filter> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return None;
        }
        let condition = self.condition_at_depth();
        self.depth -= 1;
        condition
    }

    fn condition_at_depth(&mut self) -> Option<Filter> {
        self.spaces();
        if self.eat("!") {
            return Some(Filter::Not(Box::new(self.condition()?)));
        }
        if self.eat("(") {
            let inner = self.either()?;
            self.spaces();
            return self.eat(")").then_some(inner);
        }
        let left = self.operand()?;
        self.spaces();
        if self.eat("=~") {
            self.spaces();
            if !self.eat("/") {
                return None;
            }
            let (pattern, rest) = self.rest.split_once('/')?;
            self.rest = rest;
            let flag = if self.eat("i") { "(?i)" } else { "" };
            return Some(Filter::Matches(left, Regex::new(&format!("^{flag}(?:{pattern})$")).ok()?));
        }
        const SIGNS: &[(&str, Comparison)] = &[
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("in ", Comparison::In),
            ("nin ", Comparison::NotIn),
        ];
        let Some((_, how)) = SIGNS.iter().find(|(sign, _)| self.eat(sign)) else {
            return Some(Filter::Exists(left));
        };
        self.spaces();
        Some(Filter::Compare(left, *how, self.operand()?))
    }

    fn operand(&mut self) -> Option<Operand> {
        self.spaces();
        if self.eat("@") {
            return Some(Operand::Here(self.steps(true)?));
        }
        if self.eat("$") {
            return Some(Operand::Root(self.steps(true)?));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Some(Operand::Constant(Value::String(self.quoted()?)));
        }
        let end = if self.rest.starts_with('[') {
            self.rest.find(']')? + 1
        } else {
            self.rest.find([')', ' ', '&', '|', '=', '<', '>', '!', ',']).unwrap_or(self.rest.len())
        };
        let (text, rest) = self.rest.split_at(end);
        let value = Value::parse(&text.replace('\'', "\"")).ok()?;
        self.rest = rest;
        Some(Operand::Constant(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, path: &str) -> String {
        let root = Value::parse(json).unwrap();
        let all = Path::parse(path).unwrap().find(&root).unwrap_or_default();
        let mut out = String::new();
        Value::Array(all.into_iter().map(Cow::into_owned).collect()).write(&mut out);
        out
    }

    #[test]
    fn follows_names_indexes_slices_and_filters() {
        let shop = r#"{"a":[{"p":1,"n":"x"},{"p":5,"n":"y"}],"b":{"p":7}}"#;
        for (path, want) in [
            ("$.a[0].n", r#"["x"]"#),
            ("$.a[-1].n", r#"["y"]"#),
            ("$['b']['p']", "[7]"),
            ("lax $.a[*].p", "[1,5]"),
            ("$..p", "[1,5,7]"),
            ("$.a[0:1].p", "[1]"),
            ("$.a[?(@.p > 2)].n", r#"["y"]"#),
            ("$.a[?(@.p > 2 && @.n == 'x' || @.n =~ /Y/i)].p", "[5]"),
            ("$.a[?(!(@.q))].p", "[1,5]"),
            ("$.a[?(@.n in ['x', 'z'])].p", "[1]"),
            ("$.a.length()", "[2]"),
            ("$.a[*].p.sum()", "[6.0]"),
            ("$.nothing", "[]"),
        ] {
            assert_eq!(found(shop, path), want, "{path}");
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        for path in ["", "$.", "$[", "$[x]", "$.a[?(", "$.a[?(@.b >)]", "$ x", "$.f(", "$.f(1)"] {
            assert!(Path::parse(path).is_none(), "{path}");
        }
        assert!(Path::parse(&format!("$[?({}@.a{})]", "(".repeat(99), ")".repeat(99))).is_none());
    }
}
