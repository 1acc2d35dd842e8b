//! Values with commas in them, as buildx reads them.

/// Splits at commas; a field in double quotes may hold commas, and `""` is a quote in it.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let field = fields.last_mut().ok_or("no field")?;
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(fields) }
}

/// A truth value, in the words of Go.
pub(crate) fn boolean(key: &str, text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{key} takes true or false, not `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        for (text, expected) in [
            ("a,b", &["a", "b"][..]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"say \"\"x\"\"\",b", &["say \"x\"", "b"]),
            ("a=\"b", &["a=\"b"]),
            ("", &[""]),
            ("a,,b,", &["a", "", "b", ""]),
        ] {
            assert_eq!(fields(text).unwrap(), expected, "{text}");
        }
        assert!(fields("\"a").is_err());
    }

    #[test]
    fn truth_has_several_words() {
        assert_eq!(
            ["1", "t", "True", "0", "F", "false"].map(|text| boolean("k", text).is_ok_and(|value| value)),
            [true, true, true, false, false, false]
        );
        assert_eq!(boolean("push", "yes").unwrap_err(), "push takes true or false, not `yes`");
    }
}
