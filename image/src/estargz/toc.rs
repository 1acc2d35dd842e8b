//! The table of contents: an entry for each file, and one more for each chunk of its data after the first.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use builder_cache::BlobDigest;
use serde::{Serialize, Serializer};

use crate::tar::{Entry, Kind};

/// The file `stargz.index.json`.
#[derive(Debug, Serialize)]
pub(super) struct Toc {
    pub(super) version: u32,
    pub(super) entries: Vec<TocEntry>,
}

/// A file, or a chunk of one.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TocEntry {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    modtime: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_minor: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, Base64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<BlobDigest>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) chunk_offset: u64,
    /// Zero in the last chunk.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chunk_digest: Option<BlobDigest>,
    /// Which of the members holds its data, until it is known where that begins.
    #[serde(skip)]
    pub(super) member: Option<usize>,
}

impl TocEntry {
    /// What a tar's entry says.
    pub(super) fn new(entry: &Entry) -> Self {
        let mut name = String::from_utf8_lossy(&entry.path).into_owned();
        if entry.kind == Kind::Directory && !name.ends_with('/') {
            name.push('/');
        }
        let kind = match entry.kind {
            Kind::File => "reg",
            Kind::Directory => "dir",
            Kind::Symlink(_) => "symlink",
            Kind::HardLink(_) => "hardlink",
            Kind::CharDevice(..) => "char",
            Kind::BlockDevice(..) => "block",
            Kind::Fifo => "fifo",
        };
        let link_name = match &entry.kind {
            Kind::Symlink(target) | Kind::HardLink(target) => String::from_utf8_lossy(target).into_owned(),
            _ => String::new(),
        };
        let (dev_major, dev_minor) = match entry.kind {
            Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => (Some(major), Some(minor)),
            _ => (None, None),
        };
        let time = jiff::Timestamp::from_second(entry.mtime).ok().filter(|_| entry.mtime != 0);
        let xattrs = entry.xattrs.iter().map(|(name, value)| {
            let name = String::from_utf8_lossy(name).into_owned();
            (name, Base64(value.clone()))
        });
        Self {
            name,
            kind,
            size: if entry.kind == Kind::File { entry.size } else { 0 },
            modtime: time.map(|time| time.to_string()).unwrap_or_default(),
            link_name,
            mode: entry.mode.into(),
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            dev_major,
            dev_minor,
            xattrs: xattrs.collect(),
            ..Self::default()
        }
    }

    /// A chunk of the file `name` that is not its first.
    pub(super) fn chunk(name: &str, offset: u64) -> Self {
        Self { name: name.to_owned(), kind: "chunk", chunk_offset: offset, ..Self::default() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Bytes, as JSON has them.
#[derive(Debug)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(serde_json::to_value(Base64(bytes.into())).unwrap(), text);
        }
        assert_eq!(serde_json::to_value(Base64(vec![0xff, 0xfe, 0xfd])).unwrap(), "//79");
    }
}
