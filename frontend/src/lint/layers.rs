//! Checks of what lands in the layers. All of them can be wrong, since nobody looks at the files.

use crate::ast::{Comment, Mount, MountKey, Run, Span, Word};
use crate::go_text;
use crate::lint::report::{Place, Reporter};
use crate::lint::rule::{APT_GET_UPDATE_ALONE, COPY_BEFORE_DEPENDENCY_INSTALL, COPY_OVERWRITTEN, SECRET_IN_LAYER};
use crate::lint::{secret, shell};
use crate::plan::paths;

/// A `COPY` with its variables expanded.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) from: Option<String>,
    /// The paths and where they stand.
    pub(super) sources: Vec<(String, Span)>,
    /// The names of the files that stand in the Dockerfile.
    pub(super) heredocs: Vec<String>,
    /// Absolute; with a trailing slash when it must be a directory.
    pub(super) dest: String,
    /// Not everything that the sources name is copied, or not to where it usually goes.
    pub(super) is_filtered: bool,
}

/// A copy that nothing has looked at yet.
#[derive(Debug, Clone)]
struct Pending {
    span: Span,
    comments: Vec<Comment>,
    focus: Span,
    from: Option<String>,
    /// The files that it writes, and what each is a copy of (nothing for a heredoc).
    files: Vec<(String, Option<String>)>,
}

/// The whole context, before the dependencies were installed.
#[derive(Debug, Clone)]
struct Whole {
    span: Span,
    comments: Vec<Comment>,
    focus: Span,
}

/// What the instructions of a stage have put into its layers so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    pending: Vec<Pending>,
    whole: Option<Whole>,
    /// The tools whose dependencies are installed.
    installed: Vec<&'static str>,
}

impl Layers {
    /// What a stage on top begins with: other stages may have looked at the files of the one below.
    pub(super) fn inherit(self) -> Self {
        Self { pending: Vec::new(), whole: None, installed: self.installed }
    }

    pub(super) fn copy(
        &mut self,
        copied: Copied,
        place: &Place<'_>,
        elsewhere: Option<&Span>,
        reporter: &mut Reporter,
    ) {
        self.overwrite(&copied, place, reporter);
        let focus = |span: &Span| elsewhere.unwrap_or(span).clone();
        let whole = copied.sources.iter().find(|(path, _)| paths::source(path, false) == ".");
        if let (Some((_, span)), None, false) = (whole, &copied.from, copied.is_filtered) {
            self.whole.get_or_insert_with(|| Whole {
                span: place.span.clone(),
                comments: place.comments.to_vec(),
                focus: focus(span),
            });
        }
        let files = copied.files();
        if !copied.is_filtered && !files.is_empty() {
            self.pending.push(Pending {
                span: place.span.clone(),
                comments: place.comments.to_vec(),
                focus: focus(copied.sources.first().map_or(&place.span, |(_, span)| span)),
                from: copied.from,
                files,
            });
        }
    }

    pub(super) fn run(&mut self, run: &Run, place: &Place<'_>, reporter: &mut Reporter) {
        // The command may look at anything.
        self.pending.clear();
        let script = shell::text(&run.command);
        update_alone(run, &script, place, reporter);
        let has_cache = run.mounts.iter().any(|mount| option(mount, MountKey::Type) == Some("cache"));
        let mut installs = Vec::new();
        for words in shell::commands(&script) {
            let Some(tool) = installs_dependencies(&words) else { continue };
            if !has_cache
                && !self.installed.contains(&tool)
                && let Some(whole) = self.whole.take()
            {
                let message = format!(
                    "COPY of the whole context before {} makes every edit install the dependencies again",
                    go_text::quote(&words.join(" "))
                );
                let place = Place { span: whole.span, comments: &whole.comments };
                reporter.report(&COPY_BEFORE_DEPENDENCY_INSTALL, &place, whole.focus, message);
            }
            installs.push(tool);
        }
        self.installed.extend(installs);
    }

    /// Tells of copies of which nothing is left.
    fn overwrite(&mut self, copied: &Copied, place: &Place<'_>, reporter: &mut Reporter) {
        if copied.is_filtered {
            return;
        }
        let files = copied.files();
        let is_replaced = |pending: &Pending, file: &str, source: Option<&str>| {
            files.iter().any(|(other, _)| other == file)
                || (source.is_some_and(|source| copied.brings(source, file)) && pending.from == copied.from)
        };
        self.pending.retain(|pending| {
            if !pending.files.iter().all(|(file, source)| is_replaced(pending, file, source.as_deref())) {
                return true;
            }
            let file = pending.files.first().map_or("", |(file, _)| file);
            let message =
                format!("COPY to {} is made useless by a later COPY, which replaces it", go_text::quote(file));
            let own = Place { span: pending.span.clone(), comments: &pending.comments };
            let comments = if own.comments.is_empty() { place.comments } else { own.comments };
            let own = Place { comments, ..own };
            reporter.report(&COPY_OVERWRITTEN, &own, pending.focus.clone(), message);
            false
        });
    }
}

impl Copied {
    /// The files that this certainly writes; nothing when one of its sources may be a directory.
    fn files(&self) -> Vec<(String, Option<String>)> {
        let into = self.dest.strip_suffix('/');
        let mut files = Vec::new();
        for name in &self.heredocs {
            let file = into.map_or_else(|| self.dest.clone(), |directory| format!("{directory}/{name}"));
            files.push((file, None));
        }
        for (path, _) in &self.sources {
            let source = paths::source(path, false);
            let name = source.rsplit('/').next().unwrap_or_default();
            if !looks_like_file(name) {
                return Vec::new();
            }
            let file = match into {
                Some(directory) => format!("{directory}/{name}"),
                // `COPY app.conf /etc` may mean a file in that directory.
                None if looks_like_file(self.dest.rsplit('/').next().unwrap_or_default()) => self.dest.clone(),
                None => return Vec::new(),
            };
            files.push((file, Some(source)));
        }
        files
    }

    /// Whether this copies `source` to `file` as a part of a directory.
    fn brings(&self, source: &str, file: &str) -> bool {
        let dest = self.dest.trim_end_matches('/');
        self.sources.iter().any(|(path, _)| {
            let directory = paths::source(path, false);
            let inside = match directory.as_str() {
                "." => Some(source),
                directory => source.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')),
            };
            inside.is_some_and(|inside| format!("{dest}/{inside}") == file)
        })
    }
}

/// Files that should not be in an image.
pub(super) fn secrets(
    keyword: &str,
    sources: &[(String, Span)],
    place: &Place<'_>,
    elsewhere: Option<&Span>,
    reporter: &mut Reporter,
) {
    for (path, span) in sources.iter().filter(|(path, _)| secret::is_secret_path(path)) {
        let message = format!("Do not copy files with credentials into a layer ({keyword} {})", go_text::quote(path));
        reporter.report(&SECRET_IN_LAYER, place, elsewhere.unwrap_or(span).clone(), message);
    }
}

/// A name with an extension and without wildcards.
fn looks_like_file(name: &str) -> bool {
    let has_extension =
        name.rsplit_once('.').is_some_and(|(stem, extension)| !stem.is_empty() && !extension.is_empty());
    has_extension && !name.contains(['*', '?', '['])
}

fn option(mount: &Mount, key: MountKey) -> Option<&str> {
    let found = mount.options.iter().find(|option| option.key == key)?;
    found.value.as_ref().map(Word::as_str)
}

/// `apt-get update` in a step of its own is cached, and the install after it gets lists that are long out of date.
fn update_alone(run: &Run, script: &str, place: &Place<'_>, reporter: &mut Reporter) {
    // Lists that are kept in a mount are another matter.
    let keeps_lists =
        run.mounts.iter().any(|mount| option(mount, MountKey::Target).is_some_and(|path| path.contains("/apt")));
    let mut updates = None;
    for words in shell::commands(script) {
        match shell::program(&words) {
            program @ ("apt-get" | "apt" | "aptitude") => match subcommand(&words) {
                Some("update") => updates = Some(program),
                Some("clean" | "autoclean") | None => {}
                Some(_) => return,
            },
            ":" | "cat" | "chmod" | "cp" | "date" | "echo" | "export" | "fi" | "ln" | "mkdir" | "mv" | "printf"
            | "rm" | "sed" | "set" | "tee" | "test" | "[" | "true" => {}
            // It may install something.
            _ => return,
        }
    }
    if let Some(program) = updates.filter(|_| !keeps_lists) {
        let message = format!("'{program} update' should be in the same RUN as the '{program} install' that needs it");
        reporter.report(&APT_GET_UPDATE_ALONE, place, place.span.clone(), message);
    }
}

/// The first argument that is not an option.
fn subcommand<'w>(words: &[&'w str]) -> Option<&'w str> {
    let mut arguments = words.iter().skip(1);
    while let Some(word) = arguments.next() {
        match *word {
            "-o" | "-c" | "-t" | "-a" | "--option" | "--config-file" | "--target-release" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            word => return Some(word),
        }
    }
    None
}

/// The tool, if the command installs what a lock file or a manifest lists.
fn installs_dependencies(words: &[&str]) -> Option<&'static str> {
    let arguments: Vec<&str> = words.iter().skip(1).copied().filter(|word| !word.starts_with('-')).collect();
    let has = |options: &[&str]| words.iter().any(|word| options.contains(word));
    let requirements = || has(&["-r", "--requirement"]) || words.iter().any(|word| word.starts_with("-r"));
    match (shell::program(words), &arguments[..]) {
        ("npm", ["ci" | "clean-install" | "install" | "i"]) if !has(&["-g", "--global"]) => Some("npm"),
        ("yarn", [] | ["install"]) if !has(&["--version", "-v"]) => Some("yarn"),
        ("pnpm", ["install" | "i" | "fetch"]) if !has(&["-g", "--global"]) => Some("pnpm"),
        ("bun", ["install" | "i"]) => Some("bun"),
        ("pip" | "pip3", ["install", ..]) | ("python" | "python3", ["pip", "install", ..]) if requirements() => {
            Some("pip")
        }
        ("uv", ["sync"] | ["pip", "sync", ..]) => Some("uv"),
        ("poetry", ["install"]) => Some("poetry"),
        ("pipenv", ["install" | "sync"]) => Some("pipenv"),
        ("bundle", ["install"]) => Some("bundle"),
        ("composer", ["install"]) => Some("composer"),
        ("go", ["mod", "download" | "vendor"] | ["build" | "install", ..]) => Some("go"),
        ("cargo", ["fetch" | "build" | "vendor"] | ["chef", ..]) => Some("cargo"),
        ("mvn" | "mvnw", [goal, ..]) if goal.starts_with("dependency:") => Some("mvn"),
        ("dotnet", ["restore", ..]) => Some("dotnet"),
        ("mix", ["deps.get"]) => Some("mix"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_install_dependencies() {
        for (command, expected) in [
            ("npm ci --omit=dev", Some("npm")),
            ("npm install", Some("npm")),
            ("npm install -g typescript", None),
            ("npm install left-pad", None),
            ("npm run build", None),
            ("yarn", Some("yarn")),
            ("yarn --frozen-lockfile", Some("yarn")),
            ("yarn build", None),
            ("pip install --no-cache-dir -r requirements.txt", Some("pip")),
            ("pip3 install -rrequirements.txt", Some("pip")),
            ("pip install flask", None),
            ("python -m pip install -r a.txt", Some("pip")),
            ("python3 -m venv x", None),
            ("go mod download", Some("go")),
            ("go build -o /app .", Some("go")),
            ("cargo build --release", Some("cargo")),
            ("cargo install ripgrep", None),
            ("/usr/bin/bundle install", Some("bundle")),
            ("make", None),
            ("", None),
        ] {
            let words: Vec<&str> = command.split_whitespace().collect();
            assert_eq!(installs_dependencies(&words), expected, "{command}");
        }
    }

    #[test]
    fn options_are_no_commands() {
        for (command, expected) in [
            ("apt-get update", Some("update")),
            ("apt-get -qq -o Acquire::Retries=3 update", Some("update")),
            ("apt-get -y install git", Some("install")),
            ("apt-get", None),
        ] {
            let words: Vec<&str> = command.split_whitespace().collect();
            assert_eq!(subcommand(&words), expected, "{command}");
        }
    }
}
