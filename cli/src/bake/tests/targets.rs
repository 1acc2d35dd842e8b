use serde_json::{Value, json};

use super::Bake;

#[track_caller]
fn equal(bake: Bake, expected: &Value) {
    let found = bake.ok();
    assert_eq!(found, *expected, "{found:#}");
}

#[test]
fn groups_targets_and_inheritance() {
    let text = r#"
group "default" { targets = ["db", "webapp-plus"] }
target "db" {
  context = "./db"
  tags = ["docker.io/tonistiigi/db"]
}
target "webapp" {
  context = "./dir"
  dockerfile = "Dockerfile-alternate"
  args = { buildno = "123", both = "webapp" }
  labels = { a = null, b = "c" }
  output = [{ type = "image" }]
}
target "cross" {
  platforms = ["linux/amd64", "linux/arm64"]
  args = { both = "cross" }
}
target "webapp-plus" {
  inherits = ["webapp", "cross"]
  args = { IAMCROSS = true }
}
"#;
    equal(
        Bake::hcl(text),
        &json!({
            "group": {"default": {"targets": ["db", "webapp-plus"]}},
            "target": {
                "db": {"context": "db", "dockerfile": "Dockerfile", "tags": ["docker.io/tonistiigi/db"]},
                "webapp-plus": {
                    "context": "dir",
                    "dockerfile": "Dockerfile-alternate",
                    "args": {"IAMCROSS": "true", "both": "cross", "buildno": "123"},
                    "labels": {"b": "c"},
                    "platforms": ["linux/amd64", "linux/arm64"],
                    "output": [{"type": "image"}],
                },
            },
        }),
    );
    equal(
        Bake::hcl(text).target("web*").target("cross"),
        &json!({
            "group": {"default": {"targets": ["cross", "webapp", "webapp-plus"]}},
            "target": Bake::hcl(text).target("webapp").target("webapp-plus").target("cross").ok()["target"],
        }),
    );
}

#[test]
fn the_same_in_json() {
    let text = r#"{
  "//": "a comment",
  "variable": {"TAG": {"default": "latest", "validation": {"condition": "${TAG != \"\"}", "error_message": "no tag"}}},
  "function": {"twice": {"params": ["x"], "result": "${x}${x}"}},
  "group": {"default": {"targets": ["webapp"]}},
  "target": {
    "webapp": [{"dockerfile": "D", "tags": ["a/webapp:${TAG}"]}, {"args": {"A": "${twice(\"b\")}", "N": 1, "L": null}}]
  }
}"#;
    let expected = json!({"context": ".", "dockerfile": "D", "args": {"A": "bb", "N": "1"}, "tags": ["a/webapp:v2"]});
    assert_eq!(Bake::json(text).env("TAG", "v2").ok()["target"]["webapp"], expected);
}

#[test]
fn a_matrix_makes_targets() {
    let text = r#"
target "app" {
  name = "app-${tgt}-${replace(version, ".", "-")}"
  matrix = {
    tgt = ["foo", "bar"]
    version = ["1.0", "2.0"]
  }
  target = tgt
  args = { VERSION = version }
}
target "all" {
  name = item.name
  matrix = { item = [{name = "x", tag = "1"}, {name = "y", tag = "2"}] }
  tags = ["i:${item.tag}"]
  contexts = { base = "target:app-foo-1-0" }
}
target "sum" { tags = concat(target.x.tags, target.y.tags) }
"#;
    let found = Bake::hcl(text).target("app").ok();
    assert_eq!(
        found["group"],
        json!({
            "app": {"targets": ["app-foo-1-0", "app-foo-2-0", "app-bar-1-0", "app-bar-2-0"]},
            "default": {"targets": ["app"]},
        })
    );
    assert_eq!(
        found["target"]["app-bar-2-0"],
        json!({"context": ".", "dockerfile": "Dockerfile", "args": {"VERSION": "2.0"}, "target": "bar"})
    );
    assert_eq!(Bake::hcl(text).target("sum").ok()["target"]["sum"]["tags"], json!(["i:1", "i:2"]));
    let linked = Bake::hcl(text).target("x").ok();
    assert_eq!(linked["target"]["app-foo-1-0"]["output"], json!([{"type": "cacheonly"}]));
}

#[test]
fn targets_refer_to_each_other() {
    let text = r#"
target "foo" {
  dockerfile = "xxx"
  context = target.bar.context
  target = target.foo.dockerfile
  args = { name = target.foo.name, none = target.bar.network, deep = target["bar"].args.A }
}
target "bar" {
  dockerfile = target.foo.dockerfile
  context = "yyy"
  args = { A = "a" }
}
x = target.foo.dockerfile
group "default" { targets = concat(["foo"], [target.bar.name]) }
group "more" { targets = group.default.targets }
target "third" { tags = ["t:${x}"] }
"#;
    let found = Bake::hcl(text).target("more").target("third").ok();
    assert_eq!(
        found["target"]["foo"],
        json!({"context": "yyy", "dockerfile": "xxx", "args": {"deep": "a", "name": "foo"}, "target": "xxx"})
    );
    assert_eq!(found["target"]["third"]["tags"], json!(["t:xxx"]));
    assert_eq!(found["group"]["more"]["targets"], json!(["foo", "bar"]));
}

#[test]
fn elements_are_seen_as_objects() {
    let text = r#"
target "app" {
  cache-from = [{ type = "registry", ref = "user/app:cache" }, "type=local,src=path/to/cache"]
  cache-to = [target.app.cache-from[0]]
  output = [{ type = "oci", dest = "../out.tar" }, "type=local,dest=../out"]
  ssh = [{ id = "key", paths = ["path/to/${target.app.output[0].type}"] }]
}
target "default" {
  cache-from = target.app.cache-from
  secret = [{ id = target.app.output[0].type, src = "/${target.app.cache-from[1].type}/secret" }]
}
"#;
    let found = Bake::hcl(text).target("app").target("default").ok()["target"].clone();
    assert_eq!(found["app"]["cache-to"], json!([{"ref": "user/app:cache", "type": "registry"}]));
    assert_eq!(found["app"]["ssh"], json!([{"id": "key", "paths": ["path/to/oci"]}]));
    assert_eq!(found["default"]["cache-from"], found["app"]["cache-from"]);
    assert_eq!(found["default"]["secret"], json!([{"id": "oci", "src": "/local/secret"}]));
}

#[test]
fn functions_of_the_file() {
    let text = r#"
variable "REPO" { default = "user/repo" }
function "tag" {
  params = [tag]
  result = ["${REPO}:${tag}"]
}
function "sum" {
  params = [first]
  variadic_params = others
  result = length(others) == 0 ? first : first + others[0]
}
target "default" {
  tags = concat(tag("v1"), tag("v${sum(1)}${sum(1, 2)}${sum([5, 6]...)}"))
}
"#;
    assert_eq!(Bake::hcl(text).ok()["target"]["default"]["tags"], json!(["user/repo:v1", "user/repo:v1311"]));
}

#[test]
fn files_are_merged() {
    let first = r#"
variable "FOO" { default = "abc" }
target "app" {
  args = { v1 = "pre-${FOO}" }
  tags = ["a"]
  cache-from = ["one"]
}
group "default" { targets = ["app"] }
"#;
    let second = r#"
FOO = "def-${WHO}"
WHO = "me"
target "app" {
  args = { v2 = "${FOO}-post" }
  tags = ["b"]
  cache-from = ["two", "one"]
}
group "default" { targets = ["app", "other"] }
target "other" {}
"#;
    let found = Bake::hcl(first).file("docker-bake.override.hcl", second).ok();
    assert_eq!(
        found["target"]["app"],
        json!({
            "context": ".", "dockerfile": "Dockerfile",
            "args": {"v1": "pre-def-me", "v2": "def-me-post"},
            "tags": ["b"],
            "cache-from": [{"ref": "one", "type": "registry"}, {"ref": "two", "type": "registry"}],
        })
    );
    assert_eq!(found["group"]["default"]["targets"], json!(["app", "other"]));
    let json = r#"{"target": {"app": {"tags": ["c"]}}}"#;
    assert_eq!(Bake::hcl(first).file("docker-bake.override.json", json).ok()["target"]["app"]["tags"], json!(["c"]));
}

#[test]
fn every_attribute_is_printed() {
    let text = r#"
target "default" {
  description = "all of it"
  annotations = ["index,manifest:a=b", "a=b", "a=b"]
  attest = ["type=provenance,mode=max", { type = "sbom", disabled = true }, "type=provenance,mode=min"]
  args = { A = "$${x}", B = 1 }
  cache-from = ["user/app:cache", { type = "local", src = "in" }]
  cache-to = ["type=local,dest=out"]
  call = "check"
  context = "dir/../ctx/"
  contexts = { alpine = "docker-image://alpine:3", src = "../x", none = "" }
  dockerfile = "D"
  dockerfile-inline = "FROM a\n"
  entitlements = ["security.insecure"]
  extra-hosts = { h = "1.2.3.4" }
  labels = { l = "v" }
  network = "host"
  no-cache = "true"
  no-cache-filter = ["s", "s"]
  output = ["out", "-", "type=oci,dest=../x.tar"]
  platforms = ["linux/amd64"]
  pull = false
  resources = { memory = "2g", cpu-quota = 50000 }
  secret = ["id=a,src=f", "type=env,id=b,source=V", { id = "c", env = "C" }]
  shm-size = "128m"
  ssh = ["default", "key=a,b", { id = "x", paths = ["p"] }]
  tags = ["t", "", "t"]
  target = "s"
  ulimits = ["nofile=1024:1024"]
}
"#;
    equal(
        Bake::hcl(text),
        &json!({
            "group": {"default": {"targets": ["default"]}},
            "target": {"default": {
                "description": "all of it",
                "annotations": ["index,manifest:a=b", "a=b"],
                "attest": [{"mode": "min", "type": "provenance"}, {"disabled": true, "type": "sbom"}],
                "context": "ctx",
                "contexts": {"alpine": "docker-image://alpine:3", "src": "../x"},
                "dockerfile": "D",
                "dockerfile-inline": "FROM a\n",
                "args": {"A": "$${x}", "B": "1"},
                "labels": {"l": "v"},
                "tags": ["t"],
                "cache-from": [{"ref": "user/app:cache", "type": "registry"}, {"src": "in", "type": "local"}],
                "cache-to": [{"dest": "out", "type": "local"}],
                "target": "s",
                "secret": [{"id": "a", "src": "f"}, {"id": "b", "env": "V"}, {"id": "c", "env": "C"}],
                "ssh": [{"id": "default"}, {"id": "key", "paths": ["a", "b"]}, {"id": "x", "paths": ["p"]}],
                "platforms": ["linux/amd64"],
                "output": [
                    {"dest": "out", "type": "local"}, {"dest": "-", "type": "tar"}, {"dest": "../x.tar", "type": "oci"},
                ],
                "pull": false,
                "no-cache": true,
                "network": "host",
                "no-cache-filter": ["s"],
                "shm-size": "128m",
                "ulimits": ["nofile=1024:1024"],
                "resources": {"cpu-quota": 50000, "memory": "2g"},
                "call": "check",
                "entitlements": ["security.insecure", "network.host"],
                "extra-hosts": {"h": "1.2.3.4"},
            }},
        }),
    );
}

#[test]
fn linked_targets_come_along() {
    let text = r#"
target "base" { entitlements = ["network.host"] }
target "mid" { contexts = { base = "target:base" } }
target "default" {
  contexts = { mid = "target:mid" }
  platforms = ["linux/amd64", "linux/arm64"]
}
"#;
    let found = Bake::hcl(text).ok();
    assert_eq!(found["target"]["base"]["output"], json!([{"type": "cacheonly"}]));
    assert_eq!(found["target"]["default"]["entitlements"], json!(["network.host"]));
    // One that is asked for, too, keeps its output.
    let found = Bake::hcl(text).target("base").target("default").ok();
    assert_eq!(found["target"]["base"].get("output"), None);
}
