//! Sparse files: where the stored bytes belong.

use super::error::Reason;
use super::number;

/// Stored bytes: they begin at `offset` of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// Bytes of a map that are read at most (a 1.0 map, or all extension headers).
pub(super) const MAP_LIMIT: usize = 8 << 20;

/// Checks that segments follow each other, lie inside of the file and take all that is stored.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), Reason> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for segment in segments {
        if segment.offset < end {
            return Err(Reason::Sparse("its parts overlap"));
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .filter(|&end| end <= size)
            .ok_or(Reason::Sparse("a part lies behind the end of the file"))?;
        sum = sum.checked_add(segment.length).ok_or(Reason::Sparse("it is too large"))?;
    }
    if sum != stored {
        return Err(Reason::Sparse("its parts are not as long as what is stored"));
    }
    Ok(())
}

/// Reads the pairs of a GNU header (`count` of them at `at`) or of its extensions. An all-zero pair ends them.
pub(super) fn gnu_pairs(block: &[u8], at: usize, count: usize, segments: &mut Vec<Segment>) -> Result<(), Reason> {
    let (pairs, _) = block[at..at + count * 24].as_chunks::<24>();
    for pair in pairs {
        if pair[0] == 0 {
            break;
        }
        let value = |field: &[u8]| number::parse(field).and_then(|number| u64::try_from(number).ok());
        match (value(&pair[..12]), value(&pair[12..])) {
            (Some(offset), Some(length)) => segments.push(Segment { offset, length }),
            _ => return Err(Reason::Sparse("it is not a list of numbers")),
        }
    }
    Ok(())
}

/// Reads the map of form 1.0: a count, then offsets and lengths, a line each.
#[derive(Debug, Default)]
pub(super) struct LineMap {
    digits: Vec<u8>,
    count: Option<u64>,
    numbers: Vec<u64>,
}

impl LineMap {
    /// Takes one block. Gives the map when that was its last; what remains of the block is padding.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<Option<Vec<Segment>>, Reason> {
        for &byte in block {
            if byte != b'\n' {
                self.digits.push(byte);
                if self.digits.len() > 20 {
                    return Err(Reason::Sparse("a number is too long"));
                }
                continue;
            }
            let number = number::decimal(&self.digits).ok_or(Reason::Sparse("it is not a list of numbers"))?;
            self.digits.clear();
            match self.count {
                None => self.count = Some(number),
                Some(_) => self.numbers.push(number),
            }
            if self.count.and_then(|count| count.checked_mul(2)) == Some(self.numbers.len() as u64) {
                let (pairs, _) = self.numbers.as_chunks::<2>();
                return Ok(Some(pairs.iter().map(|&[offset, length]| Segment { offset, length }).collect()));
            }
        }
        Ok(None)
    }
}
