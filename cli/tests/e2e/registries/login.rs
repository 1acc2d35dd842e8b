//! `login` and `logout`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{PASSWORD, USER, assert_nowhere, assert_secret, base64, credentials, feed, login, push, with_login};
use crate::kit::Lab;
use crate::registry_kit::{Faulty, RealRegistry};
use crate::run::on_a_terminal;

#[test]
fn who_is_logged_in_gets_in_until_they_log_out() {
    let (lab, server) = (Lab::empty(), with_login());
    let host = server.host().to_owned();
    let file = lab.path().join("docker/config.json");
    fs::create_dir(lab.path().join("docker")).expect("a fresh name");
    fs::write(&file, "{\"zeta\": {\"b\": 1, \"a\": 2}, \"auths\": {\"other.lan\": {\"auth\": \"bzpw\"}}}")
        .expect("ours");

    let wrong = login(&lab, &host, "wrong-word", &[]);
    assert_eq!(wrong.code, 1);
    for part in [&format!("login to {host} failed"), "401", "UNAUTHORIZED", "password is wrong"] {
        wrong.assert_stderr(part);
    }
    assert!(!fs::read_to_string(&file).expect("it is there").contains(&host));
    let refused = lab.run(&["registry", "ls", &host]);
    assert_eq!(refused.code, 1);
    refused.assert_stderr("builder login");

    let ran = login(&lab, &host, PASSWORD, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Login Succeeded\n"), "{}", ran.stderr);
    ran.assert_stderr(&format!("WARNING! Your credentials are stored unencrypted in '{}'.", file.display()));
    let kept = fs::read_to_string(&file).expect("it is there");
    let auth = base64(&credentials());
    assert_eq!(
        kept,
        format!(
            "{{\n\t\"zeta\": {{\n\t\t\"b\": 1,\n\t\t\"a\": 2\n\t}},\n\t\"auths\": {{\n\t\t\"other.lan\": {{\n\t\t\t\"auth\": \"bzpw\"\n\t\t}},\n\t\t\"{host}\": {{\n\t\t\t\"auth\": \"{auth}\"\n\t\t}}\n\t}}\n}}"
        )
    );
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);

    push(&lab, &host, &["team/app:1"], &["--dest-creds", &credentials()]);
    assert_eq!(lab.ok(&["registry", "ls", &host]).stdout, "team/app\n");
    let again = lab.ok(&["login", &host]);
    assert_eq!(
        again.stdout,
        format!("Authenticating with existing credentials... [Username: {USER}]\nLogin Succeeded\n")
    );
    for args in [&["registry", "tags", &format!("{host}/team/app")][..], &["info"], &["info", "--json"]] {
        assert_secret(&lab.ok(args), PASSWORD);
    }
    assert_nowhere(&lab.root(), PASSWORD);
    assert_nowhere(&lab.root(), &auth);

    assert_eq!(lab.ok(&["logout", &host]).stdout, format!("Removing login credentials for {host}\n"));
    assert_eq!(lab.ok(&["logout", &format!("https://{host}/v2/")]).stdout, format!("Not logged in to {host}\n"));
    assert!(fs::read_to_string(&file).expect("it is there").contains("other.lan"));
    assert_eq!(lab.run(&["registry", "ls", &host]).code, 1);
}

#[test]
fn a_password_on_the_command_line_is_warned_about() {
    let (lab, server) = (Lab::empty(), with_login());
    let ran = lab.ok(&["login", "-u", USER, "-p", PASSWORD, server.host()]);
    ran.assert_stderr("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    assert_secret(&ran, PASSWORD);
    assert_eq!(ran.stdout, "Login Succeeded\n");
}

#[test]
fn a_terminal_is_asked_and_shows_no_password() {
    let (lab, server) = (Lab::empty(), with_login());
    let typed = format!("mistake\u{15}{PASSWORD}ä\u{7f}\r");
    let user = format!("{USER}\r");
    let keys = [("Username: ", user.as_str()), ("Password: ", typed.as_str())];
    let (code, seen) = on_a_terminal(&lab, &["login", server.host()], &keys);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("Login Succeeded") && !seen.contains(PASSWORD) && !seen.contains("mistake"), "{seen}");
    let (code, seen) = on_a_terminal(&lab, &["login", "-u", "other", server.host()], &[("Password: ", "half\u{3}")]);
    assert_eq!(code, 130, "{seen}");
    assert!(!seen.contains("half"), "{seen}");
}

#[test]
fn what_does_not_go_together_is_said() {
    let lab = Lab::empty();
    for (args, code, part) in [
        (&["login", "--password-stdin", "r.lan"][..], 2, "--username"),
        (&["login", "-u", "me", "-p", "x", "--password-stdin", "r.lan"], 2, "cannot be used with"),
        (&["login", "-u", "me", "r.lan"], 1, "cannot perform an interactive login from a non TTY device"),
        (&["login", "-u", "me", "--password-stdin", "a b"], 2, "`a b` is not a registry"),
        (&["login", "-u", "me", "--password-stdin", "r.lan"], 1, "password is empty"),
    ] {
        let ran = feed(&mut lab.command(args), "\n");
        assert_eq!(ran.code, code, "{args:?}\n{}", ran.stderr);
        ran.assert_stderr(part);
    }
    fs::create_dir(lab.path().join("docker")).expect("a fresh name");
    fs::write(lab.path().join("docker/config.json"), "{\"auths\": {\"r.lan\": hunter2}}").expect("ours");
    let ran = login(&lab, "r.lan", PASSWORD, &[]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("docker/config.json can't be used: it is no valid JSON at line 1");
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[test]
fn logins_of_other_tools_are_used() {
    let (lab, server) = (Lab::empty(), with_login());
    let host = server.host().to_owned();
    push(&lab, &host, &["app:1"], &["--dest-creds", &credentials()]);
    let text = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{}\"}}}}}}", base64(&credentials()));
    let mut with_variable = lab.command(&["registry", "ls", &host]);
    let ran = feed(with_variable.env("DOCKER_AUTH_CONFIG", &text), "");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "app\n"), "{}", ran.stderr);

    let podman = lab.path().join("config/containers");
    fs::create_dir_all(&podman).expect("a fresh name");
    fs::write(podman.join("auth.json"), &text).expect("ours");
    assert_eq!(lab.ok(&["registry", "ls", &host]).stdout, "app\n");
    // Docker's own file counts first.
    assert_eq!(login(&lab, &host, PASSWORD, &[]).code, 0);
    fs::remove_file(podman.join("auth.json")).expect("it is there");
    assert_eq!(lab.ok(&["registry", "ls", &host]).stdout, "app\n");
}

#[test]
fn a_token_is_kept_in_the_place_of_the_password() {
    let (lab, server) = (Lab::empty(), RealRegistry::start());
    push(&lab, server.host(), &["app:1"], &[]);
    let proxy = Faulty::before(&server);
    proxy.want_tokens(Some(&credentials()));
    let host = proxy.host().to_owned();
    let ran = login(&lab, &host, "wrong-word", &[]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("401");
    let ran = login(&lab, &host, PASSWORD, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Login Succeeded\n"), "{}", ran.stderr);
    let kept = fs::read_to_string(lab.path().join("docker/config.json")).expect("it is there");
    assert!(kept.contains("\"identitytoken\": \"identity\"") && kept.contains(&base64(&format!("{USER}:"))), "{kept}");
    assert_nowhere(&lab.path().join("docker"), &base64(&credentials()));
    // The token server takes the token that it gave.
    proxy.want_tokens(Some("identity"));
    assert_eq!(lab.ok(&["registry", "tags", &format!("{host}/app")]).stdout, "1\n");
    let again = lab.ok(&["login", &host]).stdout;
    assert!(again.contains(&format!("[Username: {USER}]")), "{again}");
    // When it does not any more, somebody has to type.
    proxy.want_tokens(Some("another"));
    let ran = lab.run(&["login", &host]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("Stored credentials invalid or expired\n");
    ran.assert_stderr("non TTY device");
}
