//! Digests of the solver: BLAKE3 over length-framed parts, each kind its own type.
//!
//! Framing: every part is hashed as `len: u64 LE ‖ bytes`, so that no two different lists of parts give the
//! same byte string. Image digests (SHA-256, OCI) are another thing and live in the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A digest could not be read: it is not 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("`{0}` is not a digest (64 lower-case hexadecimal digits)")]
pub struct ParseDigestError(pub String);

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that are already a digest of this kind.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first twelve hexadecimal digits, for people.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(12);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self).ok_or_else(|| ParseDigestError(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// Names a vertex's result: a recipe key or a content key (see [`crate::cache_key`]).
    CacheKey
}
digest_type! {
    /// What a tree of files *is*: paths, types, modes, owners, sizes, link targets, extended attributes and
    /// bytes, never times.
    ContentDigest
}
digest_type! {
    /// An op's own definition, without its inputs.
    OpDigest
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Hashes length-framed parts under a domain name.
#[derive(Debug, Clone)]
pub struct FramedHasher(blake3::Hasher);

impl FramedHasher {
    /// Starts a hash; `domain` keeps kinds of digest apart ("recipe", "tree", …).
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.part(domain.as_bytes());
        hasher
    }

    /// Adds one part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.part(&number.to_le_bytes())
    }

    /// The 32 bytes of the digest.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_keeps_neighbouring_parts_apart() {
        let ab_c = FramedHasher::new("t").part(b"ab").part(b"c").finish();
        let a_bc = FramedHasher::new("t").part(b"a").part(b"bc").finish();
        let abc = FramedHasher::new("t").part(b"abc").finish();
        assert_ne!(ab_c, a_bc);
        assert_ne!(ab_c, abc);
    }

    #[test]
    fn digests_survive_text() {
        let key = CacheKey::from_bytes(FramedHasher::new("t").finish());
        assert_eq!(key.to_string().parse::<CacheKey>(), Ok(key));
        for bad in ["", "ab", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65)] {
            assert!(bad.parse::<CacheKey>().is_err(), "{bad}");
        }
    }
}
