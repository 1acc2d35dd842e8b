//! Whether what is stored is what its digests say: images of the store, layouts, archives.
//!
//! | of | is compared |
//! |---|---|
//! | blob | its bytes with its name, its size with what refers to it |
//! | layer | what its blob unpacks to with the diff id that the config has |
//! | files | those of a layer in the store with the digest of their content, and the tar that they make with the diff id |
//! | statement | its subject with the manifest that it stands beside, its type with what is said of it |
//!
//! Nothing is changed, nothing is unpacked to the disk, and what is read may be hostile.

mod fact;
mod files;
mod image;
mod statement;

use std::collections::HashSet;
use std::fmt;

pub use files::{archive, layout};
pub use image::image;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An index.
    Index,
    /// A manifest.
    Manifest,
    /// A config.
    Config,
    /// A layer.
    Layer,
    /// The files of a layer in the store.
    Files,
    /// An in-toto statement, or what it says.
    Statement,
    /// Any other blob.
    Blob,
    /// A file of an archive.
    File,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Files => "files",
            Self::Statement => "statement",
            Self::Blob => "blob",
            Self::File => "file",
        })
    }
}

/// How a comparison ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is what it should be.
    Passed,
    /// It could not be compared, which is no fault: files that were never fetched, for one.
    Skipped(String),
    /// It is not.
    Failed(String),
}

/// One thing and whether it is what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// What it is.
    pub subject: Subject,
    /// Which: a digest, or a path.
    pub object: String,
    /// What was compared: `digest, size`.
    pub compared: String,
    /// How that ended.
    pub outcome: Outcome,
}

/// All that was compared, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// One for each thing.
    pub checks: Vec<Check>,
    known: HashSet<Check>,
}

impl Report {
    /// How many failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_))).count()
    }

    /// Adds what `compare` finds; its error says what is wrong.
    fn check(
        &mut self,
        subject: Subject,
        object: impl fmt::Display,
        compared: &str,
        compare: impl FnOnce() -> Result<(), String>,
    ) -> bool {
        let outcome = match compare() {
            Ok(()) => Outcome::Passed,
            Err(reason) => Outcome::Failed(reason),
        };
        let passed = outcome == Outcome::Passed;
        self.add(subject, object, compared, outcome);
        passed
    }

    fn add(&mut self, subject: Subject, object: impl fmt::Display, compared: &str, outcome: Outcome) {
        let check = Check { subject, object: object.to_string(), compared: compared.to_owned(), outcome };
        // A layer that two images share is looked at once.
        if self.known.insert(check.clone()) {
            self.checks.push(check);
        }
    }
}

/// Says that two digests differ.
fn differs(found: impl fmt::Display, wanted: impl fmt::Display) -> String {
    format!("it is {found} and should be {wanted}")
}
