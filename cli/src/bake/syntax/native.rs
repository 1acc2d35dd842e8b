//! HCL text → our tree. The parser is `hcl-edit`, whose nodes know their places.

use hcl_edit::expr::{self, ObjectKey, TraversalOperator};
use hcl_edit::structure::Structure;
use hcl_edit::template::{self, Directive, Element, Strip};
use hcl_edit::{Span as _, parser};

use super::{Attribute, BinaryOperator, Block, Body, Call, Expression, ExpressionKind, For, Part, Step, UnaryOperator};
use crate::bake::error::{BakeError, BakeResult, Span};
use crate::bake::value::{Number, Value};

/// Reads a file.
pub(crate) fn parse(text: &str, file: usize) -> BakeResult<Body> {
    let reader = Reader { file, whole: None };
    let body = parser::parse_body(text).map_err(|error| reader.refused(text, &error))?;
    reader.body(&body)
}

/// Reads an expression that is the whole of `text`; its parts are said to be at `span`.
pub(crate) fn parse_expression(text: &str, span: &Span) -> BakeResult<Expression> {
    let reader = Reader { file: span.file, whole: Some(span.clone()) };
    reader.expression(&parser::parse_expr(text).map_err(|error| reader.refused(text, &error))?)
}

/// Reads text with `${…}` and `%{…}` in it; its parts are said to be at `span`.
pub(super) fn parse_template(text: &str, span: &Span) -> BakeResult<Expression> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(Expression::new(ExpressionKind::Literal(Value::String(text.to_owned())), span.clone()));
    }
    let reader = Reader { file: span.file, whole: Some(span.clone()) };
    let template = parser::parse_template(text).map_err(|error| reader.refused(text, &error))?;
    Ok(Expression::new(ExpressionKind::Template(reader.parts(template.iter())?), span.clone()))
}

struct Reader {
    file: usize,
    /// Where everything is, when the text is itself a part of a file.
    whole: Option<Span>,
}

impl Reader {
    fn refused(&self, text: &str, error: &parser::Error) -> BakeError {
        let start = text.floor_char_boundary(error.location().offset());
        let length = text[start..].chars().next().filter(|&c| c != '\n').map_or(0, char::len_utf8);
        let message = error.message().trim().replace('\n', ", ");
        let message = if message.is_empty() { "this is not valid HCL".to_owned() } else { message };
        BakeError::new(message).at(&self.span(Some(start..start + length)))
    }

    fn span(&self, range: Option<std::ops::Range<usize>>) -> Span {
        match &self.whole {
            Some(whole) => whole.clone(),
            None => Span { file: self.file, range: range.unwrap_or_default() },
        }
    }

    fn body(&self, body: &hcl_edit::structure::Body) -> BakeResult<Body> {
        let mut found = Body::default();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => found.attributes.push(Attribute {
                    name: attribute.key.as_str().to_owned(),
                    span: self.span(attribute.key.span()),
                    value: self.expression(&attribute.value)?,
                }),
                Structure::Block(block) => found.blocks.push(Block {
                    kind: block.ident.as_str().to_owned(),
                    span: self.span(block.ident.span()),
                    labels: block
                        .labels
                        .iter()
                        .map(|label| (label.as_str().to_owned(), self.span(label.span())))
                        .collect(),
                    body: self.body(&block.body)?,
                }),
            }
        }
        Ok(found)
    }

    fn expression(&self, expression: &expr::Expression) -> BakeResult<Expression> {
        let span = self.span(expression.span());
        let kind = match expression {
            expr::Expression::Null(_) => ExpressionKind::Literal(Value::Null),
            expr::Expression::Bool(value) => ExpressionKind::Literal(Value::Bool(*value.value())),
            expr::Expression::Number(number) => ExpressionKind::Literal(Value::Number(literal(number.value()))),
            expr::Expression::String(text) => ExpressionKind::Literal(Value::String(text.value().clone())),
            expr::Expression::Array(list) => ExpressionKind::List(self.expressions(list.iter())?),
            expr::Expression::Object(object) => {
                let item = |(key, value): (&ObjectKey, &expr::ObjectValue)| {
                    let value = self.expression(value.expr())?;
                    let key = match key {
                        ObjectKey::Ident(name) => Expression::new(
                            ExpressionKind::Literal(Value::String(name.as_str().to_owned())),
                            self.span(name.span()),
                        ),
                        ObjectKey::Expression(key) => self.expression(key)?,
                    };
                    Ok((key, value))
                };
                ExpressionKind::Object(object.iter().map(item).collect::<BakeResult<_>>()?)
            }
            expr::Expression::StringTemplate(template) => ExpressionKind::Template(self.parts(template.iter())?),
            expr::Expression::HeredocTemplate(heredoc) => {
                ExpressionKind::Template(self.parts(heredoc.template.iter())?)
            }
            expr::Expression::Parenthesis(inner) => {
                return Ok(Expression::new(self.expression(inner.inner())?.kind, span));
            }
            expr::Expression::Variable(name) => ExpressionKind::Variable(name.as_str().to_owned()),
            expr::Expression::Conditional(choice) => ExpressionKind::Conditional(Box::new([
                self.expression(&choice.cond_expr)?,
                self.expression(&choice.true_expr)?,
                self.expression(&choice.false_expr)?,
            ])),
            expr::Expression::FuncCall(call) => ExpressionKind::Call(self.call(call)?),
            expr::Expression::Traversal(traversal) => {
                let steps = traversal.operators.iter().map(|step| self.step(step.value(), self.span(step.span())));
                let steps = steps.collect::<BakeResult<_>>()?;
                ExpressionKind::Traversal(Box::new(self.expression(&traversal.expr)?), steps)
            }
            expr::Expression::UnaryOp(unary) => {
                let operator = match unary.operator.value() {
                    expr::UnaryOperator::Neg => UnaryOperator::Negate,
                    expr::UnaryOperator::Not => UnaryOperator::Not,
                };
                ExpressionKind::Unary(operator, Box::new(self.expression(&unary.expr)?))
            }
            expr::Expression::BinaryOp(binary) => {
                let operands = [self.expression(&binary.lhs_expr)?, self.expression(&binary.rhs_expr)?];
                ExpressionKind::Binary(operator(*binary.operator.value()), Box::new(operands))
            }
            expr::Expression::ForExpr(comprehension) => {
                ExpressionKind::For(Box::new(self.comprehension(comprehension)?))
            }
        };
        Ok(Expression::new(kind, span))
    }

    fn expressions<'e>(&self, expressions: impl Iterator<Item = &'e expr::Expression>) -> BakeResult<Vec<Expression>> {
        expressions.map(|expression| self.expression(expression)).collect()
    }

    fn call(&self, call: &expr::FuncCall) -> BakeResult<Call> {
        let mut name = String::new();
        for space in &call.name.namespace {
            name.extend([space.as_str(), "::"]);
        }
        name.push_str(call.name.name.as_str());
        Ok(Call {
            name,
            span: self.span(call.name.name.span()),
            arguments: self.expressions(call.args.iter())?,
            expand: call.args.expand_final(),
        })
    }

    fn step(&self, step: &TraversalOperator, span: Span) -> BakeResult<Step> {
        Ok(match step {
            TraversalOperator::GetAttr(name) => Step::Attribute(name.as_str().to_owned(), span),
            TraversalOperator::Index(index) => Step::Index(self.expression(index)?),
            TraversalOperator::LegacyIndex(index) => {
                let number = Value::Number(Number::from(i128::from(*index.value())));
                Step::Index(Expression::new(ExpressionKind::Literal(number), span))
            }
            TraversalOperator::AttrSplat(_) => Step::AttributeSplat,
            TraversalOperator::FullSplat(_) => Step::Splat,
        })
    }

    fn comprehension(&self, comprehension: &expr::ForExpr) -> BakeResult<For> {
        let intro = &comprehension.intro;
        let optional = |expression: Option<&expr::Expression>| expression.map(|e| self.expression(e)).transpose();
        Ok(For {
            key: intro.key_var.as_ref().map(|name| name.as_str().to_owned()),
            value: intro.value_var.as_str().to_owned(),
            collection: self.expression(&intro.collection_expr)?,
            key_result: optional(comprehension.key_expr.as_ref())?,
            result: self.expression(&comprehension.value_expr)?,
            grouped: comprehension.grouping,
            condition: optional(comprehension.cond.as_ref().map(|condition| &condition.expr))?,
        })
    }

    fn parts<'e>(&self, elements: impl Iterator<Item = &'e Element>) -> BakeResult<Vec<Part>> {
        let mut parts = Vec::new();
        // Whether the text that comes next loses the white space at its start.
        let mut strip = false;
        for element in elements {
            match element {
                Element::Literal(text) => {
                    let text = if strip { text.value().trim_start() } else { text.value() };
                    strip = false;
                    parts.push(Part::Text(text.to_owned()));
                }
                Element::Interpolation(interpolation) => {
                    strip_end(&mut parts, interpolation.strip);
                    strip = interpolation.strip.strip_end();
                    parts.push(Part::Interpolation(self.expression(&interpolation.expr)?));
                }
                Element::Directive(directive) => {
                    let (part, first, last) = self.directive(directive)?;
                    strip_end(&mut parts, first);
                    strip = last.strip_end();
                    parts.push(part);
                }
            }
        }
        Ok(parts)
    }

    /// A directive, and what its first and last marks strip.
    fn directive(&self, directive: &Directive) -> BakeResult<(Part, Strip, Strip)> {
        match directive {
            Directive::If(choice) => {
                let start = choice.if_expr.strip;
                let end = choice.endif_expr.strip;
                let middle = choice.else_expr.as_ref().map_or(end, |branch| branch.strip);
                let then = self.inner(&choice.if_expr.template, start, middle)?;
                let otherwise = match &choice.else_expr {
                    Some(branch) => self.inner(&branch.template, branch.strip, end)?,
                    None => Vec::new(),
                };
                let condition = self.expression(&choice.if_expr.cond_expr)?;
                Ok((Part::If { condition, then, otherwise }, start, end))
            }
            Directive::For(repeat) => {
                let (start, end) = (repeat.for_expr.strip, repeat.endfor_expr.strip);
                let part = Part::For {
                    key: repeat.for_expr.key_var.as_ref().map(|name| name.as_str().to_owned()),
                    value: repeat.for_expr.value_var.as_str().to_owned(),
                    collection: self.expression(&repeat.for_expr.collection_expr)?,
                    body: self.inner(&repeat.for_expr.template, start, end)?,
                };
                Ok((part, start, end))
            }
        }
    }

    /// What stands between two marks.
    fn inner(&self, template: &template::Template, before: Strip, after: Strip) -> BakeResult<Vec<Part>> {
        let mut parts = self.parts(template.iter())?;
        if before.strip_end()
            && let Some(Part::Text(text)) = parts.first_mut()
        {
            *text = text.trim_start().to_owned();
        }
        strip_end(&mut parts, after);
        Ok(parts)
    }
}

/// A mark that strips takes the white space before it away.
fn strip_end(parts: &mut [Part], mark: Strip) {
    if mark.strip_start()
        && let Some(Part::Text(text)) = parts.last_mut()
    {
        text.truncate(text.trim_end().len());
    }
}

fn literal(number: &hcl_edit::Number) -> Number {
    match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => Number::from(i128::from(integer)),
        (None, Some(integer)) => Number::from(i128::from(integer)),
        (None, None) => Number::from(number.as_f64().unwrap_or_default()),
    }
}

fn operator(operator: expr::BinaryOperator) -> BinaryOperator {
    match operator {
        expr::BinaryOperator::Eq => BinaryOperator::Equal,
        expr::BinaryOperator::NotEq => BinaryOperator::NotEqual,
        expr::BinaryOperator::Less => BinaryOperator::Less,
        expr::BinaryOperator::LessEq => BinaryOperator::LessOrEqual,
        expr::BinaryOperator::Greater => BinaryOperator::Greater,
        expr::BinaryOperator::GreaterEq => BinaryOperator::GreaterOrEqual,
        expr::BinaryOperator::Plus => BinaryOperator::Add,
        expr::BinaryOperator::Minus => BinaryOperator::Subtract,
        expr::BinaryOperator::Mul => BinaryOperator::Multiply,
        expr::BinaryOperator::Div => BinaryOperator::Divide,
        expr::BinaryOperator::Mod => BinaryOperator::Modulo,
        expr::BinaryOperator::And => BinaryOperator::And,
        expr::BinaryOperator::Or => BinaryOperator::Or,
    }
}
