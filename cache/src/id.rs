//! Names of things in the store. Each is parsed once, at the edge; a value of these types is safe as a file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is not the name of anything that the store could hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl ParseIdError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        // An id that is megabytes long helps nobody in a message.
        Self { text: text.chars().take(100).collect(), expected }
    }
}

pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
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

macro_rules! serde_as_text {
    ($name:ident) => {
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

macro_rules! sha256_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that are a SHA-256.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The SHA-256 of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                use sha2::Digest;
                Self(sha2::Sha256::digest(bytes).into())
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 hexadecimal digits, without the name of the algorithm.
            pub fn hex(&self) -> String {
                self.to_string().split_off("sha256:".len())
            }

            /// The first twelve hexadecimal digits, for people.
            pub fn short(&self) -> String {
                let mut hex = self.hex();
                hex.truncate(12);
                hex
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sha256:")?;
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
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix("sha256:")
                    .and_then(parse_hex)
                    .map(Self)
                    .ok_or_else(|| ParseIdError::new(text, "a digest (sha256: and 64 lower-case hexadecimal digits)"))
            }
        }

        serde_as_text!($name);
    };
}

sha256_type! {
    /// The digest of a blob as OCI writes it: `sha256:<64 hexadecimal digits>`. An image's id is the digest of its
    /// config blob.
    BlobDigest
}
sha256_type! {
    /// The digest of a layer's tar before compression.
    DiffId
}

impl DiffId {
    /// Bytes of a tar without entries: two blocks of zeros.
    pub const EMPTY_TAR_SIZE: usize = 1024;

    /// The diff id of a layer that holds nothing.
    pub fn of_empty_tar() -> Self {
        Self::of(&[0; Self::EMPTY_TAR_SIZE])
    }
}

impl From<DiffId> for BlobDigest {
    fn from(id: DiffId) -> Self {
        Self(id.0)
    }
}

impl From<BlobDigest> for DiffId {
    fn from(digest: BlobDigest) -> Self {
        Self(digest.0)
    }
}

/// Names a layer of this store: sixteen hexadecimal digits, random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(u64);

impl LayerId {
    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerId({self})")
    }
}

impl FromStr for LayerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text)
            .map(|bytes| Self(u64::from_be_bytes(bytes)))
            .ok_or_else(|| ParseIdError::new(text, "a layer (sixteen lower-case hexadecimal digits)"))
    }
}

serde_as_text!(LayerId);

/// What a vertex results in: a chain of layers, the lowest first. No layers is the empty root of `FROM scratch`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// The layers, bottom first.
    pub layers: Vec<LayerId>,
}

impl Snapshot {
    /// The empty root.
    pub const fn scratch() -> Self {
        Self { layers: Vec::new() }
    }

    /// This chain with one more layer on top.
    #[must_use]
    pub fn with(&self, layer: LayerId) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        layers.extend_from_slice(&self.layers);
        layers.push(layer);
        Self { layers }
    }

    /// `top` on top of this chain (`Op::Merge`).
    #[must_use]
    pub fn merge(&self, top: &Self) -> Self {
        Self { layers: [self.layers.as_slice(), &top.layers].concat() }
    }
}

impl FromIterator<LayerId> for Snapshot {
    fn from_iter<I: IntoIterator<Item = LayerId>>(layers: I) -> Self {
        Self { layers: layers.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_text_and_nothing_else_is_one() {
        let digest = BlobDigest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.hex().len(), 64);
        let layer = LayerId::from_number(0xab);
        assert_eq!(layer.to_string(), "00000000000000ab");
        assert_eq!(layer.to_string().parse(), Ok(layer));
        let upper = format!("sha256:{}", "A".repeat(64));
        for bad in ["", "sha256:", "sha256:../../etc", &digest.hex(), &upper, "sha512:00", "..", "00000000000000aB"] {
            assert!(bad.parse::<BlobDigest>().is_err(), "{bad}");
            assert!(bad.parse::<LayerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chains_grow_at_the_top() {
        let [a, b, c] = [1, 2, 3].map(LayerId::from_number);
        let ab = Snapshot::scratch().with(a).with(b);
        assert_eq!(ab.layers, [a, b]);
        assert_eq!(ab.merge(&Snapshot::scratch().with(c)).layers, [a, b, c]);
    }
}
