//! Debian's packages: `status`, and `status.d` of images without dpkg.

use rustix::fs::FileType;

use super::root::Root;
use super::stanza::Stanza;
use super::{Manager, Package, Supplier, room, text};

const STATUS: &str = "var/lib/dpkg/status";
const PARTS: &str = "var/lib/dpkg/status.d";

/// The largest list, one of its parts, and what is known of copyrights.
const LIMIT: u64 = 256 << 20;
const PART_LIMIT: u64 = 1 << 20;
const COPYRIGHT_LIMIT: u64 = 4 << 20;

/// How many licences of a package are named.
const LICENSES: usize = 64;

pub(super) fn read(root: &Root<'_>, packages: &mut Vec<Package>) {
    if let Some(text) = root.text(STATUS, LIMIT) {
        packages.extend(Stanza::all(&text).filter_map(|stanza| package(root, &stanza, STATUS)).take(room(packages)));
    }
    for (name, kind) in root.names(PARTS, true) {
        if kind != FileType::RegularFile || name.ends_with(".md5sums") {
            continue;
        }
        let path = format!("{PARTS}/{name}");
        let Some(text) = root.text(&path, PART_LIMIT) else { continue };
        packages.extend(Stanza::all(&text).filter_map(|stanza| package(root, &stanza, &path)).take(room(packages)));
    }
}

fn package(root: &Root<'_>, stanza: &Stanza<'_>, place: &str) -> Option<Package> {
    let status = stanza.get("Status");
    // `deinstall ok config-files` is what is left of a package.
    if !status.is_empty() && !status.ends_with(" installed") {
        return None;
    }
    let mut package = Package::new(Manager::Dpkg, stanza.get("Package"), stanza.get("Version"), place)?;
    package.architecture = text(stanza.get("Architecture"));
    package.homepage = text(stanza.get("Homepage"));
    let maintainer = text(stanza.get("Maintainer"));
    package.supplier = (!maintainer.is_empty()).then_some(Supplier::Person(maintainer));
    let source = stanza.get("Source");
    if !source.is_empty() {
        // `glibc (2.36-9)` when the version is another one.
        let upstream = match source.split_once(" (") {
            Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
            None => source.to_owned(),
        };
        package.qualifiers.push(("upstream", text(&upstream)));
    }
    package.licenses = licenses(root, &package.name);
    Some(package)
}

/// The licences that a machine-readable copyright file names.
fn licenses(root: &Root<'_>, name: &str) -> Vec<String> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_name || name.starts_with('.') {
        return Vec::new();
    }
    let Some(copyright) = root.text(&format!("usr/share/doc/{name}/copyright"), COPYRIGHT_LIMIT) else {
        return Vec::new();
    };
    if !copyright.lines().take(10).any(|line| line.starts_with("Format:") && line.contains("copyright-format")) {
        return Vec::new();
    }
    let named = Stanza::all(&copyright).flat_map(|stanza| stanza.every("License").map(text).collect::<Vec<_>>());
    let mut licenses: Vec<String> = named.filter(|license| !license.is_empty()).collect();
    licenses.sort();
    licenses.dedup();
    licenses.truncate(LICENSES);
    licenses
}
