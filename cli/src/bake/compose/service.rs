//! Services → targets.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::environment::{Lookup, dotenv};
use super::project::Project;
use super::yaml::{Kind, Node};
use crate::bake::definitions::check_name;
use crate::bake::entry::{Entry, Kind as EntryKind};
use crate::bake::error::{BakeError, BakeResult, Span};
use crate::bake::target::{Target, once};
use crate::csv;

/// What `build` can say.
const BUILD: &[&str] = &[
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// What `x-bake` can say.
const EXTENSION: &[&str] = &[
    "cache-from",
    "cache-to",
    "contexts",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "pull",
    "secret",
    "ssh",
    "tags",
];

/// The targets of all services that are built.
pub(super) fn targets(project: &Project, lookup: Lookup<'_>) -> BakeResult<Vec<Target>> {
    let mut targets = Vec::new();
    for (name, span, service) in &project.services {
        let image = service.get("image").map(Node::text).transpose()?.flatten();
        let Some(build) = service.get("build").filter(|build| !matches!(build.kind, Kind::Null)) else {
            if image.is_none() {
                return Err(BakeError::new(format!("the service `{name}` has neither an image nor a build context"))
                    .at(span)
                    .help("give it a `build`, for example `build: .`"));
            }
            continue;
        };
        let reader = Reader { project, lookup, environment: environment(service, lookup)? };
        targets.push(reader.target(name, span, build, image)?);
    }
    Ok(targets)
}

/// What the service runs with: values for build arguments that have none.
fn environment(service: &Node, lookup: Lookup<'_>) -> BakeResult<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    if let Some(files) = service.get("env_file") {
        let items = match &files.kind {
            Kind::Sequence(items) => items.iter().collect(),
            _ => vec![files],
        };
        for item in items {
            let path = item.get("path").unwrap_or(item).text()?.unwrap_or_default();
            let required = item.get("required").map(Node::truth).transpose()?.flatten().unwrap_or(true);
            match std::fs::read_to_string(&path) {
                Ok(text) => variables.extend(dotenv(&text, lookup).map_err(|error| error.at(&item.span))?),
                Err(error) if !required && error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(BakeError::new(format!("{path} can't be read: {error}")).at(&item.span));
                }
            }
        }
    }
    if let Some(node) = service.get("environment") {
        for (name, value) in node.pairs()? {
            if let Some(value) = value.or_else(|| lookup(&name)) {
                variables.insert(name, value);
            }
        }
    }
    Ok(variables)
}

struct Reader<'a> {
    project: &'a Project,
    lookup: Lookup<'a>,
    environment: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn target(&self, name: &str, span: &Span, build: &Node, image: Option<String>) -> BakeResult<Target> {
        // A dot is allowed in the name of a service and not in that of a target.
        let name = name.replace('.', "_");
        check_name(&name, span)?;
        let mut target = Target { name, span: Some(span.clone()), ..Target::default() };
        for (key, key_span, value) in build.members("`build`")? {
            self.member(&mut target, key, key_span, value)?;
        }
        if let Some(extension) = build.get("x-bake") {
            extend(&mut target, extension)?;
        }
        if let (None, Some(image)) = (&target.tags, image) {
            target.tags = Some(vec![image]);
        }
        Ok(target)
    }

    fn member(&self, target: &mut Target, key: &str, span: &Span, value: &Node) -> BakeResult<()> {
        match key {
            "context" => target.context = value.text()?,
            "dockerfile" => target.dockerfile = value.text()?,
            "dockerfile_inline" => target.dockerfile_inline = value.text()?,
            "target" => target.stage = value.text()?,
            "network" => target.network = value.text()?,
            "shm_size" => target.shm_size = value.text()?.map(|text| size(&text).unwrap_or(text)),
            "args" => {
                let outside = |name: &str| self.environment.get(name).cloned().or_else(|| (self.lookup)(name));
                let pairs = value.pairs()?.into_iter();
                target.args =
                    pairs.filter_map(|(name, value)| Some((name.clone(), value.or_else(|| outside(&name))?))).collect();
            }
            "labels" => {
                target.labels =
                    value.pairs()?.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
            }
            "additional_contexts" => target.contexts = contexts(value)?,
            "extra_hosts" => {
                for (host, _, addresses) in value.members("`extra_hosts`")? {
                    target.extra_hosts.insert(host.clone(), addresses.texts()?.join(","));
                }
            }
            "tags" => target.tags = Some(value.texts()?).filter(|tags| !tags.is_empty()),
            "platforms" => target.platforms = Some(value.texts()?).filter(|platforms| !platforms.is_empty()),
            "cache_from" => target.cache_from = entries(EntryKind::Cache, value)?,
            "cache_to" => target.cache_to = Some(entries(EntryKind::Cache, value)?),
            "no_cache" => target.no_cache = value.truth()?.filter(|wanted| *wanted),
            "pull" => target.pull = value.truth()?.filter(|wanted| *wanted),
            "entitlements" => target.entitlements = value.texts()?,
            "privileged" if value.truth()? == Some(true) => {
                return Err(BakeError::new("`privileged` builds are not supported").at(span).help(
                    "write `RUN --security=insecure` in the Dockerfile and `entitlements: [security.insecure]` here",
                ));
            }
            "privileged" | "isolation" => {}
            "provenance" | "sbom" => {
                if let Some(text) = value.text()? {
                    let options = match value.truth() {
                        Ok(Some(wanted)) => format!("disabled={}", !wanted),
                        _ => text,
                    };
                    target.attest.extend(Entry::of_text(EntryKind::Attest, &format!("type={key},{options}"))?);
                }
            }
            "secrets" => target.secrets = self.secrets(value)?,
            "ssh" => {
                for (id, _, path) in value.members("`ssh`")? {
                    let text = path.text()?.map_or_else(|| id.clone(), |path| format!("{id}={path}"));
                    target.ssh.extend(Entry::of_text(EntryKind::Ssh, &text)?);
                }
                target.ssh.sort_by_key(Entry::flag);
            }
            "ulimits" => target.ulimits = limits(value)?,
            other if other.starts_with("x-") => {}
            other => {
                return Err(BakeError::new(format!("`build` has no `{other}`"))
                    .at(span)
                    .suggest(other, BUILD.iter().copied()));
            }
        }
        Ok(())
    }

    fn secrets(&self, node: &Node) -> BakeResult<Vec<Entry>> {
        let Kind::Sequence(items) = &node.kind else {
            return Err(BakeError::new("`secrets` is a list").at(&node.span));
        };
        let mut secrets = Vec::new();
        for item in items {
            let id = item.get("source").unwrap_or(item).text()?.unwrap_or_default();
            let Some((.., secret)) = self.project.secrets.iter().find(|(name, ..)| *name == id) else {
                return Err(BakeError::new(format!("the secret `{id}` is not defined"))
                    .at(&item.span)
                    .suggest(&id, self.project.secrets.iter().map(|(name, ..)| name.as_str()))
                    .help(format!("define it below `secrets:` at the top, with `{id}: {{file: …}}`")));
            };
            if secret.get("external").map(Node::truth).transpose()?.flatten() == Some(true) {
                return Err(BakeError::new(format!("unsupported external secret {id}")).at(&item.span));
            }
            let mut fields = vec![format!("id={id}")];
            for (key, flag) in [("file", "src"), ("environment", "env")] {
                if let Some(value) = secret.get(key).map(Node::text).transpose()?.flatten() {
                    fields.push(format!("{flag}={value}"));
                }
            }
            if fields.len() == 1 {
                return Err(BakeError::new(format!(
                    "the secret `{id}` has neither a file nor an environment variable"
                ))
                .at(&secret.span));
            }
            secrets.extend(Entry::of_text(EntryKind::Secret, &csv::line(&fields))?);
        }
        Ok(secrets)
    }
}

/// `x-bake`: what compose files have no words for.
fn extend(target: &mut Target, extension: &Node) -> BakeResult<()> {
    for (key, span, value) in extension.members("`x-bake`")? {
        // A single text is a list of words.
        let words = || match &value.kind {
            Kind::Scalar(text, _) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            _ => value.texts(),
        };
        let entries = |kind| -> BakeResult<Vec<Entry>> {
            let entries = words()?.iter().map(|text| Entry::of_text(kind, text)).collect::<BakeResult<Vec<_>>>();
            Ok(entries.map_err(|error| error.at(&value.span))?.concat())
        };
        let join = |list: &mut Option<Vec<String>>| {
            let list = list.get_or_insert_default();
            list.extend(words()?);
            once(list);
            Ok::<(), BakeError>(())
        };
        match key.as_str() {
            "tags" => join(&mut target.tags)?,
            "platforms" => join(&mut target.platforms)?,
            "cache-from" => target.cache_from.extend(entries(EntryKind::Cache)?),
            "cache-to" => target.cache_to.get_or_insert_default().extend(entries(EntryKind::Cache)?),
            "output" => target.outputs.get_or_insert_default().extend(entries(EntryKind::Output)?),
            "secret" => target.secrets.extend(entries(EntryKind::Secret)?),
            "ssh" => {
                target.ssh.extend(entries(EntryKind::Ssh)?);
                target.ssh.sort_by_key(Entry::flag);
            }
            "pull" => target.pull = value.truth()?,
            "no-cache" => target.no_cache = value.truth()?,
            "no-cache-filter" => target.no_cache_filter.extend(words()?),
            "contexts" => {
                for (name, source) in contexts(value)? {
                    target.contexts.entry(name).or_insert(source);
                }
            }
            other => {
                return Err(BakeError::new(format!("`x-bake` has no `{other}`"))
                    .at(span)
                    .suggest(other, EXTENSION.iter().copied()));
            }
        }
    }
    Ok(())
}

/// Another service is another target.
fn contexts(node: &Node) -> BakeResult<BTreeMap<String, String>> {
    let source = |source: String| match source.strip_prefix("service:").or(source.strip_prefix("target:")) {
        Some(name) => format!("target:{}", name.replace('.', "_")),
        None => source,
    };
    let pairs = node.pairs()?.into_iter();
    Ok(pairs.map(|(name, value)| (name, source(value.unwrap_or_default()))).collect())
}

fn entries(kind: EntryKind, node: &Node) -> BakeResult<Vec<Entry>> {
    let entries = node.texts()?.iter().map(|text| Entry::of_text(kind, text)).collect::<BakeResult<Vec<_>>>();
    Ok(entries.map_err(|error| error.at(&node.span))?.concat())
}

/// `nofile: 1024` and `nofile: {soft: 512, hard: 1024}`
fn limits(node: &Node) -> BakeResult<Vec<String>> {
    let mut limits = Vec::new();
    for (name, _, limit) in node.members("`ulimits`")? {
        let part = |key: &str| Ok::<_, BakeError>(limit.get(key).map(Node::text).transpose()?.flatten());
        let (soft, hard) = match &limit.kind {
            Kind::Mapping(_) => (part("soft")?, part("hard")?),
            _ => (limit.text()?, limit.text()?),
        };
        let (Some(soft), Some(hard)) = (soft.clone().or_else(|| hard.clone()), hard.or(soft)) else {
            return Err(BakeError::new(format!("the limit `{name}` has no number")).at(&limit.span));
        };
        limits.push(format!("{name}={soft}:{hard}"));
    }
    Ok(limits)
}

/// A number of bytes as Docker prints it: `128m` is `128MiB`.
fn size(text: &str) -> Option<String> {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let number: f64 = lower[..digits].parse().ok()?;
    let power = match lower[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let mut bytes = number * 1024_f64.powi(power);
    let mut unit = 0;
    while bytes >= 1024.0 && unit + 1 < UNITS.len() {
        bytes /= 1024.0;
        unit += 1;
    }
    // Four digits that matter, as Go's `%.4g` has them.
    let whole = format!("{:.0}", bytes.trunc()).len();
    let rounded = format!("{bytes:.*}", 4_usize.saturating_sub(whole));
    let rounded = if rounded.contains('.') { rounded.trim_end_matches('0').trim_end_matches('.') } else { &rounded };
    Some(format!("{rounded}{}", UNITS[unit]))
}
