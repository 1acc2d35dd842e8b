//! Names from archives and file systems, made fit for a message.

/// Bytes as text: what is not printable UTF-8 is escaped, what is endless is cut.
pub(crate) fn show(bytes: &[u8]) -> String {
    const LIMIT: usize = 300;
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                text.extend(letter.escape_default());
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            text.extend(['\\', 'x']);
            text.extend([byte >> 4, byte & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)));
        }
        if text.len() > LIMIT {
            let end = (0..=LIMIT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        assert_eq!(show(b"a/b c"), "a/b c");
        assert_eq!(show("größe".as_bytes()), "größe");
        assert_eq!(show(b"\x1b[2J\n\xff"), "\\u{1b}[2J\\n\\xff");
        assert!(show(&[b'a'; 10_000]).len() < 400);
    }
}
