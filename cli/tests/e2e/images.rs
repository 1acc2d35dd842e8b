//! The images of the store: listed, described, named, removed.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::kit::{Background, Lab, Ran, tool};

/// Makes an image that runs nothing, and returns its id.
#[track_caller]
fn tiny(lab: &Lab, name: &str, label: &str) -> String {
    let tar = lab.path().join("tiny.tar");
    if !tar.exists() {
        let dir = lab.context(&[("file", "content\n")]);
        tool("tar", &["-C".as_ref(), dir.as_ref(), "-cf".as_ref(), tar.as_ref(), ".".as_ref()]);
    }
    let change = format!("LABEL n={label}");
    let mut args = vec!["import", "-c", &change, tar.to_str().expect("UTF-8")];
    args.extend(Some(name).filter(|name| !name.is_empty()));
    lab.ok(&args).stdout.trim_end().to_owned()
}

/// The first digits of an id, as tables show them.
fn short(id: &str) -> &str {
    &id["sha256:".len()..][..12]
}

/// The rows of a table, by the names of its columns.
#[track_caller]
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines();
    let header = lines.next().expect("a header");
    let names: Vec<&str> = header.split("   ").map(str::trim).filter(|name| !name.is_empty()).collect();
    let starts: Vec<usize> = names.iter().map(|name| header.find(name).expect("from it")).collect();
    lines
        .map(|line| {
            let cells: Vec<char> = line.chars().collect();
            let cell = |column: usize| -> String {
                let end = starts.get(column + 1).copied().unwrap_or(usize::MAX).min(cells.len());
                cells[starts[column].min(end)..end].iter().collect::<String>().trim_end().to_owned()
            };
            names.iter().enumerate().map(|(column, name)| ((*name).to_owned(), cell(column))).collect()
        })
        .collect()
}

/// `REPOSITORY:TAG ID` of every line of `images`, sorted.
#[track_caller]
fn listed(lab: &Lab, args: &[&str]) -> Vec<String> {
    let mut all = vec!["images", "--no-trunc"];
    all.extend(args);
    let rows = rows(&lab.ok(&all).stdout);
    let mut lines: Vec<String> =
        rows.iter().map(|row| format!("{}:{} {}", row["REPOSITORY"], row["TAG"], row["IMAGE ID"])).collect();
    lines.sort();
    lines
}

/// One JSON value a line.
#[track_caller]
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn the_list_shows_repository_tag_id_age_and_size_newest_first() {
    let lab = Lab::empty();
    let header = "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n";
    assert_eq!(lab.ok(&["images"]).stdout, header, "an empty store");
    let first = tiny(&lab, "first", "1");
    let second = tiny(&lab, "example.com:5000/team/second:v1.2", "2");
    let text = lab.ok(&["images"]).stdout;
    let rows = rows(&text);
    let shown: Vec<[&str; 4]> =
        rows.iter().map(|row| ["REPOSITORY", "TAG", "IMAGE ID", "SIZE"].map(|column| row[column].as_str())).collect();
    assert_eq!(
        shown,
        [["example.com:5000/team/second", "v1.2", short(&second), "8B"], ["first", "latest", short(&first), "8B"]]
    );
    assert!(rows.iter().all(|row| row["CREATED"].ends_with(" ago")), "{text}");
    for args in [&["image", "ls"][..], &["image", "list"]] {
        assert_eq!(lab.ok(args).stdout.lines().count(), 3, "{args:?}");
    }
}

#[test]
fn ids_alone_are_listed_once_each_and_in_full_when_asked() {
    let lab = Lab::empty();
    let id = tiny(&lab, "app", "1");
    lab.ok(&["tag", "app", "app:second"]);
    let other = tiny(&lab, "", "2");
    assert_eq!(lab.ok(&["images", "-q"]).stdout, format!("{}\n{}\n", short(&other), short(&id)));
    assert_eq!(lab.ok(&["images", "-q", "--no-trunc"]).stdout, format!("{other}\n{id}\n"));
    assert_eq!(lab.ok(&["image", "ls", "--quiet", "app"]).stdout, format!("{}\n", short(&id)));
    assert_eq!(
        listed(&lab, &[]),
        [format!("<none>:<none> {other}"), format!("app:latest {id}"), format!("app:second {id}")]
    );
}

#[test]
fn json_has_one_object_for_each_name() {
    let lab = Lab::empty();
    let id = tiny(&lab, "app:v1", "1");
    lab.ok(&["tag", "app:v1", "example.com/other"]);
    let images = json_lines(&lab.ok(&["images", "--format", "json"]).stdout);
    let mut names: Vec<String> = Vec::new();
    for image in &images {
        let text = |field: &str| image[field].as_str().unwrap_or_else(|| panic!("no {field} in {image}")).to_owned();
        names.push(format!("{}:{}", text("Repository"), text("Tag")));
        assert_eq!((text("ID").as_str(), text("Size").as_str()), (short(&id), "8B"), "{image}");
        assert_eq!(image["SizeBytes"], 8);
        assert!(text("CreatedAt").starts_with("20") && text("CreatedSince").ends_with(" ago"), "{image}");
    }
    names.sort();
    assert_eq!(names, ["app:v1", "example.com/other:latest"]);
    let full = json_lines(&lab.ok(&["image", "ls", "--format=json", "--no-trunc", "app"]).stdout);
    assert_eq!(full[0]["ID"], id.as_str());
    // As in Docker: what is no known word is a template.
    assert_eq!(lab.ok(&["images", "--format", "yaml", "app"]).stdout, "yaml\n");
}

#[test]
fn the_list_can_be_of_one_repository_or_of_one_name() {
    let lab = Lab::empty();
    for name in ["app:v1", "app:v2", "apple", "team/app", "localhost:5000/app:v1"] {
        tiny(&lab, name, "1");
    }
    for (filter, expected) in [
        ("app", &["app:v1", "app:v2"][..]),
        ("docker.io/library/app", &["app:v1", "app:v2"]),
        ("app:v2", &["app:v2"]),
        ("team/app", &["team/app:latest"]),
        ("localhost:5000/app", &["localhost:5000/app:v1"]),
        ("localhost:5000/app:v2", &[]),
        ("nosuch", &[]),
    ] {
        let found = listed(&lab, &[filter]);
        let names: Vec<&str> = found.iter().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
        assert_eq!(names, expected, "{filter}");
    }
    let ran = lab.run(&["images", "Not A Name"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("invalid reference `Not A Name`");
}

#[test]
fn inspect_describes_images_found_by_name_id_or_beginning_of_an_id() {
    let lab = Lab::new();
    lab.build_files(
        "FROM busybox\nMAINTAINER somebody\nENV A=b\nLABEL l=m\nEXPOSE 80\nVOLUME /data\nUSER app\nWORKDIR /w\nSTOPSIGNAL SIGQUIT\n\
         ENTRYPOINT [\"echo\"]\nCMD [\"hello\"]\n",
        &[],
    );
    lab.ok(&["tag", "app", "example.com/app:v1"]);
    let app = lab.inspect("app");
    let id = app["Id"].as_str().expect("an id");
    assert_eq!(app["RepoTags"], serde_json::json!(["app:latest", "example.com/app:v1"]));
    assert_eq!((&app["Os"], &app["Author"]), (&"linux".into(), &"somebody".into()));
    assert!(["amd64", "arm64"].contains(&app["Architecture"].as_str().expect("a text")), "{app}");
    for (field, expected) in [
        ("Entrypoint", serde_json::json!(["echo"])),
        ("Cmd", serde_json::json!(["hello"])),
        ("User", serde_json::json!("app")),
        ("WorkingDir", serde_json::json!("/w")),
        ("Labels", serde_json::json!({"l": "m"})),
        ("ExposedPorts", serde_json::json!({"80/tcp": {}})),
        ("Volumes", serde_json::json!({"/data": {}})),
        ("StopSignal", serde_json::json!("SIGQUIT")),
    ] {
        assert_eq!(app["Config"][field], expected, "{field}");
    }
    assert!(app["Config"]["Env"].as_array().is_some_and(|all| all.contains(&"A=b".into())), "{app}");
    // The base and `WORKDIR`, which makes a directory.
    let layers = app["RootFS"]["Layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[0]), (2, &lab.inspect("busybox")["RootFS"]["Layers"][0]));

    for name in [id, short(id), &id[..20], "docker.io/library/app:latest", "example.com/app:v1"] {
        assert_eq!(lab.inspect(name), app, "{name}");
    }
    assert_eq!(lab.ok(&["inspect", "app"]).stdout, lab.ok(&["image", "inspect", "app"]).stdout);
    let both: Value = serde_json::from_str(&lab.ok(&["inspect", "busybox", "app"]).stdout).expect("JSON");
    assert_eq!((both.as_array().map(Vec::len), &both[1]), (Some(2), &app));
    // The config as it is: its digest is the id.
    let raw = lab.ok(&["inspect", "--raw", "app"]).stdout;
    let digest: String =
        Sha256::digest(raw.trim_end_matches('\n').as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(format!("sha256:{digest}"), id);
}

#[test]
fn history_tells_newest_first_what_made_the_image() {
    let lab = Lab::new();
    let long = format!("echo {}", "x".repeat(100));
    lab.build_files(
        &format!("FROM busybox\nCOPY f /\nRUN {long} >/g\nENV A=\"b c\"\nCMD [\"cat\", \"/f\"]\n"),
        &[("f", "12345")],
    );
    let table = rows(&lab.ok(&["history", "app"]).stdout);
    let id = lab.inspect("app")["Id"].as_str().expect("an id").to_owned();
    let column = |name: &str| table.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("IMAGE"), [short(&id), "<missing>", "<missing>", "<missing>", "<missing>"]);
    let sizes = column("SIZE");
    assert_eq!(sizes[..4], ["0B", "0B", "101B", "5B"]);
    assert!(sizes[4].ends_with("MB"), "{sizes:?}");
    let made = column("CREATED BY");
    assert_eq!(made[0], "CMD [\"cat\" \"/f\"]");
    assert_eq!(made[1], "ENV A=b c");
    assert_eq!(made[2], format!("RUN /bin/sh -c echo {}…", "x".repeat(24)));
    assert_eq!(made[3], "COPY f / # buildkit");
    assert!(column("CREATED").iter().all(|age| age.ends_with(" ago")), "{table:?}");
    assert!(column("COMMENT")[4].starts_with("Imported from "), "{table:?}");

    let full = rows(&lab.ok(&["image", "history", "--no-trunc", "app"]).stdout);
    assert_eq!(full[2]["CREATED BY"], format!("RUN /bin/sh -c {long} >/g # buildkit"));
    assert_eq!(full[0]["IMAGE"], id, "--no-trunc shows ids in full, too");
    let objects = json_lines(&lab.ok(&["history", "--format", "json", "app"]).stdout);
    assert_eq!(objects.len(), 5);
    assert_eq!((&objects[3]["CreatedBy"], &objects[3]["SizeBytes"]), (&"COPY f / # buildkit".into(), &5.into()));
    assert!(objects[2]["CreatedBy"].as_str().is_some_and(|text| text.contains(&long)), "JSON is never cut");
    let quiet = lab.ok(&["history", "-q", "app"]).stdout;
    assert_eq!(quiet, format!("{}\n{}", short(&id), "<missing>\n".repeat(4)));
    assert_eq!(lab.ok(&["history", "-q", "--no-trunc", "app"]).stdout.lines().next(), Some(id.as_str()));
}

#[test]
fn a_tag_is_another_name_and_can_move() {
    let lab = Lab::empty();
    let [first, second] = ["1", "2"].map(|n| tiny(&lab, &format!("app:{n}"), n));
    lab.ok(&["tag", "app:1", "app"]);
    lab.ok(&["image", "tag", short(&first), "example.com/team/app:v1"]);
    assert_eq!(
        listed(&lab, &[]),
        [
            format!("app:1 {first}"),
            format!("app:2 {second}"),
            format!("app:latest {first}"),
            format!("example.com/team/app:v1 {first}")
        ]
    );
    // The same again changes nothing; another image takes the name.
    lab.ok(&["tag", "app:1", "app"]);
    lab.ok(&["tag", "app:2", "app"]);
    assert_eq!(lab.inspect("app")["Id"], second.as_str());
    lab.ok(&["tag", &first, "app:2"]);
    lab.ok(&["tag", &first, "app:latest"]);
    // The one that has lost all its names is still there.
    assert_eq!(listed(&lab, &[])[0], format!("<none>:<none> {second}"));
    assert_eq!(lab.inspect(short(&second))["RepoTags"], serde_json::json!([]));
    for (target, code) in [("Upper", 1), ("a b", 1), ("", 1), ("app:", 1), ("app:.x", 1)] {
        let ran = lab.run(&["tag", "app:1", target]);
        assert_eq!(ran.code, code, "{target:?}");
        ran.assert_stderr(&format!("invalid reference `{target}`"));
    }
    // What a digest names is what has that digest.
    let digest = format!("app@{first}");
    let ran = lab.run(&["tag", "app:1", &digest]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("refusing to create a tag with a digest reference");
    let ran = lab.try_build(&lab.project("FROM scratch\nCOPY a /\n", &[("a", "")]), &["-t", &digest]);
    assert_ne!(ran.code, 0);
    ran.assert_stderr("leave it out");
    assert_eq!(lab.run(&["tag", "app"]).code, 2);
}

#[test]
fn building_again_under_the_same_name_leaves_the_old_image_without_one() {
    let lab = Lab::empty();
    lab.build_files("FROM scratch\nCOPY f /\n", &[("f", "one")]);
    let old = lab.inspect("app")["Id"].as_str().expect("an id").to_owned();
    lab.build_files("FROM scratch\nCOPY f /\n", &[("f", "two")]);
    let new = lab.inspect("app")["Id"].as_str().expect("an id").to_owned();
    assert_eq!(listed(&lab, &[]), [format!("<none>:<none> {old}"), format!("app:latest {new}")]);
    let row = rows(&lab.ok(&["images"]).stdout).into_iter().find(|row| row["IMAGE ID"] == short(&old)).expect("listed");
    assert_eq!((row["REPOSITORY"].as_str(), row["TAG"].as_str()), ("<none>", "<none>"));
}

#[test]
fn names_are_taken_away_and_the_image_goes_with_the_last_one() {
    let lab = Lab::empty();
    let id = tiny(&lab, "app", "1");
    lab.ok(&["tag", "app", "example.com/app:v1"]);
    assert_eq!(lab.ok(&["rmi", "app"]).stdout, "Untagged: app:latest\n");
    assert_eq!(listed(&lab, &[]), [format!("example.com/app:v1 {id}")]);
    assert_eq!(lab.ok(&["rmi", "example.com/app:v1"]).stdout, format!("Untagged: example.com/app:v1\nDeleted: {id}\n"));
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "");

    // By id, by its beginning, and several at once.
    let ids = ["1", "2", "3", "4"].map(|n| tiny(&lab, if n == "4" { "" } else { "app" }, n));
    let ran = lab.ok(&["image", "rm", &ids[0], short(&ids[1]), "app", &ids[3][..30]]);
    assert_eq!(
        ran.stdout,
        format!(
            "Deleted: {}\nDeleted: {}\nUntagged: app:latest\nDeleted: {}\nDeleted: {}\n",
            ids[0], ids[1], ids[2], ids[3]
        )
    );
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "");
    let blobs = fs::read_dir(lab.root().join("blobs/sha256")).expect("a store").count();
    assert_eq!(blobs, 0, "configs that nobody needs");
}

#[test]
fn an_image_with_several_names_is_removed_by_id_only_by_force() {
    let lab = Lab::empty();
    let id = tiny(&lab, "app:1", "1");
    lab.ok(&["tag", "app:1", "app:2"]);
    let ran = lab.run(&["rmi", short(&id)]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("app:1, app:2");
    ran.assert_stderr("--force");
    let told = lab.ok(&["rmi", "-f", short(&id)]).stdout;
    assert_eq!(told, format!("Untagged: app:1\nUntagged: app:2\nDeleted: {id}\n"));
}

#[test]
fn one_unknown_name_does_not_keep_the_others() {
    let lab = Lab::empty();
    let id = tiny(&lab, "app", "1");
    let ran = lab.run(&["rmi", "nosuch", "app", "a:b:c"]);
    assert_eq!((ran.code, &ran.stdout), (1, &format!("Untagged: app:latest\nDeleted: {id}\n")));
    ran.assert_stderr("no such image: nosuch");
    ran.assert_stderr("invalid reference `a:b:c`");
    assert_eq!(ran.stderr.matches("ERROR").count(), 2, "{}", ran.stderr);
}

#[test]
fn the_beginning_of_two_ids_is_refused() {
    let lab = Lab::empty();
    // Of seventeen ids, two begin with the same digit.
    let mut ids = BTreeMap::new();
    let (digit, pair) = (0..17)
        .find_map(|n: i32| {
            let id = tiny(&lab, "", &n.to_string());
            let digit = id["sha256:".len()..][..1].to_owned();
            ids.insert(digit.clone(), id.clone()).map(|before| (digit, [before, id]))
        })
        .expect("more ids than digits");
    for args in [&["rmi", &digit][..], &["inspect", &digit], &["history", &digit], &["save", &digit]] {
        let ran = lab.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{args:?}");
        ran.assert_stderr(&format!("`{digit}` is the beginning of 2 image ids"));
    }
    // A name is never taken for the beginning of an id.
    lab.ok(&["tag", &pair[0], &format!("{digit}{digit}")]);
    assert_eq!(lab.inspect(&format!("{digit}{digit}"))["Id"], pair[0].as_str());
    let common = pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(
        lab.ok(&["rmi", &pair[0][..=common]]).stdout.lines().last(),
        Some(format!("Deleted: {}", pair[0]).as_str())
    );
    assert_eq!(lab.inspect(&digit)["Id"], pair[1].as_str());
}

#[test]
fn prune_removes_images_without_names_and_with_all_the_others_too() {
    let lab = Lab::empty();
    let nothing = lab.ok(&["image", "prune"]).stdout;
    assert_eq!(nothing, "Total reclaimed space: 0B\n");
    let [old, kept] = ["1", "2"].map(|n| tiny(&lab, "app", n));
    let young = lab.ok(&["image", "prune", "--older-than", "1h"]).stdout;
    assert_eq!(young, "Total reclaimed space: 0B\n");
    let dry = lab.ok(&["image", "prune", "--dry-run"]).stdout;
    assert!(
        dry.starts_with(&format!("Images that would be deleted:\ndeleted: {old}\n\nTotal reclaimed space: ")),
        "{dry}"
    );
    assert_eq!(listed(&lab, &[]).len(), 2);
    let told = lab.ok(&["image", "prune", "--force"]).stdout;
    assert!(
        told.starts_with(&format!("Deleted Images:\ndeleted: {old}\n\nTotal reclaimed space: "))
            && told.lines().count() == 4,
        "{told}"
    );
    assert!(!told.contains(" 0B"), "{told}");
    assert_eq!(listed(&lab, &[]), [format!("app:latest {kept}")]);
    let told = lab.ok(&["image", "prune", "--all"]).stdout;
    assert!(told.starts_with(&format!("Deleted Images:\nuntagged: app:latest\ndeleted: {kept}\n\n")), "{told}");
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "");
    for place in ["blobs/sha256", "snapshots"] {
        let left = fs::read_dir(lab.root().join(place)).expect("a store").count();
        assert_eq!(left, 0, "in {place}");
    }
}

#[test]
fn images_stand_on_their_own_when_base_or_cache_go() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nRUN echo works >/f\nCMD [\"cat\", \"/f\"]\n", &[]);
    lab.ok(&["rmi", "busybox"]);
    assert_eq!(lab.ok(&["run", "app"]).stdout, "works\n", "without its base");
    // The name is gone, and the next build says so; what was built stays cached.
    let ran = lab.build_fails("FROM busybox\n", &[]);
    ran.assert_stderr("busybox");
    let context = lab.project("FROM app\nRUN echo more >/g\n", &[]);
    lab.ok(&["build", "-t", "child", context.to_str().expect("UTF-8")]);
    lab.ok(&["rmi", "child"]);
    lab.ok(&["image", "prune"]);
    let again = lab.ok(&["build", "--progress=plain", "-t", "child", context.to_str().expect("UTF-8")]);
    assert!(again.executed().is_empty(), "removing an image keeps the build cache\n{}", again.stderr);
}

#[test]
fn an_image_stays_while_a_container_of_it_runs() {
    let lab = Lab::new();
    let mut command = lab.command(&[
        "run",
        "--name=box",
        "-i",
        "busybox",
        "sh",
        "-c",
        "echo up >&2; read line; grep -c root /etc/passwd",
    ]);
    let mut container = Background::start(command.stdin(Stdio::piped()));
    container.wait_for("up");
    let ran = lab.run(&["rmi", "busybox"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("conflict: unable to remove repository reference \"busybox\" (must force) - container ");
    // By force its name goes, and its files stay.
    let id = lab.inspect("busybox")["Id"].as_str().expect("an id").to_owned();
    assert_eq!(lab.ok(&["rmi", "-f", "busybox"]).stdout, "Untagged: busybox:latest\n");
    let ran = lab.run(&["rmi", "-f", &id]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("(cannot be forced) - image is being used by running container ");
    lab.ok(&["image", "prune", "-a"]);
    drop(container.stdin());
    let ran = container.finish();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1\n"), "{}", ran.stderr);
    lab.ok(&["rm", "box"]);
    let told = lab.ok(&["image", "prune"]).stdout;
    assert!(told.starts_with("Deleted Images:\ndeleted: sha256:"), "{told}");
    let left = fs::read_dir(lab.root().join("snapshots")).expect("a store").count();
    assert!(left <= 1, "{left} layers, when only the one with mount points has a use");
}

#[test]
fn an_unknown_image_is_an_error_that_says_what_to_do() {
    let lab = Lab::empty();
    for args in [
        &["inspect", "nosuch"][..],
        &["history", "nosuch"],
        &["tag", "nosuch", "other"],
        &["rmi", "nosuch"],
        &["save", "nosuch"],
        &["inspect", "sha256:0123"],
        &["inspect", "0123456789ab"],
    ] {
        let ran: Ran = lab.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{args:?}");
        ran.assert_stderr(&format!("no such image: {}", args[1]));
        ran.assert_stderr("builder images");
    }
    for args in [&["inspect"][..], &["rmi"], &["save"], &["history"], &["image"], &["image", "nosuch"]] {
        assert_eq!(lab.run(args).code, 2, "{args:?}");
    }
}
