//! `builder.toml`, `--insecure`, `--tls-ca`.

use std::fs;

use super::{PASSWORD, USER, credentials, feed, login, push};
use crate::kit::Lab;
use crate::registry_kit::{Options, RealRegistry};

#[test]
fn what_is_wrong_is_drawn_and_what_is_right_is_shown() {
    let lab = Lab::empty();
    let file = lab.path().join("config/builder/builder.toml");
    fs::create_dir_all(file.parent().expect("it has one")).expect("a fresh name");
    fs::write(
        &file,
        "[registry.\"docker.io\"]\nmirrors = [\"mirror.lan:5000\"]\n\n[registry.\"r.lan:5000\"]\nhttp = true\ninsecure = true\n\
         ca = [\"r.pem\"]\ncredentials-helper = \"pass\"\n",
    )
    .expect("ours");
    let ran = feed(lab.command(&["info"]).env_remove("BUILDER_CONFIG"), "");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let pem = lab.path().join("config/builder/r.pem");
    for line in [
        format!("Config: {}", file.display()),
        format!("Logins: {}", lab.path().join("docker/config.json").display()),
        "Registry docker.io: mirrors mirror.lan:5000".to_owned(),
        format!(
            "Registry r.lan:5000: plain HTTP; insecure: any certificate, or plain HTTP; trusts {}; logins from \
             docker-credential-pass",
            pem.display()
        ),
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.stdout.lines().any(|shown| words(shown) == line), "no `{line}` in\n{}", ran.stdout);
    }
    let json = feed(lab.command(&["info", "--json"]).env_remove("BUILDER_CONFIG"), "").stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["registries"]["docker.io"]["mirrors"][0], "mirror.lan:5000");
    assert_eq!(json["registries"]["r.lan:5000"]["credentials-helper"], "pass");
    // A file that is named counts alone.
    assert!(!lab.ok(&["info"]).stdout.contains("mirror.lan"));

    fs::write(&file, "[registry.\"docker.io\"]\nmirors = []\n").expect("ours");
    for args in [&["info"][..], &["registry", "ls", "r.lan"], &["login", "r.lan"], &["logout", "r.lan"]] {
        let ran = feed(lab.command(args).env_remove("BUILDER_CONFIG"), "");
        assert_eq!(ran.code, 1, "{args:?}");
        for part in ["unknown key `mirors`", "builder.toml:2:1", "mirors = []", "^^^^^^"] {
            ran.assert_stderr(part);
        }
    }
    let ran = lab.run(&["--config", "missing.toml", "info"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("missing.toml can't be read");
}

#[test]
fn a_certificate_of_ones_own_is_trusted_when_told() {
    let (lab, server) =
        (Lab::empty(), RealRegistry::with(&Options { login: Some((USER, PASSWORD)), tls: true, ..Options::default() }));
    let (host, ca) = (server.host().to_owned(), server.file("ca.crt").to_str().expect("a UTF-8 path").to_owned());
    // An authority that is named counts, and no other, on this machine as well.
    let another = RealRegistry::with(&Options { tls: true, ..Options::default() });
    let wrong = another.file("ca.crt").to_str().expect("a UTF-8 path").to_owned();
    let unknown = login(&lab, &host, PASSWORD, &["--tls-ca", &wrong]);
    assert_eq!(unknown.code, 1);
    unknown.assert_stderr("signed by an authority that is not trusted here");
    assert!(!lab.path().join("docker/config.json").exists());

    assert_eq!(login(&lab, &host, PASSWORD, &["--tls-ca", &ca]).code, 0);
    push(&lab, &host, &["app:1"], &["--dest-creds", &credentials()]);
    assert_eq!(lab.ok(&["registry", "ls", "--tls-ca", &ca, &host]).stdout, "app\n");
    assert_eq!(lab.ok(&["registry", "ls", "--insecure", &host]).stdout, "app\n");
    let image = format!("{host}/app:1");
    assert_eq!(lab.run(&["manifest", "inspect", "--tls-ca", &wrong, &image]).code, 1);
    // Without one, whoever answers on this machine is believed, as by Docker.
    lab.ok(&["manifest", "inspect", &image]);
    lab.ok(&["manifest", "inspect", "--insecure", &image]);
    lab.ok(&["inspect", "--remote", "--tls-ca", &ca, &image]);

    let toml = lab.path().join("builder.toml");
    for settings in [format!("ca = [\"{ca}\"]"), "insecure = true".to_owned()] {
        fs::write(&toml, format!("[registry.\"{host}\"]\n{settings}\n")).expect("ours");
        let toml = toml.to_str().expect("a UTF-8 path");
        assert_eq!(lab.ok(&["--config", toml, "registry", "ls", &host]).stdout, "app\n", "{settings}");
    }
}
