//! Credential helpers.

use std::fs;
use std::path::PathBuf;

use super::{PASSWORD, USER, assert_nowhere, base64, feed, script, with_login};
use crate::kit::{Lab, Ran};
use crate::registry_kit::{Options, RealRegistry};

/// A password that no other test has: it must not be an argument of any process. It needs care in JSON and in a shell.
const RARE: &str = "ch41n \"word\": $x%41";

/// A key chain in a directory. It notes what it is called with, and what all processes are called with meanwhile.
const KEY_CHAIN: &str = r#"#!/bin/sh
dir=${0%/*}
echo "$*" >> "$dir/calls"
cat /proc/[0-9]*/cmdline >> "$dir/processes" 2> /dev/null
text=$(cat)
case $1 in
store) host=$(echo "$text" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); echo "$text" > "$dir/kept.$(echo "$host" | tr /: __)" ;;
get) cat "$dir/kept.$(echo "$text" | tr /: __)" 2> /dev/null || { echo credentials not found in native keychain; exit 1; } ;;
erase) rm "$dir/kept.$(echo "$text" | tr /: __)" ;;
esac
"#;

/// A machine with helpers in a directory of `PATH`.
struct Chained {
    lab: Lab,
    bin: PathBuf,
    password: &'static str,
}

impl Chained {
    fn new(config: &str) -> Self {
        let lab = Lab::empty();
        let bin = lab.path().join("bin");
        fs::create_dir(&bin).expect("a fresh name");
        fs::create_dir(lab.path().join("docker")).expect("a fresh name");
        fs::write(lab.path().join("docker/config.json"), config).expect("ours");
        script(&bin.join("docker-credential-chain"), KEY_CHAIN);
        Self { lab, bin, password: PASSWORD }
    }

    fn run(&self, args: &[&str], input: &str) -> Ran {
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap_or_default());
        let ran = feed(self.lab.command(args).env("PATH", path), input);
        super::assert_secret(&ran, self.password);
        ran
    }

    fn login(&self, host: &str) -> Ran {
        self.run(&["login", "-u", USER, "--password-stdin", host], self.password)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.lab.path().join("docker/config.json")).expect("it is there")
    }

    fn kept(&self, host: &str) -> PathBuf {
        self.bin.join(format!("kept.{}", host.replace(['/', ':'], "_")))
    }
}

#[test]
fn a_helper_keeps_the_login_and_no_file_does() {
    let server = RealRegistry::with(&Options { login: Some((USER, RARE)), ..Options::default() });
    let host = server.host().to_owned();
    let own = format!("{{\"credHelpers\":{{\"{host}\":\"chain\"}},\"credsStore\":\"missing\"}}");
    for config in ["{\"credsStore\":\"chain\"}", own.as_str()] {
        let machine = Chained { password: RARE, ..Chained::new(config) };
        let ran = machine.login(&host);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "Login Succeeded\n"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("WARNING"), "{}", ran.stderr);
        let kept = fs::read_to_string(machine.kept(&host)).expect("the helper has it");
        let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
        assert_eq!(kept, serde_json::json!({ "ServerURL": host, "Username": USER, "Secret": RARE }));
        assert!(machine.config().contains(&format!("\"{host}\": {{}}")), "{}", machine.config());
        let ran = machine.run(&["registry", "ls", &host], "");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let ran = machine.run(&["logout", &host], "");
        assert_eq!(ran.stdout, format!("Removing login credentials for {host}\n"), "{}", ran.stderr);
        assert!(!machine.kept(&host).exists() && !machine.config().contains(&format!("\"{host}\": {{}}")));
        assert_eq!(machine.run(&["registry", "ls", &host], "").code, 1);
        // Nowhere but on standard input.
        for secret in [RARE, base64(&format!("{USER}:{RARE}")).as_str()] {
            assert_nowhere(&machine.bin.join("processes"), secret);
            assert_nowhere(&machine.bin.join("calls"), secret);
            assert_nowhere(&machine.lab.root(), secret);
            assert_nowhere(&machine.lab.path().join("docker"), secret);
        }
    }
}

#[test]
fn builder_toml_names_a_helper_for_a_host() {
    let server = with_login();
    let host = server.host().to_owned();
    let machine = Chained::new("{}");
    let toml = machine.lab.path().join("builder.toml");
    fs::write(&toml, format!("[registry.\"{host}\"]\ncredentials-helper = \"chain\"\n")).expect("ours");
    let toml = toml.to_str().expect("a UTF-8 path");
    let ran = machine.run(&["--config", toml, "login", "-u", USER, "--password-stdin", &host], PASSWORD);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(machine.kept(&host).exists());
    assert_eq!(machine.config(), "{}", "Docker's file has nothing to do with it");
    assert_eq!(machine.run(&["--config", toml, "registry", "ls", &host], "").code, 0);
    assert_eq!(machine.run(&["registry", "ls", &host], "").code, 1, "without the file nobody knows the helper");
    assert_eq!(machine.run(&["--config", toml, "logout", &host], "").code, 0);
    assert!(!machine.kept(&host).exists());
}

#[test]
fn a_helper_that_fails_is_named() {
    let server = with_login();
    let host = server.host().to_owned();
    for (helper, text, part) in [
        ("absent", None, "docker-credential-absent can't be started"),
        ("../chain", None, "`../chain` is not the name of a credential helper"),
        ("locked", Some("cat > /dev/null; echo the key chain is locked; exit 1"), "the key chain is locked"),
        ("told", Some("sed 's/^/no: /'; exit 1"), "no: "),
        ("mute", Some("exit 3"), "exit status: 3"),
        ("chatty", Some("echo hello"), "answered no login"),
    ] {
        let machine = Chained::new(&format!("{{\"credsStore\":\"{helper}\"}}"));
        if let Some(text) = text {
            script(&machine.bin.join(format!("docker-credential-{helper}")), &format!("#!/bin/sh\n{text}\n"));
        }
        let ran = machine.run(&["registry", "ls", &host], "");
        assert_eq!(ran.code, 1, "{helper}\n{}", ran.stderr);
        ran.assert_stderr(part);
        if helper != "chatty" {
            let ran = machine.login(&host);
            assert_eq!(ran.code, 1, "{helper}\n{}", ran.stderr);
            ran.assert_stderr(part);
        }
    }
}
