//! Bytes → entries.
//!
//! Agrees with Go's `archive/tar` (what registries and runtimes use) on what a stream means, and refuses where readers
//! are known to disagree: a global header that moves entries, a long name and an extended header with two paths.
//! The size in an extended header always wins, before anything is skipped or read.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use super::error::{Reason, TarError};
use super::number;
use super::pax::{self, Pax};
use super::sparse::{self, LineMap, MAP_LIMIT, Segment};
use super::{RECORD, padding};

/// How much a reader takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one extended header or long name.
    pub metadata: u64,
    /// Bytes of the uncompressed stream, and of all files with their holes. A decompression bomb ends here.
    pub bytes: Option<u64>,
    /// Entries.
    pub entries: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { metadata: 1 << 20, bytes: None, entries: None }
    }
}

/// What a blob may unpack to that is small itself, …
const SMALL: u64 = 1 << 30;
/// … and how many times its size otherwise: a little more than gzip can do.
const RATIO: u64 = 1100;

impl Limits {
    /// For a blob of this size that somebody else made.
    pub fn of_blob(size: u64) -> Self {
        Self { bytes: Some(size.saturating_mul(RATIO).max(SMALL)), ..Self::default() }
    }
}

/// Reads a tar from front to back.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    limits: Limits,
    /// Bytes read so far.
    offset: u64,
    /// Stored bytes of the current entry that were not read yet.
    remaining: u64,
    padding: usize,
    entries: u64,
    /// Bytes of all files so far, holes included.
    unpacked: u64,
    ended: bool,
    current: (Vec<u8>, u64),
}

/// What came before an entry and belongs to it.
#[derive(Debug, Default)]
struct Ahead {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read `input`, which is not compressed.
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input,
            limits,
            offset: 0,
            remaining: 0,
            padding: 0,
            entries: 0,
            unpacked: 0,
            ended: false,
            current: (Vec::new(), 0),
        }
    }

    /// An error that concerns the current entry.
    pub fn error(&self, reason: impl Into<Reason>) -> TarError {
        TarError::new(&self.current.0, self.current.1, reason)
    }

    /// The next entry, after skipping what was not read of the current one. `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_data()?;
        let mut ahead = Ahead::default();
        loop {
            if ahead.is_empty() {
                self.current = (Vec::new(), self.offset);
            }
            let Some(header) = self.header()? else {
                return if ahead.is_empty() { Ok(None) } else { Err(self.error(Reason::Dangling)) };
            };
            let size = self.field(&header.as_old().size, "size")?;
            let size = u64::try_from(size).map_err(|_| self.error(Reason::NegativeSize))?;
            match header.entry_type().as_byte() {
                b'x' => {
                    let bytes = self.metadata(size, "extended header")?;
                    let pax = Pax::parse(&bytes).map_err(|reason| self.error(reason))?;
                    if ahead.pax.replace(pax).is_some() {
                        return Err(self.error(Reason::Dangling));
                    }
                }
                b'g' => {
                    let bytes = self.metadata(size, "global header")?;
                    pax::check_global(&bytes).map_err(|reason| self.error(reason))?;
                }
                b'L' => ahead.name = Some(self.long_name(size)?),
                b'K' => ahead.link = Some(self.long_name(size)?),
                b'V' => {
                    self.expect_data(size);
                    self.skip_data()?;
                }
                _ => return self.entry(&header, size, ahead).map(Some),
            }
        }
    }

    /// Reads stored bytes of the current entry; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let end = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if end == 0 {
            return Ok(0);
        }
        let count = self.read_some(&mut buffer[..end])?;
        if count == 0 {
            return Err(self.error(Reason::Truncated));
        }
        self.remaining -= count as u64;
        Ok(count)
    }

    /// Reads to the end of the stream: what follows the end mark is no entry, but it is part of a digest.
    pub fn drain(&mut self) -> Result<(), TarError> {
        self.skip_data()?;
        let mut buffer = vec![0; 64 << 10];
        while self.read_some(&mut buffer)? > 0 {}
        Ok(())
    }

    fn entry(&mut self, header: &Header, stored: u64, mut ahead: Ahead) -> Result<Entry, TarError> {
        let pax = ahead.pax.take().unwrap_or_default();
        if let (Some(name), Some(path)) = (&ahead.name, &pax.path)
            && name != path
        {
            return Err(self.error(Reason::Conflict));
        }
        let mut path = pax.path.or(ahead.name).unwrap_or_else(|| header_path(header));
        if let Some(name) = &pax.sparse.name {
            path.clone_from(name);
        }
        self.current.0.clone_from(&path);
        self.entries += 1;
        if let Some(limit) = self.limits.entries.filter(|&limit| self.entries > limit) {
            return Err(self.error(Reason::TooMany(limit)));
        }
        let link = pax.link.or(ahead.link).unwrap_or_else(|| until_zero(&header.as_old().linkname).to_vec());
        let stored = pax.size.unwrap_or(stored);
        let code = header.entry_type();
        let kind = self.kind(header, code, &path, link)?;
        // As Go does it: links, devices and directories have no data, whatever their size says.
        let has_data = matches!(code.as_byte(), 0 | b'0' | b'7' | b'S');
        self.expect_data(if has_data { stored } else { 0 });
        let (segments, size) = if has_data { self.sparse_map(header, code, pax.sparse, stored)? } else { (None, 0) };
        self.count_bytes(size)?;
        let (mtime, mtime_nanos) = match pax.mtime {
            Some(time) => time,
            None => (self.field(&header.as_old().mtime, "time")?, 0),
        };
        Ok(Entry {
            path,
            kind,
            mode: (self.field(&header.as_old().mode, "mode")? & 0o7777) as u32,
            uid: self.id(pax.uid, &header.as_old().uid, "owner")?,
            gid: self.id(pax.gid, &header.as_old().gid, "group")?,
            mtime,
            mtime_nanos,
            xattrs: pax.xattrs,
            size,
            segments,
            offset: self.current.1,
        })
    }

    fn kind(&self, header: &Header, code: EntryType, path: &[u8], link: Vec<u8>) -> Result<Kind, TarError> {
        Ok(match code.as_byte() {
            // Archives older than ustar mark a directory by its slash.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' => {
                let (major, minor) = self.device(header)?;
                Kind::CharDevice(major, minor)
            }
            b'4' => {
                let (major, minor) = self.device(header)?;
                Kind::BlockDevice(major, minor)
            }
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(self.error(Reason::UnknownType(other))),
        })
    }

    fn device(&self, header: &Header) -> Result<(u32, u32), TarError> {
        let part = |range: std::ops::Range<usize>| {
            let number = self.field(&header.as_bytes()[range], "device number")?;
            u32::try_from(number).map_err(|_| self.error(Reason::Number("device number")))
        };
        Ok((part(329..337)?, part(337..345)?))
    }

    fn sparse_map(
        &mut self,
        header: &Header,
        code: EntryType,
        pax: pax::PaxSparse,
        stored: u64,
    ) -> Result<(Option<Vec<Segment>>, u64), TarError> {
        let (segments, size) = if code.as_byte() == b'S' {
            self.gnu_map(header)?
        } else if let Some(major) = pax.major {
            if (major, pax.minor) != (1, Some(0)) {
                return Err(self.error(Reason::Sparse("its version is not known")));
            }
            (self.line_map()?, pax.size.ok_or_else(|| self.error(Reason::Sparse("it has no size")))?)
        } else if let Some(map) = pax.map {
            (map, pax.size.ok_or_else(|| self.error(Reason::Sparse("it has no size")))?)
        } else {
            return Ok((None, stored));
        };
        sparse::check(&segments, size, self.remaining).map_err(|reason| self.error(reason))?;
        Ok((Some(segments), size))
    }

    /// The old GNU form: four parts in the header, more in blocks behind it.
    fn gnu_map(&mut self, header: &Header) -> Result<(Vec<Segment>, u64), TarError> {
        let bytes = header.as_bytes();
        if header.as_gnu().is_none_or(|gnu| gnu.magic != *b"ustar ") {
            return Err(self.error(Reason::Sparse("the header is not GNU's")));
        }
        let size = self.field(&bytes[483..495], "size")?;
        let size = u64::try_from(size).map_err(|_| self.error(Reason::NegativeSize))?;
        let mut segments = Vec::new();
        sparse::gnu_pairs(bytes, 386, 4, &mut segments).map_err(|reason| self.error(reason))?;
        let mut more = bytes[482] != 0;
        while more {
            let mut block = [0; RECORD];
            self.read_full(&mut block)?;
            if segments.len() * 24 > MAP_LIMIT {
                return Err(self.error(Reason::Sparse("it is too long")));
            }
            sparse::gnu_pairs(&block, 0, 21, &mut segments).map_err(|reason| self.error(reason))?;
            more = block[504] != 0;
        }
        Ok((segments, size))
    }

    /// The PAX form 1.0: the map stands before the data and counts as such.
    fn line_map(&mut self) -> Result<Vec<Segment>, TarError> {
        let mut map = LineMap::default();
        let mut read = 0;
        loop {
            let mut block = [0; RECORD];
            if self.remaining < RECORD as u64 {
                return Err(self.error(Reason::Sparse("it does not end")));
            }
            self.read_full(&mut block)?;
            self.remaining -= RECORD as u64;
            read += RECORD;
            if read > MAP_LIMIT {
                return Err(self.error(Reason::Sparse("it is too long")));
            }
            if let Some(segments) = map.block(&block).map_err(|reason| self.error(reason))? {
                return Ok(segments);
            }
        }
    }

    /// The next header block; `None` at the end mark or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let mut header = Header::new_old();
        if !self.read_block(header.as_mut_bytes())? {
            self.ended = true;
            return Ok(None);
        }
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            self.ended = true;
            let mut second = [0; RECORD];
            if self.read_block(&mut second)? && second.iter().any(|&byte| byte != 0) {
                return Err(self.error(Reason::LoneZeroBlock));
            }
            return Ok(None);
        }
        if !checksum_is_right(header.as_bytes()) {
            return Err(self.error(Reason::Checksum));
        }
        Ok(Some(header))
    }

    fn metadata(&mut self, size: u64, what: &'static str) -> Result<Vec<u8>, TarError> {
        let limit = self.limits.metadata;
        if size > limit {
            return Err(self.error(Reason::MetadataTooLarge { what, size, limit }));
        }
        self.expect_data(size);
        let mut bytes = vec![0; size as usize];
        self.read_full(&mut bytes)?;
        self.remaining = 0;
        self.skip_data()?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let bytes = self.metadata(size, "long name")?;
        Ok(until_zero(&bytes).to_vec())
    }

    fn field(&self, field: &[u8], what: &'static str) -> Result<i64, TarError> {
        number::parse(field).ok_or_else(|| self.error(Reason::Number(what)))
    }

    fn id(&self, pax: Option<u32>, field: &[u8], what: &'static str) -> Result<u32, TarError> {
        if let Some(id) = pax {
            return Ok(id);
        }
        u32::try_from(self.field(field, what)?).map_err(|_| self.error(Reason::Number(what)))
    }

    fn expect_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = padding(size);
    }

    fn count_bytes(&mut self, size: u64) -> Result<(), TarError> {
        self.unpacked = self.unpacked.saturating_add(size);
        match self.limits.bytes {
            Some(limit) if self.unpacked > limit => Err(self.error(Reason::TooLarge(limit))),
            _ => Ok(()),
        }
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 16 << 10];
        while self.remaining > 0 {
            self.read_data(&mut buffer)?;
        }
        let padding = std::mem::take(&mut self.padding);
        // Go, too, forgives a missing padding at the very end.
        let mut done = 0;
        while done < padding {
            match self.read_some(&mut buffer[..padding - done])? {
                0 => break,
                count => done += count,
            }
        }
        Ok(())
    }

    /// Reads a block. `false` when the stream ends before it.
    fn read_block(&mut self, block: &mut [u8]) -> Result<bool, TarError> {
        let count = self.read_some(block)?;
        if count == 0 {
            return Ok(false);
        }
        self.read_full(&mut block[count..])?;
        Ok(true)
    }

    fn read_full(&mut self, mut buffer: &mut [u8]) -> Result<(), TarError> {
        while !buffer.is_empty() {
            match self.read_some(buffer)? {
                0 => return Err(self.error(Reason::Truncated)),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            match self.input.read(buffer) {
                Ok(count) => {
                    self.offset += count as u64;
                    return match self.limits.bytes {
                        // Headers and padding are not counted against the files, but they are not free either.
                        Some(limit) if self.offset > limit.saturating_mul(2).saturating_add(1 << 20) => {
                            Err(self.error(Reason::TooLarge(limit)))
                        }
                        _ => Ok(count),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.error(Reason::Truncated));
                }
                Err(error) => return Err(self.error(Reason::Read(error))),
            }
        }
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The path of a header alone: prefix and name; star has a shorter prefix, GNU and v7 have none.
fn header_path(header: &Header) -> Vec<u8> {
    let bytes = header.as_bytes();
    let name = until_zero(&bytes[..100]);
    let prefix: &[u8] = if bytes[257..263] != *b"ustar\0" {
        &[]
    } else if bytes[508..512] == *b"tar\0" {
        until_zero(&bytes[345..476])
    } else {
        until_zero(&bytes[345..500])
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// The sum of all bytes with the checksum's own as spaces; some old archivers summed signed bytes.
fn checksum_is_right(bytes: &[u8; RECORD]) -> bool {
    let Some(expected) = number::parse(&bytes[148..156]) else { return false };
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (at, &byte) in bytes.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    expected == unsigned || expected == signed
}
