//! The syntax tree in few characters, for tables.

use builder_frontend::ast::{
    Add, Arg, Command, CommandLine, Copy, CopySource, Dockerfile, From, Healthcheck, Heredoc, Instruction, KeyValues,
    Mount, Onbuild, Run, RunCommand, Word,
};
use builder_frontend::parser::{parse, parse_instruction};

/// One instruction, parsed and printed; an error with the text that it points at.
pub(crate) fn one(text: &str) -> String {
    match parse_instruction(text) {
        Ok(instruction) => command(&instruction.command),
        Err(failed) => {
            let error = failed.error;
            let suggestion = error.suggestion.as_ref().map(|word| format!(" ~{word}")).unwrap_or_default();
            format!("! {error} @{:?}{suggestion}", &text[error.span.clone()])
        }
    }
}

/// A whole file, an instruction a line.
pub(crate) fn file(text: &str) -> String {
    match parse(text) {
        Ok(file) => print(&file),
        Err(error) => format!("! {error} @{:?}", &text[error.span.clone()]),
    }
}

fn print(file: &Dockerfile) -> String {
    let mut out = Vec::new();
    if let Some(syntax) = &file.directives.syntax {
        out.push(format!("#syntax {}", word(syntax)));
    }
    if let Some(escape) = &file.directives.escape {
        out.push(format!("#escape {}", escape.value));
    }
    if let Some(check) = &file.directives.check {
        out.push(format!("#check {}", word(check)));
    }
    out.extend(file.global_args.iter().map(|global| format!("global {}", arg(&global.command))));
    for stage in &file.stages {
        out.push(from(&stage.from.command));
        out.extend(stage.instructions.iter().map(|instruction| format!("  {}", command(&instruction.command))));
    }
    out.extend(file.warnings.iter().map(|warning| format!("? {}", warning.rule)));
    out.join("\n")
}

fn word(word: &Word) -> String {
    format!("{:?}", word.value)
}

fn words(words: &[Word]) -> String {
    let words: Vec<String> = words.iter().map(word).collect();
    format!("[{}]", words.join(", "))
}

fn put(out: &mut String, text: &str) {
    out.push_str(text);
}

fn option(out: &mut String, name: &str, value: Option<&Word>) {
    if let Some(value) = value {
        put(out, &format!(" {name}={}", word(value)));
    }
}

fn truth(out: &mut String, name: &str, value: impl Into<Option<bool>>) {
    match value.into() {
        Some(true) => put(out, &format!(" {name}")),
        Some(false) if matches!(name, "unpack" | "keep-git-dir") => put(out, &format!(" no-{name}")),
        _ => {}
    }
}

fn line(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(text) => word(text),
        CommandLine::Exec(items) => words(items),
    }
}

fn heredoc(heredoc: &Heredoc) -> String {
    let descriptor = heredoc.descriptor.map(|number| number.to_string()).unwrap_or_default();
    let strip = if heredoc.strip_tabs { "-" } else { "" };
    let quote = if heredoc.expand { "" } else { "'" };
    format!("{descriptor}<<{strip}{quote}{}{quote}{:?}", heredoc.name.value, heredoc.content())
}

fn sources(sources: &[CopySource]) -> String {
    let sources: Vec<String> = sources
        .iter()
        .map(|source| match source {
            CopySource::Path(path) => word(path),
            CopySource::Heredoc(body) => heredoc(body),
        })
        .collect();
    sources.join(" ")
}

fn arg(arg: &Arg) -> String {
    let items: Vec<String> = arg
        .items
        .iter()
        .map(|item| match &item.default {
            Some(default) => format!("{}={}", item.key.value, word(default)),
            None => item.key.value.clone(),
        })
        .collect();
    format!("arg {}", items.join(" "))
}

fn key_values(name: &str, list: &KeyValues) -> String {
    let legacy = if list.legacy { " legacy" } else { "" };
    let items: Vec<String> =
        list.items.iter().map(|item| format!("{}={}", item.key.value, word(&item.value))).collect();
    format!("{name}{legacy} {}", items.join(" "))
}

fn from(from: &From) -> String {
    let mut out = format!("from {}", word(&from.image));
    option(&mut out, "platform", from.platform.as_ref());
    option(&mut out, "as", from.name.as_ref());
    out
}

fn copy(copy: &Copy) -> String {
    let mut out = "copy".to_owned();
    option(&mut out, "from", copy.from.as_ref());
    option(&mut out, "chown", copy.chown.as_ref());
    option(&mut out, "chmod", copy.chmod.as_ref());
    truth(&mut out, "link", copy.link);
    truth(&mut out, "parents", copy.parents);
    if !copy.exclude.is_empty() {
        put(&mut out, &format!(" exclude={}", words(&copy.exclude)));
    }
    format!("{out} {} -> {}", sources(&copy.sources), word(&copy.dest))
}

fn add(add: &Add) -> String {
    let mut out = "add".to_owned();
    option(&mut out, "chown", add.chown.as_ref());
    option(&mut out, "chmod", add.chmod.as_ref());
    option(&mut out, "checksum", add.checksum.as_ref());
    truth(&mut out, "link", add.link);
    truth(&mut out, "unpack", add.unpack);
    truth(&mut out, "keep-git-dir", add.keep_git_dir);
    if !add.exclude.is_empty() {
        put(&mut out, &format!(" exclude={}", words(&add.exclude)));
    }
    format!("{out} {} -> {}", sources(&add.sources), word(&add.dest))
}

/// A mount with its variables left as they are.
pub(crate) fn mount(mount: &Mount) -> String {
    let options: Vec<String> = mount
        .options
        .iter()
        .map(|option| match &option.value {
            Some(value) => format!("{:?}={}", option.key, word(value)),
            None => format!("{:?}", option.key),
        })
        .collect();
    format!("({})", options.join(" "))
}

fn run(run: &Run) -> String {
    let mut out = "run".to_owned();
    for item in &run.mounts {
        put(&mut out, &format!(" mount{}", mount(item)));
    }
    if let Some(network) = &run.network {
        put(&mut out, &format!(" network={:?}", network.value));
    }
    if let Some(security) = &run.security {
        put(&mut out, &format!(" security={:?}", security.value));
    }
    for device in &run.devices {
        put(&mut out, &format!(" device={}{}", word(&device.name), if device.required { "!" } else { "" }));
    }
    let command = match &run.command {
        RunCommand::Shell(text) => word(text),
        RunCommand::Exec(items) => words(items),
        RunCommand::Script(script) if script.has_shebang() => format!("program {}", heredoc(script)),
        RunCommand::Script(script) => format!("script {}", heredoc(script)),
        RunCommand::Mixed { line, heredocs } => {
            let heredocs: Vec<String> = heredocs.iter().map(heredoc).collect();
            format!("{} with {}", word(line), heredocs.join(" "))
        }
    };
    format!("{out} {command}")
}

fn health(health: &Healthcheck) -> String {
    let Healthcheck::Check { options, test } = health else { return "healthcheck none".to_owned() };
    let mut out = "healthcheck".to_owned();
    for (name, value) in [
        ("interval", &options.interval),
        ("timeout", &options.timeout),
        ("start-period", &options.start_period),
        ("start-interval", &options.start_interval),
    ] {
        if let Some(value) = value {
            put(&mut out, &format!(" {name}={:?}", value.value));
        }
    }
    if let Some(retries) = &options.retries {
        put(&mut out, &format!(" retries={}", retries.value));
    }
    format!("{out} {}", line(test))
}

fn onbuild(onbuild: &Onbuild) -> String {
    let Onbuild { instruction, trigger } = onbuild;
    let Instruction { command: inner, .. } = instruction.as_ref();
    format!("onbuild {{{}}} {trigger:?}", command(inner))
}

fn command(command: &Command) -> String {
    match command {
        Command::Add(item) => add(item),
        Command::Arg(item) => arg(item),
        Command::Cmd(item) => format!("cmd {}", line(item)),
        Command::Copy(item) => copy(item),
        Command::Entrypoint(item) => format!("entrypoint {}", line(item)),
        Command::Env(item) => key_values("env", item),
        Command::Expose(items) => format!("expose {}", words(items)),
        Command::From(item) => from(item),
        Command::Healthcheck(item) => health(item),
        Command::Label(item) => key_values("label", item),
        Command::Maintainer(item) => format!("maintainer {}", word(item)),
        Command::Onbuild(item) => onbuild(item),
        Command::Run(item) => run(item),
        Command::Shell(items) => format!("shell {}", words(items)),
        Command::Stopsignal(item) => format!("stopsignal {}", word(item)),
        Command::User(item) => format!("user {}", word(item)),
        Command::Volume(items) => format!("volume {}", words(items)),
        Command::Workdir(item) => format!("workdir {}", word(item)),
    }
}
