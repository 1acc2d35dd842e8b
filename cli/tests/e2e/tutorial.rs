//! What the README tells people to type works.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr_parser::{Event, Parser};

use crate::kit::{Lab, Ran};
use crate::layout::text;
use crate::registry_kit::{Options, RealRegistry};

/// The logins of the jobs.
const USER: &str = "ci-user";
const PASSWORD: &str = "token of the job";

/// The text of a section, without its title.
fn section(title: &str) -> &'static str {
    let readme = include_str!("../../../README.md");
    let start = readme.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("README has no section {title}"));
    let rest = &readme[start + 1..];
    let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    rest.find("\n## ").map_or(rest, |end| &rest[..=end])
}

/// The fenced blocks of a language.
fn blocks<'t>(section: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let parts = section.split(fence.as_str()).skip(1);
    parts.map(|part| part.split_once("```").unwrap_or_else(|| panic!("no end of a block:\n{part}")).0).collect()
}

/// The commands of a console, and what their comments say that they print.
fn commands(console: &str) -> Vec<(&str, Option<&str>)> {
    let lines = console.lines().filter_map(|line| line.strip_prefix("$ "));
    let parts = lines.map(|line| match line.split_once("  # ") {
        Some((command, comment)) => (command.trim_end(), Some(comment.trim())),
        None => (line, None),
    });
    parts.collect()
}

/// All texts that stand below a key of this name, each of them a script or a list of lines.
fn scripts(yaml: &str, key: &str) -> Vec<String> {
    let mut events = Parser::new_from_str(yaml).map(|event| event.expect("the README's YAML is valid").0);
    let mut found = Vec::new();
    while let Some(event) = events.next() {
        if !matches!(&event, Event::Scalar(name, ..) if name == key) {
            continue;
        }
        match events.next() {
            Some(Event::Scalar(script, ..)) => found.push(script.into_owned()),
            Some(Event::SequenceStart(..)) => {
                while let Some(Event::Scalar(line, ..)) = events.next() {
                    found.push(line.into_owned());
                }
            }
            other => panic!("{key}: {other:?}"),
        }
    }
    assert!(!found.is_empty(), "no {key} in\n{yaml}");
    found
}

/// Runs a script as a shell of CI does, in a directory, with `builder` on the path and a `sudo` that has nothing to do.
fn shell(lab: &Lab, directory: &Path, script: &str, environment: &[(&str, &str)]) -> Ran {
    let bin = lab.path().join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).expect("ours");
        symlink(env!("CARGO_BIN_EXE_builder"), bin.join("builder")).expect("ours");
    }
    let builder = lab.command::<&str>(&[]);
    let mut command = Command::new("bash");
    command.args(["-eo", "pipefail", "-c"]).arg(format!("sudo() {{ \"$@\"; }}\n{script}"));
    for (name, value) in builder.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut path = bin.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.env("PATH", path).envs(environment.iter().copied()).current_dir(directory);
    Ran::of(command.stdin(std::process::Stdio::null()).output().expect("bash starts"))
}

#[track_caller]
fn works(lab: &Lab, directory: &Path, script: &str, environment: &[(&str, &str)]) -> Ran {
    let ran = shell(lab, directory, script, environment);
    assert_eq!(ran.code, 0, "the README says\n{script}\nand that says\n{}\n{}", ran.stdout, ran.stderr);
    ran
}

/// The files of this project.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a job of CI checks out.
fn job(lab: &Lab) -> PathBuf {
    let hello = checkout().join("testdata/hello");
    let read = |name: &str| fs::read_to_string(hello.join(name)).expect("it is there");
    let directory = lab.context(&[("hello.sh", &read("hello.sh")), ("Dockerfile", &read("Dockerfile"))]);
    works(lab, &directory, "chmod +x hello.sh", &[]);
    directory
}

/// The lines that only put `builder` in its place are for other machines.
fn without_install(scripts: Vec<String>) -> Vec<String> {
    let all = scripts.len();
    let rest: Vec<String> = scripts.into_iter().filter(|script| !script.contains("install -m 755")).collect();
    assert!(rest.len() < all, "no job puts builder on its machine");
    rest
}

fn with_login() -> RealRegistry {
    RealRegistry::with(&Options { login: Some((USER, PASSWORD)), ..Options::default() })
}

#[test]
fn the_first_steps() {
    let lab = Lab::empty();
    fs::copy(crate::kit::busybox_tar(), lab.path().join("busybox.tar")).expect("ours");
    let mut script = String::new();
    for console in blocks(section("Try it"), "console") {
        for (command, _) in commands(console).into_iter().filter(|(command, _)| !command.starts_with("builder load")) {
            writeln!(script, "{command}").expect("a text takes all");
            if command.starts_with("builder import") {
                writeln!(script, "cd '{}'", checkout().display()).expect("a text takes all");
            }
        }
    }
    let ran = works(&lab, lab.path(), &script, &[]);
    assert!(ran.stdout.ends_with("Hello, world!\n"), "{script}\n{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn a_registry_of_ones_own() {
    let (lab, registry) = (Lab::new(), RealRegistry::start());
    works(&lab, &checkout(), "builder build -t hello testdata/hello", &[]);
    let consoles = blocks(section("Your own registry"), "console");
    assert!(!consoles.is_empty());
    let mut printed = String::new();
    for (command, prints) in consoles.into_iter().flat_map(commands) {
        if command.starts_with("docker-registry serve") {
            continue;
        }
        let ran = works(&lab, lab.path(), &command.replace("localhost:5000", registry.host()), &[]);
        if let Some(prints) = prints {
            assert_eq!(ran.stdout.trim_end(), prints, "{command}");
        }
        printed = ran.stdout;
    }
    assert_eq!(printed, "Hello, world!\n");
}

#[test]
fn the_configuration_of_registries() {
    let lab = Lab::empty();
    let samples = blocks(section("Your own registry"), "toml");
    assert_eq!(samples.len(), 1);
    let file = lab.path().join("builder.toml");
    fs::write(&file, samples[0]).expect("ours");
    let shown = lab.ok(&["info", "--config", text(&file)]).stdout;
    let hosts = samples[0].lines().filter_map(|line| line.strip_prefix("[registry.\"")?.strip_suffix("\"]"));
    for host in hosts {
        assert!(shown.contains(&format!("Registry {host}:")), "no {host} in\n{shown}");
    }
    for part in
        ["mirror.example.com", "http://10.0.0.7:5000", "/etc/builder/ca.crt", "docker-credential-pass", "insecure"]
    {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
}

#[test]
fn the_job_of_github() {
    let registry = with_login();
    let yaml = blocks(section("In CI"), "yaml")[0];
    let repository = registry.reference("me/hello");
    let script = |sha: &str| {
        let script = without_install(scripts(yaml, "run")).join("\n");
        let known = [
            ("secrets.GITHUB_TOKEN", PASSWORD),
            ("github.actor", USER),
            ("github.repository", "me/hello"),
            ("github.sha", sha),
        ];
        let replace = |text: String, (name, value): &(&str, &str)| text.replace(&format!("${{{{ {name} }}}}"), value);
        let script = known.iter().fold(script, replace);
        assert!(!script.contains("${{"), "{script}");
        script.replace("ghcr.io", registry.host())
    };
    // The first job finds no cache, the next one on another machine finds all.
    let (one, two) = (Lab::new(), Lab::new());
    for (lab, sha) in [(&one, "c0ffee"), (&two, "decade")] {
        let directory = job(lab);
        let ran = works(lab, &directory, &script(sha), &[("BUILDER_PROGRESS", "plain")]);
        let executed = ran.executed().iter().any(|name| name.contains("COPY hello.sh"));
        assert_eq!(executed, sha == "c0ffee", "{}", ran.stderr);
        let facts = fs::read_to_string(directory.join("image.json")).expect("the metadata file");
        assert!(facts.contains("containerimage.digest"), "{facts}");
        assert!(!ran.stderr.contains(PASSWORD) && !ran.stdout.contains(PASSWORD) && !facts.contains(PASSWORD));
        let cold = Lab::empty();
        works(
            &cold,
            &directory,
            &format!("echo '{PASSWORD}' | builder login {} -u {USER} --password-stdin", registry.host()),
            &[],
        );
        assert_eq!(cold.ok(&["run", "--rm", &format!("{repository}:{sha}")]).stdout, "Hello, world!\n");
    }
}

#[test]
fn the_jobs_of_gitlab() {
    let registry = with_login();
    let yaml = blocks(section("In CI"), "yaml")[1];
    let script = without_install(scripts(yaml, "script"));
    let (image, publish): (Vec<String>, Vec<String>) = script.into_iter().partition(|line| line.contains("build -t"));
    let name = registry.reference("me/hello");
    let environment = |sha: &'static str| {
        [
            ("CI_REGISTRY", registry.host()),
            ("CI_REGISTRY_IMAGE", name.as_str()),
            ("CI_REGISTRY_USER", USER),
            ("CI_REGISTRY_PASSWORD", PASSWORD),
            ("CI_COMMIT_SHA", sha),
            ("BUILDER_PROGRESS", "plain"),
        ]
    };
    // GitLab carries the directory of the cache to the next job, and the tarball to the one that publishes it.
    let storage = tempfile::tempdir().expect("a temporary directory");
    let mut carried: Option<PathBuf> = None;
    for sha in ["c0ffee", "decade"] {
        let (builds, publishes) = (Lab::new(), Lab::empty());
        let directory = job(&builds);
        if let Some(cache) = &carried {
            works(&builds, &directory, &format!("cp -a '{}' .builder-cache", cache.display()), &[]);
        }
        let ran = works(&builds, &directory, &image.join("\n"), &environment(sha));
        let executed = ran.executed().iter().any(|name| name.contains("COPY hello.sh"));
        assert_eq!(executed, carried.is_none(), "{}", ran.stderr);
        let ran = works(&publishes, &directory, &publish.join("\n"), &environment(sha));
        assert!(!ran.stderr.contains(PASSWORD) && !ran.stdout.contains(PASSWORD));
        assert!(publishes.ok(&["registry", "tags", &name]).stdout.contains(sha));
        assert_eq!(publishes.ok(&["run", "--rm", &format!("{name}:{sha}")]).stdout, "Hello, world!\n");
        let cache = storage.path().join(sha);
        works(&builds, &directory, &format!("cp -a .builder-cache '{}'", cache.display()), &[]);
        carried = Some(cache);
    }
}
