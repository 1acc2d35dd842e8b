//! The Dockerfile language: stages, arguments, variables, settings, triggers, heredocs, config and history.

use serde_json::json;

use crate::kit::{Case, Lab};

#[test]
fn files_are_copied_from_stages_by_name_by_index_and_from_images() {
    let lab = Lab::new();
    lab.check(&[
        Case {
            name: "by name, by index, from an image",
            dockerfile: "FROM busybox AS one\nRUN echo 1 >/f\nFROM busybox\nRUN echo 2 >/f\nFROM busybox\n\
                         COPY --from=one /f /1\nCOPY --from=1 /f /2\nCOPY --from=busybox /etc/group /3\n",
            script: "cat /1 /2; head -n1 /3",
            prints: "1\n2\nroot:x:0:\n",
            ..Case::default()
        },
        Case {
            name: "stage names have no case",
            dockerfile: "FROM busybox AS One\nRUN echo 1 >/f\nFROM ONE\nCOPY --from=oNE /f /g\n",
            script: "cat /f /g",
            prints: "1\n1\n",
            ..Case::default()
        },
        Case {
            name: "a stage as the base brings its files, variables and directory",
            dockerfile: "FROM busybox AS one\nENV A=a\nWORKDIR /w\nRUN echo 1 >f\nFROM one\nRUN cat f >g; echo $A >>g\n",
            script: "cat /w/g",
            prints: "1\na\n",
            ..Case::default()
        },
        Case {
            name: "a stage hides the image of its name",
            dockerfile: "FROM busybox AS busybox\nRUN echo stage >/f\nFROM busybox\n",
            script: "cat /f",
            prints: "stage\n",
            ..Case::default()
        },
        Case {
            name: "of two stages of one name the later counts",
            dockerfile: "FROM busybox AS a\nRUN echo 1 >/f\nFROM busybox AS a\nRUN echo 2 >/f\nFROM a\n",
            script: "cat /f",
            prints: "2\n",
            ..Case::default()
        },
        Case {
            name: "an image is a stage of a stage of a stage",
            dockerfile: "FROM busybox AS a\nRUN echo 1 >>/f\nFROM a AS b\nRUN echo 2 >>/f\nFROM b\nRUN echo 3 >>/f\n",
            script: "cat /f",
            prints: "1\n2\n3\n",
            ..Case::default()
        },
    ]);
}

#[test]
fn target_stops_at_the_stage_that_was_asked_for() {
    let lab = Lab::new();
    let context =
        lab.project("FROM busybox AS one\nRUN echo 1 >/f\nFROM one AS Two\nRUN echo 2 >/f\nFROM two\nRUN false\n", &[]);
    for (target, prints) in [("one", "1\n"), ("two", "2\n"), ("TWO", "2\n"), ("0", "1\n"), ("1", "2\n")] {
        lab.build_with(&context, &["--target", target]);
        assert_eq!(lab.shell("cat /f"), prints, "--target {target}");
    }
    assert_eq!(lab.try_build(&context, &[]).code, 1, "the last stage fails");
}

#[test]
fn stages_that_nobody_needs_are_neither_looked_up_nor_run() {
    let lab = Lab::new();
    let ran = lab.build_files(
        "FROM nosuchimage:1 AS never\nRUN nosuchcommand\n\
         FROM busybox AS unused\nCOPY nosuchfile /\nRUN echo ghost\n\
         FROM busybox\nRUN echo only this\n",
        &[],
    );
    assert_eq!(ran.output(), "only this\n");
    for ghost in ["nosuch", "never", "unused", "ghost"] {
        assert!(!ran.stderr.contains(ghost), "`{ghost}` in\n{}", ran.stderr);
    }
}

#[test]
fn arguments_have_defaults_scopes_and_values_from_the_command_line() {
    let lab = Lab::new();
    let set = &["--build-arg", "A=set"][..];
    for (name, dockerfile, args, prints) in [
        ("a default", "FROM busybox\nARG A=default\nRUN echo $A >/o", &[][..], "default"),
        ("a value", "FROM busybox\nARG A=default\nRUN echo $A >/o", set, "set"),
        ("not declared", "FROM busybox\nRUN echo \"[$A]\" >/o", set, "[]"),
        ("declared later", "FROM busybox\nRUN echo \"[$A]\" >/o\nARG A=1", &[], "[]"),
        ("several at once", "FROM busybox\nARG A=1 B=2 C\nRUN echo \"$A$B[$C]\" >/o", &[], "12[]"),
        ("in FROM", "ARG A=nosuch\nFROM ${A}\nRUN echo \"[$A]\" >/o", &["--build-arg", "A=busybox"], "[]"),
        ("global, declared again", "ARG A=global\nFROM busybox\nARG A\nRUN echo $A >/o", &[], "global"),
        ("global with a value", "ARG A=global\nFROM busybox\nARG A\nRUN echo $A >/o", set, "set"),
        ("own default before global", "ARG A=global\nFROM busybox\nARG A=own\nRUN echo $A >/o", &[], "own"),
        ("made of another", "FROM busybox\nARG A=1\nARG B=${A}2\nRUN echo $B >/o", &[], "12"),
        ("empty value", "FROM busybox\nARG A=1\nRUN echo \"[$A]\" >/o", &["--build-arg", "A="], "[]"),
        ("not in a sibling", "FROM busybox AS a\nARG A=1\nFROM busybox\nRUN echo \"[$A]\" >/o", set, "[]"),
        ("in a child stage", "FROM busybox AS a\nARG A=1\nFROM a\nRUN echo \"[$A]\" >/o", &[], "[1]"),
        ("ENV after ARG wins", "FROM busybox\nARG A=1\nENV A=env\nRUN echo $A >/o", set, "env"),
        ("ARG after inherited ENV wins", "FROM busybox AS a\nENV B=env\nFROM a\nARG B=1\nRUN echo $B >/o", &[], "1"),
        ("ENV from ARG stays", "FROM busybox AS a\nARG A\nENV B=$A\nFROM a\nRUN echo $B >/o", set, "set"),
        ("platform", "FROM busybox\nARG TARGETOS TARGETARCH=x\nRUN echo $TARGETOS >/o", &[], "linux"),
        ("in COPY", "FROM busybox\nARG A=Docker\nCOPY ${A}file /o\nRUN echo x >/o", &[], "x"),
    ] {
        let context = lab.project(dockerfile, &[]);
        let ran = lab.try_build(&context, args);
        assert_eq!(ran.code, 0, "{name}\n{}", ran.stderr);
        assert_eq!(lab.shell("cat /o"), format!("{prints}\n"), "{name}\n{dockerfile}");
        let env = lab.inspect("app")["Config"]["Env"].to_string();
        assert!(!env.contains("\"A=set") && !env.contains("\"A=1"), "{name}: ARG in the image: {env}");
    }
}

#[test]
fn a_bare_build_argument_comes_from_the_environment_and_proxies_need_no_declaration() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nARG A=default\nRUN echo $A $HTTPS_PROXY $no_proxy\n", &[]);
    let build = |args: &[&str], env: &[(&str, &str)]| {
        let mut all = vec!["build", "--progress=plain", "-t", "app"];
        all.extend(args);
        all.push(context.to_str().expect("a UTF-8 path"));
        let mut command = lab.command(&all);
        command.envs(env.iter().copied());
        let ran = crate::kit::Ran::of(command.output().expect("builder starts"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    assert_eq!(build(&[], &[("A", "leaked")]).output(), "default\n", "the environment counts only when asked");
    assert_eq!(build(&["--build-arg", "A"], &[("A", "client")]).output(), "client\n");
    let proxies = ["--build-arg", "A=p", "--build-arg", "HTTPS_PROXY=http://p:1", "--build-arg", "no_proxy=x"];
    assert_eq!(build(&proxies, &[]).output(), "p http://p:1 x\n");
    let other = ["--build-arg", "A=p", "--build-arg", "HTTPS_PROXY=http://other:1"];
    assert_eq!(build(&other, &[]).output(), "", "another proxy makes no other image");
    let history = lab.ok(&["history", "--no-trunc", "app"]).stdout;
    assert!(!history.contains("http://"), "{history}");
}

#[test]
fn variables_expand_with_all_modifiers() {
    let lab = Lab::new();
    let cases = [
        ("$v", "value"),
        ("${v}s", "values"),
        ("$v-$v", "value-value"),
        ("${v:-w}", "value"),
        ("${unset:-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${unset-w}", "w"),
        ("${v:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${v:?missing}", "value"),
        ("${long#*.}", "b.c.tar.gz"),
        ("${long##*.}", "gz"),
        ("${long%.*}", "a.b.c.tar"),
        ("${long%%.*}", "a"),
        ("${long/./-}", "a-b.c.tar.gz"),
        ("${long//./-}", "a-b-c-tar-gz"),
        ("${unset:-${empty:-$v}}", "value"),
        ("'$v'", "$v"),
        ("\"$v  x\"", "value  x"),
        ("\\$v", "$v"),
        ("a\\ b", "a b"),
        ("$unset", ""),
    ];
    let mut dockerfile = "FROM busybox\nENV v=value empty= long=a.b.c.tar.gz\n".to_owned();
    for (number, (expression, _)) in cases.iter().enumerate() {
        dockerfile.push_str(&format!("ENV E{number}={expression}\n"));
    }
    dockerfile.push_str("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nENV old form of  it\n");
    lab.build_files(&dockerfile, &[]);
    let env = lab.inspect("app")["Config"]["Env"].clone();
    let env: Vec<&str> = env.as_array().expect("a list").iter().filter_map(|value| value.as_str()).collect();
    for (number, (expression, value)) in cases.iter().enumerate() {
        assert!(env.contains(&format!("E{number}={value}").as_str()), "{expression} is not `{value}` in {env:?}");
    }
    for expected in ["abc=bye", "def=hello", "ghi=bye", "old=form of  it"] {
        assert!(env.contains(&expected), "{expected} is not in {env:?}");
    }
    let ran = lab.build_fails("FROM busybox\nENV a=${b:?\"must be set\"}\n", &[]);
    ran.assert_stderr("b: must be set");
    ran.assert_stderr("Dockerfile:2:");
}

#[test]
fn every_instruction_that_expands_variables_does_so() {
    let lab = Lab::new();
    lab.build_files(
        "ARG BASE=busy\nFROM ${BASE}box\n\
         ENV v=1 user=app dir=/data signal=SIGQUIT\n\
         WORKDIR $dir/$v\nCOPY f$v .\nADD f$v ${dir}/added\nCOPY --chown=$user --chmod=60$v f1 /owned\n\
         LABEL l$v=x$v\nEXPOSE 800$v\nVOLUME $dir\nSTOPSIGNAL $signal\nUSER $user\nCMD echo $v\n",
        &[("f1", "one\n")],
    );
    assert_eq!(lab.shell("pwd; cat f1 /data/added; stat -c %a:%U /owned; id -un"), "/data/1\none\none\n601:app\napp\n");
    let config = lab.inspect("app")["Config"].clone();
    assert_eq!(config["Labels"], json!({ "l1": "x1" }));
    assert_eq!(config["ExposedPorts"], json!({ "8001/tcp": {} }));
    assert_eq!(config["Volumes"], json!({ "/data": {} }));
    assert_eq!(config["StopSignal"], "SIGQUIT");
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-c", "echo $v"]), "CMD is expanded when it runs");
}

#[test]
fn shell_workdir_and_user_hold_for_what_follows() {
    let lab = Lab::new();
    lab.check(&[
        Case {
            name: "another shell, also in a stage built on top",
            dockerfile: "FROM busybox AS a\nSHELL [\"/bin/sh\", \"-uc\"]\nFROM a\nRUN case $- in *u*) echo u >/o;; esac\nCMD x\n",
            script: "cat /o",
            prints: "u\n",
            ..Case::default()
        },
        Case {
            name: "relative directories join, and are made",
            dockerfile: "FROM busybox\nWORKDIR /a\nWORKDIR b/c\nWORKDIR ../d\nRUN pwd >/o\nWORKDIR /\nRUN pwd >>/o\n",
            script: "cat /o; ls /a /a/b; stat -c %a:%u /a/b/d; pwd",
            prints: "/a/b/d\n/\n/a:\nb\n\n/a/b:\nc\nd\n755:0\n/\n",
            ..Case::default()
        },
        Case {
            name: "a relative first directory starts at the root",
            dockerfile: "FROM scratch\nWORKDIR x\nFROM busybox\nWORKDIR rel\n",
            script: "pwd",
            prints: "/rel\n",
            ..Case::default()
        },
        Case {
            name: "a directory belongs to the user of the moment",
            dockerfile: "FROM busybox\nUSER app\nWORKDIR /mine/deep\n",
            script: "stat -c %U:%G /mine /mine/deep",
            prints: "app:app\napp:app\n",
            ..Case::default()
        },
        Case {
            name: "a directory that is there stays as it is",
            dockerfile: "FROM busybox\nRUN mkdir -m 700 /old && chown 5:6 /old\nUSER app\nWORKDIR /old\n",
            script: "stat -c %a:%u:%g /old",
            prints: "700:5:6\n",
            ..Case::default()
        },
        Case {
            name: "exec form runs without a shell",
            dockerfile: "FROM busybox\nENV A=a\nRUN [\"touch\", \"/$A x;y\"]\nRUN [\"/bin/sh\", \"-c\", \"echo \\\"$A\\\" >/o\"]\n",
            script: "ls / | grep x; cat /o",
            prints: "$A x;y\na\n",
            ..Case::default()
        },
        Case {
            name: "what is no JSON is shell form",
            dockerfile: "FROM busybox\nRUN [ -d /etc ] && echo yes >/o\n",
            script: "cat /o",
            prints: "yes\n",
            ..Case::default()
        },
    ]);
}

#[test]
fn users_are_resolved_in_the_image() {
    let lab = Lab::new();
    let users = [
        ("app", "1000 1000 1000 2000 /home/app"),
        ("1000", "1000 1000 1000 2000 /home/app"),
        ("app:daemon", "1000 1 1 /home/app"),
        ("app:2000", "1000 2000 2000 /home/app"),
        ("daemon", "1 1 1 /var/empty"),
        ("1234", "1234 0 0 /"),
        ("1234:77", "1234 77 77 /"),
        ("0:0", "0 0 0 /root"),
        ("root", "0 0 0 /root"),
    ];
    let mut dockerfile = "FROM busybox\n".to_owned();
    for (user, _) in users {
        dockerfile
            .push_str(&format!("USER {user}\nRUN echo {user}: $(id -u) $(id -g) $(id -G) $HOME >>/tmp/o-{user}\n"));
    }
    lab.build_files(&dockerfile, &[]);
    for (user, expected) in users {
        assert_eq!(lab.shell(&format!("cat /tmp/o-{user}")), format!("{user}: {expected}\n"));
    }
    for user in ["nosuchuser", "app:nosuchgroup", "4294967296", "-1", "0x0", "+0"] {
        let ran = lab.build_fails(&format!("FROM busybox\nUSER {user}\nRUN true\n"), &[]);
        ran.assert_stderr(user.rsplit(':').next().unwrap_or(user));
    }
}

#[test]
fn onbuild_triggers_of_an_image_run_in_the_build_of_its_child() {
    let lab = Lab::new();
    let parent = lab.project(
        "FROM busybox\nWORKDIR /src\nARG WHO=parent\nONBUILD ARG WHO=child\nONBUILD COPY . .\nONBUILD RUN cat f >g; echo $WHO >>g\n\
         ONBUILD ENV SET=by-trigger\nRUN ls -A >/before\n",
        &[("f", "parent's\n")],
    );
    let ran = lab.ok(&["build", "--progress=plain", "-t", "parent", parent.to_str().expect("UTF-8")]);
    assert!(!ran.stderr.contains("cat f"), "triggers don't run in their own build\n{}", ran.stderr);
    let triggers = lab.inspect("parent")["Config"]["OnBuild"].clone();
    assert_eq!(triggers, json!(["ARG WHO=child", "COPY . .", "RUN cat f >g; echo $WHO >>g", "ENV SET=by-trigger"]));

    let ran = lab.build_files("FROM parent\nRUN echo $SET >>g\n", &[("f", "child's\n")]);
    assert_eq!(lab.shell("cat g; cat /before"), "child's\nchild\nby-trigger\n");
    assert!(lab.inspect("app")["Config"]["OnBuild"].is_null(), "triggers fire once");
    assert!(ran.executed().iter().any(|name| name.contains("ONBUILD COPY . .")), "{:?}", ran.executed());
}

#[test]
fn onbuild_triggers_of_a_stage_run_once_in_the_stage_on_top() {
    let lab = Lab::new();
    lab.check(&[
        Case {
            name: "in the next stage and not in the one after",
            dockerfile: "FROM busybox AS a\nONBUILD RUN echo fired >>/n\nFROM a AS b\nFROM b\nRUN echo end >>/n\n",
            script: "cat /n",
            prints: "fired\nend\n",
            ..Case::default()
        },
        Case {
            name: "copying from another stage",
            dockerfile: "FROM busybox AS tools\nRUN echo tool >/t\nFROM busybox AS a\nONBUILD COPY --from=tools /t /t\nFROM a\n",
            script: "cat /t",
            prints: "tool\n",
            ..Case::default()
        },
        Case {
            name: "with a heredoc",
            dockerfile: "FROM busybox AS a\nONBUILD RUN <<EOF\necho one >>/o\necho two >>/o\nEOF\nFROM a\n",
            script: "cat /o",
            prints: "one\ntwo\n",
            ..Case::default()
        },
        Case {
            name: "with mounts of a stage, of the context and of a cache",
            dockerfile: "FROM busybox AS tools\nRUN echo tool >/t\nFROM busybox AS a\n\
                         ONBUILD RUN --mount=from=tools,target=/tools --mount=source=f,target=/f \
                         --mount=type=cache,target=/cache <<-\"EOF\"\n\tcat /tools/t /f >/o\nEOF\n\
                         ONBUILD COPY --chmod=600 <<EOF /h\n$HOME\nEOF\nFROM a\n",
            files: &[("f", "file\n")],
            script: "cat /o /h; stat -c %a /h; ls -A /tools /cache 2>&1 | wc -l",
            prints: "tool\nfile\n\n600\n2\n",
            ..Case::default()
        },
    ]);
}

#[test]
fn triggers_of_an_image_use_stages_of_the_child() {
    let lab = Lab::new();
    let parent = lab.project(
        "FROM busybox\nONBUILD COPY --from=assets /a /copied\n\
         ONBUILD RUN --mount=from=assets,source=/a,target=/mounted <<EOF\ncat /mounted >/read\nEOF\n",
        &[],
    );
    lab.ok(&["build", "-t", "parent", parent.to_str().expect("UTF-8")]);
    lab.build_files("FROM busybox AS assets\nRUN echo asset >/a\nFROM busybox AS other\nRUN false\nFROM parent\n", &[]);
    assert_eq!(lab.shell("cat /copied /read; ls -A /mounted 2>&1 | grep -c mounted"), "asset\nasset\n1\n");
    let ran = lab.build_fails("FROM parent\n", &[]);
    ran.assert_stderr("assets");
    ran.assert_stderr("in the ONBUILD trigger");
}

#[test]
fn a_mounted_link_of_the_context_shows_what_it_points_to() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox\nRUN --mount=source=link,target=/m cat /m/f >/o\nRUN --mount=source=file,target=/f cat /f >>/o\n",
        &[("real/f", "real\n")],
    );
    std::os::unix::fs::symlink("real", context.join("link")).expect("a link");
    std::os::unix::fs::symlink("real/f", context.join("file")).expect("a link");
    lab.build(&context);
    assert_eq!(lab.shell("cat /o"), "real\nreal\n");
}

#[test]
fn heredocs_are_scripts_and_files() {
    let lab = Lab::new();
    lab.check(&[
        Case {
            name: "a script for the shell",
            dockerfile: "FROM busybox\nENV A=env\nRUN <<EOF\nB=local\n# no comment for us\necho $A $B >>/o\n\necho end >>/o\nEOF\n",
            script: "cat /o",
            prints: "env local\nend\n",
            ..Case::default()
        },
        Case {
            name: "a script with an interpreter",
            dockerfile: "FROM busybox\nRUN <<SCRIPT\n#!/bin/sh -e\necho $0 $# >/o\nls /dev/pipes >>/o\nSCRIPT\n",
            script: "cat /o; test -e /dev/pipes || echo gone",
            prints: "/dev/pipes/SCRIPT 0\nSCRIPT\ngone\n",
            ..Case::default()
        },
        Case {
            name: "the input of a command, or of two",
            dockerfile: "FROM busybox\nRUN sh <<EOF && cat <<'TWO' >>/o\necho one >/o\nEOF\n$two\nTWO\n",
            script: "cat /o",
            prints: "one\n$two\n",
            ..Case::default()
        },
        Case {
            name: "leading tabs go with a dash",
            dockerfile: "FROM busybox\nRUN <<-EOF\n\tcat >/o <<-IN\n\t\tx\n\tIN\n\tEOF\n",
            script: "cat /o",
            prints: "x\n",
            ..Case::default()
        },
        Case {
            name: "files",
            dockerfile: "FROM busybox\nENV A=env\nCOPY <<one <<'two' /d/\n$A ${B:-b}\none\n$A\ntwo\nCOPY --chmod=755 --chown=app <<run.sh /bin/run\n#!/bin/sh\necho ran\nrun.sh\n",
            script: "cat /d/one /d/two; run; stat -c %a:%u /bin/run /d/one",
            prints: "env b\n$A\nran\n755:1000\n644:0\n",
            ..Case::default()
        },
        Case {
            name: "beside files of the context",
            dockerfile: "FROM busybox\nADD f <<g /d/\nG\ng\n",
            files: &[("f", "F\n")],
            script: "cat /d/f /d/g",
            prints: "F\nG\n",
            ..Case::default()
        },
    ]);
}

#[test]
fn odd_ways_to_write_a_dockerfile_are_understood() {
    let lab = Lab::new();
    lab.check(&[
        Case {
            name: "byte order mark, carriage returns, lower case, comments and blank lines in continuations",
            dockerfile: "\u{feff}# syntax=docker/dockerfile:1\r\nfrom busybox\r\nrun echo a \\\r\n  # comment\r\n\r\n  b >/o\r\n  # indented comment\r\n Run echo c >>/o\r\n",
            script: "cat /o",
            prints: "a b\nc\n",
            ..Case::default()
        },
        Case {
            name: "another escape character",
            dockerfile: "# escape=`\nFROM busybox\nRUN echo 'C:\\dir'`\n >/o\nENV A=x`$y\nRUN echo $A >>/o\n",
            script: "cat /o",
            prints: "C:\\dir\nx$y\n",
            ..Case::default()
        },
        Case {
            name: "no line break at the end",
            dockerfile: "FROM busybox\nRUN echo end >/o \\",
            script: "cat /o",
            prints: "end\n",
            ..Case::default()
        },
    ]);
}
