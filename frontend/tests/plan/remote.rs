//! `ADD` of URLs and git repositories.

use builder_solver::{GitSource, HttpSource, Op, Source};

use crate::support::{Planned, dump, history, plan};

fn sources(plan: &Planned) -> Vec<&Source> {
    let sources = plan.graph.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Source(source @ (Source::Http(_) | Source::Git(_))) => Some(source),
        _ => None,
    });
    sources.collect()
}

/// What the only remote source of an `ADD` is.
fn source(add: &str) -> Source {
    let plan = plan(&format!("FROM busybox\nENV V=1.2 SUM={}\n{add}\n", "ab".repeat(32)));
    let [source] = sources(&plan)[..] else { panic!("{add}: {:?}", sources(&plan)) };
    source.clone()
}

#[test]
fn urls() {
    let sum = format!("sha256:{}", "ab".repeat(32));
    for (add, url, name, checksum) in [
        ("ADD https://example.org/a.txt /", "https://example.org/a.txt", "a.txt", None),
        ("ADD http://example.org/v$V/a%20b?x=y#z b", "http://example.org/v1.2/a%20b?x=y", "a b", None),
        ("ADD https://example.org b/", "https://example.org", "__unnamed__", None),
        ("ADD --checksum=sha256:$SUM https://example.org/a /", "https://example.org/a", "a", Some(sum.clone())),
        ("ADD --checksum=$NO https://example.org/a /", "https://example.org/a", "a", None),
    ] {
        let expected = HttpSource { url: url.into(), name: name.into(), checksum };
        assert_eq!(source(add), Source::Http(expected), "{add}");
    }
}

#[test]
fn repositories() {
    let git = |remote: &str| GitSource {
        remote: remote.to_owned(),
        reference: None,
        subdir: None,
        checksum: None,
        keep_git_dir: false,
        submodules: true,
        commit_times: false,
    };
    let example = || git("https://example.org/a.git");
    for (add, expected) in [
        ("ADD https://example.org/a.git /src", example()),
        (
            "ADD https://example.org/a.git#v$V:docs /src",
            GitSource { reference: Some("v1.2".into()), subdir: Some("docs".into()), ..example() },
        ),
        (
            "ADD https://example.org/a.git?tag=v$V&submodules=false&mtime=commit /src",
            GitSource { reference: Some("refs/tags/v1.2".into()), submodules: false, commit_times: true, ..example() },
        ),
        (
            "ADD --keep-git-dir --checksum=abc git@example.org:a.git#main .",
            GitSource {
                reference: Some("main".into()),
                checksum: Some("abc".into()),
                keep_git_dir: true,
                ..git("git@example.org:a.git")
            },
        ),
        ("ADD git://example.org/a?keep-git-dir=true .", GitSource { keep_git_dir: true, ..git("git://example.org/a") }),
        // The flag says that it is a repository.
        ("ADD --keep-git-dir=false https://example.org/a /", git("https://example.org/a")),
    ] {
        assert_eq!(source(add), Source::Git(expected), "{add}");
    }
}

#[test]
fn everything_in_one_add() {
    let text = r"FROM busybox
WORKDIR /w
ADD --chown=1:2 --exclude=*.md a b.tar https://example.org/*.txt c ssh://git@example.org/r#main <<EOF dest
text
EOF
ADD --unpack https://example.org/x.tar.gz /
ADD --link https://example.org/x.tar.gz /linked
";
    let plan = plan(text);
    insta::assert_snapshot!(dump(&plan));
    assert_eq!(
        history(&plan)[1],
        "ADD --chown=1:2 a b.tar https://example.org/*.txt c ssh://git@example.org/r#main <<EOF dest # buildkit"
    );
}

#[test]
fn passwords_are_in_no_name_and_no_history() {
    let text = "FROM busybox\nARG T=canary\nADD https://user:$T@example.org/a /a\n\
                ADD [\"https://$T@example.org/a.git\", \"/b\"]\nONBUILD ADD http://u:canary@h/c /\nFROM busybox\n";
    let shown = |text: &str| {
        let plan = plan(text);
        let vertices = plan.graph.vertices();
        let names: Vec<String> = vertices.map(|(_, vertex)| vertex.origin.name.clone()).collect();
        let adds = history(&plan).into_iter().filter(|entry| entry.starts_with("ADD")).collect::<Vec<_>>();
        (names.join("\n"), adds.join("\n"))
    };
    let (names, history) = shown(text.trim_end_matches("FROM busybox\n"));
    assert!(names.contains("ADD https://user:xxxxx@example.org/a /a") && !names.contains("canary"), "{names}");
    assert!(history.contains("https://xxxxx@example.org/a.git") && !history.contains("canary"), "{history}");
}

#[test]
fn what_only_looks_remote_is_a_path() {
    for path in ["github.com/owner/repository", "./https:/x", "user@host", "a:b", "git@host/x.git", "http:/x"] {
        let plan = plan(&format!("FROM busybox\nADD {path} /\nCOPY {path} /\n"));
        assert!(sources(&plan).is_empty(), "{path}");
        assert_eq!(plan.contexts, ["context"], "{path}");
    }
}
