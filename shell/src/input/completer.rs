//! Completion: keywords, tables, columns, functions, settings and connector options.

use engine::{Session, config, sql};
use rustyline::completion::Pair;
use std::collections::BTreeMap;

/// The names that can be completed.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Tables and views, with their columns.
    pub tables: BTreeMap<String, Vec<String>>,
    /// Functions.
    pub functions: Vec<String>,
    /// Connectors, with their option keys.
    pub connectors: BTreeMap<String, Vec<String>>,
}

impl Names {
    /// What `session` knows now.
    pub fn of(session: &Session) -> Self {
        let tables = session.tables().into_iter().map(|t| (t.clone(), session.columns(&t))).collect();
        let registry = session.connectors();
        let connectors = registry
            .names()
            .filter_map(|name| {
                let keys = registry.get(name).ok()?.options().into_iter().map(|o| o.key).collect();
                Some((name.to_string(), keys))
            })
            .collect();
        Self { tables, functions: session.functions(), connectors }
    }
}

/// Where the word at `pos` begins, and what it may become.
pub fn complete(line: &str, pos: usize, names: &Names) -> (usize, Vec<Pair>) {
    let before = &line[..pos];
    if let Some((start, word)) = literal(before) {
        return (start, pairs(literals(before, start, names), word, |s| s.to_string()));
    }
    let start = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '$' | '`' | '-'))
        .last()
        .map_or(pos, |(i, _)| i);
    let word = before[start..].trim_start_matches('`');
    if word.is_empty() && !before.ends_with('`') {
        return (pos, Vec::new());
    }
    let used = names.tables.iter().filter(|(t, _)| line.contains(t.as_str()));
    let mut all = pairs(names.tables.keys().map(String::as_str), word, identifier);
    all.extend(pairs(used.flat_map(|(_, c)| c.iter().map(String::as_str)), word, identifier));
    if !before[start..].starts_with('`') {
        let lower = word.starts_with(|c: char| c.is_lowercase());
        let case = |s: &str| if lower { s.to_lowercase() } else { s.to_uppercase() };
        all.extend(pairs(sql::KEYWORDS.iter().copied(), word, case));
        all.extend(pairs(names.functions.iter().map(String::as_str), word, |s| case(s) + "("));
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|p| seen.insert(p.replacement.clone()));
    (start, all)
}

/// The open string literal at the end of `before`: where its text begins, and the text.
fn literal(before: &str) -> Option<(usize, &str)> {
    let quotes = before.char_indices().filter(|(_, c)| *c == '\'').map(|(i, _)| i).collect::<Vec<_>>();
    (quotes.len() % 2 == 1).then(|| {
        let start = quotes[quotes.len() - 1] + 1;
        (start, &before[start..])
    })
}

/// What a literal may be: a setting's key after SET, a connector's name, or an option key of WITH.
fn literals<'a>(before: &'a str, start: usize, names: &'a Names) -> Vec<&'a str> {
    let lead = before[..start - 1].trim_end();
    let last_word = |n: usize| lead.rsplit(|c: char| c.is_whitespace()).nth(n).unwrap_or("");
    if last_word(0).eq_ignore_ascii_case("SET") || last_word(0).eq_ignore_ascii_case("RESET") {
        return config::OPTIONS.iter().map(|o| o.key).collect();
    }
    if lead.replace(' ', "").ends_with("'connector'=") {
        return names.connectors.keys().map(String::as_str).collect();
    }
    if lead.ends_with('(') || lead.ends_with(',') {
        let chosen = names.connectors.iter().find(|(name, _)| {
            let flat = before.replace(' ', "");
            flat.contains(&format!("'connector'='{name}'"))
        });
        let mut keys: Vec<&str> = match chosen {
            Some((_, keys)) => keys.iter().map(String::as_str).collect(),
            None => names.connectors.values().flatten().map(String::as_str).collect(),
        };
        keys.push("connector");
        keys.sort_unstable();
        keys.dedup();
        return keys;
    }
    Vec::new()
}

fn pairs<'a>(
    candidates: impl IntoIterator<Item = &'a str>,
    word: &str,
    replacement: impl Fn(&str) -> String,
) -> Vec<Pair> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .filter(|c| c.to_lowercase().starts_with(&lower))
        .map(|c| Pair { display: c.to_string(), replacement: replacement(c.trim_end_matches('*')) })
        .collect()
}

/// In backticks where it must be.
fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !sql::KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(name));
    if plain { name.to_string() } else { catalog::quote_identifier(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let strings = |s: &[&str]| s.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        Names {
            tables: BTreeMap::from([
                ("stock".into(), strings(&["ticker", "price"])),
                ("key-values".into(), vec![]),
            ]),
            functions: strings(&["TUMBLE_START"]),
            connectors: BTreeMap::from([
                ("kafka".into(), strings(&["topic", "properties.*", "scan.startup.mode"])),
                ("print".into(), strings(&["print-identifier"])),
            ]),
        }
    }

    fn at_end(line: &str) -> Vec<String> {
        complete(line, line.len(), &names()).1.into_iter().map(|p| p.replacement).collect()
    }

    #[test]
    fn tables_columns_keywords_functions() {
        assert!(at_end("SELECT * FROM sto").contains(&"stock".to_string()));
        assert!(at_end("SELECT * FROM `key").contains(&"`key-values`".to_string()));
        assert!(at_end("SELECT * FROM stock WHERE pri").contains(&"price".to_string()));
        assert!(at_end("sel").contains(&"select".to_string()));
        assert!(at_end("SEL").contains(&"SELECT".to_string()));
        assert!(at_end("SELECT tumble_s").contains(&"tumble_start(".to_string()));
        assert!(at_end("SELECT ").is_empty());
    }

    #[test]
    fn options_follow_the_connector() {
        assert_eq!(at_end("CREATE TABLE t (a INT) WITH ('connector' = 'ka"), ["kafka"]);
        assert_eq!(
            at_end("CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'scan"),
            ["scan.startup.mode"]
        );
        assert_eq!(at_end("CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'prop"), ["properties."]);
        assert_eq!(at_end("CREATE TABLE t (a INT) WITH ('con"), ["connector"]);
        assert_eq!(at_end("SET 'table.local"), ["table.local-time-zone"]);
    }
}
