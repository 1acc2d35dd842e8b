//! `RUN`: its flags and its forms.

use crate::ast::{CommandLine, Device, Run, RunCommand, RunNetwork, RunSecurity, Spanned, Word};
use crate::mount::{self, Mount};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::flags::{Known, Takes};
use crate::parser::heredoc::{Bodies, Opener};
use crate::parser::instruction::Arguments;
use crate::suggest;

const FLAGS: Known =
    &[("mount", Takes::Values), ("network", Takes::Value), ("security", Takes::Value), ("device", Takes::Values)];

/// Reads a `RUN`.
pub(super) fn run(mut arguments: Arguments<'_>, bodies: &mut Bodies<'_>) -> Result<Run, ParseError> {
    let mut flags = arguments.flags(FLAGS)?;
    let mounts = flags.values("mount").into_iter().map(Mount::parse).collect::<Result<_, _>>()?;
    let network = flags
        .value("network")
        .map(|word| {
            choose(
                "network mode",
                word,
                &[("default", RunNetwork::Default), ("none", RunNetwork::None), ("host", RunNetwork::Host)],
            )
        })
        .transpose()?;
    let security = flags
        .value("security")
        .map(|word| {
            choose("security mode", word, &[("sandbox", RunSecurity::Sandbox), ("insecure", RunSecurity::Insecure)])
        })
        .transpose()?;
    let devices = flags.values("device").iter().map(device).collect::<Result<_, _>>()?;
    let start = arguments.pairs.peek().map(|pair| pair.as_span().start());
    let command = match (arguments.command()?, start) {
        (Some(CommandLine::Exec(words)), _) if !words.is_empty() => RunCommand::Exec(words),
        (Some(CommandLine::Shell(text)), Some(start)) => shell(&arguments, bodies, text, start)?,
        _ => return Err(arguments.wrong("requires at least one argument").expected("a command")),
    };
    Ok(Run { mounts, network, security, devices, command })
}

fn shell(
    arguments: &Arguments<'_>,
    bodies: &mut Bodies<'_>,
    line: Word,
    start: usize,
) -> Result<RunCommand, ParseError> {
    let openers = Opener::all(arguments.line, start, arguments.escape);
    let whole = openers.first().is_some_and(|opener| opener.covers(&line.span));
    let mut heredocs = openers.into_iter().map(|opener| bodies.take(opener)).collect::<Result<Vec<_>, _>>()?;
    Ok(match heredocs.pop() {
        None => RunCommand::Shell(line),
        Some(heredoc) if whole => RunCommand::Script(heredoc),
        Some(heredoc) => {
            heredocs.push(heredoc);
            RunCommand::Mixed { line, heredocs }
        }
    })
}

fn choose<T: Copy>(what: &str, word: Word, options: &[(&str, T)]) -> Result<Spanned<T>, ParseError> {
    if let Some(&(_, value)) = options.iter().find(|(name, _)| *name == word.value) {
        return Ok(Spanned::new(value, word.span));
    }
    let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
    let message = format!("invalid {what} {:?}", word.value);
    Err(ParseError::new(ParseErrorKind::InvalidFlagValue(message), word.span)
        .suggest(suggest::nearest(&word.value, &names))
        .expected(format!("`{}`", names.join("`, `"))))
}

/// `[name=]NAME[,required[=bool]]`
fn device(raw: &Word) -> Result<Device, ParseError> {
    let invalid = |message: String, span| ParseError::new(ParseErrorKind::InvalidFlagValue(message), span);
    let mut name = None;
    let mut required = false;
    for field in mount::csv_fields(raw, "device")? {
        let (key, value) = match field.value.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.value.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", value) => {
                let text = value.unwrap_or("true");
                required = mount::boolean(text)
                    .ok_or_else(|| invalid(format!("invalid value for required: {text}"), field.span.clone()))?;
            }
            ("name", Some(value)) if name.is_none() => name = Some(Word::new(value.to_owned(), field.span)),
            (_, _) if name.is_none() => name = Some(field),
            (_, None) => {
                let message = format!("invalid field '{}' must be a key=value pair", field.value);
                return Err(invalid(message, field.span));
            }
            (_, Some(_)) => {
                let message = format!("unexpected key '{key}' in '{}'", field.value);
                return Err(invalid(message, field.span).suggest(suggest::nearest(&key, &["name", "required"])));
            }
        }
    }
    let name = name.ok_or_else(|| invalid("device name is missing".to_owned(), raw.span.clone()))?;
    Ok(Device { name, required })
}
