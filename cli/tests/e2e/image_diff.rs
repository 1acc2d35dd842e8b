//! `image diff`: what two images differ in.

use serde_json::{Value, json};

use crate::kit::Lab;

fn diff(lab: &Lab, before: &str, after: &str) -> Value {
    serde_json::from_str(&lab.ok(&["image", "diff", "--json", before, after]).stdout).expect("JSON")
}

/// `A /path`, `C /path: what`, `D /path` of each file.
fn files(diff: &Value) -> Vec<String> {
    let files = diff["Files"].as_array().expect("a list").iter();
    files
        .map(|file| {
            let mark = file["Kind"].as_str().expect("a kind")[..1].to_uppercase();
            let changes = file["Changes"].as_array().map(|changes| {
                let names: Vec<&str> = changes.iter().filter_map(Value::as_str).collect();
                format!(": {}", names.join(", "))
            });
            format!("{mark} {}{}", file["Path"].as_str().expect("a path"), changes.unwrap_or_default())
        })
        .collect()
}

fn build(lab: &Lab, name: &str, dockerfile: &str, files: &[(&str, &str)]) {
    let context = lab.project(dockerfile, files);
    lab.ok(&["build", "-q", "-t", name, context.to_str().expect("UTF-8")]);
}

const BASE: &[(&str, &str)] = &[
    ("d/keep", "same"),
    ("d/grow", "1"),
    ("d/swap", "abc"),
    ("d/mode", "m"),
    ("gone/a", "aa"),
    ("gone/b/c", "ccc"),
    ("kind", "file"),
    ("link", "->d/keep"),
];

#[test]
fn files_are_added_changed_and_deleted() {
    let lab = Lab::new();
    build(&lab, "base", "FROM busybox\nCOPY . /x/\nRUN rm /x/Dockerfile\n", BASE);
    build(
        &lab,
        "child",
        "FROM base\nRUN cd /x && echo more >>d/grow && printf abd >d/swap && chmod 600 d/mode && rm -r gone && \
         mkdir -p new/deep && echo n >new/deep/f && rm kind && mkdir kind && ln -sfn d/grow link && chown 5:6 d\n",
        &[],
    );
    let found = diff(&lab, "base", "child");
    assert_eq!(
        files(&found),
        [
            "C /x/d: owner",
            "C /x/d/grow: size",
            "C /x/d/mode: mode",
            "C /x/d/swap: content",
            "D /x/gone",
            "D /x/gone/a",
            "D /x/gone/b",
            "D /x/gone/b/c",
            "D /x/kind",
            "A /x/kind",
            "C /x/link: target",
            "A /x/new",
            "A /x/new/deep",
            "A /x/new/deep/f",
        ]
    );
    assert_eq!((&found["BytesAdded"], &found["BytesDeleted"]), (&json!(7), &json!(9)));
    assert_eq!(found["Layers"], json!({ "Both": 3, "First": 0, "Second": 1 }));
    let text = lab.ok(&["image", "diff", "base", "child"]).stdout;
    for line in [
        "  C /x/d/       owner 0:0 → 5:6\n",
        "  C /x/d/grow   size 1B → 6B\n",
        "  C /x/d/mode   mode 0644 → 0600\n",
        "  C /x/d/swap   content\n",
        "  D /x/gone/    directory with 3 entries, 5B\n",
        "  A /x/new/     directory with 2 entries, 2B\n",
        "4 added, 5 changed, 5 deleted: +7B -9B; 3 layers in both, 0 only in the first, 1 only in the second\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let each = lab.ok(&["image", "diff", "--no-trunc", "base", "child"]).stdout;
    assert!(each.contains("  D /x/gone/b/c     3B\n") && each.contains("  A /x/new/deep/f   2B\n"), "{each}");
    // The other way round, everything is the other way round.
    let back: Vec<String> = files(&diff(&lab, "child", "base"));
    assert!(back.contains(&"A /x/gone/b/c".to_owned()) && back.contains(&"D /x/new/deep/f".to_owned()), "{back:?}");
    assert_eq!(diff(&lab, "base", "base")["Files"], json!([]));
    assert_eq!(
        lab.ok(&["image", "diff", "base", "base"]).stdout,
        "No files differ; 3 layers in both, 0 only in the first, 0 only in the second\n"
    );
}

/// The rules of whiteouts and opaque directories, and what is equal in other layers.
#[test]
fn what_is_the_same_in_other_layers_is_no_difference() {
    let lab = Lab::new();
    build(&lab, "base", "FROM busybox\nCOPY . /x/\nRUN rm /x/Dockerfile\n", BASE);
    // A directory that is removed and made again is opaque.
    build(
        &lab,
        "again",
        "FROM base\nRUN rm -r /x/gone && mkdir -p /x/gone/b && printf aa >/x/gone/a && printf ccc >/x/gone/b/c\n\
         RUN touch /x/d/keep && rm /x/kind\nRUN printf file >/x/kind\n",
        &[],
    );
    assert_eq!(files(&diff(&lab, "base", "again")), Vec::<String>::new());
    build(&lab, "less", "FROM base\nRUN rm -r /x/gone && mkdir /x/gone && printf aa >/x/gone/a\n", &[]);
    assert_eq!(files(&diff(&lab, "base", "less")), ["D /x/gone/b", "D /x/gone/b/c"]);
    // Without anything in common, in one layer: through an archive, where no listing is stored.
    let other = Lab::empty();
    let file = lab.path().join("base.tar");
    let file = file.to_str().expect("UTF-8");
    lab.ok(&["save", "-o", file, "base", "again", "less"]);
    other.ok(&["load", "-i", file]);
    assert_eq!(files(&diff(&other, "base", "less")), ["D /x/gone/b", "D /x/gone/b/c"]);
    assert_eq!(files(&diff(&other, "base", "again")), Vec::<String>::new());
    build(&lab, "flat", "FROM base AS base\nFROM scratch\nCOPY --from=base / /\n", &[]);
    let flat = diff(&lab, "base", "flat");
    assert_eq!(files(&flat), Vec::<String>::new());
    assert_eq!(flat["Layers"], json!({ "Both": 0, "First": 3, "Second": 1 }));
    // One file of a large directory: a layer of two parts.
    let many: Vec<(String, String)> = (0..40).map(|n| (format!("m/{n}"), n.to_string())).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    build(&lab, "many:1", "FROM busybox\nCOPY m /m\n", &many);
    many[7].1 = "changed";
    let context = lab.project("FROM busybox\nCOPY m /m\n", &many);
    std::fs::remove_file(context.join("m/9")).expect("ours");
    lab.ok(&["build", "-q", "-t", "many:2", context.to_str().expect("UTF-8")]);
    assert_eq!(files(&diff(&lab, "many:1", "many:2")), ["C /m/7: size", "D /m/9"]);
}

#[test]
fn settings_are_compared() {
    let lab = Lab::empty();
    build(&lab, "one", "FROM scratch\nENV A=1 B=2\nLABEL l=1\nEXPOSE 80\nCMD [\"a\"]\n", &[]);
    build(&lab, "two", "FROM scratch\nENV A=1 B=3\nLABEL m=\"\"\nEXPOSE 80 81\nCMD [\"a\", \"b\"]\nUSER u\n", &[]);
    let found = diff(&lab, "one", "two");
    let names: Vec<&str> = found["Config"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["Name"].as_str())
        .filter(|name| *name != "Created")
        .collect();
    assert_eq!(names, ["Cmd", "Env.B", "ExposedPorts.81/tcp", "Labels.l", "Labels.m", "User"]);
    assert_eq!(found["Files"], json!([]));
    let text = lab.ok(&["image", "diff", "one", "two"]).stdout;
    assert!(text.contains("  Env.B                 \"B=2\" → \"B=3\"\n"), "{text}");
    let ran = lab.run(&["image", "diff", "one", "nosuch"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("no such image: nosuch");
    assert_eq!(lab.run(&["image", "diff", "one"]).code, 2);
}
