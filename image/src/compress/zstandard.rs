//! Zstandard in one frame, by libzstd's own workers.
//!
//! With one worker or more libzstd cuts its input into jobs by size alone, so the bytes are the same for any number of
//! workers (a test holds it to that). Without workers they would be others; so there is always at least one.

use std::io::{self, Write};
use std::sync::Arc;

use zstd::stream::write::Encoder;

use crate::block::{Block, BlockSink};
use crate::pool;

const LEVEL: u8 = 3;

pub(super) fn recipe(level: Option<u8>) -> String {
    format!("zstd libzstd-{} level-{} workers", zstd::zstd_safe::version_string(), given(level))
}

/// Zero stands for the usual level, as everywhere in zstd.
fn given(level: Option<u8>) -> u8 {
    level.filter(|&level| level > 0).unwrap_or(LEVEL)
}

pub(super) struct ZstdSink<W: Write> {
    encoder: Encoder<'static, W>,
}

impl<W: Write> ZstdSink<W> {
    pub(super) fn new(out: W, level: Option<u8>) -> io::Result<Self> {
        Self::with_workers(out, level, pool::threads().clamp(1, 4) as u32)
    }

    pub(super) fn with_workers(out: W, level: Option<u8>, workers: u32) -> io::Result<Self> {
        let mut encoder = Encoder::new(out, given(level).into())?;
        encoder.multithread(workers)?;
        Ok(Self { encoder })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.encoder.finish()
    }
}

impl<W: Write> BlockSink for ZstdSink<W> {
    fn write_block(&mut self, block: Arc<Block>) -> io::Result<()> {
        self.encoder.write_all(block.bytes())
    }
}
