//! INTERVAL literals: checked as Flink checks them, and rewritten to what DataFusion reads.

use super::syntax;
use super::unparse::unit;
use crate::error::{Error, Result, Span};
use datafusion_sql::sqlparser::ast::{DateTimeField, Expr, Interval, UnaryOperator, Value, ValueWithSpan};

/// Fields of an interval, largest first, with the separator that stands before each in a literal, and the
/// largest value where it is not the first.
const FIELDS: &[(&str, char, u64)] = &[
    ("YEAR", ' ', u64::MAX),
    ("MONTH", '-', 11),
    ("DAY", ' ', u64::MAX),
    ("HOUR", ' ', 23),
    ("MINUTE", ':', 59),
    ("SECOND", ':', 59),
];

/// Digits of the first field without a precision of its own.
const DEFAULT_DIGITS: u64 = 2;
/// Most digits of the first field.
const MAX_DIGITS: u64 = 10;

/// Checks `literal` and writes it as one text of units that DataFusion reads: `1 DAY 2 HOUR 3.5 SECOND`.
/// One with a single field keeps its form: `'5' SECOND`.
///
/// Errors: a value that does not fit its fields, or has more digits than its precision.
pub(super) fn normalize(literal: &mut Interval) -> Result<()> {
    let Some(first) = &literal.leading_field else {
        return Err(Error::user("INTERVAL needs a unit.")
            .with_hint("Write INTERVAL '5' SECOND; units are YEAR, MONTH, DAY, HOUR, MINUTE, SECOND.")
            .at(place(&literal.value)));
    };
    let (negated, value) = match literal.value.as_ref() {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (true, expr.as_ref()),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => (false, expr.as_ref()),
        value => (false, value),
    };
    let (text, span) = match value {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) => (text, span),
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), span }) => (text, span),
        _ => {
            return Err(Error::user("The value of an INTERVAL must be a literal.")
                .with_hint(
                    "Write INTERVAL '5' SECOND; multiply for a computed length: x * INTERVAL '1' SECOND.",
                )
                .at(place(value)));
        }
    };
    let (span, at) = (*span, syntax::span(*span));
    let from = field(first, at)?;
    let to = literal.last_field.as_ref().map(|f| field(f, at)).transpose()?.unwrap_or(from);
    let qualifier = qualifier(literal);
    let wrong = || {
        Error::user(format!("Illegal interval literal format '{}' for {qualifier}", syntax::shorten(text)))
            .with_hint(format!("Write for example {}.", example(from, to)))
            .at(at)
    };
    if to < from || (from < 2) != (to < 2) {
        return Err(
            Error::user(format!("INTERVAL cannot go from {} to {}.", FIELDS[from].0, FIELDS[to].0)).at(at)
        );
    }
    let body = text.trim();
    let (negated, body) = match body.strip_prefix('-') {
        Some(body) => (!negated, body),
        None => (negated, body.strip_prefix('+').unwrap_or(body)),
    };
    let parts = take_apart(body, from, to).ok_or_else(wrong)?;

    let digits = literal.leading_precision.unwrap_or(DEFAULT_DIGITS);
    if digits > MAX_DIGITS || digits == 0 {
        return Err(Error::user(format!(
            "Interval leading field precision '{digits}' out of range for {qualifier}"
        ))
        .at(at));
    }
    let leading = parts[0].split('.').next().unwrap_or_default().trim_start_matches('0');
    if leading.len() as u64 > digits {
        let name = FIELDS[from].0;
        return Err(Error::user(format!(
            "Interval field value {leading} exceeds precision of {name}({digits}) field"
        ))
        .with_hint(format!("Write {name}({}), or a larger unit.", leading.len()))
        .at(at));
    }

    let sign = if negated { "-" } else { "" };
    let unit_texts: Vec<String> =
        parts.iter().zip(from..=to).map(|(part, i)| format!("{sign}{part} {}", FIELDS[i].0)).collect();
    let text = if from == to { format!("{sign}{}", parts[0]) } else { unit_texts.join(" ") };
    literal.leading_field = (from == to).then(|| single(from));
    literal.leading_precision = None;
    literal.last_field = None;
    literal.fractional_seconds_precision = None;
    *literal.value = Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span });
    Ok(())
}

fn single(field: usize) -> DateTimeField {
    [
        DateTimeField::Year,
        DateTimeField::Month,
        DateTimeField::Day,
        DateTimeField::Hour,
        DateTimeField::Minute,
        DateTimeField::Second,
    ][field]
        .clone()
}

/// The numbers of the fields `from..=to`, each as written.
fn take_apart(body: &str, from: usize, to: usize) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut rest = body;
    for (i, field) in FIELDS.iter().enumerate().take(to + 1).skip(from) {
        if i > from {
            rest = rest.strip_prefix(field.1)?.trim_start_matches(' ');
        }
        let fraction = field.0 == "SECOND";
        let end = rest.find(|c: char| !(c.is_ascii_digit() || fraction && c == '.')).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
        let n: u64 = whole.parse().ok()?;
        if (i > from && n > field.2) || fraction.len() > 9 || fraction.contains('.') || part.ends_with('.') {
            return None;
        }
        parts.push(part);
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

fn field(unit_field: &DateTimeField, at: Option<Span>) -> Result<usize> {
    let name = unit(unit_field);
    FIELDS.iter().position(|(f, ..)| *f == name).ok_or_else(|| {
        let hint = match name.as_str() {
            "WEEK" => "Write INTERVAL '7' DAY for a week.",
            "QUARTER" => "Write INTERVAL '3' MONTH for a quarter.",
            "MILLISECOND" => "Write INTERVAL '0.001' SECOND for a millisecond.",
            _ => "Units are YEAR, MONTH, DAY, HOUR, MINUTE and SECOND.",
        };
        Error::user(format!("{name} is not a unit of INTERVAL.")).with_hint(hint).at(at)
    })
}

fn qualifier(literal: &Interval) -> String {
    let mut text = format!("INTERVAL {}", literal.leading_field.as_ref().map(unit).unwrap_or_default());
    if let Some(p) = literal.leading_precision {
        text.push_str(&format!("({p})"));
    }
    if let Some(last) = &literal.last_field {
        text.push_str(&format!(" TO {}", unit(last)));
    }
    text
}

fn example(from: usize, to: usize) -> String {
    let values = ["1", "2", "1", "02", "03", "04.5"];
    let mut text = values[from].trim_start_matches('0').to_owned();
    for i in from + 1..=to {
        text.push(FIELDS[i].1);
        text.push_str(values[i]);
    }
    let units = if from == to {
        FIELDS[from].0.to_owned()
    } else {
        format!("{} TO {}", FIELDS[from].0, FIELDS[to].0)
    };
    format!("INTERVAL '{text}' {units}")
}

fn place(expr: &Expr) -> Option<Span> {
    syntax::span(datafusion_sql::sqlparser::ast::Spanned::span(expr))
}
