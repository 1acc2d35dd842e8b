//! Dates as servers write them: `Sun, 06 Nov 1994 08:49:37 GMT`.

use jiff::fmt::rfc2822::DateTimeParser;

/// Seconds since the epoch; `None` when it is no such date.
pub(super) fn parse(text: &str) -> Option<i64> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    Some(PARSER.parse_timestamp(text.trim()).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            (" Thu, 01 Jan 1970 00:00:00 GMT ", Some(0)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(super::parse(text), seconds, "{text}");
        }
    }
}
