//! One scalar function: its arguments, the type of its result, its evaluation over arrays, and how DataFusion
//! sees it.

use super::chance::Chance;
use super::field::{self, Length};
use crate::error::Error;
use crate::time::Clock;
use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::*;
use chrono_tz::Tz;
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The database of expressions that belong to no session.
const DEFAULT_DATABASE: &str = "default_database";

/// What functions know of the world: the clock, the session's zone and its database.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Read by NOW(), PROCTIME(), … when they are evaluated.
    pub clock: Arc<dyn Clock>,
    /// `table.local-time-zone`.
    pub zone: Tz,
    /// The current database.
    pub(super) database: Arc<str>,
    /// What RAND and UUID draw from.
    pub(super) chance: Arc<Chance>,
}

impl Environment {
    /// With random numbers that follow from the clock's time now.
    pub fn new(clock: Arc<dyn Clock>, zone: Tz) -> Self {
        let chance = Arc::new(Chance::new(clock.now_ms()));
        Self { clock, zone, database: Arc::from(DEFAULT_DATABASE), chance }
    }
}

/// Makes an error of ours one that DataFusion carries; [`evaluation_error`] takes it out again.
pub fn carry(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The user's mistake, as DataFusion carries it.
pub(super) fn user<T>(message: impl Into<String>) -> Result<T> {
    Err(carry(Error::user(message)))
}

/// The user's mistake with a way out.
pub(super) fn user_hint<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T> {
    Err(carry(Error::user(message).with_hint(hint)))
}

/// The error that evaluating an expression gave, as ours: the sentence of a function of ours, or Arrow's.
pub fn evaluation_error(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(e) => match e.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::internal(other.to_string()),
        },
        DataFusionError::ArrowError(e, _) => (*e).into(),
        DataFusionError::Context(_, e) | DataFusionError::Diagnostic(_, e) => evaluation_error(*e),
        DataFusionError::Shared(e) => match e.find_root() {
            DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => Error::internal(inner.to_string()),
            },
            root => Error::internal(root.strip_backtrace()),
        },
        DataFusionError::Execution(m) | DataFusionError::Plan(m) => Error::user(m),
        other => Error::internal(other.strip_backtrace()),
    }
}

/// What an argument may be. NULL may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Bytes,
    Boolean,
    Integer,
    Number,
    /// DATE, TIMESTAMP, TIMESTAMP_LTZ.
    Day,
    /// DATE, TIME, TIMESTAMP, TIMESTAMP_LTZ.
    Temporal,
    /// A timestamp or its text.
    TimestampOrText,
    TextOrBytes,
    TextOrInteger,
    Array,
    Map,
    ArrayOrMap,
}

impl Kind {
    pub fn admits(self, t: &DataType) -> bool {
        use DataType as D;
        let text = matches!(t, D::Utf8 | D::LargeUtf8 | D::Utf8View);
        match self {
            _ if t.is_null() => true,
            Self::Any => true,
            Self::Text => text,
            Self::Bytes => matches!(t, D::Binary),
            Self::TextOrBytes => text || matches!(t, D::Binary),
            Self::Boolean => matches!(t, D::Boolean),
            Self::Integer => t.is_signed_integer(),
            Self::TextOrInteger => text || t.is_signed_integer(),
            Self::Number => t.is_numeric(),
            Self::TimestampOrText => text || matches!(t, D::Timestamp(..)),
            Self::Day => matches!(t, D::Timestamp(..) | D::Date32),
            Self::Temporal => matches!(t, D::Timestamp(..) | D::Date32 | D::Time32(_)),
            Self::Array => matches!(t, D::List(_)),
            Self::Map => matches!(t, D::Map(..)),
            Self::ArrayOrMap => matches!(t, D::List(_) | D::Map(..)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "any type",
            Self::Text => "STRING",
            Self::Bytes => "BYTES",
            Self::TextOrBytes => "STRING or BYTES",
            Self::Boolean => "BOOLEAN",
            Self::Integer => "an integer",
            Self::TextOrInteger => "STRING or an integer",
            Self::Number => "a number",
            Self::TimestampOrText => "TIMESTAMP or STRING",
            Self::Day => "DATE or TIMESTAMP",
            Self::Temporal => "DATE, TIME or TIMESTAMP",
            Self::Array => "ARRAY",
            Self::Map => "MAP",
            Self::ArrayOrMap => "ARRAY or MAP",
        }
    }
}

/// A call being bound: the fields of its arguments and those of its arguments that are constants.
pub(super) struct Binding<'a> {
    pub name: &'static str,
    pub fields: &'a [FieldRef],
    pub constants: &'a [Option<&'a ScalarValue>],
}

impl Binding<'_> {
    /// Whether any argument may be NULL.
    pub fn nullable(&self) -> bool {
        self.fields.iter().any(|f| f.is_nullable() || f.data_type().is_null())
    }

    /// Type of an argument.
    pub fn data_type(&self, i: usize) -> &DataType {
        self.fields.get(i).map_or(&DataType::Null, |f| f.data_type())
    }

    /// Length of a text argument; a constant is a CHAR of its length.
    pub fn text_length(&self, i: usize) -> Length {
        match (self.fields.get(i), self.constants.get(i)) {
            (Some(f), _) if field::declared(f).is_some() => field::length(f),
            (_, Some(Some(ScalarValue::Utf8(Some(t))))) => Length::Exactly(char_count(t)),
            _ => Length::Unlimited,
        }
    }

    /// A text of this length.
    pub fn text(&self, length: Length, nullable: bool) -> Field {
        let limit = |n: usize| n < crate::sql::data_type::MAX_LENGTH as usize;
        match length {
            Length::Exactly(n) if limit(n) => field::declare(DataType::Utf8, nullable, format!("CHAR({n})")),
            Length::AtMost(n) if limit(n) => {
                field::declare(DataType::Utf8, nullable, format!("VARCHAR({n})"))
            }
            _ => Field::new("", DataType::Utf8, nullable),
        }
    }

    /// The arguments' fields, where a constant text is a CHAR of its length.
    pub fn typed_fields(&self) -> Vec<Field> {
        (0..self.fields.len())
            .map(|i| match (self.fields[i].data_type(), self.text_length(i)) {
                (DataType::Utf8, length @ Length::Exactly(_)) => {
                    self.text(length, self.fields[i].is_nullable())
                }
                _ => self.fields[i].as_ref().clone(),
            })
            .collect()
    }

    /// A result of `data_type` that is NULL where an argument is.
    pub fn strict(&self, data_type: DataType) -> Field {
        Field::new("", data_type, self.nullable())
    }

    /// The mistake of calling this function with these types.
    pub fn refuse<T>(&self, why: impl std::fmt::Display) -> Result<T> {
        let types: Vec<_> = self.fields.iter().map(|f| field::type_text(f)).collect();
        user(format!("{} cannot take ({}): {why}", self.name, types.join(", ")))
    }
}

/// Characters as Java counts them: one beyond U+FFFF is two.
pub(super) fn char_count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// A call being evaluated.
pub(super) struct Call<'a> {
    pub args: &'a [ColumnarValue],
    pub fields: &'a [FieldRef],
    /// Rows to compute: 1 if all arguments are constants.
    pub rows: usize,
    /// The result's field, as it was bound.
    pub field: &'a Field,
    pub env: &'a Environment,
}

/// Strings of an argument.
pub(super) struct Texts {
    array: StringArray,
    constant: bool,
}

impl Texts {
    pub fn get(&self, row: usize) -> Option<&str> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    /// The value, if it is the same for all rows.
    pub fn constant(&self) -> Option<&str> {
        if self.constant { self.get(0) } else { None }
    }
}

/// Bytes of an argument.
pub(super) struct Binaries {
    array: BinaryArray,
    constant: bool,
}

impl Binaries {
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

/// Numbers of an argument.
pub(super) struct Values<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    constant: bool,
}

impl<T: ArrowPrimitiveType> Values<T> {
    pub fn get(&self, row: usize) -> Option<T::Native> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

/// Booleans of an argument.
pub(super) struct Flags {
    array: BooleanArray,
    constant: bool,
}

impl Flags {
    pub fn get(&self, row: usize) -> Option<bool> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

impl Call<'_> {
    /// Number of arguments.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// The argument as an array: of one value, and true, if it is a constant.
    pub fn column(&self, i: usize) -> Result<(ArrayRef, bool)> {
        match self.args.get(i) {
            Some(ColumnarValue::Array(a)) => Ok((Arc::clone(a), false)),
            Some(ColumnarValue::Scalar(s)) => Ok((s.to_array()?, true)),
            None => Err(carry(Error::internal(format!("argument {i} of a function is missing")))),
        }
    }

    /// The argument as an array of one value a row.
    pub fn array(&self, i: usize) -> Result<ArrayRef> {
        match self.args.get(i) {
            Some(ColumnarValue::Scalar(s)) => s.to_array_of_size(self.rows),
            _ => Ok(self.column(i)?.0),
        }
    }

    fn typed(&self, i: usize, to: &DataType) -> Result<(ArrayRef, bool)> {
        let (array, constant) = self.column(i)?;
        if array.data_type() == to {
            Ok((array, constant))
        } else if array.data_type().is_null() {
            Ok((new_null_array(to, array.len()), constant))
        } else if let (DataType::Decimal128(_, scale), DataType::Float64) = (array.data_type(), to) {
            let decimals = array.as_primitive::<Decimal128Type>();
            let doubles: Float64Array = decimals.unary(|v| super::cast::decimal_to_double(v, *scale));
            Ok((Arc::new(doubles), constant))
        } else {
            Ok((cast(&array, to)?, constant))
        }
    }

    pub fn text(&self, i: usize) -> Result<Texts> {
        let (array, constant) = self.typed(i, &DataType::Utf8)?;
        Ok(Texts { array: array.as_string::<i32>().clone(), constant })
    }

    pub fn bytes(&self, i: usize) -> Result<Binaries> {
        let (array, constant) = self.typed(i, &DataType::Binary)?;
        Ok(Binaries { array: array.as_binary::<i32>().clone(), constant })
    }

    pub fn flag(&self, i: usize) -> Result<Flags> {
        let (array, constant) = self.typed(i, &DataType::Boolean)?;
        Ok(Flags { array: array.as_boolean().clone(), constant })
    }

    /// Numbers as `T`. A time keeps its unit only if `T` is its own type.
    pub fn values<T: ArrowPrimitiveType>(&self, i: usize) -> Result<Values<T>> {
        let (array, constant) = self.typed(i, &T::DATA_TYPE)?;
        Ok(Values { array: array.as_primitive::<T>().clone(), constant })
    }

    /// Numbers of the type `to`, which has parameters beyond `T` (a DECIMAL's scale).
    pub fn values_as<T: ArrowPrimitiveType>(&self, i: usize, to: &DataType) -> Result<Values<T>> {
        let (array, constant) = self.typed(i, to)?;
        Ok(Values { array: array.as_primitive::<T>().clone(), constant })
    }

    pub fn long(&self, i: usize) -> Result<Values<Int64Type>> {
        self.values(i)
    }

    pub fn double(&self, i: usize) -> Result<Values<Float64Type>> {
        self.values(i)
    }

    /// Strings made row by row; `None` is NULL.
    pub fn texts(&self, mut value: impl FnMut(usize, &mut String) -> Result<bool>) -> Result<ArrayRef> {
        let mut out = StringBuilder::with_capacity(self.rows, self.rows * 8);
        let mut buffer = String::new();
        let mut total = 0_usize;
        for row in 0..self.rows {
            buffer.clear();
            if value(row, &mut buffer)? {
                total += buffer.len();
                if total > MAX_BATCH_BYTES {
                    return user(format!(
                        "The strings made for one batch of rows are larger than {MAX_BATCH_BYTES} bytes."
                    ));
                }
                out.append_value(&buffer);
            } else {
                out.append_null();
            }
        }
        Ok(Arc::new(out.finish()))
    }

    /// Pieces of strings that are there already; `None` is NULL.
    pub fn pieces<'t>(&self, mut value: impl FnMut(usize) -> Option<&'t str>) -> Result<ArrayRef> {
        self.try_pieces(|row| Ok(value(row)))
    }

    /// The same, where it may fail.
    pub fn try_pieces<'t>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<&'t str>>,
    ) -> Result<ArrayRef> {
        let mut out = StringBuilder::with_capacity(self.rows, self.rows * 8);
        for row in 0..self.rows {
            let value = value(row)?;
            if out.values_slice().len() + value.map_or(0, str::len) > MAX_BATCH_BYTES {
                return user(format!(
                    "The strings made for one batch of rows are larger than {MAX_BATCH_BYTES} bytes."
                ));
            }
            out.append_option(value);
        }
        Ok(Arc::new(out.finish()))
    }

    /// Numbers made row by row.
    pub fn numbers<T: ArrowPrimitiveType>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<ArrayRef> {
        let mut out = PrimitiveBuilder::<T>::with_capacity(self.rows);
        for row in 0..self.rows {
            out.append_option(value(row)?);
        }
        Ok(Arc::new(out.finish().with_data_type(self.field_type(&T::DATA_TYPE))))
    }

    /// Integers made row by row, to be cast to the result's type.
    pub fn numbers_plain(&self, value: impl FnMut(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
        let values = (0..self.rows).map(value).collect::<Result<Int64Array>>()?;
        Ok(Arc::new(values))
    }

    /// The result's type where it only adds a zone or a scale to `stored`, else `stored`.
    fn field_type(&self, stored: &DataType) -> DataType {
        match (self.field.data_type(), stored) {
            (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) if a == b => {
                self.field.data_type().clone()
            }
            (DataType::Decimal128(..), DataType::Decimal128(..)) => self.field.data_type().clone(),
            _ => stored.clone(),
        }
    }

    /// Booleans made row by row.
    pub fn booleans(&self, mut value: impl FnMut(usize) -> Result<Option<bool>>) -> Result<ArrayRef> {
        let mut out = BooleanBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            out.append_option(value(row)?);
        }
        Ok(Arc::new(out.finish()))
    }
}

/// Bytes of strings that one call may make for one batch of rows.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 30;
/// Bytes of one string that a function may make.
pub(super) const MAX_STRING_BYTES: usize = 256 << 20;

/// Checks the size of a string before it is made.
pub(super) fn check_size(bytes: usize, function: &str) -> Result<()> {
    if bytes > MAX_STRING_BYTES {
        return user(format!(
            "{function} would make a string of {bytes} bytes; the limit is {MAX_STRING_BYTES}."
        ));
    }
    Ok(())
}

type ResultType = fn(&Binding<'_>) -> Result<Field>;
type Evaluation = fn(&Call<'_>) -> Result<ArrayRef>;

/// A scalar function.
#[derive(Clone, Copy)]
pub(super) struct Function {
    /// Flink's name.
    pub name: &'static str,
    takes: &'static [Kind],
    required: usize,
    variadic: bool,
    volatile: bool,
    result: ResultType,
    eval: Evaluation,
}

impl Function {
    /// A function of exactly the arguments in `takes`.
    pub const fn new(
        name: &'static str,
        takes: &'static [Kind],
        result: ResultType,
        eval: Evaluation,
    ) -> Self {
        Self { name, takes, required: takes.len(), variadic: false, volatile: false, result, eval }
    }

    /// The same function under another name.
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The last `n` arguments may be left out.
    pub const fn optional(mut self, n: usize) -> Self {
        self.required = self.takes.len() - n;
        self
    }

    /// The last argument may come any number of times.
    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Gives another value each time.
    pub const fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// As DataFusion wants it.
    pub fn udf(self, env: &Environment) -> ScalarUDF {
        let volatility = if self.volatile { Volatility::Volatile } else { Volatility::Immutable };
        ScalarUDF::from(Bound {
            function: self,
            lower_name: self.name.to_ascii_lowercase(),
            env: env.clone(),
            signature: Signature::user_defined(volatility),
        })
    }

    fn check(&self, binding: &Binding<'_>) -> Result<()> {
        let n = binding.fields.len();
        if n < self.required || (n > self.takes.len() && !self.variadic) {
            let wants = match (self.required, self.takes.len()) {
                (0, 0) => "no arguments".to_string(),
                (least, _) if self.variadic => {
                    format!("at least {least} argument{}", if least == 1 { "" } else { "s" })
                }
                (a, b) if a == b => format!("{a} argument{}", if a == 1 { "" } else { "s" }),
                (a, b) => format!("{a} to {b} arguments"),
            };
            return user(format!(
                "Function {} takes {wants}, but {n} {} given.",
                self.name,
                if n == 1 { "was" } else { "were" }
            ));
        }
        for (i, f) in binding.fields.iter().enumerate() {
            let kind = self.takes[i.min(self.takes.len().saturating_sub(1))];
            if !kind.admits(f.data_type()) {
                return user_hint(
                    format!(
                        "Argument {} of {} must be {}, but it is {}.",
                        i + 1,
                        self.name.trim().to_uppercase(),
                        kind.name(),
                        field::type_text(f)
                    ),
                    match kind.name().split(' ').next_back() {
                        Some("MAP" | "ARRAY" | "ROW") => String::new(),
                        wanted => format!("Write CAST(… AS {}).", wanted.unwrap_or("STRING")),
                    },
                );
            }
        }
        Ok(())
    }
}

/// A function in its environment.
struct Bound {
    function: Function,
    lower_name: String,
    env: Environment,
    signature: Signature,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.function.name).finish_non_exhaustive()
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name && self.env.zone == other.env.zone
    }
}

impl Eq for Bound {}

impl Hash for Bound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        &self.lower_name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> =
            arg_types.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        let binding =
            Binding { name: self.function.name, fields: &fields, constants: &vec![None; fields.len()] };
        self.function.check(&binding)?;
        Ok((self.function.result)(&binding)?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let binding =
            Binding { name: self.function.name, fields: args.arg_fields, constants: args.scalar_arguments };
        self.function.check(&binding)?;
        Ok(Arc::new((self.function.result)(&binding)?.with_name(&self.lower_name)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant =
            !self.function.volatile && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let call = Call {
            args: &args.args,
            fields: &args.arg_fields,
            rows: if constant { 1 } else { args.number_rows },
            field: &args.return_field,
            env: &self.env,
        };
        let array = (self.function.eval)(&call)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Results that many functions have.
pub(super) mod result {
    use super::*;

    pub fn text(b: &Binding<'_>) -> Result<Field> {
        Ok(b.strict(DataType::Utf8))
    }
    pub fn nullable_text(_: &Binding<'_>) -> Result<Field> {
        Ok(Field::new("", DataType::Utf8, true))
    }
    pub fn bytes(b: &Binding<'_>) -> Result<Field> {
        Ok(b.strict(DataType::Binary))
    }
    pub fn int(b: &Binding<'_>) -> Result<Field> {
        Ok(b.strict(DataType::Int32))
    }
    pub fn long(b: &Binding<'_>) -> Result<Field> {
        Ok(b.strict(DataType::Int64))
    }
    pub fn double(b: &Binding<'_>) -> Result<Field> {
        Ok(b.strict(DataType::Float64))
    }
    pub fn boolean(b: &Binding<'_>) -> Result<Field> {
        Ok(b.strict(DataType::Boolean))
    }
    /// The first argument's text or a part of it.
    pub fn part(b: &Binding<'_>) -> Result<Field> {
        Ok(b.text(at_most(b.text_length(0)), b.nullable()))
    }
    /// As [`part`], which may be NULL.
    pub fn nullable_part(b: &Binding<'_>) -> Result<Field> {
        Ok(b.text(at_most(b.text_length(0)), true))
    }
    fn at_most(length: Length) -> Length {
        match length {
            Length::Exactly(n) => Length::AtMost(n),
            other => other,
        }
    }
    /// The first argument's type.
    pub fn first(b: &Binding<'_>) -> Result<Field> {
        Ok(match b.fields.first() {
            Some(f) if matches!(f.data_type(), DataType::Utf8) => b.text(b.text_length(0), b.nullable()),
            Some(f) => field::like(f, b.nullable()),
            None => Field::new("", DataType::Null, true),
        })
    }
}
