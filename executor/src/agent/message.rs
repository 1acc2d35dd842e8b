//! The messages of the agent protocol and the fields that they are made of (RFC 4251, draft-miller-ssh-agent): a
//! length of four bytes, big endian, and what it says.

use std::io::{self, Read, Write};

/// Longer messages are refused, as by OpenSSH's agent.
const MAX_MESSAGE: u32 = 256 * 1024;

pub(super) const FAILURE: u8 = 5;
pub(super) const REQUEST_IDENTITIES: u8 = 11;
pub(super) const IDENTITIES_ANSWER: u8 = 12;
pub(super) const SIGN_REQUEST: u8 = 13;
pub(super) const SIGN_RESPONSE: u8 = 14;

/// Reads one message; `None` when the other side is done.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => stream.read_exact(&mut length[1..])?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the agent protocol has a bad length"));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes one message.
pub(super) fn write(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(4 + message.len());
    put_string(&mut framed, message);
    stream.write_all(&framed)
}

/// Adds a string.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Adds a number that is not negative, given big endian: no zeros in front, but for one where it would else read as
/// negative.
pub(super) fn put_number(out: &mut Vec<u8>, bytes: &[u8]) {
    let digits = strip(bytes);
    let padded = digits.first().is_some_and(|first| *first >= 0x80);
    out.extend((digits.len() as u32 + u32::from(padded)).to_be_bytes());
    if padded {
        out.push(0);
    }
    out.extend_from_slice(digits);
}

/// Without zeros in front.
pub(super) fn strip(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Takes fields off the front; everything is `None` where they end too soon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(super) fn word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.word()?;
        self.bytes(length as usize)
    }

    /// A number that is not negative, without zeros in front.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|first| *first >= 0x80) {
            return None;
        }
        Some(strip(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for (bytes, encoded) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0, 0], &[0, 0, 0, 0]),
            (&[0, 1], &[0, 0, 0, 1, 1]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (&[0x7f, 0xff], &[0, 0, 0, 2, 0x7f, 0xff]),
        ] {
            let mut out = Vec::new();
            put_number(&mut out, bytes);
            assert_eq!(out, encoded);
            assert_eq!(Fields(&out).number().unwrap(), strip(bytes));
        }
        assert_eq!(Fields(&[0, 0, 0, 1, 0x80]).number(), None, "negative");
        assert_eq!(Fields(&[0, 0, 0, 9, 1]).string(), None, "too short");
    }

    #[test]
    fn messages_are_framed() {
        let mut out = Vec::new();
        write(&mut out, b"ab").unwrap();
        assert_eq!(out, b"\0\0\0\x02ab");
        assert_eq!(read(&mut out.as_slice()).unwrap().unwrap(), b"ab");
        assert_eq!(read(&mut &b""[..]).unwrap(), None);
        for bad in [&b"\0\0\0\0"[..], b"\0\x10\0\0", b"\0\0\0\x05ab", b"\0\0"] {
            assert!(read(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }
}
