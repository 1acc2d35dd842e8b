//! Looking at what a registry has: `registry`, `search`, `manifest inspect`, `inspect --remote`.

use serde_json::Value;

use super::push;
use crate::kit::Lab;
use crate::registry_kit::RealRegistry;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn repositories_and_tags_are_listed_and_found() {
    let (lab, server) = (Lab::empty(), RealRegistry::start());
    let host = server.host().to_owned();
    assert_eq!(lab.ok(&["registry", "ls", &host]).stdout, "");
    push(&lab, &host, &["web/app:1", "web/app:latest", "web/app:2", "db:1"], &[]);
    assert_eq!(lab.ok(&["registry", "ls", &host]).stdout, "db\nweb/app\n");
    let listed = lab.ok(&["registry", "ls", "--json", &format!("http://{host}/")]).stdout;
    assert_eq!(json(&listed)["repositories"], serde_json::json!(["db", "web/app"]));
    let repository = format!("{host}/web/app");
    assert_eq!(lab.ok(&["registry", "tags", &repository]).stdout, "1\n2\nlatest\n");
    assert_eq!(json(&lab.ok(&["registry", "tags", "--json", &repository]).stdout)["name"], "web/app");
    for (args, part) in [
        (["registry", "tags", &format!("{host}/none")], "NAME_UNKNOWN"),
        (["registry", "tags", &format!("{host}/web/app:1")], "leave out its tag"),
        (["registry", "tags", "Bad"], "must be lower case"),
        (["registry", "ls", "127.0.0.1:1"], "127.0.0.1:1"),
    ] {
        let ran = lab.run(&args);
        assert_eq!(ran.code, 1, "{args:?}");
        ran.assert_stderr(part);
    }

    let found = lab.ok(&["search", &format!("{host}/app")]).stdout;
    let lines: Vec<&str> = found.lines().collect();
    assert!(
        lines[0].starts_with("NAME") && lines[0].contains("DESCRIPTION") && lines[0].contains("OFFICIAL"),
        "{found}"
    );
    assert!(lines.len() == 2 && lines[1].contains("web/app"), "{found}");
    let search = |args: &[&str]| {
        let term = format!("{host}/");
        let mut all = vec!["search"];
        all.extend(args);
        all.push(&term);
        lab.ok(&all).stdout
    };
    let names = search(&["--format", "{{.Name}} {{.StarCount}}"]);
    assert!(names.lines().count() == 2 && names.contains("db 0"), "{names}");
    assert_eq!(search(&["--limit", "1", "--format", "{{.Name}}"]).lines().count(), 1);
    assert_eq!(json(search(&["--format", "json"]).lines().next().expect("a line"))["IsOfficial"], "false");
    assert_eq!(search(&["--filter", "stars=1", "--format", "{{.Name}}"]), "");
    let wrong = lab.run(&["search", "--limit", "101", "x"]);
    assert_eq!(wrong.code, 2);
    wrong.assert_stderr("--limit 101 is outside the range of [1, 100]");
    assert_eq!(lab.run(&["search", "--filter", "nice=1", "x"]).code, 2);
}

#[test]
fn manifests_are_shown_as_docker_shows_them() {
    let (lab, server) = (Lab::empty(), RealRegistry::start());
    let host = server.host().to_owned();
    push(&lab, &host, &["app:1"], &[]);
    let name = format!("{host}/app:1");
    let index = lab.ok(&["manifest", "inspect", &name]).stdout;
    assert!(index.starts_with("{\n   \"schemaVersion\": 2,\n"), "{index}");
    let index = json(&index);
    let manifests = index["manifests"].as_array().expect("an index");
    assert_eq!(manifests[1]["platform"]["architecture"], "arm64");
    let digest = manifests[0]["digest"].as_str().expect("a text");
    let one = format!("{host}/app@{digest}");
    let manifest = lab.ok(&["manifest", "inspect", &one]).stdout;
    assert!(manifest.starts_with("{\n\t\"schemaVersion\": 2,\n\t\"mediaType\": "), "{manifest}");

    let raw = lab.ok(&["manifest", "inspect", "--raw", &one]).stdout;
    assert_eq!(manifests[0]["size"], raw.len());
    let verbose = json(&lab.ok(&["manifest", "inspect", "-v", &one]).stdout);
    assert_eq!(verbose["Ref"], one.as_str());
    assert_eq!(verbose["Descriptor"]["digest"], digest);
    assert_eq!(verbose["Descriptor"]["platform"], serde_json::json!({ "architecture": "amd64", "os": "linux" }));
    assert_eq!(verbose["OCIManifest"], json(&raw));
    let all = json(&lab.ok(&["manifest", "inspect", "-v", &name]).stdout);
    let all = all.as_array().expect("an array of an index");
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["Ref"], format!("{name}@{digest}"));
    assert_eq!(all[1]["Descriptor"]["platform"]["architecture"], "arm64");

    let missing = lab.run(&["manifest", "inspect", &format!("{host}/app:2")]);
    assert_eq!(missing.code, 1);
    for part in [format!("no such manifest: {host}/app:2"), "404".into(), "MANIFEST_UNKNOWN".into()] {
        missing.assert_stderr(&part);
    }
}

#[test]
fn images_are_inspected_where_they_are() {
    let (lab, server) = (Lab::empty(), RealRegistry::start());
    let host = server.host().to_owned();
    push(&lab, &host, &["app:1"], &[]);
    let name = format!("{host}/app:1");
    let shown = json(&lab.ok(&["image", "inspect", "--remote", &name]).stdout);
    let image = &shown[0];
    assert_eq!(image["RepoTags"][0], name.as_str());
    assert!(image["RepoDigests"][0].as_str().is_some_and(|text| text.starts_with(&format!("{host}/app@sha256:"))));
    assert_eq!(
        (&image["Os"], &image["Platforms"][1]["Platform"]),
        (&Value::from("linux"), &Value::from("linux/arm64"))
    );
    assert_eq!(image["Layers"].as_array().map(Vec::len), Some(1));
    let other = json(&lab.ok(&["inspect", "--remote", "--platform", "linux/arm64", &name]).stdout);
    assert_eq!(other[0]["Config"]["Labels"]["for"], "arm64");
    assert_ne!(other[0]["Id"], image["Id"]);
    let none = lab.run(&["inspect", "--remote", "--platform", "linux/s390x", &name]);
    assert_eq!(none.code, 1);
    none.assert_stderr("has no image for linux/s390x: it has linux/amd64, linux/arm64");
    let missing = lab.run(&["inspect", "--remote", &format!("{host}/none")]);
    assert_eq!(missing.code, 1);
    missing.assert_stderr("none:latest");
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "", "nothing was brought in");
}
