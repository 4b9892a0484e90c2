//! Rows once for each grouping set.

use super::calc::named;
use super::{Graph, Lowered, NewNode};
use crate::error::Result;
use crate::plan::{ExpandNode, NodeKind};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{field_of, physical, text};
use crate::planner::nodes::Expand;
use crate::sql::data_type::without_time_attribute;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use std::sync::Arc;

impl Graph<'_> {
    pub(super) fn expand(&mut self, expand: &Expand) -> Result<Lowered> {
        let input = self.lower(&expand.input, &[])?;
        let schema = expand.input.schema();
        let below = self.node(input.node);
        let mut fields: Vec<FieldRef> = below.schema.fields().iter().cloned().collect();
        let (width, changelog) = (fields.len(), below.changelog);
        let mut keys = Vec::with_capacity(expand.keys.len());
        let mut texts = Vec::with_capacity(expand.keys.len());
        let mut added: Vec<FieldRef> = Vec::new();
        for (index, key) in expand.keys.iter().enumerate() {
            keys.push(physical(key, schema, &input.columns)?);
            texts.push(text(&named(key, schema, &input)));
            let field = field_of(key, schema, Some(&input.fields)).map_err(|e| translate(e, &[]))?;
            let field = field.with_name(Expand::key_name(index)).with_nullable(true);
            added.push(Arc::new(without_time_attribute(field)));
        }
        added.push(Arc::new(Field::new(Expand::SET, DataType::Int64, false)));
        fields.extend(added.iter().cloned());
        let project = |(number, set): (usize, &Vec<bool>)| {
            let keys = set.iter().zip(&texts).map(|(has, text)| if *has { text.as_str() } else { "null" });
            format!("{{{}, {number} AS {}}}", keys.collect::<Vec<_>>().join(", "), Expand::SET)
        };
        let projects: Vec<String> = expand.sets.iter().enumerate().map(project).collect();
        let (edge, parallelism) = self.forward(input.node);
        let volatile = expand.keys.iter().any(datafusion_expr::Expr::is_volatile);
        let node = self.add(NewNode {
            kind: NodeKind::Expand(ExpandNode { keys, sets: expand.sets.clone() }),
            name: format!("Expand(projects=[{}])", projects.join(", ")),
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields)),
            parallelism,
            changelog,
            shared: !volatile,
        });
        let columns = input.columns.iter().copied().chain(width..width + added.len()).collect();
        let fields = input.fields.iter().cloned().chain(added).collect();
        Ok(Lowered { node, columns, fields, windowed: input.windowed })
    }
}
