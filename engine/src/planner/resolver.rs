//! `Resolver`: what names mean while a query is bound. DataFusion's `ContextProvider` over our catalogs and functions.

use super::diagnostics::{carry, translate};
use super::nodes::group_window_functions;
use super::relations::Relations;
use super::table::Table;
use super::{PlannerContext, expressions, rules};
use crate::error::{Error, Result, nearest};
use crate::functions::FunctionRegistry;
use crate::sql::{Query, query_hints};
use arrow::datatypes::{DataType, SchemaRef};
use catalog::{FunctionDefinition, Object, ObjectName, Options, ViewDefinition};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, Result as DfResult, TableReference};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion_sql::planner::{NullOrdering, ParserOptions, SqlToRel};
use datafusion_sql::sqlparser::ast;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// Views within views deeper than this are taken for a circle.
const MOST_NESTED_VIEWS: usize = 32;

/// Binds queries and expressions.
pub(super) struct Resolver<'a> {
    context: &'a PlannerContext<'a>,
    functions: Arc<FunctionRegistry>,
    group_windows: HashMap<String, Arc<ScalarUDF>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    type_planner: Arc<dyn TypePlanner>,
    options: ConfigOptions,
    /// Catalog and database against which a view's names resolve.
    scope: Option<(String, String)>,
    depth: Cell<usize>,
    /// User-defined functions that were called, bound once.
    user_functions: RefCell<HashMap<String, Arc<ScalarUDF>>>,
    /// Why a user-defined function could not be bound: DataFusion takes it for unknown.
    broken_function: RefCell<Option<Error>>,
}

impl<'a> Resolver<'a> {
    /// For expressions of tables, which name no other tables.
    pub fn for_expressions(context: &'a PlannerContext<'a>) -> Result<Self> {
        let database = context.tables.database();
        let registry =
            FunctionRegistry::in_database(Arc::clone(&context.clock), context.config.zone(), database);
        Ok(Self::with_functions(context, Arc::new(registry)))
    }

    fn with_functions(context: &'a PlannerContext<'a>, functions: Arc<FunctionRegistry>) -> Self {
        let mut options = ConfigOptions::default();
        options.sql_parser.enable_subquery_sort_elimination = false;
        let mut expr_planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(rules::strict_types::Operands)];
        expr_planners.extend(functions.expr_planners().iter().cloned());
        Self {
            context,
            expr_planners,
            functions,
            group_windows: group_window_functions().into_iter().map(|f| (f.name().to_string(), f)).collect(),
            relation_planners: vec![Arc::new(Relations::new(
                HashMap::new(),
                HashMap::new(),
                context.config.zone(),
            ))],
            type_planner: Arc::new(super::relations::Types),
            options,
            scope: None,
            depth: Cell::new(0),
            user_functions: RefCell::default(),
            broken_function: RefCell::default(),
        }
    }

    /// For a query, with its hints.
    pub fn for_query(context: &'a PlannerContext<'a>, query: &Query) -> Result<Self> {
        let hints = &query.hints;
        if !hints.is_empty() && !context.config.boolean("table.dynamic-table-options.enabled") {
            return Err(Error::user(
                "The OPTIONS hint is allowed only when 'table.dynamic-table-options.enabled' is true.",
            )
            .with_hint("SET 'table.dynamic-table-options.enabled' = 'true';"));
        }
        let mut resolver = Self::for_expressions(context)?;
        let mut tables = HashMap::new();
        for (place, options) in hints {
            tables.insert(*place, options.clone());
        }
        let hints = query_hints(&query.ast)?;
        resolver.relation_planners = vec![Arc::new(Relations::new(tables, hints, context.config.zone()))];
        Ok(resolver)
    }

    /// Names of all functions, for "did you mean".
    pub fn function_names(&self) -> Vec<String> {
        self.functions.names().iter().map(ToString::to_string).collect()
    }

    fn parser_options() -> ParserOptions {
        ParserOptions {
            enable_ident_normalization: false,
            map_string_types_to_utf8view: false,
            parse_float_as_decimal: true,
            collect_spans: true,
            default_null_ordering: NullOrdering::NullsMin,
            ..ParserOptions::default()
        }
    }

    /// Binds a query.
    pub fn query(&self, query: &Query) -> Result<LogicalPlan> {
        let mut ast = query.ast.clone();
        rules::correlate::name_unnests(&mut ast);
        rules::unsupported::check(&ast)?;
        rules::stars::rewrite(&mut ast, &|relation, with| self.schema_of(relation, with))?;
        rules::using::rewrite(&mut ast, &|relation| self.columns_of(relation))?;
        crate::sql::desugar(&mut ast)?;
        rules::frames::rewrite(&mut ast);
        rules::subquery_order::rewrite(&mut ast);
        rules::fetch::rewrite(&mut ast);
        rules::grouping_sets::prepare(&mut ast)?;
        rules::group_windows::prepare(&mut ast);
        let plan = self.bind(ast, query)?;
        let plan = rules::set_operations::apply(plan, &self.functions)
            .and_then(rules::row_subqueries::apply)
            .and_then(|plan| rules::value_subqueries::apply(plan, &self.functions))
            .and_then(rules::correlated::apply)
            .map_err(|e| translate(e, &self.function_names()))?;
        rules::strict_types::check(&plan)?;
        let zone = self.context.config.zone();
        rules::unions::apply(plan, zone)
            .and_then(|plan| rules::meaning::apply(plan, zone))
            .and_then(rules::correlate::apply)
            .and_then(rules::temporal::apply)
            .map_err(|e| self.located(translate(e, &self.function_names()), &query.ast))
    }

    /// DataFusion's plan of `ast`, which was made of `query`.
    fn bind(&self, ast: Box<ast::Query>, query: &Query) -> Result<LogicalPlan> {
        let binder = SqlToRel::new_with_options(self, Self::parser_options());
        let field_of = |cell: &ast::Expr| {
            let empty = DFSchema::empty();
            let mut context = datafusion_sql::planner::PlannerContext::new();
            let expr = binder.sql_to_expr(cell.clone(), &empty, &mut context)?;
            expressions::field_of(&expr, &empty, None)
        };
        let mut ast = ast;
        rules::values::cast_cells(&mut ast, false, &field_of);
        let bind = |ast| binder.sql_statement_to_plan(ast::Statement::Query(ast));
        let error = match bind(ast.clone()) {
            Ok(plan) => return Ok(plan),
            Err(error) => error,
        };
        // DataFusion takes no VALUES whose rows are of like types that are not the same.
        if error.to_string().contains("across values list") {
            let mut cast = ast.clone();
            rules::values::cast_cells(&mut cast, true, &field_of);
            if let Ok(plan) = bind(cast) {
                return Ok(plan);
            }
        }
        // DataFusion takes no item beside a `*` that is called as one of the columns in it.
        if names_clash(&error) {
            let mut marked = ast;
            crate::sql::mark_beside_stars(&mut marked);
            if let Ok(plan) = bind(marked) {
                return Ok(plan);
            }
        }
        Err(self.located(self.bound(error), &query.ast))
    }

    /// Names of the columns of a relation in FROM that stands by itself.
    fn columns_of(&self, relation: &ast::TableFactor) -> Result<Vec<String>> {
        let schema = self.schema_of(relation, None)?;
        Ok(schema.fields().iter().map(|f| f.name().clone()).collect())
    }

    /// The columns of a relation in FROM that stands by itself, but for the subqueries of WITH.
    fn schema_of(&self, relation: &ast::TableFactor, with: Option<ast::With>) -> Result<SchemaRef> {
        let mut query = crate::sql::parse_query("SELECT * FROM t")?;
        query.ast.with = with;
        if let ast::SetExpr::Select(select) = query.ast.body.as_mut()
            && let Some(from) = select.from.first_mut()
        {
            from.relation = relation.clone();
        }
        let plan = self.query(&query)?;
        Ok(Arc::clone(plan.schema().inner()))
    }

    /// An error of binding: of the user-defined function that could not be bound, if one could not.
    fn bound(&self, error: datafusion_common::DataFusionError) -> Error {
        let broken = self.broken_function.take();
        broken.unwrap_or_else(|| translate(error, &self.function_names()))
    }

    /// The user-defined function that a call of `name` means.
    fn user_function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(known) = self.user_functions.borrow().get(name) {
            return Some(Arc::clone(known));
        }
        let parts: Vec<String> = match (&self.scope, name.split('.').map(String::from).collect::<Vec<_>>()) {
            (Some((c, d)), parts) if parts.len() == 1 => [vec![c.clone(), d.clone()], parts].concat(),
            (_, parts) => parts,
        };
        let bind = |definition: &FunctionDefinition| {
            if self.depth.get() >= MOST_NESTED_VIEWS {
                return Err(Error::user(format!("Function '{name}' is nested too deep, or calls itself.")));
            }
            let inner = Self::for_expressions(self.context)?;
            inner.depth.set(self.depth.get() + 1);
            super::user_function::bind(name, definition, &inner)
        };
        let found = match self.context.tables.function(&parts) {
            Ok(None) => self.scope.is_some().then(|| self.context.tables.function(&[name.to_string()])),
            other => Some(other),
        };
        let bound = found?.and_then(|f| f.as_ref().map(bind).transpose());
        match bound {
            Ok(function) => {
                let function = Arc::new(function?);
                self.user_functions.borrow_mut().insert(name.to_string(), Arc::clone(&function));
                Some(function)
            }
            Err(e) => {
                self.broken_function.borrow_mut().get_or_insert(e);
                None
            }
        }
    }

    /// The error at the first call of the function that it names, if it has no place yet.
    fn located(&self, error: Error, query: &ast::Query) -> Error {
        let error = match error.message().strip_prefix("No match found for function signature ") {
            Some(name) => match self.functions.hint(name.trim_end_matches('.')) {
                Some(hint) => error.with_hint(hint),
                None => error,
            },
            None => error,
        };
        if error.span().is_some() {
            return error;
        }
        let at = rules::unsupported::first_call(query, error.message());
        error.at(at)
    }

    /// Binds an expression given as text over `schema`, and coerces its types.
    pub fn expression(&self, text: &str, schema: &DFSchema) -> Result<Expr> {
        let mut ast = crate::sql::parse_expression(text)?;
        crate::sql::desugar_expression(&mut ast)?;
        let binder = SqlToRel::new_with_options(self, Self::parser_options());
        let mut planner_context = datafusion_sql::planner::PlannerContext::new();
        let expr = binder.sql_to_expr(ast, schema, &mut planner_context).map_err(|e| self.bound(e))?;
        rules::strict_types::check_expression(&expr, schema)?;
        let expr = rules::meaning::expression(expr, schema, self.context.config.zone())
            .map_err(|e| translate(e, &self.function_names()))?;
        expressions::coerce(expr, schema).map_err(|e| translate(e, &self.function_names()))
    }

    /// The table that `parts` name, with `hints` over its options.
    pub fn table(&self, parts: &[String], hints: Option<&Options>) -> Result<Arc<dyn TableSource>> {
        let parts = match (&self.scope, parts) {
            (Some((c, d)), [t]) => vec![c.clone(), d.clone(), t.clone()],
            (Some((c, _)), [d, t]) => vec![c.clone(), d.clone(), t.clone()],
            _ => parts.to_vec(),
        };
        match self.context.tables.find(&parts)? {
            None => Err(self.not_found(&parts)),
            Some((name, Object::Table(definition))) => {
                Ok(Arc::new(Table::resolve(&name, &definition, hints, self.context)?))
            }
            Some((name, Object::View(_))) if hints.is_some() => Err(Error::user(format!(
                "View '{name}' can not be enriched with OPTIONS: they are for tables."
            ))
            .with_hint("Write the hint after the table's name inside the view.")),
            Some((name, Object::View(view))) => Ok(Arc::new(self.view(&name, &view)?)),
        }
    }

    fn view(&self, name: &ObjectName, view: &ViewDefinition) -> Result<View> {
        let within = |e: Error| e.within(format!("View '{name}'"));
        if self.depth.get() >= MOST_NESTED_VIEWS {
            return Err(Error::user(format!("View '{name}' is nested too deep, or refers to itself.")));
        }
        let query = crate::sql::parse_query(&view.query).map_err(within)?;
        let mut inner = Self::for_query(self.context, &query)?;
        inner.scope = Some((view.catalog.clone(), view.database.clone()));
        inner.depth.set(self.depth.get() + 1);
        // Places inside the view's text mean nothing in the query's.
        let plan = inner.query(&query).map_err(|e| e.without_span()).map_err(within)?;
        let plan = rules::typed(plan).map_err(|e| translate(e, &[]).within(format!("View '{name}'")))?;
        let fields = plan.schema().columns();
        let plan = if view.columns.is_empty() {
            let names = super::result_names(&plan);
            if fields.iter().zip(&names).all(|(c, n)| c.name == *n) {
                plan
            } else {
                let renamed = fields.into_iter().zip(names).map(|(c, n)| Expr::Column(c).alias(n));
                datafusion_expr::LogicalPlanBuilder::from(plan)
                    .project(renamed)
                    .and_then(|b| b.build())
                    .map_err(|e| translate(e, &[]))?
            }
        } else {
            if fields.len() != view.columns.len() {
                return Err(Error::user(format!(
                    "View '{name}' names {} columns, but its query gives {}.",
                    view.columns.len(),
                    fields.len()
                )));
            }
            let renamed =
                fields.into_iter().zip(&view.columns).map(|(c, (n, _))| Expr::Column(c).alias(n.clone()));
            datafusion_expr::LogicalPlanBuilder::from(plan)
                .project(renamed)
                .and_then(|b| b.build())
                .map_err(|e| translate(e, &[]))?
        };
        Ok(View { plan })
    }

    fn not_found(&self, parts: &[String]) -> Error {
        let wanted = parts.join(".");
        let word = parts.last().map(String::as_str).unwrap_or_default();
        let names = self.context.tables.names();
        let hint = match nearest(word, names.iter().map(|n| n.object.as_str())) {
            Some(near) => format!("Did you mean '{near}'?"),
            None if names.is_empty() => "There are no tables yet: CREATE TABLE makes one.".to_string(),
            None => "SHOW TABLES lists what there is.".to_string(),
        };
        Error::user(format!("Object '{wanted}' not found.")).with_hint(hint)
    }
}

/// A view: its plan stands in its place.
struct View {
    plan: LogicalPlan,
}

impl TableSource for View {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// Whether DataFusion found two columns of one name.
fn names_clash(error: &datafusion_common::DataFusionError) -> bool {
    use datafusion_common::{DataFusionError, SchemaError};
    match error.find_root() {
        DataFusionError::SchemaError(inner, _) => matches!(
            inner.as_ref(),
            SchemaError::AmbiguousReference { .. }
                | SchemaError::DuplicateQualifiedField { .. }
                | SchemaError::DuplicateUnqualifiedField { .. }
        ),
        DataFusionError::Plan(message) => message.contains("unique expression names"),
        _ => false,
    }
}

/// The parts of a name as written.
pub(super) fn parts(name: &TableReference) -> Vec<String> {
    match name {
        TableReference::Bare { table } => vec![table.to_string()],
        TableReference::Partial { schema, table } => vec![schema.to_string(), table.to_string()],
        TableReference::Full { catalog, schema, table } => {
            vec![catalog.to_string(), schema.to_string(), table.to_string()]
        }
    }
}

impl Resolver<'_> {
    /// As `table`, for relation planners: they know only the trait.
    pub(super) fn table_source(
        &self,
        name: &TableReference,
        hints: Option<&Options>,
    ) -> DfResult<Arc<dyn TableSource>> {
        self.table(&parts(name), hints).map_err(carry)
    }
}

/// Separates a table's name from the OPTIONS that a hint gave it, in names that relation planners make up.
pub(super) const HINT_MARK: char = '\u{1}';

impl ContextProvider for Resolver<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        // A relation planner can ask only by name, so the hint travels in it (see `relations`).
        let (table, hints) = match name.table().split_once(HINT_MARK) {
            None => return self.table_source(&name, None),
            Some((table, json)) => (table, serde_json::from_str::<Options>(json)),
        };
        let hints = hints.map_err(|e| carry(Error::internal(e.to_string())))?;
        let mut all = parts(&name);
        if let Some(last) = all.last_mut() {
            *last = table.to_string();
        }
        self.table(&all, Some(&hints)).map_err(carry)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.type_planner))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let name = name.to_lowercase();
        if self.context.tables.is_system_function(&name) {
            return self.user_function(&name);
        }
        let built_in = self.group_windows.get(&name).cloned().or_else(|| self.functions.scalar(&name));
        // Aggregates and the like are asked for after this: they are no user's.
        let aggregate = self.functions.aggregate(&name).is_some() || self.functions.window(&name).is_some();
        built_in.or_else(|| if aggregate { None } else { self.user_function(&name) })
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window(name)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.function_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
