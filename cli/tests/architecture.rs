//! The rooms of `docs/ARCHITECTURE.md`: which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The table of the page: a crate and what it may use of ours.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("builder-solver", &[]),
    ("builder-frontend", &["builder-solver"]),
    ("builder-cache", &["builder-solver"]),
    ("builder-image", &["builder-solver", "builder-cache"]),
    ("builder-executor", &["builder-solver", "builder-cache", "builder-image"]),
    ("builder", &["builder-solver", "builder-frontend", "builder-cache", "builder-image", "builder-executor"]),
];

/// What a crate must not reach for, because its job is without it.
const FORBIDDEN: [(&str, &[&str]); 2] = [
    ("builder-solver", &["rusqlite", "rustix", "nix", "libc", "tempfile", "oci-spec", "pest"]),
    ("builder-frontend", &["rusqlite", "rustix", "nix", "libc", "tempfile", "tokio", "ureq"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("dependencies");
            (text(&package["name"]), all.iter().filter(normal).map(|found| text(&found["name"])).collect())
        })
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let dependencies = dependencies();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(dependencies.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "every crate has its row");
    for (name, allowed) in ALLOWED {
        for used in dependencies[name].iter().filter(|used| known.contains(used.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
    }
}

#[test]
fn what_a_crate_does_not_know_it_does_not_import() {
    let dependencies = dependencies();
    for (name, forbidden) in FORBIDDEN {
        for crate_name in forbidden {
            assert!(!dependencies[name].contains(*crate_name), "{name} must not use {crate_name}");
        }
    }
}
