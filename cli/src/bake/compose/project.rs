//! Several compose files → one: what they include, what services extend, and what later files lay over earlier ones.

use std::cell::RefCell;
use std::path::Path;

use super::environment::{Lookup, interpolate};
use super::yaml::{self, Kind, Node, Over};
use crate::bake::error::{BakeError, BakeResult, SourceFile, Span};
use crate::bake::files;

/// How far files may include and services extend others.
const MAX_DEPTH: usize = 16;

/// How many files there may be.
const MAX_FILES: usize = 256;

/// Members of `build` that may be written as lists of `name=value` and are mappings nevertheless.
const PAIRS: [&str; 5] = ["args", "labels", "additional_contexts", "extra_hosts", "ssh"];

/// All services and secrets.
#[derive(Debug, Default)]
pub(super) struct Project {
    /// In order, with the place of the name.
    pub(super) services: Vec<(String, Span, Node)>,
    pub(super) secrets: Vec<(String, Span, Node)>,
}

/// All files, those that are included at the end.
pub(super) type Files<'f> = RefCell<&'f mut Vec<SourceFile>>;

impl Project {
    /// Lays a file over what is there.
    pub(super) fn add(&mut self, position: usize, files: &Files<'_>, lookup: Lookup<'_>) -> BakeResult<()> {
        self.add_file(position, files, lookup, 0)
    }

    fn add_file(&mut self, position: usize, files: &Files<'_>, lookup: Lookup<'_>, depth: usize) -> BakeResult<()> {
        for document in read(position, files, lookup)? {
            if let Some(includes) = document.get("include") {
                self.include(includes, position, files, lookup, depth)?;
            }
            if let Some(services) = document.get("services") {
                for (name, span, service) in services.members("`services`")? {
                    let service = extended(name, service, &document, position, files, lookup, 0)?;
                    lay(&mut self.services, name, span, service);
                }
            }
            if let Some(secrets) = document.get("secrets") {
                for (name, span, secret) in secrets.members("`secrets`")? {
                    lay(&mut self.secrets, name, span, secret.clone());
                }
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        includes: &Node,
        position: usize,
        files: &Files<'_>,
        lookup: Lookup<'_>,
        depth: usize,
    ) -> BakeResult<()> {
        let Kind::Sequence(items) = &includes.kind else {
            return Err(BakeError::new("`include` is a list of files").at(&includes.span));
        };
        for item in items {
            if depth >= MAX_DEPTH {
                return Err(BakeError::new("the files include each other too deeply").at(&item.span));
            }
            for path in item.get("path").unwrap_or(item).texts()? {
                let included = open(&path, position, files).map_err(|error| error.at(&item.span))?;
                self.add_file(included, files, lookup, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// The documents of a file, variables replaced.
fn read(position: usize, files: &Files<'_>, lookup: Lookup<'_>) -> BakeResult<Vec<Node>> {
    let text = files.borrow().get(position).map(|file| file.text.clone()).unwrap_or_default();
    let mut documents = yaml::parse(&text, position)?;
    for document in &mut documents {
        document.members("a compose file")?;
        // Only what matters here: other parts may have variables that nobody set.
        if let Kind::Mapping(members) = &mut document.kind {
            let wanted = |name: &str| matches!(name, "services" | "secrets" | "include");
            let mut parts = members.iter_mut().filter(|(name, ..)| wanted(name));
            parts.try_for_each(|(.., node)| interpolate(node, lookup))?;
        }
    }
    Ok(documents)
}

/// Reads another file beside the one that names it.
fn open(path: &str, from: usize, files: &Files<'_>) -> BakeResult<usize> {
    let base = files.borrow().get(from).map(|file| file.name.clone()).unwrap_or_default();
    let place = Path::new(&base).parent().unwrap_or(Path::new("")).join(path);
    let mut files = files.borrow_mut();
    if files.len() >= MAX_FILES {
        return Err(BakeError::new(format!("there are more than {MAX_FILES} files: they include each other")));
    }
    files.push(files::open(&place.display().to_string(), &place)?);
    Ok(files.len() - 1)
}

/// A service with what it extends below it.
fn extended(
    name: &str,
    service: &Node,
    document: &Node,
    position: usize,
    files: &Files<'_>,
    lookup: Lookup<'_>,
    depth: usize,
) -> BakeResult<Node> {
    let mut service = normal(service);
    let Some(extends) = service.get("extends").cloned() else { return Ok(service) };
    if depth >= MAX_DEPTH {
        return Err(BakeError::new(format!("the service `{name}` extends itself in the end")).at(&extends.span));
    }
    let base = extends.get("service").unwrap_or(&extends).text()?.unwrap_or_default();
    let file = extends.get("file").map(Node::text).transpose()?.flatten();
    let found = |document: &Node| document.get("services").and_then(|services| services.get(&base)).cloned();
    let missing = || BakeError::new(format!("there is no service `{base}` to extend")).at(&extends.span);
    let parent = match file {
        None => {
            let parent = found(document).ok_or_else(missing)?;
            extended(&base, &parent, document, position, files, lookup, depth + 1)?
        }
        Some(path) => {
            let other = open(&path, position, files).map_err(|error| error.at(&extends.span))?;
            let documents = read(other, files, lookup)?;
            let document = documents.iter().find(|document| found(document).is_some()).ok_or_else(missing)?;
            let parent = found(document).ok_or_else(missing)?;
            extended(&base, &parent, document, other, files, lookup, depth + 1)?
        }
    };
    if let Kind::Mapping(members) = &mut service.kind {
        members.retain(|(name, ..)| name != "extends");
    }
    Ok(merged(parent, service))
}

/// `build: .` as a mapping, and lists of pairs as mappings, so that they can be laid over each other.
fn normal(service: &Node) -> Node {
    let mut service = service.clone();
    let Kind::Mapping(members) = &mut service.kind else { return service };
    for (name, span, member) in members {
        match name.as_str() {
            "build" => {
                if matches!(member.kind, Kind::Scalar(..)) {
                    let context = ("context".to_owned(), span.clone(), member.clone());
                    member.kind = Kind::Mapping(vec![context]);
                }
                if let Kind::Mapping(parts) = &mut member.kind {
                    let pairs = parts.iter_mut().filter(|(name, ..)| PAIRS.contains(&name.as_str()));
                    pairs.for_each(|(name, _, part)| mapping(part, name == "extra_hosts"));
                }
            }
            "environment" => mapping(member, false),
            _ => {}
        }
    }
    service
}

/// A list of `name=value` as a mapping; hosts may have a colon.
fn mapping(node: &mut Node, colon: bool) {
    let Kind::Sequence(items) = &node.kind else { return };
    let mut members: Vec<(String, Span, Node)> = Vec::new();
    for item in items {
        let Kind::Scalar(text, _) = &item.kind else { return };
        let pair = text.split_once('=').or_else(|| if colon { text.split_once(':') } else { None });
        let (name, kind) = match pair {
            Some((name, value)) => (name, Kind::Scalar(value.to_owned(), false)),
            None => (text.as_str(), Kind::Null),
        };
        members.push((name.to_owned(), item.span.clone(), Node { kind, ..item.clone() }));
    }
    node.kind = Kind::Mapping(members);
}

fn lay(places: &mut Vec<(String, Span, Node)>, name: &str, span: &Span, node: Node) {
    match places.iter_mut().find(|(known, ..)| known == name) {
        Some((.., known)) => {
            let below = std::mem::replace(known, Node { kind: Kind::Null, span: span.clone(), over: Over::Merge });
            *known = merged(below, node);
        }
        None => places.push((name.to_owned(), span.clone(), node)),
    }
}

/// Mappings are joined, lists follow each other, everything else is replaced.
fn merged(below: Node, above: Node) -> Node {
    match (below.kind, above.kind, above.over) {
        (_, _, Over::Remove) => Node { kind: Kind::Null, span: above.span, over: Over::Merge },
        (Kind::Mapping(mut members), Kind::Mapping(more), Over::Merge) => {
            for (name, span, node) in more {
                lay(&mut members, &name, &span, node);
            }
            Node { kind: Kind::Mapping(members), span: above.span, over: Over::Merge }
        }
        (Kind::Sequence(mut items), Kind::Sequence(more), Over::Merge) => {
            items.extend(more);
            Node { kind: Kind::Sequence(items), span: above.span, over: Over::Merge }
        }
        (kind, Kind::Null, Over::Merge) => Node { kind, span: below.span, over: Over::Merge },
        (_, kind, _) => Node { kind, span: above.span, over: Over::Merge },
    }
}
