//! What servers say when they refuse, made fit to be shown.

use std::io::Read;

use serde_json::Value;

use crate::http::Response;

/// How much of an answer is looked at, and how much of what it says is shown.
const LOOK: u64 = 16 << 10;
const SHOW: usize = 300;

/// The server's own code and message: `MANIFEST_UNKNOWN: manifest unknown`. `hide` takes out what it was told in
/// confidence, as some quote the request.
pub(super) fn read(response: &mut Response, hide: impl Fn(String) -> String) -> Option<String> {
    let plain = response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
    let mut text = Vec::new();
    // What came before the connection broke is better than nothing.
    let _ = response.take(LOOK).read_to_end(&mut text);
    match serde_json::from_slice(&text) {
        Ok(document) => clean(&hide(of(&document)?)),
        Err(_) if plain => clean(&hide(String::from_utf8_lossy(&text).into_owned())),
        Err(_) => None,
    }
}

/// The same of a document, in the forms that registries, token servers and gateways use.
fn of(document: &Value) -> Option<String> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let one = |error: &Value| match (text(error, "code"), text(error, "message")) {
        (Some(code), Some(message)) if !message.is_empty() => Some(format!("{code}: {message}")),
        (code, message) => message.filter(|text| !text.is_empty()).or(code),
    };
    if let Some(errors) = document.get("errors").and_then(Value::as_array) {
        let all: Vec<String> = errors.iter().take(3).filter_map(one).collect();
        return Some(all.join("; "));
    }
    let names = ["error_description", "details", "detail", "message", "error"];
    names.iter().find_map(|name| text(document, name))
}

/// A text of a server without what could confuse a terminal or fill it.
pub(crate) fn clean(text: &str) -> Option<String> {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let spaced: String = text.chars().take(4 * SHOW).map(|c| if is_odd(c) { ' ' } else { c }).collect();
    let mut whole = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = whole.char_indices().nth(SHOW) {
        whole.truncate(end);
        whole.push('…');
    }
    (!whole.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_quoted_in_one_clean_line() {
        let long = "x".repeat(5000);
        let cut = format!("{}…", "x".repeat(SHOW));
        for (document, said) in [
            (r#"{"errors":[{"code":"A","message":"b","detail":{}}]}"#, Some("A: b")),
            (r#"{"errors":[{"code":"A"},{"message":"b"},{},{"code":"D"}]}"#, Some("A; b")),
            (r#"{"errors":[]}"#, None),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"error":"e","error_description":"why"}"#, Some("why")),
            ("{\"message\":\"a\\u001b[31m\\r\\n\\u0000b\\u202ec\"}", Some("a [31m b c")),
            (&format!(r#"{{"message":"{long}"}}"#), Some(cut.as_str())),
            (r#"["a"]"#, None),
        ] {
            let document = serde_json::from_str(document).unwrap();
            assert_eq!(of(&document).and_then(|text| clean(&text)).as_deref(), said, "{document}");
        }
    }
}
