//! Every instruction in every form, one line each: what is written, what is understood.

use crate::compact::one;

macro_rules! table {
    ($name:ident: $($text:expr => $expected:expr;)+) => {
        #[test]
        fn $name() {
            $(assert_eq!(one($text), $expected, "{}", $text);)+
        }
    };
}

table! { from:
    "FROM scratch" => r#"from "scratch""#;
    "from alpine:3.20" => r#"from "alpine:3.20""#;
    "FROM\talpine@sha256:00 \t" => r#"from "alpine@sha256:00""#;
    "FROM golang AS build" => r#"from "golang" as="build""#;
    "FROM golang as Build.1_x-y" => r#"from "golang" as="Build.1_x-y""#;
    "FROM --platform=$BUILDPLATFORM golang aS build" => r#"from "golang" platform="$BUILDPLATFORM" as="build""#;
    "FROM --platform=\"linux/arm64\" ${BASE:-alpine}" => r#"from "${BASE:-alpine}" platform="linux/arm64""#;
    "FROM" => r#"! FROM requires either one or three arguments @"FROM""#;
    "FROM a b" => r#"! FROM requires either one or three arguments @"b""#;
    "FROM a AS" => r#"! FROM requires either one or three arguments @"AS""#;
    "FROM a AT b" => r#"! FROM requires either one or three arguments @"AT""#;
    "FROM a AS b c" => r#"! FROM requires either one or three arguments @"c""#;
    "FROM a AS 1b" => r#"! invalid name for build stage: "1b", name can't start with a number or contain symbols @"1b""#;
    "FROM a AS b/c" => r#"! invalid name for build stage: "b/c", name can't start with a number or contain symbols @"b/c""#;
    "FROM --plattform=x a" => r#"! unknown flag: --plattform @"--plattform" ~--platform"#;
    "FROM --platform a" => r#"! missing a value on flag: --platform @"--platform""#;
    "FROM --platform=a --platform=b c" => r#"! duplicate flag specified: --platform @"--platform=b""#;
}

table! { arg:
    "ARG a" => "arg a";
    "ARG a=" => r#"arg a="""#;
    "ARG a=1 b c='x y'" => r#"arg a="1" b c="'x y'""#;
    "ARG a=\"x y\"z  b=${c:-d}" => r#"arg a="\"x y\"z" b="${c:-d}""#;
    "ARG a=b=c" => r#"arg a="b=c""#;
    "ARG a=x\\ y" => r#"arg a="x\\ y""#;
    "ARG" => r#"! ARG requires at least one argument @"ARG""#;
    "ARG =x" => r#"! ARG names can not be blank @"=x""#;
    "ARG a=\"x" => r#"! unexpected end of statement while looking for matching double-quote @"\"x""#;
    "ARG 'a" => r#"! unexpected end of statement while looking for matching single-quote @"'a""#;
}

table! { env:
    "ENV a=b" => r#"env a="b""#;
    "ENV a=b c=\"d e\" f='g h' i=j\\ k" => r#"env a="b" c="\"d e\"" f="'g h'" i="j\\ k""#;
    "ENV a=" => r#"env a="""#;
    "ENV a=\"\\\"\" b='\\' c=\"it's\"" => r#"env a="\"\\\"\"" b="'\\'" c="\"it's\"""#;
    "ENV \"a b\"=c" => r#"env "a b"="c""#;
    "ENV a b" => r#"env legacy a="b""#;
    "ENV a \t it's = all \"one value" => r#"env legacy a="it's = all \"one value""#;
    "ENV" => r#"! ENV requires at least one argument @"ENV""#;
    "ENV a" => r#"! ENV must have two arguments @"ENV a""#;
    "ENV =b" => r#"! ENV names can not be blank @"=b""#;
    "ENV a=b c" => r#"! Syntax error - can't find = in "c". Must be of the form: name=value @"c""#;
    "ENV a=b \"c d\"" => r#"! Syntax error - can't find = in "\"c d\"". Must be of the form: name=value @"\"c d\"""#;
    "ENV a=\"b" => r#"! unexpected end of statement while looking for matching double-quote @"\"b""#;
    "ENV \"a=b" => r#"! unexpected end of statement while looking for matching double-quote @"\"a=b""#;
    "ENV --x a=b" => r#"! unknown flag: --x @"--x""#;
    "ENV -- --x=b" => r#"env --x="b""#;
    "ENV a=b\u{a0}c=\"d\u{a0}e\"" => "env a=\"b\" c=\"\\\"d\\u{a0}e\\\"\"";
    "ENV a b\u{a0}c" => "env legacy a=\"b\\u{a0}c\"";
    "ENV a=b\u{3000}\"c" => r#"! unexpected end of statement while looking for matching double-quote @"\"c""#;
}

table! { label:
    "LABEL a.b-c=\"1 2\" d=e" => r#"label a.b-c="\"1 2\"" d="e""#;
    "LABEL a b" => r#"label legacy a="b""#;
    "LABEL" => r#"! LABEL requires at least one argument @"LABEL""#;
}

table! { run:
    "RUN make all" => r#"run "make all""#;
    "run  make  all  " => r#"run "make  all""#;
    "RUN [\"make\", \"all\\n\\u00e9\"]" => r#"run ["make", "all\né"]"#;
    "RUN [ \"make\" ]" => r#"run ["make"]"#;
    "RUN [\"make\" \"all\"]" => r#"run "[\"make\" \"all\"]""#;
    "RUN ['make']" => r#"run "['make']""#;
    "RUN [\"make\"] && x" => r#"run "[\"make\"] && x""#;
    "RUN [ -f x ] && y" => r#"run "[ -f x ] && y""#;
    "RUN [\"a\\q\"]" => r#"run "[\"a\\q\"]""#;
    "RUN [\"make\", 1]" => r#"! when using JSON array syntax, arrays must be comprised of strings only @"[\"make\", 1]""#;
    "RUN [[\"a\"]]" => r#"! when using JSON array syntax, arrays must be comprised of strings only @"[[\"a\"]]""#;
    "RUN" => r#"! RUN requires at least one argument @"RUN""#;
    "RUN []" => r#"! RUN requires at least one argument @"RUN []""#;
    "RUN --network=none --security=insecure x" => r#"run network=None security=Insecure "x""#;
    "RUN --network=\"host\" x" => r#"run network=Host "x""#;
    "RUN --network=hots x" => r#"! invalid network mode "hots" @"hots" ~host"#;
    "RUN --security=none x" => r#"! invalid security mode "none" @"none""#;
    "RUN --netwrok=none x" => r#"! unknown flag: --netwrok @"--netwrok" ~--network"#;
    "RUN --mount=target=/x -- --y" => r#"run mount(Target="/x") "--y""#;
    "RUN --device=vendor.com/gpu=all,required x" => r#"run device="vendor.com/gpu=all"! "x""#;
    "RUN --device=name=a/b,required=false --device=c/d x" => r#"run device="a/b" device="c/d" "x""#;
    "RUN --device=a/b,requird x" => r#"! invalid field 'requird' must be a key=value pair @"requird""#;
    "RUN --device=a/b,nam=c x" => r#"! unexpected key 'nam' in 'nam=c' @"nam=c" ~name"#;
}

table! { copy:
    "COPY a /b" => r#"copy "a" -> "/b""#;
    "COPY a b c/ d/" => r#"copy "a" "b" "c/" -> "d/""#;
    "COPY \"a b\" c" => r#"copy "\"a" "b\"" -> "c""#;
    "COPY [\"a b\", \"c\"]" => r#"copy "a b" -> "c""#;
    "COPY --from=build --chown=1:2 --chmod=u=rwX,go=rX a b" => r#"copy from="build" chown="1:2" chmod="u=rwX,go=rX" "a" -> "b""#;
    "COPY --link --parents --exclude=*.o --exclude=\"a b\" a b" => r#"copy link parents exclude=["*.o", "a b"] "a" -> "b""#;
    "COPY --link=false --parents=TRUE a b" => r#"copy parents "a" -> "b""#;
    "COPY --from=a\\ b --chown='x'\"y\"z a b" => r#"copy from="a b" chown="xyz" "a" -> "b""#;
    "COPY --from= a b" => r#"copy "a" -> "b""#;
    "COPY --link=maybe a b" => r#"! expecting boolean value for flag --link, not: maybe @"maybe""#;
    "COPY --link= a b" => r#"! missing a value on flag: --link @"--link=""#;
    "COPY --form=x a b" => r#"! unknown flag: --form @"--form" ~--from"#;
    "COPY --link --link a b" => r#"! duplicate flag specified: --link @"--link""#;
    "COPY --from=\"x a b" => r#"! unexpected end of statement while looking for matching double-quote @"\"x a b""#;
    "COPY" => r#"! COPY requires at least two arguments @"COPY""#;
    "COPY a" => r#"! COPY requires at least two arguments, but only one was provided. Destination could not be determined @"COPY a""#;
    "COPY [\"a\"]" => r#"! COPY requires at least two arguments, but only one was provided. Destination could not be determined @"COPY [\"a\"]""#;
    "COPY [\"a\", 1]" => r#"! when using JSON array syntax, arrays must be comprised of strings only @"[\"a\", 1]""#;
    "COPY [ab] c" => r#"copy "[ab]" -> "c""#;
}

table! { add:
    "ADD https://x/y.tar.gz /z" => r#"add "https://x/y.tar.gz" -> "/z""#;
    "ADD --checksum=sha256:0 --chown=a --chmod=755 --link --exclude=x a b" => r#"add chown="a" chmod="755" checksum="sha256:0" link exclude=["x"] "a" -> "b""#;
    "ADD --keep-git-dir --unpack=false a b" => r#"add no-unpack keep-git-dir "a" -> "b""#;
    "ADD --keep-git-dir=false --unpack a b" => r#"add unpack no-keep-git-dir "a" -> "b""#;
    "ADD --from=x a b" => r#"! unknown flag: --from @"--from""#;
    "ADD a" => r#"! ADD requires at least two arguments, but only one was provided. Destination could not be determined @"ADD a""#;
}

table! { commands:
    "CMD a b" => r#"cmd "a b""#;
    "CMD [\"a\", \"b\"]" => r#"cmd ["a", "b"]"#;
    "CMD []" => "cmd []";
    "CMD" => r#"cmd """#;
    "CMD [a]" => r#"cmd "[a]""#;
    "CMD [1]" => r#"! when using JSON array syntax, arrays must be comprised of strings only @"[1]""#;
    "ENTRYPOINT [\"a\"]" => r#"entrypoint ["a"]"#;
    "ENTRYPOINT exec a $b" => r#"entrypoint "exec a $b""#;
    "ENTRYPOINT --x" => r#"! unknown flag: --x @"--x""#;
    "SHELL [\"/bin/bash\", \"-c\"]" => r#"shell ["/bin/bash", "-c"]"#;
    "SHELL /bin/bash" => r#"! SHELL requires the arguments to be in JSON form @"/bin/bash""#;
    "SHELL []" => r#"! SHELL requires at least one argument @"SHELL []""#;
    "SHELL" => r#"! SHELL requires at least one argument @"SHELL""#;
}

table! { lists:
    "EXPOSE 80 443/tcp\t8000-8010/udp $P" => r#"expose ["80", "443/tcp", "8000-8010/udp", "$P"]"#;
    "EXPOSE" => r#"! EXPOSE requires at least one argument @"EXPOSE""#;
    "VOLUME /a /b" => r#"volume ["/a", "/b"]"#;
    "VOLUME [\"/a b\"]" => r#"volume ["/a b"]"#;
    "VOLUME" => r#"! VOLUME requires at least one argument @"VOLUME""#;
    "VOLUME []" => r#"! VOLUME requires at least one argument @"VOLUME []""#;
    "VOLUME [\"/a\", \" \"]" => r#"! VOLUME specified can not be an empty string @"\" \"""#;
}

table! { lines:
    "WORKDIR /a b/$c" => r#"workdir "/a b/$c""#;
    "WORKDIR \"/a b\"" => r#"workdir "\"/a b\"""#;
    "WORKDIR" => r#"! WORKDIR requires exactly one argument @"WORKDIR""#;
    "USER a:b" => r#"user "a:b""#;
    "USER" => r#"! USER requires exactly one argument @"USER""#;
    "STOPSIGNAL SIGTERM" => r#"stopsignal "SIGTERM""#;
    "STOPSIGNAL" => r#"! STOPSIGNAL requires exactly one argument @"STOPSIGNAL""#;
    "MAINTAINER A <a@b.c>" => r#"maintainer "A <a@b.c>""#;
    "MAINTAINER" => r#"! MAINTAINER requires exactly one argument @"MAINTAINER""#;
    "MAINTAINER --boo joe@example.com" => r#"! unknown flag: --boo @"--boo""#;
}

table! { healthcheck:
    "HEALTHCHECK NONE" => "healthcheck none";
    "HEALTHCHECK none" => "healthcheck none";
    "HEALTHCHECK CMD curl -f localhost" => r#"healthcheck "curl -f localhost""#;
    "HEALTHCHECK cmd [\"a\", \"b\"]" => r#"healthcheck ["a", "b"]"#;
    "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0s --start-interval=1.5s --retries=3 CMD x" =>
        r#"healthcheck interval=90s timeout=500ms start-period=0ns start-interval=1.5s retries=3 "x""#;
    "HEALTHCHECK --interval= CMD x" => r#"healthcheck "x""#;
    "HEALTHCHECK" => r#"! HEALTHCHECK requires at least one argument @"HEALTHCHECK""#;
    "HEALTHCHECK NONE x" => r#"! HEALTHCHECK NONE takes no arguments @"HEALTHCHECK NONE x""#;
    "HEALTHCHECK CMD" => r#"! Missing command after HEALTHCHECK CMD @"CMD""#;
    "HEALTHCHECK CMD []" => r#"! Missing command after HEALTHCHECK CMD @"CMD""#;
    "HEALTHCHECK CDM x" => r#"! Unknown type "CDM" in HEALTHCHECK (try CMD) @"CDM" ~CMD"#;
    "HEALTHCHECK --interval=5 CMD x" => r#"! invalid duration "5" @"5""#;
    "HEALTHCHECK --interval=50ns CMD x" => r#"! Interval "interval" cannot be less than 1ms @"50ns""#;
    "HEALTHCHECK --timeout=-5s CMD x" => r#"! Interval "timeout" cannot be less than 1ms @"-5s""#;
    "HEALTHCHECK --retries=-1 CMD x" => r#"! --retries cannot be negative (-1) @"-1""#;
    "HEALTHCHECK --retries=x CMD x" => r#"! invalid value for --retries: x @"x""#;
    "HEALTHCHECK --retires=1 CMD x" => r#"! unknown flag: --retires @"--retires" ~--retries"#;
}

table! { onbuild:
    "ONBUILD RUN  a  b" => r#"onbuild {run "a  b"} "RUN  a  b""#;
    "onbuild copy --from=x a b" => r#"onbuild {copy from="x" "a" -> "b"} "copy --from=x a b""#;
    "ONBUILD ENV a=\\\n  b=c" => r#"onbuild {env a="" b="c"} "ENV a=  b=c""#;
    "ONBUILD RUN <<EOF\na\nEOF\n" => r#"onbuild {run script <<EOF"a\n"} "RUN <<EOF\na\nEOF""#;
    "ONBUILD COPY <<a <<-b /c\n1\na\n\t2\n\tb" => r#"onbuild {copy <<a"1\n" <<-b"2\n" -> "/c"} "COPY <<a <<-b /c\n1\na\n\t2\nb""#;
    "ONBUILD" => r#"! ONBUILD requires at least one argument @"ONBUILD""#;
    "ONBUILD ONBUILD RUN a" => r#"! Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed @"ONBUILD""#;
    "ONBUILD FROM a" => r#"! FROM isn't allowed as an ONBUILD trigger @"FROM""#;
    "ONBUILD maintainer a" => r#"! MAINTAINER isn't allowed as an ONBUILD trigger @"maintainer""#;
    "ONBUILD RNU a" => r#"! unknown instruction: RNU @"RNU" ~RUN"#;
    "ONBUILD COPY a" => r#"! COPY requires at least two arguments, but only one was provided. Destination could not be determined @"COPY a""#;
    "ONBUILD --x RUN a" => r#"! unknown flag: --x @"--x""#;
}

table! { keywords:
    "FOO bar" => r#"! unknown instruction: FOO @"FOO""#;
    "RUNN bar" => r#"! unknown instruction: RUNN @"RUNN" ~RUN"#;
    "RNU" => r#"! unknown instruction: RNU @"RNU" ~RUN"#;
    "coppy a b" => r#"! unknown instruction: coppy @"coppy" ~COPY"#;
    "ENTRYPIONT x" => r#"! unknown instruction: ENTRYPIONT @"ENTRYPIONT" ~ENTRYPOINT"#;
    "&& make" => r#"! unknown instruction: && @"&&""#;
    "RUN,x" => r#"! unknown instruction: RUN,x @"RUN,x" ~RUN"#;
    "" => r#"! exactly one instruction is allowed here @"""#;
    "# only a comment" => r##"! exactly one instruction is allowed here @"# only a comment""##;
    "RUN a\nRUN b" => r#"! exactly one instruction is allowed here @"RUN b""#;
}
