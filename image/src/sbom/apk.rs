//! Alpine's packages: stanzas of fields with one letter.

use super::root::Root;
use super::{Manager, PACKAGES, Package, Supplier, text};

const INSTALLED: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

const LIMIT: u64 = 256 << 20;

pub(super) fn read(root: &Root<'_>, packages: &mut Vec<Package>) {
    // Where `lib` is a link, both are one file.
    let Some((place, all)) = INSTALLED.iter().find_map(|place| Some((*place, root.text(place, LIMIT)?))) else {
        return;
    };
    packages.extend(parse(&all, place));
}

fn parse(all: &str, place: &str) -> Vec<Package> {
    // Letters have a case here: `p:` is what a package provides.
    let mut found = Vec::new();
    for stanza in all.split("\n\n") {
        if found.len() > PACKAGES {
            break;
        }
        let get = |letter: char| {
            let field = |line: &'_ str| line.strip_prefix(letter).is_some_and(|rest| rest.starts_with(':'));
            text(stanza.lines().find(|line| field(line)).map_or("", |line| &line[2..]))
        };
        let Some(mut package) = Package::new(Manager::Apk, &get('P'), &get('V'), place) else { continue };
        package.architecture = get('A');
        package.homepage = get('U');
        package.licenses = Some(get('L')).filter(|license| !license.is_empty()).into_iter().collect();
        package.supplier = Some(get('m')).filter(|name| !name.is_empty()).map(Supplier::Person);
        let origin = get('o');
        if !origin.is_empty() && origin != package.name {
            package.qualifiers.push(("upstream", origin));
        }
        found.push(package);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_a_case() {
        let text = "C:Q1x\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\np:so:x\n\nP:scanelf\nV:1\no:pax-utils\nm:A <a@b>\n\nP:x\n";
        let found = parse(text, "p");
        assert_eq!(found.len(), 2, "one has no version");
        assert_eq!((found[0].name.as_str(), found[0].licenses.as_slice()), ("musl", &["MIT".to_owned()][..]));
        assert_eq!(found[1].qualifiers, [("upstream", "pax-utils".to_owned())]);
        assert_eq!(found[1].supplier, Some(Supplier::Person("A <a@b>".into())));
    }
}
