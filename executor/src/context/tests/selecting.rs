//! What sources name.

use std::fs;
use std::os::unix::fs::symlink;

use super::digest_of;
use crate::context::{EntryContent, ItemContent, LocalContext};
use crate::test_kit::{Sandbox, selection, show};

/// The paths that are selected: items with `:`, then what is in a directory.
fn selected(context: &LocalContext, sources: &[&str]) -> Result<Vec<String>, String> {
    let selected = context.source().select(&selection(sources, &[], false)).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for item in selected.items {
        let name = String::from_utf8(item.path.clone()).unwrap();
        found.push(format!("{name}:"));
        if let ItemContent::Directory(branch) = &item.content {
            let mut open = vec![branch.root];
            while let Some(id) = open.pop() {
                let directory = branch.tree.directory(id);
                for entry in &directory.entries {
                    let shown = [&*directory.path, b"/", &entry.name].concat();
                    found.push(String::from_utf8(shown).unwrap().trim_start_matches('/').to_owned());
                    if let EntryContent::Directory(id) = entry.content {
                        open.push(id);
                    }
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn ignore_patterns() {
    let files = ["keep=1", "drop=2", "dir/keep=3", "dir/other=4", "dir/sub/keep=5", "empty/", "log/a.log=6"];
    for (ignore, sources, expected) in [
        (
            &["drop"][..],
            &["."][..],
            Ok(&[":", "dir", "dir/keep", "dir/other", "dir/sub", "dir/sub/keep", "empty", "keep", "log", "log/a.log"]
                [..]),
        ),
        (&["*", "!keep"], &["."], Ok(&[":", "keep"])),
        (&["dir", "!dir/sub"], &["dir"], Ok(&["dir/sub", "dir/sub/keep", "dir:"])),
        (&["**", "!**/keep"], &["."], Ok(&[":", "dir", "dir/keep", "dir/sub", "dir/sub/keep", "keep"])),
        (&["**", "!**/keep"], &["*"], Ok(&["dir/keep", "dir/sub", "dir/sub/keep", "dir:", "keep:"])),
        (&["**/*.log"], &["log"], Ok(&["log:"])),
        (&["drop"], &["drop"], Err("\"/drop\": not found, an ignore pattern excludes it")),
        (&["dir"], &["dir/keep"], Err("\"/dir/keep\": not found, an ignore pattern excludes it")),
        (&["dir"], &["dir"], Err("\"/dir\": not found, an ignore pattern excludes it")),
        (&["dir", "!dir/none"], &["dir"], Err("\"/dir\": not found, an ignore pattern excludes it")),
        (&["drop"], &["gone"], Err("\"/gone\": not found")),
        (&["dir"], &["d*"], Ok(&["drop:"])),
        (&["*"], &["*"], Ok(&[])),
    ] {
        let sandbox = Sandbox::new();
        sandbox.tree("c", &files);
        let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        let found = selected(&sandbox.context("c", ignore), sources);
        assert_eq!(found, expected.map_err(str::to_owned), "{sources:?} without {ignore:?}");
    }
}

#[test]
fn links_lead_nowhere_outside() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["in=1", "etc/hostname=mine", "d/x=2"]);
    fs::write(sandbox.path("outside"), "secret").unwrap();
    for (name, target) in [
        ("up", "../outside"),
        ("abs", "/etc/hostname"),
        ("root", "/"),
        ("far", "../../../../../../../etc/hostname"),
        ("procfs", "/proc/self/root/etc/hostname"),
        ("loop", "loop"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    let context = sandbox.context("c", &[]);
    for (source, expected) in [
        ("up", Err("\"/up\": not found".to_owned())),
        ("abs", Ok(vec!["abs:".to_owned()])),
        ("far", Ok(vec!["far:".to_owned()])),
        ("procfs", Err("\"/procfs\": not found".to_owned())),
        ("loop", Err("\"/loop\": too many symbolic links".to_owned())),
        ("root/in", Ok(vec!["root/in:".to_owned()])),
        ("../outside", Err("\"/outside\": not found".to_owned())),
    ] {
        assert_eq!(selected(&context, &[source]), expected, "{source}");
    }
    // The context's own file, not the host's.
    assert_eq!(digest_of(&context, &["abs"]), {
        let other = Sandbox::new();
        other.tree("c", &["abs=mine"]);
        digest_of(&other.context("c", &[]), &["abs"])
    });
}

#[test]
fn a_link_into_what_is_ignored_finds_nothing() {
    let sandbox = Sandbox::new();
    sandbox.tree("c", &["secret/key=1", "link -> secret/key", "dlink -> secret"]);
    for source in ["link", "dlink", "dlink/key", "l*"] {
        let found = selected(&sandbox.context("c", &["secret"]), &[source]);
        assert!(found.unwrap_err().ends_with("not found, an ignore pattern excludes it"), "{source}");
    }
}

#[test]
fn reading_whatever_is_ignored() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["Dockerfile=FROM scratch", "d/Other=x", "big=0123456789"]);
    symlink("../../../../etc/hostname", root.join("escape")).unwrap();
    symlink("d/Other", root.join("inside")).unwrap();
    let context = sandbox.context("c", &["**"]);
    assert_eq!(context.read("Dockerfile", 100).unwrap(), Some(b"FROM scratch".to_vec()));
    assert_eq!(context.read("/inside", 100).unwrap(), Some(b"x".to_vec()));
    assert_eq!(context.read("gone", 100).unwrap(), None);
    assert_eq!(context.read("escape", 100).unwrap(), None);
    assert_eq!(context.read("big", 9).unwrap_err().to_string(), "`big` is larger than 9 bytes");
    assert!(context.read("d", 9).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn only_what_is_selected_is_looked_at() {
    let sandbox = Sandbox::new();
    sandbox.tree("c", &["a/f=1", "a/g=2", "b/g=2", "b/h/i=3", "top=4"]);
    for (sources, known) in
        [(&["a"][..], 2), (&["b/h/*"], 1), (&["b/g", "a/f"], 2), (&["to*"], 1), (&["b/*"], 2), (&["none*"], 0)]
    {
        let context = sandbox.context("c", &[]);
        digest_of(&context, sources);
        let index = crate::context::index::Index::load(&sandbox.path("c.index"));
        assert_eq!(index.len(), known, "{sources:?}");
        let _ = fs::remove_file(sandbox.path("c.index"));
    }
}

#[test]
fn names_that_are_not_text_are_shown_escaped() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &[]);
    fs::write(crate::test_kit::bytes_path(&root, b"a\xffb\x1b[31m"), "x").unwrap();
    let context = sandbox.context("c", &[]);
    context.digest(&[super::everything()]).unwrap();
    fs::remove_file(crate::test_kit::bytes_path(&root, b"a\xffb\x1b[31m")).unwrap();
    let to = sandbox.tree("to", &[]);
    let opened = crate::test_kit::open(&to);
    let action = builder_solver::FileAction::Copy(builder_solver::CopyAction {
        input: 1,
        selection: super::everything(),
        dest: "/".into(),
        owner: builder_solver::Owner::Default,
        mode: None,
        unpack: false,
    });
    let error =
        crate::copy::apply(std::os::fd::AsFd::as_fd(&opened), &[action], |_| Some(context.source()), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a\\xffb\\u{1b}[31m` changed during the build, build again when nothing writes to it"
    );
    assert_eq!(show(&root), Vec::<String>::new());
}

#[test]
fn a_missing_context() {
    let sandbox = Sandbox::new();
    sandbox.tree("c", &["f="]);
    for name in ["gone", "c/f"] {
        let opened = LocalContext::open(&sandbox.path(name), crate::pattern::IgnoreMatcher::default(), None);
        assert!(opened.unwrap_err().to_string().starts_with("can't open the directory"), "{name}");
    }
}

/// One directory with very many files is worked on by all cores and is no deeper than any other.
#[test]
fn one_large_directory() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &[]);
    for number in 0..3000 {
        fs::write(root.join(number.to_string()), number.to_string()).unwrap();
    }
    let context = sandbox.context("c", &["1*"]);
    let found = selected(&context, &["."]).unwrap();
    assert_eq!(found.len(), 1 + (0..3000).filter(|number| !number.to_string().starts_with('1')).count());
}
