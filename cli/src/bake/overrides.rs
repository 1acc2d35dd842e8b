//! `--set target.key=value`.

use std::collections::BTreeMap;

use super::config::Config;
use super::entry::{Entry, Kind};
use super::error::{BakeError, BakeResult};
use super::glob;
use super::target::Target;
use crate::csv::truth;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One value: the last counts.
    One,
    /// Several values: they are gathered.
    List,
    /// A name behind the key: `args.NAME`.
    Map,
}

/// What can be set.
const KEYS: &[(&str, Form)] = &[
    ("annotations", Form::List),
    ("args", Form::Map),
    ("attest", Form::List),
    ("cache-from", Form::List),
    ("cache-to", Form::List),
    ("call", Form::One),
    ("context", Form::One),
    ("contexts", Form::Map),
    ("dockerfile", Form::One),
    ("entitlements", Form::List),
    ("extra-hosts", Form::Map),
    ("labels", Form::Map),
    ("load", Form::One),
    ("network", Form::One),
    ("no-cache", Form::One),
    ("no-cache-filter", Form::List),
    ("output", Form::List),
    ("platform", Form::List),
    ("policy", Form::List),
    ("pull", Form::One),
    ("push", Form::One),
    ("resources", Form::Map),
    ("secret", Form::Map),
    ("secrets", Form::List),
    ("shm-size", Form::One),
    ("ssh", Form::List),
    ("tags", Form::List),
    ("target", Form::One),
    ("ulimits", Form::List),
];

/// What to change, by target and key.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    targets: BTreeMap<String, BTreeMap<Key, Change>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    /// The member of a map.
    member: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Change {
    values: Vec<String>,
    append: bool,
}

impl Overrides {
    /// Reads the flags. `outside` gives `--set app.args.NAME` its value.
    pub(crate) fn new(flags: &[String], config: &Config, outside: &dyn Fn(&str) -> Option<String>) -> BakeResult<Self> {
        let mut overrides = Self::default();
        for flag in flags {
            let (path, value) = match flag.split_once('=') {
                Some((path, value)) => (path, Some(value.to_owned())),
                None => (flag.as_str(), None),
            };
            let (path, append) = match path.strip_suffix('+') {
                Some(path) => (path, true),
                None => (path, false),
            };
            let fail = |message: String| BakeError::new(format!("--set {flag}: {message}"));
            let mut parts = path.splitn(3, '.');
            let (Some(pattern), Some(name)) = (parts.next(), parts.next()) else {
                return Err(fail("write TARGET.KEY=VALUE".to_owned()));
            };
            let member = parts.next().map(str::to_owned);
            let Some((_, form)) = KEYS.iter().find(|(key, _)| *key == name) else {
                let keys: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
                let error = fail(format!("there is no key `{name}`")).suggest(name, keys.iter().copied());
                return Err(error.help(format!("the keys are {}", keys.join(", "))));
            };
            if (*form == Form::Map) != member.is_some() {
                return Err(fail(match member {
                    None => format!("write {pattern}.{name}.NAME=VALUE"),
                    Some(_) => format!("`{name}` has no members: write {pattern}.{name}=VALUE"),
                }));
            }
            let value = match (value, &member) {
                (Some(value), _) => value,
                (None, Some(variable)) if name == "args" => match outside(variable) {
                    Some(value) => value,
                    None => continue,
                },
                (None, _) => return Err(fail("a value is missing: write TARGET.KEY=VALUE".to_owned())),
            };
            let mut found = false;
            for target in &config.targets {
                if target.name != pattern && !glob::matches(pattern, &target.name) {
                    continue;
                }
                found = true;
                let key = Key { name: name.to_owned(), member: member.clone() };
                let change = overrides.targets.entry(target.name.clone()).or_default().entry(key).or_default();
                if *form == Form::List {
                    change.append = append;
                    change.values.push(value.clone());
                } else {
                    change.values = vec![value.clone()];
                }
            }
            if !found {
                return Err(BakeError::new(format!("could not find any target matching '{pattern}'"))
                    .suggest(pattern, config.targets.iter().map(|target| target.name.as_str())));
            }
        }
        Ok(overrides)
    }

    /// Changes a target.
    pub(crate) fn apply(&self, name: &str, target: &mut Target) -> BakeResult<()> {
        let Some(changes) = self.targets.get(name) else { return Ok(()) };
        // Where the result goes is known when everything else is.
        let late = |key: &Key| matches!(key.name.as_str(), "load" | "push");
        let (last, first): (Vec<_>, Vec<_>) = changes.iter().partition(|(key, _)| late(key));
        for (key, change) in first.into_iter().chain(last) {
            change.apply(key, target).map_err(|error| {
                let message = format!("--set {name}.{}: {}", key.name, error.message);
                BakeError { message, ..error }
            })?;
        }
        Ok(())
    }
}

impl Change {
    fn apply(&self, key: &Key, target: &mut Target) -> BakeResult<()> {
        let value = self.values.last().cloned().unwrap_or_default();
        let member = key.member.clone().unwrap_or_default();
        match key.name.as_str() {
            "annotations" => target.annotations.extend(self.values.clone()),
            "args" => drop(target.args.insert(member, value)),
            "attest" => target.attest.extend(self.entries(Kind::Attest)?),
            "cache-from" => {
                self.keep(&mut target.cache_from);
                target.cache_from.extend(self.entries(Kind::Cache)?);
            }
            "cache-to" => self.replace(&mut target.cache_to, self.entries(Kind::Cache)?),
            "call" => target.call = Some(value),
            "context" => target.context = Some(value),
            "contexts" => drop(target.contexts.insert(member, value)),
            "dockerfile" => target.dockerfile = Some(value),
            "entitlements" => target.entitlements.extend(self.values.clone()),
            "extra-hosts" => drop(target.extra_hosts.insert(member, value)),
            "labels" => drop(target.labels.insert(member, value)),
            "load" if flag(&value)? => load(target)?,
            "load" => {}
            "network" => target.network = Some(value),
            "no-cache" => target.no_cache = Some(flag(&value)?),
            "no-cache-filter" => {
                self.keep(&mut target.no_cache_filter);
                target.no_cache_filter.extend(self.values.clone());
            }
            "output" => self.replace(&mut target.outputs, self.entries(Kind::Output)?),
            "platform" => self.replace(&mut target.platforms, self.values.clone()),
            "policy" => {
                self.keep(&mut target.policy);
                target.policy.extend(self.values.iter().map(|value| serde_json::json!(value)));
            }
            "pull" => target.pull = Some(flag(&value)?),
            "push" => push(target, flag(&value)?)?,
            "resources" => drop(target.resources.insert(member, value)),
            "secret" => secret(target, &member, &value)?,
            "secrets" => {
                self.keep(&mut target.secrets);
                target.secrets.extend(self.entries(Kind::Secret)?);
            }
            "shm-size" => target.shm_size = Some(value),
            "ssh" => {
                self.keep(&mut target.ssh);
                target.ssh.extend(self.entries(Kind::Ssh)?);
            }
            "tags" => self.replace(&mut target.tags, self.values.clone()),
            "target" => target.stage = Some(value),
            "ulimits" => {
                self.keep(&mut target.ulimits);
                target.ulimits.extend(self.values.clone());
            }
            other => return Err(BakeError::new(format!("there is no key `{other}`"))),
        }
        Ok(())
    }

    fn entries(&self, kind: Kind) -> BakeResult<Vec<Entry>> {
        let entries = self.values.iter().map(|text| Entry::of_text(kind, text)).collect::<BakeResult<Vec<_>>>()?;
        Ok(entries.concat())
    }

    /// What was there goes, unless this is `+=`.
    fn keep<T>(&self, list: &mut Vec<T>) {
        if !self.append {
            list.clear();
        }
    }

    fn replace<T>(&self, list: &mut Option<Vec<T>>, values: Vec<T>) {
        let list = list.get_or_insert_default();
        self.keep(list);
        list.extend(values);
    }
}

fn flag(text: &str) -> BakeResult<bool> {
    truth(text).ok_or_else(|| BakeError::new(format!("it takes true or false, not `{text}`")))
}

/// `--push`: outputs of type image are pushed, too; when there are none but docker's, there is one more.
fn push(target: &mut Target, wanted: bool) -> BakeResult<()> {
    let outputs = target.outputs.get_or_insert_default();
    if !wanted {
        outputs.retain(|output| output.field("type") != Some("registry"));
    }
    let is = |output: &Entry, kind: &str| output.field("type") == Some(kind);
    for output in outputs.iter_mut().filter(|output| is(output, "image")) {
        output.set("push", if wanted { "true" } else { "false" });
    }
    if wanted && outputs.iter().all(|output| is(output, "docker")) {
        outputs.extend(Entry::of_text(Kind::Output, "type=image,push=true")?);
    }
    Ok(())
}

/// `--load`: into the store, unless files are written somewhere.
fn load(target: &mut Target) -> BakeResult<()> {
    let outputs = target.outputs.get_or_insert_default();
    let kind = |output: &Entry| output.field("type").unwrap_or_default().to_owned();
    let there = outputs.iter().any(|output| kind(output) == "docker" && output.field("dest").is_none());
    let files = |kind: &str| !matches!(kind, "docker" | "image" | "registry" | "oci");
    if !there && !outputs.iter().any(|output| files(&kind(output))) {
        outputs.extend(Entry::of_text(Kind::Output, "type=docker")?);
    }
    Ok(())
}

/// Another source for a secret that the target has.
fn secret(target: &mut Target, id: &str, value: &str) -> BakeResult<()> {
    let Some(known) = target.secrets.iter_mut().find(|secret| secret.field("id") == Some(id)) else {
        return Err(BakeError::new(format!("secret {id:?} must be declared before it can be overridden")));
    };
    let Some(source) = Entry::of_text(Kind::Secret, value)?.into_iter().next() else { return Ok(()) };
    if let Some(other) = source.field("id").filter(|other| *other != id) {
        return Err(BakeError::new(format!("secret override id {other:?} does not match declared secret {id:?}")));
    }
    *known = source;
    known.set("id", id);
    Ok(())
}
