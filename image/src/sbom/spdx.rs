//! A list of packages as an SPDX 2.3 document.

use builder_cache::BlobDigest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::license::Licenses;
use super::{Found, Manager, Os, Package, Supplier, purl};

/// What a document says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// What the image is called.
    pub name: &'a str,
    /// What makes the document another one; equal lists of one identity are equal documents.
    pub identity: &'a str,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// Who made it: `builder-1.0`.
    pub tool: &'a str,
}

/// Nobody looked, or nobody can know.
const UNKNOWN: &str = "NOASSERTION";

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const SYSTEM: &str = "SPDXRef-OperatingSystem";

/// The document, as JSON.
pub fn spdx(found: &Found, described: &Described<'_>) -> Value {
    let mut licenses = Licenses::default();
    let mut packages = vec![image(described)];
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    if let Some(os) = &found.os {
        packages.push(system(os));
        relations.push(relation(IMAGE, "CONTAINS", SYSTEM));
    }
    for package in &found.packages {
        let id = id(package);
        relations.push(relation(IMAGE, "CONTAINS", &id));
        packages.push(entry(package, &id, found.os.as_ref(), &mut licenses));
    }
    let created = described.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": described.name,
        "documentNamespace": namespace(described, &packages),
        "creationInfo": {
            "licenseListVersion": list_version(),
            "creators": [format!("Tool: {}", described.tool)],
            "created": created,
        },
        "packages": packages,
        "relationships": relations,
    });
    if !licenses.extracted.is_empty() {
        let extracted = licenses.extracted.iter();
        document["hasExtractedLicensingInfos"] =
            extracted.map(|(id, text)| json!({ "licenseId": id, "name": text, "extractedText": text })).collect();
    }
    document
}

/// `3.24` of `3.24.0`.
fn list_version() -> String {
    let version = spdx::license_version().trim_start_matches('v');
    version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

/// A URI that no other document has: the digest of what is in this one, in the form that SPDX proposes to those who have
/// no domain.
fn namespace(described: &Described<'_>, packages: &[Value]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(described.identity.as_bytes());
    for package in packages {
        hasher.update(package.to_string().as_bytes());
    }
    let hex = BlobDigest::from_bytes(hasher.finalize().into()).hex();
    // A UUID of version 8: bits of somebody's own.
    let uuid = format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]);
    let name: String =
        described.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(100).collect();
    format!("https://spdx.org/spdxdocs/{name}-{uuid}")
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn image(described: &Described<'_>) -> Value {
    json!({
        "name": described.name,
        "SPDXID": IMAGE,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
    })
}

fn system(os: &Os) -> Value {
    let version = if os.version.is_empty() { UNKNOWN } else { &os.version };
    json!({
        "name": os.id,
        "SPDXID": SYSTEM,
        "versionInfo": version,
        "description": os.name,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })
}

/// Letters, digits, `.` and `-` is all that an id may have; the digest tells apart what looks alike in them.
fn id(package: &Package) -> String {
    let name: String =
        package.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(100).collect();
    let mut hasher = Sha256::new();
    for part in [&package.name, &package.version, &package.architecture] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    for (key, value) in &package.qualifiers {
        hasher.update(format!("{key}={value}\0").as_bytes());
    }
    let digest = BlobDigest::from_bytes(hasher.finalize().into()).hex();
    format!("SPDXRef-Package-{}-{name}-{}", package.manager.name(), &digest[..16])
}

fn entry(package: &Package, id: &str, os: Option<&Os>, licenses: &mut Licenses) -> Value {
    let declared = licenses.expression(&package.licenses);
    let url = purl::of(package, os);
    let mut entry = json!({
        "name": package.name,
        "SPDXID": id,
        "versionInfo": package.version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "sourceInfo": source(package),
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": declared.as_deref().unwrap_or(UNKNOWN),
        "copyrightText": UNKNOWN,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }],
    });
    if let Some(supplier) = package.supplier.as_ref().and_then(supplier) {
        entry["supplier"] = json!(supplier);
    }
    if is_page(&package.homepage) {
        entry["homepage"] = json!(package.homepage);
    }
    entry
}

fn source(package: &Package) -> String {
    let what = match package.manager {
        Manager::Dpkg => "the database of dpkg",
        Manager::Apk => "the database of apk",
        Manager::Rpm => "the database of rpm",
        Manager::Python => "the metadata of an installed Python distribution",
        Manager::Npm => "the package.json of an installed module",
        Manager::Cargo => "what cargo install wrote down",
    };
    format!("read from {what}: /{}", package.place)
}

/// `Person: Name (address)`.
fn supplier(supplier: &Supplier) -> Option<String> {
    let (kind, text) = match supplier {
        Supplier::Person(text) => ("Person", text),
        Supplier::Organization(text) => ("Organization", text),
    };
    let (name, address) = match text.split_once('<') {
        Some((name, rest)) => (name, rest.split('>').next().unwrap_or_default().trim()),
        None => (text.as_str(), ""),
    };
    let name = name.replace(['(', ')', '"'], " ");
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        return None;
    }
    let is_address = address.contains('@') && !address.contains([' ', '(', ')']);
    Some(if is_address { format!("{kind}: {name} ({address})") } else { format!("{kind}: {name}") })
}

fn is_page(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let odd =
        |c: char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | '@');
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.contains('.') && !rest.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(name: &str) -> Described<'_> {
        Described { name, identity: "i", created: jiff::Timestamp::UNIX_EPOCH, tool: "builder-0" }
    }

    #[test]
    fn a_document_is_whole_and_never_varies() {
        let package = |name: &str, license: &str| Package {
            licenses: vec![license.to_owned()],
            homepage: "https://example.org/x".into(),
            supplier: Some(Supplier::Person("A (B) <a@b.c>".into())),
            ..Package::new(Manager::Dpkg, name, "1", "var/lib/dpkg/status").unwrap()
        };
        let found = Found { packages: vec![package("a", "Expat"), package("b+c", "odd words")], ..Found::default() };
        let document = spdx(&found, &described("app:1"));
        assert_eq!(document, spdx(&found, &described("app:1")));
        assert_ne!(document["documentNamespace"], spdx(&Found::default(), &described("app:1"))["documentNamespace"]);
        assert_eq!(document["creationInfo"]["created"], "1970-01-01T00:00:00Z");
        let packages = document["packages"].as_array().unwrap();
        assert_eq!(packages[1]["licenseDeclared"], "MIT");
        assert_eq!(packages[1]["supplier"], "Person: A B (a@b.c)");
        assert_eq!(packages[1]["homepage"], "https://example.org/x");
        let own = packages[2]["licenseDeclared"].as_str().unwrap();
        assert_eq!(document["hasExtractedLicensingInfos"][0]["licenseId"], own);
        let ids: Vec<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        assert!(
            ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))),
            "{ids:?}"
        );
        let relations = document["relationships"].as_array().unwrap();
        assert!(relations.iter().all(|relation| {
            let to = relation["relatedSpdxElement"].as_str().unwrap();
            ids.contains(&to)
        }));
    }

    #[test]
    fn pages_are_pages() {
        for (text, expected) in [
            ("https://a.org/b?c#d", true),
            ("http://a.org", true),
            ("https://", false),
            ("ftp://a.org", false),
            ("https://a.org/ b", false),
            ("https://user:pass@a.org", false),
            ("javascript:alert(1)", false),
        ] {
            assert_eq!(is_page(text), expected, "{text}");
        }
    }
}
