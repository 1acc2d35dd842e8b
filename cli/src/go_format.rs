//! What the verbs of Go's `fmt` have in common wherever people write them: in `--format` and in bake files.

/// How a value is shaped: `%+08.3f`.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    plus: bool,
    minus: bool,
    /// Another way to write it, which depends on the verb.
    pub(crate) sharp: bool,
    zero: bool,
    space: bool,
    /// The least number of characters.
    pub(crate) width: Option<usize>,
    /// Digits, or characters of a text.
    pub(crate) precision: Option<usize>,
}

impl Shape {
    /// The flags at the beginning of a text, and what follows them.
    pub(crate) fn flags(text: &str) -> (Self, &str) {
        let (mut shape, mut rest) = (Self::default(), text);
        loop {
            let flag = match rest.bytes().next() {
                Some(b'+') => &mut shape.plus,
                Some(b'-') => &mut shape.minus,
                Some(b'#') => &mut shape.sharp,
                Some(b'0') => &mut shape.zero,
                Some(b' ') => &mut shape.space,
                _ => return (shape, rest),
            };
            *flag = true;
            rest = &rest[1..];
        }
    }

    /// As much of a text as the precision allows.
    pub(crate) fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    /// What stands before a number.
    pub(crate) fn sign(&self, negative: bool) -> &'static str {
        match negative {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        }
    }

    /// Fills the width.
    pub(crate) fn pad(&self, text: String) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.minus {
            return text + &" ".repeat(missing);
        }
        if self.zero {
            let sign = text.len() - text.trim_start_matches(['+', '-', ' ']).len();
            return format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..]);
        }
        " ".repeat(missing) + &text
    }
}

/// Go writes at least two digits of the exponent, and its sign.
pub(crate) fn exponent(float: f64, precision: usize, letter: char) -> String {
    let written = format!("{float:.precision$e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{letter}{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shaped() {
        for (flags, width, text, expected) in
            [("", 5, "-12", "  -12"), ("0", 5, "-12", "-0012"), ("-", 5, "ab", "ab   "), ("+ 0x", 2, "abc", "abc")]
        {
            let (shape, rest) = Shape::flags(flags);
            assert_eq!(rest, flags.trim_start_matches(['+', ' ', '0', '-']));
            assert_eq!(Shape { width: Some(width), ..shape }.pad(text.to_owned()), expected, "{flags}");
        }
        assert_eq!((exponent(0.00012, 1, 'e'), exponent(1e120, 0, 'E')), ("1.2e-04".into(), "1E+120".into()));
    }
}
