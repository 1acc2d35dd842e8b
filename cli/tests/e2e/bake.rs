//! `builder bake`: many builds from one definition.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::kit::{Lab, Ran, write_files};
use crate::remote_kit::{GitServer, Repo};

/// A directory with these files, and `builder bake` in it.
struct Kitchen {
    lab: Lab,
    dir: std::path::PathBuf,
}

impl Kitchen {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::in_lab(Lab::new(), files)
    }

    fn in_lab(lab: Lab, files: &[(&str, &str)]) -> Self {
        let dir = lab.context(files);
        Self { lab, dir }
    }

    fn bake(&self, args: &[&str]) -> Ran {
        let all: Vec<&str> = ["bake", "--progress=plain"].iter().chain(args).copied().collect();
        Ran::of(self.lab.command(&all).current_dir(&self.dir).output().expect("builder starts"))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.bake(args);
        assert_eq!(ran.code, 0, "builder bake {}\n{}\n{}", args.join(" "), ran.stdout, ran.stderr);
        ran
    }

    #[track_caller]
    fn fails(&self, args: &[&str]) -> Ran {
        let ran = self.bake(args);
        assert_eq!(ran.code, 1, "builder bake {} must fail\n{}\n{}", args.join(" "), ran.stdout, ran.stderr);
        ran
    }

    #[track_caller]
    fn print(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = ["--print"].iter().chain(args).copied().collect();
        serde_json::from_str(&self.ok(&args).stdout).expect("--print prints JSON")
    }

    /// What a script prints in an image.
    #[track_caller]
    fn shell(&self, image: &str, script: &str) -> String {
        self.lab.ok(&["run", "--rm", "--entrypoint", "/bin/sh", image, "-c", script]).stdout
    }
}

const SHARED: &str = "FROM busybox AS base\nRUN echo shared > /shared && echo ran-the-base\n\
    FROM base AS one\nARG WHO=nobody\nRUN echo one $WHO > /out\nFROM base AS two\nRUN echo two > /out\n";

#[test]
fn shared_stages_run_once() {
    let kitchen = Kitchen::new(&[
        ("Dockerfile", SHARED),
        (
            "docker-bake.hcl",
            r#"
variable "WHO" { default = "me" }
group "default" { targets = ["one", "two"] }
target "_all" { labels = { made = "by bake" } }
target "one" {
  inherits = ["_all"]
  target = "one"
  tags = ["first:1", "first:latest"]
  args = { WHO = WHO }
}
target "two" {
  inherits = ["_all"]
  target = "two"
  tags = ["second"]
}
"#,
        ),
    ]);
    let ran = kitchen.ok(&["--metadata-file", "facts.json"]);
    assert_eq!(ran.output().matches("ran-the-base").count(), 1, "{}", ran.stderr);
    ran.assert_stderr("[one one 1/1] RUN echo one me > /out");
    ran.assert_stderr("[two two 1/1] RUN echo two > /out");
    assert_eq!(kitchen.shell("first:1", "cat /out /shared"), "one me\nshared\n");
    assert_eq!(kitchen.shell("second", "cat /out"), "two\n");
    assert_eq!(kitchen.lab.inspect("second")["Config"]["Labels"]["made"], "by bake");
    let facts: Value = serde_json::from_slice(&fs::read(kitchen.dir.join("facts.json")).unwrap()).unwrap();
    assert_eq!(facts["one"]["image.name"], "docker.io/library/first:1,docker.io/library/first:latest");
    assert!(facts["two"]["containerimage.config.digest"].as_str().unwrap().starts_with("sha256:"), "{facts}");

    // Again, with another value: only what depends on it runs.
    let again = kitchen.ok(&["--var", "WHO=you"]);
    assert_eq!(again.executed().iter().filter(|name| name.contains("RUN")).count(), 1, "{}", again.stderr);
    assert_eq!(kitchen.shell("first", "cat /out"), "one you\n");
}

#[test]
fn a_target_is_a_context_of_another() {
    let kitchen = Kitchen::new(&[
        (
            "base/Dockerfile",
            "FROM busybox\nENV FROM_BASE=yes\nWORKDIR /work\nRUN echo base > file\nONBUILD RUN echo built >> log\n",
        ),
        ("app/Dockerfile", "FROM base\nCOPY --from=tool /tool /tool\nRUN echo $FROM_BASE >> file && cat log\n"),
        (
            "docker-bake.json",
            r#"{"target": {
                "base": {"context": "base"},
                "tool": {"dockerfile-inline": "FROM scratch\nCOPY base/Dockerfile /tool\n"},
                "default": {"context": "app", "contexts": {"base": "target:base", "tool": "target:tool"}, "tags": ["app"]}
            }}"#,
        ),
    ]);
    let ran = kitchen.ok(&[]);
    assert_eq!(kitchen.shell("app", "pwd; cat file log; head -1 /tool"), "/work\nbase\nyes\nbuilt\nFROM busybox\n");
    // Nobody asked for the base: it is not in the store by itself.
    assert!(!ran.stderr.contains("naming to docker.io/library/base"), "{}", ran.stderr);
    let config = kitchen.lab.inspect("app");
    assert_eq!(config["Config"]["WorkingDir"], "/work");
    let images = kitchen.lab.ok(&["images", "-q"]).stdout;
    assert_eq!(images.lines().count(), 2, "busybox and app\n{images}");
}

#[test]
fn a_target_takes_the_place_of_an_image_whatever_form_its_name_has() {
    let kitchen = Kitchen::new(&[(
        "docker-bake.json",
        r#"{"target": {
            "base": {"dockerfile-inline": "FROM busybox\nRUN echo ours > /file\n"},
            "default": {
                "dockerfile-inline": "FROM busybox\nRUN cat /file\n",
                "contexts": {"docker.io/library/BusyBox:latest": "target:base"},
                "tags": ["app"]
            }
        }}"#,
    )]);
    kitchen.ok(&[]);
    assert_eq!(kitchen.shell("app", "cat /file"), "ours\n");
}

#[test]
fn printing_and_listing_build_nothing() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[
            (
                "docker-bake.hcl",
                r#"
variable "TAG" {
  type = string
  default = "latest"
  description = "what to call it"
}
target "app" {
  description = "the app"
  name = "app-${v}"
  matrix = { v = ["1", "2"] }
  tags = ["app:${v}-${TAG}"]
}
target "_hidden" {}
"#,
            ),
            ("docker-bake.override.hcl", "target \"extra\" { context = \"./sub/\" }"),
            ("compose.yaml", "services:\n  web: {build: web, image: web}\n"),
        ],
    );
    assert_eq!(
        kitchen.print(&["app", "--set", "*.platform=linux/arm64"]),
        json!({
            "group": {"app": {"targets": ["app-1", "app-2"]}, "default": {"targets": ["app"]}},
            "target": {
                "app-1": {
                    "description": "the app", "context": ".", "dockerfile": "Dockerfile",
                    "tags": ["app:1-latest"], "platforms": ["linux/arm64"],
                },
                "app-2": {
                    "description": "the app", "context": ".", "dockerfile": "Dockerfile",
                    "tags": ["app:2-latest"], "platforms": ["linux/arm64"],
                },
            },
        })
    );
    assert_eq!(kitchen.print(&["extra"])["target"]["extra"]["context"], "sub");
    assert_eq!(kitchen.print(&[])["target"]["web"]["tags"], json!(["web"]));
    let ran = kitchen.ok(&["--list=targets"]);
    assert_eq!(
        ran.stdout,
        "TARGET    DESCRIPTION\napp       app-1, app-2\napp-1     the app\napp-2     the app\ndefault   web\nextra\nweb\n"
    );
    let ran = kitchen.ok(&["--list", "type=variables,format=json", "--var", "TAG=x"]);
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed, json!([{"name": "TAG", "type": "string", "description": "what to call it", "value": "x"}]));
    assert!(!kitchen.lab.root().exists(), "nothing was opened");
}

#[test]
fn definitions_come_from_anywhere() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[
            ("sub/bake", "{\"target\": {\"default\": {\"tags\": [\"json\"]}}}"),
            ("other.hcl", "target \"default\" { args = { A = \"b\" } }"),
        ],
    );
    let found = kitchen.print(&["-f", "sub/bake", "-f", "other.hcl"]);
    assert_eq!(
        found["target"]["default"],
        json!({"context": ".", "dockerfile": "Dockerfile", "args": {"A": "b"}, "tags": ["json"]})
    );
    let mut command = kitchen.lab.command(&["bake", "--print"]);
    command.current_dir(&kitchen.dir).env("BUILDX_BAKE_FILE", "sub/bake:other.hcl");
    assert_eq!(serde_json::from_slice::<Value>(&command.output().unwrap().stdout).unwrap(), found);
    let ran = kitchen.fails(&["--print"]);
    ran.assert_stderr("couldn't find a bake definition in this directory");
    kitchen.fails(&["-f", "gone.hcl"]).assert_stderr("gone.hcl can't be read");
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[(
            "docker-bake.hcl",
            "target \"default\" {\n  tags = [\"app:${VERSIO}\"]\n}\nvariable \"VERSION\" { default = \"1\" }\n\
             target \"push\" { output = [\"type=registry\"] }\n\
             target \"flag\" { network = \"moon\" }\n",
        )],
    );
    let ran = kitchen.fails(&[]);
    ran.assert_stderr("there is no variable `VERSIO`");
    ran.assert_stderr("--> docker-bake.hcl:2:18");
    ran.assert_stderr("^^^^^^");
    ran.assert_stderr("did you mean `VERSION`?");
    fs::write(
        kitchen.dir.join("ok.hcl"),
        fs::read_to_string(kitchen.dir.join("docker-bake.hcl")).unwrap().replace("VERSIO}", "VERSION}"),
    )
    .unwrap();
    for (target, message) in
        [("flag", "target flag: invalid value 'moon' for '--network <MODE>'"), ("gone", "failed to find target gone")]
    {
        kitchen.fails(&["-f", "ok.hcl", target]).assert_stderr(message);
    }
}

#[test]
fn a_step_that_fails_is_shown_in_its_own_dockerfile() {
    let kitchen = Kitchen::new(&[
        ("a.Dockerfile", "FROM busybox\nRUN true\n"),
        ("b.Dockerfile", "FROM busybox\n# b's own\nRUN echo told && exit 3\n"),
        (
            "docker-bake.hcl",
            "group \"default\" { targets = [\"a\", \"b\"] }\ntarget \"a\" { dockerfile = \"a.Dockerfile\" }\ntarget \"b\" { dockerfile = \"b.Dockerfile\" }\n",
        ),
    ]);
    let ran = kitchen.fails(&[]);
    ran.assert_stderr("b.Dockerfile:3");
    ran.assert_stderr(">>> RUN echo told && exit 3");
    ran.assert_stderr("exit code: 3");
    fs::write(kitchen.dir.join("b.Dockerfile"), "FROM busybox\nRNU x\n").unwrap();
    kitchen.fails(&[]).assert_stderr("b.Dockerfile:2");
}

#[test]
fn files_outside_need_a_right() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[
            ("Dockerfile", "FROM scratch\nCOPY Dockerfile /file\n"),
            (
                "docker-bake.hcl",
                "target \"default\" { output = [\"type=local,dest=../bake-out\"] }\ntarget \"in\" { output = [\"out\"] }\n",
            ),
        ],
    );
    let outside = kitchen.lab.path().join("bake-out");
    let ran = kitchen.fails(&[]);
    ran.assert_stderr("additional privileges requested");
    ran.assert_stderr("--allow=fs.write=");
    assert!(!outside.exists());
    kitchen.ok(&["in"]);
    assert!(kitchen.dir.join("out/file").exists());
    kitchen.ok(&["--allow", &format!("fs.write={}", kitchen.lab.path().display())]);
    assert!(outside.join("file").exists());
    // A link that leads out is no way around.
    std::os::unix::fs::symlink(kitchen.lab.path(), kitchen.dir.join("link")).unwrap();
    kitchen.fails(&["in", "--set", "in.output=link/more"]).assert_stderr("additional privileges requested");
    // Nor is a context, a named one or a Dockerfile that lies elsewhere.
    let elsewhere = kitchen.lab.path().join("elsewhere");
    write_files(&elsewhere, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /file\n")]);
    let place = elsewhere.display();
    for flag in ["context=", "contexts.more=", "contexts.more=cwd://", "dockerfile="] {
        let file = if flag == "dockerfile=" { "/Dockerfile" } else { "" };
        let set = format!("in.{flag}{place}{file}");
        kitchen.fails(&["in", "--set", &set]).assert_stderr(&format!("pass --allow=fs.read={place}{file}"));
        kitchen.ok(&["in", "--set", &set, "--allow", &format!("fs.read={place}")]);
    }
    kitchen.fails(&["in", "--set", "in.context=link"]).assert_stderr("additional privileges requested");
    write_files(&kitchen.dir, &[("insecure.hcl", "target \"default\" { entitlements = [\"security.insecure\"] }")]);
    kitchen.fails(&["-f", "insecure.hcl"]).assert_stderr("pass --allow=security.insecure");
}

#[test]
fn dockerfiles_are_checked_and_described() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[
            ("Dockerfile", "FROM scratch as one\nCOPY Dockerfile /\n"),
            ("docker-bake.hcl", "target \"default\" {\n  description = \"the one\"\n}\n"),
        ],
    );
    let ran = kitchen.bake(&["--check"]);
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("default\nthe one\n"), "{}", ran.stdout);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("FromAsCasing"), "{}\n{}", ran.stdout, ran.stderr);
    let ran = kitchen.ok(&["--call=targets"]);
    assert!(ran.stdout.contains("one"), "{}", ran.stdout);
    let ran = kitchen.bake(&["--call=check,format=json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["target"]["default"]["build"]["call"], "check");
    assert_eq!(answer["target"]["default"]["check"]["warnings"][0]["ruleName"], "FromAsCasing");
}

#[test]
fn every_target_has_its_own_options() {
    let kitchen = Kitchen::new(&[
        ("Dockerfile", "FROM busybox\nARG A\nCOPY --from=files f /f\nRUN echo $A; cat /etc/hosts\n"),
        ("one/f", "one"),
        ("two/f", "two"),
        (
            "docker-bake.hcl",
            r#"
target "default" {
  name = "app-${dir}"
  matrix = { dir = ["one", "two"] }
  contexts = { files = "./${dir}" }
  args = { A = "arg-${dir}" }
  tags = ["app:${dir}"]
  extra-hosts = { friend = "10.0.0.7" }
  output = ["type=image", "type=tar,dest=${dir}.tar"]
}
"#,
        ),
    ]);
    let ran = kitchen.ok(&[]);
    assert!(ran.output().contains("arg-one") && ran.output().contains("arg-two"), "{}", ran.stderr);
    assert!(ran.output().contains("friend"), "{}", ran.stderr);
    assert_eq!(kitchen.shell("app:one", "cat /f"), "one");
    assert_eq!(kitchen.shell("app:two", "cat /f"), "two");
    assert!(Path::exists(&kitchen.dir.join("two.tar")));
}

#[test]
fn secrets_belong_to_their_target() {
    let kitchen = Kitchen::new(&[
        (
            "Dockerfile",
            "FROM busybox\nARG WHO\nRUN --mount=type=secret,id=token --mount=type=secret,id=other echo $WHO \
             $(cat /run/secrets/token | tr a-z b-za) $(ls /run/secrets) $(df -m /dev/shm | tail -1 | awk '{print $2}')\n",
        ),
        ("one", "aaa"),
        ("two", "bbb"),
        (
            "docker-bake.hcl",
            r#"
group "default" { targets = ["a", "b"] }
target "a" {
  args = { WHO = "a" }
  secret = ["id=token,src=one", { id = "other", src = "one" }]
  shm-size = "5m"
}
target "b" {
  args = { WHO = "b" }
  secret = [{ id = "token", src = "two" }]
}
"#,
        ),
    ]);
    let output = kitchen.ok(&["--no-cache"]).output();
    assert!(output.contains("a bbb other token 5\n"), "{output}");
    assert!(output.contains("b ccc token 64\n"), "{output}");
    // One alone is no different.
    let output = kitchen.ok(&["--no-cache", "a"]).output();
    assert!(output.contains("a bbb other token 5\n"), "{output}");
}

#[test]
fn one_target_alone_is_named_like_a_build() {
    let kitchen = Kitchen::new(&[
        ("Dockerfile", "FROM busybox\nRUN true\n"),
        ("docker-bake.hcl", "target \"default\" { tags = [\"x\"] }\n"),
    ]);
    let ran = kitchen.ok(&[]);
    ran.assert_stderr("] load build definition from Dockerfile");
    ran.assert_stderr(" [1/2] FROM ");
    ran.assert_stderr(" exporting to image");
    let quiet = kitchen.ok(&["-q"]);
    assert!(quiet.stdout.starts_with("sha256:") && quiet.stderr.is_empty(), "{}{}", quiet.stdout, quiet.stderr);
}

#[test]
fn a_definition_lies_in_a_repository() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[("local/f", "mine"), ("more.hcl", "target \"app\" { args = { A = \"b\" } }\n")],
    );
    let root = kitchen.lab.path().join("repositories");
    fs::create_dir(&root).unwrap();
    let repo = Repo::new(&root.join("app.git"));
    repo.write("Dockerfile", "FROM scratch\nCOPY f /f\nCOPY --from=mine f /mine\n")
        .write("f", "root")
        .write("sub/Dockerfile", "FROM scratch\nCOPY f /f\n")
        .write("sub/f", "sub")
        .write(
            "docker-bake.hcl",
            "target \"app\" {\n  contexts = { mine = \"cwd://local\" }\n  output = [\"out\"]\n}\n\
             target \"sub\" {\n  context = \"sub\"\n  output = [\"out-sub\"]\n}\n\
             target \"given\" {\n  context = BAKE_CMD_CONTEXT\n}\n",
        )
        .commit("first");
    let server = GitServer::start(root);
    let url = server.url("app.git");
    kitchen.ok(&[&url, "app"]);
    assert_eq!(fs::read_to_string(kitchen.dir.join("out/f")).unwrap(), "root");
    assert_eq!(fs::read_to_string(kitchen.dir.join("out/mine")).unwrap(), "mine");
    kitchen.ok(&[&format!("{url}#main"), "sub"]);
    assert_eq!(fs::read_to_string(kitchen.dir.join("out-sub/f")).unwrap(), "sub");
    let found = kitchen.print(&[&url, "app", "given", "-f", "docker-bake.hcl", "-f", "cwd://more.hcl"]);
    assert_eq!(found["target"]["app"]["context"], Value::from(url.as_str()));
    assert_eq!(found["target"]["app"]["args"], json!({"A": "b"}));
    assert_eq!(found["target"]["given"]["context"], ".");
    kitchen.fails(&[&url, "-f", "gone.hcl"]).assert_stderr("there is no gone.hcl in");
    kitchen.fails(&[&server.url("gone.git")]).assert_stderr("gone.git can't be fetched");
}

#[test]
fn paths_can_be_relative_to_their_file() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[
            (
                "sub/bake.hcl",
                "target \"default\" {}\ntarget \"other\" {\n  context = \"../x\"\n  contexts = { a = \"b\", c = \"target:default\" }\n}\n",
            ),
            ("sub/compose.yaml", "services:\n  web: {build: ./w}\n"),
        ],
    );
    let print = |value: &str| {
        let mut command =
            kitchen.lab.command(&["bake", "--print", "-f", "sub/bake.hcl", "-f", "sub/compose.yaml", "*"]);
        command.current_dir(&kitchen.dir).env("BUILDX_BAKE_FILE_RELATIVE_PATHS", value);
        serde_json::from_slice::<Value>(&command.output().unwrap().stdout).unwrap()["target"].clone()
    };
    let found = print("0");
    assert_eq!(
        (&found["default"]["context"], &found["other"]["context"], &found["web"]["context"]),
        (&json!("."), &json!("../x"), &json!("w"))
    );
    let found = print("1");
    assert_eq!(
        (&found["default"]["context"], &found["other"]["context"], &found["web"]["context"]),
        (&json!("sub"), &json!("x"), &json!("sub/w"))
    );
    assert_eq!(found["other"]["contexts"], json!({"a": "sub/b", "c": "target:default"}));
}

#[test]
fn many_targets_are_planned_together() {
    let kitchen = Kitchen::in_lab(
        Lab::empty(),
        &[
            ("Dockerfile", "FROM scratch AS base\nCOPY f /base\nFROM base\nARG N\nCOPY f /app-$N\n"),
            ("f", "x"),
            (
                "docker-bake.hcl",
                "target \"default\" {\n  name = \"t-${n}\"\n  matrix = { n = range(200) }\n  args = { N = n }\n  output = [\"type=cacheonly\"]\n}\n",
            ),
        ],
    );
    let ran = kitchen.ok(&[]);
    let copies: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("] COPY f /base")).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(ran.stderr.matches("load build definition").count(), 1);
    assert_eq!(ran.executed().iter().filter(|name| name.contains("COPY f /app-")).count(), 200);
}
