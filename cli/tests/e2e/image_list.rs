//! `images` with filters and formats, `inspect -f`, and what containers and digests mean for `rmi` and `image prune`.

use std::fs;

use serde_json::{Value, json};

use crate::kit::Lab;

fn short(id: &str) -> &str {
    &id["sha256:".len()..][..12]
}

/// An image of scratch with a label `n`, created at this second since the epoch.
fn image(lab: &Lab, name: &str, n: u64, second: u64) -> String {
    let context =
        lab.project(&format!("FROM scratch\nCOPY f /f{n}\nLABEL n={n} own{n}=\n"), &[("f", &"x".repeat(1200))]);
    let epoch = format!("SOURCE_DATE_EPOCH={second}");
    let mut args = vec!["build", "-q", "--build-arg", &epoch];
    if !name.is_empty() {
        args.extend(["-t", name]);
    }
    args.push(context.to_str().expect("UTF-8"));
    lab.ok(&args).stdout.trim().to_owned()
}

fn names(lab: &Lab, args: &[&str]) -> Vec<String> {
    let all = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], args].concat();
    lab.ok(&all).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn filters_choose() {
    let lab = Lab::empty();
    let one = image(&lab, "busy/box:uclibc", 1, 1_000_000_000);
    image(&lab, "app:v1", 2, 1_100_000_000);
    image(&lab, "example.com/team/app:v2", 3, 1_200_000_000);
    image(&lab, "", 4, 1_300_000_000);
    let (box_, first, second, nameless) = ("busy/box:uclibc", "app:v1", "example.com/team/app:v2", "<none>:<none>");
    for (filters, expected) in [
        (&[][..], &[nameless, second, first, box_][..]),
        (&["dangling=true"], &[nameless]),
        (&["dangling=false"], &[second, first, box_]),
        (&["label=n"], &[nameless, second, first, box_]),
        (&["label=n=2"], &[first]),
        (&["label=n", "label=own3"], &[second]),
        (&["label=nosuch"], &[]),
        (&["before=example.com/team/app:v2"], &[first, box_]),
        (&["since=app:v1"], &[nameless, second]),
        (&["since=busy/box:uclibc", "before=example.com/team/app:v2"], &[first]),
        (&[&*format!("since={}", short(&one))], &[nameless, second, first]),
        (&["until=2004-11-09T11:33:20Z"], &[first, box_]),
        (&["until=1000000000"], &[box_]),
        (&["until=24h"], &[nameless, second, first, box_]),
        (&["until=300000h"], &[]),
        (&["reference=app"], &[first]),
        (&["reference=*"], &[first]),
        (&["reference=*:v*"], &[first]),
        (&["reference=busy/*:*libc"], &[box_]),
        (&["reference=*/*/*"], &[second]),
        (&["reference=app", "reference=busy/box"], &[first, box_]),
        (&["reference=nosuch"], &[]),
    ] {
        let args: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        assert_eq!(names(&lab, &args), expected, "{filters:?}");
    }
    assert_eq!(names(&lab, &["busy/*"]), [box_]);
    assert_eq!(names(&lab, &["-f", "label=n=3", "example.com/*/app:v2"]), [second]);
    for (filter, code, reason) in [
        ("colour=red", 2, "invalid filter 'colour'"),
        ("dangling", 2, "a filter is KEY=VALUE"),
        ("dangling=perhaps", 2, "expected true or false"),
        ("until=soon", 2, "expected a time"),
        ("before=nosuch", 1, "no such image: nosuch"),
    ] {
        let ran = lab.run(&["images", "--filter", filter]);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{filter}");
        ran.assert_stderr(reason);
    }
}

#[test]
fn formats_are_go_templates() {
    let lab = Lab::empty();
    let id = image(&lab, "app:v1", 1, 1_000_000_000);
    lab.ok(&["tag", "app:v1", "team/other"]);
    let short = short(&id);
    for (format, expected) in [
        ("{{.ID}}: {{.Repository}}", format!("{short}: app\n{short}: team/other\n")),
        ("{{upper .Repository}} {{.Size}}{{if eq .Tag \"v1\"}}!{{end}}", "APP 1.2kB!\nTEAM/OTHER 1.2kB\n".to_owned()),
        (
            r"table {{.ID}}\t{{.Repository}}\t{{.Tag}}",
            format!("IMAGE ID       REPOSITORY   TAG\n{short}   app          v1\n{short}   team/other   latest\n"),
        ),
        ("{{slice .ID 0 4}} {{json .Repository}}", format!("{0} \"app\"\n{0} \"team/other\"\n", &short[..4])),
        ("{{.Containers}} {{.SharedSize}} {{.UniqueSize}}", "0 0B 1.2kB\n0 0B 1.2kB\n".to_owned()),
    ] {
        assert_eq!(lab.ok(&["images", "--format", format]).stdout, expected, "{format}");
    }
    let rows = lab.ok(&["images", "--format", "json", "app"]).stdout;
    let row: Value = serde_json::from_str(&rows).expect("one object");
    assert_eq!((&row["Repository"], &row["SizeBytes"]), (&json!("app"), &json!(1200)));
    assert!(row["CreatedAt"].as_str().is_some_and(|at| at.starts_with("2001-09-0")), "{row}");
    let ran = lab.run(&["images", "--format", "{{.ID}} {{.Repositry}}"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("--format:1:11");
    ran.assert_stderr("is `.Repository` meant?");
    lab.run(&["images", "--format", "{{.ID"]).assert_stderr("this action is not closed");
}

#[test]
fn images_are_inspected_with_templates() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nENV A=1 B=2\nLABEL com.example.x=y plain=z\nCMD [\"a\", \"b\"]\n", &[]);
    lab.ok(&["build", "-q", "-t", "app", context.to_str().expect("UTF-8")]);
    let id = lab.inspect("app")["Id"].as_str().expect("an id").to_owned();
    for (template, expected) in [
        ("{{.Id}}", id.as_str()),
        ("{{.Config.Cmd}}", "[a b]"),
        ("{{json .Config.Cmd}}", r#"["a","b"]"#),
        ("{{join .Config.Entrypoint \" \"}}|{{.Config.User}}", "|"),
        ("{{index .RepoTags 0}}", "app:latest"),
        (
            "{{index .Config.Labels \"com.example.x\"}} {{.Config.Labels.plain}} {{.Config.Labels.none}}",
            "y z <no value>",
        ),
        (
            "{{range .Config.Env}}{{println .}}{{end}}",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nA=1\nB=2\n",
        ),
        ("{{.Os}}/{{.Architecture}} {{len .RootFS.Layers}}", "linux/amd64 0"),
    ] {
        let expected = expected.replace("amd64", lab.inspect("app")["Architecture"].as_str().expect("one"));
        for command in [&["inspect", "-f"][..], &["image", "inspect", "--format"]] {
            assert_eq!(lab.ok(&[command, &[template, "app"]].concat()).stdout, format!("{expected}\n"), "{template}");
        }
    }
    let ran = lab.run(&["inspect", "-f", "{{.Nosuch}}", "app"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("there is no field `Nosuch`");
}

#[test]
fn digests_are_shown_and_go_with_the_last_tag() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nCOPY f /f\n", &[("f", "x")]);
    let context = context.to_str().expect("UTF-8");
    lab.ok(&["build", "-q", "-o", "type=image,name=app,name-canonical=true", context]);
    let shown = lab.inspect("app");
    assert_eq!(shown["RepoTags"], json!(["app:latest"]));
    let name = shown["RepoDigests"][0].as_str().expect("a digest").to_owned();
    let digest = name.strip_prefix("app@").expect("of the repository");
    let id = shown["Id"].as_str().expect("an id");
    assert_eq!(lab.ok(&["images"]).stdout.lines().count(), 2, "a tag has one row");
    assert!(
        lab.ok(&["images", "--digests"]).stdout.contains(&format!("app          latest    {digest}   {}", short(id)))
    );
    assert_eq!(lab.ok(&["images", "--format", "{{.Digest}}"]).stdout, format!("{digest}\n"));
    lab.ok(&["tag", "app", "app:two"]);
    lab.ok(&["tag", "app", "other"]);
    assert_eq!(lab.ok(&["rmi", "app:latest"]).stdout, "Untagged: app:latest\n", "another tag is left");
    assert_eq!(lab.ok(&["rmi", "app:two"]).stdout, format!("Untagged: app:two\nUntagged: {name}\n"));
    assert_eq!(lab.ok(&["rmi", "other"]).stdout, format!("Untagged: other:latest\nDeleted: {id}\n"));

    // A digest alone: its tag is none, and it is no reason to keep an image that is dangling.
    lab.ok(&["build", "-q", "-o", "type=image,name=app,name-canonical=true", context]);
    lab.ok(&["tag", "app", "app:two"]);
    let told = lab.ok(&["rmi", &name]).stdout;
    assert_eq!(told, format!("Untagged: {name}\n"));
    lab.ok(&["build", "-q", "-o", "type=image,name=app,name-canonical=true", context]);
    lab.ok(&["rmi", "app:two"]);
    let told = lab.ok(&["rmi", short(id)]).stdout;
    assert_eq!(told, format!("Untagged: app:latest\nUntagged: {name}\nDeleted: {id}\n"));
}

#[test]
fn the_tree_shows_platforms_and_layers_and_adds_up() {
    let lab = Lab::empty();
    let base = lab.project("FROM scratch\nCOPY base /\n", &[("base", &"b".repeat(1000))]);
    lab.ok(&["build", "-q", "-t", "base", base.to_str().expect("UTF-8")]);
    let child =
        lab.project("FROM base\nARG TARGETARCH\nCOPY $TARGETARCH /own\n", &[("amd64", "1234"), ("arm64", "12")]);
    let child = child.to_str().expect("UTF-8");
    lab.ok(&["build", "-q", "-t", "base", "--platform=linux/amd64,linux/arm64", base.to_str().expect("UTF-8")]);
    lab.ok(&["build", "-q", "-t", "app", "--platform=linux/amd64,linux/arm64", child]);
    lab.ok(&["tag", "app", "app:again"]);
    let text = lab.ok(&["images", "--tree"]).stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row =
        |first: &str| rows.iter().find(|row| row[0] == first).unwrap_or_else(|| panic!("{first}\n{text}")).clone();
    assert_eq!(rows[0], ["IMAGE", "ID", "SIZE", "SHARED", "UNIQUE"]);
    let app = row("app:again,");
    assert_eq!((app[1], &app[3..]), ("app:latest", &["1.01kB", "1kB", "6B"][..]));
    let platforms: Vec<&str> =
        rows.iter().filter(|row| row.len() > 1 && row[1].starts_with("linux/")).map(|row| row[1]).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/amd64", "linux/arm64"]);
    assert!(text.contains("├─ linux/amd64") && text.contains("│  ├─ ") && text.contains("   └─ "), "{text}");
    assert!(text.ends_with("\n4 images of 3 layers: 1.01kB, of which 1kB are in several images\n"), "{text}");
    for other in ["-q", "--format=json", "--digests"] {
        assert_eq!(lab.run(&["images", "--tree", other]).code, 2, "{other}");
    }
}

#[test]
fn what_a_container_uses_stays() {
    let lab = Lab::new();
    let id = lab.inspect("busybox")["Id"].as_str().expect("an id").to_owned();
    lab.ok(&["run", "--name", "kept", "busybox", "true"]);
    let container = lab.ok(&["ps", "-aq"]).stdout.trim().to_owned();
    let ran = lab.run(&["rmi", "busybox"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr(&format!(
        "conflict: unable to remove repository reference \"busybox\" (must force) - container {container} is using its \
         referenced image {}",
        short(&id)
    ));
    lab.run(&["rmi", short(&id)]).assert_stderr(&format!(
        "conflict: unable to delete {} (must be forced) - image is being used by stopped container {container}",
        short(&id)
    ));
    assert_eq!(lab.ok(&["images", "--format", "{{.Containers}}"]).stdout, "1\n");
    lab.ok(&["image", "prune", "-a"]);
    assert_eq!(lab.inspect("busybox")["Id"], id.as_str());
    // With another name, one may go.
    lab.ok(&["tag", "busybox", "other"]);
    assert_eq!(lab.ok(&["rmi", "other"]).stdout, "Untagged: other:latest\n");
    lab.ok(&["rm", "kept"]);
    assert_eq!(lab.ok(&["rmi", "busybox"]).stdout, format!("Untagged: busybox:latest\nDeleted: {id}\n"));
}

#[test]
fn prune_takes_filters() {
    let lab = Lab::empty();
    for n in 1..5 {
        image(&lab, if n % 2 == 0 { "app" } else { "" }, n, 1_000_000_000 + n);
    }
    // 1, 2 and 3 have no name, 4 is `app`.
    assert_eq!(names(&lab, &[]).len(), 4);
    let pruned = |args: &[&str]| {
        let told = lab.ok(&[&["image", "prune", "-f"], args].concat()).stdout;
        assert!(told.contains("Total reclaimed space: "), "{told}");
        told.lines().filter(|line| line.starts_with("deleted: ")).count()
    };
    assert_eq!(pruned(&["--filter", "label=nosuch"]), 0);
    assert_eq!(pruned(&["--filter", "label=n=1"]), 1);
    assert_eq!(pruned(&["--filter", "until=1000000001"]), 0);
    assert_eq!(pruned(&["--filter", "label!=own3"]), 1, "the second; the fourth has a name");
    assert_eq!(pruned(&["--filter", "until=2002-01-01"]), 1);
    assert_eq!(names(&lab, &[]), ["app:latest"]);
    assert_eq!(pruned(&["-a", "--filter", "label!=n"]), 0);
    assert_eq!(pruned(&["--filter", "dangling=false", "--filter", "label=n=4"]), 1);
    assert_eq!(lab.run(&["image", "prune", "--filter", "reference=app"]).code, 2);
}

#[test]
fn files_stay_until_a_prune_when_told_so() {
    let lab = Lab::empty();
    let id = image(&lab, "app", 1, 1_000_000_000);
    let blob = lab.root().join("blobs/sha256").join(&id["sha256:".len()..]);
    lab.ok(&["rmi", "--no-prune", "app"]);
    assert!(fs::exists(&blob).expect("readable"));
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "");
    lab.ok(&["image", "prune"]);
    assert!(!fs::exists(&blob).expect("readable"));
}
