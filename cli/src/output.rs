//! The only place that prints, the progress renderers aside.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};

use builder_frontend::diagnostic::Diagnostic;

use crate::error::CliResult;
use crate::progress::control::is_reordering;

/// Writes a result to stdout. A reader that went away (`builder images | head -1`) is no error.
pub(crate) fn result(text: &str) -> CliResult<()> {
    bytes(text.as_bytes())
}

/// The same for what may be no UTF-8.
///
/// Names of files and texts of images are written by anybody: a terminal gets no control characters of theirs. Pipes get
/// the bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> CliResult<()> {
    let mut stdout = io::stdout().lock();
    let bytes = if stdout.is_terminal() { harmless(bytes) } else { Cow::Borrowed(bytes) };
    match stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Control characters, but line ends and tabs, marks that reorder text, and bytes that are no UTF-8, as people write
/// them: `\x1b`.
fn harmless(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_wild =
        |character: char| (character.is_control() && !matches!(character, '\n' | '\t')) || is_reordering(character);
    if str::from_utf8(bytes).is_ok_and(|text| !text.contains(is_wild)) {
        return Cow::Borrowed(bytes);
    }
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
    let hex = |byte: u8| ['\\', 'x', digit(byte >> 4), digit(byte & 15)];
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                tame if !is_wild(tame) => text.push(tame),
                wild => match u8::try_from(wild) {
                    Ok(byte) if wild.is_ascii() => text.extend(hex(byte)),
                    _ => text.extend(wild.escape_unicode()),
                },
            }
        }
        text.extend(chunk.invalid().iter().copied().flat_map(hex));
    }
    Cow::Owned(text.into_bytes())
}

/// Tells a person something beside the result.
pub(crate) fn notice(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What is wrong with a file, drawn below its line for stderr: in colour when a person sees it and wants it.
pub(crate) fn drawn(diagnostic: &Diagnostic, name: &str, text: &str) -> String {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    diagnostic.render(name, text, coloured)
}

/// Rows as a table: columns as wide as their widest cell, three spaces between them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    columns(rows, 3)
}

/// Rows as Docker aligns them: the same, and no column is narrower than ten characters with its gap.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    wide_columns(rows, 7, 3)
}

/// Rows as a table with `gap` spaces between the columns.
pub(crate) fn columns(rows: &[Vec<String>], gap: usize) -> String {
    wide_columns(rows, 0, gap)
}

fn wide_columns(rows: &[Vec<String>], narrowest: usize, gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .map(|width| width.max(narrowest))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count() + gap));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Bytes as people read them, in decimal units as Docker shows image sizes: `1.23MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes}B");
    }
    let digits = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let written = format!("{value:.digits$}");
    let written = if digits > 0 { written.trim_end_matches('0').trim_end_matches('.') } else { &written };
    format!("{written}{}", UNITS[unit])
}

/// How long ago, as Docker says it: `3 minutes ago`.
pub(crate) fn ago(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (count, unit) = match seconds {
        0 => return "Less than a second ago".into(),
        1..60 => (seconds, "second"),
        60..120 => return "About a minute ago".into(),
        120..3600 => (seconds / 60, "minute"),
        // Hours are rounded, everything else is cut.
        3600..5400 => return "About an hour ago".into(),
        5400..171_000 => ((seconds + 1800) / 3600, "hour"),
        171_000..1_207_800 => ((seconds + 1800) / 86_400, "day"),
        1_207_800..5_182_200 => ((seconds + 1800) / 604_800, "week"),
        5_182_200..63_070_200 => ((seconds + 1800) / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1200, "1.2kB"),
            (10_000, "10kB"),
            (100_000, "100kB"),
            (12_345, "12.3kB"),
            (123_456_789, "123MB"),
            (u64::MAX, "18447PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_read_like_dockers() {
        for (seconds, text) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (90, "About a minute ago"),
            (120, "2 minutes ago"),
            (3599, "59 minutes ago"),
            (3600, "About an hour ago"),
            (5400, "2 hours ago"),
            (7200, "2 hours ago"),
            (63_072_000, "2 years ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(seconds), text);
        }
    }

    #[test]
    fn terminals_get_no_control_characters() {
        for (bytes, shown) in [
            (b"a\tb \xc3\xa9\n".as_slice(), "a\tb \u{e9}\n"),
            (b"\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
            (b"safe\rover\x7f\0", "safe\\x0dover\\x7f\\x00"),
            // The same commands in one character, and in one byte.
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            (b"\x9b31m\xff", "\\x9b31m\\xff"),
        ] {
            assert_eq!(harmless(bytes), shown.as_bytes());
        }
    }

    #[test]
    fn tables_line_up() {
        let rows = vec![vec!["A".into(), "B".into()], vec!["long".into(), "x".into()]];
        assert_eq!(table(&rows), "A      B\nlong   x\n");
    }
}
