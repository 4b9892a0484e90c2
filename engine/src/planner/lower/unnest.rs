//! UNNEST: rows beside the elements of a value.

use super::calc::named;
use super::{Graph, Lowered, NewNode};
use crate::error::Result;
use crate::plan::{NodeKind, UnnestNode};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{field_of, physical, text, unalias};
use crate::planner::nodes::Unnest;
use crate::sql::SqlType;
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

impl Graph<'_> {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Lowered> {
        let input = self.lower(&unnest.input, &[])?;
        let schema = unnest.input.schema();
        let expr = unalias(&unnest.expr);
        let value = field_of(expr, schema, Some(&input.fields)).map_err(|e| translate(e, &[]))?;
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let below = self.exact(&input, &names)?;
        let columns: Vec<usize> = (0..names.len()).collect();
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(unnest.elements.iter().map(|(_, f)| f.as_ref().clone()));
        let all: Vec<usize> = (0..fields.len()).collect();
        let condition =
            unnest.condition.as_ref().map(|c| physical(c, unnest.output_schema(), &all)).transpose()?;
        let name = format!(
            "Correlate(invocation=[UNNEST({})], joinType=[{}], select=[{}])",
            text(&named(expr, schema, &input)),
            if unnest.outer { "LEFT" } else { "INNER" },
            fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", "),
        );
        let (edge, parallelism) = self.forward(below);
        let node = self.add(NewNode {
            kind: NodeKind::Unnest(UnnestNode {
                value: physical(expr, schema, &columns)?,
                multiset: matches!(SqlType::of(&value), SqlType::Multiset(_)),
                ordinality: unnest.ordinality,
                outer: unnest.outer,
                condition,
            }),
            name,
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog: self.node(below).changelog,
            shared: !expr.is_volatile(),
        });
        Ok(Lowered {
            node,
            columns: all,
            fields: fields.into_iter().map(Arc::new).collect(),
            windowed: input.windowed,
        })
    }
}
