//! Packages of rpm: headers in an SQLite database or in rpm's own (`ndb`).

mod header;
mod ndb;
mod sqlite;

use super::root::Root;
use super::{Manager, Package, Supplier, room, text};

/// Where distributions have it.
const PLACES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];

/// The largest database.
const LIMIT: u64 = 1 << 30;

/// The largest header of a package.
const HEADER: usize = 64 << 20;

pub(super) fn read(root: &Root<'_>, packages: &mut Vec<Package>) {
    for place in PLACES {
        for (name, read) in [("rpmdb.sqlite", sqlite::headers as Reader), ("Packages.db", ndb::headers)] {
            let path = format!("{place}/{name}");
            let Some((_, size)) = root.open(&path).filter(|(_, size)| *size > 0) else { continue };
            if size > LIMIT {
                root.warn(format!("`{path}` has {size} bytes, which is too much to read"));
                continue;
            }
            let mut damaged = 0;
            let read = read(root, &path, &mut |header| match header::parse(header) {
                Some(header) if room(packages) > 0 => packages.extend(package(&header, &path)),
                Some(_) => {}
                None => damaged += 1,
            });
            if let Err(reason) = read {
                root.warn(format!("`{path}` can't be read as a database of rpm: {reason}"));
            }
            if damaged > 0 {
                root.warn(format!("`{path}` has {damaged} packages that can't be understood"));
            }
            // The other place is a link to this one, or what is left of an older rpm.
            return;
        }
    }
    for place in PLACES {
        if root.open(&format!("{place}/Packages")).is_some_and(|(_, size)| size > 0) {
            root.warn(format!(
                "`{place}/Packages` is a Berkeley database, which is not read: rpm 4.16 and newer write another one \
                 (`rpmdb --rebuilddb`)"
            ));
        }
    }
}

/// Gives the headers of all packages to somebody.
type Reader = fn(&Root<'_>, &str, &mut dyn FnMut(&[u8])) -> Result<(), String>;

fn package(header: &header::Header, place: &str) -> Option<Package> {
    // Keys that sign packages are kept like packages.
    if header.name == "gpg-pubkey" {
        return None;
    }
    let version = if header.release.is_empty() {
        header.version.clone()
    } else {
        format!("{}-{}", header.version, header.release)
    };
    let mut package = Package::new(Manager::Rpm, &header.name, &version, place)?;
    package.architecture = text(&header.architecture);
    if let Some(epoch) = header.epoch {
        package.qualifiers.push(("epoch", epoch.to_string()));
    }
    let source = text(&header.source);
    if !source.is_empty() && source != "(none)" {
        package.qualifiers.push(("upstream", source));
    }
    package.licenses = Some(text(&header.license)).filter(|license| !license.is_empty()).into_iter().collect();
    package.supplier = Some(text(&header.vendor)).filter(|vendor| !vendor.is_empty()).map(Supplier::Organization);
    package.homepage = text(&header.url);
    Some(package)
}
