//! All targets and groups, and what a command line asks of them.

use std::collections::btree_map;
use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Entry, Kind};
use super::error::{BakeError, BakeResult};
use super::glob;
use super::overrides::Overrides;
use super::remote::{self, Remote};
use super::target::{Group, Target, once};

/// How far targets may inherit and use each other, and groups contain each other.
const MAX_DEPTH: usize = 100;

/// All targets and groups, in order, each name once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    pub(crate) groups: Vec<Group>,
    pub(crate) targets: Vec<Target>,
    /// Where the definition lies, when that is not here.
    pub(crate) remote: Option<Remote>,
}

/// What is to be built.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    /// The groups that were asked for; `default` is all that was.
    pub(crate) groups: BTreeMap<String, Group>,
    /// By name.
    pub(crate) targets: BTreeMap<String, Target>,
}

impl Config {
    /// Adds a target, or lays it over the one of that name.
    pub(crate) fn add_target(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.name == target.name) {
            Some(known) => known.merge(&target),
            None => self.targets.push(target),
        }
    }

    /// Adds a group, or puts it in the place of the one of that name.
    pub(crate) fn add_group(&mut self, mut group: Group) {
        once(&mut group.targets);
        match self.groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) => *known = group,
            None => self.groups.push(group),
        }
    }

    fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The group of that name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let groups = self.groups.iter().map(|group| group.name.as_str());
        groups.chain(self.targets.iter().map(|target| target.name.as_str()))
    }

    /// What these names mean, wildcards and groups resolved, inheritance and overrides applied, and the targets that
    /// others use as contexts beside them.
    pub(crate) fn select(&self, wanted: &[String], overrides: &Overrides) -> BakeResult<Selected> {
        let mut names: Vec<String> = Vec::new();
        for name in wanted {
            // A service of a compose file may have a dot in its name.
            let name = name.replace('.', "_");
            if !glob::is_pattern(&name) {
                names.push(name);
                continue;
            }
            let found: Vec<String> =
                self.names().filter(|known| glob::matches(&name, known)).map(str::to_owned).collect();
            if found.is_empty() {
                return Err(BakeError::new(format!("could not find any target matching '{name}'")));
            }
            names.extend(found);
        }
        once(&mut names);
        let mut selected = Selected::default();
        for name in &names {
            let mut members = Members::default();
            self.members(name, &mut members, 0)?;
            for target in members.targets {
                if let btree_map::Entry::Vacant(vacant) = selected.targets.entry(target) {
                    let resolved = self.resolve(vacant.key(), overrides)?;
                    vacant.insert(resolved);
                }
            }
            let groups = members.groups.into_iter().filter_map(|group| self.group(&group));
            selected.groups.extend(groups.map(|group| (group.name.clone(), group.clone())));
        }
        // The group `default` is what was asked for.
        for name in &names {
            if name == "default" && selected.groups.contains_key("default") {
                continue;
            }
            let default = selected
                .groups
                .entry("default".to_owned())
                .or_insert_with(|| Group { name: "default".to_owned(), ..Group::default() });
            default.targets.push(name.clone());
        }
        if let Some(default) = selected.groups.get_mut("default") {
            once(&mut default.targets);
            default.targets.sort();
        }
        let asked: Vec<String> = selected.targets.keys().cloned().collect();
        let mut links = Links::default();
        for name in asked {
            self.link(&name, &mut selected.targets, overrides, &mut links)?;
        }
        Ok(selected)
    }

    fn members(&self, name: &str, found: &mut Members, depth: usize) -> BakeResult<()> {
        let Some(group) = self.group(name) else {
            found.targets.push(name.to_owned());
            return Ok(());
        };
        if depth > MAX_DEPTH {
            return Err(BakeError::new(format!("groups contain each other over more than {MAX_DEPTH} steps")));
        }
        if !found.groups.insert(name.to_owned()) {
            return Ok(());
        }
        for member in &group.targets {
            // A target with a matrix may share its name with one of its variants.
            if member == name {
                found.targets.push(member.clone());
            } else {
                self.members(member, found, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A target with all that it inherits.
    fn resolve(&self, name: &str, overrides: &Overrides) -> BakeResult<Target> {
        let mut target = self.inherit(name, overrides, &mut BTreeMap::new())?.unwrap_or_default();
        name.clone_into(&mut target.name);
        target.inherits = Vec::new();
        let context = target.context.or(target.base.take()).unwrap_or_else(|| ".".to_owned());
        target.context = Some(remote::place(&context, self.remote.as_ref())?);
        if let Some(remote) = &self.remote {
            for source in target.contexts.values_mut().filter(|source| !source.starts_with("target:")) {
                *source = remote::place(source, Some(remote))?;
            }
            target.secrets.extend(remote::secrets()?);
        }
        target.dockerfile = target.dockerfile.filter(|file| !file.is_empty()).or_else(|| Some("Dockerfile".to_owned()));
        Ok(target)
    }

    /// `None` for one that is being resolved already: what inherits in a circle inherits nothing new.
    fn inherit<'a>(
        &'a self,
        name: &'a str,
        overrides: &Overrides,
        known: &mut BTreeMap<&'a str, Option<Target>>,
    ) -> BakeResult<Option<Target>> {
        if let Some(known) = known.get(name) {
            return Ok(known.clone());
        }
        let Some(own) = self.target(name) else { return Err(self.missing(name)) };
        if known.values().filter(|known| known.is_none()).count() > MAX_DEPTH {
            return Err(BakeError::new(format!("targets inherit from each other over more than {MAX_DEPTH} steps")));
        }
        known.insert(name, None);
        let mut target = Target { span: own.span.clone(), ..Target::default() };
        for parent in &own.inherits {
            let inherited = self.inherit(parent, overrides, known).map_err(|error| error.at_target(own))?;
            if let Some(parent) = inherited {
                target.merge(&parent);
            }
        }
        target.merge(own);
        // It has all of it now.
        target.inherits.clear();
        overrides.apply(name, &mut target)?;
        target.normalize();
        known.insert(name, Some(target.clone()));
        Ok(Some(target))
    }

    fn missing(&self, name: &str) -> BakeError {
        let error = BakeError::new(format!("failed to find target {name}")).suggest(name, self.names());
        let mut names: Vec<&str> = self.names().filter(|name| !name.starts_with('_')).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return error.help("the bake definition has no targets");
        }
        names.truncate(12);
        error.help(format!("name one of {}, or a group `default`", names.join(", ")))
    }

    /// Brings in the targets that are contexts of others.
    fn link(
        &self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        overrides: &Overrides,
        seen: &mut Links,
    ) -> BakeResult<()> {
        if seen.done.contains(name) {
            return Ok(());
        }
        let Some(target) = targets.get(name).cloned() else { return Ok(()) };
        if seen.open.len() > MAX_DEPTH {
            return Err(
                BakeError::new(format!("targets use each other over more than {MAX_DEPTH} steps")).at_target(&target)
            );
        }
        seen.open.push(name.to_owned());
        let links = target.contexts.values().filter_map(|source| source.strip_prefix("target:"));
        for link in links {
            if link == name {
                return Err(BakeError::new(format!("target {name} cannot link to itself")).at_target(&target));
            }
            if seen.open.iter().any(|known| known == link) {
                return Err(BakeError::new(format!("infinite loop from {name} to {link}")).at_target(&target));
            }
            if !targets.contains_key(link) {
                let mut linked = self.resolve(link, overrides).map_err(|error| error.at_target(&target))?;
                linked.outputs = Some(Entry::of_text(Kind::Output, "type=cacheonly")?);
                linked.linked = true;
                targets.insert(link.to_owned(), linked);
            }
            self.link(link, targets, overrides, seen)?;
            let Some(linked) = targets.get(link).cloned() else { continue };
            let platforms = |target: &Target| target.platforms.clone().unwrap_or_default();
            let (mine, theirs) = (platforms(&target), platforms(&linked));
            if mine.len() > 1 && theirs.len() > 1 && !mine.iter().all(|platform| theirs.contains(platform)) {
                return Err(BakeError::new(format!(
                    "target {link} can't be used by {name} because its platforms {mine:?} are not a subset of {theirs:?}"
                ))
                .at_target(&target));
            }
            if let Some(target) = targets.get_mut(name) {
                target.entitlements.extend(linked.entitlements);
                once(&mut target.entitlements);
            }
        }
        seen.open.pop();
        seen.done.insert(name.to_owned());
        Ok(())
    }
}

/// Targets whose contexts were gone through, and those that are being gone through.
#[derive(Debug, Default)]
struct Links {
    open: Vec<String>,
    done: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Members {
    targets: Vec<String>,
    groups: BTreeSet<String>,
}

impl BakeError {
    /// Says which target it is about, unless a place is known.
    fn at_target(self, target: &Target) -> Self {
        match &target.span {
            Some(span) => self.at(span),
            None => self,
        }
    }
}
