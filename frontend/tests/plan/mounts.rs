//! `RUN --mount`, `--security`, `--network` and what every step is told.

use builder_frontend::plan::BuildOptions;
use builder_solver::{NetworkMode, SecurityMode};

use crate::support::{Store, dump, history, mounts, names, options, plan, plan_with, run, try_plan, with_args};

/// The mounts of the only `RUN` of a file, one a line.
fn of(mount: &str) -> String {
    let plan = plan(&format!("FROM busybox\nENV DIR=/d NAME=n SIZE=1m\nWORKDIR /w\nRUN {mount} x\n"));
    mounts(run(&plan)).join("; ")
}

#[test]
fn options_and_defaults() {
    let table = [
        // bind
        ("--mount=target=.", "bind / of input 1 at /w ro"),
        ("--mount=type=bind", "bind / of input 1 at /w ro"),
        ("--mount=target=/x,source=a/../b/", "bind /b of input 1 at /x ro"),
        ("--mount=target=sub,src=../../a,rw", "bind /a of input 1 at /w/sub"),
        ("--mount=dst=$DIR/$NAME,from=debian:12,source=/etc", "bind /etc of input 1 at /d/n ro"),
        ("--mount=target=/x,from=scratch,readwrite", "bind / of input 1 at /x"),
        ("--mount=target=../../x,ro=false", "bind / of input 1 at /x"),
        // Equal files are one input.
        (
            "--mount=target=/x,source=a --mount=target=/y,source=b --mount=target=/z,source=a",
            "bind /a of input 1 at /x ro; bind /b of input 2 at /y ro; bind /a of input 1 at /z ro",
        ),
        // cache
        ("--mount=type=cache,target=/root/.cache/", "cache //root/.cache Shared 755 0:0 at /root/.cache"),
        ("--mount=type=cache,target=t//u", "cache /t/u Shared 755 0:0 at /w/t/u"),
        ("--mount=type=cache,target=/c,id=$NAME,sharing=locked", "cache /n Locked 755 0:0 at /c"),
        ("--mount=type=cache,target=/c,sharing=private,ro", "cache //c Private 755 0:0 at /c ro"),
        ("--mount=type=cache,target=/c,uid=1,gid=2,mode=0700", "cache //c Shared 700 1:2 at /c"),
        ("--mount=type=cache,target=/c,from=debian:12", "cache //c Shared 755 0:0 from / of input 1 at /c"),
        (
            "--mount=type=cache,target=/c,from=debian:12,source=v,uid=1",
            "cache //c Shared 755 1:0 from /v of input 1 at /c",
        ),
        ("--mount=type=cache,target=/c,from=debian:12,uid=1", "cache //c Shared 755 1:0 at /c"),
        ("--mount=type=cache,target=/c,from=scratch,source=v", "cache //c Shared 755 0:0 at /c"),
        // tmpfs
        ("--mount=type=tmpfs,target=/t", "tmpfs at /t"),
        ("--mount=type=tmpfs,target=/t,size=$SIZE,from=missing", "tmpfs of 1048576 at /t"),
        // secret
        ("--mount=type=secret,id=a/b", "secret a/b 400 0:0 at /run/secrets/b ro"),
        ("--mount=type=secret,target=/x/y,required", "secret y 400 0:0 required at /x/y ro"),
        ("--mount=type=secret,src=s,target=x,mode=0444,uid=1,gid=2", "secret s 444 1:2 at /x ro"),
        ("--mount=type=secret,id=s,env=$NAME", "secret s as n"),
        ("--mount=type=secret,id=s,env=E,required=true", "secret s as E required"),
        ("--mount=type=secret,id=s,env=E,target=/x", "secret s 400 0:0 at /x ro; secret s as E"),
        // ssh
        ("--mount=type=ssh", "ssh default 600 0:0 at /run/buildkit/ssh_agent.0 ro"),
        (
            "--mount=type=ssh,id=a,required --mount=type=tmpfs,target=/t --mount=type=ssh,mode=0666,uid=1,gid=2",
            "ssh a 600 0:0 required at /run/buildkit/ssh_agent.0 ro; tmpfs at /t; \
             ssh default 666 1:2 at /run/buildkit/ssh_agent.1 ro",
        ),
        ("--mount=type=ssh,target=/agent", "ssh default 600 0:0 at /agent ro"),
    ];
    for (mount, expected) in table {
        assert_eq!(of(mount), expected, "{mount}");
    }
}

#[test]
fn what_cannot_be_mounted_says_why() {
    // The option that is wrong, and the error.
    let table = [
        ("--mount=target=/", "target=/", "invalid mount target \"/\""),
        ("--mount=type=cache,target=../..", "type=cache,target=../..", "invalid mount target \"/\""),
        ("--mount=type=secret,id=a,target=/", "type=secret,id=a,target=/", "invalid mount target \"/\""),
        ("--mount=type=ssh,source=a", "type=ssh,source=a", "ssh does not support source"),
        ("--mount=type=$NO,target=/x", "type=$NO", "unsupported mount type \"\""),
        ("--mount=type=tmpfs,target=/x,size=$A", "size=$A", "invalid value for size: value"),
        ("--mount=target=/x,source=${NO:?}", "${NO:?}", "NO: is not allowed to be unset"),
        ("--mount=target=/x,from=missing", "missing", "the image `missing` is not in the store"),
        ("--mount=target=/x,from=7", "7", "invalid stage index 7: the file has 1"),
    ];
    for (mount, place, message) in table {
        let text = format!("FROM busybox\nENV A=value\nRUN {mount} x\n");
        let error = try_plan(&text, &options(), &Store::default()).unwrap_err();
        assert_eq!((error.to_string().as_str(), &text[error.span.unwrap()]), (message, place), "{mount}");
    }
}

#[test]
fn stages_are_mounted() {
    let text = r"
FROM busybox AS tool
RUN make tool
FROM busybox AS unused
RUN never
FROM busybox
RUN --mount=from=tool,source=/out,target=/tool \
    --mount=source=src,target=/src,rw \
    --mount=type=cache,target=/cache,from=tool,source=/warm \
    /tool/run
";
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn triggers_mount_stages() {
    let images = Store::with_triggers(&["RUN --mount=from=tool,target=/t <<EOF\n/t/run\nEOF"]);
    let text = "FROM busybox AS tool\nRUN make\nFROM onbuild\n";
    let plan = try_plan(text, &options(), &images).unwrap();
    assert_eq!(names(&plan)[3], "[stage-1 2/2] ONBUILD RUN --mount=from=tool,target=/t <<EOF (/t/run)");
    let (_, vertex) = plan.graph.vertices().last().unwrap();
    assert_eq!(vertex.inputs.len(), 2);
    assert_eq!(plan.graph.vertex(vertex.inputs[1]).origin.instruction, "RUN make");
}

#[test]
fn mounts_leave_no_trace_in_the_history() {
    let text = "FROM busybox\nARG A=1\nRUN --mount=type=secret,id=s,env=TOKEN --network=none echo $TOKEN $A\n";
    let plan = plan(text);
    assert_eq!(history(&plan)[1], "RUN |1 A=1 /bin/sh -c echo $TOKEN $A # buildkit");
    // A mount counts as a use of another stage, which is when BuildKit names stages.
    assert_eq!(names(&plan)[1], "[stage-0 2/2] RUN --mount=type=secret,id=s,env=TOKEN --network=none echo **** 1");
    assert!(run(&plan).env.iter().all(|(name, _)| name != "TOKEN"));
}

#[test]
fn a_mount_of_the_context_is_read_only_as_far_as_it_goes() {
    let plan = plan("FROM busybox\nRUN --mount=source=a*b,target=/x cat /x\n");
    insta::assert_snapshot!(dump(&plan));
    assert_eq!(plan.contexts, ["context"]);
}

#[test]
fn security_and_network_need_to_be_allowed() {
    let allowed = BuildOptions { allow_insecure: true, ..options() };
    let plan = plan_with("FROM busybox\nRUN --security=insecure x\n", &allowed);
    assert_eq!(run(&plan).security, SecurityMode::Insecure);
    let error = try_plan("FROM busybox\nRUN --security=insecure x\n", &options(), &Store::default()).unwrap_err();
    assert!(error.help.unwrap().contains("--allow security.insecure"));

    let text = "FROM busybox\nRUN --network=host x\n";
    let without = |allow_host_network| BuildOptions { network: NetworkMode::None, allow_host_network, ..options() };
    assert_eq!(run(&plan_with(text, &options())).network, NetworkMode::Host);
    assert_eq!(run(&plan_with(text, &without(true))).network, NetworkMode::Host);
    let error = try_plan(text, &without(false), &Store::default()).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), &text[error.span.unwrap()]),
        ("RUN --network=host is not allowed", "--network=host")
    );
}

#[test]
fn every_step_knows_hosts_and_its_own_name() {
    let hosts = vec![("db".to_owned(), "10.0.0.1".to_owned()), ("me".to_owned(), "host-gateway".to_owned())];
    let options = BuildOptions { hosts: hosts.clone(), ..with_args(&["BUILDKIT_SANDBOX_HOSTNAME=box"]) };
    let plan = plan_with("FROM busybox\nRUN x\n", &options);
    assert_eq!((&run(&plan).hosts, run(&plan).hostname.as_deref()), (&hosts, Some("box")));
    assert_eq!(run(&plan_with("FROM busybox\nRUN x\n", &with_args(&["BUILDKIT_SANDBOX_HOSTNAME="]))).hostname, None);
}

#[test]
fn caches_can_be_kept_apart() {
    let plan =
        plan_with("FROM busybox\nRUN --mount=type=cache,target=/c x\n", &with_args(&["BUILDKIT_CACHE_MOUNT_NS=team"]));
    assert_eq!(mounts(run(&plan)), ["cache team//c Shared 755 0:0 at /c"]);
}
