//! Variables: their defaults, and what the environment and `--var` put in their place.

use super::error::{BakeError, BakeResult, Span};
use super::syntax::{Block, Expression, json};
use super::types::Type;
use super::value::{Number, Value};
use crate::csv::{self, truth};

/// A `variable` block.
#[derive(Debug)]
pub(super) struct Variable<'a> {
    /// Where it is named.
    pub(super) span: &'a Span,
    pub(super) default: Option<&'a Expression>,
    pub(super) wanted: Option<Type>,
    pub(super) description: Option<&'a Expression>,
    pub(super) validations: Vec<Validation<'a>>,
}

/// A condition that the value must hold.
#[derive(Debug)]
pub(super) struct Validation<'a> {
    pub(super) condition: &'a Expression,
    pub(super) message: &'a Expression,
}

impl<'a> Variable<'a> {
    /// Reads the block.
    pub(super) fn of(block: &'a Block, span: &'a Span) -> BakeResult<Self> {
        let mut variable = Self { span, default: None, wanted: None, description: None, validations: Vec::new() };
        for attribute in &block.body.attributes {
            match attribute.name.as_str() {
                "default" => variable.default = Some(&attribute.value),
                "type" => variable.wanted = Some(Type::of(&attribute.value)?),
                "description" => variable.description = Some(&attribute.value),
                other => {
                    return Err(BakeError::new(format!("a variable has no attribute `{other}`"))
                        .at(&attribute.span)
                        .suggest(other, ["default", "type", "description", "validation"]));
                }
            }
        }
        for inner in &block.body.blocks {
            if inner.kind != "validation" {
                return Err(BakeError::new(format!("a variable has no block `{}`", inner.kind)).at(&inner.span));
            }
            let needed = |name: &str| {
                let attribute = inner.body.attribute(name).map(|attribute| &attribute.value);
                attribute.ok_or_else(|| BakeError::new(format!("the validation has no `{name}`")).at(&inner.span))
            };
            let validation = Validation { condition: needed("condition")?, message: needed("error_message")? };
            variable.validations.push(validation);
        }
        Ok(variable)
    }

    /// Its value: from outside, or else the default.
    pub(super) fn value(
        &self,
        name: &str,
        default: Option<Value>,
        outside: &dyn Fn(&str) -> Option<String>,
    ) -> BakeResult<Value> {
        let Some(wanted) = &self.wanted else { return untyped(name, default, outside) };
        let json_name = format!("{name}_JSON");
        if let Some(text) = outside(&json_name) {
            let value = json::parse_value(&text).map_err(BakeError::new);
            return value.and_then(|value| wanted.convert(value)).map_err(|error| {
                BakeError::new(format!("failed to convert {json_name} to {wanted} from JSON: {error}"))
            });
        }
        match outside(name) {
            Some(text) => from_text(wanted, &text).map_err(|error| {
                let separated = if matches!(wanted, Type::Any | Type::Bool | Type::Number | Type::String) {
                    ""
                } else {
                    " from CSV"
                };
                BakeError::new(format!("failed to convert {name} to {wanted}{separated}: {error}"))
                    .help(format!("{json_name} takes the value as JSON"))
            }),
            None => wanted.convert(default.unwrap_or(Value::Null)).map_err(|error| BakeError {
                message: format!("invalid type for the {name} default value: {}", error.message),
                ..error
            }),
        }
    }
}

/// The default says what is meant.
fn untyped(name: &str, default: Option<Value>, outside: &dyn Fn(&str) -> Option<String>) -> BakeResult<Value> {
    let Some(text) = outside(name) else { return Ok(default.unwrap_or_else(|| Value::string(""))) };
    match default {
        None | Some(Value::Null | Value::String(_)) => Ok(Value::String(text)),
        Some(Value::Bool(_)) => match truth(&text) {
            Some(value) => Ok(Value::Bool(value)),
            None => Err(BakeError::new(format!("failed to parse {name} as bool: it is {text:?}"))),
        },
        Some(Value::Number(_)) => match text.parse::<Number>() {
            Ok(number) => Ok(Value::Number(number)),
            Err(()) => Err(BakeError::new(format!("failed to parse {name} as number: it is {text:?}"))),
        },
        Some(other) => Err(BakeError::new(format!(
            "unsupported type {} for variable {name}, which is set from outside",
            other.kind()
        ))
        .help("give the variable a type, for example `type = list(string)`")),
    }
}

/// Lists and the like are comma-separated; members of maps are `name:value`. What holds lists itself has no such form.
fn from_text(wanted: &Type, text: &str) -> BakeResult<Value> {
    let simple = |inner: &Type| matches!(inner, Type::Any | Type::Bool | Type::Number | Type::String);
    let fields = || csv::fields(text).map_err(BakeError::new);
    let value = match wanted {
        Type::Bool => match truth(text) {
            Some(value) => Value::Bool(value),
            None => Value::string(text),
        },
        Type::Any | Type::Number | Type::String => Value::string(text),
        Type::List(inner) | Type::Set(inner) if simple(inner) => Value::strings(fields()?),
        Type::Tuple(types) if types.iter().all(simple) => Value::strings(fields()?),
        Type::Map(inner) if simple(inner) => {
            let member = |field: String| match field.split_once(':') {
                Some((name, value)) if !value.contains(':') => Ok((name.to_owned(), Value::string(value))),
                _ => Err(BakeError::new(format!("expected one k/v pair, name:value, in `{field}`"))),
            };
            Value::Object(fields()?.into_iter().map(member).collect::<BakeResult<_>>()?)
        }
        _ => return Err(BakeError::new(format!("unsupported type {wanted}"))),
    };
    wanted.convert(value)
}
