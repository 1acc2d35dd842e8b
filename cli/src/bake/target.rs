//! Targets and groups, and how several definitions of one make one.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::entry::{self, Entry};
use super::error::Span;

/// The attributes of a target.
pub(crate) const TARGET_ATTRIBUTES: &[&str] = &[
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "policy",
    "pull",
    "resources",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// The attributes of a group.
pub(crate) const GROUP_ATTRIBUTES: &[&str] = &["description", "name", "targets"];

/// What is built together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) description: String,
    /// Targets and groups.
    pub(crate) targets: Vec<String>,
}

/// One build. What is `None` or empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Where it is first named.
    pub(crate) span: Option<Span>,
    pub(crate) description: String,
    pub(crate) inherits: Vec<String>,
    pub(crate) annotations: Vec<String>,
    pub(crate) attest: Vec<Entry>,
    pub(crate) context: Option<String>,
    pub(crate) contexts: BTreeMap<String, String>,
    pub(crate) dockerfile: Option<String>,
    pub(crate) dockerfile_inline: Option<String>,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) cache_from: Vec<Entry>,
    pub(crate) cache_to: Option<Vec<Entry>>,
    pub(crate) stage: Option<String>,
    pub(crate) secrets: Vec<Entry>,
    pub(crate) ssh: Vec<Entry>,
    pub(crate) platforms: Option<Vec<String>>,
    pub(crate) outputs: Option<Vec<Entry>>,
    pub(crate) pull: Option<bool>,
    pub(crate) no_cache: Option<bool>,
    pub(crate) network: Option<String>,
    pub(crate) no_cache_filter: Vec<String>,
    pub(crate) shm_size: Option<String>,
    pub(crate) ulimits: Vec<String>,
    pub(crate) resources: BTreeMap<String, String>,
    pub(crate) call: Option<String>,
    pub(crate) entitlements: Vec<String>,
    pub(crate) extra_hosts: BTreeMap<String, String>,
    pub(crate) policy: Vec<Json>,
    /// The directory that paths are relative to, when it is not the working directory.
    pub(crate) base: Option<String>,
    /// Another target needs it, and nobody asked for it.
    pub(crate) linked: bool,
}

impl Target {
    /// Lays another definition over this one: single values, tags, platforms, outputs and cache exports replace what
    /// was there, everything else adds to it.
    pub(crate) fn merge(&mut self, other: &Self) {
        fn replace<T: Clone>(mine: &mut Option<T>, theirs: Option<&T>) {
            if let Some(theirs) = theirs {
                *mine = Some(theirs.clone());
            }
        }
        fn add<T: Clone>(mine: &mut Vec<T>, theirs: &[T]) {
            mine.extend_from_slice(theirs);
        }
        fn put(mine: &mut BTreeMap<String, String>, theirs: &BTreeMap<String, String>) {
            mine.extend(theirs.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        if !other.description.is_empty() {
            self.description.clone_from(&other.description);
        }
        replace(&mut self.context, other.context.as_ref());
        replace(&mut self.base, other.base.as_ref());
        replace(&mut self.dockerfile, other.dockerfile.as_ref());
        replace(&mut self.dockerfile_inline, other.dockerfile_inline.as_ref());
        replace(&mut self.tags, other.tags.as_ref());
        replace(&mut self.stage, other.stage.as_ref());
        replace(&mut self.platforms, other.platforms.as_ref());
        replace(&mut self.cache_to, other.cache_to.as_ref());
        replace(&mut self.outputs, other.outputs.as_ref());
        replace(&mut self.pull, other.pull.as_ref());
        replace(&mut self.no_cache, other.no_cache.as_ref());
        replace(&mut self.network, other.network.as_ref());
        replace(&mut self.shm_size, other.shm_size.as_ref());
        replace(&mut self.call, other.call.as_ref());
        put(&mut self.args, &other.args);
        put(&mut self.contexts, &other.contexts);
        put(&mut self.labels, &other.labels);
        put(&mut self.extra_hosts, &other.extra_hosts);
        put(&mut self.resources, &other.resources);
        add(&mut self.inherits, &other.inherits);
        add(&mut self.annotations, &other.annotations);
        add(&mut self.attest, &other.attest);
        add(&mut self.secrets, &other.secrets);
        add(&mut self.ssh, &other.ssh);
        add(&mut self.cache_from, &other.cache_from);
        add(&mut self.no_cache_filter, &other.no_cache_filter);
        add(&mut self.ulimits, &other.ulimits);
        add(&mut self.entitlements, &other.entitlements);
        add(&mut self.policy, &other.policy);
        entry::normalize(&mut self.attest);
        entry::normalize(&mut self.secrets);
        entry::normalize(&mut self.ssh);
        entry::normalize(&mut self.cache_from);
    }

    /// Without repetitions and empty texts.
    pub(crate) fn normalize(&mut self) {
        for list in [&mut self.annotations, &mut self.no_cache_filter, &mut self.ulimits] {
            once(list);
        }
        for list in [&mut self.tags, &mut self.platforms].into_iter().flatten() {
            once(list);
        }
        for list in [&mut self.attest, &mut self.secrets, &mut self.ssh, &mut self.cache_from] {
            entry::normalize(list);
        }
        for list in [&mut self.cache_to, &mut self.outputs].into_iter().flatten() {
            entry::normalize(list);
        }
        if self.network.as_deref() == Some("host") {
            self.entitlements.push("network.host".to_owned());
        }
        once(&mut self.entitlements);
        let mut policy: Vec<Json> = Vec::new();
        for rule in self.policy.drain(..) {
            if !policy.contains(&rule) {
                policy.push(rule);
            }
        }
        self.policy = policy;
        self.contexts.retain(|_, source| !source.is_empty());
    }

    /// As `--print` shows it: what a bake file in JSON would say.
    pub(crate) fn json(&self) -> Json {
        // What looks like a template would be taken for one.
        let escape = |text: &str| text.replace("${", "$${").replace("%{", "%%{");
        let escaped = |texts: &[String]| texts.iter().map(|text| escape(text)).collect::<Vec<_>>();
        let map = |texts: &BTreeMap<String, String>| -> Json {
            texts.iter().map(|(name, value)| (name.clone(), Json::from(escape(value)))).collect::<Map<_, _>>().into()
        };
        let entries = |entries: &[Entry]| entries.iter().map(Entry::json).collect::<Vec<_>>();
        let list = |list: &Option<Vec<String>>| json!(list.as_deref().unwrap_or_default());
        let contexts: Map<String, Json> =
            self.contexts.iter().map(|(name, source)| (name.clone(), json!(source))).collect();
        let resources: Map<String, Json> = self
            .resources
            .iter()
            .map(|(name, value)| (name.clone(), value.parse::<i64>().map_or_else(|_| json!(value), Json::from)))
            .collect();
        let members = [
            ("description", json!(self.description)),
            ("annotations", json!(escaped(&self.annotations))),
            ("attest", json!(entries(&self.attest))),
            ("context", json!(self.context)),
            ("contexts", contexts.into()),
            ("dockerfile", json!(self.dockerfile)),
            ("dockerfile-inline", json!(self.dockerfile_inline.as_deref().map(escape))),
            ("args", map(&self.args)),
            ("labels", map(&self.labels)),
            ("tags", list(&self.tags)),
            ("cache-from", json!(entries(&self.cache_from))),
            ("cache-to", json!(entries(self.cache_to.as_deref().unwrap_or_default()))),
            ("target", json!(self.stage)),
            ("secret", json!(entries(&self.secrets))),
            ("ssh", json!(entries(&self.ssh))),
            ("platforms", list(&self.platforms)),
            ("output", json!(entries(self.outputs.as_deref().unwrap_or_default()))),
            ("pull", json!(self.pull)),
            ("no-cache", json!(self.no_cache)),
            ("network", json!(self.network)),
            ("no-cache-filter", json!(self.no_cache_filter)),
            ("shm-size", json!(self.shm_size)),
            ("ulimits", json!(self.ulimits)),
            ("resources", resources.into()),
            ("call", json!(self.call)),
            ("entitlements", json!(self.entitlements)),
            ("extra-hosts", map(&self.extra_hosts)),
            ("policy", json!(self.policy)),
        ];
        let said = |value: &Json| match value {
            Json::Null => false,
            Json::String(text) => !text.is_empty(),
            Json::Array(items) => !items.is_empty(),
            Json::Object(items) => !items.is_empty(),
            _ => true,
        };
        members.into_iter().filter(|(_, value)| said(value)).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Group {
    /// As `--print` shows it.
    pub(crate) fn json(&self) -> Json {
        let mut object = Map::new();
        if !self.description.is_empty() {
            object.insert("description".into(), json!(self.description));
        }
        object.insert("targets".into(), json!(self.targets));
        object.into()
    }
}

/// Each text once, in order, without empty ones.
pub(crate) fn once(texts: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| !text.is_empty() && seen.insert(text.clone()));
}
