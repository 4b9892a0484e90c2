//! Expressions as Flink prints them in SHOW CREATE TABLE and DESCRIBE: `` `price` * 2 + CAST(`id` AS INTEGER) ``.

use super::data_type::SqlType;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Interval, Subscript, TrimWhereField,
    UnaryOperator, Value, ValueWithSpan,
};

/// How tightly an operator holds its operands, as Calcite counts; sqlparser orders them in the same way.
mod strength {
    pub const OR: u8 = 22;
    pub const AND: u8 = 24;
    pub const NOT: u8 = 26;
    pub const IS: u8 = 28;
    pub const COMPARE: u8 = 30;
    pub const RANGE: u8 = 32;
    pub const ADD: u8 = 40;
    pub const MULTIPLY: u8 = 60;
    pub const SIGN: u8 = 80;
    pub const ATOM: u8 = 100;
}

/// The expression's text; `None` if it holds a form that only its source text can show.
pub fn unparse(expr: &Expr) -> Option<String> {
    print(expr).map(|(text, _)| text)
}

/// The expression in `text` as Flink prints it; `text` itself if it cannot be read or printed.
pub fn quoted_expression(text: &str) -> String {
    super::parse_expression(text).ok().and_then(|e| unparse(&e)).unwrap_or_else(|| text.to_owned())
}

/// An operand in parentheses if it holds less tightly than `least`.
fn operand(expr: &Expr, least: u8) -> Option<String> {
    let (text, strength) = print(expr)?;
    Some(if strength < least { format!("({text})") } else { text })
}

fn print(expr: &Expr) -> Option<(String, u8)> {
    use strength::*;
    let is = |e: &Expr, test: &str| Some((format!("{} IS {test}", operand(e, COMPARE)?), IS));
    let atom = |text: String| Some((text, ATOM));
    match expr {
        Expr::Nested(inner) => print(inner),
        Expr::Identifier(ident) => atom(quote(ident)),
        Expr::CompoundIdentifier(parts) => atom(parts.iter().map(quote).collect::<Vec<_>>().join(".")),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut text = operand(root, ATOM)?;
            for access in access_chain {
                match access {
                    AccessExpr::Dot(Expr::Identifier(field)) => text.push_str(&format!(".{}", quote(field))),
                    AccessExpr::Subscript(Subscript::Index { index }) => {
                        text.push_str(&format!("[{}]", unparse(index)?));
                    }
                    _ => return None,
                }
            }
            atom(text)
        }
        Expr::Value(value) => atom(literal(value)?),
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(s) => {
                let kind = match &typed.data_type {
                    DataType::Date => "DATE",
                    DataType::Time(..) => "TIME",
                    DataType::Timestamp(..) => "TIMESTAMP",
                    _ => return None,
                };
                atom(format!("{kind} {}", text(s)))
            }
            _ => None,
        },
        Expr::Interval(interval) => atom(interval_text(interval)?),
        Expr::IsNull(e) => is(e, "NULL"),
        Expr::IsNotNull(e) => is(e, "NOT NULL"),
        Expr::IsTrue(e) => is(e, "TRUE"),
        Expr::IsNotTrue(e) => is(e, "NOT TRUE"),
        Expr::IsFalse(e) => is(e, "FALSE"),
        Expr::IsNotFalse(e) => is(e, "NOT FALSE"),
        Expr::IsUnknown(e) => is(e, "UNKNOWN"),
        Expr::IsNotUnknown(e) => is(e, "NOT UNKNOWN"),
        Expr::IsDistinctFrom(a, b) => {
            Some((format!("{} IS DISTINCT FROM {}", operand(a, COMPARE)?, operand(b, COMPARE)?), IS))
        }
        Expr::IsNotDistinctFrom(a, b) => {
            Some((format!("{} IS NOT DISTINCT FROM {}", operand(a, COMPARE)?, operand(b, COMPARE)?), IS))
        }
        Expr::InList { expr, list, negated } => {
            Some((format!("{} {}IN ({})", operand(expr, ADD)?, not(*negated), all(list)?), RANGE))
        }
        Expr::Between { expr, negated, low, high } => Some((
            format!(
                "{} {}BETWEEN ASYMMETRIC {} AND {}",
                operand(expr, ADD)?,
                not(*negated),
                operand(low, ADD)?,
                operand(high, ADD)?
            ),
            RANGE,
        )),
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            Some((match_text("LIKE", *negated, expr, pattern, escape_char.as_ref())?, RANGE))
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            Some((match_text("SIMILAR TO", *negated, expr, pattern, escape_char.as_ref())?, RANGE))
        }
        Expr::BinaryOp { left, op, right } => binary(left, op, right),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => print(expr),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            Some((format!("- {}", operand(expr, SIGN)?), SIGN))
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Some((format!("NOT {}", operand(expr, NOT)?), NOT)),
        Expr::Cast { kind, expr, data_type, format: None, .. } => {
            let name = match kind {
                CastKind::Cast => "CAST",
                CastKind::TryCast => "TRY_CAST",
                _ => return None,
            };
            let data_type = match SqlType::of_ast(data_type).ok()?.0 {
                SqlType::Int => "INTEGER".to_owned(),
                other => other.to_string(),
            };
            atom(format!("{name}({} AS {data_type})", unparse(expr)?))
        }
        Expr::Extract { field, expr, .. } => {
            atom(format!("EXTRACT({} FROM {})", unit(field), unparse(expr)?))
        }
        Expr::Ceil { expr, field } => atom(format!("CEIL({}{})", unparse(expr)?, rounding(field)?)),
        Expr::Floor { expr, field } => atom(format!("FLOOR({}{})", unparse(expr)?, rounding(field)?)),
        Expr::Position { expr, r#in } => {
            atom(format!("POSITION({} IN {})", operand(expr, ADD)?, operand(r#in, ADD)?))
        }
        Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
            let name = if *shorthand { "SUBSTR" } else { "SUBSTRING" };
            let mut args = vec![unparse(expr)?];
            for arg in [substring_from, substring_for].into_iter().flatten() {
                args.push(unparse(arg)?);
            }
            atom(format!("{name}({})", args.join(", ")))
        }
        Expr::Trim { trim_where, trim_what, expr, trim_characters: None } => {
            let side = match trim_where {
                None | Some(TrimWhereField::Both) => "BOTH",
                Some(TrimWhereField::Leading) => "LEADING",
                Some(TrimWhereField::Trailing) => "TRAILING",
            };
            let what = match trim_what {
                Some(what) => unparse(what)?,
                None => "' '".to_owned(),
            };
            atom(format!("TRIM({side} {what} FROM {})", unparse(expr)?))
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = match overlay_for {
                Some(length) => format!(" FOR {}", unparse(length)?),
                None => String::new(),
            };
            atom(format!(
                "OVERLAY({} PLACING {} FROM {}{length})",
                unparse(expr)?,
                unparse(overlay_what)?,
                unparse(overlay_from)?
            ))
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            atom(case(operand.as_deref(), conditions, else_result.as_deref())?)
        }
        Expr::Array(array) => atom(format!("ARRAY[{}]", all(&array.elem)?)),
        Expr::Tuple(items) => atom(format!("ROW({})", all(items)?)),
        Expr::Function(function) => atom(call(function)?),
        _ => None,
    }
}

fn binary(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<(String, u8)> {
    use strength::*;
    let (sign, strength) = match op {
        BinaryOperator::Or => ("OR", OR),
        BinaryOperator::And => ("AND", AND),
        BinaryOperator::Eq => ("=", COMPARE),
        BinaryOperator::NotEq => ("<>", COMPARE),
        BinaryOperator::Lt => ("<", COMPARE),
        BinaryOperator::LtEq => ("<=", COMPARE),
        BinaryOperator::Gt => (">", COMPARE),
        BinaryOperator::GtEq => (">=", COMPARE),
        BinaryOperator::Plus => ("+", ADD),
        BinaryOperator::Minus => ("-", ADD),
        BinaryOperator::Multiply => ("*", MULTIPLY),
        BinaryOperator::Divide => ("/", MULTIPLY),
        BinaryOperator::Modulo => ("%", MULTIPLY),
        BinaryOperator::StringConcat => ("||", MULTIPLY),
        _ => return None,
    };
    // sqlparser reads LIKE and its like more loosely than Calcite does: show them in parentheses.
    let side = |e: &Expr, least: u8| {
        let (text, inner) = print(e)?;
        let range = inner == RANGE && strength == COMPARE;
        Some(if inner < least || range { format!("({text})") } else { text })
    };
    Some((format!("{} {sign} {}", side(left, strength)?, side(right, strength + 1)?), strength))
}

fn match_text(
    word: &str,
    negated: bool,
    expr: &Expr,
    pattern: &Expr,
    escape: Option<&ValueWithSpan>,
) -> Option<String> {
    let escape = match escape {
        Some(value) => format!(" ESCAPE {}", literal(value)?),
        None => String::new(),
    };
    Some(format!(
        "{} {}{word} {}{escape}",
        operand(expr, strength::ADD)?,
        not(negated),
        operand(pattern, strength::ADD)?
    ))
}

fn case(subject: Option<&Expr>, conditions: &[CaseWhen], otherwise: Option<&Expr>) -> Option<String> {
    let mut text = "CASE".to_owned();
    for when in conditions {
        let condition = match subject {
            // Flink knows only the searched form.
            Some(subject) => {
                format!(
                    "{} = {}",
                    operand(subject, strength::COMPARE)?,
                    operand(&when.condition, strength::COMPARE + 1)?
                )
            }
            None => unparse(&when.condition)?,
        };
        text.push_str(&format!(" WHEN {condition} THEN {}", unparse(&when.result)?));
    }
    let otherwise = match otherwise {
        Some(e) => unparse(e)?,
        None => "NULL".to_owned(),
    };
    text.push_str(&format!(" ELSE {otherwise} END"));
    Some(text)
}

fn call(function: &Function) -> Option<String> {
    if function.over.is_some()
        || function.filter.is_some()
        || function.null_treatment.is_some()
        || !function.within_group.is_empty()
    {
        return None;
    }
    let name = match &function.name.0[..] {
        [part] => {
            let ident = part.as_ident()?;
            if ident.quote_style.is_some() { quote(ident) } else { ident.value.to_uppercase() }
        }
        parts => {
            let parts: Option<Vec<String>> = parts.iter().map(|p| p.as_ident().map(quote)).collect();
            parts?.join(".")
        }
    };
    let list = match &function.args {
        FunctionArguments::None => return Some(name),
        FunctionArguments::List(list) => list,
        FunctionArguments::Subquery(_) => return None,
    };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let mut args = Vec::with_capacity(list.args.len());
    for (i, arg) in list.args.iter().enumerate() {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(unit)))
                if i == 0 && unit.quote_style.is_none() && super::desugar::is_of_units(function) =>
            {
                args.push(unit.value.to_uppercase());
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => args.push(unparse(e)?),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => args.push("*".to_owned()),
            _ => return None,
        }
    }
    match name.as_str() {
        "MAP" | "MULTISET" => Some(format!("{name}[{}]", args.join(", "))),
        // Our own encodings of longer forms: only the source text shows them.
        "IS_JSON" | "TABLE" => None,
        "JSON_VALUE" | "JSON_QUERY" | "JSON_EXISTS" if args.len() > 2 => None,
        _ => Some(format!("{name}({})", args.join(", "))),
    }
}

fn interval_text(interval: &Interval) -> Option<String> {
    let (sign, value) = match interval.value.as_ref() {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => ("-", expr.as_ref()),
        value => ("", value),
    };
    let value = match value {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(s), .. }) => text(s),
        _ => return None,
    };
    let mut out = format!("INTERVAL {sign}{value} {}", unit(interval.leading_field.as_ref()?));
    match (interval.leading_precision, interval.fractional_seconds_precision, &interval.last_field) {
        (Some(p), Some(f), None) => out.push_str(&format!("({p}, {f})")),
        (Some(p), _, _) => out.push_str(&format!("({p})")),
        _ => {}
    }
    if let Some(last) = &interval.last_field {
        out.push_str(&format!(" TO {}", unit(last)));
        if let Some(fraction) = interval.fractional_seconds_precision {
            out.push_str(&format!("({fraction})"));
        }
    }
    Some(out)
}

fn rounding(kind: &CeilFloorKind) -> Option<String> {
    match kind {
        CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => Some(String::new()),
        CeilFloorKind::DateTimeField(field) => Some(format!(" TO {}", unit(field))),
        CeilFloorKind::Scale(_) => None,
    }
}

/// A unit of time in the singular, upper case.
pub(super) fn unit(field: &DateTimeField) -> String {
    let text = field.to_string().to_uppercase();
    match text.as_str() {
        "YEARS" | "MONTHS" | "WEEKS" | "DAYS" | "HOURS" | "MINUTES" | "SECONDS" | "MILLISECONDS"
        | "MICROSECONDS" | "NANOSECONDS" | "QUARTERS" => text[..text.len() - 1].to_owned(),
        _ => text,
    }
}

fn all(list: &[Expr]) -> Option<String> {
    let texts: Option<Vec<String>> = list.iter().map(unparse).collect();
    texts.map(|t| t.join(", "))
}

fn literal(value: &ValueWithSpan) -> Option<String> {
    match &value.value {
        Value::Number(n, _) => Some(n.to_uppercase()),
        Value::SingleQuotedString(s) | Value::NationalStringLiteral(s) | Value::UnicodeStringLiteral(s) => {
            Some(text(s))
        }
        Value::HexStringLiteral(s) => Some(format!("X'{}'", s.to_uppercase())),
        Value::Boolean(b) => Some(if *b { "TRUE" } else { "FALSE" }.to_owned()),
        Value::Null => Some("NULL".to_owned()),
        _ => None,
    }
}

fn quote(ident: &Ident) -> String {
    catalog::quote_identifier(&ident.value)
}

fn text(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_flink_does() {
        // What is written, and what Flink 1.20 printed for it.
        for (written, printed) in [
            ("to_timestamp(from_unixtime(a))", "TO_TIMESTAMP(FROM_UNIXTIME(`a`))"),
            ("lower(trim(leading 'x' from s))", "LOWER(TRIM(LEADING 'x' FROM `s`))"),
            ("substring(s from 2 for 3)", "SUBSTRING(`s`, 2, 3)"),
            ("substr(s,2,3)", "SUBSTR(`s`, 2, 3)"),
            ("m['a']", "`m`['a']"),
            ("ar[1]", "`ar`[1]"),
            ("position('a' in s)", "POSITION('a' IN `s`)"),
            ("overlay(s placing 'x' from 1 for 2)", "OVERLAY(`s` PLACING 'x' FROM 1 FOR 2)"),
            ("ceil(ts to hour)", "CEIL(`ts` TO HOUR)"),
            ("floor(a)", "FLOOR(`a`)"),
            ("ts + interval '1' days", "`ts` + INTERVAL '1' DAY"),
            ("d - interval '1-2' year to month", "`d` - INTERVAL '1-2' YEAR TO MONTH"),
            (
                "ts - interval '1 02:03:04.5' day to second(3)",
                "`ts` - INTERVAL '1 02:03:04.5' DAY TO SECOND(3)",
            ),
            ("ts + interval '500' minute(3)", "`ts` + INTERVAL '500' MINUTE(3)"),
            ("interval -'5' minute", "INTERVAL -'5' MINUTE"),
            ("s like 'a%'", "`s` LIKE 'a%'"),
            ("s not like 'a!%' escape '!'", "`s` NOT LIKE 'a!%' ESCAPE '!'"),
            ("s similar to 'x'", "`s` SIMILAR TO 'x'"),
            ("a is not distinct from 3", "`a` IS NOT DISTINCT FROM 3"),
            ("a not in (1,2)", "`a` NOT IN (1, 2)"),
            ("a not between 1 and 2", "`a` NOT BETWEEN ASYMMETRIC 1 AND 2"),
            ("a between 1 and 2 and a = 3", "`a` BETWEEN ASYMMETRIC 1 AND 2 AND `a` = 3"),
            (
                "case a when 1 then 'x' when 2 then 'y' end",
                "CASE WHEN `a` = 1 THEN 'x' WHEN `a` = 2 THEN 'y' ELSE NULL END",
            ),
            (
                "case when (a > 1 and a < 3) then s end",
                "CASE WHEN `a` > 1 AND `a` < 3 THEN `s` ELSE NULL END",
            ),
            ("try_cast(s as int)", "TRY_CAST(`s` AS INTEGER)"),
            ("cast(ts as timestamp_ltz(3))", "CAST(`ts` AS TIMESTAMP_LTZ(3))"),
            ("cast(s as decimal(10,2))", "CAST(`s` AS DECIMAL(10, 2))"),
            ("cast(a as double precision)", "CAST(`a` AS DOUBLE)"),
            ("cast(s as string)", "CAST(`s` AS STRING)"),
            ("time '10:00:00'", "TIME '10:00:00'"),
            ("timestamp '2020-01-01 00:00:00.123'", "TIMESTAMP '2020-01-01 00:00:00.123'"),
            ("x'0aFF'", "X'0AFF'"),
            ("true and (false or not true)", "TRUE AND (FALSE OR NOT TRUE)"),
            ("s is null", "`s` IS NULL"),
            ("(a = 1) is true", "`a` = 1 IS TRUE"),
            ("b is not unknown", "`b` IS NOT UNKNOWN"),
            ("-a + +3", "- `a` + 3"),
            ("- (a + 1)", "- (`a` + 1)"),
            ("a - (3 - 2)", "`a` - (3 - 2)"),
            ("a - 1 - 2", "`a` - 1 - 2"),
            ("a - (a * 2)", "`a` - `a` * 2"),
            ("(a * 2) + 1", "`a` * 2 + 1"),
            ("a * 2 / 3 % 4", "`a` * 2 / 3 % 4"),
            ("(a + 1) * (a - 1)", "(`a` + 1) * (`a` - 1)"),
            ("(a > 1) = (a < 2)", "`a` > 1 = (`a` < 2)"),
            ("if(a > 1, 2, 3)", "IF(`a` > 1, 2, 3)"),
            ("proctime()", "PROCTIME()"),
            ("localtimestamp", "LOCALTIMESTAMP"),
            ("row(1, 'a')", "ROW(1, 'a')"),
            ("array[1,2]", "ARRAY[1, 2]"),
            ("map['a',1]", "MAP['a', 1]"),
            ("a != 1", "`a` <> 1"),
            ("1e10 + 1.50", "1E10 + 1.50"),
            ("extract(day from ts)", "EXTRACT(DAY FROM `ts`)"),
            ("timestampadd(hour, 1, ts)", "TIMESTAMPADD(HOUR, 1, `ts`)"),
            ("s || 'a' || 'b'", "`s` || 'a' || 'b'"),
            ("s || ('a' || 'b')", "`s` || ('a' || 'b')"),
            ("r.x", "`r`.`x`"),
            ("a = 1 or a = 2 and a = 3", "`a` = 1 OR `a` = 2 AND `a` = 3"),
            ("(a = 1 or a = 2) and a = 3", "(`a` = 1 OR `a` = 2) AND `a` = 3"),
            ("not (a = 1 or a = 2)", "NOT (`a` = 1 OR `a` = 2)"),
            ("not a = 1", "NOT `a` = 1"),
            ("trim(both from s)", "TRIM(BOTH ' ' FROM `s`)"),
            ("upper(name) || 'x''y'", "UPPER(`name`) || 'x''y'"),
            ("cast(a + 1 as string) || 'x'", "CAST(`a` + 1 AS STRING) || 'x'"),
        ] {
            let expr = super::super::parse_expression(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            let text = unparse(&expr).unwrap_or_else(|| panic!("{written}"));
            assert_eq!(text, printed, "{written}");
            // What is printed means the same, and prints the same again.
            assert_eq!(quoted_expression(&text), text, "{written}");
        }
    }

    #[test]
    fn keeps_the_meaning_where_parentheses_matter() {
        for text in ["(a = b) IN (TRUE)", "a = (b LIKE 'x')", "(a LIKE 'x') = b", "(NOT a) = b", "-(-a)"] {
            let first = super::super::parse_expression(text).unwrap();
            let printed = unparse(&first).unwrap();
            let second = super::super::parse_expression(&printed).unwrap();
            let strip = |e: &Expr| e.to_string().replace(['(', ')', '`'], "").replace("- ", "-");
            assert_eq!(strip(&first), strip(&second), "{text} -> {printed}");
            assert_eq!(unparse(&second).unwrap(), printed);
        }
    }

    #[test]
    fn what_cannot_be_printed_is_left_to_the_source_text() {
        for text in ["json_value(s, '$.a' returning int)", "s is json object", "count(distinct a)"] {
            assert_eq!(unparse(&super::super::parse_expression(text).unwrap()), None, "{text}");
            assert_eq!(quoted_expression(text), text);
        }
    }
}
