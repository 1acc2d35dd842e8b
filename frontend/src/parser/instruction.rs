//! One logical line → one typed instruction.

use std::iter::Peekable;

use pest::iterators::Pairs;

use crate::ast::{Command, CommandLine, From, Instruction, Onbuild, Span, Word};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::flags::{Flags, Known, Takes};
use crate::parser::grammar::{self, Rule};
use crate::parser::heredoc::Bodies;
use crate::parser::line::LogicalLine;
use crate::parser::{Escape, blanks, files, health, json, run, values};
use crate::suggest;

/// All keywords.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction while its arguments are read.
#[derive(Debug)]
pub(super) struct Arguments<'l> {
    /// The line that it stands on.
    pub(super) line: &'l LogicalLine<'l>,
    /// Its keyword in upper case.
    pub(super) keyword: &'static str,
    /// The escape character.
    pub(super) escape: Escape,
    /// What is not read yet.
    pub(super) pairs: Peekable<Pairs<'l, Rule>>,
}

/// Reads the instruction on `line`; heredocs take their bodies from `bodies`.
pub(super) fn read(line: &LogicalLine<'_>, bodies: &mut Bodies<'_>, escape: Escape) -> Result<Instruction, ParseError> {
    let text = line.text();
    let keyword = first_word(text);
    let keyword = Word::new(keyword.to_owned(), line.span(0..keyword.len()));
    let plain = blanks::plain(text, &keyword.value, escape).map(|plain| line.with_text(plain));
    let line = plain.as_ref().unwrap_or(line);
    let rule = escape.choose(Rule::instruction_backslash, Rule::instruction_backtick);
    let syntax = || ParseError::new(ParseErrorKind::Syntax, line.whole());
    let pair = grammar::parse(rule, line.text()).map_err(|_| syntax())?.next().ok_or_else(syntax)?;
    let rule = pair.as_rule();
    let arguments = |keyword| Arguments { line, keyword, escape, pairs: pair.into_inner().peekable() };
    let command = match rule {
        Rule::add => files::add(arguments("ADD"), bodies)?,
        Rule::arg => Command::Arg(values::arg(arguments("ARG"))?),
        Rule::cmd => Command::Cmd(arguments("CMD").only_command()?),
        Rule::copy => files::copy(arguments("COPY"), bodies)?,
        Rule::entrypoint => Command::Entrypoint(arguments("ENTRYPOINT").only_command()?),
        Rule::env => Command::Env(values::key_values(arguments("ENV"))?),
        Rule::expose => Command::Expose(arguments("EXPOSE").only_words()?),
        Rule::from => Command::From(from(arguments("FROM"))?),
        Rule::healthcheck => Command::Healthcheck(health::healthcheck(arguments("HEALTHCHECK"))?),
        Rule::label => Command::Label(values::key_values(arguments("LABEL"))?),
        Rule::maintainer => Command::Maintainer(arguments("MAINTAINER").only_rest()?),
        Rule::onbuild => Command::Onbuild(onbuild(arguments("ONBUILD"), bodies)?),
        Rule::run => Command::Run(run::run(arguments("RUN"), bodies)?),
        Rule::shell => Command::Shell(shell(arguments("SHELL"))?),
        Rule::stopsignal => Command::Stopsignal(arguments("STOPSIGNAL").only_rest()?),
        Rule::user => Command::User(arguments("USER").only_rest()?),
        Rule::volume => Command::Volume(volume(arguments("VOLUME"))?),
        Rule::workdir => Command::Workdir(arguments("WORKDIR").only_rest()?),
        _ => return Err(unknown(keyword, escape)),
    };
    let whole = line.whole();
    let end = command.heredocs().last().map_or(whole.end, |_| bodies.end_of_last_line());
    Ok(Instruction {
        keyword,
        text: Word::new(text.to_owned(), whole.clone()),
        span: whole.start..end.max(whole.end),
        comments: Vec::new(),
        command,
    })
}

impl Arguments<'_> {
    /// The leading flags.
    pub(super) fn flags(&mut self, known: Known) -> Result<Flags, ParseError> {
        Flags::read(self.line, &mut self.pairs, known)
    }

    /// The place of the whole instruction, for errors about its arguments.
    pub(super) fn span(&self) -> Span {
        self.line.whole()
    }

    /// An error about the number of arguments.
    pub(super) fn wrong(&self, message: &str) -> ParseError {
        ParseError::new(ParseErrorKind::Arguments(format!("{} {message}", self.keyword)), self.span())
    }

    /// Is there nothing left?
    pub(super) fn is_empty(&mut self) -> bool {
        self.pairs.peek().is_none()
    }

    /// The rest as a command: JSON, text, or nothing at all.
    pub(super) fn command(&mut self) -> Result<Option<CommandLine>, ParseError> {
        let Some(pair) = self.pairs.next() else { return Ok(None) };
        if pair.as_rule() == Rule::json_array {
            return Ok(Some(CommandLine::Exec(json::strings(self.line, pair))));
        }
        json::refuse_other_arrays(self.line, pair.as_span().start())?;
        Ok(Some(CommandLine::Shell(self.line.word(&pair))))
    }

    /// The rest as JSON strings or as words between blanks.
    pub(super) fn strings_or_words(&mut self) -> Result<Vec<Word>, ParseError> {
        let Some(pair) = self.pairs.peek() else { return Ok(Vec::new()) };
        if pair.as_rule() == Rule::json_array {
            return Ok(self.pairs.next().map(|pair| json::strings(self.line, pair)).unwrap_or_default());
        }
        json::refuse_other_arrays(self.line, pair.as_span().start())?;
        Ok(self.words())
    }

    /// The rest as words between blanks.
    pub(super) fn words(&mut self) -> Vec<Word> {
        self.pairs.by_ref().map(|pair| self.line.word(&pair)).collect()
    }

    fn only_command(mut self) -> Result<CommandLine, ParseError> {
        self.flags(&[])?;
        let end = self.span().end;
        Ok(self.command()?.unwrap_or_else(|| CommandLine::Shell(Word::new(String::new(), end..end))))
    }

    fn only_words(mut self) -> Result<Vec<Word>, ParseError> {
        self.flags(&[])?;
        let words = self.words();
        if words.is_empty() { Err(self.wrong("requires at least one argument")) } else { Ok(words) }
    }

    fn only_rest(mut self) -> Result<Word, ParseError> {
        self.flags(&[])?;
        match self.pairs.next() {
            Some(pair) => Ok(self.line.word(&pair)),
            None => Err(self.wrong("requires exactly one argument")),
        }
    }
}

fn from(mut arguments: Arguments<'_>) -> Result<From, ParseError> {
    const COUNT: &str = "requires either one or three arguments";
    let platform = arguments.flags(&[("platform", Takes::Value)])?.value("platform");
    let platform = platform.filter(|platform| !platform.value.is_empty());
    let wrong = arguments.wrong(COUNT);
    let mut words = arguments.words().into_iter();
    let Some(image) = words.next() else {
        return Err(wrong.expected("an image or a stage: `FROM image [AS name]`"));
    };
    let Some(as_keyword) = words.next() else {
        return Ok(From { platform, image, as_keyword: None, name: None });
    };
    let at = |span: Span| ParseError { span, ..wrong.clone() };
    if !as_keyword.value.eq_ignore_ascii_case("as") {
        return Err(at(as_keyword.span.clone()).expected("`AS name` or the end of the line"));
    }
    let Some(name) = words.next() else {
        return Err(at(as_keyword.span.clone()).expected("a name after `AS`"));
    };
    if let Some(more) = words.next() {
        return Err(at(more.span).expected("the end of the line"));
    }
    if !is_stage_name(&name.value.to_lowercase()) {
        return Err(ParseError::new(ParseErrorKind::InvalidStageName(name.value), name.span)
            .expected("a letter, then letters, digits, `-`, `_` or `.`"));
    }
    Ok(From { platform, image, as_keyword: Some(as_keyword), name: Some(name) })
}

fn is_stage_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

fn shell(mut arguments: Arguments<'_>) -> Result<Vec<Word>, ParseError> {
    arguments.flags(&[])?;
    match arguments.command()? {
        Some(CommandLine::Exec(words)) if !words.is_empty() => Ok(words),
        Some(CommandLine::Shell(text)) => Err(ParseError::new(ParseErrorKind::NotJson("SHELL"), text.span)
            .expected("an array of strings: `[\"/bin/sh\", \"-c\"]`")),
        _ => Err(arguments.wrong("requires at least one argument")),
    }
}

fn volume(mut arguments: Arguments<'_>) -> Result<Vec<Word>, ParseError> {
    arguments.flags(&[])?;
    let paths = arguments.strings_or_words()?;
    if paths.is_empty() {
        return Err(arguments.wrong("requires at least one argument"));
    }
    match paths.iter().find(|path| path.value.trim().is_empty()) {
        Some(path) => {
            let message = "VOLUME specified can not be an empty string".to_owned();
            Err(ParseError::new(ParseErrorKind::Arguments(message), path.span.clone()))
        }
        None => Ok(paths),
    }
}

fn onbuild(mut arguments: Arguments<'_>, bodies: &mut Bodies<'_>) -> Result<Onbuild, ParseError> {
    arguments.flags(&[])?;
    let Some(rest) = arguments.pairs.next() else {
        return Err(arguments.wrong("requires at least one argument").expected("an instruction after `ONBUILD`"));
    };
    let inner = arguments.line.tail(rest.as_span().start());
    let keyword = first_word(inner.text());
    let refusal = match keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" => Some("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        keyword @ ("FROM" | "MAINTAINER") => Some(format!("{keyword} isn't allowed as an ONBUILD trigger")),
        _ => None,
    };
    if let Some(message) = refusal {
        return Err(ParseError::new(ParseErrorKind::InvalidTrigger(message), inner.span(0..keyword.len())));
    }
    let instruction = read(&inner, bodies, arguments.escape)?;
    let mut trigger = inner.text().to_owned();
    for heredoc in instruction.command.heredocs() {
        heredoc.append_to(&mut trigger);
    }
    Ok(Onbuild { instruction: Box::new(instruction), trigger })
}

/// The text up to the first blank, as the grammar understands blanks.
fn first_word(text: &str) -> &str {
    text.split([' ', '\t', '\u{B}', '\u{C}', '\r']).next().unwrap_or_default()
}

fn unknown(keyword: Word, escape: Escape) -> ParseError {
    let Word { value, span } = keyword;
    let odd_blank = value.split_once(char::is_whitespace).map(|(word, _)| word.to_owned());
    let suggestion = suggest::nearest(&value, &KEYWORDS);
    let continued = value.starts_with(|first: char| !first.is_alphabetic());
    let error = ParseError::new(ParseErrorKind::UnknownInstruction(value), span)
        .expected("an instruction such as RUN or COPY")
        .suggest(suggestion);
    match (odd_blank, suggestion) {
        (Some(word), _) => error.help(format!("the blank after `{word}` is not a plain space; type it anew")),
        (None, None) if continued => {
            error.help(format!("to continue the line above, end it with `{}`", escape.character()))
        }
        _ => error,
    }
}
