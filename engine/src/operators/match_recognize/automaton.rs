//! The automaton of a pattern. Its states and edges are those of Flink's CEP library, and so are the orders in which
//! they are tried: which of several matches of the same rows is told first follows from them.

use crate::error::{Error, Result};
use crate::plan::{PatternVariable, Quantifier};

/// Most states of an automaton: `A{1000}` has as many as rows.
const MAX_STATES: usize = 10_000;

/// Index of a state.
pub(super) type StateId = u32;

/// The state in which a match is complete.
pub(super) const FINAL: StateId = 0;

/// A way out of a state.
#[derive(Debug, Clone)]
struct Edge {
    to: StateId,
    /// The variable that takes the row; `None` goes on without a row.
    takes: Option<usize>,
    /// Variables that must not take the row: greedy ones before.
    unless: Vec<usize>,
}

/// States and edges for a pattern.
#[derive(Debug)]
pub(super) struct Automaton {
    states: Vec<Vec<Edge>>,
    start: StateId,
    /// For each state the variables whose conditions may be asked for.
    asks: Vec<Vec<usize>>,
}

/// A step that a row makes possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Take {
    /// The variable that takes the row.
    pub variable: usize,
    /// The state then.
    pub to: StateId,
    /// Whether the match is complete with it, though it may go on.
    pub completes: bool,
}

impl Automaton {
    /// Of `pattern`.
    ///
    /// Errors: more states than there may be.
    pub(super) fn new(pattern: &[PatternVariable]) -> Result<Self> {
        let mut automaton = Self { states: vec![Vec::new()], start: FINAL, asks: Vec::new() };
        // From the end: each variable's states lead to those of the next one.
        let mut next = FINAL;
        for (variable, PatternVariable { quantifier, .. }) in pattern.iter().enumerate().rev() {
            next = automaton.variable(variable, *quantifier, next)?;
        }
        automaton.start = next;
        automaton.asks = (0..automaton.states.len()).map(|s| automaton.asked(s as StateId)).collect();
        Ok(automaton)
    }

    /// The state before any row.
    pub(super) fn start(&self) -> StateId {
        self.start
    }

    /// Variables whose conditions `step` may ask for in `state`, each once.
    pub(super) fn asks(&self, state: StateId) -> &[usize] {
        &self.asks[state as usize]
    }

    fn state(&mut self, edges: Vec<Edge>) -> Result<StateId> {
        if self.states.len() >= MAX_STATES {
            return Err(Error::user(format!("The pattern has more than {MAX_STATES} states.")).with_hint(
                "Write smaller numbers in the quantifiers, or `+` with a condition that counts.",
            ));
        }
        self.states.push(edges);
        Ok((self.states.len() - 1) as StateId)
    }

    /// The first state of a variable whose rows are followed by `next`.
    fn variable(&mut self, variable: usize, quantifier: Quantifier, next: StateId) -> Result<StateId> {
        let take = |to| Edge { to, takes: Some(variable), unless: Vec::new() };
        let proceed = || Edge { to: next, takes: None, unless: Vec::new() };
        if quantifier.greedy {
            for edge in &mut self.states[next as usize] {
                edge.unless.push(variable);
            }
        }
        let optional = quantifier.min == 0;
        let fewest = quantifier.min.max(1);
        let mut to = next;
        match quantifier.max {
            None => {
                to = self.state(vec![proceed()])?;
                self.states[to as usize].push(take(to));
            }
            Some(most) => {
                for _ in fewest..most {
                    to = self.state(vec![take(to), proceed()])?;
                }
            }
        }
        for _ in 1..fewest {
            to = self.state(vec![take(to)])?;
        }
        let mut edges = vec![take(to)];
        if optional {
            edges.push(proceed());
        }
        self.state(edges)
    }

    fn asked(&self, state: StateId) -> Vec<usize> {
        let (mut asked, mut reached, mut open) = (Vec::new(), vec![state], vec![state]);
        while let Some(at) = open.pop() {
            for edge in &self.states[at as usize] {
                asked.extend(edge.takes);
                asked.extend(&edge.unless);
                if edge.takes.is_none() && !reached.contains(&edge.to) {
                    reached.push(edge.to);
                    open.push(edge.to);
                }
            }
        }
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// The steps that a row makes possible in `state`, in order. `holds` tells whether a variable's condition is true
    /// of the row.
    pub(super) fn step(
        &self,
        state: StateId,
        holds: &mut dyn FnMut(usize) -> Result<bool>,
        takes: &mut Vec<Take>,
    ) -> Result<()> {
        let mut open = vec![state];
        while let Some(at) = open.pop() {
            for edge in &self.states[at as usize] {
                if !Self::passes(edge, holds)? {
                    continue;
                }
                match edge.takes {
                    None => open.push(edge.to),
                    Some(variable) => {
                        let completes = edge.to != FINAL && self.can_end(edge.to, holds)?;
                        takes.push(Take { variable, to: edge.to, completes });
                    }
                }
            }
        }
        Ok(())
    }

    fn passes(edge: &Edge, holds: &mut dyn FnMut(usize) -> Result<bool>) -> Result<bool> {
        if let Some(variable) = edge.takes
            && !holds(variable)?
        {
            return Ok(false);
        }
        for variable in &edge.unless {
            if holds(*variable)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the match may end in `state` without another row.
    fn can_end(&self, state: StateId, holds: &mut dyn FnMut(usize) -> Result<bool>) -> Result<bool> {
        let mut open = vec![state];
        while let Some(at) = open.pop() {
            for edge in self.states[at as usize].iter().filter(|e| e.takes.is_none()) {
                if Self::passes(edge, holds)? {
                    if edge.to == FINAL {
                        return Ok(true);
                    }
                    open.push(edge.to);
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(quantifiers: &[(u32, Option<u32>, bool)]) -> Vec<PatternVariable> {
        let variable = |(i, (min, max, greedy)): (usize, &(u32, Option<u32>, bool))| PatternVariable {
            name: format!("V{i}"),
            quantifier: Quantifier { min: *min, max: *max, greedy: *greedy },
            row_condition: None,
            match_condition: None,
        };
        quantifiers.iter().enumerate().map(variable).collect()
    }

    /// What rows, each with the variables that take it, lead to from the start: how often a match is complete.
    fn completions(pattern: &[PatternVariable], rows: &[&[usize]]) -> usize {
        let automaton = Automaton::new(pattern).unwrap();
        let (mut states, mut complete) = (vec![automaton.start()], 0);
        for row in rows {
            let mut next = Vec::new();
            for state in states {
                let mut takes = Vec::new();
                automaton.step(state, &mut |v| Ok(row.contains(&v)), &mut takes).unwrap();
                assert!(takes.iter().all(|t| automaton.asks(state).contains(&t.variable)));
                complete += takes.iter().filter(|t| t.to == FINAL || t.completes).count();
                next.extend(takes.into_iter().map(|t| t.to).filter(|to| *to != FINAL));
            }
            states = next;
        }
        complete
    }

    #[test]
    fn a_greedy_variable_keeps_rows_from_the_next_one() {
        let greedy = pattern(&[(1, None, true), (1, Some(1), false)]);
        assert_eq!(completions(&greedy, &[&[0], &[0, 1], &[1]]), 1);
        let reluctant = pattern(&[(1, None, false), (1, Some(1), false)]);
        assert_eq!(completions(&reluctant, &[&[0], &[0, 1], &[1]]), 2);
    }

    #[test]
    fn optional_variables_may_be_left_out_and_last_ones_may_end_early() {
        let optional = pattern(&[(1, Some(1), false), (0, Some(1), false), (1, Some(1), false)]);
        assert_eq!(completions(&optional, &[&[0], &[2]]), 1);
        assert_eq!(completions(&optional, &[&[0], &[1], &[2]]), 1);
        let early = pattern(&[(1, Some(1), false), (2, None, false)]);
        assert_eq!(completions(&early, &[&[0], &[1], &[1], &[1]]), 2);
        let counted = pattern(&[(2, Some(3), false)]);
        assert_eq!(completions(&counted, &[&[0], &[0], &[0], &[0]]), 2);
    }

    #[test]
    fn too_many_states_are_an_error() {
        let error = Automaton::new(&pattern(&[(1_000_000, Some(1_000_000), false)])).unwrap_err();
        assert!(error.to_string().contains("states"));
    }
}
