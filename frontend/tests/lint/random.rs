//! Checks never fail on a file that parses, and findings lie inside it.

use builder_frontend::lint::{self, Facts, Lines};
use builder_frontend::{outline, parser};
use proptest::prelude::*;

use crate::support::{Store, options};

fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "$a",
        "${b}",
        "${c:-d}",
        "a=1",
        "b=$a",
        ".",
        "x.txt",
        "/y/",
        "--from=0",
        "--from=s1",
        "<<EOF",
        "é",
        "apt-get update",
        "npm ci",
        "80/TCP",
        "1:2",
        "--platform=linux/amd64",
        "[\"a\"]",
        "AS",
        "key value",
        "\\\n\n",
        "--mount=type=secret,id=$a",
    ]);
    let keyword = prop::sample::select(vec![
        "FROM scratch",
        "FROM base AS s1",
        "from parent as S2",
        "FROM $a",
        "ARG",
        "ENV",
        "COPY",
        "ADD",
        "RUN",
        "CMD",
        "ENTRYPOINT",
        "EXPOSE",
        "WORKDIR",
        "LABEL",
        "USER",
        "HEALTHCHECK CMD",
        "ONBUILD COPY",
        "# check=skip=all",
        "# a b",
        "SHELL",
        "EOF",
    ]);
    (keyword, prop::collection::vec(word, 0..4)).prop_map(|(keyword, words)| format!("{keyword} {}", words.join(" ")))
}

proptest! {
    #[test]
    fn any_file_can_be_checked(lines in prop::collection::vec(line(), 0..12), all_stages: bool) {
        let text = format!("# check=experimental=all\nFROM base\n{}\n", lines.join("\n"));
        match parser::parse(&text) {
            Err(error) => drop(lint::check_above(&text, error.span.start)),
            Ok(file) => {
                let options = options(&["a=x"]);
                let facts = Facts { options: &options, images: &Store, ignored: &|_| true, all_stages };
                let report = lint::check(&file, &facts).expect("the options are right");
                for finding in &report.findings {
                    prop_assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
                    prop_assert!(text.get(finding.focus.clone()).is_some(), "{finding:?}");
                    let (first, last) = finding.lines(&Lines::of(&text));
                    prop_assert!(1 <= first && first <= last && last <= text.lines().count() + 1, "{finding:?}");
                }
                outline::outline(&file, &options, &Store);
                outline::targets(&file);
            }
        }
    }
}
