//! JSON text → the same tree as HCL text, by the rules of HCL's JSON form.
//!
//! Objects below `group`, `target`, `variable` and `function` are blocks, whose labels are the names of their members;
//! `validation` inside a variable is a block without label. Everything else is an attribute; strings are templates.

use std::ops::Range;

use super::{Attribute, Block, Body, Expression, ExpressionKind, native};
use crate::bake::error::{BakeError, BakeResult, Span};
use crate::bake::value::{Number, Value};

/// How deep values may be nested.
const MAX_DEPTH: usize = 128;

/// What is a block with a label when it stands at the top.
const BLOCKS: [&str; 4] = ["group", "target", "variable", "function"];

/// Reads a file.
pub(crate) fn parse(text: &str, file: usize) -> BakeResult<Body> {
    let mut reader = Reader { text, at: text.len() - text.trim_start_matches('\u{FEFF}').len(), file };
    let node = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.expected("the end of the file"));
    }
    let Kind::Object(members) = node.kind else {
        return Err(BakeError::new("a bake file in JSON is an object").at(&node.span));
    };
    let mut body = Body::default();
    for member in members {
        if BLOCKS.contains(&member.name.as_str()) {
            labelled(&member, &mut body)?;
        } else if member.name != "//" {
            body.attributes.push(attribute(member)?);
        }
    }
    Ok(body)
}

/// Reads JSON that is a mere value: no templates in it.
pub(crate) fn parse_value(text: &str) -> Result<Value, String> {
    fn value(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Number(match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => Number::from(i128::from(integer)),
                (None, Some(integer)) => Number::from(i128::from(integer)),
                (None, None) => Number::from(number.as_f64().unwrap_or_default()),
            }),
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(value).collect()),
            serde_json::Value::Object(items) => {
                Value::Object(items.into_iter().map(|(name, item)| (name, value(item))).collect())
            }
        }
    }
    serde_json::from_str(text).map(value).map_err(|error| error.to_string())
}

/// `"target": {"name": {…}}`; any of the objects may also be a list of objects.
fn labelled(member: &Member, body: &mut Body) -> BakeResult<()> {
    for object in member.value.objects("blocks by their names")? {
        for labelled in object {
            for inside in labelled.value.objects("a block")? {
                body.blocks.push(Block {
                    kind: member.name.clone(),
                    span: member.span.clone(),
                    labels: vec![(labelled.name.clone(), labelled.span.clone())],
                    body: block_body(&member.name, inside)?,
                });
            }
        }
    }
    Ok(())
}

fn block_body(kind: &str, members: &[Member]) -> BakeResult<Body> {
    let mut body = Body::default();
    for member in members {
        if kind == "variable" && member.name == "validation" {
            for inside in member.value.objects("a validation")? {
                let (kind, span) = (member.name.clone(), member.span.clone());
                body.blocks.push(Block { kind, span, labels: Vec::new(), body: block_body("validation", inside)? });
            }
        } else if member.name != "//" {
            body.attributes.push(attribute(member.clone())?);
        }
    }
    Ok(body)
}

fn attribute(member: Member) -> BakeResult<Attribute> {
    Ok(Attribute { name: member.name, span: member.span, value: member.value.expression()? })
}

/// A JSON value with its place.
#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    span: Span,
}

#[derive(Debug, Clone)]
enum Kind {
    Literal(Value),
    String(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    span: Span,
    value: Node,
}

impl Node {
    /// The object, or the objects of a list.
    fn objects(&self, what: &str) -> BakeResult<Vec<&[Member]>> {
        match &self.kind {
            Kind::Object(members) => Ok(vec![members]),
            Kind::List(items) => {
                let items = items.iter().map(|item| item.objects(what));
                Ok(items.collect::<BakeResult<Vec<_>>>()?.into_iter().flatten().collect())
            }
            _ => Err(BakeError::new(format!("here must be an object with {what}")).at(&self.span)),
        }
    }

    fn expression(self) -> BakeResult<Expression> {
        let kind = match self.kind {
            Kind::Literal(value) => ExpressionKind::Literal(value),
            Kind::String(text) => return native::parse_template(&text, &self.span),
            Kind::List(items) => {
                ExpressionKind::List(items.into_iter().map(Self::expression).collect::<BakeResult<_>>()?)
            }
            Kind::Object(members) => {
                let item = |member: Member| {
                    Ok((native::parse_template(&member.name, &member.span)?, member.value.expression()?))
                };
                ExpressionKind::Object(members.into_iter().map(item).collect::<BakeResult<_>>()?)
            }
        };
        Ok(Expression::new(kind, self.span))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    file: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> BakeResult<Node> {
        if depth > MAX_DEPTH {
            return Err(BakeError::new("this is nested too deeply").at(&self.span(self.at..self.at + 1)));
        }
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some('{') => Kind::Object(self.object(depth)?),
            Some('[') => {
                let mut items = Vec::new();
                self.sequence(']', |reader| {
                    items.push(reader.value(depth + 1)?);
                    Ok(())
                })?;
                Kind::List(items)
            }
            Some('"') => Kind::String(self.string()?),
            _ => Kind::Literal(self.literal()?),
        };
        Ok(Node { kind, span: self.span(start..self.at) })
    }

    fn object(&mut self, depth: usize) -> BakeResult<Vec<Member>> {
        let mut members = Vec::new();
        self.sequence('}', |reader| {
            let start = reader.at;
            if reader.peek() != Some('"') {
                return Err(reader.expected("a name in double quotes"));
            }
            let name = reader.string()?;
            let span = reader.span(start..reader.at);
            reader.space();
            if !reader.eat(':') {
                return Err(reader.expected("`:`"));
            }
            members.push(Member { name, span, value: reader.value(depth + 1)? });
            Ok(())
        })?;
        Ok(members)
    }

    /// Items with commas between them, up to `end`; the opening bracket is next.
    fn sequence(&mut self, end: char, mut item: impl FnMut(&mut Self) -> BakeResult<()>) -> BakeResult<()> {
        self.at += 1;
        self.space();
        if self.eat(end) {
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.eat(end) {
                return Ok(());
            }
            if !self.eat(',') {
                return Err(self.expected(&format!("`,` or `{end}`")));
            }
        }
    }

    /// A string; where it ends is found here, what it says is left to serde.
    fn string(&mut self) -> BakeResult<String> {
        let start = self.at;
        let mut escaped = false;
        let rest = self.text[start + 1..].char_indices();
        let end = rest.take_while(|(_, c)| *c != '\n').find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let Some((length, _)) = end else {
            return Err(BakeError::new("this string has no end").at(&self.span(start..start + 1)));
        };
        self.at = start + 1 + length + 1;
        let span = self.span(start..self.at);
        serde_json::from_str(&self.text[start..self.at])
            .map_err(|_| BakeError::new("this is not a valid JSON string").at(&span))
    }

    fn literal(&mut self) -> BakeResult<Value> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.expected("a value"));
        }
        let span = self.span(self.at..self.at + length);
        let value = parse_value(&rest[..length]).map_err(|_| {
            BakeError::new(format!("`{}` is not a JSON value", &rest[..length]))
                .at(&span)
                .help("text stands in double quotes")
        })?;
        self.at += length;
        Ok(value)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.at += wanted.len_utf8();
        }
        there
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn expected(&self, what: &str) -> BakeError {
        let length = self.peek().filter(|&c| c != '\n').map_or(0, char::len_utf8);
        BakeError::new(format!("expected {what}")).at(&self.span(self.at..self.at + length))
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span { file: self.file, range: range.start.min(self.text.len())..range.end.min(self.text.len()) }
    }
}
