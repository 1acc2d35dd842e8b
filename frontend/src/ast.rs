//! The typed syntax tree of a Dockerfile.
//!
//! Everything carries its byte range in the original text. Words are *unexpanded*: variables, quotes and escapes stand
//! in them as written; only line continuations are joined. Nothing here knows what an instruction does.

use std::borrow::Cow;
use std::time::Duration;

pub use crate::mount::{Mount, MountKey, MountOption, MountType, ResolvedMount, Sharing};
pub use crate::span::{Span, Spanned, Word};

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives of the first lines.
    pub directives: Directives,
    /// `ARG` before the first `FROM`.
    pub global_args: Vec<Instruction<Arg>>,
    /// The stages in order; never empty.
    pub stages: Vec<Stage>,
    /// Every comment line outside heredocs, those inside continued instructions included.
    pub comments: Vec<Comment>,
    /// What is legal and yet worth a word.
    pub warnings: Vec<Warning>,
}

/// `# syntax=`, `# escape=`, `# check=` at the head of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// The whole value of `syntax`: a frontend image and perhaps arguments.
    pub syntax: Option<Word>,
    /// The escape character when the file sets it.
    pub escape: Option<Spanned<char>>,
    /// The whole value of `check`: `skip=…;error=…`.
    pub check: Option<Word>,
}

impl Directives {
    /// The escape character in force.
    pub fn escape_char(&self) -> char {
        self.escape.as_ref().map_or('\\', |escape| escape.value)
    }
}

/// One comment line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The text after `#`, trimmed.
    pub text: String,
    /// The line from `#` to its end.
    pub span: Span,
}

/// A remark of the parser; checks add theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule's name in the ecosystem: `NoEmptyContinuation`.
    pub rule: &'static str,
    /// One sentence.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// `FROM` and what follows it up to the next `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The instruction that opens the stage.
    pub from: Instruction<From>,
    /// The rest, in order.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// The name given with `AS`, lower-cased as names are compared.
    pub fn name(&self) -> Option<String> {
        self.from.command.name.as_ref().map(|name| name.value.to_lowercase())
    }
}

/// What all instructions have in common, around what is their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction<C = Command> {
    /// The keyword as written: `run`, `RUN`.
    pub keyword: Word,
    /// The instruction as written with its continuations joined, without heredoc bodies: `RUN make all`.
    pub text: Word,
    /// From the keyword to the end of its last line, heredoc bodies included.
    pub span: Span,
    /// The comments above, up to the instruction before or to an empty comment.
    pub comments: Vec<Comment>,
    /// What it says.
    pub command: C,
}

impl<C> Instruction<C> {
    /// The same instruction around another command.
    pub fn map<D>(self, change: impl FnOnce(C) -> D) -> Instruction<D> {
        let Self { keyword, text, span, comments, command } = self;
        Instruction { keyword, text, span, comments, command: change(command) }
    }

    /// The description that the comments above give to `name` (a stage or an argument): the line that begins with it.
    pub fn description(&self, name: &str) -> Option<&str> {
        self.comments.iter().find_map(|comment| comment.text.strip_prefix(name)?.strip_prefix(' '))
    }
}

/// One instruction. `FROM` stands in [`Stage`]; it is here, too, because a single instruction can be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Arg),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(KeyValues),
    /// `EXPOSE`, one word a port or range.
    Expose(Vec<Word>),
    /// `FROM`
    From(From),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(KeyValues),
    /// `MAINTAINER`: the rest of the line.
    Maintainer(Word),
    /// `ONBUILD`
    Onbuild(Onbuild),
    /// `RUN`
    Run(Run),
    /// `SHELL`, never empty.
    Shell(Vec<Word>),
    /// `STOPSIGNAL`
    Stopsignal(Word),
    /// `USER`: the rest of the line.
    User(Word),
    /// `VOLUME`, never empty.
    Volume(Vec<Word>),
    /// `WORKDIR`: the rest of the line.
    Workdir(Word),
}

impl Command {
    /// The keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::From(_) => "FROM",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

impl Command {
    /// The heredocs in order; for `ONBUILD` those of the inner instruction.
    pub fn heredocs(&self) -> Vec<&Heredoc> {
        match self {
            Self::Run(Run { command: RunCommand::Script(heredoc), .. }) => vec![heredoc],
            Self::Run(Run { command: RunCommand::Mixed { heredocs, .. }, .. }) => heredocs.iter().collect(),
            Self::Copy(Copy { sources, .. }) | Self::Add(Add { sources, .. }) => {
                sources.iter().filter_map(CopySource::heredoc).collect()
            }
            Self::Onbuild(onbuild) => onbuild.instruction.command.heredocs(),
            _ => Vec::new(),
        }
    }
}

/// `FROM [--platform=P] image [AS name]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The value of `--platform`.
    pub platform: Option<Word>,
    /// An image reference, the name of an earlier stage, or `scratch`.
    pub image: Word,
    /// The keyword `AS` as written.
    pub as_keyword: Option<Word>,
    /// The stage's name as written; compare it without case ([`Stage::name`]).
    pub name: Option<Word>,
}

/// `ARG key[=default] …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// At least one.
    pub items: Vec<ArgItem>,
}

/// One name of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgItem {
    /// The name.
    pub key: Word,
    /// The default, unexpanded; `Some` of an empty word for `ARG a=`.
    pub default: Option<Word>,
}

/// What `ENV` and `LABEL` set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValues {
    /// At least one.
    pub items: Vec<KeyValue>,
    /// The old form `ENV key the rest is the value`: exactly one item.
    pub legacy: bool,
}

/// One `key=value`, both unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name; variables are expanded in it, too.
    pub key: Word,
    /// The value, quotes included.
    pub value: Word,
}

/// The two forms in which a command can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// One string for the shell.
    Shell(Word),
    /// JSON: the program and its arguments, decoded. May be empty.
    Exec(Vec<Word>),
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, in order.
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Option<Spanned<RunNetwork>>,
    /// `--security`
    pub security: Option<Spanned<RunSecurity>>,
    /// `--device`, in order.
    pub devices: Vec<Device>,
    /// What to run.
    pub command: RunCommand,
}

/// The forms of `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// One string for the shell.
    Shell(Word),
    /// JSON: the program and its arguments, decoded.
    Exec(Vec<Word>),
    /// The whole command is one heredoc. With a shebang ([`Heredoc::has_shebang`]) it is a program of its own,
    /// otherwise its content is what the shell gets.
    Script(Heredoc),
    /// A command with heredocs in it: the shell gets the whole text ([`RunCommand::shell_text`]).
    Mixed {
        /// The joined line without the bodies.
        line: Word,
        /// The heredocs in order.
        heredocs: Vec<Heredoc>,
    },
}

impl RunCommand {
    /// What the shell gets; `None` for the exec form and for a script with a shebang.
    pub fn shell_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Shell(line) => Some(Cow::Borrowed(line.as_str())),
            Self::Exec(_) => None,
            Self::Script(script) => (!script.has_shebang()).then(|| script.content()),
            Self::Mixed { line, heredocs } => {
                let mut text = line.value.clone();
                for heredoc in heredocs {
                    heredoc.append_to(&mut text);
                }
                Some(Cow::Owned(text))
            }
        }
    }
}

/// `RUN --network`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    /// What the build uses.
    Default,
    /// Only a loopback interface.
    None,
    /// The host's network.
    Host,
}

/// `RUN --security`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSecurity {
    /// The usual sandbox.
    Sandbox,
    /// Without it.
    Insecure,
}

/// `RUN --device=[name=]vendor/class[…][,required]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The name of the device or of its class.
    pub name: Word,
    /// The step fails without it.
    pub required: bool,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without its quotes; the file name for `COPY` and `ADD`. The span is the whole token `<<"EOF"`.
    pub name: Word,
    /// The body as it stands in the file, every line with its line end.
    pub body: Word,
    /// `<<-`: leading tabs do not count, in the body and before the terminator.
    pub strip_tabs: bool,
    /// The delimiter was not quoted: variables are expanded (`COPY` and `ADD`; for `RUN` the shell decides).
    pub expand: bool,
    /// The file descriptor of `3<<EOF`.
    pub descriptor: Option<u32>,
}

impl Heredoc {
    /// The body, without leading tabs when `<<-` asks for that.
    pub fn content(&self) -> Cow<'_, str> {
        if !self.strip_tabs || !self.body.value.contains('\t') {
            return Cow::Borrowed(self.body.as_str());
        }
        Cow::Owned(self.body.value.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
    }

    /// The content begins with `#!`.
    pub fn has_shebang(&self) -> bool {
        self.content().starts_with("#!")
    }

    /// Appends the body and the terminator on lines of their own, as they follow a command.
    pub fn append_to(&self, text: &mut String) {
        text.push('\n');
        text.push_str(self.body.as_str());
        text.push_str(self.name.as_str());
    }
}

/// Something that `COPY` or `ADD` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path or wildcard; for `ADD` perhaps a URL or a git address.
    Path(Word),
    /// A file written in place.
    Heredoc(Heredoc),
}

impl CopySource {
    /// The heredoc, if it is one.
    pub fn heredoc(&self) -> Option<&Heredoc> {
        match self {
            Self::Heredoc(heredoc) => Some(heredoc),
            Self::Path(_) => None,
        }
    }
}

/// `COPY`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`: a stage, image or named context; never expanded.
    pub from: Option<Word>,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order; never expanded.
    pub exclude: Vec<Word>,
    /// At least one.
    pub sources: Vec<CopySource>,
    /// The destination.
    pub dest: Word,
}

/// `ADD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, in order; never expanded.
    pub exclude: Vec<Word>,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; without it local archives are unpacked and remote ones are not.
    pub unpack: Option<bool>,
    /// At least one.
    pub sources: Vec<CopySource>,
    /// The destination.
    pub dest: Word,
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [options] CMD …`
    Check {
        /// Only what was given; the rest is inherited.
        options: HealthOptions,
        /// The test.
        test: CommandLine,
    },
}

/// The options of `HEALTHCHECK … CMD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthOptions {
    /// `--interval`
    pub interval: Option<Spanned<Duration>>,
    /// `--timeout`
    pub timeout: Option<Spanned<Duration>>,
    /// `--start-period`
    pub start_period: Option<Spanned<Duration>>,
    /// `--start-interval`
    pub start_interval: Option<Spanned<Duration>>,
    /// `--retries`
    pub retries: Option<Spanned<u32>>,
}

/// `ONBUILD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction to run in the child build; never `ONBUILD`, `FROM` or `MAINTAINER`.
    pub instruction: Box<Instruction>,
    /// What goes into the image config: the inner instruction with its heredoc bodies.
    pub trigger: String,
}
