//! How errors look.

use builder_frontend::diagnostic::{Diagnostic, Severity};
use builder_frontend::parser::parse;

fn drawn(text: &str) -> String {
    let diagnostic = Diagnostic::from(parse(text).expect_err("the text is wrong"));
    let (line, column) = diagnostic.position(text);
    format!("{line}:{column}\n{}", diagnostic.render("Dockerfile", text, false))
}

#[test]
fn errors() {
    let all: Vec<String> = [
        "FROM alpine\nRUNN make\n",
        "FROM alpine\nRUN a\n  && make\n",
        "FROM alpine\nCOPY --form=build /a /b\n",
        "FROM alpine\nCOPY --link=maybe /a /b\n",
        "FROM alpine\nWORKDIR --x /b\n",
        "FROM alpine\nCOPY a\n",
        "FROM alpine\nRUN apt-get update && \\\n  # more\n  apt-get install\nENV a=b c\n",
        "FROM alpine\nENV a=\"b\\\n  c\n",
        "FROM alpine\nRUN (cat <<EOF) | sh\nhello\nEOF\n",
        "FROM alpine\nRUN --mount=type=cahce,target=/x make\n",
        "FROM alpine\nRUN --mount=type=cache,\\\n  tagret=/x make\n",
        "FROM alpine\nHEALTHCHECK --interval=5 CMD true\n",
        "FROM alpine\nSHELL /bin/bash -c\n",
        "FROM alpine\nCMD [\"a\", 1]\n",
        "FROM alpine AS 1st\n",
        "FROM größe ALS b\n",
        "RUN make\n",
        "",
        "# just a comment\n",
        "# escape=x\nFROM a\n",
        "\u{FEFF}RNU a\n",
        "FROM a\r\nRNU b\r\n",
    ]
    .into_iter()
    .map(|text| format!("{text:?}\n{}\n", drawn(text)))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn colored() {
    let text = "FROM alpine\nRUNN make\n";
    let drawn = Diagnostic::from(parse(text).unwrap_err()).render("Dockerfile", text, true);
    insta::assert_snapshot!(drawn.replace('\u{1b}', "ESC"));
}

#[test]
fn warnings() {
    let text = "FROM alpine\nRUN a && \\\n\n    b\n";
    let warning = parse(text).unwrap().warnings.remove(0);
    let drawn = Diagnostic::from(warning).render_as(Severity::Warning, "app/Dockerfile", text, false);
    insta::assert_snapshot!(drawn);
}

/// Drawing costs no more in a long file; the place is right all the same.
#[test]
fn far_down() {
    let text = format!("FROM alpine\n{}RNU x\n", "RUN true\n".repeat(5_000));
    assert!(drawn(&text).starts_with("5002:1\nerror: unknown instruction: RNU\n"), "{}", drawn(&text));
}
