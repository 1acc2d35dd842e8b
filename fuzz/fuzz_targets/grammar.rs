//! The parser: any text gives a tree or an error, the same one each time, whose places lie in the text; and an error
//! can be drawn.

#![no_main]

use std::fmt::Debug;
use std::ops::Range;

use builder_frontend::ast::{Command, Dockerfile, Heredoc, Instruction};
use builder_frontend::diagnostic::Diagnostic;
use builder_frontend::parser::{ParseErrorKind, parse, parse_instruction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = parse(text);
    assert_eq!(file, parse(text), "the same text gives the same outcome");
    match &file {
        Ok(file) => check_file(text, file),
        Err(error) => {
            assert_ne!(error.kind, ParseErrorKind::Syntax, "every error has words of its own");
            inside(text, &error.span);
            let diagnostic = Diagnostic::from(error.clone());
            let (line, column) = diagnostic.position(text);
            assert!(line >= 1 && column >= 1);
            assert!(diagnostic.render("Dockerfile", text, false).len() > diagnostic.message.len());
        }
    }
    match parse_instruction(text) {
        Ok(instruction) => check(text, &instruction),
        Err(failed) => inside(text, &failed.error.span),
    }
});

fn check_file(text: &str, file: &Dockerfile) {
    assert!(!file.stages.is_empty());
    let mut behind = 0;
    for arg in &file.global_args {
        check(text, arg);
        in_order(&mut behind, &arg.span);
    }
    for stage in &file.stages {
        check(text, &stage.from);
        in_order(&mut behind, &stage.from.span);
        for instruction in &stage.instructions {
            check(text, instruction);
            in_order(&mut behind, &instruction.span);
            instruction.command.heredocs().into_iter().for_each(|heredoc| check_heredoc(text, heredoc));
            if let Command::Onbuild(onbuild) = &instruction.command {
                // The next build reads what goes into the image; it must get the same instruction.
                let again = parse_instruction(&onbuild.trigger);
                let again = again.unwrap_or_else(|error| panic!("{error} in the trigger {:?}", onbuild.trigger));
                assert_eq!(again.command.keyword(), onbuild.instruction.command.keyword());
            }
        }
    }
    file.comments.iter().for_each(|comment| inside(text, &comment.span));
    file.warnings.iter().for_each(|warning| inside(text, &warning.span));
    [&file.directives.syntax, &file.directives.check].into_iter().flatten().for_each(|word| inside(text, &word.span));
}

fn check(text: &str, instruction: &Instruction<impl Debug>) {
    for span in [&instruction.span, &instruction.keyword.span, &instruction.text.span] {
        inside(text, span);
    }
    let keyword = &text[instruction.keyword.span.clone()];
    assert!(keyword == instruction.keyword.value || keyword.contains('\n'), "{keyword:?}");
    // All other spans, by the way they are printed.
    for part in format!("{:?}", instruction.command).split("span: ").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(part.len());
        if let Some((start, end)) = part[..end].split_once("..")
            && let (Ok(start), Ok(end)) = (start.parse::<usize>(), end.parse())
        {
            inside(text, &(start..end));
        }
    }
}

fn check_heredoc(text: &str, heredoc: &Heredoc) {
    if heredoc.body.span.len() == heredoc.body.value.len() {
        assert_eq!(&text[heredoc.body.span.clone()], heredoc.body.value);
    }
}

/// Instructions follow each other and do not overlap.
fn in_order(behind: &mut usize, span: &Range<usize>) {
    assert!(*behind <= span.start, "{span:?} begins before {behind}");
    *behind = span.end;
}

fn inside(text: &str, span: &Range<usize>) {
    assert!(text.get(span.clone()).is_some(), "{span:?} is not a part of the text");
}
