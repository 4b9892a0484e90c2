//! User-defined functions as DataFusion's: an SQL expression over the parameters, or an export of a WebAssembly module.

use super::resolver::Resolver;
use super::table::unqualified;
use super::{PlannerContext, expressions};
use crate::error::{Error, Result};
use crate::functions::WasmFunction;
use crate::sql::SqlType;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use catalog::{FunctionDefinition, FunctionLanguage};
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_physical_expr::PhysicalExpr;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A user-defined function, bound.
#[derive(Debug)]
struct UserFunction {
    name: String,
    definition: FunctionDefinition,
    parameters: SchemaRef,
    returns: FieldRef,
    signature: Signature,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Over a batch of the parameters.
    Sql(Arc<dyn PhysicalExpr>),
    Wasm(WasmFunction),
}

/// The function `name` as `definition` declares it.
///
/// Errors: types or an expression that are wrong, a module that cannot be used.
pub(super) fn bind(
    name: &str,
    definition: &FunctionDefinition,
    resolver: &Resolver<'_>,
) -> Result<ScalarUDF> {
    // Of functions within functions, the innermost is named.
    let within = |e: Error| match e.message().starts_with("Function '") {
        true => e,
        false => e.within(format!("Function '{name}'")),
    };
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut types = Vec::new();
    for (parameter, data_type) in &definition.parameters {
        let (sql_type, _) = SqlType::parse(data_type).map_err(within)?;
        fields.push(Arc::new(sql_type.to_field(parameter, true)));
        types.push(sql_type);
    }
    let (returned, nullable) = SqlType::parse(&definition.returns).map_err(within)?;
    let body = match definition.language {
        FunctionLanguage::Sql => {
            let schema = unqualified(&fields)?;
            let text = format!("CAST(({}) AS {returned})", definition.body);
            let expr = resolver.expression(&text, &schema).map_err(|e| within(e.without_span()))?;
            let columns: Vec<usize> = (0..fields.len()).collect();
            let physical = expressions::physical(&expr, &schema, &columns).map_err(within)?;
            Body::Sql(physical)
        }
        FunctionLanguage::Wasm => {
            Body::Wasm(WasmFunction::load(&definition.body, &types, &returned).map_err(within)?)
        }
    };
    let signature = match fields.is_empty() {
        true => Signature::nullary(Volatility::Volatile),
        false => Signature::user_defined(Volatility::Volatile),
    };
    Ok(ScalarUDF::from(UserFunction {
        name: name.to_string(),
        definition: definition.clone(),
        parameters: Arc::new(Schema::new(fields)),
        returns: Arc::new(returned.to_field(name, nullable)),
        signature,
        body,
    }))
}

/// Checks what CREATE FUNCTION declares.
///
/// Errors: as [`bind`].
pub fn check_function(
    name: &str,
    definition: &FunctionDefinition,
    context: &PlannerContext<'_>,
) -> Result<()> {
    bind(name, definition, &Resolver::for_expressions(context)?).map(drop)
}

impl PartialEq for UserFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.definition == other.definition
    }
}

impl Eq for UserFunction {}

impl Hash for UserFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.definition.hash(state);
    }
}

impl ScalarUDFImpl for UserFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// As Flink casts without being told: numbers to numbers, texts to texts, NULL to anything.
    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        let name = self.name.to_uppercase();
        let wrong = |error: Error| DataFusionError::External(Box::new(error));
        let wanted = self.parameters.fields();
        if given.len() != wanted.len() {
            let (n, s) = (wanted.len(), if wanted.len() == 1 { "" } else { "s" });
            let were = if given.len() == 1 { "was" } else { "were" };
            return Err(wrong(Error::user(format!(
                "Function {name} takes {n} argument{s}, but {} {were} given.",
                given.len()
            ))));
        }
        let fits = |given: &DataType, wanted: &DataType| {
            let numbers = given.is_numeric() && wanted.is_numeric();
            given == wanted || numbers || given.is_null() || (given.is_string() && wanted.is_string())
        };
        for (n, (given, wanted)) in given.iter().zip(wanted).enumerate() {
            if !fits(given, wanted.data_type()) {
                let found = SqlType::of(&Field::new("", given.clone(), true));
                let wanted = SqlType::of(wanted);
                return Err(wrong(
                    Error::user(format!("Argument {} of {name} must be {wanted}, but it is {found}.", n + 1))
                        .with_hint(format!("Write CAST(… AS {wanted}).")),
                ));
            }
        }
        Ok(wanted.iter().map(|f| f.data_type().clone()).collect())
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::clone(&self.returns))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.iter().map(|a| a.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let array = match &self.body {
            Body::Sql(expression) => {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                let batch =
                    RecordBatch::try_new_with_options(Arc::clone(&self.parameters), columns, &options)?;
                expression.evaluate(&batch)?.into_array(rows)?
            }
            Body::Wasm(function) => {
                function.evaluate(&columns, rows).map_err(|e| DataFusionError::External(Box::new(e)))?
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}
