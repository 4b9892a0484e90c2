//! `Table`: a table definition with types, expressions and time attributes resolved, as the binder sees it.

use super::diagnostics::translate;
use super::resolver::Resolver;
use super::{PlannerContext, ResolvedTable, expressions, glue_keys};
use crate::connector::{Lookup, Sink, Source, TableContext};
use crate::error::{Error, Result};
use crate::sql::SqlType;
use crate::sql::data_type::{TimeKind, time_attribute, with_time_attribute};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use catalog::{ColumnKind, ObjectName, Options, TableDefinition};
use datafusion_common::DFSchema;
use datafusion_expr::{Expr, ExprSchemable, TableSource};
use std::sync::Arc;

/// A table with all that planning needs of it.
#[derive(Debug)]
pub(super) struct Table {
    pub name: ObjectName,
    /// Studio's keys applied, hints merged into the options.
    pub definition: TableDefinition,
    /// In declaration order.
    pub columns: Vec<Column>,
    /// All columns with their types and time attributes.
    pub schema: SchemaRef,
    pub watermark: Option<Watermark>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// With type metadata and time attribute.
    pub field: FieldRef,
    pub kind: Kind,
}

/// Where a column's values come from.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Physical,
    Metadata {
        key: String,
        is_virtual: bool,
    },
    /// Bound and coerced over physical and metadata columns, which are unqualified.
    Computed(Expr),
}

/// The event time of a table.
#[derive(Debug, Clone)]
pub(super) struct Watermark {
    /// Name of the time attribute.
    pub column: String,
    /// Bound and coerced over the table's columns, unqualified; a timestamp of milliseconds.
    pub expression: Expr,
}

impl Table {
    /// Resolves `definition`, with `hints` over its options.
    ///
    /// Errors: unknown types, expressions that do not bind, a watermark on something that is no timestamp.
    pub fn resolve(
        name: &ObjectName,
        definition: &TableDefinition,
        hints: Option<&Options>,
        context: &PlannerContext<'_>,
    ) -> Result<Self> {
        // Places inside a column's expression mean nothing in the statement.
        Self::resolve_columns(name, definition, hints, context).map_err(Error::without_span)
    }

    fn resolve_columns(
        name: &ObjectName,
        definition: &TableDefinition,
        hints: Option<&Options>,
        context: &PlannerContext<'_>,
    ) -> Result<Self> {
        let mut definition = glue_keys::apply(definition);
        if let Some(hints) = hints {
            definition.options.extend(hints.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        let resolver = Resolver::for_expressions(context)?;
        let key = definition.primary_key.as_ref().map(|k| k.columns.as_slice()).unwrap_or_default();
        let mut stored: Vec<FieldRef> = Vec::new();
        for column in &definition.columns {
            if let ColumnKind::Physical { data_type } | ColumnKind::Metadata { data_type, .. } = &column.kind
            {
                let (sql_type, nullable) = SqlType::parse(data_type)
                    .map_err(|e| e.within(format!("Column '{}' of table '{name}'", column.name)))?;
                let nullable = nullable && !key.contains(&column.name);
                stored.push(Arc::new(sql_type.to_field(&column.name, nullable)));
            }
        }
        let mut rest = stored.iter();
        let base = unqualified(&stored)?;
        let mut columns = Vec::with_capacity(definition.columns.len());
        for column in &definition.columns {
            let kind = match &column.kind {
                ColumnKind::Computed { expression } => {
                    let within = format!("Computed column '{}' of table '{name}'", column.name);
                    let expr = resolver.expression(expression, &base).map_err(|e| e.within(&within))?;
                    let mut field = expressions::field_of(&expr, &base, None)
                        .map_err(|e| translate(e, &[]).within(&within))?
                        .with_name(&column.name);
                    if key.contains(&column.name) {
                        field.set_nullable(false);
                    }
                    columns.push(Column { field: Arc::new(field), kind: Kind::Computed(expr) });
                    continue;
                }
                ColumnKind::Physical { .. } => Kind::Physical,
                ColumnKind::Metadata { key, is_virtual, .. } => Kind::Metadata {
                    key: key.clone().unwrap_or_else(|| column.name.clone()),
                    is_virtual: *is_virtual,
                },
            };
            let Some(field) = rest.next() else { return Err(Error::internal("a column without its type")) };
            columns.push(Column { field: Arc::clone(field), kind });
        }
        let watermark = Self::watermark(name, &definition, &mut columns, &resolver)?;
        let schema = Arc::new(Schema::new(columns.iter().map(|c| Arc::clone(&c.field)).collect::<Vec<_>>()));
        Ok(Self { name: name.clone(), definition, columns, schema, watermark })
    }

    fn watermark(
        name: &ObjectName,
        definition: &TableDefinition,
        columns: &mut [Column],
        resolver: &Resolver<'_>,
    ) -> Result<Option<Watermark>> {
        let Some(declared) = &definition.watermark else { return Ok(None) };
        let within = format!("Watermark of table '{name}'");
        let names: Vec<String> = columns.iter().map(|c| c.field.name().clone()).collect();
        let Some(index) = names.iter().position(|n| *n == declared.column) else {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(Error::user(format!(
                "The rowtime attribute field '{}' is not defined in the table schema.",
                declared.column
            ))
            .with_hint(super::diagnostics::did_you_mean(&declared.column, &names))
            .within(within));
        };
        let field = &columns[index].field;
        let sql_type = SqlType::of(field);
        if !matches!(&sql_type, SqlType::Timestamp(p) | SqlType::TimestampLtz(p) if *p <= 3) {
            return Err(Error::user(format!(
                "Invalid data type of time field for watermark definition. The field must be of type TIMESTAMP(p) \
                 or TIMESTAMP_LTZ(p), the supported precision 'p' is from 0 to 3, but the time field type is {sql_type}."
            ))
            .with_hint(match sql_type {
                SqlType::BigInt => format!(
                    "Add a column `ts AS TO_TIMESTAMP_LTZ({}, 3)` (epoch milliseconds) and declare the watermark on it.",
                    declared.column
                ),
                SqlType::Char(_) | SqlType::Varchar(_) => format!(
                    "Add a column `ts AS TO_TIMESTAMP({})` and declare the watermark on it.",
                    declared.column
                ),
                _ => "Declare the column as TIMESTAMP(3).".to_string(),
            })
            .within(within));
        }
        if time_attribute(field) == Some(TimeKind::Proctime) {
            return Err(
                Error::user("A watermark can not be defined for a processing-time attribute.").within(within)
            );
        }
        // Event time is milliseconds from here on, also where the column has fewer digits.
        let zone = match field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let fields: Vec<FieldRef> = columns.iter().map(|c| Arc::clone(&c.field)).collect();
        let all = unqualified(&fields)?;
        let expr = resolver.expression(&declared.expression, &all).map_err(|e| e.within(&within))?;
        let data_type = expr.get_type(&all).map_err(|e| translate(e, &[]).within(&within))?;
        if !matches!(&data_type, DataType::Timestamp(_, z) if z.is_some() == zone.is_some()) {
            let found = SqlType::from_arrow(&data_type);
            return Err(Error::user(format!(
                "Invalid data type of expression for watermark definition. The expression must be {sql_type}, \
                 but it is {found}."
            ))
            .within(within));
        }
        let wanted = DataType::Timestamp(TimeUnit::Millisecond, zone);
        let expression = expr.cast_to(&wanted, &all).map_err(|e| translate(e, &[]).within(&within))?;
        columns[index].field = Arc::new(with_time_attribute(field.as_ref().clone(), TimeKind::Rowtime));
        Ok(Some(Watermark { column: declared.column.clone(), expression }))
    }

    /// For the session: names, types and marks of all columns.
    pub fn resolved(&self) -> ResolvedTable {
        ResolvedTable { name: self.name.clone(), schema: Arc::clone(&self.schema) }
    }

    /// What makes two scans one: the table and its options.
    pub fn identity(&self) -> String {
        format!("{} {:?}", self.name, self.definition.options)
    }

    /// The table as connectors see it. `for_sink` leaves out virtual metadata; `metadata` gives the connector's type
    /// for a key.
    fn connector_view(
        &self,
        context: &PlannerContext<'_>,
        for_sink: bool,
        metadata: &[(String, FieldRef)],
    ) -> Result<TableContext> {
        let mut physical = Vec::new();
        let mut keys = Vec::new();
        for column in &self.columns {
            match &column.kind {
                Kind::Physical => physical
                    .push(crate::sql::data_type::without_time_attribute(column.field.as_ref().clone())),
                Kind::Metadata { is_virtual: true, .. } if for_sink => {}
                Kind::Metadata { key, .. } => {
                    if let Some((_, field)) = metadata.iter().find(|(k, _)| k == key) {
                        let field = field.as_ref().clone().with_name(column.field.name());
                        keys.push((key.clone(), Arc::new(field)));
                    }
                }
                Kind::Computed(_) => {}
            }
        }
        let mut options = self.definition.options.clone();
        options.retain(|k, _| k != IDLE_TIMEOUT);
        Ok(TableContext {
            name: self.name.clone(),
            options,
            physical: Arc::new(Schema::new(physical)),
            metadata: keys,
            partitioned_by: self.definition.partitioned_by.clone(),
            primary_key: self.definition.primary_key.as_ref().map(|k| k.columns.clone()).unwrap_or_default(),
            zone: context.config.zone(),
            clock: Arc::clone(&context.clock),
        })
    }

    fn connector<'a>(
        &self,
        context: &PlannerContext<'a>,
    ) -> Result<&'a Arc<dyn crate::connector::Connector>> {
        let Some(name) = self.definition.options.get("connector") else {
            return Err(Error::user(format!("Table '{}' has no option 'connector'.", self.name))
                .with_hint("Write WITH ('connector' = '…') in CREATE TABLE."));
        };
        context.connectors.get(name).map_err(|e| e.within(format!("Table '{}'", self.name)))
    }

    /// The connector's reading half, and the metadata keys that it gives with their types.
    pub fn source(&self, context: &PlannerContext<'_>) -> Result<(Arc<dyn Source>, Vec<(String, FieldRef)>)> {
        let connector = self.connector(context)?;
        let within = |e: Error| e.within(format!("Table '{}'", self.name));
        let source = connector.source(&self.connector_view(context, false, &[])?).map_err(within)?;
        let keys = source.metadata();
        if !self.columns.iter().any(|c| matches!(c.kind, Kind::Metadata { .. })) {
            return Ok((source, keys));
        }
        self.check_metadata(&keys, false)?;
        let source = connector.source(&self.connector_view(context, false, &keys)?).map_err(within)?;
        Ok((source, keys))
    }

    /// The connector's looking-up half; `None` if its tables cannot be looked up.
    pub fn lookup(&self, context: &PlannerContext<'_>) -> Result<Option<Lookup>> {
        let view = self.connector_view(context, false, &[])?;
        self.connector(context)?.lookup(&view).map_err(|e| e.within(format!("Table '{}'", self.name)))
    }

    /// The connector's writing half, and the metadata keys that it takes with their types.
    pub fn sink(&self, context: &PlannerContext<'_>) -> Result<(Arc<dyn Sink>, Vec<(String, FieldRef)>)> {
        let connector = self.connector(context)?;
        let within = |e: Error| e.within(format!("Table '{}'", self.name));
        let sink = connector.sink(&self.connector_view(context, true, &[])?).map_err(within)?;
        let keys = sink.metadata();
        if !self.columns.iter().any(|c| matches!(c.kind, Kind::Metadata { is_virtual: false, .. })) {
            return Ok((sink, keys));
        }
        self.check_metadata(&keys, true)?;
        let sink = connector.sink(&self.connector_view(context, true, &keys)?).map_err(within)?;
        Ok((sink, keys))
    }

    fn check_metadata(&self, keys: &[(String, FieldRef)], for_sink: bool) -> Result<()> {
        for column in &self.columns {
            let Kind::Metadata { key, is_virtual } = &column.kind else { continue };
            if (for_sink && *is_virtual) || keys.iter().any(|(k, _)| k == key) {
                continue;
            }
            let known: Vec<&str> = keys.iter().map(|(k, _)| k.as_str()).collect();
            let verb = if for_sink { "written" } else { "read" };
            let error = Error::user(format!(
                "Invalid metadata key '{key}' in column '{}' of table '{}'. The connector has these metadata keys that \
                 can be {verb}: {}.",
                column.field.name(),
                self.name,
                if known.is_empty() { "none".to_string() } else { known.join(", ") }
            ));
            return Err(match super::diagnostics::did_you_mean(key, &known) {
                hint if hint.is_empty() && for_sink => {
                    error.with_hint("Declare the column as METADATA … VIRTUAL if it is only read.")
                }
                hint => error.with_hint(hint),
            });
        }
        Ok(())
    }

    /// `scan.watermark.idle-timeout` of the table, or the session's, in milliseconds.
    pub fn idle_timeout_ms(&self, context: &PlannerContext<'_>) -> Result<Option<u64>> {
        match self.definition.options.get(IDLE_TIMEOUT) {
            None => Ok(context.config.idle_timeout_ms()),
            Some(text) => {
                let ms = crate::config::parse_duration_ms(text)
                    .map_err(|e| e.within(format!("Option '{IDLE_TIMEOUT}' of table '{}'", self.name)))?;
                Ok(Some(ms).filter(|ms| *ms > 0))
            }
        }
    }
}

/// Table option: a split without rows for this long no longer holds back watermarks.
const IDLE_TIMEOUT: &str = "scan.watermark.idle-timeout";

impl TableSource for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The fields without table name, as expressions of tables bind to them.
pub(super) fn unqualified(fields: &[FieldRef]) -> Result<DFSchema> {
    let fields: Vec<Field> = fields.iter().map(|f| f.as_ref().clone()).collect();
    DFSchema::from_unqualified_fields(fields.into(), Default::default()).map_err(|e| translate(e, &[]))
}
