//! The envelope of a key file: `-----BEGIN …-----`, base64, `-----END …-----`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What is in it.
pub(super) struct Pem<'a> {
    /// `RSA PRIVATE KEY` and so on.
    pub(super) label: &'a str,
    /// Its headers say that it is encrypted, in the way of old.
    pub(super) encrypted: bool,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
}

/// Opens the first one in `text` whose label ends with `PRIVATE KEY`.
pub(super) fn parse(text: &str) -> Option<Pem<'_>> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let end = format!("-----END {label}-----");
        let (body, after) = after.split_once(end.as_str())?;
        rest = after;
        if !label.ends_with("PRIVATE KEY") {
            continue;
        }
        let header = |line: &&str| line.contains(':');
        let encrypted = body.lines().take(3).any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"));
        let digits: String = body.lines().map(str::trim).filter(|line| !header(line)).collect();
        let bytes = if encrypted { Vec::new() } else { STANDARD.decode(digits).ok()? };
        return Some(Pem { label, encrypted, bytes });
    }
}

/// One value of DER: its tag and what it holds, and what follows.
pub(super) fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (digits, rest) = rest.split_at_checked(count)?;
        if count == 0 || count > 4 {
            return None;
        }
        (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_opened() {
        let text = "junk\n-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n\
                    -----BEGIN X PRIVATE KEY-----\r\nYWJj\r\nZGVm\r\n-----END X PRIVATE KEY-----\n";
        let pem = parse(text).unwrap();
        assert_eq!((pem.label, pem.encrypted, pem.bytes.as_slice()), ("X PRIVATE KEY", false, &b"abcdef"[..]));
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nYWJj\n-----END RSA PRIVATE KEY-----\n";
        assert!(parse(old).unwrap().encrypted);
        for bad in ["", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n=\n-----END PRIVATE KEY-----"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn lengths_of_der_are_checked() {
        assert_eq!(der(&[2, 1, 7, 9]), Some((2, &[7][..], &[9][..])));
        assert_eq!(der(&[4, 0x81, 2, 7, 8]), Some((4, &[7, 8][..], &[][..])));
        for bad in [&[][..], &[2], &[2, 2, 1], &[2, 0x80, 1], &[2, 0x85, 0, 0, 0, 0, 0], &[2, 0x84, 255, 255, 255, 255]]
        {
            assert_eq!(der(bad), None, "{bad:?}");
        }
    }
}
