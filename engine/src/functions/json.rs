//! JSON_VALUE, JSON_QUERY, JSON_EXISTS and IS JSON. Their tails come as constant arguments (see `sql::dialect`).

use super::cast::cast_array;
use super::json_path::Path;
use super::json_tree::Json;
use super::scalar::{Binding, Call, Function, Kind, Texts, user, user_hint};
use arrow::array::*;
use arrow::datatypes::*;
use datafusion_common::{Result, ScalarValue};
use std::borrow::Cow;
use std::sync::Arc;

const T: Kind = Kind::Text;
const ANY: Kind = Kind::Any;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("JSON_VALUE", &[T, T, T, T, ANY, T, ANY], value_type, json_value).optional(5),
    Function::new("JSON_QUERY", &[T, T, T, T, T, T], query_type, json_query).optional(4),
    Function::new("JSON_EXISTS", &[T, T, T], |_| Ok(Field::new("", DataType::Boolean, true)), json_exists)
        .optional(1),
    // What `x IS JSON …` is bound to.
    Function::new("is_json", &[T, T], |_| Ok(Field::new("", DataType::Boolean, false)), is_json).optional(1),
];

/// What a path leads to.
enum Found {
    /// The text or the path is none, or a strict path leads nowhere or to null.
    Error(String),
    /// A lax path leads nowhere.
    Empty,
    /// One place.
    One(Json),
    /// The places of a path with `*`.
    Many(Vec<Json>),
}

/// Paths of one argument; the same for all rows as a rule.
struct Paths {
    texts: Texts,
    last: Option<(String, Option<Path>)>,
}

impl Paths {
    fn new(texts: Texts) -> Self {
        Self { texts, last: None }
    }

    /// The path of a row: `None` where it is NULL, `Some(None)` where the text is no path.
    fn get(&mut self, row: usize) -> Option<Option<&Path>> {
        let text = self.texts.get(row)?;
        if self.last.as_ref().is_none_or(|(t, _)| t != text) {
            self.last = Some((text.to_string(), Path::parse(text)));
        }
        self.last.as_ref().map(|(_, p)| p.as_ref())
    }
}

/// Follows `path` in the text `json`. What is no path is an error, not a mistake of the query's, as in Flink.
fn find(json: &str, path: Option<&Path>) -> Found {
    let Some(path) = path else { return Found::Error("The text is not a JSON path.".to_string()) };
    let root = match Json::parse(json) {
        Ok(v) => v,
        Err(e) if path.strict => return Found::Error(format!("The text is not JSON: {e}.")),
        Err(_) => return Found::Empty,
    };
    let found = path.find(&root);
    if !path.definite() {
        return match found {
            None if path.strict => Found::Error("The JSON path leads nowhere.".to_string()),
            found => Found::Many(found.unwrap_or_default().into_iter().map(Cow::into_owned).collect()),
        };
    }
    match found.and_then(|f| f.into_iter().next()) {
        Some(v) if v.is_null() && !path.strict => Found::Empty,
        Some(v) => Found::One(v.into_owned()),
        None if path.strict => Found::Error("The JSON path leads nowhere.".to_string()),
        None => Found::Empty,
    }
}

fn value_type(b: &Binding<'_>) -> Result<Field> {
    let data_type = match b.constants.get(2) {
        Some(Some(ScalarValue::Utf8(Some(t)))) => match t.as_str() {
            "BOOLEAN" => DataType::Boolean,
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" => DataType::Int64,
            "DOUBLE" => DataType::Float64,
            t if t == "STRING" || t.starts_with("VARCHAR") || t.starts_with("CHAR") => DataType::Utf8,
            t => {
                return user_hint(
                    format!("JSON_VALUE does not return {t}."),
                    "It returns STRING, BOOLEAN, INTEGER or DOUBLE.",
                );
            }
        },
        _ => DataType::Utf8,
    };
    Ok(Field::new("", data_type, true))
}

fn json_value(call: &Call<'_>) -> Result<ArrayRef> {
    let json = call.text(0)?;
    let mut paths = Paths::new(call.text(1)?);
    let option = |i: usize| -> Result<Option<Texts>> {
        if call.len() > i { Ok(Some(call.text(i)?)) } else { Ok(None) }
    };
    let (on_empty, empty_default) = (option(3)?, option(4)?);
    let (on_error, error_default) = (option(5)?, option(6)?);
    let otherwise = |behaviour: &Option<Texts>, default: &Option<Texts>, row, why: &str, out: &mut String| {
        match behaviour.as_ref().and_then(|b| b.get(row)) {
            Some("ERROR") => user(format!("JSON_VALUE: {why}")),
            Some("DEFAULT") => {
                Ok(default.as_ref().and_then(|d| d.get(row)).map(|d| out.push_str(d)).is_some())
            }
            _ => Ok(false),
        }
    };
    let texts = call.texts(|row, out| {
        let (Some(json), Some(path)) = (json.get(row), paths.get(row)) else { return Ok(false) };
        let strict = path.is_none_or(|p| p.strict);
        match find(json, path) {
            Found::Error(why) => otherwise(&on_error, &error_default, row, &why, out),
            Found::Empty => otherwise(&on_empty, &empty_default, row, "The path leads nowhere.", out),
            Found::One(Json::Null) => Ok(false),
            Found::One(Json::String(s)) => {
                out.push_str(&s);
                Ok(true)
            }
            Found::One(Json::Bool(b)) => {
                out.push_str(if b { "true" } else { "false" });
                Ok(true)
            }
            Found::One(Json::Number(n)) => {
                n.write(out);
                Ok(true)
            }
            Found::One(_) | Found::Many(_) if !strict => {
                otherwise(&on_empty, &empty_default, row, "The path does not lead to a single value.", out)
            }
            Found::One(_) | Found::Many(_) => {
                otherwise(&on_error, &error_default, row, "The path does not lead to a single value.", out)
            }
        }
    })?;
    if call.field.data_type() == &DataType::Utf8 {
        return Ok(texts);
    }
    cast_array(&texts, &Field::new("", DataType::Utf8, true), call.field, true, call.env.zone)
}

fn json_query(call: &Call<'_>) -> Result<ArrayRef> {
    let json = call.text(0)?;
    let mut paths = Paths::new(call.text(1)?);
    let option = |i: usize| -> Result<Option<Texts>> {
        if call.len() > i { Ok(Some(call.text(i)?)) } else { Ok(None) }
    };
    let (wrapper, on_empty, on_error) = (option(2)?, option(3)?, option(4)?);
    let otherwise = |behaviour: &Option<Texts>, row, why: &str, out: &mut String| match behaviour
        .as_ref()
        .and_then(|b| b.get(row))
    {
        Some("ERROR") => user(format!("JSON_QUERY: {why}")),
        Some("EMPTY ARRAY") => {
            out.push_str("[]");
            Ok(true)
        }
        Some("EMPTY OBJECT") => {
            out.push_str("{}");
            Ok(true)
        }
        _ => Ok(false),
    };
    let texts = call.texts(|row, out| {
        let (Some(json), Some(path)) = (json.get(row), paths.get(row)) else { return Ok(false) };
        let strict = path.is_none_or(|p| p.strict);
        let value = match find(json, path) {
            Found::Error(why) => return otherwise(&on_error, row, &why, out),
            Found::Empty => return otherwise(&on_empty, row, "The path leads nowhere.", out),
            Found::One(Json::Null) => return otherwise(&on_error, row, "The path leads to null.", out),
            Found::One(v) => v,
            Found::Many(all) => Json::Array(all),
        };
        let container = value.is_container();
        let value = match wrapper.as_ref().and_then(|w| w.get(row)) {
            Some("UNCONDITIONAL") => Json::Array(vec![value]),
            Some("CONDITIONAL") if !matches!(value, Json::Array(_)) => Json::Array(vec![value]),
            _ if container => value,
            _ if !strict => return otherwise(&on_empty, row, "The path leads to a scalar.", out),
            _ => return otherwise(&on_error, row, "The path leads to a scalar.", out),
        };
        value.write(out);
        Ok(true)
    })?;
    Ok(match call.field.data_type() {
        DataType::List(_) => items(texts.as_string::<i32>()),
        _ => texts,
    })
}

/// Arrays of JSON as ARRAY<STRING>: a text as it is, another value as its JSON; what is no array is NULL.
fn items(texts: &StringArray) -> ArrayRef {
    let mut out = ListBuilder::new(StringBuilder::new());
    for text in texts {
        match text.and_then(|t| Json::parse(t).ok()) {
            Some(Json::Array(all)) => {
                for item in all {
                    match item {
                        Json::Null => out.values().append_null(),
                        Json::String(s) => out.values().append_value(s),
                        other => {
                            let mut text = String::new();
                            other.write(&mut text);
                            out.values().append_value(text);
                        }
                    }
                }
                out.append(true);
            }
            _ => out.append(false),
        }
    }
    Arc::new(out.finish())
}

/// STRING, or what RETURNING says.
fn query_type(b: &Binding<'_>) -> Result<Field> {
    Ok(match b.constants.get(5) {
        Some(Some(ScalarValue::Utf8(Some(_)))) => {
            let item = Field::new("item", DataType::Utf8, true);
            Field::new("", DataType::List(Arc::new(item)), true)
        }
        _ => Field::new("", DataType::Utf8, true),
    })
}

fn json_exists(call: &Call<'_>) -> Result<ArrayRef> {
    let json = call.text(0)?;
    let mut paths = Paths::new(call.text(1)?);
    let on_error = if call.len() > 2 { Some(call.text(2)?) } else { None };
    call.booleans(|row| {
        let (Some(json), Some(path)) = (json.get(row), paths.get(row)) else { return Ok(None) };
        match find(json, path) {
            Found::One(Json::Null) | Found::Empty => Ok(Some(false)),
            Found::One(_) => Ok(Some(true)),
            Found::Many(_) => Ok(Some(true)),
            Found::Error(why) => match on_error.as_ref().and_then(|o| o.get(row)) {
                Some("TRUE") => Ok(Some(true)),
                Some("UNKNOWN") => Ok(None),
                Some("ERROR") => user(format!("JSON_EXISTS: {why}")),
                _ => Ok(Some(false)),
            },
        }
    })
}

/// FALSE for NULL.
fn is_json(call: &Call<'_>) -> Result<ArrayRef> {
    let json = call.text(0)?;
    let kind = if call.len() > 1 { Some(call.text(1)?) } else { None };
    call.booleans(|row| {
        let Some(json) = json.get(row) else { return Ok(Some(false)) };
        Ok(Some(match (Json::parse(json), kind.as_ref().and_then(|k| k.get(row))) {
            (Err(_), _) => false,
            (Ok(v), Some("OBJECT")) => matches!(v, Json::Object(_)),
            (Ok(v), Some("ARRAY")) => matches!(v, Json::Array(_)),
            (Ok(v), Some("SCALAR")) => !v.is_container(),
            (Ok(_), _) => true,
        }))
    })
}
