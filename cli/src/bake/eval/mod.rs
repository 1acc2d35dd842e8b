//! Expressions → values.
//!
//! Names are looked up in the innermost [`Scope`] first (parameters, `for` variables, the axes of a matrix) and then
//! asked of [`Globals`], which evaluates what it was not asked before.

mod operators;
mod template;

use std::cell::Cell;
use std::collections::BTreeMap;

pub(super) use self::operators::binary;

use super::error::{BakeError, BakeResult, Span};
use super::functions;
use super::syntax::{Call, Expression, ExpressionKind, For, Step};
use super::types::Type;
use super::value::Value;

/// How deep expressions may be nested, whether they stand within each other or lead from name to name.
const MAX_DEPTH: usize = 500;

/// What the whole definition offers to expressions.
pub(crate) trait Globals {
    /// The value of a variable or global attribute.
    fn variable(&self, name: &str) -> BakeResult<Value>;
    /// The value of an attribute of a block (`target.app.tags`), or without attribute of the whole block; `None` when
    /// there are no such blocks.
    fn block(&self, kind: &str, name: &str, attribute: Option<&str>) -> Option<BakeResult<Value>>;
    /// What a function of the file comes to; `None` when there is no such function.
    fn call(&self, name: &str, arguments: &[Value]) -> Option<BakeResult<Value>>;
    /// The names of the functions of the file.
    fn functions(&self) -> Vec<&str>;
    /// How many expressions are being evaluated within each other.
    fn depth(&self) -> &Cell<usize>;
}

/// Names that hold in a part of an expression.
#[derive(Debug, Default)]
pub(crate) struct Scope<'s> {
    outer: Option<&'s Scope<'s>>,
    names: Vec<(&'s str, Value)>,
}

impl<'s> Scope<'s> {
    /// These names, and those of `outer`.
    pub(crate) fn new(outer: Option<&'s Scope<'s>>, names: Vec<(&'s str, Value)>) -> Self {
        Self { outer, names }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let own = self.names.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value);
        own.or_else(|| self.outer?.find(name))
    }
}

/// Evaluates expressions in a scope.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'e> {
    globals: &'e dyn Globals,
    scope: &'e Scope<'e>,
}

impl<'e> Evaluator<'e> {
    /// Evaluates with these names.
    pub(crate) fn new(globals: &'e dyn Globals, scope: &'e Scope<'e>) -> Self {
        Self { globals, scope }
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&self, expression: &Expression) -> BakeResult<Value> {
        let depth = self.globals.depth();
        if depth.get() >= MAX_DEPTH {
            return Err(BakeError::new("expressions are nested too deeply").at(&expression.span));
        }
        depth.set(depth.get() + 1);
        let value = self.value(expression);
        depth.set(depth.get() - 1);
        value.map_err(|error| error.at(&expression.span))
    }

    fn value(&self, expression: &Expression) -> BakeResult<Value> {
        match &expression.kind {
            ExpressionKind::Literal(value) => Ok(value.clone()),
            ExpressionKind::Template(parts) => self.template(parts, &expression.span),
            ExpressionKind::List(items) => {
                items.iter().map(|item| self.evaluate(item)).collect::<BakeResult<_>>().map(Value::List)
            }
            ExpressionKind::Object(items) => self.object(items),
            ExpressionKind::Variable(name) => self.variable(name),
            ExpressionKind::Traversal(base, steps) => self.traversal(base, steps),
            ExpressionKind::Call(call) => self.call(call),
            ExpressionKind::Unary(operator, operand) => {
                self.evaluate(operand).and_then(|value| operators::unary(*operator, &value))
            }
            ExpressionKind::Binary(operator, operands) => self.binary(*operator, operands),
            ExpressionKind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.evaluate(if self.condition(condition)? { then } else { otherwise })
            }
            ExpressionKind::For(comprehension) => self.comprehension(comprehension),
        }
    }

    fn condition(&self, expression: &Expression) -> BakeResult<bool> {
        self.evaluate(expression)?.to_bool().map_err(|error| error.at(&expression.span))
    }

    fn object(&self, items: &[(Expression, Expression)]) -> BakeResult<Value> {
        let item = |(key, value): &(Expression, Expression)| {
            let name = self.evaluate(key)?.to_text().map_err(|error| error.at(&key.span))?;
            Ok((name, self.evaluate(value)?))
        };
        items.iter().map(item).collect::<BakeResult<_>>().map(Value::Object)
    }

    fn variable(&self, name: &str) -> BakeResult<Value> {
        match self.scope.find(name) {
            Some(value) => Ok(value.clone()),
            None => self.globals.variable(name),
        }
    }

    fn traversal(&self, base: &Expression, steps: &[Step]) -> BakeResult<Value> {
        if let Some((value, rest)) = self.reference(base, steps)? {
            return self.walk(value, rest);
        }
        self.walk(self.evaluate(base)?, steps)
    }

    /// `target.app` and `target.app.tags`: only what is asked for is evaluated, so that targets can refer to each other.
    fn reference<'x>(&self, base: &Expression, steps: &'x [Step]) -> BakeResult<Option<(Value, &'x [Step])>> {
        let ExpressionKind::Variable(kind) = &base.kind else { return Ok(None) };
        if self.scope.find(kind).is_some() {
            return Ok(None);
        }
        let Some(name) = steps.first().map(|step| self.member(step)).transpose()?.flatten() else { return Ok(None) };
        let attribute = steps.get(1).map(|step| self.member(step)).transpose()?.flatten();
        match self.globals.block(kind, &name, attribute.as_deref()) {
            Some(value) => Ok(Some((value?, &steps[1 + usize::from(attribute.is_some())..]))),
            None => Ok(None),
        }
    }

    /// The name of the member that a step goes to.
    fn member(&self, step: &Step) -> BakeResult<Option<String>> {
        match step {
            Step::Attribute(name, _) => Ok(Some(name.clone())),
            Step::Index(index) => match self.evaluate(index)? {
                Value::String(name) => Ok(Some(name)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn walk(&self, value: Value, steps: &[Step]) -> BakeResult<Value> {
        let Some((step, rest)) = steps.split_first() else { return Ok(value) };
        match step {
            Step::Attribute(name, span) => self.walk(attribute(value, name, span)?, rest),
            Step::Index(index) => {
                let key = self.evaluate(index)?;
                self.walk(functions::index(&value, &key).map_err(|error| error.at(&index.span))?, rest)
            }
            Step::Splat => self.splat(value, rest).map(Value::List),
            Step::AttributeSplat => {
                let attributes = rest.iter().take_while(|step| matches!(step, Step::Attribute(..))).count();
                let (each, rest) = rest.split_at(attributes);
                self.walk(Value::List(self.splat(value, each)?), rest)
            }
        }
    }

    /// A value that is no list is a list of one, and null is an empty one.
    fn splat(&self, value: Value, steps: &[Step]) -> BakeResult<Vec<Value>> {
        let items = match value {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            other => vec![other],
        };
        items.into_iter().map(|item| self.walk(item, steps)).collect()
    }

    fn call(&self, call: &Call) -> BakeResult<Value> {
        match (call.name.as_str(), &call.arguments[..]) {
            // These see expressions, not values.
            ("try", arguments) if !arguments.is_empty() => {
                let mut last = None;
                for argument in arguments {
                    match self.evaluate(argument) {
                        Ok(value) => return Ok(value),
                        Err(error) => last = Some(error),
                    }
                }
                let why = last.map(|error| error.message).unwrap_or_default();
                return Err(BakeError::new(format!("none of the arguments of `try` has a value: {why}")));
            }
            ("can", [argument]) => return Ok(Value::Bool(self.evaluate(argument).is_ok())),
            ("convert", [value, wanted]) => return Type::of(wanted)?.convert(self.evaluate(value)?),
            _ => {}
        }
        let mut arguments =
            call.arguments.iter().map(|argument| self.evaluate(argument)).collect::<BakeResult<Vec<_>>>()?;
        if call.expand
            && let Some(last) = arguments.pop()
        {
            arguments.extend_from_slice(last.to_list()?);
        }
        let found = self.globals.call(&call.name, &arguments).or_else(|| functions::call(&call.name, &arguments));
        if let Some(result) = found {
            return result.map_err(|error| within(error, call));
        }
        let mut names = self.globals.functions();
        for name in functions::names() {
            names.push(name);
        }
        let error = BakeError::new(format!("there is no function `{}`", call.name));
        Err(error.at(&call.span).suggest(&call.name, names))
    }

    fn comprehension(&self, comprehension: &For) -> BakeResult<Value> {
        let For { key, value, collection, key_result, result, grouped, condition } = comprehension;
        let items = pairs(&self.evaluate(collection)?).map_err(|error| error.at(&collection.span))?;
        let mut list = Vec::new();
        let mut object: BTreeMap<String, Value> = BTreeMap::new();
        for (name, item) in items {
            let mut names = vec![(value.as_str(), item)];
            names.extend(key.as_deref().map(|key| (key, name)));
            let scope = Scope::new(Some(self.scope), names);
            let inner = Evaluator::new(self.globals, &scope);
            if let Some(condition) = condition
                && !inner.condition(condition)?
            {
                continue;
            }
            let made = inner.evaluate(result)?;
            let Some(key_result) = key_result else {
                list.push(made);
                continue;
            };
            let name = inner.evaluate(key_result)?.to_text().map_err(|error| error.at(&key_result.span))?;
            match (object.get_mut(&name), grouped) {
                (Some(Value::List(group)), true) => group.push(made),
                (None, true) => {
                    object.insert(name, Value::List(vec![made]));
                }
                (None, false) => {
                    object.insert(name, made);
                }
                (Some(_), _) => {
                    let message = format!("the key {name:?} comes up twice");
                    let help = "write `...` behind the value to gather the values of equal keys in lists";
                    return Err(BakeError::new(message).at(&key_result.span).help(help));
                }
            }
        }
        Ok(if key_result.is_some() { Value::Object(object) } else { Value::List(list) })
    }
}

/// Keys and values of what can be gone through.
fn pairs(collection: &Value) -> BakeResult<Vec<(Value, Value)>> {
    match collection {
        Value::List(items) => {
            Ok(items.iter().enumerate().map(|(at, item)| (Value::integer(at as i128), item.clone())).collect())
        }
        Value::Object(members) => {
            Ok(members.iter().map(|(name, value)| (Value::string(name), value.clone())).collect())
        }
        other => Err(BakeError::new(format!("`for` goes through a list or an object, not {}", other.kind()))),
    }
}

fn attribute(value: Value, name: &str, span: &Span) -> BakeResult<Value> {
    match value {
        Value::Object(mut members) => match members.remove(name) {
            Some(value) => Ok(value),
            None => Err(BakeError::new(format!("there is no `{name}` in this object"))
                .at(span)
                .suggest(name, members.keys().map(String::as_str))),
        },
        // The form `list.0`.
        Value::List(_) if name.parse::<usize>().is_ok() => functions::index(&value, &Value::string(name)),
        other => Err(BakeError::new(format!("there is no `{name}` in {}: it is no object", other.kind())).at(span)),
    }
}

/// An error of a function that has no place of its own names the function.
fn within(error: BakeError, call: &Call) -> BakeError {
    if error.span.is_some() {
        return error;
    }
    BakeError { message: format!("{}: {}", call.name, error.message), ..error }
}
