//! Checks of the text alone, stages that nothing needs included.

use std::collections::HashSet;

use crate::ast::{Arg, Comment, Dockerfile, From, Instruction, Span, Stage, Warning};
use crate::go_text;
use crate::lint::config::check_comment;
use crate::lint::report::{Place, Reporter};
use crate::lint::rule::{
    CONSISTENT_INSTRUCTION_CASING, DUPLICATE_STAGE_NAME, FROM_AS_CASING, INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED, NO_EMPTY_CONTINUATION, RESERVED_STAGE_NAME, STAGE_NAME_CASING,
};

/// Names that mean something else.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Checks a whole file.
pub(super) fn check(file: &Dockerfile, reporter: &mut Reporter) {
    continuations(file, &file.warnings, reporter);
    instructions(file, reporter);
    stage_names(&file.stages, reporter);
    casing(&file.stages, reporter);
}

/// The checks of single instructions, which also hold for the part of a file above an error.
pub(super) fn instructions(file: &Dockerfile, reporter: &mut Reporter) {
    for arg in &file.global_args {
        describe_arg(arg, &arg.command, reporter);
    }
    for stage in &file.stages {
        from(&stage.from, reporter);
        for instruction in &stage.instructions {
            match &instruction.command {
                crate::ast::Command::Maintainer(_) => {
                    let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
                    let focus = instruction.keyword.span.clone();
                    reporter.report(&MAINTAINER_DEPRECATED, &Place::of(instruction), focus, message);
                }
                crate::ast::Command::Arg(arg) => describe_arg(instruction, arg, reporter),
                _ => {}
            }
        }
    }
}

/// The parser has found them. BuildKit counts them at the last line of the instruction.
fn continuations(file: &Dockerfile, warnings: &[Warning], reporter: &mut Reporter) {
    let mut places: Vec<(Span, &[Comment])> =
        file.global_args.iter().map(|arg| (arg.text.span.clone(), arg.comments.as_slice())).collect();
    for stage in &file.stages {
        places.push((stage.from.text.span.clone(), &stage.from.comments));
        places.extend(stage.instructions.iter().map(|one| (one.text.span.clone(), one.comments.as_slice())));
    }
    for warning in warnings {
        // A continuation may also be the last thing of an instruction, and of the file.
        let after = places.partition_point(|(span, _)| span.start <= warning.span.start);
        let Some((span, comments)) = after.checked_sub(1).and_then(|index| places.get(index)) else { continue };
        let last = span.end.max(warning.span.start);
        let place = Place { span: last..last.max(warning.span.end), comments };
        reporter.report(&NO_EMPTY_CONTINUATION, &place, warning.span.clone(), "Empty continuation line".to_owned());
    }
}

fn from(instruction: &Instruction<From>, reporter: &mut Reporter) {
    let From { as_keyword, name, .. } = &instruction.command;
    let (Some(as_keyword), Some(name)) = (as_keyword, name) else { return };
    let place = Place::of(instruction);
    let lower = name.value.to_lowercase();
    if lower != name.value {
        let message = format!("Stage name '{}' should be lowercase", name.value);
        reporter.report(&STAGE_NAME_CASING, &place, name.span.clone(), message);
    }
    let keyword = instruction.keyword.as_str();
    let expected = match Casing::of(keyword) {
        Casing::Lower => as_keyword.value.to_lowercase(),
        Casing::Upper => as_keyword.value.to_uppercase(),
        // Another check says so already.
        Casing::Mixed => as_keyword.value.clone(),
    };
    if expected != as_keyword.value {
        let message = format!("'{}' and '{keyword}' keywords' casing do not match", as_keyword.value);
        reporter.report(&FROM_AS_CASING, &place, as_keyword.span.clone(), message);
    }
    describe(instruction, "FROM", &[lower.as_str()], reporter);
}

fn describe_arg<C>(instruction: &Instruction<C>, arg: &Arg, reporter: &mut Reporter) {
    let names: Vec<&str> = arg.items.iter().map(|item| item.key.as_str()).collect();
    describe(instruction, "ARG", &names, reporter);
}

/// The last comment above a definition should begin with what is defined.
fn describe<C>(instruction: &Instruction<C>, keyword: &str, names: &[&str], reporter: &mut Reporter) {
    let mut comments = instruction.comments.iter().filter(|comment| check_comment(&comment.text).is_none());
    let Some(comment) = comments.next_back() else { return };
    let first = comment.text.split(' ').next().unwrap_or_default();
    if names.contains(&first) {
        return;
    }
    let name = match names {
        [name] => name,
        _ => "<arg_key>",
    };
    let message = format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    reporter.report(&INVALID_DEFINITION_DESCRIPTION, &Place::of(instruction), comment.span.clone(), message);
}

fn stage_names(stages: &[Stage], reporter: &mut Reporter) {
    let mut seen = HashSet::new();
    for stage in stages {
        let (Some(name), Some(word)) = (stage.name(), &stage.from.command.name) else { continue };
        let quoted = go_text::quote(&name);
        let place = Place::of(&stage.from);
        if RESERVED.contains(&name.as_str()) {
            let message = format!("Stage name should not use the same name as reserved stage {quoted}");
            reporter.report(&RESERVED_STAGE_NAME, &place, word.span.clone(), message);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {quoted}, stage names should be unique");
            reporter.report(&DUPLICATE_STAGE_NAME, &place, word.span.clone(), message);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
    Mixed,
}

impl Casing {
    fn of(keyword: &str) -> Self {
        let has = |test: fn(&char) -> bool| keyword.chars().any(|c| test(&c));
        match (has(|c| c.is_lowercase()), has(|c| c.is_uppercase())) {
            (true, true) => Self::Mixed,
            (true, false) => Self::Lower,
            _ => Self::Upper,
        }
    }
}

/// The majority says how keywords are written; upper case when there is none.
fn casing(stages: &[Stage], reporter: &mut Reporter) {
    let keywords = || {
        stages.iter().flat_map(|stage| {
            let own = stage.instructions.iter().map(|one| (&one.keyword, Place::of(one)));
            std::iter::once((&stage.from.keyword, Place::of(&stage.from))).chain(own)
        })
    };
    let (mut lower, mut upper) = (0_usize, 0_usize);
    for (keyword, _) in keywords() {
        match Casing::of(keyword.as_str()) {
            Casing::Lower => lower += 1,
            Casing::Upper => upper += 1,
            Casing::Mixed => {}
        }
    }
    let (expected, casing) = if lower > upper { (Casing::Lower, "lowercase") } else { (Casing::Upper, "uppercase") };
    for (keyword, place) in keywords() {
        if Casing::of(keyword.as_str()) != expected {
            let message =
                format!("Command '{}' should match the case of the command majority ({casing})", keyword.value);
            reporter.report(&CONSISTENT_INSTRUCTION_CASING, &place, keyword.span.clone(), message);
        }
    }
}
