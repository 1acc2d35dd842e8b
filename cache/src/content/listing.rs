//! One directory as it is hashed and stored.
//!
//! Encoding: `1` (version) ‖ `0`, or `1` and the directory's own entry digest ‖ for each child, sorted by name: the
//! name's length (u32 LE) ‖ name ‖ `0` and an entry digest, or `1` and the digest of a listing.

use builder_solver::ContentDigest;
use builder_solver::digest::FramedHasher;

use super::entry::EntryDigest;

const VERSION: u8 = 1;

/// A directory: itself, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The directory's own entry; `None` when nobody named it.
    pub own: Option<EntryDigest>,
    /// What is in it, sorted by name, names unique.
    pub children: Vec<Child>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The name.
    pub name: Vec<u8>,
    /// What it is.
    pub digest: ChildDigest,
}

/// What a name in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildDigest {
    /// Anything with nothing below it.
    Entry(EntryDigest),
    /// A directory with something in it.
    Listing(ContentDigest),
}

impl Listing {
    /// The bytes that are hashed and stored.
    pub fn encode(&self) -> Vec<u8> {
        let names: usize = self.children.iter().map(|child| child.name.len() + 37).sum();
        let mut bytes = Vec::with_capacity(34 + names);
        bytes.push(VERSION);
        match &self.own {
            None => bytes.push(0),
            Some(own) => {
                bytes.push(1);
                bytes.extend_from_slice(own.as_bytes());
            }
        }
        for child in &self.children {
            bytes.extend_from_slice(&(child.name.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&child.name);
            match &child.digest {
                ChildDigest::Entry(digest) => {
                    bytes.push(0);
                    bytes.extend_from_slice(digest.as_bytes());
                }
                ChildDigest::Listing(digest) => {
                    bytes.push(1);
                    bytes.extend_from_slice(digest.as_bytes());
                }
            }
        }
        bytes
    }

    /// Reads what [`Listing::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let own = match take::<1>(&mut rest)? {
            [0] => None,
            [1] => Some(EntryDigest::from_bytes(take(&mut rest)?)),
            _ => return None,
        };
        let mut children: Vec<Child> = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(take(&mut rest)?) as usize;
            let (name, after) = rest.split_at_checked(length)?;
            rest = after;
            if children.last().is_some_and(|last| last.name.as_slice() >= name) {
                return None;
            }
            let digest = match take::<1>(&mut rest)? {
                [0] => ChildDigest::Entry(EntryDigest::from_bytes(take(&mut rest)?)),
                [1] => ChildDigest::Listing(ContentDigest::from_bytes(take(&mut rest)?)),
                _ => return None,
            };
            children.push(Child { name: name.to_vec(), digest });
        }
        Some(Self { own, children })
    }

    /// The digest of an encoded listing.
    pub fn digest(encoded: &[u8]) -> ContentDigest {
        ContentDigest::from_bytes(FramedHasher::new("tree").part(encoded).finish())
    }

    /// The child with this name.
    pub fn child(&self, name: &[u8]) -> Option<&Child> {
        let position = self.children.binary_search_by(|child| child.name.as_slice().cmp(name)).ok()?;
        self.children.get(position)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn child(name: &str, number: u8) -> Child {
        let digest = if number.is_multiple_of(2) {
            ChildDigest::Entry(EntryDigest::from_bytes([number; 32]))
        } else {
            ChildDigest::Listing(ContentDigest::from_bytes([number; 32]))
        };
        Child { name: name.as_bytes().to_vec(), digest }
    }

    #[test]
    fn listings_survive_encoding() {
        for own in [None, Some(EntryDigest::from_bytes([9; 32]))] {
            for names in [vec![], vec!["a"], vec!["a", "a.b", "b"]] {
                let children = names.iter().zip(1..).map(|(name, number)| child(name, number)).collect();
                let listing = Listing { own, children };
                assert_eq!(Listing::decode(&listing.encode()), Some(listing));
            }
        }
    }

    #[test]
    fn unsorted_or_cut_listings_are_refused() {
        let unsorted = Listing { own: None, children: vec![child("b", 1), child("a", 2)] };
        assert_eq!(Listing::decode(&unsorted.encode()), None);
        let whole = Listing { own: None, children: vec![child("a", 1), child("b", 2)] }.encode();
        let cut = (0..whole.len()).filter(|&length| Listing::decode(&whole[..length]).is_some()).count();
        assert_eq!(cut, 2, "only after the head and after a whole child");
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(listing) = Listing::decode(&bytes) {
                prop_assert_eq!(listing.encode(), bytes);
            }
        }
    }
}
