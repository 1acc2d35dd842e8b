//! The header of a package: an index of tags, and the data that they point into.
//!
//! ```text
//! count (4) │ size of the data (4) │ count × (tag, type, offset, number; 4 each) │ data        all big endian
//! ```

/// How many tags a header has at most (rpm's own limit).
const TAGS: usize = 0xffff;

/// What is wanted of a header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) epoch: Option<u32>,
    pub(super) architecture: String,
    pub(super) license: String,
    pub(super) vendor: String,
    pub(super) url: String,
    pub(super) source: String,
}

/// Types of data.
const INT32: u32 = 4;
const STRING: u32 = 6;
const I18N_STRING: u32 = 9;

/// Reads a header; nothing when it is none.
pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
    let count = number(bytes, 0)? as usize;
    let size = number(bytes, 4)? as usize;
    if count == 0 || count > TAGS {
        return None;
    }
    let start = 8 + count * 16;
    let data = bytes.get(start..start.checked_add(size)?)?;
    let mut header = Header::default();
    for entry in bytes.get(8..start)?.as_chunks::<16>().0 {
        let [tag, kind, offset, _] = [0, 4, 8, 12].map(|at| number(entry, at).unwrap_or_default());
        let offset = offset as usize;
        let field = match tag {
            1000 => &mut header.name,
            1001 => &mut header.version,
            1002 => &mut header.release,
            1003 => {
                header.epoch = if kind == INT32 { number(data, offset) } else { None };
                continue;
            }
            1011 => &mut header.vendor,
            1014 => &mut header.license,
            1020 => &mut header.url,
            1022 => &mut header.architecture,
            1044 => &mut header.source,
            _ => continue,
        };
        if matches!(kind, STRING | I18N_STRING) {
            let rest = data.get(offset..)?;
            let end = rest.iter().position(|&byte| byte == 0)?;
            *field = String::from_utf8_lossy(&rest[..end]).into_owned();
        }
    }
    (!header.name.is_empty()).then_some(header)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header with these strings, and an epoch.
    pub(in crate::sbom) fn header(strings: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut entry = |tag: u32, kind: u32, offset: usize| {
            for number in [tag, kind, offset as u32, 1] {
                index.extend(number.to_be_bytes());
            }
        };
        if let Some(epoch) = epoch {
            entry(1003, INT32, data.len());
            data.extend(epoch.to_be_bytes());
        }
        for (tag, text) in strings {
            entry(*tag, STRING, data.len());
            data.extend(text.as_bytes());
            data.push(0);
        }
        let count = (index.len() / 16) as u32;
        [&count.to_be_bytes()[..], &(data.len() as u32).to_be_bytes(), &index, &data].concat()
    }

    #[test]
    fn headers_are_read() {
        let bytes =
            header(&[(1000, "bash"), (1001, "5.2"), (1002, "1.fc40"), (1014, "GPLv3+"), (1022, "x86_64")], Some(2));
        let parsed = parse(&bytes).unwrap();
        assert_eq!((parsed.name.as_str(), parsed.version.as_str(), parsed.release.as_str()), ("bash", "5.2", "1.fc40"));
        assert_eq!((parsed.epoch, parsed.architecture.as_str()), (Some(2), "x86_64"));
    }

    #[test]
    fn what_is_cut_off_or_lies_is_no_header() {
        let bytes = header(&[(1000, "bash"), (1001, "5.2")], None);
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), None, "{end}");
        }
        let mut lies = bytes.clone();
        lies[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&lies), None, "an offset");
        let mut lies = bytes.clone();
        lies[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&lies), None, "a count");
        let mut lies = bytes;
        lies[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&lies), None, "a size");
    }
}
