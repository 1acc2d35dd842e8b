//! Variables in compose files: `${NAME:-default}`, and the file `.env`.

use std::collections::BTreeMap;

use super::yaml::{Kind, Node};
use crate::bake::error::{BakeError, BakeResult};

/// How deep variables may be nested.
const MAX_DEPTH: usize = 32;

/// Looks a variable up.
pub(super) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Replaces the variables in all texts of a node.
pub(super) fn interpolate(node: &mut Node, lookup: Lookup<'_>) -> BakeResult<()> {
    match &mut node.kind {
        Kind::Null => {}
        Kind::Scalar(text, plain) => {
            if text.contains('$') {
                *text = expand(text, lookup).map_err(|error| error.at(&node.span))?;
                if *plain && text.is_empty() {
                    // What a variable leaves empty is an empty text, not nothing.
                    *plain = false;
                }
            }
        }
        Kind::Sequence(items) => items.iter_mut().try_for_each(|item| interpolate(item, lookup))?,
        Kind::Mapping(members) => members.iter_mut().try_for_each(|(.., item)| interpolate(item, lookup))?,
    }
    Ok(())
}

/// Replaces the variables in a text; `$$` is one `$`.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> BakeResult<String> {
    expand_at(text, lookup, 0)
}

fn expand_at(text: &str, lookup: Lookup<'_>, depth: usize) -> BakeResult<String> {
    if depth > MAX_DEPTH {
        return Err(BakeError::new("variables are nested too deeply"));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| BakeError::new(format!("a `${{` in {text:?} has no `}}`")))?;
            expanded.push_str(&braced(&inner[..end], lookup, depth)?);
            rest = &inner[end + 1..];
        } else {
            let length = name_length(rest);
            if length == 0 {
                return Err(
                    BakeError::new(format!("the `$` in {text:?} begins no variable")).help("write `$$` for a `$`")
                );
            }
            expanded.push_str(&lookup(&rest[..length]).unwrap_or_default());
            rest = &rest[length..];
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What stands between `${` and `}`.
fn braced(inner: &str, lookup: Lookup<'_>, depth: usize) -> BakeResult<String> {
    let (name, rest) = inner.split_at(name_length(inner));
    let wrong = || BakeError::new(format!("`${{{inner}}}` is not a variable")).help("write `$$` for a `$`");
    if name.is_empty() {
        return Err(wrong());
    }
    let value = lookup(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    let (value, word, operator) = match rest.strip_prefix(':') {
        Some(rest) => (filled, rest.get(1..), rest.chars().next()),
        None => (value, rest.get(1..), rest.chars().next()),
    };
    let word = word.unwrap_or_default();
    match operator {
        None if rest.is_empty() => Ok(value.unwrap_or_default()),
        Some('-') => value.map_or_else(|| expand_at(word, lookup, depth + 1), Ok),
        Some('+') => value.map_or(Ok(String::new()), |_| expand_at(word, lookup, depth + 1)),
        Some('?') => value.map_or_else(
            || {
                let reason = expand_at(word, lookup, depth + 1)?;
                let reason = if reason.is_empty() { "it is not set".to_owned() } else { reason };
                Err(BakeError::new(format!("the variable {name} is required: {reason}")))
            },
            Ok,
        ),
        _ => Err(wrong()),
    }
}

/// Where the brace closes; those inside are counted.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn name_length(text: &str) -> usize {
    let mut bytes = text.bytes();
    match bytes.next() {
        Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
            1 + bytes.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
        }
        _ => 0,
    }
}

/// Reads a file of `NAME=value` lines.
pub(super) fn dotenv(text: &str, lookup: Lookup<'_>) -> BakeResult<BTreeMap<String, String>> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let text = text.trim_start_matches('\u{FEFF}').replace("\r\n", "\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let line = rest[..line_end].trim_start();
        let after = rest.get(line_end + 1..).unwrap_or_default();
        if line.is_empty() || line.starts_with('#') {
            rest = after;
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let known = |name: &str| lookup(name).or_else(|| variables.get(name).cloned());
        let Some((name, value)) = line.split_once(['=', ':']) else {
            // A mere name takes its value from outside.
            let name = line.trim();
            if let Some(value) = lookup(name) {
                variables.insert(name.to_owned(), value);
            }
            rest = after;
            continue;
        };
        let name = name.trim();
        if name_length(name) != name.len() && !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-[]".contains(c)) {
            return Err(BakeError::new(format!("{name:?} is not the name of a variable")));
        }
        let value = value.trim_start();
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (value, next) = if let Some(quote) = quote {
            // A quoted value may go on over lines.
            let inner = &rest[line_end - value.len() + 1..];
            let end = end_of_quotes(inner, quote);
            let end = end.ok_or_else(|| BakeError::new(format!("the value of {name} has no closing {quote}")))?;
            let next = inner[end + 1..].find('\n').map_or("", |at| &inner[end + 1 + at + 1..]);
            let raw = &inner[..end];
            (if quote == '"' { expand(&unescape(raw), &known)? } else { raw.to_owned() }, next)
        } else {
            let value = value.find(" #").map_or(value, |at| &value[..at]).trim_end();
            (expand(value, &known)?, after)
        };
        variables.insert(name.to_owned(), value);
        rest = next;
    }
    Ok(variables)
}

fn end_of_quotes(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped && quote == '"';
        ends.then_some(at)
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('r')) => plain.push('\r'),
            ('\\', Some('t')) => plain.push('\t'),
            // Still to be expanded.
            ('\\', Some('$')) => plain.push_str("$$"),
            (_, Some(other)) => plain.push(other),
            (c, None) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        let table = [
            ("plain", "plain"),
            ("$SET-x", "value-x"),
            ("${SET}x", "valuex"),
            ("$UNSET.", "."),
            ("$$SET", "$SET"),
            ("${UNSET:-a}", "a"),
            ("${EMPTY:-a}${EMPTY-b}", "a"),
            ("${UNSET-${SET}}", "value"),
            ("${SET:+yes}${UNSET+no}${EMPTY:+no}", "yes"),
            ("${SET:?needed}", "value"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &lookup).unwrap(), expected, "{text}");
        }
        for (text, message) in [
            ("${UNSET:?tell me}", "the variable UNSET is required: tell me"),
            ("${", "has no `}`"),
            ("a $ b", "begins no variable"),
            ("${1x}", "is not a variable"),
        ] {
            let error = expand(text, &lookup).unwrap_err().message;
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn files_of_variables_are_read() {
        let text = "# comment\nA=1\nexport B = two words # comment\nC=\"x\\n$A ${B}\"\nD='$A'\nE=\nSET\nF=\"over\nlines\"\nG=g\n";
        let found = dotenv(text, &lookup).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x\n1 two words"),
            ("D", "$A"),
            ("E", ""),
            ("F", "over\nlines"),
            ("G", "g"),
            ("SET", "value"),
        ];
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
        assert!(dotenv("A=\"x", &lookup).is_err());
    }
}
