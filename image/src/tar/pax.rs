//! Extended (PAX) headers: lists of `length key=value\n`.
//!
//! Values are bytes: attributes hold newlines and zero bytes, so records are cut by their length alone.

use super::entry::Xattr;
use super::error::Reason;
use super::number;
use super::sparse::Segment;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What an extended header says. An empty value takes a record back, as POSIX wants it.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: PaxSparse,
}

/// The sparse map's forms 0.0, 0.1 and 1.0 (whose map stands before the data).
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) map: Option<Vec<Segment>>,
    offset: Option<u64>,
}

/// Key and value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// Cuts a header into its records.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, Reason> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space =
            bytes.iter().take(20).position(|&byte| byte == b' ').ok_or(Reason::Pax("a record has no length"))?;
        let length = number::decimal(&bytes[..space])
            .and_then(|length| usize::try_from(length).ok())
            .filter(|&length| length > space + 1 && length <= bytes.len())
            .ok_or(Reason::Pax("a record has a wrong length"))?;
        let (record, rest) = bytes.split_at(length);
        bytes = rest;
        let record = record[space + 1..].strip_suffix(b"\n").ok_or(Reason::Pax("a record does not end its line"))?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or(Reason::Pax("a record has no value"))?;
        if equals == 0 {
            return Err(Reason::Pax("a record has no key"));
        }
        records.push((&record[..equals], &record[equals + 1..]));
    }
    Ok(records)
}

/// Refuses a global header whose records change what or where the following entries are. Others (comments, times)
/// are ignored, as Go's reader and so every registry client does.
pub(super) fn check_global(bytes: &[u8]) -> Result<(), Reason> {
    for (key, _) in records(bytes)? {
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
            return Err(Reason::GlobalOverride(crate::text::show(key)));
        }
    }
    Ok(())
}

impl Pax {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let mut pax = Self::default();
        for (key, value) in records(bytes)? {
            pax.record(key, value)?;
        }
        if pax.sparse.offset.is_some() {
            return Err(Reason::Sparse("an offset without a length"));
        }
        pax.xattrs.sort();
        Ok(pax)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        if let Some(name) = key.strip_prefix(XATTR) {
            let name = decode_name(name);
            if name.is_empty() || name.contains(&0) {
                return Err(Reason::Pax("an extended attribute has no name"));
            }
            self.xattrs.retain(|(known, _)| *known != name);
            self.xattrs.push((name, value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = optional(value, number::decimal, "size")?,
            b"uid" => self.uid = optional(value, id, "owner")?,
            b"gid" => self.gid = optional(value, id, "group")?,
            b"mtime" => self.mtime = optional(value, number::time, "time")?,
            b"GNU.sparse.major" => self.sparse.major = optional(value, number::decimal, "sparse version")?,
            b"GNU.sparse.minor" => self.sparse.minor = optional(value, number::decimal, "sparse version")?,
            b"GNU.sparse.name" => self.sparse.name = text(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.size = optional(value, number::decimal, "size")?;
            }
            b"GNU.sparse.map" => self.sparse.map = Some(comma_map(value)?),
            b"GNU.sparse.offset" => {
                let offset = number::decimal(value).ok_or(Reason::Sparse("an offset is not a number"))?;
                if self.sparse.offset.replace(offset).is_some() {
                    return Err(Reason::Sparse("an offset without a length"));
                }
            }
            b"GNU.sparse.numbytes" => {
                let length = number::decimal(value).ok_or(Reason::Sparse("a length is not a number"))?;
                let offset = self.sparse.offset.take().ok_or(Reason::Sparse("a length without an offset"))?;
                self.sparse.map.get_or_insert_default().push(Segment { offset, length });
            }
            _ => {}
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    if value.contains(&0) {
        return Err(Reason::ZeroByte);
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>, what: &'static str) -> Result<Option<T>, Reason> {
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).ok_or(Reason::Number(what))
}

fn id(text: &[u8]) -> Option<u32> {
    number::decimal(text).and_then(|id| u32::try_from(id).ok())
}

fn comma_map(value: &[u8]) -> Result<Vec<Segment>, Reason> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Option<Vec<u64>> = value.split(|&byte| byte == b',').map(number::decimal).collect();
    let numbers = numbers.ok_or(Reason::Sparse("it is not a list of numbers"))?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Reason::Sparse("an offset without a length"));
    }
    Ok(pairs.iter().map(|&[offset, length]| Segment { offset, length }).collect())
}

/// Writes one record.
pub(super) fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let bare = key.len() + value.len() + 3;
    let mut length = bare + digits(bare);
    if digits(length) != digits(bare) {
        length = bare + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Writes one extended attribute. A key can't hold `=`, so names are escaped as GNU tar does it.
pub(super) fn push_xattr(out: &mut Vec<u8>, (name, value): &Xattr) {
    let mut key = XATTR.to_vec();
    for &byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            _ => key.push(byte),
        }
    }
    push_record(out, &key, value);
}

fn decode_name(escaped: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match rest {
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            _ => (first, after),
        };
        name.push(byte);
        rest = after;
    }
    name
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_length_survive() {
        for length in [0, 1, 2, 3, 4, 5, 6, 80, 88, 89, 90, 91, 92, 93, 985, 986, 987, 988, 989, 990, 991, 9990] {
            let value = vec![b'\n'; length];
            let mut bytes = Vec::new();
            push_record(&mut bytes, b"key", &value);
            push_record(&mut bytes, b"k", b"v=\0");
            let expected: Vec<(&[u8], &[u8])> = vec![(b"key", &value), (b"k", b"v=\0")];
            assert_eq!(records(&bytes).unwrap(), expected, "{length}");
        }
    }

    #[test]
    fn attributes_may_have_any_name() {
        for name in [b"user.a=b".as_slice(), b"user.50%", b"user.%3D", b"user.%2", b"user.%253D"] {
            let mut bytes = Vec::new();
            push_xattr(&mut bytes, &(name.to_vec(), b"v".to_vec()));
            assert_eq!(Pax::parse(&bytes).unwrap().xattrs, [(name.to_vec(), b"v".to_vec())]);
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let table: &[&[u8]] = &[
            b"x",
            b"12 path=a\n",
            b"3 \n",
            b"2 ",
            b"7 a=bc\n\n",
            b"6 a=bc",
            b"6 abc\n",
            b"6 =bc\n",
            b"-6 a=b\n",
            b"+6 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"10 size=-\n\n",
            b"10 size=-1\n",
            b"18446744073709551616 size=1\n",
            b"17 GNU.sparse.offset=1\n",
            b"22 GNU.sparse.offset=1\n",
            b"10 path=\0a\n",
        ];
        for bytes in table {
            assert!(Pax::parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
