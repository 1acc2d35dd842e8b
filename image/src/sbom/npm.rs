//! Node's modules: each has its `package.json`.

use serde_json::Value;

use super::root::Root;
use super::walk::Places;
use super::{Manager, Package, Supplier, text};

const LIMIT: u64 = 4 << 20;

pub(super) fn read(root: &Root<'_>, places: &Places, packages: &mut Vec<Package>) {
    for place in &places.npm {
        let Some(bytes) = root.read(place, LIMIT) else { continue };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => packages.extend(package(&value, place)),
            Err(error) => root.warn(format!("`{place}` can't be understood: {error}")),
        }
    }
}

fn package(value: &Value, place: &str) -> Option<Package> {
    let get = |key: &str| value[key].as_str().unwrap_or_default();
    let mut package = Package::new(Manager::Npm, get("name"), get("version"), place)?;
    package.homepage = text(get("homepage"));
    let author = text(value["author"].as_str().or(value["author"]["name"].as_str()).unwrap_or_default());
    package.supplier = (!author.is_empty()).then_some(Supplier::Person(author));
    package.licenses = licenses(value);
    Some(package)
}

/// `"MIT"`, and what came before that: `{"type": "MIT"}`, and a list of these, of which one can be chosen.
fn licenses(value: &Value) -> Vec<String> {
    let one = |value: &Value| text(value.as_str().or(value["type"].as_str()).unwrap_or_default());
    let license = one(&value["license"]);
    if !license.is_empty() {
        return vec![license];
    }
    let list = value["licenses"].as_array().into_iter().flatten().map(one).filter(|license| !license.is_empty());
    let list: Vec<String> = list.collect();
    if list.is_empty() { list } else { vec![list.join(" OR ")] }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn licences_have_had_many_forms() {
        for (value, expected) in [
            (json!({ "license": "MIT" }), &["MIT"][..]),
            (json!({ "license": { "type": "ISC" } }), &["ISC"]),
            (json!({ "licenses": [{ "type": "MIT" }, { "type": "Apache-2.0" }] }), &["MIT OR Apache-2.0"]),
            (json!({ "license": 7, "licenses": "x" }), &[]),
        ] {
            assert_eq!(licenses(&value), expected, "{value}");
        }
        let value = json!({ "name": "@a/b", "version": "1.0.0", "author": { "name": "A" } });
        assert_eq!(package(&value, "p").unwrap().supplier, Some(Supplier::Person("A".into())));
        assert!(package(&json!({ "name": "x" }), "p").is_none(), "a private application may have no version");
    }
}
