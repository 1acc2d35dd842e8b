//! `COPY` and `ADD`.

use crate::support::{dump, names, plan};

#[test]
fn copies_in_all_forms() {
    let text = r#"FROM busybox
WORKDIR /w
COPY a b* dir/
COPY ["with space", "/"]
COPY --chown=1000:1000 --chmod=u=rwX,go=rX --exclude=*.md --exclude=a/** . /x
COPY --parents ./a/./b/*.txt /../c /p/
ADD archive.tar.gz /
ADD --unpack=false archive.tar.gz .
COPY ../../etc/passwd /
"#;
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn heredocs_are_files() {
    let text = r#"FROM busybox
ENV A=value
COPY <<EOF <<-"RAW" a /etc/app/
A is $A, "quoted" and \$A
EOF
	$A stays
RAW
COPY --chmod=755 --chown=app <<run.sh /usr/bin/
#!/bin/sh
run.sh
ADD <<one /one
1
one
"#;
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn links_are_merged() {
    let text = r"FROM busybox AS a
COPY --link x /x
COPY --link --chown=1:2 y /y
COPY --link --chown=app y /named
COPY --link --chmod=644 y /mode
COPY --link --from=app /x /z
";
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn the_context_is_used_only_when_something_comes_from_it() {
    assert!(plan("FROM busybox\nRUN x\nCOPY <<A /\nA\n").contexts.is_empty());
    let plan = plan("FROM busybox\nCOPY a /\nADD b /\n");
    assert_eq!(plan.contexts, ["context"]);
    assert_eq!(names(&plan).iter().filter(|name| name.starts_with("[internal]")).count(), 1);
}
