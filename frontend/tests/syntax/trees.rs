//! Whole syntax trees.

use builder_frontend::parser::parse;

use crate::compact::file;

#[test]
fn a_real_file() {
    insta::assert_snapshot!(file(include_str!("real.Dockerfile")));
}

/// Every field, with every span, of a few instructions.
#[test]
fn in_full() {
    let text = "# syntax=docker/dockerfile:1\nARG V=1\n# out is what ships\nFROM base:$V AS out\n\
                RUN --mount=type=cache,target=/c \\\n  make <<-E\n\tx\n\tE\nCOPY --from=a [\"b c\", \"/d\"]\n";
    insta::assert_debug_snapshot!(parse(text).unwrap());
}
