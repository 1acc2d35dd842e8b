//! `commit`.

use serde_json::{Value, json};

use super::run;
use crate::archives::Podman;
use crate::kit::Lab;
use crate::layout::skopeo;

#[test]
fn a_commit_is_an_image_with_one_more_layer() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nENV A=1\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"true\"]\nONBUILD RUN false\n";
    lab.build_files(dockerfile, &[]);
    lab.ok(&["run", "--name", "ct", "-e", "B=2", "-l", "l=1", "-w", "/srv", "app", "echo x >f; rm /bin/vi"]);
    let id = lab.ok(&["commit", "-a", "Some One <one@example.com>", "-m", "the message", "ct", "made:v1"]).stdout;
    let (made, app) = (lab.inspect("made:v1"), lab.inspect("app"));
    assert_eq!(made["Id"].as_str(), Some(id.trim()));
    let layers = |image: &Value| image["RootFS"]["Layers"].as_array().expect("a list").clone();
    assert_eq!(layers(&made)[..layers(&app).len()], layers(&app));
    assert_eq!(layers(&made).len(), layers(&app).len() + 1);
    let config = &made["Config"];
    assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-c"]));
    assert_eq!(config["Cmd"], json!(["echo x >f; rm /bin/vi"]), "what it ran is what the image runs");
    assert_eq!((config["WorkingDir"].as_str(), config["Labels"]["l"].as_str()), (Some("/srv"), Some("1")));
    let env: Vec<&str> = config["Env"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(
        env.contains(&"A=1") && env.contains(&"B=2") && !env.iter().any(|set| set.starts_with("HOSTNAME")),
        "{env:?}"
    );
    assert!(config["OnBuild"].as_array().is_none_or(Vec::is_empty));
    let raw: Value = serde_json::from_str(&lab.ok(&["inspect", "--raw", "made:v1"]).stdout).expect("JSON");
    let last = raw["history"].as_array().and_then(|all| all.last()).expect("a history").clone();
    assert_eq!(last["comment"], "the message");
    assert_eq!(last["author"], "Some One <one@example.com>");
    assert_eq!(last["created_by"], "echo x >f; rm /bin/vi");
    assert_eq!(last["created"], raw["created"]);
    assert_eq!(raw["author"], "Some One <one@example.com>");
    assert!(lab.ok(&["history", "made:v1"]).stdout.contains("the message"));
    assert_eq!(lab.ok(&["run", "--rm", "made:v1", "cat f; ls /bin/vi 2>/dev/null || echo gone"]).stdout, "x\ngone\n");
    // The container is as it was, and the image stands on its own.
    assert!(lab.ok(&["diff", "ct"]).stdout.contains("A /srv/f"));
    lab.ok(&["rm", "ct"]);
    lab.ok(&["rmi", "-f", "app"]);
    lab.ok(&["cache", "prune", "-a"]);
    assert_eq!(lab.ok(&["run", "--rm", "made:v1", "cat f"]).stdout, "x\n");
    lab.build_files("FROM made:v1\nRUN test \"$(cat f)\" = x\n", &[]);
}

#[test]
fn changes_go_through_the_dockerfiles_own_parser() {
    let lab = Lab::new();
    run(&lab, "ct", "echo x >/f");
    let changes = [
        "CMD [\"cat\", \"/f\"]",
        "ENTRYPOINT []",
        "ENV A=\"1 2\" B=3",
        "EXPOSE 80/udp 90",
        "LABEL \"a b\"=c",
        "ONBUILD RUN true",
        "USER app",
        "VOLUME [\"/v\"]",
        "WORKDIR /a",
        "WORKDIR b",
    ];
    let mut args = vec!["commit"];
    args.extend(changes.iter().flat_map(|change| ["-c", *change]));
    args.extend(["ct", "made"]);
    lab.ok(&args);
    let config = &lab.inspect("made")["Config"];
    assert_eq!(config["Cmd"], json!(["cat", "/f"]));
    assert_eq!(config["ExposedPorts"], json!({"80/udp": {}, "90/tcp": {}}));
    assert_eq!((config["User"].as_str(), config["WorkingDir"].as_str()), (Some("app"), Some("/a/b")));
    assert_eq!((&config["Labels"], &config["Volumes"]), (&json!({"a b": "c"}), &json!({"/v": {}})));
    assert_eq!(config["OnBuild"], json!(["RUN true"]));
    assert!(config["Env"].as_array().expect("a list").contains(&json!("A=1 2")));
    assert_eq!(lab.ok(&["run", "--rm", "made"]).stdout, "x\n");
    for (change, says) in [("RUN true", "`RUN` is not possible here"), ("EXPOSE x", "EXPOSE x"), ("NOSUCH x", "NOSUCH")]
    {
        let ran = lab.run(&["commit", "-c", change, "ct"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{change}");
        ran.assert_stderr(says);
    }
    for args in [&["commit", "nosuch"][..], &["commit", "ct", "a:b:c"]] {
        assert_eq!(lab.run(args).code, 1);
    }
}

#[test]
fn what_changed_nothing_has_no_layer() {
    let lab = Lab::new();
    run(&lab, "ct", "true");
    lab.ok(&["commit", "-m", "nothing", "ct", "made"]);
    let (made, base) = (lab.inspect("made"), lab.inspect("busybox"));
    assert_eq!(made["RootFS"], base["RootFS"]);
    let raw: Value = serde_json::from_str(&lab.ok(&["inspect", "--raw", "made"]).stdout).expect("JSON");
    assert_eq!(raw["history"].as_array().and_then(|all| all.last()).expect("a history")["empty_layer"], true);
    lab.ok(&["run", "--rm", "made", "true"]);
}

#[test]
fn other_tools_read_what_was_committed() {
    let lab = Lab::new();
    run(&lab, "ct", "echo hello >/greeting; rm -r /var; ln /greeting /twin");
    lab.ok(&["commit", "-c", "CMD [\"cat\", \"/twin\"]", "ct", "made"]);
    let archive = lab.path().join("made.tar");
    let text = archive.to_str().expect("UTF-8");
    lab.ok(&["save", "-o", text, "made"]);
    let seen: Value =
        serde_json::from_str(&skopeo(&["inspect", "--config", &format!("docker-archive:{text}")])).expect("JSON");
    assert_eq!(seen["config"]["Cmd"], json!(["cat", "/twin"]));
    assert_eq!(seen["rootfs"]["diff_ids"], lab.inspect("made")["RootFS"]["Layers"]);
    let podman = Podman::new(&lab);
    podman.podman(&["load", "-q", "-i", text]);
    assert_eq!(podman.podman(&["run", "--rm", "made"]), "hello\n");
    assert_eq!(podman.podman(&["run", "--rm", "made", "sh", "-c", "ls -d /var 2>/dev/null || echo gone"]), "gone\n");
}
