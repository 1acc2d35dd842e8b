//! The stat index of a local context: which bytes a file had when it was last read.
//!
//! The file, all numbers little endian:
//!
//! ```text
//! magic       8   "BLDIDX" 0 1
//! count       8   number of records
//! records    96   each, sorted by device and inode:
//!                   dev 8, ino 8, size 8, mtime s 8, ctime s 8, mtime ns 4, ctime ns 4, mode 4,
//!                   flags 2 (1 = racy), age 2, attributes 4 (offset + 1, 0 = none), 0 4, BLAKE3 of the bytes 32
//! attributes      lists of name and value, each length-framed
//! checksum   32   BLAKE3 of all before
//! ```
//!
//! A record is a promise about a *file with these numbers*, not about a path: renames keep it. A **racy** record is
//! one whose mtime or ctime is not older than the start of the scan that made it; it is kept so that nothing is
//! rewritten as long as the file stays racy (an mtime in the future), but never believed. Files that a scan did not
//! visit (another Dockerfile, other patterns) keep their records for a while: the age counts the rewrites since
//! the last visit.
//!
//! An index that is missing, cut, from another version or damaged is an empty one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use builder_cache::content::DataDigest;

use super::entry::{Stamp, Xattr};

const MAGIC: &[u8; 8] = b"BLDIDX\0\x01";
const RECORD: usize = 96;
const CHECKSUM: usize = 32;
const RACY: u16 = 1;
/// Rewrites that a record outlives without a visit.
const MAX_AGE: u16 = 8;
/// Larger files are not read: no context has so many files.
const MAX_BYTES: u64 = 4 << 30;

/// What is known of files, by device and inode.
#[derive(Debug, Default)]
pub struct Index {
    bytes: Vec<u8>,
    count: usize,
}

/// One known file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What `stat` told when it was read.
    pub stamp: Stamp,
    /// It could have changed later without a change of the stamp.
    pub racy: bool,
    /// What its bytes were.
    pub data: DataDigest,
    /// The extended attributes that count.
    pub xattrs: Option<Box<[Xattr]>>,
}

impl Known {
    /// What is known of a file that a scan read which began at `start`.
    pub fn new(stamp: Stamp, data: DataDigest, xattrs: Option<Box<[Xattr]>>, start: (i64, u32)) -> Self {
        Self { stamp, racy: stamp.mtime >= start || stamp.ctime >= start, data, xattrs }
    }
}

impl Index {
    /// Reads an index file; anything wrong with it makes an empty index.
    pub fn load(path: &Path) -> Self {
        Self::read(path).unwrap_or_default()
    }

    fn read(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        if length > MAX_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).ok()? + 1);
        file.read_to_end(&mut bytes).ok()?;
        Self::parse(bytes)
    }

    /// Reads the bytes of an index file.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        if !body.starts_with(MAGIC) || blake3::hash(body).as_bytes() != checksum {
            return None;
        }
        let count = usize::try_from(u64::from_le_bytes(*body.get(8..)?.first_chunk()?)).ok()?;
        let end = count.checked_mul(RECORD)?.checked_add(16)?;
        (end <= body.len()).then_some(Self { bytes, count })
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is known of the file with this stamp.
    pub fn get(&self, stamp: &Stamp) -> Option<Known> {
        let wanted = (stamp.dev, stamp.ino);
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.key(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        let known = (low < self.count).then(|| self.record(low))?;
        (known.stamp == *stamp).then_some(known)
    }

    fn raw(&self, position: usize) -> &[u8] {
        let start = 16 + position * RECORD;
        &self.bytes[start..start + RECORD]
    }

    fn key(&self, position: usize) -> (u64, u64) {
        let raw = self.raw(position);
        (number(raw, 0), number(raw, 8))
    }

    fn age(&self, position: usize) -> u16 {
        let raw = self.raw(position);
        u16::from_le_bytes([raw[54], raw[55]])
    }

    fn record(&self, position: usize) -> Known {
        let raw = self.raw(position);
        let mut data = [0; 32];
        data.copy_from_slice(&raw[64..96]);
        let attributes = short(raw, 56) as usize;
        Known {
            stamp: Stamp {
                dev: number(raw, 0),
                ino: number(raw, 8),
                size: number(raw, 16),
                mtime: (number(raw, 24).cast_signed(), short(raw, 40)),
                ctime: (number(raw, 32).cast_signed(), short(raw, 44)),
                mode: short(raw, 48),
            },
            racy: raw[52] & RACY as u8 != 0,
            data: DataDigest::from_bytes(data),
            xattrs: attributes.checked_sub(1).and_then(|offset| self.attributes(offset)),
        }
    }

    fn attributes(&self, offset: usize) -> Option<Box<[Xattr]>> {
        let section = &self.bytes[16 + self.count * RECORD..self.bytes.len() - CHECKSUM];
        let mut rest = section.get(offset..)?;
        let mut list = Vec::new();
        for _ in 0..take_length(&mut rest)? {
            list.push((take(&mut rest)?.to_vec(), take(&mut rest)?.to_vec()));
        }
        Some(list.into_boxed_slice())
    }

    /// The index with what a scan found in place of what was known before. With `age`, the rest grows older.
    #[must_use]
    pub fn merged(&self, mut found: Vec<Known>, age: bool) -> Self {
        let years = u16::from(age);
        found.sort_unstable_by_key(|known| (known.stamp.dev, known.stamp.ino));
        found.dedup_by_key(|known| (known.stamp.dev, known.stamp.ino));
        let mut writer = Writer::with_capacity(found.len() + self.count);
        let mut old = 0;
        for known in &found {
            let key = (known.stamp.dev, known.stamp.ino);
            while old < self.count && self.key(old) < key {
                self.keep(old, years, &mut writer);
                old += 1;
            }
            if old < self.count && self.key(old) == key {
                old += 1;
            }
            writer.push(known, 0);
        }
        for old in old..self.count {
            self.keep(old, years, &mut writer);
        }
        writer.finish()
    }

    fn keep(&self, position: usize, years: u16, writer: &mut Writer) {
        let age = self.age(position).saturating_add(years);
        if age <= MAX_AGE {
            writer.push(&self.record(position), age);
        }
    }

    /// Writes the index file: aside, then renamed.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".index-").tempfile_in(directory)?;
        file.write_all(&self.bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

struct Writer {
    bytes: Vec<u8>,
    attributes: Vec<u8>,
    count: u64,
}

impl Writer {
    fn with_capacity(records: usize) -> Self {
        let mut bytes = Vec::with_capacity(16 + records * RECORD + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, attributes: Vec::new(), count: 0 }
    }

    fn push(&mut self, known: &Known, age: u16) {
        let attributes = match &known.xattrs {
            None => 0,
            Some(list) => {
                let offset = self.attributes.len() as u32 + 1;
                self.attributes.extend_from_slice(&(list.len() as u32).to_le_bytes());
                for part in list.iter().flat_map(|(name, value)| [name, value]) {
                    self.attributes.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    self.attributes.extend_from_slice(part);
                }
                offset
            }
        };
        let stamp = &known.stamp;
        for wide in [stamp.dev, stamp.ino, stamp.size, stamp.mtime.0.cast_unsigned(), stamp.ctime.0.cast_unsigned()] {
            self.bytes.extend_from_slice(&wide.to_le_bytes());
        }
        for narrow in [stamp.mtime.1, stamp.ctime.1, stamp.mode] {
            self.bytes.extend_from_slice(&narrow.to_le_bytes());
        }
        self.bytes.extend_from_slice(&(if known.racy { RACY } else { 0 }).to_le_bytes());
        self.bytes.extend_from_slice(&age.to_le_bytes());
        self.bytes.extend_from_slice(&attributes.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(known.data.as_bytes());
        self.count += 1;
    }

    fn finish(mut self) -> Index {
        self.bytes[8..16].copy_from_slice(&self.count.to_le_bytes());
        self.bytes.append(&mut self.attributes);
        let checksum = blake3::hash(&self.bytes);
        self.bytes.extend_from_slice(checksum.as_bytes());
        Index { count: self.count as usize, bytes: self.bytes }
    }
}

fn number(raw: &[u8], at: usize) -> u64 {
    raw[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn short(raw: &[u8], at: usize) -> u32 {
    raw[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u32::from_le_bytes(*head) as usize)
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(rest)?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(ino: u64, size: u64) -> Known {
        let stamp = Stamp { dev: 1, ino, size, mtime: (10, 5), ctime: (11, 6), mode: 0o100_644 };
        Known::new(stamp, DataDigest::of(&ino.to_le_bytes()), None, (20, 0))
    }

    #[test]
    fn remembers_and_survives_the_disk() {
        let with_attributes = Known {
            xattrs: Some(vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![])].into()),
            ..known(2, 7)
        };
        let index = Index::default().merged(vec![known(9, 1), with_attributes.clone(), known(1, 1)], true);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        index.save(&path).unwrap();
        let index = Index::load(&path);
        assert_eq!(index.len(), 3);
        assert_eq!(index.get(&with_attributes.stamp), Some(with_attributes));
        assert_eq!(index.get(&known(9, 1).stamp), Some(known(9, 1)));
        assert_eq!(index.get(&known(9, 2).stamp), None);
        assert_eq!(index.get(&known(3, 1).stamp), None);
        let mut touched = known(9, 1).stamp;
        touched.ctime.1 += 1;
        assert_eq!(index.get(&touched), None);
    }

    #[test]
    fn what_is_not_older_than_the_scan_is_racy() {
        let stamp = known(1, 1).stamp;
        for (start, racy) in [((11, 7), false), ((11, 6), true), ((11, 5), true), ((10, 0), true), ((12, 0), false)] {
            assert_eq!(Known::new(stamp, DataDigest::of(b""), None, start).racy, racy, "{start:?}");
        }
    }

    #[test]
    fn unvisited_records_age_and_go() {
        let mut index = Index::default().merged(vec![known(1, 1), known(2, 1)], true);
        for _ in 0..MAX_AGE {
            index = index.merged(vec![known(2, 1)], true);
        }
        assert!(index.get(&known(1, 1).stamp).is_some());
        index = index.merged(vec![known(2, 1)], true);
        assert_eq!((index.len(), index.get(&known(1, 1).stamp)), (1, None));
    }

    #[test]
    fn damage_makes_it_empty() {
        let whole = Index::default().merged((0..20).map(|ino| known(ino, 1)).collect(), true).bytes;
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 4;
            assert!(Index::parse(damaged).is_none(), "{position}");
            assert!(Index::parse(whole[..position].to_vec()).is_none(), "{position}");
        }
        assert!(Index::load(Path::new("/nonexistent/index")).is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(mut body in prop::collection::vec(any::<u8>(), 0..300), count in 0_u64..4) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(count.to_le_bytes());
            bytes.append(&mut body);
            let checksum = blake3::hash(&bytes);
            bytes.extend(checksum.as_bytes());
            if let Some(index) = Index::parse(bytes) {
                for position in 0..index.count {
                    let record = index.record(position);
                    index.get(&record.stamp);
                }
                let _ = index.merged(vec![known(1, 1)], false);
            }
        }
    }
}
