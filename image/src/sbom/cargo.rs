//! What `cargo install` installed: `.crates2.json`.

use serde_json::Value;

use super::root::Root;
use super::walk::Places;
use super::{Manager, Package, text};

const LIMIT: u64 = 16 << 20;

pub(super) fn read(root: &Root<'_>, places: &Places, packages: &mut Vec<Package>) {
    for place in &places.cargo {
        let Some(bytes) = root.read(place, LIMIT) else { continue };
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => {
                let installs = value["installs"].as_object();
                packages.extend(installs.into_iter().flatten().filter_map(|(id, _)| package(id, place)));
            }
            Err(error) => root.warn(format!("`{place}` can't be understood: {error}")),
        }
    }
}

/// `ripgrep 14.1.0 (registry+https://…)`.
fn package(id: &str, place: &str) -> Option<Package> {
    let mut parts = id.splitn(3, ' ');
    let (name, version) = (parts.next()?, parts.next()?);
    let source = parts.next().unwrap_or_default().trim_start_matches('(').trim_end_matches(')');
    let mut package = Package::new(Manager::Cargo, name, version, place)?;
    if source.starts_with("git+") {
        package.qualifiers.push(("vcs_url", text(&builder_solver::address::redact(source))));
    }
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_sources() {
        let found = package("rg 1.0.0 (registry+https://example.com/index)", "p").unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str(), found.qualifiers.len()), ("rg", "1.0.0", 0));
        let found = package("a 0.1.0 (git+https://h/a#1234)", "p").unwrap();
        assert_eq!(found.qualifiers, [("vcs_url", "git+https://h/a#1234".to_owned())]);
        assert!(package("a", "p").is_none());
    }
}
