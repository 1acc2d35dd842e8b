//! From tokens to the tree of a template.

use std::ops::Range;

use builder_frontend::suggest::nearest;
use serde_json::Value as Json;

use super::error::{TemplateError, TemplateResult};
use super::functions::{self, Function};
use super::lex::{Kind, Token, lex};

/// How deep blocks and parentheses may be nested.
const MAX_DEPTH: usize = 64;

/// What a template is made of.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Block),
    With(Block),
    Range(Block),
    Break,
    Continue,
}

/// What depends on a pipeline.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    /// Variables that get its value.
    pub(super) variables: Vec<String>,
    /// They are new.
    pub(super) declares: bool,
    pub(super) stages: Vec<Command>,
    pub(super) span: Range<usize>,
}

/// An operand that is a value, or is called with the others.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) term: Term,
    /// `.A.B` behind the term.
    pub(super) fields: Vec<(String, Range<usize>)>,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Variable(String),
    Function(&'static Function),
    Nested(Box<Pipeline>),
    Literal(Json),
}

pub(super) fn parse(source: &str) -> TemplateResult<Vec<Node>> {
    let tokens = lex(source)?;
    let mut parser =
        Parser { tokens: tokens.into_iter().peekable(), end: source.len(), variables: Vec::new(), loops: 0, depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        End::Template => Ok(nodes),
        End::Close(span) => Err(TemplateError::new("there is nothing for this `end` to close", span)),
        End::Else(span) => Err(TemplateError::new("there is no `if`, `with` or `range` for this `else`", span)),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    end: usize,
    /// Those that are visible here; `$` always is.
    variables: Vec<String>,
    loops: usize,
    depth: usize,
}

/// Where a list of nodes ends.
enum End {
    Template,
    /// `{{end}}`
    Close(Range<usize>),
    /// `{{else`, of which the rest is still there.
    Else(Range<usize>),
}

impl Parser {
    fn here(&mut self) -> Range<usize> {
        let end = self.end;
        self.tokens.peek().map_or(end..end, |token| token.span.clone())
    }

    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn next_is(&mut self, kind: &Kind) -> bool {
        self.tokens.next_if(|token| token.kind == *kind).is_some()
    }

    fn close(&mut self, after: &str) -> TemplateResult<()> {
        if self.next_is(&Kind::Close) {
            return Ok(());
        }
        Err(TemplateError::new(format!("expected `}}}}` after {after}"), self.here()))
    }

    fn deeper(&mut self, span: &Range<usize>) -> TemplateResult<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::new(format!("more than {MAX_DEPTH} levels are nested"), span.clone()));
        }
        Ok(())
    }

    fn list(&mut self) -> TemplateResult<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        while let Some(token) = self.tokens.next() {
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            let here = self.here();
            let word = match self.peek() {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let is_keyword = matches!(
                word.as_str(),
                "end" | "else" | "if" | "with" | "range" | "break" | "continue" | "define" | "template" | "block"
            );
            if is_keyword {
                self.tokens.next();
            }
            match word.as_str() {
                "end" => {
                    self.close("`end`")?;
                    return Ok((nodes, End::Close(here)));
                }
                "else" => return Ok((nodes, End::Else(here))),
                "if" => nodes.push(Node::If(self.block(&here)?)),
                "with" => nodes.push(Node::With(self.block(&here)?)),
                "range" => {
                    self.loops += 1;
                    let block = self.block(&here)?;
                    self.loops -= 1;
                    nodes.push(Node::Range(block));
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(TemplateError::new(format!("`{word}` stands in no `range`"), here));
                    }
                    self.close(&format!("`{word}`"))?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" => {
                    let error = TemplateError::new(format!("`{word}` is not supported here"), here);
                    return Err(error.help("there is one template only"));
                }
                _ => {
                    let pipeline = self.pipeline(false)?;
                    self.close("this")?;
                    nodes.push(Node::Print(pipeline));
                }
            }
        }
        Ok((nodes, End::Template))
    }

    /// After `if`, `with` or `range`, up to its `end`.
    fn block(&mut self, keyword: &Range<usize>) -> TemplateResult<Block> {
        self.deeper(keyword)?;
        let visible = self.variables.len();
        let pipeline = self.pipeline(true)?;
        self.close("this")?;
        let (then, end) = self.list()?;
        let mut otherwise = Vec::new();
        match end {
            End::Close(_) => {}
            End::Template => return Err(unclosed(keyword)),
            End::Else(span) => {
                let word = match self.peek() {
                    Some(Kind::Word(word)) if word == "if" || word == "with" => Some(word.clone()),
                    _ => None,
                };
                if let Some(word) = word {
                    self.tokens.next();
                    // Its `end` is the one of all.
                    let nested = self.block(&span)?;
                    otherwise.push(if word == "if" { Node::If(nested) } else { Node::With(nested) });
                } else {
                    self.close("`else`")?;
                    let (nodes, end) = self.list()?;
                    otherwise = nodes;
                    match end {
                        End::Close(_) => {}
                        End::Template => return Err(unclosed(keyword)),
                        End::Else(span) => return Err(TemplateError::new("this is the second `else`", span)),
                    }
                }
            }
        }
        self.variables.truncate(visible);
        self.depth -= 1;
        Ok(Block { pipeline, then, otherwise })
    }

    fn pipeline(&mut self, of_block: bool) -> TemplateResult<Pipeline> {
        let start = self.here();
        let (variables, declares) = self.assigned(of_block)?;
        let mut stages = Vec::new();
        loop {
            let span = self.here();
            let command = self.command()?;
            if !stages.is_empty() && !command.first.is_called() {
                let error = TemplateError::new("what stands behind `|` must be a function", span);
                return Err(error);
            }
            stages.push(command);
            if !self.next_is(&Kind::Pipe) {
                break;
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        let end = self.here().start;
        Ok(Pipeline { variables, declares, stages, span: start.start..end.max(start.end) })
    }

    /// `$x :=`, `$x =`, and in a range also `$i, $x :=`.
    fn assigned(&mut self, of_block: bool) -> TemplateResult<(Vec<String>, bool)> {
        // Of a `Peekable`, only a clone looks further; it is of the few tokens of a template.
        let mut ahead = self.tokens.clone();
        let mut names = Vec::new();
        let declares = loop {
            let Some(Token { kind: Kind::Variable(name), span, .. }) = ahead.next() else {
                return Ok((Vec::new(), false));
            };
            names.push((name, span));
            match ahead.next().map(|token| token.kind) {
                Some(Kind::Declare) => break true,
                Some(Kind::Assign) => break false,
                Some(Kind::Comma) if names.len() == 1 && of_block => {}
                _ => return Ok((Vec::new(), false)),
            }
        };
        for (name, span) in &names {
            if name.is_empty() {
                return Err(TemplateError::new("`$` always is the data and can't be set", span.clone()));
            }
            if !declares {
                self.known(name, span)?;
            }
        }
        self.tokens = ahead;
        Ok((names.into_iter().map(|(name, _)| name).collect(), declares))
    }

    fn known(&self, name: &str, span: &Range<usize>) -> TemplateResult<()> {
        if name.is_empty() || self.variables.iter().any(|variable| variable == name) {
            return Ok(());
        }
        Err(TemplateError::new(format!("the variable `${name}` is not defined"), span.clone()))
    }

    fn command(&mut self) -> TemplateResult<Command> {
        let first = self.operand()?;
        let mut arguments = Vec::new();
        while !matches!(self.peek(), None | Some(Kind::Close | Kind::Pipe | Kind::RightParen)) {
            let here = self.tokens.peek().map(|token| (token.span.clone(), token.spaced));
            if let Some((span, false)) = here {
                return Err(TemplateError::new("a blank is missing before this", span));
            }
            arguments.push(self.operand()?);
        }
        if !arguments.is_empty() && !first.is_called() {
            let error = TemplateError::new("this is no function and takes no arguments", first.span);
            return Err(error);
        }
        Ok(Command { first, arguments })
    }

    fn operand(&mut self) -> TemplateResult<Operand> {
        let here = self.here();
        let Some(token) = self.tokens.next() else {
            return Err(TemplateError::new("a value is missing", here));
        };
        let mut fields = Vec::new();
        let span = token.span;
        let term = match token.kind {
            Kind::Dot => Term::Dot,
            Kind::Field(name) => {
                fields.push((name, span.clone()));
                Term::Dot
            }
            Kind::Variable(name) => {
                self.known(&name, &span)?;
                Term::Variable(name)
            }
            Kind::Literal(text) => Term::Literal(text.into()),
            Kind::Integer(number) => Term::Literal(number.into()),
            Kind::Float(number) => Term::Literal(number.into()),
            Kind::Word(word) => match word.as_str() {
                "true" | "false" => Term::Literal((word == "true").into()),
                "nil" => Term::Literal(Json::Null),
                _ => Term::Function(functions::find(&word).ok_or_else(|| no_function(&word, &span))?),
            },
            Kind::LeftParen => {
                self.deeper(&span)?;
                let pipeline = self.pipeline(false)?;
                if !self.next_is(&Kind::RightParen) {
                    return Err(TemplateError::new("this parenthesis is not closed", span));
                }
                self.depth -= 1;
                Term::Nested(Box::new(pipeline))
            }
            Kind::Close => return Err(TemplateError::new("a value is missing", span)),
            Kind::Pipe => return Err(TemplateError::new("there is nothing before this `|`", span)),
            _ => return Err(TemplateError::new("this has no meaning here", span)),
        };
        let mut end = span.end;
        let chains = !matches!(term, Term::Literal(_) | Term::Function(_));
        // `. .A` are two, and `..A` is none.
        while chains && let Some(next) = self.tokens.next_if(|next| !next.spaced && matches!(next.kind, Kind::Field(_)))
        {
            end = next.span.end;
            if let Kind::Field(name) = next.kind {
                fields.push((name, next.span));
            }
        }
        Ok(Operand { term, fields, span: span.start..end })
    }
}

impl Operand {
    /// Functions, and fields, of which some take an argument.
    fn is_called(&self) -> bool {
        matches!(self.term, Term::Function(_)) || !self.fields.is_empty()
    }
}

fn unclosed(keyword: &Range<usize>) -> TemplateError {
    TemplateError::new("this is not closed", keyword.clone()).help("it ends with `{{end}}`")
}

fn no_function(name: &str, span: &Range<usize>) -> TemplateError {
    let error = TemplateError::new(format!("there is no function `{name}`"), span.clone());
    let names = functions::names();
    match nearest(name, &names) {
        Some(near) => error.help(format!("is `{near}` meant?")),
        None if name.starts_with(char::is_uppercase) => error.help(format!("a field is written `.{name}`")),
        None => error.help(format!("there are: {}", names.join(", "))),
    }
}
