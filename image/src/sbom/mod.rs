//! What packages a root file system has, as their managers wrote it down.
//!
//! | database | reader |
//! |---|---|
//! | `var/lib/dpkg/status`, `status.d/*` | [`dpkg`] |
//! | `lib/apk/db/installed` | [`apk`] |
//! | `rpmdb.sqlite`, `Packages.db` | [`rpm`] |
//! | `*.dist-info/METADATA`, `*.egg-info` | [`python`] |
//! | `node_modules/*/package.json` | [`npm`] |
//! | `.crates2.json` | [`cargo`] |
//! | `etc/os-release` | [`os`] |
//!
//! # Invariants
//!
//! * **The image may be hostile.** Files are opened inside of its root, no link leads out of it, and only regular files
//!   are read; every size, number and depth is bounded ([`root`]). What can't be understood is a warning, never an error.
//! * Nothing of the image is run, and nothing is asked of the network.
//! * Equal files give an equal list, in one order.

mod apk;
mod cargo;
mod dpkg;
mod license;
mod npm;
mod os;
mod purl;
mod python;
mod root;
mod rpm;
mod spdx;
mod stanza;
mod walk;

use std::os::fd::OwnedFd;

pub use os::Os;
pub use purl::escaped;
pub use spdx::{Described, spdx};

use root::Root;
use walk::Places;

/// How many packages are listed at most.
const PACKAGES: usize = 200_000;

/// How many more packages a database may have before the list is full.
fn room(packages: &[Package]) -> usize {
    (PACKAGES + 1).saturating_sub(packages.len())
}

/// The longest text that is kept of a package: names, versions, licences.
const TEXT: usize = 1024;

/// Who knows of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// Fedora's, Red Hat's and SUSE's.
    Rpm,
    /// Python's.
    Python,
    /// Node's.
    Npm,
    /// Rust's.
    Cargo,
}

impl Manager {
    /// The type of its package URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dpkg => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Python => "pypi",
            Self::Npm => "npm",
            Self::Cargo => "cargo",
        }
    }
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Who knows of it.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version, without an epoch for rpm.
    pub version: String,
    /// What it runs on, in the words of its manager; empty when that is not said.
    pub architecture: String,
    /// What its package URL says besides, in the order of the names.
    pub qualifiers: Vec<(&'static str, String)>,
    /// Its licences as they are written down; all of them apply.
    pub licenses: Vec<String>,
    /// Who made the package.
    pub supplier: Option<Supplier>,
    /// Its page.
    pub homepage: String,
    /// The file that says all this.
    pub place: String,
}

/// Who made a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supplier {
    /// `Name <address>`.
    Person(String),
    /// A distributor.
    Organization(String),
}

impl Package {
    /// One of which only the name and the version are known. Nothing without both.
    fn new(manager: Manager, name: &str, version: &str, place: &str) -> Option<Self> {
        let (name, version) = (text(name), text(version));
        if name.is_empty() || version.is_empty() {
            return None;
        }
        Some(Self {
            manager,
            name,
            version,
            architecture: String::new(),
            qualifiers: Vec::new(),
            licenses: Vec::new(),
            supplier: None,
            homepage: String::new(),
            place: place.to_owned(),
        })
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The distribution.
    pub os: Option<Os>,
    /// Its packages, in order, each once.
    pub packages: Vec<Package>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// Looks for packages in an open root file system.
pub fn scan(root: &OwnedFd) -> Found {
    let root = Root::new(root);
    let os = os::read(&root);
    let mut packages = Vec::new();
    dpkg::read(&root, &mut packages);
    apk::read(&root, &mut packages);
    rpm::read(&root, &mut packages);
    let places = Places::find(&root);
    python::read(&root, &places, &mut packages);
    npm::read(&root, &places, &mut packages);
    cargo::read(&root, &places, &mut packages);
    packages.sort();
    // The same module in ten places is one package.
    packages.dedup_by(|one, other| {
        (one.manager, &one.name, &one.version, &one.architecture, &one.qualifiers)
            == (other.manager, &other.name, &other.version, &other.architecture, &other.qualifiers)
    });
    if packages.len() > PACKAGES {
        root.warn(format!("there are more than {PACKAGES} packages, of which so many are listed"));
        packages.truncate(PACKAGES);
    }
    Found { os, packages, warnings: root.into_warnings() }
}

/// A text of an image as it is kept: one line, without what a terminal would obey, of bounded length.
fn text(raw: &str) -> String {
    let clean = raw.trim().chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let clean = clean.filter(|c| !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'));
    let mut text = String::new();
    for c in clean {
        if text.len() + c.len_utf8() > TEXT {
            break;
        }
        text.push(c);
    }
    text
}
