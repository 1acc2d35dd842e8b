//! Which commit a reference means, as the remote says now.

use std::collections::BTreeMap;

use super::command::Git;
use super::{Commit, name};
use crate::remote::error::RemoteError;

/// How many names are told when the one that was asked for is not there.
const TOLD: usize = 5;

/// What a remote advertises.
#[derive(Debug, Default)]
struct Advertised {
    /// The branch that is checked out by default.
    head: Option<String>,
    /// References with their ids; `refs/tags/x^{}` is what the tag object `refs/tags/x` leads to.
    ids: BTreeMap<String, String>,
}

/// Asks the remote for a reference; without one for its default branch.
pub(super) fn resolve(git: &Git<'_>, wanted: Option<&str>) -> Result<Commit, RemoteError> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != "HEAD") else {
        let found = ask(git, &["HEAD"])?;
        let Some(id) = found.ids.get("HEAD") else { return Err(missing(git, "HEAD", &ask(git, &[])?)) };
        return Ok(Commit { id: id.clone(), reference: found.head.clone(), tag: None });
    };
    let candidates = candidates(wanted);
    let peeled: Vec<String> = candidates.iter().map(|name| format!("{name}^{{}}")).collect();
    let patterns: Vec<&str> = candidates.iter().chain(&peeled).map(String::as_str).collect();
    let found = ask(git, &patterns)?;
    if let Some(commit) = candidates.iter().find_map(|name| found.commit(name)) {
        return Ok(commit);
    }
    let all = ask(git, &[])?;
    // The beginning of a commit that some branch or tag is at is good enough, if there is only one.
    if name::is_hex(wanted) {
        let mut ids: Vec<&String> = all.ids.values().filter(|id| id.starts_with(wanted)).collect();
        ids.sort();
        ids.dedup();
        if let [id] = ids[..] {
            return Ok(Commit { id: id.clone(), reference: None, tag: None });
        }
    }
    Err(missing(git, wanted, &all))
}

/// The references that a name can mean, in the order of preference: as `git checkout` does, branches before tags.
fn candidates(wanted: &str) -> Vec<String> {
    let mut names = vec![format!("refs/{}", wanted.strip_prefix("refs/").unwrap_or(wanted))];
    if !wanted.starts_with("refs/") {
        names.extend([format!("refs/heads/{wanted}"), format!("refs/tags/{wanted}")]);
    }
    names
}

fn ask(git: &Git<'_>, patterns: &[&str]) -> Result<Advertised, RemoteError> {
    let mut command = git.network(None)?;
    command.args(["ls-remote", "--symref", "--", git.remote()]).args(patterns);
    Ok(Advertised::parse(&String::from_utf8_lossy(&git.ok(&mut command)?)))
}

impl Advertised {
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let Some((value, reference)) = line.split_once('\t') else { continue };
            match value.strip_prefix("ref: ") {
                // What a server says becomes a part of commands and of what is shown.
                Some(target) if reference == "HEAD" && name::check_reference(target).is_ok() => {
                    found.head = Some(target.to_owned());
                }
                None if name::is_commit(value) => {
                    found.ids.insert(reference.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
        found
    }

    fn commit(&self, reference: &str) -> Option<Commit> {
        let id = self.ids.get(reference)?;
        let (id, tag) = match self.ids.get(&format!("{reference}^{{}}")) {
            Some(peeled) => (peeled, Some(id.clone())),
            None => (id, None),
        };
        Some(Commit { id: id.clone(), reference: Some(reference.to_owned()), tag })
    }
}

fn missing(git: &Git<'_>, wanted: &str, all: &Advertised) -> RemoteError {
    let short = |name: &String| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"))?;
        (!name.ends_with("^{}")).then(|| name.to_owned())
    };
    let names: Vec<String> = all.ids.keys().filter_map(short).collect();
    let hint = if names.is_empty() { ": the repository is empty".to_owned() } else { near(wanted, names) };
    RemoteError::NoReference { remote: git.shown(), reference: wanted.to_owned(), hint }
}

/// The names that are most like what was asked for, or else the first ones.
pub(super) fn near(wanted: &str, names: Vec<String>) -> String {
    let count = names.len();
    if count == 0 {
        return String::new();
    }
    let mut ranked: Vec<(usize, String)> = names.into_iter().map(|name| (distance(wanted, &name), name)).collect();
    ranked.sort();
    let limit = (wanted.len() / 3).max(2);
    if let Some((_, best)) = ranked.first().filter(|(distance, _)| *distance <= limit) {
        return format!(": did you mean `{best}`?");
    }
    let told: Vec<String> = ranked.into_iter().take(TOLD).map(|(_, name)| format!("`{name}`")).collect();
    let more = if count > TOLD { format!(" and {} more", count - TOLD) } else { String::new() };
    format!(": there is {}{more}", told.join(", "))
}

/// How many letters differ.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, a) in left.chars().take(100).enumerate() {
        let mut corner = above;
        let mut last = above + 1;
        for (cell, &b) in row.iter_mut().skip(1).zip(&right) {
            let value = (corner + usize::from(a != b)).min(last + 1).min(*cell + 1);
            corner = std::mem::replace(cell, value);
            last = value;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_branches_before_tags() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/x\n{b}\trefs/tags/x\n{c}\trefs/tags/x^{{}}\nnonsense\n"
        );
        let found = Advertised::parse(&text);
        assert_eq!(found.head.as_deref(), Some("refs/heads/main"));
        let resolve = |wanted| candidates(wanted).iter().find_map(|name| found.commit(name));
        let x = |id: &String, reference: &str, tag: Option<&String>| {
            Some(Commit { id: id.clone(), reference: Some(reference.to_owned()), tag: tag.cloned() })
        };
        assert_eq!(resolve("x"), x(&a, "refs/heads/x", None));
        assert_eq!(resolve("tags/x"), x(&c, "refs/tags/x", Some(&b)));
        assert_eq!(resolve("refs/tags/x"), x(&c, "refs/tags/x", Some(&b)));
        assert_eq!(resolve("y"), None);
    }

    #[test]
    fn a_head_that_is_no_reference_is_none() {
        let id = "a".repeat(40);
        for head in ["refs/heads/a:refs/x", "--upload-pack=x", "refs/heads/\u{1b}[2J", "refs/../x", ""] {
            let found = Advertised::parse(&format!("ref: {head}\tHEAD\n{id}\tHEAD\n"));
            assert_eq!((found.head, found.ids.len()), (None, 1), "{head:?}");
        }
    }

    #[test]
    fn near_names_are_told() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(near("mian", names(&["dev", "main"])), ": did you mean `main`?");
        assert_eq!(near("something", names(&["b", "a"])), ": there is `a`, `b`");
        assert!(near("zzzzzzzzzz", names(&["a", "b", "c", "d", "e", "f"])).ends_with("and 1 more"));
        assert_eq!(near("x", Vec::new()), "");
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "")), (3, 2, 2));
    }
}
