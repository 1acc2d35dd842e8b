//! What a destination means, what replaces what, who owns it.

use builder_solver::{FileAction, FileMode, Owner};

use super::{copy_action, named, run, run_copy, symbolic};
use crate::test_kit::{Sandbox, selection, show};

/// Copies `sources` of the context to `dest` and shows the destination.
fn copied(context: &[&str], base: &[&str], sources: &[&str], dest: &str) -> Result<Vec<String>, String> {
    let sandbox = Sandbox::new();
    sandbox.tree("context", context);
    let root = sandbox.tree("root", base);
    let context = sandbox.context("context", &[]);
    run_copy(&root, context.source(), &copy_action(selection(sources, &[], false), dest))
        .map_err(|error| error.to_string())?;
    Ok(show(&root))
}

#[test]
fn destinations() {
    let context = ["f=1", "g=2", "d/x=3", "d/y/z=4", "e/x=5"];
    for (base, sources, dest, expected) in [
        // One file.
        (&[][..], &["f"][..], "/new", &["new=1"][..]),
        (&[], &["f"], "/new/", &["new/", "new/f=1"]),
        (&[], &["f"], "/a/b/new", &["a/", "a/b/", "a/b/new=1"]),
        (&["old/"], &["f"], "/old", &["old/", "old/f=1"]),
        (&["old=0"], &["f"], "/old", &["old=1"]),
        (&[], &["f"], "/", &["f=1"]),
        (&[], &["f"], "/x/.", &["x/", "x/f=1"]),
        (&[], &["f"], "/x/../y", &["y=1"]),
        (&[], &["/f"], "/new", &["new=1"]),
        (&[], &["../../f"], "/new", &["new=1"]),
        (&[], &["./f"], "/../new", &["new=1"]),
        // Several files.
        (&[], &["f", "g"], "/d/", &["d/", "d/f=1", "d/g=2"]),
        // Without a slash each goes to the same place, unless a directory is there.
        (&[], &["f", "g"], "/d", &["d=2"]),
        (&["d/"], &["f", "g"], "/d", &["d/", "d/f=1", "d/g=2"]),
        (&["o=0"], &["f", "g"], "/o", &["o=2"]),
        (&[], &["d", "f"], "/n", &["n/", "n/f=1", "n/x=3", "n/y/", "n/y/z=4"]),
        (&[], &["f", "nothing*"], "/d", &["d=1"]),
        (&[], &["f", "d/x"], "/d/", &["d/", "d/f=1", "d/x=3"]),
        // The last one wins.
        (&[], &["d/x", "e/x"], "/d/", &["d/", "d/x=5"]),
        // Directories mean their contents.
        (&[], &["d"], "/n", &["n/", "n/x=3", "n/y/", "n/y/z=4"]),
        (&[], &["d/"], "/n/", &["n/", "n/x=3", "n/y/", "n/y/z=4"]),
        (&["n/o=9", "n/y/p=8"], &["d"], "/n", &["n/", "n/o=9", "n/x=3", "n/y/", "n/y/p=8", "n/y/z=4"]),
        (&["n/x=9"], &["d"], "/n", &["n/", "n/x=3", "n/y/", "n/y/z=4"]),
        (&[], &["d", "f"], "/n/", &["n/", "n/f=1", "n/x=3", "n/y/", "n/y/z=4"]),
        (&[], &["d", "e"], "/n/", &["n/", "n/x=5", "n/y/", "n/y/z=4"]),
        (&[], &["e"], "/", &["x=5"]),
        // Wildcards.
        (&[], &["?"], "/n/", &["n/", "n/f=1", "n/g=2", "n/x=5", "n/y/", "n/y/z=4"]),
        (&[], &["d*/x"], "/n", &["n=3"]),
        (&[], &["[fg]"], "/n/", &["n/", "n/f=1", "n/g=2"]),
        (&[], &["nothing*"], "/n/", &[]),
        (&[], &["nothing*", "f"], "/n/", &["n/", "n/f=1"]),
        (&[], &["*/y"], "/n/", &["n/", "n/z=4"]),
    ] {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(copied(&context, base, sources, dest), Ok(expected), "{sources:?} to {dest} over {base:?}");
    }
}

#[test]
fn links_of_the_destination() {
    let context = ["f=1", "d/x=3"];
    for (base, sources, dest, expected) in [
        // The destination itself, and what leads to it, is followed, inside the root.
        (&["real/", "link -> real"][..], &["f"][..], "/link/", &["link -> real", "real/", "real/f=1"][..]),
        (&["real/", "link -> real"], &["f"], "/link", &["link -> real", "real/", "real/f=1"]),
        (&["real/", "link -> /real"], &["d"], "/link", &["link -> /real", "real/", "real/x=3"]),
        (&["real/", "link -> ../../../real"], &["f"], "/link/n", &["link -> ../../../real", "real/", "real/n=1"]),
        (&["to=0", "link -> to"], &["f"], "/link", &["link -> to", "to=1"]),
        (&["link -> gone/n"], &["f"], "/link", &["gone/", "gone/n=1", "link -> gone/n"]),
        // What is below it is replaced.
        (&["n/x -> ../victim", "victim=0"], &["d"], "/n", &["n/", "n/x=3", "victim=0"]),
        (&["f -> victim", "victim=0"], &["f"], "/", &["f=1", "victim=0"]),
    ] {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(copied(&context, base, sources, dest), Ok(expected), "{sources:?} to {dest} over {base:?}");
    }
}

#[test]
fn conflicts() {
    let context = ["f=1", "d/x=3", "d/y/z=4"];
    for (base, sources, dest, expected) in [
        (&["n/x/"][..], &["d"][..], "/n", "can't replace the directory `/n/x` by a file"),
        (&["n/f/"], &["f"], "/n/", "can't replace the directory `/n/f` by a file"),
        (&["n/y=0"], &["d"], "/n", "can't copy the directory `d/y` to `/n/y`, which is not a directory"),
        (&["n=0"], &["d"], "/n", "can't copy the directory `d` to `/n`, which is not a directory"),
        (&[], &["f", "d"], "/n", "can't copy the directory `d` to `/n`, which is not a directory"),
        (&["n=0"], &["f"], "/n/", "can't copy to `/n`: `/n` is not a directory"),
        (&["n=0"], &["f"], "/n/x/y", "can't copy to `/n/x`: `/n` is not a directory"),
        (&["n/y -> ../r", "r/"], &["d"], "/n", "which is not a directory but a symbolic link"),
        (&["l -> l"], &["f"], "/l", "`/l` leads through too many symbolic links"),
        (&[], &["gone"], "/n", "\"/gone\": not found"),
        (&[], &["f/x"], "/n", "\"/f/x\": not found"),
        (&[], &["gone/*"], "/n", "\"/gone\": not found"),
        (&[], &["f", "[x"], "/n/", "`[x` is not a pattern"),
    ] {
        let error = copied(&context, base, sources, dest).unwrap_err();
        assert!(error.contains(expected), "{sources:?} to {dest} over {base:?}: {error}");
    }
}

#[test]
fn a_directory_keeps_what_it_was_and_takes_what_it_gets() {
    let context = ["d/s/x=1", "d/s/@700", "d/@750"];
    for (base, expected) in [
        // The destination is made 0755, what is below it is like the source.
        (&[][..], &["n/", "n/s/@700", "n/s/x=1"][..]),
        // A destination that is there stays; what is below it becomes like the source.
        (&["n/@711"], &["n/@711", "n/s/@700", "n/s/x=1"]),
        (&["n/s/o=2", "n/s/@777"], &["n/", "n/s/@700", "n/s/o=2", "n/s/x=1"]),
    ] {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(copied(&context, base, &["d"], "/n"), Ok(expected), "over {base:?}");
    }
}

#[test]
fn owners_and_modes() {
    let passwd = "etc/passwd=root:x:0:0::/:\napp:x:10:20::/:\n";
    for (owner, mode, expected) in [
        (Owner::Default, None, &["n/", "n/d/@700", "n/d/run=@755", "n/d/s=@4755", "n/f="][..]),
        (named("app"), None, &["n/#10:20", "n/d/@700#10:20", "n/d/run=@755#10:20", "n/d/s=@4755#10:20", "n/f=#10:20"]),
        (
            named("7"),
            Some(symbolic("go=u-w,+X")),
            &["n/#7:7", "n/d/#7:7", "n/d/run=@755#7:7", "n/d/s=@4755#7:7", "n/f=#7:7"],
        ),
        (
            Owner::Default,
            Some(FileMode::Octal(0o2510)),
            &["n/", "n/d/@2510", "n/d/run=@2510", "n/d/s=@2510", "n/f=@2510"],
        ),
        (Owner::Default, Some(symbolic("a-x")), &["n/", "n/d/@600", "n/d/run=", "n/d/s=@4644", "n/f="]),
    ] {
        let sandbox = Sandbox::new();
        sandbox.tree("context", &["f=", "d/run=@755", "d/s=@4755", "d/@700"]);
        let root = sandbox.tree("root", &[passwd]);
        let context = sandbox.context("context", &[]);
        let mut copy = copy_action(selection(&["."], &[], false), "/n/");
        (copy.owner, copy.mode) = (owner, mode);
        run_copy(&root, context.source(), &copy).unwrap();
        let shown: Vec<String> = show(&root).into_iter().filter(|line| line.starts_with('n')).collect();
        assert_eq!(shown, expected, "{copy:?}");
    }
}

#[test]
fn exclusions() {
    let context = ["a.md=1", "b.txt=2", "d/c.md=3", "d/k.txt=4", "d/e/f.md=5", "g/h.md=6"];
    for (sources, exclude, expected) in [
        (
            &["."][..],
            &["*.md"][..],
            &["b.txt=2", "d/", "d/c.md=3", "d/e/", "d/e/f.md=5", "d/k.txt=4", "g/", "g/h.md=6"][..],
        ),
        (&["."], &["**/*.md"], &["b.txt=2", "d/", "d/e/", "d/k.txt=4", "g/"]),
        (&["."], &["d", "!d/e"], &["a.md=1", "b.txt=2", "d/", "d/e/", "d/e/f.md=5", "g/", "g/h.md=6"]),
        (&["."], &["**", "!d/k.txt"], &["d/", "d/k.txt=4"]),
        (&["d"], &["*.md"], &["e/", "e/f.md=5", "k.txt=4"]),
        (&["*.*"], &["*.md"], &["b.txt=2"]),
        (&["d", "g"], &["e", "h.md"], &["c.md=3", "k.txt=4"]),
    ] {
        let sandbox = Sandbox::new();
        sandbox.tree("context", &context);
        let root = sandbox.tree("root", &[]);
        let context = sandbox.context("context", &[]);
        run_copy(&root, context.source(), &copy_action(selection(sources, exclude, false), "/")).unwrap();
        assert_eq!(show(&root), expected, "{sources:?} without {exclude:?}");
    }
}

#[test]
fn parents() {
    let context = ["a/b/c=1", "a/b/d/e=2", "a/x=3", "f=4", "a/b/@700", "l -> a"];
    for (sources, exclude, expected) in [
        (&["a/b/c"][..], &[][..], &["a/", "a/b/@700", "a/b/c=1"][..]),
        (&["./a/b/./c"], &[], &["c=1"]),
        (&["a/./b/c"], &[], &["b/@700", "b/c=1"]),
        (&["a/b"], &[], &["a/", "a/b/@700", "a/b/c=1", "a/b/d/", "a/b/d/e=2"]),
        (&["a/b/d", "f"], &[], &["a/", "a/b/@700", "a/b/d/", "a/b/d/e=2", "f=4"]),
        (&["**/e"], &[], &["a/", "a/b/@700", "a/b/d/", "a/b/d/e=2"]),
        (&["a/*/c"], &[], &["a/", "a/b/@700", "a/b/c=1"]),
        (&["*"], &["a"], &["f=4", "l -> a"]),
        (&["a"], &["a/b/d"], &["a/", "a/b/@700", "a/b/c=1", "a/x=3"]),
        (&["none/*"], &[], &[]),
        (&["./*/./x"], &[], &["x=3"]),
        (&["l"], &[], &["l -> a"]),
    ] {
        let sandbox = Sandbox::new();
        sandbox.tree("context", &context);
        let root = sandbox.tree("root", &[]);
        let context = sandbox.context("context", &[]);
        run_copy(&root, context.source(), &copy_action(selection(sources, exclude, true), "/")).unwrap();
        assert_eq!(show(&root), expected, "{sources:?} without {exclude:?}");
    }
    let sandbox = Sandbox::new();
    sandbox.tree("context", &context);
    let root = sandbox.tree("root", &[]);
    for source in ["gone", "a/gone", "f/x", "l/x"] {
        let context = sandbox.context("context", &[]);
        let error = run_copy(&root, context.source(), &copy_action(selection(&[source], &[], true), "/")).unwrap_err();
        assert_eq!(error.to_string(), format!("\"/{source}\": not found"));
    }
}

#[test]
fn directories_and_files_of_the_op_itself() {
    let sandbox = Sandbox::new();
    sandbox.tree("context", &["f=copied"]);
    let root = sandbox.tree("root", &["there/@700", "link -> there", "old=x@755"]);
    let context = sandbox.context("context", &[]);
    let mkdir = |path: &str| FileAction::Mkdir { path: path.into(), mode: 0o750, owner: named("5:6") };
    let mkfile = |dest: &str, name: &str, mode| FileAction::Mkfile {
        dest: dest.into(),
        name: name.into(),
        data: b"text".to_vec(),
        mode,
        owner: Owner::Default,
    };
    let actions = [
        mkdir("/a/b"),
        mkdir("/there"),
        mkdir("/link/in"),
        FileAction::Copy(copy_action(selection(&["f"], &[], false), "/a/b/")),
        mkfile("/a/b/", "EOF", FileMode::Octal(0o644)),
        mkfile("/a/b/f", "unused", FileMode::Octal(0o600)),
        mkfile("/there", "in-it", FileMode::Symbolic("+x".into())),
        mkfile("/old", "unused", FileMode::Octal(0o644)),
    ];
    run(&root, context.source(), &actions).unwrap();
    assert_eq!(
        show(&root),
        [
            "a/#5:6",
            "a/b/@750#5:6",
            "a/b/EOF=text",
            "a/b/f=text@600",
            "link -> there",
            "old=text",
            "there/@700",
            "there/in-it=text@755",
            "there/in/@750#5:6",
        ]
    );
}

#[test]
fn a_link_that_was_just_copied_is_followed() {
    let sandbox = Sandbox::new();
    sandbox.tree("context", &["d/link -> real", "d/real/", "f=1"]);
    let root = sandbox.tree("root", &[]);
    let context = sandbox.context("context", &[]);
    let actions = [
        FileAction::Copy(copy_action(selection(&["d"], &[], false), "/")),
        FileAction::Copy(copy_action(selection(&["f"], &[], false), "/link/")),
    ];
    run(&root, context.source(), &actions).unwrap();
    assert_eq!(show(&root), ["link -> real", "real/", "real/f=1"]);
}

#[test]
fn links_given_as_sources_are_followed_and_keep_their_name() {
    let context =
        ["real=1", "link -> real", "dir/x=2", "dir/in -> x", "dlink -> dir", "out -> ../../../real", "dead -> gone"];
    for (source, dest, expected) in [
        ("link", "/n/", &["n/", "n/link=1"][..]),
        ("out", "/n/", &["n/", "n/out=1"]),
        ("dlink", "/n/", &["n/", "n/in -> x", "n/x=2"]),
        ("dlink/x", "/n/", &["n/", "n/x=2"]),
        ("l*", "/n/", &["n/", "n/link=1"]),
        ("dlink/*", "/n/", &["n/", "n/in=2", "n/x=2"]),
    ] {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(copied(&context, &[], &[source], dest), Ok(expected), "{source}");
    }
    assert_eq!(copied(&context, &[], &["dead"], "/n"), Err("\"/dead\": not found".to_owned()));
}
