//! The components of a key as bytes: for each its part (a tag, then a name or a number if the part has one), its
//! value, and its digest. Lengths and numbers are 32 bits little endian.
//!
//! Records are read on every build and by the thousand for a graph of the cache; this is ten times faster to read
//! than JSON, and half the size.

use builder_solver::{Component, ContentDigest, Part};

/// The reverse of [`decode`].
pub(crate) fn encode(components: &[Component]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(components.iter().map(|component| component.value.len() + 64).sum());
    for component in components {
        let (tag, name, number) = match &component.part {
            Part::Kind => (1, None, None),
            Part::Command => (2, None, None),
            Part::Env(name) => (3, Some(name), None),
            Part::EnvOrder => (4, None, None),
            Part::WorkingDirectory => (5, None, None),
            Part::User => (6, None, None),
            Part::Network => (7, None, None),
            Part::Script => (8, None, None),
            Part::Action(position) => (9, None, Some(*position)),
            Part::Image => (10, None, None),
            Part::Input(position) => (11, None, Some(*position)),
            Part::Files(position) => (12, None, Some(*position)),
            Part::Security => (13, None, None),
            Part::Hosts => (14, None, None),
            Part::Platform => (15, None, None),
            Part::Mount(position) => (16, None, Some(*position)),
            Part::Remote => (17, None, None),
            Part::Fetched => (18, None, None),
        };
        bytes.push(tag);
        if let Some(name) = name {
            put(&mut bytes, name.as_bytes());
        }
        if let Some(number) = number {
            bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        put(&mut bytes, component.value.as_bytes());
        bytes.extend_from_slice(component.digest.as_bytes());
    }
    bytes
}

/// The components in `bytes`; `None` when no builder wrote that.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Component>> {
    let mut components = Vec::new();
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        let part = match tag {
            1 => Part::Kind,
            2 => Part::Command,
            3 => Part::Env(text(&mut bytes)?),
            4 => Part::EnvOrder,
            5 => Part::WorkingDirectory,
            6 => Part::User,
            7 => Part::Network,
            8 => Part::Script,
            9 => Part::Action(number(&mut bytes)?),
            10 => Part::Image,
            11 => Part::Input(number(&mut bytes)?),
            12 => Part::Files(number(&mut bytes)?),
            13 => Part::Security,
            14 => Part::Hosts,
            15 => Part::Platform,
            16 => Part::Mount(number(&mut bytes)?),
            17 => Part::Remote,
            18 => Part::Fetched,
            _ => return None,
        };
        let value = text(&mut bytes)?;
        let digest = ContentDigest::from_bytes(take(&mut bytes)?);
        components.push(Component { part, value, digest });
    }
    Some(components)
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text);
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let (text, rest) = {
        let length = number(bytes)?;
        bytes.split_at_checked(length)?
    };
    *bytes = rest;
    Some(std::str::from_utf8(text).ok()?.to_owned())
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    take(bytes).map(|number| u32::from_le_bytes(number) as usize)
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

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            Just(Part::Kind),
            Just(Part::Command),
            any::<String>().prop_map(Part::Env),
            Just(Part::EnvOrder),
            Just(Part::WorkingDirectory),
            Just(Part::User),
            Just(Part::Network),
            Just(Part::Script),
            (0..1000_usize).prop_map(Part::Action),
            Just(Part::Image),
            (0..1000_usize).prop_map(Part::Input),
            (0..1000_usize).prop_map(Part::Files),
            Just(Part::Security),
            Just(Part::Hosts),
            Just(Part::Platform),
            (0..1000_usize).prop_map(Part::Mount),
            Just(Part::Remote),
            Just(Part::Fetched),
        ]
    }

    proptest! {
        #[test]
        fn components_survive_encoding(parts in proptest::collection::vec((part(), any::<String>(), any::<[u8; 32]>()), 0..8)) {
            let components: Vec<_> = parts
                .into_iter()
                .map(|(part, value, digest)| Component { part, value, digest: ContentDigest::from_bytes(digest) })
                .collect();
            prop_assert_eq!(decode(&encode(&components)), Some(components));
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            decode(&bytes);
        }
    }
}
