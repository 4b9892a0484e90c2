//! `Window`: a windowing table function. Adds `window_start`, `window_end` and `window_time` to its input.

use crate::time::WindowSpec;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::{Column, DFSchema, DFSchemaRef, ExprSchema, Result, TableReference, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, UserDefinedLogicalNodeCore, Volatility,
};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Names of the columns that a window adds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowColumns {
    /// First instant.
    pub start: String,
    /// First instant after the window.
    pub end: String,
    /// The new time attribute.
    pub time: String,
}

impl WindowColumns {
    /// Those of a windowing table function.
    pub fn table_function() -> Self {
        Self { start: "window_start".into(), end: "window_end".into(), time: "window_time".into() }
    }

    /// Those of a group window (`GROUP BY TUMBLE(…)`), which no query can name.
    pub fn group_window() -> Self {
        Self { start: "w$start".into(), end: "w$end".into(), time: "w$time".into() }
    }
}

/// A window assigned to each row. Output: the input's columns, then the three of `columns`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Window {
    /// Size, slide, gap, …
    pub spec: WindowSpec,
    /// The time column, and after it the `PARTITION BY` columns of a session.
    pub columns: Vec<Column>,
    /// Names of the columns added.
    pub names: WindowColumns,
    /// Whether it came from `GROUP BY TUMBLE(…)` rather than from a table function.
    pub from_group_by: bool,
    /// What is windowed.
    pub input: LogicalPlan,
    schema: DFSchemaRef,
}

impl Window {
    /// A window over `input` by `columns[0]`.
    pub fn try_new(
        spec: WindowSpec,
        columns: Vec<Column>,
        names: WindowColumns,
        from_group_by: bool,
        input: LogicalPlan,
    ) -> Result<Self> {
        let Some(time) = columns.first() else { return plan_err!("a window needs a time column") };
        let time = input.schema().field_from_column(time)?;
        let timestamp = DataType::Timestamp(TimeUnit::Millisecond, None);
        let time_type = match time.data_type() {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
            _ => timestamp.clone(),
        };
        let added: [(&String, DataType); 3] =
            [(&names.start, timestamp.clone()), (&names.end, timestamp), (&names.time, time_type)];
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        for (name, data_type) in added {
            // Flink types TUMBLE_ROWTIME as nullable, window_time not.
            let nullable = from_group_by && *name == names.time;
            fields.push((None, Arc::new(Field::new(name, data_type, nullable))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { spec, columns, names, from_group_by, input, schema })
    }

    /// Columns of the output.
    pub fn output_schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// Number of columns of the output.
    pub fn schema_width(&self) -> usize {
        self.schema.fields().len()
    }

    /// Number of the input's columns: the index of `window_start`.
    pub fn width(&self) -> usize {
        self.input.schema().fields().len()
    }
}

impl PartialOrd for Window {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Window {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns.iter().cloned().map(Expr::Column).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let names = [&self.names.start, &self.names.end, &self.names.time].map(String::clone);
        match self.spec {
            // A row taken out before the window is assigned could split a session, unless its whole key goes.
            WindowSpec::Session { .. } => {
                let keys: HashSet<&str> = self.columns[1..].iter().map(|c| c.name.as_str()).collect();
                let fields = self.schema.fields().iter().map(|f| f.name());
                fields.filter(|n| !keys.contains(n.as_str())).cloned().chain(names).collect()
            }
            _ => names.into_iter().collect(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window: {} time=[{}]", self.spec, self.columns[0])?;
        if self.columns.len() > 1 {
            let keys: Vec<String> = self.columns[1..].iter().map(ToString::to_string).collect();
            write!(f, " partition=[{}]", keys.join(", "))?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut columns = Vec::with_capacity(exprs.len());
        for expr in exprs {
            match expr {
                Expr::Column(c) => columns.push(c),
                other => return plan_err!("a window's column became {other}"),
            }
        }
        let Some(input) = inputs.into_iter().next() else { return plan_err!("a window needs an input") };
        Self::try_new(self.spec, columns, self.names.clone(), self.from_group_by, input)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|i| *i < self.width()).collect();
        needed.extend(self.columns.iter().filter_map(|c| schema.maybe_index_of_column(c)));
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// A call of a group window or one of its auxiliaries: `TUMBLE(…)`, `HOP_END(…)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupWindowCall {
    /// `tumble`, `hop` or `session`.
    pub window: &'static str,
    /// `` (the window itself), `start`, `end`, `rowtime` or `proctime`.
    pub part: &'static str,
}

const PARTS: [&str; 5] = ["", "start", "end", "rowtime", "proctime"];

/// The group window that the function `name` (in any case) stands for.
pub fn group_window_call(name: &str) -> Option<GroupWindowCall> {
    let name = name.to_ascii_lowercase();
    ["tumble", "hop", "session"].into_iter().find_map(|window| {
        let rest = name.strip_prefix(window)?;
        let part = PARTS.into_iter().find(|p| match *p {
            "" => rest.is_empty(),
            p => rest.strip_prefix('_') == Some(p),
        })?;
        Some(GroupWindowCall { window, part })
    })
}

/// Stand-ins by which group windows bind; a rule replaces them before anything runs.
pub fn group_window_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = Vec::new();
    for window in ["tumble", "hop", "session"] {
        for part in PARTS {
            let name = if part.is_empty() { window.to_string() } else { format!("{window}_{part}") };
            let signature = Signature::variadic_any(Volatility::Stable);
            all.push(Arc::new(ScalarUDF::new_from_impl(GroupWindowFunction { name, part, signature })));
        }
    }
    all
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct GroupWindowFunction {
    name: String,
    part: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for GroupWindowFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let zone = match (self.part, args.arg_fields.first().map(|f| f.data_type())) {
            ("rowtime", Some(DataType::Timestamp(_, zone))) => zone.clone(),
            ("proctime", _) => Some("UTC".into()),
            _ => None,
        };
        let nullable = self.part == "rowtime";
        Ok(Arc::new(Field::new(&self.name, DataType::Timestamp(TimeUnit::Millisecond, zone), nullable)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{} only stands in GROUP BY", self.name.to_uppercase())
    }
}
