//! What is asked for, and what comes back.

use std::fmt;

use builder_cache::BlobDigest;

use crate::reference::{Reference, Tag};

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Which {
    /// The one that a tag names now.
    Tag(Tag),
    /// The one with these bytes.
    Digest(BlobDigest),
}

impl Which {
    /// What a reference means: its digest if it has one, else its tag.
    pub fn of(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(*digest),
            (None, Some(tag)) => Self::Tag(tag.clone()),
            (None, None) => Self::Tag(Tag::latest()),
        }
    }
}

impl fmt::Display for Which {
    /// As it follows the name of a repository in a reference: `:tag`, `@sha256:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

/// A manifest or index as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The digest of the bytes.
    pub digest: BlobDigest,
    /// What it is.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is known of a manifest without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its digest.
    pub digest: BlobDigest,
    /// What it is.
    pub media_type: String,
    /// Its size.
    pub size: u64,
}

/// A repository that a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hit {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// The registry vouches for it.
    pub official: bool,
    /// It is built by the registry.
    pub automated: bool,
}
