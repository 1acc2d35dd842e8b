//! The syntax of bake files: what [`native`] (HCL) and [`json`] read them into.
//!
//! Every part knows its place, so that a value that turns out wrong while it is evaluated can still be shown.

pub(crate) mod json;
pub(crate) mod native;

use super::error::Span;
use super::value::Value;

/// A file or the inside of a block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    /// `name = value`
    pub(crate) attributes: Vec<Attribute>,
    /// `kind "label" { … }`
    pub(crate) blocks: Vec<Block>,
}

/// `name = value`
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) span: Span,
    pub(crate) value: Expression,
}

/// `kind "label" { … }`
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) kind: String,
    /// Where the kind stands.
    pub(crate) span: Span,
    pub(crate) labels: Vec<(String, Span)>,
    pub(crate) body: Body,
}

/// Something that has a value.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) kind: ExpressionKind,
    pub(crate) span: Span,
}

/// The forms of expressions.
#[derive(Debug, Clone)]
pub(crate) enum ExpressionKind {
    Literal(Value),
    /// Text with expressions in it; of a single interpolation it is that expression's value.
    Template(Vec<Part>),
    List(Vec<Expression>),
    Object(Vec<(Expression, Expression)>),
    Variable(String),
    Traversal(Box<Expression>, Vec<Step>),
    Call(Call),
    Unary(UnaryOperator, Box<Expression>),
    Binary(BinaryOperator, Box<[Expression; 2]>),
    /// Condition, then, else.
    Conditional(Box<[Expression; 3]>),
    For(Box<For>),
}

/// A part of a template.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    Interpolation(Expression),
    If { condition: Expression, then: Vec<Part>, otherwise: Vec<Part> },
    For { key: Option<String>, value: String, collection: Expression, body: Vec<Part> },
}

/// A step into a value.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// `.name`
    Attribute(String, Span),
    /// `[key]`
    Index(Expression),
    /// `.*`: only the attributes that follow are taken of each element.
    AttributeSplat,
    /// `[*]`: everything that follows is done with each element.
    Splat,
}

/// `name(arguments)`
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) arguments: Vec<Expression>,
    /// The last argument is a list of arguments: `f(list...)`.
    pub(crate) expand: bool,
}

/// `-x`, `!x`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnaryOperator {
    Negate,
    Not,
}

/// What stands between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
}

/// `[for key, value in collection : result if condition]`, or with braces an object.
#[derive(Debug, Clone)]
pub(crate) struct For {
    pub(crate) key: Option<String>,
    pub(crate) value: String,
    pub(crate) collection: Expression,
    /// Makes an object.
    pub(crate) key_result: Option<Expression>,
    pub(crate) result: Expression,
    /// Values of equal keys are gathered in lists.
    pub(crate) grouped: bool,
    pub(crate) condition: Option<Expression>,
}

impl Body {
    /// The attribute of that name.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

impl Expression {
    pub(crate) fn new(kind: ExpressionKind, span: Span) -> Self {
        Self { kind, span }
    }

    /// The name, when it is nothing but a name. In JSON it is a string.
    pub(crate) fn keyword(&self) -> Option<&str> {
        match &self.kind {
            ExpressionKind::Variable(name) | ExpressionKind::Literal(Value::String(name)) => Some(name),
            _ => None,
        }
    }
}
