//! Everything that the HCL and JSON files define, evaluated when it is asked for and once.
//!
//! Order does not matter: a variable may use one that is defined below, a target another target's attribute. What goes
//! round in a circle is an error.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use super::entry::{Entry, Kind};
use super::error::{BakeError, BakeResult, Span};
use super::eval::{Evaluator, Globals, Scope};
use super::syntax::{Attribute, Block, Body, Expression, ExpressionKind};
use super::target::{GROUP_ATTRIBUTES, TARGET_ATTRIBUTES};
use super::value::Value;
use super::variables::Variable;

/// How many targets a matrix may make.
const MAX_TARGETS: usize = 10_000;

/// How far definitions may lead from one to the next.
const MAX_DEPTH: usize = 200;

/// Where values come from that no file holds.
pub(crate) struct Outside<'o> {
    /// The environment and `--var`.
    pub(crate) lookup: &'o dyn Fn(&str) -> Option<String>,
    /// Variables that are always there.
    pub(crate) builtin: BTreeMap<&'static str, String>,
}

/// The definitions of all files.
pub(crate) struct Definitions<'a> {
    outside: &'a Outside<'a>,
    variables: BTreeMap<&'a str, Variable<'a>>,
    attributes: BTreeMap<&'a str, &'a Attribute>,
    functions: BTreeMap<&'a str, Function<'a>>,
    instances: Vec<Instance<'a>>,
    known: RefCell<HashMap<String, BakeResult<Value>>>,
    open: RefCell<Vec<String>>,
    depth: Cell<usize>,
    /// Where the instances of a name are, by kind and name.
    places: HashMap<(String, String), Vec<usize>>,
}

/// A `function` block.
#[derive(Debug)]
struct Function<'a> {
    parameters: Vec<&'a str>,
    variadic: Option<&'a str>,
    result: &'a Expression,
}

/// A `group` or `target` block; with a matrix one for each combination.
#[derive(Debug)]
pub(crate) struct Instance<'a> {
    /// The block.
    pub(crate) block: &'a Block,
    /// Its label.
    pub(crate) label: &'a str,
    /// Where the label stands.
    pub(crate) label_span: &'a Span,
    /// Its name: the label, or what `name` comes to.
    pub(crate) name: String,
    /// The values of the axes.
    axes: Axes,
}

/// One value of each axis of a matrix.
type Axes = Vec<(String, Value)>;

fn named(axes: &Axes) -> Vec<(&str, Value)> {
    axes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

/// A variable as `--list` shows it.
#[derive(Debug)]
pub(crate) struct ListedVariable {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) value: Option<String>,
    pub(crate) description: String,
}

impl<'a> Definitions<'a> {
    /// Takes the files in; what comes later counts.
    pub(crate) fn new(bodies: &'a [Body], outside: &'a Outside<'a>) -> BakeResult<Self> {
        let mut definitions = Self {
            outside,
            variables: BTreeMap::new(),
            attributes: BTreeMap::new(),
            functions: BTreeMap::new(),
            instances: Vec::new(),
            known: RefCell::default(),
            open: RefCell::default(),
            depth: Cell::default(),
            places: HashMap::new(),
        };
        let mut blocks = Vec::new();
        for body in bodies {
            for attribute in &body.attributes {
                if !outside.builtin.contains_key(attribute.name.as_str()) {
                    definitions.attributes.insert(&attribute.name, attribute);
                }
            }
            for block in &body.blocks {
                let [(label, label_span)] = &block.labels[..] else {
                    return Err(BakeError::new(format!("`{}` has one name, in quotes", block.kind)).at(&block.span));
                };
                match block.kind.as_str() {
                    "variable" => {
                        definitions.variables.insert(label, Variable::of(block, label_span)?);
                    }
                    "function" => {
                        definitions.functions.insert(label, Function::of(block, label)?);
                    }
                    "target" | "group" => blocks.push((block, label, label_span)),
                    other => {
                        return Err(BakeError::new(format!("there is no block `{other}`"))
                            .at(&block.span)
                            .suggest(other, ["target", "group", "variable", "function"]));
                    }
                }
            }
        }
        let mut instances = Vec::new();
        for (block, label, label_span) in blocks {
            instances.extend(definitions.instances_of(block, label, label_span)?);
        }
        for (position, instance) in instances.iter().enumerate() {
            let key = (instance.block.kind.clone(), instance.name.clone());
            definitions.places.entry(key).or_default().push(position);
        }
        definitions.instances = instances;
        Ok(definitions)
    }

    /// All groups and targets, in order.
    pub(crate) fn instances(&self) -> &[Instance<'a>] {
        &self.instances
    }

    /// The groups or targets of a name, in order.
    pub(crate) fn named(&self, kind: &str, name: &str) -> Vec<&Instance<'a>> {
        let places = self.places.get(&(kind.to_owned(), name.to_owned())).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|&position| self.instances.get(position)).collect()
    }

    /// The value of an attribute of an instance.
    pub(crate) fn evaluate(&self, instance: &Instance<'a>, attribute: &Attribute) -> BakeResult<Value> {
        let scope = Scope::new(None, named(&instance.axes));
        Evaluator::new(self, &scope).evaluate(&attribute.value)
    }

    /// Evaluates what nobody may have asked for, and checks the variables.
    pub(crate) fn check(&self) -> BakeResult<()> {
        for (name, variable) in &self.variables {
            self.variable(name).map_err(|error| error.at(variable.span))?;
        }
        for (name, attribute) in &self.attributes {
            self.variable(name).map_err(|error| error.at(&attribute.span))?;
        }
        let scope = Scope::default();
        let evaluator = Evaluator::new(self, &scope);
        for validation in self.variables.values().flat_map(|variable| &variable.validations) {
            let holds = evaluator.evaluate(validation.condition)?;
            if !holds.to_bool().map_err(|error| error.at(&validation.condition.span))? {
                let message = evaluator.evaluate(validation.message)?.to_text();
                let message = message.map_err(|error| error.at(&validation.message.span))?;
                return Err(BakeError::new(message).at(&validation.condition.span));
            }
        }
        Ok(())
    }

    /// The variables for `--list`, by name.
    pub(crate) fn list(&self) -> BakeResult<Vec<ListedVariable>> {
        let scope = Scope::default();
        let evaluator = Evaluator::new(self, &scope);
        let listed = |(name, variable): (&&str, &Variable<'_>)| {
            let value = self.variable(name)?;
            let kind = match (&variable.wanted, &value) {
                (Some(wanted), _) => wanted.to_string(),
                (None, Value::Null) => String::new(),
                (None, value) => value.kind().to_owned(),
            };
            Ok(ListedVariable {
                name: (*name).to_owned(),
                kind,
                value: (value != Value::Null).then(|| value.to_string()),
                description: match variable.description {
                    Some(description) => evaluator.evaluate(description)?.to_string(),
                    None => String::new(),
                },
            })
        };
        self.variables.iter().map(listed).collect()
    }

    /// What a block stands for: itself, or one instance for each combination of its matrix.
    fn instances_of(&self, block: &'a Block, label: &'a str, label_span: &'a Span) -> BakeResult<Vec<Instance<'a>>> {
        let (name, matrix) = (block.body.attribute("name"), block.body.attribute("matrix"));
        if let (Some(attribute), "group") = (name.or(matrix), block.kind.as_str()) {
            return Err(BakeError::new(format!("`{}` is not supported for groups", attribute.name)).at(&attribute.span));
        }
        if let (Some(name), None) = (name, matrix) {
            return Err(BakeError::new("`name` requires a `matrix`").at(&name.span));
        }
        let mut instances: Vec<Instance<'a>> = Vec::new();
        for axes in self.combinations(matrix)? {
            let scope = Scope::new(None, named(&axes));
            let (own, span) = match name {
                None => (label.to_owned(), label_span),
                Some(name) => {
                    let value = Evaluator::new(self, &scope).evaluate(&name.value)?;
                    (value.to_text().map_err(|error| error.at(&name.value.span))?, &name.value.span)
                }
            };
            check_name(&own, span)?;
            if instances.iter().any(|other| other.name == own) {
                return Err(BakeError::new(format!("two targets of the matrix have the name {own:?}"))
                    .at(span)
                    .help("give each its own name, for example name = \"app-${version}\""));
            }
            drop(scope);
            instances.push(Instance { block, label, label_span, name: own, axes });
        }
        Ok(instances)
    }

    fn combinations(&self, matrix: Option<&Attribute>) -> BakeResult<Vec<Axes>> {
        let mut combinations = vec![Vec::new()];
        let Some(matrix) = matrix else { return Ok(combinations) };
        let scope = Scope::default();
        let value = Evaluator::new(self, &scope).evaluate(&matrix.value)?;
        let Value::Object(mut axes) = value else {
            return Err(BakeError::new("a matrix is an object of lists").at(&matrix.value.span));
        };
        // In the order in which they are written, when they are.
        let mut order: Vec<String> = match &matrix.value.kind {
            ExpressionKind::Object(items) => {
                items.iter().filter_map(|(key, _)| key.keyword().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        order.extend(axes.keys().filter(|name| !order.contains(name)).cloned().collect::<Vec<_>>());
        for axis in order {
            let Some(Value::List(values)) = axes.remove(&axis) else {
                let message = format!("the axis `{axis}` of the matrix is not a list");
                return Err(BakeError::new(message).at(&matrix.value.span));
            };
            if combinations.len().saturating_mul(values.len()) > MAX_TARGETS {
                let message = format!("the matrix makes more than {MAX_TARGETS} targets");
                return Err(BakeError::new(message).at(&matrix.value.span));
            }
            let extended = |start: &Axes| {
                values
                    .iter()
                    .map(|value| [start.clone(), vec![(axis.clone(), value.clone())]].concat())
                    .collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(extended).collect();
        }
        Ok(combinations)
    }

    /// Evaluates once what has a name of its own.
    fn once(&self, key: String, evaluate: impl FnOnce() -> BakeResult<Value>) -> BakeResult<Value> {
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        self.enter(&key)?;
        let value = evaluate();
        self.open.borrow_mut().pop();
        self.known.borrow_mut().insert(key, value.clone());
        value
    }

    fn enter(&self, key: &str) -> BakeResult<()> {
        let mut open = self.open.borrow_mut();
        if let Some(start) = open.iter().position(|other| other == key) {
            let circle: Vec<&str> = open[start..].iter().map(String::as_str).chain([key]).collect();
            let what = if key.contains('.') {
                "reference"
            } else if key.ends_with("()") {
                "function"
            } else {
                "variable"
            };
            return Err(BakeError::new(format!("{what} cycle not allowed: {}", circle.join(" → "))));
        }
        if open.len() >= MAX_DEPTH {
            return Err(BakeError::new(format!("the definitions lead on over more than {MAX_DEPTH} steps")));
        }
        open.push(key.to_owned());
        Ok(())
    }

    fn global(&self, name: &str) -> BakeResult<Value> {
        let scope = Scope::default();
        let evaluator = Evaluator::new(self, &scope);
        let attribute = self.attributes.get(name).map(|attribute| &attribute.value);
        let Some(variable) = self.variables.get(name) else {
            return match attribute {
                Some(expression) => evaluator.evaluate(expression),
                None => Err(self.undefined(name)),
            };
        };
        let default = attribute.or(variable.default).map(|expression| evaluator.evaluate(expression)).transpose()?;
        let outside = |wanted: &str| {
            // `FOO_JSON` sets a variable of that name and not `FOO`, if there is one.
            let other = wanted != name && self.variables.contains_key(wanted);
            if other { None } else { (self.outside.lookup)(wanted) }
        };
        variable.value(name, default, &outside).map_err(|error| error.at(variable.span))
    }

    fn undefined(&self, name: &str) -> BakeError {
        let names = self.variables.keys().chain(self.attributes.keys()).copied();
        let error = BakeError::new(format!("there is no variable `{name}`"));
        let error = error.suggest(name, names.chain(self.outside.builtin.keys().copied()));
        error.help(format!("define it with: variable \"{name}\" {{ default = \"\" }}"))
    }
}

impl Globals for Definitions<'_> {
    fn variable(&self, name: &str) -> BakeResult<Value> {
        match self.outside.builtin.get(name) {
            Some(value) => Ok(Value::string(value)),
            None if matches!(name, "target" | "group") => {
                Err(BakeError::new(format!("`{name}` is no variable: write {name}.NAME.ATTRIBUTE")))
            }
            None => self.once(name.to_owned(), || self.global(name)),
        }
    }

    fn block(&self, kind: &str, name: &str, attribute: Option<&str>) -> Option<BakeResult<Value>> {
        let attributes = match kind {
            "target" => TARGET_ATTRIBUTES,
            "group" => GROUP_ATTRIBUTES,
            _ => return None,
        };
        let instances = self.named(kind, name);
        if instances.is_empty() {
            let names = self.instances.iter().filter(|instance| instance.block.kind == kind);
            let error = BakeError::new(format!("there is no {kind} `{name}` to refer to"));
            return Some(Err(error.suggest(name, names.map(|instance| instance.name.as_str()))));
        }
        let one = |wanted: &str| {
            let found = instances.iter().rev().find_map(|instance| {
                let attribute = instance.block.body.attribute(wanted)?;
                Some((*instance, attribute))
            });
            match found {
                _ if wanted == "name" => Ok(Value::string(name)),
                Some((instance, attribute)) => self
                    .once(format!("{kind}.{name}.{wanted}"), || self.evaluate(instance, attribute))
                    .and_then(|value| {
                        let normal = Kind::of(wanted).map(|kind| Entry::normal(kind, &value));
                        normal.unwrap_or(Ok(value)).map_err(|error| error.at(&attribute.value.span))
                    }),
                None if attributes.contains(&wanted) => Ok(Value::Null),
                None => Err(BakeError::new(format!("a {kind} has no attribute `{wanted}`"))
                    .suggest(wanted, attributes.iter().copied())),
            }
        };
        Some(if let Some(attribute) = attribute {
            one(attribute)
        } else {
            let member = |name: &&str| one(name).map(|value| ((*name).to_owned(), value));
            attributes.iter().map(member).collect::<BakeResult<_>>().map(Value::Object)
        })
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<BakeResult<Value>> {
        let function = self.functions.get(name)?;
        Some(self.enter(&format!("{name}()")).and_then(|()| {
            let value = function.bind(arguments).and_then(|names| {
                let scope = Scope::new(None, names);
                Evaluator::new(self, &scope).evaluate(function.result)
            });
            self.open.borrow_mut().pop();
            value
        }))
    }

    fn functions(&self) -> Vec<&str> {
        self.functions.keys().copied().collect()
    }

    fn depth(&self) -> &Cell<usize> {
        &self.depth
    }
}

impl<'a> Function<'a> {
    fn of(block: &'a Block, label: &str) -> BakeResult<Self> {
        let needed = |name: &str| {
            let attribute = block.body.attribute(name).map(|attribute| &attribute.value);
            attribute.ok_or_else(|| BakeError::new(format!("the function `{label}` has no `{name}`")).at(&block.span))
        };
        let keyword = |expression: &'a Expression| {
            let name = expression.keyword();
            name.ok_or_else(|| BakeError::new("a parameter is a plain name").at(&expression.span))
        };
        let parameters = match needed("params")? {
            Expression { kind: ExpressionKind::List(items), .. } => {
                items.iter().map(keyword).collect::<BakeResult<_>>()?
            }
            other => return Err(BakeError::new("`params` is a list of names").at(&other.span)),
        };
        let variadic =
            block.body.attribute("variadic_params").map(|attribute| keyword(&attribute.value)).transpose()?;
        for attribute in &block.body.attributes {
            let known = ["params", "variadic_params", "result"];
            if !known.contains(&attribute.name.as_str()) {
                return Err(BakeError::new(format!("a function has no attribute `{}`", attribute.name))
                    .at(&attribute.span)
                    .suggest(&attribute.name, known));
            }
        }
        Ok(Self { parameters, variadic, result: needed("result")? })
    }

    fn bind(&self, arguments: &[Value]) -> BakeResult<Vec<(&'a str, Value)>> {
        let wanted = self.parameters.len();
        if arguments.len() < wanted || (arguments.len() > wanted && self.variadic.is_none()) {
            let least = if self.variadic.is_some() { "at least " } else { "" };
            return Err(BakeError::new(format!("it takes {least}{wanted} arguments, not {}", arguments.len())));
        }
        let mut names: Vec<(&str, Value)> = self.parameters.iter().copied().zip(arguments.iter().cloned()).collect();
        names.extend(self.variadic.map(|name| (name, Value::List(arguments[wanted..].to_vec()))));
        Ok(names)
    }
}

/// Names of targets and groups are of letters, digits, `_` and `-`.
pub(crate) fn check_name(name: &str, span: &Span) -> BakeResult<()> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Ok(());
    }
    Err(BakeError::new(format!(
        "{name:?} can't be the name of a target: only letters, digits, `_` and `-` are allowed"
    ))
    .at(span)
    .help("`sanitize(text)` replaces everything else by `_`"))
}
