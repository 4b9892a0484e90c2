//! What `CREATE TABLE … LIKE source (…)` makes of the two tables, in Flink's way and words.

use super::create_table::{check, duplicate};
use super::statement::{LikeFeature, LikeMode};
use crate::error::{Error, Result};
use catalog::{ColumnDefinition, ColumnKind, TableDefinition};

/// The definition of `new` with what it copies from `source`. `rules` are those of its LIKE: a feature
/// without a rule follows ALL; without ALL, options are overwritten and the rest is included.
///
/// Physical columns are always copied, and come before the new ones; the comment never is.
///
/// Errors: what both tables have, unless a rule says which wins; and those of `CreateTable::definition`.
pub fn merge_like(
    new: TableDefinition,
    source: &TableDefinition,
    rules: &[(LikeMode, LikeFeature)],
) -> Result<TableDefinition> {
    let mode = |feature: LikeFeature| {
        let rule = |wanted| rules.iter().find(|(_, f)| *f == wanted).map(|(m, _)| *m);
        rule(feature).or_else(|| rule(LikeFeature::All)).unwrap_or(match feature {
            LikeFeature::Options => LikeMode::Overwriting,
            _ => LikeMode::Including,
        })
    };
    let derived = new;
    let mut merged = TableDefinition { comment: derived.comment.clone(), ..TableDefinition::default() };
    merged.columns =
        columns(derived.columns, source, mode(LikeFeature::Generated), mode(LikeFeature::Metadata))?;

    merged.watermark = match (&source.watermark, derived.watermark, mode(LikeFeature::Watermarks)) {
        (_, Some(own), LikeMode::Excluding) | (None, Some(own), _) => Some(own),
        (Some(_), Some(own), LikeMode::Overwriting) => Some(own),
        (Some(theirs), Some(own), LikeMode::Including) if theirs.column == own.column => {
            return Err(Error::user(format!(
                "There already exists a watermark spec for column '{}' in the base table. You might want to specify EXCLUDING WATERMARKS or OVERWRITING WATERMARKS.",
                own.column
            )));
        }
        (Some(_), Some(_), LikeMode::Including) => {
            return Err(Error::user("Multiple WATERMARK statements is not supported yet.")
                .with_hint("The table copied from has a watermark too: add (EXCLUDING WATERMARKS)."));
        }
        (_, None, LikeMode::Excluding) => None,
        (theirs, None, _) => theirs.clone(),
    };

    let copies_key = mode(LikeFeature::Constraints) != LikeMode::Excluding;
    merged.primary_key = match (&source.primary_key, derived.primary_key) {
        (Some(_), Some(_)) if copies_key => {
            return Err(Error::user(
                "The base table already has a primary key. You might want to specify EXCLUDING CONSTRAINTS.",
            ));
        }
        (_, Some(own)) => Some(own),
        (theirs, None) => theirs.clone().filter(|_| copies_key),
    };

    // Flink leaves the source's partitions out only where the new table has some of its own.
    merged.partitioned_by = match (&source.partitioned_by[..], derived.partitioned_by) {
        (theirs, own) if own.is_empty() => theirs.to_vec(),
        (theirs, _) if !theirs.is_empty() && mode(LikeFeature::Partitions) != LikeMode::Excluding => {
            return Err(Error::user(
                "The base table already has partitions defined. You might want to specify EXCLUDING PARTITIONS.",
            ));
        }
        (_, own) => own,
    };

    let options = mode(LikeFeature::Options);
    if options != LikeMode::Excluding {
        merged.options = source.options.clone();
    }
    for (key, value) in derived.options {
        if options == LikeMode::Including
            && let Some(theirs) = source.options.get(&key)
        {
            let theirs = if catalog::is_secret(&key) { "******" } else { theirs };
            return Err(Error::user(format!(
                "There already exists an option ['{key}' -> '{theirs}']  in the base table. You might want to specify EXCLUDING OPTIONS or OVERWRITING OPTIONS."
            )));
        }
        merged.options.insert(key, value);
    }
    check(&merged, &|_| None)?;
    Ok(merged)
}

fn columns(
    new: Vec<ColumnDefinition>,
    source: &TableDefinition,
    generated: LikeMode,
    metadata: LikeMode,
) -> Result<Vec<ColumnDefinition>> {
    let mut merged: Vec<ColumnDefinition> = source
        .columns
        .iter()
        .filter(|c| match c.kind {
            ColumnKind::Physical { .. } => true,
            ColumnKind::Computed { .. } => generated != LikeMode::Excluding,
            ColumnKind::Metadata { .. } => metadata != LikeMode::Excluding,
        })
        .cloned()
        .collect();
    // Its columns stay NOT NULL where the key itself is left out.
    let keys = source.primary_key.iter().flat_map(|key| &key.columns);
    for column in merged.iter_mut().filter(|c| keys.clone().any(|k| *k == c.name)) {
        if let ColumnKind::Physical { data_type } = &mut column.kind
            && !data_type.ends_with(" NOT NULL")
        {
            data_type.push_str(" NOT NULL");
        }
    }
    let copied = merged.len();
    for column in new {
        let base = merged[..copied].iter().position(|c| c.name == column.name);
        let Some(base) = base else {
            merged.push(column);
            continue;
        };
        let name = &column.name;
        let theirs = &merged[base].kind;
        let (mode, same_kind, kind, feature) = match column.kind {
            ColumnKind::Physical { .. } => {
                return Err(Error::user(format!(
                    "A column named '{name}' already exists in the base table."
                ))
                .with_hint(
                    "Columns of the base table are always copied: leave this one out, or rename it.",
                ));
            }
            ColumnKind::Computed { .. } => {
                (generated, matches!(theirs, ColumnKind::Computed { .. }), "generated", "GENERATED")
            }
            ColumnKind::Metadata { .. } => {
                (metadata, matches!(theirs, ColumnKind::Metadata { .. }), "metadata", "METADATA")
            }
        };
        let what = if feature == "GENERATED" { "Computed" } else { "Metadata" };
        if matches!(theirs, ColumnKind::Physical { .. }) {
            return Err(duplicate(&merged[base], &column));
        }
        if !same_kind {
            return Err(Error::user(format!(
                "A column named '{name}' already exists in the base table. {what} columns can only overwrite other {} columns.",
                what.to_lowercase()
            )));
        }
        if mode != LikeMode::Overwriting {
            return Err(Error::user(format!(
                "A {kind} column named '{name}' already exists in the base table. You might want to specify EXCLUDING {feature} or OVERWRITING {feature}."
            )));
        }
        merged[base] = column;
    }
    Ok(merged)
}
