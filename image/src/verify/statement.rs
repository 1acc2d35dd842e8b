//! Whether a statement is about the manifest that it stands beside.

use builder_cache::BlobDigest;
use serde_json::Value;

use crate::archive::STATEMENT_TYPES;

/// Compares a statement with what is said of it: the type of its predicate, and the manifest that it is about.
pub(super) fn compare(text: &[u8], predicate: Option<&str>, manifest: Option<&BlobDigest>) -> Result<(), String> {
    let statement: Value = serde_json::from_slice(text).map_err(|error| format!("it can't be understood: {error}"))?;
    let kind = statement["_type"].as_str().unwrap_or_default();
    if !STATEMENT_TYPES.contains(&kind) {
        return Err(format!("`{kind}` is no kind of statement that is known"));
    }
    let own = statement["predicateType"].as_str().unwrap_or_default();
    if let Some(predicate) = predicate.filter(|predicate| *predicate != own) {
        return Err(format!("it says `{own}`, and `{predicate}` is said of it"));
    }
    if !statement["predicate"].is_object() {
        return Err("it says nothing".to_owned());
    }
    let Some(manifest) = manifest else { return Ok(()) };
    let subjects = statement["subject"].as_array().map(Vec::as_slice).unwrap_or_default();
    let digests = subjects.iter().map(|subject| subject["digest"]["sha256"].as_str().unwrap_or_default());
    let other: Vec<&str> = digests.filter(|digest| *digest != manifest.hex()).collect();
    match (subjects.is_empty(), other.first()) {
        (true, _) => Err("it is about nothing".to_owned()),
        (false, Some(other)) => Err(format!("it is about sha256:{other}, and stands beside {manifest}")),
        (false, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::statement;

    #[test]
    fn a_statement_is_about_its_manifest() {
        let (own, other) = (BlobDigest::of(b"a"), BlobDigest::of(b"b"));
        let text = statement("https://t", &[("n".to_owned(), own)], b"{}");
        assert_eq!(compare(&text, Some("https://t"), Some(&own)), Ok(()));
        assert!(compare(&text, Some("https://u"), Some(&own)).unwrap_err().contains("`https://u` is said of it"));
        assert!(compare(&text, None, Some(&other)).unwrap_err().contains("stands beside"));
        let both = statement("https://t", &[("n".to_owned(), own), ("m".to_owned(), other)], b"{}");
        assert!(compare(&both, None, Some(&own)).is_err(), "one of two subjects is another image");
        assert!(compare(&statement("https://t", &[], b"{}"), None, Some(&own)).unwrap_err().contains("about nothing"));
        assert!(compare(b"{}", None, None).unwrap_err().contains("no kind"));
        assert!(compare(b"[", None, None).unwrap_err().contains("can't be understood"));
    }
}
