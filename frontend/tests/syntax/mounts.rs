//! `RUN --mount`: options as written, and what they come to.

use builder_frontend::ast::{Command, Mount, MountType, ResolvedMount, Sharing};
use builder_frontend::parser::{ParseError, parse_instruction};

use crate::compact::{mount, one};

fn parsed(value: &str) -> Mount {
    let instruction = parse_instruction(&format!("RUN --mount={value} x")).expect("the mount is right");
    let Command::Run(mut run) = instruction.command else { panic!("{value}") };
    run.mounts.remove(0)
}

/// Resolves with `$NAME` standing for `name`.
fn resolved(value: &str) -> Result<ResolvedMount, ParseError> {
    parsed(value).resolve(|word| match word.value.strip_prefix('$') {
        Some(name) => Ok(name.to_lowercase()),
        None => Ok(word.value.clone()),
    })
}

fn base(kind: MountType, read_only: bool) -> ResolvedMount {
    ResolvedMount { kind, read_only, ..ResolvedMount::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "tables read better")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn options() {
    for (value, expected) in [
        ("type=bind,target=/x", r#"(Type="bind" Target="/x")"#),
        ("target=/x,ro,rw=false", r#"(Target="/x" ReadOnly ReadWrite="false")"#),
        ("dst=/x,src=a", r#"(Target="/x" Source="a")"#),
        ("destination=/x,source=$a", r#"(Target="/x" Source="$a")"#),
        ("TYPE=tmpfs,Target=/x,size=1g", r#"(Type="tmpfs" Target="/x" Size="1g")"#),
        ("target=a=b", r#"(Target="a=b")"#),
        (r#"type=bind,\"target=/a,b\""#, r#"(Type="bind" Target="/a,b")"#),
        (r#""target=/a b""#, r#"(Target="/a b")"#),
    ] {
        assert_eq!(mount(&parsed(value)), expected, "{value}");
    }
}

#[test]
fn meanings() {
    use MountType::{Bind, Cache, Secret, Ssh, Tmpfs};
    for (value, expected) in [
        ("target=/x", ResolvedMount { target: text("/x"), ..base(Bind, true) }),
        ("target=/x,rw,from=b", ResolvedMount { target: text("/x"), from: text("b"), ..base(Bind, false) }),
        ("target=/x,ro=false", ResolvedMount { target: text("/x"), ..base(Bind, false) }),
        ("target=$X,type=$CACHE", ResolvedMount { target: text("x"), ..base(Cache, false) }),
        (
            "type=cache,id=i,sharing=Locked,mode=0700,uid=1,gid=2,ro,target=/c",
            ResolvedMount {
                target: text("/c"),
                id: text("i"),
                sharing: Sharing::Locked,
                mode: Some(0o700),
                uid: Some(1),
                gid: Some(2),
                ..base(Cache, true)
            },
        ),
        (
            "type=tmpfs,target=/t,size=1.5k",
            ResolvedMount { target: text("/t"), size: Some(1536), ..base(Tmpfs, false) },
        ),
        (
            "type=tmpfs,target=/t,size=2GiB",
            ResolvedMount { target: text("/t"), size: Some(2 << 30), ..base(Tmpfs, false) },
        ),
        ("required,type=secret,source=s", ResolvedMount { id: text("s"), required: true, ..base(Secret, true) }),
        (
            "type=secret,id=s,env=E,mode=400",
            ResolvedMount { id: text("s"), env: text("E"), mode: Some(0o400), ..base(Secret, true) },
        ),
        ("type=ssh", base(Ssh, true)),
        ("type=ssh,required=0,target=/a", ResolvedMount { target: text("/a"), ..base(Ssh, true) }),
    ] {
        assert_eq!(resolved(value).unwrap(), expected, "{value}");
    }
}

#[test]
fn refusals() {
    for (value, expected) in [
        ("type=bnid,target=/x", r#"! unsupported mount type "bnid" @"type=bnid" ~bind"#),
        ("tagret=/x", "! unexpected key 'tagret' in 'tagret=/x' @\"tagret\" ~target"),
        ("target", "! invalid field 'target' must be a key=value pair @\"target\""),
        ("", "! unexpected key '' in '' @\"\""),
        ("target=/x,from=$y", "! 'from' doesn't support variable expansion, define alias stage instead @\"from=$y\""),
        ("target=/x,ro=maybe", "! invalid value for readonly: maybe @\"ro=maybe\""),
        ("target=/x,required", "! unexpected key 'required' for mount type 'bind' @\"required\""),
        ("target=/x,size=1", "! unexpected key 'size' for mount type 'bind' @\"size=1\""),
        ("target=/x,mode=1", "! mode not allowed for \"bind\" type mounts @\"mode=1\""),
        ("type=tmpfs,target=/x,uid=1", "! uid not allowed for \"tmpfs\" type mounts @\"uid=1\""),
        ("type=tmpfs,target=/x,size=1x", "! invalid value for size: 1x @\"size=1x\""),
        ("type=cache,target=/x,mode=9", "! invalid value for mode: 9 @\"mode=9\""),
        ("type=cache,target=/x,sharing=lokced", "! unsupported sharing value \"lokced\" @\"sharing=lokced\" ~locked"),
        ("target=/x,sharing=shared", "! invalid cache sharing set for bind mount @\"sharing=shared\""),
        ("type=secret", "! invalid secret mount. one of source, target required @\"type=secret\""),
        ("type=secret,id=a,src=b", "! both source and id can't be set @\"type=secret,id=a,src=b\""),
        ("type=secret,id=a,from=b", "! secret mount should not have a from @\"type=secret,id=a,from=b\""),
        ("target=a\\\"b", "! failed to parse csv mounts @\"target=a\\\\\\\"b\""),
    ] {
        assert_eq!(one(&format!("RUN --mount={value} x")), expected, "{value}");
    }
}

#[test]
fn variables_put_the_check_off() {
    assert!(parsed("type=$T,target=/x,size=$S").options.len() == 3);
    let error = resolved("type=tmpfs,target=/x,size=$WRONG").unwrap_err();
    assert_eq!(error.to_string(), "invalid value for size: wrong");
}
