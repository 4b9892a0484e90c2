//! Functions in WebAssembly: a module's export, called row by row in a sandbox without imports.
//!
//! Numbers travel as the module's own: BOOLEAN, TINYINT, SMALLINT and INT as i32, BIGINT as i64, FLOAT as f32, DOUBLE
//! as f64. A STRING or BYTES argument is two i32, pointer and length, in memory that `alloc(length) -> pointer` gave;
//! such a result is one i64, the pointer in its upper half, the length in its lower. The module exports `memory` and
//! `alloc` where texts are used, and, if it wants results and arguments back, `dealloc(pointer, length)`. A NULL
//! argument gives NULL without a call.

use crate::error::{Error, Result};
use crate::sql::SqlType;
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringBuilder};
use arrow::array::{BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array};
use arrow::datatypes as types;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use wasmi::{
    Config, Engine, Instance, Linker, Memory, Module, Store, StoreLimits, StoreLimitsBuilder, Val, ValType,
};

/// Steps that one call may take: far more than a scalar function needs, and no more than a second or so.
const FUEL_PER_CALL: u64 = 100_000_000;
/// Most memory of one instance, in bytes.
const MEMORY_BYTES: usize = 64 << 20;
/// Largest module, in bytes.
const MODULE_BYTES: u64 = 64 << 20;

/// A value that can go into or come out of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Double,
    Text,
    Bytes,
}

impl Wire {
    fn of(sql_type: &SqlType) -> Result<Self> {
        Ok(match sql_type {
            SqlType::Boolean => Self::Boolean,
            SqlType::TinyInt => Self::TinyInt,
            SqlType::SmallInt => Self::SmallInt,
            SqlType::Int => Self::Int,
            SqlType::BigInt => Self::BigInt,
            SqlType::Float => Self::Float,
            SqlType::Double => Self::Double,
            SqlType::Char(_) | SqlType::Varchar(_) => Self::Text,
            SqlType::Binary(_) | SqlType::Varbinary(_) => Self::Bytes,
            other => {
                return Err(Error::unsupported(
                    format!("{other} in a WebAssembly function"),
                    "Use BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, STRING or BYTES.",
                ));
            }
        })
    }

    fn parameters(self) -> &'static [ValType] {
        match self {
            Self::Boolean | Self::TinyInt | Self::SmallInt | Self::Int => &[ValType::I32],
            Self::BigInt => &[ValType::I64],
            Self::Float => &[ValType::F32],
            Self::Double => &[ValType::F64],
            Self::Text | Self::Bytes => &[ValType::I32, ValType::I32],
        }
    }

    fn result(self) -> ValType {
        match self {
            Self::Text | Self::Bytes => ValType::I64,
            other => other.parameters()[0],
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Bytes)
    }
}

/// An export of a module, checked against the declared types.
pub(crate) struct WasmFunction {
    engine: Engine,
    module: Module,
    /// `path#export`, for messages.
    name: String,
    export: String,
    parameters: Vec<Wire>,
    returns: Wire,
    /// Instances that are not in use: at most one for each thread that evaluates.
    idle: Mutex<Vec<Running>>,
}

impl std::fmt::Debug for WasmFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An instance with what it exports.
struct Running {
    store: Store<StoreLimits>,
    instance: Instance,
    memory: Option<Memory>,
}

impl WasmFunction {
    /// Loads `body`, `path#export`, with these types.
    ///
    /// Errors: the file cannot be read, is no module, wants imports, or its export has another signature.
    pub(crate) fn load(body: &str, parameters: &[SqlType], returns: &SqlType) -> Result<Self> {
        let (path, export) = body.split_once('#').unwrap_or((body, ""));
        let wrong = |what: String| Error::user(format!("WebAssembly module {path}: {what}"));
        let length = std::fs::metadata(Path::new(path)).map(|m| m.len());
        let length =
            length.map_err(|e| wrong(format!("it cannot be read: {e}.")).with_hint("Check the path."))?;
        if length > MODULE_BYTES {
            return Err(wrong(format!("it is larger than {} MiB.", MODULE_BYTES >> 20)));
        }
        let bytes = std::fs::read(path).map_err(|e| wrong(format!("it cannot be read: {e}.")))?;
        let mut config = Config::default();
        config.consume_fuel(true);
        let engine = Engine::new(&config);
        let module = Module::new(&engine, &bytes).map_err(|e| {
            wrong(format!("it is no module: {e}.")).with_hint("Compile for wasm32-unknown-unknown.")
        })?;
        if let Some(import) = module.imports().next() {
            return Err(wrong(format!("it imports {}.{}.", import.module(), import.name())).with_hint(
                "Functions run without imports: compile for wasm32-unknown-unknown, not for WASI.",
            ));
        }
        let function = Self {
            engine,
            module,
            name: body.to_string(),
            export: export.to_string(),
            parameters: parameters.iter().map(Wire::of).collect::<Result<_>>()?,
            returns: Wire::of(returns)?,
            idle: Mutex::default(),
        };
        let running = function.start()?;
        function.check(&running)?;
        function.give_back(running);
        Ok(function)
    }

    fn failed(&self, e: impl std::fmt::Display) -> Error {
        Error::user(format!("WebAssembly function {}: {e}.", self.name))
    }

    fn start(&self) -> Result<Running> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
        let mut store = Store::new(&self.engine, limits);
        store.limiter(|limits| limits);
        store.set_fuel(FUEL_PER_CALL).map_err(|e| self.failed(e))?;
        let instance = Linker::new(&self.engine)
            .instantiate_and_start(&mut store, &self.module)
            .map_err(|e| self.failed(e))?;
        let memory = instance.get_memory(&store, "memory");
        Ok(Running { store, instance, memory })
    }

    fn check(&self, running: &Running) -> Result<()> {
        let Some(function) = running.instance.get_func(&running.store, &self.export) else {
            let names: Vec<String> = self
                .module
                .exports()
                .filter(|e| e.ty().func().is_some())
                .map(|e| e.name().to_string())
                .collect();
            return Err(self
                .failed(format!("the module exports no function '{}'", self.export))
                .with_hint(format!("It exports: {}.", names.join(", "))));
        };
        let wanted: Vec<ValType> = self.parameters.iter().flat_map(|w| w.parameters()).copied().collect();
        let found = function.ty(&running.store);
        if found.params() != wanted || found.results() != [self.returns.result()] {
            return Err(self
                .failed(format!(
                    "its signature is {:?} -> {:?}, but the declared types need {wanted:?} -> {:?}",
                    found.params(),
                    found.results(),
                    self.returns.result()
                ))
                .with_hint(
                    "STRING and BYTES are pointer and length as arguments, and one i64 as a result.",
                ));
        }
        let texts = self.returns.is_text() || self.parameters.iter().any(|w| w.is_text());
        if texts && running.memory.is_none() {
            return Err(self.failed("it uses texts but the module exports no 'memory'"));
        }
        if self.parameters.iter().any(|w| w.is_text())
            && running.instance.get_typed_func::<i32, i32>(&running.store, "alloc").is_err()
        {
            return Err(self.failed("it takes texts but the module exports no 'alloc(i32) -> i32'"));
        }
        Ok(())
    }

    fn take(&self) -> Result<Running> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.start(), Ok)
    }

    fn give_back(&self, running: Running) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(running);
    }

    /// The function's value for each of `rows` rows of `columns`, which are of the declared types.
    ///
    /// Errors: a call traps, runs too long, or gives what is no text.
    pub(crate) fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let mut running = self.take()?;
        let nulls = |row: usize| columns.iter().any(|c| c.is_null(row));
        let mut values = Vec::with_capacity(rows);
        for row in 0..rows {
            values.push(if nulls(row) { None } else { Some(self.call(&mut running, columns, row)?) });
        }
        let array = self.array(values)?;
        self.give_back(running);
        Ok(array)
    }

    fn call(&self, running: &mut Running, columns: &[ArrayRef], row: usize) -> Result<Value> {
        running.store.set_fuel(FUEL_PER_CALL).map_err(|e| self.failed(e))?;
        let mut arguments = Vec::with_capacity(columns.len() + 1);
        let mut lent = Vec::new();
        for (wire, column) in self.parameters.iter().zip(columns) {
            match wire {
                Wire::Boolean => arguments.push(Val::I32(i32::from(column.as_boolean().value(row)))),
                Wire::TinyInt => {
                    arguments.push(Val::I32(i32::from(column.as_primitive::<types::Int8Type>().value(row))))
                }
                Wire::SmallInt => {
                    arguments.push(Val::I32(i32::from(column.as_primitive::<types::Int16Type>().value(row))))
                }
                Wire::Int => arguments.push(Val::I32(column.as_primitive::<types::Int32Type>().value(row))),
                Wire::BigInt => {
                    arguments.push(Val::I64(column.as_primitive::<types::Int64Type>().value(row)))
                }
                Wire::Float => {
                    arguments.push(Val::F32(column.as_primitive::<types::Float32Type>().value(row).into()))
                }
                Wire::Double => {
                    arguments.push(Val::F64(column.as_primitive::<types::Float64Type>().value(row).into()))
                }
                Wire::Text | Wire::Bytes => {
                    let bytes = match wire {
                        Wire::Text => column.as_string::<i32>().value(row).as_bytes(),
                        _ => column.as_binary::<i32>().value(row),
                    };
                    let (pointer, length) = self.lend(running, bytes)?;
                    lent.push((pointer, length));
                    arguments.extend([Val::I32(pointer), Val::I32(length)]);
                }
            }
        }
        let Some(function) = running.instance.get_func(&running.store, &self.export) else {
            return Err(self.failed("its export is gone"));
        };
        let mut results = [Val::I64(0)];
        function.call(&mut running.store, &arguments, &mut results).map_err(|e| match e.as_trap_code() {
            Some(wasmi::TrapCode::OutOfFuel) => {
                self.failed(format!("it ran too long: more than {FUEL_PER_CALL} steps for one row"))
            }
            _ => self.failed(e),
        })?;
        let value = match (&results[0], self.returns) {
            (Val::I64(packed), Wire::Text | Wire::Bytes) => {
                let (pointer, length) = ((packed >> 32) as u32, *packed as u32);
                let bytes = self.read(running, pointer, length)?;
                lent.push((pointer as i32, length as i32));
                Value::Bytes(bytes)
            }
            (Val::I32(v), _) => Value::Int(i64::from(*v)),
            (Val::I64(v), _) => Value::Int(*v),
            (Val::F32(v), _) => Value::Double(f64::from(v.to_float())),
            (Val::F64(v), _) => Value::Double(v.to_float()),
            _ => return Err(self.failed("its result is no value of the declared type")),
        };
        if let Ok(dealloc) = running.instance.get_typed_func::<(i32, i32), ()>(&running.store, "dealloc") {
            for (pointer, length) in lent {
                dealloc.call(&mut running.store, (pointer, length)).map_err(|e| self.failed(e))?;
            }
        }
        Ok(value)
    }

    /// Puts bytes into the module's memory.
    fn lend(&self, running: &mut Running, bytes: &[u8]) -> Result<(i32, i32)> {
        let length = i32::try_from(bytes.len()).map_err(|_| self.failed("a text is too long"))?;
        let alloc = running
            .instance
            .get_typed_func::<i32, i32>(&running.store, "alloc")
            .map_err(|e| self.failed(e))?;
        let pointer = alloc.call(&mut running.store, length).map_err(|e| self.failed(e))?;
        let Some(memory) = running.memory else { return Err(self.failed("the module exports no 'memory'")) };
        memory.write(&mut running.store, pointer as u32 as usize, bytes).map_err(|e| self.failed(e))?;
        Ok((pointer, length))
    }

    fn read(&self, running: &Running, pointer: u32, length: u32) -> Result<Vec<u8>> {
        let Some(memory) = running.memory else { return Err(self.failed("the module exports no 'memory'")) };
        let data = memory.data(&running.store);
        let end = (pointer as usize).checked_add(length as usize);
        match end.and_then(|end| data.get(pointer as usize..end)) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(self.failed("its result lies outside the module's memory")),
        }
    }

    fn array(&self, values: Vec<Option<Value>>) -> Result<ArrayRef> {
        let int = |v: &Option<Value>| match v {
            Some(Value::Int(v)) => Some(*v),
            _ => None,
        };
        let double = |v: &Option<Value>| match v {
            Some(Value::Double(v)) => Some(*v),
            _ => None,
        };
        let v = values.iter();
        Ok(match self.returns {
            Wire::Boolean => Arc::new(v.map(|v| int(v).map(|v| v != 0)).collect::<BooleanArray>()),
            Wire::TinyInt => Arc::new(v.map(|v| int(v).map(|v| v as i8)).collect::<Int8Array>()),
            Wire::SmallInt => Arc::new(v.map(|v| int(v).map(|v| v as i16)).collect::<Int16Array>()),
            Wire::Int => Arc::new(v.map(|v| int(v).map(|v| v as i32)).collect::<Int32Array>()),
            Wire::BigInt => Arc::new(v.map(int).collect::<Int64Array>()),
            Wire::Float => Arc::new(v.map(|v| double(v).map(|v| v as f32)).collect::<Float32Array>()),
            Wire::Double => Arc::new(v.map(double).collect::<Float64Array>()),
            Wire::Text => {
                let mut texts = StringBuilder::new();
                for value in values {
                    match value {
                        Some(Value::Bytes(bytes)) => texts.append_value(
                            String::from_utf8(bytes).map_err(|_| self.failed("its result is no UTF-8"))?,
                        ),
                        _ => texts.append_null(),
                    }
                }
                Arc::new(texts.finish())
            }
            Wire::Bytes => {
                let mut all = BinaryBuilder::new();
                for value in values {
                    match value {
                        Some(Value::Bytes(bytes)) => all.append_value(bytes),
                        _ => all.append_null(),
                    }
                }
                Arc::new(all.finish())
            }
        })
    }
}

/// What a call gave.
enum Value {
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
}
