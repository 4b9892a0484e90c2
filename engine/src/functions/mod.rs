//! SQL functions with Flink's names, types and results: ours, over those that DataFusion has.
//!
//! [`FunctionRegistry`] is all of them by name; [`text`] is Flink's text of a value. Each family of functions
//! has a file with a table `FUNCTIONS`, in the shape that `scalar` gives.

mod aggregate;
pub mod calendar;
mod cast;
mod chance;
mod clock;
mod codecs;
mod collections;
mod common;
mod comparison;
mod conditional;
pub mod decimal;
pub mod field;
mod java_double;
mod java_format;
mod json;
mod json_build;
mod json_path;
mod json_tree;
mod math;
mod operators;
mod parse;
mod patterns;
mod pick;
mod regexes;
mod registry;
mod replace;
mod scalar;
mod strings;
mod syntax;
mod temporal;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod text;
mod wasm;

pub use cast::{cast_array, cast_expr};
pub use clock::set_current_watermark;
pub use common::common_field;
pub use comparison::as_java;
pub use pick::{Pick, is_access};
pub use registry::FunctionRegistry;
pub use replace::{replace, replace_one, type_text_expr};
pub use scalar::{carry, evaluation_error};
pub(crate) use wasm::WasmFunction;

/// Every scalar function.
fn families() -> impl Iterator<Item = &'static scalar::Function> {
    [
        chance::FUNCTIONS,
        clock::FUNCTIONS,
        codecs::FUNCTIONS,
        collections::FUNCTIONS,
        comparison::FUNCTIONS,
        conditional::FUNCTIONS,
        json::FUNCTIONS,
        json_build::FUNCTIONS,
        math::FUNCTIONS,
        operators::FUNCTIONS,
        patterns::FUNCTIONS,
        strings::FUNCTIONS,
        temporal::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}
