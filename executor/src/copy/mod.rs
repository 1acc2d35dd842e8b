//! Carries out the actions of a file op: copies, directories, files.
//!
//! Work happens in two steps. A [`Plan`] is made from the actions: every rule of `COPY` (what the destination means,
//! what may replace what, who owns it, which mode) is decided there, by looking at the destination root and writing
//! nothing. [`Plan::write`] then only carries out: it makes directories level by level, copies files in parallel,
//! and sets what directories are like when all is in them.
//!
//! The plan knows the whole layer before it is written, so its content digest ([`Plan::content`]) costs no second
//! reading, and an op whose last result is known can write only what is different ([`Plan::delta`]).
//!
//! # What the rules are
//!
//! * Destinations are resolved inside the root, links followed; missing parents are made, 0755, owned like the
//!   copies. A nested link of the destination is never followed: a directory that would go there is an error, a file
//!   replaces it.
//! * The destination is a directory if it ends in `/` or if one is there. Neither wildcards nor several sources make it
//!   one: `COPY target/*.jar /app.jar` makes a file, and of several files the last one stays.
//! * A directory as a source means its contents. They are merged with what is there; directories that are there take
//!   the source's mode and owner, but for the destination itself, which stays as it is (0755 when it is made, whatever
//!   mode the copies get).
//! * A file can't replace a directory, nor a directory anything else.
//! * What comes from a local context belongs to 0:0, what comes from a snapshot keeps its owner, and a named owner
//!   gets everything. Modes, mtimes to the nanosecond, extended attributes
//!   and file capabilities are kept, hard links within what is copied stay hard links, sparse files sparse.
//! * `+x` and its like mean `a+x`: the umask of the person who builds has no part in it.
//!
//! Invariant: no path of the destination is used but relative to its root, without links, or by name in a directory
//! that was opened so.

mod archive;
mod content;
mod data;
mod delta;
mod error;
mod mode;
mod owner;
mod plan;
mod planner;
mod write;

#[cfg(test)]
mod tests;

pub use archive::{Extract, Extraction, Extractor};
pub use delta::{Delta, plan_delta};
pub use error::CopyError;
pub use mode::Chmod;
pub use owner::{resolve_owner, unknown_names};
pub use plan::Plan;
pub use write::Written;

use std::os::fd::BorrowedFd;

use builder_cache::content::Trees;
use builder_solver::FileAction;

use crate::context::FileSource;

/// What carrying out a file op came to.
#[derive(Debug)]
pub struct Applied {
    /// What is in the layer, when nothing was unpacked.
    pub content: Option<Trees>,
    /// What was written.
    pub written: Written,
}

/// Carries out `actions` on the tree below `root`. `source` gives the source of an input; `extract` unpacks archives.
pub fn apply<'s>(
    root: BorrowedFd<'s>,
    actions: &[FileAction],
    source: impl Fn(usize) -> Option<&'s FileSource>,
    extract: Option<&Extract<'_>>,
) -> Result<Applied, CopyError> {
    let mut plan = Plan::new(root)?;
    let mut written = Written::default();
    let mut unpacked = false;
    for action in actions {
        let FileAction::Copy(copy) = action else {
            plan.add(action, &source)?;
            continue;
        };
        let from = source(copy.input).ok_or(CopyError::NoInput { input: copy.input })?;
        match extract.filter(|_| copy.unpack) {
            None => plan.copy(copy, from)?,
            Some(extract) => {
                // What was planned before has to be there before an archive is unpacked over it.
                unpacked |= archive::copy_or_unpack(root, &mut plan, copy, from, extract, &mut written)?;
            }
        }
    }
    written += plan.write(root, None)?;
    let content = if unpacked { None } else { plan.content() };
    Ok(Applied { content, written })
}
