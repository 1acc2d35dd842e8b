//! Numbers and widths for people: durations, amounts, and lines that fit a terminal.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `0.3s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// The time before a line of output: three decimals below ten seconds, then two, then one.
pub(super) fn offset(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let decimals = match seconds {
        ..10.0 => 3,
        10.0..100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.decimals$}")
}

/// `128B`, `1.23kB`, `45.60MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.995 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// How far something is: `1.20MB / 4.50MB`, `12 / 30 files`; empty when there is nothing to tell.
pub(super) fn amount(unit: &str, current: u64, total: Option<u64>) -> String {
    match (unit, total) {
        (_, None) if current == 0 => String::new(),
        ("bytes", Some(total)) => format!("{} / {}", bytes(current), bytes(total)),
        ("bytes", None) => bytes(current),
        (unit, Some(total)) => format!("{current} / {total} {unit}").trim_end().to_owned(),
        (unit, None) => format!("{current} {unit}").trim_end().to_owned(),
    }
}

/// How many columns `text` takes.
pub(super) fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// As much of `text` as fits `width` columns, tabs expanded. What was cut off is marked by an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len().min(width * 4));
    let mut used = 0;
    for (position, c) in text.char_indices() {
        let (c, repeat) = if c == '\t' { (' ', 8 - used % 8) } else { (c, 1) };
        let wide = c.width().unwrap_or(0) * repeat;
        if used + wide > width {
            return shorten(out, width, text[position..].trim_end().is_empty());
        }
        used += wide;
        out.extend(std::iter::repeat_n(c, repeat));
    }
    out
}

fn shorten(mut out: String, width: usize, only_blanks_left: bool) -> String {
    if width == 0 || only_blanks_left {
        return out;
    }
    while columns(&out) > width - 1 {
        out.pop();
    }
    out.push('…');
    out
}

/// `left`, filled up so that `right` ends at `width`. The right side goes when there is no room for both.
pub(super) fn justify(left: &str, right: &str, width: usize) -> String {
    const LEAST_LEFT: usize = 12;
    let room = width.saturating_sub(columns(right) + 1);
    if room < LEAST_LEFT {
        return fit(left, width);
    }
    let left = fit(left, room);
    let fill = room - columns(&left);
    format!("{left}{:fill$} {right}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_expect() {
        for (count, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (1234, "1.23kB"),
            (999_994, "999.99kB"),
            (999_999, "1.00MB"),
            (45_600_000, "45.60MB"),
            (u64::MAX, "18446.74PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (millis, text) in [(0, "0.000"), (9_999, "9.999"), (10_000, "10.00"), (99_990, "99.99"), (100_000, "100.0")]
        {
            assert_eq!(offset(Duration::from_millis(millis)), text);
        }
        for (unit, current, total, text) in [
            ("bytes", 10, Some(2000), "10B / 2.00kB"),
            ("bytes", 10, None, "10B"),
            ("files", 3, Some(4), "3 / 4 files"),
            ("files", 3, None, "3 files"),
            ("files", 0, None, ""),
            ("", 1, Some(2), "1 / 2"),
        ] {
            assert_eq!(amount(unit, current, total), text);
        }
    }

    #[test]
    fn lines_fit() {
        for (text, width, fitted) in [
            ("short", 10, "short"),
            ("exactly", 7, "exactly"),
            ("too long", 7, "too lo…"),
            ("漢字漢字", 8, "漢字漢字"),
            ("漢字漢字", 7, "漢字漢…"),
            ("漢字漢字", 6, "漢字…"),
            ("a\tb", 20, "a       b"),
            ("a\tb", 4, "a…"),
            ("blanks   ", 6, "blanks"),
            ("x", 0, ""),
        ] {
            assert_eq!(fit(text, width), fitted, "{text:?} in {width}");
            assert!(columns(&fit(text, width)) <= width);
        }
        assert_eq!(justify("name", "0.3s", 20), "name            0.3s");
        assert_eq!(justify("a name that is long", "0.3s", 20), "a name that is… 0.3s");
        assert_eq!(justify("a name that is long", "0.3s", 8), "a name …");
    }
}
