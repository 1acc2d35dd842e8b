//! Whatever the text: no panic, spans that lie inside it on character boundaries, and errors that can be drawn.

use std::ops::Range;

use builder_frontend::ast::{Command, Dockerfile, Instruction, Word};
use builder_frontend::diagnostic::Diagnostic;
use builder_frontend::parser::{ParseErrorKind, parse, parse_instruction};
use proptest::prelude::*;

/// Pieces that matter to the grammar, so that random text gets somewhere.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "FROM a\n",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "ONBUILD ",
        "CMD ",
        "HEALTHCHECK ",
        "SHELL ",
        "VOLUME ",
        "--from=",
        "--mount=",
        "--",
        "type=cache,",
        "target=/x",
        "NONE",
        "# ",
        "escape=`\n",
        "syntax=",
        "\n",
        "\r\n",
        "\\\n",
        "`\n",
        "\\",
        "`",
        "\"",
        "'",
        "$",
        "${",
        "}",
        "$((",
        "))",
        "<<",
        "<<-",
        "EOF",
        "\nEOF\n",
        "[",
        "]",
        ",",
        "=",
        " ",
        "\t",
        "a",
        "é",
        "😀",
        "\u{FEFF}",
        "\u{a0}",
        "\u{2028}",
        "\r",
        "\0",
        "\\u00e9",
        "<",
        "5s",
    ]);
    prop_oneof![
        3 => prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ]
}

fn inside(text: &str, span: &Range<usize>) {
    assert!(text.get(span.clone()).is_some(), "{span:?} in {text:?}");
}

fn check(text: &str, instruction: &Instruction<impl std::fmt::Debug>) {
    for span in [&instruction.span, &instruction.keyword.span, &instruction.text.span] {
        inside(text, span);
    }
    // All other spans, by the way they are printed.
    let printed = format!("{:?}", instruction.command);
    for part in printed.split("span: ").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(part.len());
        if let Some((start, end)) = part[..end].split_once("..")
            && let (Ok(start), Ok(end)) = (start.parse::<usize>(), end.parse())
        {
            inside(text, &(start..end));
        }
    }
}

fn check_file(text: &str, file: &Dockerfile) {
    for stage in &file.stages {
        check(text, &stage.from);
        stage.instructions.iter().for_each(|instruction| check(text, instruction));
    }
    file.global_args.iter().for_each(|instruction| check(text, instruction));
    file.comments.iter().for_each(|comment| inside(text, &comment.span));
    file.warnings.iter().for_each(|warning| inside(text, &warning.span));
    [&file.directives.syntax, &file.directives.check].into_iter().flatten().for_each(|word| inside(text, &word.span));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text(text in text()) {
        match parse(&text) {
            Ok(file) => check_file(&text, &file),
            Err(error) => {
                prop_assert_ne!(&error.kind, &ParseErrorKind::Syntax, "{:?}", text);
                inside(&text, &error.span);
                let diagnostic = Diagnostic::from(error);
                prop_assert!(diagnostic.render("Dockerfile", &text, true).len() > diagnostic.message.len());
            }
        }
    }

    #[test]
    fn any_instruction(keyword in prop::sample::select(vec!["RUN", "COPY", "ENV", "ARG", "HEALTHCHECK", "ONBUILD COPY"]), text in text()) {
        let text = format!("{keyword} {text}");
        match parse_instruction(&text) {
            Ok(instruction) => check(&text, &instruction),
            Err(failed) => inside(&text, &failed.error.span),
        }
    }

    /// Cutting a line anywhere with a continuation changes nothing but spans.
    #[test]
    fn a_continuation_is_nothing(at in 1_usize..60) {
        let text = "COPY --from=build --chown=a:b --exclude='x y' source.one [two] /dest/";
        let cut = format!("{}\\\n{}", &text[..at], &text[at..]);
        let whole = parse_instruction(text).unwrap();
        let joined = parse_instruction(&cut).unwrap();
        prop_assert_eq!(&whole.text.value, &joined.text.value);
        let words = |instruction: &Instruction| match &instruction.command {
            Command::Copy(copy) => {
                let word = |word: &Word| word.value.clone();
                (copy.from.as_ref().map(word), copy.exclude.iter().map(word).collect::<Vec<_>>(), word(&copy.dest))
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(words(&whole), words(&joined));
    }

    /// A heredoc keeps every byte of its body.
    #[test]
    fn heredoc_bodies_are_verbatim(lines in prop::collection::vec("[^\r\n]{0,20}", 0..8)) {
        let body: String = lines.iter().filter(|line| *line != "EOF").flat_map(|line| [line.as_str(), "\n"]).collect();
        let instruction = parse_instruction(&format!("RUN <<EOF\n{body}EOF")).unwrap();
        prop_assert_eq!(instruction.command.heredocs()[0].body.as_str(), body);
    }
}

/// Text that would be slow or deep if any rule looked at it twice from each position.
#[test]
fn hostile_text_ends_soon() {
    for unit in
        [" ", "\\", "\r", "\t", "\"", "'", "${", "$((", "<<", "[", "=", "--a ", "\\ ", "\\\r", "`", "[\"", ",", "<<\""]
    {
        let body = unit.repeat(60_000 / unit.len());
        for start in
            ["RUN ", "RUN <<", "RUN --mount=", "ENV a=", "LABEL \"", "COPY ", "CMD [", "HEALTHCHECK ", "ONBUILD RUN "]
        {
            let _ = parse(&format!("FROM a\n{start}{body}x"));
        }
    }
    let _ = parse(&format!("FROM a\nRUN {}", "[".repeat(60_000)));
    let _ = parse(&"ONBUILD ".repeat(8_000));
}
