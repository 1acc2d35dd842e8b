//! Python's distributions: `METADATA` of wheels, `PKG-INFO` of eggs.

use super::root::Root;
use super::stanza::Stanza;
use super::walk::Places;
use super::{Manager, Package, Supplier, text};

const LIMIT: u64 = 4 << 20;

/// What a classifier that names a licence begins with.
const CLASSIFIER: &str = "License :: ";

pub(super) fn read(root: &Root<'_>, places: &Places, packages: &mut Vec<Package>) {
    for place in &places.python {
        let Some(metadata) = root.text(place, LIMIT) else { continue };
        packages.extend(parse(&metadata, place));
    }
}

fn parse(metadata: &str, place: &str) -> Option<Package> {
    let fields = Stanza::first(metadata);
    let mut package = Package::new(Manager::Python, fields.get("Name"), fields.get("Version"), place)?;
    package.homepage = text(fields.get("Home-page"));
    let author = text(fields.get("Author"));
    package.supplier = (!author.is_empty()).then_some(Supplier::Person(author));
    let (expression, license) = (text(fields.get("License-Expression")), text(fields.get("License")));
    package.licenses = if !expression.is_empty() {
        vec![expression]
    } else if !license.is_empty() && license != "UNKNOWN" {
        vec![license]
    } else {
        let classifiers = fields.every("Classifier").filter_map(|path| path.strip_prefix(CLASSIFIER));
        classifiers.filter_map(|path| path.rsplit(" :: ").next()).map(text).collect()
    };
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_looked_for_in_three_places() {
        let licenses = |fields: &str| {
            let metadata = format!("Metadata-Version: 2.1\nName: x\nVersion: 1\n{fields}\n\nLicense: of the text\n");
            parse(&metadata, "p").unwrap().licenses
        };
        assert_eq!(licenses("License-Expression: MIT\nLicense: other"), ["MIT"]);
        assert_eq!(licenses("License: BSD"), ["BSD"]);
        assert_eq!(licenses("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License"), ["MIT License"]);
        assert!(licenses("").is_empty());
        assert!(parse("Name: x\n", "p").is_none());
    }
}
