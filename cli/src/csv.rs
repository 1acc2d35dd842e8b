//! Values of flags and of bake variables, as Go reads them: fields with commas between them by the rules of RFC 4180, and
//! the words for true and false.

/// The fields of one line.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut rows = records(line)?.into_iter();
    match (rows.next(), rows.next()) {
        (row, None) => Ok(row.unwrap_or_default()),
        _ => Err("there is more than one line".to_owned()),
    }
}

/// All lines; empty ones count for nothing.
pub(crate) fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let text = text.replace("\r\n", "\n");
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut rest = text.as_str();
    loop {
        if row.is_empty() {
            rest = rest.trim_start_matches('\n');
            if rest.is_empty() {
                return Ok(rows);
            }
        }
        let (field, after) = field(rest)?;
        row.push(field);
        rest = after.strip_prefix(',').unwrap_or_else(|| {
            rows.push(std::mem::take(&mut row));
            after
        });
    }
}

/// A field, and what comes after it: a comma, the end of the line, or nothing.
fn field(text: &str) -> Result<(String, &str), String> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (field, after) = text.split_at(text.find([',', '\n']).unwrap_or(text.len()));
        if field.contains('"') {
            return Err(format!("a bare `\"` in {field:?}: put the whole field in quotes and double those inside"));
        }
        return Ok((field.to_owned(), after));
    };
    let mut field = String::new();
    loop {
        let Some(quote) = rest.find('"') else { return Err("a `\"` is not closed".to_owned()) };
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None if rest.is_empty() || rest.starts_with([',', '\n']) => return Ok((field, rest)),
            None => return Err(format!("there is text behind the closing `\"` of {field:?}")),
        }
    }
}

/// Writes fields as one line.
pub(crate) fn line(fields: &[String]) -> String {
    let quoted = |field: &String| {
        if field.contains([',', '"', '\n', '\r']) || field.starts_with(' ') {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    };
    fields.iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// A truth value, in the words of Go.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A truth value that must be one; `key` is what it is of.
pub(crate) fn boolean(key: &str, text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| format!("{key} takes true or false, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let table: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("a", &["a"]),
            ("a,b=c", &["a", "b=c"]),
            ("a,", &["a", ""]),
            ("a,,b,", &["a", "", "b", ""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"say \"\"hi\"\"\"", &["say \"hi\""]),
            ("type=sbom,\"ENV=x,y\"", &["type=sbom", "ENV=x,y"]),
        ];
        for (text, expected) in table {
            let found = fields(text).unwrap();
            assert_eq!(found, expected, "{text}");
            assert_eq!(fields(&line(&found)).unwrap(), found, "{text}");
        }
        for wrong in ["a\"b", "a=\"b", "\"a", "\"a\"b", "a\nb"] {
            assert!(fields(wrong).is_err(), "{wrong}");
        }
        assert_eq!(records("a,b\r\n\n1,\"2\n3\"\n").unwrap(), [["a", "b"], ["1", "2\n3"]]);
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
