//! Blocks → targets and groups.

use std::collections::BTreeMap;

use super::config::Config;
use super::definitions::{Definitions, Instance};
use super::entry::{Entry, Kind};
use super::error::{BakeError, BakeResult};
use super::eval::Globals as _;
use super::files::based;
use super::syntax::Attribute;
use super::target::{GROUP_ATTRIBUTES, Group, TARGET_ATTRIBUTES, Target};
use super::value::Value;

/// Adds all targets and groups of the definitions.
pub(crate) fn decode(definitions: &Definitions<'_>, bases: &[Option<String>], config: &mut Config) -> BakeResult<()> {
    let mut renamed: Vec<Group> = Vec::new();
    for instance in definitions.instances() {
        if let Some(inner) = instance.block.body.blocks.first() {
            let message = format!("there is no block `{}` in a {}", inner.kind, instance.block.kind);
            let help = format!("an attribute has a `=`: {} = …", inner.kind);
            return Err(BakeError::new(message).at(&inner.span).help(help));
        }
        if instance.block.kind == "group" {
            config.add_group(group(definitions, instance)?);
            continue;
        }
        let mut target = target(definitions, instance)?;
        rebase(&mut target, bases);
        config.add_target(target);
        match renamed.iter_mut().find(|group| group.name == instance.label) {
            Some(group) => group.targets.push(instance.name.clone()),
            None => renamed.push(Group {
                name: instance.label.to_owned(),
                targets: vec![instance.name.clone()],
                ..Group::default()
            }),
        }
    }
    // A target with a matrix is a group of its variants.
    for group in renamed {
        let itself = group.targets.iter().all(|target| *target == group.name);
        if !itself && config.group(&group.name).is_none() {
            config.add_group(group);
        }
    }
    definitions.check()
}

/// Makes paths relative to the working directory, when they are relative to their file.
pub(crate) fn rebase(target: &mut Target, bases: &[Option<String>]) {
    let Some(base) = target.span.as_ref().and_then(|span| bases.get(span.file)).cloned().flatten() else { return };
    for place in target.context.iter_mut().chain(target.contexts.values_mut()).filter(|place| !place.is_empty()) {
        *place = based(Some(&base), place);
    }
    target.base = Some(base);
}

fn group(definitions: &Definitions<'_>, instance: &Instance<'_>) -> BakeResult<Group> {
    let mut group = Group { name: instance.name.clone(), ..Group::default() };
    let mut listed = false;
    for attribute in &instance.block.body.attributes {
        let value = Decoder { definitions, instance, attribute };
        match attribute.name.as_str() {
            "description" => group.description = value.text()?.unwrap_or_default(),
            "targets" => {
                group.targets = value.list()?.unwrap_or_default();
                listed = true;
            }
            _ => return Err(value.unknown("group", GROUP_ATTRIBUTES)),
        }
    }
    if !listed {
        return Err(BakeError::new(format!("the group `{}` has no `targets`", group.name)).at(instance.label_span));
    }
    Ok(group)
}

fn target(definitions: &Definitions<'_>, instance: &Instance<'_>) -> BakeResult<Target> {
    let mut target =
        Target { name: instance.name.clone(), span: Some(instance.label_span.clone()), ..Target::default() };
    for attribute in &instance.block.body.attributes {
        let value = Decoder { definitions, instance, attribute };
        match attribute.name.as_str() {
            "annotations" => target.annotations = value.list()?.unwrap_or_default(),
            "args" => target.args = value.map()?,
            "attest" => target.attest = value.entries(Kind::Attest)?.unwrap_or_default(),
            "cache-from" => target.cache_from = value.entries(Kind::Cache)?.unwrap_or_default(),
            "cache-to" => target.cache_to = value.entries(Kind::Cache)?,
            "call" => target.call = value.text()?,
            "context" => target.context = value.text()?,
            "contexts" => target.contexts = value.map()?,
            "description" => target.description = value.text()?.unwrap_or_default(),
            "dockerfile" => target.dockerfile = value.text()?,
            "dockerfile-inline" => target.dockerfile_inline = value.text()?,
            "entitlements" => target.entitlements = value.list()?.unwrap_or_default(),
            "extra-hosts" => target.extra_hosts = value.map()?,
            "inherits" => target.inherits = value.list()?.unwrap_or_default(),
            "labels" => target.labels = value.map()?,
            "matrix" | "name" => {}
            "network" => target.network = value.text()?,
            "no-cache" => target.no_cache = value.bool()?,
            "no-cache-filter" => target.no_cache_filter = value.list()?.unwrap_or_default(),
            "output" => target.outputs = value.entries(Kind::Output)?,
            "platforms" => target.platforms = value.list()?,
            "policy" => target.policy = value.items()?.unwrap_or_default().iter().map(Value::to_json).collect(),
            "pull" => target.pull = value.bool()?,
            "resources" => target.resources = value.map()?,
            "secret" => target.secrets = value.entries(Kind::Secret)?.unwrap_or_default(),
            "shm-size" => target.shm_size = value.text()?,
            "ssh" => target.ssh = value.entries(Kind::Ssh)?.unwrap_or_default(),
            "tags" => target.tags = value.list()?,
            "target" => target.stage = value.text()?,
            "ulimits" => target.ulimits = value.list()?.unwrap_or_default(),
            _ => return Err(value.unknown("target", TARGET_ATTRIBUTES)),
        }
    }
    Ok(target)
}

/// One attribute and what it should be.
struct Decoder<'a> {
    definitions: &'a Definitions<'a>,
    instance: &'a Instance<'a>,
    attribute: &'a Attribute,
}

impl Decoder<'_> {
    fn value(&self) -> BakeResult<Value> {
        let Instance { block, name, .. } = self.instance;
        // The same as a reference from elsewhere, so that circles are found and nothing is evaluated twice. Definitions
        // of one name in several files have values of their own.
        let (kind, wanted) = (block.kind.as_str(), self.attribute.name.as_str());
        if self.definitions.named(kind, name).len() == 1
            && let Some(value) = self.definitions.block(kind, name, Some(wanted))
        {
            return value;
        }
        self.definitions.evaluate(self.instance, self.attribute)
    }

    fn place<T>(&self, result: BakeResult<T>) -> BakeResult<T> {
        result.map_err(|error| error.at(&self.attribute.value.span))
    }

    fn named<T>(&self, result: BakeResult<T>) -> BakeResult<T> {
        self.place(result.map_err(|error| match error.span {
            Some(_) => error,
            None => BakeError { message: format!("`{}`: {}", self.attribute.name, error.message), ..error },
        }))
    }

    fn text(&self) -> BakeResult<Option<String>> {
        match self.value()? {
            Value::Null => Ok(None),
            value => self.named(value.to_text()).map(Some),
        }
    }

    fn bool(&self) -> BakeResult<Option<bool>> {
        match self.value()? {
            Value::Null => Ok(None),
            value => self.named(value.to_bool()).map(Some),
        }
    }

    fn items(&self) -> BakeResult<Option<Vec<Value>>> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::List(items) => Ok(Some(items)),
            other => self.named(other.to_list().map(|_| None)),
        }
    }

    /// Texts; null elements count for nothing.
    fn list(&self) -> BakeResult<Option<Vec<String>>> {
        let Some(items) = self.items()? else { return Ok(None) };
        let texts = items.iter().filter(|item| **item != Value::Null).map(Value::to_text);
        self.named(texts.collect::<BakeResult<_>>()).map(Some)
    }

    /// Texts by name; null members count for nothing.
    fn map(&self) -> BakeResult<BTreeMap<String, String>> {
        let value = self.value()?;
        if value == Value::Null {
            return Ok(BTreeMap::new());
        }
        let members = self.named(value.to_object())?.iter().filter(|(_, value)| **value != Value::Null);
        let member = |(name, value): (&String, &Value)| {
            let text = value.to_text();
            let text = text.map_err(|error| BakeError { message: format!("{name}: {}", error.message), ..error })?;
            Ok((name.clone(), text))
        };
        self.named(members.map(member).collect())
    }

    fn entries(&self, kind: Kind) -> BakeResult<Option<Vec<Entry>>> {
        let Some(items) = self.items()? else { return Ok(None) };
        let entries = items.iter().map(|item| Entry::of_value(kind, item)).collect::<BakeResult<Vec<_>>>();
        self.named(entries.map(|entries| Some(entries.concat())))
    }

    fn unknown(&self, kind: &str, known: &[&'static str]) -> BakeError {
        let name = self.attribute.name.as_str();
        BakeError::new(format!("a {kind} has no attribute `{name}`"))
            .at(&self.attribute.span)
            .suggest(name, known.iter().copied())
    }
}
