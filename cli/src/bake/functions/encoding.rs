//! Other ways to write values.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Function, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::syntax::json;
use crate::bake::value::Value;
use crate::csv;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("base64decode", 1, |a| {
        let bytes = STANDARD.decode(a[0].to_text()?).map_err(|_| BakeError::new("this is not base64"))?;
        String::from_utf8(bytes).map(Value::String).map_err(|_| BakeError::new("what was encoded is not UTF-8"))
    }),
    exactly("base64encode", 1, |a| Ok(Value::string(STANDARD.encode(a[0].to_text()?)))),
    exactly("csvdecode", 1, |a| table(&a[0].to_text()?)),
    exactly("jsondecode", 1, |a| {
        json::parse_value(&a[0].to_text()?).map_err(|error| BakeError::new(format!("this is not JSON: {error}")))
    }),
    exactly("jsonencode", 1, |a| Ok(Value::string(a[0].to_json().to_string()))),
    exactly("urlencode", 1, |a| Ok(Value::string(query(&a[0].to_text()?)))),
];

/// The first line names the columns; every other line is an object.
fn table(text: &str) -> BakeResult<Value> {
    let mut rows = csv::records(text).map_err(BakeError::new)?.into_iter();
    let Some(names) = rows.next() else { return Err(BakeError::new("the first line, with names, is missing")) };
    let object = |row: Vec<String>| {
        if row.len() != names.len() {
            return Err(BakeError::new(format!("a line has {} values and not {}", row.len(), names.len())));
        }
        Ok(Value::Object(names.iter().cloned().zip(row.into_iter().map(Value::String)).collect()))
    };
    rows.map(object).collect::<BakeResult<_>>().map(Value::List)
}

fn query(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
