//! Gzip, block by block on all cores.
//!
//! Each MiB of input is a gzip member of its own. A file of several members is one gzip file (RFC 1952); every reader of
//! layers takes it (Go's `compress/gzip`, GNU gzip, zlib's `gzopen`, pigz). Members are made in parallel and written
//! in order, so the bytes depend on the input and on libdeflate's version and level only.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;

use flate2::write::GzEncoder;
use libdeflater::{CompressionLvl, Compressor};

use crate::block::{Block, BlockSink};
use crate::pool::{self, Ordered};

/// Over 400 MB of /usr/lib, per core and with both busy: level 1 193 MB/s to .486 of the size, 3 138 to .477, 4 133 to
/// .475, 5 114 to .467, 6 101 to .465: what a higher one saves is not worth its time. Above 3 two cores no longer make 1 GiB in 4.5 s, with reading and hashing.
const LEVEL: u8 = 1;

/// The vendored libdeflate; raise it together with the crate.
const VERSION: &str = "1.26";

/// Members that are in memory at a time, each with its input: at most 2 MiB.
const WINDOW: usize = 48;

pub(super) fn recipe(level: Option<u8>) -> String {
    format!("gzip {} members-1MiB", codec(level))
}

/// What makes members, and how well it tries.
pub(crate) fn codec(level: Option<u8>) -> String {
    format!("libdeflate-{VERSION} level-{}", level.unwrap_or(LEVEL))
}

thread_local! {
    /// A compressor is most of a megabyte; one a thread is enough.
    static COMPRESSOR: RefCell<Option<(u8, Compressor)>> = const { RefCell::new(None) };
}

/// Compresses one member.
pub(crate) fn member(bytes: &[u8], level: Option<u8>) -> io::Result<Vec<u8>> {
    let level = level.unwrap_or(LEVEL);
    if level == 0 {
        return stored(bytes);
    }
    COMPRESSOR.with_borrow_mut(|known| {
        let compressor = match known {
            Some((of, compressor)) if *of == level => compressor,
            _ => {
                let unknown = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("gzip has no level {level}"));
                let new = Compressor::new(CompressionLvl::new(level.into()).map_err(unknown)?);
                &mut known.insert((level, new)).1
            }
        };
        let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
        let length = compressor.gzip_compress(bytes, &mut out).map_err(io::Error::other)?;
        out.truncate(length);
        Ok(out)
    })
}

/// A member that holds its bytes as they are, which libdeflate's interface does not offer.
fn stored(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::with_capacity(bytes.len() + 1024), flate2::Compression::none());
    out.write_all(bytes)?;
    out.finish()
}

pub(super) struct GzipSink<W> {
    out: W,
    jobs: Ordered<io::Result<Vec<u8>>>,
    members: u64,
    level: Option<u8>,
}

impl<W: Write> GzipSink<W> {
    pub(super) fn new(out: W, level: Option<u8>) -> Self {
        Self { out, jobs: Ordered::new((3 * pool::threads()).min(WINDOW)), members: 0, level }
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.members == 0 {
            self.out.write_all(&member(&[], self.level)?)?;
        }
        while let Some(done) = self.jobs.next() {
            self.out.write_all(&done?)?;
        }
        Ok(self.out)
    }
}

impl<W: Write> BlockSink for GzipSink<W> {
    fn write_block(&mut self, block: Arc<Block>) -> io::Result<()> {
        if self.jobs.is_full()
            && let Some(done) = self.jobs.next()
        {
            self.out.write_all(&done?)?;
        }
        self.members += 1;
        let level = self.level;
        self.jobs.submit(move || member(block.bytes(), level));
        Ok(())
    }
}
