//! Why a step had to run: the difference between the key it has and the key of the nearest older record.

use std::fmt;

use serde::Serialize;

use crate::digest::ContentDigest;
use crate::worker::{Component, Part, PathChange, Records};

/// How many changed paths a reason names.
const NAMED_PATHS: usize = 20;

/// Why a step ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum MissReason {
    /// The user asked for it (`--no-cache`, `--no-cache-filter`).
    NotAsked,
    /// No step like it was ever recorded here.
    New,
    /// An equal step was recorded, but its result is gone (pruned, or lost with a power cut).
    Evicted,
    /// These parts of the key changed since the nearest record.
    Changed {
        /// At least one.
        changes: Vec<PartChange>,
    },
}

/// One part of the key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// Which part.
    pub part: Part,
    /// Its value then, in short; `None` when the part is new.
    pub old: Option<String>,
    /// Its value now, in short; `None` when the part is gone.
    pub new: Option<String>,
    /// For files: which; at most twenty.
    pub paths: Vec<PathChange>,
}

impl MissReason {
    /// Compares the components of a miss with those of the nearest record.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn compare<R: Records>(records: &R, old: &[Component], new: &[Component]) -> Result<Self, R::Error> {
        let mut changes = Vec::new();
        for component in new {
            match old.iter().find(|candidate| candidate.part == component.part) {
                Some(before) if before.digest == component.digest => {}
                before => changes.push(PartChange {
                    part: component.part.clone(),
                    old: before.map(|before| before.value.clone()),
                    new: Some(component.value.clone()),
                    paths: match before {
                        Some(before) => changed_paths(records, component, &before.digest)?,
                        None => Vec::new(),
                    },
                }),
            }
        }
        for before in old {
            if !new.iter().any(|component| component.part == before.part) {
                changes.push(PartChange {
                    part: before.part.clone(),
                    old: Some(before.value.clone()),
                    new: None,
                    paths: Vec::new(),
                });
            }
        }
        Ok(if changes.is_empty() { Self::Evicted } else { Self::Changed { changes } })
    }
}

fn changed_paths<R: Records>(
    records: &R,
    component: &Component,
    old: &ContentDigest,
) -> Result<Vec<PathChange>, R::Error> {
    match component.part {
        Part::Files(_) => Ok(records.tree_changes(old, &component.digest, NAMED_PATHS)?.unwrap_or_default()),
        _ => Ok(Vec::new()),
    }
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("the cache was not asked (--no-cache)"),
            Self::New => f.write_str("no step like it was built before"),
            Self::Evicted => f.write_str("the result of the last run is gone from the store"),
            Self::Changed { changes } => {
                for (position, change) in changes.iter().enumerate() {
                    if position > 0 {
                        f.write_str("; ")?;
                    }
                    write!(f, "{change}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for PartChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.paths.is_empty() {
            for (position, change) in self.paths.iter().enumerate() {
                let separator = if position > 0 { ", " } else { "" };
                write!(f, "{separator}{} {}", change.path, change.kind)?;
            }
            return Ok(());
        }
        if let (Part::Input(_), Some(old), Some(new)) = (&self.part, &self.old, &self.new) {
            return if old == new {
                write!(f, "it follows `{new}`, which changed")
            } else {
                write!(f, "it follows `{new}` and not `{old}`")
            };
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old == new => write!(f, "{} changed", self.part),
            (Some(old), Some(new)) => write!(f, "{} changed from `{old}` to `{new}`", self.part),
            (None, Some(new)) => write!(f, "{} `{new}` is new", self.part),
            (Some(old), None) => write!(f, "{} `{old}` is gone", self.part),
            (None, None) => write!(f, "{}", self.part),
        }
    }
}

impl fmt::Display for crate::worker::PathChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("the kind of step"),
            Self::Command => f.write_str("the command"),
            Self::Env(name) => write!(f, "variable {name}"),
            Self::EnvOrder => f.write_str("the order of the variables"),
            Self::WorkingDirectory => f.write_str("the working directory"),
            Self::User => f.write_str("the user"),
            Self::Network => f.write_str("the network mode"),
            Self::Script => f.write_str("the script"),
            Self::Action(_) => f.write_str("the instruction"),
            Self::Image => f.write_str("the image"),
            Self::Input(0) => f.write_str("the step before"),
            Self::Input(_) => f.write_str("the step that it copies from"),
            Self::Files(_) => f.write_str("the files"),
            Self::Security => f.write_str("the security mode"),
            Self::Hosts => f.write_str("the host names"),
            Self::Platform => f.write_str("the platform"),
            Self::Mount(_) => f.write_str("a mount"),
            Self::Remote => f.write_str("the address"),
            Self::Fetched => f.write_str("what is at the address"),
        }
    }
}
