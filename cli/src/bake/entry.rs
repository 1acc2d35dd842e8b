//! Attributes whose elements have fields: `output`, `secret`, `ssh`, `attest`, `cache-from` and `cache-to`.
//!
//! An element is written as the flag of `builder build` would be (`"type=local,dest=out"`) or as an object; both become
//! the same [`Entry`], which is compared, printed and turned into a flag.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::error::{BakeError, BakeResult};
use super::value::Value;
use crate::csv::{self, truth};

/// Which attribute an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Attest,
    Cache,
    Output,
    Secret,
    Ssh,
}

impl Kind {
    /// Of the attribute of that name.
    pub(crate) fn of(attribute: &str) -> Option<Self> {
        match attribute {
            "attest" => Some(Self::Attest),
            "cache-from" | "cache-to" => Some(Self::Cache),
            "output" => Some(Self::Output),
            "secret" => Some(Self::Secret),
            "ssh" => Some(Self::Ssh),
            _ => None,
        }
    }
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    kind: Kind,
    fields: BTreeMap<String, String>,
    /// Of `ssh`: agents' sockets or keys.
    paths: Vec<String>,
}

impl Entry {
    /// From an element of the attribute; an empty text is none, and references of a cache may be several.
    pub(crate) fn of_value(kind: Kind, value: &Value) -> BakeResult<Vec<Self>> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::Object(members) => Self::of_object(kind, members).map(|entry| vec![entry]),
            text => Self::of_text(kind, &text.to_text()?),
        }
    }

    /// The elements of the attribute as other definitions see them: always objects.
    pub(crate) fn normal(kind: Kind, value: &Value) -> BakeResult<Value> {
        let Value::List(items) = value else { return Ok(value.clone()) };
        let entries = items.iter().map(|item| Self::of_value(kind, item)).collect::<BakeResult<Vec<_>>>()?.concat();
        let object = |entry: Self| {
            let mut members: BTreeMap<String, Value> =
                entry.fields.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
            if kind == Kind::Ssh {
                members.insert("paths".to_owned(), Value::strings(entry.paths));
            }
            Value::Object(members)
        };
        Ok(Value::List(entries.into_iter().map(object).collect()))
    }

    /// From what would be the value of a flag.
    pub(crate) fn of_text(kind: Kind, text: &str) -> BakeResult<Vec<Self>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if kind == Kind::Ssh {
            let (id, paths) = text.split_once('=').unwrap_or((text, ""));
            let paths = paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect();
            return Ok(vec![Self { kind, fields: BTreeMap::from([("id".to_owned(), id.to_owned())]), paths }]);
        }
        let fields = csv::fields(text).map_err(|error| BakeError::new(format!("{text:?}: {error}")))?;
        let short = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Self { kind, fields, paths: Vec::new() }
        };
        match kind {
            Kind::Output if fields.len() == 1 && !text.starts_with("type=") => {
                let kind = if text == "-" { "tar" } else { "local" };
                return Ok(vec![short(&[("type", kind), ("dest", text)])]);
            }
            Kind::Cache if !text.contains('=') => {
                return Ok(fields.iter().map(|field| short(&[("type", "registry"), ("ref", field)])).collect());
            }
            _ => {}
        }
        let mut entry = Self { kind, fields: BTreeMap::new(), paths: Vec::new() };
        for field in &fields {
            let Some((name, value)) = field.split_once('=') else {
                return Err(BakeError::new(format!("{text:?}: `{field}` is not of the form name=value")));
            };
            entry.fields.insert(name.trim().to_lowercase(), value.to_owned());
        }
        entry.checked(text).map(|entry| vec![entry])
    }

    fn of_object(kind: Kind, members: &BTreeMap<String, Value>) -> BakeResult<Self> {
        let mut entry = Self { kind, fields: BTreeMap::new(), paths: Vec::new() };
        for (name, value) in members.iter().filter(|(_, value)| **value != Value::Null) {
            if kind == Kind::Ssh && name == "paths" {
                entry.paths = value.to_list()?.iter().map(Value::to_text).collect::<BakeResult<_>>()?;
            } else {
                entry.fields.insert(name.clone(), value.to_text()?);
            }
        }
        let shown = Value::Object(members.clone()).to_string();
        entry.checked(&shown)
    }

    fn checked(mut self, shown: &str) -> BakeResult<Self> {
        let fail = |message: String| Err(BakeError::new(format!("{shown}: {message}")));
        match self.kind {
            Kind::Secret => {
                if let Some(source) = self.fields.remove("source") {
                    self.fields.insert("src".to_owned(), source);
                }
                let form = self.fields.remove("type");
                match form.as_deref() {
                    Some("env") if !self.fields.contains_key("env") => {
                        if let Some(variable) = self.fields.remove("src") {
                            self.fields.insert("env".to_owned(), variable);
                        }
                    }
                    None | Some("file" | "env") => {}
                    Some(other) => return fail(format!("there is no secret type `{other}`: use file or env")),
                }
                if let Some(other) = self.fields.keys().find(|name| !matches!(name.as_str(), "id" | "src" | "env")) {
                    return fail(format!("a secret has no `{other}`: it has id, src and env"));
                }
            }
            Kind::Ssh => {}
            Kind::Attest | Kind::Cache | Kind::Output => {
                if self.fields.get("type").is_none_or(String::is_empty) {
                    return fail("type is required".to_owned());
                }
                if self.kind == Kind::Attest
                    && let Some(disabled) = self.fields.remove("disabled")
                {
                    match truth(&disabled) {
                        Some(true) => drop(self.fields.insert("disabled".to_owned(), "true".to_owned())),
                        Some(false) => {}
                        None => return fail(format!("disabled takes true or false, not `{disabled}`")),
                    }
                }
            }
        }
        Ok(self)
    }

    /// A field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Sets a field.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.fields.insert(name.to_owned(), value.to_owned());
    }

    /// Takes a field away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.fields.remove(name);
    }

    /// The files of the client that it reads.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The value of the flag of `builder build`.
    pub(crate) fn flag(&self) -> String {
        if self.kind == Kind::Ssh {
            let id = self.field("id").unwrap_or("default");
            return if self.paths.is_empty() { id.to_owned() } else { format!("{id}={}", self.paths.join(",")) };
        }
        let first = ["type", "id"];
        let rank = |name: &str| first.iter().position(|known| *known == name).unwrap_or(first.len());
        let mut fields: Vec<(&String, &String)> = self.fields.iter().collect();
        fields.sort_by_key(|(name, _)| rank(name));
        csv::line(&fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
    }

    /// As `--print` shows it.
    pub(crate) fn json(&self) -> Json {
        let mut object = Map::new();
        let mut names: Vec<&str> = self.fields.keys().map(String::as_str).collect();
        if self.kind == Kind::Secret {
            names = vec!["id", "src", "env"];
        }
        for name in names {
            match self.field(name) {
                Some(_) if self.kind == Kind::Attest && name == "disabled" => object.insert(name.into(), json!(true)),
                Some("") | None => None,
                Some(value) => object.insert(name.to_owned(), json!(value)),
            };
        }
        if !self.paths.is_empty() {
            object.insert("paths".to_owned(), json!(self.paths));
        }
        Json::Object(object)
    }
}

/// The entries without repetitions; of attestations the last of each type counts, of secrets and agents all are kept in
/// the order of their first appearance.
pub(crate) fn normalize(entries: &mut Vec<Entry>) {
    let mut kept: Vec<Entry> = Vec::new();
    for entry in entries.drain(..) {
        let same = |other: &Entry| match entry.kind {
            Kind::Attest => other.field("type") == entry.field("type"),
            _ => *other == entry,
        };
        match kept.iter().position(same) {
            Some(at) => kept[at] = entry,
            None => kept.push(entry),
        }
    }
    *entries = kept;
}
