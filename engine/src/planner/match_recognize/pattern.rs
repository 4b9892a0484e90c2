//! PATTERN: variables one after the other, each with a quantifier.

use crate::error::{Error, Result};
use crate::plan::Quantifier;
use crate::planner::diagnostics::span;
use datafusion_sql::sqlparser::ast::{
    Ident, MatchRecognizePattern, MatchRecognizeSymbol, RepetitionQuantifier,
};

/// A variable of the pattern.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub name: Ident,
    pub quantifier: Quantifier,
}

const ONCE: Quantifier = Quantifier { min: 1, max: Some(1), greedy: false };

/// The variables of `pattern`, in order.
///
/// Errors: what Flink has not, and patterns that Flink refuses.
pub(super) fn variables(pattern: &MatchRecognizePattern) -> Result<Vec<Variable>> {
    let mut variables = Vec::new();
    add(pattern, &mut variables)?;
    for (index, variable) in variables.iter().enumerate() {
        let Variable { name, quantifier } = variable;
        let at = span(name.span);
        if variables[..index].iter().any(|v| v.name.value == name.value) {
            return Err(Error::user("Pattern variables must be unique. That might change in the future.")
                .with_hint(format!(
                    "Use another name for the second {}, with the same condition.",
                    name.value
                ))
                .at(at));
        }
        let before = index.checked_sub(1).map(|i| &variables[i]);
        let left_out = quantifier.min == 0 && quantifier.max.is_none_or(|max| max == 1);
        if left_out && let Some(before) = before.filter(|b| b.quantifier.greedy) {
            return Err(Error::user("Optional pattern cannot be preceded by greedy pattern.")
                .with_hint(format!(
                    "Make {0} reluctant ({0}+? or {0}*?), or {1} one that always has a row.",
                    before.name.value, name.value
                ))
                .at(at));
        }
    }
    if variables.iter().all(|v| v.quantifier.min == 0) {
        return Err(Error::user(
            "Patterns that can produce empty matches are not supported. There must be at least one non-optional state.",
        )
        .with_hint("Write a variable without ? or *."));
    }
    if let Some(last) = variables.last().filter(|v| v.quantifier.greedy) {
        return Err(Error::user(
            "Greedy quantifiers are not allowed as the last element of a Pattern yet. Finish your pattern with either a simple \
             variable or reluctant quantifier.",
        )
        .with_hint(format!(
            "Write {0}+? for {0}+, or put a variable behind it that ends it, with the opposite condition.",
            last.name.value
        ))
        .at(span(last.name.span)));
    }
    Ok(variables)
}

fn add(pattern: &MatchRecognizePattern, variables: &mut Vec<Variable>) -> Result<()> {
    match pattern {
        MatchRecognizePattern::Symbol(symbol) => {
            variables.push(Variable { name: named(symbol)?, quantifier: ONCE });
            Ok(())
        }
        MatchRecognizePattern::Concat(parts) => parts.iter().try_for_each(|p| add(p, variables)),
        MatchRecognizePattern::Group(inner) => add(inner, variables),
        MatchRecognizePattern::Repetition(inner, quantifier) => {
            // A `?` behind a quantifier makes it reluctant.
            let (inner, quantifier, greedy) = match (inner.as_ref(), quantifier) {
                (MatchRecognizePattern::Repetition(inner, first), RepetitionQuantifier::AtMostOne) => {
                    (inner.as_ref(), first, false)
                }
                (other, quantifier) => (other, quantifier, true),
            };
            let MatchRecognizePattern::Symbol(symbol) = inner else {
                return Err(Error::user(format!(
                    "Expression not supported: {inner} Group patterns are not supported yet."
                ))
                .with_hint("Give each variable its own quantifier, or write the group out: A B A2 B2.")
                .at(place(inner)));
            };
            let name = named(symbol)?;
            let quantifier = of(quantifier, greedy, &name)?;
            variables.push(Variable { name, quantifier });
            Ok(())
        }
        MatchRecognizePattern::Alternation(_) => Err(Error::user(format!(
            "Expression not supported: {pattern}. Currently, CEP doesn't support branching patterns."
        ))
        .with_hint("Use one variable, with OR in its condition.")
        .at(place(pattern))),
        MatchRecognizePattern::Permute(_) => Err(Error::user(format!(
            "Expression not supported: {pattern}. Currently, CEP doesn't support PERMUTE patterns."
        ))
        .with_hint("Write a MATCH_RECOGNIZE for each order, and join them with UNION ALL.")
        .at(place(pattern))),
        MatchRecognizePattern::Exclude(_) => Err(Error::user(format!(
            "Expression not supported: {pattern}. Currently, CEP doesn't support '{{-' '-}}' patterns."
        ))
        .with_hint("Leave out the braces: only MEASURES are told of a match.")
        .at(place(pattern))),
    }
}

fn named(symbol: &MatchRecognizeSymbol) -> Result<Ident> {
    match symbol {
        MatchRecognizeSymbol::Named(name) if name.quote_style.is_some() || name.value != "$" => {
            Ok(name.clone())
        }
        _ => Err(Error::unsupported(
            "An anchor (^ or $) in PATTERN",
            "Leave it out: a stream has neither beginning nor end.",
        )),
    }
}

/// Place of the first variable.
fn place(pattern: &MatchRecognizePattern) -> Option<crate::error::Span> {
    match pattern {
        MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(name))
        | MatchRecognizePattern::Exclude(MatchRecognizeSymbol::Named(name)) => span(name.span),
        MatchRecognizePattern::Concat(parts) | MatchRecognizePattern::Alternation(parts) => {
            parts.iter().find_map(place)
        }
        MatchRecognizePattern::Permute(symbols) => symbols.iter().find_map(|s| match s {
            MatchRecognizeSymbol::Named(name) => span(name.span),
            _ => None,
        }),
        MatchRecognizePattern::Group(inner) | MatchRecognizePattern::Repetition(inner, _) => place(inner),
        _ => None,
    }
}

fn of(quantifier: &RepetitionQuantifier, greedy: bool, name: &Ident) -> Result<Quantifier> {
    let at = span(name.span);
    let (min, max) = match *quantifier {
        RepetitionQuantifier::ZeroOrMore => (0, None),
        RepetitionQuantifier::OneOrMore => (1, None),
        RepetitionQuantifier::AtMostOne => (0, Some(1)),
        RepetitionQuantifier::Exactly(n) => (n, Some(n)),
        RepetitionQuantifier::AtLeast(n) => (n, None),
        RepetitionQuantifier::AtMost(n) => (0, Some(n)),
        RepetitionQuantifier::Range(n, m) => (n, Some(m)),
    };
    if (min, max) == (0, Some(1)) {
        if !greedy {
            return Err(Error::user("Reluctant optional variables are not supported yet.")
                .with_hint(format!("Write {}?, which tries both ways.", name.value))
                .at(at));
        }
        return Ok(Quantifier { min, max, greedy: false });
    }
    if let Some(max) = max.filter(|max| *max < min.max(1)) {
        return Err(Error::user(format!(
            "The to should be a number greater than or equal to from: {}.",
            min.max(1)
        ))
        .with_hint(match max {
            0 => format!("Leave {} out of the pattern.", name.value),
            max => format!("Write {}{{{max},{min}}}.", name.value),
        })
        .at(at));
    }
    Ok(Quantifier { min, max, greedy: greedy && max != Some(min) })
}
