//! Makes smaller trees: what `--exclude` leaves, and what `--parents` picks.

use std::ops::Range;
use std::sync::Arc;

use super::entry::{Entry, EntryContent};
use super::root::{join, split};
use super::tree::{Branch, Directory, DirectoryId, Tree};
use crate::pattern::{IgnoreMatcher, MatchState};

/// Which entries stay. Paths are relative to the root of the new tree.
pub(super) struct Filter<'a> {
    /// Only what matches, or lies below what matches.
    pub(super) include: Option<&'a IgnoreMatcher>,
    /// Not what matches.
    pub(super) exclude: &'a IgnoreMatcher,
}

#[derive(Default)]
struct States {
    include: MatchState,
    exclude: MatchState,
}

/// What a filter says of a directory.
enum Verdict {
    Keep,
    /// Only if something below it stays.
    KeepIfNeeded,
    Drop,
}

impl Filter<'_> {
    fn root(&self) -> States {
        States { include: self.include.map(IgnoreMatcher::root).unwrap_or_default(), exclude: self.exclude.root() }
    }

    fn keeps(&self, path: &[u8], states: &States) -> bool {
        self.include.is_none_or(|include| include.excludes(path, &states.include))
            && !self.exclude.excludes(path, &states.exclude)
    }

    fn directory(&self, path: &[u8], states: &States) -> (Verdict, States) {
        let (included, include) =
            self.include.map_or((true, MatchState::default()), |matcher| matcher.matches(path, &states.include));
        let (excluded, exclude) = self.exclude.matches(path, &states.exclude);
        let reachable = (included || self.include.is_some_and(|matcher| matcher.may_match_below(path)))
            && (!excluded || self.exclude.may_include_below(path));
        let verdict = match (included && !excluded, reachable) {
            (true, _) => Verdict::Keep,
            (false, true) => Verdict::KeepIfNeeded,
            (false, false) => Verdict::Drop,
        };
        (verdict, States { include, exclude })
    }
}

/// What hangs at the end of a chain of parents.
pub(super) enum End {
    Directory(Branch),
    Entry(Entry),
}

/// A directory of the new tree that waits for its entries.
struct Waiting {
    directory: Directory,
    below: Below,
    /// Relative to the root of the new tree.
    path: Vec<u8>,
    states: States,
    needed: bool,
}

enum Below {
    /// All of a directory.
    Branch(Branch),
    /// The next parent of the chain, by its position.
    Parent(usize),
}

/// Filters a directory. The new tree has it as its root, whether or not anything stays.
pub(super) fn filter(branch: &Branch, rules: &Filter<'_>) -> Branch {
    let directory = branch.directory();
    grow(empty(&directory.path, directory.own.clone()), &[], &End::Directory(branch.clone()), rules)
}

/// Filters `end` below its parents, of which the first is the root of the new tree.
pub(super) fn filter_with_parents(parents: &[(Vec<u8>, Entry)], end: &End, rules: &Filter<'_>) -> Option<Branch> {
    let ((path, own), rest) = parents.split_first()?;
    Some(grow(empty(path, own.clone()), rest, end, rules))
}

fn empty(path: &[u8], own: Entry) -> Directory {
    Directory { path: path.into(), own, entries: Vec::new(), indexed: false }
}

fn grow(root: Directory, parents: &[(Vec<u8>, Entry)], end: &End, rules: &Filter<'_>) -> Branch {
    let below = match end {
        End::Directory(branch) if parents.is_empty() && branch.directory().path == root.path => {
            Below::Branch(branch.clone())
        }
        _ => Below::Parent(0),
    };
    let mut level = vec![Waiting { directory: root, below, path: Vec::new(), states: rules.root(), needed: true }];
    let mut directories: Vec<Directory> = Vec::new();
    let mut needed: Vec<bool> = Vec::new();
    let mut levels: Vec<Range<usize>> = Vec::new();
    while !level.is_empty() {
        let first = directories.len();
        let end_of_level = first + level.len();
        let mut next = Vec::new();
        for mut waiting in level {
            let children = children(&waiting, parents, end);
            for (entry, below) in children {
                let path = join(&waiting.path, &entry.name);
                let Some(below) = below else {
                    if rules.keeps(&path, &waiting.states) {
                        waiting.directory.entries.push(entry);
                    }
                    continue;
                };
                let (verdict, states) = rules.directory(&path, &waiting.states);
                let needed = match verdict {
                    Verdict::Keep => true,
                    Verdict::KeepIfNeeded => false,
                    Verdict::Drop => continue,
                };
                let id = DirectoryId::new(end_of_level + next.len());
                let (source, own) = match &below {
                    Below::Branch(branch) => (branch.directory().path.clone(), branch.directory().own.clone()),
                    Below::Parent(position) => {
                        (parents[position - 1].0.clone().into(), parents[position - 1].1.clone())
                    }
                };
                let directory = Directory { path: source, own, entries: Vec::new(), indexed: false };
                waiting.directory.entries.push(Entry { content: EntryContent::Directory(id), ..entry });
                next.push(Waiting { directory, below, path, states, needed });
            }
            needed.push(waiting.needed);
            directories.push(waiting.directory);
        }
        levels.push(first..end_of_level);
        level = next;
    }
    drop_unneeded(&mut directories, &needed);
    Branch { tree: Arc::new(Tree::new(directories, levels)), root: DirectoryId::ROOT }
}

/// What is in a directory before filtering; directories come with where to go on.
fn children(waiting: &Waiting, parents: &[(Vec<u8>, Entry)], end: &End) -> Vec<(Entry, Option<Below>)> {
    match &waiting.below {
        Below::Branch(branch) => branch
            .directory()
            .entries
            .iter()
            .map(|entry| {
                let below = match entry.content {
                    EntryContent::Directory(id) => Some(Below::Branch(branch.child(id))),
                    _ => None,
                };
                (entry.clone(), below)
            })
            .collect(),
        Below::Parent(position) => match (parents.get(*position), end) {
            (Some((_, own)), _) => vec![(own.clone(), Some(Below::Parent(position + 1)))],
            (None, End::Entry(entry)) => vec![(entry.clone(), None)],
            (None, End::Directory(branch)) => {
                let directory = branch.directory();
                let name = split(&directory.path).1.into();
                let entry = Entry { name, ..directory.own.clone() };
                vec![(entry, Some(Below::Branch(branch.clone())))]
            }
        },
    }
}

fn drop_unneeded(directories: &mut [Directory], needed: &[bool]) {
    if needed.iter().all(|&needed| needed) {
        return;
    }
    let mut dropped = vec![false; directories.len()];
    for position in (0..directories.len()).rev() {
        let directory = &mut directories[position];
        directory
            .entries
            .retain(|entry| !matches!(entry.content, EntryContent::Directory(id) if dropped[id.0 as usize]));
        dropped[position] = !needed[position] && directory.entries.is_empty();
    }
}
