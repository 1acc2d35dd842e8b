//! `COPY` and `ADD`: flags, sources, destination.

use crate::ast::{Add, Command, Copy, CopySource, Word};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::flags::{Known, Takes};
use crate::parser::grammar::Rule;
use crate::parser::heredoc::{Bodies, Opener};
use crate::parser::instruction::Arguments;

const COPY_FLAGS: Known = &[
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Truth),
    ("parents", Takes::Truth),
    ("exclude", Takes::Values),
];

const ADD_FLAGS: Known = &[
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Truth),
    ("exclude", Takes::Values),
    ("keep-git-dir", Takes::Truth),
    ("checksum", Takes::Value),
    ("unpack", Takes::Truth),
];

/// Reads a `COPY`.
pub(super) fn copy(mut arguments: Arguments<'_>, bodies: &mut Bodies<'_>) -> Result<Command, ParseError> {
    let mut flags = arguments.flags(COPY_FLAGS)?;
    let (sources, dest) = paths(arguments, bodies)?;
    Ok(Command::Copy(Copy {
        // `--from=` is as good as none.
        from: flags.value("from").filter(|from| !from.value.is_empty()),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.truth("link").unwrap_or(false),
        parents: flags.truth("parents").unwrap_or(false),
        exclude: flags.values("exclude"),
        sources,
        dest,
    }))
}

/// Reads an `ADD`.
pub(super) fn add(mut arguments: Arguments<'_>, bodies: &mut Bodies<'_>) -> Result<Command, ParseError> {
    let mut flags = arguments.flags(ADD_FLAGS)?;
    let (sources, dest) = paths(arguments, bodies)?;
    Ok(Command::Add(Add {
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.truth("link").unwrap_or(false),
        exclude: flags.values("exclude"),
        checksum: flags.value("checksum"),
        keep_git_dir: flags.truth("keep-git-dir"),
        unpack: flags.truth("unpack"),
        sources,
        dest,
    }))
}

/// A path, or a heredoc whose body is still to be taken.
enum Item {
    Path(Word),
    Heredoc(Opener),
}

fn paths(mut arguments: Arguments<'_>, bodies: &mut Bodies<'_>) -> Result<(Vec<CopySource>, Word), ParseError> {
    let mut items = items(&mut arguments)?;
    let count = items.len();
    let dest = match items.pop() {
        Some(Item::Path(dest)) if count >= 2 => dest,
        Some(Item::Heredoc(opener)) if count >= 2 => {
            return Err(ParseError::new(ParseErrorKind::HeredocDestination(arguments.keyword), opener.span())
                .expected("the path where the files go"));
        }
        last => {
            let error = if last.is_some() {
                arguments.wrong(
                    "requires at least two arguments, but only one was provided. Destination could not be determined",
                )
            } else {
                arguments.wrong("requires at least two arguments")
            };
            return Err(error.help(format!("write `{} source… destination`", arguments.keyword)));
        }
    };
    let sources = items
        .into_iter()
        .map(|item| match item {
            Item::Path(path) => Ok(CopySource::Path(path)),
            Item::Heredoc(opener) => bodies.take(opener).map(CopySource::Heredoc),
        })
        .collect::<Result<_, _>>()?;
    Ok((sources, dest))
}

fn items(arguments: &mut Arguments<'_>) -> Result<Vec<Item>, ParseError> {
    if arguments.pairs.peek().is_none_or(|first| first.as_rule() == Rule::json_array) {
        return Ok(arguments.strings_or_words()?.into_iter().map(Item::Path).collect());
    }
    if let Some(first) = arguments.pairs.peek() {
        crate::parser::json::refuse_other_arrays(arguments.line, first.as_span().start())?;
    }
    let line = arguments.line;
    Ok(arguments
        .pairs
        .by_ref()
        .map(|pair| match pair.as_rule() {
            Rule::heredoc => Item::Heredoc(Opener::read(line, pair)),
            _ => Item::Path(line.word(&pair)),
        })
        .collect())
}
