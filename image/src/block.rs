//! Byte streams in blocks of one fixed size, handed from thread to thread without copying.
//!
//! One thread fills blocks, another hashes them, the caller's consumes them (writes, compresses). All blocks but the
//! last are full, so whoever cuts the stream at block borders (gzip members) gets the same bytes on any machine.
//! Buffers are used again: a stream of any length needs about a dozen of them.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use builder_cache::DiffId;
use sha2::{Digest, Sha256};

/// Bytes in a full block.
pub(crate) const BLOCK: usize = 1 << 20;

/// Blocks that may wait between two threads.
const QUEUE: usize = 4;

type Spares = Arc<Mutex<Vec<Vec<u8>>>>;

/// A piece of a stream.
#[derive(Debug)]
pub(crate) struct Block {
    data: Vec<u8>,
    filled: usize,
    spares: Spares,
}

impl Block {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[..self.filled]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < 4 * QUEUE && !self.data.is_empty() {
            spares.push(std::mem::take(&mut self.data));
        }
    }
}

/// Cuts what is written into blocks.
#[derive(Debug)]
pub(crate) struct BlockFiller {
    data: Vec<u8>,
    filled: usize,
    spares: Spares,
}

impl BlockFiller {
    pub(crate) fn new() -> Self {
        Self { data: Vec::new(), filled: 0, spares: Spares::default() }
    }

    /// Room in the current block, never empty.
    fn room(&mut self) -> &mut [u8] {
        if self.data.is_empty() {
            let spare = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
            self.data = spare.unwrap_or_else(|| vec![0; BLOCK]);
        }
        &mut self.data[self.filled..]
    }

    /// Says that `count` bytes of [`BlockFiller::room`] are written now. Gives the block when that made it full.
    fn advance(&mut self, count: usize) -> Option<Block> {
        self.filled += count;
        (self.filled == BLOCK).then(|| self.take())
    }

    /// The current block, however full.
    pub(crate) fn take(&mut self) -> Block {
        let data = std::mem::take(&mut self.data);
        Block { data, filled: std::mem::take(&mut self.filled), spares: Arc::clone(&self.spares) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Adds bytes, and hands every block that fills up to `full`.
    pub(crate) fn push<E>(&mut self, mut bytes: &[u8], mut full: impl FnMut(Block) -> Result<(), E>) -> Result<(), E> {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if let Some(block) = self.advance(count) {
                full(block)?;
            }
        }
        Ok(())
    }
}

/// Where blocks go.
pub(crate) trait BlockSink {
    fn write_block(&mut self, block: Arc<Block>) -> io::Result<()>;
}

/// Blocks into any writer.
#[derive(Debug)]
pub(crate) struct WriteSink<W>(pub(crate) W);

impl<W: Write> BlockSink for WriteSink<W> {
    fn write_block(&mut self, block: Arc<Block>) -> io::Result<()> {
        self.0.write_all(block.bytes())
    }
}

/// The consumer went away; it knows why.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("nobody reads the stream any more")]
pub(crate) struct Stopped;

/// The producer's end of a stream.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    filler: BlockFiller,
    queue: SyncSender<Block>,
}

impl BlockWriter {
    fn new(queue: SyncSender<Block>) -> Self {
        Self { filler: BlockFiller::new(), queue }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let queue = &self.queue;
        self.filler.push(bytes, |block| queue.send(block).map_err(|_| Stopped))
    }

    /// Lets `read` fill (part of) what is free in the current block, at most `limit` bytes. Gives what it said.
    pub(crate) fn fill(
        &mut self,
        limit: u64,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Result<usize, Stopped>> {
        let room = self.filler.room();
        let end = usize::try_from(limit).unwrap_or(usize::MAX).min(room.len());
        let count = read(&mut room[..end])?.min(end);
        Ok(match self.filler.advance(count) {
            Some(block) => self.queue.send(block).map(|()| count).map_err(|_| Stopped),
            None => Ok(count),
        })
    }

    fn finish(&mut self) -> Result<(), Stopped> {
        if self.filler.is_empty() {
            return Ok(());
        }
        self.queue.send(self.filler.take()).map_err(|_| Stopped)
    }
}

/// The SHA-256 and length of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) digest: DiffId,
    pub(crate) size: u64,
}

/// Why a stream failed.
#[derive(Debug)]
pub(crate) enum StreamError<E> {
    Produce(E),
    Consume(io::Error),
}

/// Runs a stream: `produce` on a thread of its own, hashing on another, `sink` on this one.
pub(crate) fn stream<E: Send + From<Stopped>>(
    produce: impl FnOnce(&mut BlockWriter) -> Result<(), E> + Send,
    sink: &mut dyn BlockSink,
) -> Result<Hashed, StreamError<E>> {
    let (queue, blocks) = sync_channel::<Block>(QUEUE);
    let (to_hash, hash_queue) = sync_channel::<Arc<Block>>(QUEUE);
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let mut writer = BlockWriter::new(queue);
            produce(&mut writer)?;
            writer.finish().map_err(E::from)
        });
        let hasher = scope.spawn(move || hash(&hash_queue));
        let consumed = consume(blocks, to_hash, sink);
        let produced = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let hashed = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        consumed.map_err(StreamError::Consume)?;
        produced.map_err(StreamError::Produce)?;
        Ok(hashed)
    })
}

/// Takes both queues by value: an error must close them, or the other threads wait for ever.
#[expect(clippy::needless_pass_by_value, reason = "dropping the queues is how the other threads learn of an error")]
fn consume(blocks: Receiver<Block>, to_hash: SyncSender<Arc<Block>>, sink: &mut dyn BlockSink) -> io::Result<()> {
    for block in &blocks {
        let block = Arc::new(block);
        // The hasher ends only after this sender is gone.
        let _ = to_hash.send(Arc::clone(&block));
        sink.write_block(block)?;
    }
    Ok(())
}

fn hash(blocks: &Receiver<Arc<Block>>) -> Hashed {
    let mut hasher = Sha256::new();
    let mut size = 0;
    for block in blocks {
        hasher.update(block.bytes());
        size += block.bytes().len() as u64;
    }
    Hashed { digest: DiffId::from_bytes(hasher.finalize().into()), size }
}

/// The reader's end of a stream.
#[derive(Debug)]
pub(crate) struct BlockReader {
    blocks: Receiver<Block>,
    to_hash: Option<SyncSender<Arc<Block>>>,
    current: Option<Arc<Block>>,
    position: usize,
}

impl BlockReader {
    /// What is left of the current block; empty at the end of the stream.
    fn available(&mut self) -> &[u8] {
        while self.current.as_ref().is_none_or(|block| self.position == block.bytes().len()) {
            let Ok(block) = self.blocks.recv() else { return &[] };
            let block = Arc::new(block);
            if let Some(to_hash) = &self.to_hash {
                // The hasher ends only after this sender is gone.
                let _ = to_hash.send(Arc::clone(&block));
            }
            self.current = Some(block);
            self.position = 0;
        }
        self.current.as_ref().map_or(&[], |block| &block.bytes()[self.position..])
    }
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.available();
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.position += count;
        Ok(count)
    }
}

/// What came of [`pull`].
#[derive(Debug)]
pub(crate) struct Pulled<T, P, E> {
    /// What the reader made of the stream.
    pub(crate) consumed: T,
    /// What the producer gave. When it failed, the reader saw a stream that ends early.
    pub(crate) produced: Result<P, E>,
    /// Hash of what was read; of nothing when none was asked for.
    pub(crate) hashed: Hashed,
}

/// Runs a stream the other way round: the reader on this thread asks for bytes.
pub(crate) fn pull<T, P: Send, E: Send + From<Stopped>>(
    hash_it: bool,
    produce: impl FnOnce(&mut BlockWriter) -> Result<P, E> + Send,
    consume: impl FnOnce(&mut BlockReader) -> T,
) -> Pulled<T, P, E> {
    let (queue, blocks) = sync_channel::<Block>(QUEUE);
    let (to_hash, hash_queue) = sync_channel::<Arc<Block>>(QUEUE);
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let mut writer = BlockWriter::new(queue);
            let produced = produce(&mut writer)?;
            writer.finish().map_err(E::from)?;
            Ok(produced)
        });
        let hasher = scope.spawn(move || hash(&hash_queue));
        let to_hash = hash_it.then_some(to_hash);
        let mut reader = BlockReader { blocks, to_hash, current: None, position: 0 };
        let consumed = consume(&mut reader);
        drop(reader);
        let produced = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let hashed = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Pulled { consumed, produced, hashed }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_arrives_whole_and_hashed() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 17).map(|n| (n % 251) as u8).collect();
        let mut sink = WriteSink(Vec::new());
        let hashed = stream::<Stopped>(|out| bytes.chunks(1000).try_for_each(|part| out.write(part)), &mut sink);
        let hashed = hashed.unwrap();
        assert!(sink.0 == bytes);
        assert_eq!(hashed, Hashed { digest: DiffId::of(&bytes), size: bytes.len() as u64 });
    }

    #[test]
    fn a_full_sink_stops_the_producer() {
        struct Full;
        impl BlockSink for Full {
            fn write_block(&mut self, _: Arc<Block>) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let endless = |out: &mut BlockWriter| loop {
            out.write(&[7; 4096])?;
        };
        let Err(StreamError::Consume(error)) = stream::<Stopped>(endless, &mut Full) else {
            panic!("must tell the sink's error")
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
