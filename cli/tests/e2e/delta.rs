//! A context that changes again and again is copied as if it were copied for the first time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::kit::Lab;
use crate::tree::{assert_same, facts};

const DOCKERFILE: &str = "FROM busybox AS base\nRUN mkdir -p /d/old && echo old >/d/old/f\n\
    FROM base AS plain\nCOPY . /d/\n\
    FROM scratch AS linked\nCOPY --link . /d/\n\
    FROM scratch AS again\nCOPY --from=plain /d /d\n\
    FROM base AS step\nCOPY . /d/\nRUN mkdir -p /d/made && touch /d/made/here && rm -rf /d/b\nCOPY . /d/\n";

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Makes one change: few names, so that files, links and directories take each other's place often.
fn change(context: &Path, dice: &mut Dice) -> String {
    const NAMES: [&str; 12] =
        ["a", "b", "c", "s/a", "s/b", "s/t/a", "s/t/b", "b/x", "old/f", "old/g", "c/u/v", "s/t/u/w"];
    let name = NAMES[dice.roll(NAMES.len())];
    let path = context.join(name);
    let parent = path.parent().expect("below the context");
    // A directory does not go over a file of the base.
    let what = if name.starts_with("old/") { 6 } else { dice.roll(8) };
    match what {
        0 | 1 => clear(context, &path),
        2 if path.is_file() && !path.is_symlink() => {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600 + dice.roll(64) as u32)).expect("ours");
        }
        3 => {
            clear(context, &path);
            fs::create_dir_all(parent).expect("ours");
            symlink(NAMES[dice.roll(NAMES.len())], &path).expect("ours");
        }
        4 => {
            clear(context, &path);
            fs::create_dir_all(&path).expect("ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700 + dice.roll(64) as u32)).expect("ours");
        }
        5 if path.exists() => {
            let other = context.join(NAMES[dice.roll(3)]);
            if !other.starts_with(&path) && !path.starts_with(&other) {
                clear(context, &other);
                fs::rename(&path, &other).expect("ours");
            }
        }
        _ => {
            clear(context, &path);
            fs::create_dir_all(parent).expect("ours");
            fs::write(&path, format!("{}", dice.roll(4))).expect("ours");
        }
    }
    format!("{what} on {name}")
}

/// Nothing is at the path, and what is above it are directories.
fn clear(context: &Path, path: &Path) {
    for above in path.ancestors().skip(1).take_while(|above| *above != context) {
        if above.is_symlink() || above.is_file() {
            fs::remove_file(above).expect("ours");
        }
    }
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path).expect("ours");
    } else if path.is_symlink() || path.exists() {
        fs::remove_file(path).expect("ours");
    }
}

/// What is below `/d` of a stage.
fn built(lab: &Lab, context: &Path, target: &str) -> BTreeMap<OsString, String> {
    let out = lab.path().join("out");
    let _ = fs::remove_dir_all(&out);
    lab.ok(&["build", "--target", target, "-o", out.to_str().expect("UTF-8"), context.to_str().expect("UTF-8")]);
    facts(&out.join("d"))
}

#[test]
fn a_context_that_changes_often_is_copied_as_if_for_the_first_time() {
    let lab = Lab::new();
    let context = lab.project(DOCKERFILE, &[("a", "1"), ("s/t/a", "2")]);
    let mut dice = Dice(2);
    let mut changes = Vec::new();
    for round in 0..20 {
        for _ in 0..=dice.roll(3) {
            changes.push(change(&context, &mut dice));
        }
        let target = ["linked", "plain", "again", "linked", "step"][dice.roll(5)];
        let what = format!("round {round}, stage {target}, after {changes:?}");
        let mut expected = facts(&context);
        if target != "linked" {
            // What was there before, where nothing was copied over it.
            for (path, fact) in built(&lab, &context, "base") {
                expected.entry(path).or_insert(fact);
            }
        }
        if target == "step" {
            expected.insert("made".into(), "40755 0:0".into());
            let empty = "100644 0:0 0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
            expected.insert("made/here".into(), empty.into());
        }
        assert_same(&built(&lab, &context, target), &expected, &what);
    }
    // All of it in an empty store gives the same.
    let fresh = Lab::new();
    for target in ["linked", "plain", "again", "step"] {
        assert_same(&built(&lab, &context, target), &built(&fresh, &context, target), target);
    }
}

#[test]
fn an_image_is_as_large_as_its_files_however_they_came_there() {
    let lab = Lab::empty();
    let text = "x".repeat(1000);
    let names: Vec<String> = (0..200).map(|number| format!("c/{number}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
    let context = lab.project("FROM scratch\nCOPY c /c\n", &files);
    let built = || {
        lab.ok(&["build", "-q", "-t", "app", context.to_str().expect("UTF-8")]);
        lab.inspect("app")["Size"].as_u64().expect("a number")
    };
    assert_eq!(built(), 200_000);
    fs::write(context.join("c/7"), "y").expect("ours");
    // What the changed file was before is counted, too, as long as it is there.
    assert!((199_001..=200_001).contains(&built()));
}
