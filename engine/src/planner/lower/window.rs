//! A windowing table function without an aggregate: `SELECT * FROM TABLE(TUMBLE(…))`.

use super::{Graph, Lowered, NewNode, Origin, Windowed};
use crate::error::{Error, Result};
use crate::plan::{NodeKind, TimeAttribute, WindowTableNode};
use crate::planner::explain;
use crate::planner::nodes::Window;
use crate::sql::SqlType;
use crate::sql::data_type::{TimeKind, time_attribute, with_time_attribute};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion_common::Column;
use std::sync::Arc;

/// What decides a window, found in its input.
pub(super) struct WindowTime {
    /// Index of the time column among the logical columns.
    pub column: usize,
    pub kind: TimeKind,
    pub zone: Option<chrono_tz::Tz>,
}

impl WindowTime {
    /// The new time attribute that the window gives.
    pub fn field(&self, name: &str, input: &Field) -> Field {
        let zone = match (self.kind, input.data_type()) {
            (TimeKind::Rowtime, DataType::Timestamp(_, zone)) => zone.clone(),
            _ => Some("UTC".into()),
        };
        with_time_attribute(
            Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, zone), false),
            self.kind,
        )
    }
}

/// A bound of a window: TIMESTAMP(3) NOT NULL.
pub(super) fn bound_field(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), false)
}

impl Graph<'_> {
    /// The time attribute of `window`, whose input is `input`.
    ///
    /// Errors: the column is none, with Flink's words.
    pub(super) fn window_time(&self, window: &Window, input: &Lowered) -> Result<WindowTime> {
        let column = index_of(window, &window.columns[0])?;
        let field = &input.fields[column];
        let zone =
            matches!(field.data_type(), DataType::Timestamp(_, Some(_))).then(|| self.context.config.zone());
        let kind = match time_attribute(field) {
            // Flink takes event time that was a group key for GROUP BY TUMBLE(…), not for a table function.
            Some(TimeKind::Rowtime) if !window.from_group_by && self.is_grouped(input.node) => None,
            kind => kind,
        };
        let kind = match kind {
            Some(kind) => kind,
            // Bounded input needs no watermark: all windows fire at the end.
            None if self.context.config.is_batch() => TimeKind::Rowtime,
            None => {
                let sql_type = SqlType::of(field);
                let what = if window.from_group_by {
                    format!(
                        "Window aggregate can only be defined over a time attribute column, but {sql_type} encountered."
                    )
                } else {
                    format!(
                        "The window function requires the timecol is a time attribute type, but is {sql_type}."
                    )
                };
                let at = window.columns[0].spans.first().map(|s| crate::error::Span {
                    start: crate::error::Location {
                        line: s.start.line as u32,
                        column: s.start.column as u32,
                    },
                    end: crate::error::Location { line: s.end.line as u32, column: s.end.column as u32 },
                });
                let name = &window.columns[0].name;
                return Err(Error::user(what)
                    .with_hint(format!(
                        "Declare `WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND` in the table's CREATE TABLE. An \
                         aggregate, a join or a cast makes a time attribute a plain timestamp; after a window, \
                         window_time is the new one."
                    ))
                    .at(at));
            }
        };
        Ok(WindowTime { column, kind, zone })
    }

    /// Whether the rows come from an aggregate without windows.
    fn is_grouped(&self, node: crate::plan::NodeId) -> bool {
        let node = self.node(node);
        match (&node.kind, &node.inputs[..]) {
            (NodeKind::GroupAggregate(_), _) => true,
            (NodeKind::Calc(_), [input]) => self.is_grouped(input.from),
            _ => false,
        }
    }

    pub(super) fn window_table(&mut self, window: &Window) -> Result<Lowered> {
        let input = self.lower(&window.input, &[])?;
        let time = self.window_time(window, &input)?;
        let names: Vec<String> = input.fields.iter().map(|f| f.name().clone()).collect();
        let input = self.with_millisecond_time(input, time.column)?;
        let node = self.exact(&input, &names)?;
        if matches!(window.spec, crate::time::WindowSpec::Session { .. }) {
            self.only_inserts(node, "WindowTableFunction", "Put the window below the aggregate.")?;
        }
        let changelog = self.node(node).changelog;
        let keys = window.columns[1..].iter().map(|c| index_of(window, c)).collect::<Result<Vec<_>>>()?;
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        let new_time = time.field(&window.names.time, &fields[time.column]);
        let width = fields.len();
        fields.extend([bound_field(&window.names.start), bound_field(&window.names.end), new_time]);
        let is_session = matches!(window.spec, crate::time::WindowSpec::Session { .. });
        let (edge, parallelism) =
            if is_session { self.keyed(node, keys.clone()) } else { self.forward(node) };
        let attribute = match time.kind {
            TimeKind::Rowtime => TimeAttribute::Rowtime { column: time.column },
            TimeKind::Proctime => TimeAttribute::Proctime,
        };
        let name = format!(
            "WindowTableFunction(window=[{}])",
            explain::window(&window.spec, &format!("time_col=[{}]", names[time.column]))
        );
        let node = self.add(NewNode {
            kind: NodeKind::WindowTable(WindowTableNode {
                window: window.spec,
                time: attribute,
                keys,
                zone: time.zone,
            }),
            name,
            inputs: vec![edge],
            schema: Arc::new(Schema::new(fields.clone())),
            parallelism,
            changelog,
            shared: time.kind == TimeKind::Rowtime,
        });
        let origin = Origin { spec: window.spec, proctime: time.kind == TimeKind::Proctime, zone: time.zone };
        Ok(Lowered {
            node,
            columns: (0..fields.len()).collect(),
            fields: fields.into_iter().map(Arc::new).collect(),
            windowed: Some(Windowed { start: [width].into(), end: [width + 1].into(), origin: Some(origin) }),
        })
    }

    /// `input` with its column `time` in milliseconds, as operators read event time.
    fn with_millisecond_time(&mut self, input: Lowered, time: usize) -> Result<Lowered> {
        let DataType::Timestamp(unit, zone) = input.fields[time].data_type().clone() else {
            return Ok(input);
        };
        if unit == TimeUnit::Millisecond {
            return Ok(input);
        }
        let wanted = DataType::Timestamp(TimeUnit::Millisecond, zone);
        let mut fields: Vec<Field> = input.fields.iter().map(|f| f.as_ref().clone()).collect();
        fields[time] = match time_attribute(&fields[time]) {
            Some(kind) => with_time_attribute(
                Field::new(fields[time].name(), wanted.clone(), fields[time].is_nullable()),
                kind,
            ),
            None => Field::new(fields[time].name(), wanted.clone(), fields[time].is_nullable()),
        };
        let have: Vec<FieldRef> = self.node(input.node).schema.fields().iter().cloned().collect();
        let exprs = input
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let column = crate::planner::expressions::physical_column(have[*c].name(), *c);
                match i == time {
                    false => column,
                    true => Arc::new(datafusion_physical_expr::expressions::CastExpr::new(
                        column,
                        wanted.clone(),
                        None,
                    )),
                }
            })
            .collect();
        let texts = fields.iter().map(|f| f.name().clone()).collect();
        self.calc(&input, &[], exprs, fields, texts, true)
    }
}

/// Index of a column of the window's input.
pub(super) fn index_of(window: &Window, column: &Column) -> Result<usize> {
    window
        .input
        .schema()
        .maybe_index_of_column(column)
        .ok_or_else(|| Error::internal(format!("a window without its column {column}")))
}
