//! A template applied to data, within bounds.

use std::borrow::Cow;
use std::ops::Range;

use builder_frontend::suggest::nearest;
use serde_json::Value as Json;

use super::error::{TemplateError, TemplateResult};
use super::parse::{Block, Command, Node, Operand, Pipeline, Term};
use super::value::{self, NULL, Value, plain, truth};

/// The longest text that one execution makes.
const MAX_OUTPUT: usize = 64 << 20;
/// How many bytes the functions of one execution read and make.
const MAX_WORK: usize = 256 << 20;
/// How many operands one execution looks at.
const MAX_STEPS: usize = 10_000_000;

/// Applies the nodes to the data. `headers`: the data are the headers of a table, not values.
pub(super) fn execute(nodes: &[Node], data: &Json, headers: bool) -> TemplateResult<String> {
    let mut execution = Execution { data, headers, variables: Vec::new(), out: String::new(), steps: 0, work: 0 };
    execution.list(nodes, &Cow::Borrowed(data))?;
    Ok(execution.out)
}

struct Execution<'d> {
    data: &'d Json,
    headers: bool,
    variables: Vec<(String, Value<'d>)>,
    out: String,
    steps: usize,
    work: usize,
}

/// How a list of nodes was left.
enum Flow {
    Through,
    Break,
    Continue,
}

impl<'d> Execution<'d> {
    fn list(&mut self, nodes: &[Node], dot: &Value<'d>) -> TemplateResult<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text, &(0..0))?,
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        match &*value {
                            Json::Null => self.write("<no value>", &pipeline.span)?,
                            Json::String(text) => self.write(text, &pipeline.span)?,
                            other => self.write(&plain(other), &pipeline.span)?,
                        }
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
                Node::If(block) | Node::With(block) => {
                    let visible = self.variables.len();
                    let value = self.pipeline(&block.pipeline, dot)?;
                    let inside = if matches!(node, Node::With(_)) { &value } else { dot };
                    let flow =
                        if truth(&value) { self.list(&block.then, inside)? } else { self.list(&block.otherwise, dot)? };
                    self.variables.truncate(visible);
                    if !matches!(flow, Flow::Through) {
                        return Ok(flow);
                    }
                }
                Node::Range(block) => {
                    let visible = self.variables.len();
                    let flow = self.range(block, dot)?;
                    self.variables.truncate(visible);
                    if !matches!(flow, Flow::Through) {
                        return Ok(flow);
                    }
                }
            }
        }
        Ok(Flow::Through)
    }

    fn write(&mut self, text: &str, span: &Range<usize>) -> TemplateResult<()> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(TemplateError::new("the template writes more than 64 MiB", span.clone()));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn range(&mut self, block: &Block, dot: &Value<'d>) -> TemplateResult<Flow> {
        let outside = self.variables.len();
        let over = self.pipeline(&block.pipeline, dot)?;
        // The pipeline gave its variables the whole; each round has them anew.
        if block.pipeline.declares {
            self.variables.truncate(outside);
        }
        let members: Vec<(Json, Value<'d>)> = match over {
            Cow::Borrowed(Json::Array(items)) => {
                items.iter().enumerate().map(|(at, item)| (at.into(), Cow::Borrowed(item))).collect()
            }
            Cow::Owned(Json::Array(items)) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), Cow::Owned(item))).collect()
            }
            Cow::Borrowed(Json::Object(map)) => {
                let members = value::sorted(map).into_iter();
                members.map(|(key, item)| (key.as_str().into(), Cow::Borrowed(item))).collect()
            }
            Cow::Owned(Json::Object(map)) => {
                let members = value::sorted(&map).into_iter();
                members.map(|(key, item)| (key.as_str().into(), Cow::Owned(item.clone()))).collect()
            }
            over => match (&*over, over.as_u64()) {
                (Json::Null, _) => Vec::new(),
                (_, Some(count)) if count <= MAX_STEPS as u64 => {
                    (0..count).map(|number| (number.into(), Cow::Owned(number.into()))).collect()
                }
                _ => {
                    let message = format!("{} can't be gone through", value::kind(&over));
                    return Err(TemplateError::new(message, block.pipeline.span.clone()));
                }
            },
        };
        if members.is_empty() {
            return self.list(&block.otherwise, dot);
        }
        let visible = self.variables.len();
        for (key, item) in members {
            self.step(&block.pipeline.span)?;
            match block.pipeline.variables.as_slice() {
                [one] => self.set(one, item.clone(), block.pipeline.declares),
                [first, second] => {
                    self.set(first, Cow::Owned(key), block.pipeline.declares);
                    self.set(second, item.clone(), block.pipeline.declares);
                }
                _ => {}
            }
            let flow = self.list(&block.then, &item)?;
            self.variables.truncate(visible);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Through)
    }

    fn set(&mut self, name: &str, value: Value<'d>, declares: bool) {
        if declares {
            self.variables.push((name.to_owned(), value));
        } else if let Some(known) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            known.1 = value;
        }
    }

    fn step(&mut self, span: &Range<usize>) -> TemplateResult<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(TemplateError::new("the template takes too many steps", span.clone()));
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value<'d>) -> TemplateResult<Value<'d>> {
        let mut value = None;
        for stage in &pipeline.stages {
            value = Some(self.command(stage, value, dot)?);
        }
        let value = value.unwrap_or(NULL);
        // Both variables of a range get theirs there.
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    /// `last` is what the stage before it made: the last argument.
    fn command(&mut self, command: &Command, last: Option<Value<'d>>, dot: &Value<'d>) -> TemplateResult<Value<'d>> {
        let Term::Function(function) = command.first.term else {
            if command.arguments.is_empty() && last.is_none() {
                return self.operand(&command.first, dot);
            }
            let mut arguments = self.arguments(command, dot)?;
            arguments.extend(last);
            return self.method(&command.first, &arguments, dot);
        };
        self.step(&command.first.span)?;
        let span = &command.first.span;
        if matches!(function.name, "and" | "or") {
            let mut value = None;
            for argument in &command.arguments {
                let found = self.operand(argument, dot)?;
                if truth(&found) == (function.name == "or") {
                    return Ok(found);
                }
                value = Some(found);
            }
            return function
                .call(last.or(value).into_iter().collect())
                .map_err(|message| TemplateError::new(message, span.clone()));
        }
        let mut arguments = self.arguments(command, dot)?;
        arguments.extend(last);
        if self.headers && function.keeps_headers && arguments.iter().all(|argument| !argument.is_array()) {
            return Ok(arguments.into_iter().next().unwrap_or(NULL));
        }
        if function.copies {
            self.work(&arguments, span)?;
        }
        let value = function.call(arguments).map_err(|message| TemplateError::new(message, span.clone()))?;
        if function.copies {
            self.work(std::slice::from_ref(&value), span)?;
        }
        Ok(value)
    }

    fn work(&mut self, values: &[Value<'d>], span: &Range<usize>) -> TemplateResult<()> {
        self.work += values.iter().map(|value| value::size(value)).sum::<usize>();
        if self.work > MAX_WORK {
            return Err(TemplateError::new("the template makes more text than is allowed", span.clone()));
        }
        Ok(())
    }

    fn arguments(&mut self, command: &Command, dot: &Value<'d>) -> TemplateResult<Vec<Value<'d>>> {
        command.arguments.iter().map(|argument| self.operand(argument, dot)).collect()
    }

    fn operand(&mut self, operand: &Operand, dot: &Value<'d>) -> TemplateResult<Value<'d>> {
        self.operand_without(operand, 0, dot)
    }

    /// The value of an operand, but for its last few fields.
    fn operand_without(&mut self, operand: &Operand, last: usize, dot: &Value<'d>) -> TemplateResult<Value<'d>> {
        self.step(&operand.span)?;
        let mut value = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Variable(name) if name.is_empty() => Cow::Borrowed(self.data),
            Term::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(NULL, |(_, value)| value.clone())
            }
            Term::Literal(literal) => Cow::Owned(literal.clone()),
            Term::Nested(pipeline) => self.pipeline(pipeline, dot)?,
            Term::Function(function) => {
                function.call(Vec::new()).map_err(|message| TemplateError::new(message, operand.span.clone()))?
            }
        };
        for (name, span) in &operand.fields[..operand.fields.len() - last] {
            value = self.field(value, name, span)?;
        }
        Ok(value)
    }

    /// A field of the data must be there; below, and in maps, nothing is a value.
    fn field(&self, value: Value<'d>, name: &str, span: &Range<usize>) -> TemplateResult<Value<'d>> {
        let is_data = matches!(&value, Cow::Borrowed(value) if std::ptr::eq(*value, self.data));
        match &*value {
            Json::Null if !is_data => return Ok(NULL),
            Json::Object(_) => {}
            other => {
                let message = format!("{} has no field `{name}`", value::kind(other));
                return Err(TemplateError::new(message, span.clone()));
            }
        }
        match value::member(value, name) {
            Some(found) => Ok(found),
            None if is_data => Err(self.no_field(name, span)),
            None => Ok(NULL),
        }
    }

    fn no_field(&self, name: &str, span: &Range<usize>) -> TemplateError {
        let names: Vec<&str> =
            self.data.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
        let error = TemplateError::new(format!("there is no field `{name}`"), span.clone());
        let same = names.iter().find(|known| known.eq_ignore_ascii_case(name)).copied();
        if let Some(near) = same.or_else(|| nearest(name, &names)) {
            return error.help(format!("is `.{near}` meant?"));
        }
        let names: Vec<String> = names.iter().map(|name| format!(".{name}")).collect();
        error.help(format!("there are: {}", names.join(", ")))
    }

    /// `.Label "name"`: what a map has under a name, an empty text when it has not. In headers, the name itself.
    fn method(&mut self, operand: &Operand, arguments: &[Value<'d>], dot: &Value<'d>) -> TemplateResult<Value<'d>> {
        let wrong = |message: String| TemplateError::new(message, operand.span.clone());
        let Some((name, span)) = operand.fields.last() else {
            return Err(wrong("this is no function and takes no arguments".into()));
        };
        let of = self.operand_without(operand, 1, dot)?;
        let map = self.field(of, name, span)?;
        let [argument] = arguments else { return Err(wrong(format!("`.{name}` takes no such arguments"))) };
        let Some(key) = argument.as_str() else { return Err(wrong(format!("`.{name}` takes a text"))) };
        if self.headers {
            let last = key.rsplit('.').next().unwrap_or(key);
            return Ok(Cow::Owned(last.replace(['-', '_'], " ").into()));
        }
        if !map.is_object() {
            return Err(wrong(format!("`.{name}` is {} and takes no arguments", value::kind(&map))));
        }
        Ok(value::member(map, key).unwrap_or(Cow::Owned("".into())))
    }
}
