//! Numbers in tar headers: octal text, or base 256 where the first bit is set (GNU, star).

/// Reads a numeric field. Empty is zero; `None` when it is no number or does not fit.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 { binary(field, first) } else { octal(field) }
}

/// Two's complement, big endian; the mark is the highest bit, the sign the one after it.
fn binary(field: &[u8], first: u8) -> Option<i64> {
    let negative = first & 0x40 != 0;
    let fill = if negative { 0xff_u8 } else { 0 };
    let mut value: i64 = if negative { -1 } else { 0 };
    for (position, &byte) in field.iter().enumerate() {
        let byte = if position == 0 { (first & 0x7f) | (fill & 0x80) } else { byte };
        // All bits above the lowest 64 must repeat the sign.
        if field.len() - position > 8 {
            if byte != fill {
                return None;
            }
            continue;
        }
        value = value.checked_shl(8)? | i64::from(byte);
    }
    ((value < 0) == negative).then_some(value)
}

fn octal(field: &[u8]) -> Option<i64> {
    let text = field.split(|&byte| byte == 0).find(|part| !part.is_empty()).unwrap_or_default();
    let text = text.trim_ascii();
    let mut value: i64 = 0;
    for &digit in text {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// Reads a decimal number of an extended header; no sign, no spaces.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a time of an extended header: seconds, perhaps negative, perhaps with a fraction of any length.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0, |nanos, at| nanos * 10 + u32::from(fraction.get(at).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_dialect() {
        let table: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"8", None),
            (b"-1", None),
            (b"777777777777777777777777", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x01", Some(1)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\xfe", None),
            (b"\xc0\0\0\0\0\0\0\0\0\0\0\0", None),
        ];
        for (field, value) in table {
            assert_eq!(parse(field), *value, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn times_keep_their_fraction_and_sign() {
        let table: [(&[u8], _); 10] = [
            (b"0", Some((0, 0))),
            (b"1.5", Some((1, 500_000_000))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"-3", Some((-3, 0))),
            (b"7.1234567899", Some((7, 123_456_789))),
            (b"7.", Some((7, 0))),
            (b"", None),
            (b".5", None),
            (b"1.x", None),
            (b"99999999999999999999", None),
        ];
        for (text, value) in table {
            assert_eq!(time(text), value, "{}", text.escape_ascii());
        }
    }
}
