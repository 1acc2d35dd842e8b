//! Makes foreign text safe to show.
//!
//! Output of a step, names and messages are written by strangers. A terminal obeys what it is sent: OSC 52 writes to
//! the clipboard, a title can be read back as if it was typed, cursor movements rewrite lines that `builder` printed.
//! So nothing foreign reaches the output but through [`visible`], which works on one line at a time and keeps no
//! state: a sequence that is not finished on its line loses its introducer and is plain text from there on.
//!
//! Invariant: the result has no C0 or C1 control but the tab, and when styles are kept, the only escape sequences in
//! it are SGR (colours and weights, not "concealed"), ended by a reset.

use std::iter::Peekable;
use std::str::Chars;

/// What becomes of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Styles {
    /// SGR sequences stay, and the line ends with a reset.
    Keep,
    /// They go like all others.
    Strip,
}

/// The longest SGR sequence that is kept; colours need far less.
const LONGEST_STYLE: usize = 64;

/// The text that `line` shows, without what it would do. Line breaks become spaces, bytes that are no UTF-8 become
/// U+FFFD, and so do marks that reorder the text around them.
pub(crate) fn visible(line: &[u8], styles: Styles) -> String {
    if let Ok(text) = str::from_utf8(line)
        && text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
    {
        return text.to_owned();
    }
    let text = String::from_utf8_lossy(line);
    let mut scanner = Scanner {
        rest: text.chars().peekable(),
        out: String::with_capacity(text.len()),
        styles,
        styled: false,
        bell_ahead: true,
        terminator_ahead: true,
    };
    scanner.run();
    if scanner.styled {
        scanner.out.push_str("\x1b[0m");
    }
    scanner.out
}

/// The same for text that never had a reason for colours: names, messages, source lines.
pub(crate) fn visible_text(text: &str) -> String {
    visible(text.as_bytes(), Styles::Strip)
}

/// The name of a file: what can't be seen is escaped and not left out, as it is a part of the name.
pub(super) fn visible_name(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() || is_reordering(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Marks that make the text around them appear in another order, or on another line.
pub(crate) fn is_reordering(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    styles: Styles,
    styled: bool,
    /// Whether a BEL, and whether an ST, may still come. Once a search has failed, no later one can succeed: this
    /// keeps a line of nothing but introducers linear.
    bell_ahead: bool,
    terminator_ahead: bool,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while let Some(c) = self.rest.next() {
            match c {
                '\x1b' => self.escape(),
                '\u{9b}' => self.control_sequence(),
                '\u{9d}' => self.string(true),
                '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => self.string(false),
                '\t' => self.out.push('\t'),
                '\n' | '\r' => self.out.push(' '),
                c if c.is_control() => {}
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                    self.out.push('\u{fffd}');
                }
                c => self.out.push(c),
            }
        }
    }

    fn escape(&mut self) {
        match self.rest.peek() {
            Some('[') => {
                self.rest.next();
                self.control_sequence();
            }
            Some(']') => {
                self.rest.next();
                self.string(true);
            }
            Some('P' | 'X' | '^' | '_') => {
                self.rest.next();
                self.string(false);
            }
            _ => {
                while self.rest.next_if(|c| (' '..='/').contains(c)).is_some() {}
                self.rest.next_if(|c| ('0'..='~').contains(c));
            }
        }
    }

    /// CSI: parameters, intermediates, one final byte.
    fn control_sequence(&mut self) {
        let mut parameters = String::new();
        while let Some(c) = self.rest.next_if(|c| ('0'..='?').contains(c)) {
            parameters.push(c);
        }
        let mut plain = true;
        while self.rest.next_if(|c| (' '..='/').contains(c)).is_some() {
            plain = false;
        }
        let last = self.rest.next_if(|c| ('@'..='~').contains(c));
        if self.styles == Styles::Keep && last == Some('m') && plain && harmless_style(&parameters) {
            self.styled = true;
            self.out.push_str("\x1b[");
            self.out.push_str(&parameters);
            self.out.push('m');
        }
    }

    /// OSC ends with BEL or ST, the other strings with ST only.
    fn string(&mut self, bell_ends: bool) {
        if !(self.terminator_ahead || bell_ends && self.bell_ahead) {
            return;
        }
        let mut ahead = self.rest.clone();
        while let Some(c) = ahead.next() {
            let ends = match c {
                '\x07' => bell_ends,
                '\u{9c}' => true,
                '\x1b' => ahead.next_if_eq(&'\\').is_some(),
                _ => false,
            };
            if ends {
                self.rest = ahead;
                return;
            }
        }
        self.terminator_ahead = false;
        self.bell_ahead &= !bell_ends;
    }
}

/// Whether an SGR sequence only colours: no private parameters and no "concealed".
fn harmless_style(parameters: &str) -> bool {
    if parameters.len() > LONGEST_STYLE || !parameters.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')) {
        return false;
    }
    let mut codes = parameters.split(';');
    while let Some(code) = codes.next() {
        match code.trim_start_matches('0') {
            "8" => return false,
            // The numbers of a colour follow: `38;5;8` is grey.
            "38" | "48" | "58" => {
                let numbers = match codes.next() {
                    Some("5") => 1,
                    Some("2") => 3,
                    _ => 0,
                };
                for _ in 0..numbers {
                    codes.next();
                }
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_do_something_is_gone() {
        for (name, line, shown) in [
            ("clipboard, BEL", "a\x1b]52;c;ZXZpbA==\x07b", "ab"),
            ("clipboard, ST", "a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
            ("clipboard, C1", "a\u{9d}52;c;ZXZpbA==\u{9c}b", "ab"),
            ("title", "\x1b]0;owned\x07x", "x"),
            ("hyperlink", "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
            ("cursor up and clear", "\x1b[2A\x1b[2K\x1b[Hx", "x"),
            ("cursor up, C1", "\u{9b}2Ax", "x"),
            ("alternate screen", "\x1b[?1049hx", "x"),
            ("answers into the input", "\x1b[6n\x1b[cx", "x"),
            ("reset", "\x1bcx", "x"),
            ("character set", "\x1b(0x", "x"),
            ("save and restore", "\x1b7x\x1b8", "x"),
            ("device string", "\x1bPq#0\x07still\x1b\\x", "x"),
            ("bell, backspace, delete, shift", "a\x07\x08\x7f\x0e\x0fb", "ab"),
            ("line breaks", "a\r\nb\x0bc\x0cd", "a  bcd"),
            ("unfinished title", "a\x1b]0;b", "a0;b"),
            ("unfinished sequence", "a\x1b[12", "a"),
            ("broken sequence", "a\x1b[12\u{e9}m", "a\u{e9}m"),
            ("escape at the end", "a\x1b", "a"),
            ("escape before a control", "a\x1b\x1b[2Ab", "ab"),
            ("reordering", "a\u{202e}b", "a\u{fffd}b"),
            ("tab", "a\tb", "a\tb"),
            ("other scripts", "größe 漢字 🦀", "größe 漢字 🦀"),
        ] {
            assert_eq!(visible_text(line), shown, "{name}");
        }
        assert_eq!(visible(b"caf\xe9 \xff", Styles::Strip), "caf\u{fffd} \u{fffd}");
    }

    #[test]
    fn colours_stay_when_asked_for() {
        for (name, line, kept) in [
            ("colour", "\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
            ("never ended", "\x1b[1;38;5;8mgrey", "\x1b[1;38;5;8mgrey\x1b[0m"),
            ("true colour", "\x1b[38;2;8;8;8mx", "\x1b[38;2;8;8;8mx\x1b[0m"),
            ("concealed", "\x1b[8mx", "x"),
            ("concealed among others", "\x1b[31;08mx", "x"),
            ("concealed after a colour", "\x1b[38;5;1;8mx", "x"),
            ("private", "\x1b[?1mx\x1b[>4;2mx", "xx"),
            ("intermediate", "\x1b[1 mx", "x"),
        ] {
            assert_eq!(visible(line.as_bytes(), Styles::Keep), kept, "{name}");
        }
        assert_eq!(visible_text("\x1b[31mred\x1b[0m"), "red");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(visible_name("größe/a\x1b]0;b\x07\n\u{202e}c"), r"größe/a\u{1b}]0;b\u{7}\n\u{202e}c");
    }

    #[test]
    fn a_line_of_introducers_takes_linear_time() {
        let line = "\x1b]\x1bP".repeat(200_000);
        assert_eq!(visible_text(&line), "");
    }

    proptest! {
        #[test]
        fn nothing_but_text_comes_out(
            parts in prop::collection::vec(
                prop_oneof![
                    any::<Vec<u8>>(),
                    prop::sample::select(vec![
                        "\x1b", "[", "]", "m", "P", ";", "8", "38", "\\", "\x07", "\u{9b}", "\u{9c}", "\u{9d}", "52;c;",
                    ]).prop_map(|part| part.as_bytes().to_vec()),
                ],
                0..40,
            ),
            keep: bool,
        ) {
            let line = parts.concat();
            let shown = visible(&line, if keep { Styles::Keep } else { Styles::Strip });
            let mut rest = shown.as_str();
            while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
                prop_assert!(keep);
                let sequence = rest[at..].strip_prefix("\x1b[").expect("only SGR is left");
                let end = sequence.find(|c: char| !matches!(c, '0'..='9' | ';' | ':')).expect("it ends");
                prop_assert_eq!(&sequence[end..=end], "m");
                rest = &sequence[end + 1..];
            }
            prop_assert!(!shown.contains("\x1b[") || shown.ends_with("\x1b[0m"));
        }
    }
}
