//! The instructions one by one.

use builder_frontend::plan::{BuildOptions, LayerFacts};
use builder_solver::{NetworkMode, Op};

use crate::support::{Store, dump, env, history, names, options, plan, plan_with, try_plan};

#[test]
fn a_bit_of_everything() {
    let text = r#"
FROM debian:12
LABEL org.example.name="an app" version=1
ENV A=1 B="two words"
ENV LEGACY the rest $A
WORKDIR /src
WORKDIR sub
COPY . .
RUN make $A "$A" '$A' $UNSET
USER app:app
WORKDIR ../out
EXPOSE 8080 53/udp 9000-9001
VOLUME ["/data", "/log"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --retries=3 CMD curl -f localhost
SHELL ["/bin/bash", "-c"]
RUN echo hi
ENTRYPOINT ["/app", "a b"]
CMD run it
MAINTAINER Jane <j@example.org>
"#;
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn runs_in_all_forms() {
    let text = r#"FROM busybox
RUN ["/bin/app", "a b", "$HOME"]
RUN --network=none true
RUN --network=host true
RUN --network=default --security=sandbox true
RUN <<EOF
echo one
echo two
EOF
RUN <<-"EOF"
	echo tabs
EOF
RUN <<EOF
#!/usr/bin/env python3
print("$A")
EOF
RUN cat <<A <<B > /out
a
A
b
B
RUN one \
  && two
run three
"#;
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn the_base_image_s_settings_are_taken_over() {
    insta::assert_snapshot!(dump(&plan("FROM app\nRUN make\nWORKDIR lib\nCOPY a b\nENTRYPOINT [\"/new\"]\n")));
}

#[test]
fn an_image_without_layers_is_scratch() {
    let plan = plan("FROM nolayers\nCOPY a /\n");
    assert!(plan.base.is_none());
    assert_eq!(plan.config.config.user, "kept");
    assert_eq!(names(&plan), ["FROM scratch", "[internal] load build context", "[2/2] COPY a /"]);
    assert_eq!(plan.history.len(), 2);
}

#[test]
fn instructions_see_the_environment_as_of_their_start() {
    let plan = plan("FROM busybox\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nRUN true\n");
    assert_eq!(env(&plan), "abc=bye def=hello ghi=bye");
    assert_eq!(history(&plan)[1], "ENV abc=bye def=hello");
}

#[test]
fn histories() {
    const NOTHING: &str = "Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}";
    let none = format!("HEALTHCHECK {{Test:[NONE] {NOTHING}");
    let check = format!("HEALTHCHECK {{Test:[CMD a $X] {NOTHING}").replace("Period:0s", "Period:1m30s");
    let table = [
        ("CMD a b", "CMD [\"/bin/sh\" \"-c\" \"a b\"]"),
        ("CMD [\"a\", \"\\\"\"]", "CMD [\"a\" \"\\\"\"]"),
        ("CMD []", "CMD []"),
        ("ENTRYPOINT []", "ENTRYPOINT []"),
        ("CMD $X", "CMD [\"/bin/sh\" \"-c\" \"$X\"]"),
        ("USER $X", "USER x"),
        ("USER ${NO:-me}:us", "USER me:us"),
        ("STOPSIGNAL 9", "STOPSIGNAL 9"),
        ("EXPOSE 90 80/udp 90", "EXPOSE [80/udp 90/tcp]"),
        ("STOPSIGNAL ${NO:-SIGRTMIN+3}", "STOPSIGNAL SIGRTMIN+3"),
        ("EXPOSE $PORTS 80-81", "EXPOSE [1/tcp 2/udp 80/tcp 81/tcp]"),
        ("VOLUME /a /$X", "VOLUME [/a /x]"),
        ("LABEL a.$X='$X' \"b c\"=\"$X\"", "LABEL a.x=$X b c=x"),
        ("WORKDIR /", "WORKDIR /"),
        ("WORKDIR $NO", "WORKDIR /"),
        ("WORKDIR \"/a b\"", "WORKDIR /a b"),
        ("SHELL [\"a\", \"b c\"]", "SHELL [a b c]"),
        ("HEALTHCHECK NONE", none.as_str()),
        ("HEALTHCHECK --start-period=1m30s CMD [\"a\", \"$X\"]", check.as_str()),
        ("MAINTAINER \"$X\"", "MAINTAINER \"$X\""),
        ("ENV A=${X:+set} B=${NO:-${X}y}", "ENV A=set B=xy"),
        ("ENV A a  $X", "ENV A=a  x"),
        ("ARG NO2 N=$X", "ARG NO2 N=x"),
        ("RUN a  $X", "RUN /bin/sh -c a  $X # buildkit"),
        ("COPY --chown=$X:0 --chmod=644 --link a b* /$X/", "COPY --chown=x:0 --chmod=644 a b* /x/ # buildkit"),
        ("COPY --parents --exclude=*.md ./a/./b ./", "COPY --parents ./a/./b ./ # buildkit"),
        ("ADD a.tar /", "ADD a.tar / # buildkit"),
    ];
    for (instruction, expected) in table {
        let plan = plan(&format!("FROM busybox\nENV X=x PORTS=\"1 2/udp\"\n{instruction}\n"));
        assert_eq!(history(&plan)[1..], [expected], "{instruction}");
    }
    let silent = plan("FROM busybox\nONBUILD COPY a $X\nONBUILD RUN <<EOF\necho hi\nEOF\n");
    assert!(history(&silent).is_empty());
    assert_eq!(silent.config.config.on_build, ["COPY a $X", "RUN <<EOF\necho hi\nEOF"]);
}

#[test]
fn an_entrypoint_resets_only_an_inherited_command() {
    let command = |text: &str| plan(text).config.config.cmd.join(" ");
    assert_eq!(command("FROM app\n"), "--help");
    assert_eq!(command("FROM app\nENTRYPOINT x\n"), "");
    assert_eq!(command("FROM app\nCMD [\"c\"]\nENTRYPOINT x\n"), "c");
    assert_eq!(command("FROM app\nENTRYPOINT x\nCMD [\"c\"]\n"), "c");
    assert_eq!(command("FROM app AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT x\n"), "");
}

#[test]
fn steps_are_counted_as_in_buildkit() {
    let text = format!("FROM busybox\nENV A=b\n{}", "RUN true\n".repeat(9));
    assert_eq!(names(&plan(&text))[..2], ["[ 1/10] FROM docker.io/library/busybox:latest", "[ 2/10] RUN true"]);
    let names = names(&plan("FROM scratch\nCOPY a /\nWORKDIR /x\n"));
    assert_eq!(names[1..], ["[internal] load build context", "[1/2] COPY a /", "[2/2] WORKDIR /x"]);
}

#[test]
fn names_show_values() {
    let text = "FROM busybox\nENV A=1 M=\"x\\\n y\"\nrun echo \"$A\" '$A' $B\ncopy \"$A\" /\nRUN $M\n";
    let names = names(&plan(text));
    assert_eq!(names[1], "[2/4] RUN echo \"1\" '$A' $B");
    assert_eq!(names[3], "[3/4] COPY 1 /");
    assert_eq!(names[4], "[4/4] RUN x y");
}

#[test]
fn the_network_of_the_build_is_the_default() {
    let options = BuildOptions { network: NetworkMode::None, allow_host_network: true, ..options() };
    let plan = plan_with("FROM busybox\nRUN true\nRUN --network=host true\nRUN --network=default x\n", &options);
    let modes = plan.graph.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec.network),
        _ => None,
    });
    assert_eq!(modes.collect::<Vec<_>>(), [NetworkMode::None, NetworkMode::Host, NetworkMode::None]);
}

#[test]
fn labels_of_the_command_line_win() {
    let options = BuildOptions { labels: vec![("a".into(), "2".into()), ("b".into(), "$X".into())], ..options() };
    let plan = plan_with("FROM busybox\nLABEL a=1 c=3\n", &options);
    let labels: Vec<String> = plan.config.config.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["a=2", "b=$X", "c=3"]);
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    let plan = plan("# escape=`\nFROM busybox\nENV A=C:\\x B=`$A\nRUN a `\n  b\n");
    assert_eq!(env(&plan), "A=C:\\x B=$A");
    assert_eq!(names(&plan)[1], "[2/2] RUN a   b");
}

#[test]
fn equal_input_gives_an_equal_plan() {
    let text = "ARG A=1\nFROM busybox AS a\nARG A\nRUN x\nFROM scratch\nCOPY --from=a /x /\nLABEL a=1 b=2 c=3\n";
    let plans = (0..3).map(|_| dump(&try_plan(text, &options(), &Store::default()).unwrap()));
    assert!(plans.collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_config_is_finished_with_the_layers() {
    let plan = plan("FROM busybox\nENV A=b\nRUN one\nCMD x\nCOPY a /\nUSER u\n");
    let layer = |name: &str, time: Option<&str>| LayerFacts { diff_id: name.into(), created: time.map(Into::into) };
    let layers = [layer("0", None), layer("1", Some("t1")), layer("2", Some("t2"))];
    let config = plan.image_config(&layers).unwrap();
    assert_eq!(config.rootfs.diff_ids, ["0", "1", "2"]);
    let times: Vec<_> = config.history.iter().map(|entry| entry.created.as_deref().unwrap_or("-")).collect();
    assert_eq!(times, ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "t1", "t1", "t2", "t2"]);
    assert_eq!(config.created.as_deref(), Some("t2"));
    let error = plan.image_config(&layers[..2]).unwrap_err();
    assert_eq!(error.to_string(), "the result has 2 layers where the history of the image has 3");
}
